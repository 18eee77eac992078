//! A certificate as people and this program look at it: names, times, fingerprint. It is read by a library, never trusted here.
use std::{net::IpAddr, time::Duration};

use aws_lc_rs::digest;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::{cli::token::pem, config::terminal::printable, gate::time::UnixTime};

/// The label of a certificate in PEM (RFC 7468 §5.1).
pub const LABEL: &str = "CERTIFICATE";

/// What is known of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The common name of its subject.
    pub common_name: String,
    /// Subject and issuer as they are encoded: names are compared in this form.
    pub subject_der: Vec<u8>,
    /// See `subject_der`.
    pub issuer_der: Vec<u8>,
    /// The common name of its issuer.
    pub issuer: String,
    /// Its names in DNS (RFC 5280 §4.2.1.6).
    pub dns_names: Vec<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The first second in which it is good.
    pub not_before: UnixTime,
    /// The last second in which it is good.
    pub not_after: UnixTime,
    /// Its serial number in hexadecimal.
    pub serial: String,
    /// The public key (`SubjectPublicKeyInfo`, DER).
    pub public_key: Vec<u8>,
    /// SHA-256 of the certificate, as `openssl x509 -fingerprint -sha256` writes it.
    pub fingerprint: String,
}

impl Certificate {
    /// Reads DER.
    ///
    /// # Errors
    /// Says that it is no certificate.
    pub fn read(der: &[u8]) -> Result<Self, String> {
        let damaged = |_| "no certificate can be read in it".to_owned();
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| damaged(()))?;
        if !rest.is_empty() {
            return Err(damaged(()));
        }
        let alternative = parsed.subject_alternative_name().map_err(|_| damaged(()))?;
        let names = alternative.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
        let time = |time: x509_parser::time::ASN1Time| UnixTime::from_seconds(time.timestamp());
        Ok(Self {
            common_name: common_name(parsed.subject()),
            subject_der: parsed.subject().as_raw().to_vec(),
            issuer_der: parsed.issuer().as_raw().to_vec(),
            issuer: common_name(parsed.issuer()),
            dns_names: names.iter().filter_map(dns_name).collect(),
            addresses: names.iter().filter_map(address).collect(),
            not_before: time(parsed.validity().not_before),
            not_after: time(parsed.validity().not_after),
            serial: hexadecimal(parsed.raw_serial(), ""),
            public_key: parsed.public_key().raw.to_vec(),
            fingerprint: hexadecimal(digest::digest(&digest::SHA256, der).as_ref(), ":").to_ascii_uppercase(),
        })
    }

    /// Reads the first certificate of a PEM text: the one that all the others vouch for.
    ///
    /// # Errors
    /// Says that there is none.
    pub fn read_pem(text: &str) -> Result<Self, String> {
        let blocks = pem::blocks(text);
        let block = blocks.iter().find(|block| block.label == LABEL).ok_or("it holds no certificate in PEM")?;
        Self::read(block.content.as_ref().ok_or("its PEM is damaged")?)
    }

    /// How long it is good from first to last.
    pub fn lifetime(&self) -> Duration {
        self.not_after.since(self.not_before)
    }

    /// From when on it is to be renewed: when two thirds of its life are over.
    pub fn renewal_time(&self) -> UnixTime {
        self.not_before.plus(self.lifetime() / 3 * 2)
    }

    /// Names and addresses in one list, for people.
    pub fn names(&self) -> String {
        let addresses = self.addresses.iter().map(ToString::to_string);
        self.dns_names.iter().cloned().chain(addresses).collect::<Vec<_>>().join(", ")
    }
}

fn common_name(name: &x509_parser::x509::X509Name<'_>) -> String {
    let text = name.iter_common_name().next().and_then(|attribute| attribute.as_str().ok());
    printable(text.unwrap_or_default())
}

fn dns_name(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::DNSName(text) = name { Some(printable(text)) } else { None }
}

fn address(name: &GeneralName<'_>) -> Option<IpAddr> {
    let GeneralName::IPAddress(octets) = name else { return None };
    let four = || <[u8; 4]>::try_from(*octets).ok().map(IpAddr::from);
    four().or_else(|| <[u8; 16]>::try_from(*octets).ok().map(IpAddr::from))
}

fn hexadecimal(bytes: &[u8], between: &str) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(between)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTHORITY: &str = include_str!("../../edge/jwks_client/testdata/authority.pem");

    #[test]
    fn what_is_no_certificate_is_said_and_a_certificate_is_read_through_text_around_it() {
        assert!(Certificate::read_pem(&format!("subject=x\n{AUTHORITY}")).is_ok());
        for text in ["", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(Certificate::read_pem(text).is_err(), "{text:?}");
        }
        let mut longer = pem::blocks(AUTHORITY)[0].content.as_ref().unwrap().to_vec();
        assert!(Certificate::read(&longer).is_ok());
        longer.push(0);
        assert!(Certificate::read(&longer).is_err(), "what follows a certificate belongs to nobody");
    }

    proptest::proptest! {
        #[test]
        fn damage_is_an_error_and_no_panic(at in 0_usize..400, bit in 0_u8..8, cut in 0_usize..400) {
            let mut der = pem::blocks(AUTHORITY)[0].content.as_ref().unwrap().to_vec();
            let at = at % der.len();
            der[at] ^= 1 << bit;
            let _ = Certificate::read(&der);
            der.truncate(cut);
            proptest::prop_assert!(Certificate::read(&der).is_err());
        }
    }
}
