//! `portcullis healthcheck`: asks the running instance whether it is ready, for container health checks and people.
//! It changes nothing and never waits longer than it was told to.
use std::{
    fmt,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    str::FromStr,
    sync::mpsc,
    time::Duration,
};

use clap::Args;

use crate::{
    cli::{CommandError, ExitStatus, config_file::ConfigFile},
    config::{load::Secrets, quantity, settings::Address, terminal},
};

const EXAMPLES: &str = "\
Examples:
  portcullis healthcheck                       the admin address of the config
  portcullis healthcheck --admin 127.0.0.1:9400
  portcullis healthcheck --admin unix:/run/portcullis/admin.sock --verbose

Ready is what `GET /readyz` answers with 200: listeners are bound, every
issuer was tried once, and one of them (and each that is required) has keys.";

/// Bytes of an answer that are read at most.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Asks the running instance whether it is ready: exit code 0 when it is, 1 when not or when nobody answers
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct HealthcheckArguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Admin address of the instance, host:port or unix:/path; without it the configuration says where
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<AdminAddress>,
    /// Longest time to wait for the answer
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = quantity::parse_duration)]
    timeout: Duration,
    /// Also print what readiness is made of
    #[arg(long)]
    verbose: bool,
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

/// Asks, and writes what was said.
///
/// # Errors
/// [`CommandError::Failed`] when nobody answers in time or what answers does not speak HTTP.
pub fn run(arguments: &HealthcheckArguments, output: &mut dyn Write) -> Result<ExitStatus, CommandError> {
    let address = match &arguments.admin {
        Some(address) => address.clone(),
        None => configured_address(&arguments.config)?,
    };
    let target = if arguments.verbose { "/readyz?verbose" } else { "/readyz" };
    let answer = ask(&address, target, arguments.timeout)
        .map_err(|error| CommandError::Failed(format!("{address} gives no answer: {error}")))?;
    // What answers may be anything: it must not steer the terminal.
    for line in answer.body.lines() {
        writeln!(output, "{}", terminal::printable(line))?;
    }
    match answer.status {
        200 => Ok(ExitStatus::Ok),
        status => Err(CommandError::Failed(format!("{address} is not ready: it answered with {status}"))),
    }
}

fn configured_address(config: &ConfigFile) -> Result<AdminAddress, CommandError> {
    let loaded = config.load(Secrets::Skip)?;
    let Some(config) = loaded.config else {
        return Err(CommandError::BadConfiguration(loaded.problems.render()));
    };
    let address = config.startup.admin.address.as_ref();
    address
        .map(AdminAddress::from)
        .ok_or_else(|| CommandError::Failed("the configuration has no admin address".to_owned()))
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    body: String,
}

#[derive(Debug, PartialEq, Eq)]
enum AskError {
    Connection(String),
    Timeout(Duration),
    NotHttp,
}

impl fmt::Display for AskError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(error) => formatter.write_str(error),
            Self::Timeout(timeout) => write!(formatter, "timed out after {}", quantity::duration_text(*timeout)),
            Self::NotHttp => formatter.write_str("what listens there does not speak HTTP"),
        }
    }
}

/// One request on a thread of its own, so that looking up a name is bounded too; the thread ends with the process.
fn ask(address: &AdminAddress, target: &str, timeout: Duration) -> Result<Answer, AskError> {
    let (sender, receiver) = mpsc::channel();
    let (address, target) = (address.clone(), target.to_owned());
    std::thread::spawn(move || {
        // Nobody receives any more once the time is over.
        let _ = sender.send(exchange(&address, &target));
    });
    let raw = receiver
        .recv_timeout(timeout)
        .map_err(|_| AskError::Timeout(timeout))?
        .map_err(|error| AskError::Connection(error.to_string()))?;
    parse_answer(&raw).ok_or(AskError::NotHttp)
}

fn exchange(address: &AdminAddress, target: &str) -> std::io::Result<Vec<u8>> {
    match address {
        AdminAddress::Tcp(address) => converse(TcpStream::connect(address)?, address, target),
        AdminAddress::Unix(path) => converse(UnixStream::connect(path)?, "localhost", target),
    }
}

fn converse(mut stream: impl Read + Write, host: &str, target: &str) -> std::io::Result<Vec<u8>> {
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: portcullis-healthcheck/{}\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    // To its stated end, not to that of the connection: a server may keep that open all the same.
    while !is_complete(&answer) && (answer.len() as u64) < ANSWER_BYTES_MAX {
        match stream.read(&mut buffer)? {
            0 => break,
            read => answer.extend_from_slice(buffer.get(..read).unwrap_or_default()),
        }
    }
    Ok(answer)
}

fn is_complete(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, _)) = text.split_once("\r\n\r\n") else { return false };
    let length = content_length(head);
    let body_starts = head.len() + 4;
    length.is_some_and(|length| answer.len() >= body_starts.saturating_add(length))
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
mod tests {
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
    fn serve(mut stream: impl Read + Write, answer: &str) -> String {
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
            request.push(byte[0]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        let _ = stream.read(&mut byte);
        String::from_utf8(request).unwrap()
    }

    fn check(answer: &'static str, expected: Result<(ExitStatus, &str), &str>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || serve(listener.accept().unwrap().0, answer));
        let arguments = HealthcheckArguments {
            config: ConfigFile { path: "-".into() },
            admin: Some(address.parse().unwrap()),
            timeout: Duration::from_secs(20),
            verbose: true,
        };
        let mut output = Vec::new();
        let result = run(&arguments, &mut output).map_err(|error| error.to_string());
        let output = String::from_utf8(output).unwrap();
        match expected {
            Ok((status, text)) => assert_eq!((result, output.as_str()), (Ok(status), text)),
            Err(part) => assert!(result.as_ref().is_err_and(|error| error.contains(part)), "{result:?} {output}"),
        }
        server.join().unwrap()
    }

    #[test]
    fn what_the_instance_says_is_printed_and_decides_the_exit_code() {
        let request = check("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nready\n", Ok((ExitStatus::Ok, "ready\n")));
        assert!(request.starts_with("GET /readyz?verbose HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
        check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\na\x1b[1m", Ok((ExitStatus::Ok, "a\\u{1b}[1m\n")));
        check(
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            Err("is not ready: it answered with 503"),
        );
        check("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Err("answered with 404"));
    }

    #[test]
    fn what_is_no_http_or_nobody_is_said_so() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = AdminAddress::Tcp(listener.local_addr().unwrap().to_string());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"SSH-2.0-x\r\n").unwrap();
        });
        let error = ask(&address, "/readyz", Duration::from_secs(20)).unwrap_err();
        // The greeting is read, or lost to the reset that an unread request causes.
        assert!(matches!(error, AskError::NotHttp | AskError::Connection(_)), "{error:?}");
        server.join().unwrap();
        let gone = ask(&address, "/readyz", Duration::from_secs(20));
        assert!(matches!(gone, Err(AskError::Connection(_))), "{gone:?}");
    }

    #[test]
    fn an_instance_that_stays_silent_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = AdminAddress::Tcp(listener.local_addr().unwrap().to_string());
        let timeout = Duration::from_millis(20);
        assert_eq!(ask(&address, "/readyz", timeout), Err(AskError::Timeout(timeout)));
    }

    #[test]
    fn a_unix_socket_is_asked_too() {
        let path = std::env::temp_dir().join(format!("portcullis-healthcheck-{}.sock", std::process::id()));
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            serve(listener.accept().unwrap().0, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        });
        let answer = ask(&AdminAddress::Unix(path.clone()), "/readyz", Duration::from_secs(20));
        assert_eq!(answer, Ok(Answer { status: 200, body: "ok".to_owned() }));
        assert!(server.join().unwrap().contains("Host: localhost\r\n"));
        std::fs::remove_file(path).unwrap();
    }
}
