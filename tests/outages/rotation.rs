//! Keys come and go.
use super::*;

#[test]
fn a_withdrawn_key_ends_its_tokens_at_the_next_request_remembered_or_not() {
    let (old, new) = (SigningKey::p256("old"), SigningKey::p256("new"));
    let server = JwksServer::start(&[old.jwk(), new.jwk()]);
    let house = House::start(&at(&server, ""));
    let (remembered, fresh) = (Token::good().signed_by(&old), Token::good().signed_by(&old));
    for _ in 0..2 {
        assert_eq!(house.ask(&remembered).status, 200);
    }
    assert!(house.metric("portcullis_claims_cache_requests_total{result=\"hit\"}") >= 1.0);
    server.set(KeySetAnswer::keys(&[new.jwk()]));
    assert!(house.refresh());
    for token in [&remembered, &fresh] {
        check_problem(&house.ask(token), 401, "key_unknown", "GET");
    }
    assert_eq!(house.status(&new), 200);
    house.says("issuer main: usable keys: \"new\"; withdrawn: \"old\"");
}

#[test]
fn a_key_that_comes_back_is_the_key_it_was() {
    let (old, new) = (SigningKey::p256("old"), SigningKey::p256("new"));
    let server = JwksServer::start(&[old.jwk()]);
    let house = House::start(&at(&server, ""));
    let token = Token::good().signed_by(&old);
    assert_eq!(house.ask(&token).status, 200);
    // Another key under the same name proves nothing for the first.
    server.set(KeySetAnswer::keys(&[new.named("old").jwk()]));
    assert!(house.refresh());
    check_problem(&house.ask(&token), 401, "signature_invalid", "GET");
    server.set(KeySetAnswer::keys(&[old.jwk()]));
    assert!(house.refresh());
    assert_eq!(house.ask(&token).status, 200);
}

#[test]
fn an_answer_that_has_not_changed_is_asked_for_as_such_and_renews_the_age() {
    let (key, other) = (SigningKey::p256("k"), SigningKey::p256("other"));
    let server = JwksServer::start(&[]);
    server.set(KeySetAnswer::keys(&[key.jwk()]).etag("\"one\""));
    let house = House::start(&at(&server, ", refresh: 1s, max_stale: 3s"));
    server.wait_for(5);
    let asked: Vec<Option<String>> =
        server.requests().iter().map(|head| head.value("If-None-Match").map(str::to_owned)).collect();
    assert_eq!(asked[0], None);
    assert!(asked[1..].iter().all(|etag| etag.as_deref() == Some("\"one\"")), "{asked:?}");
    // By now the set would be too old, had the answers not confirmed it.
    assert_eq!(house.status(&key), 200);
    server.set(KeySetAnswer::keys(&[other.jwk()]).etag("\"two\""));
    assert!(eventually(PATIENCE, || (house.status(&other) == 200).then_some(())).is_some());
    assert_eq!(house.status(&key), 401);
    // After a failure nothing is taken for granted.
    server.set(KeySetAnswer::status(500));
    assert!(!house.refresh());
    let before = server.fetches();
    server.set(KeySetAnswer::keys(&[key.jwk()]).etag("\"two\""));
    assert!(house.refresh());
    assert_eq!(server.requests()[before].value("If-None-Match"), None);
    assert_eq!(house.status(&key), 200);
}

#[test]
fn a_server_may_ask_for_sooner_and_never_for_later() {
    let server = JwksServer::start(&[]);
    server.set(KeySetAnswer::keys(&[signing_key().jwk()]).header("Cache-Control", "max-age=60"));
    let house = House::start(&at(&server, ", refresh: 10m"));
    let next = house.source()["next_refresh_in_seconds"].as_u64().unwrap();
    assert!(next <= 60, "{next}");
    server.set(KeySetAnswer::keys(&[signing_key().jwk()]).header("Cache-Control", "max-age=86400"));
    assert!(house.refresh());
    let next = house.source()["next_refresh_in_seconds"].as_u64().unwrap();
    assert!((500..=600).contains(&next), "{next}");
}

#[test]
fn a_set_of_thousands_of_useless_keys_costs_a_few_lines() {
    let keys: Vec<Value> = (0..5_000).map(|number| serde_json::json!({"kid": format!("\u{1b}[31m{number}")})).collect();
    let server = JwksServer::start(&[]);
    server.set(KeySetAnswer::keys(&[&[signing_key().jwk()], keys.as_slice()].concat()));
    let house = House::start(&at(&server, ""));
    assert_eq!(house.status(signing_key()), 200);
    let issuer = house.issuer();
    assert_eq!((issuer["skipped"].as_array().unwrap().len(), &issuer["skipped_count"]), (64, &5_000.into()));
    assert_eq!(house.metric("portcullis_jwks_skipped_keys{issuer=\"main\"}"), 5_000.0);
    house.says("4992 more keys are not used");
    let said = house.gateway.account().stderr;
    assert_eq!(said.matches("is not used").count(), 8, "{said}");
    assert!(!said.contains('\u{1b}') && !issuer["skipped"].to_string().contains("\\u001b["), "{issuer}");
}

#[test]
fn what_is_in_the_query_of_a_url_is_shown_nowhere() {
    let server = JwksServer::start(&[]);
    server.set_at("/jwks.json?apikey=s3cr3t", KeySetAnswer::keys(&[signing_key().jwk()]));
    server.set(KeySetAnswer::status(500));
    let house = House::start(&format!("jwks_url: \"{}?apikey=s3cr3t\", insecure_http: true", server.url()));
    assert_eq!(house.status(signing_key()), 200);
    server.set_at("/jwks.json?apikey=s3cr3t", KeySetAnswer::status(500));
    assert!(!house.refresh());
    let shown = format!("{}{}", house.issuer(), house.gateway.account().stderr);
    assert!(shown.contains("jwks.json?...") && !shown.contains("s3cr3t"), "{shown}");
}

#[test]
fn keys_that_cannot_be_used_are_shown_with_the_reason_and_said_once() {
    let server = JwksServer::start(&[]);
    let secret = serde_json::json!({"kty": "oct", "kid": "s", "k": encoded([7; 32])});
    server.set(KeySetAnswer::keys(&[signing_key().jwk(), secret]));
    let house = House::start(&at(&server, ""));
    assert!(house.refresh());
    let skipped = house.issuer()["skipped"].clone();
    assert_eq!((skipped[0]["kid"].as_str(), skipped.as_array().map(Vec::len)), (Some("s"), Some(1)));
    assert_eq!(house.metric("portcullis_jwks_skipped_keys{issuer=\"main\"}"), 1.0);
    assert_eq!(house.gateway.times_said("issuer main: key \"s\" is not used"), 1);
}
