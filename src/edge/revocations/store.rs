//! Revocations on disk: the instance's own entries, and the last good list of a server for a start while that cannot be
//! reached. Files are replaced whole and believed only when nobody else could have written them.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    config::{bounds::LIST_BYTES_MAX, revocation_entry::RevocationEntry},
    edge::state_directory,
    gate::{revocation::Revocation, time::UnixTime},
};

/// The directory of revocations within the state directory.
const FOLDER: &str = "revocations";
/// The form of the files; another is not read.
const FORM: u32 = 1;
/// Entries of its own that an instance takes at most: each change writes all of them.
pub(super) const OWN_ENTRIES_MAX: usize = 10_000;
/// The most that the file of own entries may hold.
pub(super) const OWN_BYTES_MAX: usize = 32 * 1024 * 1024;
/// A list of the largest size whose every byte is escaped, and what is said about it.
const FETCHED_BYTES_MAX: u64 = LIST_BYTES_MAX as u64 * 6 + 16 * 1024;

/// The files.
#[derive(Clone, Debug)]
pub struct RevocationStore {
    folder: PathBuf,
}

/// A list that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FetchedList {
    /// The list as it was fetched.
    pub(super) text: Vec<u8>,
    /// When, by the wall clock.
    pub(super) fetched_at: UnixTime,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenOwn {
    form: u32,
    entries: Vec<RevocationEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFetched {
    form: u32,
    url: String,
    fetched_at_milliseconds: i64,
    list: String,
}

impl RevocationStore {
    /// The store within a state directory; its own directory is made when it is missing.
    ///
    /// # Errors
    /// The system's.
    pub fn within(state_directory: &Path) -> io::Result<Self> {
        let folder = state_directory.join(FOLDER);
        state_directory::make(&folder)?;
        state_directory::try_writing(&folder)?;
        Ok(Self { folder })
    }

    /// The store as it is within a state directory, for reading: nothing is made.
    pub(super) fn in_place(state_directory: &Path) -> Self {
        Self { folder: state_directory.join(FOLDER) }
    }

    /// Where the own entries are within a state directory, if something is there.
    pub(super) fn own_within(state_directory: &Path) -> Option<PathBuf> {
        let store = Self::in_place(state_directory);
        Some(store.own_path()).filter(|path| fs::symlink_metadata(path).is_ok())
    }

    pub(super) fn own_path(&self) -> PathBuf {
        self.folder.join("own.json")
    }

    pub(super) fn fetched_path(&self) -> PathBuf {
        self.folder.join("fetched.json")
    }

    /// The own entries; none when none were ever kept.
    ///
    /// # Errors
    /// Says why the file cannot be used. To go on without it would bring tokens back to life.
    pub(super) fn load_own(&self) -> Result<Vec<Revocation>, String> {
        let content = state_directory::read_kept(&self.own_path(), OWN_BYTES_MAX as u64);
        let Some(content) = content.map_err(|fault| fault.to_string())? else { return Ok(Vec::new()) };
        let written: WrittenOwn =
            serde_json::from_slice(&content).map_err(|error| format!("it is damaged: {error}"))?;
        if written.form != FORM {
            return Err(format!("it was written by another version (form {})", written.form));
        }
        written.entries.iter().map(RevocationEntry::revocation).collect()
    }

    /// Keeps the own entries, in place of the last.
    ///
    /// # Errors
    /// The system's, or that they are too large; what was kept before is then as it was.
    pub(super) fn save_own(&self, entries: &[Revocation]) -> io::Result<()> {
        let written = WrittenOwn { form: FORM, entries: entries.iter().map(RevocationEntry::from).collect() };
        let content = serde_json::to_vec(&written)?;
        if content.len() > OWN_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        state_directory::replace_file(&self.own_path(), &content)
    }

    /// The last good list of this URL; nothing when none was kept.
    ///
    /// # Errors
    /// Says why the file cannot be used.
    pub(super) fn load_fetched(&self, url: &str) -> Result<Option<FetchedList>, String> {
        let content = state_directory::read_kept(&self.fetched_path(), FETCHED_BYTES_MAX);
        let Some(content) = content.map_err(|fault| fault.to_string())? else { return Ok(None) };
        let written: WrittenFetched =
            serde_json::from_slice(&content).map_err(|_| "it is damaged or of another version".to_owned())?;
        if written.form != FORM {
            return Err("it is of another version".to_owned());
        }
        if written.url != url {
            return Err("it is of another URL".to_owned());
        }
        let fetched_at = UnixTime::from_milliseconds(written.fetched_at_milliseconds);
        Ok(Some(FetchedList { text: written.list.into_bytes(), fetched_at }))
    }

    /// Keeps a list, in place of the last.
    ///
    /// # Errors
    /// The system's; what was kept before is then as it was.
    pub(super) fn save_fetched(&self, url: &str, list: &FetchedList) -> io::Result<()> {
        let text = std::str::from_utf8(&list.text).map_err(|_| io::ErrorKind::InvalidData)?;
        let written = WrittenFetched {
            form: FORM,
            url: url.to_owned(),
            fetched_at_milliseconds: list.fetched_at.milliseconds(),
            list: text.to_owned(),
        };
        state_directory::replace_file(&self.fetched_path(), &serde_json::to_vec(&written)?)
    }
}
