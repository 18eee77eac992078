//! What was seen of a request's head so far (RFC 9112 §2.1, §3): whether its first line is one that Pingora would repair,
//! and whether it is larger than any head may be. It keeps no byte.
use crate::gate::rejection::Rejection;

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

/// A head while it comes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RequestHead {
    line: RequestLine,
    bytes: usize,
    fields: usize,
    /// Whether the line being read holds anything yet.
    line_has_begun: bool,
    has_ended: bool,
}

impl RequestHead {
    /// The next bytes came; those behind the head are not looked at.
    pub(super) fn see(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        if !self.line.has_ended {
            let (of_line, behind) = bytes.split_at_checked(self.line.see(bytes)).unwrap_or((bytes, &[]));
            self.bytes = self.bytes.saturating_add(of_line.len());
            rest = behind;
        }
        while !rest.is_empty() && !self.has_ended {
            let end = memchr::memchr(b'\n', rest);
            let (line, behind) = end.and_then(|end| rest.split_at_checked(end + 1)).unwrap_or((rest, &[]));
            self.bytes = self.bytes.saturating_add(line.len());
            self.line_has_begun |= line.iter().any(|byte| !matches!(byte, b'\r' | b'\n'));
            if end.is_some() {
                self.has_ended = !self.line_has_begun;
                self.fields += usize::from(self.line_has_begun);
                self.line_has_begun = false;
            }
            rest = behind;
        }
    }

    /// Whether anything but empty lines came (RFC 9112 §2.2).
    pub(super) const fn has_begun(&self) -> bool {
        self.line.has_begun
    }

    /// Whether the request line is one that Pingora repairs.
    pub(super) const fn is_irregular(&self) -> bool {
        self.line.is_irregular()
    }

    /// Why the head is refused already, where it is.
    pub(super) fn excess(&self, bounds: &HeadBounds) -> Option<Rejection> {
        let line_bytes = if self.line.has_ended { 0 } else { self.bytes };
        if line_bytes > bounds.line_bytes_max {
            Some(Rejection::UriTooLong)
        } else if self.bytes > bounds.bytes_max || self.fields > FIELDS_MAX {
            Some(Rejection::HeaderTooLarge)
        } else {
            None
        }
    }
}

/// What was seen of a request line so far (RFC 9112 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct RequestLine {
    has_begun: bool,
    has_ended: bool,
    spaces: u8,
    has_forbidden_byte: bool,
}

impl RequestLine {
    /// The next bytes came. Says how many of them belong to the line.
    fn see(&mut self, bytes: &[u8]) -> usize {
        for (before, byte) in bytes.iter().enumerate() {
            match byte {
                // Empty lines before a request line are skipped (RFC 9112 §2.2).
                b'\r' | b'\n' if !self.has_begun => continue,
                b'\n' => {
                    self.has_ended = true;
                    return before + 1;
                }
                b'\r' => {}
                b' ' => self.spaces = self.spaces.saturating_add(1),
                // What Pingora would escape or, with all that follows a `#`, drop: no request target may hold it
                // (RFC 3986 §2, RFC 9112 §3.2).
                b'<' | b'>' | b'"' | b'#' | 0..=0x1f | 0x7f => self.has_forbidden_byte = true,
                _ => {}
            }
            self.has_begun = true;
        }
        bytes.len()
    }

    const fn is_irregular(&self) -> bool {
        self.has_forbidden_byte || self.spaces != 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is seen of a text, which must be the same however it is cut.
    fn seen(text: &[u8]) -> RequestHead {
        let mut whole = RequestHead::default();
        whole.see(text);
        for size in [1, 2, 3, 7] {
            let mut in_pieces = RequestHead::default();
            text.chunks(size).for_each(|piece| in_pieces.see(piece));
            assert_eq!(whole, in_pieces, "{:?} in pieces of {size}", text.escape_ascii().to_string());
        }
        whole
    }

    #[test]
    fn a_line_is_irregular_where_it_would_have_to_be_repaired() {
        for (text, irregular) in [
            ("GET / HTTP/1.1\r\nA: b c d\r\n\r\n", false),
            ("\r\n\r\nGET /a?b=c HTTP/1.1\r\n", false),
            ("GET / HTTP/1.1\n", false),
            ("GET /public /admin HTTP/1.1\r\n", true),
            ("GET  / HTTP/1.1\r\n", true),
            ("GET / HTTP/1.1 \r\n", true),
            ("GET /a\tb HTTP/1.1\r\n", true),
            ("GET /<a> HTTP/1.1\r\n", true),
            ("GET /\"a\" HTTP/1.1\r\n", true),
            ("GET /\u{1} HTTP/1.1\r\n", true),
            ("GET /\r\n", true),
        ] {
            assert_eq!(seen(text.as_bytes()).is_irregular(), irregular, "{text:?}");
        }
    }

    #[test]
    fn a_head_ends_at_its_first_empty_line_and_what_follows_counts_for_nothing() {
        for (text, bytes, fields, has_ended) in [
            ("GET / HTTP/1.1\r\nA: b\r\n\r\nC: d\r\n\r\n", 24, 1, true),
            ("GET / HTTP/1.1\nA: b\n\nC: d", 21, 1, true),
            ("\r\n\r\nGET / HTTP/1.1\r\n\r\n\n\n", 22, 0, true),
            ("GET / HTTP/1.1\r\nA: b\r\nC: d", 26, 1, false),
            ("GET / HTTP/1.1\r\nA: b\r\n\r", 23, 1, false),
        ] {
            let head = seen(text.as_bytes());
            assert_eq!((head.bytes, head.fields, head.has_ended), (bytes, fields, has_ended), "{text:?}");
        }
    }

    #[test]
    fn a_head_is_given_up_as_soon_as_no_request_could_have_it() {
        let bounds = HeadBounds::new(100, 200);
        let (line, field) = ("x".repeat(1124), "y".repeat(1300));
        let fields = |amount: usize| format!("GET / HTTP/1.1\r\n{}", "A: b\r\n".repeat(amount));
        for (text, bounds, expected) in [
            (line.clone(), bounds, None),
            (format!("{line}x"), bounds, Some(Rejection::UriTooLong)),
            (format!("GET / HTTP/1.1\r\n{field}"), bounds, None),
            (format!("GET / HTTP/1.1\r\n{field}{field}"), bounds, Some(Rejection::HeaderTooLarge)),
            (fields(256), HeadBounds::new(8192, 8192), None),
            (fields(257), HeadBounds::new(8192, 8192), Some(Rejection::HeaderTooLarge)),
            (format!("{}\r\n{}", fields(1), "A: b\r\n".repeat(5000)), bounds, None),
            ("x".repeat(PINGORA_BYTES_MAX + 1), HeadBounds::new(usize::MAX, usize::MAX), Some(Rejection::UriTooLong)),
        ] {
            let mut head = RequestHead::default();
            head.see(text.as_bytes());
            assert_eq!(head.excess(&bounds), expected, "{} bytes", text.len());
        }
    }
}
