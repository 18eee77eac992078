//! The real world as the configuration reads it: files and environment variables.
use std::path::Path;

use crate::{
    config::surroundings::{ReadError, Surroundings},
    edge::files::{self, FileErrorCause},
};

/// The files and the environment of this process.
#[derive(Clone, Copy, Debug)]
pub struct World;

impl Surroundings for World {
    fn read_file(&self, path: &Path, bytes_max: u64) -> Result<Vec<u8>, ReadError> {
        files::read_file(path, bytes_max).map_err(|error| in_words(error.cause))
    }

    fn names_in(&self, directory: &Path) -> Result<Vec<String>, ReadError> {
        files::names_in(directory).map_err(|error| in_words(error.cause))
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

fn in_words(cause: FileErrorCause) -> ReadError {
    match cause {
        FileErrorCause::Missing => ReadError::NotFound,
        FileErrorCause::NotPermitted => ReadError::Forbidden,
        FileErrorCause::NotAFile => ReadError::NotAFile,
        FileErrorCause::TooLarge(bytes_max) => ReadError::TooLarge { bytes_max },
        FileErrorCause::NotUtf8(position) => ReadError::Other(format!("not UTF-8 at byte {position}")),
        FileErrorCause::Other(text) => ReadError::Other(text),
    }
}
