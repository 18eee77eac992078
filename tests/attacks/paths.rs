//! Paths and methods that one reader takes for a public resource and another for a guarded one.
use super::{Attack, check_refused, house};
use crate::support::client::request_bytes;

#[test]
fn dot_segments_oathkeeper_ghsa_p224_envoy_cve_2019_9901_malcolm_cve_2026_63177() {
    let hole = "the raw path is matched, the resolved one served";
    let targets = [
        "/public/../admin",
        "/public/./../admin",
        "/public/x/../../admin",
        "/public//../admin",
        "/public/..//admin",
        "/public/%2e%2e/admin",
        "/public/.%2E/admin",
        "//admin",
        "/./admin",
        "/public/../../admin",
        "/../admin",
    ];
    let attacks: Vec<Attack> = targets.iter().map(|target| Attack::get(hole, target, &[])).collect();
    check_refused(&house(), 400, "path_ambiguous", &attacks);
}

#[test]
fn escapes_envoy_cve_2021_29492_traefik_cve_2025_66490_and_caddy_08ad06416() {
    let hole = "the upstream decodes what the gateway did not";
    let targets = [
        "/public%2f..%2fadmin",
        "/public/%2e%2e%2fadmin",
        "/public/..%5cadmin",
        "/public\\..\\admin",
        "/public/%252e%252e/admin",
        "/public/..%252fadmin",
        "/admin%00",
        "/public/%00/../../admin",
        "/admin%2f",
        "/%2fadmin",
        "/%5cadmin",
        "/admin%5cx",
        "/public/%",
        "/public/%zz",
        "/public/..%c0%afadmin",
        "/public/%e0%80%ae%e0%80%ae/admin",
    ];
    let attacks: Vec<Attack> = targets.iter().map(|target| Attack::get(hole, target, &[])).collect();
    check_refused(&house(), 400, "path_ambiguous", &attacks);
}

#[test]
fn a_guard_has_every_spelling_of_its_path_malcolm_1055() {
    let hole = "another case, a doubled slash or an escaped letter misses the guard";
    let house = house();
    let guarded = ["/admin", "/%61dmin", "/adm%69n/x", "/admin/"].map(|target| Attack::get(hole, target, &[]));
    check_refused(&house, 401, "token_missing", &guarded);
    let ambiguous =
        ["/AdMiN", "/ADMIN/x", "/%41dmin", "//admin", "/admin//"].map(|target| Attack::get(hole, target, &[]));
    for attack in ambiguous {
        assert!(
            matches!(attack.send(&house).status(), Some(400 | 401)),
            "{:?}",
            String::from_utf8_lossy(&attack.bytes)
        );
    }
    // And a token of low privilege opens none of them.
    for target in ["/admin", "/%61dmin", "/AdMiN", "//admin", "/public/../admin", "/admin;x", "/admin/."] {
        let trace = Attack::with_token(hole, target, &[]).send(&house);
        assert!(matches!(trace.status(), Some(400 | 403)), "{target}: {:?}", trace.status());
        assert!(trace.bytes.is_empty(), "{target}");
    }
}

#[test]
fn path_parameters_envoy_cve_2026_73511() {
    let hole = "a parameter of a segment hides the segment";
    let targets = [
        "/admin;x/..",
        "/admin;x",
        "/public/..;/admin",
        "/public/..;a=b/admin",
        "/public;/../admin",
        "/public/x/..;/..;/admin",
        "/;/admin",
        "/public/%3b/..%3b/admin",
        "/public/..%3b/admin",
    ];
    let house = house();
    for target in targets {
        let trace = Attack::get(hole, target, &[]).send(&house);
        assert!(matches!(trace.status(), Some(400 | 401 | 404)), "{target}: {:?}", trace.status());
        assert!(trace.bytes.is_empty(), "{target}");
    }
}

#[test]
fn what_is_appended_to_an_exact_path_istio_cve_2020_8595_envoy_cve_2021_32777_oauth2_proxy_cve_2026_41059() {
    let hole = "a query or fragment makes another path of it";
    let house = house();
    check_refused(
        &house,
        401,
        "token_missing",
        &["/admin?x", "/admin?", "/admin?/public"].map(|t| Attack::get(hole, t, &[])),
    );
    check_refused(
        &house,
        400,
        "request_malformed",
        &["/admin#x", "/public#/../admin", "/public/x#"].map(|t| Attack::get(hole, t, &[])),
    );
    for target in ["/admin%23x", "/admin%3fx", "/admin%3F", "/public/..%2fadmin%23"] {
        let trace = Attack::get(hole, target, &[]).send(&house);
        assert!(trace.status().is_some_and(|status| status >= 400) && trace.bytes.is_empty(), "{target}");
    }
    let trace = Attack::get(hole, "/exact?a=/admin", &[]).send(&house);
    assert_eq!((trace.status(), trace.seen[0].target()), (Some(200), "/exact?a=/admin"));
}

#[test]
fn a_query_that_looks_like_a_public_path_oauth2_proxy_ghsa_7rh7() {
    let hole = "the rule for public paths sees the query";
    let targets = ["/orders?x=/public", "/orders?/public/", "/orders/x?redirect=/public/", "/admin?/../public/x"];
    check_refused(&house(), 401, "token_missing", &targets.map(|target| Attack::get(hole, target, &[])));
}

#[test]
fn headers_that_name_another_path_or_method_oauth2_proxy_cve_2026_40575() {
    let hole = "the client says which path or method is to be judged";
    let house = house();
    let names = [
        "X-Forwarded-Uri",
        "X-Original-URL",
        "X-Original-URI",
        "X-Rewrite-URL",
        "X_Original_Url",
        "X-Envoy-Original-Path",
        "X-Override-URL",
        "Script-Name",
        "Path-Info",
        "X-Script-Name",
        "X-Middleware-Subrequest",
    ];
    for name in names {
        check_refused(&house, 401, "token_missing", &[Attack::get(hole, "/admin", &[(name, "/public/x")])]);
        let trace = Attack::get(hole, "/public/x", &[(name, "/admin")]).send(&house);
        assert_eq!(trace.seen[0].target(), "/public/x", "{name}");
        assert!(!trace.seen[0].contains("/admin"), "{name} arrived");
    }
    for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "x_http_method_override"] {
        let trace = Attack::get(hole, "/public/x", &[(name, "DELETE")]).send(&house);
        assert_eq!(trace.seen[0].method(), "GET", "{name}");
        assert!(!trace.seen[0].contains("DELETE"), "{name} arrived");
    }
}

#[test]
fn options_that_is_no_preflight_kong_run_on_preflight() {
    let hole = "every OPTIONS passes for a preflight";
    let attacks = [
        Attack::new(hole, request_bytes("OPTIONS", "/orders/x", &[])),
        Attack::new(hole, request_bytes("OPTIONS", "/admin", &[("Origin", "https://a.test")])),
        Attack::new(
            hole,
            request_bytes(
                "OPTIONS",
                "/admin",
                &[("Origin", "https://a.test"), ("Access-Control-Request-Method", "GET")],
            ),
        ),
        Attack::new(hole, request_bytes("OPTIONS", "/orders/x", &[("Max-Forwards", "0")])),
    ];
    check_refused(&house(), 401, "token_missing", &attacks);
}

#[test]
fn a_host_that_is_written_otherwise_reaches_no_other_route() {
    let routes = r#"
  - {name: after, path: /after, auth: none, upstream: echo}
  - {name: open, hosts: [public.test], path_prefix: /, auth: none, upstream: echo}
  - {name: closed, hosts: [admin.test], path_prefix: /, upstream: echo}
"#;
    let house = crate::support::fixture::House::start("", routes);
    let hole = "the host that is judged is not the host that is served";
    let get = |target: &str, host: &str| Attack::get(hole, target, &[("Host", host)]);
    let closed =
        ["admin.test", "ADMIN.test", "admin.test.", "admin.test:8080", "Admin.Test.:1"].map(|host| get("/x", host));
    check_refused(&house, 401, "token_missing", &closed);
    for attack in [
        get("http://admin.test/x", "public.test"),
        get("http://public.test/x", "admin.test"),
        get("http://public.test@admin.test/x", "public.test"),
        get("http://admin.test/x", "public.test@admin.test"),
        get("/x", "public.test/admin.test"),
        get("/x", "public.test\\admin.test"),
        get("/x", "public.test#admin.test"),
        get("/x", "public.test admin.test"),
        get("/x", "public.test:80:admin.test"),
        get("ftp://public.test/x", "public.test"),
        get("http:/x", "public.test"),
        get("http:///x", "public.test"),
        get("/x", ""),
        Attack::new(hole, "GET /x HTTP/1.1\r\n\r\n"),
        Attack::new(hole, "GET http://public.test/x HTTP/1.1\r\n\r\n"),
    ] {
        let trace = attack.send(&house);
        assert!(trace.is_refused() && trace.status() == Some(400), "{:?}", String::from_utf8_lossy(&attack.bytes));
    }
}
