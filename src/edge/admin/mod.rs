//! The operators' interface: metrics, health, what is in force, and the few changes that can be made while the process runs.
//!
//! Who may ask is decided in `access`. Reading changes nothing; changes are in a table of their own, and each is logged
//! with who asked, whatever became of it.
mod access;
mod changes;
mod explaining;
pub mod health;
mod revoking;
pub mod status;
mod upstreams;
mod views;

use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, Response, header};
use pingora_core::{apps::http_app::ServeHttp, protocols::http::ServerSession};

pub use crate::edge::admin::access::Access;
use crate::{
    edge::{
        admin::{access::Denial, changes::Change, health::Health, status::History},
        metrics,
        proxy::Shared,
        reload::Reloader,
        upgrade::Upgrader,
    },
    gate::rejection::Rejection,
};

/// What reads; every other path is none.
const VIEWS: [&str; 8] =
    ["/metrics", "/routes", "/issuers", "/upstreams", "/config", "/revocations", "/rejections", "/"];

/// The public keys of assertions.
const KEYS: &str = "/.well-known/jwks.json";

/// The application behind the admin address.
#[derive(Debug)]
pub struct AdminApp {
    /// What the listeners share.
    pub shared: Arc<Shared>,
    /// Reads the configuration again.
    pub reloader: Arc<Reloader>,
    /// Puts another process in the place of this one.
    pub upgrader: Arc<Upgrader>,
    /// Whether the host is alive and ready.
    pub health: Arc<Health>,
    /// What was counted lately.
    pub history: History,
    /// Who may ask.
    pub access: Access,
}

#[async_trait]
impl ServeHttp for AdminApp {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        // One answer a connection: whoever asks next is to reach the process that serves then.
        session.set_keepalive(None);
        let header = session.req_header();
        let path = header.uri.path().to_owned();
        let is_reading = matches!(header.method, Method::GET | Method::HEAD);
        if let Some(change) = Change::at(&path) {
            if header.method == change.method() {
                return self.change(session, &change).await;
            }
            if !VIEWS.contains(&path.as_str()) {
                return not_allowed(change.method().as_str());
            }
        }
        if path == explaining::PATH && header.method == Method::POST {
            return self.explain(session).await;
        }
        let verbose = header.uri.query().is_some_and(|query| query.split('&').any(|name| name == "verbose"));
        match path.as_str() {
            "/livez" | "/readyz" if !is_reading => return not_allowed("GET, HEAD"),
            "/livez" => return text(200, "ok\n"),
            "/readyz" => return self.readiness(verbose),
            // For services, which have no token of operators; what is public is no secret.
            KEYS if !is_reading => return not_allowed("GET, HEAD"),
            KEYS => return self.assertion_keys(),
            _ => {}
        }
        if let Err(denial) = self.access.may_read(session) {
            let is_page = path == "/" && is_reading;
            return if is_page { status::refusal(denial, &session.req_header().headers) } else { denied(denial) };
        }
        if path == explaining::PATH {
            return not_allowed("POST");
        }
        if !VIEWS.contains(&path.as_str()) {
            return refusal(Rejection::RouteNotFound);
        }
        if !is_reading {
            return not_allowed(if path == "/revocations" { "GET, HEAD, POST" } else { "GET, HEAD" });
        }
        let installed = self.shared.installed.load();
        match path.as_str() {
            "/metrics" => self.metrics(),
            "/routes" => json(200, &views::routes(&installed)),
            "/issuers" => json(200, &views::issuers(&installed)),
            "/upstreams" => json(200, &upstreams::view(&installed.upstreams)),
            "/config" => json(200, &installed.document),
            "/revocations" => json(200, &self.shared.revocations.view()),
            "/rejections" => json(200, &self.shared.reporter.rejections.view()),
            _ => {
                upstreams::measure(&installed.upstreams, &self.shared.metrics);
                status::answer(self)
            }
        }
    }
}

impl AdminApp {
    fn assertion_keys(&self) -> Response<Vec<u8>> {
        match &self.shared.installed.load().assertions {
            Some(assertions) => response(200, "application/json", assertions.key_set().into_bytes()),
            None => refusal(Rejection::RouteNotFound),
        }
    }

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
        upstreams::measure(&installed.upstreams, metrics);
        match metrics.render() {
            Ok(rendered) => response(200, metrics::CONTENT_TYPE, rendered.into_bytes()),
            Err(error) => {
                log::error!("{error}");
                refusal(Rejection::Internal)
            }
        }
    }
}

fn json(status: u16, value: &serde_json::Value) -> Response<Vec<u8>> {
    let mut body = serde_json::to_vec_pretty(value).unwrap_or_default();
    body.push(b'\n');
    response(status, "application/json", body)
}

fn text(status: u16, body: &str) -> Response<Vec<u8>> {
    response(status, "text/plain; charset=utf-8", body.as_bytes().to_vec())
}

fn refusal(rejection: Rejection) -> Response<Vec<u8>> {
    let row = rejection.row();
    text(row.status, &format!("{}\n", row.title))
}

/// What somebody gets who may not do what he asks for.
fn denied(denial: Denial) -> Response<Vec<u8>> {
    let mut denied = text(denial.status(), &format!("{denial}\n"));
    if denial.is_about_the_token() {
        let challenge = http::HeaderValue::from_static("Bearer realm=\"admin\"");
        denied.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    denied
}

fn not_allowed(methods: &str) -> Response<Vec<u8>> {
    let mut refusal = refusal(Rejection::MethodNotAllowed);
    if let Ok(methods) = http::HeaderValue::from_str(methods) {
        refusal.headers_mut().insert(header::ALLOW, methods);
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
