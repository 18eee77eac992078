//! The bytes of a guarded connection as they pass, both ways.
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Connection;

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ending.has_begun() {
            return self.read_at_the_end(context);
        }
        let (before, has_room) = (buffer.filled().len(), buffer.remaining() > 0);
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        if polled.is_pending() {
            self.flush_before_waiting(context);
            if self.gives_up_reading(context) || self.end_exchange(context) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            return if self.ending.has_begun() { self.read_at_the_end(context) } else { Poll::Pending };
        }
        let arrived = buffer.filled().get(before..).unwrap_or_default();
        if arrived.is_empty() {
            self.now_watched().has_client_left |= has_room;
            return polled;
        }
        if let Some(rejection) = self.see(arrived) {
            if self.is_http2() {
                self.end(rejection, "streams that the client takes back");
            } else {
                self.refuse(rejection, "more than any head may have", context);
            }
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        if let Some(stream) = &mut self.now_watched().stream {
            stream.note_activity();
        }
        if self.is_exchange_over(context) {
            buffer.set_filled(before);
            return self.read_at_the_end(context);
        }
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.ending.has_begun() || self.is_exchange_over(context) {
            return self.write_at_the_end(context, bytes);
        }
        self.notice_answer();
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        if let Poll::Ready(Ok(length)) = polled {
            self.is_unflushed = true;
            self.note_written(bytes.get(..length).unwrap_or(bytes));
        }
        self.unless_stalled(polled, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(context);
        self.is_unflushed &= polled.is_pending();
        self.unless_stalled(polled, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_shutdown(context);
        self.unless_stalled(polled, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // What has to be looked at is written piece by piece.
        let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
        self.poll_write(context, first)
    }

    fn is_write_vectored(&self) -> bool {
        false
    }
}
