//! The issuer, keys and configuration that most tests use. What a test is about stands in the test itself.
use std::sync::OnceLock;

use super::{
    gateway::{Builder, Gateway},
    keys::{SigningKey, key_set},
    token::{Token, bearer},
    upstream::Upstream,
};

/// `iss` of the issuer `main`.
pub(crate) const ISSUER: &str = "https://issuer.test";
/// The audience that portcullis expects.
pub(crate) const AUDIENCE: &str = "https://api.test";

/// The key `e1` (ES256) of the issuer `main`.
pub(crate) fn signing_key() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| SigningKey::p256("e1"))
}

/// The key set of the issuer `main`: `e1` alone.
pub(crate) fn keys_file() -> Vec<u8> {
    key_set(&[signing_key().jwk_for("ES256")])
}

/// An `Authorization` value that passes wherever no more than a token is asked for.
pub(crate) fn good_bearer() -> String {
    bearer(&Token::good().signed_by(signing_key()))
}

/// A configuration with the listener `web`, the issuer `main`, and the upstream `echo`. `more` are top-level keys besides; `routes` is a list.
pub(crate) fn config(more: &str, routes: &str) -> String {
    format!(
        r#"
listeners:
  - {{name: web, address: "{{listen}}"}}
admin: {{address: "{{admin}}"}}
server: {{threads: 1, grace_period: 20s}}
issuers:
  main:
    issuer: {ISSUER}
    audiences: [{AUDIENCE}]
    keys: {{jwks_file: keys.json}}
    roles: roles
identity:
  headers:
    X-User-ID: {{from: subject}}
    X-User-Roles: {{from: roles}}
    X-User-Scopes: {{from: scopes}}
{more}
routes:
{routes}
upstreams:
  echo: {{servers: ["{{upstream}}"]}}
"#
    )
}

/// A gateway of [`config`] before it is started, in front of this upstream.
pub(crate) fn builder(more: &str, routes: &str, upstream: &Upstream) -> Builder {
    Gateway::builder(config(more, routes)).set("upstream", upstream.address()).file("keys.json", keys_file())
}

/// A gateway and the upstream behind it. The gateway stops first.
pub(crate) struct House {
    /// In front.
    pub(crate) gateway: Gateway,
    /// Behind.
    pub(crate) upstream: Upstream,
}

impl House {
    /// Starts both.
    pub(crate) fn start(more: &str, routes: &str) -> Self {
        let upstream = Upstream::start();
        Self { gateway: builder(more, routes, &upstream).start(), upstream }
    }
}
