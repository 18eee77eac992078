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

use support::{
    Head, Keys, LATER, NOW, OFF, PRIVATE_PATH, PUBLIC_PATH, ROOMY, RULES_PATH, Token, decide, everything_is_asked_for,
};

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

/// What rules cost beside all else: fourteen of them alone, and a whole decision in which they are judged twice, in force
/// and on trial.
fn rules(criterion: &mut Criterion) {
    let keys = Keys::new();
    let token = keys.token(Algorithm::ES256, 0);
    let mut case = Case::new(keys.gatekeeper(ROOMY), Head::new(RULES_PATH, Some(&token.compact)), NOW);
    case.passes(CacheUse::Miss);
    case.passes(CacheUse::Hit);
    let judgement = decide(&case.gatekeeper, &case.head, NOW, &mut case.outgoing);
    assert!(judgement.observed.is_none());
    let Decision::Pass(Some(identity)) = judgement.decision else { unreachable!("the request must pass") };
    let route = case.gatekeeper.ruleset().routes.route(judgement.route.unwrap()).unwrap();
    let requirement = route.requirement.clone();
    let mut group = criterion.benchmark_group("rules");
    group.bench_function("fourteen alone", |bencher| {
        bencher.iter(|| black_box(&requirement).check(black_box(&identity), Duration::from_secs(30), NOW).is_ok());
    });
    group.bench_function("hit, fourteen in force and on trial", |bencher| bencher.iter(|| case.run()));
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

/// What is compared is measured in turns, so that a machine whose speed changes changes all of it.
fn tables(_: &mut Criterion) {
    if !everything_is_asked_for() {
        return;
    }
    let keys = Keys::new();
    let rs256 = keys.token(Algorithm::RS256, 0);
    let es256 = keys.token(Algorithm::ES256, 0);
    let mut short = Case::remembered(&keys, &es256, NOW);
    let mut long = Case::remembered(&keys, &rs256, NOW);
    let mut public = Case::new(keys.gatekeeper(ROOMY), Head::new(PUBLIC_PATH, None), NOW);
    let hits = Rounds::of(&mut [
        &mut || black_box(&rs256).verify_alone(),
        &mut || short.run(),
        &mut || long.run(),
        &mut || public.run(),
    ]);
    let (short_bytes, long_bytes) = (es256.compact.len(), rs256.compact.len());
    println!(
        "\n| microseconds | RS256 signature alone | hit, {short_bytes} bytes | hit, {long_bytes} bytes | no token |"
    );
    println!("|---|---|---|---|---|");
    hits.print("of all rounds", Rounds::medians);
    hits.quietest().print("of the quietest tenth", Rounds::medians);

    println!("\n| microseconds | signature alone | decision, no cache | more | decision, asking the cache | more |");
    println!("|---|---|---|---|---|---|");
    for algorithm in ALGORITHMS {
        let token = keys.token(algorithm, 0);
        let mut without_cache = Case::unremembered(&keys, &token, OFF);
        let mut with_cache = Case::unremembered(&keys, &token, TOO_SMALL);
        with_cache.passes(CacheUse::Miss);
        with_cache.passes(CacheUse::Miss);
        let rounds =
            Rounds::of(&mut [&mut || black_box(&token).verify_alone(), &mut || without_cache.run(), &mut || {
                with_cache.run()
            }]);
        rounds.print(&format!("{algorithm}, of all rounds"), Rounds::differences);
        rounds.quietest().print(&format!("{algorithm}, of the quietest tenth"), Rounds::differences);
    }
    println!();
}

/// Microseconds of several calls, measured one after the other, many times.
struct Rounds(Vec<Vec<f64>>);

impl Rounds {
    const COUNT: usize = 300;

    fn of(calls: &mut [&mut dyn FnMut() -> bool]) -> Self {
        let round = |_| calls.iter_mut().map(|call| time_of(call)).collect();
        Self((0..Self::COUNT).map(round).collect())
    }

    /// Those in which the machine was disturbed least.
    fn quietest(&self) -> Self {
        let mut rounds = self.0.clone();
        rounds.sort_unstable_by(|one, other| one.iter().sum::<f64>().total_cmp(&other.iter().sum()));
        rounds.truncate(Self::COUNT / 10);
        Self(rounds)
    }

    fn median(&self, figure: impl Fn(&[f64]) -> f64) -> f64 {
        let mut figures: Vec<f64> = self.0.iter().map(|round| figure(round)).collect();
        figures.sort_unstable_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied().unwrap()
    }

    fn medians(&self) -> Vec<f64> {
        let calls = self.0.first().map_or(0, Vec::len);
        (0..calls).map(|call| self.median(|round| *round.get(call).unwrap())).collect()
    }

    /// The first call, and each other with what it takes more than the first.
    fn differences(&self) -> Vec<f64> {
        let medians = self.medians();
        let (alone, others) = medians.split_first().unwrap();
        let more = |call: usize| self.median(|round| round.get(call).unwrap() - round.first().unwrap());
        let others = others.iter().zip(1..).flat_map(|(median, call)| [*median, more(call)]);
        [*alone].into_iter().chain(others).collect()
    }

    fn print(&self, name: &str, figures: impl Fn(&Self) -> Vec<f64>) {
        let figures: Vec<String> = figures(self).iter().map(|figure| format!("{figure:.2}")).collect();
        println!("| {name} | {} |", figures.join(" | "));
    }
}

/// Microseconds that one call takes, measured over about a millisecond.
fn time_of(call: &mut dyn FnMut() -> bool) -> f64 {
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

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = hits, rules, misses, refusals, tables
}
criterion_main!(benches);
