//! Every key of the table: that its value is another one is told.
use std::path::Path;

use serde_json::{Value, json};

use super::compare;
use crate::config::keys::{top, walk};
use crate::config::load::{Secrets, load_text};
use crate::config::settings::Config;
use crate::config::surroundings::given::Given;

/// A key, what must stand elsewhere (places and values in JSON, `;` between them), its value before and after in JSON;
/// `null` where it is not there. A route's rows are those of `route_defaults` too.
type Row = (&'static str, &'static str, &'static str, &'static str);

/// A key that ends so has the row, wherever it stands.
const ANYWHERE: &[Row] = &[
    ("require.scopes", "", r#"["a"]"#, r#"["b"]"#),
    ("require.scopes.any", "", r#"["a"]"#, r#"["a", "b"]"#),
    ("require.roles", "", r#"["a"]"#, r#"["b"]"#),
    ("require.roles.any", "", r#"["a"]"#, r#"["a", "b"]"#),
    ("require.claims", "", r#"{"a": 1}"#, r#"{"a": 2}"#),
    ("require.claims.[].claim", "PARENT.exists true", r#""a""#, r#"["a", "b"]"#),
    ("require.claims.[].equals", "PARENT.claim \"a\"", "1", "2"),
    ("require.claims.[].in", "PARENT.claim \"a\"", "[1]", "[1, 2]"),
    ("require.claims.[].contains", "PARENT.claim \"a\"", "1", "2"),
    ("require.claims.[].contains_any", "PARENT.claim \"a\"", "[1]", "[1, 2]"),
    ("require.claims.[].exists", "PARENT.claim \"a\"", "true", "false"),
    ("require.claims.[].prefix", "PARENT.claim \"a\"", r#""x""#, r#""y""#),
    ("require.claims.[].suffix", "PARENT.claim \"a\"", r#""x""#, r#""y""#),
    ("require.audience", "", r#""a""#, r#""b""#),
    ("require.principal", "", r#""user""#, r#""client""#),
    ("require.acr", "", r#"["gold"]"#, r#"["gold", "silver"]"#),
    ("require.max_age", "", r#""1m""#, r#""2m""#),
    ("token.sources", "", "null", r#"[{"header": "X-Token"}]"#),
    ("token.sources.[].header", "", r#""Authorization""#, r#""X-Token""#),
    ("token.sources.[].query", "", r#""t""#, r#""u""#),
    ("token.sources.[].cookie", r#"routes.[].csrf {}"#, r#""__Host-a""#, r#""__Host-b""#),
    ("token.sources.[].insecure_cookie_name", r#"PARENT.cookie "__Host-a"; routes.[].csrf {}"#, "false", "true"),
    ("token.sources.[].websocket_protocol", "", r#""a""#, r#""b""#),
    ("token.forward", "", "null", "true"),
];

const ROWS: &[Row] = &[
    ("listeners", "", r#"[{"address": "127.0.0.1:1"}]"#, r#"[{"address": "127.0.0.1:1"}, {"address": "127.0.0.1:2"}]"#),
    ("listeners.[].name", "", r#""web""#, r#""wide""#),
    ("listeners.[].address", "", r#""127.0.0.1:8080""#, r#""0.0.0.0:8080""#),
    (
        "listeners.[].tls",
        "",
        "null",
        r#"{"certificates": [{"certificate_file": "server.pem", "private_key_file": "server.key"}]}"#,
    ),
    (
        "listeners.[].tls.certificates",
        "",
        r#"[{"certificate_file": "server.pem", "private_key_file": "server.key"}]"#,
        r#"[{"certificate_file": "server-copy.pem", "private_key_file": "server-copy.key"}]"#,
    ),
    (
        "listeners.[].tls.certificates.[].certificate_file",
        r#"PARENT.private_key_file "server.key""#,
        r#""server.pem""#,
        r#""server-copy.pem""#,
    ),
    (
        "listeners.[].tls.certificates.[].private_key_file",
        r#"PARENT.certificate_file "server.pem""#,
        r#""server.key""#,
        r#""server-copy.key""#,
    ),
    (
        "listeners.[].tls.client_ca_file",
        r#"PARENT.certificates [{"certificate_file": "server.pem", "private_key_file": "server.key"}]"#,
        r#""client.pem""#,
        r#""copy.pem""#,
    ),
    (
        "listeners.[].tls.client_certificate",
        r#"PARENT.certificates [{"certificate_file": "server.pem", "private_key_file": "server.key"}]; PARENT.client_ca_file "client.pem""#,
        r#""optional""#,
        r#""required""#,
    ),
    ("listeners.[].http2", "", "false", "true"),
    ("listeners.[].proxy_protocol", r#"trusted_proxies ["10.0.0.0/8"]"#, "false", "true"),
    ("listeners.[].redirect", "", "null", r#""https""#),
    ("listeners.[].redirect_port", r#"listeners.[].redirect "https""#, "443", "8443"),
    ("admin", "", "null", r#"{"address": "off"}"#),
    ("admin.address", "", r#""127.0.0.1:9400""#, r#""off""#),
    ("admin.read_token_file", "", "null", r#""token""#),
    ("admin.write_token_file", "", r#""token""#, r#""copy.token""#),
    ("admin.allowed_hosts", "", r#"["a.test"]"#, r#"["a.test", "b.test"]"#),
    ("server", "", "null", r#"{"threads": 3}"#),
    ("server.threads", "", "1", "2"),
    ("server.grace_period", "", r#""30s""#, r#""20s""#),
    ("server.drain_delay", "", r#""0s""#, r#""2s""#),
    ("server.state_directory", "", "null", r#""none""#),
    ("server.upgrade_socket", "", "null", r#""/run/p/upgrade.sock""#),
    ("server.reload", "", r#""on_request""#, r#""watch""#),
    ("trusted_proxies", "", "[]", r#"["unix"]"#),
    ("limits", "", "null", r#"{"headers": 3}"#),
    ("limits.token_bytes", "", r#""8KiB""#, r#""9KiB""#),
    ("limits.header_bytes", "", r#""32KiB""#, r#""33KiB""#),
    ("limits.headers", "", "100", "101"),
    ("limits.uri_bytes", "", r#""8KiB""#, r#""9KiB""#),
    ("limits.body_bytes", "", r#""none""#, r#""1KiB""#),
    ("limits.header_timeout", "", r#""10s""#, r#""11s""#),
    ("limits.body_timeout", "", r#""30s""#, r#""31s""#),
    ("limits.keepalive_timeout", "", r#""60s""#, r#""61s""#),
    ("limits.connections", "", "10000", "10001"),
    ("limits.connections_per_address", "", r#""none""#, "10"),
    ("limits.failed_authentications", "", r#""none""#, r#"{"requests": 1, "per": "1s"}"#),
    ("limits.failed_authentications.requests", r#"PARENT.per "1s""#, "1", "2"),
    ("limits.failed_authentications.per", "PARENT.requests 1", r#""1s""#, r#""2s""#),
    ("issuers", "", MAIN, RENAMED),
    ("issuers.*.issuer", "", r#""https://a.test""#, r#""https://b.test""#),
    ("issuers.*.audiences", "", r#"["api"]"#, r#"["api", "b"]"#),
    ("issuers.*.insecure_any_audience", "issuers.*.audiences null", "true", "MISSING"),
    ("issuers.*.audience_claim", "", r#""aud""#, r#""resource""#),
    ("issuers.*.algorithms", "", r#"["ES256"]"#, r#"["ES256", "EdDSA"]"#),
    ("issuers.*.keys", "", r#"{"jwks_file": "keys.json"}"#, r#"{"discovery": true}"#),
    ("issuers.*.keys.jwks_url", "PARENT.jwks_file null", r#""https://a.test/a""#, r#""https://a.test/b""#),
    ("issuers.*.keys.discovery", "PARENT.jwks_file null", "true", "MISSING"),
    ("issuers.*.keys.jwks_file", "", r#""keys.json""#, r#""copy.json""#),
    ("issuers.*.keys.public_key_file", "PARENT.jwks_file null", r#""ec.pem""#, r#""server.pem""#),
    ("issuers.*.keys.secret_file", "PARENT.jwks_file null", r#""hmac.key""#, r#""copy.key""#),
    ("issuers.*.keys.refresh", "PARENT.jwks_file null; PARENT.discovery true", r#""10m""#, r#""11m""#),
    ("issuers.*.keys.cooldown", "PARENT.jwks_file null; PARENT.discovery true", r#""10s""#, r#""11s""#),
    ("issuers.*.keys.max_stale", "PARENT.jwks_file null; PARENT.discovery true", r#""24h""#, r#""25h""#),
    ("issuers.*.keys.timeout", "PARENT.jwks_file null; PARENT.discovery true", r#""5s""#, r#""6s""#),
    ("issuers.*.keys.ca_file", "PARENT.jwks_file null; PARENT.discovery true", "null", r#""client.pem""#),
    ("issuers.*.keys.insecure_http", "PARENT.jwks_file null; PARENT.discovery true", "false", "true"),
    ("issuers.*.required_for_readiness", "", "false", "true"),
    ("issuers.*.leeway", "", r#""30s""#, r#""31s""#),
    ("issuers.*.token_types", "", r#"["JWT"]"#, r#"["JWT", "x"]"#),
    ("issuers.*.require_token_type", "", "false", "true"),
    ("issuers.*.required_claims", "", r#"["sub"]"#, r#"["sub", "jti"]"#),
    ("issuers.*.max_lifetime", "", r#""none""#, r#""1h""#),
    ("issuers.*.subject", "", r#""sub""#, r#"["a", "b"]"#),
    ("issuers.*.roles", "", r#""roles""#, r#""groups""#),
    ("issuers.*.scopes", "", "null", r#""scp""#),
    ("issuers.*.client", "", "null", r#""azp""#),
    ("issuers.*.require", "", "null", r#"{"scopes": ["a"]}"#),
    ("token", "", "null", r#"{"forward": true}"#),
    ("token.realm", "", r#""api""#, r#""b""#),
    ("resource", "", "null", r#"{"identifier": "https://api.test"}"#),
    ("resource.identifier", "", r#""https://api.test""#, r#""https://api.test/b""#),
    ("underscore_headers", "", r#""keep""#, r#""drop""#),
    ("identity", "", "null", r#"{"strip": ["X-A"]}"#),
    ("identity.headers", "", r#"{"X-A": "sub"}"#, r#"{"X-B": "sub"}"#),
    ("identity.headers.*.from", "", r#""subject""#, r#""client""#),
    ("identity.headers.*.claim", "identity.headers.*.from null", r#""a""#, r#""b""#),
    ("identity.headers.*.required", "", "false", "true"),
    ("identity.strip", "", "[]", r#"["X-A"]"#),
    ("identity.insecure_keep_known_identity_headers", "", "false", "true"),
    ("identity.assertion", "", "null", r#"{"issuer": "https://gate.test"}"#),
    ("identity.assertion.header", "PARENT.issuer \"g\"", r#""X-A""#, r#""X-B""#),
    ("identity.assertion.lifetime", "PARENT.issuer \"g\"", r#""60s""#, r#""61s""#),
    ("identity.assertion.algorithm", "PARENT.issuer \"g\"", r#""EdDSA""#, r#""ES256""#),
    ("identity.assertion.issuer", "", r#""g""#, r#""h""#),
    ("identity.assertion.private_key_file", "PARENT.issuer \"g\"", r#""client.key""#, r#""copy.key""#),
    ("identity.assertion.published_key_files", "PARENT.issuer \"g\"", "[]", r#"["ec.pem"]"#),
    ("identity.assertion.publish", "PARENT.issuer \"g\"", "false", "true"),
    ("route_defaults", "", "null", r#"{"auth": "optional"}"#),
    ("routes", "", r#"[{"path_prefix": "/a", "upstream": "up"}]"#, r#"[{"path_prefix": "/b", "upstream": "up"}]"#),
    ("routes.[].name", "", r#""orders""#, r#""others""#),
    ("routes.[].listeners", "", r#"["web"]"#, r#"["inner"]"#),
    ("routes.[].hosts", "", r#"["a.test"]"#, r#"["b.test"]"#),
    ("routes.[].path_prefix", "", r#""/orders""#, r#""/others""#),
    ("routes.[].path", "routes.[].path_prefix null", r#""/a""#, r#""/b""#),
    ("routes.[].methods", "", r#"["GET"]"#, r#"["GET", "PUT"]"#),
    ("routes.[].paths", "", "null", r#"{"case": "exact"}"#),
    ("routes.[].paths.case", "", r#""fold""#, r#""exact""#),
    ("routes.[].paths.trailing_slash", "", r#""fold""#, r#""exact""#),
    ("routes.[].paths.encoded_slash", "", r#""refuse""#, r#""opaque""#),
    ("routes.[].auth", "", r#""required""#, r#""optional""#),
    ("routes.[].issuers", BOTH, r#"["main"]"#, r#"["more"]"#),
    ("routes.[].require", "", "null", r#"{"scopes": ["a"]}"#),
    ("routes.[].observe", "", "null", r#"{"require": {"scopes": ["a"]}}"#),
    ("routes.[].observe.require", "", r#"{"scopes": ["a"]}"#, r#"{"scopes": ["b"]}"#),
    ("routes.[].insecure_observe_authentication", "", "false", "true"),
    ("routes.[].addresses", "", "null", r#"{"deny": ["10.0.0.0/8"]}"#),
    ("routes.[].addresses.allow", "", r#"["10.0.0.0/8"]"#, r#"["10.0.0.0/9"]"#),
    ("routes.[].addresses.deny", "", r#"["10.0.0.0/8"]"#, r#"["10.0.0.0/9"]"#),
    ("routes.[].rate_limit", "", "null", r#"{"requests": 1, "per": "1s", "by": "address"}"#),
    ("routes.[].rate_limit.requests", r#"PARENT {"per": "1s", "by": "address"}"#, "1", "2"),
    ("routes.[].rate_limit.per", r#"PARENT {"requests": 1, "by": "address"}"#, r#""1s""#, r#""2s""#),
    ("routes.[].rate_limit.burst", r#"PARENT {"requests": 1, "per": "1s", "by": "address"}"#, "1", "2"),
    ("routes.[].rate_limit.by", r#"PARENT {"requests": 1, "per": "1s"}"#, r#""address""#, r#""subject""#),
    ("routes.[].rate_limit.[].requests", r#"PARENT {"per": "1s", "by": "address"}"#, "1", "2"),
    ("routes.[].rate_limit.[].per", r#"PARENT {"requests": 1, "by": "address"}"#, r#""1s""#, r#""2s""#),
    ("routes.[].rate_limit.[].burst", r#"PARENT {"requests": 1, "per": "1s", "by": "address"}"#, "1", "2"),
    ("routes.[].rate_limit.[].by", r#"PARENT {"requests": 1, "per": "1s"}"#, r#""address""#, r#""subject""#),
    ("routes.[].csrf", COOKIE, "{}", r#"{"origins": ["https://a.test"]}"#),
    ("routes.[].csrf.origins", COOKIE, "[]", r#"["https://a.test"]"#),
    ("routes.[].cors", "", "null", r#""upstream""#),
    ("routes.[].cors.origins", "", r#"["https://a.test"]"#, r#"["*"]"#),
    ("routes.[].cors.methods", CORS, r#"["GET"]"#, r#"["GET", "PUT"]"#),
    ("routes.[].cors.headers", CORS, "[]", r#"["X-A"]"#),
    ("routes.[].cors.expose", CORS, "[]", r#"["X-A"]"#),
    ("routes.[].cors.credentials", CORS, "false", "true"),
    ("routes.[].cors.max_age", CORS, "null", r#""1m""#),
    ("routes.[].token", "", "null", r#"{"forward": true}"#),
    ("routes.[].rewrite", "", "null", r#"{"add_prefix": "/v1"}"#),
    ("routes.[].rewrite.strip_prefix", "", "null", r#""/orders""#),
    ("routes.[].rewrite.add_prefix", "", r#""/a""#, r#""/b""#),
    ("routes.[].rewrite.host", "", r#""a.test""#, r#""b.test""#),
    ("routes.[].request_headers", "", "null", r#"{"remove": ["X-A"]}"#),
    ("routes.[].request_headers.set", "", r#"{"X-A": "1"}"#, r#"{"X-A": "2"}"#),
    ("routes.[].request_headers.set.*.file", "", r#""text""#, r#""other""#),
    ("routes.[].request_headers.remove", "", "[]", r#"["X-A"]"#),
    ("routes.[].response_headers", "", "null", r#"{"remove": ["X-A"]}"#),
    ("routes.[].response_headers.set", "", r#"{"X-A": "1"}"#, r#"{"X-A": "2"}"#),
    ("routes.[].response_headers.set.*.file", "", r#""text""#, r#""other""#),
    ("routes.[].response_headers.remove", "", "[]", r#"["X-A"]"#),
    ("routes.[].limits", "", "null", r#"{"body_bytes": "1KiB"}"#),
    ("routes.[].limits.body_bytes", "", r#""1KiB""#, r#""none""#),
    ("routes.[].timeout", "", r#""30s""#, r#""31s""#),
    ("routes.[].stream", "", "null", r#"{"end_with_token": false}"#),
    ("routes.[].stream.end_with_token", "", "true", "false"),
    ("routes.[].stream.idle_timeout", "", r#""1h""#, r#""2h""#),
    ("routes.[].stream.max_age", "", r#""none""#, r#""2h""#),
    ("routes.[].log", "", r#""on""#, r#""off""#),
    ("routes.[].upstream", "", r#""up""#, r#""other""#),
    ("routes.[].respond", "routes.[].upstream null", r#"{"status": 200}"#, r#"{"status": 204}"#),
    ("routes.[].respond.status", "routes.[].upstream null", "200", "204"),
    ("routes.[].respond.body", "routes.[].upstream null; PARENT.status 200", r#""a""#, r#""b""#),
    ("routes.[].insecure_merged_subjects", BOTH_MERGED, "false", "true"),
    ("upstreams", "", UP, OTHER_UP),
    ("upstreams.*.servers", "", r#"["127.0.0.1:1"]"#, r#"["127.0.0.1:2"]"#),
    ("upstreams.*.servers.[].address", "", r#""127.0.0.1:1""#, r#""127.0.0.1:2""#),
    ("upstreams.*.servers.[].weight", r#"PARENT.address "127.0.0.1:1""#, "1", "2"),
    ("upstreams.*.balance", "", r#""round_robin""#, r#""random""#),
    ("upstreams.*.by", r#"PARENT.balance "consistent_hash""#, r#""subject""#, r#""address""#),
    ("upstreams.*.protocol", "", r#""http1""#, r#""h2c""#),
    ("upstreams.*.tls", TLS_UP, "null", r#"{"server_name": "a.test"}"#),
    ("upstreams.*.tls.server_name", "", r#""a.test""#, r#""b.test""#),
    ("upstreams.*.tls.ca_file", TLS_NAME, r#""client.pem""#, r#""copy.pem""#),
    (
        "upstreams.*.tls.certificate_file",
        r#"PARENT {"server_name": "a.test", "private_key_file": "client.key"}"#,
        r#""client.pem""#,
        r#""copy.pem""#,
    ),
    (
        "upstreams.*.tls.private_key_file",
        r#"PARENT {"server_name": "a.test", "certificate_file": "client.pem"}"#,
        r#""client.key""#,
        r#""copy.key""#,
    ),
    ("upstreams.*.health_check", "", "null", r#"{"tcp": true}"#),
    ("upstreams.*.health_check.path", "", r#""/a""#, r#""/b""#),
    ("upstreams.*.health_check.tcp", "", "true", "MISSING"),
    ("upstreams.*.health_check.host", r#"PARENT.path "/""#, r#""a.test""#, r#""b.test""#),
    ("upstreams.*.health_check.interval", "PARENT.tcp true", r#""5s""#, r#""6s""#),
    ("upstreams.*.health_check.timeout", "PARENT.tcp true", r#""1s""#, r#""2s""#),
    ("upstreams.*.health_check.healthy_threshold", "PARENT.tcp true", "2", "3"),
    ("upstreams.*.health_check.unhealthy_threshold", "PARENT.tcp true", "3", "4"),
    ("upstreams.*.timeouts", "", "null", r#"{"read": "1s"}"#),
    ("upstreams.*.timeouts.connect", "", r#""2s""#, r#""3s""#),
    ("upstreams.*.timeouts.read", "", r#""60s""#, r#""61s""#),
    ("upstreams.*.timeouts.write", "", r#""60s""#, r#""61s""#),
    ("upstreams.*.timeouts.pool_idle", "", r#""90s""#, r#""91s""#),
    ("upstreams.*.retries", "", "1", "2"),
    ("claims_cache", "", "null", r#"{"entries": 0}"#),
    ("claims_cache.entries", "", "1", "2"),
    ("claims_cache.bytes", "", r#""64MiB""#, r#""65MiB""#),
    ("revocation", "", "null", r#"{"file": "revoked.yaml"}"#),
    ("revocation.file", "", r#""revoked.yaml""#, r#""copy.yaml""#),
    ("revocation.url", "", r#""https://a.test/a""#, r#""https://a.test/b""#),
    ("revocation.refresh", LIST, r#""30s""#, r#""31s""#),
    ("revocation.timeout", LIST, r#""5s""#, r#""6s""#),
    ("revocation.ca_file", LIST, "null", r#""client.pem""#),
    ("revocation.insecure_http", LIST, "false", "true"),
    ("log", "", "null", r#"{"access": "off"}"#),
    ("log.access", "", r#""json""#, r#""text""#),
    ("log.output", "", r#""stdout""#, r#""stderr""#),
    ("log.level", "", r#""info""#, r#""debug""#),
    ("log.subject", "", r#""plain""#, r#""hash""#),
    ("log.client_ip", "", r#""full""#, r#""off""#),
];

const MAIN: &str = r#"{"main": {"issuer": "https://a.test", "audiences": ["api"], "keys": {"jwks_file": "keys.json"}, "roles": "roles"}}"#;
const RENAMED: &str = r#"{"second": {"issuer": "https://a.test", "audiences": ["api"], "keys": {"jwks_file": "keys.json"}, "roles": "roles"}}"#;
const BOTH: &str = r#"issuers.more {"issuer": "https://b.test", "audiences": ["api"], "keys": {"jwks_file": "keys.json"}, "roles": "roles"}"#;
const BOTH_MERGED: &str = r#"issuers.more {"issuer": "https://b.test", "audiences": ["api"], "keys": {"jwks_file": "keys.json"}, "roles": "roles"}; identity {"headers": {"X-User": {"from": "subject"}, "X-Issuer": {"from": "issuer"}}}; routes.[].issuers ["main", "more"]"#;
const COOKIE: &str = r#"routes.[].token {"sources": [{"cookie": "__Host-a"}]}"#;
const CORS: &str = r#"PARENT.origins ["https://a.test"]"#;
const UP: &str = r#"{"up": {"servers": ["127.0.0.1:1"]}, "other": {"servers": ["127.0.0.1:1"]}}"#;
const OTHER_UP: &str = r#"{"up": {"servers": ["127.0.0.1:2"]}, "other": {"servers": ["127.0.0.1:1"]}}"#;
const TLS_UP: &str = r#"upstreams.*.servers ["127.0.0.1:1"]"#;
const TLS_NAME: &str = r#"PARENT.server_name "a.test""#;
const LIST: &str = r#"PARENT.url "https://a.test/a""#;

/// Keys of which nothing is told, and why.
const UNTOLD: &[(&str, &str)] = &[("include", "what the files hold is told, as if it stood where they are named")];

fn full() -> Value {
    json!({
        "listeners": [{"name": "web", "address": "127.0.0.1:8080"}, {"name": "inner", "address": "127.0.0.1:8081"}],
        "issuers": serde_json::from_str::<Value>(MAIN).unwrap(),
        "identity": {"headers": {"X-User": {"from": "subject"}}},
        "routes": [{"name": "orders", "path_prefix": "/orders", "upstream": "up"}],
        "upstreams": {"up": {"servers": ["127.0.0.1:9000"]}, "other": {"servers": ["127.0.0.1:9001"]}},
    })
}

/// Puts a value at a place; `null` takes it away, a mapping joins one that is there.
fn put(document: &mut Value, place: &str, value: Value) {
    let mut at = document;
    let steps: Vec<&str> = place.split('.').collect();
    let (last, above) = steps.split_last().unwrap();
    for (step, next) in above.iter().zip(&steps[1..]) {
        let empty = if *next == "[]" { json!([{}]) } else { json!({}) };
        at = entry(at, step);
        let fits = if *next == "[]" { at.get(0).is_some_and(Value::is_object) } else { at.is_object() };
        if !fits {
            *at = empty;
        }
    }
    if value.is_null() {
        at.as_object_mut().unwrap().remove(*last);
    } else {
        *entry(at, last) = value;
    }
}

fn entry<'v>(at: &'v mut Value, step: &str) -> &'v mut Value {
    match step {
        "[]" => &mut at[0],
        "*" => {
            let all = at.as_object_mut().unwrap();
            let name = all.keys().find(|name| *name != "other").cloned().unwrap_or_else(|| "X-Any".to_owned());
            all.entry(name).or_insert(Value::Null)
        }
        name => at.as_object_mut().unwrap().entry(name).or_insert(Value::Null),
    }
}

fn read(document: &Value) -> Result<Config, String> {
    let pem = include_bytes!("../parse/tests/testdata/client.pem");
    let key = include_bytes!("../parse/tests/testdata/client.key");
    let server = include_bytes!("../parse/tests/testdata/server.pem");
    let server_key = include_bytes!("../parse/tests/testdata/server.key");
    let keys = include_bytes!("../parse/tests/testdata/keys.json");
    let world = Given::default()
        .file("/c/keys.json", keys)
        .file("/c/copy.json", keys)
        .file("/c/rsa.pem", include_bytes!("../parse/tests/testdata/rsa.pem"))
        .file("/c/ec.pem", include_bytes!("../parse/tests/testdata/ec.pem"))
        .file("/c/client.pem", pem)
        .file("/c/copy.pem", &[pem.as_slice(), b"\n"].concat())
        .file("/c/client.key", key)
        .file("/c/copy.key", key)
        .file("/c/server.pem", server)
        .file("/c/server-copy.pem", server)
        .file("/c/server.key", server_key)
        .file("/c/server-copy.key", server_key)
        .file("/c/revoked.yaml", b"- {sub: u1}\n")
        .file("/c/copy.yaml", b"- {sub: u1}\n");
    // Without secrets, as the command reads them.
    let loaded = load_text("a.yaml", document.to_string().as_bytes(), Path::new("/c"), &world, Secrets::Skip);
    loaded.config.ok_or_else(|| loaded.problems.render())
}

/// The row of a key, and whether the key stands in `route_defaults`.
fn row(path: &str) -> Option<(Row, bool)> {
    let (key, is_default) = match path.strip_prefix("route_defaults.") {
        Some(rest) => (format!("routes.[].{rest}"), true),
        None => (path.to_owned(), false),
    };
    let own = ROWS.iter().find(|row| row.0 == key);
    let anywhere = || ANYWHERE.iter().find(|row| key == row.0 || key.ends_with(&format!(".{}", row.0)));
    own.or_else(anywhere).map(|row| (*row, is_default))
}

/// The two configurations of a row.
fn pair(path: &str, (_, others, before, after): Row, is_default: bool) -> [Value; 2] {
    let parent = path.rsplit_once('.').map_or("", |(parent, _)| parent);
    [before, after].map(|value| {
        let mut document = full();
        for other in others.split(';').map(str::trim).filter(|other| !other.is_empty()) {
            let (place, value) = other.split_once(' ').unwrap();
            let place = place.replacen("PARENT", parent, 1);
            let place = if is_default { place.replacen("routes.[]", "route_defaults", 1) } else { place };
            put(&mut document, &place, serde_json::from_str(value).unwrap());
        }
        let replaced = path.strip_prefix("route_defaults.").filter(|_| is_default);
        if let Some(key) = replaced.and_then(|rest| rest.split('.').next()) {
            put(&mut document, &format!("routes.[].{key}"), Value::Null);
            if others.contains("routes.[].upstream null") {
                put(&mut document, "routes.[].upstream", Value::Null);
            }
        }
        match value {
            // The key that goes leaves its place to another.
            "MISSING" if path.ends_with("insecure_any_audience") => {
                put(&mut document, &format!("{parent}.audiences"), json!(["api"]));
            }
            "MISSING" if path.ends_with("tcp") => put(&mut document, &format!("{parent}.path"), json!("/")),
            "MISSING" => put(&mut document, &format!("{parent}.jwks_file"), json!("keys.json")),
            value => put(&mut document, path, serde_json::from_str(value).unwrap()),
        }
        document
    })
}

#[test]
fn another_value_of_any_key_is_told() {
    let (mut silent, mut wrong) = (Vec::new(), Vec::new());
    for (path, _) in walk::paths(top::KEYS) {
        let path = path.join(".");
        if UNTOLD.iter().any(|(key, _)| *key == path) {
            continue;
        }
        let Some((row, is_default)) = row(&path) else { panic!("{path} has no row") };
        let (before, after) = match pair(&path, row, is_default).map(|document| read(&document)) {
            [Ok(before), Ok(after)] => (before, after),
            read => {
                wrong.extend(read.into_iter().filter_map(Result::err).map(|problem| format!("{path}: {problem}")));
                continue;
            }
        };
        for (before, after) in [(&before, &after), (&after, &before)] {
            if compare(before, after).is_empty() {
                silent.push(path.clone());
            }
        }
        assert_eq!(compare(&before, &before), vec![], "{path}");
    }
    silent.dedup();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(silent.is_empty(), "nothing is told of {silent:?}");
}
