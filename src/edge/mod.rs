//! Top floor: touches the world. Files, sockets, the clock, the environment and the log are reached from here (and from
//! `cli`) alone. It decides nothing: what is right is asked of the floors below.
#![expect(
    clippy::disallowed_methods,
    reason = "files, clocks and the environment are read on this floor and handed down as values"
)]

pub mod access_log;
pub mod clock;
pub mod files;
pub mod jwks_client;
pub mod metrics;
pub mod systemd;
pub mod upstream;
