//! What is fixed while the process runs: a reload that would change it is refused, by name.
use crate::{
    config::settings::{Admin, CacheLimits, ClientLimits, Log, Server, Startup, listener::Listener},
    gate::request::RequestLimits,
};

/// The settings that cannot be changed while the process runs.
#[derive(Clone, Debug)]
pub struct Fixed {
    listeners: Vec<Listener>,
    admin: Admin,
    server: Server,
    log: Log,
    claims_cache: CacheLimits,
    clients: ClientLimits,
    /// Bytes of a target and of all header fields, by which connections are bounded before a request is read.
    head: (usize, usize),
}

impl Fixed {
    /// Whether the configuration is reloaded when its files change.
    pub const fn watches_files(&self) -> bool {
        self.server.watches_files
    }

    /// Those of a configuration.
    pub fn of(startup: &Startup, limits: &RequestLimits) -> Self {
        Self {
            listeners: startup.listeners.clone(),
            admin: startup.admin.clone(),
            server: startup.server.clone(),
            log: startup.log.clone(),
            claims_cache: startup.claims_cache,
            clients: startup.clients,
            head: (limits.uri_bytes, limits.header_bytes),
        }
    }

    /// Bounds of caches by token.
    pub const fn claims_cache(&self) -> CacheLimits {
        self.claims_cache
    }

    /// The names of those that differ, as the configuration has them.
    pub fn differences(&self, running: &Self) -> Vec<&'static str> {
        let (now, was) = (self, running);
        let token = |token: &Option<crate::config::secret::Secret>| token.as_ref().map(|token| token.bytes().to_vec());
        let (limits, before) = (&now.clients, &was.clients);
        let rows = [
            ("listeners", now.listeners != was.listeners),
            ("admin.address", now.admin.address != was.admin.address),
            ("admin.allowed_hosts", now.admin.allowed_hosts != was.admin.allowed_hosts),
            ("admin.read_token_file", token(&now.admin.read_token) != token(&was.admin.read_token)),
            ("admin.write_token_file", token(&now.admin.write_token) != token(&was.admin.write_token)),
            ("server.threads", now.server.threads != was.server.threads),
            ("server.grace_period", now.server.grace_period != was.server.grace_period),
            ("server.drain_delay", now.server.drain_delay != was.server.drain_delay),
            ("server.state_directory", now.server.state_directory != was.server.state_directory),
            ("server.upgrade_socket", now.server.upgrade_socket != was.server.upgrade_socket),
            ("server.reload", now.server.watches_files != was.server.watches_files),
            ("log", now.log != was.log),
            ("claims_cache", now.claims_cache != was.claims_cache),
            ("limits.header_timeout", limits.timeouts.head != before.timeouts.head),
            ("limits.body_timeout", limits.timeouts.body != before.timeouts.body),
            ("limits.keepalive_timeout", limits.timeouts.keepalive != before.timeouts.keepalive),
            ("limits.connections", limits.connections.total != before.connections.total),
            ("limits.connections_per_address", limits.connections.per_address != before.connections.per_address),
            ("limits.failed_authentications", limits.failed_authentications != before.failed_authentications),
            ("limits.uri_bytes", now.head.0 != was.head.0),
            ("limits.header_bytes", now.head.1 != was.head.1),
        ];
        rows.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }
}
