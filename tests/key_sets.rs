//! Which keys are taken from a set or file, and that a bad set never takes the place of a good one.
use portcullis::gate::{
    algorithm::{Algorithm, Algorithms},
    keys::{KEYS_MAX, KeyFault, KeySet},
};
use serde_json::{Value, json};

use crate::support::{
    fixture::{self, good_bearer, signing_key},
    gateway::Gateway,
    jwks_server::{JwksServer, KeySetAnswer},
    keys::{SigningKey, encoded, key_set},
    token::{Token, bearer},
    upstream::Upstream,
    waiting::{PATIENCE, eventually},
};

/// The names of the usable keys, and how many are not.
fn read(keys: &[Value]) -> (Vec<String>, usize) {
    let set = KeySet::parse(&key_set(keys), Algorithms::asymmetric()).unwrap();
    (set.keys().iter().map(|key| key.kid().unwrap_or("-").to_owned()).collect(), set.skipped().len())
}

fn with(mut jwk: Value, name: &str, value: Value) -> Value {
    jwk[name] = value;
    jwk
}

#[test]
fn a_key_with_private_members_is_no_public_key() {
    let key = SigningKey::p256("k");
    let rsa = SigningKey::rsa("r");
    for name in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        for jwk in [key.jwk(), rsa.jwk()] {
            assert_eq!(read(&[with(jwk, name, json!("AQAB"))]), (Vec::new(), 1), "{name}");
        }
    }
}

#[test]
fn an_rsa_key_has_a_size_and_an_exponent_that_are_safe() {
    let jwk = || SigningKey::rsa("r").jwk();
    let modulus = |bytes: usize, last: u8| {
        let mut number = vec![0xc5; bytes];
        number[bytes - 1] = last;
        with(jwk(), "n", json!(encoded(number)))
    };
    assert_eq!(read(&[jwk()]).1, 0);
    assert_eq!(read(&[modulus(256, 0xc5)]).1, 0);
    for unsafe_key in [
        modulus(255, 0xc5),
        modulus(1025, 0xc5),
        modulus(256, 0xc4),
        with(jwk(), "e", json!(encoded([1]))),
        with(jwk(), "e", json!(encoded([0, 1]))),
        with(jwk(), "e", json!(encoded([1, 0]))),
        with(jwk(), "e", json!(encoded([0]))),
        with(jwk(), "e", json!("")),
        with(jwk(), "e", json!(encoded([1, 0, 0, 0, 1]))),
        with(jwk(), "e", json!(65537)),
    ] {
        assert_eq!(read(std::slice::from_ref(&unsafe_key)), (Vec::new(), 1), "{unsafe_key}");
    }
}

#[test]
fn a_set_holds_so_many_keys_and_no_more() {
    let keys: Vec<Value> = (0..KEYS_MAX + 2).map(|number| SigningKey::p256(&format!("k{number}")).jwk()).collect();
    let (names, skipped) = read(&keys);
    assert_eq!((names.len(), skipped), (KEYS_MAX, 2));
}

#[test]
fn a_secret_is_as_long_as_the_hash_of_each_algorithm_it_is_for() {
    for (algorithms, bytes, expected) in [
        (vec![Algorithm::HS256], 32, None),
        (vec![Algorithm::HS256], 31, Some(KeyFault::SecretTooShort)),
        (vec![Algorithm::HS384], 47, Some(KeyFault::SecretTooShort)),
        (vec![Algorithm::HS512], 63, Some(KeyFault::SecretTooShort)),
        (vec![Algorithm::HS256, Algorithm::HS512], 32, Some(KeyFault::SecretTooShort)),
        (vec![Algorithm::RS256], 64, Some(KeyFault::NoAlgorithm)),
    ] {
        let shown = format!("{algorithms:?} {bytes}");
        assert_eq!(KeySet::from_secret(&vec![7; bytes], algorithms.into_iter().collect()).err(), expected, "{shown}");
    }
}

#[test]
fn an_answer_without_a_usable_key_never_takes_the_place_of_good_keys() {
    let server = JwksServer::start(&[signing_key().jwk_for("ES256")]);
    let upstream = Upstream::start();
    let config = fixture::config("", "  - {name: all, path_prefix: /, upstream: echo}\n").replacen(
        "{jwks_file: keys.json}",
        "{jwks_url: \"{jwks}\", insecure_http: true, cooldown: 1s, refresh: 1s}",
        1,
    );
    let gateway = Gateway::builder(config).set("jwks", server.url()).set("upstream", upstream.address()).start();
    let status = |authorization: &str| gateway.get("/", &[("Authorization", authorization)]).status;
    assert_eq!(status(&good_bearer()), 200);
    for answer in [
        KeySetAnswer::keys(&[]),
        KeySetAnswer::keys(&[json!({"kty": "oct", "kid": "e1", "k": encoded([7; 32])})]),
        KeySetAnswer::status(200).body("<html>"),
        KeySetAnswer::status(500),
    ] {
        server.set(answer);
        let fetches = server.fetches();
        // Two more: the first may have been under way, and what came of it is in force before the next begins.
        server.wait_for(fetches + 2);
        assert_eq!(status(&good_bearer()), 200);
    }
    let next = SigningKey::p256("next");
    server.set(KeySetAnswer::keys(&[next.jwk_for("ES256")]));
    let token = bearer(&Token::good().signed_by(&next));
    assert!(eventually(PATIENCE, || (status(&token) == 200).then_some(())).is_some());
    assert_eq!(status(&good_bearer()), 401, "a key that was withdrawn");
}
