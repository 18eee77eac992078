//! Which addresses presented too many tokens that failed: those who guess are not answered for a while.
//!
//! Of each address one point in time is kept: when all that it did is forgiven (the generic cell rate algorithm). The
//! memory is a table of fixed size; where it is full, the address that is forgiven soonest is forgotten. An address can
//! be forgotten that way, never taken for another.
use std::{
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{config::settings::Rate, state::address_group::AddressGroup};

/// How many addresses are remembered at once.
pub const ADDRESSES_MAX: usize = SETS * PLACES;
/// Sets of places; the hash of an address chooses one.
const SETS: usize = 8192;
/// Places of a set; an address may be in any of them.
const PLACES: usize = 8;

/// The addresses and what they have to answer for.
#[derive(Debug)]
pub struct FailedAuthentications {
    /// What one failure costs in time.
    price: Duration,
    /// What may be owed at most for another attempt to be judged.
    credit: Duration,
    sets: Box<[Mutex<Set>]>,
    /// Random, so that nobody can choose addresses that push a certain other one out.
    hasher: RandomState,
}

type Set = [Option<Debtor>; PLACES];

#[derive(Clone, Copy, Debug)]
struct Debtor {
    address: AddressGroup,
    forgiven_at: Instant,
}

impl FailedAuthentications {
    /// Nobody has failed yet. At most `rate.events` failures in `rate.period` are let pass.
    pub fn new(rate: Rate) -> Self {
        let events = u32::try_from(rate.events).unwrap_or(u32::MAX).max(1);
        let price = rate.period / events;
        Self {
            price,
            credit: price * (events - 1),
            sets: std::iter::repeat_with(Mutex::default).take(SETS).collect(),
            hasher: RandomState::new(),
        }
    }

    /// How long this address has to wait before another attempt is judged; nothing when it has not.
    pub fn wait(&self, address: AddressGroup, now: Instant) -> Option<Duration> {
        self.with_set(address, |set| {
            let debtor = set.iter().flatten().find(|debtor| debtor.address == address)?;
            let wait = debtor.forgiven_at.checked_duration_since(now)?.checked_sub(self.credit)?;
            (!wait.is_zero()).then_some(wait)
        })
    }

    /// An attempt of this address failed.
    pub fn note(&self, address: AddressGroup, now: Instant) {
        self.with_set(address, |set| {
            let place = place_for(address, set, now);
            let owed_until = place.filter(|debtor| debtor.address == address).map_or(now, |debtor| debtor.forgiven_at);
            if let Some(forgiven_at) = owed_until.max(now).checked_add(self.price) {
                *place = Some(Debtor { address, forgiven_at });
            }
        });
    }

    fn with_set<T>(&self, address: AddressGroup, action: impl FnOnce(&mut Set) -> T) -> T
    where
        T: Default,
    {
        let hash = usize::try_from(self.hasher.hash_one(address) % SETS as u64).unwrap_or_default();
        match self.sets.get(hash) {
            Some(set) => action(&mut set.lock().unwrap_or_else(PoisonError::into_inner)),
            None => T::default(),
        }
    }
}

/// The place of an address; where it has none, the one whose owner is forgiven soonest.
fn place_for(address: AddressGroup, set: &mut Set, now: Instant) -> &mut Option<Debtor> {
    let [first, rest @ ..] = set;
    let rank = |place: &Option<Debtor>| match place {
        Some(debtor) if debtor.address == address => None,
        Some(debtor) => Some(debtor.forgiven_at.max(now)),
        None => Some(now),
    };
    rest.iter_mut().fold(first, |best, place| if rank(place) < rank(best) { place } else { best })
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashMap,
        net::{IpAddr, Ipv4Addr},
    };

    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn address(number: u32) -> AddressGroup {
        AddressGroup::of(IpAddr::V4(Ipv4Addr::from_bits(number)))
    }

    #[expect(clippy::disallowed_methods, reason = "an Instant cannot be made otherwise; only distances from it matter")]
    fn start() -> Instant {
        Instant::now()
    }

    fn table(events: u64, period: Duration) -> FailedAuthentications {
        FailedAuthentications::new(Rate { events, period })
    }

    #[test]
    fn so_many_failures_pass_and_then_one_each_time_that_one_is_forgiven() {
        let (table, start) = (table(20, MINUTE), start());
        for _ in 0..20 {
            assert_eq!(table.wait(address(1), start), None);
            table.note(address(1), start);
        }
        assert_eq!(table.wait(address(1), start), Some(Duration::from_secs(3)));
        assert_eq!(table.wait(address(2), start), None);
        let later = start + Duration::from_secs(3);
        assert_eq!(table.wait(address(1), later), None);
        table.note(address(1), later);
        assert_eq!(table.wait(address(1), later), Some(Duration::from_secs(3)));
        assert_eq!(table.wait(address(1), start + 2 * MINUTE), None);
    }

    #[test]
    fn a_single_failure_can_be_too_many() {
        let (table, start) = (table(1, MINUTE), start());
        table.note(address(1), start);
        assert_eq!(table.wait(address(1), start), Some(MINUTE));
        assert_eq!(table.wait(address(1), start + MINUTE), None);
    }

    #[test]
    fn a_flood_of_addresses_fills_no_memory_and_pushes_out_those_who_owe_least() {
        let (table, start) = (table(4, MINUTE), start());
        for _ in 0..4 {
            table.note(address(0), start);
        }
        let flood = u32::try_from(4 * ADDRESSES_MAX).unwrap();
        (1..flood).for_each(|number| table.note(address(number), start));
        assert!(table.wait(address(0), start).is_some(), "who owes most is remembered");
        let remembered: usize = table.sets.iter().map(|set| set.lock().unwrap().iter().flatten().count()).sum();
        assert_eq!(remembered, ADDRESSES_MAX);
        assert!((1..flood).all(|number| table.wait(address(number), start).is_none()), "nobody pays for others");
    }

    proptest! {
        /// A model without bounds: all failures of each address, the oldest forgiven first, one each `period / events`.
        #[test]
        fn nobody_is_refused_who_has_not_failed_too_often_and_nobody_else_passes(
            steps in prop::collection::vec((0..4_u32, 0..4_000_u64), 1..300),
            events in 1..10_u64,
        ) {
            let period = Duration::from_secs(10);
            let (table, start) = (table(events, period), start());
            let price = period / u32::try_from(events).unwrap();
            let mut forgiven: HashMap<u32, Instant> = HashMap::new();
            let mut now = start;
            for (number, pause) in steps {
                now += Duration::from_millis(pause / 4);
                let owed = forgiven.get(&number).map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
                let is_refused = owed > price * u32::try_from(events - 1).unwrap();
                let wait = table.wait(address(number), now);
                prop_assert_eq!(wait.is_some(), is_refused);
                prop_assert!(wait.is_none_or(|wait| wait <= price && table.wait(address(number), now + wait).is_none()));
                if wait.is_none() {
                    table.note(address(number), now);
                    let at = forgiven.entry(number).or_insert(now);
                    *at = (*at).max(now) + price;
                }
            }
        }

        #[test]
        fn in_no_period_more_than_twice_the_limit_are_judged(
            pauses in prop::collection::vec(0..1_000_u64, 1..400),
            events in 1..10_u64,
        ) {
            let period = Duration::from_secs(10);
            let (table, start) = (table(events, period), start());
            let mut judged = Vec::new();
            let mut now = start;
            for pause in pauses {
                now += Duration::from_millis(pause);
                if table.wait(address(1), now).is_none() {
                    table.note(address(1), now);
                    judged.push(now);
                }
            }
            for (position, from) in judged.iter().enumerate() {
                let within = judged.iter().skip(position).take_while(|at| **at < *from + period).count();
                prop_assert!(u64::try_from(within).unwrap() <= 2 * events);
            }
        }
    }
}
