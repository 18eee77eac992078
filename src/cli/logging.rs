//! The diagnostic log: to standard error, at the level of the configuration or of `RUST_LOG`.
//!
//! It never lets a library tell what a client sent, whatever level is asked for: Pingora's finer messages hold header
//! fields, its errors whole heads and targets, and with them tokens.
use std::fmt;

use log::{Level, LevelFilter, Log, Metadata, Record};

/// Libraries whose messages below warnings may hold what clients sent.
const TALKATIVE: &[&str] = &["pingora", "h2", "hyper", "ureq", "rustls"];
/// Modules whose every message may: they quote the target of a request that failed, and the head of one that cannot be
/// parsed. Nothing is lost: what became of a request is in the access log.
const QUOTING: &[&str] = &["pingora_proxy", "pingora_core::apps", "pingora_core::protocols"];

struct Discreet {
    logger: env_logger::Logger,
}

impl fmt::Debug for Discreet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Discreet")
    }
}

/// Whether a message of this module and level can hold nothing that a client sent.
fn is_harmless(target: &str, level: Level) -> bool {
    let is_of = |names: &[&str]| names.iter().any(|name| target.starts_with(name));
    !is_of(QUOTING) && (level <= Level::Warn || !is_of(TALKATIVE))
}

impl Log for Discreet {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_harmless(metadata.target(), metadata.level()) && self.logger.enabled(metadata)
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
    builder.filter_module("pingora_core", LevelFilter::Error.min(level));
    builder.parse_env("RUST_LOG");
    let logger = builder.build();
    let most = logger.filter();
    if log::set_boxed_logger(Box::new(Discreet { logger })).is_ok() {
        log::set_max_level(most);
    }
}

#[cfg(test)]
mod tests {
    use super::is_harmless;
    use log::Level;

    #[test]
    fn what_may_hold_a_clients_words_is_silent_at_every_level() {
        for (target, loudest) in [
            ("pingora_proxy", None),
            ("pingora_proxy::proxy_h1", None),
            ("pingora_core::apps::http_app", None),
            ("pingora_core::protocols::http::v1::common", None),
            ("pingora_core::services::listening", Some(Level::Warn)),
            ("ureq::unversioned", Some(Level::Warn)),
            ("portcullis::edge::proxy", Some(Level::Trace)),
        ] {
            for level in Level::iter() {
                assert_eq!(
                    is_harmless(target, level),
                    loudest.is_some_and(|loudest| level <= loudest),
                    "{target} {level}"
                );
            }
        }
    }
}
