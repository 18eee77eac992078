//! Why a fetch failed, in words for the log and the admin page: what happened and where, never what an answer's body said.
use std::fmt;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

use ureq::Timeout;
use ureq::http::Uri;

use crate::edge::jwks_client::address::NoAddress;
use crate::edge::jwks_client::connecting::ProxyTrouble;
use crate::edge::jwks_client::{printable, server_of};

/// Why something could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchError {
    /// The URL is not absolute, not http(s), or names a user.
    UrlUnusable,
    /// The URL is http, which was not allowed.
    PlainHttp,
    /// The authorities that should vouch for the server are no PEM certificates.
    AuthoritiesUnusable,
    /// This variable of the environment should name a proxy and cannot be read.
    ProxyUnusable(&'static str),
    /// The proxy opened no tunnel to the server.
    Proxy {
        /// Its `host:port`.
        proxy: String,
        /// What it did instead.
        failure: ProxyFailure,
    },
    /// No address was found for the host.
    NameNotResolved {
        /// Which one was looked for.
        peer: Peer,
        /// Why, in the words of the system.
        cause: String,
    },
    /// The host has only addresses that no key set is fetched from.
    AddressForbidden {
        /// Which one was looked for.
        peer: Peer,
        /// One of its addresses.
        address: IpAddr,
    },
    /// No connection: refused, or no way there.
    Unreachable {
        /// Which one did not answer.
        peer: Peer,
        /// Why, in the words of the system.
        cause: String,
    },
    /// The secure connection failed.
    Tls {
        /// Which one it was.
        peer: Peer,
        /// Why, in the words of the TLS library.
        cause: String,
    },
    /// It took too long.
    TimedOut {
        /// What for.
        waiting: Waiting,
        /// The time that the whole fetch had.
        timeout: Duration,
    },
    /// The connection ended before the answer did.
    Interrupted,
    /// The answer is no HTTP.
    Protocol,
    /// A status other than 200.
    Status(u16),
    /// A redirect to another server, or to nowhere.
    RedirectRefused,
    /// More redirects than this in a row.
    RedirectsExceeded(usize),
    /// The answer's head is larger than it may be.
    HeadTooLarge,
    /// The answer's body is larger than so many bytes.
    BodyTooLarge(u64),
    /// The answer says that it is something other than JSON.
    ContentType(String),
    /// The answer is compressed, which was not asked for.
    ContentEncoding,
    /// Anything else, in the words of the library.
    Other(String),
}

/// Whom a connection should lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// The server itself, as `host:port`.
    Server(String),
    /// The proxy on the way to it, as `host:port`.
    Proxy(String),
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(name) => formatter.write_str(name),
            Self::Proxy(name) => write!(formatter, "the proxy {name}"),
        }
    }
}

/// What a proxy did instead of opening a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyFailure {
    /// It answered with this status, which is not 200.
    Status(u16),
    /// It closed the connection.
    Interrupted,
    /// It answered with something that is not HTTP.
    Protocol,
}

/// What a fetch was waiting for when its time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// The addresses of the host.
    Name,
    /// The connection, TLS included.
    Connection,
    /// The tunnel through a proxy.
    Tunnel,
    /// The answer to its last byte.
    Answer,
}

impl fmt::Display for FetchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UrlUnusable => formatter.write_str("the url is not an absolute https url without user information"),
            Self::PlainHttp => formatter.write_str("the url is plain http, which `insecure_http` would have to allow"),
            Self::AuthoritiesUnusable => formatter.write_str("the ca file holds no usable PEM certificate"),
            Self::ProxyUnusable(variable) => {
                write!(formatter, "the environment variable {variable} should name a proxy and cannot be read")
            }
            Self::Proxy { proxy, failure } => match failure {
                ProxyFailure::Status(407) => {
                    write!(formatter, "the proxy {proxy} wants a user and password, or other ones (status 407)")
                }
                ProxyFailure::Status(status) => {
                    write!(formatter, "the proxy {proxy} opened no tunnel: status {status}")
                }
                ProxyFailure::Interrupted => {
                    write!(formatter, "the proxy {proxy} closed the connection before a tunnel was open")
                }
                ProxyFailure::Protocol => write!(formatter, "the proxy {proxy} did not answer with valid HTTP"),
            },
            Self::NameNotResolved { peer, cause } => {
                write!(formatter, "no address for the host of {peer}: {cause}")
            }
            Self::AddressForbidden { peer, address } => {
                write!(formatter, "{peer} is at {address}, a link-local or metadata address that is never asked")
            }
            Self::Unreachable { peer, cause } => write!(formatter, "no connection to {peer}: {cause}"),
            Self::Tls { peer, cause } => write!(formatter, "no secure connection to {peer}: {cause}"),
            Self::TimedOut { waiting, timeout } => {
                let missing = match waiting {
                    Waiting::Name => "no address for the host",
                    Waiting::Connection => "no connection",
                    Waiting::Tunnel => "no connection through the proxy",
                    Waiting::Answer => "no complete answer",
                };
                write!(formatter, "{missing} in time ({:.1} s)", timeout.as_secs_f64())
            }
            Self::Interrupted => formatter.write_str("the connection ended before the answer was complete"),
            Self::Protocol => formatter.write_str("the answer is not valid HTTP"),
            Self::Status(status) => write!(formatter, "status {status} instead of 200"),
            Self::RedirectRefused => formatter.write_str("a redirect that does not stay on the same server"),
            Self::RedirectsExceeded(redirects) => write!(formatter, "more than {redirects} redirects"),
            Self::HeadTooLarge => formatter.write_str("the head of the answer is too large"),
            Self::BodyTooLarge(limit) => write!(formatter, "the body of the answer is larger than {limit} bytes"),
            Self::ContentType(declared) => {
                write!(formatter, "content type `{declared}` instead of JSON (application/json)")
            }
            Self::ContentEncoding => formatter.write_str("the answer is compressed, which was not asked for"),
            Self::Other(text) => formatter.write_str(text),
        }
    }
}

impl std::error::Error for FetchError {}

impl FetchError {
    /// Whether the server did answer, only not with what was asked for.
    pub fn is_answer(&self) -> bool {
        match self {
            Self::Status(_)
            | Self::RedirectRefused
            | Self::RedirectsExceeded(_)
            | Self::HeadTooLarge
            | Self::BodyTooLarge(_)
            | Self::ContentType(_)
            | Self::ContentEncoding => true,
            Self::UrlUnusable
            | Self::PlainHttp
            | Self::AuthoritiesUnusable
            | Self::ProxyUnusable(_)
            | Self::Proxy { .. }
            | Self::NameNotResolved { .. }
            | Self::AddressForbidden { .. }
            | Self::Unreachable { .. }
            | Self::Tls { .. }
            | Self::TimedOut { .. }
            | Self::Interrupted
            | Self::Protocol
            | Self::Other(_) => false,
        }
    }
}

/// Puts an error of the library into our words.
pub(super) fn from_library(error: ureq::Error, uri: &Uri, timeout: Duration) -> FetchError {
    if let ureq::Error::Other(cause) = error {
        match cause.downcast::<ProxyTrouble>() {
            Ok(trouble) => from_proxy(*trouble, timeout),
            Err(cause) => {
                in_words(ureq::Error::Other(cause), Peer::Server(server_of(uri).unwrap_or_default()), timeout)
            }
        }
    } else {
        in_words(error, Peer::Server(server_of(uri).unwrap_or_default()), timeout)
    }
}

fn from_proxy(trouble: ProxyTrouble, timeout: Duration) -> FetchError {
    let ProxyTrouble { proxy, error } = trouble;
    let failure = if let ureq::Error::ConnectProxyFailed(text) = &error {
        // The library says the status in words alone; without one the proxy had hung up.
        let status = text.split(|character: char| !character.is_ascii_digit()).find(|digits| !digits.is_empty());
        status.and_then(|digits| digits.parse().ok()).map_or(ProxyFailure::Interrupted, ProxyFailure::Status)
    } else {
        let error = in_words(error, Peer::Proxy(proxy.clone()), timeout);
        if error == FetchError::Interrupted {
            ProxyFailure::Interrupted
        } else if error == FetchError::Protocol {
            ProxyFailure::Protocol
        } else if matches!(error, FetchError::TimedOut { .. }) {
            return FetchError::TimedOut { waiting: Waiting::Tunnel, timeout };
        } else {
            return error;
        }
    };
    FetchError::Proxy { proxy, failure }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library's enum is open, and its texts hold nothing of a body")]
fn in_words(error: ureq::Error, peer: Peer, timeout: Duration) -> FetchError {
    match error {
        ureq::Error::Timeout(reason) => FetchError::TimedOut { waiting: waiting(reason), timeout },
        ureq::Error::HostNotFound => FetchError::NameNotResolved { peer, cause: "it has none".to_owned() },
        ureq::Error::RequireHttpsOnly(_) => FetchError::PlainHttp,
        ureq::Error::BadUri(_) => FetchError::UrlUnusable,
        ureq::Error::Io(error) => from_io(&error, peer, timeout),
        ureq::Error::Rustls(error) => FetchError::Tls { peer, cause: printable(&error.to_string()) },
        ureq::Error::Tls(text) => FetchError::Tls { peer, cause: text.to_owned() },
        ureq::Error::BodyExceedsLimit(limit) => FetchError::BodyTooLarge(limit),
        ureq::Error::LargeResponseHeader(_, _) => FetchError::HeadTooLarge,
        // The library's text may quote the answer.
        ureq::Error::Protocol(_) | ureq::Error::Http(_) | ureq::Error::BodyStalled => FetchError::Protocol,
        ureq::Error::Other(error) => match error.downcast_ref::<NoAddress>() {
            Some(NoAddress::Forbidden(address)) => FetchError::AddressForbidden { peer, address: *address },
            Some(NoAddress::Unresolved(cause)) => FetchError::NameNotResolved { peer, cause: printable(cause) },
            None => FetchError::Other("the fetch failed in an unforeseen way".to_owned()),
        },
        other => FetchError::Other(printable(&other.to_string())),
    }
}

fn from_io(error: &std::io::Error, peer: Peer, timeout: Duration) -> FetchError {
    let is = |kinds: &[ErrorKind]| kinds.contains(&error.kind());
    let cause = printable(&error.to_string());
    if is(&[ErrorKind::TimedOut, ErrorKind::WouldBlock]) {
        FetchError::TimedOut { waiting: Waiting::Answer, timeout }
    } else if is(&[
        ErrorKind::UnexpectedEof,
        ErrorKind::ConnectionReset,
        ErrorKind::ConnectionAborted,
        ErrorKind::BrokenPipe,
    ]) {
        FetchError::Interrupted
    } else if is(&[ErrorKind::InvalidData]) {
        // What rustls refuses arrives as invalid data.
        FetchError::Tls { peer, cause }
    } else {
        FetchError::Unreachable { peer, cause }
    }
}

fn waiting(reason: Timeout) -> Waiting {
    if reason == Timeout::Resolve {
        Waiting::Name
    } else if reason == Timeout::Connect {
        Waiting::Connection
    } else {
        Waiting::Answer
    }
}
