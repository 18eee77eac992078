//! What happens to tokens when the server with the keys, the clock or the machine fails: nothing that the contract does not say.
//!
//! The gateway has an issuer `main`, whose keys are fetched, and an issuer `steady` with a file of its own, so that it is ready
//! whatever becomes of `main`.
mod discovery;
mod files;
mod kept;
mod proxies;
mod rotation;
mod unknown_keys;

use serde_json::Value;

use crate::support::{
    fixture::{AUDIENCE, ISSUER, signing_key},
    gateway::{Builder, Gateway},
    jwks_server::{JwksServer, KeySetAnswer},
    keys::{SigningKey, encoded, key_set},
    problem::check_problem,
    token::{Token, bearer},
    upstream::Upstream,
    waiting::{Gate, PATIENCE, eventually},
};

/// A gateway in front of an upstream.
struct House {
    // Ends first.
    gateway: Gateway,
    _upstream: Upstream,
}

impl House {
    /// A gateway whose issuer `main` has these `keys`.
    fn start(keys: &str) -> Self {
        Self::start_with(keys, |builder| builder)
    }

    fn start_with(keys: &str, change: impl FnOnce(Builder) -> Builder) -> Self {
        let upstream = Upstream::start();
        let gateway = change(builder(&config(keys), &upstream)).start();
        Self { gateway, _upstream: upstream }
    }

    fn status(&self, key: &SigningKey) -> u16 {
        self.ask(&Token::good().signed_by(key)).status
    }

    fn ask(&self, token: &str) -> crate::support::client::Response {
        self.gateway.get("/", &[("Authorization", &bearer(token))])
    }

    /// Waits until it has said this on standard error.
    #[track_caller]
    fn says(&self, text: &str) {
        let said = || self.gateway.account().stderr.contains(text).then_some(());
        assert!(eventually(PATIENCE, said).is_some(), "{text:?} is not said: {}", self.gateway.account().stderr);
    }

    /// How the keys of `main` are had.
    fn source(&self) -> Value {
        self.issuer()["source"].clone()
    }

    fn issuer(&self) -> Value {
        let issuers = self.gateway.admin_get("/issuers").json();
        issuers.as_array().unwrap().iter().find(|issuer| issuer["name"] == "main").unwrap().clone()
    }

    fn metric(&self, name: &str) -> f64 {
        self.gateway.metric(|line| line.starts_with(name))
    }

    /// Has the keys of `main` fetched now; answers whether that succeeded.
    fn refresh(&self) -> bool {
        let socket = crate::support::wire::Address::Unix(self.gateway.folder().path().join("run/admin.sock"));
        let mut client = crate::support::client::Client::connect(&socket);
        client.request("POST", "/issuers/main/refresh", &[("Host", "localhost")]).status == 200
    }
}

fn config(keys: &str) -> String {
    format!(
        r#"
listeners: [{{name: web, address: "{{listen}}"}}]
admin: {{address: "{{admin}}"}}
server: {{threads: 2, grace_period: 20s}}
issuers:
  main: {{issuer: "{{issuer}}", audiences: [{AUDIENCE}], keys: {{{keys}}}}}
  steady: {{issuer: https://steady.test, audiences: [{AUDIENCE}], keys: {{jwks_file: steady.json}}}}
routes:
  - {{name: mine, path_prefix: /, issuers: [main, steady], insecure_merged_subjects: true, upstream: echo}}
upstreams:
  echo: {{servers: ["{{upstream}}"]}}
"#
    )
}

fn builder(config: &str, upstream: &Upstream) -> Builder {
    Gateway::builder(config)
        .set("upstream", upstream.address())
        .file("steady.json", key_set(&[signing_key().jwk()]))
        // Later ones are what a test sets itself.
        .set("issuer", ISSUER)
}

/// A configuration of `keys` at this server.
fn at(server: &JwksServer, more: &str) -> String {
    format!("jwks_url: \"{}\", insecure_http: true{more}", server.url())
}

/// Every way in which an answer can be no key set, with what is said of it.
fn broken_answers() -> Vec<(&'static str, KeySetAnswer, &'static str)> {
    let html = "<html>sorry</html>";
    let json = |text: &str| KeySetAnswer::status(200).header("Content-Type", "application/json").body(text);
    let huge = format!("{{\"keys\":[],\"padding\":\"{}\"}}", "x".repeat(256 * 1024));
    let unusable = serde_json::json!([
        {"kty": "oct", "kid": "a", "k": encoded([7; 32])},
        {"kty": "RSA", "kid": "b", "e": "AQAB", "n": encoded([0xff; 128])},
        {"kty": "PQC", "kid": "c"},
        {"kty": "EC", "crv": "P-256", "kid": "d", "use": "enc", "x": encoded([1; 32]), "y": encoded([2; 32])},
    ]);
    vec![
        ("an error", KeySetAnswer::status(500), "500"),
        ("not found", KeySetAnswer::status(404), "404"),
        ("nothing", KeySetAnswer::raw(""), "ended before"),
        (
            "half an answer",
            KeySetAnswer::raw("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"keys\":["),
            "ended before",
        ),
        ("no HTTP", KeySetAnswer::raw("SSH-2.0-OpenSSH\r\n\r\n"), "not"),
        ("an empty body", json(""), "not one JSON object"),
        ("an empty set", json("{\"keys\":[]}"), "the key set is empty"),
        ("a list", json("[]"), "not one JSON object"),
        ("no keys", json("{\"key\":[]}"), "no array `keys`"),
        ("a member twice", json("{\"keys\":[],\"keys\":[]}"), "not one JSON object"),
        ("a page", KeySetAnswer::status(200).header("Content-Type", "text/html").body(html), "text/html"),
        ("a page that says that it is JSON", json(html), "not one JSON object"),
        ("too much", json(&huge), "larger than"),
        ("another host", KeySetAnswer::status(302).header("Location", "http://127.0.0.1:1/jwks.json"), "redirect"),
        (
            "a metadata service",
            KeySetAnswer::status(302).header("Location", "http://169.254.169.254/latest/meta-data"),
            "redirect",
        ),
        ("a redirect to itself", KeySetAnswer::status(302).header("Location", "/jwks.json"), "redirect"),
        ("a change of nothing", KeySetAnswer::status(304), "304"),
        ("keys of no use", json(&serde_json::json!({ "keys": unusable }).to_string()), "no key of the set can be used"),
    ]
}

#[test]
fn an_answer_that_is_no_key_set_never_replaces_one_that_is() {
    let server = JwksServer::start(&[signing_key().jwk()]);
    let house = House::start(&at(&server, ""));
    for (what, answer, says) in broken_answers() {
        let failures = house.metric("portcullis_jwks_fetches_total{issuer=\"main\",result=\"failure\"}");
        server.set(answer);
        assert!(!house.refresh(), "{what} is taken for a key set");
        let source = house.source();
        let error = source["last_error"].as_str().unwrap_or_default().to_owned();
        assert!(error.contains(says), "{what}: {error}");
        assert!(!error.contains("sorry") && !error.contains("padding"), "{what}: the error quotes the answer: {error}");
        assert_eq!(house.status(signing_key()), 200, "{what} costs the keys");
        let counted = house.metric("portcullis_jwks_fetches_total{issuer=\"main\",result=\"failure\"}");
        assert!(counted > failures, "{what} is not counted");
        house.says(&error);
    }
    server.set(KeySetAnswer::keys(&[signing_key().jwk()]));
    assert!(house.refresh());
    assert!(house.source()["last_error"].is_null());
}

#[test]
fn an_issuer_that_never_gave_keys_is_the_gateways_trouble_and_ends_with_the_first_good_answer() {
    let server = JwksServer::start(&[]);
    server.set(KeySetAnswer::status(500));
    let house = House::start(&at(&server, ""));
    let token = Token::good().signed_by(signing_key());
    check_problem(&house.ask(&token), 503, "keys_unavailable", "GET");
    server.set(KeySetAnswer::keys(&[signing_key().jwk()]));
    // Nobody has to ask for it.
    assert!(eventually(PATIENCE, || (house.ask(&token).status == 200).then_some(())).is_some());
}

#[test]
fn keys_that_cannot_be_refreshed_serve_for_max_stale_and_no_longer() {
    let server = JwksServer::start(&[signing_key().jwk()]);
    let house = House::start(&at(&server, ", refresh: 1s, max_stale: 2s"));
    let token = Token::good().signed_by(signing_key());
    assert_eq!(house.ask(&token).status, 200);
    server.set(KeySetAnswer::status(500));
    let refused = eventually(PATIENCE, || Some(house.ask(&token)).filter(|response| response.status != 200));
    check_problem(&refused.expect("stale keys serve for ever"), 503, "keys_unavailable", "GET");
    assert_eq!(house.metric("portcullis_jwks_keys{issuer=\"main\"}"), 0.0);
    house.says("issuer main: the last good keys are too old");
    server.set(KeySetAnswer::keys(&[signing_key().jwk()]));
    assert!(eventually(PATIENCE, || (house.ask(&token).status == 200).then_some(())).is_some(), "it never recovers");
}

#[test]
fn a_server_that_hangs_costs_nobody_but_those_who_need_what_it_has() {
    let (hanging, second) = (JwksServer::start(&[signing_key().jwk()]), JwksServer::start(&[signing_key().jwk()]));
    let gate = Gate::default();
    hanging.set(KeySetAnswer::keys(&[signing_key().jwk()]).after(&gate));
    let third = format!(
        "  second: {{issuer: https://second.test, audiences: [{AUDIENCE}], keys: {{jwks_url: \"{}\", insecure_http: true, \
         refresh: 1s}}}}\nroutes:",
        second.url()
    );
    let text = config(&at(&hanging, ", timeout: 2s"))
        .replace("routes:", &third)
        .replace("issuers: [main, steady]", "issuers: [main, second, steady]");
    let upstream = Upstream::start();
    let gateway = builder(&text, &upstream).start();
    let house = House { gateway, _upstream: upstream };
    let of = |issuer: &str| Token::good().claim("iss", issuer).signed_by(signing_key());
    // One dead issuer of three does not keep the host out, and the others are refreshed in their own time.
    assert_eq!(house.gateway.admin_get("/readyz").status, 200);
    second.wait_for(3);
    for issuer in ["https://second.test", "https://steady.test"] {
        assert_eq!(house.ask(&of(issuer)).status, 200, "{issuer}");
    }
    check_problem(&house.ask(&of(ISSUER)), 503, "keys_unavailable", "GET");
    assert!(house.source()["last_error"].as_str().is_none_or(|error| error.contains("2")), "{}", house.source());
    gate.open();
    assert!(eventually(PATIENCE, || (house.ask(&of(ISSUER)).status == 200).then_some(())).is_some());
}

#[test]
fn a_host_waits_for_the_issuer_that_it_must_have() {
    let server = JwksServer::start(&[]);
    server.set(KeySetAnswer::status(500));
    let text = config(&at(&server, ""))
        .replace("steady: {issuer", "steady: {required_for_readiness: false, issuer")
        .replace("main: {issuer", "main: {required_for_readiness: true, issuer");
    let upstream = Upstream::start();
    // It becomes ready only when the keys come, which `start` waits for.
    let waiting = std::thread::spawn(move || (builder(&text, &upstream).start(), upstream));
    server.wait_for(2);
    assert!(!waiting.is_finished());
    server.set(KeySetAnswer::keys(&[signing_key().jwk()]));
    let (gateway, _upstream) = waiting.join().unwrap();
    assert_eq!(gateway.admin_get("/readyz").status, 200);
}

#[test]
fn a_clock_that_differs_from_the_issuers_is_measured_and_said_once() {
    let server = JwksServer::start(&[]);
    let keys = KeySetAnswer::keys(&[signing_key().jwk()]);
    server.set(keys.clone().header("Date", "Thu, 01 Jan 1970 00:00:00 GMT"));
    let house = House::start(&at(&server, ""));
    assert!(house.metric("portcullis_clock_offset_seconds{issuer=\"main\"}") < -1e9);
    assert!(house.refresh());
    assert_eq!(house.gateway.times_said("check the clock of this host"), 1);
    let date = crate::support::process::run("date", std::process::Command::new("date").args(["-u", "-R"])).stdout;
    server.set(keys.header("Date", &date.trim().replace("+0000", "GMT")));
    assert!(house.refresh());
    assert!(house.metric("portcullis_clock_offset_seconds{issuer=\"main\"}").abs() < 60.0);
    assert_eq!(house.gateway.times_said("agree again"), 1);
}
