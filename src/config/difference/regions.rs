//! Which route takes which request, before and after: not by comparing what is written, but by asking both tables of routes
//! about one request of every kind.
//!
//! Two requests are of one kind when no pattern of either configuration tells them apart: hosts that are named or under the
//! same wildcard, paths that are named or under the same longest prefix, methods that are listed. So one of each kind is as
//! good as all, and neither the order of routes, nor who shadows whom, nor how defaults are written makes a difference.
use std::collections::{BTreeMap, BTreeSet};

use crate::config::difference::{Change, Changes, Direction, Side, route};
use crate::gate::host::Host;
use crate::gate::path::RequestPath;
use crate::gate::route::{HostPattern, ListenerId, PathPattern, Route, RouteId};

/// More kinds than this are not looked at; it is said so.
const KINDS_MAX: usize = 20_000_000;
/// Requests that are shown of one change.
const SHOWN_MAX: usize = 3;
/// What no pattern names.
const OTHER_METHOD: &str = "X-OTHER";
const OTHER_LABEL: &str = "x-other-host";
const OTHER_SEGMENT: &str = "x-other-path";

/// One of a kind, and how people write it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sample {
    sent: String,
    shown: String,
    /// Whether it is one of another only for some readers.
    is_respelled: bool,
}

impl Sample {
    fn plain(sent: impl Into<String>, shown: impl Into<String>) -> Self {
        Self { sent: sent.into(), shown: shown.into(), is_respelled: false }
    }
}

/// A request of one kind, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    is_respelled: bool,
    length: usize,
    text: String,
}

/// Who took requests before, and who takes them now.
type Taken = (Option<RouteId>, Option<RouteId>);

/// Every request that another route takes, or that the same route takes otherwise.
pub(super) fn compare(old: Side<'_>, new: Side<'_>, changes: &mut Changes) {
    let mut taken: BTreeMap<Taken, BTreeSet<Kind>> = BTreeMap::new();
    let mut kinds = 0;
    for listener in &new.0.startup.listeners {
        let (Some(before), Some(now)) = (old.listener(&listener.name), new.listener(&listener.name)) else { continue };
        let redirects = |side: Side<'_>| {
            let named = side.0.startup.listeners.iter().find(|other| other.name == listener.name);
            named.is_some_and(|listener| listener.redirect.is_some())
        };
        if redirects(old) || redirects(new) {
            continue;
        }
        kinds += ask(old, new, (before, now), &mut taken, KINDS_MAX.saturating_sub(kinds));
        if kinds >= KINDS_MAX {
            changes.add(Direction::Unclear, "routes", "there are too many to compare all that they take");
            break;
        }
    }
    for ((before, now), requests) in taken {
        let before = before.and_then(|id| old.ruleset().routes.route(id));
        let now = now.and_then(|id| new.ruleset().routes.route(id));
        tell((old, before), (new, now), requests, changes);
    }
}

/// Asks both tables about one request of every kind on a listener; how many there were.
fn ask(
    old: Side<'_>,
    new: Side<'_>,
    (before, now): (ListenerId, ListenerId),
    taken: &mut BTreeMap<Taken, BTreeSet<Kind>>,
    kinds_max: usize,
) -> usize {
    let routes = |side: Side<'_>| side.0.live.ruleset.routes.routes().to_vec();
    let routes: Vec<Route> = routes(old).into_iter().chain(routes(new)).collect();
    let mut kinds = 0;
    for host in hosts(&routes) {
        let Ok(parsed) = Host::parse(&host.sent) else { continue };
        let here: Vec<&Route> = routes.iter().filter(|route| may_be_for(route, parsed.name())).collect();
        let methods = methods(&here);
        for path in paths(&here) {
            let Ok(read) = RequestPath::parse(&path.sent) else { continue };
            for method in &methods {
                kinds += 1;
                if kinds > kinds_max {
                    return kinds;
                }
                let find = |side: Side<'_>, listener: ListenerId| {
                    let found = side.0.live.ruleset.routes.find(listener, &parsed, &read, &method.sent);
                    found.ok().map(|(id, _)| id)
                };
                let pair = (find(old, before), find(new, now));
                if pair == (None, None) {
                    continue;
                }
                let text = format!("{} {}{}", method.shown, host.shown, path.shown);
                let kind = Kind { is_respelled: path.is_respelled, length: text.len(), text };
                taken.entry(pair).or_default().insert(kind);
            }
        }
    }
    kinds
}

fn may_be_for(route: &Route, host: &str) -> bool {
    route.hosts.iter().any(|pattern| match pattern {
        HostPattern::Exact(name) => **name == *host,
        HostPattern::Below(suffix) => host.ends_with(&**suffix),
        HostPattern::Any => true,
    })
}

/// One host of every kind.
fn hosts(routes: &[Route]) -> BTreeSet<Sample> {
    let patterns = routes.iter().flat_map(|route| &route.hosts);
    let other = Sample::plain(format!("{OTHER_LABEL}.invalid"), "");
    let sample = |pattern: &HostPattern| match pattern {
        HostPattern::Exact(name) => Sample::plain(&**name, &**name),
        HostPattern::Below(suffix) => Sample::plain(format!("{OTHER_LABEL}{suffix}"), format!("*{suffix}")),
        HostPattern::Any => other.clone(),
    };
    patterns.map(sample).chain([other.clone()]).collect()
}

/// One path of every kind, and those that differ from it only for some readers.
fn paths(routes: &[&Route]) -> BTreeSet<Sample> {
    let mut samples: BTreeMap<String, Sample> = BTreeMap::new();
    let other = format!("/{OTHER_SEGMENT}");
    let below = |text: &str| Sample::plain(format!("{text}{other}"), format!("{text}/..."));
    let plain = routes.iter().flat_map(|route| match &route.path {
        PathPattern::Exact(path) => vec![Sample::plain(&**path, &**path)],
        PathPattern::Prefix(prefix) => vec![Sample::plain(&**prefix, &**prefix), below(prefix)],
    });
    for sample in plain.chain([below(""), Sample::plain("/", "/")]).filter(|sample| !sample.sent.is_empty()) {
        samples.insert(sample.sent.clone(), sample);
    }
    for route in routes {
        let text = route.path.text();
        // What is under an exact path is under no pattern because of it, but may be for a reader.
        let mut respelled = vec![format!("{text}/"), format!("{text}{other}")];
        // From each slash on, so that what is above stays what another pattern names.
        for (above, below) in text.match_indices('/').map(|(position, _)| text.split_at(position)) {
            respelled.extend([below.to_uppercase(), below.to_lowercase()].map(|below| format!("{above}{below}")));
        }
        if let Some((above, last)) = text.rsplit_once('/').filter(|(above, _)| !above.is_empty()) {
            respelled.extend([format!("{above}%2F{last}"), format!("{above}//{last}")]);
        }
        respelled.extend(text.strip_suffix('/').map(str::to_owned));
        for sent in respelled.into_iter().filter(|sent| !sent.is_empty()) {
            let shown = sent.replace(&other, "/...");
            samples.entry(sent.clone()).or_insert(Sample { sent, shown, is_respelled: true });
        }
    }
    samples.into_values().collect()
}

/// One method of every kind.
fn methods(routes: &[&Route]) -> BTreeSet<Sample> {
    let listed = routes.iter().filter_map(|route| route.methods.as_ref()).flatten();
    let named = listed.map(AsRef::as_ref).chain(["GET", "HEAD", "OPTIONS"]);
    named.map(|name: &str| Sample::plain(name, name)).chain([Sample::plain(OTHER_METHOD, "any other method")]).collect()
}

/// What it means that requests were taken by one route and now are by another.
fn tell(
    (old_side, before): (Side<'_>, Option<&Route>),
    (new_side, now): (Side<'_>, Option<&Route>),
    requests: BTreeSet<Kind>,
    changes: &mut Changes,
) {
    let is_in = |side: Side<'_>, name: &str| side.ruleset().routes.routes().iter().any(|route| *route.name == *name);
    let mut found = Changes::default();
    let is_of_readings = requests.iter().all(|request| request.is_respelled);
    match (before, now) {
        (Some(before), Some(now)) if before.name == now.name => {
            let place = format!("route {}", now.name);
            route::compare(&place, (old_side, before), (new_side, now), &mut found);
            changes.0.append(&mut found.0);
            return;
        }
        (Some(before), Some(now)) => {
            let place = format!("route {} (before: {})", now.name, before.name);
            route::compare(&place, (old_side, before), (new_side, now), &mut found);
            if found.0.is_empty() {
                found.add(Direction::Neither, &place, "another route takes requests, and asks for the same");
            }
        }
        (None, Some(now)) => {
            let is_new = !is_in(old_side, &now.name);
            let what = match (is_new, is_of_readings) {
                (true, _) => "it is new",
                (false, false) => "it takes more requests",
                (false, true) => "it takes what could be read as a path of another route",
            };
            let what = format!("{what}: {}", route::who(now));
            found.add(Direction::Looser, &format!("route {}", now.name), what);
        }
        (Some(before), None) => {
            let is_gone = !is_in(new_side, &before.name);
            let what = match (is_gone, is_of_readings) {
                (true, _) => "it is gone",
                (false, false) => "it takes fewer requests",
                (false, true) => "it no longer takes what can be read as a path of another route",
            };
            found.add(Direction::Stricter, &format!("route {}", before.name), what);
        }
        (None, None) => {}
    }
    let requests = shown(requests);
    changes.0.extend(found.0.into_iter().map(|change| Change { requests: requests.clone(), ..change }));
}

/// The first few, and how many more. Plain ones alone where there are some: what others may read as those follows.
fn shown(requests: BTreeSet<Kind>) -> Vec<String> {
    let has_plain = requests.iter().any(|request| !request.is_respelled);
    let mut shown: Vec<String> = requests
        .into_iter()
        .filter(|request| !(has_plain && request.is_respelled))
        .map(|request| request.text)
        .collect();
    let more = shown.len().saturating_sub(SHOWN_MAX);
    shown.truncate(SHOWN_MAX);
    if more > 0 {
        shown.push(format!("and {more} more kinds"));
    }
    shown
}
