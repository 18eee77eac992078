//! Handles to the counters of one route, issuer or upstream, resolved when a configuration is installed, so that a request
//! looks no label up. Label values are closed sets: names from the configuration, reasons from the table of refusals,
//! standard methods and status codes; never a subject, path, kid or raw host.
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{Gauge, Histogram, IntCounter, IntCounterVec, IntGauge};

use crate::edge::metrics::Metrics;
use crate::gate::keys::KeySet;
use crate::gate::rate_limit::CountedBy;
use crate::state::stream_watch::StreamEnd;

/// The label of a request that no route or issuer is known for.
pub const UNMATCHED: &str = "-";

/// The methods that have a label of their own; all others share the last (RFC 9110 §9.3, RFC 5789).
const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", METHOD_OTHER];
const METHOD_OTHER: &str = "other";

/// Status codes that have a label of their own; what is outside shares `other`.
const CODE_MIN: u16 = 100;
const CODE_MAX: u16 = 599;
const CODE_OTHER: &str = "other";

/// The counters of one route.
#[derive(Debug)]
pub struct RouteMetrics {
    route: String,
    requests: RequestCounters,
    request_duration: Histogram,
    /// By issuer, in the order given to [`RouteMetrics::resolve`].
    issuers: Vec<DecisionCounters>,
    /// For decisions in which no issuer was recognised.
    no_issuer: DecisionCounters,
    /// In the order of [`CountedBy::ALL`].
    limited: [IntCounter; CountedBy::ALL.len()],
    streams: IntGauge,
    streams_closed: IntCounterVec,
}

impl RouteMetrics {
    /// The handles of a route: its name (or [`UNMATCHED`]), the issuers whose tokens it may see, and every reason that a
    /// refusal can have.
    ///
    /// Issuers and reasons are named afterwards by their place in these lists.
    #[must_use]
    pub fn resolve(metrics: &Metrics, route: &str, issuers: &[&str], reasons: &'static [&'static str]) -> Self {
        Self {
            route: route.to_owned(),
            requests: RequestCounters::resolve(metrics),
            request_duration: metrics.instruments.http_request_duration.with_label_values(&[route]),
            issuers: issuers.iter().map(|issuer| DecisionCounters::resolve(metrics, route, issuer, reasons)).collect(),
            no_issuer: DecisionCounters::resolve(metrics, route, UNMATCHED, reasons),
            limited: CountedBy::ALL.map(|by| metrics.instruments.rate_limited.with_label_values(&[route, by.name()])),
            streams: metrics.instruments.streams.with_label_values(&[route]),
            streams_closed: metrics.instruments.streams_closed.clone(),
        }
    }

    /// A request was answered: its method as sent, its status (0 when none was sent), its time.
    pub fn answered(&self, method: &str, status: u16, duration: Duration) {
        self.requests.count(&self.route, method, status);
        self.request_duration.observe(duration.as_secs_f64());
    }

    /// An identity was accepted.
    pub fn allowed(&self, issuer: Option<usize>) {
        self.decisions(issuer).allowed.inc();
    }

    /// A request without token was let pass without identity.
    pub fn anonymous(&self) {
        self.no_issuer.anonymous.inc();
    }

    /// A request was refused for its token, its claims or its rights; `reason` is a place in the list of reasons. Counts
    /// the decision and the rejection, so that their sums agree.
    pub fn rejected(&self, issuer: Option<usize>, reason: usize) {
        self.decisions(issuer).reject(&self.route, reason);
    }

    /// A request was refused because too many came, by what they were counted by.
    pub fn limited(&self, by: CountedBy) {
        if let Some(counter) = self.limited.get(by.index()) {
            counter.inc();
        }
    }

    /// A request was let pass that a rule on trial would have refused for a reason, a place in the list of reasons.
    pub fn observed(&self, issuer: Option<usize>, reason: usize) {
        self.decisions(issuer).observed.count(&self.route, reason);
    }

    /// Counts a stream until what is returned is closed or dropped.
    #[must_use]
    pub fn open_stream(&self) -> OpenStream {
        self.streams.inc();
        OpenStream { open: self.streams.clone(), closed: self.streams_closed.clone(), end: StreamEnd::Failed }
    }

    fn decisions(&self, issuer: Option<usize>) -> &DecisionCounters {
        issuer.and_then(|index| self.issuers.get(index)).unwrap_or(&self.no_issuer)
    }
}

/// A stream that is counted: as open until it is dropped, and then as closed.
#[derive(Debug)]
pub struct OpenStream {
    open: IntGauge,
    closed: IntCounterVec,
    end: StreamEnd,
}

impl OpenStream {
    /// It is over, for this reason; without a word it has failed.
    pub fn close(mut self, end: StreamEnd) {
        self.end = end;
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.open.dec();
        self.closed.with_label_values(&[self.end.label()]).inc();
    }
}

/// The decision counters of one route and issuer.
#[derive(Debug)]
struct DecisionCounters {
    allowed: IntCounter,
    anonymous: IntCounter,
    rejected: IntCounter,
    rejections: ReasonCounters,
    observed: ReasonCounters,
}

impl DecisionCounters {
    fn resolve(metrics: &Metrics, route: &str, issuer: &str, reasons: &'static [&'static str]) -> Self {
        let decisions = |result| metrics.instruments.auth_decisions.with_label_values(&[route, issuer, result]);
        Self {
            allowed: decisions("allowed"),
            anonymous: decisions("anonymous"),
            rejected: decisions("rejected"),
            rejections: ReasonCounters::new(&metrics.instruments.auth_rejections, issuer, reasons),
            observed: ReasonCounters::new(&metrics.instruments.auth_observed, issuer, reasons),
        }
    }

    fn reject(&self, route: &str, reason: usize) {
        self.rejected.inc();
        self.rejections.count(route, reason);
    }
}

/// A counter for each reason, filled by the first request of its kind, because most reasons never meet most routes.
#[derive(Debug)]
struct ReasonCounters {
    counters: IntCounterVec,
    issuer: String,
    reasons: &'static [&'static str],
    by_reason: Box<[OnceLock<IntCounter>]>,
}

impl ReasonCounters {
    fn new(counters: &IntCounterVec, issuer: &str, reasons: &'static [&'static str]) -> Self {
        let by_reason = reasons.iter().map(|_| OnceLock::new()).collect();
        Self { counters: counters.clone(), issuer: issuer.to_owned(), reasons, by_reason }
    }

    fn count(&self, route: &str, reason: usize) {
        if let (Some(slot), Some(name)) = (self.by_reason.get(reason), self.reasons.get(reason)) {
            slot.get_or_init(|| self.counters.with_label_values(&[route, &self.issuer, name])).inc();
        }
    }
}

/// The request counters of one route: a row for each method, filled by the first request that uses it.
#[derive(Debug)]
struct RequestCounters {
    requests: IntCounterVec,
    by_method: [OnceLock<Box<[OnceLock<IntCounter>]>>; METHODS.len()],
}

impl RequestCounters {
    /// One place for each code and one for all others.
    const CODES: usize = (CODE_MAX - CODE_MIN) as usize + 2;

    fn resolve(metrics: &Metrics) -> Self {
        Self {
            requests: metrics.instruments.http_requests.clone(),
            by_method: std::array::from_fn(|_| OnceLock::new()),
        }
    }

    fn count(&self, route: &str, method: &str, status: u16) {
        let place = METHODS.iter().position(|standard| *standard == method).unwrap_or(METHODS.len() - 1);
        let known = (CODE_MIN..=CODE_MAX).contains(&status);
        let column = if known { usize::from(status - CODE_MIN) } else { Self::CODES - 1 };
        let (Some(row), Some(method)) = (self.by_method.get(place), METHODS.get(place)) else { return };
        let row = row.get_or_init(|| (0..Self::CODES).map(|_| OnceLock::new()).collect());
        let Some(slot) = row.get(column) else { return };
        slot.get_or_init(|| {
            let number = status.to_string();
            let code = if known { number.as_str() } else { CODE_OTHER };
            self.requests.with_label_values(&[route, method, code])
        })
        .inc();
    }
}

/// The numbers of one issuer's key set, wherever it comes from.
#[derive(Debug, Clone)]
pub struct IssuerMetrics {
    keys: IntGauge,
    skipped_keys: IntGauge,
}

impl IssuerMetrics {
    /// The handles of an issuer of the configuration.
    #[must_use]
    pub fn resolve(metrics: &Metrics, issuer: &str) -> Self {
        Self {
            keys: metrics.instruments.jwks_keys.with_label_values(&[issuer]),
            skipped_keys: metrics.instruments.jwks_skipped_keys.with_label_values(&[issuer]),
        }
    }

    /// This is the current set.
    pub fn holds(&self, set: &KeySet) {
        self.keys.set(i64::try_from(set.keys().len()).unwrap_or(i64::MAX));
        self.skipped_keys.set(i64::try_from(set.skipped_count()).unwrap_or(i64::MAX));
    }

    /// There is no set any more.
    pub fn holds_none(&self) {
        self.keys.set(0);
        self.skipped_keys.set(0);
    }
}

/// The numbers of an issuer whose keys are fetched; one whose keys are in a file has none of these.
#[derive(Debug, Clone)]
pub struct FetchMetrics {
    key_wait: Histogram,
    successes: IntCounter,
    failures: IntCounter,
    success_duration: Histogram,
    failure_duration: Histogram,
    last_success: Gauge,
    clock_offset: Gauge,
}

impl FetchMetrics {
    /// The handles of an issuer of the configuration.
    #[must_use]
    pub fn resolve(metrics: &Metrics, issuer: &str) -> Self {
        let instruments = &metrics.instruments;
        Self {
            key_wait: instruments.key_wait.with_label_values(&[issuer]),
            successes: instruments.jwks_fetches.with_label_values(&[issuer, "success"]),
            failures: instruments.jwks_fetches.with_label_values(&[issuer, "failure"]),
            success_duration: instruments.jwks_fetch_duration.with_label_values(&[issuer, "success"]),
            failure_duration: instruments.jwks_fetch_duration.with_label_values(&[issuer, "failure"]),
            last_success: instruments.jwks_last_success.with_label_values(&[issuer]),
            clock_offset: instruments.clock_offset.with_label_values(&[issuer]),
        }
    }

    /// A request waited this long for the keys.
    pub fn waited(&self, duration: Duration) {
        self.key_wait.observe(duration.as_secs_f64());
    }

    /// A fetch ended at `now` with a set that was taken.
    pub fn fetched(&self, duration: Duration, now: SystemTime) {
        self.successes.inc();
        self.success_duration.observe(duration.as_secs_f64());
        self.last_success.set(seconds_between(UNIX_EPOCH, now));
    }

    /// The issuer's clock is this many seconds ahead of ours.
    pub fn clock_differs(&self, seconds: f64) {
        self.clock_offset.set(seconds);
    }

    /// The set in force was fetched at this time, by an earlier process.
    pub fn restored(&self, time: SystemTime) {
        self.last_success.set(seconds_between(UNIX_EPOCH, time));
    }

    /// A fetch ended without a set that could be taken.
    pub fn failed(&self, duration: Duration) {
        self.failures.inc();
        self.failure_duration.observe(duration.as_secs_f64());
    }
}

/// The numbers of one upstream.
#[derive(Debug, Clone)]
pub struct UpstreamMetrics {
    duration: Histogram,
    retries: IntCounter,
}

impl UpstreamMetrics {
    /// The handles of an upstream of the configuration.
    #[must_use]
    pub fn resolve(metrics: &Metrics, upstream: &str) -> Self {
        Self {
            duration: metrics.instruments.upstream_duration.with_label_values(&[upstream]),
            retries: metrics.instruments.upstream_retries.with_label_values(&[upstream]),
        }
    }

    /// The head of an answer came after this time.
    pub fn answered(&self, duration: Duration) {
        self.duration.observe(duration.as_secs_f64());
    }

    /// Another attempt is made for a request.
    pub fn retried(&self) {
        self.retries.inc();
    }
}

/// Seconds from one time to the other, negative when that is earlier.
fn seconds_between(from: SystemTime, to: SystemTime) -> f64 {
    match to.duration_since(from) {
        Ok(ahead) => ahead.as_secs_f64(),
        Err(behind) => -behind.duration().as_secs_f64(),
    }
}
