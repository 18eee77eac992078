//! What holds for all changes: a request that passes only after one is told of as looser, one that passes only before it
//! as stricter. Whether it passes says the gate itself.
use std::{
    fmt::Write as _,
    net::IpAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use http::Version;
use portcullis::{
    config::difference::{Direction, compare},
    gate::{decide::Decision, request::Request, route::ListenerId, time::UnixTime},
    state::gatekeeper::{Gatekeeper, Patience},
};
use proptest::{
    prelude::*,
    sample::{select, subsequence},
    test_runner::{RngAlgorithm, TestError, TestRng, TestRunner},
};
use serde_json::{Value, json};

use crate::support::{
    fixture::{AUDIENCE, ISSUER, signing_key},
    ruleset::headers,
    table::{PARTNER, T, good_claims, keeper, load},
    token::Token,
};

/// What a route may say, one of each group; what is empty is left out.
const ROUTE: [&[&str]; 15] = [
    &[
        "path_prefix: /",
        "path_prefix: /a",
        "path_prefix: /a/b",
        "path_prefix: /a/B",
        "path: /a",
        "path: /a/",
        "path: /a/b/c",
        "path_prefix: /c",
    ],
    &["", "", "hosts: [api.test]", "hosts: ['*.test']"],
    &["", "", "methods: [GET]", "methods: [POST, OPTIONS]"],
    &["", "", "auth: optional", "auth: none", "insecure_observe_authentication: true"],
    &["issuers: [main]", "issuers: [main, partner]", "issuers: [partner]"],
    &["", "", "scopes: [a]", "scopes: [a, b]", "scopes: {any: [a, b]}"],
    &["", "", "", "roles: [a]", "roles: {any: [a, b]}"],
    &[
        "",
        "",
        "claims: {c: [1, x]}",
        "claims: {c: x}",
        "claims: [{claim: c, prefix: x}]",
        "claims: [{claim: c, exists: true}]",
        "claims: [{claim: c, exists: false}]",
        "claims: [{claim: c, contains: x}, {claim: d, exists: true}]",
        "claims: [{claim: c, contains_any: [1, x]}]",
        "claims: [{claim: [d, e], in: [1, 2]}]",
    ],
    &["", "", "principal: user", "principal: client", "audience: https://orders.test"],
    &["", "", "acr: [gold]", "acr: [gold, silver]", "max_age: 2m", "max_age: 1m"],
    &[
        "",
        "",
        "addresses: {allow: [10.0.0.0/8]}",
        "addresses: {allow: [10.0.0.0/8, 192.168.0.0/16], deny: [10.1.0.0/16]}",
        "addresses: {deny: [10.0.0.0/8]}",
        "addresses: {allow: ['::/0']}",
    ],
    &[
        "",
        "",
        "token: {sources: [{header: X-Token}]}",
        "token: {sources: [{header: Authorization}, {query: t}]}",
        "token: {sources: [{cookie: __Host-s}]}, csrf: {origins: [https://app.test]}",
        "token: {sources: [{cookie: __Host-s}, {header: Authorization}]}, csrf: {}",
    ],
    &["", "", "cors: upstream", "cors: {origins: [https://app.test], headers: [authorization]}"],
    &["", "paths: {case: exact}", "paths: {trailing_slash: exact}", "paths: {encoded_slash: opaque}"],
    &["", "", "limits: {body_bytes: 10B}", "limits: {body_bytes: 1KiB}", "limits: {body_bytes: none}"],
];

/// How many of these say which requests a route takes.
const MATCHING: usize = 3;

/// Which of these stand within `require`.
const REQUIRE: std::ops::Range<usize> = 5..10;

/// What the issuer `main` may say.
const MAIN: [&[&str]; 8] = [
    &["audiences: [AUDIENCE]", "audiences: [AUDIENCE, https://orders.test]", "insecure_any_audience: true"],
    &["", "leeway: 0s", "leeway: 1m"],
    &["", "", "max_lifetime: 1h", "max_lifetime: 2h"],
    &["", "", "require: {scopes: [a]}", "require: {claims: [{claim: c, exists: true}]}"],
    &["", "required_claims: [sub, acr]", "required_claims: []"],
    &["roles: roles", "roles: groups", "roles: [d, e]"],
    &["", "subject: [sub]", "subject: client_id"],
    &["", "", "token_types: [at+jwt]", "require_token_type: true"],
];

/// What holds for all routes.
const GLOBAL: [&[&str]; 5] = [
    &["", "", "limits: {uri_bytes: 64B}", "limits: {headers: 4}", "limits: {body_bytes: 100B}"],
    &[
        "identity: {headers: {X-Issuer: {from: issuer}}}",
        "identity: {headers: {X-Issuer: {from: issuer}, X-C: {claim: c, required: true}}}",
        "identity: {headers: {X-Issuer: {from: issuer}, X-C: {claim: c}}}",
        "identity: {headers: {X-Issuer: {from: issuer}, X-C: {claim: d, required: true}}, strip: [X-App-Port]}",
    ],
    &["", "", "token: {sources: [{header: X-Token}]}"],
    &["", "", "route_defaults: {limits: {body_bytes: 50B}}"],
    &["underscore_headers: keep", "underscore_headers: drop"],
];

const ROUTES_MAX: usize = 4;
const CHOICES: usize = MAIN.len() + GLOBAL.len() + ROUTES_MAX * ROUTE.len();

/// The configuration that these choices make. Routes that are alike differ in the requests that they take alone.
fn written(choices: &[usize], routes: usize, are_alike: bool) -> String {
    let mut left = choices.iter();
    let mut take = |groups: &[&[&'static str]]| -> Vec<&'static str> {
        groups.iter().map(|group| group[left.next().unwrap() % group.len()]).collect()
    };
    let joined = |parts: &[&str]| parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(", ");
    let main = joined(&take(&MAIN)).replace("AUDIENCE", AUDIENCE);
    let global = take(&GLOBAL);
    let mut text = format!(
        "listeners: [{{name: web, address: \"127.0.0.1:8080\"}}]
issuers:
  main: {{issuer: \"{ISSUER}\", keys: {{jwks_file: keys.json}}, {main}}}
  partner: {{issuer: \"{PARTNER}\", audiences: [\"{AUDIENCE}\"], roles: roles, keys: {{jwks_file: keys.json}}}}
upstreams: {{up: {{servers: [\"127.0.0.1:3000\"]}}}}
{}
routes:
",
        global.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("\n")
    );
    let all: Vec<Vec<&str>> = (0..routes).map(|_| take(&ROUTE)).collect();
    for (number, own) in all.iter().enumerate() {
        let parts = if are_alike { [&own[..MATCHING], &all[0][MATCHING..]].concat() } else { own.clone() };
        // Whoever needs no token can be asked for nothing.
        let is_public = parts[3] == "auth: none";
        let require = if is_public { String::new() } else { joined(&parts[REQUIRE]) };
        let keep = |position: &usize| !(REQUIRE.contains(position) || is_public && matches!(position, 4 | 11));
        let others: Vec<&str> = (0..parts.len()).filter(keep).map(|position| parts[position]).collect();
        let require = if require.is_empty() { require } else { format!("require: {{{require}}}, ") };
        writeln!(text, "  - {{name: r{number}, {require}{}, upstream: up}}", joined(&others)).unwrap();
    }
    text
}

/// A request, by its parts.
#[derive(Clone, Debug)]
struct Asked {
    method: &'static str,
    path: &'static str,
    host: &'static str,
    client: Option<&'static str>,
    place: &'static str,
    claims: Value,
    typ: Option<&'static str>,
    more: &'static [(&'static str, &'static str)],
    at: i64,
}

const PATHS: &[&str] = &[
    "/",
    "/a",
    "/a/",
    "/A",
    "/a/b",
    "/a/B",
    "/A/b",
    "/a/b/",
    "/a/B/x",
    "/a%2Fb",
    "/a%2fB",
    "/a/b/c",
    "/a/b/C",
    "/a/B/c",
    "/a/b%2Fc",
    "/a/b/c/",
    "/a/x",
    "/x",
    "/c",
    "/C",
    "/c/",
    "/c%2Fx",
    "/a/x%2F..%2Fb",
    "//a",
    "/a//b",
    "/a/./b",
    "/a;x/b",
    "/%61",
    "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

const FIELDS: &[&[(&str, &str)]] = &[
    &[],
    &[],
    &[("origin", "https://app.test"), ("sec-fetch-site", "cross-site")],
    &[("origin", "https://evil.test"), ("sec-fetch-site", "cross-site")],
    &[("sec-fetch-site", "same-origin")],
    &[("origin", "https://app.test"), ("access-control-request-method", "GET")],
    &[("origin", "https://app.test"), ("access-control-request-method", "POST")],
    &[("content-length", "60")],
    &[("content-length", "11")],
    &[("content-length", "2000")],
    &[("x-a", "1"), ("x-b", "2"), ("x-d", "3")],
    &[("x_c", "1")],
];

fn claims() -> impl Strategy<Value = Value> {
    let changes = (
        select(vec![json!("a"), json!("a b"), json!("b"), Value::Null]),
        select(vec![json!(["a"]), json!(["b"]), json!("a"), Value::Null]),
        select(vec![json!(AUDIENCE), json!([AUDIENCE, "https://orders.test"]), json!("https://orders.test")]),
        select(vec![json!("u1"), json!("c1"), Value::Null]),
        select(vec![json!("gold"), json!("silver"), Value::Null]),
        select(vec![json!(T), json!(T - 70), Value::Null]),
        select(vec![json!(1), json!("x"), json!("xy"), json!(["x", 1]), Value::Null]),
        select(vec![json!({"e": 1}), json!({"e": "a"}), Value::Null]),
        select(vec![json!(ISSUER), json!(ISSUER), json!(PARTNER)]),
    );
    changes.prop_map(|(scope, roles, aud, sub, acr, auth_time, c, d, iss)| {
        json!({
            "scope": scope, "roles": roles, "groups": roles, "aud": aud, "sub": sub, "acr": acr, "auth_time": auth_time,
            "c": c, "d": d, "iss": iss,
        })
    })
}

fn asked() -> impl Strategy<Value = Asked> {
    let parts = (
        select(vec!["GET", "GET", "POST", "OPTIONS", "DELETE"]),
        select(PATHS),
        select(vec!["api.test", "api.test", "b.test", "b.invalid"]),
        select(vec![None, Some("10.0.0.1"), Some("10.1.0.1"), Some("192.168.0.1"), Some("::1")]),
        select(vec!["none", "authorization", "authorization", "x-token", "cookie", "query", "bad", "two"]),
        claims(),
        select(FIELDS),
        select(vec![0_i64, 0, -80, 3590, 3640, 4000]),
        select(vec![Some("JWT"), Some("at+jwt"), None]),
    );
    parts.prop_map(|(method, path, host, client, place, claims, more, at, typ)| Asked {
        method,
        path,
        host,
        client,
        place,
        claims,
        typ,
        more,
        at,
    })
}

/// Its token.
fn token(asked: &Asked) -> String {
    let mut claims = good_claims();
    let all = claims.as_object_mut().unwrap();
    all.extend(asked.claims.as_object().unwrap().clone());
    all.retain(|_, value| !value.is_null());
    let token = Token::good().raw_payload(claims.to_string());
    let token = if let Some(typ) = asked.typ { token.header("typ", typ) } else { token.without_header("typ") };
    token.signed_by(signing_key())
}

/// Whether the gate lets it pass.
fn passes(keeper: &Gatekeeper, asked: &Asked, token: &str) -> bool {
    let (bearer, cookie, query) = (format!("Bearer {token}"), format!("__Host-s={token}"), format!("t={token}"));
    let mut fields: Vec<(&str, &str)> = asked.more.to_vec();
    let placed: &[(&str, &str)] = match asked.place {
        "authorization" => &[("authorization", &bearer)],
        "x-token" => &[("x-token", token)],
        "cookie" => &[("cookie", &cookie)],
        "bad" => &[("authorization", "Bearer abc")],
        "two" => &[("authorization", &bearer), ("x-token", token), ("cookie", &cookie)],
        _ => &[],
    };
    fields.extend(placed);
    let mut fields = headers(&fields);
    fields.insert(http::header::HOST, http::HeaderValue::from_static(asked.host));
    let request = Request {
        listener: ListenerId(0),
        client: asked.client.map(|client| client.parse::<IpAddr>().unwrap()),
        is_encrypted: true,
        version: Version::HTTP_11,
        method: asked.method,
        authority: None,
        path: asked.path,
        query: (asked.place == "query").then_some(query.as_str()),
        headers: &fields,
        target_bytes: asked.path.len(),
        presented: None,
    };
    let decision = keeper.decide(&request, UnixTime::from_seconds(T + asked.at), Patience::NotFetched).decision;
    matches!(decision, Decision::Pass(_))
}

#[test]
fn no_request_passes_or_is_refused_anew_without_being_told_of() {
    // The same changes in every run; PROPTEST_CASES asks for more of them.
    let config =
        ProptestConfig { failure_persistence: None, max_global_rejects: u32::MAX, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let choices = || prop::collection::vec(0_usize..120, CHOICES);
    let change = subsequence((0..CHOICES).collect::<Vec<_>>(), 1..8);
    let counts = (1..=ROUTES_MAX, prop_oneof![3 => Just(None), 1 => (1..=ROUTES_MAX).prop_map(Some)]);
    let asked = prop::collection::vec(asked(), 60);
    let (admitted, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let found = runner.run(
        &(choices(), choices(), change, counts, any::<bool>(), asked),
        |(old, other, change, counts, alike, asked)| {
            let new: Vec<usize> = (0..CHOICES)
                .map(|position| if change.contains(&position) { other[position] } else { old[position] })
                .collect();
            let texts = [(&old, counts.0), (&new, counts.1.unwrap_or(counts.0))]
                .map(|(choices, routes)| written(choices, routes, alike));
            // Two routes for the same requests, a rule that no token can meet: no configuration.
            let (Ok(before), Ok(now)) = (load(&texts[0]), load(&texts[1])) else {
                return Err(TestCaseError::reject("no"));
            };
            let changes = compare(&before, &now);
            let is_told =
                |directions: [Direction; 2]| changes.iter().any(|change| directions.contains(&change.direction));
            let keepers = texts.each_ref().map(|text| keeper(text, 0));
            for asked in &asked {
                let token = token(asked);
                let (before, now) = (passes(&keepers[0], asked, &token), passes(&keepers[1], asked, &token));
                let (count, directions) = match (before, now) {
                    (false, true) => (&admitted, [Direction::Looser, Direction::Unclear]),
                    (true, false) => (&refused, [Direction::Stricter, Direction::Unclear]),
                    (true, true) | (false, false) => continue,
                };
                count.fetch_add(1, Ordering::Relaxed);
                prop_assert!(
                    is_told(directions),
                    "{:?}: passed {before}, passes {now}, told\n{:?}\n{}\n{}",
                    asked,
                    changes,
                    texts[0],
                    texts[1]
                );
            }
            Ok(())
        },
    );
    match found {
        // The values themselves are in the reason, as people write them.
        Err(TestError::Fail(reason, _)) => panic!("{reason}"),
        found => found.unwrap(),
    }
    let counted = (admitted.into_inner(), refused.into_inner());
    assert!(counted.0 > 100 && counted.1 > 100, "too few requests tell the configurations apart: {counted:?}");
}
