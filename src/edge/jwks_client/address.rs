//! Which addresses a key set is never fetched from: link-local ones and the metadata services of cloud machines, whose
//! answers are credentials. Asked of what a name resolves to, on every connection, so that a name that changes its answer
//! gets around nothing. It resolves and connects to nothing itself.
//!
//! Through a proxy, these are the proxy's addresses. The server's name is then resolved by the proxy, whose own rules say
//! where it may lead; of the server only an address written into the URL is looked at.
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// Metadata services outside the link-local ranges.
const METADATA_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192)];
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

/// Resolves as the system does and leaves out the addresses that must not be asked.
#[derive(Debug, Default)]
pub(super) struct GuardedResolver {
    system: DefaultResolver,
}

/// Why there is no address to connect to. Travels through the library as its error of other people's making.
#[derive(Debug)]
pub(super) enum NoAddress {
    /// The name has no address but such as must not be asked; one of them.
    Forbidden(IpAddr),
    /// The system could not resolve the name, in its words.
    Unresolved(String),
}

impl fmt::Display for NoAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forbidden(address) => write!(formatter, "forbidden address {address}"),
            Self::Unresolved(cause) => formatter.write_str(cause),
        }
    }
}

impl std::error::Error for NoAddress {}

impl From<NoAddress> for ureq::Error {
    fn from(cause: NoAddress) -> Self {
        Self::Other(Box::new(cause))
    }
}

impl Resolver for GuardedResolver {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let resolved = match self.system.resolve(uri, config, timeout) {
            // Told apart from an I/O error of a connection here, because it cannot be later.
            Err(ureq::Error::Io(error)) => return Err(NoAddress::Unresolved(error.to_string()).into()),
            outcome => outcome?,
        };
        let mut allowed = self.empty();
        let mut forbidden = None;
        for address in &resolved {
            if is_forbidden(address.ip()) {
                forbidden = Some(address.ip());
            } else {
                allowed.push(*address);
            }
        }
        match forbidden {
            Some(address) if allowed.is_empty() => Err(NoAddress::Forbidden(address).into()),
            _ => Ok(allowed),
        }
    }

    fn empty(&self) -> ResolvedSocketAddrs {
        ResolvedSocketAddrs::from_fn(|_| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0))
    }
}

/// Whether no key set is fetched from here: 169.254.0.0/16 (RFC 3927), fe80::/10 (RFC 4291 §2.5.6), the metadata
/// services, and the same within IPv6 (mapped, compatible, NAT64 and 6to4 addresses).
pub(super) fn is_forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local() || METADATA_V4.contains(&address),
        IpAddr::V6(address) => {
            address.is_unicast_link_local()
                || METADATA_V6.contains(&address)
                || embedded(address).is_some_and(|within| is_forbidden(IpAddr::V4(within)))
        }
    }
}

/// The IPv4 address that an IPv6 address leads to.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let from = |high: u16, low: u16| {
        let [first, second] = high.to_be_bytes();
        let [third, fourth] = low.to_be_bytes();
        Ipv4Addr::new(first, second, third, fourth)
    };
    match address.segments() {
        // RFC 4291 §2.5.5 (::a.b.c.d and ::ffff:a.b.c.d), RFC 6052 §2.1 (64:ff9b::/96)
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(from(high, low)),
        // RFC 3056 §2
        [0x2002, high, low, ..] => Some(from(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::is_forbidden;

    #[test]
    fn link_local_and_metadata_addresses_are_forbidden_in_every_spelling_and_no_others() {
        let rows = [
            ("169.254.169.254", true),
            ("169.254.0.1", true),
            ("100.100.100.200", true),
            ("192.0.0.192", true),
            ("fe80::1", true),
            ("febf::1", true),
            ("fd00:ec2::254", true),
            ("fd20:ce::254", true),
            ("::ffff:169.254.169.254", true),
            ("::169.254.169.254", true),
            ("64:ff9b::a9fe:a9fe", true),
            ("2002:a9fe:a9fe::1", true),
            ("127.0.0.1", false),
            ("::1", false),
            ("10.0.0.1", false),
            ("192.168.1.1", false),
            ("169.253.255.255", false),
            ("100.100.100.201", false),
            ("fd00:ec2::253", false),
            ("fec0::1", false),
            ("::ffff:127.0.0.1", false),
            ("2001:db8::a9fe:a9fe", false),
        ];
        for (address, forbidden) in rows {
            assert_eq!(is_forbidden(address.parse().unwrap()), forbidden, "{address}");
        }
    }
}
