//! Why a request is decided as it is: it is decided, by the gatekeeper itself and before a witness, and what that saw is
//! put into words. Nothing is decided here, and nothing is counted, remembered or sent.
mod cure;
mod explanation;
mod forwarded;
mod offline;
mod question;
mod running;
mod stand_in;
mod steps;
mod trace;

use std::{sync::Arc, time::Duration};

use http::header;
use pingora::http::RequestHeader;

pub(in crate::edge) use self::running::explain_running;
pub use self::{
    explanation::{Asked, CheckShown, Explanation, Forwarded, Outcome, Step, StepResult, Verdict},
    offline::{KeyChoice, OfflineError, Rehearsal},
    question::{Presented, Question},
};
use self::{
    forwarded::forwarded,
    stand_in::{NO_KEY, StandIn},
    steps::Case,
    trace::Trace,
};
use crate::{
    config::{
        settings::{Address, CacheLimits, Rate, listener::Listener},
        suggest,
    },
    edge::{clock, explain::question::Target, forwarding::Origin, installed::Installed, target},
    gate::{
        cors::{Answer, Cors, Preflight},
        decide::Decision,
        issuer::IssuerId,
        keys::KeySet,
        provenance::{Peer, Provenance},
        rejection::Refusal,
        route::{Action, ListenerId},
        sources::TokenSource,
        witness::{Nobody, Stage},
    },
    state::{
        claims_cache::ClaimsCache,
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
    /// How long the client has to wait.
    wait: Option<Duration>,
    notes: &'a [String],
}

/// Explains one request.
///
/// # Errors
/// Says what about the question is wrong; never the token.
fn explain(scene: &Scene<'_>, question: &Question) -> Result<Explanation, String> {
    let ruleset = scene.installed.gatekeeper.ruleset();
    let target = question.target()?;
    let (listener, listener_name) = listener(scene, question, &target)?;
    let bare = question.head(None)?;
    let mut notes = scene.notes.to_vec();
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
            let request = target::request_of(&bare, (listener, question.address, target.is_encrypted), None);
            let admission = ruleset.admit(&request, &mut Nobody).ok();
            let first = admission.and_then(|admission| admission.route.token_sources.first());
            question.head(Some((token, first.unwrap_or(&TokenSource::Authorization))))?
        }
    };
    let mut trace = Trace::new(ruleset);
    let mut judgement = decide(scene, question, &head, (listener, target.is_encrypted), None, &mut trace);
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
        judgement = decide(scene, question, &head, (listener, target.is_encrypted), Some((issuer, &found)), &mut trace);
        origin = Some(found);
    }
    let asked = Asked {
        method: question.method.clone(),
        url: question.url.split('?').next().unwrap_or_default().to_owned(),
        listener: listener_name,
        address: question.address.map(|address| address.to_string()),
        at: question.at.to_string(),
    };
    let case = Case {
        scene,
        request: target::request_of(&head, (listener, question.address, target.is_encrypted), None),
        judgement: &judgement,
        trace: &trace,
        keys: origin.as_ref(),
        now: question.at,
    };
    let explanation = Explanation {
        request: asked,
        verdict: case.verdict(),
        steps: case.steps(),
        upstream: upstream(scene, question, &head, target.is_encrypted, &judgement),
        response_headers: response_headers(scene, &head, &judgement),
        notes,
    };
    let secrets: Vec<&str> = token.into_iter().chain(credentials(&head)).collect();
    Ok(explanation.without_tokens(&secrets))
}

/// What the client sent to prove itself, in fields whose whole purpose that is.
fn credentials(head: &RequestHeader) -> impl Iterator<Item = &str> {
    let fields = head.headers.get_all(header::AUTHORIZATION).iter();
    fields.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(' '))
}

fn decide(
    scene: &Scene<'_>,
    question: &Question,
    head: &RequestHeader,
    (listener, is_encrypted): (ListenerId, bool),
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
    let request = target::request_of(head, (listener, question.address, is_encrypted), None);
    let occasion = Occasion { now: question.at, patience: Patience::Fetched, wait: scene.wait, meter: None };
    aside.decide_before(&request, occasion, trace)
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

/// The listener that is named, else the one at the URL's port, else the first.
fn listener(scene: &Scene<'_>, question: &Question, target: &Target<'_>) -> Result<(ListenerId, String), String> {
    let all = || (0..).map(ListenerId).zip(scene.listeners);
    let found = match &question.listener {
        Some(name) => {
            let named = all().find(|(_, listener)| *listener.name == **name);
            Some(named.ok_or_else(|| {
                unknown("listener", name, scene.listeners.iter().map(|listener| listener.name.as_ref()))
            })?)
        }
        None => {
            let port = |address: &Address| match address {
                Address::Tcp(address) => Some(address.port()),
                Address::Unix(_) => None,
            };
            let at_port = |listener: &Listener| target.port.is_some() && port(&listener.address) == target.port;
            all().find(|(_, listener)| at_port(listener)).or_else(|| all().next())
        }
    };
    let (id, listener) = found.ok_or("the configuration has no listener")?;
    Ok((id, listener.name.to_string()))
}

fn upstream(
    scene: &Scene<'_>,
    question: &Question,
    head: &RequestHeader,
    is_encrypted: bool,
    judgement: &Judgement,
) -> Option<Forwarded> {
    let route = scene.installed.gatekeeper.ruleset().routes.route(judgement.route?)?;
    let passes = matches!(judgement.decision, Decision::Pass(_));
    let is_answered = judgement.is_preflight && matches!(route.cors, Some(Cors::Gate(_)));
    let Action::Forward(id) = &route.action else { return None };
    if !passes || is_answered {
        return None;
    }
    let name = scene.installed.upstream_name(*id)?;
    let provenance = Provenance::direct(question.address.map_or(Peer::Unknown, Peer::at), is_encrypted);
    let origin = Origin { provenance: &provenance, host: target::host(head), version: head.version, trace_state: None };
    forwarded(head, scene.installed, judgement, (route, name), origin)
}

/// What the gate itself tells browsers.
fn response_headers(scene: &Scene<'_>, head: &RequestHeader, judgement: &Judgement) -> Vec<(String, String)> {
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
