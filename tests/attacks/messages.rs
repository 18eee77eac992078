//! Requests that end in two places, and what Pingora leaves to whoever uses it.
use super::{Attack, check_refused, house};
use crate::support::{
    attack::AFTER,
    client::{exchange, request_bytes},
    fixture::{House, good_bearer},
    upstream::Answer,
    wire::find,
};

/// What stands behind a request, for a second one to be made of it.
const BEHIND: &str = "GET /admin/behind HTTP/1.1\r\nHost: api.test\r\n\r\n";

/// A POST to a public route with these framing fields and this body.
fn post(hole: &'static str, fields: &str, body: &str) -> Attack {
    Attack::new(hole, format!("POST /public/x HTTP/1.1\r\nHost: api.test\r\n{fields}\r\n{body}"))
}

#[test]
fn two_lengths_or_two_codings_or_both_pingora_cve_2026_2835_and_cve_2025_4366() {
    let house = house();
    let hole = "a body that ends in two places";
    for (fields, body) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: identity\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked;a=b\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: \u{b}chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding:\r\n", "0\r\n\r\n"),
        ("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"),
        ("Content-Length: 3\r\nContent-Length: 4\r\n", "abcd"),
        ("Content-Length: 3, 3\r\n", "abc"),
        ("Content-Length: 003\r\n", "abc"),
        ("Content-Length: +3\r\n", "abc"),
        ("Content-Length: 0x3\r\n", "abc"),
        ("Content-Length: -3\r\n", "abc"),
        ("Content-Length:\r\n", "abc"),
        ("Content-Length: 18446744073709551616\r\n", "abc"),
    ] {
        let trace = post(hole, fields, &format!("{body}{BEHIND}")).send(&house);
        assert!(trace.is_refused() && trace.status() == Some(400), "{fields:?}: {:?}", trace.status());
        assert!(!trace.is_kept, "{fields:?}: the connection is kept");
    }
}

#[test]
fn http_1_0_with_a_transfer_encoding_pingora_cve_2026_2835() {
    let house = house();
    for fields in
        ["", "Connection: keep-alive\r\n", "Content-Length: 3\r\n", "Connection: keep-alive\r\nContent-Length: 3\r\n"]
    {
        let bytes = format!(
            "POST /public/x HTTP/1.0\r\nHost: api.test\r\n{fields}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{BEHIND}"
        );
        let trace = Attack::new("HTTP/1.0 knows no chunks", bytes).send(&house);
        assert!(trace.is_refused() && !trace.is_kept, "{fields:?}");
    }
}

#[test]
fn chunks_that_are_read_in_two_ways() {
    let hole = "what stands behind a size is read by some and passed over by others";
    let bodies = [
        "5 \r\nhello\r\n0\r\n\r\n",
        "5;\r\nhello\r\n0\r\n\r\n",
        "5;a[=b\r\nhello\r\n0\r\n\r\n",
        "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
    ];
    let attacks: Vec<Attack> =
        bodies.iter().map(|body| post(hole, "Transfer-Encoding: chunked\r\n", &format!("{body}{BEHIND}"))).collect();
    check_refused(&house(), 400, "request_malformed", &attacks);
}

#[test]
fn a_chunk_that_goes_wrong_later_ends_the_request_and_nobody_takes_it_for_whole() {
    let house = house();
    let mut client = house.gateway.connect();
    client.send("POST /public/x HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    // The first part is on its way before the other is sent.
    let arrived = crate::support::waiting::eventually(crate::support::waiting::PATIENCE, || {
        find(&house.upstream.take_bytes(), b"hello").map(|_| ())
    });
    assert!(arrived.is_some());
    client.send(format!("5 ;a\r\nworld\r\n0\r\n\r\n{BEHIND}"));
    let response = client.read("POST");
    assert_eq!((response.status, response.json()["reason"].as_str()), (400, Some("request_malformed")));
    assert!(client.rest().is_empty());
    assert_eq!(house.gateway.get(AFTER, &[]).status, 200);
    assert!(house.upstream.take().iter().all(|seen| seen.target() == AFTER), "a part was taken for the whole");
}

#[test]
fn lines_that_some_readers_see_and_others_do_not() {
    let house = house();
    let hole = "a line end that is none, or one that is";
    let rows: &[(&str, &str)] = &[
        ("a lone line feed", "GET /public/x HTTP/1.1\r\nHost: api.test\r\nX: y\nX-User-ID: a\r\n\r\n"),
        ("line feeds alone", "GET /public/x HTTP/1.1\nHost: api.test\nX-User-ID: a\n\n"),
        (
            "a head that ends in line feeds",
            "GET /public/x HTTP/1.1\r\nHost: api.test\n\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        ("a lone return", "GET /public/x HTTP/1.1\r\nHost: api.test\r\nX: y\rX-User-ID: a\r\n\r\n"),
        ("a folded line", "GET /public/x HTTP/1.1\r\nHost: api.test\r\nX: y\r\n X-User-ID: a\r\n\r\n"),
        ("a folded first line", "GET /public/x HTTP/1.1\r\n X-User-ID: a\r\nHost: api.test\r\n\r\n"),
        ("a space before the colon", "GET /public/x HTTP/1.1\r\nHost: api.test\r\nX-User-ID : a\r\n\r\n"),
        ("a tab before the colon", "GET /public/x HTTP/1.1\r\nHost: api.test\r\nX-User-ID\t: a\r\n\r\n"),
        ("a NUL in a name", "GET /public/x HTTP/1.1\r\nHost: api.test\r\nX-User-ID\0: a\r\n\r\n"),
        ("a NUL in a value", "GET /public/x HTTP/1.1\r\nHost: api.test\r\nX: a\0b\r\n\r\n"),
        ("a line without colon", "GET /public/x HTTP/1.1\r\nHost: api.test\r\nX-User-ID\r\n\r\n"),
        ("an empty name", "GET /public/x HTTP/1.1\r\nHost: api.test\r\n: a\r\n\r\n"),
        ("HTTP/0.9", "GET /public/x\r\n\r\n"),
        ("HTTP/1.2", "GET /public/x HTTP/1.2\r\nHost: api.test\r\n\r\n"),
        ("HTTP/01.1", "GET /public/x HTTP/01.1\r\nHost: api.test\r\n\r\n"),
        ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("two targets", "GET /public/x /admin HTTP/1.1\r\nHost: api.test\r\n\r\n"),
        ("a tab in the request line", "GET\t/public/x HTTP/1.1\r\nHost: api.test\r\n\r\n"),
        ("a method in lower case", "get /public/x HTTP/1.1\r\nHost: api.test\r\n\r\n"),
    ];
    for (name, bytes) in rows {
        let trace = Attack::new(hole, *bytes).send(&house);
        assert!(trace.is_refused() && trace.status() == Some(400), "{name}: {:?}", trace.status());
    }
    let long = format!("{} /public/x HTTP/1.1\r\nHost: api.test\r\n\r\n", "A".repeat(65));
    check_refused(&house, 400, "request_malformed", &[Attack::new("a method without end", long)]);
}

#[test]
fn trace_and_connect_open_nothing_envoy_cve_2025_64763() {
    let house = house();
    let token = good_bearer();
    for (method, target) in
        [("TRACE", "/public/x"), ("TRACE", "/orders/x"), ("CONNECT", "/public/x"), ("CONNECT", "api.test:80")]
    {
        let bytes = request_bytes(method, target, &[("Authorization", &token), ("Max-Forwards", "0")]);
        let response = exchange(house.gateway.address(), [bytes.as_slice(), BEHIND.as_bytes()].concat()).unwrap();
        assert_eq!(response.status, 405, "{method} {target}");
        assert!(!response.text().contains("Bearer"), "{method}: an echo");
        assert!(house.upstream.take_bytes().is_empty(), "{method} {target}");
    }
    assert_eq!(house.gateway.get(AFTER, &[]).status, 200);
}

#[test]
fn hop_by_hop_fields_stay_on_their_hop() {
    let house = house();
    let lines = [
        ("Connection", "keep-alive, X-Mine, TE"),
        ("X-Mine", "hop"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authorization", "Basic eDp5"),
        ("Proxy-Authenticate", "Basic"),
        ("Proxy", "http://evil.test"),
        ("TE", "trailers, gzip"),
        ("Trailer", "X-User-ID"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
    ];
    let trace = Attack::get("hop-by-hop fields", "/public/x", &lines).send(&house);
    assert_eq!(trace.status(), Some(200));
    for (name, _) in lines {
        assert!(trace.seen[0].head.folding_onto(name).is_empty(), "{name}: {:?}", trace.seen[0].head.fields);
    }
}

#[test]
fn a_body_that_waits_for_100_continue_is_judged_first() {
    let house = house();
    let expecting = |target: &str| {
        format!("POST {target} HTTP/1.1\r\nHost: api.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    };
    let mut client = house.gateway.connect();
    client.send(expecting("/orders/x"));
    let response = client.read("POST");
    assert_eq!((response.status, response.interim.len()), (401, 0));
    // What comes all the same is no request.
    client.send("GET / HTTP/1.1\r\nHost: api.test\r\n\r\n");
    assert!(client.try_read("GET").is_err());
    assert!(house.upstream.take_bytes().is_empty());
    let mut client = house.gateway.connect();
    client.send(expecting("/public/x"));
    client.send("hello");
    assert_eq!(client.read("POST").json()["body"], "hello");
}

#[test]
fn options_ends_at_the_gateway_where_it_says_so_and_after_it_was_judged() {
    let house = house();
    let options = |left: &str| {
        Attack::new("Max-Forwards", request_bytes("OPTIONS", "/public/x", &[("Max-Forwards", left)])).send(&house)
    };
    assert_eq!((options("0").status(), options("0").bytes.len()), (Some(204), 0));
    for (left, forwarded) in [("1", "0"), ("10", "9"), ("many", "many")] {
        assert_eq!(options(left).seen[0].head.values("Max-Forwards"), [forwarded]);
    }
    let get = Attack::get("Max-Forwards", "/public/x", &[("Max-Forwards", "0")]).send(&house);
    assert_eq!(get.seen[0].head.values("Max-Forwards"), ["0"], "it is about OPTIONS and TRACE alone");
}

#[test]
fn a_pipelined_request_is_never_forwarded_with_the_first() {
    let house: House = house();
    for first in [
        request_bytes("GET", "/public/x", &[]),
        b"POST /public/x HTTP/1.1\r\nHost: api.test\r\nContent-Length: 2\r\n\r\nhi".to_vec(),
        b"POST /public/x HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n".to_vec(),
        request_bytes("GET", "/public/x", &[("Connection", "Upgrade"), ("Upgrade", "websocket")]),
        request_bytes("GET", "/public/x", &[("Connection", "Upgrade"), ("Upgrade", "foo")]),
    ] {
        let mut client = house.gateway.connect();
        client.send([first.as_slice(), BEHIND.as_bytes()].concat());
        let rest = String::from_utf8(client.rest()).unwrap();
        assert_eq!(rest.matches("HTTP/1.1 ").count(), 1, "{rest}");
        let bytes = house.upstream.take_bytes();
        assert!(find(&bytes, b"/admin/behind").is_none(), "{:?}", String::from_utf8_lossy(&bytes));
    }
    house.upstream.set_answer(Answer::Echo);
    assert_eq!(house.gateway.get(AFTER, &[]).status, 200);
}
