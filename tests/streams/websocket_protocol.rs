//! Tokens among the protocols that the client of a WebSocket offers: what passes, what the service and the client see of it, and
//! what is refused.
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;

use super::*;
use crate::support::{browser::Browser, reported::check_reported};

const ROUTES: &str = r#"
  - {name: chat, path_prefix: /chat, token: {sources: [{websocket_protocol: bearer}, {header: Authorization}]}, upstream: sockets}
  - {name: k8s, path_prefix: /k8s, token: {sources: [{websocket_protocol: base64url.bearer.authorization.k8s.io}]}, upstream: sockets}
  - {name: passed, path_prefix: /passed, token: {sources: [{websocket_protocol: bearer}], forward: true}, upstream: sockets}
  - {name: other, path_prefix: /other, upstream: sockets}
  - {name: public, path_prefix: /public, auth: none, upstream: sockets}
"#;

const FIELD: &str = "Sec-WebSocket-Protocol";

/// A gateway in front of WebSockets. It stops first.
struct Site {
    gateway: Gateway,
    sockets: StreamUpstream,
    _echo: Upstream,
}

impl Site {
    fn start() -> Self {
        let seen: Arc<Mutex<Vec<Head>>> = Arc::default();
        let record = Arc::clone(&seen);
        let server = Server::on_tcp(move |wire| {
            // That the other side ends it is what ends it.
            let _ = serve_socket(wire, &record);
        });
        let (sockets, echo) = (StreamUpstream { server, seen }, Upstream::start());
        let upstreams = "upstreams:\n  sockets: {servers: [\"{sockets}\"]}";
        let gateway = Gateway::builder(fixture::config("", ROUTES).replace("upstreams:", upstreams))
            .set("sockets", sockets.server.address())
            .set("upstream", echo.address())
            .file("keys.json", fixture::keys_file())
            .start();
        Self { gateway, sockets, _echo: echo }
    }

    /// Asks for a WebSocket.
    fn ask(&self, target: &str, more: &[(&str, &str)]) -> (Wire, Head) {
        let mut wire = Wire::connect(self.gateway.address()).unwrap();
        wire.send(&request_bytes("GET", target, &[&UPGRADE[..], more].concat())).unwrap();
        let head = Head::parse(wire.read_head().unwrap().unwrap());
        (wire, head)
    }

    /// What the service saw of the one request that it got: its offers, and whether a token was anywhere.
    #[track_caller]
    fn seen(&self, token: &str) -> Vec<String> {
        let seen = self.sockets.take();
        assert_eq!(seen.len(), 1);
        let encoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(token);
        let text = format!("{:?}", seen[0]);
        let is_passed = seen[0].target().starts_with("/passed");
        assert_eq!(text.contains(token) || text.contains(&encoded), is_passed, "{text}");
        seen[0].values(FIELD).iter().map(ToString::to_string).collect()
    }
}

/// A service that chooses the first protocol that is offered; `none` chooses none. It sends back what comes.
fn serve_socket(mut wire: Wire, seen: &Mutex<Vec<Head>>) -> io::Result<()> {
    while let Some(raw) = wire.read_head()? {
        let head = Head::parse(raw);
        let offered = head.value(FIELD).and_then(|offers| offers.split(',').next()).map(str::trim);
        let chooses = !head.target().ends_with("/none");
        let chosen = offered.filter(|_| chooses).map(|first| format!("{FIELD}: {first}\r\n")).unwrap_or_default();
        let key =
            head.value("Sec-WebSocket-Key").unwrap_or_default().to_owned() + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
        let accept = digest(&SHA1_FOR_LEGACY_USE_ONLY, key.as_bytes());
        let accept = base64::engine::general_purpose::STANDARD.encode(accept.as_ref());
        let is_websocket = head.value("Upgrade").is_some();
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(head);
        if !is_websocket {
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
            continue;
        }
        let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
        wire.send(format!("{switch}{chosen}Sec-WebSocket-Accept: {accept}\r\n\r\n").as_bytes())?;
        wire.send(FRAME)?;
        loop {
            let byte = wire.read_bytes(1)?;
            wire.send(&byte)?;
        }
    }
    Ok(())
}

fn encoded(token: &str) -> String {
    format!("base64url.bearer.authorization.k8s.io.{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(token))
}

#[test]
fn a_token_among_the_offers_opens_a_websocket_and_goes_no_further() {
    let site = Site::start();
    let token = Token::good().signed_by(signing_key());
    let (plain, coded) = (format!("bearer.{token}"), encoded(&token));
    type Row<'r> = (&'r str, &'r [&'r str], &'r [&'r str], Option<&'r str>);
    let rows: &[Row<'_>] = &[
        ("/chat/a", &[&format!("{plain}, chat")], &["chat"], Some("chat")),
        ("/chat/a", &[&format!("chat,{plain} , superchat")], &["chat, superchat"], Some("chat")),
        ("/chat/a", &["chat", &plain], &["chat"], Some("chat")),
        ("/chat/none", &[&format!("{plain}, chat")], &["chat"], None),
        ("/k8s/a", &[&format!("{coded}, chat")], &["chat"], Some("chat")),
        // Where the service gets the token it may choose it: the client is not told it again.
        ("/passed/a", &[&format!("{plain}, chat")], &[&format!("{plain}, chat")], None),
        ("/passed/a", &[&format!("chat, {plain}")], &[&format!("chat, {plain}")], Some("chat")),
        // Where nobody looks for it there, it leaves all the same.
        ("/public/a", &[&format!("{plain}, {coded}, chat")], &["chat"], Some("chat")),
        ("/public/a", &[&plain], &[], None),
        // However it is spread over fields, and however often it is offered.
        ("/public/a", &["", &format!(",{plain},,"), "chat,", &coded, &plain], &["chat"], Some("chat")),
    ];
    for (target, offers, expected, chosen) in rows {
        let more: Vec<(&str, &str)> = offers.iter().map(|offer| (FIELD, *offer)).collect();
        let (mut wire, head) = site.ask(target, &more);
        assert!(head.start.contains(" 101 "), "{target} {}", head.start);
        assert_eq!(head.value(FIELD), *chosen, "{target}");
        assert!(!format!("{head:?}").contains(&token), "{target}");
        wire.send(b"x").unwrap();
        assert_eq!(wire.read_bytes(FRAME.len() + 1).unwrap(), [FRAME, b"x"].concat());
        assert_eq!(site.seen(&token), *expected, "{target}");
        wire.shut();
        let line = site.gateway.access_line(head.value("X-Request-Id").unwrap());
        let subject = if target.starts_with("/public") { Value::Null } else { json!("u1") };
        assert_eq!((&line["status"], &line["auth"]["subject"]), (&json!(101), &subject), "{line}");
    }
    // A field that services may take for this one leaves whole.
    let (_wire, head) = site.ask("/public/a", &[("Sec_WebSocket_Protocol", &plain), (FIELD, "chat")]);
    assert!(head.start.contains(" 101 "), "{}", head.start);
    assert_eq!(site.seen(&token), ["chat"]);
    // A header is as good where it is listed too.
    let authorization = bearer(&token);
    let (_wire, head) = site.ask("/chat/a", &[("Authorization", &authorization), (FIELD, "chat")]);
    assert!(head.start.contains(" 101 "), "{}", head.start);
    assert_eq!(site.seen(&token), ["chat"]);
}

#[test]
fn an_offer_that_is_not_the_one_good_token_beside_another_protocol_is_refused() {
    let site = Site::start();
    let token = Token::good().signed_by(signing_key());
    let expired = Token::good().claim("exp", 1_000_000_000).signed_by(signing_key());
    let (plain, coded, authorization) = (format!("bearer.{token}"), encoded(&token), bearer(&token));
    type Row<'r> = (&'r str, &'r [(&'r str, &'r str)], u16, &'r str);
    let rows: &[Row<'_>] = &[
        ("/chat/a", &[], 401, "token_missing"),
        ("/chat/a", &[(FIELD, "chat")], 401, "token_missing"),
        ("/chat/a", &[(FIELD, &format!("Bearer.{token}, chat"))], 401, "token_missing"),
        ("/chat/a", &[(FIELD, &format!("bearer, {token}"))], 401, "token_missing"),
        ("/chat/a", &[(FIELD, &plain)], 400, "request_malformed"),
        ("/chat/a", &[(FIELD, &format!("{plain}, {plain}, chat"))], 400, "token_repeated"),
        ("/chat/a", &[(FIELD, &format!("{plain}, chat")), (FIELD, &plain)], 400, "token_repeated"),
        ("/chat/a", &[(FIELD, &format!("{plain}, chat")), ("Authorization", &authorization)], 400, "token_repeated"),
        ("/chat/a", &[(FIELD, "bearer.x, chat")], 401, "token_malformed"),
        ("/chat/a", &[(FIELD, &format!("bearer.{expired}, chat"))], 401, "token_expired"),
        ("/k8s/a", &[(FIELD, &format!("{coded}=, chat"))], 401, "token_malformed"),
        ("/k8s/a", &[(FIELD, &format!("base64url.bearer.authorization.k8s.io.{token}, chat"))], 401, "token_malformed"),
        // Two fields are a list: what they hold does not add up to one offer.
        ("/chat/a", &[(FIELD, "bearer."), (FIELD, &token)], 401, "token_malformed"),
        (
            "/chat/a",
            &[(FIELD, &token[..40]), (FIELD, &format!("bearer{}", &token[40..])), (FIELD, "chat")],
            401,
            "token_missing",
        ),
        ("/chat/a", &[(FIELD, &format!("bearer.{}", &token[..40])), (FIELD, &token[40..])], 401, "token_malformed"),
        // Where another place, or none of these, is listed.
        ("/k8s/a", &[(FIELD, &format!("{plain}, chat"))], 401, "token_missing"),
        ("/other/a", &[(FIELD, &format!("{plain}, chat"))], 401, "token_missing"),
        // Who spells the name otherwise offers nothing.
        ("/chat/a", &[("Sec_WebSocket_Protocol", &format!("{plain}, chat"))], 401, "token_missing"),
    ];
    for (target, more, status, reason) in rows {
        let (_wire, head) = site.ask(target, more);
        assert!(head.start.contains(&format!(" {status} ")), "{reason}: {}", head.start);
        assert_eq!(head.value(FIELD), None);
        let route = target.split('/').nth(1).unwrap();
        check_reported(&site.gateway, head.value("X-Request-Id").unwrap(), route, reason, *status, "GET");
        assert!(site.sockets.take().is_empty(), "{reason}");
    }
    // `Connection` cannot take it from the gate's sight.
    let (_wire, head) = site.ask("/public/a", &[("Connection", "Upgrade, Sec-WebSocket-Protocol"), (FIELD, &plain)]);
    assert!(head.start.contains(" 400 "), "{}", head.start);
    assert!(site.sockets.take().is_empty());
}

#[test]
fn what_is_no_websocket_has_no_token_there() {
    let site = Site::start();
    let token = Token::good().signed_by(signing_key());
    let offers = format!("bearer.{token}, chat");
    for (method, upgrade) in [
        ("GET", ""),
        ("GET", "h2c"),
        ("GET", "websocket, h2c"),
        ("GET", "h2c;websocket"),
        ("GET", "websocket;h2c"),
        ("POST", "websocket"),
    ] {
        let mut fields = vec![(FIELD, offers.as_str()), ("Content-Length", "0")];
        if !upgrade.is_empty() {
            fields.push(("Connection", "Upgrade"));
            fields.extend(upgrade.split(';').map(|field| ("Upgrade", field)));
        }
        let response = site.gateway.connect().request(method, "/chat/a", &fields);
        assert_eq!(
            (response.status, response.json()["reason"].as_str()),
            (401, Some("token_missing")),
            "{method} {upgrade}"
        );
        assert!(site.sockets.take().is_empty());
    }
    // And the service gets none either.
    let response = site.gateway.get("/public/a", &[(FIELD, &offers)]);
    assert_eq!((response.status, site.seen(&token)), (200, vec!["chat".to_owned()]));
}

#[test]
fn a_browser_opens_a_websocket_with_a_token() {
    let Some(mut browser) = Browser::start("streams::websocket_protocol") else { return };
    let site = Site::start();
    let address = site.gateway.address().to_string();
    let mut open = |target: &str, protocols: &[String]| {
        browser.evaluate(&format!(
            "new Promise((resolve) => {{
               const socket = new WebSocket('ws://{address}{target}', {});
               const told = {{ opened: false }};
               socket.onopen = () => {{ told.opened = true; told.protocol = socket.protocol; }};
               socket.onmessage = (message) => {{ told.said = message.data; if (!told.waits) socket.close(1000); }};
               socket.onclose = (end) => {{ told.code = end.code; told.reason = end.reason; resolve(told); }};
               told.waits = {};
             }})",
            json!(protocols),
            target.ends_with("/waits"),
        ))
    };
    let token = Token::good().signed_by(signing_key());
    let good = [format!("bearer.{token}"), "chat".to_owned()];
    let told = open("/chat/a", &good);
    assert_eq!(
        (&told["opened"], &told["protocol"], &told["said"]),
        (&json!(true), &json!("chat"), &json!("hi")),
        "{told}"
    );
    assert_eq!(site.seen(&token), ["chat"]);
    // Encoded once more, as clients of Kubernetes and Phoenix do.
    let told = open("/k8s/a", &[encoded(&token), "chat".to_owned()]);
    assert_eq!((&told["opened"], &told["protocol"]), (&json!(true), &json!("chat")), "{told}");
    site.sockets.take();
    // No WebSocket for a browser, whatever it says: without a token, with one that counts no more, with one alone.
    for protocols in [vec!["chat".to_owned()], vec!["bearer.x".to_owned(), "chat".to_owned()], good[..1].to_vec()] {
        assert_eq!(open("/chat/a", &protocols)["opened"], false, "{protocols:?}");
        assert!(site.sockets.take().is_empty());
    }
    // A service that chooses none of the others is at fault: browsers close then, which is why one must be offered.
    assert_eq!(open("/chat/none", &good)["opened"], false);
    // It is told why it ends.
    let told = open("/chat/waits", &[format!("bearer.{}", token_ending_in(3)), "chat".to_owned()]);
    assert_eq!(
        (&told["opened"], &told["code"], &told["reason"]),
        (&json!(true), &json!(1008), &json!("token_expired"))
    );
}
