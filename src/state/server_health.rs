//! Whether a server gets requests: a value that is told how checks and requests ended and says who may go there.
//!
//! Two things can stand against a server. **Checks** that somebody makes regularly find it down, until enough of them find it
//! well again. **Requests** that fail one after the other eject it for a while that doubles each time; when that is over, one
//! request finds out whether it is back before the others follow. It never reads a clock: time is an argument.
use std::time::{Duration, Instant};

/// Requests in a row that must fail until a server is ejected.
pub const FAILURES_MAX: u32 = 5;
/// How long it is ejected for the first time; each time in a row doubles it.
pub const EJECTION_MIN: Duration = Duration::from_secs(1);
/// How long it is ejected at most.
pub const EJECTION_MAX: Duration = Duration::from_secs(30);
/// How long the outcome of a trial is waited for before another request may try.
pub const TRIAL_PATIENCE: Duration = Duration::from_secs(5);

/// How many checks in a row change the verdict on a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckThresholds {
    /// Good ones that make it healthy again; at least one.
    pub healthy: u32,
    /// Failed ones that make it unhealthy; at least one.
    pub unhealthy: u32,
}

/// What checks found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nobody asked yet: it gets requests, and the first check decides.
    Unknown,
    Well,
    Down,
}

/// What is known of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerHealth {
    verdict: Verdict,
    /// Checks in a row that speak against the verdict.
    against: u32,
    /// Requests in a row that failed.
    failures: u32,
    /// Ejections in a row.
    ejections: u32,
    ejection: Option<Ejection>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ejection {
    since: Instant,
    until: Instant,
    /// When the request was let through that is to find out whether the server is back.
    trial: Option<Instant>,
}

/// What a server may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Requests.
    Available,
    /// Nothing until then, and then one request at first.
    Ejected {
        /// When that is.
        until: Instant,
    },
    /// Nothing until checks find it well.
    Down,
}

/// What an event changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthChange {
    /// Nothing that others would notice.
    None,
    /// It gets requests again.
    Returned,
    /// It was ejected, for so long.
    Ejected(Duration),
    /// Checks found it down.
    FoundDown,
}

impl Default for ServerHealth {
    fn default() -> Self {
        Self { verdict: Verdict::Unknown, against: 0, failures: 0, ejections: 0, ejection: None }
    }
}

impl ServerHealth {
    /// What it may be given.
    pub fn standing(&self) -> Standing {
        match (self.verdict, self.ejection) {
            (Verdict::Down, _) => Standing::Down,
            (Verdict::Unknown | Verdict::Well, Some(ejection)) => Standing::Ejected { until: ejection.until },
            (Verdict::Unknown | Verdict::Well, None) => Standing::Available,
        }
    }

    /// Whether nothing whatever stands against it, so that success is no news.
    pub fn is_clean(&self) -> bool {
        self.failures == 0 && self.standing() == Standing::Available
    }

    /// Requests in a row that failed.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether a request may go there. When its ejection is over, the first that asks is let through to find out.
    pub fn admit(&mut self, now: Instant) -> bool {
        let until = match self.standing() {
            Standing::Available => return true,
            Standing::Ejected { until } => until,
            Standing::Down => return false,
        };
        now >= until && self.begin_trial(now)
    }

    /// The same for a server when there is no other left: one request a second finds out whether it is back, however long
    /// it is ejected for.
    pub fn admit_as_last(&mut self, now: Instant) -> bool {
        match (self.standing(), self.ejection) {
            (Standing::Available, _) => true,
            (Standing::Ejected { .. }, Some(ejection)) => {
                now.saturating_duration_since(ejection.since) >= EJECTION_MIN && self.begin_trial(now)
            }
            (Standing::Ejected { .. }, None) | (Standing::Down, _) => false,
        }
    }

    fn begin_trial(&mut self, now: Instant) -> bool {
        let Some(ejection) = &mut self.ejection else { return true };
        let is_free = ejection.trial.is_none_or(|begun| now.saturating_duration_since(begun) >= TRIAL_PATIENCE);
        if is_free {
            ejection.trial = Some(now);
        }
        is_free
    }

    /// The server answered a request, whatever it answered.
    pub fn request_succeeded(&mut self) -> HealthChange {
        self.failures = 0;
        self.ejections = 0;
        if self.ejection.take().is_some() && self.verdict != Verdict::Down {
            return HealthChange::Returned;
        }
        HealthChange::None
    }

    /// The server could not be reached, broke the protocol, or did not answer in time.
    pub fn request_failed(&mut self, now: Instant) -> HealthChange {
        self.failures = self.failures.saturating_add(1);
        match &self.ejection {
            // One that was under way when it was ejected says nothing new.
            Some(Ejection { trial: None, .. }) => HealthChange::None,
            Some(_) => self.eject(now),
            None if self.failures >= FAILURES_MAX => self.eject(now),
            None => HealthChange::None,
        }
    }

    fn eject(&mut self, now: Instant) -> HealthChange {
        let pause = EJECTION_MIN.saturating_mul(1 << self.ejections.min(16)).min(EJECTION_MAX);
        self.ejections = self.ejections.saturating_add(1);
        self.ejection = Some(Ejection { since: now, until: now + pause, trial: None });
        if self.verdict == Verdict::Down { HealthChange::None } else { HealthChange::Ejected(pause) }
    }

    /// A check found it well.
    pub fn check_succeeded(&mut self, thresholds: CheckThresholds) -> HealthChange {
        match self.verdict {
            Verdict::Unknown | Verdict::Well => {
                self.verdict = Verdict::Well;
                self.against = 0;
                HealthChange::None
            }
            Verdict::Down => {
                self.against = self.against.saturating_add(1);
                if self.against < thresholds.healthy {
                    return HealthChange::None;
                }
                // What requests said of it is older than what the checks say.
                *self = Self { verdict: Verdict::Well, ..Self::default() };
                HealthChange::Returned
            }
        }
    }

    /// A check found it down.
    pub fn check_failed(&mut self, thresholds: CheckThresholds) -> HealthChange {
        match self.verdict {
            Verdict::Down => {
                self.against = 0;
                HealthChange::None
            }
            Verdict::Unknown | Verdict::Well => {
                self.against = self.against.saturating_add(1);
                if self.verdict == Verdict::Well && self.against < thresholds.unhealthy {
                    return HealthChange::None;
                }
                (self.verdict, self.against) = (Verdict::Down, 0);
                HealthChange::FoundDown
            }
        }
    }

    /// Nobody checks it any more: what checks found is forgotten.
    pub fn without_checks(&mut self) {
        (self.verdict, self.against) = (Verdict::Unknown, 0);
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

    const RULES: CheckThresholds = CheckThresholds { healthy: 2, unhealthy: 3 };

    fn after(begin: Instant, milliseconds: u64) -> Instant {
        begin + Duration::from_millis(milliseconds)
    }

    fn ejected(begin: Instant) -> ServerHealth {
        let mut health = ServerHealth::default();
        for failure in 1..=FAILURES_MAX {
            let change = health.request_failed(begin);
            assert_eq!(change != HealthChange::None, failure == FAILURES_MAX);
        }
        health
    }

    #[test]
    fn the_first_check_decides_and_later_ones_in_a_row() {
        let rows: [(&str, &str); 7] = [
            ("-", "d"),
            ("+", "a"),
            ("+--", "aaa"),
            ("+---", "aaad"),
            ("+--+--", "aaaaaa"),
            ("-+", "dd"),
            ("-+-++", "dddda"),
        ];
        for (checks, expected) in rows {
            let mut health = ServerHealth::default();
            let standings: String = checks
                .chars()
                .map(|check| {
                    if check == '+' {
                        health.check_succeeded(RULES)
                    } else {
                        health.check_failed(RULES)
                    };
                    if health.standing() == Standing::Down { 'd' } else { 'a' }
                })
                .collect();
            assert_eq!(standings, expected, "{checks}");
        }
    }

    #[test]
    fn failures_in_a_row_eject_and_a_success_in_between_starts_anew() {
        let now = now();
        let mut health = ServerHealth::default();
        for _ in 0..10 {
            for _ in 1..FAILURES_MAX {
                assert_eq!(health.request_failed(now), HealthChange::None);
            }
            assert_eq!(health.request_succeeded(), HealthChange::None);
            assert!(health.is_clean());
        }
        assert!(matches!(ejected(now).standing(), Standing::Ejected { .. }));
    }

    #[test]
    fn one_request_finds_out_whether_an_ejected_server_is_back_and_the_pause_doubles() {
        let begin = now();
        let mut health = ejected(begin);
        let mut at = 0;
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            assert!(!health.admit(after(begin, at + pause * 1000 - 1)));
            at += pause * 1000;
            assert!(health.admit(after(begin, at)) && !health.admit(after(begin, at)), "{pause}");
            assert!(matches!(health.request_failed(after(begin, at)), HealthChange::Ejected(_)));
        }
        at += 30_000;
        assert!(health.admit(after(begin, at)));
        assert_eq!(health.request_succeeded(), HealthChange::Returned);
        assert!(health.is_clean() && health.admit(after(begin, at)));
    }

    #[test]
    fn a_trial_whose_outcome_never_comes_does_not_keep_a_server_out() {
        let begin = now();
        let mut health = ejected(begin);
        assert!(health.admit(after(begin, 1000)));
        assert!(!health.admit(after(begin, 5999)));
        assert!(health.admit(after(begin, 6000)));
    }

    #[test]
    fn requests_that_were_under_way_do_not_lengthen_an_ejection() {
        let begin = now();
        let mut health = ejected(begin);
        for _ in 0..100 {
            assert_eq!(health.request_failed(after(begin, 500)), HealthChange::None);
        }
        assert!(health.admit(after(begin, 1000)));
    }

    #[test]
    fn the_last_server_is_tried_every_second_but_not_when_checks_found_it_down() {
        let begin = now();
        let mut health = ejected(begin);
        for second in 1..=20 {
            let now = after(begin, second * 1000);
            assert!(!health.admit_as_last(after(begin, second * 1000 - 1)));
            assert!(health.admit_as_last(now) && !health.admit_as_last(now));
            health.request_failed(now);
        }
        health.check_failed(RULES);
        assert!(!health.admit_as_last(after(begin, 100_000)));
    }

    #[test]
    fn checks_that_find_a_server_well_again_end_its_ejection() {
        let begin = now();
        let mut health = ejected(begin);
        assert_eq!(health.check_failed(RULES), HealthChange::FoundDown);
        assert_eq!(health.check_succeeded(RULES), HealthChange::None);
        assert_eq!(health.check_succeeded(RULES), HealthChange::Returned);
        assert!(health.is_clean());
        let mut unchecked = ejected(begin);
        unchecked.check_failed(RULES);
        unchecked.without_checks();
        assert!(matches!(unchecked.standing(), Standing::Ejected { .. }));
    }

    proptest! {
        #[test]
        fn a_server_that_works_again_always_returns(events in proptest::collection::vec((0_u8..5, 0_u64..3000), 0..200)) {
            let mut now = now();
            let mut health = ServerHealth::default();
            for (event, milliseconds) in events {
                now += Duration::from_millis(milliseconds);
                match event {
                    0 => drop(health.admit(now)),
                    1 => drop(health.request_failed(now)),
                    2 => drop(health.request_succeeded()),
                    3 => drop(health.check_failed(RULES)),
                    _ => drop(health.check_succeeded(RULES)),
                }
                if health.is_clean() {
                    prop_assert!(health.admit(now));
                }
                if health.standing() == Standing::Down {
                    prop_assert!(!health.admit(now) && !health.admit_as_last(now));
                }
            }
            // From now on everything that is asked of it goes well.
            for _ in 0..RULES.healthy {
                health.check_succeeded(RULES);
            }
            now += EJECTION_MAX + TRIAL_PATIENCE;
            prop_assert!(health.admit(now));
            health.request_succeeded();
            prop_assert!(health.is_clean());
        }
    }
}
