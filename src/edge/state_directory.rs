//! Where a process keeps what must outlive it, and how a file there is replaced: whole or not at all.
use std::{
    fmt, fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::{
    config::settings::StateDirectory,
    edge::files::{self, FileErrorCause},
};

/// Where state is kept when neither the configuration nor systemd says.
const USUAL: &str = "/var/lib/portcullis";

/// A directory for state, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatePlace {
    /// State is kept here.
    Kept(PathBuf),
    /// State is not kept: the configuration says so.
    Off,
    /// State is not kept: the place where it would be cannot be used.
    Unusable {
        /// The place.
        path: PathBuf,
        /// Why not.
        error: Box<str>,
    },
}

impl StatePlace {
    /// The directory, if there is one.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Kept(path) => Some(path),
            Self::Off | Self::Unusable { .. } => None,
        }
    }
}

impl StatePlace {
    /// The directory where state is or would be; nothing where the configuration wants none.
    pub fn meant(&self) -> Option<&Path> {
        match self {
            Self::Kept(path) | Self::Unusable { path, .. } => Some(path),
            Self::Off => None,
        }
    }
}

impl fmt::Display for StatePlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept(path) => write!(formatter, "state is kept in {}", path.display()),
            Self::Off => formatter.write_str("state is not kept: server.state_directory is off"),
            Self::Unusable { path, error } => write!(
                formatter,
                "state is not kept, so that key sets are fetched anew at every start and no revocation can be made here: \
                 {} cannot be used: {error}; name a place with server.state_directory",
                path.display()
            ),
        }
    }
}

/// Finds the directory that a configuration and the environment mean, and tries whether it can be written, by this user
/// and root alone: what is found in it is believed. One that the configuration names is made when it is missing.
///
/// # Errors
/// What keeps a directory that the configuration names from being used, with its path.
pub fn find(written: &StateDirectory) -> Result<StatePlace, (PathBuf, io::Error)> {
    match written {
        StateDirectory::Off => Ok(StatePlace::Off),
        StateDirectory::At(path) => match make(path).and_then(|()| try_writing(path)) {
            Ok(_) => Ok(StatePlace::Kept(path.clone())),
            Err(error) => Err((path.clone(), error)),
        },
        StateDirectory::Usual => {
            let path = of_the_environment().unwrap_or_else(|| PathBuf::from(USUAL));
            Ok(match try_writing(&path) {
                Ok(_) => StatePlace::Kept(path),
                Err(error) => StatePlace::Unusable { path, error: error.to_string().into() },
            })
        }
    }
}

/// The directory that a configuration and the environment mean, whether it is there or not.
pub fn meant(written: &StateDirectory) -> Option<PathBuf> {
    match written {
        StateDirectory::Off => None,
        StateDirectory::At(path) => Some(path.clone()),
        StateDirectory::Usual => Some(of_the_environment().unwrap_or_else(|| PathBuf::from(USUAL))),
    }
}

/// What systemd made for the unit: several are separated by colons, the first named comes first.
fn of_the_environment() -> Option<PathBuf> {
    let directories = std::env::var_os("STATE_DIRECTORY")?;
    directories.to_str()?.split(':').next().filter(|first| !first.is_empty()).map(PathBuf::from)
}

/// The nearest thing that exists on the way to `path` must be a directory.
pub(super) fn check_is_or_can_be_directory(path: &Path) -> io::Result<()> {
    match path.ancestors().find_map(|place| fs::metadata(place).ok()) {
        Some(found) if !found.is_dir() => Err(io::ErrorKind::NotADirectory.into()),
        Some(_) | None => Ok(()),
    }
}

/// Makes a directory for this user alone, unless it is there.
pub(super) fn make(path: &Path) -> io::Result<()> {
    check_is_or_can_be_directory(path)?;
    if path.is_dir() { Ok(()) } else { fs::DirBuilder::new().recursive(true).mode(0o700).create(path) }
}

/// Tries whether this user can write to a directory and nobody else but root can. Answers who this user is.
///
/// # Errors
/// The system's, or who else may write to it.
pub fn try_writing(path: &Path) -> io::Result<u32> {
    let probe = path.join(format!(".probe-{}", std::process::id()));
    let user = new_file(&probe)?.metadata()?.uid();
    fs::remove_file(&probe)?;
    // The place itself, and the link that leads there.
    let (place, link) = (fs::metadata(path)?, fs::symlink_metadata(path)?);
    if [place.uid(), link.uid()].iter().any(|owner| ![0, user].contains(owner)) {
        return Err(io::Error::other("it belongs to another user"));
    }
    if place.mode() & 0o022 != 0 {
        return Err(io::Error::other("others may write to it (chmod go-w)"));
    }
    Ok(user)
}

/// Makes a file for this user alone. What lies there from a process that crashed is removed; a link that somebody puts there
/// meanwhile is not followed: the file is new.
fn new_file(path: &Path) -> io::Result<fs::File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Why a file that this or an earlier process kept is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptFileFault {
    /// It cannot be read.
    Unreadable(FileErrorCause),
    /// It belongs to another user, or others may write it.
    NotOurs,
}

impl fmt::Display for KeptFileFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(cause) => write!(formatter, "it cannot be read: {cause:?}"),
            Self::NotOurs => formatter.write_str("it belongs to another user, or others may write it"),
        }
    }
}

/// The content of a file that was written with [`replace_file`]; nothing when there is none. Whoever could have changed it
/// could let tokens in: one that others may write is not believed.
///
/// # Errors
/// A [`KeptFileFault`] when there is something that cannot be used.
pub fn read_kept(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, KeptFileFault> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(KeptFileFault::Unreadable(FileErrorCause::Other(error.to_string()))),
    };
    let folder_owner = path.parent().and_then(|folder| fs::metadata(folder).ok()).map(|folder| folder.uid());
    let is_ours = metadata.uid() == 0 || folder_owner == Some(metadata.uid());
    if !metadata.is_file() || metadata.mode() & 0o022 != 0 || !is_ours {
        return Err(KeptFileFault::NotOurs);
    }
    files::read_file(path, bytes_max).map(Some).map_err(|error| KeptFileFault::Unreadable(error.cause))
}

/// Puts `content` in place of a file, readable by this user alone. Whoever reads the file, and whoever finds it after a
/// crash, sees the old content or the new one, never a part.
///
/// # Errors
/// The system's; the old file is then as it was.
pub fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
    let draft = folder.join(format!(".{name}.{}", std::process::id()));
    let written = write_draft(&draft, content).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
        return written;
    }
    // So that the new name is there after a power failure too.
    fs::File::open(folder)?.sync_all()
}

fn write_draft(draft: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = new_file(draft)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("portcullis-state-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn a_directory_that_is_named_is_made_for_this_user_alone() {
        let folder = folder("made");
        let place = folder.join("a/b");
        assert_eq!(find(&StateDirectory::At(place.clone())).unwrap(), StatePlace::Kept(place.clone()));
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0, "nothing is left behind");
        fs::write(folder.join("file"), "x").unwrap();
        let (path, error) = find(&StateDirectory::At(folder.join("file/below"))).unwrap_err();
        assert_eq!((path, error.kind()), (folder.join("file/below"), io::ErrorKind::NotADirectory));
        assert_eq!(find(&StateDirectory::Off).unwrap().directory(), None);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_not_used_and_no_link_in_it_is_followed() {
        let folder = folder("others");
        for (mode, is_used) in [(0o700, true), (0o755, true), (0o775, false), (0o1777, false), (0o702, false)] {
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(find(&StateDirectory::At(folder.clone())).is_ok(), is_used, "{mode:o}");
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        let victim = folder.join("victim");
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, folder.join(format!(".probe-{}", std::process::id()))).unwrap();
        assert!(find(&StateDirectory::At(folder.clone())).is_ok());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_is_replaced_whole_and_is_for_this_user_alone() {
        let folder = folder("replaced");
        let path = folder.join("keys.json");
        for content in ["first", "second, which is longer", ""] {
            replace_file(&path, content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        // What a process that crashed has left is no obstacle.
        fs::write(folder.join(format!(".keys.json.{}", std::process::id())), "half").unwrap();
        replace_file(&path, b"third").unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing else is left behind");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_replaced_stays_as_it_was() {
        let folder = folder("kept");
        let path = folder.join("keys.json");
        fs::create_dir(&path).unwrap();
        assert!(replace_file(&path, b"new").is_err());
        assert!(path.is_dir());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing else is left behind");
        fs::remove_dir_all(folder).unwrap();
    }
}
