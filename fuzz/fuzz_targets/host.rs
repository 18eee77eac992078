//! A `Host`. The compared spelling is its own compared spelling and has nothing but the host; another reader of authorities
//! finds the same host and port.
#![no_main]
use http::uri::Authority;
use libfuzzer_sys::fuzz_target;
use portcullis::gate::host::Host;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Host::parse(text) {
        Ok(host) => check(text, host.name()),
        Err(fault) => assert!(!fault.is_empty()),
    }
});

fn check(text: &str, name: &str) {
    assert_eq!(Host::parse(name).expect("a host still").name(), name);
    assert!(!name.is_empty() && !name.ends_with('.') && name == name.to_ascii_lowercase());
    let is_bracketed = name.starts_with('[');
    let is_allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte) || (is_bracketed && b"[]:".contains(&byte));
    assert!(name.bytes().all(is_allowed), "{name}");
    // Upper case and a final dot name the same host.
    assert_eq!(Host::parse(&text.to_ascii_uppercase()).expect("a host still").name(), name);
    let authority: Authority = text.parse().expect("an authority to others too");
    let theirs = authority.host().to_ascii_lowercase();
    if is_bracketed {
        let address = |text: &str| text.trim_matches(['[', ']']).parse::<std::net::Ipv6Addr>().expect("an address");
        assert_eq!(address(&theirs), address(name));
    } else {
        assert_eq!(theirs.strip_suffix('.').unwrap_or(&theirs), name);
    }
}
