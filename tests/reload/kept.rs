//! What left is gone at the next request, what is in flight ends well, and reloads at the same time wait for each other.
use super::*;
use crate::support::{
    fixture::{builder, config, signing_key},
    jwks_server::JwksServer,
    server::free_address,
    upstream::Upstream,
};

#[test]
fn tokens_of_an_issuer_that_left_are_refused_at_the_next_request_and_the_upstream_sees_nothing() {
    let house = House::start("", ROUTES);
    let gateway = &house.gateway;
    let mut client = gateway.connect();
    let bearer = good_bearer();
    let mut ask = || client.get("/required", &[("Authorization", &bearer)]).status;
    assert_eq!((ask(), ask()), (200, 200), "verified, then remembered");
    let seen = house.upstream.requests().len();
    edit(gateway, |text| text.replace("https://issuer.test", "https://another.test"));
    assert_eq!(reload(gateway).code(), Some(0));
    assert_eq!(ask(), 401, "on the same connection, remembered or not");
    assert_eq!(house.upstream.requests().len(), seen);
    edit(gateway, |text| text.replace("https://another.test", "https://issuer.test"));
    assert_eq!(reload(gateway).code(), Some(0));
    assert_eq!(ask(), 200);
}

#[test]
fn another_list_of_revocations_is_in_force_with_the_reload() {
    let upstream = Upstream::start();
    let gateway = builder("revocation: {file: one.yaml}", ROUTES, &upstream)
        .file("one.yaml", "[]\n")
        .file("two.yaml", "- {sub: u1}\n")
        .start();
    assert_eq!(status(&gateway, "/required"), 200);
    edit(&gateway, |text| text.replace("one.yaml", "two.yaml"));
    let seen = upstream.requests().len();
    assert_eq!(reload(&gateway).code(), Some(0));
    assert_eq!(status(&gateway, "/required"), 403, "the subject is banned");
    assert_eq!(upstream.requests().len(), seen);
    edit(&gateway, |text| text.replace("two.yaml", "absent.yaml"));
    assert_eq!(reload(&gateway).code(), Some(1));
    assert_eq!(status(&gateway, "/required"), 403, "a list that cannot be read changes nothing");
}

#[test]
fn a_request_on_an_upstream_that_leaves_is_finished_there() {
    let House { gateway, upstream } = House::start("", ROUTES);
    let other = Upstream::start();
    let gate = Gate::default();
    upstream.set_answer(Answer::EchoAfter(gate.clone()));
    let mut client = gateway.connect();
    client.send(request_bytes("GET", "/public/in-flight", &[]));
    upstream.wait_for(1);
    edit(&gateway, |text| {
        let address = upstream.address().to_string();
        text.replace("echo", "next").replace(&address, &other.address().to_string())
    });
    assert_eq!(reload(&gateway).code(), Some(0));
    assert_eq!(status(&gateway, "/public/after"), 200);
    assert_eq!((upstream.requests().len(), other.requests().len()), (1, 1), "the next one goes to the new one");
    gate.open();
    let response = client.read("GET");
    assert_eq!((response.status, response.json()["target"].clone()), (200, Value::from("/public/in-flight")));
}

#[test]
fn reloads_at_the_same_time_all_succeed_one_after_the_other() {
    let house = House::start("", ROUTES);
    let gateway = &house.gateway;
    edit(gateway, with_another_route);
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..6).map(|_| scope.spawn(|| reload(gateway))).collect();
        for asked in asked {
            let account = asked.join().unwrap();
            assert_eq!(account.code(), Some(0), "{}", account.stderr);
        }
    });
    assert_eq!(status(gateway, "/more"), 200);
    let of = |result: &str| {
        gateway.metric(|line| line.starts_with("portcullis_config_reloads_total") && line.contains(result))
    };
    assert_eq!((of("success"), of("failure")), (6.0, 0.0));
}

#[test]
fn connections_to_an_upstream_that_stays_are_used_on() {
    let House { gateway, upstream } = House::start("", ROUTES);
    let gate = Gate::default();
    upstream.set_answer(Answer::EchoAfter(gate.clone()));
    // Several at a time, so that several are kept.
    let mut clients: Vec<_> = (0..4).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.send(request_bytes("GET", "/public/kept", &[]));
    }
    upstream.wait_for(4);
    gate.open();
    assert!(clients.iter_mut().all(|client| client.read("GET").status == 200));
    assert_eq!(upstream.connections(), 4);
    for _ in 0..3 {
        edit(&gateway, |text| if text.contains(MORE) { text.replace(MORE, "") } else { with_another_route(text) });
        assert_eq!(reload(&gateway).code(), Some(0));
        assert_eq!(status(&gateway, "/public/again"), 200);
        assert_eq!(upstream.connections(), 4, "a new one was made");
    }
}

#[test]
fn a_server_that_was_left_alone_is_so_after_a_reload_too() {
    let (upstream, nobody) = (Upstream::start(), free_address());
    let text = config("", ROUTES).replace("[\"{upstream}\"]", &format!("[\"{{upstream}}\", \"{nobody}\"]"));
    let gateway = Gateway::builder(text)
        .set("upstream", upstream.address())
        .file("keys.json", crate::support::fixture::keys_file())
        .start();
    let is_left_alone = || {
        gateway.metric(|line| {
            line.starts_with("portcullis_upstream_healthy{") && line.contains(&format!("server=\"{nobody}\""))
        }) < 1.0
    };
    let asked = eventually(PATIENCE, || {
        assert_eq!(status(&gateway, "/public"), 200);
        is_left_alone().then_some(())
    });
    assert!(asked.is_some(), "it is never left alone");
    edit(&gateway, with_another_route);
    assert_eq!(reload(&gateway).code(), Some(0));
    assert!(is_left_alone(), "it is thought well again");
    assert_eq!(status(&gateway, "/more"), 200);
}

#[test]
fn keys_that_were_fetched_are_kept_and_those_from_elsewhere_are_fetched() {
    let jwks = JwksServer::start(&[signing_key().jwk_for("ES256")]);
    jwks.set_at("/other", crate::support::jwks_server::KeySetAnswer::keys(&[signing_key().jwk_for("ES256")]));
    let upstream = Upstream::start();
    let text =
        config("", ROUTES).replace("keys: {jwks_file: keys.json}", "keys: {jwks_url: \"{jwks}\", insecure_http: true}");
    let gateway = Gateway::builder(text).set("upstream", upstream.address()).set("jwks", jwks.url()).start();
    assert_eq!(status(&gateway, "/required"), 200);
    let fetches = jwks.fetches();
    edit(&gateway, with_another_route);
    assert_eq!(reload(&gateway).code(), Some(0));
    assert_eq!((status(&gateway, "/required"), jwks.fetches()), (200, fetches), "fetched once more");
    edit(&gateway, |text| text.replace(&jwks.url(), &jwks.at("/other")));
    assert_eq!(reload(&gateway).code(), Some(0));
    assert_eq!((status(&gateway, "/required"), jwks.fetches_of("/other")), (200, 1));
}
