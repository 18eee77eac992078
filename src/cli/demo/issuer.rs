//! The issuer of the demonstration: a fresh ES256 key, its key set, and tokens signed with it.
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

/// Whom the tokens are for.
pub(super) const AUDIENCE: &str = "https://api.demo.test";
const KID: &str = "demo-1";
/// How long the tokens of the demonstration live.
const LIFETIME: Duration = Duration::from_secs(8 * 3600);

/// An issuer.
pub(super) struct Issuer {
    identifier: String,
    signing: EncodingKey,
    key_set: String,
}

/// Why the issuer cannot be made or cannot sign.
#[derive(Debug)]
pub(super) struct IssuerError;

impl std::fmt::Display for IssuerError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("no key could be made, or it could not sign")
    }
}

impl Issuer {
    pub(super) fn new(identifier: &str) -> Result<Self, IssuerError> {
        let random = SystemRandom::new();
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).map_err(|_| IssuerError)?;
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).map_err(|_| IssuerError)?;
        let point = pair.public_key().as_ref().strip_prefix(&[4]).ok_or(IssuerError)?;
        let (x, y) = point.split_at_checked(32).ok_or(IssuerError)?;
        let key = json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": KID,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        });
        Ok(Self {
            identifier: identifier.to_owned(),
            signing: EncodingKey::from_ec_der(document.as_ref()),
            key_set: json!({ "keys": [key] }).to_string(),
        })
    }

    pub(super) fn key_set(&self) -> String {
        self.key_set.clone()
    }

    /// A token for alice that was issued so long ago.
    pub(super) fn token(&self, roles: &[&str], age: Duration) -> Result<String, IssuerError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| IssuerError)?;
        let issued_at = now.saturating_sub(age).as_secs();
        let header =
            Header { kid: Some(KID.to_owned()), typ: Some("at+jwt".to_owned()), ..Header::new(Algorithm::ES256) };
        let claims = json!({
            "iss": self.identifier, "aud": AUDIENCE, "sub": "alice", "email": "alice@demo.test",
            "iat": issued_at, "exp": issued_at + LIFETIME.as_secs(), "roles": roles,
        });
        jsonwebtoken::encode(&header, &claims, &self.signing).map_err(|_| IssuerError)
    }

    /// A token that has expired.
    pub(super) fn expired_token(&self) -> Result<String, IssuerError> {
        self.token(&["reader"], LIFETIME + Duration::from_secs(3600))
    }
}
