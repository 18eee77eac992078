//! `portcullis diff`: what a change of a configuration means, for whoever has to approve it.
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::Write,
    path::{Path, PathBuf},
};

use clap::{Args, ValueHint};
use serde_json::{Value, json};

use crate::{
    cli::{
        CommandError, ExitStatus, Format,
        config_file::ConfigFile,
        explain::text::{Colour, Style, padded},
    },
    config::{
        difference::{self, Change, Direction},
        load::Secrets,
        settings::Config,
        terminal::printable,
    },
};

const EXAMPLES: &str = "\
Examples:
  portcullis diff portcullis.yaml portcullis.next.yaml
  git show main:portcullis.yaml | portcullis diff - portcullis.yaml
  portcullis diff base/portcullis.yaml portcullis.yaml --format json

Exit code 0 when nothing became looser, 1 when something did or that cannot be
told, 2 usage, 78 when a configuration is wrong. Secrets are not read.";

/// Compares two configurations: what became looser, what stricter
///
/// Compared is what they mean and not how they are written: the order of routes, comments and defaults make no difference.
/// What lets one more request pass is looser; what cannot be compared is said to be so.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct DiffArguments {
    /// Configuration before; `-` reads standard input
    #[arg(value_name = "OLD", value_hint = ValueHint::FilePath)]
    old: PathBuf,
    /// Configuration after; `-` reads standard input
    #[arg(value_name = "NEW", value_hint = ValueHint::FilePath)]
    new: PathBuf,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Compares.
///
/// # Errors
/// [`CommandError::BadConfiguration`], [`CommandError::Usage`] when both are standard input.
pub fn run(arguments: &DiffArguments, output: &mut dyn Write) -> Result<ExitStatus, CommandError> {
    let DiffArguments { old, new, format } = arguments;
    if old.as_os_str() == "-" && new.as_os_str() == "-" {
        return Err(CommandError::Usage("standard input can be one of the two alone".to_owned()));
    }
    let changes = difference::compare(&load(old)?, &load(new)?);
    match format {
        Format::Json => writeln!(output, "{:#}", json_of(&changes))?,
        Format::Text => write!(output, "{}", text(&changes, Style::of_standard_output()))?,
    }
    Ok(ExitStatus::from_success(!changes.iter().any(|change| counts_as_looser(change.direction))))
}

const fn counts_as_looser(direction: Direction) -> bool {
    matches!(direction, Direction::Looser | Direction::Unclear)
}

fn load(path: &Path) -> Result<Config, CommandError> {
    let loaded = ConfigFile { path: path.to_path_buf() }.load(Secrets::Skip)?;
    loaded.config.ok_or_else(|| CommandError::BadConfiguration(loaded.problems.render()))
}

fn json_of(changes: &[Change]) -> Value {
    let shown = |change: &Change| {
        json!({
            "direction": change.direction.name(),
            "place": change.place,
            "what": change.what,
            "requests": change.requests,
        })
    };
    let counts: serde_json::Map<String, Value> = Direction::ALL
        .iter()
        .map(|direction| (direction.name().to_owned(), json!(count(changes, *direction))))
        .collect();
    json!({
        "looser": changes.iter().any(|change| counts_as_looser(change.direction)),
        "counts": counts,
        "changes": changes.iter().map(shown).collect::<Vec<_>>(),
    })
}

fn count(changes: &[Change], direction: Direction) -> usize {
    changes.iter().filter(|change| change.direction == direction).count()
}

/// For people: by direction, and what is the same in many places once.
fn text(changes: &[Change], style: Style) -> String {
    let mut out = String::new();
    if changes.is_empty() {
        return "no difference in meaning\n".to_owned();
    }
    for direction in Direction::ALL {
        let of_direction: Vec<&Change> = changes.iter().filter(|change| change.direction == direction).collect();
        if of_direction.is_empty() {
            continue;
        }
        let (title, colour) = match direction {
            Direction::Looser => ("looser", Colour::Red),
            Direction::Unclear => ("cannot be told", Colour::Yellow),
            Direction::Stricter => ("stricter", Colour::Green),
            Direction::Neither => ("neither", Colour::Faint),
        };
        let _ = writeln!(out, "{}", style.paint(colour, title));
        for (places, change) in grouped(&of_direction) {
            let _ = writeln!(out, "  {}: {}", printable(&places.join(", ")), printable(&change.what));
            for request in &change.requests {
                let _ = writeln!(out, "{}{}", padded("", 6), style.paint(Colour::Faint, &printable(request)));
            }
        }
    }
    let counts = Direction::ALL.map(|direction| format!("{} {}", count(changes, direction), direction.name()));
    let _ = writeln!(out, "\n{}", counts.join(", "));
    out
}

/// What is the same in several places stands where it is first.
fn grouped<'c>(changes: &[&'c Change]) -> Vec<(Vec<&'c str>, &'c Change)> {
    let mut groups: Vec<(Vec<&str>, &Change)> = Vec::new();
    let mut known: BTreeMap<(&str, &[String]), usize> = BTreeMap::new();
    for change in changes {
        match known.get(&(change.what.as_str(), change.requests.as_slice())) {
            Some(position) => {
                if let Some((places, _)) = groups.get_mut(*position) {
                    places.push(&change.place);
                }
            }
            None => {
                known.insert((&change.what, &change.requests), groups.len());
                groups.push((vec![&change.place], change));
            }
        }
    }
    groups
}
