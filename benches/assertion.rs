//! What the gateway's own signature adds to a request: signed anew, remembered, and the signature alone.
#![allow(clippy::unwrap_used, reason = "a benchmark ends by panicking")]
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

mod support;

use std::{hint::black_box, path::PathBuf, sync::Arc, time::Duration};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName};
use portcullis::{
    config::settings::{
        CacheLimits,
        assertion::{AssertionKeyFile, AssertionSettings},
    },
    edge::{
        assertions::Assertions,
        state_directory::{self, StatePlace},
    },
    gate::{
        algorithm::Algorithm,
        assertion::AssertionRule,
        assertion_key::{AssertionAlgorithm, AssertionKey, Pair},
        decide::Decision,
        route::UpstreamId,
        time::UnixTime,
    },
    state::gatekeeper::Gatekeeper,
};

use support::{Head, Keys, NOW, OFF, PRIVATE_PATH, ROOMY, decide};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ALGORITHMS: [AssertionAlgorithm; 2] = [AssertionAlgorithm::EdDsa, AssertionAlgorithm::Es256];
const HEADER: HeaderName = HeaderName::from_static("x-identity-assertion");
const LIFETIME: Duration = Duration::from_secs(60);

fn rule(algorithm: AssertionAlgorithm) -> AssertionRule {
    AssertionRule {
        header: "X-Identity-Assertion".into(),
        lifetime: LIFETIME,
        algorithm,
        issuer: "https://edge.example.com".into(),
        publish: false,
    }
}

fn key(algorithm: AssertionAlgorithm) -> Arc<AssertionKey> {
    let der = match algorithm {
        AssertionAlgorithm::EdDsa => Ed25519KeyPair::generate().unwrap().to_pkcs8().unwrap().as_ref().to_vec(),
        AssertionAlgorithm::Es256 => {
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap().to_pkcs8v1().unwrap().as_ref().to_vec()
        }
    };
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der));
    Arc::new(AssertionKey::from_pem(pem.as_bytes(), algorithm).unwrap())
}

fn assertions(key: &Arc<AssertionKey>, algorithm: AssertionAlgorithm, limits: CacheLimits) -> Assertions {
    let key_file = Some(AssertionKeyFile { path: PathBuf::new(), key: Some(Arc::clone(key)) });
    let settings = AssertionSettings { rule: rule(algorithm), key_file, published: Vec::new() };
    Assertions::new(&settings, &no_state(), limits).unwrap()
}

fn no_state() -> StatePlace {
    state_directory::find(&portcullis::config::settings::StateDirectory::Off).unwrap()
}

/// A decision with identity headers, and with an assertion where there are any.
fn request(
    gatekeeper: &Gatekeeper,
    head: &Head,
    assertions: Option<&Assertions>,
    now: UnixTime,
    outgoing: &mut HeaderMap,
) {
    let judgement = decide(gatekeeper, black_box(head), now, outgoing);
    let Decision::Pass(Some(identity)) = &judgement.decision else { unreachable!("the token is good") };
    if let Some(assertions) = assertions {
        let to = (UpstreamId(0), "orders");
        let value = assertions.assertion(identity, to, gatekeeper.ruleset(), now).unwrap();
        outgoing.insert(HEADER, value);
    }
}

fn requests(criterion: &mut Criterion) {
    let keys = Keys::new();
    let token = keys.token(Algorithm::ES256, 0).compact;
    let head = Head::new(PRIVATE_PATH, Some(&token));
    let mut outgoing = HeaderMap::with_capacity(16);
    let mut group = criterion.benchmark_group("assertion");
    let plain = keys.gatekeeper(ROOMY);
    group.bench_function("remembered token, no assertion", |bencher| {
        bencher.iter(|| request(&plain, &head, None, NOW, &mut outgoing));
    });
    for algorithm in ALGORITHMS {
        let name = algorithm.name();
        let key = key(algorithm);
        let gatekeeper = keys.asserting_gatekeeper(ROOMY, rule(algorithm));
        let remembering = assertions(&key, algorithm, ROOMY);
        group.bench_function(format!("remembered token, remembered assertion, {name}"), |bencher| {
            bencher.iter(|| request(&gatekeeper, &head, Some(&remembering), NOW, &mut outgoing));
        });
        let forgetful = assertions(&key, algorithm, OFF);
        group.bench_function(format!("remembered token, assertion signed, {name}"), |bencher| {
            bencher.iter(|| request(&gatekeeper, &head, Some(&forgetful), NOW, &mut outgoing));
        });
        let text = [b'a'; 500];
        group.bench_function(format!("signature alone, {name}"), |bencher| {
            bencher.iter(|| sign(&key, black_box(&text)));
        });
    }
    group.finish();
}

fn sign(key: &AssertionKey, text: &[u8]) -> aws_lc_rs::signature::Signature {
    match key.pair() {
        Pair::Ed25519(pair) => pair.sign(text),
        Pair::P256(pair) => pair.sign(&SystemRandom::new(), text).unwrap(),
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = requests
}
criterion_main!(benches);
