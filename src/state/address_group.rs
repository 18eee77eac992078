//! Whom limits by address mean: one IPv4 address, or the 64 bits that one IPv6 customer is given (RFC 6177), who could
//! otherwise take a new address for every request.
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Bits of an IPv6 address that tell customers apart; the rest is theirs.
const IPV6_PREFIX_BITS: u32 = 64;

/// An IPv4 address, or the first 64 bits of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressGroup(IpAddr);

impl AddressGroup {
    /// The group of an address. An IPv4 address written as IPv6 counts as what it is.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => {
                Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (u128::BITS - IPV6_PREFIX_BITS))).into()
            }
        })
    }
}

impl fmt::Display for AddressGroup {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_addresses_count_alone_and_ipv6_addresses_by_their_first_64_bits() {
        let same =
            |one: &str, other: &str| AddressGroup::of(one.parse().unwrap()) == AddressGroup::of(other.parse().unwrap());
        for (one, other, expected) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
            ("::1", "::2", true),
        ] {
            assert_eq!(same(one, other), expected, "{one} {other}");
        }
    }
}
