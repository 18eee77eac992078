//! Upgrade without a refused or cut request: the process that serves starts the one that is to take its place, hands it the
//! listening sockets, and gives way once the other serves. The new process runs what lies at the program's path now, with what
//! the configuration says now. Until it serves, whatever goes wrong ends it and changes nothing.
//!
//! The order: the new process reads and checks everything, takes the sockets, fetches keys; says that it could serve; is told
//! to, with the counters so far; says that it serves; the service manager is told its number. Only then the old process stops
//! accepting. Sockets are shared meanwhile, so that no connection is refused at any moment. What was asked of the old process
//! it answers; its streams live until `server.grace_period` is over.
mod conversation;
mod new_process;
mod take_over;

use std::{
    env,
    ffi::OsString,
    fmt, fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pingora_core::server::ListenFds;
use tokio::sync::{OwnedMutexGuard, watch};

pub use take_over::{TakeOver, TakeOverError};

use crate::edge::{
    admin::health::Health,
    metrics::Counters,
    reload::{ReloadError, Reloader},
    state_directory, systemd,
    upgrade::{
        conversation::{FromNew, FromOld, Notice, PROTOCOL},
        new_process::NewProcess,
    },
};

/// The variable that tells a process what it is to take over.
const NOTICE: &str = "PORTCULLIS_TAKE_OVER";
/// Longest wait for it to fetch keys.
const PREPARING_PATIENCE: Duration = Duration::from_secs(45);
/// Longest wait for it to accept connections.
const SERVING_PATIENCE: Duration = Duration::from_secs(20);
/// How many sockets Pingora hands over at most, how long their addresses may be together, and the path of its socket.
const SOCKETS_MAX: usize = 32;
const ADDRESSES_BYTES_MAX: usize = 2048;
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// How the program was started: what is started in its place.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

/// Why the process goes on as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpgradeError {
    /// An upgrade is going on.
    UnderWay,
    /// This process has given way already, or is stopping.
    Leaving,
    /// The configuration came from standard input.
    NoFile,
    /// It cannot be tried here; the text says why.
    Impossible(String),
    /// The new process could not be started.
    Start(PathBuf, io::ErrorKind),
    /// The new process does not serve; what it says, or how it ended.
    Failed(String),
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnderWay => formatter.write_str("an upgrade is under way already"),
            Self::Leaving => formatter.write_str("this process is about to end"),
            Self::NoFile => formatter.write_str("the configuration came from standard input, and cannot be read again"),
            Self::Impossible(why) => formatter.write_str(why),
            Self::Start(path, kind) => write!(formatter, "{} could not be started: {kind}", path.display()),
            Self::Failed(why) => formatter.write_str(why),
        }
    }
}

impl std::error::Error for UpgradeError {}

/// A process that serves in the place of this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgraded {
    /// Its number.
    pub process: u32,
    /// Its version.
    pub version: String,
}

/// Puts another process in the place of this one.
#[derive(Debug)]
pub struct Upgrader {
    /// Knows the configuration and what is in force.
    pub reloader: Arc<Reloader>,
    /// Whether this process is ready: then the new one must be.
    pub health: Arc<Health>,
    /// The sockets that listen, once they do.
    pub sockets: Sockets,
    /// True once this process has given way.
    pub given_way: watch::Sender<bool>,
    /// What is started; nothing where that is not known.
    program: Option<Program>,
    /// Where the sockets are handed over; nothing where no place for it is known.
    socket: Option<PathBuf>,
    /// One upgrade at a time.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Whether one is going on, or this process has given way.
    is_under_way: AtomicBool,
    /// The process that served before, which may still finish what it began.
    predecessor: Option<TakeOver>,
    /// The process that serves now.
    successor: Mutex<Option<Successor>>,
}

/// The sockets that listen, known once the first service has started.
#[derive(Clone, Default)]
pub struct Sockets(Arc<OnceLock<ListenFds>>);

impl fmt::Debug for Sockets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sockets")
    }
}

impl Sockets {
    /// A service was started with these.
    pub fn note(&self, sockets: Option<&ListenFds>) {
        if let Some(sockets) = sockets {
            let _ = self.0.set(ListenFds::clone(sockets));
        }
    }
}

/// An upgrade that is going on. However it ends, also by a panic, changes are possible again afterwards unless this process has
/// given way: revocations above all.
struct UnderWay {
    upgrader: Arc<Upgrader>,
    has_given_way: bool,
    _turn: OwnedMutexGuard<()>,
}

impl UnderWay {
    fn begin(upgrader: &Arc<Upgrader>, turn: OwnedMutexGuard<()>) -> Self {
        upgrader.is_under_way.store(true, Ordering::SeqCst);
        Self { upgrader: Arc::clone(upgrader), has_given_way: false, _turn: turn }
    }

    fn end(mut self, has_given_way: bool) {
        self.has_given_way = has_given_way;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if !self.has_given_way {
            self.upgrader.is_under_way.store(false, Ordering::SeqCst);
        }
    }
}

/// The process that serves in the place of this one.
#[derive(Debug)]
struct Successor {
    new: NewProcess,
    counted: Counters,
}

impl Program {
    /// How this process was started; to be asked before anything is put at the program's path.
    ///
    /// A path is kept as it was given, links and all, since whoever installs another version changes what it leads to.
    pub fn of_this_process() -> Option<Self> {
        let mut arguments = env::args_os();
        let name = PathBuf::from(arguments.next()?);
        let is_path = name.parent().is_some_and(|parent| !parent.as_os_str().is_empty());
        let path = if is_path { std::path::absolute(name).ok()? } else { env::current_exe().ok()? };
        Some(Self { path, arguments: arguments.collect() })
    }
}

/// Where sockets are handed over unless the configuration says: in the directory that systemd made for the unit, else in the
/// state directory.
pub fn usual_socket(state_directory: Option<&Path>) -> Option<PathBuf> {
    let directory =
        crate::edge::preconditions::runtime_directory().or_else(|| state_directory.map(Path::to_path_buf))?;
    Some(directory.join("upgrade.sock"))
}

impl Upgrader {
    /// For a process that is starting; sockets are handed over at `socket`.
    pub fn new(
        socket: Option<PathBuf>,
        reloader: &Arc<Reloader>,
        health: &Arc<Health>,
        predecessor: Option<TakeOver>,
    ) -> Self {
        Self {
            reloader: Arc::clone(reloader),
            health: Arc::clone(health),
            sockets: Sockets::default(),
            given_way: watch::Sender::new(false),
            program: Program::of_this_process(),
            socket,
            turn: Arc::default(),
            is_under_way: AtomicBool::new(false),
            predecessor,
            successor: Mutex::new(None),
        }
    }

    /// Whether changes must wait: what is changed here now would be unknown to the process that takes over.
    pub fn is_under_way(&self) -> bool {
        self.is_under_way.load(Ordering::SeqCst)
    }

    /// Starts what takes the place of this process, and gives way when it serves. `who` asked for it, for the log.
    ///
    /// # Errors
    /// Says what is wrong; this process serves on then, as if nothing had been.
    pub async fn upgrade(self: &Arc<Self>, who: &str) -> Result<Upgraded, UpgradeError> {
        let Ok(turn) = Arc::clone(&self.turn).try_lock_owned() else { return Err(UpgradeError::UnderWay) };
        if *self.given_way.borrow() || self.health.is_draining() {
            return Err(UpgradeError::Leaving);
        }
        log::info!("{who} asked for an upgrade");
        let upgrader = Arc::clone(self);
        // Whatever becomes of whoever asked, it is finished: in a task of its own, which nobody drops.
        let upgrading = tokio::spawn(async move {
            let under_way = UnderWay::begin(&upgrader, turn);
            // What was begun is finished, and known to the new process; what comes now is refused or waits.
            let _no_reload = upgrader.reloader.current.lock().await;
            upgrader.reloader.shared.revocations.until_settled().await;
            let replacing = Arc::clone(&upgrader);
            tokio::task::spawn_blocking(move || replacing.replace_noting(under_way)).await
        });
        let interrupted = || UpgradeError::Failed("it was interrupted".to_owned());
        upgrading.await.map_err(|_| interrupted())?.unwrap_or_else(|_| Err(interrupted()))
    }

    /// Whether the process before has ended: until then it tells this one what it counts, and this one passes it on.
    pub fn is_alone(&self) -> bool {
        self.predecessor.as_ref().is_none_or(TakeOver::is_alone)
    }

    /// Has the configuration read again by whichever process serves, for a signal: whoever sends one to the process before
    /// is not told that it has given way, and meant the gateway.
    pub async fn hang_up(self: Arc<Self>) {
        if self.reloader.reload("SIGHUP").await != Err(ReloadError::GivenWay) {
            return;
        }
        let passing_on = tokio::task::spawn_blocking(move || {
            let mut successor = self.successor.lock().unwrap_or_else(PoisonError::into_inner);
            match successor.as_mut().map(|successor| successor.new.tell(&FromOld::Reload)) {
                Some(Ok(())) => log::info!("another process serves: it is asked for the reload"),
                Some(Err(error)) => log::error!("another process serves, and was not asked for the reload: {error}"),
                None => log::error!("another process serves, and is not known"),
            }
        });
        if passing_on.await.is_err() {
            log::error!("another process serves, and was not asked for the reload");
        }
    }

    /// Tells the process that serves now what was counted here since. For the end of this process.
    pub fn leave(&self) {
        let mut successor = self.successor.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Successor { new, counted }) = &mut *successor {
            let counters = self.reloader.shared.metrics.counters().since(counted);
            if let Err(error) = new.tell(&FromOld::Counted { counters }) {
                log::warn!("the last counts are lost: {error}");
            }
        }
    }

    fn replace_noting(&self, under_way: UnderWay) -> Result<Upgraded, UpgradeError> {
        let outcome = self.replace();
        match &outcome {
            Ok(upgraded) => log::info!(
                "process {} (portcullis {}) serves; this one finishes what it began",
                upgraded.process,
                upgraded.version
            ),
            Err(error) => {
                log::error!("the upgrade failed, and this process serves on: {error}");
                let first = error.to_string();
                let first = first.lines().next().unwrap_or_default();
                systemd::status(&format!(
                    "{}; UPGRADE FAILED, the process before serves: {first}",
                    self.reloader.status()
                ));
            }
        }
        under_way.end(outcome.is_ok());
        outcome
    }

    fn replace(&self) -> Result<Upgraded, UpgradeError> {
        let (program, socket, addresses) = self.preconditions()?;
        let metrics = &self.reloader.shared.metrics;
        let must_be_ready = self.health.readiness(&self.reloader.shared.installed.load()).is_ready();
        let notice = Notice { protocol: PROTOCOL, socket: socket.to_owned(), addresses, must_be_ready };
        let mut new = NewProcess::start(program, &notice)?;
        new.take_sockets(&self.sockets, socket)?;
        new.await_word(PREPARING_PATIENCE, |word| matches!(word, FromNew::Prepared).then_some(()))?;
        self.check_still_wanted()?;
        let counted = metrics.counters();
        new.tell(&FromOld::Serve { counters: counted.clone() })?;
        let version = new.await_word(SERVING_PATIENCE, |word| match word {
            FromNew::Serves { version } => Some(version),
            FromNew::Failed { .. } | FromNew::Prepared => None,
        })?;
        self.check_still_wanted()?;
        let process = new.id();
        systemd::main_process(process);
        if let Err(error) = new.tell(&FromOld::Lead) {
            // It has ended since it said that it serves: if this one gave way now, nobody would serve.
            systemd::main_process(std::process::id());
            return Err(error);
        }
        // From here on it serves: nothing fails any more.
        new.let_go();
        self.reloader.shared.revocations.follow();
        *self.successor.lock().unwrap_or_else(PoisonError::into_inner) = Some(Successor { new, counted });
        self.given_way.send_replace(true);
        Ok(Upgraded { process, version })
    }

    /// Who asked this process to stop asked for no other one to go on in its place.
    fn check_still_wanted(&self) -> Result<(), UpgradeError> {
        if self.health.is_draining() { Err(UpgradeError::Leaving) } else { Ok(()) }
    }

    /// What is started, where sockets are handed over, and which.
    fn preconditions(&self) -> Result<(&Program, &Path, Vec<String>), UpgradeError> {
        let impossible = |why: String| UpgradeError::Impossible(why);
        if self.reloader.path.is_none() {
            return Err(UpgradeError::NoFile);
        }
        let program =
            self.program.as_ref().ok_or_else(|| impossible("how this process was started is not known".to_owned()))?;
        let socket = self.socket.as_deref().ok_or_else(|| {
            impossible("there is no place to hand sockets over: name one with server.upgrade_socket".to_owned())
        })?;
        check_socket(socket).map_err(|fault| impossible(format!("{} cannot be used: {fault}", socket.display())))?;
        let sockets = self.sockets.0.get().ok_or_else(|| impossible("this process does not listen yet".to_owned()))?;
        let addresses = sockets.lock().serialize().0;
        let bytes: usize = addresses.iter().map(|address| address.len() + 1).sum();
        if addresses.len() > SOCKETS_MAX || bytes > ADDRESSES_BYTES_MAX {
            return Err(impossible(format!(
                "{} sockets with addresses of {bytes} bytes cannot be handed over; {SOCKETS_MAX} and {ADDRESSES_BYTES_MAX} can",
                addresses.len()
            )));
        }
        if let Some(address) = addresses.iter().find(|address| address.contains(char::is_whitespace)) {
            return Err(impossible(format!("{address:?} cannot be handed over: its path has a space")));
        }
        Ok((program, socket, addresses))
    }
}

/// Whoever else could reach the socket could hand sockets of their own to the new process.
fn check_socket(path: &Path) -> Result<(), String> {
    if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        return Err(format!("its path is longer than {SOCKET_PATH_BYTES_MAX} bytes"));
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    state_directory::try_writing(directory).map_err(|error| error.to_string())?;
    let mode = fs::metadata(directory).map_err(|error| error.to_string())?.mode();
    if mode & 0o077 != 0 {
        return Err(format!("others may reach into {} (chmod 700)", directory.display()));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.to_string()),
        Ok(()) | Err(_) => Ok(()),
    }
}
