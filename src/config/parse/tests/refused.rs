//! Every way in which a configuration is refused, with the exact words. The snapshot beside this file is the table.
use super::*;

/// The part of `BASE` that a case changes, and what it becomes.
pub(super) type Change = (&'static str, &'static str);

const LISTENER: &str = r#"  - {name: web, address: "127.0.0.1:8080"}"#;
const SOURCE: &str = "keys: {jwks_file: keys.json}";
const HEADERS: &str = "headers: {X-User-ID: {from: subject}}";
pub(super) const ROUTE: &str = "  - {name: orders, path_prefix: /orders, upstream: orders}";
const SERVERS: &str = r#"orders: {servers: ["127.0.0.1:9000"]}"#;

const LISTENERS: &[&[Change]] = &[
    &[(LISTENER, "  - {name: web}")],
    &[(LISTENER, "  - {name: web, address: localhost:8080}")],
    &[(LISTENER, "  - {name: web, address: \":8080\"}")],
    &[(LISTENER, "  - {name: web, address: \"::1:8080\"}")],
    &[(LISTENER, "  - {name: web, address: 10.0.0.1}")],
    &[(LISTENER, "  - {name: web, address: example.org:80}")],
    &[(LISTENER, "  - {name: web, address: \"unix:\"}")],
    &[(
        LISTENER,
        "  - {name: web, address: \"unix:/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}",
    )],
    &[(LISTENER, "  - {name: \"two words\", address: \"127.0.0.1:1\"}")],
    &[(LISTENER, "  - {name: \"-\", address: \"127.0.0.1:1\"}")],
    &[(LISTENER, "  - {name: web, address: \"127.0.0.1:1\"}\n  - {name: web, address: \"127.0.0.1:2\"}")],
    &[(
        LISTENER,
        "  - {name: web, address: \"0.0.0.0:1\"}\n  - {name: other, address: \"127.0.0.1:1\"}\n  - {address: \"127.0.0.1:1\"}",
    )],
    &[(LISTENER, "  - {address: \"127.0.0.1:9400\"}")],
    &[(LISTENER, "  - {name: web, address: \"127.0.0.1:${HIDDEN}\"}")],
    &[(LISTENER, "  - web")],
    &[("listeners:\n  - {name: web, address: \"127.0.0.1:8080\"}", "listeners: []")],
    &[("listeners:\n  - {name: web, address: \"127.0.0.1:8080\"}\n", "")],
];

const ADMIN: &[&[Change]] = &[
    &[("routes:\n", "admin: {address: 0.0.0.0:9400}\nroutes:\n")],
    &[("routes:\n", "admin: {address: \"127.0.0.1:8080\"}\nroutes:\n")],
    &[("routes:\n", "admin: {address: \"127.0.0.1:1\", read_token_file: short.key}\nroutes:\n")],
    &[("routes:\n", "admin: {read_token_file: absent}\nroutes:\n")],
    &[("routes:\n", "admin: {read_token_file: binary}\nroutes:\n")],
    &[("routes:\n", "admin: {read_token_file: \"credential:x\"}\nroutes:\n")],
    &[("routes:\n", "admin: {write_token_file: short.key}\nroutes:\n")],
    &[("routes:\n", "admin: {read_token_file: read.token, write_token_file: read.token}\nroutes:\n")],
    &[("routes:\n", "admin: {address: 0.0.0.0:9400, write_token_file: read.token}\nroutes:\n")],
    &[("routes:\n", "admin: {allowed_hosts: [\"a b\", \"${HIDDEN}@\"]}\nroutes:\n")],
    &[("routes:\n", "admin: {address: web:80}\nroutes:\n")],
];

const PROCESS: &[&[Change]] = &[
    &[("routes:\n", "server: {threads: -1}\nroutes:\n")],
    &[("routes:\n", "server: {threads: 1025}\nroutes:\n")],
    &[("routes:\n", "server: {grace_period: 2h}\nroutes:\n")],
    &[("routes:\n", "server: {grace_period: 30}\nroutes:\n")],
    &[("routes:\n", "server: {state_directory: 5}\nroutes:\n")],
    &[(
        "routes:\n",
        "limits: {token_bytes: 1B, header_bytes: 2MiB, headers: 0, uri_bytes: none, body_bytes: 0B, body_timeout: 0s, keepalive_timeout: 1d}\nroutes:\n",
    )],
    &[(
        "routes:\n",
        "limits: {header_timeout: 61s, connections: none, connections_per_address: 0, failed_authentications: 20}\nroutes:\n",
    )],
    &[("routes:\n", "limits: {failed_authentications: {requests: 0, per: 1ms, burst: 3}}\nroutes:\n")],
    &[("routes:\n", "limits: {failed_authentications: {requests: 20}}\nroutes:\n")],
    &[("upstream: orders}", "upstream: orders, limits: {body_bytes: 0B, headers: 5}}")],
    &[("routes:\n", "claims_cache: {entries: -5, bytes: 1KiB}\nroutes:\n")],
    &[("routes:\n", "log: {access: jsno, output: \"\", level: verbose, subject: yes, client_ip: none}\nroutes:\n")],
    &[("routes:\n", "underscore_headers: strip\nroutes:\n")],
    &[("routes:\n", "sevrer: {}\nroutes:\n")],
    &[("routes:\n", "log: []\nroutes:\n")],
];

const ISSUERS: &[&[Change]] = &[
    &[("issuer: https://a.test\n    ", "")],
    &[("issuer: https://a.test", "issuer: ''")],
    &[("audiences: [api]", "audience: [api]")],
    &[("audiences: [api]", "audiences: []")],
    &[("audiences: [api]", "audiences: [api]\n    insecure_any_audience: true")],
    &[("audiences: [api]", "roles2: x\n    insecure_any_audience: true")],
    &[("audiences: [api]", "audiences: [api]\n    algorithms: []")],
    &[("audiences: [api]", "audiences: [api]\n    algorithms: [RS255, ES512, Ed25519, rs256, none]")],
    &[("audiences: [api]", "audiences: [api]\n    algorithms: [HS256, ES256]")],
    &[("audiences: [api]", "audiences: [api]\n    leeway: 6m")],
    &[("audiences: [api]", "audiences: [api]\n    token_types: []\n    required_claims: [5]\n    max_lifetime: 0s")],
    &[("audiences: [api]", "audiences: [api]\n    subject: []\n    scopes: {a: b}\n    client: [a, 5]")],
    &[("identity:", "  second: {issuer: https://a.test, audiences: [api], keys: {jwks_file: keys.json}}\nidentity:")],
    &[("  main:", "  'a/b':")],
    &[("  main:", "  'two words':")],
];

const KEYS: &[&[Change]] = &[
    &[(SOURCE, "keys: {}")],
    &[(SOURCE, "keys: {jwks_file: keys.json, secret_file: hmac.key}")],
    &[(SOURCE, "keys: {discovery: false}")],
    &[(SOURCE, "keys: {discovery: true, jwks_url: https://a.test/keys}")],
    &[(SOURCE, "keys: {discovery: true}"), ("issuer: https://a.test", "issuer: accounts.test")],
    &[(SOURCE, "keys: {discovery: true}"), ("issuer: https://a.test", "issuer: http://a.test")],
    &[(SOURCE, "keys: {discovery: true}"), ("issuer: https://a.test", "issuer: https://a.test/?tenant=a")],
    &[(SOURCE, "keys: {discovery: true}"), ("issuer: https://a.test", "issuer: https://me:secret@a.test")],
    &[(SOURCE, "keys: {jwks_file: keys.json, refresh: 5m, insecure_http: true}")],
    &[(SOURCE, "keys: {jwks_file: absent.json}")],
    &[(SOURCE, "keys: {jwks_file: empty}")],
    &[(SOURCE, "keys: {jwks_file: text}")],
    &[(SOURCE, "keys: {jwks_file: unusable.json}")],
    &[(SOURCE, "keys: {jwks_file: \"\"}")],
    &[(SOURCE, "keys: {jwks_file: \"${HIDDEN}\"}")],
    &[(SOURCE, "keys: {jwks_file: \"credential:../x\"}")],
    &[(SOURCE, "keys: {public_key_file: rsa.pem}")],
    &[(SOURCE, "keys: {public_key_file: private.pem}")],
    &[(SOURCE, "keys: {public_key_file: text}")],
    &[(SOURCE, "keys: {public_key_file: rsa.pem}\n    algorithms: [ES256]")],
    &[(SOURCE, "keys: {secret_file: short.key}")],
    &[(SOURCE, "keys: {secret_file: hmac.key}\n    algorithms: [HS512]")],
    &[(SOURCE, "keys: {secret_file: hmac.key}\n    algorithms: [RS256]")],
    &[(SOURCE, "keys: {secret_file: newline}")],
    &[(SOURCE, "keys: {secret_file: absent}")],
    &[(SOURCE, "keys: {jwks_url: \"http://a.test/k\"}")],
    &[(SOURCE, "keys: {jwks_url: \"https://user:hunter@a.test/k\"}")],
    &[(SOURCE, "keys: {jwks_url: \"https://a.test/k#f\"}")],
    &[(SOURCE, "keys: {jwks_url: \"ftp://a.test\"}")],
    &[(SOURCE, "keys: {jwks_url: \"https://\"}")],
    &[(SOURCE, "keys: {jwks_url: \"https://a.test/a b\"}")],
    &[(SOURCE, "keys: {jwks_url: a.test/k}")],
    &[(
        SOURCE,
        "keys: {jwks_url: \"https://a.test/k\", refresh: 0s, cooldown: 2h, max_stale: none, timeout: 5, ca_file: text}",
    )],
    &[(SOURCE, "keys: {jwks_url: \"https://a.test/k\", ca_file: absent}")],
    &[(SOURCE, "x: 1")],
];

const TOKEN: &[&[Change]] = &[
    &[("routes:\n", "token: {sources: []}\nroutes:\n")],
    &[("routes:\n", "token: {sources: [{}]}\nroutes:\n")],
    &[("routes:\n", "token: {sources: [{header: A, query: b}]}\nroutes:\n")],
    &[("routes:\n", "token: {sources: [{header: A}, {header: a}]}\nroutes:\n")],
    &[(
        "routes:\n",
        "token: {sources: [{header: \"a b\"}, {header: X_User.ID}, {header: Cookie}, {header: X-Forwarded-For}, {header: X-Original-URL}]}\nroutes:\n",
    )],
    &[("routes:\n", "token: {sources: [{query: \"a&b\"}]}\nroutes:\n")],
    &[(
        "routes:\n",
        "token: {sources: [{websocket_protocol: \"a b\"}, {websocket_protocol: \"a,b\"}, {websocket_protocol: bearer.}, {websocket_protocol: \"\"}]}\nroutes:\n",
    )],
    &[(
        "routes:\n",
        "token: {sources: [{websocket_protocol: a}, {websocket_protocol: a.b}, {websocket_protocol: a}]}\nroutes:\n",
    )],
    &[(
        "routes:\n",
        "token: {sources: [{cookie: a}, {cookie: __Host-}, {cookie: __host-a}, {cookie: __Http-a}]}\nroutes:\n",
    )],
    &[(
        "routes:\n",
        "token: {sources: [{cookie: \"a b\"}, {cookie: \"a=b\"}, {cookie: \"\"}, {cookie: \"a;b\"}]}\nroutes:\n",
    )],
    &[(
        "routes:\n",
        "token: {sources: [{cookie: __Host-a, header: X-A}, {query: a, insecure_cookie_name: true}]}\nroutes:\n",
    )],
    &[("routes:\n", "token: {sources: [{header: Authorization}, {cookie: __Host-a}]}\nroutes:\n")],
    &[("routes:\n", "token: {realm: 'a\"b'}\nroutes:\n")],
    &[("routes:\n", "token: {realm: \"\"}\nroutes:\n")],
    &[("routes:\n", "token: {forward: yes}\nroutes:\n")],
];

const IDENTITY: &[&[Change]] = &[
    &[(HEADERS, "headers: {\"X User\": {from: subject}}")],
    &[(HEADERS, "headers: {X-User-ID: {from: sub}}")],
    &[(HEADERS, "headers: {X-User-ID: {}}")],
    &[(HEADERS, "headers: {X-User-ID: {from: subject, claim: sub}}")],
    &[(HEADERS, "headers: {X-User-ID: {from: subject}, X_User_Id: sub}")],
    &[(
        HEADERS,
        "headers: {Host: sub, Authorization: sub, content_type: sub, Connection: sub, X-Forwarded-User: sub, X-Request-Id: sub, X-HTTP-Method-Override: sub, \"X-*\": sub, \"-_-\": sub}",
    )],
    &[(HEADERS, "headers: {X-User-ID: []}")],
    &[(HEADERS, "headers: {X-User-ID: 5}")],
    &[(HEADERS, "headers: [X-User-ID]")],
    &[(HEADERS, "strip: [\"*\", \"X-*-Y\", \"a b*\", \"Host\", \"Content-*\"]")],
    &[(
        HEADERS,
        "strip: [authorization, X-Token, \"X-*\"]\ntoken: {sources: [{header: Authorization}, {header: X-Token}]}",
    )],
];

const UPSTREAMS: &[&[Change]] = &[
    &[(SERVERS, "orders: {}")],
    &[(SERVERS, "orders: {servers: []}")],
    &[(
        SERVERS,
        "orders: {servers: [\"http://a:80\", \"a\", \"a:0\", \"a:99999\", \"0.0.0.0:80\", \"::1\", \"a/b:80\", \"10.0.0.300:80\", \"unix:\", \"a b:80\", \"a:+80\"]}",
    )],
    &[(SERVERS, "orders: {servers: [{weight: 2}, {address: \"10.0.0.1:80\", weight: 0}, 5]}")],
    &[(SERVERS, "orders: {servers: [\"a.test:80\", \"A.test:80\"]}")],
    &[(
        SERVERS,
        "orders: {servers: [\"127.0.0.1:1\"], balance: consistent_hash, retries: 6, timeouts: {connect: 0s, read: 2d, write: none, pool_idle: 5}}",
    )],
    &[(SERVERS, "orders: {servers: [\"127.0.0.1:1\"], balance: least_conn}")],
    &[(SERVERS, "orders: {servers: [\"127.0.0.1:1\"], by: subject}")],
    &[(SERVERS, "orders: {servers: [\"127.0.0.1:1\"], balance: consistent_hash, by: route}")],
    &[(SERVERS, "orders: {servers: [\"127.0.0.1:1\"], protocol: h2}")],
    &[(SERVERS, "orders: {servers: [\"127.0.0.1:1\"], protocol: h2c, tls: {}}")],
    &[(SERVERS, "orders: {servers: [\"unix:/run/o.sock\"], tls: {}}")],
    &[(SERVERS, "orders: {servers: [\"my_orders:443\"], tls: {}}")],
    &[(
        SERVERS,
        "orders: {servers: [\"127.0.0.1:1\"], tls: {server_name: \"my_orders\", ca_file: absent.pem, certificate_file: client.pem}}",
    )],
    &[(
        SERVERS,
        "orders: {servers: [\"127.0.0.1:1\"], tls: {server_name: \"\", ca_file: text, certificate_file: rsa.pem, private_key_file: client.key}}",
    )],
    &[(
        SERVERS,
        "orders: {servers: [\"127.0.0.1:1\"], tls: {ca_file: private.pem, certificate_file: client.pem, private_key_file: other.key}}",
    )],
    &[(
        SERVERS,
        "orders: {servers: [\"127.0.0.1:1\"], tls: {certificate_file: client.pem, private_key_file: client.pem, insecure_skip: true}}",
    )],
    &[(SERVERS, "orders: {servers: [\"127.0.0.1:1\"], health_check: {}}")],
    &[(
        SERVERS,
        "orders: {servers: [\"127.0.0.1:1\"], health_check: {path: healthz, tcp: true, interval: 5, timeout: 2m}}",
    )],
    &[(
        SERVERS,
        "orders: {servers: [\"127.0.0.1:1\"], health_check: {path: \"/a b\", host: \"a/b\", healthy_threshold: 0}}",
    )],
    &[(SERVERS, "orders: {servers: [\"127.0.0.1:1\"], health_check: {tcp: false, host: a, unhealthy_threshold: 101}}")],
    &[(SERVERS, "orders: {servers: [\"${HIDDEN}\"]}")],
    &[(SERVERS, "\"two words\": {servers: [\"127.0.0.1:1\"]}")],
];

const REVOCATION: &[&[Change]] = &[
    &[("routes:\n", "revocation: {}\nroutes:\n")],
    &[("routes:\n", "revocation: {file: revoked.yaml, url: https://a.test/r}\nroutes:\n")],
    &[("routes:\n", "revocation: {file: revoked.yaml, refresh: 30s}\nroutes:\n")],
    &[("routes:\n", "revocation: {file: absent.yaml}\nroutes:\n")],
    &[("routes:\n", "revocation: {file: empty}\nroutes:\n")],
    &[("routes:\n", "revocation: {file: comment.yaml}\nroutes:\n")],
    &[("routes:\n", "revocation: {file: mapping.yaml}\nroutes:\n")],
    &[("routes:\n", "revocation: {file: wrong.yaml}\nroutes:\n")],
    &[("routes:\n", "revocation: {url: \"http://a.test/r\"}\nroutes:\n")],
    &[("routes:\n", "revocation: {url: \"https://u:${HIDDEN}@a.test/r\"}\nroutes:\n")],
    &[("routes:\n", "revocation: {url: \"https://a.test/r\", refresh: 500ms, timeout: 5m, ca_file: text}\nroutes:\n")],
];

pub(super) fn rendered(cases: &[&[Change]]) -> String {
    let mut text = String::new();
    for case in cases {
        let loaded = load(&changed(case));
        assert!(loaded.problems.has_errors(), "{case:?} is not refused");
        let changes: Vec<&str> = case.iter().map(|(_, to)| *to).collect();
        text.push_str(&format!("## {}\n\n{}\n", changes.join("\n## "), loaded.problems.render()));
    }
    text
}

#[test]
fn what_is_wrong_with_listeners_is_said_in_one_run() {
    insta::assert_snapshot!("listeners", rendered(LISTENERS));
}

#[test]
fn what_is_wrong_with_admin_is_said_in_one_run() {
    insta::assert_snapshot!("admin", rendered(ADMIN));
}

#[test]
fn what_is_wrong_with_process_is_said_in_one_run() {
    insta::assert_snapshot!("process", rendered(PROCESS));
}

#[test]
fn what_is_wrong_with_revocation_is_said_in_one_run() {
    insta::assert_snapshot!("revocation", rendered(REVOCATION));
}

#[test]
fn what_is_wrong_with_issuers_is_said_in_one_run() {
    insta::assert_snapshot!("issuers", rendered(ISSUERS));
}

#[test]
fn what_is_wrong_with_keys_is_said_in_one_run() {
    insta::assert_snapshot!("keys", rendered(KEYS));
}

#[test]
fn what_is_wrong_with_token_is_said_in_one_run() {
    insta::assert_snapshot!("token", rendered(TOKEN));
}

#[test]
fn what_is_wrong_with_identity_is_said_in_one_run() {
    insta::assert_snapshot!("identity", rendered(IDENTITY));
}

#[test]
fn what_is_wrong_with_upstreams_is_said_in_one_run() {
    insta::assert_snapshot!("upstreams", rendered(UPSTREAMS));
}
