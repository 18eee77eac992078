//! Where one HTTP/1 message ends and the next begins, as far as Pingora leaves that to be put right (RFC 9112). It reads
//! no body, and whether a request is well-formed is for the gate to say.
use http::{HeaderValue, Method, StatusCode, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::Result;
use pingora_proxy::Session;

use crate::gate::websocket_protocol::{is_asked_for, is_websocket};

/// Keeps the connection after the request, if it is kept at all, without a limit of Pingora's: how long is for the guard to
/// say, which tells a connection without request from a request that comes slowly.
pub fn keep_connection(session: &mut Session) {
    // Pingora has decided that: by what the client wants, by its version (§9.3), and because of ambiguous framing (§6.1).
    // To set a time would overrule it, but for `Connection: close`.
    if session.get_keepalive().is_some() {
        session.set_keepalive(Some(0));
    }
}

/// Gives back the `Content-Length` that Pingora removed from a request with a `Transfer-Encoding`, so that the gate sees
/// both and refuses the request: one that is read in two ways may be two requests to somebody else (§6.3).
///
/// # Errors
/// Never: the field is a constant.
pub fn restore_content_length(session: &mut Session) -> Result<()> {
    if !session.req_header().headers.contains_key(header::TRANSFER_ENCODING) {
        return Ok(());
    }
    let Some(raw) = session.as_downstream().as_http1().map(|session| session.get_headers_raw_bytes()) else {
        return Ok(());
    };
    let is_length = |line: &[u8]| {
        line.split(|byte| *byte == b':')
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case(header::CONTENT_LENGTH.as_str().as_bytes()))
    };
    if raw.split(|byte| *byte == b'\n').any(is_length) {
        session.req_header_mut().insert_header(header::CONTENT_LENGTH, 0)?;
    }
    Ok(())
}

/// Spares a client of HTTP/1.0 the responses that it does not know: those before the final one (RFC 9110 §15.2).
pub fn spare_interim_responses(session: &mut Session) {
    if session.req_header().version < Version::HTTP_11 {
        session.set_ignore_info_resp(true);
    }
}

/// Says the response in our own version (RFC 9112 §2.3), and to a client of HTTP/1.0 without chunks, which it does not know
/// (§6.1): the body then ends with the connection.
pub fn fit_to_client(session: &mut Session, response: &mut ResponseHeader) {
    response.set_version(Version::HTTP_11);
    if session.req_header().version < Version::HTTP_11 && response.remove_header(&header::TRANSFER_ENCODING).is_some() {
        session.set_keepalive(None);
    }
}

/// Looks at the end of a response, as the upstream tells it, and at a switch to another protocol. What Pingora passes on as
/// it came, a client could read otherwise than Pingora did; then the next response on its connection would be another's.
///
/// Equal lengths become one (RFC 9110 §8.6).
///
/// # Errors
/// One line that says what is wrong with it.
pub fn check_response(request: &RequestHeader, response: &mut ResponseHeader) -> Result<(), &'static str> {
    if response.status == StatusCode::SWITCHING_PROTOCOLS {
        return if is_the_switch_asked_for(request, response) {
            Ok(())
        } else {
            Err("it switched to a protocol that nobody asked for")
        };
    }
    if response.status.is_informational() || response.status == StatusCode::NO_CONTENT {
        // RFC 9112 §6.1, RFC 9110 §8.6: such a response ends with its head.
        response.remove_header(&header::TRANSFER_ENCODING);
        response.remove_header(&header::CONTENT_LENGTH);
        return Ok(());
    }
    let mut codings = response.headers.get_all(header::TRANSFER_ENCODING).iter();
    if codings.next().is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
        || codings.next().is_some()
    {
        return Err("a Transfer-Encoding that is not exactly chunked");
    }
    let lengths = || response.headers.get_all(header::CONTENT_LENGTH).iter();
    if lengths().nth(1).is_none() && lengths().all(is_number) {
        return Ok(());
    }
    let length = the_one_length(lengths()).ok_or("a Content-Length that is not one number")?;
    response.insert_header(header::CONTENT_LENGTH, length).map_err(|_| "a Content-Length that is not one number")
}

/// Says to a server of HTTP/2 that trailers are welcome, where the client did: Pingora removes that as what is about one
/// connection (RFC 9110 §7.6.1), and passes the trailers on. Servers of gRPC refuse calls without it.
///
/// # Errors
/// None that can be.
pub fn welcome_trailers(client: &RequestHeader, request: &mut RequestHeader) -> Result<()> {
    let welcomes = |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"trailers");
    let is_http2 = client.version == Version::HTTP_2 && request.version == Version::HTTP_2;
    if is_http2 && client.headers.get_all(header::TE).iter().any(welcomes) {
        request.insert_header(header::TE, "trailers")?;
    }
    Ok(())
}

/// RFC 9110 §7.8: to what the client asked for, and that is the one protocol that is ever passed on.
fn is_the_switch_asked_for(request: &RequestHeader, response: &ResponseHeader) -> bool {
    let mut chosen = response.headers.get_all(header::UPGRADE).iter();
    request.method == Method::GET
        && request.version == Version::HTTP_11
        && is_asked_for(&request.headers)
        && chosen.next().is_some_and(is_websocket)
        && chosen.next().is_none()
}

fn is_number(value: &HeaderValue) -> bool {
    !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit)
}

/// The number that all of a list of lengths are; nothing when they differ or are none.
fn the_one_length<'v>(values: impl Iterator<Item = &'v HeaderValue>) -> Option<u64> {
    let mut one = None;
    for value in values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')) {
        let digits = value.trim_ascii();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let length: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        if one.replace(length).is_some_and(|other| other != length) {
            return None;
        }
    }
    one
}
