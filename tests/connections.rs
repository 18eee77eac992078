//! Connections: when they are kept, how messages are told apart on them, and that nobody's next request pays for the last one.
use std::time::Duration;

use crate::support::{
    client::{Client, exchange, request_bytes},
    fixture::House,
    problem::check_problem,
    upstream::Answer,
};

const ROUTES: &str = r#"
  - {name: public, path_prefix: /public, auth: none, upstream: echo}
  - {name: mine, path_prefix: /mine, upstream: echo}
  - {name: hasty, path_prefix: /hasty, auth: none, timeout: 400ms, upstream: echo}
"#;
/// Longer than the route `hasty` waits.
const PAUSE: Duration = Duration::from_millis(1200);

/// Sends a request and gives all that comes back until the gateway closes, which it must do.
fn answer_until_close(house: &House, request: &str) -> String {
    let mut client = house.gateway.connect();
    client.send(request);
    String::from_utf8(client.rest()).unwrap()
}

#[test]
fn a_client_of_http_1_0_is_not_kept_waiting_unless_it_asks_to() {
    let house = House::start("", ROUTES);
    for target in ["/public", "/mine"] {
        let answer = answer_until_close(&house, &format!("GET {target} HTTP/1.0\r\nHost: api.test\r\n\r\n"));
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    }
    let mut client = house.gateway.connect();
    for _ in 0..2 {
        client.send("GET /public HTTP/1.0\r\nHost: api.test\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(client.read("GET").header("Connection"), Some("keep-alive"));
    }
}

#[test]
fn a_client_of_http_1_0_gets_neither_chunks_nor_interim_responses() {
    let house = House::start("", ROUTES);
    let chunked = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
        HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    house.upstream.set_answer(Answer::Bytes(chunked.to_vec()));
    for more in ["", "Connection: keep-alive\r\n"] {
        let answer = answer_until_close(&house, &format!("GET /public HTTP/1.0\r\nHost: api.test\r\n{more}\r\n"));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(!head.contains("Transfer-Encoding") && head.contains("Connection: close"), "{head}");
        assert_eq!(body, "hello");
    }
    let response = house.gateway.get("/public", &[]);
    assert_eq!((response.text().as_str(), response.interim), ("hello", vec![103]));
}

#[test]
fn a_response_is_told_in_our_own_version() {
    let house = House::start("", ROUTES);
    house.upstream.set_answer(Answer::BytesThenClose(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()));
    let mut client = house.gateway.connect();
    for _ in 0..2 {
        let response = client.get("/public", &[]);
        assert_eq!((response.head.start.as_str(), response.text().as_str()), ("HTTP/1.1 200 OK", "ok"));
    }
    house.upstream.set_answer(Answer::BytesThenClose(b"HTTP/1.0 200 OK\r\n\r\nto the end".to_vec()));
    let response = client.get("/public", &[]);
    assert_eq!((response.head.start.as_str(), response.text().as_str()), ("HTTP/1.1 200 OK", "to the end"));
}

#[test]
fn a_request_that_two_readers_would_end_in_two_places_is_refused_and_the_connection_closed() {
    let house = House::start("", ROUTES);
    for fields in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\ncontent-LENGTH: 10",
        "Content-Length: 10\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked",
    ] {
        let mut client = house.gateway.connect();
        client.send(format!("POST /public HTTP/1.1\r\nHost: api.test\r\n{fields}\r\n\r\n3\r\nabc\r\n0\r\n\r\n"));
        let response = client.read("POST");
        check_problem(&response, 400, "request_malformed", "POST");
        assert_eq!(response.header("Connection"), Some("close"), "{fields}");
        client.send(request_bytes("GET", "/public/next", &[]));
        assert!(client.rest().is_empty(), "{fields}: another request was answered");
    }
    assert!(house.upstream.take().is_empty());
}

/// One GET that must be answered by the echo, with its own target.
fn check_innocent(client: &mut Client) {
    let response = client.get("/public/innocent", &[]);
    assert_eq!((response.status, response.json()["target"].as_str()), (200, Some("/public/innocent")));
}

#[test]
fn what_an_upstream_sends_behind_its_response_reaches_nobody() {
    let house = House::start("", ROUTES);
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n",
    ] {
        house.upstream.set_answer(Answer::Bytes(format!("{response}{poison}").into_bytes()));
        let mut client = house.gateway.connect();
        assert!(client.get("/public/first", &[]).status < 400, "{response}");
        house.upstream.set_answer(Answer::Echo);
        check_innocent(&mut client);
        check_innocent(&mut house.gateway.connect());
    }
}

#[test]
fn a_head_that_cannot_be_parsed_is_answered_counted_and_logged() {
    let house = House::start("", ROUTES);
    for (count, bytes) in [
        "\u{16}\u{3}\u{1}\u{2}\r\n\r\n",
        "GET /public HTTP/1.1\r\nHost : api.test\r\n\r\n",
        "GET /public HTTP/1.1\r\nHost: api.test\r\nContent-Length: many\r\n\r\n",
        "GET /public HTTP/1.2\r\nHost: api.test\r\n\r\n",
        "GET /public HTTP/3.0\r\nHost: api.test\r\n\r\n",
        "GET /public\r\nHost: api.test\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "G\u{0}T /public HTTP/1.1\r\nHost: api.test\r\n\r\n",
        "GET /public HTTP/1.1\r\nHost: api.test\r\n folded: line\r\n\r\n",
        "GET /public HTTP/1.1\r\nno colon\r\n\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = house.gateway.connect();
        // Also as a further request of a connection that was used well.
        check_innocent(&mut client);
        client.send(bytes);
        let response = client.read("GET");
        assert_eq!((response.status, response.text().as_str()), (400, ""), "{bytes:?}");
        assert!(client.rest().is_empty(), "{bytes:?}");
        let counted = house.gateway.metric(|line| {
            line.starts_with("portcullis_http_requests_total")
                && ["route=\"-\"", "method=\"other\"", "code=\"400\""].iter().all(|label| line.contains(label))
        });
        assert_eq!(counted, f64::from(u8::try_from(count + 1).unwrap()), "{bytes:?}");
    }
    let line = house.gateway.log_line(|line| line["auth"]["reason"] == "request_malformed").unwrap();
    assert_eq!((&line["route"], &line["status"], &line["client_ip"]), (&"-".into(), &400.into(), &"127.0.0.1".into()));
    let account = house.gateway.stop();
    let told = account.stdout.lines().filter(|line| line.contains("request_malformed")).count();
    assert_eq!((told, account.stdout.lines().count()), (10, 20), "{}", account.stdout);
}

#[test]
fn the_timeout_of_a_route_is_for_the_head_of_the_response_alone() {
    let house = House::start("", ROUTES);
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
    house.upstream.set_answer(Answer::BytesInTwo(head.into(), PAUSE, "world".into()));
    assert_eq!(house.gateway.get("/hasty", &[]).text(), "helloworld");

    let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello";
    house.upstream.set_answer(Answer::BytesInTwo(head.into(), PAUSE, "world".into()));
    let mut client = house.gateway.connect();
    let upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket")];
    assert_eq!(client.get("/hasty", &upgrade).status, 101);
    assert_eq!(client.rest(), b"helloworld");
}

#[test]
fn a_head_that_comes_in_pieces_has_no_more_time_than_one_that_does_not_come() {
    let house = House::start("", ROUTES);
    for first in ["", "HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-"] {
        let rest = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        house.upstream.set_answer(Answer::BytesInTwo(first.into(), PAUSE, rest.into()));
        let response = exchange(house.gateway.address(), request_bytes("GET", "/hasty", &[])).unwrap();
        let request_id = check_problem(&response, 504, "upstream_timeout", "GET");
        assert_eq!(house.gateway.access_line(&request_id)["auth"]["reason"], "upstream_timeout");
    }
    house.upstream.set_answer(Answer::Echo);
    check_innocent(&mut house.gateway.connect());
}

#[test]
fn what_a_route_answers_by_itself_has_the_fields_that_it_wants_on_responses() {
    let routes = r#"
  - {name: fixed, path: /fixed, auth: none, respond: {status: 200, body: hello}, response_headers: {set: {X-Env: prod}, remove: [Content-Type]}}
  - {name: empty, path: /empty, auth: none, respond: {status: 204}, response_headers: {set: {X-Env: prod}}}
"#;
    let house = House::start("", routes);
    for (path, status, length) in [("/fixed", 200, Some("5")), ("/empty", 204, None)] {
        let response = house.gateway.get(path, &[]);
        assert_eq!((response.status, response.header("Content-Length")), (status, length), "{path}");
        assert_eq!((response.header("X-Env"), response.header("Content-Type")), (Some("prod"), None), "{path}");
        assert!(response.header("X-Request-Id").is_some(), "{path}");
    }
}
