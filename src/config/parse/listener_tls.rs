//! `listeners[].tls`: certificates, their keys, and what is asked of clients.
use crate::config::certificate::{self, AUTHORITIES_BYTES_MAX, CHAIN_BYTES_MAX, CertificateChain, CertificateFault};
use crate::config::field::Field;
use crate::config::keys::top::{CERTIFICATE, LISTENER_TLS};
use crate::config::parse::context::{Context, NamedSecret};
use crate::config::parse::section::Section;
use crate::config::settings::CertificateFiles;
use crate::config::settings::listener::{ClientCertificates, ListenerTls};

/// Reads `tls` of a listener; nothing without it, and when it is wrong.
pub(in crate::config) fn read(listener: &Section<'_>, context: &mut Context<'_>) -> Option<ListenerTls> {
    let field = listener.optional("tls")?;
    let section = Section::read(&field, LISTENER_TLS, &mut context.problems)?;
    section.required("certificates", &mut context.problems);
    let elements = section.elements("certificates", &mut context.problems).unwrap_or_default();
    let certificates: Vec<_> = elements.iter().filter_map(|element| certificate(element, context)).collect();
    Some(ListenerTls { certificates, clients: clients(&section, context) })
}

fn certificate(element: &Field<'_>, context: &mut Context<'_>) -> Option<CertificateFiles> {
    let section = Section::read(element, CERTIFICATE, &mut context.problems)?;
    let chain_field = section.required("certificate_file", &mut context.problems);
    let key_field = section.required("private_key_file", &mut context.problems);
    let chain = chain_field.and_then(|field| {
        let bytes_max = usize::try_from(CHAIN_BYTES_MAX).unwrap_or(usize::MAX);
        let (path, pem) = context.public_file(&field, bytes_max)?;
        let chain = CertificateChain::parse(&pem).and_then(|chain| chain.names().map(|_| chain));
        Some((path, field.text().into(), chain.map_err(|fault| refuse(&field, fault, context)).ok()))
    });
    let key = key_field.and_then(|field| context.secret_at(&field).map(|(path, secret)| (field, path, secret)));
    let ((certificate, written, chain), (field, private_key, secret)) = (chain?, key?);
    if let (Some(chain), NamedSecret::Read(secret)) = (chain, secret)
        && let Err(fault) = chain.key(secret.bytes())
    {
        refuse(&field, fault, context);
    }
    Some(CertificateFiles { written, certificate, private_key })
}

fn refuse(field: &Field<'_>, fault: CertificateFault, context: &mut Context<'_>) {
    let hint = match fault {
        CertificateFault::IsKey => Some("the key is for `private_key_file`"),
        CertificateFault::NoKey => {
            Some("a key begins with BEGIN PRIVATE KEY, BEGIN EC PRIVATE KEY or BEGIN RSA PRIVATE KEY")
        }
        CertificateFault::EncryptedKey => Some("decrypt it: openssl pkey -in encrypted.pem -out key.pem"),
        CertificateFault::NoNames => {
            Some("have it issued with names: openssl … -addext subjectAltName=DNS:api.example.com")
        }
        CertificateFault::KeyMismatch => {
            Some("the server's certificate is the first of its file; those of its authorities follow")
        }
        CertificateFault::Authority => Some("one for this host: portcullis ca issue NAME"),
        CertificateFault::NoCertificate | CertificateFault::Malformed | CertificateFault::KeyUnusable => None,
    };
    let problem = field.error(fault.to_string());
    context.problems.add(match hint {
        Some(hint) => problem.with_hint(hint),
        None => problem,
    });
}

fn clients(section: &Section<'_>, context: &mut Context<'_>) -> Option<ClientCertificates> {
    let file = section.optional("client_ca_file");
    let are_required = match (section.optional("client_certificate"), &file) {
        // An authority that nobody is measured by would be a mistake.
        (None, _) => true,
        (Some(field), file) => {
            let choices = [("optional", false), ("required", true)];
            let demand = field
                .unless_off(&mut context.problems, |field, problems| field.choice(&choices, problems))
                .flatten()?;
            if file.is_none() {
                let problem = field.error("certificates of clients need `client_ca_file`: who signs them");
                let hint = "name the authority's certificate, or write `client_certificate: none`";
                context.problems.add(problem.with_hint(hint));
            }
            demand
        }
    };
    let field = file?;
    let bytes_max = usize::try_from(AUTHORITIES_BYTES_MAX).unwrap_or(usize::MAX);
    let (authorities, pem) = context.public_file(&field, bytes_max)?;
    if let Err(fault) = certificate::trusted(&pem) {
        refuse(&field, fault, context);
    }
    Some(ClientCertificates { authorities, are_required })
}
