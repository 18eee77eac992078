//! One costly thing (a running gateway) for all tests of a file that run at the same time, and dropped like any other when the last is done.
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Holds nothing alive itself: a static would never be dropped, so its process never stopped and its output never searched.
pub(crate) struct Shared<T> {
    living: Mutex<Weak<T>>,
}

impl<T> Shared<T> {
    /// Nothing yet.
    pub(crate) const fn new() -> Self {
        Self { living: Mutex::new(Weak::new()) }
    }

    /// The one that other tests use now, else a new one.
    pub(crate) fn get(&self, start: impl FnOnce() -> T) -> Arc<T> {
        let mut living = self.living.lock().unwrap_or_else(PoisonError::into_inner);
        living.upgrade().unwrap_or_else(|| {
            let started = Arc::new(start());
            *living = Arc::downgrade(&started);
            started
        })
    }
}
