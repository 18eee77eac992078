//! The top floor: touches the world. It decides nothing.
//!
//! Sockets, clocks, files, the environment, randomness and Pingora are met here and nowhere below.
#![expect(clippy::disallowed_methods, reason = "the edge is where clocks, files and the environment are read")]
pub mod access_log;
pub mod admin;
pub mod assertions;
pub mod attempts;
pub mod clock;
pub mod cors;
pub mod creation_mask;
pub mod discovery;
pub mod exchange;
pub mod explain;
pub mod failure;
pub mod file_watch;
pub mod files;
pub mod forwarding;
pub mod framing;
pub mod guard;
pub mod http2;
pub mod installed;
pub mod issuer_keys;
pub mod jwks_client;
mod listening;
pub mod metrics;
pub mod open_files;
pub mod preconditions;
pub mod proxy;
pub mod rate_limits;
pub mod readiness;
pub mod redirect;
pub mod rejections;
pub mod reload;
pub mod report;
pub mod respond;
pub mod revocations;
pub mod server;
mod services;
pub mod signals;
pub mod state_directory;
pub mod stream;
pub mod systemd;
pub mod target;
pub mod task_home;
pub mod tls;
pub mod upgrade;
pub mod upstream;
pub mod world;
