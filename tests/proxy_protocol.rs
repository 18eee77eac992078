//! The PROXY protocol: whose connection it is says the load balancer in front, before TLS and everything else, and nobody but
//! one that is trusted.
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::Command,
    time::Duration,
};

use crate::support::{
    certificates::Authority,
    client::{Client, Response, request_bytes},
    fixture,
    folder::Folder,
    gateway::{Builder, Gateway},
    http2::Http2,
    peers::{require_file, require_program},
    process::{self, Process},
    reported::is_metric,
    server::free_address,
    tls::TlsClient,
    upstream::Upstream,
    waiting::{PATIENCE, eventually},
    wire::{Address, Wire},
};

const TRUST: &str = "trusted_proxies: [127.0.0.1, unix]";

const ROUTES: &str = "  - {name: public, path_prefix: /public, auth: none, upstream: echo}\n  \
                      - {name: office, path_prefix: /office, auth: none, upstream: echo, addresses: {allow: [203.0.113.0/24]}}\n";

const V1: &[u8] = b"PROXY TCP4 203.0.113.9 192.0.2.1 56324 443\r\n";
const XFF: &str = "X-Forwarded-For";

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([0x20 | command, family]);
    bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    bytes.extend(rest);
    bytes
}

/// `203.0.113.9`.
fn v2_of_client() -> Vec<u8> {
    v2(1, 0x11, &[203, 0, 113, 9, 192, 0, 2, 1, 0xdc, 4, 1, 187])
}

fn builder(listener: &str, more: &str, upstream: &Upstream) -> Builder {
    let keys = format!("address: \"{{listen}}\", proxy_protocol: true{listener}");
    let config = fixture::config(more, ROUTES).replace("address: \"{listen}\"", &keys);
    Gateway::builder(config).set("upstream", upstream.address()).file("keys.json", fixture::keys_file())
}

struct House {
    gateway: Gateway,
    upstream: Upstream,
}

impl House {
    fn start(listener: &str, more: &str) -> Self {
        let upstream = Upstream::start();
        Self { gateway: builder(listener, more, &upstream).start(), upstream }
    }

    fn get(&self, header: &[u8], path: &str, fields: &[(&str, &str)]) -> Response {
        let mut client = self.gateway.connect();
        client.send([header, &request_bytes("GET", path, fields)].concat());
        client.read("GET")
    }
}

#[test]
fn the_client_is_whom_the_header_names() {
    let house = House::start("", TRUST);
    let of_6 = [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[1], &[0; 16], &[1, 2, 3, 4]].concat();
    let long = [&[203, 0, 113, 9, 192, 0, 2, 1, 0xdc, 4, 1, 187][..], &[4; 2000]].concat();
    for (header, expected) in [
        (V1.to_vec(), "203.0.113.9"),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n".to_vec(), "2001:db8::1"),
        (b"PROXY TCP6 ::ffff:203.0.113.9 ::1 56324 443\r\n".to_vec(), "203.0.113.9"),
        (v2_of_client(), "203.0.113.9"),
        (v2(1, 0x21, &of_6), "2001:db8::1"),
        (v2(1, 0x11, &long), "203.0.113.9"),
    ] {
        let mut client = house.gateway.connect();
        client.send(&header);
        for number in 0..2 {
            // The whole connection is that client's, and what it says of itself counts for nothing.
            let fields = [(XFF, "10.9.9.9"), ("X-Request-Id", "mine"), ("Forwarded", "for=10.9.9.9")];
            let response = client.get("/public", &fields);
            assert_eq!(response.status, 200, "{header:?}");
            let head = house.upstream.take().remove(0).head;
            assert_eq!(head.values(XFF), [expected], "{number}");
            assert_eq!(head.values("X-Real-IP"), [expected]);
            let id = response.header("X-Request-Id").unwrap();
            assert_ne!(id, "mine");
            assert_eq!(house.gateway.access_line(id)["client_ip"], expected);
        }
        let status = if expected == "203.0.113.9" { 200 } else { 403 };
        assert_eq!(client.get("/office", &[]).status, status, "{header:?}");
        house.upstream.take();
    }
    // A client that is a proxy itself may say who is behind it.
    let response = house.get(b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n", "/public", &[(XFF, "203.0.113.9")]);
    assert_eq!(response.status, 200);
    assert_eq!(house.upstream.take()[0].head.values(XFF), ["203.0.113.9, 127.0.0.1"]);
}

#[test]
fn who_is_not_named_is_nobody_and_the_load_balancer_is_itself() {
    let house = House::start("", TRUST);
    let unix = [b'/'; 216];
    for (header, is_itself) in [
        (b"PROXY UNKNOWN\r\n".to_vec(), false),
        (b"PROXY UNKNOWN 203.0.113.9 203.0.113.9 1 2\r\n".to_vec(), false),
        (b"PROXY TCP4 0.0.0.0 127.0.0.1 0 0\r\n".to_vec(), false),
        (v2(1, 0x00, &[]), false),
        (v2(1, 0x31, &unix), false),
        (v2(0, 0x00, &[]), true),
        (v2(0, 0x11, &[203, 0, 113, 9, 192, 0, 2, 1, 0xdc, 4, 1, 187]), true),
    ] {
        let response = house.get(&header, "/public", &[(XFF, "203.0.113.9")]);
        assert_eq!(response.status, 200, "{header:?}");
        let head = house.upstream.take().remove(0).head;
        let expected: &[&str] = if is_itself { &["203.0.113.9, 127.0.0.1"] } else { &[] };
        assert_eq!(head.values(XFF), expected, "{header:?}");
        assert!(is_itself || head.value("Forwarded").unwrap().starts_with("for=unknown;"), "{header:?}");
        let status = if is_itself { 200 } else { 403 };
        assert_eq!(house.get(&header, "/office", &[(XFF, "203.0.113.9")]).status, status, "{header:?}");
        house.upstream.take();
    }
}

/// A connection that must end without a word, and whose end is told.
fn check_ends(house: &House, sent: &[u8], detail: &str) {
    let count = || house.gateway.account().stdout.matches(detail).count();
    let before = count();
    let mut wire = Wire::connect(house.gateway.address()).unwrap();
    let _ = wire.send(sent);
    assert!(wire.read_to_end().unwrap_or_default().is_empty(), "{sent:?}");
    assert!(eventually(PATIENCE, || (count() > before).then_some(())).is_some(), "{sent:?}");
    let line = house.gateway.log_line(|line| line["auth"]["detail"] == detail).unwrap();
    assert_eq!((&line["client_ip"], &line["status"]), (&"127.0.0.1".into(), &400.into()), "{line}");
}

#[test]
fn a_connection_without_a_header_is_closed() {
    let house = House::start("", TRUST);
    let missing = "the connection does not begin with a header of the PROXY protocol";
    let malformed = "the header of the PROXY protocol is malformed";
    let request = request_bytes("GET", "/public", &[]);
    check_ends(&house, &request, missing);
    check_ends(&house, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", missing);
    check_ends(&house, b"\x16\x03\x01\x02\x00\x01", missing);
    check_ends(&house, &[b"\r\n", V1, &request].concat(), missing);
    for header in ["PROXY TCP4 203.0.113.9\r\n", "PROXY TCP4 203.0.113.9 192.0.2.1 1 2\n", "PROXY TCP4 a b 1 2\r\n"] {
        check_ends(&house, &[header.as_bytes(), &request].concat(), malformed);
    }
    check_ends(&house, &[&v2(3, 0x11, &[0; 12]), request.as_slice()].concat(), malformed);
    check_ends(&house, &[&v2(1, 0x11, &[0; 11]), request.as_slice()].concat(), malformed);
    check_ends(&house, &v2(1, 0x11, &[0; 5000]), "the header of the PROXY protocol is too long");
    check_ends(
        &house,
        format!("PROXY UNKNOWN {}", "a".repeat(200)).as_bytes(),
        "the header of the PROXY protocol is too long",
    );
    // A second header is the client's own, and no request.
    let mut client = house.gateway.connect();
    client.send([V1, b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n", &request].concat());
    assert_eq!(client.read("GET").status, 400);
    assert!(house.upstream.take().is_empty());
    // Who only looks whether the port is open is not worth a line.
    let is_told = |line: &serde_json::Value| line.to_string().contains("a head that cannot be parsed");
    assert!(house.gateway.log_line(is_told).is_some());
    let before = house.gateway.account().stdout.lines().count();
    Wire::connect(house.gateway.address()).unwrap().shut();
    assert_eq!(house.get(V1, "/public", &[]).status, 200);
    assert!(eventually(PATIENCE, || (house.gateway.account().stdout.lines().count() > before).then_some(())).is_some());
    assert_eq!(house.gateway.account().stdout.lines().count(), before + 1);
}

#[test]
fn a_header_may_come_in_pieces_and_with_what_follows() {
    let house = House::start("", TRUST);
    for header in [V1.to_vec(), v2_of_client()] {
        let mut client = house.gateway.connect();
        for byte in header.iter().chain(&request_bytes("GET", "/public", &[])) {
            client.send([*byte]);
        }
        assert_eq!(client.read("GET").status, 200);
        assert_eq!(house.upstream.take()[0].head.values(XFF), ["203.0.113.9"]);
    }
}

#[test]
fn only_who_is_trusted_may_name_clients() {
    let house = House::start("", TRUST);
    let from = |last: u8| {
        let mut client = Client::connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), house.gateway.address());
        client.send([V1, &request_bytes("GET", "/office", &[])].concat());
        client.try_read("GET").ok().map(|response| response.status)
    };
    assert_eq!(from(1), Some(200));
    house.upstream.take();
    assert_eq!(from(2), None);
    let line = house.gateway.log_line(|line| line["status"] == 403).unwrap();
    assert_eq!(line["client_ip"], "127.0.0.2", "{line}");
    let detail = line["auth"]["detail"].as_str().unwrap();
    assert!(detail.contains("not in trusted_proxies"), "{line}");
    assert!(house.upstream.take().is_empty());
    // Where nobody is named, everybody is taken at his word, and `validate` says so.
    let open = House::start("", "");
    let mut client = Client::connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), open.gateway.address());
    client.send([V1, &request_bytes("GET", "/office", &[])].concat());
    assert_eq!(client.read("GET").status, 200);
    let account = open.gateway.run(&["validate", "-c", "portcullis.yaml"]);
    let said = format!("{}{}", account.stdout, account.stderr);
    assert!(said.contains("whoever reaches this listener may say which address it has"), "{said}");
    let account = house.gateway.run(&["validate", "-c", "portcullis.yaml"]);
    assert!(!format!("{}{}", account.stdout, account.stderr).contains("whoever reaches"), "{account:?}");
}

#[test]
fn a_header_takes_the_time_of_a_first_head_and_a_seat_and_then_the_clients_seat() {
    let limits = "limits: {header_timeout: 1s, connections: 4, connections_per_address: 2}";
    let house = House::start("", &format!("{TRUST}\n{limits}"));
    let open = || house.gateway.metric(|line| line.starts_with("portcullis_connections "));
    let refused = |limit: &str| {
        house.gateway.metric(|line| is_metric(line, "portcullis_connections_refused_total", &[("limit", limit)]))
    };
    // More from the load balancer than an address may have, each silent.
    let silent: Vec<Wire> = (0..4).map(|_| Wire::connect(house.gateway.address()).unwrap()).collect();
    assert!(eventually(PATIENCE, || (open() >= 4.0).then_some(())).is_some());
    let mut fifth = house.gateway.connect();
    assert!(fifth.rest().starts_with(b"HTTP/1.1 503 "));
    assert_eq!((refused("connections"), refused("connections_per_address")), (1.0, 0.0));
    for mut wire in silent {
        assert!(wire.read_to_end().unwrap().is_empty());
    }
    let mut slow = house.gateway.connect();
    slow.trickle(&V1[..20], Duration::from_millis(80));
    assert!(eventually(PATIENCE, || (open() == 0.0).then_some(())).is_some());
    // Two of one client, and no third, while others get in.
    let mut held: Vec<Client> = Vec::new();
    for header in [V1, V1, b"PROXY TCP4 203.0.113.10 192.0.2.1 1 2\r\n"] {
        let mut client = house.gateway.connect();
        client.send([header, &request_bytes("GET", "/public", &[])].concat());
        assert_eq!(client.read("GET").status, 200);
        held.push(client);
    }
    let mut third = house.gateway.connect();
    third.send(V1);
    assert!(third.rest().starts_with(b"HTTP/1.1 503 "));
    assert_eq!((refused("connections"), refused("connections_per_address")), (1.0, 1.0));
    let line = house.gateway.log_line(|line| line["auth"]["detail"] == "connections_per_address").unwrap();
    assert_eq!(line["client_ip"], "203.0.113.9", "{line}");
    drop(held);
    assert!(eventually(PATIENCE, || (open() == 0.0).then_some(())).is_some());
    assert_eq!(house.get(V1, "/public", &[]).status, 200);
}

#[test]
fn the_header_comes_before_the_handshake_of_tls() {
    let (upstream, authority) = (Upstream::start(), Authority::new("root"));
    let issued = authority.server(&["api.test"]);
    let tls = ", tls: {certificates: [{certificate_file: web.pem, private_key_file: web.key}]}";
    let gateway = builder(tls, &format!("{TRUST}\nlimits: {{header_timeout: 2s}}"), &upstream)
        .file("web.pem", issued.certificate)
        .file("web.key", issued.key)
        .start();
    let client = || TlsClient::new(authority.certificate(), "api.test");
    for header in [V1.to_vec(), v2_of_client()] {
        let door = client().introduced_by(header.clone()).front(gateway.address());
        let response = Client::connect(door.address()).get("/office", &[]);
        assert_eq!(response.status, 200);
        let door = client().introduced_by(header).for_http2().front(gateway.address());
        let mut http2 = Http2::connect(door.address()).unwrap();
        let response = http2.get("https://api.test/office", &[("x-forwarded-for", "10.9.9.9")]).unwrap();
        assert_eq!(response.status, 200);
        for seen in upstream.take() {
            assert_eq!(seen.head.values(XFF), ["203.0.113.9"]);
            assert_eq!(seen.head.values("X-Forwarded-Proto"), ["https"]);
        }
        let line = gateway.access_line(response.header("X-Request-Id").unwrap());
        assert_eq!((&line["client_ip"], &line["protocol"]), (&"203.0.113.9".into(), &"HTTP/2".into()), "{line}");
    }
    // Within TLS it is too late.
    let door = client().front(gateway.address());
    let mut late = Client::connect(door.address());
    late.send([V1, &request_bytes("GET", "/public", &[])].concat());
    assert!(late.rest().is_empty());
    assert!(upstream.take().is_empty());
    // A header alone gets no more time than one that does not come.
    let mut wire = Wire::connect(gateway.address()).unwrap();
    wire.send(V1).unwrap();
    assert!(wire.read_to_end().unwrap_or_default().is_empty());
}

#[test]
fn http2_in_clear_follows_a_header() {
    let house = House::start(", http2: true", TRUST);
    let mut wire = Wire::connect(house.gateway.address()).unwrap();
    wire.send(
        &[V1, &crate::support::http2::beginning(), &crate::support::http2::head(1, "/office", &[], true)].concat(),
    )
    .unwrap();
    house.upstream.wait_for(1);
    assert_eq!(house.upstream.take()[0].head.values(XFF), ["203.0.113.9"]);
    assert_eq!(house.get(V1, "/office", &[]).status, 200);
}

#[test]
fn a_unix_socket_may_have_headers_too() {
    for (trust, expected) in [(TRUST, Some(200)), ("trusted_proxies: [127.0.0.1]", None), ("", Some(200))] {
        let (upstream, folder) = (Upstream::start(), Folder::new());
        let socket = Address::Unix(folder.path().join("web.sock"));
        let gateway = builder("", trust, &upstream).listen_on(socket).start();
        let mut client = gateway.connect();
        client.send([V1, &request_bytes("GET", "/office", &[])].concat());
        assert_eq!(client.try_read("GET").ok().map(|response| response.status), expected, "{trust}");
        let seen = upstream.take();
        assert_eq!(seen.len(), usize::from(expected.is_some()));
        assert!(seen.iter().all(|seen| seen.head.values(XFF) == ["203.0.113.9"]));
    }
}

/// What the service is told of a client that connects from 127.0.0.3 to `front`, once that is up.
fn told_through(front: SocketAddr, upstream: &Upstream) -> Vec<String> {
    let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
    let fields = [(XFF, "203.0.113.9"), ("Connection", "close")];
    let asked = eventually(PATIENCE, || {
        let mut wire = Wire::connect_from(source, &Address::Tcp(front)).ok()?;
        wire.send(&request_bytes("GET", "/public/through", &fields)).ok()?;
        wire.read_head().ok().flatten().filter(|head| head.starts_with(b"HTTP/1.1 200"))
    });
    assert!(asked.is_some(), "nothing comes through {front}");
    let seen = upstream.requests().into_iter().rfind(|seen| seen.target() == "/public/through").unwrap();
    seen.head.values(XFF).iter().map(ToString::to_string).collect()
}

#[test]
fn haproxy_introduces_clients_and_its_own_checks_in_both_versions() {
    let Some(haproxy) = require_program("haproxy", "haproxy_introduces_clients") else { return };
    for version in ["send-proxy", "send-proxy-v2"] {
        let house = House::start("", TRUST);
        let (front, folder) = (free_address(), Folder::new());
        let config = folder.write(
            "haproxy.cfg",
            format!(
                "global\n  maxconn 50\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
                 listen edge\n  bind {front}\n  option httpchk GET /public/check\n  http-check send hdr Host api.test\n  \
                 server gateway {} {version} check inter 100ms check-send-proxy\n",
                house.gateway.address()
            ),
        );
        let mut command = Command::new(&haproxy);
        let _running = Process::spawn("haproxy", command.arg("-db").arg("-f").arg(config));
        assert_eq!(told_through(front, &house.upstream), ["127.0.0.3"], "{version}");
        let line =
            house.gateway.log_line(|line| line["path"] == "/public/check").expect("it looks whether anybody is there");
        assert_eq!(
            (line["client_ip"].as_str(), &line["status"]),
            (Some("127.0.0.1"), &200.into()),
            "{version}: {line}"
        );
    }
}

#[test]
fn nginx_introduces_clients() {
    let test = "nginx_introduces_clients";
    let (Some(nginx), Some(module)) =
        (require_program("nginx", test), require_file("/usr/lib/nginx/modules/ngx_stream_module.so", test))
    else {
        return;
    };
    let house = House::start("", TRUST);
    let (front, folder) = (free_address(), Folder::new());
    let text = format!(
        "load_module {};\ndaemon off;\nuser root root;\nworker_processes 1;\npid {folder}/nginx.pid;\nerror_log stderr;\n\
         events {{}}\nstream {{\n  server {{\n    listen {front};\n    proxy_pass {};\n    proxy_protocol on;\n  }}\n}}\n",
        module.display(),
        house.gateway.address(),
        folder = folder.path().display(),
    );
    let config = folder.write("nginx.conf", text);
    let mut command = Command::new(nginx);
    let running = Process::spawn("nginx", command.arg("-p").arg(folder.path()).arg("-c").arg(config));
    assert_eq!(told_through(front, &house.upstream), ["127.0.0.3"]);
    // Asked to end, so that it takes its worker along.
    running.signal("TERM");
    assert!(running.wait_until(PATIENCE, |account| account.status).is_some());
}

#[test]
fn curl_introduces_itself_before_the_handshake() {
    let Some(curl) = require_program("curl", "curl_introduces_itself") else { return };
    let (upstream, authority) = (Upstream::start(), Authority::new("root"));
    let issued = authority.server(&["api.test"]);
    let tls = ", tls: {certificates: [{certificate_file: web.pem, private_key_file: web.key}]}";
    let gateway =
        builder(tls, TRUST, &upstream).file("web.pem", issued.certificate).file("web.key", issued.key).start();
    let Address::Tcp(address) = *gateway.address() else { panic!("only TCP") };
    let mut command = Command::new(curl);
    command.args(["-sSk", "--haproxy-protocol", "--resolve", &format!("api.test:{}:127.0.0.1", address.port())]);
    let account = process::run("curl", command.arg(format!("https://api.test:{}/public", address.port())));
    assert_eq!(account.code(), Some(0), "{account:?}");
    assert_eq!(upstream.take()[0].head.values(XFF), ["127.0.0.1"]);
}
