//! `portcullis revoke`, `unrevoke` and `revocations`, from end to end.
use super::*;

#[test]
fn an_entry_is_made_shown_and_taken_back_on_the_instance_that_the_configuration_names() {
    let house = start("");
    let gateway = &house.gateway;
    let token = signed(Token::good());
    let config = gateway.config_file().display().to_string();
    let run = |arguments: &[&str]| {
        let mut all = arguments.to_vec();
        all.extend(["-c", &config]);
        gateway.run(&all)
    };
    let made = run(&["revoke", "--issuer", "main", "--sub", "u1", "--note", "left \u{1b}[31mus"]);
    assert_eq!(made.code(), Some(0), "{made:?}");
    assert!(made.stdout.starts_with("revoked: ") && !made.stdout.contains('\u{1b}'), "{}", made.stdout);
    let id = made.stdout["revoked: ".len()..].split(' ').next().unwrap().to_owned();
    assert_eq!(reason(gateway, &token).as_deref(), Some("subject_revoked"));
    let again = run(&["revoke", "--issuer", "main", "--sub", "u1"]);
    assert_eq!((again.code(), again.stdout.starts_with("was revoked already: ")), (Some(0), true), "{again:?}");
    let shown = run(&["revocations"]);
    assert_eq!(shown.code(), Some(0), "{shown:?}");
    assert!(
        shown.stdout.contains(&format!("{id}  own   subject_revoked  issuer main, sub u1, note left")),
        "{shown:?}"
    );
    assert!(shown.stdout.contains("own.json: 1 entry\n") && !shown.stdout.contains('\u{1b}'), "{shown:?}");
    let json: Value = serde_json::from_str(&run(&["revocations", "--format", "json"]).stdout).unwrap();
    assert_eq!(json["entries"][0]["id"], id.as_str());
    let gone = run(&["unrevoke", &id]);
    assert_eq!((gone.code(), gone.stdout), (Some(0), format!("taken back: {id}\n")));
    assert_eq!(reason(gateway, &token), None);
    let missing = run(&["unrevoke", &id]);
    assert_eq!(missing.code(), Some(1));
    assert!(missing.stderr.contains("did not take it back (status 404): no entry has this id"), "{missing:?}");
}

#[test]
fn times_may_be_now_and_durations() {
    let house = start("");
    let gateway = &house.gateway;
    let config = gateway.config_file().display().to_string();
    let old = signed(Token::good());
    let made = gateway.run(&["revoke", "--issuer", "main", "--issued-before", "now", "--for", "2h", "-c", &config]);
    assert_eq!(made.code(), Some(0), "{made:?}");
    assert_eq!(reason(gateway, &old).as_deref(), Some("token_revoked"));
    assert_eq!(reason(gateway, &signed(Token::good().claim("iat", now() + 2))), None, "who logs in anew passes");
    let entry = entries(gateway).remove(0);
    let time = |name: &str| entry[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
    assert!((now() - 60..=now()).contains(&time("issued_before")), "{entry}");
    assert_eq!(time("until") - time("issued_before"), 7200, "{entry}");
}

#[test]
fn an_instance_is_found_by_its_address_and_over_tcp_a_token_is_needed() {
    let upstream = Upstream::start();
    let tokens = "admin: {address: \"{admin}\", write_token_file: write.token";
    let config = crate::support::fixture::config("", ROUTES).replacen("admin: {address: \"{admin}\"", tokens, 1);
    let gateway = Gateway::builder(config)
        .set("upstream", upstream.address())
        .file("keys.json", crate::support::fixture::keys_file())
        .file("write.token", "write-0123456789abcdef\n")
        .file("wrong.token", "wrong-0123456789abcdef\n")
        .start();
    let folder = gateway.folder().path().to_owned();
    let in_folder = |name: &str| folder.join(name).display().to_string();
    let (admin, config) = (gateway.admin_address().to_string(), in_folder("portcullis.yaml"));
    let socket = format!("unix:{}", in_folder("run/admin.sock"));
    // Without a runtime directory in the environment, as a shell has it.
    let run = |arguments: &[&str]| crate::support::gateway::run(arguments);
    let rows: [(&[&str], Option<i32>, &str); 8] = [
        (&["--admin", &admin], Some(1), "A bearer token is required"),
        (&["--admin", &admin, "--token-file", &in_folder("wrong.token")], Some(1), "A bearer token is required"),
        (&["--admin", &admin, "--token-file", &in_folder("absent.token")], Some(1), "cannot read the token"),
        (&["--admin", &admin, "--token-file", &in_folder("write.token")], Some(0), "revoked: "),
        (&["--admin", &socket], Some(0), "was revoked already: "),
        (&["-c", &config], Some(0), "was revoked already: "),
        (&["-c", &in_folder("absent.yaml")], Some(78), "no such file"),
        (&["--admin", "unix:/no/such.sock"], Some(1), "gives no answer"),
    ];
    for (instance, code, part) in rows {
        let arguments: Vec<&str> = ["revoke", "--sub", "u1"].into_iter().chain(instance.iter().copied()).collect();
        let account = run(&arguments);
        assert_eq!(account.code(), code, "{instance:?}: {account:?}");
        assert!(account.stdout.contains(part) || account.stderr.contains(part), "{instance:?}: {account:?}");
        assert!(!account.stderr.contains("0123456789abcdef") && !account.stdout.contains("write-"), "{account:?}");
    }
    // A configuration that is broken elsewhere still says where the instance is: nobody mends a list to end a session.
    let broken = std::fs::read_to_string(&config).unwrap() + "revocation: {file: absent.yaml}\nunheard_of: 1\n";
    std::fs::write(&config, broken).unwrap();
    let account = run(&["revoke", "--sid", "s1", "-c", &config]);
    assert_eq!(account.code(), Some(0), "{account:?}");
}

#[test]
fn an_entry_that_is_none_is_not_even_sent() {
    for (arguments, part) in [
        (&["revoke"][..], "required"),
        (&["revoke", "--note", "x"], "required"),
        (&["revoke", "--sub", ""], "`sub` must not be empty"),
        (&["revoke", "--sub", "u1", "--until", "tomorrow"], "`until` is no time"),
        (&["revoke", "--sub", "u1", "--until", "2100-01-01T00:00:00Z", "--for", "1h"], "cannot be used with"),
        (&["revoke", "--sub", "u1", "--for", "soon"], "--for"),
        (&["unrevoke"], "required"),
        (&["unrevoke", "../config"], "an id has letters"),
    ] {
        let account = crate::support::gateway::run(arguments);
        assert_eq!(account.code(), Some(2), "{arguments:?}: {account:?}");
        assert!(account.stderr.contains(part), "{arguments:?}: {}", account.stderr);
    }
}
