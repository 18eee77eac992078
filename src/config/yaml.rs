//! YAML text to a positioned tree. The only place that knows the YAML parser. Bounds everything; keeps going after
//! what does not spoil the structure, so that one run finds as much as can be found.
use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span};

use crate::config::bounds::{Budget, DOCUMENT_BYTES_MAX, Extent, too_deep};
use crate::config::error::{ConfigError, Problems};
use crate::config::key_path::KeyPath;
use crate::config::scalar::{Scalar, ScalarKind, Style};
use crate::config::source::{self, Position, SourceId};
use crate::config::syntax;
use crate::config::tree::{Entry, Key, Node, Value};

/// Reads one document and remembers its text under `name`.
///
/// Everything that is wrong goes to `problems`. `None` means that there is no tree at all (no text, invalid YAML,
/// several documents, over a bound); a tree can come with errors too (duplicate keys, tags, keys that are no strings).
pub fn parse(name: &str, bytes: &[u8], problems: &mut Problems) -> Option<Node> {
    if bytes.len() > DOCUMENT_BYTES_MAX {
        let source = problems.add_source(name, "");
        let message = format!("the file is too large: at most {DOCUMENT_BYTES_MAX} bytes are read");
        problems.add(ConfigError::error(Position::whole(source), &KeyPath::root(), message));
        return None;
    }
    let source = match std::str::from_utf8(bytes) {
        Ok(text) => problems.add_source(name, text),
        Err(error) => {
            let source = problems.add_source(name, &String::from_utf8_lossy(bytes));
            let position = end_of(source, bytes.get(..error.valid_up_to()).unwrap_or(bytes));
            let problem = ConfigError::error(position, &KeyPath::root(), "the file is not UTF-8 text");
            problems.add(problem.with_hint("save it in the encoding UTF-8"));
            return None;
        }
    };
    let text = problems.sources().source(source)?.text().clone();
    match Builder::new(source, problems).build(&text) {
        Ok(node) => Some(node),
        Err(fatal) => {
            problems.add(fatal);
            None
        }
    }
}

/// The place after valid text.
fn end_of(source: SourceId, valid: &[u8]) -> Position {
    let valid = String::from_utf8_lossy(valid);
    let (line, column) = source::end_of(&valid);
    Position { source, line: small(line), column: small(column), length: 1 }
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// What a list or mapping that is not yet complete has so far.
struct Frame {
    position: Position,
    /// The parser's number for its anchor; 0 without.
    anchor: usize,
    content: Content,
}

enum Content {
    Sequence(Vec<Node>),
    Mapping(Members),
}

#[derive(Default)]
struct Members {
    entries: Vec<Entry>,
    seen: HashMap<String, Position>,
    merged: Vec<Node>,
    next: Next,
}

/// What a mapping waits for.
#[derive(Default)]
enum Next {
    #[default]
    Key,
    ValueOf(Key),
    /// The value of `<<`.
    Merge,
    /// The value of a key that was refused: read for its errors, then dropped.
    Dropped(Option<Key>),
}

struct Builder<'p> {
    source: SourceId,
    problems: &'p mut Problems,
    frames: Vec<Frame>,
    anchors: HashMap<usize, (Node, Extent)>,
    budget: Budget,
    documents: usize,
    root: Option<Node>,
}

impl<'p> Builder<'p> {
    fn new(source: SourceId, problems: &'p mut Problems) -> Self {
        Self {
            source,
            problems,
            frames: Vec::new(),
            anchors: HashMap::new(),
            budget: Budget::default(),
            documents: 0,
            root: None,
        }
    }

    fn build(mut self, text: &str) -> Result<Node, ConfigError> {
        let options = granit_parser::options! {
            emit_comments: false,
            emit_unresolved_aliases: true,
            disallow_directives: true,
        };
        for event in Parser::new_from_str_with_options(text, options) {
            match event {
                Ok((event, span)) => self.event(event, span)?,
                Err(error) => return Err(self.invalid(&error)),
            }
        }
        match self.root.take() {
            Some(node) if !node.is_null() => Ok(node),
            Some(_) | None => {
                let message = "the document is empty";
                Err(ConfigError::error(Position::whole(self.source), &KeyPath::root(), message))
            }
        }
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), ConfigError> {
        let position = self.position(span);
        match event {
            Event::DocumentStart(..) => self.start_document(position),
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                let empty = style == ScalarStyle::Plain && span.start.index() == span.end.index();
                let text = if empty { String::new() } else { text.into_owned() };
                let style = if style == ScalarStyle::Plain { Style::Plain } else { Style::Quoted };
                self.scalar(position, Scalar::new(text, style), anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                self.open(Frame { position, anchor, content: Content::Sequence(Vec::new()) })
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                self.open(Frame { position, anchor, content: Content::Mapping(Members::default()) })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => self.alias(position, anchor),
            Event::UnresolvedAlias(name) => self.unknown_alias(position, &name),
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Anchor(..) | Event::Comment(..) => {
                Ok(())
            }
            // The parser may learn new events; none that changes the tree can be ignored.
            _ => Err(self.error(position, "unknown YAML construct")),
        }
    }

    fn start_document(&mut self, position: Position) -> Result<(), ConfigError> {
        self.documents = self.documents.saturating_add(1);
        if self.documents > 1 {
            let problem = self.error(position, "a second document starts here: a file holds exactly one");
            return Err(problem.with_hint("remove the line `---`"));
        }
        Ok(())
    }

    fn scalar(&mut self, position: Position, scalar: Scalar, anchor: usize) -> Result<(), ConfigError> {
        self.charge(position, Extent::scalar(scalar.written().len()))?;
        let node = Node { position, value: Value::Scalar(scalar) };
        self.remember(anchor, &node)?;
        match node.scalar() {
            Some(scalar) if self.expects_key() => self.key(position, scalar),
            Some(_) | None => self.place(node),
        }
        Ok(())
    }

    fn expects_key(&self) -> bool {
        match self.frames.last() {
            Some(Frame { content: Content::Mapping(members), .. }) => matches!(members.next, Next::Key),
            Some(Frame { content: Content::Sequence(_), .. }) | None => false,
        }
    }

    fn key(&mut self, position: Position, scalar: &Scalar) {
        let path = self.path();
        let text = scalar.written();
        let key = Key { position, text: text.to_owned() };
        let Some(Frame { content: Content::Mapping(members), .. }) = self.frames.last_mut() else { return };
        let is_merge = scalar.style() == Style::Plain && text == "<<";
        if let Some(first) = members.seen.get(text) {
            let (line, column) = (first.line, first.column);
            let problem = ConfigError::error(position, &path.key(text), format!("duplicate key `{text}`"));
            let hint = if is_merge {
                "several mappings are merged with `<<: [*first, *second]`".to_owned()
            } else {
                format!("it is already given at line {line}, column {column}")
            };
            members.next = Next::Dropped(Some(key));
            self.problems.add(problem.with_hint(hint));
            return;
        }
        members.seen.insert(text.to_owned(), position);
        if is_merge {
            members.next = Next::Merge;
            return;
        }
        members.next = Next::ValueOf(key);
        if scalar.kind() == ScalarKind::Null && text.is_empty() {
            members.next = Next::Dropped(None);
            self.problems.add(ConfigError::error(position, &path, "a key is missing before `:`"));
        } else if scalar.kind() != ScalarKind::String {
            let problem = ConfigError::error(position, &path.key(text), format!("the key `{text}` is not a string"));
            self.problems.add(problem.with_hint(format!("write \"{text}\", with quotes")));
        }
    }

    fn open(&mut self, frame: Frame) -> Result<(), ConfigError> {
        self.charge(frame.position, Extent::collection())?;
        if self.expects_key() {
            let problem = self.error(frame.position, "a list or mapping cannot be a key");
            self.problems.add(problem);
        }
        self.frames.push(frame);
        Ok(())
    }

    fn close(&mut self) -> Result<(), ConfigError> {
        let Some(Frame { position, anchor, content }) = self.frames.pop() else { return Ok(()) };
        let value = match content {
            Content::Sequence(items) => Value::Sequence(items),
            Content::Mapping(members) => Value::Mapping(self.merge(members)),
        };
        let node = Node { position, value };
        self.remember(anchor, &node)?;
        self.place(node);
        Ok(())
    }

    /// Adds what `<<` names: own keys win over merged ones, earlier merged mappings over later ones.
    fn merge(&mut self, members: Members) -> Vec<Entry> {
        let Members { mut entries, mut seen, merged, .. } = members;
        for node in merged {
            let position = node.position;
            let mappings = match node.value {
                Value::Sequence(items) => items,
                value @ (Value::Mapping(_) | Value::Scalar(_)) => vec![Node { position, value }],
            };
            for mapping in mappings {
                let Value::Mapping(added) = mapping.value else {
                    let problem = ConfigError::error(mapping.position, &self.path(), "`<<` merges mappings only");
                    self.problems.add(problem.with_hint("write `<<: *anchor`, where `&anchor` marks a mapping"));
                    continue;
                };
                for entry in added {
                    if !seen.contains_key(&entry.key.text) {
                        seen.insert(entry.key.text.clone(), entry.key.position);
                        entries.push(entry);
                    }
                }
            }
        }
        entries
    }

    fn alias(&mut self, position: Position, anchor: usize) -> Result<(), ConfigError> {
        let Some((node, extent)) = self.anchors.get(&anchor).cloned() else {
            let problem = self.error(position, "an alias cannot stand within what it stands for");
            self.problems.add(problem);
            self.place(stand_in(position));
            return Ok(());
        };
        self.charge(position, extent)?;
        if self.expects_key() {
            let problem = self.error(position, "an alias cannot be a key");
            self.problems.add(problem);
        }
        self.place(node);
        Ok(())
    }

    fn unknown_alias(&mut self, position: Position, name: &str) -> Result<(), ConfigError> {
        self.charge(position, Extent::scalar(0))?;
        let problem = self.error(position, format!("`*{name}` names no anchor"));
        self.problems.add(problem.with_hint(format!("text that starts with `*` needs quotes: \"*{name}\"")));
        self.place(stand_in(position));
        Ok(())
    }

    /// Puts a complete value where it belongs. In the place of a key, where it was refused before, it is dropped.
    fn place(&mut self, node: Node) {
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(node);
            return;
        };
        match &mut frame.content {
            Content::Sequence(items) => items.push(node),
            Content::Mapping(members) => match std::mem::take(&mut members.next) {
                Next::Key => members.next = Next::Dropped(None),
                Next::ValueOf(key) => members.entries.push(Entry { key, value: node }),
                Next::Merge => members.merged.push(node),
                Next::Dropped(_) => {}
            },
        }
    }

    /// Keeps a copy of an anchored value, which counts as any other.
    fn remember(&mut self, anchor: usize, node: &Node) -> Result<(), ConfigError> {
        if anchor == 0 {
            return Ok(());
        }
        let extent = Extent::of(node);
        self.charge(node.position, Extent { depth: 0, ..extent })?;
        self.anchors.insert(anchor, (node.clone(), extent));
        Ok(())
    }

    /// Counts what is about to be added at the current depth.
    fn charge(&mut self, position: Position, more: Extent) -> Result<(), ConfigError> {
        self.budget.charge(self.frames.len(), more).map_err(|message| self.error(position, message))
    }

    fn refuse_tag(&mut self, tagged: bool, span: Span) {
        if tagged {
            let position = self.position(span.tag_span().unwrap_or(span));
            let problem = self.error(position, "tags are not supported");
            self.problems.add(problem.with_hint("remove the tag; text in quotes is always a string"));
        }
    }

    fn invalid(&self, error: &ScanError) -> ConfigError {
        let marker = error.marker();
        let position = Position {
            source: self.source,
            line: small(marker.line()),
            column: small(marker.col().saturating_add(1)),
            length: 0,
        };
        if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
            return self.error(position, too_deep());
        }
        let (message, hint) = syntax::explain(error, self.line(position.line));
        ConfigError { hint: hint.map(str::to_owned), ..self.error(position, message) }
    }

    fn error(&self, position: Position, message: impl Into<String>) -> ConfigError {
        ConfigError::error(position, &self.path(), message)
    }

    fn path(&self) -> KeyPath {
        self.frames.iter().fold(KeyPath::root(), |path, frame| match &frame.content {
            Content::Sequence(items) => path.index(items.len()),
            Content::Mapping(members) => match &members.next {
                Next::ValueOf(key) | Next::Dropped(Some(key)) => path.key(&key.text),
                Next::Merge => path.key("<<"),
                Next::Key | Next::Dropped(None) => path,
            },
        })
    }

    fn line(&self, number: u32) -> &str {
        self.problems.sources().source(self.source).and_then(|source| source.line(number)).unwrap_or_default()
    }

    /// A span's beginning, and its length as far as its first line goes.
    fn position(&self, span: Span) -> Position {
        let (line, column) = (small(span.start.line()), span.start.col());
        let end = if span.end.line() == span.start.line() {
            span.end.col()
        } else {
            self.line(line).trim_end().chars().count()
        };
        let length = small(end.saturating_sub(column));
        Position { source: self.source, line, column: small(column.saturating_add(1)), length }
    }
}

/// Stands where an alias was refused, so that nothing else is said about the same place.
fn stand_in(position: Position) -> Node {
    Node { position, value: Value::Scalar(Scalar::new("*", Style::Quoted)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::expand::expand;
    use crate::config::field::Field;
    use crate::config::surroundings::given::Given;
    use crate::config::tree::Reading;
    use proptest::prelude::*;

    fn parsed(text: &str) -> (Option<Node>, Problems) {
        let mut problems = Problems::new();
        let node = parse("a.yaml", text.as_bytes(), &mut problems);
        (node, problems)
    }

    fn json(text: &str) -> serde_json::Value {
        let (node, problems) = parsed(text);
        assert!(problems.is_empty(), "{}", problems.render());
        node.expect("a tree").to_json(Reading::Expanded)
    }

    /// Every key and value with its place, in the order of the text.
    fn places(node: &Node, out: &mut Vec<String>) {
        let say = |position: Position, what: &str| {
            format!("{}:{}+{} {what}", position.line, position.column, position.length)
        };
        match &node.value {
            Value::Scalar(scalar) => out.push(say(node.position, scalar.text())),
            Value::Sequence(items) => {
                out.push(say(node.position, "[]"));
                items.iter().for_each(|item| places(item, out));
            }
            Value::Mapping(entries) => {
                out.push(say(node.position, "{}"));
                for entry in entries {
                    out.push(say(entry.key.position, &format!("{}:", entry.key.text)));
                    places(&entry.value, out);
                }
            }
        }
    }

    #[test]
    fn every_key_and_value_knows_its_place() {
        let text = "\u{feff}# head\na: hello world  # c\r\n\"é\": \"q\\\"x\" \nc: |\n  lit\n  two\nd:\n- x\n- {k: v, e: [1]}\ne:\nf: one\n  two\n";
        let (node, problems) = parsed(text);
        assert!(problems.is_empty(), "{}", problems.render());
        let mut out = Vec::new();
        places(&node.expect("a tree"), &mut out);
        insta::assert_snapshot!(out.join("\n"), @r#"
        2:1+0 {}
        2:1+1 a:
        2:4+11 hello world
        3:1+3 é:
        3:6+6 q"x
        4:1+1 c:
        5:3+3 lit
        two

        7:1+1 d:
        8:3+0 []
        8:3+1 x
        9:3+1 {}
        9:4+1 k:
        9:7+1 v
        9:10+1 e:
        9:13+1 []
        9:14+1 1
        10:1+1 e:
        10:2+0 
        11:1+1 f:
        11:4+3 one two
        "#);
    }

    #[test]
    fn values_are_what_another_yaml_reader_says_they_are() {
        for text in [
            "a: 1\nb: [x, 2.5, true, ~, null, '', -3]\nc: {d: {e: f}}\n",
            "- a\n- 'on'\n- off\n- \"\\u00e9\\n\"\n- >\n  folded\n  text\n- |-\n  literal\n",
            "x-a: &a {p: 1, q: [1, 2]}\nb: *a\nc: [*a, *a]\n",
            "? explicit\n: value\nlist:\n- - nested\n  - list\n",
            "a: 10.0.0.1\nb: 0.0.0.0:80\nc: 2024-01-01\nd: https://x/y#z\ne: a b  c\n",
        ] {
            let oracle: serde_json::Value = serde_yaml::from_str(text).expect("valid YAML");
            assert_eq!(json(text), oracle, "{text}");
        }
    }

    #[test]
    fn merge_keys_fill_in_what_is_not_given() {
        let anchors = "x-a: &a {p: 1, q: 1}\nx-b: &b {q: 2, r: 2}\n";
        let rows = [
            ("v: {<<: *a}", r#"{"p":1,"q":1}"#),
            ("v: {<<: *a, q: 9}", r#"{"p":1,"q":9}"#),
            ("v: {q: 9, <<: *a}", r#"{"p":1,"q":9}"#),
            ("v: {<<: [*a, *b]}", r#"{"p":1,"q":1,"r":2}"#),
            ("v: {<<: [*b, *a], s: 3}", r#"{"p":1,"q":2,"r":2,"s":3}"#),
            ("v: {<<: {t: 4}}", r#"{"t":4}"#),
            ("v: {'<<': 4}", r#"{"<<":4}"#),
            ("v: {w: {<<: *a}, <<: *b}", r#"{"q":2,"r":2,"w":{"p":1,"q":1}}"#),
        ];
        for (text, expected) in rows {
            assert_eq!(json(&format!("{anchors}{text}"))["v"].to_string(), expected, "{text}");
        }
    }

    #[test]
    fn what_does_not_spoil_the_structure_is_reported_and_reading_goes_on() {
        let (node, problems) = parsed(
            "issuers:\n  main: {issuer: a, audience: b, issuer: c}\n  main: {x: y}\nlisteners: !!seq []\n8080: x\n\
             : y\n? [a]\n: z\nroutes:\n- hosts: [*.example.org]\n- &r {a: *r}\n- <<: text\n  <<: {}\n*r : 1\n",
        );
        assert!(node.is_some());
        insta::assert_snapshot!(problems.render(), @r#"
        a.yaml:2:34: duplicate key `issuer`
          2 |   main: {issuer: a, audience: b, issuer: c}
            |                                  ^^^^^^
            = key: issuers.main.issuer
            = hint: it is already given at line 2, column 10

        a.yaml:3:3: duplicate key `main`
          3 |   main: {x: y}
            |   ^^^^
            = key: issuers.main
            = hint: it is already given at line 2, column 3

        a.yaml:4:12: tags are not supported
          4 | listeners: !!seq []
            |            ^^^^^
            = key: listeners
            = hint: remove the tag; text in quotes is always a string

        a.yaml:5:1: the key `8080` is not a string
          5 | 8080: x
            | ^^^^
            = key: 8080
            = hint: write "8080", with quotes

        a.yaml:6:1: a key is missing before `:`
          6 | : y
            | ^

        a.yaml:7:3: a list or mapping cannot be a key
          7 | ? [a]
            |   ^

        a.yaml:10:11: `*.example.org` names no anchor
          10 | - hosts: [*.example.org]
             |           ^^^^^^^^^^^^^
             = key: routes[0].hosts[0]
             = hint: text that starts with `*` needs quotes: "*.example.org"

        a.yaml:11:10: an alias cannot stand within what it stands for
          11 | - &r {a: *r}
             |          ^^
             = key: routes[1].a

        a.yaml:12:7: `<<` merges mappings only
          12 | - <<: text
             |       ^^^^
             = key: routes[2]
             = hint: write `<<: *anchor`, where `&anchor` marks a mapping

        a.yaml:13:3: duplicate key `<<`
          13 |   <<: {}
             |   ^^
             = key: routes[2]["<<"]
             = hint: several mappings are merged with `<<: [*first, *second]`

        a.yaml:14:1: an alias cannot be a key
          14 | *r : 1
             | ^^
        "#);
    }

    fn refused(texts: &[&str]) -> String {
        let render = |text: &&str| {
            let (node, problems) = parsed(text);
            assert!(node.is_none() && problems.error_count() == 1, "{text:?}");
            problems.render()
        };
        texts.iter().map(render).collect::<Vec<String>>().join("\n")
    }

    #[test]
    fn text_whose_structure_is_no_yaml_is_refused_with_the_likely_cause() {
        let texts = [
            "a:\n\tb: 1\n",
            "name: web: 1\n",
            "a: [1, 2\nb: 3\n",
            "a: 1\nb\nc: 2\n",
            "a: - b\n",
            "%YAML 1.2\n---\na: 1\n",
            "  a: 1\nb: 2\n",
            "a: 1\n---\nb: 2\n",
        ];
        insta::assert_snapshot!(refused(&texts), @r"
        a.yaml:2:2: a tab is not allowed here
          2 |     b: 1
            |     ^
            = key: a
            = hint: indent with spaces

        a.yaml:1:10: `:` is not allowed here
          1 | name: web: 1
            |          ^
            = hint: a value that contains `: ` needs quotes; or is the line not indented like its neighbours?

        a.yaml:2:2: `:` is not allowed here
          2 | b: 3
            |  ^
            = key: a[1]
            = hint: is a bracket or quote on an earlier line not closed?

        a.yaml:2:1: `:` is missing after a key
          2 | b
            | ^
            = hint: write `key: value`, or `- value` for an element of a list

        a.yaml:1:4: a list cannot start here
          1 | a: - b
            |    ^
            = key: a
            = hint: start it on the next line, or write it as [a, b]

        a.yaml:1:1: directives are not supported
          1 | %YAML 1.2
            | ^
            = hint: remove the line

        a.yaml:2:1: the document ended before this line
          2 | b: 2
            | ^
            = hint: is the line indented like its neighbours?

        a.yaml:2:1: a second document starts here: a file holds exactly one
          2 | ---
            | ^^^
            = hint: remove the line `---`
        ");
    }

    #[test]
    fn a_value_that_is_no_yaml_is_refused_with_the_likely_cause() {
        let texts = [
            "address: [::1]:8080\n",
            "- [::]:80\n",
            "a: @x\n",
            "a: \"x\n",
            "a: {b: ${C}, d: 1}\n",
            "a: [${B}, c]\n",
            "a: *\n",
            "a: \u{7}\n",
            "a: {b: c\n",
            "a: \"\\q\"\n",
        ];
        insta::assert_snapshot!(refused(&texts), @r#"
        a.yaml:1:15: a key is expected here
          1 | address: [::1]:8080
            |               ^
            = hint: put an IPv6 address in quotes, as in "[::1]:8080"

        a.yaml:1:7: an element of a list is expected here
          1 | - [::]:80
            |       ^
            = key: [1]
            = hint: put an IPv6 address in quotes, as in "[::1]:8080"

        a.yaml:1:4: a value cannot start with `@`
          1 | a: @x
            |    ^
            = key: a
            = hint: put the value in quotes

        a.yaml:1:4: what is opened here is never closed
          1 | a: "x
            |    ^
            = key: a
            = hint: add the closing quote or bracket

        a.yaml:1:9: `,` or `}` is expected here
          1 | a: {b: ${C}, d: 1}
            |         ^
            = key: a
            = hint: between [ ] and { }, put a value with ${…} in quotes

        a.yaml:1:6: `,` or `]` is expected here
          1 | a: [${B}, c]
            |      ^
            = key: a[1]
            = hint: between [ ] and { }, put a value with ${…} in quotes

        a.yaml:1:4: `*` and `&` must be followed by a name
          1 | a: *
            |    ^
            = key: a
            = hint: put the value in quotes

        a.yaml:1:4: a value cannot start with `\u{7}`
          1 | a: \u{7}
            |    ^^^^^
            = key: a
            = hint: control characters are written as escapes in double quotes

        a.yaml:1:4: what is opened here is never closed
          1 | a: {b: c
            |    ^
            = key: a
            = hint: add the closing quote or bracket

        a.yaml:1:4: invalid YAML: while parsing a quoted scalar, found unknown escape character
          1 | a: "\q"
            |    ^
            = key: a
        "#);
    }

    #[test]
    fn a_document_without_content_is_refused() {
        for text in ["", "\n\n", "# only a comment\n", "---\n", "~\n", "null", "\u{feff}"] {
            let (node, problems) = parsed(text);
            assert!(node.is_none(), "{text:?}");
            assert_eq!(problems.render(), "a.yaml: the document is empty\n", "{text:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_where_they_stand() {
        let mut problems = Problems::new();
        assert!(parse("a.yaml", b"a: 1\nb: \xc3\xa9\xff\n", &mut problems).is_none());
        insta::assert_snapshot!(problems.render(), @r"
        a.yaml:2:5: the file is not UTF-8 text
          2 | b: é�
            |     ^
            = hint: save it in the encoding UTF-8
        ");
        for (text, line, column) in
            [(b"a\rb\xff".as_slice(), 2, 2), (b"\r\n\xff", 2, 1), (b"\r\xff:\xff", 2, 1), (b"\xef\xbb\xbfa\xff", 1, 2)]
        {
            let mut problems = Problems::new();
            assert!(parse("a.yaml", text, &mut problems).is_none());
            let position = problems.sorted().first().unwrap().position;
            assert_eq!((position.line, position.column), (line, column), "{text:?}");
        }
    }

    #[test]
    fn nothing_grows_beyond_its_bound() {
        let bomb: String = (1..30).map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}]\n", n - 1)).collect();
        let merge_bomb: String = (1..30).map(|n| format!("a{n}: &a{n} {{x: *a{0}, y: *a{0}}}\n", n - 1)).collect();
        let text_bomb = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 100].join(", "));
        let deep_alias: String = (1..80).map(|n| format!("a{n}: &a{n} [*a{}]\n", n - 1)).collect();
        let rows = [
            (format!("a0: &a0 x\n{bomb}"), "too much: at most 100000 keys and values, aliases included"),
            (format!("a0: &a0 x\n{merge_bomb}"), "too much: at most 100000 keys and values, aliases included"),
            (text_bomb, "too much text: at most 4194304 bytes, aliases included"),
            (format!("a0: &a0 x\n{deep_alias}"), "nested too deeply: at most 64 levels, aliases included"),
            ("[".repeat(100_000), "nested too deeply: at most 64 levels, aliases included"),
            ("- ".repeat(100_000), "nested too deeply: at most 64 levels, aliases included"),
            ("- x\n".repeat(100_001), "too much: at most 100000 keys and values, aliases included"),
            ("#".repeat(DOCUMENT_BYTES_MAX + 1), "the file is too large: at most 1048576 bytes are read"),
        ];
        for (text, message) in rows {
            let (_, problems) = parsed(&text);
            let messages: Vec<&str> = problems.sorted().iter().map(|problem| problem.message.as_str()).collect();
            assert_eq!(messages.concat(), message, "{}", text.get(..40).unwrap_or(&text));
        }
        assert!(parsed(&"[".repeat(64).replace("[", "- ")).1.is_empty());
    }

    fn read_all(text: &str) {
        let (node, mut problems) = parsed(text);
        if let Some(mut node) = node {
            expand(&mut node, &Given::default().variable("A", "1"), &mut problems);
            if let Some(fields) = Field::root(&node).entries(&mut problems) {
                for field in fields {
                    field.strings(&mut problems);
                    field.boolean(&mut problems);
                }
            }
        }
        for problem in problems.sorted() {
            let position = problem.position;
            let line = problems.sources().source(position.source).and_then(|source| source.line(position.line));
            let length = line.map(|line| line.chars().count() + 1);
            assert!(
                position.is_whole() || length.is_some_and(|length| position.column as usize <= length),
                "{problem:?}"
            );
        }
        let _ = (problems.render(), problems.to_json());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC*|[\\s\\S]{0,60}") {
            read_all(&text);
        }

        #[test]
        fn nothing_that_resembles_yaml_makes_the_reader_panic(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "a", "b", ": ", ":", "- ", "\n", "  ", "\t", "[", "]", "{", "}", ", ", "&a ", "*a", "<<", "? ", "!!str ",
                    "\"", "'", "|\n", ">-\n", "#", "---\n", "...\n", "${A}", "$", "%", "é", "漢", "\r\n", "\r", "\u{feff}", "1", "~",
                ]),
                0..40,
            )
        ) {
            read_all(&parts.concat());
        }
    }
}
