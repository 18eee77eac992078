//! Whole requests of Istio's tests: optional and required tokens, several places, hosts, and keys that cannot be had.
use std::collections::BTreeMap;

use portcullis::gate::{
    algorithm::Algorithms,
    issuer::{ClaimPath, Issuer, ScopesPlace},
    keys::KeySet,
    policy::{Names, Requirement},
    route::{Authentication, HostPattern, PathPattern, Route},
    sources::TokenSource,
};
use serde_json::Value;

use super::{
    case::text,
    requests_envoy::header_lines,
    trial::{Keys, Trial, Verdict, decide, header, issuer, parameter, route},
};
use crate::support::corpora;

/// The suite names no time. This one is after the end of its expired token, and within ten years of the end of the others, in 2119.
const NOW: i64 = 4_715_780_000;

/// Requests on which portcullis says something else than Istio: group, name, what it says, why.
const DIFFERENCES: &[(&str, &str, &str, &str)] = &[
    (
        "authn-only",
        "expired-token-cors-preflight-request-allowed",
        "token_expired",
        "a bad token is refused whatever the method; preflights that carry none pass where a route says so",
    ),
    ("authn-authz", "no-token", "token_missing", "401: another token would cure it"),
    ("invalid-jwks", "valid-token", "keys_unavailable", "503: it is not the client's trouble"),
    ("invalid-jwks", "expired", "keys_unavailable", "503, before the token's claims are looked at"),
    ("timeout", "valid token, JWKS fetch times out", "keys_unavailable", "503"),
    ("headers-params", "invalid-params", "token_missing", "401: no token is where one is looked for"),
    ("headers-params", "valid-token-set", "token_repeated", "one token, or it is unclear whose request it is"),
    ("headers-params", "invalid-token-set", "token_repeated", "400, whatever they are"),
    ("headers-params", "valid-header", "token_malformed", "the whole value of a token header is the token: no prefix"),
    ("headers-params", "valid-header-secondary", "token_malformed", "the whole value of a token header is the token"),
    ("headers-params", "invalid-header", "token_missing", "401: no token is where one is looked for"),
    ("ingress", "deny without token", "token_missing", "401: a token would cure it"),
    ("ingress", "deny without token on any.com", "token_missing", "401: a token would cure it"),
    ("ingress", "deny with token on other host", "route_not_found", "404: there is no such host"),
];

#[test]
fn requests_of_istio_are_judged_as_there_or_more_strictly() {
    let Some(folder) = corpora::folder("the requests of Istio") else { return };
    let document = corpora::json(&folder, "istio/request_cases.json");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut faults = Vec::new();
    for case in document["cases"].as_array().unwrap() {
        let (group, name) = (text(&case["group"]), text(&case["name"]));
        let (method, path) = (text(&case["method"]), text(&case["path"]));
        let verdict = decide(&trial(&document, group).gatekeeper(), method, path, &header_lines(case), NOW);
        let difference = DIFFERENCES.iter().find(|row| (row.0, row.1) == (group, name));
        let class = match (difference, case["status"].as_u64().unwrap(), &verdict) {
            (Some(row), _, verdict) if verdict.label() == row.2 => "another verdict, by name",
            (None, 200, Verdict::Passes(_)) => "passes",
            (None, status, Verdict::Refused(ours, _)) if u64::from(*ours) == status => "refused with the same status",
            _ => {
                faults.push(format!("{group}, {name}: {verdict:?}, there {}", case["status"]));
                continue;
            }
        };
        *counts.entry(class).or_default() += 1;
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let expected =
        [("another verdict, by name", DIFFERENCES.len()), ("passes", 11), ("refused with the same status", 5)];
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), expected);
}

fn trial(document: &Value, group: &str) -> Trial {
    let algorithms = Algorithms::asymmetric();
    let set = document["jwks"].to_string();
    let keys = || KeySet::parse(set.as_bytes(), algorithms).unwrap().into();
    let never = || Keys::NeverFetched;
    let of_issuer = |name: &str| Issuer {
        // The scopes of these tokens are not asked for, so a route can ask for their subject under that name.
        scopes: ScopesPlace::Claim(ClaimPath::top("sub")),
        ..issuer(name, algorithms)
    };
    let [first, second] = ["test-issuer-1@istio.io", "test-issuer-2@istio.io"].map(of_issuer);
    let optional = Route { authentication: Authentication::Optional, ..route("/", 2) };
    let of_first_subject = || {
        let scopes = Some(Names::All(vec!["sub-1".into()]));
        Route { requirement: Requirement { scopes, ..Requirement::default() }, ..route("/", 1) }
    };
    let (issuers, routes) = match group {
        "authn-only" => (vec![(first, keys()), (second, keys())], vec![optional]),
        "authn-authz" => (vec![(first, keys())], vec![of_first_subject()]),
        "invalid-jwks" | "timeout" => (vec![(first, never()), (second, never())], vec![optional]),
        "headers-params" => {
            let mut route = of_first_subject();
            route.token_sources =
                vec![header("x-jwt-token"), header("auth-token"), parameter("token"), parameter("secondary_token")];
            (vec![(first, keys())], vec![route])
        }
        "ingress" => (vec![(first, keys()), (second, keys())], routes_of_the_ingress(of_first_subject())),
        other => panic!("the group {other}"),
    };
    Trial { issuers, routes }
}

fn routes_of_the_ingress(of_first_subject: Route) -> Vec<Route> {
    let host = |name: &str| vec![HostPattern::Exact(name.into())];
    let open = Route {
        name: "open".into(),
        path: PathPattern::Exact("/healthz".into()),
        authentication: Authentication::Public,
        token_sources: Vec::<TokenSource>::new(),
        ..route("/", 0)
    };
    let both = route("/", 2);
    vec![
        Route { hosts: host("example.svc.com"), ..open },
        Route { hosts: host("example.svc.com"), issuers: both.issuers.clone(), ..of_first_subject },
        Route { name: "any".into(), hosts: host("any-request-principal-ok.svc.com"), ..both },
    ]
}
