//! The three authorities: what each may sign, how they are made, and how one signs. It reads and writes no file.
//!
//! The gateway's authority stands alone, signed by nobody: a server built on OpenSSL trusts an intermediate only together with
//! the root above it, and with that root it would take the certificate of any service for the gateway's.
use std::{net::IpAddr, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, SanType,
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::{
    cli::{
        ca::certificate::{Certificate, LABEL},
        moment,
        token::pem,
    },
    gate::time::UnixTime,
};

/// How long before it is made a certificate is good already: clocks of other machines may be so much behind.
pub const BACKDATED: Duration = Duration::from_secs(10 * 60);
/// The label of a private key in PEM (RFC 7468 §10).
pub const KEY_LABEL: &str = "PRIVATE KEY";

/// An authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// What the gateway trusts; it signs the authority of the services and nothing else.
    Root,
    /// Signs what services show to the gateway.
    Services,
    /// Signs what the gateway shows to services, and is what they trust.
    Gateway,
}

impl Role {
    /// All, in the order in which they are made.
    pub const ALL: [Self; 3] = [Self::Root, Self::Services, Self::Gateway];

    /// As it is called, and its files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Services => "services",
            Self::Gateway => "gateway",
        }
    }

    /// The file with its certificate.
    pub const fn certificate_file(self) -> &'static str {
        match self {
            Self::Root => "ca.pem",
            Self::Services => "services.pem",
            Self::Gateway => "clients.pem",
        }
    }

    const fn purpose(self) -> ExtendedKeyUsagePurpose {
        match self {
            Self::Root | Self::Services => ExtendedKeyUsagePurpose::ServerAuth,
            Self::Gateway => ExtendedKeyUsagePurpose::ClientAuth,
        }
    }

    /// How many authorities may stand below it (RFC 5280 §4.2.1.9).
    const fn path_length(self) -> u8 {
        match self {
            Self::Root => 1,
            Self::Services | Self::Gateway => 0,
        }
    }
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// A service is a server and nothing else.
    Service,
    /// The gateway is a client of services and nothing else.
    Gateway,
}

impl Profile {
    /// Who signs it.
    pub const fn authority(self) -> Role {
        match self {
            Self::Service => Role::Services,
            Self::Gateway => Role::Gateway,
        }
    }

    /// As it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Gateway => "gateway",
        }
    }
}

/// A certificate with its key, both in PEM.
pub struct Pair {
    /// The certificate, followed by the authorities that a peer needs besides what it trusts.
    pub chain: String,
    /// The private key (PKCS #8).
    pub key: Zeroizing<String>,
}

/// What is to be signed.
pub struct Wanted<'a> {
    /// The common name.
    pub common_name: &'a str,
    /// Names in DNS.
    pub dns_names: &'a [String],
    /// Addresses.
    pub addresses: &'a [IpAddr],
    /// How long it is good, from now on.
    pub lifetime: Duration,
}

/// Makes all three, with keys of their own, in the order of [`Role::ALL`].
///
/// # Errors
/// The library's, or a time that no certificate can carry.
pub fn make_all(now: UnixTime, lifetime: Duration) -> Result<[Pair; 3], String> {
    let [root_key, services_key, gateway_key] = [new_key()?, new_key()?, new_key()?];
    let of = |role, key: &KeyPair| params_of_authority(role, key, now, lifetime);
    let root = of(Role::Root, &root_key)?;
    let services = of(Role::Services, &services_key)?;
    let gateway = of(Role::Gateway, &gateway_key)?;
    let root_certificate = root.self_signed(&*root_key).map_err(signing_failed)?;
    let issuer = Issuer::from_params(&root, &*root_key);
    let services_certificate = services.signed_by(&*services_key, &issuer).map_err(signing_failed)?;
    let gateway_certificate = gateway.self_signed(&*gateway_key).map_err(signing_failed)?;
    Ok([
        pair(root_certificate.der(), &root_key),
        pair(services_certificate.der(), &services_key),
        pair(gateway_certificate.der(), &gateway_key),
    ])
}

/// An authority that can sign.
pub struct Signer {
    role: Role,
    certificate: Certificate,
    pem: String,
    key: Zeroizing<KeyPair>,
}

impl Signer {
    /// From its certificate and its private key, both in PEM.
    ///
    /// # Errors
    /// One of them cannot be read, or they do not belong together. Nothing of the key is in the text.
    pub fn new(role: Role, certificate_pem: &str, key_pem: &str) -> Result<Self, String> {
        let certificate = Certificate::read_pem(certificate_pem)?;
        let blocks = pem::blocks(key_pem);
        let key = blocks.iter().find(|block| block.label == KEY_LABEL).and_then(|block| block.content.as_ref());
        let key = key.ok_or("its key is no private key in PEM (PKCS #8)")?;
        let key = KeyPair::try_from(key.as_slice()).map_err(|_| "its private key is damaged")?;
        let key = Zeroizing::new(key);
        if key.subject_public_key_info() != certificate.public_key {
            return Err("its private key belongs to another certificate".to_owned());
        }
        Ok(Self { role, certificate, pem: certificate_pem.to_owned(), key })
    }

    /// Makes a key and signs a certificate for it.
    ///
    /// # Errors
    /// The authority is not yet or no more good, or would not be for as long as the certificate.
    pub fn sign(&self, wanted: &Wanted<'_>, now: UnixTime) -> Result<Pair, String> {
        let not_after = now.plus(wanted.lifetime);
        let (first, last) = (self.certificate.not_before, self.certificate.not_after);
        if now < first {
            return Err(format!("the authority is good from {} on only: is the clock right?", time_text(first)));
        }
        if last < not_after {
            return Err(format!(
                "the authority ends at {}, before what it would sign: docs/mtls.md says how to replace it",
                time_text(last)
            ));
        }
        let key = new_key()?;
        // As this program made the authority: its common name is its whole name.
        let mut issuer = CertificateParams::default();
        issuer.distinguished_name = named(&self.certificate.common_name);
        let issuer = Issuer::new(issuer, &*self.key);
        let mut params = CertificateParams::default();
        // Not before the authority itself, which some verifiers would not take.
        params.not_before = date(now.minus(BACKDATED).max(first))?;
        params.not_after = date(not_after)?;
        params.distinguished_name = named(wanted.common_name);
        params.subject_alt_names = alternative_names(wanted)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![self.role.purpose()];
        params.use_authority_key_identifier_extension = true;
        let signed = params.signed_by(&*key, &issuer).map_err(signing_failed)?;
        if Certificate::read(signed.der())?.issuer_der != self.certificate.subject_der {
            return Err("the authority's certificate was not made by `portcullis ca init`".to_owned());
        }
        let mut made = pair(signed.der(), &key);
        if self.role == Role::Services {
            made.chain.push_str(&self.pem);
        }
        Ok(made)
    }
}

fn params_of_authority(
    role: Role,
    key: &KeyPair,
    now: UnixTime,
    lifetime: Duration,
) -> Result<CertificateParams, String> {
    let mut params = CertificateParams::default();
    params.not_before = date(now.minus(BACKDATED))?;
    params.not_after = date(now.plus(lifetime))?;
    // The name is new with the key, so that the authorities of before and after a rotation are never taken for each other.
    let identifier: String = params.key_identifier(key).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name = named(&format!("portcullis {} {identifier}", role.name()));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(role.path_length()));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = vec![role.purpose()];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn alternative_names(wanted: &Wanted<'_>) -> Result<Vec<SanType>, String> {
    let mut names = Vec::new();
    for name in wanted.dns_names {
        names.push(SanType::DnsName(name.as_str().try_into().map_err(|_| format!("{name} is no name in DNS"))?));
    }
    names.extend(wanted.addresses.iter().copied().map(SanType::IpAddress));
    Ok(names)
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn new_key() -> Result<Zeroizing<KeyPair>, String> {
    KeyPair::generate().map(Zeroizing::new).map_err(|error| format!("no key could be made: {error}"))
}

fn pair(der: &[u8], key: &KeyPair) -> Pair {
    Pair { chain: pem::write(LABEL, der).to_string(), key: pem::write(KEY_LABEL, key.serialized_der()) }
}

fn signing_failed(error: rcgen::Error) -> String {
    format!("the certificate could not be signed: {error}")
}

fn date(time: UnixTime) -> Result<OffsetDateTime, String> {
    let date = OffsetDateTime::from_unix_timestamp(time.seconds()).ok();
    // RFC 5280 §4.1.2.5: four digits for the year; certificates before 1950 are of no use to anybody.
    date.filter(|date| (1950..=9999).contains(&date.year()))
        .ok_or_else(|| "no certificate can carry that time".to_owned())
}

/// A time as people read it here.
pub fn time_text(time: UnixTime) -> String {
    moment::rfc3339(UnixTime::from_seconds(time.seconds())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_seconds(1_795_426_200);
    const DAY: Duration = Duration::from_secs(86_400);

    fn signer(role: Role, pairs: &[Pair; 3]) -> Signer {
        let pair = &pairs[role as usize];
        Signer::new(role, &pair.chain, &pair.key).unwrap()
    }

    fn wanted(days: u32) -> Wanted<'static> {
        Wanted { common_name: "orders", dns_names: &[], addresses: &[], lifetime: DAY * days }
    }

    #[test]
    fn nothing_is_signed_for_longer_than_the_authority_lives_nor_before_it_does() {
        let pairs = make_all(NOW, DAY * 100).unwrap();
        let services = signer(Role::Services, &pairs);
        assert!(services.sign(&wanted(100), NOW).is_ok());
        let rows = [
            (wanted(101), NOW, "the authority ends at 2027-03-03T"),
            (wanted(1), NOW.plus(DAY * 101), "the authority ends"),
            (wanted(1), NOW.minus(DAY), "is the clock right?"),
        ];
        for (wanted, now, says) in rows {
            let error = services.sign(&wanted, now).err().unwrap();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_key_of_another_authority_is_noticed() {
        let pairs = make_all(NOW, DAY).unwrap();
        for (key, says) in [
            (pairs[0].key.as_str(), "belongs to another"),
            ("", "no private key"),
            ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "damaged"),
        ] {
            let error = Signer::new(Role::Services, &pairs[1].chain, key).err().unwrap();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn every_certificate_has_a_key_and_a_serial_number_of_its_own_and_is_backdated_a_little() {
        let pairs = make_all(NOW, DAY * 100).unwrap();
        let services = signer(Role::Services, &pairs);
        let later = NOW.plus(DAY);
        let signed = [services.sign(&wanted(30), later).unwrap(), services.sign(&wanted(30), later).unwrap()];
        let [first, second] = signed.map(|pair| Certificate::read_pem(&pair.chain).unwrap());
        assert_ne!(first.serial, second.serial);
        assert_ne!(first.public_key, second.public_key);
        assert_eq!((first.not_before, first.not_after), (later.minus(BACKDATED), later.plus(DAY * 30)));
        assert_eq!(first.renewal_time(), first.not_before.plus((DAY * 30 + BACKDATED) / 3 * 2));
    }
}
