//! Every kind of stream against everything that ends a token: each ends in its own way, and its neighbours live on - those of
//! other tokens, and those of the same token where the route lets streams outlive it.
use std::time::Instant;

use super::*;
use crate::support::{
    http2::{Http2, Http2Stream, StreamEnding},
    http2_echo::{BEGUN, Http2Echo},
    keys::{SigningKey, key_set},
};

const ROUTES: &str = r#"
  - {name: mine, path_prefix: /mine, upstream: streams}
  - {name: kept, path_prefix: /kept, stream: {end_with_token: false}, upstream: streams}
  - {name: mine-offered, path_prefix: /offered/mine, token: {sources: [{websocket_protocol: bearer}]}, upstream: streams}
  - {name: kept-offered, path_prefix: /offered/kept, token: {sources: [{websocket_protocol: bearer}]}, stream: {end_with_token: false}, upstream: streams}
  - {name: mine-calls, path_prefix: /calls/mine, upstream: calls}
  - {name: kept-calls, path_prefix: /calls/kept, stream: {end_with_token: false}, upstream: calls}
"#;

/// Within this time of what ends it a stream is over, as the contract has it; and what a loaded machine takes besides.
const BOUND: Duration = Duration::from_secs(5 + 3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A WebSocket, its token in a header.
    Socket,
    /// A WebSocket, its token among the protocols.
    OfferedSocket,
    /// Events over HTTP/1.1.
    Events,
    /// A response of chunks over HTTP/1.1.
    Chunks,
    /// Events over HTTP/2, whose request is at its end, as a browser's is.
    Http2Events,
    /// A call of gRPC whose request goes on.
    Call,
    /// A call of gRPC whose request is at its end.
    WholeCall,
}

const KINDS: [Kind; 7] =
    [Kind::Socket, Kind::OfferedSocket, Kind::Events, Kind::Chunks, Kind::Http2Events, Kind::Call, Kind::WholeCall];

/// What ends a token: what makes it happen, the word for it, and the status of a call with its text.
struct Cause {
    /// A claim by which the token is known to the list of revocations; `exp` and `kid` stand for its end and for its key.
    claim: &'static str,
    reason: &'static str,
    code: &'static str,
    text: &'static str,
}

const CAUSES: [Cause; 5] = [
    Cause { claim: "exp", reason: "token_expired", code: "16", text: "The token has expired" },
    Cause { claim: "jti", reason: "token_revoked", code: "16", text: "The token was revoked" },
    Cause { claim: "sid", reason: "token_revoked", code: "16", text: "The token was revoked" },
    Cause { claim: "sub", reason: "subject_revoked", code: "7", text: "The identity may not be used any more" },
    Cause { claim: "kid", reason: "key_unknown", code: "16", text: "" },
];

enum Going {
    Http1(Begun),
    Http2(Http2Stream, String),
}

fn open(house: &House, client: &Http2, kind: Kind, route: &str, token: &str) -> Going {
    match kind {
        Kind::Socket => Going::Http1(begin(house, &format!("/{route}/ws"), Some(token))),
        Kind::Events => Going::Http1(begin(house, &format!("/{route}/events"), Some(token))),
        Kind::Chunks => Going::Http1(begin(house, &format!("/{route}/chunks"), Some(token))),
        Kind::OfferedSocket => {
            let offers = format!("bearer.{token}, chat");
            let lines = [&UPGRADE[..], &[("Sec-WebSocket-Protocol", &offers)]].concat();
            let mut wire = Wire::connect(house.gateway.address()).unwrap();
            wire.send(&request_bytes("GET", &format!("/offered/{route}/ws"), &lines)).unwrap();
            let head = Head::parse(wire.read_head().unwrap().unwrap());
            Going::Http1(Begun { wire, head })
        }
        Kind::Http2Events | Kind::Call | Kind::WholeCall => {
            let media_type = if kind == Kind::Http2Events { "text/event-stream" } else { "application/grpc" };
            let fields = [("content-type", media_type), ("authorization", &bearer(token))];
            let mut stream = client.open(&format!("http://api.test/calls/{route}/quiet"), &fields);
            if kind != Kind::Call {
                stream.end_request();
            }
            let head = stream.head();
            assert_eq!((head.status.as_u16(), stream.read(BEGUN.len())), (200, BEGUN.to_vec()), "{kind:?}");
            Going::Http2(stream, head.headers["x-request-id"].to_str().unwrap().to_owned())
        }
    }
}

/// Reads it to its end, which is that of its kind, and gives its line in the log.
fn check_ended(house: &House, kind: Kind, going: Going, cause: &Cause) -> Value {
    match going {
        Going::Http1(mut begun) => {
            let bytes = begun.wire.read_to_end().unwrap();
            if matches!(kind, Kind::Socket | Kind::OfferedSocket) {
                let length = u8::try_from(cause.reason.len() + 2).unwrap();
                let goodbye = [&[0x88, length, 0x03, 0xf0], cause.reason.as_bytes()].concat();
                assert_eq!(bytes, [FRAME, &goodbye].concat(), "{kind:?} {}", cause.reason);
            } else {
                assert!(!bytes.is_empty() && !bytes.ends_with(b"0\r\n\r\n"), "{kind:?}: cut must not look whole");
            }
            house.gateway.access_line(begun.request_id())
        }
        Going::Http2(stream, id) => {
            match stream.read_to_the_end().1 {
                StreamEnding::Trailers(trailers) if kind != Kind::Http2Events => {
                    assert_eq!(trailers["grpc-status"], cause.code, "{kind:?} {}", cause.reason);
                    let message = trailers["grpc-message"].to_str().unwrap();
                    assert!(message.contains(cause.text) && !message.is_empty(), "{message}");
                }
                StreamEnding::Reset(Some(_)) if kind == Kind::Http2Events => {}
                ending @ (StreamEnding::Trailers(_) | StreamEnding::Plain | StreamEnding::Reset(_)) => {
                    panic!("{kind:?} {}: {ending:?}", cause.reason)
                }
            }
            house.gateway.access_line(&id)
        }
    }
}

/// A gateway of both versions of HTTP, with two keys of which one is to be withdrawn.
fn start(other: &SigningKey, calls: &Http2Echo) -> House {
    let (upstream, echo) = (StreamUpstream::start(), Upstream::start());
    let upstreams =
        "upstreams:\n  streams: {servers: [\"{streams}\"]}\n  calls: {protocol: h2c, servers: [\"{calls}\"]}";
    let config = fixture::config("", ROUTES)
        .replace("upstreams:", upstreams)
        .replace("address: \"{listen}\"", "address: \"{listen}\", http2: true");
    let gateway = Gateway::builder(config)
        .set("streams", upstream.server.address())
        .set("calls", calls.address())
        .set("upstream", echo.address())
        .file("keys.json", key_set(&[signing_key().jwk_for("ES256"), other.jwk_for("ES256")]))
        .start();
    House { gateway, upstream, _echo: echo }
}

fn check(cause: &Cause) {
    let (other_key, calls) = (SigningKey::p256("e2"), Http2Echo::start());
    let house = start(&other_key, &calls);
    // Over this one connection go streams that end and streams that do not.
    let client = Http2::connect(house.gateway.address()).unwrap();
    let doomed_token = match cause.claim {
        "exp" => token_ending_in(2),
        "kid" => Token::good().signed_by(signing_key()),
        claim => Token::good().claim(claim, "doomed").signed_by(signing_key()),
    };
    let spared_token = match cause.claim {
        "exp" | "kid" => Token::good().signed_by(&other_key),
        claim => Token::good().claim(claim, "spared").signed_by(&other_key),
    };
    let all = |route, token| KINDS.map(|kind| (kind, open(&house, &client, kind, route, token)));
    let doomed = all("mine", &doomed_token);
    let living = [all("kept", &doomed_token), all("mine", &spared_token)];
    match cause.claim {
        "exp" => {}
        "kid" => {
            house.gateway.folder().write("keys.json", key_set(&[other_key.jwk_for("ES256")]));
        }
        claim => house.revoke(&json!({"issuer": "main", claim: "doomed"})),
    }
    let began = Instant::now();
    for (kind, going) in doomed {
        let line = check_ended(&house, kind, going, cause);
        let detail = format!("the stream was ended: {}", cause.reason);
        assert_eq!((&line["auth"]["detail"], &line["auth"]["result"]), (&json!(detail), &json!("allowed")), "{line}");
    }
    let slack = Duration::from_secs(2);
    assert!(began.elapsed() < BOUND + slack, "{} {:?}", cause.reason, began.elapsed());
    // Longer than between two looks at a token.
    let settled = Instant::now() + Duration::from_millis(4500).saturating_sub(began.elapsed());
    thread::park_timeout(settled.saturating_duration_since(Instant::now()));
    living.into_iter().flatten().for_each(|(kind, going)| check_lives(kind, going, cause));
    assert_eq!(house.closed(cause.reason), KINDS.len() as f64);
    assert_eq!(calls.take().len(), 9);
}

/// Nothing ended it, and where its client may speak it is heard.
fn check_lives(kind: Kind, going: Going, cause: &Cause) {
    match going {
        Going::Http1(mut begun) => {
            assert!(!begun.wire.read_for(Duration::from_millis(20)).1, "{kind:?} {}", cause.claim);
            if matches!(kind, Kind::Socket | Kind::OfferedSocket) {
                begun.wire.send(b"x").unwrap();
                assert_eq!(begun.wire.read_bytes(FRAME.len() + 1).unwrap(), [FRAME, b"x"].concat(), "{kind:?}");
            }
        }
        Going::Http2(mut stream, _) => assert!(stream.is_open(), "{kind:?} {}", cause.claim),
    }
}

#[test]
fn every_kind_of_stream_ends_with_its_token_whatever_ends_that_and_no_other_does() {
    thread::scope(|scope| {
        let checks = CAUSES.iter().map(|cause| scope.spawn(move || check(cause)));
        let checks: Vec<_> = checks.collect();
        checks.into_iter().for_each(|check| check.join().unwrap());
    });
}
