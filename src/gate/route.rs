//! One route: which requests it takes, who may use it, and where they go.
use std::time::Duration;

use crate::gate::{
    cors::Cors, cross_site::CrossSiteRule, issuer::IssuerId, network::AddressRule, policy::Requirement,
    rate_limit::RateLimits, readings::EncodedSlash, sources::TokenSource,
};

/// Position of a route among those of one configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub u16);

/// Position of a listener among those of one configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u16);

/// Position of an upstream among those of one configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamId(pub u16);

/// Which hosts a route is for, in the compared spelling of [`crate::gate::host::Host`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This host.
    Exact(Box<str>),
    /// Every host that ends with this, which begins with a dot: `*.example.org`, at any depth.
    Below(Box<str>),
    /// Every host.
    Any,
}

/// Which paths a route is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// This path and no other.
    Exact(Box<str>),
    /// This path and everything below it; ends at a segment boundary, so it has no final slash, and `/` is empty.
    Prefix(Box<str>),
}

impl PathPattern {
    /// The path as written in the pattern.
    pub fn text(&self) -> &str {
        match self {
            Self::Exact(path) | Self::Prefix(path) => path,
        }
    }
}

/// Whether the server behind the route folds a difference in how it reads paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folding {
    /// It may: paths that differ so must not belong to different routes.
    Fold,
    /// It is known not to.
    Exact,
}

/// How the server behind the route may read paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathReadings {
    /// Upper case and lower case.
    pub case: Folding,
    /// With and without a final slash.
    pub trailing_slash: Folding,
    /// `%2F` as a slash.
    pub encoded_slash: EncodedSlash,
}

impl Default for PathReadings {
    fn default() -> Self {
        Self { case: Folding::Fold, trailing_slash: Folding::Fold, encoded_slash: EncodedSlash::MayDecode }
    }
}

/// Whether a route asks for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// No token, no entry.
    Required,
    /// Without a token the request passes without identity; a bad one is still refused.
    Optional,
    /// Tokens are not looked at, only removed.
    Public,
}

/// How long the body of a request may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyLimit {
    /// As long as on every route that says nothing else.
    #[default]
    Inherited,
    /// So many bytes at most.
    Bytes(u64),
    /// As long as the client likes.
    Unlimited,
}

/// Which requests of a route have a line in the access log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteLog {
    /// All.
    #[default]
    On,
    /// Those that were refused, failed, or answered with a status of 400 or more.
    Errors,
    /// None.
    Off,
}

/// What becomes of a request that may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is forwarded.
    Forward(UpstreamId),
    /// It is answered with this status and an optional body of plain text.
    Respond {
        /// HTTP status code, 200 to 599.
        status: u16,
        /// Body, or none.
        body: Option<Box<str>>,
    },
    /// It is answered with the public keys of assertions.
    AssertionKeys,
}

/// Changes to the path and host of a forwarded request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// Removed from the start of the path, at a segment boundary.
    pub strip_prefix: Option<Box<str>>,
    /// Put before the path.
    pub add_prefix: Option<Box<str>>,
    /// Sent as `Host`.
    pub host: Option<Box<str>>,
}

/// Header fields that a route sets and removes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderChanges {
    /// Names as configured, with their values.
    pub set: Vec<(Box<str>, http::HeaderValue)>,
    /// Names to remove.
    pub remove: Vec<http::HeaderName>,
}

/// What ends a stream besides its two ends: an upgraded connection, or a response that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamRule {
    /// Whether it ends when its token does.
    pub end_with_token: bool,
    /// Longest time without a byte in either direction.
    pub idle_timeout: Option<Duration>,
    /// Longest time in all.
    pub max_age: Option<Duration>,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Name: the label of metrics and logs.
    pub name: Box<str>,
    /// The listeners it is for.
    pub listeners: Vec<ListenerId>,
    /// The hosts it is for.
    pub hosts: Vec<HostPattern>,
    /// The paths it is for.
    pub path: PathPattern,
    /// The methods it takes, or any. `GET` implies `HEAD`.
    pub methods: Option<Vec<Box<str>>>,
    /// How its upstream may read paths.
    pub readings: PathReadings,
    /// Whether it asks for a token.
    pub authentication: Authentication,
    /// Whose tokens it accepts.
    pub issuers: Vec<IssuerId>,
    /// What it requires of an identity.
    pub requirement: Requirement,
    /// What it would require were a rule on trial in force: looked at for identities that may pass, never enforced.
    pub observed: Option<Requirement>,
    /// Whether a request passes without identity where its token would have it refused: `insecure_observe_authentication`.
    pub observes_authentication: bool,
    /// Which clients it is for, by their address.
    pub addresses: AddressRule,
    /// How many requests it takes of one caller.
    pub rate_limits: RateLimits,
    /// Where tokens may be.
    pub token_sources: Vec<TokenSource>,
    /// Whether the token itself is forwarded.
    pub forward_token: bool,
    /// When a token from a cookie counts.
    pub cross_site: CrossSiteRule,
    /// What pages of other origins may do; nothing: browsers are told nothing.
    pub cors: Option<Cors>,
    /// What becomes of requests.
    pub action: Action,
    /// Changes to path and host.
    pub rewrite: Rewrite,
    /// Changes to request header fields.
    pub request_headers: HeaderChanges,
    /// Changes to response header fields.
    pub response_headers: HeaderChanges,
    /// Longest wait for the response's head; nothing waits for ever, so none is the upstream's own limit.
    pub timeout: Option<Duration>,
    /// How long a request body may be.
    pub body_limit: BodyLimit,
    /// Which of its requests have a line in the access log.
    pub log: RouteLog,
    /// What ends streams.
    pub stream: StreamRule,
}

impl Route {
    /// Whether the route takes `method`.
    pub fn takes(&self, method: &str) -> bool {
        self.methods.as_ref().is_none_or(|methods| Self::is_among(methods, method))
    }

    /// Whether a route of these methods takes `method`.
    pub fn is_among(methods: &[Box<str>], method: &str) -> bool {
        methods.iter().any(|taken| taken.as_ref() == method || (method == "HEAD" && taken.as_ref() == "GET"))
    }
}
