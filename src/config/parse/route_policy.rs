//! The part of a route that says who may use it: authentication, issuers, requirements.
use crate::config::field::Field;
use crate::config::keys::route::{ANY, REQUIRE};
use crate::config::parse::context::{Context, position_of};
use crate::config::parse::identity::Identity;
use crate::config::parse::issuers::Issuers;
use crate::config::parse::section::{Section, refuse_empty};
use crate::config::tree::Value;
use crate::gate::extraction::HeaderValueSource;
use crate::gate::issuer::IssuerId;
use crate::gate::policy::{Names, Requirement};
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
}

/// Reads `auth`, `issuers`, `require` and `insecure_merged_subjects` of a route that is called `name`.
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
    let requirement = requirement(section, context);
    if authentication == Authentication::Public {
        section.refuse(
            &["issuers", "require", "insecure_merged_subjects"],
            "cannot stand beside `auth: none`: no token is looked at",
            &mut context.problems,
        );
        if let Some(field) = section.optional("auth") {
            context.problems.add(field.warning(format!("the route `{name}` is public: no token is asked for")));
        }
        return Access { authentication, issuers: Vec::new(), requirement: Requirement::default() };
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
    Access { authentication, issuers, requirement }
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
    if let Some(field) = section.section("require", REQUIRE, &mut context.problems).optional("roles") {
        let problem = field.key_error("nobody could pass: no issuer of this route says where its roles are");
        context.problems.add(problem.with_hint(format!("add `roles` to the issuer `{}`", names.join("` or `"))));
    }
}

fn requirement(section: &Section<'_>, context: &mut Context<'_>) -> Requirement {
    let Some(field) = section.optional("require") else { return Requirement::default() };
    let section = Section::read_optional(Some(field.clone()), REQUIRE, &mut context.problems);
    if matches!(&field.node().value, Value::Mapping(entries) if entries.is_empty()) {
        context.problems.add(field.error("`require` must not be empty"));
    }
    let scopes = section.optional("scopes").and_then(|field| names(&field, context));
    let roles = section.optional("roles").and_then(|field| names(&field, context));
    for (field, text) in scopes.iter().flat_map(|(_, texts)| texts) {
        // RFC 6749 §3.3: what else could never be a scope, and could not be said in a challenge.
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\')) {
            let problem =
                field.error(format!("{} is no scope: visible ASCII without spaces, `\"` and `\\`", field.found()));
            let several = text.contains(' ') && !field.is_from_variable();
            context.problems.add(if several {
                problem.with_hint("write a list: one scope an element")
            } else {
                problem
            });
        }
    }
    let names = |found: Option<(bool, Vec<(Field<'_>, &str)>)>| {
        found.map(|(is_any, texts)| {
            let names = texts.into_iter().map(|(_, text)| Box::from(text)).collect();
            if is_any { Names::Any(names) } else { Names::All(names) }
        })
    };
    Requirement { scopes: names(scopes), roles: names(roles) }
}

/// A list of which each is needed, or `{any: […]}`; says whether it is the latter.
fn names<'a>(field: &Field<'a>, context: &mut Context<'_>) -> Option<(bool, Vec<(Field<'a>, &'a str)>)> {
    if let Value::Mapping(_) = field.node().value {
        let section = Section::read(field, ANY, &mut context.problems)?;
        section.required("any", &mut context.problems)?;
        return Some((true, section.texts("any", &mut context.problems)?));
    }
    refuse_empty(field, &mut context.problems);
    Some((false, field.strings(&mut context.problems)?))
}
