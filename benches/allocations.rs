//! What decisions allocate, and what a remembered token keeps: counted, not timed, so the figures are exact.
//!
//! The counter stands before the system's allocator: what it counts are the bytes that were asked for.
#![allow(clippy::unwrap_used, reason = "a benchmark ends by panicking")]

mod support;

use std::{alloc::System, sync::Arc};

use http::HeaderMap;
use portcullis::{
    gate::{
        algorithm::Algorithm,
        decide::Decision,
        revocation::{Revocation, RevocationDraft, RevocationList, Revocations},
        time::UnixTime,
    },
    state::{gatekeeper::Gatekeeper, revocation_slot::RevocationSlot},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use support::{Head, Keys, LATER, NOW, OFF, PRIVATE_PATH, PUBLIC_PATH, ROOMY, RULES_PATH, decide};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Decisions that are counted, so that a rare allocation shows too.
const DECISIONS: usize = 1000;
const TOKENS_REMEMBERED: u32 = 100_000;

fn main() {
    let keys = Keys::new();
    println!("\n| decision | allocations | bytes |\n|---|---|---|");
    let token = keys.token(Algorithm::RS256, 0).compact;
    let remembering = keys.gatekeeper(ROOMY);
    row("hit, identity headers written", &remembering, &Head::new(PRIVATE_PATH, Some(&token)), NOW);
    let revoking = keys.gatekeeper(ROOMY).with_revocations(revocations());
    row("hit, beside 20,000 revocations of five kinds", &revoking, &Head::new(PRIVATE_PATH, Some(&token)), NOW);
    row("hit, fourteen rules in force and on trial", &remembering, &Head::new(RULES_PATH, Some(&token)), NOW);
    row("no token, public route", &remembering, &Head::new(PUBLIC_PATH, None), NOW);
    row("remembered token that expired", &remembering, &Head::new(PRIVATE_PATH, Some(&token)), LATER);
    let forgetful = keys.gatekeeper(OFF);
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::HS256] {
        let token = keys.token(algorithm, 0);
        let head = Head::new(PRIVATE_PATH, Some(&token.compact));
        row(&format!("miss, {algorithm}"), &forgetful, &head, NOW);
        let count = count(|| assert!(token.verify_alone()));
        println!("| {algorithm} signature alone, for comparison | {} | {} |", count.0, count.1);
    }
    let forged = keys.token(Algorithm::RS256, 0).forged();
    row("forged signature, RS256", &remembering, &Head::new(PRIVATE_PATH, Some(&forged.compact)), NOW);
    remembered(&keys);
}

/// Entries that end other tokens than those of this benchmark.
fn revocations() -> Arc<RevocationSlot> {
    let entry = |number: usize| {
        let text = |wanted: bool| wanted.then(|| Box::from(format!("other-{number}")));
        let kind = number % 5;
        let texts = [None, text(kind == 0), text(kind == 1 || kind == 4), text(kind == 2), None, text(kind >= 3)];
        Revocation::new(RevocationDraft { texts, ..RevocationDraft::default() }).unwrap()
    };
    let list = RevocationList::new((0..20_000).map(entry).collect());
    let slot = RevocationSlot::default();
    slot.install(Revocations::new(vec![("list".into(), Arc::new(list))], None));
    Arc::new(slot)
}

fn row(name: &str, gatekeeper: &Gatekeeper, head: &Head, now: UnixTime) {
    let mut outgoing = HeaderMap::with_capacity(16);
    // The first two times fill the cache, and make the values' bytes shared.
    for _ in 0..2 {
        decide(gatekeeper, head, NOW, &mut outgoing);
    }
    let (allocations, bytes) = count(|| drop(decide(gatekeeper, head, now, &mut outgoing)));
    println!("| {name} | {allocations} | {bytes} |");
}

/// Allocations, reallocations included, and bytes of one call.
fn count(mut call: impl FnMut()) -> (f64, f64) {
    let region = Region::new(ALLOCATOR);
    for _ in 0..DECISIONS {
        call();
    }
    let change = region.change();
    let each = |sum: usize| sum as f64 / DECISIONS as f64;
    (each(change.allocations + change.reallocations), each(change.bytes_allocated))
}

/// Remembers many tokens by deciding requests with them, and counts what stays.
fn remembered(keys: &Keys) {
    let region = Region::new(ALLOCATOR);
    let mut outgoing = HeaderMap::with_capacity(16);
    let gatekeeper = keys.gatekeeper(ROOMY);
    let empty = kept(&region);
    for number in 0..TOKENS_REMEMBERED {
        let token = keys.token(Algorithm::HS256, number).compact;
        // Twice: a value that was sent once has its bytes shared, which takes a little more.
        for _ in 0..2 {
            let judgement = decide(&gatekeeper, &Head::new(PRIVATE_PATH, Some(&token)), NOW, &mut outgoing);
            assert!(matches!(judgement.decision, Decision::Pass(_)));
        }
    }
    let cache = gatekeeper.cache();
    assert_eq!(cache.entries(), TOKENS_REMEMBERED as usize);
    let each = |bytes: f64| bytes / f64::from(TOKENS_REMEMBERED);
    println!("\n| {TOKENS_REMEMBERED} remembered tokens | bytes a token |\n|---|---|");
    println!("| kept in memory, tables included | {:.0} |", each(kept(&region)));
    println!("| of these, tables made in advance | {:.0} |", each(empty));
    println!("| counted by the cache against `claims_cache.bytes` | {:.0} |\n", each(cache.bytes() as f64));
}

fn kept(region: &Region<'_, System>) -> f64 {
    let change = region.change();
    change.bytes_allocated as f64 - change.bytes_deallocated as f64
}
