//! What became of a request that failed after it was let pass: Pingora's error, and what the connection knows of it, become
//! a refusal.
use pingora_core::{Error, ErrorSource, ErrorType};
use pingora_proxy::Session;

use crate::{
    edge::{guard::Connection, respond, stream},
    gate::rejection::{Refusal, Rejection},
};

/// What a failure is to the client; nothing when it was the client that went away, or
/// only the end of a stream.
pub fn refusal_of(session: &Session, error: &Error) -> Option<Refusal> {
    if stream::was_ended(session) {
        return stream::refusal_of(session, respond::final_status(session).is_some());
    }
    if Connection::is_head_overdue(session) {
        return Some(Refusal::new(Rejection::UpstreamTimeout).because("no head of a response in time"));
    }
    if Connection::is_stalled(session) {
        return Some(
            Refusal::new(Rejection::RequestTimeout).because("the client took nothing of the response in time"),
        );
    }
    let detail = error.etype().as_str().to_owned();
    let timed_out = matches!(
        error.etype(),
        ErrorType::ConnectTimedout
            | ErrorType::ReadTimedout
            | ErrorType::WriteTimedout
            | ErrorType::TLSHandshakeTimedout
    );
    let rejection = match error.esource() {
        ErrorSource::Upstream if timed_out => Rejection::UpstreamTimeout,
        ErrorSource::Upstream => Rejection::UpstreamUnreachable,
        ErrorSource::Downstream if timed_out => Rejection::RequestTimeout,
        ErrorSource::Downstream
            if matches!(error.etype(), ErrorType::ReadError | ErrorType::WriteError | ErrorType::ConnectionClosed) =>
        {
            return None;
        }
        ErrorSource::Downstream => Rejection::RequestMalformed,
        ErrorSource::Internal | ErrorSource::Unset => Rejection::Internal,
    };
    Some(Refusal::new(rejection).because(detail))
}
