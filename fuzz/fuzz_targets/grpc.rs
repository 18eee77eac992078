//! A media type, and behind a line end a message. Who makes a call is told in its own media type, which is a part of what came; a
//! message has one line of visible characters and says what it said before.
#![no_main]
use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use portcullis::gate::grpc::{call_type, is_content_type, message};
use portcullis_fuzz::{assert_printable, decoded};

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    if let Some(Ok(value)) = parts.next().map(HeaderValue::from_bytes) {
        let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        let essence = text.split(';').next().unwrap_or_default().trim();
        let suffix = essence.strip_prefix("application/grpc");
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, value.clone());
        match call_type(&headers) {
            Some(kind) => {
                assert!(is_content_type(&value));
                let kind = kind.to_str().unwrap();
                assert_eq!(kind.to_ascii_lowercase(), essence);
                assert!(kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/+-._".contains(&byte)));
                assert!(suffix.is_some_and(|suffix| suffix.is_empty() || suffix.starts_with('+')));
            }
            None => assert_ne!(suffix, Some("")),
        }
        if is_content_type(&value) {
            assert!(suffix.is_some_and(|suffix| suffix.is_empty() || suffix.starts_with(['+', '-'])));
        }
    }
    if let Some(Ok(text)) = parts.next().map(std::str::from_utf8) {
        let encoded = message(text);
        assert_printable(&encoded);
        assert_eq!(decoded(encoded.as_bytes(), |_| false), text.as_bytes());
    }
});
