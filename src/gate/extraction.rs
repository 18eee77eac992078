//! Verified claims become facts: what the configuration names is checked for its type, taken out and rendered.
//!
//! It never coerces: a claim of the wrong type fails closed (RFC 7519 §4; CVE-2026-25537 is what happens otherwise).
use std::fmt::Display;

use http::HeaderValue;

use crate::gate::{
    assertion,
    claims::{Facts, KnownToken},
    condition::{Conditions, ConditionsMet},
    header_value::{self, Unrenderable},
    issuer::{Audiences, ClaimPath, ClientPlace, Issuer, ScopesPlace},
    json::{Json, Object},
    rejection::{Refusal, Rejection, quoted},
    signature::{VerifiedClaims, VerifiedToken},
    time::UnixTime,
};

/// Where the value of an identity header comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderValueSource {
    /// The subject, as each issuer's configuration places it.
    Subject,
    /// The roles, likewise.
    Roles,
    /// The scopes, likewise.
    Scopes,
    /// The client, likewise.
    Client,
    /// The issuer's name in the configuration.
    Issuer,
    /// A claim.
    Claim(ClaimPath),
}

/// One header by which the services behind the gate learn who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityHeader {
    /// Name as configured, in the case in which it is sent.
    pub name: Box<str>,
    /// Source of its value.
    pub source: HeaderValueSource,
    /// Whether a token without it is refused.
    pub required: bool,
}

/// What a configuration draws from a token besides what its issuer's says.
#[derive(Clone, Copy, Debug)]
pub struct Drawn<'c> {
    /// The identity headers.
    pub headers: &'c [IdentityHeader],
    /// What rules ask of claims.
    pub conditions: &'c Conditions,
    /// Whether assertions are made.
    pub is_asserted: bool,
}

/// Draws from a verified token what `issuer` and the configuration ask for.
pub fn known_token(token: VerifiedToken, claims: &VerifiedClaims<'_>, issuer: &Issuer, drawn: Drawn<'_>) -> KnownToken {
    let claims = claims.object();
    let facts = facts(claims, issuer, drawn).unwrap_or_else(|refusal| faulty(claims, issuer, refusal));
    KnownToken::new(token, facts)
}

fn facts(
    claims: &Object<'_>,
    issuer: &Issuer,
    Drawn { headers, conditions, is_asserted }: Drawn<'_>,
) -> Result<Facts, Refusal> {
    check_presence(claims, issuer)?;
    let expires = time(claims, "exp", Rounding::Down)?.ok_or_else(|| missing("exp"))?;
    let not_before = time(claims, "nbf", Rounding::Up)?;
    let issued_at = time(claims, "iat", Rounding::Up)?;
    if issued_at.is_some_and(|time| time < UnixTime::from_seconds(0)) {
        return Err(invalid("iat is before 1970"));
    }
    let claimed_subject = string(present(claims, "sub"), &"sub")?;
    let identifier = string(present(claims, "jti"), &"jti")?.map(Box::from);
    let audience_fault = audience_fault(claims, issuer)?;
    let subject = text(claims, &issuer.subject)?;
    let other_subject = claimed_subject.filter(|claimed| Some(*claimed) != subject.as_deref()).map(Box::from);
    let client = client(claims, &issuer.client)?;
    let scopes = scopes(claims, &issuer.scopes)?;
    let roles = issuer.roles.as_ref().and_then(|place| roles(claims.at(place.names())?));
    let mut facts = Facts {
        fault: None,
        audience_fault,
        header_fault: None,
        expires,
        not_before,
        issued_at,
        // Only rules that ask for it look at it, so that one of another type is as good as none; earlier is stricter.
        authenticated_at: time(claims, "auth_time", Rounding::Down).ok().flatten(),
        subject,
        other_subject,
        client,
        identifier,
        session: session(claims),
        roles,
        scopes,
        conditions_met: conditions.met_by(claims, issuer),
        headers: Box::default(),
        asserted: Box::default(),
    };
    render_headers(&mut facts, claims, issuer, headers);
    if is_asserted {
        facts.asserted = assertion::members(&facts, claims, issuer, headers);
    }
    Ok(facts)
}

/// Facts of a token whose claims are refused whatever the time: the reason, and a subject for the log.
fn faulty(claims: &Object<'_>, issuer: &Issuer, refusal: Refusal) -> Facts {
    Facts {
        fault: Some(Box::new(refusal)),
        audience_fault: None,
        header_fault: None,
        expires: UnixTime::from_seconds(0),
        not_before: None,
        issued_at: None,
        authenticated_at: None,
        subject: text(claims, &issuer.subject).ok().flatten(),
        other_subject: None,
        client: None,
        identifier: None,
        session: None,
        roles: None,
        scopes: Box::default(),
        conditions_met: ConditionsMet::default(),
        headers: Box::default(),
        asserted: Box::default(),
    }
}

fn check_presence(claims: &Object<'_>, issuer: &Issuer) -> Result<(), Refusal> {
    let is_missing = |name: &str| present(claims, name).is_none();
    let audience = match issuer.audiences {
        Audiences::AnyOf(_) => Some(issuer.audience_claim.as_ref()),
        Audiences::Unchecked => None,
    };
    let lifetime = issuer.max_lifetime.map(|_| "iat");
    let required = issuer.required_claims.iter().map(AsRef::as_ref);
    match ["exp"].into_iter().chain(audience).chain(lifetime).chain(required).find(|name| is_missing(name)) {
        Some(name) => Err(missing(name)),
        None => Ok(()),
    }
}

#[derive(Clone, Copy)]
enum Rounding {
    Down,
    Up,
}

/// A NumericDate: a JSON number, fraction allowed, never a string (RFC 7519 §2). Rounded to the stricter side.
fn time(claims: &Object<'_>, name: &str, rounding: Rounding) -> Result<Option<UnixTime>, Refusal> {
    const LARGEST: i64 = i64::MAX / 1000;
    match claims.get(name) {
        None => Ok(None),
        Some(Json::Integer(seconds)) => {
            let clamped = (*seconds).clamp(i128::from(-LARGEST), i128::from(LARGEST));
            Ok(Some(UnixTime::from_seconds(i64::try_from(clamped).unwrap_or(LARGEST))))
        }
        Some(Json::Float(seconds)) => {
            let milliseconds = match rounding {
                Rounding::Down => (seconds * 1000.0).floor(),
                Rounding::Up => (seconds * 1000.0).ceil(),
            };
            // A cast from a float saturates; what is not a number cannot come out of JSON.
            #[expect(clippy::cast_possible_truncation, reason = "saturates, which keeps far dates far")]
            let milliseconds = milliseconds as i64;
            Ok(Some(UnixTime::from_milliseconds(milliseconds)))
        }
        Some(other) => Err(invalid(format!("{name} is {}, not a number", other.kind()))),
    }
}

/// The claim of this name, where it is not `null`, which counts as absent.
fn present<'c, 't>(claims: &'c Object<'t>, name: &str) -> Option<&'c Json<'t>> {
    claims.get(name).filter(|claim| **claim != Json::Null)
}

/// A string that is not empty.
fn text(claims: &Object<'_>, place: &ClaimPath) -> Result<Option<Box<str>>, Refusal> {
    Ok(string(claims.at(place.names()), place)?.map(Box::from))
}

/// The string of a claim that was found at `place`.
fn string<'c>(claim: Option<&'c Json<'_>>, place: &dyn Display) -> Result<Option<&'c str>, Refusal> {
    match claim {
        None => Ok(None),
        Some(Json::String(text)) if !text.is_empty() => Ok(Some(text)),
        Some(Json::String(_)) => Err(invalid(format!("{place} is an empty string"))),
        Some(other) => Err(invalid(format!("{place} is {}, not a string", other.kind()))),
    }
}

/// Nothing when the audience is accepted, else why it is not (RFC 7519 §4.1.3).
fn audience_fault(claims: &Object<'_>, issuer: &Issuer) -> Result<Option<Box<str>>, Refusal> {
    let name = issuer.audience_claim.as_ref();
    let Some(claim) = present(claims, name) else { return Ok(None) };
    let named: Vec<&str> = match claim {
        Json::String(text) => vec![text],
        Json::List(elements) => elements
            .iter()
            .map(|element| element.as_str().ok_or_else(|| invalid(format!("{name} holds {}", element.kind()))))
            .collect::<Result<_, _>>()?,
        Json::Null | Json::Bool(_) | Json::Integer(_) | Json::Float(_) | Json::Object(_) => {
            return Err(invalid(format!("{name} is {}", claim.kind())));
        }
    };
    let Audiences::AnyOf(accepted) = &issuer.audiences else { return Ok(None) };
    if named.iter().any(|audience| accepted.iter().any(|accepted| accepted.as_ref() == *audience)) {
        return Ok(None);
    }
    let found: Vec<String> = named.iter().take(4).map(|audience| quoted(audience)).collect();
    Ok(Some(format!("expected one of {}; {name} is [{}]", accepted.join(", "), found.join(", ")).into()))
}

/// The session, as revocations name it. Some issuers number their sessions; what is neither text nor number is named by
/// no revocation.
fn session(claims: &Object<'_>) -> Option<Box<str>> {
    match claims.get("sid")? {
        Json::String(text) => Some(Box::from(text.as_ref())),
        Json::Integer(number) => Some(number.to_string().into()),
        Json::Null | Json::Bool(_) | Json::Float(_) | Json::List(_) | Json::Object(_) => None,
    }
}

fn client(claims: &Object<'_>, place: &ClientPlace) -> Result<Option<Box<str>>, Refusal> {
    match place {
        ClientPlace::Claim(place) => text(claims, place),
        ClientPlace::Usual => match string(present(claims, "client_id"), &"client_id")? {
            Some(client) => Ok(Some(Box::from(client))),
            None => Ok(string(present(claims, "azp"), &"azp")?.map(Box::from)),
        },
    }
}

fn scopes(claims: &Object<'_>, place: &ScopesPlace) -> Result<Box<[Box<str>]>, Refusal> {
    let claim = match place {
        ScopesPlace::Claim(place) => return names(claims.at(place.names()), &place.to_string()),
        // RFC 8693 §4.2: a string with spaces and nothing else.
        ScopesPlace::Usual => present(claims, "scope"),
    };
    match claim {
        None => names(present(claims, "scp"), "scp"),
        Some(Json::String(_)) => names(claim, "scope"),
        Some(other) => Err(invalid(format!("scope is {}, not a string", other.kind()))),
    }
}

/// The names in an array of strings, or in a string with spaces.
fn names(claim: Option<&Json<'_>>, place: &str) -> Result<Box<[Box<str>]>, Refusal> {
    match claim {
        None => Ok(Box::default()),
        Some(Json::String(text)) => Ok(text.split(' ').filter(|name| !name.is_empty()).map(Box::from).collect()),
        Some(Json::List(elements)) => elements
            .iter()
            .map(|element| {
                let name = element.as_str().filter(|name| !name.is_empty());
                name.map(Box::from).ok_or_else(|| invalid(format!("{place} holds something that is no name")))
            })
            .collect(),
        Some(other) => Err(invalid(format!("{place} is {}", other.kind()))),
    }
}

/// An array of strings, or of SCIM objects with a string `value` (RFC 9068 §2.2.3.1, RFC 7643 §4.1.2). Anything else
/// grants no role at all.
fn roles(claim: &Json<'_>) -> Option<Box<[Box<str>]>> {
    let Json::List(elements) = claim else { return None };
    elements
        .iter()
        .map(|element| match element {
            Json::String(name) => Some(Box::from(name.as_ref())),
            Json::Object(object) => object.get("value").and_then(Json::as_str).map(Box::from),
            Json::Null | Json::Bool(_) | Json::Integer(_) | Json::Float(_) | Json::List(_) => None,
        })
        .collect()
}

fn render_headers(facts: &mut Facts, claims: &Object<'_>, issuer: &Issuer, headers: &[IdentityHeader]) {
    let mut rendered = Vec::with_capacity(headers.len());
    for (position, header) in (0_u16..).zip(headers) {
        match header_value(facts, claims, issuer, &header.source) {
            Ok(Some(value)) => rendered.push((position, value)),
            Ok(None) if header.required => note_fault(facts, &header.name, "the token has no value for it"),
            Ok(None) => {}
            // Never leave out silently what the service behind would have been told.
            Err(Unrenderable) => note_fault(facts, &header.name, "its value is too long or not exact"),
        }
    }
    facts.headers = rendered.into();
}

fn header_value(
    facts: &Facts,
    claims: &Object<'_>,
    issuer: &Issuer,
    source: &HeaderValueSource,
) -> Result<Option<HeaderValue>, Unrenderable> {
    let text = |text: Option<&str>| text.map_or(Ok(None), header_value::render_text);
    match source {
        HeaderValueSource::Subject => text(facts.subject.as_deref()),
        HeaderValueSource::Client => text(facts.client.as_deref()),
        HeaderValueSource::Issuer => text(Some(&issuer.name)),
        HeaderValueSource::Roles => header_value::render_list(facts.roles.as_deref().unwrap_or_default()),
        HeaderValueSource::Scopes => header_value::render_list(&facts.scopes),
        HeaderValueSource::Claim(place) => claims.at(place.names()).map_or(Ok(None), header_value::render),
    }
}

fn note_fault(facts: &mut Facts, header: &str, fault: &str) {
    if facts.header_fault.is_none() {
        facts.header_fault = Some(format!("header {header}: {fault}").into());
    }
}

fn missing(name: &str) -> Refusal {
    Refusal::new(Rejection::ClaimMissing).because(format!("no {name}"))
}

fn invalid(detail: impl Into<Box<str>>) -> Refusal {
    Refusal::new(Rejection::ClaimInvalid).because(detail)
}
