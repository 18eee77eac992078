//! Which hosts a server's certificates are for: which one a client is shown, and whether a request came by the right one.
//!
//! It knows names alone; what proves them is for TLS.
use std::cmp::Reverse;

use crate::gate::host::Host;

/// The names that one certificate is for: DNS names and addresses of its subject alternative names (RFC 6125 §6.4). The
/// common name counts for nothing (RFC 9525 §2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateNames {
    /// In lower case; IPv6 addresses in brackets, as hosts are compared.
    exact: Vec<Box<str>>,
    /// What follows the asterisk, its dot included.
    wildcards: Vec<Box<str>>,
}

/// How well a certificate fits a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    None,
    Wildcard,
    Exact,
}

impl CertificateNames {
    /// The names as certificates have them: `api.example.com`, `*.example.com`, `10.0.0.1`, `[::1]`. An asterisk that is
    /// not the whole first label stands for nothing (RFC 9525 §6.3).
    pub fn new<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        let mut of = Self::default();
        for name in names {
            let name = name.to_ascii_lowercase();
            match name.strip_prefix('*') {
                Some(suffix) if suffix.len() > 1 && suffix.starts_with('.') => of.wildcards.push(suffix.into()),
                Some(_) => {}
                None => of.exact.push(name.into()),
            }
        }
        of
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcards.is_empty()
    }

    /// Whether it is for this name, in lower case without a trailing dot.
    pub fn covers(&self, name: &str) -> bool {
        self.fit(name) > Fit::None
    }

    fn fit(&self, name: &str) -> Fit {
        if self.exact.iter().any(|exact| **exact == *name) {
            return Fit::Exact;
        }
        // An asterisk stands for one whole label.
        let dot = name.bytes().position(|byte| byte == b'.').filter(|dot| *dot > 0);
        let suffix = dot.and_then(|dot| name.get(dot..));
        let fits = suffix.is_some_and(|suffix| self.wildcards.iter().any(|wildcard| **wildcard == *suffix));
        if fits { Fit::Wildcard } else { Fit::None }
    }
}

/// The certificates of one listener, in the order of the configuration; the first is the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerCertificates {
    names: Box<[CertificateNames]>,
}

impl ListenerCertificates {
    /// Certificates with these names.
    pub fn new(names: impl IntoIterator<Item = CertificateNames>) -> Self {
        Self { names: names.into_iter().collect() }
    }

    /// The positions of the certificates for the name that a client asked for (RFC 6066 §3): the most specific first,
    /// then in order. Only the default for a client that asked for none, or for one that no certificate has.
    pub fn choose(&self, server_name: Option<&str>) -> Vec<usize> {
        let Some(name) = server_name.map(normalised) else { return vec![0] };
        let fits = self.names.iter().map(|names| names.fit(&name)).enumerate();
        let mut chosen: Vec<(usize, Fit)> = fits.filter(|(_, fit)| *fit > Fit::None).collect();
        chosen.sort_by_key(|(_, fit)| Reverse(*fit));
        if chosen.is_empty() { vec![0] } else { chosen.into_iter().map(|(position, _)| position).collect() }
    }

    /// Whether a request for `host` came by a connection that a client made to reach another host: it was shown a
    /// certificate that is not for this host, while another certificate is (RFC 9110 §7.4, §15.5.20). Hosts without a
    /// certificate of their own are left to the routes, and so are clients that asked for no name.
    pub fn is_misdirected(&self, server_name: Option<&str>, host: &Host<'_>) -> bool {
        let Some(asked) = server_name else { return false };
        let covers = |position: usize| self.names.get(position).is_some_and(|names| names.covers(host.name()));
        if self.choose(Some(asked)).first().copied().is_some_and(covers) {
            return false;
        }
        (0..self.names.len()).any(covers)
    }
}

/// By which name a request's connection was asked for, and what the listener could have shown.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'r> {
    /// The listener's certificates.
    pub certificates: &'r ListenerCertificates,
    /// The name that the client asked for.
    pub server_name: Option<&'r str>,
}

impl Presented<'_> {
    /// See [`ListenerCertificates::is_misdirected`].
    pub fn is_misdirected(&self, host: &Host<'_>) -> bool {
        self.certificates.is_misdirected(self.server_name, host)
    }
}

fn normalised(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn listener() -> ListenerCertificates {
        ListenerCertificates::new([
            CertificateNames::new(["Default.test", "10.0.0.1", "[::1]"]),
            CertificateNames::new(["*.example.com", "example.com", "f*o.example.net", "*"]),
            CertificateNames::new(["api.example.com"]),
            CertificateNames::new(["api.example.com", "*.internal.test"]),
        ])
    }

    #[test]
    fn the_most_specific_certificate_is_shown_and_the_first_to_all_others() {
        for (asked, chosen) in [
            (None, vec![0]),
            (Some("default.test"), vec![0]),
            (Some("unknown.test"), vec![0]),
            (Some("example.com"), vec![1]),
            (Some("www.example.com"), vec![1]),
            (Some("WWW.Example.COM."), vec![1]),
            (Some("api.example.com"), vec![2, 3, 1]),
            (Some("a.b.example.com"), vec![0]),
            (Some(".example.com"), vec![0]),
            (Some("foo.example.net"), vec![0]),
            (Some("com"), vec![0]),
            (Some(""), vec![0]),
        ] {
            assert_eq!(listener().choose(asked), chosen, "{asked:?}");
        }
    }

    #[test]
    fn a_request_is_misdirected_when_its_host_has_another_certificate() {
        for (asked, host, expected) in [
            (Some("default.test"), "default.test", false),
            (Some("default.test"), "api.example.com", true),
            (Some("default.test"), "API.example.com:8443", true),
            (Some("api.example.com"), "www.example.com", true),
            (Some("www.example.com"), "api.example.com", false),
            (Some("unknown.test"), "www.example.com", true),
            (Some("default.test"), "unknown.test", false),
            (Some("default.test"), "[::1]:8443", false),
            (Some("www.example.com"), "10.0.0.1", true),
            (None, "www.example.com", false),
        ] {
            let host = Host::parse(host).unwrap();
            assert_eq!(listener().is_misdirected(asked, &host), expected, "{asked:?} {host:?}");
        }
    }

    proptest! {
        #[test]
        fn whoever_asks_for_the_host_that_he_means_is_never_misdirected(host in "[a-c]{1,2}(\\.[a-c]{1,2}){0,3}",
            names in proptest::collection::vec(proptest::collection::vec("(\\*\\.)?[a-c]{1,2}(\\.[a-c]{1,2}){0,2}", 0..3), 1..5)) {
            let listener = ListenerCertificates::new(names.iter().map(|of| CertificateNames::new(of.iter().map(String::as_str))));
            let parsed = Host::parse(&host).unwrap();
            prop_assert!(!listener.is_misdirected(Some(&host), &parsed));
            let chosen = listener.choose(Some(&host));
            prop_assert!(!chosen.is_empty() && chosen.iter().all(|position| *position < names.len()));
            let covered = listener.names.iter().any(|names| names.covers(&host));
            prop_assert_eq!(covered, listener.names[chosen[0]].covers(&host));
        }
    }
}
