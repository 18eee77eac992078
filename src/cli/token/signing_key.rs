//! A private key or secret that signs tokens: from PEM, from a JWK, from a secret, or made anew. It is for tests and
//! demonstrations; the gateway itself never holds one of an issuer. Nothing of it is shown but its public half.
use std::fmt;

use aws_lc_rs::{
    encoding::AsDer as _,
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
        Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
        RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::{
    cli::token::{jwk, pem},
    gate::{
        algorithm::{Algorithm, Algorithms, KeyType},
        keys::{KeyFault, KeySet},
    },
};

/// A key that signs.
pub struct SigningKey {
    pair: Pair,
    /// `kid` that it was given.
    kid: Option<String>,
    /// The one algorithm that it was made for, where it says so.
    named: Option<Algorithm>,
}

/// What a key is made of.
pub(super) enum Pair {
    /// A shared secret.
    Secret(Zeroizing<Vec<u8>>),
    /// An RSA key.
    Rsa(Box<RsaKeyPair>),
    /// A key on P-256 or P-384.
    Ecdsa(KeyType, Box<EcdsaKeyPair>),
    /// An Ed25519 key.
    Ed25519(Box<Ed25519KeyPair>),
}

/// Why there is no key, or why it cannot sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SigningKeyError {
    /// Neither PEM nor a JWK.
    NotAKey,
    /// The public half only.
    PublicOnly,
    /// The file is encrypted.
    Encrypted,
    /// The key cannot be used: a type that is not supported, broken or inconsistent.
    Unusable,
    /// A JWK that is not what RFC 7517 and RFC 7518 say.
    Jwk(&'static str),
    /// A JWK set from which one key must be chosen by `--kid`.
    KidNeeded(Vec<String>),
    /// No key of the JWK set has this `kid`.
    KidUnknown(Vec<String>),
    /// The secret is too short.
    SecretTooShort,
    /// Several algorithms fit the key.
    AlgorithmNeeded(Algorithms),
    /// The algorithm that was asked for does not fit.
    AlgorithmUnfit(Algorithm, Algorithms),
    /// The library refused to sign or to make a key.
    Refused,
}

impl fmt::Display for SigningKeyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAKey => formatter.write_str("this is neither a private key in PEM nor a JWK"),
            Self::PublicOnly => formatter.write_str("this is a public key; signing needs the private one"),
            Self::Encrypted => {
                formatter.write_str("the key is encrypted; `openssl pkey -in FILE -out PLAIN` writes it in plain")
            }
            Self::Unusable => {
                formatter.write_str("the key cannot be used: RSA from 2048 bits, EC on P-256 or P-384, or Ed25519 can")
            }
            Self::Jwk(reason) => write!(formatter, "the JWK cannot be used: {reason}"),
            Self::KidNeeded(kids) => {
                write!(formatter, "the set has several keys; choose one by --kid: {}", kids.join(", "))
            }
            Self::KidUnknown(kids) => write!(formatter, "no key of the set has this kid; it has {}", kids.join(", ")),
            Self::SecretTooShort => KeyFault::SecretTooShort.fmt(formatter),
            Self::AlgorithmNeeded(fitting) => {
                write!(formatter, "several algorithms fit this key; choose one by --algorithm: {fitting}")
            }
            Self::AlgorithmUnfit(wanted, fitting) => {
                write!(formatter, "{wanted} does not fit this key; {fitting} does")
            }
            Self::Refused => formatter.write_str("the cryptographic library refused"),
        }
    }
}

impl std::error::Error for SigningKeyError {}

impl SigningKey {
    pub(super) const fn new(pair: Pair, kid: Option<String>, named: Option<Algorithm>) -> Self {
        Self { pair, kid, named }
    }

    /// Reads a private key: PEM (PKCS #8, PKCS #1, SEC1), a JWK, or the key of a JWK set that `kid` names or that is
    /// the only one.
    ///
    /// # Errors
    /// A [`SigningKeyError`] that says what the text is instead.
    pub fn parse(text: &[u8], kid: Option<&str>) -> Result<Self, SigningKeyError> {
        let text = std::str::from_utf8(text).map_err(|_| SigningKeyError::NotAKey)?;
        if text.trim_start().starts_with('{') { jwk::parse(text.trim(), kid) } else { Self::from_pem(text) }
    }

    /// A shared secret.
    pub fn from_secret(secret: Zeroizing<Vec<u8>>) -> Self {
        Self::new(Pair::Secret(secret), None, None)
    }

    /// Makes a new key pair for `algorithm` (RSA with 2048 bits), and its PKCS #8 form.
    ///
    /// # Errors
    /// [`SigningKeyError::Refused`]; there is no key pair for an HMAC.
    pub fn generate(algorithm: Algorithm) -> Result<(Self, Zeroizing<Vec<u8>>), SigningKeyError> {
        let refused = |_| SigningKeyError::Refused;
        let random = SystemRandom::new();
        let pkcs8 = match algorithm.key_type() {
            KeyType::Secret => return Err(SigningKeyError::Refused),
            KeyType::Rsa => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(refused)?;
                Zeroizing::new(pair.as_der().map_err(refused)?.as_ref().to_vec())
            }
            key_type @ (KeyType::P256 | KeyType::P384) => {
                let curve = curve(key_type).ok_or(SigningKeyError::Refused)?;
                Zeroizing::new(EcdsaKeyPair::generate_pkcs8(curve, &random).map_err(refused)?.as_ref().to_vec())
            }
            KeyType::Ed25519 => {
                Zeroizing::new(Ed25519KeyPair::generate_pkcs8v1(&random).map_err(refused)?.as_ref().to_vec())
            }
        };
        let pair = Pair::from_pkcs8(&pkcs8).ok_or(SigningKeyError::Refused)?;
        Ok((Self::new(pair, None, Some(algorithm)), pkcs8))
    }

    fn from_pem(text: &str) -> Result<Self, SigningKeyError> {
        let blocks = pem::blocks(text);
        let Some(block) = blocks.iter().find(|block| block.label.ends_with("PRIVATE KEY")) else {
            let is_public = |label: &str| label.ends_with("PUBLIC KEY") || label == "CERTIFICATE";
            let public = blocks.iter().any(|block| is_public(block.label));
            return Err(if public { SigningKeyError::PublicOnly } else { SigningKeyError::NotAKey });
        };
        let content = match (block.label, &block.content) {
            ("ENCRYPTED PRIVATE KEY", _) | (_, None) => return Err(SigningKeyError::Encrypted),
            (_, Some(content)) => content,
        };
        let pair = match block.label {
            "PRIVATE KEY" => Pair::from_pkcs8(content),
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(content).ok().map(|pair| Pair::Rsa(Box::new(pair))),
            "EC PRIVATE KEY" => Pair::from_curves(|curve| EcdsaKeyPair::from_private_key_der(curve, content).ok()),
            _ => None,
        };
        Ok(Self::new(pair.ok_or(SigningKeyError::Unusable)?, None, None))
    }

    /// The `kid` that the key came with.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The algorithms that the key can sign with.
    pub fn algorithms(&self) -> Algorithms {
        let secret_bytes = match &self.pair {
            Pair::Secret(secret) => secret.len(),
            Pair::Rsa(_) | Pair::Ecdsa(..) | Pair::Ed25519(_) => 0,
        };
        Algorithms::of_key_type(self.pair.key_type())
            .iter()
            .filter(|algorithm| secret_bytes >= algorithm.secret_bytes_min())
            .filter(|algorithm| self.named.is_none_or(|named| named == *algorithm))
            .collect()
    }

    /// The algorithm to sign with: the one that was asked for, or the only one that fits.
    ///
    /// # Errors
    /// [`SigningKeyError::AlgorithmNeeded`], [`SigningKeyError::AlgorithmUnfit`], [`SigningKeyError::SecretTooShort`].
    pub fn choose(&self, wanted: Option<Algorithm>) -> Result<Algorithm, SigningKeyError> {
        let fitting = self.algorithms();
        match wanted {
            Some(wanted) if fitting.contains(wanted) => return Ok(wanted),
            Some(wanted) if wanted.key_type() != self.pair.key_type() || self.named.is_some() => {
                return Err(SigningKeyError::AlgorithmUnfit(wanted, fitting));
            }
            Some(_) => return Err(SigningKeyError::SecretTooShort),
            None => {}
        }
        let mut candidates = fitting.iter();
        match (candidates.next(), candidates.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => Err(SigningKeyError::AlgorithmNeeded(fitting)),
            (None, _) => Err(SigningKeyError::SecretTooShort),
        }
    }

    /// Signs a token of this header and these claims, in the compact form (RFC 7515 §7.1). `alg` of the header is
    /// written here.
    ///
    /// # Errors
    /// [`SigningKeyError::AlgorithmUnfit`], [`SigningKeyError::Refused`].
    pub fn token(
        &self,
        algorithm: Algorithm,
        mut header: Map<String, Value>,
        claims: &Map<String, Value>,
    ) -> Result<String, SigningKeyError> {
        header.insert("alg".to_owned(), algorithm.name().into());
        let encode = |object: &Map<String, Value>| {
            serde_json::to_vec(object).map(|text| URL_SAFE_NO_PAD.encode(text)).map_err(|_| SigningKeyError::Refused)
        };
        let signed_text = format!("{}.{}", encode(&header)?, encode(claims)?);
        let signature = self.sign(algorithm, signed_text.as_bytes())?;
        Ok(format!("{signed_text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The signature of `message`.
    ///
    /// # Errors
    /// [`SigningKeyError::AlgorithmUnfit`] for an algorithm of another type of key; [`SigningKeyError::Refused`].
    pub fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, SigningKeyError> {
        if algorithm.key_type() != self.pair.key_type() {
            return Err(SigningKeyError::AlgorithmUnfit(algorithm, self.algorithms()));
        }
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Secret(secret) => {
                let hash = hmac_algorithm(algorithm).ok_or(SigningKeyError::Refused)?;
                Ok(hmac::sign(&hmac::Key::new(hash, secret), message).as_ref().to_vec())
            }
            Pair::Rsa(pair) => {
                let padding = rsa_padding(algorithm).ok_or(SigningKeyError::Refused)?;
                let mut signature = vec![0; pair.public_modulus_len()];
                let signed = pair.sign(padding, &random, message, &mut signature);
                signed.map(|()| signature).map_err(|_| SigningKeyError::Refused)
            }
            Pair::Ecdsa(_, pair) => {
                let signed = pair.sign(&random, message).map_err(|_| SigningKeyError::Refused)?;
                Ok(signed.as_ref().to_vec())
            }
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }

    /// The public half as a member of a JWK set (RFC 7517): `alg` as given, `kid` its RFC 7638 thumbprint unless it
    /// came with one. Nothing for a shared secret, which has no public half.
    pub fn public_jwk(&self, algorithm: Algorithm) -> Option<Map<String, Value>> {
        let encode = |bytes: &[u8]| Value::from(URL_SAFE_NO_PAD.encode(bytes));
        let mut jwk = Map::new();
        match &self.pair {
            Pair::Secret(_) => return None,
            Pair::Rsa(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                jwk.insert("kty".to_owned(), "RSA".into());
                jwk.insert("n".to_owned(), encode(&public.n));
                jwk.insert("e".to_owned(), encode(&public.e));
            }
            Pair::Ecdsa(key_type, pair) => {
                let point = pair.public_key().as_ref().strip_prefix(&[4])?;
                let (x, y) = point.split_at_checked(point.len() / 2)?;
                jwk.insert("kty".to_owned(), "EC".into());
                jwk.insert("crv".to_owned(), if *key_type == KeyType::P256 { "P-256" } else { "P-384" }.into());
                jwk.insert("x".to_owned(), encode(x));
                jwk.insert("y".to_owned(), encode(y));
            }
            Pair::Ed25519(pair) => {
                jwk.insert("kty".to_owned(), "OKP".into());
                jwk.insert("crv".to_owned(), "Ed25519".into());
                jwk.insert("x".to_owned(), encode(pair.public_key().as_ref()));
            }
        }
        jwk.insert("use".to_owned(), "sig".into());
        jwk.insert("alg".to_owned(), algorithm.name().into());
        let kid = self.kid.clone().or_else(|| thumbprint(&jwk))?;
        jwk.insert("kid".to_owned(), kid.into());
        Some(jwk)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SigningKey({:?}, {:?})", self.kid, self.pair.key_type())
    }
}

/// What the gate calls this key by.
fn thumbprint(jwk: &Map<String, Value>) -> Option<String> {
    let set = json!({ "keys": [jwk] }).to_string();
    let set = KeySet::parse(set.as_bytes(), Algorithms::asymmetric()).ok()?;
    set.keys().first().map(|key| key.thumbprint().to_string())
}

impl Pair {
    fn from_pkcs8(pkcs8: &[u8]) -> Option<Self> {
        if let Ok(pair) = RsaKeyPair::from_pkcs8(pkcs8) {
            return Some(Self::Rsa(Box::new(pair)));
        }
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8(pkcs8) {
            return Some(Self::Ed25519(Box::new(pair)));
        }
        Self::from_curves(|curve| EcdsaKeyPair::from_pkcs8(curve, pkcs8).ok())
    }

    /// The key on the curve that it can be read for.
    fn from_curves(read: impl Fn(&'static EcdsaSigningAlgorithm) -> Option<EcdsaKeyPair>) -> Option<Self> {
        [KeyType::P256, KeyType::P384].into_iter().find_map(|key_type| {
            let pair = read(curve(key_type)?)?;
            Some(Self::Ecdsa(key_type, Box::new(pair)))
        })
    }

    const fn key_type(&self) -> KeyType {
        match self {
            Self::Secret(_) => KeyType::Secret,
            Self::Rsa(_) => KeyType::Rsa,
            Self::Ecdsa(key_type, _) => *key_type,
            Self::Ed25519(_) => KeyType::Ed25519,
        }
    }
}

/// The library's name for a curve; nothing for what is none.
pub(super) const fn curve(key_type: KeyType) -> Option<&'static EcdsaSigningAlgorithm> {
    match key_type {
        KeyType::P256 => Some(&ECDSA_P256_SHA256_FIXED_SIGNING),
        KeyType::P384 => Some(&ECDSA_P384_SHA384_FIXED_SIGNING),
        KeyType::Secret | KeyType::Rsa | KeyType::Ed25519 => None,
    }
}

const fn hmac_algorithm(algorithm: Algorithm) -> Option<hmac::Algorithm> {
    match algorithm {
        Algorithm::HS256 => Some(hmac::HMAC_SHA256),
        Algorithm::HS384 => Some(hmac::HMAC_SHA384),
        Algorithm::HS512 => Some(hmac::HMAC_SHA512),
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512
        | Algorithm::ES256
        | Algorithm::ES384
        | Algorithm::EdDSA => None,
    }
}

fn rsa_padding(algorithm: Algorithm) -> Option<&'static dyn RsaEncoding> {
    match algorithm {
        Algorithm::RS256 => Some(&RSA_PKCS1_SHA256),
        Algorithm::RS384 => Some(&RSA_PKCS1_SHA384),
        Algorithm::RS512 => Some(&RSA_PKCS1_SHA512),
        Algorithm::PS256 => Some(&RSA_PSS_SHA256),
        Algorithm::PS384 => Some(&RSA_PSS_SHA384),
        Algorithm::PS512 => Some(&RSA_PSS_SHA512),
        Algorithm::HS256
        | Algorithm::HS384
        | Algorithm::HS512
        | Algorithm::ES256
        | Algorithm::ES384
        | Algorithm::EdDSA => None,
    }
}
