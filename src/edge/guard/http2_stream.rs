//! One stream of HTTP/2, guarded as a connection of HTTP/1.1 is: it knows until when the head of the response, the rest of a
//! request and the whole exchange may take. Pingora waits for all of these without end.
//!
//! Whatever passes that time ends as an error of this one stream; the others on its connection go on.
use std::{
    future::poll_fn,
    io,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use http::HeaderMap;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::{
    Error, ErrorType, Result,
    protocols::{
        Digest,
        http::{
            HttpTask, ServerSession,
            custom::{CustomMessageWrite, server::Session as Guardable},
            v2::server::HttpSession,
        },
        l4::socket::SocketAddr,
    },
};
use pingora_proxy::Session;

use crate::edge::{
    clock,
    guard::{
        alarm::Alarm,
        ending::{Ending, Watched},
    },
};

/// What the proxy tells of an exchange, and its stream heeds.
#[derive(Debug, Default)]
pub struct Line {
    watched: Mutex<Watched>,
    head: Mutex<HeadDue>,
}

/// Until when the head of the response must be there, and whether it was not.
#[derive(Clone, Copy, Debug, Default)]
struct HeadDue {
    until: Option<Instant>,
    is_overdue: bool,
}

impl Line {
    pub(super) fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn expect_head(&self, until: Option<Instant>) {
        self.head.lock().unwrap_or_else(PoisonError::into_inner).until = until;
    }

    pub(super) fn is_head_overdue(&self) -> bool {
        self.head.lock().unwrap_or_else(PoisonError::into_inner).is_overdue
    }

    fn note_activity(&self) {
        if let Some(stream) = &mut self.watched().stream {
            stream.note_activity();
        }
    }

    /// Whether something was due that ends the stream; otherwise the task is woken when it is.
    fn is_over(&self, alarm: &mut Alarm, context: &mut Context<'_>) -> bool {
        let mut head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        if head.until.is_some_and(|until| alarm.has_passed(until, context)) {
            *head = HeadDue { until: None, is_overdue: true };
            return true;
        }
        Ending::is_due(&mut self.watched(), alarm, context)
    }
}

/// A stream, as Pingora has it, and what is due on it.
struct Guarded {
    stream: HttpSession,
    line: Arc<Line>,
    alarm: Alarm,
    /// Longest time until more of the request comes.
    read_timeout: Option<Duration>,
    /// Until when that is, while it is waited for.
    read_due: Option<Instant>,
}

/// Puts a guard around the stream of a session, where it is one of HTTP/2.
pub fn guard(session: &mut Session) -> Option<Arc<Line>> {
    let place = session.as_downstream_mut();
    // Nothing is ever asked of what stands here meanwhile.
    match std::mem::replace(place, ServerSession::Custom(Box::new(()))) {
        ServerSession::H2(stream) => {
            let line = Arc::<Line>::default();
            let guarded = Guarded {
                stream,
                line: Arc::clone(&line),
                alarm: Alarm::default(),
                read_timeout: None,
                read_due: None,
            };
            *place = ServerSession::Custom(Box::new(guarded));
            Some(line)
        }
        other @ (ServerSession::H1(_) | ServerSession::Subrequest(_) | ServerSession::Custom(_)) => {
            *place = other;
            None
        }
    }
}

/// Waits for something to happen on a stream, unless its time is over before.
async fn in_time<T>(line: &Line, alarm: &mut Alarm, step: impl Future<Output = Result<T>>) -> Result<T> {
    let mut step = pin!(step);
    poll_fn(|context| {
        if line.is_over(alarm, context) {
            return Poll::Ready(Err(over()));
        }
        step.as_mut().poll(context)
    })
    .await
}

fn over() -> Box<Error> {
    let cause = io::Error::from(io::ErrorKind::TimedOut);
    let mut error = Error::because(ErrorType::ReadTimedout, "a stream that is over", cause);
    error.as_down();
    error
}

#[async_trait]
impl Guardable for Guarded {
    fn req_header(&self) -> &RequestHeader {
        self.stream.req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.stream.req_header_mut()
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        self.read_body_or_idle(false).await
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        self.stream.drain_request_body().await
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.stream.write_response_header(head, end)
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        self.stream.write_response_header_ref(head, end)
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        in_time(&self.line, &mut self.alarm, self.stream.write_body(data, end)).await?;
        self.line.note_activity();
        Ok(())
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.stream.write_trailers(trailers)
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let brings_content = tasks.iter().any(|task| matches!(task, HttpTask::Body(Some(_), _)));
        let ended = in_time(&self.line, &mut self.alarm, self.stream.response_duplex_vec(tasks)).await?;
        if brings_content {
            self.line.note_activity();
        }
        Ok(ended)
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.read_timeout = timeout;
        self.read_due = None;
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.read_timeout
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.stream.set_write_timeout(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.stream.get_write_timeout()
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.stream.set_total_drain_timeout(timeout);
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.stream.get_total_drain_timeout()
    }

    fn request_summary(&self) -> String {
        self.stream.request_summary()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.stream.response_written()
    }

    async fn shutdown(&mut self, _: u32, _: &str) {
        self.stream.shutdown();
    }

    fn is_body_done(&mut self) -> bool {
        self.stream.is_body_done()
    }

    async fn finish(&mut self) -> Result<()> {
        self.stream.finish()
    }

    fn is_body_empty(&mut self) -> bool {
        self.stream.is_body_empty()
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        let awaits_body = !no_body_expected && !self.stream.is_body_done();
        let due = match self.read_timeout {
            Some(timeout) if awaits_body => Some(*self.read_due.get_or_insert_with(|| clock::monotonic() + timeout)),
            Some(_) | None => None,
        };
        let (line, alarm) = (&self.line, &mut self.alarm);
        let mut read = pin!(self.stream.read_body_or_idle(no_body_expected));
        let read = poll_fn(|context| {
            if line.is_over(alarm, context) {
                return Poll::Ready(Err(over()));
            }
            let polled = read.as_mut().poll(context);
            if polled.is_pending() && due.is_some_and(|due| alarm.has_passed(due, context)) {
                return Poll::Ready(Err(over()));
            }
            polled
        })
        .await?;
        self.read_due = None;
        if read.is_some() {
            self.line.note_activity();
        }
        Ok(read)
    }

    fn body_bytes_sent(&self) -> usize {
        self.stream.body_bytes_sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.stream.body_bytes_read()
    }

    fn digest(&self) -> Option<&Digest> {
        self.stream.digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.stream.digest_mut()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.stream.client_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.stream.server_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        self.stream.pseudo_raw_h1_request_header()
    }

    fn enable_retry_buffering(&mut self) {
        self.stream.enable_retry_buffering();
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.stream.retry_buffer_truncated()
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.stream.get_retry_buffer()
    }

    // HTTP has no messages besides the response.

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>> {
        None
    }

    fn restore_custom_message_reader(
        &mut self,
        _: Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>,
    ) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }
}
