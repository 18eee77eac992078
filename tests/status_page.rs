//! The status page: what it answers, to whom, and what a real browser makes of it.
use serde_json::json;

use crate::support::{
    browser::Browser,
    client::{Client, Response},
    fixture::{AUDIENCE, ISSUER, signing_key},
    gateway::Gateway,
    jwks_server::{JwksServer, KeySetAnswer},
    keys::key_set,
    server::free_address,
    token::{Token, bearer},
    upstream::Upstream,
    waiting::{PATIENCE, eventually},
    wire::Address,
};

const READ: &str = "read-0123456789abcdef";
/// What a stranger may write into a token, and an operator into a name.
const HOSTILE: &str = "<script>document.title='taken'</script><img src=x onerror=alert(1)>";

const CONFIG: &str = r#"
listeners: [{name: web, address: "{listen}"}]
admin: {address: "{admin}"{admin_more}}
server: {threads: 1, grace_period: 5s}
issuers:
  main: {issuer: {issuer}, audiences: [{audience}], roles: roles, keys: {jwks_file: keys.json}}
  partner: {issuer: https://partner.test, audiences: [{audience}], keys: {jwks_url: "{jwks}", insecure_http: true, cooldown: 1h}}
route_defaults: {issuers: [main]}
routes:
  - {name: orders, path_prefix: /orders, upstream: echo}
  - {name: reports, path_prefix: /reports, require: {roles: [auditor]}, upstream: echo}
  - {name: legacy, path_prefix: /legacy, insecure_observe_authentication: true, upstream: echo}
  - {name: health, path: /healthz, auth: none, respond: {status: 204}}
  - {name: lost, path: /lost, auth: none, upstream: gone}
  - {name: scarce, path: /scarce, auth: none, rate_limit: {requests: 1, per: 1h, by: address}, respond: {status: 204}}
upstreams:
  echo: {servers: ["{upstream}"]}
  gone: {servers: ["{nobody}"], health_check: {tcp: true, interval: 100ms, timeout: 100ms, unhealthy_threshold: 1}}
"#;

struct House {
    // Ends first.
    gateway: Gateway,
    _upstream: Upstream,
    jwks: JwksServer,
}

impl House {
    fn start(admin_more: &str) -> Self {
        let (upstream, jwks) = (Upstream::start(), JwksServer::start(&[signing_key().jwk()]));
        let gateway = Gateway::builder(CONFIG)
            .set("admin_more", admin_more)
            .set("issuer", ISSUER)
            .set("audience", AUDIENCE)
            .set("jwks", jwks.url())
            .set("upstream", upstream.address())
            .set("nobody", free_address())
            .file("keys.json", key_set(&[signing_key().jwk()]))
            .file("read.token", READ)
            .start();
        Self { gateway, _upstream: upstream, jwks }
    }

    /// Requests that pass, and some of each kind that do not.
    fn visited(self) -> Self {
        let good = bearer(&Token::good().signed_by(signing_key()));
        let foreign = bearer(&Token::good().claim("iss", json!(HOSTILE)).signed_by(signing_key()));
        let get = |path: &str, token: Option<&str>| {
            let headers: Vec<(&str, &str)> = token.iter().map(|token| ("Authorization", *token)).collect();
            self.gateway.get(path, &headers).status
        };
        for _ in 0..20 {
            assert_eq!(get("/orders", Some(&good)), 200);
        }
        let is_known = eventually(PATIENCE, || {
            self.gateway.admin_get("/").text().contains("its health checks fail").then_some(())
        });
        assert!(is_known.is_some(), "{}", self.gateway.admin_get("/").text());
        for (path, token, status, times) in [
            ("/orders", Some(foreign.as_str()), 401, 1),
            ("/orders", None, 401, 3),
            ("/reports", Some(good.as_str()), 403, 2),
            ("/nowhere", None, 404, 1),
            ("/lost", None, 503, 1),
            ("/legacy", None, 200, 4),
            ("/scarce", None, 204, 1),
            ("/scarce", None, 429, 2),
        ] {
            for _ in 0..times {
                assert_eq!(get(path, token), status, "{path}");
            }
        }
        self
    }

    fn page(&self, headers: &[(&str, &str)]) -> Response {
        let host = self.gateway.admin_address().to_string();
        let mut all = headers.to_vec();
        if !headers.iter().any(|(name, _)| *name == "Host") {
            all.push(("Host", host.as_str()));
        }
        Client::connect(self.gateway.admin_address()).request("GET", "/", &all)
    }

    fn url(&self) -> String {
        format!("http://{}/", self.gateway.admin_address())
    }
}

#[test]
fn the_page_answers_what_an_operator_asks_at_night() {
    let house = House::start("").visited();
    house.jwks.set(KeySetAnswer::status(500));
    let socket = Address::Unix(house.gateway.folder().path().join("run/admin.sock"));
    let refreshed = Client::connect(&socket).request("POST", "/issuers/partner/refresh", &[("Host", "localhost")]);
    assert_eq!(refreshed.status, 503);
    let answer = house.gateway.admin_get("/");
    assert_eq!((answer.status, answer.header("Content-Type")), (200, Some("text/html; charset=utf-8")));
    let page = answer.text();
    let missing = house.gateway.log_line(|line| line["auth"]["reason"] == "issuer_unknown").unwrap();
    for part in [
        "<title>ready · portcullis</title>",
        // Issuers, their keys, how old they are, the last error, what comes next.
        "<strong>main</strong>",
        "<strong>partner</strong>",
        signing_key().kid(),
        "when it changes",
        "Issuer partner: the last fetch of its keys failed (good for ",
        // Refusals by reason, and the last ones with their identifiers.
        "<code>token_missing</code> <span class=\"muted small\">401</span>",
        "<code>upstream_unhealthy</code>",
        "&lt;script&gt;",
        missing["request_id"].as_str().unwrap(),
        "legacy: authentication would have refused 4 since the start",
        "Route legacy: authentication is only observed",
        "is down",
        "its health checks fail (",
        "2 requests to scarce by the limit for each address",
        "of clients now · 0 streams",
        env!("CARGO_PKG_VERSION"),
    ] {
        assert!(page.contains(part), "{part} is not on the page:\n{page}");
    }
    assert!(!page.contains("<img src=x") && !page.contains("<script>document"), "{page}");
    let counted: Vec<&str> = page.split("<td class=\"number\">").map(|cell| cell.split('<').next().unwrap()).collect();
    assert!(counted.windows(2).any(|pair| pair == ["3", "3"]), "token_missing in 5 and 15 minutes: {counted:?}");
}

#[test]
fn a_reload_that_failed_is_told_with_its_time_its_reason_and_what_serves_in_its_place() {
    let house = House::start("");
    let page = || house.gateway.admin_get("/").text();
    assert!(page().contains("none since the start"), "{}", page());
    let reload = || house.gateway.run(&["reload", "-c", "portcullis.yaml"]);
    let good = std::fs::read(house.gateway.config_file()).unwrap();
    std::fs::write(house.gateway.config_file(), b"listners: []\n").unwrap();
    assert_eq!(reload().code(), Some(1));
    let told = page();
    for part in [
        "The last reload changed nothing, the configuration from before is in force: ",
        "portcullis.yaml:1:1: ",
        "`listeners` is missing",
        "<span aria-hidden=\"true\">▲</span> failed</span> at <time",
        "the log has all of it",
        "<dt>In force</dt><dd>since <time",
    ] {
        assert!(told.contains(part), "{part} is not on the page:\n{told}");
    }
    let outdated = eventually(PATIENCE, || page().contains("the file is another now").then_some(()));
    assert!(outdated.is_some(), "{}", page());
    if let Some(mut browser) = Browser::start("status_page") {
        browser.screen(1400, "light");
        browser.open(&house.url());
        browser.picture("status-reload-failed");
    }
    std::fs::write(house.gateway.config_file(), good).unwrap();
    assert_eq!(reload().code(), Some(0));
    let told = page();
    assert!(told.contains("</span> taken</span> at <time") && !told.contains("changed nothing"), "{told}");
}

#[test]
fn the_page_is_read_under_the_same_rules_as_everything_else() {
    let house = House::start(", read_token_file: read.token");
    let good = format!("Bearer {READ}");
    type Row<'r> = (&'r [(&'r str, &'r str)], u16, &'r str);
    let rows: [Row<'_>; 5] = [
        (&[], 401, "text/plain; charset=utf-8"),
        (&[("Accept", "text/html,*/*")], 401, "text/html; charset=utf-8"),
        (&[("Accept", "text/html"), ("Authorization", "Bearer wrong-0123456789")], 401, "text/html; charset=utf-8"),
        (&[("Accept", "text/html"), ("Host", "evil.test")], 400, "text/plain; charset=utf-8"),
        (&[("Authorization", &good)], 200, "text/html; charset=utf-8"),
    ];
    for (headers, status, kind) in rows {
        let answer = house.page(headers);
        assert_eq!((answer.status, answer.header("Content-Type")), (status, Some(kind)), "{headers:?}");
        assert_eq!(answer.header("WWW-Authenticate").is_some(), status == 401, "{headers:?}");
        assert_eq!(answer.text().contains("token_missing") || answer.text().contains("Issuers"), status == 200);
        if kind.contains("html") {
            let policy = answer.header("Content-Security-Policy").unwrap();
            assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
            assert_eq!(answer.header("Cache-Control"), Some("no-store"));
        }
    }
    let posted = Client::connect(house.gateway.admin_address()).request(
        "POST",
        "/",
        &[("Host", "localhost"), ("Authorization", &good)],
    );
    assert_eq!((posted.status, posted.header("Allow")), (405, Some("GET, HEAD")));
}

#[test]
fn a_browser_shows_the_page_on_every_screen_and_refreshes_it() {
    let Some(mut browser) = Browser::start("status_page") else { return };
    let house = House::start("").visited();
    for width in [1400, 400] {
        for scheme in ["light", "dark"] {
            browser.screen(width, scheme);
            browser.open(&house.url());
            let wide = browser.evaluate("document.documentElement.scrollWidth").as_u64().unwrap();
            assert!(wide <= u64::from(width), "{wide} pixels on a screen of {width}");
            let background = browser.evaluate("getComputedStyle(document.body).backgroundColor");
            assert_eq!(background == "rgb(13, 18, 24)", scheme == "dark", "{background}");
            browser.picture(&format!("status-{width}-{scheme}"));
        }
    }
    assert_eq!(browser.evaluate("document.title"), "ready · portcullis");
    // What happens meanwhile is there after a while, without a reload.
    browser.evaluate("window.same = true");
    assert_eq!(house.gateway.get("/orders/%zz", &[]).status, 400);
    browser.eventually("document.querySelector('main').innerText.includes('path_ambiguous')");
    assert_eq!(browser.evaluate("window.same"), true);
    assert_eq!(browser.complaints(), [] as [String; 0], "no script failed, and the policy had nothing to refuse");
    // A gateway that is gone is noticed, and what is old is called old.
    house.gateway.stop();
    browser.eventually("!document.getElementById('stale').hidden && document.title.startsWith('NO ANSWER')");
    let shade = browser.evaluate("getComputedStyle(document.querySelector('main')).opacity");
    assert!(shade.as_str().unwrap().parse::<f64>().unwrap() < 0.6, "what is old looks as if it were true: {shade}");
    browser.picture("status-stale");
}

#[test]
fn a_browser_without_scripts_shows_the_page_too() {
    let Some(mut browser) = Browser::start("status_page") else { return };
    let house = House::start("").visited();
    browser.allow_scripts(false);
    browser.open(&house.url());
    let text = browser.evaluate("document.body.innerText");
    for part in ["Ready", "partner", "token_missing", "Reload the page for newer figures"] {
        assert!(text.as_str().unwrap().contains(part), "{part} is not in {text}");
    }
}

#[test]
fn a_browser_is_asked_for_the_token_where_one_is_demanded() {
    let Some(mut browser) = Browser::start("status_page") else { return };
    let house = House::start(", read_token_file: read.token");
    browser.open(&house.url());
    let submit = |token: &str| {
        format!("document.getElementById('secret').value = '{token}'; document.querySelector('form button').click()")
    };
    browser.evaluate(&submit("wrong-0123456789abcdef"));
    browser.eventually("document.getElementById('wrong').innerText.includes('not accepted')");
    browser.picture("status-token");
    browser.evaluate(&submit(READ));
    browser.eventually("document.querySelector('h1').innerText.includes('Ready')");
    assert_eq!(browser.evaluate("location.href"), house.url(), "the token is in no address");
}

#[test]
fn what_tokens_and_names_hold_does_not_run_in_a_browser() {
    let Some(mut browser) = Browser::start("status_page") else { return };
    let house = House::start("").visited();
    browser.open(&house.url());
    assert_eq!(browser.evaluate("document.title"), "ready · portcullis");
    let shown =
        browser.evaluate("[...document.querySelectorAll('td')].some((cell) => cell.innerText.includes('<script>'))");
    assert_eq!(shown, true);
    assert_eq!(browser.evaluate("document.querySelectorAll('main img, main script').length"), 0);
    // Even what got in would not run: the policy knows one script and one style.
    browser.evaluate(
        "document.querySelector('main').insertAdjacentHTML('beforeend', '<img src=data:, onerror=\"document.title=1\">'); \
         const script = document.createElement('script'); script.text = 'document.title = 2'; document.body.append(script)",
    );
    browser.eventually("document.querySelector('main > img') !== null || true");
    assert_eq!(browser.evaluate("document.title"), "ready · portcullis");
    assert!(
        browser.complaints().iter().any(|told| told.contains("Content Security Policy")),
        "{:?}",
        browser.complaints()
    );
}
