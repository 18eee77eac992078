//! `upstreams`: where requests go.
use crate::config::error::ConfigError;
use crate::config::field::Field;
use crate::config::keys::upstream::{KEYS, SERVER, TIMEOUTS};
use crate::config::parse::address;
use crate::config::parse::context::{Context, Unique, check_name};
use crate::config::parse::section::Section;
use crate::config::settings::{Balance, Upstream, UpstreamAddress, UpstreamServer, UpstreamTimeouts};
use crate::config::source::Position;
use crate::config::tree::Value;
use crate::gate::route::{Action, Route};

/// The choice of a server that this version does not have.
const LATER_BALANCE: &str = "consistent_hash";

/// The upstreams, and the names that routes may use for them.
#[derive(Debug, Default)]
pub(in crate::config) struct Upstreams {
    /// The names of all of them, in the order of the file.
    pub(in crate::config) names: Vec<Box<str>>,
    /// For each name the upstream, unless something about it is wrong.
    pub(in crate::config) upstreams: Vec<Option<Upstream>>,
    places: Vec<(Position, crate::config::key_path::KeyPath)>,
}

impl Upstreams {
    /// Reports upstreams that no route forwards to.
    pub(in crate::config) fn check_use(&self, routes: &[Route], context: &mut Context<'_>) {
        let used = |position: usize| {
            routes.iter().any(|route| matches!(&route.action, Action::Forward(id) if usize::from(id.0) == position))
        };
        for (position, (name, (place, path))) in self.names.iter().zip(&self.places).enumerate() {
            if !used(position) {
                let message = format!("no route uses the upstream `{name}`");
                context.problems.add(ConfigError::warning(*place, path, message));
            }
        }
    }
}

/// Reads the section.
pub(in crate::config) fn read(top: &Section<'_>, context: &mut Context<'_>) -> Upstreams {
    let mut found = Upstreams::default();
    let Some(field) = top.optional("upstreams") else { return found };
    for entry in field.entries(&mut context.problems).unwrap_or_default() {
        check_name(&entry, entry.name(), true, &mut context.problems);
        found.names.push(Box::from(entry.name()));
        found.places.push((entry.key_position(), entry.path().clone()));
        found.upstreams.push(upstream(&entry, context));
    }
    found
}

fn upstream(entry: &Field<'_>, context: &mut Context<'_>) -> Option<Upstream> {
    let section = Section::read(entry, KEYS, &mut context.problems)?;
    section.required("servers", &mut context.problems);
    let servers = servers(entry.name(), &section, context);
    let balance = balance(&section, context);
    let problems = &mut context.problems;
    let timeouts = section.section("timeouts", TIMEOUTS, problems);
    let timeouts = UpstreamTimeouts {
        connect: timeouts.duration("connect", problems),
        read: timeouts.duration("read", problems),
        write: timeouts.duration("write", problems),
        pool_idle: timeouts.duration("pool_idle", problems),
    };
    let retries = section.count("retries", problems);
    Some(Upstream { name: Box::from(entry.name()), servers: servers?, balance, timeouts, retries })
}

fn balance(section: &Section<'_>, context: &mut Context<'_>) -> Balance {
    if let Some(field) = section.optional("balance").filter(|field| field.text() == LATER_BALANCE) {
        context.problems.add(field.error(format!("`{LATER_BALANCE}` is not supported by this version")));
        return Balance::RoundRobin;
    }
    let words = [("round_robin", Balance::RoundRobin), ("random", Balance::Random)];
    section.choice("balance", &words, Balance::RoundRobin, &mut context.problems)
}

fn servers(name: &str, section: &Section<'_>, context: &mut Context<'_>) -> Option<Vec<UpstreamServer>> {
    let elements = section.elements("servers", &mut context.problems)?;
    let mut found: Vec<UpstreamServer> = Vec::new();
    let mut unique = Unique::default();
    let mut exposed: Option<Field<'_>> = None;
    for element in elements {
        let Some((field, server)) = server(&element, context) else { continue };
        let key = match &server.address {
            UpstreamAddress::Socket(address) => address.to_string(),
            UpstreamAddress::Name { host, port } => format!("{host}:{port}"),
        };
        if !unique.check(&format!("the server {}", field.found()), &key, &field, &mut context.problems) {
            continue;
        }
        if !address::is_private(&server.address) {
            exposed.get_or_insert(field);
        }
        found.push(server);
    }
    if let Some(field) = exposed {
        let message = format!("requests to `{name}` go in plain text to {}", field.found());
        let hint = "this version speaks no TLS to upstreams: keep them on this machine or in a network of your own";
        context.problems.add(field.warning(message).with_hint(hint));
    }
    Some(found)
}

fn server<'a>(element: &Field<'a>, context: &mut Context<'_>) -> Option<(Field<'a>, UpstreamServer)> {
    let (field, weight) = match &element.node().value {
        Value::Mapping(_) => {
            let section = Section::read(element, SERVER, &mut context.problems)?;
            let weight = section.whole("weight", &mut context.problems);
            (section.required("address", &mut context.problems)?, u16::try_from(weight).unwrap_or(1))
        }
        Value::Scalar(_) | Value::Sequence(_) => (element.clone(), 1),
    };
    let address = address::server(&field, context)?;
    let written = Box::from(field.text());
    Some((field, UpstreamServer { written, address, weight }))
}
