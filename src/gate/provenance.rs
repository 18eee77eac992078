//! Where a request came from: the peer of its connection, or what proxies that are trusted say of the client before them.
//!
//! Every proxy adds to the end of `X-Forwarded-For` or `Forwarded` (RFC 7239 §4) whom it heard. So the lists are read from
//! the end, for as long as it was a trusted proxy that wrote the entry; what stands further left anybody may have written,
//! and it is neither believed nor passed on.
use std::net::IpAddr;

use http::{HeaderMap, HeaderName, header};

use crate::gate::{
    host::Host,
    network::Network,
    rejection::{Refusal, Rejection},
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Peer {
    /// Somebody at this address.
    Address(IpAddr),
    /// Somebody on this host, by a unix socket.
    UnixSocket,
    /// Somebody of whom a load balancer did not say who it is.
    #[default]
    Unknown,
}

impl Peer {
    /// Somebody at this address, in the one spelling in which addresses are compared; nobody has the unspecified one.
    pub fn at(address: IpAddr) -> Self {
        if address.is_unspecified() { Self::Unknown } else { Self::Address(address.to_canonical()) }
    }

    /// The address, where it has one.
    pub const fn address(self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(address),
            Self::UnixSocket | Self::Unknown => None,
        }
    }
}

/// Whose word on clients is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    /// Those with an address in one of these.
    pub networks: Vec<Network>,
    /// Those that come by a unix socket, which have no address.
    pub by_unix_socket: bool,
}

impl TrustedProxies {
    /// Whether this peer is one.
    pub fn trust(&self, peer: Peer) -> bool {
        match peer {
            Peer::Address(address) => self.networks.iter().any(|network| network.holds(address)),
            Peer::UnixSocket => self.by_unix_socket,
            Peer::Unknown => false,
        }
    }

    /// Whether there are none at all.
    pub fn are_none(&self) -> bool {
        self.networks.is_empty() && !self.by_unix_socket
    }
}

/// Where a request came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// The client's address, where it is known.
    pub client: Option<IpAddr>,
    /// The proxies that the request came through, the one next to the client first.
    pub proxies: Vec<Option<IpAddr>>,
    /// Whether the client used TLS.
    pub is_encrypted: bool,
    /// The host that the client asked for, where a proxy says that it was another than the request's.
    pub host: Option<Box<str>>,
}

impl Provenance {
    /// Of a request whose client is the peer of its connection.
    pub const fn direct(peer: Peer, is_encrypted: bool) -> Self {
        Self { client: peer.address(), proxies: Vec::new(), is_encrypted, host: None }
    }

    /// Of a request that came by this peer, with what the peer says where it is believed.
    ///
    /// # Errors
    /// [`Rejection::RequestMalformed`] for what cannot be read, and where the two families of fields say different things:
    /// one of them a client wrote, and nobody knows which.
    pub fn of(trusted: &TrustedProxies, peer: Peer, is_encrypted: bool, headers: &HeaderMap) -> Result<Self, Refusal> {
        if !trusted.trust(peer) {
            return Ok(Self::direct(peer, is_encrypted));
        }
        let listed = values(headers, &X_FORWARDED_FOR)?;
        let elements = elements(headers)?;
        let of_list = listed.as_ref().map(|texts| walk(trusted, peer, texts.iter().map(|text| node(text))));
        let of_list = of_list.map(|way| way.ok_or_else(|| unreadable(&X_FORWARDED_FOR))).transpose()?;
        let nodes = elements.as_ref().map(|elements| elements.iter().map(|element| Some(element.node)));
        let of_elements = nodes.and_then(|nodes| walk(trusted, peer, nodes));
        // What clients put before it may make one of them longer: each has a place of its own for the client.
        let position = |way: &Option<Way>| way.as_ref().and_then(|way| way.position);
        let (in_list, in_elements) = (position(&of_list), position(&of_elements));
        let way = agreed(of_list, of_elements, "the client")?.unwrap_or_else(|| Way::direct(peer));
        let element = elements.as_ref().and_then(|elements| elements.get(in_elements?));
        let schemes = schemes(headers, listed.map_or(0, |texts| texts.len()), in_list)?;
        let scheme = agreed(schemes, element.and_then(|element| element.is_encrypted), "the protocol")?;
        let host = agreed(host(headers)?, element.and_then(|element| element.host.clone()), "the host")?;
        Ok(Self { client: way.client, proxies: way.proxies, is_encrypted: scheme.unwrap_or(is_encrypted), host })
    }
}

/// What came of reading a list from its end.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Way {
    client: Option<IpAddr>,
    /// Where the client stands in the list; nothing when it is the peer.
    position: Option<usize>,
    proxies: Vec<Option<IpAddr>>,
}

impl Way {
    const fn direct(peer: Peer) -> Self {
        Self { client: peer.address(), position: None, proxies: Vec::new() }
    }
}

/// Reads a list from its end; nothing when what is to be believed is no node. What nobody believes may be anything.
fn walk(
    trusted: &TrustedProxies,
    peer: Peer,
    nodes: impl DoubleEndedIterator<Item = Option<Option<IpAddr>>> + ExactSizeIterator,
) -> Option<Way> {
    let mut way = Way::direct(peer);
    let mut is_trusted = true;
    for (position, node) in nodes.enumerate().rev() {
        if !is_trusted {
            break;
        }
        way.proxies.push(way.client);
        way.client = node?;
        way.position = Some(position);
        // One whose address is not told cannot be known to be trusted.
        is_trusted = way.client.is_some_and(|address| trusted.trust(Peer::Address(address)));
    }
    way.proxies.reverse();
    Some(way)
}

/// What either says, or both when it is the same. Lists may differ where nobody believes them.
fn agreed<T: Agreeing>(one: Option<T>, other: Option<T>, what: &str) -> Result<Option<T>, Refusal> {
    match (one, other) {
        (Some(one), Some(other)) if !one.agrees(&other) => {
            Err(malformed(format!("X-Forwarded-* and Forwarded differ about {what}")))
        }
        (Some(said), _) | (None, Some(said)) => Ok(Some(said)),
        (None, None) => Ok(None),
    }
}

trait Agreeing {
    fn agrees(&self, other: &Self) -> bool;
}

impl Agreeing for Way {
    fn agrees(&self, other: &Self) -> bool {
        (self.client, &self.proxies) == (other.client, &other.proxies)
    }
}

impl Agreeing for bool {
    fn agrees(&self, other: &Self) -> bool {
        self == other
    }
}

impl Agreeing for Box<str> {
    fn agrees(&self, other: &Self) -> bool {
        self.eq_ignore_ascii_case(other)
    }
}

/// The values of a field that is a list, over all its lines; nothing without the field.
fn values(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Vec<String>>, Refusal> {
    let mut found = None;
    for line in headers.get_all(name) {
        let text = line.to_str().map_err(|_| unreadable(name))?;
        let parts =
            text.split(',').map(|part| part.trim_matches([' ', '\t']).to_owned()).filter(|part| !part.is_empty());
        found.get_or_insert_with(Vec::new).extend(parts);
    }
    Ok(found)
}

/// The address of a node (RFC 7239 §6), its port left out. `Some(None)` for one that is unknown or hidden, `None` for what
/// is no node.
fn node(text: &str) -> Option<Option<IpAddr>> {
    if text.eq_ignore_ascii_case("unknown") || text.starts_with('_') {
        return Some(None);
    }
    let address = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            if !port.is_empty() && !is_port(port.strip_prefix(':')?) {
                return None;
            }
            IpAddr::V6(address.parse().ok()?)
        }
        None => match text.parse() {
            Ok(address) => address,
            Err(_) => {
                let (address, _) = text.split_once(':').filter(|(_, port)| is_port(port))?;
                IpAddr::V4(address.parse().ok()?)
            }
        },
    };
    Some(Some(address.to_canonical()))
}

/// A port, or a hidden one.
fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok() || text.starts_with('_')
}

/// Whether the client used TLS, by `X-Forwarded-Proto`: one value, one for each entry of the list beside it, or several that
/// are the same.
fn schemes(headers: &HeaderMap, listed: usize, position: Option<usize>) -> Result<Option<bool>, Refusal> {
    let Some(values) = values(headers, &X_FORWARDED_PROTO)? else { return Ok(None) };
    let schemes: Option<Vec<bool>> = values.iter().map(|value| is_encrypted(value)).collect();
    let schemes = schemes.ok_or_else(|| unreadable(&X_FORWARDED_PROTO))?;
    let Some(first) = schemes.first() else { return Ok(None) };
    if schemes.iter().all(|scheme| scheme == first) {
        return Ok(Some(*first));
    }
    let of_client = position.filter(|_| schemes.len() == listed).and_then(|position| schemes.get(position));
    of_client.copied().map(Some).ok_or_else(|| unreadable(&X_FORWARDED_PROTO))
}

fn is_encrypted(scheme: &str) -> Option<bool> {
    let is = |name: &str| scheme.eq_ignore_ascii_case(name);
    if is("https") || is("wss") {
        Some(true)
    } else if is("http") || is("ws") {
        Some(false)
    } else {
        None
    }
}

fn host(headers: &HeaderMap) -> Result<Option<Box<str>>, Refusal> {
    let Some(values) = values(headers, &X_FORWARDED_HOST)? else { return Ok(None) };
    let Some((first, others)) = values.split_first() else { return Ok(None) };
    if Host::parse(first).is_err() || others.iter().any(|other| other != first) {
        return Err(unreadable(&X_FORWARDED_HOST));
    }
    Ok(Some(first.as_str().into()))
}

/// One element of `Forwarded`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Element {
    node: Option<IpAddr>,
    is_encrypted: Option<bool>,
    host: Option<Box<str>>,
}

fn elements(headers: &HeaderMap) -> Result<Option<Vec<Element>>, Refusal> {
    let mut found = None;
    for line in headers.get_all(header::FORWARDED) {
        let text = line.to_str().ok().and_then(forwarded).ok_or_else(|| unreadable(&header::FORWARDED))?;
        found.get_or_insert_with(Vec::new).extend(text);
    }
    Ok(found)
}

/// The elements of one line (RFC 7239 §4); nothing when it does not keep to the grammar, or says one thing twice.
fn forwarded(text: &str) -> Option<Vec<Element>> {
    let mut elements = Vec::new();
    let mut element = Element::default();
    let mut seen: Vec<String> = Vec::new();
    let mut rest = text.trim_matches([' ', '\t']);
    loop {
        if !rest.is_empty() && !rest.starts_with([',', ';']) {
            let (name, after) = rest.split_once('=')?;
            let name = name.to_ascii_lowercase();
            if name.is_empty() || !name.bytes().all(is_token_byte) || seen.contains(&name) {
                return None;
            }
            let (value, after) = value(after)?;
            match name.as_str() {
                "for" => element.node = node(&value)?,
                "proto" => element.is_encrypted = Some(is_encrypted(&value)?),
                "host" => element.host = Some(Host::parse(&value).ok().map(|_| value.as_str().into())?),
                _ => {}
            }
            seen.push(name);
            rest = after.trim_start_matches([' ', '\t']);
        }
        if rest.is_empty() || rest.starts_with(',') {
            if !seen.is_empty() {
                elements.push(std::mem::take(&mut element));
                seen.clear();
            }
            if rest.is_empty() {
                return Some(elements);
            }
        }
        let mut characters = rest.chars();
        if !matches!(characters.next(), Some(',' | ';')) {
            return None;
        }
        rest = characters.as_str().trim_start_matches([' ', '\t']);
    }
}

/// A token or a quoted string at the beginning, and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.bytes().position(|byte| !is_token_byte(byte)).unwrap_or(text.len());
        let (token, rest) = text.split_at_checked(end)?;
        return (!token.is_empty()).then(|| (token.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => return Some((value, characters.as_str())),
            '\\' => value.push(characters.next()?),
            other => value.push(other),
        }
    }
}

/// RFC 9110 §5.6.2, and what proxies write without quotes although they must not: colons and brackets of addresses.
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
                | b':'
                | b'['
                | b']'
        )
}

fn unreadable(name: &HeaderName) -> Refusal {
    malformed(format!("a trusted proxy sent {name} that cannot be read in one way"))
}

fn malformed(detail: String) -> Refusal {
    Refusal::new(Rejection::RequestMalformed).because(detail)
}

#[cfg(test)]
mod tests;
