//! What is in force, as JSON. It never shows a secret, nor anything computed from one.
use serde_json::{Value, json};

use crate::{
    edge::{clock, installed::Installed},
    gate::{
        algorithm::KeyType,
        condition::Condition,
        cors::{AllowedOrigins, Cors},
        issuer::{Audiences, Issuer},
        keys::Key,
        network::Network,
        policy::{Names, Principal, Requirement},
        rejection::quoted,
        route::{Action, Authentication, HostPattern, PathPattern, Route},
        sources::TokenSource,
    },
    state::key_slot::{KeySlot, KeyStatus},
};

/// `GET /routes`
pub(super) fn routes(installed: &Installed) -> Value {
    let routes = installed.gatekeeper.ruleset().routes.routes();
    Value::Array(routes.iter().map(|route| view_of_route(installed, route)).collect())
}

fn view_of_route(installed: &Installed, route: &Route) -> Value {
    let ruleset = installed.gatekeeper.ruleset();
    let issuers: Vec<&str> =
        route.issuers.iter().filter_map(|id| ruleset.issuer(*id)).map(|issuer| issuer.name.as_ref()).collect();
    let hosts: Vec<String> = route
        .hosts
        .iter()
        .filter_map(|host| match host {
            HostPattern::Exact(name) => Some(name.to_string()),
            HostPattern::Below(suffix) => Some(format!("*{suffix}")),
            HostPattern::Any => None,
        })
        .collect();
    let (path_key, path) = match &route.path {
        PathPattern::Exact(path) => ("path", path.as_ref()),
        PathPattern::Prefix(path) if path.is_empty() => ("path_prefix", "/"),
        PathPattern::Prefix(path) => ("path_prefix", path.as_ref()),
    };
    let sources: Vec<String> = route
        .token_sources
        .iter()
        .map(|source| match source {
            TokenSource::Authorization => "header Authorization".to_owned(),
            TokenSource::Header(name) => format!("header {name}"),
            TokenSource::Query(name) => format!("query {name}"),
            TokenSource::Cookie(name) => format!("cookie {name}"),
            TokenSource::WebSocketProtocol(word) => format!("websocket_protocol {word}"),
        })
        .collect();
    json!({
        "name": route.name,
        "hosts": hosts,
        path_key: path,
        "methods": route.methods,
        "auth": match route.authentication {
            Authentication::Required => "required",
            Authentication::Optional => "optional",
            Authentication::Public => "none",
        },
        "issuers": issuers,
        "require": view_of_requirement(&route.requirement),
        "observe": route.observed.as_ref().map(view_of_requirement),
        "insecure_observe_authentication": route.observes_authentication,
        "rate_limit": route.rate_limits.limits().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "addresses": {
            "allow": view_of_networks(&route.addresses.allow),
            "deny": view_of_networks(&route.addresses.deny),
        },
        "token_sources": sources,
        "csrf": { "origins": route.cross_site.origins() },
        "cors": route.cors.as_ref().map(view_of_cors),
        "upstream": match &route.action {
            Action::Forward(id) => installed.upstream_name(*id),
            Action::Respond { .. } | Action::AssertionKeys => None,
        },
        "respond": match &route.action {
            Action::Forward(_) => None,
            Action::Respond { status, .. } => Some(status),
            Action::AssertionKeys => Some(&200),
        },
    })
}

fn view_of_requirement(requirement: &Requirement) -> Value {
    json!({
        "scopes": requirement.scopes.as_ref().map(view_of_names),
        "roles": requirement.roles.as_ref().map(view_of_names),
        "conditions": requirement.conditions().map(Condition::to_string).collect::<Vec<_>>(),
        "principal": requirement.principal.map(|principal| match principal {
            Principal::User => "user",
            Principal::Client => "client",
        }),
        "max_age_seconds": requirement.step_up.as_ref().and_then(|step_up| step_up.max_age).map(|age| age.as_secs()),
    })
}

fn view_of_networks(networks: &[Network]) -> Vec<String> {
    networks.iter().map(Network::to_string).collect()
}

fn view_of_cors(cors: &Cors) -> Value {
    let Cors::Gate(rule) = cors else { return json!("upstream") };
    let grant = rule.grant();
    json!({
        "origins": match &grant.origins {
            AllowedOrigins::Any => json!(["*"]),
            AllowedOrigins::Listed(origins) => json!(origins),
        },
        "methods": grant.methods,
        "headers": grant.headers,
        "expose": grant.expose,
        "credentials": grant.credentials,
        "max_age_seconds": grant.max_age.map(|max_age| max_age.as_secs()),
    })
}

fn view_of_names(names: &Names) -> Value {
    match names {
        Names::All(names) => json!({ "all": names }),
        Names::Any(names) => json!({ "any": names }),
    }
}

/// `GET /issuers`
pub(super) fn issuers(installed: &Installed) -> Value {
    let gatekeeper = &installed.gatekeeper;
    let pairs = gatekeeper.ruleset().issuers.iter().zip(gatekeeper.slots());
    Value::Array(pairs.map(|(issuer, slot)| self::issuer(issuer, slot)).collect())
}

/// One issuer of `GET /issuers`.
pub(super) fn issuer(issuer: &Issuer, slot: &KeySlot) -> Value {
    let set = slot.keys();
    let keys: Vec<Value> =
        set.as_deref().map_or_else(Vec::new, |set| set.keys().iter().map(|key| view_of_key(key)).collect());
    let skipped: Vec<Value> = set.as_deref().map_or_else(Vec::new, |set| {
        let view = |skipped: &crate::gate::keys::SkippedKey| {
            json!({ "kid": skipped.kid.as_deref().map(view_of_kid), "reason": skipped.reason })
        };
        set.skipped().iter().map(view).collect()
    });
    json!({
        "name": issuer.name,
        "issuer": issuer.identifier,
        "audiences": match &issuer.audiences {
            Audiences::AnyOf(audiences) => json!(audiences),
            Audiences::Unchecked => Value::Null,
        },
        "algorithms": issuer.algorithms.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>(),
        "has_keys": set.is_some(),
        "keys": keys,
        "skipped": skipped,
        "skipped_count": set.as_deref().map_or(0, crate::gate::keys::KeySet::skipped_count),
        "source": view_of_source(&slot.status(clock::monotonic())),
    })
}

/// How the keys are had. Errors may hold words from outside, which may be read in a terminal.
fn view_of_source(status: &KeyStatus) -> Value {
    match status {
        KeyStatus::Fixed => json!({ "kind": "fixed" }),
        KeyStatus::File { read, age, last_error } => json!({
            "kind": "file",
            "last_success": clock::rfc3339(*read),
            "age_seconds": age.as_secs(),
            "last_error": last_error.as_deref().map(printable),
        }),
        KeyStatus::Remote(status) => json!({
            "kind": "remote",
            "url": status.location.as_deref().map(printable),
            "attempts": status.attempts,
            "failures": status.failures,
            "last_success": status.last_success.map(clock::rfc3339),
            "age_seconds": status.age.map(|age| age.as_secs()),
            "from_disk": status.is_restored,
            "last_error": status.last_error.as_deref().map(printable),
            "metadata_error": status.metadata_error.as_deref().map(printable),
            "kept_on_disk": status.kept.map(clock::rfc3339),
            "disk_pending": status.is_being_kept,
            "disk_error": status.disk_error.as_deref().map(printable),
            "next_refresh_in_seconds": status.next_attempt_in.as_secs(),
            "stale_in_seconds": status.stale_in.map(|left| left.as_secs()),
        }),
    }
}

/// A text that may hold words from outside, for a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|letter| if (' '..='~').contains(&letter) { letter } else { '?' }).collect()
}

/// A `kid` is a text from outside, and this may be read in a terminal.
fn view_of_kid(kid: &str) -> String {
    let is_plain = kid.bytes().all(|byte| byte.is_ascii_graphic());
    if is_plain { kid.to_owned() } else { quoted(kid) }
}

fn view_of_key(key: &Key) -> Value {
    let (name, is_public) = match key.key_type() {
        KeyType::Secret => ("secret", false),
        KeyType::Rsa => ("RSA", true),
        KeyType::P256 => ("P-256", true),
        KeyType::P384 => ("P-384", true),
        KeyType::Ed25519 => ("Ed25519", true),
    };
    json!({
        "kid": key.kid().map(view_of_kid),
        "type": name,
        "algorithms": key.algorithms().iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>(),
        "thumbprint": is_public.then(|| key.thumbprint().to_string()),
    })
}
