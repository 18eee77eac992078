//! Starting, staying and stopping: what an operator relies on, with the real process and its exit code.
use std::{
    net::{Ipv4Addr, TcpListener},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::{
    client::{Client, exchange, get, request_bytes},
    fixture::{self, House, builder, good_bearer, keys_file},
    gateway::{self, Gateway},
    problem::check_problem,
    server::free_address,
    upstream::{Answer, Upstream},
    waiting::{Gate, PATIENCE, eventually},
    wire::Address,
};

const ROUTES: &str = r#"
  - {name: public, path_prefix: /public, auth: none, upstream: echo}
  - {name: slow, path_prefix: /slow, auth: none, timeout: 1s, upstream: echo}
  - {name: required, path_prefix: /required, upstream: echo}
"#;

/// Far below the grace period of the fixture (20s), far above what an idle process needs.
const QUICKLY: Duration = Duration::from_secs(8);

#[test]
fn a_hangup_does_not_end_the_process() {
    let house = House::start("", ROUTES);
    for _ in 0..3 {
        house.gateway.signal("HUP");
        let response = house.gateway.get("/required", &[("Authorization", &good_bearer())]);
        assert_eq!(response.status, 200);
    }
    // The signal may still have been on its way: only the end of the process shows that it was survived.
    let account = house.gateway.stop();
    assert_eq!((account.code(), account.signal()), (Some(0), None), "{}", account.stderr);
}

#[test]
fn a_hangup_does_not_end_the_process_while_it_starts_either() {
    // It waits for its configuration as long as nobody closes this pipe.
    let mut child = Command::new(gateway::BINARY)
        .args(["run", "-c", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let catches_hangup = || {
        let text = std::fs::read_to_string(&status).ok()?;
        let mask = text.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        (u64::from_str_radix(mask.trim(), 16).ok()? & 1 == 1).then_some(())
    };
    let caught = eventually(PATIENCE, catches_hangup);
    if caught.is_some() {
        assert!(Command::new("kill").args(["-HUP", &child.id().to_string()]).status().unwrap().success());
    } else {
        let _ = child.kill();
    }
    drop(child.stdin.take());
    // An empty configuration is a bad one: the process lived on to say so.
    let ended = child.wait().unwrap();
    assert_eq!((caught, ended.code()), (Some(()), Some(78)), "{ended}");
}

#[test]
fn an_idle_gateway_stops_at_once_with_success() {
    let house = House::start("", ROUTES);
    assert_eq!(house.gateway.get("/public", &[]).status, 200);
    let asked = Instant::now();
    let account = house.gateway.stop();
    assert_eq!(account.code(), Some(0), "{}", account.stderr);
    assert!(asked.elapsed() < QUICKLY, "{:?}", asked.elapsed());
}

#[test]
fn an_idle_connection_does_not_hold_up_the_stop() {
    let house = House::start("", ROUTES);
    let mut client = house.gateway.connect();
    assert_eq!(client.get("/public", &[]).status, 200);
    let asked = Instant::now();
    assert_eq!(house.gateway.stop().code(), Some(0));
    assert!(asked.elapsed() < QUICKLY, "{:?}", asked.elapsed());
}

#[test]
fn a_request_in_flight_is_finished_before_the_process_ends() {
    let House { mut gateway, upstream } = House::start("", ROUTES);
    let gate = Gate::default();
    upstream.set_answer(Answer::EchoAfter(gate.clone()));
    let mut client = gateway.connect();
    client.send(request_bytes("GET", "/public/in-flight", &[]));
    upstream.wait_for(1);
    let asked = Instant::now();
    gateway.signal("TERM");
    let admin = gateway.admin_address().clone();
    let noticed = eventually(PATIENCE, || {
        match exchange(&admin, request_bytes("GET", "/readyz", &[("Host", &admin.to_string())])) {
            Ok(response) => (response.status == 503).then_some(()),
            Err(_) => Some(()),
        }
    });
    assert!(noticed.is_some(), "readiness stays good while draining");
    assert!(gateway.account().status.is_none(), "ended with a request in flight");
    gate.open();
    let response = client.read("GET");
    assert_eq!(response.status, 200);
    assert_eq!(response.json()["target"], "/public/in-flight");
    assert_eq!(gateway.end(PATIENCE).code(), Some(0));
    assert!(asked.elapsed() < QUICKLY, "{:?}", asked.elapsed());
}

#[test]
fn a_port_in_use_is_named_and_nothing_starts() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let upstream = Upstream::start();
    let (account, _folder) = builder("", ROUTES, &upstream).listen_on(Address::Tcp(address)).start_expecting_end();
    assert_eq!(account.code(), Some(1), "{}", account.stderr);
    assert!(account.stderr.contains(&address.to_string()), "{}", account.stderr);
}

#[test]
fn a_port_in_use_for_the_admin_address_is_named_too() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let text = fixture::config("", ROUTES).replace("{admin}", &address.to_string());
    let builder = Gateway::builder(text).set("upstream", free_address()).file("keys.json", keys_file());
    let (account, _folder) = builder.start_expecting_end();
    assert_eq!(account.code(), Some(1), "{}", account.stderr);
    assert!(account.stderr.contains(&address.to_string()), "{}", account.stderr);
}

/// A configuration that is wrong at `wrong`, which stands in it once: the error must point there.
fn check_bad_configuration(text: &str, wrong: &str, says: &[&str]) {
    let upstream = Upstream::start();
    let builder = Gateway::builder(text).set("upstream", upstream.address()).file("keys.json", keys_file());
    let (line, column) = text
        .lines()
        .enumerate()
        .find_map(|(index, line)| line.find(wrong).map(|column| (index + 1, column + 1)))
        .unwrap_or_else(|| panic!("{wrong} is not in the configuration"));
    let (account, folder) = builder.start_expecting_end();
    assert_eq!(account.code(), Some(78), "{wrong}: {}", account.stderr);
    let place = format!("portcullis.yaml:{line}:{column}:");
    assert!(account.stderr.contains(&place), "{wrong} is at {place}\n{}", account.stderr);
    for word in says {
        assert!(account.stderr.contains(word), "{wrong}: {word} is missing in\n{}", account.stderr);
    }
    assert_eq!(account.stdout, "", "errors go to standard error");
    let file = folder.path().join("portcullis.yaml");
    let validated = gateway::run(&["validate", "-c", file.to_str().unwrap()]);
    assert_eq!(validated.code(), Some(78), "validate finds what run finds: {}", validated.stderr);
    assert!(format!("{}{}", validated.stdout, validated.stderr).contains(&place), "{}", validated.stderr);
}

#[test]
fn a_bad_configuration_never_starts_and_says_where_it_is_bad() {
    let good = fixture::config("", ROUTES);
    check_bad_configuration(&good.replace("audiences:", "audience:"), "audience:", &["audiences"]);
    check_bad_configuration(
        &good.replace("    roles: roles\n", "    algoritms: [ES256]\n"),
        "algoritms",
        &["algorithms"],
    );
    check_bad_configuration(
        &good.replace("path_prefix: /required, upstream: echo", "path_prefix: /required, upstream: eco"),
        "eco}",
        &["eco", "echo"],
    );
    check_bad_configuration(&good.replace("grace_period: 20s", "grace_period: soon"), "soon", &[]);
}

#[test]
fn an_unreadable_key_file_is_named_and_nothing_starts() {
    let upstream = Upstream::start();
    let builder = Gateway::builder(fixture::config("", ROUTES)).set("upstream", upstream.address());
    let (account, _folder) = builder.start_expecting_end();
    assert!(matches!(account.code(), Some(1 | 78)), "{:?} {}", account.code(), account.stderr);
    assert!(account.stderr.contains("keys.json"), "{}", account.stderr);
}

#[test]
fn a_missing_configuration_is_named() {
    let account = gateway::run(&["run", "-c", "/nowhere/portcullis.yaml"]);
    assert!(matches!(account.code(), Some(1 | 78)), "{:?}", account.code());
    assert!(account.stderr.contains("/nowhere/portcullis.yaml"), "{}", account.stderr);
}

#[test]
fn a_good_configuration_is_valid() {
    let upstream = Upstream::start();
    let (file, _folder) = builder("", ROUTES, &upstream).write();
    let account = gateway::run(&["validate", "-c", file.to_str().unwrap()]);
    assert_eq!(account.code(), Some(0), "{}{}", account.stdout, account.stderr);
    assert!(format!("{}{}", account.stdout, account.stderr).contains("public"), "public routes are named");
}

#[test]
fn an_upstream_that_is_down_poisons_nobodys_connection() {
    let upstream = Upstream::start();
    let address = upstream.address().clone();
    let text = r#"
  - {name: dead, path_prefix: /dead, auth: none, upstream: dead}
  - {name: public, path_prefix: /public, auth: none, upstream: echo}
"#;
    let config = format!("{}\n  dead: {{servers: [\"{{dead}}\"]}}\n", fixture::config("", text).trim_end());
    let gateway = Gateway::builder(config)
        .set("upstream", address)
        .set("dead", free_address())
        .file("keys.json", keys_file())
        .start();
    for _ in 0..3 {
        let mut client = gateway.connect();
        let response = client.get("/dead", &[]);
        check_problem(&response, 502, "upstream_unreachable", "GET");
        // The connection may be closed, but then it says so.
        if response.header("Connection") != Some("close") {
            assert_eq!(client.get("/public", &[]).status, 200);
        }
        assert_eq!(gateway.get("/public", &[]).status, 200);
    }
}

#[test]
fn a_slow_upstream_is_given_up_and_the_next_request_is_fine() {
    let House { gateway, upstream } = &House::start("", ROUTES);
    let gate = Gate::default();
    upstream.set_answer(Answer::EchoAfter(gate.clone()));
    check_problem(&gateway.get("/slow", &[]), 504, "upstream_timeout", "GET");
    upstream.set_answer(Answer::Echo);
    gate.open();
    let response = gateway.get("/slow/next", &[]);
    assert_eq!(response.json()["target"], "/slow/next", "not the answer of the request before");
}

#[test]
fn an_upstream_that_breaks_off_costs_its_own_request_only() {
    let House { gateway, upstream } = &House::start("", ROUTES);
    upstream.set_answer(Answer::BytesThenClose(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_vec()));
    let mut client = gateway.connect();
    client.send(request_bytes("GET", "/public", &[]));
    assert!(client.try_read("GET").is_err(), "a cut response must not look whole");
    upstream.set_answer(Answer::Bytes(b"this is not HTTP\r\n\r\n".to_vec()));
    assert_eq!(gateway.get("/public", &[]).status, 502);
    upstream.set_answer(Answer::Echo);
    assert_eq!(gateway.get("/public/next", &[]).json()["target"], "/public/next");
}

#[test]
fn a_request_that_may_have_been_done_is_sent_again_only_where_that_does_no_harm() {
    let House { gateway, upstream } = &House::start("", ROUTES);
    for (method, times) in [("POST", 1), ("PATCH", 1), ("GET", 2), ("DELETE", 2)] {
        upstream.set_answer(Answer::Echo);
        let mut client = gateway.connect();
        assert_eq!(client.get("/public", &[]).status, 200, "so that there is a connection to use again");
        upstream.take();
        upstream.set_answer(Answer::BytesThenClose(Vec::new()));
        check_problem(&client.request(method, "/public", &[]), 502, "upstream_unreachable", method);
        assert_eq!(upstream.take().len(), times, "{method}");
    }
}

#[test]
fn listeners_and_upstreams_may_be_unix_sockets() {
    let text = fixture::config("", ROUTES).replace("\"{listen}\"", "\"unix:{folder}/web.sock\"");
    let builder = Gateway::builder(text).file("keys.json", keys_file());
    let socket = builder.folder().join("web.sock");
    let upstream = Upstream::start_unix(builder.folder().join("upstream.sock"));
    let gateway = builder.set("upstream", upstream.address()).start();
    let address = Address::Unix(socket);
    let response = get(&address, "/required", &[("Authorization", &good_bearer())]);
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(upstream.take()[0].head.values("X-User-ID"), ["u1"]);
    check_problem(&get(&address, "/required", &[]), 401, "token_missing", "GET");
    assert_eq!(gateway.stop().code(), Some(0));
}

#[test]
fn the_admin_address_is_also_a_socket_in_the_runtime_folder_for_the_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let house = House::start("", ROUTES);
    let socket = house.gateway.folder().path().join("run/admin.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let mut client = Client::connect(&Address::Unix(socket));
    assert_eq!(client.get("/livez", &[("Host", "localhost")]).status, 200);
}

#[test]
fn health_is_told_by_exit_code() {
    let House { gateway, upstream: _upstream } = House::start("", ROUTES);
    let admin = gateway.admin_address().to_string();
    for arguments in [&["healthcheck", "-c", "portcullis.yaml"][..], &["healthcheck", "--admin", &admin]] {
        let account = gateway.run(arguments);
        assert_eq!(account.code(), Some(0), "{arguments:?}: {}", account.stderr);
    }
    assert_eq!(gateway.stop().code(), Some(0));
    let account = gateway::run(&["healthcheck", "--admin", &admin]);
    assert_eq!(account.code(), Some(1), "{}", account.stderr);
    assert!(account.stderr.contains(&admin), "{}", account.stderr);
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [&["no-such-verb"][..], &["run", "--no-such-flag"]] {
        let account = gateway::run(arguments);
        assert_eq!(account.code(), Some(2), "{arguments:?}");
        assert_eq!(account.stdout, "");
    }
    let account = gateway::run(&["--version"]);
    assert_eq!((account.code(), account.stdout.contains(env!("CARGO_PKG_VERSION"))), (Some(0), true));
}
