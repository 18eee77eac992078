//! A server of HTTP/2 without TLS whose responses go on: it sends back what comes, as a service with calls in both directions
//! does. Its media type is that of the request.
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::{net::TcpListener, runtime::Runtime};

/// What a response that goes on begins with.
pub(crate) const BEGUN: &[u8] = b"begun";
/// What is said all the time: large enough for no library to count it as a flood while it is not read.
pub(crate) const PIECE: &[u8] = &[b'.'; 300];

/// The server; it ends when it is dropped.
pub(crate) struct Http2Echo {
    // Its tasks end with it.
    _runtime: Runtime,
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
}

impl Http2Echo {
    /// Listens on a free loopback port.
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let record = Arc::clone(&seen);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let record = Arc::clone(&record);
                tokio::spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        let (path, headers) = (request.uri().path().to_owned(), request.headers().clone());
                        record.lock().unwrap_or_else(PoisonError::into_inner).push(Seen { path, headers });
                        tokio::spawn(answer(request, respond));
                    }
                });
            }
        });
        Self { _runtime: runtime, address, seen }
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came since it was last asked.
    pub(crate) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// By the last word of the path: `busy` says something all the time, `silent` nothing, `quiet` nothing but its beginning, `broken` breaks off in the middle, and
/// anything else sends back what comes, and ends with a status of gRPC once nothing more does.
async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Option<()> {
    let kind = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let media_type = request.headers().get("content-type").cloned();
    let mut body = request.into_body();
    if kind == "silent" {
        // Until the stream is taken back.
        while body.data().await?.is_ok() {}
        return None;
    }
    let mut head = Response::builder().status(200);
    head = head.header("content-type", media_type.unwrap_or(HeaderValue::from_static("text/event-stream")));
    let mut stream = respond.send_response(head.body(()).ok()?, false).ok()?;
    stream.send_data(Bytes::from_static(BEGUN), false).ok()?;
    match kind.as_str() {
        "busy" => loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            stream.send_data(Bytes::from_static(PIECE), false).ok()?;
        },
        "quiet" => {
            let _ = std::future::poll_fn(|context| stream.poll_reset(context)).await;
            return None;
        }
        "broken" => {
            // Once the client has seen that it has begun.
            body.data().await?.ok()?;
            stream.send_reset(Reason::INTERNAL_ERROR);
            return None;
        }
        _ => {}
    }
    while let Some(part) = body.data().await {
        let part = part.ok()?;
        let _ = body.flow_control().release_capacity(part.len());
        stream.send_data(part, false).ok()?;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers.insert("x-trailer", HeaderValue::from_static("kept"));
    for name in ["x-user-id", "x_user_id", "x-identity-assertion"] {
        trailers.insert(name, HeaderValue::from_static("root"));
    }
    stream.send_trailers(trailers).ok()
}
