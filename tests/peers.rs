//! Programs and libraries that people use, talked to through the gateway: what each may expect of a protocol. Their scripts
//! stand in `tests/peers/`, and `docs/protocols.md` says what was tried with whom.
mod autobahn;
mod grpc_js;
mod pages;
mod socket_io;
mod sslyze;
mod websockets;

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;

use crate::support::{
    certificates::Authority,
    fixture::{self, good_bearer},
    gateway::Gateway,
    peers,
    process::{self, Account, Process},
    waiting::{PATIENCE, eventually},
};

/// How long all checks of a script may take on a busy machine.
const SCRIPT_PATIENCE: Duration = Duration::from_secs(120);

/// A program with what its scripts need.
#[derive(Clone)]
struct Runner {
    program: PathBuf,
    /// Where Node finds its modules.
    modules: PathBuf,
}

impl Runner {
    /// Node with modules; `None`, said loudly, when something is missing and not demanded.
    fn node(modules: &[&str], test: &str) -> Option<Self> {
        let program = peers::require_program("node", test)?;
        Some(Self { program, modules: peers::require_modules(modules, test)? })
    }

    /// Python with modules; the same.
    fn python(modules: &str, test: &str) -> Option<Self> {
        Some(Self { program: peers::require_python(modules, test)?, modules: PathBuf::new() })
    }

    /// To run a file of `tests/peers`.
    fn command<A: AsRef<OsStr>>(&self, script: &str, arguments: &[A]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(script)).args(arguments);
        command.env("NODE_PATH", &self.modules).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// Runs a script to its end, which must be a good one.
    fn finish<A: AsRef<OsStr>>(&self, script: &str, arguments: &[A]) -> Account {
        let account = process::run_within(SCRIPT_PATIENCE, script, &mut self.command(script, arguments));
        assert_eq!(account.code(), Some(0), "{script}: {}{}", account.stdout, account.stderr);
        account
    }
}

/// A script that serves, and tells what it sees in lines of JSON.
struct Service {
    process: Process,
    port: u16,
}

impl Service {
    fn start<A: AsRef<OsStr>>(runner: &Runner, script: &str, arguments: &[A]) -> Self {
        let process = Process::spawn(script, &mut runner.command(script, arguments));
        let port = process.wait_until(PATIENCE, |account| told(account, "port").first().and_then(Value::as_u64));
        let port = port.unwrap_or_else(|| panic!("{script} does not listen: {}", process.account().stderr));
        Self { process, port: u16::try_from(port).unwrap() }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The values that it told under this name.
    fn told(&self, name: &str) -> Vec<Value> {
        told(&self.process.account(), name)
    }

    /// Waits until it has told such a line.
    fn wait_for(&self, what: &str, fits: impl Fn(&Value) -> bool) {
        let found = eventually(PATIENCE, || lines(&self.process.account()).any(|line| fits(&line)).then_some(()));
        assert!(found.is_some(), "{what} was never told: {}", self.process.account().stdout);
    }
}

fn lines(account: &Account) -> impl Iterator<Item = Value> + '_ {
    account.stdout.lines().filter_map(|line| serde_json::from_str(line).ok())
}

fn told(account: &Account, name: &str) -> Vec<Value> {
    lines(account).filter_map(|line| line.get(name).cloned()).collect()
}

/// A gateway with TLS for `localhost` in front of a service, and the file of the authority that clients trust.
struct Site {
    gateway: Gateway,
    authority: PathBuf,
    port: String,
}

impl Site {
    /// Routes to the upstream `echo`, which is at this address and has further keys.
    fn start(routes: &str, address: &str, more: &str) -> Self {
        let authority = Authority::new("root");
        let listener =
            "address: \"{listen}\", tls: {certificates: [{certificate_file: web.pem, private_key_file: web.key}]}";
        let servers = "servers: [\"{upstream}\"]";
        let config = fixture::config("", routes)
            .replace("address: \"{listen}\"", listener)
            .replace(servers, &format!("{servers}{more}"));
        let issued = authority.server(&["localhost"]);
        let gateway = Gateway::builder(config)
            .set("upstream", address)
            .file("keys.json", fixture::keys_file())
            .file("web.pem", issued.certificate)
            .file("web.key", issued.key)
            .start();
        let file = gateway.folder().write("ca.pem", authority.certificate());
        let port = gateway.address().to_string().rsplit(':').next().unwrap().to_owned();
        Self { gateway, authority: file, port }
    }

    /// Runs the checks of a script against it, with a good token: all of them, which are so many, must hold.
    fn check(&self, runner: &Runner, script: &str, checks: usize) {
        let mut command = runner.command::<&str>(script, &[]);
        command
            .env("SITE", format!("https://localhost:{}", self.port))
            .env("AUTHORITY", &self.authority)
            .env("NODE_EXTRA_CA_CERTS", &self.authority)
            .env("BEARER", good_bearer());
        let account = process::run_within(SCRIPT_PATIENCE, script, &mut command);
        assert!(
            account.stdout.contains(&format!("{checks} checks held\n")),
            "{script}: {}{}",
            account.stdout,
            account.stderr
        );
    }
}
