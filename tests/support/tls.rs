//! TLS in front of a server that speaks without it.
use std::{net::SocketAddr, path::Path, sync::Arc};

use pingora_core::tls::{CertificateDer, PrivateKeyDer, ServerConfig, TlsAcceptor, install_default_crypto_provider};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};

use super::wire::Address;

/// Accepts TLS on loopback and passes on what comes; ends when it is dropped.
pub(crate) struct TlsFront {
    address: SocketAddr,
    // Its tasks end with it.
    _runtime: Runtime,
}

impl TlsFront {
    /// In front of `behind`, with the certificate and key of these PEM files.
    pub(crate) fn start(behind: &Address, certificate: &Path, key: &Path) -> Self {
        let Address::Tcp(behind) = *behind else { panic!("only TCP") };
        install_default_crypto_provider();
        let certificate = CertificateDer::from(der(certificate));
        let key = PrivateKeyDer::try_from(der(key)).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let (Ok(mut outside), Ok(mut inside)) =
                        (acceptor.accept(stream).await, TcpStream::connect(behind).await)
                    else {
                        return;
                    };
                    let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                });
            }
        });
        Self { address, _runtime: runtime }
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The content of a PEM file with one item.
fn der(path: &Path) -> Vec<u8> {
    use base64::Engine as _;
    let text = std::fs::read_to_string(path).unwrap();
    let lines: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    base64::engine::general_purpose::STANDARD.decode(lines).unwrap()
}
