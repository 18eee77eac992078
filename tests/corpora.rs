//! Cases that other projects wrote, judged by the real decision code with each case's own clock. The cases are read from a folder
//! named by `PORTCULLIS_CORPORA`; a run without them says so. Where the contract is stricter than a peer, it says so by name.
mod attacks;
mod case;
mod gateways;
mod header_names;
mod key_sets;
mod kong_behaviour;
mod libraries;
mod paths;
mod probes;
mod requests_envoy;
mod requests_istio;
mod requests_nginx;
mod smuggling;
pub(crate) mod spoofed;
mod tally;
mod trial;
mod vector;
mod wycheproof;
