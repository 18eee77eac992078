//! Identity headers that a client forges, and how other gateways let them through.
use serde_json::json;

use super::{Attack, ROUTES, check_refused, house};
use crate::support::{
    attack::AFTER,
    fixture::{self, House, good_bearer, signing_key},
    gateway::Gateway,
    token::{Token, bearer},
    upstream::{Answer, Seen},
    wire::find,
};

/// A value that no honest part of a request has.
const FORGED: &str = "forged-by-the-client";

/// Every character of a field name that is neither letter nor digit (RFC 9110 §5.6.2).
const SEPARATORS: &str = "!#$%&'*+-.^_`|~";

/// One identity at most, and it is the proven one.
fn assert_only_proven(hole: &str, seen: &Seen, subject: Option<&str>) {
    let values: Vec<&str> = seen.head.folding_onto("X-User-ID").iter().map(|(_, value)| *value).collect();
    assert_eq!(values, subject.into_iter().collect::<Vec<_>>(), "{hole}: {:?}", seen.head.fields);
    assert!(seen.head.folding_onto("X-User-Roles").is_empty(), "{hole}: {:?}", seen.head.fields);
    assert!(!seen.contains(FORGED), "{hole}: {:?}", seen.head.fields);
}

/// Forges these header lines on a public route without a token and on a closed one with a token.
fn check_removed(hole: &'static str, names: &[&str]) {
    let house = house();
    let headers: Vec<(&str, &str)> = names.iter().map(|name| (*name, FORGED)).collect();
    for (attack, subject) in [
        (Attack::get(hole, "/public/x", &headers), None),
        (Attack::get(hole, "/optional/x", &headers), None),
        (Attack::with_token(hole, "/orders/x", &headers), Some("u1")),
    ] {
        let trace = attack.send(&house);
        assert_eq!((trace.status(), trace.seen.len()), (Some(200), 1), "{hole}");
        assert_only_proven(hole, &trace.seen[0], subject);
    }
}

#[test]
fn underscores_for_hyphens_traefik_cve_2026_33433_and_54763_caddy_ghsa_f59h_oauth2_proxy_cve_2025_64484() {
    check_removed(
        "a name with underscores survives the removal of the canonical one",
        &["X_User_ID", "x_user_id", "X_USER_ID", "X-User_ID", "x-user_id", "X_User-Id", "X_User_Roles", "x_user_roles"],
    );
}

#[test]
fn any_separator_traefik_cve_2026_88011() {
    let names: Vec<String> = SEPARATORS
        .chars()
        .flat_map(|separator| [format!("X{separator}User{separator}ID"), format!("x{separator}user-roles{separator}")])
        .collect();
    check_removed("a dot or another token character is collapsed by PHP and others", &borrowed(&names));
}

fn borrowed(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

#[test]
fn trailers_traefik_cve_2026_88004() {
    let house = house();
    for (path, token, subject) in
        [("/public/x", String::new(), None), ("/orders/x", format!("Authorization: {}\r\n", good_bearer()), Some("u1"))]
    {
        for announced in ["", "Trailer: X-User-ID\r\n", "TE: trailers\r\nConnection: TE\r\n"] {
            let hole = "a trusted name in a trailer";
            let attack = Attack::new(
                hole,
                format!(
                    "POST {path} HTTP/1.1\r\nHost: api.test\r\n{token}{announced}Transfer-Encoding: chunked\r\n\r\n\
                     2\r\nhi\r\n0\r\nX-User-ID: {FORGED}\r\nX_User_ID: {FORGED}\r\nX-Forwarded-For: {FORGED}\r\n\
                     Authorization: {FORGED}\r\nHost: {FORGED}\r\n\r\n"
                ),
            );
            let trace = attack.send(&house);
            assert_eq!((trace.status(), trace.seen.len()), (Some(200), 1));
            assert_only_proven(hole, &trace.seen[0], subject);
            assert!(trace.seen[0].body_raw.ends_with(b"0\r\n\r\n"), "the body ends without trailers");
        }
    }
}

#[test]
fn forwarding_headers_traefik_cve_2026_39858_35051_54764() {
    let names = [
        "X_Forwarded_Proto",
        "X-Forwarded-Prefix",
        "X_Forwarded_Prefix",
        "X-Forwarded-Port",
        "X-Forwarded-Server",
        "X-Forwarded-Method",
        "X-Forwarded-Uri",
        "X-Forwarded-Tls-Client-Cert",
        "X-Forwarded-Proto",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "Forwarded",
        "X-Real-Ip",
        "X-Forwarded",
    ];
    check_removed("what the gateway did not see itself is told to the service", &names);
    let house = house();
    let headers: Vec<(&str, &str)> = names.iter().map(|name| (*name, FORGED)).collect();
    let trace = Attack::get("forwarding headers", "/public/x", &headers).send(&house);
    let told: Vec<(&str, &str)> = trace.seen[0]
        .head
        .fields
        .iter()
        .filter(|(name, _)| name.to_ascii_lowercase().contains("forwarded") || name.eq_ignore_ascii_case("x-real-ip"))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let known = [
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Real-IP", "127.0.0.1"),
        ("X-Forwarded-Host", "api.test"),
        ("X-Forwarded-Proto", "http"),
        ("Forwarded", "for=127.0.0.1;host=\"api.test\";proto=http"),
    ];
    assert_eq!(told.len(), known.len(), "{told:?}");
    assert!(known.iter().all(|header| told.contains(header)), "{told:?}");
}

#[test]
fn nominations_by_connection_traefik_cve_2024_52003_and_45410_fabio_cve_2025_48865() {
    let house = house();
    let attacks: Vec<Attack> = [
        "X-User-ID",
        "close, X-User-ID",
        "keep-alive,x_user_id",
        "X-User-Roles",
        "X-Forwarded-User",
        "Host",
        "Authorization",
        "Cookie",
        "Content-Length",
        "Transfer-Encoding",
        "X-Request-Id",
        "traceparent",
        "Via",
        "X-Real-IP",
        "Forwarded",
    ]
    .iter()
    .flat_map(|nominated| {
        let lines = [("Connection", *nominated)];
        let hole = "a client has the gateway's own header removed as hop-by-hop";
        [Attack::get(hole, "/public/x", &lines), Attack::with_token(hole, "/orders/x", &lines)]
    })
    .collect();
    check_refused(&house, 400, "header_forbidden", &attacks);
    for nominated in ["X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"] {
        let trace = Attack::get("nominated", "/public/x", &[("Connection", nominated)]).send(&house);
        assert!(trace.is_refused(), "{nominated}");
    }
}

#[test]
fn two_gateways_in_a_row_tell_the_identity_once() {
    let inner = house();
    let outer = Gateway::builder(fixture::config("token: {forward: true}", ROUTES))
        .set("upstream", inner.gateway.address())
        .file("keys.json", fixture::keys_file())
        .start();
    let authorization = good_bearer();
    let lines = [
        ("Authorization", authorization.as_str()),
        ("Connection", "keep-alive, X-Foo"),
        ("X-Foo", FORGED),
        ("X_User_ID", FORGED),
        ("X-User-ID", FORGED),
    ];
    assert_eq!(outer.get("/orders/x", &lines).status, 200);
    let seen = inner.upstream.take();
    assert_only_proven("two in a row", &seen[0], Some("u1"));
    assert_eq!(seen[0].head.values("Via"), ["1.1 portcullis", "1.1 portcullis"]);
    let nominating = [("Authorization", authorization.as_str()), ("Connection", "close, X-User-ID")];
    assert_eq!(outer.get("/orders/x", &nominating).status, 400);
    assert!(inner.upstream.take_bytes().ends_with(&seen[0].head.raw), "nothing more arrived");
}

#[test]
fn a_claim_that_is_missing_caddy_ghsa_7r4p_kong_oidc_3_13_apisix_13183_and_13330() {
    let house = house();
    let authorization = bearer(&Token::good().without("scope").signed_by(signing_key()));
    let hole = "the client's value stays where the token has none";
    let names = ["X-User-Roles", "X_User_Roles", "X-User-Scopes", "x.user.scopes"];
    let mut headers: Vec<(&str, &str)> = names.iter().map(|name| (*name, "admin")).collect();
    headers.push(("Authorization", &authorization));
    let trace = Attack::get(hole, "/orders/x", &headers).send(&house);
    assert_eq!(trace.status(), Some(200));
    for name in names {
        assert!(trace.seen[0].head.folding_onto(name).is_empty(), "{hole}: {:?}", trace.seen[0].head.fields);
    }
}

#[test]
fn routes_where_no_verifier_runs_envoy_and_istio() {
    let house = house();
    let forged = [("X-User-ID", FORGED), ("X_User_Roles", FORGED)];
    let hole = "headers are cleaned only where a token is verified";
    let preflight = [forged[0], forged[1], ("Origin", "https://a.test"), ("Access-Control-Request-Method", "GET")];
    let upgrade = [forged[0], forged[1], ("Connection", "Upgrade"), ("Upgrade", "websocket")];
    for (method, target, headers) in [
        ("GET", "/public/x", &forged[..]),
        ("GET", "/exact", &forged),
        ("GET", "/optional", &forged),
        ("OPTIONS", "/public/x", &preflight),
        ("GET", "/public/x", &upgrade),
    ] {
        let trace = Attack::new(hole, crate::support::client::request_bytes(method, target, headers)).send(&house);
        assert_eq!((trace.status(), trace.seen.len()), (Some(200), 1), "{method} {target}");
        assert_only_proven(hole, &trace.seen[0], None);
    }
    // Nobody behind sees what the gateway answers itself, or what it refuses.
    for (target, status) in [("/health", 204), ("/nowhere", 404), ("/orders/x", 401), ("/admin", 401)] {
        let trace = Attack::get(hole, target, &forged).send(&house);
        assert_eq!(trace.status(), Some(status), "{target}");
        assert!(trace.bytes.is_empty(), "{target}");
    }
}

#[test]
fn a_header_that_is_given_twice_envoy_cve_2026_26308() {
    let house = house();
    let token = good_bearer();
    let other = bearer(&Token::good().claim("sub", "u2").signed_by(signing_key()));
    let hole = "one of two values is judged, the other one forwarded";
    let twice = |first: &str, second: &str| {
        Attack::get(hole, "/orders/x", &[("Authorization", first), ("authorization", second)])
    };
    check_refused(
        &house,
        400,
        "token_repeated",
        &[
            twice(&token, &token),
            twice(&token, &other),
            twice("Basic eDp5", &token),
            twice(&token, "Basic eDp5"),
            Attack::get(hole, "/orders/x", &[("Authorization", &format!("{token}, {other}"))]),
            Attack::get(hole, "/optional/x", &[("Authorization", &token), ("Authorization", &token)]),
        ],
    );
    for hosts in ["api.test\r\nHost: api.test", "api.test\r\nHost: other.test", "api.test, other.test"] {
        let trace = Attack::new(hole, format!("GET /public/x HTTP/1.1\r\nHost: {hosts}\r\n\r\n")).send(&house);
        assert!(trace.is_refused() && trace.status() == Some(400), "{hosts}");
    }
}

#[test]
fn a_name_that_only_ends_as_it_should_oauth2_proxy_ghsa_c5c4() {
    let routes = r#"
  - {name: after, path: /after, auth: none, upstream: echo}
  - {name: corp, path_prefix: /corp, require: {roles: ["a@corp.test"]}, upstream: echo}
"#;
    let house = House::start("", routes);
    let status = |role: &str| {
        let token = bearer(&Token::good().claim("roles", json!([role])).signed_by(signing_key()));
        Attack::get("a name passes by its end", "/corp", &[("Authorization", &token)]).send(&house).status()
    };
    assert_eq!(status("a@corp.test"), Some(200));
    for role in [
        "a@evil.test@corp.test",
        "a@corp.test@evil.test",
        "A@corp.test",
        " a@corp.test",
        "a@corp.test,",
        "x,a@corp.test",
    ] {
        assert_eq!(status(role), Some(403), "{role}");
    }
}

#[test]
fn an_error_of_the_upstream_tells_nothing_that_was_forged_and_leaves_nothing_behind() {
    let house = house();
    house.upstream.set_answer(Answer::CloseAtOnce);
    let response = house.gateway.get("/public/x", &[("X-User-ID", FORGED)]);
    assert_eq!(response.status, 502);
    assert!(find(&response.head.raw, FORGED.as_bytes()).is_none() && !response.text().contains(FORGED));
    house.upstream.set_answer(Answer::Echo);
    assert_eq!(house.gateway.get(AFTER, &[]).status, 200);
    assert_only_proven("after an error", house.upstream.take().last().unwrap(), None);
}
