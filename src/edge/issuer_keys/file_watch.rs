//! Reads a key set's file again whenever it changes. A file that cannot be used changes nothing and is said once.
use std::sync::Arc;

use crate::{
    edge::{
        clock,
        file_watch::{FileWatch, PERIOD},
        issuer_keys::{FileIssuer, tell_change},
    },
    gate::keys::{KEY_SET_BYTES_MAX, KeySet},
};

/// Watches the file of one issuer.
pub(super) async fn watch(issuer: Arc<FileIssuer>) {
    let door = Arc::clone(&issuer.door);
    let new_watch = || FileWatch::new(issuer.file.path.clone(), KEY_SET_BYTES_MAX as u64);
    let mut file = Some(new_watch());
    let mut said: Option<String> = None;
    loop {
        let is_demanded = door.is_demanded();
        if is_demanded {
            // Before the file is looked at: whoever asks from now on is answered by the next look.
            door.begin();
        }
        let task = Arc::clone(&issuer);
        let mut watched = file.take().unwrap_or_else(new_watch);
        let looked = tokio::task::spawn_blocking(move || {
            let outcome = watched.look(is_demanded, |content| read(&task, content));
            (watched, outcome)
        });
        let outcome = match looked.await {
            Ok((watched, outcome)) => {
                file = Some(watched);
                outcome
            }
            Err(_) => None,
        };
        if let Some(outcome) = &outcome {
            settle(&issuer, outcome, &mut said);
        }
        if is_demanded {
            let outcome = outcome.as_ref().map(|outcome| outcome.as_ref().map(|_| ()).map_err(String::as_str));
            door.end(outcome.unwrap_or(Err("the reading was interrupted")));
        }
        tokio::select! {
            () = door.rung() => {}
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

fn read(issuer: &FileIssuer, content: &[u8]) -> Result<Arc<KeySet>, String> {
    let path = &issuer.file.path;
    match KeySet::parse(content, issuer.algorithms) {
        Ok(set) if set.is_empty() => Err(format!("{}: it has no usable key", path.display())),
        Ok(set) => Ok(Arc::new(set)),
        Err(fault) => Err(format!("{}: {fault}", path.display())),
    }
}

/// Puts what was read where it belongs, and says what changed.
fn settle(issuer: &FileIssuer, outcome: &Result<Arc<KeySet>, String>, said: &mut Option<String>) {
    match outcome {
        Ok(set) => {
            if said.take().is_some() {
                log::info!("issuer {}: {} can be used again", issuer.name, issuer.file.path.display());
            }
            tell_change(&issuer.name, issuer.slot.keys().as_deref(), set);
            issuer.metrics.holds(set);
            issuer.slot.read(Arc::clone(set), clock::monotonic(), clock::unix_time());
        }
        Err(error) => {
            if said.as_deref() != Some(error) {
                log::error!("issuer {}: its keys stay as they are: {error}", issuer.name);
            }
            *said = Some(error.clone());
            issuer.slot.unreadable(error);
        }
    }
}
