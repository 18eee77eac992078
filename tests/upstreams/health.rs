//! Servers that fail get no requests, and get them again when they are well.
use serde_json::Value;

use super::{builder, get, is_healthy, servers, wait_for};
use crate::support::{
    fixture::good_bearer,
    problem::check_problem,
    server::free_address,
    upstream::{Answer, Upstream},
    wire::Address,
};

const CHECK: &str =
    "health_check: {path: /healthz, interval: 100ms, timeout: 2s, healthy_threshold: 2, unhealthy_threshold: 2}";
const SERVICE_UNAVAILABLE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

fn of_requests(upstream: &Upstream) -> usize {
    upstream.requests().iter().filter(|seen| seen.target() != "/healthz").count()
}

#[test]
fn a_server_that_fails_its_checks_gets_no_requests_until_they_succeed_again() {
    let (one, other) = (Upstream::start(), Upstream::start());
    let gateway = builder(&format!("{{servers: [{}], {CHECK}}}", servers(&[&one, &other]))).start();
    let [first, second] = [&one, &other].map(|upstream| upstream.address().to_string());
    for server in [&first, &second] {
        wait_for(&gateway, "both are healthy", || is_healthy(&gateway, server));
    }
    let check = one.wait_for(1);
    let host = ("Host".to_owned(), first.clone());
    assert!(check[0].target() == "/healthz" && check[0].method() == "GET");
    assert!(check[0].head.fields.contains(&host), "{:?}", check[0].head.fields);

    one.set_answer(Answer::Bytes(SERVICE_UNAVAILABLE.to_vec()));
    wait_for(&gateway, "it is found down", || !is_healthy(&gateway, &first));
    let before = of_requests(&one);
    for _ in 0..20 {
        assert_eq!(get(&gateway).status, 200);
    }
    assert_eq!(of_requests(&one), before, "it was found down and got requests");
    let views = gateway.admin_get("/upstreams").json();
    let view = &views[0]["servers"][0];
    let address = &view["addresses"][0];
    assert_eq!((&view["healthy"], &address["state"]), (&Value::Bool(false), &Value::from("down")), "{views}");
    assert_eq!(address["last_check"]["error"], "/healthz answers 503 Service Unavailable");

    other.set_answer(Answer::Bytes(SERVICE_UNAVAILABLE.to_vec()));
    wait_for(&gateway, "both are down", || !is_healthy(&gateway, &second));
    let (seen_one, seen_other) = (of_requests(&one), of_requests(&other));
    let refused = get(&gateway);
    check_problem(&refused, 503, "upstream_unhealthy", "GET");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!((of_requests(&one), of_requests(&other)), (seen_one, seen_other), "a refused request reached a server");

    one.set_answer(Answer::Echo);
    wait_for(&gateway, "it is found well", || is_healthy(&gateway, &first));
    assert_eq!(get(&gateway).status, 200);
}

#[test]
fn a_connection_is_enough_for_a_check_that_wants_no_more() {
    let address = free_address();
    let echo =
        format!("{{servers: [\"{address}\"], health_check: {{tcp: true, interval: 100ms, healthy_threshold: 1}}}}");
    let gateway = builder(&echo).start();
    let server = address.to_string();
    wait_for(&gateway, "nobody listens", || !is_healthy(&gateway, &server));
    check_problem(&get(&gateway), 503, "upstream_unhealthy", "GET");
    let upstream = Upstream::start_at(address);
    wait_for(&gateway, "somebody listens", || is_healthy(&gateway, &server));
    assert_eq!(get(&gateway).status, 200);
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_check_says_what_is_configured_and_nothing_of_any_client() {
    let upstream = Upstream::start();
    let check = "health_check: {path: '/healthz?deep=1', host: orders.internal, interval: 100ms}";
    let config = crate::support::fixture::config(
        "",
        "  - {name: orders, path_prefix: /, request_headers: {set: {X-Env: prod}}, upstream: echo}",
    )
    .replace("{servers: [\"{upstream}\"]}", &format!("{{servers: [{}], {check}}}", servers(&[&upstream])));
    let gateway =
        crate::support::gateway::Builder::new(config).file("keys.json", crate::support::fixture::keys_file()).start();
    upstream.wait_for(1);
    assert_eq!(get(&gateway).status, 200);
    let before = upstream.requests().len();
    let all = upstream.wait_for(before + 2);
    let (checks, of_clients): (Vec<_>, Vec<_>) = all.iter().partition(|seen| seen.target() == "/healthz?deep=1");
    assert_eq!(of_clients.len(), 1);
    assert!(of_clients[0].head.value("X-User-ID").is_some() && of_clients[0].head.value("X-Env").is_some());
    let expected = [("host", "orders.internal"), ("user-agent", "portcullis-health-check")];
    for check in checks {
        let lower = |(name, value): &(String, String)| (name.to_ascii_lowercase(), value.clone());
        let fields: Vec<_> = check.head.fields.iter().map(lower).collect();
        assert_eq!((check.method(), check.body.as_slice()), ("GET", &b""[..]));
        assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}

#[test]
fn a_server_whose_requests_fail_in_a_row_is_left_alone_and_found_again_when_it_is_back() {
    let address = free_address();
    let gateway = builder(&format!("{{servers: [\"{address}\"], retries: 0}}")).start();
    for _ in 0..5 {
        check_problem(&get(&gateway), 502, "upstream_unreachable", "GET");
    }
    let refused = get(&gateway);
    check_problem(&refused, 503, "upstream_unhealthy", "GET");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(!is_healthy(&gateway, &address.to_string()));
    assert!(gateway.times_said("gets no requests for 1 s, they failed: ConnectRefused") > 0);
    let upstream = Upstream::start_at(address);
    wait_for(&gateway, "it is found again", || get(&gateway).status == 200);
    assert_eq!(upstream.requests().len(), 1);
    assert!(is_healthy(&gateway, &address.to_string()));
    assert!(gateway.times_said("gets requests again") > 0);
}

#[test]
fn answers_of_any_status_are_answers() {
    let upstream = Upstream::start();
    upstream.set_answer(Answer::Bytes(SERVICE_UNAVAILABLE.to_vec()));
    let gateway = builder(&format!("{{servers: [{}]}}", servers(&[&upstream]))).start();
    for _ in 0..20 {
        assert_eq!(get(&gateway).status, 503);
    }
    assert_eq!(upstream.requests().len(), 20);
}

#[test]
fn requests_of_one_subject_stay_at_one_server_and_those_without_at_that_of_their_address() {
    use crate::support::{
        fixture::signing_key,
        token::{Token, bearer},
    };
    let upstreams: Vec<Upstream> = (0..4).map(|_| Upstream::start()).collect();
    let written = servers(&upstreams.iter().collect::<Vec<_>>());
    let echo = format!("{{servers: [{written}], balance: consistent_hash, by: subject}}");
    let gateway = builder(&echo).start();
    let mut used = std::collections::BTreeSet::new();
    for subject in 0..24 {
        let token = bearer(&Token::good().claim("sub", format!("user-{subject}")).signed_by(signing_key()));
        for _ in 0..3 {
            assert_eq!(gateway.get("/orders", &[("Authorization", &token)]).status, 200);
        }
        let seen: Vec<usize> = upstreams.iter().map(|upstream| upstream.take().len()).collect();
        assert!(seen.contains(&3), "{seen:?}");
        used.insert(seen);
    }
    assert_eq!(used.len(), 4, "every server has its subjects");
}

#[test]
fn what_the_gateway_ends_because_a_token_did_says_nothing_of_the_server() {
    use crate::support::{
        client::request_bytes,
        fixture::signing_key,
        token::{Token, bearer, now},
    };
    let upstream = Upstream::start();
    let gateway = builder(&format!("{{servers: [{}], retries: 3}}", servers(&[&upstream]))).start();
    let gate = crate::support::waiting::Gate::default();
    let events = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: a\n\n".to_vec();
    // In the middle of a stream, and before anything came.
    for (answer, status) in [(Answer::Bytes(events), 200), (Answer::EchoAfter(gate.clone()), 401)] {
        upstream.set_answer(answer);
        upstream.take();
        // The leeway of 30 seconds included, it ends in one or two.
        let token = bearer(&Token::good().claim("exp", now() - 28).signed_by(signing_key()));
        // More than the failures in a row for which a server is left alone.
        let mut clients: Vec<_> = (0..8).map(|_| gateway.connect()).collect();
        for client in &mut clients {
            client.send(request_bytes("GET", "/orders", &[("Authorization", &token)]));
        }
        for mut client in clients {
            let text = String::from_utf8_lossy(&client.rest()).into_owned();
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
        }
        assert_eq!(upstream.take().len(), 8, "nothing is tried again");
        let views = gateway.admin_get("/upstreams").json();
        let address = &views[0]["servers"][0]["addresses"][0];
        assert_eq!((&address["state"], &address["failed_requests"]), (&"available".into(), &0.into()), "{views}");
    }
    gate.open();
}

#[test]
fn a_server_that_hangs_is_noticed_by_the_time_that_the_route_allows() {
    let (one, other) = (Upstream::start(), Upstream::start());
    let gate = crate::support::waiting::Gate::default();
    one.set_answer(Answer::EchoAfter(gate.clone()));
    let config =
        crate::support::fixture::config("", "  - {name: orders, path_prefix: /, timeout: 200ms, upstream: echo}")
            .replace("{upstream}", &format!("{}\", \"{}", one.address(), other.address()));
    let gateway =
        crate::support::gateway::Builder::new(config).file("keys.json", crate::support::fixture::keys_file()).start();
    let Address::Tcp(_) = one.address() else { panic!("only TCP") };
    let server = one.address().to_string();
    let mut late = 0;
    wait_for(&gateway, "it is ejected", || {
        assert!([200, 504].contains(&get(&gateway).status));
        !is_healthy(&gateway, &server)
    });
    for _ in 0..4 {
        late += usize::from(gateway.get("/orders", &[("Authorization", &good_bearer())]).status == 504);
    }
    assert!(late <= 1, "at most the one that finds out whether it is back");
    gate.open();
}
