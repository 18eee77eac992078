//! Programs that some tests talk to. A run without them says so, loudly, or fails where `PORTCULLIS_REQUIRE_PEERS=1` asks for them.
use std::{env, path::PathBuf, process::Command};

use super::process;

/// A file that a program brings; `None`, said on standard error, when it is missing and not demanded.
pub(crate) fn require_file(path: &str, test: &str) -> Option<PathBuf> {
    let found = Some(PathBuf::from(path)).filter(|path| path.is_file());
    if found.is_none() {
        say_missing(path, test);
    }
    found
}

fn say_missing(what: &str, test: &str) {
    let demanded = env::var("PORTCULLIS_REQUIRE_PEERS").is_ok_and(|value| value == "1");
    assert!(!demanded, "{test} needs {what}, and PORTCULLIS_REQUIRE_PEERS=1 forbids to go without");
    eprintln!("\n!!! {test}: {what} is not on this machine, the test is NOT run !!!\n");
}

/// `None`, for what is missing; said on standard error, or a failure where it is demanded.
pub(crate) fn missing<T>(what: &str, test: &str) -> Option<T> {
    say_missing(what, test);
    None
}

/// Where a program is; `None`, said on standard error, when it is missing and not demanded.
pub(crate) fn require_program(name: &str, test: &str) -> Option<PathBuf> {
    let found = env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        say_missing(name, test);
    }
    found
}

/// Python with these modules; `None`, said on standard error, when something is missing and not demanded.
pub(crate) fn require_python(modules: &str, test: &str) -> Option<PathBuf> {
    let python = require_program("python3", test)?;
    let mut command = Command::new(&python);
    let has_them = process::run("python3", command.args(["-c", &format!("import {modules}")])).code() == Some(0);
    if !has_them {
        say_missing(&format!("Python with the modules {modules}"), test);
    }
    has_them.then_some(python)
}

/// The folder where Node finds these modules, below the one that `PORTCULLIS_PEER_MODULES` names; `None`, said on standard
/// error, when something is missing and not demanded.
pub(crate) fn require_modules(modules: &[&str], test: &str) -> Option<PathBuf> {
    let folder = env::var_os("PORTCULLIS_PEER_MODULES").map(PathBuf::from).unwrap_or_default().join("node_modules");
    let has_them = folder.is_absolute() && modules.iter().all(|module| folder.join(module).is_dir());
    if !has_them {
        say_missing(&format!("PORTCULLIS_PEER_MODULES, a folder with node_modules/{{{}}},", modules.join(",")), test);
    }
    has_them.then_some(folder)
}

#[test]
fn a_program_is_found_on_the_path_or_reported_missing() {
    assert!(require_program("sh", "here").is_some());
    if env::var_os("PORTCULLIS_REQUIRE_PEERS").is_none() {
        assert!(require_program("no-such-program-anywhere", "here").is_none());
    }
}
