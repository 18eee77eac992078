//! The key table of policy tests: what a file of them may say, and one of its cases.
use crate::config::keys::{Key, Shape};

/// The outcomes that can be expected.
pub const VERDICTS: &[&str] = &["allow", "forward", "respond", "deny"];

/// A header field, or several of the same name.
const VALUES: Shape = Shape::Either(&[Shape::Text, Shape::List { of: &Shape::Text, least: 1 }]);
/// A header field that is expected, or `null` for one that is not there.
const EXPECTED_VALUES: Shape = Shape::Named(&Shape::OrNone(&Shape::Text));

/// A file.
pub const FILE: &[Key] = &[
    Key::optional("defaults", Shape::Mapping(DEFAULTS), "what stands in for keys that a case lacks"),
    Key::required("cases", Shape::List { of: &Shape::Mapping(CASE), least: 1 }, "the cases"),
];

/// `defaults`.
pub const DEFAULTS: &[Key] = &[
    Key::optional("base", Shape::Pattern("^https?://[^/?#]+$"), "scheme and host of requests that are a path alone"),
    ISSUER,
    AT,
    ADDRESS,
    LISTENER,
];

/// One of `cases`.
pub const CASE: &[Key] = &[
    Key::required("name", Shape::Text, "what it shows, in words; unique in its file"),
    Key::required("request", Shape::Text, "method and URL, or path: `GET /orders`; GET unless said"),
    Key::optional("headers", Shape::Named(&VALUES), "header fields of the request"),
    Key::optional("claims", Shape::Named(&Shape::Text), "claims of its token, taken as if the issuer had signed them"),
    Key::optional(
        "token",
        Shape::Text,
        "its token, verified with the keys that the configuration has in files, or --jwks",
    ),
    Key::optional("token_file", Shape::Text, "file with its token"),
    ISSUER,
    AT,
    ADDRESS,
    LISTENER,
    Key::required(
        "expect",
        Shape::Either(&[Shape::Text, Shape::Mapping(EXPECT)]),
        "a verdict, the reason of a refusal, or more of it",
    ),
];

const ISSUER: Key = Key::optional("issuer", Shape::Text, "whose claims they are; without it the only issuer");
const AT: Key = Key::optional("at", Shape::Text, "when the request is judged (RFC 3339); now unless given");
const ADDRESS: Key = Key::optional("address", Shape::Text, "address of the client");
const LISTENER: Key = Key::optional("listener", Shape::Text, "name of the listener");

/// `expect`.
pub const EXPECT: &[Key] = &[
    Key::optional("verdict", Shape::Choice(VERDICTS), "what becomes of it; allow is forward or respond"),
    Key::optional("reason", Shape::Text, "why it is refused"),
    Key::optional("status", Shape::Whole { least: 100, most: 599 }, "status of the gateway's answer"),
    Key::optional("route", Shape::Text, "the route that it finds; none: it finds none"),
    Key::optional("subject", Shape::Text, "whose request it is; none: nobody's"),
    Key::optional("upstream", Shape::Text, "the upstream that gets it"),
    Key::optional("path", Shape::Text, "the path that the upstream gets"),
    Key::optional("headers", EXPECTED_VALUES, "header fields that the upstream gets; null: it does not"),
    Key::optional("response_headers", EXPECTED_VALUES, "header fields about other origins that the client gets"),
    Key::optional("observed", Shape::Text, "what a rule on trial would refuse it for; none: nothing"),
];
