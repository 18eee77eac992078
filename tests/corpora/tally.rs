//! Runs a suite and counts what became of its cases, so that a case can neither be skipped nor change its class unnoticed.
use std::{collections::BTreeMap, path::Path};

use super::{case::Case, trial::Verdict};
use crate::support::corpora;

/// A case of which portcullis deliberately says something else than the suite.
pub(super) struct Difference {
    /// The case's name.
    pub(super) case: &'static str,
    /// What portcullis says: the reason of its refusal, `key` for a key that no configuration may have, `-` when it passes.
    pub(super) says: &'static str,
    /// Why.
    pub(super) because: &'static str,
}

/// What became of the cases of a suite, class by class.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// How many there are in each class.
    pub(super) classes: BTreeMap<&'static str, usize>,
}

impl Tally {
    /// Counts one.
    pub(super) fn count(&mut self, class: &'static str) {
        *self.classes.entry(class).or_default() += 1;
    }

    /// Fails when the classes are others than these.
    pub(super) fn assert(&self, suite: &str, expected: &[(&str, usize)]) {
        let found: Vec<(&str, usize)> = self.classes.iter().map(|(class, count)| (*class, *count)).collect();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "{suite}: what became of how many cases");
    }
}

/// Judges every case of `FOLDER/cases.json`. Where the suite wants a token to pass, and the contract asks for more than the peer
/// does, the refusal must be that very one, and be all that is wrong with the token.
pub(super) fn run(folder: &Path, suite: &str, differences: &[Difference]) -> Tally {
    let document = corpora::json(folder, &format!("{suite}/cases.json"));
    let values = document["cases"].as_array().expect("cases");
    let mut tally = Tally::default();
    let mut faults = Vec::new();
    let mut named = 0;
    for case in values.iter().map(Case::new) {
        let verdict = case.verdict();
        let class = match differences.iter().find(|difference| difference.case == case.name()) {
            Some(difference) if verdict.label() == difference.says => {
                named += 1;
                Some("another verdict, by name")
            }
            Some(difference) => {
                faults.push(format!("should be {} because {}:", difference.says, difference.because));
                None
            }
            None => class_of(case, &verdict),
        };
        match class {
            Some(class) => tally.count(class),
            None => faults.push(format!("{}: {verdict:?}, must pass: {}", case.name(), case.must_pass())),
        }
    }
    assert!(faults.is_empty(), "{suite}:\n{}", faults.join("\n"));
    assert!(named >= differences.len(), "{suite}: a difference names no case");
    tally
}

fn class_of(case: Case<'_>, verdict: &Verdict) -> Option<&'static str> {
    match (case.must_pass(), verdict) {
        (true, Verdict::Passes(_)) => Some("passes"),
        // Refused before its signature was looked at: so what of that?
        (false, Verdict::Refused(401, "issuer_unknown")) if case.claim("iss").is_null() => {
            Some(if case.signature_is_good() { "refused, well signed without iss" } else { "refused, badly signed" })
        }
        (false, Verdict::Refused(400 | 401 | 403 | 431, _)) => Some("refused"),
        (false, Verdict::KeyRefused(_)) => Some("refused with its key"),
        (true, Verdict::KeyRefused(_)) if case.has("weak_hmac_key") => Some("would pass, but the secret is too short"),
        (true, Verdict::Refused(401, "issuer_unknown")) if case.claim("iss").is_null() => {
            case.signature_is_good().then_some("would pass, but has no iss")
        }
        (true, Verdict::Refused(401, "claim_missing")) if case.claim("exp").is_null() => {
            case.signature_is_good().then_some("would pass, but has no exp")
        }
        (true, Verdict::Refused(401, "lifetime_exceeded")) => {
            let sooner = case.verdict_at(case.expires()? - 60);
            sooner.passes().then_some("would pass, but ends in more than ten years")
        }
        (true, Verdict::Refused(401, "token_malformed")) => {
            case.only_its_payload_is_bad().then_some("would pass, but its payload is no JSON object")
        }
        (true, Verdict::Refused(401, "algorithm_not_allowed")) if case.header("alg") == "ES512" => {
            Some("would pass, but has an algorithm that portcullis does not know")
        }
        (true | false, Verdict::Passes(_) | Verdict::Refused(..) | Verdict::KeyRefused(_)) => None,
    }
}
