//! All routes, arranged so that the most specific one is found: host, then path, then method. Never by their order.
//!
//! It never picks a route for a path that another server might read as belonging to another route.
use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::gate::{
    host::Host,
    path::RequestPath,
    readings::{self, EncodedSlash},
    rejection::{Refusal, Rejection, quoted},
    route::{Folding, HostPattern, ListenerId, PathPattern, Route, RouteId},
};

/// Every route of a configuration.
#[derive(Debug, Default)]
pub struct RouteTable {
    routes: Vec<Route>,
    listeners: Vec<HostTable>,
    entries: Vec<Entry>,
    /// Whether some pattern has a capital letter: else a path without one reads alike in any case.
    has_capitals: bool,
    /// Whether some exact pattern ends with a slash: else a path that does not reads alike without it.
    has_final_slash: bool,
}

/// Two routes that would match the same requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteConflict {
    /// The one that comes first in the configuration.
    pub first: RouteId,
    /// The other.
    pub second: RouteId,
}

/// The routes of one host pattern and path pattern: they differ by method only.
#[derive(Debug, Default)]
struct Entry {
    routes: Vec<RouteId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EntryId(usize);

#[derive(Debug, Default)]
struct HostTable {
    // Only configured names are ever inserted, so a hash without a secret is safe, and quicker.
    exact: HashMap<Box<str>, PathTable, FixedState>,
    /// Longest suffix first.
    below: Vec<(Box<str>, PathTable)>,
    any: PathTable,
}

/// The paths of one host pattern, once for every way of comparing.
#[derive(Debug, Default)]
struct PathTable {
    plain: PathMap,
    without_slash: PathMap,
    without_case: PathMap,
    without_both: PathMap,
}

#[derive(Debug, Default)]
struct PathMap {
    exact: HashMap<Box<str>, Slot, FixedState>,
    prefixes: HashMap<Box<str>, Slot, FixedState>,
    /// Slashes in the prefix that has most of them: bounds the search.
    depth_max: usize,
}

/// How loosely paths are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Looseness {
    case: bool,
    slash: bool,
}

impl Looseness {
    const ALL: [Self; 4] = [
        Self { case: false, slash: false },
        Self { case: false, slash: true },
        Self { case: true, slash: false },
        Self { case: true, slash: true },
    ];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    One(EntryId),
    /// Patterns that differ only by what is being ignored.
    Several,
}

impl RouteTable {
    /// Arranges routes; identifiers are their positions.
    ///
    /// # Errors
    /// Every pair of routes that match the same requests on some listener.
    pub fn new(routes: Vec<Route>, listeners: usize) -> Result<Self, Vec<RouteConflict>> {
        let mut table = Self { listeners: (0..listeners).map(|_| HostTable::default()).collect(), ..Self::default() };
        let mut conflicts = Vec::new();
        for (id, route) in (0..).map(RouteId).zip(&routes) {
            for (position, hosts) in table.listeners.iter_mut().enumerate() {
                if !route.listeners.iter().any(|listener| usize::from(listener.0) == position) {
                    continue;
                }
                for host in &route.hosts {
                    let entry = hosts.paths_of(host).entry_for(&route.path, &mut table.entries);
                    let Some(entry) = table.entries.get_mut(entry.0) else { continue };
                    conflicts.extend(conflicts_in(entry, id, route, &routes));
                    entry.routes.push(id);
                }
            }
        }
        conflicts.dedup();
        table.has_capitals = routes.iter().any(|route| route.path.text().bytes().any(|byte| byte.is_ascii_uppercase()));
        table.has_final_slash = routes.iter().any(|route| route.path.text().ends_with('/'));
        table.routes = routes;
        for hosts in &mut table.listeners {
            hosts.below.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        }
        if conflicts.is_empty() { Ok(table) } else { Err(conflicts) }
    }

    /// The routes in the order of the configuration.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The route with this identifier.
    pub fn route(&self, id: RouteId) -> Option<&Route> {
        self.routes.get(usize::from(id.0))
    }

    /// The route for a request.
    ///
    /// # Errors
    /// [`Rejection::RouteNotFound`], [`Rejection::PathAmbiguous`] when some reading of the path picks another route,
    /// [`Rejection::MethodNotAllowed`] with the methods that are.
    pub fn find(
        &self,
        listener: ListenerId,
        host: &Host<'_>,
        path: &RequestPath<'_>,
        method: &str,
    ) -> Result<(RouteId, &Route), Refusal> {
        let hosts = self.listeners.get(usize::from(listener.0)).ok_or(Rejection::RouteNotFound)?;
        let plain = Looseness { case: false, slash: false };
        let Some(Slot::One(found)) = hosts.find(host.name(), path.as_str(), plain) else {
            return Err(self.no_route(hosts, host.name(), path.as_str()));
        };
        let entry = self.entries.get(found.0).ok_or(Rejection::Internal)?;
        let (id, route) = self.by_method(entry, method)?;
        if !self.reads_one_way(path.as_str()) {
            check_readings(hosts, host.name(), path.as_str(), route, found)?;
        }
        if route.takes(method) { Ok((id, route)) } else { Err(self.method_not_allowed(entry)) }
    }

    /// Why no route was found: there is none, or only another reading of the path finds one.
    fn no_route(&self, hosts: &HostTable, host: &str, path: &str) -> Refusal {
        let Ok(readings) = readings::readings(path, EncodedSlash::MayDecode) else { return unreadable() };
        let allows = |route: &Route, looseness: Looseness| loosenesses(route).any(|allowed| allowed == looseness);
        let finds = |reading: &[u8], looseness: Looseness| match hosts.find_reading(host, reading, looseness) {
            None => false,
            Some(Slot::Several) => true,
            Some(Slot::One(entry)) => self.entries.get(entry.0).is_some_and(|entry| {
                entry.routes.iter().filter_map(|id| self.route(*id)).any(|route| allows(route, looseness))
            }),
        };
        let found = readings.iter().find_map(|reading| {
            Looseness::ALL.iter().find(|looseness| finds(reading, **looseness)).map(|looseness| (reading, looseness))
        });
        match found {
            None => Rejection::RouteNotFound.into(),
            Some((reading, looseness)) => {
                let ignored = match (looseness.case, looseness.slash) {
                    (false, false) => "",
                    (true, false) => ", case ignored,",
                    (false, true) => ", the final slash ignored,",
                    (true, true) => ", case and the final slash ignored,",
                };
                let shown = quoted(&String::from_utf8_lossy(reading));
                ambiguous(format!("no route; read as {shown}{ignored} there is one (see `paths` of a route)"))
            }
        }
    }

    /// Whether no reading of the path, and no comparison of it, can differ from the plain one: the usual case.
    fn reads_one_way(&self, path: &str) -> bool {
        readings::is_plain(path)
            && !(self.has_capitals || path.bytes().any(|byte| byte.is_ascii_uppercase()))
            && !(self.has_final_slash || path.ends_with('/'))
    }

    /// The route that lists the method, else the one that takes any, else some route of the entry, which then does not
    /// take the method.
    fn by_method(&self, entry: &Entry, method: &str) -> Result<(RouteId, &Route), Refusal> {
        let mut routes = entry.routes.iter().filter_map(|id| Some((*id, self.route(*id)?)));
        let listing = routes.clone().find(|(_, route)| route.methods.is_some() && route.takes(method));
        let any = || routes.clone().find(|(_, route)| route.methods.is_none());
        listing.or_else(any).or_else(|| routes.next()).ok_or_else(|| Rejection::Internal.into())
    }

    fn method_not_allowed(&self, entry: &Entry) -> Refusal {
        let mut allowed: Vec<&str> = Vec::new();
        for method in entry.routes.iter().filter_map(|id| self.route(*id)?.methods.as_ref()).flatten() {
            allowed.push(method);
            if method.as_ref() == "GET" {
                allowed.push("HEAD");
            }
        }
        allowed.sort_unstable();
        allowed.dedup();
        Refusal::new(Rejection::MethodNotAllowed).allowing(allowed.join(", "))
    }
}

fn conflicts_in(entry: &Entry, id: RouteId, route: &Route, routes: &[Route]) -> Vec<RouteConflict> {
    let overlaps = |other: &Route| match (&other.methods, &route.methods) {
        (None, None) => true,
        (Some(theirs), Some(_)) => {
            theirs.iter().any(|method| route.takes(method)) || {
                route.methods.iter().flatten().any(|method| other.takes(method))
            }
        }
        (None, Some(_)) | (Some(_), None) => false,
    };
    let others = entry.routes.iter().filter(|other| **other != id);
    others
        .filter(|other| routes.get(usize::from(other.0)).is_some_and(overlaps))
        .map(|other| RouteConflict { first: *other, second: id })
        .collect()
}

/// Compares what every reading of the path picks with what its plain reading picked.
fn check_readings(hosts: &HostTable, host: &str, path: &str, route: &Route, found: EntryId) -> Result<(), Refusal> {
    let agrees = |reading: &[u8]| {
        loosenesses(route).all(|looseness| hosts.find_reading(host, reading, looseness) == Some(Slot::One(found)))
    };
    if readings::is_plain(path) {
        return if agrees(path.as_bytes()) {
            Ok(())
        } else {
            Err(ambiguous("case or a final slash decides which route it is (see `paths` of a route)".to_owned()))
        };
    }
    let readings =
        readings::readings(path, route.readings.encoded_slash).map_err(|readings::Unreadable| unreadable())?;
    match readings.iter().find(|reading| !agrees(reading)) {
        Some(other) => Err(ambiguous(format!("it also reads as {}", quoted(&String::from_utf8_lossy(other))))),
        None => check_rewrite(path, route),
    }
}

/// After a rewrite the path stands below another prefix, above which no reading of it may climb.
fn check_rewrite(path: &str, route: &Route) -> Result<(), Refusal> {
    let rewrite = &route.rewrite;
    if rewrite.strip_prefix.is_none() && rewrite.add_prefix.is_none() {
        return Ok(());
    }
    let rest = rewrite.strip_prefix.as_deref().and_then(|prefix| path.strip_prefix(prefix)).unwrap_or(path);
    let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    match readings::readings(&rest, EncodedSlash::MayDecode) {
        Ok(_) => Ok(()),
        Err(readings::Unreadable) => {
            Err(Refusal::new(Rejection::PathAmbiguous).because("it climbs above the rewritten prefix"))
        }
    }
}

/// The ways of comparing that the route's upstream might use, the strict one first.
fn loosenesses(route: &Route) -> impl Iterator<Item = Looseness> {
    let case = route.readings.case == Folding::Fold;
    let slash = route.readings.trailing_slash == Folding::Fold;
    Looseness::ALL.into_iter().filter(move |looseness| (case || !looseness.case) && (slash || !looseness.slash))
}

fn unreadable() -> Refusal {
    ambiguous("it climbs above the root, or has too many readings".to_owned())
}

fn ambiguous(detail: String) -> Refusal {
    Refusal::new(Rejection::PathAmbiguous).because(detail)
}

impl HostTable {
    fn paths_of(&mut self, host: &HostPattern) -> &mut PathTable {
        match host {
            HostPattern::Any => &mut self.any,
            HostPattern::Exact(name) => self.exact.entry(name.clone()).or_default(),
            HostPattern::Below(suffix) => {
                let position = self.below.iter().position(|(other, _)| other == suffix).unwrap_or_else(|| {
                    self.below.push((suffix.clone(), PathTable::default()));
                    self.below.len() - 1
                });
                #[expect(clippy::indexing_slicing, reason = "the position was found or made just above")]
                &mut self.below[position].1
            }
        }
    }

    /// The most specific entry: exact host over longest suffix over any host, then exact path over longest prefix.
    fn find(&self, host: &str, path: &str, looseness: Looseness) -> Option<Slot> {
        let suffixes = self.below.iter().filter(|(suffix, _)| host.len() > suffix.len() && host.ends_with(&**suffix));
        let tables = self.exact.get(host).into_iter().chain(suffixes.map(|(_, table)| table)).chain([&self.any]);
        tables.into_iter().find_map(|table| table.find(path, looseness))
    }

    /// The same for a reading, where what is not UTF-8 is compared as if replaced: it has no part in any pattern.
    fn find_reading(&self, host: &str, reading: &[u8], looseness: Looseness) -> Option<Slot> {
        self.find(host, &String::from_utf8_lossy(reading), looseness)
    }
}

impl PathTable {
    fn entry_for(&mut self, pattern: &PathPattern, entries: &mut Vec<Entry>) -> EntryId {
        if let Some(Slot::One(entry)) = self.plain.slot(pattern) {
            return entry;
        }
        let entry = EntryId(entries.len());
        entries.push(Entry::default());
        let (PathPattern::Exact(path) | PathPattern::Prefix(path)) = pattern;
        let is_exact = matches!(pattern, PathPattern::Exact(_));
        let without_slash = if is_exact { without_final_slash(path) } else { path };
        self.plain.insert(is_exact, path, entry);
        self.without_slash.insert(is_exact, without_slash, entry);
        self.without_case.insert(is_exact, &path.to_lowercase(), entry);
        self.without_both.insert(is_exact, &without_slash.to_lowercase(), entry);
        entry
    }

    fn find(&self, path: &str, looseness: Looseness) -> Option<Slot> {
        let path = if looseness.slash { without_final_slash(path) } else { path };
        let map = match (looseness.case, looseness.slash) {
            (false, false) => return self.plain.find(path),
            (false, true) => &self.without_slash,
            (true, false) => &self.without_case,
            (true, true) => &self.without_both,
        };
        // What an upstream without case does to letters beyond ASCII is not known; Unicode's own folding is the guess.
        if looseness.case && path.chars().any(|character| !character.is_ascii() || character.is_ascii_uppercase()) {
            map.find(&path.to_lowercase())
        } else {
            map.find(path)
        }
    }
}

fn without_final_slash(path: &str) -> &str {
    match path.strip_suffix('/') {
        Some("") | None => path,
        Some(shorter) => shorter,
    }
}

impl PathMap {
    fn slot(&self, pattern: &PathPattern) -> Option<Slot> {
        match pattern {
            PathPattern::Exact(path) => self.exact.get(path).copied(),
            PathPattern::Prefix(path) => self.prefixes.get(path).copied(),
        }
    }

    fn insert(&mut self, is_exact: bool, path: &str, entry: EntryId) {
        self.depth_max = self.depth_max.max(path.matches('/').count());
        let map = if is_exact { &mut self.exact } else { &mut self.prefixes };
        map.entry(Box::from(path)).and_modify(|slot| *slot = Slot::Several).or_insert(Slot::One(entry));
    }

    fn find(&self, path: &str) -> Option<Slot> {
        if let Some(slot) = self.exact.get(path) {
            return Some(*slot);
        }
        // Prefixes end where a segment does: at a slash, or at the end of the path. The longest is looked for first.
        let is_slash = |byte: &u8| *byte == b'/';
        let too_deep = path.bytes().enumerate().filter(|(_, byte)| is_slash(byte)).nth(self.depth_max);
        let mut end = too_deep.map_or(path.len(), |(position, _)| position);
        loop {
            let prefix = path.get(..end)?;
            if let Some(slot) = self.prefixes.get(prefix) {
                return Some(*slot);
            }
            end = prefix.as_bytes().iter().rposition(is_slash)?;
        }
    }
}

#[cfg(test)]
mod tests;
