//! What was tried, as JUnit's XML, which CI servers show: a suite for each file, and one for the coverage of routes where
//! that is asked for.
use std::fmt::Write as _;

use crate::cli::policy_test::{
    Outcome, Tried, TriedFile,
    report::{cause, request_of},
};

/// The whole document.
pub(super) fn document(outcome: &Outcome) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let failed = outcome.cases().filter(|case| !case.passed()).count() + outcome.uncovered.len();
    let all = outcome.cases().count() + outcome.uncovered.len();
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(out, "<testsuites name=\"portcullis\" tests=\"{all}\" failures=\"{failed}\" errors=\"0\">");
    for file in &outcome.files {
        suite(&mut out, file);
    }
    if !outcome.uncovered.is_empty() {
        let count = outcome.uncovered.len();
        let _ = writeln!(out, "  <testsuite name=\"coverage\" tests=\"{count}\" failures=\"{count}\" errors=\"0\">");
        for lack in &outcome.uncovered {
            let lack = escaped(lack);
            let _ = writeln!(out, "    <testcase classname=\"coverage\" name=\"{lack}\">");
            let _ = writeln!(out, "      <failure type=\"coverage\" message=\"{lack}\"/>\n    </testcase>");
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn suite(out: &mut String, file: &TriedFile) {
    let name = escaped(&file.name);
    let failed = file.cases.iter().filter(|case| !case.passed()).count();
    let all = file.cases.len();
    let _ = writeln!(out, "  <testsuite name=\"{name}\" tests=\"{all}\" failures=\"{failed}\" errors=\"0\">");
    for case in &file.cases {
        let (title, line) = (escaped(&case.test.name), case.test.line);
        let _ = write!(out, "    <testcase classname=\"{name}\" name=\"{title}\" file=\"{name}\" line=\"{line}\"");
        if case.passed() {
            out.push_str("/>\n");
        } else {
            out.push_str(">\n");
            failure(out, case);
            out.push_str("    </testcase>\n");
        }
    }
    out.push_str("  </testsuite>\n");
}

fn failure(out: &mut String, case: &Tried) {
    let mut told = format!("request: {}\n", request_of(case));
    for difference in &case.differences {
        let (what, expected, found) = (&difference.what, &difference.expected, &difference.found);
        let _ = writeln!(told, "{what}: expected {expected}, found {found}");
    }
    told.push_str(&cause(&case.explanation.verdict));
    let first = case.differences.first();
    let message = first.map(|first| format!("expected {}, found {}", first.expected, first.found)).unwrap_or_default();
    let kind = first.map(|first| first.what.as_str()).unwrap_or_default();
    let (message, kind, told) = (escaped(&message), escaped(kind), escaped(&told));
    let _ = writeln!(out, "      <failure type=\"{kind}\" message=\"{message}\">{told}</failure>");
}

/// A text as it may stand in XML 1.0 (§2.2, §2.4), in a value of an attribute too.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\n' | '\t' => out.push(letter),
            // No XML can hold these, escaped or not.
            '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_means_something_to_xml_is_escaped() {
        assert_eq!(
            escaped("<a href=\"b\">&'c'\u{1b}[31m\n"),
            "&lt;a href=&quot;b&quot;&gt;&amp;&apos;c&apos;\u{fffd}[31m\n"
        );
    }

    proptest! {
        #[test]
        fn no_text_ends_a_value_or_begins_a_tag(text in any::<String>()) {
            let escaped = escaped(&text);
            prop_assert!(!escaped.contains(['<', '>', '"', '\'']));
            prop_assert!(escaped.chars().all(|letter| !letter.is_control() || letter == '\n' || letter == '\t'));
            for (position, _) in escaped.match_indices('&') {
                let (_, rest) = escaped.split_at(position);
                prop_assert!(["&amp;", "&lt;", "&gt;", "&quot;", "&apos;"].iter().any(|entity| rest.starts_with(entity)));
            }
        }
    }
}
