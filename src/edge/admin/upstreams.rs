//! `GET /upstreams`: where requests go, and how the servers are; and the same as metrics.
use serde_json::{Value, json};

use crate::{
    config::settings::{Balance, HashKey, HealthProbe, UpstreamProtocol},
    edge::{
        admin::views::printable,
        clock,
        metrics::Metrics,
        upstream::{HealthView, ServerView, UpstreamView, Upstreams},
    },
    state::server_health::Standing,
};

/// Sets the metrics of servers and certificates.
pub(super) fn measure(upstreams: &Upstreams, metrics: &Metrics) {
    let all = upstreams.view();
    let of_servers = |upstream: &UpstreamView<'_>| {
        let name: &str = &upstream.settings.name;
        let row = |server: &ServerView<'_>| (name.to_owned(), server.written.to_owned(), server.is_healthy());
        upstream.servers.iter().map(row).collect::<Vec<_>>()
    };
    let servers: Vec<(String, String, bool)> = all.iter().flat_map(of_servers).collect();
    let servers: Vec<([&str; 2], bool)> =
        servers.iter().map(|(upstream, server, healthy)| ([upstream.as_str(), server.as_str()], *healthy)).collect();
    let of_certificate = |upstream: &UpstreamView<'_>| {
        let files = upstream.settings.tls.as_ref()?.certificate.as_ref()?;
        #[expect(clippy::cast_precision_loss, reason = "times of certificates are far below 2^53")]
        let seconds = upstream.certificate_not_after?.seconds() as f64;
        Some((format!("upstream {}", upstream.settings.name), files.written.clone(), seconds))
    };
    let certificates: Vec<_> = all.iter().filter_map(of_certificate).collect();
    let certificates: Vec<([&str; 2], f64)> = certificates
        .iter()
        .map(|(listener, certificate, seconds)| ([listener.as_str(), certificate.as_ref()], *seconds))
        .collect();
    metrics.set_upstreams(&servers, &certificates);
}

/// `GET /upstreams`
pub(super) fn view(upstreams: &Upstreams) -> Value {
    Value::Array(upstreams.view().iter().map(view_of_upstream).collect())
}

fn view_of_upstream(upstream: &UpstreamView<'_>) -> Value {
    let settings = upstream.settings;
    let servers: Vec<Value> = upstream.servers.iter().map(view_of_server).collect();
    json!({
        "name": settings.name,
        "balance": match settings.balance {
            Balance::RoundRobin => "round_robin",
            Balance::Random => "random",
            Balance::ConsistentHash(_) => "consistent_hash",
        },
        "by": match settings.balance {
            Balance::ConsistentHash(HashKey::Subject) => Some("subject"),
            Balance::ConsistentHash(HashKey::Address) => Some("address"),
            Balance::RoundRobin | Balance::Random => None,
        },
        "protocol": match (settings.protocol, &settings.tls) {
            (UpstreamProtocol::Http1, _) => "http1",
            (UpstreamProtocol::Http2, Some(_)) => "h2",
            (UpstreamProtocol::Http2, None) => "h2c",
        },
        "tls": settings.tls.as_ref().map(|tls| json!({
            "server_name": tls.server_name,
            "ca_file": tls.ca_file,
            "certificate_file": tls.certificate.as_ref().map(|files| &files.certificate),
            "certificate_not_after": upstream.certificate_not_after.map(clock::rfc3339),
        })),
        "health_check": settings.health_check.as_ref().map(|check| match &check.probe {
            HealthProbe::Http { path, .. } => json!({ "path": path }),
            HealthProbe::Connection => json!({ "tcp": true }),
        }),
        "retries": settings.retries,
        "servers": servers,
    })
}

fn view_of_server(server: &ServerView<'_>) -> Value {
    let addresses: Vec<Value> = server
        .addresses
        .iter()
        .map(|(address, health)| {
            let mut view = view_of_health(health);
            if let Some(fields) = view.as_object_mut() {
                fields.insert("address".to_owned(), json!(address.map(|address| address.to_string())));
            }
            view
        })
        .collect();
    json!({
        "server": server.written,
        "weight": server.weight,
        "healthy": server.is_healthy(),
        "addresses": addresses,
    })
}

/// Errors may hold words of the server's, which may be read in a terminal.
fn view_of_health(health: &HealthView) -> Value {
    let now = clock::monotonic();
    json!({
        "state": match health.standing {
            Standing::Available => "available",
            Standing::Ejected { .. } => "ejected",
            Standing::Down => "down",
        },
        "returns_in_seconds": match health.standing {
            Standing::Ejected { until } => Some(until.saturating_duration_since(now).as_secs_f64().ceil()),
            Standing::Available | Standing::Down => None,
        },
        "failed_requests": health.failures,
        "last_check": health.last_check.as_ref().map(|check| json!({
            "at": clock::rfc3339(check.at),
            "error": check.error.as_deref().map(printable),
        })),
    })
}
