//! `listeners`: where requests come in.
use crate::config::keys::top::LISTENER;
use crate::config::parse::address;
use crate::config::parse::context::{Context, Unique, check_name};
use crate::config::parse::listener_tls;
use crate::config::parse::section::Section;
use crate::config::settings::Address;
use crate::config::settings::listener::Listener;

/// The listeners, and the names that routes may use for them.
#[derive(Debug, Default)]
pub(in crate::config) struct Listeners {
    /// Those that are right.
    pub(in crate::config) listeners: Vec<Listener>,
    /// The names of all of them, in the order of the file.
    pub(in crate::config) names: Vec<Box<str>>,
    /// The addresses that are taken, with their lines.
    pub(in crate::config) taken: Vec<(Address, u32)>,
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
        let (Some((field, address)), Some(name)) = (address, name) else { continue };
        address::refuse_overlap(field, &address, &found.taken, &mut context.problems);
        found.taken.push((address.clone(), field.position().line));
        found.listeners.push(Listener { name, address, tls, http2 });
    }
    found
}
