//! The key table: where revocations come from, and what one entry of such a list may say.
use crate::config::keys::top::{DAY, milliseconds, seconds};
use crate::config::keys::{Key, Shape};

/// `revocation`.
pub const KEYS: &[Key] = &[
    Key::optional("file", Shape::Text, "file with a list of entries; it is read again whenever it changes"),
    Key::optional(
        "url",
        Shape::Pattern("^https?://[^@#]+$"),
        "URL of a list of entries, for many hosts; fetched in the background; https unless insecure_http is true",
    ),
    Key::with_default("refresh", seconds(1, DAY), "30s", "time between two fetches"),
    Key::with_default("timeout", milliseconds(100, 60_000), "5s", "longest time that one fetch may take"),
    Key::optional("ca_file", Shape::Text, "PEM certificates to trust for url instead of the system's"),
    Key::with_default(
        "insecure_http",
        Shape::Boolean,
        "false",
        "the list may be fetched without encryption: whoever is on the way can bring revoked tokens back to life",
    ),
];

/// One entry of a list.
pub const ENTRY: &[Key] = &[
    Key::optional("issuer", Shape::Text, "the issuer's name in the configuration"),
    Key::optional("jti", Shape::Text, "one token"),
    Key::optional("sub", Shape::Text, "a subject; without issued_before it is banned"),
    Key::optional("sid", Shape::Text, "a session"),
    Key::optional("kid", Shape::Text, "the key that signed the token"),
    Key::optional("client", Shape::Text, "the client that the token was given to"),
    Key::optional("issued_before", Shape::Text, "tokens issued before this moment (RFC 3339), or without iat"),
    Key::optional("until", Shape::Text, "when the entry ceases to count (RFC 3339)"),
    Key::optional("note", Shape::Text, "anything that people want to remember"),
];
