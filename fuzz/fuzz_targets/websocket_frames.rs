//! What a server writes to the client of a WebSocket, behind a first byte that says in which pieces it comes. A close frame may be
//! said exactly between two frames of another reader that has all of it at once, and never behind the server's own.
#![no_main]
use libfuzzer_sys::fuzz_target;
use portcullis::edge::guard::websocket::{CloseCode, Frames, close_frame};

fuzz_target!(|data: &[u8]| {
    let Some((size, bytes)) = data.split_first() else { return };
    let places = places(bytes);
    let (mut reader, mut position) = (Frames::default(), 0);
    for piece in bytes.chunks(usize::from(*size).max(1)) {
        let end = position + piece.len();
        let next = places.boundaries.iter().copied().find(|place| *place > position).unwrap_or(end).min(end);
        assert_eq!(reader.until_boundary(piece), next - position);
        reader.see(piece);
        position = end;
        let is_between = places.boundaries.contains(&position);
        let has_closed = places.closed_at.is_some_and(|place| position > place);
        assert_eq!(reader.may_close(), is_between && !has_closed, "at {position}");
        assert_eq!(reader.is_within(), !is_between && !has_closed, "at {position}");
        if reader.may_close() {
            let mut after = reader;
            after.see(&close_frame(CloseCode::PolicyViolation, "token_expired"));
            assert!(!after.may_close() && !after.is_within());
        }
    }
});

/// Where frames begin or end, and where one begins that closes.
struct Places {
    boundaries: Vec<usize>,
    closed_at: Option<usize>,
}

fn places(bytes: &[u8]) -> Places {
    let mut places = Places { boundaries: Vec::new(), closed_at: None };
    let mut at = 0;
    // Heads, of which the last one switches.
    loop {
        let Some(length) = bytes[at..].windows(4).position(|window| window == b"\r\n\r\n") else { return places };
        let is_switch = bytes[at..at + length + 4].starts_with(b"HTTP/1.1 101 ");
        at += length + 4;
        if is_switch {
            break;
        }
    }
    places.boundaries.push(at);
    while let [first, second, rest @ ..] = &bytes[at..] {
        if first & 15 == 8 && places.closed_at.is_none() {
            places.closed_at = Some(at);
        }
        let width = match second & 127 {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some(extended) = rest.get(..width) else { return places };
        let length = if width == 0 {
            u128::from(second & 127)
        } else {
            extended.iter().fold(0, |length, byte| length * 256 + u128::from(*byte))
        };
        let mask = if *second >= 128 { 4 } else { 0 };
        let Ok(end) = usize::try_from(at as u128 + 2 + width as u128 + mask + length) else { return places };
        if end > bytes.len() {
            return places;
        }
        places.boundaries.push(end);
        at = end;
    }
    // One byte of a frame.
    if bytes.get(at).is_some_and(|first| first & 15 == 8) && places.closed_at.is_none() {
        places.closed_at = Some(at);
    }
    places
}
