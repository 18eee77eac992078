//! `identity`: the headers that tell services who is calling, and those that no client may send.
use crate::config::error::ConfigError;
use crate::config::field::Field;
use crate::config::key_path::KeyPath;
use crate::config::keys::identity::{HEADER, KEYS};
use crate::config::parse::assertion::{self, Assertion};
use crate::config::parse::context::Context;
use crate::config::parse::headers::{HeaderRules, header_name};
use crate::config::parse::issuers::{Issuers, claim_path_of};
use crate::config::parse::section::Section;
use crate::config::settings::IssuerKeys;
use crate::config::source::Position;
use crate::config::tree::Value;
use crate::gate::extraction::{HeaderValueSource, IdentityHeader};
use crate::gate::firewall::HeaderFirewall;
use crate::gate::issuer::Issuer;

/// The section, understood.
#[derive(Debug, Default)]
pub(in crate::config) struct Identity<'a> {
    /// The headers, with the places of their names.
    pub(in crate::config) headers: Vec<(IdentityHeader, Position)>,
    /// The names of all of them, those with a mistake too.
    pub(in crate::config) names: Vec<Box<str>>,
    /// More names and patterns to remove.
    pub(in crate::config) strip: Vec<(Field<'a>, Box<str>)>,
    /// Whether the identity headers of other gateways may pass.
    pub(in crate::config) keep_known: bool,
    /// The signed word of the gateway.
    pub(in crate::config) assertion: Option<Assertion<'a>>,
}

/// Reads the section. `rules` know no identity header yet.
pub(in crate::config) fn read<'a>(top: &Section<'a>, rules: &HeaderRules, context: &mut Context<'_>) -> Identity<'a> {
    let section = top.section("identity", KEYS, &mut context.problems);
    let mut found = Identity::default();
    let entries = section.optional("headers").and_then(|field| field.entries(&mut context.problems));
    for entry in entries.unwrap_or_default() {
        if check_name(&entry, entry.name(), &found.names, rules, context) {
            found.names.push(Box::from(entry.name()));
        }
        let source = source(&entry, context);
        found.headers.extend(source.map(|(source, required)| {
            (IdentityHeader { name: Box::from(entry.name()), source, required }, entry.key_position())
        }));
    }
    found.assertion = assertion::read(&section, &mut found.names, rules, context);
    for (field, text) in section.texts("strip", &mut context.problems).unwrap_or_default() {
        if check_pattern(&field, text, rules, context) {
            found.strip.push((field, Box::from(text)));
        }
    }
    found.keep_known = section.boolean("insecure_keep_known_identity_headers", &mut context.problems);
    found
}

impl<'a> Identity<'a> {
    /// Where it says that listeners publish the keys of assertions.
    pub(in crate::config) fn keys_published(&self) -> Option<Field<'a>> {
        self.assertion.as_ref()?.publish.clone()
    }

    /// Warns about a header that no token can ever give a value.
    pub(in crate::config) fn check_facts(&self, issuers: &Issuers, context: &mut Context<'_>) {
        let places_roles = |issuer: &Option<(Issuer, IssuerKeys)>| match issuer {
            Some((issuer, _)) => issuer.roles.is_some(),
            None => true,
        };
        if issuers.issuers.is_empty() || issuers.issuers.iter().any(places_roles) {
            return;
        }
        for (header, position) in self.headers.iter().filter(|(header, _)| header.source == HeaderValueSource::Roles) {
            let path = KeyPath::root().key("identity").key("headers").key(&header.name);
            let message = format!("`{}` is never sent: no issuer says where its roles are", header.name);
            context
                .problems
                .add(ConfigError::warning(*position, &path, message).with_hint("add `roles` to the issuer"));
        }
    }

    /// Reports what would be removed although tokens are read from it.
    pub(in crate::config) fn check_sources(&self, rules: &HeaderRules, context: &mut Context<'_>) {
        for (field, _) in self.strip.iter().filter(|(_, name)| !name.ends_with('*') && rules.is_source(name)) {
            let message = format!("{} cannot be removed from every request: a token is read from it", field.found());
            context.problems.add(
                field.error(message).with_hint("a token source is removed anyway, unless `token.forward` is true"),
            );
        }
    }
}

/// Whether a header of this name can be the gateway's own, which it is told when it cannot; `others` are already.
pub(in crate::config) fn check_name(
    entry: &Field<'_>,
    name: &str,
    others: &[Box<str>],
    rules: &HeaderRules,
    context: &mut Context<'_>,
) -> bool {
    if header_name(entry, name, true, context).is_none() {
        return false;
    }
    let message = if HeaderFirewall::is_meaningless(name) || name.contains('*') {
        format!("`{name}` cannot be an identity header: it needs letters or digits, and `*` is for `strip`")
    } else if let Some(reason) = rules.against_identity(name) {
        format!("`{name}` cannot be an identity header: {reason}")
    } else if let Some(other) = others.iter().find(|other| is_same(other, name)) {
        format!("`{name}` reads as `{other}` to services that keep letters and digits only")
    } else {
        return true;
    };
    context.problems.add(entry.key_error(message));
    false
}

fn is_same(one: &str, other: &str) -> bool {
    let letters = |name: &str| -> String {
        name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
    };
    letters(one) == letters(other)
}

/// A name, or a pattern that ends with `*`.
fn check_pattern(field: &Field<'_>, text: &str, rules: &HeaderRules, context: &mut Context<'_>) -> bool {
    let name = text.strip_suffix('*').unwrap_or(text);
    let problem = if name.contains('*') {
        field.error("`*` can stand at the end only")
    } else if HeaderFirewall::is_meaningless(text) {
        field.error("a name or pattern needs at least one letter or digit")
    } else if header_name(field, name, false, context).is_none() {
        return false;
    } else if let Some(reason) = rules.against_strip(text) {
        field.error(format!("{} cannot be removed from every request: {reason}", field.found()))
    } else {
        return true;
    };
    context.problems.add(problem);
    false
}

/// Where the value comes from, and whether it must be there.
fn source(entry: &Field<'_>, context: &mut Context<'_>) -> Option<(HeaderValueSource, bool)> {
    if !matches!(entry.node().value, Value::Mapping(_)) {
        let claim = claim_path_of(entry, context)?;
        return Some((HeaderValueSource::Claim(claim), false));
    }
    let section = Section::read(entry, HEADER, &mut context.problems)?;
    let required = section.boolean("required", &mut context.problems);
    let field = section.exactly_one_of(&["from", "claim"], &mut context.problems)?;
    if field.name() == "claim" {
        return Some((HeaderValueSource::Claim(claim_path_of(&field, context)?), required));
    }
    let facts = [
        ("subject", HeaderValueSource::Subject),
        ("roles", HeaderValueSource::Roles),
        ("scopes", HeaderValueSource::Scopes),
        ("client", HeaderValueSource::Client),
        ("issuer", HeaderValueSource::Issuer),
    ];
    let source = field.choice(&facts, &mut context.problems)?;
    Some((source, required))
}
