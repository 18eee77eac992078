//! Clients that people use, over every version of HTTP and TLS that a listener speaks: what passes, what is refused, and that no
//! answer is lost when many requests share a connection.
use std::{path::PathBuf, process::Command};

use crate::support::{
    certificates::Authority,
    fixture::{self, House, good_bearer},
    gateway::Gateway,
    peers::{require_program, require_python},
    process::{self, Account},
    upstream::{Answer, Upstream},
};

const ROUTES: &str = "  - {name: public, path_prefix: /public, auth: none, upstream: echo}\n  \
                      - {name: orders, path_prefix: /orders, upstream: echo}\n  \
                      - {name: admin, path_prefix: /admin, upstream: echo, require: {roles: [admin]}}\n";

/// A gateway with TLS for `localhost`, and the file of the authority that clients trust.
struct Site {
    house: House,
    authority: PathBuf,
    port: String,
}

impl Site {
    fn start() -> Self {
        let (upstream, authority) = (Upstream::start(), Authority::new("root"));
        upstream.set_answer(Answer::Echo);
        let listener =
            "address: \"{listen}\", tls: {certificates: [{certificate_file: web.pem, private_key_file: web.key}]}";
        let config = fixture::config("", ROUTES).replace("address: \"{listen}\"", listener);
        let issued = authority.server(&["localhost"]);
        let gateway = Gateway::builder(config)
            .set("upstream", upstream.address())
            .file("keys.json", fixture::keys_file())
            .file("web.pem", issued.certificate)
            .file("web.key", issued.key)
            .start();
        let authority = gateway.folder().write("ca.pem", authority.certificate());
        let port = gateway.address().to_string().rsplit(':').next().unwrap().to_owned();
        Self { house: House { gateway, upstream }, authority, port }
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    /// Runs a script with the site's URL, authority and a good token in its environment.
    fn run_script(&self, program: PathBuf, name: &str, script: &str) -> Account {
        let file = self.house.gateway.folder().write(name, script);
        let mut command = Command::new(program);
        command.arg(file).env("SITE", self.url("")).env("AUTHORITY", &self.authority).env("BEARER", good_bearer());
        command.env("NODE_EXTRA_CA_CERTS", &self.authority);
        process::run(name, &mut command)
    }
}

#[test]
fn h2load_gets_every_answer_over_both_versions_of_http() {
    let Some(h2load) = require_program("h2load", "h2load_gets_every_answer") else { return };
    let site = Site::start();
    let authorization = format!("authorization: {}", good_bearer());
    let rows: &[(&[&str], &str, usize)] = &[
        (&["-n1000", "-c4", "-m25"], "1000 succeeded, 0 failed, 0 errored, 0 timeout", 1000),
        (&["-n300", "-c3", "-m1", "--h1"], "300 succeeded, 0 failed, 0 errored, 0 timeout", 300),
        // With bodies, of which each has its own flow control.
        (&["-n200", "-c2", "-m10", "-d", "body"], "200 succeeded, 0 failed, 0 errored, 0 timeout", 200),
    ];
    let body = site.house.gateway.folder().write("body", vec![b'x'; 100_000]);
    for (arguments, outcome, seen) in rows {
        let mut command = Command::new(&h2load);
        command.current_dir(body.parent().unwrap()).args(*arguments);
        let account = process::run("h2load", command.args(["-H", &authorization, &site.url("/orders")]));
        assert!(account.stdout.contains(outcome), "{arguments:?}: {}{}", account.stdout, account.stderr);
        let came = site.house.upstream.take();
        assert_eq!(came.len(), *seen, "{arguments:?}");
        assert!(came.iter().all(|seen| seen.head.values("x-user-id") == ["u1"] && !seen.contains("Bearer")));
    }
    // And every refusal is an answer too.
    let mut command = Command::new(&h2load);
    let account = process::run("h2load", command.args(["-n500", "-c2", "-m50", &site.url("/orders")]));
    assert!(account.stdout.contains("0 2xx, 0 3xx, 500 4xx, 0 5xx"), "{}", account.stdout);
    assert!(site.house.upstream.take().is_empty());
}

#[test]
fn nghttp_sends_trailers_and_priorities_and_reads_the_answer() {
    let Some(nghttp) = require_program("nghttp", "nghttp_sends_trailers") else { return };
    let site = Site::start();
    let body = site.house.gateway.folder().write("body", "hello");
    let mut command = Command::new(nghttp);
    command.args(["-v", "--no-verify-peer", "--weight=7", "--trailer=x-user-id: root", "-d"]).arg(body);
    let account = process::run("nghttp", command.args([&site.url("/public")]));
    assert!(
        account.stdout.contains("ALPN selected protocol: h2") || account.stdout.contains("negotiated protocol: h2"),
        "{}",
        account.stdout
    );
    assert!(account.stdout.contains(":status: 200"), "{}", account.stdout);
    let seen = site.house.upstream.take();
    assert_eq!((seen.len(), seen[0].body.as_slice()), (1, &b"hello"[..]));
    assert!(!seen[0].contains("root"));
}

#[test]
fn httpx_speaks_http2_with_many_requests_on_one_connection() {
    let Some(python) = require_python("httpx, h2", "httpx_speaks_http2") else { return };
    let site = Site::start();
    let script = r#"
import asyncio, os, ssl, httpx
async def main():
    site, bearer = os.environ["SITE"], {"authorization": os.environ["BEARER"]}
    trust = ssl.create_default_context(cafile=os.environ["AUTHORITY"])
    async with httpx.AsyncClient(http2=True, verify=trust, base_url=site) as client:
        answers = await asyncio.gather(*[
            client.get("/orders/%d" % n, headers=bearer if n % 2 else {}) for n in range(60)])
        assert [a.status_code for a in answers] == [200 if n % 2 else 401 for n in range(60)]
        assert {a.http_version for a in answers} == {"HTTP/2"}
        assert all(a.json()["reason"] == "token_missing" for a in answers[::2])
        assert all(a.headers["www-authenticate"].startswith("Bearer") for a in answers[::2])
        assert (await client.get("/admin", headers=bearer)).status_code == 403
        big = await client.post("/orders", headers=bearer, content=b"y" * 1_000_000)
        assert big.status_code == 200, big
    print("every answer came")
asyncio.run(main())
"#;
    let account = site.run_script(python, "client.py", script);
    assert!(account.stdout.contains("every answer came"), "{}{}", account.stdout, account.stderr);
    let seen = site.house.upstream.take();
    assert_eq!(seen.len(), 31);
    assert!(seen.iter().any(|seen| seen.body.len() == 1_000_000));
}

#[test]
fn node_keeps_its_session_when_some_of_its_streams_are_refused() {
    let Some(node) = require_program("node", "node_keeps_its_session") else { return };
    let site = Site::start();
    let script = r#"
const http2 = require("node:http2");
const session = http2.connect(process.env.SITE);
session.on("error", (error) => { console.log("session:", error.message); process.exit(1); });
session.on("goaway", () => { console.log("sent away"); process.exit(1); });
const ask = (headers, body) => new Promise((resolve, reject) => {
  const stream = session.request({ ":path": "/orders", ":method": body ? "POST" : "GET", ...headers });
  let status, text = "";
  stream.on("response", (head) => { status = head[":status"]; });
  stream.on("data", (data) => { text += data; });
  stream.on("end", () => resolve([status, text]));
  stream.on("error", reject);
  if (body) stream.end(body);
});
(async () => {
  const good = { authorization: process.env.BEARER };
  const asked = [];
  for (let n = 0; n < 80; n++) asked.push(ask(n % 4 ? good : { authorization: "Bearer x.y.z" }, n % 3 ? "" : "body"));
  const answers = await Promise.all(asked);
  const wrong = answers.filter(([status], n) => status !== (n % 4 ? 200 : 401));
  console.log(wrong.length === 0 ? "every answer came" : JSON.stringify(wrong));
  // What is given up does not end what goes on.
  const given = session.request({ ":path": "/orders", ...good });
  given.on("error", () => {});
  given.close(http2.constants.NGHTTP2_CANCEL);
  const [status] = await ask(good);
  console.log("after one that was given up:", status);
  session.close();
})();
"#;
    let account = site.run_script(node, "client.js", script);
    assert!(account.stdout.contains("every answer came"), "{}{}", account.stdout, account.stderr);
    assert!(account.stdout.contains("after one that was given up: 200"), "{}{}", account.stdout, account.stderr);
}

#[test]
fn openssl_is_shown_what_the_listener_speaks_and_nothing_older() {
    let Some(openssl) = require_program("openssl", "openssl_is_shown") else { return };
    let site = Site::start();
    let rows = [
        (&["-tls1_3", "-alpn", "h2,http/1.1"][..], Some("ALPN protocol: h2")),
        (&["-tls1_2", "-alpn", "http/1.1"], Some("ALPN protocol: http/1.1")),
        (&["-tls1_2"], Some("No ALPN negotiated")),
        (&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], None),
        (&["-tls1", "-cipher", "ALL:@SECLEVEL=0"], None),
        // Of TLS 1.2 nothing without forward secrecy, and no CBC.
        (&["-tls1_2", "-cipher", "AES128-GCM-SHA256:AES256-SHA:AES128-SHA"], None),
        (&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA"], None),
        (&["-alpn", "spdy/3"], None),
    ];
    for (arguments, shown) in rows {
        let mut command = Command::new(&openssl);
        command.args([
            "s_client",
            "-connect",
            &format!("127.0.0.1:{}", site.port),
            "-servername",
            "localhost",
            "-CAfile",
        ]);
        command.arg(&site.authority).arg("-verify_return_error").args(arguments).stdin(std::process::Stdio::null());
        let account = process::run("openssl", &mut command);
        match shown {
            Some(text) => assert!(
                account.stdout.contains(text) && account.stdout.contains("Verify return code: 0"),
                "{arguments:?}: {}",
                account.stdout
            ),
            None => assert_ne!(account.code(), Some(0), "{arguments:?}: {}", account.stdout),
        }
    }
}
