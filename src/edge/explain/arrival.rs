//! Where a request comes in and whom it comes from, as the running gateway sees it: by which listener, encrypted or not, of
//! which client, and what a trusted proxy says of that.
use std::net::IpAddr;

use http::HeaderMap;
use pingora::http::RequestHeader;

use crate::{
    config::settings::{Address, listener::Listener},
    edge::{
        exchange::Identifiers,
        explain::{Question, Scene, Step, StepResult, question::Target, unknown},
        target,
    },
    gate::{
        provenance::{Peer, Provenance},
        rejection::Refusal,
        request::Request,
        route::ListenerId,
        trace,
    },
};

/// Fields by which proxies tell of those before them.
const OF_PROXIES: [&str; 5] = ["forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id"];

/// A request that has come in.
pub(super) struct Arrival<'a> {
    pub(super) id: ListenerId,
    pub(super) listener: &'a Listener,
    pub(super) provenance: Provenance,
    pub(super) identifiers: Identifiers,
    pub(super) trace_state: Option<String>,
    /// Why it is refused before it is looked at.
    pub(super) refusal: Option<Refusal>,
    peer: Option<IpAddr>,
    is_trusted: bool,
    tells_of_others: bool,
    is_https: Option<bool>,
}

impl<'a> Arrival<'a> {
    /// Of a request with this head.
    ///
    /// # Errors
    /// There is no such listener.
    pub(super) fn of(
        scene: &Scene<'a>,
        question: &Question,
        target: &Target<'_>,
        headers: &HeaderMap,
    ) -> Result<Self, String> {
        let (id, listener) = listener(scene, question, target)?;
        let is_encrypted = listener.tls.is_some();
        let peer = match (question.address, &listener.address) {
            (Some(address), _) => Peer::at(address),
            (None, Address::Unix(_)) => Peer::UnixSocket,
            (None, Address::Tcp(_)) => Peer::Unknown,
        };
        let mut identifiers = Identifiers::random();
        let (mut provenance, mut trace_state, mut refusal) = (Provenance::direct(peer, is_encrypted), None, None);
        let trusted = &scene.installed.trusted_proxies;
        let is_trusted = trusted.trust(peer);
        if is_trusted {
            identifiers.adopt(headers);
            trace_state = trace::context(headers).and_then(|context| context.state);
            match Provenance::of(trusted, peer, is_encrypted, headers) {
                Ok(said) => provenance = said,
                Err(fault) => refusal = Some(fault),
            }
        }
        let tells_of_others = OF_PROXIES.iter().any(|name| headers.contains_key(*name));
        let is_https = target.has_authority().then_some(target.is_encrypted);
        Ok(Self {
            id,
            listener,
            provenance,
            identifiers,
            trace_state,
            refusal,
            peer: peer.address(),
            is_trusted,
            tells_of_others,
            is_https,
        })
    }

    /// The request whose head this is, as the gate sees it.
    pub(super) fn request<'r>(&self, head: &'r RequestHeader) -> Request<'r> {
        target::request_of(head, (self.id, self.provenance.client, self.provenance.is_encrypted), None)
    }

    /// Something about the URL that would not be so.
    pub(super) fn note(&self) -> Option<String> {
        let (asked, found) = (self.is_https?, self.provenance.is_encrypted);
        let name = &self.listener.name;
        match (asked, found) {
            (true, false) => Some(format!(
                "listener {name} has no TLS, so that this is a request of http: of https before it a trusted proxy would \
                 have to tell"
            )),
            (false, true) => Some(format!("listener {name} has TLS, so that this is a request of https")),
            (true, true) | (false, false) => None,
        }
    }

    /// Who the client is and how that is known.
    pub(super) fn step(&self) -> Step {
        let scheme = if self.provenance.is_encrypted { "https" } else { "http" };
        let (mut result, mut details) = (StepResult::Ok, Vec::new());
        let shown =
            |address: Option<IpAddr>| address.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
        let summary = match (&self.refusal, self.peer) {
            (Some(refusal), _) => {
                result = StepResult::Failed;
                let detail = refusal.detail().unwrap_or(refusal.rejection().row().title);
                format!("{}: {detail}", refusal.rejection().row().label)
            }
            (None, None) if self.is_trusted => format!("{} by {scheme}", shown(self.provenance.client)),
            (None, None) => {
                result = StepResult::Note;
                "its address is not known (--address tells it)".to_owned()
            }
            (None, Some(_)) => format!("{} by {scheme}", shown(self.provenance.client)),
        };
        if self.is_trusted && self.refusal.is_none() {
            let way = self.provenance.proxies.iter().map(|proxy| shown(*proxy)).collect::<Vec<_>>().join(", ");
            details.push(match way.as_str() {
                "" => "the peer is a trusted proxy and names nobody before it".to_owned(),
                way => format!("by way of {way}, as trusted proxies say"),
            });
            if let Some(host) = &self.provenance.host {
                details.push(format!("the host that it asked for is told to the upstream alone: {host}"));
            }
        } else if self.tells_of_others && self.refusal.is_none() {
            details.push(
                "what X-Forwarded-*, Forwarded and X-Request-Id say is not believed: the peer is no trusted proxy"
                    .to_owned(),
            );
        }
        Step { step: "client".to_owned(), result, summary, checks: Vec::new(), details }
    }
}

/// The listener that is named, else the one at the URL's port, else the first that serves what the URL asks for.
fn listener<'a>(
    scene: &Scene<'a>,
    question: &Question,
    target: &Target<'_>,
) -> Result<(ListenerId, &'a Listener), String> {
    let all = || (0..).map(ListenerId).zip(scene.listeners);
    if let Some(name) = &question.listener {
        let named = all().find(|(_, listener)| *listener.name == **name);
        return named
            .ok_or_else(|| unknown("listener", name, scene.listeners.iter().map(|listener| listener.name.as_ref())));
    }
    let is_at = |listener: &Listener, port: u16| match &listener.address {
        Address::Tcp(address) => address.port() == port,
        Address::Unix(_) => false,
    };
    let usual = target.has_authority().then_some(if target.is_encrypted { 443 } else { 80 });
    let at_port = target.port.or(usual).and_then(|port| all().find(|(_, listener)| is_at(listener, port)));
    let serving = || all().filter(|(_, listener)| listener.redirect.is_none());
    let of_scheme = || serving().find(|(_, listener)| listener.tls.is_some() == target.is_encrypted);
    let found = at_port.or_else(of_scheme).or_else(|| serving().next()).or_else(|| all().next());
    found.ok_or_else(|| "the configuration has no listener".to_owned())
}
