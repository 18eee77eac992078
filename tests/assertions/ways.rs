//! Whatever way a request goes on, the service is told who is calling once, by the gateway, and signed once.
use super::*;
use crate::support::{
    client::request_bytes,
    fixture::{config, keys_file},
    http2::Http2,
    http2_echo::Http2Echo,
    server::free_address,
    wire::Head,
};

/// What a client says of itself, in spellings that services fold.
const FORGED: [(&str, &str); 4] =
    [("X-User-ID", "forged"), ("x_user_id", "forged"), ("X-User-Roles", "forged"), (HEADER, "forged.by.client")];

/// One value of each header, the gateway's.
#[track_caller]
fn check_told_once(gateway: &Gateway, way: &str, head: &Head) {
    for name in ["X-User-Roles", "X-User-Scopes"] {
        assert!(head.folding_onto(name).len() <= 1, "{way}: {:?}", head.fields);
    }
    let found = head.folding_onto("X-User-ID");
    assert!(matches!(found.as_slice(), [(_, "u1")]), "{way}: {found:?}");
    assert!(!format!("{:?}", head.fields).contains("forged"), "{way}: {:?}", head.fields);
    let found = head.folding_onto(HEADER);
    let [(_, assertion)] = found.as_slice() else { panic!("{way}: {found:?}") };
    minted::remember(assertion);
    assert_eq!(verified(gateway, assertion, "echo")["sub"], "u1", "{way}");
}

#[test]
fn every_way_that_a_request_goes_on_tells_the_service_once_who_is_calling() {
    let (upstream, nobody) = (Upstream::start(), free_address());
    // Every other request is tried at a server that is not there first, as long as that is not known.
    let text = config(ASSERTION, ROUTES)
        .replace("[\"{upstream}\"]", &format!("[\"{nobody}\", \"{{upstream}}\"]"))
        .replace("address: \"{listen}\"", "address: \"{listen}\", http2: true");
    let gateway = Gateway::builder(text).set("upstream", upstream.address()).file("keys.json", keys_file()).start();
    let bearer = good_bearer();
    let head = |method: &str, more: &[(&str, &str)]| {
        request_bytes(method, "/orders", &[&FORGED[..], more, &[("Authorization", &bearer)]].concat())
    };
    let chunked = [("Transfer-Encoding", "chunked"), ("Trailer", "X-User-ID")];
    let upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")];
    let trailers = b"2\r\nok\r\n0\r\nX-User-ID: forged\r\nX-Identity-Assertion: forged\r\n\r\n".as_slice();
    let ways: [(&str, &str, Vec<u8>); 6] = [
        ("plain, a token seen for the first time", "GET", head("GET", &[])),
        ("a token remembered", "GET", head("GET", &[])),
        ("without a body in the answer", "HEAD", head("HEAD", &[])),
        (
            "asked before it sends",
            "POST",
            [&head("POST", &[("Expect", "100-continue"), ("Content-Length", "2")]), b"ok".as_slice()].concat(),
        ),
        ("with trailers", "POST", [&head("POST", &chunked), trailers].concat()),
        ("asking for another protocol", "GET", head("GET", &upgrade)),
    ];
    for round in 0..2 {
        for (way, method, bytes) in &ways {
            let mut client = gateway.connect();
            client.send(bytes);
            let response = client.read(method);
            assert_eq!(response.status, 200, "{way}: {}", response.text());
            for (name, _) in FORGED {
                assert!(response.head.folding_onto(name).is_empty(), "{way}: the client is told {name}");
            }
            let seen = upstream.take();
            assert_eq!(seen.len(), 1, "{way}, round {round}");
            check_told_once(&gateway, way, &seen[0].head);
            assert!(!seen[0].contains("forged"), "{way}");
        }
        let mut client = Http2::connect(gateway.address()).unwrap();
        let fields: Vec<(String, &str)> = [&FORGED[..], &[("Authorization", bearer.as_str())]]
            .concat()
            .into_iter()
            .map(|(name, value)| (name.to_lowercase(), value))
            .collect();
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let trailers = [("x-user-id", "forged"), ("x-identity-assertion", "forged")];
        let response = client.request("POST", "http://h/orders", &fields, Some(b"ok"), &trailers).unwrap();
        assert_eq!(response.status, 200, "{}", response.text());
        let seen = upstream.take();
        assert_eq!(seen.len(), 1);
        check_told_once(&gateway, "over HTTP/2", &seen[0].head);
    }
}

#[test]
fn a_service_of_http2_is_told_once_and_tells_nobody() {
    let echo = Http2Echo::start();
    let text = config(ASSERTION, ROUTES)
        .replace("[\"{upstream}\"]", &format!("[\"{}\"], protocol: h2c", echo.address()))
        .replace("address: \"{listen}\"", "address: \"{listen}\", http2: true");
    let gateway = Gateway::builder(text).file("keys.json", keys_file()).start();
    let client = Http2::connect(gateway.address()).unwrap();
    let bearer = good_bearer();
    let fields = [
        ("authorization", bearer.as_str()),
        ("x-user-id", "forged"),
        ("x_user_id", "forged"),
        ("x-identity-assertion", "forged"),
    ];
    let mut stream = client.open("http://h/orders/told", &fields);
    let head = stream.head();
    let (_, ending) = stream.finish();
    let crate::support::http2::StreamEnding::Trailers(trailers) = ending else { panic!("{ending:?}") };
    for told in [&head.headers, &trailers] {
        for name in ["x-user-id", "x_user_id", "x-identity-assertion"] {
            assert!(!told.contains_key(name), "{name}: {told:?}");
        }
    }
    let seen = &echo.take()[0].headers;
    let mut lines = "POST /orders/told HTTP/1.1\r\n".to_owned();
    for (name, value) in seen {
        lines.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
    }
    check_told_once(&gateway, "to HTTP/2", &Head::parse(format!("{lines}\r\n").into_bytes()));
}
