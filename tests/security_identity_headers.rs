//! Nothing that a client says about identity reaches an upstream: on every kind of route, in every spelling, over real sockets.
use std::sync::Arc;

use serde_json::json;

use crate::support::{
    client::{Response, request_bytes},
    fixture::{House, good_bearer, signing_key},
    problem::check_problem,
    shared::Shared,
    token::{Token, bearer},
    upstream::{Answer, Seen},
    wire::folded,
};

/// A value that no honest part of a request has.
const FORGED: &str = "forged-by-the-client";

/// Every character of RFC 9110 §5.6.2 that is neither letter nor digit: an upstream may fold any of them.
const SEPARATORS: &str = "!#$%&'*+-.^_`|~";

const ROUTES: &str = r#"
  - {name: public, path_prefix: /public, auth: none, upstream: echo}
  - {name: optional, path_prefix: /optional, auth: optional, upstream: echo}
  - {name: required, path_prefix: /required, upstream: echo}
"#;

/// One house for each test that looks at what arrives; a test has it for itself, so that what arrived is its own.
fn house() -> House {
    House::start("  strip: [X-Department, \"X-Internal-*\"]", ROUTES)
}

/// A house for tests that look at the response alone.
fn shared() -> Arc<House> {
    static SHARED: Shared<House> = Shared::new();
    SHARED.get(house)
}

/// The ways to come in: a path and what the token says, if there is one.
fn entrances() -> Vec<(&'static str, Option<String>)> {
    vec![
        ("/public", None),
        ("/public", Some(good_bearer())),
        ("/optional", None),
        ("/optional", Some(good_bearer())),
        ("/required", Some(good_bearer())),
    ]
}

/// Sends these header lines through every entrance and hands what arrived to `check`, with the subject that was proven.
fn check(headers: &[(&str, &str)], check: impl Fn(&Seen, Option<&str>)) {
    let House { gateway, upstream } = &house();
    let mut client = gateway.connect();
    // At most 100 lines are allowed in a request.
    for group in headers.chunks(60) {
        for (path, authorization) in entrances() {
            let mut lines = group.to_vec();
            lines.extend(authorization.as_deref().map(|value| ("Authorization", value)));
            let response = client.get(path, &lines);
            assert_eq!(response.status, 200, "{path} {group:?}: {}", response.text());
            let seen = upstream.take();
            assert_eq!(seen.len(), 1, "{path}");
            check(&seen[0], authorization.filter(|_| path != "/public").map(|_| "u1"));
        }
    }
}

/// What must hold for whatever arrived: one line of the proven identity, and no trace of the forged one.
fn assert_only_the_proven_identity(seen: &Seen, subject: Option<&str>) {
    let expected: Vec<(&str, &str)> = subject.map(|subject| ("xuserid", subject)).into_iter().collect();
    let arrived: Vec<(String, &str)> =
        seen.head.folding_onto("X-User-ID").into_iter().map(|(name, value)| (folded(name), value)).collect();
    let arrived: Vec<(&str, &str)> = arrived.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(arrived, expected, "{:?}", seen.head.fields);
    assert!(seen.head.folding_onto("X-User-Roles").is_empty(), "{:?}", seen.head.fields);
    assert!(!seen.contains(FORGED), "{:?}", seen.head.fields);
}

/// Every name forged alone, each on a line of its own, through every entrance.
fn check_names(names: &[String]) {
    let headers: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), FORGED)).collect();
    check(&headers, assert_only_the_proven_identity);
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn an_identity_header_of_the_client_never_arrives_in_any_case() {
    check_names(&owned(&[
        "X-User-ID",
        "x-user-id",
        "X-USER-ID",
        "x-USER-id",
        "X-User-Id",
        "X-User-Roles",
        "x-user-roles",
        "X-User-Scopes",
    ]));
}

#[test]
fn no_respelling_that_an_upstream_could_fold_arrives() {
    let mut names = vec![
        "XUserID".to_owned(),
        "xuserid".to_owned(),
        "X--User-ID".to_owned(),
        "X-User-ID-".to_owned(),
        "-X-User-ID".to_owned(),
    ];
    for separator in SEPARATORS.chars() {
        names.push(format!("X{separator}User{separator}ID"));
        names.push(format!("X-User{separator}ID"));
        names.push(format!("x{separator}user-roles"));
        names.push(format!("X{separator}User_Roles"));
        names.push(format!("X-User-ID{separator}"));
    }
    check_names(&names);
}

#[test]
fn several_lines_of_a_client_leave_one_line_of_the_gateway() {
    check(
        &[("X-User-ID", FORGED), ("x-user-id", FORGED), ("X_User_ID", FORGED), ("X-User-ID", "u1")],
        |seen, subject| {
            assert_only_the_proven_identity(seen, subject);
            assert_eq!(seen.head.values("X-User-ID").len(), usize::from(subject.is_some()));
        },
    );
}

#[test]
fn what_the_configuration_strips_leaves_in_every_spelling() {
    check_names(&owned(&[
        "X-Department",
        "x_department",
        "X.Department",
        "X-Internal-Trust",
        "X_Internal_Trust",
        "X.INTERNAL.Level",
    ]));
}

#[test]
fn identity_headers_of_other_gateways_leave() {
    check_names(&owned(&[
        "X-Forwarded-User",
        "X-Forwarded-Email",
        "X-Forwarded-Groups",
        "X_Forwarded_User",
        "X-Auth-Request-User",
        "X-Auth-Request-Email",
        "X-Auth-Request-Groups",
        "x_auth_request_user",
        "X-Consumer-ID",
        "X-Consumer-Username",
        "X-Consumer-Custom-ID",
        "X-Authenticated-User",
        "X-Authenticated-Userid",
        "X-Authenticated-Scope",
        "Remote-User",
        "REMOTE_USER",
        "X-WEBAUTH-USER",
        "X-WebAuth-Email",
        "X-Amzn-Oidc-Identity",
        "X-Amzn-Oidc-Data",
        "X-Amzn-Oidc-Accesstoken",
        "X-Goog-Authenticated-User-Email",
        "X-Goog-IAP-JWT-Assertion",
        "Client-Cert",
        "Client_Cert",
        "X-SSL-Client-Cert",
        "X-SSL-Client-Verify",
        "X-SSL-Client-S-DN",
    ]));
}

#[test]
fn overrides_of_method_and_path_leave() {
    check_names(&owned(&[
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "x_http_method_override",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X_Original_URL",
        "X-Original-URI",
    ]));
}

#[test]
fn respellings_of_headers_with_a_meaning_leave() {
    check_names(&owned(&[
        "Ho.st",
        "Host_",
        "Authorization_",
        "Author.ization",
        "Coo_kie",
        "Content_Length",
        "Content.Length",
        "CONTENT_LENGTH",
        "Transfer_Encoding",
        "Transfer.Encoding",
        "Connection_",
        "Conn.ection",
        "Forwarded_",
        "For_warded",
        "X_Forwarded_For",
        "X.Forwarded.For",
        "X_Forwarded_Proto",
        "X_Forwarded_Host",
        "X_Real_IP",
        "X.Real.IP",
        "X_Request_Id",
        "X.Request.Id",
    ]));
}

#[test]
fn what_the_gateway_knows_about_the_connection_replaces_what_the_client_says() {
    let headers = [
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "evil.test"),
        ("X-Real-IP", "203.0.113.9"),
        ("Forwarded", "for=203.0.113.9;host=evil.test;proto=https"),
        ("X-Request-Id", FORGED),
    ];
    check(&headers, |seen, _| {
        assert_eq!(seen.head.values("X-Forwarded-For"), ["127.0.0.1"]);
        assert_eq!(seen.head.values("X-Real-IP"), ["127.0.0.1"]);
        assert_eq!(seen.head.values("X-Forwarded-Proto"), ["http"]);
        assert_eq!(seen.head.values("X-Forwarded-Host"), ["api.test"]);
        assert_eq!(seen.head.values("X-Request-Id").len(), 1);
        for forged in [FORGED, "203.0.113.9", "evil.test"] {
            assert!(!seen.contains(forged), "{forged}: {:?}", seen.head.fields);
        }
    });
}

#[test]
fn a_header_that_is_nobodys_own_passes_with_its_underscore() {
    check(&[("Foo_Bar", "kept"), ("X-Order", "kept"), ("X-User-Agent-Hint", "kept")], |seen, _| {
        assert_eq!(seen.head.value("Foo_Bar"), Some("kept"));
        assert_eq!(seen.head.value("X-Order"), Some("kept"));
        assert_eq!(
            seen.head.value("X-User-Agent-Hint"),
            Some("kept"),
            "what begins like an identity header is another name"
        );
    });
}

#[test]
fn underscores_leave_altogether_where_the_configuration_says_so() {
    let House { gateway, upstream } = &House::start("underscore_headers: drop", ROUTES);
    assert_eq!(gateway.get("/public", &[("Foo_Bar", "x"), ("Foo-Bar", "y")]).status, 200);
    let seen = upstream.take();
    assert_eq!(seen[0].head.folding_onto("Foo-Bar"), [("Foo-Bar", "y")]);
}

#[test]
fn a_token_without_roles_does_not_let_the_clients_roles_in() {
    let House { gateway, upstream } = &house();
    let mut client = gateway.connect();
    let with_roles = bearer(&Token::good().claim("roles", json!(["reader"])).signed_by(signing_key()));
    let without = good_bearer();
    for (authorization, expected) in [(&with_roles, vec!["reader"]), (&without, vec![]), (&with_roles, vec!["reader"])]
    {
        let forged = [("Authorization", authorization.as_str()), ("X-User-Roles", "admin"), ("X_User_Roles", "admin")];
        assert_eq!(client.get("/required", &forged).status, 200);
        let seen = upstream.take();
        assert_eq!(seen[0].head.values("X-User-Roles"), expected);
        assert_eq!(seen[0].head.folding_onto("X-User-Roles").len(), expected.len(), "{:?}", seen[0].head.fields);
    }
}

#[test]
fn a_connection_field_that_nominates_an_identity_header_is_refused() {
    let House { gateway, upstream } = &house();
    let nominations = [
        "X-User-ID",
        "x-user-id",
        "close, X-User-ID",
        "keep-alive , X-User-Roles",
        "X-User-ID, Host, Authorization",
        "x_user_id",
        "X-Department",
        "X-Internal-Trust",
        "X-Forwarded-User",
    ];
    for (path, authorization) in entrances() {
        for nomination in nominations {
            let mut lines = vec![("Connection", nomination)];
            lines.extend(authorization.as_deref().map(|value| ("Authorization", value)));
            check_problem(&gateway.get(path, &lines), 400, "header_forbidden", "GET");
        }
    }
    let several = [("Connection", "close"), ("Connection", "X-User-ID")];
    check_problem(&gateway.get("/public", &several), 400, "header_forbidden", "GET");
    assert!(upstream.take().is_empty());
}

#[test]
fn an_ordinary_nomination_removes_what_it_names_and_nothing_of_the_gateway() {
    let House { gateway, upstream } = &house();
    let authorization = good_bearer();
    let lines = [
        ("Authorization", authorization.as_str()),
        ("Connection", "keep-alive, X-Foo"),
        ("X-Foo", "1"),
        ("X-Bar", "2"),
    ];
    assert_eq!(gateway.get("/required", &lines).status, 200);
    let seen = &upstream.take()[0];
    assert_eq!(seen.head.value("X-Foo"), None);
    assert_eq!(seen.head.value("X-Bar"), Some("2"));
    assert_eq!(seen.head.values("X-User-ID"), ["u1"]);
}

#[test]
fn trailers_carry_nothing_to_the_upstream() {
    let House { gateway, upstream } = &house();
    for (path, authorization) in entrances() {
        let mut text =
            format!("POST {path} HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-User-ID\r\n");
        if let Some(authorization) = &authorization {
            text.push_str(&format!("Authorization: {authorization}\r\n"));
        }
        text.push_str(&format!(
            "\r\n4\r\nbody\r\n0\r\nX-User-ID: {FORGED}\r\nX_User_Roles: {FORGED}\r\nContent-Length: 3\r\n\r\n"
        ));
        let mut client = gateway.connect();
        client.send(text);
        let response = client.read("POST");
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(response.json()["body"], "body");
        assert_only_the_proven_identity(&upstream.take()[0], authorization.filter(|_| path != "/public").map(|_| "u1"));
    }
}

#[test]
fn an_upgrade_is_no_way_around() {
    let House { gateway, upstream } = &house();
    for protocol in ["websocket", "h2c", "foo"] {
        let upgrade = [
            ("Connection", "Upgrade"),
            ("Upgrade", protocol),
            ("X-User-ID", FORGED),
            ("X_User_Roles", FORGED),
            ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
        ];
        check_problem(&gateway.get("/required", &upgrade), 401, "token_missing", "GET");
        assert!(upstream.take().is_empty(), "{protocol}");
        for (path, authorization) in entrances() {
            let mut lines = upgrade.to_vec();
            lines.extend(authorization.as_deref().map(|value| ("Authorization", value)));
            assert_eq!(gateway.get(path, &lines).status, 200, "{path} {protocol}");
            let seen = &upstream.take()[0];
            assert_only_the_proven_identity(seen, authorization.filter(|_| path != "/public").map(|_| "u1"));
            assert_eq!(seen.head.value("HTTP2-Settings"), None, "{protocol}");
            assert!(protocol == "websocket" || seen.head.value("Upgrade").is_none(), "{protocol}");
        }
    }
}

#[test]
fn an_upstream_that_switches_protocols_unasked_is_not_followed() {
    let House { gateway, upstream } = &house();
    upstream.set_answer(Answer::Bytes(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n".to_vec(),
    ));
    for lines in [vec![], vec![("Connection", "Upgrade"), ("Upgrade", "foo")]] {
        check_problem(&gateway.get("/public", &lines), 502, "upstream_unreachable", "GET");
    }
}

#[test]
fn a_preflight_carries_no_identity_and_needs_a_token_like_any_request() {
    let House { gateway, upstream } = &house();
    let lines = [("Origin", "https://app.test"), ("Access-Control-Request-Method", "GET"), ("X-User-ID", FORGED)];
    let mut client = gateway.connect();
    check_problem(&client.request("OPTIONS", "/required", &lines), 401, "token_missing", "OPTIONS");
    assert!(upstream.take().is_empty());
    assert_eq!(client.request("OPTIONS", "/public", &lines).status, 200);
    assert_only_the_proven_identity(&upstream.take()[0], None);
}

#[test]
fn the_token_itself_stays_at_the_entrance() {
    let House { gateway, upstream } = &house();
    for (path, authorization) in [
        ("/public", "Bearer not-even-a-token".to_owned()),
        ("/public", format!("Basic eDp5, {}", good_bearer())),
        ("/public", format!(",{}", good_bearer())),
        ("/public", good_bearer()),
        ("/optional", good_bearer()),
        ("/required", good_bearer()),
    ] {
        assert_eq!(gateway.get(path, &[("Authorization", &authorization)]).status, 200, "{path}");
        let seen = &upstream.take()[0];
        assert!(seen.head.folding_onto("Authorization").is_empty(), "{path}: {:?}", seen.head.fields);
    }
}

#[test]
fn credentials_of_another_scheme_are_forwarded_where_no_token_is_required() {
    let House { gateway, upstream } = &house();
    let basic = [("Authorization", "Basic dXNlcjpwYXNz")];
    for path in ["/public", "/optional"] {
        assert_eq!(gateway.get(path, &basic).status, 200);
        let seen = &upstream.take()[0];
        assert_eq!(seen.head.values("Authorization"), ["Basic dXNlcjpwYXNz"], "{path}");
        assert!(seen.head.folding_onto("X-User-ID").is_empty());
    }
    check_problem(&gateway.get("/required", &basic), 401, "token_missing", "GET");
    assert!(upstream.take().is_empty());
}

#[test]
fn a_token_is_forwarded_only_where_the_configuration_says_so() {
    let House { gateway, upstream } = &House::start("token: {forward: true}", ROUTES);
    let authorization = good_bearer();
    assert_eq!(gateway.get("/required", &[("Authorization", &authorization)]).status, 200);
    assert_eq!(upstream.take()[0].head.values("Authorization"), [authorization.as_str()]);
}

#[test]
fn an_upstream_cannot_tell_clients_who_they_are() {
    let House { gateway, upstream } = &house();
    let answer = "HTTP/1.1 200 OK\r\nX-User-ID: u1\r\nx_user_roles: admin\r\nX-Kept: yes\r\nKeep-Alive: timeout=9\r\nContent-Length: 0\r\n\r\n";
    upstream.set_answer(Answer::Bytes(answer.into()));
    let response = gateway.get("/public", &[]);
    assert_eq!(response.header("X-Kept"), Some("yes"));
    for name in ["X-User-ID", "X-User-Roles"] {
        assert!(response.head.folding_onto(name).is_empty(), "{:?}", response.head.fields);
    }
    assert_eq!(response.header("Keep-Alive"), None, "hop by hop");
}

#[test]
fn every_response_names_its_request() {
    let house = shared();
    let request_id = |response: Response| {
        assert_eq!(response.head.values("X-Request-Id").len(), 1, "{:?}", response.head.fields);
        response.header("X-Request-Id").unwrap().to_owned()
    };
    let first = request_id(house.gateway.get("/public", &[("X-Request-Id", FORGED)]));
    let second = request_id(house.gateway.get("/public", &[]));
    let refused = request_id(house.gateway.get("/required", &[]));
    assert!(first != FORGED && first != second && second != refused, "{first} {second} {refused}");
}

#[test]
fn a_refused_request_with_forged_headers_is_seen_by_nobody() {
    let House { gateway, upstream } = &house();
    let mut client = gateway.connect();
    for _ in 0..3 {
        client.send(request_bytes("GET", "/required", &[("X-User-ID", FORGED), ("X_User_ID", FORGED)]));
        check_problem(&client.read("GET"), 401, "token_missing", "GET");
    }
    assert!(upstream.requests().is_empty());
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn what_a_route_sets_or_removes_is_the_routes_in_every_spelling() {
    let routes = r#"
  - {name: set, path_prefix: /, auth: none, upstream: echo, request_headers: {set: {X-Env: prod}, remove: [X-Debug]}}"#;
    let House { gateway, upstream } = &House::start("", routes);
    let forged = [("X_Env", FORGED), ("x.env", FORGED), ("X-Env", FORGED), ("X_Debug", FORGED), ("X-Debug", FORGED)];
    assert_eq!(gateway.get("/x", &forged).status, 200);
    let seen = upstream.take();
    assert_eq!(seen[0].head.folding_onto("X-Env"), [("X-Env", "prod")]);
    assert!(!seen[0].contains(FORGED), "{:?}", seen[0].head.fields);
}
