//! Where the token is: a query in the first line, then header fields, `A` before an `Authorization`, `X` before an
//! `X-Access-Token`. A token is found only when a naive count finds one in all places together, none is missed, and what
//! is forwarded of the query holds no token and loses nothing else.
#![no_main]
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use portcullis::gate::{
    rejection::Rejection,
    sources::{Credentials, Places, TokenSource, credentials, find, query_without},
};
use portcullis_fuzz::{assert_printable, decoded, lines};

const PARAMETER: &str = "access_token";

fuzz_target!(|data: &[u8]| {
    let Some(mut lines) = lines(data) else { return };
    let query = lines.next().filter(|query| !query.is_empty());
    let mut headers = HeaderMap::new();
    let (mut authorizations, mut tokens) = (Vec::new(), Vec::new());
    for line in lines.take(16) {
        let (name, values) = match line.as_bytes().first() {
            Some(b'A') => ("authorization", &mut authorizations),
            Some(b'X') => ("x-access-token", &mut tokens),
            _ => continue,
        };
        let Ok(value) = HeaderValue::from_str(&line[1..]) else { continue };
        values.push(&line[1..]);
        headers.append(HeaderName::from_static(name), value);
    }
    let names = [Box::from(PARAMETER)];
    check_query(query.unwrap_or_default(), &names);
    let sources = [
        TokenSource::Authorization,
        TokenSource::Header(HeaderName::from_static("x-access-token")),
        TokenSource::Query(PARAMETER.into()),
    ];
    let bearers = authorizations.iter().filter(|value| value.split(',').any(is_bearer)).count();
    let parameters = parameters(query.unwrap_or_default()).filter(|parameter| is_token(parameter)).count();
    match find(&sources, Places { headers: &headers, query, is_websocket: false }) {
        Ok(Some(token)) => {
            assert_eq!((bearers + tokens.len() + parameters, authorizations.len() <= 1), (1, true));
            assert_eq!(token.is_unknown_to_caches, parameters == 1);
            assert!(token.is_unknown_to_caches || !token.text.contains(','));
            let places = authorizations.iter().chain(&tokens).copied().chain(query);
            assert!(places.into_iter().any(|place| place.contains(token.text.as_ref())));
            let shown = format!("FoundToken({} bytes)", token.text.len());
            assert_eq!(format!("{token:?}"), shown);
        }
        Ok(None) => assert_eq!(bearers + tokens.len() + parameters, 0),
        Err(refusal) => {
            assert!(matches!(refusal.rejection(), Rejection::TokenRepeated | Rejection::TokenMalformed));
            assert_printable(refusal.detail().unwrap_or_default());
        }
    }
    for value in authorizations {
        assert_eq!(credentials(value) == Credentials::Other, !value.split(',').any(is_bearer), "{value:?}");
    }
});

/// Whether credentials are Bearer's to a reader that looks at no more than the scheme.
fn is_bearer(credentials: &str) -> bool {
    let credentials = credentials.trim_start();
    let scheme: String = credentials.chars().take_while(char::is_ascii_alphanumeric).collect();
    scheme.eq_ignore_ascii_case("bearer")
}

fn parameters(query: &str) -> impl Iterator<Item = &str> {
    query.split(['&', ';'])
}

fn is_token(parameter: &str) -> bool {
    let name = parameter.split('=').next().unwrap_or_default();
    decoded(name.as_bytes(), |_| false) == PARAMETER.as_bytes()
}

fn check_query(query: &str, names: &[Box<str>]) {
    match query_without(query, names) {
        None => assert!(!parameters(query).any(is_token)),
        Some(rest) => {
            assert!(parameters(query).any(is_token));
            assert!(!parameters(&rest).any(is_token));
            assert_eq!(query_without(&rest, names), None);
            let kept: Vec<&str> = parameters(query).filter(|parameter| !is_token(parameter)).collect();
            let found: Vec<&str> = parameters(&rest).collect();
            assert!(kept == found || (kept.is_empty() && rest.is_empty()), "{query:?} became {rest:?}");
        }
    }
}
