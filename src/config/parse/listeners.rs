//! `listeners`: where requests come in.
use crate::config::error::ConfigError;
use crate::config::keys::top::LISTENER;
use crate::config::parse::address;
use crate::config::parse::context::{Context, Unique, check_name};
use crate::config::parse::listener_tls;
use crate::config::parse::section::Section;
use crate::config::settings::Address;
use crate::config::settings::listener::Listener;
use crate::gate::provenance::TrustedProxies;

/// The listeners, and the names that routes may use for them.
#[derive(Debug, Default)]
pub(in crate::config) struct Listeners {
    /// Those that are right.
    pub(in crate::config) listeners: Vec<Listener>,
    /// The names of all of them, in the order of the file.
    pub(in crate::config) names: Vec<Box<str>>,
    /// The addresses that are taken, with their lines.
    pub(in crate::config) taken: Vec<(Address, u32)>,
    /// What is to be said where no proxy is trusted.
    unguarded: Vec<ConfigError>,
}

impl Listeners {
    /// Warns of connections whose clients anybody could name.
    pub(in crate::config) fn check_trust(&self, trusted: &TrustedProxies, context: &mut Context<'_>) {
        for problem in self.unguarded.iter().filter(|_| trusted.are_none()) {
            context.problems.add(problem.clone());
        }
    }
}

/// Reads the section.
pub(in crate::config) fn read(top: &Section<'_>, context: &mut Context<'_>) -> Listeners {
    let mut found = Listeners::default();
    if top.required("listeners", &mut context.problems).is_none() {
        return found;
    }
    let mut unique = Unique::default();
    for element in top.elements("listeners", &mut context.problems).unwrap_or_default() {
        let Some(section) = Section::read(&element, LISTENER, &mut context.problems) else { continue };
        let written = section.required("address", &mut context.problems);
        let address =
            written.as_ref().and_then(|field| address::listen(field, context).map(|address| (field, address)));
        let named = section.optional("name");
        let name: Option<Box<str>> = match (&named, &written) {
            (Some(field), _) => field.string(&mut context.problems).map(Box::from),
            (None, Some(field)) => Some(Box::from(field.text())),
            (None, None) => None,
        };
        if let (Some(name), Some(field)) = (&name, named.as_ref().or(written.as_ref()))
            && (address.is_some() || named.is_some())
        {
            if check_name(field, name, false, &mut context.problems) && named.is_some() {
                unique.check(&format!("the name {}", field.found()), name, field, &mut context.problems);
            }
            found.names.push(name.clone());
        }
        let tls = listener_tls::read(&section, context);
        let http2 = match section.optional("http2") {
            Some(field) => field.boolean(&mut context.problems).unwrap_or_default(),
            None => section.mentions("tls"),
        };
        let proxy_protocol = section.boolean("proxy_protocol", &mut context.problems);
        if let Some(field) = section.optional("proxy_protocol").filter(|_| proxy_protocol) {
            let problem = field.warning("whoever reaches this listener may say which address it has");
            let hint = "name the load balancers in `trusted_proxies`; connections of others are then refused";
            found.unguarded.push(problem.with_hint(hint));
        }
        let redirect = redirect(&section, context);
        let (Some((field, address)), Some(name)) = (address, name) else { continue };
        address::refuse_overlap(field, &address, &found.taken, &mut context.problems);
        found.taken.push((address.clone(), field.position().line));
        found.listeners.push(Listener { name, address, tls, http2, proxy_protocol, redirect });
    }
    let port = https_port(&found.listeners);
    for listener in &mut found.listeners {
        listener.redirect = listener.redirect.map(|written| if written == PORT_NOT_WRITTEN { port } else { written });
    }
    found
}

/// Stands for a port until all listeners are known.
const PORT_NOT_WRITTEN: u16 = 0;
/// RFC 9110 §4.2.2.
const HTTPS_PORT: u16 = 443;

fn redirect(section: &Section<'_>, context: &mut Context<'_>) -> Option<u16> {
    let port = section.optional("redirect_port").map(|_| section.whole("redirect_port", &mut context.problems));
    let Some(field) = section.optional("redirect") else {
        section.refuse(&["redirect_port"], "is for `redirect` alone", &mut context.problems);
        return None;
    };
    field.choice(&[("https", ())], &mut context.problems)?;
    if section.mentions("tls") {
        let problem = field.error("a listener with `tls` would send its requests to where they are");
        context.problems.add(problem.with_hint("redirect from a listener without `tls`"));
    }
    Some(port.and_then(|port| u16::try_from(port).ok()).unwrap_or(PORT_NOT_WRITTEN))
}

/// The port of a listener with TLS.
fn https_port(listeners: &[Listener]) -> u16 {
    let ports = || {
        listeners.iter().filter(|listener| listener.tls.is_some()).filter_map(|listener| match &listener.address {
            Address::Tcp(address) => Some(address.port()).filter(|port| *port != 0),
            Address::Unix(_) => None,
        })
    };
    if ports().any(|port| port == HTTPS_PORT) { HTTPS_PORT } else { ports().next().unwrap_or(HTTPS_PORT) }
}
