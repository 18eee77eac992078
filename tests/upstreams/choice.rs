//! Which server a request goes to: by weight, at random, and never by what a client says.
use std::collections::BTreeSet;

use super::{builder, get, servers};
use crate::support::{
    client::exchange,
    fixture::good_bearer,
    upstream::{Answer, Upstream},
};

fn amounts(upstreams: &[Upstream]) -> Vec<usize> {
    upstreams.iter().map(|upstream| upstream.take().len()).collect()
}

#[test]
fn servers_get_requests_by_their_weight() {
    let upstreams: Vec<Upstream> = (0..3).map(|_| Upstream::start()).collect();
    let [one, two, three] = [0, 1, 2].map(|number: usize| upstreams[number].address());
    let list = format!("[\"{one}\", {{address: \"{two}\", weight: 3}}, {{address: \"{three}\", weight: 6}}]");
    let gateway = builder(&format!("{{servers: {list}}}")).start();
    for _ in 0..3 {
        for _ in 0..20 {
            assert_eq!(get(&gateway).status, 200);
        }
        assert_eq!(amounts(&upstreams), [2, 6, 12]);
    }
    let gateway = builder(&format!("{{servers: {list}, balance: random}}")).start();
    let mut seen = BTreeSet::new();
    for _ in 0..8 {
        for _ in 0..20 {
            assert_eq!(get(&gateway).status, 200);
        }
        seen.insert(amounts(&upstreams));
    }
    assert!(seen.len() > 1, "turns, not chance: {seen:?}");
    let sum = |at: usize| seen.iter().map(|row| row[at]).sum::<usize>();
    assert!(sum(2) > sum(0), "{seen:?}");
}

#[test]
fn requests_of_one_address_stay_at_one_server() {
    let upstreams: Vec<Upstream> = (0..4).map(|_| Upstream::start()).collect();
    let written = servers(&upstreams.iter().collect::<Vec<_>>());
    let gateway = builder(&format!("{{servers: [{written}], balance: consistent_hash, by: address}}")).start();
    let mut used = BTreeSet::new();
    for client in 1..=24_u8 {
        for _ in 0..3 {
            let mut client =
                crate::support::client::Client::connect_from([127, 0, 0, client].into(), gateway.address());
            assert_eq!(client.get("/orders", &[("Authorization", &good_bearer())]).status, 200);
        }
        let seen = amounts(&upstreams);
        assert!(seen.contains(&3), "{seen:?}");
        used.insert(seen);
    }
    assert_eq!(used.len(), 4, "every server has its addresses");
}

#[test]
fn where_a_request_goes_is_never_for_the_client_to_say() {
    let (upstream, secret) = (Upstream::start(), Upstream::start());
    let gateway = builder(&format!("{{servers: [{}]}}", servers(&[&upstream]))).start();
    let (elsewhere, token) = (secret.address().to_string(), good_bearer());
    let ask = |target: &str, host: &str, more: &str| {
        let method = if target == elsewhere { "CONNECT" } else { "GET" };
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {token}\r\n{more}\r\n");
        exchange(gateway.address(), head).map(|response| response.status)
    };
    let mut statuses = Vec::new();
    for (target, host) in [
        ("/orders", elsewhere.as_str()),
        (&format!("http://{elsewhere}/orders"), elsewhere.as_str()),
        (&format!("http://{elsewhere}/orders"), "api.test"),
        (&format!("http://api.test@{elsewhere}/orders"), "api.test"),
        (&format!("//{elsewhere}/orders"), "api.test"),
        (&format!("/orders/http://{elsewhere}/"), "api.test"),
        (&format!("@{elsewhere}/orders"), "api.test"),
        (&format!(":@{elsewhere}/orders"), "api.test"),
        (&elsewhere, elsewhere.as_str()),
        ("/orders", &format!("api.test@{elsewhere}")),
        ("/orders", &format!("api.test#@{elsewhere}")),
    ] {
        statuses.push((format!("{target} {host}"), ask(target, host, "").unwrap()));
    }
    for name in [
        "X-Forwarded-Host",
        "X-Host",
        "X-Forwarded-Server",
        "X-Original-URL",
        "X-Rewrite-URL",
        "Destination",
        "X-Upstream",
    ] {
        for value in [elsewhere.clone(), format!("http://{elsewhere}/")] {
            let status = ask("/orders", "api.test", &format!("{name}: {value}\r\n")).unwrap();
            assert_eq!(status, 200, "{name}");
        }
    }
    let forwarded = format!("Forwarded: host=\"{elsewhere}\";proto=http\r\n");
    assert_eq!(ask("/orders", "api.test", &forwarded).unwrap(), 200);
    let passed = statuses.iter().filter(|(_, status)| *status == 200).count();
    assert!(statuses.iter().all(|(_, status)| matches!(status, 200 | 400 | 405)), "{statuses:?}");
    assert_eq!(upstream.take().len(), passed + 15, "{statuses:?}");
    // Nor is it for a service to send the gateway on.
    let moved =
        format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{elsewhere}/orders\r\nContent-Length: 0\r\n\r\n");
    upstream.set_answer(Answer::Bytes(moved.into_bytes()));
    assert_eq!(get(&gateway).status, 307);
    assert_eq!((secret.connections(), secret.requests().len()), (0, 0));
}
