//! Why a request is decided as it is: it is decided, by the gatekeeper itself and before a witness, and what that saw is
//! put into words. Nothing is decided here, and nothing is counted, remembered or sent.
mod arrival;
mod cure;
mod explanation;
mod forwarded;
mod offline;
mod question;
mod route_step;
mod running;
mod stand_in;
mod steps;
mod trace;
mod words;

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::header;
use pingora::http::RequestHeader;

pub(in crate::edge) use self::running::explain_running;
use self::{
    arrival::Arrival,
    forwarded::{forwarded, without_values},
    stand_in::{NO_KEY, StandIn},
    steps::Case,
    trace::Trace,
};
pub use self::{
    explanation::{Asked, CheckShown, Explanation, Forwarded, Outcome, Step, StepResult, Verdict, without_tokens},
    forwarded::VALUE_UNSAID,
    offline::{Elsewhere, GivenKeys, OfflineError, Rehearsal},
    question::{Presented, Question},
};
use crate::{
    config::{
        settings::{CacheLimits, Rate, listener::Listener},
        suggest,
    },
    edge::{clock, forwarding::Origin, installed::Installed, redirect, target},
    gate::{
        cors::{Answer, Cors, Preflight},
        decide::Decision,
        issuer::IssuerId,
        keys::KeySet,
        rejection::Refusal,
        request::Request,
        route::Action,
        sources::TokenSource,
        websocket_protocol,
        witness::{Fact, Nobody, Stage, Witness as _},
    },
    state::{
        address_group::AddressGroup,
        claims_cache::ClaimsCache,
        failed_authentications::FailedAuthentications,
        gatekeeper::{Gatekeeper, Judgement, Occasion, Patience},
        key_slot::KeySlot,
        refresh::RefreshRules,
    },
};

/// Where the keys of an issuer are had for an explanation.
trait KeyFinder {
    /// The keys of an issuer, for a token that names `kid`.
    fn find(&self, issuer: IssuerId, kid: Option<&str>) -> FoundKeys;
}

/// The keys of an issuer, or why there are none, and where they came from.
#[derive(Debug)]
struct FoundKeys {
    keys: Option<Arc<KeySet>>,
    origin: String,
}

/// The configuration and what surrounds it.
struct Scene<'a> {
    installed: &'a Installed,
    listeners: &'a [Listener],
    keys: &'a dyn KeyFinder,
    failed_authentications: Option<Rate>,
    /// Who has to wait because too many of their tokens failed.
    failures: Option<&'a FailedAuthentications>,
    notes: &'a [String],
}

impl Scene<'_> {
    /// How long a client has to wait.
    fn wait(&self, client: Option<IpAddr>) -> Option<Duration> {
        let (failures, address) = self.failures.zip(client.map(AddressGroup::of))?;
        failures.wait(address, clock::monotonic())
    }
}

/// Explains one request.
///
/// # Errors
/// Says what about the question is wrong; never the token.
fn explain(scene: &Scene<'_>, question: &Question) -> Result<Explanation, String> {
    let ruleset = scene.installed.gatekeeper.ruleset();
    let bare = question.head(None)?;
    let arrival = Arrival::of(scene, question, &question.target()?, &bare.headers)?;
    let mut notes = scene.notes.to_vec();
    notes.extend(arrival.note());
    let stand_in = stand_in(scene, question)?;
    let token = match (&question.presented, &stand_in) {
        (Presented::Token(token), _) => Some(token.as_str()),
        (_, Some((_, stand_in))) => {
            if !stand_in.added.is_empty() {
                notes.push(format!("claims that were added: {}", stand_in.added.join(", ")));
            }
            Some(stand_in.token.as_str())
        }
        (Presented::Nothing | Presented::Claims { .. }, None) => None,
    };
    let head = match token {
        None => bare,
        Some(token) => {
            let admission = ruleset.admit(&arrival.request(&bare), &mut Nobody).ok();
            let is_handshake = websocket_protocol::is_handshake(&arrival.request(&bare));
            let sources = admission.map_or(&[][..], |admission| &admission.route.token_sources);
            // In a place that the request has.
            let fits = |source: &&TokenSource| source.word().is_some() == is_handshake;
            let first = sources.iter().find(fits).or(sources.first());
            question.head(Some((token, first.unwrap_or(&TokenSource::Authorization))))?
        }
    };
    let mut trace = Trace::new(ruleset);
    let (mut judgement, location) = receive(scene, question, &head, &arrival, &mut trace);
    let mut origin = None;
    if let (true, Some(issuer)) = (trace.reached(Stage::Keys), judgement.issuer) {
        let found = match &stand_in {
            Some((id, stand_in)) if *id == issuer => FoundKeys {
                keys: Some(Arc::clone(&stand_in.keys)),
                origin: "none was asked: claims are taken as if signed".to_owned(),
            },
            Some(_) | None => scene.keys.find(issuer, trace.kid.as_deref()),
        };
        trace = Trace::new(ruleset);
        trace.enter(Stage::Arrival);
        judgement = decide(scene, question, &arrival.request(&head), Some((issuer, &found)), &mut trace);
        origin = Some(found);
    }
    let case = Case {
        scene,
        arrival: &arrival,
        head: &head,
        request: arrival.request(&head),
        judgement: &judgement,
        trace: &trace,
        keys: origin.as_ref(),
        is_as_if_signed: stand_in.is_some(),
        location: location.as_deref(),
        now: question.at,
    };
    let verdict = case.verdict();
    let upstream =
        if verdict.outcome == Outcome::Forward { upstream(scene, &arrival, &head, &judgement) } else { None };
    let explanation = Explanation {
        request: asked(question, &arrival),
        steps: case.steps(),
        upstream,
        response_headers: response_headers(scene, &head, &judgement, location.as_deref()),
        verdict,
        notes,
    };
    let secrets: Vec<&str> = token.into_iter().chain(credentials(&head)).collect();
    Ok(explanation.without_tokens(&secrets))
}

fn asked(question: &Question, arrival: &Arrival<'_>) -> Asked {
    Asked {
        method: question.method.clone(),
        url: question.url.split('?').next().unwrap_or_default().to_owned(),
        listener: arrival.listener.name.to_string(),
        address: question.address.map(|address| address.to_string()),
        at: question.at.to_string(),
    }
}

/// What the gateway does with a request that comes in, until it needs keys; where it sends it is told too, if it is another
/// place.
fn receive(
    scene: &Scene<'_>,
    question: &Question,
    head: &RequestHeader,
    arrival: &Arrival<'_>,
    trace: &mut Trace<'_>,
) -> (Judgement, Option<String>) {
    trace.enter(Stage::Arrival);
    if let Some(refusal) = &arrival.refusal {
        return (Judgement::before_route(Decision::Reject(refusal.clone())), None);
    }
    let request = arrival.request(head);
    let Some(port) = arrival.listener.redirect else { return (decide(scene, question, &request, None, trace), None) };
    trace.enter(Stage::Shape);
    match scene.installed.gatekeeper.ruleset().shape(&request) {
        Ok(shape) => {
            trace.learn(Fact::Shape(&shape));
            let location = redirect::location(&request, &shape, port);
            (Judgement::before_route(Decision::Pass(None)), Some(location))
        }
        Err(refusal) => (Judgement::before_route(Decision::Reject(refusal)), None),
    }
}

/// What the client sent to prove itself, in fields whose whole purpose that is.
fn credentials(head: &RequestHeader) -> impl Iterator<Item = &str> {
    let fields = head.headers.get_all(header::AUTHORIZATION).iter();
    fields.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(' '))
}

fn decide(
    scene: &Scene<'_>,
    question: &Question,
    request: &Request<'_>,
    keys: Option<(IssuerId, &FoundKeys)>,
    trace: &mut Trace<'_>,
) -> Judgement {
    let running = &scene.installed.gatekeeper;
    let slot = |position: usize| match keys {
        Some((issuer, found)) if usize::from(issuer.0) == position => found
            .keys
            .as_ref()
            .map_or_else(|| KeySlot::remote(NEVER, clock::monotonic()), |keys| KeySlot::fixed(Arc::clone(keys))),
        Some(_) | None => KeySlot::fixed(Arc::default()),
    };
    let slots = (0..running.slots().len()).map(|position| Arc::new(slot(position))).collect();
    let cache = Arc::new(ClaimsCache::new(CacheLimits { entries: 0, bytes: 0 }, [0; 32]));
    let aside: Gatekeeper = running.aside(slots, cache);
    let occasion =
        Occasion { now: question.at, patience: Patience::Fetched, wait: scene.wait(request.client), meter: None };
    aside.decide_before(request, occasion, trace)
}

/// For a slot that nobody fills.
const NEVER: RefreshRules = RefreshRules {
    refresh: Duration::from_secs(3600),
    cooldown: Duration::from_secs(3600),
    max_stale: Duration::from_secs(3600),
};

fn stand_in(scene: &Scene<'_>, question: &Question) -> Result<Option<(IssuerId, StandIn)>, String> {
    let Presented::Claims { claims, issuer } = &question.presented else { return Ok(None) };
    let issuers = &scene.installed.gatekeeper.ruleset().issuers;
    let found = (0..).map(IssuerId).zip(issuers).find(|(_, known)| *known.name == **issuer);
    let Some((id, known)) = found else {
        return Err(unknown("issuer", issuer, issuers.iter().map(|issuer| issuer.name.as_ref())));
    };
    match StandIn::new(known, claims.clone(), question.at) {
        Some(stand_in) => Ok(Some((id, stand_in))),
        None => Err(NO_KEY.to_owned()),
    }
}

fn unknown<'n>(what: &str, name: &str, known: impl Iterator<Item = &'n str>) -> String {
    let known: Vec<&str> = known.collect();
    let shown = crate::gate::rejection::quoted(name);
    match suggest::closest(name, known.iter().copied()) {
        Some(close) => format!("there is no {what} {shown}; did you mean `{close}`?"),
        None => format!("there is no {what} {shown}; there are: {}", known.join(", ")),
    }
}

/// What the upstream of a request gets that is forwarded.
fn upstream(
    scene: &Scene<'_>,
    arrival: &Arrival<'_>,
    head: &RequestHeader,
    judgement: &Judgement,
) -> Option<Forwarded> {
    let route = scene.installed.gatekeeper.ruleset().routes.route(judgement.route?)?;
    let Action::Forward(id) = &route.action else { return None };
    let name = scene.installed.upstream_name(*id)?;
    let origin = Origin {
        provenance: &arrival.provenance,
        host: target::host(head),
        version: head.version,
        trace_state: arrival.trace_state.as_deref(),
    };
    forwarded(head, scene.installed, judgement, (route, name), (origin, arrival.identifiers))
}

/// What the gate itself tells browsers.
fn response_headers(
    scene: &Scene<'_>,
    head: &RequestHeader,
    judgement: &Judgement,
    location: Option<&str>,
) -> Vec<(String, String)> {
    if let Some(location) = location {
        return vec![("Location".to_owned(), without_values(location))];
    }
    let route = judgement.route.and_then(|id| scene.installed.gatekeeper.ruleset().routes.route(id));
    let Some(Cors::Gate(rule)) = route.and_then(|route| route.cors.as_ref()) else { return Vec::new() };
    let shown = |(name, value): (http::HeaderName, http::HeaderValue)| {
        (forwarded::titled(name.as_str()), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let asked = head.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD).and_then(|method| method.to_str().ok());
    if judgement.is_preflight {
        let preflight = Preflight { method: asked.unwrap_or_default() };
        return rule.preflight(&head.headers, preflight).map(shown).collect();
    }
    let refusal: Option<&Refusal> = match &judgement.decision {
        Decision::Reject(refusal) => Some(refusal),
        Decision::Pass(_) | Decision::AwaitKeys(_) => None,
    };
    let answer = if refusal.is_some() { Answer::Refusal } else { Answer::Response };
    rule.response(&head.headers, answer).map(shown).collect()
}
