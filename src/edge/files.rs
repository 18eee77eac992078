//! Reads files: whole, bounded, and only what is a file. It never writes one, and its errors name the path and the cause,
//! never a byte of the content.
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

/// The most that any file read here may hold: a configuration, key, list or certificate bundle is far smaller.
pub const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Why a file could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileError {
    /// The file, as it was asked for.
    pub path: PathBuf,
    /// What stood in the way.
    pub cause: FileErrorCause,
}

/// What stood in the way of reading a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileErrorCause {
    /// There is no such file, or a folder on its way is missing.
    Missing,
    /// This user may not read it.
    NotPermitted,
    /// A folder, socket, pipe or device.
    NotAFile,
    /// It holds more than the given number of bytes.
    TooLarge(u64),
    /// It is not UTF-8 from this byte on, counted from 0.
    NotUtf8(usize),
    /// Anything else, in the words of the system.
    Other(String),
}

impl fmt::Display for FileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cannot read {}: ", self.path.display())?;
        match &self.cause {
            FileErrorCause::Missing => formatter.write_str("there is no such file"),
            FileErrorCause::NotPermitted => formatter.write_str("permission denied"),
            FileErrorCause::NotAFile => formatter.write_str("it is not a regular file"),
            FileErrorCause::TooLarge(bytes_max) => write!(formatter, "it is larger than {bytes_max} bytes"),
            FileErrorCause::NotUtf8(offset) => write!(formatter, "it is not UTF-8 text at byte {offset}"),
            FileErrorCause::Other(text) => formatter.write_str(text),
        }
    }
}

impl std::error::Error for FileError {}

/// The content of a regular file (or of what a link leads to) of at most `bytes_max` bytes.
///
/// The buffer is as large as the file from the start, so that a secret leaves no copies behind where a buffer grew.
///
/// # Errors
/// A [`FileError`] that names the path and the cause.
pub fn read_file(path: &Path, bytes_max: u64) -> Result<Vec<u8>, FileError> {
    read(path, bytes_max).map_err(|cause| FileError { path: path.to_owned(), cause })
}

/// The same as [`read_file`], for what must be UTF-8 text.
///
/// # Errors
/// A [`FileError`] that names the path and the cause.
pub fn read_text_file(path: &Path, bytes_max: u64) -> Result<String, FileError> {
    String::from_utf8(read_file(path, bytes_max)?).map_err(|error| FileError {
        path: path.to_owned(),
        cause: FileErrorCause::NotUtf8(error.utf8_error().valid_up_to()),
    })
}

/// The names of what is in a directory, in the order of the file system; an empty path is the working directory.
///
/// # Errors
/// A [`FileError`] that names the directory and the cause; a name that is not UTF-8 is one.
pub fn names_in(directory: &Path) -> Result<Vec<String>, FileError> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let failed = |cause| FileError { path: directory.to_owned(), cause };
    let entries = std::fs::read_dir(directory).map_err(|error| failed(cause_of(&error)))?;
    entries
        .map(|entry| {
            let name = entry.map_err(|error| failed(cause_of(&error)))?.file_name();
            let odd = |name: std::ffi::OsString| {
                failed(FileErrorCause::Other(format!("the name of the file {} is not UTF-8", name.display())))
            };
            name.into_string().map_err(odd)
        })
        .collect()
}

fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, FileErrorCause> {
    // Asked before opening: to open a pipe that nobody writes to would wait for ever.
    if !std::fs::metadata(path).map_err(|error| cause_of(&error))?.is_file() {
        return Err(FileErrorCause::NotAFile);
    }
    let file = File::open(path).map_err(|error| cause_of(&error))?;
    // Asked again of what was opened: the name may have been given to something else in between.
    let metadata = file.metadata().map_err(|error| cause_of(&error))?;
    if !metadata.is_file() {
        return Err(FileErrorCause::NotAFile);
    }
    if metadata.len() > bytes_max {
        return Err(FileErrorCause::TooLarge(bytes_max));
    }
    let mut content = Vec::with_capacity(usize::try_from(metadata.len().saturating_add(1)).unwrap_or(0));
    // The size may be a lie (/proc says 0) or grow meanwhile, so that the limit is kept while reading too.
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut content).map_err(|error| cause_of(&error))?;
    if u64::try_from(content.len()).is_ok_and(|bytes| bytes > bytes_max) {
        return Err(FileErrorCause::TooLarge(bytes_max));
    }
    Ok(content)
}

fn cause_of(error: &std::io::Error) -> FileErrorCause {
    let is = |kinds: &[ErrorKind]| kinds.contains(&error.kind());
    if is(&[ErrorKind::NotFound, ErrorKind::NotADirectory]) {
        FileErrorCause::Missing
    } else if is(&[ErrorKind::PermissionDenied]) {
        FileErrorCause::NotPermitted
    } else if is(&[ErrorKind::IsADirectory]) {
        FileErrorCause::NotAFile
    } else {
        FileErrorCause::Other(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::{FILE_BYTES_MAX, FileErrorCause, read_file, read_text_file};
    use std::path::{Path, PathBuf};

    /// A folder of its own for each test, removed when it ends.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("portcullis-files-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str, content: &[u8]) -> PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, content).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn cause(path: &Path, bytes_max: u64) -> FileErrorCause {
        read_file(path, bytes_max).unwrap_err().cause
    }

    #[test]
    fn a_file_is_read_whole_up_to_the_limit_and_refused_above_it() {
        let folder = Folder::new("limit");
        let path = folder.file("keys.json", b"0123456789");
        assert_eq!(read_file(&path, FILE_BYTES_MAX).unwrap(), b"0123456789");
        assert_eq!(read_file(&path, 10).unwrap(), b"0123456789");
        assert_eq!(cause(&path, 9), FileErrorCause::TooLarge(9));
    }

    #[test]
    fn a_file_whose_size_is_told_as_zero_is_read_and_bounded_all_the_same() {
        let path = Path::new("/proc/self/status");
        assert!(read_text_file(path, FILE_BYTES_MAX).unwrap().contains("Pid:"));
        assert_eq!(cause(path, 10), FileErrorCause::TooLarge(10));
    }

    #[test]
    fn what_is_no_regular_file_is_refused_before_it_is_opened() {
        let folder = Folder::new("kinds");
        let _listener = std::os::unix::net::UnixListener::bind(folder.0.join("socket")).unwrap();
        for path in [folder.0.clone(), folder.0.join("socket"), PathBuf::from("/dev/zero")] {
            assert_eq!(cause(&path, FILE_BYTES_MAX), FileErrorCause::NotAFile, "{}", path.display());
        }
    }

    #[test]
    fn an_error_names_the_path_and_the_cause() {
        let folder = Folder::new("errors");
        let text = folder.file("latin1", b"caf\xe9");
        let rows = [
            (folder.0.join("absent"), "there is no such file"),
            (text.join("below-a-file"), "there is no such file"),
            (folder.0.clone(), "it is not a regular file"),
            (text.clone(), "it is not UTF-8 text at byte 3"),
        ];
        for (path, cause) in rows {
            let error = read_text_file(&path, FILE_BYTES_MAX).unwrap_err();
            assert_eq!(error.to_string(), format!("cannot read {}: {cause}", path.display()));
        }
        let error = read_file(&text, 2).unwrap_err();
        assert!(error.to_string().ends_with(": it is larger than 2 bytes"), "{error}");
    }
}
