//! The last good key set of each remote issuer on disk, for a start while the issuer cannot be reached.
//!
//! A file says which issuer and which source its keys came from and counts for no other. It holds public keys only, but
//! whoever can change it can sign tokens: files that others may write are not believed.
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use crate::{
    config::settings::{KeyLocation, RemoteKeys},
    edge::state_directory::{self, KeptFileFault},
    gate::{
        algorithm::Algorithms,
        keys::{KEY_SET_BYTES_MAX, KeySet},
        time::UnixTime,
    },
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
    /// A digest of where its keys come from and of who vouches for that. No URL: its query may be a secret.
    source: Box<str>,
}

impl Binding {
    /// Binds what is kept to this issuer, the place of its keys and how that is trusted: whoever tightens the configuration
    /// is not served with what came under the old one.
    pub fn new(name: &str, issuer: &str, keys: &RemoteKeys) -> Self {
        let location = match &keys.location {
            KeyLocation::Url(url) => url.as_str(),
            // No URL is a word without a scheme.
            KeyLocation::Discovery => "discovery",
        };
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [location.as_bytes(), &[u8::from(keys.insecure_http)], keys.ca_pem.as_deref().unwrap_or_default()] {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part);
        }
        Self { name: name.into(), issuer: issuer.into(), source: hexadecimal(context.finish().as_ref()).into() }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
    /// The system's, and that others than this user and root could plant keys there.
    pub fn within(state_directory: &Path) -> io::Result<Self> {
        let folder = state_directory.join(FOLDER);
        state_directory::make(&folder)?;
        if fs::symlink_metadata(&folder)?.is_symlink() {
            return Err(io::Error::other("it is a link"));
        }
        state_directory::try_writing(&folder)?;
        Ok(Self { folder })
    }

    /// The store as it is within a state directory, for reading: nothing is made.
    pub fn in_place(state_directory: &Path) -> Self {
        Self { folder: state_directory.join(FOLDER) }
    }

    /// Where the keys of an issuer are.
    pub fn path(&self, binding: &Binding) -> PathBuf {
        // Names may hold what file names cannot, and differ in what is replaced here.
        let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
        let shown: String = binding.name.chars().map(plain).collect();
        let digest = digest::digest(&digest::SHA256, binding.name.as_bytes());
        let mark = hexadecimal(digest.as_ref());
        self.folder.join(format!("{shown}-{}.json", mark.get(..8).unwrap_or_default()))
    }

    /// Keeps a set, in place of the last.
    ///
    /// # Errors
    /// The system's; what was kept before is then as it was.
    pub fn save(&self, binding: &Binding, keys: &StoredKeys) -> io::Result<()> {
        let written = Written {
            form: FORM,
            issuer: binding.issuer.to_string(),
            source: binding.source.to_string(),
            fetched_at_milliseconds: keys.fetched_at.milliseconds(),
            key_set: keys.text.clone(),
        };
        state_directory::replace_file(&self.path(binding), &serde_json::to_vec(&written)?)
    }

    /// After a set could not be kept: removes what was kept before when that has a key that `set` lacks, so that a withdrawn
    /// key does not come back with the next start. Answers whether it removed something.
    ///
    /// # Errors
    /// The system's: what was kept is still there.
    pub fn forget_withdrawn(&self, binding: &Binding, set: &KeySet, algorithms: Algorithms) -> io::Result<bool> {
        let Ok(Some(stored)) = self.load(binding) else { return Ok(false) };
        let is_current = KeySet::parse(stored.text.as_bytes(), algorithms)
            .is_ok_and(|before| before.keys().iter().all(|key| set.holds(key.thumbprint())));
        if is_current {
            return Ok(false);
        }
        fs::remove_file(self.path(binding)).map(|()| true)
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
        if written.issuer != *binding.issuer || written.source != *binding.source {
            return Err(StoredKeysFault::OfAnother);
        }
        let fetched_at = UnixTime::from_milliseconds(written.fetched_at_milliseconds);
        Ok(Some(StoredKeys { text: written.key_set, fetched_at }))
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, time::Duration};

    use super::*;

    fn store(name: &str) -> (KeyStore, PathBuf) {
        let path = std::env::temp_dir().join(format!("portcullis-keys-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        (KeyStore::within(&path).unwrap(), path)
    }

    fn remote() -> RemoteKeys {
        RemoteKeys {
            location: KeyLocation::Url("https://auth.example.com/keys?key=secret".to_owned()),
            refresh: Duration::from_secs(600),
            cooldown: Duration::from_secs(10),
            max_stale: Duration::from_secs(86_400),
            timeout: Duration::from_secs(5),
            ca_pem: None,
            insecure_http: false,
        }
    }

    fn binding() -> Binding {
        Binding::new("main", "https://auth.example.com", &remote())
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
        assert!(!fs::read_to_string(store.path(&binding())).unwrap().contains("secret"), "the query of a URL is kept");
        let other_place = KeyLocation::Url("https://auth.example.com/other".to_owned());
        let others = [
            RemoteKeys { location: KeyLocation::Discovery, ..remote() },
            RemoteKeys { location: other_place, ..remote() },
            RemoteKeys { insecure_http: true, ..remote() },
            RemoteKeys { ca_pem: Some(b"another authority".to_vec()), ..remote() },
        ];
        let mut others: Vec<Binding> =
            others.iter().map(|keys| Binding::new("main", "https://auth.example.com", keys)).collect();
        others.push(Binding { issuer: "https://auth.example.com/".into(), ..binding() });
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

    #[test]
    fn a_place_where_others_could_plant_keys_is_not_used() {
        let (store, path) = store("planted");
        assert!(store.save(&binding(), &keys()).is_ok());
        for mode in [0o1777, 0o770, 0o702] {
            fs::set_permissions(path.join(FOLDER), fs::Permissions::from_mode(mode)).unwrap();
            assert!(KeyStore::within(&path).is_err(), "{mode:o}");
        }
        fs::remove_dir_all(path.join(FOLDER)).unwrap();
        fs::create_dir(path.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", path.join(FOLDER)).unwrap();
        assert!(KeyStore::within(&path).is_err(), "a link");
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn what_has_a_withdrawn_key_is_forgotten_and_what_has_none_is_not() {
        let (store, path) = store("withdrawn");
        let jwk = |x: &str| format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#);
        // RFC 8037 §A.2, and the public key of RFC 8032 §7.1, test 2.
        let first = jwk("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        let second = jwk("PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw");
        let text = |keys: &[&String]| {
            let keys: Vec<&str> = keys.iter().map(|key| key.as_str()).collect();
            format!(r#"{{"keys":[{}]}}"#, keys.join(","))
        };
        let all = Algorithms::asymmetric();
        let set = |text: &str| KeySet::parse(text.as_bytes(), all).unwrap();
        let both = text(&[&first, &second]);
        assert_eq!(set(&both).keys().len(), 2);
        assert!(!store.forget_withdrawn(&binding(), &set(&both), all).unwrap(), "nothing was kept");
        store.save(&binding(), &StoredKeys { text: text(&[&first]), ..keys() }).unwrap();
        assert!(!store.forget_withdrawn(&binding(), &set(&both), all).unwrap());
        assert!(store.load(&binding()).unwrap().is_some());
        store.save(&binding(), &StoredKeys { text: both, ..keys() }).unwrap();
        assert!(store.forget_withdrawn(&binding(), &set(&text(&[&second])), all).unwrap());
        assert_eq!(store.load(&binding()), Ok(None));
        fs::remove_dir_all(path).unwrap();
    }
}
