//! Asks servers regularly whether they are well, in the way in which requests reach them: the same protocol, the same TLS, a
//! connection of its own each time. It finds out; what follows from it is for the server's health to say.
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Method, StatusCode, header};
use pingora::http::RequestHeader;
use pingora_core::connectors::{TransportConnector, http::Connector};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::config::settings::{HealthCheck, HealthProbe};
use crate::edge::upstream::balance::Random;
use crate::edge::upstream::ready::Candidate;
use crate::edge::upstream::servers::Servers;
use crate::state::server_health::CheckThresholds;

/// What servers see in their logs.
const USER_AGENT: &str = "portcullis-health-check";
/// The first checks are spread over this part of the interval, the others vary by it, so that many gateways do not ask at
/// once.
const JITTER: f64 = 0.1;

/// What connections for checks are made with. Each reads the system's authorities, so that it is made where it is needed.
#[derive(Default)]
struct Connectors {
    http: OnceLock<Connector>,
    transport: OnceLock<TransportConnector>,
}

/// Checks the servers of every upstream that asks for it, as tasks of this set.
pub(super) fn keep_checking(upstreams: &[Arc<Servers>], tasks: &mut JoinSet<()>) {
    let connectors = Arc::new(Connectors::default());
    for servers in upstreams.iter().filter(|servers| servers.settings().health_check.is_some()) {
        tasks.spawn(check_again_and_again(Arc::clone(servers), Arc::clone(&connectors)));
    }
}

async fn check_again_and_again(servers: Arc<Servers>, connectors: Arc<Connectors>) {
    let Some(check) = servers.settings().health_check.clone() else { return };
    let random = Random::new();
    let unit = || {
        #[expect(clippy::cast_precision_loss, reason = "32 bits fit")]
        let number = (random.draw() >> 32) as f64;
        number / f64::from(u32::MAX)
    };
    sleep(check.interval.mul_f64(JITTER * unit())).await;
    loop {
        check_all(&servers, &check, &connectors).await;
        sleep(check.interval.mul_f64(1.0 + JITTER * (unit() - 0.5))).await;
    }
}

/// Checks every server at every address, all at once; ends when the slowest has.
async fn check_all(servers: &Servers, check: &HealthCheck, connectors: &Arc<Connectors>) {
    let thresholds = CheckThresholds { healthy: check.healthy_threshold, unhealthy: check.unhealthy_threshold };
    let mut under_way = JoinSet::new();
    for (written, candidate) in servers.candidates() {
        let (check, connectors) = (check.clone(), Arc::clone(connectors));
        under_way.spawn(async move {
            let outcome = match timeout(check.timeout, probe(&check, &written, &candidate, &connectors)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(format!("no answer within {}", shown(check.timeout))),
            };
            candidate.health.checked(outcome, thresholds);
        });
    }
    while under_way.join_next().await.is_some() {}
}

fn shown(duration: Duration) -> String {
    crate::config::quantity::duration_text(duration)
}

async fn probe(
    check: &HealthCheck,
    written: &str,
    candidate: &Candidate,
    connectors: &Connectors,
) -> Result<(), String> {
    let mut peer = candidate.peer.clone();
    let options = &mut peer.options;
    options.connection_timeout = Some(check.timeout);
    options.total_connection_timeout = Some(check.timeout);
    options.read_timeout = Some(check.timeout);
    // A connection that serves one request is kept nowhere.
    options.max_h2_streams = 1;
    options.h2_ping_interval = None;
    // Not one of those that requests use.
    peer.group_key = !peer.group_key;
    match &check.probe {
        HealthProbe::Connection => {
            let connector = connectors.transport.get_or_init(|| TransportConnector::new(None));
            connector.new_stream(&peer).await.map(drop).map_err(said)
        }
        HealthProbe::Http { path, host } => {
            let host = host.as_deref().unwrap_or_else(|| host_of(written));
            let connector = connectors.http.get_or_init(|| Connector::new(None));
            let status = ask(&peer, path, host, connector).await.map_err(said)?;
            if status.is_success() || status.is_redirection() {
                Ok(())
            } else {
                Err(format!("{path} answers {status}"))
            }
        }
    }
}

/// A server that is a socket has no host of its own.
fn host_of(written: &str) -> &str {
    if written.starts_with("unix:") { "localhost" } else { written }
}

/// The status with which a server answers.
async fn ask(peer: &HttpPeer, path: &str, host: &str, connector: &Connector) -> Result<StatusCode> {
    let (mut session, _) = connector.get_http_session(peer).await?;
    if session.as_http2().is_none() && peer.options.alpn.get_min_http_version() == 2 {
        return Err(Error::explain(ErrorType::H2Error, "it does not speak HTTP/2"));
    }
    let mut request = RequestHeader::build(Method::GET, path.as_bytes(), Some(2))?;
    request.insert_header(header::HOST, host)?;
    request.insert_header(header::USER_AGENT, USER_AGENT)?;
    session.write_request_header(Box::new(request)).await?;
    session.finish_request_body().await?;
    session.set_read_timeout(peer.options.read_timeout);
    loop {
        session.read_response_header().await?;
        let status = session.response_header().map(|response| response.status);
        let Some(status) = status else { return Err(Error::new(ErrorType::ReadError)) };
        // Interim responses come before the one that counts.
        if !status.is_informational() {
            session.shutdown().await;
            return Ok(status);
        }
    }
}

/// An error in one line.
fn said(error: Box<Error>) -> String {
    crate::edge::failure::cause_of(&error)
}
