//! What was counted by the process before, in whose place this one serves: counters go on where they were, so that no scraper
//! sees them begin anew and nothing that was counted between two scrapes is lost.
use std::collections::BTreeMap;
use std::sync::PoisonError;

use prometheus::proto::{Bucket, Counter, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use serde::{Deserialize, Serialize};

use crate::edge::metrics::{DEFINITIONS, Definition, Kind, Metrics};

/// Everything that only grows, at one moment or between two: counters and histograms, not what goes up and down.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters(BTreeMap<String, Vec<Series>>);

/// One line, or one set of buckets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Series {
    labels: Vec<(String, String)>,
    count: Count,
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
    fn changed(&mut self, other: &Self, number_of: impl Fn(f64, f64) -> f64, count_of: impl Fn(u64, u64) -> u64) {
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
            let series = family.get_metric().iter().filter_map(|metric| {
                let count = Count::of(metric, family.get_field_type())?;
                Some(Series { labels: labels_of(metric), count })
            });
            (family.name().to_owned(), series.collect::<Vec<_>>())
        });
        Self(rows.filter(|(_, series)| !series.is_empty()).collect())
    }

    /// What was counted since an earlier moment.
    #[must_use]
    pub fn since(mut self, earlier: &Self) -> Self {
        self.change(earlier, false, |now, then| (now - then).max(0.0), u64::saturating_sub);
        self
    }

    fn add(&mut self, more: &Self) {
        self.change(more, true, |one, other| one + other, u64::saturating_add);
    }

    fn change(
        &mut self,
        other: &Self,
        takes_new: bool,
        number_of: impl Fn(f64, f64) -> f64,
        count_of: impl Fn(u64, u64) -> u64,
    ) {
        for (name, changes) in &other.0 {
            if !takes_new && !self.0.contains_key(name) {
                continue;
            }
            let known = self.0.entry(name.clone()).or_default();
            for change in changes {
                match known.iter_mut().find(|series| series.labels == change.labels) {
                    Some(series) => series.count.changed(&change.count, &number_of, &count_of),
                    None if takes_new => known.push(change.clone()),
                    None => {}
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
        self.inherited.lock().unwrap_or_else(PoisonError::into_inner).add(&counters);
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
                series.iter().for_each(|series| add_to(family, series, definition));
            }
        }
        families
    }
}

fn add_to(family: &mut MetricFamily, series: &Series, definition: &Definition) {
    let kind = family.get_field_type();
    if let Some(metric) = family.mut_metric().iter_mut().find(|metric| labels_of(metric) == series.labels) {
        if let Some(mut count) = Count::of(metric, kind) {
            count.changed(&series.count, |one, other| one + other, u64::saturating_add);
            count.put_into(metric);
        }
        return;
    }
    let fits = match &series.count {
        Count::Number(_) => definition.kind == Kind::Counter,
        Count::Buckets { bounds, .. } => definition.kind == Kind::Histogram && bounds == definition.buckets,
    };
    if fits && series.labels.len() == definition.labels.len() {
        let labels = series.labels.iter().map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.clone());
            pair.set_value(value.clone());
            pair
        });
        let mut metric = Metric::from_label(labels.collect());
        series.count.put_into(&mut metric);
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

fn labels_of(metric: &Metric) -> Vec<(String, String)> {
    metric.get_label().iter().map(|pair| (pair.name().to_owned(), pair.value().to_owned())).collect()
}
