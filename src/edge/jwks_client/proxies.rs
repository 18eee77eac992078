//! Through which proxy a server is reached: what the environment says, read once and then handed about as a value. It
//! connects to nothing, and a proxy's user and password are in nothing that can be shown.
//!
//! - `https_proxy` counts for https URLs, `http_proxy` for http ones, `all_proxy` for whatever has none of its own; each in
//!   lower case or, where that is not set, in upper case. Some programs leave `HTTP_PROXY` alone, because under CGI a
//!   client sets it with a `Proxy` header; this is a server of its own that is never started for a request.
//! - A proxy is `http://[user:password@]host[:port]`, or https, whose certificate the same authorities vouch for as the
//!   server's. It is asked for a tunnel (`CONNECT`) for http URLs too.
//! - `no_proxy` lists what is reached directly: see [`Proxies::from_environment`].
use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;

use ureq::Proxy;
use ureq::http::Uri;

use crate::edge::jwks_client::{is_https, port_of, printable};
use crate::gate::host::Host;

/// Names of the variables, in the order in which they count.
const FOR_HTTPS: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const FOR_HTTP: [&str; 4] = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
const FOR_NONE: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// Which proxy is used for which server.
#[derive(Clone)]
pub struct Proxies {
    https: Way,
    http: Way,
    direct: Vec<Exception>,
    faults: Vec<String>,
}

/// How servers of one scheme are reached.
#[derive(Clone)]
enum Way {
    Direct,
    Through(Proxy),
    /// The variable of this name cannot be read as a proxy. Going around it would break a rule of the network's owner.
    Unusable(&'static str),
}

/// One entry of `no_proxy`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Exception {
    place: Place,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Everything,
    /// This host and everything below it, in lower case.
    Name(String),
    Network {
        address: IpAddr,
        prefix: u32,
    },
}

impl Proxies {
    /// No proxy for anything.
    #[must_use]
    pub const fn none() -> Self {
        Self { https: Way::Direct, http: Way::Direct, direct: Vec::new(), faults: Vec::new() }
    }

    /// What the environment of this process says now.
    ///
    /// `no_proxy` is a list, separated by commas or spaces: `host` or `.host` (that host and all below it), `*.host`,
    /// addresses, networks (`10.0.0.0/8`), each with `:port` where it is for one port only; `*` is everything.
    /// `localhost`, 127.0.0.0/8 and ::1 are always reached directly. Names are not resolved to be compared with networks.
    ///
    /// What cannot be read is in [`Proxies::faults`], and a fetch that needs it fails.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::read(|name| std::env::var_os(name))
    }

    pub(super) fn read(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |names: &[&'static str]| {
            let of = |name: &'static str| variable(name).filter(|value| !value.is_empty()).map(|value| (name, value));
            names.iter().copied().find_map(of)
        };
        let mut faults = Vec::new();
        let mut way = |names: &[&'static str]| {
            let Some((name, value)) = set(names) else { return Way::Direct };
            match value.to_str().ok_or("it is not UTF-8").and_then(parse_proxy) {
                Ok(proxy) => Way::Through(proxy),
                Err(reason) => {
                    let fault = format!("{name} is no proxy: {reason}; fetches that would need it fail");
                    if !faults.contains(&fault) {
                        faults.push(fault);
                    }
                    Way::Unusable(name)
                }
            }
        };
        let (https, http) = (way(&FOR_HTTPS), way(&FOR_HTTP));
        let mut direct = Vec::new();
        if let Some((name, value)) = set(&FOR_NONE) {
            let value = value.to_string_lossy();
            for entry in value.split([',', ' ', '\t']).filter(|entry| !entry.is_empty()) {
                match Exception::parse(entry) {
                    Some(exception) => direct.push(exception),
                    None => faults.push(format!(
                        "{name} has `{}`, which is no host, address or network and is ignored",
                        printable(entry)
                    )),
                }
            }
        }
        Self { https, http, direct, faults }
    }

    /// What of the environment could not be read, a sentence each, to be said at start. Shows no proxy's URL.
    pub fn faults(&self) -> impl Iterator<Item = &str> {
        self.faults.iter().map(String::as_str)
    }

    /// The proxy for this URL, or none.
    ///
    /// # Errors
    /// The name of the variable that should say it and cannot be read.
    pub(super) fn on_the_way_to(&self, uri: &Uri) -> Result<Option<&Proxy>, &'static str> {
        let way = if is_https(uri) { &self.https } else { &self.http };
        match way {
            Way::Direct => Ok(None),
            Way::Through(_) | Way::Unusable(_) if self.is_direct(uri) => Ok(None),
            Way::Through(proxy) => Ok(Some(proxy)),
            Way::Unusable(variable) => Err(variable),
        }
    }

    fn is_direct(&self, uri: &Uri) -> bool {
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let address = address_of(host);
        // A proxy elsewhere would reach itself by these.
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return true;
        }
        let port = port_of(uri);
        self.direct.iter().any(|exception| exception.covers(host, address, port))
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Proxies");
        for (scheme, way) in [("https", &self.https), ("http", &self.http)] {
            match way {
                Way::Direct => shown.field(scheme, &"direct"),
                Way::Through(proxy) => shown.field(scheme, &name_of(proxy)),
                Way::Unusable(variable) => shown.field(scheme, &format!("{variable} is unusable")),
            };
        }
        shown.field("direct", &self.direct).finish_non_exhaustive()
    }
}

/// Host and port of a proxy, and nothing else of its URL.
pub(super) fn name_of(proxy: &Proxy) -> String {
    format!("{}:{}", proxy.host(), proxy.port())
}

/// The address that a host is, when it is one and no name.
pub(super) fn address_of(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// A proxy's URL; without a scheme it is http.
fn parse_proxy(text: &str) -> Result<Proxy, &'static str> {
    const EXPECTED: &str = "a URL such as `http://proxy.example.com:3128` was expected";
    let text = text.trim();
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err("only http and https proxies are supported");
    }
    let proxy = Proxy::new(&format!("{scheme}://{rest}")).map_err(|_| EXPECTED)?;
    let authority = proxy.uri().authority().map_or("", |authority| authority.as_str());
    let host = authority.rsplit('@').next().unwrap_or_default();
    // A `#` of a password that is not percent-encoded would make a host of what stands before it.
    if rest.contains('#')
        || Host::parse(host).is_err()
        || !["", "/"].contains(&proxy.uri().path())
        || proxy.uri().query().is_some()
    {
        return Err(EXPECTED);
    }
    Ok(proxy)
}

impl Exception {
    fn parse(entry: &str) -> Option<Self> {
        if entry == "*" {
            return Some(Self { place: Place::Everything, port: None });
        }
        let (place, port) = match entry.rsplit_once(':') {
            // Several colons without brackets are an IPv6 address, and one within brackets is no port's.
            Some((before, _)) if before.contains(':') && !before.ends_with(']') => (entry, None),
            Some((before, port)) => (before, Some(port.parse().ok()?)),
            None => (entry, None),
        };
        Some(Self { place: Place::parse(place)?, port })
    }

    fn covers(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        self.port.is_none_or(|only| only == port) && self.place.covers(host, address)
    }
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        if let Some((network, prefix)) = text.split_once('/') {
            let address: IpAddr = network.parse().ok()?;
            let prefix = prefix.parse().ok().filter(|prefix| *prefix <= bits(address))?;
            return Some(Self::Network { address, prefix });
        }
        if let Some(address) = address_of(text) {
            return Some(Self::Network { address, prefix: bits(address) });
        }
        let name = text.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(text);
        let name = name.strip_prefix('.').unwrap_or(name);
        Host::parse(name).ok().map(|host| Self::Name(host.name().to_owned()))
    }

    fn covers(&self, host: &str, address: Option<IpAddr>) -> bool {
        match self {
            Self::Everything => true,
            Self::Name(name) => host
                .strip_suffix(name.as_str())
                .is_some_and(|below| (below.is_empty() || below.ends_with('.')) && address.is_none()),
            Self::Network { address: network, prefix } => {
                let shared = match (network, address) {
                    (IpAddr::V4(network), Some(IpAddr::V4(address))) => {
                        Some((network.to_bits() ^ address.to_bits()).leading_zeros())
                    }
                    (IpAddr::V6(network), Some(IpAddr::V6(address))) => {
                        Some((network.to_bits() ^ address.to_bits()).leading_zeros())
                    }
                    (IpAddr::V4(_) | IpAddr::V6(_), _) => None,
                };
                shared.is_some_and(|shared| shared >= *prefix)
            }
        }
    }
}

fn bits(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::{Exception, Proxies, Way, name_of};
    use proptest::prelude::*;
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;
    use ureq::http::Uri;

    fn environment(variables: &[(&str, &str)]) -> Proxies {
        let of = |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| OsString::from(value));
        Proxies::read(of)
    }

    /// Host and port of the proxy on the way to a URL; `direct` for none.
    fn way(proxies: &Proxies, url: &str) -> Result<String, &'static str> {
        let uri: Uri = url.parse().unwrap();
        proxies.on_the_way_to(&uri).map(|proxy| proxy.map_or_else(|| "direct".to_owned(), name_of))
    }

    #[test]
    fn each_scheme_has_its_variable_and_lower_case_counts_first() {
        let check = |variables: &[(&str, &str)], https: &str, http: &str| {
            let proxies = environment(variables);
            assert_eq!(way(&proxies, "https://auth.example.com/keys").unwrap(), https, "{variables:?}");
            assert_eq!(way(&proxies, "http://auth.example.com/keys").unwrap(), http, "{variables:?}");
            assert_eq!(proxies.faults().count(), 0, "{variables:?}");
        };
        check(&[], "direct", "direct");
        check(&[("https_proxy", "http://a:1")], "a:1", "direct");
        check(&[("HTTP_PROXY", "http://a:1")], "direct", "a:1");
        check(&[("HTTPS_PROXY", "http://a:1"), ("https_proxy", "b:2")], "b:2", "direct");
        check(&[("HTTPS_PROXY", "http://a:1"), ("https_proxy", "")], "a:1", "direct");
        check(&[("all_proxy", "https://a")], "a:443", "a:443");
        check(&[("ALL_PROXY", "http://a/"), ("http_proxy", " user:pass@b:2 ")], "a:80", "b:2");
        check(&[("ALL_PROXY", "http://[::1]:3128")], "[::1]:3128", "[::1]:3128");
        check(&[("ALL_PROXY", "http://a:1"), ("NO_PROXY", "x, *")], "direct", "direct");
    }

    #[test]
    fn a_proxy_that_cannot_be_read_is_said_and_never_gone_around() {
        let values = [
            "socks5://a:1",
            "http://",
            "http://a:99999",
            "http://a:b",
            "http://user:pass@",
            "http://a/path",
            "http://a b",
            "://",
            "ftp://a",
            "http://user:sec#ret@a:1",
            "http://user:80#ret@a:1",
        ];
        for value in values {
            let proxies =
                environment(&[("https_proxy", value), ("all_proxy", "http://b"), ("no_proxy", "direct.test")]);
            assert_eq!(way(&proxies, "https://auth.example.com/"), Err("https_proxy"), "{value}");
            assert_eq!(way(&proxies, "http://auth.example.com/").unwrap(), "b:80", "{value}");
            assert_eq!(way(&proxies, "https://direct.test/").unwrap(), "direct", "{value}");
            let faults: Vec<&str> = proxies.faults().collect();
            assert!(faults.len() == 1 && faults[0].starts_with("https_proxy is no proxy: "), "{faults:?}");
            assert!(!faults[0].contains("user") && !faults[0].contains("ret"), "{faults:?}");
        }
        let not_utf8 = |name: &str| (name == "ALL_PROXY").then(|| OsString::from_vec(b"http://\xff".to_vec()));
        let proxies = Proxies::read(not_utf8);
        assert!(matches!((&proxies.https, &proxies.http), (Way::Unusable("ALL_PROXY"), Way::Unusable("ALL_PROXY"))));
        assert_eq!(proxies.faults().count(), 1);
    }

    #[test]
    fn what_no_proxy_lists_is_reached_directly() {
        let rows = [
            ("example.com", "https://example.com/", true),
            ("example.com", "https://EXAMPLE.com./", true),
            ("example.com.", "https://example.com/", true),
            ("example.com", "https://auth.example.com/", true),
            ("example.com", "https://badexample.com/", false),
            ("example.com", "https://example.com.evil.test/", false),
            (".example.com", "https://auth.example.com/", true),
            (".Example.COM", "https://example.com/", true),
            ("*.example.com", "https://a.b.example.com/", true),
            ("*.example.com", "https://badexample.com/", false),
            ("*", "https://anything.test/", true),
            ("a.test b.test,c.test , d.test", "https://d.test/", true),
            ("a.test b.test", "https://b.test/", true),
            ("example.com:8443", "https://example.com:8443/", true),
            ("example.com:8443", "https://example.com/", false),
            ("example.com:443", "https://example.com/", true),
            ("example.com:80", "http://example.com/", true),
            ("10.1.2.3", "https://10.1.2.3/", true),
            ("10.1.2.3", "https://10.1.2.30/", false),
            ("10.1.2.3:443", "https://10.1.2.3/", true),
            ("2.3", "https://10.1.2.3/", false),
            ("10.0.0.0/8", "https://10.200.0.1:8443/", true),
            ("10.0.0.0/8", "https://11.0.0.1/", false),
            ("10.0.0.0/8", "https://[::ffff:10.0.0.1]/", true),
            ("0.0.0.0/0", "https://11.0.0.1/", true),
            ("0.0.0.0/0", "https://[2001:db8::1]/", false),
            ("0.0.0.0/0", "https://example.com/", false),
            ("10.0.0.0/9:443", "https://10.127.0.1/", true),
            ("2001:db8::/32", "https://[2001:db8:1::1]/", true),
            ("2001:db8::/32", "https://[2001:db9::1]/", false),
            ("2001:db8::1", "https://[2001:db8::1]/", true),
            ("[2001:db8::1]", "https://[2001:db8::1]/", true),
            ("[2001:db8::1]:443", "https://[2001:db8::1]/", true),
            ("[2001:db8::1]:444", "https://[2001:db8::1]/", false),
            // Always.
            ("", "https://localhost:8443/", true),
            ("", "https://LOCALHOST./", true),
            ("", "https://127.8.9.1/", true),
            ("", "https://[::1]/", true),
            ("", "https://[::ffff:127.0.0.1]/", true),
            ("", "https://localhost.example.com/", false),
            ("", "https://10.0.0.1/", false),
        ];
        for (list, url, direct) in rows {
            let proxies = environment(&[("all_proxy", "http://proxy:3128"), ("no_proxy", list)]);
            let expected = if direct { "direct" } else { "proxy:3128" };
            assert_eq!(way(&proxies, url).unwrap(), expected, "{list} {url}");
            assert_eq!(proxies.faults().count(), 0, "{list}");
        }
    }

    #[test]
    fn an_entry_that_says_nothing_is_ignored_and_said() {
        for entry in ["10.0.0.0/33", "2001:db8::/129", "example.com/8", "a*b", "**", "a:port", "[::1", "http://a", "."]
        {
            assert_eq!(Exception::parse(entry), None, "{entry}");
            let list = format!("{entry},direct.test");
            let proxies = environment(&[("all_proxy", "http://proxy"), ("NO_PROXY", &list)]);
            assert_eq!(way(&proxies, "https://direct.test/").unwrap(), "direct");
            let faults: Vec<&str> = proxies.faults().collect();
            assert!(faults.len() == 1 && faults[0].starts_with(&format!("NO_PROXY has `{entry}`")), "{faults:?}");
        }
    }

    #[test]
    fn user_and_password_are_never_shown() {
        let proxies = environment(&[
            ("https_proxy", "http://someone:hunter2@proxy:3128"),
            ("http_proxy", "socks5://someone:hunter2@proxy"),
        ]);
        let shown = format!("{proxies:?} {proxies:#?} {}", proxies.faults().collect::<String>());
        assert!(shown.contains("proxy:3128") && shown.contains("http_proxy is unusable"), "{shown}");
        assert!(!shown.contains("someone") && !shown.contains("hunter2"), "{shown}");
    }

    proptest! {
        #[test]
        fn any_environment_is_read(proxy in ".{0,40}", list in ".{0,60}", host in "[a-z0-9.:\\[\\]]{1,20}") {
            let proxies = environment(&[("ALL_PROXY", &proxy), ("no_proxy", &list)]);
            if let Ok(uri) = format!("https://{host}/").parse::<Uri>() {
                let _ = proxies.on_the_way_to(&uri);
            }
            let _ = format!("{proxies:?}");
        }
    }
}
