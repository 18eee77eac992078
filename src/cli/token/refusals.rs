//! What portcullis would refuse in a token by itself: whatever its signature, with the defaults of an issuer's
//! configuration. The gate's own code judges, so that the two never disagree; no signature is checked here.
use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::{
    cli::token::signing_key::SigningKey,
    gate::{
        algorithm::Algorithm,
        claims,
        condition::Conditions,
        extraction::{self, Drawn},
        issuer::{Issuer, IssuerId},
        json::{Json, Object},
        keys::KeySet,
        rejection::{Refusal, Rejection},
        signature,
        time::UnixTime,
        token::{Segments, UnverifiedToken},
    },
};

/// `limits.token_bytes` unless the configuration says otherwise.
const TOKEN_BYTES_DEFAULT: usize = 8 * 1024;

/// What is refused in a token at `now`, first what is found first; empty when only the signature and the configuration
/// are left to ask.
pub fn refusals(token: &str, now: UnixTime) -> Vec<Refusal> {
    let mut found = Vec::new();
    if token.len() > TOKEN_BYTES_DEFAULT {
        let detail = format!("{} bytes; `limits.token_bytes` is {TOKEN_BYTES_DEFAULT} by default", token.len());
        found.push(Refusal::new(Rejection::TokenTooLarge).because(detail));
    }
    let segments = match Segments::decode(token) {
        Ok(segments) => segments,
        Err(refusal) => {
            found.push(refusal);
            return found;
        }
    };
    let issuer = default_issuer();
    match UnverifiedToken::parse(&segments) {
        Err(refusal) => found.push(refusal),
        Ok(unverified) => {
            found.extend(issuer.token_types.check(unverified.token_type()).err());
            if !unverified.understands_all() {
                found.push(Refusal::new(Rejection::CriticalHeader).because("crit, b64 or zip in the header"));
            }
        }
    }
    found.extend(refused_claims(token, &issuer, now));
    found
}

fn refused_claims(token: &str, issuer: &Issuer, now: UnixTime) -> Vec<Refusal> {
    let mut found = Vec::new();
    let Some(payload) = token.split('.').nth(1) else { return found };
    let Ok(bytes) = URL_SAFE_NO_PAD.decode(payload) else { return found };
    let Ok(claims) = Object::parse(&bytes) else { return found };
    if claims.get("iss").and_then(Json::as_str).is_none() {
        found.push(Refusal::new(Rejection::IssuerUnknown).because("no iss that is a string"));
    }
    // The gate stops at the first that is missing; people want to know all.
    for name in ["exp", "aud", "sub"] {
        if claims.get(name).is_none_or(|claim| *claim == Json::Null) {
            found.push(Refusal::new(Rejection::ClaimMissing).because(format!("no {name}")));
        }
    }
    if let Some(refusal) = judged_by_the_gate(payload, issuer, now)
        && !found.contains(&refusal)
    {
        found.push(refusal);
    }
    found
}

/// The gate judges the claims of verified tokens only. So these claims are signed anew, by a secret that means nothing,
/// and go the way of every token.
fn judged_by_the_gate(payload: &str, issuer: &Issuer, now: UnixTime) -> Option<Refusal> {
    let secret = [0; 32];
    let signed_text = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#));
    let key = SigningKey::from_secret(Zeroizing::new(secret.to_vec()));
    let signature = key.sign(Algorithm::HS256, signed_text.as_bytes()).ok()?;
    let token = format!("{signed_text}.{}", URL_SAFE_NO_PAD.encode(signature));
    let keys = KeySet::from_secret(&secret, [Algorithm::HS256].into_iter().collect()).ok()?;
    let judge = || {
        let segments = Segments::decode(&token)?;
        let unverified = UnverifiedToken::parse(&segments)?;
        let (verified, claims) = signature::verify(unverified, IssuerId(0), &keys)?;
        let known = Arc::new(extraction::known_token(
            verified,
            &claims,
            issuer,
            Drawn { headers: &[], conditions: &Conditions::default(), is_asserted: false },
        ));
        claims::identify(&known, issuer, now)
    };
    judge().err()
}

/// An issuer as a configuration has it that says nothing, but for audience and subject: whether they are there is looked
/// at before, and their absence must not hide what else is wrong.
fn default_issuer() -> Issuer {
    Issuer { required_claims: Vec::new(), ..Issuer::plain("", "") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);

    fn check(header: &str, claims: &str, expected: &[(Rejection, &str)]) {
        let token = format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let found = refusals(&token, NOW);
        let found: Vec<_> =
            found.iter().map(|refusal| (refusal.rejection(), refusal.detail().unwrap_or_default())).collect();
        assert_eq!(found, expected, "{header} {claims}");
    }

    const HEADER: &str = r#"{"alg":"ES256","typ":"at+jwt"}"#;
    const CLAIMS: &str = r#"{"iss":"i","aud":"a","sub":"s","iat":1800000000,"exp":1800000300}"#;

    #[test]
    fn a_good_token_has_nothing_to_refuse() {
        check(HEADER, CLAIMS, &[]);
        check(r#"{"alg":"HS256","kid":"k"}"#, CLAIMS, &[]);
    }

    #[test]
    fn the_header_is_judged() {
        check(
            r#"{"alg":"none"}"#,
            CLAIMS,
            &[(Rejection::AlgorithmNotAllowed, r#"the unverified header says alg "none""#)],
        );
        check(
            r#"{"alg":"ES256","typ":"id+jwt","crit":["x"]}"#,
            CLAIMS,
            &[
                (
                    Rejection::TypeNotAllowed,
                    r#"the issuer's types are JWT, at+jwt; the unverified header has "id+jwt""#,
                ),
                (Rejection::CriticalHeader, "crit, b64 or zip in the header"),
            ],
        );
        check(r#"{"alg":"ES256","kid":1}"#, CLAIMS, &[(Rejection::TokenMalformed, "header: kid is a number")]);
        check(
            r#"{"alg":"ES256","alg":"none"}"#,
            CLAIMS,
            &[(Rejection::TokenMalformed, "header: a member name occurs twice")],
        );
    }

    #[test]
    fn every_missing_claim_is_named_once() {
        check(
            HEADER,
            "{}",
            &[
                (Rejection::IssuerUnknown, "no iss that is a string"),
                (Rejection::ClaimMissing, "no exp"),
                (Rejection::ClaimMissing, "no aud"),
                (Rejection::ClaimMissing, "no sub"),
            ],
        );
    }

    #[test]
    fn claims_and_times_are_judged_as_the_gate_does() {
        let with = |members: &str| format!(r#"{{"iss":"i","aud":"a","sub":"s",{members}}}"#);
        check(HEADER, &with(r#""exp":1799999970"#), &[(Rejection::TokenExpired, "expired 30 s ago")]);
        check(HEADER, &with(r#""exp":1799999971"#), &[]);
        check(
            HEADER,
            &with(r#""exp":1800000300,"nbf":1800000031"#),
            &[(Rejection::TokenNotYetValid, "nbf is 31 s from now")],
        );
        check(HEADER, &with(r#""exp":"1800000300""#), &[(Rejection::ClaimInvalid, "exp is a string, not a number")]);
        check(
            HEADER,
            &with(r#""exp":1800000300000"#),
            &[(Rejection::LifetimeExceeded, "1798200300000 s from now to exp, at most 315360000 s are allowed")],
        );
        check(
            HEADER,
            r#"{"iss":"i","aud":7,"sub":"s","exp":1800000300}"#,
            &[(Rejection::ClaimInvalid, "aud is a number")],
        );
    }

    #[test]
    fn a_token_that_is_too_long_or_none_is_told() {
        let long = format!(
            "{}.{}.c2ln",
            URL_SAFE_NO_PAD.encode(HEADER),
            URL_SAFE_NO_PAD.encode(CLAIMS.replace("\"s\"", &format!("\"{}\"", "s".repeat(9000))))
        );
        let found = refusals(&long, NOW);
        assert_eq!(found.iter().map(Refusal::rejection).collect::<Vec<_>>(), [Rejection::TokenTooLarge]);
        assert_eq!(refusals("a.b", NOW).first().map(Refusal::rejection), Some(Rejection::TokenMalformed));
    }
}
