//! What `rate_limit` means, what is wrong with it, and what is said of limits that count other than one might think.
use super::*;
use crate::config::error::Severity;

const ROUTE: &str = "  - {name: orders, path_prefix: /orders, upstream: orders}";

fn limited(limits: &str) -> Loaded {
    load(&changed(&[(ROUTE, &format!("  - {{name: a, path: /a, {limits}, upstream: orders}}"))]))
}

fn told(loaded: &Loaded, wanted: Severity) -> Vec<String> {
    let problems = loaded.problems.sorted().into_iter().filter(|problem| problem.severity == wanted);
    problems.map(|problem| problem.message.clone()).collect()
}

#[test]
fn a_limit_says_requests_time_and_by_what_and_a_bucket_holds_as_many_unless_it_says_so() {
    for (limits, expected) in [
        ("rate_limit: {requests: 5, per: 1s, by: subject}", &["5 requests per 1s by subject, 5 at once"][..]),
        ("rate_limit: {requests: 1, per: 1d, burst: 31, by: token}", &["1 request per 1d by token, 31 at once"]),
        (
            "rate_limit: [{requests: 9, per: 90s, burst: 1, by: address}, {requests: 9, per: 2h, by: issuer}]",
            &["9 requests per 90s by address, 1 at once", "9 requests per 2h by issuer, 9 at once"],
        ),
        ("rate_limit: none", &[]),
        ("rate_limit: off", &[]),
        ("timeout: 1s", &[]),
    ] {
        let loaded = limited(limits);
        let config = loaded.config.as_ref().unwrap_or_else(|| panic!("{limits}: {}", loaded.problems.render()));
        let routes = config.live.ruleset.routes.routes();
        let found: Vec<String> = routes[0].rate_limits.limits().iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{limits}");
        assert!(told(&loaded, Severity::Warning).is_empty(), "{limits}");
    }
}

#[test]
fn every_mistake_in_a_limit_is_said_at_once() {
    let nine = ["{requests: 1, per: 1s, by: subject}"; 9].join(", ");
    for (limits, expected) in [
        ("rate_limit: {}", &["`requests` is missing", "`per` is missing", "`by` is missing"][..]),
        ("rate_limit: []", &["`rate_limit` must not be empty"]),
        ("rate_limit: 5", &["`rate_limit` must be a mapping, not `5`"]),
        (
            "rate_limit: {requests: 0, per: 0s, burst: 0, by: ip}",
            &[
                "`requests` must be a whole number from 1 to 1000000, not `0`",
                "`per` must be from 1s to 24h, not `0s`",
                "`burst` must be a whole number from 1 to 1000000, not `0`",
                "`by` must be `address`, `subject`, `token` or `issuer`, not `ip`",
            ],
        ),
        (
            "rate_limit: {requests: 1000001, per: 2d, by: subject, in: 1s}",
            &[
                "`requests` must be a whole number from 1 to 1000000, not `1000001`",
                "`per` must be from 1s to 24h, not `2d`",
                "unknown key `in`",
            ],
        ),
        (
            "rate_limit: {requests: 1, per: 1d, burst: 32, by: subject}",
            &["an empty bucket would take 32d to hold so many requests again; at most 31d are allowed"],
        ),
        (
            "rate_limit: [{requests: 1, per: 1s, by: token}, {by: token, per: 1s, burst: 1, requests: 1}]",
            &["this limit is there twice"],
        ),
        (
            "auth: none, rate_limit: {requests: 1, per: 1s, by: token}",
            &["nobody could be counted by token: `auth` is `none` here"],
        ),
        (
            &format!("rate_limit: [{nine}]"),
            &[
                "a route has at most 8 limits; these are 9",
                "this limit is there twice",
                "this limit is there twice",
                "this limit is there twice",
                "this limit is there twice",
                "this limit is there twice",
                "this limit is there twice",
                "this limit is there twice",
                "this limit is there twice",
            ],
        ),
    ] {
        let loaded = limited(limits);
        assert_eq!(told(&loaded, Severity::Error), expected, "{limits}");
    }
}

#[test]
fn limits_that_count_some_requests_by_address_are_named() {
    for (limits, expected) in [
        (
            "auth: optional, rate_limit: {requests: 1, per: 1s, by: subject}",
            &[
                "on the route `a` the limit by subject counts requests without identity by their address: `auth` is `optional` there",
            ][..],
        ),
        (
            "insecure_observe_authentication: true, rate_limit: {requests: 1, per: 1s, by: issuer}",
            &[
                "on the route `a` the limit by issuer counts requests without identity by their address: authentication is only observed there",
            ],
        ),
        ("auth: optional, rate_limit: {requests: 1, per: 1s, by: address}", &[]),
    ] {
        let loaded = limited(limits);
        let found = told(&loaded, Severity::Warning);
        let found: Vec<&String> = found.iter().filter(|message| message.contains("limit")).collect();
        assert_eq!(found, expected, "{limits}");
    }
    let defaults = "route_defaults: {rate_limit: {requests: 1, per: 1s, by: subject}}\nroutes:";
    let loaded =
        load(&changed(&[("routes:", defaults), (ROUTE, "  - {name: a, path: /a, auth: none, upstream: orders}")]));
    assert_eq!(
        told(&loaded, Severity::Warning)[0],
        "on the route `a` the limit by subject counts requests without identity by their address: `auth` is `none` there"
    );
}
