//! Streams that share a connection of HTTP/2: where one ends, the others go on.
use std::time::Instant;

use super::{House as Http1House, *};
use crate::support::{
    http2::{Http2, Http2Stream, StreamEnding},
    http2_echo::{BEGUN, Http2Echo, PIECE},
};

const ROUTES: &str = r#"
  - {name: mine, path_prefix: /mine, upstream: calls}
  - {name: kept, path_prefix: /kept, stream: {end_with_token: false}, upstream: calls}
  - {name: idle, path_prefix: /idle, auth: none, stream: {idle_timeout: 1500ms}, upstream: calls}
  - {name: old, path_prefix: /old, auth: none, stream: {max_age: 2s}, upstream: calls}
"#;

const GRPC: &str = "application/grpc";
const EVENTS: &str = "text/event-stream";

/// Within this time of what ends it a stream is over, as the contract has it; and what a loaded machine takes besides.
const BOUND: Duration = Duration::from_secs(5 + 3);

/// A gateway without TLS that speaks HTTP/2 on both sides. It stops first.
struct Site {
    house: Http1House,
    calls: Http2Echo,
}

impl Site {
    fn start() -> Self {
        let calls = Http2Echo::start();
        let (upstream, echo) = (StreamUpstream::start(), Upstream::start());
        let upstreams = "upstreams:\n  calls: {protocol: h2c, servers: [\"{calls}\"]}";
        let config = fixture::config("", ROUTES)
            .replace("upstreams:", upstreams)
            .replace("address: \"{listen}\"", "address: \"{listen}\", http2: true");
        let gateway = Gateway::builder(config)
            .set("calls", calls.address())
            .set("upstream", echo.address())
            .file("keys.json", fixture::keys_file())
            .start();
        Self { house: Http1House { gateway, upstream, _echo: echo }, calls }
    }

    fn client(&self) -> Http2 {
        Http2::connect(self.house.gateway.address()).unwrap()
    }
}

/// A stream that has begun, and its request id.
fn begin(client: &Http2, path: &str, kind: &str, token: Option<&str>) -> (Http2Stream, String) {
    let authorization = token.map(bearer);
    let mut fields = vec![("content-type", kind)];
    fields.extend(authorization.as_deref().map(|value| ("authorization", value)));
    let mut stream = client.open(&format!("http://api.test{path}"), &fields);
    let head = stream.head();
    assert_eq!((head.status.as_u16(), &head.headers["content-type"]), (200, &kind.parse().unwrap()));
    assert_eq!(stream.read(BEGUN.len()), BEGUN);
    (stream, head.headers["x-request-id"].to_str().unwrap().to_owned())
}

/// Both directions of it work.
#[track_caller]
fn check_lives(stream: &mut Http2Stream, word: &str) {
    assert!(stream.send(word.as_bytes()), "{word}");
    assert_eq!(stream.read(word.len()), word.as_bytes());
}

/// It was ended here, a call with this status and this text, anything else by being taken back.
#[track_caller]
fn check_ended(kind: &str, ending: &StreamEnding, code: &str, text: &str) {
    match ending {
        StreamEnding::Trailers(trailers) if kind == GRPC => {
            let told = (&trailers["grpc-status"], &trailers["grpc-message"]);
            assert_eq!(told, (&code.parse().unwrap(), &text.parse().unwrap()));
        }
        // Not as if it were whole.
        StreamEnding::Reset(Some(_)) if kind != GRPC => {}
        ending @ (StreamEnding::Trailers(_) | StreamEnding::Plain | StreamEnding::Reset(_)) => {
            panic!("{kind}: {ending:?}")
        }
    }
}

#[test]
fn a_stream_whose_token_expires_ends_alone_idle_or_busy() {
    let site = Site::start();
    let client = site.client();
    let (short, long) = (token_ending_in(2), Token::good().signed_by(signing_key()));
    let began = Instant::now();
    let mut doomed = Vec::new();
    for kind in [GRPC, EVENTS] {
        for how in ["idle", "busy", "spoken-to"] {
            doomed.push((kind, how, begin(&client, &format!("/mine/{how}"), kind, Some(&short))));
        }
    }
    let (mut spared, _) = begin(&client, "/mine/idle", GRPC, Some(&long));
    let (mut busy, _) = begin(&client, "/mine/busy", EVENTS, Some(&long));
    let (mut kept, _) = begin(&client, "/kept/idle", EVENTS, Some(&short));
    // A client that has something to say all the time.
    let (speaking, hearing): (Vec<_>, Vec<_>) = doomed.into_iter().partition(|(_, how, _)| *how == "spoken-to");
    thread::scope(|scope| {
        for (kind, how, (mut stream, id)) in speaking {
            let (site, how) = (&site, how);
            scope.spawn(move || {
                while stream.send(PIECE) && began.elapsed() < 2 * BOUND {
                    thread::park_timeout(Duration::from_millis(20));
                }
                let (_, ending) = stream.read_to_the_end();
                check_ended(kind, &ending, "16", "The token has expired");
                let line = site.house.gateway.access_line(&id);
                assert_eq!(line["auth"]["detail"], "the stream was ended: token_expired", "{how} {line}");
            });
        }
        for (kind, how, (stream, id)) in hearing {
            let (content, ending) = stream.read_to_the_end();
            assert!(began.elapsed() >= Duration::from_secs(1) && began.elapsed() < Duration::from_secs(2) + BOUND);
            check_ended(kind, &ending, "16", "The token has expired");
            assert!(
                content.iter().all(|byte| *byte == b'.') && content.is_empty() == (how == "idle"),
                "{how} {content:?}"
            );
            let line = site.house.gateway.access_line(&id);
            assert_eq!(line["auth"]["detail"], "the stream was ended: token_expired", "{line}");
            assert_eq!((&line["status"], &line["auth"]["result"]), (&json!(200), &json!("allowed")), "{line}");
        }
    });
    // The connection and the others on it live, with data in both directions.
    check_lives(&mut spared, "spared");
    check_lives(&mut kept, "kept");
    assert_eq!(busy.read(PIECE.len()), PIECE);
    assert_eq!(site.house.closed("token_expired"), 6.0);
    assert_eq!(site.house.streams(), 3.0);
    let (_, ending) = spared.finish();
    assert!(matches!(ending, StreamEnding::Trailers(_)), "{ending:?}");
    assert_eq!(site.calls.take().len(), 9);
}

#[test]
fn a_stream_that_is_idle_or_old_ends_alone_and_a_call_is_told_to_try_again() {
    let site = Site::start();
    let client = site.client();
    let token = Token::good().signed_by(signing_key());
    let (mut spared, _) = begin(&client, "/mine/idle", EVENTS, Some(&token));
    let mut all = Vec::new();
    for kind in [GRPC, EVENTS] {
        for (path, reason) in [("/idle/idle", "idle_timeout"), ("/old/idle", "max_age"), ("/old/busy", "max_age")] {
            all.push((kind, reason, begin(&client, path, kind, None)));
        }
    }
    for (kind, reason, (stream, id)) in all {
        let (_, ending) = stream.read_to_the_end();
        check_ended(kind, &ending, "14", &format!("the stream was ended: {reason}"));
        let line = site.house.gateway.access_line(&id);
        assert_eq!(line["auth"]["detail"], format!("the stream was ended: {reason}"), "{line}");
        check_lives(&mut spared, "spared");
    }
}

#[test]
fn a_call_whose_token_ends_before_it_is_answered_is_refused_in_its_own_words() {
    let site = Site::start();
    let client = site.client();
    let token = bearer(&token_ending_in(2));
    let mut call = client.open("http://api.test/mine/silent", &[("content-type", GRPC), ("authorization", &token)]);
    let head = call.head();
    assert_eq!((head.status.as_u16(), &head.headers["grpc-status"]), (200, &"16".parse().unwrap()), "{head:?}");
    let line = site.house.gateway.access_line(head.headers["x-request-id"].to_str().unwrap());
    assert_eq!((&line["status"], &line["auth"]["reason"]), (&json!(401), &json!("token_expired")), "{line}");
}

#[test]
fn a_stream_that_its_client_takes_back_is_told_as_that() {
    let site = Site::start();
    let client = site.client();
    let token = Token::good().signed_by(signing_key());
    let (mut spared, _) = begin(&client, "/mine/idle", GRPC, Some(&token));
    for kind in [GRPC, EVENTS] {
        for is_whole in [true, false] {
            let (mut stream, id) = begin(&client, "/mine/busy", kind, Some(&token));
            stream.take_back(is_whole);
            let line = site.house.gateway.access_line(&id);
            assert_eq!((&line["auth"]["reason"], &line["status"]), (&Value::Null, &json!(200)), "{line}");
            assert_eq!(line["auth"]["detail"], "the client ended the stream", "{line}");
            check_lives(&mut spared, "spared");
        }
    }
    assert_eq!(site.house.closed("client_closed"), 4.0);
}
