//! What the benchmarks decide about: a configuration of a usual size, its keys, the tokens that they signed and the
//! requests that carry them. Nothing here is measured.
#![allow(dead_code, reason = "every benchmark takes what it needs")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a benchmark whose scene cannot be set has nothing to measure"
)]

#[path = "../../tests/support/keys.rs"]
pub(crate) mod keys;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue, Version};
use jsonwebtoken::DecodingKey;
use portcullis::{
    config::settings::CacheLimits,
    gate::{
        algorithm::{Algorithm, Algorithms, KeyType},
        assertion::AssertionRule,
        claims::Identity,
        condition::{ClaimTest, Condition, Conditions, Literal},
        cross_site::CrossSiteRule,
        decide::{Decision, Ruleset},
        extraction::{HeaderValueSource, IdentityHeader},
        firewall::{FirewallNames, HeaderFirewall},
        issuer::{Audiences, ClaimPath, ClientPlace, Issuer, IssuerId, ScopesPlace, TokenTypes},
        keys::KeySet,
        network::AddressRule,
        policy::{Names, Principal, Requirement},
        rate_limit::{CountedBy, RateLimit, RateLimits},
        request::{Request, RequestLimits},
        route::{
            Action, Authentication, BodyLimit, HostPattern, ListenerId, PathPattern, PathReadings, Route, StreamRule,
            UpstreamId,
        },
        route_table::RouteTable,
        sources::TokenSource,
        time::UnixTime,
    },
    state::{
        claims_cache::ClaimsCache,
        gatekeeper::{Gatekeeper, Judgement, Patience},
        key_slot::KeySlot,
        refresh::RefreshRules,
    },
};
use serde_json::json;

use self::keys::{SigningKey, encoded, key_set};

/// When the benchmarks happen.
pub(crate) const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);
/// When the tokens have expired.
pub(crate) const LATER: UnixTime = UnixTime::from_seconds(1_800_010_000);

const SECRET: &[u8; 32] = b"a secret for benchmarks, no more";

/// Room for every token that a benchmark remembers, and as many bytes for each as `claims_cache` gives by default.
pub(crate) const ROOMY: CacheLimits = CacheLimits { entries: 131_072, bytes: 131_072 * 1342 };
/// No cache.
pub(crate) const OFF: CacheLimits = CacheLimits { entries: 0, bytes: 0 };

/// Whether the benchmark was started without a filter or another wish: tables are no measurements of criterion's, and are
/// printed only then.
pub(crate) fn everything_is_asked_for() -> bool {
    std::env::args().skip(1).all(|argument| argument == "--bench" || argument == "--quick")
}

/// The keys of the three issuers.
pub(crate) struct Keys {
    rsa: SigningKey,
    p256: SigningKey,
    p384: SigningKey,
    ed25519: SigningKey,
    secret: SigningKey,
}

/// A token, and what `jsonwebtoken` needs to verify it without portcullis.
pub(crate) struct Token {
    pub(crate) compact: String,
    pub(crate) algorithm: jsonwebtoken::Algorithm,
    pub(crate) decoding: DecodingKey,
}

impl Token {
    /// The signature check alone, as the gate asks for it.
    pub(crate) fn verify_alone(&self) -> bool {
        let (message, signature) = self.compact.rsplit_once('.').unwrap();
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.decoding, self.algorithm).unwrap()
    }

    /// The same token with a signature that was changed.
    pub(crate) fn forged(&self) -> Self {
        let (message, signature) = self.compact.rsplit_once('.').unwrap();
        let middle = signature.len() / 2;
        let (before, rest) = signature.split_at(middle);
        let other = if rest.starts_with('A') { 'B' } else { 'A' };
        let forged = format!("{message}.{before}{other}{}", rest.get(1..).unwrap());
        Self { compact: forged, algorithm: self.algorithm, decoding: self.decoding.clone() }
    }
}

impl Keys {
    /// Makes fresh keys.
    pub(crate) fn new() -> Self {
        Self {
            rsa: SigningKey::rsa("signing-key-2026-11"),
            p256: SigningKey::p256("signing-key-2026-12"),
            p384: SigningKey::p384("signing-key-2027-01"),
            ed25519: SigningKey::ed25519("signing-key-2027-02"),
            secret: SigningKey::secret("", SECRET),
        }
    }

    fn signing(&self, algorithm: Algorithm) -> &SigningKey {
        match algorithm.key_type() {
            KeyType::Rsa => &self.rsa,
            KeyType::P256 => &self.p256,
            KeyType::P384 => &self.p384,
            KeyType::Ed25519 => &self.ed25519,
            KeyType::Secret => &self.secret,
        }
    }

    /// A token with twelve claims, different for every `number`; 700 bytes long with ES256.
    pub(crate) fn token(&self, algorithm: Algorithm, number: u32) -> Token {
        let key = self.signing(algorithm);
        let is_secret = algorithm.key_type() == KeyType::Secret;
        let header = if is_secret {
            json!({"alg": algorithm.name(), "typ": "JWT"})
        } else {
            json!({"alg": algorithm.name(), "kid": key.kid(), "typ": "JWT"})
        };
        let claims = json!({
            "iss": if is_secret { "https://internal.example.com" } else { "https://id.example.com/realms/main" },
            "sub": format!("b4f6d1c8-2f51-4c7e-9a0b-{number:012x}"),
            "aud": ["https://api.example.com", "orders"],
            "exp": NOW.seconds() + 3600,
            "iat": NOW.seconds(),
            "nbf": NOW.seconds(),
            "jti": format!("7e02a9d4-{number:08x}"),
            "client_id": "storefront",
            "scope": "openid profile orders:read orders:write",
            "roles": ["customer", "beta"],
            "organisation": {"tenant": "acme-europe", "plan": "gold"},
            "email": format!("c{number:08x}@mail.example.com"),
        });
        let message = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        let compact = format!("{message}.{}", encoded(key.sign(algorithm.name(), message.as_bytes())));
        let decoding = if is_secret {
            DecodingKey::from_secret(SECRET)
        } else {
            let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(key.jwk_for(algorithm.name())).unwrap();
            DecodingKey::from_jwk(&jwk).unwrap()
        };
        Token { compact, algorithm: algorithm.name().parse().unwrap(), decoding }
    }

    /// A gatekeeper of twenty routes and three issuers; two have fetched their keys, the third has a secret.
    pub(crate) fn gatekeeper(&self, limits: CacheLimits) -> Gatekeeper {
        self.gatekeeper_of(ruleset(), limits)
    }

    /// The same, with what assertions say of each token.
    pub(crate) fn asserting_gatekeeper(&self, limits: CacheLimits, rule: AssertionRule) -> Gatekeeper {
        self.gatekeeper_of(Ruleset { assertion: Some(rule), ..ruleset() }, limits)
    }

    fn gatekeeper_of(&self, ruleset: Ruleset, limits: CacheLimits) -> Gatekeeper {
        let asymmetric = [&self.rsa, &self.p256, &self.p384, &self.ed25519].map(SigningKey::jwk);
        let main = KeySet::parse(&key_set(&asymmetric), Algorithms::asymmetric()).unwrap();
        let partner = SigningKey::p256("partner-1").jwk();
        let partner = KeySet::parse(&key_set(&[partner]), Algorithms::asymmetric()).unwrap();
        let secret = KeySet::from_secret(SECRET, [Algorithm::HS256].into_iter().collect()).unwrap();
        let slots = vec![fetched(partner), fetched(main), Arc::new(KeySlot::fixed(Arc::new(secret)))];
        Gatekeeper::new(ruleset, slots, Arc::new(ClaimsCache::new(limits, [7; 32])), 1)
    }
}

fn fetched(keys: KeySet) -> Arc<KeySlot> {
    #[expect(clippy::disallowed_methods, reason = "an Instant cannot be made otherwise")]
    let now = Instant::now();
    let rules = RefreshRules {
        refresh: Duration::from_secs(600),
        cooldown: Duration::from_secs(10),
        max_stale: Duration::from_secs(86_400),
    };
    let slot = KeySlot::remote(rules, now);
    slot.fetched(Arc::new(keys), None, now, NOW, 0.5);
    Arc::new(slot)
}

/// The head of one request: twelve fields with a token, eleven without.
pub(crate) struct Head {
    path: &'static str,
    fields: HeaderMap,
}

impl Head {
    /// A request for `path` at the host of the interfaces.
    pub(crate) fn new(path: &'static str, token: Option<&str>) -> Self {
        let mut fields = HeaderMap::new();
        for (name, value) in [
            ("host", "api.example.com"),
            ("connection", "keep-alive"),
            ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"),
            ("accept", "application/json, text/plain, */*"),
            ("accept-encoding", "gzip, deflate, br, zstd"),
            ("accept-language", "de-AT,de;q=0.8,en-US;q=0.5,en;q=0.3"),
            ("origin", "https://shop.example.com"),
            ("referer", "https://shop.example.com/orders"),
            ("cookie", "theme=dark; consent=2026-01-07; shop_session=8d0f3f0a5c6b4f1f"),
            ("cache-control", "no-cache"),
            ("x-client-version", "4.18.2"),
        ] {
            fields.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        if let Some(token) = token {
            fields.insert(http::header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        }
        Self { path, fields }
    }

    /// The request as the gate sees it.
    pub(crate) fn request(&self) -> Request<'_> {
        Request {
            listener: ListenerId(0),
            client: Some(IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3))),
            version: Version::HTTP_11,
            is_encrypted: false,
            method: "GET",
            authority: None,
            path: self.path,
            query: Some("expand=lines&page=2"),
            headers: &self.fields,
            target_bytes: self.path.len() + 20,
            presented: None,
        }
    }
}

/// The path of a route that requires a token.
pub(crate) const PRIVATE_PATH: &str = "/v1/orders/2026-118-4417/lines";
/// The path of a route with fourteen rules, and as many on trial.
pub(crate) const RULES_PATH: &str = "/v1/payments/2026-118-4417/lines";
/// The path of a route with limits by address, subject and token.
pub(crate) const LIMITED_PATH: &str = "/v1/invoices/2026-118-4417/lines";
/// The path of a route that does not look at tokens.
pub(crate) const PUBLIC_PATH: &str = "/v1/catalogue/boots/size-42/stock";

/// One decision, with everything that a request asks of the gatekeeper: the identity headers included, written into
/// `outgoing`, which stands for the request that is forwarded.
pub(crate) fn decide(gatekeeper: &Gatekeeper, head: &Head, now: UnixTime, outgoing: &mut HeaderMap) -> Judgement {
    let judgement = gatekeeper.decide(&head.request(), now, Patience::MayWait);
    if let Decision::Pass(Some(identity)) = &judgement.decision {
        write_identity(identity, outgoing);
    }
    judgement
}

fn write_identity(identity: &Identity, outgoing: &mut HeaderMap) {
    const NAMES: [HeaderName; 3] = [
        HeaderName::from_static("x-user-id"),
        HeaderName::from_static("x-user-roles"),
        HeaderName::from_static("x-tenant"),
    ];
    for (position, value) in identity.headers() {
        if let Some(name) = NAMES.get(usize::from(*position)) {
            outgoing.insert(name.clone(), value.clone());
        }
    }
}

fn ruleset() -> Ruleset {
    let texts = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect::<Vec<Box<str>>>();
    let identity = |name: &str, source| IdentityHeader { name: name.into(), source, required: false };
    let tenant = ClaimPath::new(["organisation", "tenant"]).unwrap();
    let firewall = HeaderFirewall::new(FirewallNames {
        owned: &texts(&["X-User-ID", "X-User-Roles", "X-Tenant"]),
        token_headers: &texts(&["Authorization"]),
        strip: &texts(&["X-Internal-*"]),
        keep_known: false,
    });
    let mut conditions = Conditions::default();
    let routes = routes(&mut conditions);
    Ruleset {
        routes: RouteTable::new(routes, 1).unwrap(),
        issuers: issuers(),
        conditions,
        identity_headers: vec![
            identity("X-User-ID", HeaderValueSource::Subject),
            identity("X-User-Roles", HeaderValueSource::Roles),
            identity("X-Tenant", HeaderValueSource::Claim(tenant)),
        ],
        firewall,
        limits: RequestLimits {
            token_bytes: 8 << 10,
            header_bytes: 32 << 10,
            headers: 100,
            uri_bytes: 8 << 10,
            body_bytes: Some(10 << 20),
        },
        token_sources: vec![TokenSource::Authorization],
        realm: "portcullis".into(),
        resource_metadata: None,
        assertion: None,
    }
}

fn issuers() -> Vec<Issuer> {
    let issuer = |name: &str, identifier: &str, algorithms: Algorithms| Issuer {
        name: name.into(),
        identifier: identifier.into(),
        audiences: Audiences::AnyOf(vec!["https://api.example.com".into()]),
        audience_claim: "aud".into(),
        algorithms,
        leeway: Duration::from_secs(30),
        token_types: TokenTypes::new(["JWT", "at+jwt"], false),
        required_claims: vec!["sub".into()],
        max_lifetime: Some(Duration::from_secs(86_400)),
        subject: ClaimPath::top("sub"),
        roles: Some(ClaimPath::top("roles")),
        scopes: ScopesPlace::Usual,
        client: ClientPlace::Usual,
        requirement: Requirement::default(),
    };
    vec![
        issuer("partner", "https://login.partner.example", Algorithms::asymmetric()),
        issuer("main", "https://id.example.com/realms/main", Algorithms::asymmetric()),
        issuer("internal", "https://internal.example.com", [Algorithm::HS256].into_iter().collect()),
    ]
}

/// Twenty routes on four kinds of hosts.
fn routes(conditions: &mut Conditions) -> Vec<Route> {
    let api = [
        ("/v1/orders", Authentication::Required),
        ("/v1/orders/export", Authentication::Required),
        ("/v1/customers", Authentication::Required),
        ("/v1/payments", Authentication::Required),
        ("/v1/invoices", Authentication::Required),
        ("/v1/shipments", Authentication::Required),
        ("/v1/basket", Authentication::Optional),
        ("/v1/catalogue", Authentication::Public),
        ("/v1/catalogue/prices", Authentication::Optional),
        ("/v2/orders", Authentication::Required),
        ("/v2/customers", Authentication::Required),
    ];
    let api = api.map(|(path, authentication)| ("api.example.com", path, authentication));
    let others = [
        ("admin.example.com", "", Authentication::Required),
        ("admin.example.com", "/assets", Authentication::Public),
        ("admin.example.com", "/reports", Authentication::Required),
        ("shop.example.com", "", Authentication::Public),
        ("shop.example.com", "/account", Authentication::Required),
        ("shop.example.com", "/orders", Authentication::Required),
        (".tenants.example.com", "", Authentication::Required),
        (".tenants.example.com", "/public", Authentication::Public),
        ("", "/healthz", Authentication::Public),
    ];
    let mut routes: Vec<Route> =
        api.into_iter().chain(others).map(|(host, path, authentication)| route(host, path, authentication)).collect();
    let payments = routes.iter_mut().find(|route| route.path.text() == "/v1/payments").unwrap();
    payments.requirement = rules(payments.requirement.clone(), conditions);
    payments.observed = Some(payments.requirement.clone());
    let limits = [CountedBy::Address, CountedBy::Subject, CountedBy::Token];
    let limits = limits.map(|by| RateLimit { requests: 1_000_000, per: Duration::from_secs(1), burst: 1_000_000, by });
    let invoices = routes.iter_mut().find(|route| route.path.text() == "/v1/invoices").unwrap();
    invoices.rate_limits = RateLimits::new(limits);
    routes
}

/// Scopes and roles, an audience, a principal, and ten conditions on claims.
fn rules(requirement: Requirement, conditions: &mut Conditions) -> Requirement {
    let text = |text: &str| Box::from([Literal::Text(text.into())]);
    let claims = [
        (&["email"][..], ClaimTest::Suffix("@mail.example.com".into())),
        (&["email"], ClaimTest::Prefix("c".into())),
        (&["organisation", "plan"], ClaimTest::Is(text("gold"))),
        (&["organisation", "tenant"], ClaimTest::Prefix("acme-".into())),
        (&["organisation", "suspended"], ClaimTest::Exists(false)),
        (&["roles"], ClaimTest::Contains(text("beta"))),
        (&["roles"], ClaimTest::IsOrContains(text("customer"))),
        (&["client_id"], ClaimTest::IsOrContains(text("storefront"))),
        (&["jti"], ClaimTest::Exists(true)),
        (&["act"], ClaimTest::Exists(false)),
    ];
    let mut clause = |condition| conditions.clause(condition);
    Requirement {
        audience: Some(clause(Condition::Audience("orders".into()))),
        principal: Some(Principal::User),
        claims: claims
            .into_iter()
            .map(|(names, test)| {
                let place = ClaimPath::new(names.iter().copied()).unwrap();
                clause(Condition::Claim { place, test })
            })
            .collect(),
        ..requirement
    }
}

fn route(host: &str, path: &str, authentication: Authentication) -> Route {
    let requirement = Requirement {
        scopes: Some(Names::All(vec!["orders:read".into()])),
        roles: Some(Names::Any(vec!["staff".into(), "customer".into()])),
        ..Requirement::default()
    };
    Route {
        name: format!("{host}{path}").into(),
        listeners: vec![ListenerId(0)],
        hosts: vec![match host {
            "" => HostPattern::Any,
            _ if host.starts_with('.') => HostPattern::Below(host.into()),
            _ => HostPattern::Exact(host.into()),
        }],
        path: PathPattern::Prefix(path.into()),
        methods: None,
        readings: PathReadings::default(),
        authentication,
        issuers: vec![IssuerId(0), IssuerId(1), IssuerId(2)],
        requirement: if authentication == Authentication::Required { requirement } else { Requirement::default() },
        observed: None,
        observes_authentication: false,
        addresses: AddressRule::default(),
        token_sources: vec![TokenSource::Authorization],
        forward_token: false,
        cross_site: CrossSiteRule::default(),
        cors: None,
        action: Action::Forward(UpstreamId(0)),
        rewrite: Default::default(),
        request_headers: Default::default(),
        response_headers: Default::default(),
        timeout: None,
        body_limit: BodyLimit::Inherited,
        rate_limits: Default::default(),
        log: Default::default(),
        stream: StreamRule { end_with_token: true, idle_timeout: None, max_age: None },
    }
}
