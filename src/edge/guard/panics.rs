//! What is said of a panic: where it was, never what it says. The texts of the standard library quote what they fail at,
//! and that may be a token.
use std::panic::PanicHookInfo;

/// From now on every panic of the process is told in the diagnostic log, by its place alone.
pub fn tell_places_only() {
    std::panic::set_hook(Box::new(|panic| log::error!("{}", told(panic))));
}

pub(super) fn told(panic: &PanicHookInfo<'_>) -> String {
    match panic.location() {
        Some(place) => format!("a fault of portcullis: panic at {place}; what was being done there has failed"),
        None => "a fault of portcullis: panic; what was being done there has failed".to_owned(),
    }
}
