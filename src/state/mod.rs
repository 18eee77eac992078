//! The second floor: remembers. Keys, tokens that were verified, and when keys may be fetched again.
//!
//! Time comes in as an argument and nothing here does I/O, so that every moment can be tested.
pub mod claims_cache;
pub mod gatekeeper;
pub mod key_slot;
pub mod refresh;
pub mod revocation_slot;
