//! Signals: what asks the process to stop, and what must not kill it.
//!
//! Pingora sleeps through the whole grace period even when nothing is left to do; here the process ends as soon as the
//! last request has.
use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::edge::{access_log::AccessLog, admin::health::Health, clock, metrics::Metrics, systemd, upgrade::Upgrader};

/// How often it is looked whether the last request has ended.
const LOOK: Duration = Duration::from_millis(20);
/// For so long nothing must be in flight before the process ends: a connection that was just accepted has this time to
/// show its request.
const QUIET: Duration = Duration::from_millis(200);
/// Longest time for the access log to be written out at the end.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

/// Sees to it that the signals which a running process ignores do not kill one that is still starting: to be called first.
pub fn survive_from_now_on() {
    // Whoever listens to a signal once changes what it does for the whole life of the process.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let listened = runtime.and_then(|runtime| {
        let _inside = runtime.enter();
        [SignalKind::hangup(), SignalKind::user_defined1(), SignalKind::user_defined2()]
            .into_iter()
            .try_for_each(|kind| signal(kind).map(drop))
    });
    if let Err(error) = listened {
        log::warn!("a hangup during the start would end the process: {error}");
    }
}

/// Watches for signals, and ends the process once it was asked to and nothing is left to do.
#[derive(Debug)]
pub struct SignalWatch {
    /// Told that the process is about to stop.
    pub health: Arc<Health>,
    /// Says how many requests are in flight.
    pub metrics: Arc<Metrics>,
    /// Written out before the end.
    pub access_log: Option<Arc<AccessLog>>,
    /// Longest time until the end.
    pub grace_period: Duration,
    /// How long connections are still accepted before.
    pub drain_delay: Duration,
    /// Says when another process has taken over, and has the configuration read again by the one that serves.
    pub upgrader: Arc<Upgrader>,
}

#[async_trait]
impl ShutdownSignalWatch for SignalWatch {
    async fn recv(&self) -> ShutdownSignal {
        let (Ok(mut terminate), Ok(mut interrupt), Ok(mut quit), Ok(mut hang_up), Ok(mut user1), Ok(mut user2)) = (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
            signal(SignalKind::quit()),
            signal(SignalKind::hangup()),
            signal(SignalKind::user_defined1()),
            signal(SignalKind::user_defined2()),
        ) else {
            log::error!("signals cannot be watched");
            return ShutdownSignal::FastShutdown;
        };
        let mut given_way = self.upgrader.given_way.subscribe();
        loop {
            tokio::select! {
                _ = given_way.wait_for(|has_given_way| *has_given_way) => {
                    tokio::spawn(end_at_once_when_asked_again(terminate, interrupt));
                    tokio::spawn(pass_on(hang_up, user1, Arc::clone(&self.upgrader), self.access_log.clone()));
                    self.begin_to_leave(clock::monotonic() + self.grace_period);
                    return ShutdownSignal::GracefulTerminate;
                }
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = quit.recv() => break,
                _ = hang_up.recv() => {
                    tokio::spawn(Arc::clone(&self.upgrader).hang_up());
                }
                _ = user1.recv() => reopen(self.access_log.as_deref()),
                _ = user2.recv() => log::debug!("SIGUSR2 is ignored"),
            }
        }
        tokio::spawn(end_at_once_when_asked_again(terminate, interrupt));
        let deadline = clock::monotonic() + self.grace_period;
        self.health.drains();
        systemd::stopping("stopping");
        if !self.drain_delay.is_zero() {
            log::info!("stopping: connections are accepted for another {} s", self.drain_delay.as_secs());
            tokio::time::sleep(self.drain_delay).await;
        }
        self.begin_to_stop(deadline);
        ShutdownSignal::GracefulTerminate
    }
}

impl SignalWatch {
    fn begin_to_stop(&self, deadline: Instant) {
        log::info!("stopping: requests in flight are finished, for at most {} s", self.grace_period.as_secs());
        let metrics = Arc::clone(&self.metrics);
        let access_log = self.access_log.clone();
        // A thread of its own: the runtimes are about to go away.
        spawn(move || {
            wait_until_quiet(|| metrics.requests_in_flight(), deadline);
            end(access_log.as_deref(), metrics.requests_in_flight());
        });
    }

    /// Nobody waits for the end of a process that has given way: connections end when their clients have had an answer that
    /// says so, and streams as late as may be.
    fn begin_to_leave(&self, deadline: Instant) {
        log::info!("connections are finished, for at most {} s", self.grace_period.as_secs());
        let (metrics, upgrader) = (Arc::clone(&self.metrics), Arc::clone(&self.upgrader));
        let access_log = self.access_log.clone();
        spawn(move || {
            let busy = || {
                let finishing = metrics.connections_open().max(metrics.requests_in_flight());
                finishing.max(i64::from(!upgrader.is_alone()))
            };
            wait_until_quiet(busy, deadline);
            let in_flight = metrics.requests_in_flight();
            upgrader.leave();
            end(access_log.as_deref(), in_flight);
        });
    }
}

/// For whoever has moved the file away, as log rotation does.
fn reopen(access_log: Option<&AccessLog>) {
    match access_log {
        Some(log) => log.reopen(),
        None => log::debug!("SIGUSR1: there is no access log to open again"),
    }
}

/// What is asked by signal of a process that has given way.
async fn pass_on(mut hang_up: Signal, mut user1: Signal, upgrader: Arc<Upgrader>, access_log: Option<Arc<AccessLog>>) {
    loop {
        tokio::select! {
            Some(()) = hang_up.recv() => Arc::clone(&upgrader).hang_up().await,
            // Its last requests are written to the file too.
            Some(()) = user1.recv() => reopen(access_log.as_deref()),
            else => return,
        }
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) {
    if let Err(error) = thread::Builder::new().name("drain".to_owned()).spawn(work) {
        log::error!("the end of the last request cannot be watched: {error}");
    }
}

fn wait_until_quiet(busy: impl Fn() -> i64, deadline: Instant) {
    let mut quiet_since = clock::monotonic();
    loop {
        let now = clock::monotonic();
        if busy() > 0 {
            quiet_since = now;
        }
        if now >= deadline || now.saturating_duration_since(quiet_since) >= QUIET {
            return;
        }
        thread::sleep(LOOK);
    }
}

/// Ends the process: with success when every request was finished.
fn end(access_log: Option<&AccessLog>, in_flight: i64) -> ! {
    if access_log.is_some_and(|log| !log.close(LOG_PATIENCE)) {
        log::warn!("the access log could not be written out in time");
    }
    if in_flight > 0 {
        log::warn!("the grace period is over; requests cut: {in_flight}");
    }
    log::info!("stopped");
    log::logger().flush();
    std::process::exit(0)
}

async fn end_at_once_when_asked_again(mut terminate: Signal, mut interrupt: Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    log::warn!("asked again to stop: ending at once");
    log::logger().flush();
    std::process::exit(1)
}
