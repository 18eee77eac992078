//! Tree to configuration: section by section, walking on after an error; what refers to something else comes last.
//! It reads files through `context` only and never hands out a configuration that has an error.
use crate::config::error::Problems;
use crate::config::field::Field;
use crate::config::keys::top::KEYS;
use crate::config::parse::context::Context;
use crate::config::parse::headers::HeaderRules;
use crate::config::parse::section::Section;
use crate::config::settings::{Admin, Config, Live, Startup};
use crate::gate::decide::Ruleset;
use crate::gate::firewall::{FirewallNames, HeaderFirewall};
use crate::gate::sources::TokenSource;
use crate::gate::websocket_protocol;

mod address;
mod addresses;
mod admin;
mod assertion;
mod browsers;
pub(in crate::config) mod context;
mod document;
mod headers;
mod identity;
mod issuers;
mod key_source;
mod listener_tls;
mod listeners;
mod path;
mod process;
mod prospects;
mod rate_limit;
mod requirement;
mod revocation;
mod route_match;
mod route_policy;
mod routes;
pub(in crate::config) mod section;
mod token;
mod upstream_tls;
mod upstreams;
mod well_known;

/// The configuration that a document means; nothing when anything is wrong with it.
pub(in crate::config) fn config(root: &Field<'_>, context: &mut Context<'_>) -> Option<Config> {
    let top = Section::read(root, KEYS, &mut context.problems)?;
    let listeners = listeners::read(&top, context);
    let trusted_proxies = addresses::trusted_proxies(&top, context);
    listeners.check_trust(&trusted_proxies, context);
    let admin = admin::read(&top, &listeners.taken, context);
    let server = process::server(&top, context);
    let (limits, clients) = process::limits(&top, context);
    let issuers = issuers::read(&top, context);
    let none = HeaderRules::new(&[], &[], HeaderFirewall::default());
    let identity = identity::read(&top, &none, context);
    let rules = HeaderRules::new(&identity.names, &[], HeaderFirewall::default());
    let tokens = token::read(&top, &rules, context);
    let drafts = routes::drafts(&top, &tokens, &rules, context);
    let token_sources = union(tokens.sources.iter().chain(drafts.iter().flat_map(|draft| &draft.sources)));
    let rules = HeaderRules::new(&identity.names, &token_sources, firewall(&identity, &token_sources));
    identity.check_sources(&rules, context);
    identity.check_facts(&issuers, context);
    identity.assertion.iter().for_each(|assertion| assertion.check_key(&server, context));
    let well_known = well_known::read(&top, identity.keys_published(), context);
    let upstreams = upstreams::read(&top, context);
    let underscores = [("keep", false), ("drop", true)];
    let drop_underscore_headers = top.choice("underscore_headers", &underscores, false, &mut context.problems);
    let revocation = revocation::read(&top, &issuers.names, context);
    let claims_cache = process::claims_cache(&top, context);
    let log = process::log(&top, context);
    let known = routes::Known {
        listeners: &listeners.names,
        issuers: &issuers,
        identity: &identity,
        upstreams: &upstreams,
        rules: &rules,
        well_known: &well_known,
    };
    let routes = routes::table(drafts, &known, context);
    if context.problems.has_errors() {
        return None;
    }
    let routes = routes?;
    upstreams.check_use(routes.routes(), context);
    let (issuers, keys) = issuers.issuers.into_iter().collect::<Option<Vec<_>>>()?.into_iter().unzip();
    let ruleset = Ruleset {
        routes,
        issuers,
        conditions: std::mem::take(&mut context.conditions),
        identity_headers: identity.headers.into_iter().map(|(header, _)| header).collect(),
        firewall: rules.into_firewall(),
        limits,
        token_sources,
        realm: tokens.realm,
        resource_metadata: well_known.metadata_url(),
        assertion: identity.assertion.as_ref().map(|assertion| assertion.settings.rule.clone()),
    };
    let startup = Startup { listeners: listeners.listeners, admin, server, log, claims_cache, clients };
    let upstreams = upstreams.upstreams.into_iter().collect::<Option<Vec<_>>>()?;
    let document = document::shown(root.node());
    Some(Config {
        startup,
        live: Live {
            ruleset,
            keys,
            upstreams,
            revocation,
            assertion: identity.assertion.map(|assertion| assertion.settings),
            trusted_proxies,
            drop_underscore_headers,
            document,
        },
    })
}

/// The operators' interface alone.
pub(in crate::config) fn admin(root: &Field<'_>, context: &mut Context<'_>) -> Option<Admin> {
    let mut elsewhere = Problems::new();
    let top = Section::read(root, KEYS, &mut elsewhere)?;
    Some(admin::read(&top, &[], context))
}

fn union<'s>(sources: impl Iterator<Item = &'s TokenSource>) -> Vec<TokenSource> {
    let mut union: Vec<TokenSource> = Vec::new();
    for source in sources {
        if !union.contains(source) {
            union.push(source.clone());
        }
    }
    union
}

fn firewall(identity: &identity::Identity<'_>, sources: &[TokenSource]) -> HeaderFirewall {
    let token_headers: Vec<Box<str>> = sources
        .iter()
        .filter_map(|source| match source {
            TokenSource::Header(name) => Some(Box::from(name.as_str())),
            TokenSource::WebSocketProtocol(_) => Some(Box::from(websocket_protocol::FIELD.as_str())),
            TokenSource::Authorization | TokenSource::Query(_) | TokenSource::Cookie(_) => None,
        })
        .collect();
    let strip: Vec<Box<str>> = identity.strip.iter().map(|(_, name)| name.clone()).collect();
    HeaderFirewall::new(FirewallNames {
        owned: &identity.names,
        token_headers: &token_headers,
        strip: &strip,
        keep_known: identity.keep_known,
    })
}

#[cfg(test)]
mod tests;
