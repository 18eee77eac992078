//! The protocols that the client of a WebSocket offers, each line a field. A token is found exactly where a naive reader of the
//! joined list finds one and something beside it; what is forwarded has no token, and everything else in its order.
#![no_main]
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use portcullis::gate::{
    field_change::FieldChange,
    rejection::Rejection,
    websocket_protocol::{FIELD, are_distinct, forwarded, offer, tells_token, token},
};

const WORDS: [&str; 2] = ["bearer", "base64url.bearer"];

fuzz_target!(|data: &[u8]| {
    assert!(are_distinct(WORDS[0], WORDS[1]));
    let mut headers = HeaderMap::new();
    let mut fields = Vec::new();
    for line in data.split(|byte| *byte == b'\n').take(16) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(FIELD, value);
            fields.push(line);
        }
    }
    let joined = fields.join(&b","[..]);
    let offers: Vec<&[u8]> =
        joined.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|offer| !offer.is_empty()).collect();
    let mut others = offers.clone();
    for word in WORDS {
        let prefix = format!("{word}.").into_bytes();
        let carried: Vec<&[u8]> = offers.iter().filter_map(|offer| offer.strip_prefix(prefix.as_slice())).collect();
        others.retain(|offer| !offer.starts_with(&prefix));
        match token(&headers, word) {
            Ok(None) => assert!(carried.is_empty()),
            Ok(Some(found)) => {
                assert!(carried.len() == 1 && offers.len() > 1 && !found.is_empty() && found.is_ascii());
                let again = offer(word, &found);
                assert!(offers.contains(&again.as_bytes()), "one token has one spelling");
            }
            Err(refusal) => match refusal.rejection() {
                Rejection::TokenRepeated => assert!(carried.len() > 1),
                Rejection::RequestMalformed => assert!(carried.len() == 1 && offers.len() == 1),
                Rejection::TokenMalformed => {
                    let [carried] = carried[..] else { panic!("{} tokens", carried.len()) };
                    let decoded = if word == WORDS[0] { Ok(carried.to_vec()) } else { URL_SAFE_NO_PAD.decode(carried) };
                    assert!(decoded.map_or(true, |text| text.is_empty() || !text.is_ascii()));
                }
                other => panic!("{other}"),
            },
        }
    }
    let mut left = headers.clone();
    match forwarded(&headers, || WORDS.into_iter()) {
        FieldChange::Unchanged => assert_eq!(others, offers),
        FieldChange::Removed => {
            assert!(others.is_empty() && !offers.is_empty());
            left.remove(FIELD);
        }
        FieldChange::Replaced(value) => {
            assert!(others.len() < offers.len());
            assert_eq!(value.as_bytes(), others.join(&b", "[..]));
            left.insert(FIELD, value);
        }
    }
    assert!(!tells_token(&left, WORDS.into_iter()));
    assert_eq!(tells_token(&headers, WORDS.into_iter()), others.len() < offers.len());
});
