//! The metadata of the protected resource (RFC 9728): where they are, what they say, and that challenges lead there.
use serde_json::json;

use super::ROUTES;
use crate::support::{
    fixture::{House, builder},
    gateway::run,
    upstream::Upstream,
};

const PATH: &str = "/.well-known/oauth-protected-resource";

#[test]
#[expect(clippy::cognitive_complexity, reason = "one row after another")]
fn metadata_are_found_by_inserting_the_well_known_part() {
    for (identifier, path, elsewhere) in [
        ("https://api.example.com", PATH.to_owned(), format!("{PATH}/v1")),
        ("https://api.example.com/v1", format!("{PATH}/v1"), format!("/v1{PATH}")),
    ] {
        let routes = format!(
            "{ROUTES}  - {{name: scoped, path_prefix: /s, require: {{scopes: [b, a]}}, upstream: echo, \
             token: {{sources: [{{header: Authorization}}, {{query: access_token}}]}}}}\n  \
             - {{name: any, hosts: [api.example.com, \"*.example.org\"], path_prefix: /, upstream: echo}}\n"
        );
        let house = House::start(&format!("resource: {{identifier: \"{identifier}\"}}"), &routes);
        for host in ["api.example.com", "a.example.org", "evil.example", "127.0.0.1"] {
            let response = house.gateway.get(&path, &[("Host", host), ("Origin", "https://app.test")]);
            assert_eq!(response.status, 200, "{host}");
            assert_eq!(response.header("Content-Type"), Some("application/json"));
            assert_eq!(response.header("Cache-Control"), Some("public, max-age=300"));
            assert_eq!(response.header("Access-Control-Allow-Origin"), Some("*"));
            let expected = json!({
                "resource": identifier, "authorization_servers": ["https://issuer.test"],
                "scopes_supported": ["a", "b"], "bearer_methods_supported": ["header", "query"],
            });
            assert_eq!(response.json(), expected, "{host}");
        }
        let head = house.gateway.connect().request("HEAD", &path, &[]);
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(house.gateway.connect().request("POST", &path, &[("Content-Length", "0")]).status, 405);
        assert_eq!(house.gateway.get(&elsewhere, &[]).status, 404);
        let url = format!("resource_metadata=\"https://api.example.com{path}\"");
        for (path, host, authorization) in [
            ("/orders", "evil.example", None),
            ("/s", "evil.example", Some("Bearer a.b.c")),
            ("/x", "api.example.com", None),
        ] {
            let mut headers = vec![("Host", host)];
            headers.extend(authorization.map(|value| ("Authorization", value)));
            let refusal = house.gateway.get(path, &headers);
            let challenge = refusal.header("WWW-Authenticate").unwrap().to_owned();
            assert_eq!(refusal.status, 401);
            assert!(challenge.starts_with("Bearer realm=\"api\"") && challenge.contains(&url), "{challenge}");
            assert!(!challenge.contains("evil"), "{challenge}");
        }
        assert!(house.upstream.requests().is_empty());
    }
}

#[test]
fn without_a_resource_nothing_is_published_and_challenges_name_none() {
    let house = House::start("", ROUTES);
    assert_eq!(house.gateway.get(PATH, &[]).status, 404);
    let refusal = house.gateway.get("/orders", &[]);
    assert_eq!(refusal.header("WWW-Authenticate"), Some("Bearer realm=\"api\""));
}

#[test]
fn a_route_is_never_taken_a_path_from_unnoticed() {
    let upstream = Upstream::start();
    for (routes, resource, expected) in [
        (format!("  - {{path: {PATH}, upstream: echo}}\n"), "https://a.test", "where this is published"),
        (
            format!("  - {{hosts: [a.test], path: {PATH}, upstream: echo}}\n"),
            "https://b.test",
            "where this is published",
        ),
        (ROUTES.to_owned(), "http://a.test", "it begins with `https://`"),
        (ROUTES.to_owned(), "https://a.test/?b", "neither query nor fragment"),
        (ROUTES.to_owned(), "https://a.test/a/../b", "read alike by every server"),
    ] {
        let more = format!("resource: {{identifier: \"{resource}\"}}");
        let (file, _folder) = builder(&more, &routes, &upstream).write();
        let account = run(&["validate", "-c", file.to_str().unwrap()]);
        assert_eq!(account.status.and_then(|status| status.code()), Some(78), "{resource}: {account:?}");
        let said = account.stdout + &account.stderr;
        assert!(said.contains(expected), "{resource}: {said}");
    }
}
