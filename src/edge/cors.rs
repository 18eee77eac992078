//! Writes what the gate grants to pages of other origins; it grants nothing itself.
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora_core::Result;
use pingora_proxy::Session;

use crate::{
    edge::{exchange::Exchange, respond},
    gate::cors::{Answer, Cors, CorsRule, Preflight, is_cors_header},
};

/// What the answer to a preflight depends on, besides the origin.
const PREFLIGHT_VARY: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";

/// The gate's own rule for the exchange's route; nothing where there is none, or where the upstream speaks for itself.
pub fn rule(exchange: &Exchange) -> Option<&CorsRule> {
    match exchange.route()?.cors.as_ref()? {
        Cors::Gate(rule) => Some(rule),
        Cors::Upstream => None,
    }
}

/// Answers a preflight where the route's rule is the gate's own; says whether it did.
///
/// What is not allowed is answered with the same status and no permission: the browser sends nothing more, and there was
/// nothing to refuse.
///
/// # Errors
/// The client went away.
pub async fn answer_preflight(session: &mut Session, exchange: &Exchange) -> Result<bool> {
    let is_preflight = exchange.judgement.as_ref().is_some_and(|judgement| judgement.is_preflight);
    let Some(rule) = rule(exchange).filter(|_| is_preflight) else { return Ok(false) };
    let mut response = ResponseHeader::build(StatusCode::NO_CONTENT, Some(8))?;
    let request = &session.req_header().headers;
    let asked = request.get(header::ACCESS_CONTROL_REQUEST_METHOD).and_then(|method| method.to_str().ok());
    for (name, value) in rule.preflight(request, Preflight { method: asked.unwrap_or_default() }) {
        response.insert_header(name, value)?;
    }
    response.insert_header(header::VARY, PREFLIGHT_VARY)?;
    respond::send_empty(session, response, exchange.identifiers.request()).await?;
    Ok(true)
}

/// Makes the fields about other origins the gate's own: those of the upstream are replaced, never doubled.
///
/// # Errors
/// A value that no header can hold: a fault of the gateway.
pub fn write(response: &mut ResponseHeader, rule: &CorsRule, request: &HeaderMap, answer: Answer) -> Result<()> {
    let leaving: Vec<HeaderName> =
        response.headers.keys().filter(|name| is_cors_header(name.as_str())).cloned().collect();
    for name in leaving {
        response.remove_header(name.as_str());
    }
    for (name, value) in rule.response(request, answer) {
        response.insert_header(name, value)?;
    }
    match rule.vary() {
        Some(value) if !varies_by(&response.headers, &value) => response.append_header(header::VARY, value).map(|_| ()),
        Some(_) | None => Ok(()),
    }
}

/// Whether `Vary` names a field, or everything (RFC 9110 §12.5.5).
fn varies_by(headers: &HeaderMap, field: &HeaderValue) -> bool {
    let values = headers.get_all(header::VARY).iter().filter_map(|value| value.to_str().ok());
    let mut names = values.flat_map(|value| value.split(',')).map(str::trim);
    names.any(|name| name == "*" || name.as_bytes().eq_ignore_ascii_case(field.as_bytes()))
}
