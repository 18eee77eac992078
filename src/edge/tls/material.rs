//! What the files of a listener's TLS hold, read together.
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::RootCertStore;
use zeroize::Zeroizing;

use crate::{
    config::{
        certificate::{
            self, AUTHORITIES_BYTES_MAX, CHAIN_BYTES_MAX, CertificateChain, CertificateFault, CertificatePair,
        },
        secret::SECRET_BYTES_MAX,
        settings::listener::ListenerTls,
    },
    edge::{
        clock,
        files::{self, FileError},
    },
    gate::time::UnixTime,
};

/// Certificates with their keys, and the authorities of clients.
#[derive(Debug)]
pub(super) struct Material {
    /// In the order of the configuration.
    pub(super) pairs: Vec<CertificatePair>,
    /// The authorities, where clients are asked for certificates.
    pub(super) authorities: Option<Arc<RootCertStore>>,
}

/// Why the files cannot be used.
#[derive(Debug)]
pub enum MaterialError {
    /// One cannot be read.
    File(FileError),
    /// One does not hold what it should.
    Fault(PathBuf, CertificateFault),
    /// The certificate of this file ended then.
    Expired(PathBuf, UnixTime),
    /// The library of TLS takes none of it.
    Library(String),
}

impl fmt::Display for MaterialError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => write!(formatter, "{error}"),
            Self::Fault(path, fault) => write!(formatter, "{}: {fault}", path.display()),
            Self::Expired(path, end) => {
                write!(formatter, "{}: the certificate expired at {}", path.display(), clock::rfc3339(*end))
            }
            Self::Library(fault) => write!(formatter, "TLS cannot be set up: {fault}"),
        }
    }
}

impl std::error::Error for MaterialError {}

impl Material {
    /// Reads all of it; what is wrong with one file makes all of it unusable.
    pub(super) fn read(settings: &ListenerTls) -> Result<Self, MaterialError> {
        let pairs = settings.certificates.iter().map(|files| pair(&files.certificate, &files.private_key));
        let pairs = pairs.collect::<Result<_, _>>()?;
        let authorities = settings.clients.as_ref().map(|clients| {
            let pem = read(&clients.authorities, AUTHORITIES_BYTES_MAX)?;
            certificate::trusted(&pem).map(Arc::new).map_err(at(&clients.authorities))
        });
        Ok(Self { pairs, authorities: authorities.transpose()? })
    }
}

fn pair(certificate: &Path, private_key: &Path) -> Result<CertificatePair, MaterialError> {
    let chain = CertificateChain::parse(&read(certificate, CHAIN_BYTES_MAX)?).map_err(at(certificate))?;
    let now = clock::unix_time();
    if chain.not_after < now {
        return Err(MaterialError::Expired(certificate.to_owned(), chain.not_after));
    }
    if chain.not_before > now {
        let (path, start) = (certificate.display(), clock::rfc3339(chain.not_before));
        log::warn!("{path}: clients take the certificate only from {start} on");
    }
    let key = Zeroizing::new(read(private_key, SECRET_BYTES_MAX)?);
    chain.with_key(&key).map_err(at(private_key))
}

fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, MaterialError> {
    files::read_file(path, bytes_max).map_err(MaterialError::File)
}

fn at(path: &Path) -> impl FnOnce(CertificateFault) -> MaterialError {
    let path = path.to_owned();
    move |fault| MaterialError::Fault(path, fault)
}
