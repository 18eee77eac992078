//! The two servers behind the demonstration: the issuer's key set, and a service that answers with what it was sent.
//!
//! They speak just enough HTTP/1.1 for that, on loopback: no product code stands on them.
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

/// Longest request head and body that are read.
const REQUEST_BYTES_MAX: u64 = 1024 * 1024;
/// Longest wait for a client.
const PATIENCE: Duration = Duration::from_secs(60);

/// A response.
pub(super) struct Answer {
    content_type: &'static str,
    body: String,
}

impl Answer {
    pub(super) const fn json(body: String) -> Self {
        Self { content_type: "application/json", body }
    }

    pub(super) const fn text(body: String) -> Self {
        Self { content_type: "text/plain; charset=utf-8", body }
    }
}

/// Serves in the background: each request's head goes to `answer`.
pub(super) fn serve(listener: TcpListener, answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> io::Result<()> {
    let answer = Arc::new(answer);
    thread::Builder::new().name("demo server".to_owned()).spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            // A connection that cannot be served is closed, which its client notices.
            let _ = thread::Builder::new().spawn(move || converse(&stream, &*answer));
        }
    })?;
    Ok(())
}

fn converse(stream: &TcpStream, answer: &dyn Fn(&str) -> Answer) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut limited = reader.by_ref().take(REQUEST_BYTES_MAX);
        let mut head = String::new();
        while limited.read_line(&mut head)? > 2 {}
        if !head.ends_with("\r\n\r\n") {
            return Ok(());
        }
        let length = skip_body(&head, &mut limited)?;
        let Answer { content_type, body } = answer(head.trim_end());
        let connection = if length.is_some() { "keep-alive" } else { "close" };
        let response = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n{body}",
            body.len()
        );
        let mut writer = stream;
        writer.write_all(response.as_bytes())?;
        if length.is_none() {
            return Ok(());
        }
    }
}

/// Reads past a body of known length; nothing where its end is not known, and the connection has to be closed.
fn skip_body(head: &str, reader: &mut impl Read) -> io::Result<Option<u64>> {
    let field = |name: &str| {
        head.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    };
    if field("transfer-encoding").is_some() {
        return Ok(None);
    }
    let length = field("content-length").map_or(Some(0), |length| length.parse().ok());
    if let Some(length) = length {
        io::copy(&mut reader.take(length), &mut io::sink())?;
    }
    Ok(length)
}
