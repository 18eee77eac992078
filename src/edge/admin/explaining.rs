//! `POST /explain`: what becomes of one request, with what is in force. It reads a token and changes nothing; neither the
//! token nor who asked is logged.
use std::sync::Arc;

use http::Response;
use pingora_core::protocols::http::ServerSession;

use crate::{
    edge::{
        admin::{
            AdminApp, denied, json as answer, refusal,
            revoking::{BODY_PATIENCE, body, told},
        },
        clock,
        explain::{Question, explain_running},
    },
    gate::rejection::Rejection,
};

/// Where it is asked.
pub(super) const PATH: &str = "/explain";

impl AdminApp {
    /// Explains a request.
    pub(super) async fn explain(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        if let Err(denial) = self.access.may_explain(session) {
            return denied(denial);
        }
        let body = match tokio::time::timeout(BODY_PATIENCE, body(session)).await {
            Ok(Ok(body)) => body,
            Ok(Err(rejection)) => return told(rejection, "The body is longer than it may be, or broke off"),
            Err(_) => return told(Rejection::RequestTimeout, "The body did not come in time"),
        };
        let shared = Arc::clone(&self.shared);
        // A key that stands in for an issuer's may take long to make.
        let explained = tokio::task::spawn_blocking(move || {
            let question = Question::from_json(&body, clock::unix_time())?;
            explain_running(&shared, &question)
        });
        match explained.await {
            Ok(Ok(explanation)) => match serde_json::to_value(&explanation) {
                Ok(shown) => answer(200, &shown),
                Err(_) => refusal(Rejection::Internal),
            },
            Ok(Err(fault)) => told(Rejection::RequestMalformed, &format!("This cannot be explained: {fault}")),
            Err(_) => refusal(Rejection::Internal),
        }
    }
}
