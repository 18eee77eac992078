//! Looks up the names of upstreams: at the start, within a bound, and again and again in the background. Requests never
//! wait for it. What cannot be looked up keeps the addresses that it had; a change is told to the log once.
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::edge::upstream::servers::Change;
use crate::edge::upstream::{Named, Upstreams};

/// How often a name is looked up. The system's lookup does not tell how long an answer is good for.
const LOOKUP_EVERY: Duration = Duration::from_secs(30);
/// How often a name is looked up that has no address yet.
const LOOKUP_EVERY_UNKNOWN: Duration = Duration::from_secs(5);
/// How long a lookup may take before it counts as failed; less than the start waits, so that the log says what is missing.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(4);
/// How long the start waits for all names.
const START_WAIT: Duration = Duration::from_secs(5);

impl Upstreams {
    /// Looks up all names without address at once and waits for the answers, 5 seconds in all. A name that cannot be looked
    /// up is a warning: it gets no requests until [`Upstreams::keep_current`] finds an address.
    ///
    /// Blocks the thread: not to be called where requests are served.
    pub fn resolve_at_start(self: &Arc<Self>) {
        self.resolve_at_start_by(SystemLookup, START_WAIT);
    }

    /// Looks up the names again and again, as tasks of this set.
    pub(super) fn keep_resolving(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        self.keep_resolving_by(SystemLookup, tasks);
    }

    fn resolve_at_start_by(self: &Arc<Self>, lookup: impl Lookup, wait: Duration) {
        if self.named.iter().all(|named| self.has_addresses(named)) {
            return;
        }
        let upstreams = Arc::clone(self);
        // A thread of its own, because waiting on a runtime panics where one is running already.
        let round = move || first_round(&upstreams, Arc::new(lookup), wait);
        let outcome =
            thread::Builder::new().name("resolve names".to_owned()).spawn(round).map(thread::JoinHandle::join);
        match outcome {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) | Err(error) => log::warn!("names of upstreams were not looked up at start: {error}"),
            Ok(Err(_)) => log::warn!("names of upstreams were not all looked up at start"),
        }
    }

    fn keep_resolving_by(self: &Arc<Self>, lookup: impl Lookup, tasks: &mut JoinSet<()>) {
        let lookup = Arc::new(lookup);
        for named in &self.named {
            tasks.spawn(keep_looking_up(Arc::clone(self), Arc::clone(named), Arc::clone(&lookup)));
        }
    }

    /// Looks up one name and takes note of the outcome.
    async fn look_up(&self, named: &Named, lookup: &impl Lookup) {
        let mut answer = std::pin::pin!(lookup.addresses(&named.host, named.port));
        let outcome = match timeout(LOOKUP_PATIENCE, answer.as_mut()).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.note(named, Err(LookupError::TimedOut));
                // It is still waited for: the system bounds it, and there is never more than one for a name.
                answer.await
            }
        };
        self.note(named, outcome.map_err(LookupError::System));
    }

    /// Takes note of an outcome, and tells the log what it changes.
    fn note(&self, named: &Named, outcome: Result<Vec<SocketAddr>, LookupError>) {
        let outcome = outcome.and_then(|found| if found.is_empty() { Err(LookupError::NoAddress) } else { Ok(found) });
        let (found, cause) = match outcome {
            Ok(addresses) => (Some(addresses), String::new()),
            Err(error) => (None, error.to_string()),
        };
        let change = self.learn(named, found);
        let (upstream, host, port) = (self.name(named), &named.host, named.port);
        match change {
            Change::Nothing => {}
            Change::Moved(addresses) => {
                let addresses: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
                log::info!("upstream `{upstream}`: {host}:{port} is at {}", addresses.join(", "));
            }
            Change::Recovered => {
                log::info!("upstream `{upstream}`: {host}:{port} can be looked up again and is where it was");
            }
            Change::Failing { known: true } => {
                log::warn!("upstream `{upstream}`: {host}:{port} cannot be looked up, its addresses are kept: {cause}");
            }
            Change::Forgotten => {
                log::error!(
                    "upstream `{upstream}`: {host}:{port} cannot be looked up for a day, its addresses are forgotten: {cause}"
                );
            }
            Change::Failing { known: false } => {
                log::warn!(
                    "upstream `{upstream}`: {host}:{port} cannot be looked up and gets no requests until it can: {cause}"
                );
            }
        }
    }
}

/// Why a name has no addresses.
#[derive(Debug)]
enum LookupError {
    /// The system did not answer in time.
    TimedOut,
    /// The name exists, and has no address.
    NoAddress,
    /// In the system's words.
    System(io::Error),
}

impl fmt::Display for LookupError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => write!(formatter, "no answer within {} s", LOOKUP_PATIENCE.as_secs()),
            Self::NoAddress => formatter.write_str("it has no address"),
            Self::System(error) => write!(formatter, "{error}"),
        }
    }
}

fn first_round<L: Lookup>(upstreams: &Arc<Upstreams>, lookup: Arc<L>, wait: Duration) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        let mut names = JoinSet::new();
        for named in upstreams.named.iter().filter(|named| !upstreams.has_addresses(named)) {
            let (upstreams, named, lookup) = (Arc::clone(upstreams), Arc::clone(named), Arc::clone(&lookup));
            names.spawn(async move { upstreams.look_up(&named, lookup.as_ref()).await });
        }
        // Who did not answer until then was told to the log as such, a moment ago.
        let _ = timeout(wait, async { while names.join_next().await.is_some() {} }).await;
    });
    Ok(())
}

async fn keep_looking_up<L: Lookup>(upstreams: Arc<Upstreams>, named: Arc<Named>, lookup: Arc<L>) {
    if upstreams.has_addresses(&named) {
        sleep(LOOKUP_EVERY).await;
    }
    loop {
        upstreams.look_up(&named, lookup.as_ref()).await;
        sleep(if upstreams.has_addresses(&named) { LOOKUP_EVERY } else { LOOKUP_EVERY_UNKNOWN }).await;
    }
}

/// Where names become addresses.
trait Lookup: Send + Sync + 'static {
    /// The addresses of a name, with the port.
    fn addresses(&self, host: &str, port: u16) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;
}

/// The system's own lookup: `/etc/hosts`, DNS and whatever else it was told to ask.
struct SystemLookup;

impl Lookup for SystemLookup {
    fn addresses(&self, host: &str, port: u16) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send {
        let (sender, receiver) = oneshot::channel();
        let host = host.to_owned();
        // A thread that nobody joins: a lookup cannot be called off, and the end of the process must not wait for it.
        let thread = thread::Builder::new().name("look up name".to_owned()).spawn(move || {
            // Nobody listens any more when the wait was given up.
            let _ = sender.send(ask_system(&host, port));
        });
        async move {
            thread?;
            receiver.await.unwrap_or_else(|_| Err(io::Error::other("the lookup ended without an answer")))
        }
    }
}

/// The addresses of a name that can be reached from here, or all if it seems that none can.
fn ask_system(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let (reachable, others): (Vec<_>, Vec<_>) = (host, port).to_socket_addrs()?.partition(has_route);
    Ok(if reachable.is_empty() { others } else { reachable })
}

/// Whether the system knows a way to an address. Many hosts have no IPv6, and many names have addresses of both kinds: on
/// such a host, half of the first attempts would fail. Connecting a UDP socket asks the routing table and sends nothing.
fn has_route(address: &SocketAddr) -> bool {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(address)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::{Lookup, SystemLookup};
    use crate::config::settings::{
        Balance, Upstream, UpstreamAddress, UpstreamProtocol, UpstreamServer, UpstreamTimeouts,
    };
    use crate::edge::upstream::Upstreams;
    use crate::gate::route::UpstreamId;
    use std::collections::{BTreeSet, VecDeque};
    use std::future::pending;
    use std::io;
    use std::net::SocketAddr;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn upstreams(host: &str) -> Arc<Upstreams> {
        let second = Duration::from_secs(1);
        let settings = Upstream {
            name: "orders".into(),
            servers: vec![UpstreamServer {
                written: format!("{host}:80").into(),
                address: UpstreamAddress::Name { host: host.into(), port: 80 },
                weight: 1,
            }],
            balance: Balance::RoundRobin,
            protocol: UpstreamProtocol::Http1,
            tls: None,
            health_check: None,
            timeouts: UpstreamTimeouts { connect: second, read: second, write: second, pool_idle: second },
            retries: 1,
        };
        Arc::new(Upstreams::new(&[settings]).unwrap())
    }

    /// Where 16 requests in a row go.
    fn addresses(upstreams: &Upstreams) -> BTreeSet<String> {
        let chosen = (0..16).filter_map(|_| upstreams.choose(UpstreamId(0), &[], None).ok());
        chosen.map(|chosen| chosen.peer._address.to_string()).collect()
    }

    fn expected(addresses: &[&str]) -> BTreeSet<String> {
        addresses.iter().map(ToString::to_string).collect()
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    /// Gives one answer after the other, then none any more.
    struct Script(Mutex<VecDeque<io::Result<Vec<SocketAddr>>>>);

    impl Script {
        fn new(answers: impl IntoIterator<Item = Option<&'static [&'static str]>>) -> Self {
            let answers = answers.into_iter().map(|answer| match answer {
                Some(addresses) => Ok(addresses.iter().map(|address| address.parse().unwrap()).collect()),
                None => Err(io::Error::other("no such name")),
            });
            Self(Mutex::new(answers.collect()))
        }
    }

    impl Lookup for Script {
        async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
            assert_eq!((host, port), ("orders.invalid", 80));
            let next = self.0.lock().unwrap().pop_front();
            match next {
                Some(answer) => answer,
                None => pending().await,
            }
        }
    }

    #[test]
    fn localhost_is_found_at_start_by_the_system() {
        let upstreams = upstreams("localhost");
        assert!(upstreams.choose(UpstreamId(0), &[], None).is_err());
        upstreams.resolve_at_start();
        let found = addresses(&upstreams);
        assert!(!found.is_empty() && found.is_subset(&expected(&["127.0.0.1:80", "[::1]:80"])), "{found:?}");
    }

    #[test]
    fn what_was_last_good_is_kept_when_a_lookup_fails_or_finds_nothing() {
        let upstreams = upstreams("orders.invalid");
        let script = Script::new([
            None,
            Some(["192.0.2.1:80"].as_slice()),
            None,
            Some([].as_slice()),
            Some(["192.0.2.3:80", "192.0.2.2:80"].as_slice()),
        ]);
        let rows: [&[&str]; 5] =
            [&[], &["192.0.2.1:80"], &["192.0.2.1:80"], &["192.0.2.1:80"], &["192.0.2.2:80", "192.0.2.3:80"]];
        for row in rows {
            runtime().block_on(upstreams.look_up(&upstreams.named[0], &script));
            assert_eq!(addresses(&upstreams), expected(row));
        }
    }

    #[test]
    fn the_start_does_not_wait_for_a_name_that_gets_no_answer() {
        let upstreams = upstreams("orders.invalid");
        upstreams.resolve_at_start_by(Script::new([]), Duration::from_millis(1));
        assert_eq!(addresses(&upstreams), expected(&[]));
    }

    #[test]
    fn the_start_may_be_called_where_a_runtime_is_running() {
        let upstreams = upstreams("orders.invalid");
        runtime().block_on(async {
            upstreams.resolve_at_start_by(Script::new([Some(["192.0.2.1:80"].as_slice())]), PATIENCE);
        });
        assert_eq!(addresses(&upstreams), expected(&["192.0.2.1:80"]));
    }

    #[test]
    fn a_name_without_address_is_looked_up_in_the_background_until_shutdown() {
        let upstreams = upstreams("orders.invalid");
        let script = Script::new([Some(["192.0.2.1:80"].as_slice())]);
        runtime().block_on(async {
            let mut tasks = JoinSet::new();
            upstreams.keep_resolving_by(script, &mut tasks);
            let found = timeout(PATIENCE, async {
                while addresses(&upstreams).is_empty() {
                    tokio::task::yield_now().await;
                }
            });
            found.await.unwrap();
            timeout(PATIENCE, tasks.shutdown()).await.unwrap();
        });
        assert_eq!(addresses(&upstreams), expected(&["192.0.2.1:80"]));
    }

    #[test]
    fn the_system_lookup_says_why_it_found_nothing() {
        // The system itself refuses a name with a zero byte, so that nobody on the network is asked.
        let outcome = runtime().block_on(SystemLookup.addresses("orders\0invalid", 80));
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
