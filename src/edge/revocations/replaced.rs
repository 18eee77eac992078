//! What another configuration changes of the revocations: prepared while the one before is in force, and put in force in one
//! step. The entries of this instance's own stay whatever comes.
use std::{mem, sync::Arc};

use crate::{
    config::settings::RevocationSource,
    edge::{
        clock,
        jwks_client::Proxies,
        revocations::{OperatorsList, RevocationKeeper, in_force, remote::ListFetcher},
    },
    gate::revocation::Revocation,
};

/// Revocations that are ready to come into force.
#[derive(Debug)]
pub struct NextRevocations {
    issuers: Vec<Box<str>>,
    operators: Operators,
}

#[derive(Debug)]
enum Operators {
    /// The source is what it was, and nothing was read.
    Stay,
    /// The source is what it was, and these are its entries.
    Read(Vec<Revocation>),
    /// There is another source, or none any more.
    Other(Option<OperatorsList>),
}

impl NextRevocations {
    /// Reads or fetches what is new. It blocks.
    ///
    /// # Errors
    /// When a list that is new cannot be had, and none is kept.
    pub(super) fn prepare(
        keeper: &RevocationKeeper,
        before: Option<&RevocationSource>,
        now: Option<&RevocationSource>,
        issuers: Vec<Box<str>>,
        proxies: Arc<Proxies>,
    ) -> Result<Self, String> {
        let operators = match (before, now) {
            (Some(RevocationSource::File(before)), Some(RevocationSource::File(now))) if before.path == now.path => {
                Operators::Read(now.entries.clone())
            }
            (Some(RevocationSource::Remote(before)), Some(RevocationSource::Remote(now))) if before.url == now.url => {
                Operators::Stay
            }
            (None, None) => Operators::Stay,
            (Some(_), None) => Operators::Other(None),
            (_, Some(source)) => {
                let now = clock::unix_time();
                let mut list = OperatorsList::begin(source, now);
                if let RevocationSource::Remote(remote) = source {
                    let store = keeper.store.as_ref().ok().cloned();
                    let fetched = ListFetcher::new(remote.clone(), proxies, store).fetch();
                    match (fetched, keeper.kept(remote)) {
                        (Ok(entries), _) => {
                            list.list = Some(in_force(entries.unwrap_or_default(), now));
                            list.last_success = Some(now);
                        }
                        (Err(fault), Some((kept, date))) => {
                            log::warn!("revocations: {fault}; the kept list serves");
                            (list.list, list.last_success, list.last_error) = (Some(kept), Some(date), Some(fault));
                        }
                        (Err(fault), None) => return Err(format!("the list of revocations cannot be had: {fault}")),
                    }
                }
                Operators::Other(Some(list))
            }
        };
        Ok(Self { issuers, operators })
    }

    /// Whether the task that looked at the source before may go on.
    pub const fn keeps_source(&self) -> bool {
        matches!(self.operators, Operators::Stay | Operators::Read(_))
    }
}

impl RevocationKeeper {
    /// Puts revocations in force that were prepared.
    pub fn replace(&self, next: NextRevocations) {
        self.issuers.store(Arc::new(next.issuers));
        let now = clock::unix_time();
        match next.operators {
            Operators::Stay => {}
            Operators::Read(entries) => self.settle(Ok(Some(entries))),
            Operators::Other(operators) => {
                let mut sources = self.sources();
                let before = mem::replace(&mut sources.operators, operators);
                if let Some(before) = &before {
                    self.metrics.forget_revocation_source(before.kind);
                }
                let list = sources.operators.as_ref().and_then(|operators| operators.list.clone());
                let name = sources.operators.as_ref().or(before.as_ref()).map_or("", |operators| &operators.name);
                let earlier = before.as_ref().and_then(|before| before.list.as_deref());
                self.tell_change(name, earlier, &list.unwrap_or_else(|| in_force(Vec::new(), now)), now);
                self.install(&sources);
            }
        }
    }
}
