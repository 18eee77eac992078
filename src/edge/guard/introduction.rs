//! How a load balancer introduces the client whose connection it forwards: by a header of the PROXY protocol, before TLS and
//! everything else. From then on the connection is that client's.
use std::os::fd::AsRawFd as _;

use pingora_core::protocols::{GetSocketDigest as _, SocketDigest, Stream, l4::stream::Stream as Socket};
use tokio::io::AsyncReadExt as _;

use crate::{
    edge::{forwarding, guard::peer},
    gate::{
        provenance::Peer,
        proxy_protocol::{self, Client, HEADER_BYTES_MAX, HeaderFault},
    },
};

/// What is read at once. Hardly any header is longer.
const READ_BYTES: usize = 256;

/// Reads the header; what follows it stays to be read. Nothing for a connection that ends before it said anything, as those of
/// load balancers do that only look whether a port is open.
///
/// # Errors
/// There is no header, or none that can be read.
pub(super) async fn read(stream: Stream) -> Result<Option<(Stream, Peer)>, HeaderFault> {
    // What listeners accept is always a socket.
    let Ok(mut socket) = stream.into_any().downcast::<Socket>() else { return Ok(None) };
    let mut bytes = Vec::with_capacity(READ_BYTES);
    let header = loop {
        let mut part = [0; READ_BYTES];
        let wanted = part.len().min(HEADER_BYTES_MAX - bytes.len().min(HEADER_BYTES_MAX));
        let Some(room) = part.get_mut(..wanted).filter(|room| !room.is_empty()) else {
            return Err(HeaderFault::TooLong);
        };
        let count = socket.read(room).await.unwrap_or_default();
        if count == 0 {
            return if bytes.is_empty() { Ok(None) } else { Err(HeaderFault::Malformed) };
        }
        bytes.extend_from_slice(room.get(..count).unwrap_or_default());
        if let Some(header) = proxy_protocol::read(&bytes)? {
            break header;
        }
    };
    socket.rewind(bytes.get(header.bytes..).unwrap_or_default());
    match header.client {
        Client::Peer => {}
        Client::At(address) => belong_to(&mut socket, address),
        Client::Unknown => belong_to(&mut socket, forwarding::UNKNOWN_PEER),
    }
    let stream: Stream = socket;
    let client = peer(&stream);
    Ok(Some((stream, client)))
}

/// All who ask for the connection's peer are told this address from now on.
fn belong_to(socket: &mut Socket, address: std::net::SocketAddr) {
    let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
    let _ = digest.peer_addr.set(Some(address.into()));
    socket.set_socket_digest(digest);
}
