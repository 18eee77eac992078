//! Calls of gRPC: they pass with their messages, metadata and trailers, and what is refused is told as their clients understand
//! it - a status in a head that is all of the answer, or in the trailers of a response that has begun.
mod peers;

use serde_json::json;

use crate::support::{
    fixture::{self, good_bearer, signing_key},
    gateway::Gateway,
    http2::{Http2, Http2Stream, StreamEnding, beginning, fields, frame, frames},
    http2_echo::{BEGUN, Http2Echo},
    problem::challenge_parameters,
    reported::check_reported,
    server::free_address,
    token::{Token, bearer},
    upstream::Upstream,
    wire::Wire,
};

const ROUTES: &str = r#"
  - {name: public, path_prefix: /public, auth: none, upstream: calls}
  - {name: mine, path_prefix: /mine, upstream: calls}
  - {name: admin, path_prefix: /admin, upstream: calls, require: {roles: [admin]}}
  - {name: wide, path_prefix: /wide, upstream: calls, require: {scopes: [wide]}}
  - {name: near, path_prefix: /near, auth: none, addresses: {allow: [192.0.2.0/24]}, upstream: calls}
  - {name: seldom, path_prefix: /seldom, auth: none, upstream: calls, rate_limit: {requests: 1, per: 1h, by: address}}
  - {name: listed, path_prefix: /listed, methods: [GET], auth: none, upstream: calls}
  - {name: down, path_prefix: /down, auth: none, upstream: nobody}
  - {name: slow, path_prefix: /slow, auth: none, timeout: 300ms, upstream: calls}
  - {name: fixed, path_prefix: /fixed, respond: {status: 204}}
"#;

const BASE: &str = "http://api.test";
const CALL: (&str, &str) = ("content-type", "application/grpc");

/// A gateway without TLS in front of calls. It stops first.
struct Site {
    gateway: Gateway,
    calls: Http2Echo,
    _echo: Upstream,
}

impl Site {
    fn start(more: &str) -> Self {
        let (calls, echo) = (Http2Echo::start(), Upstream::start());
        let upstreams = "upstreams:\n  calls: {protocol: h2c, servers: [\"{calls}\"]}\n  nobody: {protocol: h2c, servers: [\"{nobody}\"]}";
        let config = fixture::config(more, ROUTES)
            .replace("upstreams:", upstreams)
            .replace("address: \"{listen}\"", "address: \"{listen}\", http2: true");
        let gateway = Gateway::builder(config)
            .set("calls", calls.address())
            .set("nobody", free_address())
            .set("upstream", echo.address())
            .file("keys.json", fixture::keys_file())
            .start();
        Self { gateway, calls, _echo: echo }
    }

    fn client(&self) -> Http2 {
        Http2::connect(self.gateway.address()).unwrap()
    }

    fn call(&self, client: &Http2, path: &str, more: &[(&str, &str)]) -> Http2Stream {
        client.open(&format!("{BASE}{path}"), &[&[CALL, ("te", "trailers")], more].concat())
    }
}

#[test]
fn a_refused_call_is_told_its_status_in_a_head_that_is_all_of_the_answer() {
    let site = Site::start("limits: {body_bytes: 1KiB}");
    let mut client = site.client();
    let (good, expired) = (good_bearer(), bearer(&Token::good().claim("exp", 1_000_000_000).signed_by(signing_key())));
    let auth = ("authorization", good.as_str());
    assert_eq!(site.call(&client, "/seldom/first", &[]).head().status, 200);
    site.calls.take();
    let rows: &[Row<'_>] = &[
        ("/mine/a", &[], 16, 401, "token_missing", "mine"),
        ("/mine/a", &[("authorization", &expired)], 16, 401, "token_expired", "mine"),
        ("/mine/a", &[("authorization", "Bearer x")], 16, 401, "token_malformed", "mine"),
        ("/mine/a", &[auth, auth], 3, 400, "token_repeated", "mine"),
        ("/admin/a", &[auth], 7, 403, "role_missing", "admin"),
        ("/wide/a", &[auth], 7, 403, "scope_insufficient", "wide"),
        ("/near/a", &[], 7, 403, "address_denied", "near"),
        ("/seldom/a", &[], 8, 429, "rate_limited", "seldom"),
        ("/nowhere", &[auth], 12, 404, "route_not_found", "-"),
        ("/listed/a", &[], 12, 405, "method_not_allowed", "-"),
        ("/public/%2e%2e/a", &[], 3, 400, "path_ambiguous", "-"),
        ("/mine/a", &[auth, ("content-length", "2000")], 8, 413, "body_too_large", "mine"),
        ("/down/a", &[], 14, 502, "upstream_unreachable", "down"),
        ("/slow/silent", &[], 4, 504, "upstream_timeout", "slow"),
    ];
    rows.iter().for_each(|row| check_refused_call(&site, &client, row));
    check_no_calls(&site, &mut client);
}

/// A path, fields besides those of a call, the status of the call, that of HTTP, the reason and the route.
type Row<'r> = (&'r str, &'r [(&'r str, &'r str)], u16, u16, &'r str, &'r str);

fn check_refused_call(site: &Site, client: &Http2, row: &Row<'_>) {
    let (path, more, code, status, reason, route) = row;
    // The client has not said all of its own when it is refused.
    let mut call = site.call(client, path, more);
    let head = call.head();
    let told = format!("{path} {reason}: {head:?}");
    assert_eq!(
        (head.status.as_u16(), head.headers["content-type"].as_bytes()),
        (200, &b"application/grpc"[..]),
        "{told}"
    );
    assert_eq!(head.headers["grpc-status"], code.to_string(), "{told}");
    assert!(!head.headers["grpc-message"].is_empty() && !head.headers.contains_key("content-length"), "{told}");
    assert_eq!(head.headers["cache-control"], "no-store", "{told}");
    let challenge = head.headers.get("www-authenticate").map(|challenge| challenge.to_str().unwrap());
    assert_eq!(challenge.is_some(), *status == 401 || *reason == "scope_insufficient", "{told}");
    if let Some(challenge) = challenge.filter(|_| *reason == "token_expired") {
        let error = challenge_parameters(challenge).into_iter().find(|(name, _)| name == "error");
        assert_eq!(error.unwrap().1, "invalid_token", "{told}");
    }
    assert_eq!(head.headers.contains_key("retry-after"), *status == 429, "{told}");
    assert_eq!(head.headers.contains_key("allow"), *status == 405, "{told}");
    let (body, ending) = call.read_to_the_end();
    assert!(body.is_empty() && matches!(ending, StreamEnding::Plain), "{told} {ending:?}");
    let id = head.headers["x-request-id"].to_str().unwrap();
    check_reported(&site.gateway, id, route, reason, *status, "POST");
    let seen = site.calls.take();
    assert_eq!(seen.len(), usize::from(*path == "/slow/silent"), "{told} {seen:?}");
}

/// The connection is as good as before, and what is no call is refused as ever.
fn check_no_calls(site: &Site, client: &mut Http2) {
    let refused = client.request("POST", &format!("{BASE}/mine/a"), &[], Some(b"x"), &[]).unwrap();
    assert_eq!((refused.status, refused.header("content-type")), (401, Some("application/problem+json")));
    for kind in ["application/grpc-web+proto", "application/grpcx", "application/json"] {
        let fields = [("content-type", kind)];
        let refused = client.request("POST", &format!("{BASE}/mine/a"), &fields, Some(b"x"), &[]).unwrap();
        assert_eq!((refused.status, refused.header("grpc-status")), (401, None), "{kind}");
    }
    // A call is a POST: a GET with its media type is told in HTTP's words, and so are caches and pages.
    let refused = client.get(&format!("{BASE}/mine/a"), &[CALL]).unwrap();
    assert_eq!((refused.status, refused.header("grpc-status")), (401, None));
    // Over HTTP/1.1 there are no calls.
    let refused = site.gateway.connect().request("POST", "/mine/a", &[CALL, ("Content-Length", "0")]);
    assert_eq!((refused.status, refused.header("grpc-status")), (401, None));
    let kinds = [("content-type", "Application/GRPC+proto; a=b")];
    let answered = client.request("POST", &format!("{BASE}/mine/a"), &kinds, None, &[]).unwrap();
    assert_eq!((answered.status, answered.header("content-type")), (200, Some("Application/GRPC+proto")));
    assert!(site.calls.take().is_empty());
}

#[test]
fn a_refused_call_gets_one_frame_that_ends_its_stream() {
    let site = Site::start("");
    let mut wire = Wire::connect(site.gateway.address()).unwrap();
    let head = |stream: u32, path: &str, ends: bool| {
        let all = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "api.test"),
            CALL,
            ("te", "trailers"),
        ];
        frame(1, if ends { 5 } else { 4 }, stream, &fields(&all))
    };
    let mut bytes = beginning();
    bytes.extend(head(1, "/mine/a", true));
    // One whose messages are still to come, and one that nobody serves.
    bytes.extend(head(3, "/mine/a", false));
    bytes.extend(head(5, "/down/a", true));
    wire.send(&bytes).unwrap();
    let mut read = Vec::new();
    while frames(&read).iter().filter(|(kind, flags, ..)| *kind == 1 && flags & 1 != 0).count() < 3 {
        read_frame(&mut wire, &mut read);
    }
    // What else it may say of these streams it says before it answers this.
    wire.send(&frame(6, 0, 0, b"whenever")).unwrap();
    while !frames(&read).iter().any(|(kind, _, _, payload)| *kind == 6 && payload == b"whenever") {
        read_frame(&mut wire, &mut read);
    }
    for stream in [1, 3, 5] {
        let of_stream: Vec<_> = frames(&read).into_iter().filter(|(.., of, _)| *of == stream).collect();
        // END_HEADERS and END_STREAM, and at most that no more is wanted of the request.
        assert_eq!((of_stream[0].0, of_stream[0].1 & 5), (1, 5), "{of_stream:?}");
        assert!(
            of_stream[1..].iter().all(|(kind, _, _, payload)| *kind == 3 && payload == &[0, 0, 0, 0]),
            "{of_stream:?}"
        );
    }
    // No DATA on any stream, and the connection lives.
    assert!(frames(&read).iter().all(|(kind, ..)| *kind != 0 && *kind != 7), "{:?}", frames(&read));
    assert!(site.calls.take().is_empty());
}

/// Reads one frame behind the others.
fn read_frame(wire: &mut Wire, read: &mut Vec<u8>) {
    let head = wire.read_bytes(9).unwrap();
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    read.extend(head);
    read.extend(wire.read_bytes(length).unwrap());
}

#[test]
fn a_call_passes_with_its_messages_and_trailers() {
    let site = Site::start("");
    let mut client = site.client();
    let good = good_bearer();
    let mut call =
        site.call(&client, "/mine/echo", &[("authorization", &good), ("x-user-id", "root"), ("grpc-timeout", "5S")]);
    let head = call.head();
    assert_eq!((head.status.as_u16(), &head.headers["content-type"]), (200, &CALL.1.parse().unwrap()));
    assert_eq!(call.read(BEGUN.len()), BEGUN);
    for word in ["one", "another"] {
        assert!(call.send(word.as_bytes()));
        assert_eq!(call.read(word.len()), word.as_bytes());
    }
    let seen = site.calls.take();
    assert_eq!((seen[0].path.as_str(), &seen[0].headers["x-user-id"]), ("/mine/echo", &"u1".parse().unwrap()));
    assert_eq!(
        (&seen[0].headers["te"], &seen[0].headers["grpc-timeout"]),
        (&"trailers".parse().unwrap(), &"5S".parse().unwrap())
    );
    assert!(!seen[0].headers.contains_key("authorization"));
    // Another one beside it, whole.
    let whole = client.request("POST", &format!("{BASE}/public/echo"), &[CALL], Some(b"all"), &[]).unwrap();
    assert_eq!(whole.body, [BEGUN, b"all"].concat());
    let (rest, ending) = call.finish();
    let StreamEnding::Trailers(trailers) = ending else { panic!("{ending:?}") };
    assert!(rest.is_empty());
    assert_eq!((&trailers["grpc-status"], &trailers["x-trailer"]), (&"0".parse().unwrap(), &"kept".parse().unwrap()));
    // Not whom the service says that the client is; an assertion that this gateway makes none of is anybody's field.
    let mut names: Vec<&str> = trailers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["grpc-status", "x-identity-assertion", "x-trailer"]);
    let line = site.gateway.access_line(head.headers["x-request-id"].to_str().unwrap());
    assert_eq!((&line["status"], &line["auth"]["result"]), (&json!(200), &json!("allowed")), "{line}");
}

#[test]
fn a_call_whose_service_breaks_off_ends_with_a_status() {
    let site = Site::start("");
    let client = site.client();
    let mut call = site.call(&client, "/public/broken", &[]);
    let head = call.head();
    assert_eq!(call.read(BEGUN.len()), BEGUN);
    assert!(call.send(b"x"));
    let (_, ending) = call.read_to_the_end();
    let StreamEnding::Trailers(trailers) = ending else { panic!("{ending:?}") };
    assert_eq!(trailers["grpc-status"], "14", "{trailers:?}");
    let line = site.gateway.access_line(head.headers["x-request-id"].to_str().unwrap());
    assert_eq!((&line["status"], &line["auth"]["reason"]), (&json!(200), &json!("upstream_unreachable")), "{line}");
    // What is no call is cut, so that nobody takes it for whole.
    let mut events = client.open(&format!("{BASE}/public/broken"), &[]);
    events.head();
    assert_eq!(events.read(BEGUN.len()), BEGUN);
    assert!(events.send(b"x"));
    let (_, ending) = events.read_to_the_end();
    assert!(matches!(ending, StreamEnding::Reset(_)), "{ending:?}");
}
