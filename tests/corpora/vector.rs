//! Signatures over payloads that are no JSON objects: portcullis refuses such tokens whole, so what it thinks of their signatures is
//! asked of the functions that decide that, with an empty object standing in for the payload where one is read.
use portcullis::gate::{
    algorithm::Algorithms,
    issuer::IssuerId,
    keys::KeySet,
    rejection::Rejection,
    signature,
    token::{Segments, UnverifiedToken},
};

use super::trial::issuer;

/// An empty JSON object in base64url.
const EMPTY_OBJECT: &str = "e30";

/// Whether header, algorithm, choice of key and signature would let the token pass.
pub(super) fn is_signed(jws: &str, keys: &KeySet, algorithms: Algorithms) -> bool {
    // The token as it is, for its parts and their alphabet.
    if Segments::decode(jws).is_err() {
        return false;
    }
    let (signed, signature) = jws.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let stand_in = format!("{header}.{EMPTY_OBJECT}.{signature}");
    let segments = Segments::decode(&stand_in).unwrap();
    let Ok(token) = UnverifiedToken::parse(&segments) else { return false };
    if signature::check_header(&token, &issuer("", algorithms)).is_err() {
        return false;
    }
    let (algorithm, kid) = (token.algorithm(), token.kid().map(str::to_owned));
    // A key that fits is found, and then its signature is over something else: the stand-in.
    match signature::verify(token, IssuerId(0), keys) {
        Ok(_) => true,
        Err(refusal) if refusal.rejection() == Rejection::SignatureInvalid => {
            let is_meant = |key: Option<&str>| kid.is_none() || key.is_none() || key == kid.as_deref();
            keys.keys()
                .iter()
                .filter(|key| is_meant(key.kid()))
                .any(|key| signature::is_signature_of(key, algorithm, signed.as_bytes(), signature))
        }
        Err(_) => false,
    }
}

/// Whether portcullis refuses the token whole, and for nothing but its payload, which is no JSON object.
pub(super) fn is_refused_for_its_payload(jws: &str) -> bool {
    let segments = Segments::decode(jws).unwrap();
    UnverifiedToken::parse(&segments).is_err_and(|refusal| {
        refusal.rejection() == Rejection::TokenMalformed
            && refusal.detail().is_some_and(|detail| detail.starts_with("payload"))
    })
}
