//! Every metric of the process, in one registry of its own: what is defined (`definitions`), the handles that requests
//! count with (`handles`), the text that a scraper reads. It never reads a clock and never decides what is counted.
mod definitions;
mod handles;
mod inherited;
mod readings;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::core::Collector as _;
use prometheus::process_collector::ProcessCollector;
use prometheus::{Histogram, IntCounter, IntGauge, Registry, TextEncoder};

use crate::edge::metrics::definitions::Instruments;
pub use crate::edge::metrics::definitions::{DEFINITIONS, Definition, Kind};
pub use crate::edge::metrics::handles::{
    FetchMetrics, IssuerMetrics, OpenStream, RouteMetrics, UNMATCHED, UpstreamMetrics,
};
pub use crate::edge::metrics::inherited::Counters;
pub use crate::edge::metrics::readings::{Readings, Sample};
use crate::gate::time::UnixTime;
use crate::state::claims_cache::CacheUse;
use crate::state::connections::ConnectionLimit;

/// The content type of [`Metrics::render`]: the Prometheus text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The registry and the numbers that belong to no route, issuer or upstream.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    instruments: Instruments,
    decision_hit: Histogram,
    decision_miss: Histogram,
    decision_none: Histogram,
    cache_hit: IntCounter,
    cache_miss: IntCounter,
    cache_stale: IntCounter,
    /// The servers and certificates of upstreams that are shown.
    shown: Mutex<Shown>,
    /// What the process before counted.
    inherited: Mutex<Counters>,
    /// In the order of [`ConnectionLimit::ALL`].
    connections_refused: [IntCounter; ConnectionLimit::ALL.len()],
}

/// The labels of rows that come and go with the configuration.
#[derive(Debug, Default)]
struct Shown {
    servers: BTreeSet<[String; 2]>,
    certificates: BTreeSet<[String; 2]>,
}

/// The registry could not be built; the text is the library's. The definitions are constant and tested, so that nobody
/// should ever meet this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsError(String);

impl fmt::Display for MetricsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the metrics cannot be set up or written: {}", self.0)
    }
}

impl std::error::Error for MetricsError {}

impl From<prometheus::Error> for MetricsError {
    fn from(error: prometheus::Error) -> Self {
        Self(error.to_string())
    }
}

/// A connection that is open: counted until it is dropped.
#[derive(Debug)]
pub struct OpenConnection(IntGauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A request being served: counted from its making until it is dropped, whatever way the request ends.
#[derive(Debug)]
pub struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// All metrics, at zero.
    ///
    /// # Errors
    /// Never with the definitions as they are; see [`MetricsError`].
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let instruments = Instruments::register(&registry)?;
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let revision = option_env!("PORTCULLIS_REVISION").unwrap_or("unknown");
        instruments.build_info.with_label_values(&[env!("CARGO_PKG_VERSION"), revision]).set(1);
        let decision = |cache| instruments.auth_duration.with_label_values(&[cache]);
        for result in ["success", "failure"] {
            instruments.config_reloads.with_label_values(&[result]).reset();
        }
        let lookup = |result| instruments.claims_cache_requests.with_label_values(&[result]);
        Ok(Self {
            decision_hit: decision("hit"),
            decision_miss: decision("miss"),
            decision_none: decision("none"),
            cache_hit: lookup("hit"),
            cache_miss: lookup("miss"),
            cache_stale: lookup("stale"),
            connections_refused: ConnectionLimit::ALL
                .map(|limit| instruments.connections_refused.with_label_values(&[limit.name()])),
            shown: Mutex::default(),
            inherited: Mutex::default(),
            registry,
            instruments,
        })
    }

    /// A decision was made in this time, the wait for keys left out; counts the use of the claims cache too.
    pub fn decided(&self, cache: CacheUse, duration: Duration) {
        let (histogram, lookups) = match cache {
            CacheUse::Hit => (&self.decision_hit, Some(&self.cache_hit)),
            CacheUse::Miss => (&self.decision_miss, Some(&self.cache_miss)),
            CacheUse::Stale => (&self.decision_miss, Some(&self.cache_stale)),
            CacheUse::None => (&self.decision_none, None),
        };
        histogram.observe(duration.as_secs_f64());
        if let Some(lookups) = lookups {
            lookups.inc();
        }
    }

    /// So many routes of the configuration in force only observe authentication.
    pub fn set_routes_observing_authentication(&self, routes: usize) {
        self.instruments.routes_observing_authentication.set(routes.try_into().unwrap_or(i64::MAX));
    }

    /// Counts a connection until what is returned is dropped.
    #[must_use]
    pub fn connection(&self) -> OpenConnection {
        let gauge = self.instruments.connections.clone();
        gauge.inc();
        OpenConnection(gauge)
    }

    /// A connection was refused.
    pub fn connection_refused(&self, limit: ConnectionLimit) {
        for (counter, _) in self.connections_refused.iter().zip(ConnectionLimit::ALL).filter(|(_, of)| *of == limit) {
            counter.inc();
        }
    }

    /// Until when the certificate in a file of a listener is valid.
    pub fn certificate_ends(&self, listener: &str, certificate: &str, not_after: UnixTime) {
        let seconds = not_after.seconds() as f64;
        self.instruments.certificate_not_after.with_label_values(&[listener, certificate]).set(seconds);
    }

    /// Connections that are open.
    #[must_use]
    pub fn connections_open(&self) -> i64 {
        self.instruments.connections.get()
    }

    /// A request begins to be served.
    #[must_use]
    pub fn in_flight(&self) -> InFlight {
        let gauge = self.instruments.http_requests_in_flight.clone();
        gauge.inc();
        InFlight(gauge)
    }

    /// How many requests are being served now.
    #[must_use]
    pub fn requests_in_flight(&self) -> i64 {
        self.instruments.http_requests_in_flight.get()
    }

    /// How full the claims cache is: set before each [`Metrics::render`], because the cache keeps these itself.
    pub fn set_claims_cache(&self, entries: u64, bytes: u64, capacity: u64) {
        self.instruments.claims_cache_entries.set(entries.try_into().unwrap_or(i64::MAX));
        self.instruments.claims_cache_bytes.set(bytes.try_into().unwrap_or(i64::MAX));
        self.instruments.claims_cache_capacity.set(capacity.try_into().unwrap_or(i64::MAX));
    }

    /// The counter of tokens that the claims cache forgot to make room.
    #[must_use]
    pub fn claims_cache_evictions(&self) -> IntCounter {
        self.instruments.claims_cache_evictions.clone()
    }

    /// How many revocation entries are in force.
    pub fn set_revocations(&self, entries: usize) {
        self.instruments.revocations.set(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    /// Whether a source of revocations was read as it is now.
    pub fn set_revocation_source(&self, source: &str, is_healthy: bool) {
        self.instruments.revocation_source_healthy.with_label_values(&[source]).set(i64::from(is_healthy));
    }

    /// A source of revocations is none any more.
    pub fn forget_revocation_source(&self, source: &str) {
        let _ = self.instruments.revocation_source_healthy.remove_label_values(&[source]);
    }

    /// An issuer left the configuration: what is told of its keys leaves too; what was counted stays.
    pub fn forget_issuer(&self, issuer: &str) {
        let Instruments { jwks_keys, jwks_skipped_keys, jwks_last_success, clock_offset, .. } = &self.instruments;
        for gauge in [jwks_keys, jwks_skipped_keys] {
            let _ = gauge.remove_label_values(&[issuer]);
        }
        for gauge in [jwks_last_success, clock_offset] {
            let _ = gauge.remove_label_values(&[issuer]);
        }
    }

    /// A configuration with this digest is in force, since then, in place of one with another.
    pub fn config_in_force(&self, sha256: &str, before: Option<&str>, now: UnixTime) {
        if let Some(before) = before.filter(|before| *before != sha256) {
            let _ = self.instruments.config_info.remove_label_values(&[before]);
        }
        self.instruments.config_info.with_label_values(&[sha256]).set(1);
        self.instruments.config_last_reload_successful.set(1);
        self.instruments.config_last_reload_success_timestamp.set(now.milliseconds() as f64 / 1000.0);
    }

    /// A reload was asked for; whether it came into force.
    pub fn config_reloaded(&self, is_in_force: bool) {
        let result = if is_in_force { "success" } else { "failure" };
        self.instruments.config_reloads.with_label_values(&[result]).inc();
        self.instruments.config_last_reload_successful.set(i64::from(is_in_force));
    }

    /// Whether the files of the configuration are others than those that are in force.
    pub fn config_is_outdated(&self, is_so: bool) {
        self.instruments.config_outdated.set(i64::from(is_so));
    }

    /// Which servers of upstreams get requests, and until when the certificates are valid that are shown to them: set before
    /// each [`Metrics::render`], because both change by themselves. Rows that are not named any more leave.
    pub fn set_upstreams(&self, servers: &[([&str; 2], bool)], certificates: &[([&str; 2], f64)]) {
        // A holder that panicked left whole sets behind.
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |labels: &[&str; 2]| labels.map(str::to_owned);
        let Instruments { upstream_healthy, certificate_not_after, .. } = &self.instruments;
        for (labels, is_healthy) in servers {
            upstream_healthy.with_label_values(labels).set(i64::from(*is_healthy));
        }
        for (labels, seconds) in certificates {
            certificate_not_after.with_label_values(labels).set(*seconds);
        }
        let named: BTreeSet<_> = servers.iter().map(|(labels, _)| of(labels)).collect();
        for labels in shown.servers.difference(&named) {
            let _ = upstream_healthy.remove_label_values(labels);
        }
        shown.servers = named;
        let named: BTreeSet<_> = certificates.iter().map(|(labels, _)| of(labels)).collect();
        for labels in shown.certificates.difference(&named) {
            let _ = certificate_not_after.remove_label_values(labels);
        }
        shown.certificates = named;
    }

    /// The counter of lost lines, for the access log.
    #[must_use]
    pub fn access_log_dropped(&self) -> IntCounter {
        self.instruments.access_log_dropped.clone()
    }

    /// Everything as Prometheus text, see [`CONTENT_TYPE`].
    ///
    /// # Errors
    /// When the library cannot write what it gathered; see [`MetricsError`].
    pub fn render(&self) -> Result<String, MetricsError> {
        Ok(TextEncoder::new().encode_to_string(&self.gathered())?)
    }
}

/// The names of all metrics, those of the process included.
#[must_use]
pub fn names() -> Vec<String> {
    rows().into_iter().map(|row| row.name).collect()
}

/// The reference of all metrics as a Markdown table: name, type, labels, help.
#[must_use]
pub fn reference() -> String {
    let mut table = String::from("| metric | type | labels | meaning |\n|---|---|---|---|\n");
    for Row { name, kind, labels, help } in rows() {
        let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        table.push_str(&format!("| `{name}` | {kind} | {labels} | {help} |\n"));
    }
    table
}

/// A row of the reference.
struct Row {
    name: String,
    kind: &'static str,
    labels: &'static [&'static str],
    help: String,
}

fn rows() -> Vec<Row> {
    let own = DEFINITIONS.iter().map(|definition| Row {
        name: definition.name.to_owned(),
        kind: definition.kind.word(),
        labels: definition.labels,
        help: definition.help.to_owned(),
    });
    let collector = ProcessCollector::for_self();
    let process = collector.desc().into_iter().map(|description| Row {
        name: description.fq_name.clone(),
        // The library describes no kind; its one counter is named as one.
        kind: if description.fq_name.ends_with("_total") { Kind::Counter.word() } else { Kind::Gauge.word() },
        labels: &[],
        help: description.help.trim_end_matches('.').to_owned(),
    });
    own.chain(process).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        DEFINITIONS, FetchMetrics, IssuerMetrics, Kind, Metrics, RouteMetrics, UNMATCHED, UpstreamMetrics, names,
        reference,
    };
    use crate::gate::{algorithm::Algorithm, keys::KeySet};
    use crate::state::claims_cache::CacheUse;
    use std::collections::BTreeSet;
    use std::time::{Duration, UNIX_EPOCH};

    const REASONS: &[&str] = &["token_missing", "token_expired"];

    /// What is exported: `name{labels} value`, one row a sample.
    fn samples(metrics: &Metrics) -> Vec<String> {
        let text = metrics.render().unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    #[track_caller]
    fn check(metrics: &Metrics, expected: &[&str]) {
        let samples = samples(metrics);
        for row in expected {
            assert!(samples.iter().any(|sample| sample == row), "no {row} in\n{}", samples.join("\n"));
        }
    }

    fn with_everything_resolved() -> Metrics {
        let metrics = Metrics::new().unwrap();
        let route = RouteMetrics::resolve(&metrics, "orders", &["main"], REASONS);
        route.answered("GET", 200, Duration::from_millis(3));
        route.rejected(Some(0), 1);
        route.observed(Some(0), 1);
        route.open_stream().close(crate::state::stream_watch::StreamEnd::ClientClosed);
        let _ = IssuerMetrics::resolve(&metrics, "main");
        let _ = FetchMetrics::resolve(&metrics, "main");
        let _ = UpstreamMetrics::resolve(&metrics, "orders");
        metrics.config_in_force("0123", None, crate::gate::time::UnixTime::from_seconds(0));
        metrics.set_revocation_source("file", true);
        metrics.set_upstreams(&[(["orders", "10.0.0.1:80"], true)], &[(["upstream orders", "gateway.pem"], 1e9)]);
        metrics
    }

    #[test]
    fn servers_and_certificates_that_are_not_there_any_more_leave() {
        let metrics = with_everything_resolved();
        metrics.set_upstreams(&[(["orders", "10.0.0.2:80"], false)], &[]);
        check(&metrics, &["portcullis_upstream_healthy{server=\"10.0.0.2:80\",upstream=\"orders\"} 0"]);
        let left = samples(&metrics).join("\n");
        assert!(!left.contains("10.0.0.1:80") && !left.contains("gateway.pem"), "{left}");
    }

    #[test]
    fn every_defined_metric_is_exported_with_its_type_help_and_labels_and_no_other_is() {
        let text = with_everything_resolved().render().unwrap();
        for definition in DEFINITIONS {
            let name = definition.name;
            assert!(text.contains(&format!("# TYPE {name} {}\n", definition.kind.word())), "{name}");
            assert!(text.contains(&format!("# HELP {name} {}\n", definition.help)), "{name}");
            let sample = text.lines().find(|line| !line.starts_with('#') && line.starts_with(name)).unwrap();
            for label in definition.labels {
                assert!(sample.contains(&format!("{label}=\"")), "{sample} lacks {label}");
            }
        }
        let exported: BTreeSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let documented = names();
        assert_eq!(exported, documented.iter().map(String::as_str).collect());
        assert!(exported.contains("process_start_time_seconds"));
    }

    #[test]
    fn names_follow_the_conventions_of_their_kind() {
        for definition in DEFINITIONS {
            let name = definition.name;
            assert!(name.starts_with("portcullis_"), "{name}");
            assert_eq!(name.ends_with("_total"), definition.kind == Kind::Counter, "{name}");
            let ascending = definition.buckets.windows(2).all(|pair| pair[0] < pair[1]);
            assert!(ascending && definition.buckets.is_empty() == (definition.kind != Kind::Histogram), "{name}");
            assert!(!definition.help.ends_with('.') && !definition.help.contains('|'), "{name}");
        }
        assert_eq!(names().len(), names().iter().collect::<BTreeSet<_>>().len());
    }

    #[test]
    fn the_reference_has_a_row_for_every_metric() {
        let reference = reference();
        assert_eq!(reference.lines().count(), names().len() + 2);
        assert!(
            reference.contains("| `portcullis_http_requests_total` | counter | `route`, `method`, `code` | Requests ")
        );
        assert!(reference.contains("| `process_cpu_seconds_total` | counter |  | Total user and system CPU time"));
    }

    #[test]
    fn requests_are_counted_by_route_method_and_code_with_a_closed_set_of_labels() {
        let metrics = Metrics::new().unwrap();
        let route = RouteMetrics::resolve(&metrics, "orders", &[], REASONS);
        for (method, status) in
            [("GET", 200), ("GET", 200), ("get", 200), ("PROPFIND", 599), ("PATCH", 0), ("PATCH", 600)]
        {
            route.answered(method, status, Duration::from_millis(1));
        }
        check(
            &metrics,
            &[
                r#"portcullis_http_requests_total{code="200",method="GET",route="orders"} 2"#,
                r#"portcullis_http_requests_total{code="200",method="other",route="orders"} 1"#,
                r#"portcullis_http_requests_total{code="599",method="other",route="orders"} 1"#,
                r#"portcullis_http_requests_total{code="other",method="PATCH",route="orders"} 2"#,
                r#"portcullis_http_request_duration_seconds_bucket{route="orders",le="0.0005"} 0"#,
                r#"portcullis_http_request_duration_seconds_bucket{route="orders",le="0.001"} 6"#,
                r#"portcullis_http_request_duration_seconds_count{route="orders"} 6"#,
            ],
        );
    }

    #[test]
    fn decisions_and_rejections_are_counted_together_by_route_and_issuer() {
        let metrics = Metrics::new().unwrap();
        let route = RouteMetrics::resolve(&metrics, "orders", &["main", "partner"], REASONS);
        route.allowed(Some(1));
        route.anonymous();
        route.rejected(None, 0);
        route.rejected(Some(0), 1);
        route.rejected(Some(0), 1);
        RouteMetrics::resolve(&metrics, UNMATCHED, &[], REASONS).rejected(Some(7), 0);
        check(
            &metrics,
            &[
                r#"portcullis_auth_decisions_total{issuer="partner",result="allowed",route="orders"} 1"#,
                r#"portcullis_auth_decisions_total{issuer="-",result="anonymous",route="orders"} 1"#,
                r#"portcullis_auth_decisions_total{issuer="-",result="rejected",route="orders"} 1"#,
                r#"portcullis_auth_decisions_total{issuer="main",result="rejected",route="orders"} 2"#,
                r#"portcullis_auth_decisions_total{issuer="main",result="allowed",route="orders"} 0"#,
                r#"portcullis_auth_rejections_total{issuer="-",reason="token_missing",route="orders"} 1"#,
                r#"portcullis_auth_rejections_total{issuer="main",reason="token_expired",route="orders"} 2"#,
                r#"portcullis_auth_rejections_total{issuer="-",reason="token_missing",route="-"} 1"#,
            ],
        );
    }

    #[test]
    fn a_configuration_installed_again_goes_on_counting_where_it_was() {
        let metrics = Metrics::new().unwrap();
        for _ in 0..2 {
            let route = RouteMetrics::resolve(&metrics, "orders", &["main"], REASONS);
            route.allowed(Some(0));
            route.answered("GET", 204, Duration::ZERO);
        }
        check(
            &metrics,
            &[
                r#"portcullis_auth_decisions_total{issuer="main",result="allowed",route="orders"} 2"#,
                r#"portcullis_http_requests_total{code="204",method="GET",route="orders"} 2"#,
            ],
        );
    }

    #[test]
    fn a_decision_counts_its_time_and_its_use_of_the_cache() {
        let metrics = Metrics::new().unwrap();
        for cache in [CacheUse::Hit, CacheUse::Miss, CacheUse::Stale, CacheUse::None] {
            metrics.decided(cache, Duration::from_nanos(700));
        }
        metrics.set_claims_cache(3, u64::MAX, 50_000);
        metrics.claims_cache_evictions().inc();
        check(
            &metrics,
            &[
                r#"portcullis_auth_duration_seconds_bucket{cache="hit",le="0.0000005"} 0"#,
                r#"portcullis_auth_duration_seconds_bucket{cache="hit",le="0.000001"} 1"#,
                r#"portcullis_auth_duration_seconds_count{cache="miss"} 2"#,
                r#"portcullis_auth_duration_seconds_count{cache="none"} 1"#,
                r#"portcullis_claims_cache_requests_total{result="hit"} 1"#,
                r#"portcullis_claims_cache_requests_total{result="stale"} 1"#,
                "portcullis_claims_cache_entries 3",
                "portcullis_claims_cache_capacity 50000",
                "portcullis_claims_cache_evictions_total 1",
            ],
        );
    }

    #[test]
    fn fetches_tell_their_outcome_the_last_success_and_the_issuers_clock() {
        let metrics = Metrics::new().unwrap();
        let fetches = FetchMetrics::resolve(&metrics, "main");
        check(&metrics, &[r#"portcullis_jwks_last_success_timestamp_seconds{issuer="main"} 0"#]);
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        fetches.failed(Duration::from_secs(5));
        fetches.waited(Duration::from_millis(20));
        fetches.fetched(Duration::from_millis(40), now);
        fetches.fetched(Duration::from_millis(40), now);
        fetches.clock_differs(-3.0);
        let secret = KeySet::from_secret(&[7; 32], [Algorithm::HS256].into_iter().collect()).unwrap();
        IssuerMetrics::resolve(&metrics, "main").holds(&secret);
        check(
            &metrics,
            &[
                r#"portcullis_jwks_fetches_total{issuer="main",result="failure"} 1"#,
                r#"portcullis_jwks_fetches_total{issuer="main",result="success"} 2"#,
                r#"portcullis_jwks_fetch_duration_seconds_count{issuer="main",result="failure"} 1"#,
                r#"portcullis_jwks_last_success_timestamp_seconds{issuer="main"} 1000"#,
                r#"portcullis_clock_offset_seconds{issuer="main"} -3"#,
                r#"portcullis_key_wait_seconds_count{issuer="main"} 1"#,
                r#"portcullis_jwks_keys{issuer="main"} 1"#,
            ],
        );
    }

    #[test]
    fn a_request_is_in_flight_until_it_is_dropped_whatever_way_it_ends() {
        let metrics = Metrics::new().unwrap();
        let first = metrics.in_flight();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _second = metrics.in_flight();
            assert_eq!(metrics.requests_in_flight(), 2);
            std::panic::resume_unwind(Box::new("a connection that dies"));
        }));
        assert!(outcome.is_err());
        assert_eq!(metrics.requests_in_flight(), 1);
        drop(first);
        assert_eq!(metrics.requests_in_flight(), 0);
    }
}
