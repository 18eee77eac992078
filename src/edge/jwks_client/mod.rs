//! Fetches the bytes of a key set, or of an issuer's metadata, over HTTP: bounded in time, size, hops and places. It
//! blocks, so it runs on a thread of its own kind, never where requests are served. It does not read what it fetches, keeps
//! nothing between two fetches (no connection, cookie or cache), and no error of it shows a byte of an answer's body.
//!
//! TLS is rustls with the ring provider, which is the process-wide default that Pingora installs too; aws-lc-rs checks
//! tokens and has no part in it.
mod address;
pub mod answer;
mod connecting;
mod error;
mod proxies;

use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime};

use ureq::http::header::IF_NONE_MATCH;
use ureq::http::{Response, StatusCode, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Proxy};

use crate::edge::clock;
use crate::edge::jwks_client::address::GuardedResolver;
use crate::edge::jwks_client::error::from_library;
pub use crate::edge::jwks_client::error::{FetchError, Peer, ProxyFailure, Waiting};
pub use crate::edge::jwks_client::proxies::Proxies;

/// The most that a key set may hold: more than 64 keys with certificate chains need.
pub const BODY_BYTES_MAX: u64 = 256 * 1024;
/// The most that the head of an answer may hold.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How often one fetch follows a redirect.
const REDIRECTS_MAX: usize = 3;
/// What servers see of us.
const USER_AGENT: &str = concat!("portcullis/", env!("CARGO_PKG_VERSION"));

/// What is to be fetched, and how.
#[derive(Debug, Clone, Copy)]
pub struct FetchRequest<'a> {
    /// An absolute https URL without user information.
    pub url: &'a str,
    /// What is expected there.
    pub wanted: Wanted,
    /// The [`Fetched::etag`] of what the caller has: asks for something newer only. Not sent
    /// when it is no entity tag.
    pub if_none_match: Option<&'a str>,
    /// For the whole fetch, redirects and body included; names and connections get half of it.
    pub timeout: Duration,
    /// PEM certificates of the authorities that may vouch for the server, instead of the system's.
    pub authorities_pem: Option<&'a [u8]>,
    /// Whether the URL may be http too.
    pub insecure_http: bool,
    /// Through whom servers are reached.
    pub proxies: &'a Proxies,
}

/// What a fetch asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A JWK set (RFC 7517 §5).
    KeySet,
    /// The metadata of an issuer (RFC 8414 §3.2).
    Metadata,
}

impl Wanted {
    fn accept(self) -> &'static str {
        match self {
            Self::KeySet => "application/jwk-set+json, application/json",
            Self::Metadata => "application/json",
        }
    }
}

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Here it is.
    Fetched(Fetched),
    /// What the caller has is what there is (RFC 9110 §15.4.5). Only ever the answer to [`FetchRequest::if_none_match`].
    NotModified {
        /// As [`Fetched::max_age`].
        max_age: Option<Duration>,
        /// As [`Fetched::date`].
        date: Option<SystemTime>,
    },
}

/// An answer that may be what was wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The body, at most [`BODY_BYTES_MAX`], not looked into.
    pub body: Vec<u8>,
    /// The answer's entity tag (RFC 9110 §8.8.3), `W/` and quotes included, at most 256 bytes.
    pub etag: Option<Box<str>>,
    /// How long the answer says that it is fresh, `Age` subtracted; zero when it is not to be kept. Whoever schedules the
    /// next fetch sets a floor to it.
    pub max_age: Option<Duration>,
    /// What the server's clock said when the answer came, the time that a cache kept it included.
    pub date: Option<SystemTime>,
}

/// Fetches once. Blocks for at most `request.timeout`.
///
/// # Errors
/// A [`FetchError`] that says what happened, in words that may be shown to people.
pub fn fetch(request: &FetchRequest<'_>) -> Result<Answer, FetchError> {
    fetch_until(request, Deadline::after(request.timeout))
}

/// Fetches once, as one part of something that has a deadline already.
pub(super) fn fetch_until(request: &FetchRequest<'_>, deadline: Deadline) -> Result<Answer, FetchError> {
    let tls = tls_config(request.authorities_pem)?;
    let request =
        &FetchRequest { if_none_match: request.if_none_match.filter(|tag| answer::is_entity_tag(tag)), ..*request };
    let mut uri = usable(request)?;
    for _ in 0..=REDIRECTS_MAX {
        let mut response = ask(&uri, request, &tls, deadline)?;
        let status = response.status();
        if status == StatusCode::OK {
            return read(&mut response).map(Answer::Fetched).map_err(|error| in_words_of(error, &uri, deadline));
        }
        if status == StatusCode::NOT_MODIFIED && request.if_none_match.is_some() {
            let headers = response.headers();
            return Ok(Answer::NotModified { max_age: answer::freshness(headers), date: answer::date(headers) });
        }
        if !is_redirect(status) {
            return Err(FetchError::Status(status.as_u16()));
        }
        uri = answer::redirect(&uri, response.headers())?;
    }
    Err(FetchError::RedirectsExceeded(REDIRECTS_MAX))
}

/// One exchange, redirects not followed.
fn ask(
    uri: &Uri,
    request: &FetchRequest<'_>,
    tls: &TlsConfig,
    deadline: Deadline,
) -> Result<Response<Body>, FetchError> {
    let left = deadline.left();
    if left.is_zero() {
        return Err(FetchError::TimedOut { waiting: Waiting::Answer, timeout: deadline.timeout });
    }
    let config = Agent::config_builder()
        .https_only(!request.insecure_http)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(left))
        .timeout_resolve(Some(left / 2))
        .timeout_connect(Some(left / 2))
        .max_response_header_size(HEAD_BYTES_MAX)
        .max_idle_connections(0)
        .proxy(proxy_to(uri, request.proxies)?)
        .user_agent(USER_AGENT)
        .accept(request.wanted.accept())
        .tls_config(tls.clone())
        .build();
    let agent = Agent::with_parts(config, connecting::connector(deadline), GuardedResolver::default());
    let mut get = agent.get(uri);
    if let Some(tag) = request.if_none_match {
        get = get.header(IF_NONE_MATCH, tag);
    }
    get.call().map_err(|error| in_words_of(Failure::Library(error), uri, deadline))
}

/// The proxy for a URL. What the resolver refuses of names cannot be refused where the proxy resolves them; an address
/// that is written out can.
fn proxy_to(uri: &Uri, proxies: &Proxies) -> Result<Option<Proxy>, FetchError> {
    let proxy = proxies.on_the_way_to(uri).map_err(FetchError::ProxyUnusable)?;
    let address = uri.host().and_then(proxies::address_of).filter(|address| address::is_forbidden(*address));
    match (proxy, address) {
        (Some(_), Some(address)) => {
            let peer = Peer::Server(server_of(uri).unwrap_or_default());
            Err(FetchError::AddressForbidden { peer, address })
        }
        (proxy, _) => Ok(proxy.cloned()),
    }
}

/// Reads an answer of status 200.
fn read(response: &mut Response<Body>) -> Result<Fetched, Failure> {
    answer::check_type(response.headers()).map_err(Failure::Ours)?;
    let etag = answer::entity_tag(response.headers());
    let max_age = answer::freshness(response.headers());
    let date = answer::date(response.headers());
    let body = response.body_mut().with_config().limit(BODY_BYTES_MAX).read_to_vec().map_err(Failure::Library)?;
    Ok(Fetched { body, etag, max_age, date })
}

/// Why an exchange failed: by our rules, or in the library's words.
enum Failure {
    Ours(FetchError),
    Library(ureq::Error),
}

fn in_words_of(failure: Failure, uri: &Uri, deadline: Deadline) -> FetchError {
    match failure {
        Failure::Ours(error) => error,
        Failure::Library(error) => from_library(error, uri, deadline.timeout),
    }
}

/// The URL of a request, if it may be fetched.
fn usable(request: &FetchRequest<'_>) -> Result<Uri, FetchError> {
    let uri: Uri = request.url.parse().map_err(|_| FetchError::UrlUnusable)?;
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if request.insecure_http => {}
        Some("http") => return Err(FetchError::PlainHttp),
        Some(_) | None => return Err(FetchError::UrlUnusable),
    }
    let is_disguised = uri.host().is_none_or(address::is_disguised);
    server_of(&uri).filter(|_| !is_disguised).map(|_| uri).ok_or(FetchError::UrlUnusable)
}

/// Host and port of a URL, in lower case and with the scheme's own port written out; `None` when there is no host, or a
/// user besides.
fn server_of(uri: &Uri) -> Option<String> {
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    let host = Some(authority.host()).filter(|host| !host.is_empty())?.to_ascii_lowercase();
    Some(format!("{host}:{}", port_of(uri)))
}

fn port_of(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(if is_https(uri) { 443 } else { 80 })
}

fn is_https(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
}

fn is_redirect(status: StatusCode) -> bool {
    [301, 302, 303, 307, 308].contains(&status.as_u16())
}

/// Who vouches for servers: these certificates alone, or whom the system trusts.
fn tls_config(authorities_pem: Option<&[u8]>) -> Result<TlsConfig, FetchError> {
    // So that the provider is the same whether Pingora or this comes first.
    pingora_core::tls::install_default_crypto_provider();
    let roots = match authorities_pem {
        None => RootCerts::PlatformVerifier,
        Some(pem) => {
            let items: Result<Vec<PemItem<'static>>, ureq::Error> = parse_pem(pem).collect();
            let certificates: Vec<_> = items
                .map_err(|_| FetchError::AuthoritiesUnusable)?
                .into_iter()
                .filter_map(|item| if let PemItem::Certificate(certificate) = item { Some(certificate) } else { None })
                .collect();
            if certificates.is_empty() {
                return Err(FetchError::AuthoritiesUnusable);
            }
            RootCerts::from(certificates)
        }
    };
    Ok(TlsConfig::builder().root_certs(roots).build())
}

/// The one deadline of all exchanges of a fetch, or of several fetches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    began: Instant,
    timeout: Duration,
}

impl Deadline {
    /// From now on.
    pub(super) fn after(timeout: Duration) -> Self {
        Self { began: clock::monotonic(), timeout }
    }

    fn left(&self) -> Duration {
        self.timeout.saturating_sub(clock::monotonic().saturating_duration_since(self.began))
    }
}

/// A URL as it may stand in a log: what is in its query may be a secret.
pub fn without_query(url: &str) -> Cow<'_, str> {
    match url.split_once('?') {
        Some((before, _)) => Cow::Owned(format!("{before}?...")),
        None => Cow::Borrowed(url),
    }
}

/// A short text from outside as it may stand in a log: without controls, at most 128 characters.
fn printable(text: &str) -> String {
    text.chars().take(128).map(|character| if (' '..='~').contains(&character) { character } else { '?' }).collect()
}

#[cfg(test)]
mod loopback;

#[cfg(test)]
mod tests;

#[cfg(test)]
mod proxy_tests;
