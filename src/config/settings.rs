//! What a configuration means once it was understood: values of the gate's own types and plain settings, all checked.
//!
//! `Startup` is fixed while the process runs; `Live` can be replaced as a whole.
pub mod assertion;
mod upstream;

use std::{fmt, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use crate::config::secret::Secret;
use crate::config::settings::assertion::AssertionSettings;
use crate::config::settings::listener::Listener;
use crate::gate::{decide::Ruleset, keys::KeySet, provenance::TrustedProxies, revocation::Revocation};

pub mod listener;

pub use crate::config::settings::upstream::{
    Balance, CertificateFiles, HashKey, HealthCheck, HealthProbe, Upstream, UpstreamAddress, UpstreamProtocol,
    UpstreamServer, UpstreamTimeouts, UpstreamTls,
};

/// A whole configuration.
#[derive(Debug)]
pub struct Config {
    /// Fixed while the process runs.
    pub startup: Startup,
    /// Replaced as a whole.
    pub live: Live,
}

/// Settings that are fixed while the process runs.
#[derive(Debug)]
pub struct Startup {
    /// Where requests come in; a `ListenerId` is a position here.
    pub listeners: Vec<Listener>,
    /// Where operators look.
    pub admin: Admin,
    /// The process itself.
    pub server: Server,
    /// The access log.
    pub log: Log,
    /// Bounds of the claims cache.
    pub claims_cache: CacheLimits,
    /// What clients may take of the process.
    pub clients: ClientLimits,
}

/// Settings that can be replaced while the process runs.
#[derive(Debug)]
pub struct Live {
    /// The gate's rules.
    pub ruleset: Ruleset,
    /// Where each issuer's keys come from; positions as in the rule set.
    pub keys: Vec<IssuerKeys>,
    /// Where requests go; an `UpstreamId` is a position here.
    pub upstreams: Vec<Upstream>,
    /// Where the operators' revocations come from.
    pub revocation: Option<RevocationSource>,
    /// How the gateway says in a signature of its own who is calling, and by which keys.
    pub assertion: Option<AssertionSettings>,
    /// Whose word on clients is taken.
    pub trusted_proxies: TrustedProxies,
    /// Whether header names with an underscore are removed.
    pub drop_underscore_headers: bool,
    /// The configuration as written, variables unexpanded and secrets left out, for `GET /config`.
    pub document: serde_json::Value,
}

impl Live {
    /// The names of the upstreams, in their order.
    pub fn upstream_names(&self) -> Vec<Box<str>> {
        self.upstreams.iter().map(|upstream| upstream.name.clone()).collect()
    }

    /// Which issuers need keys for the process to be ready, in their order.
    pub fn required_for_readiness(&self) -> Vec<bool> {
        self.keys.iter().map(|keys| keys.required_for_readiness).collect()
    }
}

/// A socket to listen on or to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(formatter, "{address}"),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// The operators' interface.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where it listens; nothing when it is off.
    pub address: Option<Address>,
    /// Bearer token that reading needs.
    pub read_token: Option<Secret>,
    /// Bearer token that changes need over TCP; without it none are taken there. It may read too.
    pub write_token: Option<Secret>,
    /// Accepted `Host` values besides loopback names and the address itself, in lower case without port.
    pub allowed_hosts: Vec<Box<str>>,
}

/// The process itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Worker threads; nothing for one a core.
    pub threads: Option<usize>,
    /// Longest time from the request to stop until the process ends.
    pub grace_period: Duration,
    /// How long connections are still accepted after the request to stop; shorter than the grace period.
    pub drain_delay: Duration,
    /// Where state is kept.
    pub state_directory: StateDirectory,
    /// Where sockets are handed over in an upgrade; nothing for the usual place.
    pub upgrade_socket: Option<PathBuf>,
    /// Whether the configuration is reloaded when its files change.
    pub watches_files: bool,
}

/// Where state is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateDirectory {
    /// Where systemd says, else at the usual place where that can be written, else nowhere.
    Usual,
    /// Here; that this cannot be written is an error.
    At(PathBuf),
    /// Nowhere.
    Off,
}

/// The access log and the diagnostic log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Form of the access log.
    pub access: AccessFormat,
    /// Where the access log goes.
    pub output: LogOutput,
    /// Least severe level of the diagnostic log.
    pub level: log::LevelFilter,
    /// How subjects are shown.
    pub subject: SubjectForm,
    /// How client addresses are shown.
    pub client_ip: ClientAddressForm,
}

/// Form of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    /// One JSON object a line.
    Json,
    /// One line for people.
    Text,
    /// None.
    Off,
}

/// Where a log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOutput {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to.
    File(PathBuf),
}

/// How subjects are shown in the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectForm {
    /// As they are.
    Plain,
    /// As a digest, by which lines of one subject can be found together.
    Hash,
    /// Not at all.
    Off,
}

/// How client addresses are shown in the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAddressForm {
    /// As they are.
    Full,
    /// IPv4 without its last byte, IPv6 without its last 80 bits.
    Truncated,
    /// Not at all.
    Off,
}

/// Bounds of the claims cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Entries at most; zero turns it off.
    pub entries: usize,
    /// Bytes at most.
    pub bytes: u64,
}

/// What clients may take of the process: time, connections, patience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// How long a client may take.
    pub timeouts: ClientTimeouts,
    /// How many connections may be open.
    pub connections: ConnectionLimits,
    /// How many tokens from one address may fail; nothing without a limit.
    pub failed_authentications: Option<Rate>,
}

/// How many connections of clients may be open at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// On all listeners together.
    pub total: usize,
    /// From one address, IPv6 by the first 64 bits; nothing without a limit.
    pub per_address: Option<usize>,
}

/// So many events in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Events; at least one.
    pub events: u64,
    /// The time; at least a second.
    pub period: Duration,
}

/// How long a client may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientTimeouts {
    /// For the whole head of a request, from its first byte; for the first one from the opening of the connection.
    pub head: Duration,
    /// Between two reads of a body, and between two moments in which something of a response is taken.
    pub body: Duration,
    /// Between two requests on one connection.
    pub keepalive: Duration,
}

/// Where an issuer's keys come from.
#[derive(Debug)]
pub struct IssuerKeys {
    /// The source.
    pub source: KeySource,
    /// Whether the host is ready only when this issuer has keys.
    pub required_for_readiness: bool,
}

/// A source of keys.
#[derive(Debug)]
pub enum KeySource {
    /// Read when the configuration was: a public key or a secret.
    Fixed(Arc<KeySet>),
    /// A key set in a file, read when the configuration was, and again whenever the file changes.
    File(KeyFile),
    /// Not read because the configuration was understood without its secrets.
    Unread,
    /// A key set on a server, fetched in the background.
    Remote(RemoteKeys),
}

/// A key set in a file.
#[derive(Clone, Debug)]
pub struct KeyFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it held when the configuration was read; at least one key is usable.
    pub set: Arc<KeySet>,
}

/// How the key set on a server is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyLocation {
    /// At this URL.
    Url(String),
    /// Where the issuer's metadata says (OpenID Connect Discovery 1.0, RFC 8414). The identifier is a URL.
    Discovery,
}

/// A key set on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteKeys {
    /// Where it is.
    pub location: KeyLocation,
    /// Longest time between two fetches.
    pub refresh: Duration,
    /// Least time between two fetches that unknown keys provoke.
    pub cooldown: Duration,
    /// How long the last good set serves while none can be fetched.
    pub max_stale: Duration,
    /// Longest time that one fetch may take.
    pub timeout: Duration,
    /// PEM certificates to trust instead of the system's, for metadata and keys.
    pub ca_pem: Option<Vec<u8>>,
    /// Whether plain HTTP is allowed.
    pub insecure_http: bool,
}

/// Where the operators' revocations come from.
#[derive(Clone, Debug)]
pub enum RevocationSource {
    /// A file.
    File(RevocationFile),
    /// A list on a server.
    Remote(RemoteRevocations),
}

/// A list of revocations in a file.
#[derive(Clone, Debug)]
pub struct RevocationFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it held when the configuration was read.
    pub entries: Vec<Revocation>,
}

/// A list of revocations on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteRevocations {
    /// Where it is.
    pub url: String,
    /// Time between two fetches.
    pub refresh: Duration,
    /// Longest time that one fetch may take.
    pub timeout: Duration,
    /// PEM certificates to trust instead of the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// Whether plain HTTP is allowed.
    pub insecure_http: bool,
}
