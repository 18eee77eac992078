//! Included files: what they are, what is wrong with them, and that it makes no difference how a configuration is split.
use proptest::prelude::*;

use super::*;
use crate::config::load::{Loaded, Secrets, digest_of, load};
use crate::config::surroundings::given::Given;

const MAIN: &str = "/c/portcullis.yaml";
const HEAD: &str = "listeners: [{address: '127.0.0.1:8080'}]\n";
const KEYS: &[u8] = include_bytes!("../parse/tests/testdata/keys.json");

fn world(main: &str, files: &[(&str, &str)]) -> Given {
    let world = Given::default().file("/c/keys.json", KEYS).file(MAIN, format!("{HEAD}{main}").as_bytes());
    let world = world.variable("PORT", "9000");
    files.iter().fold(world, |world, (name, text)| world.file(name, text.as_bytes()))
}

fn loaded(world: &Given) -> Loaded {
    load(Path::new(MAIN), world, Secrets::Read)
}

#[test]
fn names_match_as_in_a_shell() {
    let rows = [
        ("*.yaml", "a.yaml", true),
        ("*.yaml", ".yaml", true),
        ("*.yaml", "a.yml", false),
        ("a?.yaml", "ab.yaml", true),
        ("a?.yaml", "a.yaml", false),
        ("*a*b*", "xxaxbxx", true),
        ("*a*b*", "xxbxaxx", false),
        ("**", "", true),
        ("a", "ab", false),
        ("ab", "a", false),
    ];
    for (pattern, name, expected) in rows {
        assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
    }
}

#[test]
fn included_files_are_part_of_the_configuration() {
    let route = "routes: [{name: a, path: /a, auth: none, upstream: up}]";
    let up = "upstreams: {up: {servers: [{address: '127.0.0.1:${PORT}'}]}}";
    let main = "include: ['d/*.yaml', d/a.yaml, up.yaml]\n";
    // Hidden files, such as an editor's, are not meant.
    let world = world(main, &[("/c/d/a.yaml", route), ("/c/d/.b.yaml", "{"), ("/c/up.yaml", up)]);
    let first = loaded(&world);
    let config = first.config.unwrap_or_else(|| panic!("{}", first.problems.render()));
    assert_eq!(config.live.ruleset.routes.routes().len(), 1);
    assert_eq!(config.live.document["routes"][0]["name"], "a");
    let digest = |world: &Given| digest_of(Path::new(MAIN), &first.includes, world);
    assert_eq!(digest(&world), Some(first.sha256.clone()));
    let another = world.clone().file("/c/up.yaml", format!("{up}\n").as_bytes());
    assert_ne!(digest(&another), Some(first.sha256.clone()), "every byte counts");
    let more = world.file("/c/d/c.yaml", b"x-nothing: 1");
    assert_ne!(digest(&more), Some(first.sha256), "and so does a file that came");
}

#[test]
fn what_is_wrong_in_an_included_file_is_said_with_its_place() {
    let main = "include: [d/a.yaml]\nroutes: [{name: a, path: /a, auth: none, upstream: up}]\n\
                upstreams:\n  up: {servers: [{address: '127.0.0.1:9000'}]}\n";
    let rows = [
        ("admin: {}", "/c/d/a.yaml:1:1", "`admin` cannot stand in an included file"),
        ("route: []", "/c/d/a.yaml:1:1", "did you mean `routes`"),
        ("include: []", "/c/d/a.yaml:1:1", "an included file includes no others"),
        ("[]", "/c/d/a.yaml:1:1", "must be a mapping"),
        ("routes: {}", "/c/d/a.yaml:1:9", "`routes` must be a list, not a mapping"),
        ("upstreams: []", "/c/d/a.yaml:1:12", "`upstreams` must be a mapping, not a list"),
        ("issuers:", "/c/d/a.yaml:1", "`issuers` must be a mapping, not nothing"),
        ("routes: [", "/c/d/a.yaml:", ""),
        ("", "/c/d/a.yaml", "the document is empty"),
        ("upstreams:\n  up: {}", "/c/d/a.yaml:2:3", "`up` is there twice, first in line 5 of /c/portcullis.yaml"),
        (
            "routes: [{name: a, path: /b, auth: none, upstream: up}]",
            "/c/d/a.yaml:1:17",
            "is there twice, first in line 3 of /c/portcullis.yaml",
        ),
        (
            "routes: [{name: b, path: /a, auth: none, upstream: up}]",
            "/c/d/a.yaml:1:10",
            "takes the same requests as `a` in line 3 of /c/portcullis.yaml",
        ),
        ("routes: [{name: b, path: /b, auth: none, upstream: pu}]", "/c/d/a.yaml:1:", "did you mean `up`"),
        ("routes: [{name: b, path: '${NO}', auth: none, upstream: up}]", "/c/d/a.yaml:1:", "`NO` is not set"),
    ];
    for (text, place, says) in rows {
        let found = loaded(&world(main, &[("/c/d/a.yaml", text)]));
        let said = found.problems.render();
        assert!(found.config.is_none(), "{text}");
        assert!(said.contains(place) && said.contains(says), "{text}: {place} {says} is missing in\n{said}");
    }
}

#[test]
fn what_cannot_be_included_is_an_error_and_no_match_a_warning() {
    let rest = "routes: [{name: a, path: /a, respond: {status: 200}, auth: none}]\n";
    let large = "#".repeat(DOCUMENT_BYTES_MAX + 1);
    let rows = [
        ("[absent.yaml]", "cannot include `/c/absent.yaml`: no such file", true),
        ("[nowhere/*.yaml]", "cannot include `/c/nowhere/*.yaml`: no such file", true),
        ("['*/a.yaml']", "not of directories", true),
        ("[large.yaml]", "larger than 1048576 bytes", true),
        ("[latin.yaml]", "not UTF-8", true),
        ("['']", "must not be empty", true),
        ("x.yaml", "must be a list", true),
        ("[1]", "must be a string", true),
        ("['${NO}']", "`NO` is not set", true),
        ("['*.conf']", "`*.conf` matches no file", false),
        ("[]", "", false),
    ];
    for (include, says, is_error) in rows {
        let world = world(&format!("include: {include}\n{rest}"), &[("/c/large.yaml", &large)]);
        let found = loaded(&world.file("/c/latin.yaml", b"routes: [\xe9]"));
        let said = found.problems.render();
        assert!(said.contains(says), "{include}: {said}");
        assert_eq!(found.config.is_none(), is_error, "{include}: {said}");
    }
}

#[test]
fn what_is_included_is_bounded_as_a_whole() {
    let rest = "include: ['d/*.yaml']\nroutes: [{name: a, path: /a, respond: {status: 200}, auth: none}]\n";
    let with = |count: usize, text: &str| {
        let world = (0..count)
            .fold(world(rest, &[]), |world, number| world.file(&format!("/c/d/{number:05}.yaml"), text.as_bytes()));
        loaded(&world).problems.render()
    };
    assert!(with(FILES_MAX + 1, "x-a: 1").contains("at most 1000 files are included"));
    assert!(with(6, &format!("x-a: 1\n#{}", "x".repeat(900_000))).contains("bytes are included in all"));
    let many = format!("x-a: [{}]", "1,".repeat(30_000));
    assert!(with(4, &many).contains("together hold too much"));
    assert!(!with(3, &many).contains("error"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each part of the configuration goes to the main file or to any of three others: the rules are the same.
    #[test]
    fn however_a_configuration_is_split_it_means_the_same(places in prop::collection::vec(0_usize..4, 9)) {
        let parts: Vec<(&str, String)> = (0..3)
            .flat_map(|n| [
                ("issuers", format!("i{n}: {{issuer: 'https://{n}.test', audiences: [a], keys: {{jwks_file: keys.json}}}}")),
                ("routes", format!("{{name: r{n}, path_prefix: /r{n}, issuers: [i{n}], upstream: u{n}}}")),
                ("upstreams", format!("u{n}: {{servers: [{{address: '127.0.0.1:900{n}'}}]}}")),
            ])
            .collect();
        let text = |place: usize, places: &[usize]| -> String {
            SECTIONS.iter().fold("x-none: 1\n".to_owned(), |text, section| {
                let here: Vec<&str> = parts.iter().zip(places)
                    .filter(|((of, _), at)| of == section && **at == place)
                    .map(|((_, part), _)| part.as_str()).collect();
                let (open, close) = if *section == "routes" { ('[', ']') } else { ('{', '}') };
                if here.is_empty() { text } else { format!("{text}{section}: {open}{}{close}\n", here.join(", ")) }
            })
        };
        let meaning = |places: &[usize]| {
            let files = ["/c/d/1.yaml", "/c/d/2.yaml", "/c/d/3.yaml"];
            let texts: Vec<String> = (1..4).map(|place| text(place, places)).collect();
            let files: Vec<(&str, &str)> = files.into_iter().zip(texts.iter().map(String::as_str)).collect();
            let found = loaded(&world(&format!("include: ['d/*.yaml']\n{}", text(0, places)), &files));
            let config = found.config.unwrap_or_else(|| panic!("{}", found.problems.render()));
            let rules = &config.live.ruleset;
            let upstreams: Vec<&str> = config.live.upstreams.iter().map(|upstream| upstream.name.as_ref()).collect();
            let mut routes: Vec<String> = rules.routes.routes().iter().map(|route| {
                let crate::gate::route::Action::Forward(id) = &route.action else { panic!("it forwards") };
                let believed: Vec<&str> = rules.issuers.iter().enumerate()
                    .filter(|(at, _)| format!("{:?}", route.issuers).contains(&format!("IssuerId({at})")))
                    .map(|(_, issuer)| issuer.identifier.as_ref()).collect();
                format!("{} {:?} {} {believed:?}", route.name, route.path, upstreams[usize::from(id.0)])
            }).collect();
            routes.sort_unstable();
            routes
        };
        let whole = meaning(&[0; 9]);
        prop_assert_eq!(whole.len(), 3);
        prop_assert_eq!(meaning(&places), whole);
    }
}
