//! Every way in which a server behind the gate might read a path.
//!
//! Servers decode escapes once, twice or not at all, take `\` for `/`, merge slashes, cut `;parameters` and what
//! follows a NUL or a decoded `?` or `#`, and resolve dot segments, in whatever order. A path is safe to forward when all of these readings
//! pick the route that the plain reading picks. This file makes the readings; `route_table` compares the routes. Case
//! and trailing slash are readings too, but are handled there, as looser comparison.
//!
//! It never says that a path is harmless because it looks harmless: a path with more readings than
//! [`READINGS_MAX`] or [`READING_BYTES_MAX`] allow is refused.
use std::collections::BTreeSet;

use crate::gate::path::escaped_byte;

/// More readings than this are not looked at: such a path is refused as ambiguous.
pub const READINGS_MAX: usize = 64;
/// Nor are readings that have more bytes together: a request must not cost much before it is known whose it is.
pub const READING_BYTES_MAX: usize = 64 * 1024;

/// A path leads above the root in some reading, or has more readings than can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// What is known of the server that will read the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodedSlash {
    /// It might take `%2F` for `/`.
    MayDecode,
    /// It keeps `%2F` as a character of a segment (`encoded_slash: opaque`).
    Opaque,
}

/// Whether the path has only one reading: no escape, `\`, `;`, empty or dot segment.
pub fn is_plain(path: &str) -> bool {
    let mut previous = 0;
    for byte in path.bytes() {
        match byte {
            b'%' | b'\\' | b';' => return false,
            // A segment that begins with a dot is looked at more closely, even if it is only `.well-known`.
            b'/' | b'.' if previous == b'/' => return false,
            _ => previous = byte,
        }
    }
    true
}

/// Every reading of `path`, itself included.
///
/// # Errors
/// [`Unreadable`] when a reading climbs above the root, or when there are more than [`READINGS_MAX`] or
/// [`READING_BYTES_MAX`].
pub fn readings(path: &str, encoded_slash: EncodedSlash) -> Result<BTreeSet<Vec<u8>>, Unreadable> {
    // Each reading once for every number of decodings that led to it: at most two.
    let mut seen: BTreeSet<(u8, Vec<u8>)> = BTreeSet::new();
    let mut open = vec![(0_u8, path.as_bytes().to_vec())];
    let mut bytes = 0_usize;
    while let Some(found) = open.pop() {
        if seen.contains(&found) {
            continue;
        }
        let (decodings, reading) = found;
        bytes = bytes.saturating_add(reading.len());
        if seen.len() >= READINGS_MAX || bytes > READING_BYTES_MAX {
            return Err(Unreadable);
        }
        if decodings < 2 {
            let decoded = percent_decoded(&reading, encoded_slash);
            if has_overlong_utf8(&decoded) {
                return Err(Unreadable);
            }
            // A server that keeps `%2F` but decodes the rest sees other segments than one that decodes all.
            let kept_slashes = percent_decoded(&reading, EncodedSlash::Opaque);
            for next in [decoded, kept_slashes] {
                if next != reading {
                    open.push((decodings + 1, next));
                }
            }
        }
        for step in [backslash_as_slash, parameters_cut, cut_at_nul, cut_at_delimiter, slashes_merged] {
            let next = step(&reading);
            if next != reading {
                open.push((decodings, next));
            }
        }
        let resolved = dot_segments_resolved(&reading).ok_or(Unreadable)?;
        if resolved != reading {
            open.push((decodings, resolved));
        }
        seen.insert((decodings, reading));
    }
    Ok(seen.into_iter().map(|(_, reading)| reading).collect())
}

fn percent_decoded(reading: &[u8], encoded_slash: EncodedSlash) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(reading.len());
    let mut rest = reading;
    while let Some((first, after)) = rest.split_first() {
        match (*first, escaped_byte(after)) {
            (b'%', Some((b'/', following))) if encoded_slash == EncodedSlash::Opaque => {
                decoded.extend(rest.iter().take(3));
                rest = following;
            }
            (b'%', Some((byte, following))) => {
                decoded.push(byte);
                rest = following;
            }
            (byte, _) => {
                decoded.push(byte);
                rest = after;
            }
        }
    }
    decoded
}

/// Bytes that UTF-8 never has, by which careless decoders are given a `.` or `/` (RFC 3629 §10).
fn has_overlong_utf8(decoded: &[u8]) -> bool {
    decoded.iter().any(|byte| matches!(byte, 0xC0 | 0xC1))
        || decoded.windows(2).any(|pair| matches!(pair, [0xE0, ..0xA0] | [0xF0, ..0x90]))
}

fn backslash_as_slash(reading: &[u8]) -> Vec<u8> {
    reading.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect()
}

fn parameters_cut(reading: &[u8]) -> Vec<u8> {
    let segments: Vec<&[u8]> = reading
        .split(|byte| *byte == b'/')
        .map(|segment| segment.split(|byte| *byte == b';').next().unwrap_or_default())
        .collect();
    segments.join(&b'/')
}

fn cut_at_nul(reading: &[u8]) -> Vec<u8> {
    reading.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}

/// A decoded `?` or `#`, taken for the beginning of a query or fragment by a server that parses again.
fn cut_at_delimiter(reading: &[u8]) -> Vec<u8> {
    reading.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default().to_vec()
}

fn slashes_merged(reading: &[u8]) -> Vec<u8> {
    let mut merged: Vec<u8> = Vec::with_capacity(reading.len());
    for byte in reading {
        if *byte != b'/' || merged.last() != Some(&b'/') {
            merged.push(*byte);
        }
    }
    merged
}

/// RFC 3986 §5.2.4; nothing when a `..` has no segment to remove.
fn dot_segments_resolved(reading: &[u8]) -> Option<Vec<u8>> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = reading.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            b"." if is_last => kept.push(b""),
            b"." => {}
            b".." => {
                kept.pop()?;
                if is_last {
                    kept.push(b"");
                }
            }
            _ => kept.push(segment),
        }
    }
    let mut resolved = Vec::with_capacity(reading.len());
    for segment in kept {
        resolved.push(b'/');
        resolved.extend_from_slice(segment);
    }
    if resolved.is_empty() {
        resolved.push(b'/');
    }
    Some(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(path: &str, encoded_slash: EncodedSlash) -> Option<Vec<String>> {
        let readings = readings(path, encoded_slash).ok()?;
        Some(readings.iter().map(|reading| String::from_utf8_lossy(reading).into_owned()).collect())
    }

    #[test]
    fn every_spelling_of_a_climb_has_the_target_among_its_readings() {
        for path in [
            "/public/../admin",
            "/public/..;/admin",
            "/public/x%2fy/..%5c..%5cadmin",
            "/public/x%2fy/..%3b/..%3b/admin",
            "/public/..;x=1/admin",
            "/public%2F..%2Fadmin",
            "/public%2f..%2fadmin",
            "/public%5c..%5cadmin",
            "/public\\..\\admin",
            "/public/..%2fadmin",
            "/public/..%252fadmin",
            "/public/%252e%252e/admin",
            "//admin",
            "///admin",
            "/public/..//admin",
            "/./admin",
            "/admin;x",
            "/admin%00.png",
            "/admin%2500.png",
            "/admin%3fx",
            "/admin%2523",
            "/admin/.",
            "/admin/x/..",
        ] {
            let readings = read(path, EncodedSlash::MayDecode).expect(path);
            assert!(
                readings.iter().any(|reading| reading.trim_end_matches('/') == "/admin"),
                "{path} reads as {readings:?}"
            );
            assert!(!is_plain(path), "{path}");
        }
    }

    #[test]
    fn a_climb_above_the_root_is_unreadable() {
        for path in [
            "/..",
            "/../admin",
            "/a/../../b",
            "/%2e%2e%2fadmin",
            "/..;/admin",
            "/..\\admin",
            "/%252e%252e/x",
            "/a%c0%afb",
            "/%e0%80%ae",
        ] {
            let path = crate::gate::path::RequestPath::parse(path).unwrap();
            assert_eq!(readings(path.as_str(), EncodedSlash::MayDecode), Err(Unreadable), "{path:?}");
        }
    }

    #[test]
    fn an_opaque_encoded_slash_stays_part_of_its_segment() {
        assert_eq!(read("/files/a%2Fb", EncodedSlash::Opaque), Some(vec!["/files/a%2Fb".to_owned()]));
        let decoding = read("/files/a%2Fb", EncodedSlash::MayDecode).unwrap();
        assert!(decoding.contains(&"/files/a/b".to_owned()));
        assert_eq!(read("/x/..%2f..%2fy", EncodedSlash::Opaque).map(|readings| readings.len()), Some(1));
    }

    #[test]
    fn a_path_with_too_many_readings_is_unreadable() {
        let path: String = (0..30).map(|number| format!("/%25{number:02}%5c;a//./b%00")).collect();
        assert!(readings(&path, EncodedSlash::MayDecode).is_err());
    }

    #[test]
    fn a_path_whose_readings_have_too_many_bytes_is_unreadable() {
        let path = |segments: usize| format!("{}/%255c;a//./b", "/a".repeat(segments));
        assert!(readings(&path(20), EncodedSlash::MayDecode).is_ok());
        assert!(readings(&path(4000), EncodedSlash::MayDecode).is_err());
        let long_but_simple = format!("/{}%20b", "a".repeat(8000));
        assert!(readings(&long_but_simple, EncodedSlash::MayDecode).is_ok());
    }

    proptest! {
        #[test]
        fn a_plain_path_is_its_own_only_reading(path in "(/[a-zA-Z0-9_~:@!$&'()*+,=-][a-zA-Z0-9._~-]{0,6}){0,5}/?") {
            prop_assume!(!path.is_empty() && is_plain(&path));
            prop_assert_eq!(read(&path, EncodedSlash::MayDecode), Some(vec![path]));
        }

        #[test]
        fn no_spelling_of_a_climb_hides_it(
            below in prop::collection::vec("[a-z]{1,3}", 0..3),
            dots in prop::collection::vec("(\\.|%2e|%2E|%252e){2}(;|;x=1|%3b|%253b)?", 4),
            slashes in prop::collection::vec("/|//|/\\./|\\\\|%2f|%5C|%252f|%255c", 6)
        ) {
            // One step more than there are segments to climb.
            let climb = dots.iter().take(below.len() + 1).map(String::as_str);
            let segments = below.iter().map(String::as_str).chain(climb);
            let path: String =
                slashes.iter().zip(segments).flat_map(|(slash, segment)| [slash.as_str(), segment]).collect();
            let path = format!("/{}", path.trim_start_matches('/'));
            prop_assert_eq!(readings(&path, EncodedSlash::MayDecode), Err(Unreadable), "{}", path);
        }

        #[test]
        fn readings_never_panic_and_are_bounded(path in "/([%a-f0-9./;\\\\]|%2[fFeE5]|%5[cC]|%00|\\.\\.){0,40}") {
            if let Ok(readings) = readings(&path, EncodedSlash::MayDecode) {
                prop_assert!(readings.len() <= READINGS_MAX);
            }
        }
    }
}
