//! Where tasks of the background live that come and go with the configuration: each ends when nobody holds it any more.
use std::{
    fmt, mem,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use pingora_core::{server::ShutdownWatch, services::background::BackgroundService};
use tokio::{runtime::Handle, sync::oneshot};

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A service of the process that runs whatever tasks it is given; those that it is given earlier begin when it starts.
#[derive(Clone, Default)]
pub struct TaskHome {
    state: Arc<Mutex<State>>,
}

enum State {
    /// The service has not started; these begin when it does.
    Waiting(Vec<Work>),
    Running(Handle),
}

impl Default for State {
    fn default() -> Self {
        Self::Waiting(Vec::new())
    }
}

impl fmt::Debug for TaskHome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TaskHome")
    }
}

/// A task that runs until this is dropped, or it is done.
#[derive(Debug)]
pub struct Task {
    _held: oneshot::Sender<()>,
}

impl TaskHome {
    /// Has a task run until what is returned is dropped.
    #[must_use]
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> Task {
        let (held, mut is_dropped) = oneshot::channel::<()>();
        let work = async move {
            tokio::select! {
                () = work => {}
                _ = &mut is_dropped => {}
            }
        };
        match &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Waiting(waiting) => waiting.push(Box::pin(work)),
            State::Running(handle) => {
                handle.spawn(work);
            }
        }
        Task { _held: held }
    }
}

#[async_trait]
impl BackgroundService for TaskHome {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let handle = Handle::current();
        let before = mem::replace(
            &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner),
            State::Running(handle.clone()),
        );
        if let State::Waiting(waiting) = before {
            waiting.into_iter().for_each(|work| drop(handle.spawn(work)));
        }
        // The tasks end with the runtime.
        let _ = shutdown.changed().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::sync::watch;

    /// Sets the watched value once it runs, and unsets it when it ends.
    async fn present(sender: watch::Sender<bool>) {
        struct Leave(watch::Sender<bool>);
        impl Drop for Leave {
            fn drop(&mut self) {
                self.0.send_replace(false);
            }
        }
        sender.send_replace(true);
        let _leave = Leave(sender);
        std::future::pending::<()>().await;
    }

    #[test]
    fn tasks_run_from_the_start_of_the_service_until_nobody_holds_them() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let home = TaskHome::default();
            let (early, mut early_seen) = watch::channel(false);
            let early = home.spawn(present(early));
            let (unwanted, mut unwanted_seen) = watch::channel(false);
            drop(home.spawn(present(unwanted)));
            let (stop, stopped) = watch::channel(false);
            let service = home.clone();
            tokio::spawn(async move { service.start(stopped).await });
            let patience = Duration::from_secs(20);
            let becomes = |is: bool| move |value: &bool| *value == is;
            tokio::time::timeout(patience, early_seen.wait_for(becomes(true))).await.unwrap().unwrap();
            let (late, mut late_seen) = watch::channel(false);
            let late = home.spawn(present(late));
            tokio::time::timeout(patience, late_seen.wait_for(becomes(true))).await.unwrap().unwrap();
            drop(early);
            tokio::time::timeout(patience, early_seen.wait_for(becomes(false))).await.unwrap().unwrap();
            assert!(*late_seen.borrow(), "the other goes on");
            drop(late);
            tokio::time::timeout(patience, late_seen.wait_for(becomes(false))).await.unwrap().unwrap();
            // The task that nobody wanted was dropped with its sender.
            while unwanted_seen.changed().await.is_ok() {}
            assert!(!*unwanted_seen.borrow());
            drop(stop);
        });
    }
}
