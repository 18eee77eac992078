//! Fetches the list of a server: only when it changed, bounded, and over https unless the configuration lifts that. It
//! blocks.
use std::{path::Path, sync::Arc};

use crate::{
    config::{revocation_list::KnownIssuers, settings::RemoteRevocations},
    edge::{
        clock,
        jwks_client::{self, Answer, FetchError, FetchRequest, Proxies, Wanted, without_query},
        revocations::{
            read,
            store::{FetchedList, RevocationStore},
        },
    },
    gate::revocation::Revocation,
};

/// Fetches one list again and again.
#[derive(Debug)]
pub(super) struct ListFetcher {
    remote: RemoteRevocations,
    proxies: Arc<Proxies>,
    store: Option<RevocationStore>,
    /// Of the list that is in force, if it was fetched by this process.
    etag: Option<Box<str>>,
}

impl ListFetcher {
    pub(super) const fn new(remote: RemoteRevocations, proxies: Arc<Proxies>, store: Option<RevocationStore>) -> Self {
        Self { remote, proxies, store, etag: None }
    }

    /// The entries; nothing when they are those of the last fetch.
    ///
    /// # Errors
    /// Says what happened, in words for people.
    pub(super) fn fetch(&mut self) -> Result<Option<Vec<Revocation>>, String> {
        let url = &self.remote.url;
        let answer = jwks_client::fetch(&FetchRequest {
            url,
            wanted: Wanted::Revocations,
            if_none_match: self.etag.as_deref(),
            timeout: self.remote.timeout,
            authorities_pem: self.remote.ca_pem.as_deref(),
            insecure_http: self.remote.insecure_http,
            proxies: &self.proxies,
        });
        let name = without_query(url);
        let failed = |error: FetchError| format!("{name}: {error}");
        let fetched = match answer.map_err(failed)? {
            Answer::Fetched(fetched) => fetched,
            Answer::NotModified { .. } => return Ok(None),
        };
        let entries = read(Path::new(name.as_ref()), &fetched.body, KnownIssuers::Any)?;
        self.etag = fetched.etag;
        if let Some(store) = &self.store {
            let list = FetchedList { text: fetched.body, fetched_at: clock::unix_time() };
            if let Err(error) = store.save_fetched(url, &list) {
                let path = store.fetched_path();
                log::warn!("revocations: the list cannot be kept in {}: {error}", path.display());
            }
        }
        Ok(Some(entries))
    }
}
