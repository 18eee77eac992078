//! Where a request may carry its token, and how the one token is found.
//!
//! It never chooses: two tokens, or one token in two places, is a refusal, since whoever reads the other one would
//! see another identity (RFC 6750 §2).
use std::{borrow::Cow, fmt};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::gate::{
    cookies,
    rejection::{Refusal, Rejection},
    request::Request,
    websocket_protocol,
};

/// One place where a token may be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TokenSource {
    /// `Authorization: Bearer TOKEN` (RFC 6750 §2.1).
    Authorization,
    /// A header of its own whose whole value is the token.
    Header(HeaderName),
    /// A parameter of the query (RFC 6750 §2.3).
    Query(Box<str>),
    /// A cookie (RFC 6265). It counts only where [`crate::gate::cross_site::CrossSiteRule`] says so.
    Cookie(Box<str>),
    /// A protocol that the client of a WebSocket offers, which begins with this word and a dot (RFC 6455 §11.3.4). No page of
    /// another site can offer it without the token.
    WebSocketProtocol(Box<str>),
}

impl TokenSource {
    /// The word by which protocols of a WebSocket carry a token.
    pub fn word(&self) -> Option<&str> {
        match self {
            Self::WebSocketProtocol(word) => Some(word),
            Self::Authorization | Self::Header(_) | Self::Query(_) | Self::Cookie(_) => None,
        }
    }
}

/// The parts of a request in which a token may be.
#[derive(Clone, Copy)]
pub struct Places<'r> {
    /// Header fields as sent.
    pub headers: &'r HeaderMap,
    /// Query, without its `?`.
    pub query: Option<&'r str>,
    /// Whether it asks for a WebSocket.
    pub is_websocket: bool,
}

impl<'r> Places<'r> {
    /// The parts of a request.
    pub fn of(request: &Request<'r>) -> Self {
        let is_websocket = websocket_protocol::is_handshake(request);
        Self { headers: request.headers, query: request.query, is_websocket }
    }
}

impl fmt::Debug for Places<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Each may hold a token.
        write!(formatter, "Places({} fields)", self.headers.len())
    }
}

/// A token and where it was.
#[derive(Clone, PartialEq, Eq)]
pub struct FoundToken<'r> {
    /// The token as its issuer wrote it.
    pub text: Cow<'r, str>,
    /// Where it was.
    pub source: &'r TokenSource,
    /// Whether caches on the way may hold the response because the token is in no header that they know of: it was in the
    /// query (RFC 6750 §2.3), in a cookie or in a protocol.
    pub is_unknown_to_caches: bool,
}

impl fmt::Debug for FoundToken<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the token.
        write!(formatter, "FoundToken({} bytes)", self.text.len())
    }
}

/// The scheme and credentials of one `Authorization` value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Credentials<'r> {
    /// The Bearer scheme in any case, and what follows it.
    Bearer(&'r str),
    /// Any other scheme: no token, and not portcullis's business.
    Other,
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Bearer(_) => "Bearer",
            Self::Other => "Other",
        })
    }
}

/// Finds the one token of a request.
///
/// # Errors
/// [`Rejection::TokenRepeated`] when there are several, even if they are equal; [`Rejection::TokenMalformed`] when a
/// source holds something that cannot be a token.
pub fn find<'r>(sources: &'r [TokenSource], places: Places<'r>) -> Result<Option<FoundToken<'r>>, Refusal> {
    let Places { headers, query, is_websocket } = places;
    let mut found = None;
    for source in sources {
        let text = match source {
            TokenSource::Authorization => in_authorization(headers)?.map(Cow::Borrowed),
            TokenSource::Header(name) => in_header(headers, name)?.map(Cow::Borrowed),
            TokenSource::Query(name) => in_query(query, name)?.map(Cow::Borrowed),
            TokenSource::Cookie(name) => in_cookie(headers, name)?.map(Cow::Borrowed),
            TokenSource::WebSocketProtocol(word) if is_websocket => websocket_protocol::token(headers, word)?,
            TokenSource::WebSocketProtocol(_) => None,
        };
        let is_unknown_to_caches = match source {
            TokenSource::Query(_) | TokenSource::Cookie(_) | TokenSource::WebSocketProtocol(_) => true,
            TokenSource::Authorization | TokenSource::Header(_) => false,
        };
        if let Some(text) = text
            && found.replace(FoundToken { text, source, is_unknown_to_caches }).is_some()
        {
            return Err(repeated("tokens in two places"));
        }
    }
    Ok(found)
}

/// Reads one `Authorization` value (RFC 9110 §11.4).
///
/// Joined credentials of which some are Bearer's are Bearer's too, read from the comma before them: they are no token,
/// but what stands there must not pass as another scheme's either.
pub fn credentials(value: &str) -> Credentials<'_> {
    // White space around a value is no part of it (RFC 9110 §5.5), and not every protocol takes it away.
    let value = value.trim_matches([' ', '\t']);
    if let Some(rest) = after_bearer(value) {
        return Credentials::Bearer(rest);
    }
    let is_bearer =
        |comma: &usize| value.get(comma + 1..).is_some_and(|text| after_bearer(text.trim_start()).is_some());
    let mut commas = value.match_indices(',').map(|(comma, _)| comma);
    commas.find(is_bearer).and_then(|comma| value.get(comma..)).map_or(Credentials::Other, Credentials::Bearer)
}

fn after_bearer(text: &str) -> Option<&str> {
    let scheme_bytes = text.bytes().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(text.len());
    let (scheme, rest) = text.split_at_checked(scheme_bytes)?;
    scheme.eq_ignore_ascii_case("bearer").then_some(rest)
}

/// The query without the parameters called by one of `names`; nothing when the query holds none of them.
///
/// A name is compared after decoding, because the upstream would decode it too.
pub fn query_without(query: &str, names: &[Box<str>]) -> Option<String> {
    if names.is_empty() || !parameters(query).any(|(name, _)| names.iter().any(|owned| is_name(name, owned))) {
        return None;
    }
    let is_kept = |parameter: &&str| {
        let name = parameter.split('=').next().unwrap_or_default();
        !names.iter().any(|owned| is_name(name, owned))
    };
    // What was found behind either separator is removed behind either.
    let groups = query.split('&').filter_map(|group| {
        let kept: Vec<&str> = group.split(';').filter(is_kept).collect();
        (!kept.is_empty()).then(|| kept.join(";"))
    });
    Some(groups.collect::<Vec<String>>().join("&"))
}

fn in_authorization(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let Some(value) = only_value(headers, &http::header::AUTHORIZATION)? else { return Ok(None) };
    let Credentials::Bearer(rest) = credentials(value) else { return Ok(None) };
    let token = rest.trim_start_matches(' ');
    if has_comma(rest) {
        return Err(repeated("a list of credentials in Authorization"));
    }
    if token.is_empty() || token.len() == rest.len() {
        return Err(Refusal::new(Rejection::TokenMalformed).because("no token after Bearer and a space"));
    }
    Ok(Some(token))
}

fn in_header<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Result<Option<&'r str>, Refusal> {
    let value = only_value(headers, name)?;
    if value.is_some_and(has_comma) {
        return Err(repeated("a list in the token header"));
    }
    Ok(value)
}

fn only_value<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Result<Option<&'r str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(repeated("a token header that occurs twice"));
    }
    match visible_text(value) {
        Some(text) => Ok(Some(text.trim_matches([' ', '\t']))),
        None => Err(Refusal::new(Rejection::TokenMalformed).because("a byte that no token has")),
    }
}

// Tokens are long: the next two look at many bytes at once, because they do not stop at the first that they look for.

fn has_comma(text: &str) -> bool {
    text.bytes().fold(false, |found, byte| found | (byte == b','))
}

/// What [`HeaderValue::to_str`] answers.
fn visible_text(value: &HeaderValue) -> Option<&str> {
    let is_visible = |byte: u8| matches!(byte, b' '..=b'~' | b'\t');
    let all_visible = value.as_bytes().iter().fold(true, |all, byte| all & is_visible(*byte));
    std::str::from_utf8(value.as_bytes()).ok().filter(|_| all_visible)
}

fn in_query<'r>(query: Option<&'r str>, name: &str) -> Result<Option<&'r str>, Refusal> {
    let mut values = parameters(query.unwrap_or_default()).filter(|(parameter, _)| is_name(parameter, name));
    let Some((_, value)) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(repeated("a token parameter that occurs twice"));
    }
    Ok(Some(value))
}

fn in_cookie<'r>(headers: &'r HeaderMap, name: &str) -> Result<Option<&'r str>, Refusal> {
    let mut values = cookies::values(headers, name);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(repeated("a token cookie that occurs twice"));
    }
    match std::str::from_utf8(value) {
        Ok(text) if text.is_ascii() => Ok(Some(text)),
        Ok(_) | Err(_) => Err(Refusal::new(Rejection::TokenMalformed).because("a byte that no token has")),
    }
}

/// Names and values between `&`, still encoded. A `;` separates too for some servers, so it does when a token is
/// looked for: the name behind it would be read by them.
fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split(['&', ';']).map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
}

/// Whether the encoded `name` is `owned` once decoded; case counts, as it does in RFC 6750 §2.3.
fn is_name(name: &str, owned: &str) -> bool {
    if !name.contains('%') {
        return name == owned;
    }
    let mut expected = owned.bytes();
    let mut rest = name.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let (byte, following) = match (*first, crate::gate::path::escaped_byte(after)) {
            (b'%', Some(decoded)) => decoded,
            (byte, _) => (byte, after),
        };
        if expected.next() != Some(byte) {
            return false;
        }
        rest = following;
    }
    expected.next().is_none()
}

fn repeated(detail: &'static str) -> Refusal {
    Refusal::new(Rejection::TokenRepeated).because(detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(lines: &[(&str, &str)], query: Option<&str>, expected: Result<Option<&str>, Rejection>) {
        let sources = [
            TokenSource::Authorization,
            TokenSource::Header(HeaderName::from_static("x-access-token")),
            TokenSource::Query("access_token".into()),
            TokenSource::Cookie("__Host-t".into()),
        ];
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let found = find(&sources, Places { headers: &headers, query, is_websocket: false })
            .map_err(|refusal| refusal.rejection());
        assert_eq!(
            found.as_ref().map(|found| found.as_ref().map(|token| token.text.as_ref())),
            expected.as_ref().map(|token| *token),
            "{lines:?} {query:?}"
        );
    }

    #[test]
    fn exactly_one_token_is_found() {
        check(&[], None, Ok(None));
        check(&[("authorization", "Bearer t")], None, Ok(Some("t")));
        check(&[("authorization", "bEaReR   t ")], None, Ok(Some("t")));
        check(&[("authorization", "Basic eDp5")], None, Ok(None));
        check(&[("authorization", "Bearerx t")], None, Ok(None));
        check(&[("authorization", "Digest a=\"bearer x\", b=c, bearers d")], None, Ok(None));
        check(&[("x-access-token", "t")], None, Ok(Some("t")));
        check(&[], Some("a=1&access_token=t&b"), Ok(Some("t")));
        check(&[], Some("access%5Ftoken=t"), Ok(Some("t")));
        check(&[], Some("Access_Token=t&xaccess_token=u"), Ok(None));
        check(&[], Some("a=1;access_token=t"), Ok(Some("t")));
        check(&[("authorization", "Basic eDp5"), ("x-access-token", "t")], None, Ok(Some("t")));
        check(&[("cookie", "a=1"), ("cookie", "b; __Host-t=t")], None, Ok(Some("t")));
        check(&[("cookie", "__host-t=t; __Host-T=t")], None, Ok(None));
    }

    #[test]
    fn several_tokens_are_refused_even_when_they_are_equal() {
        let repeated = Err(Rejection::TokenRepeated);
        check(&[("authorization", "Bearer t"), ("authorization", "Bearer t")], None, repeated);
        check(&[("authorization", "Basic t"), ("authorization", "Bearer t")], None, repeated);
        check(&[("authorization", "Bearer t"), ("x-access-token", "t")], None, repeated);
        check(&[("authorization", "Bearer t")], Some("access_token=t"), repeated);
        check(&[], Some("access_token=t&access_token=t"), repeated);
        check(&[], Some("access_token=t&%61ccess_token=u"), repeated);
        check(&[("authorization", "Bearer a, Bearer b")], None, repeated);
        check(&[("authorization", "Bearer ,a")], None, repeated);
        check(&[("authorization", "Basic a, Bearer b")], None, repeated);
        check(&[("authorization", ",bearer b")], None, repeated);
        check(&[("authorization", "Digest a=\"x\",\t BEARER")], None, repeated);
        check(&[("x-access-token", "a,b")], None, repeated);
        check(&[("cookie", "__Host-t=t; __Host-t=t")], None, repeated);
        check(&[("cookie", "__Host-t=t"), ("cookie", "__Host-t=u")], None, repeated);
        check(&[("cookie", "__Host-t=t"), ("authorization", "Bearer t")], None, repeated);
        check(&[("cookie", "__Host-t=t")], Some("access_token=t"), repeated);
    }

    #[test]
    fn white_space_before_a_scheme_does_not_make_it_another() {
        for value in [" Bearer t", "\t bearer t", " Basic x, Bearer t", "Bearer t "] {
            assert!(matches!(credentials(value), Credentials::Bearer(_)), "{value:?}");
            check(
                &[("authorization", value)],
                None,
                if value.contains(',') { Err(Rejection::TokenRepeated) } else { Ok(Some("t")) },
            );
        }
        assert_eq!(credentials(" Basic x"), Credentials::Other);
    }

    #[test]
    fn a_token_that_was_found_is_not_shown() {
        let token =
            FoundToken { text: "secret".into(), source: &TokenSource::Authorization, is_unknown_to_caches: true };
        assert_eq!(format!("{token:?}"), "FoundToken(6 bytes)");
        assert_eq!(format!("{:?} {:?}", credentials("Bearer secret"), credentials("Basic secret")), "Bearer Other");
    }

    #[test]
    fn a_bearer_scheme_without_a_token_is_malformed() {
        let malformed = Err(Rejection::TokenMalformed);
        for value in ["Bearer", "bearer ", "Bearer\tt", "Bearer=t", "Bearer:t"] {
            check(&[("authorization", value)], None, malformed);
        }
    }

    #[test]
    fn a_token_parameter_is_cut_out_of_the_query_whatever_its_spelling() {
        let names = [Box::from("access_token")];
        for (query, expected) in [
            ("a=1&access_token=t&b=2", Some("a=1&b=2")),
            ("access%5ftoken=t", Some("")),
            ("access_token", Some("")),
            ("a=1;access_token=t", Some("a=1")),
            ("access_token=t;a=1&b", Some("a=1&b")),
            ("a;access%5Ftoken=t;b&&c;d", Some("a;b&&c;d")),
            ("a=1;b", None),
            ("a=1", None),
            ("a=%41&b", None),
            ("", None),
        ] {
            assert_eq!(query_without(query, &names).as_deref(), expected, "{query}");
        }
        assert_eq!(query_without("access_token=t", &[]), None);
    }

    proptest! {
        #[test]
        fn what_is_forwarded_of_a_query_has_no_token_and_all_the_rest(
            parameters in prop::collection::vec(("[&;]", "access_token|%61ccess%5ftoken|access_token2|a|", "(=[a-z%=]{0,4})?"), 0..8)
        ) {
            let text = |is_wanted: fn(&str) -> bool| {
                let kept = parameters.iter().filter(|(_, name, _)| is_wanted(name));
                let text: String = kept.flat_map(|(separator, name, value)| [separator, name, value]).cloned().collect();
                text.get(1..).unwrap_or_default().to_owned()
            };
            let is_token = |name: &str| name.starts_with('%') || name == "access_token";
            let all = text(|_| true);
            let names = [Box::from("access_token")];
            let split = |query: &str| query.split(['&', ';']).map(str::to_owned).collect::<Vec<_>>();
            match query_without(&all, &names) {
                None => prop_assert!(!parameters.iter().any(|(_, name, _)| is_token(name))),
                Some(rest) => {
                    let expected = text(|name| !(name.starts_with('%') || name == "access_token"));
                    prop_assert_eq!(split(&rest), split(&expected));
                    prop_assert_eq!(query_without(&rest, &names), None);
                }
            }
            let no_headers = HeaderMap::new();
            let count = parameters.iter().filter(|(_, name, _)| is_token(name)).count();
            let sources = [TokenSource::Query("access_token".into())];
            let found = find(&sources, Places { headers: &no_headers, query: Some(&all), is_websocket: false });
            let found = found.map(|token| token.is_some()).map_err(|refusal| refusal.rejection());
            let expected = [Ok(false), Ok(true)].get(count).copied().unwrap_or(Err(Rejection::TokenRepeated));
            prop_assert_eq!(found, expected);
        }
    }
}
