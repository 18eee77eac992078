//! The gateway itself with the certificates of `portcullis ca`, in front of the recipes of docs/mtls.md: who is let in, who is
//! believed, and what happens when certificates are renewed or broken while it runs.
use std::{fs, os::unix::fs::symlink, path::Path};

use super::{Authority, days_from_now, recipes::Recipe};
use crate::support::{
    fixture::{self, good_bearer, keys_file},
    gateway::{Builder, Gateway},
    http2_server::Http2Server,
    problem::check_problem,
    server::free_address,
    upstream::{Answer, Upstream},
    waiting::{PATIENCE, eventually},
    wire::Address,
};

const ROUTES: &str = "  - {name: orders, path_prefix: /, upstream: echo}";

/// A gateway in front of a server that must be `name`, with the certificates of this folder.
fn builder(server: impl ToString, name: &str, folder: &Path, more: &str) -> Builder {
    let config = fixture::config("", ROUTES).replace(
        "echo: {servers: [\"{upstream}\"]}",
        "echo:\n    servers: [\"{upstream}\"]\n    tls: {server_name: {server_name}, ca_file: {certificates}/ca.pem, \
         certificate_file: {certificates}/certificate.pem, private_key_file: {certificates}/key.pem}{more}",
    );
    Builder::new(config)
        .file("keys.json", keys_file())
        .set("upstream", server)
        .set("server_name", name)
        .set("certificates", folder.display())
        .set("more", more)
}

fn gateway(server: impl ToString, name: &str, folder: &Path) -> Gateway {
    builder(server, name, folder, "").start()
}

fn status(gateway: &Gateway) -> u16 {
    gateway.get("/orders", &[("Authorization", &good_bearer())]).status
}

/// Refused as 502, with the reason in the access log.
#[track_caller]
fn check_unreachable(gateway: &Gateway, details: &[&str]) {
    let response = gateway.get("/orders", &[("Authorization", &good_bearer())]);
    check_problem(&response, 502, "upstream_unreachable", "GET");
    let line = gateway.access_line(response.header("x-request-id").unwrap());
    let detail = line["auth"]["detail"].as_str().unwrap_or_default();
    assert!(details.iter().any(|expected| detail.contains(expected)), "{detail:?}");
}

/// A folder with another certificate for clients, and whom the gateway believes.
fn posing(authority: &Authority, name: &str) -> std::path::PathBuf {
    let place = authority.folder.path().join(format!("posing-{name}"));
    fs::create_dir(&place).unwrap();
    for file in ["certificate.pem", "key.pem"] {
        fs::copy(authority.issued(name).join(file), place.join(file)).unwrap();
    }
    fs::copy(authority.path("ca.pem"), place.join("ca.pem")).unwrap();
    place
}

/// Runs a recipe behind gateways with certificates of all kinds.
fn check(recipe: Recipe) {
    let authority = Authority::new();
    authority.good(&["issue", "gateway", "--gateway"]);
    authority.good(&["issue", "gateway-old", "--gateway", "--days", "1", "--at", &days_from_now(-2)]);
    for service in ["orders", "payments"] {
        authority.good(&["issue", service]);
    }
    let Some(service) = recipe.start(&authority, &authority.issued("orders")) else { return };
    let own = gateway(service.address, "orders", &authority.issued("gateway"));
    for _ in 0..3 {
        assert_eq!(status(&own), 200, "{}", own.account().stderr);
    }
    let passed = service.upstream.requests().len();
    for name in ["payments", "orders", "gateway-old"] {
        let poser = gateway(service.address, "orders", &posing(&authority, name));
        let response = poser.get("/orders", &[("Authorization", &good_bearer())]);
        // nginx answers itself; the others end the handshake.
        assert!([400, 502].contains(&response.status), "{name}: {}", response.text());
        assert!(!response.text().contains("alice"), "{name}");
    }
    assert_eq!(service.upstream.requests().len(), passed, "somebody who posed as the gateway was let in");
}

#[test]
fn nginx_lets_in_this_gateway_and_no_service_that_poses_as_it() {
    check(Recipe::Nginx);
}

#[test]
fn node_lets_in_this_gateway_and_no_service_that_poses_as_it() {
    check(Recipe::Node);
}

#[test]
fn python_lets_in_this_gateway_and_no_service_that_poses_as_it() {
    check(Recipe::Python);
}

#[test]
fn a_server_that_is_not_the_service_is_not_believed_and_the_log_says_why() {
    let (authority, other) = (Authority::new(), Authority::new());
    for authority in [&authority, &other] {
        authority.good(&["issue", "gateway", "--gateway"]);
        authority.good(&["issue", "orders"]);
    }
    authority.good(&["issue", "old", "--days", "1", "--at", &days_from_now(-2)]);
    let Some(orders) = Recipe::Node.start(&authority, &authority.issued("orders")) else { return };
    let certificates = authority.issued("gateway");
    check_unreachable(&gateway(orders.address, "payments", &certificates), &["NotValidForName", "not valid for name"]);
    check_unreachable(&gateway(orders.address, "127.0.0.1", &certificates), &["NotValidForName", "not valid for name"]);
    check_unreachable(&gateway(orders.address, "orders", &other.issued("gateway")), &["UnknownIssuer"]);
    let seen = orders.upstream.requests().len();
    assert_eq!(seen, 0);
    let old = Recipe::Node.start(&authority, &authority.issued("old")).unwrap();
    check_unreachable(&gateway(old.address, "old", &certificates), &["Expired", "expired"]);
    // A service without TLS is none either.
    let plain = Upstream::start();
    plain.set_answer(Answer::CloseAtOnce);
    check_unreachable(&gateway(plain.address(), "orders", &certificates), &["TLSHandshakeFailure"]);
    assert_eq!(plain.requests().len(), 0);
}

#[test]
fn no_connection_is_shared_between_upstreams_that_trust_or_show_something_else() {
    let (authority, other) = (Authority::new(), Authority::new());
    authority.good(&["issue", "gateway", "--gateway"]);
    other.good(&["issue", "gateway", "--gateway"]);
    authority.good(&["issue", "orders"]);
    let Some(service) = Recipe::Node.start(&authority, &authority.issued("orders")) else { return };
    let (own, strange) = (authority.issued("gateway"), other.issued("gateway"));
    let of = |name: &str, trusted: &Path, shown: &Path, server_name: &str| {
        format!(
            "{name}: {{servers: [\"{}\"], tls: {{server_name: {server_name}, ca_file: {}/ca.pem, certificate_file: \
             {2}/certificate.pem, private_key_file: {2}/key.pem}}}}",
            service.address,
            trusted.display(),
            shown.display(),
        )
    };
    let upstreams = [
        of("good", &own, &own, "orders"),
        of("trusts-others", &strange, &own, "orders"),
        of("shows-another", &own, &strange, "orders"),
        of("means-another", &own, &own, "payments"),
    ];
    let names = ["good", "trusts-others", "shows-another", "means-another"];
    let routes: Vec<String> =
        names.iter().map(|name| format!("  - {{name: {name}, path: /{name}, upstream: {name}}}")).collect();
    // The gateway has one thread, so that there is one pool of connections.
    let config =
        fixture::config("", &routes.join("\n")).replace("echo: {servers: [\"{upstream}\"]}", &upstreams.join("\n  "));
    let gateway = Builder::new(config).file("keys.json", keys_file()).start();
    for _ in 0..3 {
        for name in names {
            let response = gateway.get(&format!("/{name}"), &[("Authorization", &good_bearer())]);
            assert_eq!(response.status, if name == "good" { 200 } else { 502 }, "{name}: {}", response.text());
        }
    }
}

#[test]
fn a_connection_that_was_made_under_other_certificates_serves_no_request_any_more() {
    let (authority, other) = (Authority::new(), Authority::new());
    authority.good(&["issue", "gateway", "--gateway"]);
    authority.good(&["issue", "orders"]);
    let Some(service) = Recipe::Node.start(&authority, &authority.issued("orders")) else { return };
    let folder = posing(&authority, "gateway");
    let gateway = gateway(service.address, "orders", &folder);
    assert_eq!(status(&gateway), 200);
    // There is a connection in the pool, and whoever is at its other end is not trusted any more.
    fs::copy(other.path("ca.pem"), folder.join("ca.pem")).unwrap();
    let said = eventually(PATIENCE, || gateway.account().stderr.contains("certificates were read again").then_some(()));
    assert!(said.is_some(), "{}", gateway.account().stderr);
    check_unreachable(&gateway, &["UnknownIssuer"]);
    fs::copy(authority.path("ca.pem"), folder.join("ca.pem")).unwrap();
    assert!(eventually(PATIENCE, || (status(&gateway) == 200).then_some(())).is_some());
}

#[test]
fn a_certificate_that_the_command_renews_is_shown_to_servers_of_http2_on_new_connections() {
    let authority = Authority::new();
    authority.good(&["issue", "gateway", "--gateway"]);
    for service in ["orders", "payments"] {
        authority.good(&["issue", service]);
    }
    let Some(server) = Http2Server::start(Some(&authority.issued("orders"))) else { return };
    let start = |folder: &Path| builder(server.address(), "orders", folder, "\n    protocol: h2").start();
    let gateway = start(&authority.issued("gateway"));
    for _ in 0..3 {
        assert_eq!(status(&gateway), 200, "{}", gateway.account().stderr);
    }
    let seen = |amount: usize| eventually(PATIENCE, || Some(server.seen()).filter(|seen| seen.len() == amount));
    let first = seen(3).unwrap_or_else(|| panic!("{:?}", server.seen()));
    assert_eq!((server.sessions(), first[0]["scheme"].as_str()), (1, Some("https")));
    authority.good(&["renew", "gateway", "--force"]);
    let said = eventually(PATIENCE, || gateway.account().stderr.contains("certificates were read again").then_some(()));
    assert!(said.is_some(), "{}", gateway.account().stderr);
    for _ in 0..3 {
        assert_eq!(status(&gateway), 200, "{}", gateway.account().stderr);
    }
    assert!(seen(6).is_some(), "{:?}", server.seen());
    let shown = server.serial_numbers();
    assert!(shown.len() == 2 && shown[0] != shown[1], "{shown:?}");
    // Another service's certificate opens nothing here either.
    let poser = start(&posing(&authority, "payments"));
    assert_eq!(status(&poser), 502);
    assert_eq!(server.seen().len(), 6);
}

#[test]
fn renewed_certificates_are_used_without_a_restart_and_broken_ones_change_nothing() {
    let authority = Authority::new();
    authority.good(&["issue", "gateway", "--gateway", "--days", "10"]);
    authority.good(&["issue", "orders"]);
    let Some(service) = Recipe::Node.start(&authority, &authority.issued("orders")) else { return };
    let gateway = gateway(service.address, "orders", &authority.issued("gateway"));
    assert_eq!(status(&gateway), 200);
    let not_after = || {
        gateway.metric(|line| {
            line.starts_with("portcullis_tls_certificate_not_after_timestamp_seconds")
                && line.contains("listener=\"upstream echo\"")
        })
    };
    let says = |text: &str| {
        let said = eventually(PATIENCE, || gateway.account().stderr.contains(text).then_some(()));
        assert!(said.is_some(), "{text:?} is not said: {}", gateway.account().stderr);
    };
    let first = not_after();
    assert!(first > 0.0);
    authority.good(&["issue", "later", "--gateway", "--days", "20"]);
    let link = authority.issued("gateway");
    let put = |target: &Path| {
        let draft = authority.folder.path().join("draft");
        symlink(target, &draft).unwrap();
        fs::rename(&draft, &link).unwrap();
    };
    put(&authority.issued("later").canonicalize().unwrap());
    says("certificates were read again");
    assert!(not_after() > first + 9.0 * 86_400.0);
    assert_eq!(status(&gateway), 200);
    let second = not_after();
    // A key that is another certificate's.
    let broken = posing(&authority, "orders");
    fs::copy(authority.issued("later").join("key.pem"), broken.join("key.pem")).unwrap();
    put(&broken);
    says("the private key belongs to another certificate");
    assert_eq!((status(&gateway), not_after()), (200, second));
    // And a folder that is gone.
    fs::remove_dir_all(&broken).unwrap();
    says("No such file");
    put(&authority.issued("later").canonicalize().unwrap());
    says("can be read again and are what they were");
    // What the command does.
    authority.good(&["renew", "orders", "--force"]);
    assert_eq!((status(&gateway), not_after()), (200, second));
}

#[test]
fn a_gateway_whose_certificates_cannot_be_used_does_not_start() {
    let authority = Authority::new();
    authority.good(&["issue", "gateway", "--gateway"]);
    authority.good(&["issue", "orders"]);
    let folder = posing(&authority, "gateway");
    fs::copy(authority.issued("orders").join("key.pem"), folder.join("key.pem")).unwrap();
    let (account, _folder) = builder(Address::Tcp(free_address()), "orders", &folder, "").start_expecting_end();
    assert_eq!(account.code(), Some(78), "{}", account.stderr);
    assert!(account.stderr.contains("the private key belongs to another certificate"), "{}", account.stderr);
}

#[test]
fn the_key_of_an_authority_is_refused_by_name_wherever_it_is_configured() {
    let authority = Authority::new();
    for (certificate, key) in [("ca", "root"), ("services", "services"), ("clients", "gateway")] {
        let folder = authority.folder.path().join(format!("misplaced-{key}"));
        fs::create_dir(&folder).unwrap();
        fs::copy(authority.path(&format!("{certificate}.pem")), folder.join("certificate.pem")).unwrap();
        fs::copy(authority.path(&format!("private/{key}.key")), folder.join("key.pem")).unwrap();
        fs::copy(authority.path("ca.pem"), folder.join("ca.pem")).unwrap();
        let upstream = builder(Address::Tcp(free_address()), "orders", &folder, "");
        let pair = format!("certificate_file: {0}/certificate.pem, private_key_file: {0}/key.pem", folder.display());
        let config = fixture::config("", ROUTES)
            .replace("{name: web,", &format!("{{name: web, tls: {{certificates: [{{{pair}}}]}},"));
        let listener = Builder::new(config).file("keys.json", keys_file()).set("upstream", free_address());
        for (place, builder) in [("upstream", upstream), ("listener", listener)] {
            let (account, _folder) = builder.start_expecting_end();
            assert_eq!(account.code(), Some(78), "{place} {key}: {}", account.stderr);
            assert!(account.stderr.contains("its private key stays with the authority"), "{place}: {}", account.stderr);
        }
    }
}
