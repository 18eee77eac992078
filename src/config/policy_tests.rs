//! Policy tests in YAML: text to cases, everything that is wrong with it in one run, each with its place. It decides nothing,
//! and reads no file and no clock.
mod expected;

use std::net::IpAddr;

use serde_json::{Map, Value as Json};
use zeroize::Zeroizing;

use crate::config::bounds::Bounds;
use crate::config::error::Problems;
use crate::config::field::Field;
use crate::config::keys::policy_test::{CASE, DEFAULTS, FILE};
use crate::config::parse::context::position_of;
use crate::config::parse::section::Section;
use crate::config::policy_tests::expected::expected;
use crate::config::revocation_list::parse_time;
use crate::config::tree::{Reading, Value};
use crate::config::yaml;
use crate::gate::time::UnixTime;

pub use crate::config::policy_tests::expected::{Expected, ExpectedVerdict};

/// The most cases of one file.
pub const CASES_MAX: usize = 10_000;
/// What a point in time must look like.
const TIME: &str = "a time in RFC 3339, such as `2026-11-23T09:30:00Z`";
/// The names of a configuration that cases may use.
#[derive(Clone, Debug, Default)]
pub struct KnownNames {
    /// Issuers.
    pub issuers: Vec<Box<str>>,
    /// Routes.
    pub routes: Vec<Box<str>>,
    /// Listeners.
    pub listeners: Vec<Box<str>>,
    /// Upstreams.
    pub upstreams: Vec<Box<str>>,
}

/// One case.
#[derive(Debug)]
pub struct PolicyTest {
    /// What it shows.
    pub name: String,
    /// Its line, from 1.
    pub line: u32,
    /// Its column in characters, from 1.
    pub column: u32,
    /// Method of the request.
    pub method: String,
    /// URL of the request, or its path alone.
    pub url: String,
    /// Header fields of the request.
    pub headers: Vec<(String, String)>,
    /// What vouches for it.
    pub vouching: Vouching,
    /// When it is judged; now unless given.
    pub at: Option<UnixTime>,
    /// Address of the client.
    pub address: Option<IpAddr>,
    /// Name of the listener.
    pub listener: Option<String>,
    /// What is expected.
    pub expected: Expected,
}

/// What vouches for a request.
pub enum Vouching {
    /// Nothing.
    Nothing,
    /// A token.
    Token(Zeroizing<String>),
    /// The token in this file, as written.
    TokenFile(String),
    /// Claims, as if the issuer of this name had signed them.
    Claims {
        /// The claims.
        claims: Map<String, Json>,
        /// The issuer's name.
        issuer: String,
    },
}

impl std::fmt::Debug for Vouching {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Token(_) => "Token",
            Self::TokenFile(_) => "TokenFile",
            Self::Claims { .. } => "Claims",
        })
    }
}

/// The cases of a file that messages call `name`; nothing when there is an error, which is among the problems then.
pub fn parse(name: &str, text: &[u8], known: &KnownNames, problems: &mut Problems) -> Option<Vec<PolicyTest>> {
    let errors_before = problems.error_count();
    let node = yaml::parse_within(Bounds::LIST, name, text, problems)?;
    let file = Section::read(&Field::root(&node), FILE, problems)?;
    let defaults = file.section("defaults", DEFAULTS, problems);
    let base = defaults.optional("base").and_then(|field| base(&field, problems));
    let elements = file.required("cases", problems)?.list(problems)?;
    if elements.is_empty() || elements.len() > CASES_MAX {
        let count = elements.len();
        let problem = format!("`cases` has {count} cases, and must have one at least and {CASES_MAX} at most");
        problems.add(file.field().unwrap_or(&Field::root(&node)).error(problem));
    }
    let mut cases: Vec<PolicyTest> = Vec::with_capacity(elements.len().min(CASES_MAX));
    for element in elements.iter().take(CASES_MAX) {
        // Each problem costs a search of those before it.
        if problems.is_full() {
            break;
        }
        let Some(section) = Section::read(element, CASE, problems) else { continue };
        let section = section.or_else(&defaults);
        let Some(case) = case(element, &section, (base.as_deref(), known), problems) else { continue };
        if let Some(twin) = cases.iter().find(|other| other.name == case.name) {
            let problem = format!("the name `{}` is that of the case in line {} too", case.name, twin.line);
            problems.add(section.optional("name").as_ref().unwrap_or(element).error(problem));
        }
        cases.push(case);
    }
    (problems.error_count() == errors_before).then_some(cases)
}

fn base(field: &Field<'_>, problems: &mut Problems) -> Option<String> {
    let text = field.string(problems)?;
    let host = ["https://", "http://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    if host.is_none_or(|host| host.is_empty() || host.contains(['/', '?', '#', '@'])) {
        problems.add(field.mismatch("scheme and host alone, such as `https://api.example.com`"));
        return None;
    }
    Some(text.to_owned())
}

fn case(
    element: &Field<'_>,
    section: &Section<'_>,
    (base, known): (Option<&str>, &KnownNames),
    problems: &mut Problems,
) -> Option<PolicyTest> {
    let name = section.required("name", problems).and_then(|field| Some(field.string(problems)?.to_owned()));
    let request = section.required("request", problems).and_then(|field| request(&field, base, problems));
    let headers = section.optional("headers").map(|field| headers(&field, problems)).unwrap_or_default();
    let vouching = vouching(section, known, problems);
    let at = section.optional("at").and_then(|field| {
        let time = parse_time(field.text());
        if time.is_none() {
            problems.add(field.mismatch(TIME));
        }
        time
    });
    let address = section.optional("address").and_then(|field| {
        let address = field.text().parse().ok();
        if address.is_none() {
            problems.add(field.mismatch("an IP address"));
        }
        address
    });
    let listener = named(section.optional("listener"), &known.listeners, "listener", problems);
    let expected = section.required("expect", problems).and_then(|field| expected(&field, known, problems));
    let ((method, url), position) = (request?, element.position());
    Some(PolicyTest {
        name: name?,
        line: position.line,
        column: position.column,
        method,
        url,
        headers,
        vouching: vouching?,
        at,
        address,
        listener,
        expected: expected?,
    })
}

/// A name of the configuration; one that it does not have is reported.
fn named(field: Option<Field<'_>>, known: &[Box<str>], what: &str, problems: &mut Problems) -> Option<String> {
    let field = field?;
    let text = field.string(problems)?;
    position_of(&field, text, known.iter().map(AsRef::as_ref), what, problems)?;
    Some(text.to_owned())
}

/// Method and URL.
fn request(field: &Field<'_>, base: Option<&str>, problems: &mut Problems) -> Option<(String, String)> {
    let text = field.string(problems)?;
    let (method, url) = match text.split_once(' ') {
        Some((method, url)) => (method, url.trim_start_matches(' ')),
        None => ("GET", text),
    };
    let is_path = url.starts_with('/');
    let is_url = ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
    let is_method = http::Method::from_bytes(method.as_bytes()).is_ok();
    if !is_method || !(is_path || is_url) || url.contains(' ') {
        problems.add(field.mismatch("a method and a URL or path, such as `GET /orders`"));
        return None;
    }
    let base = base.filter(|_| is_path).unwrap_or_default();
    Some((method.to_owned(), format!("{base}{url}")))
}

fn headers(field: &Field<'_>, problems: &mut Problems) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in field.entries(problems).unwrap_or_default() {
        if !is_header_name(&entry, problems) {
            continue;
        }
        for (_, value) in entry.one_or_strings(problems).unwrap_or_default() {
            found.push((entry.name().to_owned(), value.to_owned()));
        }
    }
    found
}

fn is_header_name(entry: &Field<'_>, problems: &mut Problems) -> bool {
    let is_name = entry.name().parse::<http::HeaderName>().is_ok();
    if !is_name {
        problems.add(entry.key_error(format!("`{}` is no name of a header field", entry.name())));
    }
    is_name
}

fn vouching(section: &Section<'_>, known: &KnownNames, problems: &mut Problems) -> Option<Vouching> {
    let ways = ["claims", "token", "token_file"];
    let found: Vec<Field<'_>> = ways.iter().filter_map(|way| section.optional(way)).collect();
    let [field] = found.as_slice() else {
        if let Some(second) = found.get(1) {
            problems.add(second.key_error(format!("a case has one of {}, not several", ways.join(", "))));
            return None;
        }
        let own = section.has_own("issuer").then(|| section.optional("issuer")).flatten();
        if let Some(issuer) = own {
            problems.add(issuer.key_error("`issuer` is for `claims`"));
        }
        return Some(Vouching::Nothing);
    };
    match field.name() {
        "token" => Some(Vouching::Token(Zeroizing::new(field.string(problems)?.to_owned()))),
        "token_file" => Some(Vouching::TokenFile(field.string(problems)?.to_owned())),
        _ => {
            let issuer = match (section.optional("issuer"), known.issuers.as_slice()) {
                (None, [only]) => only.to_string(),
                (None, _) => {
                    let names: Vec<String> = known.issuers.iter().take(8).map(|name| format!("`{name}`")).collect();
                    let problem = field.key_error("whose claims they are is not said");
                    problems.add(problem.with_hint(format!("add `issuer`, one of {}", names.join(", "))));
                    return None;
                }
                (field @ Some(_), known) => named(field, known, "issuer", problems)?,
            };
            let Value::Mapping(_) = field.node().value else {
                problems.add(field.mismatch("a mapping of claims"));
                return None;
            };
            let Json::Object(claims) = field.node().to_json(Reading::Written) else { return None };
            Some(Vouching::Claims { claims, issuer })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn known() -> KnownNames {
        let names = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect();
        KnownNames {
            issuers: names(&["main"]),
            routes: names(&["orders", "admin"]),
            listeners: names(&["web"]),
            upstreams: names(&["echo"]),
        }
    }

    fn read_with(known: &KnownNames, text: &str) -> Result<Vec<PolicyTest>, String> {
        let mut problems = Problems::new();
        let cases = parse("t.yaml", text.as_bytes(), known, &mut problems);
        assert_eq!(cases.is_some(), !problems.has_errors(), "{}", problems.render());
        cases.ok_or_else(|| problems.render())
    }

    fn read(text: &str) -> Result<Vec<PolicyTest>, String> {
        read_with(&known(), text)
    }

    #[test]
    fn a_case_takes_from_the_defaults_what_it_lacks() {
        let cases = read(
            "defaults: {base: 'https://a.test', at: '2026-11-23T09:30:00Z', address: 10.0.0.1, listener: web, issuer: main}\n\
             cases:\n\
             - {name: one, request: /orders, expect: allow}\n\
             - {name: two, request: POST https://b.test/x?y, claims: {sub: u1, n: 1, roles: [a]}, address: 10.0.0.2, expect: role_missing}\n\
             - name: three\n  request: GET /x\n  headers: {Cookie: [a=1, b=2], X-A: '1'}\n  expect: {reason: token_missing, status: 401, route: none}\n\
             - {name: four, request: /x, token_file: t.jwt, expect: {verdict: forward, route: orders, subject: none, upstream: echo, path: /, headers: {X-A: '1', X-B: null}, observed: none}}\n",
        )
        .unwrap();
        assert_eq!((cases[0].method.as_str(), cases[0].url.as_str()), ("GET", "https://a.test/orders"));
        assert_eq!((cases[0].line, cases[0].column), (3, 3));
        assert_eq!(cases[0].expected, Expected::only(ExpectedVerdict::Allow, None));
        assert_eq!(cases[0].at, parse_time("2026-11-23T09:30:00Z"));
        assert_eq!((cases[1].method.as_str(), cases[1].url.as_str()), ("POST", "https://b.test/x?y"));
        assert_eq!(cases[1].address, Some("10.0.0.2".parse().unwrap()));
        let Vouching::Claims { claims, issuer } = &cases[1].vouching else { panic!("claims") };
        assert_eq!((issuer.as_str(), claims["n"].as_i64()), ("main", Some(1)));
        assert_eq!(cases[1].expected, Expected::only(ExpectedVerdict::Deny, Some("role_missing".to_owned())));
        let three: Vec<_> = cases[2].headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(three, [("Cookie", "a=1"), ("Cookie", "b=2"), ("X-A", "1")]);
        assert_eq!(cases[2].expected.route, Some(None));
        let four = &cases[3].expected;
        assert_eq!((&four.subject, &four.observed), (&Some(None), &Some(None)));
        assert_eq!(four.headers, [("X-A".to_owned(), Some("1".to_owned())), ("X-B".to_owned(), None)]);
    }

    #[test]
    fn every_mistake_has_its_place_and_its_cure() {
        let case = |rest: &str| format!("cases:\n- {{name: a, request: /, {rest}}}\n");
        for (text, expected) in [
            ("cases: []".to_owned(), "t.yaml:1:1: `cases` has 0 cases"),
            ("case: []".to_owned(), "t.yaml:1:1: unknown key `case`"),
            ("[]".to_owned(), "must be a mapping"),
            (case("expect: alow"), "did you mean `allow`?"),
            (case("expect: role_mising"), "t.yaml:2:33: `role_mising` is no verdict and no reason of a refusal"),
            (case("expect: {}"), "what becomes of the request is not said"),
            (case("expect: {status: 401}"), "add `verdict: allow`"),
            (case("expect: {verdict: allow, reason: role_missing}"), "`reason` is for a request that is denied"),
            (case("expect: {reason: role_missing, headers: {X-A: b}}"), "`headers` is for a request that passes"),
            (case("expect: {verdict: deny, route: order}"), "did you mean `orders`?"),
            (case("expect: {verdict: allow, upstream: ech}"), "did you mean `echo`?"),
            (case("expect: {verdict: allow, headers: {'a b': c}}"), "`a b` is no name of a header field"),
            (case("expect: {verdict: yes}"), "verdict"),
            (case("expect: allow, issuer: main"), "`issuer` is for `claims`"),
            (case("expect: allow, claims: {}, issuer: mian"), "did you mean `main`?"),
            (case("expect: allow, claims: []"), "a mapping of claims"),
            (case("expect: allow, claims: {}, token: x"), "one of claims, token, token_file"),
            (case("expect: allow, at: yesterday"), "RFC 3339"),
            (case("expect: allow, address: home"), "an IP address"),
            (case("expect: allow, listener: wbe"), "did you mean `web`?"),
            (case("expect: allow, expct: allow"), "unknown key `expct`"),
            ("cases:\n- {name: a, request: orders, expect: allow}".to_owned(), "a method and a URL or path"),
            ("cases:\n- {name: a, request: GET /a b, expect: allow}".to_owned(), "a method and a URL or path"),
            ("cases:\n- {request: /, expect: allow}".to_owned(), "`name`"),
            ("cases:\n- {name: a, expect: allow}".to_owned(), "`request`"),
            ("cases:\n- {name: a, request: /}".to_owned(), "`expect`"),
            (
                "defaults: {base: a.test}\ncases:\n- {name: a, request: /, expect: allow}".to_owned(),
                "scheme and host alone",
            ),
            (
                "cases:\n- {name: a, request: /, expect: allow}\n- {name: a, request: /, expect: deny}".to_owned(),
                "t.yaml:3:10: the name `a` is that of the case in line 2 too",
            ),
        ] {
            let problems = read(&text).unwrap_err();
            assert!(problems.contains(expected), "{text}: {problems}");
        }
        let several = KnownNames { issuers: vec!["a".into(), "b".into()], ..known() };
        let problems = read_with(&several, &case("expect: allow, claims: {}")).unwrap_err();
        assert!(problems.contains("add `issuer`, one of `a`, `b`"), "{problems}");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC*|[\\s\\S]{0,80}|cases:\n(- \\{(name|request|expect|claims|x): [a-z0-9\"'*&/]{0,5}(, expect: [a-z]{0,6})?\\}\n){0,4}") {
            let _ = read(&text);
        }
    }
}
