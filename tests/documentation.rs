//! What the documentation says is what the product does: tables are generated from the code, examples are run.
//!
//! `PORTCULLIS_WRITE_DOCS=1 cargo test documentation` writes the generated files anew.
use std::{fmt::Write as _, fs, path::PathBuf};

use portcullis::{
    edge::metrics,
    gate::rejection::{Challenge, Rejection},
};

use crate::support::{
    folder::Folder,
    gateway::{self, Gateway},
    token::bearer,
    upstream::Upstream,
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Compares a file of the documentation with what the code says it must be.
fn check_generated(place: &str, expected: &str) {
    let path = root().join(place);
    if std::env::var_os("PORTCULLIS_WRITE_DOCS").is_some() {
        fs::write(&path, expected).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == expected,
        "{place} is not what the code says; PORTCULLIS_WRITE_DOCS=1 cargo test documentation writes it"
    );
}

#[test]
fn the_page_of_refusals_is_the_table_in_the_code() {
    let mut page = "# Refusals\n\n\
        Every request that is refused gets `application/problem+json` (RFC 9457) with `type`, `title`, `status`, `reason` and\n\
        `request_id`; the reason is also in the access log and, for those of authentication, in\n\
        `portcullis_auth_rejections_total`. When several apply, the first one looked for counts.\n\n\
        | status | reason | challenge | title | asked for by |\n|---|---|---|---|---|\n"
        .to_owned();
    for rejection in Rejection::ALL {
        let row = rejection.row();
        let challenge = match row.challenge {
            Challenge::Silent => "",
            Challenge::Invite => "`Bearer` without `error`",
            Challenge::Error(code) => code,
        };
        writeln!(page, "| {} | `{}` | {challenge} | {} | {} |", row.status, row.label, row.title, row.section).unwrap();
    }
    page.push_str("\nThis page is written by the test `documentation`.\n");
    check_generated("docs/refusals.md", &page);
}

#[test]
fn the_page_of_metrics_is_the_table_in_the_code() {
    let page = format!(
        "# Metrics\n\nServed at `/metrics` of the admin address in the Prometheus text format. Labels are closed sets: never a\n\
         subject, path, `kid` or raw host; an unmatched route or issuer is `-`.\n\n{}\n\
         This page is written by the test `documentation`.\n",
        metrics::reference().trim_end().to_owned() + "\n"
    );
    check_generated("docs/metrics.md", &page);
}

/// The first block of YAML in a page.
fn first_yaml(page: &str) -> &str {
    let (_, after) = page.split_once("```yaml\n").unwrap();
    after.split_once("```").unwrap().0
}

#[test]
fn the_configuration_in_the_readme_is_valid() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let folder = Folder::new();
    let path = folder.write("readme.yaml", first_yaml(&readme).as_bytes());
    let finished = gateway::run(&["validate", "-c", path.to_str().unwrap()]);
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    assert!(finished.stdout.contains("health"), "the public route is named: {finished:?}");
}

#[test]
fn the_configuration_in_the_readme_lets_the_token_pass_that_the_readme_signs() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let upstream = Upstream::start();
    let config = first_yaml(&readme)
        .replace("0.0.0.0:8080", "{listen}")
        .replace("127.0.0.1:9400", "{admin}")
        .replace("{jwks_url: https://auth.example.com/.well-known/jwks.json}", "{jwks_file: keys.json}")
        .replace("[127.0.0.1:8081, {address: \"127.0.0.1:8082\", weight: 2}]", "[\"{upstream}\"]");
    let builder = Gateway::builder(config).set("upstream", upstream.address());
    let folder = builder.folder().to_path_buf();
    // The lines as they stand there, as a shell would split them.
    let in_folder = |line: &str| {
        let words = line.split_whitespace().map(|word| match word.trim_matches('\'') {
            file @ ("key.pem" | "keys.json") => folder.join(file).display().to_string(),
            word => word.to_owned(),
        });
        let words: Vec<String> = words.collect();
        let finished = gateway::run(&words.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(finished.code(), Some(0), "{line}: {finished:?}");
        finished.stdout
    };
    let keygen = readme.lines().find_map(|line| line.strip_prefix("portcullis token keygen")).unwrap();
    in_folder(&format!("token keygen{keygen}"));
    let mint = readme.split_once("$(portcullis token mint").unwrap().1.split_once(")\"\n").unwrap().0;
    let token = in_folder(&format!("token mint{mint}"));
    let gateway = builder.start();
    let authorization = bearer(token.trim());
    for path in ["/orders", "/admin"] {
        assert_eq!(gateway.get(path, &[("Authorization", &authorization)]).status, 200, "{path}");
        assert_eq!(upstream.take()[0].head.values("X-User-ID"), ["alice"], "{path}");
    }
}

/// The blocks of a page that show a terminal: each command with what it writes.
fn consoles(page: &str) -> Vec<(&str, String)> {
    let blocks = page.split("```console\n").skip(1).map(|rest| rest.split("\n```").next().unwrap());
    let commands = blocks.flat_map(|block| block.split("$ ").skip(1));
    commands
        .map(|shown| {
            let (command, output) = shown.split_once('\n').unwrap_or((shown, ""));
            (command, output.trim_end().to_owned())
        })
        .collect()
}

#[test]
fn every_terminal_that_the_pages_of_policies_show_shows_what_it_would() {
    let mut shown = 0;
    let binaries = PathBuf::from(gateway::BINARY).parent().unwrap().display().to_string();
    let path = format!("{binaries}:{}", std::env::var("PATH").unwrap_or_default());
    for place in ["docs/explain.md", "docs/policy-tests.md", "docs/policy.md"] {
        let page = fs::read_to_string(root().join(place)).unwrap();
        for (command, output) in consoles(&page) {
            let mut shell = std::process::Command::new("/bin/sh");
            shell
                .args(["-c", command])
                .current_dir(root().join("docs/examples/policy"))
                .env_clear()
                .env("PATH", &path)
                .env("LANG", "C.UTF-8");
            let account = crate::support::process::run("sh", &mut shell);
            let written: Vec<&str> = account.stdout.lines().map(str::trim_end).collect();
            let expected: Vec<&str> = output.lines().map(str::trim_end).collect();
            assert_eq!(written.join("\n").trim_end(), expected.join("\n"), "{place}: {command}\n{}", account.stderr);
            shown += 1;
        }
    }
    assert!(shown >= 4, "the pages show {shown} terminals");
}

#[test]
fn the_readme_names_the_commands_that_exist() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains("apt-get install -y build-essential cmake && cargo run --release -- demo\n"));
    for file in ["conf/portcullis.yaml", "docs/identity-headers.md", "docs/refusals.md", "docs/metrics.md", "LICENSE"] {
        assert!(readme.contains(file), "{file} is not linked");
        assert!(root().join(file).exists(), "{file} is linked but not there");
    }
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    let mut pages = vec![root().join("README.md"), root().join("ARCHITECTURE.md"), root().join("CHANGELOG.md")];
    pages.extend(fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    let mut links = 0;
    for page in pages.iter().filter(|page| page.extension().is_some_and(|extension| extension == "md")) {
        let text = fs::read_to_string(page).unwrap();
        for after in text.split("](").skip(1) {
            let target = after.split(')').next().unwrap();
            if target.contains("://") || target.starts_with('#') {
                continue;
            }
            let file = page.parent().unwrap().join(target.split('#').next().unwrap());
            assert!(file.exists(), "{}: {target} is linked but not there", page.display());
            links += 1;
        }
    }
    assert!(links > 5, "only {links} links were found");
}

/// Every `module::name` in the page.
fn tests_named_in(page: &str) -> Vec<&str> {
    let is_path = |text: &&str| {
        text.contains("::")
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b':'))
    };
    page.split('`').filter(is_path).collect()
}

/// Where a module of the integration tests may stand: `a::b` is `tests/a/b.rs`.
fn source_of(module: &str) -> Option<String> {
    fs::read_to_string(root().join("tests").join(module.replace("::", "/")).with_extension("rs")).ok()
}

/// That every test a page names is there, and at least so many.
fn check_tests_named_in(page: &str, at_least: usize) -> Vec<String> {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let named = tests_named_in(&text);
    assert!(named.len() >= at_least, "{page}: only {} tests are named", named.len());
    for test in &named {
        let (module, name) = test.rsplit_once("::").unwrap();
        let source = source_of(module).unwrap_or_else(|| panic!("{page}: {test}: no such module"));
        assert!(source.contains(&format!("#[test]\nfn {name}()")), "{page}: {test}: no such test");
    }
    named.into_iter().map(str::to_owned).collect()
}

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    check_tests_named_in("docs/threat-model.md", 51);
}

#[test]
fn every_row_of_the_page_of_protocols_names_a_test_that_is_there() {
    let named = check_tests_named_in("docs/protocols.md", 25);
    let page = fs::read_to_string(root().join("docs/protocols.md")).unwrap();
    let (_, table) = page.split_once("| test |\n").unwrap();
    let rows: Vec<&str> = table.lines().skip(1).take_while(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), named.len());
    for row in &rows {
        let cells: Vec<&str> = row.split(" | ").collect();
        let [_, _, _, test] = cells.as_slice() else { panic!("not four cells: {row}") };
        assert_eq!(tests_named_in(test).len(), 1, "{row}");
    }
    // And of the tests with peers none is missing there.
    for file in fs::read_dir(root().join("tests/peers")).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_some_and(|extension| extension == "rs") {
            let module = format!("peers::{}::", file.file_stem().unwrap().to_str().unwrap());
            let tests = fs::read_to_string(&file).unwrap().matches("#[test]\n").count();
            assert_eq!(named.iter().filter(|test| test.starts_with(&module)).count(), tests, "{module}");
        }
    }
}

#[test]
fn every_protection_that_the_threat_model_lists_names_its_file_and_its_test() {
    let page = fs::read_to_string(root().join("docs/threat-model.md")).unwrap();
    let rows = page
        .split("| test |\n")
        .skip(1)
        .flat_map(|after| after.lines().skip(1).take_while(|line| line.starts_with('|')).collect::<Vec<_>>());
    let mut checked = 0;
    for row in rows {
        let cells: Vec<&str> = row.split(" | ").collect();
        let [_, _, places, tests] = cells.as_slice() else { panic!("not four cells: {row}") };
        assert!(!tests_named_in(tests).is_empty(), "no test: {row}");
        for place in places.split('`').filter(|place| place.contains('/')) {
            assert!(root().join("src").join(place).exists(), "{place} is not there: {row}");
        }
        checked += 1;
    }
    assert!(checked > 40, "only {checked} rows");
}
