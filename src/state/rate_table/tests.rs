//! The table against an exact model that forgets nobody: where nobody is forgotten they agree; where somebody is, the
//! error is the one that the table allows itself and no other.
use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::gate::rate_limit::CountedBy;

const SECOND: Duration = Duration::from_secs(1);

#[expect(clippy::disallowed_methods, reason = "an Instant cannot be made otherwise; only distances from it matter")]
fn start() -> Instant {
    Instant::now()
}

fn limit(requests: u32, per: Duration, burst: u32) -> RateLimit {
    RateLimit { requests, per, burst, by: CountedBy::Subject }
}

/// A token bucket for each caller, exact: tokens in nanoseconds times requests, refilled continuously.
#[derive(Default)]
struct Model {
    buckets: HashMap<u64, (u128, u128)>,
}

impl Model {
    /// The tokens that a caller has at `now`, in units of `price`, and no more than fit.
    fn tokens(&self, limit: &RateLimit, caller: u64, now: u128) -> u128 {
        let price = limit.price().as_nanos();
        let full = price * u128::from(limit.burst);
        let (tokens, at) = self.buckets.get(&caller).copied().unwrap_or((full, now));
        full.min(tokens + (now - at))
    }

    fn take(&mut self, limit: &RateLimit, caller: u64, now: u128) {
        let left = self.tokens(limit, caller, now).saturating_sub(limit.price().as_nanos());
        self.buckets.insert(caller, (left, now));
    }
}

/// What a caller owes in the table.
fn owed(table: &RateTable, caller: u64, now: Instant) -> u64 {
    let (caller, now) = (table.caller(caller), table.at(now));
    table.with_set(caller, |set| {
        set.iter().find(|place| place.caller == caller.0).map_or(0, |place| place.full_at.saturating_sub(now))
    })
}

fn remembered(table: &RateTable) -> usize {
    let sets = table.sets.get().unwrap();
    sets.iter().map(|set| set.lock().unwrap().iter().filter(|place| place.full_at > 0).count()).sum()
}

#[test]
fn a_burst_passes_at_once_and_then_one_request_each_time_that_one_is_refilled() {
    let start = start();
    let table = RateTable::new(limit(10, SECOND, 3), start);
    let caller = table.caller("alice");
    for left in [2, 1, 0] {
        let Taken::Room(standing) = table.take(caller, start) else { panic!("{left}") };
        assert_eq!((standing.left, standing.until_more), (left, SECOND / 10));
    }
    assert_eq!(table.take(caller, start), Taken::Full(SECOND / 10));
    assert_eq!(table.take(caller, start + SECOND / 20), Taken::Full(SECOND / 20));
    assert!(matches!(table.take(table.caller("bob"), start), Taken::Room(_)), "everybody has a bucket");
    let later = start + SECOND / 10;
    assert!(matches!(table.take(caller, later), Taken::Room(Standing { left: 0, .. })));
    assert_eq!(table.take(caller, later), Taken::Full(SECOND / 10));
    assert_eq!(table.standing_of(caller, later + SECOND), Standing { left: 3, until_more: Duration::ZERO });
}

#[test]
fn what_is_put_back_can_be_taken_again() {
    let start = start();
    let table = RateTable::new(limit(1, SECOND, 2), start);
    let caller = table.caller(1);
    for _ in 0..10 {
        assert!(matches!(table.take(caller, start), Taken::Room(Standing { left: 1, .. })));
        table.put_back(caller, start);
    }
    assert_eq!(table.standing_of(caller, start).left, 2);
    // Nothing was taken, so nothing can be put back: no bucket holds more than its burst.
    table.put_back(caller, start);
    table.put_back(table.caller(2), start);
    for caller in [1, 2].map(|name| table.caller(name)) {
        let room = (0..9).filter(|_| matches!(table.take(caller, start), Taken::Room(_))).count();
        assert_eq!(room, 2);
    }
}

#[test]
fn a_flood_of_callers_fills_no_memory_frees_nobody_who_took_more_and_blocks_nobody() {
    let start = start();
    let table = RateTable::new(limit(4, 60 * SECOND, 4), start);
    let greedy = table.caller(0_u32);
    for _ in 0..4 {
        assert!(matches!(table.take(greedy, start), Taken::Room(_)));
    }
    let flood = u32::try_from(4 * CALLERS_MAX).unwrap();
    for number in 1..flood {
        assert!(matches!(table.take(table.caller(number), start), Taken::Room(_)), "nobody pays for others");
    }
    assert!(matches!(table.take(greedy, start), Taken::Full(_)), "who took most is remembered");
    assert_eq!(remembered(&table), CALLERS_MAX);
}

/// Each thread reads the clock for itself, so that times come out of order.
#[test]
fn a_request_with_an_earlier_time_finds_nothing_refilled_and_refills_nothing() {
    let start = start();
    let table = RateTable::new(limit(1, SECOND, 1), start);
    let caller = table.caller("alice");
    let later = start + 10 * SECOND;
    assert!(matches!(table.take(caller, later), Taken::Room(_)));
    for earlier in [start, start + SECOND, later - SECOND / 2] {
        assert_eq!(table.take(caller, earlier), Taken::Full(later + SECOND - earlier));
    }
    assert_eq!(table.take(caller, later), Taken::Full(SECOND), "what was refused earlier changed nothing");
    assert!(matches!(table.take(caller, later + SECOND), Taken::Room(_)));
}

#[test]
fn requests_at_the_same_time_never_get_more_than_there_is() {
    let start = start();
    let table = RateTable::new(limit(1, 3600 * SECOND, 500), start);
    let caller = table.caller("everybody");
    let taken: usize = std::thread::scope(|scope| {
        let take = || (0..400).filter(|_| matches!(table.take(caller, start), Taken::Room(_))).count();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(taken, 500);
}

proptest! {
    #[test]
    fn where_nobody_is_forgotten_the_table_is_the_exact_token_bucket(
        steps in prop::collection::vec((0..8_u64, 0..500_000_000_u64), 1..400),
        requests in 1..50_u32,
        burst in 1..20_u32,
        seconds in 1..4_u64,
    ) {
        let start = start();
        let limit = limit(requests, Duration::from_secs(seconds), burst);
        let table = RateTable::new(limit, start);
        let mut model = Model::default();
        let mut now = start;
        for (number, pause) in steps {
            now += Duration::from_nanos(pause / 8);
            let at = (now - start).as_nanos();
            let price = limit.price().as_nanos();
            let tokens = model.tokens(&limit, number, at);
            match table.take(table.caller(number), now) {
                Taken::Room(standing) => {
                    prop_assert!(tokens >= price);
                    model.take(&limit, number, at);
                    let tokens = tokens - price;
                    prop_assert_eq!(u128::from(standing.left), tokens / price);
                    prop_assert_eq!(standing.until_more.as_nanos(), price - tokens % price);
                }
                Taken::Full(wait) => {
                    prop_assert!(tokens < price);
                    prop_assert_eq!(wait.as_nanos(), price - tokens);
                    let caller = table.caller(number);
                    prop_assert_eq!(table.standing_of(caller, now), Standing { left: 0, until_more: wait });
                    prop_assert_eq!(table.standing_of(caller, now + wait).left, 1);
                }
            }
        }
    }

    /// Two sets for a hundred callers: somebody is forgotten all the time.
    #[test]
    fn under_a_flood_nobody_is_refused_who_has_room_and_only_who_owes_least_of_a_full_set_is_forgotten(
        steps in prop::collection::vec((0..100_u64, 0..40_000_000_u64), 1..600),
        requests in 1..30_u32,
        burst in 1..12_u32,
    ) {
        let start = start();
        let limit = limit(requests, SECOND, burst);
        let table = RateTable::with_sets(limit, start, 2);
        let mut model = Model::default();
        let mut forgiven: HashMap<u64, u128> = HashMap::new();
        let mut admitted: HashMap<u64, u128> = HashMap::new();
        let mut now = start;
        let price = limit.price().as_nanos();
        for (number, pause) in steps {
            now += Duration::from_nanos(pause);
            let at = (now - start).as_nanos();
            let before: Vec<u64> = (0..100).map(|caller| owed(&table, caller, now)).collect();
            let has_room = model.tokens(&limit, number, at) >= price;
            match table.take(table.caller(number), now) {
                Taken::Room(_) => {
                    model.take(&limit, number, at);
                    *admitted.entry(number).or_default() += 1;
                }
                Taken::Full(_) => prop_assert!(!has_room, "a stranger is refused"),
            }
            let set = |caller: u64| table.caller(caller).0 % 2;
            for (caller, before) in (0_u64..).zip(before) {
                if caller == number || owed(&table, caller, now) == before {
                    continue;
                }
                // Forgotten, wholly, by a newcomer of the same set, all others of which have as much to make up for.
                prop_assert_eq!(owed(&table, caller, now), 0);
                prop_assert_eq!(set(caller), set(number));
                let neighbours = (0..100).filter(|other| *other != number && set(*other) == set(number));
                let as_much = neighbours.filter(|other| owed(&table, *other, now) >= before).count();
                prop_assert_eq!(as_much, PLACES - 1);
                *forgiven.entry(caller).or_default() += u128::from(before);
            }
        }
        // What somebody got beyond the limit is what was forgotten of it, and no more.
        let elapsed = (now - start).as_nanos();
        for (caller, admitted) in admitted {
            let due = price * u128::from(burst) + elapsed + forgiven.get(&caller).copied().unwrap_or_default();
            prop_assert!(admitted * price <= due);
        }
    }
}
