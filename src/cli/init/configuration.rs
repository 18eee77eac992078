//! The text of a starting configuration. Everything from outside stands in it in double quotes, or escaped in a comment, so
//! that it can mean nothing else than itself.
use std::fmt::Write as _;

use crate::{
    cli::init::{
        findings::{Audience, Place},
        sample::{Sample, TokenType},
    },
    gate::{algorithm::Algorithms, issuer::ClaimPath, rejection::quoted},
};

/// Stands where an audience must be written; no token has it, so that nobody passes before somebody has thought about it.
pub(super) const PLACEHOLDER: &str = "CHANGE-ME: what access tokens for your services have in aud";

/// What the configuration is made from.
#[derive(Debug)]
pub(super) struct Known<'a> {
    /// Exact value of `iss`.
    pub(super) issuer: &'a str,
    /// Where the keys are, unless the gateway finds that by itself.
    pub(super) jwks_url: Option<&'a str>,
    /// Allowed algorithms.
    pub(super) algorithms: Algorithms,
    /// Absolute path of the certificates to trust.
    pub(super) ca_file: Option<&'a str>,
    /// Whether keys may be fetched over http.
    pub(super) insecure_http: bool,
    /// The sample, where one was given.
    pub(super) sample: Option<&'a Sample>,
}

impl Known<'_> {
    /// The text.
    pub(super) fn text(&self) -> String {
        let roles = self.sample.map(|sample| sample.findings.roles.as_slice()).unwrap_or_default();
        let roles_header = if roles.is_empty() { "#X-User-Roles" } else { "X-User-Roles" };
        let require = if roles.is_empty() { "scopes: [orders:read]" } else { "roles: [admin]" };
        format!(
            r#"# Made by `portcullis init` from what {issuer} publishes. A start: read it, edit it, then
#   portcullis validate -c portcullis.yaml && portcullis run -c portcullis.yaml

listeners:
  - address: 127.0.0.1:8080        # where clients come in; 0.0.0.0:8080 for everybody

admin:
  address: 127.0.0.1:9400          # metrics, health, what is in force; not for clients

issuers:
  main:                            # a name for logs, metrics and routes
{section}
identity:
  headers:                         # what services are told; what clients send under these names is removed
    X-User-ID: {{from: subject}}
    {roles_header}: {{from: roles}}
    X-User-Scopes: {{from: scopes}}
    X-Client-ID: {{from: client}}

routes:                            # what matches none does not exist; without a valid token nobody passes
  - name: everything
    path_prefix: /
    #require: {{{require}}}
    upstream: app

upstreams:
  app:
    servers: [127.0.0.1:3000]      # EDIT: where your service listens
"#,
            issuer = quoted(self.issuer),
            section = self.issuer_section(roles),
        )
    }

    fn issuer_section(&self, roles: &[ClaimPath]) -> String {
        let mut section = Lines::default();
        section.line(&format!("issuer: {}   # equals `iss`, byte for byte", scalar(self.issuer)));
        self.audiences(&mut section);
        section
            .comment("What the published keys are for. When the provider changes to another algorithm, add it first.");
        section.line(&format!("algorithms: [{}]", self.algorithms));
        section.line("keys:");
        match self.jwks_url {
            None => section.line("  discovery: true              # where they are says the issuer's metadata"),
            Some(url) => section.line(&format!("  jwks_url: {}", scalar(url))),
        }
        if let Some(path) = self.ca_file {
            section.line(&format!("  ca_file: {}", scalar(path)));
        }
        if self.insecure_http {
            section.line("  insecure_http: true          # for tests: whoever is on the way can sign tokens");
        }
        match self.sample {
            Some(sample) => {
                token_types(&mut section, &sample.token_type);
                places(&mut section, sample, roles);
            }
            None => {
                section.comment("Where tokens hold roles is not known without one (--token-file). Usual places:");
                section.comment(
                    "  Keycloak [realm_access, roles], Entra ID and Okta roles or groups, Cognito cognito:groups",
                );
                section.line("#roles: [realm_access, roles]");
            }
        }
        section.text
    }

    fn audiences(&self, section: &mut Lines) {
        match self.sample.map(|sample| &sample.findings.audience) {
            Some(Audience::Named(names)) => {
                section.comment("A token must name one of these. Leave only what stands for your services.");
                let names: Vec<String> = names.iter().map(|name| scalar(name)).collect();
                section.line(&format!("audiences: [{}]", names.join(", ")));
            }
            Some(Audience::Client(client)) => {
                section.comment(
                    "These access tokens have no `aud`; the client that they were given to is compared in its place.",
                );
                section.line("audience_claim: client_id");
                section.line(&format!("audiences: [{}]", scalar(client)));
                section.comment("ID tokens have no `client_id`, and say `id` here.");
                section.line("require: {claims: {token_use: access}}");
            }
            Some(Audience::Unknown(_)) | None => {
                section.comment("EDIT: until this names what your provider puts into `aud`, every token is refused.");
                section.line(&format!("audiences: [{}]", scalar(PLACEHOLDER)));
            }
        }
    }
}

fn token_types(section: &mut Lines, token_type: &TokenType) {
    match token_type {
        TokenType::Plain => {}
        TokenType::AccessToken => {
            section.comment("Access tokens say what they are (RFC 9068); ID tokens and all others are refused.");
            section.line("token_types: [at+jwt]");
            section.line("require_token_type: true");
        }
        TokenType::Other(name) => {
            section.comment("The `typ` of the sample: make sure that only access tokens have it.");
            section.line(&format!("token_types: [{}]", scalar(name)));
            section.line("require_token_type: true");
        }
    }
}

/// Where the facts are.
fn places(section: &mut Lines, sample: &Sample, roles: &[ClaimPath]) {
    let findings = &sample.findings;
    match findings.subject {
        Place::Claim("oid") => {
            section.comment("`sub` is another one for each client; `oid` is the person, everywhere in the tenant.");
            section.line("subject: oid");
        }
        Place::Claim(name) => section.line(&format!("subject: {name}")),
        Place::Usual(_) => {}
        Place::Nowhere => {
            section.comment("The sample has no subject: such tokens are refused, see `subject` and `required_claims`.")
        }
    }
    match roles.split_first() {
        None => {
            section
                .comment("No roles were found in the sample. If there are some: a claim, or a list for a nested one.");
            section.line("#roles: roles");
        }
        Some((first, others)) => {
            section.line(&format!("roles: {}", path(first)));
            for other in others {
                section.line(&format!("#roles: {}", path(other)));
            }
        }
    }
    match findings.scopes {
        Place::Claim(name) => section.line(&format!("scopes: {name}")),
        Place::Usual(name) => section.comment(&format!("Scopes are in `{name}`, which is found by itself.")),
        Place::Nowhere => section.comment("The sample has no scopes."),
    }
    match findings.client {
        Place::Claim(name) => section.line(&format!("client: {name}")),
        Place::Usual(name) => section.comment(&format!("The client is in `{name}`, which is found by itself.")),
        Place::Nowhere => section.comment("The sample names no client."),
    }
}

/// Lines of an issuer.
#[derive(Default)]
struct Lines {
    text: String,
}

impl Lines {
    fn line(&mut self, line: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "    {line}");
    }

    fn comment(&mut self, text: &str) {
        self.line(&format!("# {text}"));
    }
}

/// A claim as the configuration names it.
fn path(path: &ClaimPath) -> String {
    let names: Vec<String> = path.names().iter().map(|name| scalar(name)).collect();
    match names.as_slice() {
        [name] => name.clone(),
        _ => format!("[{}]", names.join(", ")),
    }
}

/// A text in double quotes (YAML 1.2.2 §7.3.1) in visible ASCII, in which `$` names no variable.
fn scalar(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '$' => quoted.push_str("$$"),
            ' '..='~' => quoted.push(character),
            // Writing to a string cannot fail.
            _ if u32::from(character) <= 0xffff => drop(write!(quoted, "\\u{:04x}", u32::from(character))),
            _ => drop(write!(quoted, "\\U{:08x}", u32::from(character))),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests;
