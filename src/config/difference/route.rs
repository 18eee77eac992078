//! What one route lets pass, beside what another does. Which requests they take is not looked at here.
use crate::config::difference::{Changes, Direction, Side, implication};
use crate::gate::cors::{AllowedOrigins, Cors, CorsGrant};
use crate::gate::network::{AddressRule, Network};
use crate::gate::policy::{Names, Requirement};
use crate::gate::rate_limit::RateLimits;
use crate::gate::readings::EncodedSlash;
use crate::gate::route::{Action, Authentication, Folding, PathReadings, Route, StreamRule};
use crate::gate::sources::TokenSource;

use Direction::{Looser, Neither, Stricter, Unclear};

/// How many steps of authentication a route leaves out.
fn leniency(route: &Route) -> u8 {
    match (route.authentication, route.observes_authentication) {
        (Authentication::Required, false) => 0,
        (Authentication::Optional, false) => 1,
        (Authentication::Required | Authentication::Optional, true) => 2,
        (Authentication::Public, _) => 3,
    }
}

/// Who may send a request to it, in words.
pub(super) fn who(route: &Route) -> &'static str {
    match leniency(route) {
        0 => "a token is required",
        1 => "a token is optional (auth: optional)",
        2 => "tokens are only observed (insecure_observe_authentication)",
        _ => "anybody may (auth: none)",
    }
}

/// Everything in which the two differ.
pub(super) fn compare(
    place: &str,
    (old_side, old): (Side<'_>, &Route),
    (new_side, new): (Side<'_>, &Route),
    changes: &mut Changes,
) {
    // Taken apart by name, so that nothing is left out.
    let Route {
        name: _,
        listeners: _,
        hosts: _,
        path: _,
        methods: _,
        readings,
        authentication: _,
        issuers: _,
        requirement: _,
        observed,
        observes_authentication: _,
        addresses,
        rate_limits,
        token_sources: _,
        forward_token: _,
        cross_site: _,
        cors,
        action: _,
        rewrite,
        request_headers,
        response_headers,
        timeout,
        body_limit: _,
        log,
        stream,
    } = new;
    if leniency(old) != leniency(new) {
        let direction = if leniency(new) > leniency(old) { Looser } else { Stricter };
        changes.add(direction, place, format!("{}; before: {}", who(new), who(old)));
    }
    let is_public = |route: &Route| route.authentication == Authentication::Public;
    if !is_public(old) && !is_public(new) {
        compare_tokens(place, (old_side, old), (new_side, new), changes);
    }
    if let Some(direction) = Direction::of(
        implication::addresses(addresses, &old.addresses),
        implication::addresses(&old.addresses, addresses),
    ) {
        let (now, before) = (shown_addresses(addresses), shown_addresses(&old.addresses));
        changes.add(direction, place, format!("addresses: {now}; before: {before}"));
    }
    compare_rate_limits(place, &old.rate_limits, rate_limits, changes);
    compare_readings(place, old.readings, *readings, changes);
    compare_cors(place, old.cors.as_ref(), cors.as_ref(), changes);
    compare_action(place, (old_side, old), (new_side, new), changes);
    let bodies = (old_side.ruleset().body_bytes_max(old), new_side.ruleset().body_bytes_max(new));
    changes.add_limit((place, "the longest body"), bodies, |bytes| format!("{bytes} bytes"));
    if *rewrite != old.rewrite {
        changes.add(Unclear, place, "the upstream gets another path or host (rewrite)");
    }
    compare_streams(place, old.stream, *stream, changes);
    let is_same = |one: Option<&Requirement>, other: Option<&Requirement>| match (one, other) {
        (Some(one), Some(other)) => implication::requirement(one, other) && implication::requirement(other, one),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    if !is_same(observed.as_ref(), old.observed.as_ref()) {
        changes.add(Neither, place, "another rule is on trial (observe)");
    }
    let others = [
        (*request_headers != old.request_headers, "other request headers are set or removed"),
        (*response_headers != old.response_headers, "other response headers are set or removed"),
        (*timeout != old.timeout, "another timeout"),
        (*log != old.log, "another part of it is logged"),
    ];
    for (_, what) in others.iter().filter(|(is_other, _)| *is_other) {
        changes.add(Neither, place, *what);
    }
}

fn compare_rate_limits(place: &str, old: &RateLimits, new: &RateLimits, changes: &mut Changes) {
    let limits = (implication::rate_limits(new, old), implication::rate_limits(old, new));
    if let Some(direction) = Direction::of(limits.0, limits.1) {
        let shown: Vec<String> = new.limits().iter().map(ToString::to_string).collect();
        changes.add(direction, place, format!("rate limits: {}", or_none(&shown.join("; "))));
    }
}

fn compare_streams(place: &str, old: StreamRule, new: StreamRule, changes: &mut Changes) {
    let StreamRule { end_with_token, idle_timeout, max_age } = new;
    if old.end_with_token != end_with_token {
        let direction = if end_with_token { Stricter } else { Looser };
        let text = if end_with_token { "streams end with their token" } else { "streams outlive their token" };
        changes.add(direction, place, text);
    }
    let longest = |what: &str| format!("the longest {what} of a stream");
    let duration = |duration: std::time::Duration| format!("{duration:?}");
    changes.add_limit((place, &longest("age")), (old.max_age, max_age), duration);
    changes.add_limit((place, &longest("idle time")), (old.idle_timeout, idle_timeout), duration);
}

fn shown_addresses(rule: &AddressRule) -> String {
    let listed = |word: &str, networks: &[Network]| {
        let shown: Vec<String> = networks.iter().map(ToString::to_string).collect();
        (!shown.is_empty()).then(|| format!("{word} {}", shown.join(", ")))
    };
    let parts = listed("allow", &rule.allow).into_iter().chain(listed("deny", &rule.deny));
    let parts = parts.collect::<Vec<_>>().join(", ");
    if parts.is_empty() { "any".to_owned() } else { parts }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

/// Whose tokens count, from where, and what is required of them.
fn compare_tokens(
    place: &str,
    (old_side, old): (Side<'_>, &Route),
    (new_side, new): (Side<'_>, &Route),
    changes: &mut Changes,
) {
    let issuers = |side: Side<'_>, route: &Route| -> Vec<String> {
        route.issuers.iter().map(|id| side.issuer(*id).to_owned()).collect()
    };
    let (old_issuers, new_issuers) = (issuers(old_side, old), issuers(new_side, new));
    changes.add_members((place, "issuers"), (&old_issuers, &new_issuers), (Looser, Stricter), Clone::clone);
    compare_requirements(place, &old.requirement, &new.requirement, Looser, changes);
    // A token more in a place that no longer counts is no reason to refuse the request; in one that now does it is.
    let sources = (old.token_sources.as_slice(), new.token_sources.as_slice());
    changes.add_members((place, "places for tokens"), sources, (Looser, Unclear), shown_source);
    let added: Vec<String> = sources.1.iter().filter(|source| !sources.0.contains(source)).map(shown_source).collect();
    if !added.is_empty() {
        changes.add(Stricter, place, format!("a bad or a second token is refused in {}", added.join(", ")));
    }
    let has_cookie = |route: &Route| route.token_sources.iter().any(|source| matches!(source, TokenSource::Cookie(_)));
    if has_cookie(old) && has_cookie(new) {
        let origins = (old.cross_site.origins(), new.cross_site.origins());
        changes.add_members(
            (place, "origins that may use the cookie"),
            origins,
            (Looser, Stricter),
            ToString::to_string,
        );
    }
    if old.forward_token != new.forward_token {
        let (direction, text) = match new.forward_token {
            true => (Looser, "the upstream gets the token itself"),
            false => (Stricter, "the upstream no longer gets the token itself"),
        };
        changes.add(direction, place, text);
    }
}

fn shown_source(source: &TokenSource) -> String {
    match source {
        TokenSource::Authorization => "Authorization".to_owned(),
        TokenSource::Header(name) => format!("header {name}"),
        TokenSource::Query(name) => format!("query parameter {name}"),
        TokenSource::Cookie(name) => format!("cookie {name}"),
        TokenSource::WebSocketProtocol(word) => format!("WebSocket protocol {word}"),
    }
}

/// What is required, part by part. `less` is what it is to require less: on an issuer too it is looser.
pub(super) fn compare_requirements(
    place: &str,
    old: &Requirement,
    new: &Requirement,
    less: Direction,
    changes: &mut Changes,
) {
    let mut add = |what: String, new_implies_old: bool, old_implies_new: bool| {
        if let Some(direction) = Direction::of(new_implies_old, old_implies_new) {
            changes.add(if direction == Looser { less } else { direction }, place, what);
        }
    };
    let both = |old: Option<&Names>, new: Option<&Names>| (implication::names(new, old), implication::names(old, new));
    let (strict, loose) = both(old.scopes.as_ref(), new.scopes.as_ref());
    add(was("scopes", shown_names(new.scopes.as_ref()), shown_names(old.scopes.as_ref())), strict, loose);
    let (strict, loose) = both(old.roles.as_ref(), new.roles.as_ref());
    add(was("roles", shown_names(new.roles.as_ref()), shown_names(old.roles.as_ref())), strict, loose);
    let audience = |requirement: &Requirement| {
        requirement.audience.as_ref().map_or_else(|| "none".to_owned(), |clause| clause.condition().to_string())
    };
    let strict = implication::clauses(new.audience.iter(), old.audience.iter());
    let loose = implication::clauses(old.audience.iter(), new.audience.iter());
    add(was("audience", audience(new), audience(old)), strict, loose);
    let principal = |requirement: &Requirement| {
        requirement.principal.map_or("any", |principal| match principal {
            crate::gate::policy::Principal::User => "user",
            crate::gate::policy::Principal::Client => "client",
        })
    };
    let implies =
        |one: &Requirement, other: &Requirement| other.principal.is_none() || one.principal == other.principal;
    add(was("principal", principal(new).to_owned(), principal(old).to_owned()), implies(new, old), implies(old, new));
    let claims = |requirement: &Requirement| {
        let shown: Vec<String> = requirement.claims.iter().map(|clause| clause.condition().to_string()).collect();
        or_none(&shown.join(", ")).to_owned()
    };
    let strict = implication::clauses(new.claims.iter(), old.claims.iter());
    let loose = implication::clauses(old.claims.iter(), new.claims.iter());
    add(was("claims", claims(new), claims(old)), strict, loose);
    let strict = implication::step_up(new.step_up.as_ref(), old.step_up.as_ref());
    let loose = implication::step_up(old.step_up.as_ref(), new.step_up.as_ref());
    let step_up = |requirement: &Requirement| {
        let Some(step_up) = &requirement.step_up else { return "none".to_owned() };
        let acr = step_up.acr.as_ref().map(|_| format!("acr {}", step_up.acr_values));
        let age = step_up.max_age.map(|age| format!("at most {} s ago", age.as_secs()));
        acr.into_iter().chain(age).collect::<Vec<_>>().join(", ")
    };
    add(was("step-up", step_up(new), step_up(old)), strict, loose);
}

fn was(what: &str, new: String, old: String) -> String {
    format!("required {what}: {new}; before: {old}")
}

fn shown_names(names: Option<&Names>) -> String {
    match names {
        None => "none".to_owned(),
        Some(Names::All(names)) => names.join(" and "),
        Some(Names::Any(names)) => format!("one of {}", names.join(", ")),
    }
}

fn compare_readings(place: &str, old: PathReadings, new: PathReadings, changes: &mut Changes) {
    let PathReadings { case, trailing_slash, encoded_slash } = new;
    let folds = [
        ("case", old.case == Folding::Fold, case == Folding::Fold),
        ("trailing slashes", old.trailing_slash == Folding::Fold, trailing_slash == Folding::Fold),
        ("encoded slashes", old.encoded_slash == EncodedSlash::MayDecode, encoded_slash == EncodedSlash::MayDecode),
    ];
    for (what, before, now) in folds {
        if before != now {
            let (direction, known) = if now { (Stricter, "may read") } else { (Looser, "is known to read") };
            changes.add(direction, place, format!("the upstream {known} {what} otherwise than the gate (paths)"));
        }
    }
}

fn compare_cors(place: &str, old: Option<&Cors>, new: Option<&Cors>, changes: &mut Changes) {
    if old == new {
        return;
    }
    match (old, new) {
        (_, Some(Cors::Upstream)) => {
            changes.add(Looser, place, "preflights reach the upstream without a token (cors: upstream)");
        }
        (Some(Cors::Upstream), _) => {
            changes.add(
                Unclear,
                place,
                "preflights no longer reach the upstream, and pages are granted other things (cors)",
            );
        }
        (None, Some(Cors::Gate(rule))) => {
            changes.add(Looser, place, format!("pages of {} may read (cors)", shown_origins(rule.grant())));
        }
        (Some(Cors::Gate(_)), None) => changes.add(Stricter, place, "no page of another origin may read (cors)"),
        (Some(Cors::Gate(old)), Some(Cors::Gate(new))) => compare_grants(place, old.grant(), new.grant(), changes),
        (None, None) => {}
    }
}

fn shown_origins(grant: &CorsGrant) -> String {
    match &grant.origins {
        AllowedOrigins::Any => "any origin".to_owned(),
        AllowedOrigins::Listed(origins) => origins.join(", "),
    }
}

fn compare_grants(place: &str, old: &CorsGrant, new: &CorsGrant, changes: &mut Changes) {
    let CorsGrant { origins, methods, headers, expose, credentials, max_age } = new;
    match (&old.origins, origins) {
        (AllowedOrigins::Listed(old), AllowedOrigins::Listed(new)) => {
            changes.add_members((place, "origins (cors)"), (old, new), (Looser, Stricter), ToString::to_string);
        }
        (AllowedOrigins::Listed(_), AllowedOrigins::Any) => {
            changes.add(Looser, place, "pages of any origin may read (cors)")
        }
        (AllowedOrigins::Any, AllowedOrigins::Listed(_)) => {
            changes.add(Stricter, place, "pages of listed origins alone may read (cors)");
        }
        (AllowedOrigins::Any, AllowedOrigins::Any) => {}
    }
    match (&old.methods, methods) {
        (Some(old), Some(new)) => {
            changes.add_members((place, "methods (cors)"), (old, new), (Looser, Stricter), ToString::to_string);
        }
        (Some(_), None) => changes.add(Looser, place, "pages may use any method of the route (cors)"),
        (None, Some(_)) => changes.add(Stricter, place, "pages may use listed methods alone (cors)"),
        (None, None) => {}
    }
    changes.add_members((place, "headers (cors)"), (&old.headers, headers), (Looser, Stricter), ToString::to_string);
    changes.add_members(
        (place, "exposed headers (cors)"),
        (&old.expose, expose),
        (Looser, Stricter),
        ToString::to_string,
    );
    if *credentials != old.credentials {
        let direction = if *credentials { Looser } else { Stricter };
        changes.add(direction, place, format!("credentials (cors): {credentials}"));
    }
    if *max_age != old.max_age {
        changes.add(Neither, place, "browsers remember preflights for another time (cors)");
    }
}

fn compare_action(
    place: &str,
    (old_side, old): (Side<'_>, &Route),
    (new_side, new): (Side<'_>, &Route),
    changes: &mut Changes,
) {
    match (&old.action, &new.action) {
        (Action::Forward(before), Action::Forward(now)) => {
            let (before, now) = (old_side.upstream(*before), new_side.upstream(*now));
            if before != now {
                changes.add(Unclear, place, format!("it reaches the upstream {now}; before: {before}"));
            }
        }
        (Action::Respond { .. } | Action::AssertionKeys, Action::Forward(now)) => {
            let now = new_side.upstream(*now);
            changes.add(Looser, place, format!("it reaches the upstream {now}; before the gateway answered"));
        }
        (Action::Forward(_), Action::AssertionKeys) => {
            changes.add(Stricter, place, "the gateway answers with its public keys; before it reached an upstream");
        }
        (Action::Forward(_), Action::Respond { status, .. }) => {
            changes.add(Stricter, place, format!("the gateway answers with {status}; before it reached an upstream"));
        }
        (before, now) => {
            if before != now {
                changes.add(Neither, place, "the gateway answers otherwise");
            }
        }
    }
}
