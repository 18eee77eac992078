//! Decisions with a clock of their own: every time rule at its exact boundary, keys that come and go, tokens that are remembered.
use std::time::Duration;

use portcullis::{
    gate::{
        algorithm::{Algorithm, Algorithms},
        decide::Decision,
        issuer::{ClaimPath, IssuerId},
        keys::KeySet,
        policy::{Names, Requirement},
        time::UnixTime,
    },
    state::{claims_cache::CacheUse, gatekeeper::Gatekeeper, key_slot::KeySlot, refresh::RefreshRules},
};
use serde_json::json;
use std::sync::Arc;

use crate::support::{
    fixture::{ISSUER, signing_key},
    keys::{SigningKey, key_set},
    ruleset::{cache, decide, gatekeeper, issuer, plain_ruleset, route, ruleset, verdict},
    token::Token,
};

/// The moment of the tests, in seconds since the epoch.
const T: i64 = 1_767_225_600;

fn at(offset_milliseconds: i64) -> UnixTime {
    UnixTime::from_milliseconds(T * 1000 + offset_milliseconds)
}

fn keys_of(keys: &[SigningKey]) -> KeySet {
    let jwks: Vec<_> = keys.iter().map(|key| key.jwk_for(key.algorithm())).collect();
    KeySet::parse(&key_set(&jwks), Algorithms::asymmetric()).unwrap()
}

fn good() -> Token {
    Token::good().claim("iat", T - 60).claim("exp", T + 300)
}

fn house(entries: usize) -> Gatekeeper {
    gatekeeper(plain_ruleset(), vec![keys_of(&[signing_key().clone()])], entries)
}

#[test]
fn every_time_rule_holds_to_the_millisecond() {
    let rows: &[(Token, i64, &str)] = &[
        // Valid while now < exp + leeway (30 s).
        (good().claim("exp", T - 30), -1, "allowed"),
        (good().claim("exp", T - 30), 0, "token_expired"),
        (good().claim("exp", T - 29), 0, "allowed"),
        (good().claim_text("exp", "1767225570.5"), 499, "allowed"),
        (good().claim_text("exp", "1767225570.5"), 500, "token_expired"),
        (good().claim_text("exp", "1.7672259e9"), 0, "allowed"),
        // Refused while now < nbf - leeway, now < iat - leeway.
        (good().claim("nbf", T + 30), 0, "allowed"),
        (good().claim("nbf", T + 30), -1, "token_not_yet_valid"),
        (good().claim("nbf", T + 31), 0, "token_not_yet_valid"),
        (good().claim_text("nbf", "1767225630.001"), 0, "token_not_yet_valid"),
        // What is finer than a millisecond is rounded to the stricter side.
        (good().claim_text("nbf", "1767225630.0004"), 0, "token_not_yet_valid"),
        (good().claim_text("iat", "1767225630.0004"), 0, "token_not_yet_valid"),
        (good().claim_text("exp", "1767225570.0006"), 0, "token_expired"),
        (good().claim("iat", T + 30), 0, "allowed"),
        (good().claim("iat", T + 30), -1, "token_not_yet_valid"),
        (good().claim("iat", T + 31), 0, "token_not_yet_valid"),
        (good().claim("iat", -1), 0, "claim_invalid"),
        // Ten years at most.
        (good().claim("exp", T + 315_360_000), 0, "allowed"),
        (good().claim("exp", T + 315_360_001), 0, "lifetime_exceeded"),
        (good().claim("exp", T * 1000), 0, "lifetime_exceeded"),
        (good().claim_text("exp", "1e19"), 0, "lifetime_exceeded"),
        (good().claim_text("exp", "9223372036854775808"), 0, "lifetime_exceeded"),
        (good().claim_text("nbf", "1e308"), 0, "token_not_yet_valid"),
        (good().claim_text("iat", "-1e19"), 0, "claim_invalid"),
        (good().claim("exp", -1), 0, "token_expired"),
        (good().claim_text("exp", "1e400"), 0, "token_malformed"),
    ];
    for entries in [0, 100] {
        let house = house(entries);
        for (token, offset, expected) in rows {
            let compact = token.signed_by(signing_key());
            // Twice, so that the second is remembered where there is a memory.
            for _ in 0..2 {
                let judgement = decide(&house, "/", &compact, at(*offset));
                assert_eq!(verdict(&judgement), *expected, "{compact} at {offset} ms, {judgement:?}");
            }
        }
    }
}

#[test]
fn a_lifetime_is_measured_from_issue_to_end() {
    let mut limited = issuer("main", ISSUER);
    limited.max_lifetime = Some(Duration::from_secs(360));
    let house =
        gatekeeper(ruleset(vec![limited], vec![route("all", "/")]), vec![keys_of(&[signing_key().clone()])], 10);
    for (token, expected) in [
        (good(), "allowed"),
        (good().claim("exp", T + 301), "lifetime_exceeded"),
        (good().without("iat"), "claim_missing"),
    ] {
        assert_eq!(verdict(&decide(&house, "/", &token.signed_by(signing_key()), at(0))), expected);
    }
}

#[test]
fn a_remembered_token_expires_all_the_same() {
    let house = house(10);
    let token = good().signed_by(signing_key());
    assert_eq!(decide(&house, "/", &token, at(0)).cache, CacheUse::Miss);
    assert_eq!(decide(&house, "/", &token, at(329_999)).cache, CacheUse::Hit);
    let judgement = decide(&house, "/", &token, at(330_000));
    assert_eq!((verdict(&judgement), judgement.cache), ("token_expired", CacheUse::Hit));
}

#[test]
fn a_token_of_a_withdrawn_key_is_refused_even_when_it_was_remembered() {
    #[expect(clippy::disallowed_methods, reason = "an Instant cannot be made otherwise")]
    let start = std::time::Instant::now();
    let rules = RefreshRules {
        refresh: Duration::from_secs(600),
        cooldown: Duration::from_secs(10),
        max_stale: Duration::from_secs(3600),
    };
    let slot = Arc::new(KeySlot::remote(rules, start));
    let house = Gatekeeper::new(plain_ruleset(), vec![Arc::clone(&slot)], cache(10), 0);
    let (old, new) = (SigningKey::p256("old"), SigningKey::p256("new"));
    let token = good().signed_by(&old);
    let fetched = |keys: &[SigningKey]| slot.fetched(Arc::new(keys_of(keys)), None, start, at(0), 0.0);
    assert_eq!(verdict(&decide(&house, "/", &token, at(0))), "keys_unavailable");
    fetched(std::slice::from_ref(&old));
    assert_eq!(verdict(&decide(&house, "/", &token, at(0))), "allowed");
    assert_eq!(decide(&house, "/", &token, at(0)).cache, CacheUse::Hit);
    // Another key beside it, and the same key in a new set: still good, still remembered.
    fetched(&[new.clone(), old.clone()]);
    assert_eq!(decide(&house, "/", &token, at(0)).cache, CacheUse::Hit);
    // A failed attempt changes nothing.
    slot.failed("down", portcullis::state::refresh::Occasion::Scheduled, start, 0.0);
    assert_eq!(verdict(&decide(&house, "/", &token, at(0))), "allowed");
    // Withdrawn: at the next request, remembered or not. `old` is unknown now, and nothing could be fetched.
    fetched(std::slice::from_ref(&new));
    let judgement = decide(&house, "/", &token, at(0));
    assert_eq!((verdict(&judgement), judgement.cache), ("keys_unavailable", CacheUse::Stale));
    assert_eq!(decide(&house, "/", &token, at(0)).cache, CacheUse::Miss, "it was forgotten");
    // Another key under the old name proves nothing.
    fetched(&[new.named("old")]);
    assert_eq!(verdict(&decide(&house, "/", &token, at(0))), "signature_invalid");
    // Too old: no keys at all.
    assert!(!slot.expire(start + Duration::from_secs(3599)));
    assert!(slot.expire(start + Duration::from_secs(3600)));
    assert_eq!(verdict(&decide(&house, "/", &token, at(0))), "keys_unavailable");
}

#[test]
fn an_issuers_keys_verify_that_issuers_tokens_only() {
    let (first, second) = (SigningKey::p256("same"), SigningKey::p256("same"));
    let mut both = route("both", "/both");
    both.issuers = vec![IssuerId(0), IssuerId(1)];
    let mut only_second = route("second", "/second");
    only_second.issuers = vec![IssuerId(1)];
    let rules = ruleset(
        vec![issuer("first", "https://first.test"), issuer("second", "https://second.test")],
        vec![both, only_second],
    );
    let house =
        gatekeeper(rules, vec![keys_of(std::slice::from_ref(&first)), keys_of(std::slice::from_ref(&second))], 10);
    let from = |name: &str, key: &SigningKey| good().claim("iss", name).signed_by(key);
    for (path, token, expected) in [
        ("/both", from("https://first.test", &first), "allowed"),
        ("/both", from("https://second.test", &second), "allowed"),
        ("/both", from("https://first.test", &second), "signature_invalid"),
        ("/both", from("https://second.test", &first), "signature_invalid"),
        ("/both", from("https://first.test/", &first), "issuer_unknown"),
        // Of an issuer that the route does not accept: its keys are not even asked.
        ("/second", from("https://first.test", &second), "issuer_unknown"),
        // Remembered from the other route, where its issuer is accepted.
        ("/second", from("https://first.test", &first), "issuer_unknown"),
        ("/second", from("https://second.test", &second), "allowed"),
    ] {
        for attempt in 0..2 {
            let judgement = decide(&house, path, &token, at(0));
            assert_eq!(verdict(&judgement), expected, "{path}, attempt {attempt}");
        }
    }
    let shared = from("https://first.test", &first);
    assert_eq!(verdict(&decide(&house, "/both", &shared, at(0))), "allowed");
    let judgement = decide(&house, "/second", &shared, at(0));
    assert_eq!((verdict(&judgement), judgement.cache), ("issuer_unknown", CacheUse::Hit));
}

#[test]
fn what_a_route_requires_is_asked_of_remembered_tokens_too() {
    let mut routes =
        vec![route("open", "/open"), route("admin", "/admin"), route("any", "/any"), route("scope", "/scope")];
    let names = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect::<Vec<_>>();
    routes[1].requirement =
        Requirement { roles: Some(Names::All(names(&["admin", "staff"]))), ..Requirement::default() };
    routes[2].requirement =
        Requirement { roles: Some(Names::Any(names(&["admin", "staff"]))), ..Requirement::default() };
    routes[3].requirement = Requirement { scopes: Some(Names::All(names(&["orders:read"]))), ..Requirement::default() };
    let house = gatekeeper(ruleset(vec![issuer("main", ISSUER)], routes), vec![keys_of(&[signing_key().clone()])], 100);
    let with = |roles: serde_json::Value| good().claim("roles", roles);
    for (token, expected) in [
        (good(), ["allowed", "role_missing", "role_missing", "allowed"]),
        (with(json!(["admin"])), ["allowed", "role_missing", "allowed", "allowed"]),
        (with(json!(["staff", "admin"])), ["allowed"; 4]),
        (with(json!([{"value": "admin"}, {"value": "staff"}])), ["allowed"; 4]),
        (with(json!("admin")), ["allowed", "role_missing", "role_missing", "allowed"]),
        (with(json!(["administrator", "staffing"])), ["allowed", "role_missing", "role_missing", "allowed"]),
        (with(json!(["admin", 1])), ["allowed", "role_missing", "role_missing", "allowed"]),
        (with(json!({"admin": true})), ["allowed", "role_missing", "role_missing", "allowed"]),
        (
            good().claim("scope", "orders:readwrite Orders:read xorders:read"),
            ["allowed", "role_missing", "role_missing", "scope_insufficient"],
        ),
        (good().without("scope"), ["allowed", "role_missing", "role_missing", "scope_insufficient"]),
        (
            good().without("scope").claim("scp", json!(["orders:read"])),
            ["allowed", "role_missing", "role_missing", "allowed"],
        ),
        (good().claim("scope", json!(["orders:read"])), ["claim_invalid"; 4]),
    ] {
        let compact = token.signed_by(signing_key());
        for _ in 0..2 {
            let verdicts =
                ["/open", "/admin", "/any", "/scope"].map(|path| verdict(&decide(&house, path, &compact, at(0))));
            assert_eq!(verdicts, expected, "{compact}");
        }
    }
}

#[test]
fn a_key_verifies_only_the_algorithms_it_was_published_for() {
    let rsa = SigningKey::rsa("r");
    let set = |jwk: serde_json::Value, allowed: Algorithms| KeySet::parse(&key_set(&[jwk]), allowed).unwrap();
    let mut unnamed = rsa.jwk_for("RS256");
    unnamed.as_object_mut().unwrap().remove("alg");
    let only = |algorithm: Algorithm| [algorithm].into_iter().collect::<Algorithms>();
    for (keys, allowed, alg, expected) in [
        (set(rsa.jwk_for("RS256"), Algorithms::asymmetric()), Algorithms::asymmetric(), "RS256", "allowed"),
        (
            set(rsa.jwk_for("RS256"), Algorithms::asymmetric()),
            Algorithms::asymmetric(),
            "PS256",
            "algorithm_not_allowed",
        ),
        (set(unnamed.clone(), Algorithms::asymmetric()), Algorithms::asymmetric(), "PS512", "allowed"),
        (set(unnamed.clone(), only(Algorithm::RS256)), only(Algorithm::RS256), "RS384", "algorithm_not_allowed"),
        (set(unnamed, Algorithms::asymmetric()), Algorithms::asymmetric(), "ES256", "algorithm_not_allowed"),
    ] {
        let mut main = issuer("main", ISSUER);
        main.algorithms = allowed;
        let house = gatekeeper(ruleset(vec![main], vec![route("all", "/")]), vec![keys], 10);
        let token = if alg == "ES256" {
            good().header("alg", "ES256").with_signature(&rsa, &[1; 64])
        } else {
            good().header("alg", alg).signed_by(&rsa)
        };
        assert_eq!(verdict(&decide(&house, "/", &token, at(0))), expected, "{alg}");
    }
}

#[test]
fn a_key_without_a_name_is_meant_by_any_token_that_no_key_is_named_for() {
    let (named, nameless, stranger) = (SigningKey::p256("named"), SigningKey::p256("x"), SigningKey::p256("x"));
    let mut jwk = nameless.jwk();
    jwk.as_object_mut().unwrap().remove("kid");
    let set = || KeySet::parse(&key_set(&[named.jwk(), jwk.clone()]), Algorithms::asymmetric()).unwrap();
    let file = || KeySet::from_public_key_pem(nameless.public_pem().as_bytes(), Algorithms::asymmetric()).unwrap();
    let other = SigningKey::p384("x");
    for (what, keys, token, expected) in [
        ("by the nameless key", set(), good().signed_by(&nameless), "allowed"),
        ("by a stranger", set(), good().signed_by(&stranger), "key_unknown"),
        (
            "by the nameless key under another's name",
            set(),
            good().signed_by(&nameless.named("named")),
            "signature_invalid",
        ),
        ("by the named key under no name", set(), good().without_header("kid").signed_by(&named), "allowed"),
        ("by the key of a file", file(), good().signed_by(&nameless), "allowed"),
        ("by a stranger, where the key is of a file", file(), good().signed_by(&stranger), "signature_invalid"),
        ("of another kind, where the key is of a file", file(), good().signed_by(&other), "algorithm_not_allowed"),
    ] {
        let house = gatekeeper(plain_ruleset(), vec![keys], 0);
        assert_eq!(verdict(&decide(&house, "/", &token, at(0))), expected, "signed {what}");
    }
}

#[test]
fn a_remembered_token_counts_only_while_its_key_may_verify_its_algorithm() {
    #[expect(clippy::disallowed_methods, reason = "an Instant cannot be made otherwise")]
    let start = std::time::Instant::now();
    let seconds = Duration::from_secs;
    let rules = RefreshRules { refresh: seconds(600), cooldown: seconds(10), max_stale: seconds(3600) };
    let slot = Arc::new(KeySlot::remote(rules, start));
    let house = Gatekeeper::new(plain_ruleset(), vec![Arc::clone(&slot)], cache(10), 0);
    let rsa = SigningKey::rsa("r");
    let publish = |algorithm: &str| {
        let set = KeySet::parse(&key_set(&[rsa.jwk_for(algorithm)]), Algorithms::asymmetric()).unwrap();
        slot.fetched(Arc::new(set), None, start, at(0), 0.0);
    };
    let token = good().header("alg", "RS256").signed_by(&rsa);
    publish("RS256");
    assert_eq!(verdict(&decide(&house, "/", &token, at(0))), "allowed");
    assert_eq!(decide(&house, "/", &token, at(0)).cache, CacheUse::Hit);
    publish("PS256");
    let judgement = decide(&house, "/", &token, at(0));
    assert_eq!((verdict(&judgement), judgement.cache), ("algorithm_not_allowed", CacheUse::Stale));
}

#[test]
fn what_one_configuration_drew_from_a_token_is_nothing_to_another() {
    let shared = cache(10);
    let slot = || vec![Arc::new(KeySlot::fixed(Arc::new(keys_of(&[signing_key().clone()]))))];
    let mut strict = issuer("main", ISSUER);
    strict.required_claims.push("email".into());
    let before = Gatekeeper::new(plain_ruleset(), slot(), Arc::clone(&shared), 1);
    let after = Gatekeeper::new(ruleset(vec![strict], vec![route("all", "/")]), slot(), shared, 2);
    let token = good().signed_by(signing_key());
    for _ in 0..2 {
        assert_eq!(verdict(&decide(&before, "/", &token, at(0))), "allowed");
        assert_eq!(verdict(&decide(&after, "/", &token, at(0))), "claim_missing");
    }
}

#[test]
fn a_registered_claim_has_its_type_even_where_nothing_is_drawn_from_it() {
    let mut elsewhere = issuer("main", ISSUER);
    elsewhere.subject = ClaimPath::top("uid");
    let house =
        gatekeeper(ruleset(vec![elsewhere], vec![route("all", "/")]), vec![keys_of(&[signing_key().clone()])], 10);
    let token = || good().claim("uid", "u9");
    for (token, expected) in [
        (token(), "allowed"),
        (token().claim("sub", 7), "claim_invalid"),
        (token().claim("jti", 7), "claim_invalid"),
        (token().claim("jti", ""), "claim_invalid"),
        (token().without("jti"), "allowed"),
    ] {
        assert_eq!(verdict(&decide(&house, "/", &token.signed_by(signing_key()), at(0))), expected);
    }
}

#[test]
fn a_token_without_a_kid_is_tried_with_at_most_four_keys_that_fit() {
    let keys: Vec<SigningKey> = (0..6).map(|number| SigningKey::p256(&format!("k{number}"))).collect();
    let house = gatekeeper(plain_ruleset(), vec![keys_of(&keys)], 0);
    for (number, key) in keys.iter().enumerate() {
        let token = good().without_header("kid").signed_by(key);
        let expected = if number < 4 { "allowed" } else { "signature_invalid" };
        assert_eq!(verdict(&decide(&house, "/", &token, at(0))), expected, "key {number}");
    }
}

#[test]
fn another_token_is_never_answered_for() {
    let house = house(100);
    let token = good().signed_by(signing_key());
    assert_eq!(verdict(&decide(&house, "/", &token, at(0))), "allowed");
    let mut forged = token.clone();
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'Q' } else { 'A' });
    assert_ne!(verdict(&decide(&house, "/", &forged, at(0))), "allowed");
    let Decision::Pass(Some(identity)) = decide(&house, "/", &token, at(0)).decision else { panic!("not allowed") };
    assert_eq!(identity.subject(), Some("u1"));
}

#[test]
fn a_remembered_token_counts_why_it_is_refused() {
    let house = house(10);
    let bytes = |token: Token| {
        let judgement = decide(&house, "/", &token.signed_by(signing_key()), at(0));
        (verdict(&judgement), judgement.known.unwrap().bytes())
    };
    let (_, good_bytes) = bytes(good());
    let (reason, audience_bytes) = bytes(good().claim("aud", "x".repeat(100)));
    assert_eq!(reason, "audience_mismatch");
    assert!(audience_bytes >= good_bytes + 100, "{audience_bytes}, {good_bytes}");
}

#[test]
fn the_cache_stays_within_its_entries() {
    let house = house(20);
    for number in 0..200 {
        let token = good().claim("sub", format!("u{number}")).signed_by(signing_key());
        assert_eq!(verdict(&decide(&house, "/", &token, at(0))), "allowed");
    }
    assert!(house.cache().entries() <= 20, "{}", house.cache().entries());
    assert!(house.cache().evictions() > 0);
}
