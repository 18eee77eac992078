//! An upstream that records every byte it is sent and answers as it is told. What it did not see, portcullis did not forward.
use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use serde_json::json;

use super::{
    server::Server,
    waiting::{Gate, PATIENCE},
    wire::{Address, Head, Wire, find},
};

/// What the upstream does with a request.
#[derive(Clone)]
pub(crate) enum Answer {
    /// 200 and a JSON object of what it saw: `method`, `target`, `headers` (pairs, in order), `body`.
    Echo,
    /// Waits until the gate is open, then echoes.
    EchoAfter(Gate),
    /// These bytes, as they are; the connection stays open.
    Bytes(Vec<u8>),
    /// These bytes, and the connection is closed: in the middle of a response, if they are one's beginning.
    BytesThenClose(Vec<u8>),
    /// The first bytes, and after a pause the others; then the connection is closed.
    BytesInTwo(Vec<u8>, Duration, Vec<u8>),
    /// Closes as soon as a connection is accepted.
    CloseAtOnce,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Request line and header lines.
    pub(crate) head: Head,
    /// The body's content.
    pub(crate) body: Vec<u8>,
    /// The body's bytes: with a chunked one its sizes and trailers too.
    pub(crate) body_raw: Vec<u8>,
}

impl Seen {
    /// The method.
    pub(crate) fn method(&self) -> &str {
        self.head.start.split(' ').next().unwrap_or_default()
    }

    /// The request target, byte for byte.
    pub(crate) fn target(&self) -> &str {
        self.head.start.split(' ').nth(1).unwrap_or_default()
    }

    /// Whether these bytes stand anywhere in the request.
    pub(crate) fn contains(&self, bytes: &str) -> bool {
        find(&self.head.raw, bytes.as_bytes()).is_some() || find(&self.body_raw, bytes.as_bytes()).is_some()
    }
}

/// The upstream.
pub(crate) struct Upstream {
    server: Server,
    record: Arc<Record>,
}

struct Record {
    state: Mutex<State>,
    changed: Condvar,
    /// Every byte of every connection, also of what never became a request.
    bytes: Arc<Mutex<Vec<u8>>>,
}

struct State {
    answer: Answer,
    seen: Vec<Seen>,
}

impl Upstream {
    /// Listens on a loopback port and echoes.
    pub(crate) fn start() -> Self {
        Self::with(Server::on_tcp)
    }

    /// Listens on a loopback port that nobody listens on, and echoes: for what is to come back where it was.
    pub(crate) fn start_at(address: SocketAddr) -> Self {
        Self::with(|handle| Server::on_address(address, handle))
    }

    /// Listens on a socket file and echoes.
    pub(crate) fn start_unix(path: PathBuf) -> Self {
        Self::with(|handle| Server::on_unix(path, handle))
    }

    fn with(listen: impl FnOnce(Box<dyn Fn(Wire) + Send + Sync>) -> Server) -> Self {
        let state = State { answer: Answer::Echo, seen: Vec::new() };
        let record = Arc::new(Record { state: Mutex::new(state), changed: Condvar::new(), bytes: Arc::default() });
        let handled = record.clone();
        let server = listen(Box::new(move |wire| {
            // A peer that goes away is no concern of the upstream.
            let _ = serve(wire.recorded_in(handled.bytes.clone()), &handled);
        }));
        Self { server, record }
    }

    /// Where it listens, as the configuration writes it.
    pub(crate) fn address(&self) -> &Address {
        self.server.address()
    }

    /// How it answers from now on.
    pub(crate) fn set_answer(&self, answer: Answer) {
        self.record.locked().answer = answer;
    }

    /// Everything seen so far.
    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.record.locked().seen.clone()
    }

    /// What was seen since the last call.
    pub(crate) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.record.locked().seen)
    }

    /// Ends it with all its connections; everything that it saw.
    pub(crate) fn stop(self) -> Vec<Seen> {
        drop(self.server);
        self.record.locked().seen.clone()
    }

    /// Every byte that came since the last call, whether it became a request or not.
    pub(crate) fn take_bytes(&self) -> Vec<u8> {
        std::mem::take(&mut self.record.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many connections were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.server.connections()
    }

    /// Waits until so many requests have arrived; fails the test when they do not.
    pub(crate) fn wait_for(&self, amount: usize) -> Vec<Seen> {
        let state = self.record.locked();
        let waited = self.record.changed.wait_timeout_while(state, PATIENCE, |state| state.seen.len() < amount);
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "the upstream saw {} of {amount} requests", state.seen.len());
        state.seen.clone()
    }
}

impl Record {
    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serve(mut wire: Wire, record: &Record) -> io::Result<()> {
    if matches!(record.locked().answer, Answer::CloseAtOnce) {
        wire.shut();
        return Ok(());
    }
    while let Some(raw) = wire.read_head()? {
        let head = Head::parse(raw);
        let (body, body_raw) = wire.read_body(&head)?;
        let seen = Seen { head, body, body_raw };
        let answer = {
            let mut state = record.locked();
            state.seen.push(seen.clone());
            record.changed.notify_all();
            state.answer.clone()
        };
        match answer {
            Answer::Echo => wire.send(&echo(&seen))?,
            Answer::EchoAfter(gate) => {
                gate.wait(PATIENCE);
                wire.send(&echo(&seen))?;
            }
            Answer::Bytes(bytes) => wire.send(&bytes)?,
            Answer::BytesThenClose(bytes) => {
                wire.send(&bytes)?;
                break;
            }
            Answer::BytesInTwo(first, pause, second) => {
                wire.send(&first)?;
                // A gate that nobody opens.
                Gate::default().wait(pause);
                wire.send(&second)?;
                break;
            }
            Answer::CloseAtOnce => break,
        }
    }
    wire.shut();
    Ok(())
}

fn echo(seen: &Seen) -> Vec<u8> {
    let body = json!({
        "method": seen.method(), "target": seen.target(), "headers": seen.head.fields, "body": String::from_utf8_lossy(&seen.body),
    })
    .to_string();
    let mut answer =
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len())
            .into_bytes();
    if seen.method() != "HEAD" {
        answer.extend_from_slice(body.as_bytes());
    }
    answer
}
