//! Says when the process is ready, and feeds the watchdog.
use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use pingora_core::{server::ShutdownWatch, services::background::BackgroundService};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

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
                log::logger().flush();
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
            if tokio::time::timeout(interval / 4, until_it_hangs_up(address)).await.is_ok() {
                systemd::alive();
            }
        }
    }
}

/// Whether the listener is alive: the system takes connections by itself, so that one is opened and ended, and the listener's
/// own answer to that is awaited, which is to end it too.
async fn until_it_hangs_up(address: &Address) {
    loop {
        let answered = match address {
            Address::Tcp(address) => match tokio::net::TcpStream::connect(reachable(*address)).await {
                Ok(stream) => is_ended_by_the_other(stream).await,
                Err(_) => false,
            },
            Address::Unix(path) => match tokio::net::UnixStream::connect(path).await {
                Ok(stream) => is_ended_by_the_other(stream).await,
                Err(_) => false,
            },
        };
        if answered {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn is_ended_by_the_other(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> bool {
    let _ = stream.shutdown().await;
    let mut rest = [0; 512];
    loop {
        match stream.read(&mut rest).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return true,
        }
    }
}

/// The address to connect to for one that listens everywhere.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback: IpAddr = if address.is_ipv4() { [127, 0, 0, 1].into() } else { Ipv6Addr::LOCALHOST.into() };
        address.set_ip(loopback);
    }
    address
}

async fn until_it_accepts(address: &Address) {
    loop {
        let accepted = match address {
            Address::Tcp(address) => tokio::net::TcpStream::connect(reachable(*address)).await.is_ok(),
            Address::Unix(path) => tokio::net::UnixStream::connect(path).await.is_ok(),
        };
        if accepted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
