//! Tells clients what limits say of them: `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11), on
//! every response to a request that a limit judged, also on refusals of another kind.
use http::{HeaderMap, HeaderValue};
use pingora::http::ResponseHeader;
use pingora_core::Result;

use crate::edge::exchange::Exchange;

/// Writes the fields. Those of an upstream stay beside them, since both are lists and both hold, if they are lists as the
/// draft has them: one in the words of an older draft would make the whole field unreadable.
///
/// # Errors
/// A value that no header can hold: a fault of the gateway.
pub fn write(response: &mut ResponseHeader, exchange: &Exchange) -> Result<()> {
    for (name, value) in fields(exchange).into_iter().flatten() {
        if !is_list(&response.headers, name) {
            response.remove_header(name);
        }
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

/// Whether every line begins with a name in quotes, as the items of these lists do (RFC 9651 §3.3.3).
fn is_list(headers: &HeaderMap, name: &str) -> bool {
    headers.get_all(name).iter().all(|line| line.as_bytes().trim_ascii_start().first() == Some(&b'"'))
}
