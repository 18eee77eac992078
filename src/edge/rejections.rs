//! The last refusals in memory, for whoever looks for the reason of one, and how many there were of each kind lately. It holds no token and nothing that a client sent
//! but what a detail quotes.
use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use serde_json::{Value, json};

use crate::{
    edge::clock,
    gate::rejection::Rejection,
    state::rejection_counts::{ReasonCount, RejectionCounts},
};

/// So many are kept.
pub const KEPT_MAX: usize = 200;

/// One refusal.
#[derive(Clone, Debug)]
pub struct RecentRejection {
    /// When the request came.
    pub time: SystemTime,
    /// The request's identifier.
    pub request_id: Box<str>,
    /// The route's name, or `-`.
    pub route: Box<str>,
    /// Why.
    pub rejection: Rejection,
    /// What was expected and found.
    pub detail: Option<Box<str>>,
    /// Whose connection it was, as the configuration wants addresses shown.
    pub client_ip: Option<IpAddr>,
}

/// The last [`KEPT_MAX`] refusals.
#[derive(Debug, Default)]
pub struct RecentRejections {
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    kept: VecDeque<RecentRejection>,
    counts: RejectionCounts,
}

impl RecentRejections {
    /// Remembers one, in place of the oldest.
    pub fn note(&self, rejection: RecentRejection) {
        let now = clock::monotonic();
        let memory = &mut *self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.counts.note(rejection.rejection, now);
        if memory.kept.len() >= KEPT_MAX {
            memory.kept.pop_front();
        }
        memory.kept.push_back(rejection);
    }

    /// The last so many, the newest first, and how often each reason was met lately.
    pub fn lately(&self, last: usize) -> (Vec<RecentRejection>, Vec<ReasonCount>) {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        (memory.kept.iter().rev().take(last).cloned().collect(), memory.counts.recent(clock::monotonic()))
    }

    /// All that are kept, the newest first.
    pub fn view(&self) -> Value {
        let kept = self.memory.lock().unwrap_or_else(PoisonError::into_inner).kept.clone();
        let view = |rejection: &RecentRejection| {
            let mut time = Vec::new();
            clock::append_rfc3339(&mut time, rejection.time);
            json!({
                "time": String::from_utf8_lossy(&time),
                "request_id": rejection.request_id,
                "route": rejection.route,
                "status": rejection.rejection.row().status,
                "reason": rejection.rejection.label(),
                "detail": rejection.detail,
                "client_ip": rejection.client_ip,
            })
        };
        kept.iter().rev().map(view).collect()
    }
}
