//! Variables in values: `${NAME}`, `${NAME:-default}`, `${NAME:?message}` and `$$`. They are filled in after parsing,
//! so no variable can change the structure. Never expands keys, never shows a value.
use crate::config::error::{ConfigError, Problems};
use crate::config::key_path::KeyPath;
use crate::config::source::Position;
use crate::config::surroundings::Surroundings;
use crate::config::tree::{Node, Value};

/// The most text that all expanded values may have together, in bytes.
pub const EXPANDED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Fills in the variables of every value below `node`, the root of a document; top-level `x-…` keys only hold anchors
/// and stay as written. Every variable that is wrong is reported, and its value left as written.
pub fn expand(node: &mut Node, surroundings: &dyn Surroundings, problems: &mut Problems) {
    let mut expansion = Expansion { surroundings, problems, bytes: 0 };
    let Value::Mapping(entries) = &mut node.value else {
        expansion.walk(node, &KeyPath::root());
        return;
    };
    for entry in entries.iter_mut().filter(|entry| !entry.key.text.starts_with("x-")) {
        expansion.walk(&mut entry.value, &KeyPath::root().key(&entry.key.text));
    }
}

struct Expansion<'w> {
    surroundings: &'w dyn Surroundings,
    problems: &'w mut Problems,
    bytes: usize,
}

/// A text in parts.
#[derive(Debug, PartialEq)]
enum Piece<'t> {
    Text(&'t str),
    /// `$$`.
    Dollar,
    Variable {
        written: &'t str,
        name: &'t str,
        otherwise: Otherwise<'t>,
    },
    Wrong {
        written: &'t str,
        message: &'static str,
        hint: &'static str,
    },
}

/// What to do when a variable is not set.
#[derive(Debug, PartialEq)]
enum Otherwise<'t> {
    /// `${NAME}`: an error; an empty value is a value.
    Error,
    /// `${NAME:-default}`: the default, also when it is empty.
    Default(&'t str),
    /// `${NAME:?message}`: an error with this message, also when it is empty.
    Message(&'t str),
}

impl Expansion<'_> {
    fn walk(&mut self, node: &mut Node, path: &KeyPath) {
        let position = node.position;
        match &mut node.value {
            Value::Sequence(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.walk(item, &path.index(index));
                }
            }
            Value::Mapping(entries) => {
                for entry in entries {
                    self.walk(&mut entry.value, &path.key(&entry.key.text));
                }
            }
            Value::Scalar(scalar) => {
                if !scalar.written().contains('$') {
                    return;
                }
                if let Some((text, from_variable)) = self.text(scalar.written(), position, path) {
                    scalar.expand(text, from_variable);
                }
            }
        }
    }

    /// The expanded text and whether it holds a variable; `None` after an error.
    fn text(&mut self, written: &str, position: Position, path: &KeyPath) -> Option<(String, bool)> {
        let mut text = String::with_capacity(written.len());
        let (mut from_variable, mut failed) = (false, false);
        for piece in pieces(written) {
            match piece {
                Piece::Text(part) => text.push_str(part),
                Piece::Dollar => text.push('$'),
                Piece::Variable { written, name, otherwise } => {
                    from_variable = true;
                    match self.value(name, otherwise) {
                        Ok(value) => text.push_str(&value),
                        Err((message, hint)) => {
                            failed = true;
                            self.report(written, position, path, message, hint);
                        }
                    }
                }
                Piece::Wrong { written, message, hint } => {
                    failed = true;
                    self.report(written, position, path, message.to_owned(), Some(hint.to_owned()));
                }
            }
        }
        self.bytes = self.bytes.saturating_add(text.len());
        if self.bytes > EXPANDED_BYTES_MAX {
            let message = format!("too much text: at most {EXPANDED_BYTES_MAX} bytes with variables filled in");
            self.problems.add(ConfigError::error(position, path, message));
            return None;
        }
        (!failed).then_some((text, from_variable))
    }

    fn value(&self, name: &str, otherwise: Otherwise<'_>) -> Result<String, (String, Option<String>)> {
        let value = self.surroundings.variable(name);
        match otherwise {
            Otherwise::Error => value.ok_or_else(|| {
                let hint = format!("set it, or give a default: `${{{name}:-default}}`");
                (format!("the variable `{name}` is not set"), Some(hint))
            }),
            Otherwise::Default(default) => {
                Ok(value.filter(|value| !value.is_empty()).unwrap_or_else(|| default.replace("$$", "$")))
            }
            Otherwise::Message(message) => value.filter(|value| !value.is_empty()).ok_or_else(|| {
                let message = message.trim().replace("$$", "$");
                let reason = if message.is_empty() { "it must have a value".to_owned() } else { message };
                (format!("the variable `{name}` is not set: {reason}"), None)
            }),
        }
    }

    fn report(&mut self, part: &str, position: Position, path: &KeyPath, message: String, hint: Option<String>) {
        let position = if self.problems.is_full() { position } else { self.locate(part, position) };
        let problem = ConfigError::error(position, path, message);
        self.problems.add(ConfigError { hint, ..problem });
    }

    /// Where a part of a scalar stands, if it can be found on the scalar's first line as it is; else the scalar.
    fn locate(&self, part: &str, position: Position) -> Position {
        let found = || {
            let line = self.problems.sources().source(position.source)?.line(position.line)?;
            let before = usize::try_from(position.column).ok()?.checked_sub(1)?;
            let (start, _) = line.char_indices().nth(before)?;
            let rest = line.get(start..)?;
            let distance = rest.get(..rest.find(part)?)?.chars().count();
            let column = position.column.checked_add(u32::try_from(distance).ok()?)?;
            Some(Position { column, length: u32::try_from(part.chars().count()).ok()?, ..position })
        };
        found().unwrap_or(position)
    }
}

/// Splits a text at its dollar signs.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at_checked(at).unwrap_or((rest, ""));
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        let (piece, after) = dollar(from);
        pieces.push(piece);
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

/// Reads what a dollar sign starts; `text` starts with it.
fn dollar(text: &str) -> (Piece<'_>, &str) {
    if let Some(rest) = text.strip_prefix("$$") {
        return (Piece::Dollar, rest);
    }
    let Some(inside) = text.strip_prefix("${") else {
        let (written, rest) = text.split_at_checked(1).unwrap_or((text, ""));
        let hint = "write `$$` for a dollar sign, `${NAME}` for a variable";
        return (Piece::Wrong { written, message: "a single `$` has no meaning", hint }, rest);
    };
    let Some((body, rest)) = inside.split_once('}') else {
        let hint = "write `${NAME}`, or `$$` for a dollar sign";
        return (Piece::Wrong { written: text, message: "`${` is never closed", hint }, "");
    };
    let length = body.len().saturating_add("${}".len());
    let written = text.get(..length).unwrap_or(text);
    (variable(written, body), rest)
}

fn variable<'t>(written: &'t str, body: &'t str) -> Piece<'t> {
    let wrong = |message, hint| Piece::Wrong { written, message, hint };
    let end = body.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(body.len());
    let (name, rest) = body.split_at_checked(end).unwrap_or((body, ""));
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return wrong("`${` is not followed by the name of a variable", "names are letters, digits and `_`: `${NAME}`");
    }
    let (otherwise, words) = match (rest, rest.strip_prefix(":-"), rest.strip_prefix(":?")) {
        ("", _, _) => (Otherwise::Error, ""),
        (_, Some(default), _) => (Otherwise::Default(default), default),
        (_, _, Some(message)) => (Otherwise::Message(message), message),
        _ => return wrong("malformed variable", "write `${NAME}`, `${NAME:-default}` or `${NAME:?message}`"),
    };
    if words.replace("$$", "").contains('$') {
        return wrong("a default cannot hold another variable", "write `$$` for a dollar sign");
    }
    Piece::Variable { written, name, otherwise }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::scalar::ScalarKind;
    use crate::config::surroundings::given::Given;
    use crate::config::yaml::parse;
    use proptest::prelude::*;

    fn world() -> Given {
        Given::default().variable("N", "4").variable("EMPTY", "").variable("S", "s3cret").variable("B", "[a, b]: {c}")
    }

    fn expanded(text: &str) -> (Node, Problems) {
        let mut problems = Problems::new();
        let mut node = parse("a.yaml", text.as_bytes(), &mut problems).expect("valid YAML");
        expand(&mut node, &world(), &mut problems);
        (node, problems)
    }

    #[test]
    fn variables_are_filled_in_and_a_plain_scalar_gets_its_new_type() {
        let rows = [
            ("${N}", "4", ScalarKind::Integer(4)),
            ("\"${N}\"", "4", ScalarKind::String),
            ("'${N}'", "4", ScalarKind::String),
            ("a${N}b${S}", "a4bs3cret", ScalarKind::String),
            ("${N}${N}", "44", ScalarKind::Integer(44)),
            ("${EMPTY}", "", ScalarKind::Null),
            ("\"${EMPTY}\"", "", ScalarKind::String),
            ("${EMPTY:-5}", "5", ScalarKind::Integer(5)),
            ("${ABSENT:-true}", "true", ScalarKind::Boolean(true)),
            ("${ABSENT:-}", "", ScalarKind::Null),
            ("${ABSENT:-a:-b}", "a:-b", ScalarKind::String),
            ("${ABSENT:-$$5}", "$5", ScalarKind::String),
            ("${N:?why}", "4", ScalarKind::Integer(4)),
            ("$$", "$", ScalarKind::String),
            ("$${N}", "${N}", ScalarKind::String),
            ("$$${N}", "$4", ScalarKind::String),
            ("${B}", "[a, b]: {c}", ScalarKind::String),
        ];
        for (text, expected, kind) in rows {
            let (node, problems) = expanded(&format!("key: {text}\n"));
            let scalar = node.child("key").and_then(Node::scalar).expect("a scalar");
            assert_eq!((scalar.text(), scalar.kind()), (expected, kind), "{text}");
            assert_eq!(scalar.written(), text.trim_matches(['"', '\'']));
            assert_eq!(scalar.is_from_variable(), scalar.written().replace("$$", "").contains("${"), "{text}");
            assert!(problems.is_empty(), "{text}: {}", problems.render());
        }
    }

    #[test]
    fn what_cannot_be_filled_in_is_said_where_it_stands() {
        let rows = [
            ("${ABSENT}", 6, "the variable `ABSENT` is not set"),
            ("ab${ABSENT}", 8, "the variable `ABSENT` is not set"),
            ("\"é${ABSENT}\"", 8, "the variable `ABSENT` is not set"),
            ("\"\\x24{ABSENT}\"", 6, "the variable `ABSENT` is not set"),
            ("${ABSENT:?see the manual}", 6, "the variable `ABSENT` is not set: see the manual"),
            ("${EMPTY:?}", 6, "the variable `EMPTY` is not set: it must have a value"),
            ("a$b", 7, "a single `$` has no meaning"),
            ("price$", 11, "a single `$` has no meaning"),
            ("${N", 6, "`${` is never closed"),
            ("${}", 6, "`${` is not followed by the name of a variable"),
            ("${1}", 6, "`${` is not followed by the name of a variable"),
            ("${a b}", 6, "malformed variable"),
            ("${N-x}", 6, "malformed variable"),
            ("${N:x}", 6, "malformed variable"),
            ("\"${A:-${B}}\"", 7, "a default cannot hold another variable"),
        ];
        for (text, column, message) in rows {
            let (node, problems) = expanded(&format!("key: {text}\n"));
            let found = problems.sorted();
            let [problem] = found.as_slice() else { panic!("{text}: {}", problems.render()) };
            assert_eq!((problem.position.column, problem.message.as_str()), (column, message), "{text}");
            assert_eq!(problem.path.as_str(), "key");
            let scalar = node.child("key").and_then(Node::scalar).expect("a scalar");
            assert_eq!(scalar.text(), scalar.written());
        }
    }

    #[test]
    fn every_missing_variable_of_a_file_is_reported_in_one_run() {
        let (_, problems) = expanded("a: ${ONE}-${TWO}\nb: [x, '${THREE}']\n");
        insta::assert_snapshot!(problems.render(), @r"
        a.yaml:1:4: the variable `ONE` is not set
          1 | a: ${ONE}-${TWO}
            |    ^^^^^^
            = key: a
            = hint: set it, or give a default: `${ONE:-default}`

        a.yaml:1:11: the variable `TWO` is not set
          1 | a: ${ONE}-${TWO}
            |           ^^^^^^
            = key: a
            = hint: set it, or give a default: `${TWO:-default}`

        a.yaml:2:9: the variable `THREE` is not set
          2 | b: [x, '${THREE}']
            |         ^^^^^^^^
            = key: b[1]
            = hint: set it, or give a default: `${THREE:-default}`
        ");
    }

    #[test]
    fn keys_and_the_holders_of_anchors_stay_as_written() {
        let (node, problems) = expanded("x-base: &base {a: '${ABSENT}'}\n${N}: 1\nb: ${N}\n");
        assert!(problems.is_empty(), "{}", problems.render());
        assert!(node.child("${N}").is_some());
        let (_, problems) = expanded("x-base: &base {a: '${ABSENT}'}\nc: *base\nd: *base\n");
        assert_eq!(problems.error_count(), 1);
    }

    #[test]
    fn no_amount_of_variables_fills_the_memory() {
        let mut problems = Problems::new();
        let text = format!("[{}]", vec!["'${BIG}'"; 1000].join(","));
        let mut node = parse("a.yaml", text.as_bytes(), &mut problems).expect("valid YAML");
        expand(&mut node, &Given::default().variable("BIG", &"x".repeat(100_000)), &mut problems);
        assert!(problems.has_errors());
        assert!(problems.render().contains("too much text"));
    }

    proptest! {
        #[test]
        fn a_text_whose_dollars_are_doubled_means_itself(text in "[a-z${}:?-]{0,20}") {
            let spelt: String = pieces(&text.replace('$', "$$"))
                .into_iter()
                .map(|piece| match piece {
                    Piece::Text(text) => text,
                    Piece::Dollar => "$",
                    Piece::Variable { written, .. } | Piece::Wrong { written, .. } => panic!("{written:?} is left"),
                })
                .collect();
            prop_assert_eq!(spelt, text);
        }

        #[test]
        fn no_piece_of_a_text_is_lost(text in "[a-zA-Z0-9_${}:?é-]{0,30}") {
            let back: String = pieces(&text)
                .into_iter()
                .map(|piece| match piece {
                    Piece::Text(text) => text,
                    Piece::Dollar => "$$",
                    Piece::Variable { written, .. } | Piece::Wrong { written, .. } => written,
                })
                .collect();
            prop_assert_eq!(back, text);
        }
    }
}
