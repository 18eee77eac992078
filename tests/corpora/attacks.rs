//! What an attack tool makes of a good token: 1,090 variants, and the token itself.
use std::collections::BTreeMap;

use super::{case::Case, trial::Verdict};
use crate::support::corpora;

#[test]
fn every_token_of_an_attack_tool_is_refused_and_the_good_one_passes() {
    let Some(folder) = corpora::folder("the tokens of an attack tool") else { return };
    let document = corpora::json(&folder, "jwt_tool/cases.json");
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut faults = Vec::new();
    for value in document["cases"].as_array().unwrap() {
        let mut value = value.clone();
        value["jwks"] = document["key_sets"][value["key_set"].as_str().unwrap()].clone();
        let case = Case::new(&value);
        let verdict = case.verdict();
        let right = match verdict {
            Verdict::Passes(_) => case.must_pass(),
            Verdict::Refused(status, _) => !case.must_pass() && matches!(status, 400 | 401),
            Verdict::KeyRefused(_) => false,
        };
        if !right {
            faults.push(format!("{}: {verdict:?}", case.name()));
        }
        *reasons.entry(verdict.label().to_owned()).or_default() += 1;
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let reasons: Vec<(&str, usize)> = reasons.iter().map(|(label, count)| (label.as_str(), *count)).collect();
    let expected = [
        ("-", 1),
        ("algorithm_not_allowed", 667),
        ("issuer_unknown", 15),
        ("signature_invalid", 368),
        ("token_malformed", 35),
        ("type_not_allowed", 5),
    ];
    assert_eq!(reasons, expected);
}
