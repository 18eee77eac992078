//! Assembles a process from a configuration: listeners, the admin interface and background services. The only file that
//! names them all.
//!
//! Whatever can fail is tried before anything is started, so that a process never half-starts.
use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use pingora_core::{
    server::{RunArgs, Server},
    services::Service as AnyService,
};
use tokio::sync::{Mutex, watch};

use crate::{
    config::settings::{AccessFormat, Config, Live, LogOutput, RevocationSource, Startup, StateDirectory},
    edge::{
        access_log::{AccessLog, Destination, Format},
        admin::{health::Health, status::History},
        assertions::Assertions,
        clock, creation_mask,
        guard::panics,
        installed::{Installed, Parts},
        issuer_keys::{AllTried, KeyRefresher, KeySources, KeyStore, KeyTasks, KeyWaiters},
        jwks_client::Proxies,
        listening::{add_admin, add_file_watches, add_listeners, admin_addresses, new_server},
        metrics::Metrics,
        open_files,
        preconditions::{StartError, check_addresses},
        proxy::Shared,
        readiness::Readiness,
        rejections::RecentRejections,
        reload::{Fixed, Origin, Reloader, Running, TextInForce},
        report::Reporter,
        revocations::{RevocationKeeper, RevocationWatch},
        services::{Opening, add_background},
        signals::SignalWatch,
        state_directory::{self, StatePlace},
        task_home::{Task, TaskHome},
        tls::{self, CertificateWatch},
        upgrade::{TakeOver, Upgrader, usual_socket},
        upstream::Upstreams,
    },
    state::{claims_cache::ClaimsCache, failed_authentications::FailedAuthentications, gatekeeper::Gatekeeper},
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
    /// Prepares everything that a configuration asks for, and checks that it can be had. With `take_over` it takes the place of
    /// another process, whose sockets it gets.
    ///
    /// # Errors
    /// A [`StartError`] that names the thing.
    pub fn new(config: Config, origin: Origin, take_over: Option<TakeOver>) -> Result<Self, StartError> {
        let Config { startup, live } = config;
        let state = prepare_process(&startup, take_over.as_ref())?;
        let metrics = Arc::new(Metrics::new().map_err(StartError::Metrics)?);
        let certificates = CertificateWatch::begin(&startup.listeners, &metrics).map_err(StartError::Certificates)?;
        let access_log = start_access_log(&startup, &metrics)?;
        let proxies = Arc::new(Proxies::from_environment());
        let sources = KeySources::new(&live.ruleset, &live.keys, &metrics, None);
        if sources.have_remote() || matches!(live.revocation, Some(RevocationSource::Remote(_))) {
            proxies.faults().for_each(|fault| log::error!("{fault}"));
        }
        let store = key_store(&sources, &startup, &state)?;
        sources.tell_in_force(&metrics, None);
        let homes = Homes::default();
        let refresher = KeyRefresher::new(homes.keys.clone(), Arc::clone(&proxies));
        let key_tasks = refresher.begin(&sources, &KeyTasks::default(), store.as_ref());
        let all_tried = sources.all_tried();
        let revocations = new_revocations(&startup, &live, &state, &metrics)?;
        let revocation_watch = RevocationWatch::new(Arc::clone(&revocations), homes.revocations.clone(), proxies);
        let upstreams = Arc::new(Upstreams::new(&live.upstreams).map_err(StartError::Upstream)?);
        let fixed = Fixed::of(&startup, &live.ruleset.limits);
        let parts = Parts {
            upstream_names: live.upstream_names(),
            required_for_readiness: live.required_for_readiness(),
            assertions: Assertions::of(live.assertion.as_ref(), &state, startup.claims_cache)
                .map_err(StartError::AssertionKey)?,
            gatekeeper: Gatekeeper::new(live.ruleset, sources.slots.clone(), new_cache(&startup)?, 0)
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
        Ok(Prepared { startup, shared, reloader, all_tried, certificates, homes, access_log, sweeping, take_over }
            .assembled())
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
    take_over: Option<TakeOver>,
}

impl Prepared {
    fn assembled(self) -> Assembly {
        let Self { startup, shared, reloader, all_tried, certificates, homes, access_log, sweeping, .. } = self;
        let metrics = Arc::clone(&shared.metrics);
        let comparing = homes.keys.spawn(Arc::clone(&reloader).compare_with_file());
        let health = Arc::new(Health::starting(all_tried.clone()));
        let written = startup.server.upgrade_socket.clone();
        let upgrade_socket = written.or_else(|| usual_socket(reloader.state.directory()));
        let upgrader = Arc::new(Upgrader::new(upgrade_socket, &reloader, &health, self.take_over.clone()));
        // Whoever takes over opens when it may.
        let (open, is_open) = watch::channel(self.take_over.is_none());
        let opening = Opening { is_open, sockets: upgrader.sockets.clone() };
        let mut server = new_server(&startup, self.take_over.as_ref());
        add_listeners(&mut server, &startup, &shared, &certificates, &opening);
        add_file_watches(&mut server, certificates, &shared);
        let readiness = Readiness {
            health: Arc::clone(&health),
            shared: Arc::clone(&shared),
            all_tried,
            reloader: Arc::clone(&reloader),
            addresses: startup.listeners.iter().map(|listener| listener.address.clone()).collect(),
            admin_addresses: admin_addresses(&startup),
            take_over: self.take_over,
            open,
        };
        let (grace_period, drain_delay) = (startup.server.grace_period, startup.server.drain_delay);
        let history = History::new(&metrics);
        add_admin(&mut server, startup, (&shared, &upgrader), history, &opening);
        add_background(&mut server, "keys", homes.keys);
        add_background(&mut server, "revocations", homes.revocations);
        add_background(&mut server, "upstreams", homes.upstreams);
        add_background(&mut server, "readiness", readiness);
        let signals = SignalWatch { health, metrics, access_log, grace_period, drain_delay, upgrader };
        Assembly { server, signals, shared, _held: [sweeping, comparing] }
    }
}

/// What concerns the process as a whole, and can fail.
fn prepare_process(startup: &Startup, take_over: Option<&TakeOver>) -> Result<StatePlace, StartError> {
    let state = find_state_directory(startup)?;
    creation_mask::narrow();
    check_addresses(startup, take_over.map_or(&[], TakeOver::addresses))?;
    tls::choose_library();
    open_files::allow(startup.clients.connections.total);
    Ok(state)
}

fn new_revocations(
    startup: &Startup,
    live: &Live,
    state: &StatePlace,
    metrics: &Arc<Metrics>,
) -> Result<Arc<RevocationKeeper>, StartError> {
    let issuers = live.ruleset.issuers.iter().map(|issuer| issuer.name.clone()).collect();
    let (source, subject) = (live.revocation.as_ref(), startup.log.subject);
    RevocationKeeper::new(source, state, issuers, subject, Arc::clone(metrics)).map(Arc::new)
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
