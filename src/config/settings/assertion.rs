//! Settings of assertions: how they are made, and where their keys are.
use std::{path::PathBuf, sync::Arc};

use crate::gate::{
    assertion::AssertionRule,
    assertion_key::{AssertionKey, PublishedKey},
};

/// Longest file of one public key, in bytes.
pub const PEM_BYTES_MAX: usize = 64 * 1024;

/// How assertions are made, and by which keys.
#[derive(Clone, Debug)]
pub struct AssertionSettings {
    /// What they say and how.
    pub rule: AssertionRule,
    /// Where the private key is; nothing for the gateway's own in the state directory.
    pub key_file: Option<AssertionKeyFile>,
    /// Public keys that are published beside: the next one, or those of other hosts.
    pub published: Vec<PublishedKeyFile>,
}

/// A private key in a file.
#[derive(Clone, Debug)]
pub struct AssertionKeyFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it held when the configuration was read; nothing when secrets were not.
    pub key: Option<Arc<AssertionKey>>,
}

/// A public key in a file.
#[derive(Clone, Debug)]
pub struct PublishedKeyFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it held when the configuration was read.
    pub key: PublishedKey,
}
