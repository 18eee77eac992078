//! The upstreams of one installed configuration, ready for the request path: which server is next, and how to connect to
//! it. Choosing costs a few atomic operations and the copy of a finished peer. It never looks up a name for a request,
//! never waits and never connects; names are looked up, servers checked and certificates read again in the background, and
//! what was last good is kept.
mod balance;
mod checks;
mod credentials;
mod hashing;
mod health;
mod peer;
mod ready;
mod resolve;
mod servers;
mod shown;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::upstreams::peer::HttpPeer;
use tokio::task::JoinSet;

use crate::config::settings;
use crate::config::settings::{Balance, HashKey, UpstreamProtocol};
use crate::edge::clock;
pub use crate::edge::upstream::hashing::RequestKey;
pub use crate::edge::upstream::health::{HealthSlot, HealthView, LastCheck};
use crate::edge::upstream::servers::{Change, Servers};
pub use crate::edge::upstream::shown::{ServerView, UpstreamView};
use crate::gate::route::UpstreamId;

/// The upstreams of one configuration; an [`UpstreamId`] is a position among them.
#[derive(Debug)]
pub struct Upstreams {
    upstreams: Box<[Arc<Servers>]>,
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
    /// Where to tell how the attempt ended.
    pub health: Arc<HealthSlot>,
}

/// Why there is no server for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoServer {
    /// None has an address, or there is no such upstream.
    Unresolved,
    /// Every one of them fails, as its checks or the last requests showed.
    Unhealthy {
        /// When one of them is asked again.
        retry_after: Duration,
    },
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
    /// There is nothing that the certificate of a server could be for.
    NoCertificateName {
        /// Name of the upstream.
        upstream: Box<str>,
        /// The server as written.
        server: Box<str>,
    },
    /// A file of certificates or keys cannot be used.
    CredentialsUnusable {
        /// Name of the upstream.
        upstream: Box<str>,
        /// Which file, and why.
        fault: String,
    },
}

impl fmt::Display for UpstreamError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnixPathUnusable { upstream, server } => {
                write!(formatter, "upstream `{upstream}`: `{server}` is not usable as the path of a unix socket")
            }
            Self::NoCertificateName { upstream, server } => {
                write!(formatter, "upstream `{upstream}`: no certificate can be for the host of `{server}`")
            }
            Self::CredentialsUnusable { upstream, fault } => write!(formatter, "upstream `{upstream}`: {fault}"),
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
    /// [`Upstreams::resolve_at_start`], then [`Upstreams::keep_current`].
    ///
    /// # Errors
    ///
    /// When a server is a unix socket whose path no socket can have, or a file of TLS cannot be used.
    pub fn new(settings: &[settings::Upstream]) -> Result<Self, UpstreamError> {
        Self::build(settings, None)
    }

    /// The upstreams of another configuration that takes the place of this one. What is known of those that stay is kept, by
    /// their names and that of each server: addresses; the budget of retries; connections; health, as long as protocol and
    /// TLS are the same, and what checks found as long as the checks are. Files of certificates are read anew, so that this
    /// blocks for a moment.
    ///
    /// Both may serve requests at the same time: those in flight go on with the old ones, and what they tell of a server's
    /// health counts for the new ones too. The order of an exchange, of which only the first step can fail:
    ///
    /// 1. `let new = Arc::new(old.succeeded_by(&settings)?)`;
    /// 2. [`Upstreams::resolve_at_start`] on `new`, away from threads that serve requests: it looks up the names that are new;
    /// 3. `new` is installed for requests;
    /// 4. the future of [`Upstreams::keep_current`] of `old` is ended (its `shutdown`, or by dropping it), and that of `new`
    ///    begun. Two at once would only check every server twice.
    ///
    /// # Errors
    ///
    /// See [`Upstreams::new`]; these upstreams are then as they were.
    pub fn succeeded_by(&self, settings: &[settings::Upstream]) -> Result<Self, UpstreamError> {
        Self::build(settings, Some(self))
    }

    fn build(settings: &[settings::Upstream], before: Option<&Self>) -> Result<Self, UpstreamError> {
        let before = |name: &str| before?.upstreams.iter().find(|servers| *servers.settings().name == *name);
        let new = |settings: &settings::Upstream| {
            Servers::new(settings, before(&settings.name).map(AsRef::as_ref)).map(Arc::new)
        };
        let upstreams = settings.iter().map(new).collect::<Result<_, _>>()?;
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

    /// The server for one attempt at a request: in turn, at random or by its key, as the upstream has it, of those that are
    /// well.
    ///
    /// `tried` is what earlier attempts at the same request could not reach. While there is one, a server that is not
    /// among them is chosen, by weight and at random so that the share of a server that is down is spread; then another
    /// address of a server that is; then any. `key` counts where the upstream distributes by it; without one it is the next
    /// server's turn.
    ///
    /// # Errors
    ///
    /// Says why there is none.
    pub fn choose(&self, upstream: UpstreamId, tried: &[Target], key: Option<RequestKey>) -> Result<Chosen, NoServer> {
        self.servers(upstream).ok_or(NoServer::Unresolved)?.choose(tried, key)
    }

    /// What requests to an upstream are distributed by; nothing where it goes by turns.
    #[must_use]
    pub fn distributes_by(&self, upstream: UpstreamId) -> Option<HashKey> {
        match self.servers(upstream)?.settings().balance {
            Balance::ConsistentHash(key) => Some(key),
            Balance::RoundRobin | Balance::Random => None,
        }
    }

    /// Whether HTTP/2 is spoken to an upstream.
    #[must_use]
    pub fn speaks_http2(&self, upstream: UpstreamId) -> bool {
        self.servers(upstream).is_some_and(|servers| servers.settings().protocol == UpstreamProtocol::Http2)
    }

    /// Further attempts that an upstream allows when no connection could be made; none for an unknown upstream.
    #[must_use]
    pub fn retries(&self, upstream: UpstreamId) -> usize {
        self.servers(upstream).map_or(0, |servers| servers.settings().retries)
    }

    /// A request comes; it adds to what may be spent on further attempts.
    pub fn requested(&self, upstream: UpstreamId) {
        if let Some(servers) = self.servers(upstream) {
            servers.budget().requested();
        }
    }

    /// Takes one further attempt of what may be spent on them; false when nothing is left.
    #[must_use]
    pub fn may_retry(&self, upstream: UpstreamId) -> bool {
        self.servers(upstream).is_some_and(|servers| servers.budget().take(clock::monotonic()))
    }

    /// Does what has to be done again and again, until `shutdown`: looks up names (every 30 seconds, those without an address
    /// every 5), checks servers, reads certificates again that changed. What fails changes nothing.
    pub async fn keep_current(self: Arc<Self>, shutdown: impl Future<Output = ()> + Send) {
        let mut tasks = JoinSet::new();
        self.keep_resolving(&mut tasks);
        checks::keep_checking(&self.upstreams, &mut tasks);
        for servers in &self.upstreams {
            tasks.spawn(credentials::keep_reading(Arc::clone(servers)));
        }
        // They end with the set.
        shutdown.await;
    }

    fn servers(&self, upstream: UpstreamId) -> Option<&Servers> {
        self.upstreams.get(usize::from(upstream.0)).map(AsRef::as_ref)
    }

    /// Takes note of what a lookup brought.
    fn learn(&self, named: &Named, found: Option<Vec<SocketAddr>>) -> Change {
        let now = clock::monotonic();
        self.upstreams.get(named.upstream).map_or(Change::Nothing, |servers| servers.learn(named.server, found, now))
    }

    fn name(&self, named: &Named) -> &str {
        self.upstreams.get(named.upstream).map_or("", |servers| &servers.settings().name)
    }

    fn has_addresses(&self, named: &Named) -> bool {
        self.upstreams.get(named.upstream).is_some_and(|servers| servers.has_addresses(named.server))
    }
}

#[cfg(test)]
mod tests;
