//! Pages of other origins: preflights, and what browsers are told about every answer.
use super::{APP, COOKIE, EVIL, house, reason, send, session, start, token};
use crate::support::{
    client::{Response, request_bytes},
    fixture::House,
    upstream::Answer,
    waiting::Gate,
};

/// The fields about other origins, sorted; `vary` is one of them.
fn told(response: &Response) -> Vec<String> {
    let is_told =
        |name: &str| name.to_ascii_lowercase().starts_with("access-control-") || name.eq_ignore_ascii_case("vary");
    let fields = response.head.fields.iter().filter(|(name, _)| is_told(name));
    let mut told: Vec<String> = fields.map(|(name, value)| format!("{}: {value}", name.to_ascii_lowercase())).collect();
    told.sort();
    told
}

const PREFLIGHT_VARY: &str = "vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers";

#[test]
fn a_true_preflight_is_answered_before_a_token_is_asked_for() {
    let house = start("http://page.test");
    let ask = |target: &str, origin: &str, method: &str| {
        let headers = [
            ("Origin", origin),
            ("Access-Control-Request-Method", method),
            ("Access-Control-Request-Headers", "authorization,content-type"),
        ];
        let response = send(&house, "OPTIONS", target, &headers);
        assert_eq!((response.status, response.body.len()), (204, 0), "{target} {origin} {method}");
        assert!(response.header("X-Request-Id").is_some() && response.header("Content-Length").is_none());
        told(&response)
    };
    assert_eq!(
        ask("/app/x?y", APP, "PUT"),
        [
            "access-control-allow-credentials: true",
            "access-control-allow-headers: authorization, content-type",
            "access-control-allow-methods: PUT",
            "access-control-allow-origin: https://app.test",
            "access-control-max-age: 600",
            PREFLIGHT_VARY,
        ]
    );
    assert_eq!(
        ask("/reader", APP, "GET"),
        [
            "access-control-allow-headers: authorization",
            "access-control-allow-methods: GET",
            "access-control-allow-origin: https://app.test",
            PREFLIGHT_VARY,
        ]
    );
    assert_eq!(
        ask("/public", "null", "DELETE"),
        [
            "access-control-allow-headers: x-a",
            "access-control-allow-methods: DELETE",
            "access-control-allow-origin: *",
            "access-control-max-age: 0",
            PREFLIGHT_VARY,
        ]
    );
    // An origin or a method that is not allowed is told nothing that would let the browser go on.
    for origin in [EVIL, "null", "https://app.test.evil.test", "http://app.test", "https://app.test:8443"] {
        assert_eq!(ask("/app", origin, "PUT"), [PREFLIGHT_VARY], "{origin}");
    }
    assert_eq!(ask("/reader", APP, "HEAD"), [PREFLIGHT_VARY]);
    assert!(house.upstream.take().is_empty());
    let line = house.gateway.log_line(|line| line["method"] == "OPTIONS" && line["route"] == "reader").unwrap();
    assert_eq!((line["status"].as_u64(), line["auth"]["result"].as_str()), (Some(204), Some("anonymous")));
}

#[test]
fn every_other_options_is_a_request_like_any_other() {
    let house = start("http://page.test");
    let (origin, method) = (("Origin", APP), ("Access-Control-Request-Method", "PUT"));
    for headers in [
        &[][..],
        &[origin],
        &[method],
        &[origin, origin, method],
        &[origin, ("Origin", EVIL), method],
        &[origin, method, method],
        &[origin, ("Access-Control-Request-Method", "put")],
        &[origin, ("Access-Control-Request-Method", "")],
        &[origin, ("Access-Control-Request-Method", "TRACE")],
        &[("Origin", "app.test"), method],
        &[("Origin", ""), method],
        &[origin, ("Access_Control_Request_Method", "PUT")],
        &[origin, method, ("Connection", "Upgrade"), ("Upgrade", "websocket")],
    ] {
        assert_eq!(reason(&send(&house, "OPTIONS", "/app", headers)), "token_missing", "{headers:?}");
    }
    // A body is none of a preflight's.
    let mut client = house.gateway.connect();
    let with_body = request_bytes("OPTIONS", "/app", &[origin, method, ("Content-Length", "2")]);
    client.send([with_body.as_slice(), b"hi"].concat());
    assert_eq!(reason(&client.read("OPTIONS")), "token_missing");
    // A route without `cors` says nothing, and lets nothing pass for the sake of browsers.
    assert_eq!(reason(&send(&house, "OPTIONS", "/header", &[origin, method])), "token_missing");
    assert_eq!(reason(&send(&house, "OPTIONS", "/nowhere", &[origin, method])), "route_not_found");
    assert_eq!(reason(&send(&house, "GET", "/app", &[origin, method])), "token_missing");
    // It is the route of the method that is asked for: here one without `cors`, on the path of one that has it.
    let response = send(&house, "OPTIONS", "/reader", &[origin, method]);
    assert_eq!((reason(&response).as_str(), told(&response).len()), ("method_not_allowed", 0));
    let delete = [origin, ("Access-Control-Request-Method", "DELETE")];
    assert_eq!(reason(&send(&house, "OPTIONS", "/reader", &delete)), "method_not_allowed");
    // Ambiguous paths are refused to browsers, too.
    assert_eq!(reason(&send(&house, "OPTIONS", "/app/..%2f..%2freader", &[origin, method])), "path_ambiguous");
    assert!(house.upstream.take().is_empty());
}

#[test]
fn a_preflight_for_the_upstream_carries_nobodys_identity() {
    let house = start("http://page.test");
    house.upstream.set_answer(Answer::Bytes(
        b"HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: https://its.test\r\nVary: X\r\n\r\n".to_vec(),
    ));
    let (token, session) = (token(), session());
    let cookies = format!("a=1; {session}");
    let bearer = format!("Bearer {token}");
    let headers = [
        ("Origin", EVIL),
        ("Access-Control-Request-Method", "PATCH"),
        ("Cookie", cookies.as_str()),
        ("Authorization", bearer.as_str()),
        ("X-User-ID", "admin"),
        ("x_user_roles", "admin"),
    ];
    let response = send(&house, "OPTIONS", &format!("/its-own/x?access_token={token}&b=1"), &headers);
    assert_eq!(response.status, 204);
    // What it says to browsers passes as it is.
    assert_eq!(told(&response), ["access-control-allow-origin: https://its.test", "vary: X"]);
    let seen = house.upstream.take();
    let head = &seen[0].head;
    assert_eq!((seen[0].method(), seen[0].target()), ("OPTIONS", "/its-own/x?b=1"));
    assert!(!seen[0].contains(&token));
    assert_eq!((head.value("Cookie"), head.values("Access-Control-Request-Method")), (None, vec!["PATCH"]));
    for owned in ["Authorization", "X-User-ID", "X-User-Roles", "X-User-Scopes"] {
        assert!(head.folding_onto(owned).is_empty(), "{owned}");
    }
    // Nor credentials of the upstream's own, which nobody has judged: a browser sends none along.
    let headers = [headers[0], headers[1], ("Authorization", "Basic YWRtaW46Z3Vlc3M="), ("Cookie", "session=its-own")];
    assert_eq!(send(&house, "OPTIONS", "/its-own/x", &headers).status, 204);
    let head = house.upstream.take()[0].head.clone();
    assert_eq!((head.value("Authorization"), head.value("Cookie")), (None, None));
    // An OPTIONS that is no preflight needs a token, and then forwards it, as this route says.
    assert_eq!(reason(&send(&house, "OPTIONS", "/its-own", &[("Origin", EVIL)])), "token_missing");
    assert!(house.upstream.take().is_empty());
    assert_eq!(send(&house, "OPTIONS", "/its-own", &[("Authorization", &bearer)]).status, 204);
    let head = house.upstream.take()[0].head.clone();
    assert_eq!((head.values("Authorization"), head.values("X-User-ID")), (vec![bearer.as_str()], vec!["u1"]));
    // Refusals of the gate say nothing for the upstream.
    assert!(told(&send(&house, "GET", "/its-own", &[("Origin", EVIL)])).is_empty());
}

/// Nobody was asked who it is from, so that its address is all that can be counted.
#[test]
fn preflights_that_reach_the_upstream_are_counted_by_every_limit_of_their_route() {
    for by in ["address", "subject", "token", "issuer"] {
        let route = format!(
            "  - {{name: its-own, path_prefix: /, cors: upstream, rate_limit: {{requests: 2, per: 1h, by: {by}}}, \
             upstream: echo}}\n"
        );
        let house = House::start("", &route);
        let preflight = [("Origin", APP), ("Access-Control-Request-Method", "GET")];
        let reasons = [0; 4].map(|_| reason(&send(&house, "OPTIONS", "/", &preflight)));
        assert_eq!(reasons, ["-", "-", "rate_limited", "rate_limited"], "{by}");
        assert_eq!(house.upstream.take().len(), 2, "{by}: a refused request reached the upstream");
    }
}

#[test]
fn what_the_upstream_says_about_other_origins_is_replaced_and_never_doubled() {
    let house = start("http://page.test");
    let answer = |vary: &str| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\naccess-control-allow-origin: https://evil.test\r\n\
             Access-Control-Allow-Credentials: true\r\nAccess-Control-Expose-Headers: X-Secret\r\n\
             Access-Control-Allow-Private-Network: true\r\n{vary}ETag: \"1\"\r\nContent-Length: 0\r\n\r\n"
        );
        house.upstream.set_answer(Answer::Bytes(head.into_bytes()));
    };
    let bearer = format!("Bearer {}", token());
    let get = |target: &str, origin: Option<&str>| {
        let headers: Vec<(&str, &str)> =
            [("Authorization", bearer.as_str())].into_iter().chain(origin.map(|origin| ("Origin", origin))).collect();
        let response = send(&house, "GET", target, &headers);
        assert_eq!(response.status, 200);
        told(&response)
    };
    let granted = [
        "access-control-allow-credentials: true",
        "access-control-allow-origin: https://app.test",
        "access-control-expose-headers: ETag",
    ];
    answer("");
    assert_eq!(get("/app", Some(APP)), [&granted[..], &["vary: Origin"]].concat());
    for origin in [Some(EVIL), Some("null"), None] {
        assert_eq!(get("/app", origin), ["vary: Origin"], "{origin:?}");
    }
    assert_eq!(get("/public", Some(EVIL)), ["access-control-allow-origin: *"]);
    assert_eq!(get("/public", None), ["access-control-allow-origin: *"]);
    assert_eq!(get("/reader", Some(APP)), ["access-control-allow-origin: https://app.test", "vary: Origin"]);
    // A route without `cors` is as its upstream has it.
    assert_eq!(get("/header", Some(EVIL)).len(), 5);
    answer("Vary: Accept-Encoding\r\n");
    assert_eq!(get("/app", Some(APP)), [&granted[..], &["vary: Accept-Encoding", "vary: Origin"]].concat());
    answer("Vary: Accept, origin\r\n");
    assert_eq!(get("/app", Some(APP)), [&granted[..], &["vary: Accept, origin"]].concat());
    answer("Vary: *\r\n");
    assert_eq!(get("/app", Some(APP)), [&granted[..], &["vary: *"]].concat());
}

#[test]
fn a_refusal_and_a_failure_can_be_read_by_pages_that_may_read() {
    let house = start("http://page.test");
    let gate = Gate::default();
    house.upstream.set_answer(Answer::EchoAfter(gate.clone()));
    let bad = format!("{COOKIE}=x");
    let exposed =
        "access-control-expose-headers: ETag, WWW-Authenticate, Retry-After, RateLimit, RateLimit-Policy, X-Request-Id";
    let plain =
        "access-control-expose-headers: WWW-Authenticate, Retry-After, RateLimit, RateLimit-Policy, X-Request-Id";
    for (method, target, cookie, status, expose) in [
        ("GET", "/app", "a=1", 401, exposed),
        ("POST", "/app", bad.as_str(), 401, exposed),
        ("GET", "/app", "__Host-session=a; __Host-session=b", 400, exposed),
        ("GET", "/down", "a=1", 502, plain),
        ("GET", "/slow", "a=1", 504, plain),
    ] {
        let response = send(&house, method, target, &[("Origin", APP), ("Cookie", cookie)]);
        assert_eq!(response.status, status, "{target}");
        let told = told(&response);
        assert!(told.contains(&"access-control-allow-origin: https://app.test".to_owned()), "{target}: {told:?}");
        assert!(told.contains(&expose.to_owned()) && told.contains(&"vary: Origin".to_owned()), "{target}: {told:?}");
        let response = send(&house, "GET", target, &[("Origin", EVIL), ("Cookie", cookie)]);
        assert_eq!((response.status, self::told(&response)), (status, vec!["vary: Origin".to_owned()]), "{target}");
    }
    gate.open();
    let answer = send(&house, "GET", "/fixed", &[("Origin", APP)]);
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    assert_eq!(told(&answer), ["access-control-allow-origin: https://app.test", "vary: Origin"]);
}

#[test]
fn an_origin_decides_what_a_page_reads_and_never_who_may_pass() {
    let house = house();
    let bearer = format!("Bearer {}", token());
    for origin in [EVIL, "null", "", "not an origin"] {
        let headers = [("Authorization", bearer.as_str()), ("Origin", origin)];
        assert_eq!(send(&house, "POST", "/app", &headers).status, 200, "{origin}");
    }
}
