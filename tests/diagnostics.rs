//! What the diagnostic log says, and what it must not say at any level. Every output is searched for tokens when a gateway stops.
use crate::support::{
    client::{exchange, request_bytes},
    fixture::{self, good_bearer, keys_file, signing_key},
    gateway::Gateway,
    minted,
    server::free_address,
    token::Token,
};

const ROUTES: &str = r#"
  - {name: public, path_prefix: /public, auth: none, upstream: echo}
"#;

/// A gateway whose upstream is down, at this level of the log.
fn gateway_without_upstream(level: &str) -> Gateway {
    let builder = Gateway::builder(fixture::config("", ROUTES)).set("upstream", free_address());
    builder.file("keys.json", keys_file()).env("RUST_LOG", level).start()
}

#[test]
fn a_token_in_a_failing_request_is_in_no_log_whatever_the_level() {
    for level in ["trace", "pingora_proxy=trace", "pingora_proxy=error", "pingora_core=trace,pingora=trace"] {
        let gateway = gateway_without_upstream(level);
        let token = Token::good().signed_by(signing_key());
        let target = format!("/public?access_token={token}");
        assert_eq!(gateway.get(&target, &[("Authorization", &good_bearer())]).status, 502, "{level}");
        // Not parsed as HTTP at all; the answer is of no interest here.
        let _ = exchange(gateway.address(), format!("GET {target} HTTP/1.1\r\nHost : a\r\n\r\n"));
        let _ = exchange(gateway.address(), format!("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: {token}\r\n\r\n"));
        assert_eq!(gateway.stop().code(), Some(0), "{level}");
    }
}

#[test]
fn a_secret_in_a_malformed_request_to_the_admin_address_is_in_no_log() {
    let secret = "a-read-token-that-nobody-may-see";
    minted::remember_secret(secret);
    let gateway = gateway_without_upstream("info");
    let admin = gateway.admin_address();
    let _ = exchange(admin, format!("GET /config HTTP/1.1\r\nHost : a\r\nAuthorization: Bearer {secret}\r\n\r\n"));
    let _ = exchange(admin, request_bytes("GET", &format!("/config?token={secret}"), &[("X-Odd", "a\u{1}b")]));
    assert_eq!(gateway.admin_get("/livez").status, 200);
    assert_eq!(gateway.stop().code(), Some(0));
}
