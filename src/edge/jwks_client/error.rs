//! Why a fetch failed, in words for the log and the admin page: what happened and where, never what an answer's body said.
use std::fmt;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

use ureq::Timeout;
use ureq::http::Uri;

use crate::edge::jwks_client::address::NoAddress;
use crate::edge::jwks_client::{BODY_BYTES_MAX, printable, server_of};

/// Why a key set could not be fetched. Servers are `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchError {
    /// The URL is not absolute, not http(s), or names a user.
    UrlUnusable,
    /// The URL is http, which was not allowed.
    PlainHttp,
    /// The authorities that should vouch for the server are no PEM certificates.
    AuthoritiesUnusable,
    /// No address was found for the host.
    NameNotResolved {
        /// Which server was looked for.
        server: String,
        /// Why, in the words of the system.
        cause: String,
    },
    /// The host has only addresses that no key set is fetched from.
    AddressForbidden {
        /// Which server was looked for.
        server: String,
        /// One of its addresses.
        address: IpAddr,
    },
    /// No connection: refused, or no way there.
    Unreachable {
        /// Which server did not answer.
        server: String,
        /// Why, in the words of the system.
        cause: String,
    },
    /// The secure connection failed.
    Tls {
        /// Which server it was.
        server: String,
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
    /// The answer's body is larger than [`BODY_BYTES_MAX`].
    BodyTooLarge,
    /// The answer says that it is something other than JSON.
    ContentType(String),
    /// The answer is compressed, which was not asked for.
    ContentEncoding,
    /// Anything else, in the words of the library.
    Other(String),
}

/// What a fetch was waiting for when its time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// The addresses of the host.
    Name,
    /// The connection, TLS included.
    Connection,
    /// The answer to its last byte.
    Answer,
}

impl fmt::Display for FetchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UrlUnusable => formatter.write_str("the url is not an absolute https url without user information"),
            Self::PlainHttp => formatter.write_str("the url is plain http, which `insecure_http` would have to allow"),
            Self::AuthoritiesUnusable => formatter.write_str("the ca file holds no usable PEM certificate"),
            Self::NameNotResolved { server, cause } => {
                write!(formatter, "no address for the host of {server}: {cause}")
            }
            Self::AddressForbidden { server, address } => {
                write!(formatter, "{server} is at {address}, a link-local or metadata address that is never asked")
            }
            Self::Unreachable { server, cause } => write!(formatter, "no connection to {server}: {cause}"),
            Self::Tls { server, cause } => write!(formatter, "no secure connection to {server}: {cause}"),
            Self::TimedOut { waiting, timeout } => {
                let missing = match waiting {
                    Waiting::Name => "no address for the host",
                    Waiting::Connection => "no connection",
                    Waiting::Answer => "no complete answer",
                };
                write!(formatter, "{missing} in time (timeout {timeout:?})")
            }
            Self::Interrupted => formatter.write_str("the connection ended before the answer was complete"),
            Self::Protocol => formatter.write_str("the answer is not valid HTTP"),
            Self::Status(status) => write!(formatter, "status {status} instead of 200"),
            Self::RedirectRefused => formatter.write_str("a redirect that does not stay on the same server"),
            Self::RedirectsExceeded(redirects) => write!(formatter, "more than {redirects} redirects"),
            Self::HeadTooLarge => formatter.write_str("the head of the answer is too large"),
            Self::BodyTooLarge => write!(formatter, "the body of the answer is larger than {BODY_BYTES_MAX} bytes"),
            Self::ContentType(declared) => {
                write!(formatter, "content type `{declared}` instead of application/jwk-set+json or application/json")
            }
            Self::ContentEncoding => formatter.write_str("the answer is compressed, which was not asked for"),
            Self::Other(text) => formatter.write_str(text),
        }
    }
}

impl std::error::Error for FetchError {}

/// Puts an error of the library into our words.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library's enum is open, and its texts hold nothing of a body")]
pub(super) fn from_library(error: ureq::Error, uri: &Uri, timeout: Duration) -> FetchError {
    let server = server_of(uri).unwrap_or_default();
    match error {
        ureq::Error::Timeout(reason) => FetchError::TimedOut { waiting: waiting(reason), timeout },
        ureq::Error::HostNotFound => FetchError::NameNotResolved { server, cause: "it has none".to_owned() },
        ureq::Error::RequireHttpsOnly(_) => FetchError::PlainHttp,
        ureq::Error::BadUri(_) => FetchError::UrlUnusable,
        ureq::Error::Io(error) => from_io(&error, server, timeout),
        ureq::Error::Rustls(error) => FetchError::Tls { server, cause: printable(&error.to_string()) },
        ureq::Error::Tls(text) => FetchError::Tls { server, cause: text.to_owned() },
        ureq::Error::BodyExceedsLimit(_) => FetchError::BodyTooLarge,
        ureq::Error::LargeResponseHeader(_, _) => FetchError::HeadTooLarge,
        // The library's text may quote the answer.
        ureq::Error::Protocol(_) | ureq::Error::Http(_) | ureq::Error::BodyStalled => FetchError::Protocol,
        ureq::Error::Other(error) => match error.downcast_ref::<NoAddress>() {
            Some(NoAddress::Forbidden(address)) => FetchError::AddressForbidden { server, address: *address },
            Some(NoAddress::Unresolved(cause)) => FetchError::NameNotResolved { server, cause: printable(cause) },
            None => FetchError::Other("the fetch failed in an unforeseen way".to_owned()),
        },
        other => FetchError::Other(printable(&other.to_string())),
    }
}

fn from_io(error: &std::io::Error, server: String, timeout: Duration) -> FetchError {
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
        FetchError::Tls { server, cause }
    } else {
        FetchError::Unreachable { server, cause }
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
