//! What systemd is told, on a socket of its kind: ready, alive, stopping.
use std::{os::unix::net::UnixDatagram, time::Duration};

use crate::support::{fixture::builder, folder::Folder, upstream::Upstream};

/// Longest wait for a message.
const PATIENCE: Duration = Duration::from_secs(20);

fn next(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 1024];
    let length = socket.recv(&mut buffer).expect("systemd is told nothing");
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

/// What the pages promise of the unit, and what is beside it relies on.
#[test]
fn the_unit_lifts_the_limit_of_the_journal_and_makes_the_folder_that_logrotate_knows() {
    let read = |place: &str| {
        std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(place)).expect(place)
    };
    let unit = read("systemd/portcullis.service");
    for line in [
        "Type=notify",
        "LogRateLimitIntervalSec=0",
        "LogsDirectory=portcullis",
        "EnvironmentFile=-/etc/default/portcullis",
        "User=portcullis",
        "ExecStart=/usr/bin/portcullis run --config /etc/portcullis/portcullis.yaml",
    ] {
        assert!(unit.lines().any(|written| written == line), "{line} is not in the unit");
    }
    // Nothing later takes it back.
    assert_eq!(unit.matches("LogRateLimit").count(), 1);
    let rotation = read("contrib/logrotate/portcullis");
    assert!(
        rotation.contains("\n/var/log/portcullis/*.log {\n") && rotation.contains("--signal=USR1 portcullis.service")
    );
    let users = read("packaging/sysusers.d/portcullis.conf");
    assert!(users.lines().any(|line| line.starts_with("u portcullis -")), "{users}");
}

#[test]
fn systemd_is_told_when_the_process_is_ready_alive_and_stopping() {
    let folder = Folder::new();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let upstream = Upstream::start();
    let routes = "\n  - {name: public, path_prefix: /, auth: none, upstream: echo}";
    let mut gateway = builder("", routes, &upstream)
        .env("NOTIFY_SOCKET", path.to_str().unwrap())
        .env("WATCHDOG_USEC", "400000")
        .start();
    let ready = next(&socket);
    assert!(ready.starts_with("READY=1\n") && ready.contains("STATUS=listening on "), "{ready:?}");
    assert!(next(&socket).contains("WATCHDOG=1"));
    assert!(next(&socket).contains("WATCHDOG=1"), "again and again");
    let other = || std::iter::from_fn(|| Some(next(&socket))).find(|message| !message.contains("WATCHDOG=1")).unwrap();
    gateway.signal("HUP");
    let reloading = other();
    let moment = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{reloading:?}"));
    assert!(moment.trim().parse::<u64>().unwrap() > 0, "{reloading:?}");
    let reloaded = other();
    assert!(reloaded.starts_with("READY=1\nSTATUS=") && reloaded.contains("1 of 1 issuers with"), "{reloaded:?}");
    std::fs::write(gateway.config_file(), "listeners: nowhere\n").unwrap();
    gateway.signal("HUP");
    assert!(other().starts_with("RELOADING=1\n"));
    let failed = other();
    assert!(failed.starts_with("READY=1\nSTATUS=") && failed.contains("RELOAD FAILED"), "{failed:?}");
    gateway.signal("USR1");
    gateway.signal("USR2");
    assert_eq!(gateway.get("/x", &[]).status, 200, "no such signal ends it");
    gateway.signal("TERM");
    let stopping = other();
    assert!(stopping.starts_with("STOPPING=1\n"), "{stopping:?}");
    assert_eq!(gateway.end(PATIENCE).code(), Some(0));
}
