//! Keys that sign the tokens of tests, made fresh in each run by the library that portcullis verifies with. None is ever written to a file.
use std::sync::{Arc, OnceLock};

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    hmac, rand, rsa,
    rsa::KeySize,
    signature::{
        self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
        RsaKeyPair,
    },
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

/// A key with its `kid`.
#[derive(Clone)]
pub(crate) struct SigningKey {
    kid: String,
    material: Arc<Material>,
}

enum Material {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
    Secret(Vec<u8>),
}

impl SigningKey {
    /// P-256, for ES256.
    pub(crate) fn p256(kid: &str) -> Self {
        Self::new(kid, Material::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()))
    }

    /// P-384, for ES384.
    pub(crate) fn p384(kid: &str) -> Self {
        Self::new(kid, Material::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap()))
    }

    /// Ed25519, for EdDSA.
    pub(crate) fn ed25519(kid: &str) -> Self {
        Self::new(kid, Material::Ed25519(Ed25519KeyPair::generate().unwrap()))
    }

    /// RSA of 2048 bits, for RS and PS. All of a process are one key, for making one takes long.
    pub(crate) fn rsa(kid: &str) -> Self {
        static MADE: OnceLock<Arc<Material>> = OnceLock::new();
        let material = MADE.get_or_init(|| Arc::new(Material::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())));
        Self { kid: kid.to_owned(), material: material.clone() }
    }

    /// A secret, for HS.
    pub(crate) fn secret(kid: &str, secret: &[u8]) -> Self {
        Self::new(kid, Material::Secret(secret.to_vec()))
    }

    fn new(kid: &str, material: Material) -> Self {
        Self { kid: kid.to_owned(), material: Arc::new(material) }
    }

    /// Its name in a key set and in the header of its tokens.
    pub(crate) fn kid(&self) -> &str {
        &self.kid
    }

    /// The same key under another name.
    pub(crate) fn named(&self, kid: &str) -> Self {
        Self { kid: kid.to_owned(), material: self.material.clone() }
    }

    /// The algorithm that it signs with unless another is asked for.
    pub(crate) fn algorithm(&self) -> &'static str {
        match *self.material {
            Material::P256(_) => "ES256",
            Material::P384(_) => "ES384",
            Material::Ed25519(_) => "EdDSA",
            Material::Rsa(_) => "RS256",
            Material::Secret(_) => "HS256",
        }
    }

    /// Signs with an algorithm that fits; one that does not fit (a test may claim any) is signed with the key's own.
    pub(crate) fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = rand::SystemRandom::new();
        match &*self.material {
            Material::P256(pair) | Material::P384(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Material::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Material::Rsa(pair) => {
                let padding: &'static dyn signature::RsaEncoding = match algorithm {
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    "PS512" => &signature::RSA_PSS_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut signed = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signed).unwrap();
                signed
            }
            Material::Secret(secret) => {
                let hash = match algorithm {
                    "HS384" => hmac::HMAC_SHA384,
                    "HS512" => hmac::HMAC_SHA512,
                    _ => hmac::HMAC_SHA256,
                };
                hmac::sign(&hmac::Key::new(hash, secret), message).as_ref().to_vec()
            }
        }
    }

    /// The public key as a member of a key set, with `kid` and `use`, without `alg`.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = match &*self.material {
            Material::P256(pair) => point("P-256", pair.public_key().as_ref()),
            Material::P384(pair) => point("P-384", pair.public_key().as_ref()),
            Material::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(pair.public_key().as_ref())})
            }
            Material::Rsa(pair) => {
                let key: &rsa::PublicKey = pair.public_key();
                let number =
                    |positive: aws_lc_rs::io::Positive<'_>| encoded(positive.big_endian_without_leading_zero());
                json!({"kty": "RSA", "n": number(key.modulus()), "e": number(key.exponent())})
            }
            Material::Secret(secret) => json!({"kty": "oct", "k": encoded(secret)}),
        };
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk
    }

    /// The public key as a member of a key set, bound to one algorithm.
    pub(crate) fn jwk_for(&self, algorithm: &str) -> Value {
        let mut jwk = self.jwk();
        jwk["alg"] = json!(algorithm);
        jwk
    }

    /// The public key as PEM (SPKI).
    pub(crate) fn public_pem(&self) -> String {
        let der = match &*self.material {
            Material::P256(pair) | Material::P384(pair) => pair.public_key().as_der(),
            Material::Ed25519(pair) => pair.public_key().as_der(),
            Material::Rsa(pair) => pair.public_key().as_der(),
            Material::Secret(_) => panic!("a secret has no public half"),
        };
        let der: PublicKeyX509Der<'static> = der.unwrap();
        let text = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    }
}

/// A key set document of these members.
pub(crate) fn key_set(keys: &[Value]) -> Vec<u8> {
    json!({"keys": keys}).to_string().into_bytes()
}

/// base64url without padding.
pub(crate) fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn point(curve: &str, uncompressed: &[u8]) -> Value {
    let (x, y) = uncompressed[1..].split_at(uncompressed.len() / 2);
    json!({"kty": "EC", "crv": curve, "x": encoded(x), "y": encoded(y)})
}
