//! What the integration tests stand on: the real binary, byte-exact sockets, keys and tokens. It never decides what is right: tests do.
#![allow(dead_code, reason = "support is written for all test files, also for those that come later")]

pub(crate) mod attack;
pub(crate) mod bare_pingora;
pub(crate) mod browser;
pub(crate) mod certificates;
pub(crate) mod client;
pub(crate) mod corpora;
pub(crate) mod fixture;
pub(crate) mod folder;
pub(crate) mod gateway;
pub(crate) mod http2;
pub(crate) mod http2_echo;
pub(crate) mod http2_server;
pub(crate) mod jwks_server;
pub(crate) mod keys;
pub(crate) mod machine;
pub(crate) mod minted;
pub(crate) mod peers;
pub(crate) mod problem;
pub(crate) mod process;
pub(crate) mod reported;
pub(crate) mod ruleset;
pub(crate) mod server;
pub(crate) mod shared;
pub(crate) mod table;
pub(crate) mod tls;
pub(crate) mod token;
pub(crate) mod unsteady;
pub(crate) mod upstream;
pub(crate) mod waiting;
pub(crate) mod wire;
