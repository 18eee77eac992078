//! Choosing among the servers of an upstream.
use super::ready::Candidate;
use super::servers::Change;
use super::{Named, NoServer, RequestKey, Target, UpstreamError, Upstreams};
use crate::config::settings::{
    Address, Balance, HashKey, HealthCheck, HealthProbe, Upstream, UpstreamAddress, UpstreamProtocol, UpstreamServer,
    UpstreamTimeouts, UpstreamTls,
};
use crate::gate::route::UpstreamId;
use crate::state::server_health::CheckThresholds;
use pingora_core::upstreams::peer::Peer as _;
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

/// Where as many requests go, one for each subject.
fn of_subjects(upstreams: &Upstreams, amount: usize) -> Vec<String> {
    (0..amount)
        .map(|number| {
            let key = RequestKey::of_subject("main", &number.to_string());
            let chosen = upstreams.choose(FIRST, &[], Some(key)).unwrap();
            chosen.peer._address.to_string()
        })
        .collect()
}

fn fail(upstreams: &Upstreams, address: &str, times: u32) {
    let (_, candidate) = upstreams.upstreams[0]
        .candidates()
        .into_iter()
        .find(|(_, candidate)| candidate.peer._address.to_string() == address)
        .unwrap();
    (0..times).for_each(|_| candidate.health.request_failed("test"));
}

#[test]
fn a_subject_stays_with_its_server_whose_keys_alone_move_when_it_fails_or_leaves() {
    let all: [(&str, u16); 4] = [("192.0.2.1:80", 1), ("192.0.2.2:80", 1), ("192.0.2.3:80", 1), ("192.0.2.4:80", 1)];
    let balance = Balance::ConsistentHash(HashKey::Subject);
    let upstreams = ready(balance, &all);
    let before = of_subjects(&upstreams, 400);
    assert_eq!(of_subjects(&upstreams, 400), before);
    let fewer = of_subjects(&ready(balance, &all[..3]), 400);
    fail(&upstreams, "192.0.2.4:80", 5);
    let failing = of_subjects(&upstreams, 400);
    for ((before, fewer), failing) in before.iter().zip(&fewer).zip(&failing) {
        assert_eq!(failing, fewer);
        assert!(before == "192.0.2.4:80" || before == failing);
    }
    let tried = [Target { server: 0, address: Some("192.0.2.1:80".parse().unwrap()) }];
    let key = RequestKey::of_subject("main", "alice");
    assert_ne!(upstreams.choose(FIRST, &tried, Some(key)).unwrap().server.as_ref(), "192.0.2.1:80");
    assert_eq!(upstreams.distributes_by(FIRST), Some(HashKey::Subject));
}

#[test]
fn the_addresses_of_a_name_keep_their_subjects_too_when_one_of_them_leaves() {
    let upstreams = ready(Balance::ConsistentHash(HashKey::Subject), &[("orders.invalid:80", 1)]);
    learn(&upstreams, 0, &["192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80"]);
    let before = of_subjects(&upstreams, 300);
    learn(&upstreams, 0, &["192.0.2.3:80", "192.0.2.1:80"]);
    for (before, after) in before.iter().zip(of_subjects(&upstreams, 300)) {
        assert!(before == "192.0.2.2:80" || *before == after);
        assert_ne!(after, "192.0.2.2:80");
    }
}

#[test]
fn a_server_whose_requests_fail_gets_none_until_it_is_tried_again() {
    for balance in [Balance::RoundRobin, Balance::Random] {
        let upstreams = ready(balance, &[("192.0.2.1:80", 1), ("192.0.2.2:80", 1)]);
        fail(&upstreams, "192.0.2.1:80", 4);
        assert_eq!(spread(&upstreams, 100).len(), 2);
        fail(&upstreams, "192.0.2.1:80", 1);
        assert_eq!(spread(&upstreams, 100).len(), 1);
        fail(&upstreams, "192.0.2.2:80", 5);
        let none = upstreams.choose(FIRST, &[], None).unwrap_err();
        assert_eq!(none, NoServer::Unhealthy { retry_after: Duration::from_secs(1) });
    }
}

#[test]
fn servers_that_checks_find_down_get_no_requests_until_they_are_found_well() {
    let mut settings = upstream(Balance::RoundRobin, &[("192.0.2.1:80", 1), ("192.0.2.2:80", 1)]);
    let second = Duration::from_secs(1);
    settings.health_check = Some(HealthCheck {
        probe: HealthProbe::Connection,
        interval: 7 * second,
        timeout: second,
        healthy_threshold: 1,
        unhealthy_threshold: 1,
    });
    let upstreams = Upstreams::new(&[settings]).unwrap();
    let thresholds = CheckThresholds { healthy: 1, unhealthy: 1 };
    let candidates = upstreams.upstreams[0].candidates();
    candidates[0].1.health.checked(Err("down".to_owned()), thresholds);
    assert_eq!(spread(&upstreams, 10).len(), 1);
    candidates[1].1.health.checked(Err("down".to_owned()), thresholds);
    let none = upstreams.choose(FIRST, &[], None).unwrap_err();
    assert_eq!(none, NoServer::Unhealthy { retry_after: 7 * second });
    let view = upstreams.view();
    assert!(view[0].servers.iter().all(|server| !server.is_healthy()));
    candidates[1].1.health.checked(Ok(()), thresholds);
    assert_eq!(spread(&upstreams, 10).len(), 1);
}

#[test]
fn what_is_known_of_servers_that_stay_outlives_the_exchange_of_a_configuration() {
    let old = [upstream(Balance::RoundRobin, &[("192.0.2.1:80", 1), ("192.0.2.2:80", 1), ("orders.invalid:80", 1)])];
    let before = Upstreams::new(&old).unwrap();
    learn(&before, 0, &["192.0.2.8:80", "192.0.2.9:80"]);
    for failing in ["192.0.2.1:80", "192.0.2.9:80"] {
        fail(&before, failing, 5);
    }
    while before.may_retry(FIRST) {}
    let hash = |upstreams: &Upstreams, address: &str| {
        let candidates = upstreams.upstreams[0].candidates();
        let of = |candidate: &Candidate| candidate.peer._address.to_string() == address;
        candidates.iter().find(|(_, candidate)| of(candidate)).unwrap().1.peer.reuse_hash()
    };
    // In another order, with other weights and timeouts, and one server more.
    let mut new = [upstream(Balance::Random, &[("orders.invalid:80", 5), ("192.0.2.3:80", 1), ("192.0.2.1:80", 2)])];
    new[0].timeouts.read = Duration::from_secs(9);
    let after = before.succeeded_by(&new).unwrap();
    let servers: Vec<String> = spread(&after, 200).into_keys().map(|(_, address)| address).collect();
    assert_eq!(servers, ["192.0.2.3:80", "192.0.2.8:80"]);
    assert!(!after.may_retry(FIRST));
    assert_eq!(hash(&after, "192.0.2.8:80"), hash(&before, "192.0.2.8:80"));
    // And what happens to requests of the old configuration counts for the new one.
    fail(&before, "192.0.2.8:80", 5);
    assert_eq!(spread(&after, 100).len(), 1);
}

#[test]
fn servers_that_are_spoken_to_in_another_way_or_belong_to_another_upstream_begin_anew() {
    let old = [upstream(Balance::RoundRobin, &[("192.0.2.1:80", 1)])];
    let before = Upstreams::new(&old).unwrap();
    fail(&before, "192.0.2.1:80", 5);
    assert!(before.choose(FIRST, &[], None).is_err());
    let [mut http2] = old.clone();
    http2.protocol = UpstreamProtocol::Http2;
    let [mut renamed] = old.clone();
    renamed.name = "invoices".into();
    for settings in [http2, renamed] {
        assert!(before.succeeded_by(&[settings]).unwrap().choose(FIRST, &[], None).is_ok());
    }
    assert!(before.succeeded_by(&old).unwrap().choose(FIRST, &[], None).is_err());
}

#[test]
fn a_name_that_vanished_keeps_its_addresses_for_a_day() {
    let upstreams = ready(Balance::RoundRobin, &[("orders.invalid:80", 1)]);
    learn(&upstreams, 0, &["192.0.2.1:80"]);
    let servers = &upstreams.upstreams[0];
    let begin = std::time::Instant::now();
    let day = Duration::from_secs(24 * 3600);
    assert_eq!(servers.learn(0, None, begin), Change::Failing { known: true });
    assert_eq!(servers.learn(0, None, begin + day - Duration::from_secs(1)), Change::Nothing);
    assert!(upstreams.choose(FIRST, &[], None).is_ok());
    assert_eq!(servers.learn(0, None, begin + day), Change::Forgotten);
    assert_eq!(upstreams.choose(FIRST, &[], None).unwrap_err(), NoServer::Unresolved);
    assert_eq!(servers.learn(0, None, begin + 2 * day), Change::Nothing);
    assert_eq!(learn(&upstreams, 0, &["192.0.2.1:80"]), Change::Moved(parsed(&["192.0.2.1:80"])));
}

#[test]
fn no_server_is_spoken_to_over_tls_without_a_name_that_its_certificate_must_have() {
    let mut settings = upstream(Balance::RoundRobin, &[("unix:/run/orders.sock", 1)]);
    settings.tls = Some(UpstreamTls { server_name: None, ca_file: None, certificate: None });
    let error = Upstreams::new(&[settings.clone()]).unwrap_err();
    let (name, server) = ("orders".into(), "unix:/run/orders.sock".into());
    assert_eq!(error, UpstreamError::NoCertificateName { upstream: name, server });
    settings.servers = upstream(Balance::RoundRobin, &[("[2001:db8::1]:443", 1), ("192.0.2.1:443", 1)]).servers;
    let upstreams = Upstreams::new(&[settings]).unwrap();
    for (_, candidate) in upstreams.upstreams[0].candidates() {
        let options = &candidate.peer.options;
        assert!(candidate.peer.is_tls() && options.verify_cert && options.verify_hostname);
        assert!(["2001:db8::1", "192.0.2.1"].contains(&candidate.peer.sni.as_str()), "{}", candidate.peer.sni);
    }
}
