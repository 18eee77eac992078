//! What parsing needs besides the tree: the problems found so far, and the files that a configuration names.
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::config::error::Problems;
use crate::config::field::Field;
use crate::config::load::{Secrets, SkippedSecret};
use crate::config::secret::Secret;
use crate::config::source::Position;
use crate::config::suggest::closest;
use crate::config::surroundings::{self, FileNameError, ReadError, Surroundings};
use crate::gate::condition::Conditions;

/// Names are labels of metrics and parts of log lines: this long at most.
pub(in crate::config) const NAME_BYTES_MAX: usize = 64;
/// At most this many names are listed when an unknown one is found.
const LISTED_NAMES_MAX: usize = 8;

/// The state of one run.
pub(in crate::config) struct Context<'w> {
    /// What was found.
    pub(in crate::config) problems: Problems,
    /// What rules ask of claims.
    pub(in crate::config) conditions: Conditions,
    /// Secret files that were named and not read.
    pub(in crate::config) skipped: Vec<SkippedSecret>,
    surroundings: &'w dyn Surroundings,
    directory: &'w Path,
    secrets: Secrets,
}

/// A secret that a configuration names.
#[derive(Debug)]
pub(in crate::config) enum NamedSecret {
    /// Its content.
    Read(Secret),
    /// It was not read, as asked.
    Skipped,
}

impl<'w> Context<'w> {
    /// A run that has found nothing yet.
    pub(in crate::config) fn new(directory: &'w Path, surroundings: &'w dyn Surroundings, secrets: Secrets) -> Self {
        Self {
            problems: Problems::new(),
            conditions: Conditions::default(),
            skipped: Vec::new(),
            surroundings,
            directory,
            secrets,
        }
    }

    /// Through which variables are read.
    pub(in crate::config) fn surroundings(&self) -> &'w dyn Surroundings {
        self.surroundings
    }

    /// The path that a text means: relative ones start from the configuration's directory.
    pub(in crate::config) fn path(&self, written: &str) -> PathBuf {
        surroundings::resolve(written, self.directory)
    }

    /// A file that is no secret: its path and its content.
    pub(in crate::config) fn public_file(&mut self, field: &Field<'_>, bytes_max: usize) -> Option<(PathBuf, Vec<u8>)> {
        let written = field.string(&mut self.problems)?;
        let path = match surroundings::resolve_file(written, self.directory, self.surroundings) {
            Ok(path) => path,
            Err(fault) => return self.file_name_fault(field, fault),
        };
        let bytes_max = u64::try_from(bytes_max).unwrap_or(u64::MAX);
        match self.surroundings.read_file(&path, bytes_max) {
            Ok(content) if content.is_empty() => self.unreadable(field, &path, &ReadError::Empty),
            Ok(content) => Some((path, content)),
            Err(error) => self.unreadable(field, &path, &error),
        }
    }

    /// The path that the value of a `*_file` key means; nothing when it names no file, which was then reported with its
    /// content.
    pub(in crate::config) fn file_path(&self, field: &Field<'_>) -> Option<PathBuf> {
        surroundings::resolve_file(field.text(), self.directory, self.surroundings).ok()
    }

    /// A secret from a file, unless secrets are not read.
    pub(in crate::config) fn secret_file(&mut self, field: &Field<'_>) -> Option<NamedSecret> {
        self.secret_at(field).map(|(_, secret)| secret)
    }

    /// The same, with its path; that is empty for a secret that was not read and whose place is not known.
    pub(in crate::config) fn secret_at(&mut self, field: &Field<'_>) -> Option<(PathBuf, NamedSecret)> {
        let written = field.string(&mut self.problems)?;
        let path = surroundings::resolve_file(written, self.directory, self.surroundings);
        match (self.secrets, path) {
            (Secrets::Skip, path @ (Ok(_) | Err(FileNameError::NoCredentialsDirectory))) => {
                let written = field.node().scalar().map_or(written, |scalar| scalar.written()).to_owned();
                self.skipped.push(SkippedSecret { path: field.path().clone(), written });
                Some((path.unwrap_or_default(), NamedSecret::Skipped))
            }
            (_, Err(fault)) => self.file_name_fault(field, fault),
            (Secrets::Read, Ok(path)) => match Secret::read(&path, self.surroundings) {
                Ok(secret) => Some((path, NamedSecret::Read(secret))),
                Err(error) => self.unreadable(field, &path, &error),
            },
        }
    }

    fn file_name_fault<T>(&mut self, field: &Field<'_>, fault: FileNameError) -> Option<T> {
        self.problems.add(field.error(format!("{} names no file: {fault}", field.title())));
        None
    }

    fn unreadable<T>(&mut self, field: &Field<'_>, path: &Path, error: &ReadError) -> Option<T> {
        let file = if field.is_from_variable() { field.found() } else { format!("`{}`", path.display()) };
        let problem = field.error(format!("cannot read {file}: {error}"));
        let is_relative = Path::new(field.text()).is_relative() && !field.text().starts_with("credential:");
        self.problems.add(if *error == ReadError::NotFound && is_relative {
            problem.with_hint("relative paths start from the directory of the configuration file")
        } else {
            problem
        });
        None
    }
}

/// Names that must differ, with their places.
#[derive(Debug, Default)]
pub(in crate::config) struct Unique {
    seen: HashMap<Box<str>, Position>,
}

impl Unique {
    /// Reports `text` when it was there before, in the words "`what` … is there twice".
    pub(in crate::config) fn check(
        &mut self,
        what: &str,
        text: &str,
        field: &Field<'_>,
        problems: &mut Problems,
    ) -> bool {
        if let Some(first) = self.seen.get(text) {
            let place = problems.place(*first, field.position());
            let problem = field.error(format!("{what} is there twice, first in {place}"));
            problems.add(problem);
            return false;
        }
        self.seen.insert(Box::from(text), field.position());
        true
    }
}

/// Whether a text can be a name, which it is told when it cannot.
pub(in crate::config) fn check_name(field: &Field<'_>, name: &str, at_key: bool, problems: &mut Problems) -> bool {
    if is_name(name) {
        return true;
    }
    let message = "a name has 1 to 64 letters, digits or any of `._/:*@+~[]-`, and is not `-` alone";
    problems.add(if at_key { field.key_error(message) } else { field.error(message) });
    false
}

/// Whether a text can be a name: a label of metrics and part of log lines, so short and plain.
pub(in crate::config) fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._/:*@+~[]-".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain) && name != "-"
}

/// The position of a name among the known ones; an unknown one is reported with what was probably meant.
pub(in crate::config) fn position_of<'k>(
    field: &Field<'_>,
    name: &str,
    known: impl Iterator<Item = &'k str> + Clone,
    what: &str,
    problems: &mut Problems,
) -> Option<usize> {
    if let Some(position) = known.clone().position(|candidate| candidate == name) {
        return Some(position);
    }
    let problem = field.error(format!("{} is no {what}", field.found()));
    let meant = closest(name, known.clone()).filter(|_| !field.is_from_variable());
    let listed: Vec<String> = known.clone().take(LISTED_NAMES_MAX).map(|name| format!("`{name}`")).collect();
    problems.add(match meant {
        Some(meant) => problem.with_hint(format!("did you mean `{meant}`?")),
        None if listed.is_empty() => problem.with_hint(format!("no {what} is defined")),
        None if known.count() <= LISTED_NAMES_MAX => problem.with_hint(format!("defined: {}", listed.join(", "))),
        None => problem,
    });
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_plain_and_never_the_label_for_none() {
        for name in ["orders", "a", "api.example.com/orders", "[::1]:8080", "*.example.org/v1/", &"x".repeat(64)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-", "two words", "é", "a\"b", "a{b}", "a\nb", &"x".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
