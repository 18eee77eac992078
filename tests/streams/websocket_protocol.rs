//! Tokens among the protocols that the client of a WebSocket offers.
