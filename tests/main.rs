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

mod access_log;
mod admin;
mod architecture;
mod assertions;
mod attacks;
mod browsers;
mod certificates;
mod clients;
mod connections;
mod corpora;
mod dashboards;
mod decision_table;
mod decisions;
mod diagnostics;
mod difference;
mod documentation;
mod explain;
mod folding_upstreams;
mod forwarded;
mod framing;
mod fuzzing;
mod grpc;
mod http2;
mod http2_conformance;
mod http2_floods;
mod identity_provider;
mod init;
mod inside;
mod key_sets;
mod lifecycle;
mod limits;
mod outages;
mod paths_and_hosts;
mod peers;
mod policy;
mod policy_tests;
mod providers;
mod proxy_protocol;
mod rate_limits;
mod redirect;
mod refusals;
mod reload;
mod remote_keys;
mod revocation;
mod security_identity_headers;
mod slow_clients;
mod status_page;
mod streams;
mod support;
mod systemd;
mod tls;
mod tokens;
mod upgrade;
mod upstreams;
mod years;
