//! What the registry holds at one moment, read back for people: the status page shows the numbers that a scraper would get.
use prometheus::core::Collector as _;
use prometheus::proto::{Metric, MetricFamily, MetricType};

use crate::edge::metrics::Metrics;
use crate::state::traffic::Counted;

/// The first status that is a fault of the server's side (RFC 9110 §15.6), as the label `code` has it.
const SERVER_ERROR: char = '5';

/// All metrics at one moment.
#[derive(Debug)]
pub struct Readings(Vec<MetricFamily>);

/// One number with its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    labels: Vec<(String, String)>,
    /// The number; of a histogram, how often something was observed.
    pub value: f64,
    /// Of a histogram, the mean of what was observed; nothing while nothing was.
    pub mean: Option<f64>,
}

impl Sample {
    /// The value of a label; empty when it has none of that name.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    fn of(metric: &Metric, kind: MetricType) -> Self {
        let labels = metric.get_label().iter().map(|pair| (pair.name().to_owned(), pair.value().to_owned())).collect();
        let (value, mean) = match kind {
            MetricType::COUNTER => (metric.get_counter().get_value(), None),
            MetricType::HISTOGRAM => {
                let histogram = metric.get_histogram();
                let count = histogram.get_sample_count() as f64;
                (count, (count > 0.0).then(|| histogram.get_sample_sum() / count))
            }
            MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED => (metric.get_gauge().get_value(), None),
        };
        Self { labels, value, mean }
    }
}

impl Metrics {
    /// All numbers as they are now.
    #[must_use]
    pub fn readings(&self) -> Readings {
        Readings(self.gathered())
    }

    /// Requests and lookups in the claims cache since the start.
    #[must_use]
    pub fn counted(&self) -> Counted {
        let (mut requests, mut server_errors) = (0, 0);
        for family in self.instruments.http_requests.collect() {
            for metric in family.get_metric() {
                // Counters of whole things; a sum of them is far below what a float counts exactly.
                let count = metric.get_counter().get_value() as u64;
                let is_error = metric
                    .get_label()
                    .iter()
                    .any(|label| label.name() == "code" && label.value().starts_with(SERVER_ERROR));
                requests += count;
                server_errors += if is_error { count } else { 0 };
            }
        }
        let cache_hits = self.cache_hit.get();
        Counted {
            requests,
            server_errors,
            cache_lookups: cache_hits + self.cache_miss.get() + self.cache_stale.get(),
            cache_hits,
        }
    }
}

impl Readings {
    /// Answers of upstreams until now and their mean time: `upstream`.
    #[must_use]
    pub fn upstream_answers(&self) -> Vec<Sample> {
        self.samples("portcullis_upstream_duration_seconds")
    }

    /// Attempts beyond the first: `upstream`.
    #[must_use]
    pub fn upstream_retries(&self) -> Vec<Sample> {
        self.samples("portcullis_upstream_retries_total")
    }

    /// Streams that are open: `route`.
    #[must_use]
    pub fn streams(&self) -> Vec<Sample> {
        self.samples("portcullis_streams")
    }

    /// Requests beyond a rate limit: `route`, `by`.
    #[must_use]
    pub fn rate_limited(&self) -> Vec<Sample> {
        self.samples("portcullis_rate_limited_total")
    }

    /// Connections beyond a limit: `limit`.
    #[must_use]
    pub fn connections_refused(&self) -> Vec<Sample> {
        self.samples("portcullis_connections_refused_total")
    }

    /// Requests that passed, but would have been refused by a rule on trial: `route`, `issuer`, `reason`.
    #[must_use]
    pub fn observed(&self) -> Vec<Sample> {
        self.samples("portcullis_auth_observed_total")
    }

    /// 1 for each source of revocations that was read as it is now: `source`.
    #[must_use]
    pub fn revocation_sources(&self) -> Vec<Sample> {
        self.samples("portcullis_revocation_source_healthy")
    }

    /// Entries that are in force.
    #[must_use]
    pub fn revocations(&self) -> f64 {
        self.number("portcullis_revocations").unwrap_or_default()
    }

    /// Lines that the access log lost.
    #[must_use]
    pub fn access_log_dropped(&self) -> f64 {
        self.number("portcullis_access_log_dropped_total").unwrap_or_default()
    }

    /// When certificates end, in seconds since the epoch: `listener`, `certificate`.
    #[must_use]
    pub fn certificates(&self) -> Vec<Sample> {
        self.samples("portcullis_tls_certificate_not_after_timestamp_seconds")
    }

    /// Whether the file of the configuration is not what is in force.
    #[must_use]
    pub fn config_is_outdated(&self) -> bool {
        self.number("portcullis_config_outdated").is_some_and(|value| value > 0.0)
    }

    /// When the configuration in force was taken, in seconds since the epoch.
    #[must_use]
    pub fn config_in_force_since(&self) -> Option<f64> {
        self.number("portcullis_config_last_reload_success_timestamp_seconds").filter(|time| *time > 0.0)
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.samples(name).first().map(|sample| sample.value)
    }

    fn samples(&self, name: &str) -> Vec<Sample> {
        let family = self.0.iter().find(|family| family.name() == name);
        family.map_or_else(Vec::new, |family| {
            family.get_metric().iter().map(|metric| Sample::of(metric, family.get_field_type())).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::metrics::{RouteMetrics, UpstreamMetrics};
    use crate::state::claims_cache::CacheUse;
    use prometheus::{Gauge, GaugeVec, Opts};
    use std::time::Duration;

    #[test]
    fn what_was_counted_is_read_back_as_it_would_be_scraped() {
        let metrics = Metrics::new().unwrap();
        let route = RouteMetrics::resolve(&metrics, "orders", &["main"], &["token_missing"]);
        for (method, status) in [("GET", 200), ("POST", 502), ("GET", 503), ("GET", 404)] {
            route.answered(method, status, Duration::from_millis(1));
        }
        route.observed(Some(0), 0);
        for cache in [CacheUse::Hit, CacheUse::Hit, CacheUse::Miss, CacheUse::Stale, CacheUse::None] {
            metrics.decided(cache, Duration::from_nanos(700));
        }
        assert_eq!(metrics.counted(), Counted { requests: 4, server_errors: 2, cache_lookups: 4, cache_hits: 2 });
        let upstream = UpstreamMetrics::resolve(&metrics, "orders");
        for milliseconds in [10, 30] {
            upstream.answered(Duration::from_millis(milliseconds));
        }
        upstream.retried();
        metrics.set_revocations(3);
        metrics.set_revocation_source("file", false);
        metrics.access_log_dropped().inc_by(5);
        metrics.config_is_outdated(true);
        let readings = metrics.readings();
        assert!(readings.config_is_outdated());
        let answers = readings.upstream_answers();
        assert_eq!((answers[0].label("upstream"), answers[0].value, answers[0].mean), ("orders", 2.0, Some(0.02)));
        assert_eq!(answers[0].label("nothing"), "");
        assert_eq!(readings.upstream_retries()[0].value, 1.0);
        assert_eq!(readings.observed()[0].label("reason"), "token_missing");
        assert_eq!(readings.revocation_sources()[0].value, 0.0);
        assert_eq!((readings.revocations(), readings.access_log_dropped()), (3.0, 5.0));
    }

    #[test]
    fn what_nobody_measures_is_not_there() {
        let readings = Metrics::new().unwrap().readings();
        assert_eq!(readings.samples("portcullis_of_nothing"), []);
        assert_eq!(readings.number("portcullis_of_nothing"), None);
        assert_eq!(readings.upstream_answers(), []);
    }

    #[test]
    fn gauges_are_read_with_their_labels() {
        let registry = prometheus::Registry::new();
        let gauge = GaugeVec::new(Opts::new("one", "help"), &["upstream", "server"]).unwrap();
        gauge.with_label_values(&["orders", "10.0.0.1:80"]).set(1.0);
        let plain = Gauge::new("two", "help").unwrap();
        registry.register(Box::new(gauge)).unwrap();
        registry.register(Box::new(plain)).unwrap();
        let readings = Readings(registry.gather());
        let sample = &readings.samples("one")[0];
        assert_eq!((sample.label("upstream"), sample.label("server"), sample.value), ("orders", "10.0.0.1:80", 1.0));
        assert_eq!(readings.number("two"), Some(0.0));
    }
}
