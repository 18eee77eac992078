//! Keeps the union of all revocations in force: the operators' list, which is input only, and the entries that were made
//! through the admin address, which live in the state directory.
//!
//! Nothing that fails here takes an entry out of force: what cannot be read leaves the last good list where it is.
mod remote;
mod shown;
mod store;
mod watch;

use std::{
    collections::HashSet,
    fmt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};

use crate::{
    config::{
        revocation_entry::RevocationEntry,
        revocation_list::{self, KnownIssuers},
        error::Problems,
        settings::{RevocationSource, SubjectForm},
    },
    edge::{
        clock,
        metrics::Metrics,
        preconditions::StartError,
        state_directory::StatePlace,
    },
    gate::{
        revocation::{Revocation, RevocationField, RevocationList, Revocations},
        time::UnixTime,
    },
    state::revocation_slot::RevocationSlot,
};

pub use store::{OWN_BYTES_MAX, OWN_ENTRIES_MAX, RevocationStore};
pub use watch::RevocationWatch;

/// How the instance's own entries are called.
const OWN: &str = "own";
/// So many entries that came back to life are named in the log at most.
const NAMED_MAX: usize = 20;

/// Keeps the revocations of a process.
#[derive(Debug)]
pub struct RevocationKeeper {
    slot: Arc<RevocationSlot>,
    metrics: Arc<Metrics>,
    /// The issuers of the configuration.
    issuers: Vec<Box<str>>,
    /// How subjects are shown in the log.
    subject: SubjectForm,
    sources: Mutex<Sources>,
    /// Where own entries and fetched lists are kept, or why they are not.
    store: Result<RevocationStore, Box<str>>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
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

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeError {
    /// Nothing can be kept, for this reason: an entry that the next start forgets would be a false comfort.
    NotKept(Box<str>),
    /// There are as many entries as can be.
    Full,
    /// The entry names an issuer that is not configured.
    UnknownIssuer(Box<str>),
    /// The entry has ended already.
    Ended,
    /// No entry has this name.
    NotFound,
    /// The entry is in the operators' list, named here.
    InOperatorsList(Box<str>),
}

impl fmt::Display for ChangeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotKept(reason) => write!(formatter, "nothing was changed: the entries cannot be kept: {reason}"),
            Self::Full => write!(
                formatter,
                "nothing was changed: this instance takes {OWN_ENTRIES_MAX} entries or {OWN_BYTES_MAX} bytes; \
                 `revocation.file` and `revocation.url` take more"
            ),
            Self::UnknownIssuer(known) => {
                write!(formatter, "nothing was changed: no issuer of the configuration has this name; there is {known}")
            }
            Self::Ended => formatter.write_str("nothing was changed: `until` has passed"),
            Self::NotFound => formatter.write_str("no entry has this id"),
            Self::InOperatorsList(name) => {
                write!(formatter, "this entry is in {name}, which this instance only reads: take it out there")
            }
        }
    }
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
        let store = match state.directory() {
            None => Err(state.to_string().into()),
            Some(directory) => RevocationStore::within(directory).map_err(|error| {
                Box::from(format!("{} cannot be used: {error}", directory.display()))
            }),
        };
        let now = clock::unix_time();
        let own = match &store {
            Ok(store) => store.load_own().map_err(|fault| StartError::Revocations(store.own_path(), fault))?,
            Err(_) => Vec::new(),
        };
        let operators = source.map(|source| match source {
            RevocationSource::File(file) => OperatorsList {
                kind: "file",
                name: file.path.display().to_string().into(),
                list: Some(in_force(file.entries.clone(), now)),
                last_success: Some(now),
                last_error: None,
            },
            RevocationSource::Remote(remote) => OperatorsList {
                kind: "url",
                name: remote.url.as_str().into(),
                list: None,
                last_success: None,
                last_error: None,
            },
        });
        let sources = Mutex::new(Sources { operators, own: in_force(own, now) });
        let changing = tokio::sync::Mutex::new(());
        let keeper = Self { slot: Arc::default(), metrics, issuers, subject, sources, store, changing };
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
        let (Some(RevocationSource::Remote(remote)), Ok(store)) = (source, &self.store) else { return };
        let path = store.fetched_path();
        let fetched = match store.load_fetched(&remote.url) {
            Ok(Some(fetched)) => fetched,
            Ok(None) => return,
            Err(fault) => return log::warn!("revocations: the kept list {} is not used: {fault}", path.display()),
        };
        let entries = match read(Path::new("the kept list"), &fetched.text, KnownIssuers::Any) {
            Ok(entries) => entries,
            Err(fault) => return log::warn!("revocations: the kept list {} is not used: {fault}", path.display()),
        };
        let date = clock::rfc3339(fetched.fetched_at);
        log::info!("revocations: serves with {} entries kept since {date} until they can be fetched", entries.len());
        if let Some(operators) = &mut self.sources().operators {
            operators.list = Some(in_force(entries, clock::unix_time()));
            operators.last_success = Some(fetched.fetched_at);
        }
    }

    /// Adds an entry of the instance's own; gives its name, and whether it is new. It is on disk and in force then.
    ///
    /// # Errors
    /// A [`ChangeError`]; nothing was changed.
    pub async fn add(self: &Arc<Self>, entry: Revocation) -> Result<(String, bool), ChangeError> {
        if let Some(name) = entry.text(RevocationField::Issuer)
            && !self.issuers.iter().any(|known| known.as_ref() == name)
        {
            return Err(ChangeError::UnknownIssuer(self.issuers.join(", ").into()));
        }
        if !entry.is_in_force(clock::unix_time()) {
            return Err(ChangeError::Ended);
        }
        let id = entry.id();
        let added = self.change_own(move |entries| {
            if entries.iter().any(|known| known.effect() == entry.effect()) {
                return Ok(false);
            }
            if entries.len() >= OWN_ENTRIES_MAX {
                return Err(ChangeError::Full);
            }
            entries.push(entry);
            Ok(true)
        });
        Ok((id, added.await?))
    }

    /// Removes an entry of the instance's own, and gives it.
    ///
    /// # Errors
    /// A [`ChangeError`]; nothing was changed.
    pub async fn remove(self: &Arc<Self>, id: &str) -> Result<Revocation, ChangeError> {
        let wanted = id.to_owned();
        let removed = Arc::new(Mutex::new(None));
        let found = Arc::clone(&removed);
        let was_there = self.change_own(move |entries| {
            let Some(position) = entries.iter().position(|entry| entry.id() == wanted) else { return Ok(false) };
            *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(entries.remove(position));
            Ok(true)
        });
        was_there.await?;
        let removed = removed.lock().unwrap_or_else(PoisonError::into_inner).take();
        removed.ok_or_else(|| match &self.sources().operators {
            Some(OperatorsList { list: Some(list), name, .. }) if list.entries().iter().any(|entry| entry.id() == id) => {
                ChangeError::InOperatorsList(name.clone())
            }
            Some(_) | None => ChangeError::NotFound,
        })
    }

    /// Changes the own entries on disk, then in memory. It is finished whatever becomes of whoever asked.
    async fn change_own<F>(self: &Arc<Self>, change: F) -> Result<bool, ChangeError>
    where
        F: FnOnce(&mut Vec<Revocation>) -> Result<bool, ChangeError> + Send + 'static,
    {
        let keeper = Arc::clone(self);
        let task = tokio::spawn(async move {
            let _turn = keeper.changing.lock().await;
            let store = keeper.store.clone().map_err(ChangeError::NotKept)?;
            let now = clock::unix_time();
            let own = Arc::clone(&keeper.sources().own);
            let mut entries = own.without_ended(now).into_entries();
            if !change(&mut entries)? {
                return Ok(false);
            }
            let saved = tokio::task::spawn_blocking(move || store.save_own(&entries).map(|()| entries)).await;
            let entries = match saved {
                Ok(Ok(entries)) => entries,
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::FileTooLarge => return Err(ChangeError::Full),
                Ok(Err(error)) => return Err(ChangeError::NotKept(error.to_string().into())),
                Err(_) => return Err(ChangeError::NotKept("it was interrupted".into())),
            };
            let mut sources = keeper.sources();
            sources.own = in_force(entries, now);
            keeper.install(&sources);
            Ok(true)
        });
        task.await.unwrap_or_else(|_| Err(ChangeError::NotKept("it was interrupted".into())))
    }

    /// All entries and where they come from, for `GET /revocations`.
    pub fn view(&self) -> Value {
        let sources = self.sources();
        let entries = |kind: &'static str, list: &RevocationList| -> Vec<Value> {
            let view = |entry: &Revocation| {
                let mut view = json!({ "id": entry.id(), "source": kind, "reason": entry.rejection().label() });
                if let (Value::Object(view), Ok(Value::Object(said))) =
                    (&mut view, serde_json::to_value(RevocationEntry::from(entry)))
                {
                    view.extend(said);
                }
                view
            };
            list.entries().iter().map(view).collect()
        };
        let mut all = entries(OWN, &sources.own);
        let mut places = vec![json!({
            "source": OWN,
            "name": self.store.as_ref().ok().map(|store| store.own_path().display().to_string()),
            "entries": sources.own.entries().len(),
            "last_error": self.store.as_ref().err(),
        })];
        if let Some(operators) = &sources.operators {
            all.extend(operators.list.iter().flat_map(|list| entries(operators.kind, list)));
            places.push(json!({
                "source": operators.kind,
                "name": operators.name,
                "entries": operators.list.as_ref().map(|list| list.entries().len()),
                "last_success": operators.last_success.map(clock::rfc3339),
                "last_error": operators.last_error,
            }));
        }
        json!({ "entries": all, "sources": places })
    }

    /// The operators' list as it was read now, or why it could not be; nothing when it is what it was.
    fn settle(&self, outcome: Result<Option<Vec<Revocation>>, String>) {
        let now = clock::unix_time();
        let mut sources = self.sources();
        let Some(operators) = &mut sources.operators else { return };
        let entries = match outcome {
            Ok(entries) => entries,
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
        if let Some(entries) = entries {
            let list = in_force(entries, now);
            if operators.list.as_ref().is_none_or(|before| before.entries() != list.entries()) {
                self.tell_change(&operators.name, operators.list.as_deref(), &list, now);
                operators.list = Some(list);
            }
        }
        self.install(&sources);
    }

    fn tell_change(&self, name: &str, before: Option<&RevocationList>, list: &RevocationList, now: UnixTime) {
        let before = before.map_or(&[][..], RevocationList::entries);
        let known: HashSet<_> = before.iter().map(Revocation::effect).collect();
        let kept: HashSet<_> = list.entries().iter().map(Revocation::effect).collect();
        let new = kept.difference(&known).count();
        log::info!("revocations: {name} has {} entries in force, {new} of them new", list.entries().len());
        let names = |entry: &&Revocation| {
            entry.text(RevocationField::Issuer).is_some_and(|name| !self.issuers.iter().any(|known| &**known == name))
        };
        let foreign = list.entries().iter().filter(names).count();
        if foreign > 0 {
            log::info!("revocations: {foreign} entries of {name} name issuers that are not configured here");
        }
        let gone: Vec<&Revocation> =
            before.iter().filter(|entry| entry.is_in_force(now) && !kept.contains(&entry.effect())).collect();
        for entry in gone.iter().take(NAMED_MAX) {
            log::warn!("revocations: no longer in {name}: {}", shown::entry(entry, self.subject));
        }
        if gone.len() > NAMED_MAX {
            log::warn!("revocations: and {} more are no longer in {name}", gone.len() - NAMED_MAX);
        }
    }

    /// An entry as the log may show it.
    pub fn shown(&self, entry: &Revocation) -> String {
        shown::entry(entry, self.subject)
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
        let own = Arc::clone(&self.sources().own);
        if own.has_ended_entries(now) {
            if let Err(error) = self.change_own(|_| Ok(true)).await {
                log::warn!("revocations: entries that have ended stay on disk for now: {error}");
                let mut sources = self.sources();
                sources.own = Arc::new(sources.own.without_ended(now));
                self.install(&sources);
            }
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
            self.metrics.set_revocation_source(operators.kind, operators.list.is_some() && operators.last_error.is_none());
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
