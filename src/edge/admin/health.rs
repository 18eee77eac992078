//! Whether the process is alive and ready, and why not.
use std::{
    fmt::Write as _,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::edge::{installed::Installed, issuer_keys::AllTried};

/// The condition that every listener accepts connections.
const LISTENERS: &str = "listeners";

/// What readiness depends on besides keys.
#[derive(Debug)]
pub struct Health {
    /// Whether every listener accepts connections.
    listening: AtomicBool,
    /// Whether the process is about to stop.
    draining: AtomicBool,
    /// Whether every remote issuer was tried once.
    all_tried: AllTried,
}

/// Readiness at one moment: each condition with whether it is met.
#[derive(Debug)]
pub struct Readiness {
    conditions: Vec<(String, bool)>,
}

impl Health {
    /// Health of a process that is starting.
    pub const fn starting(all_tried: AllTried) -> Self {
        Self { listening: AtomicBool::new(false), draining: AtomicBool::new(false), all_tried }
    }

    /// Every listener accepts connections.
    pub fn listens(&self) {
        self.listening.store(true, Ordering::SeqCst);
    }

    /// The process is about to stop.
    pub fn drains(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Whether it is about to stop.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Ready when listeners are bound, every issuer was tried once, one of them has keys, and so has each that is
    /// required; and when every list of revocations was had once. One dead issuer of several does not keep a host out.
    pub fn readiness(&self, installed: &Installed) -> Readiness {
        let gatekeeper = &installed.gatekeeper;
        let has_keys: Vec<bool> = gatekeeper.slots().iter().map(|slot| slot.keys().is_some()).collect();
        let mut conditions = vec![
            (LISTENERS.to_owned(), self.listening.load(Ordering::SeqCst)),
            ("not draining".to_owned(), !self.is_draining()),
            ("issuers tried".to_owned(), self.all_tried.is_so()),
            ("keys of an issuer".to_owned(), has_keys.is_empty() || has_keys.contains(&true)),
            ("revocations".to_owned(), gatekeeper.revocations().current().are_complete()),
        ];
        let required = installed.required_for_readiness.iter().zip(&has_keys).zip(&gatekeeper.ruleset().issuers);
        for ((required, has_keys), issuer) in required {
            if *required {
                conditions.push((format!("keys of issuer {}", issuer.name), *has_keys));
            }
        }
        Readiness { conditions }
    }

    /// Whether it would be ready if it listened.
    pub fn is_prepared(&self, installed: &Installed) -> bool {
        self.readiness(installed).conditions.iter().all(|(name, met)| *met || name == LISTENERS)
    }
}

impl Readiness {
    /// Whether every condition is met.
    pub fn is_ready(&self) -> bool {
        self.conditions.iter().all(|(_, met)| *met)
    }

    /// Each condition by its name, and whether it is met.
    pub fn into_conditions(self) -> Vec<(String, bool)> {
        self.conditions
    }

    /// One line; with `verbose`, one for each condition as well.
    pub fn described(&self, verbose: bool) -> String {
        let mut text = String::new();
        for (name, met) in &self.conditions {
            if verbose || !met {
                let _ = writeln!(text, "[{}] {name}", if *met { '+' } else { '-' });
            }
        }
        text.push_str(if self.is_ready() { "ready\n" } else { "not ready\n" });
        text
    }
}
