//! Tokens of other gateways' tests, with the keys, configuration and clock that stand there.
use super::tally::{Difference, run};
use crate::support::corpora;

#[test]
fn the_tokens_of_envoy_are_judged_as_there() {
    let Some(folder) = corpora::folder("the tokens of Envoy") else { return };
    let differences = [
        Difference {
            case: "TestSubject/bad",
            says: "-",
            because: "no key of the configuration asks for the beginning or end of a subject",
        },
        Difference {
            case: "TestExpiredJWTWithABigClockSkew",
            says: "token_expired",
            because: "a leeway of 38 years is none: five minutes are the most",
        },
    ];
    run(&folder, "envoy_jwt_authn", &differences).assert(
        "envoy_jwt_authn",
        &[
            ("another verdict, by name", 2),
            ("passes", 9),
            ("refused", 5),
            ("refused with its key", 1),
            ("refused, well signed without iss", 1),
            ("would pass, but has no iss", 1),
        ],
    );
}

#[test]
fn the_tokens_of_istio_are_judged_as_there() {
    let Some(folder) = corpora::folder("the tokens of Istio") else { return };
    run(&folder, "istio", &[]).assert("istio", &[("refused", 3), ("would pass, but ends in more than ten years", 11)]);
}

#[test]
fn the_tokens_of_kong_are_judged_as_there() {
    let Some(folder) = corpora::folder("the tokens of Kong") else { return };
    let differences = [
        Difference {
            case: "parser/verify/RS512/rs512",
            says: "key",
            because: "its modulus has 2047 bits, and RFC 7518 §3.3 wants 2048",
        },
        Difference {
            case: "parser/verify/ES512/es512",
            says: "key",
            because: "P-521 is no curve that portcullis knows",
        },
        Difference {
            case: "parser/verify/EdDSA/ed448",
            says: "key",
            because: "of the curves of EdDSA portcullis knows Ed25519 alone",
        },
    ];
    run(&folder, "kong", &differences).assert(
        "kong",
        &[
            ("another verdict, by name", 3),
            ("refused", 1),
            ("refused with its key", 10),
            ("refused, badly signed", 10),
            ("would pass, but has no iss", 3),
            ("would pass, but the secret is too short", 4),
        ],
    );
}

#[test]
fn the_tokens_of_the_nginx_module_are_judged_as_there() {
    let Some(folder) = corpora::folder("the tokens of the nginx module") else { return };
    run(&folder, "teslagov_nginx", &[])
        .assert("teslagov_nginx", &[("passes", 17), ("refused", 5), ("would pass, but the secret is too short", 1)]);
}

#[test]
fn the_tokens_of_oathkeeper_are_judged_as_there() {
    let Some(folder) = corpora::folder("the tokens of Oathkeeper") else { return };
    run(&folder, "oathkeeper", &[]).assert(
        "oathkeeper",
        &[
            ("passes", 2),
            ("refused", 1),
            ("refused, badly signed", 1),
            ("refused, well signed without iss", 2),
            ("would pass, but has no iss", 2),
        ],
    );
}
