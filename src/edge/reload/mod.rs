//! Puts another configuration in force while the process runs: read, prepared and warmed beside the one that serves, then
//! swapped in one step. Whatever fails on the way changes nothing.
//!
//! What did not change is kept: key sets, remembered tokens, limits, revocations, the health of upstreams and connections
//! to them. What left ends: its tasks at once, its requests when they are answered.
mod fixed;
mod record;
mod watch;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::Mutex;

pub use fixed::Fixed;
pub use record::{LastReload, Origin, ReloadError, Reloads, TextInForce};

use crate::{
    config::{
        load::{self, Loaded, Secrets},
        settings::{Config, Live, RevocationSource},
    },
    edge::{
        assertions::Assertions,
        clock,
        installed::{Installed, Parts},
        issuer_keys::{KeyRefresher, KeySources, KeyStore, KeyTasks, KeyWaiters},
        proxy::Shared,
        revocations::RevocationWatch,
        state_directory::StatePlace,
        systemd,
        task_home::{Task, TaskHome},
        world::World,
    },
    state::gatekeeper::Gatekeeper,
};

/// How often it is looked whether the file is another than what is in force.
const LOOK: Duration = Duration::from_secs(2);
/// Longest wait for the first keys of issuers that are new.
const WARM_PATIENCE: Duration = Duration::from_secs(7);

/// Reloads the configuration, one reload at a time.
#[derive(Debug)]
pub struct Reloader {
    /// Where the configuration is; nothing where it cannot be read again.
    pub path: Option<PathBuf>,
    /// What cannot change.
    pub fixed: Fixed,
    /// What the listeners share.
    pub shared: Arc<Shared>,
    /// Has keys kept fresh.
    pub refresher: KeyRefresher,
    /// Where keys are kept between two starts.
    pub state: StatePlace,
    /// Has lists of revocations kept as they are.
    pub revocations: RevocationWatch,
    /// Where the tasks of upstreams run.
    pub upstreams: TaskHome,
    /// What became of the last reload.
    pub reloads: Arc<Reloads>,
    /// What belongs to the configuration in force and ends with it.
    pub current: Mutex<Running>,
}

/// What belongs to one configuration in force.
#[derive(Debug)]
pub struct Running {
    /// Counts configurations.
    pub generation: u64,
    /// By what its text is known.
    pub text: TextInForce,
    /// The slots and doors of its issuers.
    pub sources: KeySources,
    /// What keeps them fresh.
    pub key_tasks: KeyTasks,
    /// Where keys are kept, once that was needed.
    pub store: Option<KeyStore>,
    /// The operators' list of revocations.
    pub revocation: Option<RevocationSource>,
    /// What looks at it.
    pub revocation_task: Option<Task>,
    /// What keeps upstreams current.
    pub upstream_task: Task,
}

impl Reloader {
    /// Reads the configuration again and puts it in force. `who` asked for it, for the log.
    ///
    /// # Errors
    /// Says what is wrong; everything is as it was then.
    pub async fn reload(&self, who: &str) -> Result<Vec<String>, ReloadError> {
        let mut current = self.current.lock().await;
        log::info!("{who} asked for a reload of the configuration");
        // It may have waited for an upgrade, which holds the lock until it is over.
        if self.shared.revocations.is_following() {
            return Err(ReloadError::GivenWay);
        }
        systemd::reloading();
        let outcome = self.replace(&mut current).await;
        self.shared.metrics.config_reloaded(outcome.is_ok());
        match &outcome {
            Ok(warnings) => {
                warnings.iter().for_each(|warning| log::warn!("{warning}"));
                log::info!("the configuration was reloaded");
            }
            Err(error) => log::error!("the configuration was not reloaded, and nothing was changed: {error}"),
        }
        self.reloads.note(outcome.as_ref().err());
        systemd::ready(&self.status());
        outcome
    }

    /// Looks again and again whether the files are what is in force, for the metric; where that is wanted, what they say is
    /// put in force once they have been the same for two looks, and is tried once.
    pub async fn compare_with_file(self: Arc<Self>) {
        let Some(path) = self.path.clone() else { return };
        let mut watch = watch::ChangeWatch::default();
        loop {
            let path = path.clone();
            let (in_force, read) = {
                let running = self.current.lock().await;
                (running.text.includes.clone(), running.text.includes_read.clone())
            };
            let digests = move || {
                let digest = load::digest_of(&path, &in_force, &World);
                let of_read = if read == in_force { digest.clone() } else { load::digest_of(&path, &read, &World) };
                (digest, of_read)
            };
            if let Ok((digest, of_read)) = tokio::task::spawn_blocking(digests).await {
                let is_same = digest.as_ref() == Some(&self.current.lock().await.text.sha256);
                self.shared.metrics.config_is_outdated(!is_same);
                // What changes once another process serves is for that one.
                let is_to_watch = self.fixed.watches_files() && !self.shared.revocations.is_following();
                if is_to_watch && watch.look(of_read, is_same) {
                    // What became of it is told where everybody looks.
                    drop(self.reload("a changed file").await);
                    continue;
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// One line for people: what serves, and what became of the last reload.
    pub fn status(&self) -> String {
        let installed = self.shared.installed.load();
        let slots = installed.gatekeeper.slots();
        let with_keys = slots.iter().filter(|slot| slot.keys().is_some()).count();
        let keys: usize = slots.iter().filter_map(|slot| slot.keys()).map(|set| set.keys().len()).sum();
        let routes = installed.gatekeeper.ruleset().routes.routes().len();
        let failure = self.reloads.failure().map_or(String::new(), |fault| {
            format!("; RELOAD FAILED, the configuration before serves: {}", fault.lines().next().unwrap_or_default())
        });
        format!("{routes} routes, {with_keys} of {} issuers with {keys} keys{failure}", slots.len())
    }

    async fn replace(&self, current: &mut Running) -> Result<Vec<String>, ReloadError> {
        let path = self.path.clone().ok_or(ReloadError::NoFile)?;
        let loaded = tokio::task::spawn_blocking(move || load::load(&path, &World, Secrets::Read));
        let Loaded { config, problems, sha256, includes, .. } = loaded.await.map_err(|_| ReloadError::Interrupted)?;
        current.text.includes_read.clone_from(&includes);
        let Some(Config { startup, live }) = config else { return Err(ReloadError::Wrong(problems.render())) };
        let fixed = Fixed::of(&startup, &live.ruleset.limits).differences(&self.fixed);
        if !fixed.is_empty() {
            return Err(ReloadError::NeedsRestart(fixed));
        }
        let mut warnings: Vec<String> = problems
            .sorted()
            .into_iter()
            .map(|problem| problems.render_one(problem).lines().next().unwrap_or_default().to_owned())
            .collect();
        self.install(current, live, sha256, &mut warnings).await?;
        current.text.includes = includes;
        Ok(warnings)
    }

    /// Makes everything ready beside what serves, and swaps when nothing can fail any more.
    async fn install(
        &self,
        current: &mut Running,
        live: Live,
        sha256: String,
        warnings: &mut Vec<String>,
    ) -> Result<(), ReloadError> {
        let before = self.shared.installed.load_full();
        let metrics = &self.shared.metrics;
        let upstreams = before.upstreams.succeeded_by(&live.upstreams);
        let upstreams = Arc::new(upstreams.map_err(|error| ReloadError::Upstream(error.to_string()))?);
        let assertions = Assertions::of(live.assertion.as_ref(), &self.state, self.fixed.claims_cache())
            .map_err(|error| ReloadError::AssertionKey(error.to_string()))?;
        let issuers: Vec<Box<str>> = live.ruleset.issuers.iter().map(|issuer| issuer.name.clone()).collect();
        let source = live.revocation.as_ref();
        let revocations = self.revocations.prepare(current.revocation.as_ref(), source, issuers);
        let revocations = revocations.await.map_err(ReloadError::Revocations)?;
        let sources = KeySources::new(&live.ruleset, &live.keys, metrics, Some(&current.sources));
        let store = current.store.clone().or_else(|| self.new_store(&sources));
        if let Some(store) = &store {
            sources.restore(store);
        }
        // From here on new tasks run; they end with this function when something fails.
        let key_tasks = self.refresher.begin(&sources, &current.key_tasks, store.as_ref());
        let is_tried = tokio::time::timeout(WARM_PATIENCE, sources.all_tried().wait()).await.is_ok();
        self.check_keys(&before, &live, &sources, is_tried, warnings)
            .inspect_err(|_| sources.forget(&current.sources, metrics))?;
        let names = Arc::clone(&upstreams);
        let _ = tokio::task::spawn_blocking(move || names.resolve_at_start()).await;
        let upstream_task = self.upstreams.spawn(Arc::clone(&upstreams).keep_current(std::future::pending()));

        current.generation += 1;
        let (upstream_names, required_for_readiness) = (live.upstream_names(), live.required_for_readiness());
        let gatekeeper = Gatekeeper::new(
            live.ruleset,
            sources.slots.clone(),
            Arc::clone(before.gatekeeper.cache()),
            current.generation,
        );
        let parts = Parts {
            upstream_names,
            required_for_readiness,
            gatekeeper: gatekeeper
                .with_revocations(Arc::clone(before.gatekeeper.revocations()))
                .succeeding(&before.gatekeeper)
                .limiting_rates(Some(&before.gatekeeper), clock::monotonic()),
            waiters: Arc::new(KeyWaiters::new(&sources)),
            upstreams,
            assertions,
            trusted_proxies: live.trusted_proxies,
            drop_underscore_headers: live.drop_underscore_headers,
            document: live.document,
        };
        let installed = Arc::new(Installed::new(parts, metrics));
        let keeps_list = revocations.keeps_source() && current.revocation.as_ref().is_some_and(|_| source.is_some());
        self.shared.revocations.replace(revocations);
        self.shared.installed.store(Arc::clone(&installed));
        before.gatekeeper.hand_over_keys(&installed.gatekeeper);
        sources.tell_in_force(metrics, Some(&current.sources));
        metrics.config_in_force(&sha256, Some(&current.text.sha256), clock::unix_time());
        if !keeps_list || !same_remote(current.revocation.as_ref(), source) {
            current.revocation_task = source.map(|source| self.revocations.watch(source));
        }
        current.revocation = live.revocation;
        (current.sources, current.key_tasks, current.store) = (sources, key_tasks, store);
        (current.upstream_task, current.text.sha256) = (upstream_task, sha256);
        Ok(())
    }

    /// An issuer that has keys now must have some afterwards; one that is new may get them later.
    fn check_keys(
        &self,
        before: &Installed,
        live: &Live,
        sources: &KeySources,
        is_tried: bool,
        warnings: &mut Vec<String>,
    ) -> Result<(), ReloadError> {
        let old = &before.gatekeeper;
        for (issuer, slot) in live.ruleset.issuers.iter().zip(&sources.slots).filter(|(_, slot)| slot.keys().is_none())
        {
            let mut known = old.ruleset().issuers.iter().zip(old.slots());
            let why = if is_tried { "could not be fetched" } else { "did not come in time" };
            let had_keys = known.any(|(known, slot)| known.identifier == issuer.identifier && slot.keys().is_some());
            if had_keys {
                return Err(ReloadError::Keys(format!(
                    "issuer {}: its keys {why} from where they are to come from now, and it has keys as it is",
                    issuer.name
                )));
            }
            warnings.push(format!("issuer {}: its keys {why} yet; its tokens are refused until they are", issuer.name));
            let _ = slot;
        }
        Ok(())
    }

    fn new_store(&self, sources: &KeySources) -> Option<KeyStore> {
        let directory = self.state.directory().filter(|_| sources.have_remote())?;
        let store = KeyStore::within(directory);
        store
            .inspect_err(|error| log::warn!("key sets are not kept: {} cannot be used: {error}", directory.display()))
            .ok()
    }
}

/// Whether the task that looks at one list is that of the other, whose way of being fetched is the same too.
fn same_remote(before: Option<&RevocationSource>, now: Option<&RevocationSource>) -> bool {
    match (before, now) {
        (Some(RevocationSource::Remote(before)), Some(RevocationSource::Remote(now))) => before == now,
        (Some(RevocationSource::File(before)), Some(RevocationSource::File(now))) => before.path == now.path,
        _ => before.is_none() && now.is_none(),
    }
}
