//! What was tried, for people and for programs.
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{
    cli::{
        explain::text::{Colour, Style, padded, render},
        policy_test::{Outcome, Tried, TriedFile, comparison},
    },
    config::terminal::printable,
    edge::explain::{self, StepResult},
};

/// What people want to see.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    /// Cases that are as expected too.
    pub(super) verbose: bool,
    /// Every step of those that are not.
    pub(super) explain: bool,
}

/// For people: what is wrong, and how many are right.
pub(super) fn text(outcome: &Outcome, choice: Choice, style: Style) -> String {
    let mut out = String::new();
    for file in &outcome.files {
        for case in &file.cases {
            if !case.passed() {
                failed(&mut out, file, case, choice, style);
            } else if choice.verbose {
                let _ = writeln!(out, "{} {}", style.mark(StepResult::Ok), printable(&case.test.name));
            }
        }
    }
    for lack in &outcome.uncovered {
        let _ = writeln!(out, "{} {}", style.mark(StepResult::Failed), style.paint(Colour::Red, &printable(lack)));
    }
    if !out.is_empty() {
        out.push('\n');
    }
    for file in &outcome.files {
        let failed = file.cases.iter().filter(|case| !case.passed()).count();
        let passed = file.cases.len() - failed;
        let said = match failed {
            0 => style.paint(Colour::Green, &format!("{passed} passed")),
            failed => format!("{passed} passed, {}", style.paint(Colour::Red, &format!("{failed} failed"))),
        };
        let _ = writeln!(out, "{}: {said}", printable(&file.name));
    }
    let (all, untested) = (outcome.coverage.routes.len(), outcome.coverage.untested());
    let without = match untested.as_slice() {
        [] => String::new(),
        names => format!("; no case finds {}", printable(&names.join(", "))),
    };
    let _ = writeln!(out, "routes found by a case: {} of {all}{without}", all - untested.len());
    out
}

fn failed(out: &mut String, file: &TriedFile, case: &Tried, choice: Choice, style: Style) {
    let (test, verdict) = (&case.test, &case.explanation.verdict);
    let place = format!("{}:{}:{}", printable(&file.name), test.line, test.column);
    let name = style.paint(Colour::Red, &printable(&test.name));
    let _ = writeln!(out, "{} {name}", style.mark(StepResult::Failed));
    let _ = writeln!(out, "  {}", style.paint(Colour::Faint, &place));
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(out, "  {} {}", padded(name, 9), printable(value));
    };
    line("request", &request_of(case));
    for difference in &case.differences {
        let what = if difference.what == "verdict" { String::new() } else { format!("{}: ", difference.what) };
        line("expected", &format!("{what}{}", difference.expected));
        line("found", &format!("{what}{}", difference.found));
    }
    for (name, value) in [("because", &verdict.detail), ("cure", &verdict.cure)] {
        if let Some(value) = value {
            line(name, value);
        }
    }
    if choice.explain {
        let steps = render(&case.explanation, style);
        for line in steps.lines() {
            let _ = writeln!(out, "    {line}");
        }
    }
}

/// Method and URL, without what parameters hold.
pub(super) fn request_of(case: &Tried) -> String {
    let asked = &case.explanation.request;
    format!("{} {}", asked.method, asked.url)
}

/// For programs.
pub(super) fn json(outcome: &Outcome) -> Value {
    let files: Vec<Value> = outcome.files.iter().map(json_of_file).collect();
    let failed = outcome.cases().filter(|case| !case.passed()).count();
    json!({
        "ok": outcome.is_good(),
        "passed": outcome.cases().count() - failed,
        "failed": failed,
        "files": files,
        "coverage": {
            "routes": outcome.coverage.routes,
            "untested": outcome.coverage.untested(),
            "lacks": outcome.uncovered,
        },
    })
}

fn json_of_file(file: &TriedFile) -> Value {
    let case = |case: &Tried| {
        json!({
            "name": case.test.name,
            "line": case.test.line,
            "column": case.test.column,
            "request": request_of(case),
            "passed": case.passed(),
            "expected": comparison::wanted(&case.test.expected),
            "found": comparison::found(&case.explanation),
            "differences": case.differences,
            "verdict": case.explanation.verdict,
        })
    };
    json!({ "file": file.name, "cases": file.cases.iter().map(case).collect::<Vec<_>>() })
}

/// The verdict's own words, for whoever reads a failure elsewhere.
pub(super) fn cause(verdict: &explain::Verdict) -> String {
    let lines = [("because", &verdict.detail), ("cure", &verdict.cure)];
    let lines = lines.iter().filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}: {value}\n")));
    lines.collect()
}
