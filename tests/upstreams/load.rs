//! Servers that are killed and come back while requests pass: none is lost that another attempt may save, none is sent twice
//! that may not be.
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use super::{builder, send};
use crate::support::{
    client::Client,
    server::free_address,
    upstream::{Seen, Upstream},
    waiting::{PATIENCE, eventually},
};

/// Connections from which requests come, one after the other on each.
const CLIENTS: usize = 8;
/// How often a server is killed and comes back.
const KILLS: usize = 6;
/// Requests that are answered between two such events.
const PAUSE: usize = 150;

/// How a request ended.
struct Ended {
    id: String,
    method: &'static str,
    status: u16,
}

fn ids(seen: &[Seen]) -> impl Iterator<Item = String> + '_ {
    seen.iter().filter_map(|seen| {
        seen.head.fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-test")).map(|(_, value)| value.clone())
    })
}

#[test]
fn servers_that_are_killed_and_come_back_cost_no_more_than_the_requests_that_they_had_begun() {
    let (steady, address) = (Upstream::start(), free_address());
    let echo = format!("{{servers: [\"{}\", \"{address}\"], retries: 1}}", steady.address());
    let gateway = builder(&echo).start();
    let (listen, stopped, answered) = (gateway.address(), AtomicBool::new(false), AtomicUsize::new(0));
    let mut seen: Vec<String> = Vec::new();
    let ended: Vec<Ended> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (stopped, answered) = (&stopped, &answered);
                scope.spawn(move || {
                    let mut client = Client::connect(listen);
                    let mut ended = Vec::new();
                    for turn in 0.. {
                        if stopped.load(Ordering::SeqCst) {
                            break;
                        }
                        let (method, body) = if turn % 2 == 0 { ("GET", "") } else { ("POST", "content") };
                        let id = format!("{number}-{turn}");
                        let status = send(&mut client, method, "/orders", &id, body).status;
                        if status != 200 {
                            client = Client::connect(listen);
                        }
                        ended.push(Ended { id, method, status });
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                    ended
                })
            })
            .collect();
        let pause = || {
            let goal = answered.load(Ordering::SeqCst) + PAUSE;
            assert!(eventually(PATIENCE, || (answered.load(Ordering::SeqCst) >= goal).then_some(())).is_some());
        };
        for _ in 0..KILLS {
            let killed = Upstream::start_at(address);
            // As soon as it is found again.
            assert!(eventually(PATIENCE, || (killed.requests().len() >= 20).then_some(())).is_some());
            seen.extend(ids(&killed.stop()));
            pause();
        }
        stopped.store(true, Ordering::SeqCst);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    seen.extend(ids(&steady.requests()));
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for id in seen {
        *times.entry(id).or_default() += 1;
    }
    let lost: Vec<&Ended> = ended.iter().filter(|ended| ended.status != 200).collect();
    assert!(lost.iter().all(|ended| ended.status == 502));
    assert!(lost.len() <= KILLS * CLIENTS, "{} of {} requests are lost", lost.len(), ended.len());
    for ended in &ended {
        let times = times.get(&ended.id).copied().unwrap_or_default();
        let allowed = if ended.method == "POST" { 0..=1 } else { 0..=2 };
        assert!(allowed.contains(&times), "{} {} was seen {times} times", ended.method, ended.id);
        assert!(ended.status != 200 || times >= 1, "{} was answered and never seen", ended.id);
    }
    assert!(gateway.account().stderr.contains("gets requests again"));
}
