//! What a case expects.
use crate::config::error::Problems;
use crate::config::field::Field;
use crate::config::keys::policy_test::{EXPECT, VERDICTS};
use crate::config::parse::context::position_of;
use crate::config::parse::section::Section;
use crate::config::policy_tests::{KnownNames, is_header_name, named};
use crate::config::tree::Value;
use crate::gate::rejection::Rejection;

/// Where a case stands for nothing that is there.
const NONE: &str = "none";

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedVerdict {
    /// It passes: forwarded, or answered by the route or as a preflight.
    Allow,
    /// It reaches its upstream.
    Forward,
    /// The gateway answers it.
    Respond,
    /// It is refused.
    Deny,
}

/// What is expected; of what is not said anything is right. `Some(None)` is that there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// What becomes of it.
    pub verdict: ExpectedVerdict,
    /// Label of the rejection.
    pub reason: Option<String>,
    /// Status of the gateway's answer.
    pub status: Option<u16>,
    /// Name of the route.
    pub route: Option<Option<String>>,
    /// Whose request it is.
    pub subject: Option<Option<String>>,
    /// Name of the upstream.
    pub upstream: Option<String>,
    /// The path that it gets.
    pub path: Option<String>,
    /// Header fields that it gets.
    pub headers: Vec<(String, Option<String>)>,
    /// Header fields that the client gets.
    pub response_headers: Vec<(String, Option<String>)>,
    /// What a rule on trial says.
    pub observed: Option<Option<String>>,
}

const REASON: &str = "reason of a refusal";

/// Reads what is expected.
pub(super) fn expected(field: &Field<'_>, known: &KnownNames, problems: &mut Problems) -> Option<Expected> {
    if let Value::Mapping(_) = field.node().value {
        return expected_in_full(field, known, problems);
    }
    let word = field.string(problems)?;
    let (verdict, reason) = match verdict(word) {
        Some(verdict) => (verdict, None),
        None => {
            let words = VERDICTS.iter().chain(Rejection::LABELS).copied();
            position_of(field, word, words, "verdict and no reason of a refusal", problems)?;
            (ExpectedVerdict::Deny, Some(word.to_owned()))
        }
    };
    Some(Expected::only(verdict, reason))
}

fn verdict(word: &str) -> Option<ExpectedVerdict> {
    match word {
        "allow" => Some(ExpectedVerdict::Allow),
        "forward" => Some(ExpectedVerdict::Forward),
        "respond" => Some(ExpectedVerdict::Respond),
        "deny" => Some(ExpectedVerdict::Deny),
        _ => None,
    }
}

impl Expected {
    /// A verdict, and nothing more but its reason.
    pub const fn only(verdict: ExpectedVerdict, reason: Option<String>) -> Self {
        Self {
            verdict,
            reason,
            status: None,
            route: None,
            subject: None,
            upstream: None,
            path: None,
            headers: Vec::new(),
            response_headers: Vec::new(),
            observed: None,
        }
    }
}

fn expected_in_full(field: &Field<'_>, known: &KnownNames, problems: &mut Problems) -> Option<Expected> {
    let errors_before = problems.error_count();
    let section = Section::read(field, EXPECT, problems)?;
    let reasons = || Rejection::LABELS.iter().copied();
    let mut label = |name: &str, may_be_none: bool| {
        let field = section.optional(name)?;
        let text = field.string(problems)?;
        if may_be_none && text == NONE {
            return Some(None);
        }
        position_of(&field, text, reasons(), REASON, problems)?;
        Some(Some(text.to_owned()))
    };
    let (reason, observed) = (label("reason", false).flatten(), label("observed", true));
    let said = section.optional("verdict").and_then(|field| {
        let choices = [
            ("allow", ExpectedVerdict::Allow),
            ("forward", ExpectedVerdict::Forward),
            ("respond", ExpectedVerdict::Respond),
            ("deny", ExpectedVerdict::Deny),
        ];
        field.choice(&choices, problems)
    });
    let verdict = match (said, &reason) {
        (Some(verdict), None) | (Some(verdict @ ExpectedVerdict::Deny), Some(_)) => verdict,
        (Some(_), Some(_)) => {
            section.refuse(&["reason"], "is for a request that is denied", problems);
            ExpectedVerdict::Deny
        }
        (None, Some(_)) => ExpectedVerdict::Deny,
        (None, None) if section.mentions("verdict") || section.mentions("reason") => ExpectedVerdict::Allow,
        (None, None) => {
            problems.add(
                field
                    .error("what becomes of the request is not said")
                    .with_hint("add `verdict: allow`, or `deny`, or a `reason`"),
            );
            ExpectedVerdict::Allow
        }
    };
    if verdict == ExpectedVerdict::Deny {
        section.refuse(
            &["upstream", "path", "headers", "subject", "observed"],
            "is for a request that passes",
            problems,
        );
    }
    if verdict == ExpectedVerdict::Respond {
        section.refuse(&["upstream", "path", "headers"], "is for a request that is forwarded", problems);
    }
    let route = section.optional("route").and_then(|field| {
        if field.text() == NONE && !known.routes.iter().any(|name| **name == *NONE) {
            return Some(None);
        }
        named(Some(field), &known.routes, "route", problems).map(Some)
    });
    let subject = section.optional("subject").and_then(|field| {
        let text = field.string(problems)?;
        Some((text != NONE).then(|| text.to_owned()))
    });
    let status = section.optional("status").and_then(|field| u16::try_from(field.unsigned(100..=599, problems)?).ok());
    let upstream = named(section.optional("upstream"), &known.upstreams, "upstream", problems);
    let path = section.optional("path").and_then(|field| Some(field.string(problems)?.to_owned()));
    let mut values =
        |name: &str| section.optional(name).map(|field| expected_values(&field, problems)).unwrap_or_default();
    let (headers, response_headers) = (values("headers"), values("response_headers"));
    let whole =
        Expected { verdict, reason, status, route, subject, upstream, path, headers, response_headers, observed };
    (problems.error_count() == errors_before).then_some(whole)
}

fn expected_values(field: &Field<'_>, problems: &mut Problems) -> Vec<(String, Option<String>)> {
    let mut found = Vec::new();
    for entry in field.entries(problems).unwrap_or_default() {
        if !is_header_name(&entry, problems) {
            continue;
        }
        let value = if entry.node().is_null() { Some(None) } else { entry.string_or_empty(problems).map(Some) };
        found.extend(value.map(|value| (entry.name().to_owned(), value.map(str::to_owned))));
    }
    found
}
