//! The servers of one upstream: which of them have an address, and which one a request goes to. It is told addresses and
//! never looks one up; choosing takes no lock.
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use pingora_core::upstreams::peer::HttpPeer;

use crate::config::settings::{Address, Balance, Upstream, UpstreamAddress, UpstreamServer, UpstreamTls};
use crate::edge::upstream::balance::{Random, Shares};
use crate::edge::upstream::credentials::Credentials;
use crate::edge::upstream::hashing::{RequestKey, ServerPoint};
use crate::edge::upstream::health::HealthSlot;
use crate::edge::upstream::peer::PeerForm;
use crate::edge::upstream::ready::{Candidate, Ready, ReadyServer};
use crate::edge::upstream::{Chosen, NoServer, Target, UpstreamError};
use crate::gate::time::UnixTime;
use crate::state::retry_budget::RetryBudget;
use crate::state::server_health::{EJECTION_MIN, Standing};

/// Addresses of one name that are used: more than any service answers with, and a bound on what an answer can cost.
const ADDRESSES_MAX: usize = 64;

/// How long the addresses of a name that cannot be looked up any more are kept: as long as keys of an issuer are that cannot
/// be reached. After that, who knows whom they were given to.
pub(super) const KEPT_WITHOUT_LOOKUP: Duration = Duration::from_secs(24 * 3600);

/// The servers of one upstream.
#[derive(Debug)]
pub(super) struct Servers {
    settings: Upstream,
    servers: Box<[Server]>,
    /// What requests see; swapped whole when a name moves or certificates are renewed.
    ready: ArcSwap<Ready>,
    /// What `ready` is made of; taken by background work alone.
    parts: Mutex<Parts>,
    /// The next turn.
    turn: AtomicUsize,
    random: Random,
    budget: Arc<RetryBudget>,
}

#[derive(Debug)]
struct Parts {
    form: PeerForm,
    /// What is known of each server's name, by position.
    known: Box<[Known]>,
    /// The health of every server at every address that it has, by position.
    health: Box<[HealthByAddress]>,
}

/// The health of one server by address; under nothing that of a server at a unix socket.
type HealthByAddress = BTreeMap<Option<SocketAddr>, Arc<HealthSlot>>;

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
    /// The name could not be looked up for so long that its addresses are forgotten.
    Forgotten,
}

/// A server as configured.
#[derive(Debug)]
struct Server {
    written: Arc<str>,
    weight: u16,
    point: ServerPoint,
    /// The name that its certificate must be for; nothing without TLS.
    certificate_name: Box<str>,
    place: UpstreamAddress,
}

/// What is known of the name of a server.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Sorted, without repetitions.
    addresses: Vec<SocketAddr>,
    /// Since when lookups fail, if the last one did.
    failing_since: Option<Instant>,
}

impl Servers {
    /// The servers of an upstream; what is known of those that `before` has too is taken over.
    pub(super) fn new(settings: &Upstream, before: Option<&Self>) -> Result<Self, UpstreamError> {
        let unusable = |fault| UpstreamError::CredentialsUnusable { upstream: settings.name.clone(), fault };
        let credentials = settings.tls.as_ref().map(Credentials::read).transpose().map_err(unusable)?;
        let form = PeerForm::new(settings, credentials);
        let servers = settings.servers.iter().map(|server| Server::new(settings, server));
        let servers: Box<[Server]> = servers.collect::<Result<_, _>>()?;
        for server in &servers {
            if let UpstreamAddress::Socket(Address::Unix(path)) = &server.place
                && form.at_path(path, &server.certificate_name).is_none()
            {
                let (upstream, server) = (settings.name.clone(), server.written.as_ref().into());
                return Err(UpstreamError::UnixPathUnusable { upstream, server });
            }
        }
        let mut parts = Parts {
            form,
            known: vec![Known::default(); servers.len()].into(),
            health: vec![HealthByAddress::new(); servers.len()].into(),
        };
        if let Some(before) = before {
            parts.take_over(settings, &servers, before);
        }
        Ok(Self {
            ready: ArcSwap::from_pointee(parts.ready(&settings.name, &servers)),
            settings: settings.clone(),
            servers,
            parts: Mutex::new(parts),
            turn: AtomicUsize::new(0),
            random: Random::new(),
            budget: before.map(|before| Arc::clone(&before.budget)).unwrap_or_default(),
        })
    }

    pub(super) fn settings(&self) -> &Upstream {
        &self.settings
    }

    pub(super) fn budget(&self) -> &RetryBudget {
        &self.budget
    }

    /// Tells the certificates in force from others; nothing without TLS.
    pub(super) fn fingerprint(&self) -> Option<u64> {
        self.locked().form.credentials().map(|credentials| credentials.fingerprint)
    }

    /// Until when the certificate is valid that is shown to the servers; nothing when none is.
    pub(super) fn certificate_not_after(&self) -> Option<UnixTime> {
        self.locked().form.credentials()?.not_after
    }

    /// Every server that has an address, with every address.
    pub(super) fn candidates(&self) -> Vec<(Arc<str>, Candidate)> {
        let ready = self.ready.load();
        let of = |server: &ReadyServer| {
            let written = Arc::clone(&server.written);
            server.candidates.iter().map(move |candidate| (Arc::clone(&written), candidate.clone())).collect::<Vec<_>>()
        };
        ready.servers.iter().flat_map(of).collect()
    }

    /// See [`crate::edge::upstream::Upstreams::choose`].
    pub(super) fn choose(&self, tried: &[Target], key: Option<RequestKey>) -> Result<Chosen, NoServer> {
        let ready = self.ready.load();
        if ready.servers.is_empty() {
            return Err(NoServer::Unresolved);
        }
        let (server, candidate) = self.pick(&ready, tried, key).ok_or_else(|| self.none_left(&ready))?;
        Ok(Chosen {
            peer: Box::new(candidate.peer.clone()),
            server: Arc::clone(&server.written),
            target: candidate.target,
            health: Arc::clone(&candidate.health),
        })
    }

    fn pick<'r>(
        &self,
        ready: &'r Ready,
        tried: &[Target],
        key: Option<RequestKey>,
    ) -> Option<(&'r ReadyServer, &'r Candidate)> {
        let key = key.filter(|_| matches!(self.settings.balance, Balance::ConsistentHash(_)));
        if let Some(key) = key
            && let Some(found) = ready.highest(key, |server| !server.was_tried(tried))
        {
            return Some(found);
        }
        if key.is_none() && tried.is_empty() {
            let position = match self.settings.balance {
                Balance::RoundRobin | Balance::ConsistentHash(_) => {
                    ready.shares.at_turn(self.turn.fetch_add(1, Ordering::Relaxed))
                }
                Balance::Random => ready.shares.at_random(self.random.draw()),
            };
            let server = ready.servers.get(position?)?;
            if let Some(candidate) = server.candidate(tried, HealthSlot::admit) {
                return Some((server, candidate));
            }
        }
        let random = self.random.draw();
        let server = ready
            .draw_among(random, |server| server.is_available() && !server.was_tried(tried))
            .or_else(|| ready.draw_among(random, |server| server.has_untried(tried)))
            .or_else(|| ready.draw_among(random, ReadyServer::is_available));
        if let Some(server) = server {
            return Some((server, server.candidate(tried, HealthSlot::is_available)?));
        }
        // Nobody is left: whose turn it would be may be tried, now and then, to find out.
        let rotated =
            ready.servers.iter().cycle().skip(usize::try_from(random >> 32).unwrap_or(0) % ready.servers.len());
        let mut last = rotated.take(ready.servers.len()).filter(|_| tried.is_empty());
        last.find_map(|server| Some((server, server.candidate(tried, HealthSlot::admit_as_last)?)))
    }

    fn none_left(&self, ready: &Ready) -> NoServer {
        let mut all = ready.servers.iter().flat_map(|server| &server.candidates);
        let is_ejected = |candidate: &Candidate| matches!(candidate.health.standing(), Standing::Ejected { .. });
        let interval = self.settings.health_check.as_ref().map_or(EJECTION_MIN, |check| check.interval);
        NoServer::Unhealthy { retry_after: if all.any(is_ejected) { EJECTION_MIN } else { interval } }
    }

    /// Takes note of the addresses that a lookup found, or that it found none: then those known so far are kept for a day.
    pub(super) fn learn(&self, server: usize, found: Option<Vec<SocketAddr>>, now: Instant) -> Change {
        let mut parts = self.locked();
        let Some(known) = parts.known.get_mut(server) else { return Change::Nothing };
        let Some(mut addresses) = found.filter(|addresses| !addresses.is_empty()) else {
            let Some(since) = known.failing_since else {
                known.failing_since = Some(now);
                return Change::Failing { known: !known.addresses.is_empty() };
            };
            if known.addresses.is_empty() || now.saturating_duration_since(since) < KEPT_WITHOUT_LOOKUP {
                return Change::Nothing;
            }
            known.addresses.clear();
            self.store(&mut parts);
            return Change::Forgotten;
        };
        // The order of an answer means nothing here and changes with every lookup.
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(ADDRESSES_MAX);
        let failed_before = known.failing_since.take().is_some();
        if known.addresses == addresses {
            return if failed_before { Change::Recovered } else { Change::Nothing };
        }
        known.addresses.clone_from(&addresses);
        self.store(&mut parts);
        Change::Moved(addresses)
    }

    /// New connections are made with these certificates from now on; those of before get no new requests.
    pub(super) fn renew(&self, credentials: Credentials) {
        let mut parts = self.locked();
        parts.form = PeerForm::new(&self.settings, Some(credentials));
        self.store(&mut parts);
    }

    fn store(&self, parts: &mut Parts) {
        self.ready.store(Arc::new(parts.ready(&self.settings.name, &self.servers)));
    }

    /// Whether addresses of a name are known.
    pub(super) fn has_addresses(&self, server: usize) -> bool {
        self.locked().known.get(server).is_some_and(|known| !known.addresses.is_empty())
    }

    /// Whoever panicked left whole values behind: each is assigned at once.
    fn locked(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    fn new(upstream: &Upstream, server: &UpstreamServer) -> Result<Self, UpstreamError> {
        let certificate_name = match (&upstream.tls, &server.address) {
            (None, _) => Box::default(),
            (Some(UpstreamTls { server_name: Some(name), .. }), _) => name.clone(),
            (Some(_), UpstreamAddress::Name { host, .. }) => host.clone(),
            (Some(_), UpstreamAddress::Socket(Address::Tcp(address))) => address.ip().to_string().into(),
            (Some(_), UpstreamAddress::Socket(Address::Unix(_))) => Box::default(),
        };
        if upstream.tls.is_some() && certificate_name.is_empty() {
            // Without a name, Pingora would believe any certificate.
            let (upstream, server) = (upstream.name.clone(), server.written.clone());
            return Err(UpstreamError::NoCertificateName { upstream, server });
        }
        Ok(Self {
            written: server.written.as_ref().into(),
            weight: server.weight.max(1),
            point: ServerPoint::of(&server.written),
            certificate_name,
            place: server.address.clone(),
        })
    }
}

impl Parts {
    /// What is known of servers that were there before, as they are still written and spoken to.
    fn take_over(&mut self, settings: &Upstream, servers: &[Server], before: &Servers) {
        let is_checked_alike = settings.health_check == before.settings.health_check;
        let is_spoken_to_alike = settings.protocol == before.settings.protocol && settings.tls == before.settings.tls;
        let old = before.locked();
        for (position, server) in servers.iter().enumerate() {
            let same = |other: &Server| other.written == server.written && other.place == server.place;
            let Some(other) = before.servers.iter().position(same) else { continue };
            if let (Some(known), Some(other)) = (self.known.get_mut(position), old.known.get(other)) {
                known.clone_from(other);
            }
            if !is_spoken_to_alike {
                continue;
            }
            if let (Some(health), Some(other)) = (self.health.get_mut(position), old.health.get(other)) {
                health.clone_from(other);
                if !is_checked_alike {
                    health.values().for_each(|slot| slot.without_checks());
                }
            }
        }
    }

    /// What requests see; the health of addresses that are gone is forgotten.
    fn ready(&mut self, upstream: &str, servers: &[Server]) -> Ready {
        let form = &self.form;
        let of = |(position, ((server, known), health)): (usize, ((&Server, &Known), &mut HealthByAddress))| {
            let fixed;
            let addresses: &[SocketAddr] = match &server.place {
                UpstreamAddress::Socket(Address::Tcp(address)) => {
                    fixed = [*address];
                    &fixed
                }
                UpstreamAddress::Socket(Address::Unix(_)) => &[],
                UpstreamAddress::Name { .. } => &known.addresses,
            };
            health.retain(|address, _| address.is_none_or(|address| addresses.contains(&address)));
            let mut candidate = |address: Option<SocketAddr>, shown: &str, peer: HttpPeer| Candidate {
                target: Target { server: position, address },
                point: ServerPoint::of(shown),
                peer,
                health: Arc::clone(
                    health
                        .entry(address)
                        .or_insert_with(|| Arc::new(HealthSlot::new(upstream, &server.written, shown))),
                ),
            };
            let name = &server.certificate_name;
            let candidates = match &server.place {
                UpstreamAddress::Socket(Address::Unix(path)) => {
                    form.at_path(path, name).map(|peer| candidate(None, &server.written, peer)).into_iter().collect()
                }
                UpstreamAddress::Socket(Address::Tcp(_)) | UpstreamAddress::Name { .. } => addresses
                    .iter()
                    .map(|address| candidate(Some(*address), &address.to_string(), form.at_address(*address, name)))
                    .collect(),
            };
            ReadyServer {
                written: Arc::clone(&server.written),
                weight: server.weight,
                point: server.point,
                candidates,
                turn: AtomicUsize::new(0),
            }
        };
        let servers = servers.iter().zip(&self.known).zip(&mut self.health).enumerate().map(of);
        let servers: Box<[ReadyServer]> = servers.filter(|server| !server.candidates.is_empty()).collect();
        let shares = Shares::new(servers.iter().map(|server| server.weight));
        Ready { servers, shares }
    }
}
