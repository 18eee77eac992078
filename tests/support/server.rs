//! A listener with a thread for each connection, for the upstreams and issuers of tests; all of it ends when it is dropped.
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use super::wire::{Address, Stream, Wire};

/// What accepts and who is connected.
pub(crate) struct Server {
    address: Address,
    state: Arc<State>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    stopping: AtomicBool,
    accepted: AtomicUsize,
    open: Mutex<Vec<Stream>>,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Server {
    /// Listens on a free loopback port.
    pub(crate) fn on_tcp(handle: impl Fn(Wire) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap());
        Self::start(address, Listener::Tcp(listener), Arc::new(handle))
    }

    /// Listens on a loopback port that nobody listens on.
    pub(crate) fn on_address(address: SocketAddr, handle: impl Fn(Wire) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        Self::start(Address::Tcp(address), Listener::Tcp(listener), Arc::new(handle))
    }

    /// Listens on a socket file.
    pub(crate) fn on_unix(path: PathBuf, handle: impl Fn(Wire) + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(&path).unwrap();
        Self::start(Address::Unix(path), Listener::Unix(listener), Arc::new(handle))
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// How many connections were accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }

    fn start(address: Address, listener: Listener, handle: Arc<dyn Fn(Wire) + Send + Sync>) -> Self {
        let state = Arc::new(State::default());
        let acceptor = thread::spawn({
            let state = state.clone();
            move || accept_until_stopped(&listener, &state, &handle)
        });
        Self { address, state, acceptor: Some(acceptor) }
    }
}

fn accept_until_stopped(listener: &Listener, state: &State, handle: &Arc<dyn Fn(Wire) + Send + Sync>) {
    loop {
        let accepted = match listener {
            Listener::Tcp(listener) => listener.accept().map(|(stream, _)| Stream::Tcp(stream)),
            Listener::Unix(listener) => listener.accept().map(|(stream, _)| Stream::Unix(stream)),
        };
        if state.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = accepted else { continue };
        state.accepted.fetch_add(1, Ordering::SeqCst);
        let ended = stream.try_clone().unwrap();
        state.open.lock().unwrap_or_else(PoisonError::into_inner).push(stream.try_clone().unwrap());
        let handle = handle.clone();
        thread::spawn(move || {
            if let Ok(wire) = Wire::new(stream) {
                handle(wire);
            }
            // Dropping it would not end the connection: there are other handles.
            ended.shut();
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.stopping.store(true, Ordering::SeqCst);
        for stream in self.state.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            stream.shut();
        }
        // The acceptor looks at the flag when the next connection comes: this one. A socket file may be gone with its folder;
        // then nobody can connect any more, and the acceptor waits harmlessly for the end of the process.
        let woken = Wire::connect(&self.address).is_ok();
        if let Some(acceptor) = self.acceptor.take().filter(|_| woken) {
            let _ = acceptor.join();
        }
    }
}

/// A loopback port that nobody listens on, and that no other test of this process was given.
pub(crate) fn free_address() -> SocketAddr {
    static GIVEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    loop {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
        if !given.contains(&address.port()) {
            given.push(address.port());
            return address;
        }
    }
}
