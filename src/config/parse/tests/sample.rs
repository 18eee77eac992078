//! The sample configuration: right as it stands, complete, and no change of it makes the reader panic.
use proptest::prelude::*;

use super::*;
use crate::config::error::{Problems, Severity};
use crate::config::keys::{top, walk};
use crate::config::tree::{Node, Value};
use crate::config::yaml;

const SAMPLE: &str = include_str!("../../../../conf/portcullis.yaml");

#[test]
fn the_sample_is_right_as_it_stands() {
    let loaded = load(SAMPLE);
    assert!(loaded.config.is_some(), "{}", loaded.problems.render());
    let found: Vec<&str> = loaded.problems.sorted().iter().map(|problem| problem.message.as_str()).collect();
    let expected = [
        "the route `orders` has a rule on trial: `observe` is logged and counted, never enforced",
        "the route `hello` is public: no token is asked for",
    ];
    assert_eq!(found, expected);
}

/// Whether a node holds the key at the end of a path of the table.
fn has(node: &Node, path: &[&str]) -> bool {
    let Some((step, rest)) = path.split_first() else { return true };
    match &node.value {
        Value::Mapping(entries) => {
            entries.iter().any(|entry| (*step == "*" || entry.key.text == *step) && has(&entry.value, rest))
        }
        Value::Sequence(items) => *step == "[]" && items.iter().any(|item| has(item, rest)),
        Value::Scalar(_) => false,
    }
}

#[test]
fn the_sample_shows_every_key() {
    let root = yaml::parse("sample", SAMPLE.as_bytes(), &mut Problems::new()).unwrap();
    // `#key: value` is a key that is left out, and so are the keys of `#key: {key: value, …}`.
    let left_out: Vec<&str> = SAMPLE
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix('#'))
        .flat_map(|line| line.split(['{', ',']))
        .filter_map(|part| part.split_once(": "))
        .map(|(key, _)| key.trim_start())
        .collect();
    for (path, key) in walk::paths(top::KEYS) {
        let is_left_out =
            left_out.iter().any(|line| line.trim_start_matches("- ") == key.name) || path.last() == Some(&"file");
        let is_shown = has(&root, &path) || is_left_out;
        // A route's own token sources are as those of the document, required scopes as required roles; what is required
        // of an issuer's tokens or on trial is as what a route requires, and what is so by default as what a route says.
        let is_elsewhere = path.starts_with(&["routes", "[]", "token", "sources"])
            || path.ends_with(&["scopes", "any"])
            || path.starts_with(&["issuers", "*", "require"])
            || path.starts_with(&["routes", "[]", "observe", "require"])
            || path.starts_with(&["routes", "[]", "require", "claims", "[]"])
            || path.starts_with(&["route_defaults"])
            // One limit is as one of a list.
            || path.starts_with(&["routes", "[]", "rate_limit"]) && path.len() == 4;
        assert!(is_shown || is_elsewhere, "{path:?}");
    }
    assert!(SAMPLE.contains("{file: "), "the long form of a header's value");
}

/// What must hold of every configuration that is handed out.
#[expect(clippy::cognitive_complexity, reason = "one row after another")]
fn check_whole(loaded: &Loaded) {
    let Some(config) = &loaded.config else {
        assert!(loaded.problems.has_errors());
        return;
    };
    assert!(loaded.problems.sorted().iter().all(|problem| problem.severity == Severity::Warning));
    let live = &config.live;
    assert!(!config.startup.listeners.is_empty());
    assert_eq!(live.keys.len(), live.ruleset.issuers.len());
    for route in live.ruleset.routes.routes() {
        assert!(
            !route.listeners.is_empty()
                && route.listeners.iter().all(|id| usize::from(id.0) < config.startup.listeners.len())
        );
        assert!(route.issuers.iter().all(|id| usize::from(id.0) < live.ruleset.issuers.len()));
        let is_public = route.authentication == crate::gate::route::Authentication::Public;
        assert_eq!(route.issuers.is_empty(), is_public);
        assert!(is_public || !route.token_sources.is_empty());
        assert!(route.token_sources.iter().all(|source| live.ruleset.token_sources.contains(source)));
        if let crate::gate::route::Action::Forward(id) = &route.action {
            assert!(!live.upstreams[usize::from(id.0)].servers.is_empty());
        }
    }
    for header in &live.ruleset.identity_headers {
        assert_eq!(live.ruleset.firewall.ownership(&header.name), crate::gate::firewall::Ownership::Owned);
    }
    for issuer in &live.ruleset.issuers {
        assert!(!issuer.algorithms.is_empty() && issuer.leeway <= crate::gate::issuer::LEEWAY_MAX);
    }
}

#[derive(Clone, Debug)]
enum Mutation {
    Delete(usize),
    Duplicate(usize),
    Swap(usize, usize),
    Replace(usize, String),
    Cut(usize, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let line = 0..SAMPLE.lines().count();
    prop_oneof![
        line.clone().prop_map(Mutation::Delete),
        line.clone().prop_map(Mutation::Duplicate),
        (line.clone(), line.clone()).prop_map(|(one, other)| Mutation::Swap(one, other)),
        (line.clone(), "[ ]{0,8}(- )?([a-z_]{1,12}: ?)?[\\PC]{0,20}")
            .prop_map(|(line, text)| Mutation::Replace(line, text)),
        (line, 0_usize..60).prop_map(|(line, column)| Mutation::Cut(line, column)),
    ]
}

fn mutated(mutations: &[Mutation]) -> String {
    let mut lines: Vec<String> = SAMPLE.lines().map(str::to_owned).collect();
    for mutation in mutations {
        let last = lines.len() - 1;
        match mutation {
            Mutation::Delete(line) => drop(lines.remove((*line).min(last))),
            Mutation::Duplicate(line) => lines.insert((*line).min(last), lines[(*line).min(last)].clone()),
            Mutation::Swap(one, other) => lines.swap((*one).min(last), (*other).min(last)),
            Mutation::Replace(line, text) => lines[(*line).min(last)] = text.clone(),
            Mutation::Cut(line, column) => {
                let line = &mut lines[(*line).min(last)];
                *line = line.chars().take(*column).collect();
            }
        }
    }
    lines.join("\n")
}

#[test]
fn each_line_of_the_sample_may_be_lost_or_doubled() {
    for line in 0..SAMPLE.lines().count() {
        check_whole(&load(&mutated(&[Mutation::Delete(line)])));
        check_whole(&load(&mutated(&[Mutation::Duplicate(line)])));
    }
}

/// Comments that leave a key out, made to leave it in: one at a time.
#[test]
fn each_key_that_the_sample_leaves_out_is_known() {
    for (number, line) in SAMPLE.lines().enumerate() {
        let text = line.trim_start();
        if !text.starts_with('#') || text.starts_with("# ") || text == "#" {
            continue;
        }
        let loaded = load(&mutated(&[Mutation::Replace(number, line.replacen('#', "", 1))]));
        check_whole(&loaded);
        let found = messages(&loaded);
        assert!(!found.iter().any(|message| message.contains("unknown key")), "{line}: {found:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_change_of_the_sample_panics_or_passes_half_checked(mutations in prop::collection::vec(mutation(), 1..5)) {
        let text = mutated(&mutations);
        check_whole(&load(&text));
        check_whole(&load_in(&text, &world(), Secrets::Skip));
    }
}
