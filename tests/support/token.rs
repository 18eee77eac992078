//! Tokens, good and bad: claims and header are set one by one or as raw bytes, and are signed as they are. Every one is remembered as minted.
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::{
    fixture::{AUDIENCE, ISSUER},
    keys::{SigningKey, encoded},
    minted,
};

/// Seconds since the epoch.
pub(crate) fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// A token that is not signed yet.
#[derive(Clone)]
pub(crate) struct Token {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    header_bytes: Option<Vec<u8>>,
    payload_bytes: Option<Vec<u8>>,
}

impl Token {
    /// What any route takes that asks for no more than a token, with the scope `orders:read`, good for five minutes.
    pub(crate) fn good() -> Self {
        let now = now();
        let header = json!({"typ": "at+jwt"});
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "u1", "client_id": "c1", "iat": now - 60, "exp": now + 300,
            "jti": format!("{:016x}", random()), "scope": "orders:read",
        });
        let object = |value: Value| value.as_object().unwrap().clone();
        Self { header: object(header), claims: object(claims), header_bytes: None, payload_bytes: None }
    }

    /// Sets a claim.
    pub(crate) fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves a claim out.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Sets a header member; `alg` and `kid` are otherwise the signing key's.
    pub(crate) fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves a header member out, `alg` and `kid` too.
    pub(crate) fn without_header(self, name: &str) -> Self {
        // Null marks what must not be filled in; no test wants the JSON null there through this door.
        self.header(name, Value::Null)
    }

    /// These bytes as the header, whatever they are.
    pub(crate) fn raw_header(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.header_bytes = Some(bytes.into());
        self
    }

    /// These bytes as the payload, whatever they are.
    pub(crate) fn raw_payload(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.payload_bytes = Some(bytes.into());
        self
    }

    /// The claims as JSON text with one claim's value as written here: for numbers and texts that no JSON library would write.
    pub(crate) fn claim_text(self, name: &str, text: &str) -> Self {
        let marked = self.claim(name, "\u{1}here\u{1}");
        let marker = serde_json::to_string("\u{1}here\u{1}").unwrap();
        let payload = Value::Object(marked.claims.clone()).to_string().replace(&marker, text);
        marked.raw_payload(payload)
    }

    /// The claims' JSON text with this in front of its first member.
    pub(crate) fn payload_beginning_with(self, members: &str) -> Self {
        let payload = Value::Object(self.claims.clone()).to_string();
        let rest = payload.strip_prefix('{').unwrap();
        let text = format!("{{{members},{rest}");
        self.raw_payload(text)
    }

    /// What is signed: header and payload, encoded.
    pub(crate) fn signing_input(&self, key: &SigningKey) -> String {
        let mut header = self.header.clone();
        header.entry("alg").or_insert_with(|| json!(key.algorithm()));
        header.entry("kid").or_insert_with(|| json!(key.kid()));
        header.retain(|_, value| !value.is_null());
        let header = self.header_bytes.clone().unwrap_or_else(|| Value::Object(header).to_string().into_bytes());
        let payload =
            self.payload_bytes.clone().unwrap_or_else(|| Value::Object(self.claims.clone()).to_string().into_bytes());
        format!("{}.{}", encoded(header), encoded(payload))
    }

    /// The token, signed by this key with the algorithm that the header names.
    pub(crate) fn signed_by(&self, key: &SigningKey) -> String {
        sign_text(
            &self.signing_input(key),
            key,
            self.header.get("alg").and_then(Value::as_str).unwrap_or(key.algorithm()),
        )
    }

    /// The token with these bytes in place of a signature.
    pub(crate) fn with_signature(&self, key: &SigningKey, signature: &[u8]) -> String {
        let token = format!("{}.{}", self.signing_input(key), encoded(signature));
        minted::remember(&token);
        token
    }
}

/// Signs any text as it is: parts that are not base64url, too.
pub(crate) fn sign_text(input: &str, key: &SigningKey, algorithm: &str) -> String {
    let token = format!("{input}.{}", encoded(key.sign(algorithm, input.as_bytes())));
    minted::remember(&token);
    token
}

/// An `Authorization` value.
pub(crate) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::keys::key_set;
    use super::*;
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, jwk::JwkSet};

    fn check(key: &SigningKey, algorithm: &str, verified_as: Algorithm) {
        let token = Token::good().header("alg", algorithm).signed_by(key);
        let mut validation = Validation::new(verified_as);
        validation.set_audience(&[AUDIENCE]);
        let set: JwkSet = serde_json::from_slice(&key_set(&[key.jwk_for(algorithm)])).unwrap();
        let by_jwk = DecodingKey::from_jwk(&set.keys[0]).unwrap();
        assert_eq!(decode::<Value>(&token, &by_jwk, &validation).unwrap().claims["sub"], "u1", "{algorithm}");
        if algorithm.starts_with("HS") {
            return;
        }
        let pem = key.public_pem();
        let by_pem = match &algorithm[..2] {
            "ES" => DecodingKey::from_ec_pem(pem.as_bytes()),
            "Ed" => DecodingKey::from_ed_pem(pem.as_bytes()),
            _ => DecodingKey::from_rsa_pem(pem.as_bytes()),
        };
        assert!(decode::<Value>(&token, &by_pem.unwrap(), &validation).is_ok(), "{algorithm} by PEM");
    }

    #[test]
    fn every_algorithm_signs_what_another_library_verifies() {
        check(&SigningKey::p256("k"), "ES256", Algorithm::ES256);
        check(&SigningKey::p384("k"), "ES384", Algorithm::ES384);
        check(&SigningKey::ed25519("k"), "EdDSA", Algorithm::EdDSA);
        for (name, algorithm) in [
            ("RS256", Algorithm::RS256),
            ("RS384", Algorithm::RS384),
            ("RS512", Algorithm::RS512),
            ("PS256", Algorithm::PS256),
            ("PS384", Algorithm::PS384),
            ("PS512", Algorithm::PS512),
        ] {
            check(&SigningKey::rsa("k"), name, algorithm);
        }
        let secret = SigningKey::secret("k", &[7; 64]);
        check(&secret, "HS256", Algorithm::HS256);
        check(&secret, "HS384", Algorithm::HS384);
        check(&secret, "HS512", Algorithm::HS512);
    }

    #[test]
    fn a_minted_token_is_looked_for_in_all_output() {
        let token = Token::good().signed_by(&SigningKey::p256("k"));
        assert!(minted::leaked_in(&format!("authorization: {}", bearer(&token))).is_some());
        assert!(minted::leaked_in(token.rsplit('.').next().unwrap()).is_some());
    }

    #[test]
    fn raw_claim_texts_stand_in_the_payload_as_written() {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        let key = SigningKey::p256("k");
        let payload = |token: Token| {
            let input = token.signing_input(&key);
            String::from_utf8(URL_SAFE_NO_PAD.decode(input.split('.').nth(1).unwrap()).unwrap()).unwrap()
        };
        assert!(payload(Token::good().claim_text("exp", "1e400")).contains("\"exp\":1e400"));
        assert!(payload(Token::good().payload_beginning_with("\"sub\":\"a\"")).starts_with("{\"sub\":\"a\",\""));
    }
}
