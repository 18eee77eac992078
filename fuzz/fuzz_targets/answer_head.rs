//! The head of a key server's answer, as lines of header fields. Freshness has a bound and a `no-store` always counts; an
//! entity tag can be sent back as it is; a redirect stays with its server; a type that is believed says JSON.
#![no_main]
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use libfuzzer_sys::fuzz_target;
use portcullis::edge::jwks_client::answer::{check_type, date, entity_tag, freshness, is_entity_tag, redirect};

const FRESHNESS_MAX: Duration = Duration::from_secs(1 << 31);

fuzz_target!(|data: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(16) {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b": ").unwrap_or_default();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    check_freshness(&headers);
    if let Some(tag) = entity_tag(&headers) {
        assert!(is_entity_tag(&tag) && tag.len() <= 256 && HeaderValue::from_str(&tag).is_ok());
        assert!(tag.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(headers.get_all("etag").iter().any(|sent| sent.to_str().is_ok_and(|sent| sent.trim() == &*tag)));
        assert_eq!(headers.get_all("etag").iter().count(), 1);
    }
    let _ = date(&headers);
    if check_type(&headers, false).is_ok() {
        let declared = headers.get("content-type").map(|declared| declared.as_bytes().to_ascii_lowercase());
        assert!(declared.is_none_or(|declared| declared.windows(4).any(|window| window == b"json")));
    }
    for here in ["https://keys.example.com/a", "http://keys.example.com:8080/", "https://[2001:db8::1]/a?b"] {
        check_redirect(here, &headers);
    }
});

fn check_freshness(headers: &HeaderMap) {
    let fields: Vec<String> = headers
        .get_all("cache-control")
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).to_lowercase())
        .collect();
    let names = || {
        fields.iter().flat_map(|field| field.split(',')).map(|part| part.split('=').next().unwrap_or_default().trim())
    };
    let freshness = freshness(headers);
    assert!(freshness.is_none_or(|freshness| freshness <= FRESHNESS_MAX));
    assert_eq!(freshness.is_some(), names().any(|name| ["no-store", "no-cache", "max-age"].contains(&name)));
    assert!(!names().any(|name| name == "no-store") || freshness == Some(Duration::ZERO));
}

fn check_redirect(here: &str, headers: &HeaderMap) {
    let here: Uri = here.parse().expect("a URL");
    let Ok(target) = redirect(&here, headers) else { return };
    let standard = |uri: &Uri| if uri.scheme_str() == Some("https") { 443 } else { 80 };
    assert_eq!(target.scheme(), here.scheme());
    assert_eq!(target.port_u16().unwrap_or(standard(&target)), here.port_u16().unwrap_or(standard(&here)));
    let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
    assert_eq!(host(&target), host(&here));
    assert!(!target.authority().expect("an authority").as_str().contains('@'));
}
