//! What a listener is told: where requests come in, and how their connections begin.
use std::path::PathBuf;

use crate::config::settings::{Address, CertificateFiles};

/// One socket on which requests come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name in routes; its address unless it was given one.
    pub name: Box<str>,
    /// Where it listens.
    pub address: Address,
    /// Its TLS; nothing where requests come unencrypted.
    pub tls: Option<ListenerTls>,
    /// Whether it speaks HTTP/2 besides HTTP/1.1: by ALPN with TLS, by prior knowledge without.
    pub http2: bool,
    /// Whether connections begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// The port to which requests are sent by https; nothing where they are served.
    pub redirect: Option<u16>,
}

/// TLS of a listener. The files were seen to be right when the configuration was read; they are read again when it starts,
/// and whenever they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// At least one; the first is for clients that ask for no name, or for one that none has.
    pub certificates: Vec<CertificateFiles>,
    /// Who signs the certificates of clients, and whether they need one; nothing where they are not asked for one.
    pub clients: Option<ClientCertificates>,
}

/// What is asked of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// The authorities.
    pub authorities: PathBuf,
    /// Whether a client without certificate gets no connection.
    pub are_required: bool,
}
