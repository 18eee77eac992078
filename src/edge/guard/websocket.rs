//! Where the frames of a WebSocket end that a server sends its client (RFC 6455 §5.2), so that a close frame can be put
//! between two of them. Lengths and opcodes are looked at, and nothing is kept.
//!
//! It begins with the head of the response that switches protocols, since that is written last before the first frame.

/// Status codes of a close frame (RFC 6455 §7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCode {
    /// The endpoint goes away.
    GoingAway = 1001,
    /// What was done is against the policy: the identity counts no more.
    PolicyViolation = 1008,
}

/// The opcode of a close frame.
const CLOSE: u8 = 0x8;
/// How a head ends.
const HEAD_END: &[u8; 4] = b"\r\n\r\n";
/// How the head of the switch begins; what begins otherwise is an interim response before it.
const SWITCH: &[u8; 13] = b"HTTP/1.1 101 ";

/// A close frame without mask, as servers send it: its code, and as the reason (at most 123 bytes of ASCII) a word.
pub fn close_frame(code: CloseCode, reason: &'static str) -> Vec<u8> {
    let reason = reason.as_bytes().get(..123).unwrap_or(reason.as_bytes());
    let length = u8::try_from(reason.len() + 2).unwrap_or(125);
    let mut frame = vec![0x80 | CLOSE, length];
    frame.extend_from_slice(&(code as u16).to_be_bytes());
    frame.extend_from_slice(reason);
    frame
}

/// The place in what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frames {
    place: Place,
    has_closed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A head: bytes of [`SWITCH`] that it begins with, if it still may, and bytes of [`HEAD_END`] that came last.
    Head { read: usize, is_switch: bool, end: usize },
    /// Between two frames.
    Boundary,
    /// Behind the first byte.
    Length,
    /// So many bytes of an extended length are to come; what came of it, and whether a mask follows.
    Extended { left: u8, so_far: u64, is_masked: bool },
    /// So many bytes of the mask, and then of the payload.
    Rest { left: u64 },
}

impl Default for Frames {
    fn default() -> Self {
        Self { place: Place::HEAD, has_closed: false }
    }
}

impl Place {
    const HEAD: Self = Self::Head { read: 0, is_switch: true, end: 0 };

    fn payload(length: u64, is_masked: bool) -> Self {
        match length.saturating_add(if is_masked { 4 } else { 0 }) {
            0 => Self::Boundary,
            left => Self::Rest { left },
        }
    }
}

impl Frames {
    /// Whether a frame could begin here, and the server did not say goodbye itself.
    pub fn may_close(&self) -> bool {
        self.place == Place::Boundary && !self.has_closed
    }

    /// Whether waiting for a place to close at is of use: some frame has begun, or the head is on its way.
    pub const fn is_within(&self) -> bool {
        !matches!(self.place, Place::Boundary) && !self.has_closed
    }

    /// Looks at the bytes that come next.
    pub fn see(&mut self, bytes: &[u8]) {
        let _ = self.walk(bytes, |_| false);
    }

    /// How many of the bytes that come next belong before the first place to close at; all, where there is none.
    pub fn until_boundary(mut self, bytes: &[u8]) -> usize {
        self.walk(bytes, |place| place == Place::Boundary)
    }

    /// Follows the bytes until one has been read after which `stops` says so, and says how many were.
    fn walk(&mut self, bytes: &[u8], stops: impl Fn(Place) -> bool) -> usize {
        let mut rest = bytes;
        while let Some((byte, behind)) = rest.split_first() {
            if let Place::Rest { left } = self.place {
                let skipped = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                rest = rest.get(skipped..).unwrap_or_default();
                self.place = Place::payload(left - skipped as u64, false);
            } else {
                self.step(*byte);
                rest = behind;
            }
            if stops(self.place) {
                break;
            }
        }
        bytes.len() - rest.len()
    }

    fn step(&mut self, byte: u8) {
        self.place = match self.place {
            Place::Head { read, is_switch, end } => {
                let is_switch = is_switch && SWITCH.get(read).is_none_or(|expected| *expected == byte);
                let end = match HEAD_END.get(end) {
                    Some(expected) if *expected == byte => end + 1,
                    _ => usize::from(byte == b'\r'),
                };
                match (end == HEAD_END.len(), is_switch) {
                    (false, _) => Place::Head { read: read.saturating_add(1), is_switch, end },
                    (true, true) => Place::Boundary,
                    (true, false) => Place::HEAD,
                }
            }
            Place::Boundary => {
                self.has_closed |= byte & 0x0f == CLOSE;
                Place::Length
            }
            Place::Length => {
                let is_masked = byte & 0x80 != 0;
                match byte & 0x7f {
                    126 => Place::Extended { left: 2, so_far: 0, is_masked },
                    127 => Place::Extended { left: 8, so_far: 0, is_masked },
                    length => Place::payload(u64::from(length), is_masked),
                }
            }
            Place::Extended { left, so_far, is_masked } => {
                let so_far = so_far << 8 | u64::from(byte);
                match left {
                    0 | 1 => Place::payload(so_far, is_masked),
                    left => Place::Extended { left: left - 1, so_far, is_masked },
                }
            }
            // Skipped in one go by `walk`.
            Place::Rest { left } => Place::payload(left.saturating_sub(1), false),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

    /// A frame as RFC 6455 §5.2 has it, written independently of the reader.
    fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
        let masked = if mask.is_some() { 0x80 } else { 0 };
        let mut bytes = vec![first];
        match payload.len() {
            length @ 0..=125 => bytes.push(masked | u8::try_from(length).unwrap()),
            length @ 126..=0xffff => {
                bytes.push(masked | 126);
                bytes.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
            }
            length => {
                bytes.push(masked | 127);
                bytes.extend_from_slice(&u64::try_from(length).unwrap().to_be_bytes());
            }
        }
        bytes.extend(mask.into_iter().flatten());
        bytes.extend_from_slice(payload);
        bytes
    }

    fn frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let length = prop_oneof![0..130usize, Just(65535), Just(65536)];
        let one =
            (prop::sample::select(vec![0x81, 0x82, 0x01, 0x80, 0x89, 0x8a, 0xc1]), any::<Option<[u8; 4]>>(), length);
        let one = one.prop_map(|(first, mask, length)| frame(first, mask, &vec![0x88; length]));
        prop::collection::vec(one, 0..6)
    }

    proptest! {
        #[test]
        fn boundaries_are_exactly_between_the_frames_however_the_bytes_come(
            frames in frames(),
            pieces in prop::collection::vec(1..200usize, 1..20),
            has_interim in any::<bool>(),
        ) {
            let mut bytes = Vec::new();
            if has_interim {
                bytes.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n");
            }
            bytes.extend_from_slice(HEAD);
            let mut boundaries = vec![bytes.len()];
            for frame in &frames {
                bytes.extend_from_slice(frame);
                boundaries.push(bytes.len());
            }
            let (mut reader, mut position) = (Frames::default(), 0);
            for piece in pieces.iter().cycle() {
                let end = (position + piece).min(bytes.len());
                let next = boundaries.iter().find(|boundary| **boundary > position).copied().unwrap_or(end);
                prop_assert_eq!(reader.until_boundary(&bytes[position..end]), next.min(end) - position);
                reader.see(&bytes[position..end]);
                position = end;
                prop_assert_eq!(reader.may_close(), boundaries.contains(&position), "at {}", position);
                prop_assert_eq!(reader.is_within(), !boundaries.contains(&position));
                if position == bytes.len() {
                    break;
                }
            }
        }

        #[test]
        fn any_bytes_are_followed_to_their_end(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut reader = Frames { place: Place::Boundary, has_closed: false };
            prop_assert!(reader.until_boundary(&bytes) <= bytes.len());
            reader.see(&bytes);
        }
    }

    #[test]
    fn nothing_is_said_after_the_goodbye_of_the_server() {
        let mut reader = Frames::default();
        reader.see(HEAD);
        assert!(reader.may_close());
        reader.see(&close_frame(CloseCode::GoingAway, ""));
        assert!(!reader.may_close() && !reader.is_within());
    }

    #[test]
    fn a_length_beyond_all_bounds_is_a_frame_that_does_not_end() {
        let mut reader = Frames { place: Place::Boundary, has_closed: false };
        reader.see(&[0x82, 0xff, 255, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4, 5]);
        assert!(reader.is_within());
    }

    #[test]
    fn a_close_frame_is_as_rfc_6455_has_it() {
        assert_eq!(close_frame(CloseCode::PolicyViolation, "token_expired"), b"\x88\x0f\x03\xf0token_expired");
        assert_eq!(close_frame(CloseCode::GoingAway, ""), b"\x88\x02\x03\xe9");
    }
}
