//! Another configuration comes into force while the process serves: all of it or nothing, without a request that fails.
mod files;
mod kept;

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use serde_json::Value;

use crate::support::{
    client::{exchange, request_bytes},
    fixture::{House, good_bearer},
    gateway::Gateway,
    process::Account,
    upstream::Answer,
    waiting::{Gate, PATIENCE, eventually},
};

const ROUTES: &str = r#"
  - {name: public, path_prefix: /public, auth: none, upstream: echo}
  - {name: required, path_prefix: /required, upstream: echo}
"#;
const MORE: &str = "  - {name: more, path_prefix: /more, auth: none, upstream: echo}\n";

fn edit(gateway: &Gateway, change: impl Fn(&str) -> String) {
    let file = gateway.config_file();
    let text = std::fs::read_to_string(&file).unwrap();
    let changed = change(&text);
    assert_ne!(text, changed, "the change found its place");
    std::fs::write(file, changed).unwrap();
}

fn with_another_route(text: &str) -> String {
    text.replace("  - {name: required", &format!("{MORE}  - {{name: required"))
}

fn reload(gateway: &Gateway) -> Account {
    gateway.run(&["reload", "-c", "portcullis.yaml"])
}

fn status(gateway: &Gateway, target: &str) -> u16 {
    gateway.get(target, &[("Authorization", &good_bearer())]).status
}

#[test]
fn a_reload_puts_another_configuration_in_force() {
    let house = House::start("", ROUTES);
    let gateway = &house.gateway;
    assert_eq!(status(gateway, "/more"), 404);
    let digest = |gateway: &Gateway| {
        let text = gateway.admin_get("/metrics").text();
        text.lines().filter(|line| line.starts_with("portcullis_config_info{")).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = digest(gateway);
    edit(gateway, with_another_route);
    let account = reload(gateway);
    assert_eq!(account.code(), Some(0), "{}{}", account.stdout, account.stderr);
    assert!(account.stdout.contains("reloaded"), "{}", account.stdout);
    assert_eq!(status(gateway, "/more"), 200);
    let after = digest(gateway);
    assert_eq!((before.len(), after.len()), (1, 1));
    assert_ne!(before, after);
    edit(gateway, |text| text.replace(MORE, ""));
    gateway.signal("HUP");
    assert!(eventually(PATIENCE, || (status(gateway, "/more") == 404).then_some(())).is_some(), "SIGHUP does the same");
    assert_eq!(digest(gateway), before);
    let of = |result: &str| {
        gateway.metric(|line| line.starts_with("portcullis_config_reloads_total") && line.contains(result))
    };
    assert_eq!((of("success"), of("failure")), (2.0, 0.0));
}

#[test]
fn a_wrong_configuration_changes_nothing_and_is_told_to_all_who_look() {
    let house = House::start("", ROUTES);
    let gateway = &house.gateway;
    let rows: [(&str, &str, &[&str]); 4] = [
        ("upstream: echo}", "upstream: eco}", &["portcullis.yaml:", "eco"]),
        ("audiences:", "audience:", &["portcullis.yaml:", "audiences"]),
        ("grace_period: 20s", "grace_period: 21s", &["needs a restart: server.grace_period"]),
        ("listeners:\n", "listeners:\n  - {name: second, address: \"127.0.0.1:1\"}\n", &["needs a restart: listeners"]),
    ];
    let text = std::fs::read_to_string(gateway.config_file()).unwrap();
    for (at, (from, to, says)) in (1..).zip(rows) {
        edit(gateway, |text| with_another_route(&text.replacen(from, to, 1)));
        let account = reload(gateway);
        assert_eq!(account.code(), Some(1), "{to}: {}{}", account.stdout, account.stderr);
        for word in says {
            assert!(account.stderr.contains(word), "{to}: {word} is missing in {}", account.stderr);
            assert!(gateway.account().stderr.contains(word), "{to}: the log says {word}");
        }
        assert_eq!((status(gateway, "/more"), status(gateway, "/required")), (404, 200), "{to}");
        let metric = |name: &str| gateway.metric(|line| line.starts_with(name));
        assert_eq!(metric("portcullis_config_last_reload_successful "), 0.0, "{to}");
        assert!(
            eventually(PATIENCE, || (metric("portcullis_config_outdated ") == 1.0).then_some(())).is_some(),
            "{to}"
        );
        assert_eq!(metric("portcullis_config_reloads_total{result=\"failure\"}"), f64::from(at), "{to}");
        std::fs::write(gateway.config_file(), &text).unwrap();
    }
    assert_eq!(reload(gateway).code(), Some(0));
    assert_eq!(gateway.metric(|line| line.starts_with("portcullis_config_last_reload_successful ")), 1.0);
}

#[test]
fn remembered_tokens_are_kept_unless_other_things_would_be_drawn_from_them() {
    let house = House::start("", ROUTES);
    let gateway = &house.gateway;
    let bearer = good_bearer();
    let cache = |target: &str| {
        let response = gateway.get(target, &[("Authorization", &bearer)]);
        assert_eq!(response.status, 200);
        gateway.access_line(response.header("X-Request-Id").unwrap())["auth"]["cache"].clone()
    };
    assert_eq!(cache("/required"), "miss");
    assert_eq!(cache("/required"), "hit");
    edit(gateway, with_another_route);
    assert_eq!(reload(gateway).code(), Some(0));
    assert_eq!(cache("/required"), "hit", "nothing about the issuer changed");
    edit(gateway, |text| text.replace("    roles: roles\n", "    roles: groups\n"));
    assert_eq!(reload(gateway).code(), Some(0));
    assert_eq!(cache("/required"), "miss", "the roles are elsewhere now");
    assert_eq!(cache("/required"), "hit");
}

#[test]
fn a_request_in_flight_is_finished_as_it_began() {
    let House { gateway, upstream } = House::start("", ROUTES);
    let gate = Gate::default();
    upstream.set_answer(Answer::EchoAfter(gate.clone()));
    let mut client = gateway.connect();
    client.send(request_bytes("GET", "/public/in-flight", &[]));
    upstream.wait_for(1);
    edit(&gateway, |text| text.replace("path_prefix: /public, auth: none", "path_prefix: /public"));
    assert_eq!(reload(&gateway).code(), Some(0));
    assert_eq!(gateway.get("/public", &[]).status, 401, "it needs a token now");
    gate.open();
    let response = client.read("GET");
    assert_eq!((response.status, response.json()["target"].clone()), (200, Value::from("/public/in-flight")));
    upstream.set_answer(Answer::Echo);
    assert_eq!(client.get("/public", &[]).status, 401, "the next one on the same connection too");
}

#[test]
fn reloads_under_load_fail_no_request_and_lose_no_count() {
    let house = House::start("", ROUTES);
    let gateway = &house.gateway;
    let (ends, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let bearer = good_bearer();
                let mut client = gateway.connect();
                while !ends.load(Ordering::SeqCst) {
                    assert_eq!(client.get("/required", &[("Authorization", &bearer)]).status, 200);
                    sent.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let text = std::fs::read_to_string(gateway.config_file()).unwrap();
        let other = with_another_route(&text);
        for at in 0..12 {
            let file = gateway.config_file();
            let (content, expected) = match at % 3 {
                0 => (other.clone(), 0),
                1 => (other.replace("auth: none", "auth: nobody"), 1),
                _ => (text.clone(), 0),
            };
            std::fs::write(file, content).unwrap();
            let account = reload(gateway);
            assert_eq!(account.code(), Some(expected), "{}", account.stderr);
        }
        ends.store(true, Ordering::SeqCst);
    });
    let sent = sent.load(Ordering::SeqCst) as f64;
    assert!(sent > 100.0, "there was a load: {sent}");
    let counted = || {
        gateway.metric(|line| {
            line.starts_with("portcullis_http_requests_total{")
                && line.contains("route=\"required\"")
                && line.contains("code=\"200\"")
        })
    };
    // A request is counted after its last byte was sent.
    assert!(eventually(PATIENCE, || (counted() == sent).then_some(())).is_some(), "{} of {sent}", counted());
}

#[test]
fn a_stop_goes_on_accepting_for_a_while_and_says_that_it_is_not_ready() {
    let text =
        crate::support::fixture::config("", ROUTES).replace("grace_period: 20s", "grace_period: 20s, drain_delay: 5s");
    let upstream = crate::support::upstream::Upstream::start();
    let mut gateway = Gateway::builder(text)
        .set("upstream", upstream.address())
        .file("keys.json", crate::support::fixture::keys_file())
        .start();
    gateway.signal("TERM");
    let admin = gateway.admin_address().clone();
    let host = admin.to_string();
    let ready =
        || exchange(&admin, request_bytes("GET", "/readyz", &[("Host", &host)])).map(|response| response.status);
    assert!(eventually(PATIENCE, || matches!(ready(), Ok(503)).then_some(())).is_some());
    assert_eq!(gateway.get("/public", &[]).status, 200, "a new connection is served");
    assert_eq!(gateway.end(PATIENCE + Duration::from_secs(10)).code(), Some(0));
}
