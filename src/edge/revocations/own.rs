//! The instance's own entries: made and taken back, on disk before they are in force or out of it.
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

use crate::{
    edge::{
        clock,
        revocations::{
            OperatorsList, RevocationKeeper, in_force,
            store::{OWN_BYTES_MAX, OWN_ENTRIES_MAX},
        },
    },
    gate::revocation::{Revocation, RevocationField},
};

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
    /// Adds an entry of the instance's own; gives its name, and whether it is new. It is on disk and in force then.
    ///
    /// # Errors
    /// A [`ChangeError`]; nothing was changed.
    pub async fn add(self: &Arc<Self>, entry: Revocation) -> Result<(String, bool), ChangeError> {
        if let Some(name) = entry.text(RevocationField::Issuer)
            && !self.issuers.load().iter().any(|known| known.as_ref() == name)
        {
            return Err(ChangeError::UnknownIssuer(self.issuers.load().join(", ").into()));
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
            Some(OperatorsList { list: Some(list), name, .. })
                if list.entries().iter().any(|entry| entry.id() == id) =>
            {
                ChangeError::InOperatorsList(name.clone())
            }
            Some(_) | None => ChangeError::NotFound,
        })
    }

    /// Changes the own entries on disk, then in memory. It is finished whatever becomes of whoever asked.
    pub(super) async fn change_own<F>(self: &Arc<Self>, change: F) -> Result<bool, ChangeError>
    where
        F: FnOnce(&mut Vec<Revocation>) -> Result<bool, ChangeError> + Send + 'static,
    {
        let keeper = Arc::clone(self);
        let task = tokio::spawn(async move {
            let _turn = keeper.changing.lock().await;
            if keeper.is_follower.load(Ordering::SeqCst) {
                return Err(ChangeError::NotKept("another process serves in the place of this one".into()));
            }
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
}
