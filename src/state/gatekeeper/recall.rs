//! A token as it is remembered, or verified now.
use std::sync::Arc;

use crate::{
    gate::{
        claims::KnownToken,
        issuer::IssuerId,
        rejection::{Refusal, Rejection},
        route::Route,
        signature,
        token::{Segments, UnverifiedToken},
        witness::{Fact, Stage, Witness},
    },
    state::{
        claims_cache::CacheUse,
        gatekeeper::{Gatekeeper, Judgement, Patience},
    },
};

/// What a token turned out to be.
pub(super) enum Known {
    Token(Arc<KnownToken>),
    AwaitKeys(IssuerId),
}

impl Gatekeeper {
    fn generation(&self, known: &KnownToken) -> Option<u64> {
        self.generations.get(usize::from(known.token().issuer().0)).copied()
    }

    /// The token as remembered, if the key that proved it is still trusted, else as verified now.
    pub(super) fn known(
        &self,
        token: &str,
        route: &Route,
        patience: Patience,
        judgement: &mut Judgement,
        witness: &mut impl Witness,
    ) -> Result<Known, Refusal> {
        let digest = self.cache.digest(token);
        if let Some(digest) = &digest {
            judgement.cache = CacheUse::Miss;
            if let Some(known) = self.cache.recall(digest, |known| self.generation(known)) {
                let keys = self.slot(known.token().issuer()).and_then(|slot| slot.keys());
                if keys.is_some_and(|keys| known.token().is_proven_by(&keys)) {
                    judgement.cache = CacheUse::Hit;
                    return Ok(Known::Token(known));
                }
                judgement.cache = CacheUse::Stale;
            }
        }
        let known = match self.verified(token, route, patience, judgement, witness) {
            Ok(Known::Token(known)) => known,
            // Asked again after the wait, and stale then too unless its key came back.
            Ok(awaiting @ Known::AwaitKeys(_)) => return Ok(awaiting),
            Err(refusal) => {
                if let Some(digest) = digest.filter(|_| judgement.cache == CacheUse::Stale) {
                    self.cache.forget(&digest);
                }
                return Err(refusal);
            }
        };
        if let Some((digest, generation)) = digest.zip(self.generation(&known)) {
            self.cache.remember(digest, Arc::clone(&known), generation);
        }
        Ok(Known::Token(known))
    }

    fn verified(
        &self,
        token: &str,
        route: &Route,
        patience: Patience,
        judgement: &mut Judgement,
        witness: &mut impl Witness,
    ) -> Result<Known, Refusal> {
        witness.enter(Stage::Token);
        let segments = Segments::decode(token)?;
        let token = UnverifiedToken::parse(&segments)?;
        witness.learn(Fact::Unverified(&token));
        witness.enter(Stage::Issuer);
        let (id, issuer) = self.ruleset.issuer_of(&token, route)?;
        judgement.issuer = Some(id);
        witness.enter(Stage::Header);
        signature::check_header(&token, issuer)?;
        witness.enter(Stage::Keys);
        let slot = self.slot(id).ok_or(Rejection::Internal)?;
        let keys = slot.keys().ok_or(Rejection::KeysUnavailable)?;
        witness.enter(Stage::Signature);
        // A key that the set names but that cannot be used would not be found by fetching again.
        let is_fetchable = slot.is_remote() && token.kid().is_some_and(|kid| !keys.publishes(kid));
        match self.ruleset.verify(token, (id, issuer), &keys) {
            Ok(known) => Ok(Known::Token(Arc::new(known))),
            Err(refusal) if refusal.rejection() == Rejection::KeyUnknown && is_fetchable => match patience {
                Patience::MayWait => Ok(Known::AwaitKeys(id)),
                Patience::Fetched => Err(refusal),
                Patience::NotFetched => Err(Refusal::new(Rejection::KeysUnavailable)
                    .because("the token names a key that is not known, and no fetch could tell")),
            },
            Err(refusal) => Err(refusal),
        }
    }
}
