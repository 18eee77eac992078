//! `issuers`: who may sign tokens, and what is believed of them.
use crate::config::field::Field;
use crate::config::keys::issuer::KEYS;
use crate::config::keys::require;
use crate::config::parse::context::{Context, Unique, check_name, position_of};
use crate::config::parse::section::{Section, refuse_empty};
use crate::config::parse::{key_source, prospects, requirement};
use crate::config::settings::IssuerKeys;
use crate::config::tree::Value;
use crate::gate::algorithm::{Algorithm, Algorithms};
use crate::gate::issuer::{Audiences, ClaimPath, ClientPlace, Issuer, ScopesPlace, TokenTypes};
use crate::gate::policy::Requirement;

/// Registered algorithms (RFC 7518, RFC 8812, RFC 9864) that people might expect, and what to do instead.
const UNSUPPORTED: [(&str, &str); 4] = [
    ("ES512", "sign with ES256, ES384 or EdDSA"),
    ("ES256K", "sign with ES256, ES384 or EdDSA"),
    ("Ed25519", "this is `EdDSA` here"),
    ("Ed448", "sign with EdDSA on Ed25519"),
];

/// The issuers, and the names that routes may use for them.
#[derive(Debug, Default)]
pub(in crate::config) struct Issuers {
    /// The names of all of them, in the order of the file.
    pub(in crate::config) names: Vec<Box<str>>,
    /// For each name the issuer, unless something about it is wrong.
    pub(in crate::config) issuers: Vec<Option<(Issuer, IssuerKeys)>>,
}

/// Reads the section.
pub(in crate::config) fn read(top: &Section<'_>, context: &mut Context<'_>) -> Issuers {
    let mut found = Issuers::default();
    let Some(field) = top.optional("issuers") else { return found };
    let mut identifiers = Unique::default();
    for entry in field.entries(&mut context.problems).unwrap_or_default() {
        if check_name(&entry, entry.name(), true, &mut context.problems) && entry.name().contains('/') {
            context.problems.add(entry.key_error("the name of an issuer cannot hold `/`: it is part of admin paths"));
        }
        found.names.push(Box::from(entry.name()));
        found.issuers.push(issuer(&entry, &mut identifiers, context));
    }
    found
}

fn issuer(entry: &Field<'_>, identifiers: &mut Unique, context: &mut Context<'_>) -> Option<(Issuer, IssuerKeys)> {
    let section = Section::read(entry, KEYS, &mut context.problems)?;
    let identifier = section.required("issuer", &mut context.problems).and_then(|field| {
        let text = field.string(&mut context.problems)?;
        let what = format!("the issuer {}", field.found());
        identifiers.check(&what, text, &field, &mut context.problems).then(|| Box::from(text))
    });
    let audiences = audiences(&section, context);
    let written = algorithms(&section, context);
    let keys = key_source::read(&section, written, context);
    let problems = &mut context.problems;
    let token_types = match section.texts("token_types", problems) {
        Some(texts) => texts.into_iter().map(|(_, text)| Box::from(text)).collect(),
        None => section.default_texts("token_types"),
    };
    let subject = claim_path(&section, "subject", context);
    let roles = claim_path(&section, "roles", context);
    let scopes = claim_path(&section, "scopes", context).map_or(ScopesPlace::Usual, ScopesPlace::Claim);
    let client = claim_path(&section, "client", context).map_or(ClientPlace::Usual, ClientPlace::Claim);
    let requirement = requirement::read(&section, context);
    check_roles(&section, &requirement, roles.as_ref(), context);
    let problems = &mut context.problems;
    let required_claims = match (section.texts("required_claims", problems), &subject) {
        (Some(texts), _) => texts.into_iter().map(|(_, text)| Box::from(text)).collect(),
        // Without a subject of its own place, a token without its subject is no token of a person.
        (None, Some(subject)) => subject.names().first().cloned().into_iter().collect(),
        (None, None) => section.default_texts("required_claims"),
    };
    let require_token_type = section.boolean("require_token_type", problems);
    let audience_claim = section.text("audience_claim", problems).into();
    let leeway = section.duration("leeway", problems);
    let max_lifetime = section.duration_or_none("max_lifetime", problems);
    let required_for_readiness = section.boolean("required_for_readiness", problems);
    let default_subject = section.default_text("subject");
    let (algorithms, source) = keys?;
    let issuer = Issuer {
        name: Box::from(entry.name()),
        identifier: identifier?,
        audiences: audiences?,
        audience_claim,
        algorithms,
        leeway,
        token_types: TokenTypes::new(token_types.iter().map(AsRef::as_ref), require_token_type),
        required_claims,
        max_lifetime,
        subject: subject.unwrap_or_else(|| ClaimPath::top(default_subject)),
        roles,
        scopes,
        client,
        requirement,
    };
    if let Some(field) = section.optional("require") {
        prospects::check_issuer(&field, &issuer, context);
    }
    Some((issuer, IssuerKeys { source, required_for_readiness }))
}

/// A role that the issuer's tokens could never hold makes all of them invalid.
fn check_roles(section: &Section<'_>, requirement: &Requirement, place: Option<&ClaimPath>, context: &mut Context<'_>) {
    if requirement.roles.is_none() || place.is_some() || section.optional("roles").is_some() {
        return;
    }
    let required = section.section("require", require::KEYS, &mut context.problems);
    if let Some(field) = required.optional("roles") {
        let problem = field.key_error("no token could have them: the issuer does not say where its roles are");
        context.problems.add(problem.with_hint("add `roles` to the issuer"));
    }
}

fn audiences(section: &Section<'_>, context: &mut Context<'_>) -> Option<Audiences> {
    let problems = &mut context.problems;
    let any = section.boolean("insecure_any_audience", problems);
    let accepted = section.texts("audiences", problems);
    match (section.optional("audiences"), any) {
        (Some(field), true) => {
            problems.add(field.key_error("`audiences` cannot stand beside `insecure_any_audience: true`"));
            None
        }
        (Some(_), false) => {
            let texts: Vec<Box<str>> = accepted?.into_iter().map(|(_, text)| Box::from(text)).collect();
            (!texts.is_empty()).then_some(Audiences::AnyOf(texts))
        }
        (None, true) => Some(Audiences::Unchecked),
        (None, false) => {
            let problem = section.field()?.key_error("`audiences` is missing");
            problems.add(problem.with_hint(
                "name what tokens for your services have in `aud`; else any token of this issuer, made for whomever, \
                 would pass (`insecure_any_audience: true`)",
            ));
            None
        }
    }
}

/// The algorithms that are written; nothing when none are.
fn algorithms(section: &Section<'_>, context: &mut Context<'_>) -> Option<Algorithms> {
    let texts = section.texts("algorithms", &mut context.problems)?;
    let names = Algorithm::ALL.iter().map(|algorithm| algorithm.name());
    let mut found = Vec::new();
    for (field, text) in texts {
        if text.eq_ignore_ascii_case("none") {
            context.problems.add(field.error("a token without signature is never accepted"));
        } else if let Some((_, hint)) = UNSUPPORTED.iter().find(|(name, _)| *name == text) {
            context.problems.add(field.error(format!("{} is not supported", field.found())).with_hint(*hint));
        } else if let Some(position) = position_of(&field, text, names.clone(), "algorithm", &mut context.problems) {
            found.extend(Algorithm::ALL.get(position).copied());
        }
    }
    Some(found.into_iter().collect())
}

/// A claim name, or a list of names for a nested claim.
pub(in crate::config) fn claim_path(section: &Section<'_>, name: &str, context: &mut Context<'_>) -> Option<ClaimPath> {
    section.optional(name).and_then(|field| claim_path_of(&field, context))
}

/// A claim name, or a list of names for a nested claim.
pub(in crate::config) fn claim_path_of(field: &Field<'_>, context: &mut Context<'_>) -> Option<ClaimPath> {
    if let Value::Mapping(_) = field.node().value {
        context.problems.add(field.mismatch("a claim name, or a list of names for a nested claim"));
        return None;
    }
    refuse_empty(field, &mut context.problems);
    let written = field.one_or_list(&mut context.problems)?.len();
    let names = field.one_or_strings(&mut context.problems)?;
    if names.len() != written {
        return None;
    }
    ClaimPath::new(names.into_iter().map(|(_, name)| name))
}
