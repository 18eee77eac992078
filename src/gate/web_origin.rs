//! Web origins (RFC 6454) in the one spelling that browsers send: scheme, host and port, lower case, without the scheme's
//! own port.
//!
//! It never repairs: an origin in another spelling is none, so that comparing bytes is comparing origins.
use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::gate::host::Host;

/// An origin as browsers send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebOrigin<'t> {
    text: &'t str,
    scheme: &'t str,
    host: &'t str,
    port: Option<u16>,
}

/// Why a text is no origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginFault {
    /// No `scheme://` in lower case at its start.
    Scheme,
    /// A host that no URL has, or userinfo before it.
    Host(&'static str),
    /// Something after host and port, perhaps a final slash alone.
    Path,
    /// A host in another spelling than browsers send: capitals, a final dot, an IPv6 address that could be shorter.
    Spelling,
    /// A port that is no number, is written with zeros in front, or is the scheme's own.
    Port,
}

impl fmt::Display for OriginFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme => formatter.write_str("it begins with a scheme in lower case and `://`"),
            Self::Host(fault) => write!(formatter, "{fault}"),
            Self::Path => formatter.write_str("it ends after host and port, without a slash"),
            Self::Spelling => formatter.write_str("browsers send hosts in lower case, without a final dot"),
            Self::Port => {
                formatter.write_str("browsers leave out the scheme's own port, and send others as plain numbers")
            }
        }
    }
}

impl<'t> WebOrigin<'t> {
    /// Reads an origin. `null`, which every sandboxed page sends, is none.
    ///
    /// # Errors
    /// What is wrong with it first.
    pub fn parse(text: &'t str) -> Result<Self, OriginFault> {
        let (scheme, authority) = text.split_once("://").ok_or(OriginFault::Scheme)?;
        let is_scheme_byte = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
        if !scheme.bytes().all(is_scheme_byte) || !scheme.starts_with(|first: char| first.is_ascii_lowercase()) {
            return Err(OriginFault::Scheme);
        }
        if authority.bytes().any(|byte| matches!(byte, b'/' | b'?' | b'#' | b'\\')) {
            return Err(OriginFault::Path);
        }
        let read = Host::parse(authority).map_err(OriginFault::Host)?;
        let (host, port) = host_and_port(authority);
        if read.name() != host {
            return Err(OriginFault::Spelling);
        }
        let port = match port {
            None => None,
            Some(digits) if digits.starts_with('0') && digits != "0" => return Err(OriginFault::Port),
            Some(digits) => Some(digits.parse::<u16>().map_err(|_| OriginFault::Port)?),
        };
        if port.is_some() && port == scheme_port(scheme) {
            return Err(OriginFault::Port);
        }
        Ok(Self { text, scheme, host, port })
    }

    /// The origin as it was read.
    pub const fn as_str(&self) -> &'t str {
        self.text
    }

    /// Whether whoever is on the way may change its pages: plain HTTP to another machine.
    pub fn is_unprotected(&self) -> bool {
        let is_loopback = self.host == "localhost"
            || self.host.ends_with(".localhost")
            || self.host == "[::1]"
            || self.host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback());
        self.scheme == "http" && !is_loopback
    }

    /// Whether it is the origin of a request to `authority`, a host and perhaps a port, that came by TLS or not.
    pub fn is_of(&self, authority: &str, is_encrypted: bool) -> bool {
        let scheme = if is_encrypted { "https" } else { "http" };
        let (_, port) = host_and_port(authority);
        let port = match port {
            None | Some("") => scheme_port(scheme),
            Some(digits) => digits.parse().ok(),
        };
        let has_host = || Host::parse(authority).is_ok_and(|host| host.name() == self.host);
        self.scheme == scheme && port.is_some() && self.port.or_else(|| scheme_port(self.scheme)) == port && has_host()
    }
}

/// What a request says in a field that browsers send once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stated<'r> {
    /// Nothing.
    Nothing,
    /// This, once.
    Once(&'r str),
    /// It is there several times, or is no visible ASCII: no browser sent it.
    Unclear,
}

impl<'r> Stated<'r> {
    /// Reads a field.
    pub fn of(headers: &'r HeaderMap, name: &HeaderName) -> Self {
        let mut values = headers.get_all(name).iter();
        match (values.next().map(HeaderValue::to_str), values.next()) {
            (None, _) => Self::Nothing,
            (Some(Ok(text)), None) => Self::Once(text),
            (Some(_), _) => Self::Unclear,
        }
    }
}

/// Host and what follows the colon behind it; the brackets of an IPv6 address are part of the host.
fn host_and_port(authority: &str) -> (&str, Option<&str>) {
    let from = authority.rfind(']').unwrap_or_default();
    match authority.get(from..).and_then(|rest| rest.find(':')) {
        Some(colon) => (authority.get(..from + colon).unwrap_or_default(), authority.get(from + colon + 1..)),
        None => (authority, None),
    }
}

fn scheme_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_origin_has_the_one_spelling_that_browsers_send() {
        for text in [
            "https://app.example.com",
            "http://localhost:3000",
            "https://app.example.com:8443",
            "http://app.example.com:443",
            "http://[::1]:8080",
            "https://xn--bcher-kva.example",
            "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
            "capacitor://localhost",
        ] {
            assert_eq!(WebOrigin::parse(text).map(|origin| origin.as_str()), Ok(text), "{text}");
        }
        for (text, fault) in [
            ("", OriginFault::Scheme),
            ("null", OriginFault::Scheme),
            ("*", OriginFault::Scheme),
            ("app.example.com", OriginFault::Scheme),
            ("HTTPS://app.example.com", OriginFault::Scheme),
            ("://app.example.com", OriginFault::Scheme),
            ("3://app.example.com", OriginFault::Scheme),
            (" https://app.example.com", OriginFault::Scheme),
            ("https://app.example.com/", OriginFault::Path),
            ("https://app.example.com/a", OriginFault::Path),
            ("https://app.example.com?a", OriginFault::Path),
            ("https://App.example.com", OriginFault::Spelling),
            ("https://app.example.com.", OriginFault::Spelling),
            ("https://[0:0::1]", OriginFault::Spelling),
            ("https://app.example.com:443", OriginFault::Port),
            ("http://app.example.com:80", OriginFault::Port),
            ("https://app.example.com:", OriginFault::Port),
            ("https://app.example.com:08443", OriginFault::Port),
            ("https://", OriginFault::Host("an empty host or label")),
            ("https://a@b", OriginFault::Host("userinfo in the host")),
            ("https://a b", OriginFault::Host("a character that a host name cannot have")),
            ("https://a,https://b", OriginFault::Path),
            ("https://*.example.com", OriginFault::Host("a character that a host name cannot have")),
            ("https://a:99999", OriginFault::Host("no valid port after the host")),
        ] {
            assert_eq!(WebOrigin::parse(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn an_origin_is_a_requests_own_when_scheme_host_and_port_are() {
        for (origin, authority, is_encrypted, expected) in [
            ("http://a.test", "a.test", false, true),
            ("http://a.test", "A.test.:80", false, true),
            ("http://a.test", "a.test:", false, true),
            ("http://a.test:8080", "a.test:8080", false, true),
            ("https://a.test", "a.test:443", true, true),
            ("http://[::1]:80", "[::1]", false, false),
            ("http://[::1]", "[0:0::1]:80", false, true),
            ("http://a.test", "a.test", true, false),
            ("https://a.test", "a.test", false, false),
            ("http://a.test", "b.test", false, false),
            ("http://a.test", "a.test:8080", false, false),
            ("http://a.test:8080", "a.test", false, false),
            ("http://a.test.evil", "a.test", false, false),
            ("http://xa.test", "a.test", false, false),
            ("app://a.test", "a.test", false, false),
            ("http://a.test", "a.test:x", false, false),
        ] {
            let own = WebOrigin::parse(origin).is_ok_and(|origin| origin.is_of(authority, is_encrypted));
            assert_eq!(own, expected, "{origin} of {authority}, encrypted: {is_encrypted}");
        }
    }

    #[test]
    fn plain_http_is_protected_on_this_machine_only() {
        for (text, expected) in [
            ("http://a.test", true),
            ("http://10.0.0.1:3000", true),
            ("http://localhost.test", true),
            ("http://localhost:3000", false),
            ("http://app.localhost", false),
            ("http://127.0.0.1", false),
            ("http://[::1]:3000", false),
            ("https://a.test", false),
        ] {
            assert_eq!(WebOrigin::parse(text).unwrap().is_unprotected(), expected, "{text}");
        }
    }

    #[test]
    fn a_field_that_is_there_twice_states_nothing_clear() {
        let mut headers = HeaderMap::new();
        assert_eq!(Stated::of(&headers, &http::header::ORIGIN), Stated::Nothing);
        headers.append("origin", HeaderValue::from_static("null"));
        assert_eq!(Stated::of(&headers, &http::header::ORIGIN), Stated::Once("null"));
        headers.append("origin", HeaderValue::from_static("null"));
        assert_eq!(Stated::of(&headers, &http::header::ORIGIN), Stated::Unclear);
        headers.insert("origin", HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(Stated::of(&headers, &http::header::ORIGIN), Stated::Unclear);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_is_read_can_be_read_again(text in "(https?|app)?(://)?[\\PC]{0,20}(:[0-9]{0,6})?") {
            if let Ok(origin) = WebOrigin::parse(&text) {
                prop_assert_eq!(WebOrigin::parse(origin.as_str()), Ok(origin));
                prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()));
                let authority = text.split_once("://").unwrap().1;
                prop_assert_eq!(origin.is_of(authority, true), text.starts_with("https://"));
            }
        }

        #[test]
        fn every_origin_of_a_name_and_a_port_is_read_unless_the_port_is_the_schemes(
            name in "[a-z][a-z0-9-]{0,10}(\\.[a-z]{1,5}){0,3}", port in any::<u16>(), is_encrypted in any::<bool>()
        ) {
            let scheme = if is_encrypted { "https" } else { "http" };
            let text = format!("{scheme}://{name}:{port}");
            let is_default = port == if is_encrypted { 443 } else { 80 };
            prop_assert_eq!(WebOrigin::parse(&text).is_err(), is_default);
            if let Ok(origin) = WebOrigin::parse(&text) {
                let own = format!("{name}:{port}");
                prop_assert!(origin.is_of(&own, is_encrypted) && !origin.is_of(&own, !is_encrypted));
                prop_assert!(!origin.is_of(&name, is_encrypted));
            }
        }
    }
}
