//! When a token from a cookie counts: browsers add cookies to requests that another site's page makes, so the request must
//! show that no other site's page made it.
//!
//! It never asks for a secret in the request: browsers say where a request comes from, in fields that no page can set
//! (`Sec-Fetch-Site`, Fetch Metadata; `Origin`, Fetch).
use http::{HeaderName, header};

use crate::gate::{
    rejection::{Refusal, Rejection, quoted},
    request::Request,
    web_origin::{Stated, WebOrigin},
};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The other origins whose pages may use the cookie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CrossSiteRule {
    origins: Vec<Box<str>>,
}

impl CrossSiteRule {
    /// A rule that lets pages of these origins pass besides those of the request's own: each in the spelling of
    /// [`WebOrigin`].
    pub const fn new(origins: Vec<Box<str>>) -> Self {
        Self { origins }
    }

    /// The other origins.
    pub fn origins(&self) -> &[Box<str>] {
        &self.origins
    }

    /// Judges a request with a token in a cookie.
    ///
    /// A safe method (RFC 9110 §9.2.1) changes nothing, and its answer is kept from other sites by the browser; a
    /// WebSocket begins with a safe method and is not kept from anybody, so an upgrade is none.
    ///
    /// # Errors
    /// [`Rejection::CsrfRejected`]
    pub fn check(&self, request: &Request<'_>) -> Result<(), Refusal> {
        let is_safe = matches!(request.method, "GET" | "HEAD" | "OPTIONS");
        if is_safe && !request.headers.contains_key(header::UPGRADE) {
            return Ok(());
        }
        let origin = Stated::of(request.headers, &header::ORIGIN);
        let site = Stated::of(request.headers, &SEC_FETCH_SITE);
        if origin == Stated::Unclear || site == Stated::Unclear {
            return Err(rejected("Origin or Sec-Fetch-Site is there twice, or is no text"));
        }
        if let Stated::Once("same-origin" | "none") = site {
            return Ok(());
        }
        let Stated::Once(text) = origin else {
            return Err(rejected("neither Origin nor Sec-Fetch-Site says that no other site made the request"));
        };
        let is_listed = self.origins.iter().any(|allowed| allowed.as_ref() == text);
        // A browser that says where the request comes from knows better than the comparison: it sees both schemes.
        let is_own = || site == Stated::Nothing && is_own(text, request);
        if is_listed || is_own() {
            return Ok(());
        }
        Err(rejected(format!("the origin {} is not allowed", quoted(text))))
    }
}

fn is_own(text: &str, request: &Request<'_>) -> bool {
    let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = host.or(request.authority);
    let origin = WebOrigin::parse(text).ok();
    origin.zip(authority).is_some_and(|(origin, authority)| origin.is_of(authority, request.is_encrypted))
}

fn rejected(detail: impl Into<Box<str>>) -> Refusal {
    Refusal::new(Rejection::CsrfRejected).because(detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::route::ListenerId;
    use http::{HeaderMap, HeaderValue, Version};
    use proptest::prelude::*;

    fn passes(method: &str, fields: &[(&str, &str)], is_encrypted: bool) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("app.test:8080"));
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let request = Request {
            listener: ListenerId(0),
            client: None,
            version: Version::HTTP_11,
            is_encrypted,
            method,
            authority: None,
            path: "/",
            query: None,
            headers: &headers,
            target_bytes: 1,
            presented: None,
        };
        let result = CrossSiteRule::new(vec!["https://other.test".into()]).check(&request);
        assert!(result.as_ref().err().is_none_or(|refusal| refusal.rejection() == Rejection::CsrfRejected));
        result.is_ok()
    }

    #[track_caller]
    fn check(method: &str, fields: &[(&str, &str)], expected: bool) {
        assert_eq!(passes(method, fields, false), expected, "{method} {fields:?}");
    }

    const OWN: (&str, &str) = ("origin", "http://app.test:8080");
    const OTHER: (&str, &str) = ("origin", "https://other.test");
    const EVIL: (&str, &str) = ("origin", "https://evil.test");

    #[test]
    fn a_safe_method_passes_unless_it_upgrades() {
        for method in ["GET", "HEAD", "OPTIONS"] {
            check(method, &[], true);
            check(method, &[EVIL, ("sec-fetch-site", "cross-site")], true);
            for protocol in ["websocket", "WebSocket", "h2c", ""] {
                check(method, &[("upgrade", protocol)], false);
                check(method, &[("upgrade", protocol), EVIL], false);
                check(method, &[("upgrade", protocol), OWN], true);
            }
        }
        for method in ["POST", "PUT", "PATCH", "DELETE", "PURGE", "QUERY", "get"] {
            check(method, &[], false);
            check(method, &[EVIL], false);
            check(method, &[OWN], true);
            check(method, &[OTHER], true);
        }
    }

    #[test]
    fn the_browser_says_where_a_request_comes_from() {
        for (site, alone, own, other) in [
            ("same-origin", true, true, true),
            ("none", true, true, true),
            ("same-site", false, false, true),
            ("cross-site", false, false, true),
            ("Same-Origin", false, false, true),
            ("same-origin, none", false, false, true),
            ("", false, false, true),
        ] {
            let site = ("sec-fetch-site", site);
            check("POST", &[site], alone);
            check("POST", &[site, OWN], own);
            check("POST", &[site, OTHER], other);
            check("POST", &[site, EVIL], alone);
        }
        let same = ("sec-fetch-site", "same-origin");
        // What no browser sends proves nothing.
        check("POST", &[same, same], false);
        check("POST", &[same, ("sec-fetch-site", "cross-site")], false);
        check("POST", &[same, OWN, OWN], false);
        check("POST", &[OTHER, OTHER], false);
        check("POST", &[OWN, EVIL], false);
        // A page that asks for no referrer hides its origin, also from itself.
        check("POST", &[same, ("origin", "null")], true);
    }

    #[test]
    fn an_origin_is_compared_whole() {
        for origin in [
            "null",
            "",
            "http://app.test",
            "https://app.test:8080",
            "http://APP.test:8080",
            "http://app.test:8080/",
            "http://app.test:8080.evil.test",
            "http://app.test:8081",
            "http://evil@app.test:8080",
            "https://other.test:443",
            "https://other.test.",
            "https://OTHER.test",
            "https://other.test/",
            "https://other.test.evil.test",
            "https://xother.test",
            "http://other.test",
            "https://other.test, http://app.test:8080",
        ] {
            check("POST", &[("origin", origin)], false);
        }
        assert!(!passes("POST", &[OWN], true));
        assert!(passes("POST", &[("origin", "https://app.test:8080")], true));
    }

    /// Texts close to the two origins that pass.
    fn near() -> impl Strategy<Value = String> {
        let of = prop::sample::select(vec![OWN.1, OTHER.1]);
        (of, 0_usize..22, "[ -~]{0,3}", any::<bool>()).prop_map(|(origin, at, more, replaces)| {
            let (before, after) = origin.split_at(at.min(origin.len()));
            let after = if replaces { after.get(more.len()..).unwrap_or_default() } else { after };
            format!("{before}{more}{after}")
        })
    }

    proptest! {
        #[test]
        fn no_origin_passes_but_the_requests_own_and_those_that_are_listed(origin in near(), site in "(same-site|cross-site|[a-z-]{0,12})?") {
            let allowed = [OWN.1, OTHER.1].contains(&origin.as_str());
            prop_assert_eq!(passes("POST", &[("origin", &origin)], false), allowed);
            let proven = matches!(site.as_str(), "same-origin" | "none") || origin == OTHER.1;
            prop_assert_eq!(passes("POST", &[("origin", &origin), ("sec-fetch-site", &site)], false), proven);
        }
    }
}
