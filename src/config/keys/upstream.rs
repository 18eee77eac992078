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
    Key::with_default("balance", Shape::Choice(&["round_robin", "random"]), "round_robin", "how a server is chosen"),
    Key::later("by"),
    Key::later("protocol"),
    Key::later("tls"),
    Key::later("health_check"),
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

/// `upstreams.*.timeouts`.
pub const TIMEOUTS: &[Key] = &[
    Key::with_default("connect", milliseconds(10, 60_000), "2s", "until the connection stands"),
    Key::with_default("read", milliseconds(10, DAY * 1000), "60s", "between two reads from the server"),
    Key::with_default("write", milliseconds(10, DAY * 1000), "60s", "between two writes to the server"),
    Key::with_default("pool_idle", seconds(1, HOUR), "90s", "how long an unused connection is kept"),
];
