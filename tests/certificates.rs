//! `portcullis ca`: what it makes is what openssl calls right, where it is put is nobody else's, and nothing is lost on the way.
mod authority;
mod gateway;
mod recipes;
mod renewal;
mod separation;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::support::{
    folder::Folder,
    gateway as product, peers,
    process::{self, Account},
};

/// An authority in a folder of its own.
struct Authority {
    folder: Folder,
}

impl Authority {
    /// A folder without one.
    fn none() -> Self {
        Self { folder: Folder::new() }
    }

    /// Made ten days ago, so that something can have expired.
    fn new() -> Self {
        let authority = Self::none();
        authority.good(&["init", "--at", &days_from_now(-10)]);
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("ca").join(name)
    }

    fn issued(&self, name: &str) -> PathBuf {
        self.path("issued").join(name)
    }

    fn ca(&self, arguments: &[&str]) -> Account {
        let directory = self.path("");
        let account = product::run(&[&["ca"], arguments, &["--directory", directory.to_str().unwrap()]].concat());
        self.assert_no_key_in(&account);
        account
    }

    /// A command that succeeds without a word on standard error; what it printed.
    fn good(&self, arguments: &[&str]) -> String {
        let account = self.ca(arguments);
        assert_eq!((account.code(), account.stderr.as_str()), (Some(0), ""), "{arguments:?}: {}", account.stdout);
        account.stdout
    }

    /// A command that fails; what it said.
    fn bad(&self, arguments: &[&str], code: i32) -> String {
        let account = self.ca(arguments);
        assert_eq!(account.code(), Some(code), "{arguments:?}: {}{}", account.stdout, account.stderr);
        account.stderr
    }

    fn show(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.good(&[&["show", "--format", "json"], arguments].concat())).unwrap()
    }

    /// No line of any private key stands in what was printed.
    fn assert_no_key_in(&self, account: &Account) {
        for text in [&account.stdout, &account.stderr] {
            assert!(!text.contains("PRIVATE KEY"), "{text}");
        }
        for file in files_below(self.folder.path()) {
            let name = file.to_string_lossy();
            if !name.ends_with(".key") && !name.ends_with("key.pem") {
                continue;
            }
            let Ok(key) = fs::read_to_string(&file) else { continue };
            for line in key.lines().filter(|line| !line.starts_with("-----")) {
                assert!(!account.stdout.contains(line) && !account.stderr.contains(line), "{name}");
            }
        }
    }
}

/// Every file below a folder; links are not followed.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_below(&entry.path())),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    files
}

/// A time as `--at` takes it.
fn days_from_now(days: i64) -> String {
    let seconds = crate::support::token::now() + days * 86_400;
    jiff::Timestamp::from_second(seconds).unwrap().to_string()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The openssl program, or the test is not run.
fn openssl(test: &str) -> Option<OpenSsl> {
    peers::require_program("openssl", test).map(OpenSsl)
}

struct OpenSsl(PathBuf);

impl OpenSsl {
    fn run(&self, arguments: &[&str]) -> Account {
        process::run("openssl", Command::new(&self.0).args(arguments))
    }

    fn good(&self, arguments: &[&str]) -> String {
        let account = self.run(arguments);
        assert_eq!(account.code(), Some(0), "openssl {arguments:?}: {}{}", account.stdout, account.stderr);
        account.stdout
    }

    fn text(&self, certificate: &Path) -> String {
        self.good(&["x509", "-noout", "-text", "-in", certificate.to_str().unwrap()])
    }

    /// Whether certificate and key of a folder belong together.
    fn is_pair(&self, folder: &Path) -> bool {
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        let of_certificate = self.good(&["x509", "-noout", "-pubkey", "-in", certificate.to_str().unwrap()]);
        of_certificate == self.good(&["pkey", "-pubout", "-in", key.to_str().unwrap()])
    }
}
