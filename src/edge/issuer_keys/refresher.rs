//! Keeps the keys of remote issuers fresh: one task an issuer, so that one that hangs delays no other.
//!
//! When to fetch is decided by `state::refresh`; this file waits, fetches and tells. It never fetches in a request's own
//! task.
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    config::settings::RemoteKeys,
    edge::{
        clock,
        issuer_keys::{
            FileIssuer, KeySources, KeyStore,
            attempt::{Fetcher, Obtained},
            file_watch,
            keeper::Keeper,
            store::Binding,
            tell_change,
            waiters::Door,
        },
        jwks_client::{Proxies, without_query},
        metrics::{FetchMetrics, IssuerMetrics},
        task_home::{Task, TaskHome},
    },
    gate::{algorithm::Algorithms, keys::KeySet, time::UnixTime},
    state::{
        key_slot::{KeySlot, RestoredKeys},
        refresh::Occasion,
    },
};

/// `Date` counts whole seconds, and an answer takes its time.
const CLOCK_RESOLUTION: Duration = Duration::from_secs(2);

/// One issuer whose keys are fetched.
#[derive(Debug)]
pub(super) struct RemoteIssuer {
    /// Its name, its identifier and the source of its keys.
    pub(super) binding: Binding,
    /// How its keys are fetched.
    pub(super) keys: RemoteKeys,
    /// Which algorithms its keys may verify.
    pub(super) algorithms: Algorithms,
    /// How far its clock may differ from ours.
    pub(super) leeway: Duration,
    /// Where they go.
    pub(super) slot: Arc<KeySlot>,
    /// Where those who want an attempt meet the task that makes it.
    pub(super) door: Arc<Door>,
    /// What is counted.
    pub(super) metrics: (FetchMetrics, IssuerMetrics),
}

/// Fills the slot of an issuer with what an earlier process kept, if that is young enough, and says so.
pub(super) fn restore(issuer: &RemoteIssuer, store: &KeyStore) {
    let name = &issuer.binding.name;
    let path = store.path(&issuer.binding);
    let stored = match store.load(&issuer.binding) {
        Ok(Some(stored)) => stored,
        Ok(None) => return,
        Err(fault) => return log::warn!("issuer {name}: the kept key set {} is not used: {fault}", path.display()),
    };
    let set = match KeySet::parse(stored.text.as_bytes(), issuer.algorithms) {
        Ok(set) if !set.is_empty() => Arc::new(set),
        Ok(_) | Err(_) => {
            return log::warn!("issuer {name}: the kept key set {} has no usable key", path.display());
        }
    };
    let now = clock::unix_time();
    let date = clock::rfc3339(stored.fetched_at);
    if stored.fetched_at > now {
        log::warn!(
            "issuer {name}: the kept key set says that it was fetched at {date}, which is not yet; it is used all the same, but one of the clocks was wrong"
        );
    }
    let restored = RestoredKeys { keys: Arc::clone(&set), date: stored.fetched_at, age: now.since(stored.fetched_at) };
    if issuer.slot.restored(restored, clock::monotonic()) {
        issuer.metrics.0.restored(system_time(stored.fetched_at));
        issuer.metrics.1.holds(&set);
        log::info!("issuer {name}: serves with {} keys kept since {date} until they can be fetched", set.keys().len());
    } else {
        log::warn!("issuer {name}: the key set kept since {date} is older than max_stale and is not used");
    }
}

fn system_time(time: UnixTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(time.milliseconds()).unwrap_or(0))
}

/// Has the keys of issuers kept fresh.
#[derive(Debug)]
pub struct KeyRefresher {
    home: TaskHome,
    proxies: Arc<Proxies>,
}

/// The tasks of a configuration's issuers; each ends when no configuration that counts has its issuer any more.
#[derive(Debug, Default)]
pub struct KeyTasks {
    remotes: Vec<(Arc<RemoteIssuer>, Arc<Task>)>,
    files: Vec<(Arc<FileIssuer>, Arc<Task>)>,
}

impl KeyRefresher {
    /// One whose tasks run there.
    pub const fn new(home: TaskHome, proxies: Arc<Proxies>) -> Self {
        Self { home, proxies }
    }

    /// Begins with the issuers that have no task among `before`, and keeps what is fetched for them in `store`.
    pub fn begin(&self, sources: &KeySources, before: &KeyTasks, store: Option<&KeyStore>) -> KeyTasks {
        let remotes = sources.remotes.iter().map(|(_, issuer)| {
            let known = before.remotes.iter().find(|(known, _)| Arc::ptr_eq(known, issuer));
            known.cloned().unwrap_or_else(|| (Arc::clone(issuer), Arc::new(self.fetch(issuer, store))))
        });
        let files = sources.files.iter().map(|(_, issuer)| {
            let known = before.files.iter().find(|(known, _)| Arc::ptr_eq(known, issuer));
            let watch = || self.home.spawn(file_watch::watch(Arc::clone(issuer)));
            known.cloned().unwrap_or_else(|| (Arc::clone(issuer), Arc::new(watch())))
        });
        KeyTasks { remotes: remotes.collect(), files: files.collect() }
    }

    fn fetch(&self, issuer: &Arc<RemoteIssuer>, store: Option<&KeyStore>) -> Task {
        let (issuer, proxies, store) = (Arc::clone(issuer), Arc::clone(&self.proxies), store.cloned());
        self.home.spawn(async move {
            let task = RefreshTask {
                fetcher: Some(new_fetcher(&issuer, &proxies)),
                proxies,
                door: Arc::clone(&issuer.door),
                keeper: store.map(|store| Keeper::start(store, Arc::clone(&issuer))),
                issuer,
                clock_is_off: false,
                metadata_error: None,
            };
            task.run().await;
        })
    }
}

fn new_fetcher(issuer: &RemoteIssuer, proxies: &Arc<Proxies>) -> Fetcher {
    Fetcher::new(&issuer.binding.issuer, &issuer.keys, issuer.algorithms, Arc::clone(proxies))
}

/// What keeps the keys of one issuer fresh.
struct RefreshTask {
    issuer: Arc<RemoteIssuer>,
    door: Arc<Door>,
    proxies: Arc<Proxies>,
    keeper: Option<Keeper>,
    /// Away while it works.
    fetcher: Option<Fetcher>,
    /// Whether it was said that the clocks differ.
    clock_is_off: bool,
    /// What was said of the metadata.
    metadata_error: Option<String>,
}

impl RefreshTask {
    async fn run(mut self) {
        loop {
            let occasion = self.wait_until_due().await;
            self.door.begin();
            let began = clock::monotonic();
            let outcome = self.attempt().await;
            let outcome = self.settle(occasion, began, outcome);
            self.door.end(outcome.as_ref().copied().map_err(String::as_str));
        }
    }

    /// Waits until an attempt is to be made, and gives up keys that become too old meanwhile.
    async fn wait_until_due(&self) -> Occasion {
        let slot = &self.issuer.slot;
        loop {
            self.expire();
            let now = clock::monotonic();
            let due = slot.due().unwrap_or(now);
            if due <= now {
                return Occasion::Scheduled;
            }
            if self.door.is_demanded() {
                return Occasion::Demanded;
            }
            if self.door.is_provoked() {
                return Occasion::Provoked;
            }
            let next = slot.stale_at().map_or(due, |stale_at| stale_at.min(due));
            tokio::select! {
                () = self.door.rung() => {}
                () = tokio::time::sleep_until(next.into()) => {}
            }
        }
    }

    fn expire(&self) {
        if self.issuer.slot.expire(clock::monotonic()) {
            self.issuer.metrics.1.holds_none();
            log::error!(
                "issuer {}: the last good keys are too old; its tokens are refused until keys can be fetched",
                self.issuer.binding.name
            );
        }
    }

    /// Makes one attempt on a thread that may block; keys that become too old meanwhile are given up in time.
    async fn attempt(&mut self) -> Result<Obtained, String> {
        let mut fetcher = match self.fetcher.take() {
            Some(fetcher) => fetcher,
            None => new_fetcher(&self.issuer, &self.proxies),
        };
        let mut working = tokio::task::spawn_blocking(move || {
            let outcome = fetcher.attempt();
            (fetcher, outcome)
        });
        loop {
            let stale_at = self.issuer.slot.stale_at();
            tokio::select! {
                joined = &mut working => {
                    let Ok((fetcher, outcome)) = joined else { return Err("the attempt was interrupted".to_owned()) };
                    self.fetcher = Some(fetcher);
                    return outcome.map_err(|error| error.to_string());
                }
                () = until(stale_at) => self.expire(),
            }
        }
    }

    /// Puts the outcome of one attempt where it belongs.
    fn settle(&mut self, occasion: Occasion, began: Instant, outcome: Result<Obtained, String>) -> Result<(), String> {
        let now = clock::monotonic();
        let issuer = &self.issuer;
        let (fetch_metrics, key_metrics) = &issuer.metrics;
        let obtained = match outcome {
            Ok(obtained) => obtained,
            Err(error) => {
                fetch_metrics.failed(now.saturating_duration_since(began));
                log::warn!("issuer {}: its keys could not be fetched: {error}", issuer.binding.name);
                issuer.slot.failed(&error, occasion, now, jitter());
                return Err(error);
            }
        };
        fetch_metrics.fetched(now.saturating_duration_since(began), clock::now());
        key_metrics.holds(&obtained.set);
        tell_change(&issuer.binding.name, issuer.slot.keys().as_deref(), &obtained.set);
        let date = clock::unix_time();
        let failures = issuer.slot.failures();
        if failures > 0 {
            let name = &issuer.binding.name;
            log::info!("issuer {name}: its keys can be fetched again, after {failures} attempts that failed");
        }
        let metadata_error = obtained.metadata_error.map(|error| error.to_string());
        issuer.slot.located(&without_query(&obtained.url), metadata_error.as_deref());
        issuer.slot.fetched(Arc::clone(&obtained.set), obtained.max_age, now, date, jitter());
        if let Some(keeper) = &self.keeper {
            issuer.slot.being_kept();
            keeper.keep(obtained.set, &obtained.text, date);
        }
        if let Some(issuers) = obtained.date {
            self.compare_clocks(issuers, now.saturating_duration_since(began));
        }
        self.tell_of_metadata(metadata_error);
        Ok(())
    }

    /// Says once that the metadata cannot be had, and once that it can again.
    fn tell_of_metadata(&mut self, error: Option<String>) {
        let name = &self.issuer.binding.name;
        match &error {
            Some(error) if self.metadata_error.as_ref() != Some(error) => {
                log::warn!(
                    "issuer {name}: its metadata cannot be read again; its keys are where it last said: {error}"
                );
            }
            None if self.metadata_error.is_some() => log::info!("issuer {name}: its metadata can be read again"),
            Some(_) | None => {}
        }
        self.metadata_error = error;
    }

    /// Notes how far the issuer's clock is ahead, and says once when tokens may be refused for it.
    fn compare_clocks(&mut self, issuers: SystemTime, took: Duration) {
        let ahead = seconds_ahead(issuers, clock::now());
        self.issuer.metrics.0.clock_differs(ahead);
        let name = &self.issuer.binding.name;
        let is_off =
            Duration::from_secs_f64(ahead.abs().min(1e9)) > (self.issuer.leeway / 2).max(CLOCK_RESOLUTION + took);
        if is_off && !self.clock_is_off {
            let leeway = self.issuer.leeway.as_secs();
            let (by, side) = (ahead.abs(), if ahead > 0.0 { "ahead of" } else { "behind" });
            log::warn!(
                "issuer {name}: its clock is {by:.0} s {side} this host's, and the leeway is {leeway} s: tokens may be \
                 refused as expired or not yet valid; check the clock of this host (timedatectl)"
            );
        } else if !is_off && self.clock_is_off {
            log::info!("issuer {name}: its clock and this host's agree again");
        }
        self.clock_is_off = is_off;
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}

fn seconds_ahead(theirs: SystemTime, ours: SystemTime) -> f64 {
    match theirs.duration_since(ours) {
        Ok(ahead) => ahead.as_secs_f64(),
        Err(behind) => -behind.duration().as_secs_f64(),
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
