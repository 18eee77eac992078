//! The services of docs/inside.md that verify assertions: let in is what the real gateway signed for them, and nothing else.
use std::{
    net::{SocketAddr, TcpStream},
    os::unix::fs::symlink,
    process::Command,
};

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{example, part};
use crate::support::{
    client::{Client, Response},
    fixture::{self, good_bearer, signing_key},
    folder::Folder,
    gateway::Gateway,
    jwks_server::JwksServer,
    keys::encoded,
    minted, peers,
    process::Process,
    server::free_address,
    token::{Token, now},
    waiting::{PATIENCE, eventually},
    wire::Address,
};

const HEADER: &str = "X-Identity-Assertion";
/// What the page says that the service fetches.
const KEYS_URL: &str = "https://gateway.internal/.well-known/jwks.json";
/// How often a service is started again because another process took its port in between.
const STARTS_MAX: usize = 5;

/// A key that signs assertions: the gateway's own, or somebody else's.
struct EdgeKey {
    pair: Ed25519KeyPair,
    private_pem: String,
}

impl EdgeKey {
    fn new() -> Self {
        let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap();
        Self { pair, private_pem: pem("PRIVATE KEY", der.as_ref()) }
    }

    fn x(&self) -> String {
        encoded(self.pair.public_key().as_ref())
    }

    fn jwk(&self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "x": self.x(), "kid": self.kid(), "use": "sig", "alg": "EdDSA"})
    }

    /// SPKI (RFC 8410).
    fn public_pem(&self) -> String {
        let prefix = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        pem("PUBLIC KEY", &[prefix.as_slice(), self.pair.public_key().as_ref()].concat())
    }

    /// The RFC 7638 thumbprint.
    fn kid(&self) -> String {
        let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, self.x());
        encoded(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, canonical.as_bytes()))
    }

    fn sign(&self, text: &str) -> Vec<u8> {
        self.pair.sign(text.as_bytes()).as_ref().to_vec()
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// A service of the page.
#[derive(Clone, Copy)]
enum Sample {
    Node,
    Python,
}

struct Service {
    process: Process,
    address: SocketAddr,
    _folder: Folder,
}

impl Sample {
    const fn file(self) -> &'static str {
        match self {
            Self::Node => "assertion.mjs",
            Self::Python => "assertion.py",
        }
    }

    /// What runs it; `None` when something is missing.
    fn command(self, folder: &Folder) -> Option<Command> {
        match self {
            Self::Node => {
                let modules = peers::require_modules(&["jose"], "the assertion in Node.js")?;
                symlink(modules, folder.path().join("node_modules")).unwrap();
                peers::require_program("node", "the assertion in Node.js").map(Command::new)
            }
            Self::Python => {
                let program = peers::require_program("python3", "the assertion in Python")?;
                let has_library = Command::new(&program).args(["-c", "import jwt, cryptography"]).output().unwrap();
                if !has_library.status.success() {
                    return peers::missing("PyJWT with cryptography", "the assertion in Python");
                }
                let mut command = Command::new(program);
                command.arg("-u");
                Some(command)
            }
        }
    }

    /// Starts it with keys from this place. `None`, said on standard error, when something is missing and not demanded.
    fn start(self, keys: &str) -> Option<Service> {
        self.command(&Folder::new())?;
        for _ in 0..STARTS_MAX {
            let folder = Folder::new();
            let mut command = self.command(&folder)?;
            let address = free_address();
            // What a reader edits: where the keys are, where it listens.
            let port = address.port();
            let mut text = example(self.file()).replace(KEYS_URL, keys);
            assert!(text.contains(keys));
            for (from, to) in [
                ("listen(3000)", format!("listen({port}, '127.0.0.1')")),
                ("(\"\", 3000)", format!("(\"127.0.0.1\", {port})")),
                ("cooldownDuration: 30_000", "cooldownDuration: 0".to_owned()),
            ] {
                text = text.replace(from, &to);
            }
            let process = Process::spawn(self.file(), command.arg(folder.write(self.file(), text)));
            let is_up = eventually(PATIENCE, || {
                if process.account().status.is_some() {
                    return Some(false);
                }
                TcpStream::connect(address).ok().map(|_| true)
            });
            match is_up {
                Some(true) => return Some(Service { process, address, _folder: folder }),
                Some(false) if process.account().stderr.contains("in use") => {}
                _ => panic!("{} does not start: {:?}", self.file(), process.account()),
            }
        }
        panic!("no free port in {STARTS_MAX} starts");
    }
}

impl Service {
    /// Past the gateway.
    fn ask(&self, headers: &[(&str, &str)]) -> Response {
        Client::connect(&Address::Tcp(self.address)).request("GET", "/orders", headers)
    }

    #[track_caller]
    fn check(&self, who: &str, headers: &[(&str, &str)], expected: Result<&str, ()>) {
        let response = self.ask(headers);
        let (status, text) = match expected {
            Ok(caller) => (200, format!("hello {caller}\n")),
            Err(()) => (401, "not from the gateway\n".to_owned()),
        };
        assert_eq!((response.status, response.text()), (status, text), "{who}: {:?}", self.process.account());
    }
}

/// What the gateway signs for `orders`.
fn claims() -> Value {
    let now = now();
    json!({"iss": "https://edge.example.com", "aud": "orders", "sub": "u1", "iat": now, "exp": now + 60, "token_issuer": "main"})
}

fn with(name: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims();
    claims[name] = value.into();
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

/// What would be signed.
fn text(header: &Value, claims: &Value) -> String {
    format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()))
}

fn signed(key: &EdgeKey, header: &Value, claims: &Value) -> String {
    let text = text(header, claims);
    let assertion = format!("{text}.{}", encoded(key.sign(&text)));
    minted::remember(&assertion);
    assertion
}

/// Assertions that nobody may be let in with, made by somebody who has the public key and `stolen`, a good one.
fn forged(edge: &EdgeKey, stolen: &str, elsewhere: &JwksServer) -> Vec<(&'static str, String)> {
    let other = EdgeKey::new();
    let header = |members: Value| {
        let mut header = json!({"alg": "EdDSA", "typ": "assertion+jwt", "kid": edge.kid()});
        header.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        header
    };
    let plain = header(json!({}));
    let hmac_by = |secret: &[u8]| {
        let text = text(&header(json!({"alg": "HS256"})), &claims());
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes());
        format!("{text}.{}", encoded(tag.as_ref()))
    };
    let parts: Vec<&str> = stolen.split('.').collect();
    let [stolen_header, _, stolen_signature] = parts[..] else { panic!("no assertion") };
    let url = elsewhere.url();
    let es256 = {
        let text = text(&header(json!({"alg": "ES256"})), &claims());
        format!("{text}.{}", encoded(signing_key().sign("ES256", text.as_bytes())))
    };
    let mut rows = vec![
        ("garbage", "a.b.c".to_owned()),
        ("none at all", String::new()),
        ("another key under the name of the right one", signed(&other, &plain, &claims())),
        ("another key under its own name", signed(&other, &header(json!({"kid": other.kid()})), &claims())),
        ("another key, brought along", signed(&other, &header(json!({"jwk": other.jwk()})), &claims())),
        ("another key that is elsewhere", signed(&other, &header(json!({"kid": other.kid(), "jku": url})), &claims())),
        ("no signature", format!("{}.", text(&header(json!({"alg": "none"})), &claims()))),
        ("no signature, in capitals", format!("{}.", text(&header(json!({"alg": "NONE"})), &claims()))),
        ("a good one without its signature", format!("{}.", stolen.rsplit_once('.').unwrap().0)),
        ("the public key as a secret, in PEM", hmac_by(edge.public_pem().as_bytes())),
        ("the public key as a secret, as bytes", hmac_by(edge.pair.public_key().as_ref())),
        ("the public key as a secret, as JSON", hmac_by(edge.jwk().to_string().as_bytes())),
        ("ES256 by another key", es256),
        ("another subject", format!("{stolen_header}.{}.{stolen_signature}", encoded(with("sub", "root").to_string()))),
        ("the client's own token", Token::good().signed_by(signing_key())),
    ];
    // Signed by the gateway's own key: each is wrong in one thing alone.
    for (what, header, claims) in [
        ("an old one", plain.clone(), with("exp", now() - 10)),
        ("one for another service", plain.clone(), with("aud", "billing")),
        ("one for nobody in particular", plain.clone(), without("aud")),
        ("one of another issuer", plain.clone(), with("iss", "https://edge.example.org")),
        ("one of no issuer", plain.clone(), without("iss")),
        ("one without end", plain.clone(), without("exp")),
        ("one of no age", plain.clone(), without("iat")),
        ("one about nobody", plain.clone(), without("sub")),
        ("a token of another kind", header(json!({"typ": "at+jwt"})), claims()),
        ("a token of no kind", header(json!({"typ": null})), claims()),
        ("one with a critical extension", header(json!({"crit": ["x"], "x": 1})), claims()),
    ] {
        rows.push((what, signed(edge, &header, &claims)));
    }
    rows
}

/// A gateway that signs by `edge`, as the page has it configured, in front of this service.
fn gateway(edge: &EdgeKey, next: &EdgeKey, listen: SocketAddr, service: SocketAddr) -> Gateway {
    let identity = part("identity:\n");
    let more = "    private_key_file: edge.pem\n    published_key_files: [next.pem]\n";
    let config = fixture::config("", "  - {name: orders, path_prefix: /orders, upstream: orders}");
    let (before, after) = config.split_once("identity:\n").unwrap();
    let (_, routes) = after.split_once("routes:\n").unwrap();
    let config = format!("{before}{identity}{more}routes:\n{routes}").replace("echo:", "orders:");
    Gateway::builder(config)
        .listen_on(Address::Tcp(listen))
        .set("upstream", service)
        .file("keys.json", fixture::keys_file())
        .file("edge.pem", edge.private_pem.clone())
        .file("next.pem", next.public_pem())
        .start()
}

fn check(sample: Sample) {
    let (edge, next) = (EdgeKey::new(), EdgeKey::new());
    let listen = free_address();
    let Some(service) = sample.start(&format!("http://{listen}/.well-known/jwks.json")) else { return };
    // Before the gateway is there nobody is let in.
    let plain = json!({"alg": "EdDSA", "typ": "assertion+jwt", "kid": edge.kid()});
    let good = signed(&edge, &plain, &claims());
    service.check("without keys", &[(HEADER, &good)], Err(()));
    let gateway = gateway(&edge, &next, listen, service.address);
    let elsewhere = JwksServer::start(&[EdgeKey::new().jwk()]);
    let rows = forged(&edge, &good, &elsewhere);
    let token = good_bearer();
    let through = |headers: &[(&str, &str)]| {
        let mut all = vec![("Authorization", token.as_str()), ("X-User-ID", "root")];
        all.extend(headers);
        let response = gateway.get("/orders", &all);
        (response.status, response.text())
    };
    let hello = (200, "hello u1\n".to_owned());
    assert_eq!(through(&[]), hello, "{:?}", service.process.account());
    service.check("the header alone", &[("X-User-ID", "root")], Err(()));
    service.check("nobody", &[], Err(()));
    for (who, assertion) in &rows {
        service.check(who, &[(HEADER, assertion), ("X-User-ID", "root")], Err(()));
        // Whoever comes through the gateway brings none along.
        assert_eq!(through(&[(HEADER, assertion)]), hello, "{who}");
    }
    service.check("a good one and a forged one", &[(HEADER, &good), (HEADER, &rows[2].1)], Err(()));
    service.check("a forged one and a good one", &[(HEADER, &rows[2].1), (HEADER, &good)], Err(()));
    assert_eq!(elsewhere.requests().len(), 0, "keys were looked for where a forger said");
    // As the page says: it is good for whoever has it, and says who it is whatever stands beside it.
    service.check("a good one, again", &[(HEADER, &good), ("X-User-ID", "root")], Ok("u1"));
    service.check("one a moment behind", &[(HEADER, &signed(&edge, &plain, &with("exp", now() - 2)))], Ok("u1"));
    // The next key was published before; the service need not fetch the set again.
    gateway.folder().write("edge.pem", &next.private_pem);
    let kid = next.kid();
    let said = eventually(PATIENCE, || {
        let line = format!("assertions are signed by the key {kid} from now on");
        gateway.account().stderr.contains(&line).then_some(())
    });
    assert!(said.is_some(), "{}", gateway.account().stderr);
    assert_eq!(through(&[]), hello, "after the key was exchanged: {:?}", service.process.account());
    service.check("the key of before, still published", &[(HEADER, &signed(&edge, &plain, &claims()))], Ok("u1"));
    assert!(!service.process.account().stdout.contains(&good), "no assertion is in a log");
}

#[test]
fn a_service_in_node_believes_what_the_gateway_signed_for_it_and_nothing_else() {
    check(Sample::Node);
}

#[test]
fn a_service_in_python_believes_what_the_gateway_signed_for_it_and_nothing_else() {
    check(Sample::Python);
}

#[test]
fn a_service_finds_a_key_that_was_exchanged_at_once() {
    let (edge, next, lost) = (EdgeKey::new(), EdgeKey::new(), EdgeKey::new());
    let listen = free_address();
    let Some(service) = Sample::Node.start(&format!("http://{listen}/.well-known/jwks.json")) else { return };
    let gateway = gateway(&lost, &next, listen, service.address);
    let ask = || gateway.get("/orders", &[("Authorization", &good_bearer())]).status;
    assert_eq!(ask(), 200);
    gateway.folder().write("edge.pem", &edge.private_pem);
    let is_signed = || gateway.account().stderr.contains(&edge.kid()).then_some(());
    assert!(eventually(PATIENCE, is_signed).is_some(), "{}", gateway.account().stderr);
    assert!(eventually(PATIENCE, || (ask() == 200).then_some(())).is_some(), "{:?}", service.process.account());
    // A configuration that comes into force anew does not publish the one of before.
    let published = |gateway: &Gateway| gateway.admin_get("/.well-known/jwks.json").text();
    assert!(published(&gateway).contains(&lost.x()));
    assert_eq!(gateway.run(&["reload", "-c", "portcullis.yaml"]).code(), Some(0));
    assert!(eventually(PATIENCE, || (!published(&gateway).contains(&lost.x())).then_some(())).is_some());
}
