//! The gRPC that people use: Python's, a server behind and a client before.
use std::process::Command;

use portcullis::gate::rejection::Rejection;
use serde_json::{Value, json};

use crate::support::{
    fixture::{self, good_bearer, signing_key},
    gateway::Gateway,
    peers::require_python,
    process::{self, Process},
    server::free_address,
    token::{Token, bearer, now},
    upstream::Upstream,
    waiting::PATIENCE,
};

const ROUTES: &str = r#"
  - {name: mine, path_prefix: /mine.Service, upstream: calls}
  - {name: admin, path_prefix: /admin.Service, upstream: calls, require: {roles: [admin]}}
  - {name: seldom, path_prefix: /seldom.Service, upstream: calls, rate_limit: {requests: 1, per: 1h, by: subject}}
  - {name: slow, path_prefix: /slow.Service, upstream: calls, timeout: 300ms}
  - {name: down, path_prefix: /down.Service, auth: none, upstream: nobody}
"#;

fn lines(text: &str) -> impl Iterator<Item = Value> + '_ {
    text.lines().filter_map(|line| serde_json::from_str(line).ok())
}

#[test]
fn grpcio_calls_and_is_refused_in_its_own_words() {
    let Some(python) = require_python("grpc", "grpcio_calls") else { return };
    let echo = Upstream::start();
    let upstreams = "upstreams:\n  calls: {protocol: h2c, servers: [\"{calls}\"]}\n  nobody: {protocol: h2c, servers: [\"{nobody}\"]}";
    let config = fixture::config("", ROUTES)
        .replace("upstreams:", upstreams)
        .replace("address: \"{listen}\"", "address: \"{listen}\", http2: true");
    let builder = Gateway::builder(config).set("nobody", free_address()).set("upstream", echo.address());
    let builder = builder.file("keys.json", fixture::keys_file());
    let script = builder.folder().join("server.py");
    std::fs::write(&script, include_str!("server.py")).unwrap();
    let server = Process::spawn("server.py", Command::new(&python).arg(script));
    let port = server.wait_until(PATIENCE, |account| lines(&account.stdout).find_map(|line| line["port"].as_u64()));
    let gateway = builder.set("calls", format!("127.0.0.1:{}", port.expect("it listens"))).start();

    let client = gateway.folder().write("client.py", include_str!("client.py"));
    // What it is for begins before all else.
    let ending = Token::good().claim("exp", now() + 6 - 30).signed_by(signing_key());
    let mut command = Command::new(python);
    command.arg(client).env("SITE", gateway.address().to_string());
    command.env("BEARER", good_bearer()).env("ENDING", bearer(&ending));
    command.env("UNREACHABLE", Rejection::UpstreamUnreachable.row().title);
    command.env("TIMEOUT", Rejection::UpstreamTimeout.row().title);
    let account = process::run_within(4 * PATIENCE, "client.py", &mut command);
    assert!(account.stdout.contains("every call is as it should be"), "{}{}", account.stdout, account.stderr);

    // What the service saw: who calls and with which metadata, never the token, and nothing of what was refused.
    let told: Vec<Value> = lines(&server.account().stdout).collect();
    let calls: Vec<&Value> = told.iter().filter(|line| line["method"].is_string()).collect();
    assert!(calls.iter().all(|call| call["metadata"]["x-user-id"] == "u1"), "{calls:?}");
    assert!(calls.iter().all(|call| call["metadata"].get("authorization").is_none() && call["deadline"] == true));
    let unary = calls.iter().find(|call| call["method"] == "unary").unwrap();
    assert_eq!((&unary["metadata"]["x-mine"], &unary["metadata"]["x-mine-bin"]), (&json!("1"), &json!("0102")));
    let count = |method: &str| calls.iter().filter(|call| call["method"] == method).count();
    let counts = ["unary", "client_stream", "server_stream", "both", "fail", "wait", "endless"].map(count);
    assert_eq!(counts, [3, 1, 1, 3, 1, 2, 2], "{calls:?}");
    // Whose client went away, and whose token ended, was told so: nothing goes on for nobody.
    let ended = |name: &str, expected: usize| {
        let times = |text: &str| lines(text).filter(|line| line[name] == true).count();
        server.wait_until(PATIENCE, |account| (times(&account.stdout) >= expected).then_some(())).is_some()
    };
    assert!(ended("cancelled", 2) && ended("ended", 2), "{told:?}");
}
