//! Tokens that other gateways took for good, or fell over.
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;

use super::{Attack, ROUTES, check_refused, house};
use crate::support::{
    fixture::{House, builder, signing_key},
    keys::{SigningKey, encoded, key_set},
    token::{Token, bearer},
    upstream::Upstream,
};

/// A token on the route that wants no more than one.
fn with(hole: &'static str, token: &str) -> Attack {
    Attack::get(hole, "/orders/x", &[("Authorization", &bearer(token))])
}

/// Every token must be refused with 401 and one of these reasons, and seen by nobody.
fn check(house: &House, reasons: &[&str], hole: &'static str, tokens: impl IntoIterator<Item = String>) {
    for token in tokens {
        let trace = with(hole, &token).send(house);
        let response = trace.response.as_ref().expect("an answer");
        let reason = response.json()["reason"].as_str().unwrap_or_default().to_owned();
        assert!(response.status == 401 && reasons.contains(&reason.as_str()), "{hole}: {} {reason}", response.status);
        assert!(trace.bytes.is_empty(), "{hole}: it arrived");
    }
}

fn signed(token: Token) -> String {
    token.signed_by(signing_key())
}

#[test]
fn claims_of_a_wrong_type_jsonwebtoken_cve_2026_25537() {
    let house = house();
    let texts =
        ["\"1\"", "\"9999999999\"", "1e400", "-1e400", "[]", "[9999999999]", "{}", "null", "true", "\"\"", "NaN"];
    for name in ["exp", "nbf", "iat"] {
        let tokens = texts.iter().map(|text| signed(Token::good().claim_text(name, text)));
        check(
            &house,
            &["claim_invalid", "claim_missing", "token_malformed", "token_expired"],
            "a date that is none counts as absent",
            tokens,
        );
    }
    let negative = ["exp"].map(|name| signed(Token::good().claim(name, -1)));
    check(&house, &["claim_invalid", "token_expired"], "a negative date", negative);
    for (name, text) in [
        ("iss", "7"),
        ("iss", "[\"https://issuer.test\"]"),
        ("iss", "null"),
        ("aud", "7"),
        ("aud", "{}"),
        ("aud", "null"),
        ("aud", "[]"),
        ("aud", "[[\"https://api.test\"]]"),
        ("aud", "[\"https://api.test\",7]"),
        ("sub", "7"),
        ("sub", "\"\""),
        ("sub", "[]"),
    ] {
        let token = signed(Token::good().claim_text(name, text));
        check(
            &house,
            &["claim_invalid", "claim_missing", "issuer_unknown", "audience_mismatch"],
            "a claim of a wrong type",
            [token],
        );
    }
}

#[test]
fn a_signature_or_token_without_end_haproxy_648b0e7be() {
    let house = house();
    let hole = "a long part is decoded before anything is checked";
    let long = Token::good().with_signature(signing_key(), &vec![7; 21_830 * 3 / 4]);
    // 32 KiB of header fields are allowed, 8 KiB of token.
    check(&house, &["token_too_large"], hole, [long, "a.".repeat(5000), ".".repeat(9000)]);
    check(
        &house,
        &["token_malformed"],
        hole,
        [".".repeat(100), "a.b".to_owned(), "a.b.c.d.e".to_owned(), "..".to_owned()],
    );
    let huge =
        Attack::get(hole, "/orders/x", &[("Authorization", &format!("Bearer {}", "a".repeat(900_000)))]).send(&house);
    assert!(huge.is_refused(), "{:?}", huge.status());
    let nested = format!("{}{}", "[".repeat(2500), "]".repeat(2500));
    check(
        &house,
        &["token_malformed", "claim_invalid", "token_too_large"],
        "a deep nest",
        [signed(Token::good().claim_text("deep", &nested))],
    );
}

#[test]
fn members_given_twice() {
    let house = house();
    let hole = "two parsers see two tokens";
    check(
        &house,
        &["token_malformed"],
        hole,
        [
            signed(Token::good().payload_beginning_with("\"sub\":\"admin\"")),
            signed(Token::good().payload_beginning_with("\"s\\u0075b\":\"admin\"")),
            signed(Token::good().raw_header(r#"{"alg":"ES256","alg":"none","kid":"e1","typ":"JWT"}"#)),
            signed(Token::good().raw_header(r#"{"alg":"ES256","\u0061lg":"none","kid":"e1","typ":"JWT"}"#)),
        ],
    );
}

#[test]
fn another_algorithm_than_the_keys_pan_os_cve_2026_0265_and_apisix_before_3_17() {
    let house = house();
    let key = signing_key();
    let hole = "the public key is taken for a secret, or none for an algorithm";
    let published = key.jwk_for("ES256");
    let secrets = [
        key.public_pem().into_bytes(),
        key.public_pem().trim_end().as_bytes().to_vec(),
        published.to_string().into_bytes(),
        URL_SAFE_NO_PAD.decode(published["x"].as_str().unwrap()).unwrap(),
        published["x"].as_str().unwrap().as_bytes().to_vec(),
        Vec::new(),
    ];
    let confused = secrets.iter().flat_map(|secret| {
        ["HS256", "HS384", "HS512"]
            .map(|algorithm| Token::good().header("alg", algorithm).signed_by(&SigningKey::secret("e1", secret)))
    });
    check(&house, &["algorithm_not_allowed"], hole, confused);
    for name in ["none", "None", "NONE", "nOnE", "none ", "", "es256", "ES256K", "ES512", "HS1"] {
        let token = Token::good().header("alg", name);
        check(
            &house,
            &["algorithm_not_allowed", "token_malformed"],
            hole,
            [token.with_signature(key, b""), token.signed_by(key)],
        );
    }
    // The key is for ES256: another algorithm of the issuer does not make it another key.
    for name in ["ES384", "RS256", "PS256", "EdDSA"] {
        check(
            &house,
            &["algorithm_not_allowed", "signature_invalid", "key_unknown"],
            hole,
            [Token::good().header("alg", name).signed_by(key)],
        );
    }
}

#[test]
fn a_key_that_is_published_for_one_algorithm_verifies_no_other() {
    let key = SigningKey::rsa("r1");
    let upstream = Upstream::start();
    let gateway =
        builder("", ROUTES, &upstream).file("keys.json", key_set(&[key.jwk_for("RS256"), signing_key().jwk()])).start();
    let house = House { gateway, upstream };
    let token = |algorithm: &str| Token::good().header("alg", algorithm).signed_by(&key);
    assert_eq!(with("its own", &token("RS256")).send(&house).status(), Some(200));
    // Each is well signed, by the key that it names.
    let others = ["RS384", "RS512", "PS256", "PS384", "PS512"].map(token);
    check(&house, &["algorithm_not_allowed"], "a key verifies whatever fits its type", others);
}

#[test]
fn roles_that_are_no_strings_krakend() {
    let house = house();
    for roles in [
        json!([1, "reader"]),
        json!([null, {"a": []}, "reader"]),
        json!({"admin": true}),
        json!(7),
        json!("admin"),
        json!([["admin"]]),
    ] {
        let token = signed(Token::good().claim("roles", roles.clone()).claim("scope", "a"));
        let trace = Attack::get("a type assertion", "/admin", &[("Authorization", &bearer(&token))]).send(&house);
        assert_eq!(trace.status(), Some(403), "{roles}");
    }
    for (name, value) in
        [("scope", json!([1, "a"])), ("scope", json!({"a": 1})), ("aud", json!([7])), ("aud", json!([null]))]
    {
        check(
            &house,
            &["claim_invalid", "audience_mismatch"],
            "a type assertion",
            [signed(Token::good().claim(name, value))],
        );
    }
    assert_eq!(with("the next one", &signed(Token::good())).send(&house).status(), Some(200));
}

#[test]
fn a_token_that_has_ended_or_never_ends_kong_and_pingap() {
    let house = house();
    let now = crate::support::token::now();
    check(
        &house,
        &["token_expired"],
        "exp is not looked at by default",
        [now - 31, now - 999, 1].map(|exp| signed(Token::good().claim("exp", exp))),
    );
    check(&house, &["claim_missing"], "a token without exp never ends", [signed(Token::good().without("exp"))]);
    check(
        &house,
        &["lifetime_exceeded", "claim_invalid"],
        "a token that ends in the year 292277026596",
        [signed(Token::good().claim("exp", i64::MAX))],
    );
    check(
        &house,
        &["token_not_yet_valid"],
        "nbf is not looked at",
        [signed(Token::good().claim("nbf", now + 60)), signed(Token::good().claim("iat", now + 60))],
    );
}

#[test]
fn a_token_for_another_purpose_pomerium_cve_2024_47616() {
    let house = house();
    let kinds =
        ["id+jwt", "logout+jwt", "secevent+jwt", "dpop+jwt", "statuslist+jwt", "token-introspection+jwt", "JOSE", ""];
    check(
        &house,
        &["type_not_allowed"],
        "one key, two kinds of token",
        kinds.map(|kind| signed(Token::good().header("typ", kind))),
    );
    let audiences = ["https://api.test/", "https://API.test", "https://api.test.evil.test", "api.test", "c1", "*", ""];
    check(
        &house,
        &["audience_mismatch", "claim_invalid"],
        "another's audience",
        audiences.map(|audience| signed(Token::good().claim("aud", audience))),
    );
    check(&house, &["claim_missing"], "no audience", [signed(Token::good().without("aud"))]);
    // `azp` says who asked for the token, not for whom it is.
    check(
        &house,
        &["audience_mismatch"],
        "azp for aud",
        [signed(Token::good().claim("aud", "other").claim("azp", "https://api.test"))],
    );
}

#[test]
fn claims_of_a_token_that_was_not_verified_authcrunch_7f5d3d8_and_429779c() {
    let house = house();
    let hole = "what an unverified token says is used";
    let stranger = SigningKey::p256("e1");
    let admin = || Token::good().claim("sub", "admin").claim("roles", json!(["admin"]));
    check(
        &house,
        &["signature_invalid"],
        hole,
        [admin().signed_by(&stranger), admin().with_signature(signing_key(), &[0; 64])],
    );
    // The payload of one token under the signature of another, which was remembered a moment ago.
    let good = signed(Token::good());
    assert_eq!(with(hole, &good).send(&house).status(), Some(200));
    let (_, signature) = good.rsplit_once('.').unwrap();
    let swapped = format!("{}.{signature}", admin().signing_input(signing_key()));
    check(&house, &["signature_invalid"], hole, [swapped]);
    let side = [("X-ID-Token", good.as_str()), ("Cookie", "access_token=x"), ("X-Access-Token", good.as_str())];
    check_refused(&house, 401, "token_missing", &[Attack::get(hole, "/orders/x", &side)]);
    check_refused(&house, 401, "token_missing", &[Attack::get(hole, &format!("/orders/x?access_token={good}"), &[])]);
}

#[test]
fn header_members_that_change_the_meaning_or_bring_a_key() {
    let house = house();
    let stranger = SigningKey::p256("mine");
    let critical = [
        Token::good().header("crit", json!(["exp"])),
        Token::good().header("crit", json!([])),
        Token::good().header("crit", json!(["b64"])).header("b64", false),
        Token::good().header("b64", false),
        Token::good().header("b64", true),
        Token::good().header("zip", "DEF"),
        Token::good().header("crit", "exp"),
    ];
    check(&house, &["critical_header", "token_malformed"], "crit, b64 or zip is passed over", critical.map(signed));
    let server = crate::support::jwks_server::JwksServer::start(&[stranger.jwk()]);
    let url = format!("http://{}/keys", server.address());
    let bringing = [
        Token::good().header("jwk", stranger.jwk()),
        Token::good().header("jku", url.clone()),
        Token::good().header("x5u", url.clone()),
        Token::good().header("x5c", json!([encoded(b"certificate")])),
        Token::good().header("kid", url),
        Token::good().header("kid", "../../../../dev/null"),
        Token::good().header("kid", "' OR 1=1 --"),
        Token::good().header("kid", "e1\0"),
    ];
    let reasons = ["key_unknown", "signature_invalid"];
    check(
        &house,
        &reasons,
        "the token says by which key it is to be checked",
        bringing.map(|token| token.signed_by(&stranger)),
    );
    assert_eq!(server.fetches(), 0, "a key was fetched because a token said so");
}

#[test]
fn keys_that_everybody_has_istio_2b251c0656d() {
    // RFC 7515 appendix A.3, whose private half is printed there; and a secret that is found in every word list.
    let published = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ\
        .DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let house = house();
    check(&house, &["issuer_unknown"], "a fallback key is built in", [published.to_owned()]);
    for secret in ["secret", "your-256-bit-secret", ""] {
        let token = Token::good().signed_by(&SigningKey::secret("e1", secret.as_bytes()));
        check(&house, &["algorithm_not_allowed"], "a fallback secret is built in", [token]);
    }
}

#[test]
fn a_refusal_tells_nothing_apisix_cve_2022_29266_and_oathkeeper() {
    let house = house();
    let secret = "confidential-claim-value";
    for token in [
        signed(Token::good().claim("sub", secret).claim("exp", 1)),
        Token::good().claim("sub", secret).signed_by(&SigningKey::p256("e1")),
        signed(Token::good().claim("aud", secret)),
        signed(Token::good().claim("iss", secret)),
        signed(Token::good().header("kid", secret)),
        signed(Token::good().header("typ", secret)),
    ] {
        let trace = with("an error message with a claim, a key or a secret", &token).send(&house);
        let response = trace.response.expect("an answer");
        assert_eq!(response.status, 401);
        let said = format!("{}{}", String::from_utf8_lossy(&response.head.raw), response.text());
        assert!(!said.contains(secret) && !said.contains("\"e1\""), "{said}");
    }
}

#[test]
fn words_of_the_client_cannot_forge_a_line_of_the_log_envoy_cve_2024_45808() {
    let house = house();
    let odd = "a\u{1b}[31m\u{202e}\"}\n{\"status\":200";
    let token = signed(Token::good().claim("sub", odd).claim("aud", odd).header("kid", odd));
    check(&house, &["key_unknown"], "a line break in a claim", [token]);
    let agent = "x\\\"},{\"status\":200,\"a\":\"\u{7f}".replace('\u{7f}', "\u{e9}");
    let trace = Attack::get("a quote in the user agent", "/orders/%0a%1b%5b?a", &[("User-Agent", &agent)]).send(&house);
    let request_id =
        trace.response.as_ref().and_then(|response| response.header("X-Request-Id")).expect("an id").to_owned();
    assert_eq!(house.gateway.access_line(&request_id)["status"], 401);
    let account = house.gateway.stop();
    for line in account.stdout.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "no line of JSON: {line:?}");
        assert!(line.bytes().all(|byte| !byte.is_ascii_control()), "{line:?}");
    }
}

#[test]
fn a_token_of_low_privilege_opens_nothing_more() {
    let house = house();
    check_refused(
        &house,
        403,
        "role_missing",
        &[
            Attack::with_token("no role", "/admin", &[]),
            Attack::with_token("a role by header", "/admin", &[("X-User-Roles", "admin"), ("X-Roles", "admin")]),
            Attack::with_token("a role by query", "/admin?roles=admin&role=admin", &[]),
            Attack::with_token("a role by cookie", "/admin", &[("Cookie", "roles=admin")]),
        ],
    );
}
