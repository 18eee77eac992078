//! Wycheproof's vectors for signatures, keys and both together.
//!
//! Their payloads are texts such as `foo`, never JSON objects, so no vector could pass as a JWT: every valid one is refused whole,
//! for its payload and nothing else, and what counts is the rest - parts, header, choice of key and signature - which is asked of the
//! functions that decide it. An encrypted token has five parts and is refused for that.
use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis::gate::{algorithm::Algorithms, keys::KeySet, token::Segments};
use serde_json::Value;

use super::{
    case::{public_set, text},
    trial::algorithms_named,
    vector,
};
use crate::support::corpora;

/// Vectors whose recorded verdict no gateway should copy unseen: by number, whether portcullis takes them for signed, and why.
type Exceptions = &'static [(&'static [u64], bool, &'static str)];

const SIGNATURE: Exceptions = &[
    (&[346, 350], false, "the key is bound to PS256, the token has PS384"),
    (&[347, 351], false, "ES521 is no algorithm, so the key is for none"),
    (&[367, 370], true, "byte for byte a valid token: the bad padding was lost when the vectors were made"),
    (&[372, 373], false, "a question mark is no letter of base64url"),
];
const KEY: Exceptions = &[
    (&[1], true, "a set of a secret and a public key cannot be configured; the secret by itself can, and verifies"),
    (&[4], true, "two secrets of one name cannot be configured; the right one by itself can, and verifies"),
    (&[7], true, "whether a modulus has the ROCA weakness is not looked at"),
    (&[8], false, "1024 bits"),
    (&[10, 11, 12], false, "the secret is shorter than the hash"),
    (&[16, 17, 18], false, "the secret is empty"),
];
const CRYPTO: Exceptions = &[
    (&[46], true, "whether a modulus has the ROCA weakness is not looked at"),
    (&[47], true, "a set of a secret and a public key cannot be configured; the secret by itself can, and verifies"),
];

#[test]
fn signatures_are_judged_as_wycheproof_says() {
    check(
        "json_web_signature_test.json",
        SIGNATURE,
        &[
            ("exception: refused", 4),
            ("exception: signed, refused whole for its payload", 2),
            ("refused for header, key or signature", 223),
            ("refused for its parts", 17),
            ("signed, refused whole for its payload", 26),
        ],
    );
}

#[test]
fn keys_are_judged_as_wycheproof_says() {
    check(
        "json_web_key_test.json",
        KEY,
        &[
            ("exception: refused", 6),
            ("exception: signed, refused whole for its payload", 3),
            ("refused for header, key or signature", 9),
            ("signed, refused whole for its payload", 4),
        ],
    );
}

#[test]
fn keys_and_signatures_together_are_judged_as_wycheproof_says() {
    check(
        "json_web_crypto_test.json",
        CRYPTO,
        &[
            ("encrypted, refused", 21),
            ("exception: signed, refused whole for its payload", 2),
            ("refused for header, key or signature", 17),
            ("refused for its parts", 16),
            ("signed, refused whole for its payload", 3),
        ],
    );
}

fn check(file: &str, exceptions: Exceptions, expected: &[(&str, usize)]) {
    let Some(folder) = corpora::folder(file) else { return };
    let listed = corpora::json(&folder, "wycheproof/EXCEPTIONS.json");
    assert_same_exceptions(&listed[file], exceptions);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut faults = Vec::new();
    for group in corpora::json(&folder, &format!("wycheproof/{file}"))["testGroups"].as_array().unwrap() {
        let keys = keys_of(group);
        for test in group["tests"].as_array().unwrap() {
            let number = test["tcId"].as_u64().unwrap();
            let recorded = match text(&test["result"]) {
                "valid" => true,
                "invalid" => false,
                other => panic!("{number}: {other}"),
            };
            let exception = exceptions.iter().find(|(numbers, ..)| numbers.contains(&number));
            let wanted = exception.map_or(recorded, |(_, wanted, _)| *wanted);
            let token = compact(test);
            let signed = keys.iter().any(|(keys, algorithms)| vector::is_signed(&token, keys, *algorithms));
            if signed != wanted {
                faults.push(format!("{number} {}: signed is {signed}", test["comment"]));
            }
            // As a JWT none may pass, whatever its signature.
            if signed && !vector::is_refused_for_its_payload(&token) {
                faults.push(format!("{number}: it would pass whole"));
            }
            *counts.entry(class_of(test, exception.is_some(), signed)).or_default() += 1;
        }
    }
    assert!(faults.is_empty(), "{file}:\n{}", faults.join("\n"));
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), expected, "{file}");
}

/// How a vector was checked.
fn class_of(test: &Value, is_exception: bool, signed: bool) -> &'static str {
    match (is_exception, signed) {
        (true, true) => "exception: signed, refused whole for its payload",
        (true, false) => "exception: refused",
        (false, true) => "signed, refused whole for its payload",
        (false, false) if !test["jwe"].is_null() => "encrypted, refused",
        (false, false) if Segments::decode(&compact(test)).is_err() => "refused for its parts",
        (false, false) => "refused for header, key or signature",
    }
}

/// The token as a request would carry it; the JSON serialisation as its text, which is no token.
fn compact(test: &Value) -> String {
    let token = if test["jws"].is_null() { &test["jwe"] } else { &test["jws"] };
    token.as_str().map_or_else(|| token.to_string(), str::to_owned)
}

/// The keys of a group as portcullis would be configured with them: a set of public keys, or one secret.
fn keys_of(group: &Value) -> Vec<(KeySet, Algorithms)> {
    let key = if group["public"].is_null() { &group["private"] } else { &group["public"] };
    let members = key["keys"].as_array().map_or_else(|| vec![key.clone()], Clone::clone);
    let algorithms = Algorithms::asymmetric();
    let set = KeySet::parse(&public_set(&members), algorithms).expect("a set");
    let secrets = members.iter().filter(|member| member["kty"] == "oct").filter_map(|member| {
        let algorithms = algorithms_named(member["alg"].as_str());
        let secret = URL_SAFE_NO_PAD.decode(text(&member["k"])).ok()?;
        let usable = member["use"].is_null() || member["use"] == "sig";
        Some((KeySet::from_secret(&secret, algorithms).ok().filter(|_| usable)?, algorithms))
    });
    let mut keys: Vec<(KeySet, Algorithms)> = secrets.collect();
    keys.push((set, algorithms));
    keys
}

fn assert_same_exceptions(listed: &Value, exceptions: Exceptions) {
    let mut theirs: Vec<u64> = listed
        .as_object()
        .unwrap()
        .keys()
        .flat_map(|numbers| numbers.split(','))
        .map(|number| number.parse().unwrap())
        .collect();
    let mut ours: Vec<u64> = exceptions.iter().flat_map(|(numbers, ..)| numbers.iter().copied()).collect();
    theirs.sort_unstable();
    ours.sort_unstable();
    assert_eq!(theirs, ours, "the exceptions are those that the suite lists");
}
