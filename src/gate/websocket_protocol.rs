//! Tokens among the protocols that the client of a WebSocket offers (RFC 6455 §11.3.4): pages can set no other field of a
//! handshake.
//!
//! An offer that carries a token is the configured word, a dot and the token. Words that begin with `base64url.` say, as
//! those of Kubernetes and Phoenix do, that the token is encoded once more (RFC 4648 §5, without padding).
//!
//! Every `Sec-WebSocket-Protocol` field counts: they are one list.
use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};

use crate::gate::{
    field_change::FieldChange,
    rejection::{Refusal, Rejection},
    request::Request,
};

/// The field, in requests and responses.
pub const FIELD: HeaderName = header::SEC_WEBSOCKET_PROTOCOL;

/// What a word begins with whose tokens are encoded once more.
const ENCODED: &str = "base64url.";

/// Whether a request asks for a WebSocket (RFC 6455 §4.1), in the one way in which that is ever passed on.
pub fn is_handshake(request: &Request<'_>) -> bool {
    request.version == Version::HTTP_11 && request.method == Method::GET.as_str() && is_asked_for(request.headers)
}

/// Whether the one thing that a request asks to be upgraded to is a WebSocket. Of several fields nobody knows which one counts to
/// others.
pub fn is_asked_for(headers: &HeaderMap) -> bool {
    let mut asked = headers.get_all(header::UPGRADE).iter();
    asked.next().is_some_and(is_websocket) && asked.next().is_none()
}

/// Whether a value of `Upgrade` names WebSockets, and nothing besides.
pub fn is_websocket(value: &HeaderValue) -> bool {
    value.as_bytes().eq_ignore_ascii_case(b"websocket")
}

/// The offer that carries a token.
pub fn offer(word: &str, token: &str) -> String {
    if word.starts_with(ENCODED) {
        format!("{word}.{}", URL_SAFE_NO_PAD.encode(token))
    } else {
        format!("{word}.{token}")
    }
}

/// Whether no offer can carry a token by both of these words.
pub fn are_distinct(one: &str, other: &str) -> bool {
    carried(one.as_bytes(), other).is_none() && carried(other.as_bytes(), one).is_none()
}

/// The token that is offered by a word.
///
/// # Errors
/// [`Rejection::TokenRepeated`] for two; [`Rejection::TokenMalformed`] for what cannot be one; [`Rejection::RequestMalformed`]
/// when nothing else is offered: the token is no protocol that a server may choose, and browsers close a WebSocket for which
/// none of those that they offered was chosen.
pub fn token<'r>(headers: &'r HeaderMap, word: &str) -> Result<Option<Cow<'r, str>>, Refusal> {
    let mut tokens = offers(headers, &FIELD).filter_map(|offer| carried(offer, word));
    let Some(found) = tokens.next() else { return Ok(None) };
    if tokens.next().is_some() {
        return Err(Refusal::new(Rejection::TokenRepeated).because("two tokens in Sec-WebSocket-Protocol"));
    }
    if offers(headers, &FIELD).nth(1).is_none() {
        let detail = "Sec-WebSocket-Protocol offers nothing besides the token that a server may choose";
        return Err(Refusal::new(Rejection::RequestMalformed).because(detail));
    }
    let text = if word.starts_with(ENCODED) {
        let decoded = URL_SAFE_NO_PAD.decode(found).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        decoded.map(Cow::Owned)
    } else {
        std::str::from_utf8(found).ok().map(Cow::Borrowed)
    };
    match text.filter(|text| !text.is_empty() && text.is_ascii()) {
        Some(text) => Ok(Some(text)),
        None => {
            let detail = "what Sec-WebSocket-Protocol carries is no token";
            Err(Refusal::new(Rejection::TokenMalformed).because(detail))
        }
    }
}

/// What is forwarded of the offers when those leave that carry a token by one of `words`. The others stay in their order.
pub fn forwarded<'w, I: Iterator<Item = &'w str>>(headers: &HeaderMap, words: impl Fn() -> I) -> FieldChange {
    let leaves = |offer: &[u8]| words().any(|word| carried(offer, word).is_some());
    if !offers(headers, &FIELD).any(&leaves) {
        return FieldChange::Unchanged;
    }
    let kept: Vec<&[u8]> = offers(headers, &FIELD).filter(|offer| !leaves(offer)).collect();
    if kept.is_empty() {
        return FieldChange::Removed;
    }
    // Parts of values, joined by visible characters, are a value.
    HeaderValue::from_bytes(&kept.join(&b", "[..])).map_or(FieldChange::Removed, FieldChange::Replaced)
}

/// Whether what a server chose carries a token by one of `words`.
pub fn tells_token<'w>(headers: &HeaderMap, mut words: impl Iterator<Item = &'w str>) -> bool {
    headers.contains_key(&FIELD)
        && words.any(|word| offers(headers, &FIELD).any(|chosen| carried(chosen, word).is_some()))
}

/// Elements of the list (RFC 9110 §5.6.1), empty ones left out.
fn offers<'r>(headers: &'r HeaderMap, field: &HeaderName) -> impl Iterator<Item = &'r [u8]> + use<'r> {
    let elements = headers.get_all(field).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    elements.map(<[u8]>::trim_ascii).filter(|offer| !offer.is_empty())
}

/// What an offer carries by a word. Protocols differ in case (RFC 6455 §1.9).
fn carried<'o>(offer: &'o [u8], word: &str) -> Option<&'o [u8]> {
    offer.strip_prefix(word.as_bytes())?.strip_prefix(b".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::route::ListenerId;
    use proptest::prelude::*;

    const K8S: &str = "base64url.bearer.authorization.k8s.io";

    fn headers<B: AsRef<[u8]>>(fields: &[B]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(FIELD, HeaderValue::from_bytes(field.as_ref()).unwrap());
        }
        headers
    }

    #[test]
    fn one_offer_carries_the_token_and_another_is_beside_it() {
        use Rejection::{RequestMalformed, TokenMalformed, TokenRepeated};
        type Row<'r> = (&'r str, &'r [&'r str], Result<Option<&'r str>, Rejection>);
        let rows: &[Row<'_>] = &[
            ("bearer", &[], Ok(None)),
            ("bearer", &["chat"], Ok(None)),
            ("bearer", &["bearer.a.b.c, chat"], Ok(Some("a.b.c"))),
            ("bearer", &["chat ,\tbearer.a.b.c"], Ok(Some("a.b.c"))),
            ("bearer", &["chat", "bearer.a.b.c"], Ok(Some("a.b.c"))),
            ("bearer", &["chat,,bearer.t,"], Ok(Some("t"))),
            ("bearer", &["bearer, t, bearert, Bearer.t, xbearer.t"], Ok(None)),
            ("bearer", &["bearer.t"], Err(RequestMalformed)),
            ("bearer", &["bearer.t,, "], Err(RequestMalformed)),
            ("bearer", &["bearer.t, bearer.u, chat"], Err(TokenRepeated)),
            ("bearer", &["bearer.t", "bearer.t"], Err(TokenRepeated)),
            ("bearer", &["bearer., chat"], Err(TokenMalformed)),
            ("bearer", &["bearer.\u{e9}, chat"], Err(TokenMalformed)),
            (K8S, &["base64url.bearer.authorization.k8s.io.YS5iLmM, chat"], Ok(Some("a.b.c"))),
            // Padded, of another alphabet, with bits that no byte has, of no text, and not encoded at all.
            (K8S, &["base64url.bearer.authorization.k8s.io.YS5iLg==, chat"], Err(TokenMalformed)),
            (K8S, &["base64url.bearer.authorization.k8s.io.Pz8/, chat"], Err(TokenMalformed)),
            (K8S, &["base64url.bearer.authorization.k8s.io.YS5iLh, chat"], Err(TokenMalformed)),
            (K8S, &["base64url.bearer.authorization.k8s.io._w, chat"], Err(TokenMalformed)),
            (K8S, &["base64url.bearer.authorization.k8s.io.w6k, chat"], Err(TokenMalformed)),
            (K8S, &["base64url.bearer.authorization.k8s.io.a.b.c, chat"], Err(TokenMalformed)),
            (K8S, &["base64url.bearer.authorization.k8s.io., chat"], Err(TokenMalformed)),
        ];
        for (word, fields, expected) in rows {
            let headers = headers(fields);
            let found = token(&headers, word).map_err(|refusal| refusal.rejection());
            assert_eq!(found.as_ref().map(Option::as_deref), expected.as_ref().map(|token| *token), "{fields:?}");
        }
    }

    #[test]
    fn what_carries_a_token_leaves_and_the_others_stay() {
        let to = |text: &'static str| FieldChange::Replaced(HeaderValue::from_static(text));
        for (fields, expected) in [
            (&[][..], FieldChange::Unchanged),
            (&["chat , superchat"], FieldChange::Unchanged),
            (&["bearer.t"], FieldChange::Removed),
            (&["bearer.t, bearer.u,", "other.v"], FieldChange::Removed),
            (&["a, bearer.t ,b"], to("a, b")),
            (&["a", "bearer.t", "b, c"], to("a, b, c")),
            (&["bearer, Bearer.t, bearer."], to("bearer, Bearer.t")),
        ] {
            assert_eq!(forwarded(&headers(fields), || ["bearer", "other"].into_iter()), expected, "{fields:?}");
        }
        assert!(tells_token(&headers(&["other.v"]), ["bearer", "other"].into_iter()));
        assert!(!tells_token(&headers(&["chat"]), ["bearer", "other"].into_iter()));
    }

    #[test]
    fn only_a_get_of_http_1_1_that_upgrades_to_a_websocket_is_a_handshake() {
        for (method, version, upgrade, expected) in [
            ("GET", Version::HTTP_11, "websocket", true),
            ("GET", Version::HTTP_11, "WebSocket", true),
            ("GET", Version::HTTP_11, "h2c", false),
            ("GET", Version::HTTP_11, "websocket, h2c", false),
            ("GET", Version::HTTP_11, "h2c;websocket", false),
            ("GET", Version::HTTP_11, "websocket;h2c", false),
            ("GET", Version::HTTP_11, "websocket;websocket", false),
            ("GET", Version::HTTP_11, "", false),
            ("GET", Version::HTTP_10, "websocket", false),
            ("GET", Version::HTTP_2, "websocket", false),
            ("POST", Version::HTTP_11, "websocket", false),
            ("get", Version::HTTP_11, "websocket", false),
        ] {
            let mut headers = HeaderMap::new();
            for field in upgrade.split(';') {
                headers.append(header::UPGRADE, HeaderValue::from_static(field));
            }
            let request = Request {
                listener: ListenerId(0),
                client: None,
                version,
                is_encrypted: false,
                method,
                authority: None,
                path: "/",
                query: None,
                headers: &headers,
                target_bytes: 1,
                presented: None,
            };
            assert_eq!(is_handshake(&request), expected, "{method} {version:?} {upgrade}");
        }
    }

    #[test]
    fn words_are_distinct_unless_one_goes_on_from_the_other() {
        for (one, other, expected) in
            [("a", "b", true), ("a", "ab", true), ("a", "a.b", false), ("a.b", "a", false), ("a.b", "a.c", true)]
        {
            assert_eq!(are_distinct(one, other), expected, "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn a_token_that_is_offered_is_found_and_nothing_of_it_is_forwarded(
            before in prop::collection::vec("[a-z.]{1,6}", 0..4),
            after in prop::collection::vec("[a-z.]{1,6}", 0..4),
            text in "[A-Za-z0-9_-]{1,9}\\.[A-Za-z0-9_-]{1,9}\\.[A-Za-z0-9_-]{1,9}",
            word in prop::sample::select(vec!["bearer", K8S]),
            separator in prop::sample::select(vec![",", ", ", " ,\t"]),
        ) {
            let carrier = offer(word, &text);
            let all: Vec<&str> =
                before.iter().map(String::as_str).chain([carrier.as_str()]).chain(after.iter().map(String::as_str)).collect();
            let others: Vec<&str> = before.iter().chain(&after).map(String::as_str).collect();
            let headers = headers(&[all.join(separator)]);
            let found = token(&headers, word).map_err(|refusal| refusal.rejection());
            if others.is_empty() {
                prop_assert_eq!(found, Err(Rejection::RequestMalformed));
                prop_assert_eq!(forwarded(&headers, || [word].into_iter()), FieldChange::Removed);
            } else {
                let found = found.unwrap();
                prop_assert_eq!(found.as_deref(), Some(text.as_str()));
                let expected = FieldChange::Replaced(HeaderValue::from_str(&others.join(", ")).unwrap());
                prop_assert_eq!(forwarded(&headers, || [word].into_iter()), expected);
            }
        }

        #[test]
        fn any_bytes_are_read_to_their_end(fields in prop::collection::vec(prop::collection::vec(32u8.., 0..60), 0..3)) {
            let fields: Vec<_> = fields.iter().filter(|field| HeaderValue::from_bytes(field).is_ok()).collect();
            let headers = headers(&fields);
            if let FieldChange::Replaced(value) = forwarded(&headers, || ["a"].into_iter()) {
                let mut left = HeaderMap::new();
                left.insert(FIELD, value);
                prop_assert!(!tells_token(&left, ["a"].into_iter()));
                prop_assert_eq!(token(&left, "a").unwrap(), None);
            }
            let _ = token(&headers, "a");
        }
    }
}
