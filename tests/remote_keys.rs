//! Keys that are fetched: what a token with an unknown key costs the issuer, everybody else, and the one who sends it.
use std::time::Duration;

use crate::support::{
    client::{Client, request_bytes},
    fixture::{AUDIENCE, ISSUER, signing_key},
    gateway::Gateway,
    jwks_server::{JwksServer, KeySetAnswer},
    keys::SigningKey,
    problem::check_problem,
    token::{Token, bearer},
    upstream::Upstream,
    waiting::{Gate, PATIENCE, eventually},
};

/// Requests that come at once with a key that nobody knows.
const FLOOD: usize = 40;

fn config(jwks: &JwksServer) -> String {
    format!(
        r#"
listeners: [{{name: web, address: "{{listen}}"}}]
admin: {{address: "{{admin}}"}}
server: {{threads: 1, grace_period: 20s}}
issuers:
  main:
    issuer: {ISSUER}
    audiences: [{AUDIENCE}]
    keys: {{jwks_url: "{}", insecure_http: true, cooldown: 1s, timeout: 15s}}
routes:
  - {{name: mine, path_prefix: /mine, upstream: echo}}
upstreams:
  echo: {{servers: ["{{upstream}}"]}}
"#,
        jwks.url()
    )
}

fn request_with(key: &SigningKey) -> Vec<u8> {
    request_bytes("GET", "/mine", &[("Authorization", &bearer(&Token::good().signed_by(key)))])
}

/// Sends a request with this key.
fn asking(gateway: &Gateway, key: &SigningKey) -> Client {
    let mut client = gateway.connect();
    client.send(request_with(key));
    client
}

#[test]
fn a_flood_of_unknown_keys_provokes_one_fetch_and_holds_up_nobody_else() {
    let known = signing_key().jwk();
    let jwks = JwksServer::start(std::slice::from_ref(&known));
    let upstream = Upstream::start();
    let gateway = Gateway::builder(config(&jwks)).set("upstream", upstream.address()).start();
    let unknown = SigningKey::p256("unknown");
    // Until the cooldown of the fetch at the start is over, that fetch settles it.
    let gate = Gate::default();
    jwks.set(KeySetAnswer::keys(std::slice::from_ref(&known)).after(&gate));
    let first = eventually(PATIENCE, || {
        let mut client = asking(&gateway, &unknown);
        if eventually(Duration::from_millis(200), || (jwks.fetches() > 1).then_some(())).is_some() {
            return Some(client);
        }
        check_problem(&client.read("GET"), 401, "key_unknown", "GET");
        None
    });
    assert!(first.is_some(), "no fetch is made for an unknown key");
    let mut others: Vec<Client> = (1..FLOOD).map(|_| asking(&gateway, &unknown)).collect();
    let good = asking(&gateway, signing_key()).read("GET");
    assert_eq!(good.status, 200, "{}", good.text());
    let in_flight = || gateway.metric(|line| line.starts_with("portcullis_http_requests_in_flight "));
    let all = f64::from(u32::try_from(FLOOD).unwrap());
    assert!(eventually(PATIENCE, || (in_flight() >= all).then_some(())).is_some(), "not all of them wait");
    gate.open();
    others.extend(first);
    for client in &mut others {
        check_problem(&client.read("GET"), 401, "key_unknown", "GET");
    }
    assert_eq!(jwks.fetches(), 2);
    let waited = gateway.metric(|line| line.starts_with("portcullis_key_wait_seconds_count{issuer=\"main\"}"));
    assert_eq!(waited, all, "those who waited are counted");
}
