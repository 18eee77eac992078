//! Services of the process: in the background, and such as outlast the request to stop.
use async_trait::async_trait;
use pingora_core::{
    server::{ListenFds, Server, ShutdownWatch},
    services::{
        Service as AnyService,
        background::{BackgroundService, background_service},
    },
};

/// Adds a service that runs in the background, on a thread of its own.
pub(super) fn add_background<B: BackgroundService + Send + Sync + 'static>(server: &mut Server, name: &str, task: B) {
    let mut service = background_service(name, task);
    service.threads = Some(1);
    server.add_service(service);
}

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
