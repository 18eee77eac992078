//! Whether whoever meets one rule meets another. Where that cannot be shown the answer is no, so that a change is never
//! thought to be stricter than it is.
use crate::gate::condition::{ClaimTest, Clause, Condition, Literal};
use crate::gate::network::{AddressRule, Network};
use crate::gate::policy::{Names, Requirement, StepUp};
use crate::gate::rate_limit::RateLimits;

/// Names: whoever holds what `one` asks for holds what `other` asks for. Nothing asks for nothing.
pub(super) fn names(one: Option<&Names>, other: Option<&Names>) -> bool {
    let Some(other) = other else { return true };
    let meets = |held: &[&str]| match other {
        Names::All(wanted) => wanted.iter().all(|name| held.contains(&&**name)),
        Names::Any(wanted) => wanted.iter().any(|name| held.contains(&&**name)),
    };
    match one {
        None => meets(&[]),
        Some(Names::All(held)) => meets(&held.iter().map(AsRef::as_ref).collect::<Vec<_>>()),
        Some(Names::Any(each)) => each.iter().all(|name| meets(&[name])),
    }
}

/// Conditions, all of which must be met: each of `others` follows from one of `these`.
pub(super) fn clauses<'p>(
    these: impl Iterator<Item = &'p Clause> + Clone,
    mut others: impl Iterator<Item = &'p Clause>,
) -> bool {
    others.all(|other| these.clone().any(|this| condition(this.condition(), other.condition())))
}

fn condition(one: &Condition, other: &Condition) -> bool {
    match (one, other) {
        (Condition::Claim { place, test }, Condition::Claim { place: other_place, test: other_test }) => {
            place == other_place && claim_test(test, other_test)
        }
        (Condition::Audience(one), Condition::Audience(other)) => one == other,
        (Condition::Claim { .. }, Condition::Audience(_)) | (Condition::Audience(_), Condition::Claim { .. }) => false,
    }
}

fn claim_test(one: &ClaimTest, other: &ClaimTest) -> bool {
    use ClaimTest::{Contains, Exists, Is, IsOrContains, Prefix, Suffix};
    let within = |these: &[Literal], those: &[Literal]| these.iter().all(|literal| those.contains(literal));
    let texts = |these: &[Literal], fits: &dyn Fn(&str) -> bool| {
        these.iter().all(|literal| matches!(literal, Literal::Text(text) if fits(text)))
    };
    match (one, other) {
        (Is(these), Is(those) | IsOrContains(those))
        | (Contains(these), Contains(those) | IsOrContains(those))
        | (IsOrContains(these), IsOrContains(those)) => within(these, those),
        (Is(these), Prefix(prefix)) => texts(these, &|text| text.starts_with(&**prefix)),
        (Is(these), Suffix(suffix)) => texts(these, &|text| text.ends_with(&**suffix)),
        (Prefix(one), Prefix(other)) => one.starts_with(&**other),
        (Suffix(one), Suffix(other)) => one.ends_with(&**other),
        (Exists(one), Exists(other)) => one == other,
        (Is(_) | Contains(_) | IsOrContains(_) | Prefix(_) | Suffix(_), Exists(exists)) => *exists,
        (
            Is(_) | Contains(_) | IsOrContains(_) | Prefix(_) | Suffix(_) | Exists(_),
            Is(_) | Contains(_) | IsOrContains(_) | Prefix(_) | Suffix(_),
        ) => false,
    }
}

/// How a user authenticated.
pub(super) fn step_up(one: Option<&StepUp>, other: Option<&StepUp>) -> bool {
    let Some(StepUp { acr, acr_values: _, max_age }) = other else { return true };
    let acr_of_one = one.and_then(|one| one.acr.as_ref());
    let is_recent = max_age.is_none_or(|limit| one.and_then(|one| one.max_age).is_some_and(|age| age <= limit));
    is_recent && clauses(acr_of_one.into_iter(), acr.iter())
}

/// All that is required of an identity.
pub(super) fn requirement(one: &Requirement, other: &Requirement) -> bool {
    let Requirement { audience, principal, scopes, roles, claims, step_up: other_step_up } = other;
    clauses(one.audience.iter(), audience.iter())
        && (principal.is_none() || *principal == one.principal)
        && names(one.scopes.as_ref(), scopes.as_ref())
        && names(one.roles.as_ref(), roles.as_ref())
        && clauses(one.claims.iter(), claims.iter())
        && step_up(one.step_up.as_ref(), other_step_up.as_ref())
}

/// Addresses: whoever `one` admits `other` admits.
pub(super) fn addresses(one: &AddressRule, other: &AddressRule) -> bool {
    let covered = |network: &Network, by: &[Network]| by.iter().any(|wider| wider.covers(network));
    let asks_nothing = |rule: &AddressRule| rule.allow.is_empty() && rule.deny.is_empty();
    if asks_nothing(other) {
        return true;
    }
    let is_allowed = other.allow.is_empty()
        || (!one.allow.is_empty() && one.allow.iter().all(|network| covered(network, &other.allow)));
    // What is denied there is denied here, or not allowed here in the first place.
    let is_outside = |network: &Network| {
        !one.allow.is_empty() && one.allow.iter().all(|allowed| !allowed.covers(network) && !network.covers(allowed))
    };
    is_allowed
        && !asks_nothing(one)
        && other.deny.iter().all(|network| covered(network, &one.deny) || is_outside(network))
}

/// Limits: whoever keeps to those of `one` keeps to those of `other`.
pub(super) fn rate_limits(one: &RateLimits, other: &RateLimits) -> bool {
    other.limits().iter().all(|other| {
        one.limits().iter().any(|one| one.by == other.by && one.price() >= other.price() && one.burst <= other.burst)
    })
}
