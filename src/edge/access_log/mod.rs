//! The access log: one line a request, written by a thread of its own. A slow reader of the log costs lines, which are
//! counted and told of in the log, never requests. What a line says is `record`; how it is spelled, `json_line`.
mod json_line;
mod queue;
mod record;
mod writer;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;

pub use crate::edge::access_log::json_line::{JsonLine, cut};
use crate::edge::access_log::queue::Queue;
pub use crate::edge::access_log::record::{AuthRecord, Format, ObservedRecord, Record};
use crate::edge::access_log::writer::Writer;
pub use crate::edge::access_log::writer::write_out;

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file that is appended to, and created with mode 0640 when it is not there.
    File(PathBuf),
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => formatter.write_str("stdout"),
            Self::Stderr => formatter.write_str("stderr"),
            Self::File(path) => write!(formatter, "{}", path.display()),
        }
    }
}

/// Why the access log could not be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLogError {
    /// The destination cannot be opened for writing.
    Open {
        /// What was to be opened.
        destination: Destination,
        /// Why not, in the words of the system.
        cause: String,
    },
    /// The system gave no thread to write with.
    Thread(String),
}

impl fmt::Display for AccessLogError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { destination, cause } => {
                write!(formatter, "cannot open {destination} for the access log: {cause}")
            }
            Self::Thread(cause) => write!(formatter, "cannot start the thread that writes the access log: {cause}"),
        }
    }
}

impl std::error::Error for AccessLogError {}

/// The access log as those who serve requests see it.
#[derive(Debug)]
pub struct AccessLog {
    queue: Arc<Queue>,
    format: Format,
    dropped: IntCounter,
}

impl AccessLog {
    /// Opens the destination and starts the thread that writes to it. Lines that are lost are added to `dropped`.
    ///
    /// # Errors
    /// An [`AccessLogError`] that names the destination and the cause.
    pub fn start(destination: Destination, format: Format, dropped: IntCounter) -> Result<Self, AccessLogError> {
        let writer = Writer::open(destination.clone(), format, dropped.clone())
            .map_err(|error| AccessLogError::Open { destination, cause: error.to_string() })?;
        let queue = Arc::new(Queue::default());
        let lines = Arc::clone(&queue);
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || writer.run(&lines))
            .map_err(|error| AccessLogError::Thread(error.to_string()))?;
        Ok(Self { queue, format, dropped })
    }

    /// Tells of a request. Never waits for the destination.
    pub fn tell(&self, record: &Record<'_>) {
        let line = record.write(self.format, self.queue.buffer());
        if !self.queue.push(line, record.kind()) {
            self.dropped.inc();
        }
    }

    /// Opens the file again, by its name, once what waits is written to the one that is open: for those who have moved it
    /// away. Other destinations stay as they are, and so does a file that cannot be opened. Does not wait for it.
    pub fn reopen(&self) {
        self.queue.reopen();
    }

    /// Takes no more lines and returns when those taken are written: to be called before the process ends.
    ///
    /// Waits at most `patience` for a destination that does not take them; false when it did not.
    #[must_use]
    pub fn close(&self, patience: Duration) -> bool {
        self.queue.close(patience)
    }
}

impl Drop for AccessLog {
    /// Lets the writer end when it has written what it has; nobody waits for that here.
    fn drop(&mut self) {
        let _ = self.queue.close(Duration::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use super::{AccessLog, AccessLogError, Destination, Format, Record, queue, record::tests::BARE};
    use prometheus::IntCounter;
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;
    use std::process::Command;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn record(request_id: &str) -> Record<'_> {
        Record { request_id, status: 200, ..BARE }
    }

    fn counter() -> IntCounter {
        IntCounter::new("lost", "lost").unwrap()
    }

    fn path(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("portcullis-access-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    /// The request ids and gaps in a log.
    fn told(log: &str) -> Vec<String> {
        log.lines()
            .map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                line["request_id"].as_str().map_or_else(|| format!("lost {}", line["lines_lost"]), str::to_owned)
            })
            .collect()
    }

    #[test]
    fn closing_writes_every_line_and_a_file_is_appended_to() {
        let path = path("file");
        for run in ["first", "second"] {
            let dropped = counter();
            let log = AccessLog::start(Destination::File(path.clone()), Format::Json, dropped.clone()).unwrap();
            for index in 0..5_000 {
                log.tell(&record(&format!("{run}-{index}")));
            }
            assert!(log.close(PATIENCE));
            assert_eq!(dropped.get(), 0);
            log.tell(&record("too late"));
            assert_eq!(dropped.get(), 1);
        }
        let expected: Vec<String> =
            ["first", "second"].iter().flat_map(|run| (0..5_000).map(move |index| format!("{run}-{index}"))).collect();
        assert_eq!(told(&std::fs::read_to_string(&path).unwrap()), expected);
        // Whatever the umask took away, nobody outside the group reads it.
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_line_is_written_without_waiting_for_the_next_one() {
        let path = path("prompt");
        let made = Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        // Opening one end of a pipe waits for the other, so that the reader needs its own thread.
        let reader = std::thread::spawn({
            let path = path.clone();
            move || {
                let mut pipe = std::fs::File::open(path).unwrap();
                let mut line = [0; 512];
                let bytes = pipe.read(&mut line).unwrap();
                (String::from_utf8(line[..bytes].to_vec()).unwrap(), pipe)
            }
        });
        let log = AccessLog::start(Destination::File(path.clone()), Format::Json, counter()).unwrap();
        log.tell(&record("alone"));
        let (line, _pipe) = reader.join().unwrap();
        assert_eq!(told(&line), ["alone"]);
        assert!(log.close(PATIENCE));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_reader_that_stands_still_costs_lines_and_the_log_says_how_many() {
        let path = path("slow");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let opened = std::thread::spawn({
            let path = path.clone();
            move || std::fs::File::open(path).unwrap()
        });
        let dropped = counter();
        let log = AccessLog::start(Destination::File(path.clone()), Format::Json, dropped.clone()).unwrap();
        let mut pipe = opened.join().unwrap();
        // Nobody reads: the pipe fills, then the queue, and telling still returns at once.
        let told_of = 4 * queue::LINES_MAX;
        for index in 0..told_of {
            log.tell(&record(&index.to_string()));
        }
        let lost = dropped.get();
        assert!(lost > 0);
        assert!(!log.close(Duration::ZERO), "the reader has not read");
        let reader = std::thread::spawn(move || {
            let mut all = String::new();
            pipe.read_to_string(&mut all).unwrap();
            all
        });
        assert!(log.close(PATIENCE));
        drop(log);
        let told = told(&reader.join().unwrap());
        let gaps: u64 = told.iter().filter_map(|line| line.strip_prefix("lost ")?.parse::<u64>().ok()).sum();
        let lines = told.iter().filter(|line| !line.starts_with("lost ")).count();
        assert_eq!(gaps, lost);
        assert_eq!(u64::try_from(lines).unwrap() + lost, u64::try_from(told_of).unwrap());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let dropped = counter();
        let log =
            AccessLog::start(Destination::File(PathBuf::from("/dev/full")), Format::Text, dropped.clone()).unwrap();
        for _ in 0..10 {
            log.tell(&record("lost"));
        }
        assert!(log.close(PATIENCE));
        assert_eq!(dropped.get(), 10);
    }

    #[test]
    fn a_file_that_was_moved_away_is_opened_again_and_no_line_is_lost_or_torn() {
        let (path, moved) = (path("rotated"), path("rotated-1"));
        let dropped = counter();
        let log = AccessLog::start(Destination::File(path.clone()), Format::Json, dropped.clone()).unwrap();
        (0..100).for_each(|index| log.tell(&record(&format!("old-{index}"))));
        std::fs::rename(&path, &moved).unwrap();
        (0..100).for_each(|index| log.tell(&record(&format!("between-{index}"))));
        log.reopen();
        (0..100).for_each(|index| log.tell(&record(&format!("new-{index}"))));
        assert!(log.close(PATIENCE));
        let told = [&moved, &path].map(|path| told(&std::fs::read_to_string(path).unwrap()));
        assert_eq!((told[0].len() + told[1].len(), dropped.get()), (300, 0));
        // What waited when it was asked goes to the old file; more may have come before the writer looked.
        assert!(told[0].len() >= 200 && told[0][..100].iter().all(|line| line.starts_with("old-")), "{told:?}");
        [path, moved].iter().for_each(|path| std::fs::remove_file(path).unwrap());
    }

    #[test]
    fn a_file_that_cannot_be_opened_again_goes_on_as_it_was() {
        let folder = path("folder");
        std::fs::create_dir(&folder).unwrap();
        let (inside, outside) = (folder.join("log"), path("outside"));
        let log = AccessLog::start(Destination::File(inside.clone()), Format::Json, counter()).unwrap();
        std::fs::rename(&inside, &outside).unwrap();
        std::fs::remove_dir(&folder).unwrap();
        log.reopen();
        log.tell(&record("after"));
        assert!(log.close(PATIENCE));
        assert_eq!(told(&std::fs::read_to_string(&outside).unwrap()), ["after"]);
        std::fs::remove_file(&outside).unwrap();
    }

    /// A file that may not grow beyond a limit of the process takes a part of a line: seen from another process.
    #[test]
    fn a_line_that_was_torn_is_ended_and_those_lost_with_it_are_told_of_when_there_is_room_again() {
        if let Some(path) = std::env::var_os("PORTCULLIS_TEST_TORN_LOG").map(PathBuf::from) {
            let dropped = counter();
            let log = AccessLog::start(Destination::File(path.clone()), Format::Json, dropped.clone()).unwrap();
            for index in 0..1_000 {
                log.tell(&record(&index.to_string()));
            }
            // Until each of them is written or lost.
            let written = || std::fs::read_to_string(&path).unwrap().lines().filter(|line| line.ends_with('}')).count();
            while written() as u64 + dropped.get() < 1_000 {
                std::thread::yield_now();
            }
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            // Room again, and what was there ends where nobody would end it.
            file.set_len(1_000).unwrap();
            log.tell(&record("again"));
            assert!(log.close(PATIENCE));
            let text = std::fs::read_to_string(&path).unwrap();
            let mut lines: Vec<&str> = text.split_at(1_000).1.split_inclusive('\n').collect();
            assert_eq!(lines.remove(0), "\n", "the torn line is ended: {text}");
            let told = told(&lines.concat());
            assert_eq!(told, [format!("lost {}", dropped.get()), "again".to_owned()]);
            return;
        }
        let path = path("torn");
        // The signal that comes with the limit would end the process.
        let script = "trap '' XFSZ; ulimit -f 8; exec \"$0\" --exact \"$1\"";
        let output = Command::new("sh")
            .args(["-c", script])
            .arg(std::env::current_exe().unwrap())
            .arg("edge::access_log::tests::a_line_that_was_torn_is_ended_and_those_lost_with_it_are_told_of_when_there_is_room_again")
            .env("PORTCULLIS_TEST_TORN_LOG", &path)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named_at_the_start() {
        let path = PathBuf::from("/nonexistent/access.log");
        let error = AccessLog::start(Destination::File(path), Format::Json, counter()).unwrap_err();
        assert!(matches!(error, AccessLogError::Open { .. }));
        assert_eq!(
            error.to_string(),
            "cannot open /nonexistent/access.log for the access log: No such file or directory (os error 2)"
        );
    }

    /// Standard output of a test run is captured by a lock that this log goes around: seen from another process.
    #[test]
    fn standard_output_and_error_are_destinations_too() {
        if let Some(destination) = std::env::var_os("PORTCULLIS_TEST_ACCESS_LOG") {
            let destination = if destination == "stdout" { Destination::Stdout } else { Destination::Stderr };
            let log = AccessLog::start(destination, Format::Text, counter()).unwrap();
            log.tell(&record("told"));
            assert!(log.close(PATIENCE));
            return;
        }
        for destination in ["stdout", "stderr"] {
            let output = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "edge::access_log::tests::standard_output_and_error_are_destinations_too"])
                .env("PORTCULLIS_TEST_ACCESS_LOG", destination)
                .output()
                .unwrap();
            let stream = if destination == "stdout" { output.stdout } else { output.stderr };
            let text = String::from_utf8(stream).unwrap();
            assert!(text.contains("Z - \"GET - /\" 200 0.000000 - -\n"), "{destination}: {text}");
        }
    }
}
