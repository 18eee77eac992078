//! Peers as Pingora connects to them: made once for every address, copied for each request. It is only ever given
//! addresses, never a name, because Pingora would look that up on the spot and panic when it cannot.
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use pingora_core::protocols::TcpKeepalive;
use pingora_core::upstreams::peer::HttpPeer;

use crate::config::settings::{Upstream, UpstreamProtocol, UpstreamTimeouts};
use crate::edge::upstream::credentials::Credentials;

/// When TCP asks whether the other side is still there: it finds out within a minute and a half about a machine that is
/// gone without a word, also on connections that may be silent for longer than any timeout of ours.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: usize = 3;

/// How often a connection of HTTP/2 is asked whether the other side is still there: one that is gone without a word would take
/// all the requests on it along.
const PING_EVERY: Duration = Duration::from_secs(20);
/// Requests at once on one connection of HTTP/2, as far as the server allows them.
const STREAMS_MAX: usize = 100;

/// What all peers of one upstream have in common.
#[derive(Debug)]
pub(super) struct PeerForm {
    timeouts: UpstreamTimeouts,
    protocol: UpstreamProtocol,
    /// Nothing without TLS.
    credentials: Option<Credentials>,
    /// Keeps the connections of one upstream from requests of another that has a server at the same address, and those that
    /// were made under one set of certificates from requests under another. Made of names and certificates, so that
    /// connections outlive the exchange of a configuration.
    group_key: u64,
}

impl PeerForm {
    pub(super) fn new(settings: &Upstream, credentials: Option<Credentials>) -> Self {
        let mut hasher = DefaultHasher::new();
        settings.name.hash(&mut hasher);
        settings.protocol.hash(&mut hasher);
        credentials.as_ref().map(|credentials| credentials.fingerprint).hash(&mut hasher);
        Self { timeouts: settings.timeouts, protocol: settings.protocol, credentials, group_key: hasher.finish() }
    }

    /// The certificates in force; nothing without TLS.
    pub(super) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// A server at a TCP address whose certificate must be for `name`.
    pub(super) fn at_address(&self, address: SocketAddr, name: &str) -> HttpPeer {
        self.complete(HttpPeer::new(address, self.credentials.is_some(), name.to_owned()))
    }

    /// A server at a unix socket whose certificate must be for `name`; nothing when no socket can have that path.
    pub(super) fn at_path(&self, path: &Path, name: &str) -> Option<HttpPeer> {
        let peer = HttpPeer::new_uds(path.to_str()?, self.credentials.is_some(), name.to_owned()).ok()?;
        // The empty path makes a socket without a name, at which Pingora panics later.
        peer._address.as_unix()?.as_pathname()?;
        Some(self.complete(peer))
    }

    /// Pingora sets no timeout by itself.
    fn complete(&self, mut peer: HttpPeer) -> HttpPeer {
        peer.group_key = self.group_key;
        let options = &mut peer.options;
        if let Some(credentials) = &self.credentials {
            options.ca = credentials.authorities.clone();
            peer.client_cert_key = credentials.pair.clone();
        }
        match self.protocol {
            UpstreamProtocol::Http1 => options.set_http_version(1, 1),
            UpstreamProtocol::Http2 => {
                options.set_http_version(2, 2);
                options.max_h2_streams = STREAMS_MAX;
                options.h2_ping_interval = Some(PING_EVERY);
            }
        }
        options.connection_timeout = Some(self.timeouts.connect);
        options.total_connection_timeout = Some(self.timeouts.connect);
        options.read_timeout = Some(self.timeouts.read);
        options.write_timeout = Some(self.timeouts.write);
        options.idle_timeout = Some(self.timeouts.pool_idle);
        options.tcp_keepalive = Some(TcpKeepalive {
            idle: KEEPALIVE_IDLE,
            interval: KEEPALIVE_INTERVAL,
            count: KEEPALIVE_PROBES,
            // The system's own.
            #[cfg(target_os = "linux")]
            user_timeout: Duration::ZERO,
        });
        peer
    }
}

#[cfg(test)]
mod tests {
    use super::{Credentials, PeerForm};
    use crate::config::settings::{Balance, Upstream, UpstreamProtocol, UpstreamTimeouts};
    use pingora_core::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy, Peer as _};
    use std::path::Path;
    use std::time::Duration;

    fn settings(name: &str) -> Upstream {
        Upstream {
            name: name.into(),
            servers: Vec::new(),
            balance: Balance::RoundRobin,
            protocol: UpstreamProtocol::Http1,
            tls: None,
            health_check: None,
            timeouts: UpstreamTimeouts {
                connect: Duration::from_secs(2),
                read: Duration::from_secs(3),
                write: Duration::from_secs(4),
                pool_idle: Duration::from_secs(5),
            },
            retries: 0,
        }
    }

    fn form(name: &str) -> PeerForm {
        PeerForm::new(&settings(name), None)
    }

    fn check(peer: &HttpPeer) {
        let options = &peer.options;
        let timeouts = [
            options.connection_timeout,
            options.total_connection_timeout,
            options.read_timeout,
            options.write_timeout,
            options.idle_timeout,
        ];
        assert_eq!(timeouts, [2, 2, 3, 4, 5].map(|seconds| Some(Duration::from_secs(seconds))));
        assert_eq!(options.http_upstream_request_policy, HttpUpstreamRequestPolicy::standard());
        assert!(options.tcp_keepalive.is_some());
        assert!(!peer.is_tls());
    }

    #[test]
    fn every_peer_has_every_timeout() {
        check(&form("orders").at_address("192.0.2.1:80".parse().unwrap(), ""));
        check(&form("orders").at_address("[2001:db8::1]:80".parse().unwrap(), ""));
        check(&form("orders").at_path(Path::new("/run/orders.sock"), "").unwrap());
    }

    #[test]
    fn connections_are_shared_within_an_upstream_and_never_between_two() {
        let address = "192.0.2.1:80".parse().unwrap();
        let of = |name| form(name).at_address(address, "").reuse_hash();
        assert_eq!(of("orders"), of("orders"));
        assert_ne!(of("orders"), of("invoices"));
    }

    #[test]
    fn connections_are_never_shared_between_two_sets_of_certificates_or_protocols() {
        let address = "192.0.2.1:443".parse().unwrap();
        let hash = |settings: &Upstream, credentials: Option<Credentials>| {
            PeerForm::new(settings, credentials).at_address(address, "orders").reuse_hash()
        };
        let of = |fingerprint| Some(Credentials { fingerprint, ..Credentials::default() });
        let http1 = settings("orders");
        let http2 = Upstream { protocol: UpstreamProtocol::Http2, ..http1.clone() };
        assert_eq!(hash(&http1, of(1)), hash(&http1, of(1)));
        let all =
            [hash(&http1, None), hash(&http1, of(1)), hash(&http1, of(2)), hash(&http2, of(1)), hash(&http2, None)];
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn a_path_that_no_socket_can_have_makes_no_peer() {
        for path in [String::new(), format!("/{}", "a".repeat(108)), "/run/\0orders".to_owned()] {
            assert!(form("orders").at_path(Path::new(&path), "").is_none(), "{path:?}");
        }
    }
}
