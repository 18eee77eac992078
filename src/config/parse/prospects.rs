//! What a configuration says and can never come true: routes that no request reaches, requirements that no token meets.
//! Only what is certain is said; each is a warning, because nothing is let pass by it.
use crate::config::field::Field;
use crate::config::parse::context::Context;
use crate::config::parse::issuers::Issuers;
use crate::gate::condition::{ClaimTest, Condition, Literal};
use crate::gate::host::Host;
use crate::gate::issuer::{Audiences, ClaimPath, Issuer, IssuerId};
use crate::gate::path::RequestPath;
use crate::gate::policy::Requirement;
use crate::gate::rejection::Rejection;
use crate::gate::route::{HostPattern, PathPattern, Route};
use crate::gate::route_table::RouteTable;

/// Methods that are tried on a route that takes any.
const USUAL_METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"];

/// Warns of routes that no request reaches: every path of theirs reads as one of another route, too. `fields` are those
/// of the routes.
pub(in crate::config) fn check_reach(table: &RouteTable, fields: &[Field<'_>], context: &mut Context<'_>) {
    let longest = table.routes().iter().map(|route| route.path.text().len()).max().unwrap_or_default();
    // Longer than any path that is written, so that it belongs to a prefix alone.
    let segment = "x".repeat(longest + 1);
    for ((position, route), field) in table.routes().iter().enumerate().zip(fields) {
        if is_reached(table, position, route, &segment) {
            continue;
        }
        let message = format!(
            "no request reaches the route `{}`: each of its paths may be read as one of another route, and is refused",
            route.name
        );
        let hint = "paths that differ in case or a final slash alone are one to many servers; `paths` of both routes \
                    says when their upstreams tell them apart";
        context.problems.add(field.warning(message).with_hint(hint));
    }
}

fn is_reached(table: &RouteTable, position: usize, route: &Route, segment: &str) -> bool {
    let text = route.path.text();
    let paths = match &route.path {
        PathPattern::Exact(path) => vec![path.to_string()],
        PathPattern::Prefix(_) => vec![format!("{text}/{segment}"), text.to_owned(), format!("{text}/")],
    };
    let method = match &route.methods {
        Some(methods) => methods.first().map_or("GET", AsRef::as_ref),
        None => {
            let is_listed =
                |method: &&&str| table.routes().iter().any(|route| route.methods.is_some() && route.takes(method));
            USUAL_METHODS.iter().find(|method| !is_listed(method)).copied().unwrap_or("X-OTHER")
        }
    };
    route.hosts.iter().map(|host| sample_host(table, host)).any(|host| {
        route.listeners.iter().any(|listener| {
            paths.iter().any(|path| {
                let (Ok(host), Ok(path)) = (Host::parse(&host), RequestPath::parse(path)) else { return true };
                match table.find(*listener, &host, &path, method) {
                    Ok((id, _)) => usize::from(id.0) == position,
                    // Anything but this is no matter of other routes.
                    Err(refusal) => refusal.rejection() != Rejection::PathAmbiguous,
                }
            })
        })
    })
}

/// A host that the pattern takes and no more specific pattern does.
fn sample_host(table: &RouteTable, pattern: &HostPattern) -> String {
    let is_written = |name: &str| {
        table.routes().iter().flat_map(|route| &route.hosts).any(|host| match host {
            HostPattern::Exact(exact) => **exact == *name,
            HostPattern::Below(suffix) => {
                !matches!(pattern, HostPattern::Below(own) if own.len() >= suffix.len()) && name.ends_with(&**suffix)
            }
            HostPattern::Any => false,
        })
    };
    let suffix = match pattern {
        HostPattern::Exact(name) => return name.to_string(),
        HostPattern::Below(suffix) => suffix.as_ref(),
        HostPattern::Any => "",
    };
    // One name more than there are patterns is in none of them.
    let names = (0_usize..).map(|number| format!("sample{number}{suffix}"));
    names
        .take(1 + table.routes().iter().map(|route| route.hosts.len()).sum::<usize>())
        .find(|name| !is_written(name))
        .unwrap_or_default()
}

/// Warns when no token of any of a route's issuers could meet all of `requirements`, the last of which `field` is.
pub(in crate::config) fn check_route(
    field: &Field<'_>,
    requirements: &[&Requirement],
    issuers: &[IssuerId],
    known: &Issuers,
    context: &mut Context<'_>,
) {
    let mut found = None;
    for id in issuers {
        // What is wrong with an issuer was said.
        let Some(Some((issuer, _))) = known.issuers.get(usize::from(id.0)) else { return };
        let Some(clash) = clash(issuer, requirements) else { return };
        found = Some(clash);
    }
    if let Some(clash) = found {
        context.problems.add(field.warning(format!("no token could meet this: {clash}")));
    }
}

/// Warns when no token could meet what its issuer requires.
pub(in crate::config) fn check_issuer(field: &Field<'_>, issuer: &Issuer, context: &mut Context<'_>) {
    if let Some(clash) = clash(issuer, &[]) {
        context.problems.add(field.warning(format!("no token could meet this: {clash}")));
    }
}

/// Two conditions on the tokens of an issuer that exclude each other.
fn clash(issuer: &Issuer, requirements: &[&Requirement]) -> Option<String> {
    let all: Vec<&Requirement> = [&issuer.requirement].into_iter().chain(requirements.iter().copied()).collect();
    let mut principals = all.iter().filter_map(|requirement| requirement.principal);
    if let Some(first) = principals.next()
        && principals.any(|other| other != first)
    {
        return Some("a token of a user is not a client's own".to_owned());
    }
    let implied = implied(issuer);
    let conditions: Vec<&Condition> =
        implied.iter().chain(all.iter().flat_map(|requirement| requirement.conditions())).collect();
    let pairs = conditions
        .iter()
        .enumerate()
        .flat_map(|(position, one)| conditions.iter().skip(position + 1).map(move |other| (*one, *other)));
    pairs.into_iter().find(|(one, other)| exclude(one, other)).map(|(one, other)| format!("{one}, and {other}"))
}

/// What every accepted token of an issuer has.
fn implied(issuer: &Issuer) -> Vec<Condition> {
    let is_there = |name: &str| Condition::Claim { place: ClaimPath::top(name), test: ClaimTest::Exists(true) };
    let identifier = Literal::Text(issuer.identifier.clone());
    let mut implied = vec![
        Condition::Claim { place: ClaimPath::top("iss"), test: ClaimTest::Is(Box::from([identifier])) },
        is_there("exp"),
    ];
    implied.extend(issuer.required_claims.iter().map(|name| is_there(name)));
    if let Audiences::AnyOf(_) = issuer.audiences {
        implied.push(is_there(&issuer.audience_claim));
    }
    implied
}

fn exclude(one: &Condition, other: &Condition) -> bool {
    match (one, other) {
        (Condition::Claim { place, test }, Condition::Claim { place: other_place, test: other }) => {
            place == other_place && (excludes(test, other) || excludes(other, test))
        }
        (Condition::Audience(_), _) | (_, Condition::Audience(_)) => false,
    }
}

/// Whether a claim that meets the one can never meet the other.
fn excludes(one: &ClaimTest, other: &ClaimTest) -> bool {
    use ClaimTest::{Contains, Exists, Is, IsOrContains, Prefix, Suffix};
    let disjoint = |one: &[Literal], other: &[Literal]| !one.iter().any(|literal| other.contains(literal));
    let no_text = |literals: &[Literal], fits: &dyn Fn(&str) -> bool| {
        !literals.iter().any(|literal| match literal {
            Literal::Text(text) => fits(text),
            Literal::Boolean(_) | Literal::Number(_) => false,
        })
    };
    match (one, other) {
        (Exists(false), Exists(false)) | (Exists(true), _) => false,
        (Exists(false), Exists(true) | Is(_) | IsOrContains(_) | Contains(_) | Prefix(_) | Suffix(_)) => true,
        (Is(literals), Is(others) | IsOrContains(others)) => disjoint(literals, others),
        (Is(_) | Prefix(_) | Suffix(_), Contains(_)) => true,
        (Prefix(prefix), Is(literals) | IsOrContains(literals)) => {
            no_text(literals, &|text| text.starts_with(&**prefix))
        }
        (Suffix(suffix), Is(literals) | IsOrContains(literals)) => no_text(literals, &|text| text.ends_with(&**suffix)),
        (Prefix(prefix), Prefix(other)) => !prefix.starts_with(&**other) && !other.starts_with(&**prefix),
        (Suffix(suffix), Suffix(other)) => !suffix.ends_with(&**other) && !other.ends_with(&**suffix),
        (Is(_) | Prefix(_) | Suffix(_) | Contains(_) | IsOrContains(_), _) => false,
    }
}
