//! The text is what it should be for people, and means what it was made from, whatever that holds.
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::{
    cli::init::findings::{self, Findings},
    config::{
        load::{self, Secrets},
        settings::Config,
    },
    edge::world::World,
    gate::{
        algorithm::Algorithm,
        issuer::{Audiences, ClientPlace, Issuer, ScopesPlace},
        json::Object,
    },
};

fn understood(text: &str) -> Config {
    let loaded = load::load_text("made.yaml", text.as_bytes(), Path::new("/"), &World, Secrets::Read);
    assert!(loaded.problems.render().is_empty(), "{}\n{text}", loaded.problems.render());
    loaded.config.unwrap()
}

fn issuer(text: &str) -> Issuer {
    understood(text).live.ruleset.issuers.into_iter().next().unwrap()
}

fn known<'a>(issuer: &'a str, sample: Option<&'a Sample>) -> Known<'a> {
    let algorithms = [Algorithm::RS256, Algorithm::ES256].into_iter().collect();
    Known { issuer, jwks_url: None, algorithms, ca_file: None, insecure_http: false, sample }
}

fn sample(findings: Findings, token_type: TokenType) -> Sample {
    Sample { findings, token_type, proven_by: None, warnings: Vec::new(), expired_at: None }
}

fn plain() -> Findings {
    Findings {
        audience: Audience::Named(vec!["https://api.test".to_owned()]),
        not_for_services: None,
        roles: vec![ClaimPath::new(["realm_access", "roles"]).unwrap(), ClaimPath::top("groups")],
        scopes: Place::Usual("scope"),
        client: Place::Usual("azp"),
        subject: Place::Usual("sub"),
    }
}

#[test]
fn without_a_sample_no_token_passes_before_somebody_has_edited_it() {
    let made = issuer(&known("https://a.test/", None).text());
    assert_eq!(made.audiences, Audiences::AnyOf(vec![PLACEHOLDER.into()]));
    assert_eq!((made.identifier.as_ref(), made.roles), ("https://a.test/", None));
}

#[test]
fn places_that_are_not_the_usual_ones_are_written() {
    let text = known("https://a.test/", Some(&sample(plain(), TokenType::Plain))).text();
    let made = issuer(&text);
    assert_eq!(made.roles, ClaimPath::new(["realm_access", "roles"]));
    assert!(text.contains("#roles: \"groups\""), "{text}");
    assert_eq!((made.scopes, made.client), (ScopesPlace::Usual, ClientPlace::Usual));
    assert!(made.token_types.check(Some("JWT")).is_ok() && made.token_types.check(None).is_ok());

    let cognito = Findings { audience: Audience::Client("c1".to_owned()), roles: Vec::new(), ..plain() };
    let made = issuer(&known("https://a.test/", Some(&sample(cognito, TokenType::Plain))).text());
    assert_eq!(made.audience_claim.as_ref(), "client_id");
    assert_eq!(made.audiences, Audiences::AnyOf(vec!["c1".into()]));

    let other = Findings {
        audience: Audience::Unknown("why"),
        scopes: Place::Claim("scope"),
        client: Place::Claim("cid"),
        subject: Place::Claim("oid"),
        ..plain()
    };
    let made = issuer(&known("https://a.test/", Some(&sample(other, TokenType::AccessToken))).text());
    assert_eq!(made.audiences, Audiences::AnyOf(vec![PLACEHOLDER.into()]));
    assert_eq!(made.scopes, ScopesPlace::Claim(ClaimPath::top("scope")));
    assert_eq!(made.client, ClientPlace::Claim(ClaimPath::top("cid")));
    assert_eq!((made.subject, made.required_claims), (ClaimPath::top("oid"), vec!["oid".into()]));
    assert!(made.token_types.check(Some("at+jwt")).is_ok());
    assert!(made.token_types.check(Some("JWT")).is_err() && made.token_types.check(None).is_err());
}

/// Texts that YAML, variables or a terminal might read as something else.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "(?s).{1,20}",
        "[-\\[\\]{}:#,&*!|>'\"%@`$\\\\ \t\r\n\u{0}\u{7f}\u{85}\u{2028}\u{feff}a]{1,12}",
        "\\$\\{[A-Z]{1,4}(:-[a-z]*)?\\}",
        "(true|null|~|0x1f|1e3|yes|<<|\\.\\.\\.|---|=)",
    ]
}

proptest! {
    #[test]
    fn whatever_a_provider_says_is_said_by_the_configuration_and_nothing_else(
        audiences in proptest::collection::vec(text(), 1..4),
        roles in proptest::collection::vec(proptest::collection::vec(text(), 1..4), 1..4),
        typ in text(),
        url in "https://[a-z]{1,5}(\\.[a-z]{1,3})?(:[1-9][0-9]{0,3})?(/[!$&'()*+,;=:@~\\[\\]{}|%a-z0-9._-]{0,12}){0,3}",
    ) {
        let paths: Vec<ClaimPath> = roles.iter().map(|path| ClaimPath::new(path.iter().map(String::as_str)).unwrap()).collect();
        let mut distinct = audiences.clone();
        distinct.sort();
        distinct.dedup();
        let findings = Findings { audience: Audience::Named(distinct.clone()), roles: paths.clone(), ..plain() };
        let sample = sample(findings, TokenType::Other(typ.clone()));
        let keys = Known { jwks_url: Some(&url), ..known(&url, Some(&sample)) };
        let loaded = load::load_text("made.yaml", keys.text().as_bytes(), Path::new("/"), &World, Secrets::Read);
        // What is no URL to fetch from is refused, but by what it says and not by how it is written.
        let Some(config) = loaded.config else {
            prop_assert!(loaded.problems.render().contains("URL"), "{}", loaded.problems.render());
            return Ok(());
        };
        let rules = config.live.ruleset;
        prop_assert_eq!(rules.issuers.len(), 1);
        let made = &rules.issuers[0];
        prop_assert_eq!(made.identifier.as_ref(), url.as_str());
        prop_assert_eq!(&made.audiences, &Audiences::AnyOf(distinct.iter().map(|name| name.as_str().into()).collect()));
        prop_assert_eq!(made.roles.as_ref(), paths.first());
        prop_assert!(made.token_types.check(Some(&typ)).is_ok());
    }

    #[test]
    fn whatever_a_token_calls_its_claims_the_places_that_are_written_are_where_its_facts_are(
        names in proptest::collection::vec(prop_oneof![text(), text().prop_map(|name| format!("https://{name}/roles"))], 0..4),
        clients in proptest::collection::vec(text(), 0..4),
        audience in prop_oneof![text(), Just(String::new())],
        usual in proptest::sample::subsequence(vec!["roles", "groups", "permissions", "oid", "tid", "scope", "cid", "sub"], 0..8),
    ) {
        let list = |name: &str| serde_json::json!([name, "a"]);
        let mut claims: serde_json::Map<String, serde_json::Value> =
            names.iter().map(|name| (name.clone(), list(name))).collect();
        claims.extend(usual.iter().map(|name| {
            let is_list = ["roles", "groups", "permissions", "scope"].contains(name);
            ((*name).to_owned(), if is_list { list(name) } else { serde_json::json!("x") })
        }));
        let of_clients: serde_json::Map<_, _> =
            clients.iter().map(|name| (name.clone(), serde_json::json!({"roles": list(name)}))).collect();
        claims.insert("resource_access".to_owned(), of_clients.into());
        claims.insert("aud".to_owned(), audience.clone().into());
        let payload = serde_json::Value::Object(claims).to_string();
        let claims = Object::parse(payload.as_bytes()).unwrap();
        let findings = findings::find(&claims);
        let sample = sample(findings.clone(), TokenType::Plain);
        let made = issuer(&known("https://a.test/", Some(&sample)).text());
        prop_assert_eq!(made.roles.as_ref(), findings.roles.first());
        if let Some(roles) = &made.roles {
            prop_assert!(claims.at(roles.names()).is_some());
        }
        prop_assert!(made.subject == ClaimPath::top("sub") || claims.at(made.subject.names()).is_some());
        let named = if audience.is_empty() || audience == "account" { PLACEHOLDER } else { audience.as_str() };
        prop_assert_eq!(made.audiences, Audiences::AnyOf(vec![named.into()]));
    }
}
