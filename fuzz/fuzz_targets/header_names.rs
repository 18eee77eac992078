//! Header names: the first line is what a client sends, the others are configured: `+` before what the gate sets, `$`
//! before a token header, anything else is to be removed. A name that folds onto an owned one is owned whatever its
//! separators and case, nothing else is, and `Connection` cannot nominate it.
#![no_main]
use libfuzzer_sys::fuzz_target;
use portcullis::gate::{
    firewall::{FirewallNames, HeaderFirewall, Ownership},
    known_headers::{FORWARDED_IDENTITY, IDENTITY, OVERRIDES, PLAIN_ONLY, WRITTEN},
};
use portcullis_fuzz::{folded, lines};

fuzz_target!(|data: &[u8]| {
    let Some(mut lines) = lines(data) else { return };
    let name = lines.next().unwrap_or_default();
    let (mut owned, mut token_headers, mut strip): (Vec<Box<str>>, Vec<Box<str>>, Vec<Box<str>>) = Default::default();
    for line in lines.take(12).filter(|line| !HeaderFirewall::is_meaningless(line.trim_start_matches(['+', '$']))) {
        match line.as_bytes().first() {
            // A header has one name; only what is removed may be a pattern.
            Some(b'+') => owned.push(line[1..].trim_end_matches('*').into()),
            Some(b'$') => token_headers.push(line[1..].trim_end_matches('*').into()),
            _ => strip.push(line.into()),
        }
    }
    for keep_known in [false, true] {
        let names = FirewallNames { owned: &owned, token_headers: &token_headers, strip: &strip, keep_known };
        let firewall = HeaderFirewall::new(names);
        let ownership = firewall.ownership(name);
        assert_eq!(ownership, naive(name, names), "{name:?}");
        check_respellings(&firewall, name, ownership);
        check_nominations(&firewall, name, ownership);
    }
});

/// The same verdict by a search without tables.
fn naive(name: &str, names: FirewallNames<'_>) -> Ownership {
    let spelling = folded(name);
    let exact = |pattern: &str| !pattern.ends_with('*') && folded(pattern) == spelling;
    let begins = |pattern: &str| {
        pattern.strip_suffix('*').is_some_and(|begin| {
            let begin = folded(begin);
            !begin.is_empty() && spelling.starts_with(&begin)
        })
    };
    let configured: Vec<&str> = names.owned.iter().chain(names.strip).map(AsRef::as_ref).collect();
    let known = if names.keep_known { &[] } else { IDENTITY };
    let built_in: Vec<&str> = WRITTEN.iter().chain(OVERRIDES).chain(known).copied().collect();
    let kept = if names.keep_known { FORWARDED_IDENTITY } else { &[] };
    let plain: Vec<&str> =
        names.token_headers.iter().map(AsRef::as_ref).chain(PLAIN_ONLY.iter().chain(kept).copied()).collect();
    if configured.iter().any(|pattern| exact(pattern)) {
        return Ownership::Owned;
    }
    if let Some(first) = plain.iter().find(|plain| exact(plain)) {
        return if first.eq_ignore_ascii_case(name) { Ownership::Plain } else { Ownership::Owned };
    }
    if built_in.iter().any(|pattern| exact(pattern))
        || configured.iter().chain(&built_in).any(|pattern| begins(pattern))
    {
        Ownership::Owned
    } else {
        Ownership::Free
    }
}

fn check_respellings(firewall: &HeaderFirewall, name: &str, ownership: Ownership) {
    let shouted = name.to_ascii_uppercase();
    assert_eq!(firewall.ownership(&shouted), ownership);
    for respelt in
        [format!("_{name}"), format!("{name}-"), folded(name), name.replace('-', "_"), name.replace('-', ".")]
    {
        match (ownership, firewall.ownership(&respelt)) {
            (Ownership::Owned, Ownership::Owned) | (Ownership::Free, Ownership::Free) => {}
            // The respelling may be the one spelling that passes, or leave it.
            (Ownership::Owned, Ownership::Plain) => assert!(!respelt.eq_ignore_ascii_case(name)),
            (Ownership::Plain, Ownership::Plain) => assert!(respelt.eq_ignore_ascii_case(name)),
            (Ownership::Plain, Ownership::Owned) => {}
            (before, after) => panic!("{name:?} is {before:?}, {respelt:?} is {after:?}"),
        }
    }
}

fn check_nominations(firewall: &HeaderFirewall, name: &str, ownership: Ownership) {
    if name.contains([',', ' ', '\t']) {
        return;
    }
    let nominated = firewall.forbidden_nomination(&format!(",\t {name} ,")).map(str::to_owned);
    let is_forbidden = match ownership {
        Ownership::Free => false,
        Ownership::Plain => !name.eq_ignore_ascii_case("connection"),
        Ownership::Owned => true,
    };
    assert_eq!(nominated.as_deref() == Some(name), is_forbidden, "{name:?} {nominated:?}");
}
