//! Keeps the keys of remote issuers fresh: one task an issuer, so that one that hangs delays no other.
//!
//! When to fetch is decided by `state::refresh`; this file waits, fetches and wakes those who wait. It never fetches in
//! a request's own task.
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use pingora_core::{server::ShutdownWatch, services::background::BackgroundService};
use tokio::sync::{Notify, watch};

use crate::{
    config::settings::RemoteKeys,
    edge::{
        clock,
        jwks_client::{self, FetchRequest},
        metrics::{FetchMetrics, IssuerMetrics},
    },
    gate::{algorithm::Algorithms, issuer::IssuerId, keys::KeySet},
    state::{gatekeeper::Patience, key_slot::KeySlot, refresh::Provocation},
};

/// Requests that may wait for one issuer's keys at the same time; more are answered at once.
const WAITERS_MAX: usize = 256;

/// One issuer whose keys are fetched.
#[derive(Debug)]
pub struct RemoteIssuer {
    /// Its place in the configuration.
    pub id: IssuerId,
    /// Its name in the configuration.
    pub name: Box<str>,
    /// Where its keys are.
    pub keys: RemoteKeys,
    /// Which algorithms its keys may verify.
    pub algorithms: Algorithms,
    /// Where they go.
    pub slot: Arc<KeySlot>,
    /// What is counted.
    pub metrics: (FetchMetrics, IssuerMetrics),
}

/// How requests and refreshing tasks find each other.
#[derive(Debug, Default)]
pub struct KeyWaiters {
    doors: HashMap<IssuerId, Arc<Door>>,
}

#[derive(Debug)]
struct Door {
    /// Rung by the request that provokes a fetch.
    bell: Notify,
    /// How the last attempt ended: counted, so that every attempt is seen.
    attempts: watch::Sender<Attempts>,
    /// Whether an attempt is under way or about to be.
    fetching: AtomicBool,
    waiting: AtomicUsize,
    patience: Duration,
    metrics: FetchMetrics,
}

#[derive(Clone, Copy, Debug, Default)]
struct Attempts {
    made: u64,
    last_succeeded: bool,
}

impl KeyWaiters {
    /// Doors for these issuers.
    pub fn new(issuers: &[RemoteIssuer]) -> Self {
        let door = |issuer: &RemoteIssuer| Door {
            bell: Notify::new(),
            attempts: watch::Sender::new(Attempts::default()),
            fetching: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            patience: issuer.keys.timeout,
            metrics: issuer.metrics.0.clone(),
        };
        Self { doors: issuers.iter().map(|issuer| (issuer.id, Arc::new(door(issuer)))).collect() }
    }

    /// Waits for a fetch that may find an unknown key: one for all who ask, at most one in a cooldown.
    pub async fn wait(&self, issuer: IssuerId, slot: &KeySlot) -> Patience {
        let Some(door) = self.doors.get(&issuer) else { return Patience::Fetched };
        let Some(_place) = Place::take(&door.waiting) else { return Patience::NotFetched };
        // Before it is asked what goes on, so that no attempt can end unseen in between.
        let mut attempts = door.attempts.subscribe();
        match slot.provoked(clock::monotonic()) {
            Provocation::Settled => return Patience::Fetched,
            Provocation::Fetch => {
                door.fetching.store(true, Ordering::SeqCst);
                door.bell.notify_one();
            }
            Provocation::Refused if door.fetching.load(Ordering::SeqCst) => {}
            Provocation::Refused => return Patience::NotFetched,
        }
        let began = clock::monotonic();
        let waited = tokio::time::timeout(door.patience, attempts.changed()).await;
        door.metrics.waited(began.elapsed());
        match waited {
            Ok(Ok(())) if attempts.borrow().last_succeeded => Patience::Fetched,
            Ok(_) | Err(_) => Patience::NotFetched,
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

/// The refreshing of all remote issuers, as a service of the process.
#[derive(Debug)]
pub struct KeyRefresher {
    issuers: Vec<Arc<RemoteIssuer>>,
    waiters: Arc<KeyWaiters>,
    /// How many issuers were tried once.
    tried: Arc<watch::Sender<usize>>,
}

impl KeyRefresher {
    /// A service for these issuers.
    pub fn new(issuers: Vec<RemoteIssuer>, waiters: Arc<KeyWaiters>) -> Self {
        let issuers = issuers.into_iter().map(Arc::new).collect();
        Self { issuers, waiters, tried: Arc::new(watch::Sender::new(0)) }
    }

    /// Becomes true once every issuer was tried once.
    pub fn all_tried(&self) -> AllTried {
        AllTried { tried: self.tried.subscribe(), issuers: self.issuers.len() }
    }
}

/// Whether every issuer was tried once.
#[derive(Clone, Debug)]
pub struct AllTried {
    tried: watch::Receiver<usize>,
    issuers: usize,
}

impl AllTried {
    /// Whether it is so now.
    pub fn is_so(&self) -> bool {
        *self.tried.borrow() >= self.issuers
    }

    /// Waits until it is so.
    pub async fn wait(&mut self) {
        let issuers = self.issuers;
        // An error means that nobody will try any more: there is nothing left to wait for.
        let _ = self.tried.wait_for(|tried| *tried >= issuers).await;
    }
}

#[async_trait]
impl BackgroundService for KeyRefresher {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        for issuer in &self.issuers {
            let Some(door) = self.waiters.doors.get(&issuer.id) else { continue };
            tokio::spawn(keep_fresh(Arc::clone(issuer), Arc::clone(door), Arc::clone(&self.tried)));
        }
        // The tasks end with the runtime.
        let _ = shutdown.changed().await;
    }
}

async fn keep_fresh(issuer: Arc<RemoteIssuer>, door: Arc<Door>, tried: Arc<watch::Sender<usize>>) {
    let mut is_first = true;
    loop {
        let provoked = wait_until_due(&issuer.slot, &door).await;
        if issuer.slot.expire(clock::monotonic()) {
            log::error!(
                "issuer {}: the last good keys are too old; its tokens are refused until keys can be fetched",
                issuer.name
            );
            issuer.metrics.1.keys.set(0);
        }
        if !provoked && !issuer.slot.is_due(clock::monotonic()) {
            continue;
        }
        door.fetching.store(true, Ordering::SeqCst);
        let succeeded = fetch(&issuer).await;
        door.fetching.store(false, Ordering::SeqCst);
        door.attempts.send_modify(|attempts| {
            attempts.made += 1;
            attempts.last_succeeded = succeeded;
        });
        if is_first {
            is_first = false;
            tried.send_modify(|tried| *tried += 1);
        }
    }
}

/// Waits until something is due or a request provokes a fetch; answers whether the latter.
async fn wait_until_due(slot: &KeySlot, door: &Door) -> bool {
    let pause = slot.due().map_or(Duration::from_secs(1), |due| due.saturating_duration_since(clock::monotonic()));
    tokio::select! {
        () = door.bell.notified() => true,
        () = tokio::time::sleep(pause) => false,
    }
}

async fn fetch(issuer: &Arc<RemoteIssuer>) -> bool {
    let started = clock::monotonic();
    let task = Arc::clone(issuer);
    let fetched = tokio::task::spawn_blocking(move || {
        jwks_client::fetch(&FetchRequest {
            url: match &task.keys.location {
                crate::config::settings::KeyLocation::Url(url) => url,
                crate::config::settings::KeyLocation::Discovery => "",
            },
            timeout: task.keys.timeout,
            authorities_pem: task.keys.ca_pem.as_deref(),
            insecure_http: task.keys.insecure_http,
        })
    })
    .await;
    let outcome = match fetched {
        Ok(Ok(fetched)) => match KeySet::parse(&fetched.body, issuer.algorithms) {
            Ok(set) if set.is_empty() => Err("the key set has no usable key".to_owned()),
            Ok(set) => Ok((set, fetched)),
            Err(fault) => Err(fault.to_string()),
        },
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the fetch was interrupted".to_owned()),
    };
    settle(issuer, started, outcome)
}

/// Puts the outcome of one attempt where it belongs; answers whether it brought keys.
fn settle(issuer: &RemoteIssuer, started: Instant, outcome: Result<(KeySet, jwks_client::Fetched), String>) -> bool {
    let now = clock::monotonic();
    let jitter = jitter();
    let (fetch_metrics, key_metrics) = &issuer.metrics;
    match outcome {
        Ok((set, fetched)) => {
            fetch_metrics.fetched(now.saturating_duration_since(started), clock::now(), fetched.date);
            key_metrics.keys.set(i64::try_from(set.keys().len()).unwrap_or(i64::MAX));
            key_metrics.skipped_keys.set(i64::try_from(set.skipped().len()).unwrap_or(i64::MAX));
            tell_change(issuer, &set);
            issuer.slot.fetched(Arc::new(set), fetched.max_age, now, clock::unix_time(), jitter);
            true
        }
        Err(error) => {
            fetch_metrics.failed(now.saturating_duration_since(started));
            log::warn!("issuer {}: its keys could not be fetched: {error}", issuer.name);
            issuer.slot.failed(&error, now, jitter);
            false
        }
    }
}

/// One line for each change of a set, none when nothing changed.
fn tell_change(issuer: &RemoteIssuer, set: &KeySet) {
    let current = issuer.slot.keys();
    let is_same = current.as_deref().is_some_and(|current| {
        current.skipped() == set.skipped()
            && current.keys().len() == set.keys().len()
            && set.keys().iter().all(|key| current.holds(key.thumbprint()))
    });
    if is_same {
        return;
    }
    log::info!("issuer {}: usable keys {}, skipped {}", issuer.name, set.keys().len(), set.skipped().len());
    for skipped in set.skipped() {
        let kid = skipped.kid.as_deref().map_or_else(|| "without kid".to_owned(), crate::gate::rejection::quoted);
        log::warn!("issuer {}: key {kid} is not used: {}", issuer.name, skipped.reason);
    }
}

/// Uniform in 0..1.
fn jitter() -> f64 {
    let mut bytes = [0; 4];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
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
