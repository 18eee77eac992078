//! The real program under mixed traffic for a while: good requests, bad ones and broken ones, at a bounded rate on loopback.
//! Prints memory, open files and answers over time, so that memory that is flat after a warm-up can be seen, and ends with an
//! error when the program panicked, ended, answered 500, or keeps connections that nobody holds.
//!
//! `PORTCULLIS_SOAK_MINUTES` (1), `PORTCULLIS_SOAK_RATE` (requests a second, 400); with `PORTCULLIS_BENCH_QUICK` a few seconds.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::disallowed_methods,
    reason = "a tool that ends by panicking, reads the clock and writes files"
)]

#[path = "../tests/support/keys.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod keys;

use std::{
    env, fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::json;

use keys::{SigningKey, encoded, key_set};

/// Who sends.
const CLIENTS: u64 = 4;
/// Lines of the table.
const SAMPLES: u32 = 20;
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the gateway may take to notice that everybody is gone.
const ENDING: Duration = Duration::from_secs(20);

const CONFIG: &str = r#"
listeners: [{address: "{listen}"}]
admin: {address: "{admin}"}
server: {threads: 2, grace_period: 5s, state_directory: {folder}/state}
issuers:
  main: {issuer: https://issuer.test, audiences: [https://api.test], keys: {jwks_file: keys.json}, roles: roles}
identity: {headers: {X-User-ID: {from: subject}, X-User-Roles: {from: roles}}}
claims_cache: {entries: 5000, bytes: 8MiB}
log: {output: access.log}
routes:
  - {name: public, path_prefix: /public, auth: none, upstream: echo}
  - {name: orders, path_prefix: /orders, upstream: echo}
  - {name: admin, path_prefix: /admin, require: {roles: [admin]}, upstream: echo}
upstreams: {echo: {servers: ["{upstream}"]}}
"#;

/// What was answered, by class of status; the last is no answer at all.
#[derive(Default)]
struct Answers {
    by_class: [AtomicU64; 6],
    internal: AtomicU64,
}

impl Answers {
    fn note(&self, status: Option<u16>) {
        let class = status.map_or(0, |status| usize::from(status / 100).min(5));
        self.by_class[class].fetch_add(1, Ordering::Relaxed);
        if status == Some(500) {
            self.internal.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn total(&self) -> u64 {
        self.by_class.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// The program and its files.
struct Gateway {
    child: Child,
    folder: PathBuf,
    listen: SocketAddr,
    admin: SocketAddr,
}

impl Gateway {
    fn start(key: &SigningKey, upstream: SocketAddr) -> Self {
        let folder = env::temp_dir().join(format!("portcullis-soak-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (listen, admin) = (free_address(), free_address());
        let text = CONFIG
            .replace("{listen}", &listen.to_string())
            .replace("{admin}", &admin.to_string())
            .replace("{upstream}", &upstream.to_string())
            .replace("{folder}", &folder.display().to_string());
        fs::write(folder.join("portcullis.yaml"), text).unwrap();
        fs::write(folder.join("keys.json"), key_set(&[key.jwk_for("ES256")])).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["run", "-c"])
            .arg(folder.join("portcullis.yaml"))
            .current_dir(&folder)
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let gateway = Self { child, folder, listen, admin };
        let began = Instant::now();
        while TcpStream::connect(listen).is_err() {
            assert!(began.elapsed() < PATIENCE, "it does not listen: {}", gateway.stderr());
            thread::sleep(Duration::from_millis(20));
        }
        gateway
    }

    fn stderr(&self) -> String {
        fs::read_to_string(self.folder.join("stderr")).unwrap_or_default()
    }

    fn proc(&self) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string())
    }

    /// Resident memory in KiB.
    fn resident(&self) -> u64 {
        let status = fs::read_to_string(self.proc().join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }

    fn open_files(&self) -> usize {
        fs::read_dir(self.proc().join("fd")).map_or(0, Iterator::count)
    }

    /// Connections that the gateway says it has.
    fn connections(&self) -> Option<u64> {
        let request = format!("GET /metrics HTTP/1.0\r\nHost: {}\r\n\r\n", self.admin);
        let mut stream = TcpStream::connect(self.admin).ok()?;
        stream.write_all(request.as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.lines().find_map(|line| line.strip_prefix("portcullis_connections "))?.parse().ok()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// A service that answers nearly everything, and now and then breaks off or talks nonsense.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer_all(stream));
        }
    });
    address
}

fn answer_all(mut stream: TcpStream) {
    static ANSWERED: AtomicU64 = AtomicU64::new(0);
    let mut unread = Vec::new();
    while read_request(&mut stream, &mut unread).is_some() {
        let answer: &[u8] = match ANSWERED.fetch_add(1, Ordering::Relaxed) % 50 {
            7 => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nnonsense",
            19 => b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
            31 => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            _ => b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        };
        if stream.write_all(answer).is_err() || answer.ends_with(b"half") || answer.ends_with(b"nonsense") {
            return;
        }
    }
}

/// Reads one request, body included; nothing when the peer goes away.
fn read_request(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<()> {
    let head = take_until(stream, unread, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    if head.contains("\r\ntransfer-encoding:") {
        take_until(stream, unread, b"0\r\n\r\n")?;
    } else if let Some((_, after)) = head.split_once("\r\ncontent-length: ") {
        let length = after.lines().next()?.trim().parse().ok()?;
        while unread.len() < length {
            fill(stream, unread)?;
        }
        unread.drain(..length);
    }
    Some(())
}

fn take_until(stream: &mut TcpStream, unread: &mut Vec<u8>, end: &[u8]) -> Option<Vec<u8>> {
    loop {
        if let Some(place) = unread.windows(end.len()).position(|window| window == end) {
            return Some(unread.drain(..place + end.len()).collect());
        }
        fill(stream, unread)?;
    }
}

fn fill(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<()> {
    let mut buffer = [0; 8192];
    let amount = stream.read(&mut buffer).ok().filter(|amount| *amount > 0)?;
    unread.extend_from_slice(&buffer[..amount]);
    Some(())
}

fn token(key: &SigningKey, subject: u64, lifetime: i64) -> String {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let header = json!({"alg": "ES256", "kid": key.kid(), "typ": "at+jwt"});
    let claims = json!({
        "iss": "https://issuer.test", "aud": "https://api.test", "sub": format!("user-{subject}"), "iat": now - 1000,
        "exp": now + lifetime, "roles": ["reader", "writer"],
    });
    let input = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
    format!("{input}.{}", encoded(key.sign("ES256", input.as_bytes())))
}

/// One client: a kept connection for what is well-formed, and others for what is not.
struct Client {
    listen: SocketAddr,
    key: SigningKey,
    remembered: String,
    kept: Option<TcpStream>,
    idle: Vec<TcpStream>,
}

impl Client {
    /// Sends the request of this number, whatever kind it is, and says what was answered.
    fn send(&mut self, number: u64) -> Option<u16> {
        let get = |target: &str, more: &str| format!("GET {target} HTTP/1.1\r\nHost: api.test\r\n{more}\r\n");
        let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
        let post = |more: &str, body: &str| format!("POST /public/x HTTP/1.1\r\nHost: api.test\r\n{more}\r\n{body}");
        match number % 20 {
            0..=3 => self.on_kept(&get("/orders/x", &bearer(&self.remembered))),
            4 | 5 => self.on_kept(&get("/orders/x", &bearer(&token(&self.key, number, 300)))),
            6 => self.on_kept(&get("/orders/x", "")),
            7 => self.on_kept(&get("/admin", &bearer(&self.remembered))),
            8 => self.on_kept(&get("/orders/x", &bearer(&token(&self.key, number, -900)))),
            9 => self.on_kept(&get("/orders/x", &bearer(&format!("{}x", self.remembered)))),
            10 => self.on_kept(&post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n")),
            11 => self.on_kept(&get("/public/..%2fadmin", "X_User_ID: admin\r\n")),
            12 => self.on_fresh(&post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")),
            13 => self.on_fresh(&post("Transfer-Encoding: chunked\r\n", "5;\r\nhello\r\n0\r\n\r\n")),
            14 => self.on_fresh(&get("/public/x", "Connection: close, X-User-ID\r\n")),
            15 => self.on_fresh("\u{16}\u{3}\u{1}nonsense\r\n\r\n"),
            16 => self.on_fresh(&get("/public/x", "Connection: Upgrade\r\nUpgrade: websocket\r\n")),
            17 => self.on_fresh(&get("/public/x", &format!("X-Long: {}\r\n", "x".repeat(40_000)))),
            // Half a request, and away.
            18 => {
                let _ =
                    TcpStream::connect(self.listen).ok()?.write_all(post("Content-Length: 50\r\n", "half").as_bytes());
                Some(0)
            }
            // Says nothing and stays for a while.
            _ => {
                self.idle.push(TcpStream::connect(self.listen).ok()?);
                self.idle.drain(..self.idle.len().saturating_sub(20));
                Some(0)
            }
        }
    }

    fn on_kept(&mut self, request: &str) -> Option<u16> {
        let stream = match self.kept.take() {
            Some(stream) => stream,
            None => connect(self.listen)?,
        };
        let (status, kept) = exchange(stream, request)?;
        self.kept = kept;
        Some(status)
    }

    fn on_fresh(&self, request: &str) -> Option<u16> {
        exchange(connect(self.listen)?, request).map(|(status, _)| status)
    }
}

fn connect(address: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_nodelay(true).ok()?;
    Some(stream)
}

/// The status, and the connection where it can be used again.
fn exchange(mut stream: TcpStream, request: &str) -> Option<(u16, Option<TcpStream>)> {
    stream.write_all(request.as_bytes()).ok()?;
    let mut unread = Vec::new();
    let head = String::from_utf8_lossy(&take_until(&mut stream, &mut unread, b"\r\n\r\n")?).to_ascii_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let is_whole = if head.contains("\r\ntransfer-encoding:") {
        take_until(&mut stream, &mut unread, b"0\r\n\r\n").is_some()
    } else {
        let length = head.split_once("\r\ncontent-length: ").and_then(|(_, after)| after.lines().next()?.parse().ok());
        let mut is_whole = true;
        while is_whole && unread.len() < length.unwrap_or(0) {
            is_whole = fill(&mut stream, &mut unread).is_some();
        }
        is_whole
    };
    let is_kept = is_whole && !head.contains("\r\nconnection: close");
    Some((status, is_kept.then_some(stream)))
}

fn number_of(variable: &str, usual: u64) -> u64 {
    env::var(variable).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
}

fn main() -> ExitCode {
    // A filter of `cargo bench` that names something else, or a list of benchmarks, is not for this.
    let asks_for_others = |argument: String| !argument.starts_with("--") && !"soak".contains(argument.as_str());
    if env::args().skip(1).any(|argument| argument == "--list" || asks_for_others(argument)) {
        return ExitCode::SUCCESS;
    }
    let is_quick = env::var_os("PORTCULLIS_BENCH_QUICK").is_some();
    let duration = if is_quick {
        Duration::from_secs(4)
    } else {
        Duration::from_secs(60 * number_of("PORTCULLIS_SOAK_MINUTES", 1))
    };
    let rate = number_of("PORTCULLIS_SOAK_RATE", 400).max(CLIENTS);
    let key = SigningKey::p256("e1");
    let gateway = Gateway::start(&key, serve());
    let answers = Arc::new(Answers::default());
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (answers, stop, key, listen) = (Arc::clone(&answers), Arc::clone(&stop), key.clone(), gateway.listen);
            thread::spawn(move || run(client, rate, Client::new(listen, key), &answers, &stop))
        })
        .collect();
    let resident = watch(&gateway, &answers, duration);
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    report(gateway, &answers, &resident)
}

impl Client {
    fn new(listen: SocketAddr, key: SigningKey) -> Self {
        let remembered = token(&key, 0, 24 * 3600);
        Self { listen, key, remembered, kept: None, idle: Vec::new() }
    }
}

/// Sends its share of the rate until it is told to stop.
fn run(client: u64, rate: u64, mut sender: Client, answers: &Answers, stop: &AtomicBool) {
    let (began, mut sent) = (Instant::now(), 0);
    while !stop.load(Ordering::Relaxed) {
        let due = Duration::from_nanos(sent * 1_000_000_000 * CLIENTS / rate);
        if let Some(early) = due.checked_sub(began.elapsed()) {
            thread::sleep(early);
        }
        answers.note(sender.send(sent * CLIENTS + client * 5 + sent));
        sent += 1;
    }
}

/// Prints a line now and then, and gives the resident memory of each.
fn watch(gateway: &Gateway, answers: &Answers, duration: Duration) -> Vec<u64> {
    static PRINTED: Mutex<()> = Mutex::new(());
    let began = Instant::now();
    println!("seconds  RSS MiB  files  requests     2xx     4xx     5xx  no answer");
    (1..=SAMPLES)
        .map(|sample| {
            thread::sleep((duration * sample / SAMPLES).saturating_sub(began.elapsed()));
            let resident = gateway.resident();
            let count = |class: usize| answers.by_class[class].load(Ordering::Relaxed);
            let _whole_line = PRINTED.lock();
            println!(
                "{:7}  {:7.1}  {:5}  {:8}  {:6}  {:6}  {:6}  {:9}",
                began.elapsed().as_secs(),
                mebibytes(resident),
                gateway.open_files(),
                answers.total(),
                count(2),
                count(4),
                count(5),
                count(0),
            );
            resident
        })
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "only shown")]
fn mebibytes(kibibytes: u64) -> f64 {
    kibibytes as f64 / 1024.0
}

/// What is left once everybody is gone, and whether that is as it should be.
fn report(mut gateway: Gateway, answers: &Answers, resident: &[u64]) -> ExitCode {
    let ended_early = gateway.child.try_wait().unwrap().is_some();
    let began = Instant::now();
    let mut connections = gateway.connections();
    while connections != Some(0) && began.elapsed() < ENDING {
        thread::sleep(Duration::from_millis(100));
        connections = gateway.connections();
    }
    let _ = Command::new("kill").arg("-TERM").arg(gateway.child.id().to_string()).status();
    let status = gateway.child.wait().unwrap();
    let panics = gateway.stderr().matches("panicked at").count();
    let warm = resident[resident.len() / 4];
    let last = resident[resident.len() - 1];
    println!("resident after a quarter: {:.1} MiB, at the end: {:.1} MiB", mebibytes(warm), mebibytes(last));
    println!(
        "panics: {panics}, answers of 500: {}, connections left: {}, end: {status}",
        answers.internal.load(Ordering::Relaxed),
        connections.map_or_else(|| "unknown".to_owned(), |connections| connections.to_string()),
    );
    let is_well = !ended_early
        && panics == 0
        && answers.internal.load(Ordering::Relaxed) == 0
        && connections == Some(0)
        && status.success();
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
