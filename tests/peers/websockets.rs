//! WebSockets of `ws` (Node) and `websockets` (Python), each as client and as server.
use serde_json::json;

use super::{Runner, Service, Site};
use crate::support::waiting::{PATIENCE, eventually};

const ROUTES: &str = "  - {name: chat, path_prefix: /chat, upstream: echo}\n";

/// Both clients, each with all its checks, against this server.
fn check(node: &Runner, python: &Runner, server: &Service) {
    let site = Site::start(ROUTES, &server.address(), "");
    site.check(node, "websocket_client.js", 10);
    site.check(python, "websocket_client.py", 9);
    for (code, reason) in [(4321, "by client"), (4322, "by client"), (1005, ""), (1006, "")] {
        let closed = json!({"closed": code, "reason": reason});
        server.wait_for(&closed.to_string(), |line| *line == closed);
    }
    assert!(server.told("open").contains(&json!(200)), "two hundred were never open at a time");
    // Nothing is left behind on either side, and no more was opened than the checks opened.
    let gone = || {
        (server.told("open").len() == server.told("closed").len()
            && site.gateway.metric(|line| line.starts_with("portcullis_streams{")) == 0.0)
            .then_some(())
    };
    assert!(eventually(PATIENCE, gone).is_some(), "streams are left open");
}

#[test]
fn clients_of_ws_and_of_websockets_talk_to_a_server_of_ws() {
    let Some(node) = Runner::node(&["ws"], "clients_of_ws") else { return };
    let Some(python) = Runner::python("websockets.asyncio.server", "clients_of_ws") else { return };
    check(&node, &python, &Service::start::<&str>(&node, "websocket_server.js", &[]));
}

#[test]
fn clients_of_ws_and_of_websockets_talk_to_a_server_of_websockets() {
    let Some(node) = Runner::node(&["ws"], "clients_of_websockets") else { return };
    let Some(python) = Runner::python("websockets.asyncio.server", "clients_of_websockets") else { return };
    check(&node, &python, &Service::start::<&str>(&python, "websocket_server.py", &[]));
}
