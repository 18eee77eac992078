//! What a connection goes through before its first request: TLS, and which version of HTTP it speaks. The time of a first
//! head is all that it has for it.
use std::{io, sync::Arc};

use pingora_core::protocols::{ALPN, Ssl as _, Stream, l4::stream::Stream as Socket};
use tokio::io::AsyncReadExt as _;

use crate::edge::{guard::frames::PREFACE, tls::Terminator};

/// How connections of one listener begin.
#[derive(Clone, Debug)]
pub struct Entrance {
    /// Its TLS; nothing where requests come unencrypted.
    pub tls: Option<Arc<Terminator>>,
    /// Whether it speaks HTTP/2.
    pub http2: bool,
    /// Whether its connections say first whose they are.
    pub proxy_protocol: bool,
}

/// A connection that is ready for its first request.
pub(super) struct Entered {
    pub(super) stream: Stream,
    pub(super) is_http2: bool,
}

impl Entrance {
    /// Lets a connection in.
    ///
    /// # Errors
    /// Why it cannot be.
    pub(super) async fn enter(&self, stream: Stream) -> Result<Entered, String> {
        // What listeners accept is always a socket.
        let mut socket: Box<Socket> =
            stream.into_any().downcast().map_err(|_| "a stream that is no socket".to_owned())?;
        match &self.tls {
            Some(tls) => {
                let stream = tls.accept(*socket).await.map_err(|error| error.to_string())?;
                let is_http2 = matches!(stream.selected_alpn_proto(), Some(ALPN::H2));
                Ok(Entered { stream: Box::new(stream), is_http2 })
            }
            None => {
                let is_http2 =
                    self.http2 && begins_with_preface(&mut socket).await.map_err(|error| error.to_string())?;
                Ok(Entered { stream: socket, is_http2 })
            }
        }
    }
}

/// Whether the client knows beforehand that HTTP/2 is spoken (RFC 9113 §3.3). Nothing is taken from the stream. No longer
/// than the bytes are those of the preface is more waited for: a request can be shorter.
async fn begins_with_preface(socket: &mut Socket) -> io::Result<bool> {
    let mut read = Vec::with_capacity(PREFACE.len());
    while PREFACE.starts_with(&read) && read.len() < PREFACE.len() {
        let mut rest = [0; PREFACE.len()];
        let wanted = rest.get_mut(read.len()..).unwrap_or_default();
        let count = socket.read(wanted).await?;
        if count == 0 {
            break;
        }
        read.extend_from_slice(wanted.get(..count).unwrap_or_default());
    }
    socket.rewind(&read);
    Ok(read == PREFACE)
}
