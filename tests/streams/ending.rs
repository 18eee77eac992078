//! What ends a stream besides its two ends.
use std::time::Instant;

use super::*;

const ROUTES: &str = r#"
  - {name: mine, path_prefix: /mine, upstream: streams}
  - {name: kept, path_prefix: /kept, stream: {end_with_token: false}, upstream: streams}
  - {name: idle, path_prefix: /idle, auth: none, timeout: 200ms, stream: {idle_timeout: 1500ms}, upstream: streams}
  - {name: old, path_prefix: /old, auth: none, stream: {max_age: 2s}, upstream: streams}
  - {name: public, path_prefix: /public, auth: none, upstream: streams}
  - {name: plain, path_prefix: /plain, upstream: echo}
"#;

fn start(more: &str) -> House {
    House::start(more, ROUTES)
}

/// Within this time of what ends it a stream is over, as the contract has it; and what a loaded machine takes besides.
const BOUND: Duration = Duration::from_secs(5 + 3);

/// A close frame with this code, and the word as its reason.
fn close_frame(code: u16, word: &str) -> Vec<u8> {
    let mut frame = vec![0x88, u8::try_from(word.len() + 2).unwrap()];
    frame.extend_from_slice(&code.to_be_bytes());
    frame.extend_from_slice(word.as_bytes());
    frame
}

/// Reads a stream to its end: what came, and the log line of it.
fn read_to_the_end(house: &House, begun: &mut Begun) -> (Vec<u8>, Value) {
    let bytes = begun.wire.read_to_end().unwrap();
    let line = house.gateway.access_line(begun.request_id());
    (bytes, line)
}

#[test]
fn every_kind_of_stream_ends_when_its_token_expires_idle_or_busy() {
    let house = start("");
    let targets =
        ["ws", "ws-busy", "ws-half", "ws-goodbye", "events", "events-busy", "chunks", "chunks-busy", "length-busy"];
    thread::scope(|scope| {
        for target in targets {
            let house = &house;
            scope.spawn(move || {
                let began = Instant::now();
                let mut begun = begin(house, &format!("/mine/{target}"), Some(&token_ending_in(2)));
                assert_eq!(begun.head.start.contains(" 101 "), target.starts_with("ws"), "{}", begun.head.start);
                let (bytes, line) = read_to_the_end(house, &mut begun);
                let lasted = began.elapsed();
                assert!(
                    lasted >= Duration::from_secs(1) && lasted < Duration::from_secs(2) + BOUND,
                    "{target} {lasted:?}"
                );
                assert_eq!(line["auth"]["detail"], "the stream was ended: token_expired", "{target} {line}");
                assert_eq!(
                    (&line["auth"]["result"], &line["auth"]["reason"]),
                    (&json!("allowed"), &Value::Null),
                    "{target}"
                );
                assert!(line["bytes_out"].as_u64() >= Some(2) && line["duration_s"].as_f64() >= Some(0.9), "{line}");
                let goodbye = close_frame(1008, "token_expired");
                match target {
                    "ws" => assert_eq!(bytes, [FRAME, &goodbye].concat()),
                    "ws-busy" => {
                        let frames = bytes.strip_suffix(goodbye.as_slice()).expect("a goodbye");
                        assert!(frames.chunks(FRAME.len()).all(|frame| frame == FRAME), "{frames:?}");
                    }
                    // Within a frame, and after the server's own goodbye, nothing more is said.
                    "ws-half" => assert_eq!(bytes, [FRAME, b"\x82\x64half"].concat()),
                    "ws-goodbye" => assert_eq!(bytes, [FRAME, b"\x88\x02\x03\xe8"].concat()),
                    _ => assert!(!bytes.ends_with(b"0\r\n\r\n"), "what was cut must not look whole: {target}"),
                }
            });
        }
    });
    assert_eq!(house.closed("token_expired"), targets.len() as f64);
    assert_eq!(house.streams(), 0.0);
}

#[test]
fn a_token_that_ends_before_the_response_has_begun_is_an_ordinary_refusal() {
    let house = start("");
    let mut client = house.gateway.connect();
    let token = bearer(&token_ending_in(2));
    // A client that sends its request for so long that its token ends meanwhile.
    client.send(format!(
        "POST /mine/silent HTTP/1.1\r\nHost: api.test\r\nAuthorization: {token}\r\nTransfer-Encoding: chunked\r\n\r\n"
    ));
    let refused = thread::scope(|scope| {
        let sender = scope.spawn(|| client.trickle(b"1\r\na\r\n", Duration::from_millis(100)));
        sender.join().unwrap()
    });
    let text = String::from_utf8_lossy(&refused).into_owned();
    assert!(text.starts_with("HTTP/1.1 401 ") && text.contains("token_expired"), "{text}");
}

#[test]
fn a_stream_may_be_idle_for_as_long_as_its_route_says_and_no_timeout_of_another_kind_ends_it() {
    let house = start("");
    thread::scope(|scope| {
        for (target, code) in [("ws", Some(1001)), ("events", None), ("chunks", None)] {
            let house = &house;
            scope.spawn(move || {
                let mut begun = begin(house, &format!("/idle/{target}"), None);
                let began = Instant::now();
                let (bytes, line) = read_to_the_end(house, &mut begun);
                // Longer than the route's timeout and the upstream's between two reads.
                assert!(began.elapsed() >= Duration::from_millis(1300), "{target} {:?}", began.elapsed());
                assert_eq!(line["auth"]["detail"], "the stream was ended: idle_timeout", "{line}");
                if let Some(code) = code {
                    assert_eq!(bytes, [FRAME, &close_frame(code, "idle_timeout")].concat());
                }
            });
            // What the client says counts too, and what the server says by itself.
            scope.spawn(move || {
                let mut begun = begin(house, "/idle/ws", None);
                let began = Instant::now();
                begun.wire.read_bytes(FRAME.len()).unwrap();
                while began.elapsed() < Duration::from_secs(3) {
                    begun.wire.send(b"x").unwrap();
                    assert_eq!(begun.wire.read_bytes(1).unwrap(), b"x");
                    thread::park_timeout(Duration::from_millis(300));
                }
            });
        }
        // A response of a known length is no stream: the upstream's own timeout between two reads counts.
        let house = &house;
        scope.spawn(move || {
            let mut begun = begin(house, "/idle/length", None);
            let (_, line) = read_to_the_end(house, &mut begun);
            assert_eq!(line["auth"]["reason"], "upstream_timeout", "{line}");
        });
    });
}

#[test]
fn a_websocket_is_idle_for_longer_than_a_request_body_may_stall() {
    let house = start("limits: {body_timeout: 1s, body_bytes: 10B}");
    let mut begun = begin(&house, "/public/ws", None);
    begun.wire.read_bytes(FRAME.len()).unwrap();
    assert!(!begun.wire.read_for(Duration::from_millis(2500)).1, "it was closed");
    // What comes over it is no body of the request, whose length is bounded.
    begun.wire.send(&[b'x'; 64]).unwrap();
    assert_eq!(begun.wire.read_bytes(64).unwrap(), [b'x'; 64]);
}

#[test]
fn no_stream_is_older_than_its_route_allows() {
    let house = start("");
    thread::scope(|scope| {
        for target in ["ws", "ws-busy", "events-busy", "length-busy"] {
            let house = &house;
            scope.spawn(move || {
                let mut begun = begin(house, &format!("/old/{target}"), None);
                let (bytes, line) = read_to_the_end(house, &mut begun);
                assert_eq!(bytes.ends_with(&close_frame(1001, "max_age")), target.starts_with("ws"), "{target}");
                let expected =
                    if target.starts_with("length") { Value::Null } else { json!("the stream was ended: max_age") };
                assert!(expected.is_null() || line["auth"]["detail"] == expected, "{line}");
            });
        }
    });
}

#[test]
fn the_timeout_of_a_route_cuts_nothing_that_goes_on() {
    let house = start("");
    // The route's timeout is 200 ms: the head of the response came within it.
    thread::scope(|scope| {
        for target in ["ws-busy", "events-busy", "chunks-busy", "length-busy"] {
            let house = &house;
            scope.spawn(move || {
                let mut begun = begin(house, &format!("/idle/{target}"), None);
                let began = Instant::now();
                while began.elapsed() < Duration::from_secs(1) {
                    begun.wire.read_bytes(2).unwrap_or_else(|error| panic!("{target}: {error}"));
                }
            });
        }
    });
}

#[test]
fn a_websocket_whose_service_takes_nothing_ends_when_that_is_noticed() {
    let house = start("");
    let mut begun = begin(&house, "/mine/ws-deaf", Some(&token_ending_in(2)));
    let began = Instant::now();
    // More than all buffers on the way hold: from then on nobody listens to the client.
    while begun.wire.send(&[b'x'; 64 * 1024]).is_ok() {}
    let line = house.gateway.access_line(begun.request_id());
    assert!(began.elapsed() < DEAF_FOR, "before the service goes away: {:?}", began.elapsed());
    assert_eq!(line["auth"]["result"], "allowed", "{line}");
}

#[test]
fn a_websocket_whose_client_ends_its_side_is_over() {
    let house = start("");
    for target in ["ws", "ws-busy"] {
        let mut begun = begin(&house, &format!("/mine/{target}"), Some(&Token::good().signed_by(signing_key())));
        begun.wire.end_sending();
        let (_, line) = read_to_the_end(&house, &mut begun);
        assert_eq!(line["auth"]["detail"], "the client ended the stream", "{target} {line}");
    }
    assert_eq!((house.streams(), house.closed("client_closed")), (0.0, 2.0));
}

#[test]
fn open_streams_are_counted_and_how_they_ended_is_told() {
    let house = start("");
    let token = Token::good().signed_by(signing_key());
    let mut begun = begin(&house, "/mine/ws", Some(&token));
    begun.wire.read_bytes(FRAME.len()).unwrap();
    let open = house.gateway.metric(|line| line.starts_with("portcullis_streams{route=\"mine\"}"));
    assert_eq!(open, 1.0);
    begun.wire.send(b"hello").unwrap();
    begun.wire.read_bytes(5).unwrap();
    begun.wire.shut();
    let line = house.gateway.access_line(begun.request_id());
    assert_eq!(line["auth"]["detail"], "the client ended the stream", "{line}");
    assert_eq!((&line["status"], &line["bytes_in"], &line["bytes_out"]), (&json!(101), &json!(5), &json!(9)), "{line}");
    assert_eq!((house.streams(), house.closed("client_closed")), (0.0, 1.0));
    // A response that is over at once is no stream.
    assert_eq!(house.gateway.get("/public/ok", &[]).text(), "ok");
    assert_eq!(house.streams(), 0.0);
    assert_eq!(house.upstream.take().len(), 2);
}

#[test]
fn many_streams_whose_tokens_end_together_do_not_end_in_one_instant() {
    let house = start("");
    let token = token_ending_in(3);
    let streams: Vec<Begun> = (0..60).map(|_| begin(&house, "/mine/ws", Some(&token))).collect();
    let ends: Vec<Instant> = thread::scope(|scope| {
        let readers: Vec<_> = streams
            .into_iter()
            .map(|mut begun| {
                scope.spawn(move || {
                    begun.wire.read_to_end().unwrap();
                    Instant::now()
                })
            })
            .collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    let (first, last) = (ends.iter().min().unwrap(), ends.iter().max().unwrap());
    let spread = last.duration_since(*first);
    assert!(spread > Duration::from_secs(1), "all within {spread:?}");
    let half = *first + spread / 2;
    let early = ends.iter().filter(|end| **end < half).count();
    assert!((10..=50).contains(&early), "{early} of 60 in the first half");
    assert_eq!(house.closed("token_expired"), 60.0);
}
