//! The metadata of an issuer. What is believed is what another reader finds there; it speaks for the issuer that was asked
//! about, and the keys are only ever where a URL may be fetched.
#![no_main]
use libfuzzer_sys::fuzz_target;
use portcullis::edge::discovery::document::{Expected, parse};
use serde_json::Value;

const ISSUER: &str = "https://auth.example.com/t1";
const PLACE: &str = "https://auth.example.com/t1/.well-known/openid-configuration";

fuzz_target!(|data: &[u8]| {
    for expected in [Expected::Issuer(ISSUER), Expected::IssuerOf(PLACE)] {
        for insecure_http in [false, true] {
            check(data, expected, insecure_http);
        }
    }
});

fn check(data: &[u8], expected: Expected<'_>, insecure_http: bool) {
    let (jwks_uri, metadata) = match parse(data, expected, insecure_http) {
        Ok(read) => read,
        Err(fault) => {
            let text = fault.to_string();
            assert!(text.len() < 1024 && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text:?}");
            return;
        }
    };
    let document: Value = serde_json::from_slice(data).expect("JSON");
    assert_eq!(document["issuer"], metadata.issuer);
    assert_eq!(document["jwks_uri"], jwks_uri);
    match expected {
        Expected::Issuer(issuer) => assert_eq!(metadata.issuer, issuer),
        Expected::IssuerOf(place) => assert!(place.starts_with(metadata.issuer.trim_end_matches('/'))),
    }
    check_url(&jwks_uri, insecure_http);
    if let Some(endpoint) = &metadata.token_endpoint {
        assert_eq!(document["token_endpoint"], *endpoint);
        check_url(endpoint, insecure_http);
    }
    for list in [&metadata.signing_algorithms, &metadata.scopes, &metadata.claims] {
        assert!(list.len() <= 64);
        let is_shown =
            |text: &String| (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        assert!(list.iter().all(is_shown));
    }
}

fn check_url(url: &str, insecure_http: bool) {
    let uri: http::Uri = url.parse().expect("a URL");
    let scheme = uri.scheme_str().expect("a scheme");
    assert!(scheme.eq_ignore_ascii_case("https") || (insecure_http && scheme.eq_ignore_ascii_case("http")), "{url}");
    let authority = uri.authority().expect("an authority");
    assert!(!authority.host().is_empty() && !authority.as_str().contains('@'), "{url}");
    assert!(!url.contains('#') && url.len() <= 2048);
}
