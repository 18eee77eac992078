//! All integration tests in one binary: the real program is started, real sockets are spoken to. Nothing here is mocked.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::disallowed_methods,
    reason = "a test ends by panicking, reads the clock and writes files"
)]

mod admin;
mod architecture;
mod certificates;
mod connections;
mod corpora;
mod decisions;
mod diagnostics;
mod documentation;
mod framing;
mod identity_provider;
mod init;
mod key_sets;
mod lifecycle;
mod outages;
mod paths_and_hosts;
mod providers;
mod refusals;
mod remote_keys;
mod security_identity_headers;
mod support;
mod systemd;
mod tokens;
