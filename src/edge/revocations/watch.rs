//! The background of revocations: looks at the operators' file, fetches their list, drops what has ended.
use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use pingora_core::{server::ShutdownWatch, services::background::BackgroundService};

use crate::{
    config::{
        bounds::LIST_BYTES_MAX,
        revocation_list::KnownIssuers,
        settings::{RemoteRevocations, RevocationSource},
    },
    edge::{
        file_watch::{FileWatch, PERIOD},
        jwks_client::Proxies,
        revocations::{RevocationKeeper, read, remote::ListFetcher},
    },
};

/// The shortest pause after a fetch that failed; it doubles up to the time between two fetches.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// Keeps the lists as they are outside.
#[derive(Debug)]
pub struct RevocationWatch {
    keeper: Arc<RevocationKeeper>,
    source: Option<WatchedSource>,
    proxies: Arc<Proxies>,
}

#[derive(Clone, Debug)]
enum WatchedSource {
    File(PathBuf),
    Remote(RemoteRevocations),
}

impl RevocationWatch {
    /// A service for this source.
    pub fn new(keeper: Arc<RevocationKeeper>, source: Option<&RevocationSource>, proxies: Arc<Proxies>) -> Self {
        let source = source.map(|source| match source {
            RevocationSource::File(file) => WatchedSource::File(file.path.clone()),
            RevocationSource::Remote(remote) => WatchedSource::Remote(remote.clone()),
        });
        Self { keeper, source, proxies }
    }
}

#[async_trait]
impl BackgroundService for RevocationWatch {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        match &self.source {
            Some(WatchedSource::File(path)) => {
                tokio::spawn(watch_file(Arc::clone(&self.keeper), path.clone()));
            }
            Some(WatchedSource::Remote(remote)) => {
                tokio::spawn(keep_fetching(Arc::clone(&self.keeper), remote.clone(), Arc::clone(&self.proxies)));
            }
            None => {}
        }
        let keeper = Arc::clone(&self.keeper);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(PERIOD).await;
                keeper.sweep().await;
            }
        });
        // The tasks end with the runtime.
        let _ = shutdown.changed().await;
    }
}

async fn watch_file(keeper: Arc<RevocationKeeper>, path: PathBuf) {
    let new_watch = || FileWatch::new(path.clone(), LIST_BYTES_MAX as u64);
    let mut file = Some(new_watch());
    loop {
        let mut watched = file.take().unwrap_or_else(new_watch);
        let (task, name) = (Arc::clone(&keeper), path.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let outcome =
                watched.look(false, |content| read(&name, content, KnownIssuers::These(&task.issuers)).map(Some));
            if let Some(outcome) = outcome {
                task.settle(outcome);
            }
            watched
        });
        file = looked.await.ok();
        tokio::time::sleep(PERIOD).await;
    }
}

async fn keep_fetching(keeper: Arc<RevocationKeeper>, remote: RemoteRevocations, proxies: Arc<Proxies>) {
    let store = keeper.store.as_ref().ok().cloned();
    let new_fetcher = || ListFetcher::new(remote.clone(), Arc::clone(&proxies), store.clone());
    let mut fetcher = Some(new_fetcher());
    let mut retry = RETRY_MIN;
    loop {
        let mut fetching = fetcher.take().unwrap_or_else(new_fetcher);
        let task = Arc::clone(&keeper);
        let fetched = tokio::task::spawn_blocking(move || {
            let outcome = fetching.fetch();
            let has_succeeded = outcome.is_ok();
            task.settle(outcome);
            (fetching, has_succeeded)
        });
        let pause = match fetched.await {
            Ok((fetching, true)) => {
                fetcher = Some(fetching);
                retry = RETRY_MIN;
                // Many hosts that were started together need not ask together for ever.
                remote.refresh.mul_f64(1.0 - 0.1 * jitter())
            }
            Ok((fetching, false)) => {
                fetcher = Some(fetching);
                let pause = retry.min(remote.refresh);
                retry = retry.saturating_mul(2);
                pause
            }
            Err(_) => RETRY_MIN,
        };
        tokio::time::sleep(pause).await;
    }
}

/// Uniform in 0..1.
fn jitter() -> f64 {
    let mut bytes = [0; 4];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}
