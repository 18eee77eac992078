//! Assembles a process from a configuration: listeners, the admin interface and background services. The only file that
//! names them all.
//!
//! Whatever can fail is tried before anything is started, so that a process never half-starts.
use std::{fmt, fs, os::unix::fs::PermissionsExt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use pingora::apps::http_app::HttpServer;
use pingora_core::{
    apps::HttpServerOptions,
    server::{RunArgs, Server, configuration::ServerConf},
    services::{Service as AnyService, listening::Service},
};
use pingora_proxy::http_proxy;
use tokio::sync::Mutex;

use crate::{
    config::settings::{AccessFormat, Address, Config, LogOutput, RevocationSource, Startup, StateDirectory},
    edge::{
        access_log::{AccessLog, Destination, Format},
        admin::{Access, AdminApp, health::Health, status::History},
        assertions::{AssertionKeyWatch, Assertions},
        clock, creation_mask,
        guard::{Entrance, Guard, Guarded, HeadBounds, panics},
        http2,
        installed::{Installed, Parts},
        issuer_keys::{AllTried, KeyRefresher, KeySources, KeyStore, KeyTasks, KeyWaiters},
        jwks_client::Proxies,
        metrics::Metrics,
        open_files,
        preconditions::{StartError, check_addresses, private_admin_socket},
        proxy::{Gateway, Shared},
        readiness::Readiness,
        rejections::RecentRejections,
        reload::{Fixed, Origin, Reloader, Running, TextInForce},
        report::Reporter,
        revocations::{RevocationKeeper, RevocationWatch},
        services::{UntilTheEnd, add_background},
        signals::SignalWatch,
        state_directory::{self, StatePlace},
        task_home::{Task, TaskHome},
        tls::{self, CertificateWatch},
        upstream::Upstreams,
    },
    gate::route::ListenerId,
    state::{
        claims_cache::ClaimsCache, connections::Connections, failed_authentications::FailedAuthentications,
        gatekeeper::Gatekeeper,
    },
};

/// A process that is ready to run.
pub struct Assembly {
    server: Server,
    signals: SignalWatch,
    shared: Arc<Shared>,
    /// Held for as long as the process runs.
    _held: [Task; 2],
}

/// Where the tasks of the background run: one thread for each kind.
#[derive(Default)]
struct Homes {
    keys: TaskHome,
    revocations: TaskHome,
    upstreams: TaskHome,
}

impl fmt::Debug for Assembly {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Assembly({:?})", self.shared)
    }
}

impl Assembly {
    /// Prepares everything that a configuration asks for, and checks that it can be had.
    ///
    /// # Errors
    /// A [`StartError`] that names the thing.
    pub fn new(config: Config, origin: Origin) -> Result<Self, StartError> {
        let Config { startup, live } = config;
        let state = find_state_directory(&startup)?;
        creation_mask::narrow();
        check_addresses(&startup)?;
        tls::choose_library();
        open_files::allow(startup.clients.connections.total);
        let metrics = Arc::new(Metrics::new().map_err(StartError::Metrics)?);
        let certificates = CertificateWatch::begin(&startup.listeners, &metrics).map_err(StartError::Certificates)?;
        let access_log = start_access_log(&startup, &metrics)?;
        let cache = new_cache(&startup)?;
        let proxies = Arc::new(Proxies::from_environment());
        let sources = KeySources::new(&live.ruleset, &live.keys, &metrics, None);
        let revocation = live.revocation.as_ref();
        if sources.have_remote() || matches!(revocation, Some(RevocationSource::Remote(_))) {
            proxies.faults().for_each(|fault| log::error!("{fault}"));
        }
        let store = key_store(&sources, &startup, &state)?;
        sources.tell_in_force(&metrics, None);
        let homes = Homes::default();
        let refresher = KeyRefresher::new(homes.keys.clone(), Arc::clone(&proxies));
        let key_tasks = refresher.begin(&sources, &KeyTasks::default(), store.as_ref());
        let all_tried = sources.all_tried();
        let issuers = live.ruleset.issuers.iter().map(|issuer| issuer.name.clone()).collect();
        let revocations = RevocationKeeper::new(revocation, &state, issuers, startup.log.subject, Arc::clone(&metrics));
        let revocations = Arc::new(revocations?);
        let revocation_watch = RevocationWatch::new(Arc::clone(&revocations), homes.revocations.clone(), proxies);
        let upstreams = Arc::new(Upstreams::new(&live.upstreams).map_err(StartError::Upstream)?);
        let fixed = Fixed::of(&startup, &live.ruleset.limits);
        let parts = Parts {
            upstream_names: live.upstream_names(),
            required_for_readiness: live.required_for_readiness(),
            assertions: Assertions::of(live.assertion.as_ref(), &state, startup.claims_cache)
                .map_err(StartError::AssertionKey)?,
            gatekeeper: Gatekeeper::new(live.ruleset, sources.slots.clone(), cache, 0)
                .with_revocations(Arc::clone(revocations.slot()))
                .limiting_rates(None, clock::monotonic()),
            waiters: Arc::new(KeyWaiters::new(&sources)),
            upstreams: Arc::clone(&upstreams),
            trusted_proxies: live.trusted_proxies,
            drop_underscore_headers: live.drop_underscore_headers,
            document: live.document,
        };
        metrics.config_in_force(&origin.sha256, None, clock::unix_time());
        let installed = Installed::new(parts, &metrics);
        let shared = Arc::new(new_shared(&startup, installed, &metrics, access_log.clone(), revocations));
        let upstream_task = homes.upstreams.spawn(follow_names(upstreams));
        let sweeping = revocation_watch.sweep();
        let running = Running {
            generation: 0,
            text: TextInForce::new(origin.sha256, origin.includes),
            revocation_task: live.revocation.as_ref().map(|source| revocation_watch.watch(source)),
            revocation: live.revocation,
            sources,
            key_tasks,
            store,
            upstream_task,
        };
        let reloader = Arc::new(Reloader {
            path: origin.path,
            fixed,
            shared: Arc::clone(&shared),
            refresher,
            state,
            revocations: revocation_watch,
            upstreams: homes.upstreams.clone(),
            reloads: Arc::default(),
            current: Mutex::new(running),
        });
        let prepared = Prepared { startup, shared, reloader, all_tried, certificates, homes, access_log, sweeping };
        Ok(prepared.assembled())
    }

    /// Adds a service of another kind to the process, as the demonstration does.
    pub fn add_service(&mut self, service: impl AnyService + 'static) {
        self.server.add_service(service);
    }

    /// Runs until the process is asked to stop, and ends it.
    pub fn run(self) -> ! {
        let access_log = self.signals.access_log.clone();
        panics::tell_places_only();
        self.server.run(RunArgs { shutdown_signal: Box::new(self.signals) });
        if let Some(log) = access_log {
            let _ = log.close(Duration::from_secs(1));
        }
        log::logger().flush();
        std::process::exit(0)
    }
}

/// All that a process is made of, before its services are.
struct Prepared {
    startup: Startup,
    shared: Arc<Shared>,
    reloader: Arc<Reloader>,
    all_tried: AllTried,
    certificates: CertificateWatch,
    homes: Homes,
    access_log: Option<Arc<AccessLog>>,
    sweeping: Task,
}

impl Prepared {
    fn assembled(self) -> Assembly {
        let Self { startup, shared, reloader, all_tried, certificates, homes, access_log, sweeping } = self;
        let metrics = Arc::clone(&shared.metrics);
        let comparing = homes.keys.spawn(Arc::clone(&reloader).compare_with_file());
        let health = Arc::new(Health::starting(all_tried.clone()));
        let mut server = new_server(&startup);
        add_listeners(&mut server, &startup, &shared, &certificates);
        add_file_watches(&mut server, certificates, &shared);
        let readiness = Readiness {
            health: Arc::clone(&health),
            shared: Arc::clone(&shared),
            all_tried,
            reloader: Arc::clone(&reloader),
            addresses: startup.listeners.iter().map(|listener| listener.address.clone()).collect(),
        };
        let (grace_period, drain_delay) = (startup.server.grace_period, startup.server.drain_delay);
        let history = History::new(&metrics);
        add_admin(&mut server, startup, (&shared, &reloader), &health, history);
        add_background(&mut server, "keys", homes.keys);
        add_background(&mut server, "revocations", homes.revocations);
        add_background(&mut server, "upstreams", homes.upstreams);
        add_background(&mut server, "readiness", readiness);
        let signals = SignalWatch { health, metrics, access_log, grace_period, drain_delay, reloader };
        Assembly { server, signals, shared, _held: [sweeping, comparing] }
    }
}

async fn follow_names(upstreams: Arc<Upstreams>) {
    upstreams.resolve_at_start();
    upstreams.keep_current(std::future::pending()).await;
}

fn new_shared(
    startup: &Startup,
    installed: Installed,
    metrics: &Arc<Metrics>,
    access_log: Option<Arc<AccessLog>>,
    revocations: Arc<RevocationKeeper>,
) -> Shared {
    Shared {
        installed: ArcSwap::from_pointee(installed),
        listeners: startup.listeners.clone(),
        failed_authentications_rate: startup.clients.failed_authentications,
        metrics: Arc::clone(metrics),
        reporter: Reporter {
            access_log,
            subject: startup.log.subject,
            client_ip: startup.log.client_ip,
            rejections: RecentRejections::default(),
        },
        body_timeout: startup.clients.timeouts.body,
        failed_authentications: startup.clients.failed_authentications.map(FailedAuthentications::new),
        revocations,
    }
}

fn new_server(startup: &Startup) -> Server {
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
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    server
}

fn new_cache(startup: &Startup) -> Result<Arc<ClaimsCache>, StartError> {
    let mut secret = [0; 32];
    aws_lc_rs::rand::fill(&mut secret).map_err(|_| StartError::Randomness)?;
    Ok(Arc::new(ClaimsCache::new(startup.claims_cache, secret)))
}

fn start_access_log(startup: &Startup, metrics: &Metrics) -> Result<Option<Arc<AccessLog>>, StartError> {
    let format = match startup.log.access {
        AccessFormat::Json => Format::Json,
        AccessFormat::Text => Format::Text,
        AccessFormat::Off => return Ok(None),
    };
    let destination = match &startup.log.output {
        LogOutput::Stdout => Destination::Stdout,
        LogOutput::Stderr => Destination::Stderr,
        LogOutput::File(path) => Destination::File(path.clone()),
    };
    let log = AccessLog::start(destination, format, metrics.access_log_dropped()).map_err(StartError::AccessLog)?;
    Ok(Some(Arc::new(log)))
}

fn find_state_directory(startup: &Startup) -> Result<StatePlace, StartError> {
    state_directory::find(&startup.server.state_directory)
        .map_err(|(path, error)| StartError::StateDirectory(path, error))
}

/// Where fetched keys are kept; what was kept serves from now on.
fn key_store(sources: &KeySources, startup: &Startup, state: &StatePlace) -> Result<Option<KeyStore>, StartError> {
    if !sources.have_remote() {
        return Ok(None);
    }
    let Some(directory) = state.directory() else {
        log::warn!("{state}");
        return Ok(None);
    };
    match KeyStore::within(directory) {
        Ok(store) => {
            sources.restore(&store);
            Ok(Some(store))
        }
        Err(error) if matches!(startup.server.state_directory, StateDirectory::At(_)) => {
            Err(StartError::StateDirectory(directory.to_owned(), error))
        }
        Err(error) => {
            log::warn!("key sets are not kept: {} cannot be used: {error}", directory.display());
            Ok(None)
        }
    }
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

fn add_listeners(server: &mut Server, startup: &Startup, shared: &Arc<Shared>, certificates: &CertificateWatch) {
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
        match &settings.address {
            Address::Tcp(address) => service.add_tcp(&address.to_string()),
            Address::Unix(path) => {
                service.add_uds(&path.to_string_lossy(), Some(fs::Permissions::from_mode(0o660)));
            }
        }
        server.add_service(service);
    }
}

fn add_admin(
    server: &mut Server,
    startup: Startup,
    (shared, reloader): (&Arc<Shared>, &Arc<Reloader>),
    health: &Arc<Health>,
    history: History,
) {
    let settings = Arc::new(startup.admin);
    let app = |access| AdminApp {
        shared: Arc::clone(shared),
        reloader: Arc::clone(reloader),
        health: Arc::clone(health),
        history: history.clone(),
        access,
    };
    let mut add = |address: &Address, access| {
        let mut service = Service::new(format!("admin {address}"), HttpServer::new_app(app(access)));
        service.threads = Some(1);
        match address {
            Address::Tcp(address) => service.add_tcp(&address.to_string()),
            Address::Unix(path) => {
                service.add_uds(&path.to_string_lossy(), Some(fs::Permissions::from_mode(0o600)));
            }
        }
        server.add_service(UntilTheEnd(service));
    };
    if let Some(address) = &settings.address {
        add(address, Access::by_address(Arc::clone(&settings)));
    }
    if let Some(address) = private_admin_socket().filter(|address| settings.address.as_ref() != Some(address)) {
        add(&address, Access::by_private_socket(settings));
    }
    add_background(server, "history", history);
}

/// What is read again when its files change.
fn add_file_watches(server: &mut Server, certificates: CertificateWatch, shared: &Arc<Shared>) {
    add_background(server, "certificates", certificates);
    add_background(server, "assertions", AssertionKeyWatch { shared: Arc::clone(shared) });
}
