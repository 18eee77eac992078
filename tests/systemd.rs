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
    gateway.signal("HUP");
    gateway.signal("USR1");
    gateway.signal("USR2");
    assert_eq!(gateway.get("/x", &[]).status, 200, "no such signal ends it");
    gateway.signal("TERM");
    let stopping = std::iter::from_fn(|| Some(next(&socket))).find(|message| !message.contains("WATCHDOG=1")).unwrap();
    assert!(stopping.starts_with("STOPPING=1\n"), "{stopping:?}");
    assert_eq!(gateway.end(PATIENCE).code(), Some(0));
}
