//! Every refusal, once: this table is the status, the metric label, the challenge, the log code, the response text
//! and the documentation. No other file may know the status of a refusal.
use std::{fmt, time::Duration};

/// What RFC 6750 §3 wants in `WWW-Authenticate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// No challenge: another token of the same user would change nothing.
    Silent,
    /// A challenge without `error`: no token was presented (RFC 6750 §3.1).
    Invite,
    /// A challenge with this `error` code.
    Error(&'static str),
}

/// What the world sees of one rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// HTTP status code.
    pub status: u16,
    /// Metric label, log code and `reason` of the response: snake_case.
    pub label: &'static str,
    /// Challenge to send.
    pub challenge: Challenge,
    /// Title of the response (RFC 9457 §3.1.3) and sentence of the documentation.
    pub title: &'static str,
    /// The section that asks for this refusal.
    pub section: &'static str,
}

macro_rules! rejections {
    ($($(#[$doc:meta])+ $name:ident = $status:literal $label:literal $challenge:expr, $title:literal, $section:literal;)+) => {
        /// Why a request was refused.
        ///
        /// Fieldless on purpose: it is a metric label, so its values are bounded. What varies travels beside it in
        /// [`Refusal`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rejection { $($(#[$doc])+ $name),+ }

        impl Rejection {
            /// Every rejection, in the order in which they are looked for.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The labels of [`Self::ALL`], in the same order.
            pub const LABELS: &'static [&'static str] = &[$($label),+];

            /// The one row of the table for this rejection.
            pub const fn row(self) -> Row {
                match self {
                    $(Self::$name => Row { status: $status, label: $label, challenge: $challenge, title: $title, section: $section }),+
                }
            }
        }
    };
}

const INVALID_TOKEN: Challenge = Challenge::Error("invalid_token");

rejections! {
    /// The request cannot be read in one way only.
    RequestMalformed = 400 "request_malformed" Challenge::Silent, "The request is malformed", "RFC 9112 §3.2, §5, §6.3";
    /// The request target is longer than `limits.uri_bytes`.
    UriTooLong = 414 "uri_too_long" Challenge::Silent, "The request target is too long", "RFC 9110 §15.5.15";
    /// The header section is larger than `limits.header_bytes` or has more fields than `limits.headers`.
    HeaderTooLarge = 431 "header_too_large" Challenge::Silent, "The request header is too large", "RFC 6585 §5";
    /// The body is larger than `limits.body_bytes`.
    BodyTooLarge = 413 "body_too_large" Challenge::Silent, "The request body is too large", "RFC 9110 §15.5.14";
    /// The connection was made for another host, whose certificate is not for this one.
    Misdirected = 421 "misdirected" Challenge::Silent, "The connection is for another host", "RFC 9110 §7.4, §15.5.20";
    /// Another server might read the path differently and find another resource.
    PathAmbiguous = 400 "path_ambiguous" Challenge::Silent, "The path can be read in more than one way", "RFC 3986 §6.2.2, RFC 9110 §4.2.3";
    /// A `Connection` field names a header that only the gateway may set or that routes the request.
    HeaderForbidden = 400 "header_forbidden" Challenge::Silent, "The request nominates a protected header", "RFC 9110 §7.6.1";
    /// No route matches host and path.
    RouteNotFound = 404 "route_not_found" Challenge::Silent, "No such resource", "RFC 9110 §15.5.5";
    /// The routes of this host and path do not take this method.
    MethodNotAllowed = 405 "method_not_allowed" Challenge::Silent, "The method is not allowed here", "RFC 9110 §15.5.6";
    /// The client's address is not one that the route is for.
    AddressDenied = 403 "address_denied" Challenge::Silent, "Requests from this address are not allowed here", "RFC 9110 §15.5.4";
    /// Too many requests of this kind came from the client; those that follow are not looked at for a while.
    RateLimited = 429 "rate_limited" Challenge::Silent, "Too many requests", "RFC 6585 §4";
    /// A token in a cookie, and nothing shows that no other site's page made the request.
    CsrfRejected = 403 "csrf_rejected" Challenge::Silent, "The request may come from another site", "RFC 6265 §8.2, RFC 6455 §10.2";
    /// More than one token, or one in two places.
    TokenRepeated = 400 "token_repeated" Challenge::Silent, "More than one token was presented", "RFC 6750 §2, §3.1";
    /// The route asks for a token and the request carries none.
    TokenMissing = 401 "token_missing" Challenge::Invite, "A bearer token is required", "RFC 6750 §3.1";
    /// The token is longer than `limits.token_bytes`.
    TokenTooLarge = 401 "token_too_large" INVALID_TOKEN, "The token is too large", "RFC 8725 §2.12";
    /// Not three base64url parts of JSON objects with distinct names.
    TokenMalformed = 401 "token_malformed" INVALID_TOKEN, "The token is malformed", "RFC 7515 §5.2, RFC 7519 §7.2";
    /// No issuer of the route has this `iss`.
    IssuerUnknown = 401 "issuer_unknown" INVALID_TOKEN, "The token's issuer is not accepted", "RFC 7519 §4.1.1, RFC 9068 §4";
    /// `typ` says that this is another kind of JWT.
    TypeNotAllowed = 401 "type_not_allowed" INVALID_TOKEN, "The token is of a type that is not accepted", "RFC 8725 §3.11, RFC 9068 §4";
    /// The header has `crit`, `b64` or `zip`.
    CriticalHeader = 401 "critical_header" INVALID_TOKEN, "The token uses a header parameter that is not understood", "RFC 7515 §4.1.11, RFC 7797 §7";
    /// `alg` is not known, not allowed for the issuer, or does not fit the key.
    AlgorithmNotAllowed = 401 "algorithm_not_allowed" INVALID_TOKEN, "The token's algorithm is not accepted", "RFC 8725 §3.1";
    /// The issuer's keys cannot be had: the gateway's trouble, not the client's.
    KeysUnavailable = 503 "keys_unavailable" Challenge::Silent, "The issuer's keys are not available", "RFC 9110 §15.6.4";
    /// The issuer's key set has no key for this token.
    KeyUnknown = 401 "key_unknown" INVALID_TOKEN, "The token's key is not known", "RFC 7515 §4.1.4";
    /// The signature does not verify.
    SignatureInvalid = 401 "signature_invalid" INVALID_TOKEN, "The token's signature is not valid", "RFC 7515 §5.2";
    /// A claim that the issuer's tokens must have is absent.
    ClaimMissing = 401 "claim_missing" INVALID_TOKEN, "The token lacks a required claim", "RFC 7519 §4.1, RFC 9068 §2.2";
    /// A claim has the wrong type or a value that the issuer's tokens may not have.
    ClaimInvalid = 401 "claim_invalid" INVALID_TOKEN, "A claim of the token is not valid", "RFC 7519 §4, RFC 8725 §3.12";
    /// `exp` is not after now, leeway included.
    TokenExpired = 401 "token_expired" INVALID_TOKEN, "The token has expired", "RFC 7519 §4.1.4";
    /// `nbf` or `iat` is after now, leeway included.
    TokenNotYetValid = 401 "token_not_yet_valid" INVALID_TOKEN, "The token is not yet valid", "RFC 7519 §4.1.5, §4.1.6";
    /// The token lives longer than the issuer's `max_lifetime`, or ends more than ten years from now.
    LifetimeExceeded = 401 "lifetime_exceeded" INVALID_TOKEN, "The token's lifetime is too long", "RFC 9068 §2.2";
    /// `aud` names none of the accepted audiences.
    AudienceMismatch = 401 "audience_mismatch" INVALID_TOKEN, "The token is meant for another audience", "RFC 7519 §4.1.3, RFC 8725 §3.9";
    /// A revocation entry ends the token.
    TokenRevoked = 401 "token_revoked" INVALID_TOKEN, "The token was revoked", "RFC 6750 §3.1, RFC 7009";
    /// A revocation entry bans the subject.
    SubjectRevoked = 403 "subject_revoked" Challenge::Silent, "The identity may not be used any more", "RFC 9110 §15.5.4";
    /// The revocations cannot be had, so that nobody knows which tokens still count: the gateway's trouble.
    RevocationsUnavailable = 503 "revocations_unavailable" Challenge::Silent, "The revocations are not available", "RFC 9110 §15.6.4";
    /// The route is for users and the token is a client's own, or the other way round.
    PrincipalMismatch = 403 "principal_mismatch" Challenge::Silent, "The token is not of the kind of principal that this resource is for", "RFC 9110 §15.5.4, RFC 9068 §5";
    /// A scope that the route requires is not granted.
    ScopeInsufficient = 403 "scope_insufficient" Challenge::Error("insufficient_scope"), "The token does not grant the required scope", "RFC 6750 §3.1";
    /// A role that the route requires is not held.
    RoleMissing = 403 "role_missing" Challenge::Silent, "A required role is missing", "RFC 9110 §15.5.4";
    /// A claim does not have what the route or a required identity header asks for.
    ClaimMismatch = 403 "claim_mismatch" Challenge::Silent, "The identity does not have what this resource requires", "RFC 9110 §15.5.4";
    /// The user must authenticate again, or in a stronger way.
    StepUpRequired = 401 "step_up_required" Challenge::Error("insufficient_user_authentication"), "A stronger or more recent authentication is required", "RFC 9470 §3";
    /// The client stopped sending in the middle of its request.
    RequestTimeout = 408 "request_timeout" Challenge::Silent, "The request was not completed in time", "RFC 9110 §15.5.9";
    /// No connection to the upstream, or it broke the protocol.
    UpstreamUnreachable = 502 "upstream_unreachable" Challenge::Silent, "The service behind the gateway cannot be reached", "RFC 9110 §15.6.3";
    /// The upstream did not answer in time.
    UpstreamTimeout = 504 "upstream_timeout" Challenge::Silent, "The service behind the gateway did not answer in time", "RFC 9110 §15.6.5";
    /// Every server of the upstream fails, as its health checks or the last requests showed.
    UpstreamUnhealthy = 503 "upstream_unhealthy" Challenge::Silent, "No server of the service behind the gateway is well", "RFC 9110 §15.6.4";
    /// The gateway has as many connections as it may have, in all or from this address.
    Overloaded = 503 "overloaded" Challenge::Silent, "Too many connections", "RFC 9110 §15.6.4";
    /// A fault of the gateway itself.
    Internal = 500 "internal" Challenge::Silent, "The gateway failed", "RFC 9110 §15.6.1";
}

impl Rejection {
    /// Its row's label.
    pub const fn label(self) -> &'static str {
        self.row().label
    }

    /// Position in [`Rejection::ALL`]: an index for tables that hold something for each rejection.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// When to try again (`Retry-After`, RFC 9110 §10.2.3) unless the [`Refusal`] knows better: for troubles that pass.
    pub const fn retry_after(self) -> Option<Duration> {
        match self.row().status {
            429 | 503 => Some(Duration::from_secs(5)),
            _ => None,
        }
    }

    /// Whether somebody presented a token that did not pass, which `limits.failed_authentications` counts. Who presents
    /// none tries nothing, and who presents a good one to the wrong route guesses nothing.
    pub fn is_failed_authentication(self) -> bool {
        self.row().status == 401 && !matches!(self, Self::TokenMissing | Self::StepUpRequired | Self::AudienceMismatch)
    }

    /// Whether it says that nobody was recognised, which a route that only observes authentication lets pass.
    pub fn is_of_token(self) -> bool {
        matches!(self, Self::TokenRepeated | Self::KeysUnavailable | Self::RevocationsUnavailable)
            || self.row().status == 401
    }

    /// Whether it is a verdict of authentication or authorisation, which `portcullis_auth_rejections_total` counts.
    pub fn is_of_authentication(self) -> bool {
        self.is_of_token() || self.row().status == 403
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.label())
    }
}

/// A rejection with what varies from request to request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    rejection: Rejection,
    detail: Option<Box<str>>,
    scopes: Option<Box<str>>,
    step_up: Option<Box<str>>,
    allow: Option<Box<str>>,
    retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal about which there is nothing more to say.
    pub const fn new(rejection: Rejection) -> Self {
        Self { rejection, detail: None, scopes: None, step_up: None, allow: None, retry_after: None }
    }

    /// Adds what was expected and what was found: for the log, never for the client.
    ///
    /// What a token or client said goes through [`quoted`] first.
    #[must_use]
    pub fn because(mut self, detail: impl Into<Box<str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds the scopes that the challenge names (RFC 6750 §3), separated by spaces.
    #[must_use]
    pub fn wanting_scopes(mut self, scopes: impl Into<Box<str>>) -> Self {
        self.scopes = Some(scopes.into());
        self
    }

    /// Adds the parameters of the challenge that say how to authenticate (RFC 9470 §3), as they are sent.
    #[must_use]
    pub fn wanting_step_up(mut self, parameters: impl Into<Box<str>>) -> Self {
        self.step_up = Some(parameters.into());
        self
    }

    /// Adds the methods for `Allow` (RFC 9110 §10.2.1), separated by a comma and a space.
    #[must_use]
    pub fn allowing(mut self, methods: impl Into<Box<str>>) -> Self {
        self.allow = Some(methods.into());
        self
    }

    /// Adds when another attempt is worth while.
    #[must_use]
    pub const fn until(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self
    }

    /// Which rejection it is.
    pub const fn rejection(&self) -> Rejection {
        self.rejection
    }

    /// What was expected and found, for the log.
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// Scopes for the challenge.
    pub fn scopes(&self) -> Option<&str> {
        self.scopes.as_deref()
    }

    /// Whole seconds for `Retry-After` (RFC 9110 §10.2.3), at least one.
    pub fn retry_after(&self) -> Option<u64> {
        let pause = self.retry_after.or(self.rejection.retry_after())?;
        Some(pause.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX).max(1))
    }

    /// Parameters of the challenge that say how to authenticate.
    pub fn step_up(&self) -> Option<&str> {
        self.step_up.as_deref()
    }

    /// Methods for `Allow`.
    pub fn allow(&self) -> Option<&str> {
        self.allow.as_deref()
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self::new(rejection)
    }
}

/// Bytes of a foreign text that a log detail shows at most.
pub const QUOTED_BYTES_MAX: usize = 128;

/// A text from outside, made safe for a log detail: in quotes, escaped, cut at [`QUOTED_BYTES_MAX`] bytes.
///
/// Everything but visible ASCII is escaped, so no terminal can be fooled.
pub fn quoted(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(QUOTED_BYTES_MAX) + 2);
    shown.push('"');
    for character in text.chars() {
        let escaped = character.escape_default();
        if shown.len() + escaped.len() > QUOTED_BYTES_MAX {
            shown.push_str("...");
            break;
        }
        shown.extend(escaped);
    }
    shown.push('"');
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unique_and_snake_case_and_the_index_is_the_position() {
        let mut labels: Vec<_> = Rejection::ALL.iter().map(|rejection| rejection.label()).collect();
        assert!(labels.iter().all(|label| label.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')));
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Rejection::ALL.len());
        for (position, rejection) in Rejection::ALL.iter().enumerate() {
            assert_eq!(rejection.index(), position);
        }
    }

    #[test]
    fn challenges_go_with_their_status_as_rfc_6750_has_it() {
        for rejection in Rejection::ALL {
            let row = rejection.row();
            match row.challenge {
                Challenge::Silent => assert_ne!(row.status, 401, "{rejection}: every 401 has a challenge"),
                Challenge::Invite => assert_eq!(row.status, 401, "{rejection}"),
                Challenge::Error("insufficient_user_authentication") => {
                    assert_eq!((row.status, *rejection), (401, Rejection::StepUpRequired));
                }
                Challenge::Error("insufficient_scope") => assert_eq!(row.status, 403, "{rejection}"),
                Challenge::Error(code) => assert_eq!((row.status, code), (401, "invalid_token"), "{rejection}"),
            }
        }
    }

    #[test]
    fn only_a_token_that_is_not_good_is_a_failed_authentication() {
        let spared = [Rejection::TokenMissing, Rejection::StepUpRequired, Rejection::AudienceMismatch];
        for rejection in Rejection::ALL {
            let expected = rejection.row().status == 401 && !spared.contains(rejection);
            assert_eq!(rejection.is_failed_authentication(), expected, "{rejection:?}");
        }
        assert!(Rejection::SignatureInvalid.is_failed_authentication());
        assert!(!Rejection::ScopeInsufficient.is_failed_authentication());
    }

    #[test]
    fn a_quoted_text_is_visible_ascii_of_bounded_length() {
        assert_eq!(quoted("a\n\u{202e}\"b"), r#""a\n\u{202e}\"b""#);
        let long = quoted(&"é".repeat(1000));
        assert!(long.len() <= QUOTED_BYTES_MAX + 4 && long.ends_with("...\""), "{long}");
    }
}
