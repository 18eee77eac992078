//! The new process as the old one sees it: started, given the sockets, listened to, and ended unless it serves.
use std::{
    fmt, fs, io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use crate::edge::{
    clock,
    upgrade::{
        NOTICE, Program, Sockets, UpgradeError,
        conversation::{Conversation, FromNew, FromOld, Notice},
    },
};

/// Longest wait for the new process to read its configuration and ask for the sockets.
const READING_PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked for its socket.
const LOOK: Duration = Duration::from_millis(20);

/// The process that is to serve; ended when this is dropped before [`NewProcess::let_go`].
#[derive(Debug)]
pub(super) struct NewProcess {
    /// Nothing once it goes its own way.
    child: Option<Child>,
    conversation: Conversation,
}

impl NewProcess {
    pub(super) fn start(program: &Program, notice: &Notice) -> Result<Self, UpgradeError> {
        let failed = |error: &dyn fmt::Display| UpgradeError::Failed(error.to_string());
        let (ours, theirs) = UnixStream::pair().map_err(|error| failed(&error))?;
        let notice = serde_json::to_string(notice).map_err(|error| failed(&error))?;
        let child = Command::new(&program.path)
            .args(&program.arguments)
            .env(NOTICE, notice)
            // It names this process; without it whoever is the main process is watched.
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .map_err(|error| UpgradeError::Start(program.path.clone(), error.kind()))?;
        log::info!("process {} ({}) is to take over", child.id(), program.path.display());
        Ok(Self { child: Some(child), conversation: Conversation::new(ours) })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Hands the sockets over, as soon as they are asked for.
    pub(super) fn take_sockets(&mut self, sockets: &Sockets, path: &Path) -> Result<(), UpgradeError> {
        let deadline = clock::monotonic() + READING_PATIENCE;
        while fs::symlink_metadata(path).is_err() {
            // It may say why it does not ask.
            if let Some(word) = self.hear(LOOK)? {
                return Err(self.unexpected(word));
            }
            if clock::monotonic() >= deadline {
                return Err(UpgradeError::Failed("the new process does not ask for the sockets".to_owned()));
            }
        }
        let listening = sockets.0.get().map(|sockets| sockets.lock().send_to_sock(&*path.to_string_lossy()));
        match listening {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(UpgradeError::Failed(format!("the sockets could not be handed over: {error}"))),
            None => Err(UpgradeError::Failed("there are no sockets".to_owned())),
        }
    }

    pub(super) fn await_word<T>(
        &mut self,
        patience: Duration,
        fits: impl Fn(FromNew) -> Option<T>,
    ) -> Result<T, UpgradeError> {
        match self.hear(patience)? {
            None => Err(UpgradeError::Failed(format!("the new process is not done within {} s", patience.as_secs()))),
            Some(word @ FromNew::Failed { .. }) => Err(self.unexpected(word)),
            Some(word) => {
                fits(word).ok_or_else(|| UpgradeError::Failed("the new process is not understood".to_owned()))
            }
        }
    }

    fn unexpected(&self, word: FromNew) -> UpgradeError {
        match word {
            FromNew::Failed { why } => UpgradeError::Failed(why),
            FromNew::Prepared | FromNew::Serves { .. } => {
                UpgradeError::Failed("the new process is not understood".to_owned())
            }
        }
    }

    fn hear(&mut self, patience: Duration) -> Result<Option<FromNew>, UpgradeError> {
        self.conversation.hear(patience).map_err(|error| {
            let is_end = error.kind() == io::ErrorKind::UnexpectedEof;
            let ended = self.child.as_mut().filter(|_| is_end).and_then(ended_within);
            UpgradeError::Failed(match (is_end, ended) {
                (true, Some(status)) => format!("the new process ended ({status}) without saying why; its log may"),
                (true, None) => "the new process went silent".to_owned(),
                (false, _) => format!("the new process is not understood: {error}"),
            })
        })
    }

    pub(super) fn tell(&mut self, word: &FromOld) -> Result<(), UpgradeError> {
        self.conversation
            .tell(word)
            .map_err(|error| UpgradeError::Failed(format!("the new process does not listen: {error}")))
    }

    /// It goes its own way now; its end is only noted.
    pub(super) fn let_go(&mut self) {
        if let Some(mut child) = self.child.take() {
            let waiting = thread::Builder::new().name("successor".to_owned()).spawn(move || {
                if let Ok(status) = child.wait() {
                    log::error!("the process that took over has ended: {status}");
                }
            });
            drop(waiting);
        }
    }
}

/// How a process ended that has closed its socket; nothing when it lives on.
fn ended_within(child: &mut Child) -> Option<ExitStatus> {
    let deadline = clock::monotonic() + Duration::from_secs(2);
    loop {
        match child.try_wait() {
            Ok(None) if clock::monotonic() < deadline => thread::sleep(LOOK),
            Ok(status) => return status,
            Err(_) => return None,
        }
    }
}

impl Drop for NewProcess {
    fn drop(&mut self) {
        // A process that ends because of what it said needs no more time than this.
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
