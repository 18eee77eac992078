//! A page in Chromium with a WebSocket and an EventSource. Pages cannot set `Authorization` on either; their token is in a cookie.
use serde_json::json;

use super::{Runner, Service};
use crate::support::{
    browser::Browser,
    fixture::{self, signing_key},
    gateway::Gateway,
    token::Token,
};

const ROUTES: &str = r#"
  - name: live
    path_prefix: /
    token: {sources: [{cookie: __Host-session}, {header: Authorization}]}
    csrf: {}
    upstream: echo
  - {name: page, path_prefix: /page, auth: none, upstream: echo}
"#;

/// Everything that a WebSocket says, until it closes.
const SOCKET: &str = r#"
new Promise((resolve) => {
  const socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/socket");
  socket.binaryType = "arraybuffer";
  const came = [];
  socket.onmessage = ({ data }) => {
    came.push(typeof data === "string" ? data : [...new Uint8Array(data).slice(0, 3), data.byteLength]);
    if (came.length === 1) { socket.send("Grüße 🌍"); socket.send(new Uint8Array(1 << 20).fill(7)); socket.send("!close"); }
  };
  socket.onclose = ({ code, reason, wasClean }) => resolve({ came, code, reason, wasClean });
})
"#;

/// Events, over one end of the stream that the browser mends by itself.
const EVENTS: &str = r#"
new Promise((resolve) => {
  const source = new EventSource("/events");
  const came = [];
  const note = ({ type, data, lastEventId }) => {
    came.push([type, data, lastEventId]);
    if (came.length === 6) { source.close(); resolve(came); }
  };
  source.onmessage = note;
  source.addEventListener("named", note);
  source.onerror = () => { if (source.readyState === EventSource.CLOSED) resolve("closed"); };
})
"#;

#[test]
fn a_page_has_a_websocket_and_events_with_a_token_in_a_cookie_and_neither_without() {
    let Some(node) = Runner::node(&["ws"], "peers::pages") else { return };
    let Some(mut browser) = Browser::start("peers::pages") else { return };
    let server = Service::start::<&str>(&node, "browser_server.js", &[]);
    let gateway = Gateway::builder(fixture::config("", ROUTES))
        .set("upstream", server.address())
        .file("keys.json", fixture::keys_file())
        .start();
    let port = gateway.address().to_string().rsplit(':').next().unwrap().to_owned();
    browser.open(&format!("http://app.localhost:{port}/page"));
    // Without a token neither is opened, and the service hears of neither.
    let refused = browser.evaluate(SOCKET);
    assert_eq!((&refused["code"], &refused["came"]), (&json!(1006), &json!([])), "{refused}");
    assert_eq!(browser.evaluate(EVENTS), json!("closed"));
    assert!(server.told("events").is_empty() && server.told("closed").is_empty());

    let token = Token::good().signed_by(signing_key());
    browser.evaluate(&format!("document.cookie = '__Host-session={token}; Path=/; Secure; SameSite=Strict'"));
    let told = browser.evaluate(SOCKET);
    let hello = json!({"user": "u1", "secrets": false, "last": null, "extensions": "permessage-deflate"}).to_string();
    let same = |one: &str, other: &str| {
        let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(parsed(one), parsed(other));
    };
    same(told["came"][0].as_str().unwrap(), &hello);
    assert_eq!(told["came"].as_array().unwrap()[1..], [json!("Grüße 🌍"), json!([7, 7, 7, 1 << 20])]);
    assert_eq!((&told["code"], &told["reason"], &told["wasClean"]), (&json!(4001), &json!("by server"), &json!(true)));
    server.wait_for("the close", |line| line["closed"] == 4001);

    let events = browser.evaluate(EVENTS);
    let (first, again) = (events[0][1].as_str().unwrap(), events[3][1].as_str().unwrap());
    same(first, r#"{"user": "u1", "secrets": false, "last": null}"#);
    // It came again with what it had last, and with its token.
    same(again, r#"{"user": "u1", "secrets": false, "last": "3"}"#);
    let rest = [&events[1], &events[2], &events[4], &events[5]].map(Clone::clone);
    assert_eq!(
        rest,
        [
            json!(["named", "two\nlines", "2"]),
            json!(["message", "\"last\"", "3"]),
            json!(["named", "two\nlines", "5"]),
            json!(["message", "\"last\"", "6"]),
        ]
    );
}
