//! What a command reads: a file or, as `-`, standard input; whole and bounded. It never keeps what it read.
use std::{
    io::{self, Read as _},
    path::Path,
};

use zeroize::Zeroizing;

use crate::{cli::CommandError, edge::files};

/// Bytes of a key, secret, token or list of claims that are read at most.
pub const INPUT_BYTES_MAX: u64 = 1024 * 1024;

/// The bytes of a file, or of standard input when `path` is `-`; wiped when dropped, for they may be a secret.
///
/// # Errors
/// [`CommandError::Failed`] with the path and the cause, never with what was read.
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, CommandError> {
    if path.as_os_str() != "-" {
        return files::read_file(path, INPUT_BYTES_MAX).map(Zeroizing::new).map_err(CommandError::failed);
    }
    let mut content = Zeroizing::new(Vec::new());
    io::stdin()
        .lock()
        .take(INPUT_BYTES_MAX + 1)
        .read_to_end(&mut content)
        .map_err(|error| CommandError::Failed(format!("cannot read standard input: {error}")))?;
    if content.len() as u64 > INPUT_BYTES_MAX {
        return Err(CommandError::Failed(format!("standard input is longer than {INPUT_BYTES_MAX} bytes")));
    }
    Ok(content)
}
