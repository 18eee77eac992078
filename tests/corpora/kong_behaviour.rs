//! What Kong's JWT plugin does with requests, by the names of its tests. They tell no tokens, so each is made here with a fresh key
//! and judged by the real code; what this version has no counterpart for is listed with the reason.
use std::collections::BTreeMap;

use portcullis::gate::{
    algorithm::Algorithms,
    issuer::Issuer,
    keys::KeySet,
    route::{Authentication, Route},
    sources::TokenSource,
};
use std::time::Duration;

use super::{
    case::text,
    trial::{Trial, Verdict, bearer, decide, header, issuer, parameter, route},
};
use crate::support::{
    corpora,
    fixture::{ISSUER, signing_key},
    keys::{SigningKey, key_set},
    token::{Token, now},
};

/// A request of a test: its method, target and header lines.
type Lines = Vec<(String, String)>;

/// How a test of Kong is answered here.
enum Row {
    /// Judged, with the same status as there; nothing is said of a status where Kong's test names none.
    Same(fn() -> Asked),
    /// Judged, and refused with this reason instead of Kong's status.
    Instead(fn() -> Asked, &'static str, &'static str),
    /// Not judged here.
    NotHere(&'static str),
}

/// A request and the rules that it meets.
struct Asked {
    method: &'static str,
    target: String,
    lines: Lines,
    rules: fn(&mut Issuer, &mut Route),
}

fn ask(token: &str) -> Asked {
    Asked { method: "GET", target: "/".to_owned(), lines: bearer(token), rules: |_, _| {} }
}

fn without_token() -> Asked {
    Asked { lines: Vec::new(), ..ask("") }
}

fn good() -> Asked {
    ask(&Token::good().signed_by(signing_key()))
}

fn with_claims(change: fn(Token) -> Token) -> Asked {
    ask(&change(Token::good()).signed_by(signing_key()))
}

fn an_hour_at_most(mut asked: Asked) -> Asked {
    asked.rules = |issuer, _| issuer.max_lifetime = Some(Duration::from_secs(3600));
    asked
}

fn in_header_of_its_own(times: usize) -> Asked {
    let token = Token::good().signed_by(signing_key());
    Asked {
        lines: vec![("CustomAuthorization".to_owned(), token); times],
        rules: |_, route| route.token_sources = vec![header("customauthorization")],
        ..without_token()
    }
}

fn in_parameter() -> Asked {
    let token = Token::good().signed_by(signing_key());
    Asked {
        target: format!("/?jwt={token}"),
        rules: |_, route| route.token_sources = vec![TokenSource::Authorization, parameter("jwt")],
        ..without_token()
    }
}

fn twice() -> Asked {
    let mut asked = in_parameter();
    asked.lines = good().lines;
    asked
}

fn optional(mut asked: Asked) -> Asked {
    asked.rules = |_, route| route.authentication = Authentication::Optional;
    asked
}

const COOKIES: &str = "tokens in cookies come with checks against forged requests";
const CREDENTIALS: &str =
    "a secret belongs to an issuer of the configuration; it is not looked up by a claim, and is no text in base64";
const OTHER_PLUGINS: &str = "a second plugin beside the first";

fn row(name: &str) -> Row {
    use Row::{Instead, Same};
    match name {
        "returns 401 Unauthorized if no JWT is found in the request"
        | "returns 401 if no JWT tokens are found in cookies or Authorization header"
        | "fails 401, with no credential provided" => Same(without_token),
        "returns 401 if the claims do not contain the key to identify a secret" => {
            Same(|| with_claims(|token| token.without("iss")))
        }
        "returns 401 if the claims do not contain a valid key to identify a secret" => {
            Same(|| with_claims(|token| token.claim("iss", 7)))
        }
        "returns 401 Unauthorized if the iss does not match a credential" => {
            Same(|| with_claims(|token| token.claim("iss", "https://nobody.test")))
        }
        "returns 401 Unauthorized if the signature is invalid" => {
            Same(|| ask(&Token::good().signed_by(&SigningKey::p256("e1"))))
        }
        "returns 401 Unauthorized if the alg does not match the credential" => {
            Same(|| ask(&Token::good().signed_by(&SigningKey::p384("e1"))))
        }
        "returns Unauthorized on OPTIONS requests if run_on_preflight is true" => {
            Same(|| Asked { method: "OPTIONS", ..without_token() })
        }
        "returns 401 if the token exceeds the maximum allowed expiration limit" => {
            Same(|| an_hour_at_most(with_claims(|token| token.claim("exp", now() + 7200))))
        }
        "accepts a JWT token within the maximum allowed expiration limit" => Same(|| an_hour_at_most(good())),
        "reject if multiple different tokens found" => {
            Instead(twice, "token_repeated", "400: no other token would cure it (RFC 6750 §3.1)")
        }
        "requires the checked fields to be in the claims" => Same(|| with_claims(|token| token.without("exp"))),
        "checks if the fields are valid: `exp` claim" => Same(|| with_claims(|token| token.claim("exp", now() - 10))),
        "checks if the fields are valid: `nbf` claim" => Same(|| with_claims(|token| token.claim("nbf", now() + 60))),
        "returns 200 without cookies but with a JWT token in the CustomAuthorization header" => {
            Same(|| in_header_of_its_own(1))
        }
        "finds the JWT in the first header occurrence of a duplicated custom authorization header" => {
            Instead(|| in_header_of_its_own(2), "token_repeated", "which of two counts is not for the gateway to guess")
        }
        "finds the JWT if given in URL parameters" | "finds the JWT if given in a custom URL parameter" => {
            Same(in_parameter)
        }
        "works with right credentials and anonymous" => Same(|| optional(good())),
        "works with wrong credentials and anonymous" | "works with wrong credentials and username in anonymous" => {
            Instead(
                || optional(ask(&Token::good().signed_by(&SigningKey::p256("e1")))),
                "signature_invalid",
                "a bad token is never as good as none",
            )
        }
        "passes with no credential provided" => Same(|| optional(without_token())),
        "proxies the request with token and consumer headers if it was verified"
        | "verifies JWT"
        | "identifies Consumer"
        | "is added to kong.ctx.shared when authenticated"
        | "reports a 200 without cookies but with a JWT token in the Authorization header" => Same(good),
        "verifies JWT with Ed25519 key" => Same(|| ask(&Token::good().signed_by(ed25519()))),
        other => Row::NotHere(reason_for_not_judging(other)),
    }
}

/// Why a test has no counterpart here.
fn reason_for_not_judging(name: &str) -> &'static str {
    match name {
        "verifies JWT with Ed448 key" => "Ed448 is no curve that portcullis knows",
        "returns 200 on OPTIONS requests if run_on_preflight is false" => {
            "which preflights pass without a token comes with the rules for other origins"
        }
        "rejects gRPC call without credentials" | "accepts gRPC call with credentials" => {
            "gRPC rides on HTTP/2, which listeners do not speak yet"
        }
        "returns 200 the JWT is found in the cookie crumble"
        | "returns 200 if the JWT is found in the cookie silly"
        | "returns 401 if the JWT found in the cookie does not match a credential"
        | "returns a 401 if the JWT in the cookie is corrupted" => COOKIES,
        "proxies the request if the key is found in headers"
        | "proxies the request if secret key is stored in a field other than iss"
        | "proxies the request if secret is base64"
        | "proxies the request if conf.secret is base64"
        | "errors when anonymous user doesn't exist" => CREDENTIALS,
        "passes with all credentials provided"
        | "fails 401, with only the first credential provided"
        | "fails 401, with only the second credential provided"
        | "passes with only the first credential provided"
        | "passes with only the second credential provided" => OTHER_PLUGINS,
        other => panic!("the test {other}"),
    }
}

fn ed25519() -> &'static SigningKey {
    static KEY: std::sync::OnceLock<SigningKey> = std::sync::OnceLock::new();
    KEY.get_or_init(|| SigningKey::ed25519("ed"))
}

fn judge(asked: &Asked) -> Verdict {
    let algorithms = Algorithms::asymmetric();
    let keys = KeySet::parse(&key_set(&[signing_key().jwk_for("ES256"), ed25519().jwk()]), algorithms).unwrap();
    let (mut issuer, mut route) = (issuer(ISSUER, algorithms), route("/", 1));
    (asked.rules)(&mut issuer, &mut route);
    let gatekeeper = Trial { issuers: vec![(issuer, keys.into())], routes: vec![route] }.gatekeeper();
    decide(&gatekeeper, asked.method, &asked.target, &asked.lines, now())
}

#[test]
fn requests_are_judged_as_kong_does_or_more_strictly() {
    let Some(folder) = corpora::folder("the behaviours of Kong") else { return };
    let document = corpora::json(&folder, "kong/behaviour_table.json");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut faults = Vec::new();
    for case in document["cases"].as_array().unwrap() {
        let name = text(&case["name"]);
        let class = match row(name) {
            Row::NotHere(because) => {
                assert!(!because.is_empty());
                "not here, by name"
            }
            Row::Instead(asked, label, because) => {
                let verdict = judge(&asked());
                if verdict.label() != label {
                    faults.push(format!("{name}: {verdict:?}, not {label} ({because})"));
                }
                "another verdict, by name"
            }
            Row::Same(asked) => match (judge(&asked()), case["status"].as_u64()) {
                (Verdict::Passes(_), Some(200) | None) => "passes",
                (Verdict::Refused(401, _), Some(401) | None) => "refused",
                (verdict, status) => {
                    faults.push(format!("{name}: {verdict:?}, there {status:?}"));
                    continue;
                }
            },
        };
        *counts.entry(class).or_default() += 1;
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let expected = [("another verdict, by name", 4), ("not here, by name", 19), ("passes", 29), ("refused", 13)];
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), expected);
}
