//! `issuers.*.keys`: where the keys come from, and which algorithms they may verify.
use std::sync::Arc;

use crate::config::error::ConfigError;
use crate::config::field::Field;
use crate::config::keys::issuer::KEY_SOURCE;
use crate::config::parse::context::{Context, NamedSecret};
use crate::config::parse::section::Section;
use crate::config::quantity::duration_text;
use crate::config::settings::{KeyFile, KeyLocation, KeySource, RemoteKeys};
use crate::gate::algorithm::{Algorithm, Algorithms, KeyType};
use crate::gate::host::Host;
use crate::gate::keys::{KEY_SET_BYTES_MAX, KeyFault, KeySet};

/// The keys that exclude each other.
const SOURCES: [&str; 5] = ["jwks_url", "discovery", "jwks_file", "public_key_file", "secret_file"];
/// The keys that say how a key set is fetched.
const OF_FETCHING: [&str; 6] = ["refresh", "cooldown", "max_stale", "timeout", "ca_file", "insecure_http"];
/// What is said to whoever would fetch keys without encryption.
const WHY_HTTPS: &str = "keys are fetched over https: whoever can change them on the way can sign tokens";
/// A public key or certificate in PEM is far shorter.
const PEM_BYTES_MAX: usize = 64 * 1024;
/// So many certificates as a bundle of authorities has.
const CERTIFICATES_BYTES_MAX: usize = 1024 * 1024;

/// Reads `keys` of an issuer whose `algorithms` are `written`.
pub(in crate::config) fn read(
    issuer: &Section<'_>,
    written: Option<Algorithms>,
    context: &mut Context<'_>,
) -> Option<(Algorithms, KeySource)> {
    let field = issuer.required("keys", &mut context.problems)?;
    let section = Section::read(&field, KEY_SOURCE, &mut context.problems)?;
    let source = section.exactly_one_of(&SOURCES, &mut context.problems)?;
    if !["jwks_url", "discovery"].contains(&source.name()) {
        section.refuse(&OF_FETCHING, "is for `jwks_url` and `discovery` alone", &mut context.problems);
    }
    let is_secret = source.name() == "secret_file";
    let allowed = allowed(issuer, written, is_secret, context);
    match source.name() {
        "jwks_url" | "discovery" => Some((allowed?, KeySource::Remote(remote(issuer, &section, &source, context)?))),
        "jwks_file" => key_set_file(&source, allowed?, context),
        "public_key_file" => public_key_file(&source, allowed?, context),
        _ => secret_file(&source, allowed?, written.is_some(), context),
    }
}

/// The algorithms that the issuer's keys may have; every one that does not fit the source is reported.
fn allowed(
    issuer: &Section<'_>,
    written: Option<Algorithms>,
    is_secret: bool,
    context: &mut Context<'_>,
) -> Option<Algorithms> {
    let Some(written) = written else {
        let secret = Algorithms::of_key_type(KeyType::Secret);
        return Some(if is_secret { secret } else { Algorithms::asymmetric() });
    };
    let mut fits = true;
    for (field, text) in issuer.texts("algorithms", &mut context.problems).unwrap_or_default() {
        let Some(algorithm) = Algorithm::from_name(text) else { continue };
        if (algorithm.key_type() == KeyType::Secret) == is_secret {
            continue;
        }
        fits = false;
        context.problems.add(if is_secret {
            let problem = field.error(format!("{algorithm} needs a public key, and `keys` has `secret_file`"));
            problem.with_hint("with a shared secret: HS256, HS384 or HS512")
        } else {
            let problem = field.error(format!("{algorithm} needs a shared secret, and `keys` has no `secret_file`"));
            problem.with_hint("with public keys: RS256, PS256, ES256, EdDSA and their kin")
        });
    }
    (fits && !written.is_empty()).then_some(written)
}

fn remote(
    issuer: &Section<'_>,
    section: &Section<'_>,
    source: &Field<'_>,
    context: &mut Context<'_>,
) -> Option<RemoteKeys> {
    let insecure_http = section.boolean("insecure_http", &mut context.problems);
    let location = if source.name() == "discovery" {
        discovery(issuer, source, insecure_http, context)
    } else {
        let example = "a URL such as `https://auth.example.com/.well-known/jwks.json`";
        url(source, example, (insecure_http, WHY_HTTPS), context).map(KeyLocation::Url)
    };
    let problems = &mut context.problems;
    let refresh = section.duration("refresh", problems);
    let cooldown = section.duration("cooldown", problems);
    let max_stale = section.duration("max_stale", problems);
    let timeout = section.duration("timeout", problems);
    if max_stale < refresh
        && let Some(field) = section.optional("max_stale").or_else(|| section.optional("refresh"))
    {
        let (stale, refresh) = (duration_text(max_stale), duration_text(refresh));
        let message = format!("`max_stale` ({stale}) is shorter than `refresh` ({refresh})");
        problems.add(field.warning(message).with_hint("the keys of a healthy issuer would expire between two fetches"));
    }
    let ca_pem = ca_pem(section, context);
    Some(RemoteKeys { location: location?, refresh, cooldown, max_stale, timeout, ca_pem, insecure_http })
}

/// `discovery: true` of an issuer whose identifier is a URL without query (RFC 8414 §2).
fn discovery(
    issuer: &Section<'_>,
    source: &Field<'_>,
    insecure_http: bool,
    context: &mut Context<'_>,
) -> Option<KeyLocation> {
    if !source.boolean(&mut context.problems)? {
        let problem = source.error("`discovery: false` names no source of keys");
        context.problems.add(problem.with_hint("write `discovery: true`, or another source"));
        return None;
    }
    let identifier = issuer.optional("issuer")?;
    let example = "a URL such as `https://auth.example.com/`, because its keys are to be discovered";
    let usable = url(&identifier, example, (insecure_http, WHY_HTTPS), context)?;
    if usable.contains('?') {
        let problem = identifier.error("an issuer whose keys are discovered has no query (`?…`)");
        context.problems.add(problem.with_hint("name its key set with `jwks_url`"));
        return None;
    }
    Some(KeyLocation::Discovery)
}

/// The certificates of `ca_file`.
pub(in crate::config) fn ca_pem(section: &Section<'_>, context: &mut Context<'_>) -> Option<Vec<u8>> {
    let field = section.optional("ca_file")?;
    let (_, pem) = context.public_file(&field, CERTIFICATES_BYTES_MAX)?;
    if !pem.windows(17).any(|window| window == b"BEGIN CERTIFICATE") {
        context.problems.add(field.error("there is no certificate in PEM (BEGIN CERTIFICATE) in the file"));
    }
    Some(pem)
}

/// A URL that is fetched, over https unless that is lifted; `why_https` is said to whoever writes http all the same.
pub(in crate::config) fn url(
    field: &Field<'_>,
    example: &str,
    (insecure_http, why_https): (bool, &str),
    context: &mut Context<'_>,
) -> Option<String> {
    let text = field.string(&mut context.problems)?;
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_https = scheme.eq_ignore_ascii_case("https");
    let problem = if !is_https && !scheme.eq_ignore_ascii_case("http") {
        field.mismatch(example)
    } else if authority.contains('@') {
        // The line may hold a password.
        field.error("a URL with a user name or password is not accepted").without_source_line()
    } else if text.contains('#') {
        field.error("a URL to be fetched has no fragment (`#…`)")
    } else if let Err(fault) = Host::parse(authority) {
        field.error(format!("the URL has no valid host: {fault}"))
    } else if text.parse::<http::Uri>().is_err() {
        field.error("this is no valid URL").with_hint("spaces and letters beyond ASCII are percent-encoded")
    } else if !is_https && !insecure_http {
        field.error(why_https).with_hint("for tests and issuers on this machine: `insecure_http: true`")
    } else {
        return Some(text.to_owned());
    };
    context.problems.add(problem);
    None
}

fn key_set_file(field: &Field<'_>, allowed: Algorithms, context: &mut Context<'_>) -> Option<(Algorithms, KeySource)> {
    let (path, content) = context.public_file(field, KEY_SET_BYTES_MAX)?;
    let set = match KeySet::parse(&content, allowed) {
        Ok(set) => set,
        Err(fault) => return refuse(field, fault, context),
    };
    let skipped = set.skipped().iter().map(|key| {
        let kid = key.kid.as_deref().map_or_else(|| "without kid".to_owned(), |kid| format!("{kid:?}"));
        format!("key {kid}: {}", key.reason)
    });
    if set.is_empty() {
        let reasons: Vec<String> = skipped.collect();
        let problem = field.error("the file has no usable key");
        let known = !reasons.is_empty();
        context.problems.add(if known { problem.with_hint(reasons.join("; ")) } else { problem });
        return None;
    }
    for reason in skipped {
        context.problems.add(field.warning(format!("a key of the file is not used: {reason}")));
    }
    Some((allowed, KeySource::File(KeyFile { path, set: Arc::new(set) })))
}

fn public_key_file(
    field: &Field<'_>,
    allowed: Algorithms,
    context: &mut Context<'_>,
) -> Option<(Algorithms, KeySource)> {
    let (_, content) = context.public_file(field, PEM_BYTES_MAX)?;
    match KeySet::from_public_key_pem(&content, allowed) {
        Ok(set) => Some((allowed, KeySource::Fixed(Arc::new(set)))),
        Err(fault) => refuse(field, fault, context),
    }
}

/// Unless algorithms are written, they are those that the secret is long enough for.
fn secret_file(
    field: &Field<'_>,
    allowed: Algorithms,
    are_written: bool,
    context: &mut Context<'_>,
) -> Option<(Algorithms, KeySource)> {
    let NamedSecret::Read(secret) = context.secret_file(field)? else { return Some((allowed, KeySource::Unread)) };
    let bytes = secret.bytes().len();
    let long_enough: Algorithms = allowed.iter().filter(|algorithm| bytes >= algorithm.secret_bytes_min()).collect();
    let allowed = if are_written || long_enough.is_empty() { allowed } else { long_enough };
    match KeySet::from_secret(secret.bytes(), allowed) {
        Ok(set) => Some((allowed, KeySource::Fixed(Arc::new(set)))),
        Err(fault) => refuse(field, fault, context),
    }
}

fn refuse<T>(field: &Field<'_>, fault: KeyFault, context: &mut Context<'_>) -> Option<T> {
    let hint = match fault {
        KeyFault::FamilyUndecided => Some(
            "write beside `keys`: `algorithms: [RS256]` (or RS384, RS512), or `algorithms: [PS256]` (or PS384, PS512)",
        ),
        KeyFault::PrivateKey => Some("write the public key: openssl pkey -in private.pem -pubout"),
        KeyFault::SecretTooShort => Some("write one with: openssl rand -hex 64"),
        KeyFault::NoAlgorithm => Some("leave `algorithms` out, or name those of this key"),
        KeyFault::NotJson | KeyFault::NoKeysMember => {
            Some("a key set is {\"keys\": […]} (RFC 7517); one key in PEM is for `public_key_file`")
        }
        KeyFault::NotPem => Some("a key set in JSON is for `jwks_file`"),
        KeyFault::SetTooLarge | KeyFault::RsaOutOfRange => None,
    };
    let problem: ConfigError = field.error(fault.to_string());
    context.problems.add(match hint {
        Some(hint) => problem.with_hint(hint),
        None => problem,
    });
    None
}
