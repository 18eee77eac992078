//! Upstreams that are right, and what they mean.
use std::time::Duration;

use super::*;
use crate::config::settings::{
    Address, Balance, CertificateFiles, HashKey, HealthProbe, UpstreamAddress, UpstreamProtocol, UpstreamTls,
};

#[test]
fn servers_are_sockets_or_names() {
    let servers = r#"orders: {servers: ["10.0.0.1:80", "[::1]:80", {address: "Orders.Internal:80", weight: 3}, "unix:/run/o.sock"], balance: random, retries: 0}"#;
    let config = config(&[(r#"orders: {servers: ["127.0.0.1:9000"]}"#, servers)]);
    let upstream = &config.live.upstreams[0];
    assert_eq!((upstream.balance, upstream.retries), (Balance::Random, 0));
    assert_eq!(upstream.servers[1].address, UpstreamAddress::Socket(Address::Tcp("[::1]:80".parse().unwrap())));
    assert_eq!(upstream.servers[2].address, UpstreamAddress::Name { host: "orders.internal".into(), port: 80 });
    assert_eq!((&*upstream.servers[2].written, upstream.servers[2].weight), ("Orders.Internal:80", 3));
    assert_eq!(upstream.servers[3].address, UpstreamAddress::Socket(Address::Unix("/run/o.sock".into())));
}

#[test]
fn upstreams_are_spoken_to_as_they_say() {
    let of = |more: &str| {
        let servers = format!(r#"orders: {{servers: ["Orders.Internal:443", "10.0.0.1:443"], {more}}}"#);
        config(&[(r#"orders: {servers: ["127.0.0.1:9000"]}"#, &servers)]).live.upstreams.remove(0)
    };
    let plain = of("protocol: h2c, balance: consistent_hash, by: subject");
    assert_eq!((plain.protocol, plain.tls, plain.health_check), (UpstreamProtocol::Http2, None, None));
    assert_eq!(plain.balance, Balance::ConsistentHash(HashKey::Subject));
    let system = UpstreamTls { server_name: None, ca_file: None, certificate: None };
    assert_eq!(of("tls: {}").tls, Some(system));
    let mutual = of(
        "protocol: h2, tls: {server_name: Orders.Internal., ca_file: client.pem, certificate_file: client.pem, private_key_file: client.key}",
    );
    let certificate = CertificateFiles {
        written: "client.pem".into(),
        certificate: "/c/client.pem".into(),
        private_key: "/c/client.key".into(),
    };
    assert_eq!(
        mutual.tls,
        Some(UpstreamTls {
            server_name: Some("orders.internal".into()),
            ca_file: Some("/c/client.pem".into()),
            certificate: Some(certificate),
        })
    );
    let check = of("health_check: {path: '/healthz?a=b', host: orders.internal}").health_check.unwrap();
    let probe = HealthProbe::Http { path: "/healthz?a=b".into(), host: Some("orders.internal".into()) };
    assert_eq!((check.probe, check.healthy_threshold, check.unhealthy_threshold), (probe, 2, 3));
    assert_eq!((check.interval, check.timeout), (Duration::from_secs(5), Duration::from_secs(1)));
    assert_eq!(of("health_check: {tcp: true}").health_check.unwrap().probe, HealthProbe::Connection);
}
