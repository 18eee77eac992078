//! A socket and HTTP/1.1 framing on it, byte by byte: both ends of every test speak through this. It repairs nothing.
use std::{
    fmt,
    io::{self, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::waiting::PATIENCE;

/// Where something listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// Loopback.
    Tcp(SocketAddr),
    /// A socket in a test's folder.
    Unix(PathBuf),
}

/// As the configuration writes it.
impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(formatter, "{address}"),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// A connected stream of either kind.
#[derive(Debug)]
pub(crate) enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// Unix.
    Unix(UnixStream),
}

impl Stream {
    /// Another handle on the same connection.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
        })
    }

    /// Ends both directions; who reads from it sees the end.
    pub(crate) fn shut(&self) {
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    fn bound_by_patience(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))
            }
            Self::Unix(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))
            }
        }
    }

    fn set_read_timeout(&self, time: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(Some(time)),
            Self::Unix(stream) => stream.set_read_timeout(Some(time)),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
        }
    }
}

/// A connection with what was read from it and not yet used. Each read and write is bounded by [`PATIENCE`].
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    unread: Vec<u8>,
    record: Option<Arc<Mutex<Vec<u8>>>>,
}

impl Wire {
    /// Connects.
    pub(crate) fn connect(address: &Address) -> io::Result<Self> {
        Self::new(match address {
            Address::Tcp(address) => Stream::Tcp(TcpStream::connect_timeout(address, PATIENCE)?),
            Address::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
        })
    }

    /// Connects from this address. Only the asynchronous library can bind a socket that then connects.
    pub(crate) fn connect_from(source: IpAddr, address: &Address) -> io::Result<Self> {
        let Address::Tcp(address) = address else { return Err(io::Error::other("a unix socket has no addresses")) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let stream = runtime.block_on(async {
            let socket = match source {
                IpAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
                IpAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
            };
            socket.bind(SocketAddr::new(source, 0))?;
            socket.connect(*address).await?.into_std()
        })?;
        stream.set_nonblocking(false)?;
        Self::new(Stream::Tcp(stream))
    }

    /// Takes over an accepted connection.
    pub(crate) fn new(stream: Stream) -> io::Result<Self> {
        stream.bound_by_patience()?;
        Ok(Self { stream, unread: Vec::new(), record: None })
    }

    /// Adds every byte that is read from now on to `record`, whether it is understood or not.
    pub(crate) fn recorded_in(mut self, record: Arc<Mutex<Vec<u8>>>) -> Self {
        self.record = Some(record);
        self
    }

    /// Sends the bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Ends the connection.
    pub(crate) fn shut(&self) {
        self.stream.shut();
    }

    /// Says that nothing more will come from here, and still reads.
    pub(crate) fn end_sending(&self) {
        if let Stream::Tcp(stream) = &self.stream {
            stream.shutdown(Shutdown::Write).unwrap();
        }
    }

    /// Passes on what comes from either side to the other, until one of them ends.
    pub(crate) fn relay(self, other: Self) {
        let (Ok(here), Ok(there)) = (self.stream.try_clone(), other.stream.try_clone()) else { return };
        let (mut from_here, mut from_there) = (self, other);
        let back = std::thread::spawn(move || from_there.pass_on(here));
        from_here.pass_on(there);
        let _ = back.join();
    }

    fn pass_on(&mut self, mut to: Stream) {
        let mut bytes = std::mem::take(&mut self.unread);
        let mut buffer = [0; 16 * 1024];
        while to.write_all(&bytes).is_ok() {
            match self.stream.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(read) => bytes = buffer[..read].to_vec(),
            }
        }
        to.shut();
        self.shut();
    }

    /// The bytes up to and with the first blank line; `None` when the peer closed before the first byte.
    pub(crate) fn read_head(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = find(&self.unread, b"\r\n\r\n") {
                return Ok(Some(self.take(end + 4)));
            }
            if self.fill()? == 0 {
                return if self.unread.is_empty() { Ok(None) } else { Err(cut("in the head")) };
            }
        }
    }

    /// Reads for so long, or until the peer closes or resets; says whether it did, and then gives all that came before.
    pub(crate) fn read_for(&mut self, time: Duration) -> (Vec<u8>, bool) {
        let _ = self.stream.set_read_timeout(time);
        let is_closed = match self.fill() {
            Ok(amount) => amount == 0,
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        };
        let _ = self.stream.set_read_timeout(PATIENCE);
        (if is_closed { std::mem::take(&mut self.unread) } else { Vec::new() }, is_closed)
    }

    /// Exactly so many bytes.
    pub(crate) fn read_bytes(&mut self, amount: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < amount {
            if self.fill()? == 0 {
                return Err(cut("in the body"));
            }
        }
        Ok(self.take(amount))
    }

    /// A chunked body: what it says, and its bytes as they came, sizes and trailers included.
    pub(crate) fn read_chunked(&mut self) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let (mut content, mut raw) = (Vec::new(), Vec::new());
        loop {
            let line = self.read_line()?;
            let text = String::from_utf8_lossy(&line).into_owned();
            raw.extend_from_slice(&line);
            let digits = text.trim_end().split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(digits, 16).map_err(|_| io::Error::other("chunk size"))?;
            if size == 0 {
                break;
            }
            let chunk = self.read_bytes(size + 2)?;
            content.extend_from_slice(&chunk[..size]);
            raw.extend_from_slice(&chunk);
        }
        loop {
            let line = self.read_line()?;
            raw.extend_from_slice(&line);
            if line == b"\r\n" {
                return Ok((content, raw));
            }
        }
    }

    /// Everything until the peer closes. A reset counts as closing.
    pub(crate) fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.fill() {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(std::mem::take(&mut self.unread))
    }

    /// The body that the head announces: what it says, and its bytes as they came.
    pub(crate) fn read_body(&mut self, head: &Head) -> io::Result<(Vec<u8>, Vec<u8>)> {
        if head.value("transfer-encoding").is_some() {
            return self.read_chunked();
        }
        let length = match head.value("content-length") {
            Some(length) => length.trim().parse().map_err(|_| io::Error::other("content-length"))?,
            None => 0,
        };
        let body = self.read_bytes(length)?;
        Ok((body.clone(), body))
    }

    fn read_line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = find(&self.unread, b"\r\n") {
                return Ok(self.take(end + 2));
            }
            if self.fill()? == 0 {
                return Err(cut("in a line"));
            }
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let amount = self.stream.read(&mut buffer)?;
        self.unread.extend_from_slice(&buffer[..amount]);
        if let Some(record) = &self.record {
            record.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..amount]);
        }
        Ok(amount)
    }

    fn take(&mut self, amount: usize) -> Vec<u8> {
        let rest = self.unread.split_off(amount);
        std::mem::replace(&mut self.unread, rest)
    }
}

/// The first line of a message and its header lines, in order and as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// Request line or status line.
    pub(crate) start: String,
    /// Name and value of each line; bytes that are not UTF-8 are replaced, see `raw` for them.
    pub(crate) fields: Vec<(String, String)>,
    /// The bytes.
    pub(crate) raw: Vec<u8>,
}

impl Head {
    /// Splits a head into lines.
    pub(crate) fn parse(raw: Vec<u8>) -> Self {
        let text = String::from_utf8_lossy(&raw).into_owned();
        let mut lines = text.split("\r\n").filter(|line| !line.is_empty());
        let start = lines.next().unwrap_or_default().to_owned();
        let fields = lines
            .map(|line| {
                let (name, value) = line.split_once(':').unwrap_or((line, ""));
                (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
            })
            .collect();
        Self { start, fields, raw }
    }

    /// The target of a request, as written.
    pub(crate) fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The values of all lines of this name.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        self.fields
            .iter()
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The value of the first line of this name.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.values(name).first().copied()
    }

    /// The lines whose name an upstream could take for `name`: compared by letters and digits, case ignored.
    pub(crate) fn folding_onto(&self, name: &str) -> Vec<(&str, &str)> {
        let wanted = folded(name);
        self.fields
            .iter()
            .filter(|(field, _)| folded(field) == wanted)
            .map(|(field, value)| (field.as_str(), value.as_str()))
            .collect()
    }
}

/// A header name as CGI, PHP or WSGI may come to see it.
pub(crate) fn folded(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

/// Where `wanted` begins in `bytes`.
pub(crate) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn cut(place: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("the peer closed {place}"))
}

#[test]
fn a_head_keeps_order_spelling_and_repeats() {
    let head = Head::parse(b"GET / HTTP/1.1\r\nX_User.ID: a\r\nx-user-id:  b \r\nHost: h\r\n\r\n".to_vec());
    assert_eq!(head.start, "GET / HTTP/1.1");
    assert_eq!(head.values("X-User-ID"), ["b"]);
    assert_eq!(head.folding_onto("X-User-ID"), [("X_User.ID", "a"), ("x-user-id", "b")]);
}

#[test]
fn a_chunked_body_keeps_its_trailers_in_the_raw_bytes() {
    let (near, far) = UnixStream::pair().unwrap();
    let mut near = Wire::new(Stream::Unix(near)).unwrap();
    let mut far = Wire::new(Stream::Unix(far)).unwrap();
    near.send(b"3;x=y\r\nabc\r\n0\r\nT: v\r\n\r\nrest").unwrap();
    near.shut();
    let (content, raw) = far.read_chunked().unwrap();
    assert_eq!(content, b"abc");
    assert!(find(&raw, b"T: v").is_some());
    assert_eq!(far.read_to_end().unwrap(), b"rest");
}
