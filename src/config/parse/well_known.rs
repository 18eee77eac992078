//! What the gateway itself publishes on its listeners: `resource`, and the keys of assertions. Each is a route like those
//! that are written, so that paths are judged alike and none is taken away from a route unnoticed.
use std::time::Duration;

use http::HeaderValue;

use crate::config::field::Field;
use crate::config::keys::top::RESOURCE;
use crate::config::parse::context::Context;
use crate::config::parse::issuers::Issuers;
use crate::config::parse::path;
use crate::config::parse::section::Section;
use crate::gate::cors::{AllowedOrigins, Cors, CorsGrant, CorsRule};
use crate::gate::cross_site::CrossSiteRule;
use crate::gate::network::AddressRule;
use crate::gate::policy::Requirement;
use crate::gate::rate_limit::RateLimits;
use crate::gate::resource::{ResourceFacts, ResourceIdentifier, metadata};
use crate::gate::route::{
    Action, Authentication, BodyLimit, HeaderChanges, HostPattern, ListenerId, PathPattern, PathReadings, Rewrite,
    Route, RouteLog, StreamRule,
};
use crate::gate::sources::TokenSource;

/// Where the keys of assertions are.
const KEYS_PATH: &str = "/.well-known/jwks.json";
/// How long others may remember what is published: so long a change may take to be seen.
const MAX_AGE: &str = "public, max-age=300";

/// What is published.
#[derive(Debug, Default)]
pub(in crate::config) struct WellKnown<'a> {
    resource: Option<(Field<'a>, &'a str)>,
    keys: Option<Field<'a>>,
}

/// Reads `resource`; `keys` is where the configuration says that those of assertions are published, if it does.
pub(in crate::config) fn read<'a>(
    top: &Section<'a>,
    keys: Option<Field<'a>>,
    context: &mut Context<'_>,
) -> WellKnown<'a> {
    let resource = top.optional("resource").and_then(|field| identifier(&field, context));
    WellKnown { resource, keys }
}

fn identifier<'a>(field: &Field<'a>, context: &mut Context<'_>) -> Option<(Field<'a>, &'a str)> {
    let section = Section::read(field, RESOURCE, &mut context.problems)?;
    let field = section.required("identifier", &mut context.problems)?;
    let text = field.string(&mut context.problems)?;
    match ResourceIdentifier::parse(text) {
        Ok(identifier) if identifier.path().is_empty() || path::is_plain(identifier.path()) => Some((field, text)),
        Ok(_) => {
            context.problems.add(field.error("the path of a resource must be read alike by every server"));
            None
        }
        Err(fault) => {
            let problem = field.error(format!("this is no URL of a resource: {fault}"));
            context.problems.add(problem.with_hint("such as `https://api.example.com`"));
            None
        }
    }
}

impl<'a> WellKnown<'a> {
    /// The URL of the metadata, as challenges name it.
    pub(in crate::config) fn metadata_url(&self) -> Option<Box<str>> {
        let identifier = ResourceIdentifier::parse(self.resource.as_ref()?.1).ok()?;
        Some(identifier.metadata_url().into())
    }

    /// The routes that publish, each with what it is there for.
    pub(in crate::config) fn routes(
        &self,
        routes: &[Route],
        (listeners, issuers): (usize, &Issuers),
    ) -> Vec<(Field<'a>, Route)> {
        let mut found = Vec::new();
        let own;
        let patterns = routes.iter().flat_map(|route| &route.hosts);
        if let Some((field, text)) = &self.resource
            && let Ok(identifier) = ResourceIdentifier::parse(text)
        {
            own = HostPattern::Exact(identifier.host().into());
            let body = metadata(&identifier, &facts(routes, issuers));
            let action = Action::Respond { status: 200, body: Some(body.into()) };
            let hosts = hosts(patterns.clone().chain([&own]));
            found.push((field.clone(), route(&identifier.metadata_path(), hosts, listeners, action)));
        }
        if let Some(field) = &self.keys {
            found.push((field.clone(), route(KEYS_PATH, hosts(patterns), listeners, Action::AssertionKeys)));
        }
        found
    }
}

/// Every host: those that routes are for are named besides, because a route for one host comes before one for any.
fn hosts<'r>(patterns: impl Iterator<Item = &'r HostPattern>) -> Vec<HostPattern> {
    let mut hosts = vec![HostPattern::Any];
    for pattern in patterns {
        if !hosts.contains(pattern) {
            hosts.push(pattern.clone());
        }
    }
    hosts
}

fn facts<'c>(routes: &'c [Route], issuers: &'c Issuers) -> ResourceFacts<'c> {
    let protected = || routes.iter().filter(|route| route.authentication != Authentication::Public);
    let mut facts = ResourceFacts::default();
    for (issuer, _) in issuers.issuers.iter().flatten() {
        if issuer.identifier.starts_with("https://") || issuer.identifier.starts_with("http://") {
            facts.authorization_servers.push(&issuer.identifier);
        }
    }
    for names in protected().filter_map(|route| route.requirement.scopes.as_ref()) {
        facts.scopes.extend(names.names().iter().map(AsRef::as_ref));
    }
    facts.scopes.sort_unstable();
    facts.scopes.dedup();
    let reads = |wanted: &dyn Fn(&TokenSource) -> bool| protected().any(|route| route.token_sources.iter().any(wanted));
    if reads(&|source| *source == TokenSource::Authorization) {
        facts.bearer_methods.push("header");
    }
    // RFC 6750 §2.3: of this name.
    if reads(&|source| matches!(source, TokenSource::Query(name) if **name == *"access_token")) {
        facts.bearer_methods.push("query");
    }
    facts
}

/// A route for everybody that answers reading at one path.
fn route(path: &str, hosts: Vec<HostPattern>, listeners: usize, action: Action) -> Route {
    let value = |text| HeaderValue::from_static(text);
    let everybody = CorsGrant {
        origins: AllowedOrigins::Any,
        methods: None,
        headers: vec!["*".into()],
        expose: Vec::new(),
        credentials: false,
        max_age: Some(Duration::from_secs(600)),
    };
    Route {
        name: path.into(),
        listeners: (0..listeners).filter_map(|position| u16::try_from(position).ok()).map(ListenerId).collect(),
        hosts,
        path: PathPattern::Exact(path.into()),
        methods: Some(vec!["GET".into()]),
        readings: PathReadings::default(),
        authentication: Authentication::Public,
        issuers: Vec::new(),
        requirement: Requirement::default(),
        observed: None,
        observes_authentication: false,
        addresses: AddressRule::default(),
        rate_limits: RateLimits::default(),
        token_sources: Vec::new(),
        forward_token: false,
        cross_site: CrossSiteRule::default(),
        cors: Some(Cors::Gate(Box::new(CorsRule::new(everybody)))),
        action,
        rewrite: Rewrite::default(),
        request_headers: HeaderChanges::default(),
        response_headers: HeaderChanges {
            set: vec![
                ("Content-Type".into(), value("application/json")),
                ("Cache-Control".into(), value(MAX_AGE)),
                ("X-Content-Type-Options".into(), value("nosniff")),
            ],
            remove: Vec::new(),
        },
        timeout: None,
        body_limit: BodyLimit::Inherited,
        log: RouteLog::On,
        stream: StreamRule { end_with_token: true, idle_timeout: None, max_age: None },
    }
}
