//! What was counted by the process before, in whose place this one serves: counters go on where they were, so that no scraper
//! sees them begin anew and nothing that was counted between two scrapes is lost.
use std::collections::BTreeMap;
use std::sync::PoisonError;

use prometheus::proto::{Bucket, Counter, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use serde::{Deserialize, Serialize};

use crate::edge::metrics::{DEFINITIONS, Definition, Kind, Metrics};

/// The labels of a line: name and value, in the order in which the library has them.
type Labels = Vec<(String, String)>;

/// Everything that only grows, at one moment or between two: counters and histograms, not what goes up and down. What was never
/// counted is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<(String, Vec<(Labels, Count)>)>", into = "Vec<(String, Vec<(Labels, Count)>)>")]
pub struct Counters(BTreeMap<String, BTreeMap<Labels, Count>>);

impl From<Vec<(String, Vec<(Labels, Count)>)>> for Counters {
    fn from(rows: Vec<(String, Vec<(Labels, Count)>)>) -> Self {
        Self(rows.into_iter().map(|(name, series)| (name, series.into_iter().collect())).collect())
    }
}

impl From<Counters> for Vec<(String, Vec<(Labels, Count)>)> {
    fn from(counters: Counters) -> Self {
        counters.0.into_iter().map(|(name, series)| (name, series.into_iter().collect())).collect()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Count {
    Number(f64),
    /// Cumulative, as Prometheus has them; what exceeds the last bound is in the number alone.
    Buckets {
        bounds: Vec<f64>,
        counts: Vec<u64>,
        number: u64,
        sum: f64,
    },
}

impl Count {
    fn of(metric: &Metric, kind: MetricType) -> Option<Self> {
        match kind {
            MetricType::COUNTER => Some(Self::Number(metric.get_counter().get_value())),
            MetricType::HISTOGRAM => {
                let histogram = metric.get_histogram();
                let buckets = histogram.get_bucket();
                Some(Self::Buckets {
                    bounds: buckets.iter().map(Bucket::upper_bound).collect(),
                    counts: buckets.iter().map(Bucket::cumulative_count).collect(),
                    number: histogram.get_sample_count(),
                    sum: histogram.get_sample_sum(),
                })
            }
            MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED => None,
        }
    }

    /// With `other` added, or taken away; as it is where that is counted in other buckets.
    fn change(&mut self, other: &Self, number_of: impl Fn(f64, f64) -> f64, count_of: impl Fn(u64, u64) -> u64) {
        match (self, other) {
            (Self::Number(number), Self::Number(other)) => *number = number_of(*number, *other),
            (
                Self::Buckets { bounds, counts, number, sum },
                Self::Buckets { bounds: other_bounds, counts: other_counts, number: other_number, sum: other_sum },
            ) if bounds == other_bounds && counts.len() == other_counts.len() => {
                counts.iter_mut().zip(other_counts).for_each(|(count, other)| *count = count_of(*count, *other));
                *number = count_of(*number, *other_number);
                *sum = number_of(*sum, *other_sum);
            }
            (Self::Number(_) | Self::Buckets { .. }, _) => {}
        }
    }

    fn add(&mut self, other: &Self) {
        self.change(other, |one, other| one + other, u64::saturating_add);
    }

    fn is_zero(&self) -> bool {
        match self {
            Self::Number(number) => *number == 0.0,
            Self::Buckets { number, .. } => *number == 0,
        }
    }

    /// Whether this version counts the same under that name.
    fn fits(&self, labels: &Labels, definition: &Definition) -> bool {
        let is_of_kind = match self {
            Self::Number(_) => definition.kind == Kind::Counter,
            Self::Buckets { bounds, .. } => definition.kind == Kind::Histogram && bounds == definition.buckets,
        };
        let mut names: Vec<&str> = definition.labels.to_vec();
        names.sort_unstable();
        is_of_kind && labels.iter().map(|(name, _)| name.as_str()).eq(names)
    }

    fn put_into(&self, metric: &mut Metric) {
        match self {
            Self::Number(number) => {
                let mut counter = Counter::default();
                counter.set_value(*number);
                metric.set_counter(counter);
            }
            Self::Buckets { bounds, counts, number, sum } => {
                let buckets = bounds.iter().zip(counts).map(|(bound, count)| {
                    let mut bucket = Bucket::default();
                    bucket.set_upper_bound(*bound);
                    bucket.set_cumulative_count(*count);
                    bucket
                });
                let mut histogram = Histogram::default();
                histogram.set_bucket(buckets.collect());
                histogram.set_sample_count(*number);
                histogram.set_sample_sum(*sum);
                metric.set_histogram(histogram);
            }
        }
    }
}

impl Counters {
    fn of(families: &[MetricFamily]) -> Self {
        let ours = families.iter().filter(|family| definition(family.name()).is_some());
        let rows = ours.map(|family| {
            let counts = family.get_metric().iter().filter_map(|metric| {
                let count = Count::of(metric, family.get_field_type())?;
                (!count.is_zero()).then(|| (labels_of(metric), count))
            });
            (family.name().to_owned(), counts.collect::<BTreeMap<_, _>>())
        });
        Self(rows.filter(|(_, series)| !series.is_empty()).collect())
    }

    /// What was counted since an earlier moment.
    #[must_use]
    pub fn since(mut self, earlier: &Self) -> Self {
        for (name, series) in &mut self.0 {
            let Some(before) = earlier.0.get(name) else { continue };
            for (labels, count) in &mut *series {
                if let Some(before) = before.get(labels) {
                    count.change(before, |now, then| (now - then).max(0.0), u64::saturating_sub);
                }
            }
            series.retain(|_, count| !count.is_zero());
        }
        self.0.retain(|_, series| !series.is_empty());
        self
    }

    fn add(&mut self, more: Self) {
        for (name, series) in more.0 {
            let known = self.0.entry(name).or_default();
            for (labels, count) in series {
                match known.get_mut(&labels) {
                    Some(sum) => sum.add(&count),
                    None => drop(known.insert(labels, count)),
                }
            }
        }
    }
}

impl Metrics {
    /// Everything that only grows, what was inherited included.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters::of(&self.gathered())
    }

    /// Goes on counting from there: what the process before has counted, or counted since it said so last.
    pub fn inherit(&self, counters: Counters) {
        self.inherited.lock().unwrap_or_else(PoisonError::into_inner).add(counters);
    }

    /// All families as they are shown.
    pub(super) fn gathered(&self) -> Vec<MetricFamily> {
        let mut families = self.registry.gather();
        let inherited = self.inherited.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, series) in &inherited.0 {
            // Of another version, which counted something else.
            let Some(definition) = definition(name) else { continue };
            let place = families.binary_search_by(|family| family.name().cmp(name));
            let family = match place {
                Ok(place) => families.get_mut(place),
                Err(place) => {
                    families.insert(place, empty_family(definition));
                    families.get_mut(place)
                }
            };
            if let Some(family) = family {
                add_to(family, series, definition);
            }
        }
        families
    }
}

fn add_to(family: &mut MetricFamily, series: &BTreeMap<Labels, Count>, definition: &Definition) {
    let kind = family.get_field_type();
    let mut left: BTreeMap<&Labels, &Count> = series.iter().collect();
    for metric in family.mut_metric() {
        if let Some(before) = left.remove(&labels_of(metric))
            && let Some(mut count) = Count::of(metric, kind)
        {
            count.add(before);
            count.put_into(metric);
        }
    }
    for (labels, count) in left.into_iter().filter(|(labels, count)| count.fits(labels, definition)) {
        let labels = labels.iter().map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.clone());
            pair.set_value(value.clone());
            pair
        });
        let mut metric = Metric::from_label(labels.collect());
        count.put_into(&mut metric);
        family.mut_metric().push(metric);
    }
}

fn empty_family(definition: &Definition) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(definition.name.to_owned());
    family.set_help(definition.help.to_owned());
    family.set_field_type(match definition.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
    });
    family
}

/// What only grows and is this program's own: times of the process are each process's own.
fn definition(name: &str) -> Option<&'static Definition> {
    DEFINITIONS.iter().find(|definition| definition.name == name && definition.kind != Kind::Gauge)
}

fn labels_of(metric: &Metric) -> Labels {
    metric.get_label().iter().map(|pair| (pair.name().to_owned(), pair.value().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::edge::metrics::RouteMetrics;

    const REASONS: &[&str] = &["token_missing", "token_expired"];

    fn counted(metrics: &Metrics, route: &str, requests: usize) {
        let counters = RouteMetrics::resolve(metrics, route, &["main"], REASONS);
        for _ in 0..requests {
            counters.answered("GET", 200, Duration::from_millis(3));
            counters.allowed(Some(0));
        }
    }

    fn sent(counters: &Counters) -> Counters {
        serde_json::from_str(&serde_json::to_string(counters).unwrap()).unwrap()
    }

    /// The lines of what is counted, but for those at zero and those that are each process's own.
    fn lines(metrics: &Metrics) -> Vec<String> {
        let text = metrics.render().unwrap();
        let counted = text.lines().filter(|line| !line.starts_with('#') && !line.contains("process_"));
        let mut lines: Vec<String> = counted
            .filter(|line| {
                line.contains("_total") || line.contains("_bucket") || line.contains("_sum") || line.contains("_count")
            })
            .filter(|line| !line.ends_with(" 0"))
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn counters_go_on_where_the_process_before_was_and_what_it_still_counts_is_added() {
        let (old, new, alone) = (Metrics::new().unwrap(), Metrics::new().unwrap(), Metrics::new().unwrap());
        counted(&old, "orders", 7);
        counted(&old, "gone", 2);
        let at_the_turn = old.counters();
        new.inherit(sent(&at_the_turn));
        assert_eq!(new.counters(), at_the_turn);
        assert_eq!(lines(&new), lines(&old));
        counted(&new, "orders", 5);
        counted(&new, "fresh", 1);
        counted(&old, "orders", 3);
        counted(&old, "late", 4);
        new.inherit(sent(&old.counters().since(&at_the_turn)));
        for (route, requests) in [("orders", 15), ("gone", 2), ("fresh", 1), ("late", 4)] {
            counted(&alone, route, requests);
        }
        let rounded = |metrics: &Metrics| -> Vec<String> {
            lines(metrics).into_iter().filter(|line| !line.contains("_sum")).collect()
        };
        assert_eq!(rounded(&new), rounded(&alone));
        // And so on to the next.
        let third = Metrics::new().unwrap();
        third.inherit(sent(&new.counters()));
        assert_eq!(third.counters(), new.counters());
    }

    #[test]
    fn what_another_version_counts_otherwise_is_left_out_and_does_no_harm() {
        let metrics = Metrics::new().unwrap();
        counted(&metrics, "orders", 1);
        let before = lines(&metrics);
        let route = r#"["route","orders"]"#;
        for foreign in [
            r#"[["portcullis_unknown_total",[[[],{"number":3.0}]]]]"#.to_owned(),
            r#"[["process_cpu_seconds_total",[[[],{"number":3.0}]]]]"#.to_owned(),
            r#"[["portcullis_http_requests_in_flight",[[[],{"number":3.0}]]]]"#.to_owned(),
            format!(r#"[["portcullis_http_requests_total",[[[{route}],{{"number":3.0}}]]]]"#),
            format!(
                r#"[["portcullis_http_request_duration_seconds",[[[{route}],{{"buckets":{{"bounds":[1.0],"counts":[9],"number":9,"sum":9.0}}}}]]]]"#
            ),
            r#"[["portcullis_http_request_duration_seconds",[[[["route","x"]],{"number":3.0}]]]]"#.to_owned(),
        ] {
            metrics.inherit(serde_json::from_str(&foreign).unwrap());
            assert_eq!(lines(&metrics), before, "{foreign}");
        }
    }
}
