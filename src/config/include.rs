//! `include`: issuers, routes and upstreams that stand in files of their own. They become part of the document before it
//! is read, each with the place where it is written, so that it makes no difference which file holds what.
use std::path::{Path, PathBuf};

use crate::config::bounds::{Bounds, Budget, DOCUMENT_BYTES_MAX, Extent, TEXT_BYTES_MAX};
use crate::config::error::{ConfigError, Problems};
use crate::config::expand::expand;
use crate::config::field::Field;
use crate::config::key_path::KeyPath;
use crate::config::source::Position;
use crate::config::suggest::closest;
use crate::config::surroundings::{ReadError, Surroundings, resolve};
use crate::config::tree::{Entry, Node, Value};
use crate::config::yaml;

/// The key.
const INCLUDE: &str = "include";
/// What an included file may hold.
const SECTIONS: [&str; 3] = ["issuers", "routes", "upstreams"];
/// At most this many files are included.
pub const FILES_MAX: usize = 1000;
/// At most this many bytes are included in all.
pub const BYTES_MAX: usize = TEXT_BYTES_MAX;

/// What a document includes.
#[derive(Debug, Default)]
pub(in crate::config) struct Included {
    /// The paths and patterns, variables filled in.
    pub(in crate::config) patterns: Vec<String>,
    /// The files in the order in which they were read, which depends on their names alone.
    pub(in crate::config) files: Vec<(PathBuf, Vec<u8>)>,
}

/// Makes what `root` includes part of it. Variables are filled in already, and are filled in what is included.
pub(in crate::config) fn merge(
    root: &mut Node,
    directory: &Path,
    surroundings: &dyn Surroundings,
    problems: &mut Problems,
) -> Included {
    let included = read_all(root, directory, surroundings, problems);
    let mut budget = Budget::within(Bounds::DOCUMENT);
    for (path, bytes) in &included.files {
        let Some(mut node) = yaml::parse(&path.display().to_string(), bytes, problems) else { continue };
        if let Err(excess) = budget.charge(0, Extent::of(&node)) {
            let message = format!("the included files together hold {excess}");
            problems.add(ConfigError::error(Position::whole(node.position.source), &KeyPath::root(), message));
            break;
        }
        expand(&mut node, surroundings, problems);
        merge_file(root, node, problems);
    }
    included
}

fn read_all(root: &Node, directory: &Path, surroundings: &dyn Surroundings, problems: &mut Problems) -> Included {
    let mut included = Included::default();
    // That the document is no mapping is said where it is read.
    let members = Field::root(root).entries(&mut Problems::new()).unwrap_or_default();
    let Some(field) = members.into_iter().find(|member| member.name() == INCLUDE) else { return included };
    let mut bytes_left = BYTES_MAX;
    for (field, written) in field.strings(problems).unwrap_or_default() {
        let paths = match files_of(written, directory, surroundings) {
            Ok(paths) => paths,
            Err(error) => {
                problems.add(unreadable(&field, &resolve(written, directory), &error));
                continue;
            }
        };
        if paths.is_empty() {
            problems.add(field.warning(format!("{} matches no file", field.found())));
        }
        included.patterns.push(written.to_owned());
        for path in paths {
            if included.files.iter().any(|(known, _)| *known == path) {
                continue;
            }
            if included.files.len() >= FILES_MAX {
                problems.add(field.error(format!("at most {FILES_MAX} files are included")));
                return included;
            }
            match surroundings.read_file(&path, size(DOCUMENT_BYTES_MAX.min(bytes_left))) {
                Ok(bytes) => {
                    bytes_left = bytes_left.saturating_sub(bytes.len());
                    included.files.push((path, bytes));
                }
                Err(ReadError::TooLarge { .. }) if bytes_left < DOCUMENT_BYTES_MAX => {
                    problems.add(field.error(format!("at most {BYTES_MAX} bytes are included in all")));
                    return included;
                }
                Err(error) => problems.add(unreadable(&field, &path, &error)),
            }
        }
    }
    included
}

fn unreadable(field: &Field<'_>, path: &Path, error: &ReadError) -> ConfigError {
    let file = if field.is_from_variable() { field.found() } else { format!("`{}`", path.display()) };
    field
        .error(format!("cannot include {file}: {error}"))
        .with_hint("a file, or `*` and `?` in the name of files; relative paths start from the directory of the configuration file")
}

/// The files that a path or pattern means, sorted. A pattern never means hidden files.
///
/// # Errors
/// Says why the directory of a pattern cannot be looked at.
fn files_of(written: &str, directory: &Path, surroundings: &dyn Surroundings) -> Result<Vec<PathBuf>, ReadError> {
    let path = resolve(written, directory);
    let is_pattern = |text: &str| text.contains(['*', '?']);
    let (folder, name) = written.rsplit_once('/').unwrap_or(("", written));
    if is_pattern(folder) {
        return Err(ReadError::Other("`*` and `?` are for the name of files, not of directories".to_owned()));
    }
    if !is_pattern(name) {
        return Ok(vec![path]);
    }
    let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let mut names = surroundings.names_in(&folder)?;
    names.retain(|candidate| !candidate.starts_with('.') && matches(name.as_bytes(), candidate.as_bytes()));
    names.sort_unstable();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// Whether a pattern means a name: `*` is any text, `?` one byte. In time of at most the product of their lengths.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut of) = (0_usize, 0_usize);
    // Behind the last `*`, and how much of the name it took.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = name.get(of) {
        match pattern.get(at) {
            Some(b'*') => {
                at = at.saturating_add(1);
                star = Some((at, of));
                continue;
            }
            Some(wanted) if *wanted == b'?' || wanted == byte => at = at.saturating_add(1),
            _ => {
                let Some((behind, taken)) = star else { return false };
                let taken = taken.saturating_add(1);
                star = Some((behind, taken));
                (at, of) = (behind, taken);
                continue;
            }
        }
        of = of.saturating_add(1);
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

fn merge_file(root: &mut Node, node: Node, problems: &mut Problems) {
    let Value::Mapping(included) = node.value else {
        problems.add(Field::root(&node).mismatch("a mapping"));
        return;
    };
    let Value::Mapping(entries) = &mut root.value else { return };
    for entry in included.into_iter().filter(|entry| !entry.key.text.starts_with("x-")) {
        let name = entry.key.text.as_str();
        if !SECTIONS.contains(&name) {
            problems.add(stranger(&entry));
            continue;
        }
        let expected = if name == "routes" { "a list" } else { "a mapping" };
        let is_list = matches!(entry.value.value, Value::Sequence(_));
        if entry.value.scalar().is_some() || is_list != (name == "routes") {
            let message = format!("`{name}` must be {expected}, not {}", entry.value.describe());
            problems.add(ConfigError::error(entry.value.position, &KeyPath::root().key(name), message));
            continue;
        }
        match entries.iter_mut().find(|known| known.key.text == name) {
            None => entries.push(entry),
            Some(known) => append(known, entry, problems),
        }
    }
}

fn append(known: &mut Entry, entry: Entry, problems: &mut Problems) {
    match (&mut known.value.value, entry.value.value) {
        (Value::Sequence(items), Value::Sequence(more)) => items.extend(more),
        (Value::Mapping(members), Value::Mapping(more)) => {
            for member in more {
                let Some(first) = members.iter().find(|first| first.key.text == member.key.text) else {
                    members.push(member);
                    continue;
                };
                let place = problems.place(first.key.position, member.key.position);
                let message = format!("`{}` is there twice, first in {place}", member.key.text);
                let path = KeyPath::root().key(&known.key.text).key(&member.key.text);
                problems.add(ConfigError::error(member.key.position, &path, message));
            }
        }
        // What is wrong with the first is said where it is read.
        _ => {}
    }
}

fn stranger(entry: &Entry) -> ConfigError {
    let name = entry.key.text.as_str();
    let message = match name {
        INCLUDE => "an included file includes no others".to_owned(),
        _ => format!("`{name}` cannot stand in an included file"),
    };
    let meant = closest(name, SECTIONS).map(|meant| format!("did you mean `{meant}`? "));
    ConfigError::error(entry.key.position, &KeyPath::root().key(name), message)
        .with_hint(format!("{}known here: `issuers`, `routes`, `upstreams`", meant.unwrap_or_default()))
}

/// The texts that paths and patterns mean now, without understanding them; nothing where one cannot be read.
pub(in crate::config) fn texts(
    patterns: &[String],
    directory: &Path,
    surroundings: &dyn Surroundings,
) -> Option<Vec<(PathBuf, Vec<u8>)>> {
    let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    let mut bytes = 0_usize;
    for pattern in patterns {
        for path in files_of(pattern, directory, surroundings).ok()? {
            if files.iter().any(|(known, _)| *known == path) {
                continue;
            }
            let text = surroundings.read_file(&path, size(DOCUMENT_BYTES_MAX)).ok()?;
            bytes = bytes.saturating_add(text.len());
            if bytes > BYTES_MAX || files.len() >= FILES_MAX {
                return None;
            }
            files.push((path, text));
        }
    }
    Some(files)
}

fn size(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
