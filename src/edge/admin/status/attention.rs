//! What on the status page needs somebody's attention, the worst first: the answer to "is it us?".
use std::time::Duration;

use crate::{
    edge::admin::{
        status::{
            facts::{CertificateFacts, Facts, IssuerFacts},
            figures::duration,
        },
        views::printable,
    },
    state::key_slot::KeyStatus,
};

/// From here on a certificate is about to end.
const CERTIFICATE_SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// From here on it must be renewed today.
const CERTIFICATE_NOW: Duration = Duration::from_secs(3 * 24 * 60 * 60);
/// Below this share of hits the cache is of little use; judged from so many lookups on.
const HIT_SHARE_MIN: f64 = 0.5;
const LOOKUPS_MIN: u64 = 1_000;
/// Above this share of 5xx something behind is wrong; judged from so many requests on.
const ERROR_SHARE_MAX: f64 = 0.05;
const REQUESTS_MIN: u64 = 100;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// Somebody is refused, or will be within hours.
    Bad,
    /// It works, and should not stay so.
    Warning,
}

/// Everything that needs attention.
pub(super) fn attention(facts: &Facts) -> Vec<(Weight, String)> {
    let mut found = Vec::new();
    facts.issuers.iter().for_each(|issuer| note_issuer(&mut found, issuer));
    for upstream in &facts.upstreams {
        let down: Vec<&str> =
            upstream.servers.iter().filter(|server| !server.is_well).map(|server| server.name.as_str()).collect();
        if !down.is_empty() {
            let weight = if down.len() == upstream.servers.len() { Weight::Bad } else { Weight::Warning };
            found.push((weight, format!("Upstream {}: {} is down", upstream.name, down.join(", "))));
        }
    }
    facts.certificates.iter().for_each(|certificate| note_certificate(&mut found, certificate));
    if let Some(failure) = &facts.reload.failure {
        let what = format!("The last reload changed nothing, the configuration from before is in force: {failure}");
        found.push((Weight::Warning, what));
    } else if facts.reload.is_outdated {
        let what = "The file of the configuration is not what is in force: it waits for a reload";
        found.push((Weight::Warning, what.to_owned()));
    }
    for source in &facts.revocation_troubles {
        let what = format!("Revocations from {source} cannot be read as they are now: the last good list is in force");
        found.push((Weight::Warning, what));
    }
    note_traffic(&mut found, facts);
    for route in facts.observed_routes.iter().filter(|route| route.is_authentication) {
        let what = format!("Route {}: authentication is only observed, whoever would be refused passes", route.name);
        found.push((Weight::Warning, what));
    }
    if facts.log_lines_lost > 0 {
        found.push((Weight::Warning, format!("{} lines of the access log were lost", facts.log_lines_lost)));
    }
    found.sort_by_key(|(weight, _)| *weight);
    found
}

fn note_issuer(found: &mut Vec<(Weight, String)>, issuer: &IssuerFacts) {
    let name = &issuer.name;
    if issuer.keys.is_none() {
        found.push((Weight::Bad, format!("Issuer {name} has no keys: its tokens get 503")));
    }
    match &issuer.status {
        KeyStatus::Fixed => {}
        KeyStatus::File { last_error, .. } => {
            if let Some(error) = last_error {
                found.push((Weight::Warning, format!("Issuer {name}: its file cannot be used: {}", printable(error))));
            }
        }
        KeyStatus::Remote(status) => {
            if let Some(error) = &status.last_error {
                let left = status.stale_in.map_or_else(String::new, |left| format!(" (good for {})", duration(left)));
                let what = format!("Issuer {name}: the last fetch of its keys failed{left}: {}", printable(error));
                found.push((Weight::Warning, what));
            }
            if status.is_restored {
                let what = format!("Issuer {name}: its keys are those that were kept on disk, none were fetched yet");
                found.push((Weight::Warning, what));
            }
            for error in [&status.metadata_error, &status.disk_error].into_iter().flatten() {
                found.push((Weight::Warning, format!("Issuer {name}: {}", printable(error))));
            }
        }
    }
}

fn note_certificate(found: &mut Vec<(Weight, String)>, certificate: &CertificateFacts) {
    let CertificateFacts { listener, name, left } = certificate;
    match left {
        None => found.push((Weight::Bad, format!("Certificate {name} of listener {listener} has expired"))),
        Some(left) if *left < CERTIFICATE_SOON => {
            let weight = if *left < CERTIFICATE_NOW { Weight::Bad } else { Weight::Warning };
            found.push((weight, format!("Certificate {name} of listener {listener} expires in {}", duration(*left))));
        }
        Some(_) => {}
    }
}

fn note_traffic(found: &mut Vec<(Weight, String)>, facts: &Facts) {
    let counted = &facts.traffic.counted;
    let share = |part: u64, whole: u64| part as f64 / whole as f64;
    if counted.requests >= REQUESTS_MIN && share(counted.server_errors, counted.requests) > ERROR_SHARE_MAX {
        let percent = share(counted.server_errors, counted.requests) * 100.0;
        found.push((Weight::Bad, format!("{percent:.0} % of the last requests were answered with 5xx")));
    }
    if facts.cache_capacity > 0
        && counted.cache_lookups >= LOOKUPS_MIN
        && share(counted.cache_hits, counted.cache_lookups) < HIT_SHARE_MIN
    {
        let what = "More than half of the tokens are new to the claims cache: every request costs a signature check";
        found.push((Weight::Warning, what.to_owned()));
    }
}
