//! The first floor: understands. Text comes in, and what is wrong with it comes out with its place, all in one run.
//! Never opens a file or reads the environment itself: the world is reached through [`surroundings::Surroundings`].
//!
//! From text to values: [`yaml`] makes a [`tree`] of positioned nodes, [`expand`] fills in variables, [`field`] and
//! [`mapping`] read values; every problem goes to [`error::Problems`], which [`render`] shows.
pub mod bounds;
pub mod certificate;
pub mod difference;
pub mod error;
pub mod expand;
pub mod field;
pub mod include;
pub mod key_path;
pub mod keys;
pub mod load;
pub mod mapping;
mod parse;
pub mod policy_tests;
pub mod quantity;
pub mod render;
pub mod revocation_entry;
pub mod revocation_list;
pub mod scalar;
pub mod schema;
pub mod secret;
pub mod settings;
pub mod source;
pub mod suggest;
pub mod surroundings;
mod syntax;
pub mod terminal;
pub mod tree;
pub mod yaml;
