//! How keys come to their slots: fetched from servers, read from files that are watched, kept on disk between two starts.
//!
//! Every issuer has a task of its own, so that one whose server hangs delays no other. Nothing here runs in a request's own
//! task; a request can only wait, once and bounded, for an attempt that the issuer's task makes.
mod attempt;
mod file_watch;
mod keeper;
mod refresher;
mod store;
mod waiters;

use std::{path::Path, sync::Arc};

use crate::{
    config::settings::{IssuerKeys, KeyFile, KeySource, RemoteKeys},
    edge::{
        clock,
        issuer_keys::{attempt::Fetcher, refresher::RemoteIssuer, store::Binding, waiters::Door},
        jwks_client::{Proxies, without_query},
        metrics::{FetchMetrics, IssuerMetrics, Metrics},
    },
    gate::{
        algorithm::Algorithms,
        decide::Ruleset,
        issuer::{Issuer, IssuerId},
        keys::{Key, KeySet},
        time::UnixTime,
    },
    state::{key_slot::KeySlot, refresh::RefreshRules},
};

pub use refresher::{KeyRefresher, KeyTasks};
pub use store::KeyStore;
pub use waiters::{AllTried, KeyWaiters, Refreshed};

/// An issuer whose keys are in a file that is watched.
#[derive(Debug)]
struct FileIssuer {
    name: Box<str>,
    /// Its `iss`: where that changes, the slot of the one before is handed over and must not be this one.
    identifier: Box<str>,
    file: KeyFile,
    algorithms: Algorithms,
    slot: Arc<KeySlot>,
    door: Arc<Door>,
    metrics: IssuerMetrics,
}

/// The key slots of a configuration, with what has to be done to keep them filled.
#[derive(Debug)]
pub struct KeySources {
    /// A slot for each issuer, positioned as in the rule set.
    pub slots: Vec<Arc<KeySlot>>,
    remotes: Vec<(IssuerId, Arc<RemoteIssuer>)>,
    files: Vec<(IssuerId, Arc<FileIssuer>)>,
    /// The names of all.
    names: Vec<Box<str>>,
}

impl KeySources {
    /// Slots for these issuers. Those whose keys were read with the configuration are filled; those of issuers whose keys
    /// come from where they came from `before` are the same.
    pub fn new(ruleset: &Ruleset, sources: &[IssuerKeys], metrics: &Metrics, before: Option<&Self>) -> Self {
        let names = ruleset.issuers.iter().map(|issuer| issuer.name.clone()).collect();
        let mut all = Self { slots: Vec::with_capacity(sources.len()), remotes: Vec::new(), files: Vec::new(), names };
        for ((id, issuer), keys) in (0..).map(IssuerId).zip(&ruleset.issuers).zip(sources) {
            let counters = IssuerMetrics::resolve(metrics, &issuer.name);
            let slot = match &keys.source {
                KeySource::Fixed(set) => Arc::new(KeySlot::fixed(Arc::clone(set))),
                // No key, no token: what was not read cannot let anybody in.
                KeySource::Unread => Arc::new(KeySlot::fixed(Arc::new(KeySet::default()))),
                KeySource::File(file) => {
                    let known = before.and_then(|before| before.same_file(issuer, file));
                    let issuer = known.unwrap_or_else(|| Arc::new(new_file(file, issuer, counters)));
                    let slot = Arc::clone(&issuer.slot);
                    all.files.push((id, issuer));
                    slot
                }
                KeySource::Remote(remote) => {
                    let fetches = FetchMetrics::resolve(metrics, &issuer.name);
                    let new = new_remote(remote, issuer, (fetches, counters));
                    let issuer = before.and_then(|before| before.same_remote(&new)).unwrap_or_else(|| Arc::new(new));
                    let slot = Arc::clone(&issuer.slot);
                    all.remotes.push((id, issuer));
                    slot
                }
            };
            all.slots.push(slot);
        }
        all
    }

    /// Whether keys of any issuer are fetched.
    pub fn have_remote(&self) -> bool {
        !self.remotes.is_empty()
    }

    /// Fills the slots of remote issuers that nobody has tried yet with what an earlier process kept, as far as that may
    /// still serve.
    pub fn restore(&self, store: &KeyStore) {
        for (_, issuer) in &self.remotes {
            if issuer.slot.keys().is_none() && !issuer.door.was_tried() {
                refresher::restore(issuer, store);
            }
        }
    }

    /// Whether every remote issuer was tried once.
    pub fn all_tried(&self) -> AllTried {
        AllTried::new(self.remotes.iter().map(|(_, issuer)| Arc::clone(&issuer.door)).collect())
    }

    /// These are in force now, in place of `before`: what is told of their keys is theirs.
    pub fn tell_in_force(&self, metrics: &Metrics, before: Option<&Self>) {
        for (name, slot) in self.names.iter().zip(&self.slots) {
            let metrics = IssuerMetrics::resolve(metrics, name);
            match slot.keys() {
                Some(set) => metrics.holds(&set),
                None => metrics.holds_none(),
            }
        }
        let before = before.map_or(&[][..], |before| &before.names);
        before.iter().filter(|name| !self.names.contains(name)).for_each(|name| metrics.forget_issuer(name));
        // What their files hold was read with the configuration; the watch looks whether it is what serves.
        self.files.iter().for_each(|(_, issuer)| issuer.door.look_now());
    }

    /// These never came into force: what is told of issuers that are new with them is taken back.
    pub fn forget(&self, current: &Self, metrics: &Metrics) {
        self.names.iter().filter(|name| !current.names.contains(name)).for_each(|name| metrics.forget_issuer(name));
    }

    fn same_remote(&self, new: &RemoteIssuer) -> Option<Arc<RemoteIssuer>> {
        let is_same = |known: &RemoteIssuer| {
            known.binding.name == new.binding.name
                && known.binding.issuer == new.binding.issuer
                && (&known.keys, known.algorithms, known.leeway) == (&new.keys, new.algorithms, new.leeway)
        };
        self.remotes.iter().map(|(_, known)| known).find(|known| is_same(known)).map(Arc::clone)
    }

    fn same_file(&self, issuer: &Issuer, file: &KeyFile) -> Option<Arc<FileIssuer>> {
        let is_same = |known: &FileIssuer| {
            (&known.name, &known.identifier) == (&issuer.name, &issuer.identifier)
                && (&known.file.path, known.algorithms) == (&file.path, issuer.algorithms)
        };
        self.files.iter().map(|(_, known)| known).find(|known| is_same(known)).map(Arc::clone)
    }
}

fn new_remote(remote: &RemoteKeys, issuer: &Issuer, metrics: (FetchMetrics, IssuerMetrics)) -> RemoteIssuer {
    RemoteIssuer {
        binding: Binding::new(&issuer.name, &issuer.identifier, remote),
        keys: remote.clone(),
        algorithms: issuer.algorithms,
        leeway: issuer.leeway,
        slot: Arc::new(KeySlot::remote(rules(remote), clock::monotonic())),
        door: Arc::new(Door::of_server(remote.timeout, &metrics.0)),
        metrics,
    }
}

fn new_file(file: &KeyFile, issuer: &Issuer, metrics: IssuerMetrics) -> FileIssuer {
    FileIssuer {
        name: issuer.name.clone(),
        identifier: issuer.identifier.clone(),
        file: file.clone(),
        algorithms: issuer.algorithms,
        slot: Arc::new(KeySlot::file(Arc::clone(&file.set), clock::monotonic(), clock::unix_time())),
        door: Arc::new(Door::of_file()),
        metrics,
    }
}

/// Fetches the keys of a remote issuer once, for whoever wants to see them; nothing is kept. Answers where they were found.
/// It blocks.
///
/// # Errors
/// Says what happened, in words for people.
pub fn fetch_once(issuer: &Issuer, keys: &RemoteKeys, proxies: Arc<Proxies>) -> Result<(String, Arc<KeySet>), String> {
    let obtained = Fetcher::new(&issuer.identifier, keys, issuer.algorithms, proxies).attempt();
    obtained
        .map(|obtained| (without_query(&obtained.url).into_owned(), obtained.set))
        .map_err(|error| error.to_string())
}

/// The keys of a remote issuer that an earlier process kept in `state_directory`, and when they were fetched; nothing when
/// none are there. Nothing is made there, and nothing is changed.
///
/// # Errors
/// Says why what is there is not used.
pub fn kept(
    issuer: &Issuer,
    keys: &RemoteKeys,
    state_directory: &Path,
) -> Result<Option<(Arc<KeySet>, UnixTime)>, String> {
    let store = KeyStore::in_place(state_directory);
    let binding = Binding::new(&issuer.name, &issuer.identifier, keys);
    let Some(stored) = store.load(&binding).map_err(|fault| fault.to_string())? else { return Ok(None) };
    match KeySet::parse(stored.text.as_bytes(), issuer.algorithms) {
        Ok(set) if !set.is_empty() => Ok(Some((Arc::new(set), stored.fetched_at))),
        Ok(_) | Err(_) => Err("it has no usable key".to_owned()),
    }
}

fn rules(remote: &RemoteKeys) -> RefreshRules {
    RefreshRules { refresh: remote.refresh, cooldown: remote.cooldown, max_stale: remote.max_stale }
}

/// So many keys that cannot be used are named when a set changes; more are counted.
const TOLD_MAX: usize = 8;

/// One line for each change of an issuer's set and one for each key that cannot be used, up to [`TOLD_MAX`]; none when
/// nothing changed.
fn tell_change(issuer: &str, before: Option<&KeySet>, now: &KeySet) {
    // In whatever order they come: some servers shuffle them.
    let has = |set: &KeySet, wanted: &Key| {
        set.keys().iter().any(|key| {
            (key.thumbprint(), key.kid(), key.algorithms()) == (wanted.thumbprint(), wanted.kid(), wanted.algorithms())
        })
    };
    let is_same = before.is_some_and(|before| {
        before.skipped_count() == now.skipped_count()
            && now.skipped().iter().all(|skipped| before.skipped().contains(skipped))
            && before.keys().len() == now.keys().len()
            && now.keys().iter().all(|key| has(before, key))
    });
    if is_same {
        return;
    }
    let names: Vec<String> = now.keys().iter().map(|key| named(key.kid())).collect();
    let withdrawn: Vec<String> = before.map_or_else(Vec::new, |before| {
        before.keys().iter().filter(|old| !now.holds(old.thumbprint())).map(|old| named(old.kid())).collect()
    });
    let gone = if withdrawn.is_empty() { String::new() } else { format!("; withdrawn: {}", withdrawn.join(", ")) };
    log::info!(
        "issuer {issuer}: usable keys: {}{gone}",
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    );
    for skipped in now.skipped().iter().take(TOLD_MAX) {
        log::warn!("issuer {issuer}: key {} is not used: {}", named(skipped.kid.as_deref()), skipped.reason);
    }
    if let Some(more @ 1..) = now.skipped_count().checked_sub(TOLD_MAX) {
        log::warn!("issuer {issuer}: {more} more keys are not used");
    }
}

/// A key as people may call it; a `kid` is a text from outside.
fn named(kid: Option<&str>) -> String {
    kid.map_or_else(|| "without kid".to_owned(), crate::gate::rejection::quoted)
}
