//! The names that a certificate may carry: of a service, in DNS, of an address. What is taken is spelled in one way only.
use std::{fmt, net::IpAddr};

/// Characters of a common name at most (RFC 5280 appendix A.1, `ub-common-name`).
const COMMON_NAME_CHARACTERS_MAX: usize = 64;
/// Characters of a name in DNS at most (RFC 1035 §2.3.4).
const DNS_NAME_CHARACTERS_MAX: usize = 253;
/// Characters between two dots at most (RFC 1035 §2.3.4).
const LABEL_CHARACTERS_MAX: usize = 63;

/// The name under which a certificate is kept: a name in DNS, which is safe as the name of a file too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceName(String);

impl ServiceName {
    /// Reads a name such as `orders` or `orders.internal`, of at most 64 characters.
    ///
    /// # Errors
    /// Says what a name looks like.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > COMMON_NAME_CHARACTERS_MAX {
            return Err(format!("a name has at most {COMMON_NAME_CHARACTERS_MAX} characters"));
        }
        dns_name(text).map(Self)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Reads a host name as certificates carry it (RFC 1123 §2.1): lower case, no wildcard, no final dot.
///
/// # Errors
/// Says what is wrong with it and, where that can be known, what would be right.
pub fn dns_name(text: &str) -> Result<String, String> {
    if text.parse::<IpAddr>().is_ok() {
        return Err("this is an address: --ip takes addresses".to_owned());
    }
    if text.contains('*') {
        return Err("a wildcard would let one service pose as another: write the names out".to_owned());
    }
    if text.contains("://") || text.contains(['/', ':', '@']) {
        return Err("a host name alone, without scheme, port or path, such as orders.internal".to_owned());
    }
    if !text.is_ascii() {
        return Err("a name beyond ASCII is written as DNS has it (xn--...)".to_owned());
    }
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(format!("names are written in lower case: {}", text.to_ascii_lowercase()));
    }
    if text.ends_with('.') {
        return Err("without the final dot".to_owned());
    }
    if text.len() > DNS_NAME_CHARACTERS_MAX {
        return Err(format!("a host name has at most {DNS_NAME_CHARACTERS_MAX} characters"));
    }
    if !text.split('.').all(is_label) {
        return Err(
            "a host name has letters, digits and hyphens between its dots (at most 63, no hyphen first or last), \
                    such as orders.internal"
                .to_owned(),
        );
    }
    // Some readers take such a name for an address (RFC 3696 §2).
    if text.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err("the last part of a host name is not a number".to_owned());
    }
    Ok(text.to_owned())
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_CHARACTERS_MAX).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Reads an address at which a single server can be reached.
///
/// # Errors
/// Says what is expected.
pub fn address(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr =
        text.parse().map_err(|_| "one address, such as 10.0.0.7 or fd00::7, without port or network".to_owned())?;
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    if address.is_unspecified() || address.is_multicast() || is_broadcast {
        return Err("no single server has this address".to_owned());
    }
    // An address of one family in the clothes of the other would never be compared equal.
    if address.to_canonical() != address {
        return Err(format!("write it as {}", address.to_canonical()));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_make_sense_are_taken_as_they_are() {
        for name in
            ["orders", "orders.internal", "a", "x1", "1x", "orders-v2.shop.example.com", "xn--bcher-kva.example"]
        {
            assert_eq!(ServiceName::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn names_that_make_none_are_refused_with_what_is_right() {
        let long_label = "a".repeat(64);
        let long_name = format!("{}.{}", "a".repeat(40), "b".repeat(40));
        let rows = [
            ("", "letters, digits and hyphens"),
            ("..", "final dot"),
            ("../orders", "without scheme"),
            ("a/b", "without scheme"),
            (".orders", "letters"),
            ("a..b", "letters"),
            ("orders.", "final dot"),
            ("-orders", "hyphen"),
            ("orders-", "hyphen"),
            ("or_ders", "letters"),
            ("or ders", "letters"),
            ("orders\n", "letters"),
            ("orders\0", "letters"),
            ("Orders", "orders"),
            ("bücher", "xn--"),
            ("*.internal", "wildcard"),
            ("10.0.0.7", "--ip"),
            ("::1", "--ip"),
            ("orders.7", "not a number"),
            ("12", "not a number"),
            ("https://orders", "without scheme"),
            ("orders:8443", "without scheme"),
            (long_label.as_str(), "63"),
            (long_name.as_str(), "64"),
        ];
        for (name, says) in rows {
            let error = ServiceName::parse(name).unwrap_err();
            assert!(error.contains(says), "{name:?}: {error}");
        }
        assert!(dns_name(&long_name).is_ok(), "only a common name is bounded so tightly");
    }

    #[test]
    fn addresses_are_those_of_single_servers() {
        for good in ["10.0.0.7", "127.0.0.1", "fd00::7", "::1"] {
            assert_eq!(address(good).unwrap().to_string(), good);
        }
        for (bad, says) in [
            ("10.0.0.0/8", "without port or network"),
            ("10.0.0.7:80", "without port"),
            ("orders", "one address"),
            ("010.0.0.7", "one address"),
            ("0.0.0.0", "no single server"),
            ("::", "no single server"),
            ("224.0.0.1", "no single server"),
            ("255.255.255.255", "no single server"),
            ("ff02::1", "no single server"),
            ("::ffff:10.0.0.7", "write it as 10.0.0.7"),
        ] {
            let error = address(bad).unwrap_err();
            assert!(error.contains(says), "{bad}: {error}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_taken_is_one_safe_name_in_a_directory(text in "[a-zA-Z0-9._*/@ -]{0,70}|\\PC{0,20}") {
            if let Ok(name) = ServiceName::parse(&text) {
                prop_assert_eq!(name.as_str(), &text);
                prop_assert!(text.len() <= 64);
                prop_assert!(text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte)));
                prop_assert!(!text.starts_with('.') && !text.ends_with('.') && !text.contains(".."));
                prop_assert_eq!(std::path::Path::new(&text).components().count(), 1);
                prop_assert!(text.parse::<IpAddr>().is_err());
            }
        }

        #[test]
        fn every_name_of_labels_is_taken(labels in prop::collection::vec("[a-z]([a-z0-9-]{0,13}[a-z0-9])?", 1..4)) {
            prop_assert!(ServiceName::parse(&labels.join(".")).is_ok());
        }

        #[test]
        fn every_address_that_is_taken_is_written_in_its_one_form(bytes in any::<[u8; 16]>()) {
            let text = IpAddr::from(bytes).to_string();
            if let Ok(taken) = address(&text) {
                prop_assert_eq!(taken.to_string(), text);
            }
        }
    }
}
