//! Revocation over real sockets: what ends which tokens, where entries come from, and that nothing that fails brings one
//! back to life.
mod admin;
mod commands;
mod looking_back;
mod sources;

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{
    client::{Client, Response},
    fixture::{AUDIENCE, House, builder, signing_key},
    gateway::{Builder, Gateway},
    problem::check_problem,
    token::{Token, bearer, now},
    upstream::Upstream,
    waiting::{PATIENCE, eventually},
    wire::Address,
};

/// Routes that ask for a token, for a role besides, and for nothing.
const ROUTES: &str = "  - {name: all, path_prefix: /, upstream: echo}
  - {name: strict, path_prefix: /strict, require: {roles: [admin]}, upstream: echo}
  - {name: open, path: /open, auth: none, respond: {status: 204}}
";

/// A gateway of [`ROUTES`] with these top-level keys besides, and its upstream.
fn start(more: &str) -> House {
    start_with(more, |builder| builder)
}

fn start_with(more: &str, change: impl FnOnce(Builder) -> Builder) -> House {
    let upstream = Upstream::start();
    let gateway = change(builder(more, ROUTES, &upstream)).start();
    House { gateway, upstream }
}

/// The socket through which anything may be changed.
fn socket(gateway: &Gateway) -> Address {
    Address::Unix(gateway.folder().path().join("run/admin.sock"))
}

fn change(address: &Address, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Response {
    let mut client = Client::connect(address);
    let host = if headers.iter().any(|(name, _)| *name == "Host") { "" } else { "Host: localhost\r\n" };
    let mut head = format!("{method} {target} HTTP/1.1\r\n{host}Content-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    client.send(format!("{head}\r\n{body}"));
    client.read(method)
}

fn post(gateway: &Gateway, entry: &Value) -> Response {
    change(&socket(gateway), "POST", "/revocations", &[], &entry.to_string())
}

/// Makes an entry, and gives its id.
fn revoke(gateway: &Gateway, entry: &Value) -> String {
    let made = post(gateway, entry);
    assert_eq!(made.status, 201, "{entry}: {}", made.text());
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(made.header("Location"), Some(format!("/revocations/{id}").as_str()));
    id
}

fn unrevoke(gateway: &Gateway, id: &str) {
    let gone = change(&socket(gateway), "DELETE", &format!("/revocations/{id}"), &[], "");
    assert_eq!(gone.status, 200, "{}", gone.text());
}

fn entries(gateway: &Gateway) -> Vec<Value> {
    gateway.admin_get("/revocations").json()["entries"].as_array().unwrap().clone()
}

fn ask(gateway: &Gateway, target: &str, token: &str) -> Response {
    gateway.get(target, &[("Authorization", &bearer(token))])
}

/// The reason for which a token is refused; nothing when it passes.
fn reason(gateway: &Gateway, token: &str) -> Option<String> {
    let response = ask(gateway, "/", token);
    (response.status != 200).then(|| response.json()["reason"].as_str().unwrap().to_owned())
}

/// Waits until a token is judged so.
fn becomes(gateway: &Gateway, token: &str, expected: Option<&str>) {
    let is_so = || (reason(gateway, token).as_deref() == expected).then_some(());
    let found = eventually(PATIENCE, is_so);
    assert!(found.is_some(), "it stays {:?}, not {expected:?}", reason(gateway, token));
}

fn signed(token: Token) -> String {
    token.signed_by(signing_key())
}

fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap().to_string()
}

#[test]
fn every_field_ends_the_tokens_that_have_it_at_the_next_request_and_no_others() {
    let house = start("");
    let gateway = &house.gateway;
    let issued = now() - 60;
    let token = signed(Token::good().claim("jti", "j1").claim("sid", "s1"));
    let numbered = signed(Token::good().claim("sid", 7));
    let undated = signed(Token::good().without("iat"));
    let nameless = signed(Token::good().without_header("kid"));
    let all = [&token, &numbered, &undated, &nameless];
    let banned = Some("subject_revoked");
    let ended = Some("token_revoked");
    type Row<'a> = (Value, [Option<&'a str>; 4]);
    let rows: [Row<'_>; 18] = [
        (json!({"jti": "j1"}), [ended, None, None, None]),
        (json!({"sub": "u1"}), [banned; 4]),
        (json!({"sub": "u2"}), [None; 4]),
        (json!({"sub": "U1"}), [None; 4]),
        (json!({"sid": "s1"}), [ended, None, None, None]),
        (json!({"sid": "7"}), [None, ended, None, None]),
        (json!({"kid": "e1"}), [ended; 4]),
        (json!({"client": "c1"}), [ended; 4]),
        (json!({"issuer": "main"}), [ended; 4]),
        (json!({"issuer": "main", "sub": "u1"}), [banned; 4]),
        (json!({"sub": "u1", "sid": "s1"}), [banned, None, None, None]),
        (json!({"jti": "j1", "sid": "s2"}), [None; 4]),
        (json!({"issued_before": rfc3339(issued + 30)}), [ended; 4]),
        (json!({"issued_before": rfc3339(issued - 30)}), [None, None, ended, None]),
        (json!({"sub": "u1", "issued_before": rfc3339(issued + 30)}), [ended; 4]),
        (json!({"sub": "u1", "issued_before": rfc3339(issued - 30)}), [None, None, ended, None]),
        (json!({"client": "c1", "kid": "e1", "until": rfc3339(now() + 3600), "note": "x"}), [ended; 4]),
        (json!({"sub": "u2", "issued_before": rfc3339(issued + 30)}), [None; 4]),
    ];
    for token in all {
        assert_eq!(reason(gateway, token), None, "remembered from now on");
    }
    for (entry, expected) in rows {
        let id = revoke(gateway, &entry);
        house.upstream.take();
        for (token, expected) in all.into_iter().zip(expected) {
            let response = ask(gateway, "/", token);
            match expected {
                None => assert_eq!(response.status, 200, "{entry}: {}", response.text()),
                Some(reason) => {
                    let status = if reason == "subject_revoked" { 403 } else { 401 };
                    let line = gateway.access_line(&check_problem(&response, status, reason, "GET"));
                    assert_eq!(line["auth"]["cache"], "hit", "remembered all the same: {line}");
                    let detail = line["auth"]["detail"].as_str().unwrap();
                    assert!(detail.starts_with(&format!("entry {id} of own, which names ")), "{detail}");
                }
            }
        }
        let passed = expected.iter().filter(|reason| reason.is_none()).count();
        assert_eq!(house.upstream.take().len(), passed, "{entry}: what was refused is not forwarded");
        unrevoke(gateway, &id);
        for token in all {
            assert_eq!(reason(gateway, token), None, "taken back: {entry}");
        }
    }
}

#[test]
fn revocation_is_judged_without_a_cache_too() {
    let house = start("claims_cache: {entries: 0}");
    let token = signed(Token::good());
    assert_eq!(reason(&house.gateway, &token), None);
    revoke(&house.gateway, &json!({"sub": "u1"}));
    assert_eq!(reason(&house.gateway, &token).as_deref(), Some("subject_revoked"));
}

#[test]
fn what_is_wrong_with_the_token_comes_first_and_what_the_route_wants_comes_after() {
    let house = start("");
    let gateway = &house.gateway;
    revoke(gateway, &json!({"kid": "e1"}));
    let expired = signed(Token::good().claim("exp", now() - 3600));
    let early = signed(Token::good().claim("nbf", now() + 3600));
    let foreign = signed(Token::good().claim("aud", "https://other.test"));
    assert_ne!(AUDIENCE, "https://other.test");
    for (token, expected) in
        [(&expired, "token_expired"), (&early, "token_not_yet_valid"), (&foreign, "audience_mismatch")]
    {
        assert_eq!(reason(gateway, token).as_deref(), Some(expected));
    }
    let response = ask(gateway, "/strict", &signed(Token::good()));
    check_problem(&response, 401, "token_revoked", "GET");
    assert_eq!(gateway.get("/open", &[("Authorization", &bearer(&signed(Token::good())))]).status, 204);
    assert!(house.upstream.take().is_empty());
}

#[test]
fn who_is_banned_is_told_so_even_when_the_token_is_ended_too() {
    let house = start_with("revocation: {file: revoked.yaml}", |builder| builder.file("revoked.yaml", "- {sub: u1}\n"));
    let token = signed(Token::good().claim("jti", "j1"));
    revoke(&house.gateway, &json!({"jti": "j1"}));
    check_problem(&ask(&house.gateway, "/", &token), 403, "subject_revoked", "GET");
}

#[test]
fn a_subject_is_the_one_that_the_log_names_or_the_claim_sub() {
    let upstream = Upstream::start();
    let config = crate::support::fixture::config("", ROUTES).replacen(
        "roles: roles",
        "roles: roles\n    subject: [user, id]",
        1,
    );
    let gateway = Gateway::builder(config)
        .set("upstream", upstream.address())
        .file("keys.json", crate::support::fixture::keys_file())
        .start();
    let token = |id: &str, sub: &str| signed(Token::good().claim("user", json!({"id": id})).claim("sub", sub));
    let (one, other, third) = (token("a", "1"), token("b", "2"), token("c", "3"));
    revoke(&gateway, &json!({"sub": "a"}));
    revoke(&gateway, &json!({"sub": "2", "issuer": "main"}));
    assert_eq!(reason(&gateway, &one).as_deref(), Some("subject_revoked"));
    assert_eq!(reason(&gateway, &other).as_deref(), Some("subject_revoked"));
    assert_eq!(reason(&gateway, &third), None);
}

#[test]
fn under_load_the_revoked_are_refused_from_the_next_request_on_and_nobody_else_is() {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    let house = start("");
    let gateway = &house.gateway;
    let token = |sub: &str, jti: &str| bearer(&signed(Token::good().claim("sub", sub).claim("jti", jti)));
    let (good, bad) = (token("good", "g"), token("bad", "b"));
    let (is_revoked, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    let (passed, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let enough = |count: &AtomicUsize, more: usize| {
        let wanted = count.load(Ordering::SeqCst) + more;
        assert!(eventually(PATIENCE, || (count.load(Ordering::SeqCst) >= wanted).then_some(())).is_some());
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut client = gateway.connect();
                while !is_over.load(Ordering::SeqCst) {
                    assert_eq!(client.get("/good", &[("Authorization", &good)]).status, 200);
                    let was_revoked = is_revoked.load(Ordering::SeqCst);
                    let status = client.get("/bad", &[("Authorization", &bad)]).status;
                    assert!(status == 403 || (status == 200 && !was_revoked), "{status} after it was revoked");
                    (if status == 200 { &passed } else { &refused }).fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        enough(&passed, 30);
        for number in 0..50 {
            revoke(gateway, &json!({"jti": format!("somebody-else-{number}")}));
        }
        revoke(gateway, &json!({"sub": "bad"}));
        is_revoked.store(true, Ordering::SeqCst);
        enough(&refused, 30);
        is_over.store(true, Ordering::SeqCst);
    });
    assert_eq!(gateway.metric(|line| line.starts_with("portcullis_revocations ")), 51.0);
}

#[test]
fn an_entry_counts_until_its_end_and_is_gone_then() {
    let house = start("");
    let gateway = &house.gateway;
    let token = signed(Token::good());
    let end = now() + 3;
    revoke(gateway, &json!({"sub": "u1", "until": rfc3339(end)}));
    revoke(gateway, &json!({"sub": "u2", "until": rfc3339(end + 3600)}));
    assert_eq!(reason(gateway, &token).as_deref(), Some("subject_revoked"));
    becomes(gateway, &token, None);
    assert!(now() >= end, "not before its time");
    let left = entries(gateway);
    assert_eq!((left.len(), &left[0]["sub"]), (1, &json!("u2")), "not shown, swept away or not: {left:?}");
    let own = gateway.folder().path().join("state/revocations/own.json");
    let is_gone = |path: &Path| (!std::fs::read_to_string(path).unwrap().contains("u1")).then_some(());
    assert!(eventually(PATIENCE, || is_gone(&own)).is_some(), "on disk too");
    let late = post(gateway, &json!({"sub": "u1", "until": rfc3339(now() - 1)}));
    assert_eq!((late.status, late.text().contains("`until` has passed")), (400, true));
}
