//! What `require`, `observe`, `addresses` and `route_defaults` mean, and what is said of rules that never come true.
use std::time::Duration;

use super::*;
use crate::config::error::Severity;
use crate::gate::condition::Condition;
use crate::gate::policy::{Names, Principal};
use crate::gate::route::{Authentication, Route};

const ROUTE: &str = "  - {name: orders, path_prefix: /orders, upstream: orders}";
const ROLES: &str = "    roles: roles\n";

/// A route of its `require`.
fn requiring(requirement: &str) -> Config {
    config(&[(ROUTE, &format!("  - {{path: /a, require: {requirement}, upstream: orders}}"))])
}

fn routes(config: &Config) -> &[Route] {
    config.live.ruleset.routes.routes()
}

/// The warnings about a configuration that is right.
fn warnings(changes: &[(&str, &str)]) -> Vec<String> {
    let loaded = load(&changed(changes));
    assert!(loaded.config.is_some(), "{}", loaded.problems.render());
    let warnings = loaded.problems.sorted().into_iter().filter(|problem| problem.severity == Severity::Warning);
    warnings.map(|problem| problem.message.clone()).collect()
}

#[test]
fn each_form_of_a_claim_is_its_condition() {
    for (claims, expected) in [
        ("{a: b}", "a is or contains b"),
        ("{a.b: true, c: [1, '1']}", "a.b is or contains true; c is or contains one of 1, 1"),
        ("[{claim: a, equals: 0}]", "a is 0"),
        ("[{claim: [a, b], in: [c, d]}]", "a.b is one of c, d"),
        ("[{claim: a, contains: b}, {claim: a, contains_any: [c, false]}]", "a contains b; a contains one of c, false"),
        ("[{claim: a, exists: true}, {claim: b, exists: false}]", "a is there; b is not there"),
        ("[{claim: [a], prefix: b}, {claim: a, suffix: c}]", "a begins with b; a ends with c"),
    ] {
        let config = requiring(&format!("{{claims: {claims}}}"));
        let shown: Vec<String> = routes(&config)[0].requirement.conditions().map(Condition::to_string).collect();
        assert_eq!(shown.join("; "), expected, "{claims}");
    }
}

#[test]
fn a_requirement_says_all_that_it_can_say() {
    let config =
        requiring("{scopes: [a], roles: {any: [b]}, audience: c, principal: client, acr: [gold, silver], max_age: 5m}");
    let requirement = &routes(&config)[0].requirement;
    assert_eq!(requirement.scopes, Some(Names::All(vec!["a".into()])));
    assert_eq!(requirement.roles, Some(Names::Any(vec!["b".into()])));
    assert_eq!(requirement.principal, Some(Principal::Client));
    let step_up = requirement.step_up.as_ref().unwrap();
    assert_eq!((&*step_up.acr_values, step_up.max_age), ("gold silver", Some(Duration::from_secs(300))));
    let conditions: Vec<String> = requirement.conditions().map(Condition::to_string).collect();
    assert_eq!(conditions, ["the audience c", "acr is one of gold, silver"]);
}

#[test]
fn an_issuer_and_a_rule_on_trial_require_in_the_same_words() {
    let config = config(&[
        (ROLES, "    roles: roles\n    require: {claims: {token_use: access}}\n"),
        (ROUTE, "  - {path: /a, require: {scopes: [a]}, observe: {require: {roles: [b]}}, upstream: orders}"),
    ]);
    let issuer = &config.live.ruleset.issuers[0].requirement;
    assert_eq!(issuer.conditions().map(Condition::to_string).collect::<Vec<_>>(), ["token_use is or contains access"]);
    let route = &routes(&config)[0];
    assert!(route.requirement.roles.is_none() && !route.observes_authentication);
    assert_eq!(route.observed.as_ref().unwrap().roles, Some(Names::All(vec!["b".into()])));
}

#[test]
fn a_route_takes_from_the_defaults_what_it_does_not_say() {
    let config = config(&[
        (
            "routes:",
            "route_defaults: {auth: optional, require: {scopes: [a], roles: [b]}, addresses: {deny: [10.0.0.0/8]}, \
             upstream: orders, timeout: 5s, rewrite: {strip_prefix: /orders}, observe: {require: {scopes: [c]}}}\nroutes:",
        ),
        (
            ROUTE,
            "  - {name: orders, path_prefix: /orders}
  - {name: own, path_prefix: /orders/own, auth: required, require: {scopes: [z]}, timeout: none, addresses: {}}
  - {name: public, path: /public, auth: none, respond: {status: 204}}",
        ),
    ]);
    let [orders, own, public] = routes(&config) else { panic!("three routes") };
    assert_eq!(orders.authentication, Authentication::Optional);
    assert_eq!(orders.requirement.scopes, Some(Names::All(vec!["a".into()])));
    assert_eq!((orders.timeout, orders.addresses.deny.len()), (Some(Duration::from_secs(5)), 1));
    assert_eq!(orders.rewrite.strip_prefix.as_deref(), Some("/orders"));
    assert!(orders.observed.is_some());
    assert_eq!(own.authentication, Authentication::Required);
    assert_eq!(own.requirement.scopes, Some(Names::All(vec!["z".into()])));
    assert!(own.requirement.roles.is_none(), "a key is replaced as a whole");
    assert!(own.timeout.is_none() && own.addresses.deny.is_empty());
    assert_eq!(public.authentication, Authentication::Public);
    assert!(public.observed.is_none() && public.requirement.scopes.is_none());
    assert_eq!(public.addresses.deny.len(), 1, "what needs no token holds on public routes too");
    assert!(public.rewrite.strip_prefix.is_none());
}

#[test]
fn what_no_token_could_meet_is_said_and_nothing_else() {
    let second = "  second: {issuer: https://b.test, audiences: [api], keys: {jwks_file: keys.json}}\nidentity:";
    let told = ("{from: subject}}", "{from: subject}, X-Issuer: {from: issuer}}");
    for (claims, is_impossible) in [
        ("{iss: 'https://c.test'}", true),
        // One of the two issuers could.
        ("{iss: 'https://b.test'}", false),
        ("{a: b, c: d}", false),
        ("[{claim: sub, exists: false}]", true),
        ("[{claim: aud, exists: false}]", true),
        ("[{claim: jti, exists: false}]", false),
        ("[{claim: a, equals: b}, {claim: a, equals: c}]", true),
        ("[{claim: a, equals: b}, {claim: a, in: [b, c]}]", false),
        ("[{claim: a, equals: b}, {claim: a, contains: b}]", true),
        ("[{claim: a, contains: b}, {claim: a, contains: c}]", false),
        ("[{claim: a, prefix: b}, {claim: a, equals: c}]", true),
        ("[{claim: a, prefix: b}, {claim: a, suffix: c}]", false),
        ("[{claim: a, prefix: b}, {claim: a, prefix: bc}]", false),
        ("[{claim: a, prefix: b}, {claim: a, prefix: c}]", true),
        ("[{claim: a, exists: false}, {claim: a, equals: c}]", true),
        ("[{claim: a, exists: false}, {claim: [a, b], equals: c}]", false),
        ("[{claim: a, exists: true}, {claim: a, contains: c}]", false),
    ] {
        let route = format!(
            "  - {{path: /a, issuers: [main, second], require: {{claims: {claims}}}, observe: {{require: {{scopes: [a]}}}}, upstream: orders}}"
        );
        let found = warnings(&[("identity:", second), told, (ROUTE, &route)]);
        let impossible = found.iter().filter(|message| message.starts_with("no token could meet this: ")).count();
        // Said of the rule, and of the rule on trial beside it.
        assert_eq!(impossible, if is_impossible { 2 } else { 0 }, "{claims}: {found:?}");
    }
}

#[test]
fn requirements_of_issuer_route_and_trial_are_seen_together() {
    let issuer = |require: &str| format!("    roles: roles\n    require: {require}\n");
    let route = |require: &str| format!("  - {{path: /a, require: {require}, upstream: orders}}");
    for (of_issuer, of_route, expected) in [
        (
            "{principal: user}",
            "{principal: client}",
            &["no token could meet this: a token of a user is not a client's own"][..],
        ),
        ("{principal: user}", "{principal: user}", &[]),
        (
            "{claims: [{claim: use, equals: access}]}",
            "{claims: {use: id}}",
            &["no token could meet this: use is access, and use is or contains id"],
        ),
        ("{claims: {use: access}}", "{claims: {use: id}}", &[]),
        ("{acr: [gold]}", "{acr: [gold, silver]}", &[]),
        ("{acr: [gold]}", "{acr: [silver]}", &["no token could meet this: acr is gold, and acr is silver"]),
    ] {
        let found = warnings(&[(ROLES, &issuer(of_issuer)), (ROUTE, &route(of_route))]);
        assert_eq!(found, expected, "{of_issuer} {of_route}");
    }
    let found = warnings(&[(ROLES, &issuer("{claims: [{claim: iss, prefix: 'http:'}]}"))]);
    assert_eq!(found, ["no token could meet this: iss is https://a.test, and iss begins with http:"]);
}

#[test]
fn a_route_that_nothing_reaches_is_named_and_no_other() {
    let exact = "paths: {case: exact, trailing_slash: exact}";
    let unreached = |name: &str| {
        format!(
            "no request reaches the route `{name}`: each of its paths may be read as one of another route, and is refused"
        )
    };
    for (first, second, expected) in [
        ("path: /a", "path: /A", vec!["one", "two"]),
        ("path: /a", "path: /a/", vec!["one", "two"]),
        ("path_prefix: /a", "path_prefix: /A", vec!["one", "two"]),
        // Told apart by the upstream of the one, not by that of the other.
        (&format!("path: /a, {exact}"), "path: /A", vec!["two"]),
        (&format!("path: /a, {exact}"), &format!("path: /A, {exact}"), vec![]),
        ("path_prefix: /a", "path: /a/", vec![]),
        ("path_prefix: /a", "path: /a", vec![]),
        (&format!("path_prefix: /a, {exact}"), &format!("path: /a, {exact}"), vec![]),
        ("path_prefix: /a", "path: /a/b", vec![]),
        ("path_prefix: /a", "path_prefix: /a/b", vec![]),
        ("path_prefix: /a", "path_prefix: /b/A", vec![]),
        ("path_prefix: /", "path_prefix: /a", vec![]),
        ("path: /a, methods: [GET]", "path: /a, methods: [POST]", vec![]),
        ("path: /a, methods: [GET, POST, PUT, PATCH, DELETE, OPTIONS]", "path: /a", vec![]),
        ("path: /a, hosts: [a.test]", "path: /A, hosts: [b.test]", vec![]),
        ("path: /a, hosts: [a.test, '*.test']", "path: /A, hosts: ['*.test']", vec!["two"]),
        ("path: /a, hosts: ['*.a.test']", "path: /A, hosts: ['*.test']", vec![]),
        ("path: /a, hosts: [sample0.test]", "path: /A, hosts: ['*.test']", vec![]),
    ] {
        let routes =
            format!("  - {{name: one, {first}, upstream: orders}}\n  - {{name: two, {second}, upstream: orders}}");
        let found = warnings(&[(ROUTE, &routes)]);
        let expected: Vec<String> = expected.into_iter().map(unreached).collect();
        assert_eq!(found, expected, "{routes}");
    }
}

#[test]
fn what_only_observes_is_said_of_each_route() {
    let found = warnings(&[
        (
            ROUTE,
            "  - {path: /a, observe: {require: {scopes: [a]}}}\n  - {path: /b, insecure_observe_authentication: false}",
        ),
        ("routes:", "route_defaults: {upstream: orders, insecure_observe_authentication: true}\nroutes:"),
    ]);
    assert_eq!(
        found,
        [
            "`insecure_observe_authentication` is in force: on the route `/a` a request that would be refused for its \
         token, or for having none, passes without identity",
            "the route `/a` has a rule on trial: `observe` is logged and counted, never enforced",
        ]
    );
}
