//! The verbs together, and with the gate: what is minted is verified and shown.
use std::{fs, path::PathBuf, sync::Arc};

use aws_lc_rs::{
    encoding::{AsBigEndian as _, AsDer as _},
    signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Parser;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{
    TokenArguments, pem, run,
    signing_key::{SigningKey, SigningKeyError, curve},
};
use crate::{
    cli::{CommandError, ExitStatus},
    gate::{
        algorithm::{Algorithm, Algorithms, KeyType},
        issuer::IssuerId,
        keys::KeySet,
        rejection::{Refusal, Rejection},
        signature::{self, VerifiedToken},
        token::{Segments, UnverifiedToken},
    },
};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    arguments: TokenArguments,
}

/// A folder of its own for each test, removed when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("portcullis-token-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn token(words: &[&str]) -> Result<String, CommandError> {
    let line = Line::try_parse_from(["token"].iter().chain(words)).map_err(|error| error.to_string());
    let mut output = Vec::new();
    assert_eq!(run(&line.unwrap().arguments, &mut output)?, ExitStatus::Ok);
    Ok(String::from_utf8(output).unwrap().trim_end().to_owned())
}

fn verify(token: &str, keys: &KeySet) -> Result<VerifiedToken, Refusal> {
    let segments = Segments::decode(token)?;
    signature::verify(UnverifiedToken::parse(&segments)?, IssuerId(0), keys).map(|(verified, _)| verified)
}

fn part(token: &str, place: usize) -> Value {
    let text = URL_SAFE_NO_PAD.decode(token.split('.').nth(place).unwrap()).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn key_set(key: &SigningKey, algorithm: Algorithm) -> KeySet {
    let set = json!({ "keys": [key.public_jwk(algorithm)] }).to_string();
    KeySet::parse(set.as_bytes(), Algorithms::asymmetric()).unwrap()
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The private key of a JWK, made from its PKCS #8 form.
fn private_jwk(key: &SigningKey, algorithm: Algorithm, pkcs8: &[u8]) -> Map<String, Value> {
    let mut jwk = key.public_jwk(algorithm).unwrap();
    match algorithm.key_type() {
        KeyType::P256 | KeyType::P384 => {
            let pair = EcdsaKeyPair::from_pkcs8(curve(algorithm.key_type()).unwrap(), pkcs8).unwrap();
            jwk.insert("d".into(), encoded(&*pair.private_key().as_be_bytes().unwrap()).into());
        }
        KeyType::Ed25519 => {
            let pair = Ed25519KeyPair::from_pkcs8(pkcs8).unwrap();
            assert_eq!(jwk["x"], encoded(pair.public_key()));
            jwk.insert("d".into(), encoded(&*pair.seed().unwrap().as_be_bytes().unwrap()).into());
        }
        KeyType::Rsa => {
            let integers = integers(pkcs1(pkcs8));
            for (name, value) in ["version", "n", "e", "d", "p", "q", "dp", "dq", "qi"].into_iter().zip(integers) {
                if !["version", "n", "e"].contains(&name) {
                    jwk.insert(name.into(), encoded(value).into());
                }
            }
        }
        KeyType::Secret => unreachable!("a secret has no key pair"),
    }
    jwk
}

/// The PKCS #1 form inside of the PKCS #8 form of an RSA key of 2048 bits: everything after version and algorithm.
fn pkcs1(pkcs8: &[u8]) -> &[u8] {
    &pkcs8[26..]
}

/// The integers of a DER sequence, without the zero that keeps them positive.
fn integers(der: &[u8]) -> Vec<Vec<u8>> {
    let length = |at: usize| match der[at] {
        0x81 => (usize::from(der[at + 1]), at + 2),
        0x82 => (usize::from(der[at + 1]) * 256 + usize::from(der[at + 2]), at + 3),
        short => (usize::from(short), at + 1),
    };
    let (_, mut at) = length(1);
    let mut found = Vec::new();
    while at < der.len() {
        assert_eq!(der[at], 2, "an integer");
        let (bytes, start) = length(at + 1);
        found.push(der[start..start + bytes].iter().copied().skip_while(|byte| *byte == 0).collect());
        at = start + bytes;
    }
    found
}

#[test]
fn a_token_of_every_algorithm_and_form_of_key_is_verified_by_the_gate_and_shown() {
    let folder = Folder::new("round-trip");
    for algorithm in Algorithms::asymmetric().iter() {
        let (key, pkcs8) = SigningKey::generate(algorithm).unwrap();
        let keys = key_set(&key, algorithm);
        let jwk = private_jwk(&key, algorithm, &pkcs8);
        let kid = jwk["kid"].as_str().unwrap().to_owned();
        let mut files = vec![
            (folder.file("pkcs8.pem", pem::write("PRIVATE KEY", &pkcs8).as_bytes()), None),
            (folder.file("key.json", Value::from(jwk).to_string()), Some(kid.as_str())),
        ];
        match algorithm.key_type() {
            KeyType::Rsa => {
                let text = pem::write("RSA PRIVATE KEY", pkcs1(&pkcs8));
                files.push((folder.file("pkcs1.pem", text.as_bytes()), None));
            }
            key_type @ (KeyType::P256 | KeyType::P384) => {
                let pair = EcdsaKeyPair::from_pkcs8(curve(key_type).unwrap(), &pkcs8).unwrap();
                let sec1 = pair.private_key().as_der().unwrap();
                let text = pem::write("EC PRIVATE KEY", sec1.as_ref());
                files.push((folder.file("sec1.pem", text.as_bytes()), None));
            }
            KeyType::Ed25519 | KeyType::Secret => {}
        }
        for (file, kid) in files {
            let mut words = vec!["mint", "--key", &file, "--subject", "alice", "--issuer", "i", "--audience", "a"];
            if algorithm.key_type() == KeyType::Rsa && kid.is_none() {
                words.extend(["--algorithm", algorithm.name()]);
            }
            let minted = token(&words).unwrap();
            assert_eq!(part(&minted, 0)["alg"], algorithm.name());
            assert_eq!(part(&minted, 0).get("kid").and_then(Value::as_str), kid, "{file}");
            assert_eq!(verify(&minted, &keys).unwrap().algorithm(), algorithm, "{file}");
            let shown = token(&["inspect", &minted]).unwrap();
            assert!(shown.starts_with("NOT VERIFIED") && shown.contains(r#""sub": "alice""#), "{shown}");
            assert!(shown.contains("expires in ") && shown.contains("Nothing in it is refused"), "{shown}");
            assert!(!shown.contains(minted.rsplit('.').next().unwrap()), "the signature is shown");
        }
    }
}

#[test]
fn a_token_of_a_shared_secret_is_verified_by_the_gate() {
    let folder = Folder::new("secret");
    let secret = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let file = folder.file("hmac.key", [secret.as_slice(), b"\n"].concat());
    for algorithm in Algorithms::of_key_type(KeyType::Secret).iter() {
        let keys = KeySet::from_secret(secret, [algorithm].into_iter().collect()).unwrap();
        let minted = token(&["mint", "--secret-file", &file, "--algorithm", algorithm.name()]).unwrap();
        assert!(verify(&minted, &keys).is_ok(), "{algorithm}");
        let jwk = json!({"kty": "oct", "k": encoded(secret), "alg": algorithm.name()}).to_string();
        let minted = token(&["mint", "--key", &folder.file("oct.json", jwk)]).unwrap();
        assert!(verify(&minted, &KeySet::from_secret(secret, [algorithm].into_iter().collect()).unwrap()).is_ok());
    }
    let short = folder.file("short.key", "0123456789abcdef0123456789abcdef\r\n");
    let minted = token(&["mint", "--secret-file", &short]).unwrap();
    assert_eq!(part(&minted, 0)["alg"], "HS256");
    let other = KeySet::from_secret(secret, [Algorithm::HS256].into_iter().collect()).unwrap();
    assert_eq!(verify(&minted, &other).map_err(|refusal| refusal.rejection()).err(), Some(Rejection::SignatureInvalid));
}

#[test]
fn a_key_that_cannot_sign_says_why() {
    let (key, pkcs8) = SigningKey::generate(Algorithm::ES256).unwrap();
    let public = Value::from(key.public_jwk(Algorithm::ES256).unwrap());
    let mut private = private_jwk(&key, Algorithm::ES256, &pkcs8);
    let set = json!({"keys": [private.clone(), {"kty": "EC", "kid": "other"}]}).to_string();
    private.insert("x".into(), private["y"].clone());
    let reason = |text: &str, kid: Option<&str>| SigningKey::parse(text.as_bytes(), kid).err().unwrap();
    let kids = || vec![format!("{:?}", public["kid"].as_str().unwrap()), "\"other\"".to_owned()];
    assert_eq!(reason(&public.to_string(), None), SigningKeyError::PublicOnly);
    assert_eq!(reason(&pem::write("PUBLIC KEY", b"x"), None), SigningKeyError::PublicOnly);
    assert_eq!(reason(&Value::from(private).to_string(), None), SigningKeyError::Unusable);
    assert_eq!(reason(&pem::write("ENCRYPTED PRIVATE KEY", b"x"), None), SigningKeyError::Encrypted);
    assert_eq!(reason(&pem::write("PRIVATE KEY", b"x"), None), SigningKeyError::Unusable);
    assert_eq!(reason("hello", None), SigningKeyError::NotAKey);
    assert_eq!(reason("{}", None), SigningKeyError::Jwk("no kty"));
    assert_eq!(reason(r#"{"kty":"oct","k":"=","k":""}"#, None), SigningKeyError::Jwk("a member name occurs twice"));
    assert_eq!(
        reason(r#"{"kty":"EC","crv":"P-521","d":"AA"}"#, None),
        SigningKeyError::Jwk("the curve is not supported")
    );
    assert_eq!(
        reason(r#"{"kty":"oct","k":"AAAA","alg":"HS256"}"#, None),
        SigningKeyError::Jwk("alg does not fit the key")
    );
    assert_eq!(reason(&set, None), SigningKeyError::KidNeeded(kids()));
    assert_eq!(reason(&set, Some("third")), SigningKeyError::KidUnknown(kids()));
    assert!(SigningKey::parse(set.as_bytes(), public["kid"].as_str()).is_ok());
}

#[test]
fn an_algorithm_must_fit_and_is_asked_for_where_several_do() {
    let rsa = SigningKey::parse(
        pem::write("PRIVATE KEY", &SigningKey::generate(Algorithm::RS256).unwrap().1).as_bytes(),
        None,
    );
    let rsa = rsa.unwrap();
    assert_eq!(rsa.choose(Some(Algorithm::PS384)), Ok(Algorithm::PS384));
    assert_eq!(rsa.choose(None), Err(SigningKeyError::AlgorithmNeeded(Algorithms::of_key_type(KeyType::Rsa))));
    let (curve, _) = SigningKey::generate(Algorithm::ES384).unwrap();
    assert_eq!(curve.choose(None), Ok(Algorithm::ES384));
    let fitting = curve.algorithms();
    assert_eq!(curve.choose(Some(Algorithm::ES256)), Err(SigningKeyError::AlgorithmUnfit(Algorithm::ES256, fitting)));
    assert!(curve.sign(Algorithm::ES256, b"").is_err());
    let secret = |bytes: usize| SigningKey::from_secret(Zeroizing::new(vec![1; bytes]));
    assert_eq!(secret(31).choose(None), Err(SigningKeyError::SecretTooShort));
    assert_eq!(secret(32).choose(None), Ok(Algorithm::HS256));
    assert_eq!(secret(32).choose(Some(Algorithm::HS384)), Err(SigningKeyError::SecretTooShort));
    assert!(matches!(secret(64).choose(None), Err(SigningKeyError::AlgorithmNeeded(_))));
    assert!(matches!(secret(64).choose(Some(Algorithm::ES256)), Err(SigningKeyError::AlgorithmUnfit(..))));
}

#[test]
fn claims_come_from_the_file_then_the_options_then_claim() {
    let folder = Folder::new("claims");
    let key = folder.file("s.key", [7; 32]);
    let file = folder.file("claims.yaml", "sub: file\naud: [x]\nplan: free\nrealm_access: {a: 1}\n");
    let mint = |words: &[&str]| {
        let words: Vec<&str> = ["mint", "--secret-file", &key, "--at", "2026-11-23T09:30:00Z"]
            .into_iter()
            .chain(words.iter().copied())
            .collect();
        token(&words).map(|token| (part(&token, 0), part(&token, 1)))
    };
    let (header, claims) =
        mint(&["--subject", "a", "--role", "r1", "--role", "r2", "--scope", "x y", "--scope", "z"]).unwrap();
    assert_eq!(header, json!({"alg": "HS256", "typ": "at+jwt"}));
    assert_eq!(
        claims,
        json!({"sub": "a", "roles": ["r1", "r2"], "scope": "x y z", "iat": 1_795_426_200, "exp": 1_795_426_500})
    );
    let (header, claims) = mint(&[
        "--claims-file",
        &file,
        "--subject",
        "option",
        "--claim",
        "plan=pro",
        "--claim",
        "realm_access.roles=[\"b\"]",
        "--audience",
        "1",
        "--audience",
        "2",
        "--lifetime",
        "1h",
        "--not-before",
        "10s",
        "--type",
        "none",
        "--kid",
        "k",
    ])
    .unwrap();
    assert_eq!(header, json!({"alg": "HS256", "kid": "k"}));
    assert_eq!(
        claims,
        json!({
            "sub": "option", "aud": ["1", "2"], "plan": "pro", "realm_access": {"a": 1, "roles": ["b"]},
            "iat": 1_795_426_200, "exp": 1_795_429_800, "nbf": 1_795_426_210
        })
    );
    let times = folder.file("times.yaml", "exp: 1\nnbf: 0\n");
    let (_, claims) = mint(&["--claims-file", &times]).unwrap();
    assert_eq!(claims, json!({"iat": 1_795_426_200, "exp": 1, "nbf": 0}));
    let (_, claims) =
        mint(&["--claims-file", &times, "--lifetime", "none", "--not-before", "1970-01-01T00:00:09Z"]).unwrap();
    assert_eq!(claims, json!({"nbf": 9}));
    let error = mint(&["--claims-file", &folder.file("bad.yaml", "sub: a\nsub: b\n")]).unwrap_err().to_string();
    assert!(error.contains("bad.yaml: neither YAML nor JSON") && error.contains("duplicate"), "{error}");
}

#[test]
fn what_would_be_refused_is_shown_in_both_forms() {
    let folder = Folder::new("inspect");
    let key = folder.file("s.key", [7; 32]);
    let words =
        ["mint", "--secret-file", &key, "--at", "2026-11-23T09:30:00Z", "--type", "id+jwt", "--claim", "n=\u{202e}x"];
    let minted = token(&words).unwrap();
    let file = folder.file("token", format!("Bearer {minted}\n"));
    let text = token(&["inspect", "--token-file", &file, "--at", "2026-11-23T10:40:00Z"]).unwrap();
    for part in [
        "exp       2026-11-23T09:35:00Z  expired 1h5m ago",
        "iat       2026-11-23T09:30:00Z  1h10m ago",
        "type_not_allowed: ",
        "claim_missing: no sub",
        "token_expired: expired 3900 s ago",
        r#""n": "\u{202e}x""#,
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let json = token(&["inspect", "--token-file", &file, "--at", "2026-11-23T10:40:00Z", "--format", "json"]);
    let json = json.unwrap();
    assert!(json.is_ascii() && json.contains(r#""n": "\u202ex""#), "{json}");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["verified"], false);
    assert_eq!(json["claims"], part(&minted, 1));
    assert_eq!(json["times"]["exp"], json!({"time": "2026-11-23T09:35:00Z", "seconds_from_now": -3900}));
    let reasons: Vec<_> = json["refusals"].as_array().unwrap().iter().map(|refusal| &refusal["reason"]).collect();
    assert_eq!(reasons, ["type_not_allowed", "issuer_unknown", "claim_missing", "claim_missing", "token_expired"]);
}

#[test]
fn what_is_no_token_is_told_without_repeating_it() {
    let check = |words: &[&str], part: &str| {
        let error = token(&[&["inspect"], words].concat()).unwrap_err().to_string();
        assert!(error.contains(part) && !error.contains("eyJ"), "{words:?}: {error}");
    };
    check(&["eyJopaque"], "no dots");
    check(&["eyJh.eyJh"], "not three parts");
    check(&["eyJh.b.c.d.e"], "encrypted (JWE)");
    check(&["eyJ=.eyJh.c"], "a header that is not base64url");
    check(&["eyJh.eyJh.c"], "its header is not JSON");
    check(&[&format!("{}.{}.c", encoded("{}"), encoded("[]"))], "its payload is not a JSON object");
    check(&[&format!("{}.{}.c", encoded("{}"), encoded(r#"{"a":1,"a":2}"#))], "a member name occurs twice");
    check(&["Bearer", "eyJh.eyJh"], "not three parts");
    check(&["eyJh", "eyJh"], "one token is expected");
}

#[test]
fn nothing_secret_is_in_a_debug_text() {
    let secret = "0123456789abcdef0123456789abcdef";
    let key = Arc::new(SigningKey::from_secret(Zeroizing::new(secret.as_bytes().to_vec())));
    assert_eq!(format!("{key:?}"), "SigningKey(None, Secret)");
}
