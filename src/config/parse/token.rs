//! `token`, of the document and of routes: where tokens are looked for.
use crate::config::field::Field;
use crate::config::keys::top::{SOURCE, TOKEN};
use crate::config::parse::context::Context;
use crate::config::parse::headers::{HeaderRules, header_name};
use crate::config::parse::section::Section;
use crate::gate::sources::TokenSource;
use crate::gate::websocket_protocol;

/// Longest name of a cookie.
const COOKIE_NAME_BYTES_MAX: usize = 128;
/// Longest word by which a protocol carries a token.
const PROTOCOL_BYTES_MAX: usize = 128;

/// `token` of the document.
#[derive(Debug)]
pub(in crate::config) struct Tokens {
    /// Where routes look unless they say otherwise.
    pub(in crate::config) sources: Vec<TokenSource>,
    /// Whether routes forward the token unless they say otherwise.
    pub(in crate::config) forward: bool,
    /// `realm` of challenges.
    pub(in crate::config) realm: Box<str>,
}

/// Reads the section of the document.
pub(in crate::config) fn read(top: &Section<'_>, rules: &HeaderRules, context: &mut Context<'_>) -> Tokens {
    let section = top.section("token", TOKEN, &mut context.problems);
    let realm = section.text("realm", &mut context.problems);
    let plain = realm.bytes().all(|byte| (byte == b' ' || byte.is_ascii_graphic()) && !matches!(byte, b'"' | b'\\'));
    if let Some(field) = section.optional("realm").filter(|_| !plain) {
        let message = "`realm` is visible ASCII and spaces, without quotes and backslashes: it is sent in a header";
        context.problems.add(field.error(message));
    }
    Tokens {
        sources: sources(&section, rules, context).unwrap_or_else(|| vec![TokenSource::Authorization]),
        forward: section.boolean("forward", &mut context.problems),
        realm: realm.into(),
    }
}

/// Reads `sources` of a section; nothing when it is absent.
pub(in crate::config) fn sources(
    section: &Section<'_>,
    rules: &HeaderRules,
    context: &mut Context<'_>,
) -> Option<Vec<TokenSource>> {
    let mut found = Vec::new();
    for element in section.elements("sources", &mut context.problems)? {
        let Some(source) = source(&element, rules, context) else { continue };
        let overlaps = |other: &&TokenSource| {
            other.word().zip(source.word()).is_some_and(|(other, word)| !websocket_protocol::are_distinct(other, word))
        };
        if found.contains(&source) {
            context.problems.add(element.error("this source is there twice"));
        } else if let Some(other) = found.iter().find(overlaps).and_then(TokenSource::word) {
            let message =
                format!("a token by one of these words would be one by the other too: `{other}` is there already");
            context.problems.add(element.error(message));
        } else {
            found.push(source);
        }
    }
    Some(found)
}

fn source(element: &Field<'_>, rules: &HeaderRules, context: &mut Context<'_>) -> Option<TokenSource> {
    let section = Section::read(element, SOURCE, &mut context.problems)?;
    let places = ["header", "query", "cookie", "websocket_protocol"];
    let is_insecure = section.boolean("insecure_cookie_name", &mut context.problems);
    let field = section.exactly_one_of(&places, &mut context.problems)?;
    let text = field.string(&mut context.problems)?;
    if field.name() == "cookie" {
        return cookie(&field, text, is_insecure, context);
    }
    section.refuse(&["insecure_cookie_name"], "is for a `cookie`", &mut context.problems);
    if field.name() == "websocket_protocol" {
        return protocol(&field, text, context);
    }
    if field.name() == "query" {
        // Unreserved characters have one spelling, so that the parameter is found however it was encoded.
        if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')) {
            return Some(TokenSource::Query(Box::from(text)));
        }
        context.problems.add(field.error("the name of a parameter is letters, digits and any of `-._~`"));
        return None;
    }
    let name = header_name(&field, text, false, context)?;
    if let Some(reason) = rules.against_source(name.as_str()) {
        context.problems.add(field.error(format!("{} cannot carry tokens: {reason}", field.found())));
        return None;
    }
    if name == http::header::AUTHORIZATION {
        return Some(TokenSource::Authorization);
    }
    Some(TokenSource::Header(name))
}

/// The word by which a WebSocket's protocol carries a token: what a protocol is made of (RFC 6455 §4.1).
fn protocol(field: &Field<'_>, text: &str, context: &mut Context<'_>) -> Option<TokenSource> {
    let is_word = http::HeaderName::from_bytes(text.as_bytes()).is_ok();
    if !is_word || text.len() > PROTOCOL_BYTES_MAX {
        let message = "a protocol begins with up to 128 letters, digits or any of `-_.` and the like";
        context.problems.add(field.error(message));
        return None;
    }
    if text.ends_with('.') {
        let hint = format!("`{}`", text.trim_end_matches('.'));
        context
            .problems
            .add(field.error("the dot between this word and the token is not written here").with_hint(hint));
        return None;
    }
    Some(TokenSource::WebSocketProtocol(Box::from(text)))
}

/// A cookie's name (RFC 6265 §4.1.1). The prefixes are promises of the browser: with `__Host-` no other host, and with either
/// no plain connection, has set it.
fn cookie(field: &Field<'_>, text: &str, is_insecure: bool, context: &mut Context<'_>) -> Option<TokenSource> {
    let is_name = http::HeaderName::from_bytes(text.as_bytes()).is_ok();
    let is_prefixed = |prefix: &str| text.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty());
    if !is_name || text.len() > COOKIE_NAME_BYTES_MAX {
        context
            .problems
            .add(field.error("the name of a cookie has up to 128 letters, digits or any of `-_.` and the like"));
        return None;
    }
    if !is_insecure && !is_prefixed("__Host-") && !is_prefixed("__Secure-") {
        let message = "other hosts of the site, and anybody on the way, can set a cookie of this name: it does not begin \
                       with `__Host-` or `__Secure-`";
        let hint = "call it `__Host-...`; or, where that cannot be, `insecure_cookie_name: true` beside it";
        context.problems.add(field.error(message).with_hint(hint));
        return None;
    }
    Some(TokenSource::Cookie(Box::from(text)))
}
