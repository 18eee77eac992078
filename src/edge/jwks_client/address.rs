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
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192), Ipv4Addr::new(168, 63, 129, 16)];
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);

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
                || address == METADATA_V6
                // fd00:ec2::/32, where one provider has all services of its machines.
                || matches!(address.segments(), [0xfd00, 0xec2, ..])
                || embedded(address).is_some_and(|within| is_forbidden(IpAddr::V4(within)))
        }
    }
}

/// Whether a host is a number that some resolver takes for an IPv4 address and nobody here has looked at: fewer than four
/// parts, hexadecimal or octal ones, a final dot (the WHATWG URL standard's "ends in a number", less what is an address
/// in its one spelling).
pub(super) fn is_disguised(host: &str) -> bool {
    let bare = host.strip_suffix('.').unwrap_or(host);
    let last = bare.rsplit('.').next().unwrap_or_default();
    let is_decimal = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let is_number = is_decimal || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    is_number && host.parse::<Ipv4Addr>().is_err()
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
    use super::{is_disguised, is_forbidden};

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
            ("fd00:ec2::23", true),
            ("fd00:ec3::254", false),
            ("168.63.129.16", true),
            ("fec0::1", false),
            ("::ffff:127.0.0.1", false),
            ("2001:db8::a9fe:a9fe", false),
        ];
        for (address, forbidden) in rows {
            assert_eq!(is_forbidden(address.parse().unwrap()), forbidden, "{address}");
        }
    }

    #[test]
    fn a_number_that_is_no_address_in_its_one_spelling_is_disguised() {
        let rows = [
            ("2852039166", true),
            ("0xa9fea9fe", true),
            ("0XA9FEA9FE", true),
            ("0x", true),
            ("169.254.43518", true),
            ("0251.0376.0251.0376", true),
            ("169.254.169.254.", true),
            ("auth.example.0x1", true),
            ("169.254.169.254", false),
            ("auth.example.com", false),
            ("auth.example.com.", false),
            ("1.example", false),
            ("0xa.example", false),
            ("[::ffff:169.254.169.254]", false),
            ("", false),
        ];
        for (host, disguised) in rows {
            assert_eq!(is_disguised(host), disguised, "{host}");
        }
    }
}
