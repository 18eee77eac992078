//! Where a request ends: what could be cut in two ways is refused, and nothing behind it is ever read as a request.
use crate::support::{
    client::Client,
    fixture::House,
    problem::check_problem,
    upstream::{Answer, Upstream},
};

const ROUTES: &str = "  - {name: all, path_prefix: /, auth: none, upstream: echo}\n";

/// What whoever stands in front might have counted to the body.
const BEHIND: &str = "GET /behind HTTP/1.1\r\nHost: api.test\r\n\r\n";

/// Sends a POST with these framing fields and this body; it must be refused and the connection closed.
fn check_refused(house: &House, fields: &str, body: &str) {
    let mut client = house.gateway.connect();
    client.send(format!("POST /x HTTP/1.1\r\nHost: api.test\r\n{fields}\r\n\r\n{body}"));
    let response = client.read("POST");
    assert_eq!(response.status, 400, "{fields:?}: {}", response.text());
    assert_eq!(response.header("Connection"), Some("close"), "{fields:?}");
    client.send(BEHIND);
    assert!(client.try_read("GET").is_err(), "{fields:?}: another answer");
    assert!(house.upstream.take().is_empty(), "{fields:?}: the upstream saw it");
}

#[test]
fn a_body_whose_end_is_told_in_two_ways_is_refused() {
    let house = House::start("", ROUTES);
    for fields in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "transfer-encoding: chunked\r\ncontent-length: 4",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
    ] {
        check_refused(&house, fields, "0\r\n\r\n");
    }
    for fields in [
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: 0x5",
        "Content-Length: 18446744073709551616",
    ] {
        check_refused(&house, fields, "01234");
    }
}

#[test]
fn a_framing_that_was_refused_is_logged_as_malformed() {
    let house = House::start("", ROUTES);
    let mut client = house.gateway.connect();
    client
        .send("POST /x HTTP/1.1\r\nHost: api.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    let request_id = check_problem(&client.read("POST"), 400, "request_malformed", "POST");
    assert_eq!(house.gateway.access_line(&request_id)["status"], 400);
}

#[test]
fn a_chunked_body_alone_passes_and_the_connection_serves_on() {
    let house = House::start("", ROUTES);
    let mut client = house.gateway.connect();
    client.send(
        "POST /content-length:4 HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    );
    assert_eq!(client.read("POST").json()["body"], "hi");
    assert_eq!(client.get("/next", &[]).status, 200);
}

#[test]
fn a_client_that_does_not_know_persistent_connections_sees_the_end() {
    let upstream = Upstream::start();
    upstream.set_answer(Answer::Bytes(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n".to_vec(),
    ));
    let gateway = crate::support::fixture::builder("", ROUTES, &upstream).start();
    let mut client = Client::connect(gateway.address());
    client.send("GET /x HTTP/1.0\r\nHost: api.test\r\n\r\n");
    let response = client.read("GET");
    assert_eq!((response.status, response.text().as_str()), (200, "hi"));
    assert_eq!(response.header("Connection"), Some("close"));
    assert!(client.rest().is_empty());
}
