//! `portcullis explain` and `POST /explain`: what they say is what the gateway does, and saying it does nothing.
mod commands;
mod equivalence;
mod no_trace;

use serde_json::{Value, json};

use crate::support::{
    client::Response,
    fixture::{House, builder, config, keys_file},
    gateway::{Gateway, run},
    process::Account,
    server::free_address,
    upstream::Upstream,
    wire::Address,
};

/// Something of everything that decides.
const MORE: &str = r#"
trusted_proxies: [127.0.0.9]
limits: {body_bytes: 1KiB, failed_authentications: {requests: 1000, per: 1h}}
revocation: {file: revoked.yaml}
"#;

const ROUTES: &str = r#"
  - {name: public, path_prefix: /public, auth: none, upstream: echo}
  - {name: optional, path_prefix: /optional, auth: optional, upstream: echo}
  - {name: mine, path_prefix: /mine, upstream: echo}
  - {name: orders, path_prefix: /orders, methods: [GET], require: {scopes: [orders:read]}, upstream: echo}
  - {name: order-changes, path_prefix: /orders, methods: [POST], require: {scopes: [orders:write]}, upstream: echo}
  - {name: admin, path_prefix: /admin, require: {roles: [admin]}, upstream: echo}
  - {name: apps, path_prefix: /apps, require: {principal: client}, upstream: echo}
  - {name: teams, path_prefix: /teams, require: {claims: {team: [red, blue]}}, upstream: echo}
  - {name: step, path_prefix: /step, require: {acr: [gold], max_age: 5m}, upstream: echo}
  - {name: near, path_prefix: /near, addresses: {allow: [10.0.0.0/8]}, auth: none, upstream: echo}
  - {name: trial, path_prefix: /trial, observe: {require: {roles: [admin]}}, upstream: echo}
  - {name: lenient, path_prefix: /lenient, insecure_observe_authentication: true, upstream: echo}
  - {name: teapot, path: /teapot, auth: none, respond: {status: 418, body: short}}
  - {name: api, path_prefix: /api, rewrite: {strip_prefix: /api, add_prefix: /v1, host: inner.test}, request_headers: {set: {X-Api: yes-it-is}, remove: [X-Old]}, token: {forward: true}, upstream: echo}
  - {name: session, path_prefix: /session, token: {sources: [{cookie: __Host-session}, {query: access_token}]}, csrf: {origins: ["https://app.test"]}, upstream: echo}
  - {name: pages, path_prefix: /pages, cors: {origins: ["https://app.test"], headers: [X-Page]}, upstream: echo}
  - {name: theirs, path_prefix: /theirs, cors: upstream, upstream: echo}
  - {name: hosted, hosts: [shop.test, "*.shop.test"], path_prefix: /, auth: none, upstream: echo}
  - {name: small, path_prefix: /small, auth: none, limits: {body_bytes: 10B}, upstream: echo}
  - {name: counted, path_prefix: /counted, auth: none, rate_limit: {requests: 1, per: 1h, by: address}, upstream: echo}
"#;

const REVOKED: &str = "- {sub: banned}\n- {jti: gone}\n";

/// A gateway with these rules, and the address of a listener that redirects.
fn start() -> (House, Address) {
    let upstream = Upstream::start();
    let plain = Address::Tcp(free_address());
    let web = "  - {name: web, address: \"{listen}\"}\n";
    let both = format!("{web}  - {{name: plain, address: \"{plain}\", redirect: https, redirect_port: 8443}}\n");
    let config = config(MORE, ROUTES).replacen(web, &both, 1);
    let gateway = Gateway::builder(config).set("upstream", upstream.address());
    let gateway = gateway.file("keys.json", keys_file()).file("revoked.yaml", REVOKED).start();
    (House { gateway, upstream }, plain)
}

/// Asks the running instance.
fn ask(gateway: &Gateway, question: &Value) -> Response {
    let admin = gateway.admin_address();
    let host = admin.to_string();
    let body = question.to_string();
    let length = body.len();
    let bytes = format!("POST /explain HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}");
    crate::support::client::exchange(admin, bytes).unwrap()
}

/// The explanation of the running instance, in which no token may stand.
fn explained(gateway: &Gateway, question: &Value) -> Value {
    let answer = ask(gateway, question);
    assert_eq!(answer.status, 200, "{}", answer.text());
    crate::support::minted::assert_none_in("an explanation", &answer.text());
    answer.json()
}

/// The files of a configuration that is not run.
fn written(more: &str, routes: &str) -> (String, crate::support::folder::Folder) {
    let upstream = Upstream::start();
    let (config, folder) = builder(more, routes, &upstream).file("revoked.yaml", REVOKED).write();
    (config.display().to_string(), folder)
}
