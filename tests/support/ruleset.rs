//! Rules made of the gate's own types, for tests of decisions with a clock of their own.
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Version};
use portcullis::{
    config::settings::CacheLimits,
    gate::{
        algorithm::Algorithms,
        condition::Conditions,
        cross_site::CrossSiteRule,
        decide::{Decision, Ruleset},
        extraction::{HeaderValueSource, IdentityHeader},
        firewall::{FirewallNames, HeaderFirewall},
        issuer::{Audiences, ClaimPath, ClientPlace, Issuer, IssuerId, ScopesPlace, TokenTypes},
        keys::KeySet,
        network::AddressRule,
        policy::Requirement,
        readings::EncodedSlash,
        request::{Request, RequestLimits},
        route::{
            Action, Authentication, BodyLimit, Folding, HeaderChanges, HostPattern, ListenerId, PathPattern,
            PathReadings, Rewrite, Route, StreamRule,
        },
        route_table::RouteTable,
        sources::TokenSource,
        time::UnixTime,
    },
    state::{
        claims_cache::ClaimsCache,
        gatekeeper::{Gatekeeper, Judgement, Patience},
        key_slot::KeySlot,
    },
};

use super::fixture::{AUDIENCE, ISSUER};

/// An issuer with the defaults of the configuration.
pub(crate) fn issuer(name: &str, identifier: &str) -> Issuer {
    Issuer {
        name: name.into(),
        identifier: identifier.into(),
        audiences: Audiences::AnyOf(vec![AUDIENCE.into()]),
        audience_claim: "aud".into(),
        algorithms: Algorithms::asymmetric(),
        leeway: std::time::Duration::from_secs(30),
        token_types: TokenTypes::new(["JWT", "at+jwt"], false),
        required_claims: vec!["sub".into()],
        max_lifetime: None,
        subject: ClaimPath::top("sub"),
        roles: Some(ClaimPath::top("roles")),
        scopes: ScopesPlace::Usual,
        client: ClientPlace::Usual,
        requirement: Requirement::default(),
    }
}

/// A route below `prefix` that requires a token of the first issuer.
pub(crate) fn route(name: &str, prefix: &str) -> Route {
    Route {
        name: name.into(),
        listeners: vec![ListenerId(0)],
        hosts: vec![HostPattern::Any],
        path: PathPattern::Prefix(prefix.trim_end_matches('/').into()),
        methods: None,
        readings: PathReadings {
            case: Folding::Fold,
            trailing_slash: Folding::Fold,
            encoded_slash: EncodedSlash::MayDecode,
        },
        authentication: Authentication::Required,
        issuers: vec![IssuerId(0)],
        requirement: Requirement::default(),
        observed: None,
        observes_authentication: false,
        addresses: AddressRule::default(),
        token_sources: vec![TokenSource::Authorization],
        forward_token: false,
        cross_site: CrossSiteRule::default(),
        cors: None,
        action: Action::Respond { status: 204, body: None },
        rewrite: Rewrite::default(),
        request_headers: HeaderChanges::default(),
        response_headers: HeaderChanges::default(),
        timeout: None,
        body_limit: BodyLimit::Inherited,
        rate_limits: Default::default(),
        log: Default::default(),
        stream: StreamRule { end_with_token: true, idle_timeout: None, max_age: None },
    }
}

/// Rules with these issuers and routes.
pub(crate) fn ruleset(issuers: Vec<Issuer>, routes: Vec<Route>) -> Ruleset {
    let header = |name: &str, source| IdentityHeader { name: name.into(), source, required: false };
    let identity_headers = vec![
        header("X-User-ID", HeaderValueSource::Subject),
        header("X-User-Roles", HeaderValueSource::Roles),
        header("X-Tenant", HeaderValueSource::Claim(ClaimPath::new(["org", "tenant"]).unwrap())),
    ];
    let owned: Vec<Box<str>> = identity_headers.iter().map(|header| header.name.clone()).collect();
    Ruleset {
        routes: RouteTable::new(routes, 1).unwrap(),
        issuers,
        identity_headers,
        conditions: Conditions::default(),
        firewall: HeaderFirewall::new(FirewallNames { owned: &owned, ..FirewallNames::default() }),
        limits: RequestLimits {
            token_bytes: 8192,
            header_bytes: 32 * 1024,
            headers: 100,
            uri_bytes: 8192,
            body_bytes: None,
        },
        token_sources: vec![TokenSource::Authorization],
        realm: "api".into(),
        resource_metadata: None,
        assertion: None,
    }
}

/// The issuer `main` and one route for everything.
pub(crate) fn plain_ruleset() -> Ruleset {
    ruleset(vec![issuer("main", ISSUER)], vec![route("all", "/")])
}

/// A gatekeeper with these keys for each issuer, and a cache of so many entries.
pub(crate) fn gatekeeper(ruleset: Ruleset, key_sets: Vec<KeySet>, entries: usize) -> Gatekeeper {
    let slots = key_sets.into_iter().map(|set| Arc::new(KeySlot::fixed(Arc::new(set)))).collect();
    Gatekeeper::new(ruleset, slots, cache(entries), 0)
}

/// A cache of so many entries.
pub(crate) fn cache(entries: usize) -> Arc<ClaimsCache> {
    Arc::new(ClaimsCache::new(CacheLimits { entries, bytes: 64 << 20 }, [7; 32]))
}

/// Header fields with `Host` among them.
pub(crate) fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(http::header::HOST, HeaderValue::from_static("api.test"));
    for (name, value) in fields {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// Decides `GET path` with this token.
pub(crate) fn decide(gatekeeper: &Gatekeeper, path: &str, token: &str, now: UnixTime) -> Judgement {
    let headers = headers(&[("authorization", &format!("Bearer {token}"))]);
    let request = Request {
        listener: ListenerId(0),
        client: None,
        version: Version::HTTP_11,
        is_encrypted: false,
        method: "GET",
        authority: None,
        path,
        query: None,
        headers: &headers,
        target_bytes: path.len(),
        presented: None,
    };
    gatekeeper.decide(&request, now, Patience::NotFetched)
}

/// The label of the refusal, or `allowed`.
pub(crate) fn verdict(judgement: &Judgement) -> &'static str {
    match &judgement.decision {
        Decision::Pass(Some(_)) => "allowed",
        Decision::Pass(None) => "anonymous",
        Decision::Reject(refusal) => refusal.rejection().label(),
        Decision::AwaitKeys(_) => "await_keys",
    }
}
