//! The side of the new process: it is told where the sockets are, prepares itself whole, and accepts no connection before the
//! old one says so. Whatever goes wrong before that is told to the old one, which then goes on alone.
use std::{
    env, fmt, io,
    os::{fd::AsFd as _, unix::net::UnixStream},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use nix::sys::signal::{Signal, raise};

use crate::edge::{
    metrics::Metrics,
    upgrade::{
        NOTICE,
        conversation::{Conversation, FromNew, FromOld, Notice, PROTOCOL},
    },
};

/// Longest wait for the old process, which only waits itself, to say the next word.
const PATIENCE: Duration = Duration::from_secs(30);
/// The old process may take as long as it likes to end.
const LONG: Duration = Duration::from_secs(60 * 60);

/// What a process is told that is to take the place of another.
#[derive(Clone, Debug)]
pub struct TakeOver {
    notice: Arc<Notice>,
    conversation: Arc<Mutex<Conversation>>,
    /// Whether the old process has ended, and said all that it counted.
    is_alone: Arc<AtomicBool>,
}

/// Why a process that was started to take another's place cannot.
#[derive(Debug)]
pub enum TakeOverError {
    /// Its environment makes no sense: another version, or somebody else's doing.
    Notice(String),
    /// The old process has ended, or says what is not understood.
    Lost(io::Error),
    /// The old process says nothing.
    Silent,
}

impl fmt::Display for TakeOverError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Notice(fault) => write!(formatter, "{NOTICE} is not understood: {fault}"),
            Self::Lost(error) => write!(formatter, "the process that is to be replaced is gone: {error}"),
            Self::Silent => formatter.write_str("the process that is to be replaced gives no answer"),
        }
    }
}

impl std::error::Error for TakeOverError {}

impl TakeOver {
    /// Whether, and how, this process is to take the place of another; nothing in a process that simply starts.
    ///
    /// # Errors
    /// [`TakeOverError::Notice`].
    pub fn from_environment() -> Result<Option<Self>, TakeOverError> {
        let Some(notice) = env::var_os(NOTICE) else { return Ok(None) };
        let wrong = |fault: &dyn fmt::Display| TakeOverError::Notice(fault.to_string());
        let notice: Notice = serde_json::from_slice(notice.as_encoded_bytes()).map_err(|error| wrong(&error))?;
        if notice.protocol != PROTOCOL {
            return Err(wrong(&format!("protocol {}, and {PROTOCOL} is what is spoken here", notice.protocol)));
        }
        let input = io::stdin().as_fd().try_clone_to_owned().map_err(|error| wrong(&error))?;
        let conversation = Arc::new(Mutex::new(Conversation::new(UnixStream::from(input))));
        Ok(Some(Self { notice: Arc::new(notice), conversation, is_alone: Arc::default() }))
    }

    /// Where the sockets come from.
    pub fn socket(&self) -> &Path {
        &self.notice.socket
    }

    /// The addresses of the sockets that come, as Pingora names them.
    pub fn addresses(&self) -> &[String] {
        &self.notice.addresses
    }

    /// Whether it may serve only when it is ready.
    pub fn must_be_ready(&self) -> bool {
        self.notice.must_be_ready
    }

    /// Says that this process will not serve, and why.
    pub fn fail(&self, why: &str) {
        if let Err(error) = self.conversation().tell(&FromNew::Failed { why: why.to_owned() }) {
            log::warn!("the process that goes on was not told why this one does not: {error}");
        }
    }

    /// Says that this process could serve, waits until it shall, and takes over what was counted.
    ///
    /// # Errors
    /// When that is never said: it must not serve then.
    pub fn await_turn(&self, metrics: &Metrics) -> Result<(), TakeOverError> {
        let mut conversation = self.conversation();
        conversation.tell(&FromNew::Prepared).map_err(TakeOverError::Lost)?;
        match conversation.hear(PATIENCE).map_err(TakeOverError::Lost)? {
            Some(FromOld::Serve { counters }) => {
                metrics.inherit(counters);
                Ok(())
            }
            Some(FromOld::Lead | FromOld::Reload | FromOld::Counted { .. }) => {
                Err(TakeOverError::Lost(io::ErrorKind::InvalidData.into()))
            }
            None => Err(TakeOverError::Silent),
        }
    }

    /// Says that this process serves, and waits until the service manager knows. From then on, what the old one still counts is
    /// added.
    ///
    /// # Errors
    /// When the old process ended meanwhile; this one serves all the same.
    pub fn serves(&self, metrics: &Arc<Metrics>) -> Result<(), TakeOverError> {
        let outcome = self.begin_to_lead(metrics);
        if outcome.is_err() {
            self.is_alone.store(true, Ordering::SeqCst);
        }
        outcome
    }

    fn begin_to_lead(&self, metrics: &Arc<Metrics>) -> Result<(), TakeOverError> {
        let mut conversation = self.conversation();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        conversation.tell(&FromNew::Serves { version }).map_err(TakeOverError::Lost)?;
        let word = conversation.hear::<FromOld>(PATIENCE).map_err(TakeOverError::Lost)?;
        drop(conversation);
        if !matches!(word, Some(FromOld::Lead)) {
            return Err(TakeOverError::Silent);
        }
        let (conversation, metrics) = (Arc::clone(&self.conversation), Arc::clone(metrics));
        let is_alone = Arc::clone(&self.is_alone);
        let listening = thread::Builder::new().name("predecessor".to_owned()).spawn(move || {
            let mut conversation = conversation.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                match conversation.hear(LONG) {
                    Ok(Some(FromOld::Counted { counters })) => metrics.inherit(counters),
                    // As if it had been asked of this process, which may have given way itself by now.
                    Ok(Some(FromOld::Reload)) => {
                        if let Err(error) = raise(Signal::SIGHUP) {
                            log::error!("the process before was asked for a reload, and it is not passed on: {error}");
                        }
                    }
                    Ok(Some(FromOld::Serve { .. } | FromOld::Lead) | None) => {}
                    Err(error) => {
                        let is_end = error.kind() == io::ErrorKind::UnexpectedEof;
                        log::info!("the process before has ended{}", if is_end { "" } else { " without a last word" });
                        is_alone.store(true, Ordering::SeqCst);
                        return;
                    }
                }
            }
        });
        if let Err(error) = listening {
            log::warn!("what the process before still counts is lost: {error}");
        }
        Ok(())
    }

    /// Whether nothing more is to be expected of the old process.
    pub fn is_alone(&self) -> bool {
        self.is_alone.load(Ordering::SeqCst)
    }

    fn conversation(&self) -> MutexGuard<'_, Conversation> {
        self.conversation.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
