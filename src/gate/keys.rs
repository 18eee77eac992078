//! Keys and key sets: JWK set bytes, PEM files and secrets become keys that know which algorithms they verify.
//!
//! A set is read leniently - a key that cannot be used is skipped with its reason, the others serve (RFC 7517 §5) - and
//! a key strictly: nothing is in a set that could verify something it must not.
use std::{fmt, sync::Arc};

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;

use crate::gate::{
    algorithm::{Algorithm, Algorithms, KeyType},
    json::{Json, Object},
    key_material::{Material, curve_material, edwards_material, material, refuse_unusable, rsa_material},
};

/// Keys that one set may hold; the rest of a longer set is skipped.
pub const KEYS_MAX: usize = 64;
/// How many keys that cannot be used are remembered by name; more are counted.
pub const SKIPPED_MAX: usize = 64;
/// Bytes that a JWK set may have.
pub const KEY_SET_BYTES_MAX: usize = 256 * 1024;

/// SHA-256 JWK thumbprint (RFC 7638): names a key by what it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Thumbprint([u8; 32]);

impl fmt::Display for Thumbprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Thumbprint({self})")
    }
}

/// One key that may verify signatures.
pub struct Key {
    kid: Option<Box<str>>,
    key_type: KeyType,
    algorithms: Algorithms,
    thumbprint: Thumbprint,
    decoding: DecodingKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the material nor, for a secret, anything computed from it.
        write!(formatter, "Key({:?}, {:?}, {})", self.kid, self.key_type, self.algorithms)
    }
}

/// A key of a set that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedKey {
    /// Its `kid`, where it has one that is a string.
    pub kid: Option<Box<str>>,
    /// Why it cannot be used.
    pub reason: &'static str,
}

/// The keys of one issuer.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Arc<Key>>,
    skipped: Vec<SkippedKey>,
    skipped_count: usize,
    /// Whether it is the one key of a file, which no `kid` can name.
    pub(in crate::gate) is_nameless: bool,
}

/// Why a whole text or file gives no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFault {
    /// Larger than [`KEY_SET_BYTES_MAX`].
    SetTooLarge,
    /// Not one JSON object with distinct member names.
    NotJson,
    /// No member `keys` that is an array (RFC 7517 §5.1).
    NoKeysMember,
    /// A private key where a public one belongs.
    PrivateKey,
    /// Neither a public key in SPKI PEM nor a certificate of a type that is supported.
    NotPem,
    /// An RSA key whose modulus is too small or too large, or whose exponent is not odd and above one.
    RsaOutOfRange,
    /// The allowed algorithms fit RSA keys in both families, PKCS #1 and PSS; one must be chosen (RFC 8725 §3.1).
    FamilyUndecided,
    /// None of the allowed algorithms fits the key.
    NoAlgorithm,
    /// The secret is shorter than the hash of every allowed algorithm (RFC 7518 §3.2).
    SecretTooShort,
}

impl fmt::Display for KeyFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::SetTooLarge => "the key set is larger than 256 KiB",
            Self::NotJson => "the key set is not one JSON object with distinct member names",
            Self::NoKeysMember => "the key set has no array `keys`",
            Self::PrivateKey => "this is a private key; the gateway needs the public one only",
            Self::NotPem => {
                "this is neither a public key in PEM (BEGIN PUBLIC KEY) nor a certificate, of type RSA, EC or Ed25519"
            }
            Self::RsaOutOfRange => "the RSA key must have 2048 to 8192 bits and an odd exponent above one",
            Self::FamilyUndecided => {
                "an RSA key can verify RS* and PS*: `algorithms` must name one of the two families"
            }
            Self::NoAlgorithm => "none of the issuer's `algorithms` fits this key",
            Self::SecretTooShort => "the secret is shorter than the hash: HS256 needs 32 bytes, HS384 48, HS512 64",
        })
    }
}

impl std::error::Error for KeyFault {}

impl Key {
    /// `kid` of the key, where it has one.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// What kind of key it is.
    pub const fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// The algorithms that it may verify, never more than its issuer allows.
    pub const fn algorithms(&self) -> Algorithms {
        self.algorithms
    }

    /// Its name by content. That of a shared secret must not be shown.
    pub const fn thumbprint(&self) -> Thumbprint {
        self.thumbprint
    }

    pub(in crate::gate) const fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }

    /// Reads one member of a JWK set.
    fn from_jwk(jwk: &Object<'_>, allowed: Algorithms) -> Result<Self, &'static str> {
        refuse_unusable(jwk)?;
        let kid = match jwk.get("kid") {
            None => None,
            Some(Json::String(kid)) => Some(Box::from(kid.as_ref())),
            Some(_) => return Err("kid is not a string"),
        };
        let (key_type, decoding, canonical) = material(jwk)?;
        let mut algorithms = allowed.intersection(Algorithms::of_key_type(key_type));
        match jwk.get("alg") {
            None => {}
            Some(Json::String(name)) => {
                let named = Algorithm::from_name(name).ok_or("alg is not supported")?;
                if named.key_type() != key_type {
                    return Err("alg does not fit the key type");
                }
                algorithms = algorithms.intersection([named].into_iter().collect());
            }
            Some(_) => return Err("alg is not a string"),
        }
        if algorithms.is_empty() {
            return Err("none of the issuer's algorithms fits it");
        }
        Ok(Self { kid, key_type, algorithms, thumbprint: thumbprint_of(&canonical), decoding })
    }
}

impl KeySet {
    /// Reads a JWK set (RFC 7517 §5), key by key.
    ///
    /// # Errors
    /// A [`KeyFault`] when the text is not a key set at all; keys that cannot be used are in [`KeySet::skipped`].
    pub fn parse(text: &[u8], allowed: Algorithms) -> Result<Self, KeyFault> {
        if text.len() > KEY_SET_BYTES_MAX {
            return Err(KeyFault::SetTooLarge);
        }
        let object = Object::parse(text).map_err(|_| KeyFault::NotJson)?;
        let Some(Json::List(members)) = object.get("keys") else { return Err(KeyFault::NoKeysMember) };
        let mut set = Self::default();
        for member in members {
            let Json::Object(jwk) = member else {
                set.skip(None, "not an object");
                continue;
            };
            let key = if set.keys.len() < KEYS_MAX { Key::from_jwk(jwk, allowed) } else { Err("more than 64 keys") };
            match key {
                Ok(key) if set.holds(key.thumbprint) && set.keys.iter().any(|other| other.kid == key.kid) => {
                    set.skip(key.kid, "the same key twice");
                }
                Ok(key) => set.keys.push(Arc::new(key)),
                Err(reason) => {
                    set.skip(jwk.get("kid").and_then(Json::as_str).map(Box::from), reason);
                }
            }
        }
        Ok(set)
    }

    /// A set of the one public key in a PEM file: SPKI, PKCS #1 or a certificate.
    ///
    /// # Errors
    /// A [`KeyFault`]; [`KeyFault::FamilyUndecided`] when `allowed` holds both RSA families.
    pub fn from_public_key_pem(pem: &[u8], allowed: Algorithms) -> Result<Self, KeyFault> {
        if pem.windows(11).any(|window| window == b"PRIVATE KEY") {
            return Err(KeyFault::PrivateKey);
        }
        let (key_type, decoding, canonical) = pem_material(pem)?;
        let algorithms = allowed.intersection(Algorithms::of_key_type(key_type));
        if algorithms.is_empty() {
            return Err(KeyFault::NoAlgorithm);
        }
        let is_pss = |algorithm: &Algorithm| algorithm.name().starts_with('P');
        if key_type == KeyType::Rsa && algorithms.iter().any(|a| is_pss(&a)) && !algorithms.iter().all(|a| is_pss(&a)) {
            return Err(KeyFault::FamilyUndecided);
        }
        Ok(Self::of_one(Key { kid: None, key_type, algorithms, thumbprint: thumbprint_of(&canonical), decoding }))
    }

    /// A set of one shared secret, which verifies those of `allowed` whose hash is not longer than it.
    ///
    /// # Errors
    /// [`KeyFault::NoAlgorithm`] when `allowed` has no HMAC, [`KeyFault::SecretTooShort`] when the secret is shorter
    /// than the hash of one that was asked for.
    pub fn from_secret(secret: &[u8], allowed: Algorithms) -> Result<Self, KeyFault> {
        let algorithms = allowed.intersection(Algorithms::of_key_type(KeyType::Secret));
        if algorithms.is_empty() {
            return Err(KeyFault::NoAlgorithm);
        }
        if algorithms.iter().any(|algorithm| secret.len() < algorithm.secret_bytes_min()) {
            return Err(KeyFault::SecretTooShort);
        }
        let thumbprint = thumbprint_of(&format!(r#"{{"k":"{}","kty":"oct"}}"#, URL_SAFE_NO_PAD.encode(secret)));
        let decoding = DecodingKey::from_secret(secret);
        Ok(Self::of_one(Key { kid: None, key_type: KeyType::Secret, algorithms, thumbprint, decoding }))
    }

    fn of_one(key: Key) -> Self {
        Self { keys: vec![Arc::new(key)], skipped: Vec::new(), skipped_count: 0, is_nameless: true }
    }

    /// The usable keys in the order of the set.
    pub fn keys(&self) -> &[Arc<Key>] {
        &self.keys
    }

    /// The keys that cannot be used, with the reason: the first [`SKIPPED_MAX`] of them.
    pub fn skipped(&self) -> &[SkippedKey] {
        &self.skipped
    }

    /// How many keys cannot be used.
    pub const fn skipped_count(&self) -> usize {
        self.skipped_count
    }

    fn skip(&mut self, kid: Option<Box<str>>, reason: &'static str) {
        self.skipped_count += 1;
        if self.skipped.len() < SKIPPED_MAX {
            self.skipped.push(SkippedKey { kid, reason });
        }
    }

    /// Whether no key is usable.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether the key is in the set.
    pub fn holds(&self, thumbprint: Thumbprint) -> bool {
        self.keys.iter().any(|key| key.thumbprint == thumbprint)
    }

    /// Whether a signature that `key` once verified by `algorithm` would still be accepted.
    pub fn still_proves(&self, key: &Arc<Key>, algorithm: Algorithm) -> bool {
        self.keys.iter().any(|current| {
            Arc::ptr_eq(current, key)
                || (current.thumbprint == key.thumbprint && current.algorithms.contains(algorithm))
        })
    }

    /// Whether the set names this `kid` at all, be it for a key that cannot be used.
    pub fn publishes(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid() == Some(kid))
            || self.skipped.iter().any(|skipped| skipped.kid.as_deref() == Some(kid))
    }
}

fn pem_material(pem: &[u8]) -> Result<Material, KeyFault> {
    if let Ok(key) = DecodingKey::from_rsa_pem(pem) {
        let der = key.try_get_as_bytes().map_err(|_| KeyFault::NotPem)?;
        let components = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key;
        let (modulus, exponent) = components(der).map_err(|_| KeyFault::NotPem)?;
        return rsa_material(&modulus, &exponent).ok_or(KeyFault::RsaOutOfRange);
    }
    if let Ok(key) = DecodingKey::from_ec_pem(pem) {
        let point = key.try_get_as_bytes().map_err(|_| KeyFault::NotPem)?;
        let coordinates = point.strip_prefix(&[4]).ok_or(KeyFault::NotPem)?;
        let key_type = if coordinates.len() == 64 { KeyType::P256 } else { KeyType::P384 };
        let (x, y) = coordinates.split_at_checked(coordinates.len() / 2).ok_or(KeyFault::NotPem)?;
        return curve_material(key_type, x, y).map_err(|_| KeyFault::NotPem);
    }
    let key = DecodingKey::from_ed_pem(pem).map_err(|_| KeyFault::NotPem)?;
    edwards_material(key.try_get_as_bytes().map_err(|_| KeyFault::NotPem)?).map_err(|_| KeyFault::NotPem)
}

fn thumbprint_of(canonical: &str) -> Thumbprint {
    let digest = digest::digest(&digest::SHA256, canonical.as_bytes());
    let mut thumbprint = [0; 32];
    for (to, from) in thumbprint.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    Thumbprint(thumbprint)
}
