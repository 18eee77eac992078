//! What a key is made of: the members of a JWK, read strictly, as material that signatures can be checked with.
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;

use crate::gate::{
    algorithm::KeyType,
    json::{Json, Object},
};

/// An RSA modulus must have at least this many bits (RFC 7518 §3.3).
const RSA_BITS_MIN: usize = 2048;
/// A larger modulus would let a key set slow every verification down.
const RSA_BITS_MAX: usize = 8192;

/// What the key is, ready for use, and its canonical JSON (RFC 7638 §3.2).
pub(in crate::gate) type Material = (KeyType, DecodingKey, String);

/// RFC 7517 §4.2, §4.3 and RFC 7518 §6: what is not a public signature key never becomes one.
pub(in crate::gate) fn refuse_unusable(jwk: &Object<'_>) -> Result<(), &'static str> {
    match jwk.get("kty").and_then(Json::as_str) {
        Some("RSA" | "EC" | "OKP") => {}
        Some("oct") => return Err("a shared secret has no place in a published set"),
        Some(_) => return Err("kty is not supported"),
        None => return Err("no kty"),
    }
    if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(|name| jwk.get(name).is_some()) {
        return Err("it holds private material: this key is no secret any more");
    }
    match jwk.get("use") {
        None => {}
        Some(Json::String(usage)) if usage == "sig" => {}
        Some(_) => return Err("use is not sig"),
    }
    let Some(operations) = jwk.get("key_ops") else { return Ok(()) };
    let Json::List(operations) = operations else { return Err("key_ops is not an array") };
    let mut names = Vec::with_capacity(operations.len());
    for operation in operations {
        let name = operation.as_str().ok_or("key_ops holds something that is not a string")?;
        if names.contains(&name) {
            return Err("key_ops names an operation twice");
        }
        names.push(name);
    }
    if names.contains(&"verify") { Ok(()) } else { Err("key_ops does not allow verify") }
}

/// What the key is, ready for use, and its canonical JSON (RFC 7638 §3.2).
pub(in crate::gate) fn material(jwk: &Object<'_>) -> Result<Material, &'static str> {
    let bytes = |name: &str| -> Result<Vec<u8>, &'static str> {
        let text = jwk.get(name).and_then(Json::as_str).ok_or("a member of the key is missing or not a string")?;
        URL_SAFE_NO_PAD.decode(text).map_err(|_| "a member of the key is not base64url")
    };
    match (jwk.get("kty").and_then(Json::as_str), jwk.get("crv").and_then(Json::as_str)) {
        (Some("RSA"), _) => rsa_material(&bytes("n")?, &bytes("e")?)
            .ok_or("an RSA key of 2048 to 8192 bits with an odd exponent above one is needed"),
        (Some("EC"), Some("P-256")) => curve_material(KeyType::P256, &bytes("x")?, &bytes("y")?),
        (Some("EC"), Some("P-384")) => curve_material(KeyType::P384, &bytes("x")?, &bytes("y")?),
        (Some("OKP"), Some("Ed25519")) => edwards_material(&bytes("x")?),
        _ => Err("the curve is not supported"),
    }
}

pub(in crate::gate) fn rsa_material(modulus: &[u8], exponent: &[u8]) -> Option<Material> {
    let strip = |number: &[u8]| number.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
    let (modulus, exponent) = (strip(modulus), strip(exponent));
    let bits = modulus.len().checked_mul(8)?.checked_sub(modulus.first()?.leading_zeros() as usize)?;
    let odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
    let usable_exponent = odd(&exponent) && exponent != [1] && exponent.len() <= 4;
    if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) || !odd(&modulus) || !usable_exponent {
        return None;
    }
    let canonical = format!(
        r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#,
        URL_SAFE_NO_PAD.encode(&exponent),
        URL_SAFE_NO_PAD.encode(&modulus)
    );
    Some((KeyType::Rsa, DecodingKey::from_rsa_raw_components(&modulus, &exponent), canonical))
}

pub(in crate::gate) fn curve_material(key_type: KeyType, x: &[u8], y: &[u8]) -> Result<Material, &'static str> {
    let (curve, width, algorithm) = match key_type {
        KeyType::P256 => ("P-256", 32, &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED),
        KeyType::P384 => ("P-384", 48, &aws_lc_rs::signature::ECDSA_P384_SHA384_FIXED),
        KeyType::Secret | KeyType::Rsa | KeyType::Ed25519 => return Err("the curve is not supported"),
    };
    if x.len() != width || y.len() != width {
        return Err("a coordinate has the wrong length");
    }
    let mut point = vec![4];
    point.extend_from_slice(x);
    point.extend_from_slice(y);
    aws_lc_rs::signature::ParsedPublicKey::new(algorithm, &point).map_err(|_| "the point is not on the curve")?;
    let canonical = format!(
        r#"{{"crv":"{curve}","kty":"EC","x":"{}","y":"{}"}}"#,
        URL_SAFE_NO_PAD.encode(x),
        URL_SAFE_NO_PAD.encode(y)
    );
    Ok((key_type, DecodingKey::from_ec_der(&point), canonical))
}

pub(in crate::gate) fn edwards_material(x: &[u8]) -> Result<Material, &'static str> {
    aws_lc_rs::signature::ParsedPublicKey::new(&aws_lc_rs::signature::ED25519, x)
        .map_err(|_| "not an Ed25519 public key")?;
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, URL_SAFE_NO_PAD.encode(x));
    Ok((KeyType::Ed25519, DecodingKey::from_ed_der(x), canonical))
}
