//! What was issued, one file a name: enough to renew it and to tell whether what lies at its place is what was put there.
//! It holds nothing secret.
use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    cli::ca::{
        authority::Profile,
        certificate::Certificate,
        name::{self, ServiceName},
    },
    edge::{files, state_directory},
};

/// The folder of the register in the directory of the authority.
pub const FOLDER: &str = "register";
/// Days for which a certificate may be issued at most: about a year.
pub const DAYS_MAX: u32 = 397;
/// An entry is a certificate or two and a few names.
const ENTRY_BYTES_MAX: u64 = 256 * 1024;
const EXTENSION: &str = "json";

/// How a certificate is made, the first time and every time it is renewed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// What it is for.
    pub profile: Profile,
    /// Its names in DNS.
    pub dns: Vec<String>,
    /// Its addresses.
    pub ip: Vec<IpAddr>,
    /// For how many days it is good.
    pub days: u32,
    /// Where its folder is put.
    pub place: PathBuf,
    /// Whether the group of that place may read the key.
    pub group_readable: bool,
}

/// An entry of the register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// How it is made.
    pub terms: Terms,
    /// The certificate and what goes with it, in PEM.
    pub chain: String,
}

impl Entry {
    /// The certificate that was issued last.
    ///
    /// # Errors
    /// The register is damaged.
    pub fn certificate(&self) -> Result<Certificate, String> {
        Certificate::read_pem(&self.chain)
    }

    /// Writes it, in place of what was known of that name.
    ///
    /// # Errors
    /// The system's, with the path.
    pub fn write(&self, directory: &Path, name: &ServiceName) -> Result<(), String> {
        let path = path_of(directory, name);
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        state_directory::replace_file(&path, format!("{text}\n").as_bytes())
            .map_err(|error| format!("cannot write {}: {error}", path.display()))
    }
}

/// What is known of a name; `None` when nothing was issued under it.
///
/// # Errors
/// The entry is there and cannot be read.
pub fn find(directory: &Path, name: &ServiceName) -> Result<Option<Entry>, String> {
    let path = path_of(directory, name);
    let text = match files::read_text_file(&path, ENTRY_BYTES_MAX) {
        Ok(text) => text,
        Err(error) if error.cause == files::FileErrorCause::Missing => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let damaged = |what: String| format!("{} is damaged: {what}", path.display());
    let entry: Entry = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    for dns in &entry.terms.dns {
        name::dns_name(dns).map_err(&damaged)?;
    }
    if !(1..=DAYS_MAX).contains(&entry.terms.days) || !entry.terms.place.is_absolute() {
        return Err(damaged("its terms make no sense".to_owned()));
    }
    entry.certificate().map_err(damaged)?;
    Ok(Some(entry))
}

/// Every name under which something was issued, in order.
///
/// # Errors
/// The register cannot be read, or holds what is no entry.
pub fn names(directory: &Path) -> Result<Vec<ServiceName>, String> {
    let folder = directory.join(FOLDER);
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", folder.display());
    let mut names = Vec::new();
    for found in fs::read_dir(&folder).map_err(failed)? {
        let file = PathBuf::from(found.map_err(failed)?.file_name());
        // Drafts of a process that crashed begin with a dot.
        if file.to_string_lossy().starts_with('.') {
            continue;
        }
        let is_entry = file.extension().is_some_and(|extension| extension == EXTENSION);
        let name = file.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| ServiceName::parse(stem).ok());
        match name.filter(|_| is_entry) {
            Some(name) => names.push(name),
            None => return Err(format!("{} does not belong there", folder.join(file).display())),
        }
    }
    names.sort();
    Ok(names)
}

fn path_of(directory: &Path, name: &ServiceName) -> PathBuf {
    directory.join(FOLDER).join(format!("{name}.{EXTENSION}"))
}
