//! The current keys of one issuer: swapped whole, so that no request ever sees half a set.
//!
//! A failed or empty answer never replaces a good set.
use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;

use crate::{
    gate::{keys::KeySet, time::UnixTime},
    state::refresh::{Occasion, Provocation, RefreshRules, RefreshSchedule},
};

/// The keys of one issuer and what is known of how they are had.
#[derive(Debug)]
pub struct KeySlot {
    current: ArcSwapOption<KeySet>,
    source: Source,
    /// What counts instead, once another configuration has other keys for the issuer.
    successor: OnceLock<Arc<Self>>,
}

#[derive(Debug)]
enum Source {
    Fixed,
    File(Mutex<FileState>),
    Remote(Mutex<RemoteState>),
}

#[derive(Debug)]
struct FileState {
    read: Obtained,
    last_error: Option<Box<str>>,
}

#[derive(Debug)]
struct RemoteState {
    schedule: RefreshSchedule,
    attempts: u64,
    obtained: Option<Obtained>,
    is_restored: bool,
    location: Option<Box<str>>,
    last_error: Option<Box<str>>,
    metadata_error: Option<Box<str>>,
    kept: Option<UnixTime>,
    disk_error: Option<Box<str>>,
    is_being_kept: bool,
}

/// When a set was had: by the wall clock for people, by the monotonic one for its age.
#[derive(Clone, Copy, Debug)]
struct Obtained {
    date: UnixTime,
    at: Instant,
    /// How old it was then.
    age: Duration,
}

impl Obtained {
    fn age(&self, now: Instant) -> Duration {
        self.age.saturating_add(now.saturating_duration_since(self.at))
    }
}

/// A set that an earlier process fetched.
#[derive(Clone, Debug)]
pub struct RestoredKeys {
    /// The set.
    pub keys: Arc<KeySet>,
    /// When it was fetched.
    pub date: UnixTime,
    /// How long ago that was; zero when the wall clock says that it has not been yet.
    pub age: Duration,
}

/// How an issuer's keys are had, for `/issuers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyStatus {
    /// Read with the configuration.
    Fixed,
    /// Read from a file that is watched.
    File {
        /// When the set that serves was read.
        read: UnixTime,
        /// How long ago that was.
        age: Duration,
        /// Why the file as it is now cannot be used; nothing when it can.
        last_error: Option<Box<str>>,
    },
    /// Fetched from a server.
    Remote(RemoteStatus),
}

/// How the keys of a remote issuer are had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteStatus {
    /// The URL that the keys were last asked from, configured or discovered.
    pub location: Option<Box<str>>,
    /// Attempts to fetch since the start.
    pub attempts: u64,
    /// Scheduled attempts that failed since the last success.
    pub failures: u32,
    /// When the set was fetched or last confirmed.
    pub last_success: Option<UnixTime>,
    /// How long ago that was.
    pub age: Option<Duration>,
    /// Whether the set is one that an earlier process fetched, and nothing was fetched since.
    pub is_restored: bool,
    /// Why the last attempt failed; nothing after a success.
    pub last_error: Option<Box<str>>,
    /// Why the issuer's metadata could not be read again, while its keys are still where it last said.
    pub metadata_error: Option<Box<str>>,
    /// When the set was fetched that is kept for the next start.
    pub kept: Option<UnixTime>,
    /// Why the last set could not be kept; nothing once one could.
    pub disk_error: Option<Box<str>>,
    /// Whether the disk has yet to say what became of the last set.
    pub is_being_kept: bool,
    /// How long until the next scheduled attempt.
    pub next_attempt_in: Duration,
    /// How long the set may serve yet; nothing when there is none.
    pub stale_in: Option<Duration>,
}

impl KeySlot {
    /// A slot whose keys were read with the configuration and do not change.
    pub fn fixed(keys: Arc<KeySet>) -> Self {
        Self::with(Some(keys), Source::Fixed)
    }

    /// A slot whose keys were read from a file, and are read again when that changes.
    pub fn file(keys: Arc<KeySet>, now: Instant, date: UnixTime) -> Self {
        let read = Obtained { date, at: now, age: Duration::ZERO };
        let source = Source::File(Mutex::new(FileState { read, last_error: None }));
        Self::with(Some(keys), source)
    }

    /// A slot that is still empty and is filled from a server.
    pub fn remote(rules: RefreshRules, now: Instant) -> Self {
        let schedule = RefreshSchedule::new(rules, now);
        let state = RemoteState {
            schedule,
            attempts: 0,
            obtained: None,
            is_restored: false,
            location: None,
            last_error: None,
            metadata_error: None,
            kept: None,
            disk_error: None,
            is_being_kept: false,
        };
        Self::with(None, Source::Remote(Mutex::new(state)))
    }

    /// A slot that has no keys and never gets any.
    pub fn none() -> Self {
        Self::with(None, Source::Fixed)
    }

    fn with(keys: Option<Arc<KeySet>>, source: Source) -> Self {
        Self { current: ArcSwapOption::from(keys), source, successor: OnceLock::new() }
    }

    /// From now on the keys are those of `successor`, which stays so: the first one counts.
    pub fn hand_over(&self, successor: Arc<Self>) {
        let _ = self.successor.set(successor);
    }

    /// The keys that count now; nothing when there never were any or the last good set became too old.
    pub fn keys(&self) -> Option<Arc<KeySet>> {
        let mut slot = self;
        while let Some(successor) = slot.successor.get() {
            slot = successor;
        }
        slot.current.load_full()
    }

    /// Whether the keys come from a server.
    pub const fn is_remote(&self) -> bool {
        matches!(self.source, Source::Remote(_))
    }

    /// How the keys are had.
    pub fn status(&self, now: Instant) -> KeyStatus {
        match &self.source {
            Source::Fixed => KeyStatus::Fixed,
            Source::File(state) => {
                let state = locked(state);
                KeyStatus::File {
                    read: state.read.date,
                    age: state.read.age(now),
                    last_error: state.last_error.clone(),
                }
            }
            Source::Remote(state) => {
                let state = locked(state);
                let serves = self.current.load().is_some();
                KeyStatus::Remote(RemoteStatus {
                    location: state.location.clone(),
                    attempts: state.attempts,
                    failures: state.schedule.failures(),
                    last_success: state.obtained.map(|obtained| obtained.date),
                    age: state.obtained.map(|obtained| obtained.age(now)),
                    is_restored: state.is_restored,
                    last_error: state.last_error.clone(),
                    metadata_error: state.metadata_error.clone(),
                    kept: state.kept,
                    disk_error: state.disk_error.clone(),
                    is_being_kept: state.is_being_kept,
                    next_attempt_in: state.schedule.due().saturating_duration_since(now),
                    stale_in: state
                        .schedule
                        .stale_at()
                        .filter(|_| serves)
                        .map(|stale_at| stale_at.saturating_duration_since(now)),
                })
            }
        }
    }

    /// Puts what a watched file holds now in place of the last.
    pub fn read(&self, keys: Arc<KeySet>, now: Instant, date: UnixTime) {
        let Source::File(state) = &self.source else { return };
        let mut state = locked(state);
        state.read = Obtained { date, at: now, age: Duration::ZERO };
        state.last_error = None;
        self.current.store(Some(keys));
    }

    /// Notes that a watched file cannot be used as it is now; the last good set stays.
    pub fn unreadable(&self, error: &str) {
        let Source::File(state) = &self.source else { return };
        locked(state).last_error = Some(error.into());
    }

    /// Serves with what an earlier process fetched, until something is fetched. Answers whether it is young enough.
    pub fn restored(&self, restored: RestoredKeys, now: Instant) -> bool {
        let Some(mut state) = self.remote_state() else { return false };
        if state.attempts > 0 || !state.schedule.restored(now, restored.age) {
            return false;
        }
        state.obtained = Some(Obtained { date: restored.date, at: now, age: restored.age });
        state.is_restored = true;
        state.kept = Some(restored.date);
        self.current.store(Some(restored.keys));
        true
    }

    /// Puts a fetched set in place of the last.
    pub fn fetched(&self, keys: Arc<KeySet>, max_age: Option<Duration>, now: Instant, date: UnixTime, jitter: f64) {
        let Some(mut state) = self.remote_state() else { return };
        state.attempts += 1;
        state.obtained = Some(Obtained { date, at: now, age: Duration::ZERO });
        state.is_restored = false;
        state.last_error = None;
        state.schedule.succeeded(now, max_age, jitter);
        self.current.store(Some(keys));
    }

    /// Notes the URL at which the keys are, and why the metadata could not be asked again whether they are.
    pub fn located(&self, url: &str, metadata_error: Option<&str>) {
        if let Some(mut state) = self.remote_state() {
            state.location = Some(url.into());
            state.metadata_error = metadata_error.map(Box::from);
        }
    }

    /// Notes that the set that was fetched is on its way to the disk.
    pub fn being_kept(&self) {
        if let Some(mut state) = self.remote_state() {
            state.is_being_kept = true;
        }
    }

    /// Whether the disk has yet to say what became of the set.
    pub fn is_being_kept(&self) -> bool {
        self.remote_state().is_some_and(|state| state.is_being_kept)
    }

    /// Notes that the set fetched at `date` is kept for the next start.
    pub fn kept(&self, date: UnixTime) {
        if let Some(mut state) = self.remote_state() {
            state.kept = Some(date);
            state.disk_error = None;
            state.is_being_kept = false;
        }
    }

    /// Notes why a set could not be kept, and whether the one that was kept before is gone.
    pub fn not_kept(&self, error: &str, is_forgotten: bool) {
        if let Some(mut state) = self.remote_state() {
            state.disk_error = Some(error.into());
            state.is_being_kept = false;
            state.kept = state.kept.filter(|_| !is_forgotten);
        }
    }

    /// Notes an attempt that gave no usable set; the last good one stays.
    pub fn failed(&self, error: &str, occasion: Occasion, now: Instant, jitter: f64) {
        let Some(mut state) = self.remote_state() else { return };
        state.attempts += 1;
        state.last_error = Some(error.into());
        // Whatever the metadata said, this is what happened last.
        state.metadata_error = None;
        state.schedule.failed(now, occasion, jitter);
    }

    /// Gives up the last good set once it is too old. Answers whether it did.
    pub fn expire(&self, now: Instant) -> bool {
        let Some(state) = self.remote_state() else { return false };
        let is_stale = state.schedule.stale_at().is_some_and(|stale_at| now >= stale_at);
        is_stale && self.current.swap(None).is_some()
    }

    /// Scheduled attempts that failed since the last success.
    pub fn failures(&self) -> u32 {
        self.remote_state().map_or(0, |state| state.schedule.failures())
    }

    /// When the next scheduled attempt is due; nothing for keys that are not fetched.
    pub fn due(&self) -> Option<Instant> {
        Some(self.remote_state()?.schedule.due())
    }

    /// When the set that serves becomes too old; nothing when none does or it never will.
    pub fn stale_at(&self) -> Option<Instant> {
        let state = self.remote_state()?;
        state.schedule.stale_at().filter(|_| self.current.load().is_some())
    }

    /// A request names a key that the set lacks.
    pub fn provoked(&self, now: Instant) -> Provocation {
        self.remote_state().map_or(Provocation::Settled, |mut state| state.schedule.provoked(now))
    }

    fn remote_state(&self) -> Option<MutexGuard<'_, RemoteState>> {
        match &self.source {
            Source::Remote(state) => Some(locked(state)),
            Source::Fixed | Source::File(_) => None,
        }
    }
}

fn locked<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind the locks is whole after every statement, so a panic elsewhere does not spoil it.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: RefreshRules = RefreshRules {
        refresh: Duration::from_secs(600),
        cooldown: Duration::from_secs(10),
        max_stale: Duration::from_secs(3600),
    };

    #[expect(clippy::disallowed_methods, reason = "an Instant cannot be made otherwise; only distances from it matter")]
    fn start() -> Instant {
        Instant::now()
    }

    fn set() -> Arc<KeySet> {
        Arc::new(KeySet::default())
    }

    fn restored(age: u64) -> RestoredKeys {
        RestoredKeys { keys: set(), date: UnixTime::from_seconds(1_000), age: Duration::from_secs(age) }
    }

    fn remote_status(slot: &KeySlot, now: Instant) -> RemoteStatus {
        let KeyStatus::Remote(status) = slot.status(now) else { panic!("not remote") };
        status
    }

    #[test]
    fn a_restored_set_ages_from_when_it_was_fetched_and_is_given_up_like_any_other() {
        let now = start();
        let slot = KeySlot::remote(RULES, now);
        assert!(!slot.restored(restored(3600), now), "too old");
        assert!(slot.keys().is_none());
        assert!(slot.restored(restored(3000), now));
        let later = now + Duration::from_secs(500);
        let status = remote_status(&slot, later);
        assert_eq!(status.age, Some(Duration::from_secs(3500)));
        assert_eq!(status.stale_in, Some(Duration::from_secs(100)));
        assert!(status.is_restored);
        assert!(!slot.expire(later));
        assert!(slot.expire(now + Duration::from_secs(600)));
        assert!(slot.keys().is_none());
        assert_eq!(slot.stale_at(), None);
    }

    #[test]
    fn a_restored_set_never_replaces_what_was_fetched() {
        let now = start();
        let slot = KeySlot::remote(RULES, now);
        let fetched = set();
        slot.fetched(Arc::clone(&fetched), None, now, UnixTime::from_seconds(2_000), 0.0);
        assert!(!slot.restored(restored(0), now));
        assert!(Arc::ptr_eq(&slot.keys().unwrap(), &fetched));
        assert!(!remote_status(&slot, now).is_restored);
    }

    #[test]
    fn a_failure_keeps_the_set_and_says_why_until_the_next_success() {
        let now = start();
        let slot = KeySlot::remote(RULES, now);
        let fetched = set();
        slot.fetched(Arc::clone(&fetched), None, now, UnixTime::from_seconds(2_000), 0.0);
        slot.failed("refused", Occasion::Scheduled, now, 0.0);
        let status = remote_status(&slot, now);
        assert_eq!((status.attempts, status.failures, status.last_error.as_deref()), (2, 1, Some("refused")));
        assert!(Arc::ptr_eq(&slot.keys().unwrap(), &fetched));
        slot.fetched(set(), None, now, UnixTime::from_seconds(2_001), 0.0);
        let status = remote_status(&slot, now);
        assert_eq!((status.failures, status.last_error), (0, None));
    }

    #[test]
    fn a_file_that_cannot_be_used_keeps_the_set_that_was_read() {
        let now = start();
        let first = set();
        let slot = KeySlot::file(Arc::clone(&first), now, UnixTime::from_seconds(1));
        slot.unreadable("it is gone");
        assert!(Arc::ptr_eq(&slot.keys().unwrap(), &first));
        let KeyStatus::File { age, last_error, .. } = slot.status(now + Duration::from_secs(5)) else { panic!() };
        assert_eq!((age, last_error.as_deref()), (Duration::from_secs(5), Some("it is gone")));
        let second = set();
        slot.read(Arc::clone(&second), now, UnixTime::from_seconds(2));
        assert!(Arc::ptr_eq(&slot.keys().unwrap(), &second));
        assert!(matches!(slot.status(now), KeyStatus::File { last_error: None, .. }));
        assert!(!slot.is_remote() && slot.due().is_none() && !slot.expire(now));
        assert_eq!(slot.provoked(now), Provocation::Settled);
    }
}
