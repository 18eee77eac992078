//! Keeps what was fetched for the next start, beside the refreshing: a disk that hangs costs what is kept, and nothing else.
use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    edge::issuer_keys::{
        refresher::RemoteIssuer,
        store::{KeyStore, StoredKeys},
    },
    gate::{keys::KeySet, time::UnixTime},
};

/// A disk that takes longer for one small file is said to hang.
const PATIENCE: Duration = Duration::from_secs(10);

/// Keeps the sets of one issuer, one after the other; of several that come while it is busy, only the last.
#[derive(Debug)]
pub(super) struct Keeper {
    latest: watch::Sender<Option<Fetched>>,
}

#[derive(Clone, Debug)]
struct Fetched {
    set: Arc<KeySet>,
    stored: StoredKeys,
}

impl Keeper {
    /// Starts to keep what comes.
    pub(super) fn start(store: KeyStore, issuer: Arc<RemoteIssuer>) -> Self {
        let (latest, fetched) = watch::channel(None);
        tokio::spawn(keep_all(store, issuer, fetched));
        Self { latest }
    }

    /// Has a set kept that was fetched, or confirmed, at `date`. Does not wait for it.
    pub(super) fn keep(&self, set: Arc<KeySet>, text: &str, date: UnixTime) {
        self.latest.send_replace(Some(Fetched { set, stored: StoredKeys { text: text.to_owned(), fetched_at: date } }));
    }
}

async fn keep_all(store: KeyStore, issuer: Arc<RemoteIssuer>, mut fetched: watch::Receiver<Option<Fetched>>) {
    let name = &issuer.binding.name;
    let mut is_failing = false;
    while fetched.changed().await.is_ok() {
        let Some(latest) = fetched.borrow_and_update().clone() else { continue };
        let date = latest.stored.fetched_at;
        let (store, task) = (store.clone(), Arc::clone(&issuer));
        let mut working = tokio::task::spawn_blocking(move || keep(&store, &task, &latest));
        let outcome = match tokio::time::timeout(PATIENCE, &mut working).await {
            Ok(outcome) => outcome,
            Err(_) => {
                log::error!("issuer {name}: its key set cannot be kept: the disk does not answer");
                issuer.slot.not_kept("the disk does not answer", false);
                is_failing = true;
                working.await
            }
        };
        let is_kept = outcome.unwrap_or(false);
        if is_kept {
            issuer.slot.kept(date);
        }
        if is_kept && is_failing {
            log::info!("issuer {name}: its key set can be kept again");
        }
        is_failing = !is_kept;
    }
}

/// Keeps one set; answers whether it could, and says why not.
fn keep(store: &KeyStore, issuer: &RemoteIssuer, latest: &Fetched) -> bool {
    let binding = &issuer.binding;
    let Err(error) = store.save(binding, &latest.stored) else { return true };
    let mut said = format!("its key set cannot be kept in {}: {error}", store.path(binding).display());
    let forgotten = store.forget_withdrawn(binding, &latest.set, issuer.algorithms);
    match &forgotten {
        Ok(false) => {}
        Ok(true) => said.push_str("; the one that was kept has withdrawn keys and was removed"),
        Err(removal) => {
            said.push_str(&format!("; REMOVE THIS FILE: its withdrawn keys would count at the next start ({removal})"));
        }
    }
    log::error!("issuer {}: {said}", binding.name);
    issuer.slot.not_kept(&said, forgotten.unwrap_or(false));
    false
}
