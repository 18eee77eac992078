//! Decisions as configurations, requests and clocks make them, without a process: the configuration is read as the program
//! reads it, and the gatekeeper that decides is the program's.
use std::{
    fmt::Write as _,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use http::Version;
use portcullis::{
    config::{
        load::{Secrets, load_text},
        settings::{Config, KeySource},
        surroundings::{ReadError, Surroundings},
    },
    gate::{decide::Decision, request::Request, route::ListenerId, time::UnixTime},
    state::{
        gatekeeper::{Gatekeeper, Judgement, Patience},
        key_slot::KeySlot,
    },
};
use serde_json::{Map, Value, json};

use super::{
    fixture::{AUDIENCE, ISSUER, keys_file, signing_key},
    ruleset::{cache, headers},
    token::Token,
};

/// The moment of the tests, in seconds since the epoch.
pub(crate) const T: i64 = 1_767_225_600;

/// A second issuer's `iss`.
pub(crate) const PARTNER: &str = "https://partner.test";

/// Files beside a configuration: one key set, under every name.
struct KeysOnly;

impl Surroundings for KeysOnly {
    fn read_file(&self, path: &Path, _: u64) -> Result<Vec<u8>, ReadError> {
        match path.extension() {
            Some(extension) if extension == "json" => Ok(keys_file()),
            _ => Err(ReadError::NotFound),
        }
    }

    fn names_in(&self, _: &Path) -> Result<Vec<String>, ReadError> {
        Err(ReadError::NotFound)
    }

    fn variable(&self, _: &str) -> Option<String> {
        None
    }
}

/// Reads a whole configuration.
pub(crate) fn load(text: &str) -> Result<Config, String> {
    let place = PathBuf::from("/c");
    let loaded = load_text("table.yaml", text.as_bytes(), &place, &KeysOnly, Secrets::Read);
    let problems = loaded.problems.render();
    loaded.config.ok_or(problems)
}

/// The configuration of the issuer `main` and these keys and routes besides; `issuer` are more keys of `main`.
pub(crate) fn config(issuer: &str, more: &str, routes: &str) -> String {
    format!(
        "listeners: [{{address: \"127.0.0.1:8080\"}}]
issuers:
  main: {{issuer: \"{ISSUER}\", audiences: [\"{AUDIENCE}\"], keys: {{jwks_file: keys.json}}, roles: roles{issuer}}}
{more}
routes:
{routes}
"
    )
}

/// The gatekeeper of a configuration with a cache of so many entries.
pub(crate) fn keeper(text: &str, entries: usize) -> Gatekeeper {
    let config = load(text).unwrap_or_else(|problems| panic!("{text}\n{problems}"));
    let slots = config.live.keys.into_iter().map(|keys| match keys.source {
        KeySource::File(file) => Arc::new(KeySlot::fixed(file.set)),
        KeySource::Fixed(_) | KeySource::Unread | KeySource::Remote(_) => panic!("no file: {:?}", keys.source),
    });
    Gatekeeper::new(config.live.ruleset, slots.collect(), cache(entries), 0)
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    /// The token: changes to the claims of a good one (`null` leaves a claim out), or none.
    pub(crate) claims: Option<Value>,
    /// The client's address.
    pub(crate) client: Option<IpAddr>,
    /// Seconds after [`T`].
    pub(crate) at: i64,
}

/// The claims of a good token: a user `u1`, the client `c1`.
pub(crate) fn good_claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "u1", "client_id": "c1", "iat": T - 60, "exp": T + 3600, "jti": "t1",
        "scope": "orders:read",
    })
}

/// A good token with changes; signed by the key of every issuer.
pub(crate) fn token(changes: &Value) -> String {
    let mut claims = good_claims();
    let all: &mut Map<String, Value> = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() { drop(all.remove(name)) } else { drop(all.insert(name.clone(), value.clone())) }
    }
    Token::good().raw_payload(claims.to_string()).signed_by(signing_key())
}

/// The decision about a request.
pub(crate) fn judge(keeper: &Gatekeeper, ask: &Ask) -> Judgement {
    let token = ask.claims.as_ref().map(token);
    judge_token(keeper, ask, token.as_deref())
}

/// The same with a token that was made before.
pub(crate) fn judge_token(keeper: &Gatekeeper, ask: &Ask, token: Option<&str>) -> Judgement {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let fields = headers(&bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect::<Vec<_>>());
    let request = Request {
        listener: ListenerId(0),
        client: ask.client,
        is_encrypted: false,
        version: Version::HTTP_11,
        method: ask.method,
        authority: None,
        path: &ask.path,
        query: None,
        headers: &fields,
        target_bytes: ask.path.len(),
        presented: None,
    };
    keeper.decide(&request, UnixTime::from_seconds(T + ask.at), Patience::NotFetched)
}

/// A decision in words: what becomes of the request, and why.
pub(crate) fn told(keeper: &Gatekeeper, judgement: &Judgement) -> String {
    let mut text = match &judgement.decision {
        Decision::Pass(Some(identity)) => format!("passes as {}", identity.subject().unwrap_or("-")),
        Decision::Pass(None) => "passes as nobody".to_owned(),
        Decision::AwaitKeys(_) => "waits for keys".to_owned(),
        Decision::Reject(refusal) => {
            let row = refusal.rejection().row();
            let detail = refusal.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
            format!("{} {}{detail}", row.status, row.label)
        }
    };
    if let Some(observed) = &judgement.observed {
        let detail = observed.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
        write!(text, "; observed {}{detail}", observed.rejection()).unwrap();
    }
    if let Some(route) = judgement.route.and_then(|id| keeper.ruleset().routes.route(id)) {
        write!(text, " [{}]", route.name).unwrap();
    }
    text
}
