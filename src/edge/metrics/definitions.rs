//! Every metric, once: its name, kind, labels, buckets and help. The registry and the reference page are made of this
//! table, so that no metric can exist in one and not in the other.
use prometheus::core::Collector;
use prometheus::{
    Error, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, but for restarts.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts in buckets of seconds.
    Histogram,
}

impl Kind {
    /// The word of the Prometheus text format.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric as it is documented and exported.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Definition {
    /// The full name.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// The names of its labels, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// The upper bounds of its buckets in seconds; empty for what is no histogram.
    pub buckets: &'static [f64],
    /// One sentence for people.
    pub help: &'static str,
}

/// A kind of metric of the library, made from a definition.
trait Instrument: Collector + Clone + 'static {
    const KIND: Kind;
    fn from_definition(definition: &Definition) -> Result<Self, Error>;

    fn register(registry: &Registry, definition: &Definition) -> Result<Self, Error> {
        let instrument = Self::from_definition(definition)?;
        registry.register(Box::new(instrument.clone()))?;
        Ok(instrument)
    }
}

fn options(definition: &Definition) -> Opts {
    Opts::new(definition.name, definition.help)
}

impl Instrument for IntCounter {
    const KIND: Kind = Kind::Counter;
    fn from_definition(definition: &Definition) -> Result<Self, Error> {
        Self::with_opts(options(definition))
    }
}

impl Instrument for IntCounterVec {
    const KIND: Kind = Kind::Counter;
    fn from_definition(definition: &Definition) -> Result<Self, Error> {
        Self::new(options(definition), definition.labels)
    }
}

impl Instrument for Gauge {
    const KIND: Kind = Kind::Gauge;
    fn from_definition(definition: &Definition) -> Result<Self, Error> {
        Self::with_opts(options(definition))
    }
}

impl Instrument for IntGauge {
    const KIND: Kind = Kind::Gauge;
    fn from_definition(definition: &Definition) -> Result<Self, Error> {
        Self::with_opts(options(definition))
    }
}

impl Instrument for IntGaugeVec {
    const KIND: Kind = Kind::Gauge;
    fn from_definition(definition: &Definition) -> Result<Self, Error> {
        Self::new(options(definition), definition.labels)
    }
}

impl Instrument for GaugeVec {
    const KIND: Kind = Kind::Gauge;
    fn from_definition(definition: &Definition) -> Result<Self, Error> {
        Self::new(options(definition), definition.labels)
    }
}

impl Instrument for HistogramVec {
    const KIND: Kind = Kind::Histogram;
    fn from_definition(definition: &Definition) -> Result<Self, Error> {
        let options = HistogramOpts::new(definition.name, definition.help).buckets(definition.buckets.to_vec());
        Self::new(options, definition.labels)
    }
}

/// One row a metric: the table of definitions, the struct that holds the instruments, and its maker.
macro_rules! instruments {
    ($($field:ident: $instrument:ty = $name:literal, $labels:expr, $buckets:expr, $help:literal;)+) => {
        /// Every metric of portcullis itself, sorted as the reference page shows them.
        pub const DEFINITIONS: &[Definition] = &[$(Definition {
            name: $name,
            kind: <$instrument as Instrument>::KIND,
            labels: &$labels,
            buckets: $buckets,
            help: $help,
        }),+];

        /// The instruments behind the definitions, one field each.
        #[derive(Debug)]
        pub(super) struct Instruments {
            $(pub(super) $field: $instrument),+
        }

        impl Instruments {
            /// Makes every instrument and registers it.
            ///
            /// # Errors
            /// When a definition is not a valid or not a unique metric, which the tests of this module rule out.
            pub(super) fn register(registry: &Registry) -> Result<Self, Error> {
                let mut definitions = DEFINITIONS.iter();
                let mut next = || definitions.next().ok_or_else(|| Error::Msg("a metric without definition".to_owned()));
                Ok(Self { $($field: <$instrument as Instrument>::register(registry, next()?)?),+ })
            }
        }
    };
}

/// A decision: from the fastest cache hit to a key that a loaded machine is slow to check.
const DECISION: &[f64] = &[
    0.000_000_5,
    0.000_001,
    0.000_002,
    0.000_005,
    0.000_01,
    0.000_02,
    0.000_05,
    0.000_1,
    0.000_2,
    0.000_5,
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.05,
];
/// A request and an upstream's answer: from a neighbour's cache to a report that takes a minute.
const EXCHANGE: &[f64] =
    &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// A fetch of keys and the wait for one.
const FETCH: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// What is no histogram has none.
const NONE: &[f64] = &[];

instruments! {
    auth_duration: HistogramVec = "portcullis_auth_duration_seconds", ["cache"], DECISION,
        "Time of one authentication and authorization decision, from the token found to the verdict, without the wait for keys";
    key_wait: HistogramVec = "portcullis_key_wait_seconds", ["issuer"], FETCH,
        "Time that a request waited for the issuer's keys to be fetched";
    auth_decisions: IntCounterVec = "portcullis_auth_decisions_total", ["route", "issuer", "result"], NONE,
        "Decisions about identity: allowed, anonymous or rejected";
    auth_rejections: IntCounterVec = "portcullis_auth_rejections_total", ["route", "issuer", "reason"], NONE,
        "Requests refused for their token, its claims or its rights, by reason";
    auth_observed: IntCounterVec = "portcullis_auth_observed_total", ["route", "issuer", "reason"], NONE,
        "Requests let pass that a rule on trial (observe, insecure_observe_authentication) would have refused, by reason";
    routes_observing_authentication: IntGauge = "portcullis_routes_observing_authentication", [], NONE,
        "Routes on which authentication is only observed: whoever would be refused for a token passes without identity";
    rate_limited: IntCounterVec = "portcullis_rate_limited_total", ["route", "by"], NONE,
        "Requests refused because too many came, by what the limit counts by: address (also failed authentications), subject, token or issuer";
    claims_cache_requests: IntCounterVec = "portcullis_claims_cache_requests_total", ["result"], NONE,
        "Lookups in the claims cache: hit, miss, or stale (remembered, but its key is withdrawn)";
    claims_cache_evictions: IntCounter = "portcullis_claims_cache_evictions_total", [], NONE,
        "Tokens that the claims cache forgot to make room for others";
    claims_cache_entries: IntGauge = "portcullis_claims_cache_entries", [], NONE,
        "Tokens that the claims cache remembers";
    claims_cache_bytes: IntGauge = "portcullis_claims_cache_bytes", [], NONE,
        "Memory that the remembered tokens are reckoned at";
    claims_cache_capacity: IntGauge = "portcullis_claims_cache_capacity", [], NONE,
        "Tokens that the claims cache may remember at most";
    jwks_fetches: IntCounterVec = "portcullis_jwks_fetches_total", ["issuer", "result"], NONE,
        "Fetches of the issuer's key set: success or failure";
    jwks_fetch_duration: HistogramVec = "portcullis_jwks_fetch_duration_seconds", ["issuer", "result"], FETCH,
        "Time of a fetch of the issuer's key set";
    jwks_keys: IntGaugeVec = "portcullis_jwks_keys", ["issuer"], NONE,
        "Usable keys in the issuer's current key set";
    jwks_skipped_keys: IntGaugeVec = "portcullis_jwks_skipped_keys", ["issuer"], NONE,
        "Keys of the issuer's current key set that cannot be used";
    jwks_last_success: GaugeVec = "portcullis_jwks_last_success_timestamp_seconds", ["issuer"], NONE,
        "When the issuer's key set was last fetched, in seconds since the epoch; 0 when it never was";
    clock_offset: GaugeVec = "portcullis_clock_offset_seconds", ["issuer"], NONE,
        "How far the issuer's clock, by the Date of its last answer, is ahead of this machine's";
    http_requests: IntCounterVec = "portcullis_http_requests_total", ["route", "method", "code"], NONE,
        "Requests answered, by status code; methods outside the standard ones are other";
    http_request_duration: HistogramVec = "portcullis_http_request_duration_seconds", ["route"], EXCHANGE,
        "Time from a request's head to the last byte of its answer";
    upstream_duration: HistogramVec = "portcullis_upstream_duration_seconds", ["upstream"], EXCHANGE,
        "Time from the request sent to the head of the upstream's answer";
    connections: IntGauge = "portcullis_connections", [], NONE,
        "Connections of clients that are open";
    connections_refused: IntCounterVec = "portcullis_connections_refused_total", ["limit"], NONE,
        "Connections refused because there were too many, by the limit: connections or connections_per_address";
    http_requests_in_flight: IntGauge = "portcullis_http_requests_in_flight", [], NONE,
        "Requests that are being served now";
    streams: IntGaugeVec = "portcullis_streams", ["route"], NONE,
        "WebSockets, event streams and other responses that go on for long, now";
    streams_closed: IntCounterVec = "portcullis_streams_closed_total", ["reason"], NONE,
        "Streams that are over: by the token (as refusals are called), idle_timeout, max_age, client_closed, upstream_closed or failed";
    upstream_retries: IntCounterVec = "portcullis_upstream_retries_total", ["upstream"], NONE,
        "Attempts beyond the first to reach an upstream for a request";
    upstream_healthy: IntGaugeVec = "portcullis_upstream_healthy", ["upstream", "server"], NONE,
        "1 when the server gets requests; 0 when its health checks or the last requests to it failed";
    certificate_not_after: GaugeVec = "portcullis_tls_certificate_not_after_timestamp_seconds", ["listener", "certificate"], NONE,
        "Until when the certificate, named by its file, is valid, in seconds since the epoch; one that is shown to an upstream has the listener upstream NAME";
    revocations: IntGauge = "portcullis_revocations", [], NONE,
        "Revocation entries in force, those of every source together";
    revocation_source_healthy: IntGaugeVec = "portcullis_revocation_source_healthy", ["source"], NONE,
        "1 when the source of revocations (file, url or own) was read as it is now; 0 when the last good list serves instead";
    config_reloads: IntCounterVec = "portcullis_config_reloads_total", ["result"], NONE,
        "Reloads of the configuration that were asked for: success or failure";
    config_last_reload_successful: IntGauge = "portcullis_config_last_reload_successful", [], NONE,
        "1 when the last reload came into force, or none was asked for; 0 when it changed nothing because something was wrong";
    config_last_reload_success_timestamp: Gauge = "portcullis_config_last_reload_success_timestamp_seconds", [], NONE,
        "Since when the configuration is in force, in seconds since the epoch";
    config_info: IntGaugeVec = "portcullis_config_info", ["sha256"], NONE,
        "Always 1; the label is a digest of the configuration in force and of all that it includes";
    config_outdated: IntGauge = "portcullis_config_outdated", [], NONE,
        "1 when the files of the configuration are others than those in force: they wait for a reload, or were refused";
    access_log_dropped: IntCounter = "portcullis_access_log_dropped_total", [], NONE,
        "Lines of the access log that were lost because its reader was slow or could not be written to";
    build_info: IntGaugeVec = "portcullis_build_info", ["version", "revision"], NONE,
        "Always 1; the labels say what is running";
}
