//! HTTP/2 without TLS to Node's own server. Over TLS it is spoken in `certificates`, where there are certificates.
use std::thread;

use super::{builder, get, send, wait_for};
use crate::support::{gateway::Gateway, http2_server::Http2Server, upstream::Upstream};

fn started(server: &Http2Server, more: &str) -> Gateway {
    builder(&format!("{{servers: [\"{}\"], protocol: h2c{more}}}", server.address())).start()
}

#[test]
fn requests_of_every_kind_reach_a_server_of_http2_with_their_identity() {
    let Some(server) = Http2Server::start(None) else { return };
    let gateway = started(&server, "");
    let mut client = gateway.connect();
    for (method, body) in [("GET", ""), ("POST", "content"), ("DELETE", ""), ("PUT", "content")] {
        let response = send(&mut client, method, "/orders?a=b", "one", body);
        assert_eq!(response.status, 200, "{}", response.text());
        let seen = response.json();
        assert_eq!(
            (&seen["method"], &seen["path"], &seen["body"]),
            (&method.into(), &"/orders?a=b".into(), &body.into())
        );
        assert_eq!(
            (&seen["authority"], &seen["scheme"], &seen["user"]),
            (&"api.test".into(), &"http".into(), &"u1".into())
        );
    }
    assert_eq!(server.sessions(), 1);
}

#[test]
fn many_requests_at_once_share_a_connection() {
    let Some(server) = Http2Server::start(None) else { return };
    let gateway = started(&server, "");
    assert_eq!(get(&gateway).status, 200);
    thread::scope(|scope| {
        // None is answered before all are there.
        let clients: Vec<_> = (0..10)
            .map(|number| {
                let gateway = &gateway;
                scope.spawn(move || send(&mut gateway.connect(), "GET", "/slow", &number.to_string(), ""))
            })
            .collect();
        for client in clients {
            assert_eq!(client.join().unwrap().status, 200);
        }
    });
    let sessions = server.sessions();
    assert!(sessions <= 5, "{sessions} connections for 11 requests");
}

#[test]
fn a_stream_that_the_server_refused_unprocessed_is_sent_again_whatever_its_method() {
    let Some(server) = Http2Server::start(None) else { return };
    let gateway = started(&server, "");
    for (number, (method, body)) in [("GET", ""), ("POST", "content"), ("PATCH", "content")].into_iter().enumerate() {
        let response = send(&mut gateway.connect(), method, "/refuse", "", body);
        assert_eq!(response.status, 200, "{method}: {}", response.text());
        assert_eq!(response.json()["body"], body);
        assert_eq!((server.refused().len(), server.seen().len()), (number + 1, number + 1));
    }
}

#[test]
fn a_server_that_ends_its_connections_in_order_loses_no_request() {
    let Some(server) = Http2Server::start(None) else { return };
    let gateway = started(&server, "");
    let mut client = gateway.connect();
    for number in 0..10 {
        for (method, target, body) in [("GET", "/last", ""), ("POST", "/orders", "content")] {
            let response = send(&mut client, method, target, &number.to_string(), body);
            assert_eq!(response.status, 200, "{}", response.text());
        }
    }
    assert_eq!(server.seen().len(), 20);
    assert!(server.sessions() >= 10);
}

#[test]
fn a_server_of_http2_is_checked_in_its_own_protocol() {
    let Some(server) = Http2Server::start(None) else { return };
    let plain = Upstream::start();
    let echo = format!(
        "{{servers: [\"{}\", \"{}\"], protocol: h2c, health_check: {{path: /healthz, interval: 100ms, timeout: 500ms}}}}",
        server.address(),
        plain.address()
    );
    let gateway = builder(&echo).start();
    wait_for(&gateway, "it is checked", || !server.seen().is_empty());
    assert_eq!(server.seen()[0]["path"], "/healthz");
    wait_for(&gateway, "the other speaks no HTTP/2", || !super::is_healthy(&gateway, &plain.address().to_string()));
    for _ in 0..10 {
        assert_eq!(get(&gateway).status, 200);
    }
}

#[test]
fn a_server_that_speaks_no_http2_is_unreachable() {
    let plain = Upstream::start();
    let gateway =
        builder(&format!("{{servers: [\"{}\"], protocol: h2c, timeouts: {{read: 500ms}}}}", plain.address())).start();
    let response = get(&gateway);
    assert!([502, 504].contains(&response.status), "{}", response.text());
}
