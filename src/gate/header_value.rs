//! Claims as header values: one line of visible ASCII that can be decoded into exactly one claim value.
//!
//! It never drops or truncates: what a header cannot hold faithfully is not rendered at all, and the caller is told.
//!
//! The encoding (documented in `docs/identity-headers.md`): strings are percent-encoded where they hold controls,
//! non-ASCII, `%`, or a space at either end; elements of a list, joined with `,`, also where they hold `,`; numbers and
//! booleans are as in JSON; objects, and lists that hold objects, lists or nulls, are compact ASCII JSON.
use std::io;

use http::HeaderValue;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use crate::gate::json::Json;

/// Longest value that is rendered, in bytes after encoding.
pub const VALUE_BYTES_MAX: usize = 16 * 1024;

/// Integers beyond this are not exact once they were read as a binary fraction (RFC 8259 §6).
const EXACT_FLOAT_MAX: f64 = 9_007_199_254_740_992.0;

/// A claim that no header can hold faithfully: longer than [`VALUE_BYTES_MAX`], or a number too large to be exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unrenderable;

/// Renders a claim; nothing for `null`, an empty string or an empty list: a header is never empty.
///
/// # Errors
/// [`Unrenderable`]
pub fn render(claim: &Json<'_>) -> Result<Option<HeaderValue>, Unrenderable> {
    let text = match claim {
        Json::Null => return Ok(None),
        Json::String(text) => {
            let mut encoded = String::with_capacity(text.len());
            push_encoded(&mut encoded, text, false);
            encoded
        }
        Json::List(elements) if elements.iter().all(is_scalar) => {
            let mut joined = String::new();
            for (position, element) in elements.iter().enumerate() {
                if position > 0 {
                    joined.push(',');
                }
                push_scalar(&mut joined, element)?;
            }
            joined
        }
        Json::Bool(_) | Json::Integer(_) | Json::Float(_) => {
            let mut text = String::new();
            push_scalar(&mut text, claim)?;
            text
        }
        Json::List(_) | Json::Object(_) => compact_json(claim)?,
    };
    finished(text)
}

/// Renders a list of strings, such as roles, by the same rules.
///
/// # Errors
/// [`Unrenderable`]
pub fn render_list(elements: &[Box<str>]) -> Result<Option<HeaderValue>, Unrenderable> {
    let mut joined = String::with_capacity(elements.iter().map(|element| element.len() + 1).sum());
    for (position, element) in elements.iter().enumerate() {
        if position > 0 {
            joined.push(',');
        }
        push_encoded(&mut joined, element, true);
    }
    finished(joined)
}

/// Renders one string by the same rules.
///
/// # Errors
/// [`Unrenderable`]
pub fn render_text(text: &str) -> Result<Option<HeaderValue>, Unrenderable> {
    let mut encoded = String::with_capacity(text.len());
    push_encoded(&mut encoded, text, false);
    finished(encoded)
}

fn finished(text: String) -> Result<Option<HeaderValue>, Unrenderable> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > VALUE_BYTES_MAX {
        return Err(Unrenderable);
    }
    // An exact copy, so that what a cache holds for long has no spare capacity.
    HeaderValue::from_str(&text).map(Some).map_err(|_| Unrenderable)
}

fn is_scalar(element: &Json<'_>) -> bool {
    match element {
        Json::Bool(_) | Json::Integer(_) | Json::Float(_) | Json::String(_) => true,
        Json::Null | Json::List(_) | Json::Object(_) => false,
    }
}

fn push_scalar(text: &mut String, element: &Json<'_>) -> Result<(), Unrenderable> {
    match element {
        Json::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Json::Integer(value) => text.push_str(&value.to_string()),
        Json::Float(value) if value.abs() < EXACT_FLOAT_MAX => {
            text.push_str(&serde_json::Number::from_f64(*value).ok_or(Unrenderable)?.to_string());
        }
        Json::String(value) => push_encoded(text, value, true),
        Json::Float(_) | Json::Null | Json::List(_) | Json::Object(_) => return Err(Unrenderable),
    }
    Ok(())
}

fn push_encoded(text: &mut String, value: &str, in_list: bool) {
    let last = value.len().wrapping_sub(1);
    for (position, byte) in value.bytes().enumerate() {
        let at_an_end = position == 0 || position == last;
        let plain = byte.is_ascii_graphic() && byte != b'%' && !(in_list && byte == b',');
        if plain || (byte == b' ' && !at_an_end) {
            text.push(char::from(byte));
        } else {
            const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
            text.push('%');
            text.extend(DIGITS.get(usize::from(byte >> 4)));
            text.extend(DIGITS.get(usize::from(byte & 15)));
        }
    }
}

fn compact_json(claim: &Json<'_>) -> Result<String, Unrenderable> {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, AsciiFormatter);
    claim.serialize(&mut serializer).map_err(|_| Unrenderable)?;
    String::from_utf8(bytes).map_err(|_| Unrenderable)
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Null => serializer.serialize_unit(),
            Json::Bool(value) => serializer.serialize_bool(*value),
            Json::Integer(value) => serializer.serialize_i128(*value),
            Json::Float(value) if value.abs() < EXACT_FLOAT_MAX => serializer.serialize_f64(*value),
            Json::Float(_) => Err(serde::ser::Error::custom("a number that is not exact")),
            Json::String(value) => serializer.serialize_str(value),
            Json::List(elements) => {
                let mut sequence = serializer.serialize_seq(Some(elements.len()))?;
                for element in elements {
                    sequence.serialize_element(element)?;
                }
                sequence.end()
            }
            Json::Object(object) => {
                let mut map = serializer.serialize_map(None)?;
                for (name, value) in object.members() {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

/// Compact JSON in which everything but visible ASCII is escaped.
struct AsciiFormatter;

impl serde_json::ser::Formatter for AsciiFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        for character in fragment.chars() {
            if character == ' ' || character.is_ascii_graphic() {
                writer.write_all(&[u8::try_from(character).unwrap_or(b'?')])?;
            } else {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::json::Object;
    use proptest::prelude::*;

    fn rendered(claim: &str) -> Result<Option<String>, Unrenderable> {
        let text = format!(r#"{{"c":{claim}}}"#);
        let object = Object::parse(text.as_bytes()).expect(claim);
        Ok(render(object.get("c").unwrap())?.map(|value| value.to_str().unwrap().to_owned()))
    }

    #[test]
    fn a_value_is_one_line_of_visible_ascii() {
        for (claim, value) in [
            (r#""alice""#, "alice"),
            (r#""Zo\u00eb""#, "Zo%C3%AB"),
            (r#""u1\r\nX-User-Roles: admin""#, "u1%0D%0AX-User-Roles: admin"),
            (r#""\u0000\u007f""#, "%00%7F"),
            (r#""100%""#, "100%25"),
            (r#"" u1 ""#, "%20u1%20"),
            (r#""a b""#, "a b"),
            (r#""a,b""#, "a,b"),
            (r#""a%2Cb""#, "a%252Cb"),
            (r#"["a","b"]"#, "a,b"),
            (r#"["a, admin"]"#, "a%2C admin"),
            (r#"[" a","b "]"#, "%20a,b%20"),
            (r#"[1,true,"x"]"#, "1,true,x"),
            ("7", "7"),
            ("18446744073709551615", "18446744073709551615"),
            ("-1.5", "-1.5"),
            // The binary fraction that is nearest to the claim, in as few digits as name it.
            ("368954.40737095516", "368954.40737095516"),
            ("false", "false"),
            (r#"{"a":["é\u007f",null,1]}"#, r#"{"a":["\u00e9\u007f",null,1]}"#),
            (r#"["a",null]"#, r#"["a",null]"#),
            (r#"[["a"]]"#, r#"[["a"]]"#),
            (r#"{"k":"\ud83d\ude00\n"}"#, r#"{"k":"\ud83d\ude00\n"}"#),
        ] {
            assert_eq!(rendered(claim), Ok(Some(value.to_owned())), "{claim}");
        }
    }

    #[test]
    fn what_would_be_empty_is_no_header_and_what_is_not_faithful_is_refused() {
        for claim in ["null", r#""""#, "[]"] {
            assert_eq!(rendered(claim), Ok(None), "{claim}");
        }
        let long = format!("\"{}\"", "x".repeat(VALUE_BYTES_MAX + 1));
        for claim in ["1e20", "18446744073709551616", "[1e300]", r#"{"n":1e20}"#, &long] {
            assert_eq!(rendered(claim), Err(Unrenderable), "{claim}");
        }
    }

    fn decoded(value: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = value.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            let (byte, following) = match (*first, crate::gate::path::escaped_byte(after)) {
                (b'%', Some(pair)) => pair,
                (byte, _) => (byte, after),
            };
            bytes.push(byte);
            rest = following;
        }
        bytes
    }

    proptest! {
        #[test]
        fn any_list_of_strings_survives_the_way_through_a_header(list in prop::collection::vec(".+", 1..5)) {
            let boxed: Vec<Box<str>> = list.iter().map(|element| Box::from(element.as_str())).collect();
            let value = render_list(&boxed).unwrap().unwrap();
            let value = value.to_str().unwrap();
            prop_assert_eq!(value.trim(), value);
            let back: Vec<Vec<u8>> = value.split(',').map(decoded).collect();
            let sent: Vec<Vec<u8>> = list.iter().map(|element| element.clone().into_bytes()).collect();
            prop_assert_eq!(back, sent);
        }

        #[test]
        fn any_string_survives_the_way_through_a_header(text in ".+") {
            let value = render_text(&text).unwrap().unwrap();
            let value = value.to_str().unwrap().to_owned();
            prop_assert_eq!(value.trim(), &value);
            prop_assert_eq!(decoded(&value), text.into_bytes());
        }
    }
}
