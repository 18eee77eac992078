//! The servers of one upstream: which of them have an address, and which one a request goes to. It is told addresses and
//! never looks one up; choosing takes no lock.
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use pingora_core::upstreams::peer::HttpPeer;

use crate::config::settings::{Address, Balance, Upstream, UpstreamAddress};
use crate::edge::upstream::balance::{Random, Shares, below};
use crate::edge::upstream::peer::PeerForm;
use crate::edge::upstream::{Chosen, Target, UpstreamError};

/// Addresses of one name that are used: more than any service answers with, and a bound on what an answer can cost.
const ADDRESSES_MAX: usize = 64;

/// The servers of one upstream.
#[derive(Debug)]
pub(super) struct Servers {
    name: Box<str>,
    balance: Balance,
    retries: usize,
    form: PeerForm,
    servers: Box<[Server]>,
    /// What requests see; swapped whole when a name moves.
    ready: ArcSwap<Ready>,
    /// What is known of each server's name, by position; taken by lookups alone.
    known: Mutex<Box<[Known]>>,
    /// The next turn.
    turn: AtomicUsize,
    random: Random,
}

/// What a lookup changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing that was not known.
    Nothing,
    /// The name has these addresses now.
    Moved(Vec<SocketAddr>),
    /// The name can be looked up again, and has the addresses that it had.
    Recovered,
    /// The name cannot be looked up any more; whether it has addresses from before.
    Failing {
        /// It has.
        known: bool,
    },
}

/// A server as configured.
#[derive(Debug)]
struct Server {
    written: Arc<str>,
    weight: u16,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// An address that never changes.
    Fixed(Box<Candidate>),
    /// A name; its addresses are in `known`.
    Named,
}

/// What is known of the name of a server.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Sorted, without repetitions.
    addresses: Vec<SocketAddr>,
    /// Whether the last lookup failed.
    failing: bool,
}

/// The servers that have an address.
#[derive(Debug)]
struct Ready {
    servers: Box<[ReadyServer]>,
    shares: Shares,
}

#[derive(Debug)]
struct ReadyServer {
    written: Arc<str>,
    weight: u16,
    /// One for each address, at least one; they take turns, so that they share the weight.
    candidates: Box<[Candidate]>,
    turn: AtomicUsize,
}

/// One address of a server and the peer to copy for it.
#[derive(Clone, Debug)]
struct Candidate {
    target: Target,
    peer: HttpPeer,
}

impl Servers {
    pub(super) fn new(settings: &Upstream) -> Result<Self, UpstreamError> {
        let form = PeerForm::new(settings);
        let mut servers = Vec::with_capacity(settings.servers.len());
        for (position, server) in settings.servers.iter().enumerate() {
            let place = match &server.address {
                UpstreamAddress::Name { .. } => Place::Named,
                UpstreamAddress::Socket(Address::Tcp(address)) => {
                    Place::Fixed(Box::new(Candidate::at_address(&form, position, *address)))
                }
                UpstreamAddress::Socket(Address::Unix(path)) => {
                    let peer = form.at_path(path).ok_or_else(|| UpstreamError::UnixPathUnusable {
                        upstream: settings.name.clone(),
                        server: server.written.clone(),
                    })?;
                    Place::Fixed(Box::new(Candidate { target: Target { server: position, address: None }, peer }))
                }
            };
            servers.push(Server { written: server.written.as_ref().into(), weight: server.weight, place });
        }
        let known = vec![Known::default(); servers.len()];
        Ok(Self {
            ready: ArcSwap::from_pointee(Ready::new(&form, &servers, &known)),
            name: settings.name.clone(),
            balance: settings.balance,
            retries: settings.retries,
            form,
            servers: servers.into(),
            known: Mutex::new(known.into()),
            turn: AtomicUsize::new(0),
            random: Random::new(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn retries(&self) -> usize {
        self.retries
    }

    /// See [`crate::edge::upstream::Upstreams::choose`].
    pub(super) fn choose(&self, tried: &[Target]) -> Option<Chosen> {
        let ready = self.ready.load();
        let server = if tried.is_empty() {
            let position = match self.balance {
                Balance::RoundRobin => ready.shares.at_turn(self.turn.fetch_add(1, Ordering::Relaxed)),
                Balance::Random => ready.shares.at_random(self.random.draw()),
            };
            ready.servers.get(position?)
        } else {
            let random = self.random.draw();
            ready
                .draw_among(random, |server| !server.was_tried(tried))
                .or_else(|| ready.draw_among(random, |server| server.has_untried(tried)))
                .or_else(|| ready.draw_among(random, |_| true))
        }?;
        let candidate = server.candidate(tried)?;
        Some(Chosen {
            peer: Box::new(candidate.peer.clone()),
            server: Arc::clone(&server.written),
            target: candidate.target,
        })
    }

    /// Takes note of the addresses that a lookup found, or that it found none: then those known so far are kept.
    pub(super) fn learn(&self, server: usize, found: Option<Vec<SocketAddr>>) -> Change {
        // A writer that panicked left whole values behind: each is assigned at once.
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = all.get_mut(server) else { return Change::Nothing };
        let Some(mut addresses) = found.filter(|addresses| !addresses.is_empty()) else {
            let failed_before = std::mem::replace(&mut known.failing, true);
            let known = !known.addresses.is_empty();
            return if failed_before { Change::Nothing } else { Change::Failing { known } };
        };
        // The order of an answer means nothing here and changes with every lookup.
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(ADDRESSES_MAX);
        let failed_before = std::mem::replace(&mut known.failing, false);
        if known.addresses == addresses {
            return if failed_before { Change::Recovered } else { Change::Nothing };
        }
        known.addresses.clone_from(&addresses);
        self.ready.store(Arc::new(Ready::new(&self.form, &self.servers, &all)));
        Change::Moved(addresses)
    }

    /// Whether addresses of a name are known.
    pub(super) fn has_addresses(&self, server: usize) -> bool {
        let all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(server).is_some_and(|known| !known.addresses.is_empty())
    }
}

impl Candidate {
    fn at_address(form: &PeerForm, server: usize, address: SocketAddr) -> Self {
        Self { target: Target { server, address: Some(address) }, peer: form.at_address(address) }
    }
}

impl Ready {
    fn new(form: &PeerForm, servers: &[Server], known: &[Known]) -> Self {
        let servers: Box<[ReadyServer]> = servers
            .iter()
            .zip(known)
            .enumerate()
            .map(|(position, (server, known))| ReadyServer {
                written: Arc::clone(&server.written),
                weight: server.weight.max(1),
                candidates: match &server.place {
                    Place::Fixed(candidate) => Box::new([candidate.as_ref().clone()]),
                    Place::Named => {
                        known.addresses.iter().map(|address| Candidate::at_address(form, position, *address)).collect()
                    }
                },
                turn: AtomicUsize::new(0),
            })
            .filter(|server| !server.candidates.is_empty())
            .collect();
        let shares = Shares::new(servers.iter().map(|server| server.weight));
        Self { servers, shares }
    }

    /// One of the eligible servers, by weight.
    fn draw_among(&self, random: u64, eligible: impl Fn(&ReadyServer) -> bool) -> Option<&ReadyServer> {
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
}

impl ReadyServer {
    fn was_tried(&self, tried: &[Target]) -> bool {
        self.candidates.iter().any(|own| tried.iter().any(|tried| tried.server == own.target.server))
    }

    fn has_untried(&self, tried: &[Target]) -> bool {
        self.candidates.iter().any(|own| !tried.contains(&own.target))
    }

    /// The address whose turn it is, or the first after it that was not tried.
    fn candidate(&self, tried: &[Target]) -> Option<&Candidate> {
        if let [only] = self.candidates.as_ref() {
            return Some(only);
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(self.candidates.len())?;
        let in_turn = || self.candidates.iter().cycle().skip(turn).take(self.candidates.len());
        in_turn().find(|own| !tried.contains(&own.target)).or_else(|| in_turn().next())
    }
}
