//! What is shown of upstreams: for the admin interface and the metrics. It changes nothing.
use std::net::SocketAddr;

use crate::config::settings::Upstream;
use crate::edge::upstream::Upstreams;
use crate::edge::upstream::health::HealthView;
use crate::edge::upstream::servers::Servers;
use crate::gate::time::UnixTime;
use crate::state::server_health::Standing;

/// One upstream.
#[derive(Debug)]
pub struct UpstreamView<'u> {
    /// As configured.
    pub settings: &'u Upstream,
    /// Until when the certificate is valid that is shown to its servers.
    pub certificate_not_after: Option<UnixTime>,
    /// In the order of the configuration.
    pub servers: Vec<ServerView<'u>>,
}

/// One server.
#[derive(Debug)]
pub struct ServerView<'u> {
    /// As written.
    pub written: &'u str,
    /// Its share, relative to the others.
    pub weight: u16,
    /// Every address that is known, with its health; nothing as the address of a unix socket.
    pub addresses: Vec<(Option<SocketAddr>, HealthView)>,
}

impl ServerView<'_> {
    /// Whether it gets requests at one of its addresses.
    pub fn is_healthy(&self) -> bool {
        self.addresses.iter().any(|(_, health)| health.standing == Standing::Available)
    }
}

impl Upstreams {
    /// All of them, in the order of the configuration.
    #[must_use]
    pub fn view(&self) -> Vec<UpstreamView<'_>> {
        self.upstreams.iter().map(|servers| view_of(servers)).collect()
    }
}

fn view_of(servers: &Servers) -> UpstreamView<'_> {
    let candidates = servers.candidates();
    let settings = servers.settings();
    let addresses = |position| {
        let own = candidates.iter().filter(|(_, candidate)| candidate.target.server == position);
        own.map(|(_, candidate)| (candidate.target.address, candidate.health.view())).collect()
    };
    UpstreamView {
        settings,
        certificate_not_after: servers.certificate_not_after(),
        servers: settings
            .servers
            .iter()
            .enumerate()
            .map(|(position, server)| ServerView {
                written: &server.written,
                weight: server.weight,
                addresses: addresses(position),
            })
            .collect(),
    }
}
