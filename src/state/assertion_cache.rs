//! Assertions that were signed, remembered in bounded memory, so that a token in use costs no signature for each request.
//!
//! One is handed out while it lives at least half of its time more; then another is signed. It is remembered for the very
//! token that was known when it was made: once that is forgotten, or drawn anew by another configuration, it is no more.
use std::{
    fmt,
    sync::{Arc, Weak},
};

use http::HeaderValue;
use quick_cache::{Weighter, sync::Cache};

use crate::{
    config::settings::CacheLimits,
    gate::{claims::KnownToken, keys::Thumbprint, route::UpstreamId, time::UnixTime},
};

/// Bytes that an entry takes besides its text: key, pointers, what is left of a token that was forgotten, and the cache's
/// own book-keeping.
const ENTRY_BYTES: u64 = 512;

/// For whom, and to whom.
type Place = (usize, UpstreamId);

#[derive(Clone)]
struct Signed {
    /// Keeps the place in memory from being another token's.
    token: Weak<KnownToken>,
    key: Thumbprint,
    value: HeaderValue,
    made: UnixTime,
    fresh_until: UnixTime,
}

/// The assertions of one configuration.
pub struct AssertionCache {
    entries: Option<Cache<Place, Signed, Weigh>>,
}

impl fmt::Debug for AssertionCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "AssertionCache({})", self.entries())
    }
}

impl AssertionCache {
    /// An empty cache of these bounds.
    pub fn new(limits: CacheLimits) -> Self {
        let entries = (limits.entries > 0).then(|| {
            // The bound on entries is one on bytes too, when no entry weighs less than its share.
            let least = limits.bytes.div_ceil(limits.entries as u64).max(1);
            Cache::with_weighter(limits.entries, limits.bytes, Weigh { least })
        });
        Self { entries }
    }

    /// What was signed for this token, to this upstream, by this key, if it is still good.
    pub fn recall(
        &self,
        token: &Arc<KnownToken>,
        upstream: UpstreamId,
        key: Thumbprint,
        now: UnixTime,
    ) -> Option<HeaderValue> {
        let signed = self.entries.as_ref()?.get(&place(token, upstream))?;
        let is_for_it = std::ptr::eq(signed.token.as_ptr(), Arc::as_ptr(token)) && signed.key == key;
        // A clock that was set back would have it be of the future.
        let is_good = is_for_it && signed.made <= now && now < signed.fresh_until;
        is_good.then_some(signed.value)
    }

    /// Remembers what was signed at `made` and ends at `expires`.
    pub fn remember(
        &self,
        token: &Arc<KnownToken>,
        upstream: UpstreamId,
        key: Thumbprint,
        value: HeaderValue,
        (made, expires): (UnixTime, UnixTime),
    ) {
        let Some(entries) = &self.entries else { return };
        let fresh_until = made.plus(expires.since(made) / 2);
        let signed = Signed { token: Arc::downgrade(token), key, value, made, fresh_until };
        entries.insert(place(token, upstream), signed);
    }

    /// Entries held.
    pub fn entries(&self) -> usize {
        self.entries.as_ref().map_or(0, Cache::len)
    }

    /// Bytes held; an entry that is smaller than its share of the limit counts as that share.
    pub fn bytes(&self) -> u64 {
        self.entries.as_ref().map_or(0, Cache::weight)
    }
}

fn place(token: &Arc<KnownToken>, upstream: UpstreamId) -> Place {
    (Arc::as_ptr(token).addr(), upstream)
}

#[derive(Clone)]
struct Weigh {
    least: u64,
}

impl Weighter<Place, Signed> for Weigh {
    fn weight(&self, _: &Place, signed: &Signed) -> u64 {
        (signed.value.len() as u64 + ENTRY_BYTES).max(self.least)
    }
}
