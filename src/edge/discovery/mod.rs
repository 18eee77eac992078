//! Finds an issuer's metadata, and by it where its keys are: OpenID Connect Discovery 1.0 §4, then RFC 8414 §3. It blocks,
//! as the fetch beneath it. It keeps nothing, takes no issuer's word for another issuer, and fetches no key.
pub mod document;
mod well_known;

use std::fmt;
use std::time::Duration;

use crate::edge::discovery::document::Expected;
pub use crate::edge::discovery::document::{DocumentFault, Metadata};
pub use crate::edge::discovery::well_known::UrlFault;
use crate::edge::jwks_client::{Answer, Deadline, FetchError, FetchRequest, Proxies, Wanted, fetch_until};

/// Whose metadata is looked for, and how.
#[derive(Debug, Clone, Copy)]
pub struct DiscoveryRequest<'a> {
    /// The issuer, byte for byte as its tokens name it: a URL without query and fragment. For [`fetch_metadata_at`] also
    /// the URL of its metadata.
    pub issuer: &'a str,
    /// For everything together, redirects and the second attempt included.
    pub timeout: Duration,
    /// PEM certificates of the authorities that may vouch for the server, instead of the system's.
    pub authorities_pem: Option<&'a [u8]>,
    /// Whether the issuer and the URL of its keys may be http too.
    pub insecure_http: bool,
    /// Through whom servers are reached.
    pub proxies: &'a Proxies,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovered {
    /// Where the keys are: a URL that obeys the rules of a configured one, at most 2048 bytes. Often on another host.
    pub jwks_uri: String,
    /// The rest that is told.
    pub metadata: Metadata,
    /// How long the metadata says that it is fresh.
    pub max_age: Option<Duration>,
}

/// Why nothing was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiscoveryError {
    /// The issuer is no URL that has metadata.
    IssuerUnusable(UrlFault),
    /// No attempt brought a usable document; in the order in which they were made, one or two.
    Failed(Vec<FailedAttempt>),
}

/// One URL that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedAttempt {
    /// Which.
    pub url: String,
    /// What happened.
    pub reason: AttemptError,
}

/// What happened to one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptError {
    /// It was not fetched.
    Fetch(FetchError),
    /// It was fetched and is not used.
    Document(DocumentFault),
}

impl AttemptError {
    /// Whether the server answered, so that asking it at another place makes sense.
    fn is_answer(&self) -> bool {
        match self {
            Self::Fetch(error) => error.is_answer(),
            Self::Document(_) => true,
        }
    }
}

impl fmt::Display for AttemptError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fetch(error) => error.fmt(formatter),
            Self::Document(fault) => fault.fmt(formatter),
        }
    }
}

impl fmt::Display for DiscoveryError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IssuerUnusable(fault) => write!(formatter, "the issuer has no place for metadata: {fault}"),
            Self::Failed(attempts) => {
                for (position, FailedAttempt { url, reason }) in attempts.iter().enumerate() {
                    let separator = if position == 0 { "" } else { "; " };
                    write!(formatter, "{separator}{url}: {reason}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for DiscoveryError {}

impl DiscoveryError {
    /// Whether metadata was had that contradicts what was believed: it speaks for another issuer, or names keys that may not
    /// be fetched. Not so when there is none to be had.
    pub fn is_contradiction(&self) -> bool {
        let contradicts = |attempt: &FailedAttempt| {
            matches!(
                attempt.reason,
                AttemptError::Document(DocumentFault::IssuerDiffers { .. } | DocumentFault::JwksUriUnusable(_))
            )
        };
        matches!(self, Self::Failed(attempts) if attempts.iter().any(contradicts))
    }
}

/// Finds the metadata of a configured issuer. The second place is asked when the server answered at the first, but not with
/// a document that can be used; not when it could not be reached or time is over. Blocks for at most `request.timeout`.
///
/// # Errors
/// [`DiscoveryError`], which says for each place what happened, in words that may be shown to people. A document whose
/// `issuer` is not byte for byte the configured one is discarded whole (RFC 8414 §3.3).
pub fn discover(request: &DiscoveryRequest<'_>) -> Result<Discovered, DiscoveryError> {
    let addresses =
        well_known::addresses(request.issuer, request.insecure_http).map_err(DiscoveryError::IssuerUnusable)?;
    in_turn(addresses.into(), request, Some(request.issuer))
}

/// Finds the metadata of an issuer that nobody has configured yet, by the issuer or by the URL of the metadata. The issuer
/// is then whom the document names; its metadata must have its place where the document was found.
///
/// # Errors
/// As [`discover`].
pub fn fetch_metadata_at(request: &DiscoveryRequest<'_>) -> Result<Discovered, DiscoveryError> {
    let url = request.issuer;
    let addresses = if well_known::is_metadata(url) {
        well_known::check(url, request.insecure_http).map(|()| vec![url.to_owned()])
    } else {
        well_known::addresses(url, request.insecure_http).map(Vec::from)
    };
    in_turn(addresses.map_err(DiscoveryError::IssuerUnusable)?, request, None)
}

/// Asks one place after the other, within one deadline.
fn in_turn(
    addresses: Vec<String>,
    request: &DiscoveryRequest<'_>,
    configured: Option<&str>,
) -> Result<Discovered, DiscoveryError> {
    let deadline = Deadline::after(request.timeout);
    let mut failed = Vec::new();
    for url in addresses {
        let expected = configured.map_or(Expected::IssuerOf(&url), Expected::Issuer);
        match attempt(&url, expected, request, deadline) {
            Ok(discovered) => return Ok(discovered),
            Err(reason) => {
                let ends = !reason.is_answer();
                failed.push(FailedAttempt { url, reason });
                if ends {
                    break;
                }
            }
        }
    }
    Err(DiscoveryError::Failed(failed))
}

fn attempt(
    url: &str,
    expected: Expected<'_>,
    request: &DiscoveryRequest<'_>,
    deadline: Deadline,
) -> Result<Discovered, AttemptError> {
    let &DiscoveryRequest { timeout, authorities_pem, insecure_http, proxies, issuer: _ } = request;
    let wanted = Wanted::Metadata;
    let fetch = FetchRequest { url, wanted, if_none_match: None, timeout, authorities_pem, insecure_http, proxies };
    let fetched = match fetch_until(&fetch, deadline).map_err(AttemptError::Fetch)? {
        Answer::Fetched(fetched) => fetched,
        // Nobody asked for it, so it does not happen.
        Answer::NotModified { .. } => return Err(AttemptError::Fetch(FetchError::Status(304))),
    };
    let parsed = document::parse(&fetched.body, expected, insecure_http);
    let (jwks_uri, metadata) = parsed.map_err(AttemptError::Document)?;
    Ok(Discovered { jwks_uri, metadata, max_age: fetched.max_age })
}

#[cfg(test)]
mod tests;
