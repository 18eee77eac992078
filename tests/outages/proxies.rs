//! Keys over TLS, and through the proxies of the environment.
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use super::*;
use crate::support::{
    server::Server,
    tls::TlsFront,
    wire::{Address, Head, Wire},
};

/// A file among the certificates for tests.
fn certificate(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/edge/jwks_client/testdata").join(name)
}

/// A proxy that leads every tunnel to one place, and remembers what it was asked for.
struct TunnelProxy {
    server: Server,
    asked: Arc<Mutex<Vec<Head>>>,
}

impl TunnelProxy {
    fn start(to: Address) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let remembered = Arc::clone(&asked);
        let server = Server::on_tcp(move |mut wire| {
            let Ok(Some(raw)) = wire.read_head() else { return };
            remembered.lock().unwrap_or_else(PoisonError::into_inner).push(Head::parse(raw));
            let (Ok(()), Ok(behind)) = (wire.send(b"HTTP/1.1 200 OK\r\n\r\n"), Wire::connect(&to)) else { return };
            wire.relay(behind);
        });
        Self { server, asked }
    }

    fn asked(&self) -> Vec<Head> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[test]
fn keys_come_over_tls_from_whom_the_ca_file_vouches_for_and_from_nobody_else() {
    let server = JwksServer::start(&[signing_key().jwk()]);
    let front = TlsFront::start(server.address(), &certificate("server.pem"), &certificate("server.key"));
    let keys = |host: &str, authority: &str| {
        let authority = certificate(authority);
        format!(
            "jwks_url: \"https://{host}:{}/jwks.json\", ca_file: \"{}\"",
            front.address().port(),
            authority.display()
        )
    };
    let house = House::start(&keys("localhost", "authority.pem"));
    assert_eq!(house.status(signing_key()), 200, "{}", house.source());
    let fetched = server.fetches();
    for (host, authority) in [("localhost", "behind_proxy.pem"), ("127.0.0.1", "authority.pem")] {
        let house = House::start(&keys(host, authority));
        assert_eq!(house.status(signing_key()), 503, "{host}, {authority}");
        let error = house.source()["last_error"].as_str().unwrap_or_default().to_owned();
        assert!(error.contains("no secure connection"), "{host}, {authority}: {error}");
    }
    assert_eq!(server.fetches(), fetched, "who is not vouched for is not asked");
}

#[test]
fn keys_come_through_the_proxy_of_the_environment_unless_it_makes_an_exception() {
    let server = JwksServer::start(&[signing_key().jwk()]);
    let front = TlsFront::start(server.address(), &certificate("behind_proxy.pem"), &certificate("behind_proxy.key"));
    let proxy = TunnelProxy::start(Address::Tcp(front.address()));
    let authority = certificate("behind_proxy.pem");
    // A name that leads nowhere: only the proxy knows where it is.
    let keys = format!("jwks_url: \"https://auth.test/jwks.json\", ca_file: \"{}\"", authority.display());
    let start = |exceptions: &str| {
        House::start_with(&keys, |builder| {
            let address = format!("http://user:secret-of-the-proxy@{}", proxy.server.address());
            builder.env("HTTPS_PROXY", &address).env("NO_PROXY", exceptions)
        })
    };
    let house = start("other.test");
    assert_eq!(house.status(signing_key()), 200, "{}", house.source());
    let asked = proxy.asked();
    assert!(asked[0].start.starts_with("CONNECT auth.test:443 "), "{}", asked[0].start);
    assert!(asked[0].value("Proxy-Authorization").is_some_and(|value| value.starts_with("Basic ")));
    assert!(server.requests().iter().all(|head| head.value("Proxy-Authorization").is_none()), "only the proxy is told");
    assert!(!house.gateway.account().stderr.contains("secret-of-the-proxy"));
    let house = start("auth.test");
    assert_eq!(house.status(signing_key()), 503);
    assert_eq!(proxy.asked().len(), asked.len(), "an exception goes through the proxy");
}
