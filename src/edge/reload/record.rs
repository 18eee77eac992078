//! What became of reloads, for whoever asks: the command, the log, the service manager, the status page.
use std::{
    fmt,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use crate::{edge::clock, gate::time::UnixTime};

/// Where a configuration came from.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// Its file; nothing where it cannot be read again.
    pub path: Option<PathBuf>,
    /// Digest of its text and of what it includes, in hexadecimal digits.
    pub sha256: String,
    /// Paths and patterns of what it includes.
    pub includes: Vec<String>,
}

/// By what the text of the configuration in force is known.
#[derive(Clone, Debug)]
pub struct TextInForce {
    /// Digest of it and of what it includes.
    pub sha256: String,
    /// Paths and patterns of what it includes.
    pub includes: Vec<String>,
    /// Those of what was read last, which may be another configuration that did not come into force.
    pub includes_read: Vec<String>,
}

impl TextInForce {
    /// Of a configuration with this digest, which includes these.
    pub fn new(sha256: String, includes: Vec<String>) -> Self {
        Self { sha256, includes_read: includes.clone(), includes }
    }
}

/// Why a configuration did not come into force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReloadError {
    /// It came from standard input, which cannot be read again.
    NoFile,
    /// It has errors: all of them, as `validate` shows them.
    Wrong(String),
    /// These settings differ, and are fixed while the process runs.
    NeedsRestart(Vec<&'static str>),
    /// An upstream cannot be made ready.
    Upstream(String),
    /// A key of assertions cannot be had.
    AssertionKey(String),
    /// The list of revocations cannot be had.
    Revocations(String),
    /// An issuer that has keys would be without.
    Keys(String),
    /// The process is about to stop.
    Interrupted,
    /// Another process serves in the place of this one, with a configuration of its own.
    GivenWay,
}

impl fmt::Display for ReloadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFile => {
                formatter.write_str("the configuration came from standard input, which cannot be read again")
            }
            Self::Wrong(errors) => formatter.write_str(errors.trim_end()),
            Self::NeedsRestart(names) => write!(
                formatter,
                "needs a restart: {}; `portcullis upgrade` restarts without a refused or cut request",
                names.join(", ")
            ),
            Self::Upstream(what) | Self::AssertionKey(what) | Self::Revocations(what) | Self::Keys(what) => {
                formatter.write_str(what)
            }
            Self::Interrupted => formatter.write_str("the process is about to stop"),
            Self::GivenWay => formatter.write_str("another process has taken over meanwhile: ask again"),
        }
    }
}

impl std::error::Error for ReloadError {}

/// The last reload that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastReload {
    /// When it ended.
    pub at: UnixTime,
    /// Why it changed nothing; nothing when it came into force.
    pub failure: Option<String>,
}

/// What became of reloads.
#[derive(Debug, Default)]
pub struct Reloads {
    last: Mutex<Option<LastReload>>,
}

impl Reloads {
    /// The last one; nothing when none was asked for.
    pub fn last(&self) -> Option<LastReload> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why the last one changed nothing.
    pub fn failure(&self) -> Option<String> {
        self.last()?.failure
    }

    pub(super) fn note(&self, error: Option<&ReloadError>) {
        let last = LastReload { at: clock::unix_time(), failure: error.map(ToString::to_string) };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }
}
