//! A gatekeeper for one case: the rules and keys that the case asks for, everything else as lenient as the contract allows.
use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Version};
use portcullis::{
    gate::{
        algorithm::{Algorithm, Algorithms},
        decide::{Decision, Ruleset},
        firewall::{FirewallNames, HeaderFirewall},
        issuer::{Audiences, Issuer, IssuerId},
        keys::KeySet,
        request::Request,
        route::{ListenerId, Route},
        sources::TokenSource,
        time::UnixTime,
    },
    state::{
        gatekeeper::{Gatekeeper, Patience},
        key_slot::KeySlot,
        refresh::RefreshRules,
    },
};

use crate::support::ruleset;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It passes; with the subject, where it has an identity that names one.
    Passes(Option<String>),
    /// It is refused, with this status and reason.
    Refused(u16, &'static str),
    /// The key is refused when the configuration is read, so no request is ever judged with it.
    KeyRefused(String),
}

impl Verdict {
    /// Whether it passes.
    pub(super) fn passes(&self) -> bool {
        matches!(self, Self::Passes(_))
    }

    /// The reason of a refusal; `key` when the key is refused, `-` when it passes.
    pub(super) fn label(&self) -> &str {
        match self {
            Self::Passes(_) => "-",
            Self::Refused(_, label) => label,
            Self::KeyRefused(_) => "key",
        }
    }
}

/// The keys of an issuer.
pub(super) enum Keys {
    /// Read with the configuration.
    Fixed(Arc<KeySet>),
    /// On a server that has never answered.
    NeverFetched,
}

impl From<KeySet> for Keys {
    fn from(keys: KeySet) -> Self {
        Self::Fixed(Arc::new(keys))
    }
}

/// A gateway before its parts are joined.
pub(super) struct Trial {
    pub(super) issuers: Vec<(Issuer, Keys)>,
    pub(super) routes: Vec<Route>,
}

impl Trial {
    /// One route for everything, which demands a token of one of these issuers.
    pub(super) fn of(issuers: Vec<(Issuer, Keys)>) -> Self {
        let route = route("/", issuers.len());
        Self { issuers, routes: vec![route] }
    }

    /// Joins the parts.
    pub(super) fn gatekeeper(self) -> Gatekeeper {
        let token_sources: Vec<TokenSource> =
            self.routes.iter().flat_map(|route| route.token_sources.iter().cloned()).collect();
        let token_headers: Vec<Box<str>> = token_sources
            .iter()
            .filter_map(|source| match source {
                TokenSource::Header(name) => Some(Box::from(name.as_str())),
                TokenSource::Authorization
                | TokenSource::Query(_)
                | TokenSource::Cookie(_)
                | TokenSource::WebSocketProtocol(_) => None,
            })
            .collect();
        let (issuers, keys): (Vec<Issuer>, Vec<Keys>) = self.issuers.into_iter().unzip();
        let slot = |keys| match keys {
            Keys::Fixed(keys) => Arc::new(KeySlot::fixed(keys)),
            Keys::NeverFetched => Arc::new(KeySlot::remote(
                RefreshRules {
                    refresh: Duration::from_secs(600),
                    cooldown: Duration::from_secs(10),
                    max_stale: Duration::from_secs(3600),
                },
                std::time::Instant::now(),
            )),
        };
        let firewall = HeaderFirewall::new(FirewallNames { token_headers: &token_headers, ..FirewallNames::default() });
        let ruleset = Ruleset { firewall, token_sources, ..ruleset::ruleset(issuers, self.routes) };
        Gatekeeper::new(ruleset, keys.into_iter().map(slot).collect(), ruleset::cache(8), 0)
    }
}

/// An issuer that checks no more than every issuer does.
pub(super) fn issuer(identifier: &str, algorithms: Algorithms) -> Issuer {
    Issuer {
        audiences: Audiences::Unchecked,
        algorithms,
        leeway: Duration::ZERO,
        required_claims: Vec::new(),
        ..ruleset::issuer(identifier, identifier)
    }
}

/// A route for a path and all below it, which demands a token in `Authorization`, of the first so many issuers.
pub(super) fn route(prefix: &str, issuers: usize) -> Route {
    Route { issuers: (0..).map(IssuerId).take(issuers).collect(), ..ruleset::route(prefix, prefix) }
}

/// A parameter of the query as a source of tokens.
pub(super) fn parameter(name: &str) -> TokenSource {
    TokenSource::Query(name.into())
}

/// A header whose whole value is the token as a source of tokens.
pub(super) fn header(name: &str) -> TokenSource {
    TokenSource::Header(HeaderName::from_bytes(name.as_bytes()).unwrap())
}

/// Every algorithm that goes with this key of a file: an RSA key may be of one family only, so it is the family of `wanted`.
pub(super) fn algorithms_of_a_file(wanted: &str) -> Algorithms {
    let family = if wanted.starts_with("PS") { "RS" } else { "PS" };
    Algorithms::asymmetric().iter().filter(|algorithm| !algorithm.name().starts_with(family)).collect()
}

/// The algorithms of these names that portcullis knows.
pub(super) fn algorithms_named<'n>(names: impl IntoIterator<Item = &'n str>) -> Algorithms {
    names.into_iter().filter_map(Algorithm::from_name).collect()
}

/// Judges one request at `now`. `Host` is added where it is missing.
pub(super) fn decide(
    gatekeeper: &Gatekeeper,
    method: &str,
    target: &str,
    headers: &[(String, String)],
    now: i64,
) -> Verdict {
    let fields = headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host"));
    let mut map = ruleset::headers(&fields.map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>());
    for (_, host) in headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("host")) {
        map.insert("host", HeaderValue::from_str(host).unwrap());
    }
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let request = Request {
        listener: ListenerId(0),
        client: None,
        version: Version::HTTP_11,
        is_encrypted: false,
        method,
        authority: None,
        path,
        query,
        headers: &map,
        target_bytes: target.len(),
        presented: None,
    };
    match gatekeeper.decide(&request, UnixTime::from_seconds(now), Patience::NotFetched).decision {
        Decision::Pass(identity) => {
            Verdict::Passes(identity.and_then(|identity| identity.subject().map(str::to_owned)))
        }
        Decision::Reject(refusal) => {
            let row = refusal.rejection().row();
            Verdict::Refused(row.status, row.label)
        }
        Decision::AwaitKeys(_) => panic!("nothing is fetched here"),
    }
}

/// An `Authorization` header with this token.
pub(super) fn bearer(token: &str) -> Vec<(String, String)> {
    vec![("Authorization".to_owned(), format!("Bearer {token}"))]
}
