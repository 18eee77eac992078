//! Authority and path of a request target. They are told apart by Pingora's own classifier, so that no two parsers can
//! disagree about one target; what they mean is for the gate to say.
use std::net::IpAddr;

use pingora::http::{
    RequestHeader,
    authority::{RawTargetAuthority, raw_target_authority},
};

use crate::gate::{certificates::Presented, request::Request, route::ListenerId};

/// The authority, where the target names one, and the path.
///
/// A target in neither origin nor absolute form (RFC 9112 §3.2) is a path as a whole, which the gate refuses: Pingora
/// calls it `/`, and would forward it as it was sent. So is one of another scheme, which is for a proxy and not for a
/// server of HTTP (RFC 9110 §7.4).
pub fn authority_and_path(header: &RequestHeader) -> (Option<&str>, &str) {
    let target = header.raw_path();
    match raw_target_authority(target) {
        RawTargetAuthority::Absolute { scheme, authority, .. } if is_http(scheme) => {
            (Some(std::str::from_utf8(authority).unwrap_or_default()), header.uri.path())
        }
        RawTargetAuthority::None if target.starts_with(b"/") => {
            (header.uri.authority().map(|authority| authority.as_str()), header.uri.path())
        }
        RawTargetAuthority::Absolute { .. } | RawTargetAuthority::None | RawTargetAuthority::AmbiguousAuthority => {
            (None, std::str::from_utf8(target).unwrap_or_default())
        }
    }
}

/// The request whose head this is, as the gate sees it.
pub fn request_of<'s>(
    header: &'s RequestHeader,
    (listener, client, is_encrypted): (ListenerId, Option<IpAddr>, bool),
    presented: Option<Presented<'s>>,
) -> Request<'s> {
    let (authority, path) = authority_and_path(header);
    Request {
        listener,
        client,
        version: header.version,
        is_encrypted,
        method: header.method.as_str(),
        authority,
        path,
        query: header.uri.query(),
        headers: &header.headers,
        target_bytes: header.raw_path().len(),
        presented,
    }
}

/// The host that a request is for, as it was sent: of HTTP/2 it is the authority of the target.
pub fn host(header: &RequestHeader) -> Option<&str> {
    match header.headers.get(http::header::HOST) {
        Some(host) => host.to_str().ok(),
        None => header.uri.authority().map(|authority| authority.as_str()),
    }
}

fn is_http(scheme: &[u8]) -> bool {
    scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https")
}
