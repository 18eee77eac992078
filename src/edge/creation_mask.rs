//! Who may use the files and sockets that the process makes, from the moment of their making: permissions that are set
//! later come too late for whoever opened them before.
use nix::sys::stat::{Mode, umask};

/// Nobody may whom their own permissions do not let, whatever the process was started with: not others, and of the group
/// none that writes, which is what connecting to a socket takes (unix(7)). What sets permissions of its own gives more.
pub fn narrow() {
    // It cannot be read without being set.
    let earlier = umask(Mode::S_IWGRP | Mode::S_IRWXO);
    umask(earlier | Mode::S_IWGRP | Mode::S_IRWXO);
}
