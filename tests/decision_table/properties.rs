//! What holds for all rules, tokens and moments: a stricter rule lets nothing more through, a cache changes nothing, and so
//! does the order of routes.
use proptest::{prelude::*, sample::subsequence};
use serde_json::{Map, Value, json};

use crate::support::table::{Ask, config, judge_token, keeper, token, told};

/// Parts of a rule; any of them may stand together.
pub(crate) const PARTS: &[&str] = &[
    "scopes: [a]",
    "roles: {any: [a, b]}",
    "audience: https://orders.test",
    "principal: user",
    "acr: [gold, silver]",
    "max_age: 2m",
    "claims: [{claim: c, equals: 1}]",
    "claims: {c: [1, x, true]}",
    "claims: [{claim: [d, e], exists: true}, {claim: c, exists: true}]",
    "claims: [{claim: c, prefix: x}]",
    "claims: [{claim: c, contains: x}, {claim: [d, e], exists: false}]",
];

/// Pairs of a rule and a stricter one.
pub(crate) const STRICTER: &[(&str, &str)] = &[
    ("scopes: {any: [a, b]}", "scopes: [a]"),
    ("scopes: [a]", "scopes: [a, b]"),
    ("roles: {any: [a, b]}", "roles: {any: [a]}"),
    ("roles: [a]", "roles: [b, a]"),
    ("claims: {c: [1, x]}", "claims: {c: x}"),
    ("claims: {c: x}", "claims: [{claim: c, equals: x}]"),
    ("claims: {c: [x, true]}", "claims: [{claim: c, contains_any: [x, true]}]"),
    ("claims: [{claim: c, exists: true}]", "claims: [{claim: c, in: [1, x, true]}]"),
    ("claims: [{claim: c, exists: true}]", "claims: [{claim: c, contains: 1}]"),
    ("claims: [{claim: c, prefix: x}]", "claims: [{claim: c, prefix: xy}]"),
    ("claims: [{claim: d, exists: true}]", "claims: [{claim: [d, e], exists: true}]"),
    ("acr: [gold, silver]", "acr: [gold]"),
    ("max_age: 2m", "max_age: 1m"),
];

/// A claim of any kind.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0_i64..3).prop_map(Value::from),
        Just(json!(1.0)),
        prop_oneof![Just("x"), Just("xy"), Just("a"), Just("b"), Just("gold"), Just("silver"), Just("1"), Just("")]
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(prop_oneof![Just("d".to_owned()), Just("e".to_owned())], inner, 0..2)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Changes to the claims of a good token.
pub(crate) fn claims() -> impl Strategy<Value = Value> {
    let often = |usual: Vec<Value>| prop_oneof![3 => prop::sample::select(usual), 1 => value()];
    let change = (
        often(vec![json!("a"), json!("a b"), json!("b"), Value::Null]),
        often(vec![json!(["a"]), json!(["a", "b"]), json!(["b"]), json!("a"), Value::Null]),
        often(vec![
            json!("https://api.test"),
            json!(["https://api.test", "https://orders.test"]),
            json!("https://orders.test"),
        ]),
        often(vec![json!("u1"), json!("c1")]),
        often(vec![json!("gold"), json!("silver"), Value::Null]),
        often(vec![json!(1_767_225_600), json!(1_767_225_540), json!(1_767_225_500), json!("1767225600")]),
        often(vec![json!(1), json!("x"), json!("xy"), json!(["x", 1]), json!([true]), Value::Null]),
        often(vec![json!({"e": 1}), json!({}), Value::Null]),
    );
    change.prop_map(|(scope, roles, aud, sub, acr, auth_time, c, d)| {
        json!({"scope": scope, "roles": roles, "aud": aud, "sub": sub, "acr": acr, "auth_time": auth_time, "c": c, "d": d})
    })
}

/// One rule of several parts; of parts with the same name the last counts.
pub(crate) fn rule(parts: &[&str]) -> String {
    let mut named: Vec<(&str, &str)> = Vec::new();
    for part in parts {
        let name = part.split(':').next().unwrap();
        named.retain(|(other, _)| *other != name);
        named.push((name, part));
    }
    named.into_iter().map(|(_, part)| part).collect::<Vec<_>>().join(", ")
}

/// Routes `/r0`, `/r1` … with these rules.
fn routes(rules: &[String]) -> Vec<String> {
    let route = |(number, rule): (usize, &String)| {
        format!("  - {{name: r{number}, path_prefix: /r{number}, require: {{{rule}}}, respond: {{status: 204}}}}")
    };
    rules.iter().enumerate().map(route).collect()
}

fn ask(number: usize, at: i64) -> Ask {
    Ask { method: "GET", path: format!("/r{number}"), claims: None, client: None, at }
}

pub(crate) fn passes(decision: &str) -> bool {
    decision.starts_with("passes")
}

#[test]
fn the_rules_below_are_all_different_and_the_tokens_pass_some_of_them() {
    let rules: Vec<String> =
        STRICTER.iter().flat_map(|(loose, strict)| [(*loose).to_owned(), (*strict).to_owned()]).collect();
    let keeper = keeper(&config("", "", &routes(&rules).join("\n")), 0);
    let any = json!({"scope": "a b", "roles": ["a", "b"], "acr": "gold", "auth_time": 1_767_225_600, "d": {"e": 1}});
    let with = |c: Value| {
        let mut all = any.clone();
        all["c"] = c;
        token(&all)
    };
    let tokens =
        [with(json!("x")), with(json!("xy")), with(json!(["x", 1])), with(json!(1)), token(&json!({"sub": "u1"}))];
    for (number, rule) in rules.iter().enumerate() {
        let decisions =
            tokens.each_ref().map(|token| told(&keeper, &judge_token(&keeper, &ask(number, 0), Some(token))));
        assert!(decisions.iter().any(|decision| passes(decision)), "{rule}: {decisions:?}");
        assert!(decisions.iter().any(|decision| !passes(decision)), "{rule}: {decisions:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_stricter_rule_never_lets_more_through(
        some in subsequence(PARTS, 0..4), more in subsequence(PARTS, 1..4), tokens in prop::collection::vec(claims(), 1..4),
        at in -90_i64..200,
    ) {
        // More parts are stricter; so is each of the pairs. Parts with one name would replace each other, not add.
        let name = |part: &&str| part.split(':').next().unwrap().to_owned();
        let taken: Vec<String> = some.iter().map(name).collect();
        let added: Vec<&str> = some.iter().copied().chain(more.into_iter().filter(|part| !taken.contains(&name(part)))).collect();
        let mut rules = vec![if some.is_empty() { "scopes: {any: [a, b]}".to_owned() } else { rule(&some) }];
        rules.push(if some.is_empty() { rule(&[&added[..], &["scopes: [a]"]].concat()) } else { rule(&added) });
        for (loose, strict) in STRICTER {
            rules.push((*loose).to_owned());
            rules.push((*strict).to_owned());
        }
        let keeper = keeper(&config("", "", &routes(&rules).join("\n")), 0);
        for changes in &tokens {
            let token = token(changes);
            let decide = |number| told(&keeper, &judge_token(&keeper, &ask(number, at), Some(&token)));
            for (pair, rules) in rules.chunks(2).enumerate() {
                let (loose, strict) = (decide(2 * pair), decide(2 * pair + 1));
                prop_assert!(passes(&loose) || !passes(&strict), "{:?} {}: {}, but {}", rules, changes, loose, strict);
            }
        }
    }

    #[test]
    fn neither_cache_nor_order_of_routes_changes_a_decision(
        rules in prop::collection::vec(subsequence(PARTS, 1..5), 2..6), tokens in prop::collection::vec(claims(), 1..4),
        moments in prop::collection::vec(-90_i64..4000, 1..4), entries in 1_usize..4, turn in 0_usize..6,
    ) {
        let rules: Vec<String> = rules.iter().map(|parts| rule(parts)).collect();
        let mut lines = routes(&rules);
        let uncached = keeper(&config("", "", &lines.join("\n")), 0);
        let cached = keeper(&config("", "", &lines.join("\n")), entries);
        let turned_by = turn % lines.len();
        lines.rotate_left(turned_by);
        let turned = keeper(&config("", "", &lines.join("\n")), 100);
        let tokens: Vec<String> = tokens.iter().map(token).collect();
        for at in moments {
            for token in &tokens {
                for number in 0..rules.len() {
                    let decide = |keeper| told(keeper, &judge_token(keeper, &ask(number, at), Some(token)));
                    let expected = decide(&uncached);
                    prop_assert_eq!(&decide(&cached), &expected);
                    prop_assert_eq!(&decide(&turned), &expected);
                }
            }
        }
    }
}
