//! The part of a route that says which requests it takes: listeners, hosts, path, methods, readings.
use crate::config::field::Field;
use crate::config::keys::route::PATHS;
use crate::config::parse::context::{Context, Unique, position_of};
use crate::config::parse::path;
use crate::config::parse::section::Section;
use crate::gate::host::Host;
use crate::gate::readings::EncodedSlash;
use crate::gate::route::{Folding, HostPattern, ListenerId, PathPattern, PathReadings};

/// The listeners; all of them unless some are named.
pub(in crate::config) fn listeners(
    section: &Section<'_>,
    known: &[Box<str>],
    context: &mut Context<'_>,
) -> Vec<ListenerId> {
    let Some(named) = section.texts("listeners", &mut context.problems) else {
        return (0..known.len()).filter_map(|position| u16::try_from(position).ok()).map(ListenerId).collect();
    };
    let mut found = Vec::new();
    for (field, name) in named {
        let known = known.iter().map(AsRef::as_ref);
        let Some(position) = position_of(&field, name, known, "listener", &mut context.problems) else { continue };
        found.extend(u16::try_from(position).ok().map(ListenerId));
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// The hosts; any unless some are named.
pub(in crate::config) fn hosts(section: &Section<'_>, context: &mut Context<'_>) -> Vec<HostPattern> {
    let Some(written) = section.texts("hosts", &mut context.problems) else { return vec![HostPattern::Any] };
    let mut unique = Unique::default();
    let mut found = Vec::new();
    for (field, text) in written {
        let Some(pattern) = host(&field, text, context) else { continue };
        let key = match &pattern {
            HostPattern::Exact(name) | HostPattern::Below(name) => name.clone(),
            HostPattern::Any => Box::default(),
        };
        if unique.check(&format!("the host {}", field.found()), &key, &field, &mut context.problems) {
            found.push(pattern);
        }
    }
    found
}

fn host(field: &Field<'_>, text: &str, context: &mut Context<'_>) -> Option<HostPattern> {
    let (name, is_wildcard) = match text.strip_prefix("*.") {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let problem = if text == "*" {
        field.error("`*` alone is no host").with_hint("leave `hosts` out for any host")
    } else if name.contains('*') {
        field.error("`*` can only be the first label of a host").with_hint("as in \"*.example.org\"")
    } else {
        match Host::parse(name) {
            Err(fault) => field.error(format!("{} is no host: {fault}", field.found())),
            Ok(_) if name.rsplit(']').next().is_some_and(|after| after.contains(':')) => {
                field.error("a host has no port here").with_hint("ports are not compared; leave it out")
            }
            Ok(host) if is_wildcard => return Some(HostPattern::Below(format!(".{}", host.name()).into())),
            Ok(host) => return Some(HostPattern::Exact(Box::from(host.name()))),
        }
    };
    context.problems.add(problem);
    None
}

/// The path, exact or as a prefix.
pub(in crate::config) fn path(section: &Section<'_>, context: &mut Context<'_>) -> Option<PathPattern> {
    let field = section.exactly_one_of(&["path_prefix", "path"], &mut context.problems)?;
    if field.name() == "path" {
        path::exact(&field, context).map(PathPattern::Exact)
    } else {
        path::prefix(&field, context).map(PathPattern::Prefix)
    }
}

/// The methods, or any.
pub(in crate::config) fn methods(section: &Section<'_>, context: &mut Context<'_>) -> Option<Vec<Box<str>>> {
    let written = section.texts("methods", &mut context.problems)?;
    let mut unique = Unique::default();
    let mut found = Vec::new();
    for (field, text) in written {
        let is_token = http::Method::from_bytes(text.as_bytes()).is_ok();
        let problem = if matches!(text, "TRACE" | "CONNECT") {
            field.error(format!("{} is refused on every route", field.found()))
        } else if !is_token {
            field.error(format!("{} is no method", field.found()))
        } else if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
            let problem = field.error("methods are in upper case");
            let hint = format!("write {}", text.to_ascii_uppercase());
            if field.is_from_variable() { problem } else { problem.with_hint(hint) }
        } else {
            if unique.check(&format!("the method {}", field.found()), text, &field, &mut context.problems) {
                found.push(Box::from(text));
            }
            continue;
        };
        context.problems.add(problem);
    }
    Some(found)
}

/// How the upstream may read paths.
pub(in crate::config) fn readings(section: &Section<'_>, context: &mut Context<'_>) -> PathReadings {
    let section = section.section("paths", PATHS, &mut context.problems);
    let folding = [("fold", Folding::Fold), ("exact", Folding::Exact)];
    let slash = [("refuse", EncodedSlash::MayDecode), ("opaque", EncodedSlash::Opaque)];
    let problems = &mut context.problems;
    PathReadings {
        case: section.choice("case", &folding, Folding::Fold, problems),
        trailing_slash: section.choice("trailing_slash", &folding, Folding::Fold, problems),
        encoded_slash: section.choice("encoded_slash", &slash, EncodedSlash::MayDecode, problems),
    }
}

/// What a route without name is called: its first host, where it has one, and its path.
pub(in crate::config) fn implied_name(hosts: &[HostPattern], path: &PathPattern) -> String {
    let path = if path.text().is_empty() { "/" } else { path.text() };
    match hosts.first() {
        Some(HostPattern::Exact(host)) => format!("{host}{path}"),
        Some(HostPattern::Below(suffix)) => format!("*{suffix}{path}"),
        Some(HostPattern::Any) | None => path.to_owned(),
    }
}
