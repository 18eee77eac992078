//! One row for every refusal: its status, its body, its challenge, what is counted and logged, and that the upstream saw nothing of it.
use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use crate::support::{
    client::{Response, request_bytes},
    fixture::{self, House, good_bearer, keys_file, signing_key},
    gateway::Gateway,
    keys::{SigningKey, encoded},
    problem::{challenge_parameters, check_problem},
    reported::check_reported,
    server::free_address,
    shared::Shared,
    token::{Token, bearer, now},
    upstream::{Answer, Upstream},
    waiting::Gate,
};

const ROUTES: &str = r#"
  - {name: public, path_prefix: /public, auth: none, upstream: echo}
  - {name: optional, path_prefix: /optional, auth: optional, upstream: echo}
  - {name: mine, path_prefix: /mine, upstream: echo}
  - {name: orders, path_prefix: /orders, require: {scopes: [orders:write]}, upstream: echo}
  - {name: admin, path_prefix: /admin, require: {roles: [admin]}, upstream: echo}
  - {name: posts, path_prefix: /posts, methods: [POST], auth: none, upstream: echo}
"#;

/// A request, and the refusal that must come of it.
struct Row {
    reason: &'static str,
    status: u16,
    /// Name of the route that it is counted for.
    route: &'static str,
    target: String,
    headers: Vec<(&'static str, String)>,
}

impl Row {
    fn new(reason: &'static str, status: u16, route: &'static str, target: &str) -> Self {
        Self { reason, status, route, target: target.to_owned(), headers: Vec::new() }
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// A request to `/mine` with this token, refused with 401.
    fn token(reason: &'static str, token: &str) -> Self {
        Self::new(reason, 401, "mine", "/mine").header("Authorization", bearer(token))
    }
}

fn row_per_reason() -> Vec<Row> {
    let mut rows = rows_of_shape_and_route();
    rows.extend(rows_of_tokens());
    rows
}

fn rows_of_shape_and_route() -> Vec<Row> {
    let good = good_bearer();
    let mut many_lines = Row::new("header_too_large", 431, "-", "/public");
    for _ in 0..120 {
        many_lines = many_lines.header("X-Line", "x");
    }
    vec![
        Row::new("path_ambiguous", 400, "*", "/public/..%2fmine"),
        Row::new("header_forbidden", 400, "*", "/public").header("Connection", "X-User-ID"),
        Row::new("request_malformed", 400, "-", "/public").header("Host", "a b"),
        Row::new("token_repeated", 400, "mine", "/mine")
            .header("Authorization", &*good)
            .header("Authorization", &*good),
        Row::new("token_missing", 401, "mine", "/mine"),
        Row::new("scope_insufficient", 403, "orders", "/orders").header("Authorization", &*good),
        Row::new("role_missing", 403, "admin", "/admin").header("Authorization", &*good),
        Row::new("route_not_found", 404, "-", "/nowhere"),
        Row::new("method_not_allowed", 405, "*", "/posts"),
        Row::new("uri_too_long", 414, "-", &format!("/public/{}", "x".repeat(9000))),
        Row::new("header_too_large", 431, "-", "/public").header("X-Large", "x".repeat(40_000)),
        many_lines,
    ]
}

fn rows_of_tokens() -> Vec<Row> {
    let key = signing_key();
    let stranger = SigningKey::p256("e1");
    let signed = |token: Token| token.signed_by(key);
    let good = Token::good;
    vec![
        Row::token("token_malformed", "abc"),
        Row::token("token_too_large", &signed(good().claim("padding", "x".repeat(9000)))),
        Row::token("type_not_allowed", &signed(good().header("typ", "dpop+jwt"))),
        Row::token("critical_header", &signed(good().header("crit", json!(["zz"])).header("zz", 1))),
        Row::token(
            "algorithm_not_allowed",
            &good().header("alg", "HS256").signed_by(&SigningKey::secret("e1", &[1; 32])),
        ),
        Row::token("issuer_unknown", &signed(good().claim("iss", "https://other.test"))),
        Row::token("key_unknown", &signed(good().header("kid", "nobody"))),
        Row::token("signature_invalid", &good().signed_by(&stranger)),
        Row::token("token_expired", &signed(good().claim("exp", now() - 3600).claim("iat", now() - 7200))),
        Row::token("token_not_yet_valid", &signed(good().claim("nbf", now() + 3600))),
        Row::token("audience_mismatch", &signed(good().claim("aud", "https://other.test"))),
        Row::token("claim_missing", &signed(good().without("sub"))),
        Row::token("claim_invalid", &signed(good().claim("sub", 123))),
        Row::token("lifetime_exceeded", &signed(good().claim("exp", now() + 11 * 366 * 86_400))),
        Row::token("token_malformed", &format!("{}.", good().signing_input(key))),
        Row::new("token_malformed", 401, "optional", "/optional").header("Authorization", "Bearer abc"),
        Row::new("token_malformed", 401, "optional", "/optional").header("Authorization", "Bearer"),
        Row::new("token_repeated", 400, "optional", "/optional")
            .header("Authorization", "Bearer abc")
            .header("Authorization", "Basic eDp5"),
    ]
}

/// The refusals that need a house of their own, each reached by a test below or in `limits`.
const REASONS_WITH_THEIR_OWN_TEST: &[&str] = &[
    "claim_mismatch",
    "body_too_large",
    "request_timeout",
    "rate_limited",
    "overloaded",
    "upstream_unreachable",
    "upstream_timeout",
    "keys_unavailable",
];

fn house() -> Arc<House> {
    static SHARED: Shared<House> = Shared::new();
    SHARED.get(|| House::start("limits: {body_bytes: 64KiB}", ROUTES))
}

#[test]
fn every_refusal_tells_the_client_what_the_table_says_and_nothing_reaches_the_upstream() {
    let house = House::start("limits: {body_bytes: 64KiB}", ROUTES);
    let gateway = &house.gateway;
    for row in row_per_reason() {
        let headers: Vec<(&str, &str)> = row.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut client = gateway.connect();
        let response = client.get(&row.target, &headers);
        let request_id = check_problem(&response, row.status, row.reason, "GET");
        assert!(house.upstream.take().is_empty(), "{}: the upstream saw it", row.reason);
        check_reported(gateway, &request_id, row.route, row.reason, row.status, "GET");
        // Without a body the connection serves on.
        let next = client.get("/public/next", &[]);
        assert_eq!(next.status, 200, "{}: {}", row.reason, next.text());
        assert_eq!(house.upstream.take()[0].target(), "/public/next");
    }
}

#[test]
fn head_gets_the_same_refusal_without_a_body() {
    let house = house();
    for row in row_per_reason() {
        let headers: Vec<(&str, &str)> = row.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut client = house.gateway.connect();
        let response = client.request("HEAD", &row.target, &headers);
        check_problem(&response, row.status, row.reason, "HEAD");
        // A body after all would be read as the beginning of this answer.
        assert_eq!(client.get("/public", &[]).status, 200, "{}", row.reason);
    }
}

#[test]
fn a_refusal_names_the_scope_that_is_needed_and_the_realm() {
    let house = house();
    let value = |response: &Response, name: &str| {
        let parameters = challenge_parameters(response.header("WWW-Authenticate").unwrap());
        parameters.into_iter().find(|(parameter, _)| parameter == name).map(|(_, value)| value)
    };
    let response = house.gateway.get("/orders", &[("Authorization", &good_bearer())]);
    assert_eq!(value(&response, "scope").as_deref(), Some("orders:write"));
    assert_eq!(value(&response, "realm").as_deref(), Some("api"));
    assert_eq!(value(&house.gateway.get("/mine", &[]), "error"), None);
}

#[test]
fn nothing_of_the_request_or_the_token_is_echoed_in_a_refusal() {
    let house = house();
    let canary = "canary-in-the-claims";
    let tokens = [
        Token::good().claim("sub", canary).claim("aud", canary).signed_by(signing_key()),
        Token::good().claim("iss", canary).signed_by(signing_key()),
        Token::good().header("kid", canary).signed_by(signing_key()),
        Token::good().header("typ", canary).signed_by(signing_key()),
        Token::good().claim("sub", canary).signed_by(&SigningKey::p256("e1")),
    ];
    for token in tokens {
        let response = house
            .gateway
            .get(&format!("/mine/{canary}?{canary}%22"), &[("Authorization", &bearer(&token)), ("X-Canary", canary)]);
        assert_eq!(response.status, 401);
        let all = format!("{}{}", String::from_utf8_lossy(&response.head.raw), response.text());
        assert!(!all.contains(canary), "{all}");
    }
}

#[test]
fn a_method_that_a_route_does_not_take_is_answered_with_those_it_takes() {
    let house = house();
    let response = house.gateway.get("/posts", &[]);
    let allow: BTreeSet<&str> = response.header("Allow").unwrap().split(',').map(str::trim).collect();
    assert!(allow.contains("POST") && !allow.contains("GET"), "{allow:?}");
}

#[test]
fn a_body_over_the_limit_is_refused_announced_or_not() {
    let house = House::start("limits: {body_bytes: 1KiB}", ROUTES);
    let mut client = house.gateway.connect();
    client.send("POST /public HTTP/1.1\r\nHost: api.test\r\nContent-Length: 1025\r\n\r\n");
    let request_id = check_problem(&client.read("POST"), 413, "body_too_large", "POST");
    assert!(house.upstream.take().is_empty(), "an announced size is judged before anything is forwarded");
    check_reported(&house.gateway, &request_id, "public", "body_too_large", 413, "POST");

    let mut client = house.gateway.connect();
    client.send("POST /public HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(format!("800\r\n{}\r\n0\r\n\r\n", "x".repeat(0x800)));
    check_problem(&client.read("POST"), 413, "body_too_large", "POST");
    assert!(house.upstream.take().is_empty(), "the upstream got a whole request");

    let mut client = house.gateway.connect();
    client.send(format!("POST /public HTTP/1.1\r\nHost: api.test\r\nContent-Length: 1024\r\n\r\n{}", "x".repeat(1024)));
    assert_eq!(client.read("POST").status, 200);
}

#[test]
fn a_body_that_stops_coming_is_a_request_timeout() {
    let house = House::start("limits: {body_timeout: 1s}", ROUTES);
    let mut client = house.gateway.connect();
    client.send("POST /public HTTP/1.1\r\nHost: api.test\r\nContent-Length: 100\r\n\r\nhalf");
    let request_id = check_problem(&client.read("POST"), 408, "request_timeout", "POST");
    check_reported(&house.gateway, &request_id, "public", "request_timeout", 408, "POST");
}

#[test]
fn a_body_behind_a_refusal_is_never_taken_for_a_request() {
    let house = House::start("", ROUTES);
    let hidden = "GET /public/hidden HTTP/1.1\r\nHost: api.test\r\n\r\n";
    let mut client = house.gateway.connect();
    client.send(format!("POST /mine HTTP/1.1\r\nHost: api.test\r\nContent-Length: {}\r\n\r\n{hidden}", hidden.len()));
    check_problem(&client.read("POST"), 401, "token_missing", "POST");
    client.send(request_bytes("GET", "/nowhere", &[]));
    if let Ok(response) = client.try_read("GET") {
        check_problem(&response, 404, "route_not_found", "GET");
    }
    assert!(house.upstream.take().is_empty());
}

#[test]
fn a_refused_request_is_not_asked_for_its_body() {
    let house = house();
    let mut client = house.gateway.connect();
    client.send("POST /mine HTTP/1.1\r\nHost: api.test\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n");
    let response = client.read("POST");
    check_problem(&response, 401, "token_missing", "POST");
    assert_eq!(response.interim, [] as [u16; 0]);
}

#[test]
fn a_claim_that_a_header_needs_and_the_token_lacks_is_a_mismatch() {
    let upstream = Upstream::start();
    let required = "    X-Tenant: {claim: [org, tenant], required: true}";
    let gateway = fixture::builder(required, ROUTES, &upstream).start();
    let response = gateway.get("/mine", &[("Authorization", &good_bearer())]);
    let request_id = check_problem(&response, 403, "claim_mismatch", "GET");
    check_reported(&gateway, &request_id, "mine", "claim_mismatch", 403, "GET");
    assert!(upstream.take().is_empty());
    let token = Token::good().claim("org", json!({"tenant": "t1"})).signed_by(signing_key());
    assert_eq!(gateway.get("/mine", &[("Authorization", &bearer(&token))]).status, 200);
    assert_eq!(upstream.take()[0].head.values("X-Tenant"), ["t1"]);
}

#[test]
fn an_upstream_that_is_down_is_502_and_one_that_is_slow_is_504() {
    let upstream = Upstream::start();
    let routes = r#"
  - {name: down, path_prefix: /down, auth: none, upstream: down}
  - {name: slow, path_prefix: /slow, auth: none, timeout: 1s, upstream: echo}
"#;
    let config = format!("{}\n  down: {{servers: [\"{{down}}\"]}}\n", fixture::config("", routes).trim_end());
    let gateway = Gateway::builder(config)
        .set("upstream", upstream.address())
        .set("down", free_address())
        .file("keys.json", keys_file())
        .start();
    let request_id = check_problem(&gateway.get("/down", &[]), 502, "upstream_unreachable", "GET");
    check_reported(&gateway, &request_id, "down", "upstream_unreachable", 502, "GET");

    let gate = Gate::default();
    upstream.set_answer(Answer::EchoAfter(gate.clone()));
    let request_id = check_problem(&gateway.get("/slow", &[]), 504, "upstream_timeout", "GET");
    check_reported(&gateway, &request_id, "slow", "upstream_timeout", 504, "GET");
    gate.open();
}

#[test]
fn an_issuer_without_keys_is_503_for_its_own_tokens_alone() {
    let upstream = Upstream::start();
    let routes = r#"
  - {name: mine, path_prefix: /mine, issuers: [main], upstream: echo}
  - {name: dead, path_prefix: /dead, issuers: [dead], upstream: echo}
"#;
    let dead = r#"    roles: roles
  dead:
    issuer: https://dead.test
    audiences: [https://api.test]
    keys: {jwks_url: "http://{dead}/jwks.json", insecure_http: true, timeout: 1s}
"#;
    let config = fixture::config("", routes).replacen("    roles: roles\n", dead, 1);
    let builder = Gateway::builder(config).set("upstream", upstream.address()).set("dead", free_address());
    let gateway = builder.file("keys.json", keys_file()).start();
    let token = Token::good().claim("iss", "https://dead.test").signed_by(signing_key());
    let response = gateway.get("/dead", &[("Authorization", &bearer(&token))]);
    let request_id = check_problem(&response, 503, "keys_unavailable", "GET");
    let seconds = response.header("Retry-After").unwrap();
    assert!(seconds.parse::<u32>().is_ok_and(|seconds| seconds > 0), "{seconds}");
    check_reported(&gateway, &request_id, "dead", "keys_unavailable", 503, "GET");
    assert!(upstream.take().is_empty());
    check_problem(&gateway.get("/dead", &[("Authorization", "Bearer abc")]), 401, "token_malformed", "GET");
    assert_eq!(gateway.get("/mine", &[("Authorization", &good_bearer())]).status, 200);
}

#[test]
fn unverified_words_cannot_break_the_log() {
    let house = House::start("", ROUTES);
    let hostile = "a\n{\"forged\": true}\r\n\u{1b}[31m\u{202e}\"\\";
    for token in [
        Token::good().header("kid", hostile).signed_by(signing_key()),
        Token::good().claim("iss", hostile).signed_by(signing_key()),
        Token::good().claim("sub", hostile).signed_by(signing_key()),
        Token::good().claim("aud", format!("{hostile}{}", "x".repeat(2000))).signed_by(signing_key()),
    ] {
        let response = house.gateway.get("/mine", &[("Authorization", &bearer(&token)), ("User-Agent", "a\tb \"c\"")]);
        let line = house.gateway.access_line(response.header("X-Request-Id").unwrap());
        let detail = line["auth"]["detail"].as_str().unwrap_or_default();
        assert!(detail.len() < 1024 && !detail.contains(['\n', '\u{1b}']), "{line}");
    }
    for line in house.gateway.account().stdout.lines() {
        assert!(
            serde_json::from_str::<Value>(line).is_ok_and(|line| line.get("forged").is_none()),
            "not a line of the log: {line}"
        );
        assert!(!line.contains('\u{1b}'), "{line:?}");
    }
}

#[test]
fn what_is_no_token_is_not_shown_as_none() {
    let house = House::start("", ROUTES);
    let good = Token::good().signed_by(signing_key());
    let rest = good.split_once('.').unwrap().1;
    for (number, text) in
        ["secret", "secret.secret", &format!("secret.{rest}"), &format!("{good}.secret"), &format!("{good} secret")]
            .into_iter()
            .enumerate()
    {
        let canary = format!("canary{number}");
        let text = text.replace("secret", &canary);
        let response = house.gateway.get("/mine", &[("Authorization", &bearer(&text))]);
        check_problem(&response, 401, "token_malformed", "GET");
        let line = house.gateway.access_line(response.header("X-Request-Id").unwrap());
        assert!(!line.to_string().contains(&canary), "{line}");
        assert!(!response.text().contains(&canary), "{}", response.text());
    }
}

/// Each is wrong in two or more ways; the first of the contract's order must be told.
fn rows_of_two_faults() -> Vec<Row> {
    let key = signing_key();
    let row = |reason, token: Token| Row::token(reason, &token.signed_by(key));
    let good = Token::good;
    let long = bearer(&"x".repeat(9000));
    let late = now() + 3600;
    let decades = now() + 20 * 366 * 86_400;
    let short_of_scope = good().claim("aud", "x").claim("scope", "none").signed_by(key);
    vec![
        Row::new("path_ambiguous", 400, "*", "/nowhere/..%2fmine").header("Authorization", "Bearer abc"),
        Row::new("route_not_found", 404, "-", "/nowhere").header("Authorization", "Bearer abc"),
        Row::new("token_repeated", 400, "mine", "/mine")
            .header("Authorization", "Bearer abc")
            .header("Authorization", long),
        Row::token("token_too_large", &"x".repeat(9000)),
        row("token_malformed", good().raw_payload("{no json").header("alg", "none")),
        row("algorithm_not_allowed", good().header("alg", "XX999").claim("iss", "https://other.test")),
        row("issuer_unknown", good().claim("iss", "https://other.test").header("typ", "x")),
        row("type_not_allowed", good().header("typ", "x").header("crit", json!(["zz"]))),
        row("critical_header", good().header("crit", json!(["zz"])).header("alg", "HS256")),
        row("algorithm_not_allowed", good().header("alg", "HS256").header("kid", "nobody")),
        row("key_unknown", good().header("kid", "nobody").claim("exp", 1)),
        Row::token("signature_invalid", &good().claim("exp", 1).signed_by(&SigningKey::p256("e1"))),
        row("claim_missing", good().without("sub").claim("nbf", "soon")),
        row("claim_invalid", good().claim("nbf", "soon").claim("exp", 1)),
        row("token_expired", good().claim("exp", 1).claim("nbf", late)),
        row("token_not_yet_valid", good().claim("nbf", late).claim("aud", "x")),
        row("lifetime_exceeded", good().claim("exp", decades).claim("aud", "x")),
        Row::new("audience_mismatch", 401, "orders", "/orders").header("Authorization", bearer(&short_of_scope)),
    ]
}

#[test]
fn the_order_of_refusals_is_the_order_of_the_contract() {
    let house = house();
    for row in rows_of_two_faults() {
        let headers: Vec<(&str, &str)> = row.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        check_problem(&house.gateway.get(&row.target, &headers), row.status, row.reason, "GET");
    }
}

#[test]
fn broken_signature_bytes_are_a_malformed_token_before_anything_else() {
    let house = house();
    let input = Token::good().claim("iss", "https://other.test").signing_input(signing_key());
    let token = format!("{input}.{}=", encoded([1; 64]));
    check_problem(&house.gateway.get("/mine", &[("Authorization", &bearer(&token))]), 401, "token_malformed", "GET");
}

#[test]
fn every_reason_that_this_file_reaches_is_told_apart() {
    let reached: BTreeSet<&str> =
        row_per_reason().iter().map(|row| row.reason).chain(REASONS_WITH_THEIR_OWN_TEST.iter().copied()).collect();
    assert_eq!(reached.len(), 33, "{reached:?}");
}

// Goes in with the product's table of refusals, and takes the place of the test above:
//
// #[test]
// fn every_refusal_of_the_product_has_a_row_here() {
//     use portcullis::gate::rejection::Rejection;
//     let reached: BTreeSet<&str> =
//         row_per_reason().iter().map(|row| row.reason).chain(REASONS_WITH_THEIR_OWN_TEST.iter().copied()).collect();
//     let labels: BTreeSet<&str> = Rejection::ALL.iter().map(|rejection| rejection.row().label).collect();
//     // `internal` is a panic of the product: no request is known that causes one.
//     let without_row: Vec<&&str> = labels.difference(&reached).filter(|label| **label != "internal").collect();
//     assert!(without_row.is_empty(), "no request reaches {without_row:?}");
//     assert!(reached.is_subset(&labels), "the table lacks {:?}", reached.difference(&labels));
// }
