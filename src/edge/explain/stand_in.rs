//! Claims as if an issuer had signed them: they are signed with a key of this process's own, which stands in for the issuer's
//! keys in the one decision that is explained and nowhere else. So claims go the way of every token, without a door
//! of their own in the gate.
use std::sync::{Arc, OnceLock};

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    hmac, rand as random,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
        Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
        RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
    },
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Map, Value, json};

use crate::gate::{
    algorithm::{Algorithm, KeyType},
    issuer::{Audiences, Issuer},
    keys::KeySet,
    time::UnixTime,
};

/// How long a token lives whose claims do not say.
const LIFETIME_SECONDS: i64 = 300;
/// At least as long as the longest hash.
const SECRET_BYTES: usize = 64;

/// A token with these claims, and the only key that verifies it.
pub(super) struct StandIn {
    pub(super) token: String,
    pub(super) keys: Arc<KeySet>,
    /// The claims that were added because every token of the issuer has them.
    pub(super) added: Vec<&'static str>,
}

/// Why there is none.
pub(super) const NO_KEY: &str = "no key could be made for the claims to be signed with";

impl StandIn {
    /// Signs `claims` as `issuer` would at the time `now`. What every token of the issuer has and these claims do not say is
    /// added; `null` says that it is not there.
    pub(super) fn new(issuer: &Issuer, mut claims: Map<String, Value>, now: UnixTime) -> Option<Self> {
        let mut added = Vec::new();
        let mut add = |name: &'static str, value: Value| {
            if !claims.contains_key(name) {
                claims.insert(name.to_owned(), value);
                added.push(name);
            }
        };
        add("iss", json!(issuer.identifier));
        add("iat", json!(now.seconds()));
        add("exp", json!(now.seconds().saturating_add(LIFETIME_SECONDS)));
        if let Audiences::AnyOf(accepted) = &issuer.audiences
            && &*issuer.audience_claim == "aud"
        {
            add("aud", json!(accepted.first()));
        }
        let algorithm = issuer.algorithms.iter().min_by_key(|algorithm| price(*algorithm))?;
        let mut header = json!({ "alg": algorithm.name() });
        if let (Some(members), Some(name)) = (header.as_object_mut(), issuer.token_types.first()) {
            members.insert("typ".to_owned(), json!(name));
        }
        let encode = |value: &dyn AsRef<[u8]>| URL_SAFE_NO_PAD.encode(value);
        let signed = format!("{}.{}", encode(&header.to_string()), encode(&Value::Object(claims).to_string()));
        let (signature, keys) = sign(algorithm, signed.as_bytes())?;
        Some(Self { token: format!("{signed}.{}", encode(&signature)), keys: Arc::new(keys), added })
    }
}

/// What a key of this kind costs, in the order of cheapness.
const fn price(algorithm: Algorithm) -> u8 {
    match algorithm.key_type() {
        KeyType::Ed25519 => 0,
        KeyType::P256 => 1,
        KeyType::P384 => 2,
        KeyType::Secret => 3,
        KeyType::Rsa => 4,
    }
}

/// A signature of `message`, and the key that verifies it.
fn sign(algorithm: Algorithm, message: &[u8]) -> Option<(Vec<u8>, KeySet)> {
    let only = [algorithm].into_iter().collect();
    let of_public = |der: PublicKeyX509Der<'_>| KeySet::from_public_key_pem(pem(der.as_ref()).as_bytes(), only).ok();
    match algorithm {
        Algorithm::HS256 => by_secret(hmac::HMAC_SHA256, algorithm, message),
        Algorithm::HS384 => by_secret(hmac::HMAC_SHA384, algorithm, message),
        Algorithm::HS512 => by_secret(hmac::HMAC_SHA512, algorithm, message),
        Algorithm::ES256 => by_curve(&ECDSA_P256_SHA256_FIXED_SIGNING, algorithm, message),
        Algorithm::ES384 => by_curve(&ECDSA_P384_SHA384_FIXED_SIGNING, algorithm, message),
        Algorithm::EdDSA => {
            let pair = Ed25519KeyPair::generate().ok()?;
            Some((pair.sign(message).as_ref().to_vec(), of_public(pair.public_key().as_der().ok()?)?))
        }
        Algorithm::RS256 => by_rsa(&RSA_PKCS1_SHA256, algorithm, message),
        Algorithm::RS384 => by_rsa(&RSA_PKCS1_SHA384, algorithm, message),
        Algorithm::RS512 => by_rsa(&RSA_PKCS1_SHA512, algorithm, message),
        Algorithm::PS256 => by_rsa(&RSA_PSS_SHA256, algorithm, message),
        Algorithm::PS384 => by_rsa(&RSA_PSS_SHA384, algorithm, message),
        Algorithm::PS512 => by_rsa(&RSA_PSS_SHA512, algorithm, message),
    }
}

fn by_secret(hash: hmac::Algorithm, algorithm: Algorithm, message: &[u8]) -> Option<(Vec<u8>, KeySet)> {
    let mut secret = [0; SECRET_BYTES];
    random::fill(&mut secret).ok()?;
    let keys = KeySet::from_secret(&secret, [algorithm].into_iter().collect()).ok()?;
    Some((hmac::sign(&hmac::Key::new(hash, &secret), message).as_ref().to_vec(), keys))
}

fn by_curve(curve: &'static EcdsaSigningAlgorithm, algorithm: Algorithm, message: &[u8]) -> Option<(Vec<u8>, KeySet)> {
    let pair = EcdsaKeyPair::generate(curve).ok()?;
    let der: PublicKeyX509Der<'_> = pair.public_key().as_der().ok()?;
    let keys = KeySet::from_public_key_pem(pem(der.as_ref()).as_bytes(), [algorithm].into_iter().collect()).ok()?;
    Some((pair.sign(&SystemRandom::new(), message).ok()?.as_ref().to_vec(), keys))
}

fn by_rsa(padding: &'static dyn RsaEncoding, algorithm: Algorithm, message: &[u8]) -> Option<(Vec<u8>, KeySet)> {
    // Made once, because that takes long.
    static PAIR: OnceLock<Option<RsaKeyPair>> = OnceLock::new();
    let pair = PAIR.get_or_init(|| RsaKeyPair::generate(KeySize::Rsa2048).ok()).as_ref()?;
    let der: PublicKeyX509Der<'_> = pair.public_key().as_der().ok()?;
    let keys = KeySet::from_public_key_pem(pem(der.as_ref()).as_bytes(), [algorithm].into_iter().collect()).ok()?;
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(padding, &SystemRandom::new(), message, &mut signature).ok()?;
    Some((signature, keys))
}

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{
        algorithm::Algorithms,
        issuer::IssuerId,
        signature,
        token::{Segments, UnverifiedToken},
    };

    #[test]
    fn claims_are_signed_with_any_algorithm_that_an_issuer_may_have() {
        let all = Algorithms::asymmetric().iter().chain([Algorithm::HS256, Algorithm::HS384, Algorithm::HS512]);
        for algorithm in all {
            let issuer = Issuer {
                algorithms: [algorithm].into_iter().collect(),
                ..Issuer::plain("main", "https://auth.example.com")
            };
            let stand_in = StandIn::new(&issuer, Map::new(), UnixTime::from_seconds(1_800_000_000)).unwrap();
            let segments = Segments::decode(&stand_in.token).unwrap();
            let token = UnverifiedToken::parse(&segments).unwrap();
            assert_eq!(token.claimed_issuer(), Some("https://auth.example.com"));
            signature::check_header(&token, &issuer).unwrap();
            assert!(signature::verify(token, IssuerId(0), &stand_in.keys).is_ok(), "{algorithm}");
            assert_eq!(stand_in.added, ["iss", "iat", "exp"]);
        }
    }
}
