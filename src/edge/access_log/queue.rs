//! The bounded queue between the threads that serve requests and the one that writes the log. Who serves never waits for
//! who writes: a line that finds no room is counted and lost. It does no I/O and reads no clock for what it keeps.
//!
//! One lock over the whole rather than a channel, because lines, the count of those lost behind them, their bytes and the
//! spare buffers change together, and because the writer takes everything at once.
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lines that wait at most.
pub(super) const LINES_MAX: usize = 8_192;
/// Bytes of lines that wait at most: hostile requests make long lines.
pub(super) const BYTES_MAX: usize = 16 * 1024 * 1024;
/// Buffers kept for new lines, and the largest that is.
const SPARES_MAX: usize = 256;
const SPARE_BYTES_MAX: usize = 4_096;

/// Everything that waited when the writer looked.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The lines in the order in which they came.
    pub(super) lines: Vec<Vec<u8>>,
    /// How many were lost after these.
    pub(super) lost: u64,
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
    pub(super) fn push(&self, line: Vec<u8>) -> bool {
        let mut state = self.lock();
        let bytes = state.bytes.saturating_add(line.len());
        if state.closed || state.batch.lines.len() >= LINES_MAX || bytes > BYTES_MAX {
            state.batch.lost = state.batch.lost.saturating_add(1);
            return false;
        }
        state.bytes = bytes;
        state.batch.lines.push(line);
        let wake = std::mem::take(&mut state.idle);
        drop(state);
        if wake {
            self.arrived.notify_one();
        }
        true
    }

    /// Everything that waits; sleeps while nothing does. `None` when the queue is closed and empty.
    ///
    /// `written` is an earlier batch, whose buffers are used again.
    pub(super) fn take(&self, written: &mut Batch) -> Option<Batch> {
        let mut state = self.lock();
        recycle(&mut state.spares, &mut written.lines);
        // Spares the queue from growing its list of lines again.
        let empty = Batch { lines: std::mem::take(&mut written.lines), lost: 0 };
        loop {
            if !state.batch.lines.is_empty() || state.batch.lost > 0 {
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
        let state = self.lock();
        state.batch.lines.is_empty() && state.batch.lost == 0
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
    use super::{BYTES_MAX, Batch, LINES_MAX, Queue, SPARES_MAX};
    use std::time::Duration;

    fn take(queue: &Queue) -> Batch {
        queue.take(&mut Batch::default()).unwrap()
    }

    #[test]
    fn lines_come_out_in_their_order_with_the_count_of_those_lost_behind_them() {
        let queue = Queue::default();
        for index in 0..LINES_MAX {
            assert!(queue.push(index.to_string().into_bytes()));
        }
        assert!(!queue.push(b"lost".to_vec()) && !queue.push(b"lost too".to_vec()));
        let batch = take(&queue);
        assert_eq!((batch.lines.len(), batch.lost), (LINES_MAX, 2));
        assert_eq!(batch.lines[17], b"17");
        assert!(queue.is_empty() && queue.push(b"room again".to_vec()));
        assert_eq!((take(&queue).lost, queue.is_empty()), (0, true));
    }

    #[test]
    fn long_lines_are_bounded_by_their_bytes() {
        let queue = Queue::default();
        assert!(queue.push(vec![b'x'; BYTES_MAX - 1]) && !queue.push(b"xx".to_vec()) && queue.push(b"x".to_vec()));
        assert_eq!(take(&queue).lost, 1);
        assert!(queue.push(vec![b'x'; BYTES_MAX]));
    }

    #[test]
    fn a_buffer_is_used_again_and_comes_back_empty_but_a_large_one_is_let_go() {
        let queue = Queue::default();
        let mut written = Batch::default();
        written.lines.push(Vec::with_capacity(1 << 20));
        written.lines.extend((0..SPARES_MAX * 2).map(|_| b"line".to_vec()));
        assert!(queue.push(b"next".to_vec()));
        let _ = queue.take(&mut written).unwrap();
        let spares: Vec<Vec<u8>> = (0..=SPARES_MAX).map(|_| queue.buffer()).collect();
        assert!(spares.iter().all(|spare| spare.is_empty() && spare.capacity() < 1 << 20));
        assert_eq!(spares.iter().filter(|spare| spare.capacity() > 0).count(), SPARES_MAX);
    }

    #[test]
    fn a_closed_queue_loses_new_lines_gives_out_the_old_ones_and_then_ends() {
        let queue = Queue::default();
        assert!(queue.push(b"before".to_vec()));
        assert!(!queue.close(Duration::ZERO), "nobody has written the line");
        assert!(!queue.push(b"after".to_vec()));
        let mut batch = take(&queue);
        assert_eq!((batch.lines.len(), batch.lost), (1, 1));
        assert!(queue.take(&mut batch).is_none());
        queue.finish();
        assert!(queue.close(Duration::ZERO));
    }
}
