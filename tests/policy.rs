//! Rules over real sockets.
