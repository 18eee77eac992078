//! What a broken or compromised service sends back: nothing of it may reach another client, or pass for the gateway's word.
use super::house;
use crate::support::{attack::AFTER, client::Response, fixture::House, problem::check_problem, upstream::Answer};

/// Lets the upstream answer with these bytes; then the connection and the upstream must serve as before.
fn answer(house: &House, bytes: &[u8], headers: &[(&str, &str)]) -> Response {
    house.upstream.set_answer(Answer::BytesThenClose(bytes.to_vec()));
    let mut client = house.gateway.connect();
    let response = client.get("/public/x", headers);
    house.upstream.set_answer(Answer::Echo);
    if response.header("Connection") != Some("close") && response.status != 101 {
        let next = client.get(AFTER, &[]);
        assert_eq!(next.json()["target"], AFTER, "{:?}: another answer", String::from_utf8_lossy(bytes));
    }
    assert_eq!(house.gateway.get(AFTER, &[]).json()["target"], AFTER);
    response
}

#[test]
fn a_response_that_is_none_or_ends_in_two_places_is_502() {
    let house = house();
    for bytes in [
        "no status line at all\r\n",
        "\u{16}\u{3}\u{1}\r\n\r\n",
        "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 1000 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 a\u{1}b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n",
    ] {
        check_problem(&answer(&house, bytes.as_bytes(), &[]), 502, "upstream_unreachable", "GET");
    }
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(2 << 20));
    check_problem(&answer(&house, endless.as_bytes(), &[]), 502, "upstream_unreachable", "GET");
}

#[test]
fn a_response_that_can_be_put_right_reaches_the_client_in_one_way() {
    let house = house();
    for (bytes, length, body) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", vec!["5"], "hello"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", vec!["5"], "hello"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            vec![],
            "ok",
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", vec![], "ok"),
        ("HTTP/1.1 200 OK\r\n\r\nto the end", vec![], "to the end"),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", vec![], "ok"),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", vec![], ""),
        ("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", vec![], ""),
    ] {
        let response = answer(&house, bytes.as_bytes(), &[]);
        assert!(matches!(response.status, 200 | 204), "{bytes:?}: {}", response.status);
        assert_eq!((response.head.values("Content-Length"), response.text().as_str()), (length, body), "{bytes:?}");
        let codings = response.head.values("Transfer-Encoding");
        assert!(
            codings.is_empty() || codings.len() == 1 && response.head.values("Content-Length").is_empty(),
            "{bytes:?}"
        );
        assert!(response.status != 204 || codings.is_empty(), "{bytes:?}");
    }
}

#[test]
fn a_body_that_breaks_off_is_not_taken_for_whole() {
    let house = house();
    for bytes in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
    ] {
        house.upstream.set_answer(Answer::BytesThenClose(bytes.into()));
        let mut client = house.gateway.connect();
        client.send(crate::support::client::request_bytes("GET", "/public/x", &[]));
        assert!(client.try_read("GET").is_err(), "{bytes:?}: it looks whole");
    }
    house.upstream.set_answer(Answer::Echo);
    assert_eq!(house.gateway.get(AFTER, &[]).status, 200);
}

#[test]
fn fields_of_the_hop_and_of_the_gateway_stay_behind() {
    let house = house();
    let head = "HTTP/1.1 200 OK\r\nConnection: X-Mine, Content-Length, close\r\nX-Mine: hop\r\nKeep-Alive: timeout=9\r\n\
        Proxy-Authenticate: Basic\r\nProxy-Connection: close\r\nTE: gzip\r\nTrailer: X-User-ID\r\nUpgrade: h2c\r\n\
        X-User-ID: admin\r\nx_user_roles: admin\r\nX.User.Scopes: all\r\nX-Request-Id: mine\r\nX-Kept: yes\r\n\
        Content-Length: 2\r\n\r\nok";
    let response = answer(&house, head.as_bytes(), &[]);
    assert_eq!((response.status, response.text().as_str(), response.header("X-Kept")), (200, "ok", Some("yes")));
    for name in [
        "X-Mine",
        "Keep-Alive",
        "Proxy-Authenticate",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Upgrade",
        "X-User-ID",
        "X-User-Roles",
        "X-User-Scopes",
    ] {
        assert!(response.head.folding_onto(name).is_empty(), "{name}: {:?}", response.head.fields);
    }
    assert_ne!(response.header("X-Request-Id"), Some("mine"));
    assert_eq!(response.head.values("X-Request-Id").len(), 1);
}

#[test]
fn interim_responses_carry_nothing_that_a_final_one_may_not() {
    let house = house();
    let bytes = "HTTP/1.1 103 Early Hints\r\nX-User-ID: admin\r\nConnection: X-Mine\r\nX-Mine: hop\r\nLink: </a>\r\nContent-Length: 7\r\n\r\n\
        HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    house.upstream.set_answer(Answer::BytesThenClose(bytes.into()));
    let mut client = house.gateway.connect();
    client.send("GET /public/x HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n");
    let all = String::from_utf8(client.rest()).unwrap();
    let (interim, rest) = all.split_once("\r\n\r\n").unwrap();
    assert!(interim.starts_with("HTTP/1.1 103 ") && interim.contains("Link: </a>"), "{interim}");
    for name in ["x-user-id", "connection", "x-mine", "content-length"] {
        assert!(!interim.to_ascii_lowercase().contains(&format!("\n{name}:")), "{name}: {interim}");
    }
    assert!(rest.ends_with("\r\n\r\nok"), "{rest}");
}

#[test]
fn a_trailer_of_the_upstream_tells_no_client_who_it_is() {
    let house = house();
    let bytes = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-User-ID\r\n\r\n2\r\nok\r\n0\r\nX-User-ID: admin\r\n\r\n";
    house.upstream.set_answer(Answer::BytesThenClose(bytes.into()));
    let mut client = house.gateway.connect();
    client.send("GET /public/x HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n");
    let all = String::from_utf8(client.rest()).unwrap();
    assert!(all.ends_with("\r\n0\r\n\r\n") && !all.contains("admin"), "{all}");
}

#[test]
fn a_protocol_is_switched_only_to_the_one_that_was_asked_for() {
    let house = house();
    let websocket = [("Connection", "Upgrade"), ("Upgrade", "websocket")];
    let switch = |chosen: &str| format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n{chosen}\r\n");
    for (asked, chosen) in [
        (&websocket[..], "Upgrade: h2c\r\n"),
        (&websocket, ""),
        (&websocket, "Upgrade: websocket\r\nUpgrade: h2c\r\n"),
        (&websocket, "Upgrade: websocket, h2c\r\n"),
        (&[("Connection", "Upgrade"), ("Upgrade", "h2c")], "Upgrade: h2c\r\n"),
        (&[("Connection", "Upgrade"), ("Upgrade", "h2c, websocket")], "Upgrade: websocket\r\n"),
        (&[("Connection", "Upgrade"), ("Upgrade", "foo")], "Upgrade: foo\r\n"),
        (&[("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Upgrade", "h2c")], "Upgrade: websocket\r\n"),
        (&[("Connection", "Upgrade"), ("Upgrade", "h2c"), ("Upgrade", "websocket")], "Upgrade: websocket\r\n"),
        (&[], "Upgrade: websocket\r\n"),
    ] {
        let response = answer(&house, switch(chosen).as_bytes(), asked);
        check_problem(&response, 502, "upstream_unreachable", "GET");
    }
    assert_eq!(answer(&house, switch("Upgrade: WebSocket\r\n").as_bytes(), &websocket).status, 101);
    house.upstream.set_answer(Answer::BytesThenClose(switch("Upgrade: websocket\r\n").into()));
    let mut client = house.gateway.connect();
    let post = client.request("POST", "/public/x", &websocket);
    check_problem(&post, 502, "upstream_unreachable", "POST");
}
