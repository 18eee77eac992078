//! The guard of every connection: lets so many in, gives each of them its time, and sees what no filter of the proxy does -
//! heads that cannot be parsed or do not end, clients that take nothing of a response, requests that a panic ends.
//!
//! Pingora leaves all of that open: its timeouts are for single reads, idle connections may stay for ever, and what it
//! refuses by itself it tells nobody. The guard decides nothing about requests; it only ever ends a connection.
mod alarm;
mod connection;
mod delegation;
mod ending;
mod entrance;
pub mod frames;
mod http2_stream;
mod introduction;
pub mod panics;
mod request_bytes;
#[cfg(test)]
mod tests;
pub mod websocket;

use std::{
    fmt,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use pingora_core::{apps::ServerApp, protocols::Stream, server::ShutdownWatch};
use tokio::io::AsyncWriteExt as _;

pub use crate::edge::guard::connection::Connection;
use crate::edge::guard::entrance::Entered;
pub use crate::edge::guard::entrance::Entrance;
pub use crate::edge::guard::http2_stream::{Line, guard as guard_http2_stream};
pub use crate::edge::guard::request_bytes::{Fault, HeadBounds};
use crate::{
    config::settings::ClientTimeouts,
    edge::{
        clock,
        exchange::Identifiers,
        forwarding,
        metrics::{Metrics, OpenConnection},
        respond,
    },
    gate::{
        provenance::Peer,
        rejection::{Refusal, Rejection},
    },
    state::{
        address_group::AddressGroup,
        connections::{ConnectionLimit, Connections, Seat},
    },
};

/// How long the answer to a connection that is not let in may take to be written. It fits into any socket's buffer.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// What all connections share.
pub struct Guard {
    /// How long a client may take.
    pub timeouts: ClientTimeouts,
    /// How large a head may become.
    pub head_bounds: HeadBounds,
    /// How many connections there are and may be.
    pub connections: Arc<Connections>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Whose word on clients is taken at the beginning of a connection.
    pub trust: Box<dyn Fn(Peer) -> bool + Send + Sync>,
    /// Told of everything that no filter sees.
    pub tell: Box<dyn Fn(&Incident) + Send + Sync>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Guard({:?}, {:?})", self.timeouts, self.connections)
    }
}

/// A request, or a connection before its first one, that ended where no filter of the proxy could see it.
#[derive(Clone, Debug)]
pub struct Incident {
    /// Whose it was; nothing on a unix socket.
    pub client: Option<IpAddr>,
    /// What the client was told, or would have been.
    pub rejection: Rejection,
    /// What it was told by.
    pub identifiers: Identifiers,
    /// More about it, for the log.
    pub detail: &'static str,
    /// Whether a request had begun.
    pub is_request: bool,
}

/// An application whose connections are guarded.
#[derive(Debug)]
pub struct Guarded<A> {
    application: Arc<A>,
    guard: Arc<Guard>,
    entrance: Entrance,
}

impl<A> Guarded<A> {
    /// Guards the connections of `application`, which begin as `entrance` says.
    pub fn new(application: A, guard: Arc<Guard>, entrance: Entrance) -> Self {
        Self { application: Arc::new(application), guard, entrance }
    }

    /// Sees to the beginning of a connection; nothing for one that ends with it.
    async fn let_in(&self, stream: Stream, until: Instant) -> Option<(Entered, (Seat, OpenConnection))> {
        let peer = peer(&stream);
        // Whose connection a load balancer's is it says only when it has a seat.
        let client = if self.entrance.proxy_protocol { None } else { peer.address() };
        let mut seat = match self.guard.connections.seat(client.map(AddressGroup::of)) {
            Ok(seat) => seat,
            Err(limit) => return self.turn_away(stream, peer, limit).await,
        };
        let open = self.guard.metrics.connection();
        let beginning = async {
            let stream = if self.entrance.proxy_protocol {
                let (stream, client) = self.introduced(stream, peer).await?;
                if let Some(address) = client.address()
                    && let Err(limit) = seat.give_to(AddressGroup::of(address))
                {
                    return self.turn_away(stream, client, limit).await;
                }
                stream
            } else {
                stream
            };
            match self.entrance.enter(stream).await {
                Ok(entered) => Some(entered),
                Err(fault) => {
                    log::debug!("a connection ended before its first request: {fault}");
                    None
                }
            }
        };
        let entered = tokio::time::timeout_at(until.into(), beginning).await.unwrap_or_else(|_| {
            log::debug!("a connection ended before its first request: its beginning took too long");
            None
        })?;
        Some((entered, (seat, open)))
    }

    /// Reads whose connection it is; nothing for one that does not say so, or that nobody believes.
    async fn introduced(&self, stream: Stream, peer: Peer) -> Option<(Stream, Peer)> {
        if !(self.guard.trust)(peer) {
            let detail = "a connection with the PROXY protocol from an address that is not in trusted_proxies";
            self.tell(peer, Rejection::AddressDenied, detail);
            return None;
        }
        match introduction::read(stream).await {
            Ok(introduced) => introduced,
            Err(fault) => {
                self.tell(peer, Rejection::RequestMalformed, fault.detail());
                None
            }
        }
    }

    /// A connection ended before its first request.
    fn tell(&self, peer: Peer, rejection: Rejection, detail: &'static str) -> Incident {
        let (client, identifiers) = (peer.address(), Identifiers::random());
        let incident = Incident { client, rejection, identifiers, detail, is_request: false };
        (self.guard.tell)(&incident);
        incident
    }

    /// Answers a connection for which there is no room. What the client sent is not read: that would take the room.
    async fn turn_away<T>(&self, mut stream: Stream, peer: Peer, limit: ConnectionLimit) -> Option<T> {
        self.guard.metrics.connection_refused(limit);
        let incident = self.tell(peer, Rejection::Overloaded, limit.name());
        // What is not TLS would be nothing to a client that awaits it, and a handshake is what there is no room for.
        if self.entrance.tls.is_some() {
            return None;
        }
        let answer = respond::whole(&Refusal::new(incident.rejection), incident.identifiers.request());
        let written = async {
            stream.write_all(&answer).await?;
            stream.flush().await?;
            stream.shutdown().await?;
            Ok::<(), std::io::Error>(())
        };
        // Who does not take it gets the end of the connection instead.
        let _ = tokio::time::timeout(REFUSAL_TIME, written).await;
        None
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ServerApp for Guarded<A> {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let until = clock::monotonic() + self.guard.timeouts.head;
        let (entered, _held) = self.let_in(stream, until).await?;
        let connection = Connection::new(entered, until, Arc::clone(&self.guard));
        self.application.process_new(Box::new(connection), shutdown).await
    }

    async fn cleanup(&self) {
        // Not passed on: Pingora would end every connection that waits for a request at once, also one whose request is on its
        // way. Such a request is answered, and told that the connection ends with it.
    }
}

/// The address at the other end; none of a unix socket.
fn peer(stream: &Stream) -> Peer {
    forwarding::peer_at(stream.get_socket_digest().as_ref().and_then(|digest| digest.peer_addr()))
}
