//! Whole requests of Envoy's tests: where tokens are looked for, and what several of them come to.
use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use portcullis::gate::{
    algorithm::Algorithms,
    issuer::{Audiences, Issuer},
    keys::KeySet,
    route::{Authentication, Route},
    sources::{self, Places, TokenSource},
};
use serde_json::Value;

use super::{
    case::text,
    trial::{Keys, Trial, Verdict, decide, header, issuer, parameter, route},
};
use crate::support::corpora;

/// Within ten years of the end of these tokens, in 2033.
const NOW: i64 = 1_700_000_000;

/// The providers whose places portcullis has, too. Those with a prefix of their own inside a header (5 to 8) and those in cookies
/// (9 and 10) have no counterpart.
fn places() -> Vec<(&'static str, Vec<TokenSource>)> {
    vec![
        ("issuer1", vec![TokenSource::Authorization, parameter("access_token")]),
        ("issuer2", vec![header("token-header")]),
        ("issuer3", vec![parameter("token_param")]),
        ("issuer4", vec![header("token-header"), parameter("token_param")]),
    ]
}

/// What portcullis finds instead of Envoy's tokens: nothing but a refusal, wherever a place holds several.
const OTHER_FINDS: &[(&str, &str, &str)] = &[
    ("TestDoubleCustomHeaderToken", "issuer2", "Err(token_repeated)"),
    ("TestDoubleCustomHeaderToken", "issuer4", "Err(token_repeated)"),
    // The suite names no issuers here; all places hold a token, so those with two of them refuse.
    ("TestMultipleTokens", "issuer1", "Err(token_repeated)"),
    ("TestMultipleTokens", "issuer2", "Ok(token2)"),
    ("TestMultipleTokens", "issuer3", "Ok(token3)"),
    ("TestMultipleTokens", "issuer4", "Err(token_repeated)"),
];

#[test]
fn tokens_are_found_where_envoy_finds_them_and_never_one_of_several() {
    let Some(folder) = corpora::folder("the token places of Envoy") else { return };
    let document = corpora::json(&folder, "envoy_jwt_authn/extractor_cases.json");
    let (mut looks, mut others) = (0, 0);
    for case in document["cases"].as_array().unwrap() {
        let name = text(&case["name"]);
        let mut headers = HeaderMap::new();
        for (name, value) in header_lines(case) {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(&value).unwrap());
        }
        let query = text(&case["path"]).split_once('?').map(|(_, query)| query);
        for (issuer, places) in places() {
            let found = match sources::find(&places, Places { headers: &headers, query, is_websocket: false }) {
                Ok(None) => "nothing".to_owned(),
                Ok(Some(token)) => format!("Ok({})", token.text),
                Err(refusal) => format!("Err({})", refusal.rejection().label()),
            };
            let theirs = case["tokens"].as_array().unwrap().iter().find(|token| {
                token["issuers"].as_array().is_some_and(|issuers| issuers.iter().any(|name| name == issuer))
            });
            let theirs = theirs.map_or_else(|| "nothing".to_owned(), |token| format!("Ok({})", text(&token["token"])));
            let other = OTHER_FINDS.iter().find(|(case, place, _)| (*case, *place) == (name, issuer));
            assert_eq!(found, other.map_or(theirs.as_str(), |(.., finds)| finds), "{name}, {issuer}");
            looks += 1;
            others += usize::from(other.is_some());
        }
    }
    assert_eq!((looks, others), (56, OTHER_FINDS.len()));
}

/// Requests on which portcullis says something else than Envoy.
const DIFFERENCES: &[(&str, &str, &str)] = &[
    ("TestMultipleJWTAllGood", "token_repeated", "one token, or it is unclear whose request it is"),
    ("TestMultipleJWTOneBadAllowFails", "token_repeated", "a bad token is never as good as none"),
    ("RequiresAll/both", "token_repeated", "one token; no route asks for two"),
    ("RequiresAll/one", "-", "one good token is what a route can ask for"),
    ("RequiresAny/a", "token_malformed", "the whole value of a token header is the token: no scheme before it"),
    ("RequiresAny/b-other", "token_malformed", "the whole value of a token header is the token"),
];

#[test]
fn requests_of_envoy_are_judged_as_there_or_more_strictly() {
    let Some(folder) = corpora::folder("the requests of Envoy") else { return };
    let document = corpora::json(&folder, "envoy_jwt_authn/request_cases.json");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut faults = Vec::new();
    for case in document["cases"].as_array().unwrap() {
        let name = text(&case["name"]);
        let gatekeeper = Trial { issuers: issuers(&document), routes: vec![route_of(&case["config"])] }.gatekeeper();
        let verdict = decide(&gatekeeper, "GET", text(&case["path"]), &header_lines(case), NOW);
        let difference = DIFFERENCES.iter().find(|(case, ..)| *case == name);
        let class = match (difference, text(&case["expect"]), &verdict) {
            (Some((_, label, _)), _, verdict) if verdict.label() == *label => "another verdict, by name",
            // The scheme is compared without case (RFC 9110 §11.1).
            (None, "accept" | "unspecified", Verdict::Passes(_)) => "passes",
            (None, "reject", Verdict::Refused(400 | 401, _)) => "refused",
            _ => {
                faults.push(format!("{name}: {verdict:?}"));
                continue;
            }
        };
        *counts.entry(class).or_default() += 1;
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let expected = [("another verdict, by name", DIFFERENCES.len()), ("passes", 2), ("refused", 7)];
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_token_header_without_a_scheme_passes_where_envoy_wants_one() {
    let Some(folder) = corpora::folder("the token headers of Envoy") else { return };
    let document = corpora::json(&folder, "envoy_jwt_authn/request_cases.json");
    let mut passed = 0;
    for case in document["cases"].as_array().unwrap().iter().filter(|case| case["expect"] == "accept") {
        let stripped: Vec<(String, String)> = header_lines(case)
            .into_iter()
            .filter(|(name, _)| matches!(name.as_str(), "a" | "b"))
            .map(|(name, value)| (name, value.trim_start_matches("Bearer ").to_owned()))
            .collect();
        if !stripped.is_empty() {
            let gatekeeper =
                Trial { issuers: issuers(&document), routes: vec![route_of(&case["config"])] }.gatekeeper();
            let verdict = decide(&gatekeeper, "GET", text(&case["path"]), &stripped, NOW);
            assert!(verdict.passes(), "{}: {verdict:?}", case["name"]);
            passed += 1;
        }
    }
    assert_eq!(passed, 2);
}

fn issuers(document: &Value) -> Vec<(Issuer, Keys)> {
    let algorithms = Algorithms::asymmetric();
    let keys = || KeySet::parse(document["jwks"].to_string().as_bytes(), algorithms).unwrap().into();
    let providers = document["providers_for_requires"].as_object().unwrap();
    let of_provider = |provider: &Value| {
        let audiences = provider["audiences"].as_array().unwrap().iter().map(|name| Box::from(text(name))).collect();
        Issuer { audiences: Audiences::AnyOf(audiences), ..issuer(text(&provider["issuer"]), algorithms) }
    };
    ["example_provider", "other_provider"].map(|name| (of_provider(&providers[name]), keys())).into()
}

fn route_of(config: &Value) -> Route {
    let mut route = route("/", 1);
    route.token_sources = vec![TokenSource::Authorization, parameter("access_token")];
    if !config["requires"].is_null() {
        route.issuers = super::trial::route("/", 2).issuers;
        route.token_sources = vec![parameter("jwt_a"), parameter("jwt_b"), header("a"), header("b")];
    }
    if config["allow_missing"] == true || config["allow_failed"] == true {
        route.authentication = Authentication::Optional;
    }
    route
}

/// The header lines of a case.
pub(super) fn header_lines(case: &Value) -> Vec<(String, String)> {
    let lines = case["headers"].as_array().unwrap();
    lines.iter().map(|line| (text(&line[0]).to_owned(), text(&line[1]).to_owned())).collect()
}
