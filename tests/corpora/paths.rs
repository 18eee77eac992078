//! Spellings of paths from Envoy's, Traefik's and Pomerium's tests: none reaches a route that its plain spelling would not reach.
use portcullis::gate::{
    algorithm::Algorithms,
    firewall::{FirewallNames, HeaderFirewall, Ownership},
    keys::KeySet,
    route::{Authentication, PathPattern, Route},
};
use serde_json::Value;

use super::{
    case::text,
    trial::{Trial, Verdict, decide, issuer, route},
};
use crate::support::corpora;

/// Judges a target where everything is open but these, each exact or, with a final `*`, a prefix. What is open passes, what is
/// guarded is `token_missing`.
fn judge(guarded: &[&str], target: &str) -> Verdict {
    let algorithms = Algorithms::asymmetric();
    let open = Route { name: "open".into(), authentication: Authentication::Public, ..route("/", 0) };
    let mut routes = vec![open];
    for path in guarded {
        let pattern = match path.strip_suffix('*') {
            Some(prefix) => PathPattern::Prefix(prefix.trim_end_matches('/').into()),
            None => PathPattern::Exact((*path).into()),
        };
        routes.push(Route { name: (*path).into(), path: pattern, ..route("/", 1) });
    }
    let keys = KeySet::parse(br#"{"keys":[]}"#, algorithms).unwrap();
    let trial = Trial { issuers: vec![(issuer("https://issuer.test", algorithms), keys.into())], routes };
    decide(&trial.gatekeeper(), "GET", target, &[], 0)
}

fn pairs(document: &Value, member: &str) -> Vec<(String, String)> {
    let pairs = document[member].as_array().unwrap();
    pairs.iter().map(|pair| (text(&pair[0]).to_owned(), text(&pair[1]).to_owned())).collect()
}

#[test]
fn a_path_that_another_server_would_normalise_never_slips_past_a_guard() {
    let Some(folder) = corpora::folder("the paths of Envoy") else { return };
    let document = corpora::json(&folder, "path_and_target/envoy_paths.json");
    let (mut guarded, mut ambiguous, mut malformed) = (0, 0, 0);
    let normalised = pairs(&document, "normalize").into_iter().chain(pairs(&document, "merge_slashes"));
    for (raw, normal) in normalised {
        let path = normal.split('?').next().unwrap();
        // `a/b` is no path: it begins with no slash, neither as sent nor as meant.
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        // The root is where everything else is open: it is guarded by itself. An escaped slash is kept by Envoy, and by the plain
        // reading here.
        match judge(&[&path], &raw) {
            Verdict::Refused(401, "token_missing") => guarded += 1,
            Verdict::Refused(400, "path_ambiguous") => ambiguous += 1,
            Verdict::Refused(400, "request_malformed") => malformed += 1,
            other @ (Verdict::Passes(_) | Verdict::Refused(..) | Verdict::KeyRefused(_)) => {
                panic!("{raw}, which is {path}, came to {other:?}")
            }
        }
    }
    assert_eq!((guarded, ambiguous, malformed), (4, 22, 3), "guarded, ambiguous, malformed");
}

#[test]
fn a_path_that_envoy_refuses_never_reaches_a_guarded_neighbour() {
    let Some(folder) = corpora::folder("the refused paths of Envoy") else { return };
    let document = corpora::json(&folder, "path_and_target/envoy_paths.json");
    let paths = document["reject"].as_array().unwrap();
    for path in paths {
        let verdict = judge(&["/xyz", "/abc"], text(path));
        assert_eq!(verdict, Verdict::Refused(400, "path_ambiguous"), "{path}");
    }
    assert_eq!(paths.len(), 3);
}

#[test]
fn a_query_is_no_part_of_the_path_and_a_fragment_is_refused() {
    let Some(folder) = corpora::folder("the queries of Envoy") else { return };
    let document = corpora::json(&folder, "path_and_target/envoy_paths.json");
    let rows = pairs(&document, "strip_query_fragment");
    for (raw, path) in &rows {
        // Envoy cuts a fragment; a request target has none (RFC 9112 §3.2). What follows a question mark is the query's.
        let in_path = raw.split('?').next().unwrap().contains('#');
        let expected =
            if in_path { Verdict::Refused(400, "request_malformed") } else { Verdict::Refused(401, "token_missing") };
        assert_eq!(judge(&[path], raw), expected, "{raw}");
    }
    assert_eq!(rows.len(), 7);
}

#[test]
fn escapes_that_traefik_denies_are_refused_where_another_reading_meets_a_guard() {
    let Some(folder) = corpora::folder("the escapes of Traefik") else { return };
    let document = corpora::json(&folder, "header_spoof/traefik_cases.json");
    // Guards on what an upstream could make of the path: decoded, cut there, decoded twice.
    let meant = |path: &str| match path {
        "/foo%2fbar" | "/foo%5cbar" => Some("/foo/*"),
        "/foo%00bar" | "/foo%3bbar" => Some("/foo"),
        "/foo%25bar" => None,
        // No server is known that looks for the query or a fragment only after it decoded the path.
        "/foo%3fbar" | "/foo%23bar" => None,
        other => panic!("{other}"),
    };
    let rows = document["encoded_characters_denied"].as_array().unwrap();
    let mut refused = 0;
    for row in rows {
        let path = text(&row["path"]);
        if let Some(guard) = meant(path) {
            assert_eq!(judge(&[guard], path), Verdict::Refused(400, "path_ambiguous"), "{path}");
            refused += 1;
        }
        // Where no route has rules of its own below, every reading picks the same one, and the path is the upstream's business.
        assert!(judge(&["/elsewhere"], path).passes(), "{path}");
    }
    assert_eq!((rows.len(), refused), (7, 4));
}

#[test]
fn paths_of_pomerium_are_forwarded_as_judged_or_refused() {
    let Some(folder) = corpora::folder("the paths of Pomerium") else { return };
    let document = corpora::json(&folder, "path_and_target/pomerium.json");
    let rows = document["cases"].as_array().unwrap();
    for row in rows {
        let path = text(&row["path"]);
        if !row["header"].is_null() {
            // Pomerium refuses every header name with an underscore; here only those that fold onto a protected name leave.
            let custom = text(&row["header"][0]);
            assert_eq!(HeaderFirewall::new(FirewallNames::default()).ownership(custom), Ownership::Free);
            continue;
        }
        assert!(judge(&["/elsewhere"], path).passes(), "{path}");
        assert_eq!(judge(&["/echo/an/*", "/echo/foo/*"], path), Verdict::Refused(400, "path_ambiguous"), "{path}");
    }
    assert_eq!(rows.len(), 4);
}
