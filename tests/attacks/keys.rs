//! Key sets and those who serve them: what other gateways fetched, believed, or fell over.
use serde_json::json;

use crate::support::{
    attack::AFTER,
    client::request_bytes,
    fixture::{self, House, signing_key},
    gateway::Gateway,
    jwks_server::{JwksServer, KeySetAnswer},
    keys::{SigningKey, encoded, key_set},
    token::{Token, bearer},
    upstream::Upstream,
    waiting::{Gate, PATIENCE, eventually},
};

const ROUTES: &str = r#"
  - {name: after, path: /after, auth: none, upstream: echo}
  - {name: closed, path_prefix: /, upstream: echo}
"#;

/// A house whose issuer's keys are at this server.
fn house(server: &JwksServer, more: &str) -> House {
    let upstream = Upstream::start();
    let keys = format!("keys: {{jwks_url: \"http://{}/keys\", insecure_http: true{more}}}", server.address());
    let config = fixture::config("", ROUTES).replace("keys: {jwks_file: keys.json}", &keys);
    House { gateway: Gateway::builder(config).set("upstream", upstream.address()).start(), upstream }
}

fn status(house: &House, token: &str) -> u16 {
    house.gateway.get("/", &[("Authorization", &bearer(token))]).status
}

#[test]
fn one_odd_key_does_not_spoil_a_set_agentgateway_and_oathkeeper() {
    let plain = SigningKey::p256("plain");
    let mut without_use = plain.jwk();
    without_use.as_object_mut().unwrap().remove("use");
    let mut odd = vec![
        json!({"kty": "RSA", "kid": "enc", "use": "enc", "alg": "RSA-OAEP", "n": encoded([0xc5; 256]), "e": "AQAB"}),
        json!({"kty": "oct", "kid": "oct", "k": encoded([5; 32])}),
        json!({"kty": "OKP", "crv": "X25519", "kid": "x", "x": encoded([5; 32])}),
        json!({"kty": "PQC", "kid": "future"}),
        json!({"kty": 7}),
        json!({}),
    ];
    odd.push(without_use);
    odd.push(signing_key().jwk());
    let upstream = Upstream::start();
    let gateway = fixture::builder("", ROUTES, &upstream).file("keys.json", key_set(&odd)).start();
    let house = House { gateway, upstream };
    assert_eq!(status(&house, &Token::good().signed_by(signing_key())), 200);
    assert_eq!(status(&house, &Token::good().signed_by(&plain)), 200);
    let oct = SigningKey::secret("oct", &[5; 32]);
    assert_eq!(status(&house, &Token::good().signed_by(&oct)), 401, "a secret that was published proves nothing");
    assert_eq!(status(&house, &Token::good().without_header("kid").signed_by(&oct)), 401);
}

#[test]
fn a_client_that_goes_away_while_keys_are_fetched_envoy_cve_2024_45809_and_cve_2025_64527() {
    let server = JwksServer::start(&[signing_key().jwk()]);
    let house = house(&server, ", cooldown: 1s");
    assert_eq!(status(&house, &Token::good().signed_by(signing_key())), 200);
    let gate = Gate::default();
    server.set(KeySetAnswer::keys(&[signing_key().jwk()]).after(&gate));
    let stranger = SigningKey::p256("stranger");
    let before = server.fetches();
    let waiting = eventually(PATIENCE, || {
        let mut clients: Vec<_> = (0..20).map(|_| house.gateway.connect()).collect();
        for client in &mut clients {
            let token = bearer(&Token::good().signed_by(&stranger));
            client.send(request_bytes("GET", "/", &[("Authorization", &token)]));
        }
        // Those that wait are dropped with the vector, in the middle of the fetch.
        (server.fetches() > before).then_some(())
    });
    assert!(waiting.is_some(), "nothing was fetched");
    assert_eq!(status(&house, &Token::good().signed_by(signing_key())), 200, "while the fetch hangs");
    gate.open();
    let stranger = status(&house, &Token::good().signed_by(&stranger));
    assert!(matches!(stranger, 401 | 503), "an answer, and no crash: {stranger}");
    assert_eq!(house.gateway.get(AFTER, &[]).status, 200);
    let account = house.gateway.stop();
    assert!(!account.stderr.contains("panicked"), "{}", account.stderr);
    assert_eq!(account.code(), Some(0));
}

#[test]
fn a_key_set_that_sends_elsewhere_istio_58553_59236_and_61230() {
    let inside = JwksServer::start(&[signing_key().jwk()]);
    let server = JwksServer::start(&[signing_key().jwk()]);
    server.set(KeySetAnswer::status(302).header("Location", &format!("http://{}/keys", inside.address())));
    let upstream = Upstream::start();
    let keys = format!("keys: {{jwks_url: \"http://{}/keys\", insecure_http: true}}", server.address());
    let config = fixture::config("", ROUTES).replace("keys: {jwks_file: keys.json}", &keys);
    let (_process, address) = Gateway::builder(config).set("upstream", upstream.address()).spawn_unready();
    let asked = eventually(PATIENCE, || (server.fetches() > 0).then_some(()));
    assert!(asked.is_some());
    let token = bearer(&Token::good().signed_by(signing_key()));
    assert_eq!(crate::support::client::get(&address, "/", &[("Authorization", &token)]).status, 503);
    assert_eq!(inside.fetches(), 0, "a redirect to another host was followed");
    assert!(upstream.take_bytes().is_empty());
}
