//! Which header names a client may not send: the one place that decides what an owned spelling is.
//!
//! CGI, WSGI, PHP and others fold header names: `X-User-ID`, `X_User_ID` and `x.user.id` are one variable to them. So
//! names are compared with everything but letters and digits removed and case ignored. Nothing of what a client sent
//! under an owned name is ever kept, in no spelling, on no route.
use crate::gate::known_headers::{FORWARDED_IDENTITY, IDENTITY, OVERRIDES, PLAIN_ONLY, WRITTEN};

/// What the gate says about one header name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// Not the gate's business.
    Free,
    /// Belongs to the gate: what the client sent is removed.
    Owned,
    /// A protected name in its one right spelling: it passes, unless another rule takes it, but must not be nominated
    /// by `Connection`. Its other spellings are [`Ownership::Owned`].
    Plain,
}

/// The owned and protected names of one configuration.
#[derive(Clone, Debug, Default)]
pub struct HeaderFirewall {
    /// Sorted by hash.
    names: Vec<Entry>,
    /// Those of `n` letters and digits are at position `n`, so that few are looked at for each letter of a name.
    prefixes: Vec<Vec<Prefix>>,
}

#[derive(Clone, Debug)]
struct Entry {
    hash: u64,
    folded: Box<str>,
    /// The one spelling that passes, in lower case; nothing when none does.
    plain: Option<Box<str>>,
}

#[derive(Clone, Debug)]
struct Prefix {
    hash: u64,
    folded: Box<str>,
}

/// Names that one configuration adds to the built-in ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct FirewallNames<'c> {
    /// Headers that the gate sets: removed in every spelling.
    pub owned: &'c [Box<str>],
    /// Headers that carry tokens: their respellings are removed.
    pub token_headers: &'c [Box<str>],
    /// More names or patterns to remove.
    pub strip: &'c [Box<str>],
    /// Whether the identity headers of other gateways may pass.
    pub keep_known: bool,
}

impl HeaderFirewall {
    /// Builds the firewall. A name that ends with `*` stands for everything that begins so.
    pub fn new(names: FirewallNames<'_>) -> Self {
        let mut firewall = Self::default();
        // The first entry of a spelling wins, so what is owned by configuration cannot become plain.
        for name in names.owned.iter().chain(names.strip) {
            firewall.own(name);
        }
        let kept = if names.keep_known { FORWARDED_IDENTITY } else { &[] };
        let plain = PLAIN_ONLY.iter().chain(kept).copied();
        for name in names.token_headers.iter().map(AsRef::as_ref).chain(plain) {
            firewall.add(name, Some(name.to_ascii_lowercase().into()));
        }
        let known = if names.keep_known { &[] } else { IDENTITY };
        for name in WRITTEN.iter().chain(OVERRIDES).chain(known) {
            firewall.own(name);
        }
        firewall.names.sort_by_key(|entry| entry.hash);
        firewall
    }

    /// A firewall that owns these names and nothing else.
    pub fn of_names(names: &[Box<str>]) -> Self {
        let mut firewall = Self::default();
        for name in names {
            firewall.own(name);
        }
        firewall.names.sort_by_key(|entry| entry.hash);
        firewall
    }

    /// Whether `name` folds to nothing or to a pattern for everything, and so cannot be owned.
    pub fn is_meaningless(name: &str) -> bool {
        folded(name.trim_end_matches('*')).is_empty()
    }

    fn own(&mut self, name: &str) {
        match name.strip_suffix('*') {
            Some(prefix) => {
                let folded = folded(prefix);
                if self.prefixes.len() <= folded.len() {
                    self.prefixes.resize_with(folded.len() + 1, Vec::new);
                }
                if let Some(prefixes) = self.prefixes.get_mut(folded.len()) {
                    prefixes.push(Prefix { hash: hash_of(&folded), folded: folded.into() });
                }
            }
            None => self.add(name, None),
        }
    }

    fn add(&mut self, name: &str, plain: Option<Box<str>>) {
        let folded: Box<str> = folded(name).into();
        if !self.names.iter().any(|entry| entry.folded == folded) {
            self.names.push(Entry { hash: hash_of(&folded), folded, plain });
        }
    }

    /// Judges one header name, in any case.
    pub fn ownership(&self, name: &str) -> Ownership {
        let mut hash = HASH_START;
        let mut begins_owned = false;
        let mut prefixes = self.prefixes.iter().skip(1);
        for letter in folded_letters(name) {
            hash = hash_step(hash, letter);
            let candidates = prefixes.next().map(Vec::as_slice).unwrap_or_default();
            begins_owned |= candidates.iter().any(|prefix| prefix.hash == hash && begins(name, &prefix.folded));
        }
        let first = self.names.partition_point(|entry| entry.hash < hash);
        let mut candidates = self.names.iter().skip(first).take_while(|entry| entry.hash == hash);
        match candidates.find(|entry| folded_letters(name).eq(entry.folded.bytes())) {
            Some(Entry { plain: Some(plain), .. }) if plain.eq_ignore_ascii_case(name) => Ownership::Plain,
            Some(_) => Ownership::Owned,
            None if begins_owned => Ownership::Owned,
            None => Ownership::Free,
        }
    }

    /// What this one takes from clients and `other` lets pass: names folded to letters and digits; one that ends with `*`
    /// stands for all that begin so.
    pub fn beyond(&self, other: &Self) -> Vec<String> {
        let is_begun = |folded: &str| other.prefixes.iter().flatten().any(|prefix| folded.starts_with(&*prefix.folded));
        let is_taken = |entry: &Entry| match other.names.iter().find(|known| known.folded == entry.folded) {
            Some(known) => known.plain.is_none() || known.plain == entry.plain,
            None => is_begun(&entry.folded),
        };
        let names = self.names.iter().filter(|entry| !is_taken(entry)).map(|entry| entry.folded.to_string());
        let prefixes = self.prefixes.iter().flatten().filter(|prefix| !is_begun(&prefix.folded));
        let mut beyond: Vec<String> = names.chain(prefixes.map(|prefix| format!("{}*", prefix.folded))).collect();
        beyond.sort();
        beyond
    }

    /// The name in a `Connection` value that a client may not nominate (RFC 9110 §7.6.1).
    pub fn forbidden_nomination<'v>(&self, connection: &'v str) -> Option<&'v str> {
        let nominated = connection.split(',').map(|name| name.trim_matches([' ', '\t']));
        nominated.into_iter().find(|name| match self.ownership(name) {
            Ownership::Free => false,
            // A field may name itself; that is noise, and removed with the field.
            Ownership::Plain => !name.eq_ignore_ascii_case("connection"),
            Ownership::Owned => true,
        })
    }
}

fn folded_letters(name: &str) -> impl Iterator<Item = u8> + '_ {
    name.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_lowercase())
}

fn folded(name: &str) -> String {
    folded_letters(name).map(char::from).collect()
}

fn begins(name: &str, folded_prefix: &str) -> bool {
    folded_letters(name).take(folded_prefix.len()).eq(folded_prefix.bytes())
}

// FNV-1a: only narrows the search; every match is then compared letter by letter.
const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;

const fn hash_step(hash: u64, letter: u8) -> u64 {
    (hash ^ letter as u64).wrapping_mul(0x0100_0000_01b3)
}

fn hash_of(folded: &str) -> u64 {
    folded.bytes().fold(HASH_START, hash_step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn firewall() -> HeaderFirewall {
        HeaderFirewall::new(FirewallNames {
            owned: &["X-User-ID".into(), "X-Acme-Roles".into()],
            token_headers: &["X-Access-Token".into()],
            strip: &["X-Internal-*".into(), "X-Debug".into()],
            keep_known: false,
        })
    }

    fn check(name: &str, expected: Ownership) {
        assert_eq!(firewall().ownership(name), expected, "{name}");
    }

    #[test]
    fn an_owned_name_is_owned_in_every_spelling() {
        for name in
            ["X-User-ID", "x-user-id", "X_USER_ID", "x.user.id", "XUserId", "X--User--Id", "x!user~id", "x-acme_roles"]
        {
            check(name, Ownership::Owned);
        }
        for name in ["X-Internal-Anything", "x_internal_a", "X-Debug", "x.debug"] {
            check(name, Ownership::Owned);
        }
        for name in ["X-Internals-", "X-Debugger", "X-Acme-Role", "Accept", "X-Use", "Foo_Bar", "", "-"] {
            check(name, if name == "X-Internals-" { Ownership::Owned } else { Ownership::Free });
        }
    }

    #[test]
    fn headers_of_other_gateways_and_overrides_are_owned() {
        for name in [
            "X-Forwarded-User",
            "X-Forwarded-For",
            "X_Forwarded_Proto",
            "X-Auth-Request-Email",
            "Remote-User",
            "REMOTE_USER",
            "X-WEBAUTH-USER",
            "Client-Cert",
            "X-SSL-Client-DN",
            "SSL_CLIENT_S_DN",
            "SM_USER",
            "X-HTTP-Method-Override",
            "X-Original-URL",
            "X_Rewrite_Url",
            "traceparent",
            "X-Request-Id",
            "X_Real_IP",
        ] {
            check(name, Ownership::Owned);
        }
        let keeping = HeaderFirewall::new(FirewallNames { keep_known: true, ..FirewallNames::default() });
        assert_eq!(keeping.ownership("Remote-User"), Ownership::Free);
        assert_eq!(keeping.ownership("X-Original-URL"), Ownership::Owned);
        assert_eq!(keeping.ownership("X-Forwarded-For"), Ownership::Owned);
        assert_eq!(keeping.ownership("X-Forwarded-User"), Ownership::Plain);
        assert_eq!(keeping.ownership("X_Forwarded_User"), Ownership::Owned);
    }

    #[test]
    fn protected_names_pass_in_their_own_spelling_only() {
        for name in ["host", "Authorization", "COOKIE", "content-length", "Transfer-Encoding", "x-access-token"] {
            check(name, Ownership::Plain);
        }
        for name in ["h-ost", "Authorization_", "coo.kie", "Content_Length", "transfer.encoding", "X_Access_Token"] {
            check(name, Ownership::Owned);
        }
    }

    #[test]
    fn a_nomination_of_a_guarded_header_is_found() {
        let firewall = firewall();
        for value in [
            "X-User-ID",
            "close, x_user_id",
            "close,Authorization",
            "Host",
            "keep-alive, traceparent",
            "a, X-Access-Token ,b",
        ] {
            assert!(firewall.forbidden_nomination(value).is_some(), "{value}");
        }
        for value in ["close", "keep-alive, Upgrade", "", " , ,", "Connection", "TE, close", "X-Foo"] {
            assert_eq!(firewall.forbidden_nomination(value), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn inserting_separators_and_changing_case_never_frees_an_owned_name(
            separators in prop::collection::vec("[-_.!#$%&'*+^`|~]{0,2}", 9), upper in prop::collection::vec(any::<bool>(), 9)
        ) {
            let mut name = String::new();
            for ((letter, separator), upper) in "xuserid".chars().zip(&separators).zip(&upper) {
                name.push_str(separator);
                name.push(if *upper { letter.to_ascii_uppercase() } else { letter });
            }
            prop_assert_eq!(firewall().ownership(&name), Ownership::Owned);
        }
    }
}
