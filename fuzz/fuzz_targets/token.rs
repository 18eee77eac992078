//! A compact token. What is accepted is three parts in their one spelling, and another reader of JSON reads the same
//! header and claims, no name twice. Nothing that is said of a token shows it.
#![no_main]
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use libfuzzer_sys::fuzz_target;
use portcullis::gate::{
    json::{Json, Object},
    rejection::{Refusal, Rejection},
    token::{KID_BYTES_MAX, Segments, UnverifiedToken},
};
use portcullis_fuzz::{assert_printable, assert_same_object};
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        check(text);
    }
    // A token is never two lines, so two lines are taken for header and payload: base64url is hard to guess.
    if let Some(end) = data.iter().position(|byte| *byte == b'\n') {
        let (header, payload) = (&data[..end], &data[end + 1..]);
        check_json(header);
        check_json(payload);
        check(&format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload)));
    }
});

fn check(compact: &str) {
    let segments = match Segments::decode(compact) {
        Ok(segments) => segments,
        Err(refusal) => return check_refusal(&refusal),
    };
    let parts: Vec<&str> = compact.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("{} parts", parts.len()) };
    assert!(signature.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
    let (signed, signature_bytes) = (compact.len() - signature.len() - 1, signature.len());
    assert_eq!(format!("{segments:?}"), format!("Segments({signed} and {signature_bytes} bytes)"));
    let in_one_spelling = |part: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(part).expect("base64url");
        assert_eq!(URL_SAFE_NO_PAD.encode(&bytes), part);
        bytes
    };
    let (header, payload) = (in_one_spelling(header), in_one_spelling(payload));
    let token = match UnverifiedToken::parse(&segments) {
        Ok(token) => token,
        Err(refusal) => return check_refusal(&refusal),
    };
    assert!(!signature.is_empty());
    let (header, payload): (Value, Value) =
        (serde_json::from_slice(&header).expect("a header"), serde_json::from_slice(&payload).expect("claims"));
    assert!(header.is_object() && payload.is_object());
    assert_eq!(header["alg"], token.algorithm().name());
    let optional = |name: &str| header.get(name).map(|value| value.as_str().expect("a string"));
    assert_eq!(optional("kid"), token.kid());
    assert_eq!(optional("typ"), token.token_type());
    assert!(token.kid().is_none_or(|kid| kid.len() <= KID_BYTES_MAX));
    assert_eq!(token.understands_all(), ["crit", "b64", "zip"].iter().all(|name| header.get(name).is_none()));
    assert_eq!(payload.get("iss").and_then(Value::as_str), token.claimed_issuer());
    assert_eq!(format!("{token:?}"), format!("UnverifiedToken({})", token.algorithm()));
}

fn check_refusal(refusal: &Refusal) {
    assert!(matches!(refusal.rejection(), Rejection::TokenMalformed | Rejection::AlgorithmNotAllowed));
    assert_printable(refusal.detail().unwrap_or_default());
}

fn check_json(text: &[u8]) {
    let theirs = serde_json::from_slice::<Value>(text);
    match (Object::parse(text), theirs) {
        (Ok(ours), Ok(theirs)) => {
            assert_same_object(&ours, &theirs);
            // What was read can be written and is read again as the same.
            let written = serde_json::to_vec(&theirs).expect("JSON");
            let again = Object::parse(&written).expect("an object");
            assert_same_object(&again, &theirs);
            ours.members().for_each(|(name, value)| assert_eq!(ours.get(name), Some::<&Json<'_>>(value)));
        }
        (Ok(_), Err(error)) => panic!("only one reader takes it for JSON: {error}"),
        (Err("not JSON"), Ok(theirs)) => panic!("only the other reader takes it for JSON: {theirs:?}"),
        (Err("not a JSON object"), Ok(theirs)) => assert!(!theirs.is_object()),
        (Err(_), _) => {}
    }
}
