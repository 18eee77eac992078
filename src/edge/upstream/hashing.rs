//! The same server for the same key: rendezvous hashing by weight. Every server has a score for every key, and the highest
//! wins; so a server that comes or goes takes or leaves its own keys and moves no other, and every gateway with the same
//! servers chooses alike, in whatever order they are written.
use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};

use crate::state::address_group::AddressGroup;

/// What a request is distributed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestKey(u64);

impl RequestKey {
    /// One subject of one issuer: subjects are theirs alone (RFC 7519 §4.1.2).
    pub fn of_subject(issuer: &str, subject: &str) -> Self {
        let mut text = Vec::with_capacity(issuer.len() + 1 + subject.len());
        text.extend_from_slice(issuer.as_bytes());
        text.push(0);
        text.extend_from_slice(subject.as_bytes());
        Self(point(&text))
    }

    /// One client address; IPv6 counts by its first 64 bits.
    pub fn of_address(address: IpAddr) -> Self {
        Self(point(AddressGroup::of(address).to_string().as_bytes()))
    }
}

/// Where a server is among all of them: by how it is written, so that it is the same everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ServerPoint(u64);

impl ServerPoint {
    pub(super) fn of(written: &str) -> Self {
        Self(point(written.as_bytes()))
    }

    /// The server's claim to a key; the share of keys for which it is the highest is in proportion to the weight.
    pub(super) fn score(self, key: RequestKey, weight: u16) -> f64 {
        // The upper 53 bits, to a number between 0 and 1 that is neither.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let uniform = ((mixed(self.0 ^ key.0) >> 11) as f64 + 0.5) / 9_007_199_254_740_992.0;
        -f64::from(weight.max(1)) / uniform.ln()
    }
}

fn point(text: &[u8]) -> u64 {
    let digest = digest(&SHA256, text);
    digest.as_ref().iter().take(8).fold(0, |point, byte| point << 8 | u64::from(*byte))
}

/// Every bit of the result depends on every bit given (the finalizer of SplitMix64).
fn mixed(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chosen(servers: &[(String, u16)], key: RequestKey) -> &str {
        let score = |(written, weight): &(String, u16)| ServerPoint::of(written).score(key, *weight);
        &servers.iter().max_by(|one, other| score(one).total_cmp(&score(other))).unwrap().0
    }

    fn servers(weights: &[u16]) -> Vec<(String, u16)> {
        weights.iter().enumerate().map(|(number, weight)| (format!("10.0.0.{number}:80"), *weight)).collect()
    }

    fn keys(amount: u32) -> impl Iterator<Item = RequestKey> {
        (0..amount).map(|number| RequestKey::of_subject("main", &format!("user-{number}")))
    }

    #[test]
    fn keys_are_spread_by_weight() {
        for weights in [vec![1, 1], vec![1, 1, 1, 1, 1], vec![1, 2, 7], vec![1000, 1]] {
            let servers = servers(&weights);
            let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            for (name, weight) in &servers {
                let hits = keys(20_000).filter(|key| chosen(&servers, *key) == name).count();
                let share = f64::from(*weight) / total;
                // Six standard deviations.
                let bound = 6.0 * (20_000.0 * share * (1.0 - share)).sqrt();
                assert!((hits as f64 - 20_000.0 * share).abs() <= bound, "{weights:?} {name}: {hits}");
            }
        }
    }

    #[test]
    fn a_server_that_comes_takes_its_share_and_moves_nothing_else() {
        let (before, after) = (servers(&[1; 9]), servers(&[1; 10]));
        let mut moved = 0;
        for key in keys(10_000) {
            let (old, new) = (chosen(&before, key), chosen(&after, key));
            if old != new {
                assert_eq!(new, "10.0.0.9:80");
                moved += 1;
            }
        }
        // A tenth of them; six standard deviations.
        assert!((820..1180).contains(&moved), "{moved}");
    }

    #[test]
    fn choices_are_the_same_in_every_process_and_version() {
        assert_eq!(RequestKey::of_subject("main", "alice"), RequestKey(0x46a9_5058_fdb2_e40a));
        assert_eq!(ServerPoint::of("10.0.0.1:80"), ServerPoint(0xe0f2_af3b_3dab_fb17));
        assert_ne!(RequestKey::of_subject("a", "b"), RequestKey::of_subject("ab", ""));
        let address = |text: &str| RequestKey::of_address(text.parse().unwrap());
        assert_eq!(address("2001:db8::1"), address("2001:db8::2"));
        assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
    }

    proptest! {
        #[test]
        fn who_leaves_moves_only_the_keys_that_it_had(weights in proptest::collection::vec(1_u16..1000, 2..12), leaving in 0_usize..12, subject in ".*") {
            let before = servers(&weights);
            let mut after = before.clone();
            let (gone, _) = after.remove(leaving % weights.len());
            let key = RequestKey::of_subject("main", &subject);
            let old = chosen(&before, key);
            prop_assert!(old == gone || chosen(&after, key) == old);
            after.reverse();
            prop_assert!(old == gone || chosen(&after, key) == old);
        }
    }
}
