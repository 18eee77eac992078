//! What costs a client next to nothing and a server much: frames without end and heads that grow. The connection that does so
//! ends, memory stays within bounds, and who is beside it is served.
use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    thread,
};

use crate::support::{
    fixture::{self, House},
    gateway::Gateway,
    http2::{Http2, beginning, fields, frame, frames, head},
    upstream::{Answer, Upstream},
    waiting::{Gate, PATIENCE, eventually},
    wire::Address,
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// By how much all of them together may make the process grow, in KiB; what they send and ask for is many times as much.
const GROWTH_MAX: u64 = 48 * 1024;
/// How many requests of one flood may reach the service before its connection ends.
const BEGUN_MAX: usize = 400;
const BASE: &str = "http://api.test";

/// What must become of the connection.
#[derive(Clone, Copy, PartialEq)]
enum Ends {
    /// The server ends it, long before it would for being idle.
    ByServer,
    /// It may go on: each frame is answered or passed over, and nothing is kept of it.
    Whenever,
}

struct Flood {
    name: &'static str,
    begin: Vec<u8>,
    /// The so-manieth part.
    part: Box<dyn Fn(u32) -> Vec<u8>>,
    parts: u32,
    ends: Ends,
}

fn flood(name: &'static str, parts: u32, ends: Ends, part: impl Fn(u32) -> Vec<u8> + 'static) -> Flood {
    Flood { name, begin: Vec::new(), part: Box::new(part), parts, ends }
}

fn get(stream: u32) -> Vec<u8> {
    head(stream, "/public", &[], true)
}

fn open(stream: u32) -> Vec<u8> {
    head(stream, "/public", &[], false)
}

/// A head that puts a field of 4000 bytes into the table of HPACK and then names it this often, a byte each time.
fn bomb(stream: u32) -> Vec<u8> {
    let mut block =
        fields(&[(":method", "GET"), (":scheme", "http"), (":path", "/public"), (":authority", "api.test")]);
    // Literal with incremental indexing, new name of one byte, and a value whose length is 127 + 3873 (RFC 7541 §6.2.1, §5.1).
    block.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    block.extend([b'v'; 4000]);
    // The newest entry of the dynamic table (§6.1).
    block.extend(vec![0x80 | 62; 12_000]);
    frame(HEADERS, 5, stream, &block)
}

fn floods() -> Vec<Flood> {
    use Ends::{ByServer, Whenever};
    let filler = fields(&[("x-filler", "a".repeat(120).as_str()); 100]);
    let endless = || frame(HEADERS, 0, 1, &fields(&[(":method", "GET"), (":scheme", "http"), (":path", "/public")]));
    let stream = |number: u32| 1 + 2 * number;
    vec![
        flood("streams that are taken back at once (CVE-2023-44487)", 100_000, ByServer, move |number| {
            [get(stream(number)), frame(RST_STREAM, 0, stream(number), &[0, 0, 0, 8])].concat()
        }),
        flood("streams that the server must take back (CVE-2025-8671)", 100_000, ByServer, move |number| {
            // A window beyond all bounds is this stream's error, and no other's.
            [open(stream(number)), frame(WINDOW_UPDATE, 0, stream(number), &i32::MAX.to_be_bytes())].concat()
        }),
        Flood {
            begin: endless(),
            ..flood("a head without end (CVE-2024-27316)", 10_000, ByServer, move |_| {
                frame(CONTINUATION, 0, 1, &filler)
            })
        },
        Flood {
            begin: endless(),
            ..flood("a head of empty parts", 500_000, ByServer, |_| frame(CONTINUATION, 0, 1, &[]))
        },
        Flood {
            begin: open(1),
            ..flood("a body of empty parts (CVE-2019-9518)", 500_000, ByServer, |_| frame(DATA, 0, 1, &[]))
        },
        flood("heads that unpack to thousands of times their size", 500, ByServer, move |number| bomb(stream(number))),
        flood("more streams at a time than are allowed", 20_000, ByServer, move |number| open(stream(number))),
        flood("one stream's number again and again", 20_000, ByServer, |_| get(1)),
        flood("pings (CVE-2019-9512)", 200_000, Whenever, |_| frame(PING, 0, 0, &[7; 8])),
        flood("settings (CVE-2019-9515)", 200_000, Whenever, |number| {
            let size = if number % 2 == 0 { 4096_u32 } else { 0 };
            frame(SETTINGS, 0, 0, &[&[0, 1][..], &size.to_be_bytes()].concat())
        }),
        flood("frames of an unknown kind", 200_000, Whenever, |_| frame(0x7f, 0, 0, &[0; 64])),
        flood("priorities (CVE-2019-9513)", 200_000, Whenever, |number| frame(2, 0, 3 + 2 * (number % 500), &[0; 5])),
    ]
}

/// The most that the process was ever resident, in KiB.
fn peak(gateway: &Gateway) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Sends all of it, reading beside, until the server ends the connection or there is no more: what came, and whether the
/// server ended it.
fn send(address: &Address, flood: &Flood) -> (Vec<u8>, bool) {
    let Address::Tcp(address) = address else { panic!("only TCP") };
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let mut reading = stream.try_clone().unwrap();
    let reader = thread::spawn(move || {
        let (mut came, mut part) = (Vec::new(), vec![0; 65_536]);
        loop {
            match reading.read(&mut part) {
                Ok(0) => return (came, true),
                Ok(amount) => came.extend_from_slice(&part[..amount]),
                Err(error) => return (came, error.kind() == std::io::ErrorKind::ConnectionReset),
            }
        }
    });
    let mut is_open = stream.write_all(&[beginning(), flood.begin.clone()].concat()).is_ok();
    stream.set_nodelay(true).unwrap();
    let mut numbers = 0..flood.parts;
    while is_open && !numbers.is_empty() {
        // One at a time at first, so that what is asked for is begun before more comes.
        let at_a_time = if numbers.start < 100 { 1 } else { 200 };
        let some: Vec<u8> = numbers.by_ref().take(at_a_time).flat_map(|number| (flood.part)(number)).collect();
        is_open = stream.write_all(&some).is_ok();
    }
    if flood.ends == Ends::Whenever {
        let _ = stream.shutdown(Shutdown::Write);
    }
    reader.join().unwrap()
}

fn clear() -> House {
    let upstream = Upstream::start();
    upstream.set_answer(Answer::Echo);
    let routes = "  - {name: public, path_prefix: /public, auth: none, upstream: echo}\n  \
                  - {name: waiting, path_prefix: /waiting, auth: none, upstream: echo}\n";
    // Nothing ends for being idle or slow while the test looks.
    let config = fixture::config("limits: {keepalive_timeout: 10m, body_timeout: 10m}", routes)
        .replace("address: \"{listen}\"", "address: \"{listen}\", http2: true");
    let builder = Gateway::builder(config).set("upstream", upstream.address()).file("keys.json", fixture::keys_file());
    House { gateway: builder.start(), upstream }
}

#[test]
fn a_flood_ends_its_connection_costs_little_and_touches_nobody_else() {
    let house = clear();
    // One request that waits all the time, on a connection of its own, and another connection that asks beside each flood.
    let gate = Gate::default();
    house.upstream.set_answer(Answer::EchoAfter(gate.clone()));
    let mut waiting = Http2::connect(house.gateway.address()).unwrap();
    let waits = thread::spawn(move || waiting.get(&format!("{BASE}/waiting"), &[]).map(|response| response.status));
    house.upstream.wait_for(1);
    house.upstream.set_answer(Answer::Echo);
    let mut beside = Http2::connect(house.gateway.address()).unwrap();
    let mut served = || beside.get(&format!("{BASE}/public"), &[]).map(|response| response.status);
    // Warm, so that growth is that of the floods.
    (0..50).for_each(|_| assert_eq!(served(), Some(200)));
    house.upstream.take();
    let before = peak(&house.gateway);
    for flood in floods() {
        let (came, is_ended) = send(house.gateway.address(), &flood);
        let (came, name) = (frames(&came), flood.name);
        assert!(is_ended || flood.ends == Ends::Whenever, "{name}: the connection goes on");
        assert_eq!(served(), Some(200), "{name}");
        assert_eq!(house.gateway.get("/public", &[]).status, 200, "{name}");
        let begun = house.upstream.take().len();
        assert!(begun < BEGUN_MAX, "{name}: {begun} requests were begun; {} frames came", came.len());
        let growth = peak(&house.gateway).saturating_sub(before);
        assert!(growth < GROWTH_MAX, "{name}: the process grew by {growth} KiB");
    }
    gate.open();
    assert_eq!(waits.join().unwrap(), Some(200));
    // Of all of them nothing is left.
    let in_flight = || house.gateway.metric(|line| line.starts_with("portcullis_http_requests_in_flight "));
    assert!(eventually(PATIENCE, || (in_flight() == 0.0).then_some(())).is_some(), "{} are in flight", in_flight());
}
