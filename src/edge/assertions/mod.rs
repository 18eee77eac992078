//! Signs assertions: the gateway's own word, for services, on who is calling. What they say is made in `gate/assertion.rs`.
//!
//! Where one cannot be made, the request is refused: a service must never have to guess what its absence means.
mod keys;

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderValue;
use pingora_core::{server::ShutdownWatch, services::background::BackgroundService};

pub use self::keys::AssertionKeyError;
use crate::{
    config::settings::{CacheLimits, assertion::AssertionSettings},
    edge::{
        assertions::keys::{KeyFiles, Ring},
        clock,
        exchange::Exchange,
        file_watch::PERIOD,
        proxy::Shared,
        state_directory::StatePlace,
    },
    gate::{
        assertion::AssertionRule,
        assertion_key::{AssertionKey, Pair},
        claims::Identity,
        decide::{Decision, Ruleset},
        rejection::{Refusal, Rejection},
        route::{Action, UpstreamId},
        time::UnixTime,
    },
    state::assertion_cache::AssertionCache,
};

/// The assertions of one configuration.
#[derive(Debug)]
pub struct Assertions {
    rule: AssertionRule,
    ring: ArcSwap<Ring>,
    signed: AssertionCache,
    files: Mutex<KeyFiles>,
}

impl Assertions {
    /// Those that a configuration asks for, if it does.
    ///
    /// # Errors
    /// As for [`Assertions::new`].
    pub fn of(
        settings: Option<&AssertionSettings>,
        state: &StatePlace,
        limits: CacheLimits,
    ) -> Result<Option<Arc<Self>>, AssertionKeyError> {
        settings.map(|settings| Self::new(settings, state, limits).map(Arc::new)).transpose()
    }

    /// Reads the keys; the gateway's own is made where there is none yet.
    ///
    /// # Errors
    /// An [`AssertionKeyError`] that says which file.
    pub fn new(
        settings: &AssertionSettings,
        state: &StatePlace,
        limits: CacheLimits,
    ) -> Result<Self, AssertionKeyError> {
        let (files, ring) = KeyFiles::begin(settings, state)?;
        let signed = AssertionCache::new(limits);
        Ok(Self { rule: settings.rule.clone(), ring: ArcSwap::from_pointee(ring), signed, files: Mutex::new(files) })
    }

    /// The header that carries them.
    pub fn header(&self) -> &str {
        &self.rule.header
    }

    /// The public keys, as a JWK set.
    pub fn key_set(&self) -> String {
        self.ring.load().document.clone()
    }

    /// The assertion for a request of this identity to this upstream; one that was made before, while it is still fresh.
    ///
    /// # Errors
    /// [`Rejection::Internal`] when none can be made, or it would be longer than a token may be.
    pub fn assertion(
        &self,
        identity: &Identity,
        (upstream, audience): (UpstreamId, &str),
        ruleset: &Ruleset,
        now: UnixTime,
    ) -> Result<HeaderValue, Refusal> {
        let ring = self.ring.load();
        let (token, key) = (identity.known(), ring.key.public().thumbprint());
        if let Some(value) = self.signed.recall(token, upstream, key, now) {
            return Ok(value);
        }
        let leeway = ruleset.issuer(token.token().issuer()).map(|issuer| issuer.leeway).unwrap_or_default();
        let expires = self.rule.expires(identity, leeway, now);
        let text = self.rule.signed_text(identity, audience, ring.key.public(), (now, expires));
        let value = sign(&ring.key, text)?;
        if value.len() > ruleset.limits.token_bytes {
            let limit = ruleset.limits.token_bytes;
            return Err(unmade(format!("the assertion has {} bytes, limits.token_bytes is {limit}", value.len())));
        }
        self.signed.remember(token, upstream, key, value.clone(), (now, expires));
        Ok(value)
    }

    /// Looks at the files of the keys, and takes what changed. Blocks.
    fn look(&self) {
        let Ok(mut files) = self.files.lock() else { return };
        if let Some(ring) = files.look(&self.ring.load()) {
            self.ring.store(Arc::new(ring));
        }
    }
}

fn unmade(why: impl Into<Box<str>>) -> Refusal {
    Refusal::new(Rejection::Internal).because(why)
}

fn sign(key: &AssertionKey, mut text: String) -> Result<HeaderValue, Refusal> {
    let signature = match key.pair() {
        Pair::Ed25519(pair) => pair.try_sign(text.as_bytes()),
        Pair::P256(pair) => pair.sign(&SystemRandom::new(), text.as_bytes()),
    };
    let signature = signature.map_err(|_| unmade("the assertion could not be signed"))?;
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut text);
    let mut value = HeaderValue::try_from(text).map_err(|_| unmade("the assertion is no header value"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The assertion for a request that may pass and is to be forwarded; nothing when it is nobody's, or none are made.
///
/// # Errors
/// See [`Assertions::assertion`].
pub fn for_exchange(exchange: &Exchange) -> Result<Option<HeaderValue>, Refusal> {
    let installed = &exchange.installed;
    let Some(assertions) = &installed.assertions else { return Ok(None) };
    let Some(Decision::Pass(Some(identity))) = exchange.judgement.as_ref().map(|judgement| &judgement.decision) else {
        return Ok(None);
    };
    let Some(Action::Forward(upstream)) = exchange.route().map(|route| &route.action) else { return Ok(None) };
    let audience = installed.upstream_name(*upstream).ok_or_else(|| unmade("the upstream has no name"))?;
    let ruleset = installed.gatekeeper.ruleset();
    assertions.assertion(identity, (*upstream, audience), ruleset, clock::unix_time()).map(Some)
}

/// Has the keys of the configuration in force follow their files for as long as the process runs.
#[derive(Debug)]
pub struct AssertionKeyWatch {
    /// What listeners share.
    pub shared: Arc<Shared>,
}

#[async_trait]
impl BackgroundService for AssertionKeyWatch {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        loop {
            let assertions = self.shared.installed.load().assertions.clone();
            if let Some(assertions) = assertions {
                let _ = tokio::task::spawn_blocking(move || assertions.look()).await;
            }
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                _ = shutdown.changed() => return,
            }
        }
    }
}
