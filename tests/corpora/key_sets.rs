//! Key set texts and PEM files of a library's tests: which give keys, and which give none.
use std::collections::BTreeMap;

use portcullis::gate::{algorithm::Algorithms, keys::KeySet};

use super::{
    case::text,
    trial::{algorithms_named, algorithms_of_a_file},
};
use crate::support::corpora;

/// Texts of which portcullis makes another number of keys than the library does, and why.
const DIFFERENCES: &[(&str, usize, &str)] = &[
    ("JwksParseTest.GoodEC", 3, "P-521 is no curve that portcullis knows; the other keys of the set serve"),
    ("JwksParseTest.JwksECMatchAlgES512CrvP521", 0, "P-521"),
    ("JwksParseTest.JwkECMissingAlg", 0, "P-521"),
    ("JwksParseTest.JwkECMissingCrv", 0, "RFC 7518 §6.2.1.1: a key on a curve names it"),
    ("JwksParseTest.JwksECMissingBothAlgCrvES256", 0, "RFC 7518 §6.2.1.1"),
    ("JwksParseTest.JwksECUnspecifiedCrv", 0, "RFC 7518 §6.2.1.1"),
    ("JwksParseTest.RealJwksX509", 0, "a map of certificates is no key set (RFC 7517 §5)"),
    (
        "JwksParseTest.addKeyFromPemSuccess",
        1,
        "a file holds the key of one issuer; that library adds a second one to it",
    ),
];

#[test]
fn key_sets_and_files_give_the_keys_that_are_good() {
    let Some(folder) = corpora::folder("the key sets of jwt_verify_lib") else { return };
    let document = corpora::json(&folder, "jwt_verify_lib/jwks_parse_cases.json");
    let mut faults = Vec::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for case in document["cases"].as_array().unwrap() {
        let name = text(&case["name"]);
        let found = keys_in(text(&case["format"]), text(&case["text"]).as_bytes());
        let loads = text(&case["expect"]) == "load";
        let stated = case["keys"].as_u64().map(|keys| usize::try_from(keys).unwrap());
        let theirs = if loads { stated.unwrap_or(1) } else { 0 };
        let difference = DIFFERENCES.iter().find(|(case, ..)| *case == name);
        let expected = difference.map_or(theirs, |(_, keys, _)| *keys);
        if found != expected {
            faults.push(format!("{name}: {found} keys, not {expected}"));
        }
        let class = match (difference, loads) {
            (Some(_), _) => "another number, by name",
            (None, true) => "keys",
            (None, false) => "no keys",
        };
        *counts.entry(class).or_default() += 1;
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let expected = [("another number, by name", DIFFERENCES.len()), ("keys", 5), ("no keys", 30)];
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), expected);
}

/// How many usable keys the text gives; none when it is refused whole.
fn keys_in(format: &str, text: &[u8]) -> usize {
    let keys = match format {
        "JWKS" => KeySet::parse(text, Algorithms::asymmetric()),
        "PEM" => KeySet::from_public_key_pem(text, algorithms_of_a_file("RS256")),
        other => panic!("the format {other}"),
    };
    keys.map_or(0, |keys| keys.keys().len())
}

#[test]
fn a_shared_secret_is_never_a_key_of_a_published_set() {
    let Some(folder) = corpora::folder("published secrets") else { return };
    let mut secrets = 0;
    for suite in ["jwt_verify_lib", "rfc_vectors", "oathkeeper"] {
        let document = corpora::json(&folder, &format!("{suite}/cases.json"));
        for case in document["cases"].as_array().unwrap() {
            let members = case["jwks"]["keys"].as_array().into_iter().flatten();
            let of_secrets = members.filter(|member| member["kty"] == "oct").count();
            if of_secrets > 0 {
                secrets += of_secrets;
                let every = Algorithms::asymmetric().iter().chain(algorithms_named(["HS256", "HS384", "HS512"]).iter());
                let keys = KeySet::parse(case["jwks"].to_string().as_bytes(), every.collect()).unwrap();
                assert!(keys.skipped().len() >= of_secrets, "{}", case["name"]);
            }
        }
    }
    assert_eq!(secrets, 35);
}
