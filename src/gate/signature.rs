//! The signature check: the one maker of a [`VerifiedToken`].
//!
//! It never tries a key of another issuer, an algorithm that the key was not loaded for, or more than
//! [`KEYS_TRIED_MAX`] keys.
use std::sync::Arc;

use crate::gate::{
    algorithm::Algorithm,
    issuer::{Issuer, IssuerId},
    json::Object,
    keys::{Key, KeySet},
    rejection::{Refusal, Rejection, quoted},
    token::UnverifiedToken,
};

/// Keys that are tried for a token without `kid`.
pub const KEYS_TRIED_MAX: usize = 4;

/// Proof that a key of an issuer signed a token. What it says is still to be judged.
#[derive(Clone, Debug)]
pub struct VerifiedToken {
    issuer: IssuerId,
    key: Arc<Key>,
    algorithm: Algorithm,
    /// What the token calls its key, where the key itself has no name.
    own_kid: Option<Box<str>>,
}

/// The claims of a token whose signature was verified.
#[derive(Debug)]
pub struct VerifiedClaims<'s> {
    object: Object<'s>,
}

impl VerifiedClaims<'_> {
    pub(in crate::gate) const fn object(&self) -> &Object<'_> {
        &self.object
    }
}

impl VerifiedToken {
    /// The issuer whose key signed it.
    pub const fn issuer(&self) -> IssuerId {
        self.issuer
    }

    /// The key that verified it.
    pub const fn key(&self) -> &Arc<Key> {
        &self.key
    }

    /// Name of the key that verified it: the key's own, else what the token calls it.
    pub fn kid(&self) -> Option<&str> {
        self.key.kid().or(self.own_kid.as_deref())
    }

    /// Bytes of the name that the token itself keeps.
    pub(in crate::gate) fn own_kid_bytes(&self) -> usize {
        self.own_kid.as_deref().map_or(0, str::len)
    }

    /// The algorithm of the signature.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether the proof still counts: its key is in the issuer's current set, for this algorithm.
    pub fn is_proven_by(&self, keys: &KeySet) -> bool {
        keys.still_proves(&self.key, self.algorithm)
    }
}

/// What may be asked of a token before any key is: its kind and its algorithm.
///
/// # Errors
/// In this order: [`Rejection::TypeNotAllowed`], [`Rejection::CriticalHeader`], [`Rejection::AlgorithmNotAllowed`].
pub fn check_header(token: &UnverifiedToken<'_>, issuer: &Issuer) -> Result<(), Refusal> {
    issuer.token_types.check(token.token_type())?;
    if !token.understands_all() {
        return Err(Refusal::new(Rejection::CriticalHeader).because("crit, b64 or zip in the header"));
    }
    if !issuer.algorithms.contains(token.algorithm()) {
        return Err(Refusal::new(Rejection::AlgorithmNotAllowed).because(format!(
            "the issuer allows {}; the token has {}",
            issuer.algorithms,
            token.algorithm()
        )));
    }
    Ok(())
}

/// Checks the signature against the keys of the issuer that the token was matched with.
///
/// `kid` is a hint (RFC 7515 §4.1.4): a key that has one is meant by it alone, a key without one by any token that no key
/// is named for. The signature decides.
///
/// # Errors
/// [`Rejection::KeyUnknown`] when no key of the set fits, [`Rejection::AlgorithmNotAllowed`] when the key of this `kid`
/// verifies other algorithms only (RFC 8725 §3.1), [`Rejection::SignatureInvalid`].
pub fn verify<'s>(
    token: UnverifiedToken<'s>,
    issuer: IssuerId,
    keys: &KeySet,
) -> Result<(VerifiedToken, VerifiedClaims<'s>), Refusal> {
    let algorithm = token.algorithm();
    let is_named = token.kid().is_some_and(|kid| keys.publishes(kid));
    let is_meant = |key: &&Arc<Key>| match token.kid() {
        None => true,
        Some(kid) if is_named => key.kid() == Some(kid),
        Some(_) => key.kid().is_none(),
    };
    let mut fitting = keys.keys().iter().filter(is_meant).filter(|key| key.algorithms().contains(algorithm)).peekable();
    if fitting.peek().is_none() {
        return Err(no_key(&token, keys));
    }
    let message = token.signed_text().as_bytes();
    let proving =
        fitting.take(KEYS_TRIED_MAX).find(|key| is_signature_of(key, algorithm, message, token.signature_text()));
    match proving {
        Some(key) => {
            let own_kid = token.kid().filter(|_| key.kid().is_none()).map(Box::from);
            let verified = VerifiedToken { issuer, key: Arc::clone(key), algorithm, own_kid };
            Ok((verified, VerifiedClaims { object: token.into_claims() }))
        }
        // No key is named for the token, and none of the nameless ones signed it: its key may not have been fetched yet.
        None if token.kid().is_some() && !is_named && !keys.is_nameless => Err(unknown(&token)),
        None => Err(Refusal::new(Rejection::SignatureInvalid)
            .because(format!("{algorithm}, unverified kid {}", shown_kid(token.kid())))),
    }
}

/// Whether `signature_text`, in base64url, is a signature of `message` by the key's owner, with an algorithm that the key
/// may verify. By itself it proves nothing about a token: [`verify`] does.
pub fn is_signature_of(key: &Key, algorithm: Algorithm, message: &[u8], signature_text: &str) -> bool {
    // An error is a signature that could not even be decoded: no proof either.
    key.algorithms().contains(algorithm)
        && jsonwebtoken::crypto::verify(signature_text, message, key.decoding(), library_name(algorithm))
            .unwrap_or(false)
}

fn no_key(token: &UnverifiedToken<'_>, keys: &KeySet) -> Refusal {
    let is_meant = |key: &&Arc<Key>| keys.is_nameless || (key.kid().is_some() && key.kid() == token.kid());
    match keys.keys().iter().find(is_meant) {
        Some(key) => Refusal::new(Rejection::AlgorithmNotAllowed).because(format!(
            "the key verifies {}; the token has {}",
            key.algorithms(),
            token.algorithm()
        )),
        None => match keys.skipped().iter().find(|key| key.kid.is_some() && key.kid.as_deref() == token.kid()) {
            Some(key) => Refusal::new(Rejection::KeyUnknown).because(format!(
                "{}, unverified kid {}, which is published but not used: {}",
                token.algorithm(),
                shown_kid(token.kid()),
                key.reason
            )),
            None => unknown(token),
        },
    }
}

fn unknown(token: &UnverifiedToken<'_>) -> Refusal {
    Refusal::new(Rejection::KeyUnknown).because(format!(
        "{}, unverified kid {}",
        token.algorithm(),
        shown_kid(token.kid())
    ))
}

fn shown_kid(kid: Option<&str>) -> String {
    kid.map_or_else(|| "absent".to_owned(), quoted)
}

const fn library_name(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::HS256 => jsonwebtoken::Algorithm::HS256,
        Algorithm::HS384 => jsonwebtoken::Algorithm::HS384,
        Algorithm::HS512 => jsonwebtoken::Algorithm::HS512,
        Algorithm::RS256 => jsonwebtoken::Algorithm::RS256,
        Algorithm::RS384 => jsonwebtoken::Algorithm::RS384,
        Algorithm::RS512 => jsonwebtoken::Algorithm::RS512,
        Algorithm::PS256 => jsonwebtoken::Algorithm::PS256,
        Algorithm::PS384 => jsonwebtoken::Algorithm::PS384,
        Algorithm::PS512 => jsonwebtoken::Algorithm::PS512,
        Algorithm::ES256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::ES384 => jsonwebtoken::Algorithm::ES384,
        Algorithm::EdDSA => jsonwebtoken::Algorithm::EdDSA,
    }
}
