//! Why a route was not the one, for people: it follows from the patterns of a route whether it takes a request, and what
//! makes another one more specific. It finds no route: that is for `route_table.rs`, and a test holds the two together.
use crate::gate::{
    host::Host,
    path::RequestPath,
    route::{HostPattern, ListenerId, PathPattern, Route},
};

/// Why a route is not the one for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// It takes host and path, and other methods only.
    Method,
    /// It takes the request; another route lists the method.
    AnyMethod,
    /// It takes the request; another route's path is more specific.
    Path,
    /// It takes the request; another route's host is more specific.
    Host,
    /// It is for other hosts.
    OtherHost,
    /// It is for other paths of this host.
    OtherPath,
    /// It is for other hosts and paths.
    Unrelated,
    /// It is not for this listener.
    OtherListener,
}

/// How specific a route's host pattern is for a host: greater wins.
fn host_rank(route: &Route, host: &str) -> Option<usize> {
    let rank = |pattern: &HostPattern| match pattern {
        HostPattern::Exact(name) => (**name == *host).then_some(usize::MAX),
        HostPattern::Below(suffix) => (host.len() > suffix.len() && host.ends_with(&**suffix)).then_some(suffix.len()),
        HostPattern::Any => Some(0),
    };
    route.hosts.iter().filter_map(rank).max()
}

/// How specific a path pattern is for a path: greater wins.
fn path_rank(pattern: &PathPattern, path: &str) -> Option<usize> {
    match pattern {
        PathPattern::Exact(exact) => (**exact == *path).then_some(usize::MAX),
        PathPattern::Prefix(prefix) => {
            let rest = path.strip_prefix(&**prefix)?;
            (rest.is_empty() || rest.starts_with('/')).then_some(prefix.len())
        }
    }
}

/// Why `route` is not the one that a request found: that is `winner`, or nothing.
pub fn loss(
    route: &Route,
    winner: Option<&Route>,
    listener: ListenerId,
    (host, path): (&Host<'_>, &RequestPath<'_>),
    method: &str,
) -> Loss {
    if !route.listeners.contains(&listener) {
        return Loss::OtherListener;
    }
    let ranks = |route: &Route| (host_rank(route, host.name()), path_rank(&route.path, path.as_str()));
    let (own_host, own_path) = match ranks(route) {
        (Some(host), Some(path)) => (host, path),
        (Some(_), None) => return Loss::OtherPath,
        (None, Some(_)) => return Loss::OtherHost,
        (None, None) => return Loss::Unrelated,
    };
    let Some(winner) = winner else { return Loss::Method };
    match ranks(winner) {
        (Some(host), _) if host > own_host => Loss::Host,
        (_, Some(path)) if path > own_path => Loss::Path,
        (_, _) if !route.takes(method) => Loss::Method,
        (_, _) => Loss::AnyMethod,
    }
}
