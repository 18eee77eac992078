//! Keys, issuers and places of tokens as explanations name them.
use crate::gate::{issuer::Issuer, sources::TokenSource};

pub(super) fn shown_kid(kid: Option<&str>) -> String {
    kid.map_or_else(|| "without kid".to_owned(), crate::gate::rejection::quoted)
}

pub(super) fn shown_issuer(issuer: &Issuer) -> String {
    format!("{} ({})", issuer.name, issuer.identifier)
}

pub(super) fn shown_source(source: &TokenSource) -> String {
    match source {
        TokenSource::Authorization => "Authorization: Bearer".to_owned(),
        TokenSource::Header(name) => format!("header {name}"),
        TokenSource::Query(name) => format!("query parameter {name}"),
        TokenSource::Cookie(name) => format!("cookie {name}"),
        TokenSource::WebSocketProtocol(word) => format!("WebSocket protocol {word}"),
    }
}
