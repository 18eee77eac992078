//! What TLS to the servers of an upstream is made of: whom to trust and what to show, read from files, and read again when
//! they change. Files that cannot be used change nothing and are said once.
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pingora_core::protocols::tls::CaType;
use pingora_core::tls::{CertificateDer, ClientConfig, PrivateKeyDer, RootCertStore, install_default_crypto_provider};
use pingora_core::utils::tls::{CertKey, WrappedX509, parse_x509};
use zeroize::Zeroizing;

use crate::config::certificate::{AUTHORITIES_BYTES_MAX, CHAIN_BYTES_MAX, CertificateChain, authorities};
use crate::config::secret::{SECRET_BYTES_MAX, Secret};
use crate::config::settings::UpstreamTls;
use crate::edge::file_watch::{FileWatch, PERIOD};
use crate::edge::files::read_file;
use crate::edge::upstream::servers::Servers;
use crate::gate::time::UnixTime;

/// Whom to trust and what to show.
#[derive(Clone, Debug, Default)]
pub(super) struct Credentials {
    /// Nothing for the system's authorities.
    pub(super) authorities: Option<Arc<CaType>>,
    /// Nothing to show.
    pub(super) pair: Option<Arc<CertKey>>,
    /// Until when the certificate that is shown is valid.
    pub(super) not_after: Option<UnixTime>,
    /// Tells these from any others: connections are shared only under the same.
    pub(super) fingerprint: u64,
}

/// The content of the files.
#[derive(Clone, Default)]
struct Content {
    authorities: Option<Vec<u8>>,
    chain: Option<Vec<u8>>,
    key: Option<Zeroizing<Vec<u8>>>,
}

impl Credentials {
    /// Reads the files.
    ///
    /// # Errors
    /// Says which file cannot be used, and why.
    pub(super) fn read(tls: &UpstreamTls) -> Result<Self, String> {
        let read = |path: &PathBuf, bytes_max| read_file(path, bytes_max).map_err(|error| error.to_string());
        let mut content = Content::default();
        if let Some(path) = &tls.ca_file {
            content.authorities = Some(read(path, AUTHORITIES_BYTES_MAX)?);
        }
        if let Some(files) = &tls.certificate {
            content.chain = Some(read(&files.certificate, CHAIN_BYTES_MAX)?);
            content.key = Some(Zeroizing::new(read(&files.private_key, SECRET_BYTES_MAX)?));
        }
        Self::of(tls, &content)
    }

    fn of(tls: &UpstreamTls, content: &Content) -> Result<Self, String> {
        // As every connection does, so that nothing is found out at the first request.
        install_default_crypto_provider();
        let mut hasher = DefaultHasher::new();
        let mut roots = RootCertStore::empty();
        let mut credentials = Self::default();
        if let (Some(path), Some(pem)) = (&tls.ca_file, &content.authorities) {
            let fault = |fault: String| format!("{}: {fault}", path.display());
            let found = authorities(pem).map_err(|error| fault(error.to_string()))?;
            for der in &found {
                roots.add(CertificateDer::from(der.as_slice())).map_err(|error| fault(error.to_string()))?;
            }
            ("authorities", &found).hash(&mut hasher);
            let wrapped: Vec<WrappedX509> = found.into_iter().map(|der| WrappedX509::new(der, parse_x509)).collect();
            credentials.authorities = Some(wrapped.into());
        }
        if let (Some(files), Some(chain), Some(key)) = (&tls.certificate, &content.chain, &content.key) {
            let fault = |path: &Path, fault: String| format!("{}: {fault}", path.display());
            let chain = CertificateChain::parse(chain).map_err(|error| fault(&files.certificate, error.to_string()))?;
            let key = Secret::from_file_content(key.to_vec());
            let key = chain.key(key.bytes()).map_err(|error| fault(&files.private_key, error.to_string()))?;
            let certificates = chain.certificates.iter().map(|der| CertificateDer::from(der.clone())).collect();
            let der = PrivateKeyDer::try_from(key.to_vec())
                .map_err(|error| fault(&files.private_key, (*error).to_owned()))?;
            ClientConfig::builder()
                .with_root_certificates(roots)
                .with_client_auth_cert(certificates, der)
                .map_err(|error| fault(&files.private_key, error.to_string()))?;
            ("chain", &chain.certificates).hash(&mut hasher);
            credentials.not_after = Some(chain.not_after);
            credentials.pair = Some(Arc::new(CertKey::new(chain.certificates, key.to_vec())));
        }
        credentials.fingerprint = hasher.finish();
        Ok(credentials)
    }
}

/// The files of one upstream, watched.
pub(super) struct CredentialWatch {
    tls: UpstreamTls,
    authorities: Option<FileWatch>,
    chain: Option<FileWatch>,
    key: Option<FileWatch>,
    content: Content,
    /// What those in force were made of.
    fingerprint: u64,
    /// What could not be used at the last look.
    fault: Option<String>,
    /// What was said to the log.
    said: Option<String>,
}

/// What a look at the files brought.
#[derive(Debug)]
pub(super) enum Look {
    /// Nothing to be told.
    Same,
    /// They changed and can be used.
    Changed(Box<Credentials>),
    /// What could not be used can be used again, and is what it was.
    Recovered,
    /// They cannot be used, for this reason.
    Broken(String),
}

impl CredentialWatch {
    /// A watch for files of which those with this fingerprint are in force; nothing when there are no files.
    pub(super) fn new(tls: &UpstreamTls, fingerprint: u64) -> Option<Self> {
        let files = tls.certificate.as_ref();
        if tls.ca_file.is_none() && files.is_none() {
            return None;
        }
        let watch = |path: &PathBuf, bytes_max| FileWatch::new(path.clone(), bytes_max);
        Some(Self {
            authorities: tls.ca_file.as_ref().map(|path| watch(path, AUTHORITIES_BYTES_MAX)),
            chain: files.map(|files| watch(&files.certificate, CHAIN_BYTES_MAX)),
            key: files.map(|files| watch(&files.private_key, SECRET_BYTES_MAX)),
            tls: tls.clone(),
            content: Content::default(),
            fingerprint,
            fault: None,
            said: None,
        })
    }

    /// Looks at the files. Blocks.
    pub(super) fn look(&mut self) -> Look {
        let Some(outcome) = self.read_changes() else { return self.settle(None) };
        match outcome.and_then(|()| Credentials::of(&self.tls, &self.content)) {
            Ok(credentials) => {
                self.fault = None;
                let was_broken = self.said.take().is_some();
                if credentials.fingerprint != self.fingerprint {
                    self.fingerprint = credentials.fingerprint;
                    return Look::Changed(Box::new(credentials));
                }
                if was_broken { Look::Recovered } else { Look::Same }
            }
            Err(fault) => self.settle(Some(fault)),
        }
    }

    /// What is broken is told when it still is at the next look: certificate and key are two files, and one of them may have
    /// been read before the other was replaced.
    fn settle(&mut self, fault: Option<String>) -> Look {
        let is_new = fault.is_some() && fault != self.fault;
        if is_new {
            self.fault = fault;
            return Look::Same;
        }
        match &self.fault {
            Some(fault) if self.said.as_ref() != Some(fault) => {
                self.said = Some(fault.clone());
                Look::Broken(fault.clone())
            }
            Some(_) | None => Look::Same,
        }
    }

    /// Reads what changed; nothing when nothing was read.
    fn read_changes(&mut self) -> Option<Result<(), String>> {
        let mut found: Option<Result<(), String>> = None;
        let mut take = |watch: &mut Option<FileWatch>, place: &mut dyn FnMut(Vec<u8>)| {
            let Some(read) = watch.as_mut().and_then(|watch| watch.look(false, |content| Ok(content.to_vec()))) else {
                return;
            };
            let outcome = read.map(place);
            if !matches!(found, Some(Err(_))) {
                found = Some(outcome);
            }
        };
        let content = &mut self.content;
        take(&mut self.authorities, &mut |pem| content.authorities = Some(pem));
        take(&mut self.chain, &mut |pem| content.chain = Some(pem));
        take(&mut self.key, &mut |pem| content.key = Some(Zeroizing::new(pem)));
        found
    }
}

/// Looks at the files of one upstream again and again.
pub(super) async fn keep_reading(servers: Arc<Servers>) {
    let settings = servers.settings();
    let Some((tls, fingerprint)) = settings.tls.as_ref().zip(servers.fingerprint()) else { return };
    let Some(mut watch) = CredentialWatch::new(tls, fingerprint) else { return };
    let name = &settings.name;
    loop {
        let looked = tokio::task::spawn_blocking(move || {
            let outcome = watch.look();
            (watch, outcome)
        });
        let Ok((looked_at, outcome)) = looked.await else { return };
        watch = looked_at;
        match outcome {
            Look::Same => {}
            Look::Changed(credentials) => {
                servers.renew(*credentials);
                log::info!("upstream `{name}`: certificates were read again; new connections use them");
            }
            Look::Recovered => {
                log::info!("upstream `{name}`: the certificates can be read again and are what they were")
            }
            Look::Broken(fault) => log::error!("upstream `{name}`: the certificates stay as they are: {fault}"),
        }
        tokio::time::sleep(PERIOD).await;
    }
}
