//! sslyze, which asks what testssl.sh asks in ways of its own.
use serde_json::Value;

use super::{PathBuf, Runner, Site};
use crate::support::peers::require_program;

#[test]
fn nothing_is_spoken_that_is_weak() {}
