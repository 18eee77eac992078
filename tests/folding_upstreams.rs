//! Services that fold header names, for real: a WSGI application of Python's standard library, and nginx with
//! `underscores_in_headers on`. What counts is what the application itself sees under the name of the identity header.
use std::process::Command;

use serde_json::Value;

use crate::{
    corpora::spoofed::{FORGED, forgery},
    support::{
        client, corpora,
        fixture::{self, good_bearer},
        folder::Folder,
        gateway::Gateway,
        peers::require_program,
        process::Process,
        server::free_address,
        waiting::{PATIENCE, eventually},
        wire::{Address, Wire},
    },
};

const ROUTES: &str = r#"
  - {name: public, path_prefix: /public, auth: none, upstream: echo}
  - {name: required, path_prefix: /required, upstream: echo}
"#;

/// Answers with every variable of the request that begins as header fields do, in JSON.
const WSGI: &str = r#"
import json, sys
from wsgiref.simple_server import WSGIRequestHandler, make_server

class Quiet(WSGIRequestHandler):
    def log_message(self, *arguments):
        pass

def application(environ, start_response):
    if environ.get('HTTP_TRANSFER_ENCODING', '').lower() == 'chunked':
        # Read to the end, so that nothing unread resets the connection.
        while environ['wsgi.input'].readline() not in (b'', b'0\r\n'):
            pass
        while environ['wsgi.input'].readline() not in (b'', b'\r\n'):
            pass
    body = json.dumps({name: value for name, value in environ.items() if name.startswith('HTTP_')}).encode()
    start_response('200 OK', [('Content-Type', 'application/json'), ('Content-Length', str(len(body)))])
    return [body]

server = make_server('127.0.0.1', int(sys.argv[1]), application, handler_class=Quiet)
server.serve_forever()
"#;

/// The same of the two variables of identity headers, in its own configuration's words.
const NGINX: &str = r#"
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr error;
events {}
http {
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    large_client_header_buffers 8 32k;
    server {
        listen {address};
        underscores_in_headers on;
        ignore_invalid_headers off;
        default_type application/json;
        location / {
            return 200 '{"HTTP_X_USER_ID":"$http_x_user_id","HTTP_X_USER_ROLES":"$http_x_user_roles"}';
        }
    }
}
"#;

/// A service that folds names.
struct Folding {
    _process: Process,
    _folder: Folder,
    address: Address,
}

impl Folding {
    fn start(name: &str, folder: Folder, mut command: Command, address: Address) -> Self {
        let process = Process::spawn(name, command.current_dir(folder.path()));
        let listens = eventually(PATIENCE, || Wire::connect(&address).ok());
        assert!(listens.is_some(), "{name} does not listen: {}", process.account().stderr);
        Self { _process: process, _folder: folder, address }
    }

    fn python() -> Option<Self> {
        let program = require_program("python3", "a WSGI application behind the gateway")?;
        let (folder, address) = (Folder::new(), free_address());
        let script = folder.write("application.py", WSGI);
        let mut command = Command::new(program);
        command.arg(script).arg(address.port().to_string());
        Some(Self::start("python3", folder, command, Address::Tcp(address)))
    }

    fn nginx() -> Option<Self> {
        let program = require_program("nginx", "nginx behind the gateway")?;
        let (folder, address) = (Folder::new(), free_address());
        let text =
            NGINX.replace("{folder}", &folder.path().display().to_string()).replace("{address}", &address.to_string());
        let config = folder.write("nginx.conf", text);
        let mut command = Command::new(program);
        command.arg("-e").arg("stderr").arg("-p").arg(folder.path()).arg("-c").arg(config);
        Some(Self::start("nginx", folder, command, Address::Tcp(address)))
    }
}

/// Own spellings, beside those of the corpus: lines of the head.
fn spellings() -> Vec<String> {
    let names = [
        "X-User-ID",
        "x-user-id",
        "X_User_ID",
        "X-User_ID",
        "X_User-ID",
        "x.user.id",
        "X.User_ID",
        "X_USER_ID",
        "x_user_id",
        "XUserID",
        "X--User--ID",
        "X__User__ID",
        "-X-User-ID",
        "X-User-ID_",
        "X~User~ID",
        "X!User_ID",
        "HTTP_X_USER_ID",
        "HTTP-X-User-ID",
        "X_User_Roles",
        "x_user-roles",
        "X.User.Roles",
    ];
    let line = |name: &str| format!("{name}: {FORGED}\r\n");
    let mut spellings: Vec<String> = names.iter().map(|name| line(name)).collect();
    spellings.push(format!("{}{}", line("x-user-id"), line("x-user-id")));
    spellings.push(format!("{}{}{}", line("X_User_ID"), line("X-User-ID"), line("x_user_id")));
    spellings.push(format!("X-User-ID: u1\r\nX_User_ID: u1, {FORGED}\r\n"));
    spellings.push(format!("Connection: keep-alive, X-Foo\r\nX-Foo: 1\r\n{}", line("X_User_ID")));
    spellings
}

/// What the application sees; nothing when the request was refused.
fn view(address: &Address, path: &str, lines: &str, trailers: &str) -> Option<Value> {
    let body = if trailers.is_empty() { "" } else { "2\r\nhi\r\n0\r\n" };
    let framing = if trailers.is_empty() { "" } else { "Transfer-Encoding: chunked\r\n" };
    let end = if trailers.is_empty() { "" } else { "\r\n" };
    let request = format!("POST {path} HTTP/1.1\r\nHost: api.test\r\n{lines}{framing}\r\n{body}{trailers}{end}");
    let response = client::exchange(address, &request).unwrap_or_else(|error| panic!("{request:?}: {error}"));
    (response.status == 200).then(|| response.json())
}

fn assert_only_proven(view: &Value, subject: &str, spelling: &str) {
    let value = |name: &str| view[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (value("HTTP_X_USER_ID").as_str(), value("HTTP_X_USER_ROLES").as_str()),
        (subject, ""),
        "{spelling:?}: {view}"
    );
    // A name that only resembles an owned one is another variable, and no identity.
    let resembling = spelling.to_ascii_lowercase().contains("http");
    assert!(resembling || !view.to_string().contains(FORGED), "{spelling:?}: {view}");
}

fn check(folding: &Folding) {
    let gateway = Gateway::builder(fixture::config("", ROUTES))
        .set("upstream", &folding.address)
        .file("keys.json", fixture::keys_file())
        .start();
    // Without the gateway the application believes the client: that is why all this is needed.
    let direct = view(&folding.address, "/", &format!("X_User_ID: {FORGED}\r\n"), "").unwrap();
    assert_eq!(direct["HTTP_X_USER_ID"], FORGED);

    let token = format!("Authorization: {}\r\n", good_bearer());
    let through = |lines: &str, trailers: &str, spelling: &str| {
        let mut refused = 0;
        for (path, token, subject) in [("/public", "", ""), ("/required", token.as_str(), "u1")] {
            match view(gateway.address(), path, &format!("{token}{lines}"), trailers) {
                Some(view) => assert_only_proven(&view, subject, spelling),
                None => refused += 1,
            }
        }
        refused
    };
    for lines in spellings() {
        assert_eq!(through(&lines, "", &lines), 0, "{lines:?}: refused");
        assert_eq!(through("", &lines, &lines), 0, "{lines:?} as trailers: refused");
    }
    for refused in [
        format!("Connection: close, X-User-ID\r\nX_User_ID: {FORGED}\r\n"),
        format!("Connection: X_User_ID\r\nX_User_ID: {FORGED}\r\n"),
        format!("X-Innocent: 1\r\n X_User_ID: {FORGED}\r\n"),
        format!("X_User_ID : {FORGED}\r\n"),
        format!("X-Innocent: 1\nX_User_ID: {FORGED}\r\n"),
        format!("X-Innocent: 1\rX_User_ID: {FORGED}\r\n"),
    ] {
        assert_eq!(through(&refused, "", &refused), 2, "{refused:?}: passed");
    }
    let Some(folder) = corpora::folder("identity header spellings in front of applications") else { return };
    let document = corpora::json(&folder, "header_spoof/identity_header_names.json");
    let ways = document["spellings"].as_array().unwrap();
    for (way, name) in
        ways.iter().flat_map(|way| ["X-User-ID", "X-User-Roles"].map(|name| (way.as_str().unwrap(), name)))
    {
        let forgery = forgery(way, name);
        let refused = through(&forgery.lines, &forgery.trailers, way);
        assert_eq!(refused, if forgery.is_refused { 2 } else { 0 }, "{name}, {way}");
    }
}

#[test]
fn a_wsgi_application_sees_the_proven_identity_whatever_the_client_writes() {
    if let Some(folding) = Folding::python() {
        check(&folding);
    }
}

#[test]
fn nginx_that_folds_underscores_sees_the_proven_identity_whatever_the_client_writes() {
    if let Some(folding) = Folding::nginx() {
        check(&folding);
    }
}
