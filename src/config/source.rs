//! The texts that a configuration is made of, and places in them. Never reads a file: texts are handed in.
use std::ops::Range;
use std::sync::Arc;

/// Names one text of [`Sources`]; sources compare in the order in which they were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(u32);

/// A place in a source. Lines and columns start at 1; columns count characters, not bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The text that the place is in.
    pub source: SourceId,
    /// Line, from 1; 0 when the whole source is meant.
    pub line: u32,
    /// Column in characters, from 1; 0 when the whole source is meant.
    pub column: u32,
    /// Length in characters on this line; 0 when unknown.
    pub length: u32,
}

impl Position {
    /// A source as a whole, for what has no line (a file that could not be read).
    pub fn whole(source: SourceId) -> Self {
        Self { source, line: 0, column: 0, length: 0 }
    }

    /// Whether a whole source is meant, so that there is no line to show.
    pub fn is_whole(self) -> bool {
        self.line == 0
    }
}

/// One text and the name under which people know it.
#[derive(Clone, Debug)]
pub struct Source {
    name: String,
    text: Arc<str>,
    lines: Vec<Range<usize>>,
}

impl Source {
    /// The name as given: usually a path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text, without byte order mark.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// A line without its line break; `None` for a line that the text does not have.
    pub fn line(&self, number: u32) -> Option<&str> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        self.text.get(self.lines.get(index)?.clone())
    }
}

/// All texts that were read for one configuration.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    sources: Vec<Source>,
}

impl Sources {
    /// Remembers a text (a byte order mark at its start is dropped) and names it.
    pub fn add(&mut self, name: impl Into<String>, text: &str) -> SourceId {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let id = SourceId(u32::try_from(self.sources.len()).unwrap_or(u32::MAX));
        self.sources.push(Source { name: name.into(), text: Arc::from(text), lines: lines_of(text) });
        id
    }

    /// The source of this name in this collection; `None` for an id of another collection.
    pub fn source(&self, id: SourceId) -> Option<&Source> {
        self.sources.get(usize::try_from(id.0).ok()?)
    }

    /// Every source with its id, in the order of addition.
    pub fn iter(&self) -> impl Iterator<Item = (SourceId, &Source)> {
        self.sources.iter().zip(0_u32..).map(|(source, id)| (SourceId(id), source))
    }
}

/// Line and column of the place behind `text`, which starts a source: a byte order mark is no column.
pub(in crate::config) fn end_of(text: &str) -> (usize, usize) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = lines_of(text);
    let last = lines.last().and_then(|line| text.get(line.clone())).unwrap_or_default();
    (lines.len(), last.chars().count().saturating_add(1))
}

/// Line ends as YAML has them (section 5.4): `\n`, `\r\n` and a `\r` alone.
fn lines_of(text: &str) -> Vec<Range<usize>> {
    let mut lines = Vec::new();
    let mut start = 0;
    let mut characters = text.char_indices().peekable();
    while let Some((index, character)) = characters.next() {
        if character != '\n' && character != '\r' {
            continue;
        }
        lines.push(start..index);
        start = index.saturating_add(1);
        if character == '\r' && characters.next_if(|(_, next)| *next == '\n').is_some() {
            start = start.saturating_add(1);
        }
    }
    lines.push(start..text.len());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_where_yaml_says() {
        let rows: &[(&str, &[&str])] = &[
            ("", &[""]),
            ("a", &["a"]),
            ("a\n", &["a", ""]),
            ("a\r\nb\rc\nd", &["a", "b", "c", "d"]),
            ("\u{feff}a\nb", &["a", "b"]),
            ("é\u{2028}x\nb", &["é\u{2028}x", "b"]),
        ];
        for (text, lines) in rows {
            let mut sources = Sources::default();
            let id = sources.add("x", text);
            let source = sources.source(id).unwrap();
            let found: Vec<&str> = (1..).map_while(|number| source.line(number)).collect();
            assert_eq!(found, *lines, "{text:?}");
            assert_eq!(source.line(0), None);
        }
    }
}
