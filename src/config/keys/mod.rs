//! The key table: every key of the configuration with its form, its default, its bounds and one line that explains it.
//!
//! Said here once: parsing takes names, defaults and bounds from it, hints and the JSON Schema are made from it, and
//! tests compare the sample configuration with it. It reads nothing and judges nothing.
use std::time::Duration;

use crate::config::error::Problems;
use crate::config::tree::Reading;
use crate::config::yaml;

pub mod identity;
pub mod issuer;
pub mod policy_test;
pub mod require;
pub mod revocation;
pub mod route;
pub mod top;
pub mod upstream;

/// One key of a mapping.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Whether it must or may be there.
    pub presence: Presence,
    /// What its value looks like.
    pub shape: Shape,
    /// What holds when it is absent, as YAML; nothing when absence means absence.
    pub default: Option<&'static str>,
    /// What it is for, in one line.
    pub about: &'static str,
    /// That it is to go; nothing for a key that stays.
    pub deprecation: Option<Deprecation>,
}

/// That a key is to go: until then it is read as before, and whoever still writes it is warned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deprecation {
    /// The version that warned first.
    pub since: &'static str,
    /// The version that does not know it any more.
    pub gone_in: &'static str,
    /// What to write in its place.
    pub instead: &'static str,
}

impl Deprecation {
    /// In words, after the name of the key.
    pub fn sentence(&self) -> String {
        let Self { since, gone_in, instead } = self;
        format!("deprecated since {since} and gone in {gone_in}; instead: {instead}")
    }
}

/// Whether a key must or may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Without it the mapping is incomplete.
    Required,
    /// It may be left out.
    Optional,
}

/// What a value looks like.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// A text.
    Text,
    /// A text of a form that a regular expression (ECMA-262) describes roughly; parsing is stricter.
    Pattern(&'static str),
    /// `true` or `false`.
    Boolean,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A whole number.
    Whole {
        /// The least that is allowed.
        least: u64,
        /// The most that is allowed.
        most: u64,
    },
    /// A duration.
    Duration {
        /// The shortest that is allowed.
        least: Duration,
        /// The longest that is allowed.
        most: Duration,
    },
    /// A size in bytes.
    Size {
        /// The least that is allowed.
        least: u64,
        /// The most that is allowed.
        most: u64,
    },
    /// A value of the shape, or `none`, `off` or `false`.
    OrNone(&'static Shape),
    /// A list of at least so many values.
    List {
        /// The shape of each.
        of: &'static Shape,
        /// How many there must be.
        least: u64,
    },
    /// A mapping of these keys.
    Mapping(&'static [Key]),
    /// A mapping of these keys of which exactly one is there.
    OneOf(&'static [Key]),
    /// A mapping from names that the user chooses.
    Named(&'static Shape),
    /// One of several shapes.
    Either(&'static [Shape]),
}

impl Key {
    /// A key that may be left out.
    pub(in crate::config) const fn optional(name: &'static str, shape: Shape, about: &'static str) -> Self {
        Self { name, presence: Presence::Optional, shape, default: None, about, deprecation: None }
    }

    /// A key that must be there.
    pub(in crate::config) const fn required(name: &'static str, shape: Shape, about: &'static str) -> Self {
        Self { name, presence: Presence::Required, shape, default: None, about, deprecation: None }
    }

    /// A key that may be left out; `default`, as YAML, then stands for it.
    pub(in crate::config) const fn with_default(
        name: &'static str,
        shape: Shape,
        default: &'static str,
        about: &'static str,
    ) -> Self {
        Self { name, presence: Presence::Optional, shape, default: Some(default), about, deprecation: None }
    }

    /// The same key, which is to go.
    #[must_use]
    pub const fn deprecated(self, deprecation: Deprecation) -> Self {
        Self { deprecation: Some(deprecation), ..self }
    }

    /// The default as JSON; null without one.
    pub fn default_json(&self) -> serde_json::Value {
        let text = self.default.unwrap_or("null");
        let node = yaml::parse("default", text.as_bytes(), &mut Problems::new());
        node.map_or(serde_json::Value::Null, |node| node.to_json(Reading::Written))
    }

    /// The default of a text; empty without one.
    pub fn default_text(&self) -> String {
        self.default_json().as_str().unwrap_or_default().to_owned()
    }

    /// The default of a list of texts; empty without one.
    pub fn default_texts(&self) -> Vec<Box<str>> {
        let json = self.default_json();
        json.as_array().into_iter().flatten().filter_map(|value| value.as_str().map(Box::from)).collect()
    }
}

/// The key of this name; nothing when the table has none.
pub fn find(keys: &'static [Key], name: &str) -> Option<&'static Key> {
    keys.iter().find(|key| key.name == name)
}

#[cfg(test)]
pub(in crate::config) mod walk {
    use super::{Key, Shape};

    /// Every key below `keys` with the way to it; names that the user chooses are `*`, elements of lists `[]`.
    pub(in crate::config) fn paths(keys: &'static [Key]) -> Vec<(Vec<&'static str>, &'static Key)> {
        let mut found = Vec::new();
        for key in keys {
            found.push((vec![key.name], key));
            for (mut below, inner) in below(&key.shape) {
                below.insert(0, key.name);
                found.push((below, inner));
            }
        }
        found
    }

    fn below(shape: &'static Shape) -> Vec<(Vec<&'static str>, &'static Key)> {
        let step = |name: &'static str, of: &'static Shape| {
            let mut found = below(of);
            found.iter_mut().for_each(|(path, _)| path.insert(0, name));
            found
        };
        match shape {
            Shape::Mapping(keys) | Shape::OneOf(keys) => paths(keys),
            Shape::Named(of) => step("*", of),
            Shape::List { of, .. } => step("[]", of),
            Shape::OrNone(of) => below(of),
            Shape::Either(shapes) => shapes.iter().flat_map(below).collect(),
            Shape::Text
            | Shape::Pattern(_)
            | Shape::Boolean
            | Shape::Choice(_)
            | Shape::Whole { .. }
            | Shape::Duration { .. }
            | Shape::Size { .. } => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::quantity::{parse_duration, parse_size};

    fn fits(shape: &Shape, value: &serde_json::Value) -> bool {
        match shape {
            Shape::Text | Shape::Pattern(_) => value.is_string(),
            Shape::Boolean => value.is_boolean(),
            Shape::Choice(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Shape::Whole { least, most } => value.as_u64().is_some_and(|number| (*least..=*most).contains(&number)),
            Shape::Duration { least, most } => {
                value.as_str().and_then(|text| parse_duration(text).ok()).is_some_and(|d| (*least..=*most).contains(&d))
            }
            Shape::Size { least, most } => value
                .as_str()
                .and_then(|text| parse_size(text).ok())
                .is_some_and(|size| (*least..=*most).contains(&size)),
            Shape::OrNone(of) => value == "none" || fits(of, value),
            Shape::List { of, .. } => value.as_array().is_some_and(|list| list.iter().all(|value| fits(of, value))),
            Shape::Mapping(_) | Shape::OneOf(_) | Shape::Named(_) => value.is_object(),
            Shape::Either(shapes) => shapes.iter().any(|shape| fits(shape, value)),
        }
    }

    #[test]
    fn every_default_has_the_form_and_the_bounds_of_its_key() {
        for (path, key) in walk::paths(top::KEYS) {
            if key.default.is_some() {
                assert!(fits(&key.shape, &key.default_json()), "{path:?}: {:?}", key.default);
                assert_eq!(key.presence, Presence::Optional, "{path:?}");
            }
        }
    }

    #[test]
    fn every_key_is_named_once_and_explained_in_one_line() {
        let mut seen = std::collections::BTreeSet::new();
        for (path, key) in walk::paths(top::KEYS) {
            assert!(seen.insert(path.clone()), "{path:?} is there twice");
            assert!(!key.about.is_empty(), "{path:?}");
            assert!(!key.about.ends_with('.') && !key.about.contains('\n'), "{path:?}");
        }
    }
}
