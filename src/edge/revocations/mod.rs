//! Keeps the union of all revocations in force: the operators' list, which is input only, and the entries that were made
//! through the admin address, which live in the state directory.
//!
//! Nothing that fails here takes an entry out of force: what cannot be read leaves the last good list where it is.
mod own;
mod remote;
mod replaced;
mod shown;
mod store;
mod watch;

use std::{
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;

use crate::{
    config::{
        error::Problems,
        revocation_list::{self, KnownIssuers},
        settings::{RemoteRevocations, RevocationSource, SubjectForm},
    },
    edge::{
        clock,
        jwks_client::{Proxies, without_query},
        metrics::Metrics,
        preconditions::StartError,
        state_directory::StatePlace,
    },
    gate::{
        revocation::{Revocation, RevocationList, Revocations},
        time::UnixTime,
    },
    state::revocation_slot::RevocationSlot,
};

pub use own::ChangeError;
use remote::ListFetcher;
pub use replaced::NextRevocations;
pub(in crate::edge) use shown::view_of;
pub use store::RevocationStore;
pub use watch::RevocationWatch;

/// How the instance's own entries are called.
pub(in crate::edge) const OWN: &str = "own";

impl OperatorsList {
    /// The list of a source as the configuration was read with it.
    fn begin(source: &RevocationSource, now: UnixTime) -> Self {
        match source {
            RevocationSource::File(file) => Self {
                kind: "file",
                name: file.path.display().to_string().into(),
                list: Some(in_force(file.entries.clone(), now)),
                last_success: Some(now),
                last_error: None,
            },
            RevocationSource::Remote(remote) => Self {
                kind: "url",
                name: without_query(&remote.url).into(),
                list: None,
                last_success: None,
                last_error: None,
            },
        }
    }
}

/// Keeps the revocations of a process.
#[derive(Debug)]
pub struct RevocationKeeper {
    slot: Arc<RevocationSlot>,
    metrics: Arc<Metrics>,
    /// The issuers of the configuration in force.
    issuers: ArcSwap<Vec<Box<str>>>,
    /// How subjects are shown in the log.
    subject: SubjectForm,
    sources: Mutex<Sources>,
    /// Where own entries and fetched lists are kept, or why they are not.
    store: Result<RevocationStore, Box<str>>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
    /// Whether another process has taken over, which makes the changes.
    is_follower: AtomicBool,
}

#[derive(Debug)]
struct Sources {
    operators: Option<OperatorsList>,
    own: Arc<RevocationList>,
}

/// The list that operators keep.
#[derive(Debug)]
struct OperatorsList {
    /// `file` or `url`.
    kind: &'static str,
    /// Path or URL.
    name: Box<str>,
    /// What is in force; nothing when there never was a list.
    list: Option<Arc<RevocationList>>,
    last_success: Option<UnixTime>,
    last_error: Option<String>,
}

/// The revocations of a configuration as they are now, for whoever wants to see them, and what could not be looked at. With
/// `proxies` a list on a server is fetched where none was kept; nothing is made or changed. It blocks.
pub fn as_they_are(
    source: Option<&RevocationSource>,
    state_directory: Option<&Path>,
    proxies: Option<Arc<Proxies>>,
    now: UnixTime,
) -> (Revocations, Vec<String>) {
    let (mut lists, mut unseen) = (Vec::new(), Vec::new());
    let mut add = |name: &str, entries: Result<Vec<Revocation>, String>| match entries {
        Ok(entries) if entries.is_empty() => {}
        Ok(entries) => lists.push((name.into(), in_force(entries, now))),
        Err(fault) => unseen.push(format!("the revocations of {name} were not looked at: {fault}")),
    };
    match source {
        None => {}
        Some(RevocationSource::File(file)) => add(&file.path.display().to_string(), Ok(file.entries.clone())),
        Some(RevocationSource::Remote(remote)) => {
            let kept = state_directory.map(RevocationStore::in_place).map(|store| store.load_fetched(&remote.url));
            let entries = match (kept, proxies) {
                (Some(Ok(Some(list))), _) => read(Path::new("the kept list"), &list.text, KnownIssuers::Any),
                (_, Some(proxies)) => {
                    ListFetcher::new(remote.clone(), proxies, None).fetch().map(Option::unwrap_or_default)
                }
                (Some(Err(fault)), None) => Err(fault),
                (_, None) => Err("no list was kept, and none is fetched".to_owned()),
            };
            add(&without_query(&remote.url), entries);
        }
    }
    if let Some(directory) = state_directory {
        add(OWN, RevocationStore::in_place(directory).load_own());
    }
    (Revocations::new(lists, None), unseen)
}

impl RevocationKeeper {
    /// A keeper of what the configuration and the state directory hold.
    ///
    /// # Errors
    /// [`StartError::Revocations`] when the own entries cannot be read.
    pub fn new(
        source: Option<&RevocationSource>,
        state: &StatePlace,
        issuers: Vec<Box<str>>,
        subject: SubjectForm,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let store: Result<RevocationStore, Box<str>> = match state.directory() {
            None => Err(state.to_string().into()),
            Some(directory) => RevocationStore::within(directory)
                .map_err(|error| Box::from(format!("{} cannot be used: {error}", directory.display()))),
        };
        let now = clock::unix_time();
        let own = match &store {
            Ok(store) => store.load_own().map_err(|fault| StartError::Revocations(store.own_path(), fault))?,
            Err(fault) => match state.meant().and_then(RevocationStore::own_within) {
                // There are some, and nobody may go on without them.
                Some(path) => return Err(StartError::Revocations(path, fault.to_string())),
                None => Vec::new(),
            },
        };
        let operators = source.map(|source| OperatorsList::begin(source, now));
        let issuers = ArcSwap::from_pointee(issuers);
        let sources = Mutex::new(Sources { operators, own: in_force(own, now) });
        let changing = tokio::sync::Mutex::new(());
        let is_follower = AtomicBool::new(false);
        let keeper = Self { slot: Arc::default(), metrics, issuers, subject, sources, store, changing, is_follower };
        keeper.restore(source);
        keeper.install(&keeper.sources());
        Ok(keeper)
    }

    /// What requests are judged by.
    pub const fn slot(&self) -> &Arc<RevocationSlot> {
        &self.slot
    }

    /// Whether the list of every source is there.
    pub fn is_complete(&self) -> bool {
        self.slot.current().are_complete()
    }

    /// Serves with the list that an earlier process fetched, until it can be fetched again.
    fn restore(&self, source: Option<&RevocationSource>) {
        let Some(RevocationSource::Remote(remote)) = source else { return };
        if let (Some((list, date)), Some(operators)) = (self.kept(remote), &mut self.sources().operators) {
            operators.list = Some(list);
            operators.last_success = Some(date);
        }
    }

    /// The list that an earlier process fetched from there, and when.
    fn kept(&self, remote: &RemoteRevocations) -> Option<(Arc<RevocationList>, UnixTime)> {
        let store = self.store.as_ref().ok()?;
        let path = store.fetched_path();
        let fetched = match store.load_fetched(&remote.url) {
            Ok(Some(fetched)) => fetched,
            Ok(None) => return None,
            Err(fault) => {
                log::warn!("revocations: the kept list {} is not used: {fault}", path.display());
                return None;
            }
        };
        let entries = match read(Path::new("the kept list"), &fetched.text, KnownIssuers::Any) {
            Ok(entries) => entries,
            Err(fault) => {
                log::warn!("revocations: the kept list {} is not used: {fault}", path.display());
                return None;
            }
        };
        let date = clock::rfc3339(fetched.fetched_at);
        log::info!("revocations: serves with {} entries kept since {date} until they can be fetched", entries.len());
        Some((in_force(entries, clock::unix_time()), fetched.fetched_at))
    }

    /// The operators' list as it was read now, or why it could not be; nothing when it is what it was.
    fn settle(&self, outcome: Result<Option<Vec<Revocation>>, String>) {
        let now = clock::unix_time();
        // Indexed before anybody has to wait for it.
        let outcome = outcome.map(|entries| entries.map(|entries| in_force(entries, now)));
        let mut sources = self.sources();
        let Some(operators) = &mut sources.operators else { return };
        let list = match outcome {
            Ok(list) => list,
            Err(error) => {
                if operators.last_error.as_ref() != Some(&error) {
                    let consequence = match &operators.list {
                        Some(list) => format!("the last good list ({} entries) stays in force", list.entries().len()),
                        None => "there is no list yet, so that every token is refused".to_owned(),
                    };
                    log::error!("revocations: {error}; {consequence}");
                }
                operators.last_error = Some(error);
                return self.install(&sources);
            }
        };
        if operators.last_error.take().is_some() {
            log::info!("revocations: {} can be read again", operators.name);
        }
        operators.last_success = Some(now);
        if let Some(list) = list
            && operators.list.as_ref().is_none_or(|before| before.entries() != list.entries())
        {
            self.tell_change(&operators.name, operators.list.as_deref(), &list, now);
            operators.list = Some(list);
        }
        self.install(&sources);
    }

    /// Drops what has ceased to count.
    async fn sweep(self: &Arc<Self>) {
        let now = clock::unix_time();
        {
            let mut sources = self.sources();
            if let Some(list) = sources.operators.as_mut().and_then(|operators| operators.list.as_mut())
                && list.has_ended_entries(now)
            {
                *list = Arc::new(list.without_ended(now));
                self.install(&sources);
            }
        }
        if self.is_follower.load(Ordering::SeqCst) {
            return self.read_own(now).await;
        }
        let own = Arc::clone(&self.sources().own);
        if own.has_ended_entries(now)
            && let Err(error) = self.change_own(|_| Ok(true)).await
        {
            log::warn!("revocations: entries that have ended stay on disk for now: {error}");
            let mut sources = self.sources();
            sources.own = Arc::new(sources.own.without_ended(now));
            self.install(&sources);
        }
    }

    /// Waits until the changes that are being made are made.
    pub async fn until_settled(&self) {
        drop(self.changing.lock().await);
    }

    /// From now on the own entries are another process's, which serves in the place of this one: they are read again and
    /// again, and not changed here any more. What this one still does is held to them too.
    pub fn follow(&self) {
        self.is_follower.store(true, Ordering::SeqCst);
    }

    /// Whether another process serves in the place of this one.
    pub fn is_following(&self) -> bool {
        self.is_follower.load(Ordering::SeqCst)
    }

    async fn read_own(self: &Arc<Self>, now: UnixTime) {
        let Ok(store) = self.store.clone() else { return };
        match tokio::task::spawn_blocking(move || store.load_own()).await {
            Ok(Ok(entries)) => {
                let mut sources = self.sources();
                if sources.own.entries() != entries {
                    sources.own = in_force(entries, now);
                    self.install(&sources);
                }
            }
            Ok(Err(fault)) => log::warn!("revocations: what was read before stays in force: {fault}"),
            Err(_) => {}
        }
    }

    fn install(&self, sources: &Sources) {
        let mut lists: Vec<(Box<str>, Arc<RevocationList>)> = Vec::new();
        let mut missing = None;
        if let Some(operators) = &sources.operators {
            match &operators.list {
                Some(list) => lists.push((operators.name.clone(), Arc::clone(list))),
                None => missing = Some(operators.name.clone()),
            }
            self.metrics
                .set_revocation_source(operators.kind, operators.list.is_some() && operators.last_error.is_none());
        }
        lists.push((OWN.into(), Arc::clone(&sources.own)));
        lists.retain(|(_, list)| !list.entries().is_empty());
        self.metrics.set_revocation_source(OWN, self.store.is_ok());
        self.metrics.set_revocations(lists.iter().map(|(_, list)| list.entries().len()).sum());
        self.slot.install(Revocations::new(lists, missing));
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn in_force(mut entries: Vec<Revocation>, now: UnixTime) -> Arc<RevocationList> {
    entries.retain(|entry| entry.is_in_force(now));
    Arc::new(RevocationList::new(entries))
}

/// The entries of a text, or the first thing that is wrong with it.
fn read(name: &Path, text: &[u8], issuers: KnownIssuers<'_>) -> Result<Vec<Revocation>, String> {
    let mut problems = Problems::new();
    let entries = revocation_list::parse(&name.display().to_string(), text, issuers, &mut problems);
    entries.ok_or_else(|| problems.first_error())
}
