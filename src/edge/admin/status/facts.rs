//! What the status page tells, gathered at one moment. It holds no token, no secret and nothing of a request but what
//! `GET /rejections` shows as well.
use std::{
    sync::Mutex,
    time::{Duration, SystemTime},
};

use crate::{
    edge::{
        admin::{AdminApp, status::figures::duration, views::printable},
        clock,
        installed::Installed,
        metrics::{Readings, Sample},
        rejections::RecentRejection,
        upstream::ServerView,
    },
    gate::{keys::Key, route::Authentication},
    state::{
        key_slot::{KeySlot, KeyStatus},
        rejection_counts::ReasonCount,
        server_health::Standing,
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
    /// Streams that are open now.
    pub(super) streams: u64,
    /// What was turned away since the start, by what limit.
    pub(super) turned_away: Vec<(String, u64)>,
    pub(super) cache_entries: u64,
    pub(super) cache_capacity: u64,
    pub(super) reasons: Vec<ReasonCount>,
    pub(super) rejections: Vec<RecentRejection>,
    pub(super) issuers: Vec<IssuerFacts>,
    pub(super) upstreams: Vec<UpstreamFacts>,
    pub(super) reload: ReloadFacts,
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
    pub(super) servers: Vec<ServerFacts>,
}

/// One server of an upstream.
#[derive(Debug)]
pub(super) struct ServerFacts {
    /// As written.
    pub(super) name: String,
    /// Whether it gets requests.
    pub(super) is_well: bool,
    /// What is wrong with one of its addresses, also when others serve in its place.
    pub(super) trouble: Option<String>,
}

/// Which configuration serves, and what became of the last reload.
#[derive(Debug, Default)]
pub(super) struct ReloadFacts {
    /// When the configuration in force was taken.
    pub(super) in_force_since: Option<SystemTime>,
    /// When a reload was last asked for; nothing when none was.
    pub(super) asked_for: Option<SystemTime>,
    /// Why that one changed nothing: the first line of it.
    pub(super) failure: Option<String>,
    /// The file is not what is in force.
    pub(super) is_outdated: bool,
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
            streams: readings.streams().iter().map(|sample| whole_number(sample.value)).sum(),
            turned_away: turned_away(&readings),
            cache_entries: cache.entries() as u64,
            cache_capacity: cache.capacity() as u64,
            reasons,
            rejections,
            issuers: issuers(&installed),
            upstreams: upstreams(&installed, &readings),
            reload: reload(app, &readings),
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
    let (answers, retries) = (readings.upstream_answers(), readings.upstream_retries());
    let of = |samples: &[Sample], name: &str| samples.iter().find(|sample| sample.label("upstream") == name).cloned();
    let view = installed.upstreams.view();
    view.iter()
        .map(|upstream| {
            let name: &str = &upstream.settings.name;
            let answered = of(&answers, name);
            UpstreamFacts {
                name: name.to_owned(),
                answers: answered.as_ref().map_or(0, |sample| whole_number(sample.value)),
                mean: answered.and_then(|sample| Duration::try_from_secs_f64(sample.mean?).ok()),
                retries: of(&retries, name).map_or(0, |sample| whole_number(sample.value)),
                servers: upstream.servers.iter().map(server).collect(),
            }
        })
        .collect()
}

fn server(view: &ServerView<'_>) -> ServerFacts {
    let now = clock::monotonic();
    let trouble = view.addresses.iter().find_map(|(address, health)| {
        let standing = match health.standing {
            Standing::Available => return None,
            Standing::Down => "its health checks fail".to_owned(),
            Standing::Ejected { until } => {
                format!("its requests failed, tried again in {}", duration(until.saturating_duration_since(now)))
            }
        };
        let place =
            address.filter(|_| view.addresses.len() > 1).map_or_else(String::new, |address| format!("{address}: "));
        let error = health.last_check.as_ref().and_then(|check| check.error.as_deref());
        Some(format!("{place}{standing}{}", error.map_or_else(String::new, |error| format!(" ({})", printable(error)))))
    });
    ServerFacts { name: view.written.to_owned(), is_well: view.is_healthy(), trouble }
}

fn reload(app: &AdminApp, readings: &Readings) -> ReloadFacts {
    let last = app.reloader.reloads.last();
    let first_line = |failure: &String| printable(failure.lines().next().unwrap_or_default());
    ReloadFacts {
        in_force_since: readings.config_in_force_since().and_then(time),
        asked_for: last.as_ref().and_then(|last| time(last.at.milliseconds() as f64 / 1000.0)),
        failure: last.as_ref().and_then(|last| last.failure.as_ref()).map(first_line),
        is_outdated: readings.config_is_outdated(),
    }
}

/// Requests beyond rate limits and connections beyond limits, each kind once.
fn turned_away(readings: &Readings) -> Vec<(String, u64)> {
    let rates = readings.rate_limited().into_iter().map(|sample| {
        let (route, by) = (sample.label("route"), sample.label("by"));
        (format!("requests to {route} by the limit for each {by}"), whole_number(sample.value))
    });
    let connections = readings
        .connections_refused()
        .into_iter()
        .map(|sample| (format!("connections by limits.{}", sample.label("limit")), whole_number(sample.value)));
    rates.chain(connections).filter(|(_, count)| *count > 0).collect()
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
