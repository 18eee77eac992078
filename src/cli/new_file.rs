//! Files that a command makes: new ones only. It overwrites nothing and leaves no half of a file behind.
use std::{fs::OpenOptions, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use crate::cli::CommandError;

/// Writes a file that must not be there yet, with these permissions (less the umask).
///
/// # Errors
/// [`CommandError::Failed`] with the path and the cause: it is there already, or cannot be written whole; then it is gone
/// again.
pub fn write(path: &Path, mode: u32, content: &[u8]) -> Result<(), CommandError> {
    let failed = |error| CommandError::Failed(format!("cannot write {}: {error}", path.display()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    file.write_all(content).map_err(|error| {
        // Made a moment ago by this very call.
        let _ = std::fs::remove_file(path);
        failed(error)
    })
}
