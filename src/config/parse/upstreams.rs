//! `upstreams`: where requests go.
use crate::config::error::{ConfigError, Problems};
use crate::config::field::Field;
use crate::config::keys::upstream::{HEALTH_CHECK, KEYS, SERVER, TIMEOUTS};
use crate::config::parse::context::{Context, Unique, check_name};
use crate::config::parse::section::Section;
use crate::config::parse::{address, upstream_tls};
use crate::config::settings::{
    Balance, HashKey, HealthCheck, HealthProbe, Upstream, UpstreamAddress, UpstreamServer, UpstreamTimeouts,
};
use crate::config::source::Position;
use crate::config::tree::Value;
use crate::gate::host::Host;
use crate::gate::route::{Action, Route};

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
    let protocol = upstream_tls::protocol(&section, context);
    let tls = upstream_tls::read(&section, servers.as_deref().unwrap_or_default(), context);
    let health_check = health_check(&section, context);
    let problems = &mut context.problems;
    let timeouts = section.section("timeouts", TIMEOUTS, problems);
    let timeouts = UpstreamTimeouts {
        connect: timeouts.duration("connect", problems),
        read: timeouts.duration("read", problems),
        write: timeouts.duration("write", problems),
        pool_idle: timeouts.duration("pool_idle", problems),
    };
    let retries = section.count("retries", problems);
    let name = Box::from(entry.name());
    Some(Upstream { name, servers: servers?, balance, protocol, tls, health_check, timeouts, retries })
}

fn balance(section: &Section<'_>, context: &mut Context<'_>) -> Balance {
    const HASH: &str = "consistent_hash";
    let by = [("subject", HashKey::Subject), ("address", HashKey::Address)];
    let by = section.optional("by").map(|field| (field.choice(&by, &mut context.problems), field));
    let hash = Balance::ConsistentHash(by.as_ref().and_then(|(by, _)| *by).unwrap_or(HashKey::Address));
    let words = [("round_robin", Balance::RoundRobin), ("random", Balance::Random), (HASH, hash)];
    let balance = section.choice("balance", &words, Balance::RoundRobin, &mut context.problems);
    let problem = match (balance, by, section.optional("balance")) {
        (Balance::ConsistentHash(_), None, Some(field)) => {
            field.error(format!("`{HASH}` needs `by`")).with_hint("`by: subject` or `by: address`")
        }
        (Balance::RoundRobin | Balance::Random, Some((_, field)), _) => {
            field.key_error(format!("`by` is for `balance: {HASH}` alone"))
        }
        (Balance::RoundRobin | Balance::Random | Balance::ConsistentHash(_), _, _) => return balance,
    };
    context.problems.add(problem);
    balance
}

fn health_check(upstream: &Section<'_>, context: &mut Context<'_>) -> Option<HealthCheck> {
    let field = upstream.optional("health_check")?;
    let problems = &mut context.problems;
    let section = Section::read(&field, HEALTH_CHECK, problems)?;
    let host = section.optional("host").and_then(|field| host(&field, problems));
    let probe = section.exactly_one_of(&["path", "tcp"], problems).and_then(|chosen| match chosen.name() {
        "path" => {
            let path = chosen.string(problems)?;
            let is_path = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
            if !is_path {
                problems.add(chosen.mismatch("a path such as `/healthz`"));
            }
            is_path.then(|| HealthProbe::Http { path: path.into(), host })
        }
        _ => {
            section.refuse(&["host"], "is for `path` alone", problems);
            if !chosen.boolean(problems)? {
                problems.add(chosen.error("`tcp: false` checks nothing").with_hint("leave `health_check` out"));
            }
            Some(HealthProbe::Connection)
        }
    });
    let threshold = |name, problems: &mut _| u32::try_from(section.whole(name, problems)).unwrap_or(1);
    let check = HealthCheck {
        interval: section.duration("interval", problems),
        timeout: section.duration("timeout", problems),
        healthy_threshold: threshold("healthy_threshold", problems),
        unhealthy_threshold: threshold("unhealthy_threshold", problems),
        probe: probe?,
    };
    Some(check)
}

/// A `Host` (RFC 9110 §7.2).
fn host(field: &Field<'_>, problems: &mut Problems) -> Option<Box<str>> {
    let text = field.string(problems)?;
    match Host::parse(text) {
        Ok(_) => Some(text.into()),
        Err(fault) => {
            problems.add(field.error(format!("this is no host: {fault}")));
            None
        }
    }
}

fn servers(name: &str, section: &Section<'_>, context: &mut Context<'_>) -> Option<Vec<UpstreamServer>> {
    let elements = section.elements("servers", &mut context.problems)?;
    let mut found: Vec<UpstreamServer> = Vec::new();
    let mut unique = Unique::default();
    let has_tls = section.mentions("tls");
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
        if !has_tls && !address::is_private(&server.address) {
            exposed.get_or_insert(field);
        }
        found.push(server);
    }
    if let Some(field) = exposed {
        let message = format!("requests to `{name}` go in plain text to {}", field.found());
        let hint = "write `tls`, or keep them on this machine or in a network of your own";
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
