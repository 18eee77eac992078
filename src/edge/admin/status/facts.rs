//! What the status page tells, gathered at one moment. It holds no token, no secret and nothing of a request but what
//! `GET /rejections` shows as well.
use std::{
    sync::Mutex,
    time::{Duration, SystemTime},
};

use crate::{
    edge::{
        admin::{AdminApp, views::printable},
        clock,
        installed::Installed,
        metrics::{Readings, Sample},
        rejections::RecentRejection,
    },
    gate::{keys::Key, route::Authentication},
    state::{
        key_slot::{KeySlot, KeyStatus},
        rejection_counts::ReasonCount,
        traffic::{Stretch, Traffic, WINDOW},
    },
};

/// Refusals that are shown one by one.
const REJECTIONS_SHOWN: usize = 12;

/// Everything on the page.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) at: SystemTime,
    pub(super) uptime: Duration,
    /// What readiness depends on, and whether it is so.
    pub(super) conditions: Vec<(String, bool)>,
    pub(super) is_draining: bool,
    /// The last minutes as a whole, and in their parts.
    pub(super) traffic: Stretch,
    pub(super) stretches: Vec<Stretch>,
    pub(super) in_flight: i64,
    pub(super) connections: i64,
    pub(super) cache_entries: u64,
    pub(super) cache_capacity: u64,
    pub(super) reasons: Vec<ReasonCount>,
    pub(super) rejections: Vec<RecentRejection>,
    pub(super) issuers: Vec<IssuerFacts>,
    pub(super) upstreams: Vec<UpstreamFacts>,
    pub(super) reload: Option<ReloadFacts>,
    pub(super) certificates: Vec<CertificateFacts>,
    pub(super) routes: usize,
    pub(super) public_routes: Vec<String>,
    pub(super) observed_routes: Vec<ObservedFacts>,
    pub(super) revocations: u64,
    /// Sources of revocations whose last good list serves in place of what is there now.
    pub(super) revocation_troubles: Vec<String>,
    pub(super) log_lines_lost: u64,
}

/// One issuer.
#[derive(Debug)]
pub(super) struct IssuerFacts {
    pub(super) name: String,
    pub(super) identifier: String,
    pub(super) is_required: bool,
    pub(super) keys: Option<Vec<KeyFacts>>,
    pub(super) skipped: usize,
    pub(super) status: KeyStatus,
}

/// One key.
#[derive(Debug)]
pub(super) struct KeyFacts {
    pub(super) kid: Option<String>,
    pub(super) algorithms: String,
}

/// One upstream.
#[derive(Debug)]
pub(super) struct UpstreamFacts {
    pub(super) name: String,
    /// Answers since the start, their mean time, and attempts beyond the first.
    pub(super) answers: u64,
    pub(super) mean: Option<Duration>,
    pub(super) retries: u64,
    /// Each server that is checked, and whether it is well.
    pub(super) servers: Vec<(String, bool)>,
}

/// The last time that the configuration was read again.
#[derive(Debug)]
pub(super) struct ReloadFacts {
    pub(super) is_successful: bool,
    /// When the configuration in force was taken; nothing when it is the one of the start.
    pub(super) last_success: Option<SystemTime>,
}

/// One certificate that is shown to clients.
#[derive(Debug)]
pub(super) struct CertificateFacts {
    pub(super) listener: String,
    pub(super) name: String,
    /// How long it is good for yet; nothing when it is over.
    pub(super) left: Option<Duration>,
}

/// A route with a rule on trial.
#[derive(Debug)]
pub(super) struct ObservedFacts {
    pub(super) name: String,
    /// Whether even authentication is only observed.
    pub(super) is_authentication: bool,
    /// Requests since the start that the rule would have refused.
    pub(super) would_refuse: u64,
}

impl Facts {
    /// Looks at everything once.
    pub(super) fn gather(app: &AdminApp, traffic: &Mutex<Traffic>) -> Self {
        let installed = app.shared.installed.load();
        let metrics = &app.shared.metrics;
        let readings = metrics.readings();
        let (now, at) = (clock::monotonic(), clock::now());
        let counted = metrics.counted();
        let (uptime, whole, stretches) = {
            let traffic = traffic.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            (traffic.age(now), traffic.over(WINDOW, now, counted), traffic.stretches())
        };
        let (rejections, reasons) = app.shared.reporter.rejections.lately(REJECTIONS_SHOWN);
        let cache = installed.gatekeeper.cache();
        let routes = installed.gatekeeper.ruleset().routes.routes();
        let public = routes.iter().filter(|route| route.authentication == Authentication::Public);
        Self {
            at,
            uptime,
            conditions: app.health.readiness(&installed).into_conditions(),
            is_draining: app.health.is_draining(),
            traffic: whole,
            stretches,
            in_flight: metrics.requests_in_flight(),
            connections: metrics.connections_open(),
            cache_entries: cache.entries() as u64,
            cache_capacity: cache.capacity() as u64,
            reasons,
            rejections,
            issuers: issuers(&installed),
            upstreams: upstreams(&installed, &readings),
            reload: readings.last_reload_successful().map(|is_successful| ReloadFacts {
                is_successful,
                last_success: readings.last_reload_success().and_then(time),
            }),
            certificates: readings.certificates().iter().map(|sample| certificate(sample, at)).collect(),
            routes: routes.len(),
            public_routes: public.map(|route| route.name.to_string()).collect(),
            observed_routes: observed(&installed, &readings),
            revocations: whole_number(readings.revocations()),
            revocation_troubles: readings
                .revocation_sources()
                .iter()
                .filter(|sample| sample.value < 1.0)
                .map(|sample| sample.label("source").to_owned())
                .collect(),
            log_lines_lost: whole_number(readings.access_log_dropped()),
        }
    }

    /// Whether the host takes traffic.
    pub(super) fn is_ready(&self) -> bool {
        self.conditions.iter().all(|(_, is_met)| *is_met)
    }
}

fn issuers(installed: &Installed) -> Vec<IssuerFacts> {
    let gatekeeper = &installed.gatekeeper;
    let required = &installed.required_for_readiness;
    let pairs = gatekeeper.ruleset().issuers.iter().zip(gatekeeper.slots());
    pairs
        .enumerate()
        .map(|(place, (issuer, slot))| {
            let set = slot.keys();
            IssuerFacts {
                name: issuer.name.to_string(),
                identifier: issuer.identifier.to_string(),
                is_required: required.get(place).is_some_and(|required| *required),
                skipped: set.as_deref().map_or(0, crate::gate::keys::KeySet::skipped_count),
                keys: set.as_deref().map(|set| set.keys().iter().map(|key| key_facts(key)).collect()),
                status: status(slot),
            }
        })
        .collect()
}

fn status(slot: &KeySlot) -> KeyStatus {
    slot.status(clock::monotonic())
}

fn key_facts(key: &Key) -> KeyFacts {
    let algorithms: Vec<&str> = key.algorithms().iter().map(|algorithm| algorithm.name()).collect();
    KeyFacts { kid: key.kid().map(printable), algorithms: algorithms.join(" ") }
}

fn upstreams(installed: &Installed, readings: &Readings) -> Vec<UpstreamFacts> {
    let (answers, retries, health) =
        (readings.upstream_answers(), readings.upstream_retries(), readings.upstream_health());
    let of = |samples: &[Sample], name: &str| samples.iter().find(|sample| sample.label("upstream") == name).cloned();
    installed
        .upstream_names()
        .iter()
        .map(|name| {
            let answered = of(&answers, name);
            let servers = health.iter().filter(|sample| sample.label("upstream") == name.as_ref());
            UpstreamFacts {
                name: name.to_string(),
                answers: answered.as_ref().map_or(0, |sample| whole_number(sample.value)),
                mean: answered.and_then(|sample| Duration::try_from_secs_f64(sample.mean?).ok()),
                retries: of(&retries, name).map_or(0, |sample| whole_number(sample.value)),
                servers: servers.map(|sample| (sample.label("server").to_owned(), sample.value > 0.0)).collect(),
            }
        })
        .collect()
}

fn observed(installed: &Installed, readings: &Readings) -> Vec<ObservedFacts> {
    let counts = readings.observed();
    let routes = installed.gatekeeper.ruleset().routes.routes().iter();
    routes
        .filter(|route| route.observes_authentication || route.observed.is_some())
        .map(|route| {
            let own = counts.iter().filter(|sample| sample.label("route") == route.name.as_ref());
            ObservedFacts {
                name: route.name.to_string(),
                is_authentication: route.observes_authentication,
                would_refuse: own.map(|sample| whole_number(sample.value)).sum(),
            }
        })
        .collect()
}

fn certificate(sample: &Sample, now: SystemTime) -> CertificateFacts {
    CertificateFacts {
        listener: sample.label("listener").to_owned(),
        name: sample.label("certificate").to_owned(),
        left: time(sample.value).and_then(|end| end.duration_since(now).ok()),
    }
}

/// A count that is kept as a float; what is negative or no number is nothing.
fn whole_number(value: f64) -> u64 {
    value as u64
}

fn time(seconds: f64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}
