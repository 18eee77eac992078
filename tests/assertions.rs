//! The signed word of the gateway: what it says, to whom, for how long, by which keys; and that nobody else can say it.
use std::{fs, os::unix::fs::PermissionsExt};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use serde_json::{Value, json};

use crate::support::{
    fixture::{House, builder, good_bearer, signing_key},
    gateway::{Gateway, run},
    keys::encoded,
    minted,
    process::Account,
    token::{Token, bearer, now},
    upstream::{Answer, Seen, Upstream},
    waiting::{PATIENCE, eventually},
};

mod resource;
mod ways;

/// `iss` of assertions.
const EDGE: &str = "https://edge.test";
const HEADER: &str = "X-Identity-Assertion";
const ASSERTION: &str = "  assertion: {issuer: https://edge.test}";
const ROUTES: &str = r#"
  - {name: orders, path_prefix: /orders, upstream: echo}
  - {name: public, path_prefix: /public, auth: none, upstream: echo}
  - {name: optional, path_prefix: /optional, auth: optional, upstream: echo}
  - {name: trial, path_prefix: /trial, insecure_observe_authentication: true, upstream: echo}
  - {name: pages, path_prefix: /pages, cors: upstream, upstream: echo}
"#;

/// A private key for assertions, of the test's own.
struct EdgeKey {
    pair: Ed25519KeyPair,
    pem: String,
}

impl EdgeKey {
    fn new() -> Self {
        let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(&der));
        Self { pair: Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap(), pem }
    }

    /// Its public half (SPKI, RFC 8410).
    fn public_pem(&self) -> String {
        let prefix = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        let der = [prefix.as_slice(), self.pair.public_key().as_ref()].concat();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
    }

    /// The RFC 7638 thumbprint, by its definition.
    fn thumbprint(&self) -> String {
        let x = encoded(self.pair.public_key().as_ref());
        let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        encoded(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, canonical.as_bytes()))
    }
}

/// The only assertion of a request.
fn assertion_of(seen: &Seen) -> String {
    let found = seen.head.folding_onto(HEADER);
    let [(name, value)] = found.as_slice() else { panic!("{:?}", seen.head.fields) };
    assert_eq!(*name, HEADER);
    minted::remember(value);
    (*value).to_owned()
}

/// What an assertion says, verified by the keys that the gateway publishes.
fn verified(gateway: &Gateway, assertion: &str, audience: &str) -> Value {
    let published: JwkSet = serde_json::from_value(gateway.admin_get("/.well-known/jwks.json").json()).unwrap();
    let header = jsonwebtoken::decode_header(assertion).unwrap();
    assert_eq!(header.typ.as_deref(), Some("assertion+jwt"));
    let key = published.find(header.kid.as_deref().unwrap()).expect("the key is published");
    let mut validation = Validation::new(header.alg);
    validation.set_audience(&[audience]);
    validation.set_issuer(&[EDGE]);
    validation.leeway = 1;
    assert!([Algorithm::EdDSA, Algorithm::ES256].contains(&header.alg));
    jsonwebtoken::decode::<Value>(assertion, &DecodingKey::from_jwk(key).unwrap(), &validation).unwrap().claims
}

fn ask(house: &House, path: &str, headers: &[(&str, &str)]) -> Seen {
    let response = house.gateway.get(path, headers);
    assert_eq!(response.status, 200, "{path}: {}", response.text());
    let mut seen = house.upstream.take();
    assert_eq!(seen.len(), 1);
    seen.remove(0)
}

#[test]
fn an_assertion_says_who_to_whom_and_for_how_long() {
    for algorithm in ["EdDSA", "ES256"] {
        let more = format!(
            "    X-Client: {{from: client}}\n    X-Tenant: [org, tenant]\n    X-Level: level\n    X-Jti: jti\n  \
             assertion: {{issuer: {EDGE}, algorithm: {algorithm}, lifetime: 40s}}"
        );
        let house = House::start(&more, ROUTES);
        let token = Token::good()
            .claim("jti", "t-1")
            .claim("roles", json!(["a,b", "é"]))
            .claim("org", json!({"tenant": "acme", "secret": "kept"}))
            .claim("level", 7)
            .claim("email", "kept@example.com");
        let seen = ask(&house, "/orders", &[("Authorization", &bearer(&token.signed_by(signing_key())))]);
        let claims = verified(&house.gateway, &assertion_of(&seen), "echo");
        let (iat, exp) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
        assert!((0..5).contains(&(now() - iat)) && exp - iat == 40, "{claims}");
        let expected = json!({
            "iss": EDGE, "aud": "echo", "sub": "u1", "iat": iat, "exp": exp, "token_issuer": "main", "token_id": "t-1",
            "roles": ["a,b", "é"], "scope": "orders:read", "client_id": "c1", "org": {"tenant": "acme"}, "level": 7,
        });
        assert_eq!(claims, expected);
    }
}

#[test]
fn an_assertion_ends_no_later_than_its_token() {
    let house = House::start(ASSERTION, ROUTES);
    // Past its end a token has a leeway of 30 s.
    for (left, least, most) in [(20, 20, 20), (-10, 1, 20), (3600, 60, 60)] {
        let exp = now() + left;
        let token = Token::good().claim("exp", exp).signed_by(signing_key());
        let seen = ask(&house, "/orders", &[("Authorization", &bearer(&token))]);
        let claims = verified(&house.gateway, &assertion_of(&seen), "echo");
        let lives = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
        assert!((least - 2..=most).contains(&lives) && lives > 0, "{left}: {claims}");
        let end = if left > 0 { exp } else { exp + 30 };
        assert!(claims["exp"].as_i64().unwrap() <= end, "{left}: {claims}");
    }
}

#[test]
fn a_token_in_use_costs_one_signature_for_each_upstream() {
    // ECDSA signs the same text differently each time.
    let more = format!("  assertion: {{issuer: {EDGE}, algorithm: ES256}}");
    let (first, second) = (Upstream::start(), Upstream::start());
    let routes = "  - {path_prefix: /orders, upstream: echo}\n  - {path_prefix: /billing, upstream: billing}\n";
    let config = crate::support::fixture::config(&more, routes) + "  billing: {servers: [\"{second}\"]}\n";
    let gateway = Gateway::builder(config)
        .set("upstream", first.address())
        .set("second", second.address())
        .file("keys.json", crate::support::fixture::keys_file())
        .start();
    let (one, other) = (good_bearer(), good_bearer());
    let assertion = |path: &str, upstream: &Upstream, token: &str| {
        assert_eq!(gateway.get(path, &[("Authorization", token)]).status, 200);
        assertion_of(&upstream.take()[0])
    };
    let orders = assertion("/orders", &first, &one);
    assert_eq!(orders, assertion("/orders", &first, &one));
    assert_ne!(orders, assertion("/orders", &first, &other));
    let billing = assertion("/billing", &second, &one);
    assert_ne!(orders, billing);
    assert_eq!(verified(&gateway, &billing, "billing")["aud"], "billing");
}

#[test]
fn no_client_can_bring_an_assertion_and_none_is_written_for_nobody() {
    let house = House::start(ASSERTION, ROUTES);
    let good = good_bearer();
    let expired = bearer(&Token::good().claim("exp", now() - 3600).signed_by(signing_key()));
    let spellings = ["X-Identity-Assertion", "x_identity_assertion", "X.Identity.Assertion", "XIdentityAssertion"];
    for spelling in spellings {
        for (path, token, is_somebody) in [
            ("/orders", Some(&good), true),
            ("/optional", Some(&good), true),
            ("/trial", Some(&good), true),
            ("/public", Some(&good), false),
            ("/public", None, false),
            ("/optional", None, false),
            ("/trial", None, false),
            ("/trial", Some(&expired), false),
        ] {
            let mut headers = vec![(spelling, "forged.by.client")];
            headers.extend(token.map(|token| ("Authorization", token.as_str())));
            let seen = ask(&house, path, &headers);
            assert!(!seen.contains("forged.by.client"), "{path} {spelling}");
            if is_somebody {
                verified(&house.gateway, &assertion_of(&seen), "echo");
            } else {
                assert!(seen.head.folding_onto(HEADER).is_empty(), "{path}: {:?}", seen.head.fields);
            }
        }
        let nominated = house.gateway.get("/orders", &[("Authorization", &good), ("Connection", HEADER)]);
        assert_eq!(nominated.json()["reason"], "header_forbidden");
        let preflight = [
            ("Origin", "https://app.test"),
            ("Access-Control-Request-Method", "GET"),
            ("Authorization", good.as_str()),
            (spelling, "forged.by.client"),
        ];
        let response = house.gateway.connect().request("OPTIONS", "/pages", &preflight);
        assert_eq!(response.status, 200);
        let seen = &house.upstream.take()[0];
        assert!(seen.head.folding_onto(HEADER).is_empty(), "{:?}", seen.head.fields);
    }
}

#[test]
fn no_client_is_told_an_assertion() {
    let house = House::start(ASSERTION, ROUTES);
    let answer =
        b"HTTP/1.1 200 OK\r\nx-identity_assertion: told\r\nX-Identity-Assertion: told\r\nContent-Length: 0\r\n\r\n";
    house.upstream.set_answer(Answer::Bytes(answer.to_vec()));
    let response = house.gateway.get("/orders", &[("Authorization", &good_bearer())]);
    assert_eq!(response.status, 200);
    assert!(response.head.folding_onto(HEADER).is_empty(), "{:?}", response.head.fields);
}

#[test]
fn a_request_whose_assertion_cannot_be_made_is_refused() {
    let more = format!("    X-Note: note\n{ASSERTION}\nlimits: {{token_bytes: 1KiB}}");
    let house = House::start(&more, ROUTES);
    // What an assertion says besides makes it longer than a token that is as long as one may be.
    let token = |bytes: usize| bearer(&Token::good().claim("note", "n".repeat(bytes)).signed_by(signing_key()));
    let seen = ask(&house, "/orders", &[("Authorization", &token(10))]);
    assertion_of(&seen);
    let long = (100..700).map(token).rfind(|token| token.len() <= 1024 + "Bearer ".len()).unwrap();
    let response = house.gateway.get("/orders", &[("Authorization", &long)]);
    let seen = house.upstream.take();
    if response.status == 200 {
        // It was just short enough; then it is no longer than a token may be.
        assert!(assertion_of(&seen[0]).len() <= 1024);
        panic!("no token of this test has an assertion that is longer than it");
    }
    assert_eq!((response.status, &response.json()["reason"]), (500, &json!("internal")));
    assert!(seen.is_empty());
    let id = response.header("X-Request-Id").unwrap();
    let line = house.gateway.access_line(id);
    assert!(line["auth"]["detail"].as_str().unwrap().contains("limits.token_bytes"), "{line}");
}

fn kids(published: &Value) -> Vec<String> {
    let keys = published["keys"].as_array().unwrap();
    assert!(keys.iter().all(|key| key.get("d").is_none() && key["use"] == "sig"), "{published}");
    keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_key_of_its_own_is_kept_for_the_next_start_and_shown_to_nobody() {
    let upstream = Upstream::start();
    let state = crate::support::folder::Folder::new();
    let place = state.path().join("state");
    let more = format!("{ASSERTION}\nx-nothing: 1");
    let start = || {
        let at = place.to_str().unwrap();
        builder(&more, ROUTES, &upstream).env("STATE_DIRECTORY", at).start()
    };
    fs::create_dir(&place).unwrap();
    let gateway = start();
    let before = kids(&gateway.admin_get("/.well-known/jwks.json").json());
    assert_eq!(before.len(), 1);
    drop(gateway);
    let file = place.join("assertion-eddsa.pem");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(kids(&start().admin_get("/.well-known/jwks.json").json()), before);
    // One that others may write is not believed, and no other is made in its place.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o622)).unwrap();
    let (account, _folder) =
        builder(&more, ROUTES, &upstream).env("STATE_DIRECTORY", place.to_str().unwrap()).start_expecting_end();
    assert!(account.stderr.contains("assertion-eddsa.pem"), "{}", account.stderr);
    assert!(fs::read_to_string(&file).unwrap().contains("PRIVATE KEY"));
}

#[test]
fn keys_follow_their_files_and_the_one_before_stays_published() {
    let upstream = Upstream::start();
    let (first, second, third) = (EdgeKey::new(), EdgeKey::new(), EdgeKey::new());
    let more = format!(
        "  assertion: {{issuer: {EDGE}, private_key_file: edge.pem, published_key_files: [next.pem], publish: true}}"
    );
    let gateway = builder(&more, ROUTES, &upstream)
        .file("edge.pem", first.pem.clone())
        .file("next.pem", second.public_pem())
        .start();
    let published = || kids(&gateway.admin_get("/.well-known/jwks.json").json());
    assert_eq!(published(), [first.thumbprint(), second.thumbprint()]);
    let token = good_bearer();
    let signed_by = || {
        assert_eq!(gateway.get("/orders", &[("Authorization", &token)]).status, 200);
        let assertion = assertion_of(&upstream.take()[0]);
        verified(&gateway, &assertion, "echo");
        jsonwebtoken::decode_header(&assertion).unwrap().kid.unwrap()
    };
    assert_eq!(signed_by(), first.thumbprint());
    // The next key takes over, though the token's assertion of before would still be fresh.
    gateway.folder().write("edge.pem", &second.pem);
    gateway.folder().write("next.pem", third.public_pem());
    let expected = [second.thumbprint(), third.thumbprint(), first.thumbprint()];
    eventually(PATIENCE, || (published() == expected).then_some(())).expect("the keys follow their files");
    assert_eq!(signed_by(), second.thumbprint());
    // What is no key changes nothing, and is said.
    gateway.folder().write("edge.pem", "no key\n");
    let is_said = |account: Account| account.stderr.contains("the keys of identity.assertion stay as they are");
    eventually(PATIENCE, || is_said(gateway.account()).then_some(())).expect("it is said");
    assert_eq!((published(), signed_by()), (expected.to_vec(), second.thumbprint()));
    assert_eq!(kids(&gateway.get("/.well-known/jwks.json", &[]).json()), expected);
}

#[test]
fn keys_are_published_to_whoever_asks_and_on_listeners_only_where_that_is_wanted() {
    let routes = format!("{ROUTES}  - {{name: own, hosts: [own.test], path_prefix: /, auth: none, upstream: echo}}\n");
    for publish in [false, true] {
        let more = format!("  assertion: {{issuer: {EDGE}, publish: {publish}}}");
        let house = House::start(&more, &routes);
        assert_eq!(house.gateway.admin_get("/.well-known/jwks.json").header("Content-Type"), Some("application/json"));
        for host in ["api.test", "own.test"] {
            let response = house.gateway.get("/.well-known/jwks.json", &[("Host", host), ("Origin", "https://a.test")]);
            let is_forwarded = !house.upstream.take().is_empty();
            if publish {
                assert_eq!(response.header("Content-Type"), Some("application/json"), "{host}");
                assert_eq!(response.header("Access-Control-Allow-Origin"), Some("*"));
                assert_eq!(kids(&response.json()).len(), 1);
                assert!(!is_forwarded);
            } else {
                assert_eq!(
                    (response.status, is_forwarded),
                    if host == "own.test" { (200, true) } else { (404, false) }
                );
            }
        }
    }
    let house = House::start("", ROUTES);
    assert_eq!(house.gateway.admin_get("/.well-known/jwks.json").status, 404);
}

#[test]
fn an_explanation_shows_that_there_would_be_an_assertion_and_none_that_could_be_used() {
    let house = House::start(ASSERTION, ROUTES);
    let token = Token::good().signed_by(signing_key());
    let config = house.gateway.config_file();
    let account = run(&["explain", "-c", config.to_str().unwrap(), "--token", &token, "http://api.test/orders"]);
    let line = account.stdout.lines().find(|line| line.contains(HEADER)).unwrap_or_else(|| panic!("{account:?}"));
    assert!(line.contains("a JWT for echo, signed with EdDSA"), "{line}");
    assert!(!account.stdout.contains("eyJ"), "{account:?}");
    assert!(house.upstream.requests().is_empty());
}

/// The gateway does not start with these files and keys; what it says.
fn refused(assertion: &str, files: &[(&str, &str)]) -> String {
    let upstream = Upstream::start();
    let routes = "  - {path: /.well-known/jwks.json, auth: none, upstream: echo}\n";
    let mut builder = builder(&format!("  assertion: {{issuer: e, {assertion}}}"), routes, &upstream);
    for (name, content) in files {
        builder = builder.file(name, *content);
    }
    let (file, _folder) = builder.write();
    let account = run(&["validate", "-c", file.to_str().unwrap()]);
    assert_eq!(account.status.and_then(|status| status.code()), Some(78), "{account:?}");
    account.stdout + &account.stderr
}

#[test]
fn what_would_not_work_is_refused_by_name() {
    let (key, p256) = (EdgeKey::new(), signing_key());
    let (public, private, foreign) = (key.public_pem(), key.pem.clone(), p256.public_pem());
    type Row<'r> = (&'r str, &'r [(&'r str, &'r str)], &'r str);
    let rows: [Row<'_>; 8] = [
        ("publish: true", &[], "where this is published"),
        ("private_key_file: k.pem", &[("k.pem", &public)], "this is no private key in PEM"),
        ("private_key_file: k.pem, algorithm: ES256", &[("k.pem", &private)], "ES256 needs a private key on P-256"),
        ("private_key_file: k.pem", &[], "cannot read"),
        ("published_key_files: [k.pem]", &[("k.pem", &private)], "this is a private key"),
        ("header: Authorization", &[], "cannot be an identity header"),
        ("header: x_user_id", &[], "reads as `X-User-ID`"),
        ("lifetime: 1h, published_key_files: [k.pem]", &[("k.pem", &foreign)], "lifetime"),
    ];
    for (assertion, files, expected) in rows {
        let said = refused(assertion, files);
        assert!(said.contains(expected), "{assertion}: {said}");
    }
}
