//! The compact form: three parts, strict base64url, one JSON object each, and what a header may say.
use super::{Expected::Passes, Expected::Refused, Expected::RefusedAsOneOf, check, check_response, good, keys, signed};
use crate::support::{
    fixture::AUDIENCE, fixture::House, fixture::ISSUER, fixture::good_bearer, fixture::signing_key, keys::encoded,
    token::Token, token::bearer, token::now, token::sign_text,
};
use serde_json::{Value, json};

#[test]
fn a_token_has_three_parts_of_strict_base64url() {
    let key = signing_key();
    let token = signed(good());
    let [header, payload, signature] = <[&str; 3]>::try_from(token.split('.').collect::<Vec<_>>()).unwrap();
    let resigned = |input: String| sign_text(&input, key, "ES256");
    let rows = vec![
        ("two parts", format!("{header}.{payload}"), Refused("token_malformed")),
        ("four parts", format!("{token}.{signature}"), Refused("token_malformed")),
        ("a JWE has five", format!("{token}.{signature}.{signature}"), Refused("token_malformed")),
        ("only dots", "..".to_owned(), Refused("token_malformed")),
        ("many dots", ".".repeat(100), Refused("token_malformed")),
        ("no signature", format!("{header}.{payload}."), Refused("token_malformed")),
        ("no payload", format!("{header}..{signature}"), Refused("token_malformed")),
        ("no header", format!(".{payload}.{signature}"), Refused("token_malformed")),
        ("padding in the header", resigned(format!("{header}=.{payload}")), Refused("token_malformed")),
        ("padding in the payload", resigned(format!("{header}.{payload}==")), Refused("token_malformed")),
        ("padding in the signature", format!("{token}=="), Refused("token_malformed")),
        ("plus", resigned(format!("{header}.{payload}+")), Refused("token_malformed")),
        ("slash", resigned(format!("{header}.{payload}/")), Refused("token_malformed")),
        ("a character to skip", resigned(format!("{header}.{payload}~")), Refused("token_malformed")),
        ("a length of one", resigned(format!("{header}.{}", length_of_one(payload))), Refused("token_malformed")),
        ("trailing bits", resigned(format!("{header}.{}", with_trailing_bits())), Refused("token_malformed")),
    ];
    check("/mine", rows);
}

/// The text, of a length that no bytes encode to.
fn length_of_one(text: &str) -> String {
    let whole = text.len() / 4 * 4;
    format!("{}A", &text[..whole])
}

/// A payload whose last character has bits that decode to nothing: the same bytes under another spelling.
fn with_trailing_bits() -> String {
    let mut payload =
        serde_json::to_string(&json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "u1", "exp": now() + 300})).unwrap();
    while payload.len() % 3 != 1 {
        payload.push(' ');
    }
    let text = encoded(payload);
    // Two characters stand for the last byte, so the second has four idle bits: A, Q, g or w.
    let (head, last) = text.split_at(text.len() - 1);
    let next = match last {
        "A" => "B",
        "Q" => "R",
        "g" => "h",
        "w" => "x",
        other => panic!("{other} has no idle bits"),
    };
    format!("{head}{next}")
}

#[test]
fn header_and_payload_are_one_json_object_each_without_repeats() {
    let header = |bytes: &[u8]| signed(good().raw_header(bytes));
    let payload = |bytes: &[u8]| signed(good().raw_payload(bytes));
    let claims = format!(r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","sub":"u1","exp":{}}}"#, now() + 300);
    let utf16: Vec<u8> = r#"{"alg":"ES256"}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let rows = vec![
        ("control", payload(claims.as_bytes()), Passes),
        ("header list", header(b"[]"), Refused("token_malformed")),
        ("header null", header(b"null"), Refused("token_malformed")),
        ("header text", header(b"\"ES256\""), Refused("token_malformed")),
        ("header UTF-16", header(&utf16), Refused("token_malformed")),
        (
            "header byte order mark",
            header(b"\xef\xbb\xbf{\"alg\":\"ES256\",\"kid\":\"e1\"}"),
            Refused("token_malformed"),
        ),
        ("header and more", header(b"{\"alg\":\"ES256\",\"kid\":\"e1\"}ABCD"), Refused("token_malformed")),
        ("header twice", header(b"{\"alg\":\"ES256\",\"kid\":\"e1\"}{}"), Refused("token_malformed")),
        (
            "header invalid UTF-8",
            header(b"{\"alg\":\"ES256\",\"kid\":\"e1\",\"x\":\"\xff\"}"),
            Refused("token_malformed"),
        ),
        (
            "header alg twice",
            header(b"{\"alg\":\"ES256\",\"kid\":\"e1\",\"alg\":\"ES256\"}"),
            Refused("token_malformed"),
        ),
        (
            "header alg twice, one escaped",
            header(br#"{"alg":"ES256","kid":"e1","\u0061lg":"none"}"#),
            Refused("token_malformed"),
        ),
        ("header kid twice", header(b"{\"alg\":\"ES256\",\"kid\":\"e1\",\"kid\":\"e1\"}"), Refused("token_malformed")),
        ("payload text", payload(b"\"x\""), Refused("token_malformed")),
        ("payload list", payload(b"[]"), Refused("token_malformed")),
        ("payload nothing", payload(b" "), Refused("token_malformed")),
        (
            "payload invalid UTF-8",
            payload(&[claims.trim_end_matches('}').as_bytes(), b",\"x\":\"\xff\"}"].concat()),
            Refused("token_malformed"),
        ),
        ("payload and more", payload(format!("{claims}x").as_bytes()), Refused("token_malformed")),
        ("sub twice", signed(good().payload_beginning_with(r#""sub":"admin""#)), Refused("token_malformed")),
        (
            "sub twice, one escaped",
            signed(good().payload_beginning_with(r#""s\u0075b":"admin""#)),
            Refused("token_malformed"),
        ),
        (
            "a nested claim twice",
            signed(good().claim_text("org", r#"{"tenant":"a","tenant":"b"}"#)),
            Refused("token_malformed"),
        ),
        ("a lone surrogate", signed(good().claim_text("sub", r#""\ud800""#)), Refused("token_malformed")),
        ("very deep", payload(&[b'['; 4000]), Refused("token_malformed")),
        ("very deep inside", signed(good().claim_text("x", &"[".repeat(2500))), Refused("token_malformed")),
        ("an escaped claim is the claim", signed(good().claim_text("sub", r#""\u00751""#)), Passes),
    ];
    check("/mine", rows);
}

#[test]
fn header_members_that_change_the_meaning_are_refused_and_others_ignored() {
    let header = |name: &str, value: Value| signed(good().header(name, value));
    let rows = vec![
        ("crit empty", header("crit", json!([])), Refused("critical_header")),
        ("crit text", header("crit", json!("exp")), Refused("critical_header")),
        ("crit exp", signed(good().header("crit", json!(["exp"])).header("exp", 1)), Refused("critical_header")),
        ("crit alg", header("crit", json!(["alg"])), Refused("critical_header")),
        (
            "crit twice the same",
            signed(good().header("crit", json!(["x", "x"])).header("x", 1)),
            Refused("critical_header"),
        ),
        ("crit absent member", header("crit", json!(["zz"])), Refused("critical_header")),
        ("b64 false", header("b64", json!(false)), Refused("critical_header")),
        ("b64 true", header("b64", json!(true)), Refused("critical_header")),
        (
            "b64 false and critical",
            signed(good().header("b64", false).header("crit", json!(["b64"]))),
            Refused("critical_header"),
        ),
        ("zip", header("zip", json!("DEF")), Refused("critical_header")),
        ("unknown members", signed(good().header("foo", json!({"a": 1})).header("cty", "x")), Passes),
    ];
    check("/mine", rows);
}

#[test]
fn a_type_is_a_media_type_on_the_list() {
    let typ = |value: Value| signed(good().header("typ", value));
    let rows = vec![
        ("at+jwt", typ(json!("at+jwt")), Passes),
        ("at+JWT", typ(json!("at+JWT")), Passes),
        ("AT+jwt", typ(json!("AT+jwt")), Passes),
        ("with application/", typ(json!("application/at+jwt")), Passes),
        ("JWT", typ(json!("JWT")), Passes),
        ("jwt", typ(json!("jwt")), Passes),
        ("none at all", signed(good().without_header("typ")), Passes),
        ("a parameter", typ(json!("at+jwt;v=1")), Refused("type_not_allowed")),
        ("a longer name", typ(json!("xat+jwt")), Refused("type_not_allowed")),
        ("a number", typ(json!(1)), Refused("token_malformed")),
        ("empty", typ(json!("")), RefusedAsOneOf(&["type_not_allowed", "token_malformed"])),
    ];
    check("/mine", rows);
    let others =
        ["id+jwt", "logout+jwt", "secevent+jwt", "dpop+jwt", "statuslist+jwt", "token-introspection+jwt", "JWE"];
    check("/mine", others.iter().map(|name| (*name, typ(json!(name)), Refused("type_not_allowed"))).collect());
    let pem = |token: Token| token.claim("iss", "https://pem.test").signed_by(&keys().pem);
    let rows = vec![
        ("the one allowed", pem(good()), Passes),
        ("not on the list", pem(good().header("typ", "JWT")), Refused("type_not_allowed")),
        ("none where one is demanded", pem(good().without_header("typ")), Refused("type_not_allowed")),
    ];
    check("/pem", rows);
}

#[test]
fn a_huge_token_is_refused_before_it_is_read_and_the_process_lives() {
    let house = House::start("", "  - {name: mine, path_prefix: /mine, upstream: echo}\n");
    for size in [8_200, 30_000, 40_000, 200_000] {
        let response = house.gateway.get("/mine", &[("Authorization", &bearer(&"a.".repeat(size / 2)))]);
        let expected = if size < 32_000 { Refused("token_too_large") } else { Refused("header_too_large") };
        check_response(&size.to_string(), &response, &expected);
    }
    assert_eq!(house.gateway.get("/mine", &[("Authorization", &good_bearer())]).status, 200);
}
