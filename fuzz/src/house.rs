//! A configuration read as an operator's is, and what becomes of requests under it.
use std::{collections::BTreeMap, path::Path, sync::Arc};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, Version};
use portcullis::{
    config::{
        load::{Secrets, load_text},
        settings::{CacheLimits, Config, KeySource},
        surroundings::{ReadError, Surroundings},
    },
    gate::{request::Request, route::ListenerId, time::UnixTime},
    state::{
        claims_cache::ClaimsCache,
        gatekeeper::{Gatekeeper, Judgement, Patience},
        key_slot::KeySlot,
    },
};

/// The secret of the issuer, which signs what the targets mint.
pub const SECRET: &[u8; 32] = b"an invented secret of 32 bytes !";
/// `iss` of the issuer.
pub const ISSUER: &str = "https://issuer.test";
/// The audience that is expected.
pub const AUDIENCE: &str = "https://api.test";
/// The time at which everything is judged, in seconds.
pub const NOW: i64 = 1_800_000_000;

const CONFIGURATION: &str = r#"
listeners: [{name: web, address: "127.0.0.1:1"}]
admin: {address: off}
issuers:
  main:
    issuer: https://issuer.test
    audiences: [https://api.test]
    algorithms: [HS256]
    keys: {secret_file: secret}
    roles: roles
identity:
  headers:
    X-User-ID: {from: subject}
    X-User-Roles: {from: roles, required: false}
    X-Tenant: {claim: [org, tenant], required: false}
    X-All: {claim: [all], required: false}
  strip: [X-Internal-*]
token: {sources: [{header: Authorization}, {header: X-Access-Token}, {query: access_token}]}
routes:
  - {name: root, path_prefix: /, auth: none, upstream: echo}
  - {name: admin, path_prefix: /admin, upstream: echo}
  - {name: api, path_prefix: /api, upstream: echo, auth: optional}
  - {name: keys, path: /api/v1/keys, upstream: echo}
  - {name: files, path_prefix: /files, upstream: echo, auth: none, paths: {encoded_slash: opaque}}
  - {name: moved, path_prefix: /old, upstream: echo, auth: none, rewrite: {strip_prefix: /old, add_prefix: /new/home}}
  - {name: claims, path_prefix: /claims, upstream: echo}
upstreams: {echo: {servers: ["127.0.0.1:2"]}}
"#;

/// Files and variables that a configuration finds.
#[derive(Debug, Default)]
pub struct World {
    /// By path as written.
    pub files: BTreeMap<&'static str, &'static [u8]>,
    /// By name.
    pub variables: BTreeMap<&'static str, &'static str>,
}

impl Surroundings for World {
    fn read_file(&self, path: &Path, bytes_max: u64) -> Result<Vec<u8>, ReadError> {
        let bytes = path.to_str().and_then(|path| self.files.get(path)).ok_or(ReadError::NotFound)?;
        if bytes.len() as u64 > bytes_max { Err(ReadError::TooLarge { bytes_max }) } else { Ok(bytes.to_vec()) }
    }

    fn names_in(&self, _: &Path) -> Result<Vec<String>, ReadError> {
        Err(ReadError::NotFound)
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).map(|value| (*value).to_owned())
    }
}

/// The configuration that requests meet.
pub fn config() -> Config {
    let world = World { files: [("secret", SECRET.as_slice())].into(), ..World::default() };
    let loaded = load_text("house.yaml", CONFIGURATION.as_bytes(), Path::new(""), &world, Secrets::Read);
    loaded.config.unwrap_or_else(|| panic!("{}", loaded.problems.render()))
}

/// Rules, keys and memory of a configuration whose keys are at hand.
pub fn gatekeeper(config: Config) -> Gatekeeper {
    let slot = |source: &KeySource| match source {
        KeySource::Fixed(set) => Arc::new(KeySlot::fixed(Arc::clone(set))),
        other => panic!("{other:?} is not at hand"),
    };
    let slots = config.live.keys.iter().map(|keys| slot(&keys.source)).collect();
    let cache = ClaimsCache::new(CacheLimits { entries: 8, bytes: 1 << 20 }, [7; 32]);
    Gatekeeper::new(config.live.ruleset, slots, Arc::new(cache), 0)
}

/// A token of the issuer with these claims, whatever they are.
pub fn minted(claims: &[u8]) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#), URL_SAFE_NO_PAD.encode(claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A request as the gate sees it.
pub fn request<'r>(method: &'r str, path: &'r str, query: Option<&'r str>, headers: &'r HeaderMap) -> Request<'r> {
    Request {
        listener: ListenerId(0),
        client: None,
        is_encrypted: false,
        version: Version::HTTP_11,
        method,
        authority: None,
        path,
        query,
        headers,
        target_bytes: path.len(),
        presented: None,
    }
}

/// What becomes of it at the given second.
pub fn decide(gatekeeper: &Gatekeeper, request: &Request<'_>, seconds: i64) -> Judgement {
    gatekeeper.decide(request, UnixTime::from_seconds(seconds), Patience::NotFetched)
}
