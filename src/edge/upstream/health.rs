//! The health of one server at one address, as requests meet it: while nothing stands against it, asking costs one atomic
//! read. What changes is told to the log once.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::edge::clock;
use crate::gate::time::UnixTime;
use crate::state::server_health::{CheckThresholds, HealthChange, ServerHealth, Standing};

/// The health of one server at one address. Outlives the configuration that it was made for.
#[derive(Debug)]
pub struct HealthSlot {
    /// For the log: the upstream's name, and the server with its address where that is not how it is written.
    upstream: Box<str>,
    server: Box<str>,
    is_clean: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    health: ServerHealth,
    last_check: Option<LastCheck>,
}

/// How the last check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastCheck {
    /// When.
    pub at: UnixTime,
    /// Why it failed; nothing when it did not.
    pub error: Option<Box<str>>,
}

/// What is shown of a server's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthView {
    /// What it may be given.
    pub standing: Standing,
    /// Requests in a row that failed.
    pub failures: u32,
    /// How the last check ended; nothing when there was none.
    pub last_check: Option<LastCheck>,
}

impl HealthSlot {
    /// A server of which nothing is known yet.
    pub(super) fn new(upstream: &str, written: &str, address: &str) -> Self {
        let server = if written == address { written.to_owned() } else { format!("{written} ({address})") };
        Self {
            upstream: upstream.into(),
            server: server.into(),
            is_clean: AtomicBool::new(true),
            state: Mutex::default(),
        }
    }

    /// Whether it gets requests without any reserve.
    pub(super) fn is_available(&self) -> bool {
        self.is_clean.load(Ordering::Acquire) || self.locked().health.standing() == Standing::Available
    }

    /// Whether a request may go there now; see [`ServerHealth::admit`].
    pub(super) fn admit(&self) -> bool {
        self.is_clean.load(Ordering::Acquire) || self.locked().health.admit(clock::monotonic())
    }

    /// See [`ServerHealth::admit_as_last`].
    pub(super) fn admit_as_last(&self) -> bool {
        self.locked().health.admit_as_last(clock::monotonic())
    }

    /// What it may be given.
    pub(super) fn standing(&self) -> Standing {
        self.locked().health.standing()
    }

    /// It answered a request.
    pub fn request_succeeded(&self) {
        if !self.is_clean.load(Ordering::Acquire) {
            self.change(|state, _| state.health.request_succeeded(), "it answers again");
        }
    }

    /// It could not be reached, broke the protocol, or did not answer in time; `error` says how.
    pub fn request_failed(&self, error: &str) {
        self.change(|state, now| state.health.request_failed(now), error);
    }

    /// A check ended.
    pub(super) fn checked(&self, outcome: Result<(), String>, thresholds: CheckThresholds) {
        let error = outcome.err();
        let last = LastCheck { at: clock::unix_time(), error: error.as_deref().map(Box::from) };
        self.change(
            |state, _| {
                state.last_check = Some(last);
                match error {
                    None => state.health.check_succeeded(thresholds),
                    Some(_) => state.health.check_failed(thresholds),
                }
            },
            error.as_deref().unwrap_or("checks find it well"),
        );
    }

    /// It is not checked any more.
    pub(super) fn without_checks(&self) {
        self.change(
            |state, _| {
                state.last_check = None;
                state.health.without_checks();
                HealthChange::None
            },
            "",
        );
    }

    /// What is shown of it.
    pub fn view(&self) -> HealthView {
        let state = self.locked();
        HealthView {
            standing: state.health.standing(),
            failures: state.health.failures(),
            last_check: state.last_check.clone(),
        }
    }

    fn change(&self, change: impl FnOnce(&mut State, Instant) -> HealthChange, reason: &str) {
        let mut state = self.locked();
        let changed = change(&mut state, clock::monotonic());
        self.is_clean.store(state.health.is_clean(), Ordering::Release);
        drop(state);
        let (upstream, server) = (&self.upstream, &self.server);
        match changed {
            HealthChange::None => {}
            HealthChange::Returned => log::info!("upstream `{upstream}`: {server} gets requests again: {reason}"),
            HealthChange::Ejected(pause) => {
                let seconds = pause.as_secs();
                log::warn!("upstream `{upstream}`: {server} gets no requests for {seconds} s, they failed: {reason}");
            }
            HealthChange::FoundDown => {
                log::warn!("upstream `{upstream}`: {server} gets no requests until checks succeed: {reason}");
            }
        }
    }

    /// Whoever panicked left a whole value behind: each is assigned at once.
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
