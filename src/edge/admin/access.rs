//! Who may read and who may change through the operators' interface.
//!
//! Over TCP, a `Host` that is neither a loopback name nor the address itself is refused, so that no web page can read by
//! DNS rebinding; and what a browser sends from another site changes nothing, whatever token it carries.
use std::{fmt, net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderName, header};
use pingora_core::protocols::http::ServerSession;
use subtle::ConstantTimeEq;

use crate::{
    config::{
        secret::Secret,
        settings::{Address, Admin},
    },
    gate::{
        host::Host,
        rejection::Rejection,
        sources::{Credentials, credentials},
    },
};

/// Fetch Metadata: where a browser's request comes from.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Who may ask.
#[derive(Debug)]
pub struct Access {
    settings: Arc<Admin>,
    /// Whether the socket itself keeps strangers out.
    is_private: bool,
}

/// Why somebody may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denial {
    /// `Host` is missing, there twice, or a name of somebody else.
    ForeignHost,
    /// There is no token, or another one.
    Token,
    /// The token may read, not change.
    ReadToken,
    /// No token for changes is configured.
    NoChanges,
    /// A browser sends it from a page of another site.
    CrossSite,
}

impl Denial {
    pub(super) const fn status(self) -> u16 {
        match self {
            Self::ForeignHost => Rejection::RequestMalformed.row().status,
            Self::Token => Rejection::TokenMissing.row().status,
            Self::ReadToken | Self::NoChanges | Self::CrossSite => Rejection::RoleMissing.row().status,
        }
    }

    pub(super) const fn is_about_the_token(self) -> bool {
        matches!(self, Self::Token)
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::ForeignHost => "Host is not one of this address (admin.allowed_hosts)",
            Self::Token => "A bearer token is required, and none that counts here was sent",
            Self::ReadToken => "This token may read only",
            Self::NoChanges => {
                "No changes over TCP: admin.write_token_file is not configured. The unix socket takes them: admin.sock in \
                 $RUNTIME_DIRECTORY, which systemd makes"
            }
            Self::CrossSite => "No changes from pages of other sites, and no explanations",
        })
    }
}

impl Access {
    /// Access by the configured address.
    pub fn by_address(settings: Arc<Admin>) -> Self {
        let is_private = matches!(settings.address, Some(Address::Unix(_)));
        Self { settings, is_private }
    }

    /// Access by a unix socket that only the process's own user can open.
    pub const fn by_private_socket(settings: Arc<Admin>) -> Self {
        Self { settings, is_private: true }
    }

    pub(super) fn may_read(&self, session: &ServerSession) -> Result<(), Denial> {
        if self.is_private {
            return Ok(());
        }
        let headers = &session.req_header().headers;
        self.check_host(headers)?;
        if self.settings.read_token.is_none()
            || self.presents(headers, [&self.settings.read_token, &self.settings.write_token])
        {
            return Ok(());
        }
        Err(Denial::Token)
    }

    /// Who may have a request explained: whoever may read, but no page of another site. It changes nothing; but it takes
    /// tokens, and no page that a browser shows has any business with those.
    pub(super) fn may_explain(&self, session: &ServerSession) -> Result<(), Denial> {
        if is_cross_site(&session.req_header().headers) {
            return Err(Denial::CrossSite);
        }
        self.may_read(session)
    }

    pub(super) fn may_change(&self, session: &ServerSession) -> Result<(), Denial> {
        let headers = &session.req_header().headers;
        if !self.is_private {
            self.check_host(headers)?;
        }
        if is_cross_site(headers) {
            return Err(Denial::CrossSite);
        }
        if self.is_private {
            return Ok(());
        }
        if self.settings.write_token.is_none() {
            return Err(Denial::NoChanges);
        }
        if self.presents(headers, [&self.settings.write_token]) {
            return Ok(());
        }
        let may_read = self.settings.read_token.is_some() && self.presents(headers, [&self.settings.read_token]);
        Err(if may_read { Denial::ReadToken } else { Denial::Token })
    }

    fn check_host(&self, headers: &HeaderMap) -> Result<(), Denial> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = hosts.next().and_then(|host| host.to_str().ok()).and_then(|host| Host::parse(host).ok());
        if hosts.next().is_none() && host.is_some_and(|host| self.knows(host.name())) {
            Ok(())
        } else {
            Err(Denial::ForeignHost)
        }
    }

    /// Whether the request carries one of these tokens. All are compared, in a time that does not depend on how much of
    /// them agrees.
    fn presents<const N: usize>(&self, headers: &HeaderMap, expected: [&Option<Secret>; N]) -> bool {
        let mut fields = headers.get_all(header::AUTHORIZATION).iter();
        let presented = fields.next().and_then(|value| value.to_str().ok()).unwrap_or_default();
        let Credentials::Bearer(token) = credentials(presented) else { return false };
        let token = token.trim().as_bytes();
        let agrees =
            |secret: &&Option<Secret>| secret.as_ref().is_some_and(|secret| bool::from(token.ct_eq(secret.bytes())));
        fields.next().is_none() && expected.iter().filter(|secret| agrees(secret)).count() > 0
    }

    fn knows(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_own_address = |ip: IpAddr| match &self.settings.address {
            // A page that was rebound comes with its own name, never with an address.
            Some(Address::Tcp(address)) => ip == address.ip() || address.ip().is_unspecified(),
            Some(Address::Unix(_)) | None => false,
        };
        host == "localhost"
            || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || is_own_address(ip))
            || self.settings.allowed_hosts.iter().any(|allowed| allowed.as_ref() == host)
    }
}

/// Whether a browser sends this from a page of another site: by what browsers say of it (Fetch Metadata), or by an
/// `Origin` (RFC 6454 §7) that is not the host asked. Programs send neither.
fn is_cross_site(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).map(http::HeaderValue::as_bytes).unwrap_or_default();
    let is_foreign_site = |site: &http::HeaderValue| site != "same-origin" && site != "none";
    let is_foreign_origin = |origin: &http::HeaderValue| {
        let authority =
            [&b"http://"[..], b"https://"].iter().find_map(|scheme| origin.as_bytes().strip_prefix(*scheme));
        authority.is_none_or(|authority| !authority.eq_ignore_ascii_case(host))
    };
    headers.get_all(SEC_FETCH_SITE).iter().any(is_foreign_site)
        || headers.get_all(header::ORIGIN).iter().any(is_foreign_origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_page_of_another_site_sends_is_told_by_either_header() {
        let rows: [(&[(&str, &str)], bool); 12] = [
            (&[], false),
            (&[("sec-fetch-site", "same-origin")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("sec-fetch-site", "same-site")], true),
            (&[("sec-fetch-site", "cross-site")], true),
            (&[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")], true),
            (&[("origin", "http://127.0.0.1:9400")], false),
            (&[("origin", "null")], true),
            (&[("origin", "http://127.0.0.1:8080")], true),
            (&[("origin", "http://127.0.0.1:9400.evil.test")], true),
            (&[("origin", "file://127.0.0.1:9400")], true),
            (&[("origin", "")], true),
        ];
        for (fields, expected) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "127.0.0.1:9400".parse().unwrap());
            for (name, value) in fields {
                headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
            }
            assert_eq!(is_cross_site(&headers), expected, "{fields:?}");
        }
    }
}
