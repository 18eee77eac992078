//! Raw bytes, sent to the real program: what came back, what arrived behind it, and whether anything was left over that could be
//! taken for another request.
use super::{
    client::{Response, request_bytes},
    fixture::House,
    upstream::Seen,
    wire::find,
};

/// The target of the request that is sent behind every attack, on its connection and on a fresh one: a house under attack takes it
/// without a token.
pub(crate) const AFTER: &str = "/after";

/// What became of the bytes.
pub(crate) struct Trace {
    /// The first response, if one came.
    pub(crate) response: Option<Response>,
    /// Whether the connection served another request behind it.
    pub(crate) is_kept: bool,
    /// The whole requests that the upstream saw.
    pub(crate) seen: Vec<Seen>,
    /// Every byte that the upstream was sent.
    pub(crate) bytes: Vec<u8>,
}

impl Trace {
    /// The status of the response.
    pub(crate) fn status(&self) -> Option<u16> {
        self.response.as_ref().map(|response| response.status)
    }

    /// Refused with 400, or closed without an answer, and nothing arrived.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self.status(), None | Some(400 | 413 | 414 | 431)) && self.bytes.is_empty()
    }

    /// Refused with this status and, unless the head could not even be parsed, this reason; and nobody behind saw a byte of it.
    #[track_caller]
    pub(crate) fn assert_refused(&self, name: &str, status: u16, reason: &str) {
        let response = self.response.as_ref().unwrap_or_else(|| panic!("{name}: no answer"));
        assert_eq!(response.status, status, "{name}: {}", response.text());
        if response.body.is_empty() {
            assert_eq!(reason, "", "{name}: a bare refusal");
        } else {
            assert_eq!(response.json()["reason"], reason, "{name}");
        }
        assert!(self.bytes.is_empty(), "{name}: {:?} arrived", String::from_utf8_lossy(&self.bytes));
    }

    /// What must hold for any bytes: at most one request arrives, and one that ends in one way only.
    pub(crate) fn assert_nothing_is_smuggled(&self, name: &str) {
        assert!(self.seen.len() <= 1, "{name}: {} requests arrived", self.seen.len());
        for seen in &self.seen {
            let (codings, lengths) = (seen.head.values("Transfer-Encoding"), seen.head.values("Content-Length"));
            let fields = &seen.head.fields;
            assert!(codings.len() + lengths.len() <= 1, "{name}: two framings arrived: {fields:?}");
            assert!(codings.iter().all(|coding| *coding == "chunked"), "{name}: {fields:?}");
            assert!(
                lengths.iter().all(|length| length.bytes().all(|byte| byte.is_ascii_digit())),
                "{name}: {fields:?}"
            );
            for framing in ["Transfer-Encoding", "Content-Length"] {
                assert!(seen.head.folding_onto(framing).len() <= 1, "{name}: a respelled framing arrived: {fields:?}");
            }
        }
    }
}

/// Sends bytes that are, or might be taken for, one whole request; then another request on the same connection, and on a fresh
/// one. Both must get their own answer, if any.
pub(crate) fn send(house: &House, name: &str, bytes: &[u8]) -> Trace {
    house.upstream.take();
    house.upstream.take_bytes();
    let method = String::from_utf8_lossy(bytes.split(|byte| *byte == b' ').next().unwrap_or_default()).into_owned();
    let mut client = house.gateway.connect();
    client.send(bytes);
    let response = client.try_read(&method).ok();
    let (seen, mut bytes) = (house.upstream.take(), house.upstream.take_bytes());
    let mut is_kept = false;
    if response.is_some() {
        client.send(request_bytes("GET", AFTER, &[]));
        if let Ok(after) = client.try_read("GET") {
            is_kept = true;
            assert_eq!(after.status, 200, "{name}: {}", after.text());
            assert_eq!(after.json()["target"], AFTER, "{name}: another request's answer");
        }
    }
    assert_good_request_passes(house, name);
    // Part of a request whose rest was refused may be read by the upstream only now; a whole one may not.
    let later = house.upstream.take();
    assert!(later.iter().all(|seen| seen.target() == AFTER), "{name}: a request arrived late");
    bytes.extend(later.iter().fold(house.upstream.take_bytes(), |late, after| without(&late, &after.head.raw)));
    Trace { response, is_kept, seen, bytes }
}

/// Sends a request that is not whole, and hangs up.
pub(crate) fn send_and_hang_up(house: &House, name: &str, bytes: &[u8]) -> Trace {
    house.upstream.take();
    house.upstream.take_bytes();
    let mut client = house.gateway.connect();
    client.send(bytes);
    drop(client);
    assert_good_request_passes(house, name);
    let seen = house.upstream.take();
    let seen = seen.into_iter().filter(|seen| seen.target() != AFTER).collect();
    Trace { response: None, is_kept: false, seen, bytes: house.upstream.take_bytes() }
}

fn assert_good_request_passes(house: &House, name: &str) {
    let response = house.gateway.get(AFTER, &[]);
    assert_eq!((response.status, response.json()["target"].as_str()), (200, Some(AFTER)), "{name}: the next request");
}

/// The bytes without the first `part`.
fn without(bytes: &[u8], part: &[u8]) -> Vec<u8> {
    let place = find(bytes, part).expect("what was understood was read");
    [&bytes[..place], &bytes[place + part.len()..]].concat()
}
