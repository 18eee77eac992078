//! What a change of a configuration means: who gets past the gate that did not before, and who no longer does.
//!
//! It is on the careful side. What lets a single request more pass is looser, whatever else became stricter; what cannot be
//! compared is said to be so, and counts as looser. Every setting is taken apart by name, so that a new one cannot be forgotten.
mod general;
mod implication;
mod issuer;
mod listener;
mod regions;
mod route;
#[cfg(test)]
mod tests;

use crate::config::settings::Config;
use crate::gate::decide::Ruleset;
use crate::gate::issuer::IssuerId;
use crate::gate::policy::Requirement;
use crate::gate::route::{ListenerId, UpstreamId};

/// What a change does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Something passes that did not.
    Looser,
    /// Whether something passes that did not cannot be told.
    Unclear,
    /// Something no longer passes.
    Stricter,
    /// It changes nobody's passage.
    Neither,
}

impl Direction {
    /// All, in the order in which they matter.
    pub const ALL: [Self; 4] = [Self::Looser, Self::Unclear, Self::Stricter, Self::Neither];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Looser => "looser",
            Self::Unclear => "unclear",
            Self::Stricter => "stricter",
            Self::Neither => "neither",
        }
    }

    /// That of a rule that became another: the new one asks for all that the old one did, or the other way about.
    const fn of(new_implies_old: bool, old_implies_new: bool) -> Option<Self> {
        match (new_implies_old, old_implies_new) {
            (true, true) => None,
            (true, false) => Some(Self::Stricter),
            (false, true) => Some(Self::Looser),
            (false, false) => Some(Self::Unclear),
        }
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// What it does.
    pub direction: Direction,
    /// What it is about: `route orders`, `issuer main`, `limits`.
    pub place: String,
    /// What changed.
    pub what: String,
    /// Requests that it is about, where it is not about all of its place.
    pub requests: Vec<String>,
}

/// Changes while they are found.
#[derive(Debug, Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn add(&mut self, direction: Direction, place: &str, what: impl Into<String>) {
        self.0.push(Change { direction, place: place.to_owned(), what: what.into(), requests: Vec::new() });
    }

    /// The members that were added to a set, and those that were taken out of it.
    fn add_members<T: PartialEq>(
        &mut self,
        (place, what): (&str, &str),
        (old, new): (&[T], &[T]),
        (added, removed): (Direction, Direction),
        shown: impl Fn(&T) -> String,
    ) {
        let beyond = |these: &[T], those: &[T]| {
            let names: Vec<String> = these.iter().filter(|this| !those.contains(this)).map(&shown).collect();
            names.join(", ")
        };
        let (more, less) = (beyond(new, old), beyond(old, new));
        if !more.is_empty() {
            self.add(added, place, format!("{what}: {more} added"));
        }
        if !less.is_empty() {
            self.add(removed, place, format!("{what}: {less} removed"));
        }
    }

    /// A limit of which more lets more pass; nothing is no limit.
    fn add_limit<T: PartialOrd + Copy>(
        &mut self,
        (place, what): (&str, &str),
        (old, new): (Option<T>, Option<T>),
        shown: impl Fn(T) -> String,
    ) {
        let is_more = match (old, new) {
            (None, None) => return,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(old), Some(new)) if new == old => return,
            (Some(old), Some(new)) => new > old,
        };
        let text = |limit: Option<T>| limit.map_or_else(|| "none".to_owned(), &shown);
        let direction = if is_more { Direction::Looser } else { Direction::Stricter };
        self.add(direction, place, format!("{what} is {}, was {}", text(new), text(old)));
    }
}

/// One configuration, with the names of what its parts refer to.
#[derive(Clone, Copy)]
struct Side<'c>(&'c Config);

impl<'c> Side<'c> {
    const fn ruleset(self) -> &'c Ruleset {
        &self.0.live.ruleset
    }

    fn issuer(self, id: IssuerId) -> &'c str {
        self.ruleset().issuer(id).map(|issuer| issuer.name.as_ref()).unwrap_or_default()
    }

    fn upstream(self, id: UpstreamId) -> &'c str {
        self.0.live.upstreams.get(usize::from(id.0)).map(|upstream| upstream.name.as_ref()).unwrap_or_default()
    }

    fn listener(self, name: &str) -> Option<ListenerId> {
        let listeners = (0..).map(ListenerId).zip(&self.0.startup.listeners);
        listeners.into_iter().find(|(_, listener)| *listener.name == *name).map(|(id, _)| id)
    }
}

/// All that changed, what matters most first.
pub fn compare(old: &Config, new: &Config) -> Vec<Change> {
    let (old, new) = (Side(old), Side(new));
    let mut changes = Changes::default();
    listener::compare(old, new, &mut changes);
    regions::compare(old, new, &mut changes);
    issuer::compare(old, new, &mut changes);
    general::compare(old, new, &mut changes);
    tell_of_observing_routes(new, &mut changes);
    let mut changes = changes.0;
    // The order of the configuration stays within one direction.
    changes.sort_by_key(|change| change.direction);
    let mut seen = Vec::with_capacity(changes.len());
    changes.retain(|change| {
        !seen.contains(change) && {
            seen.push(change.clone());
            true
        }
    });
    changes
}

/// Where the lack of a good token is only observed, a token that counts can be refused for what it lacks, and one that does
/// not cannot: whatever is stricter with tokens lets more pass there, and the other way about.
fn tell_of_observing_routes(new: Side<'_>, changes: &mut Changes) {
    let must_have_header = new.ruleset().identity_headers.iter().any(|header| header.required);
    let asks = |rule: &Requirement| must_have_header || !implication::requirement(&Requirement::default(), rule);
    let routes = new.ruleset().routes.routes().iter();
    let observing = routes.filter(|route| route.observes_authentication && asks(&route.requirement));
    for route in observing {
        let place = format!("route {}", route.name);
        let is_about_tokens = |other: &str| {
            let of_all = ["identity headers", "limits", "revocation"].contains(&other) || other.starts_with("issuer ");
            of_all || other.strip_prefix(&*place).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        };
        let found: Vec<Direction> =
            changes.0.iter().filter(|change| is_about_tokens(&change.place)).map(|change| change.direction).collect();
        if found.contains(&Direction::Stricter) {
            let what =
                "a token that no longer counts is not asked for what is required (insecure_observe_authentication)";
            changes.add(Direction::Looser, &place, what);
        }
        if found.contains(&Direction::Looser) {
            let what = "a token that counts now is asked for what is required (insecure_observe_authentication)";
            changes.add(Direction::Stricter, &place, what);
        }
    }
}
