//! A real browser visits pages of three origins and tells what it could read and send: the rules here are those of browsers, so
//! that a browser has the last word.
use std::{
    collections::HashMap,
    path::Path,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};

use super::{expired, token};
use crate::support::{
    fixture::{self, keys_file},
    folder::Folder,
    gateway::Gateway,
    peers,
    process::Process,
    server::{Server, free_address},
    upstream::Upstream,
    waiting::eventually,
    wire::{Address, Head, Wire},
};

/// How long the browser may take for all its pages: it starts slowly on a busy machine.
const BROWSER_PATIENCE: Duration = Duration::from_secs(60);

const ROUTES: &str = r#"
  - name: app
    path_prefix: /app
    token: {sources: [{cookie: __Host-session}, {header: Authorization}]}
    csrf: {}
    cors: {origins: ["{page}"], headers: [authorization, content-type], credentials: true}
    upstream: echo
  - {name: closed, path_prefix: /closed, upstream: echo}
  - {name: down, path_prefix: /down, auth: none, cors: {origins: ["{page}"]}, upstream: nobody}
  - {name: pages, path_prefix: /pages, auth: none, upstream: pages}
"#;

/// Asks for everything in `asks` in turn, tells the results, and goes on to the next page.
const SCRIPT: &str = r#"
async function ask([name, url, options]) {
  try {
    const response = await fetch(url, options);
    const text = await response.text();
    let json = {};
    try { json = JSON.parse(text); } catch { }
    return [name, {
      status: response.status, reason: json.reason ?? null, type: response.type,
      challenge: response.headers.get("WWW-Authenticate"), id: response.headers.get("X-Request-Id") !== null,
      user: (json.headers ?? []).filter(([name]) => name.toLowerCase() === "x-user-id").map(([, value]) => value).join(),
    }];
  } catch (error) {
    return [name, { error: error.name }];
  }
}
function socket([name, url]) {
  return new Promise((resolve) => {
    const socket = new WebSocket(url);
    socket.onopen = () => resolve([name, { opened: true }]);
    socket.onerror = () => resolve([name, { opened: false }]);
  });
}
async function visit(page, asks, sockets, next) {
  const results = [];
  for (const one of asks) results.push(await ask(one));
  for (const one of sockets) results.push(await socket(one));
  await fetch(page, { method: "POST", mode: "no-cors", body: JSON.stringify(Object.fromEntries(results)) });
  next();
}
"#;

/// What the pages told, by name.
type Told = Arc<Mutex<HashMap<String, Value>>>;

/// Serves pages, whose targets are names in `pages`, and takes what they tell: a POST to `/told/NAME`.
fn serve(mut wire: Wire, pages: &Mutex<HashMap<&'static str, String>>, told: &Told) {
    while let Ok(Some(raw)) = wire.read_head() {
        let head = Head::parse(raw);
        let Ok((body, _)) = wire.read_body(&head) else { return };
        let mut page = String::new();
        if let Some(name) = head.target().strip_prefix("/told/") {
            let value = serde_json::from_slice(&body).unwrap_or(Value::Null);
            told.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), value);
        } else {
            let name = head.target().rsplit('/').next().unwrap_or_default();
            page = pages.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default();
        }
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nCache-Control: no-store\r\nContent-Length: {}\r\n\r\n{page}",
            page.len()
        );
        if wire.send(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn page(name: &str, told: &str, before: &str, asks: &[Value], sockets: &[Value], next: &str) -> String {
    let (asks, sockets) = (json!(asks), json!(sockets));
    format!(
        "<!doctype html><title>{name}</title><script>{SCRIPT}{before};\
         addEventListener('load', () => visit('{told}/told/{name}', {asks}, {sockets}, () => {{ {next} }}));</script><body>"
    )
}

fn open(program: &Path, folder: &Folder, url: &str) -> Process {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap_or_default())
        .env("HOME", folder.path())
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server"])
        // Keeps it running when the page is loaded.
        .arg("--remote-debugging-port=0")
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(url);
    Process::spawn("chromium", &mut command)
}

/// The origins that pages come from, and the gateway's.
struct Origins {
    /// Listed in `cors`; of the gateway's site.
    app: String,
    /// Of the gateway's site too, so that browsers send cookies along, but not listed.
    sibling: String,
    /// Another site.
    evil: String,
    /// The gateway's.
    api: String,
}

impl Origins {
    /// Browsers know that all names below `localhost` are this machine, and take `site.localhost` for a site.
    fn new(pages: &Address, gateway: &Address) -> Self {
        let origin = |host: &str, address: &Address| {
            format!("http://{host}.localhost:{}", address.to_string().rsplit(':').next().unwrap())
        };
        Self {
            app: origin("app.site", pages),
            sibling: origin("blog.site", pages),
            evil: origin("evil", pages),
            api: origin("api.site", gateway),
        }
    }
}

/// What pages ask for with a token that they hold, and without.
fn asks_with_headers(api: &str) -> Vec<Value> {
    let bearer = format!("Bearer {}", token());
    let json_body = json!({"Authorization": bearer, "Content-Type": "application/json"});
    vec![
        json!(["with a token", format!("{api}/app/a"), {"headers": {"Authorization": bearer}}]),
        json!(["without", format!("{api}/app/b"), {}]),
        json!(["expired", format!("{api}/app/c"), {"headers": {"Authorization": format!("Bearer {}", expired())}}]),
        json!(["put", format!("{api}/app/d"), {"method": "PUT", "body": "{}", "headers": json_body}]),
        json!(["another header", format!("{api}/app/e"), {"headers": {"Authorization": bearer, "X-Other": "1"}}]),
        json!(["a route without cors", format!("{api}/closed"), {"headers": {"Authorization": bearer}}]),
        json!(["a service that is down", format!("{api}/down"), {}]),
    ]
}

/// What pages ask for with the cookie that the browser holds. `who` is part of the paths.
fn asks_with_cookie(api: &str, who: &str) -> Vec<Value> {
    let write = json!({"method": "POST", "body": "{}", "credentials": "include"});
    let unread = json!({"method": "POST", "body": "{}", "credentials": "include", "mode": "no-cors"});
    vec![
        json!(["read", format!("{api}/app/read-{who}"), {"credentials": "include"}]),
        json!(["write", format!("{api}/app/write-{who}"), write]),
        json!(["write unread", format!("{api}/app/unread-{who}"), unread]),
    ]
}

/// A walk through all pages, one browser start for all of them.
fn pages_of(origins: &Origins) -> HashMap<&'static str, String> {
    let Origins { app, sibling, evil, api } = origins;
    let go = |to: String| format!("location = '{to}'");
    let asks = asks_with_headers(api);
    let cookie = format!("document.cookie = '__Host-session={}; Path=/; Secure; SameSite=None'", token());
    let sockets = [json!(["socket", format!("{}/app/socket", api.replace("http://", "ws://"))])];
    let form = format!("<form id=f method=post action='{api}/app/form'><input name=a value=b></form>");
    let submit = "document.getElementById('f').submit()";
    HashMap::from([
        ("allowed", page("allowed", app, "", &asks, &[], &go(format!("{evil}/foreign")))),
        ("foreign", page("foreign", app, "", &asks, &[], &go(format!("{api}/pages/own")))),
        ("own", page("own", app, &cookie, &asks_with_cookie("", "own"), &[], &go(format!("{app}/session")))),
        ("session", page("session", app, "", &asks_with_cookie(api, "app"), &[], &go(format!("{sibling}/sibling")))),
        (
            "sibling",
            page("sibling", app, "", &asks_with_cookie(api, "sibling"), &sockets, &go(format!("{evil}/forger"))),
        ),
        ("forger", page("forger", app, "", &asks_with_cookie(api, "evil"), &sockets, submit) + &form),
    ])
}

/// A gateway, the service behind it, and who serves the pages.
struct Stage {
    gateway: Gateway,
    upstream: Upstream,
    origins: Origins,
    told: Told,
    _pages: Server,
}

impl Stage {
    fn start() -> Self {
        let pages: Arc<Mutex<HashMap<&'static str, String>>> = Arc::default();
        let told = Told::default();
        let server = Server::on_tcp({
            let (pages, told) = (pages.clone(), told.clone());
            move |wire| serve(wire, &pages, &told)
        });
        let upstream = Upstream::start();
        let (nobody, here) = (free_address(), server.address());
        let others = format!("  nobody: {{servers: [\"{nobody}\"]}}\n  pages: {{servers: [\"{here}\"]}}\n  echo: ");
        let gateway = Gateway::builder(fixture::config("", ROUTES).replace("  echo: ", &others))
            .set("upstream", upstream.address())
            .set("page", Origins::new(here, here).app)
            .file("keys.json", keys_file())
            .start();
        let origins = Origins::new(here, gateway.address());
        *pages.lock().unwrap() = pages_of(&origins);
        Self { gateway, upstream, origins, told, _pages: server }
    }

    /// What a page told, once it did.
    fn told(&self, name: &str) -> Value {
        let find = || self.told.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        eventually(BROWSER_PATIENCE, find).unwrap_or_else(|| panic!("nothing was told by the page {name}"))
    }

    fn check_refused(&self, path: &str) {
        let line = self.gateway.log_line(|line| line["path"] == path && line["auth"]["reason"] == "csrf_rejected");
        assert_eq!(line.unwrap_or_else(|| panic!("{path} was not refused"))["status"], 403, "{path}");
    }
}

fn check_what_an_allowed_page_reads(told: &Value) {
    let read = |status: u16, reason: Option<&str>, challenge: Option<&str>, user: &str, id: bool| json!({"status": status, "reason": reason, "type": "cors", "challenge": challenge, "user": user, "id": id});
    let unread = json!({"error": "TypeError"});
    let expired = "Bearer realm=\"api\", error=\"invalid_token\", error_description=\"The token has expired\"";
    let expected = json!({
        "with a token": read(200, None, None, "u1", false),
        "without": read(401, Some("token_missing"), Some("Bearer realm=\"api\""), "", true),
        "expired": read(401, Some("token_expired"), Some(expired), "", true),
        "put": read(200, None, None, "u1", false),
        "another header": unread,
        "a route without cors": unread,
        "a service that is down": read(502, Some("upstream_unreachable"), None, "", true),
    });
    assert_eq!(*told, expected);
}

#[test]
fn a_browser_lets_pages_of_allowed_origins_read_and_no_page_of_another_act() {
    let Some(program) = peers::require_program("chromium", "browsers::chromium") else { return };
    let stage = Stage::start();
    let folder = Folder::new();
    let mut browser = open(&program, &folder, &format!("{}/allowed", stage.origins.app));
    check_what_an_allowed_page_reads(&stage.told("allowed"));
    let unread = json!({"error": "TypeError"});
    let foreign = stage.told("foreign");
    assert!(foreign.as_object().unwrap().values().all(|told| *told == unread), "{foreign}");
    for (name, kind) in [("own", "basic"), ("session", "cors")] {
        let told = stage.told(name);
        for ask in ["read", "write"] {
            let got = (&told[ask]["status"], &told[ask]["type"], &told[ask]["user"]);
            assert_eq!(got, (&json!(200), &json!(kind), &json!("u1")), "{name} {ask}: {told}");
        }
    }
    for name in ["sibling", "forger"] {
        let told = stage.told(name);
        assert_eq!((&told["read"], &told["write"]), (&unread, &unread), "{name}");
        assert_eq!(told["socket"], json!({"opened": false}), "{name}");
    }
    for path in ["/app/write-sibling", "/app/unread-sibling", "/app/socket", "/app/form"] {
        stage.check_refused(path);
    }
    // All its processes end with it.
    browser.signal("TERM");
    assert!(browser.end(BROWSER_PATIENCE).is_some(), "the browser does not end");
    let seen = stage.upstream.take();
    let seen: Vec<String> = seen.iter().map(|seen| format!("{} {}", seen.method(), seen.target())).collect();
    let expected = [
        "GET /app/a",
        "PUT /app/d",
        "GET /app/read-own",
        "POST /app/write-own",
        "POST /app/unread-own",
        "GET /app/read-app",
        "POST /app/write-app",
        "POST /app/unread-app",
        // The answer to this one is kept from the page, and it changes nothing.
        "GET /app/read-sibling",
    ];
    assert_eq!(seen, expected);
}
