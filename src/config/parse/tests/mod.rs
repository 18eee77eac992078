//! What configurations mean and what is wrong with them, from text to values. Files are given, none is read.
use std::path::Path;

use crate::config::load::{Loaded, Secrets, load_text};
use crate::config::settings::Config;
use crate::config::surroundings::given::Given;

mod good;
mod policy;
mod rate_limits;
mod refused;
mod refused_routes;
mod sample;
mod upstreams;
mod whole_table;

/// A small configuration that is right; tests change a part of it.
const BASE: &str = r#"listeners:
  - {name: web, address: "127.0.0.1:8080"}
issuers:
  main:
    issuer: https://a.test
    audiences: [api]
    keys: {jwks_file: keys.json}
    roles: roles
identity:
  headers: {X-User-ID: {from: subject}}
routes:
  - {name: orders, path_prefix: /orders, upstream: orders}
upstreams:
  orders: {servers: ["127.0.0.1:9000"]}
"#;

/// A second issuer, to stand before `identity`.
const SECOND: &str = "  second: {issuer: https://b.test, audiences: [api], keys: {jwks_file: keys.json}}\nidentity:";

fn world() -> Given {
    Given::default()
        .file("/c/keys.json", include_bytes!("testdata/keys.json"))
        .file("/c/mixed.json", br#"{"keys": [{"kty": "oct", "kid": "s1", "k": "AAAA"}, {"kty":"EC","crv":"P-256","kid":"e1","x":"xtOQrHhs24f3On3pt-AKTBQLYtU4Kn01Fp14i_4Ajxw","y":"-Mkgav8d-jcnDqjX-i8jEWlivWqsVWKBCVTTWB87qgQ"}]}"#)
        .file("/c/unusable.json", br#"{"keys": [{"kty": "oct", "kid": "s1", "k": "AAAA"}]}"#)
        .file("/c/rsa.pem", include_bytes!("testdata/rsa.pem"))
        .file("/c/ec.pem", include_bytes!("testdata/ec.pem"))
        .file("/c/client.pem", include_bytes!("testdata/client.pem"))
        .file("/c/client.key", include_bytes!("testdata/client.key"))
        .file("/c/other.key", include_bytes!("testdata/other.key"))
        .file("/c/private.pem", b"-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n")
        .file("/c/text", b"hello\n")
        .file("/c/empty", b"")
        .file("/c/newline", b"\n")
        .file("/c/binary", b"a\x01b")
        .file("/c/short.key", b"0123456789\n")
        .file("/c/hmac.key", b"0123456789abcdef0123456789abcdef0123456789abcdef\n")
        .file("/c/revoked.yaml", b"- {sub: u1, note: left}\n- sid: s1\n  issuer: main\n  until: 2030-01-01T00:00:00Z\n")
        .file("/c/none-revoked.yaml", b"[]\n")
        .file("/c/wrong.yaml", include_bytes!("testdata/revoked.yaml"))
        .file("/c/mapping.yaml", b"sub: u1\n")
        .file("/c/comment.yaml", b"# - {sub: u1}\n")
        .file("/c/read.token", b"0123456789abcdef\n")
        .file("/run/credentials/hmac", &[b'k'; 64])
        .variable("HIDDEN", "hunter2")
        .variable("PORT", "8081")
}

fn load_in(text: &str, world: &Given, secrets: Secrets) -> Loaded {
    let loaded = load_text("a.yaml", text.as_bytes(), Path::new("/c"), world, secrets);
    assert_eq!(loaded.config.is_some(), !loaded.problems.has_errors(), "{}", loaded.problems.render());
    let said = format!("{}{:?}{:?}", loaded.problems.render(), loaded.problems.to_json(), loaded.skipped);
    assert!(!said.contains("hunter2"), "{said}");
    loaded
}

fn load(text: &str) -> Loaded {
    load_in(text, &world(), Secrets::Read)
}

/// `BASE` with changes; each must find its place.
fn changed(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(BASE.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from} is not in\n{text}");
        text.replacen(from, to, 1)
    })
}

fn config(changes: &[(&str, &str)]) -> Config {
    let text = changed(changes);
    let loaded = load(&text);
    loaded.config.unwrap_or_else(|| panic!("{text}\n{}", loaded.problems.render()))
}

/// Messages with their hints, errors before warnings.
fn messages(loaded: &Loaded) -> Vec<String> {
    let say = |problem: &crate::config::error::ConfigError| {
        let place = format!("{}:{}", problem.position.line, problem.position.column);
        match &problem.hint {
            Some(hint) => format!("{place} {} ({hint})", problem.message),
            None => format!("{place} {}", problem.message),
        }
    };
    loaded.problems.sorted().into_iter().map(say).collect()
}
