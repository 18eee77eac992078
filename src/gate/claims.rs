//! Facts about a verified token, and the judgement of time: the one maker of an [`Identity`].
//!
//! Facts depend on token and configuration only, so they are derived once and remembered. What depends on the time is
//! judged here on every request, remembered or not.
use std::{sync::Arc, time::Duration};

use http::HeaderValue;

use crate::gate::{
    condition::ConditionsMet,
    issuer::{Issuer, REMAINING_LIFETIME_MAX},
    rejection::{Refusal, Rejection},
    revocation::{RevocationField, TokenTraits},
    signature::VerifiedToken,
    time::UnixTime,
};

/// What the installed configuration needs to know about one token.
#[derive(Debug)]
pub struct Facts {
    /// The first claim that is missing or invalid, in the order of the contract; nothing else counts then.
    pub(in crate::gate) fault: Option<Box<Refusal>>,
    /// Why the audience is not accepted.
    pub(in crate::gate) audience_fault: Option<Box<str>>,
    /// Why an identity header that must be there is not.
    pub(in crate::gate) header_fault: Option<Box<str>>,
    pub(in crate::gate) expires: UnixTime,
    pub(in crate::gate) not_before: Option<UnixTime>,
    pub(in crate::gate) issued_at: Option<UnixTime>,
    /// `auth_time`, when the user authenticated; nothing when it is no number.
    pub(in crate::gate) authenticated_at: Option<UnixTime>,
    pub(in crate::gate) subject: Option<Box<str>>,
    /// The claim `sub`, where it is not the subject.
    pub(in crate::gate) other_subject: Option<Box<str>>,
    pub(in crate::gate) client: Option<Box<str>>,
    /// The claim `jti`.
    pub(in crate::gate) identifier: Option<Box<str>>,
    /// The claim `sid`.
    pub(in crate::gate) session: Option<Box<str>>,
    /// Nothing when the claim is absent or not a list of names: no role is held then.
    pub(in crate::gate) roles: Option<Box<[Box<str>]>>,
    pub(in crate::gate) scopes: Box<[Box<str>]>,
    /// What rules ask of claims.
    pub(in crate::gate) conditions_met: ConditionsMet,
    /// Position among the configured identity headers, and the rendered value.
    pub(in crate::gate) headers: Box<[(u16, HeaderValue)]>,
    /// What an assertion says of it, see [`crate::gate::assertion`]; empty without assertions.
    pub(in crate::gate) asserted: Box<str>,
}

/// A token whose signature was verified, with the facts that one configuration drew from it.
#[derive(Debug)]
pub struct KnownToken {
    token: VerifiedToken,
    facts: Facts,
}

/// Whose request it is: a known token that is valid now.
#[derive(Clone, Debug)]
pub struct Identity {
    known: Arc<KnownToken>,
}

impl KnownToken {
    pub(in crate::gate) const fn new(token: VerifiedToken, facts: Facts) -> Self {
        Self { token, facts }
    }

    /// The proof.
    pub const fn token(&self) -> &VerifiedToken {
        &self.token
    }

    /// The subject as the token names it, for the log; the token may be refused all the same.
    pub fn subject(&self) -> Option<&str> {
        self.facts.subject.as_deref()
    }

    pub(in crate::gate) const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Whether its claims are of no use, so that nothing was taken out of them.
    pub const fn is_faulty(&self) -> bool {
        self.facts.fault.is_some()
    }

    /// What revocations are compared with; `issuer` is the issuer's name.
    pub fn traits<'t>(&'t self, issuer: &'t str) -> TokenTraits<'t> {
        let facts = &self.facts;
        TokenTraits {
            texts: RevocationField::ALL.map(|field| match field {
                RevocationField::Issuer => Some(issuer),
                RevocationField::Jti => facts.identifier.as_deref(),
                RevocationField::Sub => facts.subject.as_deref(),
                RevocationField::Sid => facts.session.as_deref(),
                RevocationField::Kid => self.token.kid(),
                RevocationField::Client => facts.client.as_deref(),
            }),
            other_subject: facts.other_subject.as_deref(),
            issued_at: facts.issued_at,
        }
    }

    /// Bytes that the token keeps in memory, allocations included, for the bound of a cache.
    pub fn bytes(&self) -> usize {
        let facts = &self.facts;
        let text = |text: &Option<Box<str>>| text.as_deref().map_or(0, str::len);
        let list = |list: &[Box<str>]| list.iter().map(|element| size_of::<Box<str>>() + element.len()).sum::<usize>();
        let fault = facts.fault.as_deref();
        size_of::<Self>()
            + fault.map_or(0, |fault| size_of_val(fault) + fault.detail().map_or(0, str::len))
            + text(&facts.audience_fault)
            + text(&facts.header_fault)
            + text(&facts.subject)
            + text(&facts.other_subject)
            + text(&facts.client)
            + text(&facts.identifier)
            + text(&facts.session)
            + self.token.own_kid_bytes()
            + facts.roles.as_deref().map_or(0, list)
            + list(&facts.scopes)
            + facts.conditions_met.bytes()
            + facts.asserted.len()
            + facts
                .headers
                .iter()
                // A value is reference-counted bytes: its own allocation besides its place in the list.
                .map(|header| size_of_val(header) + header.1.len() + 32)
                .sum::<usize>()
    }
}

/// Judges a known token: claims, what its issuer requires, then time, then audience.
///
/// Valid while `now < exp + leeway`, `now >= nbf - leeway` and `now >= iat - leeway` (RFC 7519 §4.1.4-§4.1.6).
///
/// # Errors
/// In this order: [`Rejection::ClaimMissing`], [`Rejection::ClaimInvalid`], [`Rejection::TokenExpired`],
/// [`Rejection::TokenNotYetValid`], [`Rejection::LifetimeExceeded`], [`Rejection::AudienceMismatch`].
pub fn identify(known: &Arc<KnownToken>, issuer: &Issuer, now: UnixTime) -> Result<Identity, Refusal> {
    for check in ClaimCheck::ALL {
        check.judge(known, issuer, now)?;
    }
    Ok(Identity { known: Arc::clone(known) })
}

/// One thing that is asked of a known token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimCheck {
    /// The claims that must be there are, and each is of its type.
    Claims,
    /// What the issuer requires of all its tokens.
    Requirement,
    /// `exp`.
    Expiry,
    /// `nbf`.
    NotBefore,
    /// `iat`.
    IssuedAt,
    /// How long it lives.
    Lifetime,
    /// The audience.
    Audience,
}

impl ClaimCheck {
    /// Every check, in the order in which they are made.
    pub const ALL: [Self; 7] = [
        Self::Claims,
        Self::Requirement,
        Self::Expiry,
        Self::NotBefore,
        Self::IssuedAt,
        Self::Lifetime,
        Self::Audience,
    ];

    /// Makes the check.
    ///
    /// # Errors
    /// The refusal that follows.
    pub fn judge(self, known: &KnownToken, issuer: &Issuer, now: UnixTime) -> Result<(), Refusal> {
        let facts = &known.facts;
        match self {
            Self::Claims => facts.fault.as_deref().map_or(Ok(()), |fault| Err(fault.clone())),
            // What an issuer's tokens must have makes them invalid, whatever it is that they lack.
            Self::Requirement => issuer
                .requirement
                .check_facts(facts, issuer.leeway, now)
                .map_err(|refusal| Refusal::new(Rejection::ClaimInvalid).because(refusal.detail().unwrap_or_default())),
            Self::Expiry => check_expiry(known, issuer, now),
            Self::NotBefore => check_begun("nbf", facts.not_before, issuer, now),
            Self::IssuedAt => check_begun("iat", facts.issued_at, issuer, now),
            Self::Lifetime => check_lifetime(facts, issuer, now),
            Self::Audience => match &facts.audience_fault {
                Some(detail) => Err(Refusal::new(Rejection::AudienceMismatch).because(detail.clone())),
                None => Ok(()),
            },
        }
    }
}

fn check_begun(name: &str, time: Option<UnixTime>, issuer: &Issuer, now: UnixTime) -> Result<(), Refusal> {
    match time {
        Some(time) if now < time.minus(issuer.leeway) => {
            let ahead = time.since(now).as_secs();
            Err(Refusal::new(Rejection::TokenNotYetValid).because(format!("{name} is {ahead} s from now")))
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether a token that was valid still is, as far as time goes: `now < exp + leeway`.
///
/// # Errors
/// [`Rejection::TokenExpired`].
pub fn check_expiry(known: &KnownToken, issuer: &Issuer, now: UnixTime) -> Result<(), Refusal> {
    let expires = known.facts.expires;
    if now < expires.plus(issuer.leeway) {
        return Ok(());
    }
    let ago = now.since(expires);
    Err(Refusal::new(Rejection::TokenExpired).because(format!("expired {} s ago", ago.as_secs())))
}

fn check_lifetime(facts: &Facts, issuer: &Issuer, now: UnixTime) -> Result<(), Refusal> {
    let exceeded = |lifetime: Duration, limit: Duration, from: &str| {
        Refusal::new(Rejection::LifetimeExceeded).because(format!(
            "{} s from {from} to exp, at most {} s are allowed",
            lifetime.as_secs(),
            limit.as_secs()
        ))
    };
    let remaining = facts.expires.since(now);
    if remaining > REMAINING_LIFETIME_MAX {
        return Err(exceeded(remaining, REMAINING_LIFETIME_MAX, "now"));
    }
    if let (Some(limit), Some(issued_at)) = (issuer.max_lifetime, facts.issued_at) {
        let lifetime = facts.expires.since(issued_at);
        if lifetime > limit {
            return Err(exceeded(lifetime, limit, "iat"));
        }
    }
    Ok(())
}

impl Identity {
    /// The known token behind it.
    pub const fn known(&self) -> &Arc<KnownToken> {
        &self.known
    }

    pub(in crate::gate) fn facts(&self) -> &Facts {
        &self.known.facts
    }

    /// Who it is, as the issuer's configuration normalises it.
    pub fn subject(&self) -> Option<&str> {
        self.known.facts.subject.as_deref()
    }

    /// Which client the token was given to.
    pub fn client(&self) -> Option<&str> {
        self.known.facts.client.as_deref()
    }

    /// Roles held.
    pub fn roles(&self) -> &[Box<str>] {
        self.known.facts.roles.as_deref().unwrap_or_default()
    }

    /// Scopes granted.
    pub fn scopes(&self) -> &[Box<str>] {
        &self.known.facts.scopes
    }

    /// When the token ends, leeway not included.
    pub fn expires(&self) -> UnixTime {
        self.known.facts.expires
    }

    /// The members of an assertion, as JSON without the braces; empty without assertions.
    pub fn asserted(&self) -> &str {
        &self.known.facts.asserted
    }

    /// The identity headers: position among the configured ones, and value.
    pub fn headers(&self) -> &[(u16, HeaderValue)] {
        &self.known.facts.headers
    }
}
