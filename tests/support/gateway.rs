//! The real binary, started with a configuration in a fresh folder and stopped by its process id. Nothing of the product is called from here.
use std::{
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;

use super::{
    client::{self, Client, Response},
    folder::Folder,
    minted,
    process::{self, Account, Process},
    server::free_address,
    waiting::{PATIENCE, eventually},
    wire::{Address, Wire},
};

/// How often a start is tried again because another process took a port in between.
const STARTS_MAX: usize = 5;

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_portcullis");

/// What a gateway is started with.
pub(crate) struct Builder {
    config: String,
    files: Vec<(String, Vec<u8>)>,
    names: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    listen: Option<Address>,
    output: Option<[PathBuf; 2]>,
    program: Option<PathBuf>,
    folder: Folder,
}

/// A gateway that listens, but is never ready.
pub(crate) struct Unready {
    _process: Process,
    _folder: Folder,
}

/// A gateway that is ready.
pub(crate) struct Gateway {
    process: Process,
    listen: Address,
    admin: Address,
    folder: Folder,
    environment: Vec<(String, String)>,
}

impl Builder {
    /// A configuration text. `{listen}`, `{admin}` and `{folder}` in it are filled in, and every name given to [`Self::set`].
    pub(crate) fn new(config: impl Into<String>) -> Self {
        let folder = Folder::new();
        for name in ["state", "run"] {
            // As systemd makes them.
            std::fs::DirBuilder::new().mode(0o700).create(folder.path().join(name)).unwrap();
        }
        Self {
            config: config.into(),
            files: Vec::new(),
            names: Vec::new(),
            environment: vec![
                ("PATH".to_owned(), std::env::var("PATH").unwrap_or_default()),
                ("RUST_BACKTRACE".to_owned(), "1".to_owned()),
                ("STATE_DIRECTORY".to_owned(), folder.path().join("state").display().to_string()),
                ("RUNTIME_DIRECTORY".to_owned(), folder.path().join("run").display().to_string()),
            ],
            listen: None,
            output: None,
            program: None,
            folder,
        }
    }

    /// Fills in `{name}`.
    pub(crate) fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.names.push((format!("{{{name}}}"), value.to_string()));
        self
    }

    /// Writes a file beside the configuration.
    pub(crate) fn file(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.to_owned(), content.into()));
        self
    }

    /// Sets a variable; the environment is otherwise only what the gateway needs.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where `{listen}` is, instead of a free port.
    pub(crate) fn listen_on(mut self, address: Address) -> Self {
        self.listen = Some(address);
        self
    }

    /// Standard output and standard error go to these files or pipes, and are not kept.
    pub(crate) fn output_to(mut self, stdout: &Path, stderr: &Path) -> Self {
        self.output = Some([stdout, stderr].map(Path::to_path_buf));
        self
    }

    /// What is started, instead of the program under test: something that becomes it.
    pub(crate) fn program(mut self, path: &Path) -> Self {
        self.program = Some(path.to_owned());
        self
    }

    /// Where `{folder}` is.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it and waits until it says that it is ready.
    pub(crate) fn start(self) -> Gateway {
        for _ in 0..STARTS_MAX {
            let (process, listen, admin) = self.spawn();
            if wait_until_ready(&process, &admin) {
                return Gateway { process, listen, admin, folder: self.folder, environment: self.environment };
            }
            let account = process.account();
            let ended = account.status.is_some();
            if !(ended && (account.stderr.contains("in use") || account.stdout.contains("in use"))) {
                panic!("portcullis is not ready ({})", if ended { "it ended" } else { "it runs" });
            }
        }
        panic!("no free port in {STARTS_MAX} starts");
    }

    /// Starts it without waiting: for what is never ready. Says where it will listen.
    pub(crate) fn spawn_unready(self) -> (Unready, Address) {
        let (process, listen, _) = self.spawn();
        let accepts = eventually(PATIENCE, || Wire::connect(&listen).ok());
        assert!(accepts.is_some(), "nobody listens on {listen}");
        (Unready { _process: process, _folder: self.folder }, listen)
    }

    /// Starts it and waits until it has ended: for what must not start. Gives its files too.
    pub(crate) fn start_expecting_end(self) -> (Account, Folder) {
        let (mut process, _, _) = self.spawn();
        let account = process.end(PATIENCE).expect("portcullis runs, but must not");
        (account, self.folder)
    }

    /// Writes the files and the configuration, and says where that is, without starting anything.
    pub(crate) fn write(self) -> (PathBuf, Folder) {
        let (config, _, _) = self.write_files();
        (config, self.folder)
    }

    fn spawn(&self) -> (Process, Address, Address) {
        let (config, listen, admin) = self.write_files();
        let mut command = match &self.output {
            None => command(self.program.as_deref().unwrap_or(Path::new(BINARY)), &self.environment),
            Some([stdout, stderr]) => {
                let mut shell = Command::new("/bin/sh");
                shell.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
                shell.args(["-c", "exec \"$0\" \"$@\" >\"$STDOUT\" 2>\"$STDERR\"", BINARY]);
                shell.env("STDOUT", stdout).env("STDERR", stderr);
                shell
            }
        };
        command.current_dir(self.folder.path()).args(["run", "-c"]).arg(config);
        (Process::spawn("portcullis", &mut command), listen, admin)
    }

    fn write_files(&self) -> (PathBuf, Address, Address) {
        let listen = self.listen.clone().unwrap_or_else(|| Address::Tcp(free_address()));
        let admin = Address::Tcp(free_address());
        let mut text = self
            .config
            .replace("{listen}", &listen.to_string())
            .replace("{admin}", &admin.to_string())
            .replace("{folder}", &self.folder.path().display().to_string());
        for (name, value) in &self.names {
            text = text.replace(name, value);
        }
        for (name, content) in &self.files {
            self.folder.write(name, content);
        }
        (self.folder.write("portcullis.yaml", text), listen, admin)
    }
}

impl Gateway {
    /// See [`Builder::new`].
    pub(crate) fn builder(config: impl Into<String>) -> Builder {
        Builder::new(config)
    }

    /// Where `{listen}` is.
    pub(crate) fn address(&self) -> &Address {
        &self.listen
    }

    /// Where `{admin}` is.
    pub(crate) fn admin_address(&self) -> &Address {
        &self.admin
    }

    /// Its folder: configuration, files, sockets.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Its configuration file.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.folder.path().join("portcullis.yaml")
    }

    /// A new connection.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(&self.listen)
    }

    /// One GET on a connection of its own.
    pub(crate) fn get(&self, target: &str, headers: &[(&str, &str)]) -> Response {
        client::get(&self.listen, target, headers)
    }

    /// One GET of the admin address. No token may stand in what it answers.
    pub(crate) fn admin_get(&self, target: &str) -> Response {
        let host = self.admin.to_string();
        let response = client::get(&self.admin, target, &[("Host", &host)]);
        minted::assert_none_in(&format!("admin {target}"), &response.text());
        response
    }

    /// The value of one metric line, named with its labels as written; 0 when it is not there.
    pub(crate) fn metric(&self, matches: impl Fn(&str) -> bool) -> f64 {
        let text = self.admin_get("/metrics").text();
        let lines = text.lines().filter(|line| !line.starts_with('#') && matches(line));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// The access log's line of a request, once it is written.
    pub(crate) fn access_line(&self, request_id: &str) -> Value {
        self.log_line(|line| line["request_id"] == request_id)
            .unwrap_or_else(|| panic!("no access log line of request {request_id}"))
    }

    /// The first JSON line on standard output that fits, once it is written.
    pub(crate) fn log_line(&self, fits: impl Fn(&Value) -> bool) -> Option<Value> {
        self.process.wait_until(PATIENCE, |account| {
            account.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find(|line| fits(line))
        })
    }

    /// How often something stands in the diagnostic log, which is read a little later than it is written: once it is there, or
    /// after a while.
    pub(crate) fn times_said(&self, what: &str) -> usize {
        let said = || self.account().stderr.matches(what).count();
        eventually(PATIENCE, || (said() > 0).then_some(()));
        said()
    }

    /// What it wrote so far.
    pub(crate) fn account(&self) -> Account {
        self.process.account()
    }

    /// Asks it to put another process in its place; signals and questions are for that one from then on.
    pub(crate) fn upgrade(&mut self) -> Account {
        let account = self.run(&["upgrade", "-c", "portcullis.yaml"]);
        self.is_succeeded(&account);
        account
    }

    /// What `upgrade` wrote, asked otherwise than by [`Self::upgrade`].
    pub(crate) fn is_succeeded(&mut self, account: &Account) {
        if let Some(told) = account.stdout.strip_prefix("upgraded: process ") {
            self.process.is_succeeded_by(told.split(' ').next().unwrap().parse().unwrap());
        }
    }

    /// The admin address in its runtime directory, as commands take it.
    pub(crate) fn admin_socket(&self) -> String {
        format!("unix:{}", self.folder.path().join("run/admin.sock").display())
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, signal: &str) {
        self.process.signal(signal);
    }

    /// Its number among the processes.
    pub(crate) fn id(&self) -> u32 {
        self.process.pid()
    }

    /// From now on it can open so many files and connections; what is open stays open.
    pub(crate) fn limit_open_files(&self, limit: u32) {
        let arguments = [format!("--pid={}", self.id()), format!("--nofile={limit}:")];
        let finished = process::run("prlimit", Command::new("prlimit").args(arguments));
        assert_eq!(finished.code(), Some(0), "{finished:?}");
    }

    /// Asks it to stop and waits for the end.
    pub(crate) fn stop(mut self) -> Account {
        self.signal("TERM");
        self.end(PATIENCE)
    }

    /// Asks it to stop, waits for the end, and shows its folder before that goes.
    pub(crate) fn stop_keeping_folder(mut self, look: impl FnOnce(&Path)) -> Account {
        self.signal("TERM");
        let account = self.end(PATIENCE);
        look(self.folder.path());
        account
    }

    /// Waits for the end; fails the test when it does not come.
    pub(crate) fn end(&mut self, limit: Duration) -> Account {
        self.process.end(limit).unwrap_or_else(|| panic!("portcullis still runs after {limit:?}"))
    }

    /// Runs another command of the binary in the same environment.
    pub(crate) fn run(&self, arguments: &[&str]) -> Account {
        process::run(
            "portcullis",
            command(Path::new(BINARY), &self.environment).current_dir(self.folder.path()).args(arguments),
        )
    }
}

/// A gateway of a configuration as documentation writes it, whose addresses a reader is told to edit: clients come in at port 8080,
/// the admin address (which may be left out) has port 9400, the service listens on port 3000.
pub(crate) fn documented(config: &str, upstream: &Address) -> Builder {
    let admin = if config.contains("\nadmin:") { "" } else { "admin: {address: 127.0.0.1:9400}\n" };
    let edited = format!("{admin}{config}")
        .replace("127.0.0.1:8080", "\"{listen}\"")
        .replace("127.0.0.1:9400", "\"{admin}\"")
        .replace("127.0.0.1:3000", "\"{upstream}\"");
    Builder::new(edited).set("upstream", upstream)
}

/// Runs a command of the binary that needs no gateway.
pub(crate) fn run(arguments: &[&str]) -> Account {
    let path = std::env::var("PATH").unwrap_or_default();
    process::run("portcullis", command(Path::new(BINARY), &[("PATH".to_owned(), path)]).args(arguments))
}

fn command(program: &Path, environment: &[(String, String)]) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

/// Ready when the admin address says so; not when the process has ended.
fn wait_until_ready(process: &Process, admin: &Address) -> bool {
    let ready = eventually(PATIENCE, || {
        if process.account().status.is_some() {
            return Some(false);
        }
        // Nothing may listen there yet, or something else for a moment: then another look follows.
        let mut wire = Wire::connect(admin).ok()?;
        wire.send(format!("GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
        let head = wire.read_head().ok()??;
        head.starts_with(b"HTTP/1.1 200").then_some(true)
    });
    ready == Some(true)
}
