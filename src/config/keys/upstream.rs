//! The key table: an upstream.
use crate::config::keys::top::{DAY, HOUR, milliseconds, seconds};
use crate::config::keys::{Key, Shape};

/// `upstreams.*`.
pub const KEYS: &[Key] = &[
    Key::required(
        "servers",
        Shape::List { of: &Shape::Either(&[SERVER_ADDRESS, Shape::Mapping(SERVER)]), least: 1 },
        "the servers; names are looked up again as DNS changes",
    ),
    Key::with_default(
        "balance",
        Shape::Choice(&["round_robin", "random", "consistent_hash"]),
        "round_robin",
        "how a server is chosen",
    ),
    Key::optional(
        "by",
        Shape::Choice(&["subject", "address"]),
        "whose requests consistent_hash keeps at one server: those of a subject, or those of a client's address",
    ),
    Key::with_default(
        "protocol",
        Shape::Choice(&["http1", "h2", "h2c"]),
        "http1",
        "how requests are sent: HTTP/1.1, HTTP/2 over TLS, or HTTP/2 without TLS",
    ),
    Key::optional("tls", Shape::Mapping(TLS), "speak TLS to the servers; their certificates are always checked"),
    Key::optional(
        "health_check",
        Shape::Mapping(HEALTH_CHECK),
        "ask each server regularly whether it is well; exactly one of path and tcp",
    ),
    Key::optional("timeouts", Shape::Mapping(TIMEOUTS), "how long the servers may take"),
    Key::with_default(
        "retries",
        Shape::Whole { least: 0, most: 5 },
        "1",
        "further attempts after a failure to connect, and for idempotent requests whose reused connection was closed",
    ),
];

/// `host:port`, `[v6]:port` or a unix socket.
const SERVER_ADDRESS: Shape = Shape::Pattern("^(unix:.+|(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9._-]+):[0-9]{1,5})$");

/// `upstreams.*.servers[]` in its long form.
pub const SERVER: &[Key] = &[
    Key::required("address", SERVER_ADDRESS, "host and port, an IPv6 address in brackets and port, or unix:/path"),
    Key::with_default(
        "weight",
        Shape::Whole { least: 1, most: 1000 },
        "1",
        "share of the requests, relative to the other servers",
    ),
];

/// `upstreams.*.tls`.
pub const TLS: &[Key] = &[
    Key::optional(
        "server_name",
        Shape::Text,
        "the name that the servers' certificates are for; without it the host of each server",
    ),
    Key::optional(
        "ca_file",
        Shape::Text,
        "PEM certificates to trust instead of the system's; read again when the file changes",
    ),
    Key::optional(
        "certificate_file",
        Shape::Text,
        "PEM certificate (chain) to show to the servers; read again when the file changes",
    ),
    Key::optional("private_key_file", Shape::Text, "PEM private key of certificate_file"),
];

/// `upstreams.*.health_check`.
pub const HEALTH_CHECK: &[Key] = &[
    Key::optional("path", Shape::Pattern("^/[!-~]*$"), "what is asked for with GET; a status of 2xx or 3xx is good"),
    Key::optional("tcp", Shape::Boolean, "that a connection stands (with tls: after the handshake) is good"),
    Key::optional("host", Shape::Text, "the Host of the request; without it the server as written"),
    Key::with_default("interval", milliseconds(100, HOUR * 1000), "5s", "between two checks of a server"),
    Key::with_default("timeout", milliseconds(10, 60_000), "1s", "how long one check may take"),
    Key::with_default(
        "healthy_threshold",
        Shape::Whole { least: 1, most: 100 },
        "2",
        "good checks in a row until an unhealthy server gets requests again",
    ),
    Key::with_default(
        "unhealthy_threshold",
        Shape::Whole { least: 1, most: 100 },
        "3",
        "failed checks in a row until a healthy server gets none any more; the very first check decides at once",
    ),
];

/// `upstreams.*.timeouts`.
pub const TIMEOUTS: &[Key] = &[
    Key::with_default("connect", milliseconds(10, 60_000), "2s", "until the connection stands"),
    Key::with_default("read", milliseconds(10, DAY * 1000), "60s", "between two reads from the server"),
    Key::with_default("write", milliseconds(10, DAY * 1000), "60s", "between two writes to the server"),
    Key::with_default("pool_idle", seconds(1, HOUR), "90s", "how long an unused connection is kept"),
];
