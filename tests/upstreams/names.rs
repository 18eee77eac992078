//! Servers that are written as names, in a world where the name moves: the gateway has files of its own in the place of
//! `/etc/hosts` and `/etc/resolv.conf`, and nobody on the network is asked.
use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, process::Command, time::Duration};

use super::{builder, get};
use crate::support::{
    fixture::good_bearer,
    gateway::{BINARY, Gateway},
    peers::{missing, require_program},
    problem::check_problem,
    process,
    server::free_address,
    upstream::Upstream,
    waiting::eventually,
};

/// Names are looked up every 30 seconds, every 5 while they are unknown; the rest is for a machine that is busy.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(45);
const KEEPS_TO_ITSELF: &str = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";

/// A gateway before `orders.internal`, whose address is what the file `hosts` in its folder says. `None`, said on standard error,
/// where files cannot be put in the place of others and that is not demanded.
fn start(port: u16, test: &str) -> Option<Gateway> {
    require_program("unshare", test)?;
    let probed = process::run("unshare", Command::new("unshare").args(["--mount", "true"]));
    if probed.code() != Some(0) {
        return missing("the user root", test);
    }
    let builder = builder(&format!("{{servers: [\"orders.internal:{port}\"], timeouts: {{connect: 500ms}}}}"));
    let folder = builder.folder().to_path_buf();
    fs::write(folder.join("hosts"), "").unwrap();
    fs::write(folder.join("resolv.conf"), KEEPS_TO_ITSELF).unwrap();
    let program = folder.join("start");
    let script = format!(
        "#!/bin/sh\nset -e\nexec unshare --mount sh -c '\n  set -e\n  mount --bind \"$0/hosts\" /etc/hosts\n  mount --bind \
         \"$0/resolv.conf\" /etc/resolv.conf\n  exec {BINARY} \"$@\"' {} \"$@\"\n",
        folder.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    Some(builder.program(&program).start())
}

/// One at the same port of another loopback address.
fn at(host: u8, port: u16) -> Upstream {
    Upstream::start_at(SocketAddr::from(([127, 0, 0, host], port)))
}

#[test]
fn a_name_is_followed_as_it_moves() {
    let port = free_address().port();
    let (first, second) = (at(2, port), at(3, port));
    let Some(gateway) = start(port, "a_name_is_followed") else { return };
    let hosts = gateway.folder().path().join("hosts");
    let token = good_bearer();
    let status = || gateway.get("/orders", &[("Authorization", &token)]).status;
    // The name of no address is asked for in vain, and no request waits for an answer.
    check_problem(&get(&gateway), 502, "upstream_unreachable", "GET");
    fs::write(&hosts, "127.0.0.2 orders.internal\n").unwrap();
    let found = eventually(FOLLOWED_WITHIN, || (status() == 200).then_some(()));
    assert!(found.is_some(), "{}", gateway.account().stderr);
    assert!((first.take().len(), second.take().len()) == (1, 0));
    fs::write(&hosts, "127.0.0.3 orders.internal\n").unwrap();
    let moved = eventually(FOLLOWED_WITHIN, || {
        assert_eq!(status(), 200, "{}", gateway.account().stderr);
        (!second.requests().is_empty()).then_some(())
    });
    assert!(moved.is_some(), "{}", gateway.account().stderr);
    // There is a connection to the old address in the pool, and it serves no request any more.
    first.take();
    for _ in 0..10 {
        assert_eq!(status(), 200);
    }
    assert!(first.take().is_empty());
}
