//! Which cache remembers tokens best: the one of the gatekeeper beside a strict LRU and `moka`, on a Zipf trace; and
//! what recalling costs.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a benchmark reads the clock and ends by panicking")]
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

mod support;

use std::{
    hash::BuildHasher,
    hint::black_box,
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use foldhash::fast::FixedState;
use portcullis::{
    config::settings::CacheLimits,
    gate::{algorithm::Algorithm, claims::KnownToken},
    state::{
        claims_cache::{ClaimsCache, TokenDigest},
        gatekeeper::Patience,
    },
};

use support::{Head, Keys, NOW, PRIVATE_PATH, ROOMY, everything_is_asked_for};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tokens that clients use, and how many of them fit.
const TOKENS: usize = 500_000;
const CAPACITY: usize = TOKENS / 10;
/// Requests of one pass over the trace.
const REQUESTS: usize = 1_000_000;
const SHARDS: usize = 16;

/// A cache under comparison: answers whether it knew the token, and knows it afterwards.
trait Contender: Sync {
    fn ask(&self, digest: TokenDigest, known: &Arc<KnownToken>) -> bool;
}

/// The gatekeeper's own, as it is configured in `state::claims_cache`.
impl Contender for ClaimsCache {
    fn ask(&self, digest: TokenDigest, known: &Arc<KnownToken>) -> bool {
        let hit = self.recall(&digest, |_| Some(1)).is_some();
        if !hit {
            self.remember(digest, Arc::clone(known), 1);
        }
        hit
    }
}

/// A strict LRU behind locks.
struct Lru {
    shards: Vec<Mutex<lru::LruCache<TokenDigest, Arc<KnownToken>>>>,
}

impl Lru {
    fn new() -> Self {
        let capacity = NonZeroUsize::new(CAPACITY / SHARDS).unwrap();
        Self { shards: (0..SHARDS).map(|_| Mutex::new(lru::LruCache::new(capacity))).collect() }
    }
}

impl Contender for Lru {
    fn ask(&self, digest: TokenDigest, known: &Arc<KnownToken>) -> bool {
        let position = FixedState::default().hash_one(digest) as usize % SHARDS;
        let mut shard = self.shards.get(position).unwrap().lock().unwrap();
        let hit = shard.get(&digest).cloned().is_some();
        if !hit {
            shard.put(digest, Arc::clone(known));
        }
        hit
    }
}

struct Moka(moka::sync::Cache<TokenDigest, Arc<KnownToken>, FixedState>);

impl Moka {
    fn new() -> Self {
        Self(moka::sync::Cache::builder().max_capacity(CAPACITY as u64).build_with_hasher(FixedState::default()))
    }
}

impl Contender for Moka {
    fn ask(&self, digest: TokenDigest, known: &Arc<KnownToken>) -> bool {
        let hit = self.0.get(&digest).is_some();
        if !hit {
            self.0.insert(digest, Arc::clone(known));
        }
        hit
    }
}

fn contenders(known: &KnownToken) -> Vec<(&'static str, Box<dyn Contender>)> {
    // Entries decide, bytes never do, as for the others.
    let limits = CacheLimits { entries: CAPACITY, bytes: (CAPACITY * (known.bytes() + 1024)) as u64 };
    vec![
        ("quick_cache, as configured", Box::new(ClaimsCache::new(limits, [7; 32]))),
        ("strict LRU, 16 locks", Box::new(Lru::new())),
        ("moka", Box::new(Moka::new())),
    ]
}

/// The digests of all tokens, and one that stands for what is remembered of each.
struct Scene {
    digests: Vec<TokenDigest>,
    known: Arc<KnownToken>,
}

impl Scene {
    fn new() -> Self {
        let gatekeeper = Keys::new().gatekeeper(ROOMY);
        let token = Keys::new().token(Algorithm::HS256, 0).compact;
        let head = Head::new(PRIVATE_PATH, Some(&token));
        let known = gatekeeper.decide(&head.request(), NOW, Patience::MayWait).known.unwrap();
        let digest = |number: usize| gatekeeper.cache().digest(&number.to_string()).unwrap();
        Self { digests: (0..TOKENS).map(digest).collect(), known }
    }

    fn trace(&self, exponent: f64, seed: u64) -> Vec<TokenDigest> {
        zipf(exponent, seed).map(|rank| *self.digests.get(rank).unwrap()).collect()
    }
}

/// Ranks below [`TOKENS`], drawn with a probability that falls with the rank to the power of `exponent`.
fn zipf(exponent: f64, seed: u64) -> impl Iterator<Item = usize> {
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=TOKENS)
        .map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        })
        .collect();
    let mut state = seed;
    (0..REQUESTS).map(move |_| {
        // splitmix64: the same trace in every run.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let uniform = ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
        sums.partition_point(|bound| *bound < uniform * sum).min(TOKENS - 1)
    })
}

fn pass(cache: &dyn Contender, trace: &[TokenDigest], known: &Arc<KnownToken>) -> usize {
    trace.iter().filter(|digest| cache.ask(**digest, known)).count()
}

/// Seconds in which every thread makes one pass over its own trace.
fn pass_by_all(cache: &dyn Contender, traces: &[Vec<TokenDigest>], known: &Arc<KnownToken>) -> f64 {
    let began = Instant::now();
    thread::scope(|scope| {
        for trace in traces {
            scope.spawn(move || black_box(pass(cache, trace, known)));
        }
    });
    began.elapsed().as_secs_f64()
}

fn table(_: &mut Criterion) {
    if !everything_is_asked_for() {
        return;
    }
    let scene = Scene::new();
    println!(
        "\n| cache | Zipf | hit ratio | ns a request, 1 thread | million requests a second, 1 thread | 2 threads |"
    );
    println!("|---|---|---|---|---|---|");
    for exponent in [0.9, 1.1] {
        let warming = scene.trace(exponent, 1);
        let traces = [scene.trace(exponent, 2), scene.trace(exponent, 3)];
        let [first, _] = &traces;
        for (name, cache) in contenders(&scene.known) {
            pass(&*cache, &warming, &scene.known);
            let ratio = pass(&*cache, first, &scene.known) as f64 / REQUESTS as f64;
            let speed = |threads: usize| {
                let traces = traces.get(..threads).unwrap();
                let mut rounds: Vec<f64> = (0..5).map(|_| pass_by_all(&*cache, traces, &scene.known)).collect();
                rounds.sort_unstable_by(f64::total_cmp);
                (threads * REQUESTS) as f64 / rounds.get(rounds.len() / 2).unwrap()
            };
            let (alone, together) = (speed(1), speed(2));
            println!(
                "| {name} | {exponent} | {ratio:.3} | {:.0} | {:.1} | {:.1} |",
                1e9 / alone,
                alone / 1e6,
                together / 1e6
            );
        }
    }
    println!();
}

fn zipf_trace(criterion: &mut Criterion) {
    let scene = Scene::new();
    let mut group = criterion.benchmark_group("1000 requests of a Zipf 0.9 trace");
    group.throughput(Throughput::Elements(1000));
    let trace = scene.trace(0.9, 1);
    for (name, cache) in contenders(&scene.known) {
        pass(&*cache, &trace, &scene.known);
        let mut requests = trace.chunks_exact(1000).cycle();
        let mut next = || pass(&*cache, requests.next().unwrap_or_default(), &scene.known);
        group.bench_function(name, |bencher| bencher.iter(&mut next));
    }
    group.finish();
}

fn recall(criterion: &mut Criterion) {
    let scene = Scene::new();
    let cache = ClaimsCache::new(ROOMY, [7; 32]);
    let token = Keys::new().token(Algorithm::RS256, 0).compact;
    let mut group = criterion.benchmark_group("claims cache");
    let digest_of = BenchmarkId::new("digest, bytes of token", token.len());
    group.bench_function(digest_of, |bencher| bencher.iter(|| cache.digest(black_box(&token))));
    for entries in [64, 10_000, 100_000] {
        let digests = scene.digests.get(..entries).unwrap();
        for digest in digests {
            cache.remember(*digest, Arc::clone(&scene.known), 1);
        }
        // A stride that visits all, but never a neighbour.
        let mut at = 0;
        let mut next = || {
            at = (at + 7919) % entries;
            cache.recall(digests.get(at).unwrap(), |_| Some(1)).is_some()
        };
        group.bench_function(BenchmarkId::new("recall, tokens remembered", entries), |bencher| bencher.iter(&mut next));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = recall, zipf_trace, table
}
criterion_main!(benches);
