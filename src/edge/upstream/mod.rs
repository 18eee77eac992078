//! The upstreams of one installed configuration, ready for the request path: which server is next, and how to connect to
//! it. Choosing costs a few atomic operations and the copy of a finished peer. It never looks up a name for a request,
//! never waits and never connects; names are looked up in the background, and what was last good is kept.
mod balance;
mod peer;
mod resolve;
mod servers;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use pingora_core::upstreams::peer::HttpPeer;

use crate::config::settings;
use crate::edge::upstream::servers::{Change, Servers};
use crate::gate::route::UpstreamId;

/// The upstreams of one configuration; an [`UpstreamId`] is a position among them.
#[derive(Debug)]
pub struct Upstreams {
    upstreams: Box<[Servers]>,
    /// Every server that is written as a name.
    named: Box<[Arc<Named>]>,
}

/// The server that a request goes to.
#[derive(Debug)]
pub struct Chosen {
    /// How to connect to it: every timeout is set, and it is this request's own to change.
    pub peer: Box<HttpPeer>,
    /// Its address as written in the configuration: the `server` of logs.
    pub server: Arc<str>,
    /// What to hand to [`Upstreams::choose`] when it could not be reached.
    pub target: Target,
}

/// One server at one address, to be told apart from the others by a further attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Position among the servers of its upstream.
    server: usize,
    /// Nothing for a unix socket, which is the only one of its server.
    address: Option<SocketAddr>,
}

/// Why upstreams cannot be made ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamError {
    /// The path of a unix socket is empty, too long (108 bytes with the final zero) or not UTF-8.
    UnixPathUnusable {
        /// Name of the upstream.
        upstream: Box<str>,
        /// The server as written.
        server: Box<str>,
    },
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnixPathUnusable { upstream, server } => {
                write!(formatter, "upstream `{upstream}`: `{server}` is not usable as the path of a unix socket")
            }
        }
    }
}

impl std::error::Error for UpstreamError {}

/// A server that is written as a name.
#[derive(Debug)]
struct Named {
    /// Position of its upstream.
    upstream: usize,
    /// Position within the upstream.
    server: usize,
    host: Box<str>,
    port: u16,
}

impl Upstreams {
    /// Makes upstreams ready. Servers that are names get no requests until they were looked up:
    /// [`Upstreams::resolve_at_start`], then [`Upstreams::keep_resolving`].
    ///
    /// # Errors
    ///
    /// When a server is a unix socket whose path no socket can have.
    pub fn new(settings: &[settings::Upstream]) -> Result<Self, UpstreamError> {
        let upstreams = settings.iter().map(Servers::new).collect::<Result<_, _>>()?;
        let mut named = Vec::new();
        for (upstream, settings) in settings.iter().enumerate() {
            for (server, settings) in settings.servers.iter().enumerate() {
                if let settings::UpstreamAddress::Name { host, port } = &settings.address {
                    named.push(Arc::new(Named { upstream, server, host: host.clone(), port: *port }));
                }
            }
        }
        Ok(Self { upstreams, named: named.into() })
    }

    /// The server for one attempt at a request: in turn or at random, as the upstream has it.
    ///
    /// `tried` is what earlier attempts at the same request could not reach. While there is one, a server that is not
    /// among them is chosen, by weight and at random so that the share of a server that is down is spread; then another
    /// address of a server that is; then any.
    ///
    /// Nothing when no server of the upstream has an address yet, or when there is no such upstream.
    #[must_use]
    pub fn choose(&self, upstream: UpstreamId, tried: &[Target]) -> Option<Chosen> {
        self.upstreams.get(usize::from(upstream.0))?.choose(tried)
    }

    /// Further attempts that an upstream allows when no connection could be made; none for an unknown upstream.
    #[must_use]
    pub fn retries(&self, upstream: UpstreamId) -> usize {
        self.upstreams.get(usize::from(upstream.0)).map_or(0, Servers::retries)
    }

    /// Takes note of what a lookup brought.
    fn learn(&self, named: &Named, found: Option<Vec<SocketAddr>>) -> Change {
        self.upstreams.get(named.upstream).map_or(Change::Nothing, |servers| servers.learn(named.server, found))
    }

    fn name(&self, named: &Named) -> &str {
        self.upstreams.get(named.upstream).map_or("", Servers::name)
    }

    fn has_addresses(&self, named: &Named) -> bool {
        self.upstreams.get(named.upstream).is_some_and(|servers| servers.has_addresses(named.server))
    }
}

#[cfg(test)]
mod tests;
