//! What a client of HTTP/2 sends, behind a first byte that says in which pieces it comes: streams are counted as another reader
//! does that has all of it at once, however it is cut.
#![no_main]
use libfuzzer_sys::fuzz_target;
use portcullis::edge::guard::frames::{Frames, PREFACE};

fuzz_target!(|data: &[u8]| {
    let Some((size, bytes)) = data.split_first() else { return };
    // So that few bytes are enough for many streams that are taken back.
    let abuse = [0, 0, 0, 3, 0, 0, 0, 0, 1].repeat(101);
    for bytes in [bytes.to_vec(), [PREFACE, bytes].concat(), [PREFACE, &abuse, bytes].concat()] {
        let mut frames = Frames::default();
        bytes.chunks(usize::from(*size).max(1)).for_each(|piece| frames.see(piece));
        assert_eq!(frames.have_begun(), bytes.len() >= PREFACE.len());
        let (mut at, mut opened, mut reset) = (PREFACE.len(), 0, 0);
        while let Some([first, second, third, kind, _, _, _, _, _, ..]) = bytes.get(at..) {
            at += 9 + (usize::from(*first) * 256 + usize::from(*second)) * 256 + usize::from(*third);
            opened += usize::from(*kind == 1);
            reset += usize::from(*kind == 3);
        }
        assert_eq!(frames.is_abuse(), reset > 100 && reset > opened / 2);
    }
});
