//! Rules over real sockets: what is only observed, what an address decides, what a client is told to do; and every example
//! of the page about rules.
use std::fs;

use serde_json::{Value, json};

use crate::support::{
    client::Response,
    fixture::{House, good_bearer, signing_key},
    gateway::Gateway,
    keys::SigningKey,
    problem::{challenge_parameters, check_problem},
    table::{Ask, judge, keeper, load, told},
    token::{Token, bearer, now},
    upstream::Seen,
    waiting::{PATIENCE, eventually},
};

const ROUTES: &str = r#"
  - {name: trial, path_prefix: /trial, observe: {require: {roles: [admin]}}, upstream: echo}
  - {name: both, path_prefix: /both, require: {scopes: [orders:write]}, observe: {require: {roles: [admin]}}, upstream: echo}
  - {name: open, path_prefix: /open, insecure_observe_authentication: true, upstream: echo}
  - {name: own, path_prefix: /own, insecure_observe_authentication: true, token: {forward: true, sources: [{header: Authorization}, {query: access_token}]}, upstream: echo}
  - {name: step, path_prefix: /step, require: {acr: [gold, silver], max_age: 5m}, upstream: echo}
  - {name: near, path_prefix: /near, addresses: {allow: [127.0.0.0/8], deny: [127.0.0.66]}, upstream: echo}
  - {name: far, path_prefix: /far, addresses: {allow: [10.0.0.0/8]}, upstream: echo}
"#;

fn start() -> House {
    House::start("", ROUTES)
}

fn line(gateway: &Gateway, response: &Response) -> Value {
    gateway.access_line(response.header("X-Request-Id").unwrap())
}

fn observed(gateway: &Gateway, route: &str, issuer: &str, reason: &str) -> f64 {
    let labels = [format!("route=\"{route}\""), format!("issuer=\"{issuer}\""), format!("reason=\"{reason}\"")];
    gateway.metric(|line| {
        line.starts_with("portcullis_auth_observed_total{") && labels.iter().all(|label| line.contains(label))
    })
}

#[track_caller]
fn check_observed(gateway: &Gateway, (route, issuer, reason): (&str, &str, &str), expected: f64) {
    let counted = || (observed(gateway, route, issuer, reason) == expected).then_some(());
    assert!(eventually(PATIENCE, counted).is_some(), "{route} {issuer} {reason}: not {expected}");
}

fn only(house: &House) -> Seen {
    let mut seen = house.upstream.take();
    assert_eq!(seen.len(), 1);
    seen.remove(0)
}

#[test]
fn a_rule_on_trial_is_logged_and_counted_and_the_request_keeps_its_identity() {
    let house = start();
    let gateway = &house.gateway;
    let admin = bearer(&Token::good().claim("roles", json!(["admin"])).signed_by(signing_key()));
    let response = gateway.get("/trial", &[("Authorization", &good_bearer())]);
    assert_eq!(response.status, 200);
    assert_eq!(only(&house).head.values("X-User-ID"), ["u1"]);
    let told = line(gateway, &response);
    assert_eq!(told["auth"]["result"], "allowed", "{told}");
    assert_eq!(told["auth"]["observed"], json!({"reason": "role_missing", "detail": "missing role: admin"}), "{told}");
    assert!(told["auth"].get("reason").is_none(), "nothing was refused: {told}");
    check_observed(gateway, ("trial", "main", "role_missing"), 1.0);

    let response = gateway.get("/trial", &[("Authorization", &admin)]);
    assert_eq!(response.status, 200);
    assert!(line(gateway, &response)["auth"].get("observed").is_none());
    // What is enforced comes first, and what it refuses is not observed.
    house.upstream.take();
    let response = gateway.get("/both", &[("Authorization", &good_bearer())]);
    check_problem(&response, 403, "scope_insufficient", "GET");
    assert!(house.upstream.take().is_empty());
    let told = line(gateway, &response);
    assert_eq!(told["auth"]["detail"], "missing scope: orders:write", "{told}");
    assert!(told["auth"].get("observed").is_none(), "{told}");
    check_observed(gateway, ("both", "main", "role_missing"), 0.0);
    check_observed(gateway, ("trial", "main", "role_missing"), 1.0);
}

#[test]
fn a_request_that_authentication_would_refuse_passes_as_nobody_where_that_is_only_observed() {
    let house = start();
    let gateway = &house.gateway;
    let gauge = gateway.metric(|line| line.starts_with("portcullis_routes_observing_authentication "));
    assert_eq!(gauge, 2.0);
    let expired = bearer(&Token::good().claim("exp", now() - 3600).claim("iat", now() - 7200).signed_by(signing_key()));
    let forged = bearer(&Token::good().claim("sub", "root").signed_by(&SigningKey::p256("e1")));
    let good = good_bearer();
    let forged_identity = [("X-User-ID", "root"), ("x_user_id", "root"), ("X-User-Roles", "admin")];
    for (tokens, reason, issuer) in [
        (vec![], "token_missing", "-"),
        (vec!["Bearer abc"], "token_malformed", "-"),
        (vec![expired.as_str()], "token_expired", "main"),
        (vec![forged.as_str()], "signature_invalid", "main"),
        (vec![good.as_str(), good.as_str()], "token_repeated", "-"),
    ] {
        for path in ["/open", "/own"] {
            let mut headers = forged_identity.to_vec();
            headers.extend(tokens.iter().map(|token| ("Authorization", *token)));
            let response = gateway.get(path, &headers);
            assert_eq!(response.status, 200, "{reason}: {}", response.text());
            let seen = only(&house);
            for name in ["Authorization", "X-User-ID", "x_user_id", "X-User-Roles"] {
                assert!(seen.head.values(name).is_empty(), "{reason}: {name} reached the upstream of {path}");
            }
            let told = line(gateway, &response);
            assert_eq!(told["auth"]["result"], "anonymous", "{told}");
            assert_eq!(told["auth"]["observed"]["reason"], reason, "{told}");
            check_observed(gateway, (&path[1..], issuer, reason), 1.0);
        }
    }
    // In the query, too, and where the route forwards tokens: only those that were verified.
    let token = forged.strip_prefix("Bearer ").unwrap();
    let response = gateway.get(&format!("/own?a=1&access_token={token}"), &[]);
    assert_eq!((response.status, only(&house).target()), (200, "/own?a=1"));
    assert_eq!(gateway.get("/own", &[("Authorization", &good)]).status, 200);
    let seen = only(&house);
    assert_eq!((seen.head.values("Authorization"), seen.head.values("X-User-ID")), (vec![good.as_str()], vec!["u1"]));
    // Credentials of another scheme are no token: whoever used them before goes on.
    assert_eq!(gateway.get("/open", &[("Authorization", "Basic dTpw")]).status, 200);
    assert_eq!(only(&house).head.values("Authorization"), ["Basic dTpw"]);
}

#[test]
fn a_client_is_told_how_the_user_must_authenticate() {
    let house = start();
    let moments = [
        (json!({}), 401),
        (json!({"acr": "silver", "auth_time": now() - 10}), 200),
        (json!({"acr": "silver", "auth_time": now() - 400}), 401),
        (json!({"acr": "bronze", "auth_time": now()}), 401),
    ];
    for (claims, status) in moments {
        let members = claims.as_object().unwrap().iter();
        let token = members.fold(Token::good(), |token, (name, value)| token.claim(name, value.clone()));
        let response = house.gateway.get("/step", &[("Authorization", &bearer(&token.signed_by(signing_key())))]);
        assert_eq!(response.status, status, "{claims}");
        if status == 401 {
            check_problem(&response, 401, "step_up_required", "GET");
            let parameters = challenge_parameters(response.header("WWW-Authenticate").unwrap());
            let value = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
            assert_eq!((value("acr_values"), value("max_age")), (Some("gold silver"), Some("300")));
            assert!(house.upstream.take().is_empty());
        }
        house.upstream.take();
    }
}

#[test]
fn an_address_is_judged_before_the_token() {
    let house = start();
    assert_eq!(house.gateway.get("/near", &[("Authorization", &good_bearer())]).status, 200);
    house.upstream.take();
    for headers in [vec![], vec![("Authorization", "Bearer abc")], vec![("X-Forwarded-For", "10.0.0.1")]] {
        let response = house.gateway.get("/far", &headers);
        check_problem(&response, 403, "address_denied", "GET");
        assert!(house.upstream.take().is_empty());
        assert_eq!(line(&house.gateway, &response)["auth"]["reason"], "address_denied");
    }
}

#[test]
fn what_is_in_force_is_shown_to_operators() {
    let house = start();
    let routes = house.gateway.admin_get("/routes").json();
    let route = |name: &str| routes.as_array().unwrap().iter().find(|route| route["name"] == name).unwrap().clone();
    assert_eq!(route("trial")["observe"]["roles"], json!({"all": ["admin"]}));
    assert_eq!(route("open")["insecure_observe_authentication"], true);
    assert_eq!(route("step")["require"]["conditions"], json!(["acr is one of gold, silver"]));
    assert_eq!(route("step")["require"]["max_age_seconds"], 300);
    assert_eq!(route("near")["addresses"], json!({"allow": ["127.0.0.0/8"], "deny": ["127.0.0.66/32"]}));
}

/// The cells of a row of a Markdown table, without the backticks around them.
fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect()
}

/// The page's examples: each a whole configuration, and a table of requests and answers.
fn examples(page: &str) -> Vec<(&str, &str, Vec<Vec<&str>>)> {
    let sections = page.split("\n### ").skip(1);
    let example = |section| {
        let (title, rest): (&str, &str) = str::split_once(section, '\n').unwrap();
        let (_, rest) = rest.split_once("```yaml\n").unwrap_or_else(|| panic!("{title}: no YAML"));
        let (yaml, rest) = rest.split_once("```").unwrap();
        let rest = rest.split("\n## ").next().unwrap();
        let rows = rest.lines().filter(|line| line.starts_with('|')).skip(2).map(cells).collect();
        (title, yaml, rows)
    };
    sections.map(example).collect()
}

#[test]
fn each_rule_of_the_page_answers_as_the_page_says() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/policy.md")).unwrap();
    let examples = examples(&page);
    assert_eq!(examples.len(), 10, "the ten rules that teams write most");
    for (title, yaml, rows) in examples {
        assert!(load(yaml).is_ok(), "{title}: {}", load(yaml).unwrap_err());
        let keeper = keeper(yaml, 10);
        assert!(rows.len() >= 3, "{title}: {rows:?}");
        assert!(rows.iter().any(|row| row[2].starts_with("passes")), "{title}: nothing passes");
        assert!(rows.iter().any(|row| !row[2].starts_with("passes")), "{title}: everything passes");
        for row in rows {
            let [request, claims, answer] = row[..] else { panic!("{title}: {row:?}") };
            let mut words = request.split(' ');
            let (method, path) = (words.next().unwrap(), words.next().unwrap());
            let ask = Ask {
                method: if method == "GET" { "GET" } else { "POST" },
                path: path.to_owned(),
                claims: (claims != "no token")
                    .then(|| serde_json::from_str(claims).unwrap_or_else(|error| panic!("{title}: {claims}: {error}"))),
                // `from` and an address, where the row says it.
                client: words.nth(1).map(|client| client.parse().unwrap()),
                at: 0,
            };
            for _ in 0..2 {
                let decision = told(&keeper, &judge(&keeper, &ask));
                let (decision, _) = decision.rsplit_once(" [").unwrap();
                // What an answer says in brackets is for the log alone.
                let decision = decision.split(" (").next().unwrap();
                assert_eq!(decision, answer, "{title}: {request} {claims}");
            }
        }
    }
}
