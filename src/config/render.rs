//! How problems look: for people, with the offending line, and as JSON. Decides nothing about what is a problem.
use crate::config::error::{ConfigError, Problems, SourceLine};
use crate::config::terminal::{Cell, printable};

/// A line longer than this many terminal columns is cut around the offending place.
const LINE_COLUMNS_MAX: usize = 120;
/// How many characters stay visible before the offending place of a line that is cut.
const CONTEXT_CHARACTERS: usize = 40;

impl Problems {
    /// Every problem for people, errors first, one empty line between two:
    ///
    /// ```text
    /// portcullis.yaml:12:5: unknown key `algoritms`
    ///   12 |     algoritms: [RS256]
    ///      |     ^^^^^^^^^
    ///      = key: issuers.main.algoritms
    ///      = hint: did you mean `algorithms`?
    /// ```
    pub fn render(&self) -> String {
        let mut blocks: Vec<String> = self.sorted().into_iter().map(|problem| self.render_one(problem)).collect();
        if self.left_out() > 0 {
            blocks.push(format!("and {} more problems\n", self.left_out()));
        }
        blocks.join("\n")
    }

    /// Every problem as a JSON array of `file`, `line`, `column`, `severity`, `path`, `message`, `hint`; line and column
    /// are null when a whole file is meant. Texts are as found: whoever prints them to a terminal escapes them.
    pub fn to_json(&self) -> serde_json::Value {
        let object = |problem: &ConfigError| {
            let position = problem.position;
            let number = |number: u32| if position.is_whole() { serde_json::Value::Null } else { number.into() };
            serde_json::json!({
                "file": self.file_of(problem),
                "line": number(position.line),
                "column": number(position.column),
                "severity": problem.severity.name(),
                "path": problem.path.as_str(),
                "message": problem.message,
                "hint": problem.hint,
            })
        };
        serde_json::Value::Array(self.sorted().into_iter().map(object).collect())
    }

    /// The first error as one line, and how many more there are: for logs of what is read again and again. Empty without
    /// an error.
    pub fn first_error(&self) -> String {
        let errors = self.error_count();
        let first = self.sorted().into_iter().next().filter(|_| errors > 0);
        let line = first.map(|problem| self.headline(problem)).unwrap_or_default();
        if errors > 1 { format!("{line} (and {} more)", errors - 1) } else { line }
    }

    /// One problem for people, ending in a line break.
    pub fn render_one(&self, problem: &ConfigError) -> String {
        let position = problem.position;
        let mut lines = vec![self.headline(problem)];
        let mut gutter = String::from("  ");
        if let Some(line) = self.line_of(problem) {
            let number = position.line.to_string();
            gutter = " ".repeat(number.len().saturating_add(3));
            let (text, marker) = snippet(line, position.column, position.length);
            lines.push(format!("  {number} | {text}").trim_end().to_owned());
            lines.push(format!("{gutter}| {marker}"));
        }
        if !problem.path.as_str().is_empty() {
            lines.push(format!("{gutter}= key: {}", printable(problem.path.as_str())));
        }
        if let Some(hint) = &problem.hint {
            lines.push(format!("{gutter}= hint: {}", printable(hint)));
        }
        lines.push(String::new());
        lines.join("\n")
    }

    fn headline(&self, problem: &ConfigError) -> String {
        let file = printable(self.file_of(problem));
        let position = problem.position;
        let place = if position.is_whole() { file } else { format!("{file}:{}:{}", position.line, position.column) };
        let message = printable(&problem.message);
        match problem.severity {
            crate::config::error::Severity::Error => format!("{place}: {message}"),
            crate::config::error::Severity::Warning => format!("{place}: warning: {message}"),
        }
    }

    fn file_of(&self, problem: &ConfigError) -> &str {
        self.sources().source(problem.position.source).map_or("", |source| source.name())
    }

    fn line_of(&self, problem: &ConfigError) -> Option<&str> {
        match problem.source_line {
            SourceLine::Shown => self.sources().source(problem.position.source)?.line(problem.position.line),
            SourceLine::Hidden => None,
        }
    }
}

/// The visible part of a line and what goes beneath it. `column` counts characters from 1; an unknown `length` (0)
/// gets one caret.
fn snippet(line: &str, column: u32, length: u32) -> (String, String) {
    let target = usize::try_from(column).unwrap_or(usize::MAX).saturating_sub(1);
    let length = usize::try_from(length).unwrap_or(usize::MAX).max(1);
    let first =
        if target.saturating_add(length) > LINE_COLUMNS_MAX { target.saturating_sub(CONTEXT_CHARACTERS) } else { 0 };
    let (mut text, mut before, mut beneath) = (String::new(), 0_usize, 0_usize);
    let mut columns = 0_usize;
    if first > 0 {
        text.push('…');
        before = 1;
    }
    for (index, character) in line.chars().enumerate().skip(first) {
        let cell = Cell::of(character);
        columns = columns.saturating_add(cell.columns);
        if columns > LINE_COLUMNS_MAX {
            text.push('…');
            break;
        }
        if index < target {
            before = before.saturating_add(cell.columns);
        } else if index < target.saturating_add(length) {
            beneath = beneath.saturating_add(cell.columns);
        }
        text.push_str(&cell.text);
    }
    (text, format!("{}{}", " ".repeat(before), "^".repeat(beneath.max(1))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::key_path::KeyPath;
    use crate::config::source::Position;

    fn problems(text: &str, line: u32, column: u32, length: u32) -> (Problems, Position) {
        let mut problems = Problems::new();
        let source = problems.add_source("portcullis.yaml", text);
        (problems, Position { source, line, column, length })
    }

    #[test]
    fn a_problem_shows_its_line_its_key_and_what_would_be_right() {
        let (mut problems, position) = problems("issuers:\n  main:\n    algoritms: [RS256]\n", 3, 5, 9);
        let path = KeyPath::root().key("issuers").key("main").key("algoritms");
        problems.add(
            ConfigError::error(position, &path, "unknown key `algoritms`").with_hint("did you mean `algorithms`?"),
        );
        let other = Position { line: 2, column: 3, length: 4, ..position };
        problems.add(ConfigError::warning(other, &KeyPath::root(), "nobody uses it"));
        problems.add(ConfigError::error(Position::whole(position.source), &KeyPath::root(), "cannot be read"));
        insta::assert_snapshot!(problems.render(), @r"
        portcullis.yaml: cannot be read

        portcullis.yaml:3:5: unknown key `algoritms`
          3 |     algoritms: [RS256]
            |     ^^^^^^^^^
            = key: issuers.main.algoritms
            = hint: did you mean `algorithms`?

        portcullis.yaml:2:3: warning: nobody uses it
          2 |   main:
            |   ^^^^
        ");
        insta::assert_snapshot!(problems.to_json().to_string(), @r#"[{"column":null,"file":"portcullis.yaml","hint":null,"line":null,"message":"cannot be read","path":"","severity":"error"},{"column":5,"file":"portcullis.yaml","hint":"did you mean `algorithms`?","line":3,"message":"unknown key `algoritms`","path":"issuers.main.algoritms","severity":"error"},{"column":3,"file":"portcullis.yaml","hint":null,"line":2,"message":"nobody uses it","path":"","severity":"warning"}]"#);
    }

    #[test]
    fn the_caret_stands_beneath_its_place_whatever_precedes_it() {
        let rows = [
            ("abc", 2, 1, "abc", " ^"),
            ("abc", 2, 0, "abc", " ^"),
            ("\tabc", 2, 3, "    abc", "    ^^^"),
            ("漢字: x", 5, 1, "漢字: x", "      ^"),
            ("漢字", 1, 2, "漢字", "^^^^"),
            ("e\u{301}: x", 5, 1, "e\u{301}: x", "   ^"),
            ("\u{1b}x", 2, 1, "\\u{1b}x", "      ^"),
            ("ab", 3, 0, "ab", "  ^"),
            ("ab", 1, 99, "ab", "^^"),
            ("", 1, 0, "", "^"),
            ("ab", 0, 0, "ab", "^"),
        ];
        for (line, column, length, text, marker) in rows {
            assert_eq!(snippet(line, column, length), (text.to_owned(), marker.to_owned()), "{line:?}");
        }
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let line = format!("{}X{}", "a".repeat(5000), "b".repeat(5000));
        let (text, marker) = snippet(&line, 5001, 1);
        assert_eq!(text, format!("…{}X{}…", "a".repeat(40), "b".repeat(79)));
        assert_eq!(marker, format!("{}^", " ".repeat(41)));
        let (text, marker) = snippet(&line, 1, 10_000);
        assert_eq!((text.chars().count(), marker.len()), (121, 120));
    }

    #[test]
    fn a_hidden_line_is_not_printed() {
        let (mut problems, position) = problems("password: hunter2\n", 1, 11, 7);
        let path = KeyPath::root().key("password");
        problems.add(ConfigError::error(position, &path, "is too short").without_source_line());
        insta::assert_snapshot!(problems.render(), @r"
        portcullis.yaml:1:11: is too short
          = key: password
        ");
    }

    #[test]
    fn nothing_from_the_file_reaches_the_terminal_as_a_command() {
        let (mut problems, position) = problems("a: \u{1b}[2J\u{202e}\n", 1, 4, 5);
        let path = KeyPath::root().key("\u{1b}[2J");
        problems.add(ConfigError::error(position, &path, "found `\u{1b}[2J`").with_hint("not \u{202e}"));
        let rendered = problems.render();
        assert!(!rendered.contains(['\u{1b}', '\u{202e}']), "{rendered:?}");
    }
}
