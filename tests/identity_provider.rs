//! The real program against a certified OpenID provider on loopback: its tokens pass, its expired ones do not, and its new keys are
//! found. The provider's script is among the foreign cases, its modules where `PORTCULLIS_IDP_MODULES` says.
mod rotation;

use std::{env, fs, path::PathBuf, process::Command};

use crate::support::{
    client::{self, Client, Response},
    corpora,
    folder::Folder,
    gateway::Gateway,
    minted, peers,
    problem::check_problem,
    process::Process,
    server::free_address,
    token::bearer,
    upstream::Upstream,
    waiting::{PATIENCE, eventually},
    wire::Address,
};

/// How often the provider is started again because another process took its port in between.
const STARTS_MAX: usize = 5;
/// The secret that the script knows its client by.
const CLIENT_SECRET: &str = "svc-secret-svc-secret-svc-secret";
/// In the script, a lifetime of its own for these tokens; without it they live as long as the request for one asks.
const FIXED_LIFETIME: &str = ", ttl:{ClientCredentials:300}";

const CONFIG: &str = r#"
listeners:
  - {name: web, address: "{listen}"}
admin: {address: "{admin}"}
server: {threads: 1, grace_period: 20s}
issuers:
  provider:
    issuer: "{issuer}"
    audiences: ["https://api.test"]
    keys: {jwks_url: "{issuer}/jwks", insecure_http: true, cooldown: 1s}
    leeway: 0s
identity: {headers: {X-User-ID: {from: subject}}}
routes:
  - {name: everything, path_prefix: /, upstream: echo}
upstreams:
  echo: {servers: ["{upstream}"]}
"#;

/// A running provider.
struct Provider {
    // Ends before its folder is removed.
    process: Process,
    address: Address,
    _folder: Folder,
}

impl Provider {
    /// Starts it; `None`, said on standard error, when something that it needs is missing and not demanded.
    fn start(test: &str) -> Option<Self> {
        let cases = corpora::folder(test)?;
        let node = peers::require_program("node", test)?;
        let modules = modules(test)?;
        let script = fs::read_to_string(cases.join("idp/oidc-provider-idp.mjs")).unwrap();
        let folder = Folder::new();
        let script = folder.write("provider.mjs", script.replace(FIXED_LIFETIME, ""));
        std::os::unix::fs::symlink(modules.join("node_modules"), folder.path().join("node_modules")).unwrap();
        for _ in 0..STARTS_MAX {
            let address = free_address();
            let mut command = Command::new(&node);
            command.current_dir(folder.path()).arg(&script).arg(address.port().to_string());
            let process = Process::spawn("the provider", &mut command);
            let listens = process.wait_until(PATIENCE, |account| {
                (account.stdout.contains("issuer ") || account.status.is_some()).then(|| account.status.is_none())
            });
            match listens {
                Some(true) => return Some(Self { process, address: Address::Tcp(address), _folder: folder }),
                Some(false) if process.account().stderr.contains("EADDRINUSE") => {}
                Some(false) | None => panic!("the provider does not start"),
            }
        }
        panic!("no free port in {STARTS_MAX} starts");
    }

    /// `iss` of its tokens.
    fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A token signed with this algorithm that lives so many seconds.
    fn token(&self, algorithm: &str, seconds: u32) -> String {
        let form = format!(
            "grant_type=client_credentials&client_id=svc&client_secret={CLIENT_SECRET}&alg={algorithm}&ttl={seconds}\
             &resource=https%3A%2F%2Fapi.test"
        );
        let mut connection = Client::connect(&self.address);
        connection.send(format!(
            "POST /token HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            self.address,
            form.len()
        ));
        let response = connection.read("POST");
        assert_eq!(response.status, 200, "{algorithm}: {}", response.text());
        let token = response.json()["access_token"].as_str().unwrap().to_owned();
        minted::remember(&token);
        token
    }

    /// Changes its keys: `add` publishes more, `promote` signs with new ones and keeps the old, `drop` withdraws those,
    /// `replace` has others alone.
    fn rotate(&self, how: &str) {
        assert_eq!(client::get(&self.address, &format!("/__rotate?m={how}"), &[]).status, 200);
    }
}

/// The folder with the provider's modules; `None`, said on standard error, when it is missing and not demanded.
fn modules(test: &str) -> Option<PathBuf> {
    let folder = env::var_os("PORTCULLIS_IDP_MODULES").map(PathBuf::from).unwrap_or_default();
    if folder.join("node_modules/oidc-provider").is_dir() {
        return Some(folder);
    }
    let what = "PORTCULLIS_IDP_MODULES, a folder with node_modules/oidc-provider,";
    let demanded = env::var("PORTCULLIS_REQUIRE_PEERS").is_ok_and(|value| value == "1");
    assert!(!demanded, "{test} needs {what} and PORTCULLIS_REQUIRE_PEERS=1 forbids to go without");
    eprintln!("\n!!! {test}: {what} is missing, the test is NOT run !!!\n");
    None
}

fn gateway(provider: &Provider, upstream: &Upstream) -> Gateway {
    Gateway::builder(CONFIG).set("issuer", provider.issuer()).set("upstream", upstream.address()).start()
}

fn ask(gateway: &Gateway, token: &str) -> Response {
    gateway.get("/", &[("Authorization", &bearer(token))])
}

#[test]
fn tokens_of_a_certified_provider_pass_with_every_algorithm_that_it_shares() {
    let Some(provider) = Provider::start("tokens of a certified provider") else { return };
    let upstream = Upstream::start();
    let gateway = gateway(&provider, &upstream);
    for algorithm in ["RS256", "PS256", "ES256", "ES384", "EdDSA"] {
        let token = provider.token(algorithm, 60);
        for remembered in [false, true] {
            let response = ask(&gateway, &token);
            assert_eq!(response.status, 200, "{algorithm}, remembered: {remembered}: {}", response.text());
        }
        let seen = upstream.take();
        assert_eq!(seen.len(), 2, "{algorithm}");
        for request in seen {
            assert_eq!(request.head.values("X-User-ID"), ["svc"], "{algorithm}");
            assert_eq!(request.head.value("Authorization"), None, "{algorithm}: the token was forwarded");
        }
    }
    // The set has a key for it, on a curve that portcullis does not know: that token is refused, and the others pass all the same.
    check_problem(&ask(&gateway, &provider.token("ES512", 60)), 401, "algorithm_not_allowed", "GET");
    assert!(upstream.take().is_empty());
}

#[test]
fn a_token_of_a_certified_provider_passes_until_it_ends_and_no_longer() {
    let Some(provider) = Provider::start("an expired token of a certified provider") else { return };
    let upstream = Upstream::start();
    let gateway = gateway(&provider, &upstream);
    let token = provider.token("ES256", 1);
    let refused = eventually(PATIENCE, || {
        let response = ask(&gateway, &token);
        (response.status != 200).then_some(response)
    });
    check_problem(&refused.expect("a token of one second never ends"), 401, "token_expired", "GET");
    check_problem(&ask(&gateway, &token), 401, "token_expired", "GET");
}

#[test]
fn keys_that_a_certified_provider_replaces_are_found_and_the_old_ones_count_no_more() {
    let Some(provider) = Provider::start("replaced keys of a certified provider") else { return };
    let upstream = Upstream::start();
    let gateway = gateway(&provider, &upstream);
    let old = provider.token("ES256", 60);
    assert_eq!(ask(&gateway, &old).status, 200);
    provider.rotate("replace");
    // Within the cooldown the last fetch settles what the set has; after it, a token that names a new key has the set fetched.
    let new = provider.token("ES256", 60);
    let passed = eventually(PATIENCE, || (ask(&gateway, &new).status == 200).then_some(()));
    assert!(passed.is_some(), "the new key is not found");
    check_problem(&ask(&gateway, &old), 401, "key_unknown", "GET");
    assert!(provider.process.account().status.is_none());
}
