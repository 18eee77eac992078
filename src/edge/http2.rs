//! Bounds of HTTP/2 connections. They begin with Pingora's own, which a configuration made from nothing would lose.
use pingora_core::protocols::http::v2::server::{H2Options, default_h2_options};

/// Fields that a head can have at most, as in HTTP/1.1.
const FIELDS_MAX: u32 = 256;
/// What a field counts besides its name and value (RFC 9113 §6.5.2).
const FIELD_OVERHEAD: u32 = 32;
/// Bytes of requests that may be on their way before anybody reads them: of one stream, and of all together.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Bounds where heads have target and fields of at most so many bytes. What is a little more comes to the gate, which says
/// so; what is much more is not gathered, and neither is what `CONTINUATION` frames would add without end.
pub fn options(uri_bytes: usize, header_bytes: usize) -> H2Options {
    let bytes = u32::try_from(uri_bytes.saturating_add(header_bytes)).unwrap_or(u32::MAX);
    let mut options = default_h2_options();
    options.max_header_list_size(bytes.saturating_add(FIELDS_MAX * FIELD_OVERHEAD));
    options.initial_window_size(STREAM_WINDOW);
    options.initial_connection_window_size(CONNECTION_WINDOW);
    options
}
