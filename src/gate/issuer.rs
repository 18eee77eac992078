//! What is believed of one issuer, as configured. It never holds keys: those change while the process runs.
use std::time::Duration;

use crate::gate::{
    algorithm::Algorithms,
    policy::Requirement,
    rejection::{Refusal, Rejection, quoted},
};

/// Longest leeway that a configuration may ask for.
pub const LEEWAY_MAX: Duration = Duration::from_secs(300);
/// No token may end later than this after now, whatever its issuer says: ten years of 365 days. Catches milliseconds
/// where seconds belong.
pub const REMAINING_LIFETIME_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Position of an issuer among those of one configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IssuerId(pub u16);

/// Where a claim is: one name for each level of nesting, at least one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClaimPath {
    names: Box<[Box<str>]>,
}

impl ClaimPath {
    /// A path through `names`; nothing when there are none.
    pub fn new(names: impl IntoIterator<Item = impl Into<Box<str>>>) -> Option<Self> {
        let names: Box<[Box<str>]> = names.into_iter().map(Into::into).collect();
        if names.is_empty() { None } else { Some(Self { names }) }
    }

    /// The claim called `name` at the top level.
    pub fn top(name: impl Into<Box<str>>) -> Self {
        Self { names: Box::new([name.into()]) }
    }

    /// The names, outermost first.
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }
}

impl std::fmt::Display for ClaimPath {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.names.join("."))
    }
}

/// Who may be named by the audience claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audiences {
    /// One of these at least (RFC 7519 §4.1.3).
    AnyOf(Vec<Box<str>>),
    /// Not looked at: `insecure_any_audience`.
    Unchecked,
}

/// Which `typ` a token may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenTypes {
    allowed: Vec<Box<str>>,
    required: bool,
}

impl TokenTypes {
    /// The types by their names; `required` refuses tokens without `typ`.
    pub fn new<'n>(names: impl IntoIterator<Item = &'n str>, required: bool) -> Self {
        Self { allowed: names.into_iter().map(|name| Box::from(without_prefix(name))).collect(), required }
    }

    /// The first of the allowed types, without `application/`.
    pub fn first(&self) -> Option<&str> {
        self.allowed.first().map(AsRef::as_ref)
    }

    /// The allowed types, without `application/`.
    pub fn names(&self) -> &[Box<str>] {
        &self.allowed
    }

    /// Whether a token without `typ` is refused.
    pub const fn are_required(&self) -> bool {
        self.required
    }

    /// Compares as media types are compared: case ignored, `application/` understood (RFC 7515 §4.1.9).
    ///
    /// # Errors
    /// [`Rejection::TypeNotAllowed`].
    pub fn check(&self, token_type: Option<&str>) -> Result<(), Refusal> {
        let refusal = |found: &str| {
            Refusal::new(Rejection::TypeNotAllowed).because(format!(
                "the issuer's types are {}; the unverified header has {found}",
                self.allowed.join(", ")
            ))
        };
        match token_type {
            None if self.required => Err(refusal("none")),
            None => Ok(()),
            Some(name) if self.allowed.iter().any(|allowed| without_prefix(name).eq_ignore_ascii_case(allowed)) => {
                Ok(())
            }
            Some(name) => Err(refusal(&quoted(name))),
        }
    }
}

fn without_prefix(name: &str) -> &str {
    const PREFIX: &str = "application/";
    match name.split_at_checked(PREFIX.len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) && !rest.contains('/') => rest,
        Some(_) | None => name,
    }
}

/// Where an issuer's tokens say what they grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopesPlace {
    /// `scope`, a string with spaces (RFC 8693 §4.2); else `scp`, an array or such a string.
    Usual,
    /// This claim, an array or a string with spaces.
    Claim(ClaimPath),
}

/// Where an issuer's tokens say which client they were given to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientPlace {
    /// `client_id` (RFC 9068 §2.2), else `azp`.
    Usual,
    /// This claim.
    Claim(ClaimPath),
}

/// One issuer's rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// Name in the configuration: the label of metrics and logs.
    pub name: Box<str>,
    /// Exact value of `iss`.
    pub identifier: Box<str>,
    /// Accepted audiences.
    pub audiences: Audiences,
    /// Claim that names the audience.
    pub audience_claim: Box<str>,
    /// Allowed algorithms.
    pub algorithms: Algorithms,
    /// How far clocks may differ; at most [`LEEWAY_MAX`].
    pub leeway: Duration,
    /// Allowed kinds of token.
    pub token_types: TokenTypes,
    /// Claims that must be present besides `iss`, `exp` and the audience.
    pub required_claims: Vec<Box<str>>,
    /// Longest time from `iat` to `exp`.
    pub max_lifetime: Option<Duration>,
    /// Where the subject is.
    pub subject: ClaimPath,
    /// Where the roles are.
    pub roles: Option<ClaimPath>,
    /// Where the scopes are.
    pub scopes: ScopesPlace,
    /// Where the client is.
    pub client: ClientPlace,
    /// What its tokens must have besides: one that does not is invalid on every route.
    pub requirement: Requirement,
}

impl Issuer {
    /// An issuer as a configuration has it that says no more than its name and identifier; any audience will do.
    pub fn plain(name: &str, identifier: &str) -> Self {
        Self {
            name: name.into(),
            identifier: identifier.into(),
            audiences: Audiences::Unchecked,
            audience_claim: "aud".into(),
            algorithms: Algorithms::asymmetric(),
            leeway: Duration::from_secs(30),
            token_types: TokenTypes::new(["JWT", "at+jwt"], false),
            required_claims: vec!["sub".into()],
            max_lifetime: None,
            subject: ClaimPath::top("sub"),
            roles: None,
            scopes: ScopesPlace::Usual,
            client: ClientPlace::Usual,
            requirement: Requirement::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_compared_as_a_media_type() {
        let types = TokenTypes::new(["JWT", "at+jwt"], false);
        for allowed in
            [None, Some("JWT"), Some("jwt"), Some("AT+JWT"), Some("application/at+jwt"), Some("Application/JWT")]
        {
            assert!(types.check(allowed).is_ok(), "{allowed:?}");
        }
        for refused in
            ["", "at+jwt;v=1", "id+jwt", "logout+jwt", "dpop+jwt", "text/jwt", "application/application/jwt", "jwt "]
        {
            assert!(types.check(Some(refused)).is_err(), "{refused:?}");
        }
        assert!(TokenTypes::new(["at+jwt"], true).check(None).is_err());
        assert!(TokenTypes::new(["application/at+jwt"], true).check(Some("at+jwt")).is_ok());
    }
}
