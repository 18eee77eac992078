//! The key table: the document's own keys and the sections that concern the whole process.
use std::time::Duration;

use crate::config::keys::{Key, Shape, identity, issuer, revocation, route, upstream};

/// A header name (RFC 9110 §5.1).
pub(super) const HEADER_NAME: Shape = Shape::Pattern("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$");
/// A path as routes and rewrites have it.
pub(super) const PATH: Shape = Shape::Pattern("^/[A-Za-z0-9._~!$&'()+,=:@/-]*$");
/// A name that becomes a label of metrics.
pub(super) const NAME: Shape = Shape::Pattern("^[A-Za-z0-9._/:*@+~\\[\\]-]{1,64}$");
/// Any list of texts.
pub(super) const TEXTS: Shape = Shape::List { of: &Shape::Text, least: 0 };
/// A list of at least one text.
pub(super) const SOME_TEXTS: Shape = Shape::List { of: &Shape::Text, least: 1 };

/// From so many to so many milliseconds.
pub(super) const fn milliseconds(least: u64, most: u64) -> Shape {
    Shape::Duration { least: Duration::from_millis(least), most: Duration::from_millis(most) }
}

/// From so many to so many seconds.
pub(super) const fn seconds(least: u64, most: u64) -> Shape {
    Shape::Duration { least: Duration::from_secs(least), most: Duration::from_secs(most) }
}

/// An hour in seconds.
pub(super) const HOUR: u64 = 3600;
/// A day in seconds.
pub(super) const DAY: u64 = 24 * HOUR;

/// The document.
pub const KEYS: &[Key] = &[
    Key::required(
        "listeners",
        Shape::List { of: &Shape::Mapping(LISTENER), least: 1 },
        "where requests come in; at least one",
    ),
    Key::optional("admin", Shape::Mapping(ADMIN), "the operators' interface: metrics, health, status"),
    Key::optional("server", Shape::Mapping(SERVER), "the process itself"),
    Key::with_default(
        "trusted_proxies",
        TEXTS,
        "[]",
        "networks of proxies in front whose word on clients is taken (X-Forwarded-*, Forwarded, X-Request-Id, \
         traceparent, PROXY protocol); unix is whoever comes by a unix socket",
    ),
    Key::optional("limits", Shape::Mapping(LIMITS), "limits on what a client may send, and how slowly"),
    Key::optional(
        "issuers",
        Shape::Named(&Shape::Mapping(issuer::KEYS)),
        "who may sign tokens, by a name that routes, metrics and logs use",
    ),
    Key::optional("token", Shape::Mapping(TOKEN), "where tokens are looked for; a route may say otherwise"),
    Key::optional(
        "resource",
        Shape::Mapping(RESOURCE),
        "the protected resource that clients find by metadata (RFC 9728)",
    ),
    Key::with_default(
        "underscore_headers",
        Shape::Choice(&["keep", "drop"]),
        "keep",
        "what becomes of request headers with an underscore in their name",
    ),
    Key::optional("identity", Shape::Mapping(identity::KEYS), "the headers that tell services who is calling"),
    Key::optional(
        "route_defaults",
        Shape::Mapping(route::DEFAULTS),
        "what holds for every route that does not say otherwise: any key of a route but its name and what it matches",
    ),
    Key::optional(
        "include",
        Shape::List { of: &Shape::Text, least: 0 },
        "files, also with `*` and `?` in their names, that hold more issuers, routes and upstreams",
    ),
    Key::required(
        "routes",
        Shape::List { of: &Shape::Mapping(route::KEYS), least: 1 },
        "which requests may pass and where they go; the most specific match wins, never the order",
    ),
    Key::optional(
        "upstreams",
        Shape::Named(&Shape::Mapping(upstream::KEYS)),
        "where requests go, by a name that routes, metrics and logs use",
    ),
    Key::optional("claims_cache", Shape::Mapping(CLAIMS_CACHE), "memory for tokens whose signature was checked"),
    Key::optional("revocation", Shape::Mapping(revocation::KEYS), "tokens that are ended before they expire"),
    Key::optional("log", Shape::Mapping(LOG), "the access log and the diagnostic log"),
];

/// `listeners[]`.
pub const LISTENER: &[Key] = &[
    Key::optional("name", NAME, "what routes call it; its address unless it is given"),
    Key::required(
        "address",
        Shape::Pattern("^(unix:.+|(\\[[0-9A-Fa-f:.]+\\]|[0-9.]+):[0-9]{1,5})$"),
        "where it listens: an IPv4 address and port, an IPv6 address in brackets and port, or unix:/path",
    ),
    Key::optional("tls", Shape::Mapping(LISTENER_TLS), "certificates; without it requests come unencrypted"),
    Key::optional(
        "http2",
        Shape::Boolean,
        "whether it speaks HTTP/2 too: chosen by clients with tls, by prior knowledge without; on with tls, off without",
    ),
    Key::with_default(
        "proxy_protocol",
        Shape::Boolean,
        "false",
        "every connection begins with a header of the PROXY protocol, version 1 or 2, that says who the client is",
    ),
    Key::optional(
        "redirect",
        Shape::Choice(&["https"]),
        "every request is sent to the same host and path by https, and none is forwarded",
    ),
    Key::optional(
        "redirect_port",
        Shape::Whole { least: 1, most: 65535 },
        "the port to which; that of a listener with tls, 443 before others, and 443 where there is none",
    ),
];

/// `listeners[].tls`.
pub const LISTENER_TLS: &[Key] = &[
    Key::required(
        "certificates",
        Shape::List { of: &Shape::Mapping(CERTIFICATE), least: 1 },
        "one for each name that clients may ask for; the first is for all others; read again when the files change",
    ),
    Key::optional(
        "client_ca_file",
        Shape::Text,
        "PEM certificates of the authorities that sign the certificates of clients; read again when it changes",
    ),
    Key::optional(
        "client_certificate",
        Shape::OrNone(&Shape::Choice(&["optional", "required"])),
        "whether clients must have one, may have one or are not asked; required where there is a client_ca_file",
    ),
];

/// `listeners[].tls.certificates[]`.
pub const CERTIFICATE: &[Key] = &[
    Key::required("certificate_file", Shape::Text, "PEM certificate, and those that lead to its authority"),
    Key::required("private_key_file", Shape::Text, "its private key in PEM"),
];

/// `admin`.
pub const ADMIN: &[Key] = &[
    Key::with_default(
        "address",
        Shape::OrNone(&Shape::Pattern("^(unix:.+|(\\[[0-9A-Fa-f:.]+\\]|[0-9.]+):[0-9]{1,5})$")),
        "127.0.0.1:9400",
        "where it listens, as for a listener, or off",
    ),
    Key::optional(
        "read_token_file",
        Shape::Text,
        "file with the bearer token that reading needs, at least 16 bytes; must be there when the address is neither \
         loopback nor a unix socket",
    ),
    Key::optional(
        "write_token_file",
        Shape::Text,
        "file with the bearer token that changes need over TCP, at least 16 bytes; it may read too; without it changes \
         are taken on the unix sockets only",
    ),
    Key::with_default(
        "allowed_hosts",
        TEXTS,
        "[]",
        "Host values that are accepted besides loopback names and the address itself (against DNS rebinding)",
    ),
];

/// `server`.
pub const SERVER: &[Key] = &[
    Key::with_default("threads", Shape::Whole { least: 0, most: 1024 }, "0", "worker threads; 0 is one a core"),
    Key::with_default(
        "grace_period",
        seconds(0, HOUR),
        "30s",
        "longest time between the request to stop and the end of the process",
    ),
    Key::with_default(
        "drain_delay",
        seconds(0, HOUR),
        "0s",
        "how long connections are still accepted after the request to stop, while readiness already says no; part of the \
         grace_period",
    ),
    Key::optional(
        "state_directory",
        Shape::OrNone(&Shape::Text),
        "where key sets are kept between two starts; created when it is not there; without it $STATE_DIRECTORY, else \
         /var/lib/portcullis where that can be written; none: nowhere",
    ),
    Key::optional(
        "upgrade_socket",
        Shape::Text,
        "where listening sockets are handed over in an upgrade, in a directory that nobody else may enter; without it \
         $RUNTIME_DIRECTORY/upgrade.sock, else upgrade.sock in the state directory",
    ),
    Key::with_default(
        "reload",
        Shape::Choice(&["on_request", "watch"]),
        "on_request",
        "when the configuration is read again: when that is asked for, or also when its file or an included one changed",
    ),
];

/// `limits`.
pub const LIMITS: &[Key] = &[
    Key::with_default("token_bytes", Shape::Size { least: 256, most: 64 << 10 }, "8KiB", "the longest token"),
    Key::with_default(
        "header_bytes",
        Shape::Size { least: 1 << 10, most: 1 << 20 },
        "32KiB",
        "all header names and values of a request together, and four bytes more for each field",
    ),
    Key::with_default("headers", Shape::Whole { least: 1, most: 256 }, "100", "how many header fields a request has"),
    Key::with_default("uri_bytes", Shape::Size { least: 64, most: 64 << 10 }, "8KiB", "the longest request target"),
    Key::with_default("body_bytes", BODY_BYTES, "none", "the longest request body; a route may say otherwise"),
    Key::with_default(
        "header_timeout",
        milliseconds(100, 60_000),
        "10s",
        "for a whole request head from its first byte, and for the first one from the opening of the connection",
    ),
    Key::with_default("body_timeout", milliseconds(100, HOUR * 1000), "30s", BODY_TIMEOUT_ABOUT),
    Key::with_default(
        "keepalive_timeout",
        milliseconds(100, HOUR * 1000),
        "60s",
        "how long a connection without request is kept open",
    ),
    Key::with_default(
        "connections",
        Shape::Whole { least: 1, most: 10_000_000 },
        "10000",
        "how many connections of clients may be open at once, on all listeners together",
    ),
    Key::with_default(
        "connections_per_address",
        Shape::OrNone(&Shape::Whole { least: 1, most: 10_000_000 }),
        "none",
        "how many of them from one address; IPv6 addresses count by their first 64 bits",
    ),
    Key::with_default(
        "failed_authentications",
        Shape::OrNone(&Shape::Mapping(RATE)),
        "none",
        "how many tokens from one address may fail before its requests are refused for a while",
    ),
];

/// What bounds a body, for all routes and for one.
pub(super) const BODY_BYTES: Shape = Shape::OrNone(&Shape::Size { least: 1, most: 1 << 40 });
const BODY_TIMEOUT_ABOUT: &str =
    "between two reads of a request body, and how long a client may take nothing of a response";

/// A number of events in a time.
pub const RATE: &[Key] = &[
    Key::required("requests", Shape::Whole { least: 1, most: 1_000_000 }, "how many"),
    Key::required("per", seconds(1, DAY), "in what time; they are forgiven one by one over it"),
];

/// `token`.
pub const TOKEN: &[Key] = &[
    Key::with_default("sources", SOURCES, "[{header: Authorization}]", SOURCES_ABOUT),
    Key::with_default("forward", Shape::Boolean, "false", FORWARD_ABOUT),
    Key::with_default(
        "realm",
        Shape::Pattern("^[^\"\\\\\\u0000-\\u001f\\u007f-\\uffff]+$"),
        "api",
        "realm of the challenge that a refused client is sent",
    ),
];

/// `sources`, for all routes and for one.
pub(super) const SOURCES: Shape = Shape::List { of: &Shape::Mapping(SOURCE), least: 1 };
/// What they are.
pub(super) const SOURCES_ABOUT: &str = "where the token may be; a request may have one only";
/// What `forward` is.
pub(super) const FORWARD_ABOUT: &str = "whether the token itself is forwarded; else it is removed from the request";

/// `token.sources[]`: exactly one place.
pub const SOURCE: &[Key] = &[
    Key::optional(
        "header",
        HEADER_NAME,
        "Authorization, after the word Bearer, or another header whose whole value is the token",
    ),
    Key::optional("query", Shape::Pattern("^[A-Za-z0-9._~-]+$"), "a parameter of the query"),
    Key::optional(
        "cookie",
        Shape::Pattern("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"),
        "a cookie whose whole value is the token; its name begins with __Host- or __Secure-, and routes that take tokens \
         need csrf",
    ),
    Key::with_default(
        "insecure_cookie_name",
        Shape::Boolean,
        "false",
        "the cookie may have a name under which other hosts of the site, and anybody on the way, can set one",
    ),
    Key::optional(
        "websocket_protocol",
        Shape::Pattern("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"),
        "a protocol that the client of a WebSocket offers: this word, a dot and the token, besides the protocol that the \
         service is to choose; where the word begins with base64url. the token is encoded so",
    ),
];

/// `resource`.
pub const RESOURCE: &[Key] = &[Key::required(
    "identifier",
    Shape::Pattern("^https?://[^?#@ ]+$"),
    "its URL; its metadata are at /.well-known/oauth-protected-resource, which comes between host and path, and are named \
     in challenges",
)];

/// `claims_cache`.
pub const CLAIMS_CACHE: &[Key] = &[
    Key::with_default(
        "entries",
        Shape::Whole { least: 0, most: 100_000_000 },
        "50000",
        "tokens at most; 0 turns the cache off",
    ),
    Key::with_default("bytes", Shape::Size { least: 64 << 10, most: 1 << 40 }, "64MiB", "memory at most"),
];

/// `log`.
pub const LOG: &[Key] = &[
    Key::with_default("access", Shape::Choice(&["json", "text", "off"]), "json", "form of the access log"),
    Key::with_default("output", Shape::Text, "stdout", "where the access log goes: stdout, stderr or a file"),
    Key::with_default(
        "level",
        Shape::Choice(&["off", "error", "warn", "info", "debug", "trace"]),
        "info",
        "least severe level of the diagnostic log; $RUST_LOG comes before it",
    ),
    Key::with_default(
        "subject",
        Shape::Choice(&["plain", "hash", "off"]),
        "plain",
        "how the access log shows subjects",
    ),
    Key::with_default(
        "client_ip",
        Shape::Choice(&["full", "truncated", "off"]),
        "full",
        "how the access log shows client addresses; truncated is IPv4 to 24 bits, IPv6 to 48",
    ),
];
