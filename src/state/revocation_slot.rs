//! The revocations in force, swapped whole: a request sees those of one moment.
use std::{ops::Deref, sync::Arc};

use arc_swap::ArcSwap;

use crate::gate::revocation::Revocations;

/// Holds what is in force. Empty at first.
#[derive(Debug, Default)]
pub struct RevocationSlot {
    current: ArcSwap<Revocations>,
}

impl RevocationSlot {
    /// What is in force now; without allocation.
    pub fn current(&self) -> impl Deref<Target = Arc<Revocations>> + use<> {
        self.current.load()
    }

    /// Puts these in force, for every request that is judged from now on.
    pub fn install(&self, revocations: Revocations) {
        self.current.store(Arc::new(revocations));
    }
}
