//! The page made of made-up facts: what it says of troubles that a test cannot wait for, and what hostile names become.
use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant, SystemTime},
};

use crate::{
    edge::{
        admin::status::{
            POLICY,
            attention::{Weight, attention},
            facts::{
                CertificateFacts, Facts, IssuerFacts, KeyFacts, ObservedFacts, ReloadFacts, ServerFacts, UpstreamFacts,
            },
            page::{STYLE, page, sign_in},
        },
        rejections::RecentRejection,
    },
    gate::{rejection::Rejection, time::UnixTime},
    state::{
        key_slot::{KeyStatus, RemoteStatus},
        rejection_counts::RejectionCounts,
        traffic::{Counted, Stretch, Traffic},
    },
};

const HOSTILE: &str = "\"><script>alert('x')</script><img src=x onerror=alert(1)>&\u{202e}\u{7}é";

fn quiet() -> Facts {
    let traffic = Traffic::new(Instant::now());
    Facts {
        at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        uptime: Duration::from_secs(90),
        conditions: vec![("listeners".to_owned(), true)],
        is_draining: false,
        traffic: Stretch { length: Duration::from_secs(60), counted: Counted::default() },
        stretches: traffic.stretches(),
        in_flight: 0,
        connections: 0,
        streams: 0,
        turned_away: Vec::new(),
        cache_entries: 0,
        cache_capacity: 50_000,
        reasons: Vec::new(),
        rejections: Vec::new(),
        issuers: Vec::new(),
        upstreams: Vec::new(),
        reload: ReloadFacts::default(),
        certificates: Vec::new(),
        routes: 1,
        public_routes: Vec::new(),
        observed_routes: Vec::new(),
        revocations: 0,
        revocation_troubles: Vec::new(),
        log_lines_lost: 0,
    }
}

fn remote() -> RemoteStatus {
    RemoteStatus {
        location: None,
        attempts: 1,
        failures: 0,
        last_success: Some(UnixTime::from_seconds(1_800_000_000)),
        age: Some(Duration::from_secs(30)),
        is_restored: false,
        last_error: None,
        metadata_error: None,
        kept: None,
        disk_error: None,
        is_being_kept: false,
        next_attempt_in: Duration::from_secs(570),
        stale_in: Some(Duration::from_secs(86_370)),
    }
}

fn issuer(name: &str, status: KeyStatus) -> IssuerFacts {
    let key = KeyFacts { kid: Some("k1".to_owned()), algorithms: "ES256".to_owned() };
    IssuerFacts {
        name: name.to_owned(),
        identifier: format!("https://{name}.example/"),
        is_required: false,
        keys: Some(vec![key]),
        skipped: 0,
        status,
    }
}

fn upstream(servers: &[(&str, bool)]) -> UpstreamFacts {
    UpstreamFacts {
        name: "orders".to_owned(),
        answers: 1_234,
        mean: Some(Duration::from_micros(12_300)),
        retries: 7,
        servers: servers
            .iter()
            .map(|(server, is_well)| ServerFacts {
                name: (*server).to_owned(),
                is_well: *is_well,
                trouble: (!is_well).then(|| format!("its health checks fail ({HOSTILE})")),
            })
            .collect(),
    }
}

fn certificate(left: Option<u64>) -> CertificateFacts {
    let left = left.map(|days| Duration::from_secs(days * 86_400));
    CertificateFacts { listener: "web".to_owned(), name: "www.example".to_owned(), left }
}

/// A change to quiet facts, and what then needs attention.
type Row = (fn(&mut Facts), &'static [(Weight, &'static str)]);

#[test]
#[expect(clippy::too_many_lines, reason = "one row after another")]
fn every_trouble_is_named_and_nothing_else_is() {
    use Weight::{Bad, Warning};
    let rows: &[Row] = &[
        (|_| {}, &[]),
        (
            |facts| {
                facts.issuers = vec![issuer("main", KeyStatus::Fixed), issuer("other", KeyStatus::Remote(remote()))]
            },
            &[],
        ),
        (
            |facts| facts.issuers = vec![IssuerFacts { keys: None, ..issuer("main", KeyStatus::Fixed) }],
            &[(Bad, "Issuer main has no keys: its tokens get 503")],
        ),
        (
            |facts| {
                let status = RemoteStatus { last_error: Some("no route".into()), is_restored: true, ..remote() };
                facts.issuers = vec![issuer("main", KeyStatus::Remote(status))];
            },
            &[
                (Warning, "Issuer main: the last fetch of its keys failed (good for 23 h 59 min): no route"),
                (Warning, "Issuer main: its keys are those that were kept on disk, none were fetched yet"),
            ],
        ),
        (
            |facts| {
                let disk_error = Some("no space".into());
                let status = RemoteStatus { metadata_error: Some("gone".into()), disk_error, ..remote() };
                facts.issuers = vec![issuer("main", KeyStatus::Remote(status))];
            },
            &[(Warning, "Issuer main: gone"), (Warning, "Issuer main: no space")],
        ),
        (
            |facts| {
                let read = UnixTime::from_seconds(1);
                let status = KeyStatus::File { read, age: Duration::ZERO, last_error: Some("line 1".into()) };
                facts.issuers = vec![issuer("main", status)];
            },
            &[(Warning, "Issuer main: its file cannot be used: line 1")],
        ),
        (|facts| facts.upstreams = vec![upstream(&[]), upstream(&[("a:1", true)])], &[]),
        (
            |facts| facts.upstreams = vec![upstream(&[("a:1", true), ("b:1", false)])],
            &[(Warning, "Upstream orders: b:1 is down")],
        ),
        (
            |facts| facts.upstreams = vec![upstream(&[("a:1", false), ("b:1", false)])],
            &[(Bad, "Upstream orders: a:1, b:1 is down")],
        ),
        (|facts| facts.certificates = vec![certificate(Some(14))], &[]),
        (
            |facts| facts.certificates = vec![certificate(Some(13)), certificate(Some(2)), certificate(None)],
            &[
                (Bad, "Certificate www.example of listener web expires in 2 d"),
                (Bad, "Certificate www.example of listener web has expired"),
                (Warning, "Certificate www.example of listener web expires in 13 d"),
            ],
        ),
        (|facts| facts.reload.asked_for = Some(facts.at), &[]),
        (
            |facts| (facts.reload.failure, facts.reload.is_outdated) = (Some("a.yaml:1:2: no".to_owned()), true),
            &[(Warning, "The last reload changed nothing, the configuration from before is in force: a.yaml:1:2: no")],
        ),
        (
            |facts| facts.reload.is_outdated = true,
            &[(Warning, "The file of the configuration is not what is in force: it waits for a reload")],
        ),
        (
            |facts| facts.revocation_troubles = vec!["file".to_owned()],
            &[(Warning, "Revocations from file cannot be read as they are now: the last good list is in force")],
        ),
        (
            |facts| facts.traffic.counted = Counted { requests: 100, server_errors: 6, ..Counted::default() },
            &[(Bad, "6 % of the last requests were answered with 5xx")],
        ),
        (|facts| facts.traffic.counted = Counted { requests: 99, server_errors: 99, ..Counted::default() }, &[]),
        (|facts| facts.traffic.counted = Counted { requests: 100, server_errors: 5, ..Counted::default() }, &[]),
        (
            |facts| facts.traffic.counted = Counted { cache_lookups: 1_000, cache_hits: 499, ..Counted::default() },
            &[(
                Warning,
                "More than half of the tokens are new to the claims cache: every request costs a signature check",
            )],
        ),
        (|facts| facts.traffic.counted = Counted { cache_lookups: 999, cache_hits: 0, ..Counted::default() }, &[]),
        (
            |facts| {
                let route = |name: &str, is_authentication| ObservedFacts {
                    name: name.to_owned(),
                    is_authentication,
                    would_refuse: 3,
                };
                facts.observed_routes = vec![route("rules", false), route("legacy", true)];
            },
            &[(Warning, "Route legacy: authentication is only observed, whoever would be refused passes")],
        ),
        (|facts| facts.log_lines_lost = 4, &[(Warning, "4 lines of the access log were lost")]),
    ];
    for (change, expected) in rows {
        let mut facts = quiet();
        change(&mut facts);
        let expected: Vec<(Weight, String)> =
            expected.iter().map(|(weight, what)| (*weight, (*what).to_owned())).collect();
        assert_eq!(attention(&facts), expected);
        let page = page(&facts).into_string();
        assert!(expected.iter().all(|(_, what)| page.contains(what.as_str())), "{expected:?} is not on the page");
        assert_eq!(page.contains("Nothing."), expected.is_empty());
    }
}

#[test]
fn a_host_that_is_not_ready_says_so_first_and_why() {
    let mut facts = quiet();
    let ready = page(&facts).into_string();
    assert!(
        ready.contains("<title>ready · portcullis</title>") && ready.contains("this host takes traffic"),
        "{ready}"
    );
    facts.conditions.push(("keys of an issuer".to_owned(), false));
    let unready = page(&facts).into_string();
    for part in ["<title>NOT READY · portcullis</title>", "Not ready</h1>", "<strong>keys of an issuer</strong>"] {
        assert!(unready.contains(part), "{part} is not in {unready}");
    }
    assert!(!unready.contains("this host takes traffic"));
    facts.is_draining = true;
    assert!(page(&facts).into_string().contains("about to stop"));
}

fn hostile() -> Facts {
    let mut facts = quiet();
    let status = RemoteStatus { last_error: Some(HOSTILE.into()), ..remote() };
    let key = || KeyFacts { kid: Some(HOSTILE.to_owned()), algorithms: HOSTILE.to_owned() };
    facts.issuers = vec![IssuerFacts {
        identifier: HOSTILE.to_owned(),
        keys: Some((0..9).map(|_| key()).collect()),
        ..issuer(HOSTILE, KeyStatus::Remote(status))
    }];
    facts.upstreams = vec![UpstreamFacts { name: HOSTILE.to_owned(), ..upstream(&[(HOSTILE, false)]) }];
    facts.certificates = vec![CertificateFacts { listener: HOSTILE.to_owned(), name: HOSTILE.to_owned(), left: None }];
    facts.public_routes = vec![HOSTILE.to_owned()];
    facts.observed_routes =
        vec![ObservedFacts { name: HOSTILE.to_owned(), is_authentication: true, would_refuse: u64::MAX }];
    facts.revocation_troubles = vec![HOSTILE.to_owned()];
    facts.conditions.push((HOSTILE.to_owned(), false));
    let mut counts = RejectionCounts::default();
    counts.note(Rejection::IssuerUnknown, Instant::now());
    facts.reasons = counts.recent(Instant::now());
    facts.rejections = vec![RecentRejection {
        time: SystemTime::UNIX_EPOCH,
        request_id: HOSTILE.into(),
        route: HOSTILE.into(),
        rejection: Rejection::IssuerUnknown,
        detail: Some(HOSTILE.into()),
        client_ip: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    }];
    facts
}

#[test]
fn no_value_becomes_markup_wherever_it_is_shown() {
    let page = page(&hostile()).into_string();
    // As many elements of each kind as without hostile values: one script, one image.
    assert_eq!((page.matches("<script").count(), page.matches("<img").count()), (1, 1), "{page}");
    assert!(!page.contains("onerror=alert(1)>") && !page.contains("<script>alert"), "{page}");
    assert!(page.matches("&lt;script&gt;alert").count() > 15, "the values are shown: {page}");
}

#[test]
fn the_policy_names_the_style_and_the_script_of_the_page_and_lets_nothing_else_in() {
    assert!(POLICY.starts_with("default-src 'none'; style-src 'sha256-"), "{}", *POLICY);
    assert!(!POLICY.contains("unsafe"), "{}", *POLICY);
    for page in [page(&hostile()).into_string(), sign_in().into_string()] {
        assert!(!page.contains(" style=") && !page.contains(" onclick="), "{page}");
        assert_eq!((page.matches("<style>").count(), page.matches("<script>").count()), (1, 1));
        for address in page.split(['\'', '"']).filter(|text| text.contains("://")) {
            let is_a_name =
                address.starts_with("https://") && address.ends_with(".example/") || address.contains("www.w3.org");
            assert!(is_a_name, "{address} is fetched from elsewhere");
        }
    }
}

/// The value of a colour in the first (light) or the second (dark) block of the style.
fn colour(block: usize, name: &str) -> [f64; 3] {
    let value = STYLE.split(&format!("--{name}: #")).nth(block + 1).unwrap_or_else(|| panic!("no colour {name}"));
    let number = u32::from_str_radix(value.get(..6).unwrap(), 16).unwrap();
    [number >> 16, number >> 8, number].map(|byte| f64::from(byte & 255) / 255.0)
}

/// WCAG 2.2, "contrast ratio" and "relative luminance".
fn contrast(one: [f64; 3], other: [f64; 3]) -> f64 {
    let luminance = |colour: [f64; 3]| {
        let linear = colour.map(|part| if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) });
        0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    };
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[test]
fn every_text_has_the_contrast_of_wcag_level_aa_light_and_dark() {
    assert!((contrast([0.0; 3], [1.0; 3]) - 21.0).abs() < 1e-9);
    const TEXT: f64 = 4.5;
    const GRAPHICS: f64 = 3.0;
    let rows = [
        ("ink", "page", TEXT),
        ("ink", "card", TEXT),
        ("ink", "sunk", TEXT),
        ("ink", "bad-soft", TEXT),
        ("ink", "warning-soft", TEXT),
        ("muted", "page", TEXT),
        ("muted", "card", TEXT),
        ("link", "card", TEXT),
        ("link", "page", TEXT),
        ("good", "card", TEXT),
        ("good", "good-soft", TEXT),
        ("bad", "card", TEXT),
        ("bad", "bad-soft", TEXT),
        ("warning", "warning-soft", TEXT),
        ("card", "bad", TEXT),
        ("chart", "card", GRAPHICS),
    ];
    for (block, scheme) in ["light", "dark"].into_iter().enumerate() {
        for (one, other, least) in rows {
            let ratio = contrast(colour(block, one), colour(block, other));
            assert!(ratio >= least, "{scheme}: {one} on {other} is {ratio:.2}, at least {least}");
        }
    }
}
