//! What the callers of one limit have taken, in memory of fixed size.
//!
//! Of each caller one point in time is kept: when its bucket is full again (the generic cell rate algorithm, which is a
//! token bucket exactly). A caller is named by a digest of 64 bits under a secret of the process, which also chooses the
//! set of 16 places that it may be in. Where all 16 are taken, the caller whose bucket is full soonest is forgotten: its
//! bucket counts as full. So the only errors are these:
//!
//! - Somebody who was forgotten may send up to as much again as it had taken. Nobody is forgotten while fewer than 16
//!   others of its set have as much to make up for; sets are chosen by a secret, so that nobody can aim at one. A flood
//!   of callers who send a request each pushes out each other, and nobody who has taken more.
//! - Two callers are taken for one when their digests are equal: among the 65,536 that are remembered at most, at odds
//!   of one to 8,589,934,592.
//!
//! Nobody else is refused who has room.
use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use crate::gate::rate_limit::{RateLimit, Standing};

/// Callers that one limit remembers at most.
pub const CALLERS_MAX: usize = SETS * PLACES;
/// Sets of places; the digest of a caller chooses one.
const SETS: usize = 4096;
/// Places of a set; a caller may be in any of them.
const PLACES: usize = 16;

/// The buckets of one limit.
#[derive(Debug)]
pub struct RateTable {
    limit: RateLimit,
    /// What one request costs, in nanoseconds.
    price: u64,
    /// What may be owed at most for another request to be let in, in nanoseconds.
    credit: u64,
    /// Times are counted from here.
    origin: Instant,
    /// Made when the first caller comes: most limits of a large configuration meet nobody for long.
    sets: OnceLock<Box<[Mutex<Set>]>>,
    set_count: usize,
    hasher: RandomState,
}

/// The name of a caller within one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller(u64);

/// Whether there was room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// One request was taken; this is left.
    Room(Standing),
    /// Nothing was taken; there is room after this time.
    Full(Duration),
}

type Set = [Place; PLACES];

/// A caller and when its bucket is full; a time that has passed is as good as nobody.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    caller: u64,
    full_at: u64,
}

impl RateTable {
    /// Every bucket is full.
    pub fn new(limit: RateLimit, now: Instant) -> Self {
        Self::with_sets(limit, now, SETS)
    }

    fn with_sets(limit: RateLimit, now: Instant, set_count: usize) -> Self {
        let price = nanoseconds(limit.price()).max(1);
        let credit = price.saturating_mul(u64::from(limit.burst.saturating_sub(1)));
        Self { limit, price, credit, origin: now, sets: OnceLock::new(), set_count, hasher: RandomState::new() }
    }

    /// The limit.
    pub const fn limit(&self) -> &RateLimit {
        &self.limit
    }

    /// How a caller is called here.
    pub fn caller(&self, name: impl Hash) -> Caller {
        Caller(self.hasher.hash_one(name))
    }

    /// Takes one request of a caller's bucket, if it holds one.
    pub fn take(&self, caller: Caller, now: Instant) -> Taken {
        let now = self.at(now);
        self.with_set(caller, |set| {
            let place = place_for(caller, set, now);
            let owed = if place.caller == caller.0 { place.full_at.saturating_sub(now) } else { 0 };
            if owed > self.credit {
                return Taken::Full(Duration::from_nanos(owed - self.credit));
            }
            let owed = owed + self.price;
            *place = Place { caller: caller.0, full_at: now.saturating_add(owed) };
            Taken::Room(self.standing(owed))
        })
    }

    /// Puts back a request that was taken.
    pub fn put_back(&self, caller: Caller, now: Instant) {
        let now = self.at(now);
        self.with_set(caller, |set| {
            if let Some(place) = set.iter_mut().find(|place| place.caller == caller.0 && place.full_at > now) {
                place.full_at = place.full_at.saturating_sub(self.price);
            }
        });
    }

    /// What a caller's bucket holds, which changes nothing.
    pub fn standing_of(&self, caller: Caller, now: Instant) -> Standing {
        let now = self.at(now);
        let owed = self.with_set(caller, |set| {
            let place = set.iter().find(|place| place.caller == caller.0);
            place.map_or(0, |place| place.full_at.saturating_sub(now))
        });
        self.standing(owed)
    }

    /// What is left to who owes this much.
    fn standing(&self, owed: u64) -> Standing {
        let holds = self.credit.saturating_add(self.price);
        let left = holds.saturating_sub(owed) / self.price;
        // There is one more when so much less is owed that the next whole request fits.
        let until_more = owed.saturating_sub(holds.saturating_sub(self.price.saturating_mul(left + 1)));
        Standing { left: u32::try_from(left).unwrap_or(u32::MAX), until_more: Duration::from_nanos(until_more) }
    }

    fn at(&self, now: Instant) -> u64 {
        nanoseconds(now.saturating_duration_since(self.origin))
    }

    fn with_set<T>(&self, caller: Caller, action: impl FnOnce(&mut Set) -> T) -> T {
        let sets =
            self.sets.get_or_init(|| std::iter::repeat_with(Mutex::default).take(self.set_count.max(1)).collect());
        let position = usize::try_from(caller.0 % sets.len().max(1) as u64).unwrap_or_default();
        match sets.get(position) {
            Some(set) => action(&mut set.lock().unwrap_or_else(PoisonError::into_inner)),
            // There is at least one set; a place that nobody remembers lets in, as an empty one does.
            None => action(&mut Set::default()),
        }
    }
}

/// The place of a caller; where it has none, the one whose owner's bucket is full soonest.
fn place_for(caller: Caller, set: &mut Set, now: u64) -> &mut Place {
    let [first, rest @ ..] = set;
    // The caller's own comes before everybody's.
    let rank = |place: &Place| if place.caller == caller.0 { 0 } else { 1 + place.full_at.saturating_sub(now) };
    rest.iter_mut().fold(first, |best, place| if rank(place) < rank(best) { place } else { best })
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
