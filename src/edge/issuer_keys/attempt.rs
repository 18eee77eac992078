//! One attempt to get the keys of a remote issuer: find out where they are, fetch them, read them. It blocks, and what it
//! remembers between two attempts only makes the next one cheaper.
use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    config::settings::{KeyLocation, RemoteKeys},
    edge::{
        clock,
        discovery::{self, DiscoveryError, DiscoveryRequest},
        jwks_client::{self, Answer, FetchError, FetchRequest, Proxies, Wanted, without_query},
    },
    gate::{
        algorithm::Algorithms,
        keys::{KeyFault, KeySet},
    },
};

/// How long it is believed that the keys are where metadata said, while they are found there.
const DISCOVERED_AGE_MAX: Duration = Duration::from_secs(3600);
/// At most so many reasons are told when a set has no usable key.
const REASONS_MAX: usize = 4;

/// Makes the attempts for one issuer.
#[derive(Debug)]
pub(super) struct Fetcher {
    issuer: Box<str>,
    keys: RemoteKeys,
    algorithms: Algorithms,
    proxies: Arc<Proxies>,
    discovered: Option<Discovered>,
    last: Option<LastAnswer>,
}

/// Where metadata said that the keys are.
#[derive(Clone, Debug)]
struct Discovered {
    url: String,
    at: Instant,
    /// Whether they were not found there since.
    is_doubtful: bool,
}

/// Where the keys are, and why the metadata could not be asked whether that is still so.
type Place = (String, Option<DiscoveryError>);

/// The answer that the current set came from, for asking whether it still is the answer (RFC 9110 §13.1.2).
#[derive(Debug)]
struct LastAnswer {
    url: String,
    etag: Box<str>,
    set: Arc<KeySet>,
    text: Arc<str>,
}

/// The keys as they are now.
#[derive(Debug)]
pub(super) struct Obtained {
    /// Where they were found.
    pub(super) url: String,
    /// The set; at least one key is usable.
    pub(super) set: Arc<KeySet>,
    /// The text that it was read from.
    pub(super) text: Arc<str>,
    /// How long the server says that it is fresh.
    pub(super) max_age: Option<Duration>,
    /// The server's clock when it answered.
    pub(super) date: Option<SystemTime>,
    /// Why the metadata could not be read again; the keys are where it last said.
    pub(super) metadata_error: Option<DiscoveryError>,
}

/// Why an attempt gave no keys.
#[derive(Debug)]
pub(super) enum AttemptError {
    /// Where the keys are could not be found out.
    Discovery(DiscoveryError),
    /// The key set could not be fetched from this URL.
    Fetch(String, FetchError),
    /// What was fetched from this URL is no key set.
    NotAKeySet(String, KeyFault),
    /// The key set at this URL has no key that can be used; why some of them cannot.
    NoUsableKey(String, Vec<&'static str>),
}

impl fmt::Display for AttemptError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discovery(error) => write!(formatter, "{error}"),
            Self::Fetch(url, error) => write!(formatter, "{}: {error}", without_query(url)),
            Self::NotAKeySet(url, fault) => write!(formatter, "{}: {fault}", without_query(url)),
            Self::NoUsableKey(url, reasons) if reasons.is_empty() => {
                write!(formatter, "{}: the key set is empty", without_query(url))
            }
            Self::NoUsableKey(url, reasons) => {
                write!(formatter, "{}: no key of the set can be used: {}", without_query(url), reasons.join("; "))
            }
        }
    }
}

impl Fetcher {
    pub(super) fn new(issuer: &str, keys: &RemoteKeys, algorithms: Algorithms, proxies: Arc<Proxies>) -> Self {
        Self { issuer: issuer.into(), keys: keys.clone(), algorithms, proxies, discovered: None, last: None }
    }

    /// Makes one attempt, in the issuer's `timeout` altogether.
    pub(super) fn attempt(&mut self) -> Result<Obtained, AttemptError> {
        let began = clock::monotonic();
        let obtained = self.locate(began).and_then(|(url, metadata_error)| {
            self.fetch(url, began).map(|obtained| Obtained { metadata_error, ..obtained })
        });
        if obtained.is_err() {
            // The keys may have moved, and what was remembered of them counts no more.
            if let Some(discovered) = &mut self.discovered {
                discovered.is_doubtful = true;
            }
            self.last = None;
        }
        obtained
    }

    fn left(&self, began: Instant) -> Duration {
        self.keys.timeout.saturating_sub(clock::monotonic().saturating_duration_since(began))
    }

    /// Where the keys are.
    fn locate(&mut self, began: Instant) -> Result<Place, AttemptError> {
        if let KeyLocation::Url(url) = &self.keys.location {
            return Ok((url.clone(), None));
        }
        let known = self.discovered.clone();
        let age = |known: &Discovered| began.saturating_duration_since(known.at);
        if let Some(known) = &known
            && !known.is_doubtful
            && age(known) < DISCOVERED_AGE_MAX
        {
            return Ok((known.url.clone(), None));
        }
        let left = self.left(began);
        let found = discovery::discover(&DiscoveryRequest {
            issuer: &self.issuer,
            // The rest is for the keys, where they last were.
            timeout: if known.is_some() { left / 2 } else { left },
            authorities_pem: self.keys.ca_pem.as_deref(),
            insecure_http: self.keys.insecure_http,
            proxies: &self.proxies,
        });
        match (found, known) {
            (Ok(found), _) => {
                let url = found.jwks_uri.clone();
                self.discovered = Some(Discovered { url, at: began, is_doubtful: false });
                Ok((found.jwks_uri, None))
            }
            // The metadata cannot be had; for a while that is no reason to do without keys that can.
            (Err(error), Some(known)) if !error.is_contradiction() && age(&known) < self.keys.max_stale => {
                Ok((known.url, Some(error)))
            }
            (Err(error), _) => Err(AttemptError::Discovery(error)),
        }
    }

    fn fetch(&mut self, url: String, began: Instant) -> Result<Obtained, AttemptError> {
        let last = self.last.as_ref().filter(|last| last.url == url);
        let answer = jwks_client::fetch(&FetchRequest {
            url: &url,
            timeout: self.left(began),
            authorities_pem: self.keys.ca_pem.as_deref(),
            insecure_http: self.keys.insecure_http,
            proxies: &self.proxies,
            wanted: Wanted::KeySet,
            if_none_match: last.map(|last| last.etag.as_ref()),
        });
        let fetched = match (answer, last) {
            (Ok(Answer::Fetched(fetched)), _) => fetched,
            (Ok(Answer::NotModified { max_age, date }), Some(last)) => {
                let (set, text) = (Arc::clone(&last.set), Arc::clone(&last.text));
                return Ok(Obtained { url, set, text, max_age, date, metadata_error: None });
            }
            // Not asked for, so an answer of no use.
            (Ok(Answer::NotModified { .. }), None) => {
                return Err(AttemptError::Fetch(url, FetchError::Status(304)));
            }
            (Err(error), _) => return Err(AttemptError::Fetch(url, error)),
        };
        let (set, text) = read(&url, fetched.body, self.algorithms)?;
        let last = |etag| LastAnswer { url: url.clone(), etag, set: Arc::clone(&set), text: Arc::clone(&text) };
        self.last = fetched.etag.map(last);
        Ok(Obtained { url, set, text, max_age: fetched.max_age, date: fetched.date, metadata_error: None })
    }
}

fn read(url: &str, body: Vec<u8>, algorithms: Algorithms) -> Result<(Arc<KeySet>, Arc<str>), AttemptError> {
    let not_a_key_set = |fault| AttemptError::NotAKeySet(url.to_owned(), fault);
    let text = String::from_utf8(body).map_err(|_| not_a_key_set(KeyFault::NotJson))?;
    let set = KeySet::parse(text.as_bytes(), algorithms).map_err(not_a_key_set)?;
    if !set.is_empty() {
        return Ok((Arc::new(set), Arc::from(text)));
    }
    let mut reasons: Vec<&'static str> = set.skipped().iter().map(|skipped| skipped.reason).collect();
    reasons.dedup();
    reasons.truncate(REASONS_MAX);
    Err(AttemptError::NoUsableKey(url.to_owned(), reasons))
}
