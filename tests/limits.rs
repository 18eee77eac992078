//! Limits on what a client may send, on connections and on tokens that fail: what is just within passes, what is beyond is
//! refused, told and counted, and no upstream hears of it.
use crate::support::{
    client::{Client, Response, request_bytes},
    fixture::{self, House, good_bearer, signing_key},
    gateway::Gateway,
    keys::SigningKey,
    problem::check_problem,
    reported::{check_counted, check_reported, is_metric, reason_in},
    server::free_address,
    token::{Token, bearer},
    upstream::Upstream,
    waiting::{PATIENCE, eventually},
    wire::Address,
};

const ROUTES: &str = r#"
  - {name: public, path_prefix: /public, auth: none, upstream: echo}
  - {name: mine, path_prefix: /mine, upstream: echo}
  - {name: maybe, path_prefix: /maybe, auth: optional, upstream: echo}
  - {name: strong, path_prefix: /strong, require: {acr: [gold]}, upstream: echo}
  - {name: clerks, path_prefix: /clerks, require: {scopes: [nobody:has-it]}, upstream: echo}
  - {name: wide, path_prefix: /wide, auth: none, limits: {body_bytes: 20B}, upstream: echo}
  - {name: narrow, path_prefix: /narrow, auth: none, limits: {body_bytes: 5B}, upstream: echo}
  - {name: open, path_prefix: /open, auth: none, limits: {body_bytes: none}, upstream: echo}
"#;

const SIZES: &str = "limits: {uri_bytes: 100B, headers: 5, header_bytes: 1KiB, body_bytes: 10B}";

/// A request of this method with `amount` fields, `Host` among them, whose names, values and separators have `bytes`.
fn with_fields(amount: usize, bytes: usize) -> String {
    let mut text = "GET /public HTTP/1.1\r\nHost: api.test\r\n".to_owned();
    let mut left = bytes - "Host: api.test\r\n".len();
    for _ in 2..amount {
        text.push_str("A: b\r\n");
        left -= 6;
    }
    let name = "Long: \r\n";
    text.push_str(&format!("Long: {}\r\n\r\n", "x".repeat(left - name.len())));
    text
}

fn with_target(bytes: usize) -> String {
    format!("GET /public/{} HTTP/1.1\r\nHost: api.test\r\n\r\n", "x".repeat(bytes - "/public/".len()))
}

fn announced(path: &str, bytes: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: api.test\r\nContent-Length: {bytes}\r\n\r\n{}", "x".repeat(bytes))
}

fn chunked(path: &str, bytes: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n{bytes:x}\r\n{}\r\n0\r\n\r\n",
        "x".repeat(bytes)
    )
}

#[test]
fn what_is_within_a_limit_passes_and_what_is_beyond_is_refused_before_the_upstream_hears_of_it() {
    let house = House::start(SIZES, ROUTES);
    for (within, beyond, status, reason, route) in [
        (with_target(100), with_target(101), 414, "uri_too_long", "-"),
        (with_fields(5, 200), with_fields(6, 200), 431, "header_too_large", "-"),
        (with_fields(2, 1024), with_fields(2, 1025), 431, "header_too_large", "-"),
        (announced("/public", 10), announced("/public", 11), 413, "body_too_large", "public"),
        (announced("/wide", 20), announced("/wide", 21), 413, "body_too_large", "wide"),
        (announced("/narrow", 5), announced("/narrow", 6), 413, "body_too_large", "narrow"),
        (announced("/open", 100_000), announced("/narrow", 100_000), 413, "body_too_large", "narrow"),
    ] {
        let method = within.split(' ').next().unwrap().to_owned();
        let mut client = house.gateway.connect();
        client.send(&within);
        let response = client.read(&method);
        assert_eq!(response.status, 200, "{reason}: {}", response.text());
        assert_eq!(house.upstream.take().len(), 1);
        let connections = house.upstream.connections();
        let mut client = house.gateway.connect();
        client.send(&beyond);
        let request_id = check_problem(&client.read(&method), status, reason, &method);
        check_reported(&house.gateway, &request_id, route, reason, status, &method);
        assert!(house.upstream.take().is_empty() && house.upstream.connections() == connections, "{reason}");
    }
}

#[test]
fn a_body_that_grows_beyond_its_limit_is_never_a_whole_one_to_the_upstream() {
    let house = House::start(SIZES, ROUTES);
    for (within, beyond, route) in [
        (chunked("/public", 10), chunked("/public", 11), "public"),
        (chunked("/wide", 20), chunked("/wide", 21), "wide"),
        (chunked("/narrow", 5), chunked("/narrow", 6), "narrow"),
    ] {
        let mut client = house.gateway.connect();
        client.send(&within);
        assert_eq!(client.read("POST").json()["body"], "x".repeat(within.matches('x').count()), "{route}");
        assert_eq!(house.upstream.take().len(), 1);
        let mut client = house.gateway.connect();
        client.send(&beyond);
        let request_id = check_problem(&client.read("POST"), 413, "body_too_large", "POST");
        assert!(client.rest().is_empty(), "{route}: what follows on the connection cannot be told from the body");
        check_reported(&house.gateway, &request_id, route, "body_too_large", 413, "POST");
        assert!(house.upstream.take().is_empty(), "{route}: the upstream took it for whole");
    }
    assert_eq!(house.gateway.get("/public", &[]).status, 200);
}

/// Sends what no whole request begins with, and checks that it is refused before it is whole.
fn check_cut_off(house: &House, bytes: &str, status: u16, reason: &str) {
    let mut client = house.gateway.connect();
    client.send(bytes);
    let response = client.read("GET");
    let request_id = check_problem(&response, status, reason, "GET");
    assert_eq!(response.header("Connection"), Some("close"));
    assert!(client.rest().is_empty());
    check_reported(&house.gateway, &request_id, "-", reason, status, "other");
    assert_eq!(house.gateway.access_line(&request_id)["client_ip"], "127.0.0.1");
}

#[test]
fn a_head_that_no_request_could_have_is_cut_off_before_it_is_whole() {
    let house = House::start(SIZES, ROUTES);
    let field = format!("Long: {}", "x".repeat(4000));
    let many = "A: b\r\n".repeat(257);
    for (bytes, status, reason) in [
        (format!("GET /{}", "x".repeat(4000)), 414, "uri_too_long"),
        (format!("GET / HTTP/1.1\r\n{field}"), 431, "header_too_large"),
    ] {
        check_cut_off(&house, &bytes, status, reason);
        // A connection that was used well is no better.
        let mut client = house.gateway.connect();
        assert_eq!(client.get("/public", &[]).status, 200);
        client.send(&bytes);
        check_problem(&client.read("GET"), status, reason, "GET");
    }
    let wide = House::start("limits: {header_bytes: 1MiB, headers: 256}", ROUTES);
    check_cut_off(&wide, &format!("GET / HTTP/1.1\r\nHost: api.test\r\n{many}"), 431, "header_too_large");
    assert!(wide.upstream.take().is_empty());
    assert!(house.upstream.take().iter().all(|seen| seen.target() == "/public"));
}

/// The connections that were refused for this limit.
fn refused_connections(gateway: &Gateway, limit: &str) -> f64 {
    gateway.metric(|line| is_metric(line, "portcullis_connections_refused_total", &[("limit", limit)]))
}

fn open_connections(gateway: &Gateway) -> f64 {
    gateway.metric(|line| line.starts_with("portcullis_connections "))
}

/// A new connection is refused as it opens.
fn check_no_room(gateway: &Gateway, connect: impl FnOnce() -> Client, limit: &str) {
    let before = refused_connections(gateway, limit);
    let mut client = connect();
    let response = client.read("GET");
    let request_id = check_problem(&response, 503, "overloaded", "GET");
    assert!(response.header("Retry-After").is_some_and(|pause| pause.parse::<u64>().is_ok()), "when to try again");
    assert!(client.rest().is_empty());
    let line = gateway.access_line(&request_id);
    assert_eq!((reason_in(&line), &line["auth"]["detail"]), (Some("overloaded"), &limit.into()), "{line}");
    assert_eq!(refused_connections(gateway, limit), before + 1.0);
}

/// Waits until a new connection is let in, and gives it when a request was served on it. There may be no room for a moment:
/// closed connections are noticed a little later, and at its start the gateway itself tries its listeners.
fn let_in(connect: impl Fn() -> Client) -> Client {
    let served = eventually(PATIENCE, || {
        let mut client = connect();
        client.send(request_bytes("GET", "/public", &[]));
        client.try_read("GET").ok().filter(|response| response.status == 200).map(|_| client)
    });
    served.expect("there is room, but nobody is let in")
}

#[test]
fn as_many_connections_as_allowed_are_served_and_the_next_is_told_that_there_is_no_room() {
    let house = House::start("limits: {connections: 3}", ROUTES);
    let mut held: Vec<Client> = (0..3).map(|_| let_in(|| house.gateway.connect())).collect();
    assert_eq!(open_connections(&house.gateway), 3.0);
    check_no_room(&house.gateway, || house.gateway.connect(), "connections");
    assert_eq!(house.upstream.take().len(), 3, "the upstream hears of those alone who are let in");
    for client in &mut held {
        assert_eq!(client.get("/public", &[]).status, 200, "who is in stays in");
    }
    assert_eq!(open_connections(&house.gateway), 3.0);
    held.pop();
    held.push(let_in(|| house.gateway.connect()));
    held.clear();
    assert!(eventually(PATIENCE, || (open_connections(&house.gateway) == 0.0).then_some(())).is_some());
}

#[test]
fn one_address_may_not_take_the_connections_of_others() {
    let house = House::start("limits: {connections_per_address: 2}", ROUTES);
    let from = |last: u8| Client::connect_from([127, 0, 0, last].into(), house.gateway.address());
    let mut held: Vec<Client> = (0..2).map(|_| let_in(|| from(2))).collect();
    check_no_room(&house.gateway, || from(2), "connections_per_address");
    assert_eq!(refused_connections(&house.gateway, "connections"), 0.0, "there is room for others");
    let _others = [let_in(|| from(3)), let_in(|| from(3))];
    held.pop();
    held.push(let_in(|| from(2)));
}

#[test]
fn all_listeners_share_the_connections_and_peers_without_address_have_no_limit_of_their_own() {
    let upstream = Upstream::start();
    let limits = "limits: {connections: 4, connections_per_address: 1}";
    let config = fixture::config(limits, ROUTES)
        .replace("listeners:\n", "listeners:\n  - {address: \"{other}\"}\n  - {address: \"unix:{folder}/web.sock\"}\n");
    let other = Address::Tcp(free_address());
    let gateway = Gateway::builder(config)
        .set("upstream", upstream.address())
        .set("other", &other)
        .file("keys.json", fixture::keys_file())
        .start();
    let socket = Address::Unix(gateway.folder().path().join("web.sock"));
    let _first = let_in(|| gateway.connect());
    check_no_room(&gateway, || Client::connect(&other), "connections_per_address");
    let _local: Vec<Client> = (0..3).map(|_| let_in(|| Client::connect(&socket))).collect();
    check_no_room(&gateway, || Client::connect(&socket), "connections");
}

/// Tokens that fail, each for another reason.
fn failing() -> Vec<String> {
    let stranger = SigningKey::p256("e1");
    vec![
        "abc".to_owned(),
        Token::good().signed_by(&stranger),
        Token::good().claim("iss", "https://other.test").signed_by(signing_key()),
        Token::good().claim("exp", 1_000_000_000).signed_by(signing_key()),
    ]
}

/// A good token for another service.
fn for_another_audience() -> String {
    Token::good().claim("aud", "https://other.test").signed_by(signing_key())
}

fn ask(house: &House, source: u8, path: &str, token: Option<&str>) -> Response {
    let mut client = Client::connect_from([127, 0, 0, source].into(), house.gateway.address());
    let value = token.map(|token| if token.starts_with("Bearer ") { token.to_owned() } else { bearer(token) });
    client.get(path, &value.iter().map(|value| ("Authorization", value.as_str())).collect::<Vec<_>>())
}

#[test]
fn who_presents_too_many_tokens_that_fail_is_not_listened_to_for_a_while() {
    let house = House::start("limits: {failed_authentications: {requests: 4, per: 1h}}", ROUTES);
    let good = good_bearer();
    for _ in 0..6 {
        // None is an attempt: no token, a good one that is for another service, and one that lacks something.
        check_problem(&ask(&house, 2, "/mine", None), 401, "token_missing", "GET");
        check_problem(&ask(&house, 2, "/mine", Some(&for_another_audience())), 401, "audience_mismatch", "GET");
        assert_eq!(ask(&house, 2, "/mine", Some(&good)).status, 200);
        check_problem(&ask(&house, 2, "/strong", Some(&good)), 401, "step_up_required", "GET");
        check_problem(&ask(&house, 2, "/clerks", Some(&good)), 403, "scope_insufficient", "GET");
    }
    for token in failing() {
        assert_eq!(ask(&house, 2, "/mine", Some(&token)).status, 401);
    }
    house.upstream.take();
    for (count, (route, token)) in
        [("mine", Some("abc")), ("mine", Some(good.as_str())), ("mine", None), ("maybe", Some("abc"))]
            .into_iter()
            .enumerate()
    {
        let response = ask(&house, 2, &format!("/{route}"), token);
        let request_id = check_problem(&response, 429, "rate_limited", "GET");
        let pause: u64 = response.header("Retry-After").unwrap().parse().unwrap();
        assert!((800..=900).contains(&pause), "a quarter of an hour for each: {pause}");
        check_reported(&house.gateway, &request_id, route, "rate_limited", 429, "GET");
        check_counted(&house.gateway, "portcullis_rate_limited_total", &[("route", route), ("by", "address")]);
        let all = house.gateway.metric(|line| is_metric(line, "portcullis_rate_limited_total", &[]));
        assert_eq!(usize::try_from(all as u64).unwrap(), count + 1);
    }
    assert!(house.upstream.take().is_empty(), "a refused request reached the upstream");
    assert_eq!(ask(&house, 2, "/public", Some("abc")).status, 200, "where no token is looked at, none can fail");
    assert_eq!(ask(&house, 3, "/mine", Some(&good)).status, 200, "another address has done nothing");
    check_problem(&ask(&house, 3, "/mine", Some("abc")), 401, "token_malformed", "GET");
}

#[test]
fn tokens_that_fail_where_that_is_only_observed_count_and_are_let_pass_all_the_same() {
    let routes = format!(
        "{ROUTES}  - {{name: trial, path_prefix: /trial, insecure_observe_authentication: true, upstream: echo}}\n"
    );
    let house = House::start("limits: {failed_authentications: {requests: 4, per: 1h}}", &routes);
    for token in failing() {
        assert_eq!(ask(&house, 2, "/trial", Some(&token)).status, 200);
    }
    check_problem(&ask(&house, 2, "/mine", Some(&good_bearer())), 429, "rate_limited", "GET");
    for token in [Some("abc"), None] {
        assert_eq!(ask(&house, 2, "/trial", token).status, 200);
    }
    for request in house.upstream.take() {
        assert!(request.head.folding_onto("X-User-ID").is_empty(), "an identity that nobody proved");
    }
}

#[test]
fn failed_tokens_are_forgiven_with_time() {
    let house = House::start("limits: {failed_authentications: {requests: 1, per: 1s}}", ROUTES);
    let good = good_bearer();
    assert_eq!(ask(&house, 2, "/mine", Some("abc")).status, 401);
    let forgiven = eventually(PATIENCE, || {
        let response = ask(&house, 2, "/mine", Some(&good));
        (response.status == 200).then_some(())
    });
    assert!(forgiven.is_some());
    assert_eq!(ask(&house, 2, "/mine", Some(&good)).status, 200);
}

#[test]
fn without_a_limit_tokens_may_fail_as_often_as_they_like() {
    let house = House::start("", ROUTES);
    for _ in 0..30 {
        check_problem(&ask(&house, 2, "/mine", Some("abc")), 401, "token_malformed", "GET");
    }
}
