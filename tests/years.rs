//! What happens to a gateway in years, in a minute: reloads, upgrades, failures of both, renewed certificates and a reader of the
//! log that stands still, while clients ask without pause over HTTP/1.1, HTTP/2, TLS and WebSockets. No request may fail, no
//! count may be lost, and memory may not grow.
//!
//! `PORTCULLIS_YEARS=all` does as much of it as docs/benchmarks.md tells; else there is a little of each.
use std::{
    env, fs,
    fs::{File, OpenOptions},
    io::Read as _,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    certificates::{Authority, Issued},
    client::{Client, request_bytes},
    fixture::{config, good_bearer, keys_file},
    gateway::Gateway,
    http2::Http2,
    process::{Account, is_portcullis},
    server::{Server, free_address},
    tls::TlsClient,
    waiting::eventually,
    wire::{Address, Head, Wire},
};

/// How much of everything there is.
#[derive(Debug)]
struct Years {
    reloads: usize,
    bad_reloads: usize,
    upgrades: usize,
    failed_upgrades: usize,
    renewals: usize,
}

impl Years {
    fn asked_for() -> Self {
        if env::var("PORTCULLIS_YEARS").is_ok_and(|amount| amount == "all") {
            Self { reloads: 100, bad_reloads: 20, upgrades: 20, failed_upgrades: 5, renewals: 10 }
        } else {
            Self { reloads: 12, bad_reloads: 3, upgrades: 2, failed_upgrades: 1, renewals: 2 }
        }
    }
}

/// Longest wait for processes that have given way to end: their grace period and more.
const LONG: Duration = Duration::from_secs(60);
/// A WebSocket is used so long and then ended by its client, as browsers leave pages: well within the grace period.
const VISIT: Duration = Duration::from_secs(3);

/// Reads a pipe and forgets what it reads, unless it stands still.
struct Reader {
    path: std::path::PathBuf,
    stands_still: Arc<AtomicBool>,
    _open: File,
}

impl Reader {
    fn start(path: std::path::PathBuf) -> Self {
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let open = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let stands_still = Arc::new(AtomicBool::new(false));
        let (mut pipe, waits) = (open.try_clone().unwrap(), Arc::clone(&stands_still));
        thread::spawn(move || {
            let mut buffer = [0; 64 * 1024];
            while pipe.read(&mut buffer).is_ok() {
                while waits.load(Ordering::SeqCst) {
                    thread::park_timeout(Duration::from_millis(10));
                }
            }
        });
        Self { path, stands_still, _open: open }
    }
}

/// An answer to every request, and an echo to every WebSocket.
fn service() -> Server {
    Server::on_tcp(|mut wire: Wire| {
        while let Ok(Some(raw)) = wire.read_head() {
            if Head::parse(raw).value("Upgrade").is_none() {
                if wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
                    return;
                }
                continue;
            }
            let _ = wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
            while let Ok(byte) = wire.read_bytes(1) {
                let _ = wire.send(&byte);
            }
            return;
        }
    })
}

/// Counts answers of one kind of client.
#[derive(Default)]
struct Sent {
    kept: AtomicU64,
    fresh: AtomicU64,
    http2: AtomicU64,
    tls: AtomicU64,
    websockets: AtomicU64,
    echoes: AtomicU64,
}

struct Clients {
    web: Address,
    secure: Address,
    authority: String,
    bearer: String,
    ends: AtomicBool,
    sent: Sent,
}

impl Clients {
    fn go_on(&self) -> bool {
        !self.ends.load(Ordering::SeqCst)
    }

    fn ask(&self, client: &mut Client, count: &AtomicU64) -> bool {
        let answer = client.get("/required", &[("Authorization", &self.bearer)]);
        assert_eq!(answer.status, 200);
        count.fetch_add(1, Ordering::SeqCst);
        answer.header("connection") == Some("close")
    }

    /// On connections that are kept until an answer says that they end.
    fn keep_asking(&self) {
        let mut client = Client::connect(&self.web);
        while self.go_on() {
            if self.ask(&mut client, &self.sent.kept) {
                client = Client::connect(&self.web);
            }
        }
    }

    fn ask_afresh(&self) {
        while self.go_on() {
            self.ask(&mut Client::connect(&self.web), &self.sent.fresh);
        }
    }

    fn ask_by_http2(&self) {
        let mut connection = Http2::connect(&self.web).unwrap();
        while self.go_on() {
            if connection.is_told_to_end() {
                connection = Http2::connect(&self.web).unwrap();
            }
            // Told between the look and the request, it is not sent; anything else that ends it is a failure.
            match connection.get("http://h/required", &[("authorization", &self.bearer)]) {
                Some(answer) => {
                    assert_eq!(answer.status, 200);
                    self.sent.http2.fetch_add(1, Ordering::SeqCst);
                }
                None => assert!(connection.is_told_to_end(), "a request of HTTP/2 was cut"),
            }
        }
    }

    fn ask_by_tls(&self) {
        while self.go_on() {
            let door = TlsClient::new(&self.authority, "api.test").front(&self.secure);
            self.ask(&mut Client::connect(door.address()), &self.sent.tls);
        }
    }

    fn visit(&self) {
        let fields = [
            ("Authorization", self.bearer.as_str()),
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        while self.go_on() {
            let mut wire = Wire::connect(&self.web).unwrap();
            wire.send(&request_bytes("GET", "/required/ws", &fields)).unwrap();
            let head = Head::parse(wire.read_head().unwrap().expect("a WebSocket is answered"));
            assert!(head.start.contains(" 101 "), "{}", head.start);
            let since = Instant::now();
            while self.go_on() && since.elapsed() < VISIT {
                wire.send(b"x").expect("a WebSocket was cut");
                assert_eq!(wire.read_bytes(1).expect("a WebSocket was cut"), b"x");
                self.sent.echoes.fetch_add(1, Ordering::SeqCst);
                thread::park_timeout(Duration::from_millis(5));
            }
            wire.shut();
            self.sent.websockets.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Has the clients end, in failure too.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Resident memory of a process in KiB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// When the certificate ends that is shown.
fn ends_at(gateway: &Gateway) -> f64 {
    gateway.metric(|line| line.starts_with("portcullis_tls_certificate_not_after_timestamp_seconds{"))
}

#[track_caller]
fn check_ends_with(account: &Account, code: i32) {
    assert_eq!(account.code(), Some(code), "{}{}", account.stdout, account.stderr);
}

/// Whether something that happens `amount` times among `all` happens at this one.
const fn is_due(at: usize, amount: usize, all: usize) -> bool {
    at * amount / all < (at + 1) * amount / all
}

/// A gateway and what happens to it.
struct Life {
    gateway: Gateway,
    secure: Address,
    authority: Authority,
    logs: [Reader; 2],
    good: String,
    bad: String,
    /// All that served, the last one last.
    processes: Vec<u32>,
    /// Resident KiB at several moments.
    memory: Vec<u64>,
}

impl Life {
    fn begin(service: &Server) -> Self {
        let (authority, secure) = (Authority::new("root"), Address::Tcp(free_address()));
        let issued = authority.server_until(&["api.test"], 2100);
        let listeners = format!(
            "address: \"{{listen}}\", http2: true}}\n  - {{name: secure, address: \"{secure}\", tls: {{certificates: \
             [{{certificate_file: tls.pem, private_key_file: tls.key}}]}}}}"
        );
        let routes = "  - {name: required, path_prefix: /required, upstream: echo}\n";
        let builder = Gateway::builder(config("", routes).replace("address: \"{listen}\"}", &listeners));
        let logs = ["out", "error"].map(|name| Reader::start(builder.folder().join(name)));
        let gateway = builder
            .set("upstream", service.address())
            .file("keys.json", keys_file())
            .file("tls.pem", issued.certificate.as_str())
            .file("tls.key", issued.key.as_str())
            .output_to(&logs[0].path, &logs[1].path)
            .start();
        let good = fs::read_to_string(gateway.config_file()).unwrap();
        let bad = good.replace("path_prefix: /required", "path_prefixes: /required");
        let processes = vec![gateway.id()];
        Self { gateway, secure, authority, logs, good, bad, processes, memory: Vec::new() }
    }

    fn ask(&self, command: &str, text: &str, code: i32) {
        fs::write(self.gateway.config_file(), text).unwrap();
        check_ends_with(&self.gateway.run(&[command, "--admin", &self.gateway.admin_socket()]), code);
    }

    fn reload(&mut self, years: &Years) {
        let other = self.good.replace("routes:\n", "routes:\n  - {name: more, path_prefix: /more, upstream: echo}\n");
        for at in 0..years.reloads {
            self.ask("reload", if at % 2 == 0 { &other } else { &self.good }, 0);
            if is_due(at, years.bad_reloads, years.reloads) {
                self.ask("reload", &self.bad, 1);
            }
            if at == years.reloads / 10 {
                self.memory.push(resident(self.gateway.id()));
            }
        }
        self.memory.push(resident(self.gateway.id()));
        fs::write(self.gateway.config_file(), &self.good).unwrap();
    }

    /// Puts another certificate in the place of the one that is shown.
    fn show(&self, issued: &Issued) {
        // The key first: a pair that does not match is not taken, and looked at again.
        for (name, text) in [("tls.key", &issued.key), ("tls.pem", &issued.certificate)] {
            let draft = self.gateway.folder().write("draft", text);
            fs::rename(draft, self.gateway.folder().path().join(name)).unwrap();
        }
    }

    fn renew(&self, years: &Years) {
        for year in (2101..).take(years.renewals) {
            let before = ends_at(&self.gateway);
            self.show(&self.authority.server_until(&["api.test"], year));
            let is_new = || (ends_at(&self.gateway) > before).then_some(());
            assert!(eventually(LONG, is_new).is_some(), "the certificate that ends in {year} is not shown");
        }
    }

    fn upgrade(&mut self, years: &Years) {
        for at in 0..years.upgrades {
            // The log is not read for the time of every other upgrade.
            self.logs.iter().for_each(|log| log.stands_still.store(at % 2 == 1, Ordering::SeqCst));
            check_ends_with(&self.gateway.upgrade(), 0);
            self.processes.push(self.gateway.id());
            if is_due(at, years.failed_upgrades, years.upgrades) {
                self.ask("upgrade", &self.bad, 1);
                fs::write(self.gateway.config_file(), &self.good).unwrap();
            }
            self.show(&self.authority.server(&["api.test"]));
        }
        self.logs.iter().for_each(|log| log.stands_still.store(false, Ordering::SeqCst));
        self.memory.push(resident(self.gateway.id()));
    }

    /// What was answered with this status, by the process that serves now and all before it.
    fn counted(&self, code: &str) -> u64 {
        let code = format!("code=\"{code}\"");
        let is_asked_for =
            |line: &str| line.starts_with("portcullis_http_requests_total{") && line.contains(code.as_str());
        self.gateway.metric(is_asked_for) as u64
    }

    /// Everything that clients saw answered was counted, and nothing else; only the last process is left.
    fn check_is_whole(&self, answers: u64, websockets: u64) {
        let is_whole = || ((self.counted("200"), self.counted("101")) == (answers, websockets)).then_some(());
        let counted =
            format!("{} of {answers} answers, {} of {websockets} WebSockets", self.counted("200"), self.counted("101"));
        assert!(eventually(LONG, is_whole).is_some(), "{counted}");
        let total = self.gateway.metric(|line| line.starts_with("portcullis_http_requests_total{")) as u64;
        assert_eq!(total, answers + websockets, "nothing else was answered");
        let (last, before) = self.processes.split_last().unwrap();
        let are_gone = || before.iter().all(|process| !is_portcullis(*process)).then_some(());
        assert!(eventually(LONG, are_gone).is_some() && is_portcullis(*last));
        // Twice what it was after the first reloads would be a leak; the last process has had its own share of all.
        assert!(self.memory.iter().all(|later| *later < 2 * self.memory[0]), "resident KiB {:?}", self.memory);
    }
}

#[test]
fn years_of_changes_fail_no_request_lose_no_count_and_let_memory_be() {
    type Work = fn(&Clients);
    let (years, service) = (Years::asked_for(), service());
    let mut life = Life::begin(&service);
    let clients = Clients {
        web: life.gateway.address().clone(),
        secure: life.secure.clone(),
        authority: life.authority.certificate().to_owned(),
        bearer: good_bearer(),
        ends: AtomicBool::new(false),
        sent: Sent::default(),
    };
    let began = Instant::now();
    thread::scope(|scope| {
        let clients = &clients;
        let ends = End(&clients.ends);
        let workers: [(usize, Work); 5] = [
            (2, Clients::keep_asking),
            (1, Clients::ask_afresh),
            (1, Clients::ask_by_http2),
            (1, Clients::ask_by_tls),
            (2, Clients::visit),
        ];
        for (amount, work) in workers {
            (0..amount).for_each(|_| drop(scope.spawn(move || work(clients))));
        }
        life.reload(&years);
        life.renew(&years);
        life.upgrade(&years);
        drop(ends);
    });
    let (took, sent) = (began.elapsed().as_secs(), &clients.sent);
    let [kept, fresh, http2, tls, websockets, echoes] =
        [&sent.kept, &sent.fresh, &sent.http2, &sent.tls, &sent.websockets, &sent.echoes]
            .map(|count| count.load(Ordering::SeqCst));
    let answers = kept + fresh + http2 + tls;
    life.check_is_whole(answers, websockets);
    println!(
        "{years:?} in {took} s: {answers} answers (kept {kept}, fresh {fresh}, HTTP/2 {http2}, TLS {tls}), {websockets} \
         WebSockets with {echoes} echoes, none failed, none uncounted; resident KiB {:?}",
        life.memory
    );
}
