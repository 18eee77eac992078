//! Requests that a browser makes for another site's page: a cookie opens nothing for them.
use super::{APP, EVIL, OWN, PARTNER, house, reason, send, session, start, token};
use crate::support::{problem::check_problem, upstream::Upstream};

fn saw_nothing(upstream: &Upstream, of: &str) {
    assert!(upstream.take().is_empty(), "{of} reached the upstream");
}

#[test]
fn a_request_that_could_be_forged_is_refused_before_its_token_is_looked_at() {
    let house = start("http://page.test");
    let session = session();
    for headers in [
        &[][..],
        &[("Origin", EVIL)],
        &[("Origin", "null")],
        &[("Origin", "http://api.test.evil.test")],
        &[("Origin", "https://api.test")],
        &[("Origin", "http://api.test:8080")],
        &[("Origin", "http://API.test")],
        &[("Origin", "http://api.test/")],
        &[("Origin", "https://partner.test.evil.test")],
        &[("Origin", OWN), ("Origin", OWN)],
        &[("Origin", EVIL), ("Origin", OWN)],
        &[("Origin", PARTNER), ("Origin", PARTNER)],
        &[("Origin", "https://app.test, http://api.test")],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "same-site")],
        &[("Sec-Fetch-Site", "same-origin, same-origin")],
        &[("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "same-origin")],
        &[("Sec-Fetch-Site", "cross-site"), ("Origin", OWN)],
        &[("Sec-Fetch-Site", "cross-site"), ("Origin", EVIL)],
        &[("Referer", "http://api.test/app")],
        &[("X-Requested-With", "XMLHttpRequest")],
        &[("Sec_Fetch_Site", "same-origin")],
    ] {
        for method in ["POST", "PUT", "PATCH", "DELETE", "PURGE"] {
            let headers: Vec<(&str, &str)> = [("Cookie", session.as_str())].iter().chain(headers).copied().collect();
            let response = send(&house, method, "/app", &headers);
            check_problem(&response, 403, "csrf_rejected", method);
            saw_nothing(&house.upstream, &format!("{method} {headers:?}"));
        }
    }
    // Neither is a bad cookie, nor a second token: nothing is said to another site about either.
    let bearer = format!("Bearer {}", token());
    for headers in [
        &[("Cookie", "__Host-session=x")][..],
        &[("Cookie", session.as_str()), ("Cookie", session.as_str())],
        &[("Cookie", session.as_str()), ("Authorization", bearer.as_str())],
        &[("Cookie", "a=1; __Host-session")],
    ] {
        assert_eq!(reason(&send(&house, "POST", "/app", headers)), "csrf_rejected");
        assert_eq!(reason(&send(&house, "POST", "/optional", headers)), "csrf_rejected");
    }
    saw_nothing(&house.upstream, "a forged request");
}

#[test]
fn a_request_of_the_same_origin_or_of_one_that_is_allowed_passes() {
    let house = house();
    let session = session();
    for headers in [
        &[("Origin", OWN)][..],
        &[("Origin", APP)],
        &[("Origin", PARTNER)],
        &[("Sec-Fetch-Site", "same-origin")],
        &[("Sec-Fetch-Site", "none")],
        &[("Sec-Fetch-Site", "same-origin"), ("Origin", "https://api.test")],
        &[("Sec-Fetch-Site", "same-origin"), ("Origin", "null")],
        &[("Sec-Fetch-Site", "cross-site"), ("Origin", APP)],
        &[("Sec-Fetch-Site", "same-site"), ("Origin", PARTNER)],
    ] {
        for method in ["POST", "DELETE"] {
            let headers: Vec<(&str, &str)> = [("Cookie", session.as_str())].iter().chain(headers).copied().collect();
            assert_eq!(send(&house, method, "/app", &headers).status, 200, "{method} {:?}", &headers[1..]);
        }
    }
    // The port is part of the origin, and of the host that the browser names.
    let with_port = [("Host", "api.test:8080"), ("Cookie", session.as_str()), ("Origin", "http://api.test:8080")];
    assert_eq!(send(&house, "POST", "/app", &with_port).status, 200);
    let other_port = [("Host", "api.test:8080"), ("Cookie", session.as_str()), ("Origin", OWN)];
    assert_eq!(reason(&send(&house, "POST", "/app", &other_port)), "csrf_rejected");
    // What `cors` of another route allows is nothing to this one.
    let headers = [("Cookie", session.as_str()), ("Origin", APP)];
    assert_eq!(reason(&send(&house, "POST", "/optional", &headers)), "csrf_rejected");
}

#[test]
fn a_safe_method_passes_from_anywhere_but_a_websocket_does_not() {
    let house = start("http://page.test");
    let session = session();
    let cookie = ("Cookie", session.as_str());
    for method in ["GET", "HEAD", "OPTIONS"] {
        let headers = [cookie, ("Origin", EVIL), ("Sec-Fetch-Site", "cross-site")];
        assert_eq!(send(&house, method, "/app", &headers).status, 200, "{method}");
    }
    house.upstream.take();
    let handshake = [cookie, ("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")];
    for origin in [Some(EVIL), Some("null"), Some("https://api.test"), None] {
        let headers: Vec<(&str, &str)> = handshake.into_iter().chain(origin.map(|origin| ("Origin", origin))).collect();
        check_problem(&send(&house, "GET", "/app", &headers), 403, "csrf_rejected", "GET");
        saw_nothing(&house.upstream, "a forged handshake");
    }
    let headers: Vec<(&str, &str)> = handshake.into_iter().chain([("Origin", OWN)]).collect();
    house.gateway.connect().send(crate::support::client::request_bytes("GET", "/app", &headers));
    assert_eq!(house.upstream.wait_for(1)[0].head.values("X-User-ID"), ["u1"]);
}

#[test]
fn a_token_that_no_browser_adds_by_itself_needs_no_proof() {
    let house = house();
    let bearer = format!("Bearer {}", token());
    for headers in [
        &[("Authorization", bearer.as_str())][..],
        &[("Authorization", &bearer), ("Origin", EVIL), ("Sec-Fetch-Site", "cross-site")],
        &[("Authorization", &bearer), ("Cookie", "a=1"), ("Origin", "null")],
    ] {
        assert_eq!(send(&house, "POST", "/app", headers).status, 200, "{} headers", headers.len());
    }
    assert_eq!(reason(&send(&house, "POST", "/app", &[("Origin", EVIL)])), "token_missing");
    assert_eq!(send(&house, "POST", "/optional", &[("Origin", EVIL)]).status, 200);
    assert_eq!(send(&house, "POST", "/public", &[("Cookie", &session()), ("Origin", EVIL)]).status, 200);
}

#[test]
fn a_forged_request_is_counted_and_its_origin_is_in_the_log() {
    let house = house();
    let session = session();
    let response = send(&house, "POST", "/app", &[("Cookie", &session), ("Origin", "https://evil.test/\"")]);
    let line = house.gateway.access_line(&check_problem(&response, 403, "csrf_rejected", "POST"));
    assert_eq!((line["status"].as_u64(), line["auth"]["reason"].as_str()), (Some(403), Some("csrf_rejected")));
    let detail = line["auth"]["detail"].as_str().unwrap();
    assert!(detail.contains("https://evil.test/\\\""), "{detail}");
    let counted =
        |line: &str| line.starts_with("portcullis_auth_rejections_total{") && line.contains("reason=\"csrf_rejected\"");
    assert!(house.gateway.metric(counted) >= 1.0);
}
