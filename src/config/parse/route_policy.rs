//! The part of a route that says who may use it: authentication, issuers, requirements.
use crate::config::keys::require;
use crate::config::keys::route::OBSERVE;
use crate::config::parse::context::{Context, position_of};
use crate::config::parse::identity::Identity;
use crate::config::parse::issuers::Issuers;
use crate::config::parse::section::Section;
use crate::config::parse::{prospects, requirement};
use crate::gate::extraction::HeaderValueSource;
use crate::gate::issuer::IssuerId;
use crate::gate::policy::Requirement;
use crate::gate::route::Authentication;

/// Who may use a route.
#[derive(Debug)]
pub(in crate::config) struct Access {
    /// Whether a token is asked for.
    pub(in crate::config) authentication: Authentication,
    /// Whose.
    pub(in crate::config) issuers: Vec<IssuerId>,
    /// And what must be in it.
    pub(in crate::config) requirement: Requirement,
    /// What must be in it were the rule on trial in force.
    pub(in crate::config) observed: Option<Requirement>,
    /// Whether authentication itself is only observed.
    pub(in crate::config) observes_authentication: bool,
}

/// Reads `auth`, `issuers`, `require`, `observe` and the insecure keys about them of a route that is called `name`.
pub(in crate::config) fn access(
    section: &Section<'_>,
    name: &str,
    known: &Issuers,
    identity: &Identity<'_>,
    context: &mut Context<'_>,
) -> Access {
    let words = [
        ("required", Authentication::Required),
        ("optional", Authentication::Optional),
        ("none", Authentication::Public),
    ];
    let authentication = section.choice("auth", &words, Authentication::Required, &mut context.problems);
    let merged = section.boolean("insecure_merged_subjects", &mut context.problems);
    let requirement = requirement::read(section, context);
    let on_trial = section.section("observe", OBSERVE, &mut context.problems);
    if let Some(field) = on_trial.field() {
        on_trial.required("require", &mut context.problems);
        let message =
            format!("the route `{name}` has a rule on trial: `observe` is logged and counted, never enforced");
        context.problems.add(field.warning(message));
    }
    let observed = on_trial.field().map(|_| requirement::read(&on_trial, context));
    if authentication == Authentication::Public {
        section.refuse(
            &["issuers", "require", "observe", "insecure_observe_authentication", "insecure_merged_subjects"],
            "cannot stand beside `auth: none`: no token is looked at",
            &mut context.problems,
        );
        if let Some(field) = section.optional("auth") {
            context.problems.add(field.warning(format!("the route `{name}` is public: no token is asked for")));
        }
        let requirement = Requirement::default();
        return Access {
            authentication,
            issuers: Vec::new(),
            requirement,
            observed: None,
            observes_authentication: false,
        };
    }
    if let Some(field) = section.optional("require").filter(|_| authentication == Authentication::Optional) {
        let message = "a request without token passes here whatever `require` says: `auth` is `optional`";
        context.problems.add(field.warning(message));
    }
    let issuers = issuers(section, authentication, known, context);
    let tells_issuer = identity.headers.iter().any(|(header, _)| header.source == HeaderValueSource::Issuer);
    if issuers.len() > 1
        && !tells_issuer
        && !merged
        && let Some(field) = section.optional("issuers")
    {
        let message = "several issuers, and no identity header says which one a subject is from";
        let hint = "add a header with `{from: issuer}` to `identity.headers`; or, if equal subjects of these issuers \
                    are one person, `insecure_merged_subjects: true`";
        context.problems.add(field.error(message).with_hint(hint));
    }
    check_roles(section, &requirement, &issuers, known, context);
    if let Some(field) = section.optional("require") {
        prospects::check_route(&field, &[&requirement], &issuers, known, context);
    }
    if let (Some(observed), Some(field)) = (&observed, on_trial.optional("require")) {
        check_roles(&on_trial, observed, &issuers, known, context);
        prospects::check_route(&field, &[&requirement, observed], &issuers, known, context);
    }
    Access { authentication, issuers, requirement, observed, observes_authentication: observes(section, name, context) }
}

/// Reads `insecure_observe_authentication`.
fn observes(section: &Section<'_>, name: &str, context: &mut Context<'_>) -> bool {
    let Some(field) = section.optional("insecure_observe_authentication") else { return false };
    let observes = field.boolean(&mut context.problems).unwrap_or_default();
    if observes {
        let message = format!(
            "`insecure_observe_authentication` is in force: on the route `{name}` a request that would be refused for its \
             token, or for having none, passes without identity"
        );
        context.problems.add(field.warning(message));
    }
    observes
}

fn issuers(
    section: &Section<'_>,
    authentication: Authentication,
    known: &Issuers,
    context: &mut Context<'_>,
) -> Vec<IssuerId> {
    let names = known.names.iter().map(AsRef::as_ref);
    let Some(written) = section.texts("issuers", &mut context.problems) else {
        let Some(field) = section.optional("auth").or_else(|| section.field().cloned()) else { return Vec::new() };
        let word = if authentication == Authentication::Optional { "optional" } else { "required" };
        match known.names.len() {
            1 => return vec![IssuerId(0)],
            0 => {
                let message = format!("`auth` is `{word}` here, and no issuer is defined");
                context
                    .problems
                    .add(field.error(message).with_hint("define one in `issuers`; `auth: none` for a public route"));
            }
            _ => {
                let problem = field.key_error("`issuers` is missing: there are several, and the route must say which");
                let listed: Vec<&str> = names.collect();
                context.problems.add(problem.with_hint(format!("as in `issuers: [{}]`", listed.join(", "))));
            }
        }
        return Vec::new();
    };
    let mut found = Vec::new();
    for (field, name) in written {
        let Some(position) = position_of(&field, name, names.clone(), "issuer", &mut context.problems) else {
            continue;
        };
        found.extend(u16::try_from(position).ok().map(IssuerId));
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// A role that no issuer of the route could ever grant lets nobody pass.
fn check_roles(
    section: &Section<'_>,
    requirement: &Requirement,
    issuers: &[IssuerId],
    known: &Issuers,
    context: &mut Context<'_>,
) {
    let has_roles = |id: &IssuerId| match known.issuers.get(usize::from(id.0)) {
        Some(Some((issuer, _))) => issuer.roles.is_some(),
        // What is wrong with it was said.
        Some(None) | None => true,
    };
    if requirement.roles.is_none() || issuers.is_empty() || issuers.iter().any(has_roles) {
        return;
    }
    let names: Vec<&str> =
        issuers.iter().filter_map(|id| known.names.get(usize::from(id.0))).map(AsRef::as_ref).collect();
    if let Some(field) = section.section("require", require::KEYS, &mut context.problems).optional("roles") {
        let problem = field.key_error("nobody could pass: no issuer of this route says where its roles are");
        context.problems.add(problem.with_hint(format!("add `roles` to the issuer `{}`", names.join("` or `"))));
    }
}
