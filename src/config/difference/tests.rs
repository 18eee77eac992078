//! Every key of the table: that its value is another one is told.
mod rows;

use std::path::Path;

use serde_json::{Value, json};

use super::compare;
use crate::config::keys::{top, walk};
use crate::config::load::{Secrets, load_text};
use crate::config::settings::Config;
use crate::config::surroundings::given::Given;
use rows::{ANYWHERE, MAIN, ROWS, Row};

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
