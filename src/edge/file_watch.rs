//! Notices that a file was changed, for whatever is read again while the process runs. It looks; what the content means is
//! for whoever asks.
use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use crate::edge::{clock, files};

/// How often a file is looked at: how long what was changed may still count.
pub const PERIOD: Duration = Duration::from_secs(1);
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

/// One file that is watched.
#[derive(Debug)]
pub struct FileWatch {
    path: PathBuf,
    bytes_max: u64,
    seen: Seen,
}

impl FileWatch {
    /// A watch that has seen nothing: the first look reads, at most `bytes_max`.
    pub const fn new(path: PathBuf, bytes_max: u64) -> Self {
        Self { path, bytes_max, seen: Seen::Nothing }
    }

    /// Looks at the file, and reads it when it changed or is to be read anyway. Nothing when it was not read. Blocks.
    pub fn look<T>(
        &mut self,
        is_demanded: bool,
        read: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Option<Result<T, String>> {
        let (signature, modified) = match signature(&self.path) {
            Ok(found) => found,
            Err(error) => {
                let missing = Seen::Missing(error.kind());
                let is_told = is_demanded || self.seen != missing;
                self.seen = missing;
                return is_told.then(|| Err(format!("cannot read {}: {error}", self.path.display())));
            }
        };
        if !is_demanded && self.seen == Seen::Settled(signature) {
            return None;
        }
        let content = match files::read_file(&self.path, self.bytes_max) {
            Ok(content) => content,
            // Says nothing of the file: what is short - descriptors, memory - may be there at the next look.
            Err(error) => {
                self.seen = Seen::Nothing;
                return Some(Err(error.to_string()));
            }
        };
        let is_settled = clock::now().duration_since(modified).is_ok_and(|age| age >= SETTLING);
        self.seen = if is_settled { Seen::Settled(signature) } else { Seen::Nothing };
        Some(read(&content))
    }
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
