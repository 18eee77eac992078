//! What the upstream would get: the request as `forwarding.rs` writes it, compared with the request as it came. Values are
//! shown only where the gateway itself wrote them.
use http::header;
use pingora::http::RequestHeader;

use crate::{
    edge::{
        exchange::Identifiers,
        explain::explanation::Forwarded,
        forwarding::{self, Origin},
        installed::Installed,
    },
    gate::{decide::Decision, route::Route, trace, websocket_protocol},
    state::gatekeeper::Judgement,
};

/// What stands for a value that the configuration has and that may be a secret.
pub const VALUE_UNSAID: &str = "as the route has it";

/// Header fields that are about one connection and never forwarded as they are.
const OF_THE_CONNECTION: [&str; 4] = ["connection", "keep-alive", "upgrade", "via"];

/// What an upstream gets of `head`; nothing when that cannot be written.
pub(super) fn forwarded(
    head: &RequestHeader,
    installed: &Installed,
    judgement: &Judgement,
    (route, upstream): (&Route, &str),
    (origin, identifiers): (Origin<'_>, Identifiers),
) -> Option<Forwarded> {
    let mut request = head.clone();
    forwarding::rewrite_judged(&mut request, installed, judgement, identifiers, origin).ok()?;
    let ruleset = installed.gatekeeper.ruleset();
    let text =
        |name: &str| request.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let mut shown = Forwarded {
        upstream: upstream.to_owned(),
        target: without_values(&String::from_utf8_lossy(request.raw_path())),
        host: text("host"),
        ..Forwarded::default()
    };
    let is_identity = |name: &str| ruleset.identity_headers.iter().any(|owned| owned.name.eq_ignore_ascii_case(name));
    for identity in &ruleset.identity_headers {
        match text(&identity.name) {
            Some(value) => shown.identity.push((identity.name.to_string(), value)),
            None => shown.absent.push(identity.name.to_string()),
        }
    }
    let is_configured = |name: &str| route.request_headers.set.iter().any(|(set, _)| set.eq_ignore_ascii_case(name));
    for name in request.headers.keys().map(http::HeaderName::as_str) {
        if is_identity(name) || name == header::HOST || OF_THE_CONNECTION.contains(&name) {
            continue;
        }
        let values = |head: &RequestHeader| -> Vec<Vec<u8>> {
            head.headers.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect()
        };
        match name {
            _ if is_configured(name) => shown.set.push((titled(name), VALUE_UNSAID.to_owned())),
            // Whatever of the cookies and protocols stays is the client's.
            _ if name == header::COOKIE || name == websocket_protocol::FIELD => shown.passed.push(titled(name)),
            _ if values(head) == values(&request) => shown.passed.push(titled(name)),
            "traceparent" if is_in_trace(head, identifiers) => {
                shown.set.push((titled(name), "of the trace that the trusted proxy names".to_owned()));
            }
            "x-request-id" | "traceparent" => shown.set.push((titled(name), "new for each request".to_owned())),
            _ => shown.set.push((titled(name), text(name).unwrap_or_default())),
        }
    }
    if let Some(rule) = ruleset.assertion.as_ref().filter(|_| matches!(judgement.decision, Decision::Pass(Some(_)))) {
        let (seconds, algorithm) = (rule.lifetime.as_secs(), rule.algorithm.name());
        let shown_as = format!("a JWT for {upstream}, signed with {algorithm}, for {seconds} s at most");
        shown.set.push((rule.header.to_string(), shown_as));
    }
    let is_gone = |name: &&str| is_identity(name) || !request.headers.contains_key(*name) || is_rewritten(&shown, name);
    let names = head.headers.keys().map(http::HeaderName::as_str);
    let removed = names.filter(|name| *name != header::HOST && !OF_THE_CONNECTION.contains(name)).filter(is_gone);
    shown.removed = removed.map(titled).collect();
    Some(shown)
}

fn is_in_trace(head: &RequestHeader, identifiers: Identifiers) -> bool {
    trace::context(&head.headers).is_some_and(|context| context.trace_id == identifiers.trace())
}

fn is_rewritten(shown: &Forwarded, name: &str) -> bool {
    shown.set.iter().any(|(set, _)| set.eq_ignore_ascii_case(name))
}

/// A target with the names of its parameters, and not their values.
pub(super) fn without_values(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
    let names = query.split('&').map(|parameter| match parameter.split_once('=') {
        Some((name, _)) => format!("{name}=..."),
        None => "...".to_owned(),
    });
    format!("{path}?{}", names.collect::<Vec<_>>().join("&"))
}

/// A name as it is usually written.
pub(super) fn titled(name: &str) -> String {
    let mut is_first = true;
    let letters = name.chars().map(|letter| {
        let shown = if is_first { letter.to_ascii_uppercase() } else { letter };
        is_first = letter == '-';
        shown
    });
    letters.collect()
}
