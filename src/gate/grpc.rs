//! gRPC over HTTP/2: which requests are calls, and what a refusal is to them.
//!
//! A client of gRPC looks at the status of the call, not at the response's. A refusal is a response that ends with its head,
//! in which that status stands (gRPC over HTTP/2, "Trailers-Only").
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::gate::rejection::Rejection;

/// The media type of calls; a suffix names the encoding of messages.
const MEDIA_TYPE: &[u8] = b"application/grpc";
/// Longest media type that is written back.
const ESSENCE_BYTES_MAX: usize = 64;

/// The field in which the status of a call stands.
pub const STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The field in which it is said in words.
pub const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Status codes of calls, as far as refusals have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The request is not well-formed.
    InvalidArgument = 3,
    /// It took too long.
    DeadlineExceeded = 4,
    /// The caller may not do that.
    PermissionDenied = 7,
    /// Too much, or too often.
    ResourceExhausted = 8,
    /// There is no such method.
    Unimplemented = 12,
    /// A fault of the server.
    Internal = 13,
    /// It cannot be done now.
    Unavailable = 14,
    /// Nobody knows who is calling.
    Unauthenticated = 16,
}

impl Code {
    /// What a refusal is to a call: nobody knows who is calling, the caller may not, and so on.
    pub const fn of(rejection: Rejection) -> Self {
        match rejection {
            Rejection::RequestMalformed
            | Rejection::PathAmbiguous
            | Rejection::HeaderForbidden
            | Rejection::TokenRepeated => Self::InvalidArgument,
            Rejection::UriTooLong | Rejection::HeaderTooLarge | Rejection::BodyTooLarge | Rejection::RateLimited => {
                Self::ResourceExhausted
            }
            Rejection::Misdirected
            | Rejection::KeysUnavailable
            | Rejection::RevocationsUnavailable
            | Rejection::UpstreamUnreachable
            | Rejection::UpstreamUnhealthy
            | Rejection::Overloaded => Self::Unavailable,
            Rejection::RouteNotFound | Rejection::MethodNotAllowed => Self::Unimplemented,
            Rejection::AddressDenied
            | Rejection::CsrfRejected
            | Rejection::SubjectRevoked
            | Rejection::PrincipalMismatch
            | Rejection::ScopeInsufficient
            | Rejection::RoleMissing
            | Rejection::ClaimMismatch => Self::PermissionDenied,
            Rejection::TokenMissing
            | Rejection::TokenTooLarge
            | Rejection::TokenMalformed
            | Rejection::IssuerUnknown
            | Rejection::TypeNotAllowed
            | Rejection::CriticalHeader
            | Rejection::AlgorithmNotAllowed
            | Rejection::KeyUnknown
            | Rejection::SignatureInvalid
            | Rejection::ClaimMissing
            | Rejection::ClaimInvalid
            | Rejection::TokenExpired
            | Rejection::TokenNotYetValid
            | Rejection::LifetimeExceeded
            | Rejection::AudienceMismatch
            | Rejection::TokenRevoked
            | Rejection::StepUpRequired => Self::Unauthenticated,
            Rejection::RequestTimeout | Rejection::UpstreamTimeout => Self::DeadlineExceeded,
            Rejection::Internal => Self::Internal,
        }
    }

    /// The number that is sent.
    pub const fn number(self) -> u16 {
        self as u16
    }
}

/// The media type of a call over HTTP/2, as the response to it is to say. One of gRPC-Web is none: pages read its status
/// elsewhere, and take that of HTTP (PROTOCOL-WEB, "Protocol differences").
pub fn call_type(headers: &HeaderMap) -> Option<HeaderValue> {
    let essence = essence(headers.get(header::CONTENT_TYPE)?)?;
    (essence.as_bytes().get(MEDIA_TYPE.len()) != Some(&b'-')).then_some(essence)
}

/// Whether a `Content-Type` is that of a call, gRPC-Web included.
pub fn is_content_type(value: &HeaderValue) -> bool {
    essence(value).is_some()
}

/// The media type without parameters.
fn essence(value: &HeaderValue) -> Option<HeaderValue> {
    let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let begins = essence.get(..MEDIA_TYPE.len())?.eq_ignore_ascii_case(MEDIA_TYPE);
    let suffix = essence.get(MEDIA_TYPE.len()..)?;
    let is_suffix = suffix.first().is_none_or(|first| matches!(first, b'+' | b'-'))
        && suffix.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_'));
    (begins && is_suffix && essence.len() <= ESSENCE_BYTES_MAX).then(|| HeaderValue::from_bytes(essence).ok())?
}

/// A message as `grpc-message` carries it: percent-encoded but for visible ASCII and spaces.
pub fn message(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' => encoded.push_str("%25"),
            b' '..=b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_the_code_that_clients_act_upon() {
        for (rejection, expected) in [
            (Rejection::RequestMalformed, 3),
            (Rejection::TokenRepeated, 3),
            (Rejection::TokenMissing, 16),
            (Rejection::TokenExpired, 16),
            (Rejection::StepUpRequired, 16),
            (Rejection::RoleMissing, 7),
            (Rejection::ScopeInsufficient, 7),
            (Rejection::AddressDenied, 7),
            (Rejection::RouteNotFound, 12),
            (Rejection::MethodNotAllowed, 12),
            (Rejection::RateLimited, 8),
            (Rejection::BodyTooLarge, 8),
            (Rejection::RequestTimeout, 4),
            (Rejection::UpstreamTimeout, 4),
            (Rejection::UpstreamUnreachable, 14),
            (Rejection::KeysUnavailable, 14),
            (Rejection::Overloaded, 14),
            (Rejection::Internal, 13),
        ] {
            assert_eq!(Code::of(rejection).number(), expected, "{rejection}");
        }
    }

    #[test]
    fn a_call_is_known_by_its_media_type() {
        for (value, expected) in [
            ("application/grpc", Some("application/grpc")),
            ("application/grpc+proto", Some("application/grpc+proto")),
            ("Application/GRPC+json; charset=utf-8", Some("Application/GRPC+json")),
            ("application/grpc-web-text+proto", Some("application/grpc-web-text+proto")),
            ("application/grpcx", None),
            ("application/json", None),
            ("application/grp", None),
            ("text/plain; application/grpc", None),
            ("application/grpc+\"x", None),
            ("", None),
        ] {
            let value = HeaderValue::from_static(value);
            assert_eq!(essence(&value).as_ref().and_then(|essence| essence.to_str().ok()), expected, "{value:?}");
        }
        let long = HeaderValue::from_str(&format!("application/grpc+{}", "a".repeat(100))).unwrap();
        assert!(!is_content_type(&long));
    }

    #[test]
    fn a_call_over_http_2_is_not_one_of_a_page() {
        for (value, expected) in [
            ("application/grpc", Some("application/grpc")),
            ("application/grpc+proto; a=b", Some("application/grpc+proto")),
            ("application/grpc-web", None),
            ("application/grpc-web+proto", None),
            ("application/json", None),
        ] {
            let mut headers = HeaderMap::new();
            assert_eq!(call_type(&headers), None);
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
            assert_eq!(call_type(&headers), expected.map(HeaderValue::from_static), "{value}");
        }
    }

    #[test]
    fn a_message_is_visible_ascii() {
        assert_eq!(message("100 % \u{fc}\n"), "100 %25 %C3%BC%0A");
    }
}
