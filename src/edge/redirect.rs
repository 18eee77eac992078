//! Where a listener with `redirect` sends requests. 308 for every method: it is for good, and the method stays what it was
//! (RFC 9110 §15.4.9), while with 301 clients turn POST into GET.
use http::{StatusCode, header};
use pingora::http::ResponseHeader;
use pingora_core::Result;

use crate::gate::request::{Request, Shape};

/// The port that a URL of https need not name (RFC 9110 §4.2.2).
const HTTPS_PORT: u16 = 443;

/// The URL of the same host and path by https.
pub fn location(request: &Request<'_>, shape: &Shape<'_>, port: u16) -> String {
    let mut location = format!("https://{}", shape.host.name());
    if port != HTTPS_PORT {
        location.push_str(&format!(":{port}"));
    }
    location.push_str(shape.path.as_str());
    if let Some(query) = request.query {
        location.push('?');
        location.push_str(query);
    }
    location
}

/// The answer that says so.
///
/// # Errors
/// A location that no header can hold: of a request that is well-formed there is none.
pub fn response(location: &str) -> Result<ResponseHeader> {
    let mut response = ResponseHeader::build(StatusCode::PERMANENT_REDIRECT, Some(4))?;
    response.insert_header(header::LOCATION, location)?;
    Ok(response)
}
