//! The trace and the name that a request already has (W3C Trace Context, `X-Request-Id`). Both are taken from trusted
//! proxies alone: of others they would let strangers write into each other's traces and logs.
use http::{HeaderMap, HeaderName};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest name of a request that is taken.
pub const REQUEST_ID_BYTES_MAX: usize = 128;
/// W3C Trace Context §3.3.1.1.
const MEMBERS_MAX: usize = 32;
/// What is passed on of a `tracestate` at most; §3.3.1.5 asks for at least 512.
const STATE_BYTES_MAX: usize = 8 * 1024;
/// Sampled, and random: the flags that are known.
const FLAGS_KNOWN: u8 = 0b11;

/// The trace that a request belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext<'r> {
    /// 32 hexadecimal digits.
    pub trace_id: &'r str,
    /// Those that are known.
    pub flags: u8,
    /// What other systems have to say about it.
    pub state: Option<String>,
}

/// The trace of a request. One that is not well-formed, or there twice, is none, and its `tracestate` nothing (§3.2.3).
pub fn context(headers: &HeaderMap) -> Option<TraceContext<'_>> {
    let (trace_id, flags) = parent(only(headers, &TRACEPARENT)?)?;
    Some(TraceContext { trace_id, flags, state: state(headers) })
}

/// The name of a request: one word that any log can hold.
pub fn request_id(headers: &HeaderMap) -> Option<&str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._~+/=:;@-".contains(&byte);
    only(headers, &X_REQUEST_ID).filter(|id| (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_plain))
}

fn only<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Option<&'r str> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next()?;
    lines.next().is_none().then(|| line.to_str().ok()).flatten()
}

/// Trace and flags of a `traceparent` (§3.2.2). Later versions may have more behind them.
fn parent(text: &str) -> Option<(&str, u8)> {
    let mut parts = text.split('-');
    let (version, trace_id, parent_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    let is_whole = is(version, 2) && is(trace_id, 32) && is(parent_id, 16) && is(flags, 2);
    let is_known = version != "ff" && (version != "00" || parts.next().is_none());
    if !is_whole || !is_known || is_zero(trace_id) || is_zero(parent_id) {
        return None;
    }
    Some((trace_id, u8::from_str_radix(flags, 16).ok()? & FLAGS_KNOWN))
}

/// The members of all lines in their order, the first ones where there are too many (§3.3.1).
fn state(headers: &HeaderMap) -> Option<String> {
    let mut state = String::new();
    let mut count = 0;
    for line in headers.get_all(TRACESTATE) {
        for member in line.to_str().ok()?.split(',').map(str::trim).filter(|member| !member.is_empty()) {
            let is_member = member.split_once('=').is_some_and(|(key, value)| !key.is_empty() && !value.is_empty());
            if !is_member {
                return None;
            }
            if count == MEMBERS_MAX || state.len() + member.len() >= STATE_BYTES_MAX {
                return Some(state);
            }
            if count > 0 {
                state.push(',');
            }
            state.push_str(member);
            count += 1;
        }
    }
    (!state.is_empty()).then_some(state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_traceparent_is_taken_when_it_is_well_formed_and_alone() {
        let good = format!("00-{TRACE}-00f067aa0ba902b7-01");
        for (values, flags) in [
            (vec![good.as_str()], Some(1)),
            (vec![&format!("00-{TRACE}-00f067aa0ba902b7-ff")], Some(3)),
            (vec![&format!("cc-{TRACE}-00f067aa0ba902b7-00-more")], Some(0)),
            (vec![&good, &good], None),
            (vec![&format!("{good}-more")], None),
            (vec![&good.to_uppercase()], None),
            (vec![&format!("ff-{TRACE}-00f067aa0ba902b7-01")], None),
            (vec![&format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32))], None),
            (vec![&format!("00-{TRACE}-0000000000000000-01")], None),
            (vec![&format!("00-{TRACE}-00f067aa0ba902b7")], None),
            (vec![""], None),
        ] {
            let headers = headers("traceparent", &values);
            let found = context(&headers);
            assert_eq!(found.as_ref().map(|context| context.flags), flags, "{values:?}");
            assert!(found.is_none_or(|context| context.trace_id == TRACE));
        }
    }

    #[test]
    fn a_tracestate_keeps_its_order_and_has_an_end() {
        let many: Vec<String> = (0..40).map(|number| format!("a{number}=b")).collect();
        for (lines, expected) in [
            (vec!["a=1, b=2", "c=3"], Some("a=1,b=2,c=3".to_owned())),
            (vec![" "], None),
            (vec!["a"], None),
            (vec![&many.join(",")], Some(many[..32].join(","))),
        ] {
            let lines: Vec<&str> = lines.iter().map(AsRef::as_ref).collect();
            assert_eq!(state(&headers("tracestate", &lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_request_id_is_one_plain_word() {
        let long = "a".repeat(REQUEST_ID_BYTES_MAX);
        for (values, taken) in [
            (vec!["b91b92234f41503cda658ccd216155ea"], true),
            (vec!["Root=1-67891233-abcdef012345678912345678"], true),
            (vec!["f47ac10b-58cc-4372-a567-0e02b2c3d479"], true),
            (vec![&long], true),
            (vec![&format!("{long}a")], false),
            (vec![""], false),
            (vec!["a b"], false),
            (vec!["a\"b"], false),
            (vec!["a", "a"], false),
        ] {
            assert_eq!(request_id(&headers("x-request-id", &values)).is_some(), taken, "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[ -~]{0,80}") {
            let _ = parent(&text);
            let _ = state(&headers("tracestate", &[&text]));
        }
    }
}
