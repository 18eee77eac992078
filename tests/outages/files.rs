//! A key set in a file, which is watched.
use std::fs;

use super::*;

fn start(key: &SigningKey) -> House {
    House::start_with("jwks_file: keys.json", |builder| builder.file("keys.json", key_set(&[key.jwk()])))
}

/// Waits until tokens of this key get this status.
fn becomes(house: &House, key: &SigningKey, status: u16) {
    let seen = eventually(PATIENCE, || (house.status(key) == status).then_some(()));
    assert!(seen.is_some(), "{} never becomes {status}", key.kid());
}

#[test]
fn a_file_that_changes_is_read_again_whatever_way_it_changes() {
    let keys: Vec<SigningKey> = (0..4).map(|number| SigningKey::p256(&format!("k{number}"))).collect();
    let house = start(&keys[0]);
    let folder = house.gateway.folder().path();
    let path = folder.join("keys.json");
    assert_eq!(house.status(&keys[0]), 200);
    // In place.
    fs::write(&path, key_set(&[keys[1].jwk()])).unwrap();
    becomes(&house, &keys[1], 200);
    assert_eq!(house.status(&keys[0]), 401, "the withdrawn key");
    // Another file by the same name.
    fs::write(folder.join("next"), key_set(&[keys[2].jwk()])).unwrap();
    fs::rename(folder.join("next"), &path).unwrap();
    becomes(&house, &keys[2], 200);
    // A link that is led elsewhere, as secrets of a cluster are.
    fs::write(folder.join("linked"), key_set(&[keys[3].jwk()])).unwrap();
    std::os::unix::fs::symlink("linked", folder.join("link")).unwrap();
    fs::rename(folder.join("link"), &path).unwrap();
    becomes(&house, &keys[3], 200);
    assert_eq!(house.status(&keys[2]), 401);
}

#[test]
fn a_file_that_cannot_be_opened_for_a_while_is_read_when_it_can() {
    let (key, new) = (SigningKey::p256("k"), SigningKey::p256("new"));
    let house = start(&key);
    let folder = house.gateway.folder().path();
    house.gateway.limit_open_files(3);
    fs::write(folder.join("next"), key_set(&[new.jwk()])).unwrap();
    // As old as a file that was copied with its times: nothing about it will change again.
    let touch = ["-d", "2001-01-01", &folder.join("next").display().to_string()].map(str::to_owned);
    crate::support::process::run("touch", std::process::Command::new("touch").args(touch));
    fs::rename(folder.join("next"), folder.join("keys.json")).unwrap();
    // The admin address cannot be asked meanwhile: each question is a connection of its own.
    let is_told = || house.gateway.account().stderr.contains("open files").then_some(());
    assert!(eventually(PATIENCE, is_told).is_some(), "it is not said that the file cannot be opened");
    house.gateway.limit_open_files(1024);
    becomes(&house, &new, 200);
    assert_eq!(house.status(&key), 401, "the withdrawn key");
}

#[test]
fn a_file_that_becomes_useless_changes_nothing_and_is_said_once_for_each_reason() {
    let (key, new) = (SigningKey::p256("k"), SigningKey::p256("new"));
    let house = start(&key);
    let path = house.gateway.folder().path().join("keys.json");
    let error = || house.source()["last_error"].as_str().map(str::to_owned);
    for (content, says) in
        [(Some("{\"keys\":[]}"), "no usable key"), (Some("{"), "not one JSON object"), (None, "cannot read")]
    {
        match content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let told = eventually(PATIENCE, || error().filter(|error| error.contains(says)));
        let told = told.unwrap_or_else(|| panic!("{says} is not said: {:?}", error()));
        assert_eq!(house.status(&key), 200, "{says}");
        let logged = || house.gateway.account().stderr.matches(&format!("stay as they are: {told}")).count();
        assert!(eventually(PATIENCE, || (logged() == 1).then_some(())).is_some(), "{told}: {} times", logged());
    }
    fs::write(&path, key_set(&[new.jwk()])).unwrap();
    becomes(&house, &new, 200);
    assert_eq!(error(), None);
    assert_eq!(house.status(&key), 401);
}
