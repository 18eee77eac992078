//! What a judgement of a known token looks at, one check after the other, in words for people: what was expected, what was
//! found, and what the check says. The checks are those that decide; here each is made, where a decision ends with the
//! first that fails.
use std::time::Duration;

use crate::gate::{
    claims::{ClaimCheck, Facts, KnownToken},
    condition::{Condition, Conditions},
    issuer::{Audiences, ClaimPath, Issuer},
    json::{Json, Object},
    policy::{Demand, Names, Principal, Requirement, StepUp},
    rejection::{QUOTED_BYTES_MAX, Refusal, Rejection, quoted},
    time::UnixTime,
    token::UnverifiedToken,
};

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is looked at.
    pub name: String,
    /// What is wanted of it.
    pub expected: String,
    /// What it is.
    pub found: String,
    /// What the request is refused for; nothing when the check is passed.
    pub refusal: Option<Refusal>,
}

/// What a token says about everything that rules ask of it.
#[derive(Clone, Debug, Default)]
pub struct Sayings {
    claims: Vec<(ClaimPath, String)>,
}

impl Sayings {
    /// What `token` says about `conditions` and the claims that `issuers` name.
    pub fn of(token: &UnverifiedToken<'_>, conditions: &Conditions, issuers: &[Issuer]) -> Self {
        let claims = token.claims();
        let places = conditions.all().filter_map(|condition| match condition {
            Condition::Claim { place, .. } => Some(place.clone()),
            Condition::Audience(_) => None,
        });
        let audiences = issuers.iter().map(|issuer| ClaimPath::top(issuer.audience_claim.clone()));
        Self { claims: places.chain(audiences).map(|place| (place.clone(), said(claims, &place))).collect() }
    }

    fn about(&self, place: &ClaimPath) -> String {
        self.claims.iter().find(|(known, _)| known == place).map_or_else(|| ABSENT.to_owned(), |(_, said)| said.clone())
    }
}

const ABSENT: &str = "absent";

fn said(claims: &Object<'_>, place: &ClaimPath) -> String {
    claims.at(place.names()).map_or_else(|| ABSENT.to_owned(), |value| cut(shown(value)))
}

fn shown(value: &Json<'_>) -> String {
    match value {
        Json::Null => "null".to_owned(),
        Json::Bool(value) => value.to_string(),
        Json::Integer(value) => value.to_string(),
        Json::Float(value) => value.to_string(),
        Json::String(text) => quoted(text),
        // What is cut in the end need not be shown whole first.
        Json::List(elements) => {
            let shown: Vec<String> = elements.iter().take(QUOTED_BYTES_MAX).map(shown).collect();
            format!("[{}]", shown.join(", "))
        }
        Json::Object(_) => value.kind().to_owned(),
    }
}

/// ASCII, so that it may be cut anywhere.
fn cut(mut text: String) -> String {
    if text.len() > QUOTED_BYTES_MAX {
        text.truncate(QUOTED_BYTES_MAX);
        text.push_str("...");
    }
    text
}

fn listed(names: &[Box<str>]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let shown: Vec<String> = names.iter().take(QUOTED_BYTES_MAX).map(|name| bare(name)).collect();
    cut(shown.join(", "))
}

/// A text without quotes, as far as it needs none.
fn bare(text: &str) -> String {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) && text.len() < 64;
    if is_plain { text.to_owned() } else { quoted(text) }
}

fn seconds(distance: Duration) -> String {
    format!("{} s", distance.as_secs())
}

/// Everything that is asked of a token of `issuer`, at the time `now`.
pub fn of_claims(known: &KnownToken, issuer: &Issuer, sayings: &Sayings, now: UnixTime) -> Vec<Check> {
    let facts = known.facts();
    let mut checks = Vec::new();
    for check in ClaimCheck::ALL {
        let refusal = check.judge(known, issuer, now).err();
        let mut add = |name: &str, expected: String, found: String| {
            checks.push(Check { name: name.to_owned(), expected, found, refusal: refusal.clone() });
        };
        let leeway = seconds(issuer.leeway);
        match check {
            ClaimCheck::Claims => {
                let fault = facts.fault.as_deref().and_then(Refusal::detail);
                let found = fault.map_or_else(|| "they are there".to_owned(), str::to_owned);
                add("claims", format!("{}, each of its type", wanted_claims(issuer)), found);
                if refusal.is_some() {
                    // Nothing was taken out of them.
                    return checks;
                }
            }
            ClaimCheck::Requirement => checks.extend(of_issuer(known, issuer, sayings, now)),
            ClaimCheck::Expiry => {
                add("exp", format!("after {now}, {leeway} of leeway"), relative(facts.expires, now));
            }
            ClaimCheck::NotBefore => {
                if let Some(time) = facts.not_before {
                    add("nbf", format!("not after {now}, {leeway} of leeway"), relative(time, now));
                }
            }
            ClaimCheck::IssuedAt => {
                if let Some(time) = facts.issued_at {
                    add("iat", format!("not after {now}, {leeway} of leeway"), relative(time, now));
                }
            }
            ClaimCheck::Lifetime => {
                if let (Some(limit), Some(issued_at)) = (issuer.max_lifetime, facts.issued_at) {
                    let lifetime = seconds(facts.expires.since(issued_at));
                    add("lifetime", format!("at most {} from iat to exp", seconds(limit)), lifetime);
                } else if refusal.is_some() {
                    add("lifetime", "an end within ten years".to_owned(), relative(facts.expires, now));
                }
            }
            ClaimCheck::Audience => {
                let name = issuer.audience_claim.as_ref();
                let expected = match &issuer.audiences {
                    Audiences::AnyOf(accepted) => format!("one of {}", accepted.join(", ")),
                    Audiences::Unchecked => "any (insecure_any_audience)".to_owned(),
                };
                add(name, expected, sayings.about(&ClaimPath::top(name)));
            }
        }
    }
    checks
}

fn wanted_claims(issuer: &Issuer) -> String {
    let audience = match issuer.audiences {
        Audiences::AnyOf(_) => Some(issuer.audience_claim.as_ref()),
        Audiences::Unchecked => None,
    };
    let lifetime = issuer.max_lifetime.map(|_| "iat");
    let required = issuer.required_claims.iter().map(AsRef::as_ref);
    let mut names: Vec<&str> = ["exp"].into_iter().chain(audience).chain(lifetime).chain(required).collect();
    let mut seen = Vec::new();
    names.retain(|name| {
        !seen.contains(name) && {
            seen.push(*name);
            true
        }
    });
    names.join(", ")
}

fn relative(time: UnixTime, now: UnixTime) -> String {
    if time > now {
        format!("{time}, {} from now", seconds(time.since(now)))
    } else {
        format!("{time}, {} ago", seconds(now.since(time)))
    }
}

/// What an issuer requires of all its tokens; what is not met makes them invalid.
fn of_issuer(known: &KnownToken, issuer: &Issuer, sayings: &Sayings, now: UnixTime) -> Vec<Check> {
    let mut checks = of_policy(&issuer.requirement, known, issuer, sayings, now);
    checks.retain(|check| check.name != HEADERS);
    for check in &mut checks {
        check.name = format!("issuer: {}", check.name);
        check.refusal = check
            .refusal
            .take()
            .map(|refusal| Refusal::new(Rejection::ClaimInvalid).because(refusal.detail().unwrap_or_default()));
    }
    checks
}

const HEADERS: &str = "identity headers";

/// Everything that `requirement` asks of a token of `issuer`, at the time `now`. What asks nothing is left out.
pub fn of_policy(
    requirement: &Requirement,
    known: &KnownToken,
    issuer: &Issuer,
    sayings: &Sayings,
    now: UnixTime,
) -> Vec<Check> {
    let mut checks = Vec::new();
    let every: Result<(), std::convert::Infallible> = requirement.each(|demand| {
        let refusal = demand.judge(known.facts(), issuer.leeway, now).err();
        if demand != Demand::Headers || refusal.is_some() {
            let (name, expected, found) = described(demand, known.facts(), issuer, sayings, now);
            checks.push(Check { name, expected, found, refusal });
        }
        Ok(())
    });
    match every {
        Ok(()) => checks,
    }
}

fn described(
    demand: Demand<'_>,
    facts: &Facts,
    issuer: &Issuer,
    sayings: &Sayings,
    now: UnixTime,
) -> (String, String, String) {
    let (name, expected, found): (&str, String, String) = match demand {
        Demand::Audience(clause) => {
            let found = sayings.about(&ClaimPath::top(issuer.audience_claim.clone()));
            ("audience", clause.condition().to_string(), found)
        }
        Demand::Principal(principal) => {
            let expected = match principal {
                Principal::User => "a user: a subject that is not its client",
                Principal::Client => "a client by itself: a subject that is its client",
            };
            let text = |text: &Option<Box<str>>| text.as_deref().map_or_else(|| ABSENT.to_owned(), bare);
            let found = format!("subject {}, client {}", text(&facts.subject), text(&facts.client));
            ("principal", expected.to_owned(), found)
        }
        Demand::Scopes(names) => ("scopes", wanted(names), listed(&facts.scopes)),
        Demand::Roles(names) => ("roles", wanted(names), listed(facts.roles.as_deref().unwrap_or_default())),
        Demand::Claim(clause) => {
            let found = match clause.condition() {
                Condition::Claim { place, .. } => sayings.about(place),
                Condition::Audience(_) => ABSENT.to_owned(),
            };
            ("claim", clause.condition().to_string(), found)
        }
        Demand::Headers => {
            let fault = facts.header_fault.as_deref().unwrap_or("they can be written");
            (HEADERS, "a value for each that must be there".to_owned(), fault.to_owned())
        }
        Demand::StepUp(step_up) => ("step-up", wanted_step_up(step_up), found_step_up(step_up, facts, sayings, now)),
    };
    (name.to_owned(), expected, found)
}

fn wanted(names: &Names) -> String {
    match names {
        Names::All(names) if names.len() == 1 => names.join(""),
        Names::All(names) => format!("all of {}", names.join(", ")),
        Names::Any(names) => format!("one of {}", names.join(", ")),
    }
}

fn wanted_step_up(step_up: &StepUp) -> String {
    let acr = step_up.acr.as_ref().map(|clause| clause.condition().to_string());
    let age = step_up.max_age.map(|age| format!("authenticated in the last {}", seconds(age)));
    acr.into_iter().chain(age).collect::<Vec<_>>().join(", ")
}

fn found_step_up(step_up: &StepUp, facts: &Facts, sayings: &Sayings, now: UnixTime) -> String {
    let acr = step_up.acr.as_ref().map(|clause| match clause.condition() {
        Condition::Claim { place, .. } => format!("{place} {}", sayings.about(place)),
        Condition::Audience(_) => ABSENT.to_owned(),
    });
    let time = facts.authenticated_at.map_or_else(|| ABSENT.to_owned(), |time| relative(time, now));
    let age = step_up.max_age.map(|_| format!("auth_time {time}"));
    acr.into_iter().chain(age).collect::<Vec<_>>().join(", ")
}
