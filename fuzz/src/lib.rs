//! What several targets need: JSON compared with another reader of it, percent-encoding undone by another hand, and a
//! house to try requests at.
pub mod house;

use portcullis::gate::json::{Json, Object};
use serde_json::Value;

/// Parts of an input, which is lines of text. Nothing when it is not text.
pub fn lines(data: &[u8]) -> Option<std::str::Lines<'_>> {
    Some(std::str::from_utf8(data).ok()?.lines())
}

/// Fails unless both readers took the same text for the same value, no member more or less.
pub fn assert_same(ours: &Json<'_>, theirs: &Value) {
    match (ours, theirs) {
        (Json::Null, Value::Null) => {}
        (Json::Bool(ours), Value::Bool(theirs)) => assert_eq!(ours, theirs),
        (Json::Integer(ours), Value::Number(theirs)) => assert_eq!(Some(*ours), theirs.as_i128()),
        (Json::Float(ours), Value::Number(theirs)) => {
            assert!(theirs.as_i128().is_none());
            assert_eq!(Some(*ours), theirs.as_f64());
        }
        (Json::String(ours), Value::String(theirs)) => assert_eq!(ours, theirs),
        (Json::List(ours), Value::Array(theirs)) => {
            assert_eq!(ours.len(), theirs.len());
            ours.iter().zip(theirs).for_each(|(ours, theirs)| assert_same(ours, theirs));
        }
        (Json::Object(ours), Value::Object(_)) => assert_same_object(ours, theirs),
        (ours, theirs) => panic!("{ours:?} is not {theirs:?}"),
    }
}

/// The same for objects. The other reader keeps one of two members of a name, so that a repeated one shows in the count.
pub fn assert_same_object(ours: &Object<'_>, theirs: &Value) {
    let theirs = theirs.as_object().expect("an object to both");
    assert_eq!(ours.members().count(), theirs.len());
    for (name, value) in ours.members() {
        assert_same(value, &theirs[name]);
    }
}

/// Every `%` and two digits replaced by its byte, but those that `keeps` wants as they are; anything else left alone.
pub fn decoded(text: &[u8], keeps: impl Fn(u8) -> bool) -> Vec<u8> {
    let hexadecimal = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let pair = (text[at] == b'%' && at + 2 < text.len())
            .then(|| Some(hexadecimal(text[at + 1])? << 4 | hexadecimal(text[at + 2])?))
            .flatten();
        match pair {
            Some(byte) if !keeps(byte) => {
                bytes.push(byte);
                at += 3;
            }
            Some(_) => {
                bytes.extend_from_slice(&text[at..at + 3]);
                at += 3;
            }
            None => {
                bytes.push(text[at]);
                at += 1;
            }
        }
    }
    bytes
}

/// Letters and digits of a header name, in lower case: what the most careless reader makes of it.
pub fn folded(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

/// Fails when a text for the log could move a cursor or fool a reader.
pub fn assert_printable(text: &str) {
    assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text:?}");
}
