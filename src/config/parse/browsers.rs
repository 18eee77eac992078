//! The part of a route that is for browsers: when a cookie's token counts (`csrf`), and what pages of other origins may do
//! (`cors`).
use http::Method;

use crate::config::field::Field;
use crate::config::keys::route::{CORS, CSRF};
use crate::config::parse::context::{Context, Unique};
use crate::config::parse::headers::header_name;
use crate::config::parse::section::Section;
use crate::config::tree::Value;
use crate::gate::cors::{self, AllowedOrigins, Cors, CorsGrant, CorsRule, is_cors_header};
use crate::gate::cross_site::CrossSiteRule;
use crate::gate::route::{Action, Authentication, HeaderChanges, Route};
use crate::gate::sources::TokenSource;
use crate::gate::web_origin::WebOrigin;

/// What was read of a route before, and what these keys must go with.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Beside<'b> {
    /// Where tokens are looked for.
    pub(in crate::config) sources: &'b [TokenSource],
    /// Whether they are.
    pub(in crate::config) authentication: Authentication,
    /// Whether it limits how many requests it takes.
    pub(in crate::config) has_rate_limits: bool,
    /// The methods that the route takes, or any.
    pub(in crate::config) methods: Option<&'b [Box<str>]>,
    /// What becomes of requests, where that is known.
    pub(in crate::config) action: Option<&'b Action>,
    /// What the route changes in responses.
    pub(in crate::config) response_headers: &'b HeaderChanges,
}

impl Beside<'_> {
    fn is_public(&self) -> bool {
        self.authentication == Authentication::Public
    }

    fn has_cookie(&self) -> bool {
        self.sources.iter().any(|source| matches!(source, TokenSource::Cookie(_)))
    }
}

/// Reads `csrf` and `cors` of a route.
pub(in crate::config) fn read(
    section: &Section<'_>,
    beside: Beside<'_>,
    context: &mut Context<'_>,
) -> (CrossSiteRule, Option<Cors>) {
    let cors = section.optional("cors").and_then(|field| cors(&field, section, beside, context));
    let mut origins = csrf(section, beside, context);
    if let Some(Cors::Gate(rule)) = &cors
        && let AllowedOrigins::Listed(listed) = &rule.grant().origins
    {
        origins.extend(listed.iter().cloned());
    }
    (CrossSiteRule::new(origins), cors)
}

fn csrf(section: &Section<'_>, beside: Beside<'_>, context: &mut Context<'_>) -> Vec<Box<str>> {
    if beside.is_public() {
        section.refuse(&["csrf"], "cannot stand beside `auth: none`: no token is looked at", &mut context.problems);
    }
    let Some(field) = section.optional("csrf") else {
        check_cookie(section, beside, context);
        return Vec::new();
    };
    if !beside.has_cookie() && !beside.is_public() {
        let message = "`csrf` changes nothing here: the route takes no token from a cookie";
        context.problems.add(field.warning(message));
    }
    let section = Section::read_optional(Some(field), CSRF, &mut context.problems);
    let written = section.texts("origins", &mut context.problems).unwrap_or_default();
    let mut unique = Unique::default();
    let mut found = Vec::new();
    for (field, text) in written {
        if text == "*" {
            let problem = field.error("`*` would let every site send requests in the name of its visitors");
            context.problems.add(problem.with_hint("list the origins"));
        } else {
            found.extend(origin(&field, text, &mut unique, context));
        }
    }
    found
}

/// A cookie without a word about other sites is the hole that browsers have had since there are cookies.
fn check_cookie(section: &Section<'_>, beside: Beside<'_>, context: &mut Context<'_>) {
    if beside.is_public() || !beside.has_cookie() {
        return;
    }
    let Some(field) = section.optional("token").or_else(|| section.field().cloned()) else { return };
    let message = "the route takes a token from a cookie and has no `csrf`, which says what other sites' pages may do";
    let hint = "`csrf: {}` lets only pages of the route's own origin, and of those in `cors`, change anything; name more \
                in `csrf: {origins: [...]}`";
    context.problems.add(field.key_error(message).with_hint(hint));
}

fn cors(field: &Field<'_>, route: &Section<'_>, beside: Beside<'_>, context: &mut Context<'_>) -> Option<Cors> {
    if !matches!(field.node().value, Value::Mapping(_)) {
        field.choice(&[("upstream", ())], &mut context.problems)?;
        if let Some(Action::Respond { .. }) = beside.action {
            let message = "`cors: upstream` cannot stand beside `respond`: there is no upstream to answer";
            context.problems.add(field.key_error(message));
        }
        return Some(Cors::Upstream);
    }
    let section = Section::read(field, CORS, &mut context.problems)?;
    check_response_headers(route, beside, context);
    let credentials = section.boolean("credentials", &mut context.problems);
    let origins = allowed_origins(&section, credentials, context);
    let methods = methods(&section, beside.methods, context);
    let headers = names(&section, "headers", context);
    let mut expose = names(&section, "expose", context);
    // What limits say is on every response, and is meant for the program that sends the requests.
    let told = cors::OF_LIMITS.iter().filter(|_| beside.has_rate_limits);
    let missing: Vec<_> = told.filter(|name| !expose.iter().any(|given| given.eq_ignore_ascii_case(name))).collect();
    expose.extend(missing.into_iter().map(|name| Box::from(*name)));
    let max_age = section.duration_or_none("max_age", &mut context.problems);
    check_token_header(&section, &headers, beside, context);
    let grant = CorsGrant { origins: origins?, methods, headers, expose, credentials, max_age };
    Some(Cors::Gate(Box::new(CorsRule::new(grant))))
}

fn allowed_origins(section: &Section<'_>, credentials: bool, context: &mut Context<'_>) -> Option<AllowedOrigins> {
    section.required("origins", &mut context.problems)?;
    let written = section.texts("origins", &mut context.problems)?;
    let is_alone = written.len() == 1;
    let mut unique = Unique::default();
    let mut is_any = false;
    let mut found = Vec::new();
    for (field, text) in written {
        if text != "*" {
            found.extend(origin(&field, text, &mut unique, context));
        } else if credentials {
            let problem =
                field.error("`*` cannot stand beside `credentials: true`: every site could act as its visitors");
            context.problems.add(problem.with_hint("list the origins"));
        } else if !is_alone {
            context.problems.add(field.error("`*` stands alone: it is every origin"));
        } else {
            is_any = true;
        }
    }
    Some(if is_any { AllowedOrigins::Any } else { AllowedOrigins::Listed(found) })
}

fn origin(field: &Field<'_>, text: &str, unique: &mut Unique, context: &mut Context<'_>) -> Option<Box<str>> {
    let problem = if text == "null" {
        field.error("`null` is what any sandboxed page sends, so it is nobody's origin")
    } else {
        match WebOrigin::parse(text) {
            Ok(origin) => {
                if origin.is_unprotected() {
                    let message =
                        format!("{}: whoever is on the way to a page of plain http can change it", field.found());
                    context.problems.add(field.warning(message));
                }
                let what = format!("the origin {}", field.found());
                return unique.check(&what, text, field, &mut context.problems).then(|| Box::from(text));
            }
            Err(fault) => {
                let problem = field.error(format!("{} is no origin as browsers send it: {fault}", field.found()));
                problem.with_hint("as in https://app.example.com or http://localhost:3000")
            }
        }
    };
    context.problems.add(problem);
    None
}

/// The methods; each must be one that the route takes, because the preflight of another finds another route.
fn methods(section: &Section<'_>, taken: Option<&[Box<str>]>, context: &mut Context<'_>) -> Option<Vec<Box<str>>> {
    let written = section.texts("methods", &mut context.problems)?;
    let mut unique = Unique::default();
    let mut found = Vec::new();
    for (field, text) in written {
        let problem = if text == "*" {
            field.error("`*` is no method").with_hint("leave `methods` out for all that the route takes")
        } else if Method::from_bytes(text.as_bytes()).is_err() || text.bytes().any(|byte| byte.is_ascii_lowercase()) {
            field.error(format!("{} is no method; they are in upper case", field.found()))
        } else if taken.is_some_and(|taken| !Route::is_among(taken, text)) {
            field.error(format!("the route does not take {}", field.found()))
        } else {
            if unique.check(&format!("the method {}", field.found()), text, &field, &mut context.problems) {
                found.push(Box::from(text));
            }
            continue;
        };
        context.problems.add(problem);
    }
    Some(found)
}

/// Header names, in their order.
fn names(section: &Section<'_>, key: &str, context: &mut Context<'_>) -> Vec<Box<str>> {
    let mut unique = Unique::default();
    let mut found = Vec::new();
    for (field, text) in section.texts(key, &mut context.problems).unwrap_or_default() {
        if text == "*" {
            let problem = field.error("`*` is no header name, and to browsers it would not mean `Authorization`");
            context.problems.add(problem.with_hint("list the names"));
            continue;
        }
        let Some(name) = header_name(&field, text, false, context) else { continue };
        if unique.check(&format!("the header {}", field.found()), name.as_str(), &field, &mut context.problems) {
            found.push(Box::from(text));
        }
    }
    found
}

/// The gate writes these, and nobody could say which of two would count.
fn check_response_headers(route: &Section<'_>, beside: Beside<'_>, context: &mut Context<'_>) {
    let set = beside.response_headers.set.iter().map(|(name, _)| name.as_ref());
    let removed = beside.response_headers.remove.iter().map(|name| name.as_str());
    let Some(field) = route.optional("response_headers") else { return };
    for name in set.chain(removed).filter(|name| is_cors_header(name)) {
        context.problems.add(field.key_error(format!("`{name}` is written by `cors` of this route")));
    }
}

/// A page can send a token in a header only where it may set that header.
fn check_token_header(section: &Section<'_>, headers: &[Box<str>], beside: Beside<'_>, context: &mut Context<'_>) {
    let may_send = |name: &str| headers.iter().any(|allowed| allowed.eq_ignore_ascii_case(name));
    let needed: Option<Vec<&str>> = beside.sources.iter().map(token_header).collect();
    let Some(needed) = needed.filter(|needed| !beside.is_public() && !needed.iter().any(|name| may_send(name))) else {
        return;
    };
    if let (Some(field), Some(first)) = (section.field(), needed.first()) {
        let message = format!("no page of another origin can send its token: `headers` does not name `{first}`");
        let problem = field.warning(message);
        context.problems.add(problem.with_hint(format!("as in `headers: [{first}, content-type]`")));
    }
}

/// The header that a page must be able to set for this source; nothing where it needs none.
fn token_header(source: &TokenSource) -> Option<&str> {
    match source {
        TokenSource::Authorization => Some("authorization"),
        TokenSource::Header(name) => Some(name.as_str()),
        // No rule of CORS is about WebSockets.
        TokenSource::Query(_) | TokenSource::Cookie(_) | TokenSource::WebSocketProtocol(_) => None,
    }
}
