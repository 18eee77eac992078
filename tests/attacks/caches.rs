//! What is remembered of a token, and what must never follow from it.
use serde_json::json;

use super::Attack;
use crate::support::{
    fixture::{AUDIENCE, House, builder, keys_file, signing_key},
    keys::{SigningKey, key_set},
    token::{Token, bearer},
    upstream::Upstream,
};

const CONFIG: &str = r#"
listeners: [{name: web, address: "{listen}"}]
admin: {address: "{admin}"}
server: {threads: 1}
issuers:
  main: {issuer: https://issuer.test, audiences: [https://api.test], keys: {jwks_file: keys.json}, roles: roles}
  other: {issuer: https://other.test, audiences: [https://api.test], keys: {jwks_file: other.json}, roles: roles}
identity: {headers: {X-User-ID: {from: subject}, X-Issuer: {from: issuer}}}
routes:
  - {name: after, path: /after, auth: none, upstream: echo}
  - {name: main, path_prefix: /main, issuers: [main], upstream: echo}
  - {name: other, path_prefix: /other, issuers: [other], upstream: echo}
  - {name: both, path_prefix: /both, issuers: [main, other], upstream: echo}
  - {name: readers, path_prefix: /readers, issuers: [main], require: {roles: [reader]}, upstream: echo}
  - {name: admins, path_prefix: /admins, issuers: [main], require: {roles: [admin]}, upstream: echo}
  - {name: scoped, path_prefix: /scoped, issuers: [main], require: {scopes: ["orders:write"]}, upstream: echo}
upstreams: {echo: {servers: ["{upstream}"]}}
"#;

/// Another issuer's key, of the same name.
fn other_key() -> &'static SigningKey {
    static KEY: std::sync::OnceLock<SigningKey> = std::sync::OnceLock::new();
    KEY.get_or_init(|| SigningKey::p256("e1"))
}

fn house() -> House {
    let upstream = Upstream::start();
    let gateway = crate::support::gateway::Gateway::builder(CONFIG)
        .set("upstream", upstream.address())
        .file("keys.json", keys_file())
        .file("other.json", key_set(&[other_key().jwk_for("ES256")]))
        .start();
    House { gateway, upstream }
}

/// The statuses that one token gets on these routes, in turn, twice over: the second time it is remembered.
#[track_caller]
fn check(house: &House, token: &str, expected: &[(&str, u16)]) {
    for (target, status) in expected.iter().chain(expected) {
        let trace = Attack::get("a verdict is remembered", target, &[("Authorization", &bearer(token))]).send(house);
        assert_eq!(trace.status(), Some(*status), "{target}");
        assert_eq!(trace.bytes.is_empty(), *status != 200, "{target}");
    }
}

#[test]
fn a_remembered_token_is_judged_on_each_route_oathkeeper_ghsa_4mq7_and_cve_2021_32701() {
    let house = house();
    let reader = Token::good().claim("roles", json!(["reader"])).signed_by(signing_key());
    check(
        &house,
        &reader,
        &[
            ("/readers", 200),
            ("/admins", 403),
            ("/main", 200),
            ("/other", 401),
            ("/scoped", 403),
            ("/both", 200),
            ("/readers", 200),
        ],
    );
    let admin = Token::good().claim("roles", json!(["admin"])).claim("scope", "orders:write").signed_by(signing_key());
    check(&house, &admin, &[("/admins", 200), ("/readers", 403), ("/scoped", 200), ("/other", 401)]);
}

#[test]
fn one_name_of_a_key_in_two_issuers_agentgateway_and_kong_3_6() {
    let house = house();
    let main = Token::good().signed_by(signing_key());
    let other = Token::good().claim("iss", "https://other.test").signed_by(other_key());
    check(&house, &main, &[("/main", 200), ("/other", 401), ("/both", 200)]);
    check(&house, &other, &[("/other", 200), ("/main", 401), ("/both", 200)]);
    // Signed by the other's key of the same name.
    check(&house, &Token::good().signed_by(other_key()), &[("/main", 401), ("/both", 401), ("/other", 401)]);
    check(
        &house,
        &Token::good().claim("iss", "https://other.test").signed_by(signing_key()),
        &[("/other", 401), ("/both", 401)],
    );
    // The same subject of two issuers is two people.
    for (token, issuer) in [(&main, "main"), (&other, "other")] {
        let trace = Attack::get("one subject", "/both", &[("Authorization", &bearer(token))]).send(&house);
        assert_eq!(trace.seen[0].head.values("X-Issuer"), [issuer]);
    }
}

#[test]
fn times_at_the_ends_of_numbers_kong_oidc_3_15_0_1() {
    let house = house();
    for exp in [json!(0), json!(-1), json!(i64::MIN), json!(i64::MAX), json!(u64::MAX), json!(1e300), json!(null)] {
        let token = Token::good().claim("exp", exp.clone()).signed_by(signing_key());
        check(&house, &token, &[("/main", 401)]);
    }
}

#[test]
fn the_subject_of_one_request_is_never_the_next_ones_kong_2637_and_authcrunch_4f1fd2a() {
    let house = house();
    let mut client = house.gateway.connect();
    let tokens: Vec<String> =
        (0..20).map(|number| Token::good().claim("sub", format!("user-{number}")).signed_by(signing_key())).collect();
    for _ in 0..3 {
        for (number, token) in tokens.iter().enumerate() {
            assert_eq!(client.get("/main", &[("Authorization", &bearer(token))]).status, 200);
            assert_eq!(house.upstream.take()[0].head.values("X-User-ID"), [format!("user-{number}")]);
            assert_eq!(client.get("/main", &[]).status, 401);
        }
    }
}

#[test]
fn a_token_that_differs_in_its_last_letter_is_another_one() {
    let upstream = Upstream::start();
    let gateway = builder("", "  - {name: all, path_prefix: /, upstream: echo}\n", &upstream).start();
    let good = Token::good().claim("aud", AUDIENCE).signed_by(signing_key());
    assert_eq!(gateway.get("/", &[("Authorization", &bearer(&good))]).status, 200);
    let letters = ["A", "Q", "g", "w", "B", "-", "_"];
    for letter in letters.iter().filter(|letter| !good.ends_with(**letter)) {
        let other = format!("{}{letter}", &good[..good.len() - 1]);
        assert_eq!(gateway.get("/", &[("Authorization", &bearer(&other))]).status, 401, "{letter}");
    }
}
