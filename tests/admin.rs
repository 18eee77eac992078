//! The operators' interface: who may read, who may change, and what a refresh of keys does.
use crate::support::{
    client::{Client, Response, request_bytes},
    fixture::{AUDIENCE, ISSUER, signing_key},
    gateway::Gateway,
    jwks_server::{JwksServer, KeySetAnswer},
    keys::{SigningKey, key_set},
    token::{Token, bearer},
    upstream::Upstream,
    wire::Address,
};

const READ: &str = "read-0123456789abcdef";
const WRITE: &str = "write-0123456789abcdef";
const TOKENS: &str = ", read_token_file: read.token, write_token_file: write.token";

/// Two issuers whose keys are fetched and one whose keys are in a file; the cooldown is so long that none ends in a test.
struct House {
    // Ends first.
    gateway: Gateway,
    _upstream: Upstream,
    main: JwksServer,
    other: JwksServer,
}

impl House {
    fn start(admin: &str) -> Self {
        let (main, other) = (JwksServer::start(&[signing_key().jwk()]), JwksServer::start(&[signing_key().jwk()]));
        let upstream = Upstream::start();
        let issuer = |name: &str, identifier: &str, keys: &str| {
            format!("  {name}: {{issuer: {identifier}, audiences: [{AUDIENCE}], keys: {{{keys}}}}}\n")
        };
        let remote = |server: &JwksServer| format!("jwks_url: \"{}\", insecure_http: true, cooldown: 1h", server.url());
        let config = format!(
            r#"
listeners: [{{name: web, address: "{{listen}}"}}]
admin: {{address: "{{admin}}"{admin}}}
server: {{threads: 1, grace_period: 20s}}
issuers:
{}{}{}{}routes:
  - {{name: mine, path_prefix: /, issuers: [main, other, filed, fixed], insecure_merged_subjects: true, upstream: echo}}
upstreams:
  echo: {{servers: ["{{upstream}}"]}}
"#,
            issuer("main", ISSUER, &remote(&main)),
            issuer("other", "https://other.test", &remote(&other)),
            issuer("filed", "https://filed.test", "jwks_file: keys.json"),
            issuer("fixed", "https://fixed.test", "secret_file: hmac.key"),
        );
        let gateway = Gateway::builder(config)
            .set("upstream", upstream.address())
            .file("keys.json", key_set(&[signing_key().jwk()]))
            .file("hmac.key", "0123456789abcdef0123456789abcdef")
            .file("read.token", READ)
            .file("write.token", format!("{WRITE}\n"))
            .start();
        Self { gateway, _upstream: upstream, main, other }
    }

    fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Response {
        let host = self.gateway.admin_address().to_string();
        let mut all = vec![("Host", host.as_str())];
        if headers.iter().any(|(name, _)| *name == "Host") {
            all.clear();
        }
        all.extend(headers);
        Client::connect(self.gateway.admin_address()).request(method, target, &all)
    }

    /// A refresh with the token for changes.
    fn refresh(&self, issuer: &str) -> Response {
        self.ask("POST", &format!("/issuers/{issuer}/refresh"), &[("Authorization", &format!("Bearer {WRITE}"))])
    }

    fn status_with(&self, key: &SigningKey) -> u16 {
        let token = Token::good().signed_by(key);
        self.gateway.get("/", &[("Authorization", &bearer(&token))]).status
    }
}

#[test]
fn reading_and_changing_each_need_their_token_over_tcp() {
    let house = House::start(TOKENS);
    let bearer = |token: &str| format!("Bearer {token}");
    let (read, write, wrong) = (bearer(READ), bearer(WRITE), bearer("wrong-0123456789abcdef"));
    type Row<'a> = (&'a [(&'a str, &'a str)], u16, u16);
    let rows: [Row<'_>; 9] = [
        (&[], 401, 401),
        (&[("Authorization", &wrong)], 401, 401),
        (&[("Authorization", "Basic cmVhZDo=")], 401, 401),
        (&[("Authorization", &read)], 200, 403),
        (&[("Authorization", &write)], 200, 200),
        (&[("Authorization", &write), ("Authorization", &write)], 401, 401),
        (&[("Authorization", &write[..write.len() - 1])], 401, 401),
        (&[("Authorization", &write), ("Host", "evil.test")], 400, 400),
        (&[("Authorization", &write), ("Host", "localhost:1")], 200, 200),
    ];
    let before = house.main.fetches();
    let mut refreshed = 0;
    for (headers, reading, changing) in rows {
        assert_eq!(house.ask("GET", "/issuers", headers).status, reading, "reading with {headers:?}");
        let response = house.ask("POST", "/issuers/main/refresh", headers);
        assert_eq!(response.status, changing, "changing with {headers:?}: {}", response.text());
        assert_eq!(response.header("WWW-Authenticate").is_some(), changing == 401, "{headers:?}");
        refreshed += usize::from(changing == 200);
        assert_eq!(house.main.fetches(), before + refreshed, "what was refused fetches nothing");
    }
    let said = house.gateway.stop().stderr;
    assert!(
        said.contains(
            "a refresh of the keys of issuer \"main\" and was refused: A bearer token is required, and none that counts"
        ),
        "{said}"
    );
    assert!(said.contains("had the keys of issuer main refreshed: success"), "{said}");
    assert!(said.contains("admin: 127.0.0.1:"), "who asked is said: {said}");
    assert!(!said.contains(READ) && !said.contains(WRITE), "{said}");
}

#[test]
fn without_a_token_for_changes_only_the_unix_socket_takes_them() {
    let house = House::start("");
    let refused = house.ask("POST", "/issuers/main/refresh", &[("Authorization", &format!("Bearer {WRITE}"))]);
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("admin.write_token_file"), "{}", refused.text());
    let socket = house.gateway.folder().path().join("run/admin.sock");
    let before = house.main.fetches();
    let response =
        Client::connect(&Address::Unix(socket)).request("POST", "/issuers/main/refresh", &[("Host", "localhost")]);
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(house.main.fetches(), before + 1);
}

/// Who connects between the making of a socket and the setting of its permissions would have it for as long as it likes.
#[test]
fn a_socket_is_its_owners_alone_from_the_moment_it_is_made() {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
    let house = House::start("");
    let socket = std::fs::metadata(house.gateway.folder().path().join("run/admin.sock")).unwrap();
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    let status = std::fs::read_to_string(format!("/proc/{}/status", house.gateway.id())).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap();
    let mask = u32::from_str_radix(mask.trim(), 8).unwrap();
    assert_eq!(mask & 0o027, 0o027, "{mask:o}: to connect takes the right to write");
}

#[test]
fn what_a_page_of_another_site_sends_changes_nothing_whatever_token_it_carries() {
    let house = House::start(TOKENS);
    let (write, own) = (format!("Bearer {WRITE}"), format!("http://{}", house.gateway.admin_address()));
    let before = house.main.fetches();
    for (name, value) in [
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
        ("Origin", "null"),
        ("Origin", "https://evil.test"),
        ("Origin", "http://127.0.0.1:1"),
    ] {
        let headers = [("Authorization", write.as_str()), (name, value)];
        assert_eq!(house.ask("POST", "/issuers/main/refresh", &headers).status, 403, "{name}: {value}");
        let socket = house.gateway.folder().path().join("run/admin.sock");
        let over_socket = [("Host", "localhost"), (name, value)];
        let response = Client::connect(&Address::Unix(socket)).request("POST", "/issuers/main/refresh", &over_socket);
        assert_eq!(response.status, 403, "unix socket, {name}: {value}");
    }
    assert_eq!(house.main.fetches(), before);
    let headers = [("Authorization", write.as_str()), ("Origin", &own), ("Sec-Fetch-Site", "same-origin")];
    assert_eq!(house.ask("POST", "/issuers/main/refresh", &headers).status, 200);
}

#[test]
fn each_path_says_which_methods_it_takes() {
    let house = House::start(TOKENS);
    let write = format!("Bearer {WRITE}");
    let rows = [
        ("GET", "/issuers/main/refresh", 405, Some("POST")),
        ("DELETE", "/issuers/main/refresh", 405, Some("POST")),
        ("POST", "/issuers", 405, Some("GET, HEAD")),
        ("PUT", "/config", 405, Some("GET, HEAD")),
        ("POST", "/readyz", 405, Some("GET, HEAD")),
        ("HEAD", "/issuers", 200, None),
        ("POST", "/issuers/nobody/refresh", 404, None),
        ("POST", "/nothing", 404, None),
        ("POST", "/issuers/fixed/refresh", 405, None),
    ];
    for (method, target, status, allow) in rows {
        let response = house.ask(method, target, &[("Authorization", &write)]);
        assert_eq!((response.status, response.header("Allow")), (status, allow), "{method} {target}");
    }
    let said = house.gateway.stop().stderr;
    assert!(said.contains("asked for the keys of issuer fixed to be refreshed: they are not fetched"), "{said}");
}

#[test]
fn a_refresh_brings_the_keys_of_the_issuer_that_is_named_and_no_other() {
    let house = House::start(TOKENS);
    let new = SigningKey::p256("new");
    assert_eq!(house.status_with(&new), 401);
    house.main.set(KeySetAnswer::keys(&[new.jwk()]));
    let (main, other) = (house.main.fetches(), house.other.fetches());
    let response = house.refresh("main");
    assert_eq!(response.status, 200, "{}", response.text());
    let view = response.json();
    assert_eq!((view["result"].as_str(), view["keys"][0]["kid"].as_str()), (Some("success"), Some("new")));
    assert_eq!((house.main.fetches(), house.other.fetches()), (main + 1, other));
    assert_eq!(house.status_with(&new), 200);
    assert_eq!(house.status_with(signing_key()), 401, "the key that was withdrawn");
    // Asked for at once again: no cooldown counts for those who may ask.
    assert_eq!(house.refresh("m%61in").status, 200);
    assert_eq!(house.main.fetches(), main + 2);
}

#[test]
fn a_refresh_that_fails_says_why_and_leaves_the_keys() {
    let house = House::start(TOKENS);
    house.main.set(KeySetAnswer::status(500));
    let response = house.refresh("main");
    assert_eq!(response.status, 503);
    let view = response.json();
    assert_eq!(view["result"], "failure");
    assert!(view["error"].as_str().unwrap().contains("500"), "{view}");
    assert_eq!(house.status_with(signing_key()), 200);
    house.main.set(KeySetAnswer::keys(&[signing_key().jwk()]));
    assert_eq!(house.refresh("main").status, 200);
}

#[test]
fn a_refresh_reads_a_file_again() {
    let house = House::start(TOKENS);
    let new = SigningKey::p256("new");
    let path = house.gateway.folder().path().join("keys.json");
    std::fs::write(&path, key_set(&[new.jwk()])).unwrap();
    let response = house.refresh("filed");
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.json()["keys"][0]["kid"], "new");
    std::fs::write(&path, "{").unwrap();
    let response = house.refresh("filed");
    assert_eq!(response.status, 503, "{}", response.text());
    assert_eq!(response.json()["keys"][0]["kid"], "new");
}

#[test]
fn a_change_that_comes_with_a_body_ends_the_connection_and_no_second_request_hides_in_it() {
    let house = House::start(TOKENS);
    let host = house.gateway.admin_address().to_string();
    let body = String::from_utf8(request_bytes("POST", "/issuers/other/refresh", &[("Host", &host)])).unwrap();
    let before = house.other.fetches();
    let mut client = Client::connect(house.gateway.admin_address());
    client.send(format!(
        "POST /issuers/main/refresh HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {WRITE}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert_eq!(client.read("POST").status, 200);
    assert!(client.rest().is_empty());
    assert_eq!(house.other.fetches(), before);
}
