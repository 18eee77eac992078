//! What an upstream is told: the first line is `4`, `6` or `u` for the client's address and `s` for TLS, the others are
//! header fields; a line `!` stands for a good token. Whatever a client sends, `X-Forwarded-*`, `X-Real-IP`, `Forwarded`,
//! `X-Request-Id`, `traceparent` and the identity headers are there once and say what the gateway saw, no respelling of
//! them is there, and nothing is there that the client did not send.
#![no_main]
use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
};

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use pingora::http::RequestHeader;
use portcullis::{
    edge::{
        exchange::Exchange,
        forwarding::{Origin, rewrite_request},
        installed::{Installed, Parts},
        metrics::Metrics,
        upstream::Upstreams,
    },
    gate::{
        decide::Decision,
        provenance::{Peer, Provenance, TrustedProxies},
    },
};
use portcullis_fuzz::{
    folded,
    house::{self, AUDIENCE, ISSUER, NOW},
    lines,
};

const OWNED: [&str; 12] = [
    "xforwardedfor",
    "xforwardedhost",
    "xforwardedproto",
    "xrealip",
    "forwarded",
    "xrequestid",
    "traceparent",
    "tracestate",
    "xuserid",
    "xuserroles",
    "xtenant",
    "xaccesstoken",
];

static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics::new().expect("metrics"));
static INSTALLED: LazyLock<Arc<Installed>> = LazyLock::new(|| {
    let config = house::config();
    let parts = Parts {
        waiters: Default::default(),
        upstreams: Arc::new(Upstreams::new(&config.live.upstreams).expect("upstreams")),
        upstream_names: vec!["echo".into()],
        trusted_proxies: TrustedProxies::default(),
        assertions: None,
        drop_underscore_headers: false,
        document: serde_json::Value::Null,
        required_for_readiness: vec![false],
        gatekeeper: house::gatekeeper(config),
    };
    Arc::new(Installed::new(parts, &METRICS))
});
static TOKEN: LazyLock<String> = LazyLock::new(|| {
    let claims =
        serde_json::json!({"iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 60, "sub": "alice", "roles": ["a", "b"]});
    format!("Bearer {}", house::minted(claims.to_string().as_bytes()))
});

fuzz_target!(|data: &[u8]| {
    let Some(mut lines) = lines(data) else { return };
    let first = lines.next().unwrap_or_default();
    let client: Option<IpAddr> = match first.as_bytes().first() {
        Some(b'4') => Some([192, 0, 2, 7].into()),
        Some(b'6') => Some([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7].into()),
        _ => None,
    };
    let path = if first.contains('/') { "/api" } else { "/" };
    let Ok(mut request) = RequestHeader::build("GET", path.as_bytes(), None) else { return };
    for line in lines.take(40) {
        let (name, value) = match line {
            "!" => ("Authorization", TOKEN.as_str()),
            line => line.split_once(": ").unwrap_or((line, "")),
        };
        // What is no field at all does not come through Pingora.
        let _ = request.append_header(name.to_owned(), value);
    }
    let sent = request.headers.clone();
    let judgement = house::decide(&INSTALLED.gatekeeper, &house::request("GET", path, None, &sent), NOW);
    let identity = match &judgement.decision {
        Decision::Pass(identity) => identity.clone(),
        Decision::Reject(_) => return,
        Decision::AwaitKeys(_) => panic!("keys are at hand"),
    };
    let mut exchange = Exchange::begin(Arc::clone(&INSTALLED), METRICS.in_flight());
    exchange.judgement = Some(judgement);
    let provenance = Provenance::direct(client.map_or(Peer::Unknown, Peer::at), first.contains('s'));
    let host = sent.get("host").and_then(|host| host.to_str().ok());
    let origin = Origin { provenance: &provenance, host, version: http::Version::HTTP_11, trace_state: None };
    rewrite_request(&mut request, &exchange, origin).expect("values that fit");
    let told = &request.headers;
    let address = client.map(|client| client.to_string());
    assert_once(told, "x-forwarded-for", address.as_deref());
    assert_once(told, "x-real-ip", address.as_deref());
    assert_once(told, "x-forwarded-host", sent.get("host").map(|host| host.to_str().expect("judged")));
    assert_once(told, "x-forwarded-proto", Some(if origin.provenance.is_encrypted { "https" } else { "http" }));
    assert_once(told, "x-request-id", Some(exchange.identifiers.request()));
    assert_once(told, "traceparent", Some(&exchange.identifiers.traceparent()));
    assert_once(told, "x-user-id", identity.as_ref().map(|_| "alice"));
    assert_once(told, "x-user-roles", identity.as_ref().map(|_| "a,b"));
    check_forwarded(told, origin);
    check_rest(told, &sent);
});

/// One value, or none at all.
fn assert_once(told: &HeaderMap, name: &str, expected: Option<&str>) {
    let values: Vec<_> = told.get_all(name).iter().map(|value| value.to_str().expect("visible")).collect();
    assert_eq!(values, expected.into_iter().collect::<Vec<_>>(), "{name}");
}

/// RFC 7239 §4 as a strict reader has it: pairs between semicolons, values quoted where they must be.
fn check_forwarded(told: &HeaderMap, origin: Origin<'_>) {
    let [forwarded] = told.get_all("forwarded").iter().collect::<Vec<_>>()[..] else { panic!("not one Forwarded") };
    let forwarded = forwarded.to_str().expect("visible");
    let mut pairs = forwarded.split(';').map(|pair| pair.split_once('=').expect("a pair"));
    let mut next = |name: &str| {
        let (found, value) = pairs.next().expect("a pair");
        assert_eq!(found, name);
        match value.strip_prefix('"') {
            Some(quoted) => {
                quoted.strip_suffix('"').filter(|inside| !inside.contains(['"', '\\'])).expect("one string")
            }
            None => {
                assert!(!value.contains([':', '[', '"', ' ']), "{value:?} is no token");
                value
            }
        }
    };
    let expected = match origin.provenance.client {
        Some(IpAddr::V6(address)) => format!("[{address}]"),
        Some(address) => address.to_string(),
        None => "unknown".to_owned(),
    };
    assert_eq!(next("for"), expected);
    if let Some(host) = origin.host {
        assert_eq!(next("host"), host);
    }
    assert_eq!(next("proto"), if origin.provenance.is_encrypted { "https" } else { "http" });
    assert!(pairs.next().is_none());
}

/// No respelling of what the gateway writes; of everything else only what the client sent.
fn check_rest(told: &HeaderMap, sent: &HeaderMap) {
    for (name, value) in told {
        let spelling = folded(name.as_str());
        assert!(!spelling.starts_with("xinternal"), "{name}");
        if OWNED.contains(&spelling.as_str()) {
            let plain = [
                "x-forwarded-for",
                "x-forwarded-host",
                "x-forwarded-proto",
                "x-real-ip",
                "forwarded",
                "x-request-id",
                "traceparent",
                "x-user-id",
                "x-user-roles",
            ];
            assert!(plain.contains(&name.as_str()), "{name} is a respelling");
        } else if name == "via" {
            assert!(value == "1.1 portcullis" || sent.get_all(name).iter().any(|sent| sent == value));
        } else if name == "cookie" {
            assert_eq!(value.as_bytes(), joined(sent), "the cookies");
        } else {
            assert!(sent.get_all(name).iter().any(|sent| sent == value), "{name} was not sent");
            assert!(
                !spelling.contains("authorization") || !value.as_bytes().to_ascii_lowercase().starts_with(b"bearer")
            );
        }
    }
}

/// Several fields of cookies as one (RFC 9113 §8.2.3), without those that hold none.
fn joined(sent: &HeaderMap) -> Vec<u8> {
    let fields: Vec<&[u8]> = sent.get_all("cookie").iter().map(HeaderValue::as_bytes).collect();
    match fields.as_slice() {
        [one] => one.to_vec(),
        several => {
            let holds_any = |field: &&&[u8]| field.iter().any(|byte| !b"; \t".contains(byte));
            several.iter().filter(holds_any).copied().collect::<Vec<_>>().join(b"; ".as_slice())
        }
    }
}
