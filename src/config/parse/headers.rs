//! Header names and values of a configuration: what may be set, removed, owned or read, and why not.
use std::collections::HashSet;

use http::{HeaderName, HeaderValue};

use crate::config::field::Field;
use crate::config::keys::route::{HEADER_FILE, HEADERS};
use crate::config::parse::context::{Context, NamedSecret};
use crate::config::parse::section::Section;
use crate::config::tree::Value;
use crate::gate::firewall::{HeaderFirewall, Ownership};
use crate::gate::known_headers::OVERRIDES;
use crate::gate::route::HeaderChanges;
use crate::gate::sources::TokenSource;
use crate::gate::websocket_protocol;

/// Fields that frame a message or concern one connection (RFC 9110 §7.6.1, RFC 9112 §6).
const FRAMING: &[&str] = &[
    "Connection",
    "Content-Length",
    "HTTP2-Settings",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
];

/// Fields by which the gateway says what it knows of the connection.
const ORIGIN: &[&str] = &[
    "Forwarded",
    "Traceparent",
    "Tracestate",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Real-IP",
    "X-Request-ID",
];

/// Fields about the connection that only an operator can know: no client may send them, a route may set them.
const SETTABLE: &[&str] = &["X-Forwarded-Port", "X-Forwarded-Prefix"];

/// Fields that mean something to HTTP itself, so that none of them can be a gateway's own.
const STANDARD: &[&str] = &[
    "Accept",
    "Accept-Encoding",
    "Accept-Language",
    "Authorization",
    "Cache-Control",
    "Content-*",
    "Cookie",
    "Date",
    "Expect",
    "Host",
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "Location",
    "Origin",
    "Range",
    "Referer",
    "Server",
    "Set-Cookie",
    "User-Agent",
    "Via",
    "WWW-Authenticate",
];

/// Which header names are whose.
#[derive(Debug)]
pub(in crate::config) struct HeaderRules {
    framing: HeaderFirewall,
    standard: HeaderFirewall,
    origin: HeaderFirewall,
    settable: HeaderFirewall,
    overrides: HeaderFirewall,
    identity: HeaderFirewall,
    tokens: HeaderFirewall,
    all: HeaderFirewall,
}

/// The direction in which a header goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Direction {
    /// To the upstream.
    Request,
    /// To the client.
    Response,
}

impl HeaderRules {
    /// The rules for a configuration that owns these identity headers, reads tokens from these sources, and whose
    /// firewall is `all`.
    pub(in crate::config) fn new(identity: &[Box<str>], sources: &[TokenSource], all: HeaderFirewall) -> Self {
        let tokens: Vec<Box<str>> = sources.iter().filter_map(token_header).collect();
        Self {
            framing: firewall(FRAMING),
            standard: firewall(STANDARD),
            origin: firewall(ORIGIN),
            settable: firewall(SETTABLE),
            overrides: firewall(OVERRIDES),
            identity: HeaderFirewall::of_names(identity),
            tokens: HeaderFirewall::of_names(&tokens),
            all,
        }
    }

    /// The firewall of the whole configuration.
    pub(in crate::config) fn into_firewall(self) -> HeaderFirewall {
        self.all
    }

    /// Whether tokens are read from a header.
    pub(in crate::config) fn is_source(&self, name: &str) -> bool {
        owns(&self.tokens, name)
    }

    /// Why a header cannot be an identity header; nothing when it can.
    pub(in crate::config) fn against_identity(&self, name: &str) -> Option<&'static str> {
        if owns(&self.framing, name) || owns(&self.standard, name) {
            Some("HTTP itself gives it a meaning")
        } else if owns(&self.origin, name) || owns(&self.settable, name) {
            Some("it says where a request comes from, not who sent it")
        } else if owns(&self.overrides, name) {
            Some("frameworks take it for another method or path")
        } else {
            None
        }
    }

    /// Why a header cannot be a token source; nothing when it can.
    pub(in crate::config) fn against_source(&self, name: &str) -> Option<&'static str> {
        if owns(&self.identity, name) {
            Some("it is an identity header, or reads as one")
        } else if name.eq_ignore_ascii_case("authorization") {
            None
        } else {
            self.against_identity(name)
        }
    }

    /// Why a header cannot be removed from every request; nothing when it can. A pattern counts for all it matches.
    pub(in crate::config) fn against_strip(&self, pattern: &str) -> Option<&'static str> {
        let strip = HeaderFirewall::of_names(&[Box::from(pattern)]);
        if FRAMING.iter().chain(&["Host"]).any(|name| owns(&strip, name)) {
            return Some("HTTP itself needs a header that it matches");
        }
        None
    }

    /// Why a route cannot set or remove a header; nothing when it can.
    fn against_change(&self, name: &str, direction: Direction, removes: bool) -> Option<&'static str> {
        if owns(&self.framing, name) {
            return Some("it frames the message, or concerns one connection only");
        }
        if owns(&self.identity, name) {
            return Some("it is an identity header, or reads as one");
        }
        match direction {
            Direction::Response => {
                name.eq_ignore_ascii_case("x-request-id").then_some("portcullis writes it to every response")
            }
            Direction::Request if name.eq_ignore_ascii_case("host") => {
                Some("`rewrite: {host: …}` says which host the upstream is told")
            }
            Direction::Request if self.is_source(name) => {
                Some("a token is read from it, and `token.forward` says whether it stays")
            }
            Direction::Request if owns(&self.origin, name) => Some("portcullis writes it to every request"),
            Direction::Request if owns(&self.settable, name) => None,
            // Removing what is removed anyway does no harm.
            Direction::Request if !removes && self.all.ownership(name) == Ownership::Owned => {
                Some("it is removed from every request, because services may take it for an identity or a command")
            }
            Direction::Request => None,
        }
    }
}

fn token_header(source: &TokenSource) -> Option<Box<str>> {
    match source {
        TokenSource::Authorization => Some(Box::from("authorization")),
        TokenSource::Header(name) => Some(Box::from(name.as_str())),
        TokenSource::WebSocketProtocol(_) => Some(Box::from(websocket_protocol::FIELD.as_str())),
        TokenSource::Query(_) | TokenSource::Cookie(_) => None,
    }
}

fn firewall(names: &[&str]) -> HeaderFirewall {
    let names: Vec<Box<str>> = names.iter().map(|name| Box::from(*name)).collect();
    HeaderFirewall::of_names(&names)
}

fn owns(firewall: &HeaderFirewall, name: &str) -> bool {
    firewall.ownership(name) == Ownership::Owned
}

/// A header name of a list or mapping; `at_key` when it is a key. What is none is reported.
pub(in crate::config) fn header_name(
    field: &Field<'_>,
    text: &str,
    at_key: bool,
    context: &mut Context<'_>,
) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(text.as_bytes()).ok().filter(|_| text.len() <= 128);
    if name.is_none() {
        let message = "a header name has up to 128 letters, digits or any of `-_.` and the like (RFC 9110 §5.1)";
        context.problems.add(if at_key { field.key_error(message) } else { field.error(message) });
    }
    name
}

/// The changes that a route makes to headers in one direction.
pub(in crate::config) fn changes(
    route: &Section<'_>,
    key: &str,
    direction: Direction,
    rules: &HeaderRules,
    context: &mut Context<'_>,
) -> HeaderChanges {
    let section = route.section(key, HEADERS, &mut context.problems);
    let mut found = HeaderChanges::default();
    let mut seen = HashSet::new();
    let entries = section.optional("set").and_then(|field| field.entries(&mut context.problems)).unwrap_or_default();
    for entry in entries {
        let Some(name) = header_name(&entry, entry.name(), true, context) else { continue };
        if let Some(reason) = rules.against_change(name.as_str(), direction, false) {
            context.problems.add(entry.key_error(format!("`{}` cannot be set: {reason}", entry.name())));
        } else if !seen.insert(name) {
            context.problems.add(entry.key_error(format!("`{}` is set twice; case makes no difference", entry.name())));
        }
        found.set.extend(header_value(&entry, context).map(|value| (Box::from(entry.name()), value)));
    }
    for (field, text) in section.texts("remove", &mut context.problems).unwrap_or_default() {
        let Some(name) = header_name(&field, text, false, context) else { continue };
        if let Some(reason) = rules.against_change(name.as_str(), direction, true) {
            context.problems.add(field.error(format!("{} cannot be removed: {reason}", field.found())));
        } else if seen.contains(&name) {
            context.problems.add(field.error(format!("{} is both set and removed", field.found())));
        }
        found.remove.push(name);
    }
    found
}

/// A value as written, or from a file that is treated as a secret.
fn header_value(field: &Field<'_>, context: &mut Context<'_>) -> Option<HeaderValue> {
    if let Value::Mapping(_) = field.node().value {
        let section = Section::read(field, HEADER_FILE, &mut context.problems)?;
        let file = section.required("file", &mut context.problems)?;
        let NamedSecret::Read(secret) = context.secret_file(&file)? else { return None };
        return checked_value(secret.bytes(), true, &file, context);
    }
    let text = field.string(&mut context.problems)?;
    checked_value(text.as_bytes(), field.is_from_variable(), field, context)
}

/// RFC 9110 §5.5: visible ASCII, with spaces and tabs between.
fn checked_value(bytes: &[u8], is_secret: bool, field: &Field<'_>, context: &mut Context<'_>) -> Option<HeaderValue> {
    let plain = bytes.iter().all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t'));
    let trimmed =
        !bytes.first().is_some_and(u8::is_ascii_whitespace) && !bytes.last().is_some_and(u8::is_ascii_whitespace);
    match HeaderValue::from_bytes(bytes) {
        Ok(mut value) if plain && trimmed => {
            value.set_sensitive(is_secret);
            Some(value)
        }
        Ok(_) | Err(_) => {
            let message = "a header value is visible ASCII, with spaces and tabs between only";
            context.problems.add(field.error(message).without_source_line());
            None
        }
    }
}
