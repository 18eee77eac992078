//! Which key verifies which token, with which algorithm, remembered or not.
use super::{
    Expected, Expected::Passes, Expected::Refused, Expected::RefusedAsOneOf, check, check_lines, good, house, keys,
    signed,
};
use crate::support::{fixture::signing_key, keys::SigningKey, server::Server, token::Token, token::bearer};
use serde_json::{Value, json};

#[test]
fn every_algorithm_passes_with_a_key_that_fits() {
    let keys = keys();
    let with = |key: &SigningKey, algorithm: &str| good().header("alg", algorithm).signed_by(key);
    let mut rows = vec![
        ("ES256", with(signing_key(), "ES256"), Passes),
        ("ES384", with(&keys.p384, "ES384"), Passes),
        ("EdDSA", with(&keys.ed25519, "EdDSA"), Passes),
        ("RS256 by a bound key", with(&keys.rsa_bound, "RS256"), Passes),
        ("ES256 under a shared kid", with(&keys.shared_name, "ES256"), Passes),
        ("RS256 under a shared kid", with(&keys.rsa.named("1"), "RS256"), Passes),
        ("ES384 without kid", good().without_header("kid").signed_by(&keys.p384), Passes),
        ("EdDSA without kid", good().without_header("kid").signed_by(&keys.ed25519), Passes),
    ];
    for algorithm in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] {
        rows.push((algorithm, with(&keys.rsa, algorithm), Passes));
    }
    check("/mine", rows);
    let of = |issuer: &str, algorithm: &str| good().claim("iss", issuer).header("alg", algorithm);
    check("/pem", vec![("PEM", of("https://pem.test", "ES384").signed_by(&keys.pem), Passes)]);
    let secret = ["HS256", "HS384", "HS512"]
        .map(|algorithm| (algorithm, of("https://secret.test", algorithm).signed_by(&keys.secret), Passes));
    check("/secret", secret.into());
}

#[test]
fn an_algorithm_is_allowed_by_exact_name() {
    let alg = |name: Value| signed(good().header("alg", name));
    let public_pem = SigningKey::secret("e1", keys().pem.public_pem().as_bytes());
    let modulus = keys().rsa.jwk()["n"].as_str().unwrap().to_owned();
    let rows = vec![
        (
            "missing",
            signed(good().without_header("alg")),
            RefusedAsOneOf(&["token_malformed", "algorithm_not_allowed"]),
        ),
        ("a number", alg(json!(1)), Refused("token_malformed")),
        ("lower case", alg(json!("es256")), Refused("algorithm_not_allowed")),
        ("none", alg(json!("none")), Refused("algorithm_not_allowed")),
        ("noNE", alg(json!("noNE")), Refused("algorithm_not_allowed")),
        (
            "none without signature",
            good().header("alg", "none").with_signature(signing_key(), b""),
            Refused("algorithm_not_allowed"),
        ),
        ("empty", alg(json!("")), RefusedAsOneOf(&["token_malformed", "algorithm_not_allowed"])),
        ("ES512 is not ours", alg(json!("ES512")), Refused("algorithm_not_allowed")),
        (
            "an HMAC with the public key",
            good().header("alg", "HS256").signed_by(&public_pem),
            Refused("algorithm_not_allowed"),
        ),
        (
            "an HMAC with the modulus",
            good().header("alg", "HS256").signed_by(&SigningKey::secret("r1", modulus.as_bytes())),
            Refused("algorithm_not_allowed"),
        ),
        (
            "an HMAC with a published secret",
            good().header("alg", "HS256").signed_by(&SigningKey::secret("oct", &[5; 32])),
            Refused("algorithm_not_allowed"),
        ),
    ];
    check("/mine", rows);
    let hmac_as_asymmetric = good().claim("iss", "https://secret.test").signed_by(&signing_key().named("hmac"));
    check("/secret", vec![("ES256 where a secret is expected", hmac_as_asymmetric, Refused("algorithm_not_allowed"))]);
    let es256 = good().claim("iss", "https://pem.test").signed_by(&signing_key().named("pem"));
    check("/pem", vec![("ES256 where ES384 is expected", es256, Refused("algorithm_not_allowed"))]);
}

#[test]
fn a_key_that_the_token_brings_along_is_not_used_nor_fetched() {
    let server = Server::on_tcp(|wire| wire.shut());
    let url = format!("http://{}/keys", server.address());
    let stranger = SigningKey::p256("e1");
    let rows = vec![
        ("jwk", good().header("jwk", stranger.jwk()).signed_by(&stranger), Refused("signature_invalid")),
        (
            "jwk, another kid",
            good().header("jwk", stranger.jwk()).signed_by(&stranger.named("mine")),
            Refused("key_unknown"),
        ),
        ("jku", good().header("jku", &*url).signed_by(&stranger), Refused("signature_invalid")),
        ("jku, another kid", good().header("jku", &*url).signed_by(&stranger.named("mine")), Refused("key_unknown")),
        ("x5u", good().header("x5u", &*url).signed_by(&stranger), Refused("signature_invalid")),
        ("x5c", good().header("x5c", json!(["MIIB"])).signed_by(&stranger), Refused("signature_invalid")),
        ("kid is a URL", good().header("kid", &*url).signed_by(&stranger), Refused("key_unknown")),
        ("jku beside a good signature", signed(good().header("jku", &*url)), Passes),
    ];
    check("/mine", rows);
    assert_eq!(server.connections(), 0, "a key was asked for where the token says");
}

#[test]
fn a_kid_is_an_exact_name_and_nothing_else() {
    let kid = |kid: Value| signed(good().header("kid", kid));
    let rows = vec![
        ("a path", kid(json!("../../dev/null")), Refused("key_unknown")),
        ("a query", kid(json!("' OR 1=1 --")), Refused("key_unknown")),
        ("another case", kid(json!("E1")), Refused("key_unknown")),
        ("a line feed", kid(json!("e1\n")), Refused("key_unknown")),
        ("empty", kid(json!("")), RefusedAsOneOf(&["key_unknown", "token_malformed"])),
        ("a number", kid(json!(7)), Refused("token_malformed")),
        ("very long", kid(json!("k".repeat(10_000))), Refused("token_too_large")),
    ];
    check("/mine", rows);
}

#[test]
fn only_a_whole_signature_of_the_named_key_counts() {
    let key = signing_key();
    let token = signed(good());
    let (input, signature) = token.rsplit_once('.').unwrap();
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    let mut order = [0xff; 64];
    order[32..].fill(1);
    let shown = |bytes: &[u8]| good().with_signature(key, bytes);
    let der = [&[0x30, 68, 2, 32][..], &[1; 32], &[2, 32], &[1; 32]].concat();
    let forged = Token::good().claim("sub", "forged-admin").signing_input(key);
    let rows = vec![
        ("one character", format!("{input}.{flipped}{}", &signature[1..]), Refused("signature_invalid")),
        ("another payload", format!("{forged}.{signature}"), Refused("signature_invalid")),
        ("DER", shown(&der), Refused("signature_invalid")),
        ("zeros", shown(&[0; 64]), Refused("signature_invalid")),
        ("out of range", shown(&order), Refused("signature_invalid")),
        ("short", shown(&[1; 63]), Refused("signature_invalid")),
        ("long", shown(&[1; 65]), Refused("signature_invalid")),
        ("one byte", shown(&[1]), Refused("signature_invalid")),
        ("another key", good().signed_by(&SigningKey::p256("e1")), Refused("signature_invalid")),
        ("the key of another issuer", good().signed_by(&keys().other), Refused("signature_invalid")),
    ];
    check("/mine", rows);
}

#[test]
fn a_key_verifies_only_what_it_is_for() {
    let keys = keys();
    const NO_KEY: Expected = RefusedAsOneOf(&["key_unknown", "algorithm_not_allowed", "signature_invalid"]);
    let rows = vec![
        ("ES256 under the kid of an RSA key", good().signed_by(&signing_key().named("r1")), NO_KEY),
        ("ES256 under the kid of a P-384 key", good().signed_by(&signing_key().named("e384")), NO_KEY),
        ("PS256 by a key bound to RS256", good().header("alg", "PS256").signed_by(&keys.rsa_bound), NO_KEY),
        ("a key for encryption", good().signed_by(&keys.encryption), Refused("key_unknown")),
        ("a key that may only sign", good().signed_by(&keys.signing_only), Refused("key_unknown")),
        ("a point off the curve", good().signed_by(&signing_key().named("off-curve")), Refused("key_unknown")),
        (
            "a small modulus",
            good().header("alg", "RS256").with_signature(&keys.rsa.named("small"), &[1; 128]),
            Refused("key_unknown"),
        ),
        ("a key of a future kind", good().signed_by(&signing_key().named("future")), Refused("key_unknown")),
    ];
    check("/mine", rows);
}

#[test]
fn a_remembered_token_is_the_whole_token_and_its_issuers() {
    let house = house();
    let token = signed(good());
    for _ in 0..3 {
        check_lines("/mine", &[("Authorization", &bearer(&token))], &Passes);
    }
    let (input, signature) = token.rsplit_once('.').unwrap();
    let other_start = if signature.starts_with('A') { "B" } else { "A" };
    let altered = format!("{input}.{other_start}{}", &signature[1..]);
    let (start, rest) = token.split_at(token.len() / 2);
    let moved = format!("{start}{}{}", if rest.starts_with('a') { "b" } else { "a" }, &rest[1..]);
    for changed in [altered, moved, format!("{token}A"), token[..token.len() - 2].to_owned()] {
        let response = house.gateway.get("/mine", &[("Authorization", &bearer(&changed))]);
        assert_eq!(response.status, 401, "a token like a remembered one passed");
    }
    check_lines("/other", &[("Authorization", &bearer(&token))], &Refused("issuer_unknown"));
    let hits =
        |line: &str| line.starts_with("portcullis_claims_cache_requests_total{") && line.contains("result=\"hit\"");
    assert!(house.gateway.metric(hits) >= 2.0);
}
