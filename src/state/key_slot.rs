//! The current keys of one issuer: swapped whole, so that no request ever sees half a set.
//!
//! A failed or empty answer never replaces a good set.
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;

use crate::{
    gate::{keys::KeySet, time::UnixTime},
    state::refresh::{Provocation, RefreshRules, RefreshSchedule},
};

/// The keys of one issuer and what is known of how they are had.
#[derive(Debug)]
pub struct KeySlot {
    current: ArcSwapOption<KeySet>,
    remote: Option<Mutex<RemoteState>>,
}

#[derive(Debug)]
struct RemoteState {
    schedule: RefreshSchedule,
    attempts: u64,
    last_success: Option<UnixTime>,
    last_error: Option<Box<str>>,
}

/// How an issuer's keys are had, for `/issuers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStatus {
    /// Attempts to fetch since the start.
    pub attempts: u64,
    /// When a set was last fetched.
    pub last_success: Option<UnixTime>,
    /// Why the last attempt failed; nothing after a success.
    pub last_error: Option<Box<str>>,
    /// How long until the next scheduled attempt.
    pub next_attempt_in: Duration,
}

impl KeySlot {
    /// A slot whose keys were read with the configuration and do not change.
    pub fn fixed(keys: Arc<KeySet>) -> Self {
        Self { current: ArcSwapOption::from(Some(keys)), remote: None }
    }

    /// A slot that is still empty and is filled from a server.
    pub fn remote(rules: RefreshRules, now: Instant) -> Self {
        let schedule = RefreshSchedule::new(rules, now);
        let state = RemoteState { schedule, attempts: 0, last_success: None, last_error: None };
        Self { current: ArcSwapOption::empty(), remote: Some(Mutex::new(state)) }
    }

    /// The keys that count now; nothing when there never were any or the last good set became too old.
    pub fn keys(&self) -> Option<Arc<KeySet>> {
        self.current.load_full()
    }

    /// Whether the keys come from a server.
    pub const fn is_remote(&self) -> bool {
        self.remote.is_some()
    }

    /// How the keys are had; nothing for a slot that is fixed.
    pub fn status(&self, now: Instant) -> Option<KeyStatus> {
        let state = self.state()?;
        Some(KeyStatus {
            attempts: state.attempts,
            last_success: state.last_success,
            last_error: state.last_error.clone(),
            next_attempt_in: state.schedule.due().saturating_duration_since(now),
        })
    }

    /// Puts a fetched set in place of the last.
    pub fn fetched(&self, keys: Arc<KeySet>, max_age: Option<Duration>, now: Instant, date: UnixTime, jitter: f64) {
        let Some(mut state) = self.state() else { return };
        state.attempts += 1;
        state.last_success = Some(date);
        state.last_error = None;
        state.schedule.succeeded(now, max_age, jitter);
        self.current.store(Some(keys));
    }

    /// Notes an attempt that gave no usable set; the last good one stays.
    pub fn failed(&self, error: &str, now: Instant, jitter: f64) {
        let Some(mut state) = self.state() else { return };
        state.attempts += 1;
        state.last_error = Some(error.into());
        state.schedule.failed(now, jitter);
    }

    /// Gives up the last good set once it is too old. Answers whether it did.
    pub fn expire(&self, now: Instant) -> bool {
        let Some(state) = self.state() else { return false };
        let is_stale = state.schedule.stale_at().is_some_and(|stale_at| now >= stale_at);
        is_stale && self.current.swap(None).is_some()
    }

    /// When something is due: the next attempt, or the end of the last good set.
    pub fn due(&self) -> Option<Instant> {
        let state = self.state()?;
        let stale_at = state.schedule.stale_at().filter(|_| self.current.load().is_some());
        Some(stale_at.map_or(state.schedule.due(), |stale_at| stale_at.min(state.schedule.due())))
    }

    /// Whether the next scheduled attempt is due.
    pub fn is_due(&self, now: Instant) -> bool {
        self.state().is_some_and(|state| state.schedule.due() <= now)
    }

    /// A request names a key that the set lacks.
    pub fn provoked(&self, now: Instant) -> Provocation {
        self.state().map_or(Provocation::Settled, |mut state| state.schedule.provoked(now))
    }

    fn state(&self) -> Option<MutexGuard<'_, RemoteState>> {
        // What is behind the lock is whole after every statement, so a panic elsewhere does not spoil it.
        Some(self.remote.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
