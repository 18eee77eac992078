//! What a route, or an issuer, requires of an identity. Missing or mistyped claims never satisfy anything.
//!
//! Rules are made when a configuration is read. What they ask of claims was tried when the token's facts were drawn, so
//! that a request that passes costs comparisons and no allocation.
use std::time::Duration;

use crate::gate::{
    claims::{Facts, Identity},
    condition::{Clause, Condition},
    rejection::{Refusal, Rejection},
    time::UnixTime,
};

/// Names of which all, or one at least, must be held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// Each of them.
    All(Vec<Box<str>>),
    /// One of them at least.
    Any(Vec<Box<str>>),
}

impl Names {
    fn are_met_by(&self, held: &[Box<str>]) -> bool {
        match self {
            Self::All(names) => names.iter().all(|name| held.contains(name)),
            Self::Any(names) => names.iter().any(|name| held.contains(name)),
        }
    }

    /// The names themselves.
    pub fn names(&self) -> &[Box<str>] {
        match self {
            Self::All(names) | Self::Any(names) => names,
        }
    }

    /// What is missing, in words of the configuration alone.
    fn missing(&self, what: &str, held: &[Box<str>]) -> String {
        match self {
            Self::All(names) => {
                let missing: Vec<&str> = names.iter().filter(|name| !held.contains(name)).map(AsRef::as_ref).collect();
                let plural = if missing.len() == 1 { "" } else { "s" };
                format!("missing {what}{plural}: {}", missing.join(", "))
            }
            Self::Any(names) => format!("missing {what}: one of {}", names.join(", ")),
        }
    }
}

/// Who holds a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Somebody for whom a client acts: the token has a subject, and that is not its client.
    User,
    /// A client by itself: the token has a subject, and that is its client (RFC 9068 §2.2, §5).
    Client,
}

/// How a user must have authenticated (RFC 9470).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepUp {
    /// `acr` is one of the accepted values.
    pub acr: Option<Clause>,
    /// Those values, separated by spaces, for the challenge; visible ASCII without `"` and `\`.
    pub acr_values: Box<str>,
    /// Longest time since `auth_time`, in whole seconds.
    pub max_age: Option<Duration>,
}

/// One thing that is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand<'p> {
    /// An audience that the token must name.
    Audience(&'p Clause),
    /// Who must hold it.
    Principal(Principal),
    /// Scopes that must be granted.
    Scopes(&'p Names),
    /// Roles that must be held.
    Roles(&'p Names),
    /// Something that is asked of a claim.
    Claim(&'p Clause),
    /// That every identity header that must be there can be.
    Headers,
    /// How the user must have authenticated.
    StepUp(&'p StepUp),
}

/// All that is required; what is absent requires nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirement {
    /// An audience that the token must name besides one of its issuer's.
    pub audience: Option<Clause>,
    /// Who must hold the token.
    pub principal: Option<Principal>,
    /// Scopes that must be granted, compared whole and with their case (RFC 6750 §3).
    pub scopes: Option<Names>,
    /// Roles that must be held.
    pub roles: Option<Names>,
    /// What is asked of claims.
    pub claims: Vec<Clause>,
    /// How the user must have authenticated.
    pub step_up: Option<StepUp>,
}

impl Requirement {
    /// Judges an identity at the time `now`; `leeway` is its issuer's.
    ///
    /// # Errors
    /// In this order: [`Rejection::AudienceMismatch`], [`Rejection::PrincipalMismatch`],
    /// [`Rejection::ScopeInsufficient`], [`Rejection::RoleMissing`], [`Rejection::ClaimMismatch`] for a claim or for an
    /// identity header that must be there, [`Rejection::StepUpRequired`].
    pub fn check(&self, identity: &Identity, leeway: Duration, now: UnixTime) -> Result<(), Refusal> {
        self.each(|demand| demand.judge(identity.facts(), leeway, now))
    }

    /// Hands each demand to `judge`, in the order in which they count, until one is not met.
    ///
    /// # Errors
    /// What `judge` says of that one.
    pub fn each<'p, E>(&'p self, mut judge: impl FnMut(Demand<'p>) -> Result<(), E>) -> Result<(), E> {
        if let Some(audience) = &self.audience {
            judge(Demand::Audience(audience))?;
        }
        if let Some(principal) = self.principal {
            judge(Demand::Principal(principal))?;
        }
        if let Some(scopes) = &self.scopes {
            judge(Demand::Scopes(scopes))?;
        }
        if let Some(roles) = &self.roles {
            judge(Demand::Roles(roles))?;
        }
        for claim in &self.claims {
            judge(Demand::Claim(claim))?;
        }
        judge(Demand::Headers)?;
        self.step_up.as_ref().map_or(Ok(()), |step_up| judge(Demand::StepUp(step_up)))
    }

    /// The same for facts about which nothing was judged yet, identity headers left out.
    ///
    /// # Errors
    /// As for [`Self::check`].
    pub(in crate::gate) fn check_facts(&self, facts: &Facts, leeway: Duration, now: UnixTime) -> Result<(), Refusal> {
        self.each(|demand| match demand {
            Demand::Headers => Ok(()),
            demand @ (Demand::Audience(_)
            | Demand::Principal(_)
            | Demand::Scopes(_)
            | Demand::Roles(_)
            | Demand::Claim(_)
            | Demand::StepUp(_)) => demand.judge(facts, leeway, now),
        })
    }

    /// Every condition that must hold.
    pub fn conditions(&self) -> impl Iterator<Item = &Condition> {
        let acr = self.step_up.as_ref().and_then(|step_up| step_up.acr.as_ref());
        self.audience.iter().chain(&self.claims).chain(acr).map(Clause::condition)
    }
}

impl Demand<'_> {
    /// Judges facts at the time `now`.
    ///
    /// # Errors
    /// The refusal that follows.
    pub(in crate::gate) fn judge(self, facts: &Facts, leeway: Duration, now: UnixTime) -> Result<(), Refusal> {
        let held = || facts.roles.as_deref().unwrap_or_default();
        match self {
            Self::Audience(clause) if !facts.conditions_met.meets(clause) => {
                let detail = format!("missing: {}", clause.condition());
                Err(Refusal::new(Rejection::AudienceMismatch).because(detail))
            }
            Self::Principal(principal) if !principal.is_of(facts) => {
                let wanted = match principal {
                    Principal::User => "a token of a user is wanted: with a subject that is not its client",
                    Principal::Client => "a token of a client by itself is wanted: with a subject that is its client",
                };
                Err(Refusal::new(Rejection::PrincipalMismatch).because(wanted))
            }
            Self::Scopes(scopes) if !scopes.are_met_by(&facts.scopes) => {
                Err(Refusal::new(Rejection::ScopeInsufficient)
                    .because(scopes.missing("scope", &facts.scopes))
                    .wanting_scopes(scopes.names().join(" ")))
            }
            Self::Roles(roles) if !roles.are_met_by(held()) => {
                Err(Refusal::new(Rejection::RoleMissing).because(roles.missing("role", held())))
            }
            Self::Claim(clause) if !facts.conditions_met.meets(clause) => {
                Err(Refusal::new(Rejection::ClaimMismatch).because(format!("claim: {}", clause.condition())))
            }
            Self::Headers => match &facts.header_fault {
                Some(fault) => Err(Refusal::new(Rejection::ClaimMismatch).because(fault.clone())),
                None => Ok(()),
            },
            Self::StepUp(step_up) => step_up.unmet(facts, leeway, now).map_or(Ok(()), Err),
            Self::Audience(_) | Self::Principal(_) | Self::Scopes(_) | Self::Roles(_) | Self::Claim(_) => Ok(()),
        }
    }
}

impl Principal {
    fn is_of(self, facts: &Facts) -> bool {
        let is_client = facts.subject == facts.client;
        facts.subject.is_some()
            && match self {
                Self::User => !is_client,
                Self::Client => is_client,
            }
    }
}

impl StepUp {
    fn unmet(&self, facts: &Facts, leeway: Duration, now: UnixTime) -> Option<Refusal> {
        let detail = if let Some(clause) = self.acr.iter().find(|clause| !facts.conditions_met.meets(clause)) {
            format!("claim: {}", clause.condition())
        } else {
            let max_age = self.max_age?;
            match facts.authenticated_at {
                None => "claim: auth_time is not there, or no number".to_owned(),
                Some(time) if time > now.plus(leeway) => "claim: auth_time is later than now".to_owned(),
                Some(time) if now > time.plus(max_age).plus(leeway) => {
                    format!(
                        "auth_time was {} s ago, at most {} s are allowed",
                        now.since(time).as_secs(),
                        max_age.as_secs()
                    )
                }
                Some(_) => return None,
            }
        };
        Some(Refusal::new(Rejection::StepUpRequired).because(detail).wanting_step_up(self.challenge()))
    }

    /// The parameters of the challenge (RFC 9470 §3).
    fn challenge(&self) -> String {
        let mut parameters = Vec::new();
        if !self.acr_values.is_empty() {
            parameters.push(format!("acr_values=\"{}\"", self.acr_values));
        }
        if let Some(max_age) = self.max_age {
            parameters.push(format!("max_age=\"{}\"", max_age.as_secs()));
        }
        parameters.join(", ")
    }
}
