//! Discovery against real servers on loopback: at either place, of another issuer, absent, redirecting, hanging, proxied.
use super::{AttemptError, Discovered, DiscoveryError, DiscoveryRequest, DocumentFault, discover, fetch_metadata_at};
use crate::edge::jwks_client::{FetchError, Proxies, Waiting};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Long enough for a loaded machine; no test waits for it.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a test does wait for.
const SHORT: Duration = Duration::from_secs(1);
const OPENID: &str = "/t1/.well-known/openid-configuration";
const OAUTH: &str = "/.well-known/oauth-authorization-server/t1";
const MISSING: &str = "HTTP/1.1 404 Missing\r\nContent-Length: 11\r\n\r\nSECRET-BODY";
static DIRECT: Proxies = Proxies::none();

fn request(issuer: &str) -> DiscoveryRequest<'_> {
    DiscoveryRequest { issuer, timeout: PATIENCE, authorities_pem: None, insecure_http: true, proxies: &DIRECT }
}

/// An issuer that answers each path as told, others with 404, an empty answer with silence until it is left. `{issuer}`
/// stands for itself.
struct Issuer {
    origin: String,
    asked: Receiver<String>,
}

impl Issuer {
    fn of(answers: &[(&'static str, String)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let answers: Vec<_> =
            answers.iter().map(|(path, answer)| (*path, answer.replace("{issuer}", &format!("{origin}/t1")))).collect();
        let (asks, asked) = channel();
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let path = path_of(&mut stream);
                let answer = answers.iter().find(|(of, _)| *of == path).map_or(MISSING, |(_, answer)| answer);
                let _ = asks.send(path);
                let _ = stream.write_all(answer.as_bytes());
                if answer.is_empty() {
                    let _ = stream.read(&mut [0]);
                }
            }
        });
        Self { origin, asked }
    }

    fn identifier(&self) -> String {
        format!("{}/t1", self.origin)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.try_iter().collect()
    }
}

fn path_of(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap().split(' ').nth(1).unwrap().to_owned()
}

fn json(body: &str) -> String {
    // `{issuer}` is longer once it is put in, so the end of the connection ends the body.
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: max-age=600\r\n\r\n{body}")
}

fn document(issuer: &str) -> String {
    json(&format!(r#"{{"issuer":"{issuer}","jwks_uri":"https://keys.example.net/certs"}}"#))
}

fn redirect(location: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

#[track_caller]
fn found(outcome: Result<Discovered, DiscoveryError>, issuer: &str) {
    let discovered = outcome.unwrap();
    assert_eq!(discovered.jwks_uri, "https://keys.example.net/certs");
    assert_eq!((discovered.metadata.issuer.as_str(), discovered.max_age), (issuer, Some(Duration::from_secs(600))));
}

#[test]
fn the_first_place_that_has_a_usable_document_is_believed() {
    let other = document("https://evil.example.com");
    let html = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 11\r\n\r\nSECRET-BODY".to_owned();
    let busy = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_owned();
    let twice = json(r#"{"issuer":"{issuer}","issuer":"{issuer}","jwks_uri":"https://evil.test"}"#);
    let check = |answers: &[(&'static str, String)], asked: &[&str]| {
        let issuer = Issuer::of(answers);
        let identifier = issuer.identifier();
        found(discover(&request(&identifier)), &identifier);
        assert_eq!(issuer.asked(), asked);
    };
    check(&[(OPENID, document("{issuer}"))], &[OPENID]);
    check(&[(OPENID, document("{issuer}")), (OAUTH, other.clone())], &[OPENID]);
    check(&[(OPENID, redirect("/moved")), ("/moved", document("{issuer}"))], &[OPENID, "/moved"]);
    check(&[(OAUTH, document("{issuer}"))], &[OPENID, OAUTH]);
    check(&[(OPENID, html), (OAUTH, document("{issuer}"))], &[OPENID, OAUTH]);
    check(&[(OPENID, busy), (OAUTH, document("{issuer}"))], &[OPENID, OAUTH]);
    check(&[(OPENID, other), (OAUTH, document("{issuer}"))], &[OPENID, OAUTH]);
    check(&[(OPENID, twice), (OAUTH, document("{issuer}"))], &[OPENID, OAUTH]);
    check(&[(OPENID, json(r#"{"issuer":"{issuer}"}"#)), (OAUTH, document("{issuer}"))], &[OPENID, OAUTH]);
    check(&[(OPENID, redirect("http://127.0.0.1:1/")), (OAUTH, document("{issuer}"))], &[OPENID, OAUTH]);
}

#[test]
fn what_happened_at_each_place_is_said() {
    let issuer = Issuer::of(&[(OPENID, document("{issuer}/")), (OAUTH, MISSING.to_owned())]);
    let identifier = issuer.identifier();
    let error = discover(&request(&identifier)).unwrap_err();
    let origin = &issuer.origin;
    let expected = format!(
        "{origin}{OPENID}: the metadata is of issuer \"{identifier}/\", and \"{identifier}\" is configured: the final \
         slash counts; {origin}{OAUTH}: status 404 instead of 200"
    );
    assert_eq!(error.to_string(), expected);
    // The other way round: the place is the same, the issuer is not.
    let with_slash = format!("{identifier}/");
    found(discover(&request(&with_slash)), &with_slash);
}

#[test]
fn a_server_that_cannot_be_reached_or_breaks_off_is_asked_once() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = discover(&request(&format!("http://localhost:{port}"))).unwrap_err();
    let url = format!("http://localhost:{port}/.well-known/openid-configuration");
    assert_eq!(
        error.to_string(),
        format!("{url}: no connection to localhost:{port}: Connection refused (os error 111)")
    );

    let issuer = Issuer::of(&[(OPENID, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nSECRET-BODY".to_owned())]);
    let error = discover(&request(&issuer.identifier())).unwrap_err();
    assert_eq!(issuer.asked(), [OPENID]);
    assert!(!error.to_string().contains("SECRET-BODY"), "{error}");
}

#[test]
fn a_server_that_hangs_costs_one_timeout_at_either_place() {
    let check = |silent: &'static str, asked: &[&str]| {
        let issuer = Issuer::of(&[(silent, String::new())]);
        let began = Instant::now();
        let error = discover(&DiscoveryRequest { timeout: SHORT, ..request(&issuer.identifier()) }).unwrap_err();
        assert!(began.elapsed() >= SHORT && began.elapsed() < PATIENCE / 2);
        assert_eq!(issuer.asked(), asked);
        let DiscoveryError::Failed(attempts) = error else { panic!("{error}") };
        let timed_out = AttemptError::Fetch(FetchError::TimedOut { waiting: Waiting::Answer, timeout: SHORT });
        assert_eq!(attempts.last().map(|attempt| &attempt.reason), Some(&timed_out));
    };
    check(OPENID, &[OPENID]);
    check(OAUTH, &[OPENID, OAUTH]);
}

#[test]
fn an_issuer_that_is_no_url_is_never_asked() {
    let rows = [
        ("accounts.example.com", "the issuer has no place for metadata: it is not an absolute https url"),
        ("http://127.0.0.1:1", "the issuer has no place for metadata: it is plain http, which"),
        ("https://u:hunter2@127.0.0.1:1", "the issuer has no place for metadata: it has a user name or password"),
        ("https://127.0.0.1:1/?tenant=1", "the issuer has no place for metadata: it has a query"),
    ];
    for (issuer, beginning) in rows {
        for find in [discover, fetch_metadata_at] {
            let error = find(&DiscoveryRequest { insecure_http: false, ..request(issuer) }).unwrap_err();
            assert!(error.to_string().starts_with(beginning), "{error}");
        }
    }
}

#[test]
fn metadata_is_found_by_the_issuer_or_by_its_own_url() {
    let rows = [
        ("/t1", OPENID, "{issuer}", Ok("/t1")),
        // As people write issuers, and as they are.
        ("/t1", OPENID, "{issuer}/", Ok("/t1/")),
        ("/t1/", OPENID, "{issuer}", Ok("/t1")),
        ("/t1", OAUTH, "{issuer}", Ok("/t1")),
        (OPENID, OPENID, "{issuer}", Ok("/t1")),
        (OAUTH, OAUTH, "{issuer}", Ok("/t1")),
        // Some servers append what should be inserted.
        (
            "/t1/.well-known/oauth-authorization-server",
            "/t1/.well-known/oauth-authorization-server",
            "{issuer}",
            Ok("/t1"),
        ),
        (OPENID, OPENID, "https://evil.example.com/t1", Err("\"https://evil.example.com/t1\"")),
        (OPENID, OPENID, "{issuer}/deeper", Err("/t1/deeper\"")),
        ("/t1", OPENID, "https://evil.example.com/t1", Err("\"https://evil.example.com/t1\"")),
        (OPENID, OAUTH, "{issuer}", Err("status 404 instead of 200")),
    ];
    for (asked, place, of, expected) in rows {
        let issuer = Issuer::of(&[(place, document(of))]);
        let outcome = fetch_metadata_at(&request(&format!("{}{asked}", issuer.origin)));
        match expected {
            Ok(path) => found(outcome, &format!("{}{path}", issuer.origin)),
            Err(words) => {
                let error = outcome.unwrap_err();
                assert!(error.to_string().contains(words), "{error}");
            }
        }
    }
}

#[test]
fn a_document_on_the_way_of_a_redirect_speaks_for_the_place_that_was_asked() {
    let elsewhere = "/t2/.well-known/openid-configuration";
    let issuer = Issuer::of(&[(OPENID, redirect(elsewhere)), (elsewhere, document("{issuer}"))]);
    found(fetch_metadata_at(&request(&issuer.identifier())), &issuer.identifier());
    let issuer = Issuer::of(&[(OPENID, redirect(elsewhere)), (elsewhere, document("http://a.test/t2"))]);
    let error = fetch_metadata_at(&request(&issuer.identifier())).unwrap_err();
    let DiscoveryError::Failed(attempts) = error else { panic!("{error}") };
    let reason = AttemptError::Document(DocumentFault::IssuerElsewhere("\"http://a.test/t2\"".to_owned()));
    assert_eq!(attempts[0].reason, reason);
}
