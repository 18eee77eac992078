//! `POST /revocations` and `DELETE /revocations/ID`: the instance's own entries. Each change is on disk before it is
//! answered, and logged with who made it.
use std::time::Duration;

use http::{HeaderValue, Response, header};
use pingora_core::protocols::http::ServerSession;
use serde_json::json;

use crate::{
    config::revocation_entry::RevocationEntry,
    edge::{
        admin::{AdminApp, json as answer, text},
        revocations::{ChangeError, OWN, view_of},
    },
    gate::rejection::{Rejection, quoted},
};

/// The longest body: an entry of the longest texts, escaped.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// How long a body may take.
pub(super) const BODY_PATIENCE: Duration = Duration::from_secs(5);

impl AdminApp {
    /// Puts an entry in force.
    pub(super) async fn revoke(&self, session: &mut ServerSession, who: &str) -> Response<Vec<u8>> {
        let body = match tokio::time::timeout(BODY_PATIENCE, body(session)).await {
            Ok(Ok(body)) => body,
            Ok(Err(rejection)) => return told(rejection, "The body is longer than it may be, or broke off"),
            Err(_) => return told(Rejection::RequestTimeout, "The body did not come in time"),
        };
        let entry = RevocationEntry::from_json(&body).and_then(|entry| entry.revocation());
        let entry = match entry {
            Ok(entry) => entry,
            Err(fault) => {
                log::warn!("admin: {who} asked for a revocation that is none: {fault}");
                return told(Rejection::RequestMalformed, &format!("This is no revocation: {fault}"));
            }
        };
        let keeper = &self.shared.revocations;
        let shown = keeper.shown(&entry);
        match keeper.add(entry.clone()).await {
            Err(error) => {
                log::warn!("admin: {who} asked for the revocation {shown}: {error}");
                refused(&error)
            }
            Ok((id, is_new)) => {
                let news = if is_new { "" } else { ", which was in force already" };
                log::info!("admin: {who} made the revocation {shown}{news}");
                let mut made = answer(if is_new { 201 } else { 200 }, &view_of(&entry, OWN));
                if let Ok(location) = HeaderValue::from_str(&format!("/revocations/{id}")) {
                    made.headers_mut().insert(header::LOCATION, location);
                }
                made
            }
        }
    }

    /// Takes an entry back.
    pub(super) async fn unrevoke(&self, id: &str, who: &str) -> Response<Vec<u8>> {
        let keeper = &self.shared.revocations;
        match keeper.remove(id).await {
            Err(error) => {
                log::warn!("admin: {who} asked for the revocation {} to be taken back: {error}", quoted(id));
                refused(&error)
            }
            Ok(entry) => {
                log::info!("admin: {who} took back the revocation {}", keeper.shown(&entry));
                answer(200, &json!({ "id": id, "result": "removed" }))
            }
        }
    }
}

/// The body, whole and bounded.
pub(super) async fn body(session: &mut ServerSession) -> Result<Vec<u8>, Rejection> {
    let mut body = Vec::new();
    loop {
        match session.read_request_body().await {
            Ok(Some(part)) if body.len().saturating_add(part.len()) > BODY_BYTES_MAX => {
                return Err(Rejection::BodyTooLarge);
            }
            Ok(Some(part)) => body.extend_from_slice(&part),
            Ok(None) => return Ok(body),
            Err(_) => return Err(Rejection::RequestMalformed),
        }
    }
}

fn refused(error: &ChangeError) -> Response<Vec<u8>> {
    let rejection = match error {
        ChangeError::NotKept(_) | ChangeError::Full => Rejection::KeysUnavailable,
        ChangeError::UnknownIssuer(_) | ChangeError::Ended => Rejection::RequestMalformed,
        ChangeError::NotFound => Rejection::RouteNotFound,
        ChangeError::InOperatorsList(_) => Rejection::MethodNotAllowed,
    };
    told(rejection, &error.to_string())
}

/// An answer with the status of a rejection and words of its own.
pub(super) fn told(rejection: Rejection, what: &str) -> Response<Vec<u8>> {
    text(rejection.row().status, &format!("{what}\n"))
}
