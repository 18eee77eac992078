//! The decision table: a configuration, a request and a clock in, a decision out, by the code that decides. Every row is
//! decided without a cache, with one, remembered, and with the routes in another order: the decision is always the same.
pub(crate) mod properties;

use std::fmt::Write as _;

use serde_json::Value;

use crate::support::table::{Ask, PARTNER, config, judge, judge_token, keeper, load, token, told};

/// A part of the table: a configuration, and requests to each of its routes.
struct Part {
    name: &'static str,
    /// More keys of the issuer `main`.
    issuer: &'static str,
    /// More keys at the top level.
    more: &'static str,
    /// Routes, one a line; each request is made to the path of each.
    routes: &'static [&'static str],
    /// Tokens (changes to the claims of a good one, or `none`), clients, seconds after the moment, methods: all that a
    /// row says, separated by spaces.
    rows: &'static [&'static str],
}

const PARTS: &[Part] = &[
    Part {
        name: "scopes",
        issuer: "",
        more: "",
        routes: &[
            "require: {scopes: [orders:read]}",
            "require: {scopes: [orders:read, orders:write]}",
            "require: {scopes: {any: [orders:write, admin]}}",
        ],
        rows: &[
            "none",
            "{}",
            r#"{"scope":"orders:read orders:write"}"#,
            r#"{"scope":"admin"}"#,
            r#"{"scope":"ORDERS:READ"}"#,
            r#"{"scope":"orders:read,orders:write"}"#,
            r#"{"scope":""}"#,
            r#"{"scope":null}"#,
            r#"{"scope":null,"scp":["orders:read","orders:write"]}"#,
            r#"{"scope":null,"scp":"orders:write"}"#,
            r#"{"scope":["orders:read"]}"#,
            r#"{"scope":7}"#,
        ],
    },
    Part {
        name: "roles",
        issuer: "",
        more: "",
        routes: &[
            "require: {roles: [admin]}",
            "require: {roles: [admin, staff]}",
            "require: {roles: {any: [admin, staff]}}",
        ],
        rows: &[
            "{}",
            r#"{"roles":["admin"]}"#,
            r#"{"roles":["staff","admin"]}"#,
            r#"{"roles":["Admin"]}"#,
            r#"{"roles":"admin"}"#,
            r#"{"roles":[{"value":"admin"}]}"#,
            r#"{"roles":["admin",1]}"#,
            r#"{"roles":{"admin":true}}"#,
            r#"{"roles":[]}"#,
        ],
    },
    Part {
        name: "claims in short",
        issuer: "",
        more: "",
        routes: &[
            "require: {claims: {email_verified: true}}",
            "require: {claims: {plan: pro}}",
            "require: {claims: {plan: [pro, team], tier: 3}}",
        ],
        rows: &[
            "{}",
            r#"{"email_verified":true}"#,
            r#"{"email_verified":"true"}"#,
            r#"{"email_verified":1}"#,
            r#"{"email_verified":[false,true]}"#,
            r#"{"plan":"pro"}"#,
            r#"{"plan":["free","pro"]}"#,
            r#"{"plan":[["pro"]]}"#,
            r#"{"plan":{"pro":true}}"#,
            r#"{"plan":"team","tier":3}"#,
            r#"{"plan":"team","tier":3.0}"#,
            r#"{"plan":"team","tier":"3"}"#,
            r#"{"plan":["x","team"],"tier":[1,2,3]}"#,
        ],
    },
    Part {
        name: "claims at length",
        issuer: "",
        more: "",
        routes: &[
            "require: {claims: [{claim: [org, tier], in: [gold, silver]}]}",
            "require: {claims: [{claim: groups, contains: ops}]}",
            "require: {claims: [{claim: groups, contains_any: [ops, dev]}, {claim: act, exists: false}]}",
            "require: {claims: [{claim: email, suffix: '@example.com'}, {claim: region, prefix: eu-}]}",
            "require: {claims: [{claim: plan, equals: pro}, {claim: tenant, exists: true}]}",
        ],
        rows: &[
            "{}",
            r#"{"org":{"tier":"gold"},"groups":["ops"]}"#,
            r#"{"org":{"tier":["gold"]},"groups":"ops"}"#,
            r#"{"org":"gold","groups":["dev"],"act":{"sub":"u2"}}"#,
            r#"{"org":{"tier":"bronze"},"groups":["dev"],"act":null}"#,
            r#"{"email":"a@example.com","region":"eu-north"}"#,
            r#"{"email":"a@example.com.evil","region":"eu-north"}"#,
            r#"{"email":["a@example.com"],"region":"EU-north"}"#,
            r#"{"plan":"pro","tenant":false}"#,
            r#"{"plan":["pro"],"tenant":"t"}"#,
        ],
    },
    Part {
        name: "audience and principal",
        issuer: "",
        more: "",
        routes: &[
            "require: {audience: https://orders.test}",
            "require: {principal: user}",
            "require: {principal: client}",
        ],
        rows: &[
            "{}",
            r#"{"aud":["https://api.test","https://orders.test"]}"#,
            r#"{"aud":"https://orders.test"}"#,
            r#"{"aud":["https://api.test","https://orders.test/"]}"#,
            r#"{"sub":"c1"}"#,
            r#"{"client_id":null}"#,
            r#"{"client_id":null,"azp":"u1"}"#,
            r#"{"sub":null}"#,
        ],
    },
    Part {
        name: "step-up",
        issuer: "",
        more: "",
        routes: &["require: {acr: [gold, silver]}", "require: {max_age: 5m}", "require: {acr: [gold], max_age: 5m}"],
        rows: &[
            "{}",
            r#"{"acr":"silver"}"#,
            r#"{"acr":["gold"]}"#,
            r#"{"acr":"gold","auth_time":1767225600}"#,
            r#"{"acr":"gold","auth_time":1767225600} +330"#,
            r#"{"acr":"gold","auth_time":1767225600} +331"#,
            r#"{"acr":"gold","auth_time":"1767225600"}"#,
            r#"{"acr":"gold","auth_time":1767225630}"#,
            r#"{"acr":"gold","auth_time":1767225631}"#,
            r#"{"acr":"gold","auth_time":1767225270.9}"#,
            r#"{"acr":"gold","auth_time":1767225269.9}"#,
        ],
    },
    Part {
        name: "what an issuer requires is what its tokens must have",
        issuer: ", require: {claims: {token_use: access}, principal: user}",
        more: "",
        routes: &["require: {scopes: [orders:write]}", "auth: optional"],
        rows: &[
            "none",
            "{}",
            r#"{"token_use":"id"}"#,
            r#"{"token_use":"access"}"#,
            r#"{"token_use":"access","scope":"orders:write"}"#,
            r#"{"token_use":"access","sub":"c1"}"#,
            r#"{"token_use":"id","exp":1767225000}"#,
            r#"{"token_use":"id","sub":null}"#,
        ],
    },
    Part {
        name: "a rule on trial",
        issuer: "",
        more: "",
        routes: &[
            "observe: {require: {roles: [admin]}}",
            "require: {scopes: [orders:write]}, observe: {require: {roles: [admin], claims: {plan: pro}}}",
            "auth: optional, observe: {require: {max_age: 5m}}",
        ],
        rows: &[
            "none",
            "{}",
            r#"{"roles":["admin"]}"#,
            r#"{"scope":"orders:write","roles":["admin"]}"#,
            r#"{"scope":"orders:write","roles":["admin"],"plan":"pro","auth_time":1767225500}"#,
            r#"{"exp":1767225000}"#,
        ],
    },
    Part {
        name: "authentication on trial",
        issuer: "",
        more: "",
        routes: &[
            "insecure_observe_authentication: true",
            "insecure_observe_authentication: true, require: {scopes: [orders:write], audience: https://orders.test}",
            "insecure_observe_authentication: true, auth: optional, addresses: {deny: [10.0.0.0/8]}",
        ],
        rows: &[
            "none",
            "{}",
            r#"{"exp":1767225000}"#,
            r#"{"iss":"https://other.test"}"#,
            r#"{"aud":["https://api.test","https://orders.test"]}"#,
            r#"{"aud":["https://api.test","https://orders.test"],"scope":"orders:write"}"#,
            r#"{"sub":null} 192.0.2.1"#,
            r#"{"sub":null} 10.1.2.3"#,
        ],
    },
    Part {
        name: "addresses come before the token",
        issuer: "",
        more: "",
        routes: &[
            "addresses: {allow: [10.0.0.0/8, '2001:db8::/32']}",
            "addresses: {deny: [10.66.0.0/16]}, auth: none",
            "addresses: {allow: [10.0.0.0/8], deny: [10.66.0.0/16]}",
        ],
        rows: &[
            "none 10.1.2.3",
            "{} 10.1.2.3",
            "{} 10.66.2.3",
            "none 11.0.0.1",
            "{} ::ffff:10.1.2.3",
            "{} 2001:db8::7",
            "{} 2001:db9::7",
            "{}",
        ],
    },
    Part {
        name: "the first reason counts",
        issuer: "",
        more: "",
        routes: &[
            "addresses: {allow: [10.0.0.0/8]}, require: {audience: https://orders.test, principal: user, scopes: [a], roles: [b], claims: {c: d}, acr: [gold]}",
        ],
        rows: &[
            "none 11.0.0.1",
            "none 10.0.0.1",
            r#"{"sub":null,"exp":1,"aud":"x"} 10.0.0.1"#,
            r#"{"exp":1,"aud":"x"} 10.0.0.1"#,
            r#"{"aud":"x"} 10.0.0.1"#,
            r#"{"sub":"c1"} 10.0.0.1"#,
            r#"{"aud":["https://api.test","https://orders.test"],"sub":"c1"} 10.0.0.1"#,
            r#"{"aud":["https://api.test","https://orders.test"]} 10.0.0.1"#,
            r#"{"aud":["https://api.test","https://orders.test"],"scope":"a"} 10.0.0.1"#,
            r#"{"aud":["https://api.test","https://orders.test"],"scope":"a","roles":["b"]} 10.0.0.1"#,
            r#"{"aud":["https://api.test","https://orders.test"],"scope":"a","roles":["b"],"c":"d"} 10.0.0.1"#,
            r#"{"aud":["https://api.test","https://orders.test"],"scope":"a","roles":["b"],"c":"d","acr":"gold"} 10.0.0.1"#,
        ],
    },
    Part {
        name: "headers that must be there",
        issuer: "",
        more: "identity: {headers: {X-Tenant: {claim: [org, tenant], required: true}, X-User-ID: {from: subject}}}",
        routes: &["require: {claims: {plan: pro}, acr: [gold]}", "auth: optional", "auth: none"],
        rows: &[
            "none",
            "{}",
            r#"{"org":{"tenant":"t1"}}"#,
            r#"{"plan":"pro","acr":"silver"}"#,
            r#"{"plan":"pro","acr":"silver","org":{"tenant":"t1"}}"#,
            r#"{"plan":"pro","acr":"gold","org":{"tenant":"t1"}}"#,
            r#"{"org":"t1"}"#,
        ],
    },
    Part {
        name: "defaults of routes",
        issuer: "",
        more: "route_defaults: {require: {roles: [admin]}, addresses: {deny: [10.66.0.0/16]}}",
        routes: &["auth: required", "require: {scopes: [orders:read]}", "auth: none", "addresses: {}"],
        rows: &["none", "{} 10.0.0.1", r#"{"roles":["admin"]} 10.0.0.1"#, r#"{"roles":["admin"]} 10.66.0.1"#],
    },
];

/// The routes of a part, `/r0`, `/r1` and so on.
fn routes_of(part: &Part) -> Vec<String> {
    let lines = part.routes.iter().enumerate();
    lines
        .map(|(number, rest)| {
            format!("  - {{name: r{number}, path_prefix: /r{number}, respond: {{status: 204}}, {}}}", rest)
        })
        .collect()
}

/// What a row says: the token, and where and when it is used.
fn ask(row: &str) -> Ask {
    let end = row.rfind('}').map_or("none".len(), |position| position + 1);
    let (claims, rest) = row.split_at(end);
    let mut ask = Ask { method: "GET", path: "/x".to_owned(), claims: None, client: None, at: 0 };
    if claims != "none" {
        ask.claims = Some(serde_json::from_str::<Value>(claims).unwrap_or_else(|error| panic!("{row}: {error}")));
    }
    for word in rest.split_whitespace() {
        match word.strip_prefix('+') {
            Some(seconds) => ask.at = seconds.parse().unwrap(),
            None => ask.client = Some(word.parse().unwrap()),
        }
    }
    ask
}

#[test]
fn every_row_of_the_table_is_decided_as_written_down() {
    let mut table = String::new();
    let mut rows = 0;
    for part in PARTS {
        let mut routes = routes_of(part);
        let text = config(part.issuer, part.more, &routes.join("\n"));
        let uncached = keeper(&text, 0);
        let cached = keeper(&text, 100);
        routes.reverse();
        let reversed = keeper(&config(part.issuer, part.more, &routes.join("\n")), 100);
        writeln!(table, "# {}\n", part.name).unwrap();
        for extra in [part.issuer.trim_start_matches(", "), part.more].iter().filter(|extra| !extra.is_empty()) {
            writeln!(table, "{extra}\n").unwrap();
        }
        for (number, route) in part.routes.iter().enumerate() {
            writeln!(table, "## r{number}: {route}\n").unwrap();
            for row in part.rows {
                let mut ask = ask(row);
                ask.path = format!("/r{number}/x");
                let token = ask.claims.as_ref().map(token);
                let decide = |keeper| told(keeper, &judge_token(keeper, &ask, token.as_deref()));
                let decision = decide(&uncached);
                for (which, keeper) in
                    [("with a cache", &cached), ("remembered", &cached), ("in another order", &reversed)]
                {
                    assert_eq!(decide(keeper), decision, "{which}: {route} {row}");
                }
                writeln!(table, "{row:<60} {decision}").unwrap();
                rows += 1;
            }
            table.push('\n');
        }
    }
    assert!(rows >= 200, "only {rows} rows");
    insta::assert_snapshot!("decisions", table);
}

#[test]
fn the_most_specific_route_decides_whatever_the_order() {
    let mut routes = [
        "  - {name: all, path_prefix: /, respond: {status: 204}}",
        "  - {name: orders, path_prefix: /orders, require: {scopes: [orders:read]}, respond: {status: 204}}",
        "  - {name: write, path_prefix: /orders, methods: [POST], require: {scopes: [orders:write]}, respond: {status: 204}}",
        "  - {name: export, path: /orders/export, require: {roles: [admin]}, respond: {status: 204}}",
        "  - {name: hello, path: /hello, auth: none, methods: [GET], respond: {status: 204}}",
    ];
    let more = "";
    for _ in 0..routes.len() {
        routes.rotate_left(1);
        let keeper = keeper(&config("", more, &routes.join("\n")), 10);
        for (method, path, expected) in [
            ("GET", "/", "passes as u1 [all]"),
            ("GET", "/ordersx", "passes as u1 [all]"),
            ("GET", "/orders", "passes as u1 [orders]"),
            ("GET", "/orders/7", "passes as u1 [orders]"),
            ("POST", "/orders/7", "403 scope_insufficient (missing scope: orders:write) [write]"),
            ("GET", "/orders/export", "403 role_missing (missing role: admin) [export]"),
            ("POST", "/orders/export", "403 role_missing (missing role: admin) [export]"),
            ("GET", "/orders/export/x", "passes as u1 [orders]"),
            ("HEAD", "/hello", "passes as nobody [hello]"),
            ("POST", "/hello", "405 method_not_allowed"),
            ("GET", "/Orders", "400 path_ambiguous (no route; read as"),
        ] {
            let mut ask = ask("{}");
            (ask.method, ask.path) = (method, path.to_owned());
            let decision = told(&keeper, &judge(&keeper, &ask));
            let is_ambiguous = expected.starts_with("400") && decision.starts_with("400 path_ambiguous");
            assert!(decision == expected || is_ambiguous, "{method} {path}: {decision}, not {expected}");
        }
    }
}

#[test]
fn each_issuer_requires_of_its_own_tokens() {
    let more = format!(
        "  partner: {{issuer: \"{PARTNER}\", audiences: [partners], keys: {{jwks_file: other.json}}, client: app, require: {{scopes: [partner]}}}}
identity: {{headers: {{X-Issuer: {{from: issuer}}}}}}"
    );
    let routes = "  - {name: both, path_prefix: /, issuers: [main, partner], require: {audience: partners}, respond: {status: 204}}";
    let text = config(", require: {claims: {token_use: access}}", &more, routes);
    assert!(load(&text).is_ok());
    let keeper = keeper(&text, 10);
    for (row, expected) in [
        ("{}", "401 claim_invalid (claim: token_use is or contains access) [both]"),
        (r#"{"token_use":"access"}"#, "401 audience_mismatch (missing: the audience partners) [both]"),
        (r#"{"token_use":"access","aud":["https://api.test","partners"]}"#, "passes as u1 [both]"),
        (r#"{"iss":"https://partner.test","aud":"partners"}"#, "401 claim_invalid (missing scope: partner) [both]"),
        (r#"{"iss":"https://partner.test","aud":"partners","scope":"partner"}"#, "passes as u1 [both]"),
    ] {
        for _ in 0..2 {
            assert_eq!(told(&keeper, &judge(&keeper, &ask(row))), expected, "{row}");
        }
    }
}
