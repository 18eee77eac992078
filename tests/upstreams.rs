//! The servers behind the gateway: which one is asked, what happens when one fails, and what is spoken to them.
mod choice;
mod health;
mod http2;
mod load;
mod names;
mod pieces;
mod retries;
mod tls;

use crate::support::{
    client::{Client, Response, request_bytes},
    fixture::{self, good_bearer, keys_file},
    gateway::{Builder, Gateway},
    upstream::Upstream,
    waiting::{PATIENCE, eventually},
};

const ROUTES: &str = "  - {name: orders, path_prefix: /, upstream: echo}";

/// A gateway before it is started, whose upstream `echo` is written like this.
fn builder(echo: &str) -> Builder {
    let config = fixture::config("", ROUTES).replace("echo: {servers: [\"{upstream}\"]}", &format!("echo: {echo}"));
    Builder::new(config).file("keys.json", keys_file())
}

/// A list of servers as the configuration has it.
fn servers(upstreams: &[&Upstream]) -> String {
    let written: Vec<String> = upstreams.iter().map(|upstream| format!("\"{}\"", upstream.address())).collect();
    written.join(", ")
}

fn get(gateway: &Gateway) -> Response {
    gateway.get("/orders", &[("Authorization", &good_bearer())])
}

/// Waits until something holds; fails the test when it does not.
#[track_caller]
fn wait_for(gateway: &Gateway, what: &str, holds: impl Fn() -> bool) {
    let held = eventually(PATIENCE, || holds().then_some(()));
    assert!(held.is_some(), "{what}: {}", gateway.account().stderr);
}

/// Whether a server of `echo` is healthy, as the metric has it.
fn is_healthy(gateway: &Gateway, server: &str) -> bool {
    let server = format!("server=\"{server}\"");
    gateway.metric(|line| line.starts_with("portcullis_upstream_healthy{") && line.contains(&server)) > 0.0
}

fn retries(gateway: &Gateway) -> f64 {
    gateway.metric(|line| line.starts_with("portcullis_upstream_retries_total"))
}

/// One request with a body on this connection.
fn send(client: &mut Client, method: &str, target: &str, id: &str, body: &str) -> Response {
    let (token, length) = (good_bearer(), body.len().to_string());
    let mut headers = vec![("Authorization", token.as_str()), ("X-Test", id)];
    if !body.is_empty() {
        headers.push(("Content-Length", &length));
    }
    let mut bytes = request_bytes(method, target, &headers);
    bytes.extend_from_slice(body.as_bytes());
    client.send(bytes);
    client.read(method)
}
