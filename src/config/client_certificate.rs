//! The PEM files of TLS to upstreams: a certificate with its private key to be shown, and certificates to be trusted. The
//! configuration is checked with it, and so is every file that is read again later. It never shows a byte of a key.
use std::fmt;

use rcgen::KeyPair;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use crate::gate::time::UnixTime;

/// A chain of certificates is far shorter.
pub const CHAIN_BYTES_MAX: u64 = 256 * 1024;
/// A bundle of authorities.
pub const AUTHORITIES_BYTES_MAX: u64 = 1024 * 1024;

/// The labels under which private keys stand in PEM (RFC 7468 §10, and the older forms of OpenSSL).
const KEY_LABELS: [&str; 3] = ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"];
/// RFC 7468 §11.
const ENCRYPTED_LABEL: &str = "ENCRYPTED PRIVATE KEY";
/// RFC 7468 §5.
const CERTIFICATE_LABEL: &str = "CERTIFICATE";

/// A certificate, those that lead to its authority, and until when it is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientChain {
    /// DER, the certificate itself first; at least one.
    pub certificates: Vec<Vec<u8>>,
    /// Until when the first is valid.
    pub not_after: UnixTime,
    public_key: Vec<u8>,
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificateFault {
    /// No certificate in PEM is in it.
    NoCertificate,
    /// One that cannot be read.
    Malformed,
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

impl fmt::Display for ClientCertificateFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NoCertificate => "there is no certificate in PEM (BEGIN CERTIFICATE) in the file",
            Self::Malformed => "a certificate of the file cannot be read",
            Self::IsKey => "the file has a private key where a certificate is expected",
            Self::NoKey => "there is no private key in PEM (BEGIN PRIVATE KEY) in the file",
            Self::EncryptedKey => "the private key is encrypted, and nobody is there to type its passphrase",
            Self::KeyUnusable => "the private key cannot be used: RSA, P-256, P-384 and Ed25519 can",
            Self::KeyMismatch => "the private key belongs to another certificate",
        })
    }
}

impl std::error::Error for ClientCertificateFault {}

impl ClientChain {
    /// Reads a certificate and those that lead to its authority, its own first.
    ///
    /// # Errors
    /// See [`ClientCertificateFault`].
    pub fn parse(pem: &[u8]) -> Result<Self, ClientCertificateFault> {
        let certificates = certificates(pem)?;
        let first = certificates.first().ok_or(ClientCertificateFault::NoCertificate)?;
        let (_, parsed) = X509Certificate::from_der(first).map_err(|_| ClientCertificateFault::Malformed)?;
        let not_after = UnixTime::from_seconds(parsed.validity().not_after.timestamp());
        let public_key = parsed.public_key().subject_public_key.data.to_vec();
        Ok(Self { certificates, not_after, public_key })
    }

    /// Reads the private key that belongs to it; DER in whichever of its three forms it has.
    ///
    /// # Errors
    /// See [`ClientCertificateFault`].
    pub fn key(&self, pem: &[u8]) -> Result<Zeroizing<Vec<u8>>, ClientCertificateFault> {
        let mut found = None;
        for block in Pem::iter_from_buffer(pem) {
            let block = block.map_err(|_| ClientCertificateFault::NoKey)?;
            let content = Zeroizing::new(block.contents);
            if block.label == ENCRYPTED_LABEL {
                return Err(ClientCertificateFault::EncryptedKey);
            }
            if KEY_LABELS.contains(&block.label.as_str()) && found.is_none() {
                found = Some(content);
            }
        }
        let key = found.ok_or(ClientCertificateFault::NoKey)?;
        let pair = KeyPair::try_from(key.as_slice()).map_err(|_| ClientCertificateFault::KeyUnusable)?;
        if pair.public_key_raw() == self.public_key { Ok(key) } else { Err(ClientCertificateFault::KeyMismatch) }
    }
}

/// Reads certificates to be trusted, in DER; at least one.
///
/// # Errors
/// See [`ClientCertificateFault`].
pub fn authorities(pem: &[u8]) -> Result<Vec<Vec<u8>>, ClientCertificateFault> {
    certificates(pem)
}

fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, ClientCertificateFault> {
    let mut found = Vec::new();
    let mut has_key = false;
    for block in Pem::iter_from_buffer(pem) {
        let block = block.map_err(|_| ClientCertificateFault::Malformed)?;
        if block.label == CERTIFICATE_LABEL {
            let rest = X509Certificate::from_der(&block.contents).map(|(rest, _)| rest.len());
            if rest.ok() != Some(0) {
                return Err(ClientCertificateFault::Malformed);
            }
            found.push(block.contents);
        } else {
            has_key |= block.label.ends_with(KEY_LABELS[0]);
            drop(Zeroizing::new(block.contents));
        }
    }
    match (found.is_empty(), has_key) {
        (false, _) => Ok(found),
        (true, true) => Err(ClientCertificateFault::IsKey),
        (true, false) => Err(ClientCertificateFault::NoCertificate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SignatureAlgorithm};

    fn made(algorithm: &'static SignatureAlgorithm) -> (String, String) {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = CertificateParams::new(vec!["gateway".to_owned()]).unwrap().self_signed(&key).unwrap();
        (pem("CERTIFICATE", certificate.der()), pem("PRIVATE KEY", key.serialized_der()))
    }

    fn pem(label: &str, der: &[u8]) -> String {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    }

    #[test]
    fn a_certificate_and_its_key_are_one_pair() {
        for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
            let (certificate, key) = made(algorithm);
            let (other, _) = made(algorithm);
            let chain = ClientChain::parse((certificate + &other).as_bytes()).unwrap();
            assert_eq!(chain.certificates.len(), 2);
            assert!(!chain.key(key.as_bytes()).unwrap().is_empty());
        }
    }

    #[test]
    fn what_is_no_pair_is_named() {
        let ((certificate, key), (other, other_key)) =
            (made(&rcgen::PKCS_ECDSA_P256_SHA256), made(&rcgen::PKCS_ECDSA_P256_SHA256));
        let encrypted = pem("ENCRYPTED PRIVATE KEY", b"123");
        let (broken, unusable) = (pem("CERTIFICATE", b"123"), pem("PRIVATE KEY", b"123"));
        for (certificate, key, fault) in [
            (certificate.as_str(), other_key.as_str(), ClientCertificateFault::KeyMismatch),
            (&other, &key, ClientCertificateFault::KeyMismatch),
            ("", &key, ClientCertificateFault::NoCertificate),
            (&key, &key, ClientCertificateFault::IsKey),
            (&broken, &key, ClientCertificateFault::Malformed),
            (&certificate, "", ClientCertificateFault::NoKey),
            (&certificate, &certificate, ClientCertificateFault::NoKey),
            (&certificate, &encrypted, ClientCertificateFault::EncryptedKey),
            (&certificate, &unusable, ClientCertificateFault::KeyUnusable),
        ] {
            let found = ClientChain::parse(certificate.as_bytes()).and_then(|chain| chain.key(key.as_bytes()));
            assert_eq!(found.map(|_| ()), Err(fault));
        }
        assert_eq!(authorities(b"").map(|_| ()), Err(ClientCertificateFault::NoCertificate));
        assert_eq!(authorities(broken.as_bytes()).map(|_| ()), Err(ClientCertificateFault::Malformed));
    }
}
