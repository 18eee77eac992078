//! Which tokens pass and which do not, over real sockets. Here: the configuration, the keys and the check that all rows go through.
mod claims;
mod headers;
mod parsing;
mod places;
mod signatures;

use std::sync::{Arc, OnceLock};

use crate::support::{
    client::Response, fixture::House, fixture::signing_key, gateway::Gateway, keys::SigningKey, keys::encoded,
    keys::key_set, minted, problem::check_problem, shared::Shared, token::Token, token::bearer, upstream::Upstream,
};
use serde_json::{Value, json};

const CONFIG: &str = r#"
listeners:
  - {name: web, address: "{listen}"}
admin: {address: "{admin}"}
server: {threads: 1, grace_period: 20s}
issuers:
  main:
    issuer: https://issuer.test
    audiences: [https://api.test, "urn:second"]
    keys: {jwks_file: keys.json}
    roles: roles
  other:
    issuer: https://other.test
    audiences: [https://api.test]
    keys: {jwks_file: other.json}
  pem:
    issuer: https://pem.test
    audiences: [https://api.test]
    algorithms: [ES384]
    keys: {public_key_file: key.pem}
    leeway: 0s
    token_types: [at+jwt]
    require_token_type: true
    max_lifetime: 1h
  shared-secret:
    issuer: https://secret.test
    audiences: [https://api.test]
    algorithms: [HS256, HS384, HS512]
    keys: {secret_file: hmac.key}
identity:
  headers:
    X-User-ID: {from: subject}
    X-User-Roles: {from: roles}
    X-User-Scopes: {from: scopes}
    X-Issuer: {from: issuer}
    X-Client: {from: client}
    X-Email: email
    X-Tenant: [org, tenant]
    X-Plan: {claim: plan}
routes:
  - {name: mine, path_prefix: /mine, issuers: [main], upstream: echo}
  - {name: orders, path_prefix: /orders, issuers: [main], require: {scopes: [orders:read]}, upstream: echo}
  - {name: some, path_prefix: /some, issuers: [main], require: {scopes: {any: [a:x, b:x]}}, upstream: echo}
  - {name: admin, path_prefix: /admin, issuers: [main], require: {roles: [admin]}, upstream: echo}
  - {name: staff, path_prefix: /staff, issuers: [main], require: {roles: {any: [admin, support]}}, upstream: echo}
  - {name: other, path_prefix: /other, issuers: [other], upstream: echo}
  - {name: both, path_prefix: /both, issuers: [main, other], upstream: echo}
  - {name: pem, path_prefix: /pem, issuers: [pem], upstream: echo}
  - {name: secret, path_prefix: /secret, issuers: [shared-secret], upstream: echo}
  - name: query
    path_prefix: /query
    issuers: [main]
    token: {sources: [{header: Authorization}, {query: access_token}, {header: X-Access-Token}]}
    upstream: echo
upstreams:
  echo: {servers: ["{upstream}"]}
"#;

/// The keys of a run: all that a test signs with beside the fixture's `e1`.
struct Keys {
    rsa: SigningKey,
    rsa_bound: SigningKey,
    p384: SigningKey,
    ed25519: SigningKey,
    shared_name: SigningKey,
    encryption: SigningKey,
    signing_only: SigningKey,
    other: SigningKey,
    pem: SigningKey,
    secret: SigningKey,
    secret_text: String,
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let mut secret = [0; 48];
        aws_lc_rs::rand::fill(&mut secret).unwrap();
        let secret_text = encoded(secret);
        minted::remember_secret(&secret_text);
        Keys {
            rsa: SigningKey::rsa("r1"),
            rsa_bound: SigningKey::rsa("r-rs256"),
            p384: SigningKey::p384("e384"),
            ed25519: SigningKey::ed25519("ed1"),
            shared_name: SigningKey::p256("1"),
            encryption: SigningKey::p256("enc"),
            signing_only: SigningKey::p256("sign"),
            other: SigningKey::p256("e1"),
            pem: SigningKey::p384("pem"),
            secret: SigningKey::secret("hmac", secret_text.as_bytes()),
            secret_text,
        }
    })
}

/// A set as providers publish them: good keys beside odd ones.
fn published_keys() -> Vec<u8> {
    let keys = keys();
    let with = |mut jwk: Value, name: &str, value: Value| {
        jwk[name] = value;
        jwk
    };
    let mut operations = with(keys.signing_only.jwk(), "key_ops", json!(["sign"]));
    operations.as_object_mut().unwrap().remove("use");
    let off_curve = with(SigningKey::p256("off-curve").jwk(), "y", json!(encoded([1; 32])));
    let small = with(with(keys.rsa.jwk(), "n", json!(encoded([0xc5; 128]))), "kid", json!("small"));
    key_set(&[
        json!({"kty": "PQC", "kid": "future", "pub": "AAAA"}),
        json!({"kty": "RSA", "kid": "no-n", "e": "AQAB"}),
        json!({"kty": "EC", "crv": "P-256K", "kid": "curve", "x": "AAAA", "y": "AAAA"}),
        json!({"kty": "oct", "kid": "oct", "k": encoded([5; 32])}),
        with(keys.encryption.jwk(), "use", json!("enc")),
        operations,
        off_curve,
        small,
        signing_key().jwk_for("ES256"),
        keys.rsa.jwk(),
        keys.rsa_bound.jwk_for("RS256"),
        keys.p384.jwk(),
        keys.ed25519.jwk(),
        keys.rsa.named("1").jwk(),
        keys.shared_name.jwk(),
    ])
}

fn house() -> Arc<House> {
    static SHARED: Shared<House> = Shared::new();
    SHARED.get(start)
}

fn start() -> House {
    let upstream = Upstream::start();
    let gateway = Gateway::builder(CONFIG)
        .set("upstream", upstream.address())
        .file("keys.json", published_keys())
        .file("other.json", key_set(&[keys().other.jwk_for("ES256")]))
        .file("key.pem", keys().pem.public_pem())
        // One final newline is not part of the secret.
        .file("hmac.key", format!("{}\n", keys().secret_text))
        .start();
    House { gateway, upstream }
}

/// What must come of a token.
enum Expected {
    Passes,
    /// Refused for this reason.
    Refused(&'static str),
    /// Refused for one of these reasons: the contract leaves open which.
    RefusedAsOneOf(&'static [&'static str]),
}
use Expected::{Passes, Refused, RefusedAsOneOf};

/// All reasons that are 401 `invalid_token`: for tokens that are bad in a way that more than one check may notice first.
const INVALID: Expected = RefusedAsOneOf(&[
    "token_malformed",
    "token_too_large",
    "type_not_allowed",
    "critical_header",
    "algorithm_not_allowed",
    "issuer_unknown",
    "key_unknown",
    "signature_invalid",
    "token_expired",
    "token_not_yet_valid",
    "audience_mismatch",
    "claim_missing",
    "claim_invalid",
    "lifetime_exceeded",
]);

fn status_of(reason: &str) -> u16 {
    match reason {
        "token_repeated" | "request_malformed" => 400,
        "scope_insufficient" | "role_missing" | "claim_mismatch" => 403,
        "header_too_large" => 431,
        _ => 401,
    }
}

fn check_response(name: &str, response: &Response, expected: &Expected) {
    let allowed = match expected {
        Passes => {
            assert_eq!(response.status, 200, "{name}: {}", response.text());
            return;
        }
        Refused(reason) => std::slice::from_ref(reason),
        RefusedAsOneOf(reasons) => *reasons,
    };
    assert!(response.status >= 400, "{name}: it passed");
    let problem = response.json();
    let reason = allowed.iter().find(|reason| problem["reason"] == **reason);
    let reason = reason.unwrap_or_else(|| panic!("{name}: {} instead of {allowed:?}", problem["reason"]));
    check_problem(response, status_of(reason), reason, "GET");
}

/// Sends each token as `Authorization: Bearer`, on one connection as long as that holds.
fn check(target: &str, rows: Vec<(&str, String, Expected)>) {
    let house = house();
    let mut client = house.gateway.connect();
    for (name, token, expected) in rows {
        let response = client.get(target, &[("Authorization", &bearer(&token))]);
        check_response(name, &response, &expected);
        if response.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            client = house.gateway.connect();
        }
    }
}

fn signed(token: Token) -> String {
    token.signed_by(signing_key())
}

fn good() -> Token {
    Token::good()
}

/// Sends these header lines to a target.
fn check_lines(target: &str, lines: &[(&str, &str)], expected: &Expected) {
    let response = house().gateway.get(target, lines);
    check_response(&format!("{target} with {} lines", lines.len()), &response, expected);
}
