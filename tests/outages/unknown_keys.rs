//! Tokens that name a key which the set lacks: what one of them costs, and what a flood of them costs.
use std::time::Duration;

use super::*;
use crate::support::client::{Client, request_bytes};

fn asking(house: &House, key: &SigningKey) -> Client {
    let mut client = house.gateway.connect();
    client.send(request_bytes("GET", "/", &[("Authorization", &bearer(&Token::good().signed_by(key)))]));
    client
}

/// Waits until an unknown key makes the gateway fetch, and gives the client whose request did.
fn provoke(house: &House, server: &JwksServer, key: &SigningKey) -> Client {
    let before = server.fetches();
    let provoked = eventually(PATIENCE, || {
        let mut client = asking(house, key);
        let fetched = || (server.fetches() > before).then_some(());
        if eventually(Duration::from_millis(200), fetched).is_some() {
            return Some(client);
        }
        // The last fetch is so recent that it settles the question.
        check_problem(&client.read("GET"), 401, "key_unknown", "GET");
        None
    });
    provoked.expect("no fetch is made for an unknown key")
}

#[test]
fn the_first_token_of_a_new_key_finds_it() {
    let (old, new) = (SigningKey::p256("old"), SigningKey::p256("new"));
    let server = JwksServer::start(&[old.jwk()]);
    let house = House::start(&at(&server, ", cooldown: 1s"));
    server.set(KeySetAnswer::keys(&[old.jwk(), new.jwk()]));
    let mut client = provoke(&house, &server, &new);
    assert_eq!(client.read("GET").status, 200);
    assert_eq!(house.status(&old), 200);
}

#[test]
fn when_no_fetch_can_tell_it_is_the_gateways_trouble() {
    let server = JwksServer::start(&[signing_key().jwk()]);
    let house = House::start(&at(&server, ", cooldown: 1s"));
    server.set(KeySetAnswer::status(500));
    let unknown = SigningKey::p256("unknown");
    let mut client = provoke(&house, &server, &unknown);
    check_problem(&client.read("GET"), 503, "keys_unavailable", "GET");
    // Within the cooldown nothing is fetched, and nothing is claimed.
    let before = server.fetches();
    check_problem(&house.ask(&Token::good().signed_by(&unknown)), 503, "keys_unavailable", "GET");
    assert_eq!(server.fetches(), before);
    assert_eq!(house.status(signing_key()), 200);
}

#[test]
fn a_key_that_is_published_but_cannot_be_used_provokes_nothing() {
    let odd = serde_json::json!({"kty": "EC", "crv": "P-521", "kid": "odd", "x": "AA", "y": "AA"});
    let server = JwksServer::start(&[signing_key().jwk(), odd]);
    let house = House::start(&at(&server, ", cooldown: 1s, refresh: 10m"));
    let token = Token::good().signed_by(&SigningKey::p256("odd"));
    // Longer than the cooldown, after which an unknown key would have the set fetched.
    let ended = eventually(Duration::from_millis(1_500), || {
        check_problem(&house.ask(&token), 401, "key_unknown", "GET");
        None::<()>
    });
    assert!(ended.is_none());
    assert_eq!(server.fetches(), 1);
}

#[test]
fn more_than_so_many_do_not_wait() {
    let server = JwksServer::start(&[signing_key().jwk()]);
    let house = House::start(&at(&server, ", cooldown: 1s, timeout: 15s"));
    let gate = Gate::default();
    server.set(KeySetAnswer::keys(&[signing_key().jwk()]).after(&gate));
    let unknown = SigningKey::p256("unknown");
    let mut waiting = vec![provoke(&house, &server, &unknown)];
    waiting.extend((1..256).map(|_| asking(&house, &unknown)));
    let in_flight = || house.metric("portcullis_http_requests_in_flight ");
    assert!(eventually(PATIENCE, || (in_flight() >= 256.0).then_some(())).is_some(), "not all of them wait");
    check_problem(&house.ask(&Token::good().signed_by(&unknown)), 503, "keys_unavailable", "GET");
    assert_eq!(house.status(signing_key()), 200, "who needs no keys does not wait");
    gate.open();
    for mut client in waiting {
        check_problem(&client.read("GET"), 401, "key_unknown", "GET");
    }
}

#[test]
fn a_flood_of_made_up_keys_costs_the_issuer_one_fetch_in_a_cooldown_and_starves_no_rotation() {
    let server = JwksServer::start(&[signing_key().jwk()]);
    let house = House::start(&at(&server, ", cooldown: 2s, refresh: 3s"));
    let began = std::time::Instant::now();
    let new = SigningKey::p256("new");
    let mut sent = 0_u32;
    // Long enough for the scheduled refresh to come; the flood goes on until the rotation is found.
    server.wait_for(1);
    server.set(KeySetAnswer::keys(&[signing_key().jwk(), new.jwk()]));
    let found = eventually(PATIENCE, || {
        for _ in 0..20 {
            sent += 1;
            let status = house.status(&new.named(&format!("made-up-{sent}")));
            assert!([401, 503].contains(&status), "{status}");
        }
        assert_eq!(house.status(signing_key()), 200, "a good token suffers from the flood");
        // A token that is not sent before the set has its key, so that it provokes nothing itself.
        let known = house.issuer()["keys"].as_array().unwrap().len() == 2;
        (known && house.status(&new) == 200).then_some(())
    });
    assert!(found.is_some(), "the rotation is not found in the flood of {sent}");
    // At most one in each begun cooldown, besides the scheduled ones of that time.
    let seconds = began.elapsed().as_secs() + 1;
    let most = 1 + seconds / 2 + 1 + seconds / 2 + 1;
    assert!(server.fetches() as u64 <= most, "{} fetches in {seconds} s", server.fetches());
}
