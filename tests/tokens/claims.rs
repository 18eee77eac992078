//! Times, audience, issuer and types of claims, and what policy makes of scopes and roles.
use super::{
    Expected, Expected::Passes, Expected::Refused, Expected::RefusedAsOneOf, INVALID, check, check_response, good,
    house, keys, signed,
};
use crate::support::{
    fixture::AUDIENCE, fixture::ISSUER, fixture::signing_key, keys::SigningKey, token::Token, token::bearer,
    token::now, waiting::PATIENCE, waiting::eventually,
};
use serde_json::{Value, json};

#[test]
fn times_are_numbers_judged_with_leeway() {
    let now = now();
    let exp = |text: &str| signed(good().claim_text("exp", text));
    let rows = vec![
        ("expired within the leeway", exp(&(now - 15).to_string()), Passes),
        ("expired beyond the leeway", exp(&(now - 45).to_string()), Refused("token_expired")),
        ("no exp", signed(good().without("exp")), Refused("claim_missing")),
        ("a fraction", exp(&format!("{}.75", now + 300)), Passes),
        ("an exponent", exp(&format!("{:e}", f64::from(u32::try_from(now).unwrap()) + 300.0)), Passes),
        ("a text", exp(&format!("\"{}\"", now + 300)), Refused("claim_invalid")),
        ("null", exp("null"), RefusedAsOneOf(&["claim_invalid", "claim_missing"])),
        ("true", exp("true"), Refused("claim_invalid")),
        ("a list", exp("[]"), Refused("claim_invalid")),
        ("an object", exp("{}"), Refused("claim_invalid")),
        ("beyond every number", exp("1e400"), INVALID),
        ("beyond 64 bits", exp("9223372036854775808"), INVALID),
        ("beyond 128 bits", exp(&"9".repeat(60)), INVALID),
        ("negative", exp("-1"), INVALID),
        ("zero", exp("0"), INVALID),
        ("not yet, within the leeway", signed(good().claim("nbf", now + 15)), Passes),
        ("not yet, beyond the leeway", signed(good().claim("nbf", now + 60)), Refused("token_not_yet_valid")),
        ("nbf a text", signed(good().claim("nbf", "0")), Refused("claim_invalid")),
        ("nbf huge", signed(good().claim_text("nbf", "1e308")), INVALID),
        ("iat in the future", signed(good().claim("iat", now + 3600)), Refused("token_not_yet_valid")),
        ("iat a text", signed(good().claim("iat", "0")), Refused("claim_invalid")),
        ("iat before all time", signed(good().claim_text("iat", "-1e19")), INVALID),
        ("eleven years", signed(good().claim("exp", now + 11 * 366 * 86_400)), Refused("lifetime_exceeded")),
    ];
    check("/mine", rows);
    let pem = |token: Token| token.claim("iss", "https://pem.test").signed_by(&keys().pem);
    let rows = vec![
        ("no leeway", pem(good().claim("exp", now - 2)), Refused("token_expired")),
        ("an hour at most", pem(good().claim("iat", now - 60).claim("exp", now + 3000)), Passes),
        (
            "more than an hour",
            pem(good().claim("iat", now - 60).claim("exp", now + 3700)),
            Refused("lifetime_exceeded"),
        ),
    ];
    check("/pem", rows);
}

#[test]
fn an_audience_is_one_of_ours_exactly() {
    let aud = |value: Value| signed(good().claim("aud", value));
    const NONE_OF_OURS: Expected = RefusedAsOneOf(&["audience_mismatch", "claim_invalid"]);
    let rows = vec![
        ("a text", aud(json!(AUDIENCE)), Passes),
        ("a list", aud(json!(["x", AUDIENCE])), Passes),
        ("the second of ours", aud(json!("urn:second")), Passes),
        ("a slash more", aud(json!(format!("{AUDIENCE}/"))), Refused("audience_mismatch")),
        ("a suffix", aud(json!(format!("{AUDIENCE}.evil"))), Refused("audience_mismatch")),
        ("upper case", aud(json!(AUDIENCE.to_uppercase())), Refused("audience_mismatch")),
        ("two in one text", aud(json!(format!("{AUDIENCE} x"))), Refused("audience_mismatch")),
        ("empty list", aud(json!([])), NONE_OF_OURS),
        ("an object", aud(json!({AUDIENCE: true})), Refused("claim_invalid")),
        ("a list in a list", aud(json!([[AUDIENCE]])), Refused("claim_invalid")),
        ("a number beside ours", aud(json!([AUDIENCE, 7])), Refused("claim_invalid")),
        ("null", aud(Value::Null), RefusedAsOneOf(&["claim_invalid", "claim_missing"])),
        ("missing", signed(good().without("aud")), Refused("claim_missing")),
    ];
    check("/mine", rows);
}

#[test]
fn an_issuer_is_known_exactly_and_its_own_keys_alone_count() {
    let iss = |value: Value| signed(good().claim("iss", value));
    let of_other = |key: &SigningKey| good().claim("iss", "https://other.test").signed_by(key);
    const NO_ISSUER: Expected =
        RefusedAsOneOf(&["issuer_unknown", "claim_invalid", "claim_missing", "token_malformed"]);
    let rows = vec![
        ("a slash more", iss(json!(format!("{ISSUER}/"))), Refused("issuer_unknown")),
        ("upper case", iss(json!(ISSUER.to_uppercase())), Refused("issuer_unknown")),
        ("a list", iss(json!([ISSUER])), NO_ISSUER),
        ("missing", signed(good().without("iss")), NO_ISSUER),
        ("another configured issuer's token", of_other(&keys().other), Refused("issuer_unknown")),
        ("another issuer's key of the same kid", good().signed_by(&keys().other), Refused("signature_invalid")),
    ];
    check("/mine", rows);
    let rows = vec![
        ("of one", signed(good()), Passes),
        ("of the other", of_other(&keys().other), Passes),
        ("of the other, signed by the one", of_other(signing_key()), Refused("signature_invalid")),
    ];
    check("/both", rows);
    check(
        "/other",
        vec![("its own", of_other(&keys().other), Passes), ("not its own", signed(good()), Refused("issuer_unknown"))],
    );
}

#[test]
fn claims_of_a_wrong_type_are_refused_and_unknown_ones_ignored() {
    let claim = |name: &str, value: Value| signed(good().claim(name, value));
    let rows = vec![
        ("sub a number", claim("sub", json!(123)), Refused("claim_invalid")),
        ("sub empty", claim("sub", json!("")), RefusedAsOneOf(&["claim_invalid", "claim_missing"])),
        ("sub an object", claim("sub", json!({})), Refused("claim_invalid")),
        ("no sub", signed(good().without("sub")), Refused("claim_missing")),
        ("an unknown claim", claim("zz", json!({"deep": [1, null, "x"]})), Passes),
        ("scope an object", claim("scope", json!({"orders:read": true})), Refused("claim_invalid")),
    ];
    check("/mine", rows);
}

#[test]
fn a_scope_is_a_whole_word_and_a_role_a_whole_element() {
    let scope = |value: Value| signed(good().claim("scope", value));
    let rows = vec![
        ("the scope", scope(json!("orders:read")), Passes),
        ("among others", scope(json!("a orders:read b")), Passes),
        ("scp as a list", signed(good().without("scope").claim("scp", json!(["orders:read"]))), Passes),
        ("scp as a text", signed(good().without("scope").claim("scp", "x orders:read")), Passes),
        ("a longer word", scope(json!("orders:readwrite")), Refused("scope_insufficient")),
        ("another case", scope(json!("Orders:read")), Refused("scope_insufficient")),
        ("a prefix more", scope(json!("xorders:read")), Refused("scope_insufficient")),
        ("a comma is no space", scope(json!("orders:read,x")), Refused("scope_insufficient")),
        ("empty", scope(json!("")), Refused("scope_insufficient")),
        ("none", signed(good().without("scope")), Refused("scope_insufficient")),
    ];
    check("/orders", rows);
    check(
        "/some",
        vec![
            ("one of them", scope(json!("b:x")), Passes),
            ("none of them", scope(json!("c:x")), Refused("scope_insufficient")),
        ],
    );
    let roles = |value: Value| signed(good().claim("roles", value));
    let rows = vec![
        ("the role", roles(json!(["reader", "admin"])), Passes),
        ("a longer word", roles(json!(["administrator"])), Refused("role_missing")),
        ("another case", roles(json!(["Admin"])), Refused("role_missing")),
        ("joined", roles(json!(["reader,admin"])), Refused("role_missing")),
        ("empty", roles(json!([])), Refused("role_missing")),
        ("none", signed(good()), Refused("role_missing")),
    ];
    check("/admin", rows);
    check(
        "/staff",
        vec![
            ("one of them", roles(json!(["support"])), Passes),
            ("none of them", roles(json!(["guest"])), Refused("role_missing")),
        ],
    );
}

#[test]
fn roles_of_an_odd_shape_cost_nobody_anything() {
    let house = house();
    for odd in
        [json!("reader"), json!([1, "reader"]), json!([null]), json!({"reader": true}), json!(7), json!([["reader"]])]
    {
        let token = signed(good().claim("roles", odd.clone()));
        let response = house.gateway.get("/admin", &[("Authorization", &bearer(&token))]);
        assert!(matches!(response.status, 401 | 403), "{odd}: {}", response.status);
    }
    let plain = signed(good().claim("roles", json!(["admin"])));
    assert_eq!(
        house.gateway.get("/admin", &[("Authorization", &bearer(&plain))]).status,
        200,
        "the shape it should have"
    );
}

#[test]
fn a_remembered_token_expires_when_it_says() {
    let house = house();
    let token = good().claim("iss", "https://pem.test").claim("exp", now() + 3).signed_by(&keys().pem);
    let ask = || house.gateway.get("/pem", &[("Authorization", &bearer(&token))]);
    check_response("before", &ask(), &Passes);
    let refused =
        eventually(PATIENCE, || Some(ask()).filter(|response| response.status != 200)).expect("it never expires");
    check_response("after", &refused, &Refused("token_expired"));
}
