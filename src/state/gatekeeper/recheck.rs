//! A token that counted, judged again while what it opened goes on.
use std::sync::Arc;

use crate::{
    gate::{
        claims::{self, KnownToken},
        keys::KeySet,
        rejection::{Refusal, Rejection},
        revocation::Revocations,
        time::UnixTime,
    },
    state::gatekeeper::Gatekeeper,
};

/// The keys and revocations by which a token counted. Held, so that no others can take their place in memory.
#[derive(Debug, Default)]
pub struct Seen {
    keys: Option<Arc<KeySet>>,
    revocations: Option<Arc<Revocations>>,
}

impl Gatekeeper {
    /// Judges again what may change for a token that counted: time, key and revocations. `seen` is by what it counted last,
    /// and is not judged again while that is in force.
    ///
    /// # Errors
    /// [`Rejection::TokenExpired`], [`Rejection::KeysUnavailable`], [`Rejection::KeyUnknown`], and those of
    /// [`Revocations::check`].
    pub fn recheck(&self, known: &KnownToken, seen: &mut Seen, now: UnixTime) -> Result<(), Refusal> {
        let id = known.token().issuer();
        let (issuer, slot) = self.ruleset.issuer(id).zip(self.slot(id)).ok_or(Rejection::IssuerUnknown)?;
        claims::check_expiry(known, issuer, now)?;
        let keys = slot.keys().ok_or(Rejection::KeysUnavailable)?;
        if !seen.keys.as_ref().is_some_and(|earlier| Arc::ptr_eq(earlier, &keys)) {
            if !known.token().is_proven_by(&keys) {
                return Err(Refusal::new(Rejection::KeyUnknown).because("its key was withdrawn"));
            }
            seen.keys = Some(keys);
        }
        let revocations = self.revocations.current();
        if !seen.revocations.as_ref().is_some_and(|earlier| Arc::ptr_eq(earlier, &revocations)) {
            revocations.check(&known.traits(&issuer.name), now)?;
            seen.revocations = Some(Arc::clone(&revocations));
        }
        Ok(())
    }
}
