//! `ca renew`: what is due is renewed, all of it or none, and what cannot be is said with the exit code.
use std::{fs, process::Command};

use super::{Authority, days_from_now, mode, openssl};
use crate::support::{gateway::BINARY, peers, process};

#[test]
fn what_has_lived_two_thirds_of_its_life_is_renewed_with_a_new_key_and_the_same_names() {
    let Some(openssl) = openssl("ca renew") else { return };
    let authority = Authority::new();
    authority.good(&["issue", "gateway", "--gateway"]);
    authority.good(&["issue", "orders", "--dns", "orders.internal", "--ip", "10.0.0.7"]);
    let link = authority.issued("orders");
    let (folder, key) = (fs::canonicalize(&link).unwrap(), fs::read(link.join("key.pem")).unwrap());
    let before = authority.show(&["orders"])["certificates"][0].clone();

    let early = authority.good(&["renew", "--all", "--at", &days_from_now(19)]);
    assert_eq!(early.lines().filter(|line| line.contains("to be renewed from")).count(), 2, "{early}");
    assert_eq!(fs::canonicalize(&link).unwrap(), folder);

    let due = authority.good(&["renew", "--all", "--at", &days_from_now(20)]);
    assert_eq!(due.lines().filter(|line| line.contains(": renewed until")).count(), 2, "{due}");
    let after = authority.show(&["orders"])["certificates"][0].clone();
    for same in ["dns", "ip", "issuer", "file", "kind"] {
        assert_eq!(before[same], after[same], "{same}");
    }
    for new in ["serial", "not_after", "fingerprint_sha256"] {
        assert_ne!(before[new], after[new], "{new}");
    }
    assert_ne!(fs::read(link.join("key.pem")).unwrap(), key);
    assert!(openssl.is_pair(&link));
    assert_eq!(mode(&link.join("key.pem")), 0o600);
    // Whoever was about to read the files of before still can; those before them are gone.
    assert!(folder.join("key.pem").exists());
    authority.good(&["renew", "orders", "--force"]);
    assert!(!folder.exists());
    let folders = fs::read_dir(authority.path("issued")).unwrap().flatten();
    let folders = folders.filter(|entry| entry.file_name().to_string_lossy().starts_with(".orders@")).count();
    assert_eq!(folders, 2);
}

#[test]
fn a_name_that_begins_like_another_is_left_alone() {
    let authority = Authority::new();
    for name in ["orders", "orders.internal", "orders-2"] {
        authority.good(&["issue", name]);
    }
    for _ in 0..3 {
        authority.good(&["renew", "orders", "--force"]);
    }
    for name in ["orders", "orders.internal", "orders-2"] {
        assert!(authority.issued(name).join("key.pem").exists(), "{name}");
    }
    assert!(authority.good(&["renew", "--all"]).lines().all(|line| line.contains("good until")));
}

#[test]
fn files_that_are_missing_or_changed_are_made_anew() {
    let Some(openssl) = openssl("ca renew") else { return };
    let authority = Authority::new();
    authority.good(&["issue", "orders"]);
    let link = authority.issued("orders");
    let damages: [&dyn Fn(); 4] = [
        &|| fs::remove_file(link.join("key.pem")).unwrap(),
        &|| fs::write(link.join("key.pem"), "").unwrap(),
        &|| fs::write(link.join("certificate.pem"), "x").unwrap(),
        &|| fs::remove_file(&link).unwrap(),
    ];
    for (number, damage) in damages.iter().enumerate() {
        damage();
        assert_eq!(authority.show(&["orders"])["certificates"][0]["state"], "files_changed", "{number}");
        let said = authority.good(&["renew", "--all"]);
        assert!(said.contains("renewed until") && said.contains("missing or changed"), "{number}: {said}");
        assert!(openssl.is_pair(&link), "{number}");
        assert!(authority.good(&["renew", "--all"]).contains("good until"), "{number}");
    }
}

#[test]
fn what_cannot_be_renewed_is_said_and_keeps_nothing_else_from_being_renewed() {
    let authority = Authority::new();
    let place = authority.folder.path().join("tls");
    fs::create_dir(&place).unwrap();
    authority.good(&["issue", "aaa", "--output", place.to_str().unwrap()]);
    for name in ["bbb", "orders"] {
        authority.good(&["issue", name]);
    }
    fs::remove_dir_all(&place).unwrap();
    fs::write(authority.path("register/bbb.json"), "{}").unwrap();
    let later = days_from_now(21);
    let renewed = authority.ca(&["renew", "--all", "--at", &later]);
    assert_eq!(renewed.code(), Some(1));
    assert!(
        renewed.stderr.contains("error: aaa: NOT renewed: ") && renewed.stderr.contains("tls"),
        "{}",
        renewed.stderr
    );
    assert!(renewed.stderr.contains("error: bbb: NOT renewed: ") && renewed.stderr.contains("bbb.json is damaged"));
    assert!(renewed.stdout.contains("orders: renewed until"), "{}", renewed.stdout);
    // Without the key that signs nothing is renewed, and what there is stays.
    let chain = fs::read(authority.issued("orders/certificate.pem")).unwrap();
    fs::remove_file(authority.path("private/services.key")).unwrap();
    assert!(authority.bad(&["renew", "orders", "--force"], 1).contains("services.key"));
    assert_eq!(fs::read(authority.issued("orders/certificate.pem")).unwrap(), chain);
    assert!(authority.bad(&["renew", "absent"], 1).contains("nothing was issued"));
    // The root's key is needed by neither.
    fs::remove_file(authority.path("private/root.key")).unwrap();
    authority.good(&["issue", "gateway", "--gateway"]);
    authority.good(&["renew", "gateway", "--force"]);
}

#[test]
fn the_register_is_not_believed_blindly() {
    let authority = Authority::new();
    authority.good(&["issue", "orders"]);
    let entry = authority.path("register/orders.json");
    let text = fs::read_to_string(&entry).unwrap();
    let place = authority.path("issued");
    for (from, to) in [
        ("\"orders\"", "\"*\""),
        ("\"days\": 30", "\"days\": 3000"),
        ("\"days\": 30", "\"days\": 30, \"more\": 1"),
        (place.to_str().unwrap(), "relative"),
        ("BEGIN CERTIFICATE", "BEGIN SOMETHING"),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text, "{from}");
        fs::write(&entry, changed).unwrap();
        let error = authority.bad(&["renew", "--all", "--force"], 1);
        assert!(error.contains("orders.json is damaged"), "{to}: {error}");
    }
    fs::write(&entry, text).unwrap();
    fs::write(authority.path("register/README"), "").unwrap();
    assert!(authority.bad(&["renew", "--all"], 1).contains("does not belong there"));
}

#[test]
fn the_units_are_what_systemd_takes() {
    let Some(analyze) = peers::require_program("systemd-analyze", "ca renewal units") else { return };
    let folder = crate::support::folder::Folder::new();
    let mut paths = Vec::new();
    for unit in ["portcullis-ca-renew.service", "portcullis-ca-renew.timer"] {
        let text = fs::read_to_string(format!("{}/systemd/{unit}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert!(!unit.ends_with("service") || text.contains("\nExecStart=/usr/bin/portcullis ca renew --all "));
        // The program and its manual are not installed where tests run.
        let text =
            text.replace("/usr/bin/portcullis", BINARY).replace("Documentation=man:portcullis-ca-renew(8)\n", "");
        paths.push(folder.write(unit, text));
    }
    // Those that the page shows.
    let page = fs::read_to_string(format!("{}/docs/mtls.md", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (_, after) = page.split_once("```ini\n").unwrap();
    for unit in after.split_once("```").unwrap().0.split("# /etc/systemd/system/").skip(1) {
        let (name, text) = unit.split_once('\n').unwrap();
        paths.push(folder.write(name, text));
    }
    assert_eq!(paths.len(), 4);
    let judged = process::run("systemd-analyze", Command::new(analyze).arg("verify").args(&paths));
    let names = ["portcullis-ca-renew", "orders-tls"];
    let faults: Vec<_> = judged.stderr.lines().filter(|line| names.iter().any(|name| line.contains(name))).collect();
    assert!(judged.code() == Some(0) && faults.is_empty(), "{}", judged.stderr);
}
