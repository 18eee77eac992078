//! Services that outlast the request to stop.
use async_trait::async_trait;
use pingora_core::{
    server::{ListenFds, ShutdownWatch},
    services::Service as AnyService,
};

/// A service that goes on while the process drains, so that whoever asks for readiness is told 503 instead of nothing.
pub(super) struct UntilTheEnd<S>(pub(super) S);

#[async_trait]
impl<S: AnyService> AnyService for UntilTheEnd<S> {
    async fn start_service(&mut self, sockets: Option<ListenFds>, _: ShutdownWatch, accepting: usize) {
        // The sender stays alive and silent for as long as the service runs.
        let (_silent, never) = tokio::sync::watch::channel(false);
        self.0.start_service(sockets, never, accepting).await;
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn threads(&self) -> Option<usize> {
        self.0.threads()
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        self.0.listen_addresses()
    }
}
