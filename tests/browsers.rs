//! What browsers need, over real sockets: tokens in cookies, requests that other sites forge, pages of other origins. Here: the
//! configuration that all of it is about.
mod chromium;
mod cookies;
mod cors;
mod cross_site;

use std::sync::Arc;

use crate::support::{
    client::{Response, request_bytes},
    fixture::{self, House, keys_file, signing_key},
    gateway::Gateway,
    server::free_address,
    shared::Shared,
    token::Token,
    upstream::Upstream,
};

/// The name of the cookie with the token.
const COOKIE: &str = "__Host-session";
/// An origin that `cors` lists.
const APP: &str = "https://app.test";
/// An origin that `csrf` lists.
const PARTNER: &str = "https://partner.test";
/// An origin that nobody lists.
const EVIL: &str = "https://evil.test";
/// The gateway's own origin, as requests of the tests name it.
const OWN: &str = "http://api.test";

const ROUTES: &str = r#"
  - name: app
    path_prefix: /app
    token: {sources: [{cookie: __Host-session}, {header: Authorization}, {query: access_token}]}
    csrf: {origins: ["https://partner.test"]}
    cors: {origins: ["https://app.test", "{page}"], headers: [authorization, content-type], expose: [ETag], credentials: true, max_age: 10m}
    upstream: echo
  - name: optional
    path_prefix: /optional
    auth: optional
    token: {sources: [{cookie: __Host-session}]}
    csrf: {}
    upstream: echo
  - name: keeps
    path_prefix: /keeps
    token: {sources: [{cookie: __Host-session}], forward: true}
    csrf: {}
    upstream: echo
  - {name: header, path_prefix: /header, upstream: echo}
  - {name: public, path_prefix: /public, auth: none, cors: {origins: ["*"], headers: [x-a], max_age: 0s}, upstream: echo}
  - name: reader
    path_prefix: /reader
    methods: [GET]
    cors: {origins: ["https://app.test", "{page}"], methods: [GET], headers: [authorization]}
    upstream: echo
  - {name: writer, path_prefix: /reader, methods: [PUT, POST], upstream: echo}
  - name: its-own
    path_prefix: /its-own
    cors: upstream
    token: {sources: [{cookie: __Host-session}, {header: Authorization}, {query: access_token}], forward: true}
    csrf: {}
    upstream: echo
  - {name: fixed, path_prefix: /fixed, auth: none, cors: {origins: ["https://app.test"]}, respond: {status: 200, body: hello}}
  - {name: down, path_prefix: /down, auth: none, cors: {origins: ["https://app.test", "{page}"]}, upstream: nobody}
  - name: slow
    path_prefix: /slow
    auth: none
    cors: {origins: ["https://app.test"]}
    timeout: 50ms
    upstream: echo
"#;

fn house() -> Arc<House> {
    static SHARED: Shared<House> = Shared::new();
    SHARED.get(|| start("http://page.test"))
}

/// A gateway that lets pages of this origin read, too.
fn start(page: &str) -> House {
    let upstream = Upstream::start();
    let nobody = format!("  nobody: {{servers: [\"{}\"]}}\n  echo: ", free_address());
    let config = fixture::config("", ROUTES).replace("  echo: ", &nobody);
    let gateway = Gateway::builder(config)
        .set("upstream", upstream.address())
        .file("keys.json", keys_file())
        .set("page", page)
        .start();
    House { gateway, upstream }
}

fn token() -> String {
    Token::good().signed_by(signing_key())
}

fn expired() -> String {
    Token::good().claim("exp", 1_000_000_000).signed_by(signing_key())
}

/// `Cookie` with a token that passes.
fn session() -> String {
    format!("{COOKIE}={}", token())
}

/// One request without body on a connection of its own.
fn send(house: &House, method: &str, target: &str, headers: &[(&str, &str)]) -> Response {
    let mut client = house.gateway.connect();
    client.send(request_bytes(method, target, headers));
    client.read(method)
}

/// The reason of a refusal; `-` where it passed.
fn reason(response: &Response) -> String {
    if response.status < 400 {
        return "-".to_owned();
    }
    response.json()["reason"].as_str().unwrap_or("?").to_owned()
}
