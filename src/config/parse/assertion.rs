//! `identity.assertion`: the signed word of the gateway on who is calling.
use std::sync::Arc;

use crate::config::field::Field;
use crate::config::keys::identity::ASSERTION;
use crate::config::parse::context::{Context, NamedSecret};
use crate::config::parse::headers::HeaderRules;
use crate::config::parse::identity::check_name;
use crate::config::parse::section::{Section, refuse_empty};
use crate::config::settings::assertion::{AssertionKeyFile, AssertionSettings, PEM_BYTES_MAX, PublishedKeyFile};
use crate::config::settings::{Server, StateDirectory};
use crate::gate::assertion::AssertionRule;
use crate::gate::assertion_key::{AssertionAlgorithm, AssertionKey, AssertionKeyFault, PublishedKey};

/// The section, understood.
#[derive(Debug)]
pub(in crate::config) struct Assertion<'a> {
    /// What it means.
    pub(in crate::config) settings: AssertionSettings,
    /// Where it is.
    field: Field<'a>,
    has_key_file: bool,
    /// Where it says that the keys are published.
    pub(in crate::config) publish: Option<Field<'a>>,
}

/// Reads the section; nothing when there is none. The name of its header is among `names` from now on.
pub(in crate::config) fn read<'a>(
    identity: &Section<'a>,
    names: &mut Vec<Box<str>>,
    rules: &HeaderRules,
    context: &mut Context<'_>,
) -> Option<Assertion<'a>> {
    let field = identity.optional("assertion")?;
    let section = Section::read(&field, ASSERTION, &mut context.problems)?;
    let header = section.text("header", &mut context.problems);
    let place = section.optional("header");
    if check_name(place.as_ref().unwrap_or(&field), &header, names, rules, context) {
        names.push(header.clone().into());
    }
    let issuer = section.required("issuer", &mut context.problems);
    if let Some(issuer) = &issuer {
        refuse_empty(issuer, &mut context.problems);
    }
    let words = [("EdDSA", AssertionAlgorithm::EdDsa), ("ES256", AssertionAlgorithm::Es256)];
    let algorithm = section.choice("algorithm", &words, AssertionAlgorithm::EdDsa, &mut context.problems);
    let rule = AssertionRule {
        header: header.into(),
        lifetime: section.duration("lifetime", &mut context.problems),
        algorithm,
        issuer: issuer.and_then(|issuer| issuer.string(&mut context.problems)).unwrap_or_default().into(),
        publish: section.boolean("publish", &mut context.problems),
    };
    let key_file = private_key(&section, algorithm, context);
    let published = published(&section, context);
    let publish = section.optional("publish").filter(|_| rule.publish);
    let has_key_file = section.mentions("private_key_file");
    Some(Assertion { settings: AssertionSettings { rule, key_file, published }, field, has_key_file, publish })
}

fn private_key(
    section: &Section<'_>,
    algorithm: AssertionAlgorithm,
    context: &mut Context<'_>,
) -> Option<AssertionKeyFile> {
    let field = section.optional("private_key_file")?;
    let (path, secret) = context.secret_at(&field)?;
    let NamedSecret::Read(secret) = secret else { return Some(AssertionKeyFile { path, key: None }) };
    match AssertionKey::from_pem(secret.bytes(), algorithm) {
        Ok(key) => Some(AssertionKeyFile { path, key: Some(Arc::new(key)) }),
        Err(fault) => {
            let hint = match (fault, algorithm) {
                (AssertionKeyFault::Encrypted, _) => "openssl pkey -in FILE -out PLAIN writes it in plain",
                (_, AssertionAlgorithm::EdDsa) => "make one: openssl genpkey -algorithm ed25519 -out FILE",
                (_, AssertionAlgorithm::Es256) => {
                    "make one: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out FILE"
                }
            };
            context.problems.add(field.error(fault.to_string()).with_hint(hint));
            None
        }
    }
}

fn published(section: &Section<'_>, context: &mut Context<'_>) -> Vec<PublishedKeyFile> {
    let mut found = Vec::new();
    for field in section.elements("published_key_files", &mut context.problems).unwrap_or_default() {
        let Some((path, content)) = context.public_file(&field, PEM_BYTES_MAX) else { continue };
        match PublishedKey::from_pem(&content) {
            Ok(key) => found.push(PublishedKeyFile { path, key }),
            Err(fault) => {
                let hint = "the public half: openssl pkey -in PRIVATE -pubout -out FILE";
                context.problems.add(field.error(fault.to_string()).with_hint(hint));
            }
        }
    }
    found
}

impl Assertion<'_> {
    /// Reports that there would be no key: none is named, and none can be kept.
    pub(in crate::config) fn check_key(&self, server: &Server, context: &mut Context<'_>) {
        if server.state_directory == StateDirectory::Off && !self.has_key_file {
            let message = "there is no key to sign with: `server.state_directory` is off, so none can be kept";
            context.problems.add(self.field.error(message).with_hint("name one: `private_key_file`"));
        }
    }
}
