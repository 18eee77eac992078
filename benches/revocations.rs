//! What revocations cost: a decision beside a hundred thousand entries, the look-up alone, and reading such a list.
#![allow(clippy::unwrap_used, reason = "a benchmark ends by panicking")]
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

mod support;

use std::{fmt::Write as _, hint::black_box, sync::Arc, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use http::HeaderMap;
use portcullis::{
    config::{
        error::Problems,
        revocation_list::{self, KnownIssuers},
    },
    gate::{
        algorithm::Algorithm,
        decide::Decision,
        revocation::{Revocation, RevocationList, Revocations, TokenTraits},
    },
    state::{gatekeeper::Gatekeeper, revocation_slot::RevocationSlot},
};

use support::{Head, Keys, NOW, PRIVATE_PATH, ROOMY, decide};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ENTRIES: usize = 100_000;

/// A list that names one field, or eight combinations of fields in turn.
fn text(combinations: usize) -> String {
    let mut text = String::new();
    for number in 0..ENTRIES {
        let fields = match number % combinations {
            0 => format!("sub: 0f6d1c8-{number:012x}"),
            1 => format!("jti: 9e02a9d4-{number:08x}"),
            2 => format!("sid: session-{number}"),
            3 => format!("client: client-{number}"),
            4 => format!("issuer: main, sub: 1f6d1c8-{number:012x}"),
            5 => format!("issuer: main, jti: 8e02a9d4-{number:08x}"),
            6 => format!("sub: 2f6d1c8-{number:012x}, issued_before: 2026-01-01T00:00:00Z"),
            _ => format!("sub: 3f6d1c8-{number:012x}, client: storefront, kid: a"),
        };
        writeln!(text, "- {{{fields}}}").unwrap();
    }
    text
}

fn read(text: &str) -> Vec<Revocation> {
    let mut problems = Problems::new();
    revocation_list::parse("list.yaml", text.as_bytes(), KnownIssuers::Any, &mut problems).unwrap()
}

fn union(entries: Vec<Revocation>) -> Revocations {
    Revocations::new(vec![("list".into(), Arc::new(RevocationList::new(entries)))], None)
}

fn decisions(criterion: &mut Criterion) {
    let keys = Keys::new();
    let token = keys.token(Algorithm::ES256, 0).compact;
    let head = Head::new(PRIVATE_PATH, Some(&token));
    let mut group = criterion.benchmark_group("hit");
    let lists = [("no entries", None), ("entries of one kind", Some(1)), ("entries of eight kinds", Some(8))];
    for (name, combinations) in lists {
        let slot = Arc::new(RevocationSlot::default());
        if let Some(combinations) = combinations {
            slot.install(union(read(&text(combinations))));
        }
        let gatekeeper: Gatekeeper = keys.gatekeeper(ROOMY).with_revocations(slot);
        let mut outgoing = HeaderMap::with_capacity(16);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let judgement = decide(&gatekeeper, black_box(&head), NOW, &mut outgoing);
                assert!(matches!(black_box(&judgement).decision, Decision::Pass(_)));
            });
        });
    }
    group.finish();
}

fn look_up(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("look-up");
    let token = TokenTraits {
        texts: [Some("main"), Some("7e02a9d4-1"), Some("b4f6d1c8-1"), Some("s"), Some("k"), Some("storefront")],
        other_subject: None,
        issued_at: Some(NOW),
    };
    for combinations in [1, 8] {
        let revocations = union(read(&text(combinations)));
        group.bench_function(format!("{combinations} kinds"), |bencher| {
            bencher.iter(|| assert!(revocations.check(black_box(&token), NOW).is_ok()));
        });
    }
    group.finish();
}

fn reading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("list");
    let text = text(8);
    let entries = read(&text);
    group.bench_function("read", |bencher| bencher.iter(|| read(black_box(&text))));
    group.bench_function("index", |bencher| bencher.iter(|| RevocationList::new(entries.clone())));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    targets = decisions, look_up, reading
}
criterion_main!(benches);
