//! A client that sends exactly the bytes it is given and reads exactly one response. It follows, repairs and hides nothing.
use std::{
    io,
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{
    waiting::PATIENCE,
    wire::{Address, Head, Wire},
};

/// The `Host` of a request that names none itself.
pub(crate) const HOST: &str = "api.test";

/// A response.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    /// Status code.
    pub(crate) status: u16,
    /// Status line and header lines.
    pub(crate) head: Head,
    /// The body's content.
    pub(crate) body: Vec<u8>,
    /// Statuses of the interim responses (1xx) before it.
    pub(crate) interim: Vec<u16>,
}

impl Response {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }

    /// The value of the first header line of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.value(name)
    }
}

/// A connection, reused as long as both sides keep it.
pub(crate) struct Client {
    wire: Wire,
}

impl Client {
    /// Connects.
    pub(crate) fn connect(address: &Address) -> Self {
        Self { wire: Wire::connect(address).unwrap_or_else(|error| panic!("{address}: {error}")) }
    }

    /// Connects from this address of the machine, which must be one of loopback.
    pub(crate) fn connect_from(source: IpAddr, address: &Address) -> Self {
        Self { wire: Wire::connect_from(source, address).unwrap_or_else(|error| panic!("{address}: {error}")) }
    }

    /// Sends one byte after the other with a pause before each until the peer closes, and gives all that came; fails the test
    /// when it does not close.
    pub(crate) fn trickle(&mut self, bytes: &[u8], pause: Duration) -> Vec<u8> {
        let begun = Instant::now();
        for byte in bytes.iter().cycle().take_while(|_| begun.elapsed() < PATIENCE) {
            let (arrived, is_closed) = self.wire.read_for(pause);
            if is_closed {
                return arrived;
            }
            self.send([*byte]);
        }
        panic!("the peer keeps the connection open");
    }

    /// Sends bytes as they are. That the peer has closed meanwhile shows when the response is read.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.wire.send(bytes.as_ref());
    }

    /// Reads the response to a request of this method, however it was sent.
    ///
    /// # Errors
    /// When the peer closes before it is whole, or is silent for too long.
    pub(crate) fn try_read(&mut self, method: &str) -> io::Result<Response> {
        let mut interim = Vec::new();
        loop {
            let raw = self.wire.read_head()?.ok_or_else(|| io::Error::other("closed without a response"))?;
            let head = Head::parse(raw);
            let status: u16 = head
                .start
                .split(' ')
                .nth(1)
                .and_then(|code| code.parse().ok())
                .ok_or_else(|| io::Error::other(format!("status line {:?}", head.start)))?;
            if (100..200).contains(&status) && status != 101 {
                interim.push(status);
                continue;
            }
            let body = if method == "HEAD" || matches!(status, 101 | 204 | 304) {
                Vec::new()
            } else if head.value("content-length").is_some() || head.value("transfer-encoding").is_some() {
                self.wire.read_body(&head)?.0
            } else {
                self.wire.read_to_end()?
            };
            return Ok(Response { status, head, body, interim });
        }
    }

    /// Reads the response to a request of this method; fails the test when none comes.
    pub(crate) fn read(&mut self, method: &str) -> Response {
        self.try_read(method).unwrap_or_else(|error| panic!("no response: {error}"))
    }

    /// Sends a request without body and reads the response. `Host` is [`HOST`] unless it is among the headers.
    pub(crate) fn request(&mut self, method: &str, target: &str, headers: &[(&str, &str)]) -> Response {
        self.send(request_bytes(method, target, headers));
        self.read(method)
    }

    /// Sends GET.
    pub(crate) fn get(&mut self, target: &str, headers: &[(&str, &str)]) -> Response {
        self.request("GET", target, headers)
    }

    /// All that still comes until the peer closes; fails the test when it does not close.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        self.wire.read_to_end().unwrap_or_else(|error| panic!("the peer keeps the connection open: {error}"))
    }
}

/// A request without body.
pub(crate) fn request_bytes(method: &str, target: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        text.push_str(&format!("Host: {HOST}\r\n"));
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// One GET on a connection of its own.
pub(crate) fn get(address: &Address, target: &str, headers: &[(&str, &str)]) -> Response {
    Client::connect(address).get(target, headers)
}

/// One raw exchange on a connection of its own: the first response, if one came whole.
pub(crate) fn exchange(address: &Address, bytes: impl AsRef<[u8]>) -> io::Result<Response> {
    let mut client = Client::connect(address);
    client.send(bytes);
    client.try_read("GET")
}

#[cfg(test)]
mod tests {
    use super::super::upstream::{Answer, Upstream};
    use super::*;

    #[test]
    fn client_and_upstream_agree_on_every_byte_and_reuse_the_connection() {
        let upstream = Upstream::start();
        let mut client = Client::connect(upstream.address());
        let response = client.get("/a%2Fb?c", &[("X_Odd", "1"), ("x-odd", "2")]);
        assert_eq!(response.status, 200);
        assert_eq!(response.json()["headers"], serde_json::json!([["Host", HOST], ["X_Odd", "1"], ["x-odd", "2"]]));
        assert_eq!(client.request("HEAD", "/", &[]).body, b"");
        client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-T: 1\r\n\r\n");
        assert_eq!(client.read("POST").json()["body"], "hi");
        let seen = upstream.take();
        assert_eq!(seen[0].target(), "/a%2Fb?c");
        assert!(seen[2].contains("X-T: 1") && !seen[2].contains("X-U: 1"));
        assert_eq!(upstream.connections(), 1);
        assert!(upstream.requests().is_empty());
    }

    #[test]
    fn an_upstream_can_close_in_the_middle_of_a_response() {
        let upstream = Upstream::start();
        upstream.set_answer(Answer::BytesThenClose(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf".to_vec()));
        assert!(exchange(upstream.address(), request_bytes("GET", "/", &[])).is_err());
        upstream.set_answer(Answer::CloseAtOnce);
        assert!(exchange(upstream.address(), request_bytes("GET", "/", &[])).is_err());
    }
}
