//! Streams over real sockets: WebSockets, event streams and responses that go on for long. What ends them, who may still say
//! what, how their tokens come in, and what is told of them.
mod causes;
mod ending;
mod http2;
mod websocket_protocol;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{
    client::{Client, request_bytes},
    fixture::{self, signing_key},
    gateway::Gateway,
    server::Server,
    token::{Token, bearer, now},
    upstream::Upstream,
    wire::{Address, Head, Wire},
};

/// What a client sends besides its token to begin a WebSocket.
const UPGRADE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// A frame of text from a server, and a larger one of which only the beginning fits into a thought.
const FRAME: &[u8] = b"\x81\x02hi";

/// An upstream whose responses do not end by themselves.
struct StreamUpstream {
    server: Server,
    seen: Arc<Mutex<Vec<Head>>>,
}

impl StreamUpstream {
    fn start() -> Self {
        let seen: Arc<Mutex<Vec<Head>>> = Arc::default();
        let record = Arc::clone(&seen);
        let server = Server::on_tcp(move |wire| {
            // That the other side ends it is what most tests wait for.
            let _ = serve(wire, &record);
        });
        Self { server, seen }
    }

    fn take(&self) -> Vec<Head> {
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Answers by the last word of the target; what follows `-` is how often it says something of its own accord.
fn serve(mut wire: Wire, seen: &Mutex<Vec<Head>>) -> io::Result<()> {
    while let Some(raw) = wire.read_head()? {
        let head = Head::parse(raw);
        let target = head.target().rsplit('/').next().unwrap_or_default().to_owned();
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(head);
        let (kind, how) = target.split_once('-').unwrap_or((target.as_str(), ""));
        let (start, piece): (&[u8], &[u8]) = match kind {
            "ws" => (SWITCH, FRAME),
            "events" => (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", b"data: a\n\n"),
            "chunks" => (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"2\r\nhi\r\n"),
            "length" => (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"hi"),
            // Nothing, not even a head.
            "silent" => (b"", b""),
            _ => {
                wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
                continue;
            }
        };
        wire.send(start)?;
        if kind == "silent" {
            loop {
                wire.read_bytes(1)?;
            }
        }
        wire.send(piece)?;
        match how {
            "busy" => loop {
                wire.send(piece)?;
                wire.read_for(Duration::from_millis(20));
            },
            // Takes nothing of what the client says.
            "deaf" => {
                thread::park_timeout(DEAF_FOR);
                return Ok(());
            }
            // A frame of 100 bytes that does not go on.
            "half" => wire.send(b"\x82\x64half")?,
            // The rest comes with the first byte that the client says, which comes no more once it is not heard.
            "goodbye" => wire.send(b"\x88\x02\x03\xe8")?,
            _ => {}
        }
        loop {
            let byte = wire.read_bytes(1)?;
            wire.send(&byte)?;
        }
    }
    Ok(())
}

/// How long a service takes nothing before it goes away.
const DEAF_FOR: Duration = Duration::from_secs(40);
const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// A gateway in front of streams. The gateway stops first.
struct House {
    gateway: Gateway,
    upstream: StreamUpstream,
    // Serves as long as the gateway does.
    _echo: Upstream,
}

impl House {
    /// Routes to the upstream `streams`, which counts as silent after a second, and to `echo`.
    fn start(more: &str, routes: &str) -> Self {
        let (upstream, echo) = (StreamUpstream::start(), Upstream::start());
        let upstreams = "upstreams:\n  streams: {servers: [\"{streams}\"], timeouts: {read: 1s, write: 1s}}";
        let gateway = Gateway::builder(fixture::config(more, routes).replace("upstreams:", upstreams))
            .set("streams", upstream.server.address())
            .set("upstream", echo.address())
            .file("keys.json", fixture::keys_file())
            .start();
        Self { gateway, upstream, _echo: echo }
    }

    fn revoke(&self, entry: &Value) {
        let mut client = Client::connect(&Address::Unix(self.gateway.folder().path().join("run/admin.sock")));
        let body = entry.to_string();
        client.send(format!(
            "POST /revocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        let made = client.read("POST");
        assert_eq!(made.status, 201, "{}", made.text());
    }

    /// How many streams are open.
    fn streams(&self) -> f64 {
        self.gateway.metric(|line| line.starts_with("portcullis_streams{"))
    }

    /// How many were closed for this reason.
    fn closed(&self, reason: &str) -> f64 {
        self.gateway.metric(|line| line.starts_with(&format!("portcullis_streams_closed_total{{reason=\"{reason}\"}}")))
    }
}

/// A stream that has begun.
struct Begun {
    wire: Wire,
    head: Head,
}

impl Begun {
    fn request_id(&self) -> &str {
        self.head.value("X-Request-Id").unwrap()
    }
}

/// Asks for a stream, and reads the head of the response.
fn begin(house: &House, target: &str, token: Option<&str>) -> Begun {
    let authorization = token.map(bearer);
    let mut lines = if target.contains("/ws") { UPGRADE.to_vec() } else { Vec::new() };
    lines.extend(authorization.as_deref().map(|value| ("Authorization", value)));
    let mut wire = Wire::connect(house.gateway.address()).unwrap();
    wire.send(&request_bytes("GET", target, &lines)).unwrap();
    let head = Head::parse(wire.read_head().unwrap().unwrap());
    Begun { wire, head }
}

/// A token with its own `jti` and `sub`, that ends in so many seconds, the issuer's leeway included.
fn token_ending_in(seconds: i64) -> String {
    const LEEWAY: i64 = 30;
    Token::good().claim("exp", now() + seconds - LEEWAY).signed_by(signing_key())
}
