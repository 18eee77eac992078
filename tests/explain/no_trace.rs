//! An explanation leaves nothing behind: no number, no memory, no charge.
use super::*;
use crate::support::{
    fixture::{good_bearer, signing_key},
    token::{Token, bearer, now},
    waiting::{PATIENCE, eventually},
};

/// Everything that is counted of requests.
fn counters(gateway: &Gateway) -> Vec<String> {
    let text = gateway.admin_get("/metrics").text();
    // What goes on by itself, and connections of other tests' making: that of this very question.
    let is_counted = |line: &&str| !line.starts_with('#') && line.starts_with("portcullis_");
    text.lines().filter(is_counted).map(str::to_owned).collect()
}

fn questions() -> Vec<Value> {
    let token = |token: Token| json!(bearer(&token.signed_by(signing_key())));
    let about = |url: &str, authorization: Value| json!({"url": url, "headers": {"Host": "api.test", "Authorization": authorization}, "address": "127.0.0.1"});
    vec![
        json!({"url": "/public"}),
        json!({"url": "/counted", "address": "127.0.0.1"}),
        about("/mine", json!(good_bearer())),
        about("/admin", json!(good_bearer())),
        about("/mine", json!("Bearer abc")),
        about("/mine", token(Token::good().claim("exp", now() - 3600).claim("iat", now() - 7200))),
        about("/mine", token(Token::good().header("kid", "nobody"))),
        about("/trial", json!(good_bearer())),
        json!({"url": "/mine", "claims": {"sub": "u1"}, "issuer": "main"}),
        json!({"url": "/nowhere"}),
    ]
}

#[test]
fn nothing_is_counted_remembered_or_logged() {
    let (house, _) = start();
    let gateway = &house.gateway;
    // One request first, so that there is something that could change.
    let first = gateway.get("/mine", &[("Authorization", &good_bearer())]);
    gateway.access_line(first.header("X-Request-Id").unwrap());
    // Its connection is counted until the gateway has seen its end, which may come long after the answer. Nothing else
    // of a request is counted later than that.
    let settled = eventually(PATIENCE, || {
        let before = counters(gateway);
        before.iter().any(|line| line == "portcullis_connections 0").then_some(before)
    });
    let before = settled.expect("the connection ends");
    let rejections = gateway.admin_get("/rejections").text();
    let output = gateway.account();
    for question in questions() {
        explained(gateway, &question);
    }
    assert_eq!(counters(gateway), before);
    assert_eq!(gateway.admin_get("/rejections").text(), rejections);
    house.upstream.take();
    // What is asked last is the last line: nothing was logged in between.
    let last = gateway.get("/public", &[]);
    gateway.access_line(last.header("X-Request-Id").unwrap());
    let said = gateway.account().stdout;
    let lines: Vec<&str> = said.strip_prefix(output.stdout.as_str()).unwrap().lines().collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(house.upstream.take().len(), 1);
}

#[test]
fn a_token_that_was_explained_is_not_remembered() {
    let (house, _) = start();
    let authorization = good_bearer();
    let question = json!({"url": "/mine", "headers": {"Authorization": authorization}});
    assert_eq!(explained(&house.gateway, &question)["verdict"]["outcome"], "forward");
    let response = house.gateway.get("/mine", &[("Authorization", &authorization)]);
    let line = house.gateway.access_line(response.header("X-Request-Id").unwrap());
    assert_eq!(line["auth"]["cache"], "miss", "{line}");
}

#[test]
fn limits_are_not_charged_by_explanations_and_failed_tokens_are_not_held_against_anybody() {
    let more = "limits: {failed_authentications: {requests: 3, per: 1h}}";
    let house = House::start(more, ROUTES);
    let gateway = &house.gateway;
    let bad = json!({"url": "/mine", "headers": {"Authorization": "Bearer abc"}, "address": "127.0.0.1"});
    for _ in 0..10 {
        assert_eq!(explained(gateway, &bad)["verdict"]["reason"], "token_malformed");
        let counted = explained(gateway, &json!({"url": "/counted", "address": "127.0.0.1"}));
        assert_eq!(counted["verdict"]["outcome"], "forward");
        let limits = counted["steps"].as_array().unwrap().iter().find(|step| step["step"] == "limits").unwrap();
        assert!(limits["details"][0].as_str().unwrap().contains("1 request per 1h by address"), "{limits}");
    }
    assert_eq!(gateway.get("/counted", &[]).status, 200);
    assert_eq!(gateway.get("/counted", &[]).status, 429);
    for status in [401, 401, 401, 429] {
        assert_eq!(gateway.get("/mine", &[("Authorization", "Bearer abc")]).status, status);
    }
    // Whoever has to wait is told so, and so is whoever asks about it.
    assert_eq!(explained(gateway, &bad)["verdict"]["reason"], "rate_limited");
    let elsewhere = json!({"url": "/mine", "headers": {"Authorization": "Bearer abc"}, "address": "127.0.0.7"});
    assert_eq!(explained(gateway, &elsewhere)["verdict"]["reason"], "token_malformed");
}

/// Header fields of as many names.
fn fields(count: usize) -> Value {
    (0..count).map(|number| (format!("{number:x}"), json!(""))).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn what_is_no_question_is_told_and_never_repeats_a_token() {
    let (house, _) = start();
    let gateway = &house.gateway;
    let token = Token::good().signed_by(signing_key());
    let rows = [
        (json!([]), "the body is"),
        (json!({}), "`url` is missing"),
        (json!({"url": "mine"}), "begins neither"),
        (json!({"url": "/a b"}), "a space"),
        (json!({"url": "/", "methd": "GET"}), "did you mean `method`?"),
        (json!({"url": "/", "method": "a b"}), "the method"),
        (json!({"url": "/", "at": "yesterday"}), "RFC 3339"),
        (json!({"url": "/", "address": "home"}), "not an IP address"),
        (json!({"url": "/", "listener": "wbe"}), "did you mean `web`?"),
        (json!({"url": "/", "claims": {}}), "need an `issuer`"),
        (json!({"url": "/", "claims": {}, "issuer": "mian"}), "did you mean `main`?"),
        (json!({"url": "/", "token": token, "claims": {}, "issuer": "main"}), "goes with neither"),
        (json!({"url": "/", "headers": {"a b": token}}), "no name of a header field"),
        (json!({"url": "/", "headers": {"a": 1}}), "a string"),
        // Everything that makes an answer dear is bounded; a table of header fields has an end besides.
        (json!({"url": "/", "headers": fields(1025)}), "more than 1024 header fields"),
        (json!({"url": "/", "headers": fields(25_000)}), "more than 1024 header fields"),
        (json!({"url": "/", "headers": {"a": vec![""; 1025]}}), "more than 1024 header fields"),
        (json!({"url": "/", "headers": {"Authorization": "12345678 ".repeat(64) + "x"}}), "words in Authorization"),
        (json!({"url": "/", "headers": {"Authorization": vec!["a b"; 33]}}), "words in Authorization"),
        (json!({"url": "/", "method": "M".repeat(257)}), "the method"),
    ];
    for (question, expected) in rows {
        let answer = ask(gateway, &question);
        let question: String = question.to_string().chars().take(200).collect();
        assert_eq!(answer.status, 400, "{question}: {}", answer.text());
        assert!(answer.text().contains(expected), "{question}: {}", answer.text());
        crate::support::minted::assert_none_in("an answer", &answer.text());
    }
    let host = gateway.admin_address().to_string();
    let cross = format!(
        "POST /explain HTTP/1.1\r\nHost: {host}\r\nSec-Fetch-Site: cross-site\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    assert_eq!(crate::support::client::exchange(gateway.admin_address(), cross).unwrap().status, 403);
    // As many as may be asked about are told of as the gateway would tell.
    let most = explained(gateway, &json!({"url": "/", "headers": fields(1024)}));
    assert_eq!(most["verdict"]["reason"], "header_too_large", "{most}");
}
