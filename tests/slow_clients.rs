//! Clients that take their time: heads, bodies and readers that do not get on, and connections on which nothing happens,
//! end when their time is up, while everybody else is served.
use std::{thread, time::Duration};

use crate::support::{
    client::{Client, Response},
    fixture::House,
    gateway::Gateway,
    problem::check_problem,
    reported::{check_reported, is_metric, reason_in},
    upstream::Answer,
    waiting::{Gate, PATIENCE, eventually},
    wire::Head,
};

const ROUTES: &str = "  - {name: public, path_prefix: /public, auth: none, upstream: echo}\n";

/// Between two bytes of a client that is slow, but never silent for long.
const PAUSE: Duration = Duration::from_millis(20);

const PARTS_OF_HEADS: &[&str] = &[
    "G",
    "GET /public",
    "GET /public HTTP/1.1\r\nHost: api.test\r\n",
    "GET /public HTTP/1.1\r\nHost: api.test\r\n\r",
    "\r\n\r\nPOST /public HTTP/1.1\r\nHost: api.test\r\nX-",
];

fn check_served(gateway: &Gateway) {
    assert_eq!(gateway.get("/public", &[]).status, 200, "everybody else is served");
}

fn answered_without_request(gateway: &Gateway, code: &str) -> f64 {
    let labels = [("route", "-"), ("method", "other"), ("code", code)];
    gateway.metric(|line| is_metric(line, "portcullis_http_requests_total", &labels))
}

/// All that a connection got, as the one response that it must be.
fn parsed(bytes: Vec<u8>) -> Response {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|end| end + 4);
    let end = end.unwrap_or_else(|| panic!("no response: {:?}", String::from_utf8_lossy(&bytes)));
    let (head, body) = bytes.split_at(end);
    let head = Head::parse(head.to_vec());
    let status = head.start.split(' ').nth(1).unwrap().parse().unwrap();
    assert_eq!(head.value("Content-Length"), Some(body.len().to_string().as_str()));
    Response { status, head, body: body.to_vec(), interim: Vec::new() }
}

/// A connection whose head does not become whole: all that comes back must be one refusal. Gives its request id.
fn check_head_times_out(house: &House, part: &str, is_first: bool, trickles: bool) -> String {
    let mut client = house.gateway.connect();
    if !is_first {
        assert_eq!(client.get("/public/before", &[]).status, 200);
    }
    client.send(part);
    let response = parsed(if trickles { client.trickle(b"x", PAUSE) } else { client.rest() });
    assert_eq!(response.header("Connection"), Some("close"), "{part:?}");
    check_problem(&response, 408, "request_timeout", "GET")
}

#[test]
fn a_head_that_is_not_whole_in_time_is_refused_silent_or_not_first_or_not() {
    let house = House::start("limits: {header_timeout: 1s, keepalive_timeout: 60s}", ROUTES);
    let cases = PARTS_OF_HEADS.iter().flat_map(|part| {
        [(true, false), (true, true), (false, false), (false, true)].map(|(first, trickles)| (*part, first, trickles))
    });
    // No byte but a line feed may follow a carriage return.
    let cases: Vec<_> = cases.filter(|(part, _, trickles)| !(*trickles && part.ends_with('\r'))).collect();
    let request_ids: Vec<String> = thread::scope(|scope| {
        let house = &house;
        let running: Vec<_> = cases
            .iter()
            .map(|(part, first, trickles)| scope.spawn(|| check_head_times_out(house, part, *first, *trickles)))
            .collect();
        check_served(&house.gateway);
        running.into_iter().map(|case| case.join().unwrap()).collect()
    });
    for request_id in &request_ids {
        check_reported(&house.gateway, request_id, "-", "request_timeout", 408, "other");
    }
    assert_eq!(answered_without_request(&house.gateway, "408"), f64::from(u8::try_from(cases.len()).unwrap()));
    assert!(house.upstream.take().iter().all(|seen| seen.method() == "GET" && !seen.contains("X-x")));
    check_all_gone(&house.gateway);
}

#[test]
fn a_head_that_comes_in_pieces_but_in_time_is_a_request_like_any_other() {
    let house = House::start("limits: {header_timeout: 10s, keepalive_timeout: 100ms, body_timeout: 100ms}", ROUTES);
    let mut client = house.gateway.connect();
    for piece in ["GET /pub", "lic HTTP/1.1\r\nHo", "st: api.test\r\n", "\r", "\n"] {
        // Longer than a connection may be idle: that is no matter of a request that has begun.
        Gate::default().wait(Duration::from_millis(250));
        client.send(piece);
    }
    assert_eq!(client.read("GET").status, 200);
    assert!(client.rest().is_empty());
}

#[test]
fn who_says_nothing_is_left_without_a_word() {
    let house = House::start("limits: {header_timeout: 1s, keepalive_timeout: 60s}", ROUTES);
    for bytes in ["", "\r\n", "\r\n\r\n\r\n"] {
        let mut client = house.gateway.connect();
        client.send(bytes);
        check_served(&house.gateway);
        assert!(client.rest().is_empty(), "{bytes:?}");
    }
    assert_eq!(answered_without_request(&house.gateway, "*"), 0.0, "there was no request");
    assert_eq!(house.upstream.take().len(), 3);
}

#[test]
fn a_connection_without_request_is_kept_as_long_as_it_may_be_and_no_longer() {
    let house = House::start("limits: {header_timeout: 500ms, keepalive_timeout: 2500ms}", ROUTES);
    let mut client = house.gateway.connect();
    for _ in 0..3 {
        assert_eq!(client.get("/public", &[]).status, 200);
        // Longer than a head may take: that is no matter of a connection without request.
        Gate::default().wait(Duration::from_millis(800));
    }
    assert_eq!(client.get("/public", &[("Keep-Alive", "timeout=3600")]).status, 200);
    assert!(client.rest().is_empty(), "nothing is said to who asked for nothing");
    assert_eq!(answered_without_request(&house.gateway, "*"), 0.0);
    check_all_gone(&house.gateway);
}

/// Waits until no connection is open and no request is being served.
fn check_all_gone(gateway: &Gateway) {
    let open = |name: &str| gateway.metric(|line| line.starts_with(&format!("{name} ")));
    let gone =
        || (open("portcullis_connections") == 0.0 && open("portcullis_http_requests_in_flight") == 0.0).then_some(());
    assert!(eventually(PATIENCE, gone).is_some(), "{} connections", open("portcullis_connections"));
}

#[test]
fn a_body_may_be_slow_but_not_silent_for_long() {
    let house = House::start("limits: {body_timeout: 700ms, header_timeout: 1s, keepalive_timeout: 1s}", ROUTES);
    let framings = [("Content-Length: 60", "abcdef"), ("Transfer-Encoding: chunked", "3c\r\nabcdef")];
    for (field, begun) in framings {
        let mut client = house.gateway.connect();
        client.send(format!("POST /public HTTP/1.1\r\nHost: api.test\r\n{field}\r\n\r\n{begun}"));
        check_served(&house.gateway);
        house.upstream.take();
        let request_id = check_problem(&client.read("POST"), 408, "request_timeout", "POST");
        assert!(client.rest().is_empty());
        check_reported(&house.gateway, &request_id, "public", "request_timeout", 408, "POST");
        assert!(house.upstream.take().is_empty(), "{field}: the upstream took half a body for a whole one");
    }
    let mut client = house.gateway.connect();
    client.send("POST /public HTTP/1.1\r\nHost: api.test\r\nContent-Length: 60\r\n\r\n");
    for _ in 0..60 {
        Gate::default().wait(Duration::from_millis(25));
        client.send("x");
    }
    assert_eq!(client.read("POST").json()["body"], "x".repeat(60));
    check_all_gone(&house.gateway);
}

/// More than any socket takes in by itself.
const LARGE: usize = 48 << 20;

fn answer_at_length(house: &House) {
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + LARGE, b'x');
    house.upstream.set_answer(Answer::Bytes(answer));
}

#[test]
fn who_takes_nothing_of_a_response_is_cut_off_and_who_takes_some_gets_all_of_it() {
    let house = House::start("limits: {body_timeout: 1s}", ROUTES);
    answer_at_length(&house);
    let mut client = house.gateway.connect();
    client.send("GET /public HTTP/1.1\r\nHost: api.test\r\n\r\n");
    let line = house.gateway.log_line(|line| reason_in(line) == Some("request_timeout")).expect("it is told");
    assert_eq!((&line["status"], &line["route"]), (&200.into(), &"public".into()), "{line}");
    assert_eq!(line["auth"]["detail"], "the client took nothing of the response in time");
    check_all_gone(&house.gateway);
    assert!(client.rest().len() < LARGE);

    let mut client = house.gateway.connect();
    client.send("GET /public HTTP/1.1\r\nHost: api.test\r\n\r\n");
    Gate::default().wait(Duration::from_millis(100));
    assert_eq!(client.read("GET").body.len(), LARGE);
}

#[test]
fn a_crowd_that_hoards_connections_keeps_nobody_from_being_served() {
    let house = House::start("limits: {header_timeout: 1s, body_timeout: 1s, connections: 400}", ROUTES);
    let parts = ["", "GET /pub", "POST /public HTTP/1.1\r\nHost: api.test\r\nContent-Length: 9\r\n\r\nx"];
    let mut crowd: Vec<(Client, &str)> = Vec::new();
    for _ in 0..60 {
        for part in parts {
            let mut client = house.gateway.connect();
            client.send(part);
            crowd.push((client, part));
        }
        check_served(&house.gateway);
    }
    for (mut client, part) in crowd {
        let all = client.rest();
        assert_eq!(all.starts_with(b"HTTP/1.1 408 "), !part.is_empty(), "{part:?}: {}", String::from_utf8_lossy(&all));
    }
    check_served(&house.gateway);
    check_all_gone(&house.gateway);
}
