//! The access log of the real process: nobody waits for who reads it, nothing is lost when its file is moved away, no request
//! forges or breaks a line, and it says no more than it is allowed to.
use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{Read, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::Value;

use crate::support::{
    client::{Client, request_bytes},
    fixture::{House, builder, good_bearer, signing_key},
    folder::Folder,
    gateway::Gateway,
    peers::require_program,
    process,
    token::{Token, bearer},
    upstream::Upstream,
    waiting::{PATIENCE, eventually},
};

const ROUTES: &str = r#"
  - {name: orders, path_prefix: /orders, upstream: echo}
  - {name: public, path_prefix: /public, auth: none, respond: {status: 204}}
  - {name: errors, path_prefix: /errors, log: errors, upstream: echo}
  - {name: quiet, path_prefix: /quiet, log: off, upstream: echo}
  - {name: quiet-too, path_prefix: /still, log: false, upstream: echo}
  - {name: reports, path_prefix: /reports, require: {roles: [auditor]}, upstream: echo}"#;

/// A pipe with a name, and a descriptor that keeps it open: whoever opens it for writing does not wait.
struct Pipe {
    path: PathBuf,
    open: File,
}

impl Pipe {
    fn new(folder: &Folder, name: &str) -> Self {
        let path = folder.path().join(name);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let open = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        Self { path, open }
    }

    /// Reads from now on, in a thread of its own, for as long as the test runs.
    fn read(&self) -> Arc<Mutex<Vec<u8>>> {
        let read: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (mut pipe, kept) = (self.open.try_clone().unwrap(), Arc::clone(&read));
        thread::spawn(move || {
            let mut buffer = [0; 64 * 1024];
            while let Ok(amount) = pipe.read(&mut buffer) {
                kept.lock().unwrap().extend_from_slice(&buffer[..amount]);
            }
        });
        read
    }
}

fn dropped(gateway: &Gateway) -> u64 {
    gateway.metric(|line| line.starts_with("portcullis_access_log_dropped_total ")) as u64
}

fn parsed(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in the line {line:?}")))
        .collect()
}

/// Sends requests that are refused, each with a long line; says how many.
fn refuse_until_lines_are_lost(gateway: &Gateway, client: &mut Client) -> u64 {
    let long = format!("/orders/{}", "a".repeat(7_000));
    let mut refused = 0;
    while dropped(gateway) < 20 {
        (0..100).for_each(|_| assert_eq!(client.get(&long, &[]).status, 401));
        refused += 100;
        assert!(refused < 20_000, "nothing is ever lost");
    }
    refused
}

#[test]
fn outputs_that_nobody_reads_cost_lines_and_no_request_and_refusals_cost_their_own_alone() {
    const ALLOWED: usize = 200;
    let (upstream, folder) = (Upstream::start(), Folder::new());
    let (stdout, stderr) = (Pipe::new(&folder, "stdout"), Pipe::new(&folder, "stderr"));
    let gateway = builder("", ROUTES, &upstream).output_to(&stdout.path, &stderr.path).start();
    // Standard error: many times what a pipe holds, said of a configuration that is full of errors.
    let good = fs::read(gateway.config_file()).unwrap();
    let wrong: String = (0..900).map(|number| format!("unknown_key_{number}: 1\n")).collect();
    fs::write(gateway.config_file(), wrong).unwrap();
    for _ in 0..4 {
        let answer = gateway.run(&["reload", "-c", "portcullis.yaml"]);
        assert!(answer.stderr.contains("unknown_key_899"), "it does not answer any more: {answer:?}");
    }
    fs::write(gateway.config_file(), good).unwrap();
    // Standard output: refusals with long lines, until some are lost.
    let mut client = gateway.connect();
    let refused = refuse_until_lines_are_lost(&gateway, &mut client);
    let lost = dropped(&gateway);
    // Those that were let in still find room.
    for number in 0..ALLOWED {
        assert_eq!(client.get(&format!("/orders/{number}"), &[("Authorization", &good_bearer())]).status, 200);
    }
    assert_eq!(dropped(&gateway), lost, "what was let in was lost for what was refused");
    // Now somebody reads.
    let read = stdout.read();
    assert_eq!(client.get("/orders/last", &[("Authorization", &good_bearer())]).status, 200);
    let text = || String::from_utf8(read.lock().unwrap().clone()).unwrap();
    let is_whole =
        eventually(PATIENCE, || text().contains("/orders/last\"").then_some(()).filter(|()| text().ends_with('\n')));
    assert!(is_whole.is_some(), "the last request has no line");
    let lines = parsed(&text());
    let told = |result: &str| lines.iter().filter(|line| line["auth"]["result"] == result).count();
    let gaps: u64 = lines.iter().filter_map(|line| line["lines_lost"].as_u64()).sum();
    assert_eq!((told("allowed"), gaps), (ALLOWED + 1, lost));
    assert_eq!(told("rejected") as u64 + gaps, refused);
    assert_eq!(dropped(&gateway), lost);
    // And the diagnostic log has had room for what nobody read.
    let said = stderr.read();
    assert_eq!(gateway.run(&["reload", "-c", "portcullis.yaml"]).code(), Some(0));
    let goes_on = eventually(PATIENCE, || {
        let said = String::from_utf8_lossy(&said.lock().unwrap()).into_owned();
        (said.contains("the configuration was reloaded") && said.matches("unknown_key_899").count() >= 4).then_some(())
    });
    assert!(goes_on.is_some(), "the diagnostic log does not go on");
}

/// Requests without end, each with a path of its own, from several connections.
struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Load {
    fn start(gateway: &Gateway) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let threads = (0..2).map(|_| {
            let (stop, sent, address) = (Arc::clone(&stop), Arc::clone(&sent), gateway.address().clone());
            thread::spawn(move || {
                let mut client = Client::connect(&address);
                while !stop.load(Ordering::Relaxed) {
                    let number = sent.fetch_add(1, Ordering::Relaxed);
                    assert_eq!(client.get(&format!("/public/{number}"), &[]).status, 204);
                }
            })
        });
        let threads = threads.collect();
        Self { stop, sent, threads }
    }

    /// Waits until so many more were sent.
    fn wait_for(&self, more: usize) {
        let enough = self.sent.load(Ordering::Relaxed) + more;
        let come = eventually(PATIENCE, || (self.sent.load(Ordering::Relaxed) >= enough).then_some(()));
        assert!(come.is_some(), "requests are not answered");
    }

    /// Ends it and says how many there were.
    fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        self.sent.load(Ordering::Relaxed)
    }
}

/// The paths that the lines of these files tell of.
fn paths_in(files: &[PathBuf]) -> Vec<String> {
    let all = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect::<String>();
    parsed(&all).iter().map(|line| line["path"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn assert_each_once(paths: &[String], sent: usize) {
    let distinct: BTreeSet<&String> = paths.iter().collect();
    assert_eq!((paths.len(), distinct.len()), (sent, sent), "each request has its line, once");
}

#[test]
fn a_file_that_is_moved_away_under_load_is_opened_again_and_no_line_is_lost() {
    let upstream = Upstream::start();
    let gateway = builder("log: {output: \"{folder}/access.log\"}", ROUTES, &upstream).start();
    let log = gateway.folder().path().join("access.log");
    let load = Load::start(&gateway);
    let mut files = Vec::new();
    for number in 1..=5 {
        load.wait_for(50);
        let moved = log.with_extension(format!("log.{number}"));
        fs::rename(&log, &moved).unwrap();
        files.push(moved);
        load.wait_for(50);
        gateway.signal("USR1");
        let is_there = eventually(PATIENCE, || fs::metadata(&log).ok().filter(|file| file.len() > 0));
        assert!(is_there.is_some(), "the file was not opened again");
    }
    let sent = load.stop();
    files.push(log);
    let account = gateway.stop_keeping_folder(|_| assert_each_once(&paths_in(&files), sent));
    assert_eq!(account.code(), Some(0));
    assert_eq!(account.stderr.matches("the access log was opened again").count(), 5);
}

#[test]
fn logrotate_rotates_by_the_example_that_is_shipped() {
    let Some(logrotate) = require_program("logrotate", "access_log") else { return };
    let upstream = Upstream::start();
    let config = builder("log: {output: \"{folder}/access.log\"}", ROUTES, &upstream);
    let gateway = config.start();
    let folder = gateway.folder();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/logrotate/portcullis");
    let mut rules = fs::read_to_string(shipped).unwrap();
    // As whoever runs the test, and without a service manager.
    let numbers = ["-un", "-gn"].map(|form| process::run("id", Command::new("id").arg(form)).stdout.trim().to_owned());
    let [user, group] = &numbers;
    let mut edit = |from: &str, to: &str| {
        assert_eq!(rules.matches(from).count(), 1, "{from}");
        rules = rules.replace(from, to);
    };
    edit("/var/log/portcullis/*.log {", &format!("{}/*.log {{", folder.path().display()));
    edit("su portcullis portcullis", &format!("su {user} {group}"));
    edit("create 0640 portcullis portcullis", &format!("create 0640 {user} {group}"));
    edit(
        "[ ! -d /run/systemd/system ] || systemctl kill --kill-whom=main --signal=USR1 portcullis.service || true",
        &format!("kill -USR1 {}", gateway.id()),
    );
    let rules = folder.write("rules", rules);
    fs::set_permissions(&rules, fs::Permissions::from_mode(0o644)).unwrap();
    let state = folder.path().join("rotated");
    let rotate = || {
        let mut command = Command::new(&logrotate);
        command.arg("--force").arg("--verbose").arg("--state").arg(&state).arg(&rules);
        let finished = process::run("logrotate", &mut command);
        assert_eq!(finished.code(), Some(0), "{finished:?}");
        assert!(!finished.stderr.contains("error:"), "{finished:?}");
    };
    let log = folder.path().join("access.log");
    let load = Load::start(&gateway);
    let reopened = |times: usize| {
        let seen = eventually(PATIENCE, || {
            (gateway.account().stderr.matches("the access log was opened again").count() == times).then_some(())
        });
        assert!(seen.is_some(), "it was not asked to open its file again");
    };
    for times in 1..=2 {
        load.wait_for(50);
        rotate();
        reopened(times);
    }
    load.wait_for(50);
    let sent = load.stop();
    gateway.stop_keeping_folder(|folder| {
        assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o640);
        // The one before the last is compressed, the last is not yet.
        let packed = folder.join("access.log.2.gz");
        let unpacked =
            process::run("gzip", Command::new("gzip").args(["--decompress", "--stdout"]).arg(&packed)).stdout;
        let older = folder.join("access.log.2");
        File::create(&older).unwrap().write_all(unpacked.as_bytes()).unwrap();
        assert_each_once(&paths_in(&[older, folder.join("access.log.1"), log.clone()]), sent);
    });
}

#[test]
fn each_route_says_which_of_its_requests_have_a_line() {
    let house = House::start("", ROUTES);
    let good = good_bearer();
    let rows: [(&str, bool, u16, bool); 10] = [
        ("/orders/1", true, 200, true),
        ("/orders/2", false, 401, true),
        ("/errors/1", true, 200, false),
        ("/errors/2", false, 401, true),
        ("/quiet/1", true, 200, false),
        ("/quiet/2", false, 401, false),
        ("/still/1", true, 200, false),
        ("/still/2", false, 401, false),
        ("/nowhere/1", true, 404, true),
        // The last, so that all lines before it are written.
        ("/orders/end", true, 200, true),
    ];
    for (path, has_token, status, _) in rows {
        let headers: Vec<(&str, &str)> = has_token.then_some(("Authorization", good.as_str())).into_iter().collect();
        assert_eq!(house.gateway.get(path, &headers).status, status, "{path}");
    }
    house.gateway.log_line(|line| line["path"] == "/orders/end").expect("the last line");
    let account = house.gateway.stop();
    let told: BTreeSet<String> =
        parsed(&account.stdout).iter().map(|line| line["path"].as_str().unwrap().to_owned()).collect();
    let expected: BTreeSet<String> =
        rows.iter().filter(|(_, _, _, is_told)| *is_told).map(|(path, ..)| (*path).to_owned()).collect();
    assert_eq!(told, expected);
}

#[test]
fn the_log_says_no_more_of_subjects_and_addresses_than_it_may() {
    // The first half of the digest of `u1`, as `printf u1 | sha256sum` has it.
    let digest = process::run("sha256sum", Command::new("sh").args(["-c", "printf u1 | sha256sum"])).stdout;
    let hashed = &digest[..32];
    type Row<'r> = (&'r str, Option<&'r str>, [Option<&'r str>; 2]);
    let clients = ["203.0.113.77", "2001:db8:1:2:3:4:5:6"];
    let rows: [Row<'_>; 6] = [
        ("", Some("u1"), clients.map(Some)),
        ("log: {subject: plain, client_ip: full}", Some("u1"), clients.map(Some)),
        ("log: {subject: hash, client_ip: truncated}", Some(hashed), [Some("203.0.113.0"), Some("2001:db8:1::")]),
        ("log: {subject: off, client_ip: off}", None, [None, None]),
        ("log: {subject: none}", None, clients.map(Some)),
        ("log: {client_ip: false}", Some("u1"), [None, None]),
    ];
    let token = bearer(&Token::good().claim("sub", "u1").signed_by(signing_key()));
    for (log, subject, addresses) in rows {
        let house = House::start(&format!("trusted_proxies: [127.0.0.1]\n{log}"), ROUTES);
        for (client, address) in clients.iter().zip(addresses) {
            let headers = [("Authorization", token.as_str()), ("X-Forwarded-For", client)];
            // One that passes, and one that is refused for a role: both know who it is.
            for (path, status) in [("/orders", 200), ("/reports", 403)] {
                let answer = house.gateway.get(path, &headers);
                assert_eq!(answer.status, status, "{log}");
                let line = house.gateway.access_line(answer.header("X-Request-Id").unwrap());
                assert_eq!(line["auth"]["subject"].as_str(), subject, "{log}: {line}");
                assert_eq!(line["client_ip"].as_str(), address, "{log}: {line}");
            }
            let shown = house.gateway.admin_get("/rejections").json();
            assert_eq!(shown[0]["client_ip"].as_str(), address, "{log}: {shown}");
        }
        // Not in any other place of the line either.
        let account = house.gateway.stop();
        for (hidden, is_shown) in [("\"u1\"", subject == Some("u1")), (clients[0], addresses[0] == Some(clients[0]))] {
            assert_eq!(account.stdout.contains(hidden), is_shown, "{log}: {hidden} in {}", account.stdout);
        }
    }
}

#[test]
fn a_log_may_be_text_or_nothing_at_all() {
    for (form, expected) in [("text", Some(" \"GET api.test /orders\" 401 ")), ("off", None)] {
        let house = House::start(&format!("log: {{access: {form}}}"), ROUTES);
        assert_eq!(house.gateway.get("/orders", &[]).status, 401);
        let account = house.gateway.stop();
        match expected {
            Some(part) => {
                assert!(account.stdout.contains(part) && account.stdout.ends_with(" orders token_missing\n"));
                assert_eq!(account.stdout.lines().count(), 1, "{}", account.stdout);
            }
            None => assert_eq!(account.stdout, ""),
        }
    }
}

/// The names of the page's table.
fn documented() -> BTreeSet<String> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/access-log.md")).unwrap();
    let rows = page.lines().filter_map(|row| row.strip_prefix("| `")?.split_once('`'));
    rows.map(|(name, _)| name.to_owned()).collect()
}

/// Names of members with their way there.
fn names(value: &Value, before: &str, found: &mut BTreeSet<String>) {
    for (name, value) in value.as_object().expect("an object") {
        match value {
            Value::Object(_) => names(value, &format!("{before}{name}."), found),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                found.insert(format!("{before}{name}"));
            }
        }
    }
}

/// Requests whose every part tries to be a line of its own, or to steer a terminal.
fn hostile_requests() -> Vec<Vec<u8>> {
    let forged = "\n{\"ts\":\"2026-01-01T00:00:00Z\",\"path\":\"/forged\",\"auth\":{\"result\":\"allowed\"}}\n";
    let get = |target: &str, headers: &[(&str, &str)]| request_bytes("GET", target, headers);
    let claim = |name: &str, value: &str| {
        let token = Token::good().claim(name, value).signed_by(signing_key());
        get("/orders", &[("Authorization", &bearer(&token))])
    };
    let header = |name: &str, value: &str| {
        let token = Token::good().header(name, value).signed_by(signing_key());
        get("/orders", &[("Authorization", &bearer(&token))])
    };
    let mut sent: Vec<Vec<u8>> = vec![
        get("/orders/%0a%7b%22ts%22:1%7d%0d%0a%1b%5b2J", &[]),
        get("/orders/\"},\"auth\":{\"result\":\"allowed", &[]),
        get("/orders?token=query-of-the-request", &[]),
        get("/orders", &[("User-Agent", "\",\"auth\":{\"result\":\"allowed\"},\"x\":\"")]),
        get("/orders", &[("User-Agent", "\u{1b}[2J\u{202e}\u{9b}\t\u{2028}")]),
        get("/orders", &[("User-Agent", &"x".repeat(5_000))]),
        get("/orders", &[("Host", "\"};\u{7f}")]),
        request_bytes("GE\"T", "/orders", &[]),
        request_bytes("get\u{1}", "/orders", &[]),
        b"\x16\x03\x01\x00\xff\n\n".to_vec(),
        b"GET /orders HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_vec(),
        b"GET /orders HTTP/1.1\nUser-Agent: {\"forged\":1}\n\n{\"forged\":2}\n".to_vec(),
        [b"GET /orders/\xff\xfe\xed\xa0\x80 HTTP/1.1\r\nHost: api.test\r\nUser-Agent: \xff\xc0\r\n\r\n".as_slice()]
            .concat(),
        header("kid", forged),
        header("alg", forged),
        header("typ", forged),
    ];
    for name in ["sub", "iss", "aud", "jti", "client_id", "scope"] {
        sent.extend([forged, "\u{202e}\u{2028}\u{85}", "\"}}", &"é\u{1b}".repeat(500)].map(|value| claim(name, value)));
    }
    sent
}

#[test]
fn nothing_that_is_sent_breaks_or_forges_a_line() {
    let house = House::start("", ROUTES);
    let sent = hostile_requests();
    let amount = sent.len();
    for bytes in sent {
        let mut client = house.gateway.connect();
        client.send(bytes);
        // Some are answered, and some end the connection.
        let _ = client.try_read("GET");
    }
    assert_eq!(house.gateway.get("/orders/end", &[("Authorization", &good_bearer())]).status, 200);
    house.gateway.log_line(|line| line["path"] == "/orders/end").expect("the last line");
    let account = house.gateway.stop();
    assert!(!account.stdout.contains("query-of-the-request"));
    assert!(!account.stdout.chars().any(|letter| letter.is_control() && letter != '\n'), "{:?}", account.stdout);
    assert!(!account.stdout.contains(['\u{202e}', '\u{2028}']));
    let lines = parsed(&account.stdout);
    // One of them has a second request behind the first.
    assert!((amount + 1..=amount + 2).contains(&lines.len()), "{} lines of {amount} requests", lines.len());
    assert_documented(&lines);
    // What was allowed was allowed: hostile subjects of good tokens, and no other.
    let allowed: Vec<&Value> = lines.iter().filter(|line| line["auth"]["result"] == "allowed").collect();
    assert!(allowed.iter().all(|line| line["status"] == 200 && line["path"] != "/forged"), "{allowed:?}");
}

/// Each line has fields of the page and no others, those that are always there, and a bounded length.
#[track_caller]
fn assert_documented(lines: &[Value]) {
    let documented = documented();
    for line in lines {
        let mut found = BTreeSet::new();
        names(line, "", &mut found);
        assert!(found.is_subset(&documented), "{line}");
        let always = ["ts", "request_id", "method", "path", "protocol", "status", "duration_s", "route"];
        assert!(always.iter().all(|name| found.contains(*name)), "{line}");
        assert!(line.to_string().len() < 12_000, "{line}");
    }
}
