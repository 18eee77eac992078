//! A mapping read by the key table: names, bounds and defaults come from there. What is wrong is reported and the
//! default stands in, so that reading goes on; a configuration with errors is never handed out.
use std::time::Duration;

use crate::config::error::Problems;
use crate::config::field::Field;
use crate::config::keys::{self, Key, Shape};
use crate::config::mapping::{AllowedKeys, Fields};
use crate::config::quantity::{parse_duration, parse_size};
use crate::config::tree::Value;

/// What keys that weaken the gate begin with; each that is in force is listed.
const INSECURE_PREFIX: &str = "insecure_";

/// The keys of one mapping, which may be absent as a whole.
#[derive(Clone, Debug)]
pub(in crate::config) struct Section<'a> {
    fields: Option<Fields<'a>>,
    keys: &'static [Key],
    /// What stands in for keys that are absent.
    defaults: Option<Fields<'a>>,
}

impl<'a> Section<'a> {
    /// Reads a mapping; unknown keys are reported, and those that are to go.
    pub(in crate::config) fn read(field: &Field<'a>, keys: &'static [Key], problems: &mut Problems) -> Option<Self> {
        let supported: Vec<&str> = keys.iter().map(|key| key.name).collect();
        let extensions = field.path().as_str().is_empty();
        let fields = field.mapping(AllowedKeys { supported: &supported, extensions }, problems)?;
        for key in keys {
            if let Some((deprecation, field)) = key.deprecation.zip(fields.optional(key.name)) {
                problems.add(field.warning(format!("`{}` is {}", key.name, deprecation.sentence())));
            }
        }
        Some(Self { fields: Some(fields), keys, defaults: None })
    }

    /// The same mapping with the keys of another one in place of those that it lacks, each as a whole.
    pub(in crate::config) fn or_else(self, defaults: &Self) -> Self {
        Self { defaults: defaults.fields.clone(), ..self }
    }

    /// A mapping that may be absent; without it, or when it is no mapping, all its keys are absent.
    pub(in crate::config) fn read_optional(
        field: Option<Field<'a>>,
        keys: &'static [Key],
        problems: &mut Problems,
    ) -> Self {
        field.and_then(|field| Self::read(&field, keys, problems)).unwrap_or(Self {
            fields: None,
            keys,
            defaults: None,
        })
    }

    /// The section that a key of this one holds.
    pub(in crate::config) fn section(&self, name: &str, keys: &'static [Key], problems: &mut Problems) -> Self {
        Self::read_optional(self.optional(name), keys, problems)
    }

    /// The mapping itself, where it is there.
    pub(in crate::config) fn field(&self) -> Option<&Field<'a>> {
        self.fields.as_ref().map(Fields::field)
    }

    /// The value of a key, if the key is there.
    pub(in crate::config) fn optional(&self, name: &str) -> Option<Field<'a>> {
        debug_assert!(self.key(name).is_some(), "`{name}` is not in the key table");
        let default = || self.defaults.as_ref()?.optional(name);
        self.own(name).or_else(default)
    }

    /// The value of a key, if the key is in this very mapping.
    fn own(&self, name: &str) -> Option<Field<'a>> {
        self.fields.as_ref()?.optional(name)
    }

    /// Whether a key is in this very mapping, and not in the one that stands in for it.
    pub(in crate::config) fn has_own(&self, name: &str) -> bool {
        self.own(name).is_some()
    }

    /// The value of a key that must be there.
    pub(in crate::config) fn required(&self, name: &str, problems: &mut Problems) -> Option<Field<'a>> {
        debug_assert!(self.key(name).is_some_and(|key| key.presence == keys::Presence::Required), "`{name}`");
        self.fields.as_ref()?.required(name, problems)
    }

    /// The value of the one key of several that is there; none and several are errors.
    pub(in crate::config) fn exactly_one_of(&self, names: &[&str], problems: &mut Problems) -> Option<Field<'a>> {
        let is_there = |fields: &&Fields<'a>| names.iter().any(|name| fields.optional(name).is_some());
        let fields = self.fields.as_ref()?;
        let defaults = self.defaults.as_ref().filter(|defaults| !is_there(&fields) && is_there(defaults));
        defaults.unwrap_or(fields).exactly_one_of(names, problems)
    }

    /// Whether a key is there.
    pub(in crate::config) fn mentions(&self, name: &str) -> bool {
        self.field().is_some_and(|field| field.node().child(name).is_some())
    }

    /// Reports every key of these that is there, because it would change nothing. Defaults are for others too.
    pub(in crate::config) fn refuse(&self, names: &[&str], why: &str, problems: &mut Problems) {
        for field in names.iter().filter_map(|name| self.own(name)) {
            problems.add(field.key_error(format!("`{}` {why}", field.name())));
        }
    }

    /// A text.
    pub(in crate::config) fn text(&self, name: &str, problems: &mut Problems) -> String {
        match self.optional(name) {
            Some(field) => field.string(problems).unwrap_or_default().to_owned(),
            None => self.key(name).map(Key::default_text).unwrap_or_default(),
        }
    }

    /// The text that stands for an absent one.
    pub(in crate::config) fn default_text(&self, name: &str) -> String {
        self.key(name).map(Key::default_text).unwrap_or_default()
    }

    /// A list of texts with their fields; nothing when the key is absent or the value is no list. An empty list is
    /// reported where the table wants an element.
    pub(in crate::config) fn texts(&self, name: &str, problems: &mut Problems) -> Option<Vec<(Field<'a>, &'a str)>> {
        let field = self.optional(name)?;
        let texts = field.strings(problems)?;
        if let Some(Key { shape: Shape::List { least: 1.., .. }, .. }) = self.key(name) {
            refuse_empty(&field, problems);
        }
        Some(texts)
    }

    /// The elements of a list; nothing when the key is absent or the value is no list. An empty list is reported where
    /// the table wants an element.
    pub(in crate::config) fn elements(&self, name: &str, problems: &mut Problems) -> Option<Vec<Field<'a>>> {
        let field = self.optional(name)?;
        let elements = field.list(problems)?;
        if let Some(Key { shape: Shape::List { least: 1.., .. }, .. }) = self.key(name) {
            refuse_empty(&field, problems);
        }
        Some(elements)
    }

    /// The texts that stand for an absent list.
    pub(in crate::config) fn default_texts(&self, name: &str) -> Vec<Box<str>> {
        self.key(name).map(Key::default_texts).unwrap_or_default()
    }

    /// `true` or `false`. What is insecure and in force is listed as a warning.
    pub(in crate::config) fn boolean(&self, name: &str, problems: &mut Problems) -> bool {
        let key = self.key(name);
        let Some(field) = self.optional(name) else {
            return key.is_some_and(|key| key.default == Some("true"));
        };
        let value = field.boolean(problems).unwrap_or_default();
        if let Some(key) = key.filter(|_| value && name.starts_with(INSECURE_PREFIX)) {
            problems.add(field.warning(format!("`{name}` is in force: {}", key.about)));
        }
        value
    }

    /// One of several words; absent, it is the table's default. `otherwise` stands in for what is wrong.
    pub(in crate::config) fn choice<T: Copy>(
        &self,
        name: &str,
        choices: &[(&str, T)],
        otherwise: T,
        problems: &mut Problems,
    ) -> T {
        let default = self.key(name).and_then(|key| key.default);
        let found = match self.optional(name) {
            Some(field) => field.choice(choices, problems),
            None => choices.iter().find(|(word, _)| Some(*word) == default).map(|(_, value)| *value),
        };
        found.unwrap_or(otherwise)
    }

    /// A whole number.
    pub(in crate::config) fn whole(&self, name: &str, problems: &mut Problems) -> u64 {
        let Some(Key { shape: Shape::Whole { least, most }, default, .. }) = self.key(name) else { return 0 };
        let given = self.optional(name).and_then(|field| field.unsigned(*least..=*most, problems));
        given.or_else(|| default.and_then(|text| text.parse().ok())).unwrap_or(*least)
    }

    /// A whole number that counts things in memory.
    pub(in crate::config) fn count(&self, name: &str, problems: &mut Problems) -> usize {
        usize::try_from(self.whole(name, problems)).unwrap_or(usize::MAX)
    }

    /// A whole number that counts things in memory, or nothing where the table allows `none`.
    pub(in crate::config) fn count_or_none(&self, name: &str, problems: &mut Problems) -> Option<usize> {
        let Some(Key { shape: Shape::OrNone(Shape::Whole { least, most }), .. }) = self.key(name) else { return None };
        let given =
            self.optional(name)?.unless_off(problems, |field, problems| field.unsigned(*least..=*most, problems));
        given.flatten().map(|number| usize::try_from(number).unwrap_or(usize::MAX))
    }

    /// A size in bytes, or nothing where the table allows `none`.
    pub(in crate::config) fn size_or_none(&self, name: &str, problems: &mut Problems) -> Option<u64> {
        let key = self.key(name)?;
        let default = parse_size(&key.default_text()).ok();
        let Some(field) = self.optional(name) else { return default };
        let shape = if let Shape::OrNone(shape) = &key.shape { *shape } else { &key.shape };
        let Shape::Size { least, most } = shape else { return default };
        let read = |field: &Field<'_>, problems: &mut Problems| field.size(*least..=*most, problems);
        if let Shape::OrNone(_) = key.shape {
            field.unless_off(problems, read).flatten()
        } else {
            read(&field, problems).or(default)
        }
    }

    /// A size in bytes.
    pub(in crate::config) fn size(&self, name: &str, problems: &mut Problems) -> u64 {
        self.size_or_none(name, problems).unwrap_or_default()
    }

    /// A duration, or nothing where the table allows `none`.
    pub(in crate::config) fn duration_or_none(&self, name: &str, problems: &mut Problems) -> Option<Duration> {
        let key = self.key(name)?;
        let default = parse_duration(&key.default_text()).ok();
        let Some(field) = self.optional(name) else { return default };
        let shape = if let Shape::OrNone(shape) = &key.shape { *shape } else { &key.shape };
        let Shape::Duration { least, most } = shape else { return default };
        let read = |field: &Field<'_>, problems: &mut Problems| field.duration(*least..=*most, problems);
        if let Shape::OrNone(_) = key.shape {
            field.unless_off(problems, read).flatten()
        } else {
            read(&field, problems).or(default)
        }
    }

    /// A duration.
    pub(in crate::config) fn duration(&self, name: &str, problems: &mut Problems) -> Duration {
        self.duration_or_none(name, problems).unwrap_or_default()
    }

    fn key(&self, name: &str) -> Option<&'static Key> {
        keys::find(self.keys, name)
    }
}

/// Reports a list without element.
pub(in crate::config) fn refuse_empty(field: &Field<'_>, problems: &mut Problems) {
    if matches!(&field.node().value, Value::Sequence(items) if items.is_empty()) {
        problems.add(field.error(format!("{} must not be empty", field.title())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::Deprecation;
    use crate::config::yaml;

    const KEYS: &[Key] = &[
        Key::optional("hosts", Shape::Text, "what is to be written"),
        Key::optional("host", Shape::Text, "what was written once").deprecated(Deprecation {
            since: "1.4",
            gone_in: "2.0",
            instead: "`hosts`",
        }),
    ];

    #[test]
    fn a_key_that_is_to_go_is_read_as_before_and_whoever_writes_it_is_told_what_to_write() {
        for (text, warns) in [("host: a\n", true), ("hosts: a\n", false), ("{}\n", false)] {
            let mut problems = Problems::new();
            let node = yaml::parse("c.yaml", text.as_bytes(), &mut problems).unwrap();
            let section = Section::read(&Field::root(&node), KEYS, &mut problems).unwrap();
            let old = section.text("host", &mut problems);
            assert_eq!(old == "a", warns, "{text}");
            let rendered = problems.render();
            assert_eq!((problems.error_count(), problems.warning_count()), (0, usize::from(warns)), "{rendered}");
            let told = "c.yaml:1:7: warning: `host` is deprecated since 1.4 and gone in 2.0; instead: `hosts`";
            assert_eq!(rendered.contains(told), warns, "{rendered}");
        }
    }
}
