//! The key table: `identity`, what services are told of who is calling.
use crate::config::keys::top::{HEADER_NAME, SOME_TEXTS, TEXTS, seconds};
use crate::config::keys::{Key, Shape, issuer};

/// `identity`.
pub const KEYS: &[Key] = &[
    Key::optional(
        "headers",
        Shape::Named(&Shape::Either(&[Shape::Text, SOME_TEXTS, Shape::Mapping(HEADER)])),
        "header name to its source: a fact, a claim, or a list of names for a nested claim; clients cannot send them",
    ),
    Key::with_default(
        "strip",
        TEXTS,
        "[]",
        "more header names to remove from every request; a final * stands for anything",
    ),
    Key::with_default(
        "insecure_keep_known_identity_headers",
        Shape::Boolean,
        "false",
        "the identity headers of other gateways, such as X-Auth-Request-User, pass from clients to services",
    ),
    Key::optional(
        "assertion",
        Shape::Mapping(ASSERTION),
        "a short-lived JWT, signed by the gateway, by which services can tell that a request came through it",
    ),
];

/// `identity.assertion`.
pub const ASSERTION: &[Key] = &[
    Key::with_default(
        "header",
        HEADER_NAME,
        "X-Identity-Assertion",
        "the header that carries it; clients cannot send it",
    ),
    Key::with_default(
        "lifetime",
        seconds(5, 600),
        "60s",
        "how long one lives at most, and so how long one that was stolen serves; never longer than its token",
    ),
    Key::with_default("algorithm", Shape::Choice(&["EdDSA", "ES256"]), "EdDSA", "how it is signed"),
    Key::required("issuer", Shape::Text, "its `iss`: how services call the gateway"),
    Key::optional(
        "private_key_file",
        Shape::Text,
        "PEM private key that signs, which several hosts may share; read again when it changes; without it one is made in \
         the state directory at the first start",
    ),
    Key::with_default(
        "published_key_files",
        TEXTS,
        "[]",
        "PEM public keys that are published beside it: the next one, or those of other hosts; read again when they change",
    ),
    Key::with_default(
        "publish",
        Shape::Boolean,
        "false",
        "whether the public keys are at /.well-known/jwks.json of the listeners too, besides the admin address",
    ),
];

/// `identity.headers.*` in its long form.
pub const HEADER: &[Key] = &[
    Key::optional(
        "from",
        Shape::Choice(&["subject", "roles", "scopes", "client", "issuer"]),
        "a fact that each issuer's configuration places",
    ),
    Key::optional("claim", issuer::CLAIM_PATH, "a claim, or a list of names for a nested one"),
    Key::with_default("required", Shape::Boolean, "false", "whether a token without a value for it is refused"),
];
