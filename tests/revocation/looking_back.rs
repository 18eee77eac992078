//! `GET /rejections`: the last refusals, for whoever looks for the reason of one.
use super::*;

#[test]
fn the_last_refusals_are_told_the_newest_first_with_their_reason_and_without_a_token() {
    let house = start("log: {client_ip: truncated}");
    let gateway = &house.gateway;
    assert_eq!(gateway.admin_get("/rejections").json(), json!([]));
    let expired = signed(Token::good().claim("exp", now() - 3600));
    let first = ask(gateway, "/a?x=secret-in-the-query", &expired);
    let id = check_problem(&first, 401, "token_expired", "GET");
    assert_eq!(ask(gateway, "/a", &signed(Token::good())).status, 200);
    gateway.access_line(&id);
    let told = gateway.admin_get("/rejections");
    let list = told.json();
    let one = &list[0];
    assert_eq!(list.as_array().unwrap().len(), 1, "what passed is not there: {list}");
    assert_eq!(one["request_id"], id.as_str());
    assert_eq!((&one["route"], &one["reason"], &one["status"]), (&json!("all"), &json!("token_expired"), &json!(401)));
    assert!(one["detail"].as_str().unwrap().starts_with("expired 36"), "{one}");
    assert!(one["time"].as_str().unwrap().ends_with('Z'), "{one}");
    assert_eq!(one["client_ip"], "127.0.0.0", "as the log shows addresses");
    assert!(!told.text().contains("secret-in-the-query"));
}

#[test]
fn two_hundred_refusals_are_kept_and_the_oldest_is_forgotten() {
    let house = start("");
    let gateway = &house.gateway;
    let mut client = gateway.connect();
    for _ in 0..204 {
        assert_eq!(client.get("/b", &[]).status, 401);
    }
    let last = client.get("/%zz", &[]);
    let last_id = last.header("X-Request-Id").unwrap().to_owned();
    gateway.access_line(&last_id);
    let list = gateway.admin_get("/rejections").json();
    let list = list.as_array().unwrap();
    assert_eq!(list.len(), 200);
    assert_eq!((list[0]["request_id"].as_str(), list[0]["route"].as_str()), (Some(last_id.as_str()), Some("-")));
    assert!(list[1..].iter().all(|one| one["reason"] == "token_missing"), "the oldest is forgotten");
    assert_eq!(change(gateway.admin_address(), "POST", "/rejections", &[("Host", "localhost")], "").status, 405);
}
