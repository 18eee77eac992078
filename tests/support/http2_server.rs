//! A server that speaks nothing but HTTP/2: Node's own.
use std::{net::SocketAddr, path::Path, process::Command};

use serde_json::Value;

use super::{folder::Folder, peers::require_program, process::Process, waiting::PATIENCE};

/// Tells its address, each session and each request in one line of JSON. `/refuse` refuses each second stream, unprocessed;
/// `/last` is the last request of its session; `/slow` waits for the next request.
const SCRIPT: &str = r#"
const http2 = require('node:http2');
const fs = require('node:fs');
const [certificates] = process.argv.slice(2);
const say = (line) => process.stdout.write(JSON.stringify(line) + '\n');
const file = (name) => fs.readFileSync(`${certificates}/${name}`);
const server = certificates
  ? http2.createSecureServer({
      cert: file('certificate.pem'), key: file('key.pem'), ca: file('clients.pem'), requestCert: true, rejectUnauthorized: true,
    })
  : http2.createServer();
let sessions = 0;
let refusals = 0;
const held = [];
server.on('session', (session) => {
  session.number = ++sessions;
  session.on('error', () => {});
  const peer = session.socket.getPeerCertificate ? session.socket.getPeerCertificate().serialNumber : undefined;
  say({ session: session.number, peer });
});
server.on('stream', (stream, headers) => {
  stream.on('error', () => {});
  const seen = { session: stream.session.number, method: headers[':method'], path: headers[':path'],
    authority: headers[':authority'], scheme: headers[':scheme'], user: headers['x-user-id'], id: headers['x-test'] };
  if (seen.path === '/refuse' && refusals++ % 2 === 0) {
    say({ refused: seen });
    stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
    return;
  }
  let body = '';
  stream.on('data', (data) => { body += data; });
  stream.on('end', () => {
    say({ seen });
    const answer = () => {
      if (stream.destroyed) return;
      stream.respond({ ':status': 200, 'content-type': 'application/json' });
      stream.end(JSON.stringify({ ...seen, body }));
    };
    if (seen.path === '/slow') held.push(answer); else answer();
    if (held.length >= 10) held.splice(0).forEach((answer) => answer());
    if (seen.path === '/last') stream.session.close();
  });
});
server.listen(0, '127.0.0.1', () => say({ port: server.address().port }));
"#;

/// The server; it ends when it is dropped.
pub(crate) struct Http2Server {
    process: Process,
    address: SocketAddr,
    _folder: Folder,
}

impl Http2Server {
    /// Starts it without TLS, or with the certificates of a folder and for clients alone that `clients.pem` there vouches for;
    /// `None`, said on standard error, when there is no Node.
    pub(crate) fn start(certificates: Option<&Path>) -> Option<Self> {
        let node = require_program("node", "HTTP/2 to upstreams")?;
        let folder = Folder::new();
        let mut command = Command::new(node);
        command.arg(folder.write("server.js", SCRIPT)).args(certificates);
        let process = Process::spawn("node", &mut command);
        let port =
            process.wait_until(PATIENCE, |account| lines(&account.stdout).find_map(|line| line["port"].as_u64()));
        let port = u16::try_from(port.expect("it listens")).unwrap();
        Some(Self { process, address: SocketAddr::from(([127, 0, 0, 1], port)), _folder: folder })
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests that it answered.
    pub(crate) fn seen(&self) -> Vec<Value> {
        self.told("seen")
    }

    /// Those that it refused without a look.
    pub(crate) fn refused(&self) -> Vec<Value> {
        self.told("refused")
    }

    /// How many connections there were.
    pub(crate) fn sessions(&self) -> usize {
        self.told("session").len()
    }

    /// The serial numbers of the certificates that were shown, one for each connection over TLS.
    pub(crate) fn serial_numbers(&self) -> Vec<Value> {
        self.told("peer")
    }

    fn told(&self, what: &str) -> Vec<Value> {
        lines(&self.process.account().stdout).filter_map(|line| line.get(what).cloned()).collect()
    }
}

fn lines(text: &str) -> impl Iterator<Item = Value> + '_ {
    text.lines().filter_map(|line| serde_json::from_str(line).ok())
}
