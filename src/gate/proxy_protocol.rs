//! The header of the PROXY protocol, versions 1 and 2, by which a load balancer that forwards connections and not requests
//! says who its client is (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>).
//!
//! Nothing but such a header is taken for one, and none that is longer than it may be is gathered.
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// The longest header that is read. Version 1 has 107 bytes at most; version 2 has them behind the addresses only where more
/// is told than is of use here.
pub const HEADER_BYTES_MAX: usize = 4096;

/// §2.1, with the line's end.
const LINE_BYTES_MAX: usize = 107;
const LINE_PREFIX: &[u8] = b"PROXY ";
/// §2.2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// What of version 2 comes before the addresses.
const FIXED_BYTES: usize = 16;

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its bytes; what follows them is the client's.
    pub bytes: usize,
    /// Whose connection it is.
    pub client: Client,
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// The load balancer's own, which looks whether anybody is there.
    Peer,
    /// That of a client at this address.
    At(SocketAddr),
    /// That of a client without address, or with one that is not told.
    Unknown,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// They begin otherwise.
    Missing,
    /// They begin like one and do not keep to the grammar.
    Malformed,
    /// It is longer than [`HEADER_BYTES_MAX`].
    TooLong,
}

impl HeaderFault {
    /// What the log says of it.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Missing => "the connection does not begin with a header of the PROXY protocol",
            Self::Malformed => "the header of the PROXY protocol is malformed",
            Self::TooLong => "the header of the PROXY protocol is too long",
        }
    }
}

impl fmt::Display for HeaderFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.detail())
    }
}

impl std::error::Error for HeaderFault {}

/// Reads the header at the beginning of these bytes; `None` when it is not whole yet.
///
/// # Errors
/// See [`HeaderFault`]. No further byte would mend it.
pub fn read(bytes: &[u8]) -> Result<Option<Header>, HeaderFault> {
    if begins_like(bytes, SIGNATURE) {
        if bytes.len() < FIXED_BYTES { Ok(None) } else { binary(bytes) }
    } else if begins_like(bytes, LINE_PREFIX) {
        line(bytes)
    } else {
        Err(HeaderFault::Missing)
    }
}

/// Whether as much as there is of `bytes` is the beginning of what begins like this.
fn begins_like(bytes: &[u8], beginning: &[u8]) -> bool {
    bytes.iter().zip(beginning).all(|(byte, expected)| byte == expected)
}

fn line(bytes: &[u8]) -> Result<Option<Header>, HeaderFault> {
    let within = bytes.get(..LINE_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = within.windows(2).position(|pair| pair == b"\r\n") else {
        return if within.len() < LINE_BYTES_MAX { Ok(None) } else { Err(HeaderFault::TooLong) };
    };
    let text = within.get(LINE_PREFIX.len()..end).and_then(|text| std::str::from_utf8(text).ok());
    let client = text.and_then(client_of_line).ok_or(HeaderFault::Malformed)?;
    Ok(Some(Header { bytes: end + 2, client }))
}

/// What follows `PROXY `.
fn client_of_line(text: &str) -> Option<Client> {
    let mut words = text.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        // Whatever else the line says is to be ignored.
        return Some(Client::Unknown);
    }
    let address = |text: &str| match family {
        "TCP4" => text.parse().ok().map(IpAddr::V4),
        "TCP6" => text.parse().ok().map(IpAddr::V6),
        _ => None,
    };
    let (source, _) = (address(words.next()?)?, address(words.next()?)?);
    let (port, _) = (port(words.next()?)?, port(words.next()?)?);
    words.next().is_none().then_some(Client::At(SocketAddr::new(source, port)))
}

/// Decimal, without leading zeros.
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

fn binary(bytes: &[u8]) -> Result<Option<Header>, HeaderFault> {
    let fixed = bytes.get(SIGNATURE.len()..FIXED_BYTES).ok_or(HeaderFault::Malformed)?;
    let &[version_and_command, family_and_transport, high, low] = fixed else { return Err(HeaderFault::Malformed) };
    let is_local = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(HeaderFault::Malformed),
    };
    let (family, transport) = (family_and_transport >> 4, family_and_transport & 0xf);
    if family > 3 || transport > 2 {
        return Err(HeaderFault::Malformed);
    }
    let length = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if length > HEADER_BYTES_MAX {
        return Err(HeaderFault::TooLong);
    }
    let rest = bytes.get(FIXED_BYTES..).unwrap_or_default();
    // Too short for what it says it holds, which no further byte would mend.
    let addresses = match family {
        1 => 12,
        2 => 36,
        3 => 216,
        _ => 0,
    };
    if !is_local && length < FIXED_BYTES + addresses {
        return Err(HeaderFault::Malformed);
    }
    if bytes.len() < length {
        return Ok(None);
    }
    let client = if is_local { Client::Peer } else { client_of_addresses(family, transport, rest) };
    Ok(Some(Header { bytes: length, client }))
}

/// Source and destination address, then their ports.
fn client_of_addresses(family: u8, transport: u8, bytes: &[u8]) -> Client {
    if transport == 0 {
        return Client::Unknown;
    }
    let source = match family {
        1 => bytes.first_chunk::<4>().zip(port_at(bytes, 8)).map(|(ip, port)| (IpAddr::V4(Ipv4Addr::from(*ip)), port)),
        2 => {
            bytes.first_chunk::<16>().zip(port_at(bytes, 32)).map(|(ip, port)| (IpAddr::V6(Ipv6Addr::from(*ip)), port))
        }
        _ => None,
    };
    source.map_or(Client::Unknown, Client::from)
}

impl From<(IpAddr, u16)> for Client {
    fn from(address: (IpAddr, u16)) -> Self {
        Self::At(SocketAddr::from(address))
    }
}

fn port_at(bytes: &[u8], position: usize) -> Option<u16> {
    bytes.get(position..)?.first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(address: &str) -> Client {
        Client::At(address.parse().unwrap())
    }

    #[test]
    fn a_line_says_who_the_client_is() {
        let longest = "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n";
        for (text, client) in [
            ("PROXY TCP4 203.0.113.9 192.0.2.1 56324 443\r\n", at("203.0.113.9:56324")),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n", at("[2001:db8::1]:56324")),
            ("PROXY TCP6 ::ffff:203.0.113.9 ::1 0 65535\r\n", at("[::ffff:203.0.113.9]:0")),
            ("PROXY UNKNOWN\r\n", Client::Unknown),
            (longest, Client::Unknown),
        ] {
            let sent = format!("{text}GET / HTTP/1.1\r\n");
            assert_eq!(read(sent.as_bytes()), Ok(Some(Header { bytes: text.len(), client })), "{text:?}");
            assert!((0..text.len()).all(|end| read(&sent.as_bytes()[..end]) == Ok(None)), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_line_is_none() {
        let long = format!("PROXY UNKNOWN {}\r\n", "a".repeat(100));
        for (text, fault) in [
            ("GET / HTTP/1.1\r\n\r\n", HeaderFault::Missing),
            ("\x16\x03\x01", HeaderFault::Missing),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HeaderFault::Missing),
            ("proxy TCP4 203.0.113.9 192.0.2.1 1 2\r\n", HeaderFault::Missing),
            (" PROXY UNKNOWN\r\n", HeaderFault::Missing),
            ("PROXY\r\n", HeaderFault::Missing),
            ("PROXY \r\n", HeaderFault::Malformed),
            ("PROXY TCP4\r\n", HeaderFault::Malformed),
            ("PROXY TCP5 203.0.113.9 192.0.2.1 1 2\r\n", HeaderFault::Malformed),
            ("PROXY tcp4 203.0.113.9 192.0.2.1 1 2\r\n", HeaderFault::Malformed),
            ("PROXY UDP4 203.0.113.9 192.0.2.1 1 2\r\n", HeaderFault::Malformed),
            ("PROXY TCP4 203.0.113.9 192.0.2.1 1\r\n", HeaderFault::Malformed),
            ("PROXY TCP4 203.0.113.9 192.0.2.1 1 2 \r\n", HeaderFault::Malformed),
            ("PROXY TCP4  203.0.113.9 192.0.2.1 1 2\r\n", HeaderFault::Malformed),
            ("PROXY TCP4 203.0.113.9\t192.0.2.1 1 2\r\n", HeaderFault::Malformed),
            ("PROXY TCP4 203.0.113.009 192.0.2.1 1 2\r\n", HeaderFault::Malformed),
            ("PROXY TCP4 203.0.113 192.0.2.1 1 2\r\n", HeaderFault::Malformed),
            ("PROXY TCP4 2001:db8::1 ::1 1 2\r\n", HeaderFault::Malformed),
            ("PROXY TCP6 203.0.113.9 192.0.2.1 1 2\r\n", HeaderFault::Malformed),
            ("PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", HeaderFault::Malformed),
            ("PROXY TCP4 203.0.113.9 192.0.2.1 +1 2\r\n", HeaderFault::Malformed),
            ("PROXY TCP4 203.0.113.9 192.0.2.1 01 2\r\n", HeaderFault::Malformed),
            ("PROXY TCP4 203.0.113.9 192.0.2.1 65536 2\r\n", HeaderFault::Malformed),
            ("PROXY TCP4 203.0.113.9 192.0.2.1 1 2\n\r\n", HeaderFault::Malformed),
            (&long, HeaderFault::TooLong),
        ] {
            assert_eq!(read(text.as_bytes()), Err(fault), "{text:?}");
        }
    }

    fn binary_header(version_and_command: u8, family_and_transport: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([version_and_command, family_and_transport]);
        bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    const OF_4: &[u8] = &[203, 0, 113, 9, 192, 0, 2, 1, 0xdc, 4, 1, 187];

    #[test]
    fn a_binary_header_says_who_the_client_is() {
        let mut of_6 = Ipv6Addr::from_bits(0x2001_0db8 << 96 | 1).octets().to_vec();
        of_6.resize(32, 0);
        of_6.extend([0xdc, 4, 1, 187]);
        let more = [OF_4, &[4, 0, 2, 9, 9]].concat();
        let (unix, long) = ([b'/'; 216], [0; HEADER_BYTES_MAX - FIXED_BYTES]);
        for (command, family, rest, client) in [
            (0x21, 0x11, OF_4, at("203.0.113.9:56324")),
            (0x21, 0x12, OF_4, at("203.0.113.9:56324")),
            (0x21, 0x11, &more, at("203.0.113.9:56324")),
            (0x21, 0x21, &of_6, at("[2001:db8::1]:56324")),
            (0x21, 0x31, &unix, Client::Unknown),
            (0x21, 0x00, &[], Client::Unknown),
            (0x21, 0x00, OF_4, Client::Unknown),
            (0x21, 0x10, OF_4, Client::Unknown),
            (0x20, 0x00, &[], Client::Peer),
            (0x20, 0x11, OF_4, Client::Peer),
            (0x20, 0x11, &[], Client::Peer),
            (0x20, 0x00, &long, Client::Peer),
        ] {
            let header = binary_header(command, family, rest);
            let sent = [header.as_slice(), b"\x16\x03\x01"].concat();
            assert_eq!(read(&sent), Ok(Some(Header { bytes: header.len(), client })), "{command:x} {family:x}");
            assert!((0..header.len()).all(|end| read(&sent[..end]) == Ok(None)), "{command:x} {family:x}");
        }
    }

    #[test]
    fn what_is_no_binary_header_is_none() {
        let (unix, long) = ([b'/'; 215], [0; HEADER_BYTES_MAX - FIXED_BYTES + 1]);
        for (command, family, rest, fault) in [
            (0x11, 0x11, OF_4, HeaderFault::Malformed),
            (0x31, 0x11, OF_4, HeaderFault::Malformed),
            (0x22, 0x11, OF_4, HeaderFault::Malformed),
            (0x21, 0x41, OF_4, HeaderFault::Malformed),
            (0x21, 0x13, OF_4, HeaderFault::Malformed),
            (0x21, 0x11, &OF_4[..11], HeaderFault::Malformed),
            (0x21, 0x21, OF_4, HeaderFault::Malformed),
            (0x21, 0x31, &unix, HeaderFault::Malformed),
            (0x21, 0x11, &long, HeaderFault::TooLong),
        ] {
            let header = binary_header(command, family, rest);
            assert_eq!(read(&header), Err(fault), "{command:x} {family:x}");
            assert_eq!(read(&header[..FIXED_BYTES]), Err(fault), "{command:x} {family:x}: at once");
        }
        assert_eq!(read(b"\r\n\r\nGET"), Err(HeaderFault::Missing));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(source in any::<SocketAddr>(), other in any::<SocketAddr>(), rest in proptest::collection::vec(any::<u8>(), 0..200)) {
            let source = SocketAddr::new(source.ip(), source.port());
            let (name, family, other) = match (source.ip(), other.ip()) {
                (IpAddr::V4(_), IpAddr::V4(other)) => ("TCP4", 0x11, IpAddr::V4(other)),
                (IpAddr::V4(_), IpAddr::V6(_)) => ("TCP4", 0x11, IpAddr::V4(Ipv4Addr::LOCALHOST)),
                (IpAddr::V6(_), IpAddr::V6(other)) => ("TCP6", 0x21, IpAddr::V6(other)),
                (IpAddr::V6(_), IpAddr::V4(_)) => ("TCP6", 0x21, IpAddr::V6(Ipv6Addr::LOCALHOST)),
            };
            let octets = |address: IpAddr| match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            let ports = [source.port().to_be_bytes(), [1, 187]].concat();
            let line = format!("PROXY {name} {} {other} {} 443\r\n", source.ip(), source.port());
            let binary = binary_header(0x21, family, &[octets(source.ip()), octets(other), ports].concat());
            for header in [line.as_bytes(), &binary] {
                let sent = [header, &rest].concat();
                prop_assert_eq!(read(&sent), Ok(Some(Header { bytes: header.len(), client: Client::At(source) })));
            }
        }

        #[test]
        fn an_answer_stays_whatever_follows_and_is_given_within_bounds(bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..64),
            proptest::collection::vec(any::<u8>(), 0..64).prop_map(|rest| [SIGNATURE, &rest].concat()),
            "PROXY (TCP[46]|UNKNOWN) [0-9a-f.: ]{0,110}(\r\n)?".prop_map(String::into_bytes),
        ], more in proptest::collection::vec(any::<u8>(), 0..64)) {
            let longer = [bytes.as_slice(), &more].concat();
            match read(&bytes) {
                Ok(None) => prop_assert!(bytes.len() < HEADER_BYTES_MAX),
                Ok(Some(header)) => {
                    prop_assert!(header.bytes <= bytes.len());
                    prop_assert_eq!(read(&longer), Ok(Some(header)));
                    prop_assert_eq!(read(&bytes[..header.bytes]), Ok(Some(header)));
                    prop_assert!((0..header.bytes).all(|end| read(&bytes[..end]) == Ok(None)));
                }
                Err(fault) => prop_assert_eq!(read(&longer), Err(fault)),
            }
        }
    }
}
