//! Listeners that send every request to https.
use crate::support::{
    certificates::Authority,
    client::request_bytes,
    fixture::{self, good_bearer},
    gateway::{Gateway, run},
    http2::Http2,
    problem::check_problem,
    server::free_address,
    upstream::Upstream,
    wire::Address,
};

const ROUTES: &str = "  - {name: public, path_prefix: /public, auth: none, upstream: echo}\n  \
                      - {name: orders, path_prefix: /orders, upstream: echo}\n";

struct House {
    gateway: Gateway,
    upstream: Upstream,
}

/// A listener `{listen}` with `keys`, beside one with TLS at `secure`.
fn start(keys: &str, secure: &str) -> House {
    let (upstream, issued) = (Upstream::start(), Authority::new("root").server(&["api.test"]));
    let tls = "tls: {certificates: [{certificate_file: web.pem, private_key_file: web.key}]}";
    let listeners = format!(
        "  - {{name: plain, address: \"{{listen}}\", {keys}}}\n  - {{name: web, address: \"{secure}\", {tls}}}"
    );
    let config = fixture::config("", ROUTES).replace("  - {name: web, address: \"{listen}\"}", &listeners);
    let builder = Gateway::builder(config).set("upstream", upstream.address()).file("keys.json", fixture::keys_file());
    House { gateway: builder.file("web.pem", issued.certificate).file("web.key", issued.key).start(), upstream }
}

#[test]
fn every_request_is_sent_to_the_same_place_by_https() {
    let secure = free_address();
    let house = start("redirect: https", &secure.to_string());
    let port = secure.port();
    let good = good_bearer();
    for (method, target, host, expected) in [
        ("GET", "/", "api.test", "/"),
        ("GET", "/public?a=b&c=%20d", "api.test", "/public?a=b&c=%20d"),
        ("GET", "/public?", "api.test", "/public?"),
        ("GET", "/nowhere/a%2Fb", "api.test", "/nowhere/a%2Fb"),
        ("GET", "/%70ublic", "api.test", "/public"),
        ("HEAD", "/orders", "api.test", "/orders"),
        ("DELETE", "/orders/7", "api.test", "/orders/7"),
        ("PROPFIND", "/orders/7", "api.test", "/orders/7"),
        ("GET", "/public", "API.test:8080", "/public"),
        ("GET", "http://api.test/public?x", "api.test", "/public?x"),
    ] {
        let mut client = house.gateway.connect();
        for _ in 0..2 {
            // On one connection, which stays.
            let response = client.request(method, target, &[("Host", host), ("Authorization", &good)]);
            assert_eq!(response.status, 308, "{method} {target}: {}", response.text());
            let location = format!("https://api.test:{port}{expected}");
            assert_eq!(response.head.values("Location"), [location.as_str()], "{method} {target}");
            assert_eq!(response.body, b"");
        }
    }
    for (host, expected) in
        [("[2001:db8::1]:80", "[2001:db8::1]"), ("192.0.2.1", "192.0.2.1"), ("shop.test.", "shop.test")]
    {
        let response = house.gateway.get("/x", &[("Host", host)]);
        assert_eq!(response.header("Location"), Some(format!("https://{expected}:{port}/x").as_str()), "{host}");
    }
    let response = house.gateway.get("/public", &[]);
    let line = house.gateway.access_line(response.header("X-Request-Id").unwrap());
    assert_eq!(
        (line["status"].as_u64(), line["path"].as_str(), &line["auth"]),
        (Some(308), Some("/public"), &serde_json::Value::Null),
        "{line}"
    );
    assert!(house.upstream.take().is_empty());
}

#[test]
fn a_body_is_not_waited_for_and_preflights_and_upgrades_are_sent_on_too() {
    let house = start("redirect: https", &free_address().to_string());
    for more in [
        "Content-Length: 5\r\n\r\nhello",
        "Content-Length: 50\r\n\r\nhe",
        "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    ] {
        let mut client = house.gateway.connect();
        client.send(format!("POST /orders HTTP/1.1\r\nHost: api.test\r\n{more}"));
        assert_eq!(client.read("POST").status, 308, "{more:?}");
    }
    let upgrade = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ];
    assert_eq!(house.gateway.get("/orders", &upgrade).status, 308);
    let mut client = house.gateway.connect();
    client.send(request_bytes(
        "OPTIONS",
        "/orders",
        &[("Origin", "https://a.test"), ("Access-Control-Request-Method", "PUT")],
    ));
    assert_eq!(client.read("OPTIONS").status, 308);
    assert!(house.upstream.take_bytes().is_empty());
}

#[test]
fn where_a_request_would_get_must_be_certain() {
    let house = start("redirect: https", &free_address().to_string());
    for (text, status, reason) in [
        ("GET /%zz HTTP/1.1\r\nHost: api.test\r\n\r\n", 400, "path_ambiguous"),
        ("GET /public HTTP/1.1\r\n\r\n", 400, "request_malformed"),
        ("GET /public HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "request_malformed"),
        ("GET /public HTTP/1.1\r\nHost: api.test/evil.test\r\n\r\n", 400, "request_malformed"),
        ("GET /public HTTP/1.1\r\nHost: user@evil.test\r\n\r\n", 400, "request_malformed"),
        ("GET evil.test/x HTTP/1.1\r\nHost: api.test\r\n\r\n", 400, "request_malformed"),
        ("TRACE /public HTTP/1.1\r\nHost: api.test\r\n\r\n", 405, "method_not_allowed"),
    ] {
        let mut client = house.gateway.connect();
        client.send(text);
        let response = client.read("GET");
        if response.body.is_empty() {
            // Pingora's own.
            assert_eq!(response.status, status, "{text:?}");
        } else {
            check_problem(&response, status, reason, "GET");
        }
        assert_eq!(response.header("Location"), None, "{text:?}");
    }
    // The target begins where the authority ends, however many slashes it has.
    let response = house.gateway.get("//evil.test/x", &[]);
    let location = response.header("Location").unwrap_or("https://api.test").to_owned();
    assert!(location.starts_with("https://api.test"), "{location}");
    // What it means is judged where it gets.
    let response = house.gateway.get("/public/../orders", &[]);
    let location = response.header("Location").unwrap_or_default().to_owned();
    assert!(location.starts_with("https://api.test") && location.ends_with("/public/../orders"), "{location}");
    assert!(house.upstream.take().is_empty());
}

#[test]
fn the_port_is_that_of_a_listener_with_tls_or_the_one_that_is_written() {
    let written = start("redirect: https, redirect_port: 8443", &free_address().to_string());
    assert_eq!(written.gateway.get("/x", &[]).header("Location"), Some("https://api.test:8443/x"));
    let usual = start("redirect: https, redirect_port: 443", &free_address().to_string());
    assert_eq!(usual.gateway.get("/x", &[]).header("Location"), Some("https://api.test/x"));
    // Only there: the other listener serves.
    let other = start("redirect: https, http2: true", &free_address().to_string());
    let mut client = Http2::connect(other.gateway.address()).unwrap();
    let response = client.get("http://api.test/public", &[]).unwrap();
    assert_eq!(response.status, 308);
    assert!(other.upstream.take().is_empty());
}

#[test]
fn what_makes_no_sense_is_said() {
    for (keys, said) in [
        ("redirect: http", "`redirect` must be `https`"),
        (
            "redirect: https, tls: {certificates: [{certificate_file: a.pem, private_key_file: a.key}]}",
            "would send its requests to where they are",
        ),
        ("redirect_port: 443", "is for `redirect` alone"),
        ("redirect: https, redirect_port: 0", "redirect_port"),
    ] {
        let config =
            fixture::config("", ROUTES).replace("address: \"{listen}\"", &format!("address: \"127.0.0.1:1\", {keys}"));
        let (file, _folder) =
            Gateway::builder(config).set("upstream", "127.0.0.1:2").file("keys.json", fixture::keys_file()).write();
        let account = run(&["validate", "-c", &file.display().to_string()]);
        assert_eq!(account.code(), Some(78), "{keys}: {account:?}");
        assert!(format!("{}{}", account.stdout, account.stderr).contains(said), "{keys}: {account:?}");
    }
}

#[test]
fn a_client_that_follows_gets_there() {
    let secure = free_address();
    let house = start("redirect: https", &secure.to_string());
    let Some(curl) = crate::support::peers::require_program("curl", "a_client_that_follows_gets_there") else { return };
    let Address::Tcp(plain) = *house.gateway.address() else { panic!("only TCP") };
    let mut command = std::process::Command::new(curl);
    command.args(["-sS", "-L", "-k", "--resolve", &format!("api.test:{}:127.0.0.1", secure.port())]);
    command.args(["--resolve", &format!("api.test:{}:127.0.0.1", plain.port()), "-X", "PUT", "--data", "body"]);
    command.args(["-w", "\n%{num_redirects} %{http_code}", &format!("http://api.test:{}/public/a?b=c", plain.port())]);
    let account = crate::support::process::run("curl", &mut command);
    assert!(account.stdout.ends_with("\n1 200"), "{account:?}");
    let seen = house.upstream.take();
    assert_eq!(
        (seen.len(), seen[0].head.start.as_str(), seen[0].body.as_slice()),
        (1, "PUT /public/a?b=c HTTP/1.1", b"body".as_slice())
    );
}
