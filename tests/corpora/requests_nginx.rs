//! Whole requests of an nginx module's tests: each location's directives are read as the rules of one route.
use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use portcullis::gate::{
    algorithm::{Algorithm, Algorithms, KeyType},
    issuer::Issuer,
    keys::KeySet,
    route::Authentication,
    sources::TokenSource,
};
use serde_json::Value;

use super::{
    case::text,
    trial::{Trial, Verdict, algorithms_named, algorithms_of_a_file, decide, header, issuer},
};
use crate::support::corpora;

/// Before these tokens end, in 2030.
const NOW: i64 = 1_700_000_000;
/// `iss` of the module's tokens.
const ISSUER: &str = "issuer";
/// What a location says when the token is in a cookie; such a source comes with checks against forged requests, and is not there yet.
const IN_A_COOKIE: &str = "auth_jwt_location COOKIE";

/// Requests on which portcullis says something else than the module: the end of the name, what it says, why.
const DIFFERENCES: &[(&str, &str, &str)] = &[
    ("Authorization header missing Bearer, should return 200", "token_missing", "RFC 6750 §2.1: the scheme is written"),
    ("custom header with bearer, returns 200", "token_malformed", "the whole value of a token header is the token"),
    ("single claim as var with no JWT, auth jwt enabled", "token_missing", "a route asks for a token or it does not"),
    ("supports variable (off)", "token_missing", "whether a token is needed is never up to a header of the client"),
    (
        "RS384 algorithm via file and valid JWT in Authorization header, returns 200",
        "algorithm_not_allowed",
        "RFC 8725 §3.1",
    ),
    (
        "RS512 algorithm via file and valid JWT in Authorization header, returns 200",
        "algorithm_not_allowed",
        "RFC 8725 §3.1",
    ),
];

#[test]
fn requests_of_the_nginx_module_are_judged_as_there_or_more_strictly() {
    let Some(folder) = corpora::folder("the requests of the nginx module") else { return };
    let document = corpora::json(&folder, "teslagov_nginx/request_cases.json");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut faults = Vec::new();
    for case in document["cases"].as_array().unwrap() {
        let name = text(&case["name"]);
        let directives = text(&document["locations"][text(&case["location"])]);
        let verdict = verdict_of(&document, case, directives);
        match class_of(name, case, directives, &verdict) {
            Some(class) => *counts.entry(class).or_default() += 1,
            None => faults.push(format!("{name}: {verdict:?}, there {}", case["status"])),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let expected = [
        ("another verdict, by name", DIFFERENCES.len()),
        ("passes", 28),
        ("refused", 14),
        ("refused with its key: P-521", 2),
        ("refused with its key: the secret is too short", 2),
        ("the token is in a cookie, where none is looked for", 7),
    ];
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), expected);
}

fn class_of(name: &str, case: &Value, directives: &str, verdict: &Verdict) -> Option<&'static str> {
    let label = verdict.label();
    if let Some(row) = DIFFERENCES.iter().find(|row| name.ends_with(row.0)) {
        return (label == row.1).then_some("another verdict, by name");
    }
    if directives.contains("ES512") || directives.contains("auth_jwt_key \"-----BEGIN PUBLIC KEY-----\nMIGbMBA") {
        return (label == "key").then_some("refused with its key: P-521");
    }
    if directives.contains("HS384") || directives.contains("HS512") {
        return (label == "key").then_some("refused with its key: the secret is too short");
    }
    if directives.contains(IN_A_COOKIE) && text(&case["curl_opts"]).contains("--cookie") {
        return (label == "token_missing").then_some("the token is in a cookie, where none is looked for");
    }
    // A redirect to a login page is a refusal; without a status the suite looks at what a good token's claims turn into, or at
    // where the login page is.
    let should_pass = match case["status"].as_u64() {
        Some(200 | 301) => true,
        Some(302 | 401) => false,
        None => text(&case["curl_opts"]).contains("Authorization"),
        Some(other) => panic!("{name}: {other}"),
    };
    match verdict {
        Verdict::Passes(_) if should_pass => Some("passes"),
        Verdict::Refused(401, _) if !should_pass => Some("refused"),
        Verdict::Passes(_) | Verdict::Refused(..) | Verdict::KeyRefused(_) => None,
    }
}

fn verdict_of(document: &Value, case: &Value, directives: &str) -> Verdict {
    let algorithms = match directive(directives, "auth_jwt_algorithm") {
        // The module's default.
        None if !directives.contains("BEGIN PUBLIC KEY") => algorithms_named(["HS256"]),
        None => algorithms_of_a_file("RS256"),
        Some(name) => algorithms_named([name]),
    };
    let keys = match key_of(document, directives, algorithms) {
        Ok(keys) => keys,
        Err(fault) => return Verdict::KeyRefused(fault),
    };
    let required = if directives.contains("auth_jwt_validate_sub on") || directives.contains("$jwt_claim_sub = ") {
        vec!["sub".into()]
    } else {
        Vec::new()
    };
    let rules = Issuer { required_claims: required, ..issuer(ISSUER, algorithms) };
    let mut trial = Trial::of(vec![(rules, keys.into())]);
    let route = &mut trial.routes[0];
    if !(directives.contains("auth_jwt_enabled on") || directives.contains("auth_jwt_enabled $")) {
        route.authentication = Authentication::Public;
    }
    if directives.contains("HEADER=Auth-Token") {
        route.token_sources = vec![header("auth-token")];
    } else {
        route.token_sources = vec![TokenSource::Authorization];
    }
    decide(&trial.gatekeeper(), "GET", text(&case["path"]), &lines_of(text(&case["curl_opts"])), NOW)
}

fn key_of(document: &Value, directives: &str, algorithms: Algorithms) -> Result<KeySet, String> {
    if algorithms.is_empty() {
        return Err("no algorithm".to_owned());
    }
    let of_secrets = algorithms.iter().all(|algorithm| algorithm.key_type() == KeyType::Secret);
    let keys = if of_secrets {
        let digits = text(&document["default_hex_secret"]);
        let byte = |position| u8::from_str_radix(&digits[position..position + 2], 16).unwrap();
        KeySet::from_secret(&(0..digits.len()).step_by(2).map(byte).collect::<Vec<u8>>(), algorithms)
    } else if let Some((_, key)) = directives.split_once("auth_jwt_key \"") {
        KeySet::from_public_key_pem(key.split('"').next().unwrap().as_bytes(), algorithms)
    } else {
        KeySet::from_public_key_pem(key_file(document, algorithms).as_bytes(), algorithms)
    };
    keys.map_err(|fault| fault.to_string())
}

/// The key file of an algorithm: the suite's other locations have the same keys inline.
fn key_file(document: &Value, algorithms: Algorithms) -> String {
    let kind = if algorithms.contains(Algorithm::ES256) {
        "es256"
    } else if algorithms.contains(Algorithm::ES384) {
        "es384"
    } else {
        "rs256"
    };
    let location = text(&document["locations"][format!("/secure/auth-header/{kind}")]);
    let (_, key) = location.split_once("auth_jwt_key \"").unwrap();
    let pem = key.split('"').next().unwrap();
    let body: String = pem.lines().filter(|line| !line.contains("-----")).collect();
    STANDARD.decode(body).expect("a key in PEM");
    pem.to_owned()
}

/// The value of a directive.
fn directive<'d>(directives: &'d str, name: &str) -> Option<&'d str> {
    let (_, rest) = directives.split_once(&format!("{name} "))?;
    rest.split(';').next()
}

/// The header lines that these options of curl make.
fn lines_of(options: &str) -> Vec<(String, String)> {
    let value = |rest: &str| rest.trim_matches([' ', '"']).to_owned();
    match (options.split_once("--header "), options.split_once("--cookie ")) {
        (Some((_, line)), None) => {
            let line = value(line);
            let (name, value) = line.split_once(':').unwrap();
            vec![(name.to_owned(), value.trim().to_owned())]
        }
        (None, Some((_, cookie))) => vec![("Cookie".to_owned(), value(cookie))],
        (None, None) => Vec::new(),
        (Some(_), Some(_)) => panic!("a header and a cookie"),
    }
}
