//! What RFC 9113 says of connections, streams and frames, row by row: what must end the connection, what must end a stream, and
//! what must be passed over. Frames are bytes here, as no client would send them.
use std::{collections::BTreeSet, thread, time::Duration};

use crate::support::{
    bare_pingora,
    fixture::{self, House},
    gateway::Gateway,
    http2::{beginning, fields, frame, frames, head},
    upstream::{Answer, Upstream},
    waiting::Gate,
    wire::{Address, Wire},
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const COMPRESSION_ERROR: u32 = 9;

/// What must become of what was sent.
#[derive(Clone, Copy, Debug)]
enum Must {
    /// The connection ends, and says so with this code or with PROTOCOL_ERROR, which h2 gives in place of some that say more.
    EndConnection(u32),
    /// Stream 1 ends with this code, or the connection does as above (§5.4.1 allows that).
    EndStream(u32),
    /// The request on this stream is answered with 200 as if nothing were.
    Answer(u32),
}

fn post(stream: u32, ends: bool) -> Vec<u8> {
    let all = [(":method", "POST"), (":scheme", "http"), (":path", "/public"), (":authority", "api.test")];
    frame(HEADERS, END_HEADERS | if ends { END_STREAM } else { 0 }, stream, &fields(&all))
}

fn get(stream: u32) -> Vec<u8> {
    head(stream, "/public", &[], true)
}

fn setting(name: u16, value: u32) -> Vec<u8> {
    let mut bytes = name.to_be_bytes().to_vec();
    bytes.extend(value.to_be_bytes());
    frame(SETTINGS, 0, 0, &bytes)
}

fn window(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

#[expect(clippy::too_many_lines, reason = "one row after another")]
fn rows() -> Vec<(&'static str, Vec<Vec<u8>>, Must)> {
    use Must::{Answer, EndConnection, EndStream};
    let block = fields(&[(":method", "GET"), (":scheme", "http"), (":path", "/public"), (":authority", "api.test")]);
    let (first, rest) = block.split_at(20);
    let part = |flags: u8| frame(HEADERS, flags, 1, first);
    let padded = |kind: u8, flags: u8, padding: u8| frame(kind, flags | PADDED, 1, &[padding, b'x']);
    let too_long = vec![0; 16_385];
    vec![
        ("§4.1 a frame of an unknown kind is passed over", vec![frame(0x7f, 0xff, 0, b"x"), get(1)], Answer(1)),
        (
            "§4.1 and so is one on a stream",
            vec![post(1, false), frame(0x7f, 0, 1, b"x"), frame(DATA, 1, 1, b"")],
            Answer(1),
        ),
        ("§4.1 flags without meaning", vec![frame(PING, 0x16, 0, &[0; 8]), get(1)], Answer(1)),
        ("§4.1 the reserved bit of a stream's number", vec![frame(HEADERS, 5, 1 | 1 << 31, &block)], Answer(1)),
        (
            "§4.2 DATA longer than allowed",
            vec![post(1, false), frame(DATA, 1, 1, &too_long)],
            EndStream(FRAME_SIZE_ERROR),
        ),
        ("§4.2 a head longer than allowed", vec![frame(HEADERS, 5, 1, &too_long)], EndConnection(FRAME_SIZE_ERROR)),
        ("§4.2 settings longer than allowed", vec![frame(SETTINGS, 0, 0, &too_long)], EndConnection(FRAME_SIZE_ERROR)),
        (
            "§4.3 a head that cannot be decompressed",
            vec![frame(HEADERS, 5, 1, &[0xff; 20])],
            EndConnection(COMPRESSION_ERROR),
        ),
        ("§4.3 an index into nothing", vec![frame(HEADERS, 5, 1, &[0xfe])], EndConnection(COMPRESSION_ERROR)),
        (
            "§4.3 a table larger than was agreed on",
            vec![frame(HEADERS, 5, 1, &[&[0x3f, 0xe1, 0xff, 0x03][..], &block].concat())],
            EndConnection(COMPRESSION_ERROR),
        ),
        ("§5.1 DATA on an idle stream", vec![frame(DATA, 1, 1, b"x")], EndConnection(PROTOCOL_ERROR)),
        (
            "§5.1 RST_STREAM on an idle stream",
            vec![frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])],
            EndConnection(PROTOCOL_ERROR),
        ),
        ("§5.1 WINDOW_UPDATE on an idle stream", vec![window(1, 1)], EndConnection(PROTOCOL_ERROR)),
        ("§5.1 CONTINUATION on an idle stream", vec![frame(CONTINUATION, 4, 1, rest)], EndConnection(PROTOCOL_ERROR)),
        (
            "§5.1 DATA after the end of the request",
            vec![post(1, true), frame(DATA, 1, 1, b"x")],
            EndStream(STREAM_CLOSED),
        ),
        ("§5.1 a head after the end of the request", vec![post(1, true), post(1, true)], EndStream(STREAM_CLOSED)),
        (
            "§5.1 DATA after RST_STREAM",
            vec![post(1, false), frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]), frame(DATA, 1, 1, b"x"), get(3)],
            Answer(3),
        ),
        ("§5.1 PRIORITY on an idle stream", vec![frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 9]), get(1)], Answer(1)),
        ("§5.1 PRIORITY on a closed stream", vec![get(1), frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9]), get(3)], Answer(3)),
        ("§5.1.1 an even number", vec![get(2)], EndConnection(PROTOCOL_ERROR)),
        ("§5.1.1 a number that is lower than another", vec![get(5), get(3)], EndConnection(PROTOCOL_ERROR)),
        ("§5.1.1 a number that was used before", vec![get(1), get(3), get(1)], EndConnection(STREAM_CLOSED)),
        ("§5.5 another frame within a head", vec![part(1), frame(0x7f, 0, 1, b"x")], EndConnection(PROTOCOL_ERROR)),
        ("§6.1 DATA of no stream", vec![frame(DATA, 1, 0, b"x")], EndConnection(PROTOCOL_ERROR)),
        ("§6.1 padding longer than DATA", vec![post(1, false), padded(DATA, 1, 9)], EndConnection(PROTOCOL_ERROR)),
        ("§6.1 padding is no content", vec![post(1, false), padded(DATA, 1, 1)], Answer(1)),
        ("§6.2 a head of no stream", vec![frame(HEADERS, 5, 0, &block)], EndConnection(PROTOCOL_ERROR)),
        ("§6.2 padding longer than the head", vec![padded(HEADERS, 5, 9)], EndConnection(PROTOCOL_ERROR)),
        ("§6.2 a head within a head", vec![part(1), get(3)], EndConnection(PROTOCOL_ERROR)),
        ("§6.2 DATA within a head", vec![part(0), frame(DATA, 1, 1, b"x")], EndConnection(PROTOCOL_ERROR)),
        ("§6.3 PRIORITY of no stream", vec![frame(PRIORITY, 0, 0, &[0; 5])], EndConnection(PROTOCOL_ERROR)),
        (
            "§6.3 PRIORITY of another length",
            vec![post(1, false), frame(PRIORITY, 0, 1, &[0; 4])],
            EndStream(FRAME_SIZE_ERROR),
        ),
        ("§6.4 RST_STREAM of no stream", vec![frame(RST_STREAM, 0, 0, &[0, 0, 0, 8])], EndConnection(PROTOCOL_ERROR)),
        (
            "§6.4 RST_STREAM of another length",
            vec![post(1, false), frame(RST_STREAM, 0, 1, &[0, 0, 8])],
            EndConnection(FRAME_SIZE_ERROR),
        ),
        ("§6.5 settings of a stream", vec![frame(SETTINGS, 0, 1, &[])], EndConnection(PROTOCOL_ERROR)),
        ("§6.5 settings of another length", vec![frame(SETTINGS, 0, 0, &[0; 5])], EndConnection(FRAME_SIZE_ERROR)),
        (
            "§6.5 an acknowledgement with content",
            vec![frame(SETTINGS, ACK, 0, &[0; 6])],
            EndConnection(FRAME_SIZE_ERROR),
        ),
        ("§6.5.2 push neither on nor off", vec![setting(2, 2)], EndConnection(PROTOCOL_ERROR)),
        ("§6.5.2 a window that is too large", vec![setting(4, 1 << 31)], EndConnection(FLOW_CONTROL_ERROR)),
        ("§6.5.2 frames that are too short", vec![setting(5, 16_383)], EndConnection(PROTOCOL_ERROR)),
        ("§6.5.2 frames that are too long", vec![setting(5, 1 << 24)], EndConnection(PROTOCOL_ERROR)),
        ("§6.5.2 a setting that nobody knows", vec![setting(0xff, 1), get(1)], Answer(1)),
        ("§6.6 a promise by a client", vec![frame(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2])], EndConnection(PROTOCOL_ERROR)),
        ("§6.7 a ping of a stream", vec![frame(PING, 0, 1, &[0; 8])], EndConnection(PROTOCOL_ERROR)),
        ("§6.7 a ping of another length", vec![frame(PING, 0, 0, &[0; 6])], EndConnection(FRAME_SIZE_ERROR)),
        ("§6.7 an answer that nobody asked for", vec![frame(PING, ACK, 0, &[7; 8]), get(1)], Answer(1)),
        ("§6.8 a farewell of a stream", vec![frame(GOAWAY, 0, 1, &[0; 8])], EndConnection(PROTOCOL_ERROR)),
        ("§6.9 a window that opens by nothing", vec![window(0, 0)], EndConnection(PROTOCOL_ERROR)),
        ("§6.9 a stream's window that opens by nothing", vec![post(1, false), window(1, 0)], EndStream(PROTOCOL_ERROR)),
        (
            "§6.9 WINDOW_UPDATE of another length",
            vec![frame(WINDOW_UPDATE, 0, 0, &[0; 3])],
            EndConnection(FRAME_SIZE_ERROR),
        ),
        (
            "§6.9.1 a window without bounds",
            vec![window(0, i32::MAX as u32), window(0, i32::MAX as u32)],
            EndConnection(FLOW_CONTROL_ERROR),
        ),
        (
            "§6.9.1 a stream's window without bounds",
            vec![post(1, false), window(1, i32::MAX as u32), window(1, i32::MAX as u32)],
            EndStream(FLOW_CONTROL_ERROR),
        ),
        (
            "§6.10 CONTINUATION after the end of a head",
            vec![post(1, false), frame(CONTINUATION, 4, 1, rest)],
            EndConnection(PROTOCOL_ERROR),
        ),
        (
            "§6.10 CONTINUATION of no stream",
            vec![part(1), frame(CONTINUATION, 4, 0, rest)],
            EndConnection(PROTOCOL_ERROR),
        ),
        (
            "§6.10 CONTINUATION of another stream",
            vec![part(1), frame(CONTINUATION, 4, 3, rest)],
            EndConnection(PROTOCOL_ERROR),
        ),
        ("§6.10 a head in two frames", vec![part(1), frame(CONTINUATION, 4, 1, rest)], Answer(1)),
        (
            "§8.1 trailers that do not end the request",
            vec![post(1, false), frame(DATA, 0, 1, b"x"), frame(HEADERS, END_HEADERS, 1, &fields(&[("x-a", "b")]))],
            EndStream(PROTOCOL_ERROR),
        ),
        // Against §8.1, which h2 does not see; no trailers of requests go on to a service, so that nobody can be misled.
        (
            "§8.1 a pseudo header among trailers",
            vec![post(1, false), frame(DATA, 0, 1, b"x"), frame(HEADERS, 5, 1, &fields(&[(":path", "/x")]))],
            Answer(1),
        ),
    ]
}

/// The status of a final head: what h2 sends for 200 is the eighth entry of the static table (RFC 7541, appendix A).
fn is_answered(came: &[(u8, u8, u32, Vec<u8>)], stream: u32) -> bool {
    came.iter().any(|(kind, _, of, payload)| *kind == HEADERS && *of == stream && payload.first() == Some(&0x88))
}

fn code(payload: &[u8], at: usize) -> u32 {
    payload.get(at..at + 4).map_or(u32::MAX, |code| u32::from_be_bytes(code.try_into().unwrap()))
}

/// The codes with which the connection and stream 1 ended.
fn ends(came: &[(u8, u8, u32, Vec<u8>)]) -> (BTreeSet<u32>, BTreeSet<u32>) {
    // A farewell without error is how an idle connection ends.
    let connection = came.iter().filter(|(kind, ..)| *kind == GOAWAY).map(|(.., payload)| code(payload, 4));
    let stream = came.iter().filter(|(kind, _, stream, _)| *kind == RST_STREAM && *stream == 1);
    let stream = stream.map(|(.., payload)| code(payload, 0));
    (connection.filter(|code| *code != 0).collect(), stream.collect())
}

fn clear() -> House {
    let upstream = Upstream::start();
    let routes = "  - {name: public, path_prefix: /public, auth: none, upstream: echo}\n";
    let config = fixture::config("limits: {keepalive_timeout: 1s, body_timeout: 1s}", routes)
        .replace("address: \"{listen}\"", "address: \"{listen}\", http2: true");
    let builder = Gateway::builder(config).set("upstream", upstream.address()).file("keys.json", fixture::keys_file());
    House { gateway: builder.start(), upstream }
}

/// How well a server did, from worst to best.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Verdict {
    Wrong,
    /// With a code that says less, or by ending more than it had to.
    Allowed,
    AsWritten,
}

/// What a server made of it, and that in words.
fn judge(address: &Address, sent: &[Vec<u8>], must: Must) -> (Verdict, String) {
    let mut wire = Wire::connect(address).unwrap();
    wire.send(&beginning()).unwrap();
    // The server may end the connection before all was sent.
    let _ = wire.send(&sent.concat());
    let came = frames(&wire.read_to_end().unwrap_or_default());
    let (connection, stream) = ends(&came);
    let (is_exact, is_allowed) = match must {
        Must::EndConnection(code) => (connection.contains(&code), connection.contains(&PROTOCOL_ERROR)),
        Must::EndStream(code) => {
            (stream.contains(&code), connection.contains(&code) || connection.contains(&PROTOCOL_ERROR))
        }
        Must::Answer(number) => (is_answered(&came, number) && connection.is_empty(), false),
    };
    let verdict = match (is_exact, is_allowed) {
        (true, _) => Verdict::AsWritten,
        (false, true) => Verdict::Allowed,
        (false, false) => Verdict::Wrong,
    };
    (verdict, format!("the connection ended with {connection:?}, the stream with {stream:?}: {came:?}"))
}

#[test]
fn frames_are_taken_as_the_standard_says_and_never_worse_than_by_pingora_alone() {
    let (house, rows) = (clear(), rows());
    assert!(rows.len() >= 50, "{}", rows.len());
    let bare = bare_pingora::start(house.upstream.address(), Duration::from_secs(1));
    let servers = [house.gateway.address(), &bare];
    let judged: Vec<_> = thread::scope(|scope| {
        let begun: Vec<_> = rows
            .iter()
            .map(|(_, sent, must)| servers.map(|server| scope.spawn(move || judge(server, sent, *must))))
            .collect();
        begun.into_iter().map(|both| both.map(|one| one.join().unwrap())).collect()
    });
    let mut faults = String::new();
    for ((what, _, must), [ours, bare]) in rows.iter().zip(judged) {
        if ours.0 == Verdict::Wrong || ours.0 < bare.0 {
            faults +=
                &format!("\n{what}: {must:?}, but {:?}: {}; Pingora alone: {:?}: {}", ours.0, ours.1, bare.0, bare.1);
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

#[test]
fn a_connection_that_begins_otherwise_is_ended_and_pings_and_settings_are_answered() {
    let house = clear();
    let mut wire = Wire::connect(house.gateway.address()).unwrap();
    wire.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").unwrap();
    assert!(!is_answered(&frames(&wire.read_to_end().unwrap_or_default()), 1));
    let mut wire = Wire::connect(house.gateway.address()).unwrap();
    wire.send(&[beginning(), setting(4, 70_000), frame(PING, 0, 0, b"12345678"), get(1)].concat()).unwrap();
    let came = frames(&wire.read_to_end().unwrap_or_default());
    let acknowledged = came.iter().filter(|(kind, flags, ..)| *kind == SETTINGS && flags & ACK == ACK).count();
    assert_eq!(acknowledged, 2, "{came:?}");
    assert!(came.iter().any(|(kind, flags, _, payload)| *kind == PING && flags & ACK == ACK && payload == b"12345678"));
    assert!(is_answered(&came, 1));
    // More streams at a time than the settings allow are refused, and those before them are not (§5.1.2).
    let mut many: Vec<u8> = beginning();
    (0..120).for_each(|number| many.extend(get(1 + 2 * number)));
    let gate = Gate::default();
    house.upstream.take();
    house.upstream.set_answer(Answer::EchoAfter(gate.clone()));
    let mut wire = Wire::connect(house.gateway.address()).unwrap();
    wire.send(&many).unwrap();
    house.upstream.wait_for(100);
    gate.open();
    let came = frames(&wire.read_to_end().unwrap());
    let refused = |stream: u32| {
        came.iter()
            .any(|(kind, _, of, payload)| *kind == RST_STREAM && *of == stream && code(payload, 0) == REFUSED_STREAM)
    };
    assert!((201..240).step_by(2).all(refused) && !(1..201).step_by(2).any(refused), "{came:?}");
    assert!((1..201).step_by(2).all(|stream| is_answered(&came, stream)), "{came:?}");
    assert_eq!(house.upstream.take().len(), 100);
}
