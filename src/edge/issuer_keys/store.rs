//! The last good key set of each remote issuer on disk, for a start while the issuer cannot be reached.
//!
//! A file says which issuer and which source its keys came from and counts for no other. It holds public keys only, but
//! whoever can change it can sign tokens: files that others may write are not believed.
use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use crate::{
    config::settings::KeyLocation,
    edge::state_directory::{self, KeptFileFault},
    gate::{keys::KEY_SET_BYTES_MAX, time::UnixTime},
};

/// The directory of key sets within the state directory.
const FOLDER: &str = "keys";
/// A set of the largest size whose every byte is escaped, and what is said about it.
const FILE_BYTES_MAX: u64 = KEY_SET_BYTES_MAX as u64 * 6 + 16 * 1024;
/// The form of the file; another is not read.
const FORM: u32 = 1;

/// Whose keys, and where from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The issuer's name in the configuration.
    pub name: Box<str>,
    /// Its identifier, the value of `iss`.
    pub issuer: Box<str>,
    /// Where its keys come from.
    pub source: KeyLocation,
}

impl Binding {
    /// The source as one text.
    fn source(&self) -> String {
        match &self.source {
            KeyLocation::Url(url) => url.clone(),
            KeyLocation::Discovery => "discovery".to_owned(),
        }
    }
}

/// A key set that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKeys {
    /// The set as it was fetched.
    pub text: String,
    /// When it was fetched or last confirmed, by the wall clock.
    pub fetched_at: UnixTime,
}

/// Why a file of keys is not used.
#[derive(Debug, PartialEq, Eq)]
pub enum StoredKeysFault {
    /// It cannot be read, or is not to be believed.
    Unusable(KeptFileFault),
    /// It is not what this version writes.
    NotUnderstood,
    /// It is about another issuer or another source: the configuration was changed.
    OfAnother,
}

impl fmt::Display for StoredKeysFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable(fault) => write!(formatter, "{fault}"),
            Self::NotUnderstood => formatter.write_str("it is damaged or of another version"),
            Self::OfAnother => formatter.write_str("it is of another issuer or another source of keys"),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    form: u32,
    issuer: String,
    source: String,
    fetched_at_milliseconds: i64,
    key_set: String,
}

/// The files.
#[derive(Clone, Debug)]
pub struct KeyStore {
    folder: PathBuf,
}

impl KeyStore {
    /// The store within a state directory; its own directory is made when it is missing.
    ///
    /// # Errors
    /// The system's.
    pub fn within(state_directory: &Path) -> io::Result<Self> {
        let folder = state_directory.join(FOLDER);
        state_directory::make(&folder)?;
        Ok(Self { folder })
    }

    /// Where the keys of an issuer are.
    pub fn path(&self, binding: &Binding) -> PathBuf {
        // Names may hold what file names cannot, and differ in what is replaced here.
        let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
        let shown: String = binding.name.chars().map(plain).collect();
        let digest = digest::digest(&digest::SHA256, binding.name.as_bytes());
        let mark: String = digest.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(format!("{shown}-{mark}.json"))
    }

    /// Keeps a set, in place of the last.
    ///
    /// # Errors
    /// The system's; what was kept before is then as it was.
    pub fn save(&self, binding: &Binding, keys: &StoredKeys) -> io::Result<()> {
        let written = Written {
            form: FORM,
            issuer: binding.issuer.to_string(),
            source: binding.source(),
            fetched_at_milliseconds: keys.fetched_at.milliseconds(),
            key_set: keys.text.clone(),
        };
        state_directory::replace_file(&self.path(binding), &serde_json::to_vec(&written)?)
    }

    /// What was kept for this issuer and this source; nothing when nothing was.
    ///
    /// # Errors
    /// A `StoredKeysFault` when there is a file that cannot be used.
    pub fn load(&self, binding: &Binding) -> Result<Option<StoredKeys>, StoredKeysFault> {
        let path = self.path(binding);
        let Some(content) = state_directory::read_kept(&path, FILE_BYTES_MAX).map_err(StoredKeysFault::Unusable)?
        else {
            return Ok(None);
        };
        let written: Written = serde_json::from_slice(&content).map_err(|_| StoredKeysFault::NotUnderstood)?;
        if written.form != FORM {
            return Err(StoredKeysFault::NotUnderstood);
        }
        if written.issuer != *binding.issuer || written.source != binding.source() {
            return Err(StoredKeysFault::OfAnother);
        }
        let fetched_at = UnixTime::from_milliseconds(written.fetched_at_milliseconds);
        Ok(Some(StoredKeys { text: written.key_set, fetched_at }))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn store(name: &str) -> (KeyStore, PathBuf) {
        let path = std::env::temp_dir().join(format!("portcullis-keys-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        (KeyStore::within(&path).unwrap(), path)
    }

    fn binding() -> Binding {
        let url = "https://auth.example.com/keys".to_owned();
        Binding { name: "main".into(), issuer: "https://auth.example.com".into(), source: KeyLocation::Url(url) }
    }

    fn keys() -> StoredKeys {
        StoredKeys { text: "{\"keys\":[]}\n".to_owned(), fetched_at: UnixTime::from_milliseconds(1_700_000_000_123) }
    }

    #[test]
    fn what_was_kept_is_found_again_as_it_was() {
        let (store, path) = store("found");
        assert_eq!(store.load(&binding()), Ok(None));
        store.save(&binding(), &keys()).unwrap();
        assert_eq!(store.load(&binding()), Ok(Some(keys())));
        assert_eq!(fs::metadata(store.path(&binding())).unwrap().permissions().mode() & 0o777, 0o600);
        let largest = StoredKeys { text: "\u{1}".repeat(KEY_SET_BYTES_MAX), ..keys() };
        store.save(&binding(), &largest).unwrap();
        assert_eq!(store.load(&binding()), Ok(Some(largest)));
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn keys_count_for_their_issuer_and_their_source_alone() {
        let (store, path) = store("bound");
        store.save(&binding(), &keys()).unwrap();
        let others = [
            Binding { issuer: "https://auth.example.com/".into(), ..binding() },
            Binding { source: KeyLocation::Discovery, ..binding() },
            Binding { source: KeyLocation::Url("https://auth.example.com/other".to_owned()), ..binding() },
        ];
        for other in others {
            assert_eq!(store.load(&other), Err(StoredKeysFault::OfAnother), "{other:?}");
        }
        for name in ["Main", "main2", "ma/in", "ma_in", "..", "ma.in"] {
            let other = Binding { name: name.into(), ..binding() };
            assert_eq!(store.load(&other), Ok(None), "{name}");
            assert_eq!(store.path(&other).parent(), Some(path.join(FOLDER).as_path()), "{name}");
        }
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_file_that_is_damaged_or_that_others_may_write_is_not_believed() {
        let (store, path) = store("damaged");
        let file = store.path(&binding());
        store.save(&binding(), &keys()).unwrap();
        let whole = fs::read(&file).unwrap();
        for length in 0..whole.len() {
            fs::write(&file, &whole[..length]).unwrap();
            assert_eq!(store.load(&binding()), Err(StoredKeysFault::NotUnderstood), "{length} bytes");
        }
        fs::write(&file, String::from_utf8(whole.clone()).unwrap().replace("\"form\":1", "\"form\":2")).unwrap();
        assert_eq!(store.load(&binding()), Err(StoredKeysFault::NotUnderstood));
        fs::write(&file, &whole).unwrap();
        assert_eq!(store.load(&binding()), Ok(Some(keys())));
        for mode in [0o620, 0o602, 0o666] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(store.load(&binding()), Err(StoredKeysFault::Unusable(KeptFileFault::NotOurs)), "{mode:o}");
        }
        fs::remove_file(&file).unwrap();
        let elsewhere = path.join("elsewhere");
        fs::write(&elsewhere, &whole).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
        assert_eq!(store.load(&binding()), Err(StoredKeysFault::Unusable(KeptFileFault::NotOurs)));
        fs::remove_dir_all(path).unwrap();
    }
}
