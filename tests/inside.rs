//! docs/inside.md: what keeps whoever is inside from being believed. Every example of the page is run as it stands, in front of the real
//! gateway, with somebody who forges.
mod network;
mod samples;

use std::{collections::BTreeSet, fs};

/// An example by its name, which the page shows word for word.
fn example(name: &str) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    fs::read_to_string(format!("{root}/docs/examples/inside/{name}")).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn page() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/inside.md")).unwrap()
}

#[test]
fn the_page_shows_every_example_word_for_word_and_a_test_runs_each() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/examples/inside");
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: BTreeSet<String> = names.collect();
    let page = page();
    let blocks: Vec<&str> =
        page.split("```").skip(1).step_by(2).filter_map(|block| Some(block.split_once('\n')?.1)).collect();
    let tests = include_str!("inside/network.rs").to_owned() + include_str!("inside/samples.rs");
    for name in &names {
        assert!(blocks.contains(&example(name).as_str()), "{name} is not on the page as it is");
        assert!(tests.contains(&format!("\"{name}\"")), "no test runs {name}");
    }
    // What is on the page besides are parts of a configuration, which the tests take from there.
    let others: Vec<&&str> = blocks.iter().filter(|block| !names.iter().any(|name| example(name) == **block)).collect();
    assert_eq!((names.len(), others.len()), (7, 2), "{others:?}");
}

/// The part of a configuration on the page that begins so.
fn part(start: &str) -> String {
    let page = page();
    let (_, after) = page.split_once(&format!("```yaml\n{start}")).unwrap();
    format!("{start}{}", after.split_once("```").unwrap().0)
}
