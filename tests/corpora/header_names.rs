//! Names by which other gateways say who is calling, in the spellings that slip past a careless filter: none of them stays.
use std::collections::BTreeMap;

use http::HeaderName;
use portcullis::gate::{
    algorithm::Algorithms,
    firewall::{FirewallNames, HeaderFirewall, Ownership},
    keys::KeySet,
    route::{Authentication, Route},
};

use super::{
    case::text,
    trial::{Trial, Verdict, decide, issuer, route},
};
use crate::support::corpora;

fn firewall() -> HeaderFirewall {
    HeaderFirewall::new(FirewallNames { owned: &["X-User-ID".into()], ..FirewallNames::default() })
}

/// Where a spelling of the suite is judged.
enum Spelling {
    /// It makes another name, which must be owned.
    Name(fn(&str) -> String),
    /// It makes a name that HTTP does not have: no request with it is ever parsed.
    NoName(fn(&str) -> String),
    /// It makes a name that no server folds onto the other; it may leave with others that begin so.
    Unrelated(fn(&str) -> String),
    /// It is about values, lines or trailers: the name is the exact one.
    NotTheName,
}

fn spelling(name: &str) -> Spelling {
    match name {
        "exact" => Spelling::Name(str::to_owned),
        "lower" => Spelling::Name(str::to_ascii_lowercase),
        "UPPER" => Spelling::Name(str::to_ascii_uppercase),
        "underscore for hyphen" => Spelling::Name(|name| name.replace('-', "_")),
        "dot for hyphen" => Spelling::Name(|name| name.replace(['-', '_'], ".")),
        "trailing space before colon (h1)" => Spelling::NoName(|name| format!("{name} ")),
        "leading space (obs-fold)" => Spelling::NoName(|name| format!(" {name}")),
        "long s U+017F / kelvin K U+212A" => {
            Spelling::NoName(|name| format!("{name}s").replace(['s', 'S'], "\u{17f}").replace(['k', 'K'], "\u{212a}"))
        }
        "NUL or tab in the name" => Spelling::NoName(|name| format!("{name}\0")),
        "unicode hyphen U+2010" => Spelling::NoName(|name| name.replace(['-', '_'], "\u{2010}")),
        "percent-encoded hyphen %2d" => Spelling::Unrelated(|name| name.replace(['-', '_'], "%2d")),
        "duplicate header (ours first / theirs first)"
        | "comma-joined value"
        | "named in Connection: to make the proxy drop ours"
        | "as a chunked trailer"
        | "as HTTP/2 trailer"
        | "empty value"
        | "very long value (8 KiB)" => Spelling::NotTheName,
        other => panic!("the spelling {other}"),
    }
}

#[test]
fn identity_headers_of_other_gateways_leave_in_every_spelling() {
    let Some(folder) = corpora::folder("identity header names") else { return };
    let document = corpora::json(&folder, "header_spoof/identity_header_names.json");
    let firewall = firewall();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut faults = Vec::new();
    let names = document["names"].as_object().unwrap().values().flat_map(|names| names.as_array().unwrap());
    for (name, way) in
        names.flat_map(|name| document["spellings"].as_array().unwrap().iter().map(move |way| (name, way)))
    {
        let (name, way) = (text(name), text(way));
        let (class, right) = match spelling(way) {
            Spelling::Name(spell) => ("owned", firewall.ownership(&spell(name)) == Ownership::Owned),
            Spelling::NoName(spell) => ("no name", HeaderName::from_bytes(spell(name).as_bytes()).is_err()),
            Spelling::Unrelated(spell) => ("unrelated", firewall.ownership(&spell(name)) != Ownership::Plain),
            Spelling::NotTheName => ("not the name", firewall.ownership(name) == Ownership::Owned),
        };
        if !right {
            faults.push(format!("{name}, {way}"));
        }
        *counts.entry(class).or_default() += 1;
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let expected = [("no name", 325), ("not the name", 455), ("owned", 325), ("unrelated", 65)];
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn headers_that_traefik_takes_from_trusted_proxies_alone_leave() {
    let Some(folder) = corpora::folder("the forwarding headers of Traefik") else { return };
    let document = corpora::json(&folder, "header_spoof/traefik_cases.json");
    let firewall = firewall();
    let (mut cases, mut names) = (0, 0);
    for case in document["forwarded"].as_array().unwrap() {
        // What a trusted proxy says, and what the gateway writes itself, is beyond the gate.
        if case["trust_all"] == true || !case["connection_headers_allowed"].as_array().unwrap().is_empty() {
            continue;
        }
        cases += 1;
        let incoming = case["incoming"].as_object().unwrap();
        for name in incoming.keys().filter(|name| *name != "Connection") {
            names += 1;
            assert_eq!(firewall.ownership(name), Ownership::Owned, "{}: {name}", case["name"]);
        }
        for nominated in incoming.get("Connection").into_iter().flat_map(|values| values.as_array().unwrap()) {
            assert_eq!(firewall.forbidden_nomination(text(nominated)), Some(text(nominated)));
        }
    }
    assert_eq!((cases, names), (20, 57));
}

#[test]
fn a_connection_field_may_name_what_is_the_clients_own_and_nothing_else() {
    let Some(folder) = corpora::folder("nominations by Connection") else { return };
    let document = corpora::json(&folder, "header_spoof/hop_by_hop.json");
    let algorithms = Algorithms::asymmetric();
    let open = Route { authentication: Authentication::Public, ..route("/", 0) };
    let keys = || KeySet::parse(br#"{"keys":[]}"#, algorithms).unwrap().into();
    let trial =
        || Trial { issuers: vec![(issuer("https://issuer.test", algorithms), keys())], routes: vec![open.clone()] };
    let gatekeeper = trial().gatekeeper();
    let (mut refused, mut passed) = (0, 0);
    for value in document["connection_values_to_try"].as_array().unwrap() {
        let value = text(value)
            .replace("<each identity header the proxy injects>", "X-User-Roles")
            .replace("<4 KiB of tokens>", &"a, ".repeat(1365));
        let harmless = matches!(
            value.as_str(),
            "close, Cache-Control" | "Connection" | "close, Connection" | "close, ," | "close,close,close"
        ) || value.starts_with("a, ");
        let verdict = decide(&gatekeeper, "GET", "/", &[("Connection".to_owned(), value.trim().to_owned())], 0);
        if harmless {
            passed += 1;
            assert!(verdict.passes(), "{value}: {verdict:?}");
        } else {
            refused += 1;
            assert_eq!(verdict, Verdict::Refused(400, "header_forbidden"), "{value}");
        }
    }
    assert_eq!((refused, passed), (15, 6));
}
