//! One exchange that may go on for long, as its connection sees it: when something is due, and what is counted of it.
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{StatusCode, header};
use pingora::http::ResponseHeader;
use pingora_core::{Error, ErrorSource};
use pingora_proxy::Session;

use crate::{
    edge::{clock, exchange::Exchange, guard::Connection, installed::Installed, metrics::OpenStream},
    gate::{
        claims::KnownToken,
        decide::Decision,
        grpc,
        rejection::{Refusal, Rejection},
        route::{RouteId, StreamRule},
    },
    state::stream_watch::{StreamEnd, StreamWatch},
};

/// So much later than it should have ended an exchange is ended by the wait for its upstream: when tokens were looked at twice.
const LATENESS: Duration = Duration::from_secs(10);

/// What is known of an exchange from when its request goes out.
#[derive(Debug)]
pub struct Stream {
    installed: Arc<Installed>,
    route: RouteId,
    watch: StreamWatch,
    /// Counts it, once it is one that goes on.
    open: Option<OpenStream>,
    /// Whether that it ends is no fault of the upstream.
    is_stream: bool,
}

impl Stream {
    /// An exchange whose request goes out now.
    fn of(exchange: &Exchange) -> Option<Self> {
        let route = exchange.judgement.as_ref()?.route?;
        let rule = rule(exchange)?;
        let watch = StreamWatch::new(&rule, token(exchange).cloned(), clock::monotonic(), exchange.identifiers.lot());
        Some(Self { installed: Arc::clone(&exchange.installed), route, watch, open: None, is_stream: false })
    }

    /// It goes on: it is counted from now on.
    pub fn note_going_on(&mut self) {
        if self.open.is_none() {
            self.open = Some(self.installed.route_metrics(Some(self.route)).open_stream());
        }
    }

    /// Whether it is counted.
    pub const fn goes_on(&self) -> bool {
        self.open.is_some()
    }

    /// From now on nothing may come for so long at most.
    pub fn allow_silence(&mut self, longest: Option<Duration>) {
        self.watch.allow_silence(longest, clock::monotonic());
    }

    /// Bytes came, in one direction or the other.
    pub fn note_activity(&mut self) {
        self.watch.note_activity(clock::monotonic());
    }

    /// When it is to be asked again.
    pub fn due(&self) -> Option<Instant> {
        self.watch.due()
    }

    /// Whether it is to end now, and why. That it is asked means that it goes on.
    pub fn check(&mut self) -> Option<StreamEnd> {
        self.note_going_on();
        self.watch.check(&self.installed.gatekeeper, clock::monotonic(), clock::unix_time())
    }

    /// It is over, for this reason: counts it, if it was counted before.
    pub fn close(mut self, end: StreamEnd) {
        if let Some(open) = self.open.take() {
            open.close(end);
        }
    }
}

/// The request goes out: from now on its exchange is watched, if anybody can.
pub fn begin(session: &Session, exchange: &Exchange) {
    if let Some(mut watched) = Connection::watched(session, exchange) {
        watched.stream = Stream::of(exchange);
    }
}

/// Whether somebody watches the exchange, so that no read needs a timeout of its own.
pub fn is_watched(session: &Session, exchange: &Exchange) -> bool {
    Connection::watched(session, exchange).is_some()
}

/// Longest wait for one read from the upstream, in an exchange that is watched.
///
/// Its end is noticed wherever its client is listened to. Pingora does not listen while the upstream takes nothing of what the
/// client says: then this ends the exchange, later than it should have ended. Otherwise it comes after every other end.
pub fn longest_read(exchange: &Exchange) -> Option<Duration> {
    let rule = rule(exchange)?;
    let judgement = exchange.judgement.as_ref()?;
    let time_left = match &judgement.decision {
        Decision::Pass(Some(identity)) if rule.end_with_token => {
            let issuer = exchange.installed.gatekeeper.ruleset().issuer(identity.known().token().issuer());
            issuer.map(|issuer| identity.expires().plus(issuer.leeway).since(clock::unix_time()))
        }
        Decision::Pass(_) | Decision::Reject(_) | Decision::AwaitKeys(_) => None,
    };
    let shortest = [rule.idle_timeout, rule.max_age, time_left].into_iter().flatten().min()?;
    Some(shortest.max(exchange.read_timeout.unwrap_or_default()).saturating_add(LATENESS))
}

/// The head of the final response came. How long nothing may come behind it depends on what it is: of a length that is
/// known, as long as from any upstream; of all else, as long as the route lets streams be idle.
pub fn note_head(session: &mut Session, response: &ResponseHeader, exchange: &Exchange) {
    let is_websocket = response.status == StatusCode::SWITCHING_PROTOCOLS;
    let is_stream = is_websocket || is_stream(response);
    if is_stream {
        // How long its client may be silent is a matter of the whole exchange.
        session.set_read_timeout(None);
    }
    let Some(mut watched) = Connection::watched(session, exchange) else { return };
    watched.is_websocket = is_websocket;
    let Some(stream) = &mut watched.stream else { return };
    if is_stream {
        stream.note_going_on();
    }
    let is_ordinary = !is_stream && response.headers.contains_key(header::CONTENT_LENGTH);
    let idle_timeout = rule(exchange).and_then(|rule| rule.idle_timeout);
    stream.is_stream = !is_ordinary;
    stream.allow_silence(if is_ordinary { exchange.read_timeout } else { idle_timeout });
}

/// Why the exchange was ended here; nothing where it was not.
pub fn end(session: &Session, exchange: &Exchange) -> Option<StreamEnd> {
    Connection::watched(session, exchange)?.ended
}

/// What an exchange that was ended here is refused for, as long as nothing of a response was sent, and what is told of one
/// that broke off; nothing where that is only the end of a stream.
pub fn refusal_of(session: &Session, exchange: &Exchange, has_answered: bool) -> Option<Refusal> {
    let watched = Connection::watched(session, exchange)?;
    let end = watched.ended?;
    match end.rejection() {
        Some(_) if has_answered => None,
        Some(rejection) => Some(Refusal::new(rejection).because("it counted when the request came")),
        None if watched.stream.as_ref().is_some_and(|stream| has_answered && stream.is_stream) => None,
        None => Some(Refusal::new(Rejection::UpstreamTimeout).because("nothing more of a response in time")),
    }
}

/// The exchange is over: counts it, and says why it is, where it was one that went on.
pub fn finish(session: &Session, exchange: &Exchange, error: Option<&Error>) -> Option<StreamEnd> {
    let mut watched = std::mem::take(&mut *Connection::watched(session, exchange)?);
    let stream = watched.stream.take().filter(Stream::goes_on)?;
    let end = watched.ended.unwrap_or(match error {
        _ if watched.has_client_left => StreamEnd::ClientClosed,
        None => StreamEnd::UpstreamClosed,
        Some(error) if *error.esource() == ErrorSource::Downstream => StreamEnd::ClientClosed,
        Some(_) => StreamEnd::Failed,
    });
    stream.close(end);
    Some(end)
}

fn rule(exchange: &Exchange) -> Option<StreamRule> {
    exchange.route().map(|route| route.stream)
}

/// The token that vouches for the request.
fn token(exchange: &Exchange) -> Option<&Arc<KnownToken>> {
    match &exchange.judgement.as_ref()?.decision {
        Decision::Pass(identity) => identity.as_ref().map(|identity| identity.known()),
        Decision::Reject(_) | Decision::AwaitKeys(_) => None,
    }
}

/// Responses that say that they go on: events (WHATWG HTML §9.2) and gRPC.
fn is_stream(response: &ResponseHeader) -> bool {
    let Some(kind) = response.headers.get(header::CONTENT_TYPE) else { return false };
    let essence = kind.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"text/event-stream") || grpc::is_content_type(kind)
}
