//! The probes of Http11Probe, byte by byte to the real program. Each row that RFC 9110 and RFC 9112 demand must be as it says;
//! of every row, also of those that leave a choice, nothing may be smuggled.
use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::case::text;
use crate::support::{
    attack::{Trace, send, send_and_hang_up},
    corpora,
    fixture::House,
};

/// Everything is open: what is refused is refused for its shape.
pub(super) const OPEN: &str = "  - {name: open, path_prefix: /, auth: none, upstream: echo}\n";

/// Probes that are no whole request: nobody may answer them but with a refusal, after a while.
const NOT_WHOLE: &[&str] = &["COMP-POST-CL-UNDERSEND", "COMP-CHUNKED-NO-FINAL", "RFC9112-2.3-HTTP09-REQUEST"];

/// Where the contract says otherwise, and why.
const DIFFERENCES: &[(&str, u16, &str)] = &[(
    "COMP-OPTIONS-STAR",
    404,
    "default deny: the asterisk names no resource, so no route takes it (RFC 9110 §9.3.7 demands no answer)",
)];

/// What a probe's expectation comes to for a gateway.
enum Expected {
    /// One of these, or closed without an answer.
    RefusedOrClosed(&'static [u16]),
    /// The upstream's answer.
    Passes,
    /// Refused, or passed on in one unambiguous way.
    Either,
    /// The upstream's answer with this body arrived there.
    PassesWith(&'static str),
    /// The upstream's answer, and then the connection is closed.
    PassesAndCloses,
    /// Any answer but a switch of protocols.
    NoSwitch,
    /// The upstream's answer, with a date.
    HasDate,
}

fn expected(case: &Value) -> Expected {
    match (case["expect_status"].as_str(), case["expect"].as_str()) {
        (Some("Exact(400)"), _) => Expected::RefusedOrClosed(&[400]),
        (Some("Range2xx"), _) => Expected::Passes,
        (_, Some("2xx + echo")) => Expected::PassesWith("hello"),
        (_, Some("2xx + close")) => Expected::PassesAndCloses,
        (_, Some("2xx with Date header" | "IMF-fixdate format")) => Expected::HasDate,
        (_, Some("!101" | "non-101 (426 preferred)" | "non-1xx response")) => Expected::NoSwitch,
        (_, Some("400/501 or close")) => Expected::RefusedOrClosed(&[400, 501]),
        (
            _,
            Some(
                "400, or close"
                | "400 or close"
                | "400, or close (no extra response)"
                | "400, or 2xx + close"
                | "400 or 2xx+close"
                | "400/501 or 2xx+close"
                | "400/close/timeout",
            ),
        ) => Expected::RefusedOrClosed(&[400]),
        (_, Some("400/414/431 or close" | "400/431 or close")) => Expected::RefusedOrClosed(&[400, 414, 431]),
        (_, _) => Expected::Either,
    }
}

fn is_right(case: &Value, trace: &Trace) -> bool {
    let passes = trace.status() == Some(200) && trace.seen.len() == 1;
    match expected(case) {
        Expected::RefusedOrClosed(statuses) => {
            trace.seen.is_empty() && trace.status().is_none_or(|status| statuses.contains(&status))
        }
        Expected::Passes => passes,
        Expected::Either => passes || trace.seen.is_empty(),
        Expected::PassesWith(beginning) => {
            passes && trace.seen.iter().all(|seen| seen.body.starts_with(beginning.as_bytes()))
        }
        Expected::PassesAndCloses => passes && !trace.is_kept,
        Expected::NoSwitch => trace.status().is_some_and(|status| status != 101),
        Expected::HasDate => {
            passes && trace.response.as_ref().is_some_and(|response| response.head.values("Date").len() == 1)
        }
    }
}

#[test]
fn the_probes_of_http11probe_are_answered_as_the_rfcs_demand_and_nothing_is_smuggled() {
    let Some(folder) = corpora::folder("the probes of Http11Probe") else { return };
    let document = corpora::json(&folder, "http11probe/cases.json");
    let house = House::start("", OPEN);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut faults = Vec::new();
    for case in document["cases"].as_array().unwrap() {
        let (id, level) = (text(&case["id"]), text(&case["level"]));
        let Some(encoded) = case["request_b64"].as_str() else {
            *counts.entry("without bytes").or_default() += 1;
            continue;
        };
        let bytes = replaced(&STANDARD.decode(encoded).unwrap(), b"HOST", b"api.test");
        let trace =
            if NOT_WHOLE.contains(&id) { send_and_hang_up(&house, id, &bytes) } else { send(&house, id, &bytes) };
        trace.assert_nothing_is_smuggled(id);
        let difference = DIFFERENCES.iter().find(|(name, ..)| *name == id);
        let right = match difference {
            Some((_, status, _)) => trace.status() == Some(*status) && trace.bytes.is_empty(),
            None => is_right(case, &trace),
        };
        if !right {
            faults.push(format!("{id} ({level}): {:?}, arrived: {}", trace.status(), trace.seen.len()));
        }
        let class = match (difference, level) {
            (Some(_), _) => "another answer, by name",
            (None, "Must") => "demanded",
            (None, _) => "a choice",
        };
        *counts.entry(class).or_default() += 1;
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let counts: Vec<(&str, usize)> = counts.into_iter().collect();
    assert_eq!(counts, [("a choice", 52), ("another answer, by name", 1), ("demanded", 87), ("without bytes", 18)]);
}

/// The probes that the suite builds by code, built here from what it says of them.
#[test]
fn the_probes_that_are_built_by_code_are_refused_too() {
    let house = House::start("", OPEN);
    let head = "POST / HTTP/1.1\r\nHost: api.test\r\n";
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: api.test\r\n\r\n";
    let garbage: Vec<u8> = (0_u8..=255).rev().chain(*b"\r\n\r\n").collect();
    for (id, bytes) in [
        (
            "SMUG-TECL-SMUGGLED-GET",
            format!(
                "{head}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n{:x}\r\n{smuggled}\r\n0\r\n\r\n",
                smuggled.len()
            )
            .into(),
        ),
        ("MAL-CONTROL-CHARS-HEADER", format!("{head}X-Test: a\u{1}b\u{8}c\u{1f}\r\n\r\n").into_bytes()),
        ("MAL-MANY-HEADERS", format!("{head}{}\r\n", "X-Many: 1\r\n".repeat(10_000)).into_bytes()),
        ("MAL-BINARY-GARBAGE", garbage),
    ] {
        let trace = send(&house, id, &bytes);
        assert!(trace.is_refused(), "{id}: {:?}", trace.status());
    }
    for (id, text) in [
        ("MAL-POST-CL-HUGE-NO-BODY", format!("{head}Content-Length: 999999999\r\n\r\n")),
        ("MAL-EMPTY-REQUEST", String::new()),
    ] {
        let trace = send_and_hang_up(&house, id, text.as_bytes());
        assert!(trace.seen.is_empty(), "{id}: it arrived whole");
    }
}

/// The bytes with every `from` replaced.
pub(super) fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut rest = bytes;
    let mut written = Vec::with_capacity(bytes.len());
    while let Some(place) = crate::support::wire::find(rest, from) {
        written.extend_from_slice(&rest[..place]);
        written.extend_from_slice(to);
        rest = &rest[place + from.len()..];
    }
    written.extend_from_slice(rest);
    written
}
