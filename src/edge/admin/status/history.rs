//! Reads the counters every few seconds, so that the status page can tell what happened lately.
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use pingora_core::{server::ShutdownWatch, services::background::BackgroundService};

use crate::{
    edge::{clock, metrics::Metrics},
    state::traffic::{INTERVAL, Traffic},
};

/// What was counted lately, and since when the process runs.
#[derive(Clone, Debug)]
pub struct History {
    metrics: Arc<Metrics>,
    pub(super) traffic: Arc<Mutex<Traffic>>,
}

impl History {
    /// A history that begins now.
    pub fn new(metrics: &Arc<Metrics>) -> Self {
        let traffic = Arc::new(Mutex::new(Traffic::new(clock::monotonic())));
        Self { metrics: Arc::clone(metrics), traffic }
    }
}

#[async_trait]
impl BackgroundService for History {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        loop {
            tokio::select! {
                _ = shutdown.changed() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
            let counted = self.metrics.counted();
            self.traffic.lock().unwrap_or_else(PoisonError::into_inner).record(clock::monotonic(), counted);
        }
    }
}
