//! Every way in which the provider can change its keys, while many ask all the time with tokens new and old.
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    thread::{self, JoinHandle},
};

use super::*;

/// Who asks at the same time.
const CLIENTS: usize = 4;
/// How often all the changes are made.
const ROUNDS: usize = 2;
/// The algorithms that a change makes new keys for, as far as portcullis has them.
const ALGORITHMS: [&str; 2] = ["ES256", "RS256"];

/// Which tokens must pass and which must not.
#[derive(Default)]
struct Tokens {
    good: Vec<String>,
    withdrawn: Vec<String>,
}

/// A steady load of requests, each of which knows what it must be answered.
struct Load {
    tokens: Arc<RwLock<Tokens>>,
    report: Arc<Mutex<Report>>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Report {
    is_over: bool,
    passed: usize,
    refused: usize,
    wrong: Vec<String>,
}

impl Load {
    fn start(gateway: &Gateway) -> Self {
        let (tokens, report) = (Arc::new(RwLock::new(Tokens::default())), Arc::new(Mutex::new(Report::default())));
        let clients = (0..CLIENTS)
            .map(|_| {
                let (address, tokens, report) = (gateway.address().clone(), Arc::clone(&tokens), Arc::clone(&report));
                thread::spawn(move || {
                    let mut client = Client::connect(&address);
                    while !locked(&report).is_over {
                        ask_all(&mut client, &tokens, &report);
                    }
                })
            })
            .collect();
        Self { tokens, report, clients }
    }

    /// Changes which tokens must pass; waits for requests that still go by the old opinion.
    fn change(&self, change: impl FnOnce(&mut Tokens)) {
        change(&mut self.tokens.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until so many more passed, and as many were refused where there is what must be.
    fn wait_for_more(&self, more: usize) {
        let (passed, refused) = self.counts();
        let wants_refused = !self.tokens.read().unwrap_or_else(PoisonError::into_inner).withdrawn.is_empty();
        let seen = eventually(PATIENCE, || {
            let now = self.counts();
            let is_enough = now.0 >= passed + more && (!wants_refused || now.1 >= refused + more);
            (is_enough || !locked(&self.report).wrong.is_empty()).then_some(())
        });
        assert!(seen.is_some(), "the load stands still");
        let report = locked(&self.report);
        assert!(report.wrong.is_empty(), "{:?}", report.wrong);
    }

    fn counts(&self) -> (usize, usize) {
        let report = locked(&self.report);
        (report.passed, report.refused)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        locked(&self.report).is_over = true;
        for client in self.clients.drain(..) {
            let _ = client.join();
        }
    }
}

fn locked(report: &Mutex<Report>) -> MutexGuard<'_, Report> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks once with every token. Whoever changes what must pass waits until this is through.
fn ask_all(client: &mut Client, tokens: &RwLock<Tokens>, report: &Mutex<Report>) {
    let tokens = tokens.read().unwrap_or_else(PoisonError::into_inner);
    let good = tokens.good.iter().map(|token| (token, 200, None));
    let withdrawn = tokens.withdrawn.iter().map(|token| (token, 401, Some("key_unknown")));
    for (token, status, reason) in good.chain(withdrawn) {
        let response = client.request("GET", "/", &[("Host", client::HOST), ("Authorization", &bearer(token))]);
        let told = (response.status != 200).then(|| response.json()["reason"].as_str().map(str::to_owned)).flatten();
        let mut report = locked(report);
        if (response.status, told.as_deref()) != (status, reason) {
            report.wrong.push(format!("{} {told:?} instead of {status} {reason:?}", response.status));
        } else if status == 200 {
            report.passed += 1;
        } else {
            report.refused += 1;
        }
    }
    drop(tokens);
    thread::yield_now();
}

/// The provider's keys, as the gateway has them.
fn known_keys(gateway: &Gateway) -> HashSet<String> {
    let issuers = gateway.admin_get("/issuers").json();
    let keys = issuers[0]["keys"].as_array().unwrap();
    keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// Waits until the last fetch is longer ago than a cooldown, so that it does not settle what a key is that came since.
/// Withdrawn tokens rest meanwhile: each cooldown one of them has the keys fetched.
fn cooldown_passes(gateway: &Gateway, load: &Load) {
    load.change(|tokens| tokens.withdrawn.clear());
    let age = || gateway.admin_get("/issuers").json()[0]["source"]["age_seconds"].as_u64().unwrap();
    assert!(eventually(PATIENCE, || (age() >= 2).then_some(())).is_some());
}

fn refresh(gateway: &Gateway) {
    let socket = Address::Unix(gateway.folder().path().join("run/admin.sock"));
    let response = Client::connect(&socket).request("POST", "/issuers/provider/refresh", &[("Host", "localhost")]);
    assert_eq!(response.status, 200, "{}", response.text());
}

fn new_tokens(provider: &Provider) -> Vec<String> {
    ALGORITHMS.iter().map(|algorithm| provider.token(algorithm, 300)).collect()
}

/// Sees the first request with each new token pass, which is the one that has the keys fetched.
fn welcome(gateway: &Gateway, tokens: &[String], what: &str) {
    for token in tokens {
        let response = ask(gateway, token);
        assert_eq!(response.status, 200, "{what}: a new token is refused: {}", response.text());
    }
}

#[test]
fn under_a_steady_load_no_good_token_is_refused_and_no_withdrawn_one_accepted_however_keys_change() {
    let Some(provider) = Provider::start("rotations of a certified provider under load") else { return };
    let upstream = Upstream::start();
    let gateway = gateway(&provider, &upstream);
    let first = new_tokens(&provider);
    welcome(&gateway, &first, "start");
    let load = Load::start(&gateway);
    load.change(|tokens| tokens.good.clone_from(&first));
    load.wait_for_more(50);
    let mut current = first;
    for round in 0..ROUNDS {
        // Announced: more keys are published, the old ones still sign.
        provider.rotate("add");
        current.extend(new_tokens(&provider));
        load.change(|tokens| tokens.good.clone_from(&current));
        load.wait_for_more(50);
        // Unannounced: new keys sign at once, the old ones stay published. Everybody finds out by the tokens themselves.
        cooldown_passes(&gateway, &load);
        provider.rotate("promote");
        let new = new_tokens(&provider);
        welcome(&gateway, &new, &format!("promote, round {round}"));
        load.change(|tokens| tokens.good.extend(new.iter().cloned()));
        load.wait_for_more(50);
        // The old ones are withdrawn. From when the gateway knows, none of their tokens passes, remembered as they are.
        load.change(|tokens| tokens.good.clone_from(&new));
        let before = known_keys(&gateway);
        provider.rotate("drop");
        refresh(&gateway);
        assert!(known_keys(&gateway).len() < before.len());
        load.change(|tokens| tokens.withdrawn.append(&mut current));
        load.wait_for_more(50);
        // All at once others, as after a theft.
        load.change(|tokens| tokens.good.clear());
        cooldown_passes(&gateway, &load);
        provider.rotate("replace");
        current = new_tokens(&provider);
        welcome(&gateway, &current, &format!("replace, round {round}"));
        load.change(|tokens| {
            tokens.good.clone_from(&current);
            tokens.withdrawn = new;
        });
        load.wait_for_more(50);
    }
    drop(load);
    assert!(gateway.metric(|line| line.starts_with("portcullis_claims_cache_requests_total{result=\"stale\"")) > 0.0);
}
