//! One outcome becomes its counters and its one log line. Nothing else counts requests or writes the access log.
use std::{borrow::Cow, fmt, net::IpAddr, sync::Arc, time::Duration};

use aws_lc_rs::digest;
use pingora_core::Error;
use pingora_proxy::Session;

use crate::{
    config::settings::{ClientAddressForm, SubjectForm},
    edge::{
        access_log::{AccessLog, AuthRecord, ObservedRecord, Record},
        clock,
        exchange::Exchange,
        guard::Incident,
        installed::Installed,
        metrics::UNMATCHED,
        rejections::{RecentRejection, RecentRejections},
        respond, target, tls,
    },
    gate::{
        decide::Decision,
        rate_limit::CountedBy,
        rejection::{Refusal, Rejection},
        route::RouteLog,
    },
    state::{claims_cache::CacheUse, gatekeeper::Judgement, stream_watch::StreamEnd},
};

/// Status of a request whose client went away before the answer: a convention of nginx that log readers know.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Counts and logs.
pub struct Reporter {
    /// The access log; nothing when it is off.
    pub access_log: Option<Arc<AccessLog>>,
    /// How subjects are shown.
    pub subject: SubjectForm,
    /// How client addresses are shown.
    pub client_ip: ClientAddressForm,
    /// The last refusals.
    pub rejections: RecentRejections,
}

impl fmt::Debug for Reporter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Reporter({:?}, {:?})", self.subject, self.client_ip)
    }
}

impl Reporter {
    /// Counts an exchange that is over, and writes its line.
    pub fn report(&self, session: &Session, error: Option<&Error>, exchange: &Exchange, client: Option<IpAddr>) {
        let duration = exchange.started.elapsed();
        let sent = respond::final_status(session).map_or(CLIENT_CLOSED_REQUEST, |status| status.as_u16());
        let status = exchange.refused_call.filter(|_| sent != CLIENT_CLOSED_REQUEST).unwrap_or(sent);
        let route_id = exchange.judgement.as_ref().and_then(|judgement| judgement.route);
        let metrics = exchange.installed.route_metrics(route_id);
        metrics.answered(session.req_header().method.as_str(), status, duration);
        if exchange.refusal.as_ref().is_some_and(|refusal| refusal.rejection() == Rejection::RateLimited) {
            // Where no limit of the route refused it, its address had to wait for failed authentications.
            metrics.limited(exchange.tally.refused_by.unwrap_or(CountedBy::Address));
        }
        let verdict = exchange.judgement.as_ref().and_then(|judgement| Verdict::of(exchange, judgement));
        if let (Some(verdict), Some(judgement)) = (verdict, &exchange.judgement) {
            let issuer = judgement.issuer.map(|id| usize::from(id.0));
            match verdict {
                Verdict::Allowed => metrics.allowed(issuer),
                Verdict::Anonymous => metrics.anonymous(),
                Verdict::Rejected(rejection) => metrics.rejected(issuer, rejection.index()),
            }
            if let Some(observed) = &judgement.observed {
                metrics.observed(issuer, observed.rejection().index());
            }
        }
        self.note(exchange, client);
        if let Some(log) = self.access_log.as_ref().filter(|_| is_told(exchange, error, status)) {
            self.tell(log, session, error, exchange, (verdict, status, duration, client));
        }
    }

    fn note(&self, exchange: &Exchange, client: Option<IpAddr>) {
        let Some(refusal) = &exchange.refusal else { return };
        self.rejections.note(RecentRejection {
            time: exchange.started_at,
            request_id: exchange.identifiers.request().into(),
            route: route_name(exchange).into(),
            rejection: refusal.rejection(),
            detail: refusal.detail().map(Box::from),
            client_ip: client.and_then(|client| self.shown_address(client)),
        });
    }

    /// Counts a request that no filter saw the end of, and writes its line; for a connection without request the line
    /// alone. Nothing else is known of it but who sent it.
    pub fn report_incident(&self, installed: &Installed, incident: &Incident) {
        const UNKNOWN: &str = "-";
        let (rejection, identifiers, client) = (incident.rejection, &incident.identifiers, incident.client);
        let status = rejection.row().status;
        let time = clock::now();
        if incident.is_request {
            installed.route_metrics(None).answered(UNKNOWN, status, Duration::ZERO);
            self.rejections.note(RecentRejection {
                time,
                request_id: identifiers.request().into(),
                route: UNMATCHED.into(),
                rejection,
                detail: Some(incident.detail.into()),
                client_ip: client.and_then(|client| self.shown_address(client)),
            });
        }
        let Some(log) = &self.access_log else { return };
        log.tell(&Record {
            time,
            request_id: identifiers.request(),
            trace_id: Some(identifiers.trace()),
            client_ip: client.and_then(|client| self.shown_address(client)),
            method: UNKNOWN.as_bytes(),
            host: None,
            path: UNKNOWN.as_bytes(),
            protocol: UNKNOWN,
            tls: None,
            user_agent: None,
            status,
            duration: Duration::ZERO,
            bytes_in: 0,
            bytes_out: 0,
            route: UNMATCHED,
            upstream: None,
            server: None,
            upstream_duration: None,
            auth: Some(AuthRecord {
                result: Verdict::Rejected(rejection).name(),
                reason: Some(rejection.label()),
                issuer: None,
                subject: None,
                kid: None,
                algorithm: None,
                cache: None,
                detail: Some(incident.detail),
                observed: None,
            }),
        });
    }

    fn tell(
        &self,
        log: &AccessLog,
        session: &Session,
        error: Option<&Error>,
        exchange: &Exchange,
        (verdict, status, duration, client): (Option<Verdict>, u16, Duration, Option<IpAddr>),
    ) {
        let header = session.req_header();
        let attempt = exchange.attempt.as_ref();
        let subject = exchange
            .judgement
            .as_ref()
            .and_then(|judgement| judgement.known.as_ref()?.subject())
            .and_then(|subject| shown_subject(self.subject, subject));
        let field = |name: http::HeaderName| header.headers.get(name).map(http::HeaderValue::as_bytes);
        log.tell(&Record {
            time: exchange.started_at,
            request_id: exchange.identifiers.request(),
            trace_id: Some(exchange.identifiers.trace()),
            client_ip: client.and_then(|client| self.shown_address(client)),
            method: header.method.as_str().as_bytes(),
            host: target::host(header).map(str::as_bytes),
            path: header.uri.path().as_bytes(),
            protocol: protocol(header.version),
            tls: tls::version(session),
            user_agent: field(http::header::USER_AGENT),
            status,
            duration,
            bytes_in: exchange.body_bytes,
            bytes_out: session.body_bytes_sent() as u64,
            route: route_name(exchange),
            upstream: attempt.and_then(|attempt| exchange.installed.upstream_name(attempt.upstream)),
            server: attempt.map(|attempt| attempt.server.as_ref()),
            upstream_duration: exchange.upstream_duration,
            // Nobody was judged whom the listener sent elsewhere.
            auth: (exchange.judgement.is_some() || exchange.refusal.is_some() || error.is_some())
                .then(|| auth_record(exchange, verdict, subject.as_deref(), error)),
        });
    }

    fn shown_address(&self, client: IpAddr) -> Option<IpAddr> {
        match (self.client_ip, client) {
            (ClientAddressForm::Off, _) => None,
            (ClientAddressForm::Full, client) => Some(client),
            (ClientAddressForm::Truncated, IpAddr::V4(address)) => {
                let [first, second, third, _] = address.octets();
                Some(IpAddr::from([first, second, third, 0]))
            }
            (ClientAddressForm::Truncated, IpAddr::V6(address)) => {
                let [first, second, third, ..] = address.segments();
                Some(IpAddr::from([first, second, third, 0, 0, 0, 0, 0]))
            }
        }
    }
}

/// Whether a status says that something went wrong (RFC 9110 §15.5, §15.6), or that nothing was answered.
fn is_failure(status: u16) -> bool {
    http::StatusCode::from_u16(status).map_or(true, |status| status.is_client_error() || status.is_server_error())
}

/// Whether its route wants the exchange in the access log; without a route every one is.
fn is_told(exchange: &Exchange, error: Option<&Error>, status: u16) -> bool {
    match exchange.route().map_or(RouteLog::On, |route| route.log) {
        RouteLog::On => true,
        RouteLog::Errors => error.is_some() || exchange.refusal.is_some() || is_failure(status),
        RouteLog::Off => false,
    }
}

/// The route that a request found.
fn route_name(exchange: &Exchange) -> &str {
    let route = exchange.judgement.as_ref().and_then(|judgement| judgement.route);
    let found = route.and_then(|id| exchange.installed.gatekeeper.ruleset().routes.route(id));
    found.map_or(UNMATCHED, |route| &route.name)
}

/// A subject as the configuration wants it shown; nothing when not at all.
pub fn shown_subject(form: SubjectForm, subject: &str) -> Option<Cow<'_, str>> {
    match form {
        SubjectForm::Plain => Some(Cow::Borrowed(subject)),
        SubjectForm::Off => None,
        SubjectForm::Hash => {
            let digest = digest::digest(&digest::SHA256, subject.as_bytes());
            Some(Cow::Owned(digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()))
        }
    }
}

/// What was decided about the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Allowed,
    Anonymous,
    Rejected(Rejection),
}

impl Verdict {
    /// Nothing where no caller was judged: the request was refused before, or for another reason.
    fn of(exchange: &Exchange, judgement: &Judgement) -> Option<Self> {
        if let Some(refusal) = &exchange.refusal
            && refusal.rejection().is_of_authentication()
        {
            return Some(Self::Rejected(refusal.rejection()));
        }
        judgement.route?;
        match &judgement.decision {
            Decision::Pass(Some(_)) => Some(Self::Allowed),
            // Also on a public route: nobody asked, and nobody is named to the service behind.
            Decision::Pass(None) => Some(Self::Anonymous),
            Decision::Reject(_) | Decision::AwaitKeys(_) => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Anonymous => "anonymous",
            Self::Rejected(_) => "rejected",
        }
    }
}

fn auth_record<'e>(
    exchange: &'e Exchange,
    verdict: Option<Verdict>,
    subject: Option<&'e str>,
    error: Option<&'e Error>,
) -> AuthRecord<'e> {
    let judgement = exchange.judgement.as_ref();
    let token = judgement.and_then(|judgement| judgement.known.as_ref()).map(|known| known.token());
    let issuer = judgement.and_then(|judgement| exchange.installed.gatekeeper.ruleset().issuer(judgement.issuer?));
    let cut_short = exchange.refusal.is_none().then_some(error).flatten();
    AuthRecord {
        result: verdict.map_or("rejected", Verdict::name),
        reason: exchange.refusal.as_ref().map(|refusal| refusal.rejection().label()),
        issuer: issuer.map(|issuer| issuer.name.as_ref()),
        subject,
        kid: token.and_then(|token| token.kid()),
        algorithm: token.map(|token| token.algorithm().name()),
        cache: judgement.and_then(|judgement| cache_name(judgement.cache)),
        detail: exchange
            .refusal
            .as_ref()
            .and_then(Refusal::detail)
            .or(exchange.stream_end.map(StreamEnd::detail))
            .or(cut_short.map(|error| error.etype().as_str())),
        observed: judgement
            .and_then(|judgement| judgement.observed.as_ref())
            .map(|refusal| ObservedRecord { reason: refusal.rejection().label(), detail: refusal.detail() }),
    }
}

const fn cache_name(cache: CacheUse) -> Option<&'static str> {
    match cache {
        CacheUse::None => Some("none"),
        CacheUse::Hit => Some("hit"),
        CacheUse::Miss => Some("miss"),
        CacheUse::Stale => Some("stale"),
    }
}

fn protocol(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_09 => "HTTP/0.9",
        http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_11 => "HTTP/1.1",
        http::Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/3",
    }
}
