//! A response goes on as it comes: nothing of it waits in the gateway for the rest.
use super::ROUTES;
use crate::support::{
    certificates::Authority,
    client::request_bytes,
    fixture::{self, good_bearer, keys_file},
    gateway::{Builder, Gateway},
    http2::Http2,
    server::Server,
    tls::TlsClient,
    waiting::{Gate, PATIENCE},
    wire::{Address, Wire},
};

/// A service that says a part of each response, and the rest when it may.
fn hesitant(gate: Gate) -> Server {
    Server::on_tcp(move |mut wire| {
        let Ok(Some(head)) = wire.read_head() else { return };
        let asked = String::from_utf8(head).unwrap();
        let (framing, first, rest) = match asked.split(' ').nth(1).unwrap() {
            "/length" => ("Content-Length: 4", "ab", "cd"),
            "/chunked" => ("Transfer-Encoding: chunked", "2\r\nab\r\n", "2\r\ncd\r\n0\r\n\r\n"),
            _ => ("Connection: close", "ab", "cd"),
        };
        let _ = wire.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{first}").as_bytes());
        if gate.wait(4 * PATIENCE) {
            let _ = wire.send(rest.as_bytes());
        }
    })
}

fn gateway(service: &Server, listener: &str) -> Builder {
    let config =
        fixture::config("", ROUTES).replace("address: \"{listen}\"", &format!("address: \"{{listen}}\"{listener}"));
    Builder::new(config).set("upstream", service.address()).file("keys.json", keys_file())
}

/// The beginning of the body is there before the service says the rest.
#[track_caller]
fn check(address: &Address, target: &str, gate: &Gate) {
    let bearer = good_bearer();
    let mut wire = Wire::connect(address).unwrap();
    wire.send(&request_bytes("GET", target, &[("Authorization", &bearer)])).unwrap();
    let head = wire.read_head().unwrap_or_else(|error| panic!("{target}: not even the head came: {error}")).unwrap();
    assert!(head.starts_with(b"HTTP/1.1 200"), "{target}: {}", String::from_utf8_lossy(&head));
    let length = if head.windows(9).any(|name| name.eq_ignore_ascii_case(b"\nTransfer")) { 5 } else { 2 };
    let first = wire.read_bytes(length).unwrap_or_else(|error| panic!("{target}: {error}"));
    assert!(first.ends_with(b"ab"), "{target}: {first:?}");
    gate.open();
    let rest = wire.read_bytes(2).unwrap();
    assert!(!rest.is_empty(), "{target}");
}

#[test]
fn what_the_service_has_said_of_a_response_is_there_before_it_says_the_rest() {
    let authority = Authority::new("root");
    let tls = ", tls: {certificates: [{certificate_file: web.pem, private_key_file: web.key}]}";
    for target in ["/length", "/chunked", "/to-the-end"] {
        let gate = Gate::default();
        let service = hesitant(gate.clone());
        let plain = gateway(&service, "").start();
        check(plain.address(), target, &gate);

        let gate = Gate::default();
        let service = hesitant(gate.clone());
        let issued = authority.server(&["api.test"]);
        let by_tls = gateway(&service, tls).file("web.pem", issued.certificate).file("web.key", issued.key).start();
        let door = TlsClient::new(authority.certificate(), "api.test").front(by_tls.address());
        check(door.address(), target, &gate);

        let gate = Gate::default();
        let service = hesitant(gate.clone());
        let both: Gateway = gateway(&service, ", http2: true").start();
        let client = Http2::connect(both.address()).unwrap();
        let mut stream = client.open(&format!("http://api.test{target}"), &[("authorization", &good_bearer())]);
        stream.end_request();
        assert_eq!(stream.head().status.as_u16(), 200);
        assert_eq!(stream.read(2), b"ab", "{target}");
        gate.open();
        assert_eq!(stream.read_to_the_end().0, b"cd", "{target}");
    }
}
