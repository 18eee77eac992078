//! The directory of the authority: which file is where, who may look into it, and that two commands do not change it at once.
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use clap::{Args, ValueHint};

use crate::{
    cli::{
        CommandError,
        ca::{
            authority::{Pair, Profile, Role, Signer},
            certificate::Certificate,
            delivery, register,
        },
        input, moment, new_file,
    },
    edge::{files, state_directory},
    gate::time::UnixTime,
};

/// Where private keys of authorities are.
const PRIVATE: &str = "private";
/// Where certificates go that are given no other place.
const ISSUED: &str = "issued";
const LOCK: &str = ".lock";
const CERTIFICATE_BYTES_MAX: u64 = 64 * 1024;

/// What every verb is given.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Directory of the authority: its owner's alone (0700)
    #[arg(
        long,
        value_name = "DIRECTORY",
        env = "PORTCULLIS_CA_DIRECTORY",
        default_value = "/var/lib/portcullis-ca",
        value_hint = ValueHint::DirPath
    )]
    pub directory: PathBuf,
    /// Act as if it were then, in RFC 3339: for tests and drills [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    pub at: Option<UnixTime>,
}

impl Common {
    /// The time to act at, in whole seconds as certificates have it.
    pub fn now(&self) -> UnixTime {
        UnixTime::from_seconds(self.at.unwrap_or_else(moment::now).seconds())
    }
}

/// A directory with an authority in it.
pub struct Directory {
    path: PathBuf,
    // Held as long as something may be changed.
    _lock: Option<File>,
}

impl Directory {
    /// Makes the directory (which may be there, empty) and puts authorities into it, the one that all look for last.
    ///
    /// # Errors
    /// It is there and not empty or not this user's alone, or cannot be written; then nothing is left behind.
    pub fn create(path: &Path, pairs: &[Pair; 3]) -> Result<(), CommandError> {
        let failed = |error: std::io::Error| CommandError::Failed(format!("cannot make {}: {error}", path.display()));
        let is_there = fs::symlink_metadata(path).is_ok();
        if is_there {
            check_is_own(path)?;
            if fs::read_dir(path).map_err(failed)?.next().is_some() {
                let is_authority = path.join(Role::Root.certificate_file()).exists();
                let what = if is_authority { "holds a certificate authority already" } else { "is not empty" };
                return Err(CommandError::Failed(format!("{} {what}, and nothing is overwritten", path.display())));
            }
        } else {
            DirBuilder::new().mode(0o700).create(path).map_err(failed)?;
        }
        fill(path, pairs).inspect_err(|_| {
            // Empty a moment ago.
            for folder in [PRIVATE, ISSUED, register::FOLDER] {
                let _ = fs::remove_dir_all(path.join(folder));
            }
            for role in Role::ALL {
                let _ = fs::remove_file(path.join(role.certificate_file()));
            }
            if !is_there {
                let _ = fs::remove_dir(path);
            }
        })
    }

    /// To look at.
    ///
    /// # Errors
    /// There is no authority, or this user may not look at it.
    pub fn open(path: &Path) -> Result<Self, CommandError> {
        let root = path.join(Role::Root.certificate_file());
        let metadata = fs::metadata(&root).map_err(|error| {
            let hint = if error.kind() == std::io::ErrorKind::NotFound {
                "`portcullis ca init` makes one, --directory names another place"
            } else {
                "it is its owner's alone: run this as that user (sudo -u portcullis-ca)"
            };
            CommandError::Failed(format!("no certificate authority in {}: {error}; {hint}", path.display()))
        })?;
        if !metadata.is_file() {
            return Err(CommandError::Failed(format!("{} is not a file", root.display())));
        }
        let path = fs::canonicalize(path).map_err(CommandError::failed)?;
        Ok(Self { path, _lock: None })
    }

    /// To change something: waits until no other command does.
    ///
    /// # Errors
    /// As [`Directory::open`]; or it is not this user's alone.
    pub fn open_for_changes(path: &Path) -> Result<Self, CommandError> {
        let directory = Self::open(path)?;
        check_is_own(&directory.path)?;
        check_is_own(&directory.path.join(PRIVATE))?;
        let failed =
            |error: std::io::Error| CommandError::Failed(format!("{} cannot be locked: {error}", path.display()));
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(directory.path.join(LOCK))
            .map_err(failed)?;
        lock.lock().map_err(failed)?;
        Ok(Self { _lock: Some(lock), ..directory })
    }

    /// Where it is, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where certificates go that are given no other place.
    pub fn issued(&self) -> PathBuf {
        self.path.join(ISSUED)
    }

    /// The certificate of an authority, in PEM.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn certificate_pem(&self, role: Role) -> Result<String, String> {
        let path = self.path.join(role.certificate_file());
        files::read_text_file(&path, CERTIFICATE_BYTES_MAX).map_err(|error| error.to_string())
    }

    /// The same, read.
    ///
    /// # Errors
    /// The file cannot be read, or holds no certificate.
    pub fn certificate(&self, role: Role) -> Result<Certificate, String> {
        Certificate::read_pem(&self.certificate_pem(role)?)
            .map_err(|error| format!("{}: {error}", self.path.join(role.certificate_file()).display()))
    }

    /// An authority with its key.
    ///
    /// # Errors
    /// One of its two files is missing or damaged, or others may read the key.
    pub fn signer(&self, role: Role) -> Result<Signer, String> {
        let path = self.path.join(key_file(role));
        let metadata = fs::metadata(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        if metadata.mode() & 0o077 != 0 {
            return Err(format!("others may read {} (chmod 600)", path.display()));
        }
        let key = input::read(&path).map_err(|error| error.to_string())?;
        let key = std::str::from_utf8(&key).map_err(|_| format!("{} is not text", path.display()))?;
        Signer::new(role, &self.certificate_pem(role)?, key)
            .map_err(|error| format!("authority {}: {error}", role.name()))
    }
}

/// Where the private key of an authority is, seen from the directory.
pub fn key_file(role: Role) -> PathBuf {
    Path::new(PRIVATE).join(format!("{}.key", role.name()))
}

/// A directory of this user's alone: what is found in it signs, and is believed.
fn check_is_own(path: &Path) -> Result<(), CommandError> {
    let failed = |what: String| Err(CommandError::Failed(format!("{} {what}", path.display())));
    let metadata = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => metadata,
        Ok(_) => return failed("is no directory".to_owned()),
        Err(error) => return failed(format!("cannot be used: {error}")),
    };
    if metadata.mode() & 0o077 != 0 {
        return failed("is open to others (chmod 700)".to_owned());
    }
    match state_directory::try_writing(path) {
        // What root makes here, the owner's timer could not replace.
        Ok(user) if user != metadata.uid() => {
            failed(format!("belongs to user {}: run this as that user", metadata.uid()))
        }
        Ok(_) => Ok(()),
        Err(error) => failed(format!("cannot be used: {error}")),
    }
}

fn fill(path: &Path, pairs: &[Pair; 3]) -> Result<(), CommandError> {
    for folder in [PRIVATE, ISSUED, register::FOLDER] {
        let folder = path.join(folder);
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .map_err(|error| CommandError::Failed(format!("cannot make {}: {error}", folder.display())))?;
    }
    // The root last: without it nobody takes this for an authority.
    for (role, pair) in Role::ALL.iter().zip(pairs).rev() {
        new_file::write(&path.join(key_file(*role)), 0o600, pair.key.as_bytes())?;
        new_file::write(&path.join(role.certificate_file()), 0o644, pair.chain.as_bytes())?;
    }
    Ok(())
}

/// The file beside a pair that says whom its owner shall trust, and the authority that is in it.
pub const fn trusted_by(profile: Profile) -> Role {
    match profile {
        Profile::Service => Role::Gateway,
        Profile::Gateway => Role::Root,
    }
}

/// The files that a certificate is delivered as, in the order in which they are told of.
pub fn delivered_files(trusted: Role) -> [&'static str; 3] {
    [delivery::CERTIFICATE, delivery::KEY, trusted.certificate_file()]
}
