//! The cookies of a request (RFC 6265 §4.2): found by name, and taken out so that the others stay as they were sent.
//!
//! Every `Cookie` field counts, since HTTP/2 may send one for each cookie (RFC 9113 §8.2.3). Only `;` ends a cookie, and
//! only space and tab around it are ignored: whatever else some server trims or splits at could stand in a cookie that
//! another site has set, and make it pass for one whose prefix no other site can set.
use http::{HeaderMap, HeaderValue, header};

use crate::gate::field_change::FieldChange;

/// The values of the cookies of this name, in their order.
pub fn values<'r, 'n>(headers: &'r HeaderMap, name: &'n str) -> impl Iterator<Item = &'r [u8]> + use<'r, 'n> {
    let fields = headers.get_all(header::COOKIE).iter();
    let pairs = fields.flat_map(|field| cookies(field.as_bytes())).map(name_and_value);
    pairs.filter(move |(found, _)| *found == name.as_bytes()).map(|(_, value)| value)
}

/// What is forwarded of the cookies when those leave whose name `leaves` says so.
///
/// Several fields become one, as RFC 9113 §8.2.3 asks: HTTP/1 knows one only (RFC 6265 §5.4), and servers differ in which
/// of several they read.
pub fn forwarded(headers: &HeaderMap, leaves: impl Fn(&[u8]) -> bool) -> FieldChange {
    let mut fields = headers.get_all(header::COOKIE).iter();
    let Some(first) = fields.next() else { return FieldChange::Unchanged };
    let leaves_cookie = |cookie: &[u8]| leaves(name_and_value(cookie).0);
    if headers.get_all(header::COOKIE).iter().nth(1).is_none() && !cookies(first.as_bytes()).any(leaves_cookie) {
        return FieldChange::Unchanged;
    }
    let mut kept: Vec<u8> = Vec::with_capacity(first.len());
    for field in [first].into_iter().chain(fields) {
        let start = kept.len();
        let mut is_first = true;
        for (position, cookie) in cookies(field.as_bytes()).enumerate() {
            if leaves_cookie(cookie) {
                continue;
            }
            // What stood before is gone, and with it what separated the two.
            let cookie = if is_first && position > 0 { cookie.trim_ascii_start() } else { cookie };
            match (is_first, start) {
                (false, _) => kept.push(b';'),
                (true, 0) => {}
                (true, _) => kept.extend_from_slice(b"; "),
            }
            kept.extend_from_slice(cookie);
            is_first = false;
        }
        if kept.get(start..).is_some_and(|added| added.iter().all(|byte| b"; \t".contains(byte))) {
            kept.truncate(start);
        }
    }
    if kept.is_empty() {
        return FieldChange::Removed;
    }
    // Parts of values, joined by visible characters, are a value.
    HeaderValue::from_bytes(&kept).map_or(FieldChange::Removed, FieldChange::Replaced)
}

/// The cookies of one field as they stand, with the spaces around them.
fn cookies(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    field.split(|byte| *byte == b';')
}

/// A cookie without `=` is a name without value: a server that takes it for one must not find the token there either.
fn name_and_value(cookie: &[u8]) -> (&[u8], &[u8]) {
    let equals = cookie.iter().position(|byte| *byte == b'=').unwrap_or(cookie.len());
    let (name, value) = cookie.split_at_checked(equals).unwrap_or((cookie, b""));
    (trimmed(name), trimmed(value.get(1..).unwrap_or_default()))
}

fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers<B: AsRef<[u8]>>(fields: &[B]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(header::COOKIE, HeaderValue::from_bytes(field.as_ref()).unwrap());
        }
        headers
    }

    #[test]
    fn a_cookie_is_found_by_its_exact_name_in_every_field() {
        for (fields, expected) in [
            (&[][..], &[][..]),
            (&["s=T"], &["T"]),
            (&["a=1; s=T; b=2"], &["T"]),
            (&["a=1;s=T;b=2"], &["T"]),
            (&["a=1", "s=T", "b=2"], &["T"]),
            (&["s=T; s=U"], &["T", "U"]),
            (&["s=T", "s=T"], &["T", "T"]),
            (&["s=a=b"], &["a=b"]),
            (&[" s = T "], &["T"]),
            (&["s"], &[""]),
            (&["s="], &[""]),
            (&["s=\"T\""], &["\"T\""]),
            (&["S=T; xs=T; sx=T; =s; a=s=T; a=1,s=T"], &[]),
            (&["a=\"x; s=T; y\""], &["T"]),
        ] {
            let found: Vec<String> =
                values(&headers(fields), "s").map(|value| String::from_utf8(value.to_vec()).unwrap()).collect();
            assert_eq!(found, expected, "{fields:?}");
        }
        // Some servers take other bytes for spaces.
        for byte in [0x85_u8, 0xa0] {
            let field = [&[byte][..], b"s=T"].concat();
            assert_eq!(values(&headers(&[field]), "s").count(), 0, "{byte:#x}");
        }
    }

    #[test]
    fn the_others_stay_as_they_were_sent() {
        let unchanged = FieldChange::Unchanged;
        let to = |text: &'static str| FieldChange::Replaced(HeaderValue::from_static(text));
        for (fields, expected) in [
            (&[][..], unchanged.clone()),
            (&["a=1; b=2;c=\"3\""], unchanged.clone()),
            (&["S=T; xs=1"], unchanged),
            (&["s=T"], FieldChange::Removed),
            (&["s=T; "], FieldChange::Removed),
            (&["s=T; s"], FieldChange::Removed),
            (&["s=T", "s=T"], FieldChange::Removed),
            (&["a=1; s=T; b=2"], to("a=1; b=2")),
            (&["a=1;s=T;b=2"], to("a=1;b=2")),
            (&["s=T; b=%41,\"x\" ;  c"], to("b=%41,\"x\" ;  c")),
            (&["a=1; s=T"], to("a=1")),
            (&["a=1;; s=T; s=U;"], to("a=1;;")),
            (&["a=1", "b=2"], to("a=1; b=2")),
            (&["a=1", "s=T", "b=2; c=3"], to("a=1; b=2; c=3")),
            (&["s=T", "b=2"], to("b=2")),
            (&["", "b=2"], to("b=2")),
        ] {
            assert_eq!(forwarded(&headers(fields), |name| name == b"s"), expected, "{fields:?}");
        }
    }

    fn field() -> impl Strategy<Value = Vec<u8>> {
        let cookie = prop_oneof![
            3 => "[ \t]{0,2}[sab]{0,2}[ \t]?=?[ -:<-~]{0,4}".prop_map(String::into_bytes),
            1 => prop::collection::vec(prop_oneof![Just(b'\t'), 0x20_u8..0x7f, 0x80_u8..], 0..6),
        ];
        prop::collection::vec(cookie, 0..5).prop_map(|cookies| cookies.join(&b';'))
    }

    proptest! {
        #[test]
        fn exactly_the_cookies_of_the_name_leave(fields in prop::collection::vec(field(), 0..4)) {
            let before = headers(&fields);
            let pairs = |headers: &HeaderMap| -> Vec<(Vec<u8>, Vec<u8>)> {
                let fields = headers.get_all(header::COOKIE).iter();
                let pairs = fields.flat_map(|field| cookies(field.as_bytes())).map(name_and_value);
                pairs.map(|(name, value)| (name.to_vec(), value.to_vec())).filter(|(name, value)| !(name.is_empty() && value.is_empty())).collect()
            };
            let after = match forwarded(&before, |name| name == b"s") {
                FieldChange::Unchanged => before.clone(),
                FieldChange::Removed => HeaderMap::new(),
                FieldChange::Replaced(value) => headers(&[value]),
            };
            let mut expected = pairs(&before);
            let found = expected.iter().filter(|(name, _)| name == b"s").count();
            expected.retain(|(name, _)| name != b"s");
            prop_assert_eq!(pairs(&after), expected);
            prop_assert_eq!(values(&before, "s").count(), found);
            prop_assert_eq!(values(&after, "s").count(), 0);
            prop_assert!(after.get_all(header::COOKIE).iter().count() <= 1);
        }
    }
}
