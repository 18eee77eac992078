//! The path of a request, in the one spelling that is both judged and forwarded.
//!
//! Escapes of unreserved characters are decoded (RFC 3986 §6.2.2.2 calls both spellings equal); nothing else is
//! changed. Whether an upstream could read the result as another resource is asked in `readings`.
use std::borrow::Cow;

/// A path with its unreserved escapes decoded and every other escape intact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPath<'r> {
    text: Cow<'r, str>,
}

/// Why a text is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFault {
    /// It does not begin with `/`.
    NotAbsolute,
    /// It holds a byte that no request target may hold: white space, a control character, anything but ASCII.
    ForbiddenByte,
    /// A `%` that is not followed by two hexadecimal digits.
    BrokenEscape,
}

impl<'r> RequestPath<'r> {
    /// Reads the path part of a request target, without its query.
    ///
    /// # Errors
    /// A [`PathFault`]; see there.
    pub fn parse(target: &'r str) -> Result<Self, PathFault> {
        if !target.starts_with('/') {
            return Err(PathFault::NotAbsolute);
        }
        let bytes = target.as_bytes();
        if !bytes.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
            return Err(PathFault::ForbiddenByte);
        }
        if !bytes.contains(&b'%') {
            return Ok(Self { text: Cow::Borrowed(target) });
        }
        let mut decoded = String::with_capacity(bytes.len());
        let mut changed = false;
        let mut rest = bytes;
        while let Some((first, after)) = rest.split_first() {
            if *first != b'%' {
                decoded.push(char::from(*first));
                rest = after;
                continue;
            }
            let (byte, after) = escaped_byte(after).ok_or(PathFault::BrokenEscape)?;
            if is_unreserved(byte) {
                decoded.push(char::from(byte));
                changed = true;
            } else {
                decoded.extend(rest.iter().take(3).map(|byte| char::from(*byte)));
            }
            rest = after;
        }
        Ok(Self { text: if changed { Cow::Owned(decoded) } else { Cow::Borrowed(target) } })
    }

    /// The path as it is judged and forwarded.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it differs from what the client wrote.
    pub fn was_decoded(&self) -> bool {
        matches!(self.text, Cow::Owned(_))
    }
}

/// The byte that the two hexadecimal digits at the start stand for, and what follows them.
pub(in crate::gate) fn escaped_byte(digits: &[u8]) -> Option<(u8, &[u8])> {
    let (pair, rest) = digits.split_at_checked(2)?;
    let [high, low] = pair else { return None };
    let value = |digit: &u8| char::from(*digit).to_digit(16);
    let byte = value(high)? * 16 + value(low)?;
    Some((u8::try_from(byte).ok()?, rest))
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_escapes_of_unreserved_characters_are_decoded() {
        for (target, text) in [
            ("/", "/"),
            ("/%61dmin", "/admin"),
            ("/%2e%2E/x", "/../x"),
            ("/a%2Fb", "/a%2Fb"),
            ("/a%2fb%7e", "/a%2fb~"),
            ("/%252e", "/%252e"),
            ("/a;b=1", "/a;b=1"),
            ("/a\\b", "/a\\b"),
            ("/%00", "/%00"),
        ] {
            assert_eq!(RequestPath::parse(target).unwrap().as_str(), text, "{target}");
        }
    }

    #[test]
    fn a_text_that_is_no_path_is_refused() {
        for (target, fault) in [
            ("", PathFault::NotAbsolute),
            ("*", PathFault::NotAbsolute),
            ("a/b", PathFault::NotAbsolute),
            ("/a b", PathFault::ForbiddenByte),
            ("/a\u{e9}", PathFault::ForbiddenByte),
            ("/a\u{7f}", PathFault::ForbiddenByte),
            ("/a#b", PathFault::ForbiddenByte),
            ("/%", PathFault::BrokenEscape),
            ("/%2", PathFault::BrokenEscape),
            ("/%zz", PathFault::BrokenEscape),
            ("/%+1", PathFault::BrokenEscape),
            ("/%%32e", PathFault::BrokenEscape),
        ] {
            assert_eq!(RequestPath::parse(target), Err(fault), "{target:?}");
        }
    }

    proptest! {
        #[test]
        fn however_a_path_is_escaped_it_is_judged_in_one_spelling(
            letters in prop::collection::vec(("[a-zA-Z0-9._~/;:@!$&()*+,=-]", 0..4_u8), 0..30)
        ) {
            let (mut plain, mut escaped) = ("/".to_owned(), "/".to_owned());
            for (letter, spelling) in &letters {
                let byte = letter.as_bytes()[0];
                plain.push_str(letter);
                match spelling {
                    0 if is_unreserved(byte) => escaped.push_str(&format!("%{byte:02x}")),
                    1 if is_unreserved(byte) => escaped.push_str(&format!("%{byte:02X}")),
                    _ => escaped.push_str(letter),
                }
            }
            let judged = RequestPath::parse(&escaped).unwrap();
            prop_assert_eq!(judged.as_str(), &plain);
            prop_assert_eq!(judged.was_decoded(), plain != escaped);
            let again = RequestPath::parse(judged.as_str()).unwrap();
            prop_assert_eq!(again.as_str(), judged.as_str());
        }
    }
}
