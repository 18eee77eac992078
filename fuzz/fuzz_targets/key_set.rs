//! A JWK set, or a key in PEM. A key verifies no more than the issuer allows and its type can; no secret and nothing with
//! private material becomes a key; every key is what it would be if it were alone; all is bounded. No key takes junk for
//! a signature.
#![no_main]
use libfuzzer_sys::fuzz_target;
use portcullis::gate::{
    algorithm::{Algorithm, Algorithms, KeyType},
    keys::{KEY_SET_BYTES_MAX, KEYS_MAX, Key, KeySet},
    signature::is_signature_of,
};
use serde_json::{Value, json};

fuzz_target!(|data: &[u8]| {
    let everything: Algorithms = Algorithm::ALL.iter().copied().collect();
    let some: Algorithms = [Algorithm::PS256, Algorithm::ES256, Algorithm::HS256].into_iter().collect();
    for allowed in [everything, some] {
        check_set(data, allowed);
        if let Ok(set) = KeySet::from_public_key_pem(data, allowed) {
            assert_eq!(set.keys().len(), 1);
            assert!(!data.windows(11).any(|window| window == b"PRIVATE KEY"));
            check_key(&set.keys()[0], allowed);
        }
    }
});

fn check_set(data: &[u8], allowed: Algorithms) {
    let Ok(set) = KeySet::parse(data, allowed) else { return };
    assert!(data.len() <= KEY_SET_BYTES_MAX && set.keys().len() <= KEYS_MAX);
    let published: Value = serde_json::from_slice(data).expect("JSON");
    let members = published["keys"].as_array().expect("a list");
    assert_eq!(set.keys().len() + set.skipped().len(), members.len());
    let mut expected: Vec<(Option<String>, String)> = Vec::new();
    for member in members {
        let alone = json!({ "keys": [member] }).to_string();
        let alone = KeySet::parse(alone.as_bytes(), allowed).expect("a set");
        let Some(key) = alone.keys().first() else { continue };
        for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
            assert!(member.get(private).is_none(), "{private}");
        }
        assert!(member.get("use").is_none_or(|usage| usage == "sig"));
        let key = (key.kid().map(str::to_owned), key.thumbprint().to_string());
        if !expected.contains(&key) {
            expected.push(key);
        }
    }
    expected.truncate(KEYS_MAX);
    let found: Vec<_> =
        set.keys().iter().map(|key| (key.kid().map(str::to_owned), key.thumbprint().to_string())).collect();
    assert_eq!(found, expected);
    for key in set.keys() {
        check_key(key, allowed);
        assert!(key.kid().is_none_or(|kid| set.publishes(kid)));
        assert!(set.holds(key.thumbprint()) && key.algorithms().iter().all(|by| set.still_proves(key, by)));
    }
}

fn check_key(key: &Key, allowed: Algorithms) {
    assert_ne!(key.key_type(), KeyType::Secret);
    assert!(!key.algorithms().is_empty());
    for algorithm in Algorithm::ALL.iter().copied() {
        let may = key.algorithms().contains(algorithm);
        assert!(!may || (allowed.contains(algorithm) && algorithm.key_type() == key.key_type()));
    }
    if let Some(algorithm) = key.algorithms().iter().next() {
        for junk in ["", "AA", &"A".repeat(86), &"A".repeat(342)] {
            assert!(!is_signature_of(key, algorithm, b"message", junk));
        }
    }
}
