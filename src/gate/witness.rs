//! Who watches a decision come about: told what is being done, never asked, so that a decision is the same whoever
//! watches. With [`Nobody`] nothing of it is left in the program.
use crate::gate::{request::Shape, sources::FoundToken, token::UnverifiedToken};

/// What is done for a decision, in the order in which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Whom it came from: known before the request is looked at.
    Arrival,
    /// Whether the request can be read in one way only.
    Shape,
    /// Which route it is for.
    Route,
    /// Whether its body may be so long.
    Body,
    /// Whether it comes from where it may.
    Addresses,
    /// Whether its client has to wait: limits by address.
    AddressLimits,
    /// Whether it has one token, in a place that counts.
    TokenSource,
    /// Whether that is a token, by its form.
    Token,
    /// Which issuer's it is.
    Issuer,
    /// Its type and its algorithm.
    Header,
    /// Whether the issuer's keys are there.
    Keys,
    /// Whether one of them signed it.
    Signature,
    /// Whether it is valid now, for this audience.
    Claims,
    /// Whether it was revoked.
    Revocation,
    /// Whether its holder may do this.
    Policy,
    /// Whether its holder has to wait: limits by subject, token or issuer.
    CallerLimits,
    /// What a rule on trial says.
    Observation,
}

/// What is learnt on the way and is in no judgement.
#[derive(Clone, Copy, Debug)]
pub enum Fact<'a> {
    /// Host and path as they are judged.
    Shape(&'a Shape<'a>),
    /// The token and its place; never shown.
    Found(&'a FoundToken<'a>),
    /// The token, read and not believed.
    Unverified(&'a UnverifiedToken<'a>),
}

/// Watches one decision.
pub trait Witness {
    /// This is done next. What was done before is fine.
    fn enter(&mut self, _stage: Stage) {}
    /// This was learnt.
    fn learn(&mut self, _fact: Fact<'_>) {}
}

/// Nobody watches.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Witness for Nobody {}
