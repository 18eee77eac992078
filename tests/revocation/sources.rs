//! Where entries come from: a file that is watched, a list on a server, the instance's own; what happens when one cannot be
//! read, and after an end without warning.
use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;
use crate::support::{
    folder::Folder,
    jwks_server::{JwksServer, KeySetAnswer},
    server::free_address,
};

const FILE: &str = "revocation: {file: revoked.yaml}";

fn filed(content: &str) -> House {
    start_with(FILE, |builder| builder.file("revoked.yaml", content))
}

fn said(gateway: &Gateway, part: &str) {
    let found = eventually(PATIENCE, || gateway.account().stderr.contains(part).then_some(()));
    assert!(found.is_some(), "{part} is not said: {}", gateway.account().stderr);
}

fn healthy(gateway: &Gateway, source: &str) -> f64 {
    gateway.metric(|line| line.starts_with(&format!("portcullis_revocation_source_healthy{{source=\"{source}\"}}")))
}

#[test]
fn a_file_is_read_again_when_it_changes_and_what_comes_back_to_life_is_said() {
    let house = filed("- {sub: u1}\n- {jti: never, note: x}\n");
    let gateway = &house.gateway;
    let (one, two) = (signed(Token::good()), signed(Token::good().claim("sub", "u2")));
    assert_eq!(reason(gateway, &one).as_deref(), Some("subject_revoked"));
    assert_eq!(reason(gateway, &two), None);
    gateway.folder().write("revoked.yaml", "- {sub: u1}\n- {sub: u2}\n");
    becomes(gateway, &two, Some("subject_revoked"));
    said(gateway, "(jti \"never\")");
    gateway.folder().write("revoked.yaml", "[{\"sub\": \"u2\"}]");
    becomes(gateway, &one, None);
    assert_eq!(reason(gateway, &two).as_deref(), Some("subject_revoked"));
    said(gateway, "(sub \"u1\")");
    assert!(gateway.times_said("revocations: no longer in ") > 0, "{}", gateway.account().stderr);
    // As editors and configuration management do it.
    let beside = gateway.folder().write("revoked.new", "[]\n");
    fs::rename(beside, gateway.folder().path().join("revoked.yaml")).unwrap();
    becomes(gateway, &two, None);
    assert_eq!(gateway.metric(|line| line.starts_with("portcullis_revocations ")), 0.0);
}

#[test]
fn a_file_that_cannot_be_read_changes_nothing_and_is_reported_once_a_reason() {
    let house = filed("- {sub: u1}\n");
    let gateway = &house.gateway;
    let (one, two) = (signed(Token::good()), signed(Token::good().claim("sub", "u2")));
    let path = gateway.folder().path().join("revoked.yaml");
    let error = || gateway.admin_get("/revocations").json()["sources"][1]["last_error"].clone();
    let rows: [(&str, Option<&str>, &str); 6] = [
        ("an unknown key", Some("- {sub: u2}\n- {user: u1}\n"), "revoked.yaml:2:4: unknown key `user`"),
        ("an unknown issuer", Some("- {sub: u2, issuer: mian}\n"), "`mian` is no issuer"),
        ("half of it", Some("- {sub: u2"), "revoked.yaml:1:3: what is opened here is never closed"),
        ("nothing in it", Some(""), "the document is empty"),
        ("no list", Some("sub: u2\n"), "must be a list of entries"),
        ("no file", None, "No such file"),
    ];
    for (what, content, expected) in rows {
        match content {
            // Replaced whole: half of a file that is being written is another error.
            Some(content) => fs::rename(gateway.folder().write("draft", content), &path).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let is_told = || error().as_str().is_some_and(|error| error.contains(expected)).then_some(());
        assert!(eventually(PATIENCE, is_told).is_some(), "{what}: {}", error());
        assert_eq!(reason(gateway, &one).as_deref(), Some("subject_revoked"), "{what}");
        assert_eq!(reason(gateway, &two), None, "{what}");
        assert_eq!((healthy(gateway, "file"), healthy(gateway, "own")), (0.0, 1.0), "{what}");
        said(gateway, "the last good list (1 entries) stays in force");
        assert_eq!(gateway.times_said(expected), 1, "{what}: {}", gateway.account().stderr);
    }
    gateway.folder().write("revoked.yaml", "- {sub: u2}\n");
    becomes(gateway, &two, Some("subject_revoked"));
    assert_eq!(reason(gateway, &one), None);
    assert_eq!((error(), healthy(gateway, "file")), (Value::Null, 1.0));
    said(gateway, "can be read again");
}

#[test]
fn a_file_that_is_missing_or_broken_keeps_the_gateway_from_starting() {
    let upstream = Upstream::start();
    for (content, part) in [
        (None, "revoked.yaml`: no such file"),
        (Some(""), "the file is empty"),
        (Some("# nobody\n"), "the document is empty"),
        (Some("- {sub: u1}\n- {usr: u2}\n"), "revoked.yaml:2:4: unknown key `usr`"),
    ] {
        let builder = builder(FILE, ROUTES, &upstream);
        let builder = match content {
            Some(content) => builder.file("revoked.yaml", content),
            None => builder,
        };
        let (account, _folder) = builder.start_expecting_end();
        assert_eq!(account.code(), Some(78), "{content:?}: {account:?}");
        assert!(account.stderr.contains(part), "{content:?}: {}", account.stderr);
    }
}

#[test]
fn a_long_list_is_in_force_whole() {
    let lines = |number: usize| match number % 3 {
        0 => format!("- {{sub: user-{number}}}\n"),
        1 => format!("- {{issuer: main, jti: \"{number:016x}\"}}\n"),
        _ => format!("- {{sid: session-{number}, until: 2100-01-01T00:00:00Z, note: logged out}}\n"),
    };
    let house = filed(&(0..20_000).map(lines).collect::<String>());
    let gateway = &house.gateway;
    assert_eq!(gateway.metric(|line| line.starts_with("portcullis_revocations ")), 20_000.0);
    let rows = [
        (Token::good().claim("sub", "user-19998"), Some("subject_revoked")),
        (Token::good().claim("sub", "user-19999"), None),
        (Token::good().claim("jti", format!("{:016x}", 19_999)), Some("token_revoked")),
        (Token::good().claim("sid", "session-2"), Some("token_revoked")),
        (Token::good().claim("sid", "session-3"), None),
    ];
    for (token, expected) in rows {
        let token = signed(token);
        for _ in 0..2 {
            assert_eq!(reason(gateway, &token).as_deref(), expected);
        }
    }
}

fn listed(entries: &Value) -> KeySetAnswer {
    KeySetAnswer::json(entries)
}

fn by_url(server: &JwksServer) -> String {
    format!("revocation: {{url: \"{}\", insecure_http: true, refresh: 1s, timeout: 2s}}", server.at("/revoked"))
}

#[test]
fn a_list_on_a_server_is_asked_for_again_and_again_and_fetched_when_it_changed() {
    let server = JwksServer::start(&[]);
    server.set(listed(&json!([{"sub": "u1"}, {"issuer": "of-another-host", "sub": "u2"}])).etag("\"1\""));
    let house = start(&by_url(&server));
    let gateway = &house.gateway;
    let (one, two) = (signed(Token::good()), signed(Token::good().claim("sub", "u2")));
    assert_eq!(reason(gateway, &one).as_deref(), Some("subject_revoked"));
    assert_eq!(reason(gateway, &two), None);
    said(gateway, "name issuers that are not configured here");
    server.wait_for(3);
    let heads = server.requests();
    assert_eq!(heads[0].value("If-None-Match"), None);
    assert!(heads[0].value("Accept").unwrap().contains("json"));
    assert!(heads[1..].iter().all(|head| head.value("If-None-Match") == Some("\"1\"")), "{heads:?}");
    let yaml =
        KeySetAnswer::status(200).header("Content-Type", "text/yaml").body("- sub: u2 # by hand\n").etag("\"2\"");
    server.set(yaml);
    becomes(gateway, &two, Some("subject_revoked"));
    assert_eq!(reason(gateway, &one), None);
}

#[test]
fn a_server_that_fails_or_lies_takes_nothing_out_of_force() {
    let server = JwksServer::start(&[]);
    server.set(listed(&json!([{"sub": "u1"}])));
    let house = start(&by_url(&server));
    let gateway = &house.gateway;
    let token = signed(Token::good());
    assert_eq!(reason(gateway, &token).as_deref(), Some("subject_revoked"));
    let error = || gateway.admin_get("/revocations").json()["sources"][1]["last_error"].to_string();
    let page = KeySetAnswer::status(200).header("Content-Type", "text/html").body("<p>Sign in</p>");
    let rows = [
        (KeySetAnswer::status(500), "status 500"),
        (KeySetAnswer::status(404), "status 404"),
        (KeySetAnswer::status(304), "status 304"),
        (page, "text/html"),
        (listed(&json!([])).body("[{\"sub\": \"u2\""), "revoked:1:"),
        (listed(&json!({"entries": []})), "must be a list of entries"),
        (listed(&json!([])).body(""), "the document is empty"),
        (listed(&json!([{"sub": "u2", "unheard_of": 1}])), "unknown key"),
        (KeySetAnswer::raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[]"), "before the answer was complete"),
    ];
    for (answer, expected) in rows {
        server.set(answer);
        assert!(eventually(PATIENCE, || error().contains(expected).then_some(())).is_some(), "{expected}: {}", error());
        assert_eq!(reason(gateway, &token).as_deref(), Some("subject_revoked"), "{expected}");
        assert_eq!(healthy(gateway, "url"), 0.0);
    }
    server.set(listed(&json!([])));
    becomes(gateway, &token, None);
    assert_eq!((error().as_str(), healthy(gateway, "url")), ("null", 1.0));
}

#[test]
fn without_any_list_no_token_counts_until_there_is_one() {
    let server = JwksServer::start(&[]);
    server.set(KeySetAnswer::status(503));
    let upstream = Upstream::start();
    let listen = Address::Tcp(free_address());
    let token = signed(Token::good());
    std::thread::scope(|scope| {
        let starting = scope.spawn(|| {
            // Ready only once the list is there.
            // A query may be what lets one in to read the list.
            let signed = by_url(&server).replace("/revoked", "/revoked?sig=s3cr3t");
            builder(&signed, ROUTES, &upstream).listen_on(listen.clone()).start()
        });
        server.wait_for(2);
        let asked = || {
            let bytes = format!("GET / HTTP/1.1\r\nHost: api.test\r\nAuthorization: {}\r\n\r\n", bearer(&token));
            crate::support::client::exchange(&listen, bytes).ok()
        };
        let response = eventually(PATIENCE, asked).expect("it listens");
        check_problem(&response, 503, "revocations_unavailable", "GET");
        assert_eq!(crate::support::client::get(&listen, "/open", &[]).status, 204);
        assert!(upstream.take().is_empty());
        server.set(listed(&json!([{"sub": "u2"}])));
        let gateway = starting.join().unwrap();
        assert_eq!(reason(&gateway, &token), None);
        let rejected = gateway.metric(|line| {
            line.starts_with("portcullis_auth_rejections_total") && line.contains("revocations_unavailable")
        });
        assert_eq!(rejected, 1.0);
        said(&gateway, "there is no list yet, so that every token is refused");
        let shown = format!("{}{}", gateway.admin_get("/rejections").text(), gateway.admin_get("/revocations").text());
        assert!(shown.contains("?...") && !shown.contains("s3cr3t"), "{shown}");
        let account = gateway.stop();
        assert!(!account.stderr.contains("s3cr3t") && !account.stdout.contains("s3cr3t"), "{account:?}");
    });
}

#[test]
fn the_last_good_list_of_a_server_serves_at_a_start_without_it_and_for_its_url_alone() {
    let state = Folder::new();
    let server = JwksServer::start(&[]);
    server.set(listed(&json!([{"sub": "u1"}])));
    let with_state =
        |more: &str| start_with(more, |builder| builder.env("STATE_DIRECTORY", &state.path().display().to_string()));
    let mut house = with_state(&by_url(&server));
    let token = signed(Token::good());
    assert_eq!(reason(&house.gateway, &token).as_deref(), Some("subject_revoked"));
    let kept = state.path().join("revocations/fetched.json");
    assert!(eventually(PATIENCE, || kept.exists().then_some(())).is_some());
    house.gateway.signal("KILL");
    house.gateway.end(PATIENCE);
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    server.set(KeySetAnswer::status(500));
    let mut house = with_state(&by_url(&server));
    assert_eq!(reason(&house.gateway, &token).as_deref(), Some("subject_revoked"));
    assert_eq!(reason(&house.gateway, &signed(Token::good().claim("sub", "u2"))), None);
    said(&house.gateway, "revocations: serves with 1 entries kept since");
    house.gateway.signal("KILL");
    house.gateway.end(PATIENCE);
    // Another URL: what was kept is of no use, and the list there is.
    let other = JwksServer::start(&[]);
    other.set(listed(&json!([])));
    let house = with_state(&by_url(&other));
    assert_eq!(reason(&house.gateway, &token), None);
    assert!(house.gateway.times_said("is not used: it is of another URL") > 0);
}

#[test]
fn own_entries_outlive_an_end_without_warning() {
    let state = Folder::new();
    let with_state = || start_with("", |builder| builder.env("STATE_DIRECTORY", &state.path().display().to_string()));
    let mut house = with_state();
    let token = signed(Token::good());
    let kept = revoke(&house.gateway, &json!({"sub": "u1", "note": "stays"}));
    let taken_back = revoke(&house.gateway, &json!({"sub": "u2"}));
    unrevoke(&house.gateway, &taken_back);
    let last = revoke(&house.gateway, &json!({"jti": "the-last"}));
    house.gateway.signal("KILL");
    house.gateway.end(PATIENCE);
    let own = state.path().join("revocations/own.json");
    assert_eq!(fs::metadata(&own).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(own.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    let mut house = with_state();
    assert_eq!(reason(&house.gateway, &token).as_deref(), Some("subject_revoked"));
    let ids: Vec<String> =
        entries(&house.gateway).iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, [kept.as_str(), last.as_str()]);
    unrevoke(&house.gateway, &kept);
    assert_eq!(reason(&house.gateway, &token), None);
    house.gateway.signal("KILL");
    house.gateway.end(PATIENCE);
    let house = with_state();
    assert_eq!(reason(&house.gateway, &token), None);
    assert_eq!(entries(&house.gateway).len(), 1);
}

#[test]
fn own_entries_in_a_place_that_cannot_be_used_any_more_keep_the_gateway_from_starting() {
    let (state, upstream) = (Folder::new(), Upstream::start());
    let builder = || builder("", ROUTES, &upstream).env("STATE_DIRECTORY", &state.path().display().to_string());
    let gateway = builder().start();
    revoke(&gateway, &json!({"sub": "u1"}));
    gateway.stop();
    fs::set_permissions(state.path(), fs::Permissions::from_mode(0o770)).unwrap();
    let (account, _folder) = builder().start_expecting_end();
    assert_eq!(account.code(), Some(1), "{account:?}");
    for part in ["own.json", "others may write to it", "tokens would come back to life"] {
        assert!(account.stderr.contains(part), "{part}: {}", account.stderr);
    }
    fs::set_permissions(state.path(), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(reason(&builder().start(), &signed(Token::good())).as_deref(), Some("subject_revoked"));
}

#[test]
fn own_entries_that_are_damaged_or_that_others_may_write_keep_the_gateway_from_starting() {
    let upstream = Upstream::start();
    let good = r#"{"form":1,"entries":[{"sub":"u1"}]}"#;
    let rows = [
        ("half of it", &good[..20], 0o600, "it is damaged"),
        ("nothing in it", "", 0o600, "it is damaged"),
        ("another form", r#"{"form":2,"entries":[]}"#, 0o600, "another version"),
        ("an entry that is none", r#"{"form":1,"entries":[{}]}"#, 0o600, "names nothing"),
        ("writable by others", good, 0o622, "others may write it"),
    ];
    for (what, content, mode, part) in rows {
        let builder = builder("", ROUTES, &upstream);
        let own = builder.folder().join("state/revocations/own.json");
        fs::create_dir(own.parent().unwrap()).unwrap();
        fs::write(&own, content).unwrap();
        fs::set_permissions(&own, fs::Permissions::from_mode(mode)).unwrap();
        let (account, _folder) = builder.start_expecting_end();
        assert_eq!(account.code(), Some(1), "{what}: {account:?}");
        assert!(account.stderr.contains(part) && account.stderr.contains("own.json"), "{what}: {}", account.stderr);
        assert!(account.stderr.contains("tokens would come back to life"), "{what}: {}", account.stderr);
    }
}
