//! The document as operators are shown it: as written, variables unexpanded, without what could be a secret.
use serde_json::Value;

use crate::config::tree::{Node, Reading};

/// What stands for a value that is not shown.
const REDACTED: &str = "[redacted]";
/// A header whose name holds one of these may hold a secret.
const SECRET_WORDS: [&str; 7] = ["auth", "cookie", "credential", "key", "password", "secret", "token"];

/// The document for output. Top-level `x-…` keys are left out: they only hold anchors, whose text stands where it is
/// used.
pub(in crate::config) fn shown(root: &Node) -> Value {
    let mut document = root.to_json(Reading::Written);
    if let Some(keys) = document.as_object_mut() {
        keys.retain(|key, _| !key.starts_with("x-"));
    }
    document.get_mut("routes").and_then(Value::as_array_mut).into_iter().flatten().for_each(redact_route);
    document.get_mut("route_defaults").into_iter().for_each(redact_route);
    document
}

/// Leaves out what may be a secret of a route, or of what stands in for the keys of routes.
fn redact_route(route: &mut Value) {
    for direction in ["request_headers", "response_headers"] {
        let set = route.get_mut(direction).and_then(|headers| headers.get_mut("set"));
        for (name, value) in set.and_then(Value::as_object_mut).into_iter().flatten() {
            let name = name.to_ascii_lowercase();
            if value.is_string() && SECRET_WORDS.iter().any(|word| name.contains(word)) {
                *value = REDACTED.into();
            }
        }
    }
}
