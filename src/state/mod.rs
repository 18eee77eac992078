//! The second floor: remembers. Keys, tokens that were verified, when keys may be fetched again,
//! how much clients have taken, and what was counted lately.
//!
//! Time comes in as an argument and nothing here does I/O, so that every moment can be tested.
pub mod address_group;
pub mod assertion_cache;
pub mod claims_cache;
pub mod connections;
pub mod failed_authentications;
pub mod gatekeeper;
pub mod key_slot;
pub mod rate_limiter;
pub mod rate_table;
pub mod refresh;
pub mod rejection_counts;
pub mod retry_budget;
pub mod revocation_slot;
pub mod server_health;
pub mod stream_watch;
pub mod traffic;
