//! How many files the process may open: each connection is one, and its upstream's another. Most systems allow 1024 unless
//! a process asks for what it may have.
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Files beside connections: logs, keys, sockets that listen, whatever libraries open.
const OTHERS: u64 = 256;

/// Asks for as many open files as the process may have, and says so where those are not enough for its connections.
pub fn allow(connections: usize) {
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_mul(2).saturating_add(OTHERS);
    let allowed = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() => hard,
        Ok((soft, _)) => soft,
        Err(error) => {
            log::warn!("how many files may be open is not known: {error}");
            return;
        }
    };
    if allowed < wanted {
        log::warn!(
            "the process may open {allowed} files, and `limits.connections: {connections}` may need {wanted}: raise the \
             former (LimitNOFILE in a systemd unit) or lower the latter"
        );
    }
}
