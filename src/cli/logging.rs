//! The diagnostic log: to standard error, at the level of the configuration or of `RUST_LOG`.
//!
//! It never lets a library tell what a client sent, whatever level is asked for: Pingora's finer messages hold header
//! fields, its errors whole heads and targets, and with them tokens.
//!
//! Nor does it let anybody wait for whoever reads standard error: a thread of its own writes, and what finds no room before it is
//! lost and counted.
use std::{
    fmt,
    fs::File,
    io::{self, Write},
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use env_logger::Target;
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::edge::access_log::write_out;

/// Lines that wait at most.
const LINES_MAX: usize = 1_024;
/// Longest wait for what is written at the end.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time between two attempts to be the next in a queue that is full.
const PAUSE: Duration = Duration::from_millis(5);

/// Libraries whose messages below warnings may hold what clients sent.
const TALKATIVE: &[&str] = &["pingora", "h2", "hyper", "ureq", "rustls"];
/// Modules whose every message may: they quote the target of a request that failed, and the head of one that cannot be
/// parsed. Nothing is lost: what became of a request is in the access log.
const QUOTING: &[&str] = &["pingora_proxy", "pingora_core::apps", "pingora_core::protocols"];

/// Calls it an error that the process before has not yet handed its sockets over, and says nothing else that is not told.
const IMPATIENT: &str = "pingora_core::server::transfer_fd";

struct Discreet {
    logger: env_logger::Logger,
    /// To the thread that writes; nothing where there is none, and the logger writes by itself.
    queue: Option<Queue>,
}

/// What goes to the thread that writes.
enum Message {
    Line(Vec<u8>),
    /// Answered once everything before it is written.
    Flush(SyncSender<()>),
}

/// The way to the thread that writes. It never waits, unless it is asked to flush.
#[derive(Clone)]
struct Queue {
    messages: SyncSender<Message>,
    /// Lines that found no room since the last that did.
    lost: Arc<AtomicU64>,
}

impl Queue {
    /// Starts the thread; nothing where the system gives none.
    fn start(mut destination: File) -> io::Result<Self> {
        let (messages, incoming) = sync_channel(LINES_MAX);
        let queue = Self { messages, lost: Arc::default() };
        let lost = Arc::clone(&queue.lost);
        let write = move || write_all(&mut destination, &incoming, &lost);
        thread::Builder::new().name("log".to_owned()).spawn(write)?;
        Ok(queue)
    }

    /// Waits until everything is written, at most for [`PATIENCE`].
    fn flush(&self) {
        let deadline = Instant::now() + PATIENCE;
        let (done, written) = sync_channel(1);
        let mut message = Message::Flush(done);
        while let Err(TrySendError::Full(back)) = self.messages.try_send(message) {
            if Instant::now() >= deadline {
                return;
            }
            message = back;
            thread::sleep(PAUSE);
        }
        let _ = written.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

/// A whole line comes at once.
impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.messages.try_send(Message::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(destination: &mut File, incoming: &Receiver<Message>, lost: &AtomicU64) {
    for message in incoming {
        // Whoever cannot be written to cannot be told either.
        match message {
            Message::Line(line) => {
                let _ = write_out(destination, &line);
            }
            Message::Flush(done) => {
                let _ = done.try_send(());
            }
        }
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = write_out(destination, format!("[{lost} lines of this log were lost]\n").as_bytes());
        }
    }
}

impl fmt::Debug for Discreet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Discreet")
    }
}

/// Whether a message of this module and level can hold nothing that a client sent.
fn is_harmless(target: &str, level: Level) -> bool {
    let is_of = |names: &[&str]| names.iter().any(|name| target.starts_with(name));
    !is_of(QUOTING) && !target.starts_with(IMPATIENT) && (level <= Level::Warn || !is_of(TALKATIVE))
}

impl Log for Discreet {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_harmless(metadata.target(), metadata.level()) && self.logger.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.logger.log(record);
        }
    }

    fn flush(&self) {
        match &self.queue {
            Some(queue) => queue.flush(),
            None => self.logger.flush(),
        }
    }
}

/// Starts the log. A second call changes nothing.
pub fn start(level: LevelFilter) {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(level);
    builder.filter_module("pingora_core", LevelFilter::Error.min(level));
    builder.parse_env("RUST_LOG");
    // A descriptor of its own: the lock of standard error would be held while a slow reader is waited for.
    let destination = io::stderr().as_fd().try_clone_to_owned();
    let queue = destination.and_then(|destination| Queue::start(File::from(destination))).ok();
    if let Some(queue) = &queue {
        builder.target(Target::Pipe(Box::new(queue.clone())));
    }
    let logger = builder.build();
    let most = logger.filter();
    if log::set_boxed_logger(Box::new(Discreet { logger, queue })).is_ok() {
        log::set_max_level(most);
    }
}

#[cfg(test)]
mod tests {
    use super::{LINES_MAX, Queue, is_harmless};
    use log::Level;
    use std::{
        fs::File,
        io::{PipeReader, Read as _, Write as _},
        os::fd::OwnedFd,
    };

    fn started() -> (Queue, PipeReader) {
        let (reader, writer) = std::io::pipe().unwrap();
        (Queue::start(File::from(OwnedFd::from(writer))).unwrap(), reader)
    }

    #[test]
    fn what_was_said_before_a_flush_is_written_after_it() {
        let (mut queue, mut reader) = started();
        queue.write_all(b"first\n").unwrap();
        queue.write_all(b"second\n").unwrap();
        queue.flush();
        let mut written = [0; 13];
        reader.read_exact(&mut written).unwrap();
        assert_eq!(&written, b"first\nsecond\n");
    }

    #[test]
    fn nobody_waits_for_a_reader_that_stands_still_and_what_it_missed_is_counted() {
        let (mut queue, mut reader) = started();
        let line = [vec![b'x'; 1_023], vec![b'\n']].concat();
        // Beyond what a pipe and the queue hold.
        let told_of = 4 * LINES_MAX;
        (0..told_of).for_each(|_| queue.write_all(&line).unwrap());
        // It gives up in the end.
        queue.flush();
        let read = std::thread::spawn(move || {
            let mut all = String::new();
            reader.read_to_string(&mut all).unwrap();
            all
        });
        queue.flush();
        drop(queue);
        let all = read.join().unwrap();
        let (lines, gaps): (Vec<&str>, Vec<&str>) = all.lines().partition(|line| line.starts_with('x'));
        let told = |gap: &str| gap.trim_start_matches('[').split(' ').next().unwrap().parse::<usize>().unwrap();
        let lost: usize = gaps.iter().map(|gap| told(gap)).sum();
        assert!(lines.iter().all(|line| line.len() == 1_023), "no line is torn");
        assert!(lost > LINES_MAX, "{lost} of {told_of}");
        assert_eq!(lines.len() + lost, told_of, "{gaps:?}");
    }

    #[test]
    fn what_may_hold_a_clients_words_is_silent_at_every_level() {
        for (target, loudest) in [
            ("pingora_proxy", None),
            ("pingora_proxy::proxy_h1", None),
            ("pingora_core::apps::http_app", None),
            ("pingora_core::protocols::http::v1::common", None),
            ("pingora_core::services::listening", Some(Level::Warn)),
            ("ureq::unversioned", Some(Level::Warn)),
            ("portcullis::edge::proxy", Some(Level::Trace)),
        ] {
            for level in Level::iter() {
                assert_eq!(
                    is_harmless(target, level),
                    loudest.is_some_and(|loudest| level <= loudest),
                    "{target} {level}"
                );
            }
        }
    }
}
