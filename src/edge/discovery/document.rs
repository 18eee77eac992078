//! Reads the metadata of an issuer (RFC 8414 §2, OpenID Connect Discovery 1.0 §3): strict where trust hangs on it, lenient
//! in what is only told to people. Pure; it fetches nothing and keeps no document that speaks for another issuer.
use std::fmt;

use crate::edge::discovery::well_known::{self, UrlFault};
use crate::gate::json::{Json, Object};
use crate::gate::rejection::quoted;

/// The most entries of a list that are kept, and the longest of them.
const LIST_ENTRIES_MAX: usize = 64;
const LIST_ENTRY_BYTES_MAX: usize = 128;

/// For whom a document must speak.
#[derive(Debug, Clone, Copy)]
pub enum Expected<'a> {
    /// This issuer, byte for byte (RFC 8414 §3.3).
    Issuer(&'a str),
    /// The issuer whose metadata has its place at this URL.
    IssuerOf(&'a str),
}

/// What an issuer says of itself, apart from where its keys are. Nothing here decides anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The `issuer`: an http(s) URL without query of at most 2048 bytes.
    pub issuer: String,
    /// `id_token_signing_alg_values_supported`, at most 64 of at most 128 bytes of visible ASCII, as all lists here. Empty
    /// when there is none.
    pub signing_algorithms: Vec<String>,
    /// `token_endpoint`, when it is a URL that might be fetched.
    pub token_endpoint: Option<String>,
    /// `scopes_supported`.
    pub scopes: Vec<String>,
    /// `claims_supported`.
    pub claims: Vec<String>,
}

/// Why a document is not used. Of the document, at most the issuer is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DocumentFault {
    /// It is no JSON object without repeated members; why.
    NotAnObject(&'static str),
    /// There is no `issuer`, or none that is a string.
    IssuerMissing,
    /// It speaks for another issuer than the configured one.
    IssuerDiffers {
        /// The configured one, in quotes, escaped and cut.
        expected: String,
        /// The document's, likewise.
        found: String,
        /// Whether they are the same but for a final slash.
        only_by_slash: bool,
    },
    /// It speaks for an issuer whose metadata would be elsewhere; which, in quotes, escaped and cut.
    IssuerElsewhere(String),
    /// There is no `jwks_uri`, or none that is a string.
    JwksUriMissing,
    /// Its `jwks_uri` may not be fetched.
    JwksUriUnusable(UrlFault),
}

impl fmt::Display for DocumentFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnObject(reason) => write!(formatter, "the metadata cannot be read: {reason}"),
            Self::IssuerMissing => formatter.write_str("the metadata names no issuer"),
            Self::IssuerDiffers { expected, found, only_by_slash } => {
                write!(formatter, "the metadata is of issuer {found}, and {expected} is configured")?;
                formatter.write_str(if *only_by_slash { ": the final slash counts" } else { "" })
            }
            Self::IssuerElsewhere(found) => {
                write!(formatter, "the metadata is of issuer {found}, whose metadata has its place elsewhere")
            }
            Self::JwksUriMissing => formatter.write_str("the metadata has no jwks_uri"),
            Self::JwksUriUnusable(fault) => write!(formatter, "the metadata's jwks_uri cannot be used: {fault}"),
        }
    }
}

impl std::error::Error for DocumentFault {}

/// Reads a document: where the keys are, and the rest.
///
/// # Errors
/// A [`DocumentFault`]: it is not one JSON object, speaks for somebody else, or names no usable place of keys.
pub fn parse(text: &[u8], expected: Expected<'_>, insecure_http: bool) -> Result<(String, Metadata), DocumentFault> {
    let document = Object::parse(text).map_err(DocumentFault::NotAnObject)?;
    let string = |name: &str| document.get(name).and_then(Json::as_str);
    let issuer = string("issuer").ok_or(DocumentFault::IssuerMissing)?;
    check_issuer(issuer, expected, insecure_http)?;
    let jwks_uri = string("jwks_uri").ok_or(DocumentFault::JwksUriMissing)?;
    well_known::check(jwks_uri, insecure_http).map_err(DocumentFault::JwksUriUnusable)?;
    let token_endpoint = string("token_endpoint").filter(|url| well_known::check(url, insecure_http).is_ok());
    let metadata = Metadata {
        issuer: issuer.to_owned(),
        signing_algorithms: list(&document, "id_token_signing_alg_values_supported"),
        token_endpoint: token_endpoint.map(str::to_owned),
        scopes: list(&document, "scopes_supported"),
        claims: list(&document, "claims_supported"),
    };
    Ok((jwks_uri.to_owned(), metadata))
}

fn check_issuer(found: &str, expected: Expected<'_>, insecure_http: bool) -> Result<(), DocumentFault> {
    match expected {
        Expected::Issuer(issuer) if found == issuer => Ok(()),
        Expected::Issuer(issuer) => {
            let without_slash = |text| str::strip_suffix(text, "/").unwrap_or(text);
            Err(DocumentFault::IssuerDiffers {
                expected: quoted(issuer),
                found: quoted(found),
                only_by_slash: without_slash(issuer) == without_slash(found),
            })
        }
        Expected::IssuerOf(url)
            if well_known::check_issuer(found, insecure_http).is_ok() && well_known::is_metadata_of(found, url) =>
        {
            Ok(())
        }
        Expected::IssuerOf(_) => Err(DocumentFault::IssuerElsewhere(quoted(found))),
    }
}

/// The strings of a list that may be shown; what is no such string is left out.
fn list(document: &Object<'_>, name: &str) -> Vec<String> {
    let Some(Json::List(entries)) = document.get(name) else { return Vec::new() };
    let is_shown = |text: &&str| {
        (1..=LIST_ENTRY_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    entries.iter().filter_map(Json::as_str).filter(is_shown).take(LIST_ENTRIES_MAX).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ISSUER: &str = "https://auth.example.com/t1";
    const AT: &str = "https://auth.example.com/t1/.well-known/openid-configuration";

    fn parsed(text: &str) -> Result<(String, Metadata), DocumentFault> {
        parse(text.as_bytes(), Expected::Issuer(ISSUER), false)
    }

    /// A document of this `issuer` and `jwks_uri`, each as JSON.
    fn document(issuer: &str, jwks_uri: &str) -> String {
        format!(r#"{{"issuer":{issuer},"jwks_uri":{jwks_uri}}}"#)
    }

    #[test]
    fn a_document_says_where_the_keys_are_and_what_the_issuer_can_do() {
        let (jwks_uri, metadata) = parsed(
            r#"{"issuer":"https://auth.example.com/t1","jwks_uri":"https:\/\/keys.example.net/certs?x=y",
                "token_endpoint":"https://auth.example.com/token","scopes_supported":["openid","a b","",7,"roles"],
                "id_token_signing_alg_values_supported":["RS256","ES256"],"claims_supported":["sub","\u00e4","aud"],
                "other":{"issuer":"https://evil.test"}}"#,
        )
        .unwrap();
        // Another host is no fault: some issuers keep their keys elsewhere.
        assert_eq!(jwks_uri, "https://keys.example.net/certs?x=y");
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let expected = Metadata {
            issuer: ISSUER.to_owned(),
            signing_algorithms: texts(&["RS256", "ES256"]),
            token_endpoint: Some("https://auth.example.com/token".to_owned()),
            scopes: texts(&["openid", "roles"]),
            claims: texts(&["sub", "aud"]),
        };
        assert_eq!(metadata, expected);
    }

    #[test]
    fn what_is_only_told_is_optional_and_bounded() {
        let many = vec![r#""x""#; 1_000].join(",");
        let long = "x".repeat(129);
        let (_, metadata) = parsed(&format!(
            r#"{{"issuer":"{ISSUER}","jwks_uri":"https://a.test","token_endpoint":"http://a.test","scopes_supported":"openid",
                "claims_supported":[{many}],"id_token_signing_alg_values_supported":["{long}",null]}}"#
        ))
        .unwrap();
        assert_eq!((metadata.claims.len(), metadata.token_endpoint), (64, None));
        assert!(metadata.scopes.is_empty() && metadata.signing_algorithms.is_empty());
    }

    #[test]
    fn the_whole_document_is_discarded_when_it_speaks_for_another_issuer() {
        let keys = r#""https://auth.example.com/keys""#;
        let rows = [
            ("https://auth.example.com/t1/", true),
            ("https://auth.example.com/t2", false),
            ("https://AUTH.example.com/t1", false),
            ("https://auth.example.com:443/t1", false),
            ("http://auth.example.com/t1", false),
            ("", false),
        ];
        for (issuer, only_by_slash) in rows {
            let fault = parsed(&document(&quoted(issuer), keys)).unwrap_err();
            let found = quoted(issuer);
            assert_eq!(fault, DocumentFault::IssuerDiffers { expected: quoted(ISSUER), found, only_by_slash });
        }
        let fault = parsed(&document(r#""https://evil.test/\n\u001b[31m""#, keys)).unwrap_err();
        let said = r#"the metadata is of issuer "https://evil.test/\n\u{1b}[31m", and "https://auth.example.com/t1" is configured"#;
        assert_eq!(fault.to_string(), said);
        let fault = parsed(&document(&format!("\"{}\"", "x".repeat(10_000)), keys)).unwrap_err();
        assert!(fault.to_string().len() < 300, "{fault}");
    }

    #[test]
    fn a_document_without_what_trust_hangs_on_is_discarded() {
        let repeated = DocumentFault::NotAnObject("a member name occurs twice");
        let issuer = quoted(ISSUER);
        let keys = r#""https://auth.example.com/keys""#;
        let rows = [
            (String::new(), DocumentFault::NotAnObject("not JSON")),
            ("<html>SECRET-BODY".to_owned(), DocumentFault::NotAnObject("not JSON")),
            ("[]".to_owned(), DocumentFault::NotAnObject("not a JSON object")),
            ("{}".to_owned(), DocumentFault::IssuerMissing),
            (format!(r#"{{"issuer":{issuer},"issuer":{issuer},"jwks_uri":{keys}}}"#), repeated.clone()),
            (format!(r#"{{"issuer":{issuer},"jwks_uri":{keys},"jwks\u005furi":{keys}}}"#), repeated.clone()),
            (format!(r#"{{"issuer":{issuer},"jwks_uri":{keys},"x":{{"a":1,"a":1}}}}"#), repeated),
            (document("7", keys), DocumentFault::IssuerMissing),
            (document(&format!("[{issuer}]"), keys), DocumentFault::IssuerMissing),
            (format!(r#"{{"issuer":{issuer}}}"#), DocumentFault::JwksUriMissing),
            (document(&issuer, "null"), DocumentFault::JwksUriMissing),
            (document(&issuer, r#"{"keys":[]}"#), DocumentFault::JwksUriMissing),
            (
                document(&issuer, r#""http://auth.example.com/keys""#),
                DocumentFault::JwksUriUnusable(UrlFault::PlainHttp),
            ),
            (document(&issuer, r#""https://u:p@a.test/""#), DocumentFault::JwksUriUnusable(UrlFault::User)),
            (document(&issuer, r#""https://a.test/#k""#), DocumentFault::JwksUriUnusable(UrlFault::Fragment)),
            (document(&issuer, r#""/keys""#), DocumentFault::JwksUriUnusable(UrlFault::NotAUrl)),
        ];
        for (text, expected) in rows {
            let fault = parsed(&text).unwrap_err();
            assert_eq!(fault, expected, "{text}");
            assert!(!fault.to_string().contains("SECRET-BODY"), "{fault}");
        }
        let local = document(&issuer, r#""http://localhost:8080/keys""#);
        assert!(parse(local.as_bytes(), Expected::Issuer(ISSUER), true).is_ok());
    }

    #[test]
    fn without_a_configured_issuer_the_documents_own_must_fit_its_place() {
        let keys = r#""https://auth.example.com/keys""#;
        let rows = [
            (ISSUER, true),
            ("https://auth.example.com/t1/", true),
            ("https://auth.example.com/t1//", false),
            ("https://auth.example.com", false),
            ("https://evil.test/t1", false),
            ("http://auth.example.com/t1", false),
            ("", false),
        ];
        for (issuer, fits) in rows {
            let found = parse(document(&quoted(issuer), keys).as_bytes(), Expected::IssuerOf(AT), false);
            let expected =
                if fits { Ok(issuer.to_owned()) } else { Err(DocumentFault::IssuerElsewhere(quoted(issuer))) };
            assert_eq!(found.map(|(_, metadata)| metadata.issuer), expected, "{issuer}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes, Expected::Issuer(ISSUER), true);
        }

        #[test]
        fn a_document_is_used_exactly_when_it_speaks_for_the_issuer_and_its_keys_may_be_fetched(
            issuer in prop_oneof![Just(ISSUER.to_owned()), "https://auth.example.com/t1[/ ]?", ".{0,40}"],
            jwks_uri in prop_oneof!["https?://[a-z@#:.]{1,12}/[a-z]?", ".{0,40}"],
            at in prop_oneof![Just(AT.to_owned()), ".{0,40}"],
        ) {
            let text = serde_json::json!({"issuer": issuer, "jwks_uri": jwks_uri, "scopes_supported": [at]}).to_string();
            let may_be_fetched = well_known::check(&jwks_uri, false).is_ok();
            prop_assert_eq!(parsed(&text).is_ok(), issuer == ISSUER && may_be_fetched);
            let found = parse(text.as_bytes(), Expected::IssuerOf(&at), false);
            prop_assert!(found.is_err() || at == AT && issuer.starts_with(ISSUER));
        }
    }
}
