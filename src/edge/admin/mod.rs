//! The operators' interface: metrics, health, and what is in force. It reads and never changes anything.
//!
//! Over TCP, a `Host` that is neither a loopback name nor the address itself is refused, so that no web page can read it
//! by DNS rebinding; health is open to all.
pub mod health;
mod views;

use std::{net::IpAddr, sync::Arc};

use async_trait::async_trait;
use http::{Response, header};
use pingora_core::{apps::http_app::ServeHttp, protocols::http::ServerSession};
use subtle::ConstantTimeEq;

use crate::{
    config::settings::{Address, Admin},
    edge::{admin::health::Health, metrics, proxy::Shared},
    gate::{
        host::Host,
        rejection::Rejection,
        sources::{Credentials, credentials},
    },
};

/// The application behind the admin address.
#[derive(Debug)]
pub struct AdminApp {
    /// What the listeners share.
    pub shared: Arc<Shared>,
    /// Whether the host is alive and ready.
    pub health: Arc<Health>,
    /// Who may ask.
    pub access: Access,
}

/// Who may ask.
#[derive(Debug)]
pub struct Access {
    settings: Arc<Admin>,
    /// Whether the socket itself keeps strangers out.
    is_private: bool,
}

impl Access {
    /// Access by the configured address.
    pub fn by_address(settings: Arc<Admin>) -> Self {
        let is_private = matches!(settings.address, Some(Address::Unix(_)));
        Self { settings, is_private }
    }

    /// Access by a unix socket that only the process's own user can open.
    pub const fn by_private_socket(settings: Arc<Admin>) -> Self {
        Self { settings, is_private: true }
    }

    fn is_granted(&self, session: &ServerSession) -> Result<(), Rejection> {
        if self.is_private {
            return Ok(());
        }
        let headers = &session.req_header().headers;
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = hosts.next().and_then(|host| host.to_str().ok()).and_then(|host| Host::parse(host).ok());
        if hosts.next().is_some() || !host.is_some_and(|host| self.knows(host.name())) {
            return Err(Rejection::RequestMalformed);
        }
        let Some(expected) = &self.settings.read_token else { return Ok(()) };
        let presented = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match credentials(presented) {
            Credentials::Bearer(token) if bool::from(token.trim().as_bytes().ct_eq(expected.bytes())) => Ok(()),
            Credentials::Bearer(_) | Credentials::Other => Err(Rejection::TokenMissing),
        }
    }

    fn knows(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_own_address = |ip: IpAddr| match &self.settings.address {
            // A page that was rebound comes with its own name, never with an address.
            Some(Address::Tcp(address)) => ip == address.ip() || address.ip().is_unspecified(),
            Some(Address::Unix(_)) | None => false,
        };
        host == "localhost"
            || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || is_own_address(ip))
            || self.settings.allowed_hosts.iter().any(|allowed| allowed.as_ref() == host)
    }
}

#[async_trait]
impl ServeHttp for AdminApp {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let header = session.req_header();
        let path = header.uri.path().to_owned();
        let verbose = header.uri.query().is_some_and(|query| query.split('&').any(|name| name == "verbose"));
        if !matches!(header.method, http::Method::GET | http::Method::HEAD) {
            return refusal(Rejection::MethodNotAllowed);
        }
        match path.as_str() {
            "/livez" => return text(200, "ok\n"),
            "/readyz" => return self.readiness(verbose),
            _ => {}
        }
        if let Err(rejection) = self.access.is_granted(session) {
            return refusal(rejection);
        }
        let installed = self.shared.installed.load();
        match path.as_str() {
            "/metrics" => self.metrics(),
            "/routes" => json(&views::routes(&installed)),
            "/issuers" => json(&views::issuers(&installed)),
            "/config" => json(&installed.document),
            "/" => text(200, "/metrics\n/livez\n/readyz\n/routes\n/issuers\n/config\n"),
            _ => refusal(Rejection::RouteNotFound),
        }
    }
}

impl AdminApp {
    fn readiness(&self, verbose: bool) -> Response<Vec<u8>> {
        let readiness = self.health.readiness(&self.shared.installed.load());
        let status = if readiness.is_ready() { 200 } else { Rejection::KeysUnavailable.row().status };
        text(status, &readiness.described(verbose))
    }

    fn metrics(&self) -> Response<Vec<u8>> {
        let metrics = &self.shared.metrics;
        let installed = self.shared.installed.load();
        let cache = installed.gatekeeper.cache();
        metrics.set_claims_cache(cache.entries() as u64, cache.bytes(), cache.capacity() as u64);
        let evictions = metrics.claims_cache_evictions();
        evictions.inc_by(cache.evictions().saturating_sub(evictions.get()));
        match metrics.render() {
            Ok(rendered) => response(200, metrics::CONTENT_TYPE, rendered.into_bytes()),
            Err(error) => {
                log::error!("{error}");
                refusal(Rejection::Internal)
            }
        }
    }
}

fn json(value: &serde_json::Value) -> Response<Vec<u8>> {
    let mut body = serde_json::to_vec_pretty(value).unwrap_or_default();
    body.push(b'\n');
    response(200, "application/json", body)
}

fn text(status: u16, body: &str) -> Response<Vec<u8>> {
    response(status, "text/plain; charset=utf-8", body.as_bytes().to_vec())
}

fn refusal(rejection: Rejection) -> Response<Vec<u8>> {
    let row = rejection.row();
    let mut refusal = text(row.status, &format!("{}\n", row.title));
    let headers = refusal.headers_mut();
    if rejection == Rejection::TokenMissing {
        headers.insert(header::WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer realm=\"admin\""));
    }
    if rejection == Rejection::MethodNotAllowed {
        headers.insert(header::ALLOW, http::HeaderValue::from_static("GET, HEAD"));
    }
    refusal
}

fn response(status: u16, content_type: &'static str, body: Vec<u8>) -> Response<Vec<u8>> {
    let mut response = Response::new(body);
    if let Ok(status) = http::StatusCode::from_u16(status) {
        *response.status_mut() = status;
    }
    let length = response.body().len();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    headers.insert(header::CONTENT_LENGTH, length.into());
    headers.insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, http::HeaderValue::from_static("nosniff"));
    response
}
