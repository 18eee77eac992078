//! The ground floor: decides who may pass. It never touches the world.
//!
//! What comes in are values - a borrowed request, a rule set, keys, the time - and what goes out is a
//! [`decide::Decision`] or a [`rejection::Refusal`]. Nothing here does I/O, reads a clock, takes a lock, logs,
//! waits or draws a random number, so every rule can be tested with exact inputs.
//!
//! One chain of types, each arrow one function:
//!
//! ```text
//! &str -token::Segments-> UnverifiedToken -signature::verify-> VerifiedToken -claims::Facts::identify-> Identity
//! ```
//!
//! `VerifiedToken` and `Identity` have private fields and one maker each: the compiler proves that nothing skips a
//! check.
pub mod account;
pub mod algorithm;
pub mod assertion;
pub mod assertion_key;
pub mod certificates;
pub mod claims;
pub mod condition;
pub mod cookies;
pub mod cors;
pub mod cross_site;
pub mod decide;
pub mod extraction;
pub mod field_change;
pub mod firewall;
pub mod grpc;
pub mod header_value;
pub mod host;
pub mod issuer;
pub mod json;
mod key_material;
pub mod keys;
pub mod known_headers;
pub mod network;
pub mod path;
pub mod policy;
pub mod provenance;
pub mod proxy_protocol;
pub mod rate_limit;
pub mod readings;
pub mod rejection;
pub mod request;
pub mod resource;
pub mod revocation;
pub mod rivals;
pub mod route;
pub mod route_table;
pub mod signature;
pub mod sources;
pub mod time;
pub mod token;
pub mod trace;
pub mod web_origin;
pub mod websocket_protocol;
pub mod witness;
