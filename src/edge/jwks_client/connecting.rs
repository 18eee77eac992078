//! How a connection is made: directly or through a proxy's tunnel, TLS on top, every read and write within the fetch's one
//! deadline. It chooses neither proxy nor address.
use std::fmt;

use ureq::Timeout;
use ureq::unversioned::transport::time::Duration as LibraryDuration;
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, NextTimeout, RustlsConnector, TcpConnector, Transport,
};

use crate::edge::jwks_client::{Deadline, proxies};

/// The chain that makes a connection.
pub(super) fn connector(deadline: Deadline) -> impl Connector<()> {
    ().chain(ThroughProxy::default())
        .chain(TcpConnector::default())
        .chain(InTime { deadline })
        .chain(RustlsConnector::default())
}

/// What went wrong before the proxy had opened a tunnel. Travels through the library as its error of other people's making.
#[derive(Debug)]
pub(super) struct ProxyTrouble {
    /// Host and port of the proxy.
    pub(super) proxy: String,
    pub(super) error: ureq::Error,
}

impl fmt::Display for ProxyTrouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "proxy {}", self.proxy)
    }
}

impl std::error::Error for ProxyTrouble {}

/// The library's way through a proxy, whose errors would otherwise look like the server's.
#[derive(Debug, Default)]
struct ThroughProxy {
    library: ConnectProxyConnector,
}

impl<In: Transport> Connector<In> for ThroughProxy {
    type Out = <ConnectProxyConnector as Connector<In>>::Out;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        self.library.connect(details, chained).map_err(|error| match details.config.proxy() {
            Some(proxy) => ureq::Error::Other(Box::new(ProxyTrouble { proxy: proxies::name_of(proxy), error })),
            None => error,
        })
    }
}

/// Bounds what happens on a connection by the deadline: the library gives each read of a proxy's answer its whole time
/// anew, so that a proxy that drips would never be given up.
#[derive(Debug)]
struct InTime {
    deadline: Deadline,
}

impl<In: Transport> Connector<In> for InTime {
    type Out = Bounded<In>;

    fn connect(&self, _: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        Ok(chained.map(|transport| Bounded { transport, deadline: self.deadline }))
    }
}

#[derive(Debug)]
struct Bounded<In> {
    transport: In,
    deadline: Deadline,
}

impl<In> Bounded<In> {
    fn bounded(&self, timeout: NextTimeout) -> Result<NextTimeout, ureq::Error> {
        let left = self.deadline.left();
        if left.is_zero() {
            return Err(ureq::Error::Timeout(Timeout::Global));
        }
        Ok(NextTimeout { after: timeout.after.min(LibraryDuration::from(left)), ..timeout })
    }
}

impl<In: Transport> Transport for Bounded<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let timeout = self.bounded(timeout)?;
        self.transport.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let timeout = self.bounded(timeout)?;
        self.transport.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.transport.is_open()
    }

    fn is_tls(&self) -> bool {
        self.transport.is_tls()
    }
}
