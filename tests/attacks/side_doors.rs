//! Ways around authentication that are no token and no path: upgrades, user agents, halves of a start.
use super::{Attack, ROUTES, check_refused, house};
use crate::support::{
    client::request_bytes,
    fixture,
    gateway::Gateway,
    upstream::{Answer, Upstream},
    waiting::{PATIENCE, eventually},
    wire::find,
};

#[test]
fn a_request_that_asks_for_an_upgrade_pingap_215() {
    let hole = "plugins are left out for whatever asks for an upgrade";
    let house = house();
    for protocol in ["websocket", "WebSocket", "h2c", "foo", "TLS/1.0", "websocket, h2c", ""] {
        for connection in ["Upgrade", "keep-alive, Upgrade", "close"] {
            let lines = [("Connection", connection), ("Upgrade", protocol)];
            check_refused(
                &house,
                401,
                "token_missing",
                &[Attack::get(hole, "/orders/x", &lines), Attack::get(hole, "/admin", &lines)],
            );
            check_refused(&house, 403, "role_missing", &[Attack::with_token(hole, "/admin", &lines)]);
        }
    }
}

#[test]
fn what_a_client_says_it_is_opens_nothing_oauth2_proxy_cve_2026_34457_and_issues_649_and_657() {
    let hole = "a user agent or address of a health check passes";
    let rows: [&[(&str, &str)]; 7] = [
        &[("User-Agent", "GoogleHC/1.0")],
        &[("User-Agent", "kube-probe/1.30")],
        &[("User-Agent", "ELB-HealthChecker/2.0")],
        &[("User-Agent", "")],
        &[("X-Forwarded-For", "127.0.0.1")],
        &[("X-Health-Check", "1"), ("X-Internal", "true")],
        &[("Referer", "http://127.0.0.1:9400/"), ("Origin", "null")],
    ];
    check_refused(&house(), 401, "token_missing", &rows.map(|headers| Attack::get(hole, "/orders/x", headers)));
    let nobody = Attack::new(hole, "GET /orders/x HTTP/1.1\r\nHost: api.test\r\n\r\n");
    check_refused(&house(), 401, "token_missing", &[nobody]);
}

#[test]
fn bytes_behind_an_upgrade_that_nobody_took_up_pingora_cve_2026_2833_envoy_cve_2026_73548() {
    let house = house();
    let behind = request_bytes("GET", "/admin/behind", &[]);
    for protocol in ["websocket", "h2c", "foo"] {
        for head in ["GET", "POST"] {
            for answer in [
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n",
            ] {
                house.upstream.set_answer(Answer::Bytes(answer.into()));
                let first = request_bytes(head, "/public/x", &[("Connection", "Upgrade"), ("Upgrade", protocol)]);
                let mut client = house.gateway.connect();
                client.send([first, behind.clone()].concat());
                let all = client.rest();
                assert!(find(&all, b"HTTP/1.1 ").is_some());
                assert!(find(&all[1..], b"HTTP/1.1 ").is_none(), "{protocol}: two answers");
                assert!(find(&house.upstream.take_bytes(), b"/admin/behind").is_none(), "{protocol}: it arrived");
            }
        }
    }
    house.upstream.set_answer(Answer::Echo);
    check_refused(&house, 401, "token_missing", &[Attack::new("behind", behind)]);
}

#[test]
fn an_upgrade_that_is_refused_leaves_no_way_in() {
    let house = house();
    let mut client = house.gateway.connect();
    client.send(request_bytes("GET", "/orders/x", &[("Connection", "Upgrade"), ("Upgrade", "websocket")]));
    assert_eq!(client.read("GET").status, 401);
    client.send([0x81, 0x85, 0, 0, 0, 0, b'h', b'e', b'l', b'l', b'o']);
    client.send(request_bytes("GET", "/admin", &[]));
    assert!(client.try_read("GET").map_or(true, |response| response.status >= 400));
    assert!(house.upstream.take_bytes().is_empty());
}

#[test]
fn no_identity_is_ever_answered_from_anothers_response_pingora_cve_2026_2836() {
    let house = house();
    let cacheable =
        "HTTP/1.1 200 OK\r\nCache-Control: public, max-age=600\r\nETag: \"a\"\r\nContent-Length: 2\r\n\r\nok";
    house.upstream.set_answer(Answer::Bytes(cacheable.into()));
    let token = fixture::good_bearer();
    for host in ["a.test", "b.test", "a.test"] {
        let lines = [("Host", host), ("Authorization", token.as_str())];
        assert_eq!(house.gateway.get("/orders/x", &lines).status, 200);
        assert_eq!(house.upstream.take().len(), 1, "{host}: not asked");
    }
    assert_eq!(house.gateway.get("/orders/x", &[]).status, 401, "a warm answer is nobody's who has no token");
    assert!(house.upstream.take().is_empty());
}

/// Starts what must not start, and gives what it says.
fn must_not_start(change: &[(&str, &str)]) -> String {
    let upstream = Upstream::start();
    let text = change.iter().fold(fixture::config("", ROUTES), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    let builder = Gateway::builder(text).set("upstream", upstream.address()).file("keys.json", fixture::keys_file());
    let (account, _folder) =
        builder.file("empty.json", "{\"keys\":[]}").file("short.key", "short").start_expecting_end();
    assert_eq!(account.code(), Some(78), "{change:?}: {}", account.stderr);
    account.stderr
}

#[test]
fn a_start_without_what_verifies_apisix_12373_nginx_plus_agentgateway() {
    let keys = "keys: {jwks_file: keys.json}";
    for (change, names) in [
        (&[("    keys: {jwks_file: keys.json}\n", "")][..], "keys"),
        (&[(keys, "keys: {}")], "keys"),
        (&[(keys, "keys: {jwks_file: absent.json}")], "absent.json"),
        (&[(keys, "keys: {secret_file: absent.key}\n    algorithms: [HS256]")], "absent.key"),
        (&[(keys, "keys: {secret_file: short.key}\n    algorithms: [HS256]")], "short.key"),
        (&[(keys, "keys: {jwks_file: keys.json}\n    algorithms: []")], "algorithms"),
        (&[(keys, "keys: {jwks_file: keys.json}\n    algorithms: [none]")], "none"),
        (&[("    audiences: [https://api.test]\n", "")], "audiences"),
        (&[("    issuer: https://issuer.test\n", "")], "issuer"),
        (&[("path_prefix: /orders,", "path_prefix: /orders, issuers: [nobody],")], "nobody"),
        (&[("path_prefix: /orders,", "path_prefix: /orders, auth: maybe,")], "maybe"),
        (&[("path_prefix: /orders,", "path_prefix: /orders, require: {role: [a]},")], "role"),
    ] {
        let said = must_not_start(change);
        assert!(said.contains(names), "{change:?}: {said}");
    }
}

#[test]
fn before_the_first_keys_nobody_passes_envoy_13458() {
    let upstream = Upstream::start();
    let nowhere = crate::support::server::free_address();
    let keys = format!("keys: {{jwks_url: \"http://{nowhere}/keys\", insecure_http: true}}");
    let config = fixture::config("", ROUTES).replace("keys: {jwks_file: keys.json}", &keys);
    let gateway = Gateway::builder(config).set("upstream", upstream.address());
    // It is never ready, so it is not waited for.
    let (process, address) = gateway.spawn_unready();
    let token = fixture::good_bearer();
    let status = eventually(PATIENCE, || {
        let bytes = request_bytes("GET", "/orders/x", &[("Authorization", &token)]);
        crate::support::wire::Wire::connect(&address).ok()?;
        crate::support::client::exchange(&address, bytes).ok().map(|response| response.status)
    });
    assert_eq!(status, Some(503));
    for (target, authorization, expected) in [
        ("/orders/x", None, 401),
        ("/optional/x", Some(token.as_str()), 503),
        ("/admin", Some(token.as_str()), 503),
        ("/public/x", None, 200),
    ] {
        let headers: Vec<(&str, &str)> = authorization.map(|value| ("Authorization", value)).into_iter().collect();
        assert_eq!(crate::support::client::get(&address, target, &headers).status, expected, "{target}");
    }
    assert!(upstream.take().iter().all(|seen| seen.target() == "/public/x"));
    drop(process);
}
