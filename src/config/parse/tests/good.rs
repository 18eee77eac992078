//! What configurations that are right mean.
use std::time::Duration;

use super::*;
use crate::config::revocation_entry::RevocationEntry;
use crate::config::settings::{
    AccessFormat, Address, Balance, KeyLocation, KeySource, LogOutput, Rate, RevocationSource, StateDirectory,
};
use crate::gate::algorithm::{Algorithm, Algorithms};
use crate::gate::cors::{AllowedOrigins, Cors, CorsGrant};
use crate::gate::extraction::HeaderValueSource;
use crate::gate::firewall::Ownership;
use crate::gate::issuer::{Audiences, ClaimPath, ClientPlace, ScopesPlace};
use crate::gate::policy::Names;
use crate::gate::readings::EncodedSlash;
use crate::gate::route::{Action, Authentication, Folding, HostPattern, PathPattern, Route};
use crate::gate::sources::TokenSource;

const ROUTE: &str = "  - {name: orders, path_prefix: /orders, upstream: orders}";
const KEYS: &str = "keys: {jwks_file: keys.json}";

fn first_route(config: &Config) -> &Route {
    &config.live.ruleset.routes.routes()[0]
}

#[test]
#[expect(clippy::cognitive_complexity, reason = "one row after another")]
fn what_is_not_written_has_the_documented_default() {
    let config = config(&[]);
    let startup = &config.startup;
    assert_eq!(startup.admin.address, Some(Address::Tcp("127.0.0.1:9400".parse().unwrap())));
    assert!(startup.admin.read_token.is_none() && startup.admin.allowed_hosts.is_empty());
    assert_eq!((startup.server.threads, startup.server.grace_period), (None, Duration::from_secs(30)));
    assert_eq!(startup.server.state_directory, StateDirectory::Usual);
    assert_eq!((startup.log.access, &startup.log.output), (AccessFormat::Json, &LogOutput::Stdout));
    assert_eq!(startup.log.level, log::LevelFilter::Info);
    assert_eq!((startup.claims_cache.entries, startup.claims_cache.bytes), (50_000, 64 << 20));
    let clients = &startup.clients;
    assert_eq!((clients.timeouts.head, clients.timeouts.body), (Duration::from_secs(10), Duration::from_secs(30)));
    assert_eq!(clients.timeouts.keepalive, Duration::from_secs(60));
    assert_eq!((clients.connections.total, clients.connections.per_address), (10_000, None));
    assert_eq!(clients.failed_authentications, None);
    let ruleset = &config.live.ruleset;
    assert_eq!((ruleset.limits.token_bytes, ruleset.limits.header_bytes), (8192, 32768));
    assert_eq!((ruleset.limits.headers, ruleset.limits.uri_bytes, ruleset.limits.body_bytes), (100, 8192, None));
    assert_eq!((&*ruleset.realm, &ruleset.token_sources), ("api", &vec![TokenSource::Authorization]));
    assert!(!config.live.drop_underscore_headers);
    let issuer = &ruleset.issuers[0];
    assert_eq!((&*issuer.name, &*issuer.identifier, &*issuer.audience_claim), ("main", "https://a.test", "aud"));
    assert_eq!(issuer.audiences, Audiences::AnyOf(vec!["api".into()]));
    assert_eq!(issuer.algorithms, Algorithms::asymmetric());
    assert_eq!((issuer.leeway, issuer.max_lifetime), (Duration::from_secs(30), None));
    assert_eq!(issuer.required_claims, ["sub".into()]);
    assert_eq!((&issuer.subject, &issuer.roles), (&ClaimPath::top("sub"), &Some(ClaimPath::top("roles"))));
    assert_eq!((&issuer.scopes, &issuer.client), (&ScopesPlace::Usual, &ClientPlace::Usual));
    assert!(issuer.token_types.check(Some("AT+jwt")).is_ok() && issuer.token_types.check(None).is_ok());
    assert!(issuer.token_types.check(Some("dpop+jwt")).is_err());
    let upstream = &config.live.upstreams[0];
    assert_eq!((upstream.balance, upstream.retries, upstream.servers[0].weight), (Balance::RoundRobin, 1, 1));
    assert_eq!(upstream.timeouts.connect, Duration::from_secs(2));
    assert_eq!(upstream.timeouts.pool_idle, Duration::from_secs(90));
}

#[test]
fn a_route_that_says_little_is_for_all_listeners_and_hosts_and_needs_a_token() {
    let config = config(&[(
        r#"  - {name: web, address: "127.0.0.1:8080"}"#,
        "  - {address: \"127.0.0.1:${PORT}\"}\n  - {address: \"unix:run/web.sock\"}",
    )]);
    assert_eq!(&*config.startup.listeners[0].name, "127.0.0.1:8081");
    assert_eq!(config.startup.listeners[1].address, Address::Unix("/c/run/web.sock".into()));
    let route = first_route(&config);
    assert_eq!((route.listeners.len(), route.hosts.as_slice()), (2, &[HostPattern::Any][..]));
    assert_eq!((&route.path, &route.methods), (&PathPattern::Prefix("/orders".into()), &None));
    assert_eq!((route.authentication, route.issuers.len()), (Authentication::Required, 1));
    assert_eq!((route.timeout, route.forward_token), (Some(Duration::from_secs(30)), false));
    assert_eq!(route.token_sources, [TokenSource::Authorization]);
    assert!(matches!(route.action, Action::Forward(id) if id.0 == 0));
}

#[test]
#[expect(clippy::cognitive_complexity, reason = "one row after another")]
fn a_route_says_all_that_it_can_say() {
    let route = "
  - path: /a/b/
    hosts: [API.Example.com, '*.example.org']
    methods: [GET, PURGE]
    paths: {case: exact, trailing_slash: exact, encoded_slash: opaque}
    auth: optional
    require: {scopes: [a, b], roles: {any: [x]}}
    token: {sources: [{query: access_token}, {header: X-Token}], forward: true}
    rewrite: {strip_prefix: /a, add_prefix: /v1, host: 'orders:8080'}
    request_headers: {set: {X-Env: prod, X-Api-Key: {file: hmac.key}}, remove: [X-Debug]}
    response_headers: {set: {X-Frame-Options: DENY}, remove: [Server]}
    timeout: none
    upstream: orders
";
    let config = config(&[(ROUTE, route)]);
    let route = first_route(&config);
    assert_eq!(&*route.name, "api.example.com/a/b/");
    assert_eq!(route.hosts, [HostPattern::Exact("api.example.com".into()), HostPattern::Below(".example.org".into())]);
    assert_eq!(route.path, PathPattern::Exact("/a/b/".into()));
    assert_eq!(route.methods, Some(vec!["GET".into(), "PURGE".into()]));
    assert_eq!((route.readings.case, route.readings.trailing_slash), (Folding::Exact, Folding::Exact));
    assert_eq!(route.readings.encoded_slash, EncodedSlash::Opaque);
    assert_eq!(route.authentication, Authentication::Optional);
    assert_eq!(route.requirement.scopes, Some(Names::All(vec!["a".into(), "b".into()])));
    assert_eq!(route.requirement.roles, Some(Names::Any(vec!["x".into()])));
    assert_eq!(route.token_sources.len(), 2);
    assert_eq!(config.live.ruleset.token_sources.len(), 3, "of all routes, and of the document");
    assert!(route.forward_token && route.timeout.is_none());
    assert_eq!(route.rewrite.strip_prefix.as_deref(), Some("/a"));
    assert_eq!(route.rewrite.add_prefix.as_deref(), Some("/v1"));
    assert_eq!(route.rewrite.host.as_deref(), Some("orders:8080"));
    let (name, value) = &route.request_headers.set[1];
    assert_eq!((&**name, value.len(), value.is_sensitive()), ("X-Api-Key", 48, true));
    assert_eq!(route.request_headers.remove, ["x-debug"]);
    assert_eq!(&*route.response_headers.set[0].0, "X-Frame-Options");
    let document = config.live.document.to_string();
    assert!(document.contains("hmac.key") && !document.contains("0123456789"), "{document}");
    assert!(!format!("{config:?}").contains("0123456789"));
    assert_eq!(config.live.ruleset.firewall.ownership("X-Token"), Ownership::Plain);
    assert_eq!(config.live.ruleset.firewall.ownership("X_Token"), Ownership::Owned);
}

#[test]
fn a_token_may_come_in_a_protocol_of_a_websocket_whose_field_nobody_sets_then() {
    let route = "
  - {path: /a, token: {sources: [{websocket_protocol: bearer}, {websocket_protocol: bearers}]}, upstream: orders}
";
    let config = config(&[(ROUTE, route)]);
    let word = |word: &str| TokenSource::WebSocketProtocol(word.into());
    assert_eq!(first_route(&config).token_sources, [word("bearer"), word("bearers")]);
    let firewall = &config.live.ruleset.firewall;
    assert_eq!(firewall.ownership("sec-websocket-protocol"), Ownership::Plain);
    assert_eq!(firewall.ownership("sec_websocket_protocol"), Ownership::Owned);
}

#[test]
fn a_route_for_browsers_says_whose_pages_may_do_what() {
    let route = "
  - path: /a
    token: {sources: [{cookie: __Host-s}, {cookie: __Secure-s}, {cookie: s, insecure_cookie_name: true}]}
    csrf: {origins: ['https://b.test', 'app://local']}
    cors: {origins: ['https://a.test', 'http://localhost:3000'], methods: [GET], headers: [X-A], expose: [ETag], credentials: true, max_age: 10m}
    upstream: orders
";
    let config = config(&[(ROUTE, route)]);
    let route = first_route(&config);
    let cookie = |name: &str| TokenSource::Cookie(name.into());
    assert_eq!(route.token_sources, [cookie("__Host-s"), cookie("__Secure-s"), cookie("s")]);
    let csrf: Vec<&str> = route.cross_site.origins().iter().map(AsRef::as_ref).collect();
    assert_eq!(csrf, ["https://b.test", "app://local", "https://a.test", "http://localhost:3000"]);
    let Some(Cors::Gate(rule)) = &route.cors else { panic!("the gate's own rule") };
    let expected = CorsGrant {
        origins: AllowedOrigins::Listed(vec!["https://a.test".into(), "http://localhost:3000".into()]),
        methods: Some(vec!["GET".into()]),
        headers: vec!["X-A".into()],
        expose: vec!["ETag".into()],
        credentials: true,
        max_age: Some(Duration::from_secs(600)),
    };
    assert_eq!(rule.grant(), &expected);
}

#[test]
fn every_origin_may_read_is_not_every_origin_may_act() {
    let route =
        "  - {path: /a, token: {sources: [{cookie: __Host-s}]}, csrf: {}, cors: {origins: ['*']}, upstream: orders}";
    let config = config(&[(ROUTE, route)]);
    let route = first_route(&config);
    assert!(route.cross_site.origins().is_empty());
    let Some(Cors::Gate(rule)) = &route.cors else { panic!("the gate's own rule") };
    let grant = rule.grant();
    assert_eq!((&grant.origins, &grant.methods, grant.credentials), (&AllowedOrigins::Any, &None, false));
    assert!(grant.headers.is_empty() && grant.expose.is_empty() && grant.max_age.is_none());
}

#[test]
fn a_prefix_of_everything_is_the_empty_text() {
    let config = config(&[("path_prefix: /orders", "path_prefix: /")]);
    assert_eq!(first_route(&config).path, PathPattern::Prefix("".into()));
}

#[test]
fn the_subject_of_another_place_is_the_claim_that_must_be_there() {
    let config = config(&[("roles: roles", "subject: [user, id]\n    client: azp\n    scopes: [a, b]")]);
    let issuer = &config.live.ruleset.issuers[0];
    assert_eq!(issuer.required_claims, ["user".into()]);
    assert_eq!(issuer.subject.names().len(), 2);
    assert_eq!(issuer.client, ClientPlace::Claim(ClaimPath::top("azp")));
    assert!(matches!(&issuer.scopes, ScopesPlace::Claim(place) if place.names().len() == 2));
}

#[test]
fn identity_headers_have_a_long_form_and_short_ones() {
    let headers = "headers: {X-User-ID: {from: subject, required: true}, X-A: email, X-B: [org, tenant], X-C: {claim: [a, b]}, X-I: {from: issuer}}\n  strip: [X-Internal-*, X-Old]\n  insecure_keep_known_identity_headers: true";
    let config = config(&[("headers: {X-User-ID: {from: subject}}", headers)]);
    let ruleset = &config.live.ruleset;
    let found: Vec<(&str, bool)> = ruleset.identity_headers.iter().map(|h| (&*h.name, h.required)).collect();
    assert_eq!(found, [("X-User-ID", true), ("X-A", false), ("X-B", false), ("X-C", false), ("X-I", false)]);
    assert_eq!(ruleset.identity_headers[1].source, HeaderValueSource::Claim(ClaimPath::top("email")));
    assert_eq!(ruleset.identity_headers[4].source, HeaderValueSource::Issuer);
    for (name, ownership) in [
        ("x_user.id", Ownership::Owned),
        ("X-Internal-Anything", Ownership::Owned),
        ("x_old", Ownership::Owned),
        ("X-Auth-Request-User", Ownership::Free),
        ("X-Forwarded-For", Ownership::Owned),
    ] {
        assert_eq!(ruleset.firewall.ownership(name), ownership, "{name}");
    }
}

#[test]
fn keys_come_from_one_source() {
    let algorithms = |config: &Config| config.live.ruleset.issuers[0].algorithms;
    let of = |keys: &str| config(&[(KEYS, keys)]);
    let ec = of("keys: {public_key_file: ec.pem}");
    assert!(matches!(&ec.live.keys[0].source, KeySource::Fixed(set) if set.keys().len() == 1));
    let rsa = of("keys: {public_key_file: rsa.pem}\n    algorithms: [PS256, PS384]");
    assert_eq!(algorithms(&rsa), [Algorithm::PS256, Algorithm::PS384].into_iter().collect());
    // 48 bytes are enough for these two.
    let secret = of("keys: {secret_file: hmac.key}\n    required_for_readiness: true");
    assert_eq!(algorithms(&secret), [Algorithm::HS256, Algorithm::HS384].into_iter().collect());
    assert!(secret.live.keys[0].required_for_readiness);
    let remote = of("keys: {jwks_url: 'https://a.test:8443/k?x=y', refresh: 5m, ca_file: ca.pem}"
        .replace(", ca_file: ca.pem", "")
        .as_str());
    let KeySource::Remote(remote) = &remote.live.keys[0].source else { panic!("a remote source") };
    assert_eq!(remote.location, KeyLocation::Url("https://a.test:8443/k?x=y".to_owned()));
    assert!(!remote.insecure_http);
    assert_eq!((remote.refresh, remote.cooldown), (Duration::from_secs(300), Duration::from_secs(10)));
    assert_eq!((remote.max_stale, remote.timeout), (Duration::from_secs(86_400), Duration::from_secs(5)));
    let discovered = of("keys: {discovery: true, timeout: 2s}");
    let KeySource::Remote(remote) = &discovered.live.keys[0].source else { panic!("a remote source") };
    assert_eq!((&remote.location, remote.timeout), (&KeyLocation::Discovery, Duration::from_secs(2)));
    let file = of("keys: {jwks_file: keys.json}");
    let KeySource::File(file) = &file.live.keys[0].source else { panic!("a file") };
    assert_eq!(file.path, Path::new("/c/keys.json"));
}

#[test]
fn a_credential_is_a_file_of_the_directory_of_credentials() {
    let text = changed(&[(KEYS, "keys: {secret_file: 'credential:hmac'}")]);
    let world = world().variable("CREDENTIALS_DIRECTORY", "/run/credentials");
    let loaded = load_in(&text, &world, Secrets::Read);
    let issuer = &loaded.config.expect("a configuration").live.ruleset.issuers[0];
    assert!(issuer.algorithms.contains(Algorithm::HS512));
}

#[test]
fn without_secrets_only_secrets_are_not_read_and_they_are_named() {
    let text = changed(&[
        (KEYS, "keys: {secret_file: 'credential:hmac'}"),
        ("routes:", "admin: {read_token_file: absent.token}\nroutes:"),
        ("upstream: orders}", "upstream: orders, request_headers: {set: {X-Key: {file: absent.key}}}}"),
    ]);
    let loaded = load_in(&text, &world(), Secrets::Skip);
    let config = loaded.config.expect("a configuration");
    assert!(matches!(config.live.keys[0].source, KeySource::Unread));
    assert!(config.startup.admin.read_token.is_none());
    let named: Vec<(&str, &str)> = loaded.skipped.iter().map(|s| (s.path.as_str(), s.written.as_str())).collect();
    assert_eq!(
        named,
        [
            ("admin.read_token_file", "absent.token"),
            ("issuers.main.keys.secret_file", "credential:hmac"),
            ("routes[0].request_headers.set.X-Key.file", "absent.key"),
        ]
    );
    let loaded = load_in(&changed(&[("keys.json", "absent.json")]), &world(), Secrets::Skip);
    assert!(loaded.problems.has_errors() && loaded.skipped.is_empty());
}

#[test]
fn off_none_and_false_are_one() {
    for word in ["off", "none", "false"] {
        let more =
            format!("admin: {{address: {word}}}\nlog: {{access: {word}}}\nlimits: {{body_bytes: {word}}}\nroutes:");
        let config = config(&[("routes:", &more), ("upstream: orders}", &format!("upstream: orders, auth: {word}}}"))]);
        assert_eq!((config.startup.admin.address, config.startup.log.access), (None, AccessFormat::Off), "{word}");
        assert_eq!(config.live.ruleset.limits.body_bytes, None);
        assert_eq!(config.live.ruleset.routes.routes()[0].authentication, Authentication::Public);
    }
}

#[test]
fn limits_mean_what_they_say_for_all_routes_and_for_one() {
    let all = "limits: {body_bytes: 1KiB, header_timeout: 250ms, connections: 5, connections_per_address: 2,\n  \
        failed_authentications: {requests: 3, per: 1m}}\nroutes:";
    let clients = config(&[("routes:", all)]).startup.clients;
    assert_eq!((clients.timeouts.head, clients.connections.total), (Duration::from_millis(250), 5));
    assert_eq!(clients.connections.per_address, Some(2));
    assert_eq!(clients.failed_authentications, Some(Rate { events: 3, period: Duration::from_secs(60) }));
    for (written, expected) in [
        ("", Some(1024)),
        (", limits: {}", Some(1024)),
        (", limits: {body_bytes: 2KiB}", Some(2048)),
        (", limits: {body_bytes: none}", None),
    ] {
        let config = config(&[("routes:", all), ("upstream: orders}", &format!("upstream: orders{written}}}"))]);
        assert_eq!(config.live.ruleset.body_bytes_max(first_route(&config)), expected, "{written:?}");
    }
}

#[test]
fn several_issuers_need_a_header_that_tells_them_apart_or_a_promise() {
    let both = "upstream: orders, issuers: [main, second]}";
    let told = [
        ("identity:", SECOND),
        ("{from: subject}}", "{from: subject}, X-Issuer: {from: issuer}}"),
        ("upstream: orders}", both),
    ];
    assert_eq!(first_route(&config(&told)).issuers.len(), 2);
    let promised = format!("{} insecure_merged_subjects: true}}", both.replace('}', ","));
    let config = config(&[("identity:", SECOND), ("upstream: orders}", &promised)]);
    assert_eq!(first_route(&config).issuers.len(), 2);
}

#[test]
fn what_is_weaker_than_it_could_be_is_said() {
    let text = changed(&[
        (
            "keys: {jwks_file: keys.json}",
            "keys: {jwks_url: 'http://a.test/k', insecure_http: true, refresh: 1h, max_stale: 10m}",
        ),
        ("audiences: [api]", "insecure_any_audience: true"),
        ("    roles: roles\n", ""),
        ("{from: subject}}", "{from: subject}, X-Roles: {from: roles}}\n  insecure_keep_known_identity_headers: true"),
        ("identity:", "  files: {issuer: b, audiences: [a], keys: {jwks_file: mixed.json}}\nidentity:"),
        (
            ROUTE,
            "  - {path: /a, auth: none, respond: {status: 204}}\n  - {path: /b, auth: optional, issuers: [main], require: {scopes: [a]}, upstream: remote}\n  - {path: /c, issuers: [main], token: {sources: [{cookie: s, insecure_cookie_name: true}]}, csrf: {origins: ['http://a.test']}, upstream: remote}\n  - {path: /d, issuers: [main], csrf: {}, cors: {origins: ['http://a.test']}, upstream: remote}",
        ),
        ("upstreams:", "upstreams:\n  remote: {servers: ['10.0.0.1:80', 'orders.example.com:80', '192.0.2.1:80']}"),
    ]);
    let loaded = load(&text);
    assert!(loaded.config.is_some(), "{}", loaded.problems.render());
    insta::assert_snapshot!("warnings", loaded.problems.render());
}

#[test]
fn the_document_is_shown_as_written_without_what_may_be_secret() {
    let text = changed(&[
        ("listeners:", "x-secret: &s hunter3\nlisteners:"),
        ("upstream: orders}", "upstream: orders, request_headers: {set: {X-Api-Token: *s, X-Env: '${HIDDEN}'}}}"),
        ("routes:", "route_defaults: {response_headers: {set: {X-Secret: *s, X-Env: prod}}}\nroutes:"),
    ]);
    let document = load(&text).config.expect("a configuration").live.document;
    let shown = document.to_string();
    assert!(!shown.contains("hunter"), "{shown}");
    assert_eq!(document["routes"][0]["request_headers"]["set"]["X-Env"], "${HIDDEN}");
    assert_eq!(document["routes"][0]["request_headers"]["set"]["X-Api-Token"], "[redacted]");
    assert_eq!(document["route_defaults"]["response_headers"]["set"]["X-Secret"], "[redacted]");
    assert_eq!(document["route_defaults"]["response_headers"]["set"]["X-Env"], "prod");
    assert_eq!(document["upstreams"]["orders"]["servers"][0], "127.0.0.1:9000");
}

#[test]
fn a_configuration_that_cannot_be_read_is_an_error_with_its_name() {
    let loaded = crate::config::load::load(Path::new("/c/absent.yaml"), &world(), Secrets::Read);
    assert_eq!(loaded.problems.render(), "/c/absent.yaml: cannot read the configuration: no such file\n");
    let world = world().file("/c/portcullis.yaml", BASE.as_bytes());
    let loaded = crate::config::load::load(Path::new("/c/portcullis.yaml"), &world, Secrets::Read);
    assert!(loaded.config.is_some(), "{}", loaded.problems.render());
}

#[test]
fn revocations_come_from_a_file_or_a_url() {
    let source = |text: &str| config(&[("routes:", &format!("revocation: {text}\nroutes:"))]).live.revocation;
    let Some(RevocationSource::File(file)) = source("{file: revoked.yaml}") else { panic!("a file") };
    assert_eq!(file.path, Path::new("/c/revoked.yaml"));
    let entries: Vec<RevocationEntry> = file.entries.iter().map(RevocationEntry::from).collect();
    let text = |text: &str| Some(text.to_owned());
    let first = RevocationEntry { sub: text("u1"), note: text("left"), ..RevocationEntry::default() };
    let second = RevocationEntry {
        sid: text("s1"),
        issuer: text("main"),
        until: text("2030-01-01T00:00:00Z"),
        ..RevocationEntry::default()
    };
    assert_eq!(entries, [first, second]);
    let Some(RevocationSource::File(file)) = source("{file: none-revoked.yaml}") else { panic!("a file") };
    assert!(file.entries.is_empty());
    let Some(RevocationSource::Remote(remote)) = source("{url: \"https://a.test/r\"}") else { panic!("a URL") };
    assert_eq!((remote.url.as_str(), remote.insecure_http), ("https://a.test/r", false));
    assert_eq!((remote.refresh.as_secs(), remote.timeout.as_secs()), (30, 5));
}
