//! Pingora's phases, each handed to the file that owns it. Decides nothing itself.
//!
//! Order, as Pingora has it: `request_filter` asks the gatekeeper; `upstream_peer` chooses a server; `upstream_request_filter`
//! writes identity headers, after Pingora removed what `Connection` nominates; `logging` alone counts and logs.
use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::{Error, ErrorType, Result, upstreams::peer::HttpPeer};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

use crate::{
    config::settings::{Rate, listener::Listener},
    edge::{
        assertions, attempts, clock, cors,
        exchange::Exchange,
        failure,
        forwarding::{self, Origin},
        framing,
        guard::{Connection, Fault, guard_http2_stream},
        installed::Installed,
        metrics::Metrics,
        redirect,
        report::Reporter,
        respond,
        revocations::RevocationKeeper,
        stream, target, tls,
    },
    gate::{
        decide::Decision,
        issuer::IssuerId,
        provenance::Provenance,
        rejection::{Refusal, Rejection},
        request::Request,
        route::{Action, ListenerId},
        witness::Nobody,
    },
    state::{
        address_group::AddressGroup,
        failed_authentications::FailedAuthentications,
        gatekeeper::{Judgement, Occasion, Patience},
        rate_limiter::Meter,
    },
};

/// The proxy of one listener.
#[derive(Debug)]
pub struct Gateway {
    /// Which listener it serves.
    pub listener: ListenerId,
    /// The port to which it sends all requests by https; nothing where it serves them.
    pub redirect: Option<u16>,
    /// What all listeners share.
    pub shared: Arc<Shared>,
}

/// What all listeners share.
#[derive(Debug)]
pub struct Shared {
    /// The configuration in force.
    pub installed: ArcSwap<Installed>,
    /// Where requests come in; a `ListenerId` is a position here.
    pub listeners: Vec<Listener>,
    /// How many tokens of one address may fail; nothing without a limit.
    pub failed_authentications_rate: Option<Rate>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Tells what happened.
    pub reporter: Reporter,
    /// Longest time between two reads of a request body.
    pub body_timeout: Duration,
    /// Which addresses presented too many tokens that failed; nothing without a limit.
    pub failed_authentications: Option<FailedAuthentications>,
    /// The revocations in force.
    pub revocations: Arc<RevocationKeeper>,
}

impl Gateway {
    /// Decides a request, waiting once for keys where that may help.
    async fn decide(&self, session: &Session, exchange: &mut Exchange) -> Judgement {
        let mut patience = Patience::MayWait;
        let address = exchange.provenance.client.map(AddressGroup::of);
        let failures = self.shared.failed_authentications.as_ref().zip(address);
        let installed = Arc::clone(&exchange.installed);
        let mut meter = Meter::new(installed.gatekeeper.rate_limiter(), address, exchange.started);
        loop {
            let began = clock::monotonic();
            meter.waited_until(began);
            let wait = failures.and_then(|(failures, address)| failures.wait(address, began));
            let judgement = {
                let request = self.request(session, &exchange.provenance);
                let occasion = Occasion { now: clock::unix_time(), patience, wait, meter: Some(&mut meter) };
                installed.gatekeeper.decide_before(&request, occasion, &mut Nobody)
            };
            let Decision::AwaitKeys(issuer) = judgement.decision else {
                exchange.tally = meter.tally();
                if let Some((failures, address)) = failures
                    && judgement.failure().is_some_and(|refusal| refusal.rejection().is_failed_authentication())
                {
                    failures.note(address, began);
                }
                self.shared.metrics.decided(judgement.cache, began.elapsed());
                return judgement;
            };
            patience = self.await_keys(issuer, exchange).await;
        }
    }

    async fn await_keys(&self, issuer: IssuerId, exchange: &Exchange) -> Patience {
        match exchange.installed.gatekeeper.slot(issuer) {
            Some(slot) => exchange.installed.waiters.wait(issuer, slot).await,
            None => Patience::NotFetched,
        }
    }

    fn request<'s>(&self, session: &'s Session, provenance: &Provenance) -> Request<'s> {
        let arrival = (self.listener, provenance.client, provenance.is_encrypted);
        target::request_of(session.req_header(), arrival, tls::presented(session))
    }

    /// Sends a request to the same host and path by https, whoever it is of. Only one that is well-formed: there is no
    /// telling where another would get.
    async fn send_to_https(&self, session: &mut Session, exchange: &mut Exchange, port: u16) -> Result<bool> {
        let location = {
            let request = self.request(session, &exchange.provenance);
            let ruleset = exchange.installed.gatekeeper.ruleset();
            ruleset.shape(&request).map(|shape| redirect::location(&request, &shape, port))
        };
        match location {
            Ok(location) => {
                let response = redirect::response(&location)?;
                respond::answer(session, response, None, exchange.identifiers.request()).await?;
            }
            Err(refusal) => self.refuse(session, exchange, refusal).await?,
        }
        Ok(true)
    }

    async fn refuse(&self, session: &mut Session, exchange: &mut Exchange, refusal: Refusal) -> Result<()> {
        let ruleset = exchange.installed.gatekeeper.ruleset();
        let sent = respond::refuse(session, &refusal, ruleset, exchange).await;
        exchange.refused_call = respond::is_call(session.req_header()).then(|| refusal.rejection().row().status);
        exchange.refusal = Some(refusal);
        sent
    }

    /// Has the request's identity asserted, where that is wanted; refuses the request where it cannot be done.
    async fn lacks_assertion(&self, session: &mut Session, exchange: &mut Exchange) -> Result<bool> {
        match assertions::for_exchange(exchange) {
            Ok(assertion) => {
                exchange.assertion = assertion;
                Ok(false)
            }
            Err(refusal) => self.refuse(session, exchange, refusal).await.map(|()| true),
        }
    }

    /// What is to become of a request that may pass: nothing when it is to be forwarded.
    async fn answer_here(&self, session: &mut Session, exchange: &Exchange) -> Result<bool> {
        if cors::answer_preflight(session, exchange).await? {
            return Ok(true);
        }
        match exchange.route().map(|route| &route.action) {
            Some(Action::Respond { status, body }) => answer(session, exchange, *status, body.as_deref()).await,
            Some(Action::AssertionKeys) => {
                let keys = exchange.installed.assertions.as_ref().map(|assertions| assertions.key_set());
                answer(session, exchange, StatusCode::OK.as_u16(), keys.as_deref()).await
            }
            Some(Action::Forward(_)) if forwarding::forwards_left(session.req_header()) == Some(0) => {
                answer(session, exchange, StatusCode::NO_CONTENT.as_u16(), None).await
            }
            Some(Action::Forward(_)) | None => Ok(false),
        }
    }
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        Exchange::begin(self.shared.installed.load_full(), self.shared.metrics.in_flight())
    }

    async fn early_request_filter(&self, session: &mut Session, exchange: &mut Exchange) -> Result<()> {
        exchange.line = guard_http2_stream(session);
        let (peer, is_encrypted) = (forwarding::peer(session), forwarding::is_encrypted(session));
        if let Err(refusal) = exchange.arrive(peer, is_encrypted, &session.req_header().headers) {
            exchange.refusal = Some(refusal);
        }
        Connection::note_request(session, exchange.identifiers);
        framing::keep_connection(session);
        framing::restore_content_length(session)?;
        framing::spare_interim_responses(session);
        session.set_read_timeout(Some(self.shared.body_timeout));
        if exchange.line.is_some() {
            session.set_write_timeout(Some(self.shared.body_timeout));
        }
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, exchange: &mut Exchange) -> Result<bool> {
        if let Some(fault) = Connection::fault(session) {
            // Where such a request ends, others may see differently.
            session.set_keepalive(None);
            self.refuse(session, exchange, malformed(fault)).await?;
            return Ok(true);
        }
        if let Some(refusal) = exchange.refusal.take() {
            self.refuse(session, exchange, refusal).await?;
            return Ok(true);
        }
        if let Some(port) = self.redirect {
            return self.send_to_https(session, exchange, port).await;
        }
        let mut judgement = self.decide(session, exchange).await;
        let decision = std::mem::replace(&mut judgement.decision, Decision::Pass(None));
        match decision {
            Decision::Pass(identity) => {
                judgement.decision = Decision::Pass(identity);
                exchange.judgement = Some(judgement);
                Ok(self.answer_here(session, exchange).await? || self.lacks_assertion(session, exchange).await?)
            }
            Decision::Reject(refusal) => {
                judgement.decision = Decision::Reject(refusal.clone());
                exchange.judgement = Some(judgement);
                self.refuse(session, exchange, refusal).await?;
                Ok(true)
            }
            // `decide` comes back only when there is nothing left to wait for.
            Decision::AwaitKeys(_) => Err(Error::new(ErrorType::InternalError)),
        }
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        exchange: &mut Exchange,
    ) -> Result<()> {
        // As long as the request goes out, nobody can expect the response.
        if exchange.head_patience.is_some() {
            Connection::expect_head(session, exchange, exchange.head_patience);
        }
        if let Some(fault) = Connection::fault(session) {
            exchange.refusal = Some(malformed(fault));
            return Err(Error::new_down(ErrorType::InvalidHTTPHeader));
        }
        exchange.body_bytes += body.as_ref().map_or(0, |body| body.len() as u64);
        // What comes over a WebSocket is no body.
        let limit = exchange.body_bytes_max().filter(|_| !session.was_upgraded());
        if limit.is_some_and(|limit| exchange.body_bytes > limit) {
            exchange.refusal = Some(
                Refusal::new(Rejection::BodyTooLarge).because(format!("more than {} bytes", limit.unwrap_or_default())),
            );
            // What is forwarded so far ends in an error for the upstream, which must not take it for a whole body.
            return Err(Error::new(ErrorType::HTTPStatus(Rejection::BodyTooLarge.row().status)));
        }
        Ok(())
    }

    async fn upstream_peer(&self, session: &mut Session, exchange: &mut Exchange) -> Result<Box<HttpPeer>> {
        attempts::next_server(session, exchange)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        attempts::check_protocol(request, exchange)?;
        Connection::expect_head(session, exchange, exchange.head_patience);
        stream::begin(session, exchange);
        let origin = Origin {
            provenance: &exchange.provenance,
            host: target::host(session.req_header()),
            version: session.req_header().version,
            trace_state: exchange.trace_state.as_deref(),
        };
        forwarding::rewrite_request(request, exchange, origin)?;
        framing::welcome_trailers(session.req_header(), request)
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        if let Err(fault) = framing::check_response(session.req_header(), response) {
            exchange.refusal = Some(Refusal::new(Rejection::UpstreamUnreachable).because(fault));
            return Err(Error::new_up(ErrorType::InvalidHTTPHeader));
        }
        let is_head = !response.status.is_informational() || response.status == StatusCode::SWITCHING_PROTOCOLS;
        if is_head {
            attempts::answered(session, exchange);
            stream::note_head(session, response, exchange);
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        framing::fit_to_client(session, response);
        forwarding::rewrite_response(response, exchange, &session.req_header().headers)
    }

    fn upstream_response_trailer_filter(
        &self,
        _: &mut Session,
        trailers: &mut HeaderMap,
        exchange: &mut Exchange,
    ) -> Result<()> {
        forwarding::rewrite_response_trailers(trailers, exchange);
        Ok(())
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _: &HttpPeer,
        exchange: &mut Exchange,
        mut error: Box<Error>,
    ) -> Box<Error> {
        attempts::failed_to_connect(session, exchange, &mut error);
        error
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        exchange: &mut Exchange,
        reused: bool,
    ) -> Box<Error> {
        attempts::failed_on_the_way(session, exchange, &mut error, reused);
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, exchange: &mut Exchange) -> FailToProxy {
        if Connection::is_head_overdue(session, exchange) {
            attempts::overdue(exchange);
        }
        let refusal = exchange.refusal.take().or_else(|| failure::refusal_of(session, exchange, error));
        let has_answered = respond::final_status(session).is_some();
        if let Some((code, text)) = failure::call_status(session, exchange, refusal.as_ref()).filter(|_| has_answered)
            && let Err(error) = respond::end_call(session, code, text).await
        {
            log::debug!("the end of a call could not be told: {error}");
        }
        let Some(refusal) = refusal else {
            // The client went away: nobody is there to be answered.
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        };
        let failed = FailToProxy { error_code: refusal.rejection().row().status, can_reuse_downstream: false };
        if has_answered {
            exchange.refusal = Some(refusal);
            return failed;
        }
        // Pingora closes after a failure; the client is told so.
        session.set_keepalive(None);
        if let Err(error) = self.refuse(session, exchange, refusal).await {
            log::debug!("the refusal could not be sent: {error}");
        }
        failed
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, exchange: &mut Exchange) {
        exchange.stream_end = stream::finish(session, exchange, error);
        self.shared.reporter.report(session, error, exchange, exchange.provenance.client);
        Connection::expect_request(session);
    }

    fn suppress_error_log(&self, _: &Session, _: &Exchange, _: &Error) -> bool {
        // The access log tells it, once and without the client's text.
        true
    }
}

/// Answers a request that may pass without an upstream, as if one had answered; says that it is answered.
async fn answer(session: &mut Session, exchange: &Exchange, status: u16, body: Option<&str>) -> Result<bool> {
    let mut response = respond::fixed(status, body)?;
    forwarding::finish_response(&mut response, exchange, &session.req_header().headers)?;
    respond::answer(session, response, body, exchange.identifiers.request()).await?;
    Ok(true)
}

fn malformed(fault: Fault) -> Refusal {
    Refusal::new(Rejection::RequestMalformed).because(fault.to_string())
}
