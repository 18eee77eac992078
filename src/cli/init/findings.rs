//! What the claims of one sample token say about all of its issuer's tokens: whom they are for, where roles, scopes, client
//! and subject are, what kind they are. Pure. It proposes; whoever reads the configuration decides.
use crate::gate::{
    issuer::ClaimPath,
    json::{Json, Object},
};

/// The most places of roles that are shown.
const ROLES_PLACES_MAX: usize = 8;
/// Audiences by which Keycloak and Microsoft name services of their own: every client can get tokens for those.
const OF_THE_PROVIDER: [&str; 3] = ["account", "00000003-0000-0000-c000-000000000000", "https://graph.microsoft.com"];
/// Last words of claims with a namespace (`https://example.com/roles`) that hold roles.
const ROLES_WORDS: [&str; 3] = ["roles", "groups", "permissions"];

/// What a sample shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Findings {
    /// For whom such tokens are.
    pub(super) audience: Audience,
    /// Why it looks like a token that is not for services; nothing when it does not.
    pub(super) not_for_services: Option<&'static str>,
    /// Where roles seem to be; the likeliest first.
    pub(super) roles: Vec<ClaimPath>,
    /// Where scopes are.
    pub(super) scopes: Place,
    /// Where the client is.
    pub(super) client: Place,
    /// Where the subject is.
    pub(super) subject: Place,
}

/// For whom tokens are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// `aud` names these besides services of the provider itself.
    Named(Vec<String>),
    /// There is no `aud`, as in access tokens of Amazon Cognito; `client_id` is what can be compared.
    Client(String),
    /// Nothing in the token says it; why.
    Unknown(&'static str),
}

/// Where a fact is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Where portcullis looks unless it is told otherwise; in this claim.
    Usual(&'static str),
    /// In this claim, which has to be written.
    Claim(&'static str),
    /// The sample does not have it.
    Nowhere,
}

/// Looks through the claims of a token.
pub(super) fn find(claims: &Object<'_>) -> Findings {
    Findings {
        audience: audience(claims),
        not_for_services: not_for_services(claims),
        roles: roles(claims),
        scopes: scopes(claims),
        client: first(claims, &["client_id", "azp"], &["cid", "appid"]),
        subject: subject(claims),
    }
}

fn text<'c>(claims: &'c Object<'_>, name: &str) -> Option<&'c str> {
    claims.get(name).and_then(Json::as_str).filter(|text| !text.is_empty())
}

/// The strings of a claim that is one or a list of them.
fn texts<'c>(claims: &'c Object<'_>, name: &str) -> Vec<&'c str> {
    match claims.get(name) {
        Some(Json::String(text)) if !text.is_empty() => vec![text],
        Some(Json::List(elements)) => {
            elements.iter().filter_map(Json::as_str).filter(|text| !text.is_empty()).collect()
        }
        Some(_) | None => Vec::new(),
    }
}

fn audience(claims: &Object<'_>) -> Audience {
    let named = texts(claims, "aud");
    let is_of_the_provider = |audience: &str| {
        // Auth0 names its own /userinfo beside the service when `openid` was asked for, by its first name even where
        // the issuer has a domain of the customer's.
        audience.ends_with("/userinfo") || OF_THE_PROVIDER.contains(&audience)
    };
    let others: Vec<String> =
        named.iter().filter(|audience| !is_of_the_provider(audience)).map(|audience| (*audience).to_owned()).collect();
    match (others.is_empty(), named.is_empty(), text(claims, "client_id")) {
        (false, ..) => Audience::Named(others),
        (true, true, Some(client)) if text(claims, "token_use") == Some("access") => {
            Audience::Client(client.to_owned())
        }
        (true, true, _) => Audience::Unknown(
            "the sample has no `aud`: have the provider write one for your service (in Keycloak an audience mapper)",
        ),
        (true, false, _) => Audience::Unknown(
            "the sample is for services of the provider itself, for which any client can get a token: ask for one for \
             your service",
        ),
    }
}

fn not_for_services(claims: &Object<'_>) -> Option<&'static str> {
    let has = |name: &str| claims.get(name).is_some();
    match (text(claims, "token_use"), text(claims, "typ")) {
        (Some("id"), _) => return Some("an ID token (`token_use` is `id`)"),
        (_, Some("ID")) => return Some("an ID token (the claim `typ` is `ID`)"),
        (_, Some("Refresh" | "Offline")) => return Some("a refresh token (the claim `typ` says so)"),
        (Some(_) | None, Some(_) | None) => {}
    }
    if has("at_hash") || has("c_hash") || has("nonce") {
        return Some("an ID token (it has `at_hash`, `c_hash` or `nonce`)");
    }
    let client = text(claims, "azp").or_else(|| text(claims, "client_id"));
    let is_for_its_client = client.is_some_and(|client| texts(claims, "aud") == [client]);
    (is_for_its_client && !has("scope") && !has("scp"))
        .then_some("an ID token (its audience is the client that asked for it, and it has no scopes)")
}

fn roles(claims: &Object<'_>) -> Vec<ClaimPath> {
    let mut found = Vec::new();
    let mut look = |claims: &Object<'_>, path: &[&str]| {
        let path: Vec<Box<str>> = path.iter().map(|name| Box::from(*name)).collect();
        if claims.at(&path).is_some_and(are_roles) {
            found.extend(ClaimPath::new(path));
        }
    };
    look(claims, &["realm_access", "roles"]);
    if let Some(Json::Object(clients)) = claims.get("resource_access") {
        // Those of the services that the token is for before those of others, such as Keycloak's own `account`.
        let audience = texts(claims, "aud");
        let mut names: Vec<&str> = clients.members().map(|(name, _)| name).filter(|name| !name.is_empty()).collect();
        names.sort_by_key(|name| (OF_THE_PROVIDER.contains(name), !audience.contains(name)));
        names.iter().for_each(|name| look(claims, &["resource_access", name, "roles"]));
    }
    ["roles", "groups", "cognito:groups"].iter().for_each(|name| look(claims, &[name]));
    claims.members().map(|(name, _)| name).filter(|name| is_namespaced_roles(name)).for_each(|name| {
        look(claims, &[name]);
    });
    look(claims, &["permissions"]);
    found.truncate(ROLES_PLACES_MAX);
    found
}

fn is_namespaced_roles(name: &str) -> bool {
    name.contains("://") && name.rsplit(['/', ':', '#']).next().is_some_and(|word| ROLES_WORDS.contains(&word))
}

/// A list of names, or of objects that have one as `value` (RFC 9068 §2.2.3.1), as the gate reads roles.
fn are_roles(claim: &Json<'_>) -> bool {
    let Json::List(elements) = claim else { return false };
    elements.iter().all(|element| match element {
        Json::String(_) => true,
        Json::Object(object) => text(object, "value").is_some(),
        Json::Null | Json::Bool(_) | Json::Integer(_) | Json::Float(_) | Json::List(_) => false,
    })
}

fn scopes(claims: &Object<'_>) -> Place {
    match (claims.get("scope"), claims.get("scp")) {
        (Some(Json::String(_)), _) => Place::Usual("scope"),
        // RFC 8693 §4.2 has a string there; portcullis takes a list only where it was told to.
        (Some(Json::List(_)), _) => Place::Claim("scope"),
        (_, Some(Json::String(_) | Json::List(_))) => Place::Usual("scp"),
        (Some(_) | None, Some(_) | None) => Place::Nowhere,
    }
}

fn subject(claims: &Object<'_>) -> Place {
    // Microsoft makes another `sub` of the same person for each client; `oid` is the person in the tenant.
    if text(claims, "tid").is_some() && text(claims, "oid").is_some() {
        return Place::Claim("oid");
    }
    first(claims, &["sub"], &["oid", "uid", "client_id", "azp", "cid", "appid"])
}

fn first(claims: &Object<'_>, usual: &[&'static str], others: &[&'static str]) -> Place {
    let is_there = |name: &&&'static str| text(claims, name).is_some();
    match (usual.iter().find(is_there), others.iter().find(is_there)) {
        (Some(name), _) => Place::Usual(name),
        (None, Some(name)) => Place::Claim(name),
        (None, None) => Place::Nowhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn found(claims: &Value) -> Findings {
        let text = claims.to_string();
        find(&Object::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn an_audience_is_a_service_and_never_the_provider_itself() {
        let named = |names: &[&str]| Audience::Named(names.iter().map(|name| (*name).to_owned()).collect());
        let rows = [
            (json!({"aud": "api"}), Some(named(&["api"]))),
            (json!({"aud": ["api", "https://a.test/userinfo"]}), Some(named(&["api"]))),
            (json!({"aud": ["api", "https://tenant.test/userinfo"]}), Some(named(&["api"]))),
            (json!({"aud": ["https://a.test/userinfo-of-mine"]}), Some(named(&["https://a.test/userinfo-of-mine"]))),
            (json!({"aud": ["account", "api", "", 7]}), Some(named(&["api"]))),
            (json!({"token_use": "access", "client_id": "c"}), Some(Audience::Client("c".to_owned()))),
            (json!({"aud": "api", "token_use": "access", "client_id": "c"}), Some(named(&["api"]))),
            (json!({"client_id": "c"}), None),
            (json!({"azp": "c"}), None),
            (json!({"aud": "account"}), None),
            (json!({"aud": {"a": "b"}}), None),
            (json!({"aud": "00000003-0000-0000-c000-000000000000"}), None),
        ];
        for (claims, expected) in rows {
            let audience = found(&claims).audience;
            match expected {
                Some(expected) => assert_eq!(audience, expected, "{claims}"),
                None => assert!(matches!(audience, Audience::Unknown(_)), "{claims}: {audience:?}"),
            }
        }
    }

    #[test]
    fn id_and_refresh_tokens_are_told_from_access_tokens() {
        let rows = [
            (json!({"aud": "api", "azp": "web", "scope": "openid"}), false),
            (json!({"aud": "web", "azp": "web", "scp": "read"}), false),
            (json!({"aud": "project", "user_id": "u", "firebase": {}}), false),
            (json!({"typ": "Bearer"}), false),
            (json!({"token_use": "access"}), false),
            (json!({"token_use": "id"}), true),
            (json!({"typ": "ID"}), true),
            (json!({"typ": "Refresh"}), true),
            (json!({"at_hash": "x"}), true),
            (json!({"nonce": "x", "scope": "openid"}), true),
            (json!({"aud": "web", "azp": "web"}), true),
            (json!({"aud": ["web"], "client_id": "web"}), true),
        ];
        for (claims, expected) in rows {
            assert_eq!(found(&claims).not_for_services.is_some(), expected, "{claims}");
        }
    }

    #[test]
    fn roles_are_found_wherever_providers_put_them() {
        let rows = [
            (json!({"realm_access": {"roles": ["a"]}}), vec![vec!["realm_access", "roles"]]),
            (
                json!({"aud": "api", "resource_access": {"account": {"roles": ["x"]}, "web": {"roles": []}, "api": {"roles": ["a"]}}}),
                vec![
                    vec!["resource_access", "api", "roles"],
                    vec!["resource_access", "web", "roles"],
                    vec!["resource_access", "account", "roles"],
                ],
            ),
            (json!({"groups": ["a"], "roles": ["b"]}), vec![vec!["roles"], vec!["groups"]]),
            (json!({"cognito:groups": ["a"]}), vec![vec!["cognito:groups"]]),
            (
                json!({"https://x.test/roles": ["a"], "permissions": ["p"], "https://x.test/org": ["b"]}),
                vec![vec!["https://x.test/roles"], vec!["permissions"]],
            ),
            (json!({"roles": [{"value": "a"}]}), vec![vec!["roles"]]),
            (json!({"roles": "a", "groups": [7], "realm_access": {"roles": "a"}, "resource_access": [1]}), vec![]),
        ];
        for (claims, expected) in rows {
            let paths: Vec<Vec<String>> = found(&claims)
                .roles
                .iter()
                .map(|path| path.names().iter().map(|name| name.to_string()).collect())
                .collect();
            assert_eq!(paths, expected, "{claims}");
        }
    }

    #[test]
    fn scopes_client_and_subject_are_written_only_where_they_are_not_looked_for_anyway() {
        let rows = [
            (json!({"scope": "a b", "client_id": "c", "sub": "u"}), ["-scope", "-client_id", "-sub"]),
            (json!({"scp": ["a"], "cid": "c", "sub": "u"}), ["-scp", "cid", "-sub"]),
            (json!({"scope": ["a"], "azp": "c", "cid": "d", "sub": "u"}), ["scope", "-azp", "-sub"]),
            (json!({"scp": "a", "appid": "c", "sub": "u", "oid": "o", "tid": "t"}), ["-scp", "appid", "oid"]),
            (json!({"oid": "o", "sub": "u"}), ["?", "?", "-sub"]),
            (json!({"client_id": "c", "sub": 7, "scope": 7}), ["?", "-client_id", "client_id"]),
            (json!({}), ["?", "?", "?"]),
        ];
        for (claims, expected) in rows {
            let shown = |place: &Place| match place {
                Place::Usual(name) => format!("-{name}"),
                Place::Claim(name) => (*name).to_owned(),
                Place::Nowhere => "?".to_owned(),
            };
            let found = found(&claims);
            assert_eq!([&found.scopes, &found.client, &found.subject].map(shown), expected, "{claims}");
        }
    }
}
