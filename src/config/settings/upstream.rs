//! Where requests go, and how.
use std::path::PathBuf;
use std::time::Duration;

use crate::config::settings::Address;

/// Servers that requests are forwarded to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Name in routes, metrics and logs.
    pub name: Box<str>,
    /// The servers; at least one.
    pub servers: Vec<UpstreamServer>,
    /// How one is chosen.
    pub balance: Balance,
    /// What is spoken to them.
    pub protocol: UpstreamProtocol,
    /// How they are proven and what is shown to them; nothing without TLS.
    pub tls: Option<UpstreamTls>,
    /// How it is found out whether they are well; nothing when nobody asks.
    pub health_check: Option<HealthCheck>,
    /// How long it may take.
    pub timeouts: UpstreamTimeouts,
    /// Further attempts when no connection could be made.
    pub retries: usize,
}

/// What is spoken to the servers of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: agreed on with TLS (ALPN), without TLS by prior knowledge.
    Http2,
}

/// TLS to the servers of an upstream. The names of their certificates are always checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The name or IP address that certificates must be for; nothing for the host of each server.
    pub server_name: Option<Box<str>>,
    /// Certificates to trust, in PEM; nothing for the system's.
    pub ca_file: Option<PathBuf>,
    /// What is shown to the servers, in PEM.
    pub certificate: Option<CertificateFiles>,
}

/// Where a certificate and its private key are, of a listener or for the servers of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate's file as written: its label in metrics.
    pub written: Box<str>,
    /// The certificate, and those that lead to its authority.
    pub certificate: PathBuf,
    /// The private key.
    pub private_key: PathBuf,
}

/// How it is found out whether a server is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: HealthProbe,
    /// Between two checks of a server.
    pub interval: Duration,
    /// How long one check may take.
    pub timeout: Duration,
    /// Good checks in a row that make an unhealthy server healthy; at least one.
    pub healthy_threshold: u32,
    /// Failed checks in a row that make a healthy server unhealthy; at least one.
    pub unhealthy_threshold: u32,
}

/// What a server is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthProbe {
    /// To answer a GET with 2xx or 3xx.
    Http {
        /// The path.
        path: Box<str>,
        /// The `Host`; nothing for the server as written.
        host: Option<Box<str>>,
    },
    /// To accept a connection.
    Connection,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamServer {
    /// Address as written: the `server` of logs.
    pub written: Box<str>,
    /// What it means.
    pub address: UpstreamAddress,
    /// Share of requests, relative to the others; at least one.
    pub weight: u16,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamAddress {
    /// A socket.
    Socket(Address),
    /// A name that is looked up, and a port.
    Name {
        /// The name.
        host: Box<str>,
        /// The port.
        port: u16,
    },
}

/// How a server is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// In turn.
    RoundRobin,
    /// At random.
    Random,
    /// The same server for the same key, for as long as it is well.
    ConsistentHash(HashKey),
}

/// Whose requests go to the same server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// Those of one subject of one issuer; those without identity by address.
    Subject,
    /// Those from one client address, IPv6 by the first 64 bits.
    Address,
}

/// How long an upstream may take; each always has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamTimeouts {
    /// Until the connection stands.
    pub connect: Duration,
    /// Between two reads.
    pub read: Duration,
    /// Between two writes.
    pub write: Duration,
    /// How long an unused connection is kept.
    pub pool_idle: Duration,
}
