//! `admin`: the operators' interface.
use crate::config::error::ConfigError;
use crate::config::field::Field;
use crate::config::keys::top::ADMIN;
use crate::config::parse::address;
use crate::config::parse::context::{Context, NamedSecret};
use crate::config::parse::section::Section;
use crate::config::secret::Secret;
use crate::config::settings::{Address, Admin};
use crate::gate::host::Host;

/// A shorter token could be guessed.
const TOKEN_BYTES_MIN: usize = 16;

/// Reads the section; `taken` are the addresses of listeners.
pub(in crate::config) fn read(top: &Section<'_>, taken: &[(Address, u32)], context: &mut Context<'_>) -> Admin {
    let section = top.section("admin", ADMIN, &mut context.problems);
    let address = address(top, &section, taken, context);
    let token_file = section.optional("read_token_file");
    if let (Some(bound), None) = (&address, &token_file)
        && !address::is_local(bound)
        && let Some(field) = section.optional("address")
    {
        let message = "`read_token_file` is missing: this address can be reached from other machines";
        let hint = "name a file with a bearer token, or write a loopback address or a unix socket";
        context.problems.add(field.error(message).with_hint(hint));
    }
    let read_token = token_file.and_then(|field| token(&field, context));
    let write_field = section.optional("write_token_file");
    let write_token = write_field.as_ref().and_then(|field| token(field, context));
    if let (Some(read), Some(write), Some(field)) = (&read_token, &write_token, &write_field)
        && read.bytes() == write.bytes()
    {
        context
            .problems
            .add(field.error("the token for changes is the one for reading: whoever may look could change"));
    }
    if let (Some(Address::Unix(_)), Some(field)) = (&address, section.optional("read_token_file").or(write_field)) {
        let message = "no token is asked for on a unix socket: whoever can open it may read and change";
        context.problems.add(field.warning(message));
    }
    Admin { address, read_token, write_token, allowed_hosts: allowed_hosts(&section, context) }
}

/// A token from a file.
fn token(field: &Field<'_>, context: &mut Context<'_>) -> Option<Secret> {
    let NamedSecret::Read(secret) = context.secret_file(field)? else { return None };
    let usable = secret.bytes().iter().all(u8::is_ascii_graphic);
    if !usable || secret.bytes().len() < TOKEN_BYTES_MIN {
        let message = format!("the token must have {TOKEN_BYTES_MIN} or more characters, all of them visible ASCII");
        context.problems.add(field.error(message).with_hint("write one with: openssl rand -hex 32"));
    }
    Some(secret)
}

fn address(
    top: &Section<'_>,
    section: &Section<'_>,
    taken: &[(Address, u32)],
    context: &mut Context<'_>,
) -> Option<Address> {
    let Some(field) = section.optional("address") else {
        let root = top.field()?;
        let default = ADMIN.iter().find(|key| key.name == "address").map(|key| key.default_text());
        let address = default.and_then(|text| text.parse().ok()).map(Address::Tcp)?;
        if let Some((_, line)) = taken.iter().find(|(other, _)| address::overlap(other, &address)) {
            let message =
                format!("the default address of `admin`, `{address}`, is taken by the listener in line {line}");
            let position = section.field().map_or(root.key_position(), |field| field.key_position());
            let problem = ConfigError::error(position, &root.path().key("admin").key("address"), message);
            context.problems.add(problem.with_hint("write another `admin.address`"));
        }
        return Some(address);
    };
    if field.is_off() {
        return None;
    }
    let address = address::listen(&field, context)?;
    address::refuse_overlap(&field, &address, taken, &mut context.problems);
    Some(address)
}

fn allowed_hosts(section: &Section<'_>, context: &mut Context<'_>) -> Vec<Box<str>> {
    let mut hosts = Vec::new();
    for (field, text) in section.texts("allowed_hosts", &mut context.problems).unwrap_or_default() {
        match Host::parse(text) {
            Ok(host) => hosts.push(Box::from(host.name())),
            Err(fault) => context.problems.add(field.error(format!("{} is no host: {fault}", field.found()))),
        }
    }
    hosts
}
