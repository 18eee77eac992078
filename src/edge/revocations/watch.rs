//! The background of revocations: looks at the operators' file, fetches their list, drops what has ended.
use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::{
    config::{
        bounds::LIST_BYTES_MAX,
        revocation_list::KnownIssuers,
        settings::{RemoteRevocations, RevocationSource},
    },
    edge::{
        file_watch::{FileWatch, PERIOD},
        jwks_client::Proxies,
        revocations::{NextRevocations, RevocationKeeper, read, remote::ListFetcher},
        task_home::{Task, TaskHome},
    },
};

/// The shortest pause after a fetch that failed; it doubles up to the time between two fetches.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// Has the lists kept as they are outside.
#[derive(Debug)]
pub struct RevocationWatch {
    keeper: Arc<RevocationKeeper>,
    home: TaskHome,
    proxies: Arc<Proxies>,
}

impl RevocationWatch {
    /// One whose tasks run there.
    pub const fn new(keeper: Arc<RevocationKeeper>, home: TaskHome, proxies: Arc<Proxies>) -> Self {
        Self { keeper, home, proxies }
    }

    /// Drops what has ceased to count, for as long as what is returned is held.
    #[must_use]
    pub fn sweep(&self) -> Task {
        let keeper = Arc::clone(&self.keeper);
        self.home.spawn(async move {
            loop {
                tokio::time::sleep(PERIOD).await;
                keeper.sweep().await;
            }
        })
    }

    /// Looks at the operators' list, for as long as what is returned is held.
    #[must_use]
    pub fn watch(&self, source: &RevocationSource) -> Task {
        let keeper = Arc::clone(&self.keeper);
        match source {
            RevocationSource::File(file) => self.home.spawn(watch_file(keeper, file.path.clone())),
            RevocationSource::Remote(remote) => {
                self.home.spawn(keep_fetching(keeper, remote.clone(), Arc::clone(&self.proxies)))
            }
        }
    }

    /// What changes when another configuration comes into force; a new list on a server is fetched first.
    ///
    /// # Errors
    /// When that cannot be had, and none is kept: without it no token would pass.
    pub async fn prepare(
        &self,
        before: Option<&RevocationSource>,
        now: Option<&RevocationSource>,
        issuers: Vec<Box<str>>,
    ) -> Result<NextRevocations, String> {
        let (keeper, proxies) = (Arc::clone(&self.keeper), Arc::clone(&self.proxies));
        let (before, now) = (before.cloned(), now.cloned());
        let prepared = tokio::task::spawn_blocking(move || {
            NextRevocations::prepare(&keeper, before.as_ref(), now.as_ref(), issuers, proxies)
        });
        prepared.await.unwrap_or_else(|_| Err("the revocations could not be prepared".to_owned()))
    }
}

async fn watch_file(keeper: Arc<RevocationKeeper>, path: PathBuf) {
    let new_watch = || FileWatch::new(path.clone(), LIST_BYTES_MAX as u64);
    let mut file = Some(new_watch());
    loop {
        let mut watched = file.take().unwrap_or_else(new_watch);
        let (task, name) = (Arc::clone(&keeper), path.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let outcome = watched
                .look(false, |content| read(&name, content, KnownIssuers::These(&task.issuers.load())).map(Some));
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
