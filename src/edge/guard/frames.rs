//! The frames of an HTTP/2 connection as they come in, by their headers alone (RFC 9113 §4.1): how many streams a client
//! opens, and how many of them it takes back.
//!
//! Opening a stream costs a client next to nothing, and when it takes it back at once the number of streams at a time does
//! not bound it (CVE-2023-44487). The requests would be begun all the same.

/// What every connection begins with (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// So many streams may be taken back before it counts how many were not.
const RESETS_FREE: u64 = 100;

const HEADER_BYTES: usize = 9;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;

/// The frames of one connection so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frames {
    /// Bytes of the preface that came.
    preface_bytes: usize,
    /// The header that is being read, and how much of it there is.
    header: [u8; HEADER_BYTES],
    header_bytes: usize,
    /// Bytes of the current frame that are still to come.
    payload_bytes: usize,
    opened: u64,
    reset: u64,
}

impl Frames {
    /// Whether the preface was sent.
    pub const fn have_begun(&self) -> bool {
        self.preface_bytes >= PREFACE.len()
    }

    /// Whether the client takes back more streams than anybody with a use for them would.
    pub const fn is_abuse(&self) -> bool {
        self.reset > RESETS_FREE && self.reset > self.opened / 2
    }

    /// Looks at the bytes that come next.
    pub fn see(&mut self, bytes: &[u8]) {
        let preface = (PREFACE.len() - self.preface_bytes.min(PREFACE.len())).min(bytes.len());
        self.preface_bytes += preface;
        let mut rest = bytes.get(preface..).unwrap_or_default();
        while !rest.is_empty() {
            let skipped = self.payload_bytes.min(rest.len());
            self.payload_bytes -= skipped;
            rest = rest.get(skipped..).unwrap_or_default();
            rest = self.see_header(rest);
        }
    }

    fn see_header<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let wanted = (HEADER_BYTES - self.header_bytes).min(bytes.len());
        let (part, rest) = bytes.split_at(wanted);
        let places = self.header.iter_mut().skip(self.header_bytes);
        places.zip(part).for_each(|(place, byte)| *place = *byte);
        self.header_bytes += wanted;
        if self.header_bytes == HEADER_BYTES {
            let [first, second, third, kind, ..] = self.header;
            self.payload_bytes = usize::from(first) << 16 | usize::from(second) << 8 | usize::from(third);
            self.header_bytes = 0;
            self.opened += u64::from(kind == HEADERS);
            self.reset += u64::from(kind == RST_STREAM);
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let length_bytes = u32::try_from(length).unwrap().to_be_bytes();
        let mut bytes = length_bytes[1..].to_vec();
        bytes.extend([kind, 0, 0, 0, 0, 1]);
        bytes.resize(HEADER_BYTES + length, RST_STREAM);
        bytes
    }

    #[test]
    fn taking_back_most_streams_is_abuse_once_there_are_many() {
        for (opened, reset, expected) in [
            (10, 10, false),
            (100, 100, false),
            (101, 101, true),
            (202, 101, false),
            (1000, 499, false),
            (1000, 501, true),
        ] {
            let mut frames = Frames::default();
            frames.see(PREFACE);
            (0..opened).for_each(|_| frames.see(&frame(HEADERS, 7)));
            (0..reset).for_each(|_| frames.see(&frame(RST_STREAM, 4)));
            assert_eq!(frames.is_abuse(), expected, "{opened} {reset}");
        }
    }

    proptest! {
        #[test]
        fn frames_are_counted_however_they_are_cut(kinds in proptest::collection::vec((0_u8..10, 0_usize..300), 0..30), size in 1_usize..50) {
            let mut bytes = PREFACE.to_vec();
            kinds.iter().for_each(|(kind, length)| bytes.extend(frame(*kind, *length)));
            let mut frames = Frames::default();
            bytes.chunks(size).for_each(|piece| frames.see(piece));
            let count = |wanted| kinds.iter().filter(|(kind, _)| *kind == wanted).count() as u64;
            prop_assert!(frames.have_begun());
            prop_assert_eq!((frames.opened, frames.reset), (count(HEADERS), count(RST_STREAM)));
        }
    }
}
