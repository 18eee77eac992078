//! How many attempts beyond the first an upstream may cost, so that an outage does not double the load: a fifth of its
//! requests, and a few a second for upstreams with hardly any. It never reads a clock: time is an argument.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One further attempt, in the unit in which credit is counted.
const ATTEMPT: u64 = 1000;
/// What each request adds: a fifth of an attempt.
const PER_REQUEST: u64 = 200;
/// Credit that is kept at most: this many attempts can be made at once after a time without trouble.
pub const CREDIT_MAX: u64 = 100;
/// Attempts that are allowed each second, however few requests there are.
pub const FLOOR_PER_SECOND: u64 = 3;
/// Attempts of the floor that are kept at most.
pub const FLOOR_MAX: u64 = 10;

/// The budget of one upstream.
#[derive(Debug)]
pub struct RetryBudget {
    credit: AtomicU64,
    floor: Mutex<Floor>,
}

#[derive(Debug)]
struct Floor {
    attempts: u64,
    /// When the last attempt was added.
    filled: Option<Instant>,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { credit: AtomicU64::new(0), floor: Mutex::new(Floor { attempts: FLOOR_MAX, filled: None }) }
    }
}

impl RetryBudget {
    /// A request comes.
    pub fn requested(&self) {
        // Full in a time without trouble: then nobody writes.
        if self.credit.load(Ordering::Relaxed) < CREDIT_MAX * ATTEMPT {
            self.credit.fetch_add(PER_REQUEST, Ordering::Relaxed);
        }
    }

    /// Takes one further attempt; false when there is none left.
    pub fn take(&self, now: Instant) -> bool {
        let less = |credit: u64| credit.checked_sub(ATTEMPT);
        self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() || self.take_of_floor(now)
    }

    fn take_of_floor(&self, now: Instant) -> bool {
        // A holder that panicked left whole numbers behind.
        let mut floor = self.floor.lock().unwrap_or_else(PoisonError::into_inner);
        let filled = *floor.filled.get_or_insert(now);
        let step = Duration::from_secs(1) / u32::try_from(FLOOR_PER_SECOND).unwrap_or(1);
        let steps = now.saturating_duration_since(filled).as_nanos() / step.as_nanos().max(1);
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        floor.attempts = floor.attempts.saturating_add(u64::from(steps)).min(FLOOR_MAX);
        floor.filled = Some(filled.checked_add(step.saturating_mul(steps)).unwrap_or(now));
        match floor.attempts.checked_sub(1) {
            Some(left) => {
                floor.attempts = left;
                true
            }
            None => false,
        }
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

    fn takes(budget: &RetryBudget, now: Instant) -> u64 {
        (0..10_000).take_while(|_| budget.take(now)).count() as u64
    }

    #[test]
    fn an_upstream_with_few_requests_has_a_few_attempts() {
        let (budget, now) = (RetryBudget::default(), now());
        assert_eq!(takes(&budget, now), FLOOR_MAX);
        assert_eq!(takes(&budget, now + Duration::from_secs(1)), FLOOR_PER_SECOND);
        assert_eq!(takes(&budget, now + Duration::from_secs(3600)), FLOOR_MAX);
    }

    #[test]
    fn a_fifth_of_the_requests_may_be_tried_again() {
        let (budget, now) = (RetryBudget::default(), now());
        takes(&budget, now);
        let mut taken = 0;
        for _ in 0..10_000 {
            budget.requested();
            taken += u64::from(budget.take(now));
        }
        assert_eq!(taken, 2000);
    }

    #[test]
    fn what_is_saved_is_bounded() {
        let (budget, now) = (RetryBudget::default(), now());
        (0..1_000_000).for_each(|_| budget.requested());
        assert_eq!(takes(&budget, now), CREDIT_MAX + FLOOR_MAX);
    }

    proptest! {
        #[test]
        fn there_are_never_more_attempts_than_a_fifth_and_the_floor(steps in proptest::collection::vec((0_u64..50, 0_u64..5, 0_u64..500), 0..200)) {
            let (budget, begin) = (RetryBudget::default(), now());
            let (mut requests, mut taken, mut milliseconds) = (0, 0, 0);
            for (more, tries, pause) in steps {
                milliseconds += pause;
                (0..more).for_each(|_| budget.requested());
                requests += more;
                taken += (0..tries).filter(|_| budget.take(begin + Duration::from_millis(milliseconds))).count() as u64;
                prop_assert!(taken <= requests / 5 + FLOOR_MAX + 1 + milliseconds * FLOOR_PER_SECOND / 1000);
            }
        }
    }
}
