//! Where one HTTP/1 message ends and the next begins, as far as Pingora leaves that to be put right (RFC 9112). It reads
//! no body, and whether a request is well-formed is for the gate to say.
use http::{Version, header};
use pingora::http::ResponseHeader;
use pingora_core::Result;
use pingora_proxy::Session;

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
