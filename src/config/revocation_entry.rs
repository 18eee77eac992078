//! One revocation as JSON: what the admin address takes and shows, and what is kept on disk. Strict: what it does not know,
//! says twice or leaves open (`null`) is an error, because a field that is not compared ends more tokens.
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::revocation_list::{parse_time, time_text};
use crate::gate::revocation::{Revocation, RevocationDraft, RevocationField};
use crate::gate::time::UnixTime;

/// The members of the object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationEntry {
    /// The issuer's name in the configuration.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// One token.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// A subject.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// A session.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// A key.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// A client.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// A moment, in RFC 3339.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub issued_before: Option<String>,
    /// A moment, in RFC 3339.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// What people want to remember.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A text, never `null`.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

impl RevocationEntry {
    /// Reads an object.
    ///
    /// # Errors
    /// Says what is wrong, with line and column.
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        // Values without names would be taken in the order of the fields.
        if json.trim_ascii_start().first() == Some(&b'[') {
            return Err("one entry is expected, `{…}`".to_owned());
        }
        serde_json::from_slice(json).map_err(|error| error.to_string())
    }

    /// What it means.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn revocation(&self) -> Result<Revocation, String> {
        let text = |text: &Option<String>| text.as_deref().map(Box::from);
        let time = |name: &str, text: &Option<String>| {
            let read = |text: &String| {
                parse_time(text).ok_or_else(|| format!("`{name}` is no time in RFC 3339, such as 2026-11-23T09:30:00Z"))
            };
            text.as_ref().map(read).transpose()
        };
        let draft = RevocationDraft {
            texts: [&self.issuer, &self.jti, &self.sub, &self.sid, &self.kid, &self.client].map(text),
            issued_before: time("issued_before", &self.issued_before)?,
            until: time("until", &self.until)?,
            note: text(&self.note),
        };
        Revocation::new(draft).map_err(|fault| fault.to_string())
    }
}

impl From<&Revocation> for RevocationEntry {
    fn from(revocation: &Revocation) -> Self {
        let text = |field| revocation.text(field).map(str::to_owned);
        let time = |time: Option<UnixTime>| time.and_then(time_text);
        Self {
            issuer: text(RevocationField::Issuer),
            jti: text(RevocationField::Jti),
            sub: text(RevocationField::Sub),
            sid: text(RevocationField::Sid),
            kid: text(RevocationField::Kid),
            client: text(RevocationField::Client),
            issued_before: time(revocation.issued_before()),
            until: time(revocation.until()),
            note: revocation.note().map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_said_twice_or_left_open_is_refused() {
        let rows = [
            (r#"{"sub": "a"}"#, None),
            (r#"{"user": "a"}"#, Some("unknown field `user`")),
            (r#"{"sub": "a", "sub": "b"}"#, Some("duplicate field `sub`")),
            (r#"{"sub": null, "issued_before": "2026-11-23T09:30:00Z"}"#, Some("invalid type: null")),
            (r#"{"sub": 5}"#, Some("invalid type: integer")),
            (r#"{"sub": "a"} {}"#, Some("trailing characters")),
            (r#"[{"sub": "a"}]"#, Some("one entry is expected")),
            (r#" ["main", "j1"]"#, Some("one entry is expected")),
            (r#"{}"#, Some("names nothing")),
            (r#"{"note": "a"}"#, Some("names nothing")),
            (r#"{"sub": ""}"#, Some("`sub` must not be empty")),
            (r#"{"sub": "a", "until": "tomorrow"}"#, Some("`until` is no time")),
            ("", Some("EOF")),
            ("sub: a", Some("expected value")),
        ];
        for (json, expected) in rows {
            let fault = RevocationEntry::from_json(json.as_bytes()).and_then(|entry| entry.revocation()).err();
            assert_eq!(fault.is_some(), expected.is_some(), "{json}: {fault:?}");
            assert!(expected.is_none_or(|part| fault.as_deref().unwrap().contains(part)), "{json}: {fault:?}");
        }
    }
}
