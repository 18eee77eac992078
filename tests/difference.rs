//! `portcullis diff`: what it says of a change is what the change does to requests.
mod one_change;
mod properties;

use serde_json::Value;

use crate::support::{folder::Folder, gateway};

/// Something of everything that a change may touch.
const BASE: &str = r#"
listeners:
  - {name: web, address: "127.0.0.1:8080"}
  - {name: inner, address: "127.0.0.1:8081"}
admin: {address: "127.0.0.1:9400", allowed_hosts: [ops.test]}
trusted_proxies: [10.0.0.0/24]
underscore_headers: keep
limits: {token_bytes: 8KiB, headers: 100, connections: 1000}
issuers:
  main:
    issuer: https://issuer.test
    audiences: [https://api.test]
    algorithms: [ES256]
    keys: {jwks_file: keys.json}
    roles: roles
    leeway: 30s
    max_lifetime: 1h
    require: {claims: [{claim: tenant, exists: true}]}
  other:
    issuer: https://other.test
    audiences: [https://other-api.test]
    algorithms: [ES256, ES384]
    keys: {jwks_file: keys.json}
route_defaults: {issuers: [main, other]}
identity:
  headers:
    X-User-ID: {from: subject}
    X-Issuer: {from: issuer}
    X-Team: {claim: team, required: true}
  strip: [X-Internal]
routes:
  - {name: health, path: /healthz, auth: none, respond: {status: 204}}
  - name: orders
    path_prefix: /orders
    methods: [GET, POST]
    issuers: [main]
    require: {scopes: [orders:read], roles: {any: [clerk, manager]}, claims: [{claim: level, in: [1, 2]}]}
    addresses: {allow: [10.0.0.0/8], deny: [10.1.0.0/16]}
    rate_limit: {requests: 10, per: 1m, by: subject}
    limits: {body_bytes: 1MiB}
    upstream: service
  - {name: mine, path_prefix: /mine, hosts: [api.test], listeners: [web], upstream: service}
  - {name: maybe, path_prefix: /maybe, auth: optional, upstream: service}
  - {name: pages, path_prefix: /pages, token: {sources: [{cookie: __Host-session}]}, csrf: {origins: [https://app.test]}, upstream: service}
  - {name: open, path_prefix: /open, cors: {origins: [https://app.test], headers: [authorization]}, upstream: service}
  - {name: trial, path_prefix: /trial, observe: {require: {scopes: [x]}}, upstream: service}
upstreams:
  service: {servers: ["127.0.0.1:3000"]}
"#;

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("keys.json", crate::support::fixture::keys_file());
    folder
}

/// What is said of a change, as JSON, and whether it failed.
fn difference(folder: &Folder, old: &str, new: &str) -> (Value, Option<i32>) {
    let places =
        [("old.yaml", old), ("new.yaml", new)].map(|(name, text)| folder.write(name, text).display().to_string());
    let account = gateway::run(&["diff", &places[0], &places[1], "--format", "json"]);
    let told = serde_json::from_str(&account.stdout).unwrap_or_else(|_| panic!("{}", account.stderr));
    (told, account.code())
}

fn changes(told: &Value) -> Vec<String> {
    let list = told["changes"].as_array().unwrap().iter();
    list.map(|change| {
        let text = |name: &str| change[name].as_str().unwrap();
        format!("{} {}: {}", text("direction"), text("place"), text("what"))
    })
    .collect()
}

#[test]
fn a_configuration_is_as_strict_as_itself_however_it_is_written() {
    let folder = folder();
    let lines: Vec<&str> = BASE.lines().collect();
    let at = lines.iter().position(|line| line.contains("name: mine")).unwrap();
    let mut turned = lines.clone();
    turned.swap(at, at + 1);
    let commented = BASE.replace("routes:\n", "# what may pass\nroutes:\n");
    for same in [BASE.to_owned(), turned.join("\n") + "\n", commented] {
        let (told, code) = difference(&folder, BASE, &same);
        assert_eq!((changes(&told), code), (vec![], Some(0)));
    }
}

/// What is replaced by what, and all that is said of it, in order of direction.
type Row<'r> = (&'r str, &'r str, &'r [&'r str]);

const ROWS: &[Row<'_>] = &[
    (
        "auth: none, respond",
        "auth: required, respond",
        &["stricter route health: a token is required; before: anybody may (auth: none)"],
    ),
    ("status: 204", "status: 200", &["neither route health: the gateway answers otherwise"]),
    (
        "path: /healthz",
        "path: /health",
        &[
            "looser route health: it takes more requests: anybody may (auth: none)",
            "stricter route health: it takes fewer requests",
        ],
    ),
    (
        "methods: [GET, POST]",
        "methods: [GET, POST, DELETE]",
        &["looser route orders: it takes more requests: a token is required"],
    ),
    ("methods: [GET, POST]", "methods: [GET]", &["stricter route orders: it takes fewer requests"]),
    ("issuers: [main]\n", "issuers: [main, other]\n", &["looser route orders: issuers: other added"]),
    (
        "scopes: [orders:read]",
        "scopes: [orders:read, orders:list]",
        &["stricter route orders: required scopes: orders:read and orders:list; before: orders:read"],
    ),
    ("scopes: [orders:read], ", "", &["looser route orders: required scopes: none; before: orders:read"]),
    (
        "scopes: [orders:read]",
        "scopes: {any: [orders:read, orders:list]}",
        &["looser route orders: required scopes: one of orders:read, orders:list; before: orders:read"],
    ),
    (
        "scopes: [orders:read]",
        "scopes: [orders:write]",
        &["unclear route orders: required scopes: orders:write; before: orders:read"],
    ),
    (
        "any: [clerk, manager]",
        "any: [clerk, manager, intern]",
        &["looser route orders: required roles: one of clerk, manager, intern; before: one of clerk, manager"],
    ),
    (
        "any: [clerk, manager]",
        "any: [manager]",
        &["stricter route orders: required roles: one of manager; before: one of clerk, manager"],
    ),
    (
        "in: [1, 2]",
        "in: [1, 2, 3]",
        &["looser route orders: required claims: level is one of 1, 2, 3; before: level is one of 1, 2"],
    ),
    ("in: [1, 2]", "equals: 1", &["stricter route orders: required claims: level is 1; before: level is one of 1, 2"]),
    (
        "in: [1, 2]",
        "exists: true",
        &["looser route orders: required claims: level is there; before: level is one of 1, 2"],
    ),
    (
        "allow: [10.0.0.0/8]",
        "allow: [10.0.0.0/8, 192.168.0.0/16]",
        &[
            "looser route orders: addresses: allow 10.0.0.0/8, 192.168.0.0/16, deny 10.1.0.0/16; before: allow 10.0.0.0/8, deny 10.1.0.0/16",
        ],
    ),
    (
        "allow: [10.0.0.0/8]",
        "allow: [10.0.0.0/9]",
        &[
            "stricter route orders: addresses: allow 10.0.0.0/9, deny 10.1.0.0/16; before: allow 10.0.0.0/8, deny 10.1.0.0/16",
        ],
    ),
    (
        ", deny: [10.1.0.0/16]",
        "",
        &["looser route orders: addresses: allow 10.0.0.0/8; before: allow 10.0.0.0/8, deny 10.1.0.0/16"],
    ),
    ("requests: 10", "requests: 20", &["looser route orders: rate limits: 20 requests per 1m by subject, 20 at once"]),
    ("per: 1m", "per: 2m", &["stricter route orders: rate limits: 10 requests per 2m by subject, 10 at once"]),
    ("by: subject", "by: address", &["unclear route orders: rate limits: 10 requests per 1m by address, 10 at once"]),
    (
        "body_bytes: 1MiB",
        "body_bytes: 2MiB",
        &["looser route orders: the longest body is 2097152 bytes, was 1048576 bytes"],
    ),
    ("hosts: [api.test], ", "", &["looser route mine: it takes more requests: a token is required"]),
    (
        "hosts: [api.test]",
        "hosts: [api.test, www.test]",
        &["looser route mine: it takes more requests: a token is required"],
    ),
    ("listeners: [web], ", "", &["looser route mine: it takes more requests: a token is required"]),
    (
        "listeners: [web]",
        "listeners: [inner]",
        &[
            "looser route mine: it takes more requests: a token is required",
            "stricter route mine: it takes fewer requests",
        ],
    ),
    (
        "auth: optional, ",
        "",
        &["stricter route maybe: a token is required; before: a token is optional (auth: optional)"],
    ),
    (
        "auth: optional",
        "auth: none",
        &["looser route maybe: anybody may (auth: none); before: a token is optional (auth: optional)"],
    ),
    (
        "__Host-session",
        "__Host-other",
        &[
            "looser route pages: places for tokens: cookie __Host-other added",
            "looser headers of clients: tokens in a place where no route looks any more are forwarded as they are",
            "unclear route pages: places for tokens: cookie __Host-session removed",
            "stricter route pages: a bad or a second token is refused in cookie __Host-other",
        ],
    ),
    (
        "csrf: {origins: [https://app.test]}",
        "csrf: {origins: [https://app.test, https://evil.test]}",
        &["looser route pages: origins that may use the cookie: https://evil.test added"],
    ),
    (
        "cors: {origins: [https://app.test]",
        "cors: {origins: [https://app.test, https://b.test]",
        &["looser route open: origins (cors): https://b.test added"],
    ),
    (
        ", observe: {require: {scopes: [x]}}",
        ", require: {scopes: [x]}",
        &[
            "stricter route trial: required scopes: x; before: none",
            "neither route trial: another rule is on trial (observe)",
        ],
    ),
    ("scopes: [x]", "scopes: [y]", &["neither route trial: another rule is on trial (observe)"]),
    (
        "  - {name: trial, path_prefix: /trial, observe: {require: {scopes: [x]}}, upstream: service}\n",
        "",
        &["stricter route trial: it is gone"],
    ),
    (
        "name: mine, path_prefix: /mine",
        "name: mine, path_prefix: /",
        &[
            "looser route mine: it takes more requests: a token is required",
            "looser route mine (before: health): it reaches the upstream service; before the gateway answered",
            "looser route mine (before: orders): issuers: other added",
            "looser route mine (before: orders): required scopes: none; before: orders:read",
            "looser route mine (before: orders): required roles: none; before: one of clerk, manager",
            "looser route mine (before: orders): required claims: none; before: level is one of 1, 2",
            "looser route mine (before: orders): addresses: any; before: allow 10.0.0.0/8, deny 10.1.0.0/16",
            "looser route mine (before: orders): rate limits: none",
            "looser route mine (before: orders): the longest body is none, was 1048576 bytes",
            "looser route mine (before: pages): places for tokens: Authorization added",
            "unclear route mine (before: pages): places for tokens: cookie __Host-session removed",
            "stricter route mine (before: health): a token is required; before: anybody may (auth: none)",
            "stricter route mine (before: maybe): a token is required; before: a token is optional (auth: optional)",
            "stricter route mine (before: pages): a bad or a second token is refused in Authorization",
            "stricter route mine (before: open): no page of another origin may read (cors)",
            "neither route mine (before: trial): another rule is on trial (observe)",
        ],
    ),
    (
        "audiences: [https://api.test]",
        "audiences: [https://api.test, https://b.test]",
        &["looser issuer main: audiences: https://b.test added"],
    ),
    ("algorithms: [ES256]\n", "algorithms: [ES256, EdDSA]\n", &["looser issuer main: algorithms: EdDSA added"]),
    ("leeway: 30s", "leeway: 1m", &["looser issuer main: leeway is 60 s, was 30 s"]),
    ("max_lifetime: 1h", "max_lifetime: 2h", &["looser issuer main: the longest lifetime is 7200 s, was 3600 s"]),
    ("    max_lifetime: 1h\n", "", &["looser issuer main: the longest lifetime is none, was 3600 s"]),
    (
        "    require: {claims: [{claim: tenant, exists: true}]}\n",
        "",
        &["looser issuer main: required claims: none; before: tenant is there"],
    ),
    (
        "issuer: https://other.test",
        "issuer: https://third.test",
        &["unclear issuer other: `iss` is https://third.test; before: https://other.test"],
    ),
    ("{from: subject}", "{claim: email}", &["unclear identity headers: X-User-ID is made of something else"]),
    (
        "claim: team, required: true",
        "claim: team",
        &["looser identity headers: a token must have what X-Team is made of: false"],
    ),
    ("  strip: [X-Internal]\n", "", &["looser headers of clients: no longer removed, in whatever spelling: xinternal"]),
    (
        "underscore_headers: keep",
        "underscore_headers: drop",
        &["stricter headers: names with an underscore are removed: true"],
    ),
    (
        "trusted_proxies: [10.0.0.0/24]",
        "trusted_proxies: [10.0.0.0/16]",
        &["looser trusted_proxies: what 10.0.0.0/16 say of clients is believed"],
    ),
    (
        "trusted_proxies: [10.0.0.0/24]",
        "trusted_proxies: []",
        &["unclear trusted_proxies: what 10.0.0.0/24 say of clients is no longer believed"],
    ),
    ("token_bytes: 8KiB", "token_bytes: 16KiB", &["looser limits: token_bytes is 16384, was 8192"]),
    ("headers: 100", "headers: 50", &["stricter limits: headers is 50, was 100"]),
    ("connections: 1000", "connections: 2000", &["looser limits: connections is 2000, was 1000"]),
    ("allowed_hosts: [ops.test]", "allowed_hosts: [ops.test, b.test]", &["looser admin: allowed_hosts: b.test added"]),
    ("address: \"127.0.0.1:9400\"", "address: off", &["stricter admin: it is off"]),
    (
        "  - {name: inner, address: \"127.0.0.1:8081\"}",
        "  - {name: inner, address: \"0.0.0.0:8081\"}",
        &["unclear listener inner: it listens on 0.0.0.0:8081; before: 127.0.0.1:8081"],
    ),
    (
        "\"127.0.0.1:3000\"",
        "\"127.0.0.1:3001\"",
        &["neither upstream service: other servers, or another way to reach them"],
    ),
    ("roles: roles\n", "roles: groups\n", &["unclear issuer main: roles is another claim of its tokens"]),
];

#[test]
fn every_change_is_told_by_what_it_does_and_its_reverse_by_the_contrary() {
    let folder = folder();
    let mut wrong = Vec::new();
    for (before, after, expected) in ROWS {
        assert_eq!(BASE.matches(before).count(), 1, "{before:?} is not there once");
        let changed = BASE.replace(before, after);
        let (told, code) = difference(&folder, BASE, &changed);
        let said = changes(&told);
        let fits = said.len() == expected.len() && said.iter().zip(*expected).all(|(said, expected)| said == expected);
        let is_looser = said.iter().any(|said| said.starts_with("looser") || said.starts_with("unclear"));
        if !fits || code != Some(i32::from(is_looser)) || told["looser"] != is_looser {
            wrong.push(format!("({before:?}, {after:?}) {code:?}:\n    {}", said.join("\n    ")));
        }
        // What lets less pass lets more pass the other way about, and nothing that changes somebody's passage goes back unseen.
        let (back, code) = difference(&folder, &changed, BASE);
        let back = changes(&back);
        let only = |these: &[String], direction: &str| these.iter().all(|said| said.starts_with(direction));
        let is_seen = match (only(&said, "stricter"), only(&said, "neither"), only(&said, "looser")) {
            (true, ..) => code == Some(1),
            (_, true, _) => only(&back, "neither"),
            (.., true) => !only(&back, "neither") && !back.iter().any(|said| said.starts_with("looser")),
            _ => !back.is_empty(),
        };
        if !is_seen {
            wrong.push(format!("({before:?}, {after:?}), and back:\n    {}", back.join("\n    ")));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows\n{}", wrong.len(), ROWS.len(), wrong.join("\n"));
}

#[test]
fn what_is_insecure_is_told_where_it_comes_to_stand_even_when_it_leaves_another_place() {
    let folder = folder();
    let insecure = |route: &str| {
        let (safe, place) = ("token: {sources: [{cookie: __Host-session}]}", format!("{{name: {route}, "));
        let text =
            BASE.replace("{name: open, ", &format!("{{name: open, {safe}, csrf: {{origins: [https://app.test]}}, "));
        let at = text.find(&place).unwrap();
        let (before, after) = text.split_at(at);
        let insecure = "{cookie: session, insecure_cookie_name: true}";
        before.to_owned() + &after.replacen("{cookie: __Host-session}", insecure, 1)
    };
    let (told, code) = difference(&folder, &insecure("pages"), &insecure("open"));
    let said = changes(&told);
    assert_eq!(code, Some(1));
    for (direction, route) in [("looser", "routes.open"), ("stricter", "routes.pages")] {
        let expected = format!("{direction} insecure: insecure_cookie_name: {route}");
        assert!(said.iter().any(|said| said.starts_with(&expected)), "{expected} is not in\n{}", said.join("\n"));
    }
}

#[test]
fn a_route_that_goes_lets_pass_what_could_be_read_as_one_of_its_paths() {
    let route = |name: &str, path: &str, more: &str| {
        format!("  - {{name: {name}, path_prefix: {path}, auth: none, upstream: up{more}}}\n")
    };
    let head =
        "listeners: [{address: \"127.0.0.1:8080\"}]\nupstreams: {up: {servers: [\"127.0.0.1:3000\"]}}\nroutes:\n";
    let exact = ", paths: {case: exact, trailing_slash: exact, encoded_slash: opaque}";
    let folder = folder();
    for (more, request) in [("", "/a/B"), (exact, "/a//b")] {
        let outer = format!("{head}{}", route("outer", "/a", more));
        let both = format!("{outer}{}", route("inner", "/a/b", more));
        // Refused as ambiguous with the two, and forwarded with the one.
        let (told, code) = difference(&folder, &both, &outer);
        assert_eq!((code, &told["counts"]["looser"]), (Some(1), &Value::from(1)), "{told:#}");
        let shown = told["changes"][0]["requests"].to_string();
        assert!(shown.contains(request), "{request} is not among {shown}");
        let (told, code) = difference(&folder, &outer, &both);
        assert_eq!((code, &told["counts"]["stricter"]), (Some(0), &Value::from(1)), "{told:#}");
    }
}
