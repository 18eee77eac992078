//! What became of a request that failed after it was let pass: Pingora's error, and what the connection knows of it, become
//! a refusal.
use pingora_core::{Error, ErrorSource, ErrorType};
use pingora_proxy::Session;

use crate::{
    edge::{exchange::Exchange, guard::Connection, respond, stream},
    gate::{
        grpc::Code,
        rejection::{Refusal, Rejection},
    },
};

/// What a failure is to the client; nothing when it was the client that went away, or
/// only the end of a stream.
pub fn refusal_of(session: &Session, exchange: &Exchange, error: &Error) -> Option<Refusal> {
    if stream::end(session, exchange).is_some() {
        return stream::refusal_of(session, exchange, respond::final_status(session).is_some());
    }
    if Connection::is_head_overdue(session, exchange) {
        return Some(Refusal::new(Rejection::UpstreamTimeout).because("no head of a response in time"));
    }
    if Connection::is_stalled(session) {
        return Some(
            Refusal::new(Rejection::RequestTimeout).because("the client took nothing of the response in time"),
        );
    }
    let is_upstream = *error.esource() == ErrorSource::Upstream;
    let detail = if is_upstream { cause_of(error) } else { error.etype().as_str().to_owned() };
    let timed_out = is_timeout(error);
    let rejection = match error.esource() {
        ErrorSource::Upstream if timed_out => Rejection::UpstreamTimeout,
        ErrorSource::Upstream => Rejection::UpstreamUnreachable,
        ErrorSource::Downstream if timed_out => Rejection::RequestTimeout,
        ErrorSource::Downstream
            // The last is what Pingora makes of a stream that its client took back.
            if matches!(
                error.etype(),
                ErrorType::ReadError | ErrorType::WriteError | ErrorType::ConnectionClosed | ErrorType::H2Error
            ) =>
        {
            return None;
        }
        ErrorSource::Downstream => Rejection::RequestMalformed,
        ErrorSource::Internal | ErrorSource::Unset => Rejection::Internal,
    };
    Some(Refusal::new(rejection).because(detail))
}

/// What a failure is to a call of gRPC whose response has begun; nothing when it was the client that went away.
pub fn call_status(session: &Session, exchange: &Exchange, refusal: Option<&Refusal>) -> Option<(Code, &'static str)> {
    let of_rejection = |rejection: Rejection| (Code::of(rejection), rejection.row().title);
    match stream::end(session, exchange) {
        Some(end) => Some(end.rejection().map_or((Code::Unavailable, end.detail()), of_rejection)),
        None => refusal.map(|refusal| of_rejection(refusal.rejection())),
    }
}

/// Whether something was waited for in vain.
pub fn is_timeout(error: &Error) -> bool {
    matches!(
        error.etype(),
        ErrorType::ConnectTimedout
            | ErrorType::ReadTimedout
            | ErrorType::WriteTimedout
            | ErrorType::TLSHandshakeTimedout
    )
}

/// Characters of an error's cause that are told.
const CAUSE_MAX: usize = 240;

/// What went wrong with an upstream, in one line for the log: what kind of error it is, and what caused it. It tells what
/// libraries say of connections and certificates, which may quote the server and never the client.
pub fn cause_of(error: &Error) -> String {
    let kind = error.etype().as_str();
    let context = error.context.as_ref().map(|context| context.as_str());
    let cause = match (error.etype(), &error.cause) {
        // What TLS says of a certificate is in the context.
        (ErrorType::TLSHandshakeFailure, _) | (ErrorType::InvalidCert | ErrorType::H2Error, None) => {
            context.map(str::to_owned)
        }
        (_, None) => None,
        (_, Some(cause)) => Some(match cause.downcast_ref::<Box<Error>>() {
            // One in another of its kind: said once.
            Some(inner) if inner.etype() == error.etype() => return cause_of(inner),
            Some(inner) => cause_of(inner),
            None => cause.to_string(),
        }),
    };
    let Some(cause) = cause else { return kind.to_owned() };
    let plain = |letter: char| if (' '..='~').contains(&letter) { letter } else { '?' };
    format!("{kind}: {}", cause.chars().take(CAUSE_MAX).map(plain).collect::<String>())
}
