//! The host that a request is for: `Host` or the authority of an absolute target, in one spelling.
//!
//! It never repairs: what RFC 3986 §3.2.2 does not allow is refused, because another server might read it otherwise.
use std::{borrow::Cow, net::Ipv6Addr};

/// A host in the spelling in which hosts are compared: lower case, without port and without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host<'r> {
    name: Cow<'r, str>,
}

impl<'r> Host<'r> {
    /// Reads the value of `Host` or an authority: a name or address and perhaps a port (RFC 9112 §3.2).
    ///
    /// # Errors
    /// One line that says what is wrong: empty, userinfo, a character that a host cannot have, a port above 65535.
    pub fn parse(authority: &'r str) -> Result<Self, &'static str> {
        // Bytes are searched, not characters: for texts as short as these that is several times as quick.
        if authority.as_bytes().contains(&b'@') {
            return Err("userinfo in the host");
        }
        if let Some(rest) = authority.strip_prefix('[') {
            return Self::parse_address(rest);
        }
        let (name, port) = match authority.bytes().position(|byte| byte == b':') {
            Some(colon) => (authority.get(..colon).unwrap_or_default(), authority.get(colon + 1..)),
            None => (authority, None),
        };
        check_port(port)?;
        if !name.bytes().all(is_name_byte) {
            return Err("a character that a host name cannot have");
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.as_bytes().split(|byte| *byte == b'.').any(<[u8]>::is_empty) {
            return Err("an empty host or label");
        }
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        };
        Ok(Self { name })
    }

    /// Reads what follows the opening bracket of an IPv6 address. One address has many spellings (RFC 5952 §2).
    fn parse_address(rest: &str) -> Result<Self, &'static str> {
        let (address, after) = rest.split_once(']').ok_or("an unclosed bracket in the host")?;
        let address: Ipv6Addr = address.parse().map_err(|_| "no IPv6 address in the brackets of the host")?;
        let port = match after {
            "" => None,
            _ => Some(after.strip_prefix(':').ok_or("text after the brackets of the host")?),
        };
        check_port(port)?;
        Ok(Self { name: Cow::Owned(format!("[{address}]")) })
    }

    /// The compared spelling.
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn check_port(port: Option<&str>) -> Result<(), &'static str> {
    let is_port =
        |text: &str| text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok();
    match port {
        Some(port) if !port.is_empty() && !is_port(port) => Err("no valid port after the host"),
        Some(_) | None => Ok(()),
    }
}

/// Letters, digits and hyphen as DNS has them, and the underscore that service names use. RFC 3986 allows escapes and
/// sub-delimiters too; no host that a gateway serves has them, and they are read differently from server to server.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_host_has_one_spelling() {
        for (authority, name) in [
            ("api.example.com", "api.example.com"),
            ("API.Example.COM", "api.example.com"),
            ("api.example.com:8080", "api.example.com"),
            ("ADMIN.example.com.:443", "admin.example.com"),
            ("api.example.com:", "api.example.com"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("[::1]:80", "[::1]"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
            ("[2001:0db8:0:0:0:0:0:1]:80", "[2001:db8::1]"),
            ("[0:0:0:0:0:0:0:1]", "[::1]"),
            ("a_b", "a_b"),
        ] {
            assert_eq!(Host::parse(authority).map(|host| host.name().to_owned()).as_deref(), Ok(name), "{authority}");
        }
    }

    #[test]
    fn what_is_not_one_host_is_refused() {
        for authority in [
            "",
            ".",
            ":80",
            "a b",
            "a/b",
            "a\\b",
            "u@h",
            "@",
            "h:99999",
            "h:x",
            "h:8:0",
            "h:+80",
            "a..b",
            ".a",
            "a,b",
            "a%2eb",
            "[::1",
            "[::1]x",
            "[::1]:x",
            "[::1]:99999",
            "[x]",
            "[]",
            "h\t",
            "é",
            "h..",
        ] {
            assert!(Host::parse(authority).is_err(), "{authority:?}");
        }
    }

    proptest! {
        #[test]
        fn case_port_and_a_final_dot_do_not_make_another_host(
            labels in prop::collection::vec("[a-z0-9_-]{1,8}", 1..5), port in prop::option::of(any::<u16>()), dot in any::<bool>()
        ) {
            let name = labels.join(".");
            let port = port.map_or(String::new(), |port| format!(":{port}"));
            let sent = format!("{}{}{port}", name.to_ascii_uppercase(), if dot { "." } else { "" });
            let host = Host::parse(&sent).unwrap();
            prop_assert_eq!(host.name(), name);
        }

        #[test]
        fn a_host_that_is_read_is_read_the_same_again(text in "[\\[]?[a-zA-Z0-9:._@/%\\]-]{0,20}") {
            if let Ok(host) = Host::parse(&text) {
                let again = Host::parse(host.name()).unwrap();
                prop_assert_eq!(again.name(), host.name());
            }
        }
    }
}
