//! What a request loses and gains on its way to an upstream, and a response on its way back.
//!
//! This is the only place where identity headers are written. It runs after Pingora removed what `Connection`
//! nominates, so that nothing the client sent can remove or join them.
use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, Method, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::{Error, ErrorType, Result, protocols::l4::socket::SocketAddr};
use pingora_proxy::Session;

use crate::{
    edge::{
        cors,
        exchange::{Exchange, Identifiers},
        installed::Installed,
        rate_limits,
    },
    gate::{
        claims::Identity,
        cors::Answer,
        decide::{Decision, Passage},
        field_change::FieldChange,
        firewall::Ownership,
        provenance::{Peer, Provenance},
        route::{Route, RouteId},
        websocket_protocol,
    },
    state::gatekeeper::Judgement,
};

/// What portcullis itself knows of the connection that a request came by.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'s> {
    /// The client, and the proxies that it came through.
    pub provenance: &'s Provenance,
    /// The host as sent.
    pub host: Option<&'s str>,
    /// The version of HTTP that it came by.
    pub version: Version,
    /// What other systems say of its trace.
    pub trace_state: Option<&'s str>,
}

/// Stands for a client of whom the PROXY protocol does not say who it is; see [`Peer::at`].
pub const UNKNOWN_PEER: std::net::SocketAddr = std::net::SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The peer of the connection, or whom the PROXY protocol names in its stead.
pub fn peer(session: &Session) -> Peer {
    peer_at(session.client_addr())
}

/// The peer at an address of Pingora's. Sockets of TCP always have one, and most clients of unix sockets have none.
pub fn peer_at(address: Option<&SocketAddr>) -> Peer {
    match address {
        Some(SocketAddr::Inet(address)) => Peer::at(address.ip()),
        Some(SocketAddr::Unix(_)) | None => Peer::UnixSocket,
    }
}

/// How often an OPTIONS request may still be forwarded, where it says so: at 0 the gateway answers it itself (RFC 9110
/// §7.6.2). TRACE, of which the same is true, never comes so far.
pub fn forwards_left(request: &RequestHeader) -> Option<u64> {
    let field = request.headers.get(header::MAX_FORWARDS).filter(|_| request.method == Method::OPTIONS)?;
    field.to_str().ok()?.parse().ok()
}

/// Whether the client's connection is one of TLS.
pub fn is_encrypted(session: &Session) -> bool {
    session.digest().is_some_and(|digest| digest.ssl_digest.is_some())
}

/// Makes the request that is forwarded: owned names leave in every spelling, then the gate's own are written.
///
/// # Errors
/// A value that no header can hold; the values here are all made to fit, so that this is a fault of the gateway.
pub fn rewrite_request(request: &mut RequestHeader, exchange: &Exchange, origin: Origin<'_>) -> Result<()> {
    let Some(judgement) = &exchange.judgement else { return Ok(()) };
    rewrite_judged(request, &exchange.installed, judgement, exchange.identifiers, origin)?;
    write_assertion(request, exchange, judgement)
}

/// The same for a request that was judged and is in no exchange.
///
/// # Errors
/// As for [`rewrite_request`].
pub fn rewrite_judged(
    request: &mut RequestHeader,
    installed: &Installed,
    judgement: &Judgement,
    identifiers: Identifiers,
    origin: Origin<'_>,
) -> Result<()> {
    let Some((id, route)) = route_of(installed, judgement.route) else { return Ok(()) };
    let passage = Passage { route, trust: judgement.trust() };
    remove_owned(request, installed, id, passage);
    let ruleset = installed.gatekeeper.ruleset();
    change(request, header::COOKIE, ruleset.forwarded_cookies(passage, &request.headers))?;
    change(request, websocket_protocol::FIELD, ruleset.forwarded_protocols(passage, &request.headers))?;
    if let Some(resolved) = installed.route(id) {
        for (name, value) in &resolved.request_set {
            request.insert_header(name.clone(), value.clone())?;
        }
    }
    if let Some(target) = &judgement.target {
        request.set_raw_path(target.as_bytes())?;
    }
    if let Some(left) = forwards_left(request) {
        request.insert_header(header::MAX_FORWARDS, left.saturating_sub(1))?;
    }
    write_origin(request, &identifiers, origin)?;
    if let Some(host) = &route.rewrite.host {
        request.insert_header(header::HOST, host.as_ref())?;
    }
    match &judgement.decision {
        Decision::Pass(Some(identity)) => write_identity(request, installed, identity),
        Decision::Pass(None) | Decision::Reject(_) | Decision::AwaitKeys(_) => Ok(()),
    }
}

fn change(request: &mut RequestHeader, name: HeaderName, change: FieldChange) -> Result<()> {
    match change {
        FieldChange::Unchanged => Ok(()),
        FieldChange::Removed => {
            request.remove_header(&name);
            Ok(())
        }
        FieldChange::Replaced(value) => request.insert_header(name, value),
    }
}

fn route_of(installed: &Installed, id: Option<RouteId>) -> Option<(RouteId, &Route)> {
    let id = id?;
    Some((id, installed.gatekeeper.ruleset().routes.route(id)?))
}

fn remove_owned(request: &mut RequestHeader, installed: &Installed, id: RouteId, passage: Passage<'_>) {
    let ruleset = installed.gatekeeper.ruleset();
    let route_owns = |name: &str| {
        installed.route(id).is_some_and(|resolved| resolved.request_firewall.ownership(name) != Ownership::Free)
    };
    let leaves = |name: &HeaderName| match ruleset.firewall.ownership(name.as_str()) {
        Ownership::Owned => true,
        Ownership::Plain if !ruleset.keeps_token_header(passage, name, &request.headers) => true,
        Ownership::Plain | Ownership::Free if route_owns(name.as_str()) => true,
        Ownership::Plain => false,
        Ownership::Free => installed.drop_underscore_headers && name.as_str().contains('_'),
    };
    let leaving: Vec<HeaderName> = request.headers.keys().filter(|name| leaves(name)).cloned().collect();
    for name in leaving {
        request.remove_header(name.as_str());
    }
}

/// `X-Forwarded-*` and `Forwarded` (RFC 7239) say the same: what portcullis itself saw, and what trusted proxies did.
fn write_origin(request: &mut RequestHeader, identifiers: &Identifiers, origin: Origin<'_>) -> Result<()> {
    let Provenance { client, proxies, is_encrypted, host } = origin.provenance;
    let scheme = if *is_encrypted { "https" } else { "http" };
    let mut forwarded = String::with_capacity(96);
    push_node(&mut forwarded, *client);
    if let Some(client) = client {
        let mut list = client.to_string();
        request.insert_header("X-Real-IP", list.as_str())?;
        // Without gaps: who reads it counts from its end.
        let known = proxies.iter().map(|proxy| proxy.map_or_else(|| "unknown".to_owned(), |proxy| proxy.to_string()));
        for proxy in known {
            list.push_str(", ");
            list.push_str(&proxy);
        }
        request.insert_header("X-Forwarded-For", list)?;
    }
    if let Some(host) = host.as_deref().or(origin.host) {
        request.insert_header("X-Forwarded-Host", host)?;
        // The host was judged: letters, digits, dots, colons and brackets, which need no escape in quotes.
        forwarded.push_str(&format!(";host=\"{host}\""));
    }
    forwarded.push_str(&format!(";proto={scheme}"));
    for proxy in proxies {
        forwarded.push_str(", ");
        push_node(&mut forwarded, *proxy);
    }
    request.insert_header("X-Forwarded-Proto", scheme)?;
    request.insert_header("Forwarded", forwarded)?;
    if let Some(state) = origin.trace_state {
        request.insert_header("tracestate", state)?;
    }
    request.insert_header("X-Request-Id", identifiers.request())?;
    request.insert_header("traceparent", identifiers.traceparent())?;
    // RFC 9110 §7.6.3: a gateway says that it forwarded.
    let version = match origin.version {
        Version::HTTP_2 => "2.0",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    };
    request.append_header(header::VIA, format!("{version} portcullis"))?;
    Ok(())
}

/// RFC 7239 §6: addresses of IPv6 are in brackets and quotes.
fn push_node(forwarded: &mut String, node: Option<IpAddr>) {
    match node {
        Some(IpAddr::V4(address)) => forwarded.push_str(&format!("for={address}")),
        Some(IpAddr::V6(address)) => forwarded.push_str(&format!("for=\"[{address}]\"")),
        None => forwarded.push_str("for=unknown"),
    }
}

fn write_identity(request: &mut RequestHeader, installed: &Installed, identity: &Identity) -> Result<()> {
    for (position, value) in identity.headers() {
        if let Some(name) = installed.identity_names.get(usize::from(*position)) {
            request.insert_header(name.clone(), value.clone())?;
        }
    }
    Ok(())
}

/// Writes the signed word on whose request it is. One that should have it never leaves without.
fn write_assertion(request: &mut RequestHeader, exchange: &Exchange, judgement: &Judgement) -> Result<()> {
    let is_somebodys = matches!(judgement.decision, Decision::Pass(Some(_)));
    let Some(assertions) = exchange.installed.assertions.as_ref().filter(|_| is_somebodys) else { return Ok(()) };
    match &exchange.assertion {
        Some(assertion) => request.insert_header(assertions.header().to_owned(), assertion.clone()),
        None => Err(Error::explain(ErrorType::InternalError, "the request has no assertion")),
    }
}

/// Makes the response that the client gets: without hop-by-hop fields and identity headers, with the request's id and, for
/// `request`, what pages of other origins may do.
///
/// # Errors
/// A value that no header can hold: a fault of the gateway.
pub fn rewrite_response(response: &mut ResponseHeader, exchange: &Exchange, request: &HeaderMap) -> Result<()> {
    let installed = &exchange.installed;
    remove_hop_by_hop(response);
    let told = |name: &HeaderName| installed.response_firewall.ownership(name.as_str()) != Ownership::Free;
    let leaving: Vec<HeaderName> = response.headers.keys().filter(|name| told(name)).cloned().collect();
    for name in leaving {
        response.remove_header(name.as_str());
    }
    if installed.gatekeeper.ruleset().tells_token(&response.headers) {
        response.remove_header(&websocket_protocol::FIELD);
    }
    response.insert_header("X-Request-Id", exchange.identifiers.request())?;
    finish_response(response, exchange, request)
}

/// Takes out of a response's trailers what its head may not have either: whoever joins them to the head (RFC 9110 §6.5.1) would
/// be told who it is, or read what the route removes or sets itself.
pub fn rewrite_response_trailers(trailers: &mut HeaderMap, exchange: &Exchange) {
    let installed = &exchange.installed;
    let route = exchange.judgement.as_ref().and_then(|judgement| route_of(installed, judgement.route));
    let is_the_routes = |name: &HeaderName| {
        route.is_some_and(|(id, route)| {
            let set = installed.route(id).is_some_and(|route| {
                route.response_set.iter().any(|(set, _)| set.eq_ignore_ascii_case(name.as_str().as_bytes()))
            });
            set || route.response_headers.remove.iter().any(|removed| removed.as_str() == name.as_str())
        })
    };
    let is_told = |name: &HeaderName| installed.response_firewall.ownership(name.as_str()) != Ownership::Free;
    let leaving: Vec<HeaderName> =
        trailers.keys().filter(|name| is_told(name) || is_the_routes(name)).cloned().collect();
    for name in leaving {
        trailers.remove(name);
    }
}

/// Gives a response, of an upstream or the route's own, what the route wants it to have, and tells caches and other origins
/// what they may do with it.
///
/// # Errors
/// A header value that cannot be written.
pub fn finish_response(response: &mut ResponseHeader, exchange: &Exchange, request: &HeaderMap) -> Result<()> {
    let installed = &exchange.installed;
    let Some(judgement) = &exchange.judgement else { return Ok(()) };
    if judgement.is_private && !is_public(response) {
        response.append_header(header::CACHE_CONTROL, "private")?;
    }
    let Some((id, route)) = route_of(installed, judgement.route) else { return Ok(()) };
    // An upgrade is the answer, not news on the way to it.
    if !response.status.is_informational() || response.status == http::StatusCode::SWITCHING_PROTOCOLS {
        rate_limits::write(response, exchange)?;
    }
    for name in &route.response_headers.remove {
        response.remove_header(name.as_str());
    }
    if let Some(resolved) = installed.route(id) {
        for (name, value) in &resolved.response_set {
            response.insert_header(name.clone(), value.clone())?;
        }
    }
    match cors::rule(exchange).filter(|_| !response.status.is_informational()) {
        Some(rule) => cors::write(response, rule, request, Answer::Response),
        None => Ok(()),
    }
}

/// RFC 9110 §7.6.1: fields that are about one connection only, and those that `Connection` says are.
fn remove_hop_by_hop(response: &mut ResponseHeader) {
    const HOP_BY_HOP: &[&str] =
        &["keep-alive", "proxy-authenticate", "proxy-authentication-info", "proxy-connection", "te", "trailer"];
    let is_upgrade = response.status == http::StatusCode::SWITCHING_PROTOCOLS;
    let nominated: Vec<HeaderName> = response
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // Framing and the upgrade itself are Pingora's to write.
        .filter(|name| !matches!(*name, header::CONTENT_LENGTH | header::TRANSFER_ENCODING | header::CONNECTION))
        .filter(|name| !(is_upgrade && *name == header::UPGRADE))
        .collect();
    for name in nominated {
        response.remove_header(name.as_str());
    }
    for name in HOP_BY_HOP {
        response.remove_header(*name);
    }
    // That of the final response Pingora writes itself.
    if response.status.is_informational() && !is_upgrade {
        response.remove_header(&header::CONNECTION);
    }
    if !is_upgrade {
        response.remove_header(header::UPGRADE.as_str());
    }
}

fn is_public(response: &ResponseHeader) -> bool {
    let values = response.headers.get_all(header::CACHE_CONTROL).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|directive| directive.trim().eq_ignore_ascii_case("public"))
}
