//! The world as a configuration sees it: files and variables, behind one trait. The floor itself opens nothing; here
//! are also the rules that need no world, such as which path a `*_file` means.
use std::fmt;
use std::path::{Path, PathBuf};

/// The variable that names the directory of credentials (systemd's `LoadCredential=`).
pub const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Through which a configuration reads the world.
pub trait Surroundings {
    /// The bytes of a file.
    ///
    /// # Errors
    /// Says why there are none. A file of more than `bytes_max` bytes is [`ReadError::TooLarge`] and is not read whole.
    fn read_file(&self, path: &Path, bytes_max: u64) -> Result<Vec<u8>, ReadError>;

    /// The names of what is in a directory, in any order.
    ///
    /// # Errors
    /// Says why there are none.
    fn names_in(&self, directory: &Path) -> Result<Vec<String>, ReadError>;

    /// The value of an environment variable; `None` when it is not set (or is no text).
    fn variable(&self, name: &str) -> Option<String>;
}

/// Why a file could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// There is no such file.
    NotFound,
    /// It may not be read by this user.
    Forbidden,
    /// It is a directory or another thing without bytes of its own.
    NotAFile,
    /// It has more bytes than are read.
    TooLarge {
        /// How many bytes are read at most.
        bytes_max: u64,
    },
    /// It is read, and there is nothing in it.
    Empty,
    /// Anything else, in the words of the operating system.
    Other(String),
}

impl fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => formatter.write_str("no such file"),
            Self::Forbidden => formatter.write_str("permission denied"),
            Self::NotAFile => formatter.write_str("not a file"),
            Self::TooLarge { bytes_max } => write!(formatter, "larger than {bytes_max} bytes"),
            Self::Empty => formatter.write_str("the file is empty"),
            Self::Other(message) => formatter.write_str(message),
        }
    }
}

impl std::error::Error for ReadError {}

/// Why the value of a `*_file` key names no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileNameError {
    /// It is empty.
    Empty,
    /// What follows `credential:` is no plain file name.
    CredentialName,
    /// `credential:` is used and there is no directory of credentials.
    NoCredentialsDirectory,
}

impl fmt::Display for FileNameError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Empty => "the file name is empty",
            Self::CredentialName => "`credential:` takes the name of a credential, without a path",
            Self::NoCredentialsDirectory => {
                "`credential:` needs $CREDENTIALS_DIRECTORY, which systemd sets for LoadCredential="
            }
        })
    }
}

impl std::error::Error for FileNameError {}

/// The directory that relative paths of a configuration start from; empty (the working directory) for a bare file
/// name and for standard input (`-`).
pub fn directory_of(config_file: &Path) -> PathBuf {
    config_file.parent().map(Path::to_path_buf).unwrap_or_default()
}

/// The path that a configuration means: relative ones start from `directory`.
pub fn resolve(written: &str, directory: &Path) -> PathBuf {
    directory.join(written)
}

/// The path that a `*_file` key means: `credential:NAME` is `$CREDENTIALS_DIRECTORY/NAME`, all else as [`resolve`].
///
/// # Errors
/// See [`FileNameError`].
pub fn resolve_file(
    written: &str,
    directory: &Path,
    surroundings: &dyn Surroundings,
) -> Result<PathBuf, FileNameError> {
    if written.is_empty() {
        return Err(FileNameError::Empty);
    }
    let Some(name) = written.strip_prefix("credential:") else { return Ok(resolve(written, directory)) };
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(FileNameError::CredentialName);
    }
    let credentials = surroundings.variable(CREDENTIALS_DIRECTORY).filter(|directory| !directory.is_empty());
    credentials.map(|directory| Path::new(&directory).join(name)).ok_or(FileNameError::NoCredentialsDirectory)
}

/// Surroundings for tests: files and variables as given.
#[cfg(test)]
pub(crate) mod given {
    use super::{ReadError, Surroundings};
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    /// A world that holds what it is given and nothing else.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Given {
        files: BTreeMap<PathBuf, Vec<u8>>,
        variables: BTreeMap<String, String>,
    }

    impl Given {
        pub(crate) fn file(mut self, path: &str, bytes: &[u8]) -> Self {
            self.files.insert(PathBuf::from(path), bytes.to_vec());
            self
        }

        pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
            self.variables.insert(name.to_owned(), value.to_owned());
            self
        }
    }

    impl Surroundings for Given {
        fn read_file(&self, path: &Path, bytes_max: u64) -> Result<Vec<u8>, ReadError> {
            let bytes = self.files.get(path).ok_or(ReadError::NotFound)?;
            if bytes.len() as u64 > bytes_max { Err(ReadError::TooLarge { bytes_max }) } else { Ok(bytes.clone()) }
        }

        fn names_in(&self, directory: &Path) -> Result<Vec<String>, ReadError> {
            let inside = self.files.keys().filter(|path| path.parent() == Some(directory));
            let names: Vec<String> = inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect();
            if names.is_empty() { Err(ReadError::NotFound) } else { Ok(names) }
        }

        fn variable(&self, name: &str) -> Option<String> {
            self.variables.get(name).cloned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::given::Given;
    use super::*;

    #[test]
    fn a_file_is_found_beside_the_config_or_among_the_credentials() {
        let directory = directory_of(Path::new("/etc/portcullis/portcullis.yaml"));
        let with = Given::default().variable(CREDENTIALS_DIRECTORY, "/run/credentials/x");
        let without = Given::default();
        let rows = [
            ("key.pem", &with, Ok("/etc/portcullis/key.pem")),
            ("/key.pem", &with, Ok("/key.pem")),
            ("../key.pem", &with, Ok("/etc/portcullis/../key.pem")),
            ("credential:hmac", &with, Ok("/run/credentials/x/hmac")),
            ("credential:hmac", &without, Err(FileNameError::NoCredentialsDirectory)),
            ("credential:", &with, Err(FileNameError::CredentialName)),
            ("credential:..", &with, Err(FileNameError::CredentialName)),
            ("credential:../x", &with, Err(FileNameError::CredentialName)),
            ("credential:/etc/shadow", &with, Err(FileNameError::CredentialName)),
            ("", &with, Err(FileNameError::Empty)),
        ];
        for (written, surroundings, expected) in rows {
            let found = resolve_file(written, &directory, surroundings);
            assert_eq!(found, expected.map(PathBuf::from), "{written}");
        }
    }

    #[test]
    fn a_bare_config_name_and_standard_input_mean_the_working_directory() {
        for config in ["portcullis.yaml", "-"] {
            assert_eq!(resolve("key.pem", &directory_of(Path::new(config))), Path::new("key.pem"));
        }
    }
}
