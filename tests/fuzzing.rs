//! Every fuzz target is built, explained, has inputs to start from, and is run by CI; it tries the crates that are released.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

/// Bytes of all corpora together.
const CORPORA_BYTES_MAX: u64 = 1 << 20;

fn read(place: &str) -> String {
    fs::read_to_string(path(place)).unwrap_or_else(|error| panic!("{place}: {error}"))
}

fn path(place: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(place)
}

/// The names in a folder.
fn names(place: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(path(place)).unwrap_or_else(|error| panic!("{place}: {error}"));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn targets() -> BTreeSet<String> {
    names("fuzz/fuzz_targets").iter().map(|name| name.strip_suffix(".rs").unwrap().to_owned()).collect()
}

#[test]
fn every_fuzz_target_is_explained_and_every_explained_one_exists() {
    let page = read("docs/fuzzing.md");
    let rows = page.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned()));
    assert_eq!(rows.collect::<BTreeSet<_>>(), targets());
}

#[test]
fn every_fuzz_target_is_built_and_has_inputs_to_start_from() {
    let manifest = read("fuzz/Cargo.toml");
    assert_eq!(names("fuzz/corpus"), targets());
    let mut bytes = 0;
    for target in targets() {
        let file = format!("name = \"{target}\"\npath = \"fuzz_targets/{target}.rs\"\n");
        assert!(manifest.contains(&file), "{target} is not in fuzz/Cargo.toml");
        let inputs = names(&format!("fuzz/corpus/{target}"));
        assert!(!inputs.is_empty(), "{target} has no inputs");
        bytes += inputs
            .iter()
            .map(|input| fs::metadata(path(&format!("fuzz/corpus/{target}/{input}"))).unwrap().len())
            .sum::<u64>();
    }
    assert!(bytes <= CORPORA_BYTES_MAX, "{bytes} bytes of corpora; fuzz/run shrink keeps what is worth it");
    let strays: Vec<String> = names("fuzz/dictionaries").difference(&targets()).cloned().collect();
    assert!(strays.is_empty(), "dictionaries of no target: {strays:?}");
}

#[test]
fn all_fuzz_targets_are_run_by_ci() {
    let script = read(".ci/run");
    let run = script.lines().find_map(|line| line.strip_prefix("fuzz/run ")).expect("CI fuzzes");
    // A number of seconds and no name of a target: all of them.
    assert!(run.parse::<u32>().is_ok_and(|seconds| seconds > 0), "fuzz/run {run}");
    assert!(read("fuzz/run").contains("fuzz_targets/*.rs"));
}

/// Versions by crate.
fn locked(place: &str) -> BTreeMap<String, BTreeSet<String>> {
    let text = read(place);
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let value = |line: Option<&str>, key: &str| {
        Some(line?.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"')?.to_owned())
    };
    for package in text.split("[[package]]\n").skip(1) {
        let mut lines = package.lines();
        let (name, version) = (value(lines.next(), "name"), value(lines.next(), "version"));
        versions.entry(name.expect(package)).or_default().insert(version.expect(package));
    }
    versions
}

#[test]
fn what_is_fuzzed_is_what_is_released() {
    let released = locked("Cargo.lock");
    let own = ["arbitrary", "libfuzzer-sys", "portcullis-fuzz"];
    let differing: Vec<String> = locked("fuzz/Cargo.lock")
        .into_iter()
        .filter(|(name, _)| !own.contains(&name.as_str()))
        .filter(|(name, versions)| !released.get(name).is_some_and(|released| versions.is_subset(released)))
        .map(|(name, versions)| format!("{name} {versions:?}"))
        .collect();
    assert!(
        differing.is_empty(),
        "cp Cargo.lock fuzz/Cargo.lock && cargo metadata --manifest-path fuzz/Cargo.toml >/dev/null; differing: {differing:?}"
    );
}
