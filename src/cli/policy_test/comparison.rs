//! What a case expects, beside what becomes of its request.
use serde::Serialize;

use crate::{
    config::policy_tests::{Expected, ExpectedVerdict, PolicyTest},
    edge::explain::{Explanation, Forwarded, Outcome, VALUE_UNSAID},
};

/// A header field that is there, whatever its value.
const ANY_VALUE: &str = "*";
const NONE: &str = "none";

/// Something that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    /// What it is about.
    pub(super) what: String,
    /// What was expected.
    pub(super) expected: String,
    /// What was found.
    pub(super) found: String,
}

/// Everything that is not as expected. Where the verdict is not, that alone is said: the rest follows from it.
pub(super) fn differences(test: &PolicyTest, explanation: &Explanation) -> Vec<Difference> {
    let (expected, verdict) = (&test.expected, &explanation.verdict);
    let is_right = match expected.verdict {
        ExpectedVerdict::Allow => verdict.outcome != Outcome::Refuse,
        ExpectedVerdict::Forward => verdict.outcome == Outcome::Forward,
        ExpectedVerdict::Respond => verdict.outcome == Outcome::Respond,
        ExpectedVerdict::Deny => verdict.outcome == Outcome::Refuse,
    };
    let is_reason_right = expected.reason.is_none() || expected.reason == verdict.reason;
    if !is_right || !is_reason_right {
        return vec![difference("verdict", wanted(expected), found(explanation))];
    }
    let mut list = Vec::new();
    let mut compare = |what: &str, expected: Option<&str>, found: Option<&str>| {
        if expected != found {
            let shown = |text: Option<&str>| text.unwrap_or(NONE).to_owned();
            list.push(difference(what, shown(expected), shown(found)));
        }
    };
    if let Some(status) = expected.status {
        let (expected, found) = (status.to_string(), verdict.status.map(|status| status.to_string()));
        compare("status", Some(&expected), found.as_deref());
    }
    if let Some(route) = &expected.route {
        compare("route", route.as_deref(), verdict.route.as_deref());
    }
    if let Some(subject) = &expected.subject {
        compare("subject", subject.as_deref(), verdict.subject.as_deref());
    }
    if let Some(observed) = &expected.observed {
        compare("observed", observed.as_deref(), verdict.observed.as_deref());
    }
    let upstream = explanation.upstream.as_ref();
    if let Some(name) = &expected.upstream {
        compare("upstream", Some(name), upstream.map(|upstream| upstream.upstream.as_str()));
    }
    if let Some(path) = &expected.path {
        compare("path", Some(path), upstream.and_then(|upstream| upstream.target.split('?').next()));
    }
    for (name, expected) in &expected.headers {
        let found = upstream.and_then(|upstream| sent(name, upstream, test));
        compare_header(&mut compare, &format!("header {name}"), expected.as_deref(), found.as_deref());
    }
    for (name, expected) in &expected.response_headers {
        let found = explanation.response_headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let found = found.map(|(_, value)| value.as_str());
        compare_header(&mut compare, &format!("response header {name}"), expected.as_deref(), found);
    }
    list
}

fn compare_header(
    compare: &mut impl FnMut(&str, Option<&str>, Option<&str>),
    what: &str,
    expected: Option<&str>,
    found: Option<&str>,
) {
    if !(expected == Some(ANY_VALUE) && found.is_some()) {
        compare(what, expected, found);
    }
}

fn difference(what: &str, expected: String, found: String) -> Difference {
    Difference { what: what.to_owned(), expected, found }
}

/// The value of a header field that the upstream gets.
fn sent(name: &str, upstream: &Forwarded, test: &PolicyTest) -> Option<String> {
    if name.eq_ignore_ascii_case("host") {
        return upstream.host.clone();
    }
    let written = upstream.identity.iter().chain(&upstream.set);
    if let Some((_, value)) = written.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
        return Some(value.clone());
    }
    if !upstream.passed.iter().any(|passed| passed.eq_ignore_ascii_case(name)) {
        return None;
    }
    // What a client's cookies are after one of them was taken out is not looked at.
    let values = test.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    let values: Vec<&str> = values.map(|(_, value)| value.as_str()).collect();
    Some(if values.is_empty() { VALUE_UNSAID.to_owned() } else { values.join(", ") })
}

/// What was expected, in words.
pub(super) fn wanted(expected: &Expected) -> String {
    let verdict = match (expected.verdict, &expected.reason) {
        (ExpectedVerdict::Allow, _) => "allow".to_owned(),
        (ExpectedVerdict::Forward, _) => "forward".to_owned(),
        (ExpectedVerdict::Respond, _) => "respond".to_owned(),
        (ExpectedVerdict::Deny, None) => "deny".to_owned(),
        (ExpectedVerdict::Deny, Some(reason)) => format!("deny, {reason}"),
    };
    let route = expected.route.as_ref().map(|route| format!(", route {}", route.as_deref().unwrap_or(NONE)));
    format!("{verdict}{}", route.unwrap_or_default())
}

/// What became of the request, in words.
pub(super) fn found(explanation: &Explanation) -> String {
    let verdict = &explanation.verdict;
    let outcome = match verdict.outcome {
        Outcome::Forward => "forward".to_owned(),
        Outcome::Respond => format!("respond, {}", verdict.status.unwrap_or_default()),
        Outcome::Refuse => format!("deny, {}", verdict.reason.as_deref().unwrap_or_default()),
    };
    let route = verdict.route.as_ref().map(|route| format!(", route {route}")).unwrap_or_default();
    let subject = verdict.subject.as_ref().map(|subject| format!(", subject {subject}")).unwrap_or_default();
    format!("{outcome}{route}{subject}")
}
