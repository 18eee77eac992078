//! `routes`: the rest of a route, and all of them together.
use std::collections::HashMap;

use crate::config::error::ConfigError;
use crate::config::field::Field;
use crate::config::keys::route::{DEFAULTS, KEYS, LIMITS, RESPOND, REWRITE, STREAM, TOKEN};
use crate::config::parse::context::{Context, Unique, check_name, is_name, position_of};
use crate::config::parse::headers::{Direction, HeaderRules, changes};
use crate::config::parse::identity::Identity;
use crate::config::parse::issuers::Issuers;
use crate::config::parse::section::Section;
use crate::config::parse::token::{self, Tokens};
use crate::config::parse::upstreams::Upstreams;
use crate::config::parse::well_known::WellKnown;
use crate::config::parse::{addresses, browsers, path, prospects, rate_limit, route_match, route_policy};
use crate::gate::host::Host;
use crate::gate::route::{
    Action, BodyLimit, HostPattern, PathPattern, Rewrite, Route, RouteId, RouteLog, StreamRule, UpstreamId,
};
use crate::gate::route_table::RouteTable;
use crate::gate::sources::TokenSource;

/// A route of which only the token sources were read.
#[derive(Debug)]
pub(in crate::config) struct Draft<'a> {
    section: Section<'a>,
    field: Field<'a>,
    /// Where it looks for tokens.
    pub(in crate::config) sources: Vec<TokenSource>,
    forward: bool,
}

/// All that routes refer to.
#[derive(Debug)]
pub(in crate::config) struct Known<'k> {
    /// Names of listeners.
    pub(in crate::config) listeners: &'k [Box<str>],
    /// The issuers.
    pub(in crate::config) issuers: &'k Issuers,
    /// The identity headers.
    pub(in crate::config) identity: &'k Identity<'k>,
    /// The upstreams.
    pub(in crate::config) upstreams: &'k Upstreams,
    /// Whose header names are.
    pub(in crate::config) rules: &'k HeaderRules,
    /// What the gateway itself publishes.
    pub(in crate::config) well_known: &'k WellKnown<'k>,
}

/// Reads where each route looks for tokens; the rest needs to know that of all of them.
pub(in crate::config) fn drafts<'a>(
    top: &Section<'a>,
    tokens: &Tokens,
    rules: &HeaderRules,
    context: &mut Context<'_>,
) -> Vec<Draft<'a>> {
    if top.required("routes", &mut context.problems).is_none() {
        return Vec::new();
    }
    let defaults = top.section("route_defaults", DEFAULTS, &mut context.problems);
    let mut drafts = Vec::new();
    for field in top.elements("routes", &mut context.problems).unwrap_or_default() {
        let Some(section) = Section::read(&field, KEYS, &mut context.problems) else { continue };
        let section = section.or_else(&defaults);
        let token = section.section("token", TOKEN, &mut context.problems);
        let sources = token::sources(&token, rules, context).unwrap_or_else(|| tokens.sources.clone());
        let forward = match token.optional("forward") {
            Some(_) => token.boolean("forward", &mut context.problems),
            None => tokens.forward,
        };
        drafts.push(Draft { section, field, sources, forward });
    }
    drafts
}

/// Reads the rest of all routes and arranges them; nothing when that is not possible.
pub(in crate::config) fn table(
    drafts: Vec<Draft<'_>>,
    known: &Known<'_>,
    context: &mut Context<'_>,
) -> Option<RouteTable> {
    let mut routes = Vec::new();
    let mut fields = Vec::new();
    let mut unique = Unique::default();
    for draft in drafts {
        let named = draft.section.optional("name");
        let field = draft.field.clone();
        let Some(route) = route(draft, known, context) else { continue };
        if let Some(field) = &named {
            unique.check(&format!("the name {}", field.found()), &route.name, field, &mut context.problems);
        }
        routes.push(route);
        fields.push((field, named.is_some()));
    }
    for (field, route) in known.well_known.routes(&routes, (known.listeners.len(), known.issuers)) {
        if let Some(taken) = routes.iter().find(|other| other.path.text() == route.path.text()) {
            let message =
                format!("the route `{}` takes the path `{}`, where this is published", taken.name, route.path.text());
            context.problems.add(field.error(message).with_hint("give the route another path"));
            continue;
        }
        routes.push(route);
        fields.push((field, true));
    }
    let names: Vec<Box<str>> = routes.iter().map(|route| route.name.clone()).collect();
    let table = RouteTable::new(routes, known.listeners.len());
    let conflicts = table.as_ref().err().map(Vec::as_slice).unwrap_or_default();
    let conflicting = |id: usize| conflicts.iter().any(|conflict| usize::from(conflict.second.0) == id);
    check_implied_names(&names, &fields, conflicting, context);
    for conflict in conflicts {
        let of = |id: RouteId| {
            let position = usize::from(id.0);
            Some((fields.get(position)?, names.get(position)?))
        };
        let (Some(((first, _), name)), Some(((second, _), other))) = (of(conflict.first), of(conflict.second)) else {
            continue;
        };
        let place = context.problems.place(first.position(), second.position());
        let column = first.position().column;
        let message = format!("the route `{other}` takes the same requests as `{name}` in {place}, column {column}");
        let hint = "give one of them another host, path, method or listener";
        context.problems.add(second.error(message).with_hint(hint));
    }
    let table = table.ok()?;
    let fields: Vec<Field<'_>> = fields.into_iter().map(|(field, _)| field).collect();
    // A route with a mistake may have lost what it matches.
    if !context.problems.has_errors() {
        prospects::check_reach(&table, &fields, context);
    }
    Some(table)
}

/// Routes that are not told apart by a name must differ in what they are called without one. Of those that take the
/// same requests nothing is said here.
fn check_implied_names(
    names: &[Box<str>],
    fields: &[(Field<'_>, bool)],
    conflicting: impl Fn(usize) -> bool,
    context: &mut Context<'_>,
) {
    let mut seen: HashMap<&str, &Field<'_>> = HashMap::new();
    for (name, (field, _)) in names.iter().zip(fields).filter(|(_, (_, is_named))| *is_named) {
        seen.insert(name, field);
    }
    for (position, (name, (field, is_named))) in names.iter().zip(fields).enumerate() {
        if *is_named || conflicting(position) {
            continue;
        }
        if let Some(first) = seen.insert(name, field) {
            let line = first.position().line;
            let message = format!("without `name` this route is called `{name}`, like the one in line {line}");
            context.problems.add(field.error(message).with_hint("give it a `name`"));
        }
    }
}

fn route(draft: Draft<'_>, known: &Known<'_>, context: &mut Context<'_>) -> Option<Route> {
    let Draft { section, field, sources, forward } = draft;
    let hosts = route_match::hosts(&section, context);
    let path = route_match::path(&section, context);
    let name = name(&section, &field, &hosts, path.as_ref(), context);
    let listeners = route_match::listeners(&section, known.listeners, context);
    let methods = route_match::methods(&section, context);
    let readings = route_match::readings(&section, context);
    let shown = name.as_deref().unwrap_or("?");
    let access = route_policy::access(&section, shown, known.issuers, known.identity, context);
    let rate_limits = rate_limit::read(&section, shown, &access, context);
    let action = action(&section, known.upstreams, context);
    let rewrite = match &action {
        // Defaults are for those routes that forward.
        Some(Action::Respond { .. }) => Rewrite::default(),
        Some(Action::Forward(_) | Action::AssertionKeys) | None => rewrite(&section, path.as_ref(), context),
    };
    let request_headers = changes(&section, "request_headers", Direction::Request, known.rules, context);
    let response_headers = changes(&section, "response_headers", Direction::Response, known.rules, context);
    let beside = browsers::Beside {
        sources: &sources,
        has_rate_limits: !rate_limits.limits().is_empty(),
        authentication: access.authentication,
        methods: methods.as_deref(),
        action: action.as_ref(),
        response_headers: &response_headers,
    };
    let (cross_site, cors) = browsers::read(&section, beside, context);
    Some(Route {
        name: name?,
        listeners,
        hosts,
        path: path?,
        methods,
        readings,
        authentication: access.authentication,
        issuers: access.issuers,
        requirement: access.requirement,
        observed: access.observed,
        observes_authentication: access.observes_authentication,
        addresses: addresses::read(&section, context),
        rate_limits,
        token_sources: sources,
        forward_token: forward,
        cross_site,
        cors,
        action: action?,
        rewrite,
        request_headers,
        response_headers,
        timeout: section.duration_or_none("timeout", &mut context.problems),
        body_limit: body_limit(&section, context),
        stream: stream(&section, context),
        log: log(&section, context),
    })
}

fn log(section: &Section<'_>, context: &mut Context<'_>) -> RouteLog {
    let words = [("on", RouteLog::On), ("errors", RouteLog::Errors), ("off", RouteLog::Off)];
    section.choice("log", &words, RouteLog::On, &mut context.problems)
}

fn stream(section: &Section<'_>, context: &mut Context<'_>) -> StreamRule {
    let stream = section.section("stream", STREAM, &mut context.problems);
    StreamRule {
        end_with_token: stream.boolean("end_with_token", &mut context.problems),
        idle_timeout: stream.duration_or_none("idle_timeout", &mut context.problems),
        max_age: stream.duration_or_none("max_age", &mut context.problems),
    }
}

fn body_limit(section: &Section<'_>, context: &mut Context<'_>) -> BodyLimit {
    let limits = section.section("limits", LIMITS, &mut context.problems);
    match (limits.optional("body_bytes"), limits.size_or_none("body_bytes", &mut context.problems)) {
        (None, _) => BodyLimit::Inherited,
        (Some(_), Some(bytes)) => BodyLimit::Bytes(bytes),
        (Some(_), None) => BodyLimit::Unlimited,
    }
}

fn name(
    section: &Section<'_>,
    field: &Field<'_>,
    hosts: &[HostPattern],
    path: Option<&PathPattern>,
    context: &mut Context<'_>,
) -> Option<Box<str>> {
    if let Some(named) = section.optional("name") {
        let name = named.string(&mut context.problems)?;
        return check_name(&named, name, false, &mut context.problems).then(|| Box::from(name));
    }
    let name = route_match::implied_name(hosts, path?);
    if !is_name(&name) {
        let problem = field.error("`name` is missing: host and path are no good name, which is short and plain");
        context.problems.add(problem.with_hint("a name is a label of metrics and logs"));
        return None;
    }
    Some(name.into())
}

fn action(section: &Section<'_>, upstreams: &Upstreams, context: &mut Context<'_>) -> Option<Action> {
    let field = section.exactly_one_of(&["upstream", "respond"], &mut context.problems)?;
    if field.name() == "upstream" {
        let name = field.string(&mut context.problems)?;
        let known = upstreams.names.iter().map(AsRef::as_ref);
        let position = position_of(&field, name, known, "upstream", &mut context.problems)?;
        return u16::try_from(position).ok().map(|position| Action::Forward(UpstreamId(position)));
    }
    let idle = ["rewrite", "request_headers", "timeout", "stream"];
    section.refuse(&idle, "cannot stand beside `respond`: nothing is forwarded", &mut context.problems);
    let respond = Section::read(&field, RESPOND, &mut context.problems)?;
    respond.required("status", &mut context.problems);
    let status = u16::try_from(respond.whole("status", &mut context.problems)).ok()?;
    let body = respond.optional("body").and_then(|field| {
        let text = field.string(&mut context.problems)?;
        if matches!(status, 204 | 205 | 304) {
            context.problems.add(field.key_error(format!("an answer with status {status} has no body")));
        }
        Some(Box::from(text))
    });
    Some(Action::Respond { status, body })
}

fn rewrite(section: &Section<'_>, matched: Option<&PathPattern>, context: &mut Context<'_>) -> Rewrite {
    let section = section.section("rewrite", REWRITE, &mut context.problems);
    let mut prefix = |name: &str| {
        let field = section.optional(name)?;
        let text = path::prefix(&field, context)?;
        if text.is_empty() {
            context.problems.add(field.error(format!("{} must be more than `/`", field.title())));
        }
        Some((field, text))
    };
    let (strip, add) = (prefix("strip_prefix"), prefix("add_prefix"));
    if let (Some((field, strip)), Some(matched)) = (&strip, matched)
        && !may_begin_with(matched, strip)
    {
        context.problems.add(never_strips(field, matched));
    }
    let host = section.optional("host").and_then(|field| {
        let text = field.string(&mut context.problems)?;
        if let Err(fault) = Host::parse(text) {
            context.problems.add(field.error(format!("{} is no host: {fault}", field.found())));
        }
        Some(Box::from(text))
    });
    Rewrite { strip_prefix: strip.map(|(_, text)| text), add_prefix: add.map(|(_, text)| text), host }
}

/// Whether a path that the pattern takes can begin with `strip`.
fn may_begin_with(matched: &PathPattern, strip: &str) -> bool {
    let is_below = |path: &str, prefix: &str| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match matched {
        PathPattern::Exact(path) => is_below(path, strip),
        PathPattern::Prefix(path) => is_below(path, strip) || is_below(strip, path),
    }
}

fn never_strips(field: &Field<'_>, matched: &PathPattern) -> ConfigError {
    let problem = field.error("no path of this route begins with `strip_prefix`");
    match matched {
        PathPattern::Prefix(path) if !field.is_from_variable() => {
            problem.with_hint(format!("its paths begin with `{path}`"))
        }
        PathPattern::Exact(_) | PathPattern::Prefix(_) => problem,
    }
}
