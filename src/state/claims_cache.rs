//! Verified tokens, remembered in bounded memory.
//!
//! It holds facts, never decisions: that a key of an issuer signed this token, and what the configuration drew from it.
//! Whether they still count is asked on every request.
//!
//! The cache is `quick_cache`: its S3-FIFO policy had the best hit ratio of those measured on a Zipf trace, 0.70 against
//! 0.63 for a strict LRU of the same size at equal speed (`benches/cache.rs`, `docs/benchmarks.md`), and it compares
//! whole keys. A key here is a digest of the whole token of 128 bits under a secret of this process, so that no collision
//! can hand out another token's claims, and no live credential lies in memory.
//!
//! The digest is GMAC (NIST SP 800-38D) with the nonce that is always the same. That would give a forger of messages what
//! he needs, were he ever shown a tag; these never leave the process. What is left of GMAC then is a universal hash under
//! a secret key: two tokens of 8 KiB, chosen without knowing it, collide with a probability of at most one in 2^118. It
//! takes a third of the time of HMAC-SHA-256, which would be most of a hit's.
use std::{
    fmt,
    hash::{BuildHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use quick_cache::{Lifecycle, Weighter, sync::Cache};

use crate::{config::settings::CacheLimits, gate::claims::KnownToken};

/// Bytes that an entry takes besides what its token counts: digest, pointers and the cache's own book-keeping.
const ENTRY_BYTES: u64 = 128;

/// What the cache knew of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheUse {
    /// It was not asked.
    None,
    /// It answered.
    Hit,
    /// It did not know the token.
    Miss,
    /// It knew the token, but the key that proved it is no longer trusted.
    Stale,
}

/// Digest by which a token is remembered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenDigest([u8; 16]);

impl fmt::Debug for TokenDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TokenDigest")
    }
}

impl Hash for TokenDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Already uniform and keyed: its beginning is as good a table hash as any.
        let (beginning, _) = self.0.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        state.write_u64(u64::from_ne_bytes(*beginning));
    }
}

/// What is remembered of a token.
#[derive(Clone, Debug)]
struct Remembered {
    known: Arc<KnownToken>,
    /// Which configuration drew the facts.
    generation: u64,
}

/// The claims cache.
pub struct ClaimsCache {
    key: Option<LessSafeKey>,
    entries: Option<Cache<TokenDigest, Remembered, Weigh, FirstBytes, CountEvictions>>,
    limits: CacheLimits,
    evictions: Arc<AtomicU64>,
}

impl fmt::Debug for ClaimsCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ClaimsCache({} of {:?})", self.entries(), self.limits)
    }
}

impl ClaimsCache {
    /// An empty cache. `secret` must be 32 random bytes that no other process knows.
    pub fn new(limits: CacheLimits, secret: [u8; 32]) -> Self {
        let evictions = Arc::new(AtomicU64::new(0));
        let entries = (limits.entries > 0).then(|| {
            // The bound on entries is one on bytes too, when no entry weighs less than its share.
            let least = limits.bytes.div_ceil(limits.entries as u64).max(1);
            let lifecycle = CountEvictions(Arc::clone(&evictions));
            Cache::with(limits.entries, limits.bytes, Weigh { least }, FirstBytes, lifecycle)
        });
        // Only a key of another length would be refused; nothing would be remembered then.
        let key = UnboundKey::new(&aead::AES_256_GCM, &secret).map(LessSafeKey::new).ok();
        Self { key, entries, limits, evictions }
    }

    /// The digest by which this token is remembered; nothing when the cache is off.
    pub fn digest(&self, token: &str) -> Option<TokenDigest> {
        self.entries.as_ref()?;
        let nonce = Nonce::assume_unique_for_key([0; aead::NONCE_LEN]);
        let tag = self.key.as_ref()?.seal_in_place_separate_tag(nonce, Aad::from(token.as_bytes()), &mut []);
        tag.ok()?.as_ref().try_into().map(TokenDigest).ok()
    }

    /// The token's facts, if the generation of the configuration that drew them is the one that counts for the token now.
    pub fn recall(
        &self,
        digest: &TokenDigest,
        generation: impl FnOnce(&KnownToken) -> Option<u64>,
    ) -> Option<Arc<KnownToken>> {
        let remembered = self.entries.as_ref()?.get(digest)?;
        (Some(remembered.generation) == generation(&remembered.known)).then_some(remembered.known)
    }

    /// Remembers a token.
    pub fn remember(&self, digest: TokenDigest, known: Arc<KnownToken>, generation: u64) {
        if let Some(entries) = &self.entries {
            entries.insert(digest, Remembered { known, generation });
        }
    }

    /// Forgets a token.
    pub fn forget(&self, digest: &TokenDigest) {
        if let Some(entries) = &self.entries {
            entries.remove(digest);
        }
    }

    /// Entries held.
    pub fn entries(&self) -> usize {
        self.entries.as_ref().map_or(0, Cache::len)
    }

    /// Bytes held; an entry that is smaller than its share of the limit counts as that share.
    pub fn bytes(&self) -> u64 {
        self.entries.as_ref().map_or(0, Cache::weight)
    }

    /// Entries at most.
    pub const fn capacity(&self) -> usize {
        self.limits.entries
    }

    /// Entries that made room for others since the start.
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }
}

#[derive(Clone)]
struct Weigh {
    least: u64,
}

impl Weighter<TokenDigest, Remembered> for Weigh {
    fn weight(&self, _: &TokenDigest, remembered: &Remembered) -> u64 {
        (remembered.known.bytes() as u64 + ENTRY_BYTES).max(self.least)
    }
}

#[derive(Clone)]
struct CountEvictions(Arc<AtomicU64>);

impl Lifecycle<TokenDigest, Remembered> for CountEvictions {
    type RequestState = ();

    fn on_evict(&self, (): &mut Self::RequestState, _: TokenDigest, _: Remembered) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Clone, Default)]
struct FirstBytes;

impl BuildHasher for FirstBytes {
    type Hasher = FirstBytesHasher;

    fn build_hasher(&self) -> Self::Hasher {
        FirstBytesHasher(0)
    }
}

struct FirstBytesHasher(u64);

impl Hasher for FirstBytesHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only `write_u64` is used; anything else still hashes.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}
