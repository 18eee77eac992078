//! Builds one line of JSON into a buffer, field by field, without a tree of values. What comes from outside can neither
//! break the line nor fool the terminal that shows it: quotes, controls and characters that reorder or hide text are
//! escaped. It never truncates; see [`cut`].
use std::io::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use crate::edge::clock;

/// A JSON object that is being written on one line.
#[derive(Debug)]
pub struct JsonLine {
    buffer: Vec<u8>,
    /// Whether the next field is the first of its object and takes no comma.
    first: bool,
}

impl JsonLine {
    /// Begins a line in this buffer, whose content is dropped and whose memory is used again.
    #[must_use]
    pub fn new(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.push(b'{');
        Self { buffer, first: true }
    }

    /// A string.
    pub fn text(&mut self, name: &'static str, value: &str) -> &mut Self {
        self.name(name);
        self.buffer.push(b'"');
        append_escaped(&mut self.buffer, value);
        self.buffer.push(b'"');
        self
    }

    /// A string, or no field at all.
    pub fn optional_text(&mut self, name: &'static str, value: Option<&str>) -> &mut Self {
        if let Some(value) = value {
            self.text(name, value);
        }
        self
    }

    /// A string of bytes that a peer sent: what is not UTF-8 becomes U+FFFD.
    pub fn bytes(&mut self, name: &'static str, value: &[u8]) -> &mut Self {
        self.name(name);
        self.buffer.push(b'"');
        append_escaped_bytes(&mut self.buffer, value);
        self.buffer.push(b'"');
        self
    }

    /// A whole number.
    pub fn number(&mut self, name: &'static str, value: u64) -> &mut Self {
        self.name(name);
        // Writing into a Vec cannot fail, here and below.
        let _ = write!(self.buffer, "{value}");
        self
    }

    /// A duration in seconds, to the microsecond.
    pub fn seconds(&mut self, name: &'static str, value: Duration) -> &mut Self {
        self.name(name);
        append_seconds(&mut self.buffer, value);
        self
    }

    /// A time as RFC 3339 in UTC, to the microsecond.
    pub fn time(&mut self, name: &'static str, value: SystemTime) -> &mut Self {
        self.name(name);
        self.buffer.push(b'"');
        clock::append_rfc3339(&mut self.buffer, value);
        self.buffer.push(b'"');
        self
    }

    /// An address of the network.
    pub fn address(&mut self, name: &'static str, value: IpAddr) -> &mut Self {
        self.name(name);
        let _ = write!(self.buffer, "\"{value}\"");
        self
    }

    /// An object within this one.
    pub fn object(&mut self, name: &'static str, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.name(name);
        self.buffer.push(b'{');
        self.first = true;
        fill(self);
        self.buffer.push(b'}');
        self.first = false;
        self
    }

    /// The whole line with its line feed.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.buffer.extend_from_slice(b"}\n");
        self.buffer
    }

    /// Field names are ours and need no escaping.
    fn name(&mut self, name: &'static str) {
        if !self.first {
            self.buffer.push(b',');
        }
        self.first = false;
        self.buffer.push(b'"');
        self.buffer.extend_from_slice(name.as_bytes());
        self.buffer.extend_from_slice(b"\":");
    }
}

/// Appends seconds with six digits, which every reader takes for a number.
pub(super) fn append_seconds(buffer: &mut Vec<u8>, value: Duration) {
    let _ = write!(buffer, "{}.{:06}", value.as_secs(), value.subsec_micros());
}

/// Appends a string as the inside of a JSON string (RFC 8259 §7), escaping more than JSON asks: see [`is_hostile`].
pub(super) fn append_escaped(buffer: &mut Vec<u8>, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(wants_a_look) {
        let Some((plain, tail)) = rest.split_at_checked(at) else { break };
        buffer.extend_from_slice(plain.as_bytes());
        let mut characters = tail.chars();
        if let Some(character) = characters.next() {
            append_character(buffer, character);
        }
        rest = characters.as_str();
    }
    buffer.extend_from_slice(rest.as_bytes());
}

/// The same for bytes that ought to be UTF-8.
pub(super) fn append_escaped_bytes(buffer: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        append_escaped(buffer, chunk.valid());
        if !chunk.invalid().is_empty() {
            buffer.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// The longest beginning of a text that has at most so many bytes and ends between two characters.
#[must_use]
pub fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or(text)
}

/// A byte that is not plainly itself in a JSON string.
fn wants_a_look(byte: u8) -> bool {
    !(b' '..0x7f).contains(&byte) || byte == b'"' || byte == b'\\'
}

fn append_character(buffer: &mut Vec<u8>, character: char) {
    match character {
        '"' => buffer.extend_from_slice(b"\\\""),
        '\\' => buffer.extend_from_slice(b"\\\\"),
        '\n' => buffer.extend_from_slice(b"\\n"),
        '\r' => buffer.extend_from_slice(b"\\r"),
        '\t' => buffer.extend_from_slice(b"\\t"),
        hostile if is_hostile(hostile) => {
            for unit in hostile.encode_utf16(&mut [0; 2]) {
                let _ = write!(buffer, "\\u{unit:04x}");
            }
        }
        harmless => buffer.extend_from_slice(harmless.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Characters that act on a terminal, a JavaScript reader or a reader's eye instead of being shown: controls (C0, DEL, C1),
/// line and paragraph separators, marks that reorder text, and characters of no width.
fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::{JsonLine, cut};
    use std::time::{Duration, UNIX_EPOCH};

    /// The line of one text, and what a JSON reader makes of it.
    fn written(value: &[u8]) -> (String, String) {
        let mut line = JsonLine::new(Vec::new());
        line.bytes("v", value);
        let line = String::from_utf8(line.finish()).unwrap();
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        (line, read["v"].as_str().unwrap().to_owned())
    }

    #[test]
    fn every_character_is_read_back_as_it_was_and_none_of_the_hostile_ones_is_written_raw() {
        let mut hostile = 0;
        for character in '\0'..=char::MAX {
            let text = format!("a{character}b");
            let (line, read) = written(text.as_bytes());
            assert_eq!(read, text);
            assert_eq!(line.matches('\n').count(), 1, "{character:?} breaks the line");
            let body = line.trim_end_matches('\n');
            assert!(!body.chars().any(char::is_control), "{character:?} is a control character");
            hostile += usize::from(!body.contains(character));
        }
        assert!(hostile > 65 + 20, "{hostile}");
    }

    #[test]
    fn hostile_text_is_shown_as_escapes() {
        let rows: [(&[u8], &str); 7] = [
            (b"say \"hi\" \\ bye", r#""say \"hi\" \\ bye""#),
            (b"\x1b[2Jcleared\r\n\tinjected", r#""\u001b[2Jcleared\r\n\tinjected""#),
            ("\u{7f}\u{9b}31m".as_bytes(), r#""\u007f\u009b31m""#),
            ("admin\u{202e}txt.exe\u{2069}".as_bytes(), r#""admin\u202etxt.exe\u2069""#),
            ("\u{2028}\u{2029}\u{200b}\u{feff}".as_bytes(), r#""\u2028\u2029\u200b\ufeff""#),
            ("\u{e0041}".as_bytes(), r#""\udb40\udc41""#),
            (b"caf\xc3\xa9 \xff\xc3(", "\"café \u{fffd}\u{fffd}(\""),
        ];
        for (value, expected) in rows {
            assert_eq!(written(value).0, format!("{{\"v\":{expected}}}\n"));
        }
    }

    #[test]
    fn a_line_has_its_fields_in_order_and_objects_within() {
        let mut line = JsonLine::new(b"the rest of another line".to_vec());
        line.time("ts", UNIX_EPOCH)
            .number("status", u64::MAX)
            .seconds("duration_s", Duration::from_nanos(1_000_042_999))
            .optional_text("route", None)
            .object("empty", |_| {})
            .object("auth", |auth| {
                auth.text("result", "allowed").optional_text("kid", Some("k1"));
            })
            .text("last", "");
        let expected = concat!(
            r#"{"ts":"1970-01-01T00:00:00.000000Z","status":18446744073709551615,"duration_s":1.000042,"#,
            r#""empty":{},"auth":{"result":"allowed","kid":"k1"},"last":""}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(line.finish()).unwrap(), expected);
    }

    #[test]
    fn a_text_is_cut_between_two_characters() {
        let rows = [
            ("token", 128, "token"),
            ("token", 3, "tok"),
            ("aéb", 2, "a"),
            ("aéb", 3, "aé"),
            ("é", 1, ""),
            ("", 0, ""),
        ];
        for (text, bytes_max, expected) in rows {
            assert_eq!(cut(text, bytes_max), expected);
        }
    }
}
