//! A compact JWS (RFC 7515 §7.1) read as strictly as the RFCs allow: three parts, canonical base64url, two JSON
//! objects with distinct names.
//!
//! Nothing here trusts what a token says; the one thing done with it is that `iss` picks among configured issuers.
use std::{borrow::Cow, fmt};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::gate::{
    algorithm::Algorithm,
    json::{Json, Object},
    rejection::{Refusal, Rejection, quoted},
};

/// The three parts of a compact token, the first two decoded.
pub struct Segments<'t> {
    signed_text: &'t str,
    signature_text: &'t str,
    header: Vec<u8>,
    payload: Vec<u8>,
}

impl fmt::Debug for Segments<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the token.
        write!(formatter, "Segments({} and {} bytes)", self.signed_text.len(), self.signature_text.len())
    }
}

impl<'t> Segments<'t> {
    /// Splits and decodes a token that is not longer than the limit.
    ///
    /// # Errors
    /// [`Rejection::TokenMalformed`]: not three parts, or a part that is not canonical base64url: padding, another
    /// alphabet, white space, or unused trailing bits that are not zero (RFC 7515 §2, RFC 4648 §3.5).
    pub fn decode(compact: &'t str) -> Result<Self, Refusal> {
        let (signed_text, signature_text) = compact.rsplit_once('.').ok_or_else(|| malformed("not three parts"))?;
        let (header, payload) = signed_text.split_once('.').ok_or_else(|| malformed("not three parts"))?;
        if payload.contains('.') {
            return Err(malformed("not three parts"));
        }
        if !signature_text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
            return Err(malformed("a signature that is not base64url"));
        }
        Ok(Self {
            signed_text,
            signature_text,
            header: URL_SAFE_NO_PAD.decode(header).map_err(|_| malformed("a header that is not base64url"))?,
            payload: URL_SAFE_NO_PAD.decode(payload).map_err(|_| malformed("a payload that is not base64url"))?,
        })
    }
}

/// A token that was read but not verified: nothing in it is to be believed.
pub struct UnverifiedToken<'s> {
    signed_text: &'s str,
    signature_text: &'s str,
    algorithm: Algorithm,
    kid: Option<Cow<'s, str>>,
    token_type: Option<Cow<'s, str>>,
    understands_all: bool,
    claims: Object<'s>,
}

impl fmt::Debug for UnverifiedToken<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the token nor what it says.
        write!(formatter, "UnverifiedToken({})", self.algorithm)
    }
}

/// Longest `kid` that is looked up; a longer one is malformed.
pub const KID_BYTES_MAX: usize = 1024;

impl<'s> UnverifiedToken<'s> {
    /// Reads header and payload.
    ///
    /// # Errors
    /// In this order: [`Rejection::TokenMalformed`] for JSON that is none, repeated names and header members of a
    /// wrong type; [`Rejection::AlgorithmNotAllowed`] for an `alg` that is not known; [`Rejection::TokenMalformed`]
    /// for an empty signature.
    pub fn parse(segments: &'s Segments<'_>) -> Result<Self, Refusal> {
        let header = Header::parse(&segments.header)?;
        let claims = Object::parse(&segments.payload).map_err(|fault| malformed(format!("payload: {fault}")))?;
        let algorithm = Algorithm::from_name(&header.alg).ok_or_else(|| {
            Refusal::new(Rejection::AlgorithmNotAllowed)
                .because(format!("the unverified header says alg {}", quoted(&header.alg)))
        })?;
        if segments.signature_text.is_empty() {
            return Err(malformed("an empty signature"));
        }
        Ok(Self {
            signed_text: segments.signed_text,
            signature_text: segments.signature_text,
            algorithm,
            kid: header.kid,
            token_type: header.token_type,
            understands_all: header.understands_all,
            claims,
        })
    }

    /// The issuer that the token says it comes from: good for nothing but choosing among configured issuers.
    pub fn claimed_issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Json::as_str)
    }

    /// `alg` of the header.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// `kid` of the header.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// `typ` of the header.
    pub fn token_type(&self) -> Option<&str> {
        self.token_type.as_deref()
    }

    /// Whether the header is free of `crit`, `b64` and `zip`.
    pub const fn understands_all(&self) -> bool {
        self.understands_all
    }

    /// The text that was signed: header and payload as they were sent.
    pub(in crate::gate) const fn signed_text(&self) -> &str {
        self.signed_text
    }

    /// The signature in base64url.
    pub(in crate::gate) const fn signature_text(&self) -> &str {
        self.signature_text
    }

    /// The claims, which nobody vouches for yet: to be shown, never to be believed.
    pub(in crate::gate) const fn claims(&self) -> &Object<'s> {
        &self.claims
    }

    /// The claims, for the one who verified the signature.
    pub(in crate::gate) fn into_claims(self) -> Object<'s> {
        self.claims
    }
}

struct Header<'s> {
    alg: Cow<'s, str>,
    kid: Option<Cow<'s, str>>,
    token_type: Option<Cow<'s, str>>,
    understands_all: bool,
}

impl<'s> Header<'s> {
    fn parse(text: &'s [u8]) -> Result<Self, Refusal> {
        let mut object = Object::parse(text).map_err(|fault| malformed(format!("header: {fault}")))?;
        let alg = string_member(&mut object, "alg")?.ok_or_else(|| malformed("header: no alg"))?;
        let kid = string_member(&mut object, "kid")?;
        if kid.as_ref().is_some_and(|kid| kid.len() > KID_BYTES_MAX) {
            return Err(malformed("header: kid is too long"));
        }
        let token_type = string_member(&mut object, "typ")?;
        // `crit` names what must be understood, and nothing that it could name is; `b64` and `zip` change what the
        // payload is, and are refused with or without `crit` (RFC 7797 §7, RFC 8725bis §3.13).
        let understands_all = ["crit", "b64", "zip"].iter().all(|name| object.get(name).is_none());
        Ok(Self { alg, kid, token_type, understands_all })
    }
}

fn string_member<'s>(object: &mut Object<'s>, name: &str) -> Result<Option<Cow<'s, str>>, Refusal> {
    match object.take(name) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(other) => Err(malformed(format!("header: {name} is {}", other.kind()))),
    }
}

fn malformed(detail: impl Into<Box<str>>) -> Refusal {
    Refusal::new(Rejection::TokenMalformed).because(detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(text: impl AsRef<[u8]>) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    fn read(compact: &str) -> Result<String, Rejection> {
        let read = || {
            let segments = Segments::decode(compact)?;
            let token = UnverifiedToken::parse(&segments)?;
            Ok(format!(
                "{} {:?} {:?} {} {:?}",
                token.algorithm(),
                token.kid(),
                token.token_type(),
                token.understands_all(),
                token.claimed_issuer()
            ))
        };
        read().map_err(|refusal: Refusal| refusal.rejection())
    }

    fn check(header: &str, payload: &str, expected: Result<&str, Rejection>) {
        let compact = format!("{}.{}.c2ln", encode(header), encode(payload));
        assert_eq!(read(&compact).as_deref().map_err(|rejection| *rejection), expected, "{header} {payload}");
    }

    const MALFORMED: Result<&str, Rejection> = Err(Rejection::TokenMalformed);

    #[test]
    fn what_the_header_says_is_read_and_nothing_else() {
        check(r#"{"alg":"ES256"}"#, r#"{"iss":"a"}"#, Ok(r#"ES256 None None true Some("a")"#));
        check(
            r#"{"alg":"RS256","kid":"k\u0031","typ":"JWT","foo":{"a":1},"jku":"http://x","jwk":{}}"#,
            "{}",
            Ok(r#"RS256 Some("k1") Some("JWT") true None"#),
        );
        check(r#"{"alg":"ES256"}"#, r#"{"iss":["a"]}"#, Ok("ES256 None None true None"));
        for header in [r#""crit":["x"]"#, r#""crit":null"#, r#""b64":true"#, r#""zip":"DEF""#, r#""crit":[]"#] {
            check(&format!(r#"{{"alg":"ES256",{header}}}"#), "{}", Ok("ES256 None None false None"));
        }
    }

    #[test]
    fn a_header_of_a_wrong_type_or_with_a_repeated_name_is_malformed() {
        for header in [
            "[]",
            "null",
            "",
            "{}",
            r#"{"alg":1}"#,
            r#"{"alg":null}"#,
            r#"{"alg":"ES256","kid":7}"#,
            r#"{"alg":"ES256","typ":[]}"#,
            r#"{"alg":"ES256","\u0061lg":"none"}"#,
            r#"{"alg":"ES256"}ABCD"#,
            "\u{feff}{\"alg\":\"ES256\"}",
        ] {
            check(header, "{}", MALFORMED);
        }
        check(&format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "k".repeat(KID_BYTES_MAX + 1)), "{}", MALFORMED);
        for payload in ["[]", r#""x""#, "", "{", r#"{"sub":"a","sub":"b"}"#, r#"{"cnf":{"jkt":1,"jkt":2}}"#, "{}{}"] {
            check(r#"{"alg":"ES256"}"#, payload, MALFORMED);
        }
    }

    #[test]
    fn an_algorithm_is_known_before_its_signature_is_missed() {
        for alg in ["none", "None", "noNE", "es256", "ES512", "", "HS256 "] {
            check(&format!(r#"{{"alg":"{alg}"}}"#), "{}", Err(Rejection::AlgorithmNotAllowed));
            let unsigned = format!("{}.{}.", encode(format!(r#"{{"alg":"{alg}"}}"#)), encode("{}"));
            assert_eq!(read(&unsigned), Err(Rejection::AlgorithmNotAllowed), "{alg}");
        }
        let unsigned = format!("{}.{}.", encode(r#"{"alg":"ES256"}"#), encode("{}"));
        assert_eq!(read(&unsigned), Err(Rejection::TokenMalformed));
    }

    #[test]
    fn no_part_of_a_token_is_shown() {
        let (header, payload) = (r#"{"alg":"ES256","kid":"shown"}"#, r#"{"sub":"shown"}"#);
        let compact = format!("{}.{}.c2hvd24", encode(header), encode(payload));
        let segments = Segments::decode(&compact).unwrap();
        let token = UnverifiedToken::parse(&segments).unwrap();
        assert_eq!(format!("{token:?}"), "UnverifiedToken(ES256)");
        assert_eq!(format!("{segments:?}"), format!("Segments({} and 7 bytes)", compact.len() - 8));
    }

    #[test]
    fn three_parts_of_canonical_base64url_are_needed() {
        let header = encode(r#"{"alg":"ES256"}"#);
        let payload = encode(r#"{"iss":"abc"}"#);
        assert!(read(&format!("{header}.{payload}.AA")).is_ok());
        let mut loose = payload.clone();
        assert_eq!(loose.pop(), Some('Q'));
        for compact in [
            String::new(),
            ".".into(),
            "..".into(),
            header.clone(),
            format!("{header}.{payload}"),
            format!("{header}.{payload}.AA.AA"),
            format!("{header}.{payload}.AA.AA.AA"),
            format!("{header}=.{payload}.AA"),
            format!("{header}.{payload}=.AA"),
            format!("{header}.{payload}.AA="),
            format!("{header}.{payload}.A+/A"),
            format!("{header}.{payload}\n.AA"),
            format!(" {header}.{payload}.AA"),
            format!("{header}.?{payload}.AA"),
            format!("{header}.{loose}R.AA"),
            format!("{header}.{payload}A.AA"),
            r#"{"payload":"e30","signatures":[]}"#.into(),
        ] {
            assert_eq!(read(&compact), Err(Rejection::TokenMalformed), "{compact}");
        }
    }

    proptest! {
        #[test]
        fn no_two_texts_are_the_same_token(
            header in prop::collection::vec(any::<u8>(), 0..20), payload in prop::collection::vec(any::<u8>(), 0..20),
            position in any::<prop::sample::Index>(), letter in "[ -~]"
        ) {
            let compact = format!("{}.{}.c2ln", encode(&header), encode(&payload));
            let mut changed = compact.clone().into_bytes();
            let position = position.index(changed.len());
            changed[position] = letter.as_bytes()[0];
            let changed = String::from_utf8(changed).unwrap();
            let segments = Segments::decode(&compact).unwrap();
            prop_assert_eq!((&segments.header, &segments.payload), (&header, &payload));
            if let Ok(other) = Segments::decode(&changed) {
                let is_same = (&other.header, &other.payload, other.signature_text)
                    == (&segments.header, &segments.payload, segments.signature_text);
                prop_assert_eq!(is_same, compact == changed);
            }
        }
    }
}
