//! An explanation for people: aligned, with marks that a terminal can show, and colours only on a terminal.
use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _},
};

use crate::{
    config::terminal::{Cell, printable},
    edge::explain::{CheckShown, Explanation, Forwarded, Outcome, Step, StepResult, Verdict},
};

/// Columns of a step's name.
const NAME_COLUMNS: usize = 14;

/// What the place can show where it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Style {
    /// Marks beyond ASCII.
    pub(in crate::cli) has_unicode: bool,
    /// Colours.
    pub(in crate::cli) has_colours: bool,
}

/// Colours of ECMA-48.
#[derive(Clone, Copy)]
pub(in crate::cli) enum Colour {
    Green,
    Red,
    Yellow,
    Faint,
    Bold,
}

impl Style {
    /// That of standard output.
    pub(in crate::cli) fn of_standard_output() -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default().to_ascii_lowercase();
        Self {
            has_unicode: locale.contains("utf-8") || locale.contains("utf8"),
            has_colours: io::stdout().is_terminal()
                && set("NO_COLOR").is_none()
                && set("TERM").is_none_or(|term| term != "dumb"),
        }
    }

    pub(in crate::cli) fn paint(self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Green => "32",
            Colour::Red => "31",
            Colour::Yellow => "33",
            Colour::Faint => "2",
            Colour::Bold => "1",
        };
        if self.has_colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    pub(in crate::cli) fn mark(self, result: StepResult) -> String {
        let (unicode, ascii, colour) = match result {
            StepResult::Ok => ("✓", "+", Colour::Green),
            StepResult::Failed => ("✗", "x", Colour::Red),
            StepResult::Observed => ("!", "!", Colour::Yellow),
            StepResult::Skipped => ("·", "-", Colour::Faint),
            StepResult::Note => ("•", "*", Colour::Faint),
        };
        self.paint(colour, if self.has_unicode { unicode } else { ascii })
    }
}

/// The whole explanation.
pub(in crate::cli) fn render(explanation: &Explanation, style: Style) -> String {
    let mut out = String::new();
    let asked = &explanation.request;
    let from = asked.address.as_ref().map_or_else(String::new, |address| format!(" from {}", printable(address)));
    let title = format!("{} {}", printable(&asked.method), printable(&asked.url));
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(out, "{}", style.paint(Colour::Bold, &title));
    let _ = writeln!(out, "at {} on listener {}{from}\n", printable(&asked.at), printable(&asked.listener));
    let mut steps = explanation.steps.as_slice();
    while let Some((step, rest)) = steps.split_first() {
        // What was not reached for one and the same reason is one line.
        let is_bare = |other: &Step| {
            other.result == StepResult::Skipped && other.checks.is_empty() && other.summary == step.summary
        };
        let alike = if is_bare(step) { rest.iter().take_while(|other| is_bare(other)).count() } else { 0 };
        if alike > 0 {
            let names = [step].into_iter().chain(rest.iter().take(alike)).map(|step| step.step.as_str());
            let names = names.collect::<Vec<_>>().join(", ");
            let line = style.paint(Colour::Faint, &printable(&format!("{}: {names}", step.summary)));
            let _ = writeln!(out, "{} {line}", style.mark(StepResult::Skipped));
        } else {
            render_step(&mut out, step, style);
        }
        steps = rest.get(alike..).unwrap_or_default();
    }
    if let Some(upstream) = &explanation.upstream {
        render_forwarded(&mut out, upstream, style);
    }
    if !explanation.response_headers.is_empty() {
        let _ = writeln!(out, "\n{}", style.paint(Colour::Bold, "The response has"));
        render_fields(&mut out, &explanation.response_headers);
    }
    out.push('\n');
    render_verdict(&mut out, &explanation.verdict, style);
    for note in &explanation.notes {
        let _ = writeln!(out, "{}", style.paint(Colour::Faint, &format!("note: {}", printable(note))));
    }
    out
}

fn render_step(out: &mut String, step: &Step, style: Style) {
    let name = padded(&printable(&step.step), NAME_COLUMNS);
    let summary = printable(&step.summary);
    let summary = match step.result {
        StepResult::Failed => style.paint(Colour::Red, &summary),
        StepResult::Observed => style.paint(Colour::Yellow, &summary),
        StepResult::Skipped | StepResult::Note => style.paint(Colour::Faint, &summary),
        StepResult::Ok => summary,
    };
    let _ = writeln!(out, "{} {name} {summary}", style.mark(step.result));
    for detail in &step.details {
        let _ = writeln!(out, "  {} {}", padded("", NAME_COLUMNS), style.paint(Colour::Faint, &printable(detail)));
    }
    let widest = |text: fn(&CheckShown) -> &str| {
        step.checks.iter().map(|check| columns(&printable(text(check)))).max().unwrap_or(0).min(48)
    };
    let (names, found) = (widest(|check| &check.check), widest(|check| &check.found));
    for check in &step.checks {
        let mark = style.mark(if check.ok { StepResult::Ok } else { StepResult::Failed });
        let _ = writeln!(
            out,
            "  {} {mark} {}  {}  {}",
            padded("", NAME_COLUMNS),
            padded(&printable(&check.check), names),
            padded(&printable(&check.found), found),
            style.paint(Colour::Faint, &format!("wanted: {}", printable(&check.expected)))
        );
    }
}

fn render_forwarded(out: &mut String, upstream: &Forwarded, style: Style) {
    let to = format!("The upstream {} gets {}", printable(&upstream.upstream), printable(&upstream.target));
    let _ = writeln!(out, "\n{}", style.paint(Colour::Bold, &to));
    let mut fields = upstream.identity.clone();
    fields.extend(upstream.host.iter().map(|host| ("Host".to_owned(), host.clone())));
    fields.extend(upstream.set.iter().cloned());
    render_fields(out, &fields);
    for (what, names) in [("without", &upstream.absent), ("as sent", &upstream.passed), ("removed", &upstream.removed)]
    {
        if !names.is_empty() {
            let names = printable(&names.join(", "));
            let _ = writeln!(out, "  {}", style.paint(Colour::Faint, &format!("{what}: {names}")));
        }
    }
}

fn render_fields(out: &mut String, fields: &[(String, String)]) {
    let width = fields.iter().map(|(name, _)| columns(&printable(name))).max().unwrap_or(0);
    for (name, value) in fields {
        let _ = writeln!(out, "  {}  {}", padded(&printable(name), width), printable(value));
    }
}

fn render_verdict(out: &mut String, verdict: &Verdict, style: Style) {
    let status = verdict.status.map_or_else(String::new, |status| format!(" {status}"));
    let route = verdict.route.as_deref().map_or_else(String::new, |route| format!(" on route {}", printable(route)));
    let who = verdict.subject.as_deref().map_or_else(String::new, |subject| format!(" as {}", printable(subject)));
    let (colour, text) = match verdict.outcome {
        Outcome::Forward => (Colour::Green, format!("FORWARDED{route}{who}")),
        Outcome::Respond => (Colour::Green, format!("ANSWERED{status}{route}{who}")),
        Outcome::Refuse => {
            let reason = verdict.reason.as_deref().map(printable).unwrap_or_default();
            (Colour::Red, format!("REFUSED{status} {reason}{route}"))
        }
    };
    let mark = style.mark(if verdict.outcome == Outcome::Refuse { StepResult::Failed } else { StepResult::Ok });
    let _ = writeln!(out, "{mark} {}", style.paint(colour, &text));
    for (name, value) in [("the client is told", &verdict.title), ("because", &verdict.detail), ("cure", &verdict.cure)]
    {
        if let Some(value) = value {
            let _ = writeln!(out, "  {name}: {}", printable(value));
        }
    }
    if let Some(observed) = &verdict.observed {
        let observed = format!("  observed, not enforced: {}", printable(observed));
        let _ = writeln!(out, "{}", style.paint(Colour::Yellow, &observed));
    }
}

pub(in crate::cli) fn columns(text: &str) -> usize {
    text.chars().map(|character| Cell::of(character).columns).sum()
}

pub(in crate::cli) fn padded(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(columns(text));
    format!("{text}{}", " ".repeat(missing))
}
