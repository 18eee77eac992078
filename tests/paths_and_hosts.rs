//! Which route a path and a host lead to, and what the upstream gets to read: no spelling opens a door that the plain one finds closed.
use crate::support::{
    client::{exchange, request_bytes},
    fixture::{House, good_bearer, signing_key},
    problem::check_problem,
    token::{Token, bearer},
    wire::Address,
};
use serde_json::json;

const ROUTES: &str = r#"
  - {name: public, path_prefix: /public, auth: none, upstream: echo}
  - {name: exact, path: /exact, auth: none, upstream: echo}
  - {name: admin, path_prefix: /admin, require: {roles: [admin]}, upstream: echo}
  - {name: deeper, path_prefix: /public/private, require: {roles: [admin]}, upstream: echo}
  - {name: reading, path_prefix: /things, methods: [GET], auth: none, upstream: echo}
  - {name: writing, path_prefix: /things, methods: [POST], upstream: echo}
  - {name: cased, path_prefix: /Cased, auth: none, paths: {case: exact}, upstream: echo}
  - {name: cased-private, path_prefix: /cased, paths: {case: exact}, upstream: echo}
"#;

/// What must come of a request.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// Forwarded with exactly this target.
    Forwarded(&'static str),
    /// Refused for this reason.
    Refused(&'static str),
    /// Refused for whatever reason; the upstream saw nothing.
    RefusedSomehow,
    /// Refused, or forwarded with exactly this target: the parser beneath may not let us see the difference.
    RefusedOrForwarded(&'static str),
}
use Expected::{Forwarded, Refused, RefusedOrForwarded, RefusedSomehow};

/// Sends these bytes on a connection of their own and checks what came of it, inside and outside.
fn check(house: &House, bytes: impl AsRef<[u8]>, expected: Expected) {
    let bytes = bytes.as_ref();
    let shown = String::from_utf8_lossy(bytes).into_owned();
    house.upstream.take();
    let response = exchange(house.gateway.address(), bytes);
    let seen = house.upstream.take();
    let targets: Vec<&str> = seen.iter().map(|seen| seen.target()).collect();
    let status = response.as_ref().map(|response| response.status).ok();
    let refused = targets.is_empty() && status.is_none_or(|status| (400..500).contains(&status));
    match expected {
        Forwarded(target) => assert!(targets == [target] && status == Some(200), "{shown}: {status:?}, {targets:?}"),
        Refused(reason) => {
            let response = response.unwrap_or_else(|error| panic!("{shown}: {error}"));
            assert_eq!(response.json()["reason"], reason, "{shown}");
            check_problem(&response, response.status, reason, "GET");
            assert!(refused, "{shown}: {targets:?}");
        }
        RefusedSomehow => assert!(refused, "{shown}: {status:?}, {targets:?}"),
        RefusedOrForwarded(target) => assert!(refused || targets == [target], "{shown}: {status:?}, {targets:?}"),
    }
}

fn check_targets(rows: &[(&str, Expected)]) {
    let house = House::start("", ROUTES);
    for (target, expected) in rows {
        check(&house, request_bytes("GET", target, &[]), *expected);
    }
}

#[test]
fn a_plain_path_is_forwarded_byte_for_byte() {
    check_targets(&[
        ("/public", Forwarded("/public")),
        ("/public/", Forwarded("/public/")),
        ("/public/a/b.c~d_e-f", Forwarded("/public/a/b.c~d_e-f")),
        ("/public/a;b=c", Forwarded("/public/a;b=c")),
        ("/public/a:@!$&'()*+,=b", Forwarded("/public/a:@!$&'()*+,=b")),
        ("/public?x=%41&y=/admin/../%2e%2e", Forwarded("/public?x=%41&y=/admin/../%2e%2e")),
        ("/public/x?", Forwarded("/public/x?")),
        ("/public/x?a=b?c=/admin", Forwarded("/public/x?a=b?c=/admin")),
        ("/exact", Forwarded("/exact")),
        ("/exact?x", Forwarded("/exact?x")),
    ]);
}

#[test]
fn escapes_of_unreserved_characters_are_decoded_and_others_are_kept() {
    check_targets(&[
        ("/public/%61%7E%2D", Forwarded("/public/a~-")),
        ("/%70ublic/x", Forwarded("/public/x")),
        ("/public/%C3%A9", Forwarded("/public/%C3%A9")),
        ("/public/a%20b", Forwarded("/public/a%20b")),
        // Nothing below has rules of its own that another reading could pick.
        ("/public/a%2Fb", Forwarded("/public/a%2Fb")),
        ("/public/a%5Cb", Forwarded("/public/a%5Cb")),
        ("/public//a", Forwarded("/public//a")),
        ("/public/%2e/a", Forwarded("/public/./a")),
    ]);
}

#[test]
fn a_door_is_closed_however_it_is_spelled() {
    check_targets(&[
        ("/admin", Refused("token_missing")),
        ("/admin/", Refused("token_missing")),
        ("/admin/x", Refused("token_missing")),
        ("/%61dmin", Refused("token_missing")),
        ("/a%64m%69n/x", Refused("token_missing")),
        ("/admin?x=/public", Refused("token_missing")),
        ("/admin;/public", Refused("path_ambiguous")),
    ]);
}

#[test]
fn a_path_that_can_be_read_as_another_route_is_ambiguous() {
    let ambiguous = [
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public/%2E%2E/admin",
        "/public/.%2e/admin",
        "/public/..%2Fadmin",
        "/public%2F..%2Fadmin",
        "/public/..%2fadmin",
        "/public/..%5cadmin",
        "/public%5c..%5cadmin",
        "/public/%252e%252e/admin",
        "/public/..%252fadmin",
        "/public/..;/admin",
        "/public/..;x=y/admin",
        "/public/../admin/",
        "/public/x/../../admin",
        "/public/./../admin",
        "/public//../admin",
        "//admin",
        "///admin",
        "/./admin",
        "/x/../admin",
        "/%2fadmin",
        "/%5cadmin",
        "/%2e/admin",
        "/admin%2f",
        "/admin%252f",
        "/admin%5cx",
        "/admin;x",
        "/admin%3bx",
        "/admin%00",
        "/admin%00.png",
        "/ADMIN",
        "/AdMiN",
        "/%41dmin",
        "/public/private%2f",
        "/public/private;x",
        "/public//private",
        "/public/./private",
        "/public/PRIVATE",
        "/public/x/../private",
        "/public%2fprivate",
        "/exact/",
        "/exact%2f",
        "/EXACT",
        "/public%23/../admin",
        "/public%3f/../admin",
    ];
    let rows: Vec<(&str, Expected)> = ambiguous.iter().map(|target| (*target, Refused("path_ambiguous"))).collect();
    check_targets(&rows);
}

#[test]
fn a_path_that_climbs_above_the_root_or_has_a_broken_escape_is_ambiguous() {
    let rows: Vec<(&str, Expected)> = [
        "/..",
        "/../",
        "/../public",
        "/public/../..",
        "/public/../../public",
        "/public/%2e%2e/%2e%2e/public",
        "/public/..%2f..%2fpublic",
        "/public/%",
        "/public/%4",
        "/public/%zz",
        "/public/%4g/x",
        "/%",
        "/public/%%41",
    ]
    .iter()
    .map(|target| (*target, Refused("path_ambiguous")))
    .collect();
    check_targets(&rows);
}

#[test]
fn what_leads_nowhere_in_every_reading_is_not_found() {
    check_targets(&[
        ("/", Refused("route_not_found")),
        ("/publicx", Refused("route_not_found")),
        ("/administrator", Refused("route_not_found")),
        ("/exact/below", Refused("route_not_found")),
        ("/nothing%2Fthere", Refused("route_not_found")),
        ("/%00admin", RefusedSomehow),
        ("/admin;x/..", RefusedSomehow),
    ]);
}

#[test]
fn a_raw_target_is_never_repaired_into_a_door() {
    let house = House::start("", ROUTES);
    let request = |target: &[u8]| [b"GET ", target, b" HTTP/1.1\r\nHost: api.test\r\n\r\n"].concat();
    let rows: &[(&[u8], Expected)] = &[
        (b"/public\\..\\admin", RefusedSomehow),
        (b"/public\\..\\..\\admin", RefusedSomehow),
        (b"\\admin", RefusedSomehow),
        (b"admin", RefusedSomehow),
        (b"public", RefusedSomehow),
        (b"/public#/../admin", Refused("request_malformed")),
        (b"/admin#/public", RefusedSomehow),
        (b"/public /admin", RefusedSomehow),
        (b"/public/a /admin", RefusedOrForwarded("/public/a%20/admin")),
        (b"/public\t/admin", RefusedSomehow),
        (b"/public\x00/admin", RefusedSomehow),
        (b"/public\x7f/../admin", RefusedSomehow),
        (b"/public/\xff/../../admin", RefusedSomehow),
        (b"*", RefusedSomehow),
        (b"", RefusedSomehow),
        (b"//public/../admin", RefusedSomehow),
        (b"http:/admin", RefusedSomehow),
        (b"javascript:/admin", RefusedSomehow),
    ];
    for (target, expected) in rows {
        check(&house, request(target), *expected);
    }
    check(&house, request(b"/public/control"), Forwarded("/public/control"));
}

#[test]
fn a_target_in_no_known_form_is_never_judged_as_the_root() {
    let routes = r#"
  - {name: root, path_prefix: /, auth: none, upstream: echo}
  - {name: admin, path_prefix: /admin, upstream: echo}
"#;
    let house = House::start("", routes);
    for target in [
        "admin",
        "admin?x",
        "?x",
        "\\admin",
        "foo:/admin",
        "javascript:/../admin",
        "x:y://api.test/admin",
        "http:/admin",
        "file:///admin",
    ] {
        check(&house, request_bytes("GET", target, &[]), RefusedSomehow);
    }
    check(&house, request_bytes("GET", "admin", &[]), Refused("request_malformed"));
    check(&house, request_bytes("GET", "*", &[]), Refused("request_malformed"));
    check(&house, request_bytes("OPTIONS", "*", &[]), Refused("route_not_found"));
    for target in ["ftp://api.test/x", "ws://api.test/x", "ftp://api.test/admin"] {
        check(&house, request_bytes("GET", target, &[]), Refused("request_malformed"));
    }
    check(&house, request_bytes("GET", "HTTPS://api.test/x", &[]), Forwarded("/x"));
    check(&house, request_bytes("GET", "http://api.test/x?y", &[]), Forwarded("/x?y"));
    check(&house, request_bytes("GET", "http://api.test/admin", &[]), Refused("token_missing"));
}

#[test]
fn a_route_whose_upstream_minds_case_may_say_so() {
    check_targets(&[("/Cased/x", Forwarded("/Cased/x")), ("/cased/x", Refused("token_missing"))]);
}

#[test]
fn an_upstream_that_reads_paths_literally_may_say_so() {
    let routes = r#"
  - {name: files, path_prefix: /files, auth: none, upstream: echo, paths: {encoded_slash: opaque, trailing_slash: exact}}
  - {name: secret, path_prefix: /files/secret, upstream: echo, paths: {encoded_slash: opaque, trailing_slash: exact}}
"#;
    let house = House::start("", routes);
    for (target, expected) in [
        ("/files/a%2Fb", Forwarded("/files/a%2Fb")),
        ("/files/secret%2Fb", Forwarded("/files/secret%2Fb")),
        ("/files/secret/b", Refused("token_missing")),
        ("/files/../files/secret", Refused("path_ambiguous")),
    ] {
        check(&house, request_bytes("GET", target, &[]), expected);
    }
}

#[test]
fn an_exact_path_and_a_longer_prefix_win_and_a_proven_role_opens() {
    let house = House::start("", ROUTES);
    let authorization = bearer(&Token::good().claim("roles", json!(["admin"])).signed_by(signing_key()));
    let admin = [("Authorization", authorization.as_str())];
    check(&house, request_bytes("GET", "/admin/x", &admin), Forwarded("/admin/x"));
    check(&house, request_bytes("GET", "/public/private/x", &admin), Forwarded("/public/private/x"));
    check(&house, request_bytes("GET", "/public/private/x", &[]), Refused("token_missing"));
    check(&house, request_bytes("GET", "/public/../admin", &admin), Refused("path_ambiguous"));
    let plain = good_bearer();
    check(&house, request_bytes("GET", "/admin", &[("Authorization", &plain)]), Refused("role_missing"));
}

#[test]
fn methods_choose_among_the_routes_of_a_path_and_never_fall_to_a_wider_one() {
    let house = House::start("", ROUTES);
    let mut client = house.gateway.connect();
    assert_eq!(client.request("GET", "/things", &[]).status, 200);
    assert_eq!(client.request("HEAD", "/things", &[]).status, 200, "GET implies HEAD");
    check_problem(&client.request("POST", "/things", &[]), 401, "token_missing", "POST");
    let response = client.request("DELETE", "/things", &[]);
    check_problem(&response, 405, "method_not_allowed", "DELETE");
    let allow: Vec<&str> = response.header("Allow").unwrap().split(',').map(str::trim).collect();
    for method in ["GET", "HEAD", "POST"] {
        assert!(allow.contains(&method), "{allow:?}");
    }
    assert_eq!(house.upstream.take().len(), 2);

    let wider = r#"
  - {name: all, path_prefix: /, auth: none, upstream: echo}
  - {name: posts, path_prefix: /posts, methods: [POST], auth: none, upstream: echo}
"#;
    let house = House::start("", wider);
    check_problem(&house.gateway.get("/posts", &[]), 405, "method_not_allowed", "GET");
    assert!(house.upstream.take().is_empty());
}

#[test]
fn trace_and_connect_are_refused() {
    let house = House::start("", ROUTES);
    let authorization = good_bearer();
    let mut client = house.gateway.connect();
    let response = client.request("TRACE", "/public", &[("Authorization", &authorization)]);
    assert_eq!(response.status, 405);
    assert!(!response.text().contains("TRACE /public"), "no echo");
    // Methods are in upper case, but not every server behind the gate knows that.
    for method in ["get", "Get", "trace", "delete"] {
        check_problem(&client.request(method, "/public", &[]), 400, "request_malformed", method);
    }
    let connect =
        exchange(house.gateway.address(), "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n").unwrap();
    assert_eq!(connect.status, 405);
    assert!(house.upstream.take().is_empty());
}

const HOST_ROUTES: &str = r#"
  - {name: open, hosts: [public.test], path_prefix: /, auth: none, upstream: echo}
  - {name: admin, hosts: [admin.test], path_prefix: /, require: {roles: [admin]}, upstream: echo}
  - {name: wild, hosts: ["*.wild.test"], path_prefix: /, auth: none, upstream: echo}
  - {name: exact-in-wild, hosts: [closed.wild.test], path_prefix: /, upstream: echo}
  - {name: any, path_prefix: /any, auth: none, upstream: echo}
"#;

#[test]
fn a_host_is_one_host_in_every_spelling() {
    let house = House::start("", HOST_ROUTES);
    for (host, expected) in [
        ("public.test", Forwarded("/x")),
        ("PUBLIC.test", Forwarded("/x")),
        ("public.test:8080", Forwarded("/x")),
        ("public.test.", Forwarded("/x")),
        ("admin.test", Refused("token_missing")),
        ("ADMIN.test", Refused("token_missing")),
        ("admin.test.", Refused("token_missing")),
        ("admin.test:443", Refused("token_missing")),
        ("ADMIN.Test.:8443", Refused("token_missing")),
        ("a.wild.test", Forwarded("/x")),
        ("closed.wild.test", Refused("token_missing")),
        ("CLOSED.wild.test.", Refused("token_missing")),
        ("wild.test", Refused("route_not_found")),
        ("xwild.test", Refused("route_not_found")),
        ("other.test", Refused("route_not_found")),
        ("admin.test.evil.test", Refused("route_not_found")),
    ] {
        check(&house, request_bytes("GET", "/x", &[("Host", host)]), expected);
    }
    // The host is judged before the path: `/any` of any host is a wider route than `/` of this one.
    check(&house, request_bytes("GET", "/any", &[("Host", "admin.test")]), Refused("token_missing"));
    check(&house, request_bytes("GET", "/any", &[("Host", "other.test")]), Forwarded("/any"));
}

#[test]
fn the_upstream_gets_the_host_that_the_client_named() {
    let house = House::start("", HOST_ROUTES);
    assert_eq!(house.gateway.get("/x", &[("Host", "public.test:8080")]).status, 200);
    assert_eq!(house.upstream.take()[0].head.values("Host"), ["public.test:8080"]);
}

#[test]
fn exactly_one_valid_host_is_needed() {
    let house = House::start("", HOST_ROUTES);
    let without = "GET /any HTTP/1.1\r\n\r\n".to_owned();
    let invalid = [
        "",
        " ",
        "a b",
        "a/b",
        "a@b",
        "user@public.test",
        "user:pass@public.test",
        "public.test:99999",
        "public.test:port",
        "public.test:-1",
        "a?b",
        "a#b",
        "a\\b",
        "[::1",
        "::1",
    ];
    let lines = invalid.iter().map(|host| format!("GET /any HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    let two =
        ["public.test\r\nHost: admin.test", "public.test\r\nHost: public.test", "public.test\r\nhost: public.test"];
    let repeated = two.iter().map(|hosts| format!("GET /any HTTP/1.1\r\nHost: {hosts}\r\n\r\n"));
    for bytes in std::iter::once(without).chain(lines).chain(repeated) {
        check_status(&house, &bytes, 400);
    }
    check(&house, request_bytes("GET", "/any", &[("Host", "[::1]:8080")]), Forwarded("/any"));
    check(&house, request_bytes("GET", "/any", &[("Host", "127.0.0.1")]), Forwarded("/any"));
}

fn check_status(house: &House, bytes: &str, status: u16) {
    house.upstream.take();
    let response = exchange(house.gateway.address(), bytes).unwrap_or_else(|error| panic!("{bytes:?}: {error}"));
    assert_eq!(response.status, status, "{bytes:?}");
    assert!(house.upstream.take().is_empty(), "{bytes:?}");
}

#[test]
fn the_authority_of_an_absolute_target_counts() {
    let house = House::start("", HOST_ROUTES);
    let request = |target: &str, host: &str| request_bytes("GET", target, &[("Host", host)]);
    check(&house, request("http://public.test/x?y", "public.test"), Forwarded("/x?y"));
    check(&house, request("http://admin.test/x", "admin.test"), Refused("token_missing"));
    // Judged as admin.test, or refused because the two differ: never as public.test.
    check(&house, request("http://admin.test/x", "public.test"), RefusedSomehow);
    check(&house, request("http://user@public.test/x", "public.test"), RefusedSomehow);
    check(&house, request("http://admin.test/../x", "admin.test"), Refused("path_ambiguous"));
    check(&house, request("http://public.test", "public.test"), Forwarded("/"));
    let hostless = "GET http://public.test/x HTTP/1.0\r\n\r\n";
    check(&house, hostless, Refused("request_malformed"));
    // No absolute form, whatever it looks like: the host behind would be the one in `Host`.
    check(&house, request("x:y://public.test/", "admin.test"), Refused("request_malformed"));
}

#[test]
fn a_route_of_another_listener_is_not_there() {
    let text = r#"
  - {name: inside, listeners: [inner], path_prefix: /inside, auth: none, upstream: echo}
  - {name: both, path_prefix: /both, auth: none, upstream: echo}
"#;
    let upstream = crate::support::upstream::Upstream::start();
    let inner = crate::support::server::free_address();
    let config = crate::support::fixture::config("", text).replacen(
        "  - {name: web,",
        &format!("  - {{name: inner, address: \"{inner}\"}}\n  - {{name: web,"),
        1,
    );
    let gateway = crate::support::gateway::Gateway::builder(config)
        .set("upstream", upstream.address())
        .file("keys.json", crate::support::fixture::keys_file())
        .start();
    let status = |address: &Address, target: &str| crate::support::client::get(address, target, &[]).status;
    let inner = Address::Tcp(inner);
    assert_eq!((status(&inner, "/inside"), status(&inner, "/both")), (200, 200));
    assert_eq!((status(gateway.address(), "/inside"), status(gateway.address(), "/both")), (404, 200));
}

#[test]
fn a_rewrite_changes_what_the_upstream_sees_after_the_path_was_judged() {
    let routes = r#"
  - {name: api, path_prefix: /api, auth: none, upstream: echo, rewrite: {strip_prefix: /api, add_prefix: /v1, host: orders.internal}}
"#;
    let house = House::start("", routes);
    check(&house, request_bytes("GET", "/api/a%2Fb?c", &[]), Forwarded("/v1/a%2Fb?c"));
    assert_eq!(house.gateway.get("/api/x", &[]).status, 200);
    assert_eq!(house.upstream.take()[0].head.values("Host"), ["orders.internal"]);
}
