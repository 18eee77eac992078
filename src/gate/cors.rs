//! What pages of other origins may read and send, as browsers ask for it (CORS; Fetch, "HTTP CORS protocol").
//!
//! It never decides who may pass: a browser keeps an answer from a page, it keeps no request from a service.
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::gate::{
    request::Request,
    web_origin::{Stated, WebOrigin},
};

/// Header names that tell what limits on rates say of a request.
pub const OF_LIMITS: [&str; 2] = ["RateLimit", "RateLimit-Policy"];
/// Header names that the gate answers refusals with and that pages can read only where they are exposed.
const OF_REFUSALS: [&str; 5] = ["WWW-Authenticate", "Retry-After", OF_LIMITS[0], OF_LIMITS[1], "X-Request-Id"];

/// Who speaks with browsers about other origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cors {
    /// The upstream: true preflights reach it without identity, and its answers pass as they are.
    Upstream,
    /// The gate, which answers preflights and writes the fields of every response.
    Gate(Box<CorsRule>),
}

/// Which origins may read responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// Every one. Never with credentials.
    Any,
    /// These, in the spelling of [`WebOrigin`].
    Listed(Vec<Box<str>>),
}

/// What is granted to pages of other origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorsGrant {
    /// Whose pages.
    pub origins: AllowedOrigins,
    /// With which methods; any that the route takes, unless given.
    pub methods: Option<Vec<Box<str>>>,
    /// Which request headers they may set besides those that need no permission.
    pub headers: Vec<Box<str>>,
    /// Which response headers they may read besides those that need no permission.
    pub expose: Vec<Box<str>>,
    /// Whether cookies and client certificates may be sent along.
    pub credentials: bool,
    /// How long a browser may remember the answer to a preflight; its own default unless given.
    pub max_age: Option<Duration>,
}

/// A grant with its header values, which are made once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorsRule {
    grant: CorsGrant,
    methods: Option<HeaderValue>,
    headers: Option<HeaderValue>,
    expose: Option<HeaderValue>,
    expose_of_refusals: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
}

/// A true preflight: a browser asks whether it may send a request (Fetch, "CORS-preflight request").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preflight<'r> {
    /// The method that it wants to use.
    pub method: &'r str,
}

/// What a response is to a request from another origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What the route answers.
    Response,
    /// A refusal of the gate's own.
    Refusal,
}

impl<'r> Preflight<'r> {
    /// The preflight that a request is; nothing when it is an ordinary request, as every other OPTIONS is.
    ///
    /// `declared_length` is that of its body: a preflight has none.
    pub fn of(request: &Request<'r>, declared_length: Option<u64>) -> Option<Self> {
        if request.method != "OPTIONS" || declared_length.is_some_and(|length| length > 0) {
            return None;
        }
        let has = |name: HeaderName| request.headers.contains_key(name);
        if has(header::TRANSFER_ENCODING) || has(header::UPGRADE) {
            return None;
        }
        let Stated::Once(origin) = Stated::of(request.headers, &header::ORIGIN) else { return None };
        let asked = Stated::of(request.headers, &header::ACCESS_CONTROL_REQUEST_METHOD);
        let Stated::Once(method) = asked else { return None };
        let is_origin = origin == "null" || WebOrigin::parse(origin).is_ok();
        let is_method = http::Method::from_bytes(method.as_bytes()).is_ok()
            && !matches!(method, "TRACE" | "CONNECT")
            && !method.bytes().any(|byte| byte.is_ascii_lowercase());
        (is_origin && is_method).then_some(Self { method })
    }
}

impl CorsRule {
    /// Makes the header values.
    pub fn new(grant: CorsGrant) -> Self {
        let refusals = OF_REFUSALS.iter().copied();
        let missing = refusals.filter(|name| !grant.expose.iter().any(|given| given.eq_ignore_ascii_case(name)));
        let expose_of_refusals = list(grant.expose.iter().map(AsRef::as_ref).chain(missing));
        Self {
            methods: grant.methods.as_ref().and_then(|methods| list(methods.iter().map(AsRef::as_ref))),
            headers: list(grant.headers.iter().map(AsRef::as_ref)),
            expose: list(grant.expose.iter().map(AsRef::as_ref)),
            expose_of_refusals,
            max_age: grant.max_age.map(|max_age| HeaderValue::from(max_age.as_secs())),
            grant,
        }
    }

    /// What is granted.
    pub const fn grant(&self) -> &CorsGrant {
        &self.grant
    }

    /// The value that `Vary` must hold, because the answer depends on the origin; nothing where it does not.
    pub const fn vary(&self) -> Option<HeaderValue> {
        match self.grant.origins {
            AllowedOrigins::Any => None,
            AllowedOrigins::Listed(_) => Some(HeaderValue::from_static("Origin")),
        }
    }

    /// The fields of a response; none when the origin is not allowed.
    pub fn response(
        &self,
        request: &HeaderMap,
        answer: Answer,
    ) -> impl Iterator<Item = (HeaderName, HeaderValue)> + use<> {
        let allowed = self.allowed_origin(request);
        let expose = match answer {
            Answer::Response => self.expose.clone(),
            Answer::Refusal => self.expose_of_refusals.clone(),
        };
        let expose = expose.filter(|_| allowed.is_some());
        [
            self.credentials().filter(|_| allowed.is_some()),
            allowed.map(|value| (header::ACCESS_CONTROL_ALLOW_ORIGIN, value)),
            expose.map(|value| (header::ACCESS_CONTROL_EXPOSE_HEADERS, value)),
        ]
        .into_iter()
        .flatten()
    }

    /// The fields of the answer to a preflight; none when the origin or the method is not allowed.
    ///
    /// Without `Access-Control-Allow-Origin` no browser sends the request. To leave the method out of the list would not be
    /// enough: for some a browser does not look there (Fetch, "CORS-safelisted method").
    pub fn preflight(
        &self,
        request: &HeaderMap,
        preflight: Preflight<'_>,
    ) -> impl Iterator<Item = (HeaderName, HeaderValue)> + use<> {
        let is_allowed = |methods: &Vec<Box<str>>| methods.iter().any(|method| method.as_ref() == preflight.method);
        let allows_method = self.grant.methods.as_ref().is_none_or(is_allowed);
        let allowed = self.allowed_origin(request).filter(|_| allows_method).map(|origin| {
            let methods = self.methods.clone().or_else(|| HeaderValue::from_str(preflight.method).ok());
            [
                self.credentials(),
                Some((header::ACCESS_CONTROL_ALLOW_ORIGIN, origin)),
                methods.map(|value| (header::ACCESS_CONTROL_ALLOW_METHODS, value)),
                self.headers.clone().map(|value| (header::ACCESS_CONTROL_ALLOW_HEADERS, value)),
                self.max_age.clone().map(|value| (header::ACCESS_CONTROL_MAX_AGE, value)),
            ]
        });
        allowed.into_iter().flatten().flatten()
    }

    /// `Access-Control-Allow-Origin`; nothing when the origin is not allowed.
    fn allowed_origin(&self, request: &HeaderMap) -> Option<HeaderValue> {
        match &self.grant.origins {
            AllowedOrigins::Any => Some(HeaderValue::from_static("*")),
            AllowedOrigins::Listed(origins) => {
                let Stated::Once(text) = Stated::of(request, &header::ORIGIN) else { return None };
                let is_listed = origins.iter().any(|origin| origin.as_ref() == text);
                request.get(header::ORIGIN).filter(|_| is_listed).cloned()
            }
        }
    }

    fn credentials(&self) -> Option<(HeaderName, HeaderValue)> {
        let value = HeaderValue::from_static("true");
        self.grant.credentials.then_some((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, value))
    }
}

/// Whether a header is one of those by which a server answers a browser about other origins.
pub fn is_cors_header(name: &str) -> bool {
    name.get(..15).is_some_and(|start| start.eq_ignore_ascii_case("access-control-"))
}

fn list<'n>(names: impl Iterator<Item = &'n str>) -> Option<HeaderValue> {
    let names: Vec<&str> = names.collect();
    HeaderValue::from_str(&names.join(", ")).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::route::ListenerId;
    use http::Version;

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn preflight(method: &str, fields: &[(&str, &str)], length: Option<u64>) -> Option<String> {
        let headers = headers(fields);
        let request = Request {
            listener: ListenerId(0),
            client: None,
            version: Version::HTTP_11,
            is_encrypted: false,
            method,
            authority: None,
            path: "/",
            query: None,
            headers: &headers,
            target_bytes: 1,
            presented: None,
        };
        Preflight::of(&request, length).map(|preflight| preflight.method.to_owned())
    }

    const APP: (&str, &str) = ("origin", "https://app.test");
    const PUT: (&str, &str) = ("access-control-request-method", "PUT");

    #[test]
    fn a_preflight_is_what_browsers_send_and_nothing_else() {
        for (method, fields, length, expected) in [
            ("OPTIONS", &[APP, PUT][..], None, Some("PUT")),
            ("OPTIONS", &[APP, PUT], Some(0), Some("PUT")),
            ("OPTIONS", &[("origin", "null"), PUT], None, Some("PUT")),
            ("OPTIONS", &[APP, PUT, ("access-control-request-headers", "a,b")], None, Some("PUT")),
            ("OPTIONS", &[APP, ("access-control-request-method", "PURGE")], None, Some("PURGE")),
            ("OPTIONS", &[], None, None),
            ("OPTIONS", &[APP], None, None),
            ("OPTIONS", &[PUT], None, None),
            ("OPTIONS", &[APP, APP, PUT], None, None),
            ("OPTIONS", &[APP, PUT, PUT], None, None),
            ("OPTIONS", &[("origin", "app.test"), PUT], None, None),
            ("OPTIONS", &[("origin", ""), PUT], None, None),
            ("OPTIONS", &[APP, ("access-control-request-method", "")], None, None),
            ("OPTIONS", &[APP, ("access-control-request-method", "put")], None, None),
            ("OPTIONS", &[APP, ("access-control-request-method", "PUT, GET")], None, None),
            ("OPTIONS", &[APP, ("access-control-request-method", "TRACE")], None, None),
            ("OPTIONS", &[APP, ("access-control-request-method", "CONNECT")], None, None),
            ("OPTIONS", &[APP, PUT], Some(1), None),
            ("OPTIONS", &[APP, PUT, ("transfer-encoding", "chunked")], None, None),
            ("OPTIONS", &[APP, PUT, ("upgrade", "websocket")], None, None),
            ("GET", &[APP, PUT], None, None),
            ("POST", &[APP, PUT], None, None),
        ] {
            assert_eq!(preflight(method, fields, length).as_deref(), expected, "{method} {fields:?} {length:?}");
        }
    }

    fn rule(origins: AllowedOrigins, credentials: bool) -> CorsRule {
        CorsRule::new(CorsGrant {
            origins,
            methods: Some(vec!["GET".into(), "PUT".into()]),
            headers: vec!["authorization".into(), "content-type".into()],
            expose: vec!["ETag".into(), "retry-after".into()],
            credentials,
            max_age: Some(Duration::from_secs(600)),
        })
    }

    fn listed() -> CorsRule {
        rule(AllowedOrigins::Listed(vec!["https://app.test".into(), "http://localhost:3000".into()]), true)
    }

    fn shown(fields: impl Iterator<Item = (HeaderName, HeaderValue)>) -> String {
        let lines: Vec<String> = fields.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.join("\n").replace("access-control-", "")
    }

    #[test]
    fn a_preflight_of_an_allowed_origin_is_told_all_that_it_may() {
        let told = shown(listed().preflight(&headers(&[APP]), Preflight { method: "PUT" }));
        assert_eq!(
            told,
            "allow-credentials: true\nallow-origin: https://app.test\nallow-methods: GET, PUT\nallow-headers: authorization, content-type\nmax-age: 600"
        );
        let any = rule(AllowedOrigins::Any, false);
        let told = shown(any.preflight(&headers(&[("origin", "null")]), Preflight { method: "GET" }));
        assert!(told.starts_with("allow-origin: *\nallow-methods: GET, PUT"), "{told}");
        let unlimited = CorsRule::new(CorsGrant {
            origins: AllowedOrigins::Any,
            methods: None,
            headers: Vec::new(),
            expose: Vec::new(),
            credentials: false,
            max_age: None,
        });
        let told = shown(unlimited.preflight(&headers(&[APP]), Preflight { method: "PURGE" }));
        assert_eq!(told, "allow-origin: *\nallow-methods: PURGE");
        // A safelisted method is sent whatever the list says, so nothing is granted.
        assert_eq!(shown(listed().preflight(&headers(&[APP]), Preflight { method: "POST" })), "");
    }

    #[test]
    fn an_origin_that_is_not_listed_is_told_nothing() {
        for fields in [
            &[("origin", "https://evil.test")][..],
            &[("origin", "null")],
            &[("origin", "https://app.test.evil.test")],
            &[("origin", "https://app.test:443")],
            &[("origin", "https://APP.test")],
            &[("origin", "http://app.test")],
            &[("origin", "http://localhost")],
            &[("origin", "*")],
            &[APP, APP],
            &[APP, ("origin", "https://evil.test")],
            &[],
        ] {
            let request = headers(fields);
            assert_eq!(shown(listed().preflight(&request, Preflight { method: "PUT" })), "", "{fields:?}");
            assert_eq!(shown(listed().response(&request, Answer::Response)), "", "{fields:?}");
            assert_eq!(shown(listed().response(&request, Answer::Refusal)), "", "{fields:?}");
        }
        assert_eq!(listed().vary(), Some(HeaderValue::from_static("Origin")));
    }

    #[test]
    fn a_response_names_the_origin_and_a_refusal_exposes_what_it_says() {
        assert_eq!(
            shown(listed().response(&headers(&[APP]), Answer::Response)),
            "allow-credentials: true\nallow-origin: https://app.test\nexpose-headers: ETag, retry-after"
        );
        assert_eq!(
            shown(listed().response(&headers(&[APP]), Answer::Refusal)),
            "allow-credentials: true\nallow-origin: https://app.test\nexpose-headers: ETag, retry-after, WWW-Authenticate, RateLimit, RateLimit-Policy, X-Request-Id"
        );
        let any = rule(AllowedOrigins::Any, false);
        // The same for everybody, so that caches need not tell origins apart.
        for fields in [&[][..], &[APP], &[("origin", "null")]] {
            let told = shown(any.response(&headers(fields), Answer::Response));
            assert_eq!(told, "allow-origin: *\nexpose-headers: ETag, retry-after");
        }
        assert_eq!(any.vary(), None);
    }

    #[test]
    fn headers_about_other_origins_are_known_by_their_beginning() {
        for (name, expected) in [
            ("Access-Control-Allow-Origin", true),
            ("access-control-anything", true),
            ("Access-Control", false),
            ("Access_Control_Allow_Origin", false),
            ("X-Access-Control-", false),
            ("ééééééééé", false),
        ] {
            assert_eq!(is_cors_header(name), expected, "{name}");
        }
    }
}
