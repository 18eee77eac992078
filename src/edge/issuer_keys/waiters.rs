//! How requests, operators and the tasks of issuers find each other: one attempt for all who ask, and bounded waiting.
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
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
    progress: watch::Sender<Progress>,
    waiting: AtomicUsize,
    /// Longest time that one attempt takes.
    patience: Duration,
    metrics: Option<FetchMetrics>,
}

/// The attempts of one issuer, numbered from 1, and who wants one. Changed in single steps, so that nobody who asks can fall
/// between an attempt that is wanted and the same attempt when it begins.
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
    /// Whether a request provoked an attempt, and none was begun since.
    is_provoked: bool,
    /// Whether an operator asked for an attempt, and none was begun since.
    is_demanded: bool,
}

/// What a request that names an unknown key waits for.
struct Wanted {
    /// From this attempt on, a success settles the question.
    first: u64,
    /// After this attempt there is nothing more to wait for.
    last: u64,
}

impl Progress {
    const fn is_under_way(&self) -> bool {
        self.begun > self.ended
    }
}

impl KeyWaiters {
    /// Doors for the issuers of a configuration.
    pub fn new(sources: &KeySources) -> Self {
        let remotes = sources.remotes.iter().map(|(id, issuer)| (*id, Arc::clone(&issuer.door)));
        let files = sources.files.iter().map(|(id, issuer)| (*id, Arc::clone(&issuer.door)));
        Self { doors: remotes.chain(files).collect() }
    }

    /// Waits for a fetch that may find an unknown key: one for all who ask, at most one in a cooldown.
    pub async fn wait(&self, issuer: IssuerId, slot: &KeySlot) -> Patience {
        let Some(door) = self.doors.get(&issuer) else { return Patience::Fetched };
        let Some(_place) = Place::take(&door.waiting) else { return Patience::NotFetched };
        let mut progress = door.progress.subscribe();
        let Wanted { first, last } = match door.provoke(slot) {
            Ok(wanted) => wanted,
            Err(patience) => return patience,
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
        let wanted = door.demand();
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
    /// That of an issuer whose keys are fetched in this time at most.
    pub(super) fn of_server(timeout: Duration, metrics: &FetchMetrics) -> Self {
        Self::new(timeout, Some(metrics))
    }

    /// That of an issuer whose keys are in a file.
    pub(super) fn of_file() -> Self {
        Self::new(FILE_PATIENCE, None)
    }

    /// Whether an attempt was made, whatever came of it.
    pub(super) fn was_tried(&self) -> bool {
        self.progress.borrow().ended > 0
    }

    /// Has whoever waits for the bell look now instead of a little later.
    pub(super) fn look_now(&self) {
        self.bell.notify_one();
    }

    fn new(patience: Duration, metrics: Option<&FetchMetrics>) -> Self {
        Self {
            bell: Notify::new(),
            progress: watch::Sender::new(Progress::default()),
            waiting: AtomicUsize::new(0),
            patience,
            metrics: metrics.cloned(),
        }
    }

    /// A request names a key that the set lacks: which attempts may settle what it is, or what is settled already.
    fn provoke(&self, slot: &KeySlot) -> Result<Wanted, Patience> {
        let mut wanted = Err(Patience::NotFetched);
        let rings = self.progress.send_if_modified(|progress| {
            let next = progress.begun + 1;
            // An attempt under way settles the question when it succeeds: its answer comes after the token did.
            let first = if progress.is_under_way() { progress.begun } else { next };
            let provocation = slot.provoked(clock::monotonic());
            wanted = match provocation {
                Provocation::Settled => Err(Patience::Fetched),
                Provocation::Fetch => Ok(Wanted { first, last: next }),
                Provocation::Refused if progress.is_provoked => Ok(Wanted { first, last: next }),
                Provocation::Refused if progress.is_under_way() => Ok(Wanted { first, last: progress.begun }),
                Provocation::Refused => Err(Patience::NotFetched),
            };
            progress.is_provoked |= provocation == Provocation::Fetch;
            provocation == Provocation::Fetch
        });
        if rings {
            self.bell.notify_one();
        }
        wanted
    }

    /// An operator wants an attempt that begins from now on; answers its number.
    fn demand(&self) -> u64 {
        let mut wanted = 0;
        self.progress.send_modify(|progress| {
            progress.is_demanded = true;
            wanted = progress.begun + 1;
        });
        self.bell.notify_one();
        wanted
    }

    /// Waits until somebody rings.
    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }

    /// Whether an operator asked for an attempt, and none was begun since.
    pub(super) fn is_demanded(&self) -> bool {
        self.progress.borrow().is_demanded
    }

    /// Whether a request provoked an attempt, and none was begun since.
    pub(super) fn is_provoked(&self) -> bool {
        self.progress.borrow().is_provoked
    }

    /// An attempt begins; it is for all who asked for one.
    pub(super) fn begin(&self) {
        self.progress.send_modify(|progress| {
            progress.is_provoked = false;
            progress.is_demanded = false;
            progress.begun += 1;
        });
    }

    /// The attempt ended so.
    pub(super) fn end(&self, outcome: Result<(), &str>) {
        self.progress.send_modify(|progress| {
            progress.ended = progress.begun;
            match outcome {
                Ok(()) => {
                    progress.succeeded = progress.begun;
                    // Whoever asked meanwhile is answered by what has just come.
                    progress.is_provoked = false;
                }
                Err(reason) => progress.failure = reason.into(),
            }
        });
    }
}

/// Whether every remote issuer was tried once.
#[derive(Clone, Debug)]
pub struct AllTried {
    doors: Arc<[Arc<Door>]>,
}

impl AllTried {
    pub(super) fn new(doors: Vec<Arc<Door>>) -> Self {
        Self { doors: doors.into() }
    }

    /// Whether it is so now.
    pub fn is_so(&self) -> bool {
        self.doors.iter().all(|door| door.was_tried())
    }

    /// Waits until it is so.
    pub async fn wait(&self) {
        for door in self.doors.iter() {
            // The door is held here, and with it the sender: the wait ends with the attempt.
            let _ = door.progress.subscribe().wait_for(|progress| progress.ended > 0).await;
        }
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
