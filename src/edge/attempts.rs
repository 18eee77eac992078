//! The attempts to have one request answered by an upstream: which server is next, whether another attempt is made when one
//! failed, and what a server's health learns from it.
//!
//! Another attempt is made when nothing of the request can have been done: no connection was made, or the server said that it
//! did not begin (RFC 9113 §8.7). When a connection that was used before ended with the request on its way, only what may be
//! repeated is (RFC 9110 §9.2.2). No request has more attempts than its upstream allows, all requests together have not more
//! than the upstream's budget, and what of a body is gone cannot be sent again.
use std::{io::ErrorKind, sync::Arc};

use pingora::http::RequestHeader;
use pingora_core::{Error, ErrorSource, ErrorType, Result, RetryType, upstreams::peer::HttpPeer};
use pingora_proxy::Session;

use crate::{
    config::settings::HashKey,
    edge::{
        clock,
        exchange::{Attempt, Exchange},
        failure::{cause_of, is_timeout},
        guard::Connection,
        stream,
        upstream::{NoServer, RequestKey},
    },
    gate::{
        decide::Decision,
        rejection::{Refusal, Rejection},
        route::{Action, UpstreamId},
    },
};

/// The server for the next attempt, and from when on the head of its response is waited for.
///
/// # Errors
/// When there is no server; the refusal is noted in the exchange.
pub fn next_server(session: &Session, exchange: &mut Exchange) -> Result<Box<HttpPeer>> {
    let (upstream, timeout) = match exchange.route().map(|route| (&route.action, route.timeout)) {
        Some((Action::Forward(upstream), timeout)) => (*upstream, timeout),
        Some((Action::Respond { .. } | Action::AssertionKeys, _)) | None => {
            return Err(Error::new(ErrorType::InternalError));
        }
    };
    let installed = Arc::clone(&exchange.installed);
    let key = request_key(exchange, upstream);
    let tried = exchange.attempt.as_ref().map_or(&[][..], |attempt| &attempt.tried);
    let mut chosen = match installed.upstreams.choose(upstream, tried, key) {
        Ok(chosen) => chosen,
        Err(none) => {
            exchange.refusal = Some(without_server(exchange, none));
            return Err(Error::new_up(ErrorType::ConnectNoRoute));
        }
    };
    match &mut exchange.attempt {
        Some(attempt) => {
            if let Some(metrics) = installed.upstream_metrics(upstream) {
                metrics.retried();
            }
            // What was read of the body goes out anew, and is counted anew.
            exchange.body_bytes = 0;
            attempt.tried.push(chosen.target);
            attempt.server = chosen.server;
            attempt.health = chosen.health;
        }
        None => {
            installed.upstreams.requested(upstream);
            exchange.attempt = Some(Attempt {
                upstream,
                tried: vec![chosen.target],
                server: chosen.server,
                health: chosen.health,
                started: clock::monotonic(),
            });
        }
    }
    exchange.head_patience = timeout;
    if stream::is_watched(session, exchange) {
        // The read timeout of the peer is for every read, also of a stream.
        exchange.read_timeout = chosen.peer.options.read_timeout.take();
        exchange.head_patience = [timeout, exchange.read_timeout].into_iter().flatten().min();
        chosen.peer.options.read_timeout = stream::longest_read(exchange);
    }
    Ok(chosen.peer)
}

/// What a request is distributed by, where its upstream does.
fn request_key(exchange: &Exchange, upstream: UpstreamId) -> Option<RequestKey> {
    let subject = match exchange.installed.upstreams.distributes_by(upstream)? {
        HashKey::Subject => subject_key(exchange),
        HashKey::Address => None,
    };
    subject.or_else(|| exchange.provenance.client.map(RequestKey::of_address))
}

fn subject_key(exchange: &Exchange) -> Option<RequestKey> {
    let judgement = exchange.judgement.as_ref()?;
    let Decision::Pass(Some(identity)) = &judgement.decision else { return None };
    let issuer = exchange.installed.gatekeeper.ruleset().issuer(judgement.issuer?)?;
    Some(RequestKey::of_subject(&issuer.name, identity.subject()?))
}

/// What the client is told when there is no server for its request.
fn without_server(exchange: &Exchange, none: NoServer) -> Refusal {
    match none {
        NoServer::Unresolved => {
            Refusal::new(Rejection::UpstreamUnreachable).because("no address is known for any server of the upstream")
        }
        NoServer::Unhealthy { retry_after } if exchange.attempt.is_none() => {
            Refusal::new(Rejection::UpstreamUnhealthy).because("no server of the upstream is well").until(retry_after)
        }
        NoServer::Unhealthy { .. } => Refusal::new(Rejection::UpstreamUnreachable)
            .because("an attempt failed, and no server of the upstream is left"),
    }
}

/// Checks that HTTP/2 was agreed on with a server to which nothing else is to be spoken.
///
/// # Errors
/// When it was not; the refusal is noted in the exchange.
pub fn check_protocol(request: &RequestHeader, exchange: &mut Exchange) -> Result<()> {
    let Some(attempt) = &exchange.attempt else { return Ok(()) };
    let is_agreed =
        request.version == http::Version::HTTP_2 || !exchange.installed.upstreams.speaks_http2(attempt.upstream);
    if is_agreed {
        return Ok(());
    }
    exchange.refusal = Some(Refusal::new(Rejection::UpstreamUnreachable).because("the server does not speak HTTP/2"));
    Err(Error::new_up(ErrorType::H2Error))
}

/// The head of a response came.
pub fn answered(session: &Session, exchange: &mut Exchange) {
    let Some(attempt) = &exchange.attempt else { return };
    Connection::expect_head(session, exchange, None);
    exchange.head_patience = None;
    attempt.health.request_succeeded();
    let duration = attempt.started.elapsed();
    exchange.upstream_duration = Some(duration);
    if let Some(metrics) = exchange.installed.upstream_metrics(attempt.upstream) {
        metrics.answered(duration);
    }
}

/// No connection could be made; says in the error whether another attempt is to be made.
pub fn failed_to_connect(session: &Session, exchange: &Exchange, error: &mut Error) {
    // Sockets and files that this machine lacks, and a connection of HTTP/2 that ended before it was used again, say nothing
    // of the server.
    let is_of_server = !matches!(
        error.etype(),
        ErrorType::SocketError | ErrorType::BindError | ErrorType::InternalError | ErrorType::H2Error
    );
    if is_of_server && let Some(attempt) = &exchange.attempt {
        attempt.health.request_failed(&cause_of(error));
    }
    // Nothing was sent yet, so that any method may be tried again.
    error.set_retry(may_try_again(session, exchange));
}

/// An attempt failed after its connection stood; says in the error whether another attempt is to be made.
pub fn failed_on_the_way(session: &Session, exchange: &Exchange, error: &mut Error, is_reused: bool) {
    // The server said that it began nothing: of HTTP/2's errors, Pingora marks these alone.
    let is_unprocessed = *error.etype() == ErrorType::H2Error && error.retry == RetryType::Decided(true);
    let is_repeatable = is_unprocessed || is_reused && was_closed(error) && session.req_header().method.is_idempotent();
    error.set_retry(is_repeatable && may_try_again(session, exchange));
    let is_before_head = exchange.upstream_duration.is_none() && *error.esource() == ErrorSource::Upstream;
    // A connection that the server closed while nobody used it is no failure, nor is what was ended here, because a token did.
    let is_of_server = !is_unprocessed && (!is_reused || is_timeout(error)) && stream::end(session, exchange).is_none();
    let is_failure = is_before_head && is_of_server;
    if is_failure && let Some(attempt) = &exchange.attempt {
        attempt.health.request_failed(&cause_of(error));
    }
}

/// Whether a server closed a connection instead of answering.
fn was_closed(error: &Error) -> bool {
    if *error.esource() != ErrorSource::Upstream {
        return false;
    }
    // Pingora says so of what it read, not of what it wrote: then the end had come before the request went out.
    let is_gone = |kind| matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected);
    let of_writing = || error.root_cause().downcast_ref::<std::io::Error>().is_some_and(|cause| is_gone(cause.kind()));
    error.retry == RetryType::ReusedOnly || *error.etype() == ErrorType::WriteError && of_writing()
}

/// The head of the response did not come in the time that the route allows.
pub fn overdue(exchange: &Exchange) {
    if let Some(attempt) = exchange.attempt.as_ref().filter(|_| exchange.upstream_duration.is_none()) {
        attempt.health.request_failed("no head of a response in time");
    }
}

/// Whether there may be another attempt after those that were made; takes it from the upstream's budget.
fn may_try_again(session: &Session, exchange: &Exchange) -> bool {
    let upstreams = &exchange.installed.upstreams;
    exchange.attempt.as_ref().is_some_and(|attempt| {
        attempt.tried.len() <= upstreams.retries(attempt.upstream)
            && !session.as_ref().retry_buffer_truncated()
            && upstreams.may_retry(attempt.upstream)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_closed_connection_is_told_from_all_else_that_goes_wrong() {
        let of = |kind, etype| Error::because(etype, "", io::Error::from(kind));
        let reused = |mut error: Box<Error>| {
            error.retry = RetryType::ReusedOnly;
            error
        };
        for (error, expected) in [
            (reused(Error::new_up(ErrorType::ConnectionClosed)), true),
            (reused(of(ErrorKind::ConnectionReset, ErrorType::ReadError).into_up()), true),
            (of(ErrorKind::BrokenPipe, ErrorType::WriteError).into_up(), true),
            (of(ErrorKind::ConnectionReset, ErrorType::WriteError).into_up(), true),
            // As it is for a body, whose error is told within another.
            (
                Error::because(ErrorType::WriteError, "", of(ErrorKind::BrokenPipe, ErrorType::WriteError)).into_up(),
                true,
            ),
            (of(ErrorKind::TimedOut, ErrorType::WriteTimedout).into_up(), false),
            (of(ErrorKind::TimedOut, ErrorType::WriteError).into_up(), false),
            (of(ErrorKind::TimedOut, ErrorType::ReadTimedout).into_up(), false),
            (of(ErrorKind::ConnectionReset, ErrorType::ReadError).into_up(), false),
            (Error::new_up(ErrorType::InvalidHTTPHeader), false),
            (of(ErrorKind::BrokenPipe, ErrorType::WriteError).into_down(), false),
            (reused(Error::new_down(ErrorType::ConnectionClosed)), false),
        ] {
            assert_eq!(was_closed(&error), expected, "{error}");
        }
    }
}
