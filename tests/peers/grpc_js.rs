//! gRPC with grpc-js on both sides: TLS towards the client, HTTP/2 without TLS towards the service.
use serde_json::json;

use super::{Runner, Service, Site};

const ROUTES: &str = "  - {name: trial, path_prefix: /trial.Trial, upstream: echo}\n  \
                      - {name: closed, path_prefix: /closed.Trial, upstream: echo, require: {roles: [admin]}}\n";

#[test]
fn every_kind_of_call_works_as_without_a_gateway() {
    let Some(node) = Runner::node(&["@grpc/grpc-js", "@grpc/proto-loader"], "grpc-js") else { return };
    let server = Service::start::<&str>(&node, "grpc_server.js", &[]);
    let site = Site::start(ROUTES, &server.address(), ", protocol: h2c");
    site.check(&node, "grpc_client.js", 11);
    // What the client gave up or had no more time for has ended on the server.
    for call in ["/trial.Trial/Unary", "/trial.Trial/Count", "/trial.Trial/Talk"] {
        server.wait_for(&format!("the end of {call}"), |line| line["cancelled"] == json!(call));
    }
}
