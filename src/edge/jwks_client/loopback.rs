//! What tests of fetching have in common: requests, and real servers on loopback that do as they are told.
use super::{Answer, FetchRequest, Fetched, Proxies, Wanted};
use base64::Engine as _;
use pingora_core::tls::{CertificateDer, PrivateKeyDer, ServerConfig, TlsAcceptor, install_default_crypto_provider};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Long enough for a loaded machine; no test waits for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// What a test does wait for: half of it has to do for connecting on a loaded machine.
pub(super) const SHORT: Duration = Duration::from_secs(1);
pub(super) const AUTHORITY: &[u8] = include_bytes!("testdata/authority.pem");

static DIRECT: Proxies = Proxies::none();

pub(super) fn request(url: &str) -> FetchRequest<'_> {
    FetchRequest {
        url,
        wanted: Wanted::KeySet,
        if_none_match: None,
        timeout: PATIENCE,
        authorities_pem: None,
        insecure_http: true,
        proxies: &DIRECT,
    }
}

pub(super) fn whole(answer: Answer) -> Fetched {
    match answer {
        Answer::Fetched(fetched) => fetched,
        Answer::NotModified { .. } => panic!("not modified"),
    }
}

/// Reads the head of a request.
pub(super) fn head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// A server that treats one connection after the other as told, then is gone. Gives the requests' heads.
pub(super) fn server<Treat>(treatments: Vec<Treat>) -> (u16, JoinHandle<Vec<String>>)
where
    Treat: FnOnce(&mut TcpStream) + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let treat_next = |treat: Treat| {
            let (mut stream, _) = listener.accept().unwrap();
            let head = head(&mut stream);
            treat(&mut stream);
            head
        };
        treatments.into_iter().map(treat_next).collect()
    });
    (port, thread)
}

/// The content of a PEM file with one item.
fn der(pem: &str) -> Vec<u8> {
    let lines: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    base64::engine::general_purpose::STANDARD.decode(lines).unwrap()
}

/// Accepts TLS with this certificate.
pub(super) fn acceptor(certificate: &str, key: &str) -> TlsAcceptor {
    install_default_crypto_provider();
    let certificate = CertificateDer::from(der(certificate));
    let key = PrivateKeyDer::try_from(der(key)).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

pub(super) fn localhost() -> TlsAcceptor {
    acceptor(include_str!("testdata/server.pem"), include_str!("testdata/server.key"))
}

/// Answers one request in TLS, if it comes to that.
pub(super) async fn answer_in_tls(stream: impl AsyncRead + AsyncWrite + Unpin, acceptor: TlsAcceptor) {
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let mut head = [0; 2_048];
    if stream.read(&mut head).await.is_ok_and(|bytes| bytes > 0) {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await.unwrap();
        stream.shutdown().await.unwrap();
    }
}

/// Goes on with a connection asynchronously, until all is done.
pub(super) fn go_on<Going: Future<Output = ()>>(
    stream: &TcpStream,
    treatment: impl FnOnce(tokio::net::TcpStream) -> Going,
) {
    let stream = stream.try_clone().unwrap();
    stream.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { treatment(tokio::net::TcpStream::from_std(stream).unwrap()).await });
}
