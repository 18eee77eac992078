//! The keys of assertions and their files: the one that signs, those that are published beside it, and those that signed
//! until a moment ago.
use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use crate::{
    config::{
        secret::SECRET_BYTES_MAX,
        settings::assertion::{AssertionSettings, PEM_BYTES_MAX},
    },
    edge::{
        clock,
        file_watch::FileWatch,
        state_directory::{self, KeptFileFault, StatePlace},
    },
    gate::assertion_key::{AssertionAlgorithm, AssertionKey, AssertionKeyFault, PublishedKey, key_set},
};

/// How long a key that signs no more stays published: longer than an assertion lives, and than services remember keys
/// that were published for five minutes.
const RETIREMENT: Duration = Duration::from_secs(3600);

/// Why assertions have no key.
#[derive(Debug)]
pub enum AssertionKeyError {
    /// No file is named, and there is no place where the gateway could keep a key of its own.
    NoPlace(String),
    /// The gateway's own key is there and cannot be used.
    Unusable(PathBuf, String),
    /// It cannot be written.
    Unwritable(PathBuf, io::Error),
    /// None could be made.
    Refused,
}

impl fmt::Display for AssertionKeyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPlace(why) => write!(
                formatter,
                "identity.assertion has no key: there is no `private_key_file`, and one of the gateway's own cannot be \
                 kept: {why}"
            ),
            Self::Unusable(path, fault) => {
                write!(formatter, "the key of identity.assertion, {}, cannot be used: {fault}", path.display())
            }
            Self::Unwritable(path, error) => {
                write!(formatter, "the key of identity.assertion cannot be kept at {}: {error}", path.display())
            }
            Self::Refused => formatter.write_str("the cryptographic library makes no key for identity.assertion"),
        }
    }
}

impl std::error::Error for AssertionKeyError {}

/// The keys in force.
#[derive(Debug)]
pub(super) struct Ring {
    /// What signs.
    pub(super) key: Arc<AssertionKey>,
    /// The public keys, as a JWK set.
    pub(super) document: String,
}

/// The files of the keys, and what they held.
#[derive(Debug)]
pub(super) struct KeyFiles {
    algorithm: AssertionAlgorithm,
    private: FileWatch,
    published: Vec<(FileWatch, PublishedKey)>,
    /// Those that signed before, and until when they are published.
    retired: Vec<(PublishedKey, Instant)>,
    said: Option<String>,
}

impl KeyFiles {
    pub(super) fn begin(settings: &AssertionSettings, state: &StatePlace) -> Result<(Self, Ring), AssertionKeyError> {
        let algorithm = settings.rule.algorithm;
        let (path, key) = match settings.key_file.as_ref().and_then(|file| Some((&file.path, file.key.as_ref()?))) {
            Some((path, key)) => (path.clone(), Arc::clone(key)),
            None => own_key(algorithm, state)?,
        };
        let public_bytes_max = u64::try_from(PEM_BYTES_MAX).unwrap_or(u64::MAX);
        let files = Self {
            algorithm,
            private: FileWatch::new(path, SECRET_BYTES_MAX),
            published: settings
                .published
                .iter()
                .map(|file| (FileWatch::new(file.path.clone(), public_bytes_max), file.key.clone()))
                .collect(),
            retired: Vec::new(),
            said: None,
        };
        let ring = files.ring(key);
        Ok((files, ring))
    }

    fn ring(&self, key: Arc<AssertionKey>) -> Ring {
        let beside = self.published.iter().map(|(_, key)| key).chain(self.retired.iter().map(|(key, _)| key));
        let document = key_set([key.public()].into_iter().chain(beside));
        Ring { key, document }
    }

    /// What is in force from now on, if that changed. What cannot be used changes nothing and is said once.
    pub(super) fn look(&mut self, ring: &Ring) -> Option<Ring> {
        let now = clock::monotonic();
        let before = self.retired.len();
        self.retired.retain(|(_, until)| now < *until);
        let mut is_changed = self.retired.len() != before;
        let mut fault = None;
        for (file, key) in &mut self.published {
            match file.look(false, |content| PublishedKey::from_pem(content).map_err(|fault| fault.to_string())) {
                Some(Ok(found)) if found != *key => {
                    *key = found;
                    is_changed = true;
                }
                Some(Ok(_)) | None => {}
                Some(Err(error)) => fault = Some(error),
            }
        }
        let algorithm = self.algorithm;
        let read = |content: &[u8]| AssertionKey::from_pem(content, algorithm).map_err(|fault| fault.to_string());
        let key = match self.private.look(false, read) {
            Some(Ok(key)) if key.public() != ring.key.public() => {
                log::info!("assertions are signed by the key {} from now on", key.public().thumbprint());
                self.retired.push((ring.key.public().clone(), now + RETIREMENT));
                is_changed = true;
                Arc::new(key)
            }
            Some(Ok(_)) | None => Arc::clone(&ring.key),
            Some(Err(error)) => {
                fault = Some(error);
                Arc::clone(&ring.key)
            }
        };
        if let Some(fault) = fault {
            if self.said.as_ref() != Some(&fault) {
                log::error!("the keys of identity.assertion stay as they are: {fault}");
            }
            self.said = Some(fault);
        }
        is_changed.then(|| self.ring(key))
    }
}

/// The gateway's own key, from the state directory; made there where there is none.
fn own_key(
    algorithm: AssertionAlgorithm,
    state: &StatePlace,
) -> Result<(PathBuf, Arc<AssertionKey>), AssertionKeyError> {
    let directory = state.directory().ok_or_else(|| AssertionKeyError::NoPlace(state.to_string()))?;
    let path = directory.join(match algorithm {
        AssertionAlgorithm::EdDsa => "assertion-eddsa.pem",
        AssertionAlgorithm::Es256 => "assertion-es256.pem",
    });
    let kept = state_directory::read_kept(&path, SECRET_BYTES_MAX)
        .map_err(|fault: KeptFileFault| AssertionKeyError::Unusable(path.clone(), fault.to_string()))?;
    let pem = match kept {
        Some(pem) => Zeroizing::new(pem),
        None => make_key(algorithm, &path)?,
    };
    let unusable = |fault: AssertionKeyFault| AssertionKeyError::Unusable(path.clone(), fault.to_string());
    let key = AssertionKey::from_pem(&pem, algorithm).map_err(unusable)?;
    Ok((path, Arc::new(key)))
}

fn make_key(algorithm: AssertionAlgorithm, path: &Path) -> Result<Zeroizing<Vec<u8>>, AssertionKeyError> {
    let kind = match algorithm {
        AssertionAlgorithm::EdDsa => &rcgen::PKCS_ED25519,
        AssertionAlgorithm::Es256 => &rcgen::PKCS_ECDSA_P256_SHA256,
    };
    let pair = rcgen::KeyPair::generate_for(kind).map_err(|_| AssertionKeyError::Refused)?;
    let pem = pem(&Zeroizing::new(pair.serialize_der()));
    state_directory::replace_file(path, &pem).map_err(|error| AssertionKeyError::Unwritable(path.to_owned(), error))?;
    log::info!("a key for assertions was made: {}", path.display());
    Ok(pem)
}

/// PKCS #8 in PEM (RFC 7468 §10).
fn pem(der: &[u8]) -> Zeroizing<Vec<u8>> {
    let encoded = Zeroizing::new(STANDARD.encode(der));
    let mut pem = Zeroizing::new(b"-----BEGIN PRIVATE KEY-----\n".to_vec());
    for line in encoded.as_bytes().chunks(64) {
        pem.extend_from_slice(line);
        pem.push(b'\n');
    }
    pem.extend_from_slice(b"-----END PRIVATE KEY-----\n");
    pem
}
