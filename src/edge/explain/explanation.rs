//! An explanation as it is shown: for programs as JSON, for people by whoever renders it. It holds no token.
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How one request was decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// What was asked.
    pub request: Asked,
    /// What becomes of it.
    pub verdict: Verdict,
    /// What was done, in the order in which it was, and what was not reached.
    pub steps: Vec<Step>,
    /// What the upstream gets; nothing when it gets nothing.
    pub upstream: Option<Forwarded>,
    /// Header fields that the response gets for browsers.
    pub response_headers: Vec<(String, String)>,
    /// What else whoever reads this should know.
    pub notes: Vec<String>,
}

/// A request, without its token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Method.
    pub method: String,
    /// Scheme, host and path, without the query.
    pub url: String,
    /// Name of the listener.
    pub listener: String,
    /// Address of the client.
    pub address: Option<String>,
    /// When (RFC 3339).
    pub at: String,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It reaches its upstream.
    Forward,
    /// It may pass and is answered by the gateway: by the route's own response, or as a preflight.
    Respond,
    /// It is refused.
    Refuse,
}

/// The end of a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What becomes of the request.
    pub outcome: Outcome,
    /// Name of the route.
    pub route: Option<String>,
    /// Name of the token's issuer.
    pub issuer: Option<String>,
    /// Whose request it is.
    pub subject: Option<String>,
    /// Status of the answer, where the gateway gives it.
    pub status: Option<u16>,
    /// Why it is refused: the label of metrics and logs.
    pub reason: Option<String>,
    /// What the client is told.
    pub title: Option<String>,
    /// What was expected and found.
    pub detail: Option<String>,
    /// What would change that.
    pub cure: Option<String>,
    /// What a rule on trial would have refused it for.
    pub observed: Option<String>,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepResult {
    /// It was passed.
    Ok,
    /// The request is refused for it.
    Failed,
    /// It would be refused for it, were that not only observed.
    Observed,
    /// It was not reached, or there was nothing to do.
    Skipped,
    /// Something to know; it decides nothing.
    Note,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its name.
    pub step: String,
    /// How it ended.
    pub result: StepResult,
    /// What was found, in a line.
    pub summary: String,
    /// The single checks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckShown>,
    /// More lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

/// One check of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckShown {
    /// What is looked at.
    pub check: String,
    /// What is wanted of it.
    pub expected: String,
    /// What it is.
    pub found: String,
    /// Whether that is well.
    pub ok: bool,
    /// What a failure of it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What an upstream gets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Forwarded {
    /// Its name.
    pub upstream: String,
    /// Target of the request: the path, and the names of the query's parameters.
    pub target: String,
    /// The `Host` that it is sent.
    pub host: Option<String>,
    /// The identity headers.
    pub identity: Vec<(String, String)>,
    /// Identity headers for which the token has nothing, or that there is no token for.
    pub absent: Vec<String>,
    /// The gateway's other headers.
    pub set: Vec<(String, String)>,
    /// What the client sent and the upstream does not get.
    pub removed: Vec<String>,
    /// What the client sent and the upstream gets as it is.
    pub passed: Vec<String>,
}

impl Explanation {
    /// Without anything that looks like a token, wherever it stood, nor the `secrets` themselves.
    pub(super) fn without_tokens(self, secrets: &[&str]) -> Self {
        let Ok(mut value) = serde_json::to_value(&self) else { return self };
        clean(&mut value, secrets);
        serde_json::from_value(value).unwrap_or(self)
    }
}

fn clean(value: &mut Value, secrets: &[&str]) {
    match value {
        Value::String(text) => *text = cleaned(text, secrets),
        Value::Array(elements) => elements.iter_mut().for_each(|element| clean(element, secrets)),
        Value::Object(members) => members.values_mut().for_each(|member| clean(member, secrets)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A shorter text is no credential, and would be found in every other word.
const SECRET_BYTES_MIN: usize = 8;

fn cleaned(text: &str, secrets: &[&str]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| secret.len() >= SECRET_BYTES_MIN) {
        text = text.replace(secret, "[token]");
    }
    without_tokens(&text)
}

/// A text without anything that looks like a token.
pub fn without_tokens(text: &str) -> String {
    let is_of_token = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    // What every token begins with: `{"` in base64url. In one pass, since the text may be a stranger's.
    while let Some((before, after)) = rest.split_once("eyJ") {
        shown.push_str(before);
        shown.push_str("[token]");
        rest = after.trim_start_matches(is_of_token);
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_looks_like_a_token_is_left() {
        for (text, expected) in [
            ("plain", "plain"),
            ("/reset/eyJhbGciOiJub25lIn0.e30.x/y", "/reset/[token]/y"),
            ("eyJ", "[token]"),
            ("a eyJab eyJcd", "a [token] [token]"),
            ("opaque-credential here", "[token] here"),
            ("short", "short"),
        ] {
            assert_eq!(cleaned(text, &["opaque-credential", "short", ""]), expected);
        }
        let many = 100_000;
        assert_eq!(without_tokens(&"eyJx!".repeat(many)), "[token]!".repeat(many));
    }
}
