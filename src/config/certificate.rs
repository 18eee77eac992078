//! Certificates and private keys in PEM, as TLS takes them: chain, names, validity, and whether key and certificate belong
//! together. The configuration is checked with it, and so is every file that is read again later.
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::gate::certificates::CertificateNames;
use crate::gate::time::UnixTime;

/// A chain of certificates is far shorter.
pub const CHAIN_BYTES_MAX: u64 = 256 * 1024;
/// A bundle of authorities.
pub const AUTHORITIES_BYTES_MAX: u64 = 1024 * 1024;

/// A server's certificate without its key.
#[derive(Clone, Debug)]
pub struct CertificateChain {
    der: Vec<CertificateDer<'static>>,
    /// The hosts that it is for.
    pub names: CertificateNames,
    /// From when it is valid.
    pub not_before: UnixTime,
    /// Until when it is valid.
    pub not_after: UnixTime,
}

/// A certificate with the private key that belongs to it.
#[derive(Clone, Debug)]
pub struct CertificatePair {
    /// As TLS shows and uses it.
    pub certified: Arc<CertifiedKey>,
    /// The hosts that it is for.
    pub names: CertificateNames,
    /// From when it is valid.
    pub not_before: UnixTime,
    /// Until when it is valid.
    pub not_after: UnixTime,
}

/// What is wrong with the file of a certificate, a key or authorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateFault {
    /// No certificate in PEM is in it.
    NoCertificate,
    /// One that cannot be read.
    Malformed,
    /// A certificate for no host: without DNS name or address among its subject alternative names.
    NoNames,
    /// A private key stands where a certificate is expected.
    IsKey,
    /// No private key in PEM is in it.
    NoKey,
    /// A private key that is encrypted.
    EncryptedKey,
    /// A private key of a kind that TLS does not use, or that cannot be read.
    KeyUnusable,
    /// The key is another certificate's.
    KeyMismatch,
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NoCertificate => "there is no certificate in PEM (BEGIN CERTIFICATE) in the file",
            Self::Malformed => "a certificate of the file cannot be read",
            Self::NoNames => "the certificate is for no host: it has neither DNS name nor address (subjectAltName)",
            Self::IsKey => "the file has a private key where a certificate is expected",
            Self::NoKey => "there is no private key in PEM (BEGIN PRIVATE KEY) in the file",
            Self::EncryptedKey => "the private key is encrypted, and nobody is there to type its passphrase",
            Self::KeyUnusable => {
                "the private key cannot be used: RSA of at least 2048 bits, P-256, P-384 and Ed25519 can"
            }
            Self::KeyMismatch => "the private key belongs to another certificate",
        })
    }
}

impl std::error::Error for CertificateFault {}

/// The library that TLS is made of on every connection.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

impl CertificateChain {
    /// Reads a server's certificate and those that lead to its authority, the server's first.
    ///
    /// # Errors
    /// See [`CertificateFault`].
    pub fn parse(pem: &[u8]) -> Result<Self, CertificateFault> {
        let der = certificates(pem)?;
        let leaf = der.first().ok_or(CertificateFault::NoCertificate)?;
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| CertificateFault::Malformed)?;
        let names = names(&parsed)?;
        if names.is_empty() {
            return Err(CertificateFault::NoNames);
        }
        let validity = parsed.validity();
        let time = |seconds: i64| UnixTime::from_seconds(seconds);
        let (not_before, not_after) = (time(validity.not_before.timestamp()), time(validity.not_after.timestamp()));
        Ok(Self { der, names, not_before, not_after })
    }

    /// With its private key.
    ///
    /// # Errors
    /// See [`CertificateFault`].
    pub fn with_key(self, pem: &[u8]) -> Result<CertificatePair, CertificateFault> {
        let is_encrypted = pem.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED);
        let key = PrivateKeyDer::from_pem_slice(pem)
            .map_err(|_| if is_encrypted { CertificateFault::EncryptedKey } else { CertificateFault::NoKey })?;
        let certified = CertifiedKey::from_der(self.der, key, &provider()).map_err(|error| {
            let is_mismatch = matches!(error, rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch));
            if is_mismatch { CertificateFault::KeyMismatch } else { CertificateFault::KeyUnusable }
        })?;
        Ok(CertificatePair {
            certified: Arc::new(certified),
            names: self.names,
            not_before: self.not_before,
            not_after: self.not_after,
        })
    }
}

/// In the first line of a key that is encrypted, in either of the two forms.
const ENCRYPTED: &[u8] = b"ENCRYPTED";

/// Reads the authorities whose certificates clients may have.
///
/// # Errors
/// See [`CertificateFault`].
pub fn authorities(pem: &[u8]) -> Result<RootCertStore, CertificateFault> {
    let mut store = RootCertStore::empty();
    for der in certificates(pem)? {
        store.add(der).map_err(|_| CertificateFault::Malformed)?;
    }
    Ok(store)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateFault> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) if PrivateKeyDer::from_pem_slice(pem).is_ok() => Err(CertificateFault::IsKey),
        Ok(_) => Err(CertificateFault::NoCertificate),
        Err(_) => Err(CertificateFault::Malformed),
    }
}

fn names(certificate: &X509Certificate<'_>) -> Result<CertificateNames, CertificateFault> {
    let extension = certificate.subject_alternative_name().map_err(|_| CertificateFault::Malformed)?;
    let general = extension.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let names: Vec<String> = general.iter().filter_map(host).collect();
    Ok(CertificateNames::new(names.iter().map(String::as_str)))
}

/// The host that a name means, as hosts are compared; nothing for names of other things.
fn host(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::DNSName(name) = name {
        return Some((*name).to_owned());
    }
    let GeneralName::IPAddress(bytes) = name else { return None };
    match <[u8; 4]>::try_from(*bytes) {
        Ok(octets) => Some(Ipv4Addr::from(octets).to_string()),
        Err(_) => <[u8; 16]>::try_from(*bytes).ok().map(|octets| format!("[{}]", Ipv6Addr::from(octets))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn pem(label: &str, der: &[u8]) -> String {
        let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    }

    fn made(names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        (pem("CERTIFICATE", certificate.der()), pem("PRIVATE KEY", key.serialized_der()))
    }

    #[test]
    fn a_certificate_and_its_key_are_one_pair() {
        let (certificate, key) = made(&["api.test", "*.api.test", "127.0.0.1", "::1"]);
        let pair = CertificateChain::parse(certificate.as_bytes()).unwrap().with_key(key.as_bytes()).unwrap();
        for name in ["api.test", "a.api.test", "127.0.0.1", "[::1]"] {
            assert!(pair.names.covers(name), "{name}");
        }
        assert!(pair.not_before < pair.not_after);
        assert_eq!(authorities(certificate.as_bytes()).unwrap().len(), 1);
    }

    #[test]
    fn what_is_no_pair_is_named() {
        let ((certificate, key), (other, other_key)) = (made(&["api.test"]), made(&["api.test"]));
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let unusable = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        for (certificate, key, fault) in [
            (certificate.as_str(), other_key.as_str(), CertificateFault::KeyMismatch),
            (&other, &key, CertificateFault::KeyMismatch),
            ("", &key, CertificateFault::NoCertificate),
            (&key, &key, CertificateFault::IsKey),
            (broken, &key, CertificateFault::Malformed),
            (&made(&[]).0, &key, CertificateFault::NoNames),
            (&certificate, "", CertificateFault::NoKey),
            (&certificate, &certificate, CertificateFault::NoKey),
            (&certificate, encrypted, CertificateFault::EncryptedKey),
            (&certificate, unusable, CertificateFault::KeyUnusable),
        ] {
            let found =
                CertificateChain::parse(certificate.as_bytes()).and_then(|chain| chain.with_key(key.as_bytes()));
            assert_eq!(found.map(|_| ()), Err(fault));
        }
        assert_eq!(authorities(b"").map(|_| ()), Err(CertificateFault::NoCertificate));
        assert_eq!(authorities(broken.as_bytes()).map(|_| ()), Err(CertificateFault::Malformed));
    }
}
