//! One thing that changes: a request that passes anew is told of as looser, one that no longer passes as stricter. Beside
//! `properties`, which changes much at a time.
use std::net::IpAddr;

use portcullis::{
    config::difference::{Direction, compare},
    state::gatekeeper::Gatekeeper,
};
use proptest::{
    prelude::*,
    sample::{Index, select, subsequence},
};
use serde_json::{Value, json};

use crate::{
    decision_table::properties::{PARTS, STRICTER, claims, passes, rule},
    support::{
        fixture::{AUDIENCE, ISSUER},
        table::{Ask, PARTNER, T, judge_token, keeper, load, token, told},
    },
};

/// What requests ask for: each is in a region of some of the routes below.
const PATHS: [&str; 6] = ["/a", "/a/b", "/a/b/c", "/d", "/d/e", "/f"];
const METHODS: [&str; 3] = ["GET", "POST", "DELETE"];
const CLIENTS: [&str; 4] = ["10.0.0.1", "10.1.0.1", "192.0.2.1", "2001:db8::1"];

/// A route: which requests are its own, whose tokens it wants, and what it asks of them.
#[derive(Clone, Debug)]
struct Route {
    matcher: String,
    auth: &'static str,
    issuers: &'static str,
    parts: Vec<&'static str>,
    addresses: &'static str,
}

impl Route {
    fn text(&self) -> String {
        let Self { matcher, auth, issuers, parts, addresses } = self;
        let demand = match (*auth, parts.as_slice()) {
            ("none", _) => "auth: none".to_owned(),
            (_, []) => format!("{auth}issuers: {issuers}"),
            (_, parts) => format!("{auth}issuers: {issuers}, require: {{{}}}", rule(parts)),
        };
        format!("{matcher}, {demand}{addresses}")
    }
}

fn route() -> impl Strategy<Value = Route> {
    let paths = ["path_prefix: /", "path: /a", "path_prefix: /a", "path_prefix: /a/b", "path: /d", "path_prefix: /d"];
    let matcher = (select(paths.to_vec()), subsequence(&METHODS, 0..3)).prop_map(|(path, methods)| {
        if methods.is_empty() { path.to_owned() } else { format!("{path}, methods: [{}]", methods.join(", ")) }
    });
    let auth = prop_oneof![
        6 => Just(""),
        1 => Just("none"),
        1 => Just("auth: optional, "),
        1 => Just("insecure_observe_authentication: true, "),
    ];
    let issuers = select(vec!["[main]", "[partner]", "[main, partner]"]);
    let addresses = select(vec![
        "",
        "",
        ", addresses: {allow: [10.0.0.0/8]}",
        ", addresses: {allow: [10.0.0.0/16, \"2001:db8::/32\"]}",
        ", addresses: {deny: [10.1.0.0/16]}",
        ", addresses: {allow: [10.0.0.0/8], deny: [10.1.0.0/16]}",
    ]);
    (matcher, auth, issuers, subsequence(PARTS, 0..3), addresses)
        .prop_map(|(matcher, auth, issuers, parts, addresses)| Route { matcher, auth, issuers, parts, addresses })
}

/// What is asked of the tokens of an issuer.
fn issuer() -> impl Strategy<Value = String> {
    let audiences = select(vec!["[A]", "[A]", "[A, \"https://orders.test\"]", "[\"https://orders.test\"]"]);
    let more = subsequence(
        &[
            ", leeway: 0s",
            ", max_lifetime: 1h",
            ", max_lifetime: 3h",
            ", required_claims: [c]",
            ", require: {scopes: [a]}",
            ", require: {claims: [{claim: c, exists: true}]}",
        ],
        0..3,
    );
    (audiences, more).prop_map(|(audiences, more)| {
        let mut kept: Vec<&str> = Vec::new();
        for key in more {
            let name = |key: &str| key.split(':').next().unwrap_or_default().to_owned();
            if !kept.iter().any(|other| name(other) == name(key)) {
                kept.push(key);
            }
        }
        format!(
            "audiences: {}, keys: {{jwks_file: keys.json}}, roles: roles{}",
            audiences.replace('A', &format!("\"{AUDIENCE}\"")),
            kept.concat()
        )
    })
}

/// What a configuration is made of. Of routes with the same matcher the first counts.
#[derive(Clone, Debug)]
struct Parts {
    issuers: [String; 2],
    routes: Vec<Route>,
}

impl Parts {
    fn text(&self) -> String {
        let [main, partner] = &self.issuers;
        let mut known: Vec<&str> = Vec::new();
        let mut routes = String::new();
        for (number, route) in self.routes.iter().enumerate() {
            if !known.contains(&route.matcher.as_str()) {
                known.push(&route.matcher);
                routes.push_str(&format!("  - {{name: r{number}, {}, respond: {{status: 204}}}}\n", route.text()));
            }
        }
        format!(
            "listeners: [{{address: \"127.0.0.1:8080\"}}]\n\
             identity: {{headers: {{X-User-ID: {{from: subject}}, X-Issuer: {{from: issuer}}}}}}\nissuers:\n  main: {{issuer: \"{ISSUER}\", {main}}}\n  \
             partner: {{issuer: \"{PARTNER}\", {partner}}}\nroutes:\n{routes}"
        )
    }
}

/// A configuration and a change of it: of one part, or of all.
fn pair() -> impl Strategy<Value = (Parts, Parts)> {
    let parts = || {
        (issuer(), issuer(), prop::collection::vec(route(), 1..5))
            .prop_map(|(main, partner, routes)| Parts { issuers: [main, partner], routes })
    };
    (parts(), parts(), 0..9_usize, any::<Index>(), any::<bool>()).prop_map(|(old, other, what, which, is_reversed)| {
        let mut new = old.clone();
        let number = which.index(old.routes.len());
        let route = &mut new.routes[number];
        match what {
            0 => new = other,
            1 => new.issuers[0] = other.issuers[0].clone(),
            2 => new.routes.push(other.routes[0].clone()),
            3 => drop(new.routes.remove(number)),
            4 => new.routes.insert(0, other.routes[0].clone()),
            5 => route.auth = other.routes[0].auth,
            6 => route.issuers = other.routes[0].issuers,
            7 => route.parts.clone_from(&other.routes[0].parts),
            _ => route.addresses = other.routes[0].addresses,
        }
        if is_reversed { (new, old) } else { (old, new) }
    })
}

/// A token that meets most rules, but for some of its claims.
fn almost_good() -> impl Strategy<Value = Value> {
    let members = ["scope", "roles", "aud", "sub", "acr", "auth_time", "c", "d"];
    (claims(), subsequence(members.to_vec(), 0..4), any::<bool>(), 1_i64..12_000).prop_map(
        |(others, changed, is_partners, lifetime)| {
            let mut claims = json!({
                "scope": "a b", "roles": ["a", "b"], "aud": [AUDIENCE, "https://orders.test"], "sub": "u1", "acr": "gold",
                "auth_time": T, "c": ["x", 1], "d": {"e": 1}, "exp": T - 60 + lifetime,
                "iss": if is_partners { PARTNER } else { ISSUER },
            });
            for name in changed {
                claims[name] = others[name].clone();
            }
            claims
        },
    )
}

/// All requests with each of these tokens and with none: what becomes of them.
fn decisions(keeper: &Gatekeeper, tokens: &[String], at: i64) -> Vec<(String, String)> {
    let tokens: Vec<Option<&str>> = tokens.iter().map(|token| Some(token.as_str())).chain([None]).collect();
    let mut found = Vec::new();
    for path in PATHS {
        for method in METHODS {
            for client in CLIENTS {
                for (number, token) in tokens.iter().enumerate() {
                    let client: IpAddr = client.parse().unwrap();
                    let ask = Ask { method, path: path.to_owned(), claims: None, client: Some(client), at };
                    let decision = told(keeper, &judge_token(keeper, &ask, *token));
                    found.push((format!("{method} {path} of {client} with token {number}"), decision));
                }
            }
        }
    }
    found
}

/// Values of the claims that rules ask for, one of which tells a rule from a stricter one.
fn telling_claims() -> Vec<Value> {
    let of = |name: &'static str, values: Vec<Value>| values.into_iter().map(move |value| json!({name: value}));
    let values = ["x", "xy", "1"].map(Value::from).into_iter();
    let of_c = values.chain([json!(1), json!(true), json!(["x", 1]), json!([true]), json!([]), json!({}), Value::Null]);
    of("scope", vec![json!("a"), json!("b"), json!("a b"), Value::Null])
        .chain(of("roles", vec![json!(["a"]), json!(["b"]), json!(["a", "b"]), Value::Null]))
        .chain(of("acr", vec![json!("gold"), json!("silver"), Value::Null]))
        .chain(of("auth_time", vec![json!(T), json!(T - 120), json!(T - 200), Value::Null]))
        .chain(of("d", vec![json!({"e": 1}), json!({}), Value::Null]))
        .chain(of("c", of_c.collect()))
        .collect()
}

#[test]
fn a_stricter_rule_is_told_as_such_and_the_way_back_as_looser() {
    let with = |part: &'static str| {
        let route = Route {
            matcher: "path_prefix: /".to_owned(),
            auth: "",
            issuers: "[main]",
            parts: vec![part],
            addresses: "",
        };
        let issuer = format!("audiences: [\"{AUDIENCE}\"], keys: {{jwks_file: keys.json}}, roles: roles");
        Parts { issuers: [issuer.clone(), issuer], routes: vec![route] }.text()
    };
    let tokens: Vec<String> = telling_claims().iter().map(token).collect();
    for (loose, strict) in STRICTER {
        let (before, after) = (with(loose), with(strict));
        let differ = decisions(&keeper(&before, 0), &tokens, 0)
            .into_iter()
            .zip(decisions(&keeper(&after, 0), &tokens, 0))
            .any(|((_, before), (_, after))| passes(&before) && !passes(&after));
        assert!(differ, "no token tells {loose} from {strict}");
        let (before, after) = (load(&before).unwrap(), load(&after).unwrap());
        let directions = |one, other| compare(one, other).iter().map(|change| change.direction).collect::<Vec<_>>();
        let (there, back) = (directions(&before, &after), directions(&after, &before));
        let is_told =
            |directions: &[Direction], word| directions.contains(&word) || directions.contains(&Direction::Unclear);
        assert!(is_told(&there, Direction::Stricter), "{loose} -> {strict}: {there:?}");
        assert!(is_told(&back, Direction::Looser), "{strict} -> {loose}: {back:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_request_passes_anew_or_no_longer_without_a_word(
        (old, new) in pair(), changes in prop::collection::vec(almost_good(), 1..5), at in -90_i64..200,
    ) {
        let told_changes = match (load(&old.text()), load(&new.text())) {
            (Ok(old), Ok(new)) => compare(&old, &new),
            // Some rules cannot stand together; others are tried.
            _ => return Err(TestCaseError::reject("no configuration")),
        };
        let has = |directions: &[Direction]| told_changes.iter().any(|change| directions.contains(&change.direction));
        let tokens: Vec<String> = changes.iter().map(token).collect();
        let (before, after) = (keeper(&old.text(), 0), keeper(&new.text(), 0));
        let both = decisions(&before, &tokens, at).into_iter().zip(decisions(&after, &tokens, at));
        for ((request, before), (_, after)) in both {
            let is_told = match (passes(&before), passes(&after)) {
                (false, true) => has(&[Direction::Looser, Direction::Unclear]),
                (true, false) => has(&[Direction::Stricter, Direction::Unclear]),
                _ => true,
            };
            prop_assert!(is_told, "{}: {}, now {}; told {:?}\n{}\n{}", request, before, after, told_changes, old.text(), new.text());
        }
    }
}
