//! The first floor: understands. Text goes in, a `Config` or every error at once comes out.
pub mod quantity;
pub mod settings;
pub mod terminal;
