//! Refusals by reason and minute over the last quarter of an hour, in memory of fixed size.
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::gate::rejection::Rejection;

/// So many minutes are told apart, the one that is not over included.
pub const MINUTES: usize = 15;
const MINUTE: Duration = Duration::from_secs(60);

/// The counts. Minutes begin with the first refusal.
#[derive(Debug, Default)]
pub struct RejectionCounts {
    first: Option<Instant>,
    /// Minutes in which there was a refusal, the oldest first.
    minutes: VecDeque<Minute>,
}

#[derive(Debug)]
struct Minute {
    /// How many minutes after the first one.
    number: u64,
    /// By [`Rejection::index`].
    counts: [u32; Rejection::ALL.len()],
}

/// One reason and how often it was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasonCount {
    /// The reason.
    pub rejection: Rejection,
    /// Refusals in each minute, the oldest first; the last minute is not over yet.
    pub minutes: [u32; MINUTES],
}

impl ReasonCount {
    /// Refusals in the last so many minutes.
    #[must_use]
    pub fn last(&self, minutes: usize) -> u64 {
        self.minutes.iter().rev().take(minutes).map(|count| u64::from(*count)).sum()
    }
}

impl RejectionCounts {
    /// Counts one.
    pub fn note(&mut self, rejection: Rejection, now: Instant) {
        let number = self.number(now);
        self.first.get_or_insert(now);
        // Threads may come here a moment out of order: what is late counts for the minute that began meanwhile.
        if self.minutes.back().is_none_or(|minute| minute.number < number) {
            if self.minutes.len() >= MINUTES {
                self.minutes.pop_front();
            }
            self.minutes.push_back(Minute { number, counts: [0; Rejection::ALL.len()] });
        }
        let counts = self.minutes.back_mut().map(|minute| &mut minute.counts);
        if let Some(count) = counts.and_then(|counts| counts.get_mut(rejection.index())) {
            *count = count.saturating_add(1);
        }
    }

    /// Every reason that was met in the last [`MINUTES`], the most frequent first.
    #[must_use]
    pub fn recent(&self, now: Instant) -> Vec<ReasonCount> {
        let current = self.number(now);
        let place = |number: u64| (MINUTES as u64 - 1).checked_sub(current.saturating_sub(number));
        let count = |rejection: Rejection| {
            let mut minutes = [0; MINUTES];
            for minute in &self.minutes {
                let slot = place(minute.number).and_then(|place| minutes.get_mut(usize::try_from(place).ok()?));
                if let (Some(slot), Some(count)) = (slot, minute.counts.get(rejection.index())) {
                    *slot = *count;
                }
            }
            ReasonCount { rejection, minutes }
        };
        let mut reasons: Vec<ReasonCount> = Rejection::ALL.iter().map(|rejection| count(*rejection)).collect();
        reasons.retain(|reason| reason.last(MINUTES) > 0);
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.last(MINUTES)));
        reasons
    }

    fn number(&self, now: Instant) -> u64 {
        let since = self.first.map_or(Duration::ZERO, |first| now.saturating_duration_since(first));
        since.as_secs() / MINUTE.as_secs()
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

    #[test]
    fn refusals_are_counted_by_minute_and_leave_after_a_quarter_of_an_hour() {
        let start = now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut counts = RejectionCounts::default();
        assert!(counts.recent(start).is_empty());
        for (seconds, rejection) in [
            (0, Rejection::TokenMissing),
            (59, Rejection::TokenMissing),
            (60, Rejection::TokenExpired),
            (300, Rejection::TokenMissing),
        ] {
            counts.note(rejection, at(seconds));
        }
        let told = |seconds| -> Vec<(Rejection, u64, u64)> {
            counts.recent(at(seconds)).iter().map(|it| (it.rejection, it.last(5), it.last(MINUTES))).collect()
        };
        let (missing, expired) = (Rejection::TokenMissing, Rejection::TokenExpired);
        assert_eq!(told(300), [(missing, 1, 3), (expired, 1, 1)]);
        assert_eq!(told(899), [(missing, 0, 3), (expired, 0, 1)]);
        assert_eq!(told(900), [(missing, 0, 1), (expired, 0, 1)]);
        assert_eq!(told(960), [(missing, 0, 1)]);
        assert_eq!(told(300 + 900), []);
        assert_eq!(counts.recent(at(330))[0].minutes, [0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1]);
    }

    proptest! {
        #[test]
        fn whatever_the_order_memory_is_bounded_and_nothing_recent_is_lost(
            steps in prop::collection::vec((0_u64..200, 0..Rejection::ALL.len(), any::<bool>()), 1..200)
        ) {
            let start = now();
            let (mut now, mut counts, mut noted) = (start, RejectionCounts::default(), Vec::new());
            for (seconds, rejection, is_late) in steps {
                now += Duration::from_secs(seconds);
                // A moment ago, as another thread may have read the clock.
                let when = if is_late { now.checked_sub(Duration::from_millis(3)).unwrap_or(now).max(start) } else { now };
                counts.note(Rejection::ALL[rejection], when);
                noted.push(when);
                prop_assert!(counts.minutes.len() <= MINUTES);
            }
            let told: u64 = counts.recent(now).iter().map(|reason| reason.last(MINUTES)).sum();
            let within = |window: Duration| noted.iter().filter(|when| now.duration_since(**when) < window).count() as u64;
            prop_assert!(told >= within(MINUTE * (MINUTES as u32 - 1)));
            prop_assert!(told <= within(MINUTE * MINUTES as u32 + Duration::from_secs(1)));
        }
    }
}
