//! The end of an exchange that goes on for too long: who may still say something, and for how long.
//!
//! A WebSocket is told why, by a close frame between two frames of the server, and the client gets a moment to take it;
//! everything else is cut.
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use pingora_core::protocols::Stream as Inner;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    edge::{
        clock,
        guard::{
            alarm::Alarm,
            websocket::{CloseCode, Frames, close_frame},
        },
        stream::Stream,
    },
    state::stream_watch::StreamEnd,
};

/// How long a frame that has begun may take to end, and then the client to take the close frame.
const FAREWELL_TIME: Duration = Duration::from_millis(500);

/// What the proxy says of the current exchange.
#[derive(Debug, Default)]
pub(in crate::edge) struct Watched {
    /// The exchange, from when its request goes out.
    pub(in crate::edge) stream: Option<Stream>,
    /// Whether what is written is a WebSocket, or about to become one.
    pub(in crate::edge) is_websocket: bool,
    /// Why it was ended here.
    pub(in crate::edge) ended: Option<StreamEnd>,
    /// Whether the client has ended its side.
    pub(in crate::edge) has_client_left: bool,
}

/// How far the end is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    #[default]
    None,
    /// The server may end the frame that it has begun; the client is not heard any more.
    FrameEnd { until: Instant },
    /// The close frame was sent; neither side is heard any more.
    Farewell { until: Instant },
    /// All is said.
    Over,
}

/// The end of the current exchange.
#[derive(Debug, Default)]
pub(super) struct Ending {
    step: Step,
    frames: Option<Frames>,
}

impl Ending {
    /// Whether reading and writing are not for the proxy any more.
    pub(super) fn has_begun(&self) -> bool {
        self.step != Step::None
    }

    /// Bytes were written.
    pub(super) fn note_written(&mut self, watched: &mut Watched, bytes: &[u8]) {
        if let Some(stream) = &mut watched.stream {
            stream.note_activity();
        }
        if watched.is_websocket {
            self.frames.get_or_insert_default().see(bytes);
        }
    }

    /// Whether the exchange is to end; otherwise the task is woken when that is to be asked again, if not before.
    pub(super) fn is_due(watched: &mut Watched, alarm: &mut Alarm, context: &mut Context<'_>) -> bool {
        let Some(stream) = watched.stream.as_mut().filter(|_| watched.ended.is_none()) else { return false };
        while let Some(due) = stream.due() {
            if !alarm.has_passed(due, context) {
                return false;
            }
            if let Some(end) = stream.check() {
                watched.ended = Some(end);
                return true;
            }
        }
        false
    }

    /// The same without being woken: for an exchange in which something comes all the time.
    pub(super) fn is_overdue(watched: &mut Watched) -> bool {
        let Some(stream) = watched.stream.as_mut().filter(|_| watched.ended.is_none()) else { return false };
        if stream.due().is_none_or(|due| clock::monotonic() < due) {
            return false;
        }
        watched.ended = stream.check();
        watched.ended.is_some()
    }

    /// Begins the end, where something is to be said first: answers whether it is. Everything else is cut by an error, after
    /// which a response that has not begun may still be a refusal.
    pub(super) fn begin(&mut self, watched: &Watched, inner: &mut Inner, context: &mut Context<'_>) -> bool {
        let until = clock::monotonic() + FAREWELL_TIME;
        self.step = match &self.frames {
            Some(frames) if frames.may_close() => self.say_goodbye(watched, inner, context),
            Some(frames) if frames.is_within() => Step::FrameEnd { until },
            Some(_) | None => return false,
        };
        true
    }

    fn say_goodbye(&self, watched: &Watched, inner: &mut Inner, context: &mut Context<'_>) -> Step {
        let end = watched.ended.unwrap_or(StreamEnd::Failed);
        let code = if end.rejection().is_some() { CloseCode::PolicyViolation } else { CloseCode::GoingAway };
        let frame = close_frame(code, end.label());
        // It fits into any socket's buffer, unless the client takes nothing; then it is no use.
        let written = Pin::new(&mut *inner).poll_write(context, &frame);
        if !matches!(written, Poll::Ready(Ok(length)) if length == frame.len()) {
            return Step::Over;
        }
        let _ = Pin::new(inner).poll_flush(context);
        Step::Farewell { until: clock::monotonic() + FAREWELL_TIME }
    }

    /// Reads for the proxy, which gets nothing any more but the end.
    pub(super) fn poll_read(
        &mut self,
        inner: &mut Inner,
        alarm: &mut Alarm,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let (Step::FrameEnd { until } | Step::Farewell { until }) = self.step else { return over() };
        // What the client still says is taken and forgotten: a connection that is closed with bytes unread is reset, and
        // with it goes what the client has not read yet.
        let mut bytes = [0; 1024];
        loop {
            let mut scratch = ReadBuf::new(&mut bytes);
            match Pin::new(&mut *inner).poll_read(context, &mut scratch) {
                // Who has something to say all the time keeps nothing open by it.
                Poll::Ready(Ok(())) if !scratch.filled().is_empty() && clock::monotonic() < until => {}
                Poll::Ready(_) => break,
                Poll::Pending if alarm.has_passed(until, context) => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        self.step = Step::Over;
        over()
    }

    /// Writes for the proxy: to the end of the frame that has begun, and then nothing that the client would see.
    pub(super) fn poll_write(
        &mut self,
        watched: &Watched,
        (inner, alarm): (&mut Inner, &mut Alarm),
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let (until, frames) = match (self.step, &mut self.frames) {
            (Step::FrameEnd { until }, Some(frames)) => (until, frames),
            (Step::Farewell { .. }, _) => return Poll::Ready(Ok(bytes.len())),
            (Step::None | Step::FrameEnd { .. } | Step::Over, _) => return over(),
        };
        let allowed = bytes.get(..frames.until_boundary(bytes)).unwrap_or(bytes);
        let polled = Pin::new(&mut *inner).poll_write(context, allowed);
        if alarm.has_passed(until, context) {
            self.step = Step::Over;
            return over();
        }
        if let Poll::Ready(Ok(written)) = polled {
            frames.see(allowed.get(..written).unwrap_or_default());
            if frames.may_close() {
                self.step = self.say_goodbye(watched, inner, context);
            }
        }
        polled
    }
}

fn over<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
}
