//! A sample token: taken apart as strictly as the gate does it, checked against the issuer's published keys, and never shown.
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    cli::{
        CommandError,
        init::findings::{self, Audience, Findings},
        token::inspect,
    },
    gate::{
        algorithm::{Algorithm, KeyType},
        issuer::{IssuerId, TokenTypes},
        json::{Json, Object},
        keys::KeySet,
        rejection::{Rejection, quoted},
        signature,
        time::UnixTime,
        token::{Segments, UnverifiedToken},
    },
};

/// What was learned from a sample.
#[derive(Debug)]
pub(super) struct Sample {
    /// What its claims show.
    pub(super) findings: Findings,
    /// `typ` of its header.
    pub(super) token_type: TokenType,
    /// The algorithm that it is signed with, when a key of the issuer proved it.
    pub(super) proven_by: Option<Algorithm>,
    /// What people should know, a sentence each. No part of the token stands in it.
    pub(super) warnings: Vec<String>,
    /// When it ended, where it has expired.
    pub(super) expired_at: Option<UnixTime>,
}

/// What the header's `typ` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TokenType {
    /// Nothing, or `JWT`: ID tokens say the same.
    Plain,
    /// `at+jwt`: an access token and nothing else (RFC 9068 §2.1).
    AccessToken,
    /// A type that has to be allowed by its name.
    Other(String),
}

/// Reads the text of a file that should hold a token of `issuer`, whose published keys are `keys`.
///
/// # Errors
/// [`CommandError::Failed`] where it is no JWT, another issuer's, or not signed by these keys. The text is not shown.
pub(super) fn read(text: &str, issuer: &str, keys: &KeySet, now: UnixTime) -> Result<Sample, CommandError> {
    let token = inspect::without_scheme(text);
    check_form(token)?;
    let malformed = |detail: &str| CommandError::Failed(format!("the sample is not a JWT: {detail}"));
    let segments =
        Segments::decode(token).map_err(|refusal| malformed(refusal.detail().unwrap_or("it is malformed")))?;
    let payload = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok()).unwrap_or_default();
    let claims = Object::parse(&payload).map_err(|fault| malformed(&format!("its payload is {fault}")))?;
    check_issuer(claims.get("iss").and_then(Json::as_str), issuer)?;
    let unverified = UnverifiedToken::parse(&segments)
        .map_err(|refusal| CommandError::Failed(format!("the sample cannot be used: {}", said(refusal.detail()))))?;
    let token_type = token_type(unverified.token_type())?;
    let mut warnings = Vec::new();
    let proven_by = prove(unverified, keys, &mut warnings)?;
    let findings = findings::find(&claims);
    warnings.extend(told(&findings, &token_type));
    let expired_at = expiry(&claims).filter(|expiry| *expiry <= now);
    Ok(Sample { findings, token_type, proven_by, warnings, expired_at })
}

/// `exp` in whole seconds, which is enough to say whether it is over.
fn expiry(claims: &Object<'_>) -> Option<UnixTime> {
    let seconds = match claims.get("exp") {
        Some(Json::Integer(seconds)) => i64::try_from(*seconds).ok()?,
        #[expect(clippy::cast_possible_truncation, reason = "saturates, which keeps far dates far")]
        Some(Json::Float(seconds)) => *seconds as i64,
        Some(Json::Null | Json::Bool(_) | Json::String(_) | Json::List(_) | Json::Object(_)) | None => return None,
    };
    Some(UnixTime::from_seconds(seconds))
}

fn said(detail: Option<&str>) -> &str {
    detail.unwrap_or("it is malformed")
}

/// What is no token, or none that can be verified, gets an answer of its own.
fn check_form(token: &str) -> Result<(), CommandError> {
    let failed = |text: &str| Err(CommandError::Failed(text.to_owned()));
    if token.is_empty() {
        return failed("the sample is empty");
    }
    if token.starts_with('{') {
        return failed("the sample is JSON: give the value of its `access_token` alone, as the API would be sent it");
    }
    match token.split('.').count() {
        1 => failed(
            "the sample is no JWT but an opaque token: its issuer alone can say what it means, so no gateway can verify \
             it. Ask the provider for access tokens that are JWTs for your own service: in Auth0 send `audience`, in \
             Okta use a custom authorization server, in Microsoft Entra ID ask for a scope of your own API",
        ),
        5 => failed(
            "the sample is encrypted (a JWE of five parts): only who has the key can read it. Ask the provider for signed \
             access tokens; Auth0 sends this kind when no `audience` is asked for",
        ),
        _ => Ok(()),
    }
}

fn check_issuer(found: Option<&str>, issuer: &str) -> Result<(), CommandError> {
    let Some(found) = found else {
        return Err(CommandError::Failed("the sample has no `iss`: nothing says who signed it".to_owned()));
    };
    if found == issuer {
        return Ok(());
    }
    let without_slash = |text| str::strip_suffix(text, "/").unwrap_or(text);
    let hint = if without_slash(found) == without_slash(issuer) {
        "; the final slash counts"
    } else if found.starts_with("https://sts.windows.net/") && issuer.starts_with("https://login.microsoftonline.com/")
    {
        "; it is a version 1 token of Microsoft Entra ID: set `requestedAccessTokenVersion` of your API to 2, or see \
         docs/providers.md"
    } else {
        ""
    };
    let (found, issuer) = (quoted(found), quoted(issuer));
    Err(CommandError::Failed(format!("the sample is a token of {found}, and the metadata is of {issuer}{hint}")))
}

fn token_type(typ: Option<&str>) -> Result<TokenType, CommandError> {
    let is = |name: &str| TokenTypes::new([name], true).check(typ).is_ok();
    match typ {
        None => Ok(TokenType::Plain),
        Some("") => Err(CommandError::Failed(
            "the header of the sample has an empty `typ`, which no configuration can allow".to_owned(),
        )),
        Some(_) if is("JWT") => Ok(TokenType::Plain),
        Some(_) if is("at+jwt") => Ok(TokenType::AccessToken),
        Some(_) if is("okta-internal-at+jwt") => Err(CommandError::Failed(
            "the sample is of Okta's org authorization server, whose access tokens are for Okta alone: ask for one of a \
             custom authorization server (https://YOUR-ORG.okta.com/oauth2/default)"
                .to_owned(),
        )),
        Some(other) => Ok(TokenType::Other(other.to_owned())),
    }
}

/// The algorithm by which a key of the set proves the token; nothing, with a warning, where its key is not in the set.
fn prove(
    token: UnverifiedToken<'_>,
    keys: &KeySet,
    warnings: &mut Vec<String>,
) -> Result<Option<Algorithm>, CommandError> {
    let algorithm = token.algorithm();
    if algorithm.key_type() == KeyType::Secret {
        return Err(CommandError::Failed(format!(
            "the sample is signed with a shared secret ({algorithm}), which no published key can verify: have the \
             provider sign access tokens with RS256 or ES256 (a refresh token may look like this too)"
        )));
    }
    match signature::verify(token, IssuerId(0), keys) {
        Ok((verified, _)) => Ok(Some(verified.algorithm())),
        Err(refusal) if refusal.rejection() == Rejection::KeyUnknown => {
            warnings.push(format!(
                "the signature of the sample was NOT verified: its key is not among the issuer's ({}). Keys of an old \
                 token may be gone; try a fresh one",
                said(refusal.detail())
            ));
            Ok(None)
        }
        Err(refusal) => Err(CommandError::Failed(format!(
            "the signature of the sample does not verify with the issuer's keys ({}), so portcullis would refuse it: is it \
             copied whole? Access tokens for the provider's own services (Microsoft Graph, Okta) never verify",
            said(refusal.detail())
        ))),
    }
}

fn told(findings: &Findings, token_type: &TokenType) -> Vec<String> {
    let mut told = Vec::new();
    if let Some(what) = findings.not_for_services {
        told.push(format!(
            "the sample looks like {what}. It tells a client who has signed in and is not for services: take an access token"
        ));
    }
    if let TokenType::Other(name) = token_type {
        let name = quoted(name);
        told.push(format!(
            "the header of the sample has `typ` {name}: is it an access token? Only that type is allowed now"
        ));
    }
    if let Audience::Client(_) = findings.audience {
        told.push(
            "the sample has no `aud`, so `client_id` is compared: any token of that client passes, whatever it is for"
                .to_owned(),
        );
    }
    told
}
