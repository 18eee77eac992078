//! What an identity provider publishes: its metadata, found as the gateway will find it, and keys that can be used.
use std::{path::Path, time::Duration};

use crate::{
    cli::CommandError,
    config::terminal,
    edge::{
        discovery::{self, Discovered, DiscoveryError, DiscoveryRequest, UrlFault},
        jwks_client::{self, Answer, FetchRequest, Proxies, Wanted},
    },
    gate::{
        algorithm::{Algorithm, Algorithms},
        keys::KeySet,
    },
};

/// For the metadata, and again for the keys.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Most reasons that are told of keys that cannot be used.
const REASONS_MAX: usize = 4;

/// How a provider is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    /// The issuer, or where its metadata is.
    pub(super) url: &'a str,
    /// PEM certificates to trust instead of the system's.
    pub(super) authorities_pem: Option<&'a [u8]>,
    /// Whether http will do.
    pub(super) insecure_http: bool,
}

/// What was learned of a provider.
#[derive(Debug)]
pub(super) struct Provider {
    /// Exact value of `iss`.
    pub(super) issuer: String,
    /// Where the keys are.
    pub(super) jwks_uri: String,
    /// Whether the gateway finds that by itself, from the issuer.
    pub(super) is_discoverable: bool,
    /// The usable keys, at least one.
    pub(super) keys: KeySet,
    /// `id_token_signing_alg_values_supported`, as far as portcullis knows them.
    pub(super) told_algorithms: Algorithms,
}

/// Asks for metadata and keys.
///
/// # Errors
/// [`CommandError::Usage`] for what is no URL of an issuer; [`CommandError::Failed`] where metadata or usable keys cannot be
/// had.
pub(super) fn ask(question: Question<'_>) -> Result<Provider, CommandError> {
    let proxies = Proxies::from_environment();
    let Question { url, authorities_pem, insecure_http } = question;
    let request = DiscoveryRequest { issuer: url, timeout: TIMEOUT, authorities_pem, insecure_http, proxies: &proxies };
    let found = discovery::fetch_metadata_at(&request).map_err(|error| in_words(&error))?;
    let issuer = found.metadata.issuer.clone();
    // Found elsewhere than where the gateway would look, it is asked where that is: what `init` promises must come true.
    let is_discoverable = issuer == url
        || discovery::discover(&DiscoveryRequest { issuer: &issuer, ..request })
            .is_ok_and(|again| again.jwks_uri == found.jwks_uri);
    let keys = keys(&found, question, &proxies)?;
    let told_algorithms =
        found.metadata.signing_algorithms.iter().filter_map(|name| Algorithm::from_name(name)).collect();
    Ok(Provider { issuer, jwks_uri: found.jwks_uri, is_discoverable, keys, told_algorithms })
}

impl Provider {
    /// The algorithms that tokens may have: each key's own where it names one or has but one, else what the metadata says
    /// of such keys, else all of its type. The metadata speaks of ID tokens only, so it never removes a key's own
    /// algorithm, and never one that a token was seen to be signed with.
    pub(super) fn algorithms(&self, seen: Option<Algorithm>) -> Algorithms {
        let of_keys = self.keys.keys().iter().flat_map(|key| {
            let told = key.algorithms().intersection(self.told_algorithms);
            let is_decided = key.algorithms().iter().count() == 1 || told.is_empty();
            (if is_decided { key.algorithms() } else { told }).iter().collect::<Vec<_>>()
        });
        of_keys.chain(seen).collect()
    }

    /// What should be known of keys that cannot be used; nothing when all can.
    pub(super) fn skipped_keys(&self) -> Option<String> {
        let skipped = self.keys.skipped();
        (!skipped.is_empty()).then(|| {
            let usable = self.keys.keys().len();
            format!("{usable} keys of the set can be used, {} cannot: {}", skipped.len(), reasons(&self.keys))
        })
    }
}

fn keys(found: &Discovered, question: Question<'_>, proxies: &Proxies) -> Result<KeySet, CommandError> {
    let url = found.jwks_uri.as_str();
    let failed = |reason: &dyn std::fmt::Display| {
        CommandError::Failed(format!("the keys at {} cannot be used: {reason}", terminal::printable(url)))
    };
    let fetched = jwks_client::fetch(&FetchRequest {
        url,
        wanted: Wanted::KeySet,
        if_none_match: None,
        timeout: TIMEOUT,
        authorities_pem: question.authorities_pem,
        insecure_http: question.insecure_http,
        proxies,
    });
    let body = match fetched.map_err(|error| failed(&error))? {
        Answer::Fetched(fetched) => fetched.body,
        // Nobody asked for it, so it does not happen.
        Answer::NotModified { .. } => Vec::new(),
    };
    let set = KeySet::parse(&body, Algorithms::asymmetric()).map_err(|fault| failed(&fault))?;
    if set.is_empty() {
        let reasons = reasons(&set);
        return Err(failed(&if reasons.is_empty() { "the set is empty" } else { reasons.as_str() }));
    }
    Ok(set)
}

/// Why keys of a set cannot be used, each reason once.
fn reasons(set: &KeySet) -> String {
    let mut reasons: Vec<&str> = set.skipped().iter().map(|skipped| skipped.reason).collect();
    reasons.sort_unstable();
    reasons.dedup();
    reasons.truncate(REASONS_MAX);
    reasons.join("; ")
}

fn in_words(error: &DiscoveryError) -> CommandError {
    match error {
        DiscoveryError::IssuerUnusable(UrlFault::PlainHttp) => CommandError::Usage(
            "--discovery: over http anybody on the way could change the keys; for tests and providers on this machine \
             there is --insecure-http"
                .to_owned(),
        ),
        DiscoveryError::IssuerUnusable(fault) => CommandError::Usage(format!("--discovery: {fault}")),
        DiscoveryError::Failed(_) => {
            let text = error.to_string();
            // Microsoft's metadata of all tenants has a placeholder where an issuer has the tenant.
            let hint = if text.contains("{tenantid}") || text.contains("sts.windows.net") {
                "\nFor Microsoft Entra ID write the tenant's own ID: https://login.microsoftonline.com/TENANT-ID/v2.0"
            } else {
                ""
            };
            CommandError::Failed(format!("no metadata was found: {}{hint}", terminal::printable(&text)))
        }
    }
}

/// The certificates of a file, and the path by which the configuration can name it.
///
/// # Errors
/// [`CommandError::Failed`] where it cannot be read or its path is no text.
pub(super) fn authorities(path: &Path) -> Result<(Vec<u8>, String), CommandError> {
    let pem = crate::edge::files::read_file(path, 1024 * 1024).map_err(CommandError::failed)?;
    let whole = path.canonicalize().map_err(|error| CommandError::Failed(format!("{}: {error}", path.display())))?;
    let text =
        whole.to_str().ok_or_else(|| CommandError::Failed(format!("{}: the path is not UTF-8", path.display())))?;
    Ok((pem, text.to_owned()))
}
