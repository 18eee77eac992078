//! Pingora's phases, each handed to the file that owns it. Decides nothing itself.
//!
//! Order, as Pingora has it: `request_filter` asks the gatekeeper; `upstream_peer` chooses a server;
//! `upstream_request_filter` writes identity headers, after Pingora removed what `Connection` nominates; `logging` is
//! the only place that counts and logs.
use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::{Error, ErrorType, Result, upstreams::peer::HttpPeer};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

use crate::{
    edge::{
        clock, cors,
        exchange::{Attempt, Exchange},
        failure,
        forwarding::{self, Origin},
        framing,
        guard::{Connection, Fault},
        installed::Installed,
        issuer_keys::KeyWaiters,
        metrics::Metrics,
        redirect,
        report::Reporter,
        respond,
        revocations::RevocationKeeper,
        target, tls,
    },
    gate::{
        decide::Decision,
        issuer::IssuerId,
        provenance::Provenance,
        rejection::{Refusal, Rejection},
        request::Request,
        route::{Action, ListenerId, UpstreamId},
    },
    state::{
        address_group::AddressGroup,
        failed_authentications::FailedAuthentications,
        gatekeeper::{Judgement, Patience},
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
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Tells what happened.
    pub reporter: Reporter,
    /// Longest time between two reads of a request body.
    pub body_timeout: Duration,
    /// Which addresses presented too many tokens that failed; nothing without a limit.
    pub failed_authentications: Option<FailedAuthentications>,
    /// Requests that wait for keys.
    pub waiters: Arc<KeyWaiters>,
    /// The revocations in force.
    pub revocations: Arc<RevocationKeeper>,
}

impl Gateway {
    /// Decides a request, waiting once for keys where that may help.
    async fn decide(&self, session: &Session, exchange: &mut Exchange) -> Judgement {
        let mut patience = Patience::MayWait;
        let address = exchange.provenance.client.map(AddressGroup::of);
        let failures = self.shared.failed_authentications.as_ref().zip(address);
        loop {
            let began = clock::monotonic();
            let wait = failures.and_then(|(failures, address)| failures.wait(address, began));
            let judgement = {
                let request = self.request(session, &exchange.provenance);
                exchange.installed.gatekeeper.decide_after(&request, clock::unix_time(), patience, wait)
            };
            let Decision::AwaitKeys(issuer) = judgement.decision else {
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
            Some(slot) => self.shared.waiters.wait(issuer, slot).await,
            None => Patience::NotFetched,
        }
    }

    fn request<'s>(&self, session: &'s Session, provenance: &Provenance) -> Request<'s> {
        let header = session.req_header();
        let (authority, path) = target::authority_and_path(header);
        Request {
            listener: self.listener,
            client: provenance.client,
            version: header.version,
            is_encrypted: provenance.is_encrypted,
            method: header.method.as_str(),
            authority,
            path,
            query: header.uri.query(),
            headers: &header.headers,
            target_bytes: header.raw_path().len(),
            presented: tls::presented(session),
        }
    }

    /// Sends a request to the same host and path by https, whoever it is of. Only one that is well-formed: there is no
    /// telling where another would get.
    async fn send_to_https(&self, session: &mut Session, exchange: &mut Exchange, port: u16) -> Result<bool> {
        let location = {
            let request = self.request(session, &exchange.provenance);
            exchange.installed.gatekeeper.ruleset().shape(&request).map(|shape| redirect::location(&request, &shape, port))
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
        let realm = &exchange.installed.gatekeeper.ruleset().realm;
        let cors = cors::rule(exchange);
        let sent = respond::refuse(session, &refusal, realm, exchange.identifiers.request(), cors).await;
        exchange.refusal = Some(refusal);
        sent
    }

    /// What is to become of a request that may pass: nothing when it is to be forwarded.
    async fn answer_here(&self, session: &mut Session, exchange: &Exchange) -> Result<bool> {
        if cors::answer_preflight(session, exchange).await? {
            return Ok(true);
        }
        match exchange.route().map(|route| &route.action) {
            Some(Action::Respond { status, body }) => answer(session, exchange, *status, body.as_deref()).await,
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
        let (peer, is_encrypted) = (forwarding::peer_address(session), forwarding::is_encrypted(session));
        if let Err(refusal) = exchange.arrive(peer, is_encrypted, &session.req_header().headers) {
            exchange.refusal = Some(refusal);
        }
        Connection::note_request(session, exchange.identifiers);
        framing::keep_connection(session);
        framing::restore_content_length(session)?;
        framing::spare_interim_responses(session);
        if !session.is_upgrade_req() {
            session.set_read_timeout(Some(self.shared.body_timeout));
        }
        if session.is_http2() {
            // Streams have no line of their own on which the guard could see that nothing is taken.
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
                self.answer_here(session, exchange).await
            }
            Decision::Reject(refusal) => {
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
            Connection::expect_head(session, exchange.head_patience);
        }
        if let Some(fault) = Connection::fault(session) {
            exchange.refusal = Some(malformed(fault));
            return Err(Error::new_down(ErrorType::InvalidHTTPHeader));
        }
        exchange.body_bytes += body.as_ref().map_or(0, |body| body.len() as u64);
        let limit = body_bytes_max(exchange);
        if limit.is_some_and(|limit| exchange.body_bytes > limit) {
            exchange.refusal = Some(
                Refusal::new(Rejection::BodyTooLarge).because(format!("more than {} bytes", limit.unwrap_or_default())),
            );
            // What is forwarded so far ends in an error for the upstream, which must not take it for a whole body.
            return Err(Error::new(ErrorType::HTTPStatus(Rejection::BodyTooLarge.row().status)));
        }
        Ok(())
    }

    async fn upstream_peer(&self, _: &mut Session, exchange: &mut Exchange) -> Result<Box<HttpPeer>> {
        let (upstream, timeout) = destination(exchange)?;
        let tried = exchange.attempt.as_ref().map_or(&[][..], |attempt| &attempt.tried);
        let Some(chosen) = exchange.installed.upstreams.choose(upstream, tried) else {
            exchange.refusal = Some(
                Refusal::new(Rejection::UpstreamUnreachable)
                    .because("no address is known for any server of the upstream"),
            );
            return Err(Error::new_up(ErrorType::ConnectNoRoute));
        };
        if exchange.attempt.is_some()
            && let Some(metrics) = exchange.installed.upstream_metrics(upstream)
        {
            metrics.retried();
        }
        let attempt = exchange.attempt.get_or_insert_with(|| Attempt {
            upstream,
            tried: Vec::new(),
            server: Arc::clone(&chosen.server),
            started: clock::monotonic(),
        });
        attempt.tried.push(chosen.target);
        attempt.server = chosen.server;
        // Not as the read timeout of the peer, which is for every read, also of a body or a stream.
        exchange.head_patience = timeout;
        Ok(chosen.peer)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        Connection::expect_head(session, exchange.head_patience);
        let origin = Origin {
            provenance: &exchange.provenance,
            host: target::host(session.req_header()),
            version: session.req_header().version,
        };
        forwarding::rewrite_request(request, exchange, origin)
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
        if let Some(attempt) = exchange.attempt.as_ref().filter(|_| is_head) {
            Connection::expect_head(session, None);
            exchange.head_patience = None;
            let duration = attempt.started.elapsed();
            exchange.upstream_duration = Some(duration);
            if let Some(metrics) = exchange.installed.upstream_metrics(attempt.upstream) {
                metrics.answered(duration);
            }
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

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _: &HttpPeer,
        exchange: &mut Exchange,
        mut error: Box<Error>,
    ) -> Box<Error> {
        // Nothing was sent yet, so any method may be tried again, unless part of its body is gone.
        error.set_retry(may_try_again(exchange) && !session.as_ref().retry_buffer_truncated());
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
        // The upstream may have closed a connection just as it was used again; whether it saw the request is not known,
        // so only what may be repeated is (RFC 9110 §9.2.2).
        let repeatable = session.req_header().method.is_idempotent() && !session.as_ref().retry_buffer_truncated();
        if repeatable && may_try_again(exchange) {
            error.retry.decide_reuse(reused);
        } else {
            error.set_retry(false);
        }
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, exchange: &mut Exchange) -> FailToProxy {
        let refusal = exchange.refusal.take().or_else(|| failure::refusal_of(session, error));
        let Some(refusal) = refusal else {
            // The client went away: nobody is there to be answered.
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        };
        let status = refusal.rejection().row().status;
        if respond::final_status(session).is_some() {
            exchange.refusal = Some(refusal);
            return FailToProxy { error_code: status, can_reuse_downstream: false };
        }
        // Pingora closes after a failure; the client is told so.
        session.set_keepalive(None);
        if let Err(error) = self.refuse(session, exchange, refusal).await {
            log::debug!("the refusal could not be sent: {error}");
        }
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, exchange: &mut Exchange) {
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

/// Longest body of a request that may pass, in bytes.
fn body_bytes_max(exchange: &Exchange) -> Option<u64> {
    let ruleset = exchange.installed.gatekeeper.ruleset();
    let route = exchange.judgement.as_ref().and_then(|judgement| ruleset.routes.route(judgement.route?));
    route.map_or(ruleset.limits.body_bytes, |route| ruleset.body_bytes_max(route))
}

/// Where a request that may pass is to go, and how long the head of the response may take.
fn destination(exchange: &Exchange) -> Result<(UpstreamId, Option<Duration>)> {
    match exchange.route().map(|route| (&route.action, route.timeout)) {
        Some((Action::Forward(upstream), timeout)) => Ok((*upstream, timeout)),
        Some((Action::Respond { .. }, _)) | None => Err(Error::new(ErrorType::InternalError)),
    }
}

/// Whether the upstream allows another attempt after those that were made.
fn may_try_again(exchange: &Exchange) -> bool {
    exchange
        .attempt
        .as_ref()
        .is_some_and(|attempt| attempt.tried.len() <= exchange.installed.upstreams.retries(attempt.upstream))
}

fn malformed(fault: Fault) -> Refusal {
    Refusal::new(Rejection::RequestMalformed).because(fault.to_string())
}
