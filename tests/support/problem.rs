//! What every refusal must look like from outside, whatever its reason. The statuses and reasons themselves stand in the tests.
use super::{client::Response, minted, wire::Head};

/// Checks the parts that all refusals have in common, and gives the request id.
pub(crate) fn check_problem(response: &Response, status: u16, reason: &str, method: &str) -> String {
    assert_eq!(response.status, status, "{reason}: {} {}", response.head.start, response.text());
    let header = |name: &str| {
        response.header(name).unwrap_or_else(|| panic!("{reason}: no {name} in {:?}", response.head.fields))
    };
    assert_eq!(header("Content-Type").split(';').next(), Some("application/problem+json"), "{reason}");
    assert!(header("Cache-Control").contains("no-store"), "{reason}");
    check_challenge(&response.head, status, reason);
    assert_eq!(response.header("Retry-After").is_some(), matches!(status, 429 | 503), "{reason}: Retry-After");
    assert_eq!(response.header("Allow").is_some(), status == 405, "{reason}: Allow");
    minted::assert_none_in("a refusal", &String::from_utf8_lossy(&response.head.raw));
    let request_id = header("X-Request-Id").to_owned();
    if method == "HEAD" {
        assert!(response.body.is_empty(), "{reason}: a body for HEAD");
        return request_id;
    }
    let problem = response.json();
    for member in ["type", "title"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{reason}: {member} in {problem}");
    }
    assert_eq!(problem["status"], status, "{reason}");
    assert_eq!(problem["reason"], reason, "{problem}");
    assert_eq!(problem["request_id"], request_id.as_str(), "{reason}: body and header agree");
    minted::assert_none_in("a refusal", &response.text());
    request_id
}

/// RFC 6750 §3: a 401 has a challenge, `error` is what the status asks for, and the grammar holds wherever there is one.
fn check_challenge(head: &Head, status: u16, reason: &str) {
    let challenges = head.values("WWW-Authenticate");
    let expected = match (status, reason) {
        (401, "token_missing") => Some(None),
        (401, "step_up_required") => Some(Some("insufficient_user_authentication")),
        (401, _) => Some(Some("invalid_token")),
        (403, "scope_insufficient") => Some(Some("insufficient_scope")),
        _ => None,
    };
    match (expected, challenges.as_slice()) {
        (Some(error), [challenge]) => {
            let parameters = challenge_parameters(challenge);
            let value = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
            assert!(value("realm").is_some(), "{reason}: {challenge}");
            assert_eq!(value("error"), error, "{reason}: {challenge}");
        }
        (Some(_), none_or_many) => panic!("{reason}: one challenge is needed, these are there: {none_or_many:?}"),
        // 400 may tell `invalid_request`; a refusal that no token would cure must not ask for one.
        (None, []) => {}
        (None, [challenge]) if status == 400 || status == 403 => {
            let parameters = challenge_parameters(challenge);
            let allowed = |error: &str| status == 400 && error == "invalid_request";
            assert!(parameters.iter().all(|(name, value)| name != "error" || allowed(value)), "{reason}: {challenge}");
        }
        (None, challenges) => panic!("{reason}: {status} with a challenge: {challenges:?}"),
    }
}

/// The parameters of one `Bearer` challenge; fails the test when it does not keep to RFC 9110 §11.6.1 and RFC 6750 §3.
pub(crate) fn challenge_parameters(challenge: &str) -> Vec<(String, String)> {
    let rest = challenge
        .strip_prefix("Bearer ")
        .unwrap_or_else(|| panic!("not a Bearer challenge with a parameter: {challenge:?}"));
    let mut parameters: Vec<(String, String)> = Vec::new();
    let mut left = rest.trim_start();
    while !left.is_empty() {
        let (name, after) = left.split_once('=').unwrap_or_else(|| panic!("a parameter without value: {challenge:?}"));
        let name = name.trim();
        assert!(
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
            "{challenge:?}"
        );
        assert!(parameters.iter().all(|(other, _)| other != name), "{name} twice: {challenge:?}");
        let quoted = after.strip_prefix('"').unwrap_or_else(|| panic!("{name} is not quoted: {challenge:?}"));
        let (value, after) = quoted.split_once('"').unwrap_or_else(|| panic!("{name} has no end: {challenge:?}"));
        assert!(value.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && byte != b'\\'), "{name}: {challenge:?}");
        parameters.push((name.to_owned(), value.to_owned()));
        let after = after.trim_start();
        assert!(after.is_empty() || after.starts_with(','), "no comma after {name}: {challenge:?}");
        left = after.strip_prefix(',').unwrap_or_default().trim_start();
    }
    assert!(!parameters.is_empty(), "a bare challenge: {challenge:?}");
    parameters
}

#[test]
fn the_grammar_of_a_challenge_is_read_and_broken_ones_are_noticed() {
    let parameters = challenge_parameters(r#"Bearer realm="api", error="invalid_token",scope="a b""#);
    assert_eq!(parameters.len(), 3);
    for broken in [
        "Bearer",
        "Bearer ",
        "Basic realm=\"x\"",
        "Bearer realm=\"a\" b=\"c\"",
        "Bearer realm=\"a\", realm=\"b\"",
        "Bearer r=x",
    ] {
        assert!(std::panic::catch_unwind(|| challenge_parameters(broken)).is_err(), "{broken}");
    }
}
