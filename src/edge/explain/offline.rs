//! Explanations without a running instance: a configuration is made ready as it would be at a start, short of listening and
//! of changing anything, and keys are looked for only once a token needs them.
use std::{fmt, path::PathBuf, sync::Arc};

use crate::{
    config::settings::{Config, IssuerKeys, KeySource, Rate, RemoteKeys, Upstream, listener::Listener},
    edge::{
        clock,
        explain::{Explanation, FoundKeys, KeyFinder, Question, Scene, explain},
        installed::{Installed, Parts},
        issuer_keys,
        jwks_client::Proxies,
        metrics::Metrics,
        revocations, state_directory,
        upstream::Upstreams,
    },
    gate::{
        issuer::{Issuer, IssuerId},
        keys::{KeyFault, KeySet},
        time::UnixTime,
    },
    state::{claims_cache::ClaimsCache, gatekeeper::Gatekeeper, key_slot::KeySlot, revocation_slot::RevocationSlot},
};

/// A key set that stands in for those of all issuers, and the path that names it.
#[derive(Clone, Debug)]
pub struct GivenKeys {
    /// Its path.
    pub path: PathBuf,
    /// Its text.
    pub text: Vec<u8>,
}

/// What is looked at besides the configuration and its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// What an instance kept, and the servers that the configuration names.
    Everything,
    /// What an instance kept: nothing is fetched.
    Kept,
    /// Nothing, so that the same is said wherever it is asked.
    Nothing,
}

/// Why there are no explanations.
#[derive(Debug)]
pub enum OfflineError {
    /// What is prepared at a start could not be.
    Unready(String),
    /// The key set that was given is none.
    KeySet(PathBuf, KeyFault),
    /// The key set that was given has no key that could serve any issuer.
    NoUsableKey(PathBuf),
}

impl fmt::Display for OfflineError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unready(error) => formatter.write_str(error),
            Self::KeySet(path, fault) => write!(formatter, "{}: {fault}", path.display()),
            Self::NoUsableKey(path) => {
                write!(formatter, "{}: no key of the set can be used with any issuer's algorithms", path.display())
            }
        }
    }
}

impl std::error::Error for OfflineError {}

/// A configuration that explains.
#[derive(Debug)]
pub struct Rehearsal {
    installed: Installed,
    listeners: Vec<Listener>,
    failed_authentications: Option<Rate>,
    keys: Keys,
    notes: Vec<String>,
}

#[derive(Debug)]
struct Keys {
    issuers: Vec<Issuer>,
    sources: Vec<IssuerKeys>,
    given: Option<GivenKeys>,
    elsewhere: Elsewhere,
    state_directory: Option<PathBuf>,
}

impl Rehearsal {
    /// Makes a configuration ready; `now` is when revocations are looked at.
    ///
    /// # Errors
    /// An [`OfflineError`].
    pub fn new(
        config: Config,
        given: Option<GivenKeys>,
        elsewhere: Elsewhere,
        now: UnixTime,
    ) -> Result<Self, OfflineError> {
        let Config { startup, live } = config;
        let is_untouched = elsewhere == Elsewhere::Nothing;
        if let Some(GivenKeys { path, text }) = &given {
            let sets = live.ruleset.issuers.iter().map(|issuer| KeySet::parse(text, issuer.algorithms));
            let sets: Result<Vec<KeySet>, KeyFault> = sets.collect();
            let sets = sets.map_err(|fault| OfflineError::KeySet(path.clone(), fault))?;
            if sets.iter().all(KeySet::is_empty) {
                return Err(OfflineError::NoUsableKey(path.clone()));
            }
        }
        let unready = |error: &dyn fmt::Display| OfflineError::Unready(error.to_string());
        let metrics = Metrics::new().map_err(|error| unready(&error))?;
        // Nothing is connected to, so that no certificate of these is needed.
        let unconnected = |upstream: &Upstream| Upstream { tls: None, health_check: None, ..upstream.clone() };
        let unconnected: Vec<Upstream> = live.upstreams.iter().map(unconnected).collect();
        let upstreams = Arc::new(Upstreams::new(&unconnected).map_err(|error| unready(&error))?);
        let meant = state_directory::meant(&startup.server.state_directory).filter(|_| !is_untouched);
        let proxies = (elsewhere == Elsewhere::Everything).then(|| Arc::new(Proxies::from_environment()));
        let (in_force, mut notes) = revocations::as_they_are(live.revocation.as_ref(), meant.as_deref(), proxies, now);
        if is_untouched {
            // A test says what it says wherever it is run.
            notes.clear();
        }
        let revocations = Arc::new(RevocationSlot::default());
        revocations.install(in_force);
        let slots = live.keys.iter().map(|_| Arc::new(KeySlot::fixed(Arc::default()))).collect();
        let cache = Arc::new(ClaimsCache::new(startup.claims_cache, [0; 32]));
        let issuers = live.ruleset.issuers.clone();
        let parts = Parts {
            upstream_names: live.upstream_names(),
            required_for_readiness: live.required_for_readiness(),
            gatekeeper: Gatekeeper::new(live.ruleset, slots, cache, 0).with_revocations(revocations),
            waiters: Arc::default(),
            upstreams,
            trusted_proxies: live.trusted_proxies,
            // What is explained is never signed.
            assertions: None,
            drop_underscore_headers: live.drop_underscore_headers,
            document: live.document,
        };
        Ok(Self {
            installed: Installed::new(parts, &metrics),
            listeners: startup.listeners,
            failed_authentications: startup.clients.failed_authentications,
            keys: Keys { issuers, sources: live.keys, given, elsewhere, state_directory: meant },
            notes,
        })
    }

    /// The names of the routes, in the order of the configuration.
    pub fn route_names(&self) -> impl Iterator<Item = &str> {
        self.installed.gatekeeper.ruleset().routes.routes().iter().map(|route| route.name.as_ref())
    }

    /// Explains one request. Where keys are fetched, it blocks.
    ///
    /// # Errors
    /// Says what about the question is wrong.
    pub fn explain(&self, question: &Question) -> Result<Explanation, String> {
        let scene = Scene {
            installed: &self.installed,
            listeners: &self.listeners,
            keys: &self.keys,
            failed_authentications: self.failed_authentications,
            failures: None,
            notes: &self.notes,
        };
        explain(&scene, question)
    }
}

impl KeyFinder for Keys {
    fn find(&self, id: IssuerId, kid: Option<&str>) -> FoundKeys {
        let position = usize::from(id.0);
        let (Some(issuer), Some(source)) = (self.issuers.get(position), self.sources.get(position)) else {
            return FoundKeys { keys: None, origin: "there is no such issuer".to_owned() };
        };
        let found = |keys: Arc<KeySet>, origin: String| FoundKeys { keys: Some(keys), origin };
        match (&self.given, &source.source) {
            (Some(GivenKeys { path, text }), _) => {
                let set = KeySet::parse(text, issuer.algorithms).unwrap_or_default();
                found(Arc::new(set), format!("from {} (--jwks)", path.display()))
            }
            (None, KeySource::Fixed(keys)) => found(Arc::clone(keys), "read with the configuration".to_owned()),
            (None, KeySource::File(file)) => {
                found(Arc::clone(&file.set), format!("from the file {}", file.path.display()))
            }
            (None, KeySource::Unread) => {
                FoundKeys { keys: None, origin: "not read: the secrets were left out".to_owned() }
            }
            (None, KeySource::Remote(remote)) => self.remote(issuer, remote, kid),
        }
    }
}

impl Keys {
    /// The last good set of an instance, unless it lacks the key; else what is fetched.
    fn remote(&self, issuer: &Issuer, remote: &RemoteKeys, kid: Option<&str>) -> FoundKeys {
        let kept = self.state_directory.as_deref().map(|place| (place, issuer_keys::kept(issuer, remote, place)));
        let (kept, unused) = match kept {
            Some((place, Ok(Some((keys, time))))) => {
                let origin = format!("the last good set, kept in {} since {}", place.display(), clock::rfc3339(time));
                (Some((keys, origin)), None)
            }
            Some((place, Err(fault))) => {
                (None, Some(format!("; what is kept in {} is not used: {fault}", place.display())))
            }
            Some((_, Ok(None))) | None => (None, None),
        };
        let has_key = |keys: &KeySet| kid.is_none_or(|kid| keys.publishes(kid));
        if let Some((keys, origin)) = kept.as_ref().filter(|(keys, _)| has_key(keys)) {
            return FoundKeys { keys: Some(Arc::clone(keys)), origin: origin.clone() };
        }
        let outcome = match self.elsewhere {
            Elsewhere::Everything => issuer_keys::fetch_once(issuer, remote, Arc::new(Proxies::from_environment())),
            Elsewhere::Kept => Err("nothing is fetched (--offline)".to_owned()),
            Elsewhere::Nothing => Err("nothing is fetched here: --jwks gives keys".to_owned()),
        };
        match (outcome, kept) {
            (Ok((url, keys)), _) => FoundKeys { keys: Some(keys), origin: format!("fetched from {url} just now") },
            (Err(error), Some((keys, origin))) => FoundKeys { keys: Some(keys), origin: format!("{origin}; {error}") },
            (Err(error), None) => FoundKeys { keys: None, origin: format!("{error}{}", unused.unwrap_or_default()) },
        }
    }
}
