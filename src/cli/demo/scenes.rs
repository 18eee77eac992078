//! What the demonstration shows: requests, as curl lines for people and as checks for `--check`.
use std::{
    fmt::Write as _,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use crate::{
    cli::demo::issuer::{Issuer, IssuerError},
    gate::rejection::Rejection,
};

/// Longest wait for the gateway to be ready, and for one answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two looks whether it is ready.
const PAUSE: Duration = Duration::from_millis(50);

/// One request and what must come of it.
pub(super) struct Scene {
    title: &'static str,
    path: &'static str,
    token: Option<String>,
    headers: &'static [&'static str],
    status: u16,
    /// What the service behind must have been told, or the refusal must say.
    shows: &'static [&'static str],
    /// What must not be there.
    hides: &'static [&'static str],
}

const OK: u16 = 200;

/// The scenes, with fresh tokens.
pub(super) fn all(issuer: &Issuer) -> Result<Vec<Scene>, IssuerError> {
    let reader = issuer.token(&["reader"], Duration::ZERO)?;
    let refused = |title, path, token, rejection: Rejection| Scene {
        title,
        path,
        token,
        headers: &[],
        status: rejection.row().status,
        shows: &[],
        hides: &["X-User-ID"],
    };
    Ok(vec![
        Scene {
            title: "allowed: the service is told who it is",
            path: "/orders/1",
            token: Some(reader.clone()),
            headers: &[],
            status: OK,
            shows: &["X-User-ID: alice", "X-User-Roles: reader", "X-User-Email: alice@demo.test"],
            hides: &["Authorization"],
        },
        refused("no token", "/orders/1", None, Rejection::TokenMissing),
        refused("an expired token", "/orders/1", Some(issuer.expired_token()?), Rejection::TokenExpired),
        refused("a role that alice has not", "/admin", Some(reader.clone()), Rejection::RoleMissing),
        Scene {
            title: "allowed with the role admin",
            path: "/admin",
            token: Some(issuer.token(&["reader", "admin"], Duration::ZERO)?),
            headers: &[],
            status: OK,
            shows: &["X-User-Roles: reader,admin"],
            hides: &["Authorization"],
        },
        Scene {
            title: "a forged X-User-ID beside a good token",
            path: "/orders/1",
            token: Some(reader),
            headers: &["X-User-ID: admin", "X_User_Id: admin", "X-User-Roles: admin"],
            status: OK,
            shows: &["X-User-ID: alice", "X-User-Roles: reader"],
            hides: &[": admin"],
        },
        Scene {
            title: "a forged X-User-ID on a public route",
            path: "/public",
            token: None,
            headers: &["X-User-ID: admin"],
            status: OK,
            shows: &["GET /public"],
            hides: &["admin"],
        },
    ])
}

/// Prints the scenes as lines to paste.
pub(super) fn print(scenes: &[Scene], listen: SocketAddr, admin: SocketAddr, output: &mut dyn Write) -> io::Result<()> {
    writeln!(output, "portcullis is listening on http://{listen}, its admin page is http://{admin}/\n")?;
    for scene in scenes {
        writeln!(output, "# {} -> {}", scene.title, scene.status)?;
        let mut line = "curl -i".to_owned();
        if let Some(token) = &scene.token {
            let _ = write!(line, " -H 'Authorization: Bearer {token}'");
        }
        for header in scene.headers {
            let _ = write!(line, " -H '{header}'");
        }
        writeln!(output, "{line} http://{listen}{}\n", scene.path)?;
    }
    writeln!(output, "# what it did\ncurl http://{admin}/metrics\n\nStop it with Ctrl-C.")
}

/// Plays the scenes and prints a table; answers whether all came out as they should.
pub(super) fn check(scenes: &[Scene], listen: SocketAddr, admin: SocketAddr, output: &mut dyn Write) -> bool {
    let mut passed = 0;
    let mut table = String::new();
    if !is_ready(admin) {
        table.push_str("the gateway did not become ready\n");
    } else {
        for scene in scenes {
            let fault = scene.play(listen).err();
            passed += usize::from(fault.is_none());
            let verdict = if fault.is_none() { "ok  " } else { "FAIL" };
            let _ = writeln!(table, "{verdict} {} {:<42} {}", scene.status, scene.title, fault.unwrap_or_default());
        }
    }
    let _ = writeln!(table, "{passed} of {} as they should be", scenes.len());
    output.write_all(table.as_bytes()).is_ok() && passed == scenes.len()
}

fn is_ready(admin: SocketAddr) -> bool {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if ask(admin, "/readyz", &[]).is_ok_and(|(status, _)| status == OK) {
            return true;
        }
        thread::sleep(PAUSE);
    }
    false
}

impl Scene {
    fn play(&self, listen: SocketAddr) -> Result<(), String> {
        let mut headers: Vec<String> = self.headers.iter().map(|header| (*header).to_owned()).collect();
        headers.extend(self.token.iter().map(|token| format!("Authorization: Bearer {token}")));
        let (status, body) = ask(listen, self.path, &headers).map_err(|error| error.to_string())?;
        if status != self.status {
            return Err(format!("the status was {status}"));
        }
        if let Some(absent) = self.shows.iter().find(|text| !body.contains(**text)) {
            return Err(format!("{absent:?} was not shown"));
        }
        match self.hides.iter().find(|text| body.contains(**text)) {
            Some(present) => Err(format!("{present:?} was shown")),
            None => Ok(()),
        }
    }
}

/// One request on a connection of its own: status and body.
fn ask(address: SocketAddr, path: &str, headers: &[String]) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for header in headers {
        let _ = write!(request, "{header}\r\n");
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes())?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "no HTTP response");
    let (head, body) = response.split_once("\r\n\r\n").ok_or_else(malformed)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(malformed)?;
    Ok((status, body.to_owned()))
}
