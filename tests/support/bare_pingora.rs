//! Pingora as it comes: a proxy of a few lines without a gate, to compare the gateway with. It serves until the tests end.
use std::{
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use async_trait::async_trait;
use pingora_core::{
    apps::HttpServerOptions,
    server::{RunArgs, Server, ShutdownSignal, ShutdownSignalWatch, configuration::ServerConf},
    upstreams::peer::HttpPeer,
};
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

use super::{
    server::free_address,
    waiting::{PATIENCE, eventually},
    wire::Address,
};

struct Bare {
    upstream: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora_core::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }
}

struct Never;

#[async_trait]
impl ShutdownSignalWatch for Never {
    async fn recv(&self) -> ShutdownSignal {
        std::future::pending().await
    }
}

/// Starts one with HTTP/2 without TLS, whose bounds are Pingora's own but for how long a connection may be idle.
pub(crate) fn start(upstream: &Address, idle: Duration) -> Address {
    let Address::Tcp(upstream) = *upstream else { panic!("only TCP") };
    let address = free_address();
    let mut server = Server::new_with_opt_and_conf(None, ServerConf::default());
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Bare { upstream });
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    options.h2_idle_timeout = Some(idle);
    service.app_logic_mut().unwrap().server_options = Some(options);
    service.add_tcp(&address.to_string());
    server.add_service(service);
    thread::spawn(move || server.run(RunArgs { shutdown_signal: Box::new(Never) }));
    assert!(eventually(PATIENCE, || TcpStream::connect(address).ok()).is_some(), "Pingora does not listen");
    Address::Tcp(address)
}
