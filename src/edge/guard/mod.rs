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
mod frames;
mod http2_stream;
pub mod panics;
mod request_bytes;
#[cfg(test)]
mod tests;
mod websocket;

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use pingora_core::{
    apps::ServerApp,
    protocols::{Stream, l4::socket::SocketAddr},
    server::ShutdownWatch,
};
use tokio::io::AsyncWriteExt as _;

pub use crate::edge::guard::connection::Connection;
pub use crate::edge::guard::entrance::Entrance;
pub use crate::edge::guard::http2_stream::{Line, guard as guard_http2_stream};
pub use crate::edge::guard::request_bytes::{Fault, HeadBounds};
use crate::{
    config::settings::ClientTimeouts,
    edge::{clock, exchange::Identifiers, metrics::Metrics, respond},
    gate::rejection::{Refusal, Rejection},
    state::{address_group::AddressGroup, connections::Connections},
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

    /// Answers a connection for which there is no room. What the client sent is not read: that would take the room.
    async fn turn_away(&self, mut stream: Stream, incident: &Incident) {
        // What is not TLS would be nothing to a client that awaits it, and a handshake is what there is no room for.
        if self.entrance.tls.is_some() {
            return;
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
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ServerApp for Guarded<A> {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let client = peer(&stream);
        let _seat = match self.guard.connections.seat(client.map(AddressGroup::of)) {
            Ok(seat) => seat,
            Err(limit) => {
                let incident = Incident {
                    client,
                    rejection: Rejection::Overloaded,
                    identifiers: Identifiers::random(),
                    detail: limit.name(),
                    is_request: false,
                };
                self.guard.metrics.connection_refused(limit);
                (self.guard.tell)(&incident);
                self.turn_away(stream, &incident).await;
                return None;
            }
        };
        let _connection = self.guard.metrics.connection();
        let until = clock::monotonic() + self.guard.timeouts.head;
        let entered = match tokio::time::timeout_at(until.into(), self.entrance.enter(stream)).await {
            Ok(Ok(entered)) => entered,
            Ok(Err(fault)) => {
                log::debug!("a connection ended before its first request: {fault}");
                return None;
            }
            Err(_) => {
                log::debug!("a connection ended before its first request: its beginning took too long");
                return None;
            }
        };
        let connection = Connection::new(entered, until, Arc::clone(&self.guard));
        self.application.process_new(Box::new(connection), shutdown).await
    }

    async fn cleanup(&self) {
        self.application.cleanup().await;
    }
}

/// The address at the other end; none of a unix socket.
fn peer(stream: &Stream) -> Option<IpAddr> {
    match stream.get_socket_digest()?.peer_addr()? {
        SocketAddr::Inet(address) => Some(address.ip().to_canonical()),
        SocketAddr::Unix(_) => None,
    }
}
