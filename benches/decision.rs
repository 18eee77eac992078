//! What one decision costs: a remembered token, a new one beside the bare signature check, and refusals.
//!
//! It measures with the allocator of the program and counts nothing: `allocations.rs` does that.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a benchmark reads the clock and ends by panicking")]
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

mod support;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::HeaderMap;
use portcullis::{
    config::settings::CacheLimits,
    gate::{algorithm::Algorithm, decide::Decision, rejection::Rejection, time::UnixTime},
    state::{claims_cache::CacheUse, gatekeeper::Gatekeeper},
};

use support::{Head, Keys, LATER, NOW, OFF, PRIVATE_PATH, PUBLIC_PATH, ROOMY, Token, decide, everything_is_asked_for};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ALGORITHMS: [Algorithm; 6] =
    [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA, Algorithm::HS256];

/// A cache in which no token has room: it is asked and told in vain, as for a token that is new.
const TOO_SMALL: CacheLimits = CacheLimits { entries: 1, bytes: 1 };

/// A request and the time at which it is decided.
struct Case {
    gatekeeper: Gatekeeper,
    head: Head,
    now: UnixTime,
    outgoing: HeaderMap,
}

impl Case {
    fn new(gatekeeper: Gatekeeper, head: Head, now: UnixTime) -> Self {
        Self { gatekeeper, head, now, outgoing: HeaderMap::with_capacity(16) }
    }

    /// A request whose token is remembered.
    fn remembered(keys: &Keys, token: &Token, now: UnixTime) -> Self {
        let mut case = Self::new(keys.gatekeeper(ROOMY), Head::new(PRIVATE_PATH, Some(&token.compact)), NOW);
        case.passes(CacheUse::Miss);
        case.now = now;
        case
    }

    /// A request whose token is verified every time.
    fn unremembered(keys: &Keys, token: &Token, limits: CacheLimits) -> Self {
        Self::new(keys.gatekeeper(limits), Head::new(PRIVATE_PATH, Some(&token.compact)), NOW)
    }

    fn run(&mut self) -> bool {
        let judgement = decide(&self.gatekeeper, black_box(&self.head), self.now, &mut self.outgoing);
        matches!(black_box(&judgement).decision, Decision::Pass(_))
    }

    fn passes(&mut self, cache: CacheUse) {
        let judgement = decide(&self.gatekeeper, &self.head, self.now, &mut self.outgoing);
        assert!(matches!(judgement.decision, Decision::Pass(_)), "{:?}", judgement.decision);
        assert_eq!(judgement.cache, cache);
    }

    fn refuses(&mut self, rejection: Rejection) {
        match decide(&self.gatekeeper, &self.head, self.now, &mut self.outgoing).decision {
            Decision::Reject(refusal) => assert_eq!(refusal.rejection(), rejection),
            Decision::Pass(_) | Decision::AwaitKeys(_) => unreachable!("the request must be refused"),
        }
    }
}

fn hits(criterion: &mut Criterion) {
    let keys = Keys::new();
    let mut group = criterion.benchmark_group("hit");
    for algorithm in [Algorithm::ES256, Algorithm::RS256] {
        let token = keys.token(algorithm, 0);
        let mut case = Case::remembered(&keys, &token, NOW);
        case.passes(CacheUse::Hit);
        assert_eq!(case.outgoing.len(), 3);
        let name = format!("{algorithm} token of {} bytes", token.compact.len());
        group.bench_function(name, |bencher| bencher.iter(|| case.run()));
    }
    let mut public = Case::new(keys.gatekeeper(ROOMY), Head::new(PUBLIC_PATH, None), NOW);
    public.passes(CacheUse::None);
    group.bench_function("no token, public route", |bencher| bencher.iter(|| public.run()));
    group.finish();
}

fn misses(criterion: &mut Criterion) {
    let keys = Keys::new();
    let mut group = criterion.benchmark_group("miss");
    for algorithm in ALGORITHMS {
        let token = keys.token(algorithm, 0);
        let mut case = Case::unremembered(&keys, &token, OFF);
        case.passes(CacheUse::None);
        assert!(token.verify_alone());
        let alone = BenchmarkId::new("signature alone", algorithm);
        group.bench_function(alone, |bencher| bencher.iter(|| black_box(&token).verify_alone()));
        group.bench_function(BenchmarkId::new("decision", algorithm), |bencher| bencher.iter(|| case.run()));
    }
    group.finish();
}

fn refusals(criterion: &mut Criterion) {
    let keys = Keys::new();
    let mut group = criterion.benchmark_group("refused");
    for algorithm in [Algorithm::RS256, Algorithm::ES256] {
        let forged = keys.token(algorithm, 0).forged();
        let mut case = Case::new(keys.gatekeeper(ROOMY), Head::new(PRIVATE_PATH, Some(&forged.compact)), NOW);
        case.refuses(Rejection::SignatureInvalid);
        group.bench_function(BenchmarkId::new("signature", algorithm), |bencher| bencher.iter(|| case.run()));
    }
    let mut expired = Case::remembered(&keys, &keys.token(Algorithm::RS256, 0), LATER);
    expired.refuses(Rejection::TokenExpired);
    group.bench_function("expired, remembered", |bencher| bencher.iter(|| expired.run()));
    group.finish();
}

/// Decision and signature measured in turns, so that a machine whose speed changes changes both.
fn table(_: &mut Criterion) {
    if !everything_is_asked_for() {
        return;
    }
    let keys = Keys::new();
    println!(
        "\n| microseconds | signature alone | decision, no cache | more | ratio | decision, asking the cache | more |"
    );
    println!("|---|---|---|---|---|---|---|");
    for algorithm in ALGORITHMS {
        let token = keys.token(algorithm, 0);
        let mut without_cache = Case::unremembered(&keys, &token, OFF);
        let mut with_cache = Case::unremembered(&keys, &token, TOO_SMALL);
        with_cache.passes(CacheUse::Miss);
        with_cache.passes(CacheUse::Miss);
        let mut rounds = Vec::new();
        for _ in 0..101 {
            let alone = time_of(|| black_box(&token).verify_alone());
            rounds.push((alone, time_of(|| without_cache.run()), time_of(|| with_cache.run())));
        }
        let alone = median(rounds.iter().map(|(alone, ..)| *alone));
        let without = median(rounds.iter().map(|(_, without, _)| *without));
        let with = median(rounds.iter().map(|(.., with)| *with));
        let more = median(rounds.iter().map(|(alone, without, _)| without - alone));
        let more_with = median(rounds.iter().map(|(alone, _, with)| with - alone));
        let ratio = without / alone;
        println!("| {algorithm} | {alone:.2} | {without:.2} | {more:.2} | {ratio:.2} | {with:.2} | {more_with:.2} |");
    }
    println!();
}

/// Microseconds that one call takes, measured over about a millisecond.
fn time_of(mut call: impl FnMut() -> bool) -> f64 {
    let began = Instant::now();
    let mut calls = 0_u32;
    while began.elapsed() < Duration::from_millis(1) {
        for _ in 0..8 {
            assert!(call());
        }
        calls += 8;
    }
    began.elapsed().as_secs_f64() * 1e6 / f64::from(calls)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap()
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = hits, misses, refusals, table
}
criterion_main!(benches);
