//! What is wrong with routes, each mistake in a configuration that is right otherwise.
use super::{
    refused::{Change, ROUTE, rendered},
    *,
};

const ROUTE_MATCH: &[&[Change]] = &[
    &[(ROUTE, "  - {name: a, upstream: orders}")],
    &[(ROUTE, "  - {path: /a, path_prefix: /b, upstream: orders}")],
    &[(ROUTE, "  - {path: a, upstream: orders}")],
    &[(ROUTE, "  - {path: \"/a?b\", upstream: orders}")],
    &[(ROUTE, "  - {path: \"/a*\", upstream: orders}")],
    &[(ROUTE, "  - {path: \"/a%2fb\", upstream: orders}")],
    &[(ROUTE, "  - {path: \"/a b\", upstream: orders}")],
    &[(ROUTE, "  - {path: \"/a//b\", upstream: orders}")],
    &[(ROUTE, "  - {path: \"/a/../b\", upstream: orders}")],
    &[(ROUTE, "  - {path_prefix: /a/, upstream: orders}")],
    &[(ROUTE, "  - {path: /a;b, upstream: orders}")],
    &[(ROUTE, "  - {path: /a, hosts: [], upstream: orders}")],
    &[(
        ROUTE,
        "  - {path: /a, hosts: [\"*\", \"a.*.b\", \"a:80\", \"a b\", \"A.test\", \"a.test.\"], upstream: orders}",
    )],
    &[(ROUTE, "  - {path: /a, methods: [], upstream: orders}")],
    &[(ROUTE, "  - {path: /a, methods: [get, TRACE, CONNECT, \"A B\", GET, GET], upstream: orders}")],
    &[(ROUTE, "  - {path: /a, listeners: [wep], upstream: orders}")],
    &[(ROUTE, "  - {path: /a, listeners: [], upstream: orders}")],
    &[(ROUTE, "  - {path: /a, paths: {case: ignore, trailing_slash: off, encoded_slash: allow}, upstream: orders}")],
    &[(ROUTE, "  - {name: \"-\", path: /a, upstream: orders}")],
    &[(
        ROUTE,
        "  - {path: \"/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\", upstream: orders}",
    )],
];

const ROUTE_POLICY: &[&[Change]] = &[
    &[(ROUTE, "  - {path: /a, auth: reqired, upstream: orders}")],
    &[(
        ROUTE,
        "  - {path: /a, auth: none, issuers: [main], require: {scopes: [a]}, insecure_merged_subjects: true, upstream: orders}",
    )],
    &[(ROUTE, "  - {path: /a, issuers: [mian], upstream: orders}")],
    &[(ROUTE, "  - {path: /a, issuers: [], upstream: orders}")],
    &[(ROUTE, "  - {path: /a, require: {}, upstream: orders}")],
    &[(ROUTE, "  - {path: /a, require: {claims: admin}, upstream: orders}")],
    &[(ROUTE, "  - {path: /a, require: {claims: {}}, observe: {require: {claims: []}}, upstream: orders}")],
    &[(
        ROUTE,
        "  - {path: /a, require: {claims: {a: 1.5, b: , c: [], d: {e: f}, f: -1, g: 18446744073709551616, h: [[1]], \"\": a, i: \"\"}}, upstream: orders}",
    )],
    &[(
        ROUTE,
        "  - {path: /a, require: {claims: [{claim: a}, {equals: 1}, {claim: [], equals: 1}, {claim: a, equals: 1, in: [1]}, {claim: a, in: 1}, {claim: a, contains: [1]}, {claim: a, exists: 1}, {claim: a, prefix: 1}, {claim: a, suffix: \"\"}, {claim: a, matches: b}, b]}, upstream: orders}",
    )],
    &[(
        ROUTE,
        "  - {path: /a, require: {audience: [a], principal: service, acr: [\"a b\", \"\\\"\"], max_age: 1500ms}, upstream: orders}",
    )],
    &[(ROUTE, "  - {path: /a, require: {acr: gold, max_age: none}, observe: {}, upstream: orders}")],
    &[(
        ROUTE,
        "  - {path: /a, auth: none, observe: {require: {scopes: [a]}}, insecure_observe_authentication: true, upstream: orders}",
    )],
    &[("    roles: roles\n", "    require: {roles: [admin]}\n")],
    &[("    roles: roles\n", ""), (ROUTE, "  - {path: /a, observe: {require: {roles: [admin]}}, upstream: orders}")],
    &[(
        ROUTE,
        "  - {path: /a, addresses: {allow: [10.0.0.1/8, 10.0.0.0/33, localhost, \"\"], deny: 10.0.0.0/8}, upstream: orders}",
    )],
    &[(
        "routes:",
        "route_defaults: {name: a, path: /a, methods: [GET], auth: reqired, require: {scopes: []}}\nroutes:",
    )],
    &[(ROUTE, "  - {path: /a, require: {scopes: [], roles: {any: []}}, upstream: orders}")],
    &[(ROUTE, "  - {path: /a, require: {scopes: {all: [a]}, roles: admin}, upstream: orders}")],
    &[(ROUTE, "  - {path: /a, require: {scopes: [\"a b\", \"a\\\"b\"]}, upstream: orders}")],
    &[("identity:", SECOND)],
    &[("identity:", SECOND), (ROUTE, "  - {path: /a, issuers: [main, second], upstream: orders}")],
    &[("    roles: roles\n", ""), (ROUTE, "  - {path: /a, require: {roles: [admin]}, upstream: orders}")],
    &[(
        "issuers:\n  main:\n    issuer: https://a.test\n    audiences: [api]\n    keys: {jwks_file: keys.json}\n    roles: roles\n",
        "",
    )],
];

const ROUTE_BROWSERS: &[&[Change]] = &[
    &[(ROUTE, "  - {path: /a, token: {sources: [{cookie: __Host-a}]}, upstream: orders}")],
    &[(ROUTE, "  - {path: /a, auth: optional, token: {sources: [{cookie: __Host-a}]}, upstream: orders}")],
    &[(ROUTE, "  - {path: /a, auth: none, csrf: {}, upstream: orders}")],
    &[(ROUTE, "  - {path: /a, csrf: true, upstream: orders}")],
    &[(
        ROUTE,
        "  - {path: /a, csrf: {origins: [\"*\", \"null\", app.test, \"https://A.test\", \"https://a.test/\", \"https://a.test:443\", \"https://*.a.test\", \"https://a.test\", \"https://a.test\"]}, upstream: orders}",
    )],
    &[(ROUTE, "  - {path: /a, cors: {}, upstream: orders}")],
    &[(ROUTE, "  - {path: /a, cors: {origins: []}, upstream: orders}")],
    &[(ROUTE, "  - {path: /a, cors: upstraem, upstream: orders}")],
    &[(ROUTE, "  - {path: /a, cors: upstream, respond: {status: 204}}")],
    &[(ROUTE, "  - {path: /a, cors: {origins: [\"*\"], credentials: true}, upstream: orders}")],
    &[(
        ROUTE,
        "  - {path: /a, cors: {origins: [\"*\", \"https://a.test\", \"null\", \"${HIDDEN}\"]}, upstream: orders}",
    )],
    &[(
        ROUTE,
        "  - {path: /a, methods: [GET], cors: {origins: [\"https://a.test\"], methods: [\"*\", PUT, get, HEAD, GET, GET], headers: [\"*\", \"a b\", X-A, x-a], expose: [\"*\", ETag, etag], credentials: yes, max_age: 2d}, upstream: orders}",
    )],
    &[(
        ROUTE,
        "  - {path: /a, cors: {origins: [\"https://a.test\"]}, response_headers: {set: {Access-Control-Allow-Origin: a}, remove: [access-control-max-age]}, upstream: orders}",
    )],
];

const ROUTE_ACTION: &[&[Change]] = &[
    &[(ROUTE, "  - {path: /a}")],
    &[(ROUTE, "  - {path: /a, upstream: orders, respond: {status: 200}}")],
    &[(ROUTE, "  - {path: /a, upstream: ordres}")],
    &[(ROUTE, "  - {path: /a, respond: {}}")],
    &[(ROUTE, "  - {path: /a, respond: {status: 600}}")],
    &[(ROUTE, "  - {path: /a, respond: {status: 204, body: x}}")],
    &[(
        ROUTE,
        "  - {path: /a, respond: {status: 200}, rewrite: {host: a}, timeout: 1s, request_headers: {remove: [A]}}",
    )],
    &[(ROUTE, "  - {path: /a, timeout: 0s, upstream: orders}")],
    &[(ROUTE, "  - {path: /a, rewrite: {strip_prefix: a, add_prefix: /b/, host: \"a b\"}, upstream: orders}")],
    &[(ROUTE, "  - {path_prefix: /a, rewrite: {strip_prefix: /ab}, upstream: orders}")],
    &[(ROUTE, "  - {path: /a, rewrite: {strip_prefix: /, add_prefix: /}, upstream: orders}")],
    &[(
        ROUTE,
        "  - {path: /a, request_headers: {set: {X-User-ID: a, x_user_id: a, Host: a, Connection: a, Authorization: a, X-Real-IP: a, X-Auth-Request-User: a, \"a b\": c}}, upstream: orders}",
    )],
    &[(
        ROUTE,
        "  - {path: /a, request_headers: {set: {X-A: a, x-a: b, X-B: \" a\", X-C: \"a\\nb\", X-D: 5, X-E: {file: binary}, X-F: {file: absent}, X-G: {}}, remove: [X-A, X-User-ID, Host, \"a b\"]}, upstream: orders}",
    )],
    &[(
        ROUTE,
        "  - {path: /a, response_headers: {set: {X-User-ID: a, Content-Length: a, X-Request-Id: b}, remove: [Transfer-Encoding]}, upstream: orders}",
    )],
    &[(ROUTE, "  - {path: /a, token: {sources: [{header: X-User-Id}], realm: x}, upstream: orders}")],
];

const ROUTES_TOGETHER: &[&[Change]] = &[
    &[(ROUTE, "  - {name: a, path: /a, upstream: orders}\n  - {name: a, path: /b, upstream: orders}")],
    &[(ROUTE, "  - {name: a, path: /a, upstream: orders}\n  - {name: b, path: /a, upstream: orders}")],
    &[(ROUTE, "  - {path: /a, methods: [GET], upstream: orders}\n  - {path: /a, methods: [POST], upstream: orders}")],
    &[(
        ROUTE,
        "  - {path: /a, methods: [GET], upstream: orders}\n  - {name: b, path: /a, methods: [HEAD], upstream: orders}",
    )],
    &[("routes:\n  - {name: orders, path_prefix: /orders, upstream: orders}", "routes: []")],
    &[("routes:\n  - {name: orders, path_prefix: /orders, upstream: orders}\n", "")],
];

#[test]
fn what_is_wrong_with_route_match_is_said_in_one_run() {
    insta::assert_snapshot!("route_match", rendered(ROUTE_MATCH));
}

#[test]
fn what_is_wrong_with_route_policy_is_said_in_one_run() {
    insta::assert_snapshot!("route_policy", rendered(ROUTE_POLICY));
}

#[test]
fn what_is_wrong_with_route_browsers_is_said_in_one_run() {
    insta::assert_snapshot!("route_browsers", rendered(ROUTE_BROWSERS));
}

#[test]
fn what_is_wrong_with_route_action_is_said_in_one_run() {
    insta::assert_snapshot!("route_action", rendered(ROUTE_ACTION));
}

#[test]
fn what_is_wrong_with_routes_together_is_said_in_one_run() {
    insta::assert_snapshot!("routes_together", rendered(ROUTES_TOGETHER));
}
