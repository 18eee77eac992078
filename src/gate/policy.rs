//! What a route requires of an identity. Missing or mistyped claims never satisfy anything.
use crate::gate::{
    claims::Identity,
    rejection::{Refusal, Rejection, quoted},
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

    fn described(&self) -> String {
        match self {
            Self::All(names) => format!("all of {}", names.join(", ")),
            Self::Any(names) => format!("one of {}", names.join(", ")),
        }
    }
}

/// All that a route requires; what is absent requires nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirement {
    /// Scopes that must be granted, compared whole and with their case (RFC 6750 §3).
    pub scopes: Option<Names>,
    /// Roles that must be held.
    pub roles: Option<Names>,
}

impl Requirement {
    /// Judges an identity.
    ///
    /// # Errors
    /// In this order: [`Rejection::ScopeInsufficient`], [`Rejection::RoleMissing`], [`Rejection::ClaimMismatch`] for an
    /// identity header that must be there.
    pub fn check(&self, identity: &Identity) -> Result<(), Refusal> {
        if let Some(scopes) = &self.scopes
            && !scopes.are_met_by(identity.scopes())
        {
            return Err(Refusal::new(Rejection::ScopeInsufficient)
                .because(format!("scopes: {} wanted, granted {}", scopes.described(), shown(identity.scopes())))
                .wanting_scopes(scopes.names().join(" ")));
        }
        if let Some(roles) = &self.roles
            && !roles.are_met_by(identity.roles())
        {
            return Err(Refusal::new(Rejection::RoleMissing).because(format!(
                "roles: {} wanted, held {}",
                roles.described(),
                shown(identity.roles())
            )));
        }
        match identity.header_fault() {
            Some(fault) => Err(Refusal::new(Rejection::ClaimMismatch).because(fault)),
            None => Ok(()),
        }
    }
}

fn shown(names: &[Box<str>]) -> String {
    if names.is_empty() { "none".to_owned() } else { quoted(&names.join(" ")) }
}
