//! Services of the process: in the background, and such as listen.
use async_trait::async_trait;
use pingora_core::{
    server::{ListenFds, Server, ShutdownWatch},
    services::{
        Service as AnyService,
        background::{BackgroundService, background_service},
    },
};
use tokio::sync::watch;

use crate::edge::upgrade::Sockets;

/// Adds a service that runs in the background, on a thread of its own.
pub(super) fn add_background<B: BackgroundService + Send + Sync + 'static>(server: &mut Server, name: &str, task: B) {
    let mut service = background_service(name, task);
    service.threads = Some(1);
    server.add_service(service);
}

/// When a service that listens begins to accept connections, and when it ends.
#[derive(Clone)]
pub(super) struct Opening {
    /// True from when on connections are accepted.
    pub(super) is_open: watch::Receiver<bool>,
    /// Told of the sockets.
    pub(super) sockets: Sockets,
}

/// A service that listens.
pub(super) struct Listening<S> {
    pub(super) service: S,
    pub(super) opening: Opening,
    /// True from when on none are accepted any more; nothing for as soon as the process is to stop.
    pub(super) until: Option<watch::Receiver<bool>>,
}

#[async_trait]
impl<S: AnyService> AnyService for Listening<S> {
    async fn start_service(&mut self, sockets: Option<ListenFds>, shutdown: ShutdownWatch, accepting: usize) {
        // Whoever opens ends the process instead, where it is never to be opened.
        if self.opening.is_open.wait_for(|is_open| *is_open).await.is_err() {
            return;
        }
        self.opening.sockets.note(sockets.as_ref());
        let until = self.until.take().unwrap_or(shutdown);
        self.service.start_service(sockets, until, accepting).await;
    }

    fn name(&self) -> &str {
        self.service.name()
    }

    fn threads(&self) -> Option<usize> {
        self.service.threads()
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        self.service.listen_addresses()
    }
}
