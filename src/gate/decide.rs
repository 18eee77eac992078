//! The control flow of a decision: shape, route, token, then judgement. Every other file of the gate is a step of it.
//!
//! Remembering tokens and keys is the business of the floor above; this file never holds anything.
use std::sync::Arc;

use http::{HeaderName, header};

use crate::gate::{
    assertion::AssertionRule,
    claims::{self, Identity, KnownToken},
    condition::Conditions,
    cookies,
    cors::Preflight,
    extraction::{self, Drawn, IdentityHeader},
    field_change::FieldChange,
    firewall::HeaderFirewall,
    issuer::{Issuer, IssuerId},
    keys::KeySet,
    path::RequestPath,
    rejection::{Refusal, Rejection, quoted},
    request::{Request, RequestLimits, Shape},
    revocation::Revocations,
    route::{Authentication, BodyLimit, Route, RouteId},
    route_table::RouteTable,
    signature,
    sources::{self, Credentials, FoundToken, Places, TokenSource},
    time::UnixTime,
    token::UnverifiedToken,
    websocket_protocol,
    witness::{Fact, Stage, Witness},
};

/// All rules of one configuration.
#[derive(Debug)]
pub struct Ruleset {
    /// The routes.
    pub routes: RouteTable,
    /// The issuers; an [`IssuerId`] is a position here.
    pub issuers: Vec<Issuer>,
    /// The headers that tell services who is calling.
    pub identity_headers: Vec<IdentityHeader>,
    /// What its rules ask of claims.
    pub conditions: Conditions,
    /// Which header names a client may not send.
    pub firewall: HeaderFirewall,
    /// Limits on requests.
    pub limits: RequestLimits,
    /// Every place where some route looks for a token.
    pub token_sources: Vec<TokenSource>,
    /// `realm` of challenges.
    pub realm: Box<str>,
    /// Where the metadata of the resource are, for challenges (RFC 9728 §5.1).
    pub resource_metadata: Option<Box<str>>,
    /// How the gateway says in a signature of its own who is calling; nothing when it does not.
    pub assertion: Option<AssertionRule>,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Decision {
    /// It may pass, with this identity or none.
    Pass(Option<Identity>),
    /// It is refused.
    Reject(Refusal),
    /// Keys of this issuer have to be fetched before it can be decided.
    AwaitKeys(IssuerId),
}

/// A request that found its route.
#[derive(Debug)]
pub struct Admission<'c, 'r> {
    /// The route.
    pub route: &'c Route,
    /// Its identifier.
    pub route_id: RouteId,
    /// The path that was judged.
    pub path: RequestPath<'r>,
    /// Length of the body, where it is declared.
    pub declared_length: Option<u64>,
    /// The preflight that it is, on a route that has something to say about other origins: it needs no token, and the
    /// route is that of the method that is asked for.
    pub preflight: Option<Preflight<'r>>,
}

/// On which route a request passes, and whether its token vouches for it.
#[derive(Clone, Copy, Debug)]
pub struct Passage<'c> {
    /// The route.
    pub route: &'c Route,
    /// What vouches for it.
    pub trust: Trust,
}

/// What vouches for a request that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It was judged, and its token was good where there is one.
    Judged,
    /// It would have been refused for its token, on a route that only observes that: no token stays.
    Unproven,
    /// It is a preflight, which nobody was asked about: no credentials of any kind stay. True ones have none (Fetch §3.3).
    Preflight,
}

impl Passage<'_> {
    fn forwards(&self, source: &TokenSource) -> bool {
        self.route.forward_token && self.trust == Trust::Judged && self.route.token_sources.contains(source)
    }
}

impl Ruleset {
    /// Checks the request's shape and finds its route.
    ///
    /// # Errors
    /// See [`Request::shape`] and [`RouteTable::find`].
    pub fn admit<'c, 'r>(
        &'c self,
        request: &Request<'r>,
        witness: &mut impl Witness,
    ) -> Result<Admission<'c, 'r>, Refusal> {
        witness.enter(Stage::Shape);
        let shape = self.shape(request)?;
        witness.learn(Fact::Shape(&shape));
        witness.enter(Stage::Route);
        let find = |method| self.routes.find(request.listener, &shape.host, &shape.path, method);
        let preflight = Preflight::of(request, shape.declared_length);
        let asked =
            preflight.and_then(|preflight| find(preflight.method).ok()).filter(|(_, route)| route.cors.is_some());
        // Where no route speaks with browsers about the method, it is an OPTIONS like others.
        let (preflight, (route_id, route)) = match asked {
            Some(found) => (preflight, found),
            None => (None, find(request.method)?),
        };
        let (path, declared_length) = (shape.path, shape.declared_length);
        Ok(Admission { route, route_id, path, declared_length, preflight })
    }

    /// Checks the request's shape alone.
    ///
    /// # Errors
    /// See [`Request::shape`].
    pub fn shape<'r>(&self, request: &Request<'r>) -> Result<Shape<'r>, Refusal> {
        request.shape(&self.limits, &self.firewall)
    }

    /// Judges what an admitted request says of its body.
    ///
    /// # Errors
    /// [`Rejection::BodyTooLarge`]
    pub fn check_body(&self, admission: &Admission<'_, '_>) -> Result<(), Refusal> {
        match (self.body_bytes_max(admission.route), admission.declared_length) {
            (Some(limit), Some(length)) if length > limit => {
                Err(Refusal::new(Rejection::BodyTooLarge).because(format!("{length} bytes, at most {limit}")))
            }
            (_, _) => Ok(()),
        }
    }

    /// Longest body of a request to `route`, in bytes.
    pub const fn body_bytes_max(&self, route: &Route) -> Option<u64> {
        match route.body_limit {
            BodyLimit::Inherited => self.limits.body_bytes,
            BodyLimit::Bytes(bytes) => Some(bytes),
            BodyLimit::Unlimited => None,
        }
    }

    /// Judges where an admitted request came from.
    ///
    /// # Errors
    /// [`Rejection::AddressDenied`]
    pub fn check_address(&self, route: &Route, request: &Request<'_>) -> Result<(), Refusal> {
        if route.addresses.admits(request.client) { Ok(()) } else { Err(Rejection::AddressDenied.into()) }
    }

    /// The one token of a request to `route`; nothing when it needs none.
    ///
    /// # Errors
    /// [`Rejection::CsrfRejected`], [`Rejection::TokenRepeated`], [`Rejection::TokenMalformed`],
    /// [`Rejection::TokenMissing`], [`Rejection::TokenTooLarge`].
    pub fn find_token<'r>(&self, route: &'r Route, request: &Request<'r>) -> Result<Option<FoundToken<'r>>, Refusal> {
        if route.authentication == Authentication::Public {
            return Ok(None);
        }
        let has_token_cookie = |source: &TokenSource| match source {
            TokenSource::Cookie(name) => cookies::values(request.headers, name).next().is_some(),
            TokenSource::Authorization
            | TokenSource::Header(_)
            | TokenSource::Query(_)
            | TokenSource::WebSocketProtocol(_) => false,
        };
        if route.token_sources.iter().any(has_token_cookie) {
            route.cross_site.check(request)?;
        }
        match sources::find(&route.token_sources, Places::of(request))? {
            None if route.authentication == Authentication::Optional => Ok(None),
            None => Err(Rejection::TokenMissing.into()),
            Some(token) if token.text.len() > self.limits.token_bytes => Err(Refusal::new(Rejection::TokenTooLarge)
                .because(format!("{} bytes, at most {}", token.text.len(), self.limits.token_bytes))),
            Some(token) => Ok(Some(token)),
        }
    }

    /// The issuer with this identifier.
    pub fn issuer(&self, id: IssuerId) -> Option<&Issuer> {
        self.issuers.get(usize::from(id.0))
    }

    /// Which of the route's issuers the token says it is from.
    ///
    /// # Errors
    /// [`Rejection::IssuerUnknown`].
    pub fn issuer_of(&self, token: &UnverifiedToken<'_>, route: &Route) -> Result<(IssuerId, &Issuer), Refusal> {
        let claimed = token.claimed_issuer();
        let accepted = route.issuers.iter().filter_map(|id| Some((*id, self.issuer(*id)?)));
        accepted.into_iter().find(|(_, issuer)| Some(issuer.identifier.as_ref()) == claimed).ok_or_else(|| {
            let found = claimed.map_or_else(|| "none that is a string".to_owned(), quoted);
            Refusal::new(Rejection::IssuerUnknown).because(format!("the unverified iss is {found}"))
        })
    }

    /// Verifies a token that was read, with the keys of its issuer, and draws its facts.
    ///
    /// # Errors
    /// See [`signature::verify`].
    pub fn verify(
        &self,
        token: UnverifiedToken<'_>,
        issuer: (IssuerId, &Issuer),
        keys: &KeySet,
    ) -> Result<KnownToken, Refusal> {
        let (verified, claims) = signature::verify(token, issuer.0, keys)?;
        let drawn = Drawn {
            headers: &self.identity_headers,
            conditions: &self.conditions,
            is_asserted: self.assertion.is_some(),
        };
        Ok(extraction::known_token(verified, &claims, issuer.1, drawn))
    }

    /// Judges a known token on a route, now. The token's issuer must be one of the route's: a token that was verified
    /// for one route says nothing about another.
    ///
    /// # Errors
    /// See [`claims::identify`], [`Revocations::check`] and [`crate::gate::policy::Requirement::check`].
    pub fn judge(
        &self,
        known: &Arc<KnownToken>,
        route: &Route,
        revocations: &Revocations,
        now: UnixTime,
        witness: &mut impl Witness,
    ) -> Result<Identity, Refusal> {
        let id = known.token().issuer();
        let issuer = self.issuer(id).filter(|_| route.issuers.contains(&id)).ok_or(Rejection::IssuerUnknown)?;
        witness.enter(Stage::Claims);
        let identity = claims::identify(known, issuer, now)?;
        witness.enter(Stage::Revocation);
        revocations.check(&known.traits(&issuer.name), now)?;
        witness.enter(Stage::Policy);
        route.requirement.check(&identity, issuer.leeway, now)?;
        Ok(identity)
    }

    /// What the rule on trial of a route would have refused an identity for that may pass.
    pub fn observe(&self, identity: &Identity, route: &Route, now: UnixTime) -> Option<Refusal> {
        let issuer = self.issuer(identity.known().token().issuer())?;
        route.observed.as_ref()?.check(identity, issuer.leeway, now).err()
    }

    /// Whether a header field is forwarded, given its name and, for `Authorization`, whether it holds a token.
    ///
    /// Tokens leave on every route, wherever any route looks for them, unless the route forwards its own.
    pub fn keeps_token_header(&self, passage: Passage<'_>, name: &HeaderName, request: &http::HeaderMap) -> bool {
        if passage.trust == Trust::Preflight && *name == header::AUTHORIZATION {
            return false;
        }
        let holds = |source: &&TokenSource| match source {
            TokenSource::Authorization => *name == header::AUTHORIZATION,
            TokenSource::Header(header) => header == name,
            TokenSource::Query(_) | TokenSource::Cookie(_) | TokenSource::WebSocketProtocol(_) => false,
        };
        let mut sources = self.token_sources.iter().filter(holds).peekable();
        if sources.peek().is_none() || sources.any(|source| passage.forwards(source)) {
            return true;
        }
        // Another scheme is no token: it passes where no token is demanded.
        *name == header::AUTHORIZATION
            && (passage.route.authentication != Authentication::Required || passage.trust == Trust::Unproven)
            && is_of_another_scheme(request)
    }

    /// What is forwarded of the cookies: all but those that hold tokens.
    pub fn forwarded_cookies(&self, passage: Passage<'_>, request: &http::HeaderMap) -> FieldChange {
        if passage.trust == Trust::Preflight && request.contains_key(header::COOKIE) {
            return FieldChange::Removed;
        }
        cookies::forwarded(request, |cookie| {
            self.leaving_sources(passage).any(|source| match source {
                TokenSource::Cookie(name) => name.as_bytes() == cookie,
                TokenSource::Authorization
                | TokenSource::Header(_)
                | TokenSource::Query(_)
                | TokenSource::WebSocketProtocol(_) => false,
            })
        })
    }

    /// What is forwarded of the protocols that a WebSocket's client offers: all but those that carry tokens.
    pub fn forwarded_protocols(&self, passage: Passage<'_>, request: &http::HeaderMap) -> FieldChange {
        let leaving = || self.leaving_sources(passage).filter_map(TokenSource::word);
        websocket_protocol::forwarded(request, leaving)
    }

    /// Whether the protocol that a server chose for a WebSocket tells a token.
    pub fn tells_token(&self, response: &http::HeaderMap) -> bool {
        websocket_protocol::tells_token(response, self.token_sources.iter().filter_map(TokenSource::word))
    }

    /// The places whose tokens leave the request.
    fn leaving_sources<'c>(&'c self, passage: Passage<'c>) -> impl Iterator<Item = &'c TokenSource> {
        self.token_sources.iter().filter(move |source| !passage.forwards(source))
    }

    /// The target to forward: the judged path, rewritten as the route asks, and the query without tokens. Nothing when
    /// it is exactly what the client sent.
    pub fn forwarded_target(
        &self,
        admission: &Admission<'_, '_>,
        passage: Passage<'_>,
        request: &Request<'_>,
    ) -> Option<String> {
        let tokens: Vec<Box<str>> = self
            .leaving_sources(passage)
            .filter_map(|source| match source {
                TokenSource::Query(name) => Some(name.clone()),
                TokenSource::Authorization
                | TokenSource::Header(_)
                | TokenSource::Cookie(_)
                | TokenSource::WebSocketProtocol(_) => None,
            })
            .collect();
        let cut_query = request.query.and_then(|query| sources::query_without(query, &tokens));
        let path = rewritten_path(passage.route, admission.path.as_str());
        let is_absolute_form = request.authority.is_some() && request.version < http::Version::HTTP_2;
        if cut_query.is_none() && path.is_none() && !admission.path.was_decoded() && !is_absolute_form {
            return None;
        }
        let mut target = path.unwrap_or_else(|| admission.path.as_str().to_owned());
        match (cut_query.as_deref(), request.query) {
            (Some(""), _) | (None, None) => {}
            (Some(query), _) | (None, Some(query)) => {
                target.push('?');
                target.push_str(query);
            }
        }
        Some(target)
    }
}

fn is_of_another_scheme(headers: &http::HeaderMap) -> bool {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let only = values.next().filter(|_| values.next().is_none());
    only.is_some_and(|value| value.to_str().is_ok_and(|text| sources::credentials(text) == Credentials::Other))
}

fn rewritten_path(route: &Route, path: &str) -> Option<String> {
    let rewrite = &route.rewrite;
    let stripped = rewrite.strip_prefix.as_deref().and_then(|prefix| {
        path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'))
    });
    if stripped.is_none() && rewrite.add_prefix.is_none() {
        return None;
    }
    let rest = stripped.unwrap_or(path);
    let mut target = rewrite.add_prefix.as_deref().unwrap_or_default().trim_end_matches('/').to_owned();
    if !rest.starts_with('/') && (target.is_empty() || !rest.is_empty()) {
        target.push('/');
    }
    target.push_str(rest);
    Some(target)
}
