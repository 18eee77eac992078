//! `discovery: true`: the issuer's own metadata says where its keys are.
use serde_json::json;

use super::*;

const OPENID: &str = "/.well-known/openid-configuration";
const OAUTH: &str = "/.well-known/oauth-authorization-server";

/// A gateway whose issuer is at this path of the server, with metadata that says so at each of `places`.
fn start(server: &JwksServer, path: &str, places: &[&str]) -> House {
    let issuer = server.at(path);
    server.set(KeySetAnswer::status(404));
    server.set_at("/keys", KeySetAnswer::keys(&[signing_key().jwk()]));
    for place in places {
        server.set_at(place, KeySetAnswer::json(&json!({"issuer": issuer, "jwks_uri": server.at("/keys")})));
    }
    start_at(&issuer)
}

fn start_at(issuer: &str) -> House {
    let upstream = Upstream::start();
    let text = config("discovery: true, insecure_http: true, cooldown: 1s").replace("{issuer}", issuer);
    let gateway = builder(&text, &upstream).start();
    House { gateway, _upstream: upstream }
}

fn token(issuer: &str) -> String {
    Token::good().claim("iss", issuer).signed_by(signing_key())
}

#[test]
fn keys_are_found_by_either_standard_whatever_the_issuers_path() {
    for (path, place) in [
        ("", OPENID),
        ("/", OPENID),
        ("", OAUTH),
        ("/t1", "/t1/.well-known/openid-configuration"),
        ("/t1/", "/t1/.well-known/openid-configuration"),
        ("/t1", "/.well-known/oauth-authorization-server/t1"),
    ] {
        let server = JwksServer::start(&[]);
        let house = start(&server, path, &[place]);
        let response = house.ask(&token(&server.at(path)));
        assert_eq!(response.status, 200, "{path:?} by {place}: {}", house.source());
        assert_eq!(house.source()["url"], server.at("/keys"), "{path:?} by {place}");
    }
}

#[test]
fn metadata_of_another_issuer_or_with_keys_that_may_not_be_fetched_is_worth_nothing() {
    let server = JwksServer::start(&[signing_key().jwk()]);
    let (issuer, keys) = (server.at(""), server.at("/keys"));
    let rows = [
        (json!({"issuer": format!("{issuer}/"), "jwks_uri": keys}), "slash"),
        (json!({"issuer": "https://other.test", "jwks_uri": keys}), "https://other.test"),
        (json!({"jwks_uri": keys}), "issuer"),
        (json!({"issuer": issuer}), "jwks_uri"),
        (json!({"issuer": issuer, "jwks_uri": 5}), "jwks_uri"),
        (json!({"issuer": issuer, "jwks_uri": "ftp://127.0.0.1/keys"}), "jwks_uri"),
        (json!({"issuer": issuer, "jwks_uri": format!("{keys}#a")}), "jwks_uri"),
        (json!({"issuer": issuer, "jwks_uri": "http://169.254.169.254/keys"}), "169.254.169.254"),
        (json!({"issuer": issuer, "jwks_uri": keys.replace("http://", "http://me:secret@")}), "jwks_uri"),
    ];
    server.set(KeySetAnswer::status(404));
    server.set_at("/keys", KeySetAnswer::keys(&[signing_key().jwk()]));
    let house = start_at(&issuer);
    for (document, says) in rows {
        server.set_at(OPENID, KeySetAnswer::json(&document));
        assert!(!house.refresh(), "{document}");
        let error = house.source()["last_error"].as_str().unwrap_or_default().to_owned();
        assert!(error.contains(says), "{document}: {error}");
        assert!(!error.contains("secret"), "{error}");
        check_problem(&house.ask(&token(&issuer)), 503, "keys_unavailable", "GET");
    }
    assert_eq!(server.fetches_of("/keys"), 0);
}

#[test]
fn keys_that_move_are_found_again_and_metadata_that_fails_costs_no_keys() {
    let server = JwksServer::start(&[]);
    let house = start(&server, "", &[OPENID]);
    let issuer = server.at("");
    assert_eq!(house.ask(&token(&issuer)).status, 200);
    // The metadata is gone, the keys are there.
    server.set_at(OPENID, KeySetAnswer::status(500));
    assert!(house.refresh());
    let new = SigningKey::p256("new");
    server.set_at("/moved", KeySetAnswer::keys(&[new.jwk()]));
    server.set_at("/keys", KeySetAnswer::status(410));
    server.set_at(OPENID, KeySetAnswer::json(&json!({"issuer": issuer, "jwks_uri": server.at("/moved")})));
    // The first attempt finds that they are gone, the next asks where they are.
    assert!(!house.refresh());
    assert_eq!(house.ask(&token(&issuer)).status, 200, "the last good set serves meanwhile");
    assert!(eventually(PATIENCE, || house.refresh().then_some(())).is_some());
    assert_eq!(house.source()["url"], server.at("/moved"));
    assert_eq!(house.ask(&Token::good().claim("iss", issuer).signed_by(&new)).status, 200);
}

#[test]
fn metadata_that_hangs_costs_no_keys_that_are_there_and_metadata_that_contradicts_does() {
    let server = JwksServer::start(&[]);
    let house = start(&server, "", &[OPENID]);
    let issuer = server.at("");
    let (old, new) = (signing_key(), SigningKey::p256("new"));
    // The keys are not there for a moment, so that it is asked anew where they are.
    server.set_at("/keys", KeySetAnswer::status(500));
    assert!(!house.refresh());
    server.set_at("/keys", KeySetAnswer::keys(&[old.jwk(), new.jwk()]));
    let gate = Gate::default();
    let metadata = KeySetAnswer::json(&json!({"issuer": issuer, "jwks_uri": server.at("/keys")}));
    server.set_at(OPENID, metadata.clone().after(&gate));
    assert!(house.refresh(), "{}", house.source());
    assert_eq!(house.ask(&Token::good().claim("iss", issuer.as_str()).signed_by(&new)).status, 200);
    let told = house.source()["metadata_error"].as_str().unwrap_or_default().to_owned();
    assert!(told.contains("no complete answer in time"), "{told}");
    assert!(house.gateway.account().stderr.contains("issuer main: its metadata cannot be read again"));
    gate.open();
    // Who is said to be another issuer has no say any more where the keys are.
    server.set_at(OPENID, KeySetAnswer::json(&json!({"issuer": "https://other.test", "jwks_uri": server.at("/keys")})));
    assert!(!house.refresh());
    let told = house.source()["last_error"].as_str().unwrap_or_default().to_owned();
    assert!(told.contains("https://other.test"), "{told}");
    assert_eq!(house.ask(&token(&issuer)).status, 200, "the last good set serves meanwhile");
    server.set_at(OPENID, metadata);
    assert!(house.refresh());
    assert!(house.source()["metadata_error"].is_null());
    assert!(house.gateway.account().stderr.contains("issuer main: its metadata can be read again"));
}

#[test]
fn plain_http_is_not_discovered_unless_it_is_allowed() {
    let text = config("discovery: true").replace("{issuer}", "http://127.0.0.1:1");
    let (account, _folder) = builder(&text, &Upstream::start()).start_expecting_end();
    assert_eq!(account.code(), Some(78));
    assert!(account.stderr.contains("keys are fetched over https"), "{}", account.stderr);
}
