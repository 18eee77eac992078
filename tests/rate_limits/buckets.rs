//! The buckets of a configuration with a clock of their own: what is charged to whom, and what outlives a configuration.
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use portcullis::{
    gate::{
        rate_limit::{CountedBy, RateLimit, RateLimits},
        rejection::Refusal,
        route::RouteId,
    },
    state::{
        address_group::AddressGroup,
        rate_limiter::{Bearer, Meter, RateLimiter, Tally},
        rate_table::CALLERS_MAX,
    },
};
use proptest::prelude::*;

use crate::support::{
    fixture::ISSUER,
    ruleset::{issuer, route, ruleset},
};

const HOUR: Duration = Duration::from_secs(3600);

fn limit(requests: u32, by: CountedBy) -> RateLimit {
    RateLimit { requests, per: HOUR, burst: requests, by }
}

/// Rules with a route for each list of limits, named by its position.
fn rules(limits: &[&[RateLimit]]) -> portcullis::gate::decide::Ruleset {
    let routes = limits.iter().enumerate().map(|(position, limits)| {
        let mut route = route(&format!("r{position}"), &format!("/r{position}"));
        route.rate_limits = RateLimits::new(limits.iter().copied());
        route
    });
    ruleset(vec![issuer("main", ISSUER)], routes.collect())
}

fn address(last: u8) -> Option<AddressGroup> {
    Some(AddressGroup::of([192, 0, 2, last].into()))
}

fn of(subject: &str) -> Bearer<'_> {
    Bearer { issuer: Some("main"), subject: Some(subject), signed: Some(subject) }
}

/// One request to the route at this position: what was said of it, and whether it may pass.
fn send(
    rules: &portcullis::gate::decide::Ruleset,
    limiter: &RateLimiter,
    name: &str,
    from: (Option<AddressGroup>, Bearer<'_>),
    now: Instant,
) -> (Result<(), Refusal>, Tally) {
    let found = rules.routes.routes().iter().position(|route| &*route.name == name).unwrap();
    let (id, route) = (RouteId(u16::try_from(found).unwrap()), &rules.routes.routes()[found]);
    let mut meter = Meter::new(limiter, from.0, now);
    let result = meter.arrive(id, route).and_then(|()| meter.pass(id, route, from.1));
    (result, meter.tally())
}

fn left(tally: &Tally) -> Vec<u32> {
    tally.standings.iter().flatten().map(|standing| standing.left).collect()
}

#[test]
fn a_request_that_waits_for_keys_is_charged_once() {
    let rules = rules(&[&[limit(5, CountedBy::Address), limit(5, CountedBy::Subject)]]);
    let now = Instant::now();
    let limiter = RateLimiter::new(&rules, None, now);
    let route = &rules.routes.routes()[0];
    let mut meter = Meter::new(&limiter, address(1), now);
    for _ in 0..3 {
        assert!(meter.arrive(RouteId(0), route).is_ok());
        meter.waited_until(now + Duration::from_secs(1));
    }
    assert!(meter.pass(RouteId(0), route, of("alice")).is_ok());
    assert_eq!(left(&meter.tally()), [4, 4]);
}

#[test]
fn buckets_outlive_a_configuration_where_a_route_of_the_same_name_has_the_same_limit() {
    use CountedBy::{Address, Subject};
    let now = Instant::now();
    let before = rules(&[&[limit(2, Subject), limit(7, Address)], &[limit(2, Subject)]]);
    let earlier = RateLimiter::new(&before, None, now);
    for name in ["r0", "r0", "r1"] {
        assert!(send(&before, &earlier, name, (address(1), of("alice")), now).0.is_ok());
    }
    let later = now + Duration::from_secs(1);
    // The same limits in another order, beside a new one; and one that was changed.
    let after = rules(&[&[limit(7, Address), limit(9, Address), limit(2, Subject)], &[limit(3, Subject)]]);
    let limiter = RateLimiter::new(&after, Some(&earlier), later);
    drop(earlier);
    let (result, tally) = send(&after, &limiter, "r0", (address(1), of("alice")), later);
    assert!(result.is_err(), "a new configuration is no new bucket");
    assert_eq!((left(&tally), tally.refused_by), (vec![5, 9, 0], Some(Subject)));
    assert!(send(&after, &limiter, "r0", (address(1), of("bob")), later).0.is_ok());
    let (result, tally) = send(&after, &limiter, "r1", (address(1), of("alice")), later);
    assert!(result.is_ok(), "another limit begins full");
    assert_eq!(left(&tally), [2]);
    let none = RateLimiter::new(&after, None, later);
    assert_eq!(left(&send(&after, &none, "r0", (address(1), of("alice")), later).1), [6, 8, 1]);
}

#[test]
fn clients_of_a_unix_socket_are_one_caller() {
    let rules = rules(&[&[limit(1, CountedBy::Address)]]);
    let now = Instant::now();
    let limiter = RateLimiter::new(&rules, None, now);
    for (from, passes) in [(None, true), (None, false), (address(1), true)] {
        assert_eq!(send(&rules, &limiter, "r0", (from, Bearer::default()), now).0.is_ok(), passes);
    }
}

#[test]
fn a_flood_of_subjects_refuses_nobody_who_has_room_and_frees_nobody_who_took_more() {
    let rules = rules(&[&[limit(3, CountedBy::Subject)]]);
    let now = Instant::now();
    let limiter = RateLimiter::new(&rules, None, now);
    let ask = |subject: &str| send(&rules, &limiter, "r0", (address(1), of(subject)), now).0.is_ok();
    assert!((0..3).all(|_| ask("greedy")));
    assert!(!ask("greedy"));
    for number in 0..2 * CALLERS_MAX {
        assert!(ask(&format!("s{number}")), "s{number} pays for others");
    }
    assert!(!ask("greedy"), "who took most is forgotten last");
}

/// What is counted of one request: address, subject, and the issuer where there is a subject.
type Sender = (u8, Option<u8>);

fn key(by: CountedBy, (address, subject): Sender) -> String {
    match (by, subject) {
        (CountedBy::Subject | CountedBy::Token, Some(subject)) => format!("{by:?} {subject}"),
        (CountedBy::Issuer, Some(_)) => "issuer".to_owned(),
        (CountedBy::Address | CountedBy::Subject | CountedBy::Token | CountedBy::Issuer, _) => {
            format!("address {address}")
        }
    }
}

fn kinds() -> impl Strategy<Value = CountedBy> {
    prop::sample::select(CountedBy::ALL.to_vec())
}

proptest! {
    /// Without time, a bucket is a number: the limits of a route against numbers.
    #[test]
    fn a_request_passes_exactly_when_every_limit_has_room_and_a_refused_one_takes_from_none(
        limits in prop::collection::vec((1..6_u32, kinds()), 1..5),
        requests in prop::collection::vec((0..3_u8, prop::option::of(0..4_u8)), 1..80),
    ) {
        let mut limits: Vec<RateLimit> = limits.into_iter().map(|(requests, by)| limit(requests, by)).collect();
        limits.dedup();
        let rules = rules(&[&limits]);
        let now = Instant::now();
        let limiter = RateLimiter::new(&rules, None, now);
        let mut taken: HashMap<(usize, String), u32> = HashMap::new();
        for sender in requests {
            let subject = sender.1.map(|subject| format!("s{subject}"));
            let bearer = subject.as_deref().map_or_else(Bearer::default, of);
            let (result, tally) = send(&rules, &limiter, "r0", (address(sender.0), bearer), now);
            let key = |position: usize| (position, key(limits[position].by, sender));
            let room = |position: &usize| limits[*position].burst - taken.get(&key(*position)).copied().unwrap_or(0);
            let full: Vec<usize> = (0..limits.len()).filter(|position| room(position) == 0).collect();
            prop_assert_eq!(result.is_ok(), full.is_empty());
            if full.is_empty() {
                for position in 0..limits.len() {
                    *taken.entry(key(position)).or_default() += 1;
                }
            } else {
                prop_assert!(full.iter().any(|position| Some(limits[*position].by) == tally.refused_by));
            }
            for (position, standing) in tally.standings.iter().enumerate() {
                if let Some(standing) = standing {
                    let taken = taken.get(&(position, self::key(limits[position].by, sender))).copied().unwrap_or(0);
                    prop_assert_eq!(standing.left, limits[position].burst - taken);
                }
            }
        }
    }
}
