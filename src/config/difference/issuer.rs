//! Whose tokens count, and what is believed of them.
use std::time::Duration;

use crate::config::difference::{Changes, Direction, Side, route::compare_requirements};
use crate::config::settings::{IssuerKeys, KeySource, RemoteKeys};
use crate::gate::algorithm::Algorithm;
use crate::gate::issuer::{Audiences, Issuer};
use crate::gate::keys::KeySet;

use Direction::{Looser, Neither, Stricter, Unclear};

/// Every issuer that both have. One that is new counts only where a route names it, which is compared there.
pub(super) fn compare(old: Side<'_>, new: Side<'_>, changes: &mut Changes) {
    let pairs = |side: Side<'_>, name: &str| {
        let issuers = side.0.live.ruleset.issuers.iter().zip(&side.0.live.keys);
        issuers.into_iter().find(|(issuer, _)| *issuer.name == *name).map(|(issuer, _)| issuer.clone())
    };
    for (issuer, keys) in new.0.live.ruleset.issuers.iter().zip(&new.0.live.keys) {
        let place = format!("issuer {}", issuer.name);
        let Some(before) = pairs(old, &issuer.name) else {
            changes.add(Neither, &place, "it is new");
            continue;
        };
        compare_one(&place, &before, issuer, changes);
        let position = old.0.live.ruleset.issuers.iter().position(|other| other.name == issuer.name);
        if let Some(before) = position.and_then(|position| old.0.live.keys.get(position)) {
            let written = |side: Side<'_>| {
                side.0.live.document.pointer("/issuers").and_then(|all| all.get(&*issuer.name)?.get("keys")).cloned()
            };
            compare_keys(&place, before, keys, written(old) == written(new), changes);
        }
    }
    for issuer in &old.0.live.ruleset.issuers {
        if pairs(new, &issuer.name).is_none() {
            changes.add(Neither, &format!("issuer {}", issuer.name), "it is gone");
        }
    }
}

fn compare_one(place: &str, old: &Issuer, new: &Issuer, changes: &mut Changes) {
    // Taken apart by name, so that nothing is left out.
    let Issuer {
        name: _,
        identifier,
        audiences,
        audience_claim,
        algorithms,
        leeway,
        token_types,
        required_claims,
        max_lifetime,
        subject,
        roles,
        scopes,
        client,
        requirement,
    } = new;
    if *identifier != old.identifier {
        changes.add(Unclear, place, format!("`iss` is {identifier}; before: {}", old.identifier));
    }
    match (&old.audiences, audiences) {
        (Audiences::AnyOf(before), Audiences::AnyOf(now)) => {
            changes.add_members((place, "audiences"), (before, now), (Looser, Stricter), ToString::to_string);
        }
        (Audiences::AnyOf(_), Audiences::Unchecked) => {
            changes.add(Looser, place, "tokens for any audience count (insecure_any_audience)");
        }
        (Audiences::Unchecked, Audiences::AnyOf(_)) => changes.add(Stricter, place, "the audience is looked at"),
        (Audiences::Unchecked, Audiences::Unchecked) => {}
    }
    let listed = |algorithms: crate::gate::algorithm::Algorithms| algorithms.iter().collect::<Vec<Algorithm>>();
    let both = (listed(old.algorithms), listed(*algorithms));
    changes.add_members((place, "algorithms"), (&both.0, &both.1), (Looser, Stricter), |algorithm| {
        algorithm.name().to_owned()
    });
    let seconds = |duration: Duration| format!("{} s", duration.as_secs());
    changes.add_limit((place, "leeway"), (Some(old.leeway), Some(*leeway)), seconds);
    changes.add_limit((place, "the longest lifetime"), (old.max_lifetime, *max_lifetime), seconds);
    let types = |types: &[Box<str>]| types.iter().map(|name| name.to_ascii_lowercase()).collect::<Vec<_>>();
    let both = (types(old.token_types.names()), types(token_types.names()));
    changes.add_members((place, "types of tokens"), (&both.0, &both.1), (Looser, Stricter), Clone::clone);
    if token_types.are_required() != old.token_types.are_required() {
        let direction = if token_types.are_required() { Stricter } else { Looser };
        changes.add(direction, place, format!("`typ` must be there: {}", token_types.are_required()));
    }
    let both = (old.required_claims.as_slice(), required_claims.as_slice());
    changes.add_members((place, "required claims"), both, (Stricter, Looser), ToString::to_string);
    let places = [
        (*audience_claim != old.audience_claim, "the audience"),
        (*subject != old.subject, "the subject"),
        (*roles != old.roles, "roles"),
        (*scopes != old.scopes, "scopes"),
        (*client != old.client, "the client"),
    ];
    for (_, what) in places.iter().filter(|(is_other, _)| *is_other) {
        changes.add(Unclear, place, format!("{what} is another claim of its tokens"));
    }
    compare_requirements(place, &old.requirement, requirement, Looser, changes);
}

fn compare_keys(place: &str, old: &IssuerKeys, new: &IssuerKeys, is_written_alike: bool, changes: &mut Changes) {
    let IssuerKeys { source, required_for_readiness } = new;
    match (&old.source, source) {
        (KeySource::Fixed(before), KeySource::Fixed(now)) => compare_sets(place, before, now, changes),
        (KeySource::File(before), KeySource::File(now)) => {
            compare_sets(place, &before.set, &now.set, changes);
            if before.path.file_name() != now.path.file_name() {
                changes.add(Neither, place, "its keys are in another file");
            }
        }
        (KeySource::Remote(before), KeySource::Remote(now)) => compare_remote(place, before, now, changes),
        (KeySource::Unread, KeySource::Unread) if is_written_alike => {}
        (KeySource::Fixed(_) | KeySource::File(_) | KeySource::Remote(_) | KeySource::Unread, _) => {
            changes.add(Unclear, place, "its keys come from elsewhere");
        }
    }
    if *required_for_readiness != old.required_for_readiness {
        changes.add(Neither, place, format!("readiness waits for its keys: {required_for_readiness}"));
    }
}

fn compare_sets(place: &str, old: &KeySet, new: &KeySet, changes: &mut Changes) {
    let shown = |set: &KeySet| -> Vec<(String, String)> {
        let keys = set.keys().iter();
        keys.map(|key| (key.thumbprint().to_string(), key.kid().unwrap_or("without kid").to_owned())).collect()
    };
    let both = (shown(old), shown(new));
    changes.add_members((place, "keys"), (&both.0, &both.1), (Looser, Stricter), |(_, kid)| kid.clone());
    // The same key may verify more, or under another name; a token that names none of them is tried with all.
    let uses = |set: &KeySet| -> Vec<String> {
        let keys = set.keys().iter();
        keys.map(|key| format!("{} {:?}", key.thumbprint(), listed(key.algorithms()))).collect()
    };
    let (before, now) = (uses(old), uses(new));
    if both.0 == both.1 && before != now {
        changes.add(Unclear, place, "its keys verify other algorithms");
    }
}

fn listed(algorithms: crate::gate::algorithm::Algorithms) -> Vec<&'static str> {
    algorithms.iter().map(Algorithm::name).collect()
}

fn compare_remote(place: &str, old: &RemoteKeys, new: &RemoteKeys, changes: &mut Changes) {
    let RemoteKeys { location, refresh, cooldown, max_stale, timeout, ca_pem, insecure_http } = new;
    if *location != old.location {
        changes.add(Unclear, place, "its keys are fetched from elsewhere");
    }
    if *insecure_http != old.insecure_http {
        let direction = if *insecure_http { Looser } else { Stricter };
        changes.add(direction, place, format!("keys may be fetched without encryption: {insecure_http}"));
    }
    if *ca_pem != old.ca_pem {
        changes.add(Unclear, place, "other certificates are trusted where its keys are (ca_file)");
    }
    let seconds = |duration: Duration| format!("{} s", duration.as_secs());
    changes.add_limit((place, "how long old keys serve (max_stale)"), (Some(old.max_stale), Some(*max_stale)), seconds);
    changes.add_limit(
        (place, "how long a withdrawn key counts (refresh)"),
        (Some(old.refresh), Some(*refresh)),
        seconds,
    );
    if (*cooldown, *timeout) != (old.cooldown, old.timeout) {
        changes.add(Neither, place, "keys are fetched at another pace (cooldown, timeout)");
    }
}
