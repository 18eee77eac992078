//! Fetches from real servers on loopback: whole, slow, huge, redirecting, of the wrong kind, broken off, absent.
use super::{BODY_BYTES_MAX, FetchError, FetchRequest, Fetched, USER_AGENT, Waiting, fetch};
use base64::Engine as _;
use pingora_core::tls::{CertificateDer, PrivateKeyDer, ServerConfig, TlsAcceptor, install_default_crypto_provider};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, UNIX_EPOCH};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Long enough for a loaded machine; no test waits for it.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a test does wait for: half of it has to do for connecting on a loaded machine.
const SHORT: Duration = Duration::from_secs(1);
const AUTHORITY: &[u8] = include_bytes!("testdata/authority.pem");

fn request(url: &str) -> FetchRequest<'_> {
    FetchRequest { url, timeout: PATIENCE, authorities_pem: None, insecure_http: true }
}

/// Reads the head of a request.
fn head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// A server that treats one connection after the other as told, then is gone. Gives the requests' heads.
fn server<Treat>(treatments: Vec<Treat>) -> (u16, JoinHandle<Vec<String>>)
where
    Treat: FnOnce(&mut TcpStream) + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let treat_next = |treat: Treat| {
            let (mut stream, _) = listener.accept().unwrap();
            let head = head(&mut stream);
            treat(&mut stream);
            head
        };
        treatments.into_iter().map(treat_next).collect()
    });
    (port, thread)
}

/// What a server of these answers gives, and the heads of the requests that it saw.
fn fetched(path: &str, answers: &[&str]) -> (Result<Fetched, FetchError>, Vec<String>) {
    let treatments = answers
        .iter()
        .map(|answer| {
            let answer = (*answer).to_owned();
            // The client may have hung up on a refused answer.
            move |stream: &mut TcpStream| drop(stream.write_all(answer.as_bytes()))
        })
        .collect();
    let (port, server) = server(treatments);
    let outcome = fetch(&request(&format!("http://127.0.0.1:{port}{path}")));
    (outcome, server.join().unwrap())
}

#[track_caller]
fn refused(answers: &[&str], expected: &FetchError) {
    let error = fetched("/keys", answers).0.unwrap_err();
    assert_eq!(&error, expected);
    assert!(!error.to_string().contains("SECRET-BODY"), "{error}");
}

#[test]
fn a_key_set_is_fetched_with_its_freshness_and_the_servers_time() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/jwk-set+json\r\nCache-Control: max-age=300\r\n\
                  Date: Thu, 01 Jan 1970 00:16:40 GMT\r\nSet-Cookie: a=b\r\nContent-Length: 11\r\n\r\n{\"keys\":[]}";
    let (outcome, heads) = fetched("/keys?version=2", &[answer]);
    let expected = Fetched {
        body: b"{\"keys\":[]}".to_vec(),
        max_age: Some(Duration::from_secs(300)),
        date: Some(UNIX_EPOCH + Duration::from_secs(1_000)),
    };
    assert_eq!(outcome, Ok(expected));
    let head = heads[0].to_ascii_lowercase();
    assert!(head.starts_with("get /keys?version=2 http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("user-agent: {USER_AGENT}\r\n")), "{head}");
    assert!(!head.contains("cookie") && !head.contains("accept-encoding"), "{head}");
}

#[test]
fn an_answer_of_another_status_type_or_protocol_is_refused() {
    let rows = [
        ("HTTP/1.1 503 Busy\r\nContent-Length: 11\r\n\r\nSECRET-BODY", FetchError::Status(503)),
        ("HTTP/1.1 204 None\r\n\r\n", FetchError::Status(204)),
        ("HTTP/1.1 304 Same\r\n\r\n", FetchError::Status(304)),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 11\r\n\r\nSECRET-BODY",
            FetchError::ContentType("text/html".to_owned()),
        ),
        ("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", FetchError::ContentEncoding),
        ("SECRET-BODY is not HTTP\r\n\r\n", FetchError::Protocol),
    ];
    for (answer, expected) in rows {
        refused(&[answer], &expected);
    }
}

#[test]
fn an_answer_that_breaks_off_is_refused() {
    let rows = [
        "",
        "HTTP/1.1 200 OK\r\nContent-Ty",
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nSECRET-BODY",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nSECRET-BODY\r\n",
    ];
    for answer in rows {
        refused(&[answer], &FetchError::Interrupted);
    }
}

#[test]
fn a_body_may_be_as_large_as_the_limit_and_not_one_byte_larger() {
    let limit = usize::try_from(BODY_BYTES_MAX).unwrap();
    for framing in ["Content-Length", "Connection: close"] {
        let answer = |bytes: usize| {
            let framing = if framing == "Content-Length" { format!("{framing}: {bytes}") } else { framing.to_owned() };
            format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{}", "x".repeat(bytes))
        };
        assert_eq!(fetched("/", &[&answer(limit)]).0.unwrap().body.len(), limit);
        refused(&[&answer(limit + 1)], &FetchError::BodyTooLarge);
    }
}

#[test]
fn a_body_without_end_is_left_at_the_limit() {
    let (port, server) = server(vec![|stream: &mut TcpStream| {
        let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while sent.is_ok() {
            sent = stream.write_all(&[b' '; 4_096]);
        }
    }]);
    assert_eq!(fetch(&request(&format!("http://127.0.0.1:{port}/"))), Err(FetchError::BodyTooLarge));
    server.join().unwrap();
}

#[test]
fn a_head_is_bounded() {
    let answer = format!("HTTP/1.1 200 OK\r\nX-Padding: {}\r\n\r\n", "x".repeat(64 * 1024));
    refused(&[&answer], &FetchError::HeadTooLarge);
}

#[test]
fn a_slow_server_costs_the_timeout_and_no_more() {
    let rows: [&'static [u8]; 3] =
        [b"", b"HTTP/1.1 200 OK\r\nContent-", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"];
    let check = |beginning: &'static [u8]| {
        let (port, server) = server(vec![move |stream: &mut TcpStream| {
            stream.write_all(beginning).unwrap();
            // Until the client has had enough.
            let _ = stream.read(&mut [0]);
        }]);
        let url = format!("http://127.0.0.1:{port}/");
        let began = Instant::now();
        let outcome = fetch(&FetchRequest { timeout: SHORT, ..request(&url) });
        assert_eq!(outcome, Err(FetchError::TimedOut { waiting: Waiting::Answer, timeout: SHORT }));
        assert!(began.elapsed() >= SHORT && began.elapsed() < PATIENCE / 2);
        server.join().unwrap();
    };
    std::thread::scope(|scope| {
        rows.map(|beginning| scope.spawn(move || check(beginning))).map(|row| row.join().unwrap())
    });
}

#[test]
fn a_server_that_drips_costs_the_timeout_and_no_more() {
    let (port, server) = server(vec![|stream: &mut TcpStream| {
        let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        while sent.is_ok() {
            // Paces the drops, and ends when the client hangs up.
            let hung_up = matches!(stream.read(&mut [0]), Ok(0));
            sent = if hung_up { break } else { stream.write_all(b" ") };
        }
    }]);
    let url = format!("http://127.0.0.1:{port}/");
    let outcome = fetch(&FetchRequest { timeout: SHORT, ..request(&url) });
    assert_eq!(outcome, Err(FetchError::TimedOut { waiting: Waiting::Answer, timeout: SHORT }));
    server.join().unwrap();
}

#[test]
fn a_redirect_is_followed_on_the_same_server_only_and_three_times_at_most() {
    let here = "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let found = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    let (outcome, heads) = fetched("/keys", &[here, here, here, found]);
    assert_eq!(outcome.unwrap().body, b"{}");
    assert!(heads[3].starts_with("GET /elsewhere "), "{}", heads[3]);
    refused(&[here, here, here, here], &FetchError::RedirectsExceeded(3));
    for location in ["http://127.0.0.1:1/keys", "//127.0.0.2/keys", "https://127.0.0.1/keys", "keys"] {
        let answer = format!("HTTP/1.1 301 Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
        refused(&[&answer], &FetchError::RedirectRefused);
    }
    refused(&["HTTP/1.1 307 Nowhere\r\nContent-Length: 0\r\n\r\n"], &FetchError::RedirectRefused);
}

#[test]
fn a_server_that_is_down_is_named() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = fetch(&request(&format!("http://localhost:{port}/keys"))).unwrap_err();
    assert!(matches!(error, FetchError::Unreachable { .. }), "{error:?}");
    assert_eq!(error.to_string(), format!("no connection to localhost:{port}: Connection refused (os error 111)"));
}

#[test]
fn a_host_without_address_is_named() {
    // Too long for the DNS, so that nobody is asked.
    let host = "x".repeat(64);
    let error = fetch(&request(&format!("https://{host}/"))).unwrap_err();
    assert!(matches!(error, FetchError::NameNotResolved { .. }), "{error:?}");
    assert!(error.to_string().starts_with(&format!("no address for the host of {host}:443: ")), "{error}");
}

#[test]
fn a_metadata_service_is_never_asked() {
    for host in ["169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "[::ffff:169.254.169.254]"] {
        let error = fetch(&request(&format!("http://{host}/latest/meta-data"))).unwrap_err();
        assert!(matches!(error, FetchError::AddressForbidden { .. }), "{error:?}");
        assert!(error.to_string().starts_with(&format!("{host}:80 is at ")), "{error}");
    }
}

#[test]
fn an_unusable_url_or_ca_file_is_refused_before_anything_is_asked() {
    let rows = [
        ("http://127.0.0.1:1/", FetchError::PlainHttp),
        ("ftp://127.0.0.1:1/", FetchError::UrlUnusable),
        ("/keys", FetchError::UrlUnusable),
        ("https://", FetchError::UrlUnusable),
        ("https://user:pass@127.0.0.1:1/", FetchError::UrlUnusable),
    ];
    for (url, expected) in rows {
        assert_eq!(fetch(&FetchRequest { insecure_http: false, ..request(url) }), Err(expected), "{url}");
    }
    for pem in [b"".as_slice(), b"no certificate", b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
        let request = FetchRequest { authorities_pem: Some(pem), ..request("https://127.0.0.1:1/") };
        assert_eq!(fetch(&request), Err(FetchError::AuthoritiesUnusable));
    }
}

/// The content of a PEM file with one item.
fn der(pem: &str) -> Vec<u8> {
    let lines: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    base64::engine::general_purpose::STANDARD.decode(lines).unwrap()
}

/// A TLS server for `localhost` that answers one connection, if that comes to an answer.
fn tls_server() -> (u16, JoinHandle<()>) {
    install_default_crypto_provider();
    let certificate = CertificateDer::from(der(include_str!("testdata/server.pem")));
    let key = PrivateKeyDer::try_from(der(include_str!("testdata/server.key"))).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await else { return };
            let mut head = [0; 2_048];
            if stream.read(&mut head).await.is_ok_and(|bytes| bytes > 0) {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
    });
    (port, thread)
}

#[test]
fn a_certificate_counts_when_the_ca_file_vouches_for_this_host() {
    let rows = [
        ("localhost", Some(AUTHORITY), Ok("{}")),
        ("127.0.0.1", Some(AUTHORITY), Err("not valid for name")),
        // The system trusts no authority of ours, or none at all.
        ("localhost", None, Err("no secure connection to localhost:")),
        ("localhost", Some(include_bytes!("testdata/server.pem").as_slice()), Err("invalid peer certificate")),
    ];
    for (host, authorities_pem, expected) in rows {
        let (port, server) = tls_server();
        let url = format!("https://{host}:{port}/");
        let outcome = fetch(&FetchRequest { authorities_pem, insecure_http: false, ..request(&url) });
        server.join().unwrap();
        match expected {
            Ok(body) => assert_eq!(outcome.unwrap().body, body.as_bytes()),
            Err(cause) => {
                let error = outcome.unwrap_err();
                assert!(matches!(error, FetchError::Tls { .. }), "{error:?}");
                assert!(error.to_string().contains(cause), "{error}");
            }
        }
    }
}

#[test]
fn a_server_without_tls_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://127.0.0.1:{}/", listener.local_addr().unwrap().port());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\nSECRET-BODY").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let error = fetch(&FetchRequest { authorities_pem: Some(AUTHORITY), ..request(&url) }).unwrap_err();
    server.join().unwrap();
    assert!(matches!(error, FetchError::Tls { .. }) && !error.to_string().contains("SECRET-BODY"), "{error:?}");
}

/// The environment of a process is not changed under its threads: this test runs itself again with one that names a proxy.
#[test]
fn proxies_of_the_environment_are_not_used() {
    if std::env::var_os("PORTCULLIS_TEST_PROXIES").is_some() {
        let (outcome, _) = fetched("/", &["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"]);
        assert_eq!(outcome.unwrap().body, b"{}");
        return;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "edge::jwks_client::tests::proxies_of_the_environment_are_not_used"]);
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
