//! Private JWKs (RFC 7517, RFC 7518 §6, RFC 8037 §2): text in, a key that signs out. It never shows a member.
use aws_lc_rs::{
    rsa::KeyPairComponents,
    signature::{EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair, RsaPublicKeyComponents},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::{
    cli::token::signing_key::{Pair, SigningKey, SigningKeyError, curve},
    gate::{
        algorithm::{Algorithm, KeyType},
        json::{Json, Object},
    },
};

/// Reads a JWK, or the one of a JWK set that `kid` names or that is the only one.
///
/// # Errors
/// [`SigningKeyError::Jwk`], [`SigningKeyError::PublicOnly`], [`SigningKeyError::KidNeeded`],
/// [`SigningKeyError::KidUnknown`], [`SigningKeyError::Unusable`].
pub fn parse(text: &str, kid: Option<&str>) -> Result<SigningKey, SigningKeyError> {
    let object = Object::parse(text.as_bytes()).map_err(SigningKeyError::Jwk)?;
    match object.get("keys") {
        None => key(&object),
        Some(Json::List(members)) => key(choose(members, kid)?),
        Some(_) => Err(SigningKeyError::Jwk("keys is not an array")),
    }
}

fn choose<'a>(members: &'a [Json<'a>], kid: Option<&str>) -> Result<&'a Object<'a>, SigningKeyError> {
    let keys = || {
        members.iter().filter_map(|member| match member {
            Json::Object(object) => Some(object),
            Json::Null | Json::Bool(_) | Json::Integer(_) | Json::Float(_) | Json::String(_) | Json::List(_) => None,
        })
    };
    let kid_of = |key: &'a Object<'a>| key.get("kid").and_then(Json::as_str);
    let kids = || keys().map(|key| format!("{:?}", kid_of(key).unwrap_or_default())).collect();
    let mut candidates = keys().filter(|key| kid.is_none() || kid_of(key) == kid);
    match (candidates.next(), candidates.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(SigningKeyError::KidNeeded(kids())),
        (None, _) => Err(SigningKeyError::KidUnknown(kids())),
    }
}

fn key(jwk: &Object<'_>) -> Result<SigningKey, SigningKeyError> {
    let text = |name: &str| match jwk.get(name) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.as_ref())),
        Some(_) => Err(SigningKeyError::Jwk("a member of the key is not a string")),
    };
    let pair = pair(jwk, text("kty")?, text("crv")?)?;
    let named = match text("alg")? {
        None => None,
        Some(name) => Some(Algorithm::from_name(name).ok_or(SigningKeyError::Jwk("alg is not supported"))?),
    };
    if text("use")?.is_some_and(|usage| usage != "sig") {
        return Err(SigningKeyError::Jwk("use is not sig"));
    }
    let key = SigningKey::new(pair, text("kid")?.map(str::to_owned), named);
    if key.algorithms().is_empty() {
        return Err(SigningKeyError::Jwk("alg does not fit the key"));
    }
    Ok(key)
}

fn pair(jwk: &Object<'_>, key_type: Option<&str>, curve_name: Option<&str>) -> Result<Pair, SigningKeyError> {
    if matches!(key_type, Some("RSA" | "EC" | "OKP")) && jwk.get("d").is_none() {
        return Err(SigningKeyError::PublicOnly);
    }
    match (key_type, curve_name) {
        (Some("oct"), _) => Ok(Pair::Secret(bytes(jwk, "k")?)),
        (Some("RSA"), _) => rsa(jwk),
        (Some("EC"), Some("P-256")) => ecdsa(KeyType::P256, jwk),
        (Some("EC"), Some("P-384")) => ecdsa(KeyType::P384, jwk),
        (Some("OKP"), Some("Ed25519")) => {
            Ed25519KeyPair::from_seed_and_public_key(&bytes(jwk, "d")?, &bytes(jwk, "x")?)
                .map(|pair| Pair::Ed25519(Box::new(pair)))
                .map_err(|_| SigningKeyError::Unusable)
        }
        (Some("EC" | "OKP"), _) => Err(SigningKeyError::Jwk("the curve is not supported")),
        (Some(_), _) => Err(SigningKeyError::Jwk("kty is not supported")),
        (None, _) => Err(SigningKeyError::Jwk("no kty")),
    }
}

fn rsa(jwk: &Object<'_>) -> Result<Pair, SigningKeyError> {
    let public_key = RsaPublicKeyComponents { n: bytes(jwk, "n")?, e: bytes(jwk, "e")? };
    let components = KeyPairComponents {
        public_key,
        d: bytes(jwk, "d")?,
        p: bytes(jwk, "p")?,
        q: bytes(jwk, "q")?,
        dP: bytes(jwk, "dp")?,
        dQ: bytes(jwk, "dq")?,
        qInv: bytes(jwk, "qi")?,
    };
    let pair = RsaKeyPair::from_components(&components);
    pair.map(|pair| Pair::Rsa(Box::new(pair))).map_err(|_| SigningKeyError::Unusable)
}

fn ecdsa(key_type: KeyType, jwk: &Object<'_>) -> Result<Pair, SigningKeyError> {
    let mut point = vec![4];
    point.extend_from_slice(&bytes(jwk, "x")?);
    point.extend_from_slice(&bytes(jwk, "y")?);
    let curve = curve(key_type).ok_or(SigningKeyError::Unusable)?;
    let pair = EcdsaKeyPair::from_private_key_and_public_key(curve, &bytes(jwk, "d")?, &point);
    pair.map(|pair| Pair::Ecdsa(key_type, Box::new(pair))).map_err(|_| SigningKeyError::Unusable)
}

fn bytes(jwk: &Object<'_>, name: &str) -> Result<Zeroizing<Vec<u8>>, SigningKeyError> {
    let text = jwk.get(name).and_then(Json::as_str);
    let text = text.ok_or(SigningKeyError::Jwk("a member of the key is missing or not a string"))?;
    let decoded = URL_SAFE_NO_PAD.decode(text);
    decoded.map(Zeroizing::new).map_err(|_| SigningKeyError::Jwk("a member of the key is not base64url"))
}
