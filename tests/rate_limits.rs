//! Limits on how many requests a route takes of one caller, over real sockets: who is counted as whom, what a refusal says
//! and costs, and what is told on responses that pass. The buckets themselves: `rate_limits/buckets.rs`.
mod buckets;

use std::thread;

use crate::support::{
    client::{Client, Response},
    fixture::{self, House, good_bearer, signing_key},
    gateway::Gateway,
    http2::Http2,
    keys::{SigningKey, key_set},
    problem::check_problem,
    reported::{check_counted, check_reported, is_metric},
    token::{Token, bearer},
    upstream::{Answer, Upstream},
    waiting::{PATIENCE, eventually},
};

/// The client is whoever it says it is: every address that a test wants.
const TRUSTING: &str = "trusted_proxies: [127.0.0.0/8]";

fn of(subject: &str) -> String {
    bearer(&Token::good().claim("sub", subject).signed_by(signing_key()))
}

/// A second token of the same subject.
fn another_of(subject: &str) -> String {
    bearer(&Token::good().claim("sub", subject).claim("jti", "another").signed_by(signing_key()))
}

fn route(name: &str, more: &str) -> String {
    format!("  - {{name: {name}, path_prefix: /{name}, upstream: echo, {more}}}\n")
}

fn get(client: &mut Client, path: &str, authorization: Option<&str>) -> Response {
    client.get(path, &authorization.iter().map(|value| ("Authorization", *value)).collect::<Vec<_>>())
}

/// Asks from an address that a trusted proxy tells.
fn ask_from(house: &House, address: &str, path: &str, authorization: Option<&str>) -> Response {
    let mut headers = vec![("X-Forwarded-For", address)];
    headers.extend(authorization.iter().map(|value| ("Authorization", *value)));
    house.gateway.get(path, &headers)
}

/// Checks all that a refusal of a limit has to say, and that the upstream saw nothing.
fn check_limited(house: &House, response: &Response, route: &str, by: &str, wait: std::ops::RangeInclusive<u64>) {
    let request_id = check_problem(response, 429, "rate_limited", "GET");
    let pause: u64 = response.header("Retry-After").unwrap().parse().unwrap();
    assert!(wait.contains(&pause), "{route}: {pause} is not in {wait:?}");
    assert!(response.header("RateLimit").unwrap().contains(";r=0;t="), "{:?}", response.head.fields);
    assert!(response.header("RateLimit-Policy").is_some(), "{:?}", response.head.fields);
    check_reported(&house.gateway, &request_id, route, "rate_limited", 429, "GET");
    let line = house.gateway.access_line(&request_id);
    assert_eq!(line["auth"]["result"], "rejected", "{line}");
    check_counted(&house.gateway, "portcullis_rate_limited_total", &[("route", route), ("by", by)]);
    assert!(house.upstream.take().is_empty(), "{route}: a refused request reached the upstream");
}

fn all_limited(house: &House) -> u64 {
    house.gateway.metric(|line| is_metric(line, "portcullis_rate_limited_total", &[])) as u64
}

#[test]
fn every_subject_has_a_bucket_of_its_own_whatever_connection_and_token_it_uses() {
    for cache in ["claims_cache: {entries: 1000}", "claims_cache: {entries: 0}"] {
        let house = House::start(cache, &route("mine", "rate_limit: {requests: 3, per: 1h, by: subject}"));
        let (alice, bob) = (of("alice"), of("bob"));
        let mut kept = house.gateway.connect();
        for left in [2, 1] {
            let response = get(&mut kept, "/mine", Some(&alice));
            assert_eq!(response.status, 200, "{cache}");
            assert_eq!(response.header("RateLimit"), Some(&*format!("\"subject\";r={left};t=1200")), "{cache}");
            assert_eq!(response.header("RateLimit-Policy"), Some("\"subject\";q=3;w=3600"));
        }
        assert_eq!(get(&mut kept, "/mine", Some(&another_of("alice"))).status, 200, "{cache}");
        house.upstream.take();
        for _ in 0..2 {
            let refused = get(&mut kept, "/mine", Some(&alice));
            check_limited(&house, &refused, "mine", "subject", 1100..=1200);
        }
        assert_eq!(get(&mut kept, "/mine", Some(&bob)).status, 200, "the connection goes on, and others are served");
        house.upstream.take();
        check_limited(&house, &get(&mut kept, "/mine", Some(&another_of("alice"))), "mine", "subject", 1100..=1200);
        assert_eq!(all_limited(&house), 3);
    }
}

#[test]
fn a_limit_by_token_tells_the_tokens_of_one_subject_apart_remembered_or_not() {
    for cache in ["claims_cache: {entries: 1000}", "claims_cache: {entries: 0}"] {
        let house = House::start(cache, &route("mine", "rate_limit: {requests: 2, per: 1h, by: token}"));
        let (one, other) = (of("alice"), another_of("alice"));
        let mut client = house.gateway.connect();
        for token in [&one, &other] {
            for _ in 0..2 {
                assert_eq!(get(&mut client, "/mine", Some(token)).status, 200);
            }
            house.upstream.take();
            check_limited(&house, &get(&mut client, "/mine", Some(token)), "mine", "token", 1700..=1800);
        }
    }
}

#[test]
fn a_limit_by_token_counts_every_signature_of_the_same_words() {
    let house = House::start("", &route("mine", "rate_limit: {requests: 1, per: 1h, by: token}"));
    // ECDSA signatures are random: the same token may be signed again.
    let token = Token::good().claim("exp", crate::support::token::now() + 600);
    let signed: Vec<String> = (0..3).map(|_| bearer(&token.clone().signed_by(signing_key()))).collect();
    assert_ne!(signed[0], signed[1]);
    assert_eq!(house.gateway.get("/mine", &[("Authorization", &signed[0])]).status, 200);
    house.upstream.take();
    for token in &signed {
        let refused = house.gateway.get("/mine", &[("Authorization", token)]);
        check_limited(&house, &refused, "mine", "token", 3500..=3600);
    }
}

#[test]
fn a_limit_by_issuer_is_shared_by_its_subjects_and_equal_subjects_of_two_issuers_are_two() {
    let other_key = SigningKey::p256("o1");
    let issuers = "  other:\n    issuer: https://other.test\n    audiences: [https://api.test]\n    \
                   keys: {jwks_file: other.json}\nidentity:\n";
    let routes = [
        route(
            "all",
            "issuers: [main, other], insecure_merged_subjects: true, rate_limit: {requests: 2, per: 1h, by: issuer}",
        ),
        route(
            "each",
            "issuers: [main, other], insecure_merged_subjects: true, rate_limit: {requests: 1, per: 1h, by: subject}",
        ),
    ];
    let upstream = Upstream::start();
    let gateway = Gateway::builder(fixture::config("", &routes.concat()).replace("identity:\n", issuers))
        .set("upstream", upstream.address())
        .file("keys.json", fixture::keys_file())
        .file("other.json", key_set(&[other_key.jwk_for("ES256")]))
        .start();
    let house = House { gateway, upstream };
    let others = |subject: &str| {
        let token = Token::good().claim("iss", "https://other.test").claim("sub", subject);
        bearer(&token.header("kid", "o1").signed_by(&other_key))
    };
    let ask = |path: &str, token: &str| house.gateway.get(path, &[("Authorization", token)]);
    for subject in ["alice", "bob"] {
        assert_eq!(ask("/all", &of(subject)).status, 200);
    }
    for token in [of("alice"), others("alice")] {
        assert_eq!(ask("/each", &token).status, 200);
    }
    house.upstream.take();
    check_limited(&house, &ask("/all", &of("carol")), "all", "issuer", 1700..=1800);
    check_limited(&house, &ask("/each", &others("alice")), "each", "subject", 3500..=3600);
    assert_eq!(ask("/all", &others("carol")).status, 200, "another issuer has a bucket of its own");
}

#[test]
fn addresses_are_counted_before_any_token_is_looked_at_and_ipv6_by_the_first_64_bits() {
    let house = House::start(TRUSTING, &route("mine", "rate_limit: {requests: 2, per: 1h, by: address}"));
    let good = good_bearer();
    for (one, same, other) in [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("2001:db8:1:1::1", "2001:db8:1:1:ffff::2", "2001:db8:1:2::1"),
        ("::ffff:198.51.100.1", "198.51.100.1", "::ffff:198.51.100.2"),
    ] {
        check_problem(&ask_from(&house, one, "/mine", Some("Bearer abc")), 401, "token_malformed", "GET");
        check_problem(&ask_from(&house, same, "/mine", None), 401, "token_missing", "GET");
        for (address, token) in [(one, Some(good.as_str())), (same, None), (one, Some("Bearer abc"))] {
            check_limited(&house, &ask_from(&house, address, "/mine", token), "mine", "address", 1700..=1800);
        }
        assert_eq!(ask_from(&house, other, "/mine", Some(&good)).status, 200);
        house.upstream.take();
    }
}

#[test]
fn the_address_is_that_of_the_connection_unless_a_trusted_proxy_says_otherwise() {
    let house = House::start("", &route("mine", "auth: none, rate_limit: {requests: 1, per: 1h, by: address}"));
    let ask = |source: u8, told: &str| {
        let mut client = Client::connect_from([127, 0, 0, source].into(), house.gateway.address());
        client.get("/mine", &[("X-Forwarded-For", told), ("X-Real-IP", told), ("Forwarded", &format!("for={told}"))])
    };
    assert_eq!(ask(2, "192.0.2.1").status, 200);
    house.upstream.take();
    check_limited(&house, &ask(2, "192.0.2.2"), "mine", "address", 3500..=3600);
    assert_eq!(ask(3, "192.0.2.1").status, 200);
}

#[test]
fn who_leaves_the_token_away_is_counted_by_address_where_a_limit_is_by_subject() {
    let routes = [
        route("maybe", "auth: optional, rate_limit: {requests: 2, per: 1h, by: subject}"),
        route("trial", "insecure_observe_authentication: true, rate_limit: {requests: 2, per: 1h, by: subject}"),
    ];
    let house = House::start(TRUSTING, &routes.concat());
    let expired = bearer(&Token::good().claim("exp", 1_000_000_000).signed_by(signing_key()));
    for (path, without) in [("/maybe", None), ("/trial", Some(expired.as_str()))] {
        for _ in 0..2 {
            assert_eq!(ask_from(&house, "192.0.2.1", path, without).status, 200, "{path}");
        }
        house.upstream.take();
        let refused = ask_from(&house, "192.0.2.1", path, None);
        check_limited(&house, &refused, &path[1..], "subject", 1700..=1800);
        let line = house.gateway.access_line(refused.header("X-Request-Id").unwrap());
        assert_eq!(line["auth"]["detail"], "more than 2 requests per 1h by subject, 2 at once, counted by address");
        assert_eq!(ask_from(&house, "192.0.2.2", path, None).status, 200, "{path}: another address");
        assert_eq!(ask_from(&house, "192.0.2.1", path, Some(&of("alice"))).status, 200, "{path}: somebody");
    }
}

#[test]
fn what_one_limit_refuses_and_what_is_refused_for_another_reason_is_charged_to_no_other() {
    let limits = "require: {scopes: [a]}, rate_limit: [{requests: 10, per: 1h, by: address}, \
                  {requests: 2, per: 1h, by: subject}, {requests: 5, per: 1h, by: issuer}]";
    let house = House::start("", &route("mine", limits));
    let with = |subject: &str, scope: &str| {
        bearer(&Token::good().claim("sub", subject).claim("scope", scope).signed_by(signing_key()))
    };
    let ask = |token: &str| house.gateway.get("/mine", &[("Authorization", token)]);
    let (alice, bob) = (with("alice", "a"), with("bob", "a"));
    let told = |response: &Response| response.header("RateLimit").unwrap().to_owned();
    assert_eq!(told(&ask(&alice)), "\"address\";r=9;t=360, \"subject\";r=1;t=1800, \"issuer\";r=4;t=720");
    let refused = ask(&with("alice", "b"));
    check_problem(&refused, 403, "scope_insufficient", "GET");
    assert!(told(&refused).starts_with("\"address\";r=8;t="), "refused for rights: the address has asked");
    assert!(!told(&refused).contains("subject"), "nobody looked at the others: {}", told(&refused));
    assert!(ask(&alice).status == 200);
    house.upstream.take();
    for _ in 0..5 {
        let refused = ask(&alice);
        check_limited(&house, &refused, "mine", "subject", 1700..=1800);
        let told = told(&refused);
        assert!(told.starts_with("\"address\";r=7;") && told.contains("\"issuer\";r=3;"), "{told}");
    }
    let passed = ask(&bob);
    assert_eq!(passed.status, 200);
    let told = told(&passed);
    assert!(told.starts_with("\"address\";r=6;") && told.contains("\"issuer\";r=2;"), "{told}");
}

#[test]
fn a_burst_beyond_the_rate_passes_at_once_and_what_is_refilled_can_be_sent() {
    let routes = [
        route("burst", "auth: none, rate_limit: {requests: 1, per: 1h, burst: 4, by: address}"),
        route("quick", "auth: none, rate_limit: {requests: 2, per: 1s, burst: 1, by: address}"),
    ];
    let house = House::start("", &routes.concat());
    let mut client = house.gateway.connect();
    for _ in 0..4 {
        assert_eq!(get(&mut client, "/burst", None).status, 200);
    }
    house.upstream.take();
    check_limited(&house, &get(&mut client, "/burst", None), "burst", "address", 3500..=3600);
    let mut passed = 0;
    let again = eventually(PATIENCE, || {
        passed += u32::from(get(&mut client, "/quick", None).status == 200);
        (passed == 3).then_some(())
    });
    assert!(again.is_some(), "nothing is refilled");
    assert!(all_limited(&house) > 1, "it never waited");
}

#[test]
fn many_subjects_from_many_addresses_at_once_get_what_is_theirs_and_no_more() {
    let limits = "rate_limit: [{requests: 3, per: 1h, by: subject}, {requests: 6, per: 1h, by: address}]";
    let house = House::start(TRUSTING, &route("mine", limits));
    // Each address has two subjects, and each subject sends five requests over one connection.
    let passed: Vec<(usize, usize)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8_usize)
            .map(|thread| {
                let house = &house;
                scope.spawn(move || {
                    let mut client = house.gateway.connect();
                    let mut passed = Vec::new();
                    for subject in (thread * 20)..(thread * 20 + 20) {
                        let (address, token) = (format!("10.0.{}.1", subject / 2), of(&format!("s{subject}")));
                        let send = |_: &usize| {
                            let headers = [("X-Forwarded-For", address.as_str()), ("Authorization", token.as_str())];
                            client.get("/mine", &headers).status == 200
                        };
                        passed.push((subject, (0..5).filter(send).count()));
                    }
                    passed
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(passed.len(), 160);
    assert!(passed.iter().all(|(_, passed)| *passed == 3), "{passed:?}");
    assert_eq!(house.upstream.take().len(), 480);
    let counted = eventually(PATIENCE, || (all_limited(&house) == 320).then_some(()));
    assert!(counted.is_some(), "{}", all_limited(&house));
}

#[test]
fn one_subject_on_many_connections_at_once_gets_no_more_than_one_bucket() {
    let house = House::start("", &route("mine", "rate_limit: {requests: 50, per: 1h, by: subject}"));
    let alice = of("alice");
    let passed: usize = thread::scope(|scope| {
        let send = || {
            let mut client = house.gateway.connect();
            (0..20).filter(|_| get(&mut client, "/mine", Some(&alice)).status == 200).count()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(send)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!((passed, house.upstream.take().len()), (50, 50));
}

#[test]
fn what_an_upstream_says_of_its_own_limits_stays_beside_where_it_is_a_list() {
    let routes = [
        route("mine", "auth: none, rate_limit: {requests: 9, per: 9m, by: address}"),
        route("free", "auth: none"),
        route(
            "bare",
            "auth: none, response_headers: {remove: [RateLimit, RateLimit-Policy]}, \
               rate_limit: {requests: 9, per: 9m, by: address}",
        ),
    ];
    let house = House::start("", &routes.concat());
    let answer = |fields: &str| {
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{fields}\r\n");
        house.upstream.set_answer(Answer::Bytes(text.into_bytes()));
    };
    let told = |path: &str| {
        let response = house.gateway.get(path, &[]);
        let fields = response.head.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("ratelimit"));
        fields.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    answer("RateLimit: \"theirs\";r=1;t=5\r\nRateLimit-Policy: \"theirs\";q=5;w=60\r\n");
    assert_eq!(told("/free"), ["\"theirs\";r=1;t=5"]);
    assert_eq!(told("/mine"), ["\"theirs\";r=1;t=5", "\"address\";r=8;t=60"]);
    assert!(told("/bare").is_empty());
    answer("RateLimit: limit=5, remaining=1, reset=5\r\n");
    assert_eq!(told("/free"), ["limit=5, remaining=1, reset=5"]);
    assert_eq!(told("/mine"), ["\"address\";r=7;t=60"], "two forms in one field are none");
}

#[test]
fn pages_of_other_origins_can_read_what_limits_say_and_preflights_are_not_counted() {
    let cors = "cors: {origins: [\"https://app.test\"], headers: [authorization]}";
    let house = House::start("", &route("mine", &format!("{cors}, rate_limit: {{requests: 1, per: 1h, by: address}}")));
    let origin = ("Origin", "https://app.test");
    let preflight =
        [origin, ("Access-Control-Request-Method", "GET"), ("Access-Control-Request-Headers", "authorization")];
    for _ in 0..3 {
        let response = house.gateway.connect().request("OPTIONS", "/mine", &preflight);
        assert_eq!((response.status, response.header("RateLimit")), (204, None));
    }
    let good = good_bearer();
    for status in [200, 429] {
        let response = house.gateway.get("/mine", &[origin, ("Authorization", &good)]);
        assert_eq!(response.status, status);
        let exposed = response.header("Access-Control-Expose-Headers").unwrap();
        let names = ["RateLimit", "RateLimit-Policy", "Retry-After"];
        for name in names.iter().filter(|name| status == 429 || **name != "Retry-After") {
            assert!(exposed.split(", ").any(|exposed| exposed == *name), "{status}: {exposed}");
        }
    }
}

#[test]
fn limits_of_the_defaults_are_each_routes_own_and_can_be_turned_off() {
    let more = "route_defaults: {rate_limit: {requests: 1, per: 1h, by: address}}";
    let routes = [
        route("one", "auth: none"),
        route("two", "auth: none"),
        route("free", "auth: none, rate_limit: none"),
        route("more", "auth: none, rate_limit: {requests: 2, per: 1h, by: address}"),
    ];
    let house = House::start(more, &routes.concat());
    let status = |path: &str| house.gateway.get(path, &[]).status;
    for path in ["/one", "/two"] {
        assert_eq!([status(path), status(path)], [200, 429], "{path}");
    }
    assert_eq!([status("/free"), status("/free"), status("/free")], [200, 200, 200]);
    assert_eq!([status("/more"), status("/more"), status("/more")], [200, 200, 429]);
}

#[test]
fn requests_of_one_http2_connection_are_counted_as_any_others() {
    let upstream = Upstream::start();
    let config = fixture::config("", &route("mine", "rate_limit: {requests: 2, per: 1h, by: subject}"))
        .replace("address: \"{listen}\"", "address: \"{listen}\", http2: true");
    let gateway =
        Gateway::builder(config).set("upstream", upstream.address()).file("keys.json", fixture::keys_file()).start();
    let mut client = Http2::connect(gateway.address()).unwrap();
    let alice = of("alice");
    let mut ask = || client.get("http://api.test/mine", &[("authorization", &alice)]).unwrap();
    assert_eq!([ask().status, ask().status], [200, 200]);
    upstream.take();
    let house = House { gateway, upstream };
    check_limited(&house, &ask(), "mine", "subject", 1700..=1800);
}
