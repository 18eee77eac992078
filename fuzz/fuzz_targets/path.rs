//! The target of a request, `PATH?QUERY`. The judged spelling is its own judged spelling and means what was sent; what is
//! forwarded is what was judged; and eight servers that read paths each in its own way all find the route that was found,
//! below the prefix that a rewrite set, and none climbs above the root.
#![no_main]
use std::sync::LazyLock;

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use portcullis::{
    gate::{
        decide::{Passage, Trust},
        path::RequestPath,
        readings::{EncodedSlash, READINGS_MAX, is_plain, readings},
        request::Request,
        route::{PathPattern, Route},
        witness::Nobody,
    },
    state::gatekeeper::Gatekeeper,
};
use portcullis_fuzz::{decoded, house};

static GATEKEEPER: LazyLock<Gatekeeper> = LazyLock::new(|| house::gatekeeper(house::config()));

fuzz_target!(|data: &[u8]| {
    let Ok(target) = std::str::from_utf8(data) else { return };
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let Ok(judged) = RequestPath::parse(path) else { return };
    let spelling = RequestPath::parse(judged.as_str()).expect("a path still");
    assert!(!spelling.was_decoded() && spelling.as_str() == judged.as_str());
    assert_eq!(decoded(path.as_bytes(), |_| false), decoded(judged.as_str().as_bytes(), |_| false));
    check_readings(judged.as_str());
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("api.test"));
    check_route(&house::request("GET", path, query, &headers));
});

fn check_readings(path: &str) {
    for slash in [EncodedSlash::MayDecode, EncodedSlash::Opaque] {
        let Ok(found) = readings(path, slash) else { continue };
        assert!(found.len() <= READINGS_MAX && found.contains(path.as_bytes()));
        assert!(!is_plain(path) || found.len() == 1, "{path} is not plain");
        found.iter().for_each(|reading| assert!(resolved(reading).is_some(), "{path} climbs"));
    }
}

fn check_route(request: &Request<'_>) {
    let ruleset = GATEKEEPER.ruleset();
    let Ok(admission) = ruleset.admit(request, &mut Nobody) else { return };
    let (route, judged) = (admission.route, admission.path.as_str());
    let passage = Passage { route, trust: Trust::Judged };
    let target = ruleset.forwarded_target(&admission, passage, request);
    let forwarded = target.as_deref().unwrap_or(request.path);
    let forwarded = forwarded.split('?').next().unwrap_or_default();
    let keeps = |byte| byte == b'/' && route.readings.encoded_slash == EncodedSlash::Opaque;
    for server in SERVERS {
        let read = server(judged.as_bytes(), &keeps).unwrap_or_else(|| panic!("{judged} climbs"));
        assert_eq!(naive_route(ruleset.routes.routes(), &read).name, route.name, "{judged} as {read:?}");
        match route.rewrite.add_prefix.as_deref() {
            None => assert_eq!(forwarded, judged),
            Some(prefix) => {
                let read = server(forwarded.as_bytes(), &keeps).unwrap_or_else(|| panic!("{forwarded} climbs"));
                let below = read.strip_prefix(prefix.as_bytes()).unwrap_or_else(|| panic!("{forwarded} left {prefix}"));
                assert!(below.is_empty() || below.starts_with(b"/"), "{forwarded}");
            }
        }
    }
}

/// The route by a search that knows nothing of tables: the exact pattern, else the longest prefix; case and a final slash
/// ignored, as some servers do.
fn naive_route<'r>(routes: &'r [Route], path: &[u8]) -> &'r Route {
    let lower = path.to_ascii_lowercase();
    let lower = if lower.len() > 1 { lower.strip_suffix(b"/").unwrap_or(&lower) } else { &lower };
    let rank = |route: &Route| match &route.path {
        PathPattern::Exact(exact) => (exact.to_ascii_lowercase().as_bytes() == lower).then_some(usize::MAX),
        PathPattern::Prefix(prefix) => lower
            .strip_prefix(prefix.to_ascii_lowercase().as_bytes())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
            .then_some(prefix.len()),
    };
    let ranked = routes.iter().filter_map(|route| Some((rank(route)?, route)));
    ranked.max_by_key(|(rank, _)| *rank).expect("one route takes everything").1
}

/// A way to read a path; nothing when it climbs above the root. The second argument says which escapes stay as they are.
type Server = fn(&[u8], &dyn Fn(u8) -> bool) -> Option<Vec<u8>>;

const SERVERS: [Server; 8] = [
    // Not at all.
    |path, _| Some(path.to_vec()),
    // As nginx and Apache: decoded, slashes merged, dots resolved.
    |path, keeps| resolved(&merged(&decoded(path, keeps))),
    // As servlet containers: parameters cut, decoded, dots resolved.
    |path, keeps| resolved(&decoded(&without_parameters(path), keeps)),
    // The same, but decoded first.
    |path, keeps| resolved(&without_parameters(&decoded(path, keeps))),
    // As IIS: decoded, backslashes are slashes, dots resolved.
    |path, keeps| resolved(&merged(&slashed(&decoded(path, keeps)))),
    // A proxy before a server: dots resolved and decoded by each.
    |path, keeps| resolved(&decoded(&resolved(&decoded(&resolved(path)?, keeps))?, keeps)),
    // As CGI: decoded when everything else is done.
    |path, keeps| Some(decoded(&resolved(&merged(path))?, keeps)),
    // In C, and parsed as a URL once more: ends at NUL, then at `?` or `#`.
    |path, keeps| {
        let decoded = decoded(path, keeps);
        let ended = decoded.split(|byte| matches!(byte, 0 | b'?' | b'#')).next().unwrap_or_default();
        resolved(&merged(ended))
    },
];

fn merged(path: &[u8]) -> Vec<u8> {
    let mut bytes = path.to_vec();
    bytes.dedup_by(|second, first| *second == b'/' && *first == b'/');
    bytes
}

fn slashed(path: &[u8]) -> Vec<u8> {
    path.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect()
}

fn without_parameters(path: &[u8]) -> Vec<u8> {
    let mut is_parameter = false;
    let mut kept = path.to_vec();
    kept.retain(|byte| {
        is_parameter = *byte != b'/' && (is_parameter || *byte == b';');
        !is_parameter
    });
    kept
}

fn resolved(path: &[u8]) -> Option<Vec<u8>> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let segments: Vec<&[u8]> = path.split(|byte| *byte == b'/').skip(1).collect();
    for (position, segment) in segments.iter().enumerate() {
        let is_dots = matches!(*segment, b"." | b"..");
        if *segment == b".." {
            kept.pop()?;
        }
        if !is_dots {
            kept.push(segment);
        } else if position + 1 == segments.len() {
            kept.push(b"");
        }
    }
    Some(kept.iter().flat_map(|segment| [b"/", *segment].concat()).collect())
}
