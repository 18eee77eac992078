//! How much one document may hold, aliases included, so that a small file cannot fill the memory. Counts; keeps nothing.
use crate::config::tree::{Node, Value};

/// The longest document that is read, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;
/// The longest list that is read, in bytes: a quarter of a million entries of the usual length.
pub const LIST_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The most keys and values a document may have, with what its aliases stand for.
pub const NODES_MAX: usize = 100_000;
/// The most text all keys and values may have together, with what aliases stand for, in bytes.
pub const TEXT_BYTES_MAX: usize = 4 * DOCUMENT_BYTES_MAX;
/// How deep lists and mappings may be nested, with what aliases stand for.
pub const DEPTH_MAX: usize = 64;

/// How much a text may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Its own bytes.
    pub bytes: usize,
    /// Keys and values, with what aliases stand for.
    pub nodes: usize,
    /// The text of all keys and values, with what aliases stand for, in bytes.
    pub text_bytes: usize,
}

impl Bounds {
    /// Of a configuration.
    pub const DOCUMENT: Self = Self { bytes: DOCUMENT_BYTES_MAX, nodes: NODES_MAX, text_bytes: TEXT_BYTES_MAX };
    /// Of a long list that a configuration names.
    pub const LIST: Self = Self { bytes: LIST_BYTES_MAX, nodes: 5_000_000, text_bytes: LIST_BYTES_MAX };
}

/// How much a tree holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::config) struct Extent {
    /// Keys and values.
    pub(in crate::config) nodes: usize,
    /// Their text.
    pub(in crate::config) bytes: usize,
    /// Levels of lists and mappings; 0 for a scalar.
    pub(in crate::config) depth: usize,
}

impl Extent {
    /// A single value.
    pub(in crate::config) fn scalar(bytes: usize) -> Self {
        Self { nodes: 1, bytes, depth: 0 }
    }

    /// A list or mapping that is about to be filled.
    pub(in crate::config) fn collection() -> Self {
        Self { nodes: 1, bytes: 0, depth: 1 }
    }

    /// All that is in a tree. The tree is within the bounds, so that its depth bounds the recursion.
    pub(in crate::config) fn of(node: &Node) -> Self {
        match &node.value {
            Value::Scalar(scalar) => Self::scalar(scalar.written().len()),
            Value::Sequence(items) => items.iter().fold(Self::collection(), |sum, item| sum.around(Self::of(item))),
            Value::Mapping(entries) => entries.iter().fold(Self::collection(), |sum, entry| {
                sum.plus(Self::scalar(entry.key.text.len())).around(Self::of(&entry.value))
            }),
        }
    }

    /// With `other` beside it.
    fn plus(self, other: Self) -> Self {
        Self {
            nodes: self.nodes.saturating_add(other.nodes),
            bytes: self.bytes.saturating_add(other.bytes),
            depth: self.depth.max(other.depth),
        }
    }

    /// With `child` inside it.
    fn around(self, child: Self) -> Self {
        self.plus(Self { depth: child.depth.saturating_add(1), ..child })
    }
}

/// What one document has used up.
#[derive(Debug)]
pub(in crate::config) struct Budget {
    used: Extent,
    bounds: Bounds,
}

impl Budget {
    /// Nothing of what is allowed.
    pub(in crate::config) fn within(bounds: Bounds) -> Self {
        Self { used: Extent::default(), bounds }
    }

    /// Counts what is about to be added below `depth` levels.
    ///
    /// # Errors
    /// Says which bound it would break.
    pub(in crate::config) fn charge(&mut self, depth: usize, more: Extent) -> Result<(), String> {
        self.used = self.used.plus(Extent { depth: depth.saturating_add(more.depth), ..more });
        if self.used.depth > DEPTH_MAX {
            Err(too_deep())
        } else if self.used.nodes > self.bounds.nodes {
            let nodes_max = self.bounds.nodes;
            Err(format!("too much: at most {nodes_max} keys and values, aliases included"))
        } else if self.used.bytes > self.bounds.text_bytes {
            let bytes_max = self.bounds.text_bytes;
            Err(format!("too much text: at most {bytes_max} bytes, aliases included"))
        } else {
            Ok(())
        }
    }
}

/// What is said about more than [`DEPTH_MAX`] levels.
pub(in crate::config) fn too_deep() -> String {
    format!("nested too deeply: at most {DEPTH_MAX} levels, aliases included")
}
