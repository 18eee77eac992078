//! portcullis: the passport is checked once, at the entrance.
pub mod cli;
pub mod config;
pub mod edge;
pub mod gate;
pub mod state;
