//! A request is sent again when nothing of it can have been done, and never when something may have been.
use std::{
    io,
    net::{SocketAddr, TcpStream},
    sync::mpsc,
    time::{Duration, Instant},
};

use super::{ROUTES, builder, get, retries, send, servers};
use crate::support::{
    client::{Client, request_bytes},
    fixture::{self, good_bearer, keys_file},
    gateway::{Builder, Gateway},
    problem::check_problem,
    server::{Server, free_address},
    upstream::{Answer, Upstream},
    waiting::Gate,
};

#[test]
fn any_method_is_tried_at_another_server_when_no_connection_can_be_made() {
    let (nobody, upstream) = (free_address(), Upstream::start());
    let echo = format!("{{servers: [\"{nobody}\", {}]}}", servers(&[&upstream]));
    let gateway = builder(&echo).start();
    let methods = ["GET", "POST", "PUT", "DELETE", "PATCH", "GET", "POST", "PUT"];
    for (number, method) in methods.iter().enumerate() {
        let body = if ["GET", "DELETE"].contains(method) { "" } else { "content" };
        let response = send(&mut gateway.connect(), method, "/orders", "", body);
        assert_eq!(response.status, 200, "{method}");
        let seen = upstream.requests();
        assert_eq!(seen.len(), number + 1, "{method}");
        assert_eq!(seen[number].body, body.as_bytes(), "{method}");
    }
    assert!(retries(&gateway) >= 3.0);
}

#[test]
fn a_request_whose_connection_ended_after_it_was_sent_is_not_sent_again() {
    let upstream = Upstream::start();
    upstream.set_answer(Answer::BytesThenClose(Vec::new()));
    let gateway = builder(&format!("{{servers: [{}], retries: 3}}", servers(&[&upstream]))).start();
    check_problem(&get(&gateway), 502, "upstream_unreachable", "GET");
    assert_eq!(upstream.requests().len(), 1);
    assert!(retries(&gateway) < 1.0);
}

#[test]
fn what_may_be_repeated_is_sent_again_when_a_reused_connection_ended_and_what_may_not_is_not() {
    for (method, body, is_repeated) in [
        ("GET", "", true),
        ("PUT", "content", true),
        ("DELETE", "", true),
        ("POST", "content", false),
        ("PATCH", "x", false),
    ] {
        let upstream = Upstream::start();
        let gateway = builder(&format!("{{servers: [{}], retries: 1}}", servers(&[&upstream]))).start();
        let mut client = gateway.connect();
        assert_eq!(send(&mut client, "GET", "/first", "", "").status, 200);
        // The connection is kept, and ends when it is used again: the request arrives, and nobody knows what came of it.
        upstream.set_answer(Answer::BytesThenClose(Vec::new()));
        let response = send(&mut client, method, "/second", "", body);
        assert_eq!(response.status, 502, "{method}: {}", response.text());
        let seen = upstream.requests().iter().filter(|seen| seen.target() == "/second").count();
        assert_eq!(seen, if is_repeated { 2 } else { 1 }, "{method}");
    }
}

#[test]
fn an_outage_costs_hardly_more_attempts_than_there_are_requests() {
    // Many servers, so that it is not their ejection that ends the attempts.
    let written: Vec<String> = (0..60).map(|_| format!("\"{}\"", free_address())).collect();
    let gateway = builder(&format!("{{servers: [{}], retries: 5}}", written.join(", "))).start();
    let began = Instant::now();
    for _ in 0..100 {
        check_problem(&get(&gateway), 502, "upstream_unreachable", "GET");
    }
    // A fifth of the requests, ten that are free, three more for each second.
    let allowed = 20.0 + 10.0 + 3.0 * (began.elapsed().as_secs_f64() + 1.0);
    let made = retries(&gateway);
    assert!((30.0..=allowed).contains(&made), "{made}");
}

/// A server that is there and takes no connection, as the queue of those that it could take is full.
fn full() -> (tokio::net::TcpListener, Vec<TcpStream>, SocketAddr, tokio::runtime::Runtime) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let listener = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        socket.listen(1).unwrap()
    });
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    loop {
        match TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            Ok(stream) => waiting.push(stream),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return (listener, waiting, address, runtime),
            Err(error) => panic!("{error}"),
        }
        assert!(waiting.len() < 100, "the queue has no end");
    }
}

#[test]
fn a_server_that_takes_no_connection_costs_the_time_to_connect_and_no_request() {
    let ((_listener, _waiting, address, _runtime), upstream) = (full(), Upstream::start());
    let echo = format!("{{servers: [\"{address}\", {}], timeouts: {{connect: 200ms}}}}", servers(&[&upstream]));
    let gateway = builder(&echo).start();
    for (number, method) in ["GET", "POST", "PATCH", "GET", "POST", "PATCH"].into_iter().enumerate() {
        let body = if method == "GET" { "" } else { "content" };
        assert_eq!(send(&mut gateway.connect(), method, "/orders", "", body).status, 200, "{method}");
        assert_eq!(upstream.requests().len(), number + 1, "{method}");
    }
    assert!((retries(&gateway) - 3.0).abs() < 0.5, "{}", retries(&gateway));
}

/// A gateway before two servers that each have a connection in its pool; no body may have more than 64 KiB.
fn warm(one: &impl ToString, other: &Upstream) -> Gateway {
    let config = fixture::config("limits: {body_bytes: 64KiB}", ROUTES)
        .replace("{upstream}", &format!("{}\", \"{}", one.to_string(), other.address()));
    let gateway = Builder::new(config).file("keys.json", keys_file()).start();
    for _ in 0..2 {
        assert_eq!(get(&gateway).status, 200);
    }
    other.take();
    gateway
}

#[test]
fn a_body_that_is_sent_again_counts_once() {
    let (one, other) = (Upstream::start(), Upstream::start());
    let gateway = warm(one.address(), &other);
    one.set_answer(Answer::BytesThenClose(Vec::new()));
    let body = "0123456789".repeat(4_000);
    let mut lines = Vec::new();
    for _ in 0..2 {
        let response = send(&mut gateway.connect(), "PUT", "/orders", "", &body);
        assert_eq!(response.status, 200, "{}", response.text());
        lines.push(gateway.access_line(response.header("X-Request-Id").unwrap()));
    }
    let seen = other.take();
    assert!(seen.len() == 2 && seen.iter().all(|seen| seen.body == body.as_bytes()));
    assert!((retries(&gateway) - 1.0).abs() < 0.5, "one of them went to the other server first");
    for line in lines {
        assert_eq!(line["bytes_in"], body.len(), "{line}");
    }
}

/// The server answers one request on each connection, and closes it when it has read the head of another.
fn closes_at_the_second_head() -> (Server, mpsc::Receiver<()>) {
    let (sender, receiver) = mpsc::channel();
    let server = Server::on_tcp(move |mut wire| {
        let _ = wire.read_head();
        let _ = wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        if matches!(wire.read_head(), Ok(Some(_))) {
            wire.shut();
            let _ = sender.send(());
        }
    });
    (server, receiver)
}

#[test]
fn a_body_of_which_some_was_sent_reaches_another_server_whole_or_not_at_all() {
    let body = "0123456789".repeat(4_000);
    for (method, expected) in [("PUT", 200), ("POST", 502)] {
        let ((one, closed), other) = (closes_at_the_second_head(), Upstream::start());
        let gateway = warm(one.address(), &other);
        let (token, length) = (good_bearer(), body.len().to_string());
        let headers = [("Authorization", token.as_str()), ("Content-Length", &length)];
        let (first, rest) = body.split_at(15_000);
        let mut attempts = 0;
        // It is the turn of one of the two.
        while closed.try_recv().is_err() {
            let mut client: Client = gateway.connect();
            client.send([&request_bytes(method, "/orders", &headers), first.as_bytes()].concat());
            let is_closed = closed.recv_timeout(Duration::from_millis(500)).is_ok();
            client.send(rest);
            let response = client.read(method);
            let seen = other.take();
            if is_closed {
                assert_eq!(response.status, expected, "{}", response.text());
                let bodies: Vec<&[u8]> = seen.iter().map(|seen| seen.body.as_slice()).collect();
                let whole = if expected == 200 { vec![body.as_bytes()] } else { Vec::new() };
                assert_eq!(bodies, whole, "{method}");
                break;
            }
            assert_eq!(response.status, 200);
            attempts += 1;
            assert!(attempts < 4, "it is never its turn");
        }
    }
}

#[test]
fn what_is_too_large_to_be_kept_is_not_sent_again() {
    let (one, other) = (Upstream::start(), Upstream::start());
    let gateway = builder(&format!("{{servers: [{}]}}", servers(&[&one, &other]))).start();
    for _ in 0..2 {
        assert_eq!(get(&gateway).status, 200);
    }
    one.set_answer(Answer::BytesThenClose(Vec::new()));
    one.take();
    other.take();
    let body = "0123456789".repeat(30_000);
    let mut statuses: Vec<u16> =
        (0..2).map(|_| send(&mut gateway.connect(), "PUT", "/orders", "", &body).status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 502]);
    assert_eq!((one.take().len(), other.take().len()), (1, 1));
    assert!(retries(&gateway) < 0.5);
}

#[test]
fn a_request_that_is_not_answered_in_time_is_not_sent_again() {
    let (one, other) = (Upstream::start(), Upstream::start());
    let gateway = builder(&format!("{{servers: [{}], timeouts: {{read: 300ms}}}}", servers(&[&one, &other]))).start();
    for _ in 0..2 {
        assert_eq!(get(&gateway).status, 200);
    }
    let gate = Gate::default();
    one.set_answer(Answer::EchoAfter(gate.clone()));
    // On a connection that served before, and on new ones.
    for method in ["GET", "PUT", "POST", "GET"] {
        one.take();
        other.take();
        let body = if method == "GET" { "" } else { "content" };
        let mut statuses: Vec<u16> =
            (0..2).map(|_| send(&mut gateway.connect(), method, "/orders", "", body).status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 504], "{method}");
        assert_eq!((one.take().len(), other.take().len()), (1, 1), "{method}");
    }
    assert!(retries(&gateway) < 0.5);
    gate.open();
}
