//! A process that a test started: its output kept whole, its end waited for, and never outliving the test.
use std::{
    io::Read,
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{minted, waiting::PATIENCE};

/// A running or ended process.
pub(crate) struct Process {
    name: String,
    pid: u32,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Processes that it started in its place.
    successors: Vec<u32>,
}

/// Everything known about a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Account {
    /// Standard output so far.
    pub(crate) stdout: String,
    /// Standard error so far.
    pub(crate) stderr: String,
    /// How it ended; `None` while it runs.
    pub(crate) status: Option<ExitStatus>,
}

impl Account {
    /// The exit code; `None` when it runs or a signal ended it.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.and_then(|status| status.code())
    }

    /// The signal that ended it.
    pub(crate) fn signal(&self) -> Option<i32> {
        self.status.and_then(|status| status.signal())
    }
}

#[derive(Default)]
struct Shared {
    account: Mutex<Account>,
    changed: Condvar,
}

impl Shared {
    fn locked(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Account)) {
        change(&mut self.locked());
        self.changed.notify_all();
    }
}

impl Process {
    /// Starts the command with nothing to read and its output kept.
    pub(crate) fn spawn(name: &str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let shared = Arc::new(Shared::default());
        let pid = child.id();
        let stdout = keep(child.stdout.take().unwrap(), shared.clone(), |account, text| account.stdout.push_str(text));
        let stderr = keep(child.stderr.take().unwrap(), shared.clone(), |account, text| account.stderr.push_str(text));
        let waiter = wait_for_end(child, shared.clone());
        Self { name: name.to_owned(), pid, shared, threads: vec![stdout, stderr, waiter], successors: Vec::new() }
    }

    /// Its process id; that of the one in its place, where there is one.
    pub(crate) fn pid(&self) -> u32 {
        self.successors.last().copied().unwrap_or(self.pid)
    }

    /// A process that it started has taken its place and its outputs: signals are for that one from now on.
    pub(crate) fn is_succeeded_by(&mut self, pid: u32) {
        self.successors.push(pid);
    }

    /// What is known now.
    pub(crate) fn account(&self) -> Account {
        self.shared.locked().clone()
    }

    /// Sends a signal by name (`TERM`); nothing when it has ended.
    pub(crate) fn signal(&self, signal: &str) {
        if !self.successors.is_empty() || self.account().status.is_none() {
            send(signal, self.pid());
        }
    }

    /// Waits until `look` finds something in the account, which changes with every output and at the end.
    pub(crate) fn wait_until<T>(&self, limit: Duration, mut look: impl FnMut(&Account) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut account = self.shared.locked();
        loop {
            if let Some(found) = look(&account) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            account = self.shared.changed.wait_timeout(account, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the end and for all output, that of processes in its place too; `None` when it still runs after `limit`.
    pub(crate) fn end(&mut self, limit: Duration) -> Option<Account> {
        self.wait_until(limit, |account| account.status)?;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        Some(self.account())
    }
}

/// Ends the process by its id, and fails the test when a token stands in what it wrote.
impl Drop for Process {
    fn drop(&mut self) {
        if self.account().status.is_none() {
            send("KILL", self.pid);
        }
        // Only what still is what it was: a number may be another's by now.
        for pid in self.successors.iter().filter(|pid| is_portcullis(**pid)) {
            send("KILL", *pid);
        }
        let account = self.end(PATIENCE).unwrap_or_else(|| self.account());
        if thread::panicking() {
            eprintln!("--- {} stdout\n{}\n--- {} stderr\n{}", self.name, account.stdout, self.name, account.stderr);
            return;
        }
        minted::assert_none_in(&format!("the standard output of {}", self.name), &account.stdout);
        minted::assert_none_in(&format!("the standard error of {}", self.name), &account.stderr);
    }
}

pub(crate) fn send(signal: &str, pid: u32) {
    let sent = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).stderr(Stdio::null()).status();
    assert!(sent.is_ok(), "the program kill is needed to send a signal");
}

/// Whether a process with this number runs that is the program under test.
pub(crate) fn is_portcullis(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.starts_with("Name:\tportcullis\n") && !status.contains("\nState:\tZ")
}

/// Runs a command to its end.
pub(crate) fn run(name: &str, command: &mut Command) -> Account {
    run_within(PATIENCE, name, command)
}

/// Runs a command to its end, which may take so long.
pub(crate) fn run_within(limit: Duration, name: &str, command: &mut Command) -> Account {
    let mut process = Process::spawn(name, command);
    process.end(limit).unwrap_or_else(|| panic!("{name} does not end"))
}

fn keep(mut pipe: impl Read + Send + 'static, shared: Arc<Shared>, push: fn(&mut Account, &str)) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        let mut undecoded = Vec::new();
        while let Ok(amount) = pipe.read(&mut buffer)
            && amount > 0
        {
            undecoded.extend_from_slice(&buffer[..amount]);
            // Whole lines only, so that no character is torn.
            if let Some(end) = undecoded.iter().rposition(|byte| *byte == b'\n') {
                let rest = undecoded.split_off(end + 1);
                let lines = std::mem::replace(&mut undecoded, rest);
                shared.change(|account| push(account, &String::from_utf8_lossy(&lines)));
            }
        }
        shared.change(|account| push(account, &String::from_utf8_lossy(&undecoded)));
    })
}

fn wait_for_end(mut child: Child, shared: Arc<Shared>) -> JoinHandle<()> {
    thread::spawn(move || {
        let status = child.wait().ok();
        shared.change(|account| account.status = status);
    })
}

#[test]
fn output_is_kept_whole_and_the_end_is_known() {
    let account = run("sh", Command::new("sh").args(["-c", "echo one; echo two >&2; exit 3"]));
    assert_eq!((account.stdout.as_str(), account.stderr.as_str(), account.code()), ("one\n", "two\n", Some(3)));
}

#[test]
fn a_signal_reaches_the_process_and_a_dropped_process_is_gone() {
    let mut process = Process::spawn("sh", Command::new("sh").args(["-c", "echo up; exec tail -f /dev/null"]));
    process.wait_until(PATIENCE, |account| account.stdout.contains("up").then_some(())).unwrap();
    process.signal("TERM");
    assert_eq!(process.end(PATIENCE).unwrap().signal(), Some(15));

    let process = Process::spawn("sh", Command::new("sh").args(["-c", "exec tail -f /dev/null"]));
    let running = format!("/proc/{}", process.pid());
    assert!(std::path::Path::new(&running).exists());
    drop(process);
    assert!(!std::path::Path::new(&running).exists());
}

#[test]
#[should_panic(expected = "a token or secret in the standard error of sh")]
fn a_token_in_any_output_fails_the_test() {
    let part = "dGhpcy1wYXJ0LWlzLWxlYWtlZC1vbi1wdXJwb3Nl";
    minted::remember(&format!("e30.{part}.x"));
    run("sh", Command::new("sh").args(["-c", &format!("echo Bearer {part} >&2")]));
}
