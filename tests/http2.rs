//! HTTP/2 of clients, by TLS and in clear: the gate's rules hold as in HTTP/1.1, and no connection costs more than its share.
use std::{process::Command, thread, time::Duration};

use crate::support::{
    certificates::Authority,
    client::{Client, Response},
    fixture::{self, House, good_bearer, signing_key},
    gateway::Gateway,
    http2::{Http2, beginning, fields, frame, frames, head},
    peers::require_program,
    problem::check_problem,
    process,
    tls::{TlsClient, TlsDoor},
    token::{Token, bearer},
    upstream::{Answer, Upstream},
    waiting::{PATIENCE, eventually},
    wire::Wire,
};

const ROUTES: &str = "  - {name: public, path_prefix: /public, auth: none, upstream: echo}\n  \
                      - {name: orders, path_prefix: /orders, upstream: echo}\n  \
                      - {name: admin, path_prefix: /orders/admin, upstream: echo, require: {roles: [admin]}}\n";

const BASE: &str = "https://api.test";

/// A gateway with TLS, a client's door to it, and the upstream.
struct Site {
    door: TlsDoor,
    house: House,
}

impl Site {
    fn start(more: &str) -> Self {
        let (upstream, authority) = (Upstream::start(), Authority::new("root"));
        let listener =
            "address: \"{listen}\", tls: {certificates: [{certificate_file: web.pem, private_key_file: web.key}]}";
        let config = fixture::config(more, ROUTES).replace("address: \"{listen}\"", listener);
        let issued = authority.server(&["api.test"]);
        let gateway = Gateway::builder(config)
            .set("upstream", upstream.address())
            .file("keys.json", fixture::keys_file())
            .file("web.pem", issued.certificate)
            .file("web.key", issued.key)
            .start();
        let door = TlsClient::new(authority.certificate(), "api.test").for_http2().front(gateway.address());
        Self { door, house: House { gateway, upstream } }
    }

    fn client(&self) -> Http2 {
        Http2::connect(self.door.address()).unwrap()
    }
}

/// A gateway that speaks HTTP/2 without TLS.
fn clear(more: &str) -> House {
    clear_before("", more)
}

/// The same, with further keys of the upstream.
fn clear_before(of_upstream: &str, more: &str) -> House {
    let upstream = Upstream::start();
    let servers = "servers: [\"{upstream}\"]";
    let config = fixture::config(more, ROUTES).replace(servers, &format!("{servers}{of_upstream}"));
    let config = config.replace("address: \"{listen}\"", "address: \"{listen}\", http2: true");
    let builder = Gateway::builder(config).set("upstream", upstream.address()).file("keys.json", fixture::keys_file());
    House { gateway: builder.start(), upstream }
}

#[test]
fn the_rules_of_the_gate_hold_over_http2() {
    let site = Site::start("");
    let good = good_bearer();
    let auth = ("authorization", good.as_str());
    let expired = bearer(&Token::good().claim("exp", 1_000_000_000).signed_by(signing_key()));
    let long = "a".repeat(9000);
    type Row<'r> = (&'r str, &'r str, &'r [(&'r str, &'r str)], u16, &'r str);
    let rows: &[Row<'_>] = &[
        ("GET", "/orders", &[], 401, "token_missing"),
        ("GET", "/orders", &[("authorization", &expired)], 401, "token_expired"),
        ("GET", "/orders", &[auth, auth], 400, "token_repeated"),
        ("GET", "/orders", &[("authorization", "Bearer x")], 401, "token_malformed"),
        ("GET", "/orders/admin", &[auth], 403, "role_missing"),
        ("GET", "/orders/%61dmin", &[auth], 403, "role_missing"),
        ("GET", "/public/../orders", &[], 400, "path_ambiguous"),
        ("GET", "/public/%2e%2e/orders", &[], 400, "path_ambiguous"),
        ("GET", "/orders/%2", &[auth], 400, "path_ambiguous"),
        ("GET", "/nowhere", &[], 404, "route_not_found"),
        ("TRACE", "/public", &[], 405, "method_not_allowed"),
        ("get", "/public", &[], 400, "request_malformed"),
        ("GET", &long, &[], 414, "uri_too_long"),
        ("GET", "/public", &[("host", "other.test")], 400, "request_malformed"),
        ("GET", "/public", &[("x-a", &long), ("x-b", &long), ("x-c", &long), ("x-d", &long)], 431, "header_too_large"),
    ];
    let mut client = site.client();
    for (method, path, fields, status, reason) in rows {
        let path = if path.starts_with('/') { (*path).to_owned() } else { format!("/public/{path}") };
        let Some(response) = client.request(method, &format!("{BASE}{path}"), fields, None, &[]) else {
            panic!("{method} {path} {fields:?} was not answered");
        };
        // Pingora answers by itself where the authorities differ.
        if *reason == "request_malformed" && response.body.is_empty() {
            assert_eq!(response.status, *status, "{method} {path}");
        } else {
            check_problem(&response, *status, reason, method);
        }
    }
    assert!(site.house.upstream.take().is_empty());
    assert_eq!(client.get(&format!("{BASE}/orders"), &[auth]).map(|response| response.status), Some(200));
}

#[test]
fn what_a_client_says_of_itself_leaves_and_the_rest_arrives() {
    let site = Site::start("");
    let good = good_bearer();
    let mut client = site.client();
    let forged = [
        ("authorization", good.as_str()),
        ("x-user-id", "root"),
        ("x_user_id", "root"),
        ("x.user.id", "root"),
        ("x-auth-request-user", "root"),
        ("client-cert", ":AAAA:"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("forwarded", "for=10.0.0.1;proto=http"),
        ("x-request-id", "mine"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("cookie", "c=3"),
        ("te", "trailers"),
        ("x-kept", "yes"),
    ];
    let trailers = [("x-user-id", "root"), ("x-other", "late")];
    let response = client.request("POST", &format!("{BASE}/orders/1?q=2"), &forged, Some(b"hello"), &trailers).unwrap();
    assert_eq!(response.status, 200, "{}", response.text());
    let seen = site.house.upstream.take();
    let head = &seen[0].head;
    assert_eq!(head.start, "POST /orders/1?q=2 HTTP/1.1");
    assert_eq!(seen[0].body, b"hello");
    for (name, values) in [
        ("host", vec!["api.test"]),
        ("x-user-id", vec!["u1"]),
        ("cookie", vec!["a=1; b=2; c=3"]),
        ("x-kept", vec!["yes"]),
        ("x-forwarded-for", vec!["127.0.0.1"]),
        ("x-forwarded-proto", vec!["https"]),
        ("x-forwarded-host", vec!["api.test"]),
        ("forwarded", vec!["for=127.0.0.1;host=\"api.test\";proto=https"]),
        ("via", vec!["2.0 portcullis"]),
        ("authorization", vec![]),
        ("te", vec![]),
        ("client-cert", vec![]),
        ("x-auth-request-user", vec![]),
    ] {
        assert_eq!(head.values(name), values, "{name}: {head:?}");
    }
    assert_eq!(head.folding_onto("X-User-ID").len(), 1);
    assert!(!seen[0].contains("root") && !seen[0].contains("late") && !seen[0].contains(":authority"));
}

#[test]
fn a_body_over_the_limit_is_refused_over_http2_too() {
    let site = Site::start("limits: {body_bytes: 1KiB}");
    let (mut client, body) = (site.client(), vec![b'x'; 2000]);
    let announced = [("content-length", "2000")];
    for fields in [&announced[..], &[]] {
        let response = client.request("POST", &format!("{BASE}/public"), fields, Some(&body), &[]).unwrap();
        check_problem(&response, 413, "body_too_large", "POST");
    }
    assert_eq!(client.get(&format!("{BASE}/public"), &[]).unwrap().status, 200);
}

/// Sends frames on a connection in clear, and gives all that comes back until the server ends it.
fn answer_to(house: &House, sent: &[u8]) -> Vec<(u8, u8, u32, Vec<u8>)> {
    let mut wire = Wire::connect(house.gateway.address()).unwrap();
    wire.send(&beginning()).unwrap();
    // The server may end the connection before all was sent.
    let _ = wire.send(sent);
    frames(&wire.read_to_end().unwrap_or_default())
}

#[test]
fn requests_that_are_malformed_as_frames_reach_nobody() {
    let house = clear("limits: {keepalive_timeout: 1s}");
    let with = |more: &[(&str, &str)]| head(1, "/public", more, true);
    let mut lengths = frame(
        1,
        4,
        1,
        &fields(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/public"),
            (":authority", "api.test"),
            ("content-length", "0"),
        ]),
    );
    lengths.extend(frame(0, 1, 1, b"GET /orders HTTP/1.1\r\nHost: a\r\n\r\n"));
    let pseudo = |all: &[(&str, &str)]| frame(1, 5, 1, &fields(all));
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("a line end in a value", with(&[("x-a", "b\r\nx-user-id: root")])),
        ("a NUL in a value", with(&[("x-a", "b\0c")])),
        ("a name in upper case", with(&[("X-User-ID", "root")])),
        ("a name with a colon", with(&[("x:a", "b")])),
        ("Transfer-Encoding", with(&[("transfer-encoding", "chunked")])),
        ("Connection", with(&[("connection", "x-user-id")])),
        ("Upgrade", with(&[("upgrade", "h2c")])),
        ("TE", with(&[("te", "gzip")])),
        ("a body longer than it says", lengths),
        ("two lengths", with(&[("content-length", "0"), ("content-length", "1")])),
        ("a pseudo header after others", with(&[("x-a", "b"), (":path", "/orders")])),
        ("two paths", with(&[(":path", "/orders")])),
        ("an unknown pseudo header", with(&[(":protocol", "websocket")])),
        ("no path", pseudo(&[(":method", "GET"), (":scheme", "http"), (":authority", "api.test")])),
        (
            "an empty path",
            pseudo(&[(":method", "GET"), (":scheme", "http"), (":path", ""), (":authority", "api.test")]),
        ),
        ("no method", pseudo(&[(":scheme", "http"), (":path", "/public"), (":authority", "api.test")])),
        ("two hosts", with(&[("host", "other.test")])),
        ("a line end in the path", head(1, "/public\r\nx: y", &[], true)),
        ("a space in the path", head(1, "/public /orders", &[], true)),
        ("no authority", pseudo(&[(":method", "GET"), (":scheme", "http"), (":path", "/public")])),
    ];
    for (what, sent) in rows {
        let came = answer_to(&house, &sent);
        // 200 is the eighth entry of the static table (RFC 7541, appendix A).
        let passed =
            came.iter().any(|(kind, _, stream, payload)| *kind == 1 && *stream == 1 && payload.first() == Some(&0x88));
        assert!(!passed, "{what}: {came:?}");
        if what.starts_with("a body") {
            // The head was whole, and what follows it was forwarded to nobody.
            let bytes = String::from_utf8_lossy(&house.upstream.take_bytes()).into_owned();
            assert!(!bytes.contains("/orders"), "{what}: {bytes}");
            house.upstream.take();
        }
        assert!(house.upstream.take().is_empty(), "{what}");
    }
    let came = answer_to(&house, &with(&[("x-a", "b")]));
    assert!(came.iter().any(|(kind, _, stream, payload)| *kind == 1 && *stream == 1 && payload.first() == Some(&0x88)));
    assert_eq!(house.upstream.take().len(), 1);
}

#[test]
fn floods_of_frames_end_their_connection_and_nothing_else() {
    let house = clear("limits: {keepalive_timeout: 5s}");
    house.upstream.set_answer(Answer::Echo);
    let served = || assert_eq!(house.gateway.get("/public", &[]).status, 200);
    // Streams that are taken back as soon as they are opened (CVE-2023-44487).
    let mut resets = Vec::new();
    for number in 0..5000 {
        resets.extend(head(1 + 2 * number, "/public", &[], true));
        resets.extend(frame(3, 0, 1 + 2 * number, &8_u32.to_be_bytes()));
    }
    answer_to(&house, &resets);
    served();
    let begun = house.upstream.take().len();
    assert!(begun < 400, "{begun} requests were begun");
    // A head without end (CVE-2024-27316).
    let mut endless = frame(1, 0, 1, &fields(&[(":method", "GET"), (":scheme", "http"), (":path", "/public")]));
    let filler = "a".repeat(120);
    let part = fields(&[("x-filler", filler.as_str()); 100]);
    (0..2000).for_each(|_| endless.extend(frame(9, 0, 1, &part)));
    let came = answer_to(&house, &endless);
    assert!(came.iter().any(|(kind, ..)| *kind == 7 || *kind == 3) || came.len() < 10, "{came:?}");
    served();
    // And one of empty parts.
    let mut empty = frame(1, 0, 1, &fields(&[(":method", "GET")]));
    (0..200_000).for_each(|_| empty.extend(frame(9, 0, 1, &[])));
    answer_to(&house, &empty);
    served();
    // What the server makes a client's fault (CVE-2025-8671): windows that overflow.
    let mut provoked = Vec::new();
    for number in 0..3000 {
        provoked.extend(head(1 + 2 * number, "/public", &[], false));
        provoked.extend(frame(8, 0, 1 + 2 * number, &0_u32.to_be_bytes()));
    }
    answer_to(&house, &provoked);
    served();
    let begun = house.upstream.take().len();
    assert!(begun < 2000, "{begun} requests were begun");
    assert!(
        eventually(PATIENCE, || {
            (house.gateway.metric(|line| line.starts_with("portcullis_http_requests_in_flight ")) == 0.0).then_some(())
        })
        .is_some()
    );
}

#[test]
fn a_connection_has_so_many_streams_at_a_time() {
    let house = clear("");
    let mut wire = Wire::connect(house.gateway.address()).unwrap();
    wire.send(&beginning()).unwrap();
    let length = wire.read_bytes(9).unwrap();
    assert_eq!(length[3], 4, "{length:?}");
    let settings = wire.read_bytes(usize::from(length[2])).unwrap();
    let values: Vec<(u16, u32)> = settings
        .chunks(6)
        .map(|of| (u16::from_be_bytes([of[0], of[1]]), u32::from_be_bytes([of[2], of[3], of[4], of[5]])))
        .collect();
    assert!(values.contains(&(3, 100)), "{values:?}");
    let fields_max = values.iter().find(|(name, _)| *name == 6).unwrap().1;
    assert!((32 * 1024..128 * 1024).contains(&fields_max), "{values:?}");
}

#[test]
fn idle_connections_end_and_those_with_streams_do_not() {
    let house = clear("limits: {header_timeout: 1s, keepalive_timeout: 1s}");
    let gate = crate::support::waiting::Gate::default();
    house.upstream.set_answer(Answer::EchoAfter(gate.clone()));
    thread::scope(|scope| {
        // Nothing but the beginning; half of it; frames that are no request; a head that does not end.
        let mut partial = beginning();
        partial.extend(frame(1, 0, 1, &fields(&[(":method", "GET")])));
        for sent in [beginning(), beginning()[..10].to_vec(), partial] {
            let mut wire = Wire::connect(house.gateway.address()).unwrap();
            scope.spawn(move || {
                wire.send(&sent).unwrap();
                assert!(wire.read_to_end().is_ok());
            });
        }
        let mut pings = Client::connect(house.gateway.address());
        scope.spawn(move || {
            pings.send(beginning());
            pings.trickle(&frame(6, 0, 0, &[0; 8]), Duration::from_millis(50));
        });
        let mut client = Http2::connect(house.gateway.address()).unwrap();
        let waiting = scope.spawn(move || {
            let first = client.get("http://api.test/public", &[]).map(|response| response.status);
            (first, client)
        });
        house.upstream.wait_for(1);
        // As long as the others live and more.
        gate.wait(Duration::from_secs(3));
        gate.open();
        assert_eq!(waiting.join().unwrap().0, Some(200));
    });
}

#[test]
fn without_tls_both_versions_are_understood_where_asked_for_and_one_where_not() {
    let house = clear("");
    let check = |mut client: Client, bytes: &str| {
        client.send(bytes);
        let response: Response = client.read("GET");
        assert_eq!(response.status, 200, "{bytes:?}");
    };
    for bytes in
        ["GET /public HTTP/1.1\r\nHost: a\r\n\r\n", "POST /public HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"]
    {
        check(house.gateway.connect(), bytes);
    }
    // Shorter than the preface.
    let mut short = house.gateway.connect();
    short.send("P / HTTP/1.0\r\n\r\n");
    assert_eq!(short.read("GET").status, 400);
    let mut client = Http2::connect(house.gateway.address()).unwrap();
    assert_eq!(client.get("http://api.test/public", &[]).unwrap().status, 200);
    let plain = House::start("", ROUTES);
    let mut wire = Wire::connect(plain.gateway.address()).unwrap();
    wire.send(&beginning()).unwrap();
    assert!(wire.read_to_end().unwrap().starts_with(b"HTTP/1.1 400"));
    assert!(plain.upstream.take().is_empty());
}

#[test]
fn h2load_and_nghttp_are_served() {
    let (Some(h2load), Some(nghttp)) =
        (require_program("h2load", "h2load_and_nghttp"), require_program("nghttp", "h2load_and_nghttp"))
    else {
        return;
    };
    let site = Site::start("");
    let url = format!("https://{}/public", site.house.gateway.address());
    let mut command = Command::new(h2load);
    command.args(["-n", "500", "-c", "4", "-m", "20", &url]);
    let account = process::run("h2load", &mut command);
    assert!(account.stdout.contains("500 succeeded") && account.stdout.contains("500 2xx"), "{account:?}");
    let mut command = Command::new(nghttp);
    let account = process::run("nghttp", command.args(["-v", "-n", "--no-verify-peer", &url]));
    assert!(account.stdout.contains(":status: 200"), "{account:?}");
}

/// Until nothing is open and served any more.
fn check_all_gone(house: &House) {
    let open = |name: &str| house.gateway.metric(|line| line.starts_with(&format!("{name} ")));
    let gone = || (open("portcullis_connections") + open("portcullis_http_requests_in_flight") == 0.0).then_some(());
    assert!(eventually(PATIENCE, gone).is_some(), "{} connections", open("portcullis_connections"));
}

#[test]
fn who_floods_with_questions_and_takes_no_answer_is_cut_off() {
    let house = clear("limits: {keepalive_timeout: 1s, body_timeout: 1s}");
    // Of pings, of settings, of priorities, and of window updates: each costs a client next to nothing.
    for flood in [frame(6, 0, 0, &[7; 8]), frame(4, 0, 0, &[0, 3, 0, 0, 0, 9]), frame(2, 0, 3, &[0; 5])] {
        let many = flood.repeat(2000);
        let mut wire = Wire::connect(house.gateway.address()).unwrap();
        wire.send(&beginning()).unwrap();
        // Nothing is read, so that at last nothing can be sent.
        let mut sent = 0;
        while sent < 20_000 && wire.send(&many).is_ok() {
            sent += 1;
        }
        assert_eq!(house.gateway.get("/public", &[]).status, 200);
        assert!(wire.read_to_end().is_ok(), "the server keeps the connection open");
    }
    check_all_gone(&house);
}

#[test]
fn a_stream_that_does_not_get_on_ends_and_its_connection_too() {
    let house = clear_before(", timeouts: {read: 1s}", "limits: {keepalive_timeout: 1s, body_timeout: 1s}");
    let post = |stream: u32| {
        let fields = fields(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/public"),
            (":authority", "api.test"),
            ("content-length", "9"),
        ]);
        frame(1, 4, stream, &fields)
    };
    // Bodies that do not come, and one that stops in the middle: nobody waits for the service longer than it may take.
    let half = [post(1), frame(0, 0, 1, b"half"), post(3), post(5)].concat();
    let mut wire = Wire::connect(house.gateway.address()).unwrap();
    wire.send(&[beginning(), half].concat()).unwrap();
    let came = frames(&wire.read_to_end().expect("the server ends it"));
    assert!(!came.iter().any(|(kind, _, _, payload)| *kind == 1 && payload.first() == Some(&0x88)), "{came:?}");
    assert!(house.upstream.take().is_empty());
    // A reader that takes nothing: a window that is never opened.
    let mut wire = Wire::connect(house.gateway.address()).unwrap();
    let shut = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let sent = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &shut, &head(1, "/public", &[], true)].concat();
    wire.send(&sent).unwrap();
    let came = frames(&wire.read_to_end().expect("the server ends it"));
    assert!(came.iter().all(|(kind, _, _, payload)| *kind != 0 || payload.is_empty()), "{came:?}");
    check_all_gone(&house);
}
