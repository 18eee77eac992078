//! A token in a cookie: found however the cookies are sent, removed so that the others stay, never believed twice.
use super::{COOKIE, House, expired, house, reason, send, session, start, token};
use crate::support::{problem::check_problem, upstream::Answer};

/// What the upstream saw as `Cookie` of a request that passed.
fn forwarded(house: &House, target: &str, headers: &[(&str, &str)]) -> Vec<String> {
    let response = send(house, "GET", target, headers);
    assert_eq!(response.status, 200, "{target}: {}", response.text());
    let seen = house.upstream.take();
    assert_eq!(seen.len(), 1);
    seen[0].head.values("Cookie").into_iter().map(str::to_owned).collect()
}

#[test]
fn every_field_and_every_cookie_is_read_and_the_others_stay_as_they_were() {
    let house = start("http://page.test");
    let session = session();
    for (fields, left) in [
        (&["SESSION"][..], None),
        (&["a=1; SESSION; b=%41,\"x y\""], Some("a=1; b=%41,\"x y\"")),
        (&["SESSION; b=2"], Some("b=2")),
        (&["a=1;SESSION"], Some("a=1")),
        (&["a=1", "SESSION", "b=2;c=\u{e9}"], Some("a=1; b=2;c=\u{e9}")),
        (&["theme=__Host-session; __host-session=x; SESSION"], Some("theme=__Host-session; __host-session=x")),
        (&["a=x,__Host-session=y; SESSION"], Some("a=x,__Host-session=y")),
    ] {
        let fields: Vec<String> = fields.iter().map(|field| field.replace("SESSION", &session)).collect();
        let headers: Vec<(&str, &str)> = fields.iter().map(|field| ("Cookie", field.as_str())).collect();
        assert_eq!(forwarded(&house, "/app", &headers), Vec::from_iter(left), "{headers:?}");
    }
}

#[test]
fn a_token_cookie_leaves_on_every_route_unless_that_route_forwards_its_own() {
    let house = start("http://page.test");
    let session = session();
    let bearer = format!("Bearer {}", token());
    let cookies = format!("a=1; {session}");
    for target in ["/header", "/public", "/reader"] {
        let headers = [("Cookie", cookies.as_str()), ("Authorization", bearer.as_str())];
        assert_eq!(forwarded(&house, target, &headers), ["a=1"], "{target}");
    }
    assert_eq!(forwarded(&house, "/keeps", &[("Cookie", &cookies)]), [cookies.as_str()]);
    // A respelling reaches nobody.
    let response = send(&house, "GET", "/app", &[("Cookie", &session), ("Coo_kie", &session), ("cookie_", &session)]);
    assert_eq!(response.status, 200);
    assert!(house.upstream.take()[0].head.folding_onto("Cookie").is_empty());
}

#[test]
fn one_token_is_found_over_all_places() {
    let house = house();
    let (one, two) = (session(), session());
    let bearer = format!("Bearer {}", token());
    let query = format!("/app?access_token={}", token());
    let joined = format!("{one}; {two}");
    let same = format!("{one}; {one}");
    for (target, headers, expected) in [
        ("/app", &[("Cookie", one.as_str())][..], "-"),
        ("/app", &[("Authorization", &bearer)], "-"),
        ("/app", &[("Cookie", &one), ("Cookie", &two)], "token_repeated"),
        ("/app", &[("Cookie", &joined)], "token_repeated"),
        ("/app", &[("Cookie", &same)], "token_repeated"),
        ("/app", &[("Cookie", &one), ("Authorization", &bearer)], "token_repeated"),
        (&query, &[("Cookie", &one)], "token_repeated"),
        ("/app", &[("Cookie", "a=1"), ("Authorization", "Basic eDp5")], "token_missing"),
        ("/app", &[("Cookie", "__host-session=x; __Host-Session=y; x__Host-session=z")], "token_missing"),
        ("/app", &[("Cookie", "__Host-session")], "token_malformed"),
        ("/app", &[("Cookie", "__Host-session=")], "token_malformed"),
        ("/app", &[("Cookie", "__Host-session=\u{e9}")], "token_malformed"),
        ("/optional", &[("Cookie", "a=1")], "-"),
        ("/optional", &[("Cookie", "__Host-session=x")], "token_malformed"),
        ("/header", &[("Cookie", &one)], "token_missing"),
    ] {
        let response = send(&house, "GET", target, headers);
        assert_eq!(reason(&response), expected, "{target} {} headers", headers.len());
    }
    let quoted = format!("{COOKIE}=\"{}\"", token());
    assert_eq!(reason(&send(&house, "GET", "/app", &[("Cookie", &quoted)])), "token_malformed");
    let stale = format!("{COOKIE}={}", expired());
    check_problem(&send(&house, "GET", "/app", &[("Cookie", &stale)]), 401, "token_expired", "GET");
}

#[test]
fn what_a_cookie_opened_is_kept_from_shared_caches() {
    let house = start("http://page.test");
    let session = session();
    let bearer = format!("Bearer {}", token());
    let cached = |headers: &[(&str, &str)]| {
        let response = send(&house, "GET", "/app", headers);
        response.head.values("Cache-Control").join(", ")
    };
    assert_eq!(cached(&[("Cookie", &session)]), "private");
    assert_eq!(cached(&[("Authorization", &bearer)]), "");
    house.upstream.set_answer(Answer::Bytes(
        b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 0\r\n\r\n".to_vec(),
    ));
    assert_eq!(cached(&[("Cookie", &session)]), "max-age=60, private");
    house
        .upstream
        .set_answer(Answer::Bytes(b"HTTP/1.1 200 OK\r\nCache-Control: Public\r\nContent-Length: 0\r\n\r\n".to_vec()));
    assert_eq!(cached(&[("Cookie", &session)]), "Public");
}
