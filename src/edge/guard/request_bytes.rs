//! What the bytes of an HTTP/1 request looked like before Pingora put them right: request line, line ends and chunk sizes.
//!
//! Pingora repairs a request line that is not well-formed: `GET /public /admin HTTP/1.1` becomes a request for
//! `/public%20/admin`. It takes a lone line feed for a line end, and passes over what stands behind the size of a chunk.
//! What it forwards is clean; but somebody in front may have read the same bytes as two requests. RFC 9112 §2.2, §3.2 and
//! §7.1 want them refused instead, since nobody can know what was meant. So they are looked at on their way in; and
//! whether the head is larger than any head may be is seen before it is gathered. Nothing is changed or kept here.
use std::fmt;

use crate::gate::rejection::Rejection;

/// The field that says that chunks follow the head, with what ends its name.
const CODING: &[u8] = b"transfer-encoding:";

/// Most digits of a chunk size: those of 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;

/// Why the bytes are not well-formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request line has no two spaces, or a byte that no target may have (RFC 9112 §3.2, RFC 3986 §2).
    RequestLine,
    /// A line of the head that ends with a line feed alone (RFC 9112 §2.2).
    LineEnd,
    /// A chunk that does not keep to the grammar (RFC 9112 §7.1).
    Chunk,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::RequestLine => "a request line that is not well-formed",
            Self::LineEnd => "a line that ends with a line feed alone",
            Self::Chunk => "a chunk that is not well-formed",
        })
    }
}

/// Pingora reads no more fields, and answers with a bare 400.
const FIELDS_MAX: usize = 256;
/// Pingora reads no longer head.
const PINGORA_BYTES_MAX: usize = 1 << 20;
/// What a head may have besides target and fields: method, version, line ends, and spaces that count for nothing.
const FRAMING_BYTES: usize = 1024;

/// How large a head may become while it is read. The gate judges whole heads more exactly; these bounds only keep a head
/// that it would refuse from being gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadBounds {
    line_bytes_max: usize,
    bytes_max: usize,
}

impl HeadBounds {
    /// Bounds that no head reaches whose target and fields are as long as they may be.
    pub fn new(uri_bytes: usize, header_bytes: usize) -> Self {
        let line_bytes_max = uri_bytes.saturating_add(FRAMING_BYTES).min(PINGORA_BYTES_MAX);
        Self { line_bytes_max, bytes_max: line_bytes_max.saturating_add(header_bytes).min(PINGORA_BYTES_MAX) }
    }
}

/// The bytes of one request so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RequestBytes {
    place: Place,
    fault: Option<Fault>,
    line: Line,
    /// Of the head, empty lines before it included.
    head_bytes: usize,
    fields: usize,
    is_chunked: bool,
    chunk: Chunk,
}

/// Which part of a request comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// The request line; nothing of it has come yet.
    #[default]
    Before,
    RequestLine,
    Field,
    Chunks,
    /// What nothing is asked of: a body of a given length, trailers, another protocol.
    Rest,
}

/// The current line of the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Line {
    length: usize,
    spaces: u8,
    /// How many letters of [`CODING`] it begins with.
    coding_letters: usize,
    ends_with_return: bool,
}

/// The place in a chunked body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Chunk {
    step: Step,
    size: u64,
    digits: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    #[default]
    Size,
    SizeEnd,
    Data,
    DataReturn,
    DataEnd,
    /// The name of an extension; whether it has begun.
    Name(bool),
    /// Its value; whether it has begun.
    Value(bool),
    Quoted,
    Escaped,
    Unquoted,
}

impl RequestBytes {
    /// Whether anything of a request has come.
    pub(super) fn has_begun(&self) -> bool {
        self.place != Place::Before
    }

    /// What is wrong with the bytes so far.
    pub(super) const fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Why the head is refused already, where it is.
    pub(super) const fn excess(&self, bounds: &HeadBounds) -> Option<Rejection> {
        let is_in_line = matches!(self.place, Place::Before | Place::RequestLine);
        if is_in_line && self.head_bytes > bounds.line_bytes_max {
            // Before the first space it is no target that is too long.
            Some(if self.line.spaces == 0 { Rejection::RequestMalformed } else { Rejection::UriTooLong })
        } else if self.head_bytes > bounds.bytes_max || self.fields > FIELDS_MAX {
            Some(Rejection::HeaderTooLarge)
        } else {
            None
        }
    }

    /// Looks at the bytes that come next.
    pub(super) fn see(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.place {
                Place::Before => self.see_empty_lines(rest),
                Place::RequestLine | Place::Field => self.see_line(rest),
                Place::Chunks => self.see_chunk(rest),
                Place::Rest => return,
            };
        }
    }

    /// Empty lines before a request line are skipped (RFC 9112 §2.2).
    fn see_empty_lines<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let begin = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
        self.head_bytes = self.head_bytes.saturating_add(begin.unwrap_or(bytes.len()));
        let Some(begin) = begin else { return &[] };
        self.place = Place::RequestLine;
        bytes.get(begin..).unwrap_or_default()
    }

    fn see_line<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let end = memchr::memchr(b'\n', bytes);
        let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        self.head_bytes = self.head_bytes.saturating_add(part.len() + usize::from(end.is_some()));
        let is_request_line = self.place == Place::RequestLine;
        if is_request_line {
            self.see_request_line(part);
        }
        self.line.see(part);
        if end.is_none() {
            return &[];
        }
        let line = std::mem::take(&mut self.line);
        if is_request_line && line.spaces != 2 {
            self.note(Fault::RequestLine);
        }
        if !line.ends_with_return {
            self.note(Fault::LineEnd);
        }
        self.is_chunked |= line.coding_letters == CODING.len();
        let length = line.length - usize::from(line.ends_with_return);
        self.fields += usize::from(!is_request_line && length > 0);
        self.place = match length {
            0 if self.is_chunked => Place::Chunks,
            0 => Place::Rest,
            _ => Place::Field,
        };
        rest.get(1..).unwrap_or_default()
    }

    fn see_request_line(&mut self, part: &[u8]) {
        for byte in part {
            match byte {
                b' ' => self.line.spaces = self.line.spaces.saturating_add(1),
                b'\r' => {}
                // What Pingora would escape or, with all that follows a `#`, drop.
                b'<' | b'>' | b'"' | b'#' | 0..=0x1f | 0x7f => self.note(Fault::RequestLine),
                _ => {}
            }
        }
    }

    fn see_chunk<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        if self.chunk.step == Step::Data {
            let length = usize::try_from(self.chunk.size).unwrap_or(usize::MAX).min(bytes.len());
            self.chunk.size -= length as u64;
            if self.chunk.size == 0 {
                self.chunk.step = Step::DataReturn;
            }
            return bytes.get(length..).unwrap_or_default();
        }
        let Some((byte, rest)) = bytes.split_first() else { return &[] };
        match self.chunk.next(*byte) {
            Some(step) => self.chunk.step = step,
            None => {
                self.note(Fault::Chunk);
                self.place = Place::Rest;
            }
        }
        // The last chunk has no data; trailers follow, which are dropped whatever they say.
        if self.chunk.step == Step::Data && self.chunk.size == 0 {
            self.place = Place::Rest;
        }
        rest
    }

    /// The first fault is the one that is told.
    fn note(&mut self, fault: Fault) {
        self.fault = self.fault.or(Some(fault));
    }
}

impl Line {
    fn see(&mut self, part: &[u8]) {
        let Some(last) = part.last() else { return };
        if self.coding_letters == self.length {
            let expected = CODING.get(self.length..).unwrap_or_default();
            let equal = part.iter().zip(expected).take_while(|(byte, letter)| byte.eq_ignore_ascii_case(letter));
            self.coding_letters += equal.count();
        }
        self.length += part.len();
        self.ends_with_return = *last == b'\r';
    }
}

impl Chunk {
    /// What comes after `byte`, which is none of the data; nothing when it may not stand here. White space is allowed
    /// nowhere: no client sends it, and RFC 9112 §7.1.1 knows it as bad.
    fn next(&mut self, byte: u8) -> Option<Step> {
        match (self.step, byte) {
            (Step::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if self.digits < SIZE_DIGITS_MAX => {
                let digit = char::from(byte).to_digit(16)?;
                self.size = self.size << 4 | u64::from(digit);
                self.digits += 1;
                Some(Step::Size)
            }
            (Step::Size, b'\r') if self.digits > 0 => Some(Step::SizeEnd),
            (Step::Size, b';') if self.digits > 0 => Some(Step::Name(false)),
            (Step::SizeEnd, b'\n') => {
                self.digits = 0;
                Some(Step::Data)
            }
            (Step::DataReturn, b'\r') => Some(Step::DataEnd),
            (Step::DataEnd, b'\n') => Some(Step::Size),
            (Step::Name(true), b'=') => Some(Step::Value(false)),
            (Step::Value(false), b'"') => Some(Step::Quoted),
            (Step::Quoted, b'"') => Some(Step::Unquoted),
            (Step::Quoted, b'\\') => Some(Step::Escaped),
            (Step::Quoted | Step::Escaped, b'\t' | b' '..=b'~' | 0x80..) => Some(Step::Quoted),
            (Step::Name(true) | Step::Value(true) | Step::Unquoted, b';') => Some(Step::Name(false)),
            (Step::Name(true) | Step::Value(true) | Step::Unquoted, b'\r') => Some(Step::SizeEnd),
            (Step::Name(_), _) if is_token_byte(byte) => Some(Step::Name(true)),
            (Step::Value(_), _) if is_token_byte(byte) => Some(Step::Value(true)),
            (_, _) => None,
        }
    }
}

/// RFC 9110 §5.6.2.
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is seen of a text, which must be the same however it is cut into reads.
    #[track_caller]
    fn seen(text: &str) -> RequestBytes {
        let mut whole = RequestBytes::default();
        whole.see(text.as_bytes());
        for length in [1, 2, 3, 7] {
            let mut in_pieces = RequestBytes::default();
            text.as_bytes().chunks(length).for_each(|piece| in_pieces.see(piece));
            assert_eq!(whole, in_pieces, "{text:?} in pieces of {length}");
        }
        whole
    }

    #[track_caller]
    fn check(text: &str, expected: Option<Fault>) {
        assert_eq!(seen(text).fault(), expected, "{text:?}");
    }

    #[test]
    fn a_line_is_irregular_where_it_would_have_to_be_repaired() {
        for (text, fault) in [
            ("GET / HTTP/1.1\r\nA: b c d\r\n\r\n", None),
            ("\r\n\r\nGET /a?b=c HTTP/1.1\r\n", None),
            ("\n\nGET / HTTP/1.1\r\n", None),
            ("GET / HTTP/1.1\n", Some(Fault::LineEnd)),
            ("GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", Some(Fault::LineEnd)),
            ("GET / HTTP/1.1\r\nHost: a\r\n\n", Some(Fault::LineEnd)),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\na\nb", None),
            ("GET /public /admin HTTP/1.1\r\n", Some(Fault::RequestLine)),
            ("GET  / HTTP/1.1\r\n", Some(Fault::RequestLine)),
            ("GET / HTTP/1.1 \r\n", Some(Fault::RequestLine)),
            ("GET /a\tb HTTP/1.1\r\n", Some(Fault::RequestLine)),
            ("GET /<a> HTTP/1.1\r\n", Some(Fault::RequestLine)),
            ("GET /\"a\" HTTP/1.1\r\n", Some(Fault::RequestLine)),
            ("GET /a#b HTTP/1.1\r\n", Some(Fault::RequestLine)),
            ("GET /\u{1} HTTP/1.1\r\n", Some(Fault::RequestLine)),
            ("GET /\r\n", Some(Fault::RequestLine)),
        ] {
            check(text, fault);
        }
    }

    #[test]
    fn a_chunk_keeps_to_the_grammar() {
        let check_body = |body: &str, fault| {
            check(&format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-ENCODING: chunked\r\n\r\n{body}"), fault);
        };
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n",
            "005\r\n\r\n\n \r\r\n0\r\n\r\n",
            "5;a\r\nhello\r\n0;b=c;d=\"e \\\" ;f\";g\r\n\r\n",
            "0\r\nany thing\nhere\r\n\r\n",
            "7fffffffffffffff\r\n",
        ] {
            check_body(body, None);
        }
        for body in [
            "5 \r\nhello",
            " 5\r\nhello",
            "\r\n",
            ";a\r\n",
            "0x5\r\n",
            "+5\r\n",
            "-1\r\n",
            "1_0\r\n",
            "5\nhello",
            "5\r\rhello",
            "5;\r\nhello",
            "5;=b\r\n",
            "5;a=\r\n",
            "5;bad[=x\r\n",
            "5;a b\r\n",
            "5; a\r\n",
            "5;a=\"b\r\n",
            "5;a=\"b\"c\r\n",
            "5\r\nhello!\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello\r\r",
            "00000000000000005\r\n",
            "fffffffffffffffff\r\n",
            "g\r\n",
        ] {
            check_body(body, Some(Fault::Chunk));
        }
        check("POST / HTTP/1.1\r\nX-Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nxyz", None);
        check("POST / HTTP/1.1\r\nTransfer-Encodings: x\r\n\r\nxyz", None);
    }

    #[test]
    fn a_head_ends_at_its_first_empty_line_and_what_follows_counts_for_nothing() {
        for (text, bytes, fields) in [
            ("GET / HTTP/1.1\r\nA: b\r\n\r\nC: d\r\n\r\n", 24, 1),
            ("GET / HTTP/1.1\nA: b\n\nC: d", 21, 1),
            ("\r\n\r\nGET / HTTP/1.1\r\n\r\n\n\n", 22, 0),
            ("GET / HTTP/1.1\r\nA: b\r\nC: d", 26, 1),
            ("GET / HTTP/1.1\r\nA: b\r\n\r", 23, 1),
        ] {
            let seen = seen(text);
            assert_eq!((seen.head_bytes, seen.fields), (bytes, fields), "{text:?}");
        }
    }

    #[test]
    fn a_head_is_given_up_as_soon_as_no_request_could_have_it() {
        let bounds = HeadBounds::new(100, 200);
        let (line, field) = (format!("GET {}", "x".repeat(1120)), "y".repeat(1300));
        let fields = |amount: usize| format!("GET / HTTP/1.1\r\n{}", "A: b\r\n".repeat(amount));
        for (text, bounds, expected) in [
            (line.clone(), bounds, None),
            (format!("{line}x"), bounds, Some(Rejection::UriTooLong)),
            ("x".repeat(1125), bounds, Some(Rejection::RequestMalformed)),
            (format!("GET / HTTP/1.1\r\n{field}"), bounds, None),
            (format!("GET / HTTP/1.1\r\n{field}{field}"), bounds, Some(Rejection::HeaderTooLarge)),
            (fields(256), HeadBounds::new(8192, 8192), None),
            (fields(257), HeadBounds::new(8192, 8192), Some(Rejection::HeaderTooLarge)),
            (format!("{}\r\n{}", fields(1), "A: b\r\n".repeat(5000)), bounds, None),
            (
                format!("GET {}", "x".repeat(PINGORA_BYTES_MAX)),
                HeadBounds::new(usize::MAX, usize::MAX),
                Some(Rejection::UriTooLong),
            ),
        ] {
            let mut head = RequestBytes::default();
            head.see(text.as_bytes());
            assert_eq!(head.excess(&bounds), expected, "{} bytes", text.len());
        }
    }
}
