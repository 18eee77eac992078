//! Whom requests come from: what proxies that are trusted say of the client counts everywhere, and what anybody else says
//! counts nowhere and goes no further.
use std::net::{IpAddr, Ipv4Addr};

use crate::support::{
    client::{Client, Response, request_bytes},
    fixture::{self, good_bearer, signing_key},
    folder::Folder,
    gateway::Gateway,
    problem::check_problem,
    token::{Token, bearer},
    upstream::Upstream,
    wire::{Address, Head},
};

/// Loopback's first address is a proxy; its second one is anybody.
const TRUST: &str = "trusted_proxies: [127.0.0.1, 10.0.0.0/8, \"fd00::/8\"]";

const ROUTES: &str = "  - {name: public, path_prefix: /public, auth: none, upstream: echo}\n  \
                      - {name: orders, path_prefix: /orders, upstream: echo}\n  \
                      - {name: office, path_prefix: /office, auth: none, upstream: echo, addresses: {allow: [203.0.113.0/24]}}\n";

const XFF: &str = "X-Forwarded-For";
const CLIENT: &str = "203.0.113.9";

struct House {
    gateway: Gateway,
    upstream: Upstream,
}

impl House {
    fn start(more: &str) -> Self {
        Self::with(more, ROUTES)
    }

    fn with(more: &str, routes: &str) -> Self {
        let upstream = Upstream::start();
        Self { gateway: fixture::builder(&format!("{TRUST}\n{more}"), routes, &upstream).start(), upstream }
    }

    /// One GET from the proxy, or from anybody.
    fn get(&self, is_proxy: bool, path: &str, fields: &[(&str, &str)]) -> Response {
        let source = Ipv4Addr::new(127, 0, 0, if is_proxy { 1 } else { 2 });
        Client::connect_from(IpAddr::V4(source), self.gateway.address()).get(path, fields)
    }

    /// What the service is told, of a request that gets there.
    fn told(&self, is_proxy: bool, fields: &[(&str, &str)]) -> Head {
        let response = self.get(is_proxy, "/public", fields);
        assert_eq!(response.status, 200, "{fields:?}: {}", response.text());
        let mut seen = self.upstream.take();
        assert_eq!(seen.len(), 1);
        seen.remove(0).head
    }
}

/// `X-Forwarded-For | X-Real-IP | Forwarded | X-Forwarded-Proto | X-Forwarded-Host`, each there at most once.
fn account(head: &Head) -> String {
    let names = [XFF, "X-Real-IP", "Forwarded", "X-Forwarded-Proto", "X-Forwarded-Host"];
    let values: Vec<String> = names.iter().map(|name| head.values(name).join("+")).collect();
    values.join(" | ")
}

#[test]
fn what_a_trusted_proxy_says_of_the_client_is_believed_and_passed_on() {
    let house = House::start("");
    type Row<'r> = (&'r [(&'r str, &'r str)], &'r str);
    let rows: &[Row<'_>] = &[
        (&[], "127.0.0.1 | 127.0.0.1 | for=127.0.0.1;host=\"api.test\";proto=http | http | api.test"),
        (
            &[(XFF, CLIENT)],
            "203.0.113.9, 127.0.0.1 | 203.0.113.9 | for=203.0.113.9;host=\"api.test\";proto=http, for=127.0.0.1 | http | api.test",
        ),
        // What the client wrote before the proxy did goes no further.
        (
            &[(XFF, "10.1.1.1, 1.1.1.1"), (XFF, "<b>, 203.0.113.9"), ("X-Real-IP", "1.1.1.1")],
            "203.0.113.9, 127.0.0.1 | 203.0.113.9 | for=203.0.113.9;host=\"api.test\";proto=http, for=127.0.0.1 | http | api.test",
        ),
        (
            &[(XFF, "1.1.1.1, 203.0.113.9, 10.9.9.9"), ("X-Forwarded-Proto", "https")],
            "203.0.113.9, 10.9.9.9, 127.0.0.1 | 203.0.113.9 | for=203.0.113.9;host=\"api.test\";proto=https, for=10.9.9.9, for=127.0.0.1 | https | api.test",
        ),
        (
            &[("Forwarded", "for=1.1.1.1;proto=http, for=\"[2001:db8::1]:4711\";proto=https;host=shop.test")],
            "2001:db8::1, 127.0.0.1 | 2001:db8::1 | for=\"[2001:db8::1]\";host=\"shop.test\";proto=https, for=127.0.0.1 | https | shop.test",
        ),
        (
            &[(XFF, CLIENT), ("Forwarded", "for=203.0.113.9;proto=https"), ("X-Forwarded-Proto", "https")],
            "203.0.113.9, 127.0.0.1 | 203.0.113.9 | for=203.0.113.9;host=\"api.test\";proto=https, for=127.0.0.1 | https | api.test",
        ),
        (
            &[(XFF, "203.0.113.9, unknown")],
            " |  | for=unknown;host=\"api.test\";proto=http, for=127.0.0.1 | http | api.test",
        ),
        (
            &[("X-Forwarded-Host", "shop.test"), ("X-Forwarded-Port", "1"), ("X-Forwarded-Server", "x")],
            "127.0.0.1 | 127.0.0.1 | for=127.0.0.1;host=\"shop.test\";proto=http | http | shop.test",
        ),
    ];
    for (fields, expected) in rows {
        let head = house.told(true, fields);
        assert_eq!(account(&head), *expected, "{fields:?}");
        let text = String::from_utf8_lossy(&head.raw).into_owned();
        assert!(!text.contains("1.1.1.1") && !text.contains("<b>"), "{text}");
    }
}

#[test]
fn what_anybody_else_says_of_himself_counts_nowhere_and_goes_no_further() {
    let house = House::start("");
    let forged = [
        (XFF, CLIENT),
        ("X_Forwarded_For", CLIENT),
        ("X-Real-IP", CLIENT),
        ("X.Real.IP", CLIENT),
        ("Forwarded", "for=203.0.113.9;proto=https;host=evil.test"),
        ("X-Forwarded-Proto", "https"),
        ("X_Forwarded_Proto", "https"),
        ("X-Forwarded-Host", "evil.test"),
        ("X-Request-Id", "chosen-by-the-client"),
        ("X_Request_Id", "chosen-by-the-client"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("tracestate", "evil=1"),
    ];
    let head = house.told(false, &forged);
    let expected = "127.0.0.2 | 127.0.0.2 | for=127.0.0.2;host=\"api.test\";proto=http | http | api.test";
    assert_eq!(account(&head), expected);
    let text = String::from_utf8_lossy(&head.raw).into_owned();
    for word in [CLIENT, "evil", "chosen", "4bf92f3577b34da6a3ce929d0e0e4736"] {
        assert!(!text.contains(word), "{word}: {text}");
    }
    for name in [XFF, "X-Real-IP", "X-Forwarded-Proto", "X-Request-Id", "traceparent"] {
        assert_eq!(head.folding_onto(name).len(), 1, "{name}: {text}");
    }
    assert_eq!(head.value("tracestate"), None);
    check_problem(&house.get(false, "/office", &forged), 403, "address_denied", "GET");
    // What cannot be read is no reason to refuse whom nobody listens to.
    assert_eq!(account(&house.told(false, &[(XFF, "<b>"), ("Forwarded", "=;\"")])), expected);
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let house = House::start("");
    let rows: &[&[(&str, &str)]] = &[
        &[(XFF, CLIENT), ("Forwarded", "for=203.0.113.8")],
        &[(XFF, "203.0.113.9, 10.1.1.1"), ("Forwarded", "for=203.0.113.9")],
        &[(XFF, "x")],
        &[(XFF, "203.0.113.9, 203.0.113.009")],
        &[("Forwarded", "for=203.0.113.9;for=203.0.113.8")],
        &[("Forwarded", "for=\"203.0.113.9")],
        &[("Forwarded", "203.0.113.9")],
        &[("X-Forwarded-Proto", "https"), ("Forwarded", "for=203.0.113.9;proto=http")],
        &[("X-Forwarded-Proto", "http, https")],
        &[("X-Forwarded-Proto", "gopher")],
        &[("X-Forwarded-Host", "a.test"), ("Forwarded", "for=203.0.113.9;host=b.test")],
        &[("X-Forwarded-Host", "a.test, b.test")],
        &[("X-Forwarded-Host", "a.test/b")],
    ];
    for fields in rows {
        for path in ["/public", "/orders", "/nowhere"] {
            let response = house.get(true, path, fields);
            let id = check_problem(&response, 400, "request_malformed", "GET");
            let line = house.gateway.access_line(&id);
            assert_eq!(line["client_ip"], "127.0.0.1", "{line}");
            assert!(line["auth"]["detail"].as_str().is_some_and(|detail| detail.contains("orwarded")), "{line}");
        }
    }
    assert!(house.upstream.take().is_empty());
}

#[test]
fn the_client_is_the_one_that_rules_limits_and_logs_speak_of() {
    let house = House::start("limits: {failed_authentications: {requests: 2, per: 1h}, connections_per_address: 40}");
    for (client, status) in
        [(CLIENT, 200), ("203.0.114.1", 403), ("1.1.1.1, 203.0.113.1", 200), ("203.0.113.1, 1.1.1.1", 403)]
    {
        assert_eq!(house.get(true, "/office", &[(XFF, client)]).status, status, "{client}");
    }
    let response = house.get(true, "/public", &[(XFF, CLIENT)]);
    let line = house.gateway.access_line(response.header("X-Request-Id").unwrap());
    assert_eq!(line["client_ip"], CLIENT, "{line}");
    // Tokens that fail count for the client, and not for the proxy or another client.
    let ask = |client: &str, token: &str| house.get(true, "/orders", &[(XFF, client), ("Authorization", token)]).status;
    let good = good_bearer();
    assert_eq!([ask(CLIENT, "Bearer a"), ask(CLIENT, "Bearer b"), ask(CLIENT, &good)], [401, 401, 429]);
    assert_eq!([ask("203.0.113.10", &good), ask("203.0.113.10, 10.1.1.1", &good)], [200, 200]);
    assert_eq!(ask("1.1.1.1, 203.0.113.9", &good), 429);
    // Connections are the proxy's, whoever is said to be behind them.
    let mut held = Vec::new();
    for number in 0..40 {
        let mut client = Client::connect(house.gateway.address());
        let answered = client.get("/public", &[(XFF, &format!("198.51.100.{number}"))]).status == 200;
        if !answered {
            break;
        }
        held.push(client);
    }
    assert_eq!(house.get(true, "/public", &[(XFF, "198.51.100.77")]).status, 503);
    assert_eq!(house.get(false, "/public", &[]).status, 200);
}

#[test]
fn rates_by_address_and_servers_by_address_are_those_of_the_client() {
    let routes = "  - {name: public, path_prefix: /public, auth: none, upstream: echo, rate_limit: {requests: 2, per: 1h, by: address}}\n  \
                  - {name: pinned, path_prefix: /pinned, auth: none, upstream: pair}\n";
    let (first, second) = (Upstream::start(), Upstream::start());
    let config = fixture::config(TRUST, routes)
        + &format!(
            "  pair: {{servers: [\"{}\", \"{}\"], balance: consistent_hash, by: address}}\n",
            first.address(),
            second.address()
        );
    let gateway =
        Gateway::builder(config).set("upstream", first.address()).file("keys.json", fixture::keys_file()).start();
    let ask = |path: &str, client: &str| gateway.get(path, &[(XFF, client)]).status;
    assert_eq!([1, 2, 3].map(|_| ask("/public", CLIENT)), [200, 200, 429]);
    assert_eq!(ask("/public", "203.0.113.10"), 200);
    first.take();
    let mut chosen = Vec::new();
    for number in 0..20 {
        let client = format!("198.51.100.{number}");
        assert_eq!([ask("/pinned", &client), ask("/pinned", &format!("1.1.1.1, {client}"))], [200, 200]);
        let counts = (first.take().len(), second.take().len());
        assert!(counts == (2, 0) || counts == (0, 2), "{client}: {counts:?}");
        chosen.push(counts);
    }
    assert!(chosen.contains(&(2, 0)) && chosen.contains(&(0, 2)), "all clients are one");
}

#[test]
fn a_request_keeps_the_names_that_trusted_proxies_gave_it() {
    let house = House::start("");
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let fields = [
        ("X-Request-Id", "Root=1-67891233-abcdef"),
        ("traceparent", parent.as_str()),
        ("tracestate", "a=1,b=2"),
        ("tracestate", "c=3"),
        ("baggage", "k=v"),
    ];
    let response = house.get(true, "/public", &fields);
    assert_eq!(response.header("X-Request-Id"), Some("Root=1-67891233-abcdef"));
    let head = house.upstream.take().remove(0).head;
    assert_eq!(head.values("X-Request-Id"), ["Root=1-67891233-abcdef"]);
    assert_eq!(head.values("tracestate"), ["a=1,b=2,c=3"]);
    let parents = head.values("traceparent");
    assert_eq!(parents.len(), 1);
    assert!(parents[0].starts_with(&format!("00-{TRACE}-")) && parents[0].ends_with("-01"), "{parents:?}");
    assert!(!parents[0].contains("00f067aa0ba902b7"), "this hop has a name of its own: {parents:?}");
    assert_eq!(house.gateway.access_line("Root=1-67891233-abcdef")["trace_id"], TRACE);
    // What cannot be taken is replaced, and the rest stays.
    for (name, values, forwarded) in [
        ("X-Request-Id", vec!["a b"], "X-Request-Id"),
        ("X-Request-Id", vec!["one", "two"], "X-Request-Id"),
        ("traceparent", vec![parent.as_str(), parent.as_str()], "traceparent"),
        ("traceparent", vec!["00-0-0-0"], "traceparent"),
    ] {
        let fields: Vec<(&str, &str)> =
            values.iter().map(|value| (name, *value)).chain([("tracestate", "a=1")]).collect();
        let head = house.told(true, &fields);
        let found = head.values(forwarded);
        assert!(found.len() == 1 && !values.contains(&found[0]), "{name}: {found:?}");
        assert_eq!(head.value("tracestate"), None, "{name}");
    }
}

#[test]
fn pages_are_of_the_scheme_that_a_trusted_proxy_says() {
    let more = "token: {sources: [{cookie: __Host-session}]}\nroute_defaults: {csrf: {}}";
    let routes = "  - {name: orders, path_prefix: /orders, upstream: echo}\n";
    let house = House::with(more, routes);
    let token = Token::good().signed_by(signing_key());
    let cookie = format!("__Host-session={}", bearer(&token).trim_start_matches("Bearer "));
    let send = |is_proxy: bool, proto: &str| {
        let source = Ipv4Addr::new(127, 0, 0, if is_proxy { 1 } else { 2 });
        let mut client = Client::connect_from(IpAddr::V4(source), house.gateway.address());
        let fields = [("Cookie", cookie.as_str()), ("Origin", "https://api.test"), ("X-Forwarded-Proto", proto)];
        client.send(request_bytes("DELETE", "/orders/7", &fields));
        client.read("DELETE")
    };
    assert_eq!(send(true, "https").status, 200);
    house.upstream.take();
    check_problem(&send(true, "http"), 403, "csrf_rejected", "DELETE");
    check_problem(&send(false, "https"), 403, "csrf_rejected", "DELETE");
    assert!(house.upstream.take().is_empty());
}

#[test]
fn a_unix_socket_is_a_proxy_only_where_it_is_named() {
    for (trust, client, office) in [
        ("", "", 403),
        ("trusted_proxies: [0.0.0.0/0, \"::/0\"]", "", 403),
        ("trusted_proxies: [unix]", "203.0.113.9, unknown", 200),
    ] {
        let (upstream, folder) = (Upstream::start(), Folder::new());
        let socket = Address::Unix(folder.path().join("web.sock"));
        let gateway = fixture::builder(trust, ROUTES, &upstream).listen_on(socket).start();
        let fields = [(XFF, "1.1.1.1, 203.0.113.9"), ("X-Real-IP", "1.1.1.1"), ("X-Request-Id", "given")];
        let response = gateway.get("/public", &fields);
        assert_eq!(response.status, 200);
        let head = upstream.take().remove(0).head;
        assert_eq!(head.values(XFF).join("+"), client, "{trust}");
        assert!(!head.fields.iter().any(|(_, value)| value.contains("1.1.1.1")), "{trust}: {head:?}");
        assert_eq!(response.header("X-Request-Id") == Some("given"), !client.is_empty(), "{trust}");
        assert_eq!(gateway.get("/office", &fields).status, office, "{trust}");
        assert_eq!(upstream.take().len(), usize::from(office == 200));
    }
}
