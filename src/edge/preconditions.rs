//! What a process needs before it starts: its addresses, its state directory. Each is tried, and what fails is named.
use std::{
    fmt, fs, io,
    net::TcpListener,
    os::unix::{
        fs::FileTypeExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use crate::{
    config::settings::{Address, LogOutput, Startup, StateDirectory},
    edge::{
        access_log::AccessLogError, assertions::AssertionKeyError, metrics::MetricsError, state_directory,
        tls::MaterialError, upstream::UpstreamError,
    },
};

/// Why a process cannot start.
#[derive(Debug)]
pub enum StartError {
    /// A socket cannot be bound.
    Bind(String, io::Error),
    /// The state directory cannot be made or written.
    StateDirectory(PathBuf, io::Error),
    /// The entries that this instance made itself cannot be read: this file, for this reason.
    Revocations(PathBuf, String),
    /// The folder of the access log is not there.
    LogFolder(PathBuf, io::Error),
    /// The access log cannot be opened.
    AccessLog(AccessLogError),
    /// The metrics cannot be set up.
    Metrics(MetricsError),
    /// The system gives no random bytes.
    Randomness,
    /// Assertions have no key.
    AssertionKey(AssertionKeyError),
    /// The certificates of a listener cannot be used.
    Certificates(MaterialError),
    /// An upstream cannot be made ready.
    Upstream(UpstreamError),
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(address, error) => write!(formatter, "cannot listen on {address}: {error}"),
            Self::StateDirectory(path, error) => {
                write!(formatter, "the state directory {} cannot be used: {error}", path.display())
            }
            Self::Revocations(path, fault) => write!(
                formatter,
                "the revocations of this instance, {}, cannot be used: {fault}; without them, tokens would come back to life",
                path.display()
            ),
            Self::LogFolder(path, error) => {
                write!(formatter, "the folder of the access log, {}, cannot be used: {error}", path.display())
            }
            Self::AccessLog(error) => write!(formatter, "{error}"),
            Self::Metrics(error) => write!(formatter, "{error}"),
            Self::Randomness => formatter.write_str("the system gives no random bytes"),
            Self::AssertionKey(error) => write!(formatter, "{error}"),
            Self::Certificates(error) => write!(formatter, "{error}"),
            Self::Upstream(error) => write!(formatter, "{error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// The socket that every instance with a runtime directory has, for commands on the same host.
pub fn private_admin_socket() -> Option<Address> {
    Some(Address::Unix(runtime_directory()?.join("admin.sock")))
}

/// The directory that systemd made for the unit while it runs.
pub fn runtime_directory() -> Option<PathBuf> {
    let directory = std::env::var_os("RUNTIME_DIRECTORY")?;
    // systemd separates several directories with a colon; the first is the one named in the unit first.
    directory.to_str()?.split(':').next().filter(|first| !first.is_empty()).map(PathBuf::from)
}

/// Looks for what would keep a process from starting, without making or binding anything.
///
/// # Errors
/// A [`StartError`] that names the thing.
pub fn check_places(startup: &Startup) -> Result<(), StartError> {
    if let StateDirectory::At(path) = &startup.server.state_directory {
        state_directory::check_is_or_can_be_directory(path)
            .map_err(|error| StartError::StateDirectory(path.clone(), error))?;
    }
    if let LogOutput::File(path) = &startup.log.output {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::metadata(folder).map_err(|error| StartError::LogFolder(folder.to_owned(), error))?;
    }
    Ok(())
}

/// Binds each address once, so that one in use is an error before anything is started; but for those whose sockets the process
/// inherits, as Pingora names them.
pub fn check_addresses(startup: &Startup, inherited: &[String]) -> Result<(), StartError> {
    let private = private_admin_socket();
    let addresses = startup.listeners.iter().map(|listener| &listener.address);
    for address in addresses.chain(startup.admin.address.as_ref()).chain(private.as_ref()) {
        if inherited.iter().any(|inherited| *inherited == socket_name(address)) {
            continue;
        }
        let checked = match address {
            Address::Tcp(address) => TcpListener::bind(address).map(drop),
            Address::Unix(path) => check_socket_path(path),
        };
        checked.map_err(|error| StartError::Bind(address.to_string(), error))?;
    }
    Ok(())
}

/// What Pingora calls the socket of an address.
pub fn socket_name(address: &Address) -> String {
    match address {
        Address::Tcp(address) => address.to_string(),
        Address::Unix(path) => path.to_string_lossy().into_owned(),
    }
}

/// A socket that nobody listens on any more may be replaced; anything else at its path may not.
fn check_socket_path(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is not a socket is there"))
        }
        Ok(_) if UnixStream::connect(path).is_ok() => Err(io::ErrorKind::AddrInUse.into()),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let listener = UnixListener::bind(path)?;
            drop(listener);
            fs::remove_file(path)
        }
        Err(error) => Err(error),
    }
}
