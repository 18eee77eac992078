//! From a file or a text to a configuration: everything that is wrong with it, in one run. The one door of this floor.
use std::path::{Path, PathBuf};

use crate::config::bounds::DOCUMENT_BYTES_MAX;
use crate::config::error::{ConfigError, Problems};
use crate::config::expand::expand;
use crate::config::field::Field;
use crate::config::include;
use crate::config::key_path::KeyPath;
use crate::config::parse::{self, context::Context};
use crate::config::settings::{Admin, Config};
use crate::config::source::Position;
use crate::config::surroundings::{Surroundings, directory_of};
use crate::config::yaml;

/// Whether the secrets that a configuration names are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// They are read and checked.
    Read,
    /// They are left alone, so that a configuration can be checked where its secrets are not. Public keys, key sets and
    /// certificates are read all the same. What comes of it must not be run: keys from secrets and header values from
    /// files are missing.
    Skip,
}

/// A secret file that was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedSecret {
    /// The key that names it.
    pub path: KeyPath,
    /// The file as written.
    pub written: String,
}

/// What became of a configuration.
#[derive(Debug)]
pub struct Loaded {
    /// What it means; nothing when there are errors.
    pub config: Option<Config>,
    /// Errors and warnings.
    pub problems: Problems,
    /// The secret files that were not read; none with [`Secrets::Read`].
    pub skipped: Vec<SkippedSecret>,
    /// SHA-256 of the text and of all that it includes, in hexadecimal digits; empty when it could not be read.
    pub sha256: String,
    /// The paths and patterns of what it includes, for [`digest_of`].
    pub includes: Vec<String>,
}

/// Reads the configuration in a file; relative paths in it start from its directory.
pub fn load(path: &Path, surroundings: &dyn Surroundings, secrets: Secrets) -> Loaded {
    let name = path.display().to_string();
    let bytes_max = u64::try_from(DOCUMENT_BYTES_MAX).unwrap_or(u64::MAX);
    match surroundings.read_file(path, bytes_max) {
        Ok(text) => load_text(&name, &text, &directory_of(path), surroundings, secrets),
        Err(error) => {
            let mut problems = Problems::new();
            let source = problems.add_source(name, "");
            let message = format!("cannot read the configuration: {error}");
            problems.add(ConfigError::error(Position::whole(source), &KeyPath::root(), message));
            Loaded { config: None, problems, skipped: Vec::new(), sha256: String::new(), includes: Vec::new() }
        }
    }
}

/// The operators' interface of a configuration, and nothing else of it: enough to find a running instance, also while
/// another part is wrong or cannot be read. Without an interface the problems say why.
pub fn load_admin(
    path: &Path,
    text: &[u8],
    surroundings: &dyn Surroundings,
    secrets: Secrets,
) -> (Option<Admin>, Problems) {
    let directory = directory_of(path);
    let mut context = Context::new(&directory, surroundings, secrets);
    let node = yaml::parse(&path.display().to_string(), text, &mut context.problems);
    let admin = node.and_then(|mut node| {
        // A variable that is missing elsewhere is of no concern here.
        expand(&mut node, context.surroundings(), &mut Problems::new());
        parse::admin(&Field::root(&node), &mut context)
    });
    let Context { problems, .. } = context;
    (admin.filter(|_| !problems.has_errors()), problems)
}

/// Reads a configuration that is at hand, such as that of standard input; messages call it `name`, and relative paths
/// in it start from `directory`.
pub fn load_text(
    name: &str,
    text: &[u8],
    directory: &Path,
    surroundings: &dyn Surroundings,
    secrets: Secrets,
) -> Loaded {
    let mut context = Context::new(directory, surroundings, secrets);
    let mut included = include::Included::default();
    let config = yaml::parse(name, text, &mut context.problems).and_then(|mut node| {
        expand(&mut node, context.surroundings(), &mut context.problems);
        included = include::merge(&mut node, directory, surroundings, &mut context.problems);
        parse::config(&Field::root(&node), &mut context)
    });
    let Context { problems, skipped, .. } = context;
    // Problems of the text itself, such as a key that is there twice, spoil what was made of it.
    let config = config.filter(|_| !problems.has_errors());
    let sha256 = digest(text, &included.files);
    Loaded { config, problems, skipped, sha256, includes: included.patterns }
}

/// The digest that the configuration in a file has now, without understanding it; `includes` are those of what is in
/// force, so that a file which includes others has another digest in any case. Nothing where something cannot be read.
pub fn digest_of(path: &Path, includes: &[String], surroundings: &dyn Surroundings) -> Option<String> {
    let bytes_max = u64::try_from(DOCUMENT_BYTES_MAX).unwrap_or(u64::MAX);
    let text = surroundings.read_file(path, bytes_max).ok()?;
    Some(digest(&text, &include::texts(includes, &directory_of(path), surroundings)?))
}

/// Of a text alone it is that of the text, as `sha256sum` says it; else of all texts, each behind its length.
fn digest(text: &[u8], included: &[(PathBuf, Vec<u8>)]) -> String {
    if included.is_empty() {
        return sha256(text);
    }
    let mut all = Vec::new();
    for text in std::iter::once(text).chain(included.iter().map(|(_, text)| text.as_slice())) {
        all.extend_from_slice(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        all.extend_from_slice(text);
    }
    sha256(&all)
}

/// By what a text is known: SHA-256 in hexadecimal digits.
pub fn sha256(text: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
