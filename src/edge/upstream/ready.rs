//! The servers of one upstream that have an address, as requests see them: which are eligible, and whose turn it is. A value
//! that is swapped whole; choosing takes no lock while all is well.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pingora_core::upstreams::peer::HttpPeer;

use crate::edge::upstream::Target;
use crate::edge::upstream::balance::{Shares, below};
use crate::edge::upstream::hashing::{RequestKey, ServerPoint};
use crate::edge::upstream::health::HealthSlot;

/// The servers that have an address.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) servers: Box<[ReadyServer]>,
    pub(super) shares: Shares,
}

#[derive(Debug)]
pub(super) struct ReadyServer {
    pub(super) written: Arc<str>,
    pub(super) weight: u16,
    pub(super) point: ServerPoint,
    /// One for each address, at least one; they take turns, so that they share the weight.
    pub(super) candidates: Box<[Candidate]>,
    pub(super) turn: AtomicUsize,
}

/// One address of a server, the peer to copy for it, and how it is.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) target: Target,
    /// Where it is among the addresses of its server.
    pub(super) point: ServerPoint,
    pub(super) peer: HttpPeer,
    pub(super) health: Arc<HealthSlot>,
}

impl Ready {
    /// One of the eligible servers, by weight.
    pub(super) fn draw_among(&self, random: u64, eligible: impl Fn(&ReadyServer) -> bool) -> Option<&ReadyServer> {
        let among = || self.servers.iter().filter(|server| eligible(server));
        let mut point = below(random, among().map(|server| u64::from(server.weight)).sum())?;
        for server in among() {
            match point.checked_sub(u64::from(server.weight)) {
                Some(rest) => point = rest,
                None => return Some(server),
            }
        }
        None
    }

    /// The eligible server with the highest claim to a key that takes a request.
    pub(super) fn highest(
        &self,
        key: RequestKey,
        eligible: impl Fn(&ReadyServer) -> bool,
    ) -> Option<(&ReadyServer, &Candidate)> {
        let mut bound = f64::INFINITY;
        loop {
            let scores = self.servers.iter().map(|server| (server.point.score(key, server.weight), server));
            let lower = scores.filter(|(score, server)| *score < bound && eligible(server));
            let (score, server) = lower.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
            if let Some(candidate) = server.candidate_for(key) {
                return Some((server, candidate));
            }
            bound = score;
        }
    }
}

impl ReadyServer {
    pub(super) fn was_tried(&self, tried: &[Target]) -> bool {
        self.candidates.iter().any(|own| tried.iter().any(|tried| tried.server == own.target.server))
    }

    pub(super) fn has_untried(&self, tried: &[Target]) -> bool {
        self.candidates.iter().any(|own| !tried.contains(&own.target) && own.health.is_available())
    }

    pub(super) fn is_available(&self) -> bool {
        self.candidates.iter().any(|own| own.health.is_available())
    }

    /// The address whose turn it is, or the first after it: of those that `takes` a request one that was not tried, else any.
    pub(super) fn candidate(&self, tried: &[Target], takes: impl Fn(&HealthSlot) -> bool) -> Option<&Candidate> {
        if let [only] = self.candidates.as_ref() {
            return Some(only).filter(|only| takes(&only.health));
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(self.candidates.len())?;
        let in_turn = || self.candidates.iter().cycle().skip(turn).take(self.candidates.len());
        let untried = in_turn().find(|own| !tried.contains(&own.target) && takes(&own.health));
        untried.or_else(|| in_turn().find(|own| tried.contains(&own.target) && takes(&own.health)))
    }

    /// The address with the highest claim to a key among those that take a request.
    fn candidate_for(&self, key: RequestKey) -> Option<&Candidate> {
        if let [only] = self.candidates.as_ref() {
            return Some(only).filter(|only| only.health.admit());
        }
        let score = |own: &Candidate| own.point.score(key, 1);
        let available = self.candidates.iter().filter(|own| own.health.is_available());
        let best = available.max_by(|one, other| score(one).total_cmp(&score(other)));
        best.or_else(|| self.candidates.iter().find(|own| own.health.admit()))
    }
}
