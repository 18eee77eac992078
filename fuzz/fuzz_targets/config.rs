//! A configuration. It is understood, or every reason why not has a place in the text; never both, never neither. What is
//! printed cannot fool a terminal and shows no variable's value and no secret; reading it twice says the same. libFuzzer's
//! own limits hold time and memory.
#![no_main]
use std::{path::Path, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use portcullis::config::{
    error::{PROBLEMS_MAX, Problems},
    load::{Loaded, Secrets, load_text},
};
use portcullis_fuzz::house::World;

/// What must not be seen: in no fuzzer's dictionary, and no part of a key or message.
const CANARY: &str = "qj0v7xw3kz";

static WORLD: LazyLock<World> = LazyLock::new(|| World {
    files: [
        ("secret", b"qj0v7xw3kz and so on, which is 32 bytes".as_slice()),
        ("keys.json", br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#),
        ("empty", b""),
    ]
    .into(),
    variables: [("V", CANARY), ("N", "7"), ("E", "")].into(),
});

fuzz_target!(|data: &[u8]| {
    let holds_canary = data.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
    for secrets in [Secrets::Read, Secrets::Skip] {
        let loaded = read(data, secrets);
        assert_eq!(loaded.config.is_none(), loaded.problems.has_errors());
        assert!(secrets == Secrets::Skip || loaded.skipped.is_empty());
        let shown = loaded.problems.render();
        check_problems(&loaded.problems, &shown);
        let json = loaded.problems.to_json().to_string();
        let document = loaded.config.as_ref().map(|config| config.live.document.to_string()).unwrap_or_default();
        for text in [&shown, &json, &document] {
            assert!(holds_canary || !text.contains(CANARY), "{text}");
        }
        if secrets == Secrets::Read {
            assert_eq!(read(data, secrets).problems.render(), shown);
        }
    }
});

fn read(data: &[u8], secrets: Secrets) -> Loaded {
    load_text("fuzz.yaml", data, Path::new(""), &*WORLD, secrets)
}

fn check_problems(problems: &Problems, shown: &str) {
    let sorted = problems.sorted();
    assert!(sorted.len() <= PROBLEMS_MAX);
    assert!(!shown.chars().any(|character| character.is_control() && character != '\n'));
    for problem in sorted {
        assert!(!problem.message.is_empty());
        let source = problems.sources().source(problem.position.source).expect("a text");
        if problem.position.is_whole() {
            continue;
        }
        let line = source.line(problem.position.line).unwrap_or_else(|| panic!("{problem:?} is nowhere"));
        let columns = line.chars().count() + 1;
        assert!((1..=columns).contains(&(problem.position.column as usize)), "{problem:?} of {columns}");
    }
}
