//! Tells clients what limits say of them: `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11), on
//! every response to a request that a limit judged, also on refusals of another kind.
use http::HeaderValue;
use pingora::http::ResponseHeader;
use pingora_core::Result;

use crate::edge::exchange::Exchange;

/// Writes the fields. Those of an upstream stay beside them: both are lists, and both hold.
///
/// # Errors
/// A value that no header can hold: a fault of the gateway.
pub fn write(response: &mut ResponseHeader, exchange: &Exchange) -> Result<()> {
    for (name, value) in fields(exchange).into_iter().flatten() {
        response.append_header(name, value)?;
    }
    Ok(())
}

fn fields(exchange: &Exchange) -> Option<[(&'static str, HeaderValue); 2]> {
    let limits = &exchange.route()?.rate_limits;
    let policy = limits.policy()?;
    let told = limits.told(&exchange.tally.standings)?;
    Some([("RateLimit-Policy", policy.clone()), ("RateLimit", told)])
}
