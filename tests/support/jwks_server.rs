//! An issuer's key set over loopback HTTP, whose answer a test changes while portcullis runs. It counts what it is asked.
use std::{
    collections::HashMap,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;

use super::{
    keys::key_set,
    server::Server,
    waiting::{Gate, PATIENCE},
    wire::{Address, Head, Wire},
};

/// What the next requests get.
#[derive(Clone)]
pub(crate) struct KeySetAnswer {
    /// Status code.
    pub(crate) status: u16,
    /// Header lines besides `Content-Length`.
    pub(crate) headers: Vec<(String, String)>,
    /// Body.
    pub(crate) body: Vec<u8>,
    /// Waited for before the answer.
    pub(crate) gate: Option<Gate>,
    /// Sent instead of all that; then the connection ends.
    pub(crate) raw: Option<Vec<u8>>,
    /// The `ETag` of the body: whoever has it already is told 304.
    pub(crate) etag: Option<String>,
}

impl KeySetAnswer {
    /// 200 and a key set.
    pub(crate) fn keys(keys: &[Value]) -> Self {
        let headers = vec![("Content-Type".to_owned(), "application/jwk-set+json".to_owned())];
        Self { status: 200, headers, body: key_set(keys), gate: None, raw: None, etag: None }
    }

    /// A status and nothing else.
    pub(crate) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), gate: None, raw: None, etag: None }
    }

    /// These bytes, after which the connection ends.
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { raw: Some(bytes.into()), ..Self::status(200) }
    }

    /// 200 and a document in JSON.
    pub(crate) fn json(document: &Value) -> Self {
        Self::status(200).header("Content-Type", "application/json").body(document.to_string())
    }

    /// With an `ETag`; a request that has it is answered with 304.
    pub(crate) fn etag(mut self, etag: &str) -> Self {
        self.etag = Some(etag.to_owned());
        self.header("ETag", etag)
    }

    /// With a header line.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With these bytes as the body.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Only once the gate is open.
    pub(crate) fn after(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }
}

/// The server.
pub(crate) struct JwksServer {
    server: Server,
    record: Arc<Record>,
}

struct Record {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    answer: KeySetAnswer,
    /// Answers to other paths.
    elsewhere: HashMap<String, KeySetAnswer>,
    requests: Vec<Head>,
}

impl Record {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl JwksServer {
    /// Serves these keys.
    pub(crate) fn start(keys: &[Value]) -> Self {
        let state = State { answer: KeySetAnswer::keys(keys), elsewhere: HashMap::new(), requests: Vec::new() };
        let record = Arc::new(Record { state: Mutex::new(state), changed: Condvar::new() });
        let handled = record.clone();
        let server = Server::on_tcp(move |wire| {
            let _ = serve(wire, &handled);
        });
        Self { server, record }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &Address {
        self.server.address()
    }

    /// The URL of the key set.
    pub(crate) fn url(&self) -> String {
        self.at("/jwks.json")
    }

    /// The URL of a path.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address())
    }

    /// Answers so at this path from now on.
    pub(crate) fn set_at(&self, path: &str, answer: KeySetAnswer) {
        self.record.locked().elsewhere.insert(path.to_owned(), answer);
    }

    /// How often it was asked for this path.
    pub(crate) fn fetches_of(&self, path: &str) -> usize {
        self.record.locked().requests.iter().filter(|head| head.target() == path).count()
    }

    /// Answers so from now on.
    pub(crate) fn set(&self, answer: KeySetAnswer) {
        self.record.locked().answer = answer;
    }

    /// How often it was asked.
    pub(crate) fn fetches(&self) -> usize {
        self.record.locked().requests.len()
    }

    /// The heads of what it was asked.
    pub(crate) fn requests(&self) -> Vec<Head> {
        self.record.locked().requests.clone()
    }

    /// Waits until it was asked so often; fails the test when it is not.
    pub(crate) fn wait_for(&self, fetches: usize) {
        let state = self.record.locked();
        let waited = self.record.changed.wait_timeout_while(state, PATIENCE, |state| state.requests.len() < fetches);
        assert!(!waited.unwrap_or_else(PoisonError::into_inner).1.timed_out(), "fewer than {fetches} fetches");
    }
}

fn serve(mut wire: Wire, record: &Record) -> io::Result<()> {
    while let Some(raw) = wire.read_head()? {
        let head = Head::parse(raw);
        let known = head.value("If-None-Match").map(str::to_owned);
        let mut answer = {
            let mut state = record.locked();
            let answer = state.elsewhere.get(head.target()).unwrap_or(&state.answer).clone();
            state.requests.push(head);
            record.changed.notify_all();
            answer
        };
        if let Some(gate) = answer.gate {
            gate.wait(PATIENCE);
        }
        if let Some(raw) = answer.raw {
            return wire.send(&raw);
        }
        if known.is_some() && known == answer.etag {
            answer.status = 304;
            answer.body.clear();
        }
        let mut head = format!("HTTP/1.1 {} X\r\nContent-Length: {}\r\n", answer.status, answer.body.len());
        for (name, value) in &answer.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        wire.send(head.as_bytes())?;
        wire.send(&answer.body)?;
    }
    Ok(())
}

#[test]
fn the_answer_changes_live_and_every_fetch_is_counted() {
    use super::{client::Client, keys::SigningKey};
    let server = JwksServer::start(&[SigningKey::p256("a").jwk()]);
    let mut client = Client::connect(server.server.address());
    assert_eq!(client.get("/jwks.json", &[]).json()["keys"][0]["kid"], "a");
    server.set(KeySetAnswer::status(500).header("Retry-After", "1"));
    assert_eq!(client.get("/jwks.json", &[]).status, 500);
    server.wait_for(2);
    assert_eq!(server.fetches(), 2);
}
