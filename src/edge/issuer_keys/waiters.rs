//! How requests, operators and the tasks of issuers find each other: one attempt for all who ask, and bounded waiting.
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, watch};

use crate::{
    edge::{clock, issuer_keys::KeySources, metrics::FetchMetrics},
    gate::issuer::IssuerId,
    state::{gatekeeper::Patience, key_slot::KeySlot, refresh::Provocation},
};

/// Requests that may wait for one issuer's keys at the same time; more are answered at once.
const WAITERS_MAX: usize = 256;
/// A file is read at once; only a machine that stands still takes this long.
const FILE_PATIENCE: Duration = Duration::from_secs(5);

/// The doors of all issuers whose keys can change.
#[derive(Debug, Default)]
pub struct KeyWaiters {
    doors: HashMap<IssuerId, Arc<Door>>,
}

/// What became of a refresh that an operator asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// The keys are those of now.
    Done,
    /// The keys are as they were, for this reason.
    Failed(Box<str>),
    /// The keys of this issuer are neither fetched nor in a file that is watched.
    NotFetched,
}

/// Where those who want an attempt meet the task that makes it.
#[derive(Debug)]
pub(super) struct Door {
    bell: Notify,
    is_provoked: AtomicBool,
    is_demanded: AtomicBool,
    progress: watch::Sender<Progress>,
    waiting: AtomicUsize,
    /// Longest time that one attempt takes.
    patience: Duration,
    metrics: Option<FetchMetrics>,
}

/// The attempts of one issuer, numbered from 1.
#[derive(Clone, Debug, Default)]
struct Progress {
    /// The last that was begun.
    begun: u64,
    /// The last that ended.
    ended: u64,
    /// The last that succeeded.
    succeeded: u64,
    /// Why the last failure was one.
    failure: Box<str>,
}

impl Progress {
    const fn is_under_way(&self) -> bool {
        self.begun > self.ended
    }
}

impl KeyWaiters {
    /// Doors for the issuers of a configuration.
    pub fn new(sources: &KeySources) -> Self {
        let remotes =
            sources.remotes.iter().map(|issuer| (issuer.id, Door::new(issuer.keys.timeout, Some(&issuer.metrics.0))));
        let files = sources.files.iter().map(|issuer| (issuer.id, Door::new(FILE_PATIENCE, None)));
        Self { doors: remotes.chain(files).map(|(id, door)| (id, Arc::new(door))).collect() }
    }

    pub(super) fn door(&self, issuer: IssuerId) -> Option<&Arc<Door>> {
        self.doors.get(&issuer)
    }

    /// Waits for a fetch that may find an unknown key: one for all who ask, at most one in a cooldown.
    pub async fn wait(&self, issuer: IssuerId, slot: &KeySlot) -> Patience {
        let Some(door) = self.doors.get(&issuer) else { return Patience::Fetched };
        let Some(_place) = Place::take(&door.waiting) else { return Patience::NotFetched };
        let mut progress = door.progress.subscribe();
        // Before it is asked what may be done, so that no attempt can end unseen in between.
        let before = progress.borrow_and_update().clone();
        let next = before.begun + 1;
        // An attempt under way settles the question when it succeeds: its answer comes after the token did.
        let first = if before.is_under_way() { before.begun } else { next };
        let last = match slot.provoked(clock::monotonic()) {
            Provocation::Settled => return Patience::Fetched,
            Provocation::Fetch => {
                door.is_provoked.store(true, Ordering::SeqCst);
                door.bell.notify_one();
                next
            }
            Provocation::Refused if door.is_provoked.load(Ordering::SeqCst) => next,
            // Asked again: it may have begun in between.
            Provocation::Refused if progress.borrow().is_under_way() => progress.borrow().begun,
            Provocation::Refused => return Patience::NotFetched,
        };
        let began = clock::monotonic();
        let settled = progress.wait_for(|progress| progress.succeeded >= first || progress.ended >= last);
        let waited = tokio::time::timeout(door.patience, settled).await;
        if let Some(metrics) = &door.metrics {
            metrics.waited(began.elapsed());
        }
        match waited {
            Ok(Ok(progress)) if progress.succeeded >= first => Patience::Fetched,
            Ok(_) | Err(_) => Patience::NotFetched,
        }
    }

    /// Has the keys of an issuer fetched, or read from their file, now. It neither waits for a cooldown nor starts one;
    /// those who ask at the same time share an attempt.
    pub async fn refresh(&self, issuer: IssuerId) -> Refreshed {
        let Some(door) = self.doors.get(&issuer) else { return Refreshed::NotFetched };
        let mut progress = door.progress.subscribe();
        let wanted = progress.borrow_and_update().begun + 1;
        door.is_demanded.store(true, Ordering::SeqCst);
        door.bell.notify_one();
        // An attempt may be under way, and comes first.
        let patience = door.patience.saturating_mul(2).saturating_add(Duration::from_secs(1));
        match tokio::time::timeout(patience, progress.wait_for(|progress| progress.ended >= wanted)).await {
            Ok(Ok(progress)) if progress.succeeded >= wanted => Refreshed::Done,
            Ok(Ok(progress)) => Refreshed::Failed(progress.failure.clone()),
            Ok(Err(_)) => Refreshed::Failed("the process is about to stop".into()),
            Err(_) => Refreshed::Failed("no answer in time".into()),
        }
    }
}

impl Door {
    fn new(patience: Duration, metrics: Option<&FetchMetrics>) -> Self {
        Self {
            bell: Notify::new(),
            is_provoked: AtomicBool::new(false),
            is_demanded: AtomicBool::new(false),
            progress: watch::Sender::new(Progress::default()),
            waiting: AtomicUsize::new(0),
            patience,
            metrics: metrics.cloned(),
        }
    }

    /// Waits until somebody rings.
    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }

    /// Whether an operator asked for an attempt, and none was begun since.
    pub(super) fn is_demanded(&self) -> bool {
        self.is_demanded.load(Ordering::SeqCst)
    }

    /// Whether a request provoked an attempt, and none was begun since.
    pub(super) fn is_provoked(&self) -> bool {
        self.is_provoked.load(Ordering::SeqCst)
    }

    /// An attempt begins; it is for all who asked for one.
    pub(super) fn begin(&self) {
        // In this order: who asks in between finds this attempt still to come, and at worst another follows.
        self.is_provoked.store(false, Ordering::SeqCst);
        self.is_demanded.store(false, Ordering::SeqCst);
        self.progress.send_modify(|progress| progress.begun += 1);
    }

    /// The attempt ended so.
    pub(super) fn end(&self, outcome: Result<(), &str>) {
        if outcome.is_ok() {
            // Whoever asked meanwhile is answered by what has just come.
            self.is_provoked.store(false, Ordering::SeqCst);
        }
        self.progress.send_modify(|progress| {
            progress.ended = progress.begun;
            match outcome {
                Ok(()) => progress.succeeded = progress.begun,
                Err(reason) => progress.failure = reason.into(),
            }
        });
    }
}

/// A place among those who wait, given back whatever way the waiting ends.
struct Place<'d>(&'d AtomicUsize);

impl<'d> Place<'d> {
    fn take(waiting: &'d AtomicUsize) -> Option<Self> {
        let taken = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < WAITERS_MAX).then_some(taken)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_among_those_who_wait_are_bounded_and_given_back() {
        let waiting = AtomicUsize::new(0);
        let places: Vec<_> = (0..WAITERS_MAX).map(|_| Place::take(&waiting)).collect();
        assert!(places.iter().all(Option::is_some));
        assert!(Place::take(&waiting).is_none());
        drop(places);
        assert!(Place::take(&waiting).is_some());
        assert_eq!(waiting.load(Ordering::Relaxed), 0);
    }
}
