//! The connection beneath Pingora's HTTP: counts connections, and reads the request line as it was really sent.
//!
//! Pingora repairs a request line that is not well-formed: `GET /public /admin HTTP/1.1` becomes a request for
//! `/public%20/admin`. RFC 9112 §3.2 wants it refused instead, since nobody can know what was meant; so each line is
//! looked at on its way in. It also drops `Content-Length` beside `Transfer-Encoding`, by which whoever stands in front
//! may have gone (RFC 9112 §6.1). This file never changes, delays or keeps a byte.
use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use async_trait::async_trait;
use http::header;
use pingora_core::{
    apps::ServerApp,
    protocols::{
        ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
        TimingDigest, UniqueID, UniqueIDType, raw_connect::ProxyDigest, tls::SslDigest,
    },
    server::ShutdownWatch,
};
use pingora_proxy::Session;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::edge::metrics::Metrics;

/// An application whose connections are watched.
pub struct Watched<A> {
    application: Arc<A>,
    metrics: Arc<Metrics>,
}

impl<A> Watched<A> {
    /// Watches the connections of `application`.
    pub fn new(application: A, metrics: Arc<Metrics>) -> Self {
        Self { application: Arc::new(application), metrics }
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ServerApp for Watched<A> {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let _connection = self.metrics.connection();
        self.application.process_new(Box::new(Connection::new(stream)), shutdown).await
    }

    async fn cleanup(&self) {
        self.application.cleanup().await;
    }
}

/// One connection.
pub struct Connection {
    inner: Stream,
    line: RequestLine,
    /// Set from outside: what comes next is the beginning of a request.
    between_requests: AtomicBool,
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Connection({:?})", self.line)
    }
}

impl Connection {
    fn new(inner: Stream) -> Self {
        Self { inner, line: RequestLine::default(), between_requests: AtomicBool::new(true) }
    }

    /// The connection that a session came by; nothing for HTTP/2, whose requests have no line.
    fn of(session: &Session) -> Option<&Self> {
        session.as_downstream().stream()?.as_any().downcast_ref()
    }

    /// What Pingora repaired in the head of the current request before anybody could see it; nothing where it is as it
    /// was sent.
    pub fn irregularity(session: &Session) -> Option<&'static str> {
        if Self::of(session).is_some_and(|connection| connection.line.is_irregular()) {
            return Some("a request line that is not well-formed");
        }
        let is_framed_twice = session.req_header().headers.contains_key(header::TRANSFER_ENCODING)
            && has_field(&session.to_h1_raw(), header::CONTENT_LENGTH.as_str());
        is_framed_twice.then_some("both Content-Length and Transfer-Encoding")
    }

    /// The current request is over: what comes next is the beginning of another.
    pub fn expect_request(session: &Session) {
        if let Some(connection) = Self::of(session) {
            connection.between_requests.store(true, Ordering::Relaxed);
        }
    }
}

/// Whether a head has a field of this name, which is in lower case.
fn has_field(head: &[u8], name: &str) -> bool {
    let mut lines = head.split(|byte| *byte == b'\n').skip(1);
    lines.any(|line| {
        line.split(|byte| *byte == b':').next().is_some_and(|field| field.eq_ignore_ascii_case(name.as_bytes()))
    })
}

/// What was seen of a request line so far (RFC 9112 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct RequestLine {
    has_begun: bool,
    has_ended: bool,
    spaces: u8,
    has_forbidden_byte: bool,
}

impl RequestLine {
    fn see(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.has_ended {
                return;
            }
            match byte {
                // Empty lines before a request line are skipped (RFC 9112 §2.2).
                b'\r' | b'\n' if !self.has_begun => continue,
                b'\n' => self.has_ended = true,
                b'\r' => {}
                b' ' => self.spaces = self.spaces.saturating_add(1),
                // What Pingora would escape or, with all that follows a `#`, drop: no request target may hold it
                // (RFC 3986 §2, RFC 9112 §3.2).
                b'<' | b'>' | b'"' | b'#' | 0..=0x1f | 0x7f => self.has_forbidden_byte = true,
                _ => {}
            }
            self.has_begun = true;
        }
    }

    const fn is_irregular(&self) -> bool {
        self.has_forbidden_byte || self.spaces != 2
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        let arrived = buffer.filled().get(before..).unwrap_or_default();
        if !arrived.is_empty() {
            if self.between_requests.swap(false, Ordering::Relaxed) {
                self.line = RequestLine::default();
            }
            self.line.see(arrived);
        }
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for Connection {
    async fn shutdown(&mut self) {
        self.inner.shutdown().await;
    }
}

impl UniqueID for Connection {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Connection {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

#[async_trait]
impl Peek for Connection {
    async fn try_peek(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        self.inner.try_peek(buffer).await
    }
}

impl GetTimingDigest for Connection {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }
}

impl GetProxyDigest for Connection {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl GetSocketDigest for Connection {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name_in_any_case() {
        for (head, found) in [
            ("POST / HTTP/1.1\r\nHost: h\r\nCONTENT-length: 3\r\n\r\n", true),
            ("POST / HTTP/1.1\nContent-Length:3\n\n", true),
            ("POST /content-length:3 HTTP/1.1\r\nX-Content-Length: 3\r\nA: content-length: 3\r\n\r\n", false),
            ("content-length: 3\r\n\r\n", false),
            ("", false),
        ] {
            assert_eq!(has_field(head.as_bytes(), "content-length"), found, "{head:?}");
        }
    }

    #[test]
    fn a_line_is_irregular_where_it_would_have_to_be_repaired() {
        for (text, irregular) in [
            ("GET / HTTP/1.1\r\nA: b c d\r\n\r\n", false),
            ("\r\n\r\nGET /a?b=c HTTP/1.1\r\n", false),
            ("GET / HTTP/1.1\n", false),
            ("GET /public /admin HTTP/1.1\r\n", true),
            ("GET  / HTTP/1.1\r\n", true),
            ("GET / HTTP/1.1 \r\n", true),
            ("GET /a\tb HTTP/1.1\r\n", true),
            ("GET /<a> HTTP/1.1\r\n", true),
            ("GET /\"a\" HTTP/1.1\r\n", true),
            ("GET /a#b HTTP/1.1\r\n", true),
            ("GET /\u{1} HTTP/1.1\r\n", true),
            ("GET /\r\n", true),
        ] {
            let mut whole = RequestLine::default();
            whole.see(text.as_bytes());
            let mut in_pieces = RequestLine::default();
            text.as_bytes().chunks(1).for_each(|piece| in_pieces.see(piece));
            assert_eq!(whole, in_pieces, "{text:?}");
            assert_eq!(whole.is_irregular(), irregular, "{text:?}");
        }
    }
}
