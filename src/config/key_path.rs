//! The way to a value: `routes[2].limits.body_bytes`. Only names; knows nothing of positions or values.
use std::fmt;

/// Where in the configuration a value stands, from the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPath {
    text: String,
    /// Where the last key starts in `text`.
    last: usize,
}

impl KeyPath {
    /// The path of the document itself: empty.
    pub fn root() -> Self {
        Self::default()
    }

    /// The path of a key of the mapping that is here; a key that is no plain word is quoted in brackets.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        let (separator, key) = match (plain, self.text.is_empty()) {
            (true, true) => ("", key.to_owned()),
            (true, false) => (".", key.to_owned()),
            (false, _) => ("", format!("[{key:?}]")),
        };
        let last = self.text.len().saturating_add(separator.len());
        Self { text: format!("{}{separator}{key}", self.text), last }
    }

    /// The path of an element of the list that is here; elements count from 0.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self { text: format!("{}[{index}]", self.text), last: self.last }
    }

    /// The last key with its index, if any (`methods[1]`); empty at the root.
    pub fn last(&self) -> &str {
        self.text.get(self.last..).unwrap_or(&self.text)
    }

    /// The whole path as text; empty at the root.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_people_write_it() {
        let root = KeyPath::root();
        let rows = [
            (root.clone(), "", ""),
            (root.key("issuers").key("main"), "issuers.main", "main"),
            (root.key("routes").index(2).key("methods").index(0), "routes[2].methods[0]", "methods[0]"),
            (root.index(1).key("name"), "[1].name", "name"),
            (root.key("claims").key("https://x/roles"), "claims[\"https://x/roles\"]", "[\"https://x/roles\"]"),
            (root.key("").key("X-User-ID"), "[\"\"].X-User-ID", "X-User-ID"),
        ];
        for (path, whole, last) in rows {
            assert_eq!((path.as_str(), path.last()), (whole, last));
        }
    }
}
