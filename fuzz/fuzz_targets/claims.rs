//! The claims of a token whose signature is good. Who passes has what another reader finds in the claims: issuer, audience,
//! times, subject, roles. What services are told can be decoded into the claims again. A token that is remembered is
//! judged as it was when it was new, and no token passes after its end.
#![no_main]
use std::sync::LazyLock;

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use portcullis::{
    gate::{
        claims::Identity,
        decide::Decision,
        issuer::{LEEWAY_MAX, REMAINING_LIFETIME_MAX},
        rejection::Rejection,
    },
    state::gatekeeper::Gatekeeper,
};
use portcullis_fuzz::{
    assert_printable, decoded,
    house::{self, AUDIENCE, ISSUER, NOW},
};
use serde_json::Value;

const LEEWAY: f64 = 30.0;
const HEADERS: [&str; 4] = ["sub", "roles", "org", "all"];

static GATEKEEPER: LazyLock<Gatekeeper> = LazyLock::new(|| house::gatekeeper(house::config()));

fuzz_target!(|data: &[u8]| {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("api.test"));
    let bearer = format!("Bearer {}", house::minted(data));
    headers.insert("authorization", bearer.parse().expect("visible"));
    let request = house::request("GET", "/claims", None, &headers);
    let now = house::decide(&GATEKEEPER, &request, NOW);
    let again = house::decide(&GATEKEEPER, &request, NOW);
    match (&now.decision, &again.decision) {
        (Decision::Pass(Some(identity)), Decision::Pass(Some(again))) => {
            assert_eq!(identity.headers(), again.headers());
            check(identity, &serde_json::from_slice(data).expect("claims"));
            let end = identity.expires().plus(LEEWAY_MAX).seconds() + 1;
            match house::decide(&GATEKEEPER, &request, end).decision {
                Decision::Reject(refusal) => assert_eq!(refusal.rejection(), Rejection::TokenExpired),
                other => panic!("{other:?} after its end"),
            }
        }
        (Decision::Reject(refusal), Decision::Reject(again)) => {
            assert_eq!(refusal, again);
            assert_printable(refusal.detail().unwrap_or_default());
        }
        (now, again) => panic!("{now:?}, then {again:?}"),
    }
});

fn check(identity: &Identity, claims: &Value) {
    let now = NOW as f64;
    assert_eq!(claims["iss"], ISSUER);
    let expires = claims["exp"].as_f64().expect("a number");
    assert!(now < expires + LEEWAY && expires - now <= REMAINING_LIFETIME_MAX.as_secs_f64());
    for name in ["nbf", "iat"] {
        let Some(time) = claims.get(name) else { continue };
        assert!(now >= time.as_f64().expect("a number") - LEEWAY, "{name}");
    }
    let is_audience = |value: &Value| value == AUDIENCE;
    assert!(is_audience(&claims["aud"]) || claims["aud"].as_array().is_some_and(|list| list.iter().any(is_audience)));
    let subject = claims["sub"].as_str().expect("a string");
    assert_eq!(identity.subject(), Some(subject));
    assert!(!subject.is_empty());
    for role in identity.roles() {
        let is_role = |value: &Value| value.as_str() == Some(role);
        assert!(is_role(&claims["roles"]) || claims["roles"].as_array().is_some_and(|list| list.iter().any(is_role)));
    }
    for scope in identity.scopes() {
        let named = |value: &Value| value.as_str().is_some_and(|text| text.split(' ').any(|word| word == &**scope));
        let held = |value: &Value| named(value) || value.as_array().is_some_and(|list| list.iter().any(named));
        assert!(held(&claims["scope"]) || held(&claims["scp"]));
    }
    for (position, value) in identity.headers() {
        let text = value.to_str().expect("visible ASCII");
        assert!(!text.is_empty() && text.trim() == text);
        let claim = match HEADERS[usize::from(*position)] {
            "org" => &claims["org"]["tenant"],
            name => &claims[name],
        };
        check_header(text, claim);
    }
}

/// A service that follows `docs/identity-headers.md` gets the claim back.
fn check_header(text: &str, claim: &Value) {
    let plain = |text: &str| decoded(text.as_bytes(), |_| false);
    let is_scalar = |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
    let scalar = |text: &str, value: &Value| match value {
        Value::String(string) => assert_eq!(plain(text), string.as_bytes()),
        Value::Number(_) | Value::Bool(_) => assert_eq!(serde_json::from_str::<Value>(text).ok().as_ref(), Some(value)),
        other => panic!("{text:?} stands for {other:?}"),
    };
    match claim {
        Value::Array(list) if list.iter().all(is_scalar) => {
            let parts: Vec<&str> = text.split(',').collect();
            assert_eq!(parts.len(), list.len());
            parts.iter().zip(list).for_each(|(part, value)| scalar(part, value));
        }
        Value::Array(_) | Value::Object(_) => {
            assert_eq!(serde_json::from_str::<Value>(text).ok().as_ref(), Some(claim));
        }
        value => scalar(text, value),
    }
}
