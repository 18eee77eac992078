//! TLS in front of a server that speaks without it, and for a client that does.
use std::{net::SocketAddr, path::Path, sync::Arc};

use pingora_core::tls::{
    CertificateDer, ClientConfig, PrivateKeyDer, RootCertStore, ServerConfig, ServerName, TlsAcceptor, TlsConnector,
    install_default_crypto_provider,
};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};

use super::{certificates::Issued, wire::Address};

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
    der_of(&std::fs::read_to_string(path).unwrap())
}

fn der_of(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    let lines: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    base64::engine::general_purpose::STANDARD.decode(lines).unwrap()
}

/// What a client of TLS asks for and shows.
#[derive(Clone)]
pub(crate) struct TlsClient {
    config: ClientConfig,
    server_name: String,
    introduction: Vec<u8>,
}

impl TlsClient {
    /// Trusts this authority (PEM), and asks for this name or address.
    pub(crate) fn new(authority: &str, server_name: &str) -> Self {
        install_default_crypto_provider();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(der_of(authority))).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Self { config, server_name: server_name.to_owned(), introduction: Vec::new() }
    }

    /// Shows a certificate of its own.
    pub(crate) fn showing(mut self, issued: &Issued) -> Self {
        let chain = vec![CertificateDer::from(der_of(&issued.certificate))];
        let key = PrivateKeyDer::try_from(der_of(&issued.key)).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let certified = CertifiedKey::from_der(chain, key, &provider).unwrap();
        self.config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(certified));
        self
    }

    /// Sends these bytes in clear before the handshake.
    pub(crate) fn introduced_by(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.introduction = bytes.into();
        self
    }

    /// Asks for HTTP/2.
    pub(crate) fn for_http2(mut self) -> Self {
        self.config.alpn_protocols = vec![b"h2".to_vec()];
        self
    }

    /// What comes to the address of the result in clear goes to `server` by TLS; a connection that TLS ends ends.
    pub(crate) fn front(self, server: &Address) -> TlsDoor {
        let Address::Tcp(server) = *server else { panic!("only TCP") };
        let connector = TlsConnector::from(Arc::new(self.config));
        let name = ServerName::try_from(self.server_name).unwrap();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap());
        runtime.spawn(async move {
            while let Ok((mut inside, _)) = listener.accept().await {
                let (connector, name, introduction) = (connector.clone(), name.clone(), self.introduction.clone());
                tokio::spawn(async move {
                    let Ok(mut outside) = TcpStream::connect(server).await else { return };
                    if tokio::io::AsyncWriteExt::write_all(&mut outside, &introduction).await.is_err() {
                        return;
                    }
                    let Ok(mut outside) = connector.connect(name, outside).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
                });
            }
        });
        TlsDoor { address, _runtime: runtime }
    }
}

/// See [`TlsClient::front`].
pub(crate) struct TlsDoor {
    address: Address,
    _runtime: Runtime,
}

impl TlsDoor {
    /// Where to speak in clear.
    pub(crate) const fn address(&self) -> &Address {
        &self.address
    }
}
