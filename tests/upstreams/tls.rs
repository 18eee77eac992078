//! TLS to servers, as they see it: whose certificate is believed, in checks too, and what is asked of them. With client certificates
//! and over HTTP/2 it is in `certificates`.
use super::{builder, get, is_healthy, wait_for};
use crate::support::{
    certificates::Authority,
    client::request_bytes,
    fixture::good_bearer,
    folder::Folder,
    gateway::{Builder, Gateway},
    tls::TlsFront,
    upstream::{Answer, Upstream},
    wire::find,
};

/// A server over TLS with a certificate for this name.
struct Secure {
    upstream: Upstream,
    front: TlsFront,
    _folder: Folder,
}

impl Secure {
    fn start(authority: &Authority, name: &str) -> Self {
        let (upstream, folder, issued) = (Upstream::start(), Folder::new(), authority.server(&[name]));
        let certificate = folder.write("certificate.pem", &issued.certificate);
        let front = TlsFront::start(upstream.address(), &certificate, &folder.write("key.pem", &issued.key));
        Self { upstream, front, _folder: folder }
    }

    fn address(&self) -> String {
        self.front.address().to_string()
    }
}

/// A gateway for servers of the name `orders.test`.
fn trusting(authority: &Authority, servers: &[String], more: &str) -> Builder {
    let servers: Vec<String> = servers.iter().map(|server| format!("\"{server}\"")).collect();
    let tls = format!("tls: {{server_name: orders.test, ca_file: ca.pem}}{more}");
    builder(&format!("{{servers: [{}], {tls}}}", servers.join(", "))).file("ca.pem", authority.certificate())
}

#[test]
fn a_server_whose_certificate_is_not_for_it_gets_no_request_and_fails_its_checks() {
    let (authority, stranger) = (Authority::new("root"), Authority::new("other"));
    let good = Secure::start(&authority, "orders.test");
    let others = [Secure::start(&authority, "payments.test"), Secure::start(&stranger, "orders.test")];
    for other in &others {
        let servers = [good.address(), other.address()];
        for probe in ["path: /healthz", "tcp: true"] {
            let check = format!(", health_check: {{{probe}, interval: 100ms, timeout: 2s, healthy_threshold: 1}}");
            let gateway = trusting(&authority, &servers, &check).start();
            wait_for(&gateway, "the other is found down", || !is_healthy(&gateway, &servers[1]));
            wait_for(&gateway, "the good one is well", || is_healthy(&gateway, &servers[0]));
            for _ in 0..6 {
                assert_eq!(get(&gateway).status, 200, "{}", gateway.account().stderr);
            }
        }
        // Without checks it is found out by each request, which goes to the other one.
        let gateway = trusting(&authority, &servers, "").start();
        for _ in 0..6 {
            assert_eq!(get(&gateway).status, 200, "{}", gateway.account().stderr);
        }
        assert!(other.upstream.take_bytes().is_empty());
    }
}

/// What the gateway says first to a server that is no server of TLS.
fn hello(gateway: &Gateway, plain: &Upstream, host: &str) -> Vec<u8> {
    plain.take_bytes();
    let mut client = gateway.connect();
    let request = request_bytes("GET", "/orders", &[("Authorization", &good_bearer())]);
    let request = String::from_utf8(request).unwrap().replace("Host: api.test", &format!("Host: {host}"));
    client.send(request);
    // It waits for the end of a handshake.
    assert_eq!(client.read("GET").status, 504);
    plain.take_bytes()
}

#[test]
fn a_server_is_asked_for_by_its_configured_name_with_the_library_of_everything_else() {
    let (plain, authority) = (Upstream::start(), Authority::new("root"));
    plain.set_answer(Answer::BytesThenClose(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()));
    let more = ", retries: 0, timeouts: {connect: 1s}";
    let gateway = trusting(&authority, &[plain.address().to_string()], more).start();
    let hello = hello(&gateway, &plain, "payments.test");
    assert!(hello.starts_with(&[22, 3]), "it speaks TLS first: {hello:?}");
    assert!(find(&hello, b"orders.test").is_some() && find(&hello, b"payments.test").is_none());
    // X25519MLKEM768, which one of the two libraries has that are linked.
    assert!(find(&hello, &[0x11, 0xec]).is_some(), "{hello:?}");
}
