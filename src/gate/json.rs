//! JSON as tokens and key sets must be read: one value, no member twice, nothing coerced.
//!
//! It never guesses: RFC 7515 §4 and RFC 7519 §4 let a parser take the last of two members of one name; a service
//! behind the gate might take the first, so both are refused (RFC 8725bis §3.14 asks for the same strictness).
use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Up to this many members, names are compared with each other directly; above it, sorted first.
const MEMBERS_COMPARED_DIRECTLY: usize = 16;

/// One JSON value; strings without escapes are borrowed from the text.
#[derive(Clone, Debug, PartialEq)]
pub enum Json<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number without fraction or exponent that fits into 64 bits.
    Integer(i128),
    /// Any other number, as the nearest binary fraction.
    Float(f64),
    /// A string after unescaping.
    String(Cow<'a, str>),
    /// An array.
    List(Vec<Json<'a>>),
    /// An object, members in their order.
    Object(Object<'a>),
}

/// The members of one JSON object; no name occurs twice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object<'a> {
    members: Vec<(Cow<'a, str>, Json<'a>)>,
}

impl<'a> Object<'a> {
    /// Parses a text that is exactly one JSON object (RFC 7515 §5.2 step 3, RFC 7519 §7.2).
    ///
    /// # Errors
    /// A one-line reason without any of the text: not UTF-8, not JSON, not an object, a name twice, deeper than 128.
    pub fn parse(text: &'a [u8]) -> Result<Self, &'static str> {
        // Checked whole, which is quicker than string by string, as `from_slice` would.
        let text = std::str::from_utf8(text).map_err(|_| "not JSON")?;
        match serde_json::from_str::<Json<'a>>(text) {
            Ok(Json::Object(object)) => Ok(object),
            Ok(Json::Null | Json::Bool(_) | Json::Integer(_) | Json::Float(_) | Json::String(_) | Json::List(_)) => {
                Err("not a JSON object")
            }
            Err(error) if error.to_string().starts_with(REPEATED) => Err(REPEATED),
            Err(_) => Err("not JSON"),
        }
    }

    /// The value of the member called `name`.
    pub fn get(&self, name: &str) -> Option<&Json<'a>> {
        self.members.iter().find(|(member, _)| member == name).map(|(_, value)| value)
    }

    /// Takes the value of the member called `name` out of the object.
    pub fn take(&mut self, name: &str) -> Option<Json<'a>> {
        let position = self.members.iter().position(|(member, _)| member == name)?;
        Some(self.members.swap_remove(position).1)
    }

    /// The value at `path`, one name for each level; `null` on the way or at the end counts as absent.
    pub fn at(&self, path: &[Box<str>]) -> Option<&Json<'a>> {
        let (last, parents) = path.split_last()?;
        let mut object = self;
        for name in parents {
            match object.get(name)? {
                Json::Object(inner) => object = inner,
                Json::Null | Json::Bool(_) | Json::Integer(_) | Json::Float(_) | Json::String(_) | Json::List(_) => {
                    return None;
                }
            }
        }
        object.get(last).filter(|value| **value != Json::Null)
    }

    /// Names and values in the order of the text.
    pub fn members(&self) -> impl Iterator<Item = (&str, &Json<'a>)> {
        self.members.iter().map(|(name, value)| (name.as_ref(), value))
    }
}

impl Json<'_> {
    /// The string, where the value is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Json::String(text) => Some(text),
            Json::Null | Json::Bool(_) | Json::Integer(_) | Json::Float(_) | Json::List(_) | Json::Object(_) => None,
        }
    }

    /// What kind of value this is, in the words of RFC 8259, for the log.
    pub fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Integer(_) | Json::Float(_) => "a number",
            Json::String(_) => "a string",
            Json::List(_) => "an array",
            Json::Object(_) => "an object",
        }
    }
}

const REPEATED: &str = "a member name occurs twice";

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json<'de>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Json::Integer(i128::from(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Json::Integer(i128::from(value)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Json::Float(value))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Json::String(Cow::Borrowed(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Json::String(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut members: Vec<(Cow<'de, str>, Json<'de>)> = Vec::new();
        while let Some(Name(name)) = entries.next_key()? {
            if members.len() < MEMBERS_COMPARED_DIRECTLY && members.iter().any(|(other, _)| *other == name) {
                return Err(A::Error::custom(REPEATED));
            }
            members.push((name, entries.next_value()?));
        }
        if members.len() > MEMBERS_COMPARED_DIRECTLY && a_name_repeats(&members) {
            return Err(A::Error::custom(REPEATED));
        }
        Ok(Json::Object(Object { members }))
    }
}

fn a_name_repeats(members: &[(Cow<'_, str>, Json<'_>)]) -> bool {
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_ref()).collect();
    names.sort_unstable();
    names.windows(2).any(|pair| pair.first() == pair.last())
}

/// A member name, borrowed where the text has no escapes in it.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;
            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a member name")
            }
            fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(value)))
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(value.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: Result<(), &str>) {
        assert_eq!(Object::parse(text.as_bytes()).map(|_| ()), expected, "{text}");
    }

    #[test]
    fn only_one_object_with_distinct_names_is_read() {
        check(r#"{"a":1,"b":{"a":2}}"#, Ok(()));
        check(" {} \n", Ok(()));
        check(r#"{"a":1,"a":1}"#, Err(REPEATED));
        check(r#"{"alg":1,"\u0061lg":2}"#, Err(REPEATED));
        check(r#"{"x":{"a":1,"a":1}}"#, Err(REPEATED));
        check(r#"{"x":[{"a":1,"a":1}]}"#, Err(REPEATED));
        check("[]", Err("not a JSON object"));
        check("null", Err("not a JSON object"));
        check(r#""x""#, Err("not a JSON object"));
        check("{}x", Err("not JSON"));
        check("{} {}", Err("not JSON"));
        check("\u{feff}{}", Err("not JSON"));
        check(r#"{"a":"\ud800"}"#, Err("not JSON"));
        check(r#"{"a":1e400}"#, Err("not JSON"));
        check("{'a':1}", Err("not JSON"));
        check(r#"{"a":01}"#, Err("not JSON"));
        check(r#"{"a":NaN}"#, Err("not JSON"));
        check(&"[".repeat(10_000), Err("not JSON"));
        check(&format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200)), Err("not JSON"));
    }

    #[test]
    fn a_repeated_name_is_found_among_many() {
        let members: Vec<String> = (0..100).map(|number| format!("\"m{number}\":0")).collect();
        check(&format!("{{{}}}", members.join(",")), Ok(()));
        for repeated in [0, 15, 16, 50, 99] {
            check(&format!("{{{},\"m{repeated}\":1}}", members.join(",")), Err(REPEATED));
        }
    }

    #[test]
    fn numbers_keep_their_kind() {
        let object = Object::parse(br#"{"i":18446744073709551615,"n":-5,"f":1.5,"b":1e3,"h":18446744073709551616}"#);
        let object = object.unwrap();
        assert_eq!(object.get("i"), Some(&Json::Integer(18_446_744_073_709_551_615)));
        assert_eq!(object.get("n"), Some(&Json::Integer(-5)));
        assert_eq!(object.get("f"), Some(&Json::Float(1.5)));
        assert_eq!(object.get("b"), Some(&Json::Float(1000.0)));
        assert!(matches!(object.get("h"), Some(Json::Float(_))));
    }

    #[test]
    fn a_path_reaches_nested_members_and_null_is_absent() {
        let object = Object::parse(br#"{"realm":{"roles":["a"],"none":null},"s":"x"}"#).unwrap();
        let at = |path: &[&str]| object.at(&path.iter().map(|name| Box::from(*name)).collect::<Vec<_>>()).cloned();
        assert_eq!(at(&["realm", "roles"]), Some(Json::List(vec![Json::String("a".into())])));
        assert_eq!(at(&["realm", "none"]), None);
        assert_eq!(at(&["s", "x"]), None);
        assert_eq!(at(&["realm", "roles", "0"]), None);
        assert_eq!(at(&[]), None);
    }

    proptest! {
        #[test]
        fn any_text_is_answered_and_agrees_with_serde_json_on_what_is_json(text in ".*") {
            let strict = Object::parse(text.as_bytes()).is_ok();
            let lenient = serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|value| value.is_object());
            prop_assert!(!strict || lenient);
        }
    }
}
