//! Choosing among the servers of an upstream.
use super::servers::Change;
use super::{Named, Target, UpstreamError, Upstreams};
use crate::config::settings::{
    Address, Balance, Upstream, UpstreamAddress, UpstreamProtocol, UpstreamServer, UpstreamTimeouts,
};
use crate::gate::route::UpstreamId;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

const FIRST: UpstreamId = UpstreamId(0);

/// An upstream of servers written as in a configuration, each with its weight.
fn upstream(balance: Balance, servers: &[(&str, u16)]) -> Upstream {
    let second = Duration::from_secs(1);
    let servers = servers.iter().map(|(written, weight)| UpstreamServer {
        written: (*written).into(),
        address: match (written.strip_prefix("unix:"), written.parse()) {
            (Some(path), _) => UpstreamAddress::Socket(Address::Unix(path.into())),
            (None, Ok(address)) => UpstreamAddress::Socket(Address::Tcp(address)),
            (None, Err(_)) => {
                let (host, port) = written.split_once(':').unwrap();
                UpstreamAddress::Name { host: host.into(), port: port.parse().unwrap() }
            }
        },
        weight: *weight,
    });
    Upstream {
        name: "orders".into(),
        servers: servers.collect(),
        balance,
        protocol: UpstreamProtocol::Http1,
        tls: None,
        health_check: None,
        timeouts: UpstreamTimeouts { connect: second, read: second, write: second, pool_idle: second },
        retries: 2,
    }
}

fn ready(balance: Balance, servers: &[(&str, u16)]) -> Upstreams {
    Upstreams::new(&[upstream(balance, servers)]).unwrap()
}

fn learn(upstreams: &Upstreams, name: usize, addresses: &[&str]) -> Change {
    let named: &Named = &upstreams.named[name];
    upstreams.learn(named, Some(parsed(addresses)))
}

fn parsed(addresses: &[&str]) -> Vec<SocketAddr> {
    addresses.iter().map(|address| address.parse().unwrap()).collect()
}

/// How often each server as written, and each address, is chosen in so many requests.
fn spread(upstreams: &Upstreams, requests: usize) -> BTreeMap<(String, String), usize> {
    let mut spread = BTreeMap::new();
    for _ in 0..requests {
        let chosen = upstreams.choose(FIRST, &[], None).unwrap();
        *spread.entry((chosen.server.to_string(), chosen.peer._address.to_string())).or_default() += 1;
    }
    spread
}

fn check_spread(upstreams: &Upstreams, expected: &[(&str, &str, usize)]) {
    let requests = expected.iter().map(|(_, _, count)| count).sum();
    let expected: BTreeMap<_, _> =
        expected.iter().map(|(server, address, count)| ((server.to_string(), address.to_string()), *count)).collect();
    assert_eq!(spread(upstreams, requests), expected);
}

#[test]
fn servers_take_turns_by_weight_and_the_addresses_of_a_name_share_its_weight() {
    let upstreams =
        ready(Balance::RoundRobin, &[("192.0.2.1:80", 3), ("unix:/run/orders.sock", 1), ("orders.invalid:80", 4)]);
    check_spread(&upstreams, &[("192.0.2.1:80", "192.0.2.1:80", 6), ("unix:/run/orders.sock", "/run/orders.sock", 2)]);
    learn(&upstreams, 0, &["192.0.2.8:80", "192.0.2.9:80"]);
    check_spread(
        &upstreams,
        &[
            ("192.0.2.1:80", "192.0.2.1:80", 6),
            ("unix:/run/orders.sock", "/run/orders.sock", 2),
            ("orders.invalid:80", "192.0.2.8:80", 4),
            ("orders.invalid:80", "192.0.2.9:80", 4),
        ],
    );
}

#[test]
fn turns_are_shared_out_exactly_when_many_threads_ask_at_once() {
    let upstreams = ready(Balance::RoundRobin, &[("192.0.2.1:80", 5), ("192.0.2.2:80", 2)]);
    let counts = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| spread(&upstreams, 700))).collect();
        let mut counts = BTreeMap::new();
        for ((server, _), count) in threads.into_iter().flat_map(|thread| thread.join().unwrap()) {
            *counts.entry(server).or_insert(0) += count;
        }
        counts
    });
    assert_eq!(counts, BTreeMap::from([("192.0.2.1:80".to_owned(), 2000), ("192.0.2.2:80".to_owned(), 800)]));
}

#[test]
fn random_choices_follow_the_weights() {
    let upstreams = ready(Balance::Random, &[("192.0.2.1:80", 3), ("192.0.2.2:80", 1)]);
    let spread = spread(&upstreams, 40_000);
    let first = spread[&("192.0.2.1:80".to_owned(), "192.0.2.1:80".to_owned())];
    // Expectation 30000, standard deviation 87: ten of them.
    assert!((29_130..30_870).contains(&first), "{first}");
}

#[test]
fn a_further_attempt_goes_to_another_server_then_to_another_address_then_anywhere() {
    for balance in [Balance::RoundRobin, Balance::Random] {
        let upstreams = ready(balance, &[("192.0.2.1:80", 1), ("192.0.2.2:80", 100), ("orders.invalid:80", 1)]);
        learn(&upstreams, 0, &["192.0.2.8:80", "192.0.2.9:80"]);
        for _ in 0..100 {
            let mut tried: Vec<Target> = Vec::new();
            let mut servers = Vec::new();
            for _ in 0..4 {
                let chosen = upstreams.choose(FIRST, &tried, None).unwrap();
                assert!(!tried.contains(&chosen.target));
                tried.push(chosen.target);
                servers.push(chosen.server.to_string());
            }
            assert_eq!(servers.pop().unwrap(), "orders.invalid:80");
            servers.sort();
            assert_eq!(servers, ["192.0.2.1:80", "192.0.2.2:80", "orders.invalid:80"]);
            assert!(upstreams.choose(FIRST, &tried, None).is_ok());
        }
    }
}

#[test]
fn the_share_of_a_server_that_is_down_is_spread_over_the_others_by_weight() {
    let upstreams = ready(Balance::RoundRobin, &[("192.0.2.1:80", 1), ("192.0.2.2:80", 1), ("192.0.2.3:80", 1)]);
    let down = Target { server: 0, address: Some("192.0.2.1:80".parse().unwrap()) };
    let second = (0..10_000)
        .filter(|_| upstreams.choose(FIRST, &[down], None).unwrap().server.as_ref() == "192.0.2.2:80")
        .count();
    // Expectation 5000, standard deviation 50: ten of them.
    assert!((4500..5500).contains(&second), "{second}");
}

#[test]
fn a_lookup_changes_something_once() {
    let upstreams = ready(Balance::RoundRobin, &[("192.0.2.1:80", 1), ("orders.invalid:80", 1)]);
    let rows: [(&[&str], Change); 10] = [
        (&[], Change::Failing { known: false }),
        (&[], Change::Nothing),
        (&["192.0.2.9:80", "192.0.2.8:80"], Change::Moved(parsed(&["192.0.2.8:80", "192.0.2.9:80"]))),
        (&["192.0.2.8:80", "192.0.2.9:80", "192.0.2.8:80"], Change::Nothing),
        (&[], Change::Failing { known: true }),
        (&[], Change::Nothing),
        (&["192.0.2.8:80", "192.0.2.9:80"], Change::Recovered),
        (&["192.0.2.8:80", "192.0.2.9:80"], Change::Nothing),
        (&["192.0.2.8:80"], Change::Moved(parsed(&["192.0.2.8:80"]))),
        (&["192.0.2.8:80"], Change::Nothing),
    ];
    for (row, (addresses, expected)) in rows.into_iter().enumerate() {
        assert_eq!(learn(&upstreams, 0, addresses), expected, "row {row}");
    }
}

#[test]
fn an_answer_of_very_many_addresses_is_cut() {
    let upstreams = ready(Balance::RoundRobin, &[("orders.invalid:80", 1)]);
    let many = (0..1000_u32).map(|number| SocketAddr::new(std::net::Ipv4Addr::from(number).into(), 80)).collect();
    upstreams.learn(&upstreams.named[0], Some(many));
    assert_eq!(spread(&upstreams, 1000).len(), 64);
}

#[test]
fn there_is_no_choice_without_an_address_or_an_upstream() {
    let upstreams = ready(Balance::RoundRobin, &[("orders.invalid:80", 1)]);
    assert!(upstreams.choose(FIRST, &[], None).is_err());
    assert!(upstreams.choose(FIRST, &[Target { server: 0, address: None }], None).is_err());
    learn(&upstreams, 0, &["192.0.2.1:80"]);
    assert!(upstreams.choose(FIRST, &[], None).is_ok());
    assert!(upstreams.choose(UpstreamId(1), &[], None).is_err());
    assert_eq!((upstreams.retries(FIRST), upstreams.retries(UpstreamId(1))), (2, 0));
}

#[test]
fn a_unix_socket_that_cannot_be_is_an_error_that_names_it() {
    let error = Upstreams::new(&[upstream(Balance::RoundRobin, &[("192.0.2.1:80", 1), ("unix:", 1)])]).unwrap_err();
    assert_eq!(error, UpstreamError::UnixPathUnusable { upstream: "orders".into(), server: "unix:".into() });
    assert_eq!(error.to_string(), "upstream `orders`: `unix:` is not usable as the path of a unix socket");
}
