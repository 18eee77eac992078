//! The bounded queue between the threads that serve requests and the one that writes the log. Who serves never waits for
//! who writes: a line that finds no room is counted and lost. It does no I/O and reads no clock for what it keeps.
//!
//! Half of the room is a reserve that refusals do not get: whoever floods the gateway with requests that it refuses, to hide
//! something else in the noise, loses his own lines and nobody else's.
//!
//! One lock over the whole rather than a channel, because lines, the count of those lost behind them, their bytes and the
//! spare buffers change together, and because the writer takes everything at once.
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lines that wait at most.
pub(super) const LINES_MAX: usize = 8_192;
/// Bytes of lines that wait at most: hostile requests make long lines.
pub(super) const BYTES_MAX: usize = 16 * 1024 * 1024;
/// The same for lines of refusals: they find no room where more waits already, of whatever kind.
pub(super) const REFUSALS_MAX: usize = LINES_MAX / 2;
const REFUSAL_BYTES_MAX: usize = BYTES_MAX / 2;
/// Buffers kept for new lines, and the largest that is.
const SPARES_MAX: usize = 256;
const SPARE_BYTES_MAX: usize = 4_096;

/// What a line tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A request that was refused.
    Refusal,
    /// One that was let in.
    Passage,
}

/// Everything that waited when the writer looked.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The lines in the order in which they came.
    pub(super) lines: Vec<Vec<u8>>,
    /// How many were lost since these began to wait.
    pub(super) lost: u64,
    /// The destination is to be opened again when these are written.
    pub(super) reopen: bool,
}

impl Batch {
    const fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.lost == 0 && !self.reopen
    }
}

#[derive(Debug, Default)]
struct State {
    batch: Batch,
    bytes: usize,
    spares: Vec<Vec<u8>>,
    /// No more lines are taken.
    closed: bool,
    /// The writer waits for lines: only then it must be woken.
    idle: bool,
    /// The writer has written all and is gone.
    finished: bool,
}

/// The queue; shared by reference.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    finished: Condvar,
}

impl Queue {
    /// An empty buffer, used before if there is one.
    pub(super) fn buffer(&self) -> Vec<u8> {
        self.lock().spares.pop().unwrap_or_default()
    }

    /// Adds a line; false when it was lost because there is no room or the queue is closed.
    pub(super) fn push(&self, line: Vec<u8>, kind: Kind) -> bool {
        let (lines_max, bytes_max) = match kind {
            Kind::Refusal => (REFUSALS_MAX, REFUSAL_BYTES_MAX),
            Kind::Passage => (LINES_MAX, BYTES_MAX),
        };
        let mut state = self.lock();
        let bytes = state.bytes.saturating_add(line.len());
        if state.closed || state.batch.lines.len() >= lines_max || bytes > bytes_max {
            state.batch.lost = state.batch.lost.saturating_add(1);
            return false;
        }
        state.bytes = bytes;
        state.batch.lines.push(line);
        self.wake(state);
        true
    }

    /// Has the destination opened again once what waits is written to it.
    pub(super) fn reopen(&self) {
        let mut state = self.lock();
        state.batch.reopen = true;
        self.wake(state);
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let wake = std::mem::take(&mut state.idle);
        drop(state);
        if wake {
            self.arrived.notify_one();
        }
    }

    /// Everything that waits; sleeps while nothing does. `None` when the queue is closed and empty.
    ///
    /// `written` is an earlier batch, whose buffers are used again.
    pub(super) fn take(&self, written: &mut Batch) -> Option<Batch> {
        let mut state = self.lock();
        recycle(&mut state.spares, &mut written.lines);
        // Spares the queue from growing its list of lines again.
        let empty = Batch { lines: std::mem::take(&mut written.lines), ..Batch::default() };
        loop {
            if !state.batch.is_empty() {
                state.bytes = 0;
                return Some(std::mem::replace(&mut state.batch, empty));
            }
            if state.closed {
                return None;
            }
            state.idle = true;
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().batch.is_empty()
    }

    /// Takes no more lines, and waits until the writer has written those that it has, at most for `patience`.
    ///
    /// False when that was not enough.
    pub(super) fn close(&self, patience: Duration) -> bool {
        let mut state = self.lock();
        state.closed = true;
        self.arrived.notify_one();
        let (state, _) = self
            .finished
            .wait_timeout_while(state, patience, |state| !state.finished)
            .unwrap_or_else(PoisonError::into_inner);
        state.finished
    }

    /// The writer has written everything.
    pub(super) fn finish(&self) {
        self.lock().finished = true;
        self.finished.notify_all();
    }

    /// A panic under this lock leaves whole lines behind: the log goes on.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps some of the buffers for new lines, none that is large, and leaves the list empty.
fn recycle(spares: &mut Vec<Vec<u8>>, written: &mut Vec<Vec<u8>>) {
    let room = SPARES_MAX.saturating_sub(spares.len());
    let kept = written.drain(..).filter(|buffer| buffer.capacity() <= SPARE_BYTES_MAX).take(room).map(|mut buffer| {
        buffer.clear();
        buffer
    });
    spares.extend(kept);
}

#[cfg(test)]
mod tests {
    use super::{BYTES_MAX, Batch, Kind, LINES_MAX, Queue, REFUSALS_MAX, SPARES_MAX};
    use std::time::Duration;

    fn push(queue: &Queue, line: impl Into<Vec<u8>>) -> bool {
        queue.push(line.into(), Kind::Passage)
    }

    fn take(queue: &Queue) -> Batch {
        queue.take(&mut Batch::default()).unwrap()
    }

    #[test]
    fn lines_come_out_in_their_order_with_the_count_of_those_lost_behind_them() {
        let queue = Queue::default();
        for index in 0..LINES_MAX {
            assert!(push(&queue, index.to_string()));
        }
        assert!(!push(&queue, b"lost".to_vec()) && !push(&queue, b"lost too".to_vec()));
        let batch = take(&queue);
        assert_eq!((batch.lines.len(), batch.lost), (LINES_MAX, 2));
        assert_eq!(batch.lines[17], b"17");
        assert!(queue.is_empty() && push(&queue, b"room again".to_vec()));
        assert_eq!((take(&queue).lost, queue.is_empty()), (0, true));
    }

    #[test]
    fn long_lines_are_bounded_by_their_bytes() {
        let queue = Queue::default();
        assert!(
            push(&queue, vec![b'x'; BYTES_MAX - 1]) && !push(&queue, b"xx".to_vec()) && push(&queue, b"x".to_vec())
        );
        assert_eq!(take(&queue).lost, 1);
        assert!(push(&queue, vec![b'x'; BYTES_MAX]));
    }

    #[test]
    fn refusals_leave_room_for_what_was_let_in_however_many_they_are() {
        let queue = Queue::default();
        let refuse = |line: Vec<u8>| queue.push(line, Kind::Refusal);
        let taken = (0..2 * LINES_MAX).filter(|_| refuse(b"refused".to_vec())).count();
        assert_eq!(taken, REFUSALS_MAX);
        for _ in REFUSALS_MAX..LINES_MAX {
            assert!(push(&queue, "allowed") && !refuse(b"refused".to_vec()));
        }
        assert!(!push(&queue, "allowed"), "what was let in fills the rest");
        let refused = 2 * LINES_MAX - REFUSALS_MAX + LINES_MAX - REFUSALS_MAX;
        assert_eq!(take(&queue).lost, u64::try_from(refused + 1).unwrap());
        assert!(refuse(vec![b'x'; BYTES_MAX / 2]) && !refuse(b"x".to_vec()), "nor do long ones fill the bytes");
        assert!(push(&queue, vec![b'x'; BYTES_MAX / 2]) && !push(&queue, "x"));
    }

    #[test]
    fn to_open_again_comes_after_the_lines_that_waited() {
        let queue = Queue::default();
        assert!(push(&queue, "before"));
        queue.reopen();
        assert!(!queue.is_empty());
        let batch = take(&queue);
        assert_eq!((batch.lines.len(), batch.reopen), (1, true));
        queue.reopen();
        let batch = take(&queue);
        assert_eq!((batch.lines.len(), batch.reopen), (0, true));
        assert!(queue.is_empty());
    }

    #[test]
    fn a_buffer_is_used_again_and_comes_back_empty_but_a_large_one_is_let_go() {
        let queue = Queue::default();
        let mut written = Batch::default();
        written.lines.push(Vec::with_capacity(1 << 20));
        written.lines.extend((0..SPARES_MAX * 2).map(|_| b"line".to_vec()));
        assert!(push(&queue, b"next".to_vec()));
        let _ = queue.take(&mut written).unwrap();
        let spares: Vec<Vec<u8>> = (0..=SPARES_MAX).map(|_| queue.buffer()).collect();
        assert!(spares.iter().all(|spare| spare.is_empty() && spare.capacity() < 1 << 20));
        assert_eq!(spares.iter().filter(|spare| spare.capacity() > 0).count(), SPARES_MAX);
    }

    #[test]
    fn a_closed_queue_loses_new_lines_gives_out_the_old_ones_and_then_ends() {
        let queue = Queue::default();
        assert!(push(&queue, b"before".to_vec()));
        assert!(!queue.close(Duration::ZERO), "nobody has written the line");
        assert!(!push(&queue, b"after".to_vec()));
        let mut batch = take(&queue);
        assert_eq!((batch.lines.len(), batch.lost), (1, 1));
        assert!(queue.take(&mut batch).is_none());
        queue.finish();
        assert!(queue.close(Duration::ZERO));
    }
}
