//! How commands reach a running instance: where it is, one bounded exchange of HTTP, the token that changes need. It
//! decides nothing about what is asked.
use std::{
    fmt,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    str::FromStr,
    sync::mpsc,
    time::Duration,
};

use clap::Args;

use crate::{
    cli::{
        CommandError,
        config_file::{ConfigFile, ConfigSource},
        input,
    },
    config::{
        bounds::DOCUMENT_BYTES_MAX,
        load::{self, Secrets},
        quantity,
        secret::Secret,
        settings::{Address, Admin},
    },
    edge::{files, preconditions, world::World},
};

/// The socket of an instance that systemd runs, as the unit in `systemd/` has it.
const USUAL_SOCKET: &str = "/run/portcullis/admin.sock";

/// Which instance a command acts on
#[derive(Args, Clone, Debug)]
pub struct InstanceArguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Admin address of the instance, host:port or unix:/path; without it the configuration says where
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<AdminAddress>,
    /// File with the bearer token that changes need over TCP; without it that of the configuration
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Longest time to wait for the answer
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = quantity::parse_duration)]
    timeout: Duration,
}

/// A running instance and what it takes to ask it.
#[derive(Debug)]
pub struct Instance {
    address: AdminAddress,
    token: Option<Secret>,
    timeout: Duration,
}

impl InstanceArguments {
    /// The same for a command that has options of its own for it.
    pub const fn new(
        config: ConfigFile,
        admin: Option<AdminAddress>,
        token_file: Option<PathBuf>,
        timeout: Duration,
    ) -> Self {
        Self { config, admin, token_file, timeout }
    }

    /// The instance that is meant, for a question that changes nothing: either of the configuration's tokens will do.
    ///
    /// # Errors
    /// As for [`Self::find`].
    pub fn find_for_reading(&self) -> Result<Instance, CommandError> {
        self.find_with(|admin| admin.write_token.take().or_else(|| admin.read_token.take()))
    }

    /// The instance that is meant: at `--admin`, else at the private socket of its runtime directory, else where the
    /// configuration says.
    ///
    /// # Errors
    /// Says why it cannot be found.
    pub fn find(&self) -> Result<Instance, CommandError> {
        self.find_with(|admin| admin.write_token.take())
    }

    fn find_with(&self, token_of: impl FnOnce(&mut Admin) -> Option<Secret>) -> Result<Instance, CommandError> {
        let own_token = match &self.token_file {
            Some(path) => Some(Secret::read(path, &World).map_err(|error| {
                CommandError::Failed(format!("cannot read the token in {}: {error}", path.display()))
            })?),
            None => None,
        };
        if let Some(address) = &self.admin {
            return Ok(Instance { address: address.clone(), token: own_token, timeout: self.timeout });
        }
        let secrets = if own_token.is_some() { Secrets::Skip } else { Secrets::Read };
        let mut admin = configured_admin(&self.config, secrets)?;
        let private = preconditions::private_admin_socket().map(|address| AdminAddress::from(&address));
        let there = |address: &AdminAddress| matches!(address, AdminAddress::Unix(path) if path.exists());
        let usual = AdminAddress::Unix(USUAL_SOCKET.into());
        let token = own_token.or_else(|| token_of(&mut admin));
        let address = match (private.filter(there), admin.address.as_ref().map(AdminAddress::from)) {
            (Some(private), _) => private,
            (None, Some(configured)) if there(&configured) || token.is_some() => configured,
            // Of the instance that systemd runs; another one has no business with its configuration's default place.
            (None, _) if there(&usual) && self.config.is_usual() => usual,
            (None, Some(configured)) => configured,
            (None, None) => {
                let what = "the configuration has no admin address, and there is no $RUNTIME_DIRECTORY/admin.sock";
                return Err(CommandError::Failed(format!("{what}: name the address with --admin")));
            }
        };
        Ok(Instance { address, token, timeout: self.timeout })
    }
}

impl Instance {
    /// Asks once.
    ///
    /// # Errors
    /// When nobody answers in time, or what answers does not speak HTTP.
    pub fn ask(&self, question: Question<'_>) -> Result<Answer, CommandError> {
        let question = Question { token: self.token.as_ref(), ..question };
        ask(&self.address, &question, self.timeout)
            .map_err(|error| CommandError::Failed(format!("{} gives no answer: {error}", self.address)))
    }

    /// The same, whose answer may take at least so long.
    #[must_use]
    pub fn patient(self, timeout: Duration) -> Self {
        Self { timeout: self.timeout.max(timeout), ..self }
    }

    /// Where it is.
    pub const fn address(&self) -> &AdminAddress {
        &self.address
    }
}

/// Where a running instance is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// Host and port; the host may be a name.
    Tcp(String),
    /// A unix socket.
    Unix(PathBuf),
}

/// Why a text is no admin address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminAddressError {
    /// Neither `host:port` nor `unix:/path`.
    Malformed,
}

impl fmt::Display for AdminAddressError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => formatter.write_str("expected host:port, [v6]:port or unix:/path"),
        }
    }
}

impl std::error::Error for AdminAddressError {}

impl FromStr for AdminAddress {
    type Err = AdminAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(AdminAddressError::Malformed) } else { Ok(Self::Unix(path.into())) };
        }
        let is_name = |host: &str| {
            !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
        };
        let is_valid = text.parse::<SocketAddr>().is_ok()
            || text.rsplit_once(':').is_some_and(|(host, port)| is_name(host) && port.parse::<u16>().is_ok());
        if is_valid { Ok(Self::Tcp(text.to_owned())) } else { Err(AdminAddressError::Malformed) }
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => formatter.write_str(address),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// The address to ask for an instance that listens at `Address`: the loopback one where it listens everywhere.
impl From<&Address> for AdminAddress {
    fn from(address: &Address) -> Self {
        match address {
            Address::Unix(path) => Self::Unix(path.clone()),
            Address::Tcp(address) => {
                let host = match address.ip() {
                    IpAddr::V4(host) if host.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
                    IpAddr::V6(host) if host.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
                    host @ (IpAddr::V4(_) | IpAddr::V6(_)) => host,
                };
                Self::Tcp(SocketAddr::new(host, address.port()).to_string())
            }
        }
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    /// Method.
    pub method: &'q str,
    /// Path and query.
    pub target: &'q str,
    /// A body in JSON.
    pub body: Option<&'q str>,
    /// Bearer token.
    pub token: Option<&'q Secret>,
    /// Bytes of an answer that are read at most.
    pub answer_bytes_max: usize,
}

impl<'q> Question<'q> {
    /// A short answer is wanted.
    pub const fn get(target: &'q str) -> Self {
        Self { method: "GET", target, body: None, token: None, answer_bytes_max: 64 * 1024 }
    }
}

/// The admin address that a configuration names.
///
/// # Errors
/// When it cannot be read, or names none.
pub fn configured_address(config: &ConfigFile) -> Result<AdminAddress, CommandError> {
    let admin = configured_admin(config, Secrets::Skip)?;
    admin
        .address
        .as_ref()
        .map(AdminAddress::from)
        .ok_or_else(|| CommandError::Failed("the configuration has no admin address".to_owned()))
}

fn configured_admin(config: &ConfigFile, secrets: Secrets) -> Result<Admin, CommandError> {
    let (path, text) = match config.source() {
        ConfigSource::StandardInput => (Path::new("./<stdin>"), input::read(&config.path)?.to_vec()),
        ConfigSource::File(path) => (
            path,
            files::read_file(path, DOCUMENT_BYTES_MAX as u64)
                .map_err(|error| CommandError::BadConfiguration(error.to_string()))?,
        ),
    };
    let (admin, problems) = load::load_admin(path, &text, &World, secrets);
    admin.ok_or_else(|| CommandError::BadConfiguration(problems.render()))
}

/// What an instance answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Body.
    pub body: String,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum AskError {
    /// The connection failed.
    Connection(String),
    /// None came in this time.
    Timeout(Duration),
    /// What listens there does not speak HTTP.
    NotHttp,
    /// More came than is read.
    TooLarge,
}

impl fmt::Display for AskError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(error) => formatter.write_str(error),
            Self::Timeout(timeout) => write!(formatter, "timed out after {}", quantity::duration_text(*timeout)),
            Self::NotHttp => formatter.write_str("what listens there does not speak HTTP"),
            Self::TooLarge => formatter.write_str("the answer is too long to be read"),
        }
    }
}

/// One request on a thread of its own, so that looking up a name is bounded too; the thread ends with the process.
///
/// # Errors
/// See [`AskError`].
pub fn ask(address: &AdminAddress, question: &Question<'_>, timeout: Duration) -> Result<Answer, AskError> {
    let (sender, receiver) = mpsc::channel();
    let (head, bytes_max) = (request(address, question), question.answer_bytes_max);
    let address = address.clone();
    std::thread::spawn(move || {
        // Nobody receives any more once the time is over.
        let _ = sender.send(exchange(&address, &head, bytes_max));
    });
    let raw = receiver
        .recv_timeout(timeout)
        .map_err(|_| AskError::Timeout(timeout))?
        .map_err(|error| AskError::Connection(error.to_string()))?;
    if raw.len() >= bytes_max && !is_complete(&raw) {
        return Err(AskError::TooLarge);
    }
    parse_answer(&raw).ok_or(AskError::NotHttp)
}

fn request(address: &AdminAddress, question: &Question<'_>) -> Vec<u8> {
    let host = match address {
        AdminAddress::Tcp(address) => address.as_str(),
        AdminAddress::Unix(_) => "localhost",
    };
    let mut request = format!(
        "{} {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: portcullis/{}\r\nAccept: */*\r\nConnection: close\r\n",
        question.method,
        question.target,
        env!("CARGO_PKG_VERSION")
    )
    .into_bytes();
    if let Some(token) = question.token {
        request.extend_from_slice(b"Authorization: Bearer ");
        request.extend_from_slice(token.bytes());
        request.extend_from_slice(b"\r\n");
    }
    if let Some(body) = question.body {
        let fields = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        request.extend_from_slice(fields.as_bytes());
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(question.body.unwrap_or_default().as_bytes());
    request
}

fn exchange(address: &AdminAddress, request: &[u8], bytes_max: usize) -> std::io::Result<Vec<u8>> {
    match address {
        AdminAddress::Tcp(address) => converse(TcpStream::connect(address)?, request, bytes_max),
        AdminAddress::Unix(path) => converse(UnixStream::connect(path)?, request, bytes_max),
    }
}

fn converse(mut stream: impl Read + Write, request: &[u8], bytes_max: usize) -> std::io::Result<Vec<u8>> {
    stream.write_all(request)?;
    let mut answer = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    // To its stated end, not to that of the connection: a server may keep that open all the same.
    while !is_complete(&answer) && answer.len() < bytes_max {
        match stream.read(&mut buffer)? {
            0 => break,
            read => answer.extend_from_slice(buffer.get(..read).unwrap_or_default()),
        }
    }
    Ok(answer)
}

fn is_complete(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(answer.get(..end).unwrap_or_default());
    content_length(&head).is_some_and(|length| answer.len() >= (end + 4).saturating_add(length))
}

fn content_length(head: &str) -> Option<usize> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
}

/// Status and body; nothing when this is no answer of HTTP/1.
fn parse_answer(raw: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(raw);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status_line = head.lines().next()?.strip_prefix("HTTP/1.")?;
    let status = status_line.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn an_admin_address_is_host_and_port_or_a_unix_socket() {
        for text in ["127.0.0.1:9400", "[::1]:9400", "localhost:9400", "gw-1.internal:1", "unix:/run/a.sock"] {
            assert_eq!(text.parse::<AdminAddress>().map(|address| address.to_string()), Ok(text.to_owned()));
        }
        for text in
            ["", "9400", ":9400", "localhost", "localhost:", "localhost:70000", "::1:9400", "http://a:1", "unix:"]
        {
            assert_eq!(text.parse::<AdminAddress>(), Err(AdminAddressError::Malformed), "{text}");
        }
    }

    #[test]
    fn an_instance_that_listens_everywhere_is_asked_on_loopback() {
        for (listening, asked) in [
            ("0.0.0.0:9400", "127.0.0.1:9400"),
            ("[::]:9400", "[::1]:9400"),
            ("10.0.0.1:9400", "10.0.0.1:9400"),
            ("127.0.0.1:9400", "127.0.0.1:9400"),
        ] {
            let address = Address::Tcp(listening.parse().unwrap());
            assert_eq!(AdminAddress::from(&address).to_string(), asked);
        }
    }

    /// Serves one connection: reads a request head, says `answer`, and keeps the connection open until the client goes.
    pub(in crate::cli) fn serve(mut stream: impl Read + Write, answer: &str) -> String {
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
            request.push(byte[0]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        let _ = stream.read(&mut byte);
        String::from_utf8(request).unwrap()
    }

    #[test]
    fn what_is_no_http_or_nobody_is_said_so() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = AdminAddress::Tcp(listener.local_addr().unwrap().to_string());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"SSH-2.0-x\r\n").unwrap();
        });
        let error = ask(&address, &Question::get("/readyz"), Duration::from_secs(20)).unwrap_err();
        // The greeting is read, or lost to the reset that an unread request causes.
        assert!(matches!(error, AskError::NotHttp | AskError::Connection(_)), "{error:?}");
        server.join().unwrap();
        let gone = ask(&address, &Question::get("/readyz"), Duration::from_secs(20));
        assert!(matches!(gone, Err(AskError::Connection(_))), "{gone:?}");
    }

    #[test]
    fn an_instance_that_stays_silent_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = AdminAddress::Tcp(listener.local_addr().unwrap().to_string());
        let timeout = Duration::from_millis(20);
        assert_eq!(ask(&address, &Question::get("/readyz"), timeout), Err(AskError::Timeout(timeout)));
    }

    #[test]
    fn a_unix_socket_is_asked_too() {
        let path = std::env::temp_dir().join(format!("portcullis-healthcheck-{}.sock", std::process::id()));
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            serve(listener.accept().unwrap().0, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        });
        let answer = ask(&AdminAddress::Unix(path.clone()), &Question::get("/readyz"), Duration::from_secs(20));
        assert_eq!(answer, Ok(Answer { status: 200, body: "ok".to_owned() }));
        assert!(server.join().unwrap().contains("Host: localhost\r\n"));
        std::fs::remove_file(path).unwrap();
    }
}
