//! Every token and secret that a test makes, so that all output can be searched for them. What is found is never printed itself.
use std::sync::{Mutex, PoisonError};

/// A part shorter than this could stand in an output by chance.
const PART_BYTES_MIN: usize = 20;

static MINTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Remembers a token: it, its payload and its signature may stand in no output.
pub(crate) fn remember(token: &str) {
    let mut minted = MINTED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut parts =
        token.split('.').skip(1).filter(|part| part.len() >= PART_BYTES_MIN && tells_something(part)).peekable();
    if parts.peek().is_none() && token.len() >= PART_BYTES_MIN {
        minted.push(token.to_owned());
    }
    for part in parts {
        minted.push(part.to_owned());
    }
}

/// A made-up signature of zeros tells nothing, and may well stand in an output.
fn tells_something(part: &str) -> bool {
    part.bytes().zip(part.bytes().skip(1)).any(|(one, next)| one != next)
}

/// Remembers a secret that has no parts: a key file's content, an admin token.
pub(crate) fn remember_secret(secret: &str) {
    assert!(secret.len() >= PART_BYTES_MIN, "a test secret is long enough to be recognised");
    MINTED.lock().unwrap_or_else(PoisonError::into_inner).push(secret.to_owned());
}

/// The line of `text` in which a token or secret stands, with that blotted out.
pub(crate) fn leaked_in(text: &str) -> Option<String> {
    let minted = MINTED.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let found = minted.iter().find(|part| text.contains(part.as_str()))?;
    let line = text.lines().find(|line| line.contains(found.as_str())).unwrap_or_default();
    Some(line.replace(found.as_str(), "[a token or secret]"))
}

/// Fails the test when a token or secret stands in `text`, which came out at `place`.
pub(crate) fn assert_none_in(place: &str, text: &str) {
    if let Some(line) = leaked_in(text) {
        panic!("a token or secret in {place}: {line}");
    }
}

#[test]
fn a_token_is_recognised_by_any_of_its_telling_parts_and_not_printed() {
    let (payload, signature) = ("cGF5bG9hZC1vZi10aGlzLXRlc3Q", "c2lnbmF0dXJlLW9mLXRoaXMtdGVzdA");
    remember(&format!("eyJhbGciOiJFUzI1NiJ9.{payload}.{signature}"));
    assert_eq!(leaked_in("nothing here, nor eyJhbGciOiJFUzI1NiJ9"), None);
    assert_eq!(leaked_in(&format!("a\nb {signature} c\n")).unwrap(), "b [a token or secret] c");
    assert!(leaked_in(payload).is_some());
}
