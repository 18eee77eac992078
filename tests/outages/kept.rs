//! The last good key set on disk: a start while the issuer cannot be reached.
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::*;
use crate::support::folder::Folder;

/// Starts with its state in this folder.
fn start(keys: &str, state: &Path) -> House {
    House::start_with(keys, |builder| builder.env("STATE_DIRECTORY", &state.display().to_string()))
}

/// The one file of keys in a state folder.
fn file(state: &Path) -> PathBuf {
    let files: Vec<PathBuf> = fs::read_dir(state.join("keys")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

/// Fetches keys, ends without a chance to tidy up, and gives the folder and the URL that nobody answers any more.
fn fetched_and_killed() -> (Folder, String) {
    let state = Folder::new();
    let server = JwksServer::start(&[signing_key().jwk()]);
    let keys = at(&server, "");
    let mut house = start(&keys, state.path());
    assert_eq!(house.status(signing_key()), 200);
    // The set is put away after it is in force.
    assert!(eventually(PATIENCE, || house.source()["kept_on_disk"].as_str().map(drop)).is_some());
    house.gateway.signal("KILL");
    house.gateway.end(PATIENCE);
    (state, keys)
}

#[test]
fn a_start_while_the_issuer_is_down_serves_with_what_was_kept() {
    let (state, keys) = fetched_and_killed();
    assert_eq!(fs::metadata(file(state.path())).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(state.path().join("keys")).unwrap().permissions().mode() & 0o777, 0o700);
    let house = start(&keys, state.path());
    assert_eq!(house.status(signing_key()), 200);
    let source = house.source();
    assert_eq!(source["from_disk"], true, "{source}");
    assert!(source["age_seconds"].as_u64().is_some() && source["last_error"].is_string(), "{source}");
    assert!(house.metric("portcullis_jwks_last_success_timestamp_seconds{issuer=\"main\"}") > 1e9);
    assert_eq!(house.metric("portcullis_jwks_keys{issuer=\"main\"}"), 1.0);
    house.says("issuer main: serves with 1 keys kept since");
    // It settles nothing: a key that it lacks may have come since.
    let unknown = Token::good().signed_by(&SigningKey::p256("unknown"));
    check_problem(&house.ask(&unknown), 503, "keys_unavailable", "GET");
}

/// Starts with a file that was changed so.
fn start_with_changed(change: impl FnOnce(&mut Value)) -> House {
    let (state, keys) = fetched_and_killed();
    let path = file(state.path());
    let mut document: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut document);
    fs::write(&path, document.to_string()).unwrap();
    start(&keys, state.path())
}

fn milliseconds_later(document: &mut Value, later: i64) {
    let fetched = document["fetched_at_milliseconds"].as_i64().unwrap();
    document["fetched_at_milliseconds"] = (fetched + later).into();
}

#[test]
fn what_was_kept_too_long_ago_is_not_used() {
    let house = start_with_changed(|document| milliseconds_later(document, -86_400_000));
    assert_eq!(house.status(signing_key()), 503);
    house.says("is older than max_stale and is not used");
}

#[test]
fn what_was_kept_counts_from_when_it_was_fetched() {
    let house = start_with_changed(|document| milliseconds_later(document, -86_000_000));
    assert_eq!(house.status(signing_key()), 200);
    let left = house.source()["stale_in_seconds"].as_u64().unwrap();
    assert!(left <= 400, "{left}");
}

#[test]
fn what_was_kept_in_the_future_is_used_and_said() {
    let house = start_with_changed(|document| milliseconds_later(document, 3_600_000));
    assert_eq!(house.status(signing_key()), 200);
    house.says("which is not yet; it is used all the same");
    assert!(house.source()["stale_in_seconds"].as_u64().unwrap() <= 86_400);
}

#[test]
fn what_was_kept_for_another_issuer_or_source_is_not_used() {
    for (member, value) in [("issuer", "https://other.test"), ("source", "http://127.0.0.1:1/jwks.json")] {
        let house = start_with_changed(|document| document[member] = value.into());
        assert_eq!(house.status(signing_key()), 503, "{member}");
        house.says("it is of another issuer or another source of keys");
    }
}

#[test]
fn a_damaged_file_is_said_and_not_used() {
    let (state, keys) = fetched_and_killed();
    let path = file(state.path());
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let house = start(&keys, state.path());
    assert_eq!(house.status(signing_key()), 503);
    house.says("is not used: it is damaged or of another version");
}

#[test]
fn a_key_of_the_file_counts_as_strictly_as_one_that_is_fetched() {
    let secret = serde_json::json!({"keys": [{"kty": "oct", "kid": "s", "k": encoded([7; 32])}]});
    let house = start_with_changed(|document| document["key_set"] = secret.to_string().into());
    assert_eq!(house.status(&SigningKey::secret("s", &[7; 32])), 401);
    assert_eq!(house.status(signing_key()), 503);
    house.says("has no usable key");
}

#[test]
fn a_withdrawn_key_does_not_come_back_with_the_next_start_when_the_disk_takes_nothing() {
    let (old, new) = (SigningKey::p256("old"), SigningKey::p256("new"));
    let state = Folder::new();
    let server = JwksServer::start(&[old.jwk(), new.jwk()]);
    let keys = at(&server, "");
    let mut house = start(&keys, state.path());
    assert!(eventually(PATIENCE, || house.source()["kept_on_disk"].as_str().map(drop)).is_some());
    // A folder where the draft is to be: nothing can be written in place of what is kept.
    let kept = file(state.path());
    let draft = format!(".{}.{}", kept.file_name().unwrap().to_str().unwrap(), house.gateway.id());
    fs::create_dir(kept.with_file_name(&draft)).unwrap();
    // As long as no key is withdrawn, what is kept is better than nothing.
    assert!(house.refresh());
    let error = || house.source()["disk_error"].as_str().map(str::to_owned);
    assert!(eventually(PATIENCE, || error().filter(|error| error.contains("cannot be kept"))).is_some());
    assert!(kept.exists());
    server.set(KeySetAnswer::keys(&[new.jwk()]));
    assert!(house.refresh());
    assert!(eventually(PATIENCE, || error().filter(|error| error.contains("was removed"))).is_some(), "{:?}", error());
    assert!(house.source()["kept_on_disk"].is_null() && !kept.exists());
    assert_eq!((house.status(&old), house.status(&new)), (401, 200));
    fs::remove_dir(kept.with_file_name(&draft)).unwrap();
    house.gateway.signal("KILL");
    house.gateway.end(PATIENCE);
    drop(server);
    assert_eq!(start(&keys, state.path()).status(&old), 503);
}

#[test]
fn what_others_could_have_planted_is_not_believed() {
    let (state, keys) = fetched_and_killed();
    fs::set_permissions(state.path().join("keys"), fs::Permissions::from_mode(0o1777)).unwrap();
    let house = start(&keys, state.path());
    assert_eq!(house.status(signing_key()), 503);
    house.says("others may write to it");
}

#[test]
fn without_a_place_for_state_nothing_is_kept_and_that_is_said() {
    let server = JwksServer::start(&[signing_key().jwk()]);
    let upstream = Upstream::start();
    for (written, says) in [("none", "state is not kept: server.state_directory is off"), ("", "cannot be used")] {
        let line = if written.is_empty() { String::new() } else { format!(", state_directory: {written}") };
        let text = config(&at(&server, "")).replace("grace_period: 20s", &format!("grace_period: 20s{line}"));
        let gateway = builder(&text, &upstream).env("STATE_DIRECTORY", "/nonexistent/portcullis").start();
        assert!(gateway.times_said(says) > 0, "{written}: {}", gateway.account().stderr);
        assert_eq!(fs::read_dir(gateway.folder().path().join("state")).unwrap().count(), 0);
    }
    // One that is asked for must be had.
    let text = config(&at(&server, "")).replace("20s}", "20s, state_directory: /proc/portcullis}");
    let (account, _folder) = builder(&text, &upstream).start_expecting_end();
    assert!(account.stderr.contains("the state directory /proc/portcullis cannot be used"), "{}", account.stderr);
}

#[test]
fn a_state_folder_that_is_named_is_made_and_used() {
    let server = JwksServer::start(&[signing_key().jwk()]);
    let upstream = Upstream::start();
    let text = config(&at(&server, "")).replace("20s}", "20s, state_directory: \"{folder}/made/here\"}");
    let gateway = builder(&text, &upstream).start();
    let made = gateway.folder().path().join("made/here");
    assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(eventually(PATIENCE, || fs::read_dir(made.join("keys")).ok()?.next().map(drop)).is_some());
}
