//! When a remote key set may be fetched: a value that is told what happened and says what is due.
//!
//! It never reads a clock and never draws a random number: both are arguments.
use std::time::{Duration, Instant};

/// No answer can ask for a fetch sooner than this after the last, whatever its `Cache-Control` says.
pub const INTERVAL_MIN: Duration = Duration::from_secs(5);
/// Longest pause between attempts while fetching fails.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Pause after the first failure; it doubles with each further one.
pub const BACKOFF_MIN: Duration = Duration::from_secs(1);

/// How one issuer's keys are to be refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshRules {
    /// Longest time between two fetches.
    pub refresh: Duration,
    /// Least time between two attempts that unknown keys provoke.
    pub cooldown: Duration,
    /// How long the last good set serves while none can be fetched.
    pub max_stale: Duration,
}

/// The state of one issuer's refreshing.
#[derive(Clone, Debug)]
pub struct RefreshSchedule {
    rules: RefreshRules,
    due: Instant,
    failures: u32,
    last_success: Option<Instant>,
    last_provoked: Option<Instant>,
}

/// What a request with an unknown `kid` is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provocation {
    /// A fetch so recent that it settles the question lacked the key.
    Settled,
    /// A fetch is to be made: now, for all who ask.
    Fetch,
    /// No fetch may be made yet, and the last did not settle it.
    Refused,
}

impl RefreshSchedule {
    /// A schedule whose first fetch is due at once.
    pub const fn new(rules: RefreshRules, now: Instant) -> Self {
        Self { rules, due: now, failures: 0, last_success: None, last_provoked: None }
    }

    /// When the next scheduled fetch is due.
    pub const fn due(&self) -> Instant {
        self.due
    }

    /// When the set that is held stops to serve; nothing while there is none.
    pub fn stale_at(&self) -> Option<Instant> {
        self.last_success.and_then(|success| success.checked_add(self.rules.max_stale))
    }

    /// Failures since the last success.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// A usable set was fetched; it may be kept for `max_age`. `jitter` is uniform in 0..1.
    pub fn succeeded(&mut self, now: Instant, max_age: Option<Duration>, jitter: f64) {
        self.failures = 0;
        self.last_success = Some(now);
        let wanted = max_age.map_or(self.rules.refresh, |max_age| max_age.min(self.rules.refresh));
        let interval = wanted.max(INTERVAL_MIN.min(self.rules.refresh));
        self.due = now + shortened(interval, jitter);
    }

    /// An attempt failed. `jitter` is uniform in 0..1.
    pub fn failed(&mut self, now: Instant, jitter: f64) {
        let backoff = BACKOFF_MIN.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        self.due = now + shortened(backoff.min(self.rules.refresh.max(BACKOFF_MIN)), jitter);
    }

    /// A request names a key that the set lacks. Answers [`Provocation::Fetch`] at most once in a cooldown, counted from
    /// the last such attempt.
    pub fn provoked(&mut self, now: Instant) -> Provocation {
        let within_cooldown = |earlier: Option<Instant>| {
            earlier.is_some_and(|earlier| now.saturating_duration_since(earlier) < self.rules.cooldown)
        };
        if within_cooldown(self.last_success) {
            return Provocation::Settled;
        }
        if within_cooldown(self.last_provoked) {
            return Provocation::Refused;
        }
        self.last_provoked = Some(now);
        Provocation::Fetch
    }
}

/// Up to a tenth less, so that many hosts do not ask at the same moment.
fn shortened(interval: Duration, jitter: f64) -> Duration {
    interval.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULES: RefreshRules = RefreshRules {
        refresh: Duration::from_secs(600),
        cooldown: Duration::from_secs(10),
        max_stale: Duration::from_secs(86_400),
    };

    #[expect(clippy::disallowed_methods, reason = "an Instant cannot be made otherwise; only distances from it matter")]
    fn start() -> Instant {
        Instant::now()
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_good_answer_is_kept_as_long_as_both_sides_agree() {
        let start = start();
        for (max_age, interval) in [(None, 600), (Some(3600), 600), (Some(60), 60), (Some(0), 5), (Some(1), 5)] {
            let mut schedule = RefreshSchedule::new(RULES, start);
            assert_eq!(schedule.due(), start);
            schedule.succeeded(start, max_age.map(seconds), 0.0);
            assert_eq!(schedule.due(), start + seconds(interval), "{max_age:?}");
            assert_eq!(schedule.stale_at(), Some(start + seconds(86_400)));
        }
    }

    #[test]
    fn failures_back_off_and_success_ends_them() {
        let start = start();
        let mut schedule = RefreshSchedule::new(RULES, start);
        for pause in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            schedule.failed(start, 0.0);
            assert_eq!(schedule.due(), start + seconds(pause));
        }
        assert_eq!(schedule.failures(), 9);
        assert_eq!(schedule.stale_at(), None);
        schedule.succeeded(start, None, 0.0);
        assert_eq!(schedule.failures(), 0);
    }

    #[test]
    fn unknown_keys_provoke_one_fetch_in_a_cooldown() {
        let start = start();
        let mut schedule = RefreshSchedule::new(RULES, start);
        schedule.succeeded(start, None, 0.0);
        assert_eq!(schedule.provoked(start + seconds(9)), Provocation::Settled);
        assert_eq!(schedule.provoked(start + seconds(10)), Provocation::Fetch);
        assert_eq!(schedule.provoked(start + seconds(11)), Provocation::Refused);
        assert_eq!(schedule.provoked(start + seconds(19)), Provocation::Refused);
        assert_eq!(schedule.provoked(start + seconds(20)), Provocation::Fetch);
        schedule.succeeded(start + seconds(20), None, 0.0);
        assert_eq!(schedule.provoked(start + seconds(25)), Provocation::Settled);
    }

    proptest! {
        #[test]
        fn whatever_happens_a_fetch_is_due_within_the_rules(
            events in prop::collection::vec((0..3_u8, 0..700_u64, prop::option::of(0..5000_u64), 0.0..1.0_f64), 0..60)
        ) {
            let mut now = start();
            let mut schedule = RefreshSchedule::new(RULES, now);
            let mut provoked: Vec<Instant> = Vec::new();
            for (event, later, max_age, jitter) in events {
                now += seconds(later);
                match event {
                    0 => schedule.succeeded(now, max_age.map(seconds), jitter),
                    1 => schedule.failed(now, jitter),
                    _ => {
                        if schedule.provoked(now) == Provocation::Fetch {
                            provoked.push(now);
                        }
                        continue;
                    }
                }
                prop_assert!(schedule.due() >= now + BACKOFF_MIN.mul_f64(0.9));
                prop_assert!(schedule.due() <= now + RULES.refresh);
            }
            for pair in provoked.windows(2) {
                prop_assert!(pair[1] - pair[0] >= RULES.cooldown);
            }
        }
    }
}
