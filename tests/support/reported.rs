//! What must be known inside of a refusal: its log line and its counters. The reasons themselves stand in the tests.
use serde_json::Value;

use super::{
    gateway::Gateway,
    waiting::{PATIENCE, eventually},
};

/// The value of the first member `reason` anywhere in a log line.
pub(crate) fn reason_in(line: &Value) -> Option<&str> {
    let members = line.as_object()?;
    members.get("reason").and_then(Value::as_str).or_else(|| members.values().find_map(reason_in))
}

/// Whether a metric line is this metric with all these labels.
pub(crate) fn is_metric(line: &str, name: &str, labels: &[(&str, &str)]) -> bool {
    line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'))
        && labels.iter().all(|(label, value)| *value == "*" || line.contains(&format!("{label}=\"{value}\"")))
}

/// Waits until a metric counts at least one.
pub(crate) fn check_counted(gateway: &Gateway, name: &str, labels: &[(&str, &str)]) {
    let counted = || (gateway.metric(|line| is_metric(line, name, labels)) >= 1.0).then_some(());
    assert!(eventually(PATIENCE, counted).is_some(), "{name}{labels:?} is not counted");
}

/// What must be known inside of a refusal that a client has got.
pub(crate) fn check_reported(
    gateway: &Gateway,
    request_id: &str,
    route: &str,
    reason: &str,
    status: u16,
    method: &str,
) {
    let line = gateway.access_line(request_id);
    assert_eq!(line["status"], status, "{line}");
    assert_eq!(reason_in(&line), Some(reason), "{line}");
    assert!(route == "*" || line["route"] == route, "{route}: {line}");
    let code = status.to_string();
    check_counted(gateway, "portcullis_http_requests_total", &[("route", route), ("method", method), ("code", &code)]);
    let about_tokens =
        (status == 400 && reason.starts_with("token_")) || matches!(status, 401 | 403) || reason == "keys_unavailable";
    if about_tokens {
        assert_eq!(line["auth"]["result"], "rejected", "{line}");
        check_counted(gateway, "portcullis_auth_rejections_total", &[("route", route), ("reason", reason)]);
        check_counted(gateway, "portcullis_auth_decisions_total", &[("route", route), ("result", "rejected")]);
    }
}
