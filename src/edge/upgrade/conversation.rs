//! What the process that serves and the one that is to take its place say to each other: lines of JSON on a socket that nobody
//! else has. Two versions of the program may speak here: what one does not understand is a failed upgrade, never a guess.
use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::edge::{clock, metrics::Counters};

/// Which words these are; another number is not understood.
pub(super) const PROTOCOL: u32 = 1;
/// The longest line: the counters of many routes.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest wait for the other side to read.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);

/// What the new process is told in its environment.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Notice {
    pub(super) protocol: u32,
    /// Where it gets the sockets.
    pub(super) socket: PathBuf,
    /// Which these are, as Pingora names them.
    pub(super) addresses: Vec<String>,
    /// Whether it may serve only once it is ready, as the old one is.
    pub(super) must_be_ready: bool,
}

/// What the new process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FromNew {
    /// It will not serve.
    Failed { why: String },
    /// It could serve.
    Prepared,
    /// It serves.
    Serves { version: String },
}

/// What the old process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FromOld {
    /// Begin to accept connections, and go on counting from here.
    Serve { counters: Counters },
    /// The service manager has been told whom to ask from now on.
    Lead,
    /// Somebody who did not know better asked the old process to read the configuration again.
    Reload,
    /// What was counted since, while the last requests were answered.
    Counted { counters: Counters },
}

/// One end of the socket.
#[derive(Debug)]
pub(super) struct Conversation {
    stream: UnixStream,
    heard: Vec<u8>,
}

impl Conversation {
    pub(super) const fn new(stream: UnixStream) -> Self {
        Self { stream, heard: Vec::new() }
    }

    /// Says one thing.
    ///
    /// # Errors
    /// When the other side has ended or does not listen.
    pub(super) fn tell(&mut self, word: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(word)?;
        line.push(b'\n');
        self.stream.set_write_timeout(Some(WRITE_PATIENCE))?;
        self.stream.write_all(&line)
    }

    /// The next thing that is said; nothing when nothing whole is in this time.
    ///
    /// # Errors
    /// `UnexpectedEof` when the other side has ended, `InvalidData` when it is not understood.
    pub(super) fn hear<T: DeserializeOwned>(&mut self, patience: Duration) -> io::Result<Option<T>> {
        let deadline = clock::monotonic() + patience;
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.heard) {
                let rest = self.heard.split_off(end + 1);
                let line = std::mem::replace(&mut self.heard, rest);
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            if self.heard.len() > LINE_BYTES_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let left = deadline.saturating_duration_since(clock::monotonic());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left))?;
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(amount) => self.heard.extend_from_slice(buffer.get(..amount).unwrap_or_default()),
                Err(error) if is_no_news(error.kind()) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

const fn is_no_news(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn pair() -> (Conversation, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Conversation::new(ours), theirs)
    }

    #[test]
    fn what_one_says_the_other_hears_in_order_however_the_bytes_come() {
        let (mut old, mut raw) = pair();
        raw.write_all(br#"{"failed":{"why":"no"#).unwrap();
        assert!(old.hear::<FromNew>(Duration::from_millis(1)).unwrap().is_none(), "half a line is none yet");
        raw.write_all(b" keys\"}}\n\"prepared\"\n").unwrap();
        let Some(FromNew::Failed { why }) = old.hear(PATIENCE).unwrap() else { panic!() };
        assert_eq!(why, "no keys");
        assert!(matches!(old.hear(PATIENCE).unwrap(), Some(FromNew::Prepared)));
        let mut new = Conversation::new(raw);
        old.tell(&FromOld::Serve { counters: Counters::default() }).unwrap();
        old.tell(&FromOld::Lead).unwrap();
        assert!(matches!(new.hear(PATIENCE).unwrap(), Some(FromOld::Serve { .. })));
        assert!(matches!(new.hear(PATIENCE).unwrap(), Some(FromOld::Lead)));
    }

    #[test]
    fn an_end_and_a_word_that_is_not_known_are_no_silence() {
        for (said, kind) in [
            ("", io::ErrorKind::UnexpectedEof),
            ("\"prep", io::ErrorKind::UnexpectedEof),
            ("\"sings\"\n", io::ErrorKind::InvalidData),
            ("{\"serves\":{}}\n", io::ErrorKind::InvalidData),
            ("\n", io::ErrorKind::UnexpectedEof),
        ] {
            let (mut old, mut raw) = pair();
            raw.write_all(said.as_bytes()).unwrap();
            drop(raw);
            assert_eq!(old.hear::<FromNew>(PATIENCE).unwrap_err().kind(), kind, "{said:?}");
        }
    }
}
