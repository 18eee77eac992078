//! One guarded connection: a stream that knows where in a request it is, and what that may still take. It never changes,
//! delays or keeps a byte; what it writes itself is the last thing that is written.
//!
//! What Pingora repairs on its way in is seen by `request_bytes`. A head that cannot be parsed at all Pingora answers by itself and tells nobody; but its answer
//! passes here. And it has one timeout for the head and the body of a response; but while it waits for the head, it
//! listens to the client, here.
mod reading_and_writing;

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use pingora_core::protocols::Stream;
use pingora_proxy::Session;
use tokio::io::AsyncWrite as _;

use crate::{
    edge::{
        clock,
        exchange::{Exchange, Identifiers},
        guard::{
            Guard, Incident,
            alarm::Alarm,
            ending::{Ending, Watched},
            entrance::Entered,
            frames::Frames,
            peer,
            request_bytes::{Fault, RequestBytes},
        },
        respond,
    },
    gate::rejection::{Refusal, Rejection},
};

/// One connection.
pub struct Connection {
    pub(super) inner: Stream,
    guard: Arc<Guard>,
    bytes: RequestBytes,
    /// The frames of HTTP/2; nothing for HTTP/1.1.
    frames: Option<Frames>,
    /// Whether anything was written since the current request began.
    has_answered: bool,
    /// Whether something that was written may still lie in a buffer.
    is_unflushed: bool,
    /// Until when the client must have taken something of what is being written.
    write_due: Option<Instant>,
    alarm: Alarm,
    ending: Ending,
    watched: Mutex<Watched>,
    /// What the proxy sets, which has the connection by reference only.
    progress: Mutex<Progress>,
}

/// How far the current request is.
#[derive(Clone, Copy, Debug)]
struct Progress {
    phase: Phase,
    /// Until when the head of the response must be there.
    head_due: Option<Instant>,
    /// Whether it was not.
    is_overdue: bool,
    /// Whether the client took nothing of the response for too long.
    is_stalled: bool,
    /// The current request's, once it was parsed.
    identifiers: Option<Identifiers>,
}

/// What is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing: no byte of the next request came yet. The first request's head is due as a whole from the beginning.
    Waiting { until: Instant, is_first: bool },
    /// A head, due as a whole.
    Head { until: Instant },
    /// Its body, or nothing: the head was parsed, and the request is for the proxy to answer.
    Parsed,
    /// Nothing any more: the request was answered without the proxy, and the connection ends.
    Over,
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Connection({:?}, {:?})", self.locked().phase, self.bytes)
    }
}

/// What the proxy tells its connection. Of HTTP/2, where many requests share one, it tells the stream.
impl Connection {
    fn of(session: &Session) -> Option<&Self> {
        session.as_downstream().stream()?.as_any().downcast_ref()
    }

    /// What Pingora had to put right in the bytes of the current request.
    pub fn fault(session: &Session) -> Option<Fault> {
        Self::of(session)?.bytes.fault()
    }

    /// The head of the current request was parsed.
    pub fn note_request(session: &Session, identifiers: Identifiers) {
        if let Some(connection) = Self::of(session) {
            let mut progress = connection.locked();
            progress.phase = Phase::Parsed;
            progress.identifiers = Some(identifiers);
        }
    }

    /// The current request is over: what comes next is the beginning of another.
    pub fn expect_request(session: &Session) {
        if let Some(connection) = Self::of(session) {
            let until = clock::monotonic() + connection.guard.timeouts.keepalive;
            *connection.locked() = Progress::waiting(until, false);
        }
    }

    /// What is known of the current exchange as one that may go on for long.
    pub(in crate::edge) fn watched<'s>(
        session: &'s Session,
        exchange: &'s Exchange,
    ) -> Option<MutexGuard<'s, Watched>> {
        match &exchange.line {
            Some(line) => Some(line.watched()),
            None => Some(Self::of(session)?.watched.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    /// From now on the upstream has this long for the head of its response; `None` when it is there, or has no limit.
    pub fn expect_head(session: &Session, exchange: &Exchange, within: Option<Duration>) {
        let until = within.and_then(|within| clock::monotonic().checked_add(within));
        if let Some(line) = &exchange.line {
            line.expect_head(until);
        } else if let Some(connection) = Self::of(session) {
            connection.locked().head_due = until;
        }
    }

    /// Whether the current request failed because the head of the response was not there in time.
    pub fn is_head_overdue(session: &Session, exchange: &Exchange) -> bool {
        exchange.line.as_ref().is_some_and(|line| line.is_head_overdue())
            || Self::of(session).is_some_and(|connection| connection.locked().is_overdue)
    }

    /// Whether the current request failed because the client took nothing of the response for too long.
    pub fn is_stalled(session: &Session) -> bool {
        Self::of(session).is_some_and(|connection| connection.locked().is_stalled)
    }
}

impl Progress {
    const fn waiting(until: Instant, is_first: bool) -> Self {
        Self {
            phase: Phase::Waiting { until, is_first },
            head_due: None,
            is_overdue: false,
            is_stalled: false,
            identifiers: None,
        }
    }
}

impl Connection {
    /// A connection whose first request has to be there at a certain time.
    pub(super) fn new(entered: Entered, until: Instant, guard: Arc<Guard>) -> Self {
        Self {
            inner: entered.stream,
            guard,
            bytes: RequestBytes::default(),
            frames: entered.is_http2.then(Frames::default),
            has_answered: false,
            is_unflushed: false,
            write_due: None,
            alarm: Alarm::default(),
            ending: Ending::default(),
            watched: Mutex::default(),
            progress: Mutex::new(Progress::waiting(until, true)),
        }
    }

    /// Whether the client speaks HTTP/2.
    pub(super) const fn is_http2(&self) -> bool {
        self.frames.is_some()
    }

    fn locked(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes came, and are looked at. Says why the head that they belong to is refused already, where it is.
    fn see(&mut self, arrived: &[u8]) -> Option<Rejection> {
        if let Some(frames) = &mut self.frames {
            frames.see(arrived);
            let (have_begun, is_abuse) = (frames.have_begun(), frames.is_abuse());
            if have_begun {
                // Its streams have no heads that could be seen here, and how long it may be idle is kept above.
                self.locked().phase = Phase::Parsed;
            }
            return is_abuse.then_some(Rejection::Overloaded);
        }
        let mut progress = self.locked();
        match progress.phase {
            Phase::Waiting { until, is_first } => {
                let until = if is_first { until } else { clock::monotonic() + self.guard.timeouts.head };
                progress.phase = Phase::Head { until };
                drop(progress);
                self.bytes = RequestBytes::default();
                self.has_answered = false;
            }
            Phase::Head { .. } => drop(progress),
            Phase::Parsed => {
                drop(progress);
                self.bytes.see(arrived);
                return None;
            }
            Phase::Over => return None,
        }
        self.bytes.see(arrived);
        self.bytes.excess(&self.guard.head_bounds)
    }

    /// Nothing comes. Whether that has gone on for too long; otherwise the task is woken when it has.
    fn gives_up_reading(&mut self, context: &mut Context<'_>) -> bool {
        let Progress { phase, head_due, .. } = *self.locked();
        let due = match phase {
            Phase::Waiting { until, .. } | Phase::Head { until } => Some(until),
            Phase::Parsed => head_due,
            Phase::Over => None,
        };
        if !due.is_some_and(|due| self.alarm.has_passed(due, context)) {
            return false;
        }
        match phase {
            Phase::Head { .. } if self.bytes.has_begun() => {
                self.refuse(Rejection::RequestTimeout, "the head was not complete in time", context);
            }
            // Nobody asked for anything, so that there is nothing to answer (RFC 9110 §15.5.9 would take a 408, but clients
            // that connect in advance take it for the answer to their next request).
            Phase::Waiting { .. } | Phase::Head { .. } | Phase::Over => {}
            Phase::Parsed => {
                let mut progress = self.locked();
                progress.is_overdue = true;
                progress.head_due = None;
            }
        }
        true
    }

    /// Ends an exchange that has gone on for long enough, if it has. The proxy is told by an error, unless something is to be
    /// said first; then it goes on for a moment and is told after it.
    fn end_exchange(&mut self, context: &mut Context<'_>) -> bool {
        let watched = self.watched.get_mut().unwrap_or_else(PoisonError::into_inner);
        Ending::is_due(watched, &mut self.alarm, context) && !self.ending.begin(watched, &mut self.inner, context)
    }

    /// Whoever waits for the client lets it have what it is waiting for. Pingora flushes a response of a known length when all
    /// of it was written: one that comes slowly would stay in the buffer, its head as well. While nothing new comes from the
    /// upstream it listens to the client, here.
    fn flush_before_waiting(&mut self, context: &mut Context<'_>) {
        // HTTP/2 flushes by itself whenever it has nothing more to write.
        if self.is_unflushed && !self.is_http2() {
            // Where it waits, the task is woken and comes here again; an error is the next write's.
            self.is_unflushed = Pin::new(&mut self.inner).poll_flush(context).is_pending();
        }
    }

    fn now_watched(&mut self) -> &mut Watched {
        self.watched.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_written(&mut self, bytes: &[u8]) {
        let watched = self.watched.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.ending.note_written(watched, bytes);
    }

    fn read_at_the_end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ending.poll_read(&mut self.inner, &mut self.alarm, context)
    }

    fn write_at_the_end(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let watched = self.watched.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.ending.poll_write(watched, (&mut self.inner, &mut self.alarm), context, bytes)
    }

    /// Bytes went by while an exchange goes on. Answers whether it is to end, which has begun then.
    fn is_exchange_over(&mut self, context: &mut Context<'_>) -> bool {
        let watched = self.watched.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !Ending::is_overdue(watched) {
            return false;
        }
        self.ending.begin(watched, &mut self.inner, context);
        true
    }

    /// Answers a request whose head did not get to the proxy, as the last thing on this connection.
    fn refuse(&mut self, rejection: Rejection, detail: &'static str, context: &mut Context<'_>) {
        let identifiers = Identifiers::random();
        self.locked().phase = Phase::Over;
        self.write_last(rejection, &identifiers, context);
        self.tell(rejection, identifiers, detail);
    }

    /// Writes as much of a refusal as the socket takes at once, which is all of it unless the client takes nothing.
    fn write_last(&mut self, rejection: Rejection, identifiers: &Identifiers, context: &mut Context<'_>) {
        let answer = respond::whole(&Refusal::new(rejection), identifiers.request());
        let _ = Pin::new(&mut self.inner).poll_write(context, &answer);
        let _ = Pin::new(&mut self.inner).poll_flush(context);
    }

    /// Ends an HTTP/2 connection, whose client is told nothing more.
    fn end(&self, rejection: Rejection, detail: &'static str) {
        self.locked().phase = Phase::Over;
        let (client, identifiers) = (peer(&self.inner).address(), Identifiers::random());
        (self.guard.tell)(&Incident { client, rejection, identifiers, detail, is_request: false });
    }

    fn tell(&self, rejection: Rejection, identifiers: Identifiers, detail: &'static str) {
        let client = peer(&self.inner).address();
        (self.guard.tell)(&Incident { client, rejection, identifiers, detail, is_request: true });
    }

    /// Something is about to be written. While no request was parsed, it is Pingora's answer to one that could not be.
    fn notice_answer(&mut self) {
        self.has_answered = true;
        let mut progress = self.locked();
        if matches!(progress.phase, Phase::Head { .. }) && self.bytes.has_begun() {
            progress.phase = Phase::Over;
            drop(progress);
            self.tell(Rejection::RequestMalformed, Identifiers::random(), "a head that cannot be parsed");
        }
    }

    /// What a write came to, unless the client has taken nothing for too long.
    fn unless_stalled<T>(&mut self, polled: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.write_due = None;
            return polled;
        }
        let due = *self.write_due.get_or_insert_with(|| clock::monotonic() + self.guard.timeouts.body);
        if !self.alarm.has_passed(due, context) {
            if self.end_exchange(context) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            if self.ending.has_begun() {
                // So that the end is heeded at once.
                context.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        self.locked().is_stalled = true;
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// A panic ends the request, and with it the connection.
    fn tell_of_panic(&mut self) {
        let Progress { phase, identifiers, .. } = *self.locked();
        let identifiers = identifiers.unwrap_or_else(Identifiers::random);
        if matches!(phase, Phase::Head { .. } | Phase::Parsed) && !self.has_answered {
            self.write_last(Rejection::Internal, &identifiers, &mut Context::from_waker(Waker::noop()));
        }
        if phase != Phase::Over {
            self.tell(Rejection::Internal, identifiers, "a panic, whose place is in the diagnostic log");
        }
    }
}

/// A panic drops the session and with it the connection, while nobody else could answer any more.
impl Drop for Connection {
    fn drop(&mut self) {
        if thread::panicking() {
            // A second panic would end the process.
            let _ = catch_unwind(AssertUnwindSafe(|| self.tell_of_panic()));
        }
    }
}
