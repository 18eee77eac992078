//! The writing end of the access log, on a thread of its own: the only one that waits for the destination.
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::thread;
use std::time::Duration;

use prometheus::IntCounter;

use crate::edge::access_log::Destination;
use crate::edge::access_log::queue::{Batch, Queue};
use crate::edge::access_log::record::{Format, gap_line};
use crate::edge::clock;

/// Bytes that are gathered before they are written.
const WRITE_BYTES: usize = 64 * 1024;
/// How long a destination that cannot be waited for is left alone: a pipe that whoever started the process made
/// non-blocking for all who have it.
const PAUSE: Duration = Duration::from_millis(5);

/// Writes what the queue holds.
#[derive(Debug)]
pub(super) struct Writer {
    file: File,
    destination: Destination,
    format: Format,
    dropped: IntCounter,
    /// The last write failed, and that was reported.
    failing: bool,
    /// Lines that could not be written and that the log has not told of yet.
    lost: u64,
    /// The destination ends in the middle of a line.
    torn: bool,
}

impl Writer {
    /// Opens the destination; lines that cannot be written will be added to `dropped`.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn open(destination: Destination, format: Format, dropped: IntCounter) -> io::Result<Self> {
        let file = open(&destination)?;
        Ok(Self { file, destination, format, dropped, failing: false, lost: 0, torn: false })
    }

    /// Writes until the queue is closed and empty.
    pub(super) fn run(mut self, queue: &Queue) {
        let mut gathered = Gathered::default();
        let mut written = Batch::default();
        while let Some(batch) = queue.take(&mut written) {
            let untold = std::mem::take(&mut self.lost);
            gathered.add_gap(self.format, untold);
            for line in &batch.lines {
                gathered.bytes.extend_from_slice(line);
                if gathered.bytes.len() >= WRITE_BYTES {
                    self.write(&mut gathered);
                }
            }
            gathered.add_gap(self.format, batch.lost);
            // More may have come: then a fuller write is near, and what waits here waits no longer than that.
            if batch.reopen || queue.is_empty() || gathered.bytes.len() >= WRITE_BYTES {
                self.write(&mut gathered);
            }
            if batch.reopen {
                self.reopen();
            }
            written = batch;
        }
        self.write(&mut gathered);
        queue.finish();
    }

    /// Writes what was gathered. What cannot be written is lost, counted, and told of in the log when that can be written
    /// again; the first failure in a row is reported.
    fn write(&mut self, gathered: &mut Gathered) {
        if gathered.bytes.is_empty() {
            return;
        }
        if self.torn && write_out(&mut self.file, b"\n").1.is_ok() {
            self.torn = false;
        }
        let (done, result) = match self.torn {
            true => (0, Err(io::ErrorKind::WriteZero.into())),
            false => write_out(&mut self.file, &gathered.bytes),
        };
        let (written, rest) = gathered.bytes.split_at_checked(done).unwrap_or((&gathered.bytes, &[]));
        if let Some(last) = written.last() {
            self.torn = *last != b'\n';
        }
        match result {
            Ok(()) => self.failing = false,
            Err(error) => {
                // Every line ends with its only line feed; of one that was torn that end is among what was not written.
                let lines = rest.iter().filter(|byte| **byte == b'\n').count() as u64;
                let (gaps, told) = gathered.gaps_beyond(done);
                self.dropped.inc_by(lines.saturating_sub(gaps));
                self.lost = self.lost.saturating_add(lines.saturating_sub(gaps)).saturating_add(told);
                if !std::mem::replace(&mut self.failing, true) {
                    log::error!("the access log cannot be written to {}: {error}; lines are lost", self.destination);
                }
            }
        }
        gathered.bytes.clear();
        gathered.gaps.clear();
    }

    fn reopen(&mut self) {
        let Destination::File(path) = &self.destination else {
            log::debug!("the access log goes to {} and is not opened again", self.destination);
            return;
        };
        match open(&self.destination) {
            Ok(file) => {
                self.file = file;
                (self.failing, self.torn) = (false, false);
                log::info!("the access log was opened again: {}", path.display());
            }
            Err(error) => log::error!(
                "the access log cannot be opened again: {}: {error}; lines go on to the file that was open",
                path.display()
            ),
        }
    }
}

/// Lines on their way to one write.
#[derive(Debug, Default)]
struct Gathered {
    bytes: Vec<u8>,
    /// Where lines end that tell of lost ones, and of how many.
    gaps: Vec<(usize, u64)>,
}

impl Gathered {
    /// Adds the line that says how many were lost, if any were.
    fn add_gap(&mut self, format: Format, lost: u64) {
        if lost > 0 {
            self.bytes.extend(gap_line(format, clock::now(), lost, Vec::new()));
            self.gaps.push((self.bytes.len(), lost));
        }
    }

    /// How many lines that tell of lost ones end beyond so many bytes, and of how many they tell.
    fn gaps_beyond(&self, bytes: usize) -> (u64, u64) {
        let beyond = self.gaps.iter().filter(|(end, _)| *end > bytes);
        beyond.fold((0, 0), |(gaps, told): (u64, u64), (_, lost)| (gaps + 1, told.saturating_add(*lost)))
    }
}

fn open(destination: &Destination) -> io::Result<File> {
    match destination {
        // Descriptors of our own: the lock of the standard streams would be held while a slow reader is waited for.
        Destination::Stdout => Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
        Destination::Stderr => Ok(File::from(io::stderr().as_fd().try_clone_to_owned()?)),
        Destination::File(path) => OpenOptions::new().append(true).create(true).mode(0o640).open(path),
    }
}

/// Writes all, waiting for a destination that others have made non-blocking, and says how many bytes of it were written.
pub fn write_out(file: &mut File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut done = 0;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        match file.write(rest) {
            Ok(0) => return (done, Err(io::ErrorKind::WriteZero.into())),
            Ok(written) => done += written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(error) => return (done, Err(error)),
        }
    }
    (done, Ok(()))
}
