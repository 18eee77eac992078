//! Waiting without sleeping: a gate that a test opens, and bounded looking-again for what another process does in its own time.
use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long anything may take before the test says that it does not happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// Closed until it is opened once; whoever waits at it passes then.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    open: Arc<(Mutex<bool>, Condvar)>,
}

impl Gate {
    /// Lets everybody through, now and later.
    pub(crate) fn open(&self) {
        *self.open.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.open.1.notify_all();
    }

    /// Waits until the gate is open, at most `limit`; says whether it is.
    pub(crate) fn wait(&self, limit: Duration) -> bool {
        let open = self.open.0.lock().unwrap_or_else(PoisonError::into_inner);
        *self.open.1.wait_timeout_while(open, limit, |open| !*open).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Looks again until `look` finds something; `None` after `limit`.
pub(crate) fn eventually<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

#[test]
fn a_gate_holds_until_it_is_opened() {
    let gate = Gate::default();
    assert!(!gate.wait(Duration::from_millis(1)));
    let waiter = std::thread::spawn({
        let gate = gate.clone();
        move || gate.wait(PATIENCE)
    });
    gate.open();
    assert!(waiter.join().unwrap());
}
