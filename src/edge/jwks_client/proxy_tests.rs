//! Fetches through real proxies on loopback: tunnels to TLS and plain servers, refusals, absence, silence, dripping.
//! `localhost` is never reached through a proxy, so servers have other names; the proxies know what is meant.
use super::loopback::{
    AUTHORITY, PATIENCE, SHORT, acceptor, answer_in_tls, go_on, head, localhost, request, server, whole,
};
use super::{FetchError, FetchRequest, Peer, Proxies, ProxyFailure, Waiting, fetch};
use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const OPEN: &[u8] = b"HTTP/1.1 200 Connection established\r\nProxy-Agent: test\r\n\r\n";
/// Vouches for `auth.test`, which is found behind proxies alone.
const BEHIND_PROXY: &str = include_str!("testdata/behind_proxy.pem");

/// This proxy for all that it can be used for.
fn through(proxy: &str) -> Proxies {
    let proxy = OsString::from(proxy);
    Proxies::read(|name| (name == "all_proxy").then(|| proxy.clone()))
}

fn behind_proxy() -> pingora_core::tls::TlsAcceptor {
    acceptor(BEHIND_PROXY, include_str!("testdata/behind_proxy.key"))
}

#[test]
fn a_key_set_is_fetched_in_tls_through_a_tunnel() {
    let rows = [
        ("auth.test", BEHIND_PROXY.as_bytes(), Ok("{}")),
        // The server is not trusted for what the proxy says.
        ("other.test", BEHIND_PROXY.as_bytes(), Err("no secure connection to other.test:443: ")),
        ("auth.test", AUTHORITY, Err("no secure connection to auth.test:443: ")),
    ];
    for (host, authority, expected) in rows {
        let (port, proxy) = server(vec![|stream: &mut TcpStream| {
            stream.write_all(OPEN).unwrap();
            go_on(stream, |stream| answer_in_tls(stream, behind_proxy()));
        }]);
        let proxies = through(&format!("127.0.0.1:{port}"));
        let url = format!("https://{host}/keys");
        let outcome = fetch(&FetchRequest { proxies: &proxies, authorities_pem: Some(authority), ..request(&url) });
        let head = proxy.join().unwrap().remove(0);
        assert!(head.starts_with(&format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n")), "{head}");
        assert!(!head.to_ascii_lowercase().contains("authorization"), "{head}");
        match expected {
            Ok(body) => assert_eq!(whole(outcome.unwrap()).body, body.as_bytes()),
            Err(cause) => assert!(outcome.as_ref().unwrap_err().to_string().starts_with(cause), "{outcome:?}"),
        }
    }
}

#[test]
fn a_proxy_may_be_reached_in_tls_itself() {
    let both = [AUTHORITY, BEHIND_PROXY.as_bytes()].concat();
    for (authorities, is_trusted) in [(both.as_slice(), true), (BEHIND_PROXY.as_bytes(), false)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy = std::thread::spawn(move || {
            go_on(&listener.accept().unwrap().0, |stream| async {
                let Ok(mut stream) = localhost().accept(stream).await else { return };
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") {
                    asked.push(stream.read_u8().await.unwrap());
                }
                stream.write_all(OPEN).await.unwrap();
                answer_in_tls(stream, behind_proxy()).await;
            });
        });
        let proxies = through(&format!("https://localhost:{port}"));
        let request = request("https://auth.test/keys");
        let outcome = fetch(&FetchRequest { proxies: &proxies, authorities_pem: Some(authorities), ..request });
        proxy.join().unwrap();
        if is_trusted {
            assert_eq!(whole(outcome.unwrap()).body, b"{}");
        } else {
            let error = outcome.unwrap_err();
            assert!(matches!(&error, FetchError::Tls { peer: Peer::Proxy(_), .. }), "{error:?}");
            let beginning = format!("no secure connection to the proxy localhost:{port}: invalid peer certificate");
            assert!(error.to_string().starts_with(&beginning), "{error}");
        }
    }
}

#[test]
fn plain_http_goes_through_a_tunnel_too_and_each_redirect_through_its_own() {
    let tunnel = |answer: &'static str| {
        move |stream: &mut TcpStream| {
            stream.write_all(OPEN).unwrap();
            assert!(head(stream).starts_with("GET /"));
            stream.write_all(answer.as_bytes()).unwrap();
        }
    };
    let (port, proxy) = server(vec![
        tunnel("HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"),
        tunnel("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
    ]);
    let proxies = through(&format!("http://us%40er:p%3Ass@127.0.0.1:{port}/"));
    let outcome = fetch(&FetchRequest { proxies: &proxies, ..request("http://auth.test:8080/keys") });
    assert_eq!(whole(outcome.unwrap()).body, b"{}");
    for head in proxy.join().unwrap() {
        assert!(head.starts_with("CONNECT auth.test:8080 HTTP/1.1\r\n"), "{head}");
        // us@er:p:ss
        assert!(head.contains("\r\nProxy-Authorization: Basic dXNAZXI6cDpzcw==\r\n"), "{head}");
    }
}

#[test]
fn a_proxy_that_opens_no_tunnel_is_named_and_its_password_is_not() {
    let rows = [
        (
            "HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 11\r\n\r\nSECRET-BODY",
            ProxyFailure::Status(407),
            "wants a user and password, or other ones (status 407)",
        ),
        ("HTTP/1.1 511 No\r\n\r\nSECRET-BODY", ProxyFailure::Status(511), "opened no tunnel: status 511"),
        ("HTTP/1.1 204 None\r\n\r\n", ProxyFailure::Status(204), "opened no tunnel: status 204"),
        ("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", ProxyFailure::Status(302), "opened no tunnel"),
        ("", ProxyFailure::Interrupted, "closed the connection before a tunnel was open"),
        ("HTTP/1.1 20", ProxyFailure::Interrupted, "closed the connection before a tunnel was open"),
        ("SECRET-BODY is not HTTP\r\n\r\n", ProxyFailure::Protocol, "did not answer with valid HTTP"),
    ];
    for (answer, failure, words) in rows {
        let (port, proxy) = server(vec![move |stream: &mut TcpStream| drop(stream.write_all(answer.as_bytes()))]);
        let proxies = through(&format!("http://someone:hunter2@127.0.0.1:{port}"));
        let request = FetchRequest { proxies: &proxies, ..request("https://auth.test/keys") };
        let error = fetch(&request).unwrap_err();
        proxy.join().unwrap();
        assert_eq!(error, FetchError::Proxy { proxy: format!("127.0.0.1:{port}"), failure });
        let said = format!("{error} {error:?} {request:?}");
        assert!(error.to_string().starts_with(&format!("the proxy 127.0.0.1:{port} {words}")), "{error}");
        assert!(!["SECRET-BODY", "someone", "hunter2"].iter().any(|secret| said.contains(secret)), "{said}");
    }
}

#[test]
fn a_proxy_that_cannot_be_reached_is_told_apart_from_a_server_that_cannot() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let host = "x".repeat(64);
    let rows = [
        (
            format!("http://localhost:{port}"),
            format!("no connection to the proxy localhost:{port}: Connection refused"),
        ),
        (format!("http://{host}"), format!("no address for the host of the proxy {host}:80: ")),
        (
            "http://169.254.169.254:80".to_owned(),
            "the proxy 169.254.169.254:80 is at 169.254.169.254, a link".to_owned(),
        ),
        ("socks5://127.0.0.1".to_owned(), "the environment variable all_proxy should name a proxy and".to_owned()),
    ];
    for (proxy, beginning) in rows {
        let proxies = through(&proxy);
        let error = fetch(&FetchRequest { proxies: &proxies, ..request("https://auth.test/keys") }).unwrap_err();
        assert!(error.to_string().starts_with(&beginning), "{error}");
    }
}

#[test]
fn a_metadata_service_is_not_asked_through_a_proxy_either() {
    let proxies = through("http://127.0.0.1:1");
    for host in ["169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "[::ffff:169.254.169.254]"] {
        let url = format!("http://{host}/latest/meta-data");
        let error = fetch(&FetchRequest { proxies: &proxies, ..request(&url) }).unwrap_err();
        assert!(matches!(&error, FetchError::AddressForbidden { peer: Peer::Server(_), .. }), "{error:?}");
    }
}

#[test]
fn a_proxy_that_is_silent_or_drips_costs_the_timeout_and_no_more() {
    let drips = |stream: &mut TcpStream| {
        let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\nX-Slow: ");
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        while sent.is_ok() {
            // Paces the drops, and ends when the client hangs up.
            sent = if matches!(stream.read(&mut [0]), Ok(0)) { break } else { stream.write_all(b"x") };
        }
    };
    let is_silent = |stream: &mut TcpStream| drop(stream.read(&mut [0]));
    // The tunnel is open, and what is behind it says nothing.
    let opens = |stream: &mut TcpStream| {
        stream.write_all(OPEN).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    };
    std::thread::scope(|scope| {
        scope.spawn(|| costs_the_timeout(drips, Waiting::Tunnel));
        scope.spawn(|| costs_the_timeout(is_silent, Waiting::Tunnel));
        scope.spawn(|| costs_the_timeout(opens, Waiting::Connection));
    });
}

fn costs_the_timeout(treatment: fn(&mut TcpStream), waiting: Waiting) {
    let (port, proxy) = server(vec![treatment]);
    let proxies = through(&format!("127.0.0.1:{port}"));
    let began = Instant::now();
    let outcome = fetch(&FetchRequest { proxies: &proxies, timeout: SHORT, ..request("https://auth.test/keys") });
    assert_eq!(outcome, Err(FetchError::TimedOut { waiting, timeout: SHORT }));
    assert!(began.elapsed() < PATIENCE / 2);
    proxy.join().unwrap();
}

/// The environment of a process is not changed under its threads: this test runs itself again with one that names a proxy.
#[test]
fn the_proxies_of_the_environment_are_those_of_the_process() {
    if std::env::var_os("PORTCULLIS_TEST_PROXIES").is_some() {
        let proxies = Proxies::from_environment();
        let error = fetch(&FetchRequest { proxies: &proxies, ..request("https://auth.test/") }).unwrap_err();
        assert!(error.to_string().starts_with("no connection to the proxy 127.0.0.1:1: "), "{error}");
        // Neither is one used that was not handed over, nor for a server on this machine.
        for proxies in [&proxies, &Proxies::none()] {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
            let (port, server) = server(vec![|stream: &mut TcpStream| stream.write_all(answer).unwrap()]);
            let url = format!("http://127.0.0.1:{port}/");
            assert_eq!(whole(fetch(&FetchRequest { proxies, ..request(&url) }).unwrap()).body, b"{}");
            server.join().unwrap();
        }
        return;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "edge::jwks_client::proxy_tests::the_proxies_of_the_environment_are_those_of_the_process"]);
    for variable in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env(variable, "http://127.0.0.1:1");
    }
    for variable in ["no_proxy", "NO_PROXY"] {
        command.env_remove(variable);
    }
    let output = command.env("PORTCULLIS_TEST_PROXIES", "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
