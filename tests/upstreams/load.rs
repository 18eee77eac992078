//! Servers that are killed, hang, are slow and come back while requests pass: none is lost that another attempt may save, none is
//! sent twice that may not be, and the metrics count what happened.
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use super::{is_healthy, retries, wait_for};
use crate::support::{
    client::{Client, request_bytes},
    fixture::{self, good_bearer, keys_file},
    gateway::{Builder, Gateway},
    server::free_address,
    unsteady::{Arrival, Mood, Protocol, Unsteady},
    waiting::{PATIENCE, eventually},
};

/// Connections from which requests come without pause: one half sends GET alone, the other POST alone, so that both are on
/// their way whenever something happens.
const CLIENTS: usize = 8;
/// Servers, each of which has its turn.
const SERVERS: usize = 3;
/// Requests that are answered between two events.
const PAUSE: usize = 100;
/// How long the head of a response may take.
const ROUTE_TIMEOUT: Duration = Duration::from_millis(1500);
/// How long it is waited for requests to be on their way to a server that is killed: well below that.
const HOLD: Duration = Duration::from_millis(400);
/// A server that is slow, and not for too long.
const SLOW: Duration = Duration::from_millis(100);
/// Failures in a row for which a server is left alone.
const FAILURES: usize = 5;

/// How a request ended.
struct Ended {
    id: String,
    method: &'static str,
    status: u16,
}

/// What the clients share.
#[derive(Default)]
struct Load {
    is_over: AtomicBool,
    ended: AtomicUsize,
}

impl Load {
    /// What one client sends, one request after the other.
    fn send(&self, gateway: &Gateway, number: usize) -> Vec<Ended> {
        let (method, body) = if number.is_multiple_of(2) { ("GET", "") } else { ("POST", "content") };
        // One token for all: a signature costs more than a request.
        let (token, length) = (good_bearer(), body.len().to_string());
        let mut client = gateway.connect();
        let mut all = Vec::new();
        while !self.is_over.load(Ordering::SeqCst) {
            let id = format!("{number}-{}", all.len());
            let headers = [("Authorization", token.as_str()), ("X-Test", &id), ("Content-Length", &length)];
            let mut bytes = request_bytes(method, "/orders", &headers);
            bytes.extend_from_slice(body.as_bytes());
            client.send(bytes);
            let status = client.read(method).status;
            if status != 200 {
                client = Client::connect(gateway.address());
            }
            all.push(Ended { id, method, status });
            self.ended.fetch_add(1, Ordering::SeqCst);
        }
        all
    }

    /// Until so many more requests are answered.
    fn wait(&self) {
        let goal = self.ended.load(Ordering::SeqCst) + PAUSE;
        assert!(eventually(PATIENCE, || (self.ended.load(Ordering::SeqCst) >= goal).then_some(())).is_some());
    }
}

/// The server has its turn at everything that may befall it.
fn trouble(gateway: &Gateway, load: &Load, server: &mut Unsteady) {
    let name = server.address().to_string();
    let serves_again = |server: &Unsteady| {
        let goal = server.answers() + 20;
        wait_for(gateway, "it is back and answers", || server.answers() >= goal);
        wait_for(gateway, "it is healthy", || is_healthy(gateway, &name));
    };
    server.set_mood(Mood::Hung);
    let before = server.arrivals_from(0).len();
    // Both kinds are on their way, GET on a connection that served others before, where that comes about in time.
    let _ = eventually(HOLD, || {
        let held = server.arrivals_from(before);
        let is_held = |method: &str, is_first: bool| {
            held.iter().any(|arrival| arrival.method == method && arrival.is_first == is_first && !arrival.is_answered)
        };
        (is_held("GET", false) && (is_held("POST", false) || is_held("POST", true))).then_some(())
    });
    server.kill();
    load.wait();
    server.revive();
    serves_again(server);
    load.wait();

    server.set_mood(Mood::Hung);
    wait_for(gateway, "it is noticed that it hangs", || !is_healthy(gateway, &name));
    load.wait();
    server.set_mood(Mood::Well);
    serves_again(server);

    server.set_mood(Mood::Slow(SLOW));
    serves_again(server);
    server.set_mood(Mood::Well);
    load.wait();
}

/// The code of every response that the gateway counted.
fn counted(gateway: &Gateway, code: u16) -> f64 {
    let code = format!("code=\"{code}\"");
    gateway.metric(|line| line.starts_with("portcullis_http_requests_total{") && line.contains(&code))
}

/// Who saw each request.
fn by_id(servers: &[Unsteady]) -> BTreeMap<String, Vec<Arrival>> {
    let mut seen: BTreeMap<String, Vec<Arrival>> = BTreeMap::new();
    for arrival in servers.iter().flat_map(|server| server.arrivals_from(0)).filter(|arrival| !arrival.id.is_empty()) {
        seen.entry(arrival.id.clone()).or_default().push(arrival);
    }
    seen
}

/// What became of each request, beside what the servers saw of it.
fn check_each(ended: &[Ended], seen: &BTreeMap<String, Vec<Arrival>>) {
    for Ended { id, method, status } in ended {
        let seen = seen.get(id).map_or(&[][..], Vec::as_slice);
        let told = format!("{method} {id} is {status}: {seen:?}");
        match (*method, *status) {
            ("GET", 200) => assert!((1..=2).contains(&seen.len()) && seen.iter().any(|one| one.is_answered), "{told}"),
            (_, 200) => assert!(seen.len() == 1 && seen[0].is_answered, "{told}"),
            // Its connection was a new one, which nobody closes before a request: what became of it, nobody knows.
            ("GET", 502) => assert!(seen.len() <= 1 && seen.iter().all(|one| one.is_first), "{told}"),
            (_, 502) => assert!(seen.len() <= 1, "{told}"),
            // Whoever hung may have begun.
            (_, 504) => assert!(seen.len() == 1, "{told}"),
            _ => panic!("{told}"),
        }
    }
}

/// What the metrics tell, beside what clients and servers saw.
fn check_counts(gateway: &Gateway, ended: &[Ended], seen: &BTreeMap<String, Vec<Arrival>>) {
    for code in [200, 502, 504] {
        let amount = ended.iter().filter(|ended| ended.status == code).count();
        // A request is counted after its last byte was sent.
        wait_for(gateway, "each is counted", || (counted(gateway, code) - amount as f64).abs() < 0.5);
    }
    let answers = gateway.metric(|line| line.starts_with("portcullis_upstream_duration_seconds_count"));
    let good = ended.iter().filter(|ended| ended.status == 200).count();
    assert!((answers - good as f64).abs() < 0.5, "{answers} of {good}");
    // There are further attempts that nobody saw: at a server that did not listen.
    let again = seen.values().map(|times| times.len() - 1).sum::<usize>();
    assert!(retries(gateway) >= again as f64, "{} {again}", retries(gateway));
}

fn check(protocol: Protocol) {
    let mut servers: Vec<Unsteady> = (0..SERVERS).map(|_| Unsteady::start(protocol, free_address())).collect();
    let written: Vec<String> = servers.iter().map(|server| format!("\"{}\"", server.address())).collect();
    let spoken = if protocol == Protocol::Http1 { "http1" } else { "h2c" };
    let route =
        format!("  - {{name: orders, path_prefix: /, timeout: {}ms, upstream: echo}}", ROUTE_TIMEOUT.as_millis());
    let config = fixture::config("", &route).replace(
        "{servers: [\"{upstream}\"]}",
        &format!("{{servers: [{}], protocol: {spoken}, retries: 1}}", written.join(", ")),
    );
    let gateway = Builder::new(config).file("keys.json", keys_file()).start();
    let load = Load::default();
    let ended: Vec<Ended> = thread::scope(|scope| {
        let (load, gateway) = (&load, &gateway);
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || load.send(gateway, number))).collect();
        load.wait();
        for server in &mut servers {
            trouble(gateway, load, server);
        }
        load.is_over.store(true, Ordering::SeqCst);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    let seen = by_id(&servers);
    check_each(&ended, &seen);
    check_counts(&gateway, &ended, &seen);
    let of = |status: u16| ended.iter().filter(|ended| ended.status == status).count();
    let saved = ended.iter().filter(|one| one.status == 200 && seen[&one.id].len() == 2).count();
    println!("{protocol:?}: {} requests, {saved} saved, {} broken off, {} overdue", ended.len(), of(502), of(504));
    assert!(saved >= 1, "no request was on its way to a server that was killed");
    // Those that were on their way when a server was killed, and those that found out that one hangs.
    assert!(of(502) <= SERVERS * CLIENTS, "{} are broken off", of(502));
    assert!(of(504) <= SERVERS * (2 * CLIENTS + FAILURES), "{} are overdue", of(504));
}

#[test]
fn servers_of_http1_that_die_hang_and_come_back_cost_no_more_than_what_they_had_begun() {
    check(Protocol::Http1);
}

#[test]
fn servers_of_http2_that_die_hang_and_come_back_cost_no_more_than_what_they_had_begun() {
    check(Protocol::H2c);
}
