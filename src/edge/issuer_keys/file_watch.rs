//! Reads a key set's file again whenever it changes. A file that cannot be used changes nothing and is said once.
use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    edge::{
        clock, files,
        issuer_keys::{FileIssuer, tell_change, waiters::Door},
    },
    gate::keys::{KEY_SET_BYTES_MAX, KeySet},
};

/// How often a file is looked at: how long a withdrawn key may still count.
const PERIOD: Duration = Duration::from_secs(1);
/// A file that was changed so shortly before it was read may be changed again without a sign of it: file systems count
/// time in steps. It is read once more.
const SETTLING: Duration = Duration::from_secs(2);

/// By what a change is seen: what the name leads to, its size and its times. A link that is led elsewhere is a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Signature {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What was seen when the file was last read.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// Nothing: it is to be read.
    Nothing,
    /// It was like this, and had been so for a while.
    Settled(Signature),
    /// It could not be looked at, for this reason.
    Missing(io::ErrorKind),
}

/// Watches the file of one issuer for as long as the process runs.
pub(super) async fn watch(issuer: Arc<FileIssuer>, door: Arc<Door>) {
    let mut seen = Seen::Nothing;
    let mut said: Option<String> = None;
    loop {
        let is_demanded = door.is_demanded();
        if is_demanded {
            // Before the file is looked at: whoever asks from now on is answered by the next look.
            door.begin();
        }
        let task = Arc::clone(&issuer);
        let looked = tokio::task::spawn_blocking(move || look(&task, seen, is_demanded)).await;
        let outcome = match looked {
            Ok((now_seen, outcome)) => {
                seen = now_seen;
                outcome
            }
            Err(_) => {
                seen = Seen::Nothing;
                None
            }
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

/// Looks at the file, and reads it when it changed or is to be read anyway.
fn look(issuer: &FileIssuer, seen: Seen, is_demanded: bool) -> (Seen, Option<Result<Arc<KeySet>, String>>) {
    let path = &issuer.file.path;
    let signature = match signature(path) {
        Ok((signature, modified)) => {
            if !is_demanded && seen == Seen::Settled(signature) {
                return (seen, None);
            }
            (signature, modified)
        }
        Err(error) => {
            let missing = Seen::Missing(error.kind());
            let outcome =
                (is_demanded || seen != missing).then(|| Err(format!("cannot read {}: {error}", path.display())));
            return (missing, outcome);
        }
    };
    let (signature, modified) = signature;
    let content = match content(issuer) {
        Ok(content) => content,
        // Says nothing of the file: what is short - descriptors, memory - may be there at the next look.
        Err(error) => return (Seen::Nothing, Some(Err(error))),
    };
    let is_settled = clock::now().duration_since(modified).is_ok_and(|age| age >= SETTLING);
    let now_seen = if is_settled { Seen::Settled(signature) } else { Seen::Nothing };
    (now_seen, Some(read(issuer, &content)))
}

fn signature(path: &Path) -> io::Result<(Signature, SystemTime)> {
    let metadata = fs::metadata(path)?;
    let signature = Signature {
        device: metadata.dev(),
        inode: metadata.ino(),
        bytes: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    };
    Ok((signature, metadata.modified()?))
}

fn content(issuer: &FileIssuer) -> Result<Vec<u8>, String> {
    let bytes_max = u64::try_from(KEY_SET_BYTES_MAX).unwrap_or(u64::MAX);
    files::read_file(&issuer.file.path, bytes_max).map_err(|error| error.to_string())
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
