//! Cases written by others, read from where `PORTCULLIS_CORPORA` says. A run without them says so, loudly.
use std::{fs, path::PathBuf};

use serde_json::Value;

/// The folder of foreign cases; `None`, said on standard error, when the variable is unset.
pub(crate) fn folder(test: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("PORTCULLIS_CORPORA").filter(|folder| !folder.is_empty()) else {
        eprintln!("\n!!! {test}: PORTCULLIS_CORPORA is unset, the foreign cases are NOT run !!!\n");
        return None;
    };
    let folder = PathBuf::from(folder);
    assert!(folder.is_dir(), "PORTCULLIS_CORPORA: {} is no folder", folder.display());
    Some(folder)
}

/// A JSON file below the folder of foreign cases.
pub(crate) fn json(folder: &std::path::Path, name: &str) -> Value {
    let path = folder.join(name);
    let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
