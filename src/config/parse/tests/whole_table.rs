//! Every key of the table is read.
use serde_json::{Value, json};

use super::*;
use crate::config::keys::{top, walk};

/// A configuration with an element for every list and name of the table.
fn full() -> Value {
    json!({
        "listeners": [{"address": "127.0.0.1:8080"}],
        "issuers": {"main": {"issuer": "https://a.test", "audiences": ["api"], "keys": {"jwks_file": "keys.json"}}},
        "token": {"sources": [{"header": "Authorization"}]},
        "identity": {"headers": {"X-User": {"from": "subject"}}},
        "route_defaults": {"upstream": "up", "token": {"sources": [{"header": "Authorization"}]}},
        "routes": [
            {"path": "/", "upstream": "up", "token": {"sources": [{"header": "Authorization"}]}},
            {"path": "/b"},
        ],
        "upstreams": {"up": {"servers": [{"address": "127.0.0.1:9000"}]}},
        "revocation": {"file": "revoked.yaml"},
    })
}

/// Puts `value` at a path of the table; mappings on the way are made, other values replaced by them. Gives the path
/// as messages show it.
fn put(document: &mut Value, path: &[&str], value: Value) -> String {
    let mut place = document;
    let mut shown = String::new();
    for step in path {
        match *step {
            "[]" => {
                if !place.is_array() {
                    *place = json!([{}]);
                }
                place = &mut place[0];
                shown.push_str("[0]");
            }
            name => {
                if !place.is_object() {
                    *place = json!({});
                }
                let keys = place.as_object_mut().unwrap();
                let name = match name {
                    "*" => keys.keys().next().cloned().unwrap_or_else(|| "X-Any".to_owned()),
                    name => name.to_owned(),
                };
                if !shown.is_empty() {
                    shown.push('.');
                }
                shown.push_str(&name);
                place = keys.entry(name).or_insert(Value::Null);
            }
        }
    }
    *place = value;
    shown
}

#[test]
fn the_document_that_the_others_are_made_of_is_right() {
    let loaded = load(&full().to_string());
    assert!(loaded.config.is_some(), "{}", loaded.problems.render());
}

#[test]
fn every_key_of_the_table_is_read() {
    for (path, key) in walk::paths(top::KEYS).iter() {
        let mut document = full();
        // A list in a list in a list is never right.
        let shown = put(&mut document, path, json!([[[]]]));
        let loaded = load(&document.to_string());
        let found = loaded.problems.sorted();
        let is_read =
            |path: &str| path.strip_prefix(&shown).is_some_and(|rest| rest.is_empty() || rest.starts_with('['));
        assert!(
            found.iter().any(|problem| is_read(problem.path.as_str()) && !problem.message.contains("unknown key")),
            "{} ({path:?}) is not read: {}",
            key.name,
            loaded.problems.render()
        );
    }
}

#[test]
fn an_unknown_key_is_an_error_everywhere() {
    let mut mappings: Vec<Vec<&str>> = vec![vec![]];
    mappings.extend(walk::paths(top::KEYS).into_iter().map(|(mut path, _)| {
        path.pop();
        path
    }));
    mappings.dedup();
    for mut path in mappings {
        path.push("unheard_of");
        let mut document = full();
        put(&mut document, &path, json!(1));
        let loaded = load(&document.to_string());
        let says = |message: &&str| message.starts_with("unknown key `unheard_of`");
        let found: Vec<&str> = loaded.problems.sorted().iter().map(|problem| problem.message.as_str()).collect();
        assert!(found.iter().any(says), "{path:?}: {}", loaded.problems.render());
    }
}
