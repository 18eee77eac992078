//! How key and certificate get to their place: together or not at all.
//!
//! `PLACE/NAME` is a link to a folder that is made whole beside it; renewing moves the link. Who follows it sees the files of
//! before or those of after, after a crash too. The folder of before stays until the next time, for whoever is about to read it.
use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use crate::{
    cli::ca::{authority::Pair, name::ServiceName, register::Terms},
    edge::state_directory,
};

/// The certificate, with what has to be sent along.
pub const CERTIFICATE: &str = "certificate.pem";
/// Its private key.
pub const KEY: &str = "key.pem";

/// What is put into a folder besides the pair.
pub struct Trusted<'a> {
    /// The name of the file.
    pub file: &'a str,
    /// Whom the owner of the pair shall trust, in PEM.
    pub pem: &'a str,
}

/// Checks that a place is fit for private keys: a folder of this user (or of root), to which nobody else may write.
///
/// # Errors
/// Says what to change.
pub fn check_place(terms: &Terms) -> Result<(), String> {
    let place = &terms.place;
    let metadata = fs::metadata(place).map_err(|error| format!("{}: {error}", place.display()))?;
    if !metadata.is_dir() {
        return Err(format!("{} is no directory", place.display()));
    }
    state_directory::try_writing(place).map_err(|error| format!("{} cannot be used: {error}", place.display()))?;
    if terms.group_readable && metadata.mode() & 0o2000 == 0 {
        return Err(format!(
            "--group-readable is for a directory that hands its group down (chgrp GROUP {0} && chmod g+s {0})",
            place.display()
        ));
    }
    Ok(())
}

/// Puts a pair at its place. `serial` tells this folder from those of before.
///
/// # Errors
/// Something stands in the way; what was there before is then as it was.
pub fn deliver(
    terms: &Terms,
    name: &ServiceName,
    serial: &str,
    pair: &Pair,
    trusted: &Trusted<'_>,
) -> Result<(), String> {
    check_place(terms)?;
    let link = terms.place.join(name.as_str());
    let failed = |error: io::Error| format!("cannot write {}: {error}", link.display());
    let before = match fs::symlink_metadata(&link) {
        Ok(metadata) if !metadata.is_symlink() => {
            return Err(format!("{} was not made by this command: move it away", link.display()));
        }
        Ok(_) => Some(fs::read_link(&link).map_err(failed)?),
        Err(_) => None,
    };
    let folder = PathBuf::from(format!(".{name}@{serial}"));
    let whole = terms.place.join(&folder);
    fill(&whole, terms.group_readable, pair, trusted)
        .and_then(|()| point(&terms.place, &link, &folder))
        .inspect_err(|_| {
            // Made a moment ago, and nobody was sent there.
            let _ = fs::remove_dir_all(&whole);
        })
        .map_err(failed)?;
    tidy(&terms.place, name, &[Some(folder), before]);
    Ok(())
}

/// Whether what was delivered is there as it was put there, as far as can be seen: the certificate byte for byte, and a key.
pub fn is_intact(terms: &Terms, name: &ServiceName, chain: &str) -> bool {
    let folder = terms.place.join(name.as_str());
    let is_same = fs::read(folder.join(CERTIFICATE)).is_ok_and(|content| content == chain.as_bytes());
    is_same && fs::metadata(folder.join(KEY)).is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0)
}

fn fill(folder: &Path, group_readable: bool, pair: &Pair, trusted: &Trusted<'_>) -> io::Result<()> {
    let (folder_mode, key_mode) = if group_readable { (0o750, 0o640) } else { (0o700, 0o600) };
    DirBuilder::new().mode(0o700).create(folder)?;
    write(&folder.join(KEY), key_mode, pair.key.as_bytes())?;
    write(&folder.join(CERTIFICATE), 0o644, pair.chain.as_bytes())?;
    write(&folder.join(trusted.file), 0o644, trusted.pem.as_bytes())?;
    // Set at last, whatever the umask is; the bit that hands the group down stays.
    let handed_down = fs::metadata(folder)?.mode() & 0o7000;
    fs::set_permissions(folder, fs::Permissions::from_mode(handed_down | folder_mode))?;
    fs::File::open(folder)?.sync_all()
}

fn write(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()
}

/// Makes `link` lead to `folder` in one step.
fn point(place: &Path, link: &Path, folder: &Path) -> io::Result<()> {
    let draft = place.join(format!("{}~", folder.display()));
    symlink(folder, &draft)?;
    fs::rename(&draft, link).inspect_err(|_| {
        let _ = fs::remove_file(&draft);
    })?;
    fs::File::open(place)?.sync_all()
}

/// Removes the folders and drafts of this name, but for those in use. What cannot be removed is tried again the next time.
fn tidy(place: &Path, name: &ServiceName, kept: &[Option<PathBuf>]) {
    let Ok(found) = fs::read_dir(place) else { return };
    let prefix = format!(".{name}@");
    for entry in found.flatten() {
        let file = PathBuf::from(entry.file_name());
        if !file.to_string_lossy().starts_with(&prefix) || kept.iter().flatten().any(|kept| *kept == file) {
            continue;
        }
        let path = entry.path();
        let _ = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            fs::remove_dir_all(path)
        } else {
            fs::remove_file(path)
        };
    }
}
