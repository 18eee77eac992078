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

/// Why an attempt is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Its time has come.
    Scheduled,
    /// A token names a key that the set lacks.
    Provoked,
    /// An operator asks for it.
    Demanded,
}

/// The state of one issuer's refreshing.
#[derive(Clone, Debug)]
pub struct RefreshSchedule {
    rules: RefreshRules,
    due: Instant,
    failures: u32,
    last_success: Option<Instant>,
    stale_at: Option<Instant>,
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
        Self { rules, due: now, failures: 0, last_success: None, stale_at: None, last_provoked: None }
    }

    /// When the next scheduled fetch is due.
    pub const fn due(&self) -> Instant {
        self.due
    }

    /// When the set that is held stops to serve; nothing while there is none.
    pub const fn stale_at(&self) -> Option<Instant> {
        self.stale_at
    }

    /// Scheduled attempts that failed since the last success.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// A set that an earlier process fetched `age` ago serves; the first fetch stays due. Answers whether the set is
    /// young enough to serve at all.
    pub fn restored(&mut self, now: Instant, age: Duration) -> bool {
        let Some(left) = self.rules.max_stale.checked_sub(age).filter(|left| !left.is_zero()) else { return false };
        self.stale_at = now.checked_add(left);
        true
    }

    /// A usable set was fetched, or the one that is held was confirmed; it may be kept for `max_age`. `jitter` is uniform
    /// in 0..1.
    pub fn succeeded(&mut self, now: Instant, max_age: Option<Duration>, jitter: f64) {
        self.failures = 0;
        self.last_success = Some(now);
        self.stale_at = now.checked_add(self.rules.max_stale);
        let wanted = max_age.map_or(self.rules.refresh, |max_age| max_age.min(self.rules.refresh));
        let interval = wanted.max(INTERVAL_MIN.min(self.rules.refresh));
        self.due = now + shortened(interval, jitter);
    }

    /// An attempt failed. `jitter` is uniform in 0..1. Only a scheduled attempt moves the schedule: whoever provokes
    /// attempts cannot put off the one whose turn it is.
    pub fn failed(&mut self, now: Instant, occasion: Occasion, jitter: f64) {
        match occasion {
            Occasion::Provoked | Occasion::Demanded => {}
            Occasion::Scheduled => {
                let backoff = BACKOFF_MIN.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_MAX);
                self.failures = self.failures.saturating_add(1);
                self.due = now + shortened(backoff.min(self.rules.refresh.max(BACKOFF_MIN)), jitter);
            }
        }
    }

    /// A request names a key that the set lacks. Answers [`Provocation::Fetch`] at most once in a cooldown, counted from
    /// the last such attempt; no other attempt counts or waits.
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
            schedule.failed(start, Occasion::Scheduled, 0.0);
            assert_eq!(schedule.due(), start + seconds(pause));
        }
        for occasion in [Occasion::Provoked, Occasion::Demanded] {
            schedule.failed(start + seconds(59), occasion, 0.0);
            assert_eq!(schedule.due(), start + seconds(60), "{occasion:?}");
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

    #[test]
    fn a_set_from_an_earlier_process_serves_for_what_is_left_of_its_time() {
        let start = start();
        let mut schedule = RefreshSchedule::new(RULES, start);
        for (age, left) in [(0, Some(86_400)), (86_000, Some(400)), (86_400, None), (90_000, None)] {
            assert_eq!(schedule.restored(start, seconds(age)), left.is_some(), "{age}");
            if let Some(left) = left {
                assert_eq!(schedule.stale_at(), Some(start + seconds(left)));
            }
        }
        // It settles nothing: it may be older than the key that is asked for.
        assert_eq!(schedule.due(), start);
        assert_eq!(schedule.provoked(start), Provocation::Fetch);
    }

    /// What can happen to a schedule.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        /// Some time passes; whatever comes due meanwhile is attempted with this outcome.
        Pass { seconds: u64, succeeds: bool },
        /// A token with an unknown key comes; a fetch that it may provoke has this outcome.
        Provoke { succeeds: bool },
        /// An operator asks, with this outcome.
        Demand { succeeds: bool },
    }

    fn events() -> impl Strategy<Value = Vec<(Event, Option<u64>, f64)>> {
        let event = prop_oneof![
            (0..900_u64, any::<bool>()).prop_map(|(seconds, succeeds)| Event::Pass { seconds, succeeds }),
            any::<bool>().prop_map(|succeeds| Event::Provoke { succeeds }),
            any::<bool>().prop_map(|succeeds| Event::Demand { succeeds }),
        ];
        prop::collection::vec((event, prop::option::of(0..5000_u64), 0.0..1.0_f64), 0..80)
    }

    /// A schedule that is driven, and when attempts of each kind were made.
    struct Driven {
        schedule: RefreshSchedule,
        now: Instant,
        scheduled: Vec<(Instant, bool)>,
        provoked: Vec<Instant>,
        last_success: Option<Instant>,
    }

    impl Driven {
        fn attempt(&mut self, occasion: Occasion, succeeds: bool, max_age: Option<u64>, jitter: f64) {
            if succeeds {
                self.schedule.succeeded(self.now, max_age.map(seconds), jitter);
                self.last_success = Some(self.now);
            } else {
                self.schedule.failed(self.now, occasion, jitter);
            }
        }

        fn happen(&mut self, event: Event, max_age: Option<u64>, jitter: f64) {
            match event {
                Event::Pass { seconds: passing, succeeds } => {
                    let until = self.now + seconds(passing);
                    while self.schedule.due() <= until {
                        self.now = self.now.max(self.schedule.due());
                        self.scheduled.push((self.now, succeeds));
                        self.attempt(Occasion::Scheduled, succeeds, max_age, jitter);
                    }
                    self.now = until;
                }
                Event::Provoke { succeeds } => {
                    if self.schedule.provoked(self.now) == Provocation::Fetch {
                        self.provoked.push(self.now);
                        self.attempt(Occasion::Provoked, succeeds, max_age, jitter);
                    }
                }
                Event::Demand { succeeds } => self.attempt(Occasion::Demanded, succeeds, max_age, jitter),
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_happens_the_bounds_hold(events in events()) {
            let now = start();
            let mut driven = Driven {
                schedule: RefreshSchedule::new(RULES, now),
                now,
                scheduled: Vec::new(),
                provoked: Vec::new(),
                last_success: None,
            };
            for (event, max_age, jitter) in events {
                driven.happen(event, max_age, jitter);
                // The next turn is never further away than the rules say, whoever provoked whatever in between.
                prop_assert!(driven.schedule.due() <= driven.now + RULES.refresh);
                prop_assert_eq!(driven.schedule.stale_at(), driven.last_success.map(|last| last + RULES.max_stale));
                if driven.last_success.is_some_and(|last| driven.now - last < RULES.cooldown) {
                    prop_assert_eq!(driven.schedule.clone().provoked(driven.now), Provocation::Settled);
                }
            }
            for pair in driven.provoked.windows(2) {
                prop_assert!(pair[1] - pair[0] >= RULES.cooldown);
            }
            for pair in driven.scheduled.windows(2) {
                let least = if pair[0].1 { INTERVAL_MIN } else { BACKOFF_MIN };
                prop_assert!(pair[1].0 - pair[0].0 >= least.mul_f64(0.9), "{:?}", pair);
            }
        }

        #[test]
        fn a_flood_of_unknown_keys_puts_off_no_scheduled_attempt(
            gaps in prop::collection::vec(1..5_000_u64, 1..200), succeeds_after in 0..40_usize
        ) {
            let mut now = start();
            let mut schedule = RefreshSchedule::new(RULES, now);
            let mut scheduled = 0;
            for gap in gaps {
                now += Duration::from_millis(gap);
                if schedule.due() <= now {
                    scheduled += 1;
                    schedule.failed(now, Occasion::Scheduled, 0.0);
                }
                let due = schedule.due();
                if schedule.provoked(now) == Provocation::Fetch {
                    schedule.failed(now, Occasion::Provoked, 0.0);
                }
                prop_assert_eq!(schedule.due(), due);
                if scheduled > succeeds_after {
                    schedule.succeeded(now, None, 0.0);
                }
            }
        }
    }
}
