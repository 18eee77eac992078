//! `upstreams.*.tls` and `upstreams.*.protocol`: how the servers are spoken to, and what proves them.
use std::net::IpAddr;

use crate::config::certificate::{AUTHORITIES_BYTES_MAX, CHAIN_BYTES_MAX, CertificateChain, authorities};
use crate::config::field::Field;
use crate::config::keys::upstream::TLS;
use crate::config::parse::context::{Context, NamedSecret};
use crate::config::parse::section::Section;
use crate::config::settings::{
    Address, CertificateFiles, UpstreamAddress, UpstreamProtocol, UpstreamServer, UpstreamTls,
};
use crate::gate::host::Host;

/// `protocol`, as written.
#[derive(Clone, Copy)]
enum Written {
    Http1,
    H2,
    H2c,
}

/// What is spoken; HTTP/2 with and without TLS have names of their own, so that nobody takes one for the other.
pub(in crate::config) fn protocol(section: &Section<'_>, context: &mut Context<'_>) -> UpstreamProtocol {
    let words = [("http1", Written::Http1), ("h2", Written::H2), ("h2c", Written::H2c)];
    let written = section.choice("protocol", &words, Written::Http1, &mut context.problems);
    let has_tls = section.mentions("tls");
    if let Some(field) = section.optional("protocol") {
        let problem = match (written, has_tls) {
            (Written::H2, false) => Some(("`h2` is HTTP/2 over TLS, and there is no `tls`", "without TLS: `h2c`")),
            (Written::H2c, true) => Some(("`h2c` is HTTP/2 without TLS, and there is `tls`", "over TLS: `h2`")),
            (Written::Http1 | Written::H2 | Written::H2c, _) => None,
        };
        if let Some((message, hint)) = problem {
            context.problems.add(field.error(message).with_hint(hint));
        }
    }
    match written {
        Written::Http1 => UpstreamProtocol::Http1,
        Written::H2 | Written::H2c => UpstreamProtocol::Http2,
    }
}

/// Reads `tls`; nothing when it is absent.
pub(in crate::config) fn read(
    upstream: &Section<'_>,
    servers: &[UpstreamServer],
    context: &mut Context<'_>,
) -> Option<UpstreamTls> {
    let field = upstream.optional("tls")?;
    let section = Section::read(&field, TLS, &mut context.problems)?;
    let server_name = match section.optional("server_name") {
        Some(field) => Some(server_name(&field, context).unwrap_or_default()),
        None => {
            check_hosts(&field, servers, context);
            None
        }
    };
    let ca_file = section.optional("ca_file").and_then(|field| ca_file(&field, context));
    let certificate = certificate(&section, context);
    Some(UpstreamTls { server_name, ca_file, certificate })
}

/// A name that a certificate can be for (RFC 9525 §2), or an IP address.
fn server_name(field: &Field<'_>, context: &mut Context<'_>) -> Option<Box<str>> {
    let text = field.string(&mut context.problems)?;
    if is_checkable(text) {
        return Some(text.trim_end_matches('.').to_ascii_lowercase().into());
    }
    let problem = field.mismatch("a DNS name such as `orders.internal`, or an IP address");
    context.problems.add(if text.contains('_') {
        problem.with_hint("the name in a certificate has no underscore; write the one that the certificate has")
    } else {
        problem
    });
    None
}

/// Whether a certificate can be for this host.
fn is_checkable(host: &str) -> bool {
    if host.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253
        && name.split('.').all(is_label)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
        && Host::parse(name).is_ok()
}

/// Without `server_name`, the host of every server must be one.
fn check_hosts(field: &Field<'_>, servers: &[UpstreamServer], context: &mut Context<'_>) {
    let nameless = servers.iter().find(|server| match &server.address {
        UpstreamAddress::Socket(Address::Tcp(_)) => false,
        UpstreamAddress::Socket(Address::Unix(_)) => true,
        UpstreamAddress::Name { host, .. } => !is_checkable(host),
    });
    if let Some(server) = nameless {
        let message = format!("no certificate can be for the host of `{}`", server.written);
        context.problems.add(field.error(message).with_hint("write `server_name`: the name that its certificate has"));
    }
}

fn ca_file(field: &Field<'_>, context: &mut Context<'_>) -> Option<std::path::PathBuf> {
    let (path, pem) = context.public_file(field, usize::try_from(AUTHORITIES_BYTES_MAX).unwrap_or(usize::MAX))?;
    match authorities(&pem) {
        Ok(_) => Some(path),
        Err(fault) => {
            context.problems.add(field.error(fault.to_string()));
            None
        }
    }
}

/// `certificate_file` and `private_key_file`: both or neither.
fn certificate(section: &Section<'_>, context: &mut Context<'_>) -> Option<CertificateFiles> {
    let pair = (section.optional("certificate_file"), section.optional("private_key_file"));
    let (certificate, key) = match pair {
        (None, None) => return None,
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(alone), None) | (None, Some(alone)) => {
            let other = if alone.name() == "certificate_file" { "private_key_file" } else { "certificate_file" };
            context.problems.add(alone.key_error(format!("`{}` needs `{other}` beside it", alone.name())));
            return None;
        }
    };
    let chain_bytes_max = usize::try_from(CHAIN_BYTES_MAX).unwrap_or(usize::MAX);
    let chain = context.public_file(&certificate, chain_bytes_max).and_then(|(path, pem)| {
        let chain = CertificateChain::parse(&pem).inspect_err(|fault| {
            context.problems.add(certificate.error(fault.to_string()));
        });
        Some((path, chain.ok()?))
    });
    let secret = context.secret_file(&key)?;
    let (path, chain) = chain?;
    if let NamedSecret::Read(secret) = secret
        && let Err(fault) = chain.key(secret.bytes())
    {
        context.problems.add(key.error(fault.to_string()));
        return None;
    }
    Some(CertificateFiles {
        written: certificate.text().into(),
        certificate: path,
        // Without a directory of credentials, where secrets are not read, nothing is run.
        private_key: context.file_path(&key).unwrap_or_default(),
    })
}
