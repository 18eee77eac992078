//! Networks of addresses (CIDR, RFC 4632, RFC 4291 §2.3), and which clients a route is for by their address.
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// Addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    first: IpAddr,
    prefix_bits: u8,
}

/// Why a text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkError {
    /// It is no address, with or without a slash and a length.
    Malformed,
    /// The length is more than the address has bits.
    TooLong,
    /// The address has bits beyond the length: it may have been meant otherwise than it would count.
    HostBits(Network),
}

impl Network {
    /// Whether the address is one of these. An IPv4 address that is written as IPv6 (`::ffff:192.0.2.1`) is that IPv4
    /// address.
    pub fn holds(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                first.to_bits() == address.to_bits() & mask_v4(self.prefix_bits)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                first.to_bits() == address.to_bits() & mask_v6(self.prefix_bits)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

fn mask_v4(prefix_bits: u8) -> u32 {
    u32::MAX.checked_shl(u32::from(32_u8.saturating_sub(prefix_bits))).unwrap_or(0)
}

fn mask_v6(prefix_bits: u8) -> u128 {
    u128::MAX.checked_shl(u32::from(128_u8.saturating_sub(prefix_bits))).unwrap_or(0)
}

impl Network {
    /// Whether every address of `other` is one of these.
    pub fn covers(&self, other: &Self) -> bool {
        self.prefix_bits <= other.prefix_bits && self.holds(other.first)
    }

    /// Whether every address of its family is one of these.
    pub const fn is_everything(&self) -> bool {
        self.prefix_bits == 0
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    /// Reads `192.0.2.0/24`, `2001:db8::/32`, or one address.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Malformed)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits: u8 = match length {
            None => bits,
            Some(digits) if (1..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| NetworkError::TooLong)?
            }
            Some(_) => return Err(NetworkError::Malformed),
        };
        if prefix_bits > bits {
            return Err(NetworkError::TooLong);
        }
        // What is IPv4 in the clothes of IPv6 is compared as IPv4, whose bits begin after the first 96.
        let canonical = address.to_canonical();
        let (address, prefix_bits) = match prefix_bits.checked_sub(96) {
            Some(left) if address.is_ipv6() && canonical.is_ipv4() => (canonical, left),
            Some(_) | None => (address, prefix_bits),
        };
        let first = match address {
            IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask_v4(prefix_bits))),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask_v6(prefix_bits))),
        };
        let network = Self { first, prefix_bits };
        if first == address { Ok(network) } else { Err(NetworkError::HostBits(network)) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.first, self.prefix_bits)
    }
}

/// Which clients a route is for, by their address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressRule {
    /// Where the client must be; empty for anywhere.
    pub allow: Vec<Network>,
    /// Where it must not be, allowed or not.
    pub deny: Vec<Network>,
}

impl AddressRule {
    /// Whether a client with this address may pass. Of one whose address is not known nothing can be said, so it may not
    /// where anything is asked.
    pub fn admits(&self, client: Option<IpAddr>) -> bool {
        let is_in = |networks: &[Network], client| networks.iter().any(|network| network.holds(client));
        match client {
            _ if self.allow.is_empty() && self.deny.is_empty() => true,
            None => false,
            Some(client) => !is_in(&self.deny, client) && (self.allow.is_empty() || is_in(&self.allow, client)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_holds_the_addresses_that_begin_as_it_does() {
        for (text, inside, outside) in [
            ("192.0.2.0/24", &["192.0.2.0", "192.0.2.255", "::ffff:192.0.2.7"][..], &["192.0.3.0", "192.0.1.255"][..]),
            ("192.0.2.7", &["192.0.2.7", "::ffff:192.0.2.7"], &["192.0.2.6", "::192.0.2.7"]),
            ("0.0.0.0/0", &["0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4"], &["::1", "2001:db8::1"]),
            ("::/0", &["::1", "ffff::"], &["1.2.3.4", "::ffff:1.2.3.4"]),
            ("2001:db8::/33", &["2001:db8:7fff::"], &["2001:db8:8000::", "2001:db9::"]),
            ("::ffff:10.0.0.0/104", &["10.255.0.1"], &["11.0.0.1", "::a00:1"]),
        ] {
            let network = network(text);
            for address in inside {
                assert!(network.holds(address.parse().unwrap()), "{text} {address}");
            }
            for address in outside {
                assert!(!network.holds(address.parse().unwrap()), "{text} {address}");
            }
        }
    }

    #[test]
    fn what_is_no_network_is_said_to_be_none() {
        for text in [
            "",
            "/",
            "10.0.0.0/",
            "10.0.0/8",
            "010.0.0.0/8",
            "10.0.0.0/+8",
            "10.0.0.0/0008",
            "10.0.0.0/8/8",
            "a",
            "[::1]",
        ] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError::Malformed), "{text}");
        }
        for text in ["10.0.0.0/33", "::/129", "::/999"] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError::TooLong), "{text}");
        }
        for (text, meant) in
            [("10.0.0.1/8", "10.0.0.0/8"), ("2001:db8::1/32", "2001:db8::/32"), ("1.2.3.4/0", "0.0.0.0/0")]
        {
            assert_eq!(text.parse::<Network>(), Err(NetworkError::HostBits(network(meant))), "{text}");
        }
    }

    #[test]
    fn a_denied_address_is_denied_though_it_is_allowed_and_an_unknown_one_is_nowhere() {
        let rule = |allow: &[&str], deny: &[&str]| AddressRule {
            allow: allow.iter().map(|text| network(text)).collect(),
            deny: deny.iter().map(|text| network(text)).collect(),
        };
        for (rule, client, expected) in [
            (rule(&[], &[]), Some("10.0.0.1"), true),
            (rule(&[], &[]), None, true),
            (rule(&["10.0.0.0/8"], &[]), Some("10.0.0.1"), true),
            (rule(&["10.0.0.0/8"], &[]), Some("11.0.0.1"), false),
            (rule(&["10.0.0.0/8"], &[]), None, false),
            (rule(&[], &["10.0.0.0/8"]), Some("10.0.0.1"), false),
            (rule(&[], &["10.0.0.0/8"]), Some("11.0.0.1"), true),
            (rule(&[], &["10.0.0.0/8"]), None, false),
            (rule(&["10.0.0.0/8"], &["10.0.0.0/24"]), Some("10.0.0.1"), false),
            (rule(&["10.0.0.0/24"], &["10.0.0.0/8"]), Some("10.0.0.1"), false),
            (rule(&["10.0.0.0/8"], &["10.0.0.0/24"]), Some("10.0.1.1"), true),
        ] {
            let client = client.map(|client| client.parse().unwrap());
            assert_eq!(rule.admits(client), expected, "{rule:?} {client:?}");
        }
    }

    proptest! {
        #[test]
        fn a_network_is_read_as_it_is_shown_and_compares_bit_by_bit(
            bits in any::<u128>(), other in any::<u128>(), length in 0_u8..=128, common in 0_u8..=128,
        ) {
            let first = Ipv6Addr::from_bits(bits & mask_v6(length));
            prop_assume!(IpAddr::V6(first).to_canonical().is_ipv6());
            let network: Network = format!("{first}/{length}").parse().unwrap();
            prop_assert_eq!(network.to_string().parse::<Network>(), Ok(network));
            // An address that agrees with the first in so many bits, and differs in the next.
            let agreeing = (bits & mask_v6(common)) | (other & !mask_v6(common));
            let address = Ipv6Addr::from_bits(agreeing);
            prop_assume!(IpAddr::V6(address).to_canonical().is_ipv6());
            let agreed = (agreeing ^ bits).leading_zeros() >= u32::from(length);
            prop_assert_eq!(network.holds(IpAddr::V6(address)), agreed);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "[0-9a-f:./]{0,24}") {
            if let Ok(network) = text.parse::<Network>() {
                prop_assert_eq!(network.to_string().parse::<Network>(), Ok(network));
            }
        }
    }
}
