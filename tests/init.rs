//! `portcullis init`: what it makes from a provider and a sample is what the gateway runs with, and what does not fit is said.
use std::{fs, path::PathBuf, process::Command};

use serde_json::{Value, json};

use crate::support::{
    fixture::signing_key,
    folder::Folder,
    gateway,
    jwks_server::{JwksServer, KeySetAnswer},
    keys::{SigningKey, encoded},
    minted,
    process::{self, Account},
    tls::TlsFront,
    token::{Token, bearer, now},
    upstream::Upstream,
};

const OPENID: &str = "/.well-known/openid-configuration";

/// A provider whose issuer is at this path, with its metadata at `place`.
struct Provider {
    server: JwksServer,
    path: &'static str,
    folder: Folder,
}

impl Provider {
    fn start(path: &'static str, place: &str) -> Self {
        let provider = Self { server: JwksServer::start(&[]), path, folder: Folder::new() };
        provider.server.set(KeySetAnswer::status(404));
        provider.publish(&[signing_key().jwk()]);
        let metadata = json!({
            "issuer": provider.issuer(), "jwks_uri": provider.server.at("/keys"),
            "id_token_signing_alg_values_supported": ["PS256", "RS256", "HS256"],
        });
        provider.server.set_at(place, KeySetAnswer::json(&metadata));
        provider
    }

    fn usual() -> Self {
        Self::start("/", OPENID)
    }

    fn publish(&self, keys: &[Value]) {
        self.server.set_at("/keys", KeySetAnswer::keys(keys));
    }

    fn issuer(&self) -> String {
        self.server.at(self.path)
    }

    fn token(&self) -> Token {
        Token::good().claim("iss", self.issuer())
    }

    /// `init` of the issuer with this sample and these arguments besides.
    fn init(&self, sample: &str, more: &[&str]) -> Account {
        let file = self.folder.write("sample", sample);
        let issuer = self.issuer();
        let mut arguments = vec!["init", "--insecure-http", "--discovery", &issuer, "--token-file"];
        arguments.push(file.to_str().unwrap());
        gateway::run(&[&arguments[..], more].concat())
    }
}

/// Starts a gateway with what `init` makes of the token, sends it that token, and compares what the service is told.
fn check(provider: &Provider, sample: &Token, key: &SigningKey, expected: &[(&str, Option<&str>)]) -> String {
    let token = sample.signed_by(key);
    let made = provider.init(&token, &[]);
    assert_eq!(made.code(), Some(0), "{}", made.stderr);
    assert!(made.stderr.contains("the signature of the sample is verified"), "{}", made.stderr);
    assert!(made.stderr.contains("portcullis takes the sample"), "{}", made.stderr);
    let upstream = Upstream::start();
    let gateway = gateway::documented(&made.stdout, upstream.address()).start();
    let headers = [("Authorization", bearer(&token)), ("X-User-ID", "admin".to_owned())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let response = gateway.get("/", &headers);
    assert_eq!(response.status, 200, "{}\n{}", response.text(), made.stdout);
    let seen = upstream.take();
    for (name, value) in expected {
        assert_eq!(seen[0].head.value(name), *value, "{name}\n{}", made.stdout);
    }
    assert_eq!(gateway.get("/", &[]).status, 401);
    let elsewhere =
        bearer(&sample.clone().claim("aud", "https://other.test").claim("client_id", "other").signed_by(key));
    assert_eq!(gateway.get("/", &[("Authorization", &elsewhere)]).status, 401, "{}", made.stdout);
    made.stdout
}

#[test]
fn a_gateway_runs_with_what_was_made_and_services_are_told_who_is_calling() {
    let provider = Provider::usual();
    let key = signing_key();
    let expected = [("X-User-ID", Some("u1")), ("X-User-Roles", None), ("X-User-Scopes", Some("orders:read"))];
    check(&provider, &provider.token(), key, &expected);
    // Keycloak, Auth0, Okta, Microsoft Entra ID, Amazon Cognito.
    let keycloak = provider.token().claim("aud", json!(["account", "orders"])).claim("typ", "Bearer");
    let keycloak = keycloak.claim("realm_access", json!({"roles": ["a", "b"]})).header("typ", "JWT");
    let text = check(&provider, &keycloak, key, &[("X-User-Roles", Some("a,b"))]);
    assert!(text.contains(r#"audiences: ["orders"]"#), "{text}");
    let auth0 = provider.token().claim("aud", json!(["https://api.test", format!("{}userinfo", provider.issuer())]));
    let auth0 =
        auth0.claim("https://x.test/roles", json!(["r"])).claim("permissions", json!(["p"])).without("client_id");
    let auth0 = auth0.claim("azp", "web").header("typ", "JWT");
    let text = check(&provider, &auth0, key, &[("X-User-Roles", Some("r")), ("X-Client-ID", Some("web"))]);
    assert!(text.contains(r#"#roles: "permissions""#) && !text.contains("userinfo"), "{text}");
    let okta =
        provider.token().without("scope").without("client_id").claim("scp", json!(["x", "y"])).claim("cid", "c9");
    let okta = okta.claim("groups", json!(["g"])).without_header("typ");
    let expected = [("X-User-Roles", Some("g")), ("X-Client-ID", Some("c9")), ("X-User-Scopes", Some("x,y"))];
    check(&provider, &okta, key, &expected);
    let entra = provider.token().claim("tid", "t").claim("oid", "o1").claim("roles", json!(["R"])).claim("azp", "c");
    let entra = entra.without("scope").claim("scp", "a b").header("typ", "JWT").without("client_id");
    let expected = [("X-User-ID", Some("o1")), ("X-User-Roles", Some("R")), ("X-User-Scopes", Some("a,b"))];
    check(&provider, &entra, key, &expected);
    let cognito = provider.token().without("aud").claim("token_use", "access").claim("cognito:groups", json!(["ops"]));
    let text = check(&provider, &cognito.without_header("typ"), key, &[("X-User-Roles", Some("ops"))]);
    assert!(text.contains("audience_claim: client_id"), "{text}");
}

#[test]
fn metadata_is_found_by_the_issuer_and_by_its_own_url_and_the_gateway_finds_it_too() {
    let rows: [(&str, &str, &str, bool); 7] = [
        ("", OPENID, "", true),
        ("/", OPENID, "", true),
        ("/t1", "/t1/.well-known/openid-configuration", "/t1", true),
        ("/t1", "/t1/.well-known/openid-configuration", "/t1/.well-known/openid-configuration", true),
        ("/t1", "/.well-known/oauth-authorization-server/t1", "/t1", true),
        ("/t1", "/.well-known/oauth-authorization-server/t1", "/.well-known/oauth-authorization-server/t1", true),
        // Where the gateway does not look.
        ("/t1", "/.well-known/openid-configuration/t1", "/.well-known/openid-configuration/t1", false),
    ];
    for (path, place, asked, is_discoverable) in rows {
        let provider = Provider::start(path, place);
        let made = gateway::run(&["init", "--insecure-http", "--discovery", &provider.server.at(asked)]);
        assert_eq!(made.code(), Some(0), "{place}: {}", made.stderr);
        let text = &made.stdout;
        assert!(text.contains(&format!("issuer: \"{}\" ", provider.issuer())), "{place}: {text}");
        assert_eq!(text.contains("discovery: true"), is_discoverable, "{place}: {text}");
        assert_eq!(text.contains("jwks_url: "), !is_discoverable, "{place}: {text}");
        assert!(made.stderr.contains("every token is refused"), "{}", made.stderr);
        let upstream = Upstream::start();
        let response = gateway::documented(text, upstream.address())
            .start()
            .get("/", &[("Authorization", &bearer(&provider.token().signed_by(signing_key())))]);
        assert_eq!((response.status, response.json()["reason"].as_str()), (401, Some("audience_mismatch")));
    }
}

#[test]
fn algorithms_are_those_of_the_keys_and_of_what_the_metadata_says_only_where_keys_say_nothing() {
    let rsa = SigningKey::rsa("r1");
    let rows = [
        (vec![signing_key().jwk()], "[ES256]"),
        (vec![rsa.jwk_for("RS512")], "[RS512]"),
        (vec![rsa.jwk()], "[RS256, PS256]"),
        (vec![rsa.jwk(), signing_key().jwk(), json!({"kty": "oct", "k": "AAAA"})], "[RS256, PS256, ES256]"),
    ];
    for (keys, expected) in rows {
        let provider = Provider::usual();
        provider.publish(&keys);
        let made = gateway::run(&["init", "--insecure-http", "--discovery", &provider.issuer()]);
        assert!(made.stdout.contains(&format!("algorithms: {expected}\n")), "{expected}: {}", made.stdout);
        assert_eq!(made.stderr.contains("shared secret has no place"), keys.len() == 3, "{}", made.stderr);
    }
    // A token that was seen counts for more than what is said of ID tokens.
    let provider = Provider::usual();
    provider.publish(&[rsa.jwk()]);
    let made = provider.init(&provider.token().header("alg", "RS384").signed_by(&rsa), &[]);
    assert!(made.stdout.contains("algorithms: [RS256, RS384, PS256]\n"), "{}", made.stdout);
}

#[test]
fn a_sample_that_no_gateway_could_use_is_refused_with_what_to_do() {
    let provider = Provider::usual();
    let (key, other) = (signing_key(), SigningKey::p256("e1"));
    let opaque = "b3BhcXVlLXRva2VuLW9mLXRoaXMtdGVzdA";
    let encrypted = format!("{}.a2V5.aXY.Y2lwaGVydGV4dC1vZi10aGlzLXRlc3Q.dGFn", encoded(r#"{"alg":"dir"}"#));
    let response = json!({"access_token": provider.token().signed_by(key)}).to_string();
    for text in [opaque, &encrypted] {
        minted::remember(text);
    }
    let secret = SigningKey::secret("e1", &[7; 64]);
    let rows = [
        (opaque.to_owned(), "opaque token"),
        (encrypted, "encrypted"),
        (response, "access_token"),
        (String::new(), "empty"),
        ("a.b.c".to_owned(), "not a JWT"),
        (provider.token().without("iss").signed_by(key), "no `iss`"),
        (provider.token().claim("iss", "https://other.test").signed_by(key), "https://other.test"),
        (provider.token().claim("iss", provider.server.at("")).signed_by(key), "final slash"),
        (provider.token().signed_by(&other), "does not verify"),
        (provider.token().signed_by(&secret), "shared secret"),
        (provider.token().header("alg", "none").signed_by(key), "alg"),
        (provider.token().header("typ", "").signed_by(key), "empty `typ`"),
        (provider.token().header("typ", "application/okta-internal-at+jwt").signed_by(key), "org authorization server"),
    ];
    for (sample, says) in rows {
        let made = provider.init(&sample, &[]);
        assert_eq!((made.code(), made.stdout.as_str()), (Some(1), ""), "{says}: {}", made.stderr);
        assert!(made.stderr.starts_with("error: ") && made.stderr.contains(says), "{says}: {}", made.stderr);
    }
}

#[test]
fn a_sample_with_something_odd_makes_a_configuration_and_a_warning() {
    let provider = Provider::usual();
    let (key, gone) = (signing_key(), SigningKey::p256("gone"));
    let rows = [
        (provider.token().claim("exp", 1_600_000_000).claim("iat", 1_500_000_000).signed_by(key), "it has expired"),
        (provider.token().claim("iat", now() + 3_600).signed_by(key), "token_not_yet_valid"),
        (provider.token().without("sub").without("client_id").signed_by(key), "claim_missing: no sub"),
        (provider.token().claim("nonce", "n").signed_by(key), "ID token"),
        (provider.token().claim("token_use", "id").signed_by(key), "ID token"),
        (provider.token().signed_by(&gone), "NOT verified"),
        (provider.token().header("typ", "secevent+jwt").signed_by(key), "secevent+jwt"),
        (provider.token().without("aud").signed_by(key), "no `aud`"),
        (provider.token().claim("aud", "account").signed_by(key), "services of the provider itself"),
        (provider.token().without("exp").signed_by(key), "claim_missing: no exp"),
        (provider.token().claim("padding", "x".repeat(9_000)).signed_by(key), "limits.token_bytes"),
    ];
    for (sample, says) in rows {
        let made = provider.init(&format!("Bearer {sample}\n"), &[]);
        assert_eq!(made.code(), Some(0), "{says}: {}", made.stderr);
        assert!(made.stderr.contains(says), "{says}: {}", made.stderr);
    }
    // What the configuration puts right is nothing to be warned of; an expired sample is judged as of when it was good.
    for odd in [
        provider.token().claim("scope", json!(["a", "b"])),
        provider.token().claim("exp", 1_600_000_000).claim("iat", 1_599_999_000).without("sub").claim("oid", "o"),
    ] {
        let made = provider.init(&odd.signed_by(key), &[]);
        assert!(made.stderr.contains("portcullis takes the sample"), "{}", made.stderr);
        assert!(!made.stderr.contains("warning"), "{}", made.stderr);
    }
    let fine = provider.init(&provider.token().signed_by(key), &[]);
    assert!(!fine.stderr.contains("warning"), "{}", fine.stderr);
}

#[test]
fn a_provider_that_cannot_be_used_is_said_and_nothing_is_written() {
    let usual = Provider::usual();
    let issuer = usual.issuer();
    let other = Provider::usual();
    let metadata = |issuer: &str, keys: &str| KeySetAnswer::json(&json!({"issuer": issuer, "jwks_uri": keys}));
    other
        .server
        .set_at("/moved/.well-known/openid-configuration", metadata("https://evil.test", &other.server.at("/keys")));
    let placeholder = format!("{}/{{tenantid}}/v2.0", other.server.at(""));
    other
        .server
        .set_at("/common/v2.0/.well-known/openid-configuration", metadata(&placeholder, &other.server.at("/keys")));
    let empty = Provider::usual();
    empty.publish(&[json!({"kty": "oct", "k": "AAAA"})]);
    let rows: [(&[&str], i32, &str); 9] = [
        (&["--discovery", &issuer], 2, "--insecure-http"),
        (&["--discovery", "auth.example.com"], 2, "https url"),
        (&["--discovery", "https://me:secret@a.test/"], 2, "user name"),
        (&[], 2, "--discovery"),
        (&["--insecure-http", "--discovery", &other.server.at("/nowhere")], 1, "404"),
        (&["--insecure-http", "--discovery", &other.server.at("/moved")], 1, "elsewhere"),
        (&["--insecure-http", "--discovery", &other.server.at("/common/v2.0")], 1, "the tenant's own ID"),
        (&["--insecure-http", "--discovery", &empty.issuer()], 1, "shared secret"),
        (&["--insecure-http", "--discovery", &issuer, "--ca-file", "/nowhere.pem"], 1, "/nowhere.pem"),
    ];
    for (arguments, code, says) in rows {
        let made = gateway::run(&[&["init"], arguments].concat());
        assert_eq!((made.code(), made.stdout.as_str()), (Some(code), ""), "{arguments:?}: {}", made.stderr);
        assert!(made.stderr.contains(says), "{arguments:?}: {}", made.stderr);
    }
}

#[test]
fn a_file_is_made_once_and_a_sample_may_come_from_standard_input() {
    let provider = Provider::usual();
    let sample = provider.folder.write("token", provider.token().signed_by(signing_key()));
    let output = provider.folder.path().join("made.yaml");
    let script = format!(
        "exec {} init --insecure-http --discovery {} --token-file - --output {} < {}",
        gateway::BINARY,
        provider.issuer(),
        output.display(),
        sample.display()
    );
    let run = || process::run("sh", Command::new("sh").args(["-c", &script]));
    let made = run();
    assert_eq!((made.code(), made.stdout.as_str()), (Some(0), ""), "{}", made.stderr);
    let text = fs::read_to_string(&output).unwrap();
    minted::assert_none_in("the file that was made", &text);
    let valid = gateway::run(&["validate", "-c", output.to_str().unwrap()]);
    assert_eq!(valid.code(), Some(0), "{}", valid.stderr);
    fs::write(&output, "mine").unwrap();
    let again = run();
    assert_eq!(again.code(), Some(1));
    assert!(again.stderr.contains("there already"), "{}", again.stderr);
    assert_eq!(fs::read_to_string(&output).unwrap(), "mine");
}

#[test]
fn a_provider_with_certificates_of_its_own_is_asked_with_the_ca_file_and_by_the_gateway_too() {
    // Relative, as people type it; the configuration may lie elsewhere.
    let certificates = "src/edge/jwks_client/testdata";
    let path = |name: &str| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(certificates).join(name);
    let server = JwksServer::start(&[signing_key().jwk()]);
    let front = TlsFront::start(server.address(), &path("server.pem"), &path("server.key"));
    let issuer = format!("https://localhost:{}", front.address().port());
    let keys = format!("{issuer}/jwks.json");
    server.set_at(OPENID, KeySetAnswer::json(&json!({"issuer": issuer, "jwks_uri": keys})));
    let folder = Folder::new();
    let token = Token::good().claim("iss", issuer.as_str()).signed_by(signing_key());
    let sample = folder.write("token", &token);
    let authority = format!("{certificates}/authority.pem");
    let arguments = ["init", "--discovery", &issuer, "--token-file", sample.to_str().unwrap()];
    let made = gateway::run(&[&arguments[..], &["--ca-file", &authority]].concat());
    assert_eq!(made.code(), Some(0), "{}", made.stderr);
    let upstream = Upstream::start();
    let gateway = gateway::documented(&made.stdout, upstream.address()).start();
    assert_eq!(gateway.get("/", &[("Authorization", &bearer(&token))]).status, 200, "{}", made.stdout);

    let refused = gateway::run(&arguments);
    assert_eq!((refused.code(), refused.stdout.as_str()), (Some(1), ""));
    assert!(refused.stderr.contains("no secure connection"), "{}", refused.stderr);
}
