//! Where an issuer's metadata is, and which URLs may be fetched on an issuer's word. Pure text; it asks nobody.
use std::fmt;

use ureq::http::Uri;

use crate::gate::host::Host;

/// OpenID Connect Discovery 1.0 §4, after the issuer.
const OPENID: &str = "/.well-known/openid-configuration";
/// RFC 8414 §3.1, between host and path of the issuer.
const OAUTH: &str = "/.well-known/oauth-authorization-server";
/// The longest URL that is fetched or kept.
pub(super) const URL_BYTES_MAX: usize = 2048;

/// Why a text is not used as a URL. Shows nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlFault {
    /// Longer than 2048 bytes.
    TooLong,
    /// Not an absolute http or https URL.
    NotAUrl,
    /// No host, or one that cannot be one.
    Host,
    /// It names a user.
    User,
    /// It has a fragment.
    Fragment,
    /// It has a query, which an issuer cannot have (RFC 8414 §2).
    Query,
    /// It is http, which was not allowed.
    PlainHttp,
}

impl fmt::Display for UrlFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::TooLong => "it is longer than 2048 bytes",
            Self::NotAUrl => "it is not an absolute https url",
            Self::Host => "it has no valid host",
            Self::User => "it has a user name or password",
            Self::Fragment => "it has a fragment (`#...`)",
            Self::Query => "it has a query (`?...`), which an issuer cannot have",
            Self::PlainHttp => "it is plain http, which `insecure_http` would have to allow",
        })
    }
}

/// Where the metadata of `issuer` is: first by OpenID Connect Discovery, then by RFC 8414.
pub(super) fn addresses(issuer: &str, insecure_http: bool) -> Result<[String; 2], UrlFault> {
    check_issuer(issuer, insecure_http)?;
    let (origin, path) = origin_and_path(issuer);
    Ok([format!("{origin}{path}{OPENID}"), format!("{origin}{OAUTH}{path}")])
}

/// Whether metadata found at `url` may speak for `issuer`: either name after it or in the midst of it, because some servers
/// use each in the other's place. Only the issuer with and without a final slash have one place.
pub(super) fn is_metadata_of(issuer: &str, url: &str) -> bool {
    let (origin, path) = origin_and_path(issuer);
    [OPENID, OAUTH].iter().any(|name| format!("{origin}{path}{name}") == url || format!("{origin}{name}{path}") == url)
}

/// Whether a URL names metadata itself, and not an issuer.
pub(super) fn is_metadata(url: &str) -> bool {
    [OPENID, OAUTH].iter().any(|name| url.contains(name))
}

/// Whether a text may be an issuer whose metadata is looked for (RFC 8414 §2).
pub(super) fn check_issuer(issuer: &str, insecure_http: bool) -> Result<(), UrlFault> {
    check(issuer, insecure_http)?;
    if issuer.contains('?') { Err(UrlFault::Query) } else { Ok(()) }
}

/// Whether a URL may be fetched: the rules of a configured one, and no longer than [`URL_BYTES_MAX`].
pub(super) fn check(url: &str, insecure_http: bool) -> Result<(), UrlFault> {
    if url.len() > URL_BYTES_MAX {
        return Err(UrlFault::TooLong);
    }
    let (scheme, rest) = url.split_once("://").ok_or(UrlFault::NotAUrl)?;
    let is_https = scheme.eq_ignore_ascii_case("https");
    if !is_https && !scheme.eq_ignore_ascii_case("http") || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(UrlFault::NotAUrl);
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        Err(UrlFault::User)
    } else if url.contains('#') {
        Err(UrlFault::Fragment)
    } else if Host::parse(authority).is_err() {
        Err(UrlFault::Host)
    } else if url.parse::<Uri>().is_err() {
        Err(UrlFault::NotAUrl)
    } else if !is_https && !insecure_http {
        Err(UrlFault::PlainHttp)
    } else {
        Ok(())
    }
}

/// Scheme and authority, and the path without its final slash, which both rules leave out.
fn origin_and_path(issuer: &str) -> (&str, &str) {
    let start = issuer.find("://").map_or(0, |position| position + 3);
    let slash = issuer.bytes().skip(start).position(|byte| byte == b'/').map_or(issuer.len(), |offset| start + offset);
    let (origin, path) = issuer.split_at_checked(slash).unwrap_or((issuer, ""));
    (origin, path.strip_suffix('/').unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn openid_appends_and_oauth_inserts() {
        let rows = [
            (
                "https://as.example.com",
                "https://as.example.com/.well-known/openid-configuration",
                "https://as.example.com/.well-known/oauth-authorization-server",
            ),
            (
                "https://as.example.com/",
                "https://as.example.com/.well-known/openid-configuration",
                "https://as.example.com/.well-known/oauth-authorization-server",
            ),
            (
                "https://as.example.com/t1",
                "https://as.example.com/t1/.well-known/openid-configuration",
                "https://as.example.com/.well-known/oauth-authorization-server/t1",
            ),
            (
                "https://as.example.com:8443/realms/t1/",
                "https://as.example.com:8443/realms/t1/.well-known/openid-configuration",
                "https://as.example.com:8443/.well-known/oauth-authorization-server/realms/t1",
            ),
            (
                "https://[::1]/t1//",
                "https://[::1]/t1//.well-known/openid-configuration",
                "https://[::1]/.well-known/oauth-authorization-server/t1/",
            ),
        ];
        for (issuer, openid, oauth) in rows {
            assert_eq!(addresses(issuer, false), Ok([openid.to_owned(), oauth.to_owned()]), "{issuer}");
            assert!(is_metadata_of(issuer, openid) && is_metadata_of(issuer, oauth), "{issuer}");
            assert!(is_metadata(openid) && is_metadata(oauth) && !is_metadata(issuer), "{issuer}");
        }
    }

    #[test]
    fn metadata_speaks_for_the_issuer_of_its_place_alone() {
        let rows = [
            ("https://a.test/t1", "https://a.test/t1/.well-known/oauth-authorization-server", true),
            ("https://a.test/t1", "https://a.test/.well-known/openid-configuration/t1", true),
            ("https://a.test/t1/", "https://a.test/t1/.well-known/openid-configuration", true),
            ("https://a.test/t1", "https://a.test/t2/.well-known/openid-configuration", false),
            ("https://a.test", "https://a.test/t1/.well-known/openid-configuration", false),
            ("https://a.test/t1", "https://a.test/.well-known/openid-configuration", false),
            ("https://b.test/t1", "https://a.test/t1/.well-known/openid-configuration", false),
            ("http://a.test/t1", "https://a.test/t1/.well-known/openid-configuration", false),
            ("https://a.test/t1", "https://a.test/t1/.well-known/openid-configuration?x", false),
            ("", "/.well-known/openid-configuration-of-others", false),
        ];
        for (issuer, url, expected) in rows {
            assert_eq!(is_metadata_of(issuer, url), expected, "{issuer} {url}");
        }
    }

    #[test]
    fn a_url_is_fetched_by_the_rules_of_a_configured_one() {
        let longest = format!("https://a.test/{}", "x".repeat(URL_BYTES_MAX - 15));
        let too_long = format!("{longest}x");
        let rows = [
            ("https://a.test/keys?v=1", Ok(())),
            ("HTTPS://a.test:8443", Ok(())),
            ("https://[::1]:8443/keys", Ok(())),
            (longest.as_str(), Ok(())),
            (too_long.as_str(), Err(UrlFault::TooLong)),
            ("http://a.test/keys", Err(UrlFault::PlainHttp)),
            ("ftp://a.test/keys", Err(UrlFault::NotAUrl)),
            ("file:///etc/passwd", Err(UrlFault::NotAUrl)),
            ("//a.test/keys", Err(UrlFault::NotAUrl)),
            ("/keys", Err(UrlFault::NotAUrl)),
            ("", Err(UrlFault::NotAUrl)),
            ("https://a.test/a b", Err(UrlFault::NotAUrl)),
            ("https://a.test/\r\nEvil: x", Err(UrlFault::NotAUrl)),
            ("https://a.test/\u{e4}", Err(UrlFault::NotAUrl)),
            ("https://", Err(UrlFault::Host)),
            ("https:///keys", Err(UrlFault::Host)),
            ("https://a.test:99999/keys", Err(UrlFault::Host)),
            ("https://user@a.test/keys", Err(UrlFault::User)),
            ("https://user:pass@a.test/keys", Err(UrlFault::User)),
            ("https://a.test\\@b.test/keys", Err(UrlFault::User)),
            ("https://a.test/keys#f", Err(UrlFault::Fragment)),
            ("https://a.test#@b.test/keys", Err(UrlFault::Fragment)),
        ];
        for (url, expected) in rows {
            assert_eq!(check(url, false), expected, "{url}");
        }
        assert_eq!(check("http://a.test/keys", true), Ok(()));
        assert_eq!(addresses("https://a.test/?tenant=1", false), Err(UrlFault::Query));
        assert_eq!(addresses("http://a.test/", false), Err(UrlFault::PlainHttp));
    }

    proptest! {
        #[test]
        fn any_issuer_is_answered(issuer in prop_oneof![".*", "https?://[a-z:/@#?.\\[\\]%]{0,20}"]) {
            let _ = is_metadata_of(&issuer, &issuer);
            if let Ok(found) = addresses(&issuer, false) {
                prop_assert!(found.iter().all(|url| is_metadata(url) && is_metadata_of(&issuer, url)));
                prop_assert!(found.iter().all(|url| url.parse::<Uri>().is_ok()));
            }
        }
    }
}
