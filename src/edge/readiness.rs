//! Says when the process is ready, and feeds the watchdog.
use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use pingora_core::{server::ShutdownWatch, services::background::BackgroundService};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::watch,
};

use crate::{
    config::settings::Address,
    edge::{admin::health::Health, issuer_keys::AllTried, proxy::Shared, reload::Reloader, systemd, upgrade::TakeOver},
};

/// Longest wait for the listeners to accept connections.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait for issuers to be tried before the process says that it is ready to be asked.
const ISSUERS_PATIENCE: Duration = Duration::from_secs(20);
/// How long an issuer that was tried in vain is tried again before another process takes over.
const RETRY_PATIENCE: Duration = Duration::from_secs(4);
/// How often it is looked whether what takes over could serve.
const LOOK: Duration = Duration::from_millis(20);

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
    /// The admin interface's: whoever hears that the process is ready may ask it anything.
    pub admin_addresses: Vec<Address>,
    /// In whose place this process is to serve; nothing when it simply starts.
    pub take_over: Option<TakeOver>,
    /// Has the listeners accept connections.
    pub open: watch::Sender<bool>,
}

impl Readiness {
    /// Becomes what could serve, and waits until it shall; ends the process when it cannot.
    async fn await_turn(&self, take_over: &TakeOver) {
        let ready = async {
            while !self.health.is_prepared(&self.shared.installed.load()) {
                tokio::time::sleep(LOOK).await;
            }
        };
        let _ = tokio::time::timeout(ISSUERS_PATIENCE, self.all_tried.clone().wait()).await;
        let is_prepared = tokio::time::timeout(RETRY_PATIENCE, ready).await.is_ok();
        if take_over.must_be_ready() && !is_prepared {
            let readiness = self.health.readiness(&self.shared.installed.load());
            let missing = readiness.described(false).lines().collect::<Vec<_>>().join(" ");
            end(take_over, &format!("the new process would not be ready: {missing}"));
        }
        let (conversation, metrics) = (take_over.clone(), Arc::clone(&self.shared.metrics));
        match tokio::task::spawn_blocking(move || conversation.await_turn(&metrics)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => end(take_over, &error.to_string()),
            Err(_) => end(take_over, "it was interrupted"),
        }
    }

    /// Says that this process serves, and takes the lead.
    async fn lead(&self, take_over: &TakeOver) {
        let (conversation, metrics) = (take_over.clone(), Arc::clone(&self.shared.metrics));
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || conversation.serves(&metrics)).await {
            log::warn!("{error}; this one serves");
        }
    }
}

/// Ends a process that was to take over and cannot.
fn end(take_over: &TakeOver, why: &str) -> ! {
    log::error!("{why}");
    take_over.fail(why);
    log::logger().flush();
    std::process::exit(1)
}

#[async_trait]
impl BackgroundService for Readiness {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        if let Some(take_over) = &self.take_over {
            self.await_turn(take_over).await;
            self.open.send_replace(true);
        }
        for address in self.addresses.iter().chain(&self.admin_addresses) {
            if tokio::time::timeout(START_PATIENCE, until_it_accepts(address)).await.is_err() {
                // Pingora's listener ended in a panic of its own; a process without it must not go on.
                let why = format!("nothing accepts connections on {address}");
                if let Some(take_over) = &self.take_over {
                    end(take_over, &why);
                }
                log::error!("{why}");
                log::logger().flush();
                std::process::exit(1);
            }
        }
        self.health.listens();
        // Who takes over has waited before, and serves already: whoever is to give way waits for this word.
        if self.take_over.is_none() {
            let _ = tokio::time::timeout(ISSUERS_PATIENCE, self.all_tried.clone().wait()).await;
        }
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        let readiness = self.health.readiness(&self.shared.installed.load());
        log::info!("portcullis {} listens on {}", env!("CARGO_PKG_VERSION"), addresses.join(", "));
        if !readiness.is_ready() {
            log::warn!("not ready yet: {}", readiness.described(false).replace('\n', " "));
        }
        if let Some(take_over) = &self.take_over {
            self.lead(take_over).await;
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
