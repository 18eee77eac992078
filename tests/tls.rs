//! TLS of the listeners, with real clients: which certificate is shown, who is let in, and what happens when files change.
use std::{fs, process::Command, time::Duration};

use crate::support::{
    certificates::{Authority, Issued},
    client::Client,
    fixture::{self, good_bearer},
    gateway::{Builder, Gateway},
    peers::require_program,
    problem::check_problem,
    process::{self, Process},
    reported::is_metric,
    server::free_address,
    tls::TlsClient,
    upstream::Upstream,
    waiting::{PATIENCE, eventually},
    wire::{Address, Wire},
};

const ROUTES: &str = "  - {name: public, path_prefix: /public, auth: none, upstream: echo}\n  \
                      - {name: orders, path_prefix: /orders, upstream: echo}\n";

/// A gateway of the usual configuration whose listener has these further keys.
fn builder(listener: &str, more: &str, upstream: &Upstream) -> Builder {
    let config =
        fixture::config(more, ROUTES).replace("address: \"{listen}\"", &format!("address: \"{{listen}}\", {listener}"));
    Gateway::builder(config).set("upstream", upstream.address()).file("keys.json", fixture::keys_file())
}

trait Files {
    fn pair(self, name: &str, issued: &Issued) -> Self;
}

impl Files for Builder {
    fn pair(self, name: &str, issued: &Issued) -> Self {
        self.file(&format!("{name}.pem"), issued.certificate.as_str()).file(&format!("{name}.key"), issued.key.as_str())
    }
}

fn tls_of(names: &[&str], more: &str) -> String {
    let pairs: Vec<String> =
        names.iter().map(|name| format!("{{certificate_file: {name}.pem, private_key_file: {name}.key}}")).collect();
    format!("tls: {{certificates: [{}]{more}}}", pairs.join(", "))
}

/// One GET over TLS as HTTP/1.1 by a client that asks for this name.
fn get(gateway: &Gateway, client: TlsClient, host: &str) -> Option<u16> {
    let door = client.front(gateway.address());
    let mut client = Client::connect(door.address());
    client.send(format!("GET /public HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    client.try_read("GET").ok().map(|response| response.status)
}

#[test]
fn curl_speaks_both_versions_of_http_over_tls_and_the_service_is_told() {
    let Some(curl) = require_program("curl", "curl_speaks_both_versions") else { return };
    let (upstream, authority) = (Upstream::start(), Authority::new("root"));
    let gateway = builder(&tls_of(&["web"], ""), "", &upstream).pair("web", &authority.server(&["api.test"])).start();
    let ca = gateway.folder().write("ca.pem", authority.certificate());
    let port = gateway.address().to_string().rsplit(':').next().unwrap().to_owned();
    for (version, shown, protocol) in [("--http1.1", "1.1", "HTTP/1.1"), ("--http2", "2", "HTTP/2")] {
        for tls in ["--tls-max 1.2", "--tlsv1.3"] {
            let mut command = Command::new(&curl);
            command.args(["-sS", version, "--cacert"]).arg(&ca).args(tls.split(' '));
            command.args(["--resolve", &format!("api.test:{port}:127.0.0.1"), "-H"]);
            command.arg(format!("Authorization: {}", good_bearer()));
            command.args(["-w", "\n%{http_version} %{http_code}", &format!("https://api.test:{port}/orders/7?a=b")]);
            let account = process::run("curl", &mut command);
            assert!(account.stdout.ends_with(&format!("\n{shown} 200")), "{account:?}");
            let seen = upstream.take();
            let head = &seen[0].head;
            assert_eq!(head.start, "GET /orders/7?a=b HTTP/1.1");
            assert_eq!(head.values("Host"), [format!("api.test:{port}")]);
            assert_eq!(head.value("X-Forwarded-Proto"), Some("https"));
            assert_eq!(head.value("X-Forwarded-Host"), Some(format!("api.test:{port}").as_str()));
            assert!(head.value("Forwarded").unwrap().ends_with(";proto=https"), "{head:?}");
            assert_eq!(head.value("X-User-ID"), Some("u1"), "{head:?}");
            assert_eq!(head.value("Authorization"), None);
            let line = gateway.access_line(head.value("X-Request-Id").unwrap());
            let version = if tls.contains("1.2") { "TLSv1.2" } else { "TLSv1.3" };
            assert_eq!((line["protocol"].as_str(), line["tls"].as_str()), (Some(protocol), Some(version)), "{line}");
            assert_eq!(line["host"], format!("api.test:{port}"));
            assert_eq!(line["path"], "/orders/7");
        }
    }
}

#[test]
fn the_certificate_fits_the_name_that_is_asked_for() {
    let (upstream, authority) = (Upstream::start(), Authority::new("root"));
    let gateway = builder(&tls_of(&["first", "second", "third"], ""), "", &upstream)
        .pair("first", &authority.server(&["first.test", "127.0.0.1"]))
        .pair("second", &authority.server(&["*.example.test", "second.test"]))
        .pair("third", &authority.server(&["api.example.test"]))
        .start();
    for (name, host, expected) in [
        ("first.test", "first.test", Some(200)),
        ("second.test", "second.test", Some(200)),
        ("a.example.test", "a.example.test", Some(200)),
        ("api.example.test", "api.example.test", Some(200)),
        ("127.0.0.1", "127.0.0.1", Some(200)),
        // The client sees that none of the certificates is for it.
        ("other.test", "other.test", None),
        ("a.b.example.test", "a.b.example.test", None),
        // One connection for all names of a certificate; none for those of another one.
        ("second.test", "b.example.test", Some(200)),
        ("first.test", "second.test", Some(421)),
        ("api.example.test", "second.test", Some(421)),
        ("first.test", "unknown.test", Some(200)),
    ] {
        let client = TlsClient::new(authority.certificate(), name);
        assert_eq!(get(&gateway, client, host), expected, "{name} {host}");
    }
    let before = upstream.take().len();
    let door = TlsClient::new(authority.certificate(), "first.test").front(gateway.address());
    let response = Client::connect(door.address()).request("GET", "/public", &[("Host", "second.test")]);
    check_problem(&response, 421, "misdirected", "GET");
    assert_eq!((before, upstream.take().len()), (7, 0));
}

#[test]
fn a_client_certificate_is_asked_for_as_configured() {
    let (upstream, authority) = (Upstream::start(), Authority::new("root"));
    let (known, stranger) = (authority.client("partner"), Authority::new("other").client("partner"));
    let server = authority.server(&["api.test"]);
    for (demand, with, without) in [
        (", client_ca_file: ca.pem", Some(200), None),
        (", client_ca_file: ca.pem, client_certificate: required", Some(200), None),
        (", client_ca_file: ca.pem, client_certificate: optional", Some(200), Some(200)),
        (", client_ca_file: ca.pem, client_certificate: none", Some(200), Some(200)),
    ] {
        let gateway = builder(&tls_of(&["web"], demand), "", &upstream)
            .pair("web", &server)
            .file("ca.pem", authority.certificate())
            .start();
        let client = || TlsClient::new(authority.certificate(), "api.test");
        assert_eq!(get(&gateway, client().showing(&known), "api.test"), with, "{demand}");
        assert_eq!(get(&gateway, client(), "api.test"), without, "{demand}");
        let foreign = if demand.ends_with("none") { Some(200) } else { None };
        assert_eq!(get(&gateway, client().showing(&stranger), "api.test"), foreign, "{demand}");
        // A server's certificate is none for a client.
        assert_eq!(get(&gateway, client().showing(&server), "api.test"), foreign, "{demand}");
    }
}

#[test]
fn a_session_of_a_listener_that_asks_for_no_certificate_opens_no_other_listener() {
    let (upstream, authority) = (Upstream::start(), Authority::new("root"));
    let partners = Address::Tcp(free_address());
    let second = format!(
        "listeners:\n  - {{name: partners, address: \"{partners}\", {}}}\n",
        tls_of(&["web"], ", client_ca_file: ca.pem")
    );
    let config = fixture::config("", ROUTES)
        .replace("listeners:\n", &second)
        .replace("address: \"{listen}\"", &format!("address: \"{{listen}}\", {}", tls_of(&["web"], "")));
    let gateway = Gateway::builder(config)
        .set("upstream", upstream.address())
        .file("keys.json", fixture::keys_file())
        .pair("web", &authority.server(&["api.test"]))
        .file("ca.pem", authority.certificate())
        .start();
    // Copies of a client remember the same sessions.
    let client = TlsClient::new(authority.certificate(), "api.test");
    let known = client.clone().showing(&authority.client("partner"));
    let ask = |client: TlsClient, address: &Address| {
        let door = client.front(address);
        let mut client = Client::connect(door.address());
        client.send("GET /public HTTP/1.1\r\nHost: api.test\r\n\r\n");
        client.try_read("GET").ok().map(|response| response.status)
    };
    for _ in 0..2 {
        assert_eq!(ask(client.clone(), gateway.address()), Some(200));
        assert_eq!(ask(client.clone(), &partners), None);
        // Nor does one that was shown a certificate open it for who shows none.
        assert_eq!(ask(known.clone(), &partners), Some(200));
        assert_eq!(ask(client.clone(), &partners), None);
    }
    assert_eq!(upstream.requests().len(), 4);
}

#[test]
fn certificates_and_authorities_are_read_again_and_open_connections_stay() {
    let (upstream, old, new) = (Upstream::start(), Authority::new("old"), Authority::new("new"));
    let gateway = builder(&tls_of(&["web"], ", client_ca_file: ca.pem"), "", &upstream)
        .pair("web", &old.server(&["api.test"]))
        .file("ca.pem", old.certificate())
        .start();
    let (old_client, new_client) = (old.client("partner"), new.client("partner"));
    let ask = |server: &Authority, client: &Issued| {
        get(&gateway, TlsClient::new(server.certificate(), "api.test").showing(client), "api.test")
    };
    let door = TlsClient::new(old.certificate(), "api.test").showing(&old_client).front(gateway.address());
    let mut kept = Client::connect(door.address());
    let mut check_kept = || assert_eq!(kept.request("GET", "/public", &[("Host", "api.test")]).status, 200);
    check_kept();
    let renewed = new.server(&["api.test"]);
    // The certificate comes before its key: until both are there, nothing changes.
    gateway.folder().write("web.pem", &renewed.certificate);
    let said =
        eventually(PATIENCE, || gateway.account().stderr.contains("web.key: the private key belongs").then_some(()));
    assert!(said.is_some(), "{}", gateway.account().stderr);
    assert_eq!(ask(&old, &old_client), Some(200));
    gateway.folder().write("web.key", &renewed.key);
    assert!(eventually(PATIENCE, || ask(&new, &old_client).filter(|status| *status == 200)).is_some());
    assert_eq!(ask(&old, &old_client), None);
    gateway.folder().write("ca.pem", new.certificate());
    assert!(eventually(PATIENCE, || ask(&new, &new_client)).is_some());
    assert_eq!(ask(&new, &old_client), None);
    for broken in ["", "no certificate", &new_client.key] {
        gateway.folder().write("ca.pem", broken);
        let said = eventually(PATIENCE, || gateway.account().stderr.contains("ca.pem: ").then_some(()));
        assert!(said.is_some(), "{broken}");
        assert_eq!(ask(&new, &new_client), Some(200), "{broken}");
    }
    fs::remove_file(gateway.folder().path().join("web.key")).unwrap();
    let said = eventually(PATIENCE, || gateway.account().stderr.contains("there is no such file").then_some(()));
    assert!(said.is_some());
    assert_eq!(ask(&new, &new_client), Some(200));
    check_kept();
}

#[test]
fn until_when_certificates_are_valid_is_exported() {
    let (upstream, authority) = (Upstream::start(), Authority::new("root"));
    let gateway = builder(&tls_of(&["web"], ""), "", &upstream).pair("web", &authority.server(&["api.test"])).start();
    let name = "portcullis_tls_certificate_not_after_timestamp_seconds";
    let end = gateway.metric(|line| is_metric(line, name, &[("listener", "web"), ("certificate", "web.pem")]));
    // 4096-01-01T00:00:00Z, which rcgen gives certificates without an end.
    assert!((end - 67_090_118_400.0).abs() < 86_400.0, "{end}");
}

#[test]
fn what_cannot_be_used_ends_the_start_and_names_the_file() {
    let (upstream, authority) = (Upstream::start(), Authority::new("root"));
    let good = authority.server(&["api.test"]);
    let other = authority.server(&["api.test"]);
    let expired = authority.expired(&["api.test"]);
    for (certificate, key, code, said) in [
        (good.certificate.as_str(), other.key.as_str(), 78, "the private key belongs to another certificate"),
        (&good.key, &good.key, 78, "the file has a private key where a certificate is expected"),
        (&good.certificate, &good.certificate, 78, "there is no private key in PEM"),
        ("", &good.key, 78, "the file is empty"),
        (&expired.certificate, &expired.key, 1, "web.pem: the certificate expired at 2020-01-01T00:00:00"),
    ] {
        let builder = builder(&tls_of(&["web"], ""), "", &upstream);
        let (account, _folder) = builder.file("web.pem", certificate).file("web.key", key).start_expecting_end();
        assert_eq!(account.code(), Some(code), "{account:?}");
        assert!(account.stderr.contains(said), "{said}: {}", account.stderr);
    }
    let (account, _folder) = builder(&tls_of(&["web"], ""), "", &upstream).start_expecting_end();
    assert!(account.stderr.contains("web.pem") && account.stderr.contains("no such file"), "{}", account.stderr);
}

#[test]
fn a_key_may_be_a_credential() {
    let (upstream, authority) = (Upstream::start(), Authority::new("root"));
    let issued = authority.server(&["api.test"]);
    let tls = "tls: {certificates: [{certificate_file: web.pem, private_key_file: \"credential:web\"}]}";
    let builder = builder(tls, "", &upstream).file("web.pem", issued.certificate.as_str());
    let credentials = builder.folder().join("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::write(credentials.join("web"), &issued.key).unwrap();
    let gateway = builder.env("CREDENTIALS_DIRECTORY", &credentials.display().to_string()).start();
    assert_eq!(get(&gateway, TlsClient::new(authority.certificate(), "api.test"), "api.test"), Some(200));
}

/// A connection on which TLS does not come about: how long it is held.
fn check_ends(address: &Address, sends: &[u8], pause: Duration) {
    let mut client = Client::connect(address);
    if sends.is_empty() {
        assert!(client.rest().is_empty());
    } else {
        client.trickle(sends, pause);
    }
}

#[test]
fn a_handshake_has_the_time_of_a_head_and_a_seat() {
    let (upstream, authority) = (Upstream::start(), Authority::new("root"));
    let limits = "limits: {header_timeout: 1s, connections: 3}";
    let gateway =
        builder(&tls_of(&["web"], ""), limits, &upstream).pair("web", &authority.server(&["api.test"])).start();
    let address = gateway.address().clone();
    let ask = || get(&gateway, TlsClient::new(authority.certificate(), "api.test"), "api.test");
    // The seats are taken before anybody shows what it wants.
    let silent: Vec<Wire> = (0..3).map(|_| Wire::connect(&address).unwrap()).collect();
    let open = || gateway.metric(|line| line.starts_with("portcullis_connections "));
    assert!(eventually(PATIENCE, || (open() >= 3.0).then_some(())).is_some());
    assert_eq!(ask(), None);
    let refused =
        gateway.metric(|line| is_metric(line, "portcullis_connections_refused_total", &[("limit", "connections")]));
    assert!(refused >= 1.0);
    for mut wire in silent {
        assert!(wire.read_to_end().unwrap().is_empty());
    }
    assert_eq!(ask(), Some(200));
    // The beginning of a record of the handshake that never gets on, byte by byte.
    check_ends(&address, b"", Duration::ZERO);
    let mut slow = Client::connect(&address);
    slow.send(b"\x16\x03\x01\x02\x00");
    slow.trickle(b"\x01", Duration::from_millis(50));
    assert_eq!(ask(), Some(200));
    // Neither is a request in clear anything here.
    let mut plain = Wire::connect(&address).unwrap();
    plain.send(b"GET /public HTTP/1.1\r\nHost: api.test\r\n\r\n").unwrap();
    let answer = plain.read_to_end().unwrap_or_default();
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[test]
fn old_versions_and_weak_suites_are_not_spoken() {
    let Some(openssl) = require_program("openssl", "old_versions_are_not_spoken") else { return };
    let (upstream, authority) = (Upstream::start(), Authority::new("root"));
    let gateway = builder(&tls_of(&["web"], ""), "", &upstream).pair("web", &authority.server(&["api.test"])).start();
    let address = gateway.address().to_string();
    for (arguments, works) in [
        ("-tls1_3", true),
        ("-tls1_2", true),
        ("-tls1_1 -cipher DEFAULT@SECLEVEL=0", false),
        ("-tls1 -cipher DEFAULT@SECLEVEL=0", false),
        ("-tls1_2 -cipher AES128-SHA", false),
        ("-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA", false),
        ("-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256", true),
    ] {
        let mut command = Command::new(&openssl);
        command.args(["s_client", "-connect", &address, "-servername", "api.test"]).args(arguments.split(' '));
        let account = process::run("openssl", &mut command);
        assert_eq!(account.code() == Some(0), works, "{arguments}: {account:?}");
    }
    let mut command = Command::new(&openssl);
    command.args(["s_client", "-connect", &address, "-servername", "api.test", "-alpn", "h2,http/1.1"]);
    let account = process::run("openssl", &mut command);
    assert!(account.stdout.contains("ALPN protocol: h2"), "{account:?}");
    assert!(
        account.stdout.contains("Secure Renegotiation IS NOT") || account.stdout.contains("TLSv1.3"),
        "{account:?}"
    );
}

#[test]
fn deadlines_and_faults_of_requests_are_the_same_under_tls() {
    let (upstream, authority) = (Upstream::start(), Authority::new("root"));
    let limits = "limits: {header_timeout: 1s, body_timeout: 1s, keepalive_timeout: 1s, uri_bytes: 1KiB}";
    let gateway =
        builder(&tls_of(&["web"], ""), limits, &upstream).pair("web", &authority.server(&["api.test"])).start();
    let door = TlsClient::new(authority.certificate(), "api.test").front(gateway.address());
    let check = |bytes: &str, status: u16, reason: &str| {
        let mut client = Client::connect(door.address());
        client.send(bytes);
        let response = client.read("GET");
        check_problem(&response, status, reason, "GET");
    };
    check("GET /public HTTP/1.1\r\nHost: api.test\r\nX-", 408, "request_timeout");
    check("POST /public HTTP/1.1\r\nHost: api.test\r\nContent-Length: 9\r\n\r\nab", 408, "request_timeout");
    check("GET /public /orders HTTP/1.1\r\nHost: api.test\r\n\r\n", 400, "request_malformed");
    check("GET /public HTTP/1.1\nHost: api.test\r\n\r\n", 400, "request_malformed");
    check(&format!("GET /public/{} HTTP/1.1\r\n", "a".repeat(9000)), 414, "uri_too_long");
    assert!(upstream.take().iter().all(|seen| seen.method() == "POST"));
    let mut idle = Client::connect(door.address());
    assert_eq!(idle.request("GET", "/public", &[("Host", "api.test")]).status, 200);
    assert!(idle.rest().is_empty());
}

/// What testssl.sh finds and says of it: the severities of its own scale that are more than low.
#[test]
fn testssl_finds_no_weakness_above_low() {
    let Some(testssl) = require_program("testssl", "testssl_finds_no_weakness_above_low") else { return };
    let (upstream, authority) = (Upstream::start(), Authority::new("root"));
    let gateway = builder(&tls_of(&["web"], ""), "", &upstream).pair("web", &authority.server(&["api.test"])).start();
    let (folder, report) = (gateway.folder().path(), gateway.folder().path().join("testssl.json"));
    let mut command = Command::new(testssl);
    command.current_dir(folder).args(["--quiet", "--warnings", "off", "--color", "0", "--jsonfile"]).arg(&report);
    // Its certificate is nobody's whom the program knows.
    command.args(["--protocols", "--std", "--fs", "--server-preference", "--vulnerable"]);
    let mut running = Process::spawn("testssl", command.arg(gateway.address().to_string()));
    let account = running.end(Duration::from_secs(240)).expect("it ends");
    let text = fs::read_to_string(&report).unwrap_or_else(|error| panic!("{error}: {account:?}"));
    let findings: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let of = |id: &str| findings.iter().find(|finding| finding["id"] == id).map(|finding| finding["severity"].clone());
    assert_eq!((of("TLS1_2"), of("TLS1_3")), (Some("OK".into()), Some("OK".into())), "{text}");
    for finding in &findings {
        let severity = finding["severity"].as_str().unwrap();
        assert!(!matches!(severity, "MEDIUM" | "HIGH" | "CRITICAL" | "FATAL" | "WARN"), "{finding}");
    }
}
