//! Rows of what proxies say, and what holds for all of it.
use std::net::Ipv4Addr;

use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn trusted() -> TrustedProxies {
    let networks = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
    TrustedProxies { networks: networks.into(), by_unix_socket: true }
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let pairs =
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
    pairs.fold(HeaderMap::new(), |mut map, (name, value)| {
        map.append(name, value);
        map
    })
}

/// `client; proxies; scheme; host`, or `refused`.
fn of(peer: &str, fields: &[(&'static str, &str)]) -> String {
    let peer = match peer {
        "unix" => Peer::UnixSocket,
        "unknown" => Peer::Unknown,
        address => Peer::at(address.parse().unwrap()),
    };
    let shown = |address: Option<IpAddr>| address.map_or("-".to_owned(), |address| address.to_string());
    match Provenance::of(&trusted(), peer, false, &headers(fields)) {
        Ok(Provenance { client, proxies, is_encrypted, host }) => {
            let proxies: Vec<String> = proxies.into_iter().map(shown).collect();
            let scheme = if is_encrypted { "https" } else { "http" };
            format!("{}; {}; {scheme}; {}", shown(client), proxies.join(" "), host.as_deref().unwrap_or("-"))
        }
        Err(refusal) => {
            assert_eq!(refusal.rejection(), Rejection::RequestMalformed);
            "refused".to_owned()
        }
    }
}

const XFF: &str = "x-forwarded-for";

type Row<'r> = (&'r str, &'r [(&'static str, &'r str)], &'r str);

fn check(rows: &[Row<'_>]) {
    for (peer, fields, expected) in rows {
        assert_eq!(of(peer, fields), *expected, "{peer} {fields:?}");
    }
}

#[test]
fn the_client_is_the_last_that_no_trusted_proxy_is() {
    let rows: &[Row<'_>] = &[
        ("192.0.2.1", &[(XFF, "203.0.113.9")], "192.0.2.1; ; http; -"),
        ("192.0.2.1", &[(XFF, "garbage"), ("forwarded", "=")], "192.0.2.1; ; http; -"),
        ("10.0.0.1", &[], "10.0.0.1; ; http; -"),
        ("10.0.0.1", &[(XFF, "")], "10.0.0.1; ; http; -"),
        ("10.0.0.1", &[(XFF, "203.0.113.9")], "203.0.113.9; 10.0.0.1; http; -"),
        ("10.0.0.1", &[(XFF, "1.1.1.1, 203.0.113.9")], "203.0.113.9; 10.0.0.1; http; -"),
        ("10.0.0.1", &[(XFF, "1.1.1.1"), (XFF, "203.0.113.9")], "203.0.113.9; 10.0.0.1; http; -"),
        ("10.0.0.1", &[(XFF, "1.1.1.1, 203.0.113.9, 10.9.9.9")], "203.0.113.9; 10.9.9.9 10.0.0.1; http; -"),
        ("10.0.0.1", &[(XFF, "10.2.2.2, 10.9.9.9")], "10.2.2.2; 10.9.9.9 10.0.0.1; http; -"),
        ("10.0.0.1", &[(XFF, "203.0.113.9:4711")], "203.0.113.9; 10.0.0.1; http; -"),
        ("10.0.0.1", &[(XFF, "[2001:db8::1]:4711")], "2001:db8::1; 10.0.0.1; http; -"),
        ("10.0.0.1", &[(XFF, "2001:db8::1")], "2001:db8::1; 10.0.0.1; http; -"),
        ("10.0.0.1", &[(XFF, "::ffff:203.0.113.9")], "203.0.113.9; 10.0.0.1; http; -"),
        ("fd00::1", &[(XFF, "203.0.113.9")], "203.0.113.9; fd00::1; http; -"),
        ("unix", &[(XFF, "203.0.113.9")], "203.0.113.9; -; http; -"),
        ("10.0.0.1", &[(XFF, "203.0.113.9, unknown")], "-; 10.0.0.1; http; -"),
        ("10.0.0.1", &[(XFF, "203.0.113.9, _hidden")], "-; 10.0.0.1; http; -"),
        // A load balancer that does not say who its client is does not vouch for what that says.
        ("unknown", &[(XFF, "203.0.113.9"), ("forwarded", "for=203.0.113.9;host=evil.test")], "-; ; http; -"),
        ("0.0.0.0", &[(XFF, "203.0.113.9")], "-; ; http; -"),
        ("10.0.0.1", &[(XFF, "<script>, 203.0.113.9")], "203.0.113.9; 10.0.0.1; http; -"),
        ("10.0.0.1", &[(XFF, "203.0.113.9, x")], "refused"),
        ("10.0.0.1", &[(XFF, "203.0.113.9, x, 10.9.9.9")], "refused"),
        ("10.0.0.1", &[(XFF, "203.0.113.9:99999")], "refused"),
        ("10.0.0.1", &[(XFF, "010.0.0.1")], "refused"),
    ];
    check(rows);
}

#[test]
fn what_both_families_say_of_the_client_is_one() {
    let rows: &[Row<'_>] = &[
        ("10.0.0.1", &[("forwarded", "for=203.0.113.9")], "203.0.113.9; 10.0.0.1; http; -"),
        (
            "10.0.0.1",
            &[("forwarded", "for=1.1.1.1, For=\"203.0.113.9:80\" ; by=10.0.0.1")],
            "203.0.113.9; 10.0.0.1; http; -",
        ),
        ("10.0.0.1", &[("forwarded", "for=\"[2001:db8::1]\";proto=https")], "2001:db8::1; 10.0.0.1; https; -"),
        (
            "10.0.0.1",
            &[("forwarded", "for=1.1.1.1;proto=https, for=203.0.113.9;proto=http")],
            "203.0.113.9; 10.0.0.1; http; -",
        ),
        ("10.0.0.1", &[("forwarded", "for=203.0.113.9;host=a.test:81")], "203.0.113.9; 10.0.0.1; http; a.test:81"),
        ("10.0.0.1", &[("forwarded", "for=\"203.0.113.9")], "refused"),
        ("10.0.0.1", &[("forwarded", "for=203.0.113.9;for=1.1.1.1")], "refused"),
        ("10.0.0.1", &[("forwarded", "for=203.0.113.9 proto=https")], "refused"),
        ("10.0.0.1", &[("forwarded", "for=203.0.113.9;host=\"a b\"")], "refused"),
        ("10.0.0.1", &[("forwarded", "203.0.113.9")], "refused"),
        ("10.0.0.1", &[(XFF, "203.0.113.9"), ("forwarded", "for=203.0.113.9")], "203.0.113.9; 10.0.0.1; http; -"),
        (
            "10.0.0.1",
            &[(XFF, "1.1.1.1, 203.0.113.9"), ("forwarded", "for=2.2.2.2, for=203.0.113.9")],
            "203.0.113.9; 10.0.0.1; http; -",
        ),
        ("10.0.0.1", &[(XFF, "203.0.113.9"), ("forwarded", "for=203.0.113.8")], "refused"),
        ("10.0.0.1", &[(XFF, "203.0.113.9"), ("forwarded", "for=unknown")], "refused"),
        ("10.0.0.1", &[(XFF, "203.0.113.9, 10.1.1.1"), ("forwarded", "for=203.0.113.9")], "refused"),
        ("10.0.0.1", &[("x-forwarded-proto", "https")], "10.0.0.1; ; https; -"),
        ("10.0.0.1", &[("x-forwarded-proto", "HTTPS, https")], "10.0.0.1; ; https; -"),
        ("10.0.0.1", &[("x-forwarded-proto", "https, http")], "refused"),
        ("10.0.0.1", &[("x-forwarded-proto", "ftp")], "refused"),
        (
            "10.0.0.1",
            &[(XFF, "203.0.113.9, 10.1.1.1"), ("x-forwarded-proto", "https,http")],
            "203.0.113.9; 10.1.1.1 10.0.0.1; https; -",
        ),
        ("10.0.0.1", &[("x-forwarded-proto", "https"), ("forwarded", "for=203.0.113.9;proto=http")], "refused"),
        (
            "10.0.0.1",
            &[(XFF, "203.0.113.9"), ("forwarded", "for=203.0.113.9;proto=https;host=evil.test, for=203.0.113.9")],
            "203.0.113.9; 10.0.0.1; http; -",
        ),
        (
            "10.0.0.1",
            &[(XFF, "1.1.1.1, 203.0.113.9"), ("forwarded", "for=203.0.113.9;proto=https;host=a.test")],
            "203.0.113.9; 10.0.0.1; https; a.test",
        ),
        ("10.0.0.1", &[("x-forwarded-host", "a.test")], "10.0.0.1; ; http; a.test"),
        ("10.0.0.1", &[("x-forwarded-host", "a.test, b.test")], "refused"),
        ("10.0.0.1", &[("x-forwarded-host", "a.test\"")], "refused"),
        ("192.0.2.1", &[("x-forwarded-proto", "https"), ("x-forwarded-host", "evil.test")], "192.0.2.1; ; http; -"),
    ];
    check(rows);
}

proptest! {
    #[test]
    fn what_a_client_writes_never_makes_it_another(list in proptest::collection::vec("[0-9.:, a-z_]{0,20}|10\\.0\\.0\\.[1-9]", 0..6), last in 0_u8..=255) {
        // The one trusted proxy adds the address that it saw; whatever stands before it was the client's.
        let client = IpAddr::V4(Ipv4Addr::new(203, 0, 113, last));
        let mut sent = list;
        sent.push(client.to_string());
        let proxy = "10.0.0.1".parse().unwrap();
        let fields = [("x-forwarded-for", sent.join(", "))];
        let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
        let found = Provenance::of(&trusted(), Peer::at(proxy), false, &headers(&fields)).unwrap();
        prop_assert_eq!(found.client, Some(client));
        prop_assert_eq!(found.proxies, vec![Some(proxy)]);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[ -~]{0,80}") {
        let _ = forwarded(&text);
        let _ = node(&text);
    }

    #[test]
    fn what_is_written_is_read(address in any::<IpAddr>(), proto in any::<bool>()) {
        let shown = if address.is_ipv6() { format!("\"[{address}]\"") } else { address.to_string() };
        let text = format!("for={shown};host=\"a.test\";proto={}", if proto { "https" } else { "http" });
        let expected = Element { node: Some(address.to_canonical()), is_encrypted: Some(proto), host: Some("a.test".into()) };
        prop_assert_eq!(forwarded(&text), Some(vec![expected]));
    }
}
