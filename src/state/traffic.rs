//! What was counted over the last minutes: readings of counters that only grow, one an interval, and what lies between
//! them. For people who look at the process; nothing is decided by it.
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// How often counters are to be read.
pub const INTERVAL: Duration = Duration::from_secs(10);
/// How far back readings go.
pub const WINDOW: Duration = Duration::from_secs(15 * 60);
/// Readings that are kept: those of the window, and the one before it.
const KEPT_MAX: usize = (WINDOW.as_secs() / INTERVAL.as_secs()) as usize + 1;

/// Counters at one moment, since the start of the process; or what was counted between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Requests that were answered.
    pub requests: u64,
    /// Those among them whose status is 500 or above.
    pub server_errors: u64,
    /// Lookups in the claims cache.
    pub cache_lookups: u64,
    /// Those that found a token whose key is in force.
    pub cache_hits: u64,
}

impl Counted {
    /// What was counted after `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            server_errors: self.server_errors.saturating_sub(earlier.server_errors),
            cache_lookups: self.cache_lookups.saturating_sub(earlier.cache_lookups),
            cache_hits: self.cache_hits.saturating_sub(earlier.cache_hits),
        }
    }
}

/// What was counted in a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// How long it is.
    pub length: Duration,
    /// What was counted in it.
    pub counted: Counted,
}

impl Stretch {
    /// Requests a second.
    #[must_use]
    pub fn requests_per_second(&self) -> f64 {
        if self.length.is_zero() { 0.0 } else { self.counted.requests as f64 / self.length.as_secs_f64() }
    }
}

/// Readings of the last [`WINDOW`], the oldest first.
#[derive(Debug)]
pub struct Traffic {
    started: Instant,
    readings: VecDeque<(Instant, Counted)>,
}

impl Traffic {
    /// Nothing was counted before `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { started: now, readings: VecDeque::from([(now, Counted::default())]) }
    }

    /// How long ago the first moment was.
    #[must_use]
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// Takes a reading, in place of the oldest when there are as many as are kept.
    pub fn record(&mut self, now: Instant, counted: Counted) {
        if self.readings.len() >= KEPT_MAX {
            self.readings.pop_front();
        }
        self.readings.push_back((now, counted));
    }

    /// What was counted from the latest reading that is at least `window` old - or the oldest there is - until `now`.
    #[must_use]
    pub fn over(&self, window: Duration, now: Instant, counted: Counted) -> Stretch {
        let is_old = |at: &Instant| now.saturating_duration_since(*at) >= window;
        let from = self.readings.iter().rev().find(|(at, _)| is_old(at)).or_else(|| self.readings.front());
        let (at, earlier) = from.copied().unwrap_or((now, counted));
        Stretch { length: now.saturating_duration_since(at), counted: counted.since(earlier) }
    }

    /// What lies between each reading and the next, the oldest first.
    #[must_use]
    pub fn stretches(&self) -> Vec<Stretch> {
        let pairs = self.readings.iter().zip(self.readings.iter().skip(1));
        pairs
            .map(|((from, earlier), (to, later))| Stretch {
                length: to.saturating_duration_since(*from),
                counted: later.since(*earlier),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[expect(clippy::disallowed_methods, reason = "an Instant cannot be made otherwise; only distances from it matter")]
    fn now() -> Instant {
        Instant::now()
    }

    fn requests(requests: u64) -> Counted {
        Counted { requests, ..Counted::default() }
    }

    #[test]
    fn a_stretch_begins_at_the_latest_reading_that_is_old_enough_or_at_the_first() {
        let start = now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut traffic = Traffic::new(start);
        for (seconds, count) in [(10, 5), (20, 20), (30, 50)] {
            traffic.record(at(seconds), requests(count));
        }
        let rows =
            [(5, 35, 5, 10), (6, 35, 15, 40), (15, 35, 15, 40), (35, 35, 35, 60), (900, 35, 35, 60), (0, 35, 5, 10)];
        for (window, now, length, count) in rows {
            let stretch = traffic.over(Duration::from_secs(window), at(now), requests(60));
            let expected = Stretch { length: Duration::from_secs(length), counted: requests(count) };
            assert_eq!(stretch, expected, "the last {window} s");
        }
        let rates: Vec<f64> = traffic.stretches().iter().map(Stretch::requests_per_second).collect();
        assert_eq!(rates, [0.5, 1.5, 3.0]);
        assert_eq!(traffic.age(at(35)), Duration::from_secs(35));
    }

    #[test]
    fn a_stretch_without_length_has_no_rate() {
        let start = now();
        let stretch = Traffic::new(start).over(WINDOW, start, requests(9));
        assert_eq!((stretch.length, stretch.requests_per_second()), (Duration::ZERO, 0.0));
    }

    proptest! {
        #[test]
        fn readings_are_bounded_and_the_stretches_between_them_make_up_the_whole(counts in prop::collection::vec(0_u64..1_000, 0..300)) {
            let start = now();
            let mut traffic = Traffic::new(start);
            let (mut now, mut total) = (start, 0);
            for count in &counts {
                now += INTERVAL;
                total += count;
                traffic.record(now, requests(total));
                prop_assert!(traffic.readings.len() <= KEPT_MAX);
            }
            let last = &counts[counts.len().saturating_sub(KEPT_MAX - 1)..];
            let sum: u64 = traffic.stretches().iter().map(|stretch| stretch.counted.requests).sum();
            prop_assert_eq!(sum, last.iter().sum::<u64>());
            let whole = traffic.over(WINDOW, now, requests(total));
            prop_assert_eq!(whole.counted.requests, last.iter().sum::<u64>());
            prop_assert!(whole.length <= WINDOW);
        }
    }
}
