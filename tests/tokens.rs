//! Which tokens pass and which do not, over real sockets: parsing, keys, claims, where a token may stand, and what of it reaches the upstream.
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};

use crate::support::{
    client::Response,
    fixture::{AUDIENCE, House, ISSUER, good_bearer, signing_key},
    gateway::Gateway,
    keys::{SigningKey, encoded, key_set},
    minted,
    problem::check_problem,
    server::Server,
    shared::Shared,
    token::{Token, bearer, now, sign_text},
    upstream::{Answer, Upstream},
    waiting::{PATIENCE, eventually},
};

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

#[test]
fn every_algorithm_passes_with_a_key_that_fits() {
    let keys = keys();
    let with = |key: &SigningKey, algorithm: &str| good().header("alg", algorithm).signed_by(key);
    let mut rows = vec![
        ("ES256", with(signing_key(), "ES256"), Passes),
        ("ES384", with(&keys.p384, "ES384"), Passes),
        ("EdDSA", with(&keys.ed25519, "EdDSA"), Passes),
        ("RS256 by a bound key", with(&keys.rsa_bound, "RS256"), Passes),
        ("ES256 under a shared kid", with(&keys.shared_name, "ES256"), Passes),
        ("RS256 under a shared kid", with(&keys.rsa.named("1"), "RS256"), Passes),
        ("ES384 without kid", good().without_header("kid").signed_by(&keys.p384), Passes),
        ("EdDSA without kid", good().without_header("kid").signed_by(&keys.ed25519), Passes),
    ];
    for algorithm in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] {
        rows.push((algorithm, with(&keys.rsa, algorithm), Passes));
    }
    check("/mine", rows);
    let of = |issuer: &str, algorithm: &str| good().claim("iss", issuer).header("alg", algorithm);
    check("/pem", vec![("PEM", of("https://pem.test", "ES384").signed_by(&keys.pem), Passes)]);
    let secret = ["HS256", "HS384", "HS512"]
        .map(|algorithm| (algorithm, of("https://secret.test", algorithm).signed_by(&keys.secret), Passes));
    check("/secret", secret.into());
}

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
fn an_algorithm_is_allowed_by_exact_name() {
    let alg = |name: Value| signed(good().header("alg", name));
    let public_pem = SigningKey::secret("e1", keys().pem.public_pem().as_bytes());
    let modulus = keys().rsa.jwk()["n"].as_str().unwrap().to_owned();
    let rows = vec![
        (
            "missing",
            signed(good().without_header("alg")),
            RefusedAsOneOf(&["token_malformed", "algorithm_not_allowed"]),
        ),
        ("a number", alg(json!(1)), Refused("token_malformed")),
        ("lower case", alg(json!("es256")), Refused("algorithm_not_allowed")),
        ("none", alg(json!("none")), Refused("algorithm_not_allowed")),
        ("noNE", alg(json!("noNE")), Refused("algorithm_not_allowed")),
        (
            "none without signature",
            good().header("alg", "none").with_signature(signing_key(), b""),
            Refused("algorithm_not_allowed"),
        ),
        ("empty", alg(json!("")), RefusedAsOneOf(&["token_malformed", "algorithm_not_allowed"])),
        ("ES512 is not ours", alg(json!("ES512")), Refused("algorithm_not_allowed")),
        (
            "an HMAC with the public key",
            good().header("alg", "HS256").signed_by(&public_pem),
            Refused("algorithm_not_allowed"),
        ),
        (
            "an HMAC with the modulus",
            good().header("alg", "HS256").signed_by(&SigningKey::secret("r1", modulus.as_bytes())),
            Refused("algorithm_not_allowed"),
        ),
        (
            "an HMAC with a published secret",
            good().header("alg", "HS256").signed_by(&SigningKey::secret("oct", &[5; 32])),
            Refused("algorithm_not_allowed"),
        ),
    ];
    check("/mine", rows);
    let hmac_as_asymmetric = good().claim("iss", "https://secret.test").signed_by(&signing_key().named("hmac"));
    check("/secret", vec![("ES256 where a secret is expected", hmac_as_asymmetric, Refused("algorithm_not_allowed"))]);
    let es256 = good().claim("iss", "https://pem.test").signed_by(&signing_key().named("pem"));
    check("/pem", vec![("ES256 where ES384 is expected", es256, Refused("algorithm_not_allowed"))]);
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
fn a_key_that_the_token_brings_along_is_not_used_nor_fetched() {
    let server = Server::on_tcp(|wire| wire.shut());
    let url = format!("http://{}/keys", server.address());
    let stranger = SigningKey::p256("e1");
    let rows = vec![
        ("jwk", good().header("jwk", stranger.jwk()).signed_by(&stranger), Refused("signature_invalid")),
        (
            "jwk, another kid",
            good().header("jwk", stranger.jwk()).signed_by(&stranger.named("mine")),
            Refused("key_unknown"),
        ),
        ("jku", good().header("jku", &*url).signed_by(&stranger), Refused("signature_invalid")),
        ("jku, another kid", good().header("jku", &*url).signed_by(&stranger.named("mine")), Refused("key_unknown")),
        ("x5u", good().header("x5u", &*url).signed_by(&stranger), Refused("signature_invalid")),
        ("x5c", good().header("x5c", json!(["MIIB"])).signed_by(&stranger), Refused("signature_invalid")),
        ("kid is a URL", good().header("kid", &*url).signed_by(&stranger), Refused("key_unknown")),
        ("jku beside a good signature", signed(good().header("jku", &*url)), Passes),
    ];
    check("/mine", rows);
    assert_eq!(server.connections(), 0, "a key was asked for where the token says");
}

#[test]
fn a_kid_is_an_exact_name_and_nothing_else() {
    let kid = |kid: Value| signed(good().header("kid", kid));
    let rows = vec![
        ("a path", kid(json!("../../dev/null")), Refused("key_unknown")),
        ("a query", kid(json!("' OR 1=1 --")), Refused("key_unknown")),
        ("another case", kid(json!("E1")), Refused("key_unknown")),
        ("a line feed", kid(json!("e1\n")), Refused("key_unknown")),
        ("empty", kid(json!("")), RefusedAsOneOf(&["key_unknown", "token_malformed"])),
        ("a number", kid(json!(7)), Refused("token_malformed")),
        ("very long", kid(json!("k".repeat(10_000))), Refused("token_too_large")),
    ];
    check("/mine", rows);
}

#[test]
fn only_a_whole_signature_of_the_named_key_counts() {
    let key = signing_key();
    let token = signed(good());
    let (input, signature) = token.rsplit_once('.').unwrap();
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    let mut order = [0xff; 64];
    order[32..].fill(1);
    let shown = |bytes: &[u8]| good().with_signature(key, bytes);
    let der = [&[0x30, 68, 2, 32][..], &[1; 32], &[2, 32], &[1; 32]].concat();
    let forged = Token::good().claim("sub", "forged-admin").signing_input(key);
    let rows = vec![
        ("one character", format!("{input}.{flipped}{}", &signature[1..]), Refused("signature_invalid")),
        ("another payload", format!("{forged}.{signature}"), Refused("signature_invalid")),
        ("DER", shown(&der), Refused("signature_invalid")),
        ("zeros", shown(&[0; 64]), Refused("signature_invalid")),
        ("out of range", shown(&order), Refused("signature_invalid")),
        ("short", shown(&[1; 63]), Refused("signature_invalid")),
        ("long", shown(&[1; 65]), Refused("signature_invalid")),
        ("one byte", shown(&[1]), Refused("signature_invalid")),
        ("another key", good().signed_by(&SigningKey::p256("e1")), Refused("signature_invalid")),
        ("the key of another issuer", good().signed_by(&keys().other), Refused("signature_invalid")),
    ];
    check("/mine", rows);
}

#[test]
fn a_key_verifies_only_what_it_is_for() {
    let keys = keys();
    const NO_KEY: Expected = RefusedAsOneOf(&["key_unknown", "algorithm_not_allowed", "signature_invalid"]);
    let rows = vec![
        ("ES256 under the kid of an RSA key", good().signed_by(&signing_key().named("r1")), NO_KEY),
        ("ES256 under the kid of a P-384 key", good().signed_by(&signing_key().named("e384")), NO_KEY),
        ("PS256 by a key bound to RS256", good().header("alg", "PS256").signed_by(&keys.rsa_bound), NO_KEY),
        ("a key for encryption", good().signed_by(&keys.encryption), Refused("key_unknown")),
        ("a key that may only sign", good().signed_by(&keys.signing_only), Refused("key_unknown")),
        ("a point off the curve", good().signed_by(&signing_key().named("off-curve")), Refused("key_unknown")),
        (
            "a small modulus",
            good().header("alg", "RS256").with_signature(&keys.rsa.named("small"), &[1; 128]),
            Refused("key_unknown"),
        ),
        ("a key of a future kind", good().signed_by(&signing_key().named("future")), Refused("key_unknown")),
    ];
    check("/mine", rows);
}

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
}

/// Sends these header lines to a target.
fn check_lines(target: &str, lines: &[(&str, &str)], expected: &Expected) {
    let response = house().gateway.get(target, lines);
    check_response(&format!("{target} with {} lines", lines.len()), &response, expected);
}

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

#[test]
fn a_remembered_token_is_the_whole_token_and_its_issuers() {
    let house = house();
    let token = signed(good());
    for _ in 0..3 {
        check_lines("/mine", &[("Authorization", &bearer(&token))], &Passes);
    }
    let (input, signature) = token.rsplit_once('.').unwrap();
    let other_start = if signature.starts_with('A') { "B" } else { "A" };
    let altered = format!("{input}.{other_start}{}", &signature[1..]);
    let (start, rest) = token.split_at(token.len() / 2);
    let moved = format!("{start}{}{}", if rest.starts_with('a') { "b" } else { "a" }, &rest[1..]);
    for changed in [altered, moved, format!("{token}A"), token[..token.len() - 2].to_owned()] {
        let response = house.gateway.get("/mine", &[("Authorization", &bearer(&changed))]);
        assert_eq!(response.status, 401, "a token like a remembered one passed");
    }
    check_lines("/other", &[("Authorization", &bearer(&token))], &Refused("issuer_unknown"));
    let hits =
        |line: &str| line.starts_with("portcullis_claims_cache_requests_total{") && line.contains("result=\"hit\"");
    assert!(house.gateway.metric(hits) >= 2.0);
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

/// What the upstream sees of these claims, by header name.
fn check_headers(rows: Vec<(&str, Token, Vec<(&str, Option<&str>)>)>) {
    let House { gateway, upstream } = &start();
    for (name, token, expected) in rows {
        let response = gateway.get("/mine", &[("Authorization", &bearer(&signed(token)))]);
        assert_eq!(response.status, 200, "{name}: {}", response.text());
        let seen = &upstream.take()[0];
        for (header, value) in expected {
            assert_eq!(
                seen.head.values(header),
                value.into_iter().collect::<Vec<_>>(),
                "{name}: {header} in {:?}",
                seen.head.fields
            );
        }
    }
}

#[test]
fn claims_become_headers_of_one_line_each_and_missing_ones_none() {
    check_headers(vec![
        (
            "all of them",
            good()
                .claim("roles", json!(["a", "b c"]))
                .claim("scope", "x y")
                .claim("email", "a@b.test")
                .claim("org", json!({"tenant": "t"}))
                .claim("plan", "pro"),
            vec![
                ("X-User-ID", Some("u1")),
                ("X-User-Roles", Some("a,b c")),
                ("X-User-Scopes", Some("x,y")),
                ("X-Client", Some("c1")),
                ("X-Email", Some("a@b.test")),
                ("X-Tenant", Some("t")),
                ("X-Plan", Some("pro")),
            ],
        ),
        (
            "none of them",
            good().without("scope").without("client_id"),
            vec![
                ("X-User-ID", Some("u1")),
                ("X-User-Roles", None),
                ("X-User-Scopes", None),
                ("X-Client", None),
                ("X-Email", None),
                ("X-Tenant", None),
                ("X-Plan", None),
            ],
        ),
        (
            "azp where there is no client_id",
            good().without("client_id").claim("azp", "z1"),
            vec![("X-Client", Some("z1"))],
        ),
        ("numbers", good().claim("plan", 7), vec![("X-Plan", Some("7"))]),
        ("booleans", good().claim("plan", true), vec![("X-Plan", Some("true"))]),
        ("a list", good().claim("plan", json!(["a", 1, false])), vec![("X-Plan", Some("a,1,false"))]),
        ("an object", good().claim("plan", json!({"é": 1})), vec![("X-Plan", Some("{\"\\u00e9\":1}"))]),
        ("half a path", good().claim("org", "t"), vec![("X-Tenant", None)]),
    ]);
}

#[test]
fn a_claim_cannot_break_out_of_its_header() {
    let subject = |value: &str| good().claim("sub", value);
    let seen = |value| vec![("X-User-ID", Some(value)), ("X-Injected", None)];
    check_headers(vec![
        ("line end", subject("u1\r\nX-Injected: admin"), seen("u1%0D%0AX-Injected: admin")),
        ("line feed", subject("u1\nX-Injected: admin"), seen("u1%0AX-Injected: admin")),
        ("zero", subject("u1\0"), seen("u1%00")),
        ("delete", subject("u1\u{7f}"), seen("u1%7F")),
        ("tab", subject("u\t1"), seen("u%091")),
        ("not ASCII", subject("Zoë"), seen("Zo%C3%AB")),
        ("C1 control", subject("a\u{85}b"), seen("a%C2%85b")),
        ("space at the start", subject(" u1"), seen("%20u1")),
        ("space at the end", subject("u1 "), seen("u1%20")),
        ("space within", subject("u 1"), seen("u 1")),
        ("percent", subject("a%2Cb"), seen("a%252Cb")),
        ("comma of a text", subject("a,b"), seen("a,b")),
        ("quotes", subject("\"u1\"; x=\\"), seen("\"u1\"; x=\\")),
        ("comma of an element", good().claim("roles", json!(["a, admin"])), vec![("X-User-Roles", Some("a%2C admin"))]),
        ("two elements", good().claim("roles", json!(["a", "b"])), vec![("X-User-Roles", Some("a,b"))]),
        (
            "line end of an element",
            good().claim("roles", json!(["a\r\nX-Injected: b"])),
            vec![("X-User-Roles", Some("a%0D%0AX-Injected: b")), ("X-Injected", None)],
        ),
    ]);
}

#[test]
fn the_same_subject_of_two_issuers_can_be_told_apart() {
    let House { gateway, upstream } = &start();
    let tokens = [signed(good()), good().claim("iss", "https://other.test").signed_by(&keys().other)];
    for token in &tokens {
        assert_eq!(gateway.get("/both", &[("Authorization", &bearer(token))]).status, 200);
    }
    let seen = upstream.take();
    assert_eq!(seen[0].head.values("X-User-ID"), seen[1].head.values("X-User-ID"));
    assert_eq!(seen[0].head.values("X-Issuer").len(), 1);
    assert_ne!(seen[0].head.values("X-Issuer"), seen[1].head.values("X-Issuer"));
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
