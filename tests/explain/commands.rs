//! The command: one row a question, and what it says, shows and returns.
use super::*;
use crate::support::{
    fixture::signing_key,
    folder::Folder,
    jwks_server::JwksServer,
    keys::{SigningKey, key_set},
    token::{Token, now},
    waiting::{PATIENCE, eventually},
};

/// Explains with a configuration that does not run; `$CONFIG` and `$FOLDER` stand for where it is.
struct Desk {
    config: String,
    folder: Folder,
}

impl Desk {
    fn new() -> Self {
        let (config, folder) = written(MORE, ROUTES);
        for (name, token) in [
            ("good.jwt", Token::good()),
            ("old.jwt", Token::good().claim("exp", 1_767_225_600 + 60).claim("iat", 1_767_225_600)),
            ("strange.jwt", Token::good().header("kid", "nobody")),
        ] {
            folder.write(name, token.signed_by(signing_key()));
        }
        folder.write("bearer.txt", format!("Bearer {}\n", Token::good().signed_by(signing_key())));
        let other = SigningKey::p256("o1");
        folder.write("other.json", key_set(&[other.jwk_for("ES256")]));
        folder.write("other.jwt", Token::good().signed_by(&other));
        folder.write("broken.json", "{");
        folder.write("unusable.json", "{\"keys\": [{\"kty\": \"oct\", \"k\": \"AAAA\"}]}");
        folder.write("claims.json", "{\"sub\": \"u1\", \"roles\": [\"admin\"]}");
        Self { config, folder }
    }

    fn explain(&self, line: &str) -> Account {
        let folder = self.folder.path().display().to_string();
        let arguments = line.split(' ').map(|word| word.replace("$FOLDER", &folder).replace('~', " "));
        let arguments: Vec<String> =
            ["explain", "-c", &self.config].map(str::to_owned).into_iter().chain(arguments).collect();
        run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// What is typed (`~` is a space within a word), the exit code, and what is said somewhere.
const ROWS: &[(&str, i32, &[&str])] = &[
    ("/public", 0, &["FORWARDED on route public", "The upstream echo gets /public", "the route asks for no token"]),
    ("https://api.test/public?x=secret", 0, &["gets /public?x=...", "listener web has no TLS"]),
    ("-X POST /teapot", 0, &["ANSWERED 418 on route teapot"]),
    ("/nowhere", 1, &["REFUSED 404 route_not_found", "cure: add a route"]),
    ("-X DELETE /orders", 1, &["REFUSED 405 method_not_allowed", "not orders (GET /orders/*): takes GET"]),
    ("/public/..%2fmine", 1, &["REFUSED 400 path_ambiguous"]),
    ("/mine", 1, &["REFUSED 401 token_missing", "cure: send a token where the route looks for one"]),
    ("--token-file $FOLDER/good.jwt /mine", 0, &["FORWARDED on route mine as u1", "X-User-ID", "keys.json"]),
    ("--token-file $FOLDER/bearer.txt /mine", 0, &["FORWARDED on route mine as u1"]),
    ("--token-file $FOLDER/old.jwt /mine", 1, &["REFUSED 401 token_expired", "cure: get a new token"]),
    ("--token-file $FOLDER/old.jwt --at 2026-01-01T00:00:30Z /mine", 0, &["FORWARDED", "at 2026-01-01T00:00:30Z"]),
    ("--token-file $FOLDER/old.jwt --at 2025-12-31T23:00:00Z /mine", 1, &["token_not_yet_valid"]),
    ("--token-file $FOLDER/strange.jwt /mine", 1, &["REFUSED 401 key_unknown", "cure: get a token"]),
    (
        "--token-file $FOLDER/other.jwt --jwks $FOLDER/other.json /mine",
        0,
        &["other.json (--jwks)", "usable keys: \"o1\""],
    ),
    ("--token-file $FOLDER/good.jwt --jwks $FOLDER/other.json /mine", 1, &["key_unknown"]),
    ("--token abc /mine", 1, &["REFUSED 401 token_malformed"]),
    (
        "--token-file $FOLDER/good.jwt /admin",
        1,
        &["role_missing", "missing role: admin", "cure: have the identity provider grant"],
    ),
    (
        "--claims {\"roles\":[\"admin\"],\"sub\":\"u2\"} --issuer main /admin",
        0,
        &["FORWARDED on route admin as u2", "claims that were added: iss, iat, exp, aud"],
    ),
    ("--claims @$FOLDER/claims.json --issuer main /admin", 0, &["as if signed", "X-User-Roles"]),
    ("--claims {\"sub\":\"u2\",\"aud\":\"x\"} --issuer main /mine", 1, &["audience_mismatch"]),
    ("--claims {\"sub\":\"banned\"} --issuer main /mine", 1, &["REFUSED 403 subject_revoked"]),
    ("--claims {\"sub\":null} --issuer main /mine", 1, &["claim_missing", "no sub"]),
    ("--claims {\"sub\":\"u2\"} --issuer main --without-secrets --offline /mine", 0, &["as u2"]),
    ("/near", 1, &["address_denied", "--address"]),
    ("--address 10.0.0.7 /near", 0, &["10.0.0.7 by http", "X-Forwarded-For"]),
    ("--address 127.0.0.9 -H X-Forwarded-For:~10.0.0.7 /near", 0, &["10.0.0.7 by http", "by way of 127.0.0.9"]),
    ("--address 127.0.0.8 -H X-Forwarded-For:~10.0.0.7 /near", 1, &["is not believed: the peer is no trusted proxy"]),
    ("--address 127.0.0.9 -H X-Forwarded-For:~nonsense /near", 1, &["REFUSED 400 request_malformed"]),
    ("--token-file $FOLDER/good.jwt /trial", 0, &["observed, not enforced: role_missing", "the rule on trial"]),
    ("/lenient", 0, &["observed, not enforced: token_missing"]),
    (
        "-X OPTIONS -H Origin:~https://app.test -H Access-Control-Request-Method:~PUT /pages",
        0,
        &["ANSWERED 204", "Access-Control-Allow-Origin"],
    ),
    (
        "--token-file $FOLDER/good.jwt -H X_User_ID:~root /api/a",
        0,
        &["gets /v1/a", "inner.test", "removed: X_user_id", "Authorization"],
    ),
    ("--token-file $FOLDER/good.jwt -X POST /session", 1, &["csrf_rejected", "cookie __Host-session"]),
    ("--token-file $FOLDER/good.jwt --format json /mine", 0, &["\"outcome\": \"forward\"", "\"subject\": \"u1\""]),
    ("/counted", 0, &["1 request per 1h by address"]),
    ("--listener wbe /mine", 2, &["did you mean `web`?"]),
    ("--claims {\"sub\":\"a\"} --issuer mian /mine", 2, &["did you mean `main`?"]),
    ("--claims [] --issuer main /mine", 2, &["--claims:"]),
    ("mine", 2, &["begins neither"]),
    ("-H nonsense /mine", 2, &["no colon"]),
    ("--at yesterday /mine", 2, &["--at"]),
    ("--token-file $FOLDER/none.jwt /mine", 1, &["none.jwt"]),
    ("--jwks $FOLDER/broken.json --token-file $FOLDER/good.jwt /mine", 1, &["broken.json"]),
    ("--jwks $FOLDER/unusable.json --token-file $FOLDER/good.jwt /mine", 1, &["no key of the set can be used"]),
];

#[test]
fn every_question_has_its_answer_and_its_exit_code() {
    let desk = Desk::new();
    for (line, code, expected) in ROWS {
        let account = desk.explain(line);
        let said = format!("{}{}", account.stdout, account.stderr);
        assert_eq!(account.code(), Some(*code), "{line}\n{said}");
        for text in *expected {
            assert!(said.contains(text), "{line}: not {text:?} in\n{said}");
        }
        assert!(!said.contains("eyJ") && !said.contains('\u{1b}'), "{line}\n{said}");
        // A refusal is a result; what could not be asked is an error.
        let is_result = account.stdout.contains("REFUSED") || *code == 0;
        assert_eq!(account.stderr.is_empty(), is_result, "{line}\n{said}");
    }
}

#[test]
fn a_wrong_configuration_is_told_with_its_place() {
    let folder = Folder::new();
    let config = folder.write("portcullis.yaml", "listeners: []\nroute: []\n");
    let account = run(&["explain", "-c", &config.display().to_string(), "/"]);
    assert_eq!(account.code(), Some(78), "{account:?}");
    assert!(account.stderr.contains("portcullis.yaml:2:1: unknown key `route`"), "{account:?}");
}

/// A configuration whose keys are on a server.
fn remote(url: &str) -> String {
    config("", ROUTES)
        .replace("keys: {jwks_file: keys.json}", &format!("keys: {{jwks_url: \"{url}\", insecure_http: true}}"))
}

#[test]
#[expect(clippy::cognitive_complexity, reason = "one row after another")]
fn keys_come_from_where_it_says() {
    let upstream = Upstream::start();
    let server = JwksServer::start(&[signing_key().jwk()]);
    let rotated = SigningKey::p256("e2");
    let gateway = Gateway::builder(remote(&server.url())).set("upstream", upstream.address());
    let gateway = gateway.file("good.jwt", Token::good().signed_by(signing_key()));
    let gateway = gateway.file("rotated.jwt", Token::good().signed_by(&rotated)).start();
    let explain = |token: &str, more: &[&str]| {
        let mut arguments = vec!["explain", "-c", "portcullis.yaml", "--token-file", token];
        arguments.extend_from_slice(more);
        arguments.push("/mine");
        gateway.run(&arguments)
    };
    let kept =
        || std::fs::read_dir(gateway.folder().path().join("state/keys")).is_ok_and(|mut files| files.next().is_some());
    assert!(eventually(PATIENCE, || kept().then_some(())).is_some());
    let fetches = server.fetches();

    let account = explain("good.jwt", &["--offline"]);
    assert_eq!(account.code(), Some(0), "{account:?}");
    assert!(account.stdout.contains("the last good set, kept in"), "{account:?}");
    // The kept set has the key: nothing is fetched.
    assert_eq!(explain("good.jwt", &[]).code(), Some(0));
    assert_eq!(server.fetches(), fetches);

    let account = explain("rotated.jwt", &["--offline"]);
    assert_eq!(account.code(), Some(1), "{account:?}");
    assert!(account.stdout.contains("key_unknown"), "{account:?}");
    server.set(crate::support::jwks_server::KeySetAnswer::keys(&[signing_key().jwk(), rotated.jwk()]));
    let account = explain("rotated.jwt", &[]);
    assert_eq!(account.code(), Some(0), "{account:?}");
    assert!(account.stdout.contains("fetched from http://"), "{account:?}");
    assert_eq!(server.fetches(), fetches + 1);

    let account = explain("good.jwt", &["--running"]);
    assert_eq!(account.code(), Some(0), "{account:?}");
    assert!(account.stdout.contains("of the running instance, fetched at"), "{account:?}");
    let account = explain("rotated.jwt", &["--running"]);
    assert_eq!(account.code(), Some(1), "{account:?}");
    assert!(account.stdout.contains("a request with this kid has them fetched again first"), "{account:?}");
    assert_eq!(server.fetches(), fetches + 1, "an explanation by the running instance fetches nothing");
}

#[test]
fn the_running_instance_is_found_and_its_refusals_are_told() {
    let (house, plain) = start();
    let gateway = &house.gateway;
    let port = plain.to_string();
    let running = |arguments: &[&str]| {
        let mut all = vec!["explain", "-c", "portcullis.yaml", "--running"];
        all.extend_from_slice(arguments);
        gateway.run(&all)
    };
    for (arguments, code, expected) in [
        (vec!["/public"], 0, "FORWARDED on route public"),
        (vec!["--format", "json", "/mine"], 1, "\"reason\": \"token_missing\""),
        (vec!["--claims", "{\"sub\":\"banned\"}", "--issuer", "main", "/mine"], 1, "subject_revoked"),
        (vec!["--listener", "plain", "/mine?x=1"], 0, "https://localhost:8443/mine?x=..."),
        (vec![&format!("http://{port}/mine")], 0, "ANSWERED 308"),
        (vec!["--listener", "other", "/mine"], 2, "there is no listener"),
    ] {
        let account = running(&arguments);
        let said = format!("{}{}", account.stdout, account.stderr);
        assert_eq!(account.code(), Some(code), "{arguments:?}\n{said}");
        assert!(said.contains(expected), "{arguments:?}\n{said}");
    }
    let nobody = free_address().to_string();
    let account = running(&["--admin", &nobody, "/public"]);
    assert_eq!(account.code(), Some(1), "{account:?}");
    assert!(house.upstream.requests().is_empty());
}

#[test]
fn a_token_for_a_moment_is_judged_at_that_moment() {
    // `at` in the past and in the future of a token that is good now.
    let (house, _) = start();
    let token = Token::good().signed_by(signing_key());
    for (at, expected) in
        [(now(), Value::Null), (now() - 7200, json!("token_not_yet_valid")), (now() + 7200, json!("token_expired"))]
    {
        let at = jiff::Timestamp::from_second(at).unwrap().to_string();
        let question = json!({"url": "/mine", "token": token, "at": at});
        assert_eq!(explained(&house.gateway, &question)["verdict"]["reason"], expected, "{at}");
    }
}
