//! A server that answers, hangs, is slow, dies without a word and comes back where it was, over HTTP/1.1 or over HTTP/2 without TLS. It
//! keeps an account of every request that reached it.
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{Request, Response};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    sync::watch,
    task::JoinSet,
};

use super::waiting::{PATIENCE, eventually};

/// What it does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Answers 200.
    Well,
    /// The same after a while.
    Slow(Duration),
    /// Reads, and answers when it is in another mood.
    Hung,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, without TLS.
    H2c,
}

/// A request that came whole.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    /// Its `X-Test`.
    pub(crate) id: String,
    /// Its method.
    pub(crate) method: String,
    /// Whether it was the first on its connection.
    pub(crate) is_first: bool,
    /// Whether an answer was written.
    pub(crate) is_answered: bool,
}

/// The server; all of it ends when it is dropped.
pub(crate) struct Unsteady {
    protocol: Protocol,
    address: SocketAddr,
    mood: watch::Sender<Mood>,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    /// Nothing while it is dead.
    life: Option<Runtime>,
}

impl Unsteady {
    /// Listens there, and is well.
    pub(crate) fn start(protocol: Protocol, address: SocketAddr) -> Self {
        let mut server =
            Self { protocol, address, mood: watch::Sender::new(Mood::Well), arrivals: Arc::default(), life: None };
        server.revive();
        server
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything that came but for the first so many.
    pub(crate) fn arrivals_from(&self, first: usize) -> Vec<Arrival> {
        locked(&self.arrivals)[first..].to_vec()
    }

    /// How many answers were written.
    pub(crate) fn answers(&self) -> usize {
        locked(&self.arrivals).iter().filter(|arrival| arrival.is_answered).count()
    }

    /// From now on.
    pub(crate) fn set_mood(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// Ends listener and connections at once; each connection is reset, as that of a machine that knows nothing of it.
    pub(crate) fn kill(&mut self) {
        drop(self.life.take());
    }

    /// Listens again, and is well.
    pub(crate) fn revive(&mut self) {
        self.set_mood(Mood::Well);
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = eventually(PATIENCE, || runtime.block_on(TcpListener::bind(self.address)).ok());
        let listener = listener.unwrap_or_else(|| panic!("{} is not free", self.address));
        let (protocol, mood, arrivals) = (self.protocol, self.mood.subscribe(), Arc::clone(&self.arrivals));
        runtime.spawn(async move {
            // They end with the listener.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                if stream.set_zero_linger().and_then(|()| stream.set_nodelay(true)).is_err() {
                    continue;
                }
                let desk = Desk { mood: mood.clone(), arrivals: Arc::clone(&arrivals) };
                connections.spawn(async move {
                    // Who goes away is no concern of the server.
                    let _ = match protocol {
                        Protocol::Http1 => desk.serve_http1(stream).await,
                        Protocol::H2c => desk.serve_h2c(stream).await.map_err(io::Error::other),
                    };
                });
            }
        });
        self.life = Some(runtime);
    }
}

/// What a connection needs.
#[derive(Clone)]
struct Desk {
    mood: watch::Receiver<Mood>,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
}

impl Desk {
    async fn serve_http1(mut self, mut stream: TcpStream) -> io::Result<()> {
        let mut unread = Vec::new();
        for number in 0_usize.. {
            let Some(head) = read_head(&mut stream, &mut unread).await? else { break };
            let field = |name: &str| {
                let fields = head.lines().filter_map(|line| line.split_once(':'));
                fields
                    .filter(|(own, _)| own.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.trim().to_owned())
                    .next()
            };
            let length = field("content-length").map_or(0, |length| length.parse().unwrap());
            while unread.len() < length {
                if stream.read_buf(&mut unread).await? == 0 {
                    return Ok(());
                }
            }
            unread.drain(..length);
            let method = head.split(' ').next().unwrap_or_default();
            let position = self.note(field("x-test"), method, number == 0);
            self.wait().await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await?;
            self.answered(position);
        }
        Ok(())
    }

    async fn serve_h2c(self, stream: TcpStream) -> Result<(), h2::Error> {
        let mut connection = h2::server::handshake(stream).await?;
        let mut streams = JoinSet::new();
        for number in 0_usize.. {
            let Some(accepted) = connection.accept().await else { break };
            let (request, respond) = accepted?;
            streams.spawn(self.clone().answer_stream(request, respond, number == 0));
        }
        Ok(())
    }

    async fn answer_stream(
        mut self,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        is_first: bool,
    ) -> Option<()> {
        let (head, mut body) = request.into_parts();
        while let Some(part) = body.data().await {
            let _ = body.flow_control().release_capacity(part.ok()?.len());
        }
        let id = head.headers.get("x-test").map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned());
        let position = self.note(id, head.method.as_str(), is_first);
        self.wait().await;
        let mut stream = respond.send_response(Response::new(()), false).ok()?;
        stream.send_data(Bytes::from_static(b"ok"), true).ok()?;
        self.answered(position);
        Some(())
    }

    fn note(&self, id: Option<String>, method: &str, is_first: bool) -> usize {
        let mut arrivals = locked(&self.arrivals);
        let id = id.unwrap_or_default();
        arrivals.push(Arrival { id, method: method.to_owned(), is_first, is_answered: false });
        arrivals.len() - 1
    }

    async fn wait(&mut self) {
        let mood = *self.mood.borrow();
        match mood {
            Mood::Well => {}
            Mood::Slow(pause) => tokio::time::sleep(pause).await,
            // The end of the server ends it too.
            Mood::Hung => drop(self.mood.wait_for(|mood| *mood != Mood::Hung).await),
        }
    }

    fn answered(&self, position: usize) {
        locked(&self.arrivals)[position].is_answered = true;
    }
}

/// Request line and fields; nothing when the connection ends before one.
async fn read_head(stream: &mut TcpStream, unread: &mut Vec<u8>) -> io::Result<Option<String>> {
    loop {
        if let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
            let head: Vec<u8> = unread.drain(..end + 4).collect();
            return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
        }
        if stream.read_buf(unread).await? == 0 {
            return Ok(None);
        }
    }
}

fn locked(arrivals: &Mutex<Vec<Arrival>>) -> MutexGuard<'_, Vec<Arrival>> {
    arrivals.lock().unwrap_or_else(PoisonError::into_inner)
}
