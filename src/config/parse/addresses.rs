//! `addresses`: networks, and which clients a route is for.
use crate::config::field::Field;
use crate::config::keys::route::ADDRESSES;
use crate::config::parse::context::Context;
use crate::config::parse::section::Section;
use crate::gate::network::{AddressRule, Network, NetworkError};
use crate::gate::provenance::TrustedProxies;

/// Reads `addresses` of a route.
pub(in crate::config) fn read(section: &Section<'_>, context: &mut Context<'_>) -> AddressRule {
    let section = section.section("addresses", ADDRESSES, &mut context.problems);
    let mut networks = |name: &str| {
        let texts = section.texts(name, &mut context.problems).unwrap_or_default();
        texts.iter().filter_map(|(field, text)| network(field, text, context)).collect()
    };
    AddressRule { allow: networks("allow"), deny: networks("deny") }
}

/// Reads `trusted_proxies`.
pub(in crate::config) fn trusted_proxies(top: &Section<'_>, context: &mut Context<'_>) -> TrustedProxies {
    let mut trusted = TrustedProxies::default();
    for (field, text) in top.texts("trusted_proxies", &mut context.problems).unwrap_or_default() {
        if text == "unix" {
            trusted.by_unix_socket = true;
            continue;
        }
        let Some(network) = network(&field, text, context) else { continue };
        if network.is_everything() {
            let problem = field.warning("every client may say of itself who it is: all addresses are trusted proxies");
            context.problems.add(problem.with_hint("name the networks of the proxies in front"));
        }
        trusted.networks.push(network);
    }
    trusted
}

/// A network, or one address.
pub(in crate::config) fn network(field: &Field<'_>, text: &str, context: &mut Context<'_>) -> Option<Network> {
    let problem = match text.parse() {
        Ok(network) => return Some(network),
        Err(NetworkError::Malformed) => {
            field.mismatch("a network such as `10.0.0.0/8` or `2001:db8::/32`, or an address")
        }
        Err(NetworkError::TooLong) => {
            field.error(format!("{} is no network: the length is at most 32, for IPv6 128", field.found()))
        }
        Err(NetworkError::HostBits(network)) => {
            let problem = field.error(format!("{} names an address within a network", field.found()));
            if field.is_from_variable() {
                problem
            } else {
                let (address, _) = text.split_once('/').unwrap_or((text, ""));
                problem.with_hint(format!("the network is `{network}`, the one address `{address}`"))
            }
        }
    };
    context.problems.add(problem);
    None
}
