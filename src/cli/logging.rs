//! The diagnostic log: to standard error, at the level of the configuration or of `RUST_LOG`.
//!
//! It never lets a library tell what a client sent: Pingora's finer messages hold header fields, and with them tokens.
use std::fmt;

use log::{Level, LevelFilter, Log, Metadata, Record};

/// Libraries whose messages below warnings may hold what clients sent.
const TALKATIVE: &[&str] = &["pingora", "h2", "hyper", "ureq", "rustls"];

struct Discreet {
    logger: env_logger::Logger,
}

impl fmt::Debug for Discreet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Discreet")
    }
}

impl Log for Discreet {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let is_talkative = TALKATIVE.iter().any(|name| metadata.target().starts_with(name));
        (!is_talkative || metadata.level() <= Level::Warn) && self.logger.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.logger.log(record);
        }
    }

    fn flush(&self) {
        self.logger.flush();
    }
}

/// Starts the log. A second call changes nothing.
pub fn start(level: LevelFilter) {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(level);
    // Failures of single requests are in the access log, once and without the client's text.
    builder.filter_module("pingora_proxy", LevelFilter::Off);
    builder.filter_module("pingora_core", LevelFilter::Error.min(level));
    builder.parse_env("RUST_LOG");
    let logger = builder.build();
    let most = logger.filter();
    if log::set_boxed_logger(Box::new(Discreet { logger })).is_ok() {
        log::set_max_level(most);
    }
}
