//! The protected resource that the gateway stands for, and what it publishes about it (RFC 9728).
//!
//! All of it comes from the configuration, nothing from a request: whoever sends a foreign `Host` learns no other address.
use std::fmt;

use serde_json::{Map, Value};

use crate::gate::host::Host;

/// Comes between host and path of the identifier (RFC 9728 §3).
pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The identifier of a resource: a URL without query and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceIdentifier<'t> {
    text: &'t str,
    origin: &'t str,
    host: Box<str>,
    path: &'t str,
}

/// Why a text is no identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceFault {
    /// It does not begin with `https://`, and is not on this machine.
    Scheme,
    /// Its host is none.
    Host(&'static str),
    /// It has a user name.
    UserInfo,
    /// It has a query or a fragment.
    Query,
}

impl fmt::Display for ResourceFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Scheme => "it begins with `https://`; `http://` is for loopback hosts",
            Self::Host(fault) => fault,
            Self::UserInfo => "it has no user name",
            Self::Query => "it has neither query nor fragment",
        })
    }
}

impl<'t> ResourceIdentifier<'t> {
    /// Reads an identifier (RFC 9728 §1.2). Its path is not judged here.
    ///
    /// # Errors
    /// What is wrong with it first.
    pub fn parse(text: &'t str) -> Result<Self, ResourceFault> {
        let (scheme, rest) = text.split_once("://").ok_or(ResourceFault::Scheme)?;
        if rest.contains(['?', '#']) {
            return Err(ResourceFault::Query);
        }
        let (authority, path) = match rest.find('/') {
            Some(position) => rest.split_at(position),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return Err(ResourceFault::UserInfo);
        }
        let host = Host::parse(authority).map_err(ResourceFault::Host)?;
        let name: Box<str> = host.name().into();
        let is_loopback = matches!(name.as_ref(), "localhost" | "[::1]" | "127.0.0.1");
        if scheme != "https" && !(scheme == "http" && is_loopback) {
            return Err(ResourceFault::Scheme);
        }
        let origin = text.strip_suffix(path).unwrap_or(text);
        // RFC 9728 §3: a slash that is the whole path is none.
        Ok(Self { text, origin, host: name, path: if path == "/" { "" } else { path } })
    }

    /// Its host, in the compared spelling.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its path; empty where that is a slash alone.
    pub const fn path(&self) -> &'t str {
        self.path
    }

    /// The path at which its metadata is.
    pub fn metadata_path(&self) -> String {
        format!("{WELL_KNOWN}{}", self.path)
    }

    /// The URL at which its metadata is.
    pub fn metadata_url(&self) -> String {
        format!("{}{WELL_KNOWN}{}", self.origin, self.path)
    }
}

/// What is said of a resource besides its identifier. What is empty is left out (RFC 9728 §3.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceFacts<'c> {
    /// Who issues tokens for it: those whose identifier is a URL.
    pub authorization_servers: Vec<&'c str>,
    /// Scopes that its routes ask for.
    pub scopes: Vec<&'c str>,
    /// How tokens are presented, in the words of RFC 9728 §2.
    pub bearer_methods: Vec<&'c str>,
}

/// The metadata document (RFC 9728 §2).
pub fn metadata(identifier: &ResourceIdentifier<'_>, facts: &ResourceFacts<'_>) -> String {
    let mut document = Map::new();
    document.insert("resource".to_owned(), identifier.text.into());
    let lists = [
        ("authorization_servers", &facts.authorization_servers),
        ("scopes_supported", &facts.scopes),
        ("bearer_methods_supported", &facts.bearer_methods),
    ];
    for (name, list) in lists {
        if !list.is_empty() {
            document.insert(name.to_owned(), list.clone().into());
        }
    }
    format!("{}\n", Value::Object(document))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_well_known_part_comes_between_host_and_path() {
        for (identifier, host, url) in [
            (
                "https://api.example.com",
                "api.example.com",
                "https://api.example.com/.well-known/oauth-protected-resource",
            ),
            (
                "https://api.example.com/",
                "api.example.com",
                "https://api.example.com/.well-known/oauth-protected-resource",
            ),
            (
                "https://API.example.com:8443/v1",
                "api.example.com",
                "https://API.example.com:8443/.well-known/oauth-protected-resource/v1",
            ),
            (
                "https://api.example.com/v1/",
                "api.example.com",
                "https://api.example.com/.well-known/oauth-protected-resource/v1/",
            ),
            ("http://127.0.0.1:8080/a", "127.0.0.1", "http://127.0.0.1:8080/.well-known/oauth-protected-resource/a"),
        ] {
            let parsed = ResourceIdentifier::parse(identifier).unwrap();
            assert_eq!((parsed.host(), parsed.metadata_url().as_str()), (host, url), "{identifier}");
            assert!(url.ends_with(&parsed.metadata_path()));
            let document: Value = serde_json::from_str(&metadata(&parsed, &ResourceFacts::default())).unwrap();
            assert_eq!(document, serde_json::json!({ "resource": identifier }));
        }
    }

    #[test]
    fn what_is_no_url_of_a_resource_is_none() {
        for (text, fault) in [
            ("api.example.com", ResourceFault::Scheme),
            ("http://api.example.com", ResourceFault::Scheme),
            ("HTTPS://api.example.com", ResourceFault::Scheme),
            ("https://api.example.com/?a", ResourceFault::Query),
            ("https://api.example.com#a", ResourceFault::Query),
            ("https://u@api.example.com", ResourceFault::UserInfo),
        ] {
            assert_eq!(ResourceIdentifier::parse(text), Err(fault), "{text}");
        }
        assert!(matches!(ResourceIdentifier::parse("https:///a"), Err(ResourceFault::Host(_))));
    }
}
