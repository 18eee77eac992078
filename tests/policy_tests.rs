//! `portcullis test`: cases are tried with the gateway's own code, without secrets, network or state.
use serde_json::{Value, json};

use crate::support::{
    fixture::{AUDIENCE, ISSUER, config, keys_file, signing_key},
    folder::Folder,
    gateway::{Builder, run},
    jwks_server::JwksServer,
    process::Account,
    token::Token,
};

const ROUTES: &str = r#"
  - {name: public, path_prefix: /public, auth: none, upstream: echo}
  - {name: mine, path_prefix: /mine, upstream: echo}
  - {name: admin, path_prefix: /admin, require: {roles: [admin]}, upstream: echo}
  - {name: near, path_prefix: /near, addresses: {allow: [10.0.0.0/8]}, auth: none, upstream: echo}
  - {name: trial, path_prefix: /trial, observe: {require: {roles: [admin]}}, upstream: echo}
  - {name: teapot, path: /teapot, auth: none, respond: {status: 418}}
  - {name: api, path_prefix: /api, rewrite: {strip_prefix: /api, host: inner.test}, request_headers: {set: {X-Api: yes-it-is}}, upstream: echo}
  - {name: pages, path_prefix: /pages, cors: {origins: ["https://app.test"]}, upstream: echo}
"#;

/// A folder with a configuration that is not run.
struct Desk {
    folder: Folder,
}

impl Desk {
    fn new(change: impl FnOnce(String) -> String) -> Self {
        let text = change(config("revocation: {file: revoked.yaml}\ntrusted_proxies: [10.9.9.9]", ROUTES));
        let builder = Builder::new(text).set("upstream", "127.0.0.1:1").file("keys.json", keys_file());
        let builder = builder.file("revoked.yaml", "- {sub: banned}\n- {sid: s1, until: 2026-01-02T00:00:00Z}\n");
        let (_, folder) = builder.write();
        Self { folder }
    }

    fn test(&self, cases: &str, options: &[&str]) -> Account {
        self.folder.write("cases.yaml", cases);
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let (config, cases) = (path("portcullis.yaml"), path("cases.yaml"));
        let mut arguments = vec!["test", "-c", &config];
        arguments.extend_from_slice(options);
        arguments.push(&cases);
        run(&arguments)
    }
}

/// A request with what vouches for it, and what is expected of it.
const AS_EXPECTED: &[(&str, &str)] = &[
    ("request: /public", "allow"),
    (
        "request: /public",
        "{verdict: forward, route: public, subject: none, upstream: echo, path: /public, headers: {X-User-ID: null}}",
    ),
    ("request: GET https://any.test/public/a?x=1", "{verdict: allow, path: /public/a, headers: {host: any.test}}"),
    ("request: /nowhere", "{reason: route_not_found, status: 404, route: none}"),
    ("request: TRACE /public", "method_not_allowed"),
    ("request: /public/..%2fadmin", "path_ambiguous"),
    ("request: /mine", "token_missing"),
    ("request: /mine", "deny"),
    (
        "request: /mine, claims: {sub: u1}",
        "{verdict: allow, subject: u1, headers: {X-User-ID: u1, Authorization: null}}",
    ),
    ("request: /mine, claims: {sub: u1}, issuer: main", "forward"),
    ("request: /mine, claims: {sub: u1, aud: https://other.test}", "audience_mismatch"),
    ("request: /mine, claims: {sub: u1, iss: https://other.test}", "issuer_unknown"),
    ("request: /mine, claims: {sub: 12}", "claim_invalid"),
    ("request: /mine, claims: {sub: null}", "claim_missing"),
    ("request: /mine, claims: {sub: banned}", "{reason: subject_revoked, status: 403}"),
    ("request: /mine, claims: {sub: u1, sid: s1}, at: 2026-01-01T00:00:00Z", "token_revoked"),
    ("request: /mine, claims: {sub: u1, sid: s1}, at: 2026-01-03T00:00:00Z", "allow"),
    ("request: /mine, claims: {sub: u1, exp: 1767225600}, at: 2026-01-01T01:00:00Z", "token_expired"),
    ("request: /mine, claims: {sub: u1, exp: 1767225600}, at: 2025-12-31T23:59:00Z", "allow"),
    ("request: /mine, token: abc", "token_malformed"),
    ("request: /mine, token_file: good.jwt", "{verdict: allow, subject: u1}"),
    ("request: /admin, claims: {sub: u1, roles: [clerk]}", "{reason: role_missing, route: admin}"),
    (
        "request: /admin, claims: {sub: u1, roles: [clerk, admin]}",
        "{verdict: allow, headers: {X-User-Roles: 'clerk,admin'}}",
    ),
    ("request: /near", "address_denied"),
    ("request: /near, address: 10.1.2.3", "allow"),
    ("request: /near, address: 203.0.113.7, headers: {X-Forwarded-For: 10.1.2.3}", "address_denied"),
    ("request: /near, address: 10.9.9.9, headers: {X-Forwarded-For: 203.0.113.7}", "address_denied"),
    ("request: /trial, claims: {sub: u1}", "{verdict: allow, observed: role_missing}"),
    ("request: /trial, claims: {sub: u1, roles: [admin]}", "{verdict: allow, observed: none}"),
    ("request: /teapot", "{verdict: respond, status: 418}"),
    (
        "request: /api/x, claims: {sub: u1}, headers: {X_User_ID: root, X-Mine: a}",
        "{verdict: forward, path: /x, headers: {X-Api: '*', X_User_ID: null, X-Mine: a, Host: inner.test, X-Request-Id: '*'}}",
    ),
    (
        "request: OPTIONS /pages, headers: {Origin: 'https://app.test', Access-Control-Request-Method: GET}",
        "{verdict: respond, status: 204, response_headers: {Access-Control-Allow-Origin: 'https://app.test'}}",
    ),
    (
        "request: OPTIONS /pages, headers: {Origin: 'https://evil.test', Access-Control-Request-Method: GET}",
        "{verdict: respond, response_headers: {Access-Control-Allow-Origin: null}}",
    ),
];

fn cases<'a>(rows: impl Iterator<Item = &'a (&'a str, &'a str)>) -> String {
    let cases = rows
        .enumerate()
        .map(|(number, (case, expect))| format!("- {{name: case {number}, {case}, expect: {expect}}}\n"));
    format!("cases:\n{}", cases.collect::<String>())
}

#[test]
fn what_is_as_expected_passes() {
    let desk = Desk::new(|config| config);
    desk.folder.write("good.jwt", Token::good().signed_by(signing_key()));
    let account = desk.test(&cases(AS_EXPECTED.iter()), &["--require-coverage"]);
    assert_eq!(account.code(), Some(0), "{account:?}");
    assert!(account.stdout.contains(&format!("cases.yaml: {} passed\n", AS_EXPECTED.len())), "{account:?}");
    assert!(account.stdout.ends_with("routes found by a case: 8 of 8\n"), "{account:?}");
    let account = desk.test(&cases(AS_EXPECTED.iter()), &["--verbose"]);
    assert_eq!(
        account.stdout.lines().filter(|line| line.starts_with("+ case ")).count(),
        AS_EXPECTED.len(),
        "{account:?}"
    );
}

/// The same kind of row, and what is said of it.
const NOT_AS_EXPECTED: &[(&str, &str, &str)] = &[
    ("request: /mine", "allow", "found     deny, token_missing, route mine"),
    ("request: /public", "deny", "found     forward, route public"),
    ("request: /teapot", "forward", "found     respond, 418, route teapot"),
    ("request: /public", "respond", "expected  respond"),
    ("request: /admin, claims: {sub: u1}", "token_missing", "because   missing role: admin"),
    ("request: /admin, claims: {sub: u1}", "allow", "cure      have the identity provider grant"),
    ("request: /teapot", "{verdict: allow, status: 200}", "expected  status: 200"),
    ("request: /mine, claims: {sub: u1}", "{verdict: allow, route: admin}", "found     route: mine"),
    ("request: /mine, claims: {sub: u1}", "{verdict: allow, route: none}", "expected  route: none"),
    ("request: /mine, claims: {sub: u1}", "{verdict: allow, subject: u2}", "found     subject: u1"),
    ("request: /mine, claims: {sub: u1}", "{verdict: allow, path: /}", "found     path: /mine"),
    (
        "request: /mine, claims: {sub: u1}",
        "{verdict: allow, headers: {X-User-ID: u2}}",
        "found     header X-User-ID: u1",
    ),
    (
        "request: /mine, claims: {sub: u1}",
        "{verdict: allow, headers: {X-User-ID: null}}",
        "expected  header X-User-ID: none",
    ),
    (
        "request: /mine, claims: {sub: u1}",
        "{verdict: allow, headers: {X-User-Roles: '*'}}",
        "found     header X-User-Roles: none",
    ),
    ("request: /trial, claims: {sub: u1}", "{verdict: allow, observed: none}", "found     observed: role_missing"),
    ("request: /pages", "{reason: token_missing, response_headers: {Vary: x}}", "expected  response header Vary: x"),
];

#[test]
fn what_is_not_as_expected_is_told_with_its_place_its_cause_and_its_cure() {
    let desk = Desk::new(|config| config);
    for (case, expect, said) in NOT_AS_EXPECTED {
        let account = desk.test(&cases([(*case, *expect)].iter()), &[]);
        assert_eq!(account.code(), Some(1), "{case}: {expect}\n{account:?}");
        assert!(account.stdout.contains(said), "{case}: {expect}: not {said:?} in\n{}", account.stdout);
        assert!(account.stdout.contains("cases.yaml:2:3\n"), "{}", account.stdout);
        assert!(account.stdout.contains("cases.yaml: 0 passed, 1 failed\n"), "{}", account.stdout);
        assert!(account.stderr.is_empty() && !account.stdout.contains('\u{1b}'), "{account:?}");
        let json: Value =
            serde_json::from_str(&desk.test(&cases([(*case, *expect)].iter()), &["--format", "json"]).stdout).unwrap();
        assert_eq!((&json["ok"], &json["failed"]), (&json!(false), &json!(1)), "{json}");
        assert_eq!(json["files"][0]["cases"][0]["line"], 2, "{json}");
        assert!(!json["files"][0]["cases"][0]["differences"].as_array().unwrap().is_empty(), "{json}");
    }
    let account = desk.test(&cases([("request: /mine", "allow")].iter()), &["--explain"]);
    assert!(account.stdout.contains("    x token source   token_missing"), "{account:?}");
}

#[test]
fn routes_that_no_case_finds_are_named_and_may_be_asked_for() {
    let desk = Desk::new(|config| config);
    let some = cases([("request: /mine", "deny"), ("request: /public", "allow")].iter());
    let account = desk.test(&some, &[]);
    assert_eq!(account.code(), Some(0), "{account:?}");
    assert!(account.stdout.contains("2 of 8; no case finds admin, near, trial, teapot, api, pages"), "{account:?}");
    let account = desk.test(&some, &["--require-coverage"]);
    assert_eq!(account.code(), Some(1), "{account:?}");
    assert!(account.stdout.contains("no case finds the route admin"), "{account:?}");
    let account = desk.test(&some, &["--require-coverage=both"]);
    assert!(account.stdout.contains("no case passes on the route mine"), "{account:?}");
    assert!(!account.stdout.contains("denied on the route public"), "a public route denies nobody: {account:?}");
    let account = desk.test(&some, &["--require-coverage", "--format", "junit"]);
    assert_eq!(account.code(), Some(1), "{account:?}");
    assert!(
        account.stdout.contains("<testsuite name=\"coverage\" tests=\"6\" failures=\"6\" errors=\"0\">"),
        "{account:?}"
    );
}

#[test]
fn junit_is_well_formed_whatever_a_name_holds() {
    let Some(python) = crate::support::peers::require_program("python3", "JUnit is read by a parser of XML") else {
        return;
    };
    let desk = Desk::new(|config| config);
    let cases = "cases:\n- {name: \"<b> & 'c' \\\"d\\\" \\u0007 é\", request: /mine, expect: allow}\n- {name: fine, request: /public, expect: allow}\n";
    let account = desk.test(cases, &["--format", "junit"]);
    assert_eq!(account.code(), Some(1), "{account:?}");
    desk.folder.write("junit.xml", &account.stdout);
    let script = "import sys, xml.etree.ElementTree as t\nr = t.parse(sys.argv[1]).getroot()\nprint(r.get('tests'), r.get('failures'), [c.get('name') for c in r.iter('testcase')], len(r.findall('.//failure')))";
    let junit = desk.folder.path().join("junit.xml");
    let mut command = std::process::Command::new(python);
    let account = crate::support::process::run("python3", command.arg("-c").arg(script).arg(junit));
    assert_eq!(account.stdout.trim(), "2 1 ['<b> & \\'c\\' \"d\" \u{fffd} é', 'fine'] 1", "{account:?}");
}

#[test]
fn nothing_but_the_configuration_and_its_files_is_needed() {
    // Secrets that are not here, and a server that is not to be asked.
    let server = JwksServer::start(&[signing_key().jwk()]);
    let url = server.url();
    let desk = Desk::new(|_| {
        format!(
            "listeners: [{{address: 127.0.0.1:8080}}]\n\
             issuers:\n\
             \x20 main: {{issuer: {ISSUER}, audiences: [{AUDIENCE}], keys: {{jwks_url: \"{url}\", insecure_http: true}}}}\n\
             \x20 shared: {{issuer: https://shared.test, audiences: [a], algorithms: [HS256], keys: {{secret_file: absent.key}}}}\n\
             identity: {{headers: {{X-Issuer: {{from: issuer}}}}}}\n\
             routes:\n\
             - {{name: mine, path_prefix: /mine, issuers: [main, shared], request_headers: {{set: {{X-Api: {{file: absent.txt}}}}}}, upstream: echo}}\n\
             upstreams: {{echo: {{servers: [127.0.0.1:1]}}}}\n"
        )
    });
    desk.folder.write("keys.json", keys_file());
    desk.folder.write("good.jwt", Token::good().signed_by(signing_key()));
    let text = cases(
        [
            ("request: /mine, claims: {sub: u1}, issuer: shared", "{verdict: allow, headers: {X-Issuer: shared}}"),
            ("request: /mine, claims: {sub: u1}, issuer: main", "allow"),
            ("request: /mine, token_file: good.jwt", "keys_unavailable"),
        ]
        .iter(),
    );
    let account = desk.test(&text, &[]);
    assert_eq!(account.code(), Some(0), "{account:?}");
    assert_eq!(server.fetches(), 0);
    let keys = desk.folder.path().join("keys.json").display().to_string();
    let account = desk.test(&text.replace("keys_unavailable", "allow"), &["--jwks", &keys]);
    assert_eq!(account.code(), Some(0), "{account:?}");
}

#[test]
fn what_holds_no_cases_is_told_with_its_place_and_never_shows_a_token() {
    let desk = Desk::new(|config| config);
    let token = Token::good().signed_by(signing_key());
    for (text, said) in [
        ("cases: []", "cases.yaml:1:1: `cases` has 0 cases"),
        ("cases:\n- {name: a, request: /, expect: alow}", "cases.yaml:2:33: `alow`"),
        ("cases:\n- {name: a, request: /, expect: {verdict: allow, route: mne}}", "did you mean `mine`?"),
        (&format!("cases:\n- {{name: a, request: /, token: {token}, expect: alow}}"), "did you mean `allow`?"),
        (
            "cases:\n- {name: a, request: /, token_file: none.jwt, expect: allow}",
            "cases.yaml:2:3: this cannot be tried",
        ),
        ("cases:\n- {name: a, request: /#x, expect: allow}", "cases.yaml:2:3: this cannot be tried: the URL has"),
    ] {
        let account = desk.test(text, &[]);
        assert_eq!(account.code(), Some(2), "{text}\n{account:?}");
        assert!(
            account.stderr.contains(said) && account.stdout.is_empty(),
            "{text}: not {said:?} in\n{}",
            account.stderr
        );
        assert!(!account.stderr.contains("eyJ"), "{}", account.stderr);
    }
    let account = desk.test(&cases(AS_EXPECTED[..2].iter()), &["--only", "no such"]);
    assert_eq!(account.code(), Some(2), "{account:?}");
    let account = desk.test(&cases(AS_EXPECTED[..2].iter()), &["--only", "case 1"]);
    assert!(account.stdout.contains("cases.yaml: 1 passed"), "{account:?}");
    desk.folder.write("portcullis.yaml", "listeners: 1\n");
    let account = desk.test(&cases(AS_EXPECTED[..2].iter()), &[]);
    assert_eq!(account.code(), Some(78), "{account:?}");
    assert!(account.stderr.contains("portcullis.yaml:1:"), "{account:?}");
}
