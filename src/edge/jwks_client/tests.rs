//! Fetches from real servers on loopback: whole, slow, huge, redirecting, of the wrong kind, broken off, absent.
use super::loopback::{AUTHORITY, PATIENCE, SHORT, answer_in_tls, go_on, localhost, request, server, whole};
use super::{Answer, BODY_BYTES_MAX, FetchError, FetchRequest, Fetched, USER_AGENT, Waiting, Wanted, fetch};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, UNIX_EPOCH};

/// What a server of these answers gives, and the heads of the requests that it saw.
fn fetched(path: &str, answers: &[&str]) -> (Result<Fetched, FetchError>, Vec<String>) {
    let (outcome, heads) = asked(answers, |port, request| {
        fetch(&FetchRequest { url: &format!("http://127.0.0.1:{port}{path}"), ..request })
    });
    (outcome.map(whole), heads)
}

/// How asking a server of these answers ends, and the heads of the requests that it saw.
fn asked(
    answers: &[&str],
    ask: impl FnOnce(u16, FetchRequest<'static>) -> Result<Answer, FetchError>,
) -> (Result<Answer, FetchError>, Vec<String>) {
    let treatments = answers
        .iter()
        .map(|answer| {
            let answer = (*answer).to_owned();
            // The client may have hung up on a refused answer.
            move |stream: &mut TcpStream| drop(stream.write_all(answer.as_bytes()))
        })
        .collect();
    let (port, server) = server(treatments);
    let outcome = ask(port, request(""));
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
                  ETag: W/\"7\"\r\nDate: Thu, 01 Jan 1970 00:16:40 GMT\r\nSet-Cookie: a=b\r\nContent-Length: 11\r\n\r\n{\"keys\":[]}";
    let (outcome, heads) = fetched("/keys?version=2", &[answer]);
    let expected = Fetched {
        body: b"{\"keys\":[]}".to_vec(),
        etag: Some("W/\"7\"".into()),
        max_age: Some(Duration::from_secs(300)),
        date: Some(UNIX_EPOCH + Duration::from_secs(1_000)),
    };
    assert_eq!(outcome, Ok(expected));
    let head = heads[0].to_ascii_lowercase();
    assert!(head.starts_with("get /keys?version=2 http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("user-agent: {USER_AGENT}\r\n")), "{head}");
    assert!(head.contains("accept: application/jwk-set+json, application/json\r\n"), "{head}");
    for absent in ["cookie", "accept-encoding", "if-none-match"] {
        assert!(!head.contains(absent), "{head}");
    }
}

#[test]
fn metadata_is_asked_for_as_json() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    let (outcome, heads) = asked(&[answer], |port, request| {
        let url = format!("http://127.0.0.1:{port}/.well-known/openid-configuration");
        fetch(&FetchRequest { url: &url, wanted: Wanted::Metadata, ..request })
    });
    assert_eq!(whole(outcome.unwrap()).body, b"{}");
    assert!(heads[0].to_ascii_lowercase().contains("\r\naccept: application/json\r\n"), "{}", heads[0]);
}

#[test]
fn what_has_not_changed_is_said_to_those_who_asked_and_an_error_to_all_others() {
    let unchanged = "HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\nDate: Thu, 01 Jan 1970 00:16:40 GMT\r\n\
                     ETag: \"7\"\r\n\r\n";
    let moved = "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n";
    let not_modified = || {
        let date = Some(UNIX_EPOCH + Duration::from_secs(1_000));
        Ok(Answer::NotModified { max_age: Some(Duration::from_secs(60)), date })
    };
    let too_long = format!("\"{}\"", "x".repeat(300));
    let rows = [
        (Some("\"7\""), vec![unchanged], not_modified()),
        (Some("W/\"7\""), vec![unchanged], not_modified()),
        // Each hop is asked.
        (Some("\"7\""), vec![moved, unchanged], not_modified()),
        (None, vec![unchanged], Err(FetchError::Status(304))),
        (None, vec![moved, unchanged], Err(FetchError::Status(304))),
        // What is no tag is not sent.
        (Some("7"), vec![unchanged], Err(FetchError::Status(304))),
        (Some("\"7\"\r\nEvil: header"), vec![unchanged], Err(FetchError::Status(304))),
        (Some(&too_long), vec![unchanged], Err(FetchError::Status(304))),
    ];
    for (if_none_match, answers, expected) in rows {
        let (outcome, heads) = asked(&answers, |port, request| {
            fetch(&FetchRequest { url: &format!("http://127.0.0.1:{port}/keys"), if_none_match, ..request })
        });
        let sent = expected.is_ok();
        assert_eq!(outcome, expected, "{if_none_match:?}");
        for head in heads {
            let field = format!("\r\nif-none-match: {}\r\n", if_none_match.unwrap_or_default().to_ascii_lowercase());
            let head = head.to_ascii_lowercase();
            assert_eq!((head.contains(&field), head.contains("if-none-match")), (sent, sent), "{head}");
        }
    }
    let changed = "HTTP/1.1 200 OK\r\nETag: \"8\"\r\nContent-Length: 2\r\n\r\n{}";
    let (outcome, _) = asked(&[changed], |port, request| {
        let url = format!("http://127.0.0.1:{port}/keys");
        fetch(&FetchRequest { url: &url, if_none_match: Some("\"7\""), ..request })
    });
    assert_eq!(whole(outcome.unwrap()).etag.as_deref(), Some("\"8\""));
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
        // Numbers that some resolvers, and proxies, take for addresses.
        ("https://2852039166/", FetchError::UrlUnusable),
        ("https://0xa9fea9fe/", FetchError::UrlUnusable),
        ("https://169.254.169.254./", FetchError::UrlUnusable),
    ];
    for (url, expected) in rows {
        assert_eq!(fetch(&FetchRequest { insecure_http: false, ..request(url) }), Err(expected), "{url}");
    }
    for pem in [b"".as_slice(), b"no certificate", b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
        let request = FetchRequest { authorities_pem: Some(pem), ..request("https://127.0.0.1:1/") };
        assert_eq!(fetch(&request), Err(FetchError::AuthoritiesUnusable));
    }
}

/// A TLS server for `localhost` that answers one connection, if that comes to an answer.
fn tls_server() -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        go_on(&listener.accept().unwrap().0, |stream| answer_in_tls(stream, localhost()));
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
            Ok(body) => assert_eq!(whole(outcome.unwrap()).body, body.as_bytes()),
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
