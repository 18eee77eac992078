//! Paths of routes and rewrites: texts that every server reads alike.
use crate::config::field::Field;
use crate::config::parse::context::Context;
use crate::gate::path::RequestPath;
use crate::gate::readings::{EncodedSlash, readings};

/// A path that is matched exactly; a final slash is part of it.
pub(in crate::config) fn exact(field: &Field<'_>, context: &mut Context<'_>) -> Option<Box<str>> {
    let text = field.string(&mut context.problems)?;
    match fault(text) {
        None => Some(Box::from(text)),
        Some((message, hint)) => {
            let problem = field.error(format!("{} {message}", field.title()));
            context.problems.add(match hint {
                Some(hint) => problem.with_hint(hint),
                None => problem,
            });
            None
        }
    }
}

/// A path and all below it: `/` is the empty text, and no other has a final slash.
pub(in crate::config) fn prefix(field: &Field<'_>, context: &mut Context<'_>) -> Option<Box<str>> {
    let text = exact(field, context)?;
    match text.strip_suffix('/') {
        None => Some(text),
        Some("") => Some(Box::default()),
        Some(shorter) => {
            let problem = field.error(format!("{} cannot end with `/`", field.title()));
            let hint = format!("write `{shorter}`; what comes below it begins with `/`");
            context.problems.add(if field.is_from_variable() { problem } else { problem.with_hint(hint) });
            None
        }
    }
}

/// Whether a text is a path with one reading.
pub(in crate::config) fn is_plain(text: &str) -> bool {
    fault(text).is_none()
}

/// What keeps a text from being a path with one reading, and what to do about it.
fn fault(text: &str) -> Option<(&'static str, Option<&'static str>)> {
    // RFC 3986 §3.3 without escapes, parameters and the `*` that people take for a pattern.
    let is_path_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()+,=:@".contains(&byte);
    if !text.starts_with('/') {
        return Some(("must begin with `/`", None));
    }
    if text.contains(['*', '{', '}']) {
        return Some(("is no pattern", Some("`path_prefix` takes everything below a path")));
    }
    if text.contains(['?', '#']) {
        return Some(("is a path alone, without query and fragment", None));
    }
    if text.contains('%') {
        return Some(("cannot hold escapes", Some("escapes in requests are decoded before routes are compared")));
    }
    if !text.bytes().all(is_path_byte) {
        return Some(("holds a character that a path of a route cannot have", None));
    }
    let reads_one_way = readings(text, EncodedSlash::MayDecode).is_ok_and(|found| found.len() == 1);
    let is_unchanged = RequestPath::parse(text).is_ok_and(|path| !path.was_decoded());
    if !reads_one_way || !is_unchanged {
        return Some(("must be read alike by every server", Some("without `//`, `.` and `..` between slashes")));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_a_route_has_exactly_one_reading() {
        for path in ["/", "/a", "/a/", "/.well-known/x", "/a.b/c~d", "/a:b@c", "/a..b", "/A_b-c"] {
            assert_eq!(fault(path), None, "{path}");
        }
        for path in [
            "", "a", "//", "/a//b", "/a/.", "/a/../b", "/..", "/.", "/a;b", "/a\\b", "/a%2fb", "/%61", "/a b", "/é",
            "/a?b", "/a#b", "/a*", "/{id}", "/a|b", "/a\0",
        ] {
            assert!(fault(path).is_some(), "{path}");
        }
    }
}
