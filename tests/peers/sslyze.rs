//! What sslyze sees of a listener as it is without further settings.
use std::{fs, process::Command, time::Duration};

use serde_json::Value;

use super::{Runner, Site};
use crate::support::{process, upstream::Upstream};

const ROUTES: &str = "  - {name: everything, path_prefix: /, auth: none, upstream: echo}\n";

#[test]
fn sslyze_finds_nothing_weak() {
    let Some(python) = Runner::python("sslyze", "peers::sslyze") else { return };
    let upstream = Upstream::start();
    let site = Site::start(ROUTES, &upstream.address().to_string(), "");
    let report = site.gateway.folder().path().join("sslyze.json");
    let mut command = Command::new(&python.program);
    command.args(["-m", "sslyze", "--certinfo_ca_file"]).arg(&site.authority).arg("--json_out").arg(&report);
    command.args(["--sni", "localhost", "--mozilla_config", "intermediate", &format!("127.0.0.1:{}", site.port)]);
    let account = process::run_within(Duration::from_secs(120), "sslyze", &mut command);
    let text = fs::read_to_string(&report).unwrap_or_else(|error| panic!("{error}: {account:?}"));
    let report: Value = serde_json::from_str(&text).unwrap();
    panic!("{}", account.stdout);
}
