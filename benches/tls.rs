//! What TLS costs with each of the two libraries that are linked: the one that the gateway uses for everything, and the one that
//! Pingora brings along. Both ends are in memory and in one thread; rounds of one library and the other take turns, so that a
//! machine that is busy is busy for both.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and ends by panicking"
)]

use std::{
    io::{Read as _, Write as _},
    sync::Arc,
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, ConnectionCommon, NamedGroup, RootCertStore, ServerConfig,
    ServerConnection, SupportedProtocolVersion,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs, ring},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    server::NoServerSessionStorage,
    version::{TLS12, TLS13},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What one side of a connection spent.
#[derive(Clone, Copy, Default)]
struct Spent {
    server: Duration,
    client: Duration,
}

/// A certificate with its key and the authority that vouches for it.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivatePkcs8KeyDer<'static>,
    roots: RootCertStore,
}

impl Identity {
    fn new(algorithm: &'static rcgen::SignatureAlgorithm) -> Self {
        let root_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut root = CertificateParams::default();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let mut roots = RootCertStore::empty();
        roots.add(root.self_signed(&root_key).unwrap().der().clone()).unwrap();
        let key = KeyPair::generate_for(algorithm).unwrap();
        let leaf = CertificateParams::new(["api.test".to_owned()]).unwrap();
        let chain = vec![leaf.signed_by(&key, &Issuer::new(root, root_key)).unwrap().der().clone()];
        Self { chain, key: PrivatePkcs8KeyDer::from(key.serialize_der()), roots }
    }
}

/// The library with one suite and one group, which both have.
fn narrowed(provider: CryptoProvider, suite: CipherSuite, group: NamedGroup) -> Arc<CryptoProvider> {
    let mut provider = provider;
    provider.cipher_suites.retain(|own| own.suite() == suite);
    provider.kx_groups.retain(|own| own.name() == group);
    assert!(!provider.cipher_suites.is_empty() && !provider.kx_groups.is_empty());
    Arc::new(provider)
}

/// What is spoken in one row of a table.
#[derive(Clone, Copy)]
struct Row {
    name: &'static str,
    version: &'static SupportedProtocolVersion,
    suite: CipherSuite,
    group: NamedGroup,
    is_rsa: bool,
    is_resumed: bool,
}

/// Both ends, ready for connections.
struct Ends {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Ends {
    fn new(provider: CryptoProvider, row: Row, identity: &Identity) -> Self {
        let provider = narrowed(provider, row.suite, row.group);
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[row.version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(identity.chain.clone(), PrivateKeyDer::Pkcs8(identity.key.clone_key()))
            .unwrap();
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[row.version])
            .unwrap()
            .with_root_certificates(identity.roots.clone())
            .with_no_client_auth();
        if !row.is_resumed {
            server.session_storage = Arc::new(NoServerSessionStorage {});
            server.send_tls13_tickets = 0;
            client.resumption = Resumption::disabled();
        }
        Self { server: Arc::new(server), client: Arc::new(client) }
    }

    fn connect(&self) -> (ServerConnection, ClientConnection, Spent) {
        let mut spent = Spent::default();
        let name = ServerName::try_from("api.test").unwrap();
        let mut client = timed(&mut spent.client, || ClientConnection::new(Arc::clone(&self.client), name).unwrap());
        let mut server = timed(&mut spent.server, || ServerConnection::new(Arc::clone(&self.server)).unwrap());
        let mut wire = Vec::new();
        while client.is_handshaking() || server.is_handshaking() || client.wants_write() || server.wants_write() {
            timed(&mut spent.client, || write(&mut client, &mut wire));
            timed(&mut spent.server, || {
                read(&mut server, &mut wire);
                write(&mut server, &mut wire);
            });
            timed(&mut spent.client, || read(&mut client, &mut wire));
        }
        (server, client, spent)
    }
}

fn timed<T>(spent: &mut Duration, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = work();
    *spent += began.elapsed();
    done
}

fn write<D>(end: &mut ConnectionCommon<D>, wire: &mut Vec<u8>) {
    while end.wants_write() {
        end.write_tls(wire).unwrap();
    }
}

fn read<D>(end: &mut ConnectionCommon<D>, wire: &mut Vec<u8>) {
    let mut unread = wire.as_slice();
    while !unread.is_empty() {
        end.read_tls(&mut unread).unwrap();
        end.process_new_packets().unwrap();
    }
    wire.clear();
}

/// The median, and the mean of the quietest tenth.
fn told(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    let tenth = (times.len() / 10).max(1);
    (times[times.len() / 2], times[..tenth].iter().sum::<Duration>() / u32::try_from(tenth).unwrap())
}

fn per_second(time: Duration) -> f64 {
    1.0 / time.as_secs_f64()
}

const P256: NamedGroup = NamedGroup::secp256r1;
const X25519: NamedGroup = NamedGroup::X25519;
const AES128: CipherSuite = CipherSuite::TLS13_AES_128_GCM_SHA256;
const AES256: CipherSuite = CipherSuite::TLS13_AES_256_GCM_SHA384;
const CHACHA: CipherSuite = CipherSuite::TLS13_CHACHA20_POLY1305_SHA256;

const FULL: Row = Row {
    name: "1.3, ECDSA P-256, X25519",
    version: &TLS13,
    suite: AES256,
    group: X25519,
    is_rsa: false,
    is_resumed: false,
};

fn handshakes(ecdsa: &Identity, rsa: &Identity, rounds: usize) {
    let rows = [
        FULL,
        Row { name: "1.3, ECDSA P-256, P-256", group: P256, ..FULL },
        Row { name: "1.3, RSA 2048, X25519", is_rsa: true, ..FULL },
        Row {
            name: "1.2, ECDSA P-256, X25519",
            version: &TLS12,
            suite: CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            ..FULL
        },
        Row { name: "1.3, resumed, X25519", is_resumed: true, ..FULL },
        Row { name: "1.3, ECDSA P-256, X25519MLKEM768", group: NamedGroup::X25519MLKEM768, ..FULL },
    ];
    println!("handshakes per CPU second: median, and quietest tenth");
    for row in rows {
        let identity = if row.is_rsa { rsa } else { ecdsa };
        let mut libraries = vec![("aws-lc-rs", aws_lc_rs::default_provider())];
        if row.group != NamedGroup::X25519MLKEM768 {
            libraries.push(("ring", ring::default_provider()));
        }
        let ends: Vec<_> =
            libraries.into_iter().map(|(name, provider)| (name, Ends::new(provider, row, identity))).collect();
        let mut times = vec![(Vec::new(), Vec::new()); ends.len()];
        for round in 0..=rounds {
            for ((_, ends), (server, client)) in ends.iter().zip(&mut times) {
                for _ in 0..20 {
                    let (.., spent) = ends.connect();
                    // The first round warms up, and leaves sessions to resume.
                    if round > 0 {
                        server.push(spent.server);
                        client.push(spent.client);
                    }
                }
            }
        }
        for ((library, _), (server, client)) in ends.iter().zip(times) {
            let ((server, quiet_server), (client, quiet_client)) = (told(server), told(client));
            let of = per_second;
            println!(
                "{:34} {library:10} server {:7.0} {:7.0}   client {:7.0} {:7.0}",
                row.name,
                of(server),
                of(quiet_server),
                of(client),
                of(quiet_client),
            );
        }
    }
}

fn bulk(identity: &Identity, rounds: usize) {
    const CHUNK: usize = 16 * 1024;
    println!("MB of a body per CPU second: median, and quietest tenth");
    for (name, suite) in [("AES-128-GCM", AES128), ("AES-256-GCM", AES256), ("ChaCha20-Poly1305", CHACHA)] {
        let libraries = [("aws-lc-rs", aws_lc_rs::default_provider()), ("ring", ring::default_provider())];
        let mut ends = libraries.map(|(name, provider)| {
            let (server, client, _) = Ends::new(provider, Row { suite, ..FULL }, identity).connect();
            (name, server, client, Vec::new(), Vec::new())
        });
        let (content, mut wire, mut received) = (vec![7_u8; CHUNK], Vec::with_capacity(2 * CHUNK), vec![0_u8; CHUNK]);
        for _ in 0..rounds {
            for (_, server, client, sealing, opening) in &mut ends {
                for _ in 0..20 {
                    let mut spent = Spent::default();
                    timed(&mut spent.server, || {
                        server.writer().write_all(&content).unwrap();
                        write(server, &mut wire);
                    });
                    timed(&mut spent.client, || {
                        read(client, &mut wire);
                        client.reader().read_exact(&mut received).unwrap();
                    });
                    sealing.push(spent.server);
                    opening.push(spent.client);
                }
            }
        }
        for (library, _, _, sealing, opening) in ends {
            #[expect(clippy::cast_precision_loss, reason = "it is small")]
            let of = |time: Duration| CHUNK as f64 / 1e6 * per_second(time);
            let ((sealing, quiet_sealing), (opening, quiet_opening)) = (told(sealing), told(opening));
            println!(
                "{name:34} {library:10} sealed {:7.0} {:7.0}   opened {:7.0} {:7.0}",
                of(sealing),
                of(quiet_sealing),
                of(opening),
                of(quiet_opening),
            );
        }
    }
}

fn main() {
    let is_quick = std::env::var_os("PORTCULLIS_BENCH_QUICK").is_some();
    let rounds = if is_quick { 5 } else { 100 };
    let (ecdsa, rsa) = (Identity::new(&PKCS_ECDSA_P256_SHA256), Identity::new(&PKCS_RSA_SHA256));
    handshakes(&ecdsa, &rsa, rounds);
    bulk(&ecdsa, 4 * rounds);
}
