//! The cases of the Autobahn test suite, run by `kosoku`, with the gateway between its two ends and without: what the cases see
//! must be the same, frame by frame.
use serde_json::{Value, json};

use super::{Runner, Service, told};
use crate::support::{fixture, gateway::Gateway};

/// Of the cases of compression (12, 13) some that are quick; limits and speed (9) without the slowest.
const CASES: &str = "1.*,2.*,3.*,4.*,5.*,6.*,7.*,9.*,10.*,12.1.*,13.1.*,13.3.*";
const NOT_THESE: &str = "12.*.5,12.*.6,12.*.7,12.*.8,12.*.9,12.*.1?,13.*.4,13.*.5,13.*.6,13.*.7,13.*.8,13.*.9,13.*.1?";
/// Fewer than these are no suite.
const CASES_MIN: u64 = 301;

/// A gateway without TLS in front of this address, for a suite that brings no token.
fn gateway(address: &str) -> Gateway {
    let routes = "  - {name: everything, path_prefix: /, auth: none, upstream: echo}\n";
    let builder = Gateway::builder(fixture::config("", routes)).set("upstream", address);
    builder.file("keys.json", fixture::keys_file()).start()
}

#[test]
fn a_server_is_seen_through_the_gateway_as_it_is() {
    let Some(node) = Runner::node(&["ws"], "autobahn") else { return };
    let Some(python) = Runner::python("kosoku", "autobahn") else { return };
    let server = Service::start::<&str>(&node, "websocket_echo.js", &[]);
    let gateway = gateway(&server.address());
    let urls = [format!("ws://{}", server.address()), format!("ws://{}", gateway.address())];
    let [direct, through] = urls.each_ref().map(String::as_str);
    let account = python.finish("autobahn_client.py", &[direct, through, CASES, NOT_THESE]);
    let result: Value = serde_json::from_str(&account.stdout).unwrap();
    assert_eq!(result["failed_direct"], json!([]), "{result}");
    assert_eq!((&result["failed"], &result["differing"]), (&json!([]), &json!([])), "{result:#}");
    assert!(result["cases"].as_u64() >= Some(CASES_MIN), "{result}");
}

#[test]
fn a_client_is_seen_through_the_gateway_as_it_is() {
    let Some(node) = Runner::node(&["ws"], "autobahn") else { return };
    let Some(python) = Runner::python("kosoku", "autobahn") else { return };
    let seen = |is_through: bool| {
        let suite = Service::start(&python, "autobahn_server.py", &[CASES, NOT_THESE]);
        let gateway = is_through.then(|| gateway(&suite.address()));
        let address = gateway.as_ref().map_or_else(|| suite.address(), |gateway| gateway.address().to_string());
        let mut command = node.command::<&str>("autobahn_echo.js", &[]);
        let account = super::process::run_within(
            super::SCRIPT_PATIENCE,
            "autobahn_echo.js",
            command.env("SITE", format!("http://{address}")),
        );
        assert!(account.stdout.contains("1 checks held"), "{}{}", account.stdout, account.stderr);
        suite.wait_for("the result", |line| line["cases"].is_u64());
        let account = suite.process.account();
        let of = |name: &str| told(&account, name).remove(0);
        assert!(of("cases").as_u64() >= Some(CASES_MIN));
        (of("failed"), of("seen"))
    };
    let (direct, through) = (seen(false), seen(true));
    assert_eq!((&direct.0, &through.0), (&json!([]), &json!([])));
    for (one, other) in direct.1.as_array().unwrap().iter().zip(through.1.as_array().unwrap()) {
        assert_eq!(one, other);
    }
}
