//! What is wrong with a configuration, gathered in one run: place, key path, message, hint. How that looks is
//! decided in `render`. Never holds the value of a variable or a secret, only what whoever reports puts in a message.
use crate::config::key_path::KeyPath;
use crate::config::source::{Position, SourceId, Sources};

/// At most this many problems are kept; the rest is counted.
pub const PROBLEMS_MAX: usize = 1000;

/// Whether a problem forbids the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is valid, but probably not what was meant, or weaker than it could be.
    Warning,
}

impl Severity {
    /// The word for it in output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Whether the offending line is printed beneath the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceLine {
    /// Print it.
    Shown,
    /// Do not: it may hold what nobody should see.
    Hidden,
}

/// One thing that is wrong, or doubtful, with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where.
    pub position: Position,
    /// The key that is concerned, from the root; empty for the document itself.
    pub path: KeyPath,
    /// What is wrong, in lower case and without full stop.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
    /// Whether it forbids the start.
    pub severity: Severity,
    /// Whether the offending line may be printed.
    pub source_line: SourceLine,
}

impl ConfigError {
    /// A problem that forbids the start.
    pub fn error(position: Position, path: &KeyPath, message: impl Into<String>) -> Self {
        Self {
            position,
            path: path.clone(),
            message: message.into(),
            hint: None,
            severity: Severity::Error,
            source_line: SourceLine::Shown,
        }
    }

    /// A problem that is said and lived with.
    pub fn warning(position: Position, path: &KeyPath, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(position, path, message) }
    }

    /// Adds what would be right.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Keeps the offending line out of the output.
    #[must_use]
    pub fn without_source_line(self) -> Self {
        Self { source_line: SourceLine::Hidden, ..self }
    }
}

/// The collector: every problem of one run, and the texts that they are found in.
#[derive(Clone, Debug, Default)]
pub struct Problems {
    sources: Sources,
    found: Vec<ConfigError>,
    left_out: usize,
    errors: usize,
    warnings: usize,
}

impl Problems {
    /// An empty collector.
    pub fn new() -> Self {
        Self::default()
    }

    /// Remembers a text, so that problems in it can show their line.
    pub fn add_source(&mut self, name: impl Into<String>, text: &str) -> SourceId {
        self.sources.add(name, text)
    }

    /// The texts that problems point into.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// A place in words, for a message that is about the place `beside`: `line 3`, or `line 3 of routes.d/a.yaml`.
    pub fn place(&self, position: Position, beside: Position) -> String {
        match self.sources.source(position.source).filter(|_| position.source != beside.source) {
            Some(source) => format!("line {} of {}", position.line, source.name()),
            None => format!("line {}", position.line),
        }
    }

    /// Adds a problem. The same message at the same place (an anchor that is used twice) is kept once; beyond
    /// [`PROBLEMS_MAX`] problems are only counted.
    pub fn add(&mut self, problem: ConfigError) {
        let same = |known: &ConfigError| known.position == problem.position && known.message == problem.message;
        if self.found.iter().any(same) {
            return;
        }
        match problem.severity {
            Severity::Error => self.errors = self.errors.saturating_add(1),
            Severity::Warning => self.warnings = self.warnings.saturating_add(1),
        }
        if self.is_full() {
            self.left_out = self.left_out.saturating_add(1);
        } else {
            self.found.push(problem);
        }
    }

    /// How many errors were found.
    pub fn error_count(&self) -> usize {
        self.errors
    }

    /// How many warnings were found.
    pub fn warning_count(&self) -> usize {
        self.warnings
    }

    /// Whether further problems are only counted, so that working out their place would be for nothing.
    pub fn is_full(&self) -> bool {
        self.found.len() >= PROBLEMS_MAX
    }

    /// How many problems were found but not kept.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Whether anything forbids the start.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Whether nothing at all was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Errors, then warnings; each sorted by place.
    pub fn sorted(&self) -> Vec<&ConfigError> {
        let mut sorted: Vec<&ConfigError> = self.found.iter().collect();
        sorted.sort_by_key(|problem| (problem.severity, problem.position));
        sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(problems: &mut Problems, line: u32) -> Position {
        let known = problems.sources().iter().next().map(|(id, _)| id);
        let source = known.unwrap_or_else(|| problems.add_source("a.yaml", ""));
        Position { source, line, column: 1, length: 0 }
    }

    #[test]
    fn errors_come_before_warnings_and_each_in_the_order_of_the_file() {
        let mut problems = Problems::new();
        let path = KeyPath::root();
        let (first, second, third) = (place(&mut problems, 1), place(&mut problems, 2), place(&mut problems, 3));
        problems.add(ConfigError::warning(first, &path, "w1"));
        problems.add(ConfigError::error(third, &path, "e3"));
        problems.add(ConfigError::error(second, &path, "e2"));
        let messages: Vec<&str> = problems.sorted().iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(messages, ["e2", "e3", "w1"]);
        assert_eq!((problems.error_count(), problems.warning_count(), problems.has_errors()), (2, 1, true));
    }

    #[test]
    fn the_same_complaint_about_the_same_place_is_made_once() {
        let mut problems = Problems::new();
        let position = place(&mut problems, 1);
        problems.add(ConfigError::error(position, &KeyPath::root().key("a"), "wrong"));
        problems.add(ConfigError::error(position, &KeyPath::root().key("b"), "wrong"));
        problems.add(ConfigError::error(position, &KeyPath::root().key("b"), "also wrong"));
        assert_eq!(problems.error_count(), 2);
    }

    #[test]
    fn problems_beyond_the_bound_are_counted_not_kept() {
        let mut problems = Problems::new();
        for line in 1..=1005 {
            let position = place(&mut problems, line);
            problems.add(ConfigError::error(position, &KeyPath::root(), "wrong"));
        }
        assert_eq!((problems.sorted().len(), problems.left_out(), problems.error_count()), (PROBLEMS_MAX, 5, 1005));
    }
}
