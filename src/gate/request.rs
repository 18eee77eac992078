//! One request as the gate sees it: borrowed from whoever received it, and checked for its shape before anything else.
//!
//! It never repairs a request: what can be read in two ways is refused.
use std::{fmt, net::IpAddr};

use http::{HeaderMap, HeaderValue, Version, header};

use crate::gate::{
    certificates::Presented,
    firewall::HeaderFirewall,
    host::Host,
    path::{PathFault, RequestPath},
    rejection::{Refusal, Rejection, quoted},
    route::ListenerId,
};

/// Methods named in `Allow` when a method is refused on every route.
const USUAL_METHODS: &str = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT";

/// More than any method that is registered has (RFC 9110 §16.1).
const METHOD_BYTES_MAX: usize = 64;

/// A request's head, borrowed.
#[derive(Clone, Copy)]
pub struct Request<'r> {
    /// The listener that accepted it.
    pub listener: ListenerId,
    /// The client's address, where it has one.
    pub client: Option<IpAddr>,
    /// HTTP version.
    pub version: Version,
    /// Whether it came by TLS: its scheme is `https`, else `http`.
    pub is_encrypted: bool,
    /// Method as sent.
    pub method: &'r str,
    /// Authority of an absolute target (RFC 9112 §3.2.2), or `:authority` of HTTP/2.
    pub authority: Option<&'r str>,
    /// Path part of the target as sent, without the query.
    pub path: &'r str,
    /// Query, without its `?`.
    pub query: Option<&'r str>,
    /// Header fields as sent.
    pub headers: &'r HeaderMap,
    /// Bytes of the target as sent.
    pub target_bytes: usize,
    /// The certificates that its connection could have been shown; nothing without TLS.
    pub presented: Option<Presented<'r>>,
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Query and header fields may hold a token.
        write!(formatter, "Request({:?} {:?}, {} fields)", self.method, self.path, self.headers.len())
    }
}

/// Limits on a request's head and declared body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// Longest token, in bytes.
    pub token_bytes: usize,
    /// Sum of names and values of all fields, in bytes, four more for each field's separators.
    pub header_bytes: usize,
    /// Number of header fields.
    pub headers: usize,
    /// Longest target, in bytes.
    pub uri_bytes: usize,
    /// Longest body, in bytes; a route may say otherwise.
    pub body_bytes: Option<u64>,
}

/// What a well-formed request is about.
#[derive(Clone, Debug)]
pub struct Shape<'r> {
    /// The one host it is for.
    pub host: Host<'r>,
    /// The path that is judged and forwarded.
    pub path: RequestPath<'r>,
    /// Length of the body, where it is declared.
    pub declared_length: Option<u64>,
}

impl<'r> Request<'r> {
    /// Checks the head, and reads host and path.
    ///
    /// # Errors
    /// In this order: [`Rejection::UriTooLong`], [`Rejection::HeaderTooLarge`], [`Rejection::RequestMalformed`] for
    /// method, framing, host and target, [`Rejection::MethodNotAllowed`] for TRACE and CONNECT,
    /// [`Rejection::Misdirected`],
    /// [`Rejection::PathAmbiguous`] for a broken escape, [`Rejection::HeaderForbidden`].
    pub fn shape(&self, limits: &RequestLimits, firewall: &HeaderFirewall) -> Result<Shape<'r>, Refusal> {
        let fields = Fields::of(self.headers);
        self.check_sizes(limits, fields.bytes)?;
        self.check_method()?;
        let declared_length = self.check_framing(&fields)?;
        let host = self.host(&fields.hosts)?;
        if self.presented.is_some_and(|presented| presented.is_misdirected(&host)) {
            let detail =
                format!("the connection was made for another certificate than that of {}", quoted(host.name()));
            return Err(Refusal::new(Rejection::Misdirected).because(detail));
        }
        let path = self.path()?;
        self.check_nominations(firewall)?;
        Ok(Shape { host, path, declared_length })
    }

    fn check_sizes(&self, limits: &RequestLimits, bytes: usize) -> Result<(), Refusal> {
        if self.target_bytes > limits.uri_bytes {
            return Err(Refusal::new(Rejection::UriTooLong)
                .because(format!("{} bytes, at most {}", self.target_bytes, limits.uri_bytes)));
        }
        let count = self.headers.len();
        if count > limits.headers || bytes > limits.header_bytes {
            return Err(Refusal::new(Rejection::HeaderTooLarge).because(format!("{count} fields, {bytes} bytes")));
        }
        Ok(())
    }

    fn check_method(&self) -> Result<(), Refusal> {
        match self.method {
            // RFC 9110 §9.3.8: TRACE would show a client what the gate wrote; CONNECT would open a tunnel past it.
            "TRACE" | "CONNECT" => Err(Refusal::new(Rejection::MethodNotAllowed).allowing(USUAL_METHODS)),
            // Methods are case-sensitive (RFC 9110 §9.1), but not every server behind the gate knows that.
            method if method.len() > METHOD_BYTES_MAX => Err(malformed("a method that is too long")),
            method if method.bytes().any(|byte| byte.is_ascii_lowercase()) => Err(malformed("a method in lower case")),
            _ => Ok(()),
        }
    }

    /// The declared length, where there is one way only to find the end of the body (RFC 9112 §6.3).
    fn check_framing(&self, fields: &Fields<'_>) -> Result<Option<u64>, Refusal> {
        if fields.codings.are_several || fields.lengths.are_several {
            return Err(malformed("a framing field that occurs twice"));
        }
        match (fields.codings.first, fields.lengths.first) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(malformed("both Content-Length and Transfer-Encoding")),
            (Some(_), None) if self.version < Version::HTTP_11 => Err(malformed("Transfer-Encoding in HTTP/1.0")),
            (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(None),
            (Some(_), None) => Err(malformed("a Transfer-Encoding that is not exactly chunked")),
            // Some read a leading zero as the sign of an octal number.
            (None, Some(length)) if length.len() > 1 && length.as_bytes().starts_with(b"0") => {
                Err(malformed("a Content-Length with a leading zero"))
            }
            (None, Some(length)) => match length.to_str() {
                Ok(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                    digits.parse().map(Some).map_err(|_| malformed("a Content-Length beyond 64 bits"))
                }
                Ok(_) | Err(_) => Err(malformed("a Content-Length that is not a number")),
            },
        }
    }

    /// RFC 9112 §3.2: exactly one `Host`. An absolute target names the same one: it is `Host` that is forwarded, so
    /// nothing else may be judged.
    fn host(&self, fields: &Occurrences<'r>) -> Result<Host<'r>, Refusal> {
        if fields.are_several {
            return Err(malformed("several Host fields"));
        }
        let field =
            fields.first.map(HeaderValue::to_str).transpose().map_err(|_| malformed("a Host that is not ASCII"))?;
        let parse = |text| Host::parse(text).map_err(|fault| malformed(format!("host: {fault}")));
        let host = field.map(parse).transpose()?;
        match (self.authority, host) {
            (Some(authority), Some(host)) if parse(authority)? != host => {
                Err(malformed("Host and the target's authority differ"))
            }
            (Some(authority), None) if self.version >= Version::HTTP_2 => parse(authority),
            (_, Some(host)) => Ok(host),
            (_, None) => Err(malformed("no Host")),
        }
    }

    fn path(&self) -> Result<RequestPath<'r>, Refusal> {
        RequestPath::parse(self.path).map_err(|fault| match fault {
            // RFC 9112 §3.2.4: only OPTIONS may have it.
            PathFault::NotAbsolute if self.path == "*" && self.method == "OPTIONS" => {
                Refusal::new(Rejection::RouteNotFound).because("the asterisk form names no resource")
            }
            PathFault::NotAbsolute => malformed("a target that does not begin with a slash"),
            PathFault::ForbiddenByte => malformed("a byte that no target may have"),
            PathFault::BrokenEscape => Refusal::new(Rejection::PathAmbiguous).because("a broken escape"),
        })
    }

    fn check_nominations(&self, firewall: &HeaderFirewall) -> Result<(), Refusal> {
        for value in self.headers.get_all(header::CONNECTION) {
            let value = value.to_str().map_err(|_| malformed("a Connection field that is not ASCII"))?;
            if let Some(name) = firewall.forbidden_nomination(value) {
                return Err(
                    Refusal::new(Rejection::HeaderForbidden).because(format!("Connection names {}", quoted(name)))
                );
            }
        }
        Ok(())
    }
}

/// What has to be known of all fields together, gathered in one pass: looking each name up would take longer.
#[derive(Default)]
struct Fields<'r> {
    bytes: usize,
    hosts: Occurrences<'r>,
    codings: Occurrences<'r>,
    lengths: Occurrences<'r>,
}

/// The values of a field that may occur only once.
#[derive(Default)]
struct Occurrences<'r> {
    first: Option<&'r HeaderValue>,
    are_several: bool,
}

impl<'r> Fields<'r> {
    fn of(headers: &'r HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers {
            fields.bytes += name.as_str().len() + value.len() + 4;
            match *name {
                header::HOST => fields.hosts.note(value),
                header::TRANSFER_ENCODING => fields.codings.note(value),
                header::CONTENT_LENGTH => fields.lengths.note(value),
                _ => {}
            }
        }
        fields
    }
}

impl<'r> Occurrences<'r> {
    fn note(&mut self, value: &'r HeaderValue) {
        self.are_several |= self.first.is_some();
        self.first = self.first.or(Some(value));
    }
}

fn malformed(detail: impl Into<Box<str>>) -> Refusal {
    Refusal::new(Rejection::RequestMalformed).because(detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::firewall::FirewallNames;

    const LIMITS: RequestLimits =
        RequestLimits { token_bytes: 100, header_bytes: 200, headers: 4, uri_bytes: 20, body_bytes: None };

    fn shape(version: Version, authority: Option<&str>, fields: &[(&str, &str)]) -> Result<String, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let request = Request {
            listener: ListenerId(0),
            client: None,
            version,
            is_encrypted: false,
            method: "GET",
            authority,
            path: "/",
            query: None,
            headers: &headers,
            target_bytes: 1,
            presented: None,
        };
        match request.shape(&LIMITS, &HeaderFirewall::new(FirewallNames::default())) {
            Ok(shape) => Ok(format!("{} {:?}", shape.host.name(), shape.declared_length)),
            Err(refusal) => Err(refusal.rejection().to_string()),
        }
    }

    #[track_caller]
    fn check(version: Version, authority: Option<&str>, fields: &[(&str, &str)], expected: Result<&str, &str>) {
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(shape(version, authority, fields), expected, "{version:?} {authority:?} {fields:?}");
    }

    const MALFORMED: Result<&str, &str> = Err("request_malformed");

    #[test]
    fn the_host_that_is_judged_is_the_one_that_is_forwarded() {
        let (one, two) = (Version::HTTP_11, Version::HTTP_2);
        for version in [one, two] {
            check(version, None, &[("host", "a")], Ok("a None"));
            check(version, Some("A:80"), &[("host", "a")], Ok("a None"));
            check(version, Some("b"), &[("host", "a")], MALFORMED);
            check(version, Some(""), &[("host", "a")], MALFORMED);
            check(version, Some("u@a"), &[("host", "a")], MALFORMED);
            check(version, None, &[], MALFORMED);
            check(version, Some("a"), &[("host", "a"), ("host", "a")], MALFORMED);
        }
        check(one, Some("a"), &[], MALFORMED);
        check(two, Some("a"), &[], Ok("a None"));
    }

    #[test]
    fn a_body_ends_in_one_way() {
        let host = ("host", "a");
        let version = Version::HTTP_11;
        check(version, None, &[host, ("content-length", "7")], Ok("a Some(7)"));
        check(version, None, &[host, ("content-length", "0")], Ok("a Some(0)"));
        check(version, None, &[host, ("transfer-encoding", "Chunked")], Ok("a None"));
        check(Version::HTTP_10, None, &[host, ("transfer-encoding", "chunked")], MALFORMED);
        check(version, None, &[host, ("content-length", "7"), ("transfer-encoding", "chunked")], MALFORMED);
        for length in ["", "+7", "007", "00", "7,7", "0x7", "-1", "18446744073709551616", "7 "] {
            check(version, None, &[host, ("content-length", length)], MALFORMED);
        }
        for coding in ["", "gzip, chunked", "chunked, chunked", "identity", "chunked;x"] {
            check(version, None, &[host, ("transfer-encoding", coding)], MALFORMED);
        }
    }

    #[test]
    fn a_head_is_as_large_as_is_allowed_and_no_larger() {
        let version = Version::HTTP_11;
        // 4 + 1 + 4 for the host, 1 + 186 + 4 for the other.
        check(version, None, &[("host", "a"), ("x", &"y".repeat(186))], Ok("a None"));
        check(version, None, &[("host", "a"), ("x", &"y".repeat(187))], Err("header_too_large"));
        let many = [("host", "a"), ("x", ""), ("x", ""), ("x", ""), ("x", "")];
        check(version, None, many.get(..4).unwrap(), Ok("a None"));
        check(version, None, &many, Err("header_too_large"));
    }
}
