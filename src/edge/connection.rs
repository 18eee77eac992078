//! The connection beneath Pingora's HTTP: counts connections, shows `request_bytes` each request as it was really sent,
//! notices what Pingora refuses by itself, and ends the wait for an upstream that does not answer. It never changes,
//! delays or keeps a byte.
//!
//! A head that cannot be parsed at all Pingora answers by itself and tells nobody; but its answer passes here. And it has
//! one timeout for the head and the body of a response; but while it waits for the head, it listens to the client, here.
use std::{
    fmt, io,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use pingora_core::{
    apps::ServerApp,
    protocols::{
        ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
        TimingDigest, UniqueID, UniqueIDType, l4::socket::SocketAddr, raw_connect::ProxyDigest, tls::SslDigest,
    },
    server::ShutdownWatch,
};
use pingora_proxy::Session;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

use crate::edge::{
    clock,
    metrics::Metrics,
    request_bytes::{Fault, RequestBytes},
};

/// Told of the client whose request could not be parsed.
type Unparsed = Arc<dyn Fn(Option<IpAddr>) + Send + Sync>;

/// An application whose connections are watched.
pub struct Watched<A> {
    application: Arc<A>,
    metrics: Arc<Metrics>,
    unparsed: Unparsed,
}

impl<A> Watched<A> {
    /// Watches the connections of `application`. `unparsed` is told of each client whose request could not be parsed.
    pub fn new(
        application: A,
        metrics: Arc<Metrics>,
        unparsed: impl Fn(Option<IpAddr>) + Send + Sync + 'static,
    ) -> Self {
        Self { application: Arc::new(application), metrics, unparsed: Arc::new(unparsed) }
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ServerApp for Watched<A> {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let _connection = self.metrics.connection();
        self.application.process_new(Box::new(Connection::new(stream, Arc::clone(&self.unparsed))), shutdown).await
    }

    async fn cleanup(&self) {
        self.application.cleanup().await;
    }
}

/// One connection.
pub struct Connection {
    inner: Stream,
    bytes: RequestBytes,
    /// Set from outside: what comes next is the beginning of a request.
    between_requests: AtomicBool,
    /// Set from outside: the head of the current request was parsed, so that the answer is ours.
    is_parsed: AtomicBool,
    unparsed: Unparsed,
    /// Set from outside: until when the head of the response must be there.
    head_due: Mutex<Option<Instant>>,
    /// Whether it was not.
    is_overdue: AtomicBool,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Connection({:?})", self.bytes)
    }
}

impl Connection {
    fn new(inner: Stream, unparsed: Unparsed) -> Self {
        Self {
            inner,
            bytes: RequestBytes::default(),
            between_requests: AtomicBool::new(true),
            is_parsed: AtomicBool::new(false),
            unparsed,
            head_due: Mutex::new(None),
            is_overdue: AtomicBool::new(false),
            alarm: None,
        }
    }

    /// The connection that a session came by; nothing for HTTP/2, whose requests have no line.
    fn of(session: &Session) -> Option<&Self> {
        session.as_downstream().stream()?.as_any().downcast_ref()
    }

    /// What Pingora had to put right in the bytes of the current request.
    pub fn fault(session: &Session) -> Option<Fault> {
        Self::of(session)?.bytes.fault()
    }

    /// The head of the current request was parsed.
    pub fn note_request(session: &Session) {
        if let Some(connection) = Self::of(session) {
            connection.is_parsed.store(true, Ordering::Relaxed);
        }
    }

    /// The current request is over: what comes next is the beginning of another.
    pub fn expect_request(session: &Session) {
        if let Some(connection) = Self::of(session) {
            connection.set_head_due(None);
            connection.between_requests.store(true, Ordering::Relaxed);
        }
    }

    /// From now on the upstream has this long for the head of its response; `None` when it is there, or has no limit.
    pub fn expect_head(session: &Session, within: Option<Duration>) {
        if let Some(connection) = Self::of(session) {
            connection.set_head_due(within.and_then(|within| clock::monotonic().checked_add(within)));
        }
    }

    /// Whether the current request failed because the head of the response was not there in time.
    pub fn is_head_overdue(session: &Session) -> bool {
        Self::of(session).is_some_and(|connection| connection.is_overdue.load(Ordering::Relaxed))
    }

    fn set_head_due(&self, due: Option<Instant>) {
        *self.head_due.lock().unwrap_or_else(PoisonError::into_inner) = due;
    }

    /// Whether the time for the head of the response is over. Otherwise the task is woken when it is.
    fn gives_up(&mut self, context: &mut Context<'_>) -> bool {
        let Some(due) = *self.head_due.lock().unwrap_or_else(PoisonError::into_inner) else { return false };
        let due = tokio::time::Instant::from_std(due);
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if due < alarm.deadline() {
            alarm.as_mut().reset(due);
        }
        // An alarm of an earlier request rings too early and is set again then, which costs less than to set it each time.
        while alarm.as_mut().poll(context).is_ready() {
            if clock::monotonic() >= due.into_std() {
                self.is_overdue.store(true, Ordering::Relaxed);
                self.set_head_due(None);
                return true;
            }
            alarm.as_mut().reset(due);
        }
        false
    }

    /// What is written while no request was parsed is Pingora's answer to one that could not be.
    fn notice_answer(&self) {
        let has_request = self.bytes.has_begun() && !self.between_requests.load(Ordering::Relaxed);
        if has_request && !self.is_parsed.swap(true, Ordering::Relaxed) {
            (self.unparsed)(self.client());
        }
    }

    fn client(&self) -> Option<IpAddr> {
        match self.inner.get_socket_digest()?.peer_addr()? {
            SocketAddr::Inet(address) => Some(address.ip().to_canonical()),
            SocketAddr::Unix(_) => None,
        }
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
                self.bytes = RequestBytes::default();
                self.is_parsed.store(false, Ordering::Relaxed);
            }
            self.bytes.see(arrived);
        }
        if polled.is_pending() && self.gives_up(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.notice_answer();
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
        self.notice_answer();
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
