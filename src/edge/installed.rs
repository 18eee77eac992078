//! One configuration as requests meet it: gatekeeper, upstreams, and everything that can be resolved once instead of
//! per request. A request keeps the one that it began with.
use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    edge::{
        assertions::Assertions,
        issuer_keys::KeyWaiters,
        metrics::{Metrics, RouteMetrics, UNMATCHED, UpstreamMetrics},
        upstream::Upstreams,
    },
    gate::{
        firewall::HeaderFirewall,
        provenance::TrustedProxies,
        rejection::Rejection,
        route::{HeaderChanges, RouteId, UpstreamId},
    },
    state::gatekeeper::Gatekeeper,
};

/// A configuration that is in force.
#[derive(Debug)]
pub struct Installed {
    /// Decides.
    pub gatekeeper: Gatekeeper,
    /// Requests that wait for keys.
    pub waiters: Arc<KeyWaiters>,
    /// Where requests go.
    pub upstreams: Arc<Upstreams>,
    /// Whose word on clients is taken.
    pub trusted_proxies: TrustedProxies,
    /// Signs who is calling; nothing where that is not wanted.
    pub assertions: Option<Arc<Assertions>>,
    /// Whether header names with an underscore are removed.
    pub drop_underscore_headers: bool,
    /// The configuration as written, for `GET /config`.
    pub document: serde_json::Value,
    /// Which issuers must have keys before the host is ready, by position.
    pub required_for_readiness: Vec<bool>,
    /// Names of the identity headers, in the case in which they are sent, by position.
    pub identity_names: Vec<Bytes>,
    /// The identity headers alone: what no upstream may tell a client.
    pub response_firewall: HeaderFirewall,
    routes: Vec<InstalledRoute>,
    unmatched: RouteMetrics,
    upstream_metrics: Vec<UpstreamMetrics>,
    upstream_names: Vec<Box<str>>,
}

/// What is resolved of one route.
#[derive(Debug)]
pub struct InstalledRoute {
    /// Its counters.
    pub metrics: RouteMetrics,
    /// The names that the route sets on requests or removes from them: what the client sent leaves in every spelling.
    pub request_firewall: HeaderFirewall,
    /// Header fields to set on requests.
    pub request_set: Vec<(Bytes, http::HeaderValue)>,
    /// Header fields to set on responses.
    pub response_set: Vec<(Bytes, http::HeaderValue)>,
    /// Longest wait for the response's head.
    pub timeout: Option<Duration>,
}

/// The parts of a configuration that are its own.
#[derive(Debug)]
pub struct Parts {
    /// Decides.
    pub gatekeeper: Gatekeeper,
    /// Requests that wait for keys.
    pub waiters: Arc<KeyWaiters>,
    /// Where requests go.
    pub upstreams: Arc<Upstreams>,
    /// Names of the upstreams, by position.
    pub upstream_names: Vec<Box<str>>,
    /// Whose word on clients is taken.
    pub trusted_proxies: TrustedProxies,
    /// Signs who is calling.
    pub assertions: Option<Arc<Assertions>>,
    /// Whether header names with an underscore are removed.
    pub drop_underscore_headers: bool,
    /// The configuration as written.
    pub document: serde_json::Value,
    /// Which issuers must have keys before the host is ready, by position.
    pub required_for_readiness: Vec<bool>,
}

impl Installed {
    /// Resolves what requests need.
    pub fn new(parts: Parts, metrics: &Metrics) -> Self {
        let ruleset = parts.gatekeeper.ruleset();
        let issuers: Vec<&str> = ruleset.issuers.iter().map(|issuer| issuer.name.as_ref()).collect();
        let routes = ruleset
            .routes
            .routes()
            .iter()
            .map(|route| InstalledRoute {
                metrics: RouteMetrics::resolve(metrics, &route.name, &issuers, Rejection::LABELS),
                request_firewall: route_firewall(&route.request_headers),
                request_set: named(&route.request_headers),
                response_set: named(&route.response_headers),
                timeout: route.timeout,
            })
            .collect();
        let observing = ruleset.routes.routes().iter().filter(|route| route.observes_authentication);
        metrics.set_routes_observing_authentication(observing.count());
        let unmatched = RouteMetrics::resolve(metrics, UNMATCHED, &issuers, Rejection::LABELS);
        let names: Vec<Box<str>> = ruleset.identity_headers.iter().map(|header| header.name.clone()).collect();
        let asserted: Vec<Box<str>> = ruleset.assertion.iter().map(|rule| rule.header.clone()).collect();
        let upstream_metrics =
            parts.upstream_names.iter().map(|name| UpstreamMetrics::resolve(metrics, name)).collect();
        Self {
            identity_names: names.iter().map(|name| Bytes::copy_from_slice(name.as_bytes())).collect(),
            response_firewall: HeaderFirewall::of_names(&[names.as_slice(), asserted.as_slice()].concat()),
            routes,
            unmatched,
            upstream_metrics,
            upstream_names: parts.upstream_names,
            gatekeeper: parts.gatekeeper,
            waiters: parts.waiters,
            upstreams: parts.upstreams,
            trusted_proxies: parts.trusted_proxies,
            assertions: parts.assertions,
            drop_underscore_headers: parts.drop_underscore_headers,
            document: parts.document,
            required_for_readiness: parts.required_for_readiness,
        }
    }

    /// What is resolved of a route.
    pub fn route(&self, id: RouteId) -> Option<&InstalledRoute> {
        self.routes.get(usize::from(id.0))
    }

    /// The counters of a route, or those of requests that found none.
    pub fn route_metrics(&self, id: Option<RouteId>) -> &RouteMetrics {
        id.and_then(|id| self.route(id)).map_or(&self.unmatched, |route| &route.metrics)
    }

    /// The name of an upstream.
    pub fn upstream_name(&self, id: UpstreamId) -> Option<&str> {
        self.upstream_names.get(usize::from(id.0)).map(AsRef::as_ref)
    }

    /// The counters of an upstream.
    pub fn upstream_metrics(&self, id: UpstreamId) -> Option<&UpstreamMetrics> {
        self.upstream_metrics.get(usize::from(id.0))
    }
}

fn route_firewall(changes: &HeaderChanges) -> HeaderFirewall {
    let set = changes.set.iter().map(|(name, _)| name.clone());
    let removed = changes.remove.iter().map(|name| Box::from(name.as_str()));
    HeaderFirewall::of_names(&set.chain(removed).collect::<Vec<_>>())
}

fn named(changes: &HeaderChanges) -> Vec<(Bytes, http::HeaderValue)> {
    changes.set.iter().map(|(name, value)| (Bytes::copy_from_slice(name.as_bytes()), value.clone())).collect()
}
