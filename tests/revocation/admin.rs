//! `GET|POST /revocations` and `DELETE /revocations/ID`: who may, what is taken, what is said.
use super::*;

const READ: &str = "Bearer read-0123456789abcdef";
const WRITE: &str = "Bearer write-0123456789abcdef";

/// A gateway whose admin address asks for tokens.
fn guarded() -> House {
    let upstream = Upstream::start();
    let tokens = "admin: {address: \"{admin}\", read_token_file: read.token, write_token_file: write.token";
    let config = crate::support::fixture::config("", ROUTES).replacen("admin: {address: \"{admin}\"", tokens, 1);
    let gateway = Gateway::builder(config)
        .set("upstream", upstream.address())
        .file("keys.json", crate::support::fixture::keys_file())
        .file("read.token", READ.strip_prefix("Bearer ").unwrap())
        .file("write.token", WRITE.strip_prefix("Bearer ").unwrap());
    // It cannot be asked for its metrics without a token; it is ready when the port answers.
    House { gateway: gateway.start(), upstream }
}

#[test]
fn reading_and_changing_follow_the_rules_of_all_changes() {
    let house = guarded();
    let admin = house.gateway.admin_address();
    let host = admin.to_string();
    let own = ("Host", host.as_str());
    type Row<'a> = (&'a [(&'a str, &'a str)], u16, u16);
    let rows: [Row<'_>; 8] = [
        (&[own], 401, 401),
        (&[own, ("Authorization", "Bearer wrong-0123456789abcdef")], 401, 401),
        (&[own, ("Authorization", READ)], 200, 403),
        (&[own, ("Authorization", WRITE)], 200, 201),
        (&[("Host", "evil.test"), ("Authorization", WRITE)], 400, 400),
        (&[own, ("Authorization", WRITE), ("Origin", "https://evil.test")], 200, 403),
        (&[own, ("Authorization", WRITE), ("Sec-Fetch-Site", "cross-site")], 200, 403),
        (&[own, ("Authorization", WRITE), ("Authorization", WRITE)], 401, 401),
    ];
    let token = signed(Token::good());
    for (headers, reading, changing) in rows {
        for target in ["/revocations", "/rejections"] {
            assert_eq!(change(admin, "GET", target, headers, "").status, reading, "{target} with {headers:?}");
        }
        let made = change(admin, "POST", "/revocations", headers, r#"{"sub": "u1"}"#);
        assert_eq!(made.status, changing, "{headers:?}: {}", made.text());
        let is_made = changing == 201;
        assert_eq!(reason(&house.gateway, &token).is_some(), is_made, "{headers:?}");
        let id = revoke_or_known(&house.gateway);
        let target = format!("/revocations/{id}");
        let gone = change(admin, "DELETE", &target, headers, "");
        assert_eq!(gone.status, if is_made { 200 } else { changing }, "{headers:?}: {}", gone.text());
        assert_eq!(reason(&house.gateway, &token).is_none(), is_made, "{headers:?}");
        if !is_made {
            unrevoke(&house.gateway, &id);
        }
    }
    let said = house.gateway.stop().stderr;
    assert!(said.contains("asked for a revocation and was refused: A bearer token is required"), "{said}");
    assert!(said.contains("admin: 127.0.0.1:") && said.contains("made the revocation "), "{said}");
    assert!(said.contains("(sub \"u1\")") && said.contains("took back the revocation "), "{said}");
    assert!(!said.contains(WRITE) && !said.contains("write-0123456789abcdef"), "{said}");
}

fn revoke_or_known(gateway: &Gateway) -> String {
    post(gateway, &json!({"sub": "u1"})).json()["id"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_no_entry_changes_nothing_and_is_told_why() {
    let house = start_with("revocation: {file: revoked.yaml}", |builder| builder.file("revoked.yaml", "- {sid: s9}\n"));
    let gateway = &house.gateway;
    let long = json!({"sub": "x".repeat(4097)}).to_string();
    let huge = json!({"sub": "x".repeat(300_000)}).to_string();
    let rows: [(&str, u16, &str); 14] = [
        ("", 400, "EOF"),
        ("{", 400, "EOF"),
        ("null", 400, "invalid type"),
        ("[]", 400, "one entry is expected"),
        (r#"["main"]"#, 400, "one entry is expected"),
        ("{}", 400, "names nothing"),
        (r#"{"note": "a", "until": "2030-01-01T00:00:00Z"}"#, 400, "names nothing"),
        (r#"{"subject": "u1"}"#, 400, "unknown field"),
        (r#"{"sub": "u1", "sub": "u2"}"#, 400, "duplicate field"),
        (r#"{"sub": null, "issued_before": "2030-01-01T00:00:00Z"}"#, 400, "null"),
        (r#"{"sub": "u1", "until": "tomorrow"}"#, 400, "RFC 3339"),
        (r#"{"sub": "u1", "issuer": "mian"}"#, 400, "no issuer of the configuration has this name; there is main"),
        (&long, 400, "`sub` is longer than 4096 bytes"),
        (&huge, 413, "longer than it may be"),
    ];
    for (body, status, part) in rows {
        let response = change(&socket(gateway), "POST", "/revocations", &[], body);
        let shown: String = body.chars().take(60).collect();
        assert_eq!(response.status, status, "{shown}: {}", response.text());
        assert!(response.text().contains(part), "{shown}: {}", response.text());
    }
    let listed = entries(gateway);
    assert_eq!(listed.len(), 1, "{listed:?}");
    let id = listed[0]["id"].as_str().unwrap();
    let delete = |id: &str| change(&socket(gateway), "DELETE", &format!("/revocations/{id}"), &[], "");
    let operators = delete(id);
    assert_eq!(operators.status, 405);
    assert!(operators.text().contains("revoked.yaml, which this instance only reads"), "{}", operators.text());
    for id in ["0123456789abcdef", "", "%2e%2e", "a/b"] {
        assert_eq!(delete(id).status, 404, "{id}");
    }
    let put = change(&socket(gateway), "PUT", "/revocations", &[], "{}");
    assert_eq!((put.status, put.header("Allow")), (405, Some("GET, HEAD, POST")));
    let get = change(&socket(gateway), "GET", "/revocations/0123", &[], "");
    assert_eq!((get.status, get.header("Allow")), (405, Some("DELETE")));
}

#[test]
fn the_same_entry_is_made_once_and_all_are_shown_with_where_they_are_from() {
    let file =
        "- {sub: filed, note: \"by hand\", until: 2100-01-01T00:00:00Z}\n- {sub: ended, until: 2001-01-01T00:00:00Z}\n";
    let house = start_with("revocation: {file: revoked.yaml}", |builder| builder.file("revoked.yaml", file));
    let gateway = &house.gateway;
    let id = revoke(gateway, &json!({"sub": "posted", "issuer": "main"}));
    let again = post(gateway, &json!({"issuer": "main", "sub": "posted", "note": "again"}));
    assert_eq!((again.status, again.json()["id"].as_str()), (200, Some(id.as_str())));
    let view = gateway.admin_get("/revocations").json();
    let expected = json!([
        {"id": id, "source": "own", "reason": "subject_revoked", "sub": "posted", "issuer": "main"},
        {"id": view["entries"][1]["id"], "source": "file", "reason": "subject_revoked", "sub": "filed",
         "note": "by hand", "until": "2100-01-01T00:00:00Z"},
    ]);
    assert_eq!(view["entries"], expected, "what has ended is not in force");
    let source = |position: usize, name: &str| view["sources"][position][name].clone();
    assert_eq!((source(0, "source"), source(0, "entries")), (json!("own"), json!(1)));
    assert_eq!((source(1, "source"), source(1, "entries")), (json!("file"), json!(1)));
    assert!(source(1, "name").as_str().unwrap().ends_with("/revoked.yaml"), "{view}");
    assert!(source(1, "last_success").is_string() && source(1, "last_error").is_null(), "{view}");
    assert_eq!(gateway.metric(|line| line.starts_with("portcullis_revocations ")), 2.0);
    let healthy = |source: &str| {
        gateway.metric(|line| line.starts_with(&format!("portcullis_revocation_source_healthy{{source=\"{source}\"}}")))
    };
    assert_eq!((healthy("own"), healthy("file")), (1.0, 1.0));
}

#[test]
fn subjects_are_shown_in_the_log_as_the_configuration_wants() {
    let house = start("log: {subject: off}");
    let id = revoke(&house.gateway, &json!({"sub": "alice", "sid": "s1"}));
    unrevoke(&house.gateway, &id);
    let said = house.gateway.stop().stderr;
    assert!(said.contains("(sub (not shown), sid \"s1\")") && !said.contains("alice"), "{said}");
}

#[test]
fn what_cannot_be_kept_is_refused_and_never_forgotten_silently() {
    let house = start_with("", |builder| builder.env("STATE_DIRECTORY", "/proc/no-such-place"));
    let refused = post(&house.gateway, &json!({"sub": "u1"}));
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("the entries cannot be kept: state is not kept"), "{}", refused.text());
    assert!(refused.text().contains("server.state_directory"), "{}", refused.text());
    assert_eq!(reason(&house.gateway, &signed(Token::good())), None);
    let view = house.gateway.admin_get("/revocations").json();
    assert!(view["sources"][0]["last_error"].as_str().unwrap().contains("state is not kept"), "{view}");
}

#[test]
fn an_entry_that_cannot_be_written_is_not_in_force() {
    let house = start("");
    let token = signed(Token::good());
    // The folder is away: the draft cannot be written, whoever the test runs as.
    let folder = house.gateway.folder().path().join("state/revocations");
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(&folder, "in the way").unwrap();
    let refused = post(&house.gateway, &json!({"sub": "u1"}));
    assert_eq!((refused.status, refused.text().contains("nothing was changed")), (503, true), "{}", refused.text());
    assert_eq!(reason(&house.gateway, &token), None);
    std::fs::remove_file(&folder).unwrap();
    std::fs::create_dir(&folder).unwrap();
    revoke(&house.gateway, &json!({"sub": "u1"}));
    assert_eq!(reason(&house.gateway, &token).as_deref(), Some("subject_revoked"));
}
