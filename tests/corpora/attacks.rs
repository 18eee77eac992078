//! What an attack tool makes of a good token: 1,090 variants, and the token itself, by the decision alone and on the wire.
use std::collections::BTreeMap;

use super::{
    case::{Case, text},
    trial::Verdict,
};
use crate::support::{corpora, fixture, gateway::Gateway, token::bearer, upstream::Upstream};

#[test]
fn every_token_of_an_attack_tool_is_refused_and_the_good_one_passes() {
    let Some(folder) = corpora::folder("the tokens of an attack tool") else { return };
    let document = corpora::json(&folder, "jwt_tool/cases.json");
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut faults = Vec::new();
    for value in document["cases"].as_array().unwrap() {
        let mut value = value.clone();
        value["jwks"] = document["key_sets"][value["key_set"].as_str().unwrap()].clone();
        let case = Case::new(&value);
        let verdict = case.verdict();
        let right = match verdict {
            Verdict::Passes(_) => case.must_pass(),
            Verdict::Refused(status, _) => !case.must_pass() && matches!(status, 400 | 401),
            Verdict::KeyRefused(_) => false,
        };
        if !right {
            faults.push(format!("{}: {verdict:?}", case.name()));
        }
        *reasons.entry(verdict.label().to_owned()).or_default() += 1;
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let reasons: Vec<(&str, usize)> = reasons.iter().map(|(label, count)| (label.as_str(), *count)).collect();
    let expected = [
        ("-", 1),
        ("algorithm_not_allowed", 667),
        ("issuer_unknown", 15),
        ("signature_invalid", 368),
        ("token_malformed", 35),
        ("type_not_allowed", 5),
    ];
    assert_eq!(reasons, expected);
}

#[test]
fn the_real_program_refuses_every_token_of_an_attack_tool_and_forwards_none() {
    let Some(folder) = corpora::folder("the tokens of an attack tool, on the wire") else { return };
    let document = corpora::json(&folder, "jwt_tool/cases.json");
    let (mut refused, mut passed) = (0, 0);
    for (set, algorithm) in [("rsa", "RS256"), ("ec", "ES256"), ("hs", "HS256")] {
        let upstream = Upstream::start();
        let (keys, file) = keys_as_configured(&document["key_sets"][set]);
        let config = fixture::config("", "  - {name: closed, path_prefix: /, upstream: echo}\n")
            .replace("audiences: [https://api.test]", &format!("audiences: [api]\n    algorithms: [{algorithm}]"))
            .replace("keys: {jwks_file: keys.json}", keys);
        let gateway = Gateway::builder(config).set("upstream", upstream.address()).file("keys.json", file).start();
        let mut client = gateway.connect();
        let cases = document["cases"].as_array().unwrap().iter().filter(|case| case["key_set"] == set);
        for case in cases {
            let status = client.get("/", &[("Authorization", &bearer(text(&case["token"])))]).status;
            if case["expect"] == "accept" {
                passed += 1;
                assert_eq!((status, upstream.take().len()), (200, 1), "{}", case["name"]);
                upstream.take_bytes();
            } else {
                refused += 1;
                assert!(matches!(status, 400 | 401), "{}: {status}", case["name"]);
            }
        }
        assert!(upstream.take_bytes().is_empty(), "{set}: a refused request arrived");
    }
    assert_eq!((refused, passed), (1090, 1));
}

/// The key source of an issuer, and the file that it names.
fn keys_as_configured(set: &serde_json::Value) -> (&'static str, Vec<u8>) {
    let member = &set["keys"][0];
    if member["kty"] == "oct" {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        return ("keys: {secret_file: keys.json}", URL_SAFE_NO_PAD.decode(text(&member["k"])).unwrap());
    }
    ("keys: {jwks_file: keys.json}", super::case::public_set(set["keys"].as_array().unwrap()))
}
