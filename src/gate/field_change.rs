//! What becomes of a header field on its way to the upstream when parts of it stay.
use http::HeaderValue;

/// What becomes of the fields of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldChange {
    /// They stay as they are.
    Unchanged,
    /// None is left.
    Removed,
    /// This one field stands for all.
    Replaced(HeaderValue),
}
