//! The user of the authority and the user of the gateway, as docs/mtls.md sets them up, on a machine with both units as they are
//! shipped: who can read what, and that the gateway lacks nothing when the authority is gone.
use std::fs;

use super::{days_from_now, recipes::Recipe};
use crate::support::{
    fixture::{good_bearer, keys_file},
    machine::Machine,
};

const CONFIG: &str = "
listeners: [{address: \"127.0.0.1:8080\"}]
server: {threads: 1}
issuers:
  main: {issuer: https://issuer.test, audiences: [https://api.test], keys: {jwks_file: keys.json}}
identity: {headers: {X-User-ID: {from: subject}}}
routes: [{path_prefix: /, upstream: orders}]
upstreams:
  orders:
    servers: [\"127.0.0.1:8443\"]
    tls: {server_name: orders, ca_file: TLS/ca.pem, certificate_file: TLS/certificate.pem, private_key_file: TLS/key.pem}
";

const BEFORE: &str = r#"
useradd --system --shell /usr/sbin/nologin portcullis
useradd --system --shell /usr/sbin/nologin somebody
install -d -m 0755 /etc/portcullis
"#;

/// The service of the page, the gateway in front of it, and what its user can see of the authority.
const AFTER: &str = r#"
as portcullis-ca portcullis ca issue orders >/dev/null
install -d /etc/orders/tls
cp -rL /var/lib/portcullis-ca/issued/orders /etc/orders/tls/orders
python3 orders.py & service=$!
install -o portcullis -m 0400 portcullis.yaml keys.json /etc/portcullis
for _ in $(seq 100); do ss -Hltn 'sport = :8443' | grep -q . && break; sleep 0.1; done
for unit in portcullis-ca-renew.service portcullis-ca-renew.timer; do
    report "verify $unit" systemd-analyze verify --man=no /etc/systemd/system/$unit
done
report timer systemctl is-active portcullis-ca-renew.timer
report user systemctl show --value -p User portcullis-ca-renew.service
systemctl start portcullis || { systemctl status portcullis >&2; exit 1; }
through() { curl -sS --max-time 5 -w ' %{http_code}' -H @authorization http://127.0.0.1:8080/; }
until_metric() { for _ in $(seq 150); do metric >now; cmp -s now "$1" || return 0; sleep 0.1; done; echo 'nothing changed' >&2; exit 1; }
metric() { curl -sS http://127.0.0.1:9400/metrics | grep -v '^#' | grep 'not_after_timestamp_seconds.*upstream orders'; }
report first through
metric > first
for file in private private/root.key private/services.key private/gateway.key register; do
    report "portcullis reads $file" as portcullis sh -c "cat /var/lib/portcullis-ca/$file >/dev/null 2>&1 && echo yes || { ls /var/lib/portcullis-ca/$file >/dev/null 2>&1 && echo seen || echo no; }"
done
report "portcullis reads its own" as portcullis sh -c 'cat /etc/portcullis/tls/gateway/key.pem >/dev/null && echo yes'
report "portcullis writes its own" as portcullis sh -c 'touch /etc/portcullis/tls/gateway/key.pem 2>/dev/null && echo yes || echo no'
report "somebody reads the gateway's" as somebody sh -c 'cat /etc/portcullis/tls/gateway/key.pem >/dev/null 2>&1 && echo yes || echo no'
# The time has come.
systemctl start portcullis-ca-renew.service || { systemctl status portcullis-ca-renew.service >&2; exit 1; }
until_metric first
report renewed through
# The authority is gone, with its keys: nothing that the gateway does needs it.
mv /var/lib/portcullis-ca /root/elsewhere
mkdir /var/lib/portcullis-ca && chmod 0700 /var/lib/portcullis-ca
systemctl restart portcullis
report without through
as portcullis portcullis reload --config /etc/portcullis/portcullis.yaml --admin 127.0.0.1:9400 >reloaded 2>&1 || systemctl kill -s HUP --kill-who=main portcullis
report reloaded through
# And it says so when it is told to take what it cannot read.
mv /root/elsewhere/* /var/lib/portcullis-ca/
chown portcullis-ca /var/lib/portcullis-ca
sed 's#certificate_file: [^,]*, private_key_file: [^}]*#certificate_file: /etc/portcullis/services.pem, private_key_file: /var/lib/portcullis-ca/private/services.key#' \
    portcullis.yaml > /etc/portcullis/stolen.yaml
cp /var/lib/portcullis-ca/services.pem /etc/portcullis/
chmod 0644 /etc/portcullis/stolen.yaml /etc/portcullis/services.pem
report stolen as portcullis sh -c 'portcullis validate -c /etc/portcullis/stolen.yaml; echo " exit $?"'
kill $service
"#;

#[test]
fn the_gateway_cannot_read_the_authority_and_misses_nothing_when_it_is_gone() {
    let Some(machine) = Machine::new("the users of authority and gateway") else { return };
    let page = fs::read_to_string(format!("{}/docs/mtls.md", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (_, after) = page.split_once("## Where keys live, and the renewal timer\n").unwrap();
    let commands = after.split_once("```sh\n").unwrap().1.split_once("```").unwrap().0;
    // As if set up a while ago, so that the gateway's certificate is due.
    let (made, issued) = (days_from_now(-40), days_from_now(-25));
    let commands = commands
        .replace("sudo -u ", "as ")
        .replace("ca init\n", &format!("ca init --at {made} >/dev/null\n"))
        .replace("--group-readable\n", &format!("--group-readable --at {issued} >/dev/null\n"));
    assert!(commands.contains(&made) && commands.contains(&issued), "{commands}");
    machine.file("portcullis.yaml", CONFIG.replace("TLS/", "/etc/portcullis/tls/gateway/"));
    machine.file("keys.json", keys_file());
    machine.file("authorization", format!("Authorization: {}", good_bearer()));
    machine.file("orders.py", Recipe::Python.text());
    let outcome = machine.run(&format!("{BEFORE}{commands}{AFTER}"));
    for (name, expected) in [
        ("verify portcullis-ca-renew.service", ""),
        ("verify portcullis-ca-renew.timer", ""),
        ("timer", "active"),
        ("user", "portcullis-ca"),
        ("first", "hello u1  200"),
        ("portcullis reads private", "no"),
        ("portcullis reads private/root.key", "no"),
        ("portcullis reads private/services.key", "no"),
        ("portcullis reads private/gateway.key", "no"),
        ("portcullis reads register", "no"),
        ("portcullis reads its own", "yes"),
        ("portcullis writes its own", "no"),
        ("somebody reads the gateway's", "no"),
        ("renewed", "hello u1  200"),
        ("without", "hello u1  200"),
        ("reloaded", "hello u1  200"),
    ] {
        assert_eq!(outcome.of(name), expected, "{name}: {outcome:?}");
    }
    let stolen = outcome.of("stolen");
    assert!(stolen.contains("the certificate of an authority") && stolen.ends_with("exit 78"), "{outcome:?}");
    assert!(stolen.contains("/var/lib/portcullis-ca/private/services.key"), "{outcome:?}");
}
