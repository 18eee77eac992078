//! Addresses as text: sockets to listen on and servers to connect to. It resolves no name.
use std::net::{IpAddr, SocketAddr};

use crate::config::error::Problems;
use crate::config::field::Field;
use crate::config::parse::context::Context;
use crate::config::settings::{Address, UpstreamAddress};
use crate::gate::host::Host;

/// The longest path of a unix socket on Linux, without the final NUL.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// A socket to listen on.
pub(in crate::config) fn listen(field: &Field<'_>, context: &mut Context<'_>) -> Option<Address> {
    let text = field.string(&mut context.problems)?;
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(field, path, context);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(Address::Tcp(address));
    }
    let hint = match text.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => match host {
            "" | "*" => Some(format!("write `0.0.0.0:{port}` or `\"[::]:{port}\"`")),
            "localhost" => Some(format!("write `127.0.0.1:{port}`")),
            _ if host.parse::<std::net::Ipv6Addr>().is_ok() => Some(format!("write \"[{host}]:{port}\"")),
            _ => Some("names are not looked up here; write the address of an interface".to_owned()),
        },
        Some((_, _)) | None => match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => Some(format!("add the port, as in `{text}:8080`")),
            Ok(IpAddr::V6(_)) => Some(format!("add brackets and the port, as in \"[{text}]:8080\"")),
            Err(_) => None,
        },
    };
    let problem = field.mismatch("an address such as `0.0.0.0:8080`, `[::]:8080` or `unix:/run/portcullis.sock`");
    context.problems.add(match hint.filter(|_| !field.is_from_variable()) {
        Some(hint) => problem.with_hint(hint),
        None => problem,
    });
    None
}

/// A server to connect to.
pub(in crate::config) fn server(field: &Field<'_>, context: &mut Context<'_>) -> Option<UpstreamAddress> {
    let text = field.string(&mut context.problems)?;
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(field, path, context).map(UpstreamAddress::Socket);
    }
    if let Ok(address) = text.parse::<SocketAddr>()
        && address.port() != 0
        && !address.ip().is_unspecified()
    {
        return Some(UpstreamAddress::Socket(Address::Tcp(address)));
    }
    if let Some((host, port)) = text.split_once(':')
        && let Some(port) = port.parse::<u16>().ok().filter(|port| *port != 0 && is_digits(text, host))
        && let Some(host) = dns_name(host)
    {
        return Some(UpstreamAddress::Name { host, port });
    }
    let problem =
        field.mismatch("a server such as `10.0.0.11:8080`, `orders.internal:8080` or `unix:/run/orders.sock`");
    let hint = if text.contains("://") {
        Some("write host and port alone, without scheme and path")
    } else if text.parse::<SocketAddr>().is_ok_and(|address| address.port() != 0) {
        Some("nothing can be reached at the unspecified address; write `127.0.0.1` for this machine")
    } else if text.contains('/') {
        Some("write host and port alone; `rewrite: {add_prefix: …}` of a route puts a path before the request's")
    } else if !text.contains(':') {
        Some("add the port")
    } else if text.parse::<std::net::Ipv6Addr>().is_ok() {
        Some("write an IPv6 address in brackets, with its port, as in \"[::1]:8080\"")
    } else {
        None
    };
    context.problems.add(match hint.filter(|_| !field.is_from_variable()) {
        Some(hint) => problem.with_hint(hint),
        None => problem,
    });
    None
}

/// Whether the port is digits alone: the standard library also reads `+80`.
fn is_digits(text: &str, host: &str) -> bool {
    text.get(host.len().saturating_add(1)..).is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A name that can be looked up, in lower case; what looks like an address and is none is not.
fn dns_name(host: &str) -> Option<Box<str>> {
    let parsed = Host::parse(host).ok()?;
    let last = parsed.name().rsplit('.').next().unwrap_or_default();
    let is_short = parsed.name().len() <= 253 && parsed.name().split('.').all(|label| label.len() <= 63);
    (is_short && !last.bytes().all(|byte| byte.is_ascii_digit())).then(|| Box::from(parsed.name()))
}

fn unix(field: &Field<'_>, path: &str, context: &mut Context<'_>) -> Option<Address> {
    let resolved = context.path(path);
    let bytes = resolved.as_os_str().len();
    let message = if path.is_empty() {
        "`unix:` must be followed by a path".to_owned()
    } else if path.contains('\0') {
        "a path cannot hold NUL".to_owned()
    } else if bytes > SOCKET_PATH_BYTES_MAX {
        format!("the path of a unix socket has at most {SOCKET_PATH_BYTES_MAX} bytes, not {bytes}")
    } else {
        return Some(Address::Unix(resolved));
    };
    context.problems.add(field.error(message));
    None
}

/// Whether both cannot be bound at once.
pub(in crate::config) fn overlap(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (Address::Tcp(one), Address::Tcp(other)) => {
            let same_family = one.is_ipv4() == other.is_ipv4();
            let same_ip =
                one.ip() == other.ip() || same_family && (one.ip().is_unspecified() || other.ip().is_unspecified());
            // Port 0 asks the system for a free one.
            one.port() != 0 && one.port() == other.port() && same_ip
        }
        (Address::Unix(one), Address::Unix(other)) => one == other,
        (Address::Tcp(_), Address::Unix(_)) | (Address::Unix(_), Address::Tcp(_)) => false,
    }
}

/// Reports an address that another one makes impossible.
pub(in crate::config) fn refuse_overlap(
    field: &Field<'_>,
    address: &Address,
    taken: &[(Address, u32)],
    problems: &mut Problems,
) {
    if let Some((other, line)) = taken.iter().find(|(other, _)| overlap(other, address)) {
        let relation = if other == address { "the same as" } else { "included in, or includes," };
        problems.add(field.error(format!("this address is {relation} the one in line {line}")));
    }
}

/// Whether what is sent there stays on this machine or in a private network (RFC 1918, RFC 4193, RFC 6598).
pub(in crate::config) fn is_private(address: &UpstreamAddress) -> bool {
    match address {
        UpstreamAddress::Socket(Address::Unix(_)) => true,
        UpstreamAddress::Socket(Address::Tcp(address)) => match address.ip().to_canonical() {
            IpAddr::V4(ip) => {
                let [first, second, ..] = ip.octets();
                ip.is_loopback() || ip.is_private() || ip.is_link_local() || first == 100 && second & 0xC0 == 64
            }
            IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
        },
        UpstreamAddress::Name { host, .. } => is_loopback_name(host),
    }
}

/// RFC 6761 §6.3.
fn is_loopback_name(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

/// Whether only this machine can reach it.
pub(in crate::config) fn is_local(address: &Address) -> bool {
    match address {
        Address::Tcp(address) => address.ip().to_canonical().is_loopback(),
        Address::Unix(_) => true,
    }
}
