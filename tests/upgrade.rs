//! Another process takes the place of the one that serves: without a refused or cut request, all of it or nothing.
use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use crate::support::{
    client::{self, Client, request_bytes},
    fixture::{House, builder, config, good_bearer, keys_file, signing_key},
    folder::Folder,
    gateway::{BINARY, Gateway},
    http2::Http2,
    jwks_server::{JwksServer, KeySetAnswer},
    peers::require_python,
    process::{Account, is_portcullis, send},
    server::{Server, free_address},
    token::{Token, bearer},
    upstream::{Answer, Upstream},
    waiting::{Gate, PATIENCE, eventually},
    wire::{Address, Wire},
};

const ROUTES: &str = r#"
  - {name: public, path_prefix: /public, auth: none, upstream: echo}
  - {name: required, path_prefix: /required, upstream: echo}
"#;

fn edit(gateway: &Gateway, change: impl Fn(&str) -> String) {
    let text = fs::read_to_string(gateway.config_file()).unwrap();
    let changed = change(&text);
    assert_ne!(text, changed, "the change found its place");
    fs::write(gateway.config_file(), changed).unwrap();
}

#[track_caller]
fn check_upgraded(account: &Account) {
    assert_eq!(account.code(), Some(0), "{}{}", account.stdout, account.stderr);
    assert!(account.stdout.starts_with("upgraded: process "), "{}", account.stdout);
}

/// The upgrade fails with these words, and what served goes on, alone.
#[track_caller]
fn check_failed(gateway: &mut Gateway, says: &[&str]) {
    let (before, children) = (gateway.id(), processes_started_by(gateway.id()));
    let account = gateway.upgrade();
    assert_eq!(account.code(), Some(1), "{}{}", account.stdout, account.stderr);
    for word in says.iter().chain(&["was not upgraded and serves as before"]) {
        assert!(account.stderr.contains(word), "{word:?} is not in\n{}", account.stderr);
    }
    assert_eq!(gateway.id(), before);
    assert_eq!(processes_started_by(before), children, "nothing is left of what was started");
    assert_eq!(gateway.get("/required", &[("Authorization", &good_bearer())]).status, 200);
    assert_eq!(gateway.run(&["healthcheck", "-c", "portcullis.yaml"]).code(), Some(0));
}

fn processes_started_by(pid: u32) -> Vec<String> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().map(str::to_owned).collect()
}

fn answered(gateway: &Gateway) -> f64 {
    gateway.metric(|line| {
        line.starts_with("portcullis_http_requests_total{")
            && line.contains("route=\"required\"")
            && line.contains("code=\"200\"")
    })
}

#[test]
fn upgrades_under_load_refuse_and_cut_nothing_and_lose_no_count() {
    let mut house = House::start("", ROUTES);
    let (ends, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let first = house.gateway.id();
    let mut processes = vec![first];
    let mut lowest = 0.0;
    let gateway = std::sync::RwLock::new(&mut house.gateway);
    let address = gateway.read().unwrap().address().clone();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let bearer = good_bearer();
                let mut client = Client::connect(&address);
                while !ends.load(Ordering::SeqCst) {
                    let answer = client.get("/required", &[("Authorization", &bearer)]);
                    assert_eq!(answer.status, 200);
                    sent.fetch_add(1, Ordering::SeqCst);
                    if answer.header("connection") == Some("close") {
                        client = Client::connect(&address);
                    }
                }
            });
        }
        // A new connection for each request.
        scope.spawn(|| {
            let bearer = good_bearer();
            while !ends.load(Ordering::SeqCst) {
                assert_eq!(client::get(&address, "/required", &[("Authorization", &bearer)]).status, 200);
                sent.fetch_add(1, Ordering::SeqCst);
            }
        });
        for _ in 0..3 {
            let mut gateway = gateway.write().unwrap();
            check_upgraded(&gateway.upgrade());
            processes.push(gateway.id());
            let now = answered(&gateway);
            assert!(now >= lowest, "counters never fall: {now} after {lowest}");
            lowest = now;
        }
        ends.store(true, Ordering::SeqCst);
    });
    let gateway = house.gateway;
    processes.dedup();
    assert_eq!(processes.len(), 4, "each time another process: {processes:?}");
    let sent = sent.load(Ordering::SeqCst) as f64;
    assert!(sent > 100.0, "there was a load: {sent}");
    // A process that has given way tells what it counted when it ends.
    let all = eventually(PATIENCE, || (answered(&gateway) == sent).then_some(()));
    assert!(all.is_some(), "{} of {sent}", answered(&gateway));
    assert!(eventually(PATIENCE, || processes[..3].iter().all(|old| !is_portcullis(*old)).then_some(())).is_some());
    assert_eq!(house.upstream.requests().len() as f64, sent);
    let account = gateway.stop();
    assert!(!account.stderr.contains("requests cut"), "{}", account.stderr);
}

#[test]
fn what_was_asked_of_the_process_before_is_answered_by_it() {
    let mut house = House::start("", ROUTES);
    let (gate, bearer) = (Gate::default(), good_bearer());
    // An idle connection that was used, one that never was, and half a request.
    let mut idle = house.gateway.connect();
    assert_eq!(idle.get("/public/none", &[("Host", "h")]).status, 200);
    let mut fresh = house.gateway.connect();
    let mut half = house.gateway.connect();
    half.send("GET /required HTTP/1.1\r\nHost: h\r\n");
    house.upstream.set_answer(Answer::EchoAfter(gate.clone()));
    let mut waiting = house.gateway.connect();
    waiting.send(request_bytes("POST", "/required", &[("Authorization", &bearer), ("Content-Length", "4")]));
    waiting.send("body");
    assert_eq!(house.upstream.wait_for(2).len(), 2);
    check_upgraded(&house.gateway.upgrade());
    gate.open();
    assert_eq!(waiting.read("POST").status, 200);
    half.send(format!("Authorization: {bearer}\r\n\r\n"));
    assert_eq!(half.read("GET").status, 200);
    for client in [&mut waiting, &mut idle, &mut fresh] {
        let answer = client.get("/required", &[("Authorization", &bearer)]);
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    }
}

#[test]
fn a_websocket_lives_on_in_the_process_before_and_revocations_still_reach_it() {
    let sockets = Server::on_tcp(|mut wire: Wire| {
        let _ = wire.read_head();
        let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let _ = wire.send(switch.as_bytes());
        while let Ok(byte) = wire.read_bytes(1) {
            let _ = wire.send(&byte);
        }
    });
    let routes = r#"  - {name: ws, path_prefix: /ws, upstream: sockets}
  - {name: required, path_prefix: /required, upstream: echo}
"#;
    let upstream = Upstream::start();
    let text = config("", routes).replace("upstreams:", "upstreams:\n  sockets: {servers: [\"{sockets}\"]}");
    let mut gateway = Gateway::builder(text)
        .set("sockets", sockets.address())
        .set("upstream", upstream.address())
        .file("keys.json", keys_file())
        .start();
    let before = gateway.id();
    let open = |subject: &str| {
        let token = bearer(&Token::good().claim("sub", subject).signed_by(signing_key()));
        let mut wire = Wire::connect(gateway.address()).unwrap();
        let fields = [
            ("Authorization", token.as_str()),
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        wire.send(&request_bytes("GET", "/ws", &fields)).unwrap();
        let head = String::from_utf8(wire.read_head().unwrap().unwrap()).unwrap();
        assert!(head.contains(" 101 "), "{head}");
        wire
    };
    let says = |wire: &mut Wire| {
        wire.send(b"x").unwrap();
        assert_eq!(wire.read_bytes(1).unwrap(), b"x");
    };
    let (mut good, mut banned) = (open("good"), open("banned"));
    says(&mut good);
    check_upgraded(&gateway.upgrade());
    says(&mut good);
    says(&mut banned);
    let revoked = gateway.run(&["revoke", "-c", "portcullis.yaml", "--issuer", "main", "--sub", "banned"]);
    assert_eq!(revoked.code(), Some(0), "{}", revoked.stderr);
    // A busy stream is looked at with whatever passes.
    let ended = eventually(PATIENCE, || {
        (banned.send(b"x").is_err() || banned.read_bytes(1).is_ok_and(|byte| byte != b"x")).then_some(())
    });
    assert!(ended.is_some(), "a revoked stream lives on");
    says(&mut good);
    assert!(is_portcullis(before));
    // Who knows the number of the process before alone means the gateway all the same.
    edit(&gateway, |text| {
        text.replace("routes:\n", "routes:\n  - {name: new, path: /new, auth: none, respond: {status: 204}}\n")
    });
    send("HUP", before);
    let is_in_force = || (gateway.get("/new", &[]).status == 204).then_some(());
    assert!(eventually(PATIENCE, is_in_force).is_some(), "{}", gateway.account().stderr);
    says(&mut good);
    good.shut();
    assert!(eventually(PATIENCE, || (!is_portcullis(before)).then_some(())).is_some(), "the last stream ended");
    let kept = gateway.run(&["revocations", "-c", "portcullis.yaml"]);
    assert!(kept.stdout.contains("banned"), "the entry outlives the process before: {}", kept.stdout);
}

#[test]
fn streams_of_http2_are_answered_and_the_connection_is_told_to_end() {
    let upstream = Upstream::start();
    let text = config("", ROUTES).replace("address: \"{listen}\"}", "address: \"{listen}\", http2: true}");
    let mut gateway = Gateway::builder(text).set("upstream", upstream.address()).file("keys.json", keys_file()).start();
    let (gate, bearer) = (Gate::default(), good_bearer());
    let mut connection = Http2::connect(gateway.address()).unwrap();
    assert_eq!(connection.get("http://h/required", &[("authorization", &bearer)]).unwrap().status, 200);
    upstream.set_answer(Answer::EchoAfter(gate.clone()));
    let asking = thread::spawn(move || {
        let answer = connection.get("http://h/required", &[("authorization", &bearer)]).unwrap();
        // Whoever asks on it again is not answered any more: it was told to end (RFC 9113 §6.8).
        (answer.status, connection.get("http://h/required", &[("authorization", &bearer)]).is_none())
    });
    assert_eq!(upstream.wait_for(2).len(), 2);
    check_upgraded(&gateway.upgrade());
    gate.open();
    assert_eq!(asking.join().unwrap(), (200, true));
}

#[test]
fn what_a_reload_cannot_change_an_upgrade_does() {
    let mut house = House::start("", ROUTES);
    let (gateway, bearer) = (&mut house.gateway, good_bearer());
    let added = Address::Tcp(free_address());
    edit(gateway, |text| {
        text.replace("\nadmin:", &format!("\n  - {{name: second, address: \"{added}\"}}\nadmin:"))
            .replace("threads: 1", "threads: 2")
    });
    let refused = gateway.run(&["reload", "-c", "portcullis.yaml"]);
    assert!(refused.stderr.contains("needs a restart: listeners"), "{}", refused.stderr);
    assert!(refused.stderr.contains("portcullis upgrade"), "{}", refused.stderr);
    check_upgraded(&gateway.upgrade());
    for address in [gateway.address(), &added] {
        assert_eq!(client::get(address, "/required", &[("Authorization", &bearer)]).status, 200, "{address}");
    }
    edit(gateway, |text| text.replace(&format!("\n  - {{name: second, address: \"{added}\"}}"), ""));
    check_upgraded(&gateway.upgrade());
    assert_eq!(client::get(gateway.address(), "/required", &[("Authorization", &bearer)]).status, 200);
    assert!(
        eventually(PATIENCE, || Wire::connect(&added).is_err().then_some(())).is_some(),
        "it listens there no more"
    );
}

#[test]
fn unix_sockets_are_handed_over_too() {
    let folder = Folder::new();
    let path = folder.path().join("web.sock");
    let upstream = Upstream::start();
    let mut gateway = builder("", ROUTES, &upstream).listen_on(Address::Unix(path.clone())).start();
    for _ in 0..2 {
        check_upgraded(&gateway.upgrade());
        assert_eq!(gateway.get("/required", &[("Authorization", &good_bearer())]).status, 200);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
    }
}

#[test]
fn a_configuration_that_is_wrong_or_cannot_be_had_leaves_the_process_before_serving() {
    let mut house = House::start("", ROUTES);
    let gateway = &mut house.gateway;
    let good = fs::read_to_string(gateway.config_file()).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let rows: &[(&str, &str, &[&str])] = &[
        ("auth: none", "auth: nobody", &["portcullis.yaml:", "`nobody`"]),
        ("jwks_file: keys.json", "jwks_file: missing.json", &["missing.json"]),
        ("\nadmin:", &format!("\n  - {{address: \"{taken}\"}}\nadmin:"), &[&taken, "in use"]),
        ("grace_period: 20s", "grace_period: 20s, state_directory: /proc/nowhere", &["/proc/nowhere"]),
    ];
    for (before, after, says) in rows {
        let wrong = good.replace(before, after);
        assert_ne!(good, wrong, "{before}");
        fs::write(gateway.config_file(), wrong).unwrap();
        check_failed(gateway, says);
    }
    fs::remove_file(gateway.config_file()).unwrap();
    let account = gateway.run(&["upgrade", "--admin", &gateway.admin_socket()]);
    assert_eq!(account.code(), Some(1), "{}", account.stdout);
    assert_eq!(gateway.get("/required", &[("Authorization", &good_bearer())]).status, 200);
    fs::write(gateway.config_file(), good).unwrap();
    check_upgraded(&gateway.upgrade());
}

/// A program at a path of its own that can be replaced, as a package does.
fn program(folder: &Folder, name: &str, script: &str) -> PathBuf {
    let path = folder.path().join(name);
    let draft = folder.write("draft", format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(draft, &path).unwrap();
    path
}

fn real() -> String {
    format!("exec '{BINARY}' \"$@\"")
}

#[test]
fn what_lies_at_the_path_of_the_program_is_started_and_one_that_does_not_serve_changes_nothing() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let link = folder.path().join("portcullis");
    std::os::unix::fs::symlink(BINARY, &link).unwrap();
    let mut gateway = builder("", ROUTES, &upstream).program(&link).start();
    let rows: &[(&str, &[&str])] = &[
        ("exit 3", &["exit status: 3", "without saying why"]),
        ("kill -KILL $$", &["signal: 9"]),
        ("echo '\"sings\"' >&0; sleep 20", &["is not understood"]),
        ("echo '{\"failed\":{\"why\":\"no such luck\"}}' >&0; exit 1", &["no such luck"]),
        ("exec 0<&-; sleep 20", &["went silent"]),
    ];
    for (script, says) in rows {
        fs::remove_file(&link).unwrap();
        program(&folder, "portcullis", script);
        check_failed(&mut gateway, says);
    }
    fs::remove_file(&link).unwrap();
    check_failed(&mut gateway, &["could not be started"]);
    let mark = folder.path().join("mark");
    program(&folder, "portcullis", &format!("touch '{}'\n{}", mark.display(), real()));
    check_upgraded(&gateway.upgrade());
    assert!(mark.exists(), "another program was started than lies there");
    assert_eq!(gateway.get("/required", &[("Authorization", &good_bearer())]).status, 200);
}

/// Speaks as a new process does up to the word that it serves, and hears nothing more from then on.
const DEAF: &str = r#"exec python3 -c '
import json, os, socket, time
notice = json.loads(os.environ["PORTCULLIS_TAKE_OVER"])
old = socket.socket(fileno=0)
handing = socket.socket(socket.AF_UNIX)
handing.bind(notice["socket"])
handing.listen()
taking = handing.accept()[0]
taking.recvmsg(4096, socket.CMSG_SPACE(4 * 32))
os.unlink(notice["socket"])
old.sendall(b"\"prepared\"\n")
heard = b""
while not heard.endswith(b"\n"):
    heard += old.recv(65536)
old.shutdown(socket.SHUT_RD)
old.sendall(b"{\"serves\":{\"version\":\"9.9.9\"}}\n")
time.sleep(30)
'"#;

#[test]
fn one_that_ends_as_soon_as_it_said_that_it_serves_leaves_the_process_before_serving() {
    let test = "upgrade::one_that_ends_as_soon_as_it_said_that_it_serves_leaves_the_process_before_serving";
    if require_python("socket", test).is_none() {
        return;
    }
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let notify = folder.path().join("notify");
    let socket = UnixDatagram::bind(&notify).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let link = folder.path().join("portcullis");
    std::os::unix::fs::symlink(BINARY, &link).unwrap();
    let mut gateway =
        builder("", ROUTES, &upstream).program(&link).env("NOTIFY_SOCKET", notify.to_str().unwrap()).start();
    fs::remove_file(&link).unwrap();
    program(&folder, "portcullis", DEAF);
    check_failed(&mut gateway, &["does not listen"]);
    let mut buffer = [0; 1024];
    let mut told = || {
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let asked: Vec<_> =
        std::iter::from_fn(|| Some(told())).filter(|message| message.starts_with("MAINPID=")).take(2).collect();
    assert_eq!(asked[1], format!("MAINPID={}\n", gateway.id()), "the one that serves is the one to watch: {asked:?}");
    // Changes are possible again, and so is an upgrade.
    let revoked = gateway.run(&["revoke", "-c", "portcullis.yaml", "--issuer", "main", "--sub", "u9"]);
    assert_eq!(revoked.code(), Some(0), "{}", revoked.stderr);
    program(&folder, "portcullis", &real());
    check_upgraded(&gateway.upgrade());
}

#[test]
fn one_that_is_told_to_stop_during_an_upgrade_leaves_nobody_behind() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let link = folder.path().join("portcullis");
    std::os::unix::fs::symlink(BINARY, &link).unwrap();
    let gateway =
        Gateway::builder(config("", ROUTES).replace("grace_period: 20s", "grace_period: 20s, drain_delay: 10s"))
            .set("upstream", upstream.address())
            .file("keys.json", keys_file())
            .program(&link)
            .start();
    fs::remove_file(&link).unwrap();
    let (started, go) = (folder.path().join("started"), folder.path().join("go"));
    let waits =
        format!("touch '{}'\nuntil [ -e '{}' ]; do sleep 0.05; done\n{}", started.display(), go.display(), real());
    program(&folder, "portcullis", &waits);
    let (socket, runs_in) = (gateway.admin_socket(), gateway.folder().path().to_owned());
    let asking = thread::spawn(move || run_in(&runs_in, &["upgrade", "--admin", &socket]));
    assert!(eventually(PATIENCE, || started.exists().then_some(())).is_some());
    gateway.signal("TERM");
    let drains = || gateway.run(&["healthcheck", "-c", "portcullis.yaml"]).code() != Some(0);
    assert!(eventually(PATIENCE, || drains().then_some(())).is_some());
    fs::write(go, "").unwrap();
    let account = asking.join().unwrap();
    assert!(
        account.code() == Some(1) && account.stderr.contains("about to end"),
        "{}{}",
        account.stdout,
        account.stderr
    );
    let pid = gateway.id();
    assert!(eventually(PATIENCE, || processes_started_by(pid).is_empty().then_some(())).is_some());
    assert!(eventually(PATIENCE, || (!is_portcullis(pid)).then_some(())).is_some());
    assert!(Wire::connect(gateway.address()).is_err(), "somebody goes on listening");
}

#[test]
fn one_that_would_not_be_ready_changes_nothing() {
    let jwks = JwksServer::start(&[signing_key().jwk_for("ES256")]);
    let upstream = Upstream::start();
    let text = config("", ROUTES)
        .replace("keys: {jwks_file: keys.json}", "keys: {jwks_url: \"{jwks}\", insecure_http: true}")
        .replace("grace_period: 20s", "grace_period: 20s, state_directory: none, upgrade_socket: run/upgrade.sock");
    let mut gateway = Gateway::builder(text).set("upstream", upstream.address()).set("jwks", jwks.url()).start();
    jwks.set(KeySetAnswer::status(500));
    check_failed(&mut gateway, &["would not be ready", "keys of an issuer"]);
    jwks.set(KeySetAnswer::keys(&[signing_key().jwk_for("ES256")]));
    check_upgraded(&gateway.upgrade());
}

#[test]
fn nobody_is_served_by_a_process_that_is_still_preparing() {
    let keys = [signing_key().jwk_for("ES256")];
    let (jwks, upstream, gate) = (JwksServer::start(&keys), Upstream::start(), Gate::default());
    let text = config("", ROUTES)
        .replace("keys: {jwks_file: keys.json}", "keys: {jwks_url: \"{jwks}\", insecure_http: true}")
        .replace("grace_period: 20s", "grace_period: 20s, state_directory: none, upgrade_socket: run/upgrade.sock");
    let mut gateway = Gateway::builder(text).set("upstream", upstream.address()).set("jwks", jwks.url()).start();
    jwks.set(KeySetAnswer::keys(&keys).after(&gate));
    let before = jwks.fetches();
    let (folder, socket) = (gateway.folder().path().to_owned(), gateway.admin_socket());
    let asking = thread::spawn(move || run_in(&folder, &["upgrade", "--admin", &socket]));
    jwks.wait_for(before + 1);
    // It has the sockets and no keys.
    for _ in 0..100 {
        assert_eq!(gateway.get("/required", &[("Authorization", &good_bearer())]).status, 200);
    }
    gate.open();
    let account = asking.join().unwrap();
    check_upgraded(&account);
    gateway.is_succeeded(&account);
    assert_eq!(gateway.get("/required", &[("Authorization", &good_bearer())]).status, 200);
}

#[test]
fn one_upgrade_at_a_time_and_no_change_meanwhile() {
    let (folder, upstream) = (Folder::new(), Upstream::start());
    let link = folder.path().join("portcullis");
    std::os::unix::fs::symlink(BINARY, &link).unwrap();
    let mut gateway = builder("", ROUTES, &upstream).program(&link).start();
    fs::remove_file(&link).unwrap();
    let (started, go) = (folder.path().join("started"), folder.path().join("go"));
    let waits =
        format!("touch '{}'\nuntil [ -e '{}' ]; do sleep 0.05; done\n{}", started.display(), go.display(), real());
    program(&folder, "portcullis", &waits);
    let socket = gateway.admin_socket();
    let (folder, environment) = (gateway.folder().path().to_owned(), socket.clone());
    let asking = thread::spawn(move || run_in(&folder, &["upgrade", "--admin", &environment]));
    assert!(eventually(PATIENCE, || started.exists().then_some(())).is_some());
    let second = gateway.run(&["upgrade", "--admin", &socket]);
    assert!(second.code() == Some(1) && second.stderr.contains("under way already"), "{}", second.stderr);
    let revoked = gateway.run(&["revoke", "--admin", &socket, "--issuer", "main", "--sub", "u9"]);
    assert!(revoked.code() == Some(1) && revoked.stderr.contains("upgrade is under way"), "{}", revoked.stderr);
    let reloaded = gateway.run(&["reload", "--admin", &socket]);
    assert!(reloaded.code() == Some(1) && reloaded.stderr.contains("upgrade is under way"), "{}", reloaded.stderr);
    assert_eq!(gateway.get("/required", &[("Authorization", &good_bearer())]).status, 200);
    // A signal waits, and is then for the process that serves.
    gateway.signal("HUP");
    fs::write(go, "").unwrap();
    let account = asking.join().unwrap();
    check_upgraded(&account);
    gateway.is_succeeded(&account);
    let said = |what: &str| gateway.account().stderr.matches(what).count();
    let both = || [said("another process serves: it is asked for the reload"), said("the configuration was reloaded")];
    let reloaded = eventually(PATIENCE, || (!both().contains(&0)).then_some(()));
    assert!(reloaded.is_some(), "{}", gateway.account().stderr);
    assert_eq!(both(), [1, 1], "{}", gateway.account().stderr);
    assert_eq!(gateway.run(&["revoke", "--admin", &socket, "--issuer", "main", "--sub", "u9"]).code(), Some(0));
}

fn run_in(folder: &Path, arguments: &[&str]) -> Account {
    let mut command = std::process::Command::new(BINARY);
    crate::support::process::run("portcullis", command.current_dir(folder).args(arguments))
}

#[test]
fn sockets_are_handed_over_only_where_nobody_else_can_reach() {
    let mut house = House::start("", ROUTES);
    let run = house.gateway.folder().path().join("run");
    let mode = |mode| fs::set_permissions(&run, fs::Permissions::from_mode(mode)).unwrap();
    for (open, says) in
        [(0o755, "others may reach into"), (0o711, "others may reach into"), (0o777, "others may write")]
    {
        mode(open);
        check_failed(&mut house.gateway, &["upgrade.sock cannot be used", says]);
    }
    mode(0o700);
    check_upgraded(&house.gateway.upgrade());
    let left: Vec<_> = fs::read_dir(run).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["admin.sock"], "nothing is left of it");
}

#[test]
fn what_cannot_be_done_is_told() {
    let upstream = Upstream::start();
    let token = "write-token-of-the-operators-of-this-host";
    let admin = "admin: {address: \"{admin}\", write_token_file: write.token}";
    let text = config("", ROUTES).replace("admin: {address: \"{admin}\"}", admin);
    let gateway = Gateway::builder(text)
        .set("upstream", upstream.address())
        .file("keys.json", keys_file())
        .file("write.token", token)
        .start();
    let before = gateway.id();
    let host = gateway.admin_address().to_string();
    let ask = |headers: &[(&str, &str)], method: &str| {
        let mut client = Client::connect(gateway.admin_address());
        let fields = [&[("Host", host.as_str()), ("Content-Length", "0")], headers].concat();
        client.send(request_bytes(method, "/upgrade", &fields));
        client.read(method).status
    };
    let wrong = bearer("nobodys-token");
    let right = bearer(token);
    assert_eq!(ask(&[], "POST"), 401, "over TCP a change needs its token");
    assert_eq!(ask(&[("Authorization", &wrong)], "POST"), 401);
    assert_eq!(ask(&[("Authorization", &right), ("Origin", "https://evil.test")], "POST"), 403);
    assert_eq!(ask(&[("Authorization", &right)], "GET"), 405);
    assert_eq!(processes_started_by(before), Vec::<String>::new());
    assert_eq!(gateway.id(), before);
}

#[test]
fn the_service_manager_is_told_whom_to_watch_before_that_one_speaks() {
    let folder = Folder::new();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let upstream = Upstream::start();
    // As systemd has it: the number of the process that it started.
    let script = format!("export WATCHDOG_PID=$$\nexec '{BINARY}' \"$@\"");
    let program = program(&folder, "portcullis", &script);
    let mut gateway = builder("", ROUTES, &upstream)
        .program(&program)
        .env("NOTIFY_SOCKET", path.to_str().unwrap())
        .env("WATCHDOG_USEC", "400000")
        .start();
    let next = || {
        let mut buffer = [0; 1024];
        let length = socket.recv(&mut buffer).expect("the service manager is told nothing");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let other = || std::iter::from_fn(|| Some(next())).find(|message| !message.contains("WATCHDOG=1")).unwrap();
    assert!(other().starts_with("READY=1\n"));
    let good = fs::read_to_string(gateway.config_file()).unwrap();
    fs::write(gateway.config_file(), "listeners: nowhere\n").unwrap();
    let account = gateway.run(&["upgrade", "--admin", &gateway.admin_socket()]);
    assert_eq!(account.code(), Some(1));
    let failed = other();
    assert!(failed.starts_with("STATUS=") && failed.contains("UPGRADE FAILED"), "{failed}");
    fs::write(gateway.config_file(), good).unwrap();
    let before = gateway.id();
    check_upgraded(&gateway.upgrade());
    assert_eq!(other(), format!("MAINPID={}\n", gateway.id()));
    let ready = other();
    assert!(ready.starts_with("READY=1\nSTATUS=listening on"), "{ready}");
    assert!(eventually(PATIENCE, || (!is_portcullis(before)).then_some(())).is_some());
    // What the process before has said is heard, and what comes now is the new one's.
    socket.set_nonblocking(true).unwrap();
    while socket.recv(&mut [0; 1024]).is_ok() {}
    socket.set_nonblocking(false).unwrap();
    for _ in 0..2 {
        assert!(next().contains("WATCHDOG=1"), "it is watched");
    }
    gateway.signal("TERM");
    let stopping = std::iter::from_fn(|| Some(next())).find(|message| message.contains("STOPPING=1"));
    assert!(stopping.is_some());
}

#[test]
fn a_process_that_is_told_nonsense_about_a_predecessor_does_not_start() {
    for (notice, says) in [
        ("nonsense", "PORTCULLIS_TAKE_OVER is not understood"),
        (r#"{"protocol":2,"socket":"/tmp/x","addresses":[],"must_be_ready":true}"#, "protocol 2"),
    ] {
        let upstream = Upstream::start();
        let (account, _folder) =
            builder("", ROUTES, &upstream).env("PORTCULLIS_TAKE_OVER", notice).start_expecting_end();
        assert_eq!(account.code(), Some(1), "{}", account.stderr);
        assert!(account.stderr.contains(says), "{}", account.stderr);
    }
}
