//! Where a token may stand in a request, how often, and what becomes of it there.
use super::{
    Expected, Expected::Passes, Expected::Refused, Expected::RefusedAsOneOf, check_lines, check_response, good, house,
    signed, start,
};
use crate::support::{fixture::House, fixture::good_bearer, token::bearer, upstream::Answer};

#[test]
fn a_bearer_token_stands_alone_behind_its_scheme() {
    let token = signed(good());
    let other = signed(good());
    let authorization = |value: &str| value.replace("TOKEN", &token).replace("OTHER", &other);
    const NOT_ONE: Expected =
        RefusedAsOneOf(&["request_malformed", "token_malformed", "token_missing", "token_repeated"]);
    for (value, expected) in [
        ("Bearer TOKEN", Passes),
        ("bEaReR  TOKEN", Passes),
        ("bearer TOKEN", Passes),
        ("BEARER TOKEN", Passes),
        ("Bearer\tTOKEN", NOT_ONE),
        ("Bearer TOKEN x", NOT_ONE),
        ("Bearer", NOT_ONE),
        ("Bearer ,TOKEN", NOT_ONE),
        ("Bearer \"TOKEN\"", NOT_ONE),
        ("BearerTOKEN", NOT_ONE),
        ("Bearer: TOKEN", NOT_ONE),
        ("TOKEN", NOT_ONE),
        ("Bearer {\"payload\":\"x\",\"signatures\":[]}", NOT_ONE),
        ("Bearer TOKEN, Bearer TOKEN", NOT_ONE),
        ("Bearer TOKEN, Bearer OTHER", NOT_ONE),
        ("Basic eDp5", Refused("token_missing")),
        ("Digest username=\"x\"", Refused("token_missing")),
        ("", RefusedAsOneOf(&["token_missing", "request_malformed"])),
    ] {
        let response = house().gateway.get("/mine", &[("Authorization", &authorization(value))]);
        check_response(value, &response, &expected);
    }
}

#[test]
fn a_token_given_twice_is_refused_even_when_both_are_the_same() {
    let (one, two) = (good_bearer(), good_bearer());
    let token = one.strip_prefix("Bearer ").unwrap();
    let repeated = Refused("token_repeated");
    check_lines("/mine", &[("Authorization", &one), ("Authorization", &one)], &repeated);
    check_lines("/mine", &[("Authorization", &one), ("authorization", &two)], &repeated);
    check_lines("/mine", &[("Authorization", &one), ("Authorization", "Bearer abc")], &repeated);
    check_lines(&format!("/query?access_token={token}"), &[("Authorization", &one)], &repeated);
    check_lines(&format!("/query?access_token={token}&access_token={token}"), &[], &repeated);
    check_lines("/query", &[("Authorization", &one), ("X-Access-Token", token)], &repeated);
    check_lines("/query", &[("X-Access-Token", token), ("X-Access-Token", token)], &repeated);
}

#[test]
fn a_token_in_the_query_counts_only_where_the_route_says_so_and_is_removed() {
    let House { gateway, upstream } = &start();
    let token = signed(good());
    check_response(
        "a route without it",
        &gateway.get(&format!("/mine?access_token={token}"), &[]),
        &Refused("token_missing"),
    );
    assert!(upstream.take().is_empty());
    let with = |query: &str| gateway.get(&format!("/query/x?{}", query.replace("TOKEN", &token)), &[]);
    for (query, target) in [
        ("access_token=TOKEN", ["/query/x", "/query/x?"]),
        ("a=1&access_token=TOKEN", ["/query/x?a=1", "/query/x?a=1&"]),
        ("access_token=TOKEN&b=%41+x", ["/query/x?b=%41+x", "/query/x?b=%41+x"]),
        ("a=1&access_token=TOKEN&b=2", ["/query/x?a=1&b=2", "/query/x?a=1&b=2"]),
        // Some servers separate parameters by `;` too.
        ("a=1;access_token=TOKEN", ["/query/x?a=1", "/query/x?a=1;"]),
        ("a;access_token=TOKEN;b&c", ["/query/x?a;b&c", "/query/x?a;b&c"]),
    ] {
        let response = with(query);
        check_response(query, &response, &Passes);
        assert!(
            response.header("Cache-Control").is_some_and(|value| value.contains("private")),
            "{:?}",
            response.head.fields
        );
        let seen = &upstream.take()[0];
        assert!(target.contains(&seen.target()), "{query}");
        assert!(!seen.contains(&token), "{query}");
        assert_eq!(seen.head.values("X-User-ID"), ["u1"]);
    }
    let response = gateway.get("/query", &[("X-Access-Token", &token)]);
    check_response("a header of its own", &response, &Passes);
    assert!(upstream.take()[0].head.folding_onto("X-Access-Token").is_empty());
    // Another scheme is no second token, and passes only where none is demanded.
    let response = gateway.get("/query", &[("X-Access-Token", &token), ("Authorization", "Basic eDp5")]);
    check_response("beside another scheme", &response, &Passes);
    assert!(upstream.take()[0].head.folding_onto("Authorization").is_empty());
    // Nothing of a query is logged: all output is searched for the token when the gateway stops.
    let line = gateway.access_line(with("access_token=TOKEN&secret=1").header("X-Request-Id").unwrap());
    assert_eq!(line["path"], "/query/x");
}

#[test]
fn a_public_answer_to_a_token_in_the_query_stays_public() {
    let House { gateway, upstream } = &start();
    upstream.set_answer(Answer::Bytes(
        b"HTTP/1.1 200 OK\r\nCache-Control: public, max-age=60\r\nContent-Length: 0\r\n\r\n".to_vec(),
    ));
    let response = gateway.get(&format!("/query?access_token={}", signed(good())), &[]);
    assert_eq!(response.head.values("Cache-Control"), ["public, max-age=60"]);
}

#[test]
fn a_challenge_of_the_upstream_passes_unchanged() {
    let House { gateway, upstream } = &start();
    upstream.set_answer(Answer::Bytes(
        b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"x\", Y z=\"1\"\r\nContent-Length: 2\r\n\r\nno".to_vec(),
    ));
    let response = gateway.get("/mine", &[("Authorization", &good_bearer())]);
    assert_eq!((response.status, response.text().as_str()), (401, "no"));
    assert_eq!(response.head.values("WWW-Authenticate"), ["Basic realm=\"x\", Y z=\"1\""]);
}

#[test]
fn every_request_of_a_connection_is_judged_anew() {
    let house = house();
    let mut client = house.gateway.connect();
    let good_one = good_bearer();
    let bad_audience = bearer(&signed(good().claim("aud", "x")));
    for _ in 0..2 {
        check_response("good", &client.get("/mine", &[("Authorization", &good_one)]), &Passes);
        check_response("bad", &client.get("/mine", &[("Authorization", &bad_audience)]), &Refused("audience_mismatch"));
        check_response("none", &client.get("/mine", &[]), &Refused("token_missing"));
        check_response("policy", &client.get("/admin", &[("Authorization", &good_one)]), &Refused("role_missing"));
    }
}
