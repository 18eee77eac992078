//! A refusal becomes a response. What it says comes from the table in `gate::rejection` alone.
//!
//! It never shows a claim, a key, a token or a library's message.
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use pingora_core::{
    Result,
    protocols::http::{HttpTask, date::get_cached_date},
};
use pingora_proxy::Session;

use crate::{
    edge::{cors, exchange::Exchange, rate_limits},
    gate::{
        cors::{Answer, CorsRule},
        decide::Ruleset,
        grpc::{self, Code},
        rejection::{Challenge, Refusal, Rejection},
    },
};
use pingora::http::{RequestHeader, ResponseHeader};

/// Namespace of the `type` of problem details (RFC 9457 §3.1.1, §4.1): names, not locations.
const PROBLEM_TYPE: &str = "urn:portcullis:problem:";
/// Media type of problem details.
const PROBLEM_JSON: &str = "application/problem+json";

/// The status of the final response, once its head was sent: those of interim responses, but for the switch to another
/// protocol, announce one (RFC 9110 §15.2).
pub fn final_status(session: &Session) -> Option<StatusCode> {
    let status = session.response_written()?.status;
    (!status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS).then_some(status)
}

/// Answers a request with a refusal, a call of gRPC with a status that it understands, which pages of other origins may read where the route says so. The connection stays
/// open where the request had no body.
///
/// # Errors
/// The client went away.
pub async fn refuse(session: &mut Session, refusal: &Refusal, ruleset: &Ruleset, exchange: &Exchange) -> Result<()> {
    let (rejection, request_id) = (refusal.rejection(), exchange.identifiers.request());
    let call = call_type(session.req_header());
    let mut response = match &call {
        Some(media_type) => call_status(rejection, media_type)?,
        None => ResponseHeader::build(rejection.row().status, Some(8))?,
    };
    response.insert_header(header::CACHE_CONTROL, "no-store")?;
    if let Some(challenge) = challenge(refusal, &ruleset.realm, ruleset.resource_metadata.as_deref()) {
        response.insert_header(header::WWW_AUTHENTICATE, challenge)?;
    }
    if let Some(methods) = refusal.allow() {
        response.insert_header(header::ALLOW, methods)?;
    }
    if let Some(seconds) = refusal.retry_after() {
        response.insert_header(header::RETRY_AFTER, seconds)?;
    }
    rate_limits::write(&mut response, exchange)?;
    write_cors(session, &mut response, cors::rule(exchange), Answer::Refusal)?;
    if call.is_some() {
        response.insert_header("X-Request-Id", request_id)?;
        session.write_response_tasks(vec![HttpTask::Header(Box::new(response), true)]).await?;
        return Ok(());
    }
    response.insert_header(header::CONTENT_TYPE, PROBLEM_JSON)?;
    send(session, response, problem(rejection, request_id).into(), request_id).await
}

/// Whether a request is a call of gRPC, whose client looks for its status and not for that of HTTP.
pub fn is_call(request: &RequestHeader) -> bool {
    call_type(request).is_some()
}

fn call_type(request: &RequestHeader) -> Option<HeaderValue> {
    // Calls are POST and nothing else (gRPC over HTTP/2, "Requests").
    let is_possible = request.version == Version::HTTP_2 && request.method == http::Method::POST;
    is_possible.then(|| grpc::call_type(&request.headers))?
}

/// The head that is the whole answer to a call (gRPC over HTTP/2, "Trailers-Only").
fn call_status(rejection: Rejection, media_type: &HeaderValue) -> Result<ResponseHeader> {
    let mut response = ResponseHeader::build(StatusCode::OK, Some(8))?;
    response.insert_header(header::CONTENT_TYPE, media_type.clone())?;
    response.insert_header(grpc::STATUS, Code::of(rejection).number())?;
    response.insert_header(grpc::MESSAGE, grpc::message(rejection.row().title))?;
    Ok(response)
}

/// Ends a call whose response has begun: with a status in its trailers, so that its client does not have to guess from a
/// stream that was reset. Says whether it is one.
///
/// # Errors
/// The client went away.
pub async fn end_call(session: &mut Session, code: Code, text: &str) -> Result<bool> {
    let is_answered = session.response_written().is_some_and(|response| grpc::call_type(&response.headers).is_some());
    if !is_answered || !is_call(session.req_header()) {
        return Ok(false);
    }
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert(grpc::STATUS, code.number().into());
    if let Ok(message) = HeaderValue::from_str(&grpc::message(text)) {
        trailers.insert(grpc::MESSAGE, message);
    }
    session.write_response_tasks(vec![HttpTask::Trailer(Some(Box::new(trailers)))]).await?;
    Ok(true)
}

/// A refusal as a whole message of HTTP/1.1, for connections on which nothing else is written any more: Pingora has no
/// session there that could say it.
pub fn whole(refusal: &Refusal, request_id: &str) -> Vec<u8> {
    let rejection = refusal.rejection();
    let (status, body) = (rejection.row().status, problem(rejection, request_id));
    let phrase = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default();
    let pause = refusal.retry_after().map(|seconds| format!("Retry-After: {seconds}\r\n")).unwrap_or_default();
    let date = get_cached_date();
    format!(
        "HTTP/1.1 {status} {phrase}\r\nDate: {date}\r\nContent-Type: {PROBLEM_JSON}\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\n{pause}X-Request-Id: {request_id}\r\nConnection: close\r\n\r\n{body}",
        date = date.to_str().unwrap_or_default(),
        length = body.len(),
    )
    .into_bytes()
}

/// The head of an answer with a fixed status, and text where it has some.
///
/// # Errors
/// The status is none.
pub fn fixed(status: u16, text: Option<&str>) -> Result<ResponseHeader> {
    let mut response = ResponseHeader::build(status, Some(4))?;
    if text.is_some() {
        response.insert_header(header::CONTENT_TYPE, "text/plain; charset=utf-8")?;
    }
    Ok(response)
}

/// Answers a request with a head that was made for it, and a text.
///
/// # Errors
/// The client went away.
pub async fn answer(
    session: &mut Session,
    response: ResponseHeader,
    text: Option<&str>,
    request_id: &str,
) -> Result<()> {
    send(session, response, Bytes::copy_from_slice(text.unwrap_or_default().as_bytes()), request_id).await
}

/// Answers a request with a head alone.
///
/// # Errors
/// The client went away.
pub async fn send_empty(session: &mut Session, response: ResponseHeader, request_id: &str) -> Result<()> {
    send(session, response, Bytes::new(), request_id).await
}

fn write_cors(session: &Session, response: &mut ResponseHeader, cors: Option<&CorsRule>, answer: Answer) -> Result<()> {
    cors.map_or(Ok(()), |rule| cors::write(response, rule, &session.req_header().headers, answer))
}

async fn send(session: &mut Session, mut response: ResponseHeader, body: Bytes, request_id: &str) -> Result<()> {
    response.insert_header("X-Request-Id", request_id)?;
    // RFC 9110 §8.6: no length where there can be no content; for HEAD the length that GET would have.
    let is_bodyless = response.status.is_informational() || matches!(response.status.as_u16(), 204 | 304);
    if !is_bodyless {
        response.insert_header(header::CONTENT_LENGTH, body.len())?;
    }
    let has_body = !is_bodyless && !body.is_empty() && session.req_header().method != http::Method::HEAD;
    session.write_response_header(Box::new(response), !has_body).await?;
    if has_body {
        session.write_response_body(Some(body), true).await?;
    }
    Ok(())
}

/// The body: problem details (RFC 9457). Every part is from the table or made here, so nothing needs escaping.
fn problem(rejection: Rejection, request_id: &str) -> String {
    let row = rejection.row();
    format!(
        "{{\"type\":\"{PROBLEM_TYPE}{label}\",\"title\":\"{title}\",\"status\":{status},\"reason\":\"{label}\",\
         \"request_id\":\"{request_id}\"}}\n",
        label = row.label,
        title = row.title,
        status = row.status,
    )
}

/// The challenge (RFC 6750 §3): always with a realm, so that it is never a bare scheme.
fn challenge(refusal: &Refusal, realm: &str, resource_metadata: Option<&str>) -> Option<String> {
    let row = refusal.rejection().row();
    let mut challenge = format!("Bearer realm=\"{realm}\"");
    match row.challenge {
        Challenge::Silent => return None,
        Challenge::Invite => {}
        Challenge::Error(code) => {
            challenge.push_str(&format!(", error=\"{code}\", error_description=\"{}\"", row.title));
            if let Some(scopes) = refusal.scopes() {
                challenge.push_str(&format!(", scope=\"{scopes}\""));
            }
            if let Some(parameters) = refusal.step_up() {
                challenge.push_str(&format!(", {parameters}"));
            }
        }
    }
    if let Some(url) = resource_metadata {
        // RFC 9728 §5.1. A URL has neither quotes nor backslashes.
        challenge.push_str(&format!(", resource_metadata=\"{url}\""));
    }
    Some(challenge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_json_and_says_what_the_table_says() {
        for rejection in Rejection::ALL {
            let value: serde_json::Value = serde_json::from_str(&problem(*rejection, "id")).unwrap();
            assert_eq!(value["reason"], rejection.label());
            assert_eq!(value["status"], rejection.row().status);
            assert_eq!(value["title"], rejection.row().title);
            assert_eq!(value["request_id"], "id");
        }
    }

    #[test]
    fn challenges_are_as_rfc_6750_has_them() {
        for (refusal, expected) in [
            (Refusal::new(Rejection::TokenMissing), Some(r#"Bearer realm="api""#)),
            (
                Refusal::new(Rejection::TokenExpired),
                Some(r#"Bearer realm="api", error="invalid_token", error_description="The token has expired""#),
            ),
            (
                Refusal::new(Rejection::ScopeInsufficient).wanting_scopes("a b"),
                Some(
                    r#"Bearer realm="api", error="insufficient_scope", error_description="The token does not grant the required scope", scope="a b""#,
                ),
            ),
            (
                Refusal::new(Rejection::StepUpRequired).wanting_step_up(r#"acr_values="gold", max_age="60""#),
                Some(
                    r#"Bearer realm="api", error="insufficient_user_authentication", error_description="A stronger or more recent authentication is required", acr_values="gold", max_age="60""#,
                ),
            ),
            (Refusal::new(Rejection::RoleMissing), None),
            (Refusal::new(Rejection::KeysUnavailable), None),
        ] {
            assert_eq!(challenge(&refusal, "api", None).as_deref(), expected);
        }
    }
}
