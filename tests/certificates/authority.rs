//! What `ca init`, `ca issue` and `ca show` make and say, judged by openssl.
use std::{fs, os::unix::fs::PermissionsExt as _, thread};

use super::{Authority, days_from_now, files_below, mode, openssl};
use crate::support::folder::Folder;

#[test]
fn an_authority_is_made_once_and_is_its_owners_alone() {
    let authority = Authority::none();
    let said = authority.good(&["init"]);
    for file in ["ca.pem", "services.pem", "clients.pem", "private/root.key", "for the gateway", "for services"] {
        assert!(said.contains(file), "{file}: {said}");
    }
    for folder in ["", "private", "issued", "register"] {
        assert_eq!(mode(&authority.path(folder)), 0o700, "{folder}");
    }
    for key in ["root", "services", "gateway"] {
        assert_eq!(mode(&authority.path(&format!("private/{key}.key"))), 0o600, "{key}");
    }
    let files = files_below(&authority.path(""));
    let before: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(authority.bad(&["init"], 1).contains("holds a certificate authority already"));
    let after: Vec<_> = files_below(&authority.path("")).iter().map(|file| fs::read(file).unwrap()).collect();
    assert_eq!(before, after);
}

#[test]
fn a_directory_that_does_not_fit_is_refused_and_stays_as_it_is() {
    let authority = Authority::none();
    for (mode, content, says) in [
        (0o700, Some("mine"), "is not empty"),
        (0o755, None, "is open to others"),
        (0o770, None, "is open to others"),
        (0o701, None, "is open to others"),
    ] {
        let directory = authority.path("");
        fs::create_dir(&directory).unwrap();
        if let Some(content) = content {
            fs::write(directory.join("file"), content).unwrap();
        }
        fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).unwrap();
        let error = authority.bad(&["init"], 1);
        assert!(error.contains(says), "{mode:o}: {error}");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), usize::from(content.is_some()));
        fs::remove_dir_all(&directory).unwrap();
    }
    let nowhere = Folder::new();
    let below = nowhere.path().join("absent/ca");
    let made = crate::support::gateway::run(&["ca", "init", "--directory", below.to_str().unwrap()]);
    assert_eq!(made.code(), Some(1));
    assert!(made.stderr.contains("cannot make"), "{}", made.stderr);
    // As systemd makes one for a unit.
    fs::create_dir(authority.path("")).unwrap();
    fs::set_permissions(authority.path(""), fs::Permissions::from_mode(0o700)).unwrap();
    authority.good(&["init"]);
}

#[test]
fn without_an_authority_every_verb_says_how_to_make_one_and_one_that_others_can_read_is_not_used() {
    let authority = Authority::none();
    for verb in [&["issue", "orders"][..], &["renew", "--all"], &["show"]] {
        let error = authority.bad(verb, 1);
        assert!(error.contains("ca init"), "{verb:?}: {error}");
    }
    authority.good(&["init"]);
    for (path, mode, says) in [
        ("", 0o750, "is open to others"),
        ("private", 0o755, "is open to others"),
        ("private/services.key", 0o640, "others may read"),
    ] {
        let place = authority.path(path);
        let before = fs::metadata(&place).unwrap().permissions();
        fs::set_permissions(&place, fs::Permissions::from_mode(mode)).unwrap();
        let error = authority.bad(&["issue", "orders"], 1);
        assert!(error.contains(says), "{path}: {error}");
        fs::set_permissions(&place, before).unwrap();
    }
    assert!(!authority.issued("orders").exists());
    authority.good(&["issue", "orders"]);
}

#[test]
fn a_certificate_is_good_for_its_own_purpose_in_the_eyes_of_openssl_and_for_no_other() {
    let Some(openssl) = openssl("ca") else { return };
    let authority = Authority::new();
    authority.good(&["issue", "gateway", "--gateway"]);
    authority.good(&["issue", "orders", "--dns", "orders.internal", "--ip", "10.0.0.7,fd00::7"]);
    let path = |name: &str| authority.path(name).to_str().unwrap().to_owned();
    let (ca, clients, services) = (path("ca.pem"), path("clients.pem"), path("services.pem"));
    let (orders, gateway) = (path("issued/orders/certificate.pem"), path("issued/gateway/certificate.pem"));
    let late = (crate::support::token::now() + 31 * 86_400).to_string();
    let server = ["-purpose", "sslserver"];
    let client = ["-purpose", "sslclient"];
    let rows: &[(&str, &str, &[&str], bool)] = &[
        (&ca, &orders, &server, true),
        (&ca, &orders, &["-verify_hostname", "orders"], true),
        (&ca, &orders, &["-verify_hostname", "orders.internal"], true),
        (&ca, &orders, &["-verify_ip", "10.0.0.7"], true),
        (&ca, &orders, &["-verify_ip", "fd00::7"], true),
        (&ca, &orders, &["-verify_hostname", "payments"], false),
        (&ca, &orders, &["-verify_ip", "10.0.0.8"], false),
        (&ca, &orders, &client, false),
        (&ca, &orders, &["-attime", &late], false),
        (&clients, &orders, &[], false),
        (&clients, &gateway, &client, true),
        (&clients, &gateway, &server, false),
        (&clients, &gateway, &["-attime", &late], false),
        (&ca, &gateway, &[], false),
    ];
    for (trusted, certificate, more, is_good) in rows {
        let arguments = ["verify", "-x509_strict", "-CAfile", trusted, "-untrusted", &services];
        let judged = openssl.run(&[&arguments[..], more, &[certificate]].concat());
        assert_eq!(judged.code() == Some(0), *is_good, "{certificate} {more:?}: {}{}", judged.stdout, judged.stderr);
    }
    for folder in ["orders", "gateway"] {
        assert!(openssl.is_pair(&authority.issued(folder)), "{folder}");
        assert_eq!(mode(&authority.issued(folder).join("key.pem")), 0o600, "{folder}");
        assert_eq!(mode(&authority.issued(folder)), 0o700, "{folder}");
    }
    let rows: &[(&str, &[&str])] = &[
        (&ca, &["CA:TRUE, pathlen:1", "Certificate Sign, CRL Sign", "prime256v1"]),
        (&services, &["CA:TRUE, pathlen:0", "TLS Web Server Authentication", "prime256v1"]),
        (&clients, &["CA:TRUE, pathlen:0", "TLS Web Client Authentication", "prime256v1"]),
        (
            &orders,
            &["CA:FALSE", "TLS Web Server Authentication", "Digital Signature", "CN = orders", "Authority Key Id"],
        ),
        (&gateway, &["CA:FALSE", "TLS Web Client Authentication", "CN = gateway", "prime256v1"]),
    ];
    for (certificate, says) in rows {
        let text = openssl.text(certificate.as_ref());
        for part in *says {
            assert!(text.contains(part), "{certificate}: {part}: {text}");
        }
    }
    assert!(!openssl.text(orders.as_ref()).contains("Client Authentication"));
    assert!(!openssl.text(gateway.as_ref()).contains("Server Authentication"));
}

#[test]
fn a_name_is_issued_once_and_anew_only_when_that_is_asked_for() {
    let authority = Authority::new();
    let said = authority.good(&["issue", "orders", "--days", "7"]);
    for part in ["10 minutes ago", "certificate.pem", "key.pem", "clients.pem", "the gateway alone"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let chain = fs::read(authority.issued("orders/certificate.pem")).unwrap();
    let error = authority.bad(&["issue", "orders", "--dns", "orders.internal"], 1);
    assert!(error.contains("issued already") && error.contains("--replace"), "{error}");
    assert_eq!(fs::read(authority.issued("orders/certificate.pem")).unwrap(), chain);
    authority.good(&["issue", "orders", "--dns", "orders.internal,orders", "--replace"]);
    let shown = authority.show(&["orders"]);
    assert_eq!(shown["certificates"][0]["dns"], serde_json::json!(["orders", "orders.internal"]));
    // What this command did not make is not touched.
    fs::create_dir(authority.issued("payments")).unwrap();
    assert!(authority.bad(&["issue", "payments"], 1).contains("was not made by this command"));
    assert!(authority.bad(&["show", "payments"], 1).contains("nothing was issued"));
    for name in ["../orders", "Orders", "*.internal", "10.0.0.7", ""] {
        authority.bad(&["issue", name], 2);
    }
}

#[test]
fn certificates_that_would_outlive_their_authority_are_refused() {
    let authority = Authority::none();
    authority.good(&["init", "--years", "1"]);
    authority.good(&["issue", "orders", "--days", "364"]);
    let error = authority.bad(&["issue", "payments", "--days", "366"], 1);
    assert!(error.contains("the authority ends at"), "{error}");
    let error = authority.bad(&["issue", "payments", "--at", &days_from_now(-1)], 1);
    assert!(error.contains("is the clock right?"), "{error}");
    assert!(!authority.issued("payments").exists());
    let warned = authority.ca(&["renew", "orders", "--at", &days_from_now(300)]);
    assert_eq!(warned.code(), Some(1), "it would outlive the authority");
    assert!(warned.stderr.contains("warning: the authority services ends"), "{}", warned.stderr);
}

#[test]
fn what_is_shown_is_what_openssl_reads() {
    let Some(openssl) = openssl("ca show") else { return };
    let authority = Authority::new();
    // An hour ago, so that whole days are whole days.
    let start = crate::support::token::now() - 3_600;
    let after_days = |days: i64| jiff::Timestamp::from_second(start + days * 86_400).unwrap().to_string();
    authority.good(&["issue", "gateway", "--gateway"]);
    authority.good(&["issue", "orders", "--ip", "10.0.0.7", "--at", &after_days(0)]);
    let shown = authority.show(&[]);
    let rows: Vec<_> =
        ["authorities", "certificates"].iter().flat_map(|part| shown[*part].as_array().unwrap()).collect();
    assert_eq!(
        rows.iter().map(|row| row["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["root", "services", "gateway", "gateway", "orders"]
    );
    let text = authority.good(&["show"]);
    for row in rows {
        let file = row["file"].as_str().unwrap();
        let fingerprint = openssl.good(&["x509", "-noout", "-fingerprint", "-sha256", "-in", file]);
        let fingerprint = fingerprint.trim().split_once('=').unwrap().1;
        assert_eq!(row["fingerprint_sha256"], fingerprint);
        let serial = openssl.good(&["x509", "-noout", "-serial", "-in", file]).to_ascii_lowercase();
        assert_eq!(format!("serial={}\n", row["serial"].as_str().unwrap()), serial);
        let end = openssl.good(&["x509", "-noout", "-enddate", "-dateopt", "iso_8601", "-in", file]);
        assert_eq!(end.trim().replace(' ', "T"), format!("notAfter={}", row["not_after"].as_str().unwrap()));
        assert_eq!(row["state"], "good");
        for part in [fingerprint, row["not_after"].as_str().unwrap(), row["issuer"].as_str().unwrap()] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    assert_eq!(shown["certificates"][1]["ip"][0], "10.0.0.7");
    assert_eq!(shown["certificates"][1]["days_left"], 29);
    for (days, state, left) in [(21, "renewal_due", 9), (31, "expired", -1), (-1, "not_yet_good", 31)] {
        let row = authority.show(&["orders", "--at", &after_days(days)])["certificates"][0].clone();
        assert_eq!((row["state"].as_str().unwrap(), row["days_left"].as_i64().unwrap()), (state, left));
    }
    assert!(authority.good(&["show", "orders", "--at", &after_days(31)]).contains("EXPIRED"));
}

#[test]
fn of_two_commands_at_once_each_finds_what_the_other_did() {
    let authority = Authority::new();
    let codes: Vec<_> = thread::scope(|scope| {
        let started: Vec<_> = (0..4).map(|_| scope.spawn(|| authority.ca(&["issue", "orders"]).code())).collect();
        started.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == Some(1)).count(), 3, "{codes:?}");
}

#[test]
fn a_key_is_for_a_group_only_where_a_directory_hands_its_group_down() {
    let authority = Authority::new();
    let place = authority.folder.path().join("tls");
    fs::create_dir(&place).unwrap();
    let arguments = ["issue", "gateway", "--gateway", "--group-readable", "--output", place.to_str().unwrap()];
    for (mode, says) in [(0o750, "hands its group down"), (0o2770, "others may write"), (0o2757, "others may write")] {
        fs::set_permissions(&place, fs::Permissions::from_mode(mode)).unwrap();
        let error = authority.bad(&arguments, 1);
        assert!(error.contains(says), "{mode:o}: {error}");
    }
    fs::set_permissions(&place, fs::Permissions::from_mode(0o2750)).unwrap();
    let said = authority.good(&arguments);
    assert!(said.contains(place.join("gateway").to_str().unwrap()), "{said}");
    assert_eq!(mode(&place.join("gateway/key.pem")), 0o640);
    assert_eq!(mode(&place.join("gateway")), 0o2750);
    // Without it, the same place keeps the key to its owner.
    authority.good(&["issue", "orders", "--output", place.to_str().unwrap()]);
    assert_eq!(mode(&place.join("orders/key.pem")), 0o600);
    assert_eq!(mode(&place.join("orders")) & 0o077, 0);
}
