//! The services of a process, made of what was prepared: listeners, the admin interface, watches of files.
use std::{fs, os::unix::fs::PermissionsExt as _, sync::Arc};

use pingora::apps::http_app::HttpServer;
use pingora_core::{
    apps::HttpServerOptions,
    server::{
        Server,
        configuration::{Opt, ServerConf},
    },
    services::listening::Service,
};
use pingora_proxy::http_proxy;

use crate::{
    config::settings::{Address, Startup},
    edge::{
        admin::{Access, AdminApp, status::History},
        assertions::AssertionKeyWatch,
        guard::{Entrance, Guard, Guarded, HeadBounds},
        http2,
        preconditions::{private_admin_socket, socket_name},
        proxy::{Gateway, Shared},
        services::{Listening, Opening, add_background},
        tls::CertificateWatch,
        upgrade::{TakeOver, Upgrader},
    },
    gate::route::ListenerId,
    state::connections::Connections,
};

/// The server, with the sockets that it inherits.
pub(super) fn new_server(startup: &Startup, take_over: Option<&TakeOver>) -> Server {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let conf = ServerConf {
        threads: startup.server.threads.unwrap_or(cores),
        // Tail latency at saturation is better without it, and the cost is the same (docs/benchmarks.md).
        work_stealing: false,
        // The last request usually ends it sooner; see `signals`.
        grace_period_seconds: Some(startup.server.grace_period.as_secs() + 1),
        graceful_shutdown_timeout_seconds: Some(0),
        // Tries, not retries; how many there are is for the upstream to say.
        max_retries: 8,
        // For each thread: idle connections to upstreams that are kept. Each is an open file, and those that are closed for want
        // of room have to be made again.
        upstream_keepalive_pool_size: 512,
        upgrade_sock: take_over.map_or_else(String::new, |take_over| take_over.socket().to_string_lossy().into_owned()),
        ..ServerConf::default()
    };
    let options = take_over.map(|_| Opt { upgrade: true, ..Opt::default() });
    let mut server = Server::new_with_opt_and_conf(options, conf);
    server.bootstrap();
    server
}

/// One guard for all listeners, so that they share what clients may take.
fn new_guard(startup: &Startup, shared: &Arc<Shared>) -> Arc<Guard> {
    let limits = shared.installed.load().gatekeeper.ruleset().limits;
    let (told, known) = (Arc::clone(shared), Arc::clone(shared));
    Arc::new(Guard {
        timeouts: startup.clients.timeouts,
        head_bounds: HeadBounds::new(limits.uri_bytes, limits.header_bytes),
        connections: Arc::new(Connections::new(startup.clients.connections)),
        metrics: Arc::clone(&shared.metrics),
        trust: Box::new(move |peer| {
            let installed = known.installed.load();
            // Who names nobody takes the word of whoever reaches the listener; `validate` says so.
            installed.trusted_proxies.are_none() || installed.trusted_proxies.trust(peer)
        }),
        tell: Box::new(move |incident| told.reporter.report_incident(&told.installed.load(), incident)),
    })
}

/// One service for each listener.
pub(super) fn add_listeners(
    server: &mut Server,
    startup: &Startup,
    shared: &Arc<Shared>,
    certificates: &CertificateWatch,
    opening: &Opening,
) {
    let guard = new_guard(startup, shared);
    let limits = shared.installed.load().gatekeeper.ruleset().limits;
    for (listener, settings) in (0..).map(ListenerId).zip(&startup.listeners) {
        let gateway = Gateway { listener, redirect: settings.redirect, shared: Arc::clone(shared) };
        let mut proxy = http_proxy(&server.configuration, gateway);
        let mut options = HttpServerOptions::default();
        // So that CONNECT reaches the gate, where it is refused, counted and logged like everything else.
        options.allow_connect_method_proxying = true;
        options.h2c = settings.http2;
        options.h2_idle_timeout = Some(startup.clients.timeouts.keepalive);
        proxy.server_options = Some(options);
        proxy.h2_options = Some(http2::options(limits.uri_bytes, limits.header_bytes));
        let entrance = Entrance {
            tls: certificates.terminator(listener.0.into()),
            http2: settings.http2,
            proxy_protocol: settings.proxy_protocol,
        };
        let guarded = Guarded::new(proxy, Arc::clone(&guard), entrance);
        let mut service = Service::new(format!("listener {}", settings.name), guarded);
        listen(&mut service, &settings.address, 0o660);
        server.add_service(Listening { service, opening: opening.clone(), until: None });
    }
}

fn listen<A>(service: &mut Service<A>, address: &Address, mode: u32) {
    let name = socket_name(address);
    match address {
        Address::Tcp(_) => service.add_tcp(&name),
        Address::Unix(_) => service.add_uds(&name, Some(fs::Permissions::from_mode(mode))),
    }
}

/// Where the admin interface listens: at its address, and at the private socket.
pub(super) fn admin_addresses(startup: &Startup) -> Vec<Address> {
    let written = startup.admin.address.clone();
    let private = private_admin_socket().filter(|address| written.as_ref() != Some(address));
    written.into_iter().chain(private).collect()
}

/// The admin interface, at its address and at the private socket. It goes on while the process drains, so that whoever asks for
/// readiness is told 503 instead of nothing, and ends when another process has taken over.
pub(super) fn add_admin(
    server: &mut Server,
    startup: Startup,
    (shared, upgrader): (&Arc<Shared>, &Arc<Upgrader>),
    history: History,
    opening: &Opening,
) {
    let addresses = admin_addresses(&startup);
    let settings = Arc::new(startup.admin);
    let app = |access| AdminApp {
        shared: Arc::clone(shared),
        reloader: Arc::clone(&upgrader.reloader),
        upgrader: Arc::clone(upgrader),
        health: Arc::clone(&upgrader.health),
        history: history.clone(),
        access,
    };
    let mut add = |address: &Address, access| {
        let mut service = Service::new(format!("admin {address}"), HttpServer::new_app(app(access)));
        service.threads = Some(1);
        listen(&mut service, address, 0o600);
        let until = Some(upgrader.given_way.subscribe());
        server.add_service(Listening { service, opening: opening.clone(), until });
    };
    for address in addresses {
        let is_written = settings.address.as_ref() == Some(&address);
        let settings = Arc::clone(&settings);
        add(&address, if is_written { Access::by_address(settings) } else { Access::by_private_socket(settings) });
    }
    add_background(server, "history", history);
}

/// What is read again when its files change.
pub(super) fn add_file_watches(server: &mut Server, certificates: CertificateWatch, shared: &Arc<Shared>) {
    add_background(server, "certificates", certificates);
    add_background(server, "assertions", AssertionKeyWatch { shared: Arc::clone(shared) });
}
