//! Claims of a token to be made: what the arguments and a file say, put together. It checks that they can be written,
//! not that anybody would accept them: tests need bad tokens too.
use std::{fmt, str::FromStr};

use serde_json::{Map, Value};

use crate::gate::json::Json;

/// One claim as it was typed: `NAME=JSON_OR_TEXT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// One name for each level of nesting, at least one.
    pub path: Vec<String>,
    /// Its value.
    pub value: Value,
}

/// Why claims cannot be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimError {
    /// No `=`, or nothing before it.
    NoName,
    /// An empty name between dots.
    EmptyName,
    /// It begins like JSON and is none.
    NotJson,
    /// JSON in which a member name occurs twice.
    Repeated,
    /// A claim cannot be put into another that is no object.
    NotAnObject(String),
    /// The file is neither YAML nor JSON: the parser's words, with line and column.
    File(String),
    /// The file holds something else than a mapping of names to values.
    FileNotAMapping,
    /// The file has a value that JSON has not: a tag, a key that is no text, a number that is not finite.
    FileNotJson(&'static str),
}

impl fmt::Display for ClaimError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoName => formatter.write_str("expected NAME=VALUE"),
            Self::EmptyName => formatter.write_str("a name is empty; a dot that belongs to the name is written `\\.`"),
            Self::NotJson => formatter.write_str(
                "the value begins like JSON and is none; was it in single quotes? a text is also written as '\"…\"'",
            ),
            Self::Repeated => formatter.write_str("a member name occurs twice in the value"),
            Self::NotAnObject(name) => {
                write!(formatter, "the claim {name} is no object, so nothing can be put into it")
            }
            Self::File(error) => write!(formatter, "neither YAML nor JSON: {error}"),
            Self::FileNotAMapping => formatter.write_str("a mapping of claim names to values is expected"),
            Self::FileNotJson(what) => write!(formatter, "{what} cannot be written as JSON"),
        }
    }
}

impl std::error::Error for ClaimError {}

impl FromStr for Claim {
    type Err = ClaimError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or(ClaimError::NoName)?;
        Ok(Self { path: path(name)?, value: value_of(value)? })
    }
}

/// `a.b` is `b` in `a`; a name with `:` or `/` is one name, for it is a URI (RFC 7519 §4.2), and so is `a\.b`.
fn path(name: &str) -> Result<Vec<String>, ClaimError> {
    if name.contains([':', '/']) {
        return Ok(vec![name.to_owned()]);
    }
    let mut path = vec![String::new()];
    let mut characters = name.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, path.last_mut()) {
            ('.', _) => path.push(String::new()),
            ('\\', Some(last)) if characters.next_if_eq(&'.').is_some() => last.push('.'),
            (character, Some(last)) => last.push(character),
            (_, None) => {}
        }
    }
    if path.iter().any(String::is_empty) { Err(ClaimError::EmptyName) } else { Ok(path) }
}

fn value_of(text: &str) -> Result<Value, ClaimError> {
    match serde_json::from_str(text) {
        // Read again as the gate reads, which takes no name twice.
        Ok(value) => serde_json::from_str::<Json<'_>>(text).map(|_| value).map_err(|_| ClaimError::Repeated),
        // What a shell made of JSON by taking its quotes away must not become a text silently.
        Err(_) if text.trim_start().starts_with(['{', '[', '"']) => Err(ClaimError::NotJson),
        Err(_) => Ok(Value::String(text.to_owned())),
    }
}

/// Reads claims from a file, YAML or JSON.
///
/// # Errors
/// [`ClaimError::File`], [`ClaimError::FileNotAMapping`], [`ClaimError::FileNotJson`].
pub fn parse_file(text: &str) -> Result<Map<String, Value>, ClaimError> {
    // JSON is tried first, for not all of it is YAML (escapes of characters outside the basic plane); as the gate reads,
    // so that a name twice is left to the other parser to explain.
    if serde_json::from_str::<Json<'_>>(text).is_ok()
        && let Ok(Value::Object(claims)) = serde_json::from_str(text)
    {
        return Ok(claims);
    }
    let document: serde_yaml::Value =
        serde_yaml::from_str(text).map_err(|error| ClaimError::File(error.to_string()))?;
    match json(document)? {
        Value::Object(claims) => Ok(claims),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(ClaimError::FileNotAMapping)
        }
    }
}

fn json(value: serde_yaml::Value) -> Result<Value, ClaimError> {
    Ok(match value {
        serde_yaml::Value::Null => Value::Null,
        serde_yaml::Value::Bool(value) => Value::Bool(value),
        serde_yaml::Value::String(text) => Value::String(text),
        serde_yaml::Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(number), _, _) => number.into(),
            (None, Some(number), _) => number.into(),
            (None, None, Some(number)) if number.is_finite() => number.into(),
            (None, None, _) => return Err(ClaimError::FileNotJson("a number that is not finite")),
        },
        serde_yaml::Value::Sequence(elements) => elements.into_iter().map(json).collect::<Result<_, _>>()?,
        serde_yaml::Value::Mapping(members) => Value::Object(
            members
                .into_iter()
                .map(|(name, value)| match name {
                    serde_yaml::Value::String(name) => Ok((name, json(value)?)),
                    serde_yaml::Value::Null
                    | serde_yaml::Value::Bool(_)
                    | serde_yaml::Value::Number(_)
                    | serde_yaml::Value::Sequence(_)
                    | serde_yaml::Value::Mapping(_)
                    | serde_yaml::Value::Tagged(_) => Err(ClaimError::FileNotJson("a key that is no text")),
                })
                .collect::<Result<_, ClaimError>>()?,
        ),
        serde_yaml::Value::Tagged(_) => return Err(ClaimError::FileNotJson("a tag")),
    })
}

/// Puts a claim into `claims`, into objects inside where its path says so; an earlier value gives way.
///
/// # Errors
/// [`ClaimError::NotAnObject`].
pub fn put(claims: &mut Map<String, Value>, claim: &Claim) -> Result<(), ClaimError> {
    let Some((last, parents)) = claim.path.split_last() else { return Err(ClaimError::EmptyName) };
    let mut object = claims;
    for name in parents {
        let inner = object.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
        object = inner.as_object_mut().ok_or_else(|| ClaimError::NotAnObject(name.clone()))?;
    }
    object.insert(last.clone(), claim.value.clone());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(typed: &[&str], expected: Result<Value, ClaimError>) {
        let build = || {
            let mut claims = Map::new();
            for text in typed {
                put(&mut claims, &text.parse()?)?;
            }
            Ok(Value::Object(claims))
        };
        assert_eq!(build(), expected, "{typed:?}");
    }

    #[test]
    fn a_claim_is_json_or_else_text() {
        check(&["plan=pro"], Ok(json!({"plan": "pro"})));
        check(&["n=1", "f=1.5", "t=true", "z=null"], Ok(json!({"n": 1, "f": 1.5, "t": true, "z": null})));
        check(&["s=\"1\"", "e=", "q=a=b"], Ok(json!({"s": "1", "e": "", "q": "a=b"})));
        check(&[r#"o={"a":[1]}"#], Ok(json!({"o": {"a": [1]}})));
        check(&["t=2026-11-23T09:30:00Z"], Ok(json!({"t": "2026-11-23T09:30:00Z"})));
    }

    #[test]
    fn a_dot_nests_unless_the_name_is_a_uri_or_the_dot_is_escaped() {
        check(
            &[r#"realm_access.roles=["a"]"#, "realm_access.x.y=1"],
            Ok(json!({"realm_access": {"roles": ["a"], "x": {"y": 1}}})),
        );
        check(&["https://example.com/roles=[]"], Ok(json!({"https://example.com/roles": []})));
        check(&["urn:example:tenant.id=1"], Ok(json!({"urn:example:tenant.id": 1})));
        check(&[r"a\.b.c=1", r"d\e=2"], Ok(json!({"a.b": {"c": 1}, r"d\e": 2})));
        check(&["a.b=1", "a=2"], Ok(json!({"a": 2})));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        check(&["plan"], Err(ClaimError::NoName));
        check(&["=1"], Err(ClaimError::NoName));
        for name in [".=1", "a.=1", ".a=1", "a..b=1"] {
            check(&[name], Err(ClaimError::EmptyName));
        }
        for value in ["roles=[admin]", "o={a:1}", "s=\"x"] {
            check(&[value], Err(ClaimError::NotJson));
        }
        check(&[r#"o={"a":1,"a":2}"#], Err(ClaimError::Repeated));
        check(&["a=1", "a.b=2"], Err(ClaimError::NotAnObject("a".to_owned())));
    }

    #[test]
    fn a_file_is_yaml_or_json() {
        let rows = [
            (
                "sub: alice\nroles: [a, 'b']\nn: -1\nbig: 18446744073709551615\n",
                r#"{"sub":"alice","roles":["a","b"],"n":-1,"big":18446744073709551615}"#,
            ),
            (r#"{"sub":"\ud83d\ude00","a":{"b":[1.5,null]}}"#, r#"{"sub":"😀","a":{"b":[1.5,null]}}"#),
            ("base: &b {x: 1}\nagain: *b\n", r#"{"base":{"x":1},"again":{"x":1}}"#),
        ];
        for (text, expected) in rows {
            assert_eq!(parse_file(text).map(Value::Object), Ok(serde_json::from_str(expected).unwrap()), "{text}");
        }
    }

    #[test]
    fn a_file_that_is_no_claims_says_why() {
        let is_file_error = |text: &str| matches!(parse_file(text), Err(ClaimError::File(_)));
        assert!(is_file_error("sub: a\nsub: b\n"));
        assert!(is_file_error(r#"{"sub":"a","sub":"b"}"#));
        assert!(is_file_error("a: [\n"));
        assert!(is_file_error("a: 1\n---\nb: 2\n"));
        for (text, expected) in [
            ("[]", ClaimError::FileNotAMapping),
            ("", ClaimError::FileNotAMapping),
            ("a: .nan", ClaimError::FileNotJson("a number that is not finite")),
            ("1: a", ClaimError::FileNotJson("a key that is no text")),
            ("a: !x b", ClaimError::FileNotJson("a tag")),
        ] {
            assert_eq!(parse_file(text), Err(expected), "{text}");
        }
    }
}
