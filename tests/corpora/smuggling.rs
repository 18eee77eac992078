//! Thousands of ways to write `Transfer-Encoding` and `Content-Length`, sent to the real program: each is refused, or exactly one
//! request with one framing arrives behind it.
use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    case::text,
    probes::{OPEN, replaced},
};
use crate::support::{attack::send, client::exchange, corpora, fixture::House, upstream::Answer, wire::find};

/// Sends it and says what became of it.
fn class_of(house: &House, name: &str, bytes: &[u8]) -> &'static str {
    let trace = send(house, name, bytes);
    trace.assert_nothing_is_smuggled(name);
    if trace.is_refused() {
        return "refused";
    }
    assert_eq!((trace.status(), trace.seen.len()), (Some(200), 1), "{name}: neither refused nor passed on");
    "passed on once"
}

#[test]
fn a_transfer_encoding_that_is_written_oddly_is_refused_or_means_one_thing() {
    let Some(folder) = corpora::folder("the mutations of smuggler") else { return };
    let document = corpora::json(&folder, "http_smuggling/smuggler_te_mutations.json");
    let house = House::start("", OPEN);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for case in document["cases"].as_array().unwrap() {
        for way in ["te_cl_b64", "cl_te_b64"] {
            let name = format!("{} {} {way}", text(&case["config"]), text(&case["name"]));
            let bytes = replaced(&STANDARD.decode(text(&case[way])).unwrap(), b"HOST", b"api.test");
            *counts.entry(class_of(&house, &name, &bytes)).or_default() += 1;
        }
    }
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), [("passed on once", 6), ("refused", 2304)]);
}

#[test]
fn a_framing_field_in_any_permutation_is_refused_or_means_one_thing() {
    let Some(folder) = corpora::folder("the permutations of http-request-smuggler") else { return };
    let document = corpora::json(&folder, "http_smuggling/portswigger_permutations.json");
    let house = House::start("", OPEN);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for case in document["h1"].as_array().unwrap() {
        let line = STANDARD.decode(text(&case["header_lines_b64"])).unwrap();
        for (with, body) in [
            ("", "5\r\nhello\r\n0\r\n\r\n"),
            ("Content-Length: 15\r\n", "5\r\nhello\r\n0\r\n\r\n"),
            ("Content-Length: 6\r\n", "0\r\n\r\nX"),
            ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ] {
            let name = format!("{} with {with:?}", text(&case["readable"]).escape_debug());
            let mut bytes = format!("POST /x HTTP/1.1\r\nHost: api.test\r\n{with}").into_bytes();
            bytes.extend_from_slice(&line);
            bytes.extend_from_slice(format!("\r\n\r\n{body}").as_bytes());
            *counts.entry(class_of(&house, &name, &bytes)).or_default() += 1;
        }
    }
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), [("passed on once", 21), ("refused", 319)]);
}

#[test]
fn an_upgrade_to_clear_text_http_2_never_reaches_an_upstream() {
    let Some(folder) = corpora::folder("the upgrades of h2csmuggler") else { return };
    let document = corpora::json(&folder, "http_smuggling/h2c_smuggling.json");
    let house = House::start("", OPEN);
    let cases = document["cases"].as_array().unwrap();
    for case in cases {
        let lines: String =
            case["headers"].as_array().unwrap().iter().fold(String::new(), |lines, header| {
                lines + &format!("{}: {}\r\n", text(&header[0]), text(&header[1]))
            });
        let request = format!("GET /x HTTP/1.1\r\nHost: api.test\r\n{lines}\r\n");
        let trace = send(&house, text(&case["name"]), request.as_bytes());
        trace.assert_nothing_is_smuggled(text(&case["name"]));
        for name in ["Upgrade", "HTTP2-Settings", "Connection"] {
            assert!(trace.seen.iter().all(|seen| seen.head.value(name).is_none()), "{name} arrived");
        }
        // Nor does an upstream that agrees all the same.
        house.upstream.set_answer(Answer::Bytes(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n".to_vec(),
        ));
        house.upstream.take_bytes();
        let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        if let Ok(response) = exchange(house.gateway.address(), format!("{request}{preface}")) {
            assert_ne!(response.status, 101, "{lines}");
        }
        assert!(find(&house.upstream.take_bytes(), b"PRI *").is_none(), "{lines}");
        house.upstream.set_answer(Answer::Echo);
    }
    assert_eq!(cases.len(), 2);
}
