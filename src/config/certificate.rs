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
use x509_parser::time::ASN1Time;
use zeroize::Zeroizing;

use crate::gate::certificates::CertificateNames;
use crate::gate::time::UnixTime;

/// A chain of certificates is far shorter.
pub const CHAIN_BYTES_MAX: u64 = 256 * 1024;
/// A bundle of authorities.
pub const AUTHORITIES_BYTES_MAX: u64 = 1024 * 1024;

/// A certificate without its key, and those that lead to its authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateChain {
    /// DER, the certificate itself first; at least one.
    pub certificates: Vec<Vec<u8>>,
    /// From when the first is valid.
    pub not_before: UnixTime,
    /// Until when the first is valid.
    pub not_after: UnixTime,
}

/// A server's certificate with the private key that belongs to it.
#[derive(Clone, Debug)]
pub struct CertificatePair {
    /// As TLS shows and uses it.
    pub certified: Arc<CertifiedKey>,
    /// The hosts that it is for.
    pub names: CertificateNames,
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
    /// One that is for signing certificates and for nothing else.
    Authority,
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
            Self::Authority => {
                "this is the certificate of an authority, which signs others and does nothing else; its private key stays \
                 with the authority"
            }
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
    /// Reads a certificate and those that lead to its authority, its own first. An authority's own is none: its private key
    /// has no business here.
    ///
    /// # Errors
    /// See [`CertificateFault`].
    pub fn parse(pem: &[u8]) -> Result<Self, CertificateFault> {
        let certificates = authorities(pem)?;
        let first = certificates.first().and_then(|first| parsed(first)).ok_or(CertificateFault::Malformed)?;
        // RFC 5280 §4.2.1.3. One that says nothing of its use may be an authority's and a server's at once.
        let usage = first.key_usage().map_err(|_| CertificateFault::Malformed)?;
        if usage.is_some_and(|usage| usage.value.key_cert_sign() && !usage.value.digital_signature()) {
            return Err(CertificateFault::Authority);
        }
        let validity = first.validity().clone();
        let time = |time: ASN1Time| UnixTime::from_seconds(time.timestamp());
        Ok(Self { certificates, not_before: time(validity.not_before), not_after: time(validity.not_after) })
    }

    /// The hosts that it is for; at least one.
    ///
    /// # Errors
    /// See [`CertificateFault`].
    pub fn names(&self) -> Result<CertificateNames, CertificateFault> {
        let first = self.certificates.first().and_then(|first| parsed(first)).ok_or(CertificateFault::Malformed)?;
        let extension = first.subject_alternative_name().map_err(|_| CertificateFault::Malformed)?;
        let general = extension.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
        let hosts: Vec<String> = general.iter().filter_map(host).collect();
        let names = CertificateNames::new(hosts.iter().map(String::as_str));
        if names.is_empty() { Err(CertificateFault::NoNames) } else { Ok(names) }
    }

    /// Reads the private key that belongs to it; DER in whichever of its three forms it has.
    ///
    /// # Errors
    /// See [`CertificateFault`].
    pub fn key(&self, pem: &[u8]) -> Result<Zeroizing<Vec<u8>>, CertificateFault> {
        let key = self.private_key(pem)?;
        let der = Zeroizing::new(key.secret_der().to_vec());
        self.certified(key).map(|_| der)
    }

    /// With its private key, as a server's.
    ///
    /// # Errors
    /// See [`CertificateFault`].
    pub fn with_key(&self, pem: &[u8]) -> Result<CertificatePair, CertificateFault> {
        let (names, certified) = (self.names()?, self.certified(self.private_key(pem)?)?);
        Ok(CertificatePair { certified: Arc::new(certified), names, not_after: self.not_after })
    }

    fn private_key(&self, pem: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateFault> {
        let is_encrypted = pem.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED);
        PrivateKeyDer::from_pem_slice(pem)
            .map_err(|_| if is_encrypted { CertificateFault::EncryptedKey } else { CertificateFault::NoKey })
    }

    fn certified(&self, key: PrivateKeyDer<'static>) -> Result<CertifiedKey, CertificateFault> {
        let chain = self.certificates.iter().map(|der| CertificateDer::from(der.clone())).collect();
        CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
            let is_mismatch = matches!(error, rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch));
            if is_mismatch { CertificateFault::KeyMismatch } else { CertificateFault::KeyUnusable }
        })
    }
}

/// In the first line of a key that is encrypted, in either of the two forms.
const ENCRYPTED: &[u8] = b"ENCRYPTED";

/// Reads certificates to be trusted, in DER; at least one.
///
/// # Errors
/// See [`CertificateFault`].
pub fn authorities(pem: &[u8]) -> Result<Vec<Vec<u8>>, CertificateFault> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.iter().any(|der| parsed(der).is_none()) => Err(CertificateFault::Malformed),
        Ok(found) if !found.is_empty() => Ok(found.iter().map(|der| der.to_vec()).collect()),
        Ok(_) if PrivateKeyDer::from_pem_slice(pem).is_ok() => Err(CertificateFault::IsKey),
        Ok(_) => Err(CertificateFault::NoCertificate),
        Err(_) => Err(CertificateFault::Malformed),
    }
}

/// Reads certificates to be trusted, as TLS uses them.
///
/// # Errors
/// See [`CertificateFault`].
pub fn trusted(pem: &[u8]) -> Result<RootCertStore, CertificateFault> {
    let mut store = RootCertStore::empty();
    for der in authorities(pem)? {
        store.add(CertificateDer::from(der)).map_err(|_| CertificateFault::Malformed)?;
    }
    Ok(store)
}

/// One certificate and nothing behind it.
fn parsed(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, parsed)| parsed)
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
    use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};

    fn pem(label: &str, der: &[u8]) -> String {
        let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    }

    fn made(names: &[&str]) -> (String, String) {
        made_for(&rcgen::PKCS_ECDSA_P256_SHA256, names)
    }

    fn made_for(algorithm: &'static SignatureAlgorithm, names: &[&str]) -> (String, String) {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        (pem("CERTIFICATE", certificate.der()), pem("PRIVATE KEY", key.serialized_der()))
    }

    #[test]
    fn a_certificate_and_its_key_are_one_pair() {
        let (certificate, key) = made(&["api.test", "*.api.test", "127.0.0.1", "::1"]);
        let chain = CertificateChain::parse(certificate.as_bytes()).unwrap();
        let pair = chain.with_key(key.as_bytes()).unwrap();
        for name in ["api.test", "a.api.test", "127.0.0.1", "[::1]"] {
            assert!(pair.names.covers(name), "{name}");
        }
        assert!(chain.not_before < chain.not_after);
        assert_eq!(trusted(certificate.as_bytes()).unwrap().len(), 1);
    }

    #[test]
    fn a_certificate_of_every_kind_of_key_may_be_shown_to_servers_and_needs_no_name() {
        for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
            let (certificate, key) = made_for(algorithm, &[]);
            let (other, _) = made_for(algorithm, &[]);
            let chain = CertificateChain::parse((certificate + &other).as_bytes()).unwrap();
            assert_eq!(chain.certificates.len(), 2);
            assert!(!chain.key(key.as_bytes()).unwrap().is_empty());
            assert_eq!(chain.names().map(|_| ()), Err(CertificateFault::NoNames));
        }
    }

    #[test]
    fn a_certificate_that_signs_certificates_alone_is_an_authoritys() {
        use rcgen::KeyUsagePurpose::{CrlSign, DigitalSignature, KeyCertSign};
        for (usages, expected) in [
            (vec![KeyCertSign, CrlSign], Err(CertificateFault::Authority)),
            (vec![KeyCertSign], Err(CertificateFault::Authority)),
            // As `openssl req -x509` makes them for trying things out.
            (vec![KeyCertSign, DigitalSignature], Ok(())),
            (vec![DigitalSignature], Ok(())),
            (vec![], Ok(())),
        ] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec!["api.test".to_owned()]).unwrap();
            params.key_usages.clone_from(&usages);
            let certificate = pem("CERTIFICATE", params.self_signed(&key).unwrap().der());
            let parsed = CertificateChain::parse(certificate.as_bytes()).map(|_| ());
            assert_eq!(parsed, expected, "{usages:?}");
            assert!(authorities(certificate.as_bytes()).is_ok());
        }
    }

    #[test]
    fn what_is_no_pair_is_named() {
        let ((certificate, key), (other, other_key)) = (made(&["api.test"]), made(&["api.test"]));
        let encrypted = pem("ENCRYPTED PRIVATE KEY", b"123");
        let (broken, unusable) = (pem("CERTIFICATE", b"123"), pem("PRIVATE KEY", b"123"));
        for (certificate, key, fault) in [
            (certificate.as_str(), other_key.as_str(), CertificateFault::KeyMismatch),
            (&other, &key, CertificateFault::KeyMismatch),
            ("", &key, CertificateFault::NoCertificate),
            (&key, &key, CertificateFault::IsKey),
            (&broken, &key, CertificateFault::Malformed),
            (&format!("{certificate}{broken}"), &key, CertificateFault::Malformed),
            (&certificate, "", CertificateFault::NoKey),
            (&certificate, &certificate, CertificateFault::NoKey),
            (&certificate, &encrypted, CertificateFault::EncryptedKey),
            (&certificate, &unusable, CertificateFault::KeyUnusable),
        ] {
            let chain = CertificateChain::parse(certificate.as_bytes());
            assert_eq!(chain.clone().and_then(|chain| chain.key(key.as_bytes())).map(|_| ()), Err(fault));
            assert_eq!(chain.and_then(|chain| chain.with_key(key.as_bytes())).map(|_| ()), Err(fault));
        }
        for (text, fault) in [("", CertificateFault::NoCertificate), (&broken, CertificateFault::Malformed)] {
            assert_eq!(trusted(text.as_bytes()).map(|_| ()), Err(fault));
        }
    }
}
