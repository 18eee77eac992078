//! socket.io: polling, WebSocket, the way from the one to the other, and what happens when the gateway ends a stream.
use serde_json::json;

use super::{Runner, Service, Site};

const ROUTES: &str = "  - {name: chat, path_prefix: /chat, rewrite: {strip_prefix: /chat}, upstream: echo}\n  \
                      - {name: old, path_prefix: /old, rewrite: {strip_prefix: /old}, stream: {max_age: 2s}, upstream: echo}\n";

#[test]
fn polling_upgrades_rooms_and_reconnections_work_as_without_a_gateway() {
    let Some(node) = Runner::node(&["socket.io", "socket.io-client"], "socket.io") else { return };
    let server = Service::start::<&str>(&node, "socket_io_server.js", &[]);
    let site = Site::start(ROUTES, &server.address(), "");
    site.check(&node, "socket_io_client.js", 5);
    for how in ["polling", "websocket"] {
        assert!(server.told("connected").contains(&json!(how)), "nobody came by {how}");
    }
    assert!(server.told("upgraded").len() >= 3, "nobody upgraded");
    // Whatever the transport, the server knows who it is and sees no token.
    assert!(server.told("user").iter().all(|user| user == "u1"));
    assert!(server.told("authorization").iter().all(|is_there| is_there == false));
    let ended = "portcullis_streams_closed_total{reason=\"max_age\"}";
    assert!(site.gateway.metric(|line| line.starts_with(ended)) >= 1.0);
}
