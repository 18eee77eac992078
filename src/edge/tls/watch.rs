//! Reads the files of TLS again when they change. What cannot be used changes nothing and is said once.
use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use aws_lc_rs::digest::{self, Digest};
use pingora_core::{server::ShutdownWatch, services::background::BackgroundService};
use tokio::sync::Mutex;

use crate::{
    config::{
        certificate::{AUTHORITIES_BYTES_MAX, CHAIN_BYTES_MAX},
        secret::SECRET_BYTES_MAX,
        settings::listener::{Listener, ListenerTls},
    },
    edge::{
        file_watch::{FileWatch, PERIOD},
        metrics::Metrics,
        tls::{MaterialError, Terminator, material::Material},
    },
};

/// Watches the files of all listeners for as long as the process runs.
#[derive(Debug)]
pub struct CertificateWatch {
    watched: Mutex<Vec<Watched>>,
    terminators: Vec<Option<Arc<Terminator>>>,
}

/// The files of one listener.
#[derive(Debug)]
struct Watched {
    terminator: Arc<Terminator>,
    files: Vec<(FileWatch, Option<Digest>)>,
    metrics: Arc<Metrics>,
    said: Option<String>,
}

impl CertificateWatch {
    /// Reads the files of every listener that has some, once.
    ///
    /// # Errors
    /// A [`MaterialError`] that names the file.
    pub fn begin(listeners: &[Listener], metrics: &Arc<Metrics>) -> Result<Self, MaterialError> {
        let mut watched = Vec::new();
        let mut terminators = Vec::new();
        for listener in listeners {
            let Some((terminator, material)) = Terminator::new(listener)? else {
                terminators.push(None);
                continue;
            };
            let terminator = Arc::new(terminator);
            let of = Watched::new(Arc::clone(&terminator), Arc::clone(metrics));
            of.tell_ends(&material);
            watched.push(of);
            terminators.push(Some(terminator));
        }
        Ok(Self { watched: Mutex::new(watched), terminators })
    }

    /// TLS of the listener at this position; nothing for one without.
    pub fn terminator(&self, position: usize) -> Option<Arc<Terminator>> {
        self.terminators.get(position)?.clone()
    }
}

impl Watched {
    fn new(terminator: Arc<Terminator>, metrics: Arc<Metrics>) -> Self {
        let files =
            paths(&terminator.settings).map(|(path, bytes_max)| (FileWatch::new(path, bytes_max), None)).collect();
        Self { terminator, files, metrics, said: None }
    }

    /// One look. Blocks.
    fn look(&mut self) {
        let mut is_changed = false;
        for (file, seen) in &mut self.files {
            match file.look(false, |content| Ok(digest::digest(&digest::SHA256, content))) {
                None => {}
                // The first look reads what the start read.
                Some(Ok(digest)) => {
                    let before = seen.replace(digest);
                    is_changed |= before.is_some_and(|before| before.as_ref() != digest.as_ref());
                }
                Some(Err(_)) => is_changed = true,
            }
        }
        // What was wrong may be right again although no content is another than before.
        if is_changed || self.said.is_some() {
            self.renew();
        }
    }

    fn renew(&mut self) {
        let listener = &self.terminator.listener;
        let renewed = Material::read(&self.terminator.settings)
            .and_then(|material| self.terminator.replace(&material).map(|()| material));
        match renewed {
            Ok(material) => {
                log::info!("listener {listener}: new connections are shown the certificates as they are now");
                self.said = None;
                self.tell_ends(&material);
            }
            Err(error) => {
                let error = error.to_string();
                if self.said.as_deref() != Some(&error) {
                    log::error!("listener {listener}: its certificates stay as they are: {error}");
                }
                self.said = Some(error);
            }
        }
    }

    fn tell_ends(&self, material: &Material) {
        for (files, pair) in self.terminator.settings.certificates.iter().zip(&material.pairs) {
            self.metrics.certificate_ends(&self.terminator.listener, &files.written, pair.not_after);
        }
    }
}

fn paths(settings: &ListenerTls) -> impl Iterator<Item = (PathBuf, u64)> {
    let pairs = settings.certificates.iter().flat_map(|files| {
        [(files.certificate.clone(), CHAIN_BYTES_MAX), (files.private_key.clone(), SECRET_BYTES_MAX)]
    });
    let clients = settings.clients.iter().map(|clients| (clients.authorities.clone(), AUTHORITIES_BYTES_MAX));
    pairs.chain(clients)
}

#[async_trait]
impl BackgroundService for CertificateWatch {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut watched = std::mem::take(&mut *self.watched.lock().await);
        while !watched.is_empty() {
            let looked = tokio::task::spawn_blocking(move || {
                watched.iter_mut().for_each(Watched::look);
                watched
            });
            let Ok(still) = looked.await else { return };
            watched = still;
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                _ = shutdown.changed() => return,
            }
        }
    }
}
