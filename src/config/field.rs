//! A value with the way that led to it, and the readers of single values and lists. Each reader reports what is wrong
//! and what would be right, and returns `None`, so that whoever reads walks on. Knows no key of the configuration.
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::error::{ConfigError, Problems};
use crate::config::key_path::KeyPath;
use crate::config::quantity::{QuantityError, duration_text, parse_duration, parse_size, size_text};
use crate::config::scalar::{Scalar, ScalarKind, Style};
use crate::config::source::Position;
use crate::config::suggest::closest;
use crate::config::tree::{Key, Node, Value};

/// The words for absence; they mean the same where one of them is allowed.
const OFF_WORDS: [&str; 3] = ["none", "off", "false"];
/// The words for presence; they mean the same where `on` is allowed.
const ON_WORDS: [&str; 2] = ["on", "true"];
/// Values are quoted in messages up to this many characters.
const SHOWN_CHARACTERS_MAX: usize = 40;

/// A value of the configuration, its key and its path.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    node: &'a Node,
    key: Option<&'a Key>,
    path: KeyPath,
    may_be_off: bool,
}

impl<'a> Field<'a> {
    /// A whole document.
    pub fn root(node: &'a Node) -> Self {
        Self { node, key: None, path: KeyPath::root(), may_be_off: false }
    }

    /// The value of a key of this mapping.
    pub(in crate::config) fn member(&self, key: &'a Key, node: &'a Node) -> Self {
        Self { node, key: Some(key), path: self.path.key(&key.text), may_be_off: false }
    }

    fn element(&self, index: usize, node: &'a Node) -> Self {
        Self { node, key: None, path: self.path.index(index), may_be_off: false }
    }

    /// The value itself.
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// The key path from the root.
    pub fn path(&self) -> &KeyPath {
        &self.path
    }

    /// The key; empty for a document and for an element of a list.
    pub fn name(&self) -> &'a str {
        self.key.map_or("", |key| &key.text)
    }

    /// Where the value stands, or its key when there is no value.
    pub fn position(&self) -> Position {
        if self.node.is_null() { self.key_position() } else { self.node.position }
    }

    /// Where the key stands, or the value when there is no key.
    pub fn key_position(&self) -> Position {
        self.key.map_or(self.node.position, |key| key.position)
    }

    /// An error about the value, to be added to the problems.
    pub fn error(&self, message: impl Into<String>) -> ConfigError {
        ConfigError::error(self.position(), &self.path, message)
    }

    /// An error about the key: that it is here at all, or what is missing below it.
    pub fn key_error(&self, message: impl Into<String>) -> ConfigError {
        ConfigError::error(self.key_position(), &self.path, message)
    }

    /// A warning about the value.
    pub fn warning(&self, message: impl Into<String>) -> ConfigError {
        ConfigError::warning(self.position(), &self.path, message)
    }

    /// How messages call it: the last key, with its index if it is in a list.
    pub fn title(&self) -> String {
        if self.path.as_str().is_empty() { "the document".to_owned() } else { format!("`{}`", self.path.last()) }
    }

    /// What stands here, for messages; never what a variable stands for.
    pub fn found(&self) -> String {
        match self.node.scalar() {
            None => self.node.describe().to_owned(),
            Some(_) if self.node.is_null() => self.node.describe().to_owned(),
            Some(scalar) if scalar.is_from_variable() => format!("what `{}` stands for", shown(scalar.written())),
            Some(scalar) => format!("`{}`", shown(scalar.text())),
        }
    }

    /// The text in force, if this is a single value. Not for output when [`Field::is_from_variable`].
    pub fn text(&self) -> &'a str {
        self.node.scalar().map_or("", Scalar::text)
    }

    /// Whether the value holds that of a variable, which no message shows.
    pub fn is_from_variable(&self) -> bool {
        self.node.scalar().is_some_and(Scalar::is_from_variable)
    }

    /// The error that something else is expected here.
    pub fn mismatch(&self, expected: &str) -> ConfigError {
        let or_none = if self.may_be_off { " or `none`" } else { "" };
        let end = if self.node.is_null() { "but has no value".to_owned() } else { format!("not {}", self.found()) };
        self.error(format!("{} must be {expected}{or_none}, {end}", self.title()))
    }

    /// Whether it says `none`, `off` or `false`.
    pub fn is_off(&self) -> bool {
        self.node.scalar().is_some_and(|scalar| is_word(scalar.text(), &OFF_WORDS))
    }

    /// `Some(None)` for `none`, `off` or `false`; else what `read` makes of it, with messages that mention `none`.
    pub fn unless_off<T>(
        &self,
        problems: &mut Problems,
        read: impl FnOnce(&Self, &mut Problems) -> Option<T>,
    ) -> Option<Option<T>> {
        if self.is_off() {
            return Some(None);
        }
        read(&Self { may_be_off: true, ..self.clone() }, problems).map(Some)
    }

    /// A text of at least one character.
    pub fn string(&self, problems: &mut Problems) -> Option<&'a str> {
        let text = self.string_or_empty(problems)?;
        if text.is_empty() {
            problems.add(self.error(format!("{} must not be empty", self.title())));
            return None;
        }
        Some(text)
    }

    /// A text, empty (`""`) too. Numbers and booleans are refused: what `1e3` or `007` means is not guessed.
    pub fn string_or_empty(&self, problems: &mut Problems) -> Option<&'a str> {
        let problem = match self.node.scalar() {
            Some(scalar) => match scalar.kind() {
                ScalarKind::String => return Some(scalar.text()),
                ScalarKind::Null => self.mismatch("a string"),
                ScalarKind::Boolean(_) | ScalarKind::Integer(_) | ScalarKind::Float(_) => {
                    let message = format!("{} must be a string, not {}", self.title(), self.node.describe());
                    self.error(message).with_hint(format!("write \"{}\", with quotes", shown(scalar.written())))
                }
            },
            None => self.mismatch("a string"),
        };
        problems.add(problem);
        None
    }

    /// `true` or `false`.
    pub fn boolean(&self, problems: &mut Problems) -> Option<bool> {
        if let Some(ScalarKind::Boolean(value)) = self.node.scalar().map(Scalar::kind) {
            return Some(value);
        }
        let hint = match self.node.scalar().map(|scalar| scalar.text().to_ascii_lowercase()).as_deref() {
            Some("true" | "false") => Some("without quotes"),
            Some("on" | "yes" | "y" | "1") => Some("write `true`"),
            Some("off" | "no" | "n" | "0" | "none") => Some("write `false`"),
            Some(_) | None => None,
        };
        let problem = self.mismatch("`true` or `false`");
        // A hint would say what the variable holds.
        let from_variable = self.node.scalar().is_some_and(Scalar::is_from_variable);
        problems.add(match hint.filter(|_| !from_variable) {
            Some(hint) => problem.with_hint(hint),
            None => problem,
        });
        None
    }

    /// `on` or `true`; `off`, `false` or `none`.
    pub fn switch(&self, problems: &mut Problems) -> Option<bool> {
        self.choice(&[("on", true), ("off", false)], problems)
    }

    /// One of several words. `none`, `off` and `false` mean the same where one of them is among the choices, and so do
    /// `on` and `true`.
    pub fn choice<T: Clone>(&self, choices: &[(&str, T)], problems: &mut Problems) -> Option<T> {
        let text = self.node.scalar().filter(|scalar| scalar.kind() != ScalarKind::Null).map(Scalar::text);
        let means = |word: &str, text: &str| {
            word == text
                || OFF_WORDS.contains(&word) && is_word(text, &OFF_WORDS)
                || ON_WORDS.contains(&word) && is_word(text, &ON_WORDS)
        };
        if let Some((_, value)) = text.and_then(|text| choices.iter().find(|(word, _)| means(word, text))) {
            return Some(value.clone());
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let problem = self.mismatch(&one_of(&words));
        let from_variable = self.node.scalar().is_some_and(Scalar::is_from_variable);
        let meant = text.filter(|_| !from_variable).and_then(|text| closest(text, words));
        problems.add(match meant {
            Some(word) => problem.with_hint(format!("did you mean `{word}`?")),
            None => problem,
        });
        None
    }

    /// A whole number within a range.
    pub fn unsigned(&self, range: RangeInclusive<u64>, problems: &mut Problems) -> Option<u64> {
        let scalar = self.node.scalar();
        if let Some(ScalarKind::Integer(number)) = scalar.map(Scalar::kind)
            && let Some(number) = u64::try_from(number).ok().filter(|number| range.contains(number))
        {
            return Some(number);
        }
        let expected = match (*range.start(), *range.end()) {
            (0, u64::MAX) => "a whole number".to_owned(),
            (least, u64::MAX) => format!("a whole number of at least {least}"),
            (least, most) => format!("a whole number from {least} to {most}"),
        };
        let problem = self.mismatch(&expected);
        let is_quoted = scalar.is_some_and(|scalar| {
            scalar.style() == Style::Quoted && matches!(ScalarKind::of_plain(scalar.text()), ScalarKind::Integer(_))
        });
        problems.add(if is_quoted { problem.with_hint("write it without quotes") } else { problem });
        None
    }

    /// A duration within a range: `500ms`, `30s`, `10m`, `24h`, `7d`, `1h30m`.
    pub fn duration(&self, range: RangeInclusive<Duration>, problems: &mut Problems) -> Option<Duration> {
        let expected = "a duration such as `30s`, `10m` or `1h30m`";
        let duration = self.quantity(parse_duration, expected, &["s", "m"], problems)?;
        let bounds = (*range.start(), *range.end());
        self.bounded(duration, bounds, Duration::MAX, duration_text, problems)
    }

    /// A size in bytes within a range: `512B`, `8KiB`, `64MiB`, `1GiB`, and `KB`, `MB`, `GB` as thousands.
    pub fn size(&self, range: RangeInclusive<u64>, problems: &mut Problems) -> Option<u64> {
        let size = self.quantity(parse_size, "a size such as `8KiB` or `64MiB`", &["B", "KiB"], problems)?;
        self.bounded(size, (*range.start(), *range.end()), u64::MAX, size_text, problems)
    }

    fn quantity<T>(
        &self,
        parse: impl Fn(&str) -> Result<T, QuantityError>,
        expected: &str,
        units: &[&str],
        problems: &mut Problems,
    ) -> Option<T> {
        let Some(scalar) = self.node.scalar().filter(|scalar| scalar.kind() != ScalarKind::Null) else {
            problems.add(self.mismatch(expected));
            return None;
        };
        let error = match parse(scalar.text()) {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let problem = self.mismatch(expected);
        problems.add(match (&error, scalar.is_from_variable()) {
            (_, true) | (QuantityError::Malformed, false) => problem,
            (QuantityError::MissingUnit, false) => {
                let examples: Vec<String> =
                    units.iter().map(|unit| format!("{}{unit}", shown(scalar.text()))).collect();
                let examples: Vec<&str> = examples.iter().map(String::as_str).collect();
                problem.with_hint(format!("add the unit, as in {}", one_of(&examples)))
            }
            (
                QuantityError::UnknownUnit(_)
                | QuantityError::Fraction
                | QuantityError::Order
                | QuantityError::TooLarge,
                false,
            ) => problem.with_hint(error.to_string()),
        });
        None
    }

    fn bounded<T: PartialOrd + Copy>(
        &self,
        value: T,
        (least, most): (T, T),
        unbounded: T,
        text: impl Fn(T) -> String,
        problems: &mut Problems,
    ) -> Option<T> {
        if value >= least && value <= most {
            return Some(value);
        }
        problems.add(self.mismatch(&if most == unbounded {
            format!("at least {}", text(least))
        } else {
            format!("from {} to {}", text(least), text(most))
        }));
        None
    }

    /// The elements of a list; a single value is an error that shows the brackets to add.
    pub fn list(&self, problems: &mut Problems) -> Option<Vec<Field<'a>>> {
        if let Value::Sequence(items) = &self.node.value {
            return Some(items.iter().enumerate().map(|(index, item)| self.element(index, item)).collect());
        }
        let problem = self.mismatch("a list");
        problems.add(match self.node.scalar().filter(|_| !self.node.is_null()) {
            Some(scalar) => problem.with_hint(format!("write [{}]", shown(scalar.written()))),
            None => problem,
        });
        None
    }

    /// The elements of a list, or the one value that stands in its place.
    pub fn one_or_list(&self, problems: &mut Problems) -> Option<Vec<Field<'a>>> {
        match &self.node.value {
            Value::Sequence(_) => self.list(problems),
            Value::Scalar(_) | Value::Mapping(_) => Some(vec![self.clone()]),
        }
    }

    /// A list of texts, each with its field; elements that are no text are reported and left out.
    pub fn strings(&self, problems: &mut Problems) -> Option<Vec<(Field<'a>, &'a str)>> {
        self.list(problems).map(|fields| each_string(fields, problems))
    }

    /// A list of texts, or one text in its place.
    pub fn one_or_strings(&self, problems: &mut Problems) -> Option<Vec<(Field<'a>, &'a str)>> {
        self.one_or_list(problems).map(|fields| each_string(fields, problems))
    }
}

fn each_string<'a>(fields: Vec<Field<'a>>, problems: &mut Problems) -> Vec<(Field<'a>, &'a str)> {
    fields.into_iter().filter_map(|field| field.string(problems).map(|text| (field, text))).collect()
}

/// Whether a text is one of the words; YAML's booleans may be capitalised.
fn is_word(text: &str, words: &[&str]) -> bool {
    let canonical = match ScalarKind::of_plain(text) {
        ScalarKind::Boolean(true) => "true",
        ScalarKind::Boolean(false) => "false",
        ScalarKind::Null | ScalarKind::Integer(_) | ScalarKind::Float(_) | ScalarKind::String => text,
    };
    words.contains(&canonical)
}

fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARACTERS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// `` `a`, `b` or `c` ``.
pub(in crate::config) fn one_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => format!("`{only}`"),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(|word| format!("`{word}`")).collect();
            format!("{} or `{last}`", first.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::expand::expand;
    use crate::config::surroundings::given::Given;
    use crate::config::yaml::parse;

    /// Reads `key: TEXT` and gives the result with every message and hint.
    fn read<T>(text: &str, reader: impl FnOnce(&Field<'_>, &mut Problems) -> Option<T>) -> (Option<T>, Vec<String>) {
        let mut problems = Problems::new();
        let world = Given::default().variable("SECRET", "hunter2").variable("N", "5");
        let mut node = parse("a.yaml", format!("key: {text}").as_bytes(), &mut problems).expect("valid YAML");
        expand(&mut node, &world, &mut problems);
        let fields = Field::root(&node).entries(&mut problems).expect("a mapping");
        let value = reader(&fields[0], &mut problems);
        let say = |problem: &ConfigError| match &problem.hint {
            Some(hint) => format!("{} ({hint})", problem.message),
            None => problem.message.clone(),
        };
        let messages: Vec<String> = problems.sorted().into_iter().map(say).collect();
        assert!(!messages.iter().any(|message| message.contains("hunter2")), "{messages:?}");
        (value, messages)
    }

    fn check<T: PartialEq + std::fmt::Debug>(
        rows: &[(&str, Result<T, &str>)],
        reader: impl Fn(&Field<'_>, &mut Problems) -> Option<T>,
    ) {
        for (text, expected) in rows {
            let (value, messages) = read(text, &reader);
            match expected {
                Ok(expected) => assert_eq!((value.as_ref(), messages.as_slice()), (Some(expected), &[][..]), "{text}"),
                Err(message) => assert_eq!((value, messages), (None, vec![(*message).to_owned()]), "{text}"),
            }
        }
    }

    #[test]
    fn a_string_is_text_and_nothing_that_merely_looks_like_it() {
        let rows = [
            ("abc", Ok("abc".to_owned())),
            ("off", Ok("off".to_owned())),
            ("'5'", Ok("5".to_owned())),
            ("'${N}'", Ok("5".to_owned())),
            ("''", Err("`key` must not be empty")),
            ("5", Err("`key` must be a string, not an integer (write \"5\", with quotes)")),
            ("${N}", Err("`key` must be a string, not an integer (write \"${N}\", with quotes)")),
            ("true", Err("`key` must be a string, not a boolean (write \"true\", with quotes)")),
            ("1e3", Err("`key` must be a string, not a number (write \"1e3\", with quotes)")),
            ("", Err("`key` must be a string, but has no value")),
            ("~", Err("`key` must be a string, but has no value")),
            ("[a]", Err("`key` must be a string, not a list")),
            ("{a: b}", Err("`key` must be a string, not a mapping")),
        ];
        check(&rows, |field, problems| field.string(problems).map(str::to_owned));
        check(&[("''", Ok(String::new()))], |field, problems| field.string_or_empty(problems).map(str::to_owned));
    }

    #[test]
    fn a_boolean_is_true_or_false_and_a_switch_also_on_or_off() {
        let rows = [
            ("true", Ok(true)),
            ("False", Ok(false)),
            ("on", Err("`key` must be `true` or `false`, not `on` (write `true`)")),
            ("No", Err("`key` must be `true` or `false`, not `No` (write `false`)")),
            ("0", Err("`key` must be `true` or `false`, not `0` (write `false`)")),
            ("'true'", Err("`key` must be `true` or `false`, not `true` (without quotes)")),
            ("maybe", Err("`key` must be `true` or `false`, not `maybe`")),
            ("${SECRET}", Err("`key` must be `true` or `false`, not what `${SECRET}` stands for")),
            ("", Err("`key` must be `true` or `false`, but has no value")),
        ];
        check(&rows, |field, problems| field.boolean(problems));
        let rows = [
            ("on", Ok(true)),
            ("true", Ok(true)),
            ("off", Ok(false)),
            ("'off'", Ok(false)),
            ("FALSE", Ok(false)),
            ("none", Ok(false)),
            ("yes", Err("`key` must be `on` or `off`, not `yes`")),
        ];
        check(&rows, |field, problems| field.switch(problems));
    }

    #[test]
    fn a_number_is_whole_and_within_its_range() {
        let rows = [
            ("0", Ok(0)),
            ("64", Ok(64)),
            ("0x10", Ok(16)),
            ("${N}", Ok(5)),
            ("65", Err("`key` must be a whole number from 0 to 64, not `65`")),
            ("-1", Err("`key` must be a whole number from 0 to 64, not `-1`")),
            ("1.0", Err("`key` must be a whole number from 0 to 64, not `1.0`")),
            ("'5'", Err("`key` must be a whole number from 0 to 64, not `5` (write it without quotes)")),
            ("five", Err("`key` must be a whole number from 0 to 64, not `five`")),
            ("${SECRET}", Err("`key` must be a whole number from 0 to 64, not what `${SECRET}` stands for")),
        ];
        check(&rows, |field, problems| field.unsigned(0..=64, problems));
        let rows = [("0", Err("`key` must be a whole number of at least 1, not `0`"))];
        check(&rows, |field, problems| field.unsigned(1..=u64::MAX, problems));
    }

    #[test]
    fn a_duration_has_a_unit_and_keeps_its_bounds() {
        const EXPECTED: &str = "`key` must be a duration such as `30s`, `10m` or `1h30m`";
        let error = |rest: &str| -> &'static str { Box::leak(format!("{EXPECTED}{rest}").into_boxed_str()) };
        let rows = [
            ("30s", Ok(Duration::from_secs(30))),
            ("\"1m\"", Ok(Duration::from_secs(60))),
            ("30", Err(error(", not `30` (add the unit, as in `30s` or `30m`)"))),
            ("30sec", Err(error(", not `30sec` (`sec` is not a unit)"))),
            ("1.5m", Err(error(", not `1.5m` (only whole numbers are allowed)"))),
            ("soon", Err(error(", not `soon`"))),
            ("${N}", Err(error(", not what `${N}` stands for"))),
            ("[30s]", Err(error(", not a list"))),
            ("", Err(error(", but has no value"))),
            ("0s", Err("`key` must be from 1ms to 5m, not `0s`")),
            ("1h", Err("`key` must be from 1ms to 5m, not `1h`")),
        ];
        let range = Duration::from_millis(1)..=Duration::from_secs(300);
        check(&rows, |field, problems| field.duration(range.clone(), problems));
        let rows = [("0s", Err("`key` must be at least 1s, not `0s`"))];
        check(&rows, |field, problems| field.duration(Duration::from_secs(1)..=Duration::MAX, problems));
    }

    #[test]
    fn a_size_has_a_unit_and_keeps_its_bounds() {
        let rows = [
            ("8KiB", Ok(8192)),
            (
                "8192",
                Err(
                    "`key` must be a size such as `8KiB` or `64MiB`, not `8192` (add the unit, as in `8192B` or `8192KiB`)",
                ),
            ),
            ("8K", Err("`key` must be a size such as `8KiB` or `64MiB`, not `8K` (`K` is not a unit)")),
            ("1GiB", Err("`key` must be from 1B to 1MiB, not `1GiB`")),
        ];
        check(&rows, |field, problems| field.size(1..=1 << 20, problems));
    }

    #[test]
    fn none_off_and_false_are_absence_where_it_is_allowed() {
        let rows = [
            ("none", Ok(None)),
            ("off", Ok(None)),
            ("'off'", Ok(None)),
            ("false", Ok(None)),
            ("False", Ok(None)),
            ("1KiB", Ok(Some(1024))),
            ("", Err("`key` must be a size such as `8KiB` or `64MiB` or `none`, but has no value")),
            ("nnone", Err("`key` must be a size such as `8KiB` or `64MiB` or `none`, not `nnone`")),
        ];
        check(&rows, |field, problems| {
            field.unless_off(problems, |field, problems| field.size(0..=u64::MAX, problems))
        });
    }

    #[test]
    fn a_choice_knows_its_words_and_what_was_meant() {
        let rows = [
            ("required", Ok(1)),
            ("none", Ok(3)),
            ("off", Ok(3)),
            ("false", Ok(3)),
            (
                "optinal",
                Err("`key` must be `required`, `optional` or `none`, not `optinal` (did you mean `optional`?)"),
            ),
            ("true", Err("`key` must be `required`, `optional` or `none`, not `true`")),
            ("${SECRET}", Err("`key` must be `required`, `optional` or `none`, not what `${SECRET}` stands for")),
            ("", Err("`key` must be `required`, `optional` or `none`, but has no value")),
        ];
        check(&rows, |field, problems| field.choice(&[("required", 1), ("optional", 2), ("none", 3)], problems));
        let rows = [("true", Ok(1)), ("errors", Ok(2)), ("none", Ok(3))];
        check(&rows, |field, problems| field.choice(&[("on", 1), ("errors", 2), ("off", 3)], problems));
    }

    #[test]
    fn a_list_wants_brackets_unless_one_value_may_stand_for_it() {
        let texts = |found: Option<Vec<(Field<'_>, &str)>>| {
            found.map(|found| found.iter().map(|(field, text)| format!("{}={text}", field.path())).collect::<Vec<_>>())
        };
        let rows = [
            ("[a, b]", Ok(vec!["key[0]=a".to_owned(), "key[1]=b".to_owned()])),
            ("[]", Ok(vec![])),
            ("a", Err("`key` must be a list, not `a` (write [a])")),
            ("", Err("`key` must be a list, but has no value")),
            ("{a: b}", Err("`key` must be a list, not a mapping")),
        ];
        check(&rows, |field, problems| texts(field.strings(problems)));
        let (found, messages) = read("[a, 5, [b]]", |field, problems| texts(field.strings(problems)));
        assert_eq!(found, Some(vec!["key[0]=a".to_owned()]));
        assert_eq!(
            messages,
            [
                "`key[1]` must be a string, not an integer (write \"5\", with quotes)",
                "`key[2]` must be a string, not a list",
            ]
        );
        let rows = [("a", Ok(vec!["key=a".to_owned()])), ("[a]", Ok(vec!["key[0]=a".to_owned()]))];
        check(&rows, |field, problems| texts(field.one_or_strings(problems)));
    }

    #[test]
    fn a_long_value_is_cut_in_messages() {
        let (_, messages) = read(&"x".repeat(1000), |field, problems| field.switch(problems));
        assert_eq!(messages, [format!("`key` must be `on` or `off`, not `{}…`", "x".repeat(40))]);
    }
}
