//! The keys of the gateway's own signatures: private ones that sign assertions, public ones that are published beside.
//!
//! It never signs, which takes randomness, and shows nothing of a private key but its public half.
use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer, pem::PemObject};
use serde_json::{Map, Value, json};
use x509_parser::{prelude::FromDer, x509::SubjectPublicKeyInfo};

use crate::gate::{
    algorithm::{Algorithm, Algorithms},
    keys::{KeySet, Thumbprint},
};

/// How assertions are signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AssertionAlgorithm {
    /// Ed25519 (RFC 8037).
    #[default]
    EdDsa,
    /// ECDSA on P-256 with SHA-256 (RFC 7518 §3.4).
    Es256,
}

impl AssertionAlgorithm {
    /// Its name in a token's header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EdDsa => Algorithm::EdDSA.name(),
            Self::Es256 => Algorithm::ES256.name(),
        }
    }
}

/// A private key, by what it signs with.
pub enum Pair {
    /// Ed25519.
    Ed25519(Box<Ed25519KeyPair>),
    /// ECDSA on P-256.
    P256(Box<EcdsaKeyPair>),
}

/// A private key that signs assertions.
pub struct AssertionKey {
    pair: Pair,
    public: PublishedKey,
}

/// A public key as it is published.
#[derive(Clone, PartialEq)]
pub struct PublishedKey {
    jwk: Map<String, Value>,
    thumbprint: Thumbprint,
}

/// Why a text is no key for assertions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssertionKeyFault {
    /// No private key in PEM.
    NotPrivate,
    /// The file is encrypted.
    Encrypted,
    /// A private key of another type than the algorithm's.
    AnotherType(AssertionAlgorithm),
    /// No public key in PEM.
    NotPublic,
    /// A private key where the public one belongs.
    PrivateKey,
    /// A public key of a type that signs no assertions.
    PublicOfAnotherType,
}

impl fmt::Display for AssertionKeyFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPrivate => formatter.write_str("this is no private key in PEM (BEGIN PRIVATE KEY)"),
            Self::Encrypted => formatter.write_str("the private key is encrypted"),
            Self::AnotherType(AssertionAlgorithm::EdDsa) => formatter.write_str("EdDSA needs an Ed25519 private key"),
            Self::AnotherType(AssertionAlgorithm::Es256) => formatter.write_str("ES256 needs a private key on P-256"),
            Self::NotPublic => formatter.write_str("this is no public key in PEM (BEGIN PUBLIC KEY)"),
            Self::PrivateKey => formatter.write_str("this is a private key; what is published is the public one"),
            Self::PublicOfAnotherType => formatter.write_str("this is neither an Ed25519 key nor one on P-256"),
        }
    }
}

impl std::error::Error for AssertionKeyFault {}

impl AssertionKey {
    /// Reads a private key in PEM: PKCS #8, or SEC 1 for P-256.
    ///
    /// # Errors
    /// An [`AssertionKeyFault`] that says what the text is instead.
    pub fn from_pem(pem: &[u8], algorithm: AssertionAlgorithm) -> Result<Self, AssertionKeyFault> {
        if pem.windows(21).any(|window| window == b"ENCRYPTED PRIVATE KEY") {
            return Err(AssertionKeyFault::Encrypted);
        }
        let unfit = AssertionKeyFault::AnotherType(algorithm);
        let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| AssertionKeyFault::NotPrivate)?;
        let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = match (algorithm, &der) {
            (AssertionAlgorithm::EdDsa, PrivateKeyDer::Pkcs8(der)) => {
                Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der()).map(|pair| Pair::Ed25519(Box::new(pair)))
            }
            (AssertionAlgorithm::Es256, PrivateKeyDer::Pkcs8(der)) => {
                EcdsaKeyPair::from_pkcs8(curve, der.secret_pkcs8_der()).map(|pair| Pair::P256(Box::new(pair)))
            }
            (AssertionAlgorithm::Es256, PrivateKeyDer::Sec1(der)) => {
                EcdsaKeyPair::from_private_key_der(curve, der.secret_sec1_der()).map(|pair| Pair::P256(Box::new(pair)))
            }
            _ => return Err(unfit),
        };
        let pair = pair.map_err(|_| unfit)?;
        let public = match &pair {
            Pair::Ed25519(pair) => PublishedKey::edwards(pair.public_key().as_ref()),
            Pair::P256(pair) => PublishedKey::p256(pair.public_key().as_ref()),
        };
        Ok(Self { pair, public: public.ok_or(unfit)? })
    }

    /// What signs.
    pub const fn pair(&self) -> &Pair {
        &self.pair
    }

    /// The public half.
    pub const fn public(&self) -> &PublishedKey {
        &self.public
    }
}

impl fmt::Debug for AssertionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "AssertionKey({})", self.public.thumbprint)
    }
}

impl PublishedKey {
    /// Reads a public key in PEM (SPKI): Ed25519, or on P-256.
    ///
    /// # Errors
    /// An [`AssertionKeyFault`] that says what the text is instead.
    pub fn from_pem(pem: &[u8]) -> Result<Self, AssertionKeyFault> {
        if pem.windows(11).any(|window| window == b"PRIVATE KEY") {
            return Err(AssertionKeyFault::PrivateKey);
        }
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| AssertionKeyFault::NotPublic)?;
        let (_, key) = SubjectPublicKeyInfo::from_der(&der).map_err(|_| AssertionKeyFault::NotPublic)?;
        let content = key.subject_public_key.data.as_ref();
        let public = match key.algorithm.algorithm.to_id_string().as_str() {
            "1.3.101.112" => Self::edwards(content),
            "1.2.840.10045.2.1" => Self::p256(content),
            _ => None,
        };
        public.ok_or(AssertionKeyFault::PublicOfAnotherType)
    }

    fn edwards(point: &[u8]) -> Option<Self> {
        let members = json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(point)});
        Self::named(members, AssertionAlgorithm::EdDsa)
    }

    /// From the uncompressed point (SEC 1 §2.3.3); no point of another curve is on this one.
    fn p256(point: &[u8]) -> Option<Self> {
        let (x, y) = point.strip_prefix(&[4])?.split_at_checked(32)?;
        let encode = |half: &[u8]| URL_SAFE_NO_PAD.encode(half);
        let members = json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)});
        Self::named(members, AssertionAlgorithm::Es256)
    }

    /// With its RFC 7638 thumbprint as `kid`, if the key is one that verifies.
    fn named(members: Value, algorithm: AssertionAlgorithm) -> Option<Self> {
        let set = KeySet::parse(json!({"keys": [members]}).to_string().as_bytes(), Algorithms::asymmetric()).ok()?;
        let thumbprint = set.keys().first()?.thumbprint();
        let Value::Object(mut jwk) = members else { return None };
        jwk.insert("kid".to_owned(), thumbprint.to_string().into());
        jwk.insert("use".to_owned(), "sig".into());
        jwk.insert("alg".to_owned(), algorithm.name().into());
        Some(Self { jwk, thumbprint })
    }

    /// Its name: the RFC 7638 thumbprint.
    pub const fn thumbprint(&self) -> Thumbprint {
        self.thumbprint
    }
}

impl fmt::Debug for PublishedKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublishedKey({})", self.thumbprint)
    }
}

/// A JWK set (RFC 7517 §5) of these keys, none twice, in their order.
pub fn key_set<'k>(keys: impl IntoIterator<Item = &'k PublishedKey>) -> String {
    let mut listed: Vec<&PublishedKey> = Vec::new();
    for key in keys {
        if !listed.iter().any(|other| other.thumbprint == key.thumbprint) {
            listed.push(key);
        }
    }
    let members: Vec<&Map<String, Value>> = listed.iter().map(|key| &key.jwk).collect();
    format!("{}\n", json!({ "keys": members }))
}
