//! Says when the process is ready, and feeds the watchdog.
use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use pingora_core::{server::ShutdownWatch, services::background::BackgroundService};

use crate::{
    config::settings::Address,
    edge::{admin::health::Health, issuer_keys::AllTried, proxy::Shared, reload::Reloader, systemd},
};

/// Longest wait for the listeners to accept connections.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait for issuers to be tried before the process says that it is ready to be asked.
const ISSUERS_PATIENCE: Duration = Duration::from_secs(20);

/// The service that waits until all is as it should be, and says so.
pub struct Readiness {
    /// Told that the listeners accept connections.
    pub health: Arc<Health>,
    /// What the listeners share.
    pub shared: Arc<Shared>,
    /// Says how things stand.
    pub reloader: Arc<Reloader>,
    /// Whether every issuer was tried once.
    pub all_tried: AllTried,
    /// The listeners' addresses.
    pub addresses: Vec<Address>,
}

#[async_trait]
impl BackgroundService for Readiness {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        for address in &self.addresses {
            if tokio::time::timeout(START_PATIENCE, until_it_accepts(address)).await.is_err() {
                // Pingora's listener ended in a panic of its own; a process without it must not go on.
                log::error!("nothing accepts connections on {address}");
                std::process::exit(1);
            }
        }
        self.health.listens();
        let _ = tokio::time::timeout(ISSUERS_PATIENCE, self.all_tried.clone().wait()).await;
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        let readiness = self.health.readiness(&self.shared.installed.load());
        log::info!("portcullis {} listens on {}", env!("CARGO_PKG_VERSION"), addresses.join(", "));
        if !readiness.is_ready() {
            log::warn!("not ready yet: {}", readiness.described(false).replace('\n', " "));
        }
        systemd::ready(&format!("listening on {}; {}", addresses.join(", "), self.reloader.status()));
        let Some(interval) = systemd::watchdog_interval() else { return };
        let Some(address) = self.addresses.first() else { return };
        loop {
            tokio::select! {
                _ = shutdown.changed() => return,
                () = tokio::time::sleep(interval / 2) => {}
            }
            if tokio::time::timeout(interval / 4, until_it_accepts(address)).await.is_ok() {
                systemd::alive();
            }
        }
    }
}

async fn until_it_accepts(address: &Address) {
    loop {
        let accepted = match address {
            Address::Tcp(address) => {
                let mut reachable = *address;
                if reachable.ip().is_unspecified() {
                    let loopback: std::net::IpAddr =
                        if reachable.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
                    reachable.set_ip(loopback);
                }
                tokio::net::TcpStream::connect(reachable).await.is_ok()
            }
            Address::Unix(path) => tokio::net::UnixStream::connect(path).await.is_ok(),
        };
        if accepted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
