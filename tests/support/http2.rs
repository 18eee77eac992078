//! A client of HTTP/2, and frames as bytes for what no client would send.
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, client::ResponseFuture, client::SendRequest};
use http::{HeaderMap, response::Parts};
use tokio::{
    net::TcpStream,
    runtime::{Handle, Runtime},
    time::timeout,
};

use super::{
    client::Response,
    waiting::PATIENCE,
    wire::{Address, Head},
};

/// A connection over which requests go one after another.
pub(crate) struct Http2 {
    runtime: Runtime,
    sender: SendRequest<Bytes>,
}

impl Http2 {
    /// With prior knowledge; nothing when the server does not speak it.
    pub(crate) fn connect(address: &Address) -> Option<Self> {
        let Address::Tcp(address) = *address else { panic!("only TCP") };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let sender = runtime.block_on(async move {
            let stream = TcpStream::connect(address).await.ok()?;
            let (sender, connection) = {
                // What nobody reads of one stream is not to stop the others.
                let mut builder = h2::client::Builder::new();
                builder.initial_connection_window_size(8 << 20).initial_window_size(1 << 20);
                builder.handshake(stream).await.ok()?
            };
            tokio::spawn(connection);
            sender.ready().await.ok()
        })?;
        Some(Self { runtime, sender })
    }

    /// One request with fields as written, in order; `None` when the stream or the connection was ended instead.
    pub(crate) fn request(
        &mut self,
        method: &str,
        uri: &str,
        fields: &[(&str, &str)],
        body: Option<&[u8]>,
        trailers: &[(&'static str, &str)],
    ) -> Option<Response> {
        let mut builder = http::Request::builder().method(method).uri(uri).version(http::Version::HTTP_2);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        let request = builder.body(()).unwrap();
        let body = body.map(Bytes::copy_from_slice);
        let sender = self.sender.clone();
        self.runtime.block_on(async move {
            let mut sender = sender.ready().await.ok()?;
            let is_whole = body.is_none() && trailers.is_empty();
            let (response, mut stream) = sender.send_request(request, is_whole).ok()?;
            if let Some(body) = body {
                // Who is refused before all of the request came may be told not to send the rest; the answer counts.
                let _ = stream.send_data(body, trailers.is_empty());
            }
            if !trailers.is_empty() {
                let fields = trailers.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap()));
                stream.send_trailers(fields.collect()).ok()?;
            }
            let response = response.await.ok()?;
            let (parts, mut reader) = response.into_parts();
            let mut content = Vec::new();
            while let Some(part) = reader.data().await {
                let part = part.ok()?;
                let _ = reader.flow_control().release_capacity(part.len());
                content.extend_from_slice(&part);
            }
            let mut text = format!("HTTP/1.1 {}\r\n", parts.status.as_u16());
            for (name, value) in &parts.headers {
                text.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
            }
            let head = Head::parse(format!("{text}\r\n").into_bytes());
            Some(Response { status: parts.status.as_u16(), head, body: content, interim: Vec::new() })
        })
    }

    /// A request that goes on beside others: a POST whose body is not at its end.
    pub(crate) fn open(&self, uri: &str, fields: &[(&str, &str)]) -> Http2Stream {
        let mut builder = http::Request::builder().method("POST").uri(uri).version(http::Version::HTTP_2);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        let request = builder.body(()).unwrap();
        let mut sender = self.sender.clone();
        let (response, request) = self.runtime.block_on(async move {
            timeout(PATIENCE, std::future::poll_fn(|context| sender.poll_ready(context))).await.unwrap().unwrap();
            sender.send_request(request, false).unwrap()
        });
        Http2Stream {
            runtime: self.runtime.handle().clone(),
            request,
            response: Some(response),
            reader: None,
            read: Vec::new(),
        }
    }

    /// Whether the server has said that the connection is to end: nothing is to be asked on it any more (RFC 9113 §6.8).
    pub(crate) fn is_told_to_end(&mut self) -> bool {
        let sender = self.sender.clone();
        self.runtime.block_on(async move { sender.ready().await.is_err_and(|error| error.is_go_away()) })
    }

    /// One GET without more.
    pub(crate) fn get(&mut self, uri: &str, fields: &[(&str, &str)]) -> Option<Response> {
        self.request("GET", uri, fields, None, &[])
    }
}

/// A request whose body goes on, and its response.
pub(crate) struct Http2Stream {
    runtime: Handle,
    request: SendStream<Bytes>,
    response: Option<ResponseFuture>,
    reader: Option<RecvStream>,
    read: Vec<u8>,
}

/// How a response ended.
#[derive(Debug)]
pub(crate) enum StreamEnding {
    /// With trailers.
    Trailers(HeaderMap),
    /// Without any.
    Plain,
    /// It was taken back.
    Reset(Option<Reason>),
}

impl Http2Stream {
    /// The head of the response.
    pub(crate) fn head(&mut self) -> Parts {
        let response = self.response.take().expect("asked for once");
        let response = self.runtime.block_on(async { timeout(PATIENCE, response).await }).expect("a head in time");
        let (parts, reader) = response.expect("a head").into_parts();
        self.reader = Some(reader);
        parts
    }

    /// Sends more of the body; says whether the stream still takes it.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        let request = &mut self.request;
        let bytes = Bytes::copy_from_slice(bytes);
        // The connection's task has to be awake for it.
        self.runtime.block_on(async { request.send_data(bytes, false) }).is_ok()
    }

    /// Says that the request is whole.
    pub(crate) fn end_request(&mut self) {
        let request = &mut self.request;
        self.runtime.block_on(async { request.send_data(Bytes::new(), true) }).unwrap();
    }

    /// Says that the request is whole, and reads to the end.
    pub(crate) fn finish(mut self) -> (Vec<u8>, StreamEnding) {
        self.end_request();
        self.read_to_the_end()
    }

    /// Takes the request back, at its end or before.
    pub(crate) fn take_back(&mut self, is_whole: bool) {
        let request = &mut self.request;
        self.runtime.block_on(async {
            if is_whole {
                request.send_data(Bytes::new(), true).unwrap();
            }
            request.send_reset(Reason::CANCEL);
        });
    }

    /// Whether it goes on: nothing ended it in what has come so far.
    pub(crate) fn is_open(&mut self) -> bool {
        let reader = self.reader.as_mut().expect("its head was read");
        let waited = self.runtime.block_on(async { timeout(Duration::from_millis(20), reader.data()).await });
        !reader.is_end_stream() && matches!(waited, Err(_) | Ok(Some(Ok(_))))
    }

    /// Reads so many bytes of the response.
    pub(crate) fn read(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            match self.next() {
                Some(Ok(part)) => self.read.extend_from_slice(&part),
                other => panic!("{other:?} after {:?}", self.read),
            }
        }
        self.read.drain(..count).collect()
    }

    /// Reads to the end: what came, and how it ended.
    pub(crate) fn read_to_the_end(mut self) -> (Vec<u8>, StreamEnding) {
        let mut all = std::mem::take(&mut self.read);
        loop {
            match self.next() {
                Some(Ok(part)) => all.extend_from_slice(&part),
                Some(Err(error)) => return (all, StreamEnding::Reset(error.reason())),
                None => break,
            }
        }
        let reader = self.reader.as_mut().expect("a response");
        let trailers =
            self.runtime.block_on(async { timeout(PATIENCE, reader.trailers()).await }).expect("an end in time");
        match trailers {
            Ok(Some(trailers)) => (all, StreamEnding::Trailers(trailers)),
            Ok(None) => (all, StreamEnding::Plain),
            Err(error) => (all, StreamEnding::Reset(error.reason())),
        }
    }

    fn next(&mut self) -> Option<Result<Bytes, h2::Error>> {
        let reader = self.reader.as_mut().expect("its head was read");
        let part = self.runtime.block_on(async { timeout(PATIENCE, reader.data()).await }).expect("more in time");
        if let Some(Ok(part)) = &part {
            let _ = reader.flow_control().release_capacity(part.len());
        }
        part
    }
}

/// What every connection begins with: the preface and settings without content.
pub(crate) fn beginning() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    bytes
}

/// One frame (RFC 9113 §4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields as they are, without compression (RFC 7541 §6.2.2).
pub(crate) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            assert!(text.len() < 127);
            bytes.push(u8::try_from(text.len()).unwrap());
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// A request's head in one frame: `:method GET`, `:scheme`, `:path` and `:authority`, and what follows.
pub(crate) fn head(stream: u32, path: &str, more: &[(&str, &str)], ends: bool) -> Vec<u8> {
    let mut all = vec![(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "api.test")];
    all.extend(more);
    frame(1, if ends { 5 } else { 4 }, stream, &fields(&all))
}

/// The frames that bytes are: kind, flags, stream and payload.
pub(crate) fn frames(mut bytes: &[u8]) -> Vec<(u8, u8, u32, Vec<u8>)> {
    let mut found = Vec::new();
    while bytes.len() >= 9 {
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        let stream = u32::from_be_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]);
        if bytes.len() < 9 + length {
            break;
        }
        found.push((bytes[3], bytes[4], stream, bytes[9..9 + length].to_vec()));
        bytes = &bytes[9 + length..];
    }
    found
}
