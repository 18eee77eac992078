//! A secret from a file: wiped when dropped, never shown. Says nothing about what it is for.
use std::fmt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::config::surroundings::{ReadError, Surroundings};

/// The longest secret that is read, in bytes; a private key in PEM is far shorter.
pub const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Bytes that no output shows.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Reads a secret. One newline at its end (`\n` or `\r\n`), as editors and `echo` leave it, is not part of it.
    ///
    /// # Errors
    /// What reading says, and [`ReadError::Empty`] for a secret of no bytes.
    pub fn read(path: &Path, surroundings: &dyn Surroundings) -> Result<Self, ReadError> {
        let secret = Self::from_file_content(surroundings.read_file(path, SECRET_BYTES_MAX)?);
        if secret.bytes().is_empty() { Err(ReadError::Empty) } else { Ok(secret) }
    }

    /// The secret in the content of a file: all of it but one final newline.
    pub fn from_file_content(content: Vec<u8>) -> Self {
        let mut bytes = Zeroizing::new(content);
        if bytes.ends_with(b"\n") {
            bytes.pop();
            if bytes.ends_with(b"\r") {
                bytes.pop();
            }
        }
        Self(bytes)
    }

    /// The secret itself, for those who use it.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::surroundings::given::Given;

    #[test]
    fn one_final_newline_is_not_part_of_a_secret() {
        let rows: &[(&[u8], &[u8])] = &[
            (b"s", b"s"),
            (b"s\n", b"s"),
            (b"s\r\n", b"s"),
            (b"s\n\n", b"s\n"),
            (b"s\r", b"s\r"),
            (b" s ", b" s "),
            (b"\0\xff\n", b"\0\xff"),
        ];
        for (content, expected) in rows {
            assert_eq!(Secret::from_file_content(content.to_vec()).bytes(), *expected);
        }
    }

    #[test]
    fn an_empty_or_huge_or_missing_secret_is_an_error() {
        let world = Given::default().file("empty", b"\n").file("huge", &vec![b'x'; 65_537]).file("good", b"s3cret");
        let read = |path| Secret::read(Path::new(path), &world).map(|secret| secret.bytes().to_vec());
        assert_eq!(read("empty"), Err(ReadError::Empty));
        assert_eq!(read("huge"), Err(ReadError::TooLarge { bytes_max: SECRET_BYTES_MAX }));
        assert_eq!(read("absent"), Err(ReadError::NotFound));
        assert_eq!(read("good"), Ok(b"s3cret".to_vec()));
        assert_eq!(format!("{:?}", Secret::from_file_content(b"s3cret".to_vec())), "Secret");
    }
}
