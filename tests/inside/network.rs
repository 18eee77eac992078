//! The walls of docs/inside.md around a service, each on a machine of its own: the gateway as the unit that is shipped, the service as the
//! page has it, and somebody who forges.
use super::{example, part};
use crate::support::{
    fixture::{good_bearer, keys_file},
    machine::{Machine, Outcome},
};

/// Greets whoever the header says, at a port or a socket, or asks somebody else.
const SERVICE: &str = r#"#!/usr/bin/python3
import http.server, os, socket, socketserver, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"hello {self.headers['X-User-ID']}".encode()
        if self.path == "/outside":
            try:
                socket.create_connection(("127.0.0.1", 9400), 3)
                body = b"outside"
            except OSError as error:
                body = type(error).__name__.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def address_string(self):
        return "somebody"

class Tcp(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        socketserver.TCPServer.server_bind(self)

class Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    pass

runtime = os.environ.get("RUNTIME_DIRECTORY")
(Unix(runtime + "/orders.sock", Handler) if runtime else Tcp(("::", 3000), Handler)).serve_forever()
"#;

/// A machine with gateway and service; `upstreams` says where the gateway finds it.
fn machine(test: &str, upstreams: &str) -> Option<Machine> {
    let machine = Machine::new(test)?;
    let config = format!(
        "listeners: [{{address: \"127.0.0.1:8080\"}}]\nserver: {{threads: 1}}\nissuers:\n  main: {{issuer: \
         https://issuer.test, audiences: [https://api.test], keys: {{jwks_file: keys.json}}}}\nidentity: {{headers: \
         {{X-User-ID: {{from: subject}}}}}}\nroutes: [{{path_prefix: /, upstream: orders}}]\n{upstreams}"
    );
    machine.file("portcullis.yaml", config);
    machine.file("keys.json", keys_file());
    machine.file("authorization", format!("Authorization: {}", good_bearer()));
    machine.file("service.py", SERVICE);
    Some(machine)
}

/// Users, files and the gateway itself; the service is started by each test.
const SETUP: &str = r#"
useradd --system --shell /usr/sbin/nologin portcullis
useradd --system --shell /usr/sbin/nologin orders
useradd --system --shell /usr/sbin/nologin somebody
groupadd --system orders-clients
install -d -m 0755 /etc/portcullis /srv/orders
install -o portcullis -m 0400 portcullis.yaml keys.json /etc/portcullis
install -m 0755 service.py /srv/orders/serve
unit=/etc/systemd/system/orders.service
begin() { systemctl daemon-reload; systemctl start orders; systemctl start portcullis || { systemctl status portcullis >&2; exit 1; }; }
# Waits until somebody listens there.
up() { for _ in $(seq 100); do ss -Hltn "sport = :$1" | grep -q . && return; sleep 0.1; done; echo "nobody listens at $1" >&2; exit 1; }
through() { as somebody curl -sS --max-time 5 -w ' %{http_code}' -H @authorization -H 'X-User-ID: root' http://127.0.0.1:8080"$1"; }
forge() { ask -H 'X-User-ID: root' "$@"; }
chmod 0644 authorization
"#;

/// No unit of systemd's is found wrong.
const VERIFY: &str = r#"report verify systemd-analyze verify "$unit"
"#;

fn run(machine: Machine, script: &str) -> Outcome {
    machine.run(&format!("{SETUP}{script}"))
}

#[track_caller]
fn check(outcome: &Outcome, rows: &[(&str, &str)]) {
    for (name, expected) in rows {
        assert_eq!(outcome.of(name), *expected, "{name}: {outcome:?}");
    }
}

/// What `curl` says when the connection is refused, and when nobody answers.
const REFUSED: &str = "curl 7";
const SILENCE: &str = "curl 28";

#[test]
fn a_socket_is_for_the_gateway_and_for_no_other_user() {
    let Some(machine) = machine("a Unix socket", &part("upstreams:\n")) else { return };
    machine.file("orders.service", example("orders-by-socket.service"));
    machine.file("orders.conf", example("portcullis-orders.conf"));
    let outcome = run(
        machine,
        &format!(
            r#"
cp orders.service $unit
install -D -m 0644 orders.conf /etc/systemd/system/portcullis.service.d/orders.conf
begin
{VERIFY}
for _ in $(seq 100); do [ -S /run/orders/orders.sock ] && break; sleep 0.1; done
report modes stat -c '%A %U %G' /run/orders /run/orders/orders.sock
report gateway through /orders
cat > connect.py <<'END'
import socket
try:
    socket.socket(socket.AF_UNIX).connect("/run/orders/orders.sock")
    print("connected")
except OSError as error:
    print(type(error).__name__)
END
report somebody as somebody python3 connect.py
report root python3 connect.py
report admin curl -sS -o /dev/null -w '%{{http_code}}' http://127.0.0.1:9400/livez
report outside through /outside
report replaced as somebody sh -c 'rm -f /run/orders/orders.sock 2>&1 || echo kept'
# Where the gateway is not in the group, it is not let in either.
rm /etc/systemd/system/portcullis.service.d/orders.conf
systemctl daemon-reload
systemctl restart portcullis
report ungrouped through /orders
"#
        ),
    );
    check(
        &outcome,
        &[
            ("verify", ""),
            ("modes", "drwxr-x--- orders orders-clients srwxrwx--- orders orders-clients"),
            ("gateway", "hello u1 200"),
            ("somebody", "PermissionError"),
            ("root", "connected"),
            // A network of its own, in which the gateway is not.
            ("outside", "ConnectionRefusedError 200"),
            ("admin", "200"),
        ],
    );
    assert!(outcome.of("replaced").ends_with("kept"), "{outcome:?}");
    assert!(outcome.of("ungrouped").ends_with("502"), "{outcome:?}");
}

/// A service that is nothing special.
const PLAIN_SERVICE: &str = "[Service]\nExecStart=/srv/orders/serve\nUser=orders\n";

#[test]
fn a_firewall_on_one_machine_lets_the_user_of_the_gateway_through_and_no_other() {
    let upstreams = "upstreams: {orders: {servers: [\"127.0.0.1:3000\"]}, six: {servers: [\"[::1]:3000\"]}}\n";
    let Some(machine) = machine("a firewall", upstreams) else { return };
    machine.file("one-host.nft", example("one-host.nft"));
    machine.file("orders.service", PLAIN_SERVICE);
    let outcome = run(
        machine,
        r#"
cp orders.service $unit
begin; up 3000
ip link add outside type veth peer name theirs
unshare -n sleep infinity & other=$!
while [ "$(readlink /proc/$other/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
ip link set theirs netns $other
ip addr add 10.0.0.7/24 dev outside
ip link set outside up
nsenter -t $other -n ip addr add 10.0.0.9/24 dev theirs
nsenter -t $other -n ip link set theirs up
report before as somebody sh -c "curl -sS -H 'X-User-ID: root' http://127.0.0.1:3000/"
report before-outside nsenter -t $other -n curl -sS http://10.0.0.7:3000/
report check nft -c -f one-host.nft
nft -f one-host.nft
report again nft -f one-host.nft
report tables nft list tables
report gateway through /orders
cat > theirs.sh <<'END'
report() { name=$1; shift; printf '%s: %s\n' "$name" "$("$@" 2>&1 | tr '\n' ' ' | sed 's/ *$//')"; }
ask() { curl -sS -g --max-time 5 --noproxy '*' -w ' %{http_code}' -H 'X-User-ID: root' "$@" 2>/dev/null || printf 'curl %s' "$?"; }
report "$1 four" ask http://127.0.0.1:3000/
report "$1 six" ask 'http://[::1]:3000/'
report "$1 own" ask http://10.0.0.7:3000/
report "$1 other port" ask http://127.0.0.1:8080/
END
as somebody sh theirs.sh somebody
as orders sh theirs.sh orders
sh theirs.sh root
report outside nsenter -t $other -n curl -sS --max-time 2 -o /dev/null -w '%{http_code} %{exitcode}' http://10.0.0.7:3000/
kill $other
"#,
    );
    check(
        &outcome,
        &[
            ("before", "hello root"),
            ("before-outside", "hello None"),
            ("check", ""),
            ("again", ""),
            ("tables", "table inet portcullis"),
            ("gateway", "hello u1 200"),
        ],
    );
    for user in ["somebody", "orders", "root"] {
        for way in ["four", "six", "own"] {
            assert!(outcome.of(&format!("{user} {way}")).ends_with(REFUSED), "{user} {way}: {outcome:?}");
        }
        assert!(outcome.of(&format!("{user} other port")).ends_with("401"), "{outcome:?}");
    }
    assert!(outcome.of("outside").ends_with("000 28"), "{outcome:?}");
}

/// Two more machines on a network with this one, 10.0.0.7, where the service is: the gateway's, 10.0.0.5, and another, 10.0.0.9. The
/// unit of the gateway is told to live in its machine's network.
const NETWORK: &str = r#"
ip link add lan type bridge
ip addr add 10.0.0.7/24 dev lan
ip link set lan up
mkdir -p /run/netns
for machine in gateway:10.0.0.5 other:10.0.0.9; do
    name=${machine%%:*}
    ip netns add "$name"
    ip link add "to-$name" type veth peer name eth0 netns "$name"
    ip link set "to-$name" master lan up
    ip -n "$name" link set lo up
    ip -n "$name" addr add "${machine##*:}/24" dev eth0
    ip -n "$name" link set eth0 up
done
mkdir -p /etc/systemd/system/portcullis.service.d
printf '[Service]\nNetworkNamespacePath=/run/netns/gateway\n' > /etc/systemd/system/portcullis.service.d/network.conf
from() { name=$1; shift; ip netns exec "$name" "$@"; }
reports() {
    report "$1 gateway" from gateway curl -sS --max-time 5 -w ' %{http_code}' -H @authorization -H 'X-User-ID: root' http://127.0.0.1:8080/orders
    report "$1 other" from other sh asks http://10.0.0.7:3000/
    report "$1 here" sh asks http://127.0.0.1:3000/
    report "$1 here by address" sh asks http://10.0.0.7:3000/
}
cat > asks <<'END'
curl -sS --max-time 2 -H 'X-User-ID: root' -w ' %{http_code}' "$1" 2>/dev/null || printf ' curl %s' "$?"
END
"#;

const OVER_THE_NETWORK: &str = "upstreams: {orders: {servers: [\"10.0.0.7:3000\"], timeouts: {connect: 2s}}}\n";

#[test]
fn a_firewall_between_machines_lets_the_machine_of_the_gateway_through_and_no_other() {
    let Some(machine) = machine("a firewall between machines", OVER_THE_NETWORK) else { return };
    machine.file("two-hosts.nft", example("two-hosts.nft"));
    machine.file("orders.service", PLAIN_SERVICE);
    let script = r#"
cp orders.service $unit
begin; up 3000
reports before
report check nft -c -f two-hosts.nft
nft -f two-hosts.nft
report again nft -f two-hosts.nft
reports after
"#;
    let outcome = run(machine, &format!("{NETWORK}{script}"));
    check(
        &outcome,
        &[("check", ""), ("again", ""), ("before gateway", "hello u1 200"), ("after gateway", "hello u1 200")],
    );
    for place in ["other", "here", "here by address"] {
        assert_eq!(outcome.of(&format!("before {place}")), "hello root 200", "{outcome:?}");
        assert!(outcome.of(&format!("after {place}")).ends_with(REFUSED), "{place}: {outcome:?}");
    }
}

#[test]
fn a_unit_with_addresses_lets_the_machine_of_the_gateway_through_and_no_other() {
    let Some(machine) = machine("IPAddressAllow", OVER_THE_NETWORK) else { return };
    machine.file("orders.service", PLAIN_SERVICE);
    machine.file("walled.service", example("orders-by-address.service"));
    let script = format!(
        r#"
cp orders.service $unit
begin; up 3000
reports before
report before-outside from gateway curl -sS -H @authorization http://127.0.0.1:8080/outside
cp walled.service $unit
{VERIFY}
systemctl daemon-reload
systemctl restart orders; up 3000
report allowed systemctl show -p IPAddressAllow -p IPAddressDeny orders
reports after
report outside from gateway curl -sS -H @authorization http://127.0.0.1:8080/outside
"#
    );
    let outcome = run(machine, &format!("{NETWORK}{script}"));
    check(&outcome, &[("verify", ""), ("before gateway", "hello u1 200"), ("after gateway", "hello u1 200")]);
    for place in ["other", "here", "here by address"] {
        assert_eq!(outcome.of(&format!("before {place}")), "hello root 200", "{outcome:?}");
        assert!(outcome.of(&format!("after {place}")).ends_with(SILENCE), "{place}: {outcome:?}");
    }
    // The wall has two sides: the service reaches nobody else, its own machine included.
    assert_eq!(outcome.of("before-outside"), "ConnectionRefusedError", "{outcome:?}");
    assert_eq!(outcome.of("outside"), "TimeoutError", "{outcome:?}");
}
