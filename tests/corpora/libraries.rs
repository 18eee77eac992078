//! Vectors of the RFCs and of two libraries: what a good signature is, and what a token may look like.
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    case::Case,
    tally::{Difference, run},
};
use crate::support::corpora;

#[test]
fn the_vectors_of_the_rfcs_are_judged_as_the_rfcs_say() {
    let Some(folder) = corpora::folder("the vectors of the RFCs") else { return };
    let differences = [Difference {
        case: "rfc7520_4.3",
        says: "token_malformed",
        because: "its payload is no JSON object; and ES512 is no algorithm that portcullis knows",
    }];
    run(&folder, "rfc_vectors", &differences).assert(
        "rfc_vectors",
        &[
            ("another verdict, by name", 1),
            ("passes", 2),
            ("refused", 4),
            ("would pass, but its payload is no JSON object", 3),
        ],
    );
}

#[test]
fn the_cases_of_golang_jwt_are_judged_as_there() {
    let Some(folder) = corpora::folder("the cases of golang-jwt") else { return };
    let differences = [Difference {
        case: "ecdsa_test.go/Basic ES512",
        says: "key",
        because: "P-521 is no curve that portcullis knows",
    }];
    run(&folder, "golang_jwt", &differences).assert(
        "golang_jwt",
        &[
            ("another verdict, by name", 1),
            ("passes", 2),
            ("refused", 4),
            ("refused, badly signed", 11),
            ("would pass, but has no iss", 5),
        ],
    );
}

#[test]
fn the_cases_of_jwt_verify_lib_are_judged_as_there() {
    let Some(folder) = corpora::folder("the cases of jwt_verify_lib") else { return };
    let differences = [
        Difference {
            case: "verify_jwk_rsa_test/VerifyJwkRsaTest.LongClaimsWithCorrectKidOk",
            says: "token_too_large",
            because: "it has 11,356 bytes, and limits.token_bytes is 8 KiB",
        },
        Difference {
            case: "verify_pem_ec_test/VerifyPKCSTestES512.OKPem",
            says: "key",
            because: "P-521 is no curve that portcullis knows",
        },
    ];
    run(&folder, "jwt_verify_lib", &differences).assert(
        "jwt_verify_lib",
        &[
            ("another verdict, by name", 2),
            ("passes", 12),
            ("refused", 23),
            ("refused with its key", 2),
            ("refused, badly signed", 7),
            ("would pass, but has an algorithm that portcullis does not know", 1),
            ("would pass, but has no exp", 14),
        ],
    );
}

#[test]
fn no_signature_of_jwt_verify_lib_survives_a_flipped_bit_or_a_lost_byte() {
    let Some(folder) = corpora::folder("the altered signatures of jwt_verify_lib") else { return };
    let document = corpora::json(&folder, "jwt_verify_lib/cases.json");
    let (mut cases, mut altered) = (0, 0);
    for case in
        document["cases"].as_array().unwrap().iter().map(Case::new).filter(|case| case.has("also") && case.must_pass())
    {
        if case.header("alg") == "ES512" {
            continue;
        }
        cases += 1;
        let (signed, signature) = case.token().rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert!(case.signature_is_good(), "{}", case.name());
        let flipped = (0..signature.len() * 8).map(|bit| {
            let mut flipped = signature.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped
        });
        let cut = (0..signature.len()).map(|end| signature[..end].to_vec());
        for other in flipped.chain(cut) {
            altered += 1;
            let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&other));
            assert!(!case.signature_is_good_for(&token), "{}: an altered signature counts", case.name());
        }
    }
    assert_eq!((cases, altered), (19, 26_352), "cases, and signatures tried");
}
