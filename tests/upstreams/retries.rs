//! A request is sent again when nothing of it can have been done, and never when something may have been.
use std::time::Instant;

use super::{builder, get, retries, send, servers};
use crate::support::{
    problem::check_problem,
    server::free_address,
    upstream::{Answer, Upstream},
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
