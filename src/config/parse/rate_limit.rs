//! `rate_limit` of a route: how many requests it takes of one caller.
use std::time::Duration;

use crate::config::error::Problems;
use crate::config::field::Field;
use crate::config::keys::route::RATE_LIMIT;
use crate::config::parse::context::Context;
use crate::config::parse::route_policy::Access;
use crate::config::parse::section::{Section, refuse_empty};
use crate::config::quantity::duration_text;
use crate::gate::rate_limit::{CountedBy, LIMITS_MAX, RateLimit, RateLimits};
use crate::gate::route::Authentication;

/// Longest time for an empty bucket to be full: beyond, a mistake is likelier than a wish.
const REFILL_MAX: Duration = Duration::from_secs(31 * 24 * 3600);

/// Reads `rate_limit` of a route that is called `name`.
pub(in crate::config) fn read(
    section: &Section<'_>,
    name: &str,
    access: &Access,
    context: &mut Context<'_>,
) -> RateLimits {
    let problems = &mut context.problems;
    let Some(field) = section.optional("rate_limit").filter(|field| !field.is_off()) else {
        return RateLimits::default();
    };
    refuse_empty(&field, problems);
    let elements = field.one_or_list(problems).unwrap_or_default();
    if elements.len() > LIMITS_MAX {
        problems.add(field.error(format!("a route has at most {LIMITS_MAX} limits; these are {}", elements.len())));
    }
    let is_own = section.has_own("rate_limit");
    let mut limits: Vec<RateLimit> = Vec::new();
    for element in elements {
        let Some((limit, by)) = limit(&element, problems) else { continue };
        if limits.contains(&limit) {
            problems.add(element.error("this limit is there twice"));
            continue;
        }
        check_by(&by, limit.by, name, access, is_own, problems);
        limits.push(limit);
    }
    RateLimits::new(limits)
}

fn limit<'a>(element: &Field<'a>, problems: &mut Problems) -> Option<(RateLimit, Field<'a>)> {
    let section = Section::read(element, RATE_LIMIT, problems)?;
    // All of them are read before one that is missing ends it, so that every error is told at once.
    let requests = section.required("requests", problems).map(|_| section.whole("requests", problems));
    let per = section.required("per", problems).map(|_| section.duration("per", problems));
    let burst = section.optional("burst").map(|field| (section.whole("burst", problems), field));
    let by = section.required("by", problems)?;
    let words = CountedBy::ALL.map(|by| (by.name(), by));
    let counted_by = by.choice(&words, problems)?;
    let requests = u32::try_from(requests?).ok()?;
    let most = burst.as_ref().map_or(Some(requests), |(burst, _)| u32::try_from(*burst).ok())?;
    let limit = RateLimit { requests, per: per?, burst: most, by: counted_by };
    if let Some((_, field)) = burst.filter(|_| limit.refill_time() > REFILL_MAX) {
        let message = format!(
            "an empty bucket would take {} to hold so many requests again; at most {} are allowed",
            duration_text(Duration::from_secs(limit.refill_time().as_secs())),
            duration_text(REFILL_MAX)
        );
        problems.add(field.error(message).with_hint("a smaller `burst`, or more `requests` in less time"));
    }
    Some((limit, by))
}

/// What counts a caller that a route does not know.
fn check_by(field: &Field<'_>, by: CountedBy, name: &str, access: &Access, is_own: bool, problems: &mut Problems) {
    let word = by.name();
    let why = match (by, access.authentication) {
        (CountedBy::Address, _) => return,
        (_, Authentication::Public) if is_own => {
            let problem = field.error(format!("nobody could be counted by {word}: `auth` is `none` here"));
            problems.add(problem.with_hint("`by: address` counts clients that nobody has verified"));
            return;
        }
        (_, Authentication::Public) => "`auth` is `none` there",
        (_, Authentication::Optional) => "`auth` is `optional` there",
        (_, Authentication::Required) if access.observes_authentication => "authentication is only observed there",
        (_, Authentication::Required) => return,
    };
    problems.add(field.warning(format!(
        "on the route `{name}` the limit by {word} counts requests without identity by their address: {why}"
    )));
}
