//! What limits on rates cost: a bucket alone, whatever the number of callers, and a decision beside one with none.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a benchmark reads the clock and ends by panicking")]
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

mod support;

use std::{
    hint::black_box,
    net::IpAddr,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::{
    gate::{
        algorithm::Algorithm,
        decide::Decision,
        rate_limit::{CountedBy, RateLimit},
        witness::Nobody,
    },
    state::{
        address_group::AddressGroup,
        gatekeeper::{Occasion, Patience},
        rate_limiter::Meter,
        rate_table::{CALLERS_MAX, RateTable, Taken},
    },
};

use support::{Head, Keys, LIMITED_PATH, NOW, PRIVATE_PATH, ROOMY};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Between two requests, so that no bucket is ever empty where requests are to pass.
const PAUSE: Duration = Duration::from_micros(2);

fn buckets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bucket");
    let limit =
        RateLimit { requests: 1_000_000, per: Duration::from_secs(1), burst: 1_000_000, by: CountedBy::Subject };
    for callers in [1, 1_000, CALLERS_MAX, 16 * CALLERS_MAX] {
        let mut now = Instant::now();
        let table = RateTable::new(limit, now);
        let mut number = 0;
        group.bench_function(format!("taken by {callers} callers in turn"), |bencher| {
            bencher.iter(|| {
                now += PAUSE;
                number = (number + 1) % callers;
                let caller = table.caller(black_box(("main", number)));
                assert!(matches!(table.take(caller, now), Taken::Room(_)));
            });
        });
    }
    let now = Instant::now();
    let table = RateTable::new(RateLimit { requests: 1, per: Duration::from_secs(3600), burst: 1, ..limit }, now);
    table.take(table.caller("alice"), now);
    group.bench_function("empty", |bencher| {
        bencher.iter(|| assert!(matches!(table.take(table.caller(black_box("alice")), now), Taken::Full(_))));
    });
    group.finish();
}

fn decisions(criterion: &mut Criterion) {
    let keys = Keys::new();
    let token = keys.token(Algorithm::ES256, 0).compact;
    let mut now = Instant::now();
    let gatekeeper = keys.gatekeeper(ROOMY).limiting_rates(None, now);
    let address = Some(AddressGroup::of(IpAddr::from([10, 1, 2, 3])));
    let mut group = criterion.benchmark_group("hit");
    for (name, path) in [("no limits", PRIVATE_PATH), ("by address, subject and token", LIMITED_PATH)] {
        let head = Head::new(path, Some(&token));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                now += PAUSE;
                let mut meter = Meter::new(gatekeeper.rate_limiter(), address, now);
                let occasion = Occasion { now: NOW, patience: Patience::MayWait, wait: None, meter: Some(&mut meter) };
                let judgement = gatekeeper.decide_before(&black_box(&head).request(), occasion, &mut Nobody);
                assert!(matches!(black_box(&judgement).decision, Decision::Pass(_)));
                meter.tally()
            });
        });
    }
    let head = Head::new(LIMITED_PATH, Some(&token));
    let judgement = gatekeeper.decide(&head.request(), NOW, Patience::MayWait);
    let limits = &gatekeeper.ruleset().routes.route(judgement.route.unwrap()).unwrap().rate_limits;
    let mut meter = Meter::new(gatekeeper.rate_limiter(), address, now);
    let occasion = Occasion { now: NOW, patience: Patience::MayWait, wait: None, meter: Some(&mut meter) };
    drop(gatekeeper.decide_before(&head.request(), occasion, &mut Nobody));
    let standings = meter.tally().standings;
    assert_eq!(standings.iter().flatten().count(), 3);
    group.bench_function("the field that tells three", |bencher| bencher.iter(|| limits.told(black_box(&standings))));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = buckets, decisions
}
criterion_main!(benches);
