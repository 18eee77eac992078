//! The same requests, sent and explained: what becomes of them is the same, down to what the upstream gets.
use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::support::{
    client::{Client, request_bytes},
    fixture::{good_bearer, signing_key},
    keys::SigningKey,
    token::{Token, bearer, now},
};

/// A request as it is sent.
struct Sent {
    method: &'static str,
    target: String,
    headers: Vec<(&'static str, String)>,
    /// Last byte of the address that it comes from.
    from: u8,
}

const DIRECT: u8 = 1;
const BY_PROXY: u8 = 9;

fn sent(method: &'static str, target: &str) -> Sent {
    Sent { method, target: target.to_owned(), headers: Vec::new(), from: DIRECT }
}

fn get(target: &str) -> Sent {
    sent("GET", target)
}

impl Sent {
    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn token(self, token: Token) -> Self {
        self.with("Authorization", bearer(&token.signed_by(signing_key())))
    }

    fn good(self) -> Self {
        self.with("Authorization", good_bearer())
    }

    fn by_proxy(self) -> Self {
        Self { from: BY_PROXY, ..self }
    }
}

fn of_shape_and_route() -> Vec<Sent> {
    let many = (0..120).fold(get("/public"), |request, _| request.with("X-Line", "x"));
    vec![
        get("/public"),
        get("/public/a%7Eb?x=1&y=secret"),
        get("/public/..%2fmine"),
        get("/public//a"),
        get("/public/%zz"),
        get("/PUBLIC"),
        get("/public/"),
        get("/publicx"),
        get("/nowhere"),
        get("/"),
        get(&format!("/public/{}", "x".repeat(9000))),
        get("/public").with("X-Large", "x".repeat(40_000)),
        many,
        get("/public").with("Connection", "X-User-ID"),
        get("/public").with("Host", "a b"),
        get("/public").with("Host", "a.test").with("Host", "b.test"),
        get("/any").with("Host", "shop.test"),
        get("/any").with("Host", "EU.Shop.Test:8080"),
        get("/any").with("Host", "noshop.test"),
        sent("DELETE", "/orders").good(),
        sent("HEAD", "/orders").good(),
        sent("TRACE", "/public"),
        sent("get", "/public"),
        sent("POST", "/small").with("Content-Length", "11"),
        sent("POST", "/public").with("Content-Length", "1025"),
        sent("POST", "/public").with("Content-Length", "1").with("Transfer-Encoding", "chunked"),
        sent("OPTIONS", "/public").with("Max-Forwards", "0"),
        sent("OPTIONS", "/public").with("Max-Forwards", "3"),
        get("/teapot"),
        get("/near"),
    ]
}

fn of_tokens() -> Vec<Sent> {
    let good = Token::good;
    let mut rows = vec![
        get("/mine"),
        get("/mine").good(),
        get("/mine").good().good(),
        get("/mine").with("Authorization", "Basic eDp5"),
        get("/mine").with("Authorization", "Bearer abc"),
        get("/mine").with("Authorization", "Bearer"),
        get("/optional"),
        get("/optional").good(),
        get("/optional").with("Authorization", "Basic eDp5"),
        get("/optional").with("Authorization", "Bearer abc"),
        get("/public").good(),
        get("/mine").with("Authorization", bearer(&good().signed_by(&SigningKey::p256("e1")))),
        get("/mine").with("Authorization", bearer(&good().header("alg", "none").with_signature(signing_key(), b""))),
    ];
    let tokens = [
        good().header("typ", "dpop+jwt"),
        good().header("crit", json!(["zz"])).header("zz", 1),
        good().header("kid", "nobody"),
        good().claim("iss", "https://other.test"),
        good().claim("exp", now() - 3600).claim("iat", now() - 7200),
        good().claim("nbf", now() + 3600),
        good().claim("iat", now() + 3600),
        good().claim("aud", "https://other.test"),
        good().claim("aud", json!([])),
        good().without("sub"),
        good().without("exp"),
        good().claim("sub", 123),
        good().claim("exp", now() + 11 * 366 * 86_400),
        good().claim("sub", "banned"),
        good().claim("jti", "gone"),
        good().claim("padding", "x".repeat(9000)),
        good().claim("sub", "Zoë, of 100%"),
        good().claim("roles", json!(["a", "b,c"])),
        good().claim("roles", "admin"),
    ];
    rows.extend(tokens.into_iter().map(|token| get("/mine").token(token)));
    rows
}

fn of_policy() -> Vec<Sent> {
    let good = Token::good;
    let session = || good().signed_by(signing_key());
    let cookie = || format!("a=1; __Host-session={}; b=2", session());
    vec![
        get("/orders/7").good(),
        sent("POST", "/orders").good(),
        get("/orders").token(good().without("scope")),
        get("/admin").good(),
        get("/admin").token(good().claim("roles", json!(["admin"]))),
        get("/apps").good(),
        get("/apps").token(good().claim("sub", "c1")),
        get("/teams").token(good().claim("team", "red")),
        get("/teams").token(good().claim("team", json!(["green"]))),
        get("/step").good(),
        get("/step").token(good().claim("acr", "gold").claim("auth_time", now() - 10)),
        get("/step").token(good().claim("acr", "gold").claim("auth_time", now() - 1000)),
        get("/trial").good(),
        get("/trial").token(good().claim("roles", json!(["admin"]))),
        get("/lenient"),
        get("/lenient").with("Authorization", "Bearer abc"),
        get("/lenient").good(),
        get("/api/things?x=1").good().with("X-Old", "1").with("X_User_ID", "root").with("X-Api", "forged"),
        get("/session").with("Cookie", cookie()),
        sent("POST", "/session").with("Cookie", cookie()),
        sent("POST", "/session").with("Cookie", cookie()).with("Sec-Fetch-Site", "same-origin"),
        sent("POST", "/session").with("Cookie", cookie()).with("Origin", "https://app.test"),
        sent("POST", "/session").with("Cookie", cookie()).with("Origin", "https://evil.test"),
        sent("POST", "/session").with("Cookie", cookie()).with("Origin", "http://api.test"),
        get(&format!("/session?access_token={}&x=1", session())),
        get(&format!("/session?access_token={}", session())).with("Cookie", cookie()),
        get("/public").with("Cookie", cookie()),
        preflight("/pages", "https://app.test"),
        preflight("/pages", "https://evil.test"),
        preflight("/theirs", "https://app.test"),
        preflight("/mine", "https://app.test"),
        sent("OPTIONS", "/pages").with("Origin", "https://app.test"),
        get("/pages").with("Origin", "https://app.test"),
        get("/pages").with("Origin", "https://app.test").good(),
    ]
}

fn preflight(target: &str, origin: &str) -> Sent {
    sent("OPTIONS", target).with("Origin", origin).with("Access-Control-Request-Method", "GET")
}

fn of_proxies() -> Vec<Sent> {
    let far = |request: Sent| request.with("X-Forwarded-For", "10.1.2.3");
    vec![
        far(get("/near")),
        far(get("/near")).by_proxy(),
        get("/near").by_proxy(),
        get("/near").with("X-Forwarded-For", "10.1.2.3, 127.0.0.9, 203.0.113.7").by_proxy(),
        get("/near").with("X-Forwarded-For", "203.0.113.7, 10.1.2.3, 127.0.0.9").by_proxy(),
        get("/near").with("Forwarded", "for=\"[::ffff:10.1.2.3]:80\";proto=https;host=shop.test").by_proxy(),
        far(get("/near")).with("Forwarded", "for=10.9.9.9").by_proxy(),
        get("/near").with("X-Forwarded-For", "no address").by_proxy(),
        far(get("/public")).with("X-Forwarded-Proto", "https").with("X-Forwarded-Host", "shop.test").by_proxy(),
        far(get("/public")).with("X-Forwarded-Proto", "gopher").by_proxy(),
        get("/public").with("X-Request-Id", "mine-1").with("traceparent", TRACE).by_proxy(),
        get("/public").with("X-Request-Id", "mine-1").with("traceparent", TRACE),
        sent("POST", "/session")
            .with("Cookie", format!("__Host-session={}", Token::good().signed_by(signing_key())))
            .with("Origin", "https://api.test")
            .with("X-Forwarded-Proto", "https")
            .by_proxy(),
    ]
}

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What a client and the upstream saw of it.
fn answered(house: &House, listener: &Address, request: &Sent) -> (Response, Option<crate::support::upstream::Seen>) {
    let headers: Vec<(&str, &str)> = request.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut client = Client::connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, request.from)), listener);
    client.send(request_bytes(request.method, &request.target, &headers));
    let length = headers.iter().find(|(name, _)| *name == "Content-Length").and_then(|(_, value)| value.parse().ok());
    client.send("x".repeat(length.unwrap_or(0)));
    let response = client.read(request.method);
    let mut seen = house.upstream.take();
    assert!(seen.len() <= 1);
    (response, seen.pop())
}

/// The same request as a question; none for what no HTTP library would send.
fn question(request: &Sent, listener: &str) -> Value {
    let mut headers = serde_json::Map::new();
    for (name, value) in &request.headers {
        let values = headers.entry(name.to_ascii_lowercase()).or_insert_with(|| json!([]));
        values.as_array_mut().unwrap().push(json!(value));
    }
    headers.entry("host").or_insert_with(|| json!(["api.test"]));
    json!({
        "method": request.method, "url": request.target, "headers": headers, "listener": listener,
        "address": format!("127.0.0.{}", request.from),
    })
}

#[expect(clippy::cognitive_complexity, reason = "one comparison after another")]
fn check(house: &House, (listener, name): (&Address, &str), request: &Sent) {
    let explanation = explained(&house.gateway, &question(request, name));
    let (response, seen) = answered(house, listener, request);
    let what = format!("{} {:.60} on {name}", request.method, request.target.split('?').next().unwrap());
    let told = format!("{what}: explained as {:#}\nanswered with {}", explanation["verdict"], response.status);
    let verdict = &explanation["verdict"];
    if response.header("X-Request-Id").is_none() {
        // A head that cannot be read is answered with a bare 400.
        assert_eq!((response.status, verdict["reason"].as_str()), (400, Some("request_malformed")), "{told}");
        return assert!(seen.is_none(), "{told}");
    }
    let reason = response.header("Content-Type").filter(|kind| kind.contains("problem+json"));
    let reason = reason.filter(|_| request.method != "HEAD").map(|_| response.json()["reason"].clone());
    assert_eq!(verdict["outcome"] == "refuse", reason.is_some(), "{told}");
    assert_eq!(verdict["outcome"] == "forward", seen.is_some(), "{told}");
    if verdict["outcome"] != "forward" {
        assert_eq!(verdict["status"], response.status, "{told}");
    }
    if let Some(reason) = reason {
        assert_eq!(verdict["reason"], reason, "{told}");
        let failed = explanation["steps"].as_array().unwrap().iter().filter(|step| step["result"] == "failed");
        assert_eq!(failed.count(), 1, "one step ends it: {explanation:#}");
        assert!(verdict["cure"].as_str().is_some_and(|cure| !cure.is_empty()), "{told}");
    }
    let line = house.gateway.access_line(response.header("X-Request-Id").unwrap());
    let route = line["route"].as_str().filter(|route| *route != "-");
    assert_eq!(verdict["route"].as_str(), route, "{told}\n{line}");
    assert_eq!(verdict["observed"], line["auth"]["observed"]["reason"], "{told}\n{line}");
    for field in explanation["response_headers"].as_array().unwrap() {
        let (name, value) = (field[0].as_str().unwrap(), field[1].as_str().unwrap());
        // Values of parameters are not shown.
        let sent = response.header(name).unwrap_or_default();
        assert_eq!(sent.split('?').next(), value.split('?').next(), "{name}: {told}");
        assert!(value.ends_with("=...") || sent == value, "{name}: {told}");
    }
    if let Some(seen) = seen {
        check_forwarded(&explanation["upstream"], &seen, &told);
    }
}

/// What the upstream was said to get, and got.
fn check_forwarded(said: &Value, seen: &crate::support::upstream::Seen, told: &str) {
    let target = |text: &str| text.split('?').next().unwrap().to_owned();
    assert_eq!(target(said["target"].as_str().unwrap()), target(seen.target()), "{told}");
    assert_eq!(said["host"].as_str(), seen.head.value("Host"), "{told}");
    let names = |list: &str| {
        said[list].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let pairs = |list: &str| said[list].as_array().unwrap().clone();
    let unsaid = ["new for each request", "as the route has it", "of the trace that the trusted proxy names"];
    for pair in pairs("identity").into_iter().chain(pairs("set")) {
        let (name, value) = (pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
        let found = seen.head.values(name);
        assert_eq!(found.len(), 1, "{name}: {told}");
        assert!(found[0] == value || unsaid.contains(&value), "{name} is {:?}, not {value:?}: {told}", found[0]);
    }
    for name in names("absent") {
        assert!(seen.head.value(&name).is_none(), "{name}: {told}");
    }
    for name in names("passed") {
        assert!(seen.head.value(&name).is_some(), "{name}: {told}");
    }
    let set: Vec<String> = pairs("set")
        .iter()
        .chain(&pairs("identity"))
        .map(|pair| pair[0].as_str().unwrap().to_ascii_lowercase())
        .collect();
    for name in names("removed").into_iter().filter(|name| !set.contains(&name.to_ascii_lowercase())) {
        assert!(seen.head.value(&name).is_none(), "{name}: {told}");
    }
    // Nothing reaches it that was not told.
    let all: Vec<String> = names("passed").iter().map(|name| name.to_ascii_lowercase()).chain(set).collect();
    for (name, _) in &seen.head.fields {
        let name = name.to_ascii_lowercase();
        let is_of_connection =
            ["host", "connection", "via", "content-length", "transfer-encoding"].contains(&name.as_str());
        assert!(is_of_connection || all.contains(&name), "{name} is not told: {told}");
    }
}

#[test]
fn every_request_is_explained_as_it_is_answered() {
    let (house, plain) = start();
    let listener = house.gateway.address().clone();
    let requests: Vec<Sent> =
        [of_shape_and_route(), of_tokens(), of_policy(), of_proxies()].into_iter().flatten().collect();
    assert!(requests.len() >= 60);
    for request in &requests {
        check(&house, (&listener, "web"), request);
    }
    for request in [
        get("/mine?x=1"),
        get("/public/../x"),
        sent("POST", "/a"),
        get("/").with("Host", "a b"),
        get("/near").with("X-Forwarded-For", "x").by_proxy(),
    ] {
        check(&house, (&plain, "plain"), &request);
    }
}
