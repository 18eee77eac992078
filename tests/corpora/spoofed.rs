//! Identity headers of real gateways in every spelling of the corpus, as bytes to the real program: nothing forged arrives.
use std::collections::BTreeMap;

use super::case::text;
use crate::support::{
    corpora,
    fixture::{House, good_bearer},
    wire::find,
};

/// A value that no honest part of a request has.
pub(crate) const FORGED: &str = "forged-by-the-client";

const ROUTES: &str = r#"
  - {name: public, path_prefix: /public, auth: none, upstream: echo}
  - {name: required, path_prefix: /required, upstream: echo}
"#;

/// What a spelling makes of a name: lines of the head, and trailers.
pub(crate) struct Forgery {
    /// Whole lines of the head.
    pub(crate) lines: String,
    /// Whole lines behind a chunked body.
    pub(crate) trailers: String,
    /// Whether no request with it can be well-formed.
    pub(crate) is_refused: bool,
}

/// What this way of the suite to write a name makes of it.
pub(crate) fn forgery(way: &str, name: &str) -> Forgery {
    let line =
        |name: String| Forgery { lines: format!("{name}: {FORGED}\r\n"), trailers: String::new(), is_refused: false };
    let refused = |lines: String| Forgery { lines, trailers: String::new(), is_refused: true };
    match way {
        "exact" => line(name.to_owned()),
        "lower" => line(name.to_ascii_lowercase()),
        "UPPER" => line(name.to_ascii_uppercase()),
        "underscore for hyphen" => line(name.replace('-', "_")),
        "dot for hyphen" => line(name.replace(['-', '_'], ".")),
        "trailing space before colon (h1)" => refused(format!("{name} : {FORGED}\r\n")),
        "leading space (obs-fold)" => refused(format!("X-Innocent: 1\r\n {name}: {FORGED}\r\n")),
        "duplicate header (ours first / theirs first)" => Forgery {
            lines: format!("{name}: u1\r\n{name}: {FORGED}\r\n{}: {FORGED}\r\n", name.to_ascii_lowercase()),
            trailers: String::new(),
            is_refused: false,
        },
        "comma-joined value" => {
            Forgery { lines: format!("{name}: u1,{FORGED}\r\n"), trailers: String::new(), is_refused: false }
        }
        "named in Connection: to make the proxy drop ours" => {
            refused(format!("Connection: close, {name}\r\n{name}: {FORGED}\r\n"))
        }
        "as a chunked trailer" | "as HTTP/2 trailer" => Forgery {
            lines: format!("Trailer: {name}\r\n"),
            trailers: format!("{name}: {FORGED}\r\n{}: {FORGED}\r\n", name.replace('-', "_")),
            is_refused: false,
        },
        "long s U+017F / kelvin K U+212A" => {
            refused(format!("{}\u{17f}\u{212a}: {FORGED}\r\n", name.replace(['s', 'S'], "\u{17f}")))
        }
        "NUL or tab in the name" => refused(format!("{name}\0: {FORGED}\r\n{name}\t: {FORGED}\r\n")),
        "unicode hyphen U+2010" => refused(format!("{}\u{2010}: {FORGED}\r\n", name.replace(['-', '_'], "\u{2010}"))),
        "empty value" => Forgery { lines: format!("{name}:\r\n"), trailers: String::new(), is_refused: false },
        "very long value (8 KiB)" => Forgery {
            lines: format!("{name}: {}\r\n", FORGED.repeat(8192 / FORGED.len())),
            trailers: String::new(),
            is_refused: false,
        },
        // A name of its own, which no server unescapes.
        "percent-encoded hyphen %2d" => Forgery {
            lines: format!("{}: {}\r\n", name.replace(['-', '_'], "%2d"), "theirs"),
            trailers: String::new(),
            is_refused: false,
        },
        other => panic!("the spelling {other}"),
    }
}

#[test]
fn no_identity_header_of_any_gateway_arrives_in_any_spelling_with_or_without_a_token() {
    let Some(folder) = corpora::folder("identity header names, on the wire") else { return };
    let document = corpora::json(&folder, "header_spoof/identity_header_names.json");
    let house = House::start("", ROUTES);
    let authorization = format!("Authorization: {}\r\n", good_bearer());
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let names = document["names"].as_object().unwrap().values().flat_map(|names| names.as_array().unwrap());
    for name in names.map(text).chain(["X-User-ID", "X-User-Roles"]) {
        for way in document["spellings"].as_array().unwrap().iter().map(text) {
            let forgery = forgery(way, name);
            for (path, token, subject) in [("/public", "", None), ("/required", authorization.as_str(), Some("u1"))] {
                let mut client = house.gateway.connect();
                client.send(format!(
                    "POST {path} HTTP/1.1\r\nHost: api.test\r\n{token}{}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n{}\r\n",
                    forgery.lines, forgery.trailers
                ));
                let status = client.read("POST").status;
                assert_eq!(status, if forgery.is_refused { 400 } else { 200 }, "{path} {name}, {way}");
                let (seen, bytes) = (house.upstream.take(), house.upstream.take_bytes());
                assert!(find(&bytes, FORGED.as_bytes()).is_none(), "{path} {name}, {way}: it arrived");
                assert_eq!(seen.len(), usize::from(!forgery.is_refused), "{path} {name}, {way}");
                for seen in seen {
                    let values: Vec<&str> =
                        seen.head.folding_onto("X-User-ID").iter().map(|(_, value)| *value).collect();
                    assert_eq!(values, subject.into_iter().collect::<Vec<_>>(), "{path} {name}, {way}");
                    assert!(seen.head.folding_onto("X-User-Roles").is_empty(), "{path} {name}, {way}");
                }
                *counts.entry(if forgery.is_refused { "refused" } else { "removed" }).or_default() += 1;
            }
        }
    }
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), [("refused", 804), ("removed", 1608)]);
}
