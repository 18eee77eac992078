//! The invariants of ARCHITECTURE.md, held by a test: who may import whom, what a floor may not say, and where a thing may be decided.
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const FILE_LINES_MAX: usize = 400;
const VAGUE_NAMES: &[&str] = &["utils", "util", "helpers", "helper", "common", "types", "misc"];
/// Files that may lift the ban on clock, files and environment, each with a reason.
const TOUCH_THE_WORLD: &[&str] = &["main.rs", "edge/mod.rs", "cli/mod.rs"];
/// The one owner of every refusal's status.
const REFUSALS: &str = "gate/rejection.rs";
/// Statuses of refusals that are seldom meant as a plain number.
const STATUSES: &[&str] = &["401", "403", "404", "405", "408", "413", "414", "421", "429", "431", "502", "503", "504"];
/// Statuses that are plain numbers elsewhere: noticed only beside the word status.
const STATUSES_BESIDE_THE_WORD: &[&str] = &["400", "500"];
const STATUS_NAMES: &[&str] = &[
    "BAD_REQUEST",
    "UNAUTHORIZED",
    "FORBIDDEN",
    "NOT_FOUND",
    "METHOD_NOT_ALLOWED",
    "REQUEST_TIMEOUT",
    "PAYLOAD_TOO_LARGE",
    "URI_TOO_LONG",
    "MISDIRECTED_REQUEST",
    "TOO_MANY_REQUESTS",
    "REQUEST_HEADER_FIELDS_TOO_LARGE",
    "INTERNAL_SERVER_ERROR",
    "BAD_GATEWAY",
    "SERVICE_UNAVAILABLE",
    "GATEWAY_TIMEOUT",
];
/// What the admin address answers by itself is no refusal of a request.
const ADMIN_ANSWERS: &[&str] =
    &["400", "404", "405", "503", "BAD_REQUEST", "NOT_FOUND", "METHOD_NOT_ALLOWED", "SERVICE_UNAVAILABLE"];

struct Floor {
    name: &'static str,
    may_import: &'static [&'static str],
    must_not_say: &'static [&'static str],
}

const FLOORS: &[Floor] = &[
    Floor { name: "gate", may_import: &["gate"], must_not_say: &["RwLock", "Mutex", "ArcSwap", "arc_swap", "rand::"] },
    Floor {
        name: "config",
        may_import: &["gate", "config"],
        must_not_say: &["RwLock", "Mutex", "ArcSwap", "arc_swap", "rand::"],
    },
    Floor { name: "state", may_import: &["gate", "config", "state"], must_not_say: &[] },
];

/// What no floor below the edge may say: the world, in all its names.
const WORLD: &[&str] = &[
    "pingora",
    "tokio",
    "async fn",
    "async move",
    "async_trait",
    ".await",
    "std::fs",
    "std::env",
    "std::thread",
    "std::process",
    "std::io::stdout",
    "std::io::stderr",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "ToSocketAddrs",
    "Instant::now",
    "SystemTime",
    "log::error!",
    "log::warn!",
    "log::info!",
    "log::debug!",
    "log::trace!",
    "println!",
    "print!(",
    "dbg!",
    "prometheus",
    "super::super",
    "ureq",
];

/// A file of the product: its place below `src` and its text.
struct Source {
    place: String,
    text: String,
}

impl Source {
    /// Numbered lines before the file's tests, without comments; none of a file of tests.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_product = !self.place.ends_with("/tests.rs") && !self.place.contains("/tests/");
        self.product_lines().filter(move |_| is_product).map(|(number, line)| (number, without_comment(line)))
    }

    fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let beginnings = ["", "pub(super) "].map(|sight| format!("\n#[cfg(test)]\n{sight}mod "));
        let end = beginnings.iter().filter_map(|beginning| self.text.find(beginning)).min().unwrap_or(self.text.len());
        self.text[..end].lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    fn fault(&self, number: usize, what: impl std::fmt::Display) -> String {
        format!("src/{}:{number}: {what}", self.place)
    }
}

/// Cuts a comment, but not at the `//` of a URL in a string.
fn without_comment(line: &str) -> &str {
    let mut from = 0;
    while let Some(found) = line[from..].find("//") {
        let position = from + found;
        if position == 0 || !line[..position].ends_with(':') {
            return &line[..position];
        }
        from = position + 2;
    }
    line
}

fn floors_import_downward(source: &Source) -> Vec<String> {
    let Some(floor) = FLOORS.iter().find(|floor| in_floor(&source.place, floor.name)) else { return Vec::new() };
    let mut faults = Vec::new();
    let code: Vec<(usize, &str)> = source.code().collect();
    for (number, module) in imports(&code) {
        if !floor.may_import.contains(&module.as_str()) {
            faults.push(source.fault(number, format!("{} imports {module:?}", floor.name)));
        }
    }
    for (number, code) in code {
        for word in WORLD.iter().chain(floor.must_not_say).filter(|word| code.contains(**word)) {
            faults.push(source.fault(number, format!("{} says {word}", floor.name)));
        }
    }
    faults
}

/// Every module that is named directly after `crate::`, also as one of a list in braces, with its line.
fn imports(code: &[(usize, &str)]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    // How many braces of a list after `crate::` are open; a name counts where only the first is.
    let mut open = 0_usize;
    for (number, line) in code {
        let mut rest = *line;
        while !rest.is_empty() {
            if open == 0 {
                let Some((_, after)) = rest.split_once("crate::") else { break };
                rest = after;
                match rest.strip_prefix('{') {
                    Some(after) => (open, rest) = (1, after),
                    None => found.push((*number, leading_name(rest))),
                }
                continue;
            }
            let name = leading_name(rest);
            if !name.is_empty() && open == 1 {
                rest = &rest[name.len()..];
                found.push((*number, name));
                // What follows the name until the next comma is inside the module.
                let end = rest.find([',', '{', '}']).unwrap_or(rest.len());
                rest = &rest[end..];
                continue;
            }
            let letter = rest.chars().next().unwrap();
            match letter {
                '{' => open += 1,
                '}' => open -= 1,
                _ => {}
            }
            rest = &rest[letter.len_utf8()..];
        }
    }
    found
}

fn leading_name(text: &str) -> String {
    text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

#[test]
fn imports_are_found_in_lists_too() {
    let code = [
        (1, "use crate::gate::keys::Key;"),
        (2, "use crate::{"),
        (3, "    config::settings::{A, B},"),
        (4, "    edge::{clock, files},"),
        (5, "    state, cli::x,"),
        (6, "};"),
        (7, "fn f() -> crate::edge::X { crate::gate::y() }"),
    ];
    let found: Vec<String> = imports(&code).into_iter().map(|(number, module)| format!("{number} {module}")).collect();
    assert_eq!(found, ["1 gate", "3 config", "4 edge", "5 state", "5 cli", "7 edge", "7 gate"]);
}

fn a_file_is_small_and_says_what_it_is_for(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    let lines = source.product_lines().count();
    if lines > FILE_LINES_MAX {
        faults.push(source.fault(lines, format!("{lines} lines, at most {FILE_LINES_MAX}")));
    }
    let path = Path::new(&source.place).with_extension("");
    if path.iter().any(|part| VAGUE_NAMES.iter().any(|name| part == *name)) {
        faults.push(source.fault(1, "say in the name what is in it"));
    }
    if !source.text.starts_with("//! ") {
        faults.push(source.fault(1, "begin with what the file is for"));
    }
    faults
}

fn a_status_of_a_refusal_has_one_owner(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    if source.place == REFUSALS {
        return faults;
    }
    let admin = source.place.starts_with("edge/admin");
    for (number, code) in source.code() {
        let beside_the_word = code.to_ascii_lowercase().contains("status");
        let more = if beside_the_word { STATUSES_BESIDE_THE_WORD } else { &[] };
        for word in words(code) {
            let known = STATUSES.contains(&word) || more.contains(&word);
            let named = STATUS_NAMES.contains(&word) && code.contains("StatusCode");
            if (known || named) && !(admin && ADMIN_ANSWERS.contains(&word)) {
                faults.push(source.fault(number, format!("{word} is decided in {REFUSALS}")));
            }
        }
    }
    faults
}

fn a_metric_is_named_in_one_place(source: &Source) -> Vec<String> {
    if source.place.starts_with("edge/metrics") {
        return Vec::new();
    }
    let named = |code: &str| {
        code.split("\"portcullis_").skip(1).any(|rest| rest.starts_with(|letter: char| letter.is_ascii_lowercase()))
    };
    source
        .code()
        .filter(|(_, code)| named(code))
        .map(|(number, _)| source.fault(number, "a metric's name belongs to edge/metrics"))
        .collect()
}

fn the_world_is_touched_at_the_top(source: &Source) -> Vec<String> {
    if TOUCH_THE_WORLD.contains(&source.place.as_str()) {
        return Vec::new();
    }
    let lifted = source.code().filter(|(_, code)| code.contains("disallowed_methods"));
    lifted
        .map(|(number, _)| source.fault(number, "the ban on clock, files and environment is lifted elsewhere"))
        .collect()
}

const CHECKS: &[fn(&Source) -> Vec<String>] = &[
    floors_import_downward,
    a_file_is_small_and_says_what_it_is_for,
    a_status_of_a_refusal_has_one_owner,
    a_metric_is_named_in_one_place,
    the_world_is_touched_at_the_top,
];

fn holds_everywhere(check: fn(&Source) -> Vec<String>) {
    let faults: Vec<String> = sources().iter().flat_map(check).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn floors_only_import_downward_and_know_nothing_of_the_world() {
    holds_everywhere(floors_import_downward);
}

#[test]
fn every_file_is_small_named_for_something_and_says_what_it_is_for() {
    holds_everywhere(a_file_is_small_and_says_what_it_is_for);
}

#[test]
fn the_status_of_a_refusal_is_written_in_one_file() {
    holds_everywhere(a_status_of_a_refusal_has_one_owner);
}

#[test]
fn the_name_of_a_metric_is_written_in_one_place() {
    holds_everywhere(a_metric_is_named_in_one_place);
}

#[test]
fn clock_files_and_environment_are_reached_at_the_edge_and_in_the_commands_alone() {
    holds_everywhere(the_world_is_touched_at_the_top);
}

#[test]
fn every_file_is_on_the_map() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is the map of the house");
    let named: BTreeSet<&str> =
        map.split(|letter: char| !(letter.is_alphanumeric() || "_.-/".contains(letter))).collect();
    let on_the_map = |place: &str| {
        let name = place.rsplit('/').next().unwrap_or(place);
        named.iter().any(|word| {
            *word == place
                || word.ends_with(&format!("/{place}"))
                || (name != "mod.rs" && word.rsplit('/').next() == Some(name))
        }) || place.strip_suffix("/mod.rs").is_some_and(|folder| {
            let folder = folder.rsplit('/').next().unwrap_or(folder);
            named.iter().any(|word| word.trim_end_matches('/').rsplit('/').next() == Some(folder))
        })
    };
    let missing: Vec<String> =
        sources().into_iter().map(|source| source.place).filter(|place| !on_the_map(place)).collect();
    assert!(missing.is_empty(), "not in ARCHITECTURE.md: {missing:?}");
}

#[test]
fn each_check_notices_what_it_is_for() {
    let rows: &[(&str, &str, bool)] = &[
        ("gate/a.rs", "//! A.\nuse crate::gate::b::C;\nuse std::net::IpAddr;\nuse std::sync::Arc;\n", false),
        ("gate/a.rs", "//! A.\nuse crate::edge::b::C;\n", true),
        ("gate/a.rs", "//! A.\nuse crate::{edge, gate};\n", true),
        ("gate/a.rs", "//! A.\nuse std::sync::Mutex;\n", true),
        ("state/a.rs", "//! A.\nuse std::sync::Mutex;\nuse arc_swap::ArcSwap;\n", false),
        ("state/a.rs", "//! A.\nlet now = Instant::now();\n", true),
        ("config/a.rs", "//! A.\nlet text = std::fs::read(path);\n", true),
        ("config/a.rs", "//! A.\n// std::fs is for the edge\n", false),
        ("config/a.rs", "//! A.\nlet u = \"https://x\"; std::env::args();\n", true),
        ("gate/a.rs", "//! A.\n\n#[cfg(test)]\nmod tests {\n let x = std::fs::read(1);\n}\n", false),
        ("edge/a.rs", "Nothing said.\n", true),
        ("edge/utils.rs", "//! A.\n", true),
        ("edge/utils/a.rs", "//! A.\n", true),
        ("edge/a.rs", "//! A.\nrespond(401);\n", true),
        ("edge/a.rs", "//! A.\nlet status = 400;\n", true),
        ("edge/a.rs", "//! A.\nlet lines = 400;\n", false),
        ("edge/a.rs", "//! A.\nStatusCode::UNAUTHORIZED\n", true),
        ("gate/rejection.rs", "//! A.\nrow(401)\n", false),
        ("edge/admin/health.rs", "//! A.\nanswer(503)\n", false),
        ("edge/admin/health.rs", "//! A.\nanswer(401)\n", true),
        ("edge/a.rs", "//! A.\nname(\"portcullis_x_total\")\n", true),
        ("edge/metrics.rs", "//! A.\nname(\"portcullis_x_total\")\n", false),
        ("edge/a.rs", "//! A.\n#![allow(clippy::disallowed_methods)]\n", true),
        ("edge/mod.rs", "//! A.\n#![allow(clippy::disallowed_methods)]\n", false),
    ];
    for (place, text, faulty) in rows {
        let source = Source { place: (*place).to_owned(), text: (*text).to_owned() };
        let faults: Vec<String> = CHECKS.iter().flat_map(|check| check(&source)).collect();
        assert_eq!(!faults.is_empty(), *faulty, "{place}: {text:?}: {faults:?}");
    }
    let long = Source { place: "edge/a.rs".to_owned(), text: "//! A.\n".repeat(FILE_LINES_MAX + 1) };
    assert!(!a_file_is_small_and_says_what_it_is_for(&long).is_empty());
}

fn in_floor(place: &str, floor: &str) -> bool {
    place.split(['/', '.']).next() == Some(floor)
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|letter: char| !(letter.is_alphanumeric() || letter == '_')).filter(|word| !word.is_empty())
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let source = root().join("src");
    let mut found = Vec::new();
    let mut folders = vec![source.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let place = path.strip_prefix(&source).unwrap().to_str().unwrap().to_owned();
                found.push(Source { place, text: fs::read_to_string(&path).unwrap() });
            }
        }
    }
    assert!(!found.is_empty());
    found.sort_by(|left, right| left.place.cmp(&right.place));
    found
}
