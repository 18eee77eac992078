//! What sslyze sees of a listener as it is without further settings.
use std::{fs, process::Command, time::Duration};

use serde_json::{Value, json};

use super::Runner;
use crate::support::{
    fixture,
    gateway::{self, Gateway},
    process,
    upstream::Upstream,
};

const ROUTES: &str = "  - {name: everything, path_prefix: /, auth: none, upstream: echo}\n";

/// What is looked for, and what the answer must be.
fn expected() -> Vec<(&'static str, &'static str, Value)> {
    let spoken = "is_tls_version_supported";
    vec![
        ("ssl_2_0_cipher_suites", spoken, json!(false)),
        ("ssl_3_0_cipher_suites", spoken, json!(false)),
        ("tls_1_0_cipher_suites", spoken, json!(false)),
        ("tls_1_1_cipher_suites", spoken, json!(false)),
        ("tls_1_2_cipher_suites", spoken, json!(true)),
        ("tls_1_3_cipher_suites", spoken, json!(true)),
        ("tls_compression", "supports_compression", json!(false)),
        ("tls_1_3_early_data", "supports_early_data", json!(false)),
        ("openssl_ccs_injection", "is_vulnerable_to_ccs_injection", json!(false)),
        ("tls_fallback_scsv", "supports_fallback_scsv", json!(true)),
        ("heartbleed", "is_vulnerable_to_heartbleed", json!(false)),
        ("robot", "robot_result", json!("NOT_VULNERABLE_RSA_NOT_SUPPORTED")),
        ("session_renegotiation", "is_vulnerable_to_client_renegotiation_dos", json!(false)),
        ("session_renegotiation", "supports_secure_renegotiation", json!(true)),
        ("tls_extended_master_secret", "supports_ems_extension", json!(true)),
    ]
}

/// With a certificate as `portcullis ca` issues it, so that there is nothing to find fault with there either.
#[test]
fn sslyze_finds_no_weakness_and_calls_the_listener_compliant() {
    let Some(python) = Runner::python("sslyze", "peers::sslyze") else { return };
    let upstream = Upstream::start();
    let listener = "address: \"{listen}\", tls: {certificates: [{certificate_file: ca/issued/localhost/certificate.pem, \
                    private_key_file: ca/issued/localhost/key.pem}]}";
    let config = fixture::config("", ROUTES).replace("address: \"{listen}\"", listener);
    let builder = Gateway::builder(config).set("upstream", upstream.address()).file("keys.json", fixture::keys_file());
    let authority = builder.folder().join("ca");
    for command in [&["init"][..], &["issue", "localhost"]] {
        let made = gateway::run(&[&["ca"], command, &["--directory", authority.to_str().unwrap()]].concat());
        assert_eq!(made.code(), Some(0), "{made:?}");
    }
    let (gateway, report) = (builder.start(), authority.join("sslyze.json"));
    let mut command = Command::new(&python.program);
    command.args(["-m", "sslyze", "--json_out"]).arg(&report).arg("--certinfo_ca_file").arg(authority.join("ca.pem"));
    command.args(["--early_data", "--sni", "localhost", "--mozilla_config", "intermediate"]);
    let account = process::run_within(Duration::from_secs(180), "sslyze", command.arg(gateway.address().to_string()));
    let text = fs::read_to_string(&report).unwrap_or_else(|error| panic!("{error}: {account:?}"));
    let report: Value = serde_json::from_str(&text).unwrap();
    let scan = &report["server_scan_results"][0]["scan_result"];
    for (name, member, value) in expected() {
        assert_eq!(scan[name]["status"], "COMPLETED", "{name}: {}", scan[name]);
        assert_eq!(scan[name]["result"][member], value, "{name}");
    }
    // Every suite of TLS 1.2 has forward secrecy and encrypts with authentication, and no curve is a weak one.
    let suites = scan["tls_1_2_cipher_suites"]["result"]["accepted_cipher_suites"].as_array().unwrap();
    let names: Vec<&str> = suites.iter().filter_map(|suite| suite["cipher_suite"]["name"].as_str()).collect();
    let is_strong =
        |name: &&str| name.starts_with("TLS_ECDHE_") && (name.contains("_GCM_") || name.contains("_POLY1305_"));
    assert!(!names.is_empty() && names.iter().all(is_strong), "{names:?}");
    assert!(account.stdout.contains(": OK - Compliant."), "{}", account.stdout);
}
