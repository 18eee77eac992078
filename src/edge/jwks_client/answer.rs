//! What the head of an answer says: whether it can be a key set, how long it stays fresh, how to ask
//! for changes only, where a redirect leads. Pure
//! reading of header fields; it asks nobody and trusts nothing.
use std::time::{Duration, SystemTime};

use ureq::http::header::{AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, DATE, ETAG, LOCATION};
use ureq::http::{HeaderMap, HeaderName, Uri};

use crate::edge::jwks_client::FetchError;

/// The largest freshness that is told apart: RFC 9111 §1.2.2 asks for no more.
const FRESHNESS_MAX: Duration = Duration::from_secs(1 << 31);
/// The longest entity tag that is kept and sent back.
const ENTITY_TAG_BYTES_MAX: usize = 256;

/// Refuses an answer that does not say it is JSON (RFC 7517 §8.5.2, RFC 6839 §3.1), or is compressed though nobody asked.
///
/// An answer without any type is let through: RFC 9110 §8.3 leaves the guess to the reader, and the parser of key sets
/// accepts nothing but a key set.
///
/// # Errors
/// [`FetchError::ContentEncoding`], [`FetchError::ContentType`].
pub fn check_type(headers: &HeaderMap) -> Result<(), FetchError> {
    if let Some(encoding) = text(headers, CONTENT_ENCODING)
        && !encoding.eq_ignore_ascii_case("identity")
    {
        return Err(FetchError::ContentEncoding);
    }
    let Some(declared) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let declared = String::from_utf8_lossy(declared.as_bytes());
    let essence = declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let subtype = essence.strip_prefix("application/").unwrap_or_default();
    if subtype == "json" || subtype.strip_suffix("+json").is_some_and(|kind| !kind.is_empty()) {
        Ok(())
    } else {
        Err(FetchError::ContentType(super::printable(&essence)))
    }
}

/// How long the answer says that it stays fresh: `max-age` less `Age` (RFC 9111 §4.2). Zero when it must not be kept or
/// asked again each time, or when the number makes no sense; `None` when nothing is said. `Expires` is not read.
pub fn freshness(headers: &HeaderMap) -> Option<Duration> {
    let mut freshness: Option<Duration> = None;
    for field in headers.get_all(CACHE_CONTROL) {
        let field = String::from_utf8_lossy(field.as_bytes());
        for directive in field.split(',') {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            let stated = match name.trim().to_ascii_lowercase().as_str() {
                "no-store" | "no-cache" => Duration::ZERO,
                "max-age" => delta_seconds(value.trim().trim_matches('"')),
                _ => continue,
            };
            // Said twice, the shorter counts.
            freshness = Some(freshness.map_or(stated, |earlier| earlier.min(stated)));
        }
    }
    freshness.map(|freshness| freshness.saturating_sub(age(headers)))
}

/// What the server's clock says now: when it answered (RFC 9110 §6.6.1), and for how long a cache has kept that since
/// (RFC 9111 §5.1).
pub fn date(headers: &HeaderMap) -> Option<SystemTime> {
    let date = text(headers, DATE)?;
    let timestamp = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
    SystemTime::from(timestamp).checked_add(age(headers))
}

fn age(headers: &HeaderMap) -> Duration {
    text(headers, AGE).map_or(Duration::ZERO, delta_seconds)
}

/// The tag by which the next request can ask whether anything has changed; `None` when there is none, or several, or
/// something that [`is_entity_tag`] refuses.
pub fn entity_tag(headers: &HeaderMap) -> Option<Box<str>> {
    let mut tags = headers.get_all(ETAG).iter();
    let tag = tags.next()?.to_str().ok()?.trim();
    (tags.next().is_none() && is_entity_tag(tag)).then(|| Box::from(tag))
}

/// Whether this is an entity tag, weak or strong (RFC 9110 §8.8.3), of at most [`ENTITY_TAG_BYTES_MAX`] bytes of ASCII.
pub fn is_entity_tag(text: &str) -> bool {
    let opaque = text.strip_prefix("W/").unwrap_or(text);
    let within = opaque.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    text.len() <= ENTITY_TAG_BYTES_MAX
        && within.is_some_and(|within| within.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"'))
}

/// Where a redirect from `here` leads, when that is the same scheme, host and port.
///
/// A server may move its key set about, and some add or take a final slash this way; but the configuration names who is
/// trusted, and that server cannot pass the trust on.
///
/// # Errors
/// [`FetchError::RedirectRefused`] when it leads elsewhere, or is neither a whole URL nor an absolute path.
pub fn redirect(here: &Uri, headers: &HeaderMap) -> Result<Uri, FetchError> {
    let location = text(headers, LOCATION).ok_or(FetchError::RedirectRefused)?;
    let origin = |uri: &Uri| Some((uri.scheme_str()?.to_ascii_lowercase(), super::server_of(uri)?));
    let origin_here = origin(here).ok_or(FetchError::RedirectRefused)?;
    let target = if location.starts_with('/') && !location.starts_with("//") {
        let authority = here.authority().ok_or(FetchError::RedirectRefused)?;
        format!("{}://{authority}{location}", origin_here.0).parse()
    } else {
        location.parse()
    };
    target.ok().filter(|target| origin(target).as_ref() == Some(&origin_here)).ok_or(FetchError::RedirectRefused)
}

/// RFC 9111 §1.2.2: digits, cut at a large number; anything else is stale.
fn delta_seconds(digits: &str) -> Duration {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Duration::ZERO;
    }
    digits.parse().map_or(FRESHNESS_MAX, |seconds| Duration::from_secs(seconds).min(FRESHNESS_MAX))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::{check_type, date, entity_tag, freshness, is_entity_tag, redirect};
    use crate::edge::jwks_client::FetchError;
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};
    use ureq::http::{HeaderMap, HeaderName, HeaderValue, Uri};

    /// A head of `name: value` lines.
    fn headers(head: &str) -> HeaderMap {
        let fields = head.lines().map(|line| line.split_once(": ").unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn only_json_and_what_has_no_type_can_be_a_key_set() {
        let rows = [
            (None, true),
            (Some("application/json"), true),
            (Some("Application/JSON; charset=utf-8"), true),
            (Some("application/jwk-set+json"), true),
            (Some("application/vnd.example+json;v=1"), true),
            (Some("application/+json"), false),
            (Some("application/jsonx"), false),
            (Some("text/html"), false),
            (Some("text/json"), false),
            (Some(""), false),
        ];
        for (declared, accepted) in rows {
            let head = declared.map(|value| format!("content-type: {value}")).unwrap_or_default();
            assert_eq!(check_type(&headers(&head)).is_ok(), accepted, "{declared:?}");
        }
        let compressed = headers("content-encoding: gzip\ncontent-type: application/json");
        assert_eq!(check_type(&compressed), Err(FetchError::ContentEncoding));
        assert_eq!(check_type(&headers("content-encoding: identity")), Ok(()));
    }

    #[test]
    fn freshness_is_max_age_less_age_and_zero_when_in_doubt() {
        let year = 31_536_000;
        let rows = [
            ("", None),
            ("cache-control: public", None),
            ("cache-control: public, Max-Age=300, must-revalidate", Some(300)),
            ("cache-control: max-age=\"300\"", Some(300)),
            ("cache-control: max-age=300\nage: 120", Some(180)),
            ("cache-control: max-age=300\nage: 301", Some(0)),
            ("cache-control: max-age=300\nage: soon", Some(300)),
            ("cache-control: max-age=300, no-cache", Some(0)),
            ("cache-control: no-store\ncache-control: max-age=300", Some(0)),
            ("cache-control: max-age=300, max-age=60", Some(60)),
            ("cache-control: s-maxage=5, max-age=31536000", Some(year)),
            ("cache-control: max-age=", Some(0)),
            ("cache-control: max-age=-5", Some(0)),
            ("cache-control: max-age=99999999999999999999999", Some(1 << 31)),
        ];
        for (head, expected) in rows {
            assert_eq!(freshness(&headers(head)), expected.map(Duration::from_secs), "{head:?}");
        }
    }

    #[test]
    fn the_date_is_read_as_http_writes_it() {
        let rows = [("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)), ("yesterday", None), ("", None)];
        for (value, expected) in rows {
            let expected = expected.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(date(&headers(&format!("date: {value}"))), expected, "{value}");
            let later = expected.map(|expected| expected + Duration::from_secs(90));
            assert_eq!(date(&headers(&format!("date: {value}\nage: 90"))), later, "{value} from a cache");
        }
    }

    #[test]
    fn an_entity_tag_is_kept_when_it_is_one_and_short() {
        let longest = format!("\"{}\"", "x".repeat(254));
        let kept = ["\"\"", "\"abc\"", "W/\"abc\"", "\"!#~\\\"", longest.as_str()];
        for tag in kept {
            assert_eq!(entity_tag(&headers(&format!("etag: {tag}"))).as_deref(), Some(tag));
        }
        let too_long = format!("\"{}\"", "x".repeat(255));
        let dropped = [
            "",
            "abc",
            "\"abc",
            "abc\"",
            "\"",
            "w/\"abc\"",
            "W/abc",
            "\"a b\"",
            "\"a\"b\"",
            "\"a\", \"b\"",
            too_long.as_str(),
        ];
        for tag in dropped {
            assert_eq!(entity_tag(&headers(&format!("etag: {tag}"))), None, "{tag}");
        }
        assert_eq!(entity_tag(&headers("etag: \"a\"\netag: \"b\"")), None);
        assert_eq!(entity_tag(&HeaderMap::new()), None);
        assert!(!is_entity_tag("\"ä\""));
    }

    #[test]
    fn a_redirect_stays_with_the_server_that_is_trusted() {
        let here: Uri = "https://auth.example.com/keys?v=1".parse().unwrap();
        let rows = [
            ("/keys/", Some("https://auth.example.com/keys/")),
            ("https://AUTH.example.com/other?a=b", Some("https://AUTH.example.com/other?a=b")),
            ("https://auth.example.com:443/keys", Some("https://auth.example.com:443/keys")),
            ("https://auth.example.com:8443/keys", None),
            ("http://auth.example.com/keys", None),
            ("https://evil.example.com/keys", None),
            ("https://auth.example.com@evil.example.com/keys", None),
            ("https://user@auth.example.com/keys", None),
            ("//evil.example.com/keys", None),
            ("keys", None),
            ("", None),
        ];
        for (location, expected) in rows {
            let target = redirect(&here, &headers(&format!("location: {location}")));
            assert_eq!(target.ok().map(|uri| uri.to_string()).as_deref(), expected, "{location}");
        }
        assert_eq!(redirect(&here, &HeaderMap::new()), Err(FetchError::RedirectRefused));
    }

    proptest! {
        #[test]
        fn a_redirect_never_leaves_its_server(location in "(https?:)?[/\\\\]{0,3}([a-z@:.0-9]{0,6}|keys\\.test(:443|:80)?)[a-z/?#@\\\\:]{0,8}") {
            let here: Uri = "https://keys.test/a".parse().unwrap();
            if let Ok(target) = redirect(&here, &headers(&format!("location: {location}"))) {
                prop_assert_eq!(target.scheme_str(), Some("https"));
                prop_assert!(target.host().is_some_and(|host| host.eq_ignore_ascii_case("keys.test")));
                prop_assert_eq!(target.port_u16().unwrap_or(443), 443);
                prop_assert!(!target.authority().unwrap().as_str().contains('@'));
            }
        }

        #[test]
        fn freshness_is_bounded_and_nothing_outweighs_no_store(
            directives in prop::collection::vec("no-store|No-Cache|max-age=\"?[0-9]{0,22}\"?|public|max-age|a=b", 0..5)
        ) {
            let told = freshness(&headers(&format!("cache-control: {}", directives.join(", "))));
            prop_assert!(told.is_none_or(|told| told <= Duration::from_secs(1 << 31)));
            if directives.iter().any(|directive| directive.starts_with("no-") || directive.starts_with("No-")) {
                prop_assert_eq!(told, Some(Duration::ZERO));
            }
        }
    }
}
