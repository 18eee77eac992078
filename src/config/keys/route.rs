//! The key table: a route.
use crate::config::keys::top::{
    BODY_BYTES, DAY, FORWARD_ABOUT, HEADER_NAME, HOUR, NAME, PATH, SOME_TEXTS, SOURCES, SOURCES_ABOUT, TEXTS,
    milliseconds, seconds,
};
use crate::config::keys::{Key, Shape, require};

/// `routes[]`: what it matches, and all that `route_defaults` may say for it.
pub const KEYS: &[Key] = &joined();

const fn joined() -> [Key; MATCH.len() + DEFAULTS.len()] {
    let mut keys = [Key::optional("", Shape::Text, ""); MATCH.len() + DEFAULTS.len()];
    let (matching, others) = keys.split_at_mut(MATCH.len());
    matching.copy_from_slice(MATCH);
    others.copy_from_slice(DEFAULTS);
    keys
}

/// `routes[]`: which requests it is for.
const MATCH: &[Key] = &[
    Key::optional("name", NAME, "label of metrics and logs; host and path unless it is given"),
    Key::optional("listeners", SOME_TEXTS, "names of the listeners that it is for; all unless given"),
    Key::optional("hosts", SOME_TEXTS, "host names, *.example.org for every name below; any host unless given"),
    Key::optional("path_prefix", PATH, "this path and everything below it; or path"),
    Key::optional("path", PATH, "this path and no other; or path_prefix"),
    Key::optional(
        "methods",
        Shape::List { of: &Shape::Pattern("^[A-Z0-9!#$%&'*+.^_`|~-]+$"), least: 1 },
        "methods that it takes, GET also for HEAD; any unless given",
    ),
];

/// `route_defaults`, and the rest of `routes[]`.
pub const DEFAULTS: &[Key] = &[
    Key::optional("paths", Shape::Mapping(PATHS), "how the upstream may read paths"),
    Key::with_default(
        "auth",
        Shape::Choice(&["required", "optional", "none"]),
        "required",
        "whether a token must, may or need not be there",
    ),
    Key::optional("issuers", SOME_TEXTS, "names of the issuers whose tokens it accepts; the only one unless given"),
    Key::optional(
        "require",
        Shape::Mapping(require::KEYS),
        "what an identity must have; all that is written must hold",
    ),
    Key::optional(
        "observe",
        Shape::Mapping(OBSERVE),
        "a rule on trial: identities that pass are judged by it too, which is logged and counted, never enforced",
    ),
    Key::with_default(
        "insecure_observe_authentication",
        Shape::Boolean,
        "false",
        "a request that would be refused for its token, or for having none, passes without identity",
    ),
    Key::optional("addresses", Shape::Mapping(ADDRESSES), "which clients it is for, by their address"),
    Key::optional(
        "rate_limit",
        Shape::OrNone(&Shape::Either(&[
            Shape::Mapping(RATE_LIMIT),
            Shape::List { of: &Shape::Mapping(RATE_LIMIT), least: 1 },
        ])),
        "how many requests it takes of one caller, one limit or a list of up to eight, each of which must have room",
    ),
    Key::optional(
        "csrf",
        Shape::Mapping(CSRF),
        "which requests may be made with a token in a cookie; must be there where tokens are taken from one",
    ),
    Key::optional(
        "cors",
        Shape::Either(&[Shape::Choice(&["upstream"]), Shape::Mapping(CORS)]),
        "what pages of other origins may do; or upstream: preflights reach it without identity",
    ),
    Key::optional("token", Shape::Mapping(TOKEN), "where this route looks for tokens, in place of the global rule"),
    Key::optional("rewrite", Shape::Mapping(REWRITE), "changes to path and host of the forwarded request"),
    Key::optional("request_headers", Shape::Mapping(HEADERS), "changes to headers of the forwarded request"),
    Key::optional("response_headers", Shape::Mapping(HEADERS), "changes to headers of the response"),
    Key::optional("limits", Shape::Mapping(LIMITS), "limits of this route, in place of the global ones"),
    Key::with_default(
        "timeout",
        Shape::OrNone(&milliseconds(10, HOUR * 1000)),
        "30s",
        "longest wait for the head of the upstream's response; with none the upstream's own read timeout",
    ),
    Key::optional("stream", Shape::Mapping(STREAM), "what ends a WebSocket or a response that goes on"),
    Key::with_default(
        "log",
        Shape::Choice(&["on", "errors", "off"]),
        "on",
        "which of its requests have a line in the access log; errors: refusals, failures and statuses of errors",
    ),
    Key::optional("upstream", Shape::Text, "name of the upstream that gets the request; or respond"),
    Key::optional("respond", Shape::Mapping(RESPOND), "a fixed answer; or upstream"),
    Key::with_default(
        "insecure_merged_subjects",
        Shape::Boolean,
        "false",
        "services are not told which of several issuers a subject is from: equal subjects are one person",
    ),
];

/// `routes[].paths`.
pub const PATHS: &[Key] = &[
    Key::with_default("case", FOLDING, "fold", "whether upper and lower case may be the same to the upstream"),
    Key::with_default(
        "trailing_slash",
        FOLDING,
        "fold",
        "whether a final slash may make no difference to the upstream",
    ),
    Key::with_default(
        "encoded_slash",
        Shape::Choice(&["refuse", "opaque"]),
        "refuse",
        "whether %2F may be a slash to the upstream, or is known to be a character like others",
    ),
];

const FOLDING: Shape = Shape::Choice(&["fold", "exact"]);

/// `routes[].observe`.
pub const OBSERVE: &[Key] =
    &[Key::required("require", Shape::Mapping(require::KEYS), "what an identity would have to have, as in require")];

/// `routes[].addresses`.
pub const ADDRESSES: &[Key] = &[
    Key::optional("allow", NETWORKS, "networks that the client must be in; anywhere unless given"),
    Key::optional("deny", NETWORKS, "networks that it must not be in, even where allowed"),
];

/// `routes[].rate_limit`, or an element of it: a bucket for each caller.
pub const RATE_LIMIT: &[Key] = &[
    Key::required("requests", Shape::Whole { least: 1, most: 1_000_000 }, "requests by which a bucket is refilled"),
    Key::required("per", seconds(1, DAY), "in what time"),
    Key::optional(
        "burst",
        Shape::Whole { least: 1, most: 1_000_000 },
        "requests that a full bucket holds: so many at once; as many as requests unless given",
    ),
    Key::required(
        "by",
        Shape::Choice(&["address", "subject", "token", "issuer"]),
        "by what callers are told apart; address is judged before any token, IPv6 by the first 64 bits; where a request \
         has none of the others its address is counted",
    ),
];

/// Networks, with their length, or single addresses.
const NETWORKS: Shape = Shape::List { of: &Shape::Pattern("^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"), least: 0 };

/// `routes[].csrf`.
pub const CSRF: &[Key] = &[Key::with_default(
    "origins",
    TEXTS,
    "[]",
    "origins whose pages may use the cookie, besides the request's own and those of cors",
)];

/// `routes[].cors`.
pub const CORS: &[Key] = &[
    Key::required("origins", SOME_TEXTS, "origins whose pages may read responses, as browsers send them; or * alone"),
    Key::optional(
        "methods",
        Shape::List { of: &Shape::Pattern("^[A-Z0-9!#$%&'*+.^_`|~-]+$"), least: 1 },
        "methods that their requests may have; all that the route takes unless given",
    ),
    Key::with_default(
        "headers",
        Shape::List { of: &HEADER_NAME, least: 0 },
        "[]",
        "request headers that they may set besides those that need no permission",
    ),
    Key::with_default(
        "expose",
        Shape::List { of: &HEADER_NAME, least: 0 },
        "[]",
        "response headers that they may read besides those that need no permission",
    ),
    Key::with_default("credentials", Shape::Boolean, "false", "whether their requests may carry cookies"),
    Key::optional("max_age", seconds(0, DAY), "how long a browser may remember the answer to a preflight"),
];

/// `routes[].token`.
pub const TOKEN: &[Key] =
    &[Key::optional("sources", SOURCES, SOURCES_ABOUT), Key::optional("forward", Shape::Boolean, FORWARD_ABOUT)];

/// `routes[].limits`.
pub const LIMITS: &[Key] = &[Key::optional("body_bytes", BODY_BYTES, "the longest request body")];

/// `routes[].stream`.
pub const STREAM: &[Key] = &[
    Key::with_default(
        "end_with_token",
        Shape::Boolean,
        "true",
        "whether it ends when its token expires, is revoked or loses its key",
    ),
    Key::with_default(
        "idle_timeout",
        Shape::OrNone(&milliseconds(100, DAY * 1000)),
        "1h",
        "longest time without a byte in either direction",
    ),
    Key::with_default("max_age", Shape::OrNone(&seconds(1, 30 * DAY)), "none", "longest time in all"),
];

/// `routes[].rewrite`.
pub const REWRITE: &[Key] = &[
    Key::optional("strip_prefix", PATH, "removed from the start of the path"),
    Key::optional("add_prefix", PATH, "put before the path"),
    Key::optional("host", Shape::Text, "sent as Host in place of the client's"),
];

/// `routes[].request_headers` and `response_headers`.
pub const HEADERS: &[Key] = &[
    Key::optional(
        "set",
        Shape::Named(&Shape::Either(&[Shape::Text, Shape::Mapping(HEADER_FILE)])),
        "header name to value; {file: …} reads it from a file",
    ),
    Key::with_default("remove", Shape::List { of: &HEADER_NAME, least: 0 }, "[]", "header names to remove"),
];

/// The value of a header from a file.
pub const HEADER_FILE: &[Key] = &[Key::required("file", Shape::Text, "file with the value")];

/// `routes[].respond`.
pub const RESPOND: &[Key] = &[
    Key::required("status", Shape::Whole { least: 200, most: 599 }, "status code of the answer"),
    Key::optional("body", Shape::Text, "body of the answer, plain text"),
];
