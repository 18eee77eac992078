//! Which route a request finds, and which it must not.
use super::*;
use crate::gate::{
    cross_site::CrossSiteRule,
    network::AddressRule,
    policy::Requirement,
    route::{Action, Authentication, BodyLimit, PathReadings, Rewrite, StreamRule},
};

const EXACT: PathReadings =
    PathReadings { case: Folding::Exact, trailing_slash: Folding::Exact, encoded_slash: EncodedSlash::Opaque };

/// A route written as `HOST PATH [METHODS]`, where a path that ends with `*` is a prefix.
fn route(text: &str) -> Route {
    let mut words = text.split(' ');
    let host = words.next().unwrap();
    let path = words.next().unwrap();
    let methods = words.next().map(|methods| methods.split(',').map(Box::from).collect());
    Route {
        name: text.into(),
        listeners: vec![ListenerId(0)],
        hosts: vec![match host.strip_prefix('*') {
            Some("") => HostPattern::Any,
            Some(suffix) => HostPattern::Below(suffix.into()),
            None => HostPattern::Exact(host.into()),
        }],
        path: match path.strip_suffix('*') {
            Some(prefix) => PathPattern::Prefix(prefix.trim_end_matches('/').into()),
            None => PathPattern::Exact(path.into()),
        },
        methods,
        readings: PathReadings::default(),
        authentication: Authentication::Required,
        issuers: Vec::new(),
        requirement: Requirement::default(),
        observed: None,
        observes_authentication: false,
        addresses: AddressRule::default(),
        rate_limits: Default::default(),
        token_sources: Vec::new(),
        forward_token: false,
        cross_site: CrossSiteRule::default(),
        cors: None,
        action: Action::Respond { status: 204, body: None },
        rewrite: Rewrite::default(),
        request_headers: Default::default(),
        response_headers: Default::default(),
        timeout: None,
        body_limit: BodyLimit::Inherited,
        log: Default::default(),
        stream: StreamRule { end_with_token: true, idle_timeout: None, max_age: None },
    }
}

fn find<'t>(table: &'t RouteTable, request: &str) -> Result<&'t str, String> {
    let mut words = request.split(' ');
    let (method, host, path) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
    let (host, path) = (Host::parse(host).unwrap(), RequestPath::parse(path).unwrap());
    match table.find(ListenerId(0), &host, &path, method) {
        Ok((_, route)) => Ok(&route.name),
        Err(refusal) => Err(match refusal.allow() {
            Some(methods) => format!("{} {methods}", refusal.rejection()),
            None => refusal.rejection().to_string(),
        }),
    }
}

/// Checks each request against the routes, in both orders.
fn check(routes: &[&str], rows: &[(&str, Result<&str, &str>)]) {
    for reversed in [false, true] {
        let mut routes: Vec<Route> = routes.iter().map(|text| route(text)).collect();
        if reversed {
            routes.reverse();
        }
        let table = RouteTable::new(routes, 1).unwrap();
        for (request, expected) in rows {
            assert_eq!(find(&table, request), expected.map_err(str::to_owned), "{request}");
        }
    }
}

#[test]
fn the_most_specific_route_wins_whatever_the_order() {
    check(
        &["* /*", "* /a*", "* /a/b*", "* /a/b", "api.test /a*", "*.test /a*", "*.x.test /a*"],
        &[
            ("GET o /", Ok("* /*")),
            ("GET o /zzz/y", Ok("* /*")),
            ("GET o /ab", Ok("* /*")),
            ("GET o /a", Ok("* /a*")),
            ("GET o /a/c", Ok("* /a*")),
            ("GET o /a/bc", Ok("* /a*")),
            ("GET o /a/b/c", Ok("* /a/b*")),
            ("GET o /a/b", Ok("* /a/b")),
            ("GET api.test /a/b", Ok("api.test /a*")),
            ("GET API.test.:80 /a", Ok("api.test /a*")),
            ("GET api.test /z", Ok("* /*")),
            ("GET y.test /a", Ok("*.test /a*")),
            ("GET z.y.test /a", Ok("*.test /a*")),
            ("GET y.x.test /a", Ok("*.x.test /a*")),
            ("GET test /a", Ok("* /a*")),
            ("GET x.test /a", Ok("*.test /a*")),
        ],
    );
}

#[test]
fn a_method_is_decided_among_the_routes_of_the_path_and_never_falls_to_a_wider_one() {
    check(
        &["* /a* GET,POST", "* /a* DELETE", "* /*", "* /b*", "* /b* PUT"],
        &[
            ("GET o /a", Ok("* /a* GET,POST")),
            ("HEAD o /a", Ok("* /a* GET,POST")),
            ("DELETE o /a/x", Ok("* /a* DELETE")),
            ("PUT o /a", Err("method_not_allowed DELETE, GET, HEAD, POST")),
            ("PUT o /b", Ok("* /b* PUT")),
            ("GET o /b", Ok("* /b*")),
        ],
    );
}

#[test]
fn no_route_is_reached_by_a_spelling_that_another_server_might_read_as_another_route() {
    let ambiguous = Err("path_ambiguous");
    check(
        &["* /*", "* /public*", "* /admin*", "* /files*", "* /exact"],
        &[
            ("GET o /public/x", Ok("* /public*")),
            ("GET o /public/../admin", ambiguous),
            ("GET o /public/%2e%2e/admin", ambiguous),
            ("GET o /public/..;/admin", ambiguous),
            ("GET o /public%2f..%2fadmin", ambiguous),
            ("GET o /public/..%5cadmin", ambiguous),
            ("GET o /public/%252e%252e%252fadmin", ambiguous),
            ("GET o //admin", ambiguous),
            ("GET o /./admin", ambiguous),
            ("GET o /ADMIN", ambiguous),
            ("GET o /AdMiN/x", ambiguous),
            ("GET o /%61dmin", Ok("* /admin*")),
            ("GET o /admin;x=1/y", ambiguous),
            ("GET o /admin%00x", ambiguous),
            ("GET o /x%2f..%2f..%2fadmin", ambiguous),
            ("GET o /exact/", ambiguous),
            ("GET o /exact", Ok("* /exact")),
            ("GET o /files/a%2Fb", Ok("* /files*")),
            ("GET o /files/a;v=1", Ok("* /files*")),
            ("GET o /files//b", Ok("* /files*")),
            ("GET o /files/a/../b", Ok("* /files*")),
            ("GET o /files/FILE.TXT", Ok("* /files*")),
            ("GET o /files/%E9t%E9", Ok("* /files*")),
            ("GET o /files/%C3%A9/", Ok("* /files*")),
            ("GET o /.well-known/x", Ok("* /*")),
            ("GET o /..", ambiguous),
        ],
    );
    check(
        &["* /public*"],
        &[
            ("GET o /public/../admin", ambiguous),
            ("GET o /admin", Err("route_not_found")),
            ("GET o /PUBLIC", ambiguous),
            ("GET o /..", ambiguous),
            ("GET o /x/..%2fpublic", ambiguous),
            ("GET o /publicx", Err("route_not_found")),
        ],
    );
}

#[test]
fn a_pattern_with_capitals_or_a_final_slash_is_reached_by_its_own_spelling() {
    check(&["* /Orders*", "* /Done/"], &[("GET o /Orders/1", Ok("* /Orders*")), ("GET o /Done/", Ok("* /Done/"))]);
    check(
        &["* /*", "* /Orders*"],
        &[("GET o /Orders/1", Ok("* /Orders*")), ("GET o /orders/1", Err("path_ambiguous"))],
    );
    // Two that differ in case alone: an upstream that folds it would take either for either.
    let folded = Err("path_ambiguous");
    check(
        &["* /*", "* /Admin*", "* /admin*"],
        &[("GET o /ADMIN", folded), ("GET o /admin", folded), ("GET o /Admin/x", folded), ("GET o /x", Ok("* /*"))],
    );
    check(&["* /*", "* /done/"], &[("GET o /done/", Ok("* /done/")), ("GET o /done", Err("path_ambiguous"))]);
}

#[test]
fn what_is_known_of_the_upstream_narrows_the_readings() {
    let mut routes = vec![route("* /*"), route("* /admin*"), route("* /a/b")];
    for route in &mut routes {
        route.readings = EXACT;
    }
    let table = RouteTable::new(routes, 1).unwrap();
    assert_eq!(find(&table, "GET o /ADMIN"), Ok("* /*"));
    assert_eq!(find(&table, "GET o /a/b/"), Ok("* /*"));
    assert_eq!(find(&table, "GET o /a%2fb"), Ok("* /*"));
    assert_eq!(find(&table, "GET o /x/..%2f..%2fadmin"), Ok("* /*"));
    assert_eq!(find(&table, "GET o /x/../admin"), Err("path_ambiguous".to_owned()));
}

#[test]
fn a_rewritten_path_may_not_climb_above_its_new_prefix() {
    let mut rewritten = route("* /api*");
    rewritten.rewrite.strip_prefix = Some("/api".into());
    rewritten.rewrite.add_prefix = Some("/v1".into());
    let table = RouteTable::new(vec![rewritten], 1).unwrap();
    assert_eq!(find(&table, "GET o /api/a/../b"), Ok("* /api*"));
    assert_eq!(find(&table, "GET o /api/../api/b"), Err("path_ambiguous".to_owned()));
    assert_eq!(find(&table, "GET o /api/a/../../api/b"), Err("path_ambiguous".to_owned()));
}

#[test]
fn routes_that_match_the_same_requests_conflict() {
    for (first, second, conflict) in [
        ("* /a*", "* /a*", true),
        ("* /a*", "* /a/*", true),
        ("* /a*", "* /a", false),
        ("* /a", "* /a", true),
        ("* /a GET", "* /a", false),
        ("* /a GET", "* /a POST", false),
        ("* /a GET,POST", "* /a POST", true),
        ("* /a GET", "* /a HEAD", true),
        ("x /a", "* /a", false),
        ("x /a", "x /a", true),
        ("*.x /a", "*.x /a", true),
    ] {
        let table = RouteTable::new(vec![route(first), route(second)], 1);
        let expected = RouteConflict { first: RouteId(0), second: RouteId(1) };
        assert_eq!(table.err(), conflict.then(|| vec![expected]), "{first} and {second}");
    }
    let mut elsewhere = route("* /a");
    elsewhere.listeners = vec![ListenerId(1)];
    assert!(RouteTable::new(vec![route("* /a"), elsewhere], 2).is_ok());
}
