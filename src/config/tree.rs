//! The configuration as a tree in which every key and value knows its place. Knows nothing of what keys mean.
use crate::config::scalar::{Scalar, ScalarKind};
use crate::config::source::Position;

/// A value and where it stands. What an alias stands for has the place of the anchor's text.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where its text is; of lists and mappings only the beginning.
    pub position: Position,
    /// What it is.
    pub value: Value,
}

/// The kinds of value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A single value.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// A mapping; keys are unique and in the order of the file, those of merge keys (`<<`) last.
    Mapping(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// Its value.
    pub value: Node,
}

/// A key and where it stands. Variables in keys are not expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Where its text is, with quotes if it has any.
    pub position: Position,
    /// The key without quotes.
    pub text: String,
}

/// Which text of a scalar is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// As in the file: `${NAME}` stays what it is.
    Written,
    /// As in force: with the values of variables. Not for output.
    Expanded,
}

impl Node {
    /// The scalar that it is, if it is one.
    pub fn scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            Value::Sequence(_) | Value::Mapping(_) => None,
        }
    }

    /// Whether it is `null`, `~` or nothing at all.
    pub fn is_null(&self) -> bool {
        self.scalar().is_some_and(|scalar| scalar.kind() == ScalarKind::Null)
    }

    /// The value of a key of this mapping; `None` when the key is absent or this is no mapping.
    pub fn child(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Mapping(entries) => entries.iter().find(|entry| entry.key.text == key).map(|entry| &entry.value),
            Value::Scalar(_) | Value::Sequence(_) => None,
        }
    }

    /// What it is, for messages: `a list`, `an integer`, `nothing`.
    pub fn describe(&self) -> &'static str {
        match &self.value {
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
            Value::Scalar(scalar) => match scalar.kind() {
                ScalarKind::Null => "nothing",
                ScalarKind::Boolean(_) => "a boolean",
                ScalarKind::Integer(_) => "an integer",
                ScalarKind::Float(_) => "a number",
                ScalarKind::String => "a string",
            },
        }
    }

    /// The same value in JSON. A number that JSON cannot hold (`.inf`, over 64 bits) becomes its text, and so does, when
    /// read as written, a scalar that holds a variable.
    pub fn to_json(&self, reading: Reading) -> serde_json::Value {
        match &self.value {
            Value::Sequence(items) => items.iter().map(|item| item.to_json(reading)).collect(),
            Value::Mapping(entries) => entries
                .iter()
                .map(|entry| (entry.key.text.clone(), entry.value.to_json(reading)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            Value::Scalar(scalar) => scalar_to_json(scalar, reading),
        }
    }
}

fn scalar_to_json(scalar: &Scalar, reading: Reading) -> serde_json::Value {
    let (text, kind) = match reading {
        Reading::Expanded => (scalar.text(), scalar.kind()),
        Reading::Written if scalar.written() == scalar.text() => (scalar.text(), scalar.kind()),
        Reading::Written => (scalar.written(), ScalarKind::String),
    };
    match kind {
        ScalarKind::Null => serde_json::Value::Null,
        ScalarKind::Boolean(value) => value.into(),
        ScalarKind::Integer(number) => {
            let signed = i64::try_from(number).map(serde_json::Value::from);
            signed.or_else(|_| u64::try_from(number).map(Into::into)).unwrap_or_else(|_| text.into())
        }
        ScalarKind::Float(number) => serde_json::Number::from_f64(number).map_or_else(|| text.into(), Into::into),
        ScalarKind::String => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::error::Problems;
    use crate::config::yaml::parse;

    #[test]
    fn json_as_written_shows_no_variable_and_json_in_force_does() {
        let mut problems = Problems::new();
        let mut node =
            parse("a.yaml", b"{a: '${A}', b: [1, x, null, 1.5, .inf, true], c: '1'}", &mut problems).unwrap();
        let Value::Mapping(entries) = &mut node.value else { panic!("a mapping") };
        let Value::Scalar(scalar) = &mut entries[0].value.value else { panic!("a scalar") };
        scalar.expand("hunter2".to_owned(), true);
        let rest = r#""b":[1,"x",null,1.5,".inf",true],"c":"1""#;
        assert_eq!(node.to_json(Reading::Written).to_string(), format!(r#"{{"a":"${{A}}",{rest}}}"#));
        assert_eq!(node.to_json(Reading::Expanded).to_string(), format!(r#"{{"a":"hunter2",{rest}}}"#));
        assert!(!format!("{node:?}").contains("hunter2"));
    }
}
